/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A device behind its cdev, from opening it to letting it go.  The order is the kernel's and is
 * kept both ways: KVM hears of the descriptor before BIND, because a driver may want its VM when it
 * is opened; DETACH comes before anything that the attachment holds is destroyed; and the
 * descriptor is closed last, for closing is what undoes BIND.
 */
#include "hw/vfio/container.h"

#include <errno.h>
#include <stdlib.h>

#include "core/accel.h"
#include "core/fdset.h"
#include "util/error.h"
#include "util/fd.h"
#include "util/hostcalls.h"
#include "util/trace.h"

GPtrArray *vfio_devices;

static bool check_not_attached(VFIODevice *dev, GError **errp)
{
    for (guint i = 0; vfio_devices && i < vfio_devices->len; i++) {
        VFIODevice *other = vfio_devices->pdata[i];

        if (other->number == dev->number) {
            return error_set(errp, "the device is attached already");
        }
    }
    return true;
}

static bool bind_iommufd(VFIODevice *dev, GError **errp)
{
    struct vfio_device_bind_iommufd bind = {
        .argsz = VFIO_BIND_IOMMUFD_ARGSZ,
        .iommufd = dev->iommufd->fd,
    };

    if (hostcalls->ioctl(dev->fd, VFIO_DEVICE_BIND_IOMMUFD, &bind)) {
        return error_set_errno(errp, errno, "error bind device fd=%d to iommufd=%d", dev->fd,
                               bind.iommufd);
    }
    dev->devid = bind.out_devid;
    TRACE("iommufd_cdev_connect_and_bind", "%s fd %d devid %u", dev->name, dev->fd, dev->devid);
    return true;
}

/*
 * To open a device is to reset it, and a function level reset alone makes the kernel sleep for
 * 100 ms: guest memory gets its pages in the meantime.
 */
static bool bind_and_attach(VFIODevice *dev, GError **errp)
{
    VFIOContainer *c = vfio_container_of_iommufd(dev->iommufd, errp);

    if (!c) {
        return false;
    }
    vfio_container_prepare(c);
    if (!bind_iommufd(dev, errp)) {
        vfio_container_put(c);
        return false;
    }
    return vfio_container_attach(c, dev, errp);
}

static bool get_info(VFIODevice *dev, GError **errp)
{
    struct vfio_device_info info = { .argsz = sizeof(info) };

    if (hostcalls->ioctl(dev->fd, VFIO_DEVICE_GET_INFO, &info)) {
        return error_set_errno(errp, errno, "VFIO_DEVICE_GET_INFO failed");
    }
    dev->flags = info.flags;
    dev->nr_regions = info.num_regions;
    dev->nr_irqs = info.num_irqs;
    TRACE("vfio_device_get_info", "%s flags 0x%x regions %u irqs %u", dev->name, dev->flags,
          dev->nr_regions, dev->nr_irqs);
    return true;
}

/* Whatever fails, undo_attach() undoes as much as there is. */
static bool attach(VFIODevice *dev, IOMMUFDBackend *be, GError **errp)
{
    if (dev->fd < 0) {
        dev->fd = vfio_cdev_open(dev->sysfs, &dev->number, errp);
    }
    if (dev->fd < 0 || !check_not_attached(dev, errp) || !iommufd_backend_connect(be, errp)) {
        return false;
    }
    dev->iommufd = be;
    dev->accel_told = accel_device_fd_add(dev->fd, errp);
    return dev->accel_told && bind_and_attach(dev, errp) && get_info(dev, errp) &&
           vfio_regions_init(dev, errp);
}

static bool find_by_sysfs(VFIODevice *dev, const char *sysfs, GError **errp)
{
    char *real = realpath(sysfs, NULL); /* malloc'ed */

    if (!real) {
        return error_set_errno(errp, errno, "vfio %s: no such host device", sysfs);
    }
    dev->name = g_path_get_basename(sysfs);
    dev->sysfs = g_strdup(real);
    free(real);
    return true;
}

static bool find_by_fd(VFIODevice *dev, const char *text, GError **errp)
{
    int fd = fd_take(text, errp);

    if (fd < 0) {
        g_prefix_error(errp, "vfio: ");
        return false;
    }
    if (!vfio_cdev_identify(fd, &dev->number, &dev->sysfs, errp)) {
        g_prefix_error(errp, "vfio fd %s: ", text);
        fd_give_back(text, fd);
        return false;
    }
    dev->fd = fd;
    dev->name = dev->sysfs ? g_path_get_basename(dev->sysfs) : g_strdup_printf("fd %s", text);
    return true;
}

/* All but closing the descriptor, which undoes BIND. */
static void undo_attach(VFIODevice *dev)
{
    vfio_regions_fini(dev);
    vfio_container_detach(dev);
    if (dev->accel_told) {
        accel_device_fd_del(dev->fd);
    }
    if (dev->iommufd) {
        iommufd_backend_disconnect(dev->iommufd);
    }
}

static void device_free(VFIODevice *dev)
{
    host_fd_close(&dev->fd);
    g_free(dev->name);
    g_free(dev->sysfs);
    g_free(dev);
}

VFIODevice *vfio_device_attach(const VFIODeviceRef *ref, IOMMUFDBackend *be, GError **errp)
{
    VFIODevice *dev = g_new0(VFIODevice, 1);

    dev->fd = -1;
    if (ref->fd ? !find_by_fd(dev, ref->fd, errp) : !find_by_sysfs(dev, ref->sysfs, errp)) {
        device_free(dev);
        return NULL;
    }
    if (!attach(dev, be, errp)) {
        g_prefix_error(errp, "vfio %s: ", dev->name);
        undo_attach(dev);
        if (ref->fd && !dev->devid) {
            fd_give_back(ref->fd, fd_steal(&dev->fd));
        }
        device_free(dev);
        return NULL;
    }
    if (!vfio_devices) {
        vfio_devices = g_ptr_array_new();
    }
    g_ptr_array_add(vfio_devices, dev);
    return dev;
}

void vfio_device_detach(VFIODevice *dev)
{
    g_ptr_array_remove(vfio_devices, dev);
    undo_attach(dev);
    device_free(dev);
}

bool vfio_device_has_peers(const VFIODevice *dev)
{
    for (guint i = 0; vfio_devices && i < vfio_devices->len; i++) {
        const VFIODevice *other = vfio_devices->pdata[i];

        if (other != dev && other->container == dev->container) {
            return true;
        }
    }
    return false;
}

bool vfio_device_reset(VFIODevice *dev, GError **errp)
{
    return !hostcalls->ioctl(dev->fd, VFIO_DEVICE_RESET, NULL) ||
           error_set_errno(errp, errno, "VFIO_DEVICE_RESET failed");
}

/* ---- interrupts ---- */

bool vfio_device_get_irq_info(VFIODevice *dev, unsigned index, struct vfio_irq_info *info,
                              GError **errp)
{
    *info = (struct vfio_irq_info) { .argsz = sizeof(*info), .index = index };
    if (index >= dev->nr_irqs) {
        return true;
    }
    if (hostcalls->ioctl(dev->fd, VFIO_DEVICE_GET_IRQ_INFO, info)) {
        return error_set_errno(errp, errno, "VFIO_DEVICE_GET_IRQ_INFO (index %u) failed", index);
    }
    TRACE("vfio_device_get_irq_info", "%s index %u count %u flags 0x%x", dev->name, index,
          info->count, info->flags);
    return true;
}

static const char *action_name(uint32_t action)
{
    return action == VFIO_IRQ_SET_ACTION_TRIGGER  ? "TRIGGER"
           : action == VFIO_IRQ_SET_ACTION_UNMASK ? "UNMASK"
                                                  : "MASK";
}

int vfio_device_set_irqs(VFIODevice *dev, unsigned index, uint32_t action, unsigned start,
                         unsigned count, const int32_t *fds, GError **errp)
{
    static const char *const names[] = { "INTx", "MSI", "MSI-X", "ERR", "REQ" };
    size_t data = fds ? count * sizeof(*fds) : 0;
    g_autofree struct vfio_irq_set *set = g_malloc(sizeof(*set) + data);
    int ret;

    *set = (struct vfio_irq_set) {
        .argsz = (uint32_t)(sizeof(*set) + data),
        .flags = action | (fds ? VFIO_IRQ_SET_DATA_EVENTFD : VFIO_IRQ_SET_DATA_NONE),
        .index = index,
        .start = start,
        .count = count,
    };
    if (fds) {
        memcpy(set->data, fds, data);
    }
    ret = hostcalls->ioctl(dev->fd, VFIO_DEVICE_SET_IRQS, set);
    if (ret < 0) {
        ret = -errno;
        error_set_errno(errp, -ret, "VFIO_DEVICE_SET_IRQS (%s %s, start %u, count %u) failed",
                        index < G_N_ELEMENTS(names) ? names[index] : "?", action_name(action),
                        start, count);
    }
    return ret;
}

void vfio_disable_irqindex(VFIODevice *dev, unsigned index)
{
    g_autoptr(GError) err = NULL;

    if (vfio_device_set_irqs(dev, index, VFIO_IRQ_SET_ACTION_TRIGGER, 0, 0, NULL, &err) < 0) {
        warn_report("vfio %s: %s", dev->name, err->message);
    }
}
