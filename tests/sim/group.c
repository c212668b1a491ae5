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
    unsigned invalid; /* extents without an address */
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
        c->invalid = 0;
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

/* A group of mdevs, which pin memory by themselves. */
static bool is_emulated(unsigned id)
{
    for (guint i = 0; i < sim_devices->len; i++) {
        const SimDevice *dev = sim_devices->pdata[i];

        if (dev->group == id && dev->mdev) {
            return true;
        }
    }
    return false;
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
    if (c->invalid) {
        return fail(EBUSY);
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

static bool has_emulated(const SimContainer *c)
{
    for (guint i = 0; open_groups && i < open_groups->len; i++) {
        const SimGroup *g = open_groups->pdata[i];

        if (g->container == c && is_emulated(g->id)) {
            return true;
        }
    }
    return false;
}

static int check_extension(const SimContainer *c, uintptr_t extension)
{
    sim_note("CHECK_EXTENSION %u", (unsigned)extension);
    switch (extension) {
    case VFIO_TYPE1_IOMMU:
        return 1;
    case VFIO_TYPE1v2_IOMMU:
        return !sim_type1.only_v1;
    case VFIO_UNMAP_ALL:
        return !sim_type1.no_update_vaddr;
    case VFIO_UPDATE_VADDR:
        return !sim_type1.no_update_vaddr && c->has_iommu && !has_emulated(c);
    default:
        return 0;
    }
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

/* The first that touches the range; UINT_MAX: none. */
static guint find_extent(const SimContainer *c, uint64_t start, uint64_t last)
{
    for (guint i = 0; i < c->extents->len; i++) {
        const SimExtent *e = &g_array_index(c->extents, SimExtent, i);

        if (start <= e->iova + e->length - 1 && e->iova <= last) {
            return i;
        }
    }
    return UINT_MAX;
}

static int update_vaddr(SimContainer *c, const struct vfio_iommu_type1_dma_map *m)
{
    guint i = find_extent(c, m->iova, m->iova + m->size - 1);
    SimExtent *e = i == UINT_MAX ? NULL : &g_array_index(c->extents, SimExtent, i);

    if (!e) {
        return fail(ENOENT);
    }
    if (!e->invalid || e->iova != m->iova || e->length != m->size) {
        return fail(EINVAL);
    }
    e->start = m->vaddr;
    e->invalid = false;
    c->invalid--;
    return 0;
}

static int map_dma(SimContainer *c, const struct vfio_iommu_type1_dma_map *m)
{
    const uint32_t prot = m->flags & (VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE);
    const uint32_t vaddr = sim_type1.no_update_vaddr ? 0 : m->flags & VFIO_DMA_MAP_FLAG_VADDR;
    uint64_t end = m->iova + m->size - 1;
    SimExtent e = { m->iova, m->size, m->vaddr, -1, !(m->flags & VFIO_DMA_MAP_FLAG_WRITE) };

    sim_note("%s 0x%llx+0x%llx", vaddr ? "UPDATE_VADDR" : "MAP_DMA", m->iova, m->size);
    if (m->argsz < sizeof(*m) || m->flags != (prot | vaddr) || !m->size) {
        return fail(EINVAL);
    }
    if (end < m->iova || m->vaddr + m->size - 1 < m->vaddr) {
        return fail(EOVERFLOW);
    }
    if (!prot == !vaddr || (m->iova | m->size | m->vaddr) % 4096) {
        return fail(EINVAL);
    }
    if (vaddr) {
        return update_vaddr(c, m);
    }
    if (find_extent(c, m->iova, end) != UINT_MAX) {
        return fail(EEXIST);
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

/* All or none. */
static int invalidate(SimContainer *c, uint64_t start, uint64_t last, uint64_t *done)
{
    for (unsigned pass = 0; pass < 2; pass++) {
        for (guint i = 0; i < c->extents->len; i++) {
            SimExtent *e = &g_array_index(c->extents, SimExtent, i);

            if (e->iova > last || e->iova + e->length - 1 < start) {
                continue;
            }
            if (!pass && e->invalid) {
                return fail(EINVAL);
            }
            e->invalid = pass;
            c->invalid += pass;
            *done += pass ? e->length : 0;
        }
    }
    return 0;
}

static bool is_cut(const SimContainer *c, uint64_t start, uint64_t last)
{
    for (guint i = 0; i < c->extents->len; i++) {
        const SimExtent *e = &g_array_index(c->extents, SimExtent, i);
        uint64_t end = e->iova + e->length - 1;

        if (e->iova <= last && end >= start && (e->iova < start || end > last)) {
            return true;
        }
    }
    return false;
}

static int unmap_dma(SimContainer *c, struct vfio_iommu_type1_dma_unmap *u)
{
    const uint32_t known =
        sim_type1.no_update_vaddr ? 0 : VFIO_DMA_UNMAP_FLAG_ALL | VFIO_DMA_UNMAP_FLAG_VADDR;
    const bool all = u->flags & VFIO_DMA_UNMAP_FLAG_ALL;
    const bool vaddr = u->flags & VFIO_DMA_UNMAP_FLAG_VADDR;
    const uint64_t start = u->iova, last = all ? UINT64_MAX : u->iova + u->size - 1;
    uint64_t done = 0;
    guint i;

    sim_note("%s 0x%llx+0x%llx%s", vaddr ? "INVALIDATE_VADDR" : "UNMAP_DMA", u->iova, u->size,
             all ? " all" : "");
    if (u->argsz < sizeof(*u) || u->flags & ~known) {
        return fail(EINVAL);
    }
    if (vaddr && has_emulated(c)) {
        return fail(EBUSY);
    }
    if ((all ? u->iova || u->size : !u->size) || (u->iova | u->size) % 4096) {
        return fail(EINVAL);
    }
    if (last < start) {
        return fail(EOVERFLOW);
    }
    if (is_cut(c, start, last)) {
        return fail(EINVAL);
    }
    if (vaddr && invalidate(c, start, last, &done)) {
        return -1;
    }
    while (!vaddr && (i = find_extent(c, start, last)) != UINT_MAX) {
        const SimExtent *e = &g_array_index(c->extents, SimExtent, i);

        done += e->length;
        c->invalid -= e->invalid;
        g_array_remove_index(c->extents, i);
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
    case VFIO_CHECK_EXTENSION:
        return check_extension(c, (uintptr_t)arg);
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
