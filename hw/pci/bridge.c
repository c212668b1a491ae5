/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * PCI-to-PCI bridges: the type 1 header, the bus behind it, and what the three windows let through.
 * The windows are no regions: a BAR behind the bridge asks on its way to the root whether it would
 * be reached, and is mapped or not; so a write to the bridge's header makes all BARs behind it ask
 * again.
 */
#include "hw/pci/bridge.h"

#include "hw/pci/internal.h"
#include "util/error.h"

DEFINE_OBJECT_TYPE(PCIBridge, pci_bridge, "base-pci-bridge", TYPE_PCI_DEVICE, G_TYPE_FLAG_ABSTRACT)

/* ---- windows ---- */

/*
 * A window's registers: base and, right behind it, limit; the upper bits of each are an address's
 * bits from 12 or 20 up to 16 or 32.  Prefetchable memory has upper halves elsewhere.
 */
static const struct Window {
    uint8_t base, base_upper; /* registers; upper 0: none */
    uint8_t reg_size;         /* bytes */
    uint8_t shift;            /* from the register's bits to the address's */
    uint64_t align;
} windows[PCI_WINDOW__MAX] = {
    { PCI_IO_BASE, 0, 1, 8, 0x1000 },
    { PCI_MEMORY_BASE, 0, 2, 16, 0x100000 },
    { PCI_PREF_MEMORY_BASE, PCI_PREF_BASE_UPPER32, 2, 16, 0x100000 },
};

uint64_t pci_bridge_window_align(PCIWindowKind kind)
{
    return windows[kind].align;
}

/* @nr: 0 the base, 1 the limit. */
static uint64_t read_edge(PCIDevice *dev, const struct Window *w, unsigned nr)
{
    uint64_t bits = pci_default_read_config(dev, w->base + nr * w->reg_size, w->reg_size);
    uint64_t edge = bits << w->shift & ~(w->align - 1);

    return w->base_upper ? edge | (uint64_t)pci_get_long(dev->config + w->base_upper + nr * 4) << 32
                         : edge;
}

static void write_edge(PCIDevice *dev, const struct Window *w, unsigned nr, uint64_t edge)
{
    pci_config_write(dev, w->base + nr * w->reg_size, (uint32_t)(edge >> w->shift), w->reg_size);
    if (w->base_upper) {
        pci_config_write(dev, w->base_upper + nr * 4, (uint32_t)(edge >> 32), 4);
    }
}

void pci_bridge_window(PCIDevice *dev, PCIWindowKind kind, uint64_t *base, uint64_t *limit)
{
    *base = read_edge(dev, &windows[kind], 0);
    *limit = read_edge(dev, &windows[kind], 1) | (windows[kind].align - 1);
}

void pci_bridge_set_window(PCIDevice *dev, PCIWindowKind kind, uint64_t base, uint64_t size)
{
    write_edge(dev, &windows[kind], 0, size ? base : UINT32_MAX);
    write_edge(dev, &windows[kind], 1, size ? base + size - 1 : 0);
}

bool pci_bridge_forwards(PCIDevice *dev, bool io, uint64_t addr, uint64_t last)
{
    PCIWindowKind kind = io ? PCI_WINDOW_IO : PCI_WINDOW_MEM;
    PCIWindowKind end = io ? PCI_WINDOW_MEM : PCI_WINDOW__MAX;
    unsigned decode = io ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY;

    for (; pci_get_word(dev->config + PCI_COMMAND) & decode && kind < end; kind++) {
        uint64_t base, limit;

        pci_bridge_window(dev, kind, &base, &limit);
        if (addr >= base && last <= limit) {
            return true;
        }
    }
    return false;
}

/* ---- the function ---- */

static void update_one(PCIDevice *dev, void *opaque)
{
    pci_update_mappings(dev);
}

static void update_behind(PCIBridge *bridge)
{
    memory_transaction_begin();
    pci_bus_walk(bridge->sec, update_one, NULL);
    memory_transaction_commit();
}

static void reset_one(PCIDevice *dev, void *opaque)
{
    DEVICE_GET_CLASS(dev)->reset(DEVICE(dev));
}

void pci_bridge_reset_behind(PCIBridge *bridge)
{
    pci_bus_walk(bridge->sec, reset_one, NULL);
}

static void pci_bridge_write_config(PCIDevice *dev, uint32_t addr, uint32_t val, unsigned len)
{
    PCIBridge *bridge = PCI_BRIDGE(dev);
    bool was_reset = dev->config[PCI_BRIDGE_CONTROL] & PCI_BRIDGE_CTL_BUS_RESET;

    pci_default_write_config(dev, addr, val, len);
    if (addr >= PCI_STD_HEADER_SIZEOF) {
        return;
    }
    update_behind(bridge);
    if (!was_reset && dev->config[PCI_BRIDGE_CONTROL] & PCI_BRIDGE_CTL_BUS_RESET) {
        pci_bridge_reset_behind(bridge);
    }
}

bool pci_bridge_post_load(void *opaque, GError **errp)
{
    if (!pci_device_post_load(opaque, errp)) {
        return false;
    }
    update_behind(opaque);
    return true;
}

static const VMState pci_bridge_vmstate = {
    .name = "pci-bridge",
    .version = 1,
    .priority = VMS_PRIORITY_BUS,
    .fields = pci_device_fields,
    .pre_save = pci_device_pre_save,
    .post_load = pci_bridge_post_load,
};

static bool pci_bridge_realize(PCIDevice *dev, GError **errp)
{
    static unsigned anonymous;
    PCIBridge *bridge = PCI_BRIDGE(dev);
    g_autofree char *name =
        DEVICE(dev)->id ? g_strdup(DEVICE(dev)->id) : g_strdup_printf("pci.%u", ++anonymous);
    uint8_t *wmask = dev->wmask;

    if (pci_bus_find(name)) {
        return error_set(errp, "%s: there is a bus '%s' already", G_OBJECT_TYPE_NAME(dev), name);
    }
    wmask[PCI_PRIMARY_BUS] = wmask[PCI_SECONDARY_BUS] = wmask[PCI_SUBORDINATE_BUS] = 0xff;
    wmask[PCI_IO_BASE] = wmask[PCI_IO_LIMIT] = 0xf0;
    pci_set_word(wmask + PCI_MEMORY_BASE, 0xfff0);
    pci_set_word(wmask + PCI_MEMORY_LIMIT, 0xfff0);
    pci_set_word(wmask + PCI_PREF_MEMORY_BASE, 0xfff0);
    pci_set_word(wmask + PCI_PREF_MEMORY_LIMIT, 0xfff0);
    pci_set_long(wmask + PCI_PREF_BASE_UPPER32, UINT32_MAX);
    pci_set_long(wmask + PCI_PREF_LIMIT_UPPER32, UINT32_MAX);
    pci_set_word(wmask + PCI_BRIDGE_CONTROL,
                 PCI_BRIDGE_CTL_PARITY | PCI_BRIDGE_CTL_SERR | PCI_BRIDGE_CTL_BUS_RESET);
    pci_set_word(dev->w1cmask + PCI_SEC_STATUS, pci_get_word(dev->w1cmask + PCI_STATUS));
    pci_set_word(dev->config + PCI_PREF_MEMORY_BASE, PCI_PREF_RANGE_TYPE_64);
    pci_set_word(dev->config + PCI_PREF_MEMORY_LIMIT, PCI_PREF_RANGE_TYPE_64);
    bridge->sec = pci_bus_new(name, dev, PCI_BRIDGE_GET_CLASS(bridge)->slots);
    return true;
}

static void pci_bridge_exit(PCIDevice *dev)
{
    PCIBridge *bridge = PCI_BRIDGE(dev);

    /* A device behind may itself be a bridge, so this goes all the way down. */
    for (int devfn = 0; devfn < (int)G_N_ELEMENTS(bridge->sec->devices); devfn++) {
        if (bridge->sec->devices[devfn]) {
            device_destroy(DEVICE(bridge->sec->devices[devfn]));
        }
    }
    g_clear_pointer(&bridge->sec, pci_bus_free);
}

/* Unnumbered, its windows closed. */
static void pci_bridge_reset(PCIDevice *dev)
{
    pci_set_long(dev->config + PCI_PRIMARY_BUS, 0);
    pci_set_word(dev->config + PCI_BRIDGE_CONTROL, 0);
    for (PCIWindowKind kind = 0; kind < PCI_WINDOW__MAX; kind++) {
        pci_bridge_set_window(dev, kind, 0, 0);
    }
}

static void pci_bridge_init(PCIBridge *self)
{
}

static void pci_bridge_class_init(PCIBridgeClass *klass)
{
    PCIDeviceClass *pc = PCI_DEVICE_CLASS(klass);

    DEVICE_CLASS(klass)->category = "Bridge";
    pc->class_code = 0x060400;
    pc->is_bridge = true;
    pc->vmstate = &pci_bridge_vmstate;
    pc->realize = pci_bridge_realize;
    pc->exit = pci_bridge_exit;
    pc->reset = pci_bridge_reset;
    pc->config_write = pci_bridge_write_config;
    klass->slots = 32;
}
