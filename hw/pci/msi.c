/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The MSI capability: wholly in configuration space, so what the guest wrote is all the state. */
#include "hw/pci/msi.h"

#define MSI_MAX_VECTORS 32

/* Where the fields are depends on what the capability can; offsets from its start. */
static unsigned flags(PCIDevice *dev)
{
    return pci_get_word(dev->config + dev->msi_cap + PCI_MSI_FLAGS);
}

static unsigned data_offset(unsigned fl)
{
    return fl & PCI_MSI_FLAGS_64BIT ? PCI_MSI_DATA_64 : PCI_MSI_DATA_32;
}

static unsigned mask_offset(unsigned fl)
{
    return fl & PCI_MSI_FLAGS_64BIT ? PCI_MSI_MASK_64 : PCI_MSI_MASK_32;
}

static unsigned pending_offset(unsigned fl)
{
    return fl & PCI_MSI_FLAGS_64BIT ? PCI_MSI_PENDING_64 : PCI_MSI_PENDING_32;
}

bool msi_init(PCIDevice *dev, uint8_t offset, unsigned vectors, bool is_64bit, bool maskable,
              GError **errp)
{
    unsigned log2 = (unsigned)__builtin_ctz(vectors | MSI_MAX_VECTORS), fl = log2 << 1;
    uint8_t *config, *wmask;
    int cap;

    fl |= is_64bit ? PCI_MSI_FLAGS_64BIT : 0;
    fl |= maskable ? PCI_MSI_FLAGS_MASKBIT : 0;
    cap = pci_add_capability(dev, PCI_CAP_ID_MSI, offset,
                             (uint8_t)(maskable ? pending_offset(fl) + 4 : data_offset(fl) + 2),
                             errp);
    if (cap < 0) {
        return false;
    }
    dev->msi_cap = (uint8_t)cap;
    config = dev->config + cap;
    wmask = dev->wmask + cap;
    pci_set_word(config + PCI_MSI_FLAGS, (uint16_t)fl);
    pci_set_word(wmask + PCI_MSI_FLAGS, PCI_MSI_FLAGS_QSIZE | PCI_MSI_FLAGS_ENABLE);
    pci_set_long(wmask + PCI_MSI_ADDRESS_LO, ~3U);
    if (is_64bit) {
        pci_set_long(wmask + PCI_MSI_ADDRESS_HI, UINT32_MAX);
    }
    pci_set_word(wmask + data_offset(fl), UINT16_MAX);
    if (maskable) {
        pci_set_long(wmask + mask_offset(fl), UINT32_MAX >> (32 - (1U << log2)));
    }
    msi_reset(dev);
    return true;
}

void msi_reset(PCIDevice *dev)
{
    uint8_t *cap = dev->config + dev->msi_cap;
    unsigned fl;

    if (!dev->msi_cap) {
        return;
    }
    fl = flags(dev) & ~(unsigned)(PCI_MSI_FLAGS_QSIZE | PCI_MSI_FLAGS_ENABLE);
    pci_set_word(cap + PCI_MSI_FLAGS, (uint16_t)fl);
    pci_set_long(cap + PCI_MSI_ADDRESS_LO, 0);
    if (fl & PCI_MSI_FLAGS_64BIT) {
        pci_set_long(cap + PCI_MSI_ADDRESS_HI, 0);
    }
    pci_set_word(cap + data_offset(fl), 0);
    if (fl & PCI_MSI_FLAGS_MASKBIT) {
        pci_set_long(cap + mask_offset(fl), 0);
        pci_set_long(cap + pending_offset(fl), 0);
    }
}

bool msi_present(PCIDevice *dev)
{
    return dev->msi_cap;
}

bool msi_enabled(PCIDevice *dev)
{
    return dev->msi_cap && flags(dev) & PCI_MSI_FLAGS_ENABLE;
}

/* A guest that enables more than there are gets what there are. */
unsigned msi_nr_vectors(PCIDevice *dev)
{
    unsigned fl = dev->msi_cap ? flags(dev) : 0;

    return 1U << MIN((fl & PCI_MSI_FLAGS_QSIZE) >> 4, (fl & PCI_MSI_FLAGS_QMASK) >> 1);
}

/* Vectors differ in the low bits of the data, which the function puts there. */
MSIMessage msi_message(PCIDevice *dev, unsigned vector)
{
    const uint8_t *cap = dev->config + dev->msi_cap;
    unsigned fl = flags(dev), n = msi_nr_vectors(dev);
    MSIMessage msg = {
        .address = pci_get_long(cap + PCI_MSI_ADDRESS_LO),
        .data = (pci_get_word(cap + data_offset(fl)) & ~(n - 1)) | (vector & (n - 1)),
    };

    if (fl & PCI_MSI_FLAGS_64BIT) {
        msg.address |= (uint64_t)pci_get_long(cap + PCI_MSI_ADDRESS_HI) << 32;
    }
    return msg;
}

bool msi_is_masked(PCIDevice *dev, unsigned vector)
{
    unsigned fl = dev->msi_cap ? flags(dev) : 0;

    return fl & PCI_MSI_FLAGS_MASKBIT && vector < MSI_MAX_VECTORS &&
           pci_get_long(dev->config + dev->msi_cap + mask_offset(fl)) >> vector & 1;
}
