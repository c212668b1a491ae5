/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Regions of a device: what the kernel says of them, checked before anybody relies on it, and
 * access to them.  A driver behind VFIO may be anything (mdevs, variant drivers), so sizes and
 * capability chains are taken as input that may be wrong.
 */
#include "hw/vfio/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>

#include "util/error.h"
#include "util/hostcalls.h"
#include "util/trace.h"

#define MAX_REGIONS 256

/* NULL without an error: no such region. */
static struct vfio_region_info *get_info(VFIODevice *dev, unsigned index, GError **errp)
{
    const struct vfio_region_info ask = { .index = index };
    g_autofree char *what = g_strdup_printf("VFIO_DEVICE_GET_REGION_INFO (region %u)", index);
    g_autoptr(GError) err = NULL;
    struct vfio_region_info *info =
        vfio_get_info(dev->fd, VFIO_DEVICE_GET_REGION_INFO, what, &ask, sizeof(ask), &err);

    if (!info && errno != EINVAL) {
        g_propagate_error(errp, g_steal_pointer(&err));
    }
    return info;
}

static bool find_cap(const struct vfio_region_info *info, uint16_t id, size_t size,
                     const void **cap, size_t *room, GError **errp)
{
    VFIOCapChain chain = {
        .info = info,
        .argsz = info->argsz,
        .head = sizeof(*info),
        .first = info->flags & VFIO_REGION_INFO_FLAG_CAPS ? info->cap_offset : 0,
        .alignment = 8,
    };

    if (!vfio_find_cap(&chain, id, size, cap, room, errp)) {
        g_prefix_error(errp, "region %u: ", info->index);
        return false;
    }
    return true;
}

static int by_offset(const void *a, const void *b)
{
    const VFIORegionArea *x = a, *y = b;

    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

/* All of it, to whole pages; of one that is smaller the kernel reserved the rest of its page. */
static void get_whole(VFIORegion *r, uint64_t page)
{
    r->areas = g_new(VFIORegionArea, 1);
    r->areas[0] = (VFIORegionArea) { 0, r->size < page ? page : r->size & ~(page - 1) };
    r->nr_areas = r->size != 0;
}

/* Which parts of the region can be mapped. */
static bool get_areas(VFIORegion *r, const struct vfio_region_info *info, GError **errp)
{
    const struct vfio_region_info_cap_sparse_mmap *sparse;
    uint64_t page = (uint64_t)getpagesize(), end = 0;
    const void *cap;
    size_t room;

    if (!(r->flags & VFIO_REGION_INFO_FLAG_MMAP)) {
        return true;
    }
    if (!find_cap(info, VFIO_REGION_INFO_CAP_MSIX_MAPPABLE, 0, &cap, &room, errp)) {
        return false;
    }
    r->msix_mappable = cap;
    if (!find_cap(info, VFIO_REGION_INFO_CAP_SPARSE_MMAP, sizeof(*sparse), &cap, &room, errp)) {
        return false;
    }
    sparse = cap;
    if (!sparse) {
        get_whole(r, page);
        return true;
    }
    if (sparse->nr_areas > (room - sizeof(*sparse)) / sizeof(sparse->areas[0])) {
        return error_set(errp, "region %u: %u mappable areas do not fit in its capability",
                         info->index, sparse->nr_areas);
    }
    r->areas = g_new(VFIORegionArea, sparse->nr_areas);
    for (unsigned i = 0; i < sparse->nr_areas; i++) {
        VFIORegionArea area = { sparse->areas[i].offset, sparse->areas[i].size };

        if (area.offset > r->size || area.size > r->size - area.offset ||
            (area.offset | area.size) % page) {
            return error_set(errp,
                             "region %u: mappable area 0x%" PRIx64 "+0x%" PRIx64
                             " is not whole pages of the region's 0x%" PRIx64 " bytes",
                             info->index, area.offset, area.size, r->size);
        }
        if (area.size) {
            r->areas[r->nr_areas++] = area;
        }
    }
    if (r->nr_areas) { /* no array is NULL, which qsort must not get */
        qsort(r->areas, r->nr_areas, sizeof(r->areas[0]), by_offset);
    }
    for (unsigned i = 0; i < r->nr_areas; i++) {
        if (r->areas[i].offset < end) {
            return error_set(errp, "region %u: mappable areas overlap at 0x%" PRIx64, info->index,
                             r->areas[i].offset);
        }
        end = r->areas[i].offset + r->areas[i].size;
    }
    return true;
}

static bool region_init(VFIODevice *dev, unsigned index, GError **errp)
{
    VFIORegion *r = &dev->regions[index];
    g_autofree struct vfio_region_info *info = NULL;
    g_autoptr(GError) err = NULL;

    info = get_info(dev, index, &err);
    if (!info) {
        if (err) {
            g_propagate_error(errp, g_steal_pointer(&err));
            return false;
        }
        return true;
    }
    if (info->offset > INT64_MAX || info->size > INT64_MAX - info->offset) {
        return error_set(errp, "region %u: 0x%" PRIx64 " bytes at 0x%" PRIx64 " cannot be", index,
                         (uint64_t)info->size, (uint64_t)info->offset);
    }
    r->size = info->size;
    r->offset = info->offset;
    r->flags = info->flags;
    return get_areas(r, info, errp);
}

bool vfio_regions_init(VFIODevice *dev, GError **errp)
{
    if (dev->nr_regions > MAX_REGIONS) {
        return error_set(errp, "the kernel says that it has %u regions", dev->nr_regions);
    }
    dev->regions = g_new0(VFIORegion, dev->nr_regions);
    for (unsigned i = 0; i < dev->nr_regions; i++) {
        if (!region_init(dev, i, errp)) {
            return false;
        }
    }
    return true;
}

void vfio_regions_fini(VFIODevice *dev)
{
    for (unsigned i = 0; dev->regions && i < dev->nr_regions; i++) {
        g_free(dev->regions[i].areas);
    }
    g_clear_pointer(&dev->regions, g_free);
}

/* ---- access ---- */

static bool whole(ssize_t done, size_t len)
{
    if (done >= 0 && (size_t)done != len) {
        errno = EIO;
    }
    return done >= 0 && (size_t)done == len;
}

bool vfio_region_read(VFIODevice *dev, unsigned region, uint64_t addr, void *buf, size_t len)
{
    off_t offset = (off_t)(dev->regions[region].offset + addr);

    return whole(hostcalls->pread(dev->fd, buf, len, offset), len);
}

bool vfio_region_write(VFIODevice *dev, unsigned region, uint64_t addr, const void *buf, size_t len)
{
    off_t offset = (off_t)(dev->regions[region].offset + addr);

    return whole(hostcalls->pwrite(dev->fd, buf, len, offset), len);
}

char *vfio_region_name(const VFIODevice *dev, unsigned region)
{
    return region == VFIO_PCI_CONFIG_REGION_INDEX
               ? g_strdup_printf("%s configuration space", dev->name)
               : g_strdup_printf("%s BAR %u", dev->name, region);
}

void vfio_region_access_failed(VFIODevice *dev, unsigned region, const char *what, uint64_t addr,
                               size_t len)
{
    int saved = errno;
    g_autofree char *name = vfio_region_name(dev, region);

    TRACE("vfio_region_failed", "%s %s 0x%" PRIx64 " size %zu: %s", name, what, addr, len,
          g_strerror(saved));
    if (!dev->regions[region].failed) {
        dev->regions[region].failed = true;
        warn_report("vfio %s: %s of %zu bytes at 0x%" PRIx64 " failed: %s", name, what, len, addr,
                    g_strerror(saved));
    }
}

int vfio_region_export(VFIODevice *dev, unsigned region, uint64_t offset, uint64_t size,
                       GError **errp)
{
    size_t argsz = sizeof(struct vfio_device_feature) + sizeof(struct vfio_device_feature_dma_buf) +
                   sizeof(struct vfio_region_dma_range);
    g_autofree struct vfio_device_feature *feature = g_malloc0(argsz);
    struct vfio_device_feature_dma_buf *get = (void *)feature->data;
    int fd;

    if (dev->no_dmabuf) {
        return -1;
    }
    feature->argsz = (uint32_t)argsz;
    feature->flags = VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_DMA_BUF;
    get->region_index = region;
    get->open_flags = O_RDWR | O_CLOEXEC;
    get->nr_ranges = 1;
    get->dma_ranges[0] = (struct vfio_region_dma_range) { offset, size };
    fd = hostcalls->ioctl(dev->fd, VFIO_DEVICE_FEATURE, feature);
    if (fd < 0 && (errno == ENOTTY || errno == EOPNOTSUPP)) {
        dev->no_dmabuf = true;
    } else if (fd < 0) {
        error_set_errno(errp, errno, "VFIO_DEVICE_FEATURE_DMA_BUF failed");
    }
    return fd;
}
