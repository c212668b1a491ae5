/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Configuration space of a vfio-pci device.
 *
 * Each bit is either emulated (PCIDevice's own copy answers and takes the write) or the device's
 * (the kernel's VFIO driver answers, which protects what must be protected).  A bitmap says which:
 * emulated_config_bits.  Writes go to the device when any bit of them is its, and always to the
 * copy, because BAR mapping and bus mastering are governed from there.
 *
 * The header is here; capabilities are in pci-capabilities.c.
 */
#include "hw/vfio/migration.h"
#include "hw/vfio/pci.h"

#include <errno.h>
#include <inttypes.h>

#include "migration/cpr.h"
#include "util/error.h"
#include "util/trace.h"

#define MSI_REGISTERS  ((uint32_t)PCI_MSI_PENDING_64) /* what the guest writes of its largest form */
#define CLASS_CODE_MAX 0xffffff

/* The header's emulated bits, byte by byte, and why; all others are the device's. */
static const struct {
    uint8_t first, last, bits;
} emulated_header[] = {
    /* The user may give it another identity. */
    { PCI_VENDOR_ID, PCI_DEVICE_ID + 1, 0xff },
    { PCI_CLASS_PROG, PCI_CLASS_DEVICE + 1, 0xff },
    { PCI_SUBSYSTEM_VENDOR_ID, PCI_SUBSYSTEM_ID + 1, 0xff },
    /* Capabilities are linked anew. */
    { PCI_STATUS, PCI_STATUS, PCI_STATUS_CAP_LIST },
    { PCI_CAPABILITY_LIST, PCI_CAPABILITY_LIST, 0xff },
    /* Which functions its slot has is the guest machine's affair. */
    { PCI_HEADER_TYPE, PCI_HEADER_TYPE, 0xff },
    /* Addresses are guest addresses; those of the device are the host's. */
    { PCI_BASE_ADDRESS_0, PCI_BASE_ADDRESS_5 + 3, 0xff },
    { PCI_ROM_ADDRESS, PCI_ROM_ADDRESS + 3, 0xff },
    /* The line is the guest's notepad; the pin is what pci_intx_gsi() goes by. */
    { PCI_INTERRUPT_LINE, PCI_INTERRUPT_PIN, 0xff },
};

/* Registers by which a guest resets the function: the byte in the capability, and the bit. */
static const struct {
    uint8_t id, reg, bit;
} reset_bits[] = {
    { PCI_CAP_ID_EXP, PCI_EXP_DEVCTL + 1, PCI_EXP_DEVCTL_BCR_FLR >> 8 },
    { PCI_CAP_ID_AF, PCI_AF_CTRL, PCI_AF_CTRL_FLR },
};

void vfio_config_emulate(VFIOPCIDevice *vdev, uint32_t first, uint32_t size, uint8_t bits)
{
    for (uint32_t i = first; i < first + size; i++) {
        vdev->emulated_config_bits[i] |= bits;
    }
}

/* ---- the device's own registers ---- */

uint32_t vfio_config_read_device(VFIOPCIDevice *vdev, uint32_t addr, unsigned len)
{
    uint32_t val = 0;

    if (!vfio_region_read(vdev->vbasedev, VFIO_PCI_CONFIG_REGION_INDEX, addr, &val, len)) {
        vfio_region_access_failed(vdev->vbasedev, VFIO_PCI_CONFIG_REGION_INDEX, "read", addr, len);
        return UINT32_MAX;
    }
    return GUINT32_FROM_LE(val);
}

bool vfio_config_write_device(VFIOPCIDevice *vdev, uint32_t addr, uint32_t val, unsigned len)
{
    val = GUINT32_TO_LE(val);
    if (!vfio_region_write(vdev->vbasedev, VFIO_PCI_CONFIG_REGION_INDEX, addr, &val, len)) {
        vfio_region_access_failed(vdev->vbasedev, VFIO_PCI_CONFIG_REGION_INDEX, "write", addr, len);
        return false;
    }
    return true;
}

/* ---- the guest's accesses ---- */

/* Which of the bits of [addr, addr + len) are the device's. */
static uint32_t device_bits(VFIOPCIDevice *vdev, uint32_t addr, unsigned len)
{
    uint32_t bits = 0;

    for (unsigned i = 0; i < len; i++) {
        bits |= (uint32_t)(uint8_t)~vdev->emulated_config_bits[addr + i] << i * 8;
    }
    return bits;
}

uint32_t vfio_pci_read_config(PCIDevice *pdev, uint32_t addr, unsigned len)
{
    VFIOPCIDevice *vdev = VFIO_PCI(pdev);
    uint32_t bits = device_bits(vdev, addr, len), val = 0;

    if (vdev->interrupt == VFIO_INT_MSI && addr - pdev->msi_cap < MSI_REGISTERS + 4) {
        vfio_msi_poll_pending(vdev);
    }
    if (bits) {
        val = vfio_config_read_device(vdev, addr, len) & bits;
    }
    val |= pci_default_read_config(pdev, addr, len) & ~bits;
    TRACE("vfio_pci_read_config", "%s 0x%x len %u: 0x%x", vdev->vbasedev->name, addr, len, val);
    return val;
}

/* After the write the device takes no accesses to its memory.  (I/O is never mapped, only trapped.) */
static bool closes_memory(PCIDevice *pdev, uint32_t addr, uint32_t val)
{
    return (addr == PCI_COMMAND && !(val & PCI_COMMAND_MEMORY)) ||
           (pci_is_power_control(pdev, addr) && (val & PCI_PM_CTRL_STATE_MASK) == PCI_PM_D3HOT);
}

/* The kernel resets the function in the course of the write. */
static bool resets(PCIDevice *pdev, uint32_t addr, uint32_t val, unsigned len)
{
    for (size_t i = 0; addr >= PCI_STD_HEADER_SIZEOF && i < G_N_ELEMENTS(reset_bits); i++) {
        uint8_t cap = pci_find_capability(pdev, reset_bits[i].id);
        uint32_t byte = (uint32_t)cap + reset_bits[i].reg - addr;

        if (cap && byte < len && val >> byte * 8 & reset_bits[i].bit) {
            return true;
        }
    }
    return false;
}

/*
 * The guest must not see a BAR while the device does not decode it: that would be a SIGBUS; nor may
 * other devices, for whom it would be gone for good (pci-mmap.c).  So what closes memory goes to
 * the copy first, all else to the device first.
 */
static void write_both(VFIOPCIDevice *vdev, uint32_t addr, uint32_t val, unsigned len)
{
    PCIDevice *pdev = &vdev->parent;
    bool to_device = device_bits(vdev, addr, len), closing = closes_memory(pdev, addr, val);
    bool reset = to_device && resets(pdev, addr, val, len), told = true;

    if (reset) {
        vfio_bars_set_enabled(vdev, false);
    }
    if (to_device && !closing) {
        told = vfio_config_write_device(vdev, addr, val, len);
    }
    if (reset) {
        vfio_bars_set_enabled(vdev, true);
        vfio_migration_was_reset(vdev->vbasedev);
    }
    if (!told) { /* then it did not happen */
        return;
    }
    if (to_device && !closing && pci_is_power_control(pdev, addr)) { /* it may not have woken up */
        val = vfio_config_read_device(vdev, addr, len);
    }
    pci_default_write_config(pdev, addr, val, len);
    if (to_device && closing) {
        vfio_config_write_device(vdev, addr, val, len);
    }
}

static VFIOInterrupt wanted_interrupt(PCIDevice *pdev)
{
    return msix_enabled(pdev) ? VFIO_INT_MSIX : msi_enabled(pdev) ? VFIO_INT_MSI : VFIO_INT_INTx;
}

void vfio_pci_write_config(PCIDevice *pdev, uint32_t addr, uint32_t val, unsigned len)
{
    VFIOPCIDevice *vdev = VFIO_PCI(pdev);
    bool was_msi = vdev->interrupt == VFIO_INT_MSI;
    g_autoptr(GError) err = NULL;

    if (vdev->vbasedev->adopted && cpr_is_incoming()) {
        return; /* no guest's: the board places BARs, for a guest that has done so long ago */
    }
    vdev->use = VFIO_IN_USE;
    TRACE("vfio_pci_write_config", "%s 0x%x len %u: 0x%x", vdev->vbasedev->name, addr, len, val);
    if (addr == PCI_COMMAND && val & PCI_COMMAND_MASTER && !vfio_device_dma_ready(vdev->vbasedev)) {
        return;
    }
    write_both(vdev, addr, val, len);
    if (!vfio_pci_set_interrupt(vdev, wanted_interrupt(pdev), &err)) {
        vfio_pci_warn_interrupt(vdev, err);
    }
    if (vdev->interrupt == VFIO_INT_MSIX) {
        vfio_msix_settle(vdev);
    } else if (vdev->interrupt == VFIO_INT_MSI && was_msi && addr - pdev->msi_cap < MSI_REGISTERS) {
        vfio_msi_update(vdev);
    }
}

/* ---- set-up ---- */

static bool override(uint32_t value, uint8_t *field, const char *name, GError **errp)
{
    if (value == UINT32_MAX) {
        return true;
    }
    if (value > UINT16_MAX) {
        return error_set(errp, "invalid PCI %s ID 0x%x", name, value);
    }
    pci_set_word(field, (uint16_t)value);
    return true;
}

static bool set_identity(VFIOPCIDevice *vdev, GError **errp)
{
    uint8_t *config = vdev->parent.config;

    if (vdev->vendor_id == 0xffff) { /* what an empty slot reads */
        return error_set(errp, "invalid PCI vendor ID 0xffff");
    }
    if (vdev->class_code != UINT32_MAX) {
        if (vdev->class_code > CLASS_CODE_MAX) {
            return error_set(errp, "invalid PCI class code 0x%x", vdev->class_code);
        }
        pci_set_long(config + PCI_CLASS_REVISION, vdev->class_code << 8 | config[PCI_REVISION_ID]);
    }
    return override(vdev->vendor_id, config + PCI_VENDOR_ID, "vendor", errp) &&
           override(vdev->device_id, config + PCI_DEVICE_ID, "device", errp) &&
           override(vdev->sub_vendor_id, config + PCI_SUBSYSTEM_VENDOR_ID, "subsystem vendor",
                    errp) &&
           override(vdev->sub_device_id, config + PCI_SUBSYSTEM_ID, "subsystem device", errp);
}

/* The device has @size bytes of it. */
static bool init_emulation(VFIOPCIDevice *vdev, uint32_t size)
{
    PCIDevice *pdev = &vdev->parent;

    pdev->config[PCI_HEADER_TYPE] = pdev->multifunction ? 0x80 : 0;
    pdev->config[PCI_INTERRUPT_LINE] = 0;
    vdev->emulated_config_bits = g_malloc0(pdev->config_size);
    vfio_config_emulate(vdev, size, pdev->config_size - size, 0xff);
    for (size_t i = 0; i < G_N_ELEMENTS(emulated_header); i++) {
        vfio_config_emulate(vdev, emulated_header[i].first,
                            emulated_header[i].last - emulated_header[i].first + 1U,
                            emulated_header[i].bits);
    }
    return true;
}

bool vfio_config_init(VFIOPCIDevice *vdev, GError **errp)
{
    PCIDevice *pdev = &vdev->parent;
    const VFIORegion *region = &vdev->vbasedev->regions[VFIO_PCI_CONFIG_REGION_INDEX];
    uint16_t command;
    uint32_t size;

    if (region->size < PCI_STD_HEADER_SIZEOF) {
        return error_set(errp, "its configuration space has 0x%" PRIx64 " bytes", region->size);
    }
    pdev->config_size = region->size < PCIE_CONFIG_SIZE ? PCI_CONFIG_SIZE : PCIE_CONFIG_SIZE;
    /* An mdev may have less, and not even whole registers: Linux's samples have 255 bytes. */
    size = (uint32_t)MIN(region->size, pdev->config_size) & ~3U;
    memset(pdev->config, 0, pdev->config_size);
    if (!vfio_region_read(vdev->vbasedev, VFIO_PCI_CONFIG_REGION_INDEX, 0, pdev->config, size)) {
        return error_set_errno(errp, errno, "cannot read its configuration space");
    }
    if ((pdev->config[PCI_HEADER_TYPE] & PCI_HEADER_TYPE_MASK) != PCI_HEADER_TYPE_NORMAL) {
        return error_set(errp, "header type %u: only endpoints can be passed through",
                         pdev->config[PCI_HEADER_TYPE] & PCI_HEADER_TYPE_MASK);
    }
    if (!set_identity(vdev, errp)) {
        return false;
    }
    /* It decodes nothing and masters nothing until the guest says so. */
    pci_set_word(pdev->config + PCI_COMMAND, 0);
    if (vdev->vbasedev->adopted) { /* its guest has said so long ago */
        return init_emulation(vdev, size);
    }
    if (!vfio_region_write(vdev->vbasedev, VFIO_PCI_CONFIG_REGION_INDEX, PCI_COMMAND,
                           pdev->config + PCI_COMMAND, 2)) {
        return error_set_errno(errp, errno, "cannot write its COMMAND register");
    }
    if (!vfio_region_read(vdev->vbasedev, VFIO_PCI_CONFIG_REGION_INDEX, PCI_COMMAND, &command, 2)) {
        return error_set_errno(errp, errno, "cannot read its COMMAND register");
    }
    if (GUINT16_FROM_LE(command) & PCI_COMMAND_MASTER) {
        vfio_device_dma_ready(vdev->vbasedev); /* it cannot be held off DMA */
    }
    return init_emulation(vdev, size);
}

void vfio_config_fini(VFIOPCIDevice *vdev)
{
    g_clear_pointer(&vdev->emulated_config_bits, g_free);
}
