/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the kernel has for resetting a device; which of it is used says pci-reset.c. */
#include "hw/vfio/vfio.h"

#include <errno.h>

#include "util/error.h"
#include "util/hostcalls.h"
#include "util/trace.h"

#define RESET_RETRIES 20
#define RESET_PAUSE   (10 * 1000) /* in µs */
#define PCI_FUNCTIONS 0x10000     /* of a bus and all buses behind it, at most */

/* The kernel only tries to take its locks: somebody may be reading the device's config in sysfs. */
static bool reset_ioctl(VFIODevice *dev, unsigned long request, void *arg)
{
    for (unsigned i = 0; hostcalls->ioctl(dev->fd, request, arg); i++) {
        if ((errno != EAGAIN && errno != EBUSY) || i == RESET_RETRIES) {
            return false;
        }
        TRACE("vfio_device_reset_again", "%s: %s", dev->name, g_strerror(errno));
        g_usleep(RESET_PAUSE);
    }
    return true;
}

bool vfio_device_reset(VFIODevice *dev, GError **errp)
{
    return reset_ioctl(dev, VFIO_DEVICE_RESET, NULL) ||
           error_set_errno(errp, errno, "VFIO_DEVICE_RESET failed");
}

struct vfio_pci_hot_reset_info *vfio_device_get_hot_reset_info(VFIODevice *dev, GError **errp)
{
    g_autofree struct vfio_pci_hot_reset_info *info = NULL;
    uint32_t room = 8, argsz;
    int ret;

    do {
        argsz = (uint32_t)(sizeof(*info) + room * sizeof(info->devices[0]));
        g_free(info);
        info = g_malloc0(argsz);
        info->argsz = argsz;
        ret = hostcalls->ioctl(dev->fd, VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, info);
        if (!ret && info->count <= room) {
            return g_steal_pointer(&info);
        }
    } while (ret && errno == ENOSPC && info->count > room && (room = info->count) <= PCI_FUNCTIONS);
    if (ret) {
        error_set_errno(errp, errno, "VFIO_DEVICE_GET_PCI_HOT_RESET_INFO failed");
    } else {
        error_set(errp, "VFIO_DEVICE_GET_PCI_HOT_RESET_INFO names %u functions", info->count);
    }
    return NULL;
}

static bool holds(const struct vfio_pci_hot_reset *reset, int fd)
{
    for (uint32_t i = 0; i < reset->count; i++) {
        if (reset->group_fds[i] == fd) {
            return true;
        }
    }
    return false;
}

bool vfio_device_hot_reset(VFIODevice *dev, const struct vfio_pci_hot_reset_info *info,
                           GError **errp)
{
    uint32_t n = dev->group ? info->count : 0;
    size_t argsz = sizeof(struct vfio_pci_hot_reset) + n * sizeof(int32_t);
    g_autofree struct vfio_pci_hot_reset *reset = g_malloc0(argsz);

    for (uint32_t i = 0; i < n; i++) {
        int fd = vfio_group_fd(info->devices[i].group_id);

        if (!holds(reset, fd)) {
            reset->group_fds[reset->count++] = fd;
        }
    }
    reset->argsz = (uint32_t)(sizeof(*reset) + reset->count * sizeof(int32_t));
    return reset_ioctl(dev, VFIO_DEVICE_PCI_HOT_RESET, reset) ||
           error_set_errno(errp, errno, "VFIO_DEVICE_PCI_HOT_RESET failed");
}
