/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The host bridge: the root bus, the two ways into configuration space (ECAM; ports 0xcf8 and 0xcfc
 * of PCI Local Bus 3.0, 3.2.2.3.2), and function 00.0 with the identity of Intel's Q35.
 *
 * Port 0xcf8 takes accesses of four bytes only; narrower ones go to whatever else the board has
 * there (0xcf9 is the reset control register of PC chipsets).
 */
#include "hw/pci/internal.h"
#include "util/error.h"

#define CONFIG_ADDRESS_PORT   0xcf8
#define CONFIG_DATA_PORT      0xcfc
#define CONFIG_ADDRESS_ENABLE 0x80000000u
#define CONFIG_ADDRESS_FIELDS 0x80fffffcu
#define ECAM_BUS_SHIFT        20
#define ECAM_DEVFN_SHIFT      12
#define SPACE_PRIORITY        (-1)

PCIHost *pci_host;

PCIBus *pci_root_bus(void)
{
    return pci_host ? pci_host->root : NULL;
}

/* ---- configuration accesses ---- */

/* The function that a configuration cycle reaches. */
static PCIDevice *find_function(unsigned bus_nr, unsigned devfn)
{
    PCIBus *bus = pci_bus_by_number(bus_nr);
    PCIDevice *dev = bus && !bus->off ? pci_bus_device(bus, (int)devfn) : NULL;

    return dev && !pci_is_held_back(dev) ? dev : NULL;
}

static PCIDevice *ecam_function(uint64_t addr)
{
    return find_function((unsigned)(addr >> ECAM_BUS_SHIFT), addr >> ECAM_DEVFN_SHIFT & 0xff);
}

static uint64_t ecam_read(void *opaque, uint64_t addr, unsigned size)
{
    return pci_config_read(ecam_function(addr), addr & (PCIE_CONFIG_SIZE - 1), size);
}

static void ecam_write(void *opaque, uint64_t addr, uint64_t data, unsigned size)
{
    pci_config_write(ecam_function(addr), addr & (PCIE_CONFIG_SIZE - 1), (uint32_t)data, size);
}

static uint64_t address_read(void *opaque, uint64_t addr, unsigned size)
{
    PCIHost *host = opaque;

    return !addr && size == 4 ? host->address : UINT64_MAX;
}

static void address_write(void *opaque, uint64_t addr, uint64_t data, unsigned size)
{
    PCIHost *host = opaque;

    if (!addr && size == 4) {
        host->address = data & CONFIG_ADDRESS_FIELDS;
    }
}

static PCIDevice *addressed_function(PCIHost *host)
{
    return host->address & CONFIG_ADDRESS_ENABLE
               ? find_function(host->address >> 16 & 0xff, host->address >> 8 & 0xff)
               : NULL;
}

static uint64_t data_read(void *opaque, uint64_t addr, unsigned size)
{
    PCIHost *host = opaque;

    return pci_config_read(addressed_function(host), (host->address & 0xfc) + (uint32_t)addr, size);
}

static void data_write(void *opaque, uint64_t addr, uint64_t data, unsigned size)
{
    PCIHost *host = opaque;

    pci_config_write(addressed_function(host), (host->address & 0xfc) + (uint32_t)addr,
                     (uint32_t)data, size);
}

static const MemoryRegionOps ecam_ops = { ecam_read, ecam_write, .max_size = 4 };
static const MemoryRegionOps address_ops = { address_read, address_write, .max_size = 4 };
static const MemoryRegionOps data_ops = { data_read, data_write, .max_size = 4 };

/* ---- function 00.0 ---- */

typedef struct MCH {
    PCIDevice parent;
} MCH;

typedef struct MCHClass {
    PCIDeviceClass parent_class;
} MCHClass;

GType mch_get_type(void);
DEFINE_OBJECT_TYPE(MCH, mch, "mch", TYPE_PCI_DEVICE, 0)

static void mch_init(MCH *self)
{
}

static void mch_class_init(MCHClass *klass)
{
    PCIDeviceClass *pc = PCI_DEVICE_CLASS(klass);

    DEVICE_CLASS(klass)->desc = "Host bridge";
    DEVICE_CLASS(klass)->category = "Bridge";
    pc->vendor_id = 0x8086;
    pc->device_id = 0x29c0;
    pc->class_code = 0x060000;
}

/* ---- creation ---- */

/* A guest that wakes brings back itself what it had made of them. */
static void assign_after_reset(ResetType type, void *opaque)
{
    g_autoptr(GError) err = NULL;

    if (type == RESET_TYPE_COLD && !pci_assign_resources(&err)) {
        error_report("%s", err->message);
    }
}

static bool host_post_load(void *opaque, GError **errp)
{
    ((PCIHost *)opaque)->address &= CONFIG_ADDRESS_FIELDS;
    return true;
}

static const VMStateField host_fields[] = {
    VMSTATE_UINT(PCIHost, address),
    VMSTATE_END,
};

static const VMState host_vmstate = {
    .name = "pci-host",
    .version = 1,
    .priority = VMS_PRIORITY_BUS,
    .fields = host_fields,
    .post_load = host_post_load,
};

static void init_regions(PCIHost *host)
{
    const PCIHostConfig *c = &host->config;

    memory_region_init(&host->mem, NULL, "pci", UINT64_MAX);
    memory_region_init(&host->io, NULL, "pci-io", c->io->size);
    memory_region_init_io(&host->ecam, NULL, &ecam_ops, host, "pcie-ecam",
                          (uint64_t)c->ecam_buses << ECAM_BUS_SHIFT);
    memory_region_init_io(&host->address_port, NULL, &address_ops, host, "pci-conf-idx", 4);
    memory_region_init_io(&host->data_port, NULL, &data_ops, host, "pci-conf-data", 4);
    memory_transaction_begin();
    memory_region_add_child(c->mem, 0, &host->mem, SPACE_PRIORITY);
    memory_region_add_child(c->mem, c->ecam_base, &host->ecam, 0);
    memory_region_add_child(c->io, 0, &host->io, SPACE_PRIORITY);
    memory_region_add_child(c->io, CONFIG_ADDRESS_PORT, &host->address_port, 0);
    memory_region_add_child(c->io, CONFIG_DATA_PORT, &host->data_port, 0);
    memory_transaction_commit();
}

bool pci_host_create(const PCIHostConfig *config, GError **errp)
{
    g_autoptr(PCIDevice) mch = NULL;

    if (pci_host) {
        return error_set(errp, "PCI: there is a host bridge already");
    }
    pci_host = g_new0(PCIHost, 1);
    pci_host->config = *config;
    pci_host->root = pci_bus_new("pcie.0", NULL, 32);
    init_regions(pci_host);
    reset_register(assign_after_reset, NULL);
    vmstate_register("pci", 0, &host_vmstate, pci_host);
    mch = g_object_new(mch_get_type(), NULL);
    mch->devfn = PCI_DEVFN(0, 0);
    return device_realize_at(DEVICE(mch), "/machine/unattached", NULL, errp);
}
