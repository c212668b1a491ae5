/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What stands behind a vector of MSI or MSI-X: an eventfd that the kernel's driver signals, bound to
 * a route of the interrupt controller.
 *
 * A vector's eventfd and route are made when the guest first uses it and stay until the device
 * leaves MSI(-X).  A masked vector is only unbound: its eventfd goes on collecting, which is what
 * the pending bits show, and binding it again delivers what came in the meantime.  Without a route
 * (none left, or the user wants none) the main loop waits on the eventfd and sends the message.
 */
#include "hw/vfio/pci.h"

#include <errno.h>
#include <glib-unix.h>

#include "migration/cpr.h"
#include "util/error.h"
#include "util/hostcalls.h"
#include "util/trace.h"

/* ---- one vector ---- */

static gboolean vector_signalled(gint fd, GIOCondition condition, gpointer opaque)
{
    VFIOMSIVector *v = opaque;
    PCIDevice *pdev = &v->vdev->parent;

    if (host_eventfd_take(fd)) {
        irq_send_msi(v->vdev->interrupt == VFIO_INT_MSIX ? msix_message(pdev, v->nr)
                                                         : msi_message(pdev, v->nr));
    }
    return G_SOURCE_CONTINUE;
}

bool vfio_vector_prepare(VFIOMSIVector *v, MSIMessage msg, bool no_route, GError **errp)
{
    g_autoptr(GError) err = NULL;

    if (v->trigger < 0) {
        v->trigger = host_eventfd();
        if (v->trigger < 0) {
            return error_set_errno(errp, errno, "cannot make an eventfd for vector %u", v->nr);
        }
        v->armed = false;
    }
    if (v->route >= 0) {
        irq_route_update(v->route, msg);
    } else if (!no_route) {
        v->route = irq_route_add(msg, &err);
        if (v->route < 0) {
            TRACE("vfio_vector_no_route", "%s vector %u: %s", v->vdev->vbasedev->name, v->nr,
                  err->message);
        }
    }
    return true;
}

void vfio_vector_connect(VFIOMSIVector *v)
{
    g_autoptr(GError) err = NULL;

    if (v->bound || v->source || cpr_is_incoming()) { /* then pci-cpr.c does it */
        return;
    }
    if (v->route >= 0 && irq_bind(v->route, v->trigger, -1, &err)) {
        v->bound = true;
        return;
    }
    if (err) {
        TRACE("vfio_vector_no_irqfd", "%s vector %u: %s", v->vdev->vbasedev->name, v->nr,
              err->message);
    }
    v->source = g_unix_fd_add(v->trigger, G_IO_IN, vector_signalled, v);
}

void vfio_vector_disconnect(VFIOMSIVector *v)
{
    if (v->bound) {
        irq_unbind(v->route, v->trigger);
        v->bound = false;
    }
    if (v->source) {
        g_source_remove(v->source);
        v->source = 0;
    }
}

/* ---- all of them ---- */

int vfio_vectors_arm(VFIOPCIDevice *vdev, unsigned index, unsigned n, GError **errp)
{
    g_autofree int32_t *fds = g_new(int32_t, n);
    int ret;

    for (unsigned i = 0; i < n; i++) {
        fds[i] = vdev->vectors[i].trigger;
    }
    ret = vfio_device_set_irqs(vdev->vbasedev, index, VFIO_IRQ_SET_ACTION_TRIGGER, 0, n, fds, errp);
    if (ret) {
        return ret;
    }
    vdev->nr_enabled = n;
    for (unsigned i = 0; i < n; i++) {
        VFIOMSIVector *v = &vdev->vectors[i];

        v->armed = fds[i] >= 0;
        if (v->armed && v->missed) {
            host_eventfd_signal(fds[i]);
            v->missed = false;
        }
    }
    return 0;
}

bool vfio_vectors_disarm(VFIOPCIDevice *vdev, unsigned index, GError **errp)
{
    if (!vfio_disable_irqindex(vdev->vbasedev, index, errp)) {
        return false;
    }
    vdev->nr_enabled = 0;
    for (unsigned i = 0; i < vdev->nr_vectors; i++) {
        vdev->vectors[i].missed |= vdev->vectors[i].armed;
        vdev->vectors[i].armed = false;
    }
    return true;
}

void vfio_vectors_release(VFIOPCIDevice *vdev, unsigned index)
{
    g_autoptr(GError) err = NULL, err2 = NULL;
    bool released = false;

    for (unsigned i = 0; i < vdev->nr_vectors; i++) {
        vfio_vector_disconnect(&vdev->vectors[i]);
    }
    if (vdev->nr_enabled && !vfio_disable_irqindex(vdev->vbasedev, index, &err)) {
        vfio_pci_warn_interrupt(vdev, err);
    }
    vdev->nr_enabled = 0;
    for (unsigned i = 0; i < vdev->nr_vectors; i++) {
        VFIOMSIVector *v = &vdev->vectors[i];

        if (v->route >= 0) {
            irq_route_release(v->route);
            v->route = -1;
            released = true;
        }
        host_fd_close(&v->trigger);
        v->armed = false;
        v->missed = false;
    }
    if (released && !irq_routes_commit(&err2)) {
        vfio_pci_warn_interrupt(vdev, err2);
    }
}

void vfio_vectors_need(VFIOPCIDevice *vdev, unsigned n)
{
    unsigned old = vdev->nr_vectors;

    if (n <= old) {
        return;
    }
    vdev->vectors = g_renew(VFIOMSIVector, vdev->vectors, n);
    for (unsigned i = old; i < n; i++) {
        vdev->vectors[i] = (VFIOMSIVector) { .vdev = vdev, .nr = i, .trigger = -1, .route = -1 };
    }
    vdev->nr_vectors = n;
}

bool vfio_vector_pending(const VFIOMSIVector *v)
{
    GPollFD poll = { .fd = v->trigger, .events = G_IO_IN };

    return v->trigger >= 0 && !v->bound && !v->source && g_poll(&poll, 1, 0) == 1;
}

void vfio_msi_fini(VFIOPCIDevice *vdev)
{
    msix_fini(&vdev->parent);
    vdev->parent.msi_cap = 0;
    g_clear_pointer(&vdev->vectors, g_free);
    vdev->nr_vectors = 0;
}
