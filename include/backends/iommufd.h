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
    char *fd_name; /* property `fd`: a descriptor's number */
    int fd;        /* -1 while nobody uses the object, unless it was given */
    bool map_wait; /* property: the guest starts when its memory is mapped, not before */
    bool fd_given; /* never closed by disconnect */
    unsigned users;
} IOMMUFDBackend;

typedef UserObjectClass IOMMUFDBackendClass;

GType iommufd_backend_get_type(void);
#define TYPE_IOMMUFD_BACKEND (iommufd_backend_get_type())
#define IOMMUFD_BACKEND(o)   G_TYPE_CHECK_INSTANCE_CAST((o), TYPE_IOMMUFD_BACKEND, IOMMUFDBackend)

/* Users are counted: the first opens /dev/iommu, the last closes it. */
bool iommufd_backend_connect(IOMMUFDBackend *be, GError **errp);
void iommufd_backend_disconnect(IOMMUFDBackend *be);

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

/* @length bytes at @host; readable, and writable unless @readonly. */
bool iommufd_ioas_map(IOMMUFDBackend *be, uint32_t ioas_id, uint64_t iova, uint64_t length,
                      const void *host, bool readonly, GError **errp);
/* The same from a memfd or a dma-buf, from @start in it (Linux 6.13). */
bool iommufd_ioas_map_file(IOMMUFDBackend *be, uint32_t ioas_id, uint64_t iova, uint64_t length,
                           int fd, uint64_t start, bool readonly, GError **errp);
/* Whole areas only, just as they were mapped. */
bool iommufd_ioas_unmap(IOMMUFDBackend *be, uint32_t ioas_id, uint64_t iova, uint64_t length,
                        GError **errp);

#endif
