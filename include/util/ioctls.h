/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The ioctls that the program makes itself, of KVM, VFIO and iommufd: all of them, or the test
 * `ioctls` fails.  Messages take names from here, and the sandbox what it lets pass.
 */
#ifndef VIADUCT_UTIL_IOCTLS_H
#define VIADUCT_UTIL_IOCTLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct HostIoctl {
    uint32_t request;
    const char *name;
    bool setup; /* only before the guest runs */
} HostIoctl;

const HostIoctl *host_ioctls(size_t *n);
/* "?" if it is none of them. */
const char *host_ioctl_name(unsigned long request);

#endif
