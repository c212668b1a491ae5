/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A PCI Express port with a slot: the PCI Express capability of such a port and the slot's hot-plug
 * controller (PCI Express Base 5.0, 6.7 and 7.5.3).  A kind of port derives from it.
 */
#ifndef VIADUCT_HW_PCI_SLOT_H
#define VIADUCT_HW_PCI_SLOT_H

#include "hw/pci/bridge.h"

typedef struct PCIESlot {
    PCIBridge parent;
    uint8_t chassis, port; /* properties, all of them */
    uint16_t slot;
    bool hotplug;
    uint8_t exp_cap;  /* offset of the PCI Express capability */
    bool interrupted; /* an event that may interrupt is there: an MSI marks when that begins */
    bool coming;      /* a card is in the slot, but nobody can talk to it yet */
    bool trial;       /* seen coming, and the guest has not said yet that it has it */
    bool given_up;    /* the guest waited for that, but not long enough */
    bool lost_power;  /* what is in the slot has been without since it was reset last */
} PCIESlot;

typedef struct PCIESlotClass {
    PCIBridgeClass parent_class; /* overriders of PCIDeviceClass.realize and .reset chain up */
    uint8_t port_type;           /* PCI_EXP_TYPE_* */
} PCIESlotClass;

GType pcie_slot_get_type(void);
#define TYPE_PCIE_SLOT         (pcie_slot_get_type())
#define PCIE_SLOT(o)           G_TYPE_CHECK_INSTANCE_CAST((o), TYPE_PCIE_SLOT, PCIESlot)
#define PCIE_SLOT_CLASS(k)     G_TYPE_CHECK_CLASS_CAST((k), TYPE_PCIE_SLOT, PCIESlotClass)
#define PCIE_SLOT_GET_CLASS(o) G_TYPE_INSTANCE_GET_CLASS((o), TYPE_PCIE_SLOT, PCIESlotClass)

#endif
