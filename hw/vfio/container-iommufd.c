/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A container that is an IOAS of an iommufd object. */
#include "hw/vfio/container.h"

#include <errno.h>

#include "util/error.h"
#include "util/hostcalls.h"
#include "util/trace.h"

typedef struct VFIOIOMMUFDContainer {
    VFIOContainer parent;
    IOMMUFDBackend *be;
    uint32_t ioas_id;
} VFIOIOMMUFDContainer;

static GPtrArray *containers; /* all there are */

static VFIOIOMMUFDContainer *of(VFIOContainer *c)
{
    return (VFIOIOMMUFDContainer *)c;
}

/* The kernel finds or makes the page table.  Page tables of our own go in here. */
static bool attach_ioas(VFIOContainer *c, VFIODevice *dev, GError **errp)
{
    struct vfio_device_attach_iommufd_pt attach = {
        .argsz = VFIO_ATTACH_IOMMUFD_PT_ARGSZ,
        .pt_id = of(c)->ioas_id,
    };

    if (hostcalls->ioctl(dev->fd, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &attach)) {
        return error_set_errno(errp, errno, "error attach to IOAS %u of '%s'", of(c)->ioas_id,
                               c->name);
    }
    TRACE("iommufd_cdev_attach_ioas_hwpt", "%s ioas %u hwpt %u", dev->name, of(c)->ioas_id,
          attach.pt_id);
    return true;
}

static void detach_ioas(VFIOContainer *c, VFIODevice *dev)
{
    struct vfio_device_detach_iommufd_pt detach = { .argsz = VFIO_DETACH_IOMMUFD_PT_ARGSZ };

    TRACE("iommufd_cdev_detach_ioas_hwpt", "%s ioas %u", dev->name, of(c)->ioas_id);
    if (hostcalls->ioctl(dev->fd, VFIO_DEVICE_DETACH_IOMMUFD_PT, &detach)) {
        warn_report("vfio %s: error detach from IOAS %u of '%s': %s", dev->name, of(c)->ioas_id,
                    c->name, g_strerror(errno));
    }
}

static IOVARange *iova_ranges(VFIOContainer *c, size_t *n, uint64_t *alignment, GError **errp)
{
    return iommufd_ioas_iova_ranges(of(c)->be, of(c)->ioas_id, n, alignment, errp);
}

static bool map(VFIOContainer *c, uint64_t iova, uint64_t length, void *host, int fd,
                uint64_t start, bool readonly, GError **errp)
{
    return fd < 0 ? iommufd_ioas_map(of(c)->be, of(c)->ioas_id, iova, length, host, readonly, errp)
                  : iommufd_ioas_map_file(of(c)->be, of(c)->ioas_id, iova, length, fd, start,
                                          readonly, errp);
}

static bool unmap(VFIOContainer *c, uint64_t iova, uint64_t length, GError **errp)
{
    return iommufd_ioas_unmap(of(c)->be, of(c)->ioas_id, iova, length, errp);
}

static void container_free(VFIOContainer *c)
{
    iommufd_destroy(of(c)->be, of(c)->ioas_id);
    g_ptr_array_remove(containers, c);
    g_free(c);
}

static const VFIOContainerOps iommufd_container_ops = {
    .attach = attach_ioas,
    .detach = detach_ioas,
    .iova_ranges = iova_ranges,
    .map = map,
    .unmap = unmap,
    .free = container_free,
};

VFIOContainer *vfio_container_of_iommufd(IOMMUFDBackend *be, GError **errp)
{
    VFIOIOMMUFDContainer *c;
    uint32_t ioas_id;

    if (!containers) {
        containers = g_ptr_array_new();
    }
    for (guint i = 0; i < containers->len; i++) {
        c = containers->pdata[i];
        if (c->be == be) {
            return &c->parent;
        }
    }
    if (!iommufd_ioas_alloc(be, &ioas_id, errp)) {
        return NULL;
    }
    c = g_new0(VFIOIOMMUFDContainer, 1);
    c->be = be;
    c->ioas_id = ioas_id;
    vfio_container_init(&c->parent, &iommufd_container_ops, be->parent.id);
    c->parent.map_wait = be->map_wait;
    g_ptr_array_add(containers, c);
    return &c->parent;
}
