/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * x-msix-relocation: the guest sees MSI-X table and pending bits elsewhere than the device has
 * them, so that no page of the device's is emulated in part and all that the kernel lets us map
 * is mapped.  They get a BAR that the device does not have, or one of its BARs is made at least
 * twice as large and they lie in the upper half.  The driver in the guest must not mind either,
 * which is why the user chooses.
 */
#include "hw/vfio/pci.h"

#include "util/error.h"
#include "util/trace.h"

enum { RELOCATION_OFF, RELOCATION_AUTO, RELOCATION_BAR0 };

const char *const vfio_msix_relo_names[] = { "off",  "auto", "bar0", "bar1", "bar2",
                                             "bar3", "bar4", "bar5", NULL };

static bool is_64bit(const VFIOBAR *bar)
{
    return (bar->type & (PCI_BASE_ADDRESS_SPACE | PCI_BASE_ADDRESS_MEM_TYPE_MASK)) ==
           PCI_BASE_ADDRESS_MEM_TYPE_64;
}

/* Bytes of table and pending bits, to whole host pages and a power of two. */
static uint64_t structures_size(const VFIOMSIXInfo *msix)
{
    uint64_t needed = msix_table_size(msix->entries) + msix_pba_size(msix->entries);
    uint64_t size = (uint64_t)getpagesize();

    while (size < needed) {
        size *= 2;
    }
    return size;
}

static bool check_bar(VFIOPCIDevice *vdev, unsigned nr, GError **errp)
{
    const VFIOBAR *bar = &vdev->bars[nr];

    if (bar->type & PCI_BASE_ADDRESS_SPACE_IO) {
        return error_set(errp, "Invalid MSI-X relocation BAR %u, I/O port BAR", nr);
    }
    if (!bar->size && nr && vdev->bars[nr - 1].size && is_64bit(&vdev->bars[nr - 1])) {
        return error_set(errp, "Invalid MSI-X relocation BAR %u, consumed by 64-bit BAR %u", nr,
                         nr - 1);
    }
    if (bar->size > UINT32_MAX / 4 + 1ULL && !is_64bit(bar)) {
        return error_set(errp, "Invalid MSI-X relocation BAR %u, no space to extend 32-bit BAR",
                         nr);
    }
    /* Offsets in the capability have 32 bits, however large the BAR is. */
    return bar->size <= UINT32_MAX / 2 + 1ULL ||
           error_set(errp, "Invalid MSI-X relocation BAR %u, the table would lie above 4 GiB", nr);
}

/* A BAR of their own: 64-bit where the next register is free too; reading it has no effects. */
static void add_bar(VFIOPCIDevice *vdev, VFIOBAR *bar, uint64_t size)
{
    bool wide = bar->nr < PCI_NUM_BARS - 1 && !vdev->bars[bar->nr + 1].size;

    bar->size = size;
    bar->type = PCI_BASE_ADDRESS_MEM_PREFETCH | (wide ? PCI_BASE_ADDRESS_MEM_TYPE_64 : 0);
    vdev->msix.table_offset = 0;
}

static void extend_bar(VFIOPCIDevice *vdev, VFIOBAR *bar, uint64_t size)
{
    bar->size = MAX(bar->size, size) * 2;
    vdev->msix.table_offset = (uint32_t)(bar->size / 2);
}

bool vfio_msix_relocate(VFIOPCIDevice *vdev, GError **errp)
{
    VFIOMSIXInfo *msix = &vdev->msix;
    unsigned nr = (unsigned)(vdev->msix_relo - RELOCATION_BAR0);

    if (!msix->cap || vdev->msix_relo == RELOCATION_OFF) {
        return true;
    }
    if (vdev->msix_relo == RELOCATION_AUTO) { /* QEMU knows of no device either */
        return error_set(errp, "No automatic MSI-X relocation available for device %04x:%04x",
                         pci_get_word(vdev->parent.config + PCI_VENDOR_ID),
                         pci_get_word(vdev->parent.config + PCI_DEVICE_ID));
    }
    if (!check_bar(vdev, nr, errp)) {
        return false;
    }
    msix->relocated = true;
    msix->device_bar = msix->table_bar;
    msix->device_offset = msix->table_offset;
    (vdev->bars[nr].size ? extend_bar : add_bar)(vdev, &vdev->bars[nr], structures_size(msix));
    msix->table_bar = msix->pba_bar = nr;
    msix->pba_offset = msix->table_offset + msix_table_size(msix->entries);
    TRACE("vfio_msix_relo", "%s BAR %u 0x%x", vdev->vbasedev->name, nr, msix->table_offset);
    return true;
}
