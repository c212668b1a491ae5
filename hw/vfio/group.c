/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The older interface: a device is reached by its IOMMU group, the smallest set of devices that the
 * IOMMU can tell apart from others.  One process has a group, so its devices share one descriptor.
 *
 * The kernel's order: the group is put into a container before it gives a descriptor of a device,
 * and KVM hears of it before that, because a driver may want its VM when it is opened; the devices'
 * descriptors are closed before the group leaves the container.
 * Source: Linux Documentation/driver-api/vfio.rst.
 */
#include "hw/vfio/group.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "core/accel.h"
#include "util/error.h"
#include "util/hostcalls.h"
#include "util/trace.h"

#define DEV_VFIO "/dev/vfio"

static GPtrArray *groups; /* all that are open */

/* ---- the group's descriptor ---- */

static void open_failed(unsigned id, const char *sysfs, int errnum, GError **errp)
{
    g_autofree char *noiommu = g_strdup_printf(DEV_VFIO "/noiommu-%u", id);
    int fd = errnum == ENOENT ? hostcalls->open(noiommu, O_RDWR) : -1;

    if (errnum != ENOENT) {
        error_set_errno(errp, errnum, "cannot open " DEV_VFIO "/%u%s", id,
                        errnum == EBUSY ? " (another process has the group, or a device of it "
                                          "through iommufd)"
                                        : "");
    } else if (fd >= 0 || errno != ENOENT) {
        error_set(errp,
                  "the host has no IOMMU for it (%s): without one it would reach all of the "
                  "host's memory, which is not supported",
                  noiommu);
    } else if (vfio_check_driver(sysfs, errp)) {
        error_set(errp, "there is no " DEV_VFIO "/%u: the kernel needs CONFIG_VFIO_GROUP", id);
    }
    host_fd_close(&fd);
}

static int by_name(const void *a, const void *b)
{
    return g_strcmp0(*(char *const *)a, *(char *const *)b);
}

/* Such a driver does not touch the device's DMA. */
static bool driver_is_harmless(const char *driver)
{
    return strstr(driver, "vfio") || g_str_equal(driver, "pci-stub") ||
           g_str_equal(driver, "pcieport");
}

/* "0000:02:00.1 has driver 'e1000e', …" for all that drivers of the host's have. */
static char *group_blockers(const char *folder)
{
    g_autofree char *devices = g_build_filename(folder, "devices", NULL);
    g_autoptr(GDir) dir = g_dir_open(devices, 0, NULL);
    g_autoptr(GPtrArray) found = g_ptr_array_new_with_free_func(g_free);
    const char *name;

    while (dir && (name = g_dir_read_name(dir))) {
        g_autofree char *link = g_build_filename(devices, name, "driver", NULL);
        g_autofree char *target = g_file_read_link(link, NULL);
        g_autofree char *driver = target ? g_path_get_basename(target) : NULL;

        if (driver && !driver_is_harmless(driver)) {
            g_ptr_array_add(found, g_strdup_printf("%s has driver '%s'", name, driver));
        }
    }
    g_ptr_array_sort(found, by_name);
    g_ptr_array_add(found, NULL);
    return g_strjoinv(", ", (char **)found->pdata);
}

static bool check_viable(VFIOGroup *g, const char *folder, GError **errp)
{
    struct vfio_group_status status = { .argsz = sizeof(status) };
    g_autofree char *blockers = NULL;

    if (hostcalls->ioctl(g->fd, VFIO_GROUP_GET_STATUS, &status)) {
        return error_set_errno(errp, errno, "error getting group %u status", g->id);
    }
    if (status.flags & VFIO_GROUP_FLAGS_VIABLE) {
        return true;
    }
    blockers = group_blockers(folder);
    return error_set(errp,
                     "group %u is not viable, please ensure all devices within the iommu_group "
                     "are bound to their vfio bus driver%s%s",
                     g->id, *blockers ? ": " : "", blockers);
}

static void group_put(VFIOGroup *g)
{
    if (--g->users) {
        return;
    }
    TRACE("vfio_group_put", "group %u fd %d", g->id, g->fd);
    vfio_group_cpr_unregister(g);
    vfio_forget_accel(g->fd, &g->accel_told);
    host_fd_close(&g->fd);
    g_ptr_array_remove(groups, g);
    g_free(g);
}

static VFIOGroup *find_group(unsigned id)
{
    for (guint i = 0; groups && i < groups->len; i++) {
        VFIOGroup *g = groups->pdata[i];

        if (g->id == id) {
            return g;
        }
    }
    return NULL;
}

int vfio_group_fd(uint32_t id)
{
    VFIOGroup *g = find_group(id);

    return g ? g->fd : -1;
}

static bool group_open(VFIOGroup *g, const char *folder, const char *sysfs, GError **errp)
{
    g_autofree char *path = g_strdup_printf(DEV_VFIO "/%u", g->id);

    g->fd = hostcalls->open(path, O_RDWR);
    if (g->fd < 0) {
        open_failed(g->id, sysfs, errno, errp);
        return false;
    }
    TRACE("vfio_group_get", "group %u fd %d", g->id, g->fd);
    g->accel_told = check_viable(g, folder, errp) && accel_device_fd_add(g->fd, errp);
    return g->accel_told;
}

static VFIOGroup *group_new(unsigned id, const char *folder, const char *sysfs, GError **errp)
{
    VFIOGroup *g = g_new0(VFIOGroup, 1);

    g->id = id;
    g->fd = -1;
    g->users = 1;
    g_ptr_array_add(groups, g);
    vfio_group_cpr_register(g);
    /* One that is adopted is another VM's until the VM is ours. */
    if (!vfio_group_cpr_find(g, errp) || (!g->adopted && !group_open(g, folder, sysfs, errp))) {
        group_put(g);
        return NULL;
    }
    return g;
}

/* The group of the device in that folder of sysfs. */
static VFIOGroup *group_get(const char *sysfs, GError **errp)
{
    g_autofree char *link = g_build_filename(sysfs, "iommu_group", NULL);
    char *folder = realpath(link, NULL); /* malloc'ed */
    g_autofree char *name = folder ? g_path_get_basename(folder) : NULL;
    VFIOGroup *g;
    guint64 id;

    if (!groups) {
        groups = g_ptr_array_new();
    }
    if (!folder) {
        error_set_errno(errp, errno, "no iommu_group found (is the host's IOMMU on?)");
        return NULL;
    }
    if (!g_ascii_string_to_unsigned(name, 10, 0, G_MAXUINT, &id, NULL)) {
        error_set(errp, "its iommu_group is %s, which is no group's number", folder);
        free(folder);
        return NULL;
    }
    g = find_group((unsigned)id);
    if (g) {
        g->users++;
    } else {
        g = group_new((unsigned)id, folder, sysfs, errp);
    }
    free(folder);
    return g;
}

/* ---- its devices ---- */

static bool get_device_fd(VFIODevice *dev, const VFIODeviceRef *ref, GError **errp)
{
    const char *token = ref->vf_token;
    g_autofree char *base = g_path_get_basename(dev->sysfs);
    g_autofree char *name = token ? g_strdup_printf("%s vf_token=%s", base, token) : g_strdup(base);
    bool unlocked = vfio_open_begin(ref);
    int fd = hostcalls->ioctl(dev->group->fd, VFIO_GROUP_GET_DEVICE_FD, name);
    int saved = errno;

    vfio_open_end(unlocked);
    if (fd < 0) {
        /* In the group, but no driver of VFIO has it. */
        if (saved != ENODEV || vfio_check_driver(dev->sysfs, errp)) {
            error_set(errp, "error getting device from group %u: %s%s", dev->group->id,
                      g_strerror(saved), vfio_open_hint(saved, token));
        }
        return false;
    }
    dev->fd = fd;
    TRACE("vfio_device_get", "%s fd %d group %u", dev->name, dev->fd, dev->group->id);
    return true;
}

static bool group_connect(VFIODevice *dev, const VFIODeviceRef *ref, GError **errp)
{
    dev->group = vfio_check_not_attached(dev, errp) ? group_get(dev->sysfs, errp) : NULL;
    if (!dev->group) {
        return false;
    }
    vfio_device_cpr_register(dev, ref->id);
    return vfio_type1_attach(dev, errp) && (dev->adopted || get_device_fd(dev, ref, errp));
}

static void group_disconnect(VFIODevice *dev)
{
    vfio_device_cpr_unregister(dev);
    if (dev->container) {
        vfio_container_dirty_sync(dev->container); /* its log goes with the descriptor */
        vfio_container_dirty_detached(dev->container, dev);
    }
    host_fd_close(&dev->fd);
    vfio_container_detach(dev);
    g_clear_pointer(&dev->group, group_put);
}

const VFIOInterface vfio_group_interface = { group_connect, group_disconnect };
