/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * INTx.  The kernel masks the line when it fires and signals the trigger; the interrupt controller
 * raises the guest's line and, when the guest has served it, signals the resample eventfd, which is
 * the device's UNMASK too.  So a level-triggered interrupt goes to the guest and back without this
 * process.
 *
 * A VFIO driver that takes no eventfd for UNMASK is unmasked from here.  With x-no-kvm-intx both ways
 * go through here: the trigger is passed on to an eventfd of our own.  The interrupt controller tells
 * exactly when the guest has served the interrupt, so no access to a BAR need be taken for a sign of
 * it (QEMU's x-intx-mmap-timeout-ms).
 */
#include "hw/vfio/pci.h"

#include <errno.h>
#include <glib-unix.h>

#include "util/error.h"
#include "util/hostcalls.h"
#include "util/trace.h"

static gboolean intx_signalled(gint fd, GIOCondition condition, gpointer opaque)
{
    VFIOPCIDevice *vdev = opaque;

    if (host_eventfd_take(fd)) {
        TRACE("vfio_intx_interrupt", "%s", vdev->vbasedev->name);
        host_eventfd_signal(vdev->intx.line);
    }
    return G_SOURCE_CONTINUE;
}

static gboolean intx_resampled(gint fd, GIOCondition condition, gpointer opaque)
{
    VFIOPCIDevice *vdev = opaque;
    g_autoptr(GError) err = NULL;

    if (!host_eventfd_take(fd)) {
        return G_SOURCE_CONTINUE;
    }
    TRACE("vfio_intx_eoi", "%s", vdev->vbasedev->name);
    if (vfio_device_set_irqs(vdev->vbasedev, VFIO_PCI_INTX_IRQ_INDEX, VFIO_IRQ_SET_ACTION_UNMASK, 0,
                             1, NULL, &err) < 0) {
        vfio_pci_warn_interrupt(vdev, err);
    }
    return G_SOURCE_CONTINUE;
}

static bool make_eventfd(int *fd, GError **errp)
{
    *fd = host_eventfd();
    return *fd >= 0 || error_set_errno(errp, errno, "cannot make an eventfd for INTx");
}

/* True and no source: the device's driver unmasks when the guest has served the interrupt. */
static bool set_unmask(VFIOPCIDevice *vdev, GError **errp)
{
    VFIOINTx *intx = &vdev->intx;
    g_autoptr(GError) err = NULL;
    int ret = vdev->no_kvm_intx
                  ? -ENOTTY
                  : vfio_device_set_irqs(vdev->vbasedev, VFIO_PCI_INTX_IRQ_INDEX,
                                         VFIO_IRQ_SET_ACTION_UNMASK, 0, 1, &intx->resample, &err);

    if (ret < 0 && ret != -ENOTTY) {
        g_propagate_error(errp, g_steal_pointer(&err));
        return false;
    }
    if (err) {
        g_prefix_error(&err, "INTx is unmasked by this process, which is slower: ");
        vfio_pci_warn_once(vdev, VFIO_WARN_UNMASK, err);
    }
    intx->user_unmask = ret < 0;
    if (ret < 0) {
        intx->unmask = g_unix_fd_add(intx->resample, G_IO_IN, intx_resampled, vdev);
    }
    return true;
}

/* From the eventfds to the guest. */
static bool connect_line(VFIOPCIDevice *vdev, int gsi, GError **errp)
{
    VFIOINTx *intx = &vdev->intx;

    if (vdev->no_kvm_intx) {
        if (intx->line < 0 && !make_eventfd(&intx->line, errp)) {
            return false;
        }
        intx->relay = g_unix_fd_add(intx->trigger, G_IO_IN, intx_signalled, vdev);
    }
    if (!irq_bind(gsi, intx->relay ? intx->line : intx->trigger, intx->resample, errp)) {
        return false;
    }
    intx->gsi = gsi;
    return true;
}

static bool intx_set_up(VFIOPCIDevice *vdev, int gsi, GError **errp)
{
    VFIOINTx *intx = &vdev->intx;

    if (!make_eventfd(&intx->trigger, errp) || !make_eventfd(&intx->resample, errp) ||
        !connect_line(vdev, gsi, errp)) {
        return false;
    }
    if (vfio_device_set_irqs(vdev->vbasedev, VFIO_PCI_INTX_IRQ_INDEX, VFIO_IRQ_SET_ACTION_TRIGGER,
                             0, 1, &intx->trigger, errp) < 0) {
        return false;
    }
    intx->armed = true;
    return set_unmask(vdev, errp);
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

static void remove_source(guint *source)
{
    if (*source) {
        g_source_remove(*source);
        *source = 0;
    }
}

void vfio_intx_disconnect(VFIOPCIDevice *vdev)
{
    VFIOINTx *intx = &vdev->intx;

    if (intx->gsi >= 0) {
        irq_unbind(intx->gsi, intx->relay ? intx->line : intx->trigger);
        intx->gsi = -1;
    }
    remove_source(&intx->relay);
    remove_source(&intx->unmask);
}

bool vfio_intx_connect(VFIOPCIDevice *vdev, GError **errp)
{
    VFIOINTx *intx = &vdev->intx;
    int gsi = pci_intx_gsi(&vdev->parent);

    if (gsi < 0 || intx->trigger < 0 || intx->gsi >= 0) {
        return true;
    }
    if (!connect_line(vdev, gsi, errp)) {
        return false;
    }
    if (intx->user_unmask) {
        intx->unmask = g_unix_fd_add(intx->resample, G_IO_IN, intx_resampled, vdev);
    }
    host_eventfd_signal(intx->resample);
    return true;
}

void vfio_intx_disable(VFIOPCIDevice *vdev)
{
    VFIOINTx *intx = &vdev->intx;
    g_autoptr(GError) err = NULL;

    TRACE("vfio_intx_disable", "%s gsi %d", vdev->vbasedev->name, intx->gsi);
    if (intx->armed && !vfio_disable_irqindex(vdev->vbasedev, VFIO_PCI_INTX_IRQ_INDEX, &err)) {
        vfio_pci_warn_interrupt(vdev, err);
    }
    intx->armed = false;
    vfio_intx_disconnect(vdev);
    host_fd_close(&intx->trigger);
    host_fd_close(&intx->line);
    host_fd_close(&intx->resample);
}
