/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of this room show to each other. */
#ifndef VIADUCT_HW_PCI_INTERNAL_H
#define VIADUCT_HW_PCI_INTERNAL_H

#include "hw/pci/bridge.h"
#include "hw/pci/pci.h"

/* Whether two ranges have something in common; neither wraps around. */
static inline bool ranges_overlap(uint64_t a, uint64_t a_size, uint64_t b, uint64_t b_size)
{
    return a < b + b_size && b < a + a_size;
}

/* ---- buses (bus.c) ---- */

struct PCIBus {
    char *name;
    PCIDevice *bridge;       /* NULL: the root */
    unsigned slots;          /* 32, or 1 where a link ends */
    bool hotplug;            /* devices may come and go while the guest runs */
    bool off;                /* no power: configuration cycles reach nothing */
    PCIDevice *devices[256]; /* by devfn; borrowed */
};

PCIBus *pci_bus_new(const char *name, PCIDevice *bridge, unsigned slots);
/* The bus must be empty. */
void pci_bus_free(PCIBus *bus);
/* The bus behind @dev, NULL if it is no bridge. */
PCIBus *pci_bus_behind(PCIDevice *dev);
/* The bus that configuration cycles for number @nr reach, NULL if none. */
PCIBus *pci_bus_by_number(unsigned nr);
/* All devices on and behind @bus, bridges before what is behind them. */
void pci_bus_walk(PCIBus *bus, void (*fn)(PCIDevice *dev, void *opaque), void *opaque);
/* Finds a place for @dev: checks dev->devfn, or chooses when it is PCI_DEVFN_AUTO. */
bool pci_bus_place(PCIBus *bus, PCIDevice *dev, GError **errp);
/*
 * Whether the guest may not see @dev yet: a function that was hot-plugged waits for function 0 of
 * its slot, whose coming is what a guest is told of.
 */
bool pci_is_held_back(PCIDevice *dev);
/* "nvme,id=x": how messages here name a device.  g_free it. */
char *pci_device_name(PCIDevice *dev);

/* ---- devices (config.c, bar.c) ---- */

/* Header and masks of a device that is about to be realized, and back. */
void pci_config_init(PCIDevice *dev);
void pci_config_fini(PCIDevice *dev);
void pci_config_reset(PCIDevice *dev);
/* Through the device's own functions; any @len up to 4 and any alignment, absent is all ones. */
uint32_t pci_config_read(PCIDevice *dev, uint32_t addr, unsigned len);
void pci_config_write(PCIDevice *dev, uint32_t addr, uint32_t val, unsigned len);
/* Puts each BAR where its registers, COMMAND and the bridges above say, or nowhere. */
void pci_update_mappings(PCIDevice *dev);
/* Where BAR @nr's register is. */
uint32_t pci_bar_offset(PCIDevice *dev, int nr);
static inline bool pci_bar_is_64bit(const PCIIORegion *r)
{
    return (r->type & (PCI_BASE_ADDRESS_SPACE | PCI_BASE_ADDRESS_MEM_TYPE_MASK)) ==
           PCI_BASE_ADDRESS_MEM_TYPE_64;
}
/* Recomputes STATUS and the line after the pin, COMMAND, MSI or MSI-X changed (intx.c). */
void pci_update_intx(PCIDevice *dev);
/* The same, and tells the line whether anything changed or not. */
void pci_restore_intx(PCIDevice *dev);

/* Whether all of [addr, last] passes the bridge downwards. */
bool pci_bridge_forwards(PCIDevice *bridge, bool io, uint64_t addr, uint64_t last);

/* ---- MSI-X (msix.c) ---- */

/* After a write to [addr, addr + len) of configuration space. */
void msix_write_config(PCIDevice *dev, uint32_t addr, unsigned len);
/* After table, pending bits and configuration space were replaced. */
bool msix_load(PCIDevice *dev, GError **errp);

/* ---- the host bridge (host.c) ---- */

struct PCIHost {
    PCIHostConfig config;
    PCIBus *root;
    /*
     * BARs live in containers that lie below all else: RAM and the board's own registers win where
     * a guest moves a BAR over them.
     */
    MemoryRegion mem, io;
    MemoryRegion ecam, address_port, data_port;
    uint32_t address; /* CONFIG_ADDRESS */
};

/* The one host bridge; NULL before pci_host_create(). */
extern PCIHost *pci_host;

#endif
