/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The VFIO subsystem: a device behind its cdev, and the container (an IOAS of an iommufd object)
 * that keeps guest memory mapped for it.  Knows nothing of x86 and nothing of KVM.
 * Source: Linux include/uapi/linux/vfio.h, Documentation/driver-api/vfio.rst.  Machine lock held.
 */
#ifndef VIADUCT_HW_VFIO_VFIO_H
#define VIADUCT_HW_VFIO_VFIO_H

#include <linux/vfio.h>

#include "backends/iommufd.h"
#include "core/memory.h"

typedef struct VFIOContainer VFIOContainer;

typedef struct VFIORegion {
    uint64_t size, offset; /* offset in the device's descriptor */
    uint32_t flags;        /* VFIO_REGION_INFO_FLAG_* */
    /* Parts that may be mapped: the whole, or the sparse capability's areas; sorted. */
    struct {
        uint64_t offset, size;
    } *areas;
    unsigned nr_areas;
    bool msix_mappable;
} VFIORegion;

typedef struct VFIODevice {
    char *name;      /* how messages name it: BDF, or the basename in sysfs */
    char *sysfs;     /* its folder in sysfs */
    int fd;          /* the cdev */
    uint32_t devid;  /* its id in the iommufd */
    uint32_t flags;  /* VFIO_DEVICE_FLAGS_* */
    unsigned nr_regions, nr_irqs;
    VFIORegion *regions;
    IOMMUFDBackend *iommufd;
    VFIOContainer *container;
} VFIODevice;

#endif
