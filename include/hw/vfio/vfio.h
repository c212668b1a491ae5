/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The VFIO subsystem: a device behind its cdev, and the container (an IOAS of an iommufd object)
 * that keeps guest memory mapped for it.  Knows nothing of x86 and nothing of KVM.
 * Source: Linux include/uapi/linux/vfio.h, Documentation/driver-api/vfio.rst.  Machine lock held.
 */
#ifndef VIADUCT_HW_VFIO_VFIO_H
#define VIADUCT_HW_VFIO_VFIO_H

#include <json-glib/json-glib.h>

#include "backends/iommufd.h"
#include "core/memory.h"
#include "util/linux-vfio.h"

typedef struct VFIOContainer VFIOContainer;
typedef struct VFIODomain VFIODomain;

typedef struct VFIORegionArea {
    uint64_t offset, size;
} VFIORegionArea;

/* What the kernel said of a region, checked: nothing here reaches beyond the region. */
typedef struct VFIORegion {
    uint64_t size, offset; /* offset in the device's descriptor; size 0: there is none */
    uint32_t flags;        /* VFIO_REGION_INFO_FLAG_* */
    /* Parts that may be mapped: the whole, or the sparse capability's areas; sorted, apart. */
    VFIORegionArea *areas;
    unsigned nr_areas;
} VFIORegion;

/* Who knows which guest pages a device has written. */
typedef enum { VFIO_DIRTY_UNKNOWN, VFIO_DIRTY_IOMMU, VFIO_DIRTY_DEVICE } VFIODirtySource;

typedef struct VFIODevice {
    char *name;     /* how messages name it: BDF, or the basename in sysfs */
    char *sysfs;    /* its folder in sysfs, without symbolic links */
    int fd;         /* the cdev */
    uint32_t devid; /* its id in the iommufd */
    uint32_t flags; /* VFIO_DEVICE_FLAGS_* */
    unsigned nr_regions, nr_irqs;
    VFIORegion *regions;
    IOMMUFDBackend *iommufd; /* NULL: not connected */
    VFIOContainer *container;
    VFIODomain *domain;           /* of the container; NULL: none of its own */
    bool accel_told;              /* the accelerator has the descriptor */
    VFIODirtySource dirty_source; /* while tracking is on */
} VFIODevice;

/*
 * Opens the device that sysfs has at @sysfs, binds it to @be, attaches it to a container of @be,
 * and asks for its regions.  See vfio_device_dma_ready() for when it reaches all of guest memory.
 * Messages of this one begin with "vfio NAME: "; of the functions below the caller says it.
 */
VFIODevice *vfio_device_attach(const char *sysfs, IOMMUFDBackend *be, GError **errp);
/* The exact way back, closing the descriptor last; frees @dev. */
void vfio_device_detach(VFIODevice *dev);
/*
 * Waits until all of guest memory is mapped for the device: before it may do DMA.  False: it never
 * will be, and the process is about to end.
 */
bool vfio_device_dma_ready(VFIODevice *dev);
/*
 * Who tracks the device's writes, or would if tracking were switched on; VFIO_DIRTY_UNKNOWN: nobody, and
 * all of guest memory counts as dirty all the time.
 */
VFIODirtySource vfio_device_dirty_source(VFIODevice *dev);
/* VFIO_DEVICE_RESET. */
bool vfio_device_reset(VFIODevice *dev, GError **errp);

/* Whole accesses only: a short one is a failure with errno EIO. */
bool vfio_region_read(VFIODevice *dev, unsigned region, uint64_t addr, void *buf, size_t len);
bool vfio_region_write(VFIODevice *dev, unsigned region, uint64_t addr, const void *buf,
                       size_t len);

/* A count of 0 where the device lacks the index. */
bool vfio_device_get_irq_info(VFIODevice *dev, unsigned index, struct vfio_irq_info *info,
                              GError **errp);
/*
 * VFIO_DEVICE_SET_IRQS: @action is one of VFIO_IRQ_SET_ACTION_*, with an eventfd (or -1) for each
 * of @count interrupts from @start on, or with none at all when @fds is NULL.
 * Returns 0, -errno and the error, or how many interrupts could be had when they were fewer.
 */
int vfio_device_set_irqs(VFIODevice *dev, unsigned index, uint32_t action, unsigned start,
                         unsigned count, const int32_t *fds, GError **errp);
/* Turns the index off as a whole; a failure is only reported, there being no other way. */
void vfio_disable_irqindex(VFIODevice *dev, unsigned index);

/*
 * x-query-vfio's answer: an array of containers with their addresses, extents, bytes (all, those
 * that have pages, those that are mapped), map time in microseconds, domains and devices, and who tracks their writes.
 */
JsonArray *vfio_query(void);

#endif
