/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The VFIO subsystem: a device, reached by its cdev or by its IOMMU group, and the container (an
 * IOAS of an iommufd object, or a type1 container) that keeps guest memory mapped for it.  Knows
 * nothing of x86 and nothing of KVM.
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
typedef struct VFIOGroup VFIOGroup;

typedef struct VFIORegionArea {
    uint64_t offset, size;
} VFIORegionArea;

/* What the kernel said of a region, checked: nothing here reaches beyond the region's pages. */
typedef struct VFIORegion {
    uint64_t size, offset; /* offset in the device's descriptor; size 0: there is none */
    uint32_t flags;        /* VFIO_REGION_INFO_FLAG_* */
    /*
     * Parts that may be mapped: the whole, or the sparse capability's areas; sorted, apart.  A
     * region smaller than a page has its page to itself if it may be mapped at all.
     */
    VFIORegionArea *areas;
    unsigned nr_areas;
    bool msix_mappable; /* what may be mapped takes in the device's own MSI-X table */
    bool failed;        /* an access failed, and it was said once */
} VFIORegion;

/* Who knows which guest pages a device has written. */
typedef enum { VFIO_DIRTY_UNKNOWN, VFIO_DIRTY_IOMMU, VFIO_DIRTY_DEVICE } VFIODirtySource;

/* Which device, and how it is reached. */
typedef struct VFIODeviceRef {
    const char *sysfs; /* its folder in sysfs, or */
    const char *fd;    /* an open descriptor of its cdev, as core/fdset.h's fd_take() wants it */
    IOMMUFDBackend *iommufd;      /* that its cdev is bound to; NULL: it is reached by its group */
    const char *id;               /* of the object that wants it; NULL: it has none */
    const char *vf_token;         /* UUID that a VF and its PF's user share; NULL: none */
    void (*coming)(void *opaque); /* called when only the slow opening is left; may be NULL */
    void *opaque;
} VFIODeviceRef;

typedef struct VFIODevice {
    char *name;     /* how messages name it: BDF, or the basename in sysfs, or "fd N" */
    char *sysfs;    /* its folder in sysfs, without symbolic links; NULL: given by fd, not found */
    int fd;         /* the device: its cdev, or what its group gave; -1: not open */
    dev_t number;   /* the cdev's; 0: reached by its group */
    uint32_t devid; /* its id in the iommufd; 0: not bound */
    uint32_t flags; /* VFIO_DEVICE_FLAGS_* */
    unsigned nr_regions, nr_irqs;
    VFIORegion *regions;
    const struct VFIOInterface *interface; /* that it is reached by */
    IOMMUFDBackend *iommufd;               /* NULL: not connected, or reached by its group */
    VFIOGroup *group;                      /* NULL: not connected, or reached by its cdev */
    VFIOContainer *container;
    VFIODomain *domain;              /* of the container; NULL: none of its own */
    bool accel_told;                 /* the accelerator has the cdev */
    char *cpr_name;                  /* that another process finds it by; NULL: none can */
    bool given;                      /* by an open descriptor, not by its place in sysfs */
    bool adopted;                    /* another process has opened, bound and attached it */
    bool no_dmabuf;                  /* the kernel does not give out parts of its regions */
    VFIODirtySource dirty_source;    /* while tracking is on */
    bool no_dirty_log;               /* its own log of its writes is not used */
    bool no_running_sync;            /* nor is anybody asked for them before the VM has stopped */
    struct VFIOMigration *migration; /* NULL: it is not to be migrated, as nobody has asked yet */
} VFIODevice;

/*
 * Opens or takes over the device, attaches it to a container, and asks for its regions.  See
 * vfio_device_dma_ready() for when it reaches all of guest memory.  A given descriptor is given
 * back when it cannot be bound; once bound it is closed in the end, also when something fails later.
 * Once the main loop runs, the machine lock is given up while the kernel opens the device.
 * Messages of this one begin with "vfio NAME: "; of the functions below the caller says it.
 */
VFIODevice *vfio_device_attach(const VFIODeviceRef *ref, GError **errp);
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

/*
 * VFIO_DEVICE_RESET, for a device with VFIO_DEVICE_FLAGS_RESET.  May sleep: what else holds the
 * kernel's locks of the device is waited for, 200 ms at most.
 */
bool vfio_device_reset(VFIODevice *dev, GError **errp);
/*
 * VFIO_DEVICE_GET_PCI_HOT_RESET_INFO: the functions that a hot reset of the device's slot or bus
 * takes along, itself among them.  g_free it; NULL and the error if there is no such reset.
 */
struct vfio_pci_hot_reset_info *vfio_device_get_hot_reset_info(VFIODevice *dev, GError **errp);
/*
 * VFIO_DEVICE_PCI_HOT_RESET; @info is what the above has just said.  The kernel checks that all of
 * those are ours: of devices that are reached by their groups, their groups' descriptors show it.
 * May sleep as above.
 */
bool vfio_device_hot_reset(VFIODevice *dev, const struct vfio_pci_hot_reset_info *info,
                           GError **errp);
/* The descriptor of a group that this process has, or -1; it stays the group's. */
int vfio_group_fd(uint32_t id);

/* Whole accesses only: a short one is a failure with errno EIO. */
bool vfio_region_read(VFIODevice *dev, unsigned region, uint64_t addr, void *buf, size_t len);
bool vfio_region_write(VFIODevice *dev, unsigned region, uint64_t addr, const void *buf,
                       size_t len);
/*
 * Such an access failed with errno.  Warns of the first one of each region only, for a guest can
 * have as many of them as it likes.  @what: "read" or "write".
 */
void vfio_region_access_failed(VFIODevice *dev, unsigned region, const char *what, uint64_t addr,
                               size_t len);
/* "0000:02:00.0 BAR 0"; g_free it. */
char *vfio_region_name(const VFIODevice *dev, unsigned region);

/*
 * VFIO_DEVICE_FEATURE_DMA_BUF: whole pages of a region of the device's as a dma-buf, which
 * IOMMU_IOAS_MAP_FILE takes while the device decodes memory.  Returns a descriptor of the caller's,
 * or -1 and the error; where the kernel has no such thing at all, -1 without one and
 * dev->no_dmabuf.
 */
int vfio_region_export(VFIODevice *dev, unsigned region, uint64_t offset, uint64_t size,
                       GError **errp);
/* Whether another device is in the same container. */
bool vfio_device_has_peers(const VFIODevice *dev);

/* A count of 0 where the device lacks the index, or its driver does not know it. */
bool vfio_device_get_irq_info(VFIODevice *dev, unsigned index, struct vfio_irq_info *info,
                              GError **errp);
/*
 * VFIO_DEVICE_SET_IRQS: @action is one of VFIO_IRQ_SET_ACTION_*, with an eventfd (or -1) for each
 * of @count interrupts from @start on, or with none at all when @fds is NULL.
 * Returns 0, -errno and the error, or how many interrupts could be had when they were fewer.
 */
int vfio_device_set_irqs(VFIODevice *dev, unsigned index, uint32_t action, unsigned start,
                         unsigned count, const int32_t *fds, GError **errp);
/* Turns the index off as a whole. */
bool vfio_disable_irqindex(VFIODevice *dev, unsigned index, GError **errp);

/*
 * x-query-vfio's answer: an array of containers with their addresses, extents, bytes (all, those
 * that have pages, those that are mapped), map time in microseconds, domains and devices, and who
 * tracks their writes; of a type1 container, whether CPR can hand over what it maps.
 */
JsonArray *vfio_query(void);

#endif
