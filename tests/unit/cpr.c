/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Live update on the simulated kernel, of a device of iommufd's and of one of a group. */
#include "tests/unit/cpr-fixture.h"

#include "backends/iommufd.h"

/* All that the old process does. */
static void let_go(PCIDevice *dev, Handover *h)
{
    handover_save(h);
    handover_stop(h);
    end_of_old(dev);
}

/* The new one closes, and nothing else. */
static void new_fails(Handover *h, PCIDevice *dev)
{
    new_closes(dev);
    assert_quiet(false);
    handover_end(h);
}

/* ---- tests ---- */

static void test_msix(void)
{
    PCIDevice *dev = plug_with_msix(3);
    unsigned p2p = p2p_extents();
    Handover h = { 0 };

    g_assert_cmpuint(p2p, >, 0);
    handover_save(&h);
    handover_stop(&h);
    g_assert_cmpuint(bindings->len, ==, 0);
    g_assert_cmpuint(p2p_extents(), ==, by_group ? p2p : 0);
    g_assert_true(sim_fire(sim, 1)); /* while nobody takes it to the guest */
    end_of_old(dev);

    dev = begin_new(&h, "");
    g_assert_false(bar0_mapped());
    finish_new(&h);
    g_assert_cmpuint(sim->resets, ==, 0);
    g_assert_cmpuint(bindings->len, ==, 3);
    g_assert_cmpuint(p2p_extents(), ==, p2p);
    g_assert_true(bar0_mapped());
    g_assert_false(is_signalled(bound_to(100)->trigger));
    g_assert_true(is_signalled(bound_to(101)->trigger));
    g_assert_true(sim_fire(sim, 2));
    g_assert_true(is_signalled(bound_to(102)->trigger));
    g_assert_cmpuint(g_array_index(routes, MSIMessage, 2).data, ==, 0x42);

    /* And it is wholly this process's: its guest resets it, and the host takes it back. */
    g_free(sim_take_log());
    DEVICE_GET_CLASS(dev)->reset(DEVICE(dev));
    teardown(dev);
    handover_free(&h);
}

/* A masked vector that has fired stays pending, and comes when it is unmasked. */
static void test_masked(void)
{
    PCIDevice *dev = plug_with_msix(2);
    Handover h = { 0 };

    msix_entry(1, true);
    g_assert_true(sim_fire(sim, 1));
    let_go(dev, &h);
    dev = begin_new(&h, "");
    finish_new(&h);
    g_assert_cmpuint(bindings->len, ==, 1);
    g_assert_cmpuint(mem_read(BAR0_AT + PBA_AT) & 3, ==, 2);
    msix_entry(1, false);
    assert_quiet(true);
    g_assert_cmpuint(bindings->len, ==, 2);
    g_assert_true(is_signalled(g_array_index(bindings, Binding, 1).trigger));
    teardown(dev);
    handover_free(&h);
}

static void test_intx(void)
{
    PCIDevice *dev;
    Handover h = { 0 };

    setup();
    dev = plug_ok("");
    map_bar0(dev);
    g_assert_cmpuint(bindings->len, ==, 1);
    handover_save(&h);
    handover_stop(&h);
    g_assert_cmpuint(bindings->len, ==, 0);
    end_of_old(dev);
    dev = begin_new(&h, "");
    finish_new(&h);
    g_assert_cmpuint(bindings->len, ==, 1);
    g_assert_cmpint(bound_to(GSI)->resample, ==, sim->unmask);
    g_assert_true(is_signalled(sim->unmask)); /* the driver looks at the line */
    g_assert_true(sim_fire(sim, 0));
    g_assert_true(is_signalled(bound_to(GSI)->trigger));
    teardown(dev);
    handover_free(&h);
}

static void test_msi(void)
{
    PCIDevice *dev;
    Handover h = { 0 };

    setup();
    dev = plug_ok("");
    map_bar0(dev);
    cfg_write(dev, MSI_CAP + PCI_MSI_ADDRESS_LO, 0xfee01000, 4);
    cfg_write(dev, MSI_CAP + PCI_MSI_DATA_64, 0x40, 2);
    cfg_write(dev, MSI_CAP + PCI_MSI_FLAGS, PCI_MSI_FLAGS_ENABLE | 1 << 4, 2);
    g_assert_cmpuint(bindings->len, ==, 2);
    let_go(dev, &h);
    dev = begin_new(&h, "");
    finish_new(&h);
    g_assert_cmpuint(bindings->len, ==, 2);
    g_assert_true(sim_fire(sim, 1));
    g_assert_true(is_signalled(bound_to(101)->trigger));
    teardown(dev);
    handover_free(&h);
}

/* It comes to nothing: all is as before. */
static void test_undo(void)
{
    PCIDevice *dev = plug_with_msix(3);
    unsigned p2p = p2p_extents();

    for (unsigned i = 0; i < 3; i++) {
        Handover h = { 0 };

        handover_save(&h);
        if (i) {
            handover_stop(&h);
        }
        g_free(sim_take_log());
        cpr_undo();
        assert_quiet(i);
        g_assert_cmpuint(p2p_extents(), ==, p2p);
        g_assert_cmpuint(bindings->len, ==, 3);
        g_assert_true(sim_fire(sim, 2));
        handover_free(&h);
    }
    teardown(dev);
}

/* Whatever call fails while it lets go, or brings it back: the guest has its interrupts. */
static void test_stop_fails(void)
{
    PCIDevice *dev = plug_with_msix(3);
    bool failed = true;

    for (unsigned n = 1; failed; n++) {
        g_autoptr(GByteArray) data = g_byte_array_new();
        g_autoptr(GArray) fds = g_array_new(FALSE, FALSE, sizeof(int));
        Handover h = { 0 };

        handover_save(&h);
        sim_fail(n);
        cpr_stop(data, fds, NULL);
        cpr_undo();
        failed = sim_failed();
        sim_fail(0);
        g_assert_cmpuint(bindings->len, ==, 3);
        g_assert_true(sim_fire(sim, 2));
        handover_free(&h);
    }
    teardown(dev);
}

/* Whatever call fails while the new process makes its device: it closes, and nothing else. */
static void test_new_fails(void)
{
    bool failed = true;

    for (unsigned n = 1; failed; n++) {
        PCIDevice *dev = plug_with_msix(2);
        g_autoptr(GError) err = NULL;
        Handover h = { 0 };

        let_go(dev, &h);
        g_assert_true(load(h.objects, h.object_fds, NULL));
        g_assert_true(add_iommufd(NULL));
        g_assert_true(take_memory(NULL));
        g_free(sim_take_log());
        sim_fail(n);
        dev = plug("", &err);
        failed = sim_failed();
        sim_fail(0);
        g_assert_true(dev || err);
        g_assert_true(failed || dev);
        new_fails(&h, dev); /* it may have done without something, as without dma-bufs */
    }
}

/* The new process does not fit: it is told so, and closes only. */
static void test_misfit(void)
{
    static const struct {
        const char *more, *why;
    } misfits[] = {
        { ",id=d1", "'vfio/d0'" },
        { NULL, "'iommufd/i0'" },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(misfits); i++) {
        PCIDevice *dev = plug_with_msix(1);
        g_autoptr(GError) err = NULL;
        Handover h = { 0 };

        let_go(dev, &h);
        g_assert_true(load(h.objects, h.object_fds, &err));
        g_assert_true(take_memory(NULL));
        if (misfits[i].more) {
            cpr_delete_fd("iommufd/i0", 0);
            cpr_delete_fd("iommufd/i0/ioas", 0);
            cpr_delete_fd("container/i0/extents", 0);
        }
        g_assert_false(cpr_check_all_taken(&err));
        g_test_message("%s", err->message);
        g_assert_nonnull(strstr(err->message, misfits[i].why));
        new_fails(&h, NULL);
    }
}

/* Guest memory is not what the old process has mapped. */
static void test_extents(void)
{
    PCIDevice *dev = plug_with_msix(1);
    FlatView *view;
    const MemoryRange *r;
    MemoryRegion *low;
    g_autoptr(GError) err = NULL;
    Handover h = { 0 };

    let_go(dev, &h);
    view = address_space_view(&address_space_memory);
    r = flat_view_find(view, 0);
    low = (MemoryRegion *)r->mr;
    flat_view_unref(view);
    memory_region_set_enabled(low, false);

    g_assert_true(load(h.objects, h.object_fds, &err));
    g_assert_true(add_iommufd(NULL));
    g_assert_true(take_memory(NULL));
    g_free(sim_take_log());
    g_assert_null(plug("", &err));
    g_test_message("%s", err->message);
    g_assert_nonnull(strstr(err->message, "the old process has mapped 2 ranges"));
    new_fails(&h, NULL);
    memory_region_set_enabled(low, true);
}

/* Whatever byte of a message is another, or missing, is found. */
static void test_message(void)
{
    PCIDevice *dev = plug_with_msix(2);
    Handover h = { 0 };

    handover_save(&h);
    for (guint i = 0; i < 2 * h.objects->len; i++) {
        g_autoptr(GByteArray) data = g_byte_array_new();
        g_autoptr(GArray) fds = copies_of(h.object_fds);
        g_autoptr(GError) err = NULL;

        g_byte_array_append(data, h.objects->data, i < h.objects->len ? h.objects->len : i / 2);
        if (i < h.objects->len) {
            data->data[i] ^= 0x11;
        }
        g_assert_false(load(data, fds, &err));
        g_assert_nonnull(err);
        cpr_finish();
    }
    cpr_undo();
    handover_free(&h);
    teardown(dev);
}

static void test_check(void)
{
    static Machine machine;
    static RAMBlock private = { .idstr = (char *)"private", .fd = -1 };
    PCIDevice *dev = plug_with_msix(1);
    g_autoptr(GError) err = NULL;

    migration_parameters.mode = MIG_MODE_CPR_TRANSFER;
    g_assert_false(cpr_check(&err));
    g_assert_nonnull(strstr(err->message, "aux-ram-share=on"));
    g_clear_error(&err);
    machine.aux_ram_share = true;
    current_machine = &machine;
    g_assert_true(cpr_check(&err));
    ram_block_register(&private);
    g_assert_false(cpr_check(&err));
    g_assert_nonnull(strstr(err->message, "share=off"));
    g_clear_error(&err);
    ram_block_unregister(&private);
    current_machine = NULL;
    teardown(dev);
}

static void test_check_device(void)
{
    static Machine machine = { .aux_ram_share = true };
    g_autoptr(GError) err = NULL;
    PCIDevice *dev;

    current_machine = &machine;
    migration_parameters.mode = MIG_MODE_CPR_TRANSFER;
    setup();
    sim->mdev = true;
    dev = plug_ok("");
    g_assert_false(cpr_check(&err));
    g_assert_nonnull(strstr(err->message, "mediated device"));
    g_clear_error(&err);
    teardown(dev);

    setup();
    dev = plug_ok("");
    IOMMUFD_BACKEND(object_resolve("i0"))->missing = UINT32_MAX;
    g_assert_false(cpr_check(&err));
    g_assert_nonnull(strstr(err->message, "IOMMU_IOAS_CHANGE_PROCESS"));
    IOMMUFD_BACKEND(object_resolve("i0"))->missing = 0;
    current_machine = NULL;
    teardown(dev);
}

static void add(void)
{
    cpr_fixture_begin();
    g_test_add_func("/cpr/check", test_check);
    g_test_add_func("/cpr/check-device", test_check_device);
    cpr_test_add("msix", test_msix);
    cpr_test_add("masked", test_masked);
    cpr_test_add("msi", test_msi);
    cpr_test_add("intx", test_intx);
    cpr_test_add("undo", test_undo);
    cpr_test_add("stop-fails", test_stop_fails);
    cpr_test_add("new-fails", test_new_fails);
    g_test_add_func("/cpr/misfit", test_misfit);
    cpr_test_add("extents", test_extents);
    cpr_test_add("message", test_message);
}

int main(int argc, char **argv)
{
    return vfio_test_run(argc, argv, add);
}
