/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * MSI of a vfio-pci device.  The guest's capability is emulated (hw/pci); all vectors that it enables
 * are enabled at once, as the kernel knows no other way.
 */
#include "hw/vfio/pci.h"

#include "util/error.h"
#include "util/trace.h"

#define MSI_MAX_VECTORS 32

bool vfio_msi_setup(VFIOPCIDevice *vdev, uint8_t cap, GError **errp)
{
    uint16_t flags = pci_get_word(vdev->parent.config + cap + PCI_MSI_FLAGS);
    unsigned vectors = 1U << ((flags & PCI_MSI_FLAGS_QMASK) >> 1);

    if (vectors > MSI_MAX_VECTORS) {
        return error_set(errp, "its MSI capability names %u vectors", vectors);
    }
    vfio_vectors_need(vdev, vectors);
    return msi_init(&vdev->parent, cap, vectors, flags & PCI_MSI_FLAGS_64BIT,
                    flags & PCI_MSI_FLAGS_MASKBIT, errp);
}

bool vfio_msi_sync(VFIOPCIDevice *vdev, GError **errp)
{
    PCIDevice *pdev = &vdev->parent;

    for (unsigned i = 0; i < vdev->nr_msi; i++) {
        if (!vfio_vector_prepare(&vdev->vectors[i], msi_message(pdev, i), vdev->no_kvm_msi, errp)) {
            return false;
        }
    }
    if (!irq_routes_commit(errp)) {
        return false;
    }
    for (unsigned i = 0; i < vdev->nr_msi; i++) {
        if (msi_is_masked(pdev, i)) {
            vfio_vector_disconnect(&vdev->vectors[i]);
        } else {
            vfio_vector_connect(&vdev->vectors[i]);
        }
    }
    return true;
}

static bool msi_set_up(VFIOPCIDevice *vdev, GError **errp)
{
    g_autoptr(GError) fewer = NULL;
    int ret;

    vdev->nr_msi = MIN(msi_nr_vectors(&vdev->parent), vdev->nr_vectors);
    if (!vfio_msi_sync(vdev, errp)) {
        return false;
    }
    ret = vfio_vectors_arm(vdev, VFIO_PCI_MSI_IRQ_INDEX, vdev->nr_msi, errp);
    if (ret > 0 && (unsigned)ret < vdev->nr_msi) {
        /* The others stay silent; a driver that knows its device falls back to the first. */
        error_set(&fewer, "the host has only %d of %u MSI vectors for it", ret, vdev->nr_msi);
        vfio_pci_warn_interrupt(vdev, fewer);
        ret = vfio_vectors_arm(vdev, VFIO_PCI_MSI_IRQ_INDEX, (unsigned)ret, errp);
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
    TRACE("vfio_msi_enable", "%s %u vectors", vdev->vbasedev->name, vdev->nr_msi);
    return true;
}

void vfio_msi_disable(VFIOPCIDevice *vdev)
{
    TRACE("vfio_msi_disable", "%s", vdev->vbasedev->name);
    vfio_vectors_release(vdev, VFIO_PCI_MSI_IRQ_INDEX);
    vdev->nr_msi = 0;
}

void vfio_msi_update(VFIOPCIDevice *vdev)
{
    g_autoptr(GError) err = NULL;
    bool ok;

    if (MIN(msi_nr_vectors(&vdev->parent), vdev->nr_vectors) == vdev->nr_msi) {
        ok = vfio_msi_sync(vdev, &err);
    } else {
        vfio_msi_disable(vdev);
        ok = vfio_msi_enable(vdev, &err);
    }
    if (!ok) {
        vfio_pci_warn_interrupt(vdev, err);
    }
}

void vfio_msi_poll_pending(VFIOPCIDevice *vdev)
{
    uint8_t *cap = vdev->parent.config + vdev->parent.msi_cap;
    uint16_t flags = pci_get_word(cap + PCI_MSI_FLAGS);
    uint32_t pending = 0;

    if (!(flags & PCI_MSI_FLAGS_MASKBIT)) {
        return;
    }
    for (unsigned i = 0; i < vdev->nr_msi; i++) {
        pending |= (uint32_t)vfio_vector_pending(&vdev->vectors[i]) << i;
    }
    pci_set_long(cap + (flags & PCI_MSI_FLAGS_64BIT ? PCI_MSI_PENDING_64 : PCI_MSI_PENDING_32),
                 pending);
}
