/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What of a vfio-pci device is this process's, as a state that another one takes. */
#include <string.h>
#include <unistd.h>

#include "core/runstate.h"
#include "hw/vfio/pci.h"
#include "tests/unit/vfio-fixture.h"
#include "util/error.h"

#define MSIX_ON   0x8000
#define MSI_FLAGS (MSI_CAP + PCI_MSI_FLAGS)

static GByteArray *saved;

/* The device goes with its process, and there will be another one in another process. */
static void save(PCIDevice *dev)
{
    g_autoptr(GError) err = NULL;

    saved = g_byte_array_new();
    g_assert_true(vmstate_save_all(saved, &err));
    g_assert_no_error(err);
    teardown(dev);
    setup();
}

static PCIDevice *save_and_plug(PCIDevice *dev, const char *more)
{
    save(dev);
    return plug_ok(more);
}

static bool load(GError **errp)
{
    bool ok = vmstate_load_all(saved->data, saved->len, true, errp);

    g_clear_pointer(&saved, g_byte_array_unref);
    return ok;
}

static void load_ok(void)
{
    g_autoptr(GError) err = NULL;

    g_assert_true(load(&err));
    g_assert_no_error(err);
}

static void assert_refused(const char *why)
{
    g_autoptr(GError) err = NULL;

    g_assert_false(load(&err));
    g_test_message("%s", err->message);
    g_assert_nonnull(strstr(err->message, why));
}

static bool signalled(int route)
{
    uint64_t count;

    return read(bound_to(route)->trigger, &count, sizeof(count)) == sizeof(count);
}

static int route_of(uint32_t data)
{
    for (guint i = 0; i < routes->len; i++) {
        const MSIMessage *msg = &g_array_index(routes, MSIMessage, i);

        if (msg->address && msg->data == data) {
            return 100 + (int)i;
        }
    }
    g_assert_not_reached();
}

static unsigned times(const char *log, const char *what)
{
    unsigned n = 0;

    for (const char *p = log; (p = strstr(p, what)); p++) {
        n++;
    }
    return n;
}

/* Three vectors in use, one masked that has had an interrupt, the others as after a reset. */
static void test_msix(void)
{
    g_autofree char *log = NULL;
    PCIDevice *dev = plug_with_msix(4);

    cfg_write(dev, PCI_INTERRUPT_LINE, 0x0b, 1);
    msix_entry(2, true);
    g_assert_true(sim_fire(sim, 2));
    g_assert_cmpuint(live_routes(), ==, 4);

    dev = save_and_plug(dev, "");
    g_assert_false(bar0_mapped());
    commits = 0;
    g_free(sim_take_log());
    load_ok();
    log = sim_take_log();
    g_test_message("%s", log);
    g_assert_true(bar0_mapped());
    g_assert_cmphex(pci_get_word(sim->config + PCI_COMMAND), ==,
                    PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    g_assert_cmphex(cfg_read(dev, PCI_INTERRUPT_LINE, 1), ==, 0x0b);
    g_assert_cmphex(cfg_read(dev, MSIX_CAP + PCI_MSIX_FLAGS, 2), ==, MSIX_ON | (VECTORS - 1));
    g_assert_cmpuint(times(log, "SET_IRQS 2 trigger"), ==, 1); /* at once */
    g_assert_nonnull(strstr(log, "SET_IRQS 2 trigger 0+4 eeee"));
    for (unsigned i = 0; i < 4; i++) {
        g_assert_true(sim_fire(sim, i));
        g_assert_true(i == 2 || signalled(route_of(0x40 + i)));
    }
    g_assert_cmphex(mem_read(BAR0_AT + PBA_AT), ==, 1 << 2);
    g_assert_cmphex(mem_read(BAR0_AT + TABLE_AT + 2 * 16 + 12), ==, 1);
    mem_write(BAR0_AT + TABLE_AT + 2 * 16 + 12, 0);
    g_assert_true(signalled(route_of(0x42)));
    g_assert_cmphex(mem_read(BAR0_AT + PBA_AT), ==, 0);
    g_assert_cmphex(mem_read(BAR0_AT + TABLE_AT + 7 * 16 + 12), ==, 1);
    teardown(dev);
}

/* All are masked, and what comes until one is not is kept; with a kernel that can add vectors too. */
static void test_msix_masked(void)
{
    for (unsigned dynamic = 0; dynamic < 2; dynamic++) {
        PCIDevice *dev = plug_with_msix(3);

        msix_entry(1, true);
        cfg_write(dev, MSIX_CAP + PCI_MSIX_FLAGS, MSIX_ON | 0x4000, 2);
        save(dev);
        sim->irqs[VFIO_PCI_MSIX_IRQ_INDEX].flags = dynamic ? 0 : VFIO_IRQ_INFO_NORESIZE;
        dev = plug_ok("");
        load_ok();
        for (unsigned i = 0; i < 3; i++) {
            g_assert_true(sim_fire(sim, i));
        }
        g_assert_cmphex(mem_read(BAR0_AT + PBA_AT), ==, 7);
        cfg_write(dev, MSIX_CAP + PCI_MSIX_FLAGS, MSIX_ON, 2);
        g_assert_true(signalled(route_of(0x40)));
        g_assert_true(signalled(route_of(0x42)));
        g_assert_cmphex(mem_read(BAR0_AT + PBA_AT), ==, 2);
        teardown(dev);
    }
}

/* A message that this process was to deliver and had not yet is delivered there. */
static void test_msi(void)
{
    PCIDevice *dev;

    setup();
    dev = plug_ok(",x-no-kvm-msi=on");
    cfg_write(dev, MSI_CAP + PCI_MSI_ADDRESS_LO, 0xfee02000, 4);
    cfg_write(dev, MSI_CAP + PCI_MSI_ADDRESS_HI, 1, 4);
    cfg_write(dev, MSI_CAP + PCI_MSI_DATA_64, 0x50, 2);
    cfg_write(dev, MSI_FLAGS, PCI_MSI_FLAGS_64BIT | PCI_MSI_FLAGS_ENABLE | 1 << 4, 2);
    g_assert_true(sim_fire(sim, 1));
    dev = save_and_plug(dev, ",x-no-kvm-msi=on");
    load_ok();
    g_assert_cmpint(sim->irq_index, ==, VFIO_PCI_MSI_IRQ_INDEX);
    g_assert_cmpuint(sim->triggers->len, ==, 2);
    sent = 0;
    while (g_main_context_iteration(NULL, FALSE)) {
    }
    g_assert_cmpuint(sent, ==, 1);
    g_assert_cmphex(last_sent.address, ==, 0x1fee02000);
    g_assert_cmphex(last_sent.data, ==, 0x51);
    teardown(dev);
}

static void test_intx(void)
{
    PCIDevice *dev;

    setup();
    dev = plug_ok(",x-no-kvm-intx=on");
    cfg_write(dev, PCI_COMMAND, PCI_COMMAND_INTX_DISABLE, 2);
    g_assert_true(sim_fire(sim, 0));
    dev = save_and_plug(dev, ",x-no-kvm-intx=on");
    load_ok();
    g_assert_cmphex(pci_get_word(sim->config + PCI_COMMAND), ==, PCI_COMMAND_INTX_DISABLE);
    g_assert_cmpint(sim->irq_index, ==, VFIO_PCI_INTX_IRQ_INDEX);
    g_assert_false(signalled(GSI));
    while (g_main_context_iteration(NULL, FALSE)) {
    }
    g_assert_true(signalled(GSI));
    teardown(dev);
}

/* Asleep, as the guest has put it; and a device that is used here already gets another state. */
static void test_again(void)
{
    PCIDevice *dev;

    setup();
    dev = plug_ok("");
    map_bar0(dev);
    cfg_write(dev, PM_CAP + PCI_PM_CTRL, PCI_PM_D3HOT, 2);
    g_assert_false(bar0_mapped());
    dev = save_and_plug(dev, "");
    map_bar0(dev);
    msix_entry(5, false);
    cfg_write(dev, MSIX_CAP + PCI_MSIX_FLAGS, MSIX_ON, 2);
    g_assert_cmpuint(live_routes(), ==, 1);
    load_ok();
    g_assert_cmpuint(live_routes(), ==, 0);
    g_assert_cmpint(sim->irq_index, ==, VFIO_PCI_INTX_IRQ_INDEX);
    g_assert_false(bar0_mapped());
    g_assert_cmphex(cfg_read(dev, PM_CAP + PCI_PM_CTRL, 2) & 3, ==, PCI_PM_D3HOT);
    cfg_write(dev, PM_CAP + PCI_PM_CTRL, 0, 2);
    g_assert_true(bar0_mapped());
    teardown(dev);
}

/* Another device is none that its guest could go on with; what is the device's own may differ. */
static void test_other(void)
{
    PCIDevice *dev;

    setup();
    dev = plug_ok("");
    dev = save_and_plug(dev, ",x-pci-device-id=0x99");
    assert_refused("configuration space at 0x2 is 0x10 there and 0x99 here");
    teardown(dev);

    setup();
    dev = plug_ok("");
    save(dev);
    sim_region_set(sim, 0, 2 * BAR0_SIZE, RWM);
    dev = plug_ok("");
    assert_refused("BAR 0 has 0x4000 bytes there and 0x8000 here");
    teardown(dev);

    setup();
    dev = plug_ok("");
    save(dev);
    sim->config[PCI_REVISION_ID] = 0x77;
    pci_set_long(sim->config + 0x1c4, 0x12345678); /* a serial number */
    dev = plug_ok("");
    load_ok();
    teardown(dev);
}

/* Whatever a stream has where a guest could have written, nothing breaks. */
static void test_random(void)
{
    g_autofree uint8_t *bits = NULL;
    VFIOPCIDevice *vdev;
    PCIDevice *dev;
    unsigned loaded = 0;

    setup();
    dev = plug_ok("");
    vdev = VFIO_PCI(dev);
    bits = g_malloc(dev->config_size);
    for (uint32_t i = 0; i < dev->config_size; i++) {
        bits[i] = dev->wmask[i] | dev->w1cmask[i] | (uint8_t)~vdev->emulated_config_bits[i];
    }
    for (unsigned round = 0; round < 500; round++) {
        g_autoptr(GError) err = NULL;

        g_assert_true(vfio_pci_vmstate.pre_save(dev, NULL));
        for (uint32_t i = 0; i < dev->config_size; i++) {
            uint8_t random = (uint8_t)g_test_rand_int();

            dev->loaded[i] = (uint8_t)((dev->loaded[i] & ~bits[i]) | (random & bits[i]));
        }
        for (uint32_t i = 0; i < dev->msix_table_size; i++) {
            dev->msix_table[i] = (uint8_t)g_test_rand_int();
        }
        memset(dev->msix_pba, g_test_rand_int(), dev->msix_pba_size);
        vdev->saved.msi_pending = (uint32_t)g_test_rand_int();
        vdev->saved.intx_pending = g_test_rand_bit();
        if (vfio_pci_vmstate.post_load(dev, &err)) {
            loaded++;
        } else {
            g_assert_nonnull(strstr(err->message, "COMMAND"));
        }
    }
    g_test_message("%u of 500 loaded", loaded);
    g_assert_cmpuint(loaded, >, 0);
    vdev->warned = 0;
    teardown(dev);
}

/* Whatever call fails, it says so or does without, and nothing is left of it. */
static void test_each_call_fails(void)
{
    unsigned refused = 0;
    bool failed = true;

    for (unsigned n = 1; failed; n++) {
        g_autoptr(GError) err = NULL;
        PCIDevice *dev = plug_with_msix(3);

        dev = save_and_plug(dev, "");
        sim_fail(n);
        refused += !load(&err);
        failed = sim_failed();
        sim_fail(0);
        VFIO_PCI(dev)->warned = 0;
        teardown(dev);
    }
    g_assert_cmpuint(refused, >, 3);
}

static void add_tests(void)
{
    g_test_add_func("/vfio/state/msix", test_msix);
    g_test_add_func("/vfio/state/msix-masked", test_msix_masked);
    g_test_add_func("/vfio/state/msi", test_msi);
    g_test_add_func("/vfio/state/intx", test_intx);
    g_test_add_func("/vfio/state/again", test_again);
    g_test_add_func("/vfio/state/other", test_other);
    g_test_add_func("/vfio/state/random", test_random);
    g_test_add_func("/vfio/state/each-call-fails", test_each_call_fails);
}

int main(int argc, char **argv)
{
    return vfio_test_run(argc, argv, add_tests);
}
