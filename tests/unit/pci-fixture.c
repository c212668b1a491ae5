/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "pci-fixture.h"

#include "hw/pci/msi.h"
#include "util/error.h"
#include "util/keyval.h"

/* ---- the function ---- */

const char *next_bars;
bool next_fails;

static uint64_t bar_read(void *opaque, uint64_t addr, unsigned size)
{
    return 0x5a;
}

static void bar_write(void *opaque, uint64_t addr, uint64_t data, unsigned size)
{
}

static const MemoryRegionOps bar_ops = { .read = bar_read, .write = bar_write };

static void test_device_fini_bars(TestDevice *t)
{
    for (int i = 0; i < PCI_NUM_REGIONS; i++) {
        if (t->bars[i].size) {
            g_assert_null(t->bars[i].container);
            memory_region_fini(&t->bars[i]);
        }
    }
}

static bool test_device_realize(PCIDevice *dev, GError **errp)
{
    static const uint8_t types['z'] = {
        ['m'] = PCI_BASE_ADDRESS_MEM_TYPE_32,
        ['M'] = PCI_BASE_ADDRESS_MEM_TYPE_64,
        ['P'] = PCI_BASE_ADDRESS_MEM_TYPE_64 | PCI_BASE_ADDRESS_MEM_PREFETCH,
        ['i'] = PCI_BASE_ADDRESS_SPACE_IO,
    };
    TestDevice *t = (TestDevice *)dev;
    g_auto(GStrv) specs = g_strsplit(next_bars ?: "", " ", -1);

    dev->config[PCI_INTERRUPT_PIN] = 1;
    for (char **spec = specs; *spec; spec++) {
        int nr = (*spec)[0] - '0';
        uint64_t size;

        g_assert_true(size_parse(*spec + 3, 1, &size, NULL));
        memory_region_init_io(&t->bars[nr], G_OBJECT(dev), &bar_ops, t, "bar", size);
        pci_register_bar(dev, nr, types[(unsigned char)(*spec)[2]], &t->bars[nr]);
    }
    next_bars = NULL;
    if (next_fails) {
        next_fails = false;
        test_device_fini_bars(t);
        return error_set(errp, "told to fail");
    }
    return true;
}

static void test_device_exit(PCIDevice *dev)
{
    msix_fini(dev);
    test_device_fini_bars((TestDevice *)dev);
}

static void test_device_reset(PCIDevice *dev)
{
    ((TestDevice *)dev)->resets++;
}

DEFINE_OBJECT_TYPE(TestDevice, test_device, "test-pci", TYPE_PCI_DEVICE, 0)

static void test_device_init(TestDevice *self)
{
}

static void test_device_class_init(TestDeviceClass *klass)
{
    PCIDeviceClass *pc = PCI_DEVICE_CLASS(klass);

    DEVICE_CLASS(klass)->user_creatable = true;
    DEVICE_CLASS(klass)->hotpluggable = true;
    pc->vendor_id = CARD_IDS & 0xffff;
    pc->device_id = CARD_IDS >> 16;
    pc->class_code = 0x020000;
    pc->realize = test_device_realize;
    pc->exit = test_device_exit;
    pc->reset = test_device_reset;
}

/* ---- the guest ---- */

uint32_t access_in(AddressSpace *as, uint64_t addr, unsigned len, bool is_write, uint32_t val)
{
    val = GUINT32_TO_LE(val);
    address_space_rw(as, addr, &val, len, is_write);
    val = GUINT32_FROM_LE(val);
    return len < 4 ? val & ((1U << len * 8) - 1) : val;
}

uint32_t access32(uint64_t addr, unsigned len, bool is_write, uint32_t val)
{
    return access_in(&address_space_memory, addr, len, is_write, val);
}

uint64_t ecam_addr(int bus, int devfn, unsigned reg)
{
    return ECAM + ((uint64_t)bus << 20 | (uint64_t)devfn << 12 | reg);
}

uint32_t rd(PCIDevice *dev, unsigned reg, unsigned len)
{
    return access32(ecam_addr(pci_bus_number(dev->bus), dev->devfn, reg), len, false, 0);
}

void wr(PCIDevice *dev, unsigned reg, uint32_t val, unsigned len)
{
    access32(ecam_addr(pci_bus_number(dev->bus), dev->devfn, reg), len, true, val);
}

/* ---- the machine ---- */

bool lines[64];

void record_line(int gsi, bool level)
{
    lines[gsi] = level;
}

static int map_intx(int slot, int pin)
{
    return 16 + (slot + pin) % 4;
}

void pci_fixture_init(void)
{
    PCIHostConfig config = {
        .ecam_base = ECAM,
        .ecam_buses = 256,
        .mem32 = { { LOW, 768 * MiB }, { 0xc0000000, 0x3ec00000 } },
        .mem64 = { HIGH, 1 * TiB },
        .io_ports = { 0x1000, 0xf000 },
        .map_intx = map_intx,
    };
    g_autoptr(GError) err = NULL;

    memory_init();
    config.mem = address_space_memory.root;
    config.io = address_space_io.root;
    pci_host_create(&config, &err);
    g_assert_no_error(err);
}
