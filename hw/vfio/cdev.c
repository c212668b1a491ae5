/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From a device's folder in sysfs to its character device, and back.  The folder has vfio-dev/vfioN
 * when, and only when, a VFIO driver has the device; the node in /dev is believed only if its
 * number is the one that sysfs says, and a descriptor only if its number leads to a vfio-dev.
 */
#include "hw/vfio/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/sysmacros.h>

#include "util/error.h"
#include "util/hostcalls.h"
#include "util/trace.h"

#define DEV_VFIO "/dev/vfio/devices"

const char *vfio_sysfs_dev_char = "/sys/dev/char";

bool vfio_check_driver(const char *sysfs, GError **errp)
{
    g_autofree char *link = g_build_filename(sysfs, "driver", NULL);
    g_autofree char *target = g_file_read_link(link, NULL);
    g_autofree char *driver = target ? g_path_get_basename(target) : NULL;
    g_autofree char *name = g_path_get_basename(sysfs);

    if (!driver) {
        return error_set(errp,
                         "no host driver has the device; bind it to vfio-pci first, for example by "
                         "'driverctl set-override %s vfio-pci'",
                         name);
    }
    return strstr(driver, "vfio") ||
           error_set(errp,
                     "host driver '%s' has the device, not vfio-pci; bind it first, for example by "
                     "'driverctl set-override %s vfio-pci'",
                     driver, name);
}

/* "vfio7" and its device number. */
static char *find_cdev(const char *sysfs, dev_t *number, GError **errp)
{
    g_autofree char *folder = g_build_filename(sysfs, "vfio-dev", NULL);
    g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
    g_autofree char *path = NULL, *text = NULL;
    const char *name = NULL;
    unsigned major, minor;

    do {
        name = dir ? g_dir_read_name(dir) : NULL;
    } while (name && !g_str_has_prefix(name, "vfio"));
    if (!name) {
        if (vfio_check_driver(sysfs, errp)) {
            error_set(errp,
                      "a VFIO driver has the device, but there is no vfio-dev in %s: the kernel "
                      "needs CONFIG_VFIO_DEVICE_CDEV (Linux 6.6)",
                      sysfs);
        }
        return NULL;
    }
    path = g_build_filename(folder, name, "dev", NULL);
    if (!g_file_get_contents(path, &text, NULL, errp)) {
        return NULL;
    }
    /* NOLINTNEXTLINE(cert-err34-c): a number that cannot be will not be the cdev's */
    if (sscanf(text, "%u:%u", &major, &minor) != 2) {
        error_set(errp, "%s does not hold a device number", path);
        return NULL;
    }
    *number = makedev(major, minor);
    return g_strdup(name);
}

int vfio_cdev_open(const char *sysfs, dev_t *number, GError **errp)
{
    g_autofree char *name = NULL, *path = NULL;
    struct stat st;
    int fd;

    name = find_cdev(sysfs, number, errp);
    if (!name) {
        return -1;
    }
    path = g_build_filename(DEV_VFIO, name, NULL);
    fd = hostcalls->open(path, O_RDWR);
    if (fd < 0) {
        error_set_errno(errp, errno, "cannot open %s", path);
        return -1;
    }
    if (hostcalls->fstat(fd, &st)) {
        error_set_errno(errp, errno, "cannot check %s", path);
    } else if (!S_ISCHR(st.st_mode) || st.st_rdev != *number) {
        error_set(errp, "%s is not the device %u:%u that %s has", path, major(*number),
                  minor(*number), sysfs);
    } else {
        TRACE("iommufd_cdev_getfd", "%s fd %d", path, fd);
        return fd;
    }
    host_fd_close(&fd);
    return -1;
}

/* /sys/dev/char/510:3 -> .../0000:02:00.0/vfio-dev/vfio3 */
static bool find_sysfs(dev_t number, char **sysfs, GError **errp)
{
    g_autofree char *link =
        g_strdup_printf("%s/%u:%u", vfio_sysfs_dev_char, major(number), minor(number));
    char *target = realpath(link, NULL); /* malloc'ed */
    g_autofree char *folder = target ? g_path_get_dirname(target) : NULL;
    g_autofree char *kind = target ? g_path_get_basename(folder) : NULL;
    bool ok = !target || g_str_equal(kind, "vfio-dev") ||
              error_set(errp, "it is no VFIO device, but %s", target);

    *sysfs = target && ok ? g_path_get_dirname(folder) : NULL;
    free(target);
    return ok;
}

bool vfio_cdev_identify(int fd, dev_t *number, char **sysfs, GError **errp)
{
    struct stat st;

    if (hostcalls->fstat(fd, &st)) {
        return error_set_errno(errp, errno, "cannot check it");
    }
    if (!S_ISCHR(st.st_mode)) {
        return error_set(errp, "it is no VFIO device: not even a character device");
    }
    *number = st.st_rdev;
    if (!find_sysfs(st.st_rdev, sysfs, errp)) {
        return false;
    }
    if ((hostcalls->fcntl(fd, F_GETFL, 0) & O_ACCMODE) != O_RDWR) {
        g_clear_pointer(sysfs, g_free);
        return error_set(errp, "it is not open for reading and writing");
    }
    TRACE("iommufd_cdev_getfd", "%s fd %d", *sysfs ?: "(not in sysfs)", fd);
    return true;
}
