/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A container: an address space of devices whose addresses are the guest's physical ones, shared by
 * all devices of one iommufd object.  It listens to guest memory and keeps mapped what the guest
 * has there.
 *
 * Each extent is remembered as it was mapped, because the kernel unmaps whole extents only.  RAM
 * with a shared file behind it is mapped by that file: the mapping then names no address of this
 * process, and another process can take it over.  RAM whose file is mapped privately is not what
 * the file holds, so it is mapped by address.  Memory of other devices is mapped by its dma-buf;
 * where that fails the guest lives on without peer-to-peer DMA.
 *
 * What the first device finds is mapped behind the guest's boot (mapper.c) unless the user wants to
 * wait for it; whoever depends on it waits in vfio_container_settle().
 */
#include "hw/vfio/container.h"

#include <inttypes.h>

#include "core/lock.h"
#include "core/runstate.h"
#include "migration/cpr.h"
#include "util/error.h"
#include "util/hostcalls.h"
#include "util/trace.h"

#define MAX_THREADS 8 /* for guest memory: more do not get more of its bandwidth */

GPtrArray *vfio_containers;

/* ---- guest memory ---- */

/* The pages that lie wholly in the range; false if there are none that can be mapped. */
static bool extent_of(VFIOContainer *c, const MemoryRange *r, VFIOExtent *e)
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
    e->block = r->mr->block;
    e->offset = e->block ? (uint64_t)((char *)memory_range_host(r) - (char *)e->block->host) +
                               (e->iova - r->addr)
                         : 0;
    e->readonly = r->readonly;
    return true;
}

/* The kernel would say EINVAL; which addresses it does take is what the user needs to know. */
static bool check_ranges(VFIOContainer *c, const VFIOExtent *e, GError **errp)
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

static bool cannot_map(const VFIOExtent *e, const MemoryRange *r, GError **errp)
{
    g_prefix_error(errp, "cannot map guest memory '%s' at 0x%" PRIx64 "-0x%" PRIx64 " for DMA: ",
                   r->mr->name, e->iova, e->iova + e->length - 1);
    return false;
}

bool vfio_container_map(VFIOContainer *c, const VFIOExtent *e, const MemoryRange *r, GError **errp)
{
    bool has_file = r->mr->kind == REGION_RAM_DEVICE || memory_region_has_file(r->mr);
    uint64_t skip = e->iova - r->addr;

    return c->ops->map(c, e->iova, e->length, (char *)memory_range_host(r) + skip,
                       has_file ? r->mr->fd : -1, memory_range_fd_offset(r) + skip, r->readonly,
                       errp) ||
           cannot_map(e, r, errp);
}

/* If it failed it has said so, or says so here. */
bool vfio_container_settle(VFIOContainer *c, GError **errp)
{
    if (c->mapper && !vfio_mapper_finish(g_steal_pointer(&c->mapper), errp)) {
        c->map_failed = true;
        return false;
    }
    return !c->map_failed || error_set(errp, "%s: guest memory could not be mapped", c->name);
}

static bool map_ram(VFIOContainer *c, VFIOExtent *e, const MemoryRange *r, GError **errp)
{
    if (!check_ranges(c, e, errp)) {
        return cannot_map(e, r, errp);
    }
    if (c->adopted && c->collecting) {
        e->mapped = vfio_container_adopt(c, e, errp);
        return e->mapped || cannot_map(e, r, errp);
    }
    if (c->mapper && c->collecting) {
        vfio_mapper_add(c->mapper, e, r);
        return true;
    }
    e->mapped = vfio_container_settle(c, errp) && vfio_container_map(c, e, r, errp);
    return e->mapped;
}

/* Another device's memory.  A failure is not fatal, and said once. */
static bool map_peer(VFIOContainer *c, VFIOExtent *e, const MemoryRange *r)
{
    g_autoptr(GError) err = NULL;

    if (r->mr->fd < 0 && !c->ops->maps_device_memory_by_address) {
        return false;
    }
    if (cpr_is_incoming()) { /* when the old process cannot take it back any more */
        return true;
    }
    e->mapped = check_ranges(c, e, &err) && vfio_container_map(c, e, r, &err);
    if (err && !c->p2p_warned) {
        c->p2p_warned = true;
        warn_report("%s: no DMA from other devices to '%s': %s", c->name, r->mr->name,
                    err->message);
    }
    return e->mapped;
}

void vfio_container_map_peer(VFIOContainer *c, VFIOExtent *e, const MemoryRange *r)
{
    map_peer(c, e, r);
}

static VFIOContainer *container_of(MemoryListener *l)
{
    return (VFIOContainer *)(void *)((char *)l - offsetof(VFIOContainer, listener));
}

static bool vfio_listener_region_add(MemoryListener *l, const MemoryRange *r, GError **errp)
{
    VFIOContainer *c = container_of(l);
    bool ram = r->mr->kind == REGION_RAM;
    g_autofree VFIOExtent *e = NULL;

    if (!ram && r->mr->kind != REGION_RAM_DEVICE) {
        return true;
    }
    e = g_new0(VFIOExtent, 1);
    if (!extent_of(c, r, e)) {
        TRACE("vfio_listener_region_add_skip", "'%s' 0x%" PRIx64 "+0x%" PRIx64, r->mr->name,
              r->addr, r->size);
        return true;
    }
    TRACE("vfio_listener_region_add_ram", "'%s' 0x%" PRIx64 "+0x%" PRIx64, r->mr->name, e->iova,
          e->length);
    if (ram && !map_ram(c, e, r, errp)) {
        return false;
    }
    if (ram || map_peer(c, e, r)) {
        g_hash_table_add(c->extents, g_steal_pointer(&e));
    }
    return true;
}

static void vfio_listener_region_del(MemoryListener *l, const MemoryRange *r)
{
    VFIOContainer *c = container_of(l);
    const VFIOExtent *e = g_hash_table_lookup(c->extents, &r->addr);
    g_autoptr(GError) err = NULL;

    if (!e) {
        return; /* skipped when it came */
    }
    if (r->mr->kind == REGION_RAM) {
        vfio_container_settle(c, NULL);
    }
    TRACE("vfio_listener_region_del", "'%s' 0x%" PRIx64 "+0x%" PRIx64, r->mr->name, e->iova,
          e->length);
    if (e->mapped) {
        vfio_container_dirty_unmap(c, e);
    }
    if (e->mapped && !c->ops->unmap(c, e->iova, e->length, &err)) {
        warn_report("%s", err->message);
    }
    g_hash_table_remove(c->extents, &r->addr);
}

/* ---- life ---- */

static bool refresh_ranges(VFIOContainer *c, GError **errp)
{
    uint64_t alignment;
    size_t n;
    IOVARange *ranges = c->ops->iova_ranges(c, &n, &alignment, errp);

    if (!ranges) {
        return false;
    }
    g_free(c->ranges);
    c->ranges = ranges;
    c->nr_ranges = n;
    c->page = MAX(alignment, (uint64_t)getpagesize());
    return true;
}

void vfio_container_init(VFIOContainer *c, const VFIOContainerOps *ops, const char *name)
{
    if (!vfio_containers) {
        vfio_containers = g_ptr_array_new();
    }
    g_ptr_array_add(vfio_containers, c);
    c->ops = ops;
    c->name = g_strdup(name);
    c->extents = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
    vfio_container_cpr_register(c);
    c->listener = (MemoryListener) {
        .name = "vfio",
        .priority = 20, /* the guest has memory before its devices do, and loses it after */
        .region_add = vfio_listener_region_add,
        .region_del = vfio_listener_region_del,
    };
}

static void container_free(VFIOContainer *c)
{
    g_clear_pointer(&c->mapper, vfio_mapper_cancel);
    vfio_container_dirty_stop(c);
    memory_listener_unregister(&c->listener);
    vfio_container_cpr_fini(c);
    g_ptr_array_remove(vfio_containers, c);
    g_hash_table_unref(c->extents);
    g_free(c->ranges);
    g_free(c->name);
    c->ops->free(c);
}

void vfio_container_prepare(VFIOContainer *c)
{
    c->holds++;
    if (!c->listening && !c->adopted) {
        c->mapper = vfio_mapper_new(c);
    }
}

void vfio_container_await_pages(VFIOContainer *c)
{
    /* While it does not listen, the mapper is that of the device which is about to come. */
    if (c->mapper && !c->listening && main_loop_is_running() && machine_locked()) {
        machine_unlock();
        vfio_mapper_await_pages(c->mapper);
        machine_lock();
    }
}

void vfio_container_put(VFIOContainer *c)
{
    if (!--c->holds && !c->users) {
        container_free(c);
    }
}

/* The first device has come: maps what there is, and what there will be. */
static bool start_mapping(VFIOContainer *c, VFIODevice *dev, GError **errp)
{
    /* What the user asks for while the VM runs is done or refused before it is answered. */
    bool wait = c->map_wait || main_loop_is_running();
    g_autofree char *prefix =
        wait ? NULL : g_strdup_printf("%svfio %s: ", error_location(), dev->name);
    bool ok;

    c->collecting = true;
    ok = memory_listener_register(&c->listener, &address_space_memory, errp);
    c->collecting = false;
    if (!ok || !vfio_container_adopted_all(c, errp)) {
        return false;
    }
    c->listening = true;
    if (c->mapper) {
        vfio_mapper_start(c->mapper, prefix);
    }
    return !wait || vfio_container_settle(c, errp);
}

bool vfio_container_attach(VFIOContainer *c, VFIODevice *dev, GError **errp)
{
    if (!c->ops->attach(c, dev, errp)) {
        return false;
    }
    dev->container = c;
    c->users++;
    vfio_container_dirty_attached(c, dev);
    if (refresh_ranges(c, errp) && (c->listening || start_mapping(c, dev, errp))) {
        return true;
    }
    if (dev->adopted) {
        host_let_go(); /* it is another process's, and this one about to end */
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
    if (c->users == 1 && !c->holds) {
        g_clear_pointer(&c->mapper, vfio_mapper_cancel); /* who holds it will need the memory */
    }
    c->ops->detach(c, dev);
    vfio_container_dirty_detached(c, dev);
    if (!--c->users && !c->holds) {
        container_free(c);
    } else if (c->users && !host_has_let_go() && !refresh_ranges(c, &err)) {
        warn_report("%s", err->message); /* the old ones are narrower: safe */
    }
}

Crew *vfio_container_crew(const VFIOContainer *c, unsigned pieces)
{
    unsigned wanted = c->map_threads ?: g_get_num_processors();

    return crew_new("guest-memory", MIN(MIN(wanted, pieces), MAX_THREADS));
}

bool vfio_device_dma_ready(VFIODevice *dev)
{
    return vfio_container_settle(dev->container, NULL);
}
