/* SPDX-License-Identifier: GPL-2.0-or-later */
/* query-pci: the topology as the guest has it, in the shape of QEMU's schema (PciInfo). */
#include "hw/pci/internal.h"

/* PCI Code and ID Assignment, in words; what is not here goes without a description. */
static const struct ClassName {
    uint16_t class;
    const char *name;
} class_names[] = {
    { 0x0100, "SCSI controller" },
    { 0x0101, "IDE controller" },
    { 0x0104, "RAID controller" },
    { 0x0106, "SATA controller" },
    { 0x0107, "SAS controller" },
    { 0x0108, "NVMe controller" },
    { 0x0180, "Storage controller" },
    { 0x0200, "Ethernet controller" },
    { 0x0207, "InfiniBand controller" },
    { 0x0280, "Network controller" },
    { 0x0300, "VGA controller" },
    { 0x0302, "3D controller" },
    { 0x0380, "Display controller" },
    { 0x0400, "Video controller" },
    { 0x0401, "Audio controller" },
    { 0x0403, "Audio controller" },
    { 0x0480, "Multimedia controller" },
    { 0x0500, "RAM controller" },
    { 0x0580, "Memory controller" },
    { 0x0600, "Host bridge" },
    { 0x0601, "ISA bridge" },
    { 0x0604, "PCI bridge" },
    { 0x0680, "Bridge" },
    { 0x0700, "Serial port" },
    { 0x0780, "Communication controller" },
    { 0x0880, "System peripheral" },
    { 0x0c03, "USB controller" },
    { 0x0c05, "SMBus" },
    { 0x1200, "Processing accelerator" },
};

static JsonArray *query_devices(PCIBus *bus);

static JsonObject *query_class(PCIDevice *dev)
{
    uint16_t class = pci_get_word(dev->config + PCI_CLASS_DEVICE);
    JsonObject *o = json_object_new();

    for (size_t i = 0; i < G_N_ELEMENTS(class_names); i++) {
        if (class_names[i].class == class) {
            json_object_set_string_member(o, "desc", class_names[i].name);
        }
    }
    json_object_set_int_member(o, "class", class);
    return o;
}

static JsonObject *query_id(PCIDevice *dev, bool is_bridge)
{
    JsonObject *o = json_object_new();
    const uint8_t *config = dev->config;

    json_object_set_int_member(o, "device", pci_get_word(config + PCI_DEVICE_ID));
    json_object_set_int_member(o, "vendor", pci_get_word(config + PCI_VENDOR_ID));
    if (!is_bridge) {
        json_object_set_int_member(o, "subsystem", pci_get_word(config + PCI_SUBSYSTEM_ID));
        json_object_set_int_member(o, "subsystem-vendor",
                                   pci_get_word(config + PCI_SUBSYSTEM_VENDOR_ID));
    }
    return o;
}

/* An unmapped BAR's address is -1. */
static JsonArray *query_regions(PCIDevice *dev)
{
    JsonArray *regions = json_array_new();

    for (int i = 0; i < PCI_NUM_REGIONS; i++) {
        const PCIIORegion *r = &dev->regions[i];
        bool io = r->type & PCI_BASE_ADDRESS_SPACE_IO;
        JsonObject *o;

        if (!r->mr) {
            continue;
        }
        o = json_object_new();
        json_object_set_int_member(o, "bar", i);
        json_object_set_int_member(o, "address", (gint64)r->addr);
        json_object_set_int_member(o, "size", (gint64)r->size);
        json_object_set_string_member(o, "type", io ? "io" : "memory");
        if (!io) {
            json_object_set_boolean_member(o, "prefetch", r->type & PCI_BASE_ADDRESS_MEM_PREFETCH);
            json_object_set_boolean_member(o, "mem_type_64", pci_bar_is_64bit(r));
        }
        json_array_add_object_element(regions, o);
    }
    return regions;
}

static JsonObject *query_window(PCIDevice *dev, PCIWindowKind kind)
{
    JsonObject *o = json_object_new();
    uint64_t base, limit;

    pci_bridge_window(dev, kind, &base, &limit);
    json_object_set_int_member(o, "base", (gint64)base);
    json_object_set_int_member(o, "limit", (gint64)limit);
    return o;
}

static JsonObject *query_bridge(PCIDevice *dev)
{
    JsonObject *o = json_object_new(), *bus = json_object_new();
    PCIBus *behind = pci_bus_behind(dev);

    json_object_set_int_member(bus, "number", dev->config[PCI_PRIMARY_BUS]);
    json_object_set_int_member(bus, "secondary", dev->config[PCI_SECONDARY_BUS]);
    json_object_set_int_member(bus, "subordinate", dev->config[PCI_SUBORDINATE_BUS]);
    json_object_set_object_member(bus, "io_range", query_window(dev, PCI_WINDOW_IO));
    json_object_set_object_member(bus, "memory_range", query_window(dev, PCI_WINDOW_MEM));
    json_object_set_object_member(bus, "prefetchable_range", query_window(dev, PCI_WINDOW_PREF));
    json_object_set_object_member(o, "bus", bus);
    if (pci_bus_number(behind)) {
        json_object_set_array_member(o, "devices", query_devices(behind));
    }
    return o;
}

static JsonObject *query_device(PCIDevice *dev)
{
    bool is_bridge = pci_bus_behind(dev);
    JsonObject *o = json_object_new();

    json_object_set_int_member(o, "bus", pci_bus_number(dev->bus));
    json_object_set_int_member(o, "slot", PCI_SLOT(dev->devfn));
    json_object_set_int_member(o, "function", PCI_FUNC(dev->devfn));
    json_object_set_object_member(o, "class_info", query_class(dev));
    json_object_set_object_member(o, "id", query_id(dev, is_bridge));
    if (dev->config[PCI_INTERRUPT_PIN]) {
        json_object_set_int_member(o, "irq", dev->config[PCI_INTERRUPT_LINE]);
    }
    json_object_set_int_member(o, "irq_pin", dev->config[PCI_INTERRUPT_PIN]);
    json_object_set_string_member(o, "qdev_id", DEVICE(dev)->id ?: "");
    if (is_bridge) {
        json_object_set_object_member(o, "pci_bridge", query_bridge(dev));
    }
    json_object_set_array_member(o, "regions", query_regions(dev));
    return o;
}

static JsonArray *query_devices(PCIBus *bus)
{
    JsonArray *devices = json_array_new();

    for (size_t devfn = 0; devfn < G_N_ELEMENTS(bus->devices); devfn++) {
        if (bus->devices[devfn]) {
            json_array_add_object_element(devices, query_device(bus->devices[devfn]));
        }
    }
    return devices;
}

JsonArray *pci_query(void)
{
    JsonArray *roots = json_array_new();
    JsonObject *root;

    if (pci_host) {
        root = json_object_new();
        json_object_set_int_member(root, "bus", 0);
        json_object_set_array_member(root, "devices", query_devices(pci_host->root));
        json_array_add_object_element(roots, root);
    }
    return roots;
}
