/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A PCI function as a state that migrates: configuration space, MSI-X table and pending bits, the
 * pin.  A stream may set the bits that a guest can change; all others have to be what they are
 * here, or it is of another device.  What those bits bring about comes about as after a guest's
 * writes: BARs are mapped, vectors claimed, the line raised.
 */
#include <string.h>

#include "hw/pci/internal.h"
#include "util/error.h"

/* The way down from the root, by places and not by numbers of buses, which are the guest's. */
char *pci_device_state_id(PCIDevice *dev)
{
    g_autofree char *above =
        dev->bus->bridge ? pci_device_state_id(dev->bus->bridge) : g_strdup("pci");

    return g_strdup_printf("%s/%02x.%x", above, PCI_SLOT(dev->devfn), PCI_FUNC(dev->devfn));
}

bool pci_device_pre_save(void *opaque, GError **errp)
{
    PCIDevice *dev = opaque;

    memcpy(dev->loaded, dev->config, dev->config_size);
    return true;
}

static bool load_config(PCIDevice *dev, GError **errp)
{
    for (uint32_t i = 0; i < dev->config_size; i++) {
        uint8_t guests = dev->wmask[i] | dev->w1cmask[i];

        if ((dev->config[i] ^ dev->loaded[i]) & ~(guests | dev->varies[i])) {
            g_autofree char *name = pci_device_name(dev);

            return error_set(errp,
                             "%s: configuration space at 0x%x is 0x%02x there and 0x%02x here, "
                             "and no guest can have changed 0x%02x of it",
                             name, i, dev->loaded[i], dev->config[i], (uint8_t)~guests);
        }
    }
    for (uint32_t i = 0; i < dev->config_size; i++) {
        uint8_t guests = dev->wmask[i] | dev->w1cmask[i];

        dev->config[i] = (uint8_t)((dev->config[i] & ~guests) | (dev->loaded[i] & guests));
    }
    return true;
}

bool pci_device_post_load(void *opaque, GError **errp)
{
    PCIDevice *dev = opaque;

    if (!load_config(dev, errp)) {
        return false;
    }
    pci_update_mappings(dev);
    if (!msix_load(dev, errp)) {
        return false;
    }
    pci_restore_intx(dev);
    return true;
}

const VMStateField pci_device_fields[] = {
    VMSTATE_POINTER(PCIDevice, loaded, config_size),
    VMSTATE_POINTER(PCIDevice, msix_table, msix_table_size),
    VMSTATE_POINTER(PCIDevice, msix_pba, msix_pba_size),
    VMSTATE_BOOL(PCIDevice, intx_level),
    VMSTATE_BOOL(PCIDevice, parent.pending_deleted),
    VMSTATE_END,
};

const VMState pci_device_vmstate = {
    .name = "pci-device",
    .version = 1,
    .priority = VMS_PRIORITY_DEVICE,
    .fields = pci_device_fields,
    .pre_save = pci_device_pre_save,
    .post_load = pci_device_post_load,
};
