/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The region tree and its listeners.  Rendering to flat views is in flatview.c.
 *
 * A commit renders each address space anew and walks the old and the new view side by side: equal
 * ranges stay, the rest is removed (all of it first) and added.  What a listener refused is
 * remembered with the listener, so that it is never told of the removal of what it does not have.
 */
#include "core/memory.h"

#include <string.h>

#include "core/flatview.h"
#include "util/error.h"

AddressSpace address_space_memory = { .name = "memory" };
AddressSpace address_space_io = { .name = "I/O" };

static AddressSpace *const spaces[] = { &address_space_memory, &address_space_io };
static unsigned transaction_depth;
static bool transaction_changed;

/* ---- regions ---- */

void memory_region_init(MemoryRegion *mr, GObject *owner, const char *name, uint64_t size)
{
    *mr = (MemoryRegion) {
        .name = g_strdup(name),
        .kind = REGION_CONTAINER,
        .owner = owner,
        .size = size,
        .enabled = true,
        .fd = -1,
    };
}

void memory_region_init_io(MemoryRegion *mr, GObject *owner, const MemoryRegionOps *ops,
                           void *opaque, const char *name, uint64_t size)
{
    memory_region_init(mr, owner, name, size);
    mr->kind = REGION_IO;
    mr->ops = ops;
    mr->opaque = opaque;
}

void memory_region_init_ram(MemoryRegion *mr, GObject *owner, const char *name, RAMBlock *block,
                            uint64_t offset, uint64_t size)
{
    memory_region_init(mr, owner, name, size);
    mr->kind = REGION_RAM;
    mr->block = block;
    mr->host = (char *)block->host + offset;
    mr->fd = block->fd;
    mr->fd_offset = block->fd_offset + offset;
}

void memory_region_init_ram_device(MemoryRegion *mr, GObject *owner, const char *name, void *host,
                                   uint64_t size, int fd, uint64_t fd_offset)
{
    memory_region_init(mr, owner, name, size);
    mr->kind = REGION_RAM_DEVICE;
    mr->host = host;
    mr->fd = fd;
    mr->fd_offset = fd_offset;
}

void memory_region_fini(MemoryRegion *mr)
{
    g_clear_pointer(&mr->children, g_ptr_array_unref);
    g_clear_pointer(&mr->name, g_free);
}

static void changed(void)
{
    transaction_changed = true;
    if (!transaction_depth) {
        memory_transaction_begin();
        memory_transaction_commit();
    }
}

/* Children stand in order of falling priority; of equals the newest first, so that it is on top. */
static void insert_child(MemoryRegion *container, MemoryRegion *child)
{
    guint i = 0;

    if (!container->children) {
        container->children = g_ptr_array_new();
    }
    while (i < container->children->len &&
           ((MemoryRegion *)container->children->pdata[i])->priority > child->priority) {
        i++;
    }
    g_ptr_array_insert(container->children, (int)i, child);
}

void memory_region_add_child(MemoryRegion *container, uint64_t addr, MemoryRegion *child,
                             int priority)
{
    child->container = container;
    child->addr = addr;
    child->priority = priority;
    insert_child(container, child);
    changed();
}

void memory_region_del_child(MemoryRegion *container, MemoryRegion *child)
{
    g_ptr_array_remove(container->children, child);
    child->container = NULL;
    changed();
}

void memory_region_set_enabled(MemoryRegion *mr, bool enabled)
{
    if (mr->enabled != enabled) {
        mr->enabled = enabled;
        changed();
    }
}

void memory_region_set_address(MemoryRegion *mr, uint64_t addr)
{
    if (mr->addr != addr) {
        mr->addr = addr;
        changed();
    }
}

/* ---- listeners ---- */

static guint range_hash(gconstpointer p)
{
    return g_int64_hash(&((const MemoryRange *)p)->addr);
}

static gboolean range_same_place(gconstpointer a, gconstpointer b)
{
    const MemoryRange *x = a, *y = b;

    return x->addr == y->addr && x->size == y->size;
}

static void refuse(MemoryListener *l, const MemoryRange *r)
{
    if (!l->refused) {
        l->refused = g_hash_table_new_full(range_hash, range_same_place, g_free, NULL);
    }
    g_hash_table_add(l->refused, g_memdup2(r, sizeof(*r)));
}

static void tell_del(MemoryListener *l, const MemoryRange *r)
{
    if (l->refused && g_hash_table_remove(l->refused, r)) {
        return;
    }
    if (l->region_del) {
        l->region_del(l, r);
    }
}

static bool tell_add(MemoryListener *l, const MemoryRange *r, GError **errp)
{
    return !l->region_add || l->region_add(l, r, errp);
}

static bool tell_commit(MemoryListener *l, GError **errp)
{
    return !l->commit || l->commit(l, errp);
}

static void tell_begin(MemoryListener *l)
{
    if (l->begin) {
        l->begin(l);
    }
}

/* What to do with a failure of a listener in a running VM: say it; the guest lives on. */
static void complain(MemoryListener *l, const GError *err)
{
    error_report("%s: %s", l->name, err->message);
}

static void update_listeners(AddressSpace *as, const FlatView *old, const FlatView *new)
{
    GPtrArray *listeners = as->listeners;

    for (guint i = 0; i < listeners->len; i++) {
        tell_begin(listeners->pdata[i]);
    }
    for (guint i = listeners->len; i-- > 0;) {
        for (size_t r = 0; r < old->n; r++) {
            if (!flat_view_has(new, &old->ranges[r])) {
                tell_del(listeners->pdata[i], &old->ranges[r]);
            }
        }
    }
    for (guint i = 0; i < listeners->len; i++) {
        MemoryListener *l = listeners->pdata[i];

        for (size_t r = 0; r < new->n; r++) {
            g_autoptr(GError) err = NULL;

            if (!flat_view_has(old, &new->ranges[r]) && !tell_add(l, &new->ranges[r], &err)) {
                refuse(l, &new->ranges[r]);
                complain(l, err);
            }
        }
        g_autoptr(GError) err = NULL;

        if (!tell_commit(l, &err)) {
            complain(l, err);
        }
    }
}

void memory_transaction_begin(void)
{
    transaction_depth++;
}

void memory_transaction_commit(void)
{
    if (--transaction_depth || !transaction_changed) {
        return;
    }
    transaction_changed = false;
    for (size_t i = 0; i < G_N_ELEMENTS(spaces); i++) {
        AddressSpace *as = spaces[i];
        FlatView *new = flat_view_render(as->root), *old = as->view;

        if (flat_view_equal(old, new)) {
            flat_view_unref(new);
            continue;
        }
        update_listeners(as, old, new);
        address_space_publish(as, new);
        flat_view_unref(old);
    }
}

bool memory_listener_register(MemoryListener *l, AddressSpace *as, GError **errp)
{
    const FlatView *view = as->view;
    guint place = 0;
    bool ok = true;
    size_t told = 0;

    l->as = as;
    tell_begin(l);
    while (ok && told < view->n) {
        ok = tell_add(l, &view->ranges[told], errp);
        told += ok;
    }
    if (!ok || !tell_commit(l, errp)) {
        tell_begin(l);
        while (told-- > 0) {
            tell_del(l, &view->ranges[told]);
        }
        tell_commit(l, NULL);
        l->as = NULL;
        return false;
    }
    while (place < as->listeners->len &&
           ((MemoryListener *)as->listeners->pdata[place])->priority <= l->priority) {
        place++;
    }
    g_ptr_array_insert(as->listeners, (int)place, l);
    return true;
}

void memory_listener_unregister(MemoryListener *l)
{
    const FlatView *view;

    if (!l->as) {
        return;
    }
    view = l->as->view;
    g_ptr_array_remove(l->as->listeners, l);
    tell_begin(l);
    for (size_t r = view->n; r-- > 0;) {
        tell_del(l, &view->ranges[r]);
    }
    tell_commit(l, NULL);
    g_clear_pointer(&l->refused, g_hash_table_unref);
    l->as = NULL;
}

void memory_init(void)
{
    static MemoryRegion roots[G_N_ELEMENTS(spaces)];
    static const uint64_t sizes[] = { UINT64_MAX, 0x10000 };

    for (size_t i = 0; i < G_N_ELEMENTS(spaces); i++) {
        memory_region_init(&roots[i], NULL, spaces[i]->name, sizes[i]);
        spaces[i]->root = &roots[i];
        spaces[i]->listeners = g_ptr_array_new();
        address_space_publish(spaces[i], flat_view_render(&roots[i]));
    }
}
