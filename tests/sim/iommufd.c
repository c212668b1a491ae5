/* SPDX-License-Identifier: GPL-2.0-or-later */
/* /dev/iommu: its objects, and its commands to do with address spaces. */
#include "tests/sim/internal.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <stddef.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/conformance/mock.h"
#include "util/linux-iommufd.h"

#define PAGE 4096ULL

static struct {
    unsigned refs;
    GArray *objects; /* by id */
    uint64_t rlimit_mode;
} ctx;
static bool limited;

/* ---- objects ---- */

uint32_t sim_objects(void)
{
    return ctx.objects->len;
}

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
        o->reserved = g_array_new(FALSE, FALSE, sizeof(Range));
        o->allowed = g_array_new(FALSE, FALSE, sizeof(Range));
    } else if (kind == OBJ_HWPT) {
        o->dirty = g_array_new(FALSE, FALSE, sizeof(Range));
    }
    return id;
}

void sim_object_free(Object *o)
{
    g_clear_pointer(&o->extents, g_array_unref);
    g_clear_pointer(&o->reserved, g_array_unref);
    g_clear_pointer(&o->allowed, g_array_unref);
    g_clear_pointer(&o->dirty, g_array_unref);
    o->kind = OBJ_FREE;
}

void sim_iommu_get(void)
{
    if (!ctx.refs++) {
        ctx.objects = g_array_new(FALSE, TRUE, sizeof(Object));
        ctx.rlimit_mode = 0;
    }
}

void sim_iommu_put(void)
{
    if (--ctx.refs) {
        return;
    }
    for (guint i = 0; i < ctx.objects->len; i++) {
        Object *o = &g_array_index(ctx.objects, Object, i);

        if (o->kind == OBJ_MOCK) {
            sim_mock_free(o->dev);
        }
    }
    for (guint i = 0; i < ctx.objects->len; i++) {
        sim_object_free(&g_array_index(ctx.objects, Object, i));
    }
    g_clear_pointer(&ctx.objects, g_array_unref);
}

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
        return 0;
    }
    if (o->kind == OBJ_MOCK) {
        sim_mock_free(o->dev);
    }
    sim_object_free(o);
    return 0;
}

/* ---- which addresses there are ---- */

/* Calls @found for all that cannot be mapped in the IOAS; stops when it says so. */
static bool each_reserved(uint32_t id, bool (*found)(Range r, void *opaque), void *opaque)
{
    const Object *ioas = sim_object(id, OBJ_IOAS);
    bool stop = false;

    for (guint i = 0; i < ioas->reserved->len && !stop; i++) {
        stop = found(g_array_index(ioas->reserved, Range, i), opaque);
    }
    for (uint32_t i = 1; i < ctx.objects->len && !stop; i++) {
        const Object *o = &g_array_index(ctx.objects, Object, i);
        const SimDevice *dev = o->dev;

        if (o->kind == OBJ_HWPT && o->ioas == id) {
            stop = (dev->aperture.first && found((Range) { 0, dev->aperture.first - 1 }, opaque)) ||
                   found((Range) { dev->aperture.last + 1, UINT64_MAX }, opaque);
        } else if (o->kind == OBJ_DEVICE && dev->hwpt && dev->msi_first <= dev->msi_last &&
                   sim_object(dev->hwpt, OBJ_HWPT)->ioas == id) {
            stop = found((Range) { dev->msi_first, dev->msi_last }, opaque);
        }
    }
    return stop;
}

static bool overlaps(Range r, void *opaque)
{
    const Range *other = opaque;

    return r.start <= other->last && other->start <= r.last;
}

static bool is_reserved(uint32_t ioas, Range r)
{
    return each_reserved(ioas, overlaps, &r);
}

uint64_t sim_alignment(uint32_t ioas)
{
    uint64_t page = sim_object(ioas, OBJ_IOAS)->no_huge_pages ? PAGE : 1;

    for (uint32_t i = 1; i < ctx.objects->len; i++) {
        const Object *o = &g_array_index(ctx.objects, Object, i);

        if (o->kind == OBJ_HWPT && o->ioas == ioas) {
            page = MAX(page, o->dev->aperture.page);
        }
    }
    return page;
}

/* Where the first extent is that ends at @start or later. */
static guint extent_index(const Object *ioas, uint64_t start)
{
    guint low = 0, high = ioas->extents->len;

    while (low < high) {
        guint middle = (low + high) / 2;
        const SimExtent *e = &g_array_index(ioas->extents, SimExtent, middle);

        if (e->iova + (e->length - 1) < start) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

const SimExtent *sim_extent(const Object *ioas, uint64_t start, uint64_t last)
{
    guint i = extent_index(ioas, start);
    const SimExtent *e =
        i < ioas->extents->len ? &g_array_index(ioas->extents, SimExtent, i) : NULL;

    return e && e->iova <= last ? e : NULL;
}

bool sim_is_used(const Object *ioas, Range r)
{
    for (guint i = 0; i < ioas->allowed->len; i++) {
        if (overlaps(g_array_index(ioas->allowed, Range, i), &r)) {
            return true;
        }
    }
    return sim_extent(ioas, r.start, r.last);
}

bool sim_fits(uint32_t id, const SimDevice *dev)
{
    const Object *ioas = sim_object(id, OBJ_IOAS);

    return !(dev->msi_first <= dev->msi_last &&
             sim_is_used(ioas, (Range) { dev->msi_first, dev->msi_last })) &&
           !(dev->aperture.first && sim_is_used(ioas, (Range) { 0, dev->aperture.first - 1 })) &&
           !sim_is_used(ioas, (Range) { dev->aperture.last + 1, UINT64_MAX });
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

static bool collect(Range r, void *opaque)
{
    g_array_append_val((GArray *)opaque, r);
    return false;
}

static gint compare_ranges(gconstpointer a, gconstpointer b)
{
    const Range *l = a, *r = b;

    return l->start < r->start ? -1 : l->start > r->start;
}

static int cmd_iova_ranges(void *arg)
{
    struct iommu_ioas_iova_ranges *q = arg;
    struct iommu_iova_range *out = (void *)(uintptr_t)q->allowed_iovas;
    g_autoptr(GArray) reserved = g_array_new(FALSE, FALSE, sizeof(Range));
    uint32_t n = 0, room = q->num_iovas;
    uint64_t at = 0;
    bool full = false;

    sim_note("IOMMU_IOAS_IOVA_RANGES %u", q->ioas_id);
    if (q->__reserved) {
        return fail(EOPNOTSUPP);
    }
    if (!sim_object(q->ioas_id, OBJ_IOAS)) {
        return fail(ENOENT);
    }
    each_reserved(q->ioas_id, collect, reserved);
    g_array_sort(reserved, compare_ranges);
    for (guint i = 0; i <= reserved->len && !full; i++) {
        Range r = i < reserved->len ? g_array_index(reserved, Range, i)
                                    : (Range) { UINT64_MAX, UINT64_MAX };
        uint64_t last = i < reserved->len ? r.start - 1 : UINT64_MAX;

        if (r.start > at) {
            if (n < room) {
                out[n] = (struct iommu_iova_range) { at, last };
            }
            n++;
        }
        full = r.last == UINT64_MAX;
        at = MAX(at, r.last + 1);
    }
    q->num_iovas = n;
    q->out_iova_alignment = sim_alignment(q->ioas_id);
    return room < n ? fail(EMSGSIZE) : 0;
}

static int cmd_allow_iovas(void *arg)
{
    const struct iommu_ioas_allow_iovas *a = arg;
    const Range *ranges = (const void *)(uintptr_t)a->allowed_iovas;
    Object *ioas = sim_object(a->ioas_id, OBJ_IOAS);

    if (a->__reserved) {
        return fail(EOPNOTSUPP);
    }
    if (!ioas) {
        return fail(ENOENT);
    }
    for (uint32_t i = 0; i < a->num_iovas; i++) {
        if (ranges[i].start >= ranges[i].last) {
            return fail(EINVAL);
        }
        for (uint32_t j = 0; j < i; j++) {
            Range r = ranges[i];

            if (overlaps(ranges[j], &r)) {
                return fail(EINVAL);
            }
        }
    }
    for (uint32_t i = 0; i < a->num_iovas; i++) {
        if (is_reserved(a->ioas_id, ranges[i])) {
            return fail(EADDRINUSE);
        }
    }
    g_array_set_size(ioas->allowed, 0);
    g_array_append_vals(ioas->allowed, ranges, a->num_iovas);
    return 0;
}

/* ---- mappings ---- */

static bool has_domain(uint32_t ioas)
{
    return sim_object(ioas, OBJ_IOAS)->users;
}

/* Only what has a domain is pinned. */
static bool over_limit(uint64_t length)
{
    struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct caps[2] = { { 0 } };
    struct rlimit limit;
    uint64_t pinned = length;

    if (!limited || syscall(SYS_capget, &header, caps) || caps[0].effective & 1U << CAP_IPC_LOCK ||
        getrlimit(RLIMIT_MEMLOCK, &limit)) {
        return false;
    }
    for (uint32_t i = 1; i < ctx.objects->len; i++) {
        const Object *o = sim_object(i, OBJ_IOAS);

        for (guint j = 0; o && o->users && j < o->extents->len; j++) {
            pinned += g_array_index(o->extents, SimExtent, j).length;
        }
    }
    return pinned > limit.rlim_cur;
}

/* Automatic placement: the lowest place, where the kernel looks for the best aligned one. */
static bool place(uint32_t id, SimExtent *e)
{
    const Object *ioas = sim_object(id, OBJ_IOAS);
    uint64_t offset = e->start % PAGE;

    for (guint i = 0; i < MAX(1, ioas->allowed->len); i++) {
        Range all = { PAGE, UINT64_MAX - PAGE };
        Range room = ioas->allowed->len ? g_array_index(ioas->allowed, Range, i) : all;
        uint64_t at = (MAX(room.start, PAGE) + PAGE - 1) / PAGE * PAGE + offset;

        for (; at >= room.start && at <= room.last && e->length - 1 <= room.last - at; at += PAGE) {
            Range r = { at, at + e->length - 1 };

            if (!is_reserved(id, r) && !sim_extent(ioas, r.start, r.last)) {
                e->iova = at;
                return true;
            }
        }
    }
    return false;
}

static int check_fixed(uint32_t id, const SimExtent *e)
{
    Range r = { e->iova, 0 };

    if (e->iova % sim_alignment(id)) {
        return EINVAL;
    }
    if (__builtin_add_overflow(e->iova, e->length - 1, &r.last)) {
        return EOVERFLOW;
    }
    if (is_reserved(id, r)) {
        return EINVAL;
    }
    return sim_extent(sim_object(id, OBJ_IOAS), r.start, r.last) ? EEXIST : 0;
}

static uint32_t map_flags(void)
{
    return IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_WRITEABLE | IOMMU_IOAS_MAP_READABLE;
}

/* The checks that come before the IOAS is looked for. */
static int check_map(uint32_t flags, uint32_t reserved, uint64_t iova, uint64_t length)
{
    if (flags & ~map_flags() || reserved) {
        return EOPNOTSUPP;
    }
    if (iova == UINT64_MAX || length == UINT64_MAX) {
        return EOVERFLOW;
    }
    return flags & (IOMMU_IOAS_MAP_WRITEABLE | IOMMU_IOAS_MAP_READABLE) ? 0 : EINVAL;
}

static int insert(uint32_t id, uint32_t flags, SimExtent *e)
{
    Object *ioas = sim_object(id, OBJ_IOAS);
    uint64_t alignment = sim_alignment(id);
    int errnum;

    if (!e->length || e->length % alignment) {
        return EINVAL;
    }
    if (flags & IOMMU_IOAS_MAP_FIXED_IOVA) {
        errnum = check_fixed(id, e);
    } else {
        errnum = place(id, e) ? 0 : ENOSPC;
    }
    if (errnum || e->start % PAGE % alignment) {
        return errnum ?: EINVAL;
    }
    e->readonly = !(flags & IOMMU_IOAS_MAP_WRITEABLE);
    g_array_insert_vals(ioas->extents, extent_index(ioas, e->iova), e, 1);
    return 0;
}

/* The checks that MAP and MAP_FILE share, in the kernel's order. */
static int map(uint32_t flags, uint32_t reserved, uint32_t id, SimExtent e, __u64 *iova)
{
    uint64_t end;
    int errnum = check_map(flags, reserved, e.iova, e.length);

    if (!errnum && !sim_object(id, OBJ_IOAS)) {
        errnum = ENOENT;
    }
    if (!errnum && !e.length) {
        errnum = EINVAL;
    }
    if (!errnum && __builtin_add_overflow(e.start, e.length - 1, &end)) {
        errnum = EOVERFLOW;
    }
    if (!errnum && (e.fd == -2 || (e.fd >= 0 && !e.peer && fcntl(e.fd, F_GETFD) < 0))) {
        errnum = EBADF;
    }
    if (!errnum && has_domain(id) && over_limit(e.length)) {
        errnum = ENOMEM;
    }
    errnum = errnum ?: insert(id, flags, &e);
    *iova = e.iova;
    return errnum ? fail(errnum) : 0;
}

static int cmd_map(void *arg)
{
    struct iommu_ioas_map *m = arg;

    sim_note("IOMMU_IOAS_MAP %u 0x%llx+0x%llx", m->ioas_id, m->iova, m->length);
    return map(m->flags, m->__reserved, m->ioas_id,
               (SimExtent) { m->iova, m->length, m->user_va, -1, false, NULL, false }, &m->iova);
}

static int cmd_map_file(void *arg)
{
    struct iommu_ioas_map_file *m = arg;
    SimExtent e = { m->iova, m->length, m->start, m->fd, false, NULL, false };
    uint64_t size;

    sim_note("IOMMU_IOAS_MAP_FILE %u 0x%llx+0x%llx from 0x%llx", m->ioas_id, m->iova, m->length,
             m->start);
    if (e.fd < 0) {
        e.fd = -2;
    } else if (sim_dmabuf(m->fd, &e.peer, &size)) {
        if (m->start > size || m->length > size - m->start) {
            return fail(EINVAL);
        }
        if (!sim_decodes(e.peer)) {
            return fail(ENODEV);
        }
    }
    return map(m->flags, 0, m->ioas_id, e, &m->iova);
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

static int cmd_copy(void *arg)
{
    struct iommu_ioas_copy *c = arg;
    const Object *source = sim_object(c->src_ioas_id, OBJ_IOAS);
    g_autoptr(GArray) parts = g_array_new(FALSE, FALSE, sizeof(SimExtent));
    uint64_t last, at = c->src_iova;
    int errnum = check_map(c->flags, 0, c->dst_iova, c->length);

    sim_note("IOMMU_IOAS_COPY %u 0x%llx from %u 0x%llx+0x%llx", c->dst_ioas_id, c->dst_iova,
             c->src_ioas_id, c->src_iova, c->length);
    if (errnum == EINVAL || !errnum) {
        errnum = c->src_iova == UINT64_MAX ? EOVERFLOW : errnum;
    }
    if (!errnum && !source) {
        errnum = ENOENT;
    }
    if (!errnum && !c->length) {
        errnum = EINVAL;
    }
    if (!errnum && __builtin_add_overflow(c->src_iova, c->length - 1, &last)) {
        errnum = EOVERFLOW;
    }
    if (errnum) {
        return fail(errnum);
    }
    while (at - c->src_iova < c->length) {
        const SimExtent *e = sim_extent(source, at, at);
        SimExtent part;

        if (!e) {
            return fail(ENOENT);
        }
        part = *e;
        part.start += at - e->iova;
        part.length = MIN(last, e->iova + e->length - 1) - at + 1;
        part.iova = c->dst_iova + (at - c->src_iova);
        if (e->readonly && c->flags & IOMMU_IOAS_MAP_WRITEABLE) {
            return fail(EPERM);
        }
        g_array_append_val(parts, part);
        at += part.length;
    }
    if (!sim_object(c->dst_ioas_id, OBJ_IOAS)) {
        return fail(ENOENT);
    }
    if (!(c->flags & IOMMU_IOAS_MAP_FIXED_IOVA)) {
        SimExtent whole = { 0, c->length, g_array_index(parts, SimExtent, 0).start, -1 };

        if (!place(c->dst_ioas_id, &whole)) {
            return fail(ENOSPC);
        }
        c->dst_iova = whole.iova;
    } else {
        SimExtent whole = { c->dst_iova, c->length, 0, -1 };

        errnum = c->length % sim_alignment(c->dst_ioas_id) ? EINVAL
                                                           : check_fixed(c->dst_ioas_id, &whole);
        if (errnum) {
            return fail(errnum);
        }
    }
    for (guint i = 0; i < parts->len; i++) {
        SimExtent *part = &g_array_index(parts, SimExtent, i);

        part->iova = c->dst_iova;
        for (guint j = 0; j < i; j++) {
            part->iova += g_array_index(parts, SimExtent, j).length;
        }
        errnum = insert(c->dst_ioas_id, c->flags | IOMMU_IOAS_MAP_FIXED_IOVA, part);
        if (errnum) {
            return fail(errnum);
        }
    }
    return 0;
}

static int cmd_unmap(void *arg)
{
    struct iommu_ioas_unmap *u = arg;
    Object *ioas = sim_object(u->ioas_id, OBJ_IOAS);
    bool all = !u->iova && u->length == UINT64_MAX;
    uint64_t last = UINT64_MAX, done = 0;

    sim_note("IOMMU_IOAS_UNMAP %u 0x%llx+0x%llx", u->ioas_id, u->iova, u->length);
    if (!ioas) {
        return fail(ENOENT);
    }
    if (!all && (u->iova == UINT64_MAX || u->length == UINT64_MAX)) {
        return fail(EOVERFLOW);
    }
    if (!all && !u->length) {
        return fail(EINVAL);
    }
    if (!all && __builtin_add_overflow(u->iova, u->length - 1, &last)) {
        return fail(EOVERFLOW);
    }
    for (guint i = extent_index(ioas, u->iova); i < ioas->extents->len;) {
        const SimExtent *e = &g_array_index(ioas->extents, SimExtent, i);

        if (e->iova > last) {
            break;
        }
        if (e->iova < u->iova || e->iova + (e->length - 1) > last) {
            return fail(ENOENT); /* part of an extent; what came before is gone */
        }
        done += e->length;
        sim_hwpt_forget(u->ioas_id, e);
        g_array_remove_index(ioas->extents, i);
    }
    u->length = done;
    return done || all ? 0 : fail(ENOENT);
}

static int cmd_change_process(void *arg)
{
    const struct iommu_ioas_change_process *c = arg;

    sim_note("IOMMU_IOAS_CHANGE_PROCESS");
    if (c->__reserved) {
        return fail(EOPNOTSUPP);
    }
    for (uint32_t i = 1; i < ctx.objects->len; i++) {
        const Object *ioas = sim_object(i, OBJ_IOAS);

        for (guint j = 0; ioas && j < ioas->extents->len; j++) {
            const SimExtent *e = &g_array_index(ioas->extents, SimExtent, j);

            if (e->fd < 0 || e->peer) {
                return fail(EINVAL);
            }
        }
    }
    return 0;
}

/* ---- options ---- */

static bool any_object(void)
{
    for (uint32_t i = 1; i < ctx.objects->len; i++) {
        if (g_array_index(ctx.objects, Object, i).kind != OBJ_FREE) {
            return true;
        }
    }
    return false;
}

static int option_rlimit_mode(struct iommu_option *o)
{
    if (o->object_id) {
        return fail(EOPNOTSUPP);
    }
    if (o->op == IOMMU_OPTION_OP_GET) {
        o->val64 = ctx.rlimit_mode;
        return 0;
    }
    if (o->op != IOMMU_OPTION_OP_SET) {
        return fail(EOPNOTSUPP);
    }
    if (geteuid()) {
        return fail(EPERM);
    }
    if (any_object()) {
        return fail(EBUSY);
    }
    if (o->val64 > 1) {
        return fail(EINVAL);
    }
    ctx.rlimit_mode = o->val64;
    return 0;
}

static int option_huge_pages(struct iommu_option *o)
{
    Object *ioas = sim_object(o->object_id, OBJ_IOAS);

    if (!ioas) {
        return fail(ENOENT);
    }
    if (o->op == IOMMU_OPTION_OP_GET) {
        o->val64 = !ioas->no_huge_pages;
        return 0;
    }
    if (o->op != IOMMU_OPTION_OP_SET) {
        return fail(EOPNOTSUPP);
    }
    if (o->val64 > 1 || (!o->val64 && ioas->users && ioas->extents->len)) {
        return fail(EINVAL);
    }
    ioas->no_huge_pages = !o->val64;
    return 0;
}

static int cmd_option(void *arg)
{
    struct iommu_option *o = arg;

    return o->__reserved                                     ? fail(EOPNOTSUPP)
           : o->option_id == IOMMU_OPTION_RLIMIT_MODE        ? option_rlimit_mode(o)
           : o->option_id == VIADUCT_IOMMU_OPTION_HUGE_PAGES ? option_huge_pages(o)
                                                             : fail(EOPNOTSUPP);
}

/* ---- how they are called ---- */

#define COMMAND(request, T, last, run)                                                           \
    {                                                                                            \
        request, sizeof(struct T), offsetof(struct T, last) + sizeof(((struct T *)0)->last), run \
    }

static const struct {
    unsigned long request;
    size_t size, prefix; /* all of it, and what must be given */
    int (*run)(void *arg);
} iommu_commands[] = {
    COMMAND(IOMMU_DESTROY, iommu_destroy, id, cmd_destroy),
    COMMAND(IOMMU_IOAS_ALLOC, iommu_ioas_alloc, out_ioas_id, cmd_ioas_alloc),
    COMMAND(IOMMU_IOAS_ALLOW_IOVAS, iommu_ioas_allow_iovas, allowed_iovas, cmd_allow_iovas),
    COMMAND(IOMMU_IOAS_COPY, iommu_ioas_copy, src_iova, cmd_copy),
    COMMAND(IOMMU_IOAS_IOVA_RANGES, iommu_ioas_iova_ranges, out_iova_alignment, cmd_iova_ranges),
    COMMAND(IOMMU_IOAS_MAP, iommu_ioas_map, iova, cmd_map),
    COMMAND(IOMMU_IOAS_UNMAP, iommu_ioas_unmap, length, cmd_unmap),
    COMMAND(IOMMU_OPTION, iommu_option, val64, cmd_option),
    COMMAND(IOMMU_HWPT_ALLOC, iommu_hwpt_alloc, __reserved, sim_hwpt_alloc),
    COMMAND(IOMMU_GET_HW_INFO, iommu_hw_info, __reserved, sim_get_hw_info),
    COMMAND(IOMMU_HWPT_SET_DIRTY_TRACKING, iommu_hwpt_set_dirty_tracking, __reserved,
            sim_set_dirty),
    COMMAND(IOMMU_HWPT_GET_DIRTY_BITMAP, iommu_hwpt_get_dirty_bitmap, data, sim_get_dirty),
    COMMAND(IOMMU_IOAS_MAP_FILE, iommu_ioas_map_file, iova, cmd_map_file),
    COMMAND(IOMMU_IOAS_CHANGE_PROCESS, iommu_ioas_change_process, __reserved, cmd_change_process),
    COMMAND(IOMMU_TEST_CMD, iommu_test_cmd, last, sim_mock),
};

static unsigned long lacks;

void sim_iommu_lacks(unsigned long request)
{
    lacks = request;
}

void sim_limit_memory(bool on)
{
    limited = on;
}

/* The command sees its whole structure: zeroes where the caller's is shorter. */
static int call(size_t size, int (*run)(void *arg), void *arg)
{
    uint64_t buffer[16] = { 0 };
    uint32_t given = *(const uint32_t *)arg;
    int ret;

    g_assert_cmpuint(size, <=, sizeof(buffer));
    for (size_t i = size; i < given; i++) {
        if (((const uint8_t *)arg)[i]) {
            return fail(E2BIG);
        }
    }
    memcpy(buffer, arg, MIN(given, size));
    ret = run(buffer);
    if (!ret || errno == EMSGSIZE) {
        memcpy(arg, buffer, MIN(given, size));
    }
    return ret;
}

int sim_iommu_ioctl(unsigned long request, void *arg)
{
    for (size_t i = 0; i < G_N_ELEMENTS(iommu_commands); i++) {
        if (iommu_commands[i].request == request && request != lacks) {
            return *(const uint32_t *)arg < iommu_commands[i].prefix
                       ? fail(EINVAL)
                       : call(iommu_commands[i].size, iommu_commands[i].run, arg);
        }
    }
    return fail(ENOTTY);
}

const GArray *sim_ioas(uint32_t id)
{
    Object *ioas = ctx.refs ? sim_object(id, OBJ_IOAS) : NULL;

    return ioas ? ioas->extents : NULL;
}
