/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the rest of the program asks of the accelerator, and the vCPUs it runs.  One accelerator a
 * process, registered before the machine is made.
 */
#ifndef VIADUCT_CORE_ACCEL_H
#define VIADUCT_CORE_ACCEL_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/ram.h"

typedef struct CPUState {
    int index;        /* 0 … n-1 */
    uint32_t arch_id; /* APIC id on x86 */
    int thread_id;    /* kernel's tid of its thread */
    bool halted;
    unsigned socket_id, core_id, smt_id;
    const char *qom_path;
} CPUState;

typedef struct AccelOps {
    const char *name; /* "kvm" */
    /*
     * All vCPUs leave the guest and stand still / run on.  Machine lock held; pausing drops it
     * while it waits, for a vCPU may be waiting for it to finish an exit.
     */
    void (*pause_vcpus)(void);
    void (*resume_vcpus)(void);
    /*
     * A VFIO device or group descriptor comes to (before BIND) or goes from the VM, so that KVM
     * and the device's driver know of each other.  NULL: not needed.
     */
    bool (*device_fd_add)(int fd, GError **errp);
    void (*device_fd_del)(int fd);
    /*
     * The vCPUs' dirty pages (core/ram.h).  From start on all of guest memory counts as written by
     * them; sync sets bits in RAMBlock.dirty of what was written; pages that are going to be read
     * are cleared first, so that the next write of them is seen: those of the @n pages from @page on
     * (multiples of 64) whose bit in @bits, bit 0 being @page, is set; stop ends it.  Machine lock
     * held, save for clear: any thread.  All NULL: there are no vCPUs that write.
     */
    bool (*dirty_start)(GError **errp);
    void (*dirty_sync)(void);
    void (*dirty_clear)(RAMBlock *block, uint64_t page, uint64_t n, const uint64_t *bits);
    void (*dirty_stop)(void);
} AccelOps;

/* NULL until one is registered. */
extern const AccelOps *accel;
void accel_register(const AccelOps *ops);

/* vCPUs in order of index; grows only, before the machine starts. */
extern GPtrArray *cpus;

/* No-ops that succeed where the accelerator does not care. */
bool accel_device_fd_add(int fd, GError **errp);
void accel_device_fd_del(int fd);

#endif
