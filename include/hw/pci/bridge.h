/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * PCI-to-PCI bridges: what all devices with a type 1 header share.  A port derives from it.
 * Sources: PCI-to-PCI Bridge Architecture 1.2; PCI Express Base 5.0, 7.5.1.3.  Machine lock held.
 */
#ifndef VIADUCT_HW_PCI_BRIDGE_H
#define VIADUCT_HW_PCI_BRIDGE_H

#include "hw/pci/pci.h"

/* The three ways through a bridge; also the three kinds of resources there are. */
typedef enum { PCI_WINDOW_IO, PCI_WINDOW_MEM, PCI_WINDOW_PREF, PCI_WINDOW__MAX } PCIWindowKind;

/*
 * Room for what is hot-plugged later, in bytes: pci_assign_resources() makes a window no smaller
 * than its .least, and as large as its .wish while there is room for what all bridges wish; where
 * there is not, wishes are halved until there is.
 */
typedef struct PCIReserve {
    uint64_t least, wish;
} PCIReserve;

typedef struct PCIBridge {
    PCIDevice parent;
    PCIBus *sec; /* the bus behind it, called by the device's id; NULL while not realized */
    PCIReserve reserve[PCI_WINDOW__MAX];
    unsigned bus_reserve; /* numbers besides those of the buses behind it */
} PCIBridge;

typedef struct PCIBridgeClass {
    PCIDeviceClass parent_class; /* overriders of realize, exit, reset and config_write chain up */
    unsigned slots;              /* of the bus behind: 32, or 1 where a link ends */
    /*
     * NULL: nothing to do.  A function has come to the bus behind, or has gone; or is to go, which
     * may need the guest's consent (see DeviceClass.unplug_request; a bus that allows hot-plug has
     * a bridge with this one).  Before it has come it may be seen coming, and then come to nothing.
     */
    void (*coming)(PCIBridge *bridge, bool coming);
    void (*plugged)(PCIBridge *bridge, PCIDevice *dev);
    void (*unplugged)(PCIBridge *bridge, PCIDevice *dev);
    bool (*unplug_request)(PCIBridge *bridge, PCIDevice *dev, GError **errp);
} PCIBridgeClass;

GType pci_bridge_get_type(void);
#define TYPE_PCI_BRIDGE         (pci_bridge_get_type())
#define PCI_BRIDGE(o)           G_TYPE_CHECK_INSTANCE_CAST((o), TYPE_PCI_BRIDGE, PCIBridge)
#define PCI_BRIDGE_CLASS(k)     G_TYPE_CHECK_CLASS_CAST((k), TYPE_PCI_BRIDGE, PCIBridgeClass)
#define PCI_BRIDGE_GET_CLASS(o) G_TYPE_INSTANCE_GET_CLASS((o), TYPE_PCI_BRIDGE, PCIBridgeClass)
#define IS_PCI_BRIDGE(o)        G_TYPE_CHECK_INSTANCE_TYPE((o), TYPE_PCI_BRIDGE)

/* For models that embed pci_device_fields: pci_device_post_load(), and what is behind it. */
bool pci_bridge_post_load(void *opaque, GError **errp);
/* Resets each function behind it, as a reset of that bus does. */
void pci_bridge_reset_behind(PCIBridge *bridge);

/* First and last address that the window lets through; closed when base > limit. */
void pci_bridge_window(PCIDevice *bridge, PCIWindowKind kind, uint64_t *base, uint64_t *limit);
/* As firmware would: through the registers.  @size 0 closes it. */
void pci_bridge_set_window(PCIDevice *bridge, PCIWindowKind kind, uint64_t base, uint64_t size);
/* A window's granularity. */
uint64_t pci_bridge_window_align(PCIWindowKind kind);

#endif
