/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * -device vfio-pci: a PCI device of the host in the guest.
 *
 * Realizing is a row of stages, each with its way back; a stage that fails leaves nothing of its
 * own, and those before it are undone in reverse, as they are when the device goes.
 */
#include "hw/vfio/pci.h"

#include <stdio.h>

#include "util/error.h"
#include "util/hostcalls.h"
#include "util/keyval.h"
#include "util/trace.h"

typedef PCIDeviceClass VFIOPCIDeviceClass;

DEFINE_OBJECT_TYPE(VFIOPCIDevice, vfio_pci, "vfio-pci", TYPE_PCI_DEVICE, 0)

/* ---- properties ---- */

static bool parse_bdf(const char *text, unsigned *domain, unsigned *bus, unsigned *slot,
                      unsigned *func)
{
    int end = 0;

    if (text[strspn(text, "0123456789abcdefABCDEF:.")]) { /* scanf would take signs and spaces */
        return false;
    }
    /* NOLINTBEGIN(cert-err34-c): what does not fit is cut off by the widths */
    if (sscanf(text, "%8x:%2x:%2x.%1x%n", domain, bus, slot, func, &end) != 4) {
        *domain = 0;
        if (sscanf(text, "%2x:%2x.%1x%n", bus, slot, func, &end) != 3) {
            return false;
        }
    }
    /* NOLINTEND(cert-err34-c): see above */
    return !text[end] && *slot <= 0x1f && *func <= 7;
}

/* "DDDD:BB:SS.F" or "BB:SS.F" in hex, kept in the long form, which is sysfs's name. */
static bool host_set(GObject *obj, const Property *prop, void *field, JsonNode *value,
                     GError **errp)
{
    g_autofree char *text = keyval_text(value);
    unsigned domain, bus, slot, func;

    if (!text || !parse_bdf(text, &domain, &bus, &slot, &func)) {
        return property_set_bad_value(obj, prop, value, errp);
    }
    g_free(*(char **)field);
    *(char **)field = g_strdup_printf("%04x:%02x:%02x.%x", domain, bus, slot, func);
    return true;
}

static JsonNode *host_get(GObject *obj, const Property *prop, const void *field)
{
    return json_node_init_string(json_node_alloc(), *(char *const *)field ?: "");
}

static void host_release(void *field)
{
    g_clear_pointer((char **)field, g_free);
}

static const PropertyKind property_pci_host = { "str", host_set, host_get, NULL, host_release };

/* QEMU has "auto" for a random one. */
static bool uuid_set(GObject *obj, const Property *prop, void *field, JsonNode *value,
                     GError **errp)
{
    g_autofree char *text = keyval_text(value);
    uint8_t uuid[16];

    if (text && g_str_equal(text, "auto")) {
        g_free(text);
        text = g_uuid_string_random();
    }
    if (!text || !uuid_parse(text, uuid)) {
        return property_set_bad_value(obj, prop, value, errp);
    }
    g_free(*(char **)field);
    *(char **)field = g_ascii_strdown(text, -1);
    return true;
}

static const PropertyKind property_uuid = { "str", uuid_set, host_get, NULL, host_release };

static const Property vfio_pci_properties[] = {
    PROP_("host", property_pci_host, VFIOPCIDevice, host,
          .help = "the host's device, [DDDD:]BB:DD.F"),
    PROP_STRING("sysfsdev", VFIOPCIDevice, sysfsdev,
                .help = "the device's folder in sysfs, instead of host"),
    PROP_STRING("fd", VFIOPCIDevice, fd_name,
                .help = "open descriptor of the device's cdev, instead of host: a number, a name "
                        "of getfd's, or /dev/fdset/N"),
    PROP_LINK("iommufd", VFIOPCIDevice, iommufd, iommufd_backend_get_type,
              .help = "iommufd object whose address space the device is attached to (default: "
                      "its group is used)"),
    PROP_("vf-token", property_uuid, VFIOPCIDevice, vf_token,
          .help = "UUID that a VF and the user of its PF share, where VFIO has both"),
    PROP_INT32("rombar", VFIOPCIDevice, rombar, -1, .help = "0 hides the option ROM"),
    PROP_INT32("bootindex", VFIOPCIDevice, bootindex, -1,
               .help = "taken, but a kernel that is booted directly has no boot order"),
    PROP_BOOL("x-no-mmap", VFIOPCIDevice, no_mmap, false, .help = "trap all accesses to BARs"),
    PROP_BOOL("x-no-kvm-intx", VFIOPCIDevice, no_kvm_intx, false,
              .help = "deliver INTx through this process"),
    PROP_BOOL("x-no-kvm-msi", VFIOPCIDevice, no_kvm_msi, false,
              .help = "deliver MSI through this process"),
    PROP_BOOL("x-no-kvm-msix", VFIOPCIDevice, no_kvm_msix, false,
              .help = "deliver MSI-X through this process"),
    PROP_BOOL("x-req", VFIOPCIDevice, req, true,
              .help = "unplug the device when the host wants it back"),
    PROP_UINT32("x-pci-vendor-id", VFIOPCIDevice, vendor_id, UINT32_MAX),
    PROP_UINT32("x-pci-device-id", VFIOPCIDevice, device_id, UINT32_MAX),
    PROP_UINT32("x-pci-sub-vendor-id", VFIOPCIDevice, sub_vendor_id, UINT32_MAX),
    PROP_UINT32("x-pci-sub-device-id", VFIOPCIDevice, sub_device_id, UINT32_MAX),
    PROP_UINT32("x-pci-class-code", VFIOPCIDevice, class_code, UINT32_MAX),
    PROP_ENUM("x-msix-relocation", VFIOPCIDevice, msix_relo, vfio_msix_relo_names, 0,
              .help = "BAR to which table and pending bits of MSI-X move"),
    PROP_ON_OFF_AUTO("ats", VFIOPCIDevice, ats, ON_OFF_AUTO_AUTO,
                     .help = "the guest sees the ATS capability"),
    PROP_ON_OFF_AUTO("enable-migration", VFIOPCIDevice, enable_migration, ON_OFF_AUTO_AUTO,
                     .help = "off: it blocks migration; on: it must be able to, but not to track "
                             "what it writes; auto: it blocks migration if it cannot"),
    PROP_BOOL("migration-events", VFIOPCIDevice, migration_events, false,
              .help = "a VFIO_MIGRATION event for each migration state that the device gets to"),
    PROP_ON_OFF_AUTO("x-pre-copy-dirty-page-tracking", VFIOPCIDevice, precopy_dirty, ON_OFF_AUTO_ON,
                     .help = "off: what it writes is not asked for before the VM is stopped"),
    PROP_ON_OFF_AUTO("x-device-dirty-page-tracking", VFIOPCIDevice, device_dirty, ON_OFF_AUTO_ON,
                     .help = "off: a log that the device itself keeps is not used"),
};

void vfio_pci_warn_once(VFIOPCIDevice *vdev, VFIOWarning what, const GError *error)
{
    TRACE("vfio_pci_warning", "%s: %s", vdev->vbasedev->name, error->message);
    if (!(vdev->warned & 1U << what)) {
        vdev->warned |= 1U << what;
        warn_report("vfio %s: %s", vdev->vbasedev->name, error->message);
    }
}

void vfio_pci_warn_interrupt(VFIOPCIDevice *vdev, const GError *error)
{
    vfio_pci_warn_once(vdev, (VFIOWarning)vdev->interrupt, error);
}

/* ---- interrupts ---- */

static bool no_interrupt(VFIOPCIDevice *vdev, GError **errp)
{
    return true;
}

static const struct {
    bool (*enable)(VFIOPCIDevice *vdev, GError **errp);
    void (*disable)(VFIOPCIDevice *vdev);
} interrupts[] = {
    [VFIO_INT_NONE] = { no_interrupt, NULL },
    [VFIO_INT_INTx] = { vfio_intx_enable, vfio_intx_disable },
    [VFIO_INT_MSI] = { vfio_msi_enable, vfio_msi_disable },
    [VFIO_INT_MSIX] = { vfio_msix_enable, vfio_msix_disable },
};

/* What cannot be enabled is not tried again until the guest leaves it: hence entered all the same. */
bool vfio_pci_set_interrupt(VFIOPCIDevice *vdev, VFIOInterrupt interrupt, GError **errp)
{
    if (vdev->interrupt == interrupt) {
        return true;
    }
    if (interrupts[vdev->interrupt].disable) {
        interrupts[vdev->interrupt].disable(vdev);
    }
    vdev->interrupt = interrupt;
    return interrupts[interrupt].enable(vdev, errp);
}

static bool interrupts_init(VFIOPCIDevice *vdev, GError **errp)
{
    if (vdev->vbasedev->adopted) { /* it is in one of them, and goes on */
        return true;
    }
    if (!vfio_pci_set_interrupt(vdev, VFIO_INT_INTx, errp)) {
        vdev->interrupt = VFIO_INT_NONE;
        return false;
    }
    return true;
}

static void interrupts_fini(VFIOPCIDevice *vdev)
{
    vfio_pci_set_interrupt(vdev, VFIO_INT_NONE, NULL);
}

/* ---- life ---- */

static void coming(void *opaque)
{
    pci_device_coming(opaque);
}

static bool attach(VFIOPCIDevice *vdev, GError **errp)
{
    g_autofree char *sysfs = NULL;
    VFIODeviceRef ref = { .fd = vdev->fd_name,
                          .iommufd = vdev->iommufd,
                          .id = DEVICE(vdev)->id,
                          .vf_token = vdev->vf_token,
                          .coming = coming,
                          .opaque = &vdev->parent };

    if (!vdev->sysfsdev && !vdev->host && !vdev->fd_name) {
        return error_set(errp, "No provided host device: use host=DDDD:BB:SS.F, "
                               "sysfsdev=/sys/bus/pci/devices/DDDD:BB:SS.F or fd=N");
    }
    if (vdev->fd_name && (vdev->sysfsdev || vdev->host)) {
        return error_set(errp, "vfio fd %s: fd and %s exclude each other", vdev->fd_name,
                         vdev->host ? "host" : "sysfsdev");
    }
    sysfs = vdev->sysfsdev ? g_strdup(vdev->sysfsdev)
            : vdev->host   ? g_strdup_printf("/sys/bus/pci/devices/%s", vdev->host)
                           : NULL;
    if (vdev->fd_name && !vdev->iommufd) {
        return error_set(errp,
                         "vfio fd %s: there is no iommufd: use -object iommufd,id=ID and "
                         "iommufd=ID",
                         vdev->fd_name);
    }
    ref.sysfs = sysfs;
    vdev->vbasedev = vfio_device_attach(&ref, errp);
    return vdev->vbasedev;
}

static void detach(VFIOPCIDevice *vdev)
{
    vfio_device_detach(g_steal_pointer(&vdev->vbasedev));
}

static bool check_is_pci(VFIOPCIDevice *vdev, GError **errp)
{
    VFIODevice *vbasedev = vdev->vbasedev;

    if (!(vbasedev->flags & VFIO_DEVICE_FLAGS_PCI)) {
        return error_set(errp, "it is not a PCI device");
    }
    if (vbasedev->nr_regions <= VFIO_PCI_CONFIG_REGION_INDEX ||
        vbasedev->nr_irqs <= VFIO_PCI_MSIX_IRQ_INDEX) {
        return error_set(errp, "it has %u regions and %u kinds of interrupts, too few for PCI",
                         vbasedev->nr_regions, vbasedev->nr_irqs);
    }
    return true;
}

static const struct {
    bool (*init)(VFIOPCIDevice *vdev, GError **errp);
    void (*fini)(VFIOPCIDevice *vdev);
} stages[] = {
    { attach, detach },
    { check_is_pci, NULL },
    { vfio_config_init, vfio_config_fini },
    { vfio_msix_early_setup, NULL }, /* the BARs' maps leave room for the table */
    { vfio_bars_init, vfio_bars_fini },
    { vfio_rom_init, vfio_rom_fini },
    { vfio_capabilities_init, vfio_msi_fini },
    { interrupts_init, interrupts_fini },
    { vfio_notifiers_init, vfio_notifiers_fini },
    { vfio_pci_migration_init, vfio_pci_migration_fini },
    { vfio_pci_cpr_init, vfio_pci_cpr_fini },
};

static void undo_stages(VFIOPCIDevice *vdev, size_t n)
{
    while (n-- > 0) {
        if (stages[n].fini) {
            stages[n].fini(vdev);
        }
    }
}

static bool vfio_pci_realize(PCIDevice *pdev, GError **errp)
{
    VFIOPCIDevice *vdev = VFIO_PCI(pdev);

    for (size_t i = 0; i < G_N_ELEMENTS(stages); i++) {
        if (!stages[i].init(vdev, errp)) {
            if (vdev->vbasedev) { /* before there is one, the message has its own beginning */
                g_prefix_error(errp, "vfio %s: ", vdev->vbasedev->name);
                if (vdev->vbasedev->adopted) {
                    host_let_go(); /* it is another process's, and this one about to end */
                }
            }
            undo_stages(vdev, i);
            return false;
        }
    }
    /* To open a device is to reset it, if it has a reset of its own. */
    vdev->use = vdev->vbasedev->flags & VFIO_DEVICE_FLAGS_RESET ? VFIO_CLEAN : VFIO_QUIET;
    if (vdev->vbasedev->adopted) { /* nor is one that works to be reset at the start */
        vdev->use = VFIO_CLEAN;
    } else if (DEVICE(vdev)->hotplugged) { /* at the start, all devices are reset together */
        vfio_pci_reset(pdev);
    }
    TRACE("vfio_realize", "%s %04x:%04x", vdev->vbasedev->name,
          pci_get_word(pdev->config + PCI_VENDOR_ID), pci_get_word(pdev->config + PCI_DEVICE_ID));
    return true;
}

static void vfio_pci_exit(PCIDevice *pdev)
{
    undo_stages(VFIO_PCI(pdev), G_N_ELEMENTS(stages));
}

/* ---- type ---- */

static void vfio_pci_finalize(GObject *obj)
{
    VFIOPCIDevice *vdev = VFIO_PCI(obj);

    /* Kept to the end, for a view of memory may have pointed there. */
    for (unsigned i = 0; i < PCI_NUM_BARS; i++) {
        g_free(vdev->bars[i].mmaps);
    }
    G_OBJECT_CLASS(vfio_pci_parent_class)->finalize(obj);
}

static void vfio_pci_init(VFIOPCIDevice *vdev)
{
    vdev->intx = (VFIOINTx) { .gsi = -1, .trigger = -1, .line = -1, .resample = -1 };
    for (unsigned i = 0; i < VFIO_NR_NOTIFIERS; i++) {
        vdev->notifiers[i].fd = -1;
    }
}

static void vfio_pci_class_init(VFIOPCIDeviceClass *klass)
{
    DeviceClass *dc = DEVICE_CLASS(klass);

    G_OBJECT_CLASS(klass)->finalize = vfio_pci_finalize;
    dc->desc = "a PCI device of the host, passed through";
    dc->category = "Misc";
    dc->user_creatable = true;
    dc->hotpluggable = true;
    klass->express = true;
    klass->realize = vfio_pci_realize;
    klass->exit = vfio_pci_exit;
    klass->reset = vfio_pci_reset;
    klass->bars_moved = vfio_bars_moved;
    klass->vmstate = &vfio_pci_vmstate;
    klass->config_read = vfio_pci_read_config;
    klass->config_write = vfio_pci_write_config;
    object_class_add_properties(klass, vfio_pci_properties, G_N_ELEMENTS(vfio_pci_properties));
}
