/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * PCI: devices, their configuration space and BARs, buses.
 * Sources: PCI Local Bus 3.0, PCI Express Base 5.0.  Machine lock held throughout.
 */
#ifndef VIADUCT_HW_PCI_PCI_H
#define VIADUCT_HW_PCI_PCI_H

#include <linux/pci_regs.h>

#include "core/device.h"
#include "core/irq.h"
#include "core/memory.h"
#include "migration/vmstate.h"

#define PCI_DEVFN(slot, func) ((((slot)&0x1f) << 3) | ((func)&7))
#define PCI_SLOT(devfn)       (((devfn) >> 3) & 0x1f)
#define PCI_FUNC(devfn)       ((devfn)&7)
#define PCI_DEVFN_AUTO        (-1)

#define PCI_CONFIG_SIZE       256
#define PCIE_CONFIG_SIZE      4096
#define PCI_NUM_BARS          6
#define PCI_NUM_REGIONS       7 /* the ROM is the last */
#define PCI_ROM_SLOT          6
#define PCI_BAR_UNMAPPED      UINT64_MAX

typedef struct PCIBus PCIBus;
typedef struct PCIDevice PCIDevice;
typedef struct PCIHost PCIHost;

typedef struct PCIIORegion {
    MemoryRegion *mr;    /* NULL: no such BAR; owned by the device's model */
    uint64_t size;       /* bytes, a power of two */
    uint8_t type;        /* PCI_BASE_ADDRESS_* bits */
    uint64_t addr;       /* where it is mapped, PCI_BAR_UNMAPPED when it is not */
    MemoryRegion *space; /* container it is put into */
} PCIIORegion;

/*
 * Configuration space as the guest sees it.  A byte's bits are: writable (wmask), cleared by
 * writing one (w1cmask), else fixed.
 */
struct PCIDevice {
    Device parent;
    PCIBus *bus;
    int32_t devfn;      /* property `addr`: "slot[.function]" in hex */
    bool multifunction; /* property */
    char *romfile;      /* property; used by those that have a ROM */
    uint32_t romsize;   /* property: bytes of the ROM's BAR, UINT32_MAX: what it needs */
    uint32_t config_size;
    uint8_t *config, *wmask, *w1cmask;
    uint8_t *varies; /* fixed bits that change by themselves: not compared when a state is loaded */
    uint8_t *loaded; /* configuration space as in the stream, while a state is loaded or saved */
    uint64_t used;   /* bit n: dword n of the first 256 bytes is the header's or a capability's */
    uint8_t msi_cap; /* offset of the MSI capability, 0: none */
    uint8_t pm_cap;  /* the same of power management */
    PCIIORegion regions[PCI_NUM_REGIONS];
    bool intx_level; /* what the device drives its pin to */
    bool intx_out;   /* what gets out: COMMAND, MSI and MSI-X can hold it back */
    struct MSIXState *msix;
    uint8_t *msix_table, *msix_pba; /* of .msix, for the device's state */
    uint32_t msix_table_size, msix_pba_size;
};

typedef struct PCIDeviceClass {
    DeviceClass parent_class;
    uint16_t vendor_id, device_id, revision, subsystem_vendor_id, subsystem_id;
    uint32_t class_code; /* 24 bits: base, sub, interface */
    bool is_bridge;      /* header type 1 */
    bool express;        /* 4096 bytes of configuration space */
    bool (*realize)(PCIDevice *dev, GError **errp);
    void (*exit)(PCIDevice *dev);
    void (*reset)(PCIDevice *dev);
    /* BARs may have got another PCIIORegion.addr, in a transaction that is still open.  May be
     * NULL. */
    void (*bars_moved)(PCIDevice *dev);
    /*
     * How it migrates: of PCIDevice, or of a model that embeds pci_device_fields and calls
     * pci_device_pre_save() and pci_device_post_load().  NULL: the model sees to it.
     */
    const VMState *vmstate;
    /* NULL: pci_default_read_config / _write_config. @len is 1, 2 or 4; aligned. */
    uint32_t (*config_read)(PCIDevice *dev, uint32_t addr, unsigned len);
    void (*config_write)(PCIDevice *dev, uint32_t addr, uint32_t val, unsigned len);
} PCIDeviceClass;

GType pci_device_get_type(void);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(PCIDevice, g_object_unref)
#define TYPE_PCI_DEVICE         (pci_device_get_type())
#define PCI_DEVICE(o)           G_TYPE_CHECK_INSTANCE_CAST((o), TYPE_PCI_DEVICE, PCIDevice)
#define PCI_DEVICE_CLASS(k)     G_TYPE_CHECK_CLASS_CAST((k), TYPE_PCI_DEVICE, PCIDeviceClass)
#define PCI_DEVICE_GET_CLASS(o) G_TYPE_INSTANCE_GET_CLASS((o), TYPE_PCI_DEVICE, PCIDeviceClass)
#define IS_PCI_DEVICE(o)        G_TYPE_CHECK_INSTANCE_TYPE((o), TYPE_PCI_DEVICE)

/*
 * A device that is hot-plugged may say, while it is being realized, that nothing but time is
 * missing: its slot shows the guest a card, which no configuration cycle reaches yet.
 */
void pci_device_coming(PCIDevice *dev);
/* "0000:00:02.0" as the guest's topology stands now; g_free it. */
char *pci_device_path(PCIDevice *dev);

/* ---- migration (migration/vmstate.h) ---- */

extern const VMStateField pci_device_fields[];
extern const VMState pci_device_vmstate;
/* "pci/1c.0/00.0": the places from the root bus down; g_free it. */
char *pci_device_state_id(PCIDevice *dev);
/* @opaque is the PCIDevice. */
bool pci_device_pre_save(void *opaque, GError **errp);
/*
 * Takes configuration space over and does what it says: BARs, MSI-X vectors (vector_use for each
 * that is live, in one batch), the pin.  What only a model can change it puts right afterwards.
 */
bool pci_device_post_load(void *opaque, GError **errp);

/* ---- configuration space ---- */

uint32_t pci_default_read_config(PCIDevice *dev, uint32_t addr, unsigned len);
/*
 * Applies the masks, then remaps BARs, and does what COMMAND and MSI-X say: touches nothing but
 * config, BARs, the pin and MSI-X hooks, so a device whose registers are elsewhere may call it too.
 */
void pci_default_write_config(PCIDevice *dev, uint32_t addr, uint32_t val, unsigned len);
/*
 * A capability of @size bytes at @offset (0: first free place) is linked at the list's head.
 * Returns its offset, or -1 and the error.
 */
int pci_add_capability(PCIDevice *dev, uint8_t id, uint8_t offset, uint8_t size, GError **errp);
uint8_t pci_find_capability(PCIDevice *dev, uint8_t id);
/*
 * The power management capability is at @cap.  Its state becomes the guest's to write; while that
 * is D3hot, no BAR is mapped.
 */
void pci_pm_init(PCIDevice *dev, uint8_t cap);
/* Whether the state is in the register at @addr. */
bool pci_is_power_control(PCIDevice *dev, uint32_t addr);
#define PCI_PM_D3HOT 3 /* the state in which a function answers configuration cycles only */
static inline uint16_t pci_get_word(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}
static inline uint32_t pci_get_long(const uint8_t *p)
{
    return pci_get_word(p) | (uint32_t)pci_get_word(p + 2) << 16;
}
static inline void pci_set_word(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}
static inline void pci_set_long(uint8_t *p, uint32_t v)
{
    pci_set_word(p, (uint16_t)v);
    pci_set_word(p + 2, (uint16_t)(v >> 16));
}

/* ---- BARs ---- */

/* @type: PCI_BASE_ADDRESS_SPACE_IO, or MEM_TYPE_32/64 with MEM_PREFETCH. Size is the region's. */
void pci_register_bar(PCIDevice *dev, int nr, uint8_t type, MemoryRegion *mr);
/* Address as programmed by the guest, mapped or not. */
uint64_t pci_bar_address(PCIDevice *dev, int nr);

/* ---- interrupts ---- */

/* The GSI of the device's pin (PCI_INTERRUPT_PIN), -1 if it has none. */
int pci_intx_gsi(PCIDevice *dev);
/* Drives the pin from userspace; lines shared between devices are or-ed by the host bridge. */
void pci_set_intx(PCIDevice *dev, bool level);

/* ---- buses ---- */

/*
 * A bus is the root or the secondary side of a bridge (hw/pci/bridge.h).
 * By its QOM/`-device bus=` name: "pcie.0", a port's id.
 */
PCIBus *pci_bus_find(const char *name);
PCIDevice *pci_bus_device(PCIBus *bus, int devfn);
/* Devices on @bus in order of devfn; those behind its bridges are not among them. */
void pci_bus_foreach(PCIBus *bus, void (*fn)(PCIDevice *dev, void *opaque), void *opaque);
/* As the guest or pci_assign_resources() numbered it; 0 is the root, or not numbered yet. */
int pci_bus_number(PCIBus *bus);

/* ---- the host bridge ---- */

typedef struct PCIWindow {
    uint64_t base, size; /* size 0: none */
} PCIWindow;

typedef struct PCIHostConfig {
    MemoryRegion *mem, *io; /* the system's root regions */
    uint64_t ecam_base;     /* 1 MiB a bus */
    unsigned ecam_buses;
    PCIWindow mem32[2]; /* below 4 GiB */
    PCIWindow mem64;
    PCIWindow io_ports;
    /* GSI of @pin (0 = INTA) of a device in @slot of the root bus. */
    int (*map_intx)(int slot, int pin);
} PCIHostConfig;

/*
 * Makes the root bus "pcie.0", ECAM, ports 0xcf8/0xcfc and function 00.0; once.  From then on each
 * system reset ends with pci_assign_resources().
 */
bool pci_host_create(const PCIHostConfig *config, GError **errp);
PCIBus *pci_root_bus(void);
/*
 * What firmware would do: bus numbers, BARs and bridge windows (largest first, naturally aligned,
 * 64-bit prefetchable ones into mem64), interrupt lines, decode on.  Before the guest starts and
 * after each reset.  What does not fit is an error that names device, BAR and size, and stays
 * unassigned; all else is assigned nevertheless.
 */
bool pci_assign_resources(GError **errp);
/* query-pci's answer. */
JsonArray *pci_query(void);

#endif
