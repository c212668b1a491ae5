// SPDX-License-Identifier: GPL-2.0-or-later
/* The device's own log of the pages that it wrote, within the ranges it was asked to watch. */
#include <linux/interval_tree.h>
#include <linux/iova_bitmap.h>
#include <linux/slab.h>

#include "vtest.h"

void vt_log_init(struct vt_log *log)
{
    xa_init(&log->dirty);
}

void vt_log_clear(struct vt_log *log)
{
    log->on = false;
    kvfree(log->ranges);
    log->ranges = NULL;
    xa_destroy(&log->dirty);
}

static bool watched(const struct vt_log *log, u64 iova)
{
    for (unsigned int i = 0; i < log->nr_ranges; i++) {
        if (iova >= log->ranges[i].start && iova <= log->ranges[i].last)
            return true;
    }
    return false;
}

void vt_log_write(struct vt_log *log, u64 iova, size_t size)
{
    u64 last = iova + size - 1;

    if (!log->on)
        return;
    for (u64 page = iova >> log->shift; page <= last >> log->shift; page++) {
        if (watched(log, max(iova, page << log->shift)))
            xa_store(&log->dirty, page, xa_mk_value(1), GFP_KERNEL | __GFP_NOFAIL);
    }
}

static int start(struct vfio_device *vdev, struct rb_root_cached *ranges, u32 nnodes,
                 u64 *page_size)
{
    struct vt_device *vt = to_vt(vdev);
    struct vt_log *log = &vt->log;
    struct interval_tree_node *node;
    int ret = 0;

    mutex_lock(&vt->lock);
    if (log->on) {
        ret = -EINVAL;
        goto out;
    }
    log->ranges = kvcalloc(nnodes, sizeof(*log->ranges), GFP_KERNEL);
    if (!log->ranges) {
        ret = -ENOMEM;
        goto out;
    }
    log->nr_ranges = 0;
    for (node = interval_tree_iter_first(ranges, 0, ULONG_MAX); node && log->nr_ranges < nnodes;
         node = interval_tree_iter_next(node, 0, ULONG_MAX))
        log->ranges[log->nr_ranges++] = (struct vt_log_range) { node->start, node->last };
    *page_size = clamp(roundup_pow_of_two(*page_size), PAGE_SIZE, SZ_2M);
    log->shift = ilog2(*page_size);
    log->on = true;
out:
    mutex_unlock(&vt->lock);
    return ret;
}

static int stop(struct vfio_device *vdev)
{
    struct vt_device *vt = to_vt(vdev);

    mutex_lock(&vt->lock);
    vt_log_clear(&vt->log);
    mutex_unlock(&vt->lock);
    return 0;
}

static int read_and_clear(struct vfio_device *vdev, unsigned long iova, unsigned long length,
                          struct iova_bitmap *dirty)
{
    struct vt_device *vt = to_vt(vdev);
    struct vt_log *log = &vt->log;
    unsigned long page, last;
    void *entry;
    int ret;

    mutex_lock(&vt->lock);
    ret = log->on ? vt_fault_hit(&vt->knobs.log) : -EINVAL;
    if (ret)
        goto out;
    last = (iova + length - 1) >> log->shift;
    xa_for_each_range(&log->dirty, page, entry, iova >> log->shift, last)
    {
        unsigned long from = max(page << log->shift, iova);
        unsigned long to = min(((page + 1) << log->shift) - 1, iova + length - 1);

        iova_bitmap_set(dirty, from, to - from + 1);
        /* One that reaches beyond what was asked is reported there as well. */
        if (from == page << log->shift && to == ((page + 1) << log->shift) - 1)
            xa_erase(&log->dirty, page);
    }
out:
    mutex_unlock(&vt->lock);
    return ret;
}

const struct vfio_log_ops vt_log_ops = {
    .log_start = start,
    .log_stop = stop,
    .log_read_and_clear = read_and_clear,
};
