/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vfio-pci on the simulated kernel: which reset is used, alone and with others in the slot. */
#include <glib/gstdio.h>
#include <string.h>

#include "core/runstate.h"
#include "hw/vfio/pci.h"
#include "tests/unit/vfio-fixture.h"
#include "util/keyval.h"

#define DEVCAP (EXPRESS_CAP + PCI_EXP_DEVCAP)
#define PMCSR  (PM_CAP + PCI_PM_CTRL)

/* ---- two functions in a slot ---- */

static SimSlot slot;
static SimDevice *first; /* `sim` is the second */
static PCIDevice *functions[2];

static void slot_begin(void)
{
    slot = (SimSlot) { .devices = g_ptr_array_new() };
}

/* What setup() has just made goes into the slot. */
static void slot_add(void)
{
    sim->slot = &slot;
    g_ptr_array_add(slot.devices, sim);
}

static void slot_end(PCIDevice *dev)
{
    teardown(dev);
    g_clear_pointer(&slot.devices, g_ptr_array_unref);
}

/* The fixture's folder is that of minor 7; this is another for minor 8. */
static char *make_sysfs(void)
{
    g_autofree char *parent = g_dir_make_tmp("viaduct-vfio-XXXXXX", NULL);
    char *top = g_build_filename(parent, "0000:02:00.1", NULL);
    g_autofree char *cdev = g_build_filename(top, "vfio-dev", "vfio8", NULL);
    g_autofree char *dev = g_build_filename(cdev, "dev", NULL);

    g_assert_cmpint(g_mkdir_with_parents(cdev, 0700), ==, 0);
    g_assert_true(g_file_set_contents(dev, "510:8\n", -1, NULL));
    return top;
}

static void remove_sysfs(const char *top)
{
    static const char *const parts[] = { "vfio-dev/vfio8/dev", "vfio-dev/vfio8", "vfio-dev", "" };
    g_autofree char *parent = g_path_get_dirname(top);

    for (size_t i = 0; i < G_N_ELEMENTS(parts); i++) {
        g_autofree char *path = g_build_filename(top, parts[i], NULL);

        g_remove(path);
    }
    g_remove(parent);
}

static PCIDevice *plug_second(const char *iommufd)
{
    g_autofree char *dir = make_sysfs();
    g_autofree char *text = g_strdup_printf("vfio-pci,id=d1,sysfsdev=%s,iommufd=%s", dir, iommufd);
    g_autoptr(JsonObject) opts = keyval_parse(text, "driver", NULL, NULL);
    g_autoptr(GError) err = NULL;

    device_add(opts, false, &err);
    g_assert_no_error(err);
    remove_sysfs(dir);
    return PCI_DEVICE(object_resolve("d1"));
}

/* Neither has a reset of its own. */
static void plug_two_by(const char *iommufd)
{
    slot_begin();
    setup();
    first = sim;
    first->name = "0000:02:00.0";
    first->flags &= ~(uint32_t)VFIO_DEVICE_FLAGS_RESET;
    slot_add();
    setup();
    sim->minor = 8;
    sim->name = "0000:02:00.1";
    sim->flags = first->flags;
    slot_add();
    functions[0] = plug_ok("");
    functions[1] = plug_second(iommufd);
    g_free(sim_take_log());
}

static void plug_two(void)
{
    plug_two_by("i0");
}

static void unplug_two(void)
{
    g_assert_cmpuint(first->rude_resets + sim->rude_resets, ==, 0);
    device_destroy(DEVICE(functions[0]));
    sim_device_free(first);
    slot_end(functions[1]);
}

/* ---- */

static void has_run(void)
{
    vm_start();
    vm_stop(RUN_STATE_PAUSED);
}

static void use(PCIDevice *dev)
{
    cfg_write(dev, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
}

static void device_reset(PCIDevice *dev)
{
    DEVICE_GET_CLASS(dev)->reset(DEVICE(dev));
}

/* The lines of the log that tell of resets. */
static char *resets(void)
{
    g_autofree char *log = sim_take_log();
    g_auto(GStrv) lines = g_strsplit(log, "\n", -1);
    GString *text = g_string_new(NULL);

    for (char **line = lines; *line; line++) {
        if (strstr(*line, "RESET")) {
            g_string_append_printf(text, "%s%s", text->len ? " " : "", *line);
        }
    }
    return g_string_free(text, FALSE);
}

static bool warned(PCIDevice *dev)
{
    return VFIO_PCI(dev)->warned & 1U << VFIO_WARN_RESET;
}

/* ---- before the guest has run (first, as this state does not come back) ---- */

static void test_hand_over(void)
{
    g_autofree char *log = NULL;
    PCIDevice *dev;

    g_assert_cmpint(run_state(), ==, RUN_STATE_PRELAUNCH);
    setup();
    dev = plug_ok("");
    use(dev); /* as the machine does, which assigns resources */
    device_reset(dev);
    log = resets();
    g_assert_cmpstr(log, ==, ""); /* the kernel did that when it was opened */
    teardown(dev);

    plug_two();
    use(functions[0]);
    use(functions[1]);
    devices_reset();
    g_free(log);
    log = resets();
    g_assert_cmpstr(log, ==, "HOT_RESET_INFO HOT_RESET_INFO HOT_RESET");
    g_assert_cmpuint(first->hot_resets, ==, 1);
    g_assert_cmpuint(sim->hot_resets, ==, 1);
    unplug_two();

    setup(); /* nothing can be done about it, and the device may be as good as new */
    sim->flags &= ~(uint32_t)VFIO_DEVICE_FLAGS_RESET;
    dev = plug_ok("");
    use(dev);
    device_reset(dev);
    g_assert_false(warned(dev));
    teardown(dev);
}

/* ---- which one ---- */

static void test_choice(void)
{
    static const struct {
        const char *what;
        bool flag, flr, soft, slot; /* soft: PM's D3hot and back resets */
        const char *log;
    } cases[] = {
        { "FLR", true, true, true, true, "RESET" },
        { "no PM reset, so some other", true, false, false, true, "RESET" },
        { "PM only, and a slot", true, false, true, true, "HOT_RESET_INFO HOT_RESET" },
        { "PM only, no slot", true, false, true, false, "HOT_RESET_INFO RESET" },
        { "only the slot", false, false, false, true, "HOT_RESET_INFO HOT_RESET" },
        { "none", false, false, true, false, "HOT_RESET_INFO" },
    };

    has_run();
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *log = NULL;
        PCIDevice *dev;

        slot_begin();
        setup();
        g_test_message("%s", cases[i].what);
        sim->flags = VFIO_DEVICE_FLAGS_PCI | (cases[i].flag ? VFIO_DEVICE_FLAGS_RESET : 0);
        pci_set_long(sim->config + DEVCAP, cases[i].flr ? PCI_EXP_DEVCAP_FLR : 0);
        pci_set_word(sim->config + PMCSR, cases[i].soft ? 3 : 3 | PCI_PM_CTRL_NO_SOFT_RESET);
        if (cases[i].slot) {
            slot_add();
            slot.idle = 1;
        }
        dev = plug_ok("");
        map_bar0(dev);
        device_reset(dev);
        log = resets();
        g_assert_cmpstr(log, ==, cases[i].log);
        g_assert_cmpint(warned(dev), ==, g_str_equal(cases[i].what, "none"));
        g_assert_cmpuint(sim->rude_resets, ==, 0);
        g_assert_cmphex(pci_get_word(sim->config + PCI_COMMAND), ==, 0);
        g_assert_cmphex(pci_get_word(sim->config + PMCSR) & 3, ==, 0);
        g_assert_cmpint(sim->irq_index, ==, VFIO_PCI_INTX_IRQ_INDEX);
        g_assert_false(bar0_mapped());
        map_bar0(dev); /* and it works again */
        g_assert_true(bar0_mapped());
        slot_end(dev);
    }
}

/* The kernel only tries: again, but not for ever. */
static void test_busy(void)
{
    PCIDevice *dev;

    has_run();
    slot_begin();
    setup();
    pci_set_long(sim->config + DEVCAP, PCI_EXP_DEVCAP_FLR);
    dev = plug_ok("");
    sim->busy = 3;
    use(dev);
    device_reset(dev);
    g_assert_cmpuint(sim->resets, ==, 1);
    slot_add();
    sim->busy = 22; /* gives up the FLR, which leaves the slot */
    use(dev);
    device_reset(dev);
    g_assert_cmpuint(sim->resets, ==, 1);
    g_assert_cmpuint(sim->hot_resets, ==, 1);
    g_assert_false(warned(dev));
    slot_end(dev);
}

/* ---- slots ---- */

/* More functions than there is room for at first, all in the group and nobody's but one. */
static void test_slot_large(void)
{
    g_autofree char *log = NULL;
    PCIDevice *dev;

    has_run();
    slot_begin();
    setup();
    sim->flags &= ~(uint32_t)VFIO_DEVICE_FLAGS_RESET;
    slot_add();
    slot.idle = 40;
    dev = plug_ok("");
    use(dev);
    device_reset(dev);
    log = resets();
    g_assert_cmpstr(log, ==, "HOT_RESET_INFO HOT_RESET_INFO HOT_RESET");
    slot_end(dev);
}

static void test_slot(void)
{
    has_run();
    plug_two();
    for (unsigned round = 1; round < 3; round++) {
        use(functions[0]);
        use(functions[1]);
        map_bar0(functions[1]);
        devices_reset();
        g_assert_cmpuint(first->hot_resets, ==, round);
        g_assert_cmpuint(sim->hot_resets, ==, round);
        g_assert_cmpint(first->irq_index, ==, VFIO_PCI_INTX_IRQ_INDEX);
        g_assert_cmpint(sim->irq_index, ==, VFIO_PCI_INTX_IRQ_INDEX);
    }
    g_free(sim_take_log());

    /* One alone is quiet, and the other one undisturbed, until that is reset too. */
    use(functions[0]);
    use(functions[1]);
    device_reset(functions[0]);
    g_assert_cmpuint(sim->hot_resets, ==, 2);
    g_assert_cmphex(pci_get_word(sim->config + PCI_COMMAND), !=, 0);
    g_assert_cmphex(pci_get_word(first->config + PCI_COMMAND), ==, 0);
    device_reset(functions[1]);
    g_assert_cmpuint(sim->hot_resets, ==, 3);

    /* Quiet once, but in use again: it must not be taken along. */
    use(functions[0]);
    use(functions[1]);
    device_reset(functions[0]);
    use(functions[0]);
    device_reset(functions[1]);
    g_assert_cmpuint(first->hot_resets, ==, 3);
    g_assert_cmphex(pci_get_word(first->config + PCI_COMMAND), !=, 0);
    g_assert_false(warned(functions[0]) || warned(functions[1]));
    unplug_two();
}

/* Each by an iommufd object of its own, which are one context of the kernel's. */
static void test_slot_two_objects(void)
{
    g_autoptr(JsonObject) opts = keyval_parse("iommufd,id=i9", "qom-type", NULL, NULL);

    has_run();
    g_assert_true(user_object_add(opts, NULL));
    plug_two_by("i9");
    use(functions[0]);
    use(functions[1]);
    devices_reset();
    g_assert_cmpuint(first->hot_resets, ==, 1);
    g_assert_cmpuint(sim->hot_resets, ==, 1);
    g_assert_false(warned(functions[0]) || warned(functions[1]));
    unplug_two();
    g_assert_true(user_object_del("i9", NULL));
}

/* The last one has a reset of its own, and is taken along with the one that waits for it. */
static void test_slot_mixed(void)
{
    g_autofree char *log = NULL;

    has_run();
    plug_two();
    device_destroy(DEVICE(functions[1]));
    sim->flags |= VFIO_DEVICE_FLAGS_RESET;
    pci_set_long(sim->config + DEVCAP, PCI_EXP_DEVCAP_FLR);
    functions[1] = plug_second("i0");
    use(functions[0]);
    use(functions[1]);
    g_free(sim_take_log());
    devices_reset();
    log = resets();
    g_assert_cmpstr(log, ==, "HOT_RESET_INFO RESET HOT_RESET_INFO HOT_RESET");
    g_assert_cmpuint(first->hot_resets, ==, 1);
    unplug_two();
}

/* Somebody else has a function of the slot: the kernel is not even asked, and it is said once. */
static void test_stranger(void)
{
    g_autofree char *log = NULL;
    PCIDevice *dev;

    has_run();
    slot_begin();
    setup();
    sim->flags &= ~(uint32_t)VFIO_DEVICE_FLAGS_RESET;
    slot_add();
    slot.stranger = true;
    dev = plug_ok("");
    for (unsigned i = 0; i < 3; i++) {
        use(dev);
        device_reset(dev);
    }
    log = resets();
    g_assert_cmpstr(log, ==, "HOT_RESET_INFO HOT_RESET_INFO HOT_RESET_INFO");
    g_assert_true(warned(dev));
    g_assert_cmphex(pci_get_word(sim->config + PCI_COMMAND), ==, 0);
    slot_end(dev);
}

/* Whatever call fails, the process lives and leaves nothing behind. */
static void test_each_call_fails(void)
{
    bool failed = true;

    has_run();
    for (unsigned nth = 1; failed; nth++) {
        plug_two();
        use(functions[0]);
        use(functions[1]);
        sim_fail(nth);
        devices_reset();
        failed = sim_failed();
        sim_fail(0);
        first->rude_resets = sim->rude_resets = 0; /* what it was not told it does not know */
        unplug_two();
    }
}

static void add_tests(void)
{
    g_test_add_func("/vfio/reset/hand-over", test_hand_over);
    g_test_add_func("/vfio/reset/choice", test_choice);
    g_test_add_func("/vfio/reset/busy", test_busy);
    g_test_add_func("/vfio/reset/slot", test_slot);
    g_test_add_func("/vfio/reset/slot-two-objects", test_slot_two_objects);
    g_test_add_func("/vfio/reset/slot-large", test_slot_large);
    g_test_add_func("/vfio/reset/slot-mixed", test_slot_mixed);
    g_test_add_func("/vfio/reset/stranger", test_stranger);
    g_test_add_func("/vfio/reset/each-call-fails", test_each_call_fails);
}

int main(int argc, char **argv)
{
    return vfio_test_run(argc, argv, add_tests);
}
