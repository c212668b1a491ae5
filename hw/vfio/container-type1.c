/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A container that is a descriptor of /dev/vfio/vfio with the type1 IOMMU: the older interface.  It
 * maps by address only, memory of other devices included, and takes groups, not devices.
 * Source: Linux include/uapi/linux/vfio.h.
 */
#include "hw/vfio/group.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>

#include "util/error.h"
#include "util/hostcalls.h"
#include "util/memlock.h"
#include "util/trace.h"

#define DEV_CONTAINER "/dev/vfio/vfio"

static VFIOType1Container *of(VFIOContainer *c)
{
    return (VFIOType1Container *)c;
}

/* ---- groups ---- */

/* The kernel lets the container choose once it has a group. */
static bool set_iommu(VFIOContainer *c, GError **errp)
{
    static const struct {
        uintptr_t type;
        const char *name;
    } types[] = { { VFIO_TYPE1v2_IOMMU, "type1v2" }, { VFIO_TYPE1_IOMMU, "type1" } };

    for (size_t i = 0; i < G_N_ELEMENTS(types); i++) {
        if (!hostcalls->ioctl(of(c)->fd, VFIO_SET_IOMMU, (void *)types[i].type)) {
            TRACE("vfio_set_iommu", "fd %d %s", of(c)->fd, types[i].name);
            return true;
        }
        if (errno != ENODEV) {
            break;
        }
    }
    return error_set_errno(errp, errno, "failed to set the IOMMU of a container%s",
                           errno == ENODEV ? " (is the module vfio_iommu_type1 there?)" : "");
}

static bool set_container(VFIOContainer *c, VFIOGroup *g, GError **errp)
{
    if (hostcalls->ioctl(g->fd, VFIO_GROUP_SET_CONTAINER, &of(c)->fd)) {
        return error_set_errno(errp, errno, "error setting container for group %u", g->id);
    }
    TRACE("vfio_group_set_container", "group %u container fd %d", g->id, of(c)->fd);
    return true;
}

static void unset_container(VFIOGroup *g)
{
    TRACE("vfio_group_unset_container", "group %u", g->id);
    if (hostcalls->ioctl(g->fd, VFIO_GROUP_UNSET_CONTAINER, NULL)) {
        warn_report("vfio group %u: error leaving its container: %s", g->id, g_strerror(errno));
    }
}

static bool attach_group(VFIOContainer *c, VFIODevice *dev, GError **errp)
{
    VFIOGroup *g = dev->group;

    if (!g->container) {
        if (!g->adopted && !set_container(c, g, errp)) {
            return false;
        }
        if (!g->adopted && !of(c)->groups && !set_iommu(c, errp)) {
            unset_container(g);
            return false;
        }
        g->container = c;
        of(c)->groups++;
    }
    g->attached++;
    return true;
}

static void detach_group(VFIOContainer *c, VFIODevice *dev)
{
    VFIOGroup *g = dev->group;

    if (!--g->attached) {
        unset_container(g);
        g->container = NULL;
        of(c)->groups--;
    }
}

/* ---- what can be mapped ---- */

static struct vfio_iommu_type1_info *get_info(const VFIOContainer *c, GError **errp)
{
    const struct vfio_iommu_type1_info ask = { 0 };
    struct vfio_iommu_type1_info *info =
        vfio_get_info(((const VFIOType1Container *)c)->fd, VFIO_IOMMU_GET_INFO,
                      "VFIO_IOMMU_GET_INFO", &ask, sizeof(ask), errp);

    if (!info) {
        g_prefix_error(errp, "%s: ", c->name);
    }
    return info;
}

static VFIOCapChain capabilities_of(const struct vfio_iommu_type1_info *info)
{
    return (VFIOCapChain) {
        .info = info,
        .argsz = info->argsz,
        .head = sizeof(*info),
        .first = info->flags & VFIO_IOMMU_INFO_CAPS ? info->cap_offset : 0,
        .alignment = 4, /* 8 since Linux 6.6: what is found is copied before it is read */
    };
}

static bool note_dirty_tracking(VFIOType1Container *c, const VFIOCapChain *chain, GError **errp)
{
    struct vfio_iommu_type1_info_cap_migration cap = { 0 };
    const void *found;
    size_t room;

    if (!vfio_find_cap(chain, VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION, sizeof(cap), &found, &room,
                       errp)) {
        return false;
    }
    if (found) {
        memcpy(&cap, found, sizeof(cap));
    }
    c->dirty_page_sizes = cap.pgsize_bitmap;
    return true;
}

/* The capability, or everything that 64 bits can say where the kernel has none (before 5.4). */
static IOVARange *ranges_of(const VFIOCapChain *chain, size_t *n, GError **errp)
{
    struct vfio_iommu_type1_info_cap_iova_range cap = { .nr_iovas = 1 };
    const void *found;
    IOVARange *ranges;
    size_t room;

    _Static_assert(sizeof(IOVARange) == sizeof(cap.iova_ranges[0]), "filled by the kernel");
    if (!vfio_find_cap(chain, VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE, sizeof(cap), &found, &room,
                       errp)) {
        return NULL;
    }
    if (found) {
        memcpy(&cap, found, sizeof(cap));
    }
    if (found && cap.nr_iovas > (room - sizeof(cap)) / sizeof(IOVARange)) {
        error_set(errp, "%u ranges of addresses do not fit in the kernel's capability",
                  cap.nr_iovas);
        return NULL;
    }
    *n = cap.nr_iovas;
    ranges = g_new0(IOVARange, *n + 1);
    ranges[0].last = UINT64_MAX;
    if (found) {
        memcpy(ranges, (const char *)found + sizeof(cap), *n * sizeof(IOVARange));
    }
    return ranges;
}

static IOVARange *iova_ranges(VFIOContainer *c, size_t *n, uint64_t *alignment, GError **errp)
{
    g_autofree struct vfio_iommu_type1_info *info = get_info(c, errp);
    IOVARange *ranges;
    VFIOCapChain chain;
    uint64_t pages;

    if (!info) {
        return NULL;
    }
    chain = capabilities_of(info);
    pages = info->flags & VFIO_IOMMU_INFO_PGSIZES ? info->iova_pgsizes : 0;
    *alignment = pages ? pages & -pages : 4096;
    ranges = note_dirty_tracking(of(c), &chain, errp) ? ranges_of(&chain, n, errp) : NULL;
    if (!ranges) {
        g_prefix_error(errp, "%s: ", c->name);
        return NULL;
    }
    TRACE("vfio_get_iommu_info", "fd %d page sizes 0x%" PRIx64 " ranges %zu", of(c)->fd, pages, *n);
    return ranges;
}

/* ---- mapping ---- */

static bool map(VFIOContainer *c, uint64_t iova, uint64_t length, void *host, int fd,
                uint64_t start, bool readonly, GError **errp)
{
    struct vfio_iommu_type1_dma_map map = {
        .argsz = sizeof(map),
        .flags = VFIO_DMA_MAP_FLAG_READ | (readonly ? 0 : VFIO_DMA_MAP_FLAG_WRITE),
        .vaddr = (uintptr_t)host,
        .iova = iova,
        .size = length,
    };
    g_autofree char *memlock = NULL;
    const char *why = NULL;
    int error;

    if (of(c)->peers && vfio_type1_take_peer(of(c), iova, length, host, readonly)) {
        return true;
    }
    TRACE("vfio_dma_map", "iova 0x%" PRIx64 " length 0x%" PRIx64 " host %p readonly %d", iova,
          length, host, readonly);
    if (!hostcalls->ioctl(of(c)->fd, VFIO_IOMMU_MAP_DMA, &map)) {
        return true;
    }
    error = errno;
    if (error == ENOMEM) {
        memlock = memlock_hint(length);
        why = memlock;
    } else if (error == ENOSPC) {
        why = "; the container has as many mappings as the kernel allows (dma_entry_limit of the "
              "module vfio_iommu_type1)";
    }
    return error_set(errp,
                     "VFIO_IOMMU_MAP_DMA (iova 0x%" PRIx64 ", length 0x%" PRIx64 ") failed: %s%s",
                     iova, length, g_strerror(error), why ?: "");
}

static bool unmap(VFIOContainer *c, uint64_t iova, uint64_t length, GError **errp)
{
    struct vfio_iommu_type1_dma_unmap unmap = {
        .argsz = sizeof(unmap),
        .iova = iova,
        .size = length,
    };

    if (!of(c)->groups) {
        return true; /* went with the last group, as did the IOMMU */
    }
    TRACE("vfio_dma_unmap", "iova 0x%" PRIx64 " length 0x%" PRIx64, iova, length);
    if (hostcalls->ioctl(of(c)->fd, VFIO_IOMMU_UNMAP_DMA, &unmap)) {
        return error_set_errno(
            errp, errno, "VFIO_IOMMU_UNMAP_DMA (iova 0x%" PRIx64 ", length 0x%" PRIx64 ") failed",
            iova, length);
    }
    return unmap.size == length || error_set(errp,
                                             "VFIO_IOMMU_UNMAP_DMA (iova 0x%" PRIx64
                                             ", length 0x%" PRIx64 ") unmapped 0x%" PRIx64,
                                             iova, length, (uint64_t)unmap.size);
}

/* ---- life ---- */

static void container_free(VFIOContainer *c)
{
    host_fd_close(&of(c)->fd);
    g_clear_pointer(&of(c)->peers, g_array_unref);
    g_free(c);
}

/* How many more mappings the kernel takes now; -1: it does not say (before 5.10). */
static int64_t mappings_left(const VFIOContainer *c)
{
    g_autofree struct vfio_iommu_type1_info *info = get_info(c, NULL);
    const struct vfio_iommu_type1_info_dma_avail *cap;
    const void *found = NULL;
    VFIOCapChain chain;
    size_t room;

    if (info) {
        chain = capabilities_of(info);
        vfio_find_cap(&chain, VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL, sizeof(*cap), &found, &room, NULL);
    }
    cap = found;
    return cap ? (int64_t)cap->avail : -1;
}

static void describe(const VFIOContainer *parent, JsonObject *o)
{
    const VFIOType1Container *c = (const VFIOType1Container *)parent;

    json_object_set_int_member(o, "groups", c->groups);
    json_object_set_int_member(o, "dma-avail", mappings_left(parent));
    json_object_set_boolean_member(o, "dirty-tracking", c->dirty_page_sizes != 0);
    json_object_set_boolean_member(o, "update-vaddr", vfio_type1_can_update_vaddr(c->fd));
}

static void describe_device(const VFIOContainer *c, const VFIODevice *dev, JsonObject *o)
{
    json_object_set_int_member(o, "group", dev->group->id);
}

static const VFIOContainerOps type1_container_ops = {
    .type = "type1",
    .describe = describe,
    .describe_device = describe_device,
    .attach = attach_group,
    .detach = detach_group,
    .iova_ranges = iova_ranges,
    .map = map,
    .unmap = unmap,
    .cpr_check = vfio_type1_cpr_check,
    .cpr_save = vfio_type1_cpr_save,
    .cpr_stop = vfio_type1_cpr_stop,
    .cpr_take = vfio_type1_cpr_take,
    .cpr_finish = vfio_type1_cpr_finish,
    .cpr_peers_stay = true,
    .free = container_free,
    .maps_device_memory_by_address = true,
};

unsigned vfio_type1_number(const VFIOContainer *c)
{
    return ((const VFIOType1Container *)c)->number;
}

static VFIOContainer *find_number(unsigned number)
{
    for (guint i = 0; vfio_containers && i < vfio_containers->len; i++) {
        VFIOContainer *c = vfio_containers->pdata[i];

        if (c->ops == &type1_container_ops && of(c)->number == number) {
            return c;
        }
    }
    return NULL;
}

static bool check_version(int fd, GError **errp)
{
    int version = hostcalls->ioctl(fd, VFIO_GET_API_VERSION, NULL);

    if (version < 0) {
        return error_set_errno(errp, errno, DEV_CONTAINER ": VFIO_GET_API_VERSION failed");
    }
    return version == VFIO_API_VERSION ||
           error_set(errp, DEV_CONTAINER " speaks version %d, not %d", version, VFIO_API_VERSION);
}

static VFIOContainer *container_of_fd(int fd, unsigned number, GError **errp)
{
    g_autofree char *name = number ? g_strdup_printf(DEV_CONTAINER "#%u", number) : NULL;
    VFIOType1Container *c;

    if (!check_version(fd, errp)) {
        host_fd_close(&fd);
        return NULL;
    }
    c = g_new0(VFIOType1Container, 1);
    c->fd = fd;
    c->number = number;
    vfio_container_init(&c->parent, &type1_container_ops, name ?: DEV_CONTAINER);
    return &c->parent;
}

static VFIOContainer *container_new(GError **errp)
{
    int fd = hostcalls->open(DEV_CONTAINER, O_RDWR);
    unsigned number = 0;

    if (fd < 0) {
        error_set_errno(errp, errno, "cannot open " DEV_CONTAINER "%s",
                        errno == ENOENT ? " (does the kernel have CONFIG_VFIO_CONTAINER?)" : "");
        return NULL;
    }
    while (find_number(number)) {
        number++;
    }
    return container_of_fd(fd, number, errp);
}

/* That which the old process has put the group into. */
static VFIOContainer *container_adopt(const VFIOGroup *g, GError **errp)
{
    VFIOContainer *c = find_number(g->number);
    int fd = c ? -1 : vfio_type1_cpr_find(g, errp);

    if (fd >= 0) {
        c = container_of_fd(fd, g->number, errp);
        if (c) {
            vfio_container_cpr_init(c);
        }
    }
    return c;
}

static bool attach_first(VFIOContainer *c, VFIODevice *dev, GError **errp)
{
    bool ok;

    if (!c) {
        return false;
    }
    vfio_container_prepare(c);
    vfio_container_await_pages(c);
    ok = vfio_container_attach(c, dev, errp);
    vfio_container_put(c);
    return ok;
}

bool vfio_type1_attach(VFIODevice *dev, GError **errp)
{
    VFIOContainer *c = dev->group->container;

    if (c) {
        return vfio_container_attach(c, dev, errp);
    }
    if (dev->group->adopted) {
        return attach_first(container_adopt(dev->group, errp), dev, errp);
    }
    for (guint i = 0; vfio_containers && i < vfio_containers->len; i++) {
        g_autoptr(GError) err = NULL;

        c = vfio_containers->pdata[i];
        if (c->ops != &type1_container_ops) {
            continue;
        }
        if (vfio_container_attach(c, dev, &err)) {
            return true;
        }
        TRACE("vfio_group_next_container", "group %u: %s", dev->group->id, err->message);
    }
    return attach_first(container_new(errp), dev, errp);
}
