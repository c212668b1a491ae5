/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * BARs: registers in configuration space, regions in the address spaces.
 *
 * A guest sizes a BAR by writing all ones, perhaps with decoding on and one half of a 64-bit BAR
 * after the other.  Such values are addresses too, but nothing is mapped there: what ends with the
 * last byte of 32-bit space, wraps, or lies beyond what any CPU can address (2^52) stays unmapped.
 */
#include "hw/pci/internal.h"

#define PHYS_ADDRESS_LAST ((UINT64_C(1) << 52) - 1)
#define IO_ADDRESS_LAST   0xffff

/* BARs hide what the guest left of older ones at the same address no more than by order. */
#define BAR_PRIORITY 1

uint32_t pci_bar_offset(PCIDevice *dev, int nr)
{
    if (nr == PCI_ROM_SLOT) {
        return PCI_DEVICE_GET_CLASS(dev)->is_bridge ? PCI_ROM_ADDRESS1 : PCI_ROM_ADDRESS;
    }
    return PCI_BASE_ADDRESS_0 + (uint32_t)nr * 4;
}

static uint64_t round_up_power(uint64_t size)
{
    if (size > UINT64_C(1) << 62) {
        return UINT64_C(1) << 63;
    }
    return size & (size - 1) ? UINT64_C(1) << (64 - __builtin_clzll(size)) : size;
}

void pci_register_bar(PCIDevice *dev, int nr, uint8_t type, MemoryRegion *mr)
{
    bool io = type & PCI_BASE_ADDRESS_SPACE_IO;
    uint32_t offset = pci_bar_offset(dev, nr);
    PCIIORegion *r = &dev->regions[nr];
    uint64_t writable;

    *r = (PCIIORegion) {
        .mr = mr,
        .size = round_up_power(MAX(mr->size, io ? 4 : 16)),
        .type = type,
        .addr = PCI_BAR_UNMAPPED,
        .space = io ? &pci_host->io : &pci_host->mem,
    };
    writable = ~(r->size - 1);
    if (nr == PCI_ROM_SLOT) {
        pci_set_long(dev->config + offset, 0);
        pci_set_long(dev->wmask + offset,
                     (uint32_t)(writable & PCI_ROM_ADDRESS_MASK) | PCI_ROM_ADDRESS_ENABLE);
        return;
    }
    pci_set_long(dev->config + offset, type);
    pci_set_long(dev->wmask + offset, (uint32_t)writable);
    if (pci_bar_is_64bit(r)) {
        pci_set_long(dev->config + offset + 4, 0);
        pci_set_long(dev->wmask + offset + 4, (uint32_t)(writable >> 32));
    }
}

uint64_t pci_bar_address(PCIDevice *dev, int nr)
{
    const PCIIORegion *r = &dev->regions[nr];
    const uint8_t *reg = dev->config + pci_bar_offset(dev, nr);
    uint64_t addr = pci_get_long(reg);

    if (pci_bar_is_64bit(r)) {
        addr |= (uint64_t)pci_get_long(reg + 4) << 32;
    }
    return addr & ~(r->size - 1);
}

static bool asleep(PCIDevice *dev)
{
    uint8_t state = dev->config[dev->pm_cap + PCI_PM_CTRL] & PCI_PM_CTRL_STATE_MASK;

    return dev->pm_cap && state == PCI_PM_D3HOT;
}

/* Where the BAR is to be mapped now. */
static uint64_t target(PCIDevice *dev, int nr)
{
    const PCIIORegion *r = &dev->regions[nr];
    bool io = r->type & PCI_BASE_ADDRESS_SPACE_IO;
    uint16_t command = pci_get_word(dev->config + PCI_COMMAND);
    uint64_t addr = pci_bar_address(dev, nr), last;

    if (asleep(dev) || !(command & (io ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY)) ||
        (nr == PCI_ROM_SLOT && !(dev->config[pci_bar_offset(dev, nr)] & PCI_ROM_ADDRESS_ENABLE))) {
        return PCI_BAR_UNMAPPED;
    }
    if (!addr || __builtin_add_overflow(addr, r->size - 1, &last) || last == UINT32_MAX ||
        last > (io ? IO_ADDRESS_LAST : PHYS_ADDRESS_LAST)) {
        return PCI_BAR_UNMAPPED;
    }
    for (PCIDevice *bridge = dev->bus->bridge; bridge; bridge = bridge->bus->bridge) {
        if (!pci_bridge_forwards(bridge, io, addr, last)) {
            return PCI_BAR_UNMAPPED;
        }
    }
    return addr;
}

void pci_update_mappings(PCIDevice *dev)
{
    memory_transaction_begin();
    for (int i = 0; i < PCI_NUM_REGIONS; i++) {
        PCIIORegion *r = &dev->regions[i];
        uint64_t addr = r->mr ? target(dev, i) : PCI_BAR_UNMAPPED;

        if (addr == r->addr) {
            continue;
        }
        if (r->addr != PCI_BAR_UNMAPPED) {
            memory_region_del_child(r->space, r->mr);
        }
        r->addr = addr;
        if (addr != PCI_BAR_UNMAPPED) {
            memory_region_add_child(r->space, addr, r->mr, BAR_PRIORITY);
        }
    }
    if (PCI_DEVICE_GET_CLASS(dev)->bars_moved) {
        PCI_DEVICE_GET_CLASS(dev)->bars_moved(dev);
    }
    memory_transaction_commit();
}
