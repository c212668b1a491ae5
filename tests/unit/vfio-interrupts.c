/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vfio-pci on the simulated kernel: INTx, MSI and MSI-X. */
#include <unistd.h>

#include "tests/unit/vfio-fixture.h"

/* ---- interrupts ---- */

static void test_msix(gconstpointer data)
{
    bool noresize = GPOINTER_TO_INT(data);
    g_autofree char *log = NULL;
    PCIDevice *dev;
    uint32_t flags;

    setup();
    sim->irqs[VFIO_PCI_MSIX_IRQ_INDEX].flags = noresize ? VFIO_IRQ_INFO_NORESIZE : 0;
    dev = plug_ok("");
    map_bar0(dev);
    g_free(sim_take_log());

    /* On, with no vector in use: INTx goes first, the device still sees MSI-X. */
    flags = PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL;
    cfg_write(dev, MSIX_CAP + PCI_MSIX_FLAGS, flags, 2);
    log = sim_take_log();
    g_assert_cmpstr(log, ==, "SET_IRQS 0 trigger 0+0 \nSET_IRQS 2 trigger 0+1 -\n");
    g_assert_null(bound_to(GSI));

    /* A batch: two vectors in one go. */
    msix_entry(0, false);
    msix_entry(2, false);
    commits = 0;
    cfg_write(dev, MSIX_CAP + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE, 2);
    g_assert_cmpuint(commits, ==, 1);
    g_free(log);
    log = sim_take_log();
    g_assert_cmpstr(log, ==,
                    noresize ? "SET_IRQS 2 trigger 0+0 \nSET_IRQS 2 trigger 0+3 e-e\n"
                             : "SET_IRQS 2 trigger 0+1 e\nSET_IRQS 2 trigger 2+1 e\n");
    g_assert_cmpuint(bindings->len, ==, 2);
    g_assert_cmphex(g_array_index(routes, MSIMessage, 1).data, ==, 0x42);

    /* A vector more, then a masked one: its signal waits in the pending bits. */
    msix_entry(8, false);
    g_free(log);
    log = sim_take_log();
    g_assert_cmpstr(log, ==,
                    noresize ? "SET_IRQS 2 trigger 0+0 \nSET_IRQS 2 trigger 0+9 e-e-----e\n"
                             : "SET_IRQS 2 trigger 8+1 e\n");
    g_assert_nonnull(bound_to(102));
    mem_write(BAR0_AT + TABLE_AT + 8 * 16 + 12, 1);
    g_assert_null(bound_to(102));
    g_assert_cmphex(mem_read(BAR0_AT + PBA_AT), ==, 0);
    g_assert_true(sim_fire(sim, 8));
    g_assert_cmphex(mem_read(BAR0_AT + PBA_AT), ==, 0x100);
    mem_write(BAR0_AT + TABLE_AT + 8 * 16 + 8, 0x99); /* a new message while masked */
    mem_write(BAR0_AT + TABLE_AT + 8 * 16 + 12, 0);
    g_assert_nonnull(bound_to(102)); /* which delivers it */
    g_assert_cmphex(g_array_index(routes, MSIMessage, 2).data, ==, 0x99);
    g_assert_cmphex(mem_read(BAR0_AT + PBA_AT), ==, 0);

    /* Off: all is given back, and INTx works again. */
    g_free(sim_take_log());
    cfg_write(dev, MSIX_CAP + PCI_MSIX_FLAGS, 0, 2);
    g_free(log);
    log = sim_take_log();
    g_assert_cmpstr(log, ==,
                    "SET_IRQS 2 trigger 0+0 \nSET_IRQS 0 trigger 0+1 e\n"
                    "SET_IRQS 0 unmask 0+1 e\n");
    g_assert_cmpuint(live_routes(), ==, 0);
    g_assert_cmpuint(bindings->len, ==, 1);
    teardown(dev);
}

/* What cannot grow goes on with what it had. */
static void test_msix_exhausted(void)
{
    PCIDevice *dev;

    setup();
    dev = plug_ok("");
    map_bar0(dev);
    sim->vectors_max = 2;
    cfg_write(dev, MSIX_CAP + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE, 2);
    msix_entry(0, false);
    msix_entry(5, false);
    g_assert_cmpuint(sim->triggers->len, ==, 1);
    g_assert_true(sim_fire(sim, 0));
    g_assert_cmpuint(bindings->len, ==, 1);
    teardown(dev);
}

static void test_msix_userspace(void)
{
    PCIDevice *dev;

    setup();
    dev = plug_ok(",x-no-kvm-msix=on");
    map_bar0(dev);
    cfg_write(dev, MSIX_CAP + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE, 2);
    msix_entry(3, false);
    g_assert_cmpuint(bindings->len, ==, 0);
    sent = 0;
    g_assert_true(sim_fire(sim, 3));
    while (g_main_context_iteration(NULL, FALSE)) {
    }
    g_assert_cmpuint(sent, ==, 1);
    g_assert_cmphex(last_sent.data, ==, 0x43);
    mem_write(BAR0_AT + TABLE_AT + 3 * 16 + 12, 1);
    g_assert_true(sim_fire(sim, 3));
    while (g_main_context_iteration(NULL, FALSE)) {
    }
    g_assert_cmpuint(sent, ==, 1);
    teardown(dev);
}

static void test_msi(void)
{
    g_autofree char *log = NULL;
    PCIDevice *dev;

    setup();
    dev = plug_ok("");
    cfg_write(dev, MSI_CAP + PCI_MSI_ADDRESS_LO, 0xfee02000, 4);
    cfg_write(dev, MSI_CAP + PCI_MSI_DATA_64, 0x60, 2);
    sim->vectors_max = 3; /* of the four that the guest wants */
    g_free(sim_take_log());
    cfg_write(dev, MSI_CAP + PCI_MSI_FLAGS, PCI_MSI_FLAGS_ENABLE | 2 << 4, 2);
    log = sim_take_log();
    g_assert_cmpstr(log, ==,
                    "SET_IRQS 0 trigger 0+0 \nSET_IRQS 1 trigger 0+4 eeee\n"
                    "SET_IRQS 1 trigger 0+3 eee\n");
    g_assert_cmphex(g_array_index(routes, MSIMessage, 2).data, ==, 0x62);
    cfg_write(dev, MSI_CAP + PCI_MSI_DATA_64, 0x80, 2); /* while it is on */
    g_assert_cmphex(g_array_index(routes, MSIMessage, 2).data, ==, 0x82);
    cfg_write(dev, MSI_CAP + PCI_MSI_FLAGS, 0, 2);
    g_assert_cmpuint(live_routes(), ==, 0);
    g_assert_nonnull(bound_to(GSI));
    teardown(dev);
}

/* A driver without eventfds for UNMASK, as mtty: this process unmasks. */
static void test_intx_without_eventfd(void)
{
    uint64_t one = 1;
    PCIDevice *dev;

    setup();
    sim->no_unmask_eventfd = true;
    dev = plug_ok("");
    g_assert_cmpint(write(bound_to(GSI)->resample, &one, sizeof(one)), ==, sizeof(one));
    while (g_main_context_iteration(NULL, FALSE)) {
    }
    g_assert_cmpuint(sim->unmasks, ==, 1);
    teardown(dev);
}

static void add_tests(void)
{
    g_test_add_data_func("/vfio/msix/dynamic", GINT_TO_POINTER(false), test_msix);
    g_test_add_data_func("/vfio/msix/noresize", GINT_TO_POINTER(true), test_msix);
    g_test_add_func("/vfio/msix/exhausted", test_msix_exhausted);
    g_test_add_func("/vfio/msix/userspace", test_msix_userspace);
    g_test_add_func("/vfio/msi", test_msi);
    g_test_add_func("/vfio/intx-without-eventfd", test_intx_without_eventfd);
}

int main(int argc, char **argv)
{
    return vfio_test_run(argc, argv, add_tests);
}
