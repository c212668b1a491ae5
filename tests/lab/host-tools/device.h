/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The lab's test device (tests/lab/kmod), driven from the host by VFIO's and iommufd's own
 * commands.  What must succeed and does not ends the program with a line that says what.
 */
#ifndef VIADUCT_LAB_DEVICE_H
#define VIADUCT_LAB_DEVICE_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "tests/lab/kmod/registers.h"

/* Later than Debian 12's headers have them; an enumerator cannot be asked for. */
enum {
    STATE_ERROR = 0,
    STATE_STOP = 1,
    STATE_RUNNING = 2,
    STATE_STOP_COPY = 3,
    STATE_RESUMING = 4,
    STATE_RUNNING_P2P = 5,
    STATE_PRE_COPY = 6,
    STATE_PRE_COPY_P2P = 7,
};

#define RAM_BASE UINT64_C(0x100000000) /* where the devices see it */
#define RAM_SIZE (UINT64_C(16) << 20)

typedef struct TestDevice {
    const char *sysfs;
    int fd, iommufd;
    uint32_t id, ioas, hwpt;
} TestDevice;

typedef struct PrecopyInfo {
    uint32_t argsz, flags;
    uint64_t initial_bytes, dirty_bytes;
} PrecopyInfo;

/* The memory that all devices share: a memfd, mapped here too. */
extern uint8_t *ram;
void ram_init(void);

/*
 * Opens the device, in a context of its own, with the memory mapped; @dirty: in a domain that
 * tracks what is dirty.  Its memory decoding and bus mastering are on.
 */
TestDevice *device_open(const char *sysfs, bool dirty);
void device_close(TestDevice *dev);
void device_unmap(TestDevice *dev);
void device_map(TestDevice *dev);

uint64_t reg(TestDevice *dev, unsigned at); /* 64 bits */
uint32_t reg32(TestDevice *dev, unsigned at);
void set_reg(TestDevice *dev, unsigned at, uint64_t value);
void set_reg32(TestDevice *dev, unsigned at, uint32_t value);
/* A command that must succeed. */
void command(TestDevice *dev, uint32_t cmd);
/* The COMMAND register of configuration space. */
void set_pci_command(TestDevice *dev, uint16_t value);
/* Vectors from 0 on signal these eventfds; @n 0: none does any more. */
void set_vectors(TestDevice *dev, const int *fds, unsigned n);
void device_reset(TestDevice *dev);

/* DEVICE_FEATURE with @flags on top of the number; 0 or an errno. */
int feature(TestDevice *dev, uint32_t flags, void *data, size_t size);
/* To a state; an errno.  *@fd is the transfer's descriptor, or -1; may be NULL. */
int set_state(TestDevice *dev, uint32_t state, int *fd);
uint32_t get_state(TestDevice *dev);
/* An errno. */
int precopy_info(int fd, PrecopyInfo *info);

/* A knob in sysfs takes the text. */
void knob(TestDevice *dev, const char *name, const char *text);

/* The bits of the memory's pages that are dirty, as the IOMMU or the device's log has it. */
void iommu_tracking(TestDevice *dev, bool on);
void iommu_dirty(TestDevice *dev, uint64_t *bits);
void log_start(TestDevice *dev);
void log_stop(TestDevice *dev);
int log_dirty(TestDevice *dev, uint64_t *bits);

#endif
