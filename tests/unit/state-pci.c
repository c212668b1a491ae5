/* SPDX-License-Identifier: GPL-2.0-or-later */
/* PCI: saved from functions, bridges and slots of one machine, loaded into those of another. */
#include "hotplug-fixture.h"

#include <string.h>

#include "hw/pci/msi.h"
#include "vmstate-edit.h"

#define MSIX_CAP 0x70
#define MSI_CAP  0x80
#define PM_CAP   0xa0
#define VECTORS  70
#define BAR      0x90000000U

/* ---- a device with vectors ---- */

typedef struct TestVectors {
    PCIDevice parent;
    MemoryRegion bar;
} TestVectors;

typedef PCIDeviceClass TestVectorsClass;

static GString *told; /* what its hooks were */
static bool none_left;

static bool on_use(PCIDevice *dev, unsigned vector, MSIMessage msg)
{
    g_string_append_printf(told, "+%u:%x ", vector, msg.data);
    return !none_left;
}

static void on_release(PCIDevice *dev, unsigned vector)
{
    g_string_append_printf(told, "-%u ", vector);
}

static const MSIXHooks hooks = { on_use, on_release, NULL, NULL, NULL };

static void expect_told(const char *expected)
{
    g_assert_cmpstr(told->str, ==, expected);
    g_string_truncate(told, 0);
}

static bool test_vectors_realize(PCIDevice *dev, GError **errp)
{
    TestVectors *t = (TestVectors *)dev;

    dev->config[PCI_INTERRUPT_PIN] = 1;
    memory_region_init(&t->bar, G_OBJECT(dev), "bar", 8 * KiB);
    pci_register_bar(dev, 0, PCI_BASE_ADDRESS_MEM_TYPE_32, &t->bar);
    pci_pm_init(dev, (uint8_t)pci_add_capability(dev, PCI_CAP_ID_PM, PM_CAP, PCI_PM_SIZEOF, errp));
    return msi_init(dev, MSI_CAP, 4, true, true, errp) &&
           msix_init(dev, MSIX_CAP, VECTORS, &t->bar, 0, 0, &t->bar, 0, 0x1000, &hooks, errp);
}

static void test_vectors_exit(PCIDevice *dev)
{
    msix_fini(dev);
    memory_region_fini(&((TestVectors *)dev)->bar);
}

GType test_vectors_get_type(void);
DEFINE_OBJECT_TYPE(TestVectors, test_vectors, "test-vectors", TYPE_PCI_DEVICE, 0)

static void test_vectors_init(TestVectors *self)
{
}

static void test_vectors_class_init(TestVectorsClass *klass)
{
    DEVICE_CLASS(klass)->user_creatable = true;
    DEVICE_CLASS(klass)->hotpluggable = true;
    klass->vendor_id = 0x1234;
    klass->device_id = 0x5678;
    klass->class_code = 0x020000;
    klass->realize = test_vectors_realize;
    klass->exit = test_vectors_exit;
}

static PCIDevice *vectors_new(const char *opts)
{
    g_autoptr(GError) err = NULL;

    g_assert_true(cold(opts, &err));
    g_string_truncate(told, 0);
    return find("v");
}

/* In another process, whose user gave the same options. */
static PCIDevice *vectors_again(PCIDevice *dev, const char *opts)
{
    device_destroy(DEVICE(dev));
    memset(lines, 0, sizeof(lines));
    return vectors_new(opts);
}

static void table_set(unsigned vector, uint32_t data, bool masked)
{
    access32(BAR + vector * 16, 4, true, 0xfee00000);
    access32(BAR + vector * 16 + 8, 4, true, data);
    access32(BAR + vector * 16 + 12, 4, true, masked);
}

/* ---- functions ---- */

#define OPTIONS "test-vectors,id=v,addr=5.0"
#define ID      "pci/05.0"

static PCIDevice *vectors_driven(void)
{
    PCIDevice *dev = vectors_new(OPTIONS);

    wr(dev, PCI_BASE_ADDRESS_0, BAR, 4);
    wr(dev, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
    wr(dev, PCI_INTERRUPT_LINE, 11, 1);
    return dev;
}

static void test_msix(void)
{
    PCIDevice *dev = vectors_driven();
    g_autoptr(GByteArray) stream = NULL;

    table_set(0, 0x30, false);
    table_set(2, 0x32, true);
    table_set(69, 0x45, false);
    wr(dev, MSIX_CAP + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE, 2);
    msix_set_pending(dev, 2, true);
    stream = stream_save();

    dev = vectors_again(dev, OPTIONS);
    stream_load(stream);
    expect_told("+0:30 +69:45 ");
    g_assert_cmphex(rd(dev, PCI_COMMAND, 2), ==, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    g_assert_cmphex(rd(dev, PCI_BASE_ADDRESS_0, 4), ==, BAR);
    g_assert_cmphex(rd(dev, PCI_INTERRUPT_LINE, 1), ==, 11);
    g_assert_cmphex(access32(BAR + 69 * 16 + 8, 4, false, 0), ==, 0x45);
    g_assert_cmphex(access32(BAR + 0x1000, 4, false, 0), ==, 4);
    table_set(2, 0x32, false);
    expect_told("+2:32 ");

    /* Into one that has others: those are released first. */
    stream_load(stream);
    expect_told("-0 -2 -69 +0:30 +69:45 ");

    dev = vectors_again(dev, OPTIONS);
    none_left = true;
    stream_refused(stream, "test-vectors,id=v: MSI-X vector 0 cannot be used");
    none_left = false;
    device_destroy(DEVICE(dev));
}

static void test_intx(void)
{
    PCIDevice *dev = vectors_driven();
    int gsi = pci_intx_gsi(dev);
    g_autoptr(GByteArray) stream = NULL;

    pci_set_intx(dev, true);
    g_assert_true(lines[gsi]);
    stream = stream_save();
    dev = vectors_again(dev, OPTIONS);
    stream_load(stream);
    g_assert_true(lines[gsi]);
    g_assert_cmphex(rd(dev, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT, ==, PCI_STATUS_INTERRUPT);
    wr(dev, PCI_COMMAND, PCI_COMMAND_INTX_DISABLE, 2);
    g_assert_false(lines[gsi]);
    g_byte_array_unref(stream);
    stream = stream_save();
    lines[gsi] = true;
    stream_load(stream);
    g_assert_false(lines[gsi]);
    device_destroy(DEVICE(dev));
}

static void test_msi_and_sleep(void)
{
    PCIDevice *dev = vectors_driven();
    g_autoptr(GByteArray) stream = NULL;

    wr(dev, MSI_CAP + PCI_MSI_ADDRESS_LO, 0xfee01000, 4);
    wr(dev, MSI_CAP + PCI_MSI_DATA_64, 0x44, 2);
    wr(dev, MSI_CAP + PCI_MSI_FLAGS, PCI_MSI_FLAGS_ENABLE | 2 << 4, 2);
    wr(dev, MSI_CAP + PCI_MSI_MASK_64, 0x2, 4);
    wr(dev, PM_CAP + PCI_PM_CTRL, PCI_PM_D3HOT, 2);
    stream = stream_save();
    dev = vectors_again(dev, OPTIONS);
    stream_load(stream);
    g_assert_true(msi_enabled(dev));
    g_assert_cmpuint(msi_nr_vectors(dev), ==, 4);
    g_assert_cmphex(msi_message(dev, 3).data, ==, 0x47);
    g_assert_cmphex(msi_message(dev, 3).address, ==, 0xfee01000);
    g_assert_true(msi_is_masked(dev, 1));
    g_assert_cmphex(dev->regions[0].addr, ==, PCI_BAR_UNMAPPED);
    wr(dev, PM_CAP + PCI_PM_CTRL, 0, 2);
    g_assert_cmphex(dev->regions[0].addr, ==, BAR);
    device_destroy(DEVICE(dev));
}

/* What no guest can have written is of another device. */
static void test_other_device(void)
{
    static const struct {
        unsigned at;
        uint8_t bits;
        const char *message;
    } cases[] = {
        { PCI_DEVICE_ID, 1, "at 0x2 is 0x79 there and 0x78 here" },
        { PCI_HEADER_TYPE, 1, "at 0xe is 0x01" },
        { PCI_BASE_ADDRESS_0, 8, "at 0x10 is 0x08" },
        { PCI_BASE_ADDRESS_0 + 1, 1, "at 0x11 is 0x01" },
        { PCI_BASE_ADDRESS_1, 1, "at 0x14 is 0x01" },
        { PCI_CAPABILITY_LIST, 4, "at 0x34" },
        { PCI_INTERRUPT_PIN, 3, "at 0x3d" },
        { MSI_CAP + PCI_MSI_FLAGS + 1, 1, "at 0x83" },
        { MSI_CAP + PCI_MSI_FLAGS, 0x80, "at 0x82" },
        { MSIX_CAP + PCI_MSIX_FLAGS, 1, "at 0x72" },
        { 0xff, 0x80, "at 0xff" },
    };
    PCIDevice *dev = vectors_driven();
    g_autoptr(GByteArray) stream = stream_save();

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        uint8_t before[PCI_CONFIG_SIZE];
        size_t len;
        uint8_t *config = stream_field(stream, ID, 0, "loaded", &len);

        g_assert_cmpuint(len, ==, PCI_CONFIG_SIZE);
        memcpy(before, dev->config, sizeof(before));
        config[cases[i].at] ^= cases[i].bits;
        stream_seal(stream);
        stream_refused(stream, cases[i].message);
        g_assert_cmpmem(dev->config, PCI_CONFIG_SIZE, before, sizeof(before));
        config[cases[i].at] ^= cases[i].bits;
    }
    stream_seal(stream);
    stream_load(stream);
    device_destroy(DEVICE(dev));

    /* In another place, or not there at all. */
    dev = vectors_new("test-vectors,id=v,addr=6.0");
    stream_refused(stream,
                   "has the state of pci/05.0 (pci-device, instance 0) where here is pci/06");
    device_destroy(DEVICE(dev));
    stream_refused(stream, "the stream has a state of pci/05.0, which is not here");
}

/* Whatever the table and the bits that a guest may write are. */
static void test_any_bits(void)
{
    PCIDevice *dev = vectors_driven();
    g_autoptr(GByteArray) stream = stream_save();
    g_autoptr(GRand) rand = g_rand_new_with_seed(1);

    for (int i = 0; i < 1000; i++) {
        size_t config_len, table_len;
        uint8_t *config = stream_field(stream, ID, 0, "loaded", &config_len);
        uint8_t *table = stream_field(stream, ID, 0, "msix_table", &table_len);

        for (size_t k = 0; k < config_len; k++) {
            uint8_t guests = dev->wmask[k] | dev->w1cmask[k];

            config[k] = (uint8_t)((config[k] & ~guests) | (g_rand_int(rand) & guests));
        }
        for (size_t k = 0; k < table_len; k++) {
            table[k] = (uint8_t)g_rand_int(rand);
        }
        stream_seal(stream);
        stream_load(stream);
        g_string_truncate(told, 0);
    }
    device_destroy(DEVICE(dev));
}

/* ---- bridges and slots ---- */

static void test_slot(void)
{
    PCIDevice *port, *card;
    g_autoptr(GByteArray) stream = NULL;
    uint64_t base, limit, bar;
    uint16_t ctl;

    port = port_driven();
    device_add_args(ADD_CARD, "");
    take_events(port);
    power_up(port);
    card = find("c");
    pci_bridge_window(port, PCI_WINDOW_PREF, &base, &limit);
    bar = base + 5 * MiB;
    wr(card, PCI_BASE_ADDRESS_0, (uint32_t)bar, 4);
    wr(card, PCI_BASE_ADDRESS_1, (uint32_t)(bar >> 32), 4);
    wr(card, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
    g_assert_cmphex(access32(bar, 1, false, 0), ==, 0x5a);
    wr(port, PCI_SECONDARY_BUS, 0x0505, 2); /* the guest numbers buses anew */
    g_assert_cmphex(ids_behind(port, 0), ==, CARD_IDS);
    ctl = exp_rd(port, PCI_EXP_SLTCTL);
    stream = stream_save();
    port_end(port);

    /* There the card was there from the start, and nobody has spoken with the slot. */
    port = port_new("");
    g_assert_true(cold("test-card,id=c,bus=rp", NULL));
    messages = 0;
    stream_load(stream);
    expect_messages(0);
    g_assert_cmphex(exp_rd(port, PCI_EXP_SLTCTL), ==, ctl);
    g_assert_cmphex(take_events(port), ==, 0);
    g_assert_true(link_up(port) && present(port));
    g_assert_cmphex(rd(port, PCI_SECONDARY_BUS, 2), ==, 0x0505);
    g_assert_cmphex(ids_behind(port, 0), ==, CARD_IDS);
    g_assert_cmphex(access32(bar, 1, false, 0), ==, 0x5a);

    /* It can go from there: asked for here or there. */
    device_del_id("c", "");
    expect_messages(1);
    g_byte_array_unref(stream);
    stream = stream_save();
    port_end(port);
    port = port_new("");
    g_assert_true(cold("test-card,id=c,bus=rp", NULL));
    messages = 0;
    stream_load(stream);
    expect_messages(0); /* it was told once */
    g_assert_cmphex(exp_rd(port, PCI_EXP_SLTSTA) & EVENTS, ==, PCI_EXP_SLTSTA_ABP);
    g_assert_true(DEVICE(find("c"))->pending_deleted);
    take_events(port);
    let_go(port);
    g_assert_null(find("c"));
    expect_events("DEVICE_DELETED:c ");
    stream_refused(stream, "the stream has a state of pci/01.0/00.0, which is not here");
    port_end(port);
}

/* A slot that the guest has switched off, with a card in it. */
static void test_slot_off(void)
{
    PCIDevice *port = port_driven();
    g_autoptr(GByteArray) stream = NULL;

    g_assert_true(cold("test-card,id=c,bus=rp", NULL));
    take_events(port);
    power_up(port);
    power(port, false);
    g_assert_cmphex(ids_behind(port, 0), ==, UINT32_MAX);
    stream = stream_save();
    port_end(port);
    port = port_new("");
    g_assert_true(cold("test-card,id=c,bus=rp", NULL));
    resets = 0;
    stream_load(stream);
    g_assert_false(link_up(port));
    g_assert_cmphex(ids_behind(port, 0), ==, UINT32_MAX);
    power(port, true);
    g_assert_cmpint(resets, ==, 1); /* it had been without power */
    g_assert_cmphex(ids_behind(port, 0), ==, CARD_IDS);
    port_end(port);
}

static void test_address_port(void)
{
    g_autoptr(GByteArray) stream = NULL;
    uint32_t address = 0x80001234;

    address_space_rw(&address_space_io, 0xcf8, &address, 4, true);
    stream = stream_save();
    address = 0;
    address_space_rw(&address_space_io, 0xcf8, &address, 4, true);
    stream_load(stream);
    address_space_rw(&address_space_io, 0xcf8, &address, 4, false);
    g_assert_cmphex(address, ==, 0x80001234);
    stream_set(stream, "pci", 0, "address", UINT32_MAX);
    stream_load(stream);
    address_space_rw(&address_space_io, 0xcf8, &address, 4, false);
    g_assert_cmphex(address, ==, 0x80fffffc);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    told = g_string_new(NULL);
    test_vectors_get_type();
    g_test_add_func("/state-pci/msix", test_msix);
    g_test_add_func("/state-pci/intx", test_intx);
    g_test_add_func("/state-pci/msi-and-sleep", test_msi_and_sleep);
    g_test_add_func("/state-pci/other-device", test_other_device);
    g_test_add_func("/state-pci/any-bits", test_any_bits);
    g_test_add_func("/state-pci/address-port", test_address_port);
    g_test_add_func("/state-pci/running", vm_start); /* those behind need it */
    g_test_add_func("/state-pci/slot", test_slot);
    g_test_add_func("/state-pci/slot-off", test_slot_off);
    return hotplug_run();
}
