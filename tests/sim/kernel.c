/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Descriptors of the simulated files are numbers that the real kernel does not give out; eventfds
 * and maps are real, so that a test can signal the ones and read the others.
 */
#include "tests/sim/kernel.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "util/linux-iommufd.h"

#define FIRST_FD     100000
#define MSI_FIRST    0xfee00000ULL /* what a PCI device's IOAS cannot hold on x86 */
#define MSI_LAST     0xfeefffffULL
#define REGION_AT(i) ((uint64_t)(i) << 40)

typedef enum { OBJ_FREE, OBJ_IOAS, OBJ_HWPT, OBJ_DEVICE } ObjectKind;

typedef struct Object {
    ObjectKind kind;
    uint32_t ioas; /* of an HWPT */
    unsigned users;
    GArray *extents; /* of an IOAS */
} Object;

/* One /dev/iommu at a time; it lives while a descriptor or a bound device refers to it. */
typedef struct Context {
    unsigned refs;
    GArray *objects; /* by id */
} Context;

typedef struct File {
    bool open, is_iommu;
    SimDevice *dev;
} File;

static GPtrArray *devices;
static GArray *files;
static GHashTable *eventfds;
static GArray *maps; /* SimMap */
static Context ctx;
static GString *call_log;
static unsigned fail_in;
static bool failed;

typedef struct SimMap {
    uintptr_t start, end;
} SimMap;

void sim_note(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    g_string_append_vprintf(call_log, fmt, ap);
    va_end(ap);
    g_string_append_c(call_log, '\n');
}

static int fail(int errnum)
{
    errno = errnum;
    return -1;
}

/* Each call but those that give something back comes here first. */
static bool must_fail(void)
{
    if (fail_in && !--fail_in) {
        failed = true;
        errno = EIO;
        return true;
    }
    return false;
}

/* ---- objects of /dev/iommu ---- */

static Object *object(uint32_t id, ObjectKind kind)
{
    Object *o = id && id < ctx.objects->len ? &g_array_index(ctx.objects, Object, id) : NULL;

    return o && o->kind == kind ? o : NULL;
}

static uint32_t object_new(ObjectKind kind)
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

static void object_free(Object *o)
{
    g_clear_pointer(&o->extents, g_array_unref);
    o->kind = OBJ_FREE;
}

static void ctx_get(void)
{
    if (!ctx.refs++) {
        ctx.objects = g_array_new(FALSE, TRUE, sizeof(Object));
    }
}

static void ctx_put(void)
{
    if (--ctx.refs) {
        return;
    }
    for (guint i = 0; i < ctx.objects->len; i++) {
        object_free(&g_array_index(ctx.objects, Object, i));
    }
    g_clear_pointer(&ctx.objects, g_array_unref);
}

/* ---- commands of /dev/iommu ---- */

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
    object_free(o);
    return 0;
}

static int cmd_ioas_alloc(void *arg)
{
    struct iommu_ioas_alloc *a = arg;

    if (a->flags) {
        return fail(EOPNOTSUPP);
    }
    a->out_ioas_id = object_new(OBJ_IOAS);
    sim_note("IOMMU_IOAS_ALLOC = %u", a->out_ioas_id);
    return 0;
}

static int cmd_iova_ranges(void *arg)
{
    struct iommu_ioas_iova_ranges *q = arg;
    struct iommu_iova_range *out = (void *)(uintptr_t)q->allowed_iovas;
    Object *ioas = object(q->ioas_id, OBJ_IOAS);
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
    Object *ioas = object(ioas_id, OBJ_IOAS);
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
    return map(m->flags, m->ioas_id, (SimExtent) { m->iova, m->length, m->user_va, -1, false });
}

static int cmd_map_file(void *arg)
{
    struct iommu_ioas_map_file *m = arg;

    sim_note("IOMMU_IOAS_MAP_FILE %u 0x%llx+0x%llx from 0x%llx", m->ioas_id, m->iova, m->length,
             m->start);
    return m->fd < 0 ? fail(EBADF)
                     : map(m->flags, m->ioas_id,
                           (SimExtent) { m->iova, m->length, m->start, m->fd, false });
}

static int cmd_unmap(void *arg)
{
    struct iommu_ioas_unmap *u = arg;
    Object *ioas = object(u->ioas_id, OBJ_IOAS);
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
};

static int iommu_ioctl(unsigned long request, void *arg)
{
    for (size_t i = 0; i < G_N_ELEMENTS(iommu_commands); i++) {
        if (iommu_commands[i].request == request) {
            return *(uint32_t *)arg == iommu_commands[i].size ? iommu_commands[i].run(arg)
                                                              : fail(EINVAL);
        }
    }
    return fail(ENOTTY);
}

/* ---- ioctls of a VFIO device ---- */

static int dev_bind(SimDevice *dev, void *arg)
{
    struct vfio_device_bind_iommufd *b = arg;

    sim_note("BIND");
    if (b->argsz < VFIO_BIND_IOMMUFD_ARGSZ || b->flags || dev->bound) {
        return fail(EINVAL);
    }
    if (b->iommufd < FIRST_FD || !g_array_index(files, File, b->iommufd - FIRST_FD).is_iommu) {
        return fail(EBADFD);
    }
    ctx_get();
    dev->bound = true;
    dev->devid = b->out_devid = object_new(OBJ_DEVICE);
    return 0;
}

static void detach(SimDevice *dev)
{
    Object *hwpt = object(dev->hwpt, OBJ_HWPT);

    if (hwpt && !--hwpt->users) { /* made for it, gone with it */
        object(hwpt->ioas, OBJ_IOAS)->users--;
        object_free(hwpt);
    }
    dev->hwpt = 0;
}

static int dev_attach(SimDevice *dev, void *arg)
{
    struct vfio_device_attach_iommufd_pt *a = arg;
    Object *ioas = object(a->pt_id, OBJ_IOAS);
    uint32_t id;

    sim_note("ATTACH %u", a->pt_id);
    if (a->flags) {
        return fail(EINVAL);
    }
    if (!ioas) {
        return fail(ENOENT);
    }
    for (id = 1; id < ctx.objects->len; id++) {
        if (object(id, OBJ_HWPT) && object(id, OBJ_HWPT)->ioas == a->pt_id) {
            break;
        }
    }
    if (id == ctx.objects->len) {
        ioas->users++;
        id = object_new(OBJ_HWPT);
        object(id, OBJ_HWPT)->ioas = a->pt_id;
    }
    detach(dev);
    object(id, OBJ_HWPT)->users++;
    dev->hwpt = a->pt_id = id;
    return 0;
}

static int dev_detach(SimDevice *dev, void *arg)
{
    sim_note("DETACH");
    detach(dev);
    return 0;
}

static int dev_get_info(SimDevice *dev, void *arg)
{
    struct vfio_device_info *info = arg;

    sim_note("GET_INFO");
    if (info->argsz < 16) {
        return fail(EINVAL);
    }
    info->flags = dev->flags;
    info->num_regions = dev->nr_regions;
    info->num_irqs = dev->nr_irqs;
    return 0;
}

static int dev_region_info(SimDevice *dev, void *arg)
{
    struct vfio_region_info *info = arg;
    uint32_t room = info->argsz;
    SimRegion *r;

    if (room < sizeof(*info) || info->index >= dev->nr_regions ||
        info->index >= VFIO_PCI_NUM_REGIONS || info->index == VFIO_PCI_VGA_REGION_INDEX) {
        return fail(EINVAL);
    }
    r = &dev->regions[info->index];
    info->flags = r->flags;
    info->size = r->size;
    info->offset = REGION_AT(info->index);
    info->cap_offset = 0;
    if (r->caps) {
        info->flags |= VFIO_REGION_INFO_FLAG_CAPS;
        info->argsz = (uint32_t)sizeof(*info) + r->caps->len;
        if (room >= info->argsz) {
            memcpy(info + 1, r->caps->data, r->caps->len);
            info->cap_offset = sizeof(*info);
        }
    }
    return 0;
}

static int dev_irq_info(SimDevice *dev, void *arg)
{
    struct vfio_irq_info *info = arg;

    if (info->argsz < sizeof(*info) || info->index >= VFIO_PCI_NUM_IRQS) {
        return fail(EINVAL);
    }
    info->flags = dev->irqs[info->index].flags | VFIO_IRQ_INFO_EVENTFD;
    info->count = dev->irqs[info->index].count;
    return 0;
}

static void irqs_off(SimDevice *dev)
{
    dev->irq_index = -1;
    dev->unmask = -1;
    g_array_set_size(dev->triggers, 0);
}

static int irqs_trigger(SimDevice *dev, const struct vfio_irq_set *set)
{
    const int32_t *fds = (const int32_t *)(const void *)set->data;
    bool on = dev->irq_index == (int)set->index;
    uint32_t end = set->start + set->count;

    if (set->flags & VFIO_IRQ_SET_DATA_NONE) {
        if (set->count || !on) {
            return fail(EINVAL);
        }
        irqs_off(dev);
        return 0;
    }
    if (dev->irq_index >= 0 && !on) {
        return fail(EINVAL); /* another kind is on */
    }
    if (on && end > dev->triggers->len && dev->irqs[set->index].flags & VFIO_IRQ_INFO_NORESIZE) {
        return fail(EINVAL);
    }
    if (dev->vectors_max && end > dev->vectors_max) {
        return (int)dev->vectors_max;
    }
    for (uint32_t i = 0; i < set->count; i++) {
        if (fds[i] != -1 && !g_hash_table_contains(eventfds, GINT_TO_POINTER(fds[i]))) {
            return fail(EBADF);
        }
    }
    dev->irq_index = (int)set->index;
    while (dev->triggers->len < end) {
        int32_t none = -1;

        g_array_append_val(dev->triggers, none);
    }
    memcpy(dev->triggers->data + set->start * sizeof(int32_t), fds, set->count * sizeof(int32_t));
    return 0;
}

static int irqs_unmask(SimDevice *dev, const struct vfio_irq_set *set)
{
    int32_t fd;

    if (set->index != VFIO_PCI_INTX_IRQ_INDEX || dev->irq_index != VFIO_PCI_INTX_IRQ_INDEX) {
        return fail(set->index == VFIO_PCI_INTX_IRQ_INDEX ? EINVAL : ENOTTY);
    }
    if (set->flags & VFIO_IRQ_SET_DATA_NONE) {
        dev->unmasks++;
        return 0;
    }
    if (dev->no_unmask_eventfd) {
        return fail(ENOTTY);
    }
    memcpy(&fd, set->data, sizeof(fd));
    if (fd >= 0 && dev->unmask >= 0) {
        return fail(EBUSY);
    }
    dev->unmask = fd;
    return 0;
}

static int dev_set_irqs(SimDevice *dev, void *arg)
{
    const struct vfio_irq_set *set = arg;
    uint32_t action = set->flags & VFIO_IRQ_SET_ACTION_TYPE_MASK;
    uint32_t data = set->flags & VFIO_IRQ_SET_DATA_TYPE_MASK;
    g_autoptr(GString) what = g_string_new(NULL);

    for (uint32_t i = 0; data == VFIO_IRQ_SET_DATA_EVENTFD && i < set->count; i++) {
        g_string_append_c(what, ((const int32_t *)(const void *)set->data)[i] < 0 ? '-' : 'e');
    }
    sim_note("SET_IRQS %u %s %u+%u %s", set->index,
             action == VFIO_IRQ_SET_ACTION_TRIGGER ? "trigger" : "unmask", set->start, set->count,
             what->str);
    if (set->index >= VFIO_PCI_NUM_IRQS || (data & (data - 1)) || !data ||
        set->start + set->count > dev->irqs[set->index].count ||
        (data == VFIO_IRQ_SET_DATA_EVENTFD &&
         set->argsz < sizeof(*set) + set->count * sizeof(int32_t))) {
        return fail(EINVAL);
    }
    return action == VFIO_IRQ_SET_ACTION_TRIGGER  ? irqs_trigger(dev, set)
           : action == VFIO_IRQ_SET_ACTION_UNMASK ? irqs_unmask(dev, set)
                                                  : fail(ENOTTY);
}

static int dev_reset(SimDevice *dev, void *arg)
{
    sim_note("RESET");
    if (!(dev->flags & VFIO_DEVICE_FLAGS_RESET)) {
        return fail(EINVAL);
    }
    dev->resets++;
    return 0;
}

static const struct {
    unsigned long request;
    int (*run)(SimDevice *dev, void *arg);
} device_ioctls[] = {
    { VFIO_DEVICE_BIND_IOMMUFD, dev_bind },           { VFIO_DEVICE_ATTACH_IOMMUFD_PT, dev_attach },
    { VFIO_DEVICE_DETACH_IOMMUFD_PT, dev_detach },    { VFIO_DEVICE_GET_INFO, dev_get_info },
    { VFIO_DEVICE_GET_REGION_INFO, dev_region_info }, { VFIO_DEVICE_GET_IRQ_INFO, dev_irq_info },
    { VFIO_DEVICE_SET_IRQS, dev_set_irqs },           { VFIO_DEVICE_RESET, dev_reset },
};

static int device_ioctl(SimDevice *dev, unsigned long request, void *arg)
{
    if (!dev->bound && request != VFIO_DEVICE_BIND_IOMMUFD) {
        return fail(EINVAL);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(device_ioctls); i++) {
        if (device_ioctls[i].request == request) {
            return device_ioctls[i].run(dev, arg);
        }
    }
    return fail(ENOTTY);
}

/* ---- the calls ---- */

static File *file(int fd)
{
    File *f = fd >= FIRST_FD && fd - FIRST_FD < (int)files->len
                  ? &g_array_index(files, File, fd - FIRST_FD)
                  : NULL;

    return f && f->open ? f : NULL;
}

static int file_new(File f)
{
    guint i = 0;

    while (i < files->len && g_array_index(files, File, i).open) {
        i++;
    }
    if (i == files->len) {
        g_array_set_size(files, i + 1);
    }
    f.open = true;
    g_array_index(files, File, i) = f;
    return FIRST_FD + (int)i;
}

static int sim_open(const char *path, int flags)
{
    unsigned minor;

    if (must_fail()) {
        return -1;
    }
    sim_note("open %s", path);
    if (g_str_equal(path, "/dev/iommu")) {
        ctx_get();
        return file_new((File) { .is_iommu = true });
    }
    for (guint i = 0; sscanf(path, "/dev/vfio/devices/vfio%u", &minor) == 1 && i < devices->len;
         i++) {
        SimDevice *dev = devices->pdata[i];

        if (dev->minor == minor) {
            return file_new((File) { .dev = dev });
        }
    }
    return fail(ENOENT);
}

static int sim_close(int fd)
{
    File *f = file(fd);

    if (g_hash_table_remove(eventfds, GINT_TO_POINTER(fd))) {
        return close(fd);
    }
    if (!f) {
        return fail(EBADF);
    }
    sim_note("close %s", f->is_iommu ? "iommu" : "device");
    f->open = false;
    if (f->is_iommu) {
        ctx_put();
    } else if (f->dev->bound) {
        detach(f->dev);
        object_free(object(f->dev->devid, OBJ_DEVICE));
        irqs_off(f->dev);
        f->dev->bound = false;
        ctx_put();
    }
    return 0;
}

static int sim_fstat(int fd, struct stat *st)
{
    File *f = file(fd);

    if (must_fail()) {
        return -1;
    }
    if (!f) {
        return fstat(fd, st);
    }
    *st = (struct stat) { .st_mode = S_IFCHR };
    if (f->dev) {
        st->st_rdev = makedev(SIM_MAJOR, f->dev->wrong_minor ?: f->dev->minor);
    }
    return 0;
}

static int sim_ioctl(int fd, unsigned long request, void *arg)
{
    File *f = file(fd);

    if (must_fail()) {
        return -1;
    }
    if (!f) {
        return fail(EBADF);
    }
    return f->is_iommu ? iommu_ioctl(request, arg) : device_ioctl(f->dev, request, arg);
}

/* The region that @offset of the descriptor is in, and the place in it. */
static SimRegion *region_at(int fd, uint64_t offset, size_t len, uint64_t *at)
{
    File *f = file(fd);
    uint64_t index = offset >> 40;
    SimRegion *r;

    if (!f || !f->dev || !f->dev->bound || index >= VFIO_PCI_NUM_REGIONS) {
        return NULL;
    }
    r = &f->dev->regions[index];
    *at = offset & (REGION_AT(1) - 1);
    return *at <= r->size && len <= r->size - *at ? r : NULL;
}

static void *sim_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t offset)
{
    SimMap m;
    void *p;

    if (must_fail()) {
        return MAP_FAILED;
    }
    if (fd >= 0) {
        uint64_t at;
        SimRegion *r = region_at(fd, (uint64_t)offset, len, &at);

        if (!r || !(r->flags & VFIO_REGION_INFO_FLAG_MMAP) || !(flags & MAP_SHARED)) {
            errno = EINVAL;
            return MAP_FAILED;
        }
        sim_note("mmap BAR 0x%llx+0x%zx", (unsigned long long)offset, len);
        fd = r->backing;
        offset = (off_t)at;
    }
    p = mmap(addr, len, prot, flags, fd, offset);
    m = (SimMap) { (uintptr_t)p, (uintptr_t)p + len };
    if (p != MAP_FAILED && !(flags & MAP_FIXED)) {
        g_array_append_val(maps, m);
    }
    return p;
}

static int sim_munmap(void *addr, size_t len)
{
    for (guint i = 0; i < maps->len; i++) {
        SimMap *m = &g_array_index(maps, SimMap, i);

        if (m->start == (uintptr_t)addr && m->end - m->start == len) {
            g_array_remove_index_fast(maps, i);
            return munmap(addr, len);
        }
    }
    g_assert_not_reached();
}

static ssize_t device_rw(int fd, void *buf, size_t len, off_t offset, bool is_write)
{
    uint64_t at;
    SimRegion *r = region_at(fd, (uint64_t)offset, len, &at);
    SimDevice *dev;

    if (!r) {
        return fail(EFAULT);
    }
    dev = file(fd)->dev;
    if (r == &dev->regions[VFIO_PCI_CONFIG_REGION_INDEX]) {
        if (is_write) {
            memcpy(dev->config + at, buf, len);
        } else {
            memcpy(buf, dev->config + at, len);
        }
        return (ssize_t)len;
    }
    if (!(dev->config[4] & 3)) {
        return fail(EIO); /* it decodes nothing */
    }
    return is_write ? pwrite(r->backing, buf, len, (off_t)at)
                    : pread(r->backing, buf, len, (off_t)at);
}

static ssize_t sim_pread(int fd, void *buf, size_t len, off_t offset)
{
    return must_fail() ? -1 : device_rw(fd, buf, len, offset, false);
}

static ssize_t sim_pwrite(int fd, const void *buf, size_t len, off_t offset)
{
    return must_fail() ? -1 : device_rw(fd, (void *)(uintptr_t)buf, len, offset, true);
}

static int sim_eventfd(unsigned initval, int flags)
{
    int fd;

    if (must_fail()) {
        return -1;
    }
    fd = eventfd(initval, flags);
    g_assert_cmpint(fd, >=, 0);
    g_hash_table_add(eventfds, GINT_TO_POINTER(fd));
    return fd;
}

static const HostCalls calls = {
    .open = sim_open,
    .close = sim_close,
    .fstat = sim_fstat,
    .ioctl = sim_ioctl,
    .mmap = sim_mmap,
    .munmap = sim_munmap,
    .read = read,
    .write = write,
    .pread = sim_pread,
    .pwrite = sim_pwrite,
    .eventfd = sim_eventfd,
};

/* ---- for the tests ---- */

void sim_init(void)
{
    devices = g_ptr_array_new();
    files = g_array_new(FALSE, TRUE, sizeof(File));
    maps = g_array_new(FALSE, FALSE, sizeof(SimMap));
    eventfds = g_hash_table_new(NULL, NULL);
    call_log = g_string_new(NULL);
    hostcalls = &calls;
}

SimDevice *sim_device_new(unsigned minor)
{
    SimDevice *dev = g_new0(SimDevice, 1);

    dev->minor = minor;
    dev->flags = VFIO_DEVICE_FLAGS_PCI | VFIO_DEVICE_FLAGS_RESET;
    dev->nr_regions = VFIO_PCI_NUM_REGIONS;
    dev->nr_irqs = VFIO_PCI_NUM_IRQS;
    dev->triggers = g_array_new(FALSE, FALSE, sizeof(int32_t));
    irqs_off(dev);
    for (unsigned i = 0; i < VFIO_PCI_NUM_REGIONS; i++) {
        dev->regions[i].backing = -1;
    }
    sim_region_set(dev, VFIO_PCI_CONFIG_REGION_INDEX, sizeof(dev->config),
                   VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE);
    g_ptr_array_add(devices, dev);
    return dev;
}

void sim_device_free(SimDevice *dev)
{
    for (unsigned i = 0; i < VFIO_PCI_NUM_REGIONS; i++) {
        g_clear_pointer(&dev->regions[i].caps, g_byte_array_unref);
        if (dev->regions[i].backing >= 0) {
            close(dev->regions[i].backing);
        }
    }
    g_array_unref(dev->triggers);
    g_ptr_array_remove(devices, dev);
    g_free(dev);
}

void sim_region_set(SimDevice *dev, unsigned index, uint64_t size, uint32_t flags)
{
    SimRegion *r = &dev->regions[index];

    r->size = size;
    r->flags = flags;
    if (r->backing < 0) {
        r->backing = memfd_create("sim-region", MFD_CLOEXEC);
    }
    g_assert_cmpint(r->backing, >=, 0);
    if (size < 1ULL << 40) { /* absurd ones are only talked of */
        g_assert_cmpint(ftruncate(r->backing, (off_t)size), ==, 0);
    }
}

void sim_region_poke(SimDevice *dev, unsigned index, uint64_t addr, uint32_t val)
{
    g_assert_cmpint(pwrite(dev->regions[index].backing, &val, 4, (off_t)addr), ==, 4);
}

uint32_t sim_region_peek(SimDevice *dev, unsigned index, uint64_t addr)
{
    uint32_t val;

    g_assert_cmpint(pread(dev->regions[index].backing, &val, 4, (off_t)addr), ==, 4);
    return val;
}

char *sim_take_log(void)
{
    char *text = g_strdup(call_log->str);

    g_string_truncate(call_log, 0);
    return text;
}

void sim_fail(unsigned nth)
{
    fail_in = nth;
    failed = false;
}

bool sim_failed(void)
{
    return failed;
}

unsigned sim_open_things(void)
{
    unsigned n = g_hash_table_size(eventfds) + maps->len;

    for (guint i = 0; i < files->len; i++) {
        n += g_array_index(files, File, i).open;
    }
    return n;
}

const GArray *sim_ioas(uint32_t id)
{
    Object *ioas = ctx.refs ? object(id, OBJ_IOAS) : NULL;

    return ioas ? ioas->extents : NULL;
}

int sim_open_iommu(void)
{
    ctx_get();
    return file_new((File) { .is_iommu = true });
}

bool sim_fire(SimDevice *dev, unsigned vector)
{
    uint64_t one = 1;
    int32_t fd = vector < dev->triggers->len ? g_array_index(dev->triggers, int32_t, vector) : -1;

    return fd >= 0 && write(fd, &one, sizeof(one)) == sizeof(one);
}
