/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * PCI buses: places for functions, and the tree that bridges make of them.  The tree is that of the
 * objects (bus, its bridge, the bridge's bus); numbers are the guest's affair and looked up in the
 * bridges' registers each time.
 */
#include "hw/pci/internal.h"
#include "util/error.h"

static GPtrArray *buses; /* all there are; owned by their makers */

PCIBus *pci_bus_new(const char *name, PCIDevice *bridge, unsigned slots)
{
    PCIBus *bus = g_new0(PCIBus, 1);

    bus->name = g_strdup(name);
    bus->bridge = bridge;
    bus->slots = slots;
    if (!buses) {
        buses = g_ptr_array_new();
    }
    g_ptr_array_add(buses, bus);
    return bus;
}

void pci_bus_free(PCIBus *bus)
{
    g_ptr_array_remove(buses, bus);
    g_free(bus->name);
    g_free(bus);
}

PCIBus *pci_bus_find(const char *name)
{
    for (guint i = 0; buses && i < buses->len; i++) {
        PCIBus *bus = buses->pdata[i];

        if (g_str_equal(bus->name, name)) {
            return bus;
        }
    }
    return NULL;
}

PCIDevice *pci_bus_device(PCIBus *bus, int devfn)
{
    return devfn >= 0 && devfn < (int)G_N_ELEMENTS(bus->devices) ? bus->devices[devfn] : NULL;
}

void pci_bus_foreach(PCIBus *bus, void (*fn)(PCIDevice *dev, void *opaque), void *opaque)
{
    for (size_t devfn = 0; devfn < G_N_ELEMENTS(bus->devices); devfn++) {
        if (bus->devices[devfn]) {
            fn(bus->devices[devfn], opaque);
        }
    }
}

PCIBus *pci_bus_behind(PCIDevice *dev)
{
    return IS_PCI_BRIDGE(dev) ? PCI_BRIDGE(dev)->sec : NULL;
}

void pci_bus_walk(PCIBus *bus, void (*fn)(PCIDevice *dev, void *opaque), void *opaque)
{
    for (size_t devfn = 0; devfn < G_N_ELEMENTS(bus->devices); devfn++) {
        PCIDevice *dev = bus->devices[devfn];

        if (dev) {
            PCIBus *behind = pci_bus_behind(dev);

            fn(dev, opaque);
            if (behind) {
                pci_bus_walk(behind, fn, opaque);
            }
        }
    }
}

int pci_bus_number(PCIBus *bus)
{
    return bus->bridge ? bus->bridge->config[PCI_SECONDARY_BUS] : 0;
}

/* As a cycle travels: down each bridge whose range of numbers holds @nr. */
static PCIBus *find_number(PCIBus *bus, unsigned nr)
{
    for (size_t devfn = 0; devfn < G_N_ELEMENTS(bus->devices); devfn++) {
        PCIDevice *dev = bus->devices[devfn];
        PCIBus *behind = dev ? pci_bus_behind(dev) : NULL;

        if (behind && nr >= dev->config[PCI_SECONDARY_BUS] &&
            nr <= dev->config[PCI_SUBORDINATE_BUS] && dev->config[PCI_SECONDARY_BUS]) {
            return nr == dev->config[PCI_SECONDARY_BUS] ? behind : find_number(behind, nr);
        }
    }
    return NULL;
}

PCIBus *pci_bus_by_number(unsigned nr)
{
    return nr ? find_number(pci_root_bus(), nr) : pci_root_bus();
}

/* ---- places ---- */

bool pci_is_held_back(PCIDevice *dev)
{
    return DEVICE(dev)->hotplugged && !dev->bus->devices[dev->devfn & ~7];
}

/*
 * A slot has either one function, or several and its function 0 says so.  Whether the others carry
 * the bit does not matter.
 */
static bool check_multifunction(PCIBus *bus, PCIDevice *dev, int devfn, GError **errp)
{
    int slot = PCI_SLOT(devfn);
    PCIDevice *first = bus->devices[PCI_DEVFN(slot, 0)];

    if (PCI_FUNC(devfn)) {
        if (first && DEVICE(dev)->hotplugged) {
            g_autofree char *name = pci_device_name(first);

            return error_set(errp,
                             "PCI: slot %d function 0 already occupied by %s, new func %s cannot "
                             "be exposed to guest.",
                             slot, name, G_OBJECT_TYPE_NAME(dev));
        }
        if (first && !first->multifunction) {
            return error_set(errp,
                             "PCI: single function device can't be populated in function "
                             "%x.%x",
                             slot, PCI_FUNC(devfn));
        }
        return true;
    }
    for (int func = 1; func < 8 && !dev->multifunction; func++) {
        if (bus->devices[PCI_DEVFN(slot, func)]) {
            return error_set(errp,
                             "PCI: %x.0 indicates single function, but %x.%x is already "
                             "populated",
                             slot, slot, func);
        }
    }
    return true;
}

bool pci_bus_place(PCIBus *bus, PCIDevice *dev, GError **errp)
{
    int devfn = dev->devfn;

    if (devfn == PCI_DEVFN_AUTO) {
        for (devfn = 0; devfn < (int)bus->slots * 8 && bus->devices[devfn]; devfn += 8) {
        }
        if (devfn == (int)bus->slots * 8) {
            return error_set(errp, "PCI: no slot/function available for %s, all in use or reserved",
                             G_OBJECT_TYPE_NAME(dev));
        }
    } else if (PCI_SLOT(devfn) >= (int)bus->slots) {
        return error_set(errp,
                         "PCI: slot %d is not valid for %s, parent device only allows "
                         "plugging into slot 0",
                         PCI_SLOT(devfn), G_OBJECT_TYPE_NAME(dev));
    } else if (bus->devices[devfn]) {
        g_autofree char *other = pci_device_name(bus->devices[devfn]);

        return error_set(errp, "PCI: slot %d function %d not available for %s, in use by %s",
                         PCI_SLOT(devfn), PCI_FUNC(devfn), G_OBJECT_TYPE_NAME(dev), other);
    }
    if (!check_multifunction(bus, dev, devfn, errp)) {
        return false;
    }
    dev->devfn = devfn;
    return true;
}
