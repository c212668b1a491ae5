/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Configuration space of vfio-pci: what capabilities become, and what rubbish cannot do. */
#include <string.h>

#include "hw/pci/bridge.h"
#include "tests/unit/vfio-fixture.h"
#include "util/keyval.h"
#include "util/linux-iommufd.h"

/* ---- identity ---- */

static void test_identity(void)
{
    PCIDevice *dev;

    setup();
    dev = plug_ok(",x-pci-class-code=0x030001,x-pci-sub-vendor-id=0x1234,x-pci-sub-device-id=7,"
                  "multifunction=on");
    g_assert_cmphex(cfg_read(dev, PCI_CLASS_REVISION, 4), ==, 0x03000102);
    g_assert_cmphex(cfg_read(dev, PCI_SUBSYSTEM_VENDOR_ID, 4), ==, 0x00071234);
    g_assert_cmphex(cfg_read(dev, PCI_HEADER_TYPE, 1), ==, 0x80);
    teardown(dev);

    setup();
    assert_plug_fails(",x-pci-class-code=0x1000000", "invalid PCI class code 0x1000000");
    assert_plug_fails(",x-pci-vendor-id=0xffff", "invalid PCI vendor ID 0xffff");
    assert_plug_fails(",x-pci-sub-device-id=0x10000", "invalid PCI subsystem device ID 0x10000");
    teardown(NULL);
}

/* ---- PCI Express ---- */

/* The device's capability: this type and version, and a link of 16 lanes at 16 GT/s. */
static void express(unsigned type, unsigned version)
{
    uint8_t *cap = sim->config + EXPRESS_CAP;

    pci_set_word(cap + PCI_EXP_FLAGS, (uint16_t)(type << 4 | version | 3 << 9));
    pci_set_long(cap + PCI_EXP_DEVCAP, PCI_EXP_DEVCAP_FLR);
    pci_set_long(cap + PCI_EXP_LNKCAP, 0x104);
    pci_set_word(cap + PCI_EXP_LNKCTL, 0x40);
    pci_set_word(cap + PCI_EXP_LNKSTA, 0x104);
    pci_set_long(cap + PCI_EXP_LNKCAP2, 0x1e);
    pci_set_word(cap + PCI_EXP_LNKCTL2, 4);
    pci_set_word(cap + 0x38, 0x5a5a); /* the slot's second control register */
}

static void test_express_root(void)
{
    PCIDevice *dev;

    setup(); /* an endpoint: it has no link any more, all else is there */
    express(PCI_EXP_TYPE_ENDPOINT, 2);
    dev = plug_ok("");
    g_assert_cmphex(cfg_read(dev, EXPRESS_CAP + PCI_EXP_FLAGS, 2), ==, 3 << 9 | 0x92);
    g_assert_cmphex(cfg_read(dev, EXPRESS_CAP + PCI_EXP_DEVCAP, 4), ==, PCI_EXP_DEVCAP_FLR);
    g_assert_cmphex(cfg_read(dev, EXPRESS_CAP + PCI_EXP_LNKCAP, 4), ==, 0);
    g_assert_cmphex(cfg_read(dev, EXPRESS_CAP + PCI_EXP_LNKCTL, 4), ==, 0);
    g_assert_cmphex(cfg_read(dev, EXPRESS_CAP + PCI_EXP_LNKCAP2, 4), ==, 0);
    g_assert_cmphex(cfg_read(dev, EXPRESS_CAP + PCI_EXP_LNKCTL2, 4), ==, 0);
    g_assert_cmphex(cfg_read(dev, EXPRESS_CAP + 0x38, 2), ==, 0x5a5a);
    cfg_write(dev, EXPRESS_CAP + PCI_EXP_LNKCTL, 0x10, 2);
    g_assert_cmphex(pci_get_word(sim->config + EXPRESS_CAP + PCI_EXP_LNKCTL), ==, 0x40);
    g_assert_cmpuint(dev->config_size, ==, PCIE_CONFIG_SIZE);
    teardown(dev);

    setup(); /* version 0 becomes 1, which has no second link registers */
    express(PCI_EXP_TYPE_ENDPOINT, 0);
    dev = plug_ok("");
    g_assert_cmphex(cfg_read(dev, EXPRESS_CAP + PCI_EXP_FLAGS, 2), ==, 3 << 9 | 0x91);
    g_assert_cmphex(cfg_read(dev, EXPRESS_CAP + PCI_EXP_LNKCAP, 4), ==, 0);
    g_assert_cmphex(cfg_read(dev, EXPRESS_CAP + PCI_EXP_LNKCAP2, 4), ==, 0x1e);
    teardown(dev);

    setup(); /* no legacy endpoints there, nor what depends on the capability */
    express(PCI_EXP_TYPE_LEG_END, 2);
    dev = plug_ok("");
    g_assert_cmphex(cfg_read(dev, PM_CAP, 2), ==, PCI_CAP_ID_PM);
    g_assert_cmphex(cfg_read(dev, EXPRESS_CAP, 4), ==, 0);
    g_assert_cmpuint(dev->config_size, ==, PCI_CONFIG_SIZE);
    teardown(dev);

    setup();
    express(PCI_EXP_TYPE_ROOT_PORT, 2);
    assert_plug_fails("", "assignment of PCIe type 0x4 devices is not supported");
    teardown(NULL);
}

/* Behind a port; any bridge stands for one here. */
typedef PCIBridge TestPort;
typedef PCIBridgeClass TestPortClass;
DEFINE_OBJECT_TYPE(TestPort, test_port, "test-port", TYPE_PCI_BRIDGE, 0)

static void test_port_init(TestPort *self)
{
}

static void test_port_class_init(TestPortClass *klass)
{
    DEVICE_CLASS(klass)->user_creatable = true;
}

static void test_express_port(void)
{
    static const struct {
        unsigned type;
        uint32_t flags, lnkcap, lnkctl, lnkcap2;
    } cases[] = {
        { PCI_EXP_TYPE_ENDPOINT, 0x02, 0x104, 0x01040040, 0x1e },
        { PCI_EXP_TYPE_LEG_END, 0x12, 0x104, 0x01040040, 0x1e },
        { PCI_EXP_TYPE_RC_END, 0x02, 0x11, 0x00110000, 2 },
    };
    g_autoptr(JsonObject) opts = keyval_parse("test-port,id=port,addr=5", "driver", NULL, NULL);
    g_autoptr(GError) err = NULL;

    device_add(opts, false, &err);
    g_assert_no_error(err);
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        PCIDevice *dev;

        setup();
        express(cases[i].type, 2);
        dev = plug_ok(",bus=port");
        g_assert_cmphex(cfg_read(dev, EXPRESS_CAP + PCI_EXP_FLAGS, 2), ==, 3 << 9 | cases[i].flags);
        g_assert_cmphex(cfg_read(dev, EXPRESS_CAP + PCI_EXP_LNKCAP, 4), ==, cases[i].lnkcap);
        g_assert_cmphex(cfg_read(dev, EXPRESS_CAP + PCI_EXP_LNKCTL, 4), ==, cases[i].lnkctl);
        g_assert_cmphex(cfg_read(dev, EXPRESS_CAP + PCI_EXP_LNKCAP2, 4), ==, cases[i].lnkcap2);
        g_assert_cmpuint(dev->config_size, ==, PCIE_CONFIG_SIZE);
        teardown(dev);
    }
    device_destroy(DEVICE(object_resolve("port")));
}

/* ---- extended capabilities ---- */

static void ext_cap(uint32_t at, uint16_t id, uint32_t next)
{
    pci_set_long(sim->config + at, next << 20 | 1 << 16 | id);
}

static void test_rebar(void)
{
    PCIDevice *dev;

    setup();
    ext_cap(0x1c0, PCI_EXT_CAP_ID_REBAR, 0);
    pci_set_long(sim->config + 0x1c4, 0x00fff0f0);
    pci_set_long(sim->config + 0x1c8, 8 << 8 | 2 << 5 | 0); /* 256 MiB now, the first of two */
    pci_set_long(sim->config + 0x1cc, 0x000000f0);
    pci_set_long(sim->config + 0x1d0, 0 << 8 | 2);
    dev = plug_ok("");
    g_assert_cmphex(cfg_read(dev, 0x1c0, 4), ==, 1 << 16 | PCI_EXT_CAP_ID_REBAR);
    g_assert_cmphex(cfg_read(dev, 0x1c4, 4), ==, 1 << 12);
    g_assert_cmphex(cfg_read(dev, 0x1c8, 4), ==, 8 << 8 | 2 << 5);
    g_assert_cmphex(cfg_read(dev, 0x1cc, 4), ==, 1 << 4);
    cfg_write(dev, 0x1c8, 15 << 8, 4);
    g_assert_cmphex(cfg_read(dev, 0x1c8, 4), ==, 8 << 8 | 2 << 5);
    g_assert_cmphex(pci_get_long(sim->config + 0x1c8), ==, 8 << 8 | 2 << 5);
    teardown(dev);

    setup(); /* what has no bit there is not told at all */
    ext_cap(0x1c0, PCI_EXT_CAP_ID_REBAR, 0);
    pci_set_long(sim->config + 0x1c4, 0x00fff0f0);
    pci_set_long(sim->config + 0x1c8, 20 << 8 | 1 << 5);
    dev = plug_ok("");
    g_assert_cmphex(cfg_read(dev, 0x140, 4) >> 20, ==, 0);
    g_assert_cmphex(cfg_read(dev, 0x1c0, 4), ==, 0);
    g_assert_cmphex(cfg_read(dev, 0x1c4, 4), ==, 0);
    teardown(dev);
}

static void test_ats(void)
{
    PCIDevice *dev;

    setup();
    sim->hw_caps = 0;
    dev = plug_ok("");
    g_assert_cmphex(cfg_read(dev, 0x180, 4), ==, 0x1c000000 | 1 << 16 | PCI_EXT_CAP_ID_ATS);
    teardown(dev);
    setup();
    sim->hw_caps = 0;
    dev = plug_ok(",ats=off");
    g_assert_cmphex(cfg_read(dev, 0x180, 4), ==, 0);
    teardown(dev);
    setup();
    sim->hw_caps = 0;
    teardown(plug_ok(",ats=on"));

    setup();
    assert_plug_fails(",ats=on", "ats=on, but the host's IOMMU does not support ATS for it");
    ext_cap(0x180, PCI_EXT_CAP_ID_VNDR, 0x1c0);
    assert_plug_fails(",ats=on", "ats=on, but it has no ATS capability");
    teardown(NULL);
}

/* No more is hidden than the capability is long: what a vendor put behind it is the device's. */
static void test_hidden_size(void)
{
    PCIDevice *dev;

    setup();
    ext_cap(0x140, PCI_EXT_CAP_ID_ARI, 0);
    pci_set_long(sim->config + 0x144, 0x11);
    pci_set_long(sim->config + 0x148, 0x22);
    pci_set_long(sim->config + 0xffc, 0x33);
    dev = plug_ok("");
    g_assert_cmphex(cfg_read(dev, 0x140, 4), ==, 0);
    g_assert_cmphex(cfg_read(dev, 0x144, 4), ==, 0);
    g_assert_cmphex(cfg_read(dev, 0x148, 4), ==, 0x22);
    g_assert_cmphex(cfg_read(dev, 0xffc, 4), ==, 0x33);
    teardown(dev);
}

/* ---- rubbish ---- */

#define ROUNDS 2000

static uint32_t seed;

static uint32_t number(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 17;
    seed ^= seed << 5;
    return seed;
}

/* Likely ids in likely places, or it would be refused at the first look. */
static void scramble(void)
{
    static const uint8_t ids[] = {
        PCI_CAP_ID_PM,   PCI_CAP_ID_MSI,  PCI_CAP_ID_EXP, PCI_CAP_ID_AF,
        PCI_CAP_ID_MSIX, PCI_CAP_ID_VNDR, PCI_CAP_ID_EXP, PCI_CAP_ID_EA
    };
    static const uint8_t ext_ids[] = { PCI_EXT_CAP_ID_ERR,   PCI_EXT_CAP_ID_ARI,
                                       PCI_EXT_CAP_ID_ATS,   PCI_EXT_CAP_ID_SRIOV,
                                       PCI_EXT_CAP_ID_REBAR, PCI_EXT_CAP_ID_PASID,
                                       PCI_EXT_CAP_ID_VNDR,  PCI_EXT_CAP_ID_PRI };
    uint8_t *c = sim->config;
    unsigned at;

    for (unsigned i = 0; i < sizeof(sim->config); i += 4) {
        pci_set_long(c + i, number() & (number() & 1 ? UINT32_MAX : number()));
    }
    if (number() % 16) {
        c[PCI_HEADER_TYPE] &= 0x80;
        c[PCI_STATUS] |= PCI_STATUS_CAP_LIST;
        pci_set_long(c + PCI_BASE_ADDRESS_0, (number() & 8) | 4);
        pci_set_long(c + PCI_BASE_ADDRESS_2, 1);
    }
    at = c[PCI_CAPABILITY_LIST] = (uint8_t)(0x40 + number() % 48 * 4);
    for (unsigned n = number() % 12; n && at < 0x100; n--) {
        unsigned next = number() % 32 && n > 1 ? 0x40 + number() % 48 * 4 : 0;

        c[at] = ids[number() % G_N_ELEMENTS(ids)];
        c[at + 1] = (uint8_t)next;
        if (c[at] == PCI_CAP_ID_MSIX && number() % 4) {
            pci_set_long(c + at, (uint32_t)(number() % VECTORS) << 16 | next << 8 | c[at]);
            pci_set_long(c + MIN(at + 4, 252U), number() & 0x3ff8);
            pci_set_long(c + MIN(at + 8, 252U), number() & 0x3ff8);
        }
        at = next ? next : 0x100;
    }
    for (at = 0x100; number() % 8 && at;) {
        uint32_t next = number() % 8 ? 0x100 + number() % 960 * 4 : number() % 4096;

        pci_set_long(c + (at & ~3U), next << 20 | ext_ids[number() % G_N_ELEMENTS(ext_ids)]);
        at = next & ~3U;
    }
    sim_region_set(sim, VFIO_PCI_CONFIG_REGION_INDEX, number() % 8 ? 4096 : 256, RW);
    sim->hw_caps = number() & HW_CAP_PCI_ATS_NOT_SUPPORTED;
}

/* What a guest may do, at any of the places where something happens. */
static void scribble(PCIDevice *dev)
{
    for (unsigned i = 0; i < 40; i++) {
        unsigned len = 1U << number() % 3;
        uint32_t at = number() % (number() % 4 ? 256 : dev->config_size) & ~(len - 1);

        cfg_write(dev, at, number(), len);
        cfg_read(dev, number() % dev->config_size & ~3U, 4);
        if (i % 8 == 0) {
            cfg_write(dev, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
        }
    }
}

static void quietly(PCIDevice **dev, GError **errp)
{
    *dev = plug("", errp);
    if (*dev) {
        scribble(*dev);
        g_assert_cmpuint(sim->revoked, ==, 0);
        device_destroy(DEVICE(*dev));
    }
}

static void test_fuzz(void)
{
    unsigned good = 0;

    seed = 20261121;
    for (unsigned i = 0; i < ROUNDS; i++) {
        g_autoptr(GError) err = NULL;
        PCIDevice *dev;

        setup();
        scramble();
        quietly(&dev, &err);
        good += dev != NULL;
        g_assert_true(dev || (err && *err->message && !strchr(err->message, '\n')));
        teardown(NULL);
    }
    g_test_message("%u of %u could be plugged", good, ROUNDS);
    g_assert_cmpuint(good, >, ROUNDS / 10);
    g_assert_cmpuint(good, <, ROUNDS);
}

static void add_tests(void)
{
    g_test_add_func("/vfio-config/identity", test_identity);
    g_test_add_func("/vfio-config/express-root", test_express_root);
    g_test_add_func("/vfio-config/express-port", test_express_port);
    g_test_add_func("/vfio-config/rebar", test_rebar);
    g_test_add_func("/vfio-config/ats", test_ats);
    g_test_add_func("/vfio-config/hidden-size", test_hidden_size);
    g_test_add_func("/vfio-config/fuzz", test_fuzz);
}

int main(int argc, char **argv)
{
    return vfio_test_run(argc, argv, add_tests);
}
