/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * -object iommufd.  All commands go through iommufd_call(), which knows from one table how a
 * command is called and where its address and length are, and so can say what failed:
 * "iommufd0: IOMMU_IOAS_MAP_FILE (iova 0x0, length 0x80000000) failed: Cannot allocate memory".
 */
#include "backends/iommufd.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>

#include "core/fdset.h"
#include "migration/cpr.h"
#include "util/error.h"
#include "util/fd.h"
#include "util/hostcalls.h"
#include "util/ioctls.h"
#include "util/linux-iommufd.h"
#include "util/linux-vfio.h"
#include "util/memlock.h"
#include "util/trace.h"

DEFINE_OBJECT_TYPE(IOMMUFDBackend, iommufd_backend, "iommufd", TYPE_USER_OBJECT, 0)

#define DEV_IOMMU       "/dev/iommu"
#define MAX_IOVA_RANGES 65536

static const Property iommufd_properties[] = {
    PROP_STRING("fd", IOMMUFDBackend, fd_name,
                .help = "open descriptor of " DEV_IOMMU ": a number, a name of getfd's, or "
                        "/dev/fdset/N (default: opened on use)"),
    PROP_("x-missing", property_readonly, IOMMUFDBackend, missing_names,
          .help = "commands that the kernel lacks"),
    PROP_BOOL("map-wait", IOMMUFDBackend, map_wait, false,
              .help = "map guest memory before the guest starts, not behind its boot"),
    PROP_UINT32("x-map-threads", IOMMUFDBackend, map_threads, 0,
                .help =
                    "threads that touch, map and ask after guest memory (0: one a CPU, at most 8)"),
};

/* ---- commands ---- */

typedef struct IOMMUFDCommand {
    unsigned long request;
    size_t iova, length; /* where they are in the command's structure; 0: it has none */
    bool pins;           /* memory, which counts against RLIMIT_MEMLOCK */
    const char *since;   /* the first Linux that has it; NULL: iommufd never was without */
} IOMMUFDCommand;

#define COMMAND(c, ...)             \
    {                               \
        .request = c, ##__VA_ARGS__ \
    }
#define COMMAND_RANGE(T, ...) \
    .iova = offsetof(T, iova), .length = offsetof(T, length), ##__VA_ARGS__

static const IOMMUFDCommand commands[] = {
    COMMAND(IOMMU_DESTROY),
    COMMAND(IOMMU_IOAS_ALLOC),
    COMMAND(IOMMU_IOAS_IOVA_RANGES),
    COMMAND(IOMMU_IOAS_ALLOW_IOVAS),
    COMMAND(IOMMU_IOAS_MAP, COMMAND_RANGE(struct iommu_ioas_map, .pins = true)),
    COMMAND(IOMMU_IOAS_MAP_FILE,
            COMMAND_RANGE(struct iommu_ioas_map_file, .pins = true, .since = "6.13")),
    COMMAND(IOMMU_IOAS_COPY, .iova = offsetof(struct iommu_ioas_copy, dst_iova),
            .length = offsetof(struct iommu_ioas_copy, length), .pins = true),
    COMMAND(IOMMU_IOAS_UNMAP, COMMAND_RANGE(struct iommu_ioas_unmap)),
    COMMAND(IOMMU_OPTION),
    COMMAND(IOMMU_HWPT_ALLOC, .pins = true, .since = "6.7"),
    COMMAND(IOMMU_GET_HW_INFO, .since = "6.7"),
    COMMAND(IOMMU_HWPT_SET_DIRTY_TRACKING, .since = "6.7"),
    COMMAND(IOMMU_HWPT_GET_DIRTY_BITMAP,
            COMMAND_RANGE(struct iommu_hwpt_get_dirty_bitmap, .since = "6.7")),
    COMMAND(IOMMU_IOAS_CHANGE_PROCESS, .pins = true, .since = "6.13"),
};

static uint64_t field(const void *arg, size_t offset)
{
    return *(const uint64_t *)(const void *)((const char *)arg + offset);
}

static void set_call_error(IOMMUFDBackend *be, const IOMMUFDCommand *c, const void *arg, int errnum,
                           GError **errp)
{
    g_autofree char *range = NULL, *why = NULL;

    if (c->length) {
        range = g_strdup_printf(" (iova 0x%" PRIx64 ", length 0x%" PRIx64 ")", field(arg, c->iova),
                                field(arg, c->length));
    }
    if (c->pins && errnum == ENOMEM) {
        why = memlock_hint(c->length ? field(arg, c->length) : 0);
    } else if (c->since && errnum == ENOTTY) {
        why = g_strdup_printf("; it needs Linux %s", c->since);
    }
    error_set(errp, "%s: %s%s failed: %s%s", be->parent.id, host_ioctl_name(c->request),
              range ?: "", g_strerror(errnum), why ?: "");
}

static const IOMMUFDCommand *find_command(unsigned long request)
{
    const IOMMUFDCommand *c = commands;

    while (c->request != request) {
        c++;
    }
    return c;
}

/* @arg starts with its size, as all of them do.  errno is kept for those who want to know. */
static bool iommufd_call(IOMMUFDBackend *be, unsigned long request, void *arg, GError **errp)
{
    const IOMMUFDCommand *c = find_command(request);
    int saved;

    if (!hostcalls->ioctl(be->fd, request, arg)) {
        return true;
    }
    saved = errno;
    set_call_error(be, c, arg, saved, errp);
    errno = saved;
    return false;
}

bool iommufd_ioas_alloc(IOMMUFDBackend *be, uint32_t *ioas_id, GError **errp)
{
    struct iommu_ioas_alloc alloc = { .size = sizeof(alloc) };

    if (!iommufd_call(be, IOMMU_IOAS_ALLOC, &alloc, errp)) {
        return false;
    }
    *ioas_id = alloc.out_ioas_id;
    TRACE("iommufd_backend_alloc_ioas", "%s ioas %u", be->parent.id, *ioas_id);
    return true;
}

void iommufd_destroy(IOMMUFDBackend *be, uint32_t id)
{
    struct iommu_destroy destroy = { .size = sizeof(destroy), .id = id };
    g_autoptr(GError) err = NULL;

    TRACE("iommufd_backend_free_id", "%s id %u", be->parent.id, id);
    if (!iommufd_call(be, IOMMU_DESTROY, &destroy, &err)) {
        warn_report("%s", err->message);
    }
}

IOVARange *iommufd_ioas_iova_ranges(IOMMUFDBackend *be, uint32_t ioas_id, size_t *n,
                                    uint64_t *alignment, GError **errp)
{
    g_autofree IOVARange *ranges = NULL;
    struct iommu_ioas_iova_ranges query = { .size = sizeof(query), .ioas_id = ioas_id };
    uint32_t room = 0;

    _Static_assert(sizeof(IOVARange) == sizeof(struct iommu_iova_range), "filled by the kernel");
    /* The number is asked for first; it can grow before the second call, when a device comes. */
    while (!iommufd_call(be, IOMMU_IOAS_IOVA_RANGES, &query, errp)) {
        if (errno != EMSGSIZE) {
            return NULL;
        }
        if (query.num_iovas <= room || query.num_iovas > MAX_IOVA_RANGES) {
            g_clear_error(errp);
            error_set(errp, "%s: the kernel says that it has %u ranges of IOVAs", be->parent.id,
                      query.num_iovas);
            return NULL;
        }
        room = query.num_iovas;
        g_clear_error(errp);
        g_free(ranges);
        ranges = g_new0(IOVARange, query.num_iovas);
        query.allowed_iovas = (uintptr_t)ranges;
    }
    if (!query.out_iova_alignment || (query.out_iova_alignment & (query.out_iova_alignment - 1))) {
        error_set(errp, "%s: the kernel says that IOVAs are aligned to 0x%" PRIx64 " bytes",
                  be->parent.id, (uint64_t)query.out_iova_alignment);
        return NULL;
    }
    *n = MIN(query.num_iovas, room);
    *alignment = query.out_iova_alignment;
    return ranges ? g_steal_pointer(&ranges) : g_new0(IOVARange, 1);
}

bool iommufd_ioas_allow_iovas(IOMMUFDBackend *be, uint32_t ioas_id, const IOVARange *ranges,
                              uint32_t n, GError **errp)
{
    struct iommu_ioas_allow_iovas allow = {
        .size = sizeof(allow),
        .ioas_id = ioas_id,
        .num_iovas = n,
        .allowed_iovas = (uintptr_t)ranges,
    };

    TRACE("iommufd_backend_allow_iovas", "%s ioas %u ranges %u", be->parent.id, ioas_id, n);
    return iommufd_call(be, IOMMU_IOAS_ALLOW_IOVAS, &allow, errp);
}

static uint32_t map_flags(bool readonly)
{
    return IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE |
           (readonly ? 0 : IOMMU_IOAS_MAP_WRITEABLE);
}

bool iommufd_ioas_map(IOMMUFDBackend *be, uint32_t ioas_id, uint64_t iova, uint64_t length,
                      const void *host, bool readonly, GError **errp)
{
    struct iommu_ioas_map map = {
        .size = sizeof(map),
        .flags = map_flags(readonly),
        .ioas_id = ioas_id,
        .user_va = (uintptr_t)host,
        .length = length,
        .iova = iova,
    };

    TRACE("iommufd_backend_map_dma",
          "%s ioas %u iova 0x%" PRIx64 " length 0x%" PRIx64 " host %p readonly %d", be->parent.id,
          ioas_id, iova, length, host, readonly);
    return iommufd_call(be, IOMMU_IOAS_MAP, &map, errp);
}

bool iommufd_ioas_map_file(IOMMUFDBackend *be, uint32_t ioas_id, uint64_t iova, uint64_t length,
                           int fd, uint64_t start, bool readonly, GError **errp)
{
    struct iommu_ioas_map_file map = {
        .size = sizeof(map),
        .flags = map_flags(readonly),
        .ioas_id = ioas_id,
        .fd = fd,
        .start = start,
        .length = length,
        .iova = iova,
    };

    TRACE("iommufd_backend_map_file_dma",
          "%s ioas %u iova 0x%" PRIx64 " length 0x%" PRIx64 " fd %d start 0x%" PRIx64
          " readonly %d",
          be->parent.id, ioas_id, iova, length, fd, start, readonly);
    return iommufd_call(be, IOMMU_IOAS_MAP_FILE, &map, errp);
}

bool iommufd_ioas_copy(IOMMUFDBackend *be, uint32_t to_ioas, uint64_t to_iova, uint32_t from_ioas,
                       uint64_t from_iova, uint64_t length, bool readonly, GError **errp)
{
    struct iommu_ioas_copy copy = {
        .size = sizeof(copy),
        .flags = map_flags(readonly),
        .dst_ioas_id = to_ioas,
        .src_ioas_id = from_ioas,
        .length = length,
        .dst_iova = to_iova,
        .src_iova = from_iova,
    };

    TRACE("iommufd_backend_copy_dma",
          "%s ioas %u iova 0x%" PRIx64 " from ioas %u iova 0x%" PRIx64 " length 0x%" PRIx64
          " readonly %d",
          be->parent.id, to_ioas, to_iova, from_ioas, from_iova, length, readonly);
    return iommufd_call(be, IOMMU_IOAS_COPY, &copy, errp);
}

bool iommufd_ioas_unmap(IOMMUFDBackend *be, uint32_t ioas_id, uint64_t iova, uint64_t length,
                        GError **errp)
{
    struct iommu_ioas_unmap unmap = {
        .size = sizeof(unmap),
        .ioas_id = ioas_id,
        .iova = iova,
        .length = length,
    };

    TRACE("iommufd_backend_unmap_dma", "%s ioas %u iova 0x%" PRIx64 " length 0x%" PRIx64,
          be->parent.id, ioas_id, iova, length);
    return iommufd_call(be, IOMMU_IOAS_UNMAP, &unmap, errp);
}

static bool call_option(IOMMUFDBackend *be, uint32_t option, uint32_t id, uint16_t op,
                        uint64_t *value, GError **errp)
{
    struct iommu_option o = {
        .size = sizeof(o),
        .option_id = option,
        .op = op,
        .object_id = id,
        .val64 = *value,
    };

    if (!iommufd_call(be, IOMMU_OPTION, &o, errp)) {
        return false;
    }
    *value = o.val64;
    return true;
}

bool iommufd_option_get(IOMMUFDBackend *be, uint32_t option, uint32_t id, uint64_t *value,
                        GError **errp)
{
    *value = 0;
    return call_option(be, option, id, IOMMU_OPTION_OP_GET, value, errp);
}

bool iommufd_option_set(IOMMUFDBackend *be, uint32_t option, uint32_t id, uint64_t value,
                        GError **errp)
{
    return call_option(be, option, id, IOMMU_OPTION_OP_SET, &value, errp);
}

bool iommufd_ioas_change_process(IOMMUFDBackend *be, GError **errp)
{
    struct iommu_ioas_change_process change = { .size = sizeof(change) };

    TRACE("iommufd_change_process", "%s", be->parent.id);
    return iommufd_call(be, IOMMU_IOAS_CHANGE_PROCESS, &change, errp);
}

/* ---- devices and their domains ---- */

bool iommufd_get_hw_info(IOMMUFDBackend *be, uint32_t dev_id, uint32_t *type,
                         uint64_t *capabilities, GError **errp)
{
    struct iommu_hw_info info = { .size = sizeof(info), .dev_id = dev_id };

    if (!iommufd_call(be, IOMMU_GET_HW_INFO, &info, errp)) {
        return false;
    }
    *type = info.out_data_type;
    *capabilities = info.out_capabilities;
    TRACE("iommufd_backend_get_device_info", "%s device %u type %u capabilities 0x%" PRIx64,
          be->parent.id, dev_id, *type, *capabilities);
    return true;
}

bool iommufd_hwpt_alloc(IOMMUFDBackend *be, uint32_t dev_id, uint32_t pt_id, uint32_t flags,
                        uint32_t *hwpt_id, GError **errp)
{
    struct iommu_hwpt_alloc alloc = {
        .size = sizeof(alloc),
        .flags = flags,
        .dev_id = dev_id,
        .pt_id = pt_id,
    };

    if (!iommufd_call(be, IOMMU_HWPT_ALLOC, &alloc, errp)) {
        return false;
    }
    *hwpt_id = alloc.out_hwpt_id;
    TRACE("iommufd_backend_alloc_hwpt", "%s device %u pt %u flags 0x%x hwpt %u", be->parent.id,
          dev_id, pt_id, flags, *hwpt_id);
    return true;
}

bool iommufd_set_dirty_tracking(IOMMUFDBackend *be, uint32_t hwpt_id, bool on, GError **errp)
{
    struct iommu_hwpt_set_dirty_tracking set = {
        .size = sizeof(set),
        .flags = on ? IOMMU_HWPT_DIRTY_TRACKING_ENABLE : 0,
        .hwpt_id = hwpt_id,
    };

    TRACE("iommufd_backend_set_dirty", "%s hwpt %u %d", be->parent.id, hwpt_id, on);
    return iommufd_call(be, IOMMU_HWPT_SET_DIRTY_TRACKING, &set, errp);
}

bool iommufd_get_dirty_bitmap(IOMMUFDBackend *be, uint32_t hwpt_id, uint64_t iova, uint64_t length,
                              uint64_t page_size, bool clear, uint64_t *bitmap, GError **errp)
{
    struct iommu_hwpt_get_dirty_bitmap get = {
        .size = sizeof(get),
        .hwpt_id = hwpt_id,
        .flags = clear ? 0 : IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR,
        .iova = iova,
        .length = length,
        .page_size = page_size,
        .data = (uintptr_t)bitmap,
    };

    return iommufd_call(be, IOMMU_HWPT_GET_DIRTY_BITMAP, &get, errp);
}

int iommufd_device_attach(IOMMUFDBackend *be, int fd, uint32_t *pt_id, GError **errp)
{
    struct vfio_device_attach_iommufd_pt attach = {
        .argsz = VFIO_ATTACH_IOMMUFD_PT_ARGSZ,
        .pt_id = *pt_id,
    };
    int ret = 0;

    if (hostcalls->ioctl(fd, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &attach)) {
        ret = -errno;
        error_set_errno(errp, -ret, "%s: VFIO_DEVICE_ATTACH_IOMMUFD_PT (to %u) failed",
                        be->parent.id, *pt_id);
    }
    TRACE("iommufd_backend_attach", "%s fd %d pt %u: %s", be->parent.id, fd, *pt_id,
          ret ? g_strerror(-ret) : "done");
    *pt_id = attach.pt_id;
    return ret;
}

bool iommufd_device_detach(IOMMUFDBackend *be, int fd, GError **errp)
{
    struct vfio_device_detach_iommufd_pt detach = { .argsz = VFIO_DETACH_IOMMUFD_PT_ARGSZ };

    TRACE("iommufd_backend_detach", "%s fd %d", be->parent.id, fd);
    return !hostcalls->ioctl(fd, VFIO_DEVICE_DETACH_IOMMUFD_PT, &detach) ||
           error_set_errno(errp, errno, "%s: VFIO_DEVICE_DETACH_IOMMUFD_PT failed", be->parent.id);
}

/* ---- what the kernel has ---- */

/* A structure too short for any command is refused, but a command that is not there is ENOTTY. */
static void probe_commands(IOMMUFDBackend *be)
{
    g_autoptr(GString) missing = g_string_new(NULL);

    for (size_t i = 0; i < G_N_ELEMENTS(commands); i++) {
        uint32_t size = sizeof(size);

        if (commands[i].since && hostcalls->ioctl(be->fd, commands[i].request, &size) &&
            errno == ENOTTY) {
            be->missing |= 1U << i;
            g_string_append_printf(missing, "%s%s", missing->len ? " " : "",
                                   host_ioctl_name(commands[i].request));
        }
    }
    be->missing_names = g_string_free(g_steal_pointer(&missing), FALSE);
    TRACE("iommufd_backend_probe", "%s misses: %s", be->parent.id, be->missing_names);
}

bool iommufd_has(IOMMUFDBackend *be, unsigned long request)
{
    return !(be->missing >> (find_command(request) - commands) & 1);
}

/* ---- the descriptor ---- */

static int open_dev_iommu(IOMMUFDBackend *be, GError **errp)
{
    int fd = hostcalls->open(DEV_IOMMU, O_RDWR);

    if (fd < 0) {
        error_set_errno(errp, errno, "%s: cannot open " DEV_IOMMU "%s", be->parent.id,
                        errno == ENOENT ? " (does the kernel have CONFIG_IOMMUFD?)" : "");
    }
    return fd;
}

bool iommufd_backend_connect(IOMMUFDBackend *be, GError **errp)
{
    if (!be->users && be->fd < 0) {
        be->fd = open_dev_iommu(be, errp);
        if (be->fd < 0) {
            return false;
        }
    }
    be->users++;
    TRACE("iommufd_backend_connect", "%s fd %d users %u", be->parent.id, be->fd, be->users);
    return true;
}

void iommufd_backend_disconnect(IOMMUFDBackend *be)
{
    TRACE("iommufd_backend_disconnect", "%s fd %d users %u", be->parent.id, be->fd, be->users - 1);
    if (!--be->users && !be->fd_given) {
        host_fd_close(&be->fd);
    }
}

/* Reading an option changes nothing, and no other device has a command of that number. */
static bool is_dev_iommu(IOMMUFDBackend *be)
{
    uint64_t mode;
    struct stat st;

    return !hostcalls->fstat(be->fd, &st) && S_ISCHR(st.st_mode) &&
           iommufd_option_get(be, IOMMU_OPTION_RLIMIT_MODE, 0, &mode, NULL);
}

static bool take_given_fd(IOMMUFDBackend *be, GError **errp)
{
    be->fd = fd_take(be->fd_name, errp);
    if (be->fd < 0) {
        g_prefix_error(errp, "%s: ", be->parent.id);
        return false;
    }
    be->fd_given = is_dev_iommu(be);
    if (!be->fd_given) {
        fd_give_back(be->fd_name, fd_steal(&be->fd));
        return error_set(errp, "%s: fd %s is not an open " DEV_IOMMU, be->parent.id, be->fd_name);
    }
    return true;
}

/* ---- live update ---- */

static char *cpr_name(const IOMMUFDBackend *be)
{
    return g_strdup_printf("iommufd/%s", be->parent.id);
}

static bool cpr_check(void *opaque, GError **errp)
{
    IOMMUFDBackend *be = opaque;

    return !be->users || iommufd_has(be, IOMMU_IOAS_CHANGE_PROCESS) ||
           error_set(errp,
                     "%s: the kernel has no IOMMU_IOAS_CHANGE_PROCESS, which hands the accounting "
                     "of pinned memory over; it needs Linux 6.13",
                     be->parent.id);
}

static void cpr_save(void *opaque)
{
    IOMMUFDBackend *be = opaque;
    g_autofree char *name = cpr_name(be);

    if (be->users) {
        cpr_save_fd(name, 0, be->fd);
    }
}

/* What has users they disconnect. */
static void cpr_leave(void *opaque)
{
    IOMMUFDBackend *be = opaque;

    if (!be->users) {
        host_fd_close(&be->fd);
    }
}

static const CprOps cpr_ops = { .check = cpr_check, .save = cpr_save, .leave = cpr_leave };

/* The old process's, if it used it: whatever `fd` says then is of no meaning here. */
static bool take_over(IOMMUFDBackend *be, GError **errp)
{
    g_autofree char *name = cpr_name(be);

    be->fd = cpr_find_fd(name, 0);
    be->fd_given = be->fd >= 0 && be->fd_name;
    return be->fd < 0 || is_dev_iommu(be) ||
           error_set(errp, "%s: what the old process gives is not an open " DEV_IOMMU,
                     be->parent.id);
}

static bool iommufd_complete(UserObject *obj, GError **errp)
{
    IOMMUFDBackend *be = IOMMUFD_BACKEND(obj);

    cpr_register(&cpr_ops, be);
    if (!take_over(be, errp) || (be->fd < 0 && be->fd_name && !take_given_fd(be, errp))) {
        return false;
    }
    if (be->fd >= 0) {
        probe_commands(be);
        return true;
    }
    /* Whether it can be opened is told now, not at the first device. */
    be->fd = open_dev_iommu(be, errp);
    if (be->fd < 0) {
        return false;
    }
    probe_commands(be);
    host_fd_close(&be->fd);
    return true;
}

static bool iommufd_can_be_deleted(UserObject *obj, GError **errp)
{
    IOMMUFDBackend *be = IOMMUFD_BACKEND(obj);

    return !be->users || error_set(errp, "object '%s' is in use, can not be deleted: it has %u %s",
                                   obj->id, be->users, be->users == 1 ? "user" : "users");
}

/* One that was given is closed here and nowhere before. */
static void iommufd_finalize(GObject *obj)
{
    cpr_unregister(&cpr_ops, IOMMUFD_BACKEND(obj));
    host_fd_close(&IOMMUFD_BACKEND(obj)->fd);
    G_OBJECT_CLASS(iommufd_backend_parent_class)->finalize(obj);
}

static void iommufd_backend_init(IOMMUFDBackend *be)
{
    be->fd = -1;
}

static void iommufd_backend_class_init(IOMMUFDBackendClass *klass)
{
    UserObjectClass *uc = USER_OBJECT_CLASS(klass);

    G_OBJECT_CLASS(klass)->finalize = iommufd_finalize;
    uc->desc = "owner of /dev/iommu: address spaces of passed-through devices";
    uc->complete = iommufd_complete;
    uc->can_be_deleted = iommufd_can_be_deleted;
    object_class_add_properties(klass, iommufd_properties, G_N_ELEMENTS(iommufd_properties));
}
