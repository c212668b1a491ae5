/* SPDX-License-Identifier: GPL-2.0-or-later */
/* VFIO_DEVICE_FEATURE: devices that log what they write. */
#include "tests/sim/internal.h"

#include <string.h>

#define PAGE 4096ULL

typedef struct vfio_device_feature_dma_logging_range LogRange;

static int log_start(SimDevice *dev, void *data, bool set)
{
    struct vfio_device_feature_dma_logging_control *c = data;
    const LogRange *ranges = (const void *)(uintptr_t)c->ranges;

    sim_note("LOGGING_START %u", c->num_ranges);
    if (!c->num_ranges) {
        return fail(EINVAL);
    }
    if (c->num_ranges > PAGE / sizeof(LogRange)) {
        return fail(E2BIG);
    }
    for (uint32_t i = 0; i < c->num_ranges; i++) {
        const LogRange *r = &ranges[i];

        if ((r->iova | r->length) % c->page_size || dev->logging) {
            return fail(EINVAL);
        }
        if (r->iova + r->length < r->iova) {
            return fail(EOVERFLOW);
        }
        for (uint32_t j = 0; j < i; j++) {
            if (r->iova < ranges[j].iova + ranges[j].length &&
                ranges[j].iova < r->iova + r->length) {
                return fail(EINVAL);
            }
        }
    }
    g_array_append_vals(dev->logged_ranges, ranges, c->num_ranges);
    g_array_set_size(dev->logged, 0);
    dev->logging = true;
    c->page_size = dev->log_page ?: c->page_size;
    return 0;
}

static int log_stop(SimDevice *dev, void *data, bool set)
{
    sim_note("LOGGING_STOP");
    dev->logging = false;
    g_array_set_size(dev->logged_ranges, 0);
    return 0;
}

static int log_report(SimDevice *dev, void *data, bool set)
{
    const struct vfio_device_feature_dma_logging_report *r = data;
    uint8_t *bitmap = (void *)(uintptr_t)r->bitmap;

    if (r->page_size < PAGE || r->page_size & (r->page_size - 1) || !dev->logging) {
        return fail(EINVAL);
    }
    for (guint i = 0; i < dev->logged->len;) {
        uint64_t page = g_array_index(dev->logged, uint64_t, i);
        uint64_t end = page + MAX(dev->log_page, PAGE);

        if (end <= r->iova || page >= r->iova + r->length) {
            i++;
            continue;
        }
        for (uint64_t at = MAX(page, r->iova); at < MIN(end, r->iova + r->length); at += PAGE) {
            uint64_t bit = (at - r->iova) / r->page_size;

            bitmap[bit / 8] |= (uint8_t)(1U << bit % 8);
        }
        g_array_remove_index_fast(dev->logged, i);
    }
    return 0;
}

#define GET VFIO_DEVICE_FEATURE_GET
#define SET VFIO_DEVICE_FEATURE_SET

static bool logs(const SimDevice *dev)
{
    return dev->logs_dma;
}

static bool migrates(const SimDevice *dev)
{
    return dev->mig.flags;
}

static bool has_info_v2(const SimDevice *dev)
{
    return !dev->mig.no_info_v2;
}

static const struct {
    uint32_t id, ops;
    size_t size;
    bool (*has)(const SimDevice *dev);
    int (*run)(SimDevice *dev, void *data, bool set);
} features[] = {
    { VFIO_DEVICE_FEATURE_DMA_LOGGING_START, SET,
      sizeof(struct vfio_device_feature_dma_logging_control), logs, log_start },
    { VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP, SET, 0, logs, log_stop },
    { VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT, GET,
      sizeof(struct vfio_device_feature_dma_logging_report), logs, log_report },
    { VFIO_DEVICE_FEATURE_MIGRATION, GET, sizeof(struct vfio_device_feature_migration), migrates,
      sim_mig_get_flags },
    { VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE, GET | SET, sizeof(struct vfio_device_feature_mig_state),
      migrates, sim_mig_state },
    { VFIO_DEVICE_FEATURE_MIG_DATA_SIZE, GET, sizeof(struct vfio_device_feature_mig_data_size),
      migrates, sim_mig_data_size },
    { VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2, SET, 0, has_info_v2, sim_mig_info_v2 },
};

int sim_device_feature(SimDevice *dev, void *arg)
{
    struct vfio_device_feature *f = arg;
    uint32_t ops = f->flags & (GET | SET);
    bool probe = f->flags & VFIO_DEVICE_FEATURE_PROBE;

    if (f->argsz < sizeof(*f) || (!ops && !probe) || (ops == (GET | SET) && !probe) ||
        f->flags & ~(VFIO_DEVICE_FEATURE_MASK | GET | SET | VFIO_DEVICE_FEATURE_PROBE)) {
        return fail(EINVAL);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(features); i++) {
        if (features[i].id != (f->flags & VFIO_DEVICE_FEATURE_MASK) || !features[i].has(dev)) {
            continue;
        }
        if (ops & ~features[i].ops) {
            return fail(EINVAL);
        }
        if (probe) {
            return 0;
        }
        return f->argsz - sizeof(*f) < features[i].size ? fail(EINVAL)
                                                        : features[i].run(dev, f->data, ops == SET);
    }
    return fail(ENOTTY);
}

/* ---- for the tests ---- */

static void log_write(SimDevice *dev, uint64_t page)
{
    uint64_t size = MAX(dev->log_page, PAGE);

    for (guint i = 0; i < dev->logged_ranges->len; i++) {
        const LogRange *r = &g_array_index(dev->logged_ranges, LogRange, i);

        if (page + size > r->iova && page < r->iova + r->length) {
            g_array_append_val(dev->logged, page);
            return;
        }
    }
}

void sim_dma_write(SimDevice *dev, uint64_t iova)
{
    Object *hwpt = sim_object(dev->hwpt, OBJ_HWPT);

    if (hwpt && sim_extent(sim_object(hwpt->ioas, OBJ_IOAS), iova, iova)) {
        sim_hwpt_write(hwpt, iova);
        log_write(dev, iova & ~(MAX(dev->log_page, PAGE) - 1));
    }
}

unsigned sim_dirty_pages(const SimDevice *dev)
{
    const Object *hwpt = sim_object(dev->hwpt, OBJ_HWPT);

    return dev->logged->len + (hwpt ? hwpt->dirty->len : 0);
}
