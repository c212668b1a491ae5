/* SPDX-License-Identifier: GPL-2.0-or-later */
/* PCI as a guest meets it: through ECAM, ports and memory, on the real memory model. */
#include <string.h>

#include "hw/pci/msi.h"
#include "tests/unit/pci-fixture.h"
#include "util/error.h"
#include "util/keyval.h"

/* ---- a bridge to play with ---- */

typedef PCIBridge TestBridge;
typedef PCIBridgeClass TestBridgeClass;
GType test_bridge_get_type(void);
DEFINE_OBJECT_TYPE(TestBridge, test_bridge, "test-bridge", TYPE_PCI_BRIDGE, 0)

static void test_bridge_init(TestBridge *self)
{
}

static void test_bridge_class_init(TestBridgeClass *klass)
{
    DEVICE_CLASS(klass)->user_creatable = true;
}

/* ---- helpers ---- */

static PCIDevice *plug(const char *opts, const char *bars)
{
    g_autoptr(GError) err = NULL;
    g_autoptr(JsonObject) o = keyval_parse(opts, "driver", NULL, &err);

    next_bars = bars;
    g_assert_no_error(err);
    device_add(o, false, &err);
    g_assert_no_error(err);
    return PCI_DEVICE(object_resolve(json_object_get_string_member(o, "id")));
}

static void refuse(const char *opts, const char *message)
{
    g_autoptr(GError) err = NULL;
    g_autoptr(JsonObject) o = keyval_parse(opts, "driver", NULL, NULL);

    g_assert_false(device_add(o, false, &err));
    g_assert_cmpstr(err->message, ==, message);
}

static void unplug(PCIDevice *dev)
{
    device_destroy(DEVICE(dev));
}

static uint32_t in(uint16_t port, unsigned len)
{
    return access_in(&address_space_io, port, len, false, 0);
}

static void out(uint16_t port, uint32_t val, unsigned len)
{
    access_in(&address_space_io, port, len, true, val);
}

/* Where the BAR is in the flat view; UINT64_MAX: nowhere. */
static uint64_t mapped_at(PCIDevice *dev, int nr)
{
    FlatView *views[] = { address_space_view(&address_space_memory),
                          address_space_view(&address_space_io) };
    uint64_t found = UINT64_MAX;

    for (size_t v = 0; v < G_N_ELEMENTS(views); v++) {
        size_t n;
        const MemoryRange *ranges = flat_view_ranges(views[v], &n);

        for (size_t i = 0; i < n; i++) {
            if (ranges[i].mr == dev->regions[nr].mr && ranges[i].offset == 0) {
                g_assert_cmpuint(found, ==, UINT64_MAX);
                found = ranges[i].addr;
            }
        }
        flat_view_unref(views[v]);
    }
    return found;
}

static void assign(void)
{
    g_autoptr(GError) err = NULL;

    pci_assign_resources(&err);
    g_assert_no_error(err);
}

/* ---- configuration space ---- */

static void test_masks(void)
{
    PCIDevice *dev = plug("test-pci,id=d,addr=5", NULL);

    g_assert_cmphex(rd(dev, PCI_VENDOR_ID, 4), ==, 0x56781234);
    wr(dev, PCI_VENDOR_ID, 0, 4);
    g_assert_cmphex(rd(dev, PCI_VENDOR_ID, 4), ==, 0x56781234);
    g_assert_cmphex(rd(dev, PCI_CLASS_DEVICE, 2), ==, 0x0200);
    g_assert_cmphex(rd(dev, PCI_CLASS_REVISION, 4), ==, 0x02000000);

    wr(dev, PCI_COMMAND, 0xffff, 2);
    g_assert_cmphex(rd(dev, PCI_COMMAND, 2), ==, 0x0547);
    wr(dev, PCI_COMMAND + 1, 0, 1);
    g_assert_cmphex(rd(dev, PCI_COMMAND, 2), ==, 0x0047);

    /* a word that goes to STATUS clears what it has ones for and leaves the rest */
    pci_set_word(dev->config + PCI_STATUS, 0xf900);
    wr(dev, PCI_COMMAND, 0xc0000000, 4);
    g_assert_cmphex(rd(dev, PCI_STATUS, 2), ==, 0x3900);

    /* device-specific space is fixed until a model opens it */
    wr(dev, 0x40, 0xffffffff, 4);
    g_assert_cmphex(rd(dev, 0x40, 4), ==, 0);
    dev->wmask[0x41] = 0xf0;
    wr(dev, 0x40, 0xffffffff, 4);
    g_assert_cmphex(rd(dev, 0x40, 4), ==, 0xf000);
    unplug(dev);
}

static void test_invalid_accesses(void)
{
    PCIDevice *dev = plug("test-pci,id=d,addr=5", NULL);
    uint8_t wide[8];

    /* what is not there, and what is beyond 256 bytes of a device that has no more */
    g_assert_cmphex(access32(ecam_addr(0, 0x30, 0), 4, false, 0), ==, UINT32_MAX);
    g_assert_cmphex(access32(ecam_addr(7, 0, 0), 2, false, 0), ==, 0xffff);
    g_assert_cmphex(rd(dev, 0x100, 4), ==, UINT32_MAX);
    wr(dev, 0x100, 0, 4);
    wr(dev, 0xffc, 0, 4);
    access32(ecam_addr(7, 0, 0), 4, true, 0);

    /* eight bytes are two dwords; what is not aligned goes byte by byte */
    address_space_rw(&address_space_memory, ecam_addr(0, dev->devfn, 0), wide, 8, false);
    g_assert_cmphex(pci_get_long(wide), ==, 0x56781234);
    g_assert_cmphex(pci_get_long(wide + 4), ==, pci_get_long(dev->config + 4));
    g_assert_cmphex(rd(dev, 1, 2), ==, 0x7812);
    g_assert_cmphex(rd(dev, 0xfe, 4) & 0xffff, ==, 0);

    /* ports: address by dwords only, data by any piece of the dword */
    out(0xcf8, 0x80000000 | (uint32_t)dev->devfn << 8, 4);
    g_assert_cmphex(in(0xcf8, 4), ==, 0x80002800);
    out(0xcfb, 0x01, 1);
    out(0xcf8, 0, 2);
    g_assert_cmphex(in(0xcf8, 4), ==, 0x80002800);
    g_assert_cmphex(in(0xcf8, 1), ==, 0xff);
    g_assert_cmphex(in(0xcfc, 4), ==, 0x56781234);
    g_assert_cmphex(in(0xcfe, 2), ==, 0x5678);
    g_assert_cmphex(in(0xcfd, 1), ==, 0x12);
    g_assert_cmphex(in(0xcfd, 2), ==, 0x7812);
    out(0xcf8, 0x80000004 | (uint32_t)dev->devfn << 8, 4);
    out(0xcfc, PCI_COMMAND_MEMORY, 1);
    g_assert_cmphex(rd(dev, PCI_COMMAND, 2), ==, PCI_COMMAND_MEMORY);
    out(0xcf8, (uint32_t)dev->devfn << 8, 4);
    g_assert_cmphex(in(0xcfc, 4), ==, UINT32_MAX);

    /* the host bridge itself */
    out(0xcf8, 0x80000000, 4);
    g_assert_cmphex(in(0xcfc, 4), ==, 0x29c08086);
    unplug(dev);
    out(0xcf8, 0x80000000 | 0x2800, 4);
    g_assert_cmphex(in(0xcfc, 4), ==, UINT32_MAX);
}

/* A register that the board has inside the address port, as PCs have at 0xcf9. */
static uint32_t board_got;

static uint64_t board_read(void *opaque, uint64_t addr, unsigned size)
{
    return 0x77;
}

static void board_write(void *opaque, uint64_t addr, uint64_t data, unsigned size)
{
    board_got = (uint32_t)data;
}

static void test_port_inside_address_port(void)
{
    static const MemoryRegionOps ops = { board_read, board_write, .max_size = 1 };
    MemoryRegion port;

    memory_region_init_io(&port, NULL, &ops, NULL, "reset", 1);
    memory_region_add_child(address_space_io.root, 0xcf9, &port, 1);
    out(0xcf8, 0x80000600, 4);
    g_assert_cmphex(board_got, ==, 0);
    g_assert_cmphex(in(0xcf8, 4), ==, 0x80000600);
    out(0xcf9, 0x02, 1);
    g_assert_cmphex(board_got, ==, 2);
    g_assert_cmphex(in(0xcf9, 1), ==, 0x77);
    memory_region_del_child(address_space_io.root, &port);
    memory_region_fini(&port);
}

static void test_capabilities(void)
{
    PCIDevice *dev = plug("test-pci,id=d", NULL);
    g_autoptr(GError) err = NULL;
    int first = pci_add_capability(dev, PCI_CAP_ID_VNDR, 0, 0x11, NULL);

    g_assert_cmphex((unsigned)first, ==, 0x40);
    g_assert_cmpint(pci_add_capability(dev, PCI_CAP_ID_PM, 0x50, 8, &err), ==, -1);
    g_assert_nonnull(err);
    g_assert_cmpint(pci_add_capability(dev, PCI_CAP_ID_PM, 0x30, 8, NULL), ==, -1);
    g_assert_cmpint(pci_add_capability(dev, PCI_CAP_ID_PM, 0xfc, 8, NULL), ==, -1);
    g_assert_cmpint(pci_add_capability(dev, PCI_CAP_ID_PM, 0x56, 8, NULL), ==, -1);
    g_assert_cmpint(pci_add_capability(dev, PCI_CAP_ID_PM, 0xf8, 8, NULL), ==, 0xf8);
    g_assert_cmpint(pci_add_capability(dev, PCI_CAP_ID_EXP, 0, 0x3c, NULL), ==, 0x54);
    g_assert_cmpint(pci_find_capability(dev, PCI_CAP_ID_VNDR), ==, 0x40);
    g_assert_cmpint(pci_find_capability(dev, PCI_CAP_ID_PM), ==, 0xf8);
    g_assert_cmpint(pci_find_capability(dev, PCI_CAP_ID_MSI), ==, 0);
    g_assert_true(rd(dev, PCI_STATUS, 2) & PCI_STATUS_CAP_LIST);

    /* a list that runs in a circle ends nevertheless */
    dev->config[0x41] = 0x54;
    g_assert_cmpint(pci_find_capability(dev, PCI_CAP_ID_MSI), ==, 0);
    unplug(dev);
}

/* ---- BARs ---- */

static void test_bar_sizing(void)
{
    const char *bars = "0=m64K 1=P4097 3=i32 4=M256G 6=m2K";
    PCIDevice *dev = plug("test-pci,id=d", bars);

    /* with decoding on throughout, as careless guests do */
    wr(dev, PCI_COMMAND, PCI_COMMAND_IO | PCI_COMMAND_MEMORY, 2);
    for (unsigned reg = PCI_BASE_ADDRESS_0; reg <= PCI_BASE_ADDRESS_5; reg += 4) {
        wr(dev, reg, UINT32_MAX, 4);
        for (int nr = 0; nr < PCI_NUM_REGIONS; nr++) {
            g_assert_cmphex(mapped_at(dev, nr), ==, UINT64_MAX);
        }
    }
    g_assert_cmphex(rd(dev, PCI_BASE_ADDRESS_0, 4), ==, 0xffff0000);
    g_assert_cmphex(rd(dev, PCI_BASE_ADDRESS_1, 4), ==, 0xffffe00c); /* 8 KiB: a power of two */
    g_assert_cmphex(rd(dev, PCI_BASE_ADDRESS_2, 4), ==, 0xffffffff);
    g_assert_cmphex(rd(dev, PCI_BASE_ADDRESS_3, 4), ==, 0xffffffe1);
    g_assert_cmphex(rd(dev, PCI_BASE_ADDRESS_4, 4), ==, 0x00000004);
    g_assert_cmphex(rd(dev, PCI_BASE_ADDRESS_5, 4), ==, 0xffffffc0);
    wr(dev, PCI_ROM_ADDRESS, 0xfffff800, 4);
    g_assert_cmphex(rd(dev, PCI_ROM_ADDRESS, 4), ==, 0xfffff800);

    /* bit 63, and beyond what a CPU can address */
    wr(dev, PCI_BASE_ADDRESS_1, 0x1000, 4);
    wr(dev, PCI_BASE_ADDRESS_2, 0x80000000, 4);
    g_assert_cmphex(mapped_at(dev, 1), ==, UINT64_MAX);
    wr(dev, PCI_BASE_ADDRESS_2, 0x00100000, 4);
    g_assert_cmphex(mapped_at(dev, 1), ==, UINT64_MAX);
    unplug(dev);
}

static void test_bar_moving(void)
{
    const char *bars = "0=m64K 1=P1M 3=i32 6=m2K";
    PCIDevice *dev = plug("test-pci,id=d", bars);
    uint8_t byte;

    wr(dev, PCI_BASE_ADDRESS_0, 0x90000000, 4);
    g_assert_cmphex(pci_bar_address(dev, 0), ==, 0x90000000);
    g_assert_cmphex(mapped_at(dev, 0), ==, UINT64_MAX);
    wr(dev, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
    g_assert_cmphex(mapped_at(dev, 0), ==, 0x90000000);
    address_space_rw(&address_space_memory, 0x90000004, &byte, 1, false);
    g_assert_cmphex(byte, ==, 0x5a);
    wr(dev, PCI_BASE_ADDRESS_0 + 2, 0xa000, 2);
    g_assert_cmphex(mapped_at(dev, 0), ==, 0xa0000000);

    wr(dev, PCI_BASE_ADDRESS_1, 0x100000, 4);
    wr(dev, PCI_BASE_ADDRESS_2, 0x40, 4);
    g_assert_cmphex(mapped_at(dev, 1), ==, 0x4000100000);

    /* I/O goes by its own bit and ends at 64 KiB */
    wr(dev, PCI_BASE_ADDRESS_3, 0xc000, 4);
    g_assert_cmphex(mapped_at(dev, 3), ==, UINT64_MAX);
    wr(dev, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_IO, 2);
    g_assert_cmphex(mapped_at(dev, 3), ==, 0xc000);
    wr(dev, PCI_BASE_ADDRESS_3, 0x1c000, 4);
    g_assert_cmphex(mapped_at(dev, 3), ==, UINT64_MAX);

    /* the ROM has an enable bit of its own */
    wr(dev, PCI_ROM_ADDRESS, 0x91000000, 4);
    g_assert_cmphex(mapped_at(dev, PCI_ROM_SLOT), ==, UINT64_MAX);
    wr(dev, PCI_ROM_ADDRESS, 0x91000001, 4);
    g_assert_cmphex(mapped_at(dev, PCI_ROM_SLOT), ==, 0x91000000);

    /* over the board's registers: they win */
    wr(dev, PCI_BASE_ADDRESS_0, (uint32_t)ECAM, 4);
    g_assert_cmphex(rd(dev, PCI_VENDOR_ID, 2), ==, 0x1234);

    DEVICE_GET_CLASS(dev)->reset(DEVICE(dev));
    g_assert_cmpint(((TestDevice *)dev)->resets, ==, 1);
    g_assert_cmphex(rd(dev, PCI_COMMAND, 2), ==, 0);
    g_assert_cmphex(rd(dev, PCI_BASE_ADDRESS_1, 4), ==, 0xc);
    for (int nr = 0; nr < PCI_NUM_REGIONS; nr++) {
        g_assert_cmphex(mapped_at(dev, nr), ==, UINT64_MAX);
        g_assert_cmphex(pci_bar_address(dev, nr), ==, 0);
    }
    unplug(dev);
}

/* ---- places ---- */

static void test_places(void)
{
    PCIDevice *a = plug("test-pci,id=a,addr=0x1d.2", NULL);
    PCIDevice *b = plug("test-pci,id=b,addr=1e,multifunction=on", NULL);
    PCIDevice *c = plug("test-pci,id=c,addr=1e.7", NULL);
    PCIDevice *d = plug("test-pci,id=d", NULL);
    g_autoptr(JsonNode) addr = object_get(G_OBJECT(c), "addr", NULL);
    g_autofree char *path = pci_device_path(c);

    g_assert_cmpint(a->devfn, ==, PCI_DEVFN(0x1d, 2));
    g_assert_cmpint(d->devfn, ==, PCI_DEVFN(1, 0));
    g_assert_cmpstr(json_node_get_string(addr), ==, "1e.7");
    g_assert_cmpstr(path, ==, "0000:00:1e.7");
    g_assert_true(pci_bus_device(pci_bus_find("pcie.0"), PCI_DEVFN(0x1e, 7)) == c);
    g_assert_cmphex(rd(b, PCI_HEADER_TYPE, 1), ==, 0x80);

    refuse("test-pci,addr=20", "Property 'test-pci.addr' doesn't take value '20'");
    refuse("test-pci,addr=1.8", "Property 'test-pci.addr' doesn't take value '1.8'");
    refuse("test-pci,addr=1.", "Property 'test-pci.addr' doesn't take value '1.'");
    refuse("test-pci,addr=-1", "Property 'test-pci.addr' doesn't take value '-1'");
    refuse("test-pci,addr=1.0x", "Property 'test-pci.addr' doesn't take value '1.0x'");
    refuse("test-pci,bus=pci.9", "Bus 'pci.9' not found");
    refuse("test-pci,addr=1e.7", "PCI: slot 30 function 7 not available for test-pci, in use by "
                                 "test-pci,id=c");
    refuse("test-pci,addr=1d",
           "PCI: 1d.0 indicates single function, but 1d.2 is already populated");
    refuse("test-pci,addr=1.1", "PCI: single function device can't be populated in function 1.1");

    /* what failed to realize has left no trace */
    next_fails = true;
    next_bars = "0=m4K";
    refuse("test-pci,id=x,addr=4", "told to fail");
    unplug(plug("test-pci,id=x,addr=4", NULL));

    for (int i = 0; i < 27; i++) {
        g_autofree char *opts = g_strdup_printf("test-pci,id=f%d", i);

        plug(opts, NULL);
    }
    /* slot 1d is free of a function 0, so it is found, but the device there is not alone */
    refuse("test-pci", "PCI: 1d.0 indicates single function, but 1d.2 is already populated");
    unplug(a);
    plug("test-pci,id=f27", NULL);
    plug("test-pci,id=f28", NULL);
    refuse("test-pci", "PCI: no slot/function available for test-pci, all in use or reserved");
    for (int i = 0; i < 29; i++) {
        g_autofree char *id = g_strdup_printf("f%d", i);

        unplug(PCI_DEVICE(object_resolve(id)));
    }
    unplug(b);
    unplug(c);
    unplug(d);
}

static void test_no_hotplug_on_root(void)
{
    g_autoptr(GError) err = NULL;
    g_autoptr(JsonObject) o = keyval_parse("test-pci,id=d", "driver", NULL, NULL);
    PCIDevice *dev;

    g_assert_false(device_add(o, true, &err));
    g_assert_cmpstr(err->message, ==, "Bus 'pcie.0' does not support hotplugging");
    g_clear_error(&err);
    dev = plug("test-pci,id=d", NULL);
    g_assert_false(device_del("d", &err));
    g_assert_cmpstr(err->message, ==, "Bus 'pcie.0' does not support hotplugging");
    unplug(dev);
}

/* ---- interrupts ---- */

static void test_intx(void)
{
    PCIDevice *a = plug("test-pci,id=a,addr=4", NULL), *b = plug("test-pci,id=b,addr=8", NULL);
    PCIDevice *bridge = plug("test-bridge,id=br,addr=6", NULL);
    PCIDevice *c = plug("test-pci,id=c,bus=br,addr=2", NULL);
    g_autoptr(GError) err = NULL;

    g_assert_cmpint(pci_intx_gsi(a), ==, 16);
    g_assert_cmpint(pci_intx_gsi(bridge), ==, -1);
    g_assert_cmpint(pci_intx_gsi(c), ==, 16); /* INTA of slot 2 is INTC of the bridge in slot 6 */
    c->config[PCI_INTERRUPT_PIN] = 4;
    g_assert_cmpint(pci_intx_gsi(c), ==, 19);
    c->config[PCI_INTERRUPT_PIN] = 1;
    assign();
    g_assert_cmpint((int)rd(c, PCI_INTERRUPT_LINE, 1), ==, 16);

    pci_set_intx(a, true);
    pci_set_intx(c, true);
    pci_set_intx(a, false);
    g_assert_true(lines[16]);
    pci_set_intx(b, true);
    wr(c, PCI_COMMAND, PCI_COMMAND_INTX_DISABLE, 2);
    g_assert_true(rd(c, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT);
    g_assert_true(lines[16]);
    pci_set_intx(b, false);
    g_assert_false(lines[16]);
    wr(c, PCI_COMMAND, 0, 2);
    g_assert_true(lines[16]);

    /* MSI takes the pin's place */
    g_assert_true(msi_init(c, 0, 1, true, false, &err));
    wr(c, c->msi_cap + PCI_MSI_FLAGS, PCI_MSI_FLAGS_ENABLE, 2);
    g_assert_false(lines[16]);
    wr(c, c->msi_cap + PCI_MSI_FLAGS, 0, 2);
    g_assert_true(lines[16]);
    unplug(c);
    g_assert_false(lines[16]);
    unplug(bridge);
    unplug(a);
    unplug(b);
}

static void test_msi(void)
{
    PCIDevice *dev = plug("test-pci,id=d", NULL);
    unsigned cap;

    g_assert_true(msi_init(dev, 0x60, 4, true, true, NULL));
    cap = dev->msi_cap;
    g_assert_cmphex(cap, ==, 0x60);
    g_assert_false(msi_enabled(dev));
    wr(dev, cap + PCI_MSI_ADDRESS_LO, 0xfee01003, 4);
    wr(dev, cap + PCI_MSI_ADDRESS_HI, 0x12, 4);
    wr(dev, cap + PCI_MSI_DATA_64, 0xffff4043, 4);
    wr(dev, cap + PCI_MSI_MASK_64, UINT32_MAX, 4);
    wr(dev, cap + PCI_MSI_PENDING_64, UINT32_MAX, 4);
    g_assert_cmphex(rd(dev, cap + PCI_MSI_MASK_64, 4), ==, 0xf);
    g_assert_cmphex(rd(dev, cap + PCI_MSI_PENDING_64, 4), ==, 0);
    wr(dev, cap + PCI_MSI_MASK_64, 0x4, 4);
    g_assert_true(msi_is_masked(dev, 2));
    g_assert_false(msi_is_masked(dev, 1));
    g_assert_false(msi_is_masked(dev, 40));

    /* seven is no count there is, and more than the four that are offered */
    wr(dev, cap + PCI_MSI_FLAGS, 0xffff, 2);
    g_assert_true(msi_enabled(dev));
    g_assert_cmpuint(msi_nr_vectors(dev), ==, 4);
    g_assert_cmphex(msi_message(dev, 2).address, ==, 0x12fee01000);
    g_assert_cmphex(msi_message(dev, 2).data, ==, 0x4042);
    wr(dev, cap + PCI_MSI_FLAGS, PCI_MSI_FLAGS_ENABLE, 2);
    g_assert_cmpuint(msi_nr_vectors(dev), ==, 1);
    g_assert_cmphex(msi_message(dev, 0).data, ==, 0x4043);
    DEVICE_GET_CLASS(dev)->reset(DEVICE(dev));
    g_assert_false(msi_enabled(dev));
    g_assert_cmphex(msi_message(dev, 0).address, ==, 0);
    unplug(dev);
}

static GString *hook_log;
static bool hook_use_fails;

static bool on_use(PCIDevice *dev, unsigned vector, MSIMessage msg)
{
    g_string_append_printf(hook_log, "+%u:%x ", vector, msg.data);
    return !hook_use_fails;
}

static void on_release(PCIDevice *dev, unsigned vector)
{
    g_string_append_printf(hook_log, "-%u ", vector);
}

static void on_poll(PCIDevice *dev, unsigned first, unsigned end)
{
    g_string_append_printf(hook_log, "?%u-%u ", first, end);
    msix_set_pending(dev, end - 1, true);
}

static void on_begin(PCIDevice *dev)
{
    g_string_append(hook_log, "( ");
}

static void on_end(PCIDevice *dev)
{
    g_string_append(hook_log, ") ");
}

static const MSIXHooks hooks = { on_use, on_release, on_poll, on_begin, on_end };

static void expect_hooks(const char *expected)
{
    g_assert_cmpstr(hook_log->str, ==, expected);
    g_string_truncate(hook_log, 0);
}

static void table_set(uint64_t addr, uint64_t val, unsigned len)
{
    val = GUINT64_TO_LE(val);
    address_space_rw(&address_space_memory, addr, &val, len, true);
}

static uint64_t table_get(uint64_t addr, unsigned len)
{
    uint64_t val = 0;

    address_space_rw(&address_space_memory, addr, &val, len, false);
    return GUINT64_FROM_LE(val);
}

static void test_msix(void)
{
    const char *bars = "0=m8K";
    const uint64_t table = 0x90000000, pba = 0x90001000;
    PCIDevice *dev = plug("test-pci,id=d", bars);
    MemoryRegion *bar = dev->regions[0].mr;
    unsigned flags;

    g_assert_true(msix_init(dev, 0x70, 70, bar, 0, 0, bar, 0, 0x1000, &hooks, NULL));
    flags = 0x70 + PCI_MSIX_FLAGS;
    g_assert_cmphex(rd(dev, flags, 2), ==, 69);
    wr(dev, PCI_BASE_ADDRESS_0, (uint32_t)table, 4);
    wr(dev, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);

    /* all masked at first; an entry's programming with MSI-X off is nobody's business */
    g_assert_cmphex(table_get(table + 12, 4), ==, 1);
    table_set(table, 0x12345678fee00000, 8);
    table_set(table + 8, 0x31, 4);
    table_set(table + 12, 0, 4);
    table_set(table + 69 * 16 + 8, 0x45, 8); /* data and control at once */
    expect_hooks("");
    g_assert_cmphex(table_get(table, 8), ==, 0x12345678fee00000);
    g_assert_cmphex(table_get(table + 4, 4), ==, 0x12345678);
    g_assert_cmphex(msix_message(dev, 0).address, ==, 0x12345678fee00000);

    /* on under the function's mask, then open: one batch each */
    wr(dev, flags, PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL, 2);
    g_assert_true(msix_enabled(dev) && msix_is_masked(dev, 0));
    expect_hooks("( ) ");
    wr(dev, flags, PCI_MSIX_FLAGS_ENABLE, 2);
    expect_hooks("( +0:31 +69:45 ) ");
    wr(dev, flags, PCI_MSIX_FLAGS_ENABLE, 2);
    expect_hooks("");

    /* single vectors: no batch; unchanged writes say nothing; a live message that changes does */
    table_set(table + 12, 0, 4);
    expect_hooks("");
    table_set(table + 8, 0x32, 4);
    expect_hooks("+0:32 ");
    table_set(table + 12, 1, 4);
    expect_hooks("-0 ");
    table_set(table + 8, 0x33, 4);
    expect_hooks("");
    hook_use_fails = true;
    table_set(table + 12, 0, 4);
    hook_use_fails = false;
    table_set(table + 12, 1, 4);
    table_set(table + 12, 0, 4);
    expect_hooks("+0:33 +0:33 ");

    /* pending bits: refreshed when read, never written, gone with the use of the vector */
    g_assert_cmphex(table_get(pba, 8), ==, UINT64_C(1) << 63);
    expect_hooks("?0-64 ");
    table_set(pba + 8, UINT64_MAX, 8);
    g_assert_cmphex(table_get(pba + 8, 4), ==, 1 << 5);
    expect_hooks("?64-70 ");
    table_set(table + 69 * 16 + 12, 1, 4);
    table_set(table + 69 * 16 + 12, 0, 4);
    expect_hooks("-69 +69:45 ");
    table_get(pba + 12, 4);
    expect_hooks(""); /* no vectors there */
    g_assert_cmphex(dev->regions[0].size, ==, 8 * KiB);

    /* narrow writes are dropped; what runs past the table is cut; what is beside it is the BAR's */
    table_set(table + 12, 1, 1);
    table_set(table + 8, 0xffff, 2);
    expect_hooks("");
    table_set(table + 69 * 16 + 12, 1, 8);
    expect_hooks("-69 ");
    g_assert_cmphex(table_get(table + 70 * 16, 1), ==, 0x5a);

    wr(dev, flags, 0, 2);
    g_assert_cmphex(hook_log->str[0], ==, '(');
    g_assert_null(strchr(hook_log->str, '+'));
    g_string_truncate(hook_log, 0);
    DEVICE_GET_CLASS(dev)->reset(DEVICE(dev));
    expect_hooks("");
    g_assert_cmphex(msix_message(dev, 0).data, ==, 0);

    /* with vectors in use the device can go */
    wr(dev, PCI_BASE_ADDRESS_0, (uint32_t)table, 4);
    wr(dev, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
    table_set(table + 16 + 12, 0, 4);
    wr(dev, flags, PCI_MSIX_FLAGS_ENABLE, 2);
    expect_hooks("( +1:0 ) ");
    unplug(dev);
    expect_hooks("( -1 ) ");
}

/* A vCPU keeps the view of memory that it has until its next exit, and drops it then. */
static void test_msix_outlived(void)
{
    PCIDevice *dev = plug("test-pci,id=d", "0=m8K");
    MemoryRegion *bar = dev->regions[0].mr;
    uint32_t val = 0;
    FlatView *view;

    g_assert_true(msix_init(dev, 0x70, 4, bar, 0, 0, bar, 0, 0x1000, &hooks, NULL));
    wr(dev, PCI_BASE_ADDRESS_0, 0x90000000, 4);
    wr(dev, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
    view = address_space_view(&address_space_memory);
    unplug(dev);
    flat_view_rw(view, 0x90000000, &val, 4, true);
    flat_view_rw(view, 0x90001000, &val, 4, false);
    g_assert_cmphex(val, ==, 0);
    flat_view_unref(view);
    expect_hooks("");
}

static void test_msix_nonsense(void)
{
    const char *bars = "0=m64K";
    PCIDevice *dev = plug("test-pci,id=d", bars);
    MemoryRegion *bar = dev->regions[0].mr;

    g_assert_false(msix_init(dev, 0, 0, bar, 0, 0, bar, 0, 0x800, NULL, NULL));
    g_assert_false(msix_init(dev, 0, 2049, bar, 0, 0, bar, 0, 0xf000, NULL, NULL));
    g_assert_false(msix_init(dev, 0, 8, bar, 0, 0xfff0, bar, 0, 0x800, NULL, NULL));
    g_assert_false(msix_init(dev, 0, 8, bar, 0, 0xfffffff8, bar, 0, 0x800, NULL, NULL));
    g_assert_false(msix_init(dev, 0, 8, bar, 0, 0, bar, 0, 0x10000, NULL, NULL));
    g_assert_false(msix_init(dev, 0, 8, bar, 0, 0, bar, 0, 0x78, NULL, NULL));
    g_assert_false(msix_init(dev, 0, 8, bar, 7, 0, bar, 0, 0x800, NULL, NULL));
    g_assert_false(msix_init(dev, 0, 8, bar, 0, 4, bar, 0, 0x800, NULL, NULL));
    g_assert_false(msix_init(dev, 0xf8, 8, bar, 0, 0, bar, 0, 0x800, NULL, NULL));
    g_assert_false(msix_present(dev));
    g_assert_cmpint(pci_find_capability(dev, PCI_CAP_ID_MSIX), ==, 0);
    g_assert_true(msix_init(dev, 0, 8, bar, 0, 0, bar, 0, 0x80, NULL, NULL));
    unplug(dev);
}

/* ---- resources ---- */

typedef struct Extent {
    uint64_t first, last;
} Extent;

static int by_first(const void *a, const void *b)
{
    return ((const Extent *)a)->first < ((const Extent *)b)->first ? -1 : 1;
}

static void collect(PCIDevice *dev, GArray *extents, bool io)
{
    for (int i = 0; i < PCI_ROM_SLOT; i++) {
        const PCIIORegion *r = &dev->regions[i];

        if (r->mr && !!(r->type & PCI_BASE_ADDRESS_SPACE_IO) == io) {
            Extent e = { r->addr, r->addr + r->size - 1 };

            g_assert_cmphex(r->addr, !=, PCI_BAR_UNMAPPED);
            g_assert_cmphex(r->addr & (r->size - 1), ==, 0);
            g_assert_true(io ? e.first >= 0x1000 && e.last <= 0xffff
                             : (e.first >= LOW && e.last < LOW + 768 * MiB) ||
                                   (e.first >= 0xc0000000 && e.last < 0xfec00000) ||
                                   (e.first >= HIGH && e.last < HIGH + TiB));
            g_array_append_val(extents, e);
        }
    }
}

static void check_layout(PCIDevice **devs, size_t n)
{
    for (int io = 0; io < 2; io++) {
        g_autoptr(GArray) extents = g_array_new(FALSE, FALSE, sizeof(Extent));

        for (size_t i = 0; i < n; i++) {
            collect(devs[i], extents, io);
        }
        g_array_sort(extents, by_first);
        for (guint i = 1; i < extents->len; i++) {
            g_assert_cmphex(g_array_index(extents, Extent, i).first, >,
                            g_array_index(extents, Extent, i - 1).last);
        }
    }
}

static void test_resources(void)
{
    const char *gpu = "0=m16M 1=P256G 3=P32M 5=i128 6=m512K";
    const char *nic = "0=m256M 1=i32 2=M16K 4=M1G";
    const char *odd = "0=m16 1=i4 2=M64M 4=m256M 5=m512M 6=m64K";
    PCIDevice *devs[5] = { plug("test-pci,id=odd,addr=3", odd), plug("test-pci,id=nic", nic),
                           plug("test-pci,id=gpu0", gpu) };
    PCIDevice *outer = plug("test-bridge,id=outer", NULL);
    PCIDevice *inner = plug("test-bridge,id=inner,bus=outer", NULL);
    PCIDevice *empty = plug("test-bridge,id=empty", NULL);
    const char *behind = "0=M64K 2=P256G 4=i256 6=m2M";
    uint64_t before[5][PCI_NUM_REGIONS], base, limit;

    devs[3] = plug("test-pci,id=gpu1,bus=inner", behind);
    devs[4] = plug("test-pci,id=gpu2,bus=outer", nic);
    device_destroy(DEVICE(devs[4]));
    devs[4] = plug("test-pci,id=gpu2,bus=outer", behind);
    assign();
    check_layout(devs, 5);
    g_assert_cmphex(devs[2]->regions[1].addr, >=, HIGH);
    g_assert_cmphex(devs[2]->regions[3].addr, >=, HIGH);
    g_assert_cmphex(devs[1]->regions[2].addr, <, 4 * GiB);
    g_assert_cmphex(devs[1]->regions[4].addr, >=, HIGH); /* 64 bit, and no GiB left below */
    g_assert_cmphex(devs[3]->regions[0].addr, <, 4 * GiB);
    g_assert_cmphex(devs[3]->regions[2].addr, >=, HIGH);

    /* decoding is on as needed, bus mastering off, ROMs unassigned but with room in the windows */
    g_assert_cmphex(rd(devs[2], PCI_COMMAND, 2), ==, PCI_COMMAND_IO | PCI_COMMAND_MEMORY);
    g_assert_cmphex(rd(devs[3], PCI_ROM_ADDRESS, 4), ==, 0);
    g_assert_cmphex(rd(devs[2], PCI_INTERRUPT_LINE, 1), ==, (uint32_t)pci_intx_gsi(devs[2]));
    pci_bridge_window(inner, PCI_WINDOW_MEM, &base, &limit);
    g_assert_cmphex(limit + 1 - base, >=, 2 * MiB + 64 * KiB);
    pci_bridge_window(empty, PCI_WINDOW_PREF, &base, &limit);
    g_assert_cmphex(base, >, limit);
    g_assert_cmphex(rd(outer, PCI_PRIMARY_BUS, 4) & 0xffffff, ==, 0x020100);
    g_assert_cmphex(rd(inner, PCI_PRIMARY_BUS, 4) & 0xffffff, ==, 0x020201);
    g_assert_cmphex(rd(empty, PCI_PRIMARY_BUS, 4) & 0xffffff, ==, 0x030300);
    g_assert_cmphex(rd(devs[3], PCI_VENDOR_ID, 4), ==, 0x56781234);

    /* a system reset leads to the same layout */
    for (int d = 0; d < 5; d++) {
        for (int i = 0; i < PCI_NUM_REGIONS; i++) {
            before[d][i] = devs[d]->regions[i].addr;
        }
    }
    wr(devs[1], PCI_BASE_ADDRESS_0, 0xd0000000, 4);
    wr(devs[0], PCI_COMMAND, PCI_COMMAND_MASTER, 2);
    devices_reset();
    for (int d = 0; d < 5; d++) {
        for (int i = 0; i < PCI_NUM_REGIONS; i++) {
            g_assert_cmphex(devs[d]->regions[i].addr, ==, before[d][i]);
        }
    }

    /* taking the outer bridge away takes all behind it along */
    unplug(outer);
    g_assert_null(pci_bus_find("inner"));
    g_assert_null(object_resolve("gpu1"));
    unplug(empty);
    unplug(devs[0]);
    unplug(devs[1]);
    unplug(devs[2]);
}

/* Sets that fit in one order only, or lie where they should by alignment only. */
static void test_resources_tight(void)
{
    const char *small_first = "0=m16M 1=m256M 2=M512M 4=m512M 5=m512M";
    const char *root_pref = "0=P256M";
    const char *behind = "0=P512M 2=P1G";
    PCIDevice *devs[3] = { plug("test-pci,id=a", small_first), plug("test-pci,id=b", root_pref) };
    PCIDevice *bridge = plug("test-bridge,id=br", NULL);

    devs[2] = plug("test-pci,id=c,bus=br", behind);
    assign();
    check_layout(devs, 3);
    g_assert_cmphex(devs[0]->regions[2].addr, >=, HIGH);
    unplug(devs[0]);
    unplug(devs[1]);
    unplug(bridge);
}

static void test_no_room(void)
{
    const char *huge = "0=P2T 2=m4K";
    const char *low = "0=m2G";
    const char *absurd = "0=P8E 2=P8E";
    PCIDevice *dev = plug("test-pci,id=big", huge), *bridge;
    g_autoptr(GError) err = NULL;

    g_assert_false(pci_assign_resources(&err));
    g_assert_cmpstr(err->message, ==,
                    "PCI: no room for BAR 0 of test-pci,id=big (prefetchable "
                    "memory, 0x20000000000 bytes)");
    g_clear_error(&err);
    g_assert_cmphex(mapped_at(dev, 0), ==, UINT64_MAX);
    g_assert_cmphex(mapped_at(dev, 2), !=, UINT64_MAX); /* the rest is there */
    unplug(dev);

    dev = plug("test-pci,id=big", low);
    g_assert_false(pci_assign_resources(&err));
    g_clear_error(&err);
    unplug(dev);

    bridge = plug("test-bridge,id=br", NULL);
    dev = plug("test-pci,id=big,bus=br", absurd);
    g_assert_false(pci_assign_resources(&err));
    g_assert_nonnull(strstr(err->message, "test-pci,id=big BAR 0"));
    unplug(bridge);
}

/* ---- bridges ---- */

static void test_bridge_windows(void)
{
    const char *bars = "0=m1M 1=i256";
    PCIDevice *bridge = plug("test-bridge,id=br", NULL);
    PCIDevice *dev = plug("test-pci,id=d,bus=br,addr=3", bars);
    uint64_t addr;

    assign();
    addr = mapped_at(dev, 0);
    g_assert_cmphex(addr, ==, dev->regions[0].addr);
    g_assert_cmphex(mapped_at(dev, 1), ==, dev->regions[1].addr);
    g_assert_cmphex(mapped_at(dev, 1), !=, UINT64_MAX);

    wr(bridge, PCI_MEMORY_BASE, (uint32_t)((addr >> 16) + 0x10), 2);
    g_assert_cmphex(mapped_at(dev, 0), ==, UINT64_MAX);
    wr(bridge, PCI_MEMORY_BASE, (uint32_t)(addr >> 16), 2);
    g_assert_cmphex(mapped_at(dev, 0), ==, addr);
    wr(bridge, PCI_COMMAND, PCI_COMMAND_IO, 2);
    g_assert_cmphex(mapped_at(dev, 0), ==, UINT64_MAX);
    g_assert_cmphex(mapped_at(dev, 1), !=, UINT64_MAX);

    /* a bus that the guest numbers anew answers there and nowhere else */
    wr(bridge, PCI_SECONDARY_BUS, 0x2020, 2);
    g_assert_cmphex(access32(ecam_addr(0x20, dev->devfn, 0), 4, false, 0), ==, 0x56781234);
    g_assert_cmphex(access32(ecam_addr(1, dev->devfn, 0), 4, false, 0), ==, UINT32_MAX);

    /* secondary bus reset, once for each rising edge */
    wr(bridge, PCI_BRIDGE_CONTROL, PCI_BRIDGE_CTL_BUS_RESET, 2);
    wr(bridge, PCI_BRIDGE_CONTROL, PCI_BRIDGE_CTL_BUS_RESET, 2);
    g_assert_cmpint(((TestDevice *)dev)->resets, ==, 1);
    g_assert_cmphex(rd(dev, PCI_COMMAND, 2), ==, 0);
    unplug(bridge);
}

static void test_query(void)
{
    const char *bars = "0=P1M 2=i256";
    PCIDevice *bridge = plug("test-bridge,id=br,addr=3", NULL);
    JsonObject *o, *region;
    g_autoptr(JsonArray) answer = NULL;
    JsonArray *devices;

    plug("test-pci,id=d,bus=br,addr=3", bars);
    assign();
    answer = pci_query();
    g_assert_cmpuint(json_array_get_length(answer), ==, 1);
    o = json_array_get_object_element(answer, 0);
    g_assert_cmpint(json_object_get_int_member(o, "bus"), ==, 0);
    devices = json_object_get_array_member(o, "devices");
    g_assert_cmpuint(json_array_get_length(devices), ==, 2);
    o = json_array_get_object_element(devices, 0);
    g_assert_cmpstr(json_object_get_string_member(o, "qdev_id"), ==, "");
    g_assert_cmpint(
        json_object_get_int_member(json_object_get_object_member(o, "class_info"), "class"), ==,
        0x0600);
    g_assert_false(json_object_has_member(o, "irq"));

    o = json_object_get_object_member(json_array_get_object_element(devices, 1), "pci_bridge");
    g_assert_cmpint(
        json_object_get_int_member(json_object_get_object_member(o, "bus"), "secondary"), ==, 1);
    o = json_array_get_object_element(json_object_get_array_member(o, "devices"), 0);
    g_assert_cmpstr(json_object_get_string_member(o, "qdev_id"), ==, "d");
    g_assert_cmpint(json_object_get_int_member(o, "bus"), ==, 1);
    g_assert_cmpint(json_object_get_int_member(o, "slot"), ==, 3);
    g_assert_cmpint(json_object_get_int_member(o, "irq"), ==, 18);
    region = json_array_get_object_element(json_object_get_array_member(o, "regions"), 0);
    g_assert_true(json_object_get_boolean_member(region, "mem_type_64"));
    g_assert_cmpint(json_object_get_int_member(region, "size"), ==, MiB);
    g_assert_cmpint(json_object_get_int_member(region, "address"), >=, (gint64)HIGH);
    region = json_array_get_object_element(json_object_get_array_member(o, "regions"), 1);
    g_assert_cmpstr(json_object_get_string_member(region, "type"), ==, "io");
    g_assert_false(json_object_has_member(region, "prefetch"));
    unplug(bridge);
}

int main(int argc, char **argv)
{
    static const IRQChipOps chip = { .set_line = record_line };

    g_test_init(&argc, &argv, NULL);
    irqchip_register(&chip);
    pci_fixture_init();
    hook_log = g_string_new(NULL);

    g_test_add_func("/pci/config/masks", test_masks);
    g_test_add_func("/pci/config/invalid-accesses", test_invalid_accesses);
    g_test_add_func("/pci/config/port-inside-address-port", test_port_inside_address_port);
    g_test_add_func("/pci/config/capabilities", test_capabilities);
    g_test_add_func("/pci/bar/sizing", test_bar_sizing);
    g_test_add_func("/pci/bar/moving", test_bar_moving);
    g_test_add_func("/pci/bus/places", test_places);
    g_test_add_func("/pci/bus/no-hotplug-on-root", test_no_hotplug_on_root);
    g_test_add_func("/pci/intx", test_intx);
    g_test_add_func("/pci/msi", test_msi);
    g_test_add_func("/pci/msix/hooks", test_msix);
    g_test_add_func("/pci/msix/outlived", test_msix_outlived);
    g_test_add_func("/pci/msix/nonsense", test_msix_nonsense);
    g_test_add_func("/pci/resources/layout", test_resources);
    g_test_add_func("/pci/resources/tight", test_resources_tight);
    g_test_add_func("/pci/resources/no-room", test_no_room);
    g_test_add_func("/pci/bridge/windows", test_bridge_windows);
    g_test_add_func("/pci/query", test_query);
    return g_test_run();
}
