/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * INTx: four pins a slot, rotated by each bridge on the way up (PCI-to-PCI Bridge Architecture
 * 1.2, table 9-1), mapped to GSIs by the board at the root.  Several devices share a line, so its
 * level is the or of all that drive it: looked up anew at each change, which is rare (a VFIO
 * device's pin goes from eventfd to irqfd and never comes here), instead of counted.
 */
#include "hw/pci/internal.h"
#include "hw/pci/msi.h"

int pci_intx_gsi(PCIDevice *dev)
{
    int pin = dev->config[PCI_INTERRUPT_PIN] - 1;
    const PCIDevice *hop = dev;

    if (pin < 0 || pin > 3) {
        return -1;
    }
    for (; hop->bus->bridge; hop = hop->bus->bridge) {
        pin = (pin + PCI_SLOT(hop->devfn)) % 4;
    }
    return pci_host->config.map_intx(PCI_SLOT(hop->devfn), pin);
}

typedef struct Line {
    int gsi;
    bool level;
} Line;

static void or_level(PCIDevice *dev, void *opaque)
{
    Line *line = opaque;

    line->level |= dev->intx_out && pci_intx_gsi(dev) == line->gsi;
}

static void update(PCIDevice *dev, bool tell)
{
    uint8_t *status = dev->config + PCI_STATUS;
    uint16_t command = pci_get_word(dev->config + PCI_COMMAND);
    Line line = { .gsi = pci_intx_gsi(dev) };
    bool out = dev->intx_level && !(command & PCI_COMMAND_INTX_DISABLE) && !msi_enabled(dev) &&
               !msix_enabled(dev);

    *status = dev->intx_level ? *status | PCI_STATUS_INTERRUPT : *status & ~PCI_STATUS_INTERRUPT;
    if ((dev->intx_out != out || tell) && line.gsi >= 0) {
        dev->intx_out = out;
        pci_bus_walk(pci_root_bus(), or_level, &line);
        irq_set_line(line.gsi, line.level);
    }
}

void pci_update_intx(PCIDevice *dev)
{
    update(dev, false);
}

void pci_restore_intx(PCIDevice *dev)
{
    update(dev, true);
}

void pci_set_intx(PCIDevice *dev, bool level)
{
    dev->intx_level = level;
    pci_update_intx(dev);
}
