/* SPDX-License-Identifier: GPL-2.0-or-later */
/* /dev/iommu: domains, and what is dirty in them. */
#include "tests/sim/internal.h"

#include "util/linux-iommufd.h"

static uint32_t hwpt_new(uint32_t ioas, SimDevice *dev)
{
    uint32_t id = sim_object_new(OBJ_HWPT);
    Object *hwpt = sim_object(id, OBJ_HWPT);

    hwpt->ioas = ioas;
    hwpt->dev = dev;
    sim_object(ioas, OBJ_IOAS)->users++;
    return id;
}

uint32_t sim_hwpt_of(uint32_t ioas, SimDevice *dev)
{
    for (uint32_t id = 1; id < sim_objects(); id++) {
        const Object *o = sim_object(id, OBJ_HWPT);

        if (o && o->ioas == ioas && !o->manual && o->dev->iommu == dev->iommu) {
            return id;
        }
    }
    return hwpt_new(ioas, dev);
}

void sim_hwpt_free(Object *hwpt)
{
    sim_object(hwpt->ioas, OBJ_IOAS)->users--;
    sim_object_free(hwpt);
}

int sim_get_hw_info(void *arg)
{
    struct iommu_hw_info *info = arg;
    const Object *o = sim_object(info->dev_id, OBJ_DEVICE);

    sim_note("IOMMU_GET_HW_INFO %u", info->dev_id);
    if (info->flags & ~1U || info->__reserved[0] || info->__reserved[1] || info->__reserved[2]) {
        return fail(EOPNOTSUPP);
    }
    if (!o || o->dev->mdev) {
        return fail(ENOENT);
    }
    info->out_data_type = o->dev->iommu_type;
    info->out_capabilities =
        o->dev->hw_caps | (o->dev->dirty_tracking ? IOMMU_HW_CAP_DIRTY_TRACKING : 0);
    return 0;
}

int sim_hwpt_alloc(void *arg)
{
    struct iommu_hwpt_alloc *a = arg;
    const Object *o = sim_object(a->dev_id, OBJ_DEVICE);
    SimDevice *dev = o ? o->dev : NULL;
    Object *hwpt;

    if (a->__reserved) {
        return fail(EOPNOTSUPP);
    }
    if (!a->data_type != !a->data_len) {
        return fail(EINVAL);
    }
    if (!dev || dev->mdev) {
        return fail(ENOENT);
    }
    if (!sim_object(a->pt_id, OBJ_IOAS)) {
        return fail(EINVAL);
    }
    if (a->flags & ~(uint32_t)IOMMU_HWPT_ALLOC_DIRTY_TRACKING ||
        (a->flags && !dev->dirty_tracking)) {
        return fail(EOPNOTSUPP);
    }
    if (!sim_fits(a->pt_id, dev)) {
        return fail(EADDRINUSE);
    }
    a->out_hwpt_id = hwpt_new(a->pt_id, dev);
    sim_note("IOMMU_HWPT_ALLOC %u %u flags %u = %u", a->dev_id, a->pt_id, a->flags, a->out_hwpt_id);
    hwpt = sim_object(a->out_hwpt_id, OBJ_HWPT);
    hwpt->manual = true;
    hwpt->dirty_ops = a->flags & IOMMU_HWPT_ALLOC_DIRTY_TRACKING;
    return 0;
}

/* ---- dirty pages ---- */

/* What an entry of the page table holds the page: larger than a page where there is room for that. */
static Range entry(const Object *hwpt, uint64_t iova)
{
    const Object *ioas = sim_object(hwpt->ioas, OBJ_IOAS);
    const SimExtent *e = sim_extent(ioas, iova, iova);
    uint64_t page = hwpt->dev->aperture.page, large = hwpt->dev->aperture.large_page;
    uint64_t start = iova & ~(large - 1);

    if (large && !ioas->no_huge_pages && e && start >= e->iova &&
        start + large <= e->iova + e->length) {
        return (Range) { start, start + large - 1 };
    }
    return (Range) { iova & ~(page - 1), iova | (page - 1) };
}

void sim_hwpt_write(Object *hwpt, uint64_t iova)
{
    Range r = entry(hwpt, iova);

    for (guint i = 0; i < hwpt->dirty->len; i++) {
        if (g_array_index(hwpt->dirty, Range, i).start == r.start) {
            return;
        }
    }
    if (hwpt->tracking) {
        g_array_append_val(hwpt->dirty, r);
    }
}

void sim_hwpt_forget(uint32_t ioas, const SimExtent *e)
{
    for (uint32_t id = 1; id < sim_objects(); id++) {
        const Object *hwpt = sim_object(id, OBJ_HWPT);

        for (guint i = 0; hwpt && hwpt->ioas == ioas && i < hwpt->dirty->len;) {
            if (g_array_index(hwpt->dirty, Range, i).start - e->iova < e->length) {
                g_array_remove_index_fast(hwpt->dirty, i);
            } else {
                i++;
            }
        }
    }
}

int sim_set_dirty(void *arg)
{
    const struct iommu_hwpt_set_dirty_tracking *s = arg;
    Object *hwpt = sim_object(s->hwpt_id, OBJ_HWPT);

    sim_note("IOMMU_HWPT_SET_DIRTY_TRACKING %u %u", s->hwpt_id, s->flags);
    if (s->flags & ~(uint32_t)IOMMU_HWPT_DIRTY_TRACKING_ENABLE) {
        return fail(EOPNOTSUPP);
    }
    if (!hwpt) {
        return fail(ENOENT);
    }
    if (!hwpt->dirty_ops) {
        return fail(EOPNOTSUPP);
    }
    hwpt->tracking = s->flags;
    if (hwpt->tracking) {
        g_array_set_size(hwpt->dirty, 0);
    }
    return 0;
}

/* Up to the first address that is not mapped: the kernel stops there and says nothing. */
static uint64_t mapped_until(const Object *ioas, uint64_t iova, uint64_t last)
{
    const SimExtent *e;
    uint64_t at = iova;

    while (at <= last && (e = sim_extent(ioas, at, at))) {
        at = e->iova + e->length;
    }
    return MIN(at, last + 1);
}

static void set_bits(uint8_t *bitmap, uint64_t first, uint64_t last)
{
    for (uint64_t bit = first; bit <= last; bit++) {
        bitmap[bit / 8] |= (uint8_t)(1U << bit % 8);
    }
}

static int check_get_dirty(const struct iommu_hwpt_get_dirty_bitmap *g, const Object *hwpt)
{
    uint64_t last, mask;

    if (g->flags & ~(uint32_t)IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR || g->__reserved) {
        return EOPNOTSUPP;
    }
    if (!hwpt) {
        return ENOENT;
    }
    if (__builtin_add_overflow(g->iova, g->length - 1, &last)) {
        return EOVERFLOW;
    }
    mask = sim_alignment(hwpt->ioas) - 1;
    if ((g->iova | (last + 1)) & mask || !g->page_size ||
        (g->iova | (last + 1)) & (g->page_size - 1)) {
        return EINVAL;
    }
    return hwpt->dirty_ops ? 0 : EOPNOTSUPP;
}

int sim_get_dirty(void *arg)
{
    const struct iommu_hwpt_get_dirty_bitmap *g = arg;
    Object *hwpt = sim_object(g->hwpt_id, OBJ_HWPT);
    int errnum = check_get_dirty(g, hwpt);
    uint64_t end;

    if (errnum) {
        return fail(errnum);
    }
    end = mapped_until(sim_object(hwpt->ioas, OBJ_IOAS), g->iova, g->iova + g->length - 1);
    for (guint i = 0; i < hwpt->dirty->len;) {
        Range r = g_array_index(hwpt->dirty, Range, i);

        if (r.last < g->iova || r.start >= end) {
            i++;
            continue;
        }
        if (hwpt->dev->iommu_type == VIADUCT_IOMMU_HW_INFO_TYPE_AMD &&
            r.last - r.start >= hwpt->dev->aperture.page) {
            r.last -= hwpt->dev->aperture.page; /* as Linux 7.2 does */
        }
        set_bits((void *)(uintptr_t)g->data, (MAX(r.start, g->iova) - g->iova) / g->page_size,
                 (r.last - g->iova) / g->page_size); /* even behind the end of what was asked for */
        if (g->flags & IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR) {
            i++;
        } else {
            g_array_remove_index_fast(hwpt->dirty, i);
        }
    }
    return 0;
}
