/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Migration of vfio-pci.  The device's own state is its driver's affair (migration.c); what is left
 * is what this process stands in for: the emulated registers, and interrupts.
 *
 * They are loaded when the device has got its state and does not run yet, by the functions that serve
 * a guest's writes, and in the order in which a driver would write: so BARs are mapped, and routes
 * and eventfds made, in the one way there is.  What a guest cannot write must be the same on both
 * sides, or the device is another one.
 */
#include "hw/vfio/migration.h"
#include "hw/vfio/pci.h"

#include <inttypes.h>

#include "migration/cpr.h"
#include "util/error.h"
#include "util/hostcalls.h"
#include "util/trace.h"

static const VMStateField saved_fields[] = {
    VMSTATE_UINT_ARRAY(VFIOPCISaved, bar_size),
    VMSTATE_UINT(VFIOPCISaved, msi_pending),
    VMSTATE_BOOL(VFIOPCISaved, intx_pending),
    VMSTATE_END,
};

static const VMStateField vfio_pci_fields[] = {
    VMSTATE_STRUCT(VFIOPCIDevice, parent, pci_device_fields),
    VMSTATE_STRUCT(VFIOPCIDevice, saved, saved_fields),
    VMSTATE_END,
};

/* ---- saving ---- */

/* The eventfd has a signal that nobody has taken. */
static bool is_signalled(int fd)
{
    GPollFD poll = { .fd = fd, .events = G_IO_IN };

    return fd >= 0 && g_poll(&poll, 1, 0) == 1;
}

/* The guest has not got it: the vector is masked, or the main loop has not been there yet. */
static bool is_kept_back(const VFIOMSIVector *v)
{
    return !v->bound && is_signalled(v->trigger);
}

static void save_interrupts(VFIOPCIDevice *vdev)
{
    PCIDevice *pdev = &vdev->parent;

    for (unsigned i = 0; i < msix_nr_vectors(pdev); i++) {
        msix_set_pending(pdev, i,
                         vdev->interrupt == VFIO_INT_MSIX && is_kept_back(&vdev->vectors[i]));
    }
    vdev->saved.msi_pending = 0;
    for (unsigned i = 0; vdev->interrupt == VFIO_INT_MSI && i < vdev->nr_msi; i++) {
        vdev->saved.msi_pending |= (uint32_t)is_kept_back(&vdev->vectors[i]) << i;
    }
    vdev->saved.intx_pending = vdev->intx.relay && is_signalled(vdev->intx.trigger);
}

static bool vfio_pci_pre_save(void *opaque, GError **errp)
{
    VFIOPCIDevice *vdev = opaque;

    for (unsigned i = 0; i < PCI_NUM_REGIONS; i++) {
        vdev->saved.bar_size[i] = vdev->parent.regions[i].size;
    }
    save_interrupts(vdev);
    return pci_device_pre_save(opaque, errp);
}

/* ---- loading: is it the same device? ---- */

/* The bits at @at that are ours and that nothing changes. */
static uint8_t fixed_bits(const VFIOPCIDevice *vdev, uint32_t at)
{
    const PCIDevice *pdev = &vdev->parent;
    uint32_t msi = pdev->msi_cap;
    uint16_t flags = msi ? pci_get_word(pdev->config + msi + PCI_MSI_FLAGS) : 0;
    uint32_t pending =
        msi + (flags & PCI_MSI_FLAGS_64BIT ? PCI_MSI_PENDING_64 : PCI_MSI_PENDING_32);

    if (msi && flags & PCI_MSI_FLAGS_MASKBIT && at - pending < 4) {
        return 0;
    }
    return vdev->emulated_config_bits[at] &
           (uint8_t) ~(pdev->wmask[at] | pdev->w1cmask[at] | pdev->varies[at]);
}

static bool check_same(VFIOPCIDevice *vdev, GError **errp)
{
    PCIDevice *pdev = &vdev->parent;

    for (uint32_t i = 0; i < pdev->config_size; i++) {
        uint8_t bits = fixed_bits(vdev, i);

        if ((pdev->loaded[i] ^ pdev->config[i]) & bits) {
            return error_set(errp,
                             "vfio %s: configuration space at 0x%x is 0x%02x there and 0x%02x "
                             "here, of which 0x%02x must be the same",
                             vdev->vbasedev->name, i, pdev->loaded[i], pdev->config[i], bits);
        }
    }
    for (unsigned i = 0; i < PCI_NUM_REGIONS; i++) {
        if (vdev->saved.bar_size[i] != pdev->regions[i].size) {
            return error_set(
                errp, "vfio %s: BAR %u has 0x%" PRIx64 " bytes there and 0x%" PRIx64 " here",
                vdev->vbasedev->name, i, vdev->saved.bar_size[i], pdev->regions[i].size);
        }
    }
    return true;
}

/* ---- loading: as a guest's driver would ---- */

static void write_saved(VFIOPCIDevice *vdev, uint32_t at, unsigned len)
{
    const uint8_t *from = vdev->parent.loaded + at;
    uint32_t val = len == 4 ? pci_get_long(from) : len == 2 ? pci_get_word(from) : *from;

    vfio_pci_write_config(&vdev->parent, at, val, len);
}

static void set_power(PCIDevice *pdev, uint16_t state)
{
    uint32_t at = pdev->pm_cap + PCI_PM_CTRL;
    uint32_t control = pdev->pm_cap ? vfio_pci_read_config(pdev, at, 2) : state;

    if ((control & PCI_PM_CTRL_STATE_MASK) != state) {
        vfio_pci_write_config(pdev, at, (control & ~(uint32_t)PCI_PM_CTRL_STATE_MASK) | state, 2);
    }
}

/* No memory, no interrupt but the pin, whatever there was before. */
static void quiesce(VFIOPCIDevice *vdev)
{
    PCIDevice *pdev = &vdev->parent;

    set_power(pdev, 0);
    vfio_pci_write_config(pdev, PCI_COMMAND, 0, 2);
    if (vdev->msix.cap) {
        vfio_pci_write_config(pdev, vdev->msix.cap + PCI_MSIX_FLAGS, 0, 2);
    }
    if (pdev->msi_cap) {
        vfio_pci_write_config(pdev, pdev->msi_cap + PCI_MSI_FLAGS, 0, 2);
    }
}

static bool load_header(VFIOPCIDevice *vdev, GError **errp)
{
    PCIDevice *pdev = &vdev->parent;
    uint16_t wanted = pci_get_word(vdev->parent.loaded + PCI_COMMAND);
    uint16_t command;

    for (uint32_t bar = PCI_BASE_ADDRESS_0; bar <= PCI_BASE_ADDRESS_5; bar += 4) {
        write_saved(vdev, bar, 4);
    }
    write_saved(vdev, PCI_ROM_ADDRESS, 4);
    write_saved(vdev, PCI_CACHE_LINE_SIZE, 1);
    write_saved(vdev, PCI_INTERRUPT_LINE, 1);
    write_saved(vdev, PCI_COMMAND, 2);
    command = pci_get_word(pdev->config + PCI_COMMAND);
    return !((command ^ wanted) & pci_get_word(pdev->wmask + PCI_COMMAND)) ||
           error_set(errp, "vfio %s: its COMMAND register is 0x%04x, not 0x%04x",
                     vdev->vbasedev->name, command, wanted);
}

/* The mask and the message, and then what switches it on. */
static void load_msi(VFIOPCIDevice *vdev)
{
    uint32_t cap = vdev->parent.msi_cap;
    uint16_t flags = cap ? pci_get_word(vdev->parent.loaded + cap + PCI_MSI_FLAGS) : 0;
    bool wide = flags & PCI_MSI_FLAGS_64BIT;

    if (!cap) {
        return;
    }
    write_saved(vdev, cap + PCI_MSI_ADDRESS_LO, 4);
    if (wide) {
        write_saved(vdev, cap + PCI_MSI_ADDRESS_HI, 4);
    }
    write_saved(vdev, cap + (wide ? PCI_MSI_DATA_64 : PCI_MSI_DATA_32), 2);
    if (flags & PCI_MSI_FLAGS_MASKBIT) {
        write_saved(vdev, cap + (wide ? PCI_MSI_MASK_64 : PCI_MSI_MASK_32), 4);
    }
    write_saved(vdev, cap + PCI_MSI_FLAGS, 2);
}

static bool load_msix(VFIOPCIDevice *vdev, GError **errp)
{
    uint32_t flags = vdev->msix.cap + PCI_MSIX_FLAGS;

    if (!vdev->msix.cap || !(pci_get_word(vdev->parent.loaded + flags) & PCI_MSIX_FLAGS_ENABLE)) {
        return true;
    }
    if (!vfio_msix_prepare_masked(vdev, errp)) {
        return false;
    }
    write_saved(vdev, flags, 2);
    return vfio_msix_arm_masked(vdev, errp);
}

static bool signal_vector(VFIOPCIDevice *vdev, unsigned nr, MSIMessage msg, bool no_route,
                          GError **errp)
{
    VFIOMSIVector *v = &vdev->vectors[nr];

    if (v->trigger < 0 && !vfio_vector_prepare(v, msg, no_route, errp)) {
        return false;
    }
    host_eventfd_signal(v->trigger);
    return true;
}

/* What the guest had not got yet; a masked vector collects it until it is unmasked. */
static bool load_pending(VFIOPCIDevice *vdev, const uint8_t *pba, GError **errp)
{
    PCIDevice *pdev = &vdev->parent;

    for (unsigned i = 0; vdev->interrupt == VFIO_INT_MSIX && i < msix_nr_vectors(pdev); i++) {
        if (pba[i / 8] >> i % 8 & 1 &&
            !signal_vector(vdev, i, msix_message(pdev, i), vdev->no_kvm_msix, errp)) {
            return false;
        }
    }
    for (unsigned i = 0; vdev->interrupt == VFIO_INT_MSI && i < MIN(vdev->nr_msi, 32); i++) {
        if (vdev->saved.msi_pending >> i & 1 &&
            !signal_vector(vdev, i, msi_message(pdev, i), vdev->no_kvm_msi, errp)) {
            return false;
        }
    }
    if (vdev->saved.intx_pending && vdev->intx.trigger >= 0) {
        host_eventfd_signal(vdev->intx.trigger);
    }
    return true;
}

static bool vfio_pci_post_load(void *opaque, GError **errp)
{
    VFIOPCIDevice *vdev = opaque;
    PCIDevice *pdev = &vdev->parent;
    g_autofree uint8_t *pba = g_memdup2(pdev->msix_pba, pdev->msix_pba_size);

    if (!check_same(vdev, errp)) {
        return false;
    }
    if (cpr_is_incoming()) {
        return vfio_pci_cpr_load(vdev, errp);
    }
    quiesce(vdev);
    if (!load_header(vdev, errp)) {
        return false;
    }
    load_msi(vdev);
    if (!load_msix(vdev, errp) || !load_pending(vdev, pba, errp)) {
        return false;
    }
    if (pdev->pm_cap) {
        set_power(pdev, pdev->loaded[pdev->pm_cap + PCI_PM_CTRL] & PCI_PM_CTRL_STATE_MASK);
    }
    TRACE("vfio_pci_loaded", "%s interrupt %d", vdev->vbasedev->name, vdev->interrupt);
    return true;
}

const VMState vfio_pci_vmstate = {
    .name = "vfio-pci",
    .version = 1,
    .priority = VMS_PRIORITY_DEVICE,
    .fields = vfio_pci_fields,
    .pre_save = vfio_pci_pre_save,
    .post_load = vfio_pci_post_load,
};

/* ---- life ---- */

bool vfio_pci_migration_init(VFIOPCIDevice *vdev, GError **errp)
{
    g_autofree char *id = pci_device_state_id(&vdev->parent);
    VFIOMigrationConfig config = {
        .owner = DEVICE(vdev),
        .id = id,
        .enable = vdev->enable_migration,
        .events = vdev->migration_events,
    };

    vdev->vbasedev->no_dirty_log = vdev->device_dirty == ON_OFF_AUTO_OFF;
    vdev->vbasedev->no_running_sync = vdev->precopy_dirty == ON_OFF_AUTO_OFF;
    return vfio_migration_init(vdev->vbasedev, &config, errp);
}

void vfio_pci_migration_fini(VFIOPCIDevice *vdev)
{
    vfio_migration_fini(vdev->vbasedev);
}
