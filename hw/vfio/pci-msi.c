/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * MSI and MSI-X of a vfio-pci device.  The guest's capability and table are emulated (hw/pci); here
 * is what stands behind each vector: an eventfd that the kernel's driver signals, bound to a route
 * of the interrupt controller.
 *
 * A vector's eventfd and route are made when the guest first uses it and stay until the device
 * leaves MSI(-X).  A masked vector is only unbound: its eventfd goes on collecting, which is what
 * the pending bits show, and binding it again delivers what came in the meantime.  Without a route
 * (none left, or the user wants none) the main loop waits on the eventfd and sends the message.
 *
 * The kernel enables vectors 0 … n-1.  Where it cannot add to them later (NORESIZE), using a higher
 * one turns the index off and on again with all of them.
 */
#include "hw/vfio/pci.h"

#include <errno.h>
#include <glib-unix.h>
#include <inttypes.h>
#include <sys/eventfd.h>

#include "util/error.h"
#include "util/hostcalls.h"
#include "util/trace.h"

#define MSI_MAX_VECTORS 32

static const char *device_name(VFIOPCIDevice *vdev)
{
    return vdev->vbasedev->name;
}

/* ---- one vector ---- */

static gboolean vector_signalled(gint fd, GIOCondition condition, gpointer opaque)
{
    VFIOMSIVector *v = opaque;
    PCIDevice *pdev = &v->vdev->parent;
    uint64_t count;

    if (hostcalls->read(fd, &count, sizeof(count)) == sizeof(count)) {
        irq_send_msi(v->vdev->interrupt == VFIO_INT_MSIX ? msix_message(pdev, v->nr)
                                                         : msi_message(pdev, v->nr));
    }
    return G_SOURCE_CONTINUE;
}

static bool vector_prepare(VFIOMSIVector *v, MSIMessage msg, bool no_route, GError **errp)
{
    g_autoptr(GError) err = NULL;

    if (v->trigger < 0) {
        v->trigger = hostcalls->eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (v->trigger < 0) {
            return error_set_errno(errp, errno, "cannot make an eventfd for vector %u", v->nr);
        }
        v->armed = false;
        if (!no_route) {
            v->route = irq_route_add(msg, &err);
            if (v->route < 0) {
                TRACE("vfio_vector_no_route", "%s vector %u: %s", device_name(v->vdev), v->nr,
                      err->message);
            }
        }
    } else if (v->route >= 0) {
        irq_route_update(v->route, msg);
    }
    return true;
}

/* After the routes are committed: from now on a signal reaches the guest. */
static void vector_connect(VFIOMSIVector *v)
{
    g_autoptr(GError) err = NULL;

    if (v->bound || v->source) {
        return;
    }
    if (v->route >= 0 && irq_bind(v->route, v->trigger, -1, &err)) {
        v->bound = true;
        return;
    }
    if (err) {
        TRACE("vfio_vector_no_irqfd", "%s vector %u: %s", device_name(v->vdev), v->nr,
              err->message);
    }
    v->source = g_unix_fd_add(v->trigger, G_IO_IN, vector_signalled, v);
}

static void vector_disconnect(VFIOMSIVector *v)
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

/* Enables the index with vectors 0 … @n-1; more than 0: so many could be had. */
static int vectors_arm(VFIOPCIDevice *vdev, unsigned index, unsigned n, GError **errp)
{
    g_autofree int32_t *fds = g_new(int32_t, n);
    int ret;

    for (unsigned i = 0; i < n; i++) {
        fds[i] = vdev->vectors[i].trigger;
    }
    ret = vfio_device_set_irqs(vdev->vbasedev, index, VFIO_IRQ_SET_ACTION_TRIGGER, 0, n, fds, errp);
    if (!ret) {
        vdev->nr_enabled = n;
        for (unsigned i = 0; i < n; i++) {
            vdev->vectors[i].armed = fds[i] >= 0;
        }
    }
    return ret;
}

static void vectors_release(VFIOPCIDevice *vdev, unsigned index)
{
    g_autoptr(GError) err = NULL;
    bool released = false;

    for (unsigned i = 0; i < vdev->nr_vectors; i++) {
        vector_disconnect(&vdev->vectors[i]);
    }
    if (vdev->nr_enabled) {
        vfio_disable_irqindex(vdev->vbasedev, index);
        vdev->nr_enabled = 0;
    }
    for (unsigned i = 0; i < vdev->nr_vectors; i++) {
        VFIOMSIVector *v = &vdev->vectors[i];

        if (v->route >= 0) {
            irq_route_release(v->route);
            v->route = -1;
            released = true;
        }
        host_fd_close(&v->trigger);
        v->armed = false;
    }
    if (released && !irq_routes_commit(&err)) {
        warn_report("vfio %s: %s", device_name(vdev), err->message);
    }
}

static void need_vectors(VFIOPCIDevice *vdev, unsigned n)
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

/* ---- MSI ---- */

bool vfio_msi_setup(VFIOPCIDevice *vdev, uint8_t cap, GError **errp)
{
    uint16_t flags = pci_get_word(vdev->parent.config + cap + PCI_MSI_FLAGS);
    unsigned vectors = 1U << ((flags & PCI_MSI_FLAGS_QMASK) >> 1);

    if (vectors > MSI_MAX_VECTORS) {
        return error_set(errp, "its MSI capability names %u vectors", vectors);
    }
    need_vectors(vdev, vectors);
    return msi_init(&vdev->parent, cap, vectors, flags & PCI_MSI_FLAGS_64BIT,
                    flags & PCI_MSI_FLAGS_MASKBIT, errp);
}

/* Routes as the capability says now, and each vector connected or not as its mask says. */
static bool msi_sync(VFIOPCIDevice *vdev, GError **errp)
{
    PCIDevice *pdev = &vdev->parent;

    for (unsigned i = 0; i < vdev->nr_msi; i++) {
        if (!vector_prepare(&vdev->vectors[i], msi_message(pdev, i), vdev->no_kvm_msi, errp)) {
            return false;
        }
    }
    if (!irq_routes_commit(errp)) {
        return false;
    }
    for (unsigned i = 0; i < vdev->nr_msi; i++) {
        if (msi_is_masked(pdev, i)) {
            vector_disconnect(&vdev->vectors[i]);
        } else {
            vector_connect(&vdev->vectors[i]);
        }
    }
    return true;
}

static bool msi_set_up(VFIOPCIDevice *vdev, GError **errp)
{
    int ret;

    vdev->nr_msi = MIN(msi_nr_vectors(&vdev->parent), vdev->nr_vectors);
    if (!msi_sync(vdev, errp)) {
        return false;
    }
    ret = vectors_arm(vdev, VFIO_PCI_MSI_IRQ_INDEX, vdev->nr_msi, errp);
    if (ret > 0 && (unsigned)ret < vdev->nr_msi) {
        /* The others stay silent; a driver that knows its device falls back to the first. */
        warn_report("vfio %s: the host has %d of %u MSI vectors for it", device_name(vdev), ret,
                    vdev->nr_msi);
        ret = vectors_arm(vdev, VFIO_PCI_MSI_IRQ_INDEX, (unsigned)ret, errp);
    }
    if (ret > 0) {
        error_set(errp, "the host has only %d MSI vectors for it", ret);
    }
    return !ret;
}

bool vfio_msi_enable(VFIOPCIDevice *vdev, GError **errp)
{
    if (!msi_set_up(vdev, errp)) {
        vfio_msi_disable(vdev);
        return false;
    }
    TRACE("vfio_msi_enable", "%s %u vectors", device_name(vdev), vdev->nr_msi);
    return true;
}

void vfio_msi_disable(VFIOPCIDevice *vdev)
{
    TRACE("vfio_msi_disable", "%s", device_name(vdev));
    vectors_release(vdev, VFIO_PCI_MSI_IRQ_INDEX);
    vdev->nr_msi = 0;
}

void vfio_msi_update(VFIOPCIDevice *vdev)
{
    g_autoptr(GError) err = NULL;
    bool ok;

    if (MIN(msi_nr_vectors(&vdev->parent), vdev->nr_vectors) == vdev->nr_msi) {
        ok = msi_sync(vdev, &err);
    } else {
        vfio_msi_disable(vdev);
        ok = vfio_msi_enable(vdev, &err);
    }
    if (!ok) {
        warn_report("vfio %s: %s", device_name(vdev), err->message);
    }
}

/* ---- MSI-X: use and release of vectors ---- */

/* Puts vectors of [first, end) that have got their route to work. */
static bool msix_flush(VFIOPCIDevice *vdev, unsigned first, unsigned end, GError **errp)
{
    unsigned before = vdev->nr_enabled, top = before;
    int ret = 0;

    if (!irq_routes_commit(errp)) {
        return false;
    }
    for (unsigned i = first; i < end; i++) {
        VFIOMSIVector *v = &vdev->vectors[i];

        if (v->trigger >= 0 && !msix_is_masked(&vdev->parent, i)) {
            vector_connect(v);
            top = MAX(top, i + 1);
        }
    }
    if (top > before && (!before || vdev->msix.noresize)) {
        if (before) {
            vfio_disable_irqindex(vdev->vbasedev, VFIO_PCI_MSIX_IRQ_INDEX);
            vdev->nr_enabled = 0;
        }
        ret = vectors_arm(vdev, VFIO_PCI_MSIX_IRQ_INDEX, top, errp);
        if (ret && before) { /* those that did work shall go on */
            vectors_arm(vdev, VFIO_PCI_MSIX_IRQ_INDEX, before, NULL);
        }
    }
    for (unsigned i = first; i < end && !ret; i++) {
        VFIOMSIVector *v = &vdev->vectors[i];

        if (v->trigger >= 0 && !v->armed) {
            ret = vfio_device_set_irqs(vdev->vbasedev, VFIO_PCI_MSIX_IRQ_INDEX,
                                       VFIO_IRQ_SET_ACTION_TRIGGER, i, 1, &v->trigger, errp);
            if (!ret) {
                v->armed = true;
                vdev->nr_enabled = MAX(vdev->nr_enabled, i + 1);
            }
        }
    }
    if (ret > 0) {
        error_set(errp, "the host has only %d of %u MSI-X vectors for it", ret, top);
    }
    return !ret;
}

static bool msix_flush_or_warn(VFIOPCIDevice *vdev, unsigned first, unsigned end)
{
    g_autoptr(GError) err = NULL;

    if (msix_flush(vdev, first, end, &err)) {
        return true;
    }
    warn_report("vfio %s: %s", device_name(vdev), err->message);
    for (unsigned i = first; i < end; i++) {
        vector_disconnect(&vdev->vectors[i]);
    }
    return false;
}

static bool vfio_msix_vector_use(PCIDevice *pdev, unsigned nr, MSIMessage msg)
{
    VFIOPCIDevice *vdev = VFIO_PCI(pdev);
    g_autoptr(GError) err = NULL;

    TRACE("vfio_msix_vector_do_use", "%s vector %u address 0x%" PRIx64 " data 0x%x",
          device_name(vdev), nr, msg.address, msg.data);
    if (!vfio_pci_set_interrupt(vdev, VFIO_INT_MSIX, &err) ||
        !vector_prepare(&vdev->vectors[nr], msg, vdev->no_kvm_msix, &err)) {
        warn_report("vfio %s: %s", device_name(vdev), err->message);
        return false;
    }
    if (!vdev->msix_batch) {
        return msix_flush_or_warn(vdev, nr, nr + 1);
    }
    vdev->batch_first = MIN(vdev->batch_first, nr);
    vdev->batch_end = MAX(vdev->batch_end, nr + 1);
    return true;
}

static void vfio_msix_vector_release(PCIDevice *pdev, unsigned nr)
{
    VFIOPCIDevice *vdev = VFIO_PCI(pdev);

    TRACE("vfio_msix_vector_release", "%s vector %u", device_name(vdev), nr);
    vector_disconnect(&vdev->vectors[nr]);
}

static void vfio_msix_poll_pending(PCIDevice *pdev, unsigned first, unsigned end)
{
    VFIOPCIDevice *vdev = VFIO_PCI(pdev);

    for (unsigned i = first; i < end; i++) {
        const VFIOMSIVector *v = &vdev->vectors[i];
        GPollFD poll = { .fd = v->trigger, .events = G_IO_IN };

        if (v->trigger >= 0) {
            msix_set_pending(pdev, i, !v->bound && !v->source && g_poll(&poll, 1, 0) == 1);
        }
    }
}

static void vfio_msix_batch_begin(PCIDevice *pdev)
{
    VFIOPCIDevice *vdev = VFIO_PCI(pdev);

    vdev->msix_batch = true;
    vdev->batch_first = UINT_MAX;
    vdev->batch_end = 0;
}

static void vfio_msix_batch_end(PCIDevice *pdev)
{
    VFIOPCIDevice *vdev = VFIO_PCI(pdev);

    vdev->msix_batch = false;
    if (vdev->batch_end) {
        msix_flush_or_warn(vdev, vdev->batch_first, vdev->batch_end);
    }
}

static const MSIXHooks vfio_msix_hooks = {
    .vector_use = vfio_msix_vector_use,
    .vector_release = vfio_msix_vector_release,
    .poll_pending = vfio_msix_poll_pending,
    .batch_begin = vfio_msix_batch_begin,
    .batch_end = vfio_msix_batch_end,
};

/* ---- MSI-X: the capability ---- */

bool vfio_msix_early_setup(VFIOPCIDevice *vdev, GError **errp)
{
    const uint8_t *cap = vdev->parent.config;
    VFIOMSIXInfo *msix = &vdev->msix;
    struct vfio_irq_info info;
    uint32_t table, pba;

    *msix = (VFIOMSIXInfo) { .cap = pci_find_capability(&vdev->parent, PCI_CAP_ID_MSIX) };
    if (!msix->cap) {
        return true;
    }
    if (msix->cap > PCI_CONFIG_SIZE - 12) {
        return error_set(errp, "its MSI-X capability at 0x%x is cut off", msix->cap);
    }
    cap += msix->cap;
    table = pci_get_long(cap + PCI_MSIX_TABLE);
    pba = pci_get_long(cap + PCI_MSIX_PBA);
    msix->entries = (pci_get_word(cap + PCI_MSIX_FLAGS) & PCI_MSIX_FLAGS_QSIZE) + 1U;
    msix->table_bar = table & PCI_MSIX_TABLE_BIR;
    msix->table_offset = table & PCI_MSIX_TABLE_OFFSET;
    msix->pba_bar = pba & PCI_MSIX_PBA_BIR;
    msix->pba_offset = pba & PCI_MSIX_PBA_OFFSET;
    if (msix->table_bar >= PCI_NUM_BARS || msix->pba_bar >= PCI_NUM_BARS) {
        return error_set(errp, "its MSI-X table and pending bits are in BARs %u and %u",
                         msix->table_bar, msix->pba_bar);
    }
    if (!vfio_device_get_irq_info(vdev->vbasedev, VFIO_PCI_MSIX_IRQ_INDEX, &info, errp)) {
        return false;
    }
    if (info.count < msix->entries) {
        return error_set(errp, "its MSI-X table has %u entries, of which the host has %u",
                         msix->entries, info.count);
    }
    msix->noresize = info.flags & VFIO_IRQ_INFO_NORESIZE;
    TRACE("vfio_msix_early_setup", "%s cap 0x%x table BAR %u 0x%x entries %u noresize %d",
          device_name(vdev), msix->cap, msix->table_bar, msix->table_offset, msix->entries,
          msix->noresize);
    return true;
}

bool vfio_msix_setup(VFIOPCIDevice *vdev, uint8_t cap, GError **errp)
{
    const VFIOMSIXInfo *msix = &vdev->msix;

    if (cap != msix->cap) {
        return error_set(errp, "it has two MSI-X capabilities");
    }
    need_vectors(vdev, msix->entries);
    return msix_init(&vdev->parent, cap, msix->entries, &vdev->bars[msix->table_bar].mr,
                     (int)msix->table_bar, msix->table_offset, &vdev->bars[msix->pba_bar].mr,
                     (int)msix->pba_bar, msix->pba_offset, &vfio_msix_hooks, errp);
}

void vfio_msi_fini(VFIOPCIDevice *vdev)
{
    msix_fini(&vdev->parent);
    vdev->parent.msi_cap = 0;
    g_clear_pointer(&vdev->vectors, g_free);
    vdev->nr_vectors = 0;
}

/* Vectors come one by one; see vfio_msix_vector_use(). */
bool vfio_msix_enable(VFIOPCIDevice *vdev, GError **errp)
{
    TRACE("vfio_msix_enable", "%s", device_name(vdev));
    return true;
}

void vfio_msix_disable(VFIOPCIDevice *vdev)
{
    TRACE("vfio_msix_disable", "%s", device_name(vdev));
    vectors_release(vdev, VFIO_PCI_MSIX_IRQ_INDEX);
}

void vfio_msix_settle(VFIOPCIDevice *vdev)
{
    static const int32_t none = -1;
    g_autoptr(GError) err = NULL;

    if (vdev->nr_enabled) {
        return;
    }
    /* One vector without a trigger: the device has MSI-X on and its INTx off. */
    if (vfio_device_set_irqs(vdev->vbasedev, VFIO_PCI_MSIX_IRQ_INDEX, VFIO_IRQ_SET_ACTION_TRIGGER,
                             0, 1, &none, &err) == 0) {
        vdev->nr_enabled = 1;
    } else {
        warn_report("vfio %s: %s", device_name(vdev), err ? err->message : "no MSI-X vector");
    }
}
