/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * -device pcie-root-port: a port of the root complex, with a slot.  As there is no firmware, its
 * reserve properties are what pci_assign_resources() goes by.
 */
#include "hw/pci/internal.h"
#include "hw/pci/slot.h"
#include "util/error.h"

#define MiB           (UINT64_C(1) << 20)
#define GiB           (UINT64_C(1) << 30)

#define RESERVE_UNSET UINT64_MAX
#define BUS_UNSET     UINT32_MAX

/* The first extended capability. */
#define ACS PCI_CONFIG_SIZE
#define ACS_CAN \
    (PCI_ACS_SV | PCI_ACS_RR | PCI_ACS_CR | PCI_ACS_UF) /* all a port without peers can say */

typedef struct PCIERootPort {
    PCIESlot parent;
    uint64_t reserve[PCI_WINDOW__MAX]; /* properties, all of them */
    uint32_t bus_reserve;
    bool disable_acs;
} PCIERootPort;

typedef PCIESlotClass PCIERootPortClass;

GType pcie_root_port_get_type(void);
DEFINE_OBJECT_TYPE(PCIERootPort, pcie_root_port, "pcie-root-port", TYPE_PCIE_SLOT, 0)

static const Property pcie_root_port_properties[] = {
    PROP_UINT32("bus-reserve", PCIERootPort, bus_reserve, BUS_UNSET,
                .help = "bus numbers to keep for bridges behind"),
    PROP_SIZE("io-reserve", PCIERootPort, reserve[PCI_WINDOW_IO], RESERVE_UNSET,
              .help = "I/O ports to keep for devices behind"),
    PROP_SIZE("mem-reserve", PCIERootPort, reserve[PCI_WINDOW_MEM], RESERVE_UNSET,
              .help = "memory below 4G to keep for BARs behind"),
    PROP_SIZE("pref64-reserve", PCIERootPort, reserve[PCI_WINDOW_PREF], RESERVE_UNSET,
              .help = "memory to keep for 64-bit prefetchable BARs behind"),
    PROP_BOOL("disable-acs", PCIERootPort, disable_acs, false,
              .help = "no access control services"),
};

/* Generous enough for a GPU's registers, and for its memory where that is not extraordinary. */
static const uint64_t wishes[PCI_WINDOW__MAX] = {
    [PCI_WINDOW_IO] = 4096,
    [PCI_WINDOW_MEM] = 32 * MiB,
    [PCI_WINDOW_PREF] = 32 * GiB,
};

static void set_reserves(PCIERootPort *port)
{
    PCIBridge *bridge = PCI_BRIDGE(port);

    for (PCIWindowKind kind = 0; kind < PCI_WINDOW__MAX; kind++) {
        bool unset = port->reserve[kind] == RESERVE_UNSET;

        bridge->reserve[kind] = (PCIReserve) {
            .least = unset ? 0 : port->reserve[kind],
            .wish = unset && PCIE_SLOT(port)->hotplug ? wishes[kind] : 0,
        };
    }
    bridge->bus_reserve = port->bus_reserve == BUS_UNSET ? 0 : port->bus_reserve;
}

/* Access Control Services (PCI Express Base 5.0, 7.7.8): without, a guest sees no isolation. */
static void acs_init(PCIDevice *dev)
{
    pci_set_long(dev->config + ACS, PCI_EXT_CAP_ID_ACS | 1U << 16);
    pci_set_word(dev->config + ACS + PCI_ACS_CAP, ACS_CAN);
    pci_set_word(dev->wmask + ACS + PCI_ACS_CTRL, ACS_CAN);
}

static bool pcie_root_port_realize(PCIDevice *dev, GError **errp)
{
    PCIERootPort *port = (PCIERootPort *)dev;
    uint8_t exp_cap;

    if (dev->bus->bridge) {
        return error_set(errp, "%s: a root port sits on the root bus, not on '%s'",
                         G_OBJECT_TYPE_NAME(dev), dev->bus->name);
    }
    if (!PCI_DEVICE_CLASS(pcie_root_port_parent_class)->realize(dev, errp)) {
        return false;
    }
    exp_cap = PCIE_SLOT(dev)->exp_cap;
    pci_set_word(dev->wmask + exp_cap + PCI_EXP_RTCTL, PCI_EXP_RTCTL_SECEE | PCI_EXP_RTCTL_SENFEE |
                                                           PCI_EXP_RTCTL_SEFEE |
                                                           PCI_EXP_RTCTL_PMEIE);
    pci_set_long(dev->w1cmask + exp_cap + PCI_EXP_RTSTA, PCI_EXP_RTSTA_PME);
    if (!port->disable_acs) {
        acs_init(dev);
    }
    set_reserves(port);
    return true;
}

static void pcie_root_port_reset(PCIDevice *dev)
{
    PCI_DEVICE_CLASS(pcie_root_port_parent_class)->reset(dev);
    pci_set_word(dev->config + PCIE_SLOT(dev)->exp_cap + PCI_EXP_RTCTL, 0);
    pci_set_word(dev->config + ACS + PCI_ACS_CTRL, 0);
}

static void pcie_root_port_init(PCIERootPort *self)
{
}

static void pcie_root_port_class_init(PCIERootPortClass *klass)
{
    PCIDeviceClass *pc = PCI_DEVICE_CLASS(klass);

    DEVICE_CLASS(klass)->desc = "PCI Express root port with a slot";
    DEVICE_CLASS(klass)->user_creatable = true;
    klass->port_type = PCI_EXP_TYPE_ROOT_PORT;
    pc->vendor_id = 0x1b36; /* the identity of QEMU's */
    pc->device_id = 0x000c;
    pc->realize = pcie_root_port_realize;
    pc->reset = pcie_root_port_reset;
    object_class_add_properties(klass, pcie_root_port_properties,
                                G_N_ELEMENTS(pcie_root_port_properties));
}
