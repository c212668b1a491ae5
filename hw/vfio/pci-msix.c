/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * MSI-X of a vfio-pci device.  The guest's capability and table are emulated (hw/pci); a vector comes
 * to life when the guest first unmasks it.
 *
 * The kernel enables vectors 0 … n-1.  Where it cannot add to them later (NORESIZE), using a higher
 * one turns the index off and on again with all of them.  An interrupt that comes in between is
 * lost, and a driver that waits for it may wait for ever; so each vector that was on is signalled
 * once afterwards.  One interrupt too many is safe: a message says that something may have happened,
 * never what, and drivers look at the device.
 */
#include "hw/vfio/pci.h"

#include <inttypes.h>

#include "migration/cpr.h"
#include "util/error.h"
#include "util/trace.h"

/* ---- MSI-X: use and release of vectors ---- */

/*
 * How many vectors the index is to be turned on with so that @top of them work.  Where it cannot
 * grow, those too that the guest has given a message and is going to unmask: so in the life of most
 * drivers it is turned on once.
 */
static unsigned msix_wanted(VFIOPCIDevice *vdev, unsigned top)
{
    unsigned n = vdev->msix.noresize ? vdev->msix.entries : top;

    while (n > top && !msix_message(&vdev->parent, n - 1).address) {
        n--;
    }
    return MIN(n, vdev->msix.limit);
}

/* Turns the index on, or off and on again, with vectors up to @top; fewer if the host has fewer. */
static bool msix_grow(VFIOPCIDevice *vdev, unsigned top, GError **errp)
{
    unsigned before = vdev->nr_enabled, n = msix_wanted(vdev, top);
    int ret;

    if (n <= before) {
        return true;
    }
    if (before && !vfio_vectors_disarm(vdev, VFIO_PCI_MSIX_IRQ_INDEX, errp)) {
        return false;
    }
    ret = vfio_vectors_arm(vdev, VFIO_PCI_MSIX_IRQ_INDEX, n, errp);
    if (ret > 0 && (unsigned)ret < n) {
        vdev->msix.limit = (unsigned)ret;
        ret = vfio_vectors_arm(vdev, VFIO_PCI_MSIX_IRQ_INDEX, vdev->msix.limit, errp);
    }
    if (ret > 0) {
        error_set(errp, "the host has only %d MSI-X vectors for it", ret);
    }
    if (ret && before) { /* those that did work shall go on */
        vfio_vectors_arm(vdev, VFIO_PCI_MSIX_IRQ_INDEX, before, NULL);
    }
    return !ret;
}

/* Vectors [first, end) come to an index that is on; if the host cannot give all, as many as it can. */
static bool msix_arm(VFIOPCIDevice *vdev, unsigned first, unsigned end, GError **errp)
{
    g_autofree int32_t *fds = g_new(int32_t, end - first);
    g_autoptr(GError) err = NULL;
    int ret;

    for (unsigned i = first; i < end; i++) {
        fds[i - first] = vdev->vectors[i].trigger;
    }
    ret = vfio_device_set_irqs(vdev->vbasedev, VFIO_PCI_MSIX_IRQ_INDEX, VFIO_IRQ_SET_ACTION_TRIGGER,
                               first, end - first, fds, &err);
    for (unsigned i = first; i < end; i++) {
        if (!ret) {
            vdev->vectors[i].armed = true;
        } else if (end - first > 1 && !msix_arm(vdev, i, i + 1, errp)) {
            return false;
        }
    }
    if (!ret) {
        vdev->nr_enabled = MAX(vdev->nr_enabled, end);
    } else if (end - first == 1) {
        return error_set(errp, "it gets no MSI-X vector %u: %s", first,
                         err ? err->message : "the host has no more of them");
    }
    return true;
}

/* In use, but the kernel does not have its trigger. */
static bool is_waiting(VFIOPCIDevice *vdev, unsigned nr)
{
    const VFIOMSIVector *v = &vdev->vectors[nr];

    return v->trigger >= 0 && !v->armed && !msix_is_masked(&vdev->parent, nr);
}

/* Puts vectors of [first, end) that have got their route to work. */
static bool msix_flush(VFIOPCIDevice *vdev, unsigned first, unsigned end, GError **errp)
{
    const VFIOMSIXInfo *msix = &vdev->msix;
    unsigned top = 0, room;

    if (!irq_routes_commit(errp)) {
        return false;
    }
    for (unsigned i = first; i < end; i++) {
        if (vdev->vectors[i].trigger >= 0 && !msix_is_masked(&vdev->parent, i)) {
            vfio_vector_connect(&vdev->vectors[i]);
            top = i + 1;
        }
    }
    if (cpr_is_incoming()) { /* the kernel has them since the old process */
        return true;
    }
    if ((!vdev->nr_enabled || msix->noresize) && !msix_grow(vdev, top, errp)) {
        return false;
    }
    room = msix->noresize ? vdev->nr_enabled : msix->entries;
    for (unsigned i = first, run; i < MIN(end, room); i = run + 1) {
        for (run = i; run < MIN(end, room) && is_waiting(vdev, run); run++) {
        }
        if (run > i && !msix_arm(vdev, i, run, errp)) {
            return false;
        }
    }
    return top <= room ||
           error_set(errp, "the host has only %u of %u MSI-X vectors for it", room, top);
}

/* What the kernel does not have then stays silent until the guest unmasks it again. */
static bool msix_flush_or_warn(VFIOPCIDevice *vdev, unsigned first, unsigned end)
{
    g_autoptr(GError) err = NULL;

    if (msix_flush(vdev, first, end, &err)) {
        return true;
    }
    vfio_pci_warn_interrupt(vdev, err);
    for (unsigned i = first; i < end; i++) {
        if (!vdev->vectors[i].armed) {
            vfio_vector_disconnect(&vdev->vectors[i]);
        }
    }
    return false;
}

static bool vfio_msix_vector_use(PCIDevice *pdev, unsigned nr, MSIMessage msg)
{
    VFIOPCIDevice *vdev = VFIO_PCI(pdev);
    g_autoptr(GError) err = NULL;

    TRACE("vfio_msix_vector_do_use", "%s vector %u address 0x%" PRIx64 " data 0x%x",
          vdev->vbasedev->name, nr, msg.address, msg.data);
    if (!vfio_pci_set_interrupt(vdev, VFIO_INT_MSIX, &err) ||
        !vfio_vector_prepare(&vdev->vectors[nr], msg, vdev->no_kvm_msix, &err)) {
        vfio_pci_warn_interrupt(vdev, err);
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

    TRACE("vfio_msix_vector_release", "%s vector %u", vdev->vbasedev->name, nr);
    vfio_vector_disconnect(&vdev->vectors[nr]);
}

static void vfio_msix_poll_pending(PCIDevice *pdev, unsigned first, unsigned end)
{
    VFIOPCIDevice *vdev = VFIO_PCI(pdev);

    for (unsigned i = first; i < end; i++) {
        msix_set_pending(pdev, i, vfio_vector_pending(&vdev->vectors[i]));
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
          vdev->vbasedev->name, msix->cap, msix->table_bar, msix->table_offset, msix->entries,
          msix->noresize);
    return true;
}

bool vfio_msix_setup(VFIOPCIDevice *vdev, uint8_t cap, GError **errp)
{
    const VFIOMSIXInfo *msix = &vdev->msix;

    if (cap != msix->cap) {
        return error_set(errp, "it has two MSI-X capabilities");
    }
    vfio_vectors_need(vdev, msix->entries);
    return msix_init(&vdev->parent, cap, msix->entries, &vdev->bars[msix->table_bar].mr,
                     (int)msix->table_bar, msix->table_offset, &vdev->bars[msix->pba_bar].mr,
                     (int)msix->pba_bar, msix->pba_offset, &vfio_msix_hooks, errp);
}

/* Vectors come one by one; see vfio_msix_vector_use(). */
bool vfio_msix_enable(VFIOPCIDevice *vdev, GError **errp)
{
    TRACE("vfio_msix_enable", "%s", vdev->vbasedev->name);
    vdev->msix.limit = UINT_MAX;
    return true;
}

void vfio_msix_disable(VFIOPCIDevice *vdev)
{
    TRACE("vfio_msix_disable", "%s", vdev->vbasedev->name);
    vfio_vectors_release(vdev, VFIO_PCI_MSIX_IRQ_INDEX);
}

void vfio_msix_settle(VFIOPCIDevice *vdev)
{
    static const int32_t none = -1;
    g_autoptr(GError) err = NULL;
    int ret;

    if (vdev->nr_enabled) {
        return;
    }
    /* One vector without a trigger: the device has MSI-X on and its INTx off. */
    ret = vfio_device_set_irqs(vdev->vbasedev, VFIO_PCI_MSIX_IRQ_INDEX, VFIO_IRQ_SET_ACTION_TRIGGER,
                               0, 1, &none, &err);
    if (!ret) {
        vdev->nr_enabled = 1;
        return;
    }
    if (ret > 0) {
        error_set(&err, "the host has no MSI-X vector for it");
    }
    vfio_pci_warn_interrupt(vdev, err);
}

/* ---- MSI-X: with another process's table ---- */

bool vfio_msix_prepare_masked(VFIOPCIDevice *vdev, GError **errp)
{
    for (unsigned i = 0; i < vdev->msix.entries; i++) {
        MSIMessage msg = msix_message(&vdev->parent, i);

        if (msg.address && !vfio_vector_prepare(&vdev->vectors[i], msg, vdev->no_kvm_msix, errp)) {
            vfio_vectors_release(vdev, VFIO_PCI_MSIX_IRQ_INDEX); /* it is not on yet */
            return false;
        }
    }
    return true;
}

bool vfio_msix_arm_masked(VFIOPCIDevice *vdev, GError **errp)
{
    unsigned top = vdev->msix.entries;

    while (top && vdev->vectors[top - 1].trigger < 0) {
        top--;
    }
    if (!irq_routes_commit(errp) ||
        ((!vdev->nr_enabled || vdev->msix.noresize) && !msix_grow(vdev, top, errp))) {
        return false;
    }
    for (unsigned i = 0; i < top; i++) {
        if (vdev->vectors[i].trigger >= 0 && !vdev->vectors[i].armed &&
            !msix_arm(vdev, i, i + 1, errp)) {
            return false;
        }
    }
    return true;
}
