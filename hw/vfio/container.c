/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A container: one IOAS, whose IOVAs are guest physical addresses, shared by all devices of one
 * iommufd object.  It listens to guest memory and keeps mapped what the guest has there.
 *
 * Each extent is remembered as it was mapped, because the kernel unmaps whole extents only.  RAM
 * with a shared file behind it is mapped by that file: the mapping then names no address of this
 * process, and another process can take it over.  RAM whose file is mapped privately is not what
 * the file holds, so it is mapped by address.  Memory of other devices is mapped by its dma-buf;
 * where that fails the guest lives on without peer-to-peer DMA.
 */
#include "hw/vfio/internal.h"

#include <errno.h>
#include <inttypes.h>

#include "util/error.h"
#include "util/hostcalls.h"
#include "util/trace.h"

struct VFIOContainer {
    IOMMUFDBackend *be;
    uint32_t ioas_id;
    unsigned users;
    MemoryListener listener;
    GHashTable *extents; /* by the address of the memory range they serve */
    IOVARange *ranges;   /* what the IOAS takes; changes with each attach and detach */
    size_t nr_ranges;
    uint64_t page; /* the larger of the host's page and the IOAS's alignment */
    bool p2p_warned;
};

typedef struct Extent {
    uint64_t addr; /* of the range */
    uint64_t iova, length;
} Extent;

static GPtrArray *containers; /* all that have a user */

/* ---- guest memory ---- */

/* RAM that is mapped by its file. */
static bool has_file(const MemoryRegion *mr)
{
    return mr->fd >= 0 && mr->block && mr->block->shared;
}

static void populate_range(const MemoryRange *r)
{
    RAMBlock *block = r->mr->block;

    ram_block_populate_huge(block, (uint64_t)((char *)memory_range_host(r) - (char *)block->host),
                            r->size);
}

static void *populate_thread(void *opaque)
{
    FlatView *view = opaque;
    size_t n;
    const MemoryRange *ranges = flat_view_ranges(view, &n);

    for (size_t i = 0; i < n; i++) {
        if (has_file(ranges[i].mr)) {
            populate_range(&ranges[i]);
        }
    }
    flat_view_unref(view);
    return NULL;
}

static VFIOContainer *container_find(IOMMUFDBackend *be)
{
    for (guint i = 0; containers && i < containers->len; i++) {
        VFIOContainer *c = containers->pdata[i];

        if (c->be == be) {
            return c;
        }
    }
    return NULL;
}

GThread *vfio_container_populate(IOMMUFDBackend *be)
{
    FlatView *view = container_find(be) ? NULL : address_space_view(&address_space_memory);
    GThread *thread = view ? g_thread_try_new("populate", populate_thread, view, NULL) : NULL;

    if (!thread) {
        flat_view_unref(view); /* the mapping does it then */
    }
    return thread;
}

/* The pages that lie wholly in the range; false if there are none that can be mapped. */
static bool extent_of(VFIOContainer *c, const MemoryRange *r, Extent *e)
{
    uint64_t mask = c->page - 1;

    /* Half of the address space is no bus's; a BAR gets there while the guest sizes it. */
    if ((r->addr | (r->addr + r->size - 1)) >> 63 ||
        (r->addr & mask) != ((uintptr_t)memory_range_host(r) & mask)) {
        return false;
    }
    e->addr = r->addr;
    e->iova = (r->addr + mask) & ~mask;
    e->length = (r->addr + r->size) & ~mask;
    if (e->length <= e->iova) {
        return false;
    }
    e->length -= e->iova;
    return true;
}

/* The kernel would say EINVAL; which addresses it does take is what the user needs to know. */
static bool check_ranges(VFIOContainer *c, const Extent *e, GError **errp)
{
    g_autoptr(GString) text = NULL;

    for (size_t i = 0; i < c->nr_ranges; i++) {
        if (e->iova >= c->ranges[i].start && e->iova + e->length - 1 <= c->ranges[i].last) {
            return true;
        }
    }
    text = g_string_new(NULL);
    for (size_t i = 0; i < c->nr_ranges; i++) {
        g_string_append_printf(text, "%s0x%" PRIx64 "-0x%" PRIx64, i ? ", " : "",
                               c->ranges[i].start, c->ranges[i].last);
    }
    return error_set(errp, "the host's IOMMU takes only %s", text->str);
}

static bool map_ram(VFIOContainer *c, const MemoryRange *r, const Extent *e, GError **errp)
{
    MemoryRegion *mr = r->mr;
    uint64_t skip = e->iova - r->addr;

    if (has_file(mr)) {
        populate_range(r); /* quick where the thread has been */
        return iommufd_ioas_map_file(c->be, c->ioas_id, e->iova, e->length, mr->fd,
                                     memory_range_fd_offset(r) + skip, r->readonly, errp);
    }
    return iommufd_ioas_map(c->be, c->ioas_id, e->iova, e->length,
                            (char *)memory_range_host(r) + skip, r->readonly, errp);
}

/* A peer's memory: 1 mapped, 0 not. */
static bool map_peer(VFIOContainer *c, const MemoryRange *r, const Extent *e)
{
    g_autoptr(GError) err = NULL;

    if (iommufd_ioas_map_file(c->be, c->ioas_id, e->iova, e->length, r->mr->fd,
                              memory_range_fd_offset(r) + e->iova - r->addr, r->readonly, &err)) {
        return true;
    }
    if (!c->p2p_warned) {
        c->p2p_warned = true;
        warn_report("%s: no DMA from other devices to '%s': %s", c->be->parent.id, r->mr->name,
                    err->message);
    }
    return false;
}

static bool vfio_listener_region_add(MemoryListener *l, const MemoryRange *r, GError **errp)
{
    VFIOContainer *c = (VFIOContainer *)(void *)((char *)l - offsetof(VFIOContainer, listener));
    bool ram = r->mr->kind == REGION_RAM;
    Extent e;

    if (!ram && (r->mr->kind != REGION_RAM_DEVICE || r->mr->fd < 0)) {
        return true;
    }
    if (!extent_of(c, r, &e)) {
        TRACE("vfio_listener_region_add_skip", "'%s' 0x%" PRIx64 "+0x%" PRIx64, r->mr->name,
              r->addr, r->size);
        return true;
    }
    TRACE("vfio_listener_region_add_ram", "'%s' 0x%" PRIx64 "+0x%" PRIx64, r->mr->name, e.iova,
          e.length);
    if (!ram) {
        if (!map_peer(c, r, &e)) {
            return true;
        }
    } else if (!check_ranges(c, &e, errp) || !map_ram(c, r, &e, errp)) {
        g_prefix_error(errp,
                       "cannot map guest memory '%s' at 0x%" PRIx64 "-0x%" PRIx64 " for DMA: ",
                       r->mr->name, e.iova, e.iova + e.length - 1);
        return false;
    }
    g_hash_table_add(c->extents, g_memdup2(&e, sizeof(e)));
    return true;
}

static void vfio_listener_region_del(MemoryListener *l, const MemoryRange *r)
{
    VFIOContainer *c = (VFIOContainer *)(void *)((char *)l - offsetof(VFIOContainer, listener));
    const Extent *e = g_hash_table_lookup(c->extents, &r->addr);
    g_autoptr(GError) err = NULL;

    if (!e) {
        return; /* skipped when it came */
    }
    TRACE("vfio_listener_region_del", "'%s' 0x%" PRIx64 "+0x%" PRIx64, r->mr->name, e->iova,
          e->length);
    if (!iommufd_ioas_unmap(c->be, c->ioas_id, e->iova, e->length, &err)) {
        warn_report("%s", err->message);
    }
    g_hash_table_remove(c->extents, &r->addr);
}

/* ---- life ---- */

static bool refresh_ranges(VFIOContainer *c, GError **errp)
{
    uint64_t alignment;
    size_t n;
    IOVARange *ranges = iommufd_ioas_iova_ranges(c->be, c->ioas_id, &n, &alignment, errp);

    if (!ranges) {
        return false;
    }
    g_free(c->ranges);
    c->ranges = ranges;
    c->nr_ranges = n;
    c->page = MAX(alignment, (uint64_t)getpagesize());
    return true;
}

static VFIOContainer *container_new(IOMMUFDBackend *be, GError **errp)
{
    VFIOContainer *c;
    uint32_t ioas_id;

    if (!iommufd_ioas_alloc(be, &ioas_id, errp)) {
        return NULL;
    }
    c = g_new0(VFIOContainer, 1);
    c->be = be;
    c->ioas_id = ioas_id;
    c->extents = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
    c->listener = (MemoryListener) {
        .name = "vfio",
        .priority = 20, /* the guest has memory before its devices do, and loses it after */
        .region_add = vfio_listener_region_add,
        .region_del = vfio_listener_region_del,
    };
    g_ptr_array_add(containers, c);
    return c;
}

static void container_free(VFIOContainer *c)
{
    memory_listener_unregister(&c->listener);
    iommufd_destroy(c->be, c->ioas_id);
    g_ptr_array_remove(containers, c);
    g_hash_table_unref(c->extents);
    g_free(c->ranges);
    g_free(c);
}

static VFIOContainer *container_get(IOMMUFDBackend *be, GError **errp)
{
    if (!containers) {
        containers = g_ptr_array_new();
    }
    return container_find(be) ?: container_new(be, errp);
}

/* The kernel finds or makes the page table.  Page tables of our own go in here. */
static bool attach_ioas(VFIOContainer *c, VFIODevice *dev, GError **errp)
{
    struct vfio_device_attach_iommufd_pt attach = {
        .argsz = VFIO_ATTACH_IOMMUFD_PT_ARGSZ,
        .pt_id = c->ioas_id,
    };

    if (hostcalls->ioctl(dev->fd, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &attach)) {
        return error_set_errno(errp, errno, "error attach to IOAS %u of '%s'", c->ioas_id,
                               c->be->parent.id);
    }
    TRACE("iommufd_cdev_attach_ioas_hwpt", "%s ioas %u hwpt %u", dev->name, c->ioas_id,
          attach.pt_id);
    return true;
}

static void detach_ioas(VFIOContainer *c, VFIODevice *dev)
{
    struct vfio_device_detach_iommufd_pt detach = { .argsz = VFIO_DETACH_IOMMUFD_PT_ARGSZ };

    TRACE("iommufd_cdev_detach_ioas_hwpt", "%s ioas %u", dev->name, c->ioas_id);
    if (hostcalls->ioctl(dev->fd, VFIO_DEVICE_DETACH_IOMMUFD_PT, &detach)) {
        warn_report("vfio %s: error detach from IOAS %u of '%s': %s", dev->name, c->ioas_id,
                    c->be->parent.id, g_strerror(errno));
    }
}

bool vfio_container_attach(VFIODevice *dev, GError **errp)
{
    VFIOContainer *c = container_get(dev->iommufd, errp);

    if (!c) {
        return false;
    }
    if (!attach_ioas(c, dev, errp)) {
        if (!c->users) {
            container_free(c);
        }
        return false;
    }
    dev->container = c;
    c->users++;
    /* The first device waits here until all of guest memory is pinned. */
    if (refresh_ranges(c, errp) &&
        (c->users > 1 || memory_listener_register(&c->listener, &address_space_memory, errp))) {
        return true;
    }
    vfio_container_detach(dev);
    return false;
}

void vfio_container_detach(VFIODevice *dev)
{
    VFIOContainer *c = g_steal_pointer(&dev->container);
    g_autoptr(GError) err = NULL;

    if (!c) {
        return;
    }
    detach_ioas(c, dev);
    if (!--c->users) {
        container_free(c);
    } else if (!refresh_ranges(c, &err)) {
        warn_report("%s", err->message); /* the old ones are narrower: safe */
    }
}
