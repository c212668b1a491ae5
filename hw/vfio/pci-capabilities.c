/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Capabilities of a vfio-pci device.  They keep their places and their order.  MSI and MSI-X are
 * emulated whole, PCI Express is shaped (pci-express.c).  Of the extended ones, those are hidden
 * that need a counterpart this machine does not have; the registers of what is hidden read as zeros
 * and take no writes.
 */
#include "hw/vfio/pci.h"

#include "util/error.h"
#include "util/linux-iommufd.h"
#include "util/trace.h"

#define MAX_CAPS   ((PCI_CONFIG_SIZE - PCI_STD_HEADER_SIZEOF) / 4)
#define REBAR_BARS 6

/* Emulated whole; all others are the device's. */
static const struct {
    uint8_t id;
    bool (*setup)(VFIOPCIDevice *vdev, uint8_t cap, GError **errp);
} emulated_caps[] = {
    { PCI_CAP_ID_MSI, vfio_msi_setup },
    { PCI_CAP_ID_MSIX, vfio_msix_setup },
};

/* Extended capabilities that a guest does not see, their sizes, and why. */
static const struct {
    uint16_t id, size;
} hidden_ext_caps[] = {
    { PCI_EXT_CAP_ID_ARI, PCI_EXT_CAP_ARI_SIZEOF },     /* functions are placed one by one */
    { PCI_EXT_CAP_ID_SRIOV, PCI_EXT_CAP_SRIOV_SIZEOF }, /* VFs are the host's to make */
    { PCI_EXT_CAP_ID_PRI, PCI_EXT_CAP_PRI_SIZEOF },     /* these two need an IOMMU in the guest */
    { PCI_EXT_CAP_ID_PASID, PCI_EXT_CAP_PASID_SIZEOF },
};

/* ---- the first 256 bytes ---- */

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
        vfio_config_emulate(vdev, (uint32_t)__builtin_ctzll(dwords) * 4, 4, 0xff);
    }
}

static bool add_cap(VFIOPCIDevice *vdev, uint8_t at, uint8_t size, GError **errp)
{
    PCIDevice *pdev = &vdev->parent;
    uint8_t id = pdev->config[at + PCI_CAP_LIST_ID];
    VFIOCapFate fate = VFIO_CAP_SHOWN;
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
    if (id == PCI_CAP_ID_EXP) {
        fate = vfio_express_shape(vdev, at, size, errp);
    }
    if (fate != VFIO_CAP_SHOWN) {
        return fate == VFIO_CAP_HIDDEN;
    }
    vfio_config_emulate(vdev, at, 2, 0xff); /* the link */
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

/* ---- what an extended capability becomes ---- */

/* ATS works where the host's IOMMU does; what the kernel cannot say is left to the device. */
static VFIOCapFate ats_fate(VFIOPCIDevice *vdev, GError **errp)
{
    VFIODevice *vbasedev = vdev->vbasedev;
    uint64_t caps = 0;
    uint32_t type;
    bool known;

    if (vdev->ats == ON_OFF_AUTO_OFF) {
        return VFIO_CAP_HIDDEN;
    }
    known = vbasedev->iommufd &&
            iommufd_get_hw_info(vbasedev->iommufd, vbasedev->devid, &type, &caps, NULL);
    if (!known || !(caps & HW_CAP_PCI_ATS_NOT_SUPPORTED)) {
        return VFIO_CAP_SHOWN;
    }
    if (vdev->ats == ON_OFF_AUTO_ON) {
        error_set(errp, "ats=on, but the host's IOMMU does not support ATS for it");
        return VFIO_CAP_REFUSED;
    }
    return VFIO_CAP_HIDDEN;
}

/*
 * A BAR's size is fixed once it is mapped, so the one that it has is the only one that it can have.
 * Where there is no bit for that one, the capability cannot say so.
 */
static VFIOCapFate fix_rebar(VFIOPCIDevice *vdev, uint32_t at)
{
    uint8_t *config = vdev->parent.config + at;
    uint32_t room = vdev->parent.config_size - at, n = 1;

    for (uint32_t i = 0; i < n; i++) {
        uint8_t *entry = config + i * 8;
        uint32_t control, size, sizes;

        if (room < PCI_REBAR_CTRL + i * 8 + 4) {
            return VFIO_CAP_HIDDEN;
        }
        control = pci_get_long(entry + PCI_REBAR_CTRL);
        size = (control & PCI_REBAR_CTRL_BAR_SIZE) >> PCI_REBAR_CTRL_BAR_SHIFT;
        sizes = size < 28 ? (1U << (size + 4)) & PCI_REBAR_CAP_SIZES : 0;
        if (!i) {
            n = (control & PCI_REBAR_CTRL_NBAR_MASK) >> PCI_REBAR_CTRL_NBAR_SHIFT;
        }
        if (!sizes || n > REBAR_BARS) {
            return VFIO_CAP_HIDDEN;
        }
        pci_set_long(entry + PCI_REBAR_CAP, sizes);
        pci_set_long(entry + PCI_REBAR_CTRL,
                     control & (PCI_REBAR_CTRL_BAR_SIZE | PCI_REBAR_CTRL_NBAR_MASK |
                                PCI_REBAR_CTRL_BAR_IDX));
        vfio_config_emulate(vdev, at + PCI_REBAR_CAP + i * 8, 8, 0xff);
    }
    return VFIO_CAP_SHOWN;
}

/* *@size: of what is to be hidden. */
static VFIOCapFate ext_cap_fate(VFIOPCIDevice *vdev, uint32_t at, uint32_t *size, GError **errp)
{
    uint16_t id = (uint16_t)PCI_EXT_CAP_ID(pci_get_long(vdev->parent.config + at));

    for (size_t i = 0; i < G_N_ELEMENTS(hidden_ext_caps); i++) {
        if (hidden_ext_caps[i].id == id) {
            *size = hidden_ext_caps[i].size;
            return VFIO_CAP_HIDDEN;
        }
    }
    switch (id) {
    case PCI_EXT_CAP_ID_ATS:
        *size = PCI_EXT_CAP_ATS_SIZEOF;
        return ats_fate(vdev, errp);
    case PCI_EXT_CAP_ID_REBAR:
        *size = PCI_REBAR_CAP + REBAR_BARS * 8;
        return fix_rebar(vdev, at);
    default:
        return VFIO_CAP_SHOWN;
    }
}

/* ---- the list of extended capabilities ---- */

typedef struct ExtCaps {
    uint64_t starts[PCIE_CONFIG_SIZE / 256]; /* bit n: a capability starts at dword n */
    uint16_t at[(PCIE_CONFIG_SIZE - PCI_CONFIG_SIZE) / 4];
    unsigned n;
} ExtCaps;

static bool starts(const ExtCaps *caps, uint32_t at)
{
    return caps->starts[at / 256] >> at / 4 % 64 & 1;
}

static bool find_ext_caps(PCIDevice *pdev, ExtCaps *caps, GError **errp)
{
    for (uint32_t at = PCI_CONFIG_SIZE, header; at; at = PCI_EXT_CAP_NEXT(header)) {
        if (at < PCI_CONFIG_SIZE || starts(caps, at)) {
            return error_set(errp, "its list of extended capabilities is broken at 0x%x", at);
        }
        header = pci_get_long(pdev->config + at);
        if (!header || header == UINT32_MAX) {
            return true;
        }
        caps->starts[at / 256] |= UINT64_C(1) << at / 4 % 64;
        caps->at[caps->n++] = (uint16_t)at;
    }
    return true;
}

/* Takes a capability's registers away from the guest, at most up to the next one's. */
static void hide_ext_cap(VFIOPCIDevice *vdev, const ExtCaps *caps, uint32_t at, uint32_t size)
{
    PCIDevice *pdev = &vdev->parent;
    uint32_t end = at + 4;

    while (end < pdev->config_size && end < at + size && !starts(caps, end)) {
        end += 4;
    }
    TRACE("vfio_add_ext_cap_dropped", "%s 0x%x at 0x%x", vdev->vbasedev->name,
          PCI_EXT_CAP_ID(pci_get_long(pdev->config + at)), at);
    memset(pdev->config + at, 0, end - at);
    vfio_config_emulate(vdev, at, end - at, 0xff);
}

static bool link_ext_caps(VFIOPCIDevice *vdev, GError **errp)
{
    PCIDevice *pdev = &vdev->parent;
    ExtCaps caps = { .n = 0 };
    uint16_t last = 0;

    if (!find_ext_caps(pdev, &caps, errp)) {
        return false;
    }
    vfio_config_emulate(vdev, PCI_CONFIG_SIZE, 4, 0xff);
    if (!caps.n) {
        pci_set_long(pdev->config + PCI_CONFIG_SIZE, 0);
    }
    for (unsigned i = 0; i < caps.n; i++) {
        uint16_t at = caps.at[i];
        uint32_t size = 0, header;
        VFIOCapFate fate = ext_cap_fate(vdev, at, &size, errp);

        if (fate == VFIO_CAP_REFUSED) {
            return false;
        }
        if (fate == VFIO_CAP_HIDDEN) {
            hide_ext_cap(vdev, &caps, at, size);
            if (i) { /* the first one's place begins the list: a Null capability there */
                continue;
            }
        }
        header = pci_get_long(pdev->config + at) & 0xfffff; /* without a next one yet */
        if (last) {
            pci_set_long(pdev->config + last,
                         pci_get_long(pdev->config + last) | (uint32_t)at << 20);
        }
        pci_set_long(pdev->config + at, header);
        vfio_config_emulate(vdev, at, 4, 0xff);
        last = at;
    }
    return true;
}

static bool has_ext_cap(PCIDevice *pdev, uint16_t id)
{
    for (uint32_t at = PCI_CONFIG_SIZE; at && pdev->config_size > PCI_CONFIG_SIZE;
         at = PCI_EXT_CAP_NEXT(pci_get_long(pdev->config + at))) {
        if (PCI_EXT_CAP_ID(pci_get_long(pdev->config + at)) == id) {
            return true;
        }
    }
    return false;
}

static bool link_caps(VFIOPCIDevice *vdev, GError **errp)
{
    PCIDevice *pdev = &vdev->parent;

    if (!add_caps(vdev, errp)) {
        return false;
    }
    if (!pci_find_capability(pdev, PCI_CAP_ID_EXP)) {
        pdev->config_size = PCI_CONFIG_SIZE; /* only PCI Express has more */
    }
    if (pdev->config_size > PCI_CONFIG_SIZE && !link_ext_caps(vdev, errp)) {
        return false;
    }
    return vdev->ats != ON_OFF_AUTO_ON || has_ext_cap(pdev, PCI_EXT_CAP_ID_ATS) ||
           error_set(errp, "ats=on, but it has no ATS capability");
}

bool vfio_capabilities_init(VFIOPCIDevice *vdev, GError **errp)
{
    if (link_caps(vdev, errp)) {
        return true;
    }
    vfio_msi_fini(vdev);
    return false;
}
