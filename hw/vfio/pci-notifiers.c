/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the host has to say of a device beside its interrupts: ERR, that it had an error which it
 * does not recover from by itself, and REQ, that its driver is to let go of it (somebody unbinds it,
 * or takes it out).
 *
 * After ERR nothing that the device does can be trusted, and a guest that knew of it could not reset
 * the link above: the VM is stopped.  After REQ the device is unplugged, which asks the guest; the
 * kernel repeats it every ten seconds for as long as the device is open.
 */
#include "hw/vfio/pci.h"

#include <errno.h>
#include <glib-unix.h>

#include "core/runstate.h"
#include "util/error.h"
#include "util/hostcalls.h"
#include "util/trace.h"

static gboolean err_signalled(gint fd, GIOCondition condition, gpointer opaque)
{
    VFIOPCIDevice *vdev = opaque;

    if (host_eventfd_take(fd)) {
        error_report("vfio %s: the host reports an error that the device does not recover from; "
                     "the VM is stopped, save what can be saved and end it",
                     vdev->vbasedev->name);
        vm_stop(RUN_STATE_INTERNAL_ERROR);
    }
    return G_SOURCE_CONTINUE;
}

/* The device may be gone afterwards. */
static gboolean req_signalled(gint fd, GIOCondition condition, gpointer opaque)
{
    VFIOPCIDevice *vdev = opaque;
    Device *dev = DEVICE(vdev);
    g_autoptr(GError) err = NULL;

    if (!host_eventfd_take(fd)) {
        return G_SOURCE_CONTINUE;
    }
    TRACE("vfio_pci_req", "%s", vdev->vbasedev->name);
    if (!device_del(object_path(G_OBJECT(dev)), &err) && !dev->pending_deleted) {
        g_prefix_error(&err, "the host wants it back, but it cannot be unplugged: ");
        vfio_pci_warn_once(vdev, VFIO_WARN_NOTIFIER, err);
    }
    return G_SOURCE_CONTINUE;
}

static const struct {
    unsigned index;
    GUnixFDSourceFunc signalled;
} kinds[] = {
    [VFIO_NOTIFIER_ERR] = { VFIO_PCI_ERR_IRQ_INDEX, err_signalled },
    [VFIO_NOTIFIER_REQ] = { VFIO_PCI_REQ_IRQ_INDEX, req_signalled },
};

static bool arm(VFIOPCIDevice *vdev, VFIONotifierKind kind, GError **errp)
{
    VFIONotifier *n = &vdev->notifiers[kind];
    g_autoptr(GError) err = NULL;
    struct vfio_irq_info info;
    int ret;

    if (!vfio_device_get_irq_info(vdev->vbasedev, kinds[kind].index, &info, errp)) {
        return false;
    }
    if (!info.count) {
        return true;
    }
    n->fd = host_eventfd();
    if (n->fd < 0) {
        return error_set_errno(errp, errno, "cannot make an eventfd for notifications");
    }
    ret = vfio_device_set_irqs(vdev->vbasedev, kinds[kind].index, VFIO_IRQ_SET_ACTION_TRIGGER, 0, 1,
                               &n->fd, &err);
    if (!ret) {
        n->source = g_unix_fd_add(n->fd, G_IO_IN, kinds[kind].signalled, vdev);
        return true;
    }
    host_fd_close(&n->fd);
    if (ret > 0) {
        return error_set(errp, "VFIO_DEVICE_SET_IRQS of index %u gives %d", kinds[kind].index, ret);
    }
    if (ret == -ENOTTY) { /* a driver that only counts it, as mtty */
        TRACE("vfio_pci_no_notifier", "%s: %s", vdev->vbasedev->name, err->message);
        return true;
    }
    g_propagate_error(errp, g_steal_pointer(&err));
    return false;
}

bool vfio_notifiers_init(VFIOPCIDevice *vdev, GError **errp)
{
    if (vdev->vbasedev->adopted) {
        return true;
    }
    for (unsigned kind = 0; kind < VFIO_NR_NOTIFIERS; kind++) {
        if ((kind != VFIO_NOTIFIER_REQ || vdev->req) && !arm(vdev, kind, errp)) {
            vfio_notifiers_fini(vdev);
            return false;
        }
    }
    return true;
}

void vfio_notifiers_listen(VFIOPCIDevice *vdev, bool on)
{
    for (unsigned kind = 0; kind < VFIO_NR_NOTIFIERS; kind++) {
        VFIONotifier *n = &vdev->notifiers[kind];

        if (on && n->fd >= 0 && !n->source) {
            n->source = g_unix_fd_add(n->fd, G_IO_IN, kinds[kind].signalled, vdev);
        } else if (!on && n->source) {
            g_source_remove(n->source);
            n->source = 0;
        }
    }
}

void vfio_notifiers_fini(VFIOPCIDevice *vdev)
{
    for (unsigned kind = VFIO_NR_NOTIFIERS; kind-- > 0;) {
        VFIONotifier *n = &vdev->notifiers[kind];
        g_autoptr(GError) err = NULL;

        if (n->fd < 0) {
            continue;
        }
        if (!vfio_disable_irqindex(vdev->vbasedev, kinds[kind].index, &err)) {
            vfio_pci_warn_once(vdev, VFIO_WARN_NOTIFIER, err);
        }
        if (n->source) {
            g_source_remove(n->source);
            n->source = 0;
        }
        host_fd_close(&n->fd);
    }
}
