/* SPDX-License-Identifier: GPL-2.0-or-later */
/* /dev/iommu: its objects and its commands. */
#include "tests/sim/internal.h"

#include "util/linux-iommufd.h"

#define MSI_FIRST 0xfee00000ULL /* what a PCI device's IOAS cannot hold on x86 */
#define MSI_LAST  0xfeefffffULL

static struct {
    unsigned refs;
    GArray *objects; /* by id */
} ctx;

/* ---- objects ---- */

Object *sim_object(uint32_t id, ObjectKind kind)
{
    Object *o = id && id < ctx.objects->len ? &g_array_index(ctx.objects, Object, id) : NULL;

    return o && o->kind == kind ? o : NULL;
}

uint32_t sim_object_new(ObjectKind kind)
{
    uint32_t id = 1;
    Object *o;

    while (id < ctx.objects->len && g_array_index(ctx.objects, Object, id).kind != OBJ_FREE) {
        id++;
    }
    if (id >= ctx.objects->len) {
        g_array_set_size(ctx.objects, id + 1);
    }
    o = &g_array_index(ctx.objects, Object, id);
    *o = (Object) { .kind = kind };
    if (kind == OBJ_IOAS) {
        o->extents = g_array_new(FALSE, FALSE, sizeof(SimExtent));
    }
    return id;
}

void sim_object_free(Object *o)
{
    g_clear_pointer(&o->extents, g_array_unref);
    o->kind = OBJ_FREE;
}

void sim_iommu_get(void)
{
    if (!ctx.refs++) {
        ctx.objects = g_array_new(FALSE, TRUE, sizeof(Object));
    }
}

void sim_iommu_put(void)
{
    if (--ctx.refs) {
        return;
    }
    for (guint i = 0; i < ctx.objects->len; i++) {
        sim_object_free(&g_array_index(ctx.objects, Object, i));
    }
    g_clear_pointer(&ctx.objects, g_array_unref);
}

uint32_t sim_hwpt_of(uint32_t ioas)
{
    uint32_t id;

    for (id = 1; id < ctx.objects->len; id++) {
        const Object *o = sim_object(id, OBJ_HWPT);

        if (o && o->ioas == ioas && !o->manual) {
            return id;
        }
    }
    id = sim_object_new(OBJ_HWPT);
    sim_object(id, OBJ_HWPT)->ioas = ioas;
    sim_object(ioas, OBJ_IOAS)->users++;
    return id;
}

void sim_hwpt_free(Object *hwpt)
{
    sim_object(hwpt->ioas, OBJ_IOAS)->users--;
    sim_object_free(hwpt);
}

/* ---- commands ---- */

static int cmd_destroy(void *arg)
{
    struct iommu_destroy *d = arg;
    Object *o;

    sim_note("IOMMU_DESTROY %u", d->id);
    o = d->id && d->id < ctx.objects->len ? &g_array_index(ctx.objects, Object, d->id) : NULL;
    if (!o || o->kind == OBJ_FREE) {
        return fail(ENOENT);
    }
    if (o->users || o->kind == OBJ_DEVICE) {
        return fail(EBUSY);
    }
    if (o->kind == OBJ_HWPT) {
        sim_hwpt_free(o);
    } else {
        sim_object_free(o);
    }
    return 0;
}

static int cmd_ioas_alloc(void *arg)
{
    struct iommu_ioas_alloc *a = arg;

    if (a->flags) {
        return fail(EOPNOTSUPP);
    }
    a->out_ioas_id = sim_object_new(OBJ_IOAS);
    sim_note("IOMMU_IOAS_ALLOC = %u", a->out_ioas_id);
    return 0;
}

static int cmd_iova_ranges(void *arg)
{
    struct iommu_ioas_iova_ranges *q = arg;
    struct iommu_iova_range *out = (void *)(uintptr_t)q->allowed_iovas;
    Object *ioas = sim_object(q->ioas_id, OBJ_IOAS);
    struct iommu_iova_range all[] = { { 0, UINT64_MAX }, { 0, 0 } };
    uint32_t n = 1, room = q->num_iovas;

    sim_note("IOMMU_IOAS_IOVA_RANGES %u", q->ioas_id);
    if (!ioas) {
        return fail(ENOENT);
    }
    if (ioas->users) {
        all[0].last = MSI_FIRST - 1;
        all[1] = (struct iommu_iova_range) { MSI_LAST + 1, (1ULL << 48) - 1 };
        n = 2;
    }
    for (uint32_t i = 0; i < n && i < room; i++) {
        out[i] = all[i];
    }
    q->num_iovas = n;
    q->out_iova_alignment = ioas->users ? 4096 : 1;
    return room < n ? fail(EMSGSIZE) : 0;
}

/* The checks that MAP and MAP_FILE share, in the kernel's order. */
static int map(uint32_t flags, uint32_t ioas_id, SimExtent e)
{
    Object *ioas = sim_object(ioas_id, OBJ_IOAS);
    uint64_t end;

    if (flags & ~(uint32_t)(IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_WRITEABLE |
                            IOMMU_IOAS_MAP_READABLE)) {
        return fail(EOPNOTSUPP);
    }
    if (!(flags & (IOMMU_IOAS_MAP_WRITEABLE | IOMMU_IOAS_MAP_READABLE))) {
        return fail(EINVAL);
    }
    if (!ioas) {
        return fail(ENOENT);
    }
    if (!e.length || (e.iova | e.length | e.start) % (ioas->users ? 4096 : 1)) {
        return fail(EINVAL);
    }
    if (__builtin_add_overflow(e.iova, e.length - 1, &end)) {
        return fail(EOVERFLOW);
    }
    if (ioas->users && e.iova <= MSI_LAST && end >= MSI_FIRST) {
        return fail(EINVAL);
    }
    for (guint i = 0; i < ioas->extents->len; i++) {
        SimExtent *o = &g_array_index(ioas->extents, SimExtent, i);

        if (e.iova < o->iova + o->length && o->iova <= end) {
            return fail(EEXIST);
        }
    }
    e.readonly = !(flags & IOMMU_IOAS_MAP_WRITEABLE);
    g_array_append_val(ioas->extents, e);
    return 0;
}

static int cmd_map(void *arg)
{
    struct iommu_ioas_map *m = arg;

    sim_note("IOMMU_IOAS_MAP %u 0x%llx+0x%llx", m->ioas_id, m->iova, m->length);
    return map(m->flags, m->ioas_id,
               (SimExtent) { m->iova, m->length, m->user_va, -1, false, NULL, false });
}

static int cmd_map_file(void *arg)
{
    struct iommu_ioas_map_file *m = arg;
    SimExtent e = { m->iova, m->length, m->start, m->fd, false, NULL, false };
    uint64_t size;

    sim_note("IOMMU_IOAS_MAP_FILE %u 0x%llx+0x%llx from 0x%llx", m->ioas_id, m->iova, m->length,
             m->start);
    if (m->fd < 0) {
        return fail(EBADF);
    }
    if (sim_dmabuf(m->fd, &e.peer, &size)) {
        if (m->start > size || m->length > size - m->start) {
            return fail(EINVAL);
        }
        if (!sim_decodes(e.peer)) {
            return fail(ENODEV);
        }
    }
    return map(m->flags, m->ioas_id, e);
}

void sim_iommu_revoke(SimDevice *dev)
{
    for (guint i = 0; ctx.refs && i < ctx.objects->len; i++) {
        const Object *ioas = sim_object(i, OBJ_IOAS);

        for (guint j = 0; ioas && j < ioas->extents->len; j++) {
            SimExtent *e = &g_array_index(ioas->extents, SimExtent, j);

            if (e->peer == dev && !e->dead) {
                e->dead = true;
                dev->revoked++;
            }
        }
    }
}

static int cmd_unmap(void *arg)
{
    struct iommu_ioas_unmap *u = arg;
    Object *ioas = sim_object(u->ioas_id, OBJ_IOAS);
    uint64_t done = 0;

    sim_note("IOMMU_IOAS_UNMAP %u 0x%llx+0x%llx", u->ioas_id, u->iova, u->length);
    if (!ioas) {
        return fail(ENOENT);
    }
    for (guint i = 0; i < ioas->extents->len;) {
        SimExtent *e = &g_array_index(ioas->extents, SimExtent, i);

        if (e->iova >= u->iova + u->length || e->iova + e->length <= u->iova) {
            i++;
        } else if (e->iova < u->iova || e->iova + e->length > u->iova + u->length) {
            return fail(ENOENT); /* part of an extent */
        } else {
            done += e->length;
            g_array_remove_index(ioas->extents, i);
        }
    }
    u->length = done;
    return done ? 0 : fail(ENOENT);
}

static int cmd_option(void *arg)
{
    struct iommu_option *o = arg;

    if (o->option_id != IOMMU_OPTION_RLIMIT_MODE || o->op != IOMMU_OPTION_OP_GET || o->object_id) {
        return fail(EOPNOTSUPP);
    }
    o->val64 = 0;
    return 0;
}

static int cmd_get_hw_info(void *arg)
{
    struct iommu_hw_info *info = arg;
    const Object *o = sim_object(info->dev_id, OBJ_DEVICE);

    sim_note("IOMMU_GET_HW_INFO %u", info->dev_id);
    if (info->flags) {
        return fail(EOPNOTSUPP);
    }
    if (!o || o->dev->mdev) {
        return fail(ENOENT);
    }
    info->out_capabilities =
        o->dev->hw_caps | (o->dev->dirty_tracking ? IOMMU_HW_CAP_DIRTY_TRACKING : 0);
    return 0;
}

static int cmd_hwpt_alloc(void *arg)
{
    struct iommu_hwpt_alloc *a = arg;
    const Object *o = sim_object(a->dev_id, OBJ_DEVICE);
    SimDevice *dev = o ? o->dev : NULL;
    Object *hwpt;

    if (a->__reserved || a->flags & ~(uint32_t)IOMMU_HWPT_ALLOC_DIRTY_TRACKING) {
        return fail(EOPNOTSUPP);
    }
    if (!dev || dev->mdev) {
        return fail(ENOENT);
    }
    if (!sim_object(a->pt_id, OBJ_IOAS)) {
        return fail(EINVAL);
    }
    if (a->flags && !dev->dirty_tracking) {
        return fail(EOPNOTSUPP);
    }
    a->out_hwpt_id = sim_object_new(OBJ_HWPT);
    sim_note("IOMMU_HWPT_ALLOC %u %u flags %u = %u", a->dev_id, a->pt_id, a->flags, a->out_hwpt_id);
    hwpt = sim_object(a->out_hwpt_id, OBJ_HWPT);
    hwpt->manual = true;
    hwpt->dev = dev;
    hwpt->ioas = a->pt_id;
    sim_object(a->pt_id, OBJ_IOAS)->users++;
    return 0;
}

static const struct {
    unsigned long request;
    size_t size;
    int (*run)(void *arg);
} iommu_commands[] = {
    { IOMMU_DESTROY, sizeof(struct iommu_destroy), cmd_destroy },
    { IOMMU_IOAS_ALLOC, sizeof(struct iommu_ioas_alloc), cmd_ioas_alloc },
    { IOMMU_IOAS_IOVA_RANGES, sizeof(struct iommu_ioas_iova_ranges), cmd_iova_ranges },
    { IOMMU_IOAS_MAP, sizeof(struct iommu_ioas_map), cmd_map },
    { IOMMU_IOAS_MAP_FILE, sizeof(struct iommu_ioas_map_file), cmd_map_file },
    { IOMMU_IOAS_UNMAP, sizeof(struct iommu_ioas_unmap), cmd_unmap },
    { IOMMU_OPTION, sizeof(struct iommu_option), cmd_option },
    { IOMMU_GET_HW_INFO, sizeof(struct iommu_hw_info), cmd_get_hw_info },
    { IOMMU_HWPT_ALLOC, sizeof(struct iommu_hwpt_alloc), cmd_hwpt_alloc },
};

static unsigned long lacks;

void sim_iommu_lacks(unsigned long request)
{
    lacks = request;
}

int sim_iommu_ioctl(unsigned long request, void *arg)
{
    for (size_t i = 0; i < G_N_ELEMENTS(iommu_commands); i++) {
        if (iommu_commands[i].request == request && request != lacks) {
            return *(uint32_t *)arg == iommu_commands[i].size ? iommu_commands[i].run(arg)
                                                              : fail(EINVAL);
        }
    }
    return fail(ENOTTY);
}

const GArray *sim_ioas(uint32_t id)
{
    Object *ioas = ctx.refs ? sim_object(id, OBJ_IOAS) : NULL;

    return ioas ? ioas->extents : NULL;
}
