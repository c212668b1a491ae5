/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * -object iommufd: owner of /dev/iommu.  Each function is one command of the kernel's interface
 * (Linux Documentation/userspace-api/iommufd.rst and include/uapi/linux/iommufd.h); errors name the
 * object, the command and what the kernel said.  All calls go through util/hostcalls.
 * Machine lock held.
 */
#ifndef VIADUCT_BACKENDS_IOMMUFD_H
#define VIADUCT_BACKENDS_IOMMUFD_H

#include "core/object.h"

typedef struct IOMMUFDBackend {
    UserObject parent;
    char *fd_name;        /* property `fd`, as core/fdset.h's fd_take() wants it */
    int fd;               /* -1 while nobody uses the object, unless it was given */
    bool map_wait;        /* property: the guest starts when its memory is mapped, not before */
    uint32_t map_threads; /* property: for guest memory; 0: one a CPU */
    bool fd_given;        /* never closed by disconnect, but with the object */
    unsigned users;
    uint32_t missing;    /* bit n: the kernel lacks the n-th command of iommufd.c's table */
    char *missing_names; /* property, the same in words */
} IOMMUFDBackend;

typedef UserObjectClass IOMMUFDBackendClass;

GType iommufd_backend_get_type(void);
#define TYPE_IOMMUFD_BACKEND (iommufd_backend_get_type())
#define IOMMUFD_BACKEND(o)   G_TYPE_CHECK_INSTANCE_CAST((o), TYPE_IOMMUFD_BACKEND, IOMMUFDBackend)

/* Users are counted: the first opens /dev/iommu, the last closes it. */
bool iommufd_backend_connect(IOMMUFDBackend *be, GError **errp);
void iommufd_backend_disconnect(IOMMUFDBackend *be);
/* Whether the kernel has the command (IOMMU_HWPT_ALLOC, …). */
bool iommufd_has(IOMMUFDBackend *be, unsigned long request);

/* A new, empty address space: all addresses, alignment 1, until a device is attached. */
bool iommufd_ioas_alloc(IOMMUFDBackend *be, uint32_t *ioas_id, GError **errp);
/* IOMMU_DESTROY of any object; a failure is reported as a warning. */
void iommufd_destroy(IOMMUFDBackend *be, uint32_t id);

typedef struct IOVARange {
    uint64_t start, last;
} IOVARange;
/*
 * The IOAS's allowed ranges, sorted; *alignment in bytes, a power of two.  They change with each
 * attach and detach.  g_free the array.
 */
IOVARange *iommufd_ioas_iova_ranges(IOMMUFDBackend *be, uint32_t ioas_id, size_t *n,
                                    uint64_t *alignment, GError **errp);
/*
 * Where the kernel may choose addresses by itself, in place of what was allowed before (EADDRINUSE
 * where it is reserved); none of it can be reserved for a device later.  @n 0: anywhere.
 */
bool iommufd_ioas_allow_iovas(IOMMUFDBackend *be, uint32_t ioas_id, const IOVARange *ranges,
                              uint32_t n, GError **errp);

/* @length bytes at @host; readable, and writable unless @readonly. */
bool iommufd_ioas_map(IOMMUFDBackend *be, uint32_t ioas_id, uint64_t iova, uint64_t length,
                      const void *host, bool readonly, GError **errp);
/* The same from a memfd or a dma-buf, from @start in it (Linux 6.13). */
bool iommufd_ioas_map_file(IOMMUFDBackend *be, uint32_t ioas_id, uint64_t iova, uint64_t length,
                           int fd, uint64_t start, bool readonly, GError **errp);
/*
 * Maps what @from_ioas has at @from_iova, parts of areas or several of them without a hole, in
 * another IOAS or the same: pages are pinned and accounted once.  What is mapped read-only cannot
 * become writable (EPERM).
 */
bool iommufd_ioas_copy(IOMMUFDBackend *be, uint32_t to_ioas, uint64_t to_iova, uint32_t from_ioas,
                       uint64_t from_iova, uint64_t length, bool readonly, GError **errp);
/* Whole areas only, just as they were mapped; 0 and UINT64_MAX: all there are. */
bool iommufd_ioas_unmap(IOMMUFDBackend *be, uint32_t ioas_id, uint64_t iova, uint64_t length,
                        GError **errp);
/*
 * IOMMU_OPTION_RLIMIT_MODE of the whole (@id 0; to set it needs CAP_SYS_RESOURCE and no object may
 * be there), or HUGE_PAGES of an IOAS.
 */
bool iommufd_option_get(IOMMUFDBackend *be, uint32_t option, uint32_t id, uint64_t *value,
                        GError **errp);
bool iommufd_option_set(IOMMUFDBackend *be, uint32_t option, uint32_t id, uint64_t value,
                        GError **errp);
/*
 * Moves the accounting of pinned memory to this process (Linux 6.13).  Refused with EINVAL while
 * anything is mapped by address or from a dma-buf.
 */
bool iommufd_ioas_change_process(IOMMUFDBackend *be, GError **errp);

/*
 * What the IOMMU in front of a bound device is (enum iommu_hw_info_type) and can do
 * (IOMMU_HW_CAP_*), Linux 6.7.  An mdev has none: ENOENT.
 */
bool iommufd_get_hw_info(IOMMUFDBackend *be, uint32_t dev_id, uint32_t *type,
                         uint64_t *capabilities, GError **errp);
/* A domain for the device, filled with all that the IOAS @pt_id maps (Linux 6.7). */
bool iommufd_hwpt_alloc(IOMMUFDBackend *be, uint32_t dev_id, uint32_t pt_id, uint32_t flags,
                        uint32_t *hwpt_id, GError **errp);
/* Switching it on forgets what was dirty. */
bool iommufd_set_dirty_tracking(IOMMUFDBackend *be, uint32_t hwpt_id, bool on, GError **errp);
/*
 * Sets bits for what devices wrote since it was last cleared: bit 0 is @iova, one bit for
 * @page_size bytes; never clears a bit of @bitmap.  The range must be mapped without a hole, and no
 * entry of the page table may reach over its end: it is clean afterwards, and Linux 7.2 sets its
 * bits behind the end of @bitmap.  Areas as they were mapped are safe.
 */
bool iommufd_get_dirty_bitmap(IOMMUFDBackend *be, uint32_t hwpt_id, uint64_t iova, uint64_t length,
                              uint64_t page_size, bool clear, uint64_t *bitmap, GError **errp);

/*
 * VFIO_DEVICE_ATTACH_IOMMUFD_PT of the bound cdev @fd: to an IOAS (then *pt_id becomes the domain
 * that the kernel chose) or a domain.  0, or -errno and the error: -EINVAL says that the device and
 * the domain do not fit, all else is final.
 */
int iommufd_device_attach(IOMMUFDBackend *be, int fd, uint32_t *pt_id, GError **errp);
/* From what the bound cdev @fd is attached to, if anything; its DMA is blocked from then on. */
bool iommufd_device_detach(IOMMUFDBackend *be, int fd, GError **errp);

#endif
