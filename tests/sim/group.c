/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The older interface: /dev/vfio/N, a group, and /dev/vfio/vfio, a container with type1 in it. */
#include "tests/sim/internal.h"

#include <stdio.h>
#include <string.h>

#define MSI_FIRST 0xfee00000ULL
#define MSI_LAST  0xfeefffffULL
#define DMA_LIMIT 65535

struct SimContainer {
    unsigned refs;   /* its descriptor and the groups in it */
    unsigned groups; /* in it */
    bool has_iommu;
    GArray *extents;
};

struct SimGroup {
    unsigned id;
    SimContainer *container;
    unsigned devices; /* that are open; each keeps the group open */
    bool open;
};

SimType1 sim_type1;
static GPtrArray *containers, *open_groups;

static SimContainer *container_ref(SimContainer *c)
{
    c->refs++;
    return c;
}

static void container_unref(SimContainer *c)
{
    if (!--c->refs) {
        g_ptr_array_remove(containers, c);
        g_array_unref(c->extents);
        g_free(c);
    }
}

/* ---- group ---- */

static bool cdev_open(unsigned id)
{
    for (guint i = 0; i < sim_devices->len; i++) {
        SimDevice *dev = sim_devices->pdata[i];

        if (dev->group == id && dev->bound && !dev->via) {
            return true;
        }
    }
    return false;
}

static SimGroup *find_group(unsigned id)
{
    for (guint i = 0; open_groups && i < open_groups->len; i++) {
        SimGroup *g = open_groups->pdata[i];

        if (g->id == id) {
            return g;
        }
    }
    return NULL;
}

bool sim_group_is_open(unsigned id)
{
    return find_group(id);
}

SimGroup *sim_group_open(unsigned id)
{
    bool exists = false;
    SimGroup *g;

    for (guint i = 0; i < sim_devices->len; i++) {
        exists |= ((SimDevice *)sim_devices->pdata[i])->group == id;
    }
    if (!exists) {
        fail(ENOENT);
        return NULL;
    }
    if (find_group(id) || cdev_open(id)) {
        fail(EBUSY);
        return NULL;
    }
    g = g_new0(SimGroup, 1);
    g->id = id;
    g->open = true;
    open_groups = open_groups ?: g_ptr_array_new();
    g_ptr_array_add(open_groups, g);
    return g;
}

unsigned sim_group_id(const SimGroup *g)
{
    return g->id;
}

static void leave_container(SimGroup *g)
{
    SimContainer *c = g->container;

    g->container = NULL;
    if (!--c->groups) { /* the IOMMU goes, and with it all that it has mapped */
        c->has_iommu = false;
        g_array_set_size(c->extents, 0);
    }
    container_unref(c);
}

static void group_release(SimGroup *g)
{
    if (g->open || g->devices) {
        return;
    }
    if (g->container) {
        leave_container(g);
    }
    g_ptr_array_remove(open_groups, g);
    g_free(g);
}

void sim_group_close(SimGroup *g)
{
    g->open = false;
    group_release(g);
}

void sim_group_device_closed(SimDevice *dev)
{
    SimGroup *g = dev->via;

    dev->via = NULL;
    g->devices--;
    group_release(g);
}

static int get_status(SimGroup *g, struct vfio_group_status *s)
{
    sim_note("GROUP_GET_STATUS %u", g->id);
    if (s->argsz < sizeof(*s)) {
        return fail(EINVAL);
    }
    s->flags = g->container           ? VFIO_GROUP_FLAGS_CONTAINER_SET | VFIO_GROUP_FLAGS_VIABLE
               : sim_type1.not_viable ? 0
                                      : VFIO_GROUP_FLAGS_VIABLE;
    return 0;
}

static int set_container(SimGroup *g, const int *fd)
{
    SimContainer *c = sim_container_of(*fd);

    sim_note("GROUP_SET_CONTAINER %u", g->id);
    if (g->container) {
        return fail(EINVAL);
    }
    if (!c) {
        return fail(EBADFD);
    }
    if (sim_type1.not_viable) {
        return fail(EPERM);
    }
    if (c->has_iommu && sim_type1.groups_max && c->groups >= sim_type1.groups_max) {
        return fail(EINVAL);
    }
    g->container = container_ref(c);
    c->groups++;
    return 0;
}

static int unset_container(SimGroup *g)
{
    sim_note("GROUP_UNSET_CONTAINER %u", g->id);
    if (!g->container) {
        return fail(EINVAL);
    }
    if (g->devices) {
        return fail(EBUSY);
    }
    leave_container(g);
    return 0;
}

/* "NAME" or "NAME vf_token=UUID": as vfio-pci matches it. */
static int check_token(const SimDevice *dev, const char *rest)
{
    const char *token = g_str_has_prefix(rest, " vf_token=") ? rest + strlen(" vf_token=") : NULL;

    if (*rest && (!token || strlen(token) != 36)) {
        return fail(EINVAL);
    }
    return sim_device_check_token(dev, token);
}

static int get_device_fd(SimGroup *g, const char *name)
{
    sim_note("GROUP_GET_DEVICE_FD %u %s", g->id, name);
    for (guint i = 0; i < sim_devices->len; i++) {
        SimDevice *dev = sim_devices->pdata[i];

        if (dev->group != g->id || !g_str_has_prefix(name, dev->name)) {
            continue;
        }
        if (check_token(dev, name + strlen(dev->name))) {
            return -1;
        }
        if (!g->container || !g->container->has_iommu) {
            return fail(EINVAL);
        }
        sim_device_wake(dev);
        dev->bound = true;
        dev->via = g;
        g->devices++;
        return sim_device_file(dev);
    }
    return fail(ENODEV);
}

int sim_group_ioctl(SimGroup *g, unsigned long request, void *arg)
{
    switch (request) {
    case VFIO_GROUP_GET_STATUS:
        return get_status(g, arg);
    case VFIO_GROUP_SET_CONTAINER:
        return set_container(g, arg);
    case VFIO_GROUP_UNSET_CONTAINER:
        return unset_container(g);
    case VFIO_GROUP_GET_DEVICE_FD:
        return get_device_fd(g, arg);
    default:
        return fail(ENOTTY);
    }
}

/* ---- container ---- */

SimContainer *sim_container_new(void)
{
    SimContainer *c = g_new0(SimContainer, 1);

    c->extents = g_array_new(FALSE, FALSE, sizeof(SimExtent));
    containers = containers ?: g_ptr_array_new();
    g_ptr_array_add(containers, c);
    return container_ref(c);
}

void sim_container_close(SimContainer *c)
{
    container_unref(c);
}

static int set_iommu(SimContainer *c, uintptr_t type)
{
    sim_note("SET_IOMMU %u", (unsigned)type);
    if (!c->groups || c->has_iommu) {
        return fail(EINVAL);
    }
    if (type != VFIO_TYPE1_IOMMU && (type != VFIO_TYPE1v2_IOMMU || sim_type1.only_v1)) {
        return fail(ENODEV);
    }
    c->has_iommu = true;
    return 0;
}

/* What the kernel says of dirty tracking, of how many mappings are left, and of two ranges around
 * the window of MSI; as before Linux 6.6 the last one is not aligned to 8. */
static int get_info(SimContainer *c, struct vfio_iommu_type1_info *info)
{
    struct __attribute__((packed)) {
        struct vfio_iommu_type1_info_cap_migration migration;
        struct vfio_iommu_type1_info_dma_avail avail;
        struct vfio_info_cap_header header;
        uint32_t nr_iovas, reserved;
        struct vfio_iova_range ranges[2];
    } caps = {
        { { VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION, 1, 56 }, 0, 4096, 1 << 28 },
        { { VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL, 1, 68 }, DMA_LIMIT - c->extents->len },
        { VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE, 1, 0 },
        sim_type1.nr_iovas ?: 2,
        0,
        { { 0, MSI_FIRST - 1 }, { MSI_LAST + 1, (1ULL << 48) - 1 } },
    };
    uint32_t room = info->argsz;

    sim_note("IOMMU_GET_INFO");
    if (room < 16) {
        return fail(EINVAL);
    }
    info->flags = VFIO_IOMMU_INFO_PGSIZES | (sim_type1.no_caps ? 0 : VFIO_IOMMU_INFO_CAPS);
    info->iova_pgsizes = ~0xfffULL;
    if (sim_type1.no_caps) {
        return 0;
    }
    info->argsz = sim_type1.info_size ?: sizeof(*info) + sizeof(caps);
    if (room >= sizeof(*info) + sizeof(caps)) {
        memcpy(info + 1, &caps, sizeof(caps));
        info->cap_offset = sizeof(*info);
    }
    return 0;
}

static int map_dma(SimContainer *c, const struct vfio_iommu_type1_dma_map *m)
{
    uint64_t end = m->iova + m->size - 1;
    SimExtent e = { m->iova, m->size, m->vaddr, -1, !(m->flags & VFIO_DMA_MAP_FLAG_WRITE) };

    sim_note("MAP_DMA 0x%llx+0x%llx", m->iova, m->size);
    if (m->argsz < sizeof(*m) ||
        m->flags & ~(uint32_t)(VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE) || !m->flags ||
        !m->size || (m->iova | m->size | m->vaddr) % 4096 || end < m->iova) {
        return fail(EINVAL);
    }
    for (guint i = 0; i < c->extents->len; i++) {
        SimExtent *o = &g_array_index(c->extents, SimExtent, i);

        if (e.iova < o->iova + o->length && o->iova <= end) {
            return fail(EEXIST);
        }
    }
    if (c->extents->len >= (sim_type1.dma_limit ?: DMA_LIMIT)) {
        return fail(ENOSPC);
    }
    if (e.iova <= MSI_LAST && end >= MSI_FIRST) {
        return fail(EINVAL);
    }
    g_array_append_val(c->extents, e);
    return 0;
}

static int unmap_dma(SimContainer *c, struct vfio_iommu_type1_dma_unmap *u)
{
    uint64_t done = 0;

    sim_note("UNMAP_DMA 0x%llx+0x%llx", u->iova, u->size);
    if (u->argsz < sizeof(*u) || u->flags || !u->size || (u->iova | u->size) % 4096) {
        return fail(EINVAL);
    }
    for (guint i = 0; i < c->extents->len;) {
        SimExtent *e = &g_array_index(c->extents, SimExtent, i);

        if (e->iova >= u->iova + u->size || e->iova + e->length <= u->iova) {
            i++;
        } else if (e->iova < u->iova || e->iova + e->length > u->iova + u->size) {
            return fail(EINVAL); /* part of a mapping */
        } else {
            done += e->length;
            g_array_remove_index(c->extents, i);
        }
    }
    u->size = done;
    return 0;
}

int sim_container_ioctl(SimContainer *c, unsigned long request, void *arg)
{
    switch (request) {
    case VFIO_GET_API_VERSION:
        return sim_type1.version;
    case VFIO_SET_IOMMU:
        return set_iommu(c, (uintptr_t)arg);
    }
    if (!c->has_iommu) {
        return fail(EINVAL);
    }
    switch (request) {
    case VFIO_IOMMU_GET_INFO:
        return get_info(c, arg);
    case VFIO_IOMMU_MAP_DMA:
        return map_dma(c, arg);
    case VFIO_IOMMU_UNMAP_DMA:
        return unmap_dma(c, arg);
    default:
        return fail(ENOTTY);
    }
}

/* ---- for the tests ---- */

unsigned sim_containers(void)
{
    return containers ? containers->len : 0;
}

const GArray *sim_container(unsigned nr)
{
    SimContainer *c = nr < sim_containers() ? containers->pdata[nr] : NULL;

    return c ? c->extents : NULL;
}
