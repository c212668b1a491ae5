/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The PCI Express capability for the place that the device has in the guest, which need not be like
 * that in the host.  (Every bus here is PCI Express: the root complex's or a port's link.)
 *
 *  - On the root bus there is no link.  An endpoint becomes one that is integrated in the root
 *    complex, its link registers read as zeros.  A legacy endpoint may not be there at all; its
 *    capability is hidden, and with it the extended configuration space.
 *  - Behind a port there is one.  An integrated endpoint becomes an ordinary one with the narrowest
 *    and slowest link.
 *
 * A version of 0, which some VFs have, becomes 1: drivers do not understand the other.
 * Source: PCI Express Base 5.0, 7.5.3.
 */
#include "hw/vfio/pci.h"

#include "util/error.h"

#define SIZEOF_V2 0x3c

/* Registers of the link, and what a link of one lane at 2.5 GT/s has in them. */
static const struct {
    uint8_t reg, size;
    uint32_t narrow;
} link_registers[] = {
    { PCI_EXP_LNKCAP, 4, PCI_EXP_LNKCAP_SLS_2_5GB | 1 << 4 },
    { PCI_EXP_LNKCTL, 2, 0 },
    { PCI_EXP_LNKSTA, 2, PCI_EXP_LNKSTA_CLS_2_5GB | PCI_EXP_LNKSTA_NLW_X1 },
    { PCI_EXP_LNKCAP2, 4, PCI_EXP_LNKCAP2_SLS_2_5GB },
    { PCI_EXP_LNKCTL2, 2, PCI_EXP_LNKCTL2_TLS_2_5GT },
    { PCI_EXP_LNKSTA2, 2, 0 },
};

/* The link's registers, as many as the capability has, become the copy's. */
static void set_link(VFIOPCIDevice *vdev, uint8_t cap, uint8_t size, bool narrow)
{
    uint8_t *config = vdev->parent.config;

    for (size_t i = 0; i < G_N_ELEMENTS(link_registers); i++) {
        uint32_t value = narrow ? link_registers[i].narrow : 0;

        if (link_registers[i].reg + link_registers[i].size > size) {
            return;
        }
        pci_set_word(config + cap + link_registers[i].reg, (uint16_t)value);
        if (link_registers[i].size == 4) {
            pci_set_word(config + cap + link_registers[i].reg + 2, (uint16_t)(value >> 16));
        }
        vfio_config_emulate(vdev, cap + link_registers[i].reg, link_registers[i].size, 0xff);
    }
}

VFIOCapFate vfio_express_shape(VFIOPCIDevice *vdev, uint8_t cap, uint8_t size, GError **errp)
{
    PCIDevice *pdev = &vdev->parent;
    uint8_t *config = pdev->config;
    uint16_t flags = pci_get_word(config + cap + PCI_EXP_FLAGS);
    unsigned version = flags & PCI_EXP_FLAGS_VERS, type = (flags & PCI_EXP_FLAGS_TYPE) >> 4;
    bool on_root = pdev->bus == pci_root_bus();

    size = MIN(size, version < 2 ? PCI_CAP_EXP_ENDPOINT_SIZEOF_V1 : SIZEOF_V2);
    if (size < PCI_CAP_EXP_RC_ENDPOINT_SIZEOF_V1) {
        error_set(errp, "its PCI Express capability at 0x%x is cut off", cap);
        return VFIO_CAP_REFUSED;
    }
    if (type != PCI_EXP_TYPE_ENDPOINT && type != PCI_EXP_TYPE_LEG_END &&
        type != PCI_EXP_TYPE_RC_END) {
        error_set(errp, "assignment of PCIe type 0x%x devices is not supported", type);
        return VFIO_CAP_REFUSED;
    }
    if (on_root && type == PCI_EXP_TYPE_LEG_END) {
        memset(config + cap, 0, size);
        vfio_config_emulate(vdev, cap, size, 0xff);
        return VFIO_CAP_HIDDEN;
    }
    if (on_root && type == PCI_EXP_TYPE_ENDPOINT) {
        type = PCI_EXP_TYPE_RC_END;
        set_link(vdev, cap, size, false);
    } else if (!on_root && type == PCI_EXP_TYPE_RC_END) {
        type = PCI_EXP_TYPE_ENDPOINT;
        set_link(vdev, cap, size, true);
    }
    flags &= (uint16_t) ~(PCI_EXP_FLAGS_VERS | PCI_EXP_FLAGS_TYPE);
    pci_set_word(config + cap + PCI_EXP_FLAGS, (uint16_t)(flags | MAX(version, 1) | type << 4));
    vfio_config_emulate(vdev, cap + PCI_EXP_FLAGS, 1, 0xff);
    return VFIO_CAP_SHOWN;
}
