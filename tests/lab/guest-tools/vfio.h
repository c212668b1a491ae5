/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest's driver in userland: a PCI function through the guest kernel's VFIO without IOMMU.  What
 * it does to the function is what a driver in the guest's kernel would do.  Every failure ends the
 * program with a line that says which.
 */
#ifndef VIADUCT_GUEST_VFIO_H
#define VIADUCT_GUEST_VFIO_H

#include <linux/vfio.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct Device {
    const char *address; /* in the guest: DDDD:BB:DD.F */
    int fd;
    bool can_reset;
    uint64_t config;                            /* offset of configuration space */
    volatile uint8_t *bar;                      /* NULL: not mapped */
    uint64_t bar_offset, bar_size, bar_address; /* BAR 0; the address is the guest's physical one */
} Device;

/* Lines on stdout begin with "guest: "; die() says FAILED, which fails the lab's test. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
void die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* Opens the function, enables it and maps its BAR 0. */
Device device_open(const char *address);
/*
 * Without mapping it, for BARs that the VMM emulates: emulated SVM tells KVM of an event still being
 * delivered when a guest's page fault is followed at once by an access that exits, and KVM gives up.
 */
Device device_open_unmapped(const char *address);
uint16_t config_read(const Device *dev, unsigned at);
void config_write(const Device *dev, unsigned at, uint16_t value);
/* Bits of COMMAND: memory and bus mastering, or none. */
void device_enable(const Device *dev, bool on);

uint32_t bar_read(const Device *dev, unsigned at);
void bar_write(const Device *dev, unsigned at, uint32_t value);
uint64_t bar_read64(const Device *dev, unsigned at);
void bar_write64(const Device *dev, unsigned at, uint64_t value);

/* Vector 0 of the index signals a new eventfd, which is returned; and the way back. */
int irq_enable(const Device *dev, unsigned index);
void irq_disable(const Device *dev, unsigned index, int fd);
/* MSI-X vectors from 0 on, each with a new eventfd. */
void msix_enable(const Device *dev, int *fds, unsigned n);
void irq_mask(const Device *dev, bool mask);
/* How often it was signalled; 0 when it was not within @ms. */
uint64_t irq_wait(int fd, int ms);

/* 2 MiB of physically contiguous memory, cleared; *@address is where the guest has it. */
uint8_t *dma_memory(uint64_t *address);
/* @size bytes in huge pages, cleared; where the guest has a byte of it says physical(). */
uint8_t *huge_memory(size_t size);
uint64_t physical(const void *p);

#endif
