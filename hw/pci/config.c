/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Configuration space: header, masks, capabilities, accesses. */
#include "hw/pci/internal.h"
#include "hw/pci/msi.h"
#include "util/error.h"

#define HEADER_DWORDS (PCI_STD_HEADER_SIZEOF / 4)
#define CONFIG_DWORDS (PCI_CONFIG_SIZE / 4)
#define MAX_CAPS      ((PCI_CONFIG_SIZE - PCI_STD_HEADER_SIZEOF) / 4)

#define COMMAND_WRITABLE                                                             \
    (PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_PARITY | \
     PCI_COMMAND_SERR | PCI_COMMAND_INTX_DISABLE)
#define STATUS_SENT_AND_SEEN                                                         \
    (PCI_STATUS_PARITY | PCI_STATUS_SIG_TARGET_ABORT | PCI_STATUS_REC_TARGET_ABORT | \
     PCI_STATUS_REC_MASTER_ABORT | PCI_STATUS_SIG_SYSTEM_ERROR | PCI_STATUS_DETECTED_PARITY)

/* Everything is fixed but what is named here; models open what more they have. */
void pci_config_init(PCIDevice *dev)
{
    dev->config_size = PCI_DEVICE_GET_CLASS(dev)->express ? PCIE_CONFIG_SIZE : PCI_CONFIG_SIZE;
    dev->config = g_malloc0(dev->config_size);
    dev->wmask = g_malloc0(dev->config_size);
    dev->w1cmask = g_malloc0(dev->config_size);
    dev->varies = g_malloc0(dev->config_size);
    dev->loaded = g_malloc0(dev->config_size);
    dev->used = (UINT64_C(1) << HEADER_DWORDS) - 1;
    for (int i = 0; i < PCI_NUM_REGIONS; i++) {
        dev->regions[i] = (PCIIORegion) { .addr = PCI_BAR_UNMAPPED };
    }
    pci_set_word(dev->wmask + PCI_COMMAND, COMMAND_WRITABLE);
    pci_set_word(dev->w1cmask + PCI_STATUS, STATUS_SENT_AND_SEEN);
    pci_set_word(dev->varies + PCI_STATUS, PCI_STATUS_INTERRUPT);
    dev->wmask[PCI_CACHE_LINE_SIZE] = 0xff;
    dev->wmask[PCI_INTERRUPT_LINE] = 0xff;
}

void pci_config_fini(PCIDevice *dev)
{
    g_clear_pointer(&dev->config, g_free);
    g_clear_pointer(&dev->wmask, g_free);
    g_clear_pointer(&dev->w1cmask, g_free);
    g_clear_pointer(&dev->varies, g_free);
    g_clear_pointer(&dev->loaded, g_free);
    dev->config_size = 0;
    dev->msi_cap = 0;
    dev->pm_cap = 0;
}

void pci_config_reset(PCIDevice *dev)
{
    uint8_t *config = dev->config;

    pci_set_word(config + PCI_COMMAND, 0);
    pci_set_word(config + PCI_STATUS, (uint16_t)(pci_get_word(config + PCI_STATUS) &
                                                 ~pci_get_word(dev->w1cmask + PCI_STATUS)));
    config[PCI_CACHE_LINE_SIZE] = 0;
    config[PCI_INTERRUPT_LINE] = 0;
    for (int i = 0; i < PCI_NUM_REGIONS; i++) {
        const PCIIORegion *r = &dev->regions[i];
        uint8_t *reg = config + pci_bar_offset(dev, i);

        if (r->mr) {
            pci_set_long(reg, i == PCI_ROM_SLOT ? 0 : r->type);
            if (pci_bar_is_64bit(r)) {
                pci_set_long(reg + 4, 0);
            }
        }
    }
    if (dev->pm_cap) {
        config[dev->pm_cap + PCI_PM_CTRL] &= (uint8_t)~PCI_PM_CTRL_STATE_MASK;
    }
    pci_update_mappings(dev);
    msi_reset(dev);
    msix_reset(dev);
    pci_set_intx(dev, false);
}

/* ---- accesses ---- */

static uint32_t ones(unsigned len)
{
    return len < 4 ? (1U << len * 8) - 1 : UINT32_MAX;
}

static bool inside(PCIDevice *dev, uint32_t addr, unsigned len)
{
    return addr < dev->config_size && len <= dev->config_size - addr;
}

uint32_t pci_default_read_config(PCIDevice *dev, uint32_t addr, unsigned len)
{
    uint32_t val = 0;

    if (!inside(dev, addr, len)) {
        return ones(len);
    }
    for (unsigned i = 0; i < len; i++) {
        val |= (uint32_t)dev->config[addr + i] << i * 8;
    }
    return val;
}

void pci_default_write_config(PCIDevice *dev, uint32_t addr, uint32_t val, unsigned len)
{
    if (!inside(dev, addr, len)) {
        return;
    }
    for (unsigned i = 0; i < len; i++, val >>= 8) {
        uint8_t *byte = &dev->config[addr + i], writable = dev->wmask[addr + i];

        *byte = (uint8_t)((*byte & ~writable) | (val & writable));
        *byte &= (uint8_t) ~(val & dev->w1cmask[addr + i]);
    }
    if (addr < PCI_STD_HEADER_SIZEOF) { /* seldom enough to look at all that the header governs */
        pci_update_mappings(dev);
    } else if (pci_is_power_control(dev, addr)) {
        pci_update_mappings(dev);
    }
    msix_write_config(dev, addr, len);
    pci_update_intx(dev);
}

/* The largest aligned piece of an access that starts at @addr. */
static unsigned piece(uint32_t addr, unsigned len)
{
    return addr & 1 || len < 2 ? 1 : addr & 2 || len < 4 ? 2 : 4;
}

uint32_t pci_config_read(PCIDevice *dev, uint32_t addr, unsigned len)
{
    uint32_t val = 0;

    if (!dev || !inside(dev, addr, len)) {
        return ones(len);
    }
    for (unsigned done = 0, n; done < len; done += n) {
        n = piece(addr + done, len - done);
        val |= (PCI_DEVICE_GET_CLASS(dev)->config_read(dev, addr + done, n) & ones(n)) << done * 8;
    }
    return val;
}

void pci_config_write(PCIDevice *dev, uint32_t addr, uint32_t val, unsigned len)
{
    if (!dev || !inside(dev, addr, len)) {
        return;
    }
    for (unsigned done = 0, n; done < len; done += n) {
        n = piece(addr + done, len - done);
        PCI_DEVICE_GET_CLASS(dev)->config_write(dev, addr + done, val >> done * 8 & ones(n), n);
    }
}

/* ---- capabilities ---- */

int pci_add_capability(PCIDevice *dev, uint8_t id, uint8_t offset, uint8_t size, GError **errp)
{
    unsigned dwords = (size + 3U) / 4, at = offset / 4;
    uint64_t mask = dwords < 64 ? (UINT64_C(1) << dwords) - 1 : UINT64_MAX;
    uint8_t *config = dev->config;

    if (!offset) {
        for (at = HEADER_DWORDS; at + dwords <= CONFIG_DWORDS && dev->used & mask << at; at++) {
        }
    }
    if (size < 2 || offset % 4 || at + dwords > CONFIG_DWORDS || dev->used & mask << at) {
        g_autofree char *name = pci_device_name(dev);

        error_set(errp, "%s: no room for PCI capability 0x%02x of %u bytes at offset 0x%x", name,
                  id, size, offset);
        return -1;
    }
    dev->used |= mask << at;
    offset = (uint8_t)(at * 4);
    config[offset + PCI_CAP_LIST_ID] = id;
    config[offset + PCI_CAP_LIST_NEXT] = config[PCI_CAPABILITY_LIST];
    config[PCI_CAPABILITY_LIST] = offset;
    config[PCI_STATUS] |= PCI_STATUS_CAP_LIST;
    for (unsigned i = 0; i < size; i++) {
        dev->wmask[offset + i] = 0;
        dev->w1cmask[offset + i] = 0;
    }
    return offset;
}

/* The list may be a real device's, so it is trusted neither to end nor to stay in bounds. */
uint8_t pci_find_capability(PCIDevice *dev, uint8_t id)
{
    uint8_t at = dev->config[PCI_CAPABILITY_LIST] & ~3;

    if (!(dev->config[PCI_STATUS] & PCI_STATUS_CAP_LIST)) {
        return 0;
    }
    for (int i = 0; i < MAX_CAPS && at >= PCI_STD_HEADER_SIZEOF; i++) {
        if (dev->config[at + PCI_CAP_LIST_ID] == id) {
            return at;
        }
        at = dev->config[at + PCI_CAP_LIST_NEXT] & ~3;
    }
    return 0;
}

void pci_pm_init(PCIDevice *dev, uint8_t cap)
{
    dev->pm_cap = cap;
    dev->wmask[cap + PCI_PM_CTRL] |= PCI_PM_CTRL_STATE_MASK;
    dev->config[cap + PCI_PM_CTRL] &= (uint8_t)~PCI_PM_CTRL_STATE_MASK;
}

bool pci_is_power_control(PCIDevice *dev, uint32_t addr)
{
    return dev->pm_cap && addr == (uint32_t)dev->pm_cap + PCI_PM_CTRL;
}
