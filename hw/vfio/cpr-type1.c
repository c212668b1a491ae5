/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Live update of type1 containers.
 *
 * The kernel needs the addresses of what it has mapped only to pin more of it, and to know whose
 * pinned memory it is.  So the old process invalidates them all (VFIO_DMA_UNMAP_FLAG_VADDR), and each
 * extent gets one again (VFIO_DMA_MAP_FLAG_VADDR) from who has the VM then: it counts as that
 * process's.  DMA goes on all the time, to the memory of other devices too, but a group cannot be
 * added meanwhile, and where a mediated device is, which pins when it likes, none of it is possible.
 *
 * An extent has no address, or one process's; of either process one call gives it one.  So whatever
 * the new one has got when the old one takes all back, there is no race between them.
 * Source: Linux include/uapi/linux/vfio.h.
 */
#include "hw/vfio/group.h"

#include <errno.h>
#include <inttypes.h>

#include "migration/cpr.h"
#include "util/error.h"
#include "util/hostcalls.h"
#include "util/memlock.h"
#include "util/trace.h"

/* ---- the kernel ---- */

bool vfio_type1_can_update_vaddr(int fd)
{
    return hostcalls->ioctl(fd, VFIO_CHECK_EXTENSION, (void *)VFIO_UPDATE_VADDR) > 0 &&
           hostcalls->ioctl(fd, VFIO_CHECK_EXTENSION, (void *)VFIO_UNMAP_ALL) > 0;
}

/* @length 0: of all there is. */
static bool invalidate(VFIOType1Container *c, uint64_t iova, uint64_t length, GError **errp)
{
    struct vfio_iommu_type1_dma_unmap unmap = {
        .argsz = sizeof(unmap),
        .flags = VFIO_DMA_UNMAP_FLAG_VADDR | (length ? 0 : VFIO_DMA_UNMAP_FLAG_ALL),
        .iova = iova,
        .size = length,
    };

    TRACE("vfio_dma_invalidate_vaddr", "fd %d iova 0x%" PRIx64 " length 0x%" PRIx64, c->fd, iova,
          length);
    return !hostcalls->ioctl(c->fd, VFIO_IOMMU_UNMAP_DMA, &unmap) ||
           error_set_errno(errp, errno,
                           "%s: VFIO_IOMMU_UNMAP_DMA (VFIO_DMA_UNMAP_FLAG_VADDR) failed",
                           c->parent.name);
}

/* False and errno. */
static bool update_vaddr(VFIOType1Container *c, uint64_t iova, uint64_t length, const void *host)
{
    struct vfio_iommu_type1_dma_map map = {
        .argsz = sizeof(map),
        .flags = VFIO_DMA_MAP_FLAG_VADDR,
        .vaddr = (uintptr_t)host,
        .iova = iova,
        .size = length,
    };

    TRACE("vfio_dma_update_vaddr", "fd %d iova 0x%" PRIx64 " length 0x%" PRIx64 " host %p", c->fd,
          iova, length, host);
    return !hostcalls->ioctl(c->fd, VFIO_IOMMU_MAP_DMA, &map);
}

static bool cannot_update(VFIOType1Container *c, uint64_t iova, uint64_t length, int errnum,
                          GError **errp)
{
    g_autofree char *why = errnum == ENOMEM ? memlock_hint(length) : NULL;

    return error_set(errp,
                     "%s: VFIO_IOMMU_MAP_DMA (VFIO_DMA_MAP_FLAG_VADDR, iova 0x%" PRIx64
                     ", length 0x%" PRIx64 ") failed: %s%s",
                     c->parent.name, iova, length, g_strerror(errnum), why ?: "");
}

/* ---- extents ---- */

static char *host_of(const FlatView *view, const VFIOExtent *e)
{
    const MemoryRange *r = e->block ? NULL : flat_view_find(view, e->addr);

    return e->block                  ? (char *)e->block->host + e->offset
           : r && r->addr == e->addr ? (char *)memory_range_host(r) + (e->iova - r->addr)
                                     : NULL;
}

/* @back: from the other process too, if that has it already. */
static bool take_part(VFIOType1Container *c, uint64_t iova, uint64_t length, const void *host,
                      bool back, GError **errp)
{
    int error;

    if (update_vaddr(c, iova, length, host)) {
        return true;
    }
    error = errno;
    if (back && error == EINVAL && invalidate(c, iova, length, NULL)) {
        if (update_vaddr(c, iova, length, host)) {
            return true;
        }
        error = errno;
    }
    return cannot_update(c, iova, length, error, errp);
}

/* As it was mapped, so that each is one mapping of the kernel's. */
static bool take_extent(VFIOType1Container *c, const VFIOExtent *e, const char *host, bool back,
                        GError **errp)
{
    uint64_t part = e->part ?: e->length;

    for (uint64_t at = 0; at < e->length; at += part) {
        if (!take_part(c, e->iova + at, MIN(part, e->length - at), host + at, back, errp)) {
            return false;
        }
    }
    return true;
}

/* Of the old process, all that can be: the error is the first. */
static bool take_all(VFIOType1Container *c, bool back, GError **errp)
{
    FlatView *view = address_space_view(&address_space_memory);
    GError *first = NULL;
    GHashTableIter iter;
    VFIOExtent *e;

    g_hash_table_iter_init(&iter, c->parent.extents);
    while ((back || !first) && g_hash_table_iter_next(&iter, NULL, (void **)&e)) {
        const char *host = e->mapped ? host_of(view, e) : NULL;

        if (host) {
            take_extent(c, e, host, back, first ? NULL : &first);
        }
    }
    flat_view_unref(view);
    if (first) {
        g_propagate_error(errp, first);
    }
    return !first;
}

/* ---- the memory of devices ---- */

static char *name_of(const VFIOType1Container *c, const char *what)
{
    return g_strdup_printf("type1/%u%s", c->number, what);
}

static void save_peers(VFIOType1Container *c)
{
    g_autoptr(GArray) peers = g_array_new(FALSE, FALSE, sizeof(VFIOType1Peer));
    g_autofree char *name = name_of(c, "/peers");
    GHashTableIter iter;
    VFIOExtent *e;

    g_hash_table_iter_init(&iter, c->parent.extents);
    while (g_hash_table_iter_next(&iter, NULL, (void **)&e)) {
        VFIOType1Peer peer = { e->iova, e->length, e->readonly };

        if (!e->block && e->mapped) {
            g_array_append_val(peers, peer);
        }
    }
    cpr_save_data(name, 0, peers->data, peers->len * sizeof(VFIOType1Peer));
}

static bool find_peers(VFIOType1Container *c, GError **errp)
{
    g_autofree char *name = name_of(c, "/peers");
    const GByteArray *bytes = cpr_find_bytes(name, 0);

    if (!bytes || bytes->len % sizeof(VFIOType1Peer)) {
        return error_set(errp, "%s: the old process does not say which devices' memory is mapped",
                         c->parent.name);
    }
    c->peers = g_array_new(FALSE, FALSE, sizeof(VFIOType1Peer));
    g_array_append_vals(c->peers, bytes->data, bytes->len / sizeof(VFIOType1Peer));
    return true;
}

bool vfio_type1_take_peer(VFIOType1Container *c, uint64_t iova, uint64_t length, const void *host,
                          bool readonly)
{
    for (guint i = 0; c->peers && i < c->peers->len; i++) {
        const VFIOType1Peer *peer = &g_array_index(c->peers, VFIOType1Peer, i);

        if (peer->iova == iova && peer->length == length && peer->readonly == readonly) {
            g_array_remove_index_fast(c->peers, i);
            if (update_vaddr(c, iova, length, host)) {
                return true;
            }
            c->parent.ops->unmap(&c->parent, iova, length, NULL);
            return false;
        }
    }
    return false;
}

/* ---- containers ---- */

static VFIOType1Container *of(VFIOContainer *c)
{
    return (VFIOType1Container *)c;
}

static bool is_mdev(const VFIODevice *dev)
{
    g_autofree char *type = g_build_filename(dev->sysfs, "mdev_type", NULL);

    return g_file_test(type, G_FILE_TEST_EXISTS);
}

bool vfio_type1_cpr_check(VFIOContainer *c, GError **errp)
{
    /* While it has no group its first device is being added, which is a reason of its own. */
    if (!of(c)->groups || vfio_type1_can_update_vaddr(of(c)->fd)) {
        return true;
    }
    for (guint i = 0; vfio_devices && i < vfio_devices->len; i++) {
        const VFIODevice *dev = vfio_devices->pdata[i];

        if (dev->container == c && is_mdev(dev)) {
            return error_set(errp, "vfio %s: CPR does not hand over a mediated device", dev->name);
        }
    }
    return error_set(errp,
                     "%s: the kernel does not let CPR hand over what is mapped (VFIO_UPDATE_VADDR, "
                     "Linux 5.12; not with mediated devices)",
                     c->name);
}

void vfio_type1_cpr_save(VFIOContainer *c)
{
    g_autofree char *name = name_of(of(c), "");

    cpr_save_fd(name, 0, of(c)->fd);
}

bool vfio_type1_cpr_take(VFIOContainer *c, bool back, GError **errp)
{
    if (!back) {
        return find_peers(of(c), errp) && take_all(of(c), false, errp);
    }
    of(c)->let_go = of(c)->let_go && !take_all(of(c), true, errp);
    return !of(c)->let_go;
}

bool vfio_type1_cpr_stop(VFIOContainer *c, GError **errp)
{
    save_peers(of(c));
    if (!vfio_type1_cpr_take(c, true, errp)) { /* what could not be taken back the last time */
        return false;
    }
    of(c)->let_go = invalidate(of(c), 0, 0, errp);
    return of(c)->let_go;
}

/* What is left has no place here: this process has another idea of its devices' memory. */
void vfio_type1_cpr_finish(VFIOContainer *c)
{
    for (guint i = 0; of(c)->peers && i < of(c)->peers->len; i++) {
        const VFIOType1Peer *peer = &g_array_index(of(c)->peers, VFIOType1Peer, i);
        g_autoptr(GError) err = NULL;

        if (!c->ops->unmap(c, peer->iova, peer->length, &err)) {
            warn_report("%s", err->message);
        }
    }
    g_clear_pointer(&of(c)->peers, g_array_unref);
}

int vfio_type1_cpr_find(const VFIOGroup *g, GError **errp)
{
    g_autofree char *name = g_strdup_printf("type1/%u", g->number);
    int fd = cpr_find_fd(name, 0);
    struct stat st;

    if (fd < 0) {
        error_set(errp, "the old process does not give the container of group %u", g->id);
    } else if (hostcalls->fstat(fd, &st) || !S_ISCHR(st.st_mode) ||
               !vfio_type1_can_update_vaddr(fd)) {
        error_set(errp,
                  "what the old process gives for the container of group %u is none that can be "
                  "handed over",
                  g->id);
        host_fd_close(&fd);
    }
    return fd;
}
