/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Configuration space of a vfio-pci device.
 *
 * Each bit is either emulated (PCIDevice's own copy answers and takes the write) or the device's
 * (the kernel's VFIO driver answers, which protects what must be protected).  A bitmap says which:
 * emulated_config_bits.  Writes go to the device when any bit of them is its, and always to the
 * copy, because BAR mapping and bus mastering are governed from there.
 *
 * Capabilities keep their places and their order.  MSI and MSI-X are emulated whole.  Of the
 * extended ones, those are hidden that need a counterpart this machine does not have.
 */
#include "hw/vfio/pci.h"

#include <errno.h>
#include <inttypes.h>

#include "util/error.h"
#include "util/trace.h"

#define MAX_CAPS      ((PCI_CONFIG_SIZE - PCI_STD_HEADER_SIZEOF) / 4)
#define MSI_REGISTERS ((uint32_t)PCI_MSI_PENDING_64) /* what the guest writes of its largest form */

/* The header's emulated bits, byte by byte. */
static const struct {
    uint8_t first, last, bits;
} emulated_header[] = {
    { PCI_VENDOR_ID, PCI_DEVICE_ID + 1, 0xff },
    { PCI_STATUS, PCI_STATUS, PCI_STATUS_CAP_LIST },
    { PCI_HEADER_TYPE, PCI_HEADER_TYPE, 0xff },
    { PCI_BASE_ADDRESS_0, PCI_BASE_ADDRESS_5 + 3, 0xff },
    { PCI_SUBSYSTEM_VENDOR_ID, PCI_SUBSYSTEM_ID + 1, 0xff },
    { PCI_ROM_ADDRESS, PCI_ROM_ADDRESS + 3, 0xff },
    { PCI_CAPABILITY_LIST, PCI_CAPABILITY_LIST, 0xff },
    { PCI_INTERRUPT_LINE, PCI_INTERRUPT_PIN, 0xff },
};

/* Extended capabilities that a guest does not see, and why. */
static const uint16_t hidden_ext_caps[] = {
    PCI_EXT_CAP_ID_ARI,                         /* functions are placed by the user, one by one */
    PCI_EXT_CAP_ID_ATS,                         /* translations would be the host IOMMU's */
    PCI_EXT_CAP_ID_SRIOV,                       /* VFs are the host's to make */
    PCI_EXT_CAP_ID_PRI,                         /* these two need an IOMMU in the guest */
    PCI_EXT_CAP_ID_PASID, PCI_EXT_CAP_ID_REBAR, /* a BAR's size is fixed once it is mapped */
};

static void emulate(VFIOPCIDevice *vdev, uint32_t first, uint32_t size, uint8_t bits)
{
    for (uint32_t i = first; i < first + size; i++) {
        vdev->emulated_config_bits[i] |= bits;
    }
}

/* ---- the device's own registers ---- */

static void access_failed(VFIOPCIDevice *vdev, const char *what, uint32_t addr, unsigned len)
{
    int saved = errno;

    TRACE("vfio_pci_config_failed", "%s %s 0x%x len %u: %s", vdev->vbasedev->name, what, addr, len,
          g_strerror(saved));
    if (!vdev->config_failed) {
        vdev->config_failed = true;
        warn_report("vfio %s: configuration space: %s of %u bytes at 0x%x failed: %s",
                    vdev->vbasedev->name, what, len, addr, g_strerror(saved));
    }
}

uint32_t vfio_config_read_device(VFIOPCIDevice *vdev, uint32_t addr, unsigned len)
{
    uint32_t val = 0;

    if (!vfio_region_read(vdev->vbasedev, VFIO_PCI_CONFIG_REGION_INDEX, addr, &val, len)) {
        access_failed(vdev, "read", addr, len);
        return UINT32_MAX;
    }
    return GUINT32_FROM_LE(val);
}

bool vfio_config_write_device(VFIOPCIDevice *vdev, uint32_t addr, uint32_t val, unsigned len)
{
    val = GUINT32_TO_LE(val);
    if (!vfio_region_write(vdev->vbasedev, VFIO_PCI_CONFIG_REGION_INDEX, addr, &val, len)) {
        access_failed(vdev, "write", addr, len);
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

static VFIOInterrupt wanted_interrupt(PCIDevice *pdev)
{
    return msix_enabled(pdev) ? VFIO_INT_MSIX : msi_enabled(pdev) ? VFIO_INT_MSI : VFIO_INT_INTx;
}

void vfio_pci_write_config(PCIDevice *pdev, uint32_t addr, uint32_t val, unsigned len)
{
    VFIOPCIDevice *vdev = VFIO_PCI(pdev);
    bool to_device = device_bits(vdev, addr, len), was_msi = vdev->interrupt == VFIO_INT_MSI;
    bool first = to_device && !closes_memory(pdev, addr, val);
    g_autoptr(GError) err = NULL;

    vdev->use = VFIO_IN_USE;
    TRACE("vfio_pci_write_config", "%s 0x%x len %u: 0x%x", vdev->vbasedev->name, addr, len, val);
    if (addr == PCI_COMMAND && val & PCI_COMMAND_MASTER && !vfio_device_dma_ready(vdev->vbasedev)) {
        return;
    }
    /* The guest must not see a BAR while the device does not decode it: that would be a SIGBUS. */
    if (first && !vfio_config_write_device(vdev, addr, val, len)) {
        return;
    }
    if (first && pci_is_power_control(pdev, addr)) { /* it may not have woken up */
        val = vfio_config_read_device(vdev, addr, len);
    }
    pci_default_write_config(pdev, addr, val, len);
    if (to_device && !first) {
        vfio_config_write_device(vdev, addr, val, len);
    }
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
    return override(vdev->vendor_id, config + PCI_VENDOR_ID, "vendor", errp) &&
           override(vdev->device_id, config + PCI_DEVICE_ID, "device", errp) &&
           override(vdev->sub_vendor_id, config + PCI_SUBSYSTEM_VENDOR_ID, "subsystem vendor",
                    errp) &&
           override(vdev->sub_device_id, config + PCI_SUBSYSTEM_ID, "subsystem device", errp);
}

bool vfio_config_init(VFIOPCIDevice *vdev, GError **errp)
{
    PCIDevice *pdev = &vdev->parent;
    const VFIORegion *region = &vdev->vbasedev->regions[VFIO_PCI_CONFIG_REGION_INDEX];
    uint16_t command;

    if (region->size < PCI_CONFIG_SIZE) {
        return error_set(errp, "its configuration space has 0x%" PRIx64 " bytes", region->size);
    }
    pdev->config_size = region->size < PCIE_CONFIG_SIZE ? PCI_CONFIG_SIZE : PCIE_CONFIG_SIZE;
    if (!vfio_region_read(vdev->vbasedev, VFIO_PCI_CONFIG_REGION_INDEX, 0, pdev->config,
                          pdev->config_size)) {
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
    pdev->config[PCI_HEADER_TYPE] = pdev->multifunction ? 0x80 : 0;
    pdev->config[PCI_INTERRUPT_LINE] = 0;
    vdev->config_failed = false;
    vdev->emulated_config_bits = g_malloc0(pdev->config_size);
    for (size_t i = 0; i < G_N_ELEMENTS(emulated_header); i++) {
        emulate(vdev, emulated_header[i].first,
                emulated_header[i].last - emulated_header[i].first + 1U, emulated_header[i].bits);
    }
    return true;
}

void vfio_config_fini(VFIOPCIDevice *vdev)
{
    g_clear_pointer(&vdev->emulated_config_bits, g_free);
}

/* ---- capabilities ---- */

/* What the guest sees of a capability with this id; all others are the device's. */
static const struct {
    uint8_t id;
    bool (*setup)(VFIOPCIDevice *vdev, uint8_t cap, GError **errp);
} emulated_caps[] = {
    { PCI_CAP_ID_MSI, vfio_msi_setup },
    { PCI_CAP_ID_MSIX, vfio_msix_setup },
};

/* From @at to the next capability after it or the end of the first 256 bytes. */
static uint8_t cap_size(const uint8_t *caps, unsigned n, uint8_t at)
{
    unsigned end = PCI_CONFIG_SIZE;

    for (unsigned i = 0; i < n; i++) {
        if (caps[i] > at && caps[i] < end) {
            end = caps[i];
        }
    }
    return (uint8_t)(end - at);
}

/* Bit n of @dwords: dword n of configuration space. */
static void emulate_dwords(VFIOPCIDevice *vdev, uint64_t dwords)
{
    for (; dwords; dwords &= dwords - 1) {
        emulate(vdev, (uint32_t)__builtin_ctzll(dwords) * 4, 4, 0xff);
    }
}

static bool add_cap(VFIOPCIDevice *vdev, uint8_t at, uint8_t size, GError **errp)
{
    PCIDevice *pdev = &vdev->parent;
    uint8_t id = pdev->config[at + PCI_CAP_LIST_ID];
    uint64_t before = pdev->used;

    for (size_t i = 0; i < G_N_ELEMENTS(emulated_caps); i++) {
        if (emulated_caps[i].id == id) {
            if (!emulated_caps[i].setup(vdev, at, errp)) {
                return false;
            }
            emulate_dwords(vdev, pdev->used & ~before); /* what is behind it is the device's */
            return true;
        }
    }
    emulate(vdev, at, 2, 0xff); /* the link */
    if (pci_add_capability(pdev, id, at, size, errp) < 0) {
        return false;
    }
    if (id == PCI_CAP_ID_PM && size >= PCI_PM_SIZEOF) {
        pci_pm_init(pdev, at); /* the kernel woke it when it was opened */
    }
    return true;
}

static bool add_caps(VFIOPCIDevice *vdev, GError **errp)
{
    uint8_t *config = vdev->parent.config, caps[MAX_CAPS], at;
    unsigned n = 0, i;

    at = config[PCI_STATUS] & PCI_STATUS_CAP_LIST ? config[PCI_CAPABILITY_LIST] & ~3 : 0;
    for (; at; at = config[at + PCI_CAP_LIST_NEXT] & ~3) {
        if (at < PCI_STD_HEADER_SIZEOF || memchr(caps, at, n)) {
            return error_set(errp, "its list of capabilities is broken at 0x%x", at);
        }
        caps[n++] = at;
    }
    config[PCI_CAPABILITY_LIST] = 0;
    config[PCI_STATUS] &= (uint8_t)~PCI_STATUS_CAP_LIST;
    for (i = n; i-- > 0;) { /* each goes to the head of the list */
        if (!add_cap(vdev, caps[i], cap_size(caps, n, caps[i]), errp)) {
            return false;
        }
    }
    return true;
}

static bool is_hidden(uint16_t id)
{
    for (size_t i = 0; i < G_N_ELEMENTS(hidden_ext_caps); i++) {
        if (hidden_ext_caps[i] == id) {
            return true;
        }
    }
    return false;
}

/* Takes a capability's registers away from the guest, up to the next one's. */
static void hide_ext_cap(VFIOPCIDevice *vdev, const uint64_t *starts, uint32_t at)
{
    PCIDevice *pdev = &vdev->parent;
    uint32_t end = at + 4;

    while (end < pdev->config_size && !(starts[end / 256] >> end / 4 % 64 & 1)) {
        end += 4;
    }
    memset(pdev->config + at, 0, end - at);
    emulate(vdev, at, end - at, 0xff);
}

static bool link_ext_caps(VFIOPCIDevice *vdev, GError **errp)
{
    PCIDevice *pdev = &vdev->parent;
    uint64_t starts[PCIE_CONFIG_SIZE / 256] = { 0 }; /* bit n: a capability starts at dword n */
    uint16_t caps[(PCIE_CONFIG_SIZE - PCI_CONFIG_SIZE) / 4], last = 0;
    unsigned n = 0;

    for (uint32_t at = PCI_CONFIG_SIZE, header; at; at = PCI_EXT_CAP_NEXT(header)) {
        if (at < PCI_CONFIG_SIZE || starts[at / 256] >> at / 4 % 64 & 1) {
            return error_set(errp, "its list of extended capabilities is broken at 0x%x", at);
        }
        header = pci_get_long(pdev->config + at);
        if (!header || header == UINT32_MAX) {
            break;
        }
        starts[at / 256] |= UINT64_C(1) << at / 4 % 64;
        caps[n++] = (uint16_t)at;
    }
    emulate(vdev, PCI_CONFIG_SIZE, 4, 0xff);
    if (!n) {
        pci_set_long(pdev->config + PCI_CONFIG_SIZE, 0);
    }
    for (unsigned i = 0; i < n; i++) {
        uint32_t header = pci_get_long(pdev->config + caps[i]);

        if (is_hidden((uint16_t)PCI_EXT_CAP_ID(header))) {
            hide_ext_cap(vdev, starts, caps[i]);
            if (i) {
                continue;
            }
            header = 0; /* the first one's place begins the list: a Null capability there */
        }
        if (last) {
            uint32_t before = pci_get_long(pdev->config + last);

            pci_set_long(pdev->config + last, (before & 0xfffff) | (uint32_t)caps[i] << 20);
        }
        pci_set_long(pdev->config + caps[i], header & 0xfffff);
        emulate(vdev, caps[i], 4, 0xff);
        last = caps[i];
    }
    return true;
}

bool vfio_capabilities_init(VFIOPCIDevice *vdev, GError **errp)
{
    if (add_caps(vdev, errp) &&
        (vdev->parent.config_size == PCI_CONFIG_SIZE || link_ext_caps(vdev, errp))) {
        return true;
    }
    vfio_msi_fini(vdev);
    return false;
}
