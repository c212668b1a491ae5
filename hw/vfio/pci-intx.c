/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * INTx.  The kernel masks the line when it fires and signals the trigger; the interrupt controller
 * raises the guest's line and, when the guest has served it, signals the resample eventfd, which is
 * the device's UNMASK too.  So a level-triggered interrupt goes to the guest and back without this
 * process.  A VFIO driver that takes no eventfd for UNMASK is unmasked from here.
 */
#include "hw/vfio/pci.h"

#include <errno.h>
#include <glib-unix.h>
#include <sys/eventfd.h>

#include "util/error.h"
#include "util/hostcalls.h"
#include "util/trace.h"

static gboolean intx_resampled(gint fd, GIOCondition condition, gpointer opaque)
{
    VFIOPCIDevice *vdev = opaque;
    g_autoptr(GError) err = NULL;
    uint64_t count;

    if (hostcalls->read(fd, &count, sizeof(count)) == sizeof(count) &&
        vfio_device_set_irqs(vdev->vbasedev, VFIO_PCI_INTX_IRQ_INDEX, VFIO_IRQ_SET_ACTION_UNMASK, 0,
                             1, NULL, &err) < 0) {
        warn_report("vfio %s: %s", vdev->vbasedev->name, err->message);
        vdev->intx.source = 0;
        return G_SOURCE_REMOVE;
    }
    return G_SOURCE_CONTINUE;
}

static bool intx_set_up(VFIOPCIDevice *vdev, int gsi, GError **errp)
{
    VFIOINTx *intx = &vdev->intx;
    g_autoptr(GError) err = NULL;
    int ret;

    intx->trigger = hostcalls->eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    intx->resample = hostcalls->eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (intx->trigger < 0 || intx->resample < 0) {
        return error_set_errno(errp, errno, "cannot make an eventfd for INTx");
    }
    if (!irq_bind(gsi, intx->trigger, intx->resample, errp)) {
        return false;
    }
    intx->gsi = gsi;
    if (vfio_device_set_irqs(vdev->vbasedev, VFIO_PCI_INTX_IRQ_INDEX, VFIO_IRQ_SET_ACTION_TRIGGER,
                             0, 1, &intx->trigger, errp) < 0) {
        return false;
    }
    intx->armed = true;
    ret = vfio_device_set_irqs(vdev->vbasedev, VFIO_PCI_INTX_IRQ_INDEX, VFIO_IRQ_SET_ACTION_UNMASK,
                               0, 1, &intx->resample, &err);
    if (ret < 0 && ret != -ENOTTY) {
        g_propagate_error(errp, g_steal_pointer(&err));
        return false;
    }
    if (ret < 0) {
        warn_report("vfio %s: %s; INTx is unmasked by this process, which is slower",
                    vdev->vbasedev->name, err->message);
        intx->source = g_unix_fd_add(intx->resample, G_IO_IN, intx_resampled, vdev);
    }
    return true;
}

bool vfio_intx_enable(VFIOPCIDevice *vdev, GError **errp)
{
    int gsi = pci_intx_gsi(&vdev->parent);
    struct vfio_irq_info info;

    if (!vfio_device_get_irq_info(vdev->vbasedev, VFIO_PCI_INTX_IRQ_INDEX, &info, errp)) {
        return false;
    }
    if (gsi < 0 || !info.count) { /* it has no pin, or the host could not use it */
        return true;
    }
    if (!intx_set_up(vdev, gsi, errp)) {
        vfio_intx_disable(vdev);
        return false;
    }
    TRACE("vfio_intx_enable", "%s gsi %d", vdev->vbasedev->name, gsi);
    return true;
}

void vfio_intx_disable(VFIOPCIDevice *vdev)
{
    VFIOINTx *intx = &vdev->intx;

    TRACE("vfio_intx_disable", "%s gsi %d", vdev->vbasedev->name, intx->gsi);
    if (intx->source) {
        g_source_remove(intx->source);
        intx->source = 0;
    }
    if (intx->armed) {
        vfio_disable_irqindex(vdev->vbasedev, VFIO_PCI_INTX_IRQ_INDEX);
        intx->armed = false;
    }
    if (intx->gsi >= 0) {
        irq_unbind(intx->gsi, intx->trigger);
        intx->gsi = -1;
    }
    host_fd_close(&intx->trigger);
    host_fd_close(&intx->resample);
}
