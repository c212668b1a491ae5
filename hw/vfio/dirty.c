/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Dirty tracking: one interface for whatever knows what devices wrote.  The kernel sets bits right
 * in the bitmaps of RAM blocks, so a pass costs one call an extent and source, and no memory.  It
 * is asked for no more than one extent at a time, because it stops at the first address that is not
 * mapped and does not say so.
 *
 * Several threads ask an IOMMU side by side: for extents, and for parts of those that the mapper
 * mapped in parts, which have small pages, many to look at (for 1.5 GiB, of the kernel's own test
 * IOMMU, one thread takes 11 to 15 ms and two take 6 to 9).  Nothing else is cut (query_extent()).
 */
#include "hw/vfio/container.h"

#include <errno.h>
#include <inttypes.h>

#include "util/error.h"
#include "util/trace.h"

#define WORD            (64 * RAM_DIRTY_PAGE) /* bytes of RAM for a word of the bitmap */
#define MAX_LOGGED      256                   /* ranges: the least that every kernel takes */
#define LARGE_PAGE      (2ULL << 20)          /* what memory with huge pages has at least */
#define A_THREADS_WORTH 65536                 /* entries of an I/O page table */
#define MAX_PIECES      32                    /* of an extent */

/* ---- devices that log ---- */

static bool can_log(VFIODevice *dev)
{
    static const uint32_t needed[] = {
        VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_DMA_LOGGING_START,
        VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP,
        VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT,
    };

    for (size_t i = 0; i < G_N_ELEMENTS(needed); i++) {
        if (dev->no_dirty_log ||
            (!vfio_device_feature(dev, VFIO_DEVICE_FEATURE_PROBE | needed[i], NULL, 0) &&
             errno == ENOTTY)) { /* whatever else it is, starting it says that again */
            return false;
        }
    }
    return true;
}

static gint compare_ranges(gconstpointer a, gconstpointer b)
{
    const struct vfio_device_feature_dma_logging_range *l = a, *r = b;

    return l->iova < r->iova ? -1 : l->iova > r->iova;
}

/* Joins neighbours, and then what has the smaller gaps, until there are few enough. */
static void join_ranges(GArray *ranges)
{
    typedef struct vfio_device_feature_dma_logging_range Range;
    uint64_t gap = 0;

    g_array_sort(ranges, compare_ranges);
    do {
        guint n = 0;

        for (guint i = 1; i < ranges->len; i++) {
            Range *last = &g_array_index(ranges, Range, n);
            const Range *next = &g_array_index(ranges, Range, i);

            if (next->iova - (last->iova + last->length) <= gap) {
                last->length = next->iova + next->length - last->iova;
            } else {
                g_array_index(ranges, Range, ++n) = *next;
            }
        }
        g_array_set_size(ranges, MIN(ranges->len, n + 1));
        gap = gap ? gap * 2 : RAM_DIRTY_PAGE;
    } while (ranges->len > MAX_LOGGED);
}

static bool is_guest_ram(const VFIOExtent *e)
{
    return e->block && !e->readonly && e->mapped;
}

static GArray *ranges_to_log(VFIOContainer *c)
{
    GArray *ranges =
        g_array_new(FALSE, FALSE, sizeof(struct vfio_device_feature_dma_logging_range));
    GHashTableIter iter;
    gpointer value;

    g_hash_table_iter_init(&iter, c->extents);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        VFIOExtent *e = value;
        struct vfio_device_feature_dma_logging_range range = { e->iova, e->length };

        e->logged = is_guest_ram(e);
        if (e->logged) {
            g_array_append_val(ranges, range);
        }
    }
    join_ranges(ranges);
    return ranges;
}

/* What a driver says that cannot be is a page so large that no extent is asked for. */
static uint64_t sane_page(uint64_t page)
{
    return page && !(page & (page - 1)) ? page : UINT64_C(1) << 63;
}

/* *@page becomes the larger of it and the size of the device's pages. */
static bool log_start(VFIODevice *dev, const GArray *ranges, uint64_t *page, GError **errp)
{
    struct vfio_device_feature_dma_logging_control control = {
        .page_size = RAM_DIRTY_PAGE,
        .num_ranges = ranges->len,
        .ranges = (uintptr_t)ranges->data,
    };
    bool ok =
        vfio_device_feature(dev, VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_DMA_LOGGING_START,
                            &control, sizeof(control));

    *page = MAX(*page, sane_page(control.page_size));
    TRACE("vfio_device_dirty_tracking_start", "%s ranges %u: %s", dev->name, ranges->len,
          ok ? "done" : g_strerror(errno));
    return ok ||
           error_set_errno(errp, errno,
                           "vfio %s: VFIO_DEVICE_FEATURE_DMA_LOGGING_START (%u ranges) failed",
                           dev->name, ranges->len);
}

static void log_stop(VFIODevice *dev)
{
    if (!vfio_device_feature(dev, VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP,
                             NULL, 0)) {
        warn_report("vfio %s: VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP failed: %s", dev->name,
                    g_strerror(errno));
    }
}

static bool log_report(VFIODevice *dev, uint64_t iova, uint64_t length, uint64_t *bitmap,
                       GError **errp)
{
    struct vfio_device_feature_dma_logging_report report = {
        .iova = iova,
        .length = length,
        .page_size = RAM_DIRTY_PAGE,
        .bitmap = (uintptr_t)bitmap,
    };

    return vfio_device_feature(dev,
                               VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT,
                               &report, sizeof(report)) ||
           error_set_errno(errp, errno,
                           "vfio %s: VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT (iova 0x%" PRIx64
                           ", length 0x%" PRIx64 ") failed",
                           dev->name, iova, length);
}

/* ---- queries ---- */

static bool query(VFIOContainer *c, uint64_t iova, uint64_t length, bool clear, uint64_t *bitmap,
                  GError **errp)
{
    if (c->dirty_iommu && !c->ops->dirty_query(c, iova, length, clear, bitmap, errp)) {
        return false;
    }
    for (guint i = 0; i < c->dirty_loggers->len; i++) {
        if (!log_report(c->dirty_loggers->pdata[i], iova, length, bitmap, errp)) {
            return false;
        }
    }
    return true;
}

/* Its bits start with a word of its block's bitmap, where the kernel can set them in place. */
static bool is_in_place(const VFIOExtent *e)
{
    return e->offset % WORD == 0;
}

/* Memory for the bits of what is not; all zeroes. */
static bool need_scratch(VFIOContainer *c, const VFIOExtent *e, GError **errp)
{
    uint64_t words = (e->length + WORD - 1) / WORD;
    uint64_t *scratch;

    if (is_in_place(e) || words <= c->dirty_scratch_words) {
        return true;
    }
    scratch = g_try_new0(uint64_t, words);
    if (!scratch) {
        return error_set(errp, "no memory for the dirty pages of '%s'", e->block->idstr);
    }
    g_free(c->dirty_scratch);
    c->dirty_scratch = scratch;
    c->dirty_scratch_words = words;
    return true;
}

/* Moves the extent's bits from the scratch memory to where they belong. */
static void move_bits(VFIOContainer *c, const VFIOExtent *e)
{
    uint64_t *to = e->block->dirty + e->offset / WORD;
    unsigned shift = e->offset % WORD / RAM_DIRTY_PAGE;

    for (uint64_t i = 0; i < (e->length + WORD - 1) / WORD; i++) {
        uint64_t word = c->dirty_scratch[i];

        c->dirty_scratch[i] = 0;
        to[i] |= word << shift;
        if (word >> (64 - shift)) {
            to[i + 1] |= word >> (64 - shift);
        }
    }
}

/*
 * In one piece: an entry of an I/O page table that reaches over the end of a query is clean after
 * it, and what it meant behind that end is lost, or set where another thread sets bits.
 */
static bool query_extent(VFIOContainer *c, const VFIOExtent *e, bool clear, GError **errp)
{
    bool ok;

    if (is_in_place(e)) {
        return query(c, e->iova, e->length, clear, e->block->dirty + e->offset / WORD, errp);
    }
    ok = need_scratch(c, e, errp) && query(c, e->iova, e->length, clear, c->dirty_scratch, errp);
    if (c->dirty_scratch_words * WORD >= e->length) {
        move_bits(c, e);
    }
    return ok;
}

/* A device's log has pages of its own, of which each is in one extent, or it is not asked. */
static bool can_ask(const VFIOContainer *c, const VFIOExtent *e)
{
    return !c->dirty_all && (!c->dirty_loggers->len ||
                             (e->logged && !((e->iova | e->length) & (c->dirty_log_page - 1))));
}

static void sync_extent(VFIOContainer *c, const VFIOExtent *e, bool clear)
{
    g_autoptr(GError) err = NULL;

    if (!is_guest_ram(e) || !e->block->dirty) {
        return;
    }
    if (can_ask(c, e) && query_extent(c, e, clear, &err)) {
        return;
    }
    ram_block_set_dirty(e->block, e->offset, e->length);
    if (err && g_atomic_int_compare_and_exchange(&c->dirty_warned, false, true)) {
        warn_report("%s: guest memory counts as dirty: %s", c->name, err->message);
    }
}

/*
 * An extent, or some parts of it, over which no entry of an I/O page table reaches.  Not many: each
 * ends with the IOMMU's caches being flushed.
 */
static void add_pieces(VFIOContainer *c, const VFIOExtent *e)
{
    bool cut = e->part && c->dirty_iommu && !c->dirty_all && !c->dirty_loggers->len;
    uint64_t most = (e->length + MAX_PIECES - 1) / MAX_PIECES;
    uint64_t part = cut ? (most + e->part - 1) / e->part * e->part : e->length;
    VFIOExtent piece = *e;

    for (uint64_t at = 0; at < e->length; at += part) {
        piece.iova = e->iova + at;
        piece.offset = e->offset + at;
        piece.length = MIN(part, e->length - at);
        g_array_append_val(c->dirty_pieces, piece);
    }
}

static void sync_pieces(void *opaque)
{
    VFIOContainer *c = opaque;
    guint i;

    while ((i = (guint)g_atomic_int_add(&c->dirty_next, 1)) < c->dirty_pieces->len) {
        sync_extent(c, &g_array_index(c->dirty_pieces, VFIOExtent, i), true);
    }
}

static void find_pieces(VFIOContainer *c)
{
    GHashTableIter iter;
    gpointer value;

    g_array_set_size(c->dirty_pieces, 0);
    g_hash_table_iter_init(&iter, c->extents);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        const VFIOExtent *e = value;

        if (is_guest_ram(e) && is_in_place(e)) {
            add_pieces(c, e);
        }
    }
}

/* Waking one costs more than to look at few entries; a large extent in one piece has large ones. */
static unsigned threads_worth(const VFIOContainer *c)
{
    uint64_t entries = 0;

    for (guint i = 0; i < c->dirty_pieces->len; i++) {
        const VFIOExtent *piece = &g_array_index(c->dirty_pieces, VFIOExtent, i);

        entries += piece->length / (piece->part ? RAM_DIRTY_PAGE : LARGE_PAGE);
    }
    return (unsigned)MIN(entries / A_THREADS_WORTH + 1, c->dirty_pieces->len);
}

void vfio_container_dirty_sync(VFIOContainer *c)
{
    GHashTableIter iter;
    gpointer value;

    if (!c->dirty_on) {
        return;
    }
    find_pieces(c);
    c->dirty_next = 0;
    crew_run(c->dirty_crew, sync_pieces, c);
    g_hash_table_iter_init(&iter, c->extents);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        const VFIOExtent *e = value;

        if (!is_in_place(e)) { /* all of these share the scratch memory */
            sync_extent(c, e, true);
        }
    }
}

/* Unmapping forgets the bits anyway: no need to have the IOMMU's caches flushed for each. */
void vfio_container_dirty_unmap(VFIOContainer *c, const VFIOExtent *e)
{
    if (c->dirty_on) {
        sync_extent(c, e, false);
    }
}

/* ---- on and off ---- */

VFIODirtySource vfio_device_dirty_source(VFIODevice *dev)
{
    const VFIOContainer *c = dev->container;

    return c->dirty_on                                              ? dev->dirty_source
           : c->ops->dirty_tracked && c->ops->dirty_tracked(c, dev) ? VFIO_DIRTY_IOMMU
           : can_log(dev)                                           ? VFIO_DIRTY_DEVICE
                                                                    : VFIO_DIRTY_UNKNOWN;
}

static void find_sources(VFIOContainer *c)
{
    for (guint i = 0; vfio_devices && i < vfio_devices->len; i++) {
        VFIODevice *dev = vfio_devices->pdata[i];

        if (dev->container == c) {
            dev->dirty_source = vfio_device_dirty_source(dev);
            c->dirty_iommu |= dev->dirty_source == VFIO_DIRTY_IOMMU;
            c->dirty_all |= dev->dirty_source == VFIO_DIRTY_UNKNOWN;
            TRACE("vfio_dirty_source", "%s: %d", dev->name, dev->dirty_source);
        }
    }
}

static bool start_loggers(VFIOContainer *c, GError **errp)
{
    g_autoptr(GArray) ranges = ranges_to_log(c);

    for (guint i = 0; vfio_devices && i < vfio_devices->len; i++) {
        VFIODevice *dev = vfio_devices->pdata[i];

        if (dev->container != c || dev->dirty_source != VFIO_DIRTY_DEVICE) {
            continue;
        }
        if (!ranges->len) {
            c->dirty_all = true; /* it cannot be told of what comes later */
            break;
        }
        if (!log_start(dev, ranges, &c->dirty_log_page, errp)) {
            return false;
        }
        g_ptr_array_add(c->dirty_loggers, dev);
    }
    return true;
}

/* A pass is to allocate nothing. */
static bool prepare_scratch(VFIOContainer *c, GError **errp)
{
    GHashTableIter iter;
    gpointer value;
    bool ok = true;

    g_hash_table_iter_init(&iter, c->extents);
    while (ok && g_hash_table_iter_next(&iter, NULL, &value)) {
        const VFIOExtent *e = value;

        ok = !is_guest_ram(e) || need_scratch(c, e, errp);
    }
    return ok;
}

bool vfio_container_dirty_start(VFIOContainer *c, GError **errp)
{
    if (c->dirty_on) {
        return error_set(errp, "%s: dirty tracking is on already", c->name);
    }
    if (!vfio_container_settle(c, errp)) {
        return false;
    }
    c->dirty_iommu = c->dirty_all = false;
    c->dirty_warned = false;
    c->dirty_log_page = RAM_DIRTY_PAGE;
    c->dirty_loggers = g_ptr_array_new();
    find_sources(c);
    if (c->dirty_iommu && !c->ops->dirty_start(c, errp)) {
        g_clear_pointer(&c->dirty_loggers, g_ptr_array_unref);
        return false;
    }
    c->dirty_on = true;
    c->dirty_pieces = g_array_new(FALSE, FALSE, sizeof(VFIOExtent));
    if (!start_loggers(c, errp) || !prepare_scratch(c, errp)) {
        vfio_container_dirty_stop(c);
        return false;
    }
    find_pieces(c);
    c->dirty_crew = vfio_container_crew(c, threads_worth(c));
    return true;
}

void vfio_container_dirty_stop(VFIOContainer *c)
{
    if (!c->dirty_on) {
        return;
    }
    c->dirty_on = false;
    for (guint i = 0; i < c->dirty_loggers->len; i++) {
        log_stop(c->dirty_loggers->pdata[i]);
    }
    g_clear_pointer(&c->dirty_loggers, g_ptr_array_unref);
    if (c->dirty_iommu) {
        c->ops->dirty_stop(c);
    }
    g_clear_pointer(&c->dirty_crew, crew_free);
    g_clear_pointer(&c->dirty_pieces, g_array_unref);
    g_clear_pointer(&c->dirty_scratch, g_free);
    c->dirty_scratch_words = 0;
}

void vfio_container_dirty_attached(VFIOContainer *c, VFIODevice *dev)
{
    if (!c->dirty_on) {
        return;
    }
    dev->dirty_source = c->ops->dirty_tracked && c->ops->dirty_tracked(c, dev) ? VFIO_DIRTY_IOMMU
                                                                               : VFIO_DIRTY_UNKNOWN;
    c->dirty_all |= dev->dirty_source == VFIO_DIRTY_UNKNOWN;
}

void vfio_container_dirty_detached(VFIOContainer *c, VFIODevice *dev)
{
    if (c->dirty_on && g_ptr_array_remove(c->dirty_loggers, dev)) {
        log_stop(dev);
    }
}
