/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Flat views: rendering, look-up, dispatch.
 *
 * Rendering goes depth first through children in order of falling priority and puts each leaf only
 * where nothing is yet, so what comes first wins.  Addresses are 64 bit; a range is kept as first
 * and last byte inside, so that 2^64 needs no wider type.
 */
#include "core/flatview.h"

#include <string.h>

/* ---- rendering ---- */

typedef struct Window {
    uint64_t first, last;
} Window;

static MemoryRange *at(GArray *ranges, guint i)
{
    return &g_array_index(ranges, MemoryRange, i);
}

static uint64_t last_of(const MemoryRange *r)
{
    return r->addr + r->size - 1;
}

/* Puts leaf @mr, whose first byte would be at @base, wherever the window is still free. */
static void place_leaf(GArray *ranges, MemoryRegion *mr, uint64_t base, Window w, bool readonly)
{
    guint i = 0;

    while (i < ranges->len && last_of(at(ranges, i)) < w.first) {
        i++;
    }
    for (uint64_t first = w.first;; i++) {
        uint64_t last = w.last;

        if (i < ranges->len && at(ranges, i)->addr <= last) {
            last = at(ranges, i)->addr - 1; /* wraps when that range starts at 0: nothing fits */
            if (at(ranges, i)->addr <= first) {
                last = 0;
            }
        }
        if (last >= first && !(i < ranges->len && at(ranges, i)->addr <= first)) {
            MemoryRange r = { first, last - first + 1, mr, first - base, readonly };

            g_array_insert_val(ranges, i, r);
            i++;
        }
        if (i >= ranges->len || last_of(at(ranges, i)) >= w.last) {
            return;
        }
        first = last_of(at(ranges, i)) + 1;
    }
}

static void render(GArray *ranges, MemoryRegion *mr, uint64_t base, Window w, bool readonly)
{
    uint64_t last;

    if (!mr->enabled || !mr->size) {
        return;
    }
    /* The region's own extent; one that would run past 2^64 is cut there. */
    if (__builtin_add_overflow(base, mr->size - 1, &last)) {
        last = UINT64_MAX;
    }
    w.first = MAX(w.first, base);
    w.last = MIN(w.last, last);
    if (w.first > w.last) {
        return;
    }
    readonly |= mr->readonly;
    for (guint i = 0; mr->children && i < mr->children->len; i++) {
        MemoryRegion *child = mr->children->pdata[i];
        uint64_t child_base;

        if (!__builtin_add_overflow(base, child->addr, &child_base)) {
            render(ranges, child, child_base, w, readonly);
        }
    }
    if (mr->kind != REGION_CONTAINER) {
        place_leaf(ranges, mr, base, w, readonly);
    }
}

/* Whether @b continues @a: the same backing, back to back. */
static bool mergeable(const MemoryRange *a, const MemoryRange *b)
{
    return a->addr + a->size == b->addr && a->readonly == b->readonly &&
           a->mr->kind == b->mr->kind &&
           ((a->mr == b->mr && a->offset + a->size == b->offset) ||
            (a->mr->kind == REGION_RAM && a->mr->block == b->mr->block &&
             (char *)memory_range_host(a) + a->size == memory_range_host(b)));
}

FlatView *flat_view_render(MemoryRegion *root)
{
    GArray *ranges = g_array_new(FALSE, FALSE, sizeof(MemoryRange));
    FlatView *view = g_new0(FlatView, 1);
    guint kept = 0;

    render(ranges, root, 0, (Window) { 0, UINT64_MAX }, false);
    for (guint i = 0; i < ranges->len; i++) {
        if (kept && mergeable(at(ranges, kept - 1), at(ranges, i))) {
            at(ranges, kept - 1)->size += at(ranges, i)->size;
        } else {
            *at(ranges, kept++) = *at(ranges, i);
        }
    }
    g_atomic_ref_count_init(&view->refs);
    view->n = kept;
    view->ranges = (MemoryRange *)(void *)g_array_free(ranges, FALSE);
    for (size_t i = 0; i < view->n; i++) {
        if (view->ranges[i].mr->owner) {
            g_object_ref(view->ranges[i].mr->owner);
        }
    }
    return view;
}

static bool same_range(const MemoryRange *a, const MemoryRange *b)
{
    return a->addr == b->addr && a->size == b->size && a->mr == b->mr && a->offset == b->offset &&
           a->readonly == b->readonly;
}

bool flat_view_equal(const FlatView *a, const FlatView *b)
{
    bool equal = a->n == b->n;

    for (size_t i = 0; equal && i < a->n; i++) {
        equal = same_range(&a->ranges[i], &b->ranges[i]);
    }
    return equal;
}

bool flat_view_has(const FlatView *view, const MemoryRange *r)
{
    const MemoryRange *found = flat_view_find(view, r->addr);

    return found && same_range(found, r);
}

/* ---- life and look-up ---- */

static GMutex publish_lock; /* a view is counted or replaced, never both at once; innermost */

void address_space_publish(AddressSpace *as, FlatView *view)
{
    g_mutex_lock(&publish_lock);
    __atomic_store_n(&as->view, view, __ATOMIC_RELEASE);
    g_mutex_unlock(&publish_lock);
}

FlatView *address_space_view(AddressSpace *as)
{
    FlatView *view;

    g_mutex_lock(&publish_lock);
    view = as->view;
    g_atomic_ref_count_inc(&view->refs);
    g_mutex_unlock(&publish_lock);
    return view;
}

void flat_view_unref(FlatView *view)
{
    if (!view || !g_atomic_ref_count_dec(&view->refs)) {
        return;
    }
    for (size_t i = 0; i < view->n; i++) {
        if (view->ranges[i].mr->owner) {
            g_object_unref(view->ranges[i].mr->owner);
        }
    }
    g_free(view->ranges);
    g_free(view);
}

const MemoryRange *flat_view_ranges(const FlatView *view, size_t *n)
{
    *n = view->n;
    return view->ranges;
}

const MemoryRange *flat_view_find(const FlatView *view, uint64_t addr)
{
    size_t low = 0, high = view->n;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const MemoryRange *r = &view->ranges[middle];

        if (addr < r->addr) {
            high = middle;
        } else if (addr - r->addr >= r->size) {
            low = middle + 1;
        } else {
            return r;
        }
    }
    return NULL;
}

void *memory_range_host(const MemoryRange *r)
{
    return (char *)r->mr->host + r->offset;
}

uint64_t memory_range_fd_offset(const MemoryRange *r)
{
    return r->mr->fd_offset + r->offset;
}

/* ---- dispatch ---- */

/*
 * An I/O region's access of @len bytes, taken apart to naturally aligned pieces of the sizes that
 * its callbacks take.  Little endian, as all buses here are.
 */
static void io_rw(const MemoryRange *r, uint64_t offset, uint8_t *buf, unsigned len, bool is_write)
{
    const MemoryRegionOps *ops = r->mr->ops;

    while (len) {
        unsigned size = ops->max_size ?: 8;
        uint64_t value = 0;

        while (size > len || offset % size) {
            size /= 2;
        }
        if (is_write) {
            memcpy(&value, buf, size);
            ops->write(r->mr->opaque, offset, value, size);
        } else {
            value = ops->read(r->mr->opaque, offset, size);
            memcpy(buf, &value, size);
        }
        buf += size;
        offset += size;
        len -= size;
    }
}

/*
 * Device memory wants what the guest did: one load or store of the access's own width.  Returns the
 * bytes done, a naturally aligned power of two.
 */
static unsigned device_rw(void *host, uint8_t *buf, uint64_t len, bool is_write)
{
    unsigned size = 8;

#define ACCESS(type)                            \
    {                                           \
        type value;                             \
        if (is_write) {                         \
            memcpy(&value, buf, sizeof(value)); \
            *(volatile type *)host = value;     \
        } else {                                \
            value = *(volatile type *)host;     \
            memcpy(buf, &value, sizeof(value)); \
        }                                       \
        return size;                            \
    }

    while (size > len || (uintptr_t)host % size) {
        size /= 2;
    }
    switch (size) {
    case 8:
        ACCESS(uint64_t)
    case 4:
        ACCESS(uint32_t)
    case 2:
        ACCESS(uint16_t)
    default:
        ACCESS(uint8_t)
    }
#undef ACCESS
}

void flat_view_rw(const FlatView *view, uint64_t addr, void *buf, uint64_t len, bool is_write)
{
    uint8_t *p = buf;

    while (len) {
        const MemoryRange *r = flat_view_find(view, addr);
        uint64_t n;

        if (!r) { /* nothing there: a byte at a time is fast enough for what should not happen */
            if (!is_write) {
                *p = 0xff;
            }
            n = 1;
        } else {
            n = MIN(len, r->size - (addr - r->addr));
            if (is_write && r->readonly) {
                /* dropped */
            } else if (r->mr->kind == REGION_IO) {
                /*
                 * Where the access starts decides who takes all of it: a register that another
                 * region lies over (port 0xcf9 over 0xcf8) still has its full width.
                 */
                n = MIN(MIN(len, 8), r->mr->size - (addr - r->addr + r->offset));
                io_rw(r, addr - r->addr + r->offset, p, (unsigned)n, is_write);
            } else if (r->mr->kind == REGION_RAM_DEVICE) {
                n = device_rw((char *)memory_range_host(r) + (addr - r->addr), p, n, is_write);
            } else if (is_write) {
                char *host = (char *)memory_range_host(r) + (addr - r->addr);

                memcpy(host, p, n);
                ram_block_set_dirty(r->mr->block, host - (char *)r->mr->block->host, n);
            } else {
                memcpy(p, (char *)memory_range_host(r) + (addr - r->addr), n);
            }
        }
        p += n;
        addr += n;
        len -= n;
    }
}

void address_space_rw(AddressSpace *as, uint64_t addr, void *buf, uint64_t len, bool is_write)
{
    FlatView *view = address_space_view(as);

    flat_view_rw(view, addr, buf, len, is_write);
    flat_view_unref(view);
}
