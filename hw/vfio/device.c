/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A device, from opening it to letting it go: by its cdev, or by its group (group.c).  The order is
 * the kernel's and is kept both ways.  For a cdev: KVM hears of the descriptor before BIND, because
 * a driver may want its VM when it is opened; DETACH comes before anything that the attachment
 * holds is destroyed; and the descriptor is closed last, for closing is what undoes BIND.
 */
#include "hw/vfio/container.h"

#include <errno.h>
#include <stdlib.h>

#include "core/accel.h"
#include "core/fdset.h"
#include "core/lock.h"
#include "core/runstate.h"
#include "migration/cpr.h"
#include "util/error.h"
#include "util/fd.h"
#include "util/hostcalls.h"
#include "util/keyval.h"
#include "util/trace.h"

GPtrArray *vfio_devices;

bool vfio_check_not_attached(VFIODevice *dev, GError **errp)
{
    for (guint i = 0; vfio_devices && i < vfio_devices->len; i++) {
        VFIODevice *other = vfio_devices->pdata[i];

        if ((dev->number && other->number == dev->number) ||
            (dev->sysfs && g_strcmp0(other->sysfs, dev->sysfs) == 0)) {
            return error_set(errp, "the device is attached already");
        }
    }
    return true;
}

const char *vfio_open_hint(int errnum, const char *token)
{
    if (errnum == EACCES) {
        return token ? "; vf-token is not the one that the other side, PF or VF, uses"
                     : "; it needs vf-token=UUID, for a VFIO user has its physical function";
    }
    if (errnum == EBUSY) {
        return "; another process has it, or a device of its group";
    }
    return errnum == EINVAL && token ? "; perhaps it takes no vf-token: only a VF whose PF is "
                                       "bound to vfio-pci, and such a PF, do"
                                     : "";
}

/* ---- by the cdev ---- */

static const char *bind_hint(int errnum, const VFIODeviceRef *ref)
{
    return errnum == EINVAL && ref->fd && !ref->vf_token
               ? "; if it was in use before, and somebody has kept it open, it is bound for good: "
                 "open the device anew"
               : vfio_open_hint(errnum, ref->vf_token);
}

static bool bind_iommufd(VFIODevice *dev, const VFIODeviceRef *ref, GError **errp)
{
    uint8_t uuid[16];
    VFIODeviceBindToken bind = {
        .argsz = VFIO_BIND_IOMMUFD_ARGSZ,
        .iommufd = dev->iommufd->fd,
    };

    if (ref->vf_token && uuid_parse(ref->vf_token, uuid)) {
        bind.argsz = sizeof(bind);
        bind.flags = VFIO_DEVICE_BIND_FLAG_TOKEN;
        bind.token_uuid_ptr = (uintptr_t)uuid;
    }
    if (hostcalls->ioctl(dev->fd, VFIO_DEVICE_BIND_IOMMUFD, &bind)) {
        return error_set(errp, "error bind device fd=%d to iommufd=%d: %s%s", dev->fd, bind.iommufd,
                         g_strerror(errno), bind_hint(errno, ref));
    }
    dev->devid = bind.out_devid;
    TRACE("iommufd_cdev_connect_and_bind", "%s fd %d devid %u", dev->name, dev->fd, dev->devid);
    return true;
}

/*
 * To open a device is to reset it, and a function level reset alone makes the kernel sleep for
 * 100 ms: guest memory gets its pages in the meantime.  A guest that runs already is not made to
 * wait for that, and may use the time to prepare itself.
 */
static unsigned opening, blocker;

bool vfio_open_begin(const VFIODeviceRef *ref)
{
    bool unlock = main_loop_is_running() && machine_locked();

    if (ref->coming) {
        ref->coming(ref->opaque);
    }
    if (unlock) {
        if (!opening++) {
            blocker = migration_block(MIG_MODE_ALL, "a device is being added");
        }
        machine_unlock();
    }
    return unlock;
}

void vfio_open_end(bool unlocked)
{
    if (unlocked) {
        machine_lock();
        if (!--opening) {
            migration_unblock(blocker);
        }
    }
}

static bool bind_and_attach(VFIODevice *dev, const VFIODeviceRef *ref, GError **errp)
{
    VFIOContainer *c = vfio_container_of_iommufd(dev->iommufd, errp);
    bool ok, unlocked;

    if (!c) {
        return false;
    }
    vfio_container_prepare(c);
    if (dev->adopted) {
        ok = true;
    } else {
        vfio_container_await_pages(c);
        unlocked = vfio_open_begin(ref);
        ok = bind_iommufd(dev, ref, errp);
        vfio_open_end(unlocked);
    }
    ok = ok && vfio_container_attach(c, dev, errp);
    vfio_container_put(c);
    return ok;
}

void vfio_tell_accel(int fd, bool *told, const char *what)
{
    g_autoptr(GError) err = NULL;

    *told = *told || accel_device_fd_add(fd, &err);
    if (err) {
        warn_report("vfio %s: %s", what, err->message);
    }
}

void vfio_forget_accel(int fd, bool *told)
{
    if (*told) {
        accel_device_fd_del(fd);
        *told = false;
    }
}

static bool cdev_connect(VFIODevice *dev, const VFIODeviceRef *ref, GError **errp)
{
    if (dev->fd < 0) {
        dev->fd = vfio_cdev_open(dev->sysfs, &dev->number, errp);
    }
    if (dev->fd < 0 || !vfio_check_not_attached(dev, errp) ||
        !iommufd_backend_connect(ref->iommufd, errp)) {
        return false;
    }
    dev->iommufd = ref->iommufd;
    vfio_device_cpr_register(dev, ref->id);
    /* One that is adopted is another VM's until the VM is ours. */
    dev->accel_told = !dev->adopted && accel_device_fd_add(dev->fd, errp);
    return (dev->accel_told || dev->adopted) && bind_and_attach(dev, ref, errp);
}

static void cdev_disconnect(VFIODevice *dev)
{
    vfio_device_cpr_unregister(dev);
    vfio_container_detach(dev);
    vfio_forget_accel(dev->fd, &dev->accel_told);
    if (dev->iommufd) {
        iommufd_backend_disconnect(dev->iommufd);
    }
}

static const VFIOInterface cdev_interface = { cdev_connect, cdev_disconnect };

/* ---- by either ---- */

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
static bool attach(VFIODevice *dev, const VFIODeviceRef *ref, GError **errp)
{
    return dev->interface->connect(dev, ref, errp) && get_info(dev, errp) &&
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
    dev->given = true;
    dev->name = dev->sysfs ? g_path_get_basename(dev->sysfs) : g_strdup_printf("fd %s", text);
    return true;
}

/* All but closing the descriptor where that is what undoes BIND. */
static void undo_attach(VFIODevice *dev)
{
    vfio_regions_fini(dev);
    dev->interface->disconnect(dev);
}

static void device_free(VFIODevice *dev)
{
    host_fd_close(&dev->fd);
    g_free(dev->name);
    g_free(dev->cpr_name);
    g_free(dev->sysfs);
    g_free(dev);
}

/* The old process's descriptor, or whatever the user says. */
static bool find_device(VFIODevice *dev, const VFIODeviceRef *ref, GError **errp)
{
    if (ref->sysfs && !find_by_sysfs(dev, ref->sysfs, errp)) {
        return false;
    }
    if (cpr_is_incoming() && !vfio_device_cpr_find(dev, ref->id, errp)) {
        return false;
    }
    return dev->adopted || !ref->fd || find_by_fd(dev, ref->fd, errp);
}

VFIODevice *vfio_device_attach(const VFIODeviceRef *ref, GError **errp)
{
    VFIODevice *dev = g_new0(VFIODevice, 1);

    dev->fd = -1;
    dev->interface = ref->iommufd ? &cdev_interface : &vfio_group_interface;
    if (!find_device(dev, ref, errp)) {
        device_free(dev);
        return NULL;
    }
    if (!attach(dev, ref, errp)) {
        g_prefix_error(errp, "vfio %s: ", dev->name);
        if (dev->adopted) {
            host_let_go(); /* it is another process's, and this one about to end */
        }
        undo_attach(dev);
        if (ref->fd && !dev->adopted && !dev->devid) {
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

/* ---- interrupts ---- */

bool vfio_device_get_irq_info(VFIODevice *dev, unsigned index, struct vfio_irq_info *info,
                              GError **errp)
{
    *info = (struct vfio_irq_info) { .argsz = sizeof(*info), .index = index };
    if (index >= dev->nr_irqs) {
        return true;
    }
    if (hostcalls->ioctl(dev->fd, VFIO_DEVICE_GET_IRQ_INFO, info)) {
        if (errno == EINVAL) { /* a driver that has less than its device info says, as mtty */
            info->count = 0;
            return true;
        }
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

bool vfio_disable_irqindex(VFIODevice *dev, unsigned index, GError **errp)
{
    int ret = vfio_device_set_irqs(dev, index, VFIO_IRQ_SET_ACTION_TRIGGER, 0, 0, NULL, errp);

    if (ret > 0) { /* that many vectors of none? */
        return error_set(errp, "VFIO_DEVICE_SET_IRQS (index %u off) gives %d", index, ret);
    }
    return !ret;
}
