/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * PCI devices: type, properties, and the way from nothing to a function on a bus and back.
 *
 * A class fills in its identity and up to three steps (realize, exit, reset); what all functions
 * share is done around them, so that a model starts with a valid header, a place on its bus and
 * unmapped BARs, and ends with all of that taken away again.
 */
#include <stdio.h>

#include "core/runstate.h"
#include "hw/pci/internal.h"
#include "hw/pci/msi.h"
#include "util/error.h"
#include "util/keyval.h"
#include "util/trace.h"

/* "1af4:1100", what QEMU's models have when they name no subsystem. */
#define SUBSYSTEM_VENDOR_DEFAULT 0x1af4
#define SUBSYSTEM_DEFAULT        0x1100

DEFINE_OBJECT_TYPE(PCIDevice, pci_device, "pci-device", TYPE_DEVICE, G_TYPE_FLAG_ABSTRACT)

/* ---- property `addr` ---- */

/* A hex number of at most @max at *@text, "0x" allowed; moves *@text behind it. */
static bool parse_hex(const char **text, unsigned max, unsigned *n)
{
    char *end;
    guint64 v;

    if (!g_ascii_isxdigit(**text)) {
        return false;
    }
    v = g_ascii_strtoull(*text, &end, 16);
    *text = end;
    *n = (unsigned)v;
    return v <= max;
}

static bool devfn_set(GObject *obj, const Property *prop, void *field, JsonNode *value,
                      GError **errp)
{
    g_autofree char *text = keyval_text(value);
    const char *p = text ?: "";
    unsigned slot, func = 0;

    if (JSON_NODE_HOLDS_VALUE(value) && json_node_get_value_type(value) == G_TYPE_INT64) {
        gint64 devfn = json_node_get_int(value); /* QEMU's other form: the number itself */

        if (devfn < PCI_DEVFN_AUTO || devfn > 0xff) {
            return property_set_bad_value(obj, prop, value, errp);
        }
        *(int32_t *)field = (int32_t)devfn;
        return true;
    }
    if (!parse_hex(&p, 0x1f, &slot) || (*p == '.' && (p++, !parse_hex(&p, 7, &func))) || *p) {
        return property_set_bad_value(obj, prop, value, errp);
    }
    *(int32_t *)field = PCI_DEVFN(slot, func);
    return true;
}

static JsonNode *devfn_get(GObject *obj, const Property *prop, const void *field)
{
    int32_t devfn = *(const int32_t *)field;
    char text[16] = "<unset>";

    if (devfn != PCI_DEVFN_AUTO) {
        snprintf(text, sizeof(text), "%02x.%x", PCI_SLOT(devfn), PCI_FUNC(devfn));
    }
    return json_node_init_string(json_node_alloc(), text);
}

static void devfn_default(const Property *prop, void *field)
{
    *(int32_t *)field = PCI_DEVFN_AUTO;
}

static const PropertyKind property_devfn = { "str", devfn_set, devfn_get, devfn_default, NULL };

static const Property pci_device_properties[] = {
    PROP_("addr", property_devfn, PCIDevice, devfn,
          .help = "place on the bus, DEVICE[.FUNCTION] in hex"),
    PROP_BOOL("multifunction", PCIDevice, multifunction, false, .help = "on/off"),
    PROP_STRING("romfile", PCIDevice, romfile),
    PROP_UINT32("romsize", PCIDevice, romsize, UINT32_MAX),
};

/* ---- life ---- */

char *pci_device_name(PCIDevice *dev)
{
    const char *type = G_OBJECT_TYPE_NAME(dev), *id = DEVICE(dev)->id;

    return id ? g_strdup_printf("%s,id=%s", type, id) : g_strdup(type);
}

char *pci_device_path(PCIDevice *dev)
{
    return g_strdup_printf("0000:%02x:%02x.%x", pci_bus_number(dev->bus), PCI_SLOT(dev->devfn),
                           PCI_FUNC(dev->devfn));
}

static PCIBus *find_bus(Device *dev, GError **errp)
{
    PCIBus *bus = dev->bus_name ? pci_bus_find(dev->bus_name) : pci_root_bus();

    if (!bus && dev->bus_name) {
        error_set(errp, "Bus '%s' not found", dev->bus_name);
    } else if (!bus) {
        error_set(errp, "No 'PCI' bus found for device '%s'", G_OBJECT_TYPE_NAME(dev));
    } else if (dev->hotplugged && !bus->hotplug) {
        error_set(errp, "Bus '%s' does not support hotplugging", bus->name);
        return NULL;
    }
    return bus;
}

static void fill_header(PCIDevice *dev)
{
    PCIDeviceClass *klass = PCI_DEVICE_GET_CLASS(dev);
    uint8_t *config = dev->config;

    pci_set_word(config + PCI_VENDOR_ID, klass->vendor_id);
    pci_set_word(config + PCI_DEVICE_ID, klass->device_id);
    pci_set_long(config + PCI_CLASS_REVISION, klass->class_code << 8 | (klass->revision & 0xff));
    config[PCI_HEADER_TYPE] = klass->is_bridge ? PCI_HEADER_TYPE_BRIDGE : PCI_HEADER_TYPE_NORMAL;
    if (dev->multifunction) {
        config[PCI_HEADER_TYPE] |= 0x80;
    }
    if (!klass->is_bridge) {
        bool named = klass->subsystem_vendor_id || klass->subsystem_id;

        pci_set_word(config + PCI_SUBSYSTEM_VENDOR_ID,
                     named ? klass->subsystem_vendor_id : SUBSYSTEM_VENDOR_DEFAULT);
        pci_set_word(config + PCI_SUBSYSTEM_ID, named ? klass->subsystem_id : SUBSYSTEM_DEFAULT);
    }
}

/* The class of the bridge above; NULL on the root bus. */
static PCIBridgeClass *bridge_class(PCIDevice *dev)
{
    return dev->bus->bridge ? PCI_BRIDGE_GET_CLASS(dev->bus->bridge) : NULL;
}

static void set_coming(PCIDevice *dev, bool coming)
{
    PCIBridgeClass *klass = bridge_class(dev);

    if (klass && klass->coming && DEVICE(dev)->hotplugged && !PCI_FUNC(dev->devfn)) {
        klass->coming(PCI_BRIDGE(dev->bus->bridge), coming);
    }
}

void pci_device_coming(PCIDevice *dev)
{
    set_coming(dev, true);
}

/* All that reaches outside is withdrawn before the model takes its regions apart. */
static void pci_device_unrealize(Device *device)
{
    PCIDevice *dev = PCI_DEVICE(device);
    PCIDeviceClass *klass = PCI_DEVICE_GET_CLASS(dev);

    if (klass->vmstate) {
        vmstate_unregister(klass->vmstate, dev);
    }
    pci_set_word(dev->config + PCI_COMMAND, 0);
    pci_update_mappings(dev);
    pci_set_intx(dev, false);
    if (klass->exit) {
        klass->exit(dev);
    }
    dev->bus->devices[dev->devfn] = NULL;
    if (bridge_class(dev) && bridge_class(dev)->unplugged) {
        bridge_class(dev)->unplugged(PCI_BRIDGE(dev->bus->bridge), dev);
    }
    pci_config_fini(dev);
    dev->bus = NULL;
}

/*
 * Before the guest runs, what is hot-plugged gets its resources like all else.  Later the guest
 * assigns them.
 */
static bool pci_device_realize(Device *device, GError **errp)
{
    PCIDevice *dev = PCI_DEVICE(device);
    PCIDeviceClass *klass = PCI_DEVICE_GET_CLASS(dev);
    int32_t wanted = dev->devfn;

    dev->bus = find_bus(device, errp);
    if (!dev->bus || !pci_bus_place(dev->bus, dev, errp)) {
        dev->bus = NULL;
        return false;
    }
    pci_config_init(dev);
    fill_header(dev);
    if (klass->realize && !klass->realize(dev, errp)) {
        set_coming(dev, false);
        pci_config_fini(dev);
        dev->devfn = wanted;
        dev->bus = NULL;
        return false;
    }
    dev->bus->devices[dev->devfn] = dev;
    if (bridge_class(dev) && bridge_class(dev)->plugged) {
        bridge_class(dev)->plugged(PCI_BRIDGE(dev->bus->bridge), dev);
    }
    if (klass->vmstate) {
        g_autofree char *id = pci_device_state_id(dev);

        vmstate_register(id, 0, klass->vmstate, dev);
    }
    TRACE("pci_realize", "%s at %02x.%x of %s", G_OBJECT_TYPE_NAME(dev), PCI_SLOT(dev->devfn),
          PCI_FUNC(dev->devfn), dev->bus->name);
    if (device->hotplugged && run_state() == RUN_STATE_PRELAUNCH && !pci_assign_resources(errp)) {
        pci_device_unrealize(device);
        dev->devfn = wanted;
        pci_assign_resources(NULL); /* as it was, for all the others */
        return false;
    }
    return true;
}

/* The function is quiet (unmapped, no interrupts) before its model resets what is behind it. */
static void pci_device_reset(Device *device)
{
    PCIDevice *dev = PCI_DEVICE(device);
    PCIDeviceClass *klass = PCI_DEVICE_GET_CLASS(dev);

    pci_config_reset(dev);
    if (klass->reset) {
        klass->reset(dev);
    }
}

static bool pci_device_unplug_request(Device *device, GError **errp)
{
    PCIDevice *dev = PCI_DEVICE(device);

    if (!dev->bus->hotplug) {
        return error_set(errp, "Bus '%s' does not support hotplugging", dev->bus->name);
    }
    return bridge_class(dev)->unplug_request(PCI_BRIDGE(dev->bus->bridge), dev, errp);
}

static void pci_device_init(PCIDevice *self)
{
}

static void pci_device_class_init(PCIDeviceClass *klass)
{
    DeviceClass *dc = DEVICE_CLASS(klass);

    dc->bus_type = "PCI";
    dc->realize = pci_device_realize;
    dc->unrealize = pci_device_unrealize;
    dc->reset = pci_device_reset;
    dc->unplug_request = pci_device_unplug_request;
    klass->vmstate = &pci_device_vmstate;
    klass->config_read = pci_default_read_config;
    klass->config_write = pci_default_write_config;
    object_class_add_properties(klass, pci_device_properties, G_N_ELEMENTS(pci_device_properties));
}
