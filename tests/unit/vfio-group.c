/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vfio-pci by its group in a type1 container, on the simulated kernel; and the token of a VF. */
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

#include "core/runstate.h"
#include "hw/vfio/vfio.h"
#include "tests/unit/vfio-fixture.h"
#include "util/keyval.h"

#define TOKEN "01234567-89ab-cdef-0123-456789abcdef"

static char *sysfs2;
static SimDevice *sim2;

/* -device vfio-pci,id=@id,sysfsdev=@path and @more. */
static PCIDevice *plug_group(const char *id, const char *path, const char *more, GError **errp)
{
    g_autofree char *text = g_strdup_printf("vfio-pci,id=%s,sysfsdev=%s%s", id, path, more);
    g_autoptr(JsonObject) opts = keyval_parse(text, "driver", NULL, NULL);

    return device_add(opts, false, errp) ? PCI_DEVICE(object_resolve(id)) : NULL;
}

static PCIDevice *plug_group_ok(const char *id, const char *path)
{
    g_autoptr(GError) err = NULL;
    PCIDevice *dev = plug_group(id, path, "", &err);

    g_assert_no_error(err);
    return dev;
}

static void assert_group_fails(const char *more, const char *why)
{
    g_autoptr(GError) err = NULL;

    g_assert_null(plug_group("d0", sysfs, more, &err));
    g_test_message("%s", err->message);
    g_assert_nonnull(strstr(err->message, why));
    g_assert_null(strchr(err->message, '\n'));
    g_assert_cmpuint(sim_open_things(), ==, 0);
    g_assert_cmpuint(sim_containers(), ==, 0);
}

static void end(PCIDevice *dev)
{
    teardown(dev);
    g_assert_cmpuint(sim_containers(), ==, 0);
    sim_type1 = (SimType1) { 0 };
}

/* Both devices; the second one in @group. */
static void setup_two(unsigned group)
{
    setup();
    sim2 = sim_twin("0000:05:00.0", group);
    sysfs2 = make_sysfs_device(sim2->name, 20, group);
}

static void end_two(void)
{
    g_autofree char *link = g_build_filename(sysfs2, "iommu_group", NULL);
    g_autofree char *members = g_build_filename(link, "devices", sim2->name, NULL);

    end(NULL);
    g_remove(members);
    g_remove(link);
    sim_device_free(sim2);
    g_clear_pointer(&sysfs2, g_free);
}

static unsigned count(const char *text, const char *what)
{
    unsigned n = 0;

    for (; (text = strstr(text, what)); text++) {
        n++;
    }
    return n;
}

/* ---- order and unwinding ---- */

static void test_order(void)
{
    static const char up[] = "open /dev/vfio/12\n"
                             "GROUP_GET_STATUS 12\n"
                             "KVM add\n"
                             "open /dev/vfio/vfio\n"
                             "GROUP_SET_CONTAINER 12\n"
                             "SET_IOMMU 3\n"
                             "IOMMU_GET_INFO\n"
                             "IOMMU_GET_INFO\n"
                             "MAP_DMA 0x0+0xa0000\n"
                             "MAP_DMA 0x100000+0x100000\n"
                             "MAP_DMA 0x200000+0x100000\n"
                             "GROUP_GET_DEVICE_FD 12 0000:02:00.0\n"
                             "GET_INFO\n"
                             "mmap BAR 0x0+0x2000\n"
                             "SET_IRQS 0 trigger 0+1 e\n"
                             "SET_IRQS 0 unmask 0+1 e\n";
    static const char down[] = "SET_IRQS 0 trigger 0+0 \n"
                               "close device\n"
                               "GROUP_UNSET_CONTAINER 12\n"
                               "close container\n"
                               "KVM del\n"
                               "close group\n";
    g_autofree char *log = NULL;
    PCIDevice *dev;

    setup();
    dev = plug_group_ok("d0", sysfs);
    log = sim_take_log();
    g_assert_cmpstr(log, ==, up);

    device_destroy(DEVICE(dev));
    g_free(log);
    log = sim_take_log();
    g_assert_cmpstr(log, ==, down);
    end(NULL);
}

static void test_each_call_fails(void)
{
    unsigned nth = 1;

    for (;; nth++) {
        g_autoptr(GError) err = NULL;
        PCIDevice *dev;

        setup();
        sim_fail(nth);
        dev = plug_group("d0", sysfs, "", &err);
        if (dev && !sim_failed()) {
            sim_fail(0);
            end(dev);
            break;
        }
        if (dev) { /* a failure that is survived */
            end(dev);
            continue;
        }
        g_assert_true(sim_failed());
        g_test_message("%u: %s", nth, err->message);
        g_assert_nonnull(strstr(err->message, g_strerror(EIO)));
        g_assert_null(strchr(err->message, '\n'));
        g_assert_null(object_resolve("d0"));
        end(NULL);
    }
    g_assert_cmpuint(nth, >, 25);
}

/* The same for a second device, in the group and the container of the first, which stays as it is.
 * What a container refuses another one is asked for, so that such a failure is none. */
static void each_call_fails_beside(unsigned group)
{
    unsigned nth = 1;
    bool through = false;

    for (; !through; nth++) {
        g_autoptr(GError) err = NULL;
        PCIDevice *first, *second;

        setup_two(group);
        first = plug_group_ok("d0", sysfs);
        sim_fail(nth);
        second = plug_group("d1", sysfs2, "", &err);
        through = !sim_failed();
        sim_fail(0);
        if (second) {
            device_destroy(DEVICE(second));
        } else {
            g_test_message("%u: %s", nth, err->message);
            g_assert_nonnull(strstr(err->message, g_strerror(EIO)));
        }
        g_assert_cmpuint(sim_containers(), ==, 1);
        g_assert_cmpuint(sim_container(0)->len, ==, 3);
        device_destroy(DEVICE(first));
        end_two();
    }
    g_assert_cmpuint(nth, >, 20);
}

static void test_each_call_fails_beside(void)
{
    each_call_fails_beside(12);
    each_call_fails_beside(30);
}

/* ---- sharing ---- */

static void test_one_group(void)
{
    g_autofree char *up = NULL, *down = NULL;
    PCIDevice *first, *second;

    setup_two(12);
    first = plug_group_ok("d0", sysfs);
    second = plug_group_ok("d1", sysfs2);
    up = sim_take_log();
    g_assert_cmpuint(count(up, "open /dev/vfio/12"), ==, 1);
    g_assert_cmpuint(count(up, "SET_CONTAINER"), ==, 1);
    g_assert_cmpuint(count(up, "KVM add"), ==, 1);
    g_assert_cmpuint(count(up, "GET_DEVICE_FD"), ==, 2);
    g_assert_cmpuint(count(up, "MAP_DMA"), ==, 3);
    device_destroy(DEVICE(first));
    down = sim_take_log();
    g_assert_null(strstr(down, "UNSET"));
    g_assert_null(strstr(down, "close group"));
    g_assert_cmpuint(sim_container(0)->len, ==, 3);
    device_destroy(DEVICE(second));
    g_free(down);
    down = sim_take_log();
    g_assert_nonnull(strstr(down, "close device\nGROUP_UNSET_CONTAINER 12\nclose container\n"
                                  "KVM del\nclose group\n"));
    end_two();
}

static void two_groups(unsigned containers)
{
    g_autofree char *up = NULL, *down = NULL;
    PCIDevice *first, *second;

    first = plug_group_ok("d0", sysfs);
    second = plug_group_ok("d1", sysfs2);
    up = sim_take_log();
    g_assert_cmpuint(sim_containers(), ==, containers);
    g_assert_cmpuint(count(up, "SET_IOMMU"), ==, containers);
    g_assert_cmpuint(count(up, "KVM add"), ==, 2);
    for (unsigned i = 0; i < containers; i++) {
        g_assert_cmpuint(sim_container(i)->len, ==, 3);
    }
    device_destroy(DEVICE(first));
    down = sim_take_log();
    g_assert_nonnull(strstr(down, "close device\nGROUP_UNSET_CONTAINER 12\n"));
    g_assert_nonnull(strstr(down, "close group\n"));
    g_assert_cmpuint(count(down, "close container\n"), ==, containers - 1);
    g_assert_cmpuint(sim_container(0)->len, ==, 3);
    device_destroy(DEVICE(second));
}

static void test_query(void)
{
    PCIDevice *dev;
    JsonArray *list, *members;
    JsonObject *c;

    setup();
    dev = plug_group_ok("d0", sysfs);
    list = vfio_query();
    g_assert_cmpuint(json_array_get_length(list), ==, 1);
    c = json_array_get_object_element(list, 0);
    g_assert_cmpstr(json_object_get_string_member(c, "type"), ==, "type1");
    g_assert_cmpint(json_object_get_int_member(c, "groups"), ==, 1);
    g_assert_cmpint(json_object_get_int_member(c, "extents"), ==, 3);
    g_assert_cmpint(json_object_get_int_member(c, "dma-avail"), ==, 65532);
    g_assert_true(json_object_get_boolean_member(c, "dirty-tracking"));
    g_assert_cmpuint(json_array_get_length(json_object_get_array_member(c, "iova-ranges")), ==, 2);
    members = json_object_get_array_member(c, "devices");
    g_assert_cmpint(json_object_get_int_member(json_array_get_object_element(members, 0), "group"),
                    ==, 12);
    json_array_unref(list);
    end(dev);
}

static void test_two_groups(void)
{
    setup_two(30);
    two_groups(1);
    /* Where a container does not take the second group there is a second container. */
    sim_type1.groups_max = 1;
    two_groups(2);
    end_two();
}

static void test_both_interfaces(void)
{
    g_autoptr(GError) err = NULL;
    PCIDevice *first;

    setup_two(12);
    first = plug_group_ok("d0", sysfs);
    g_assert_null(plug_group("d1", sysfs, "", &err));
    g_assert_nonnull(strstr(err->message, "the device is attached already"));
    g_clear_error(&err);
    g_assert_null(plug_group("d1", sysfs2, ",iommufd=i0", &err));
    g_test_message("%s", err->message);
    g_assert_nonnull(strstr(err->message, "Device or resource busy; another process has it"));
    g_clear_error(&err);
    device_destroy(DEVICE(first));

    first = plug_ok("");
    g_assert_null(plug_group("d1", sysfs2, "", &err));
    g_test_message("%s", err->message);
    g_assert_nonnull(strstr(err->message, "cannot open /dev/vfio/12 (another process has the "
                                          "group, or a device of it through iommufd): Device"));
    device_destroy(DEVICE(first));
    end_two();
}

/* ---- memory ---- */

static bool maps(uint64_t iova, uint64_t length)
{
    const GArray *extents = sim_container(0);

    for (guint i = 0; i < extents->len; i++) {
        const SimExtent *e = &g_array_index(extents, SimExtent, i);

        if (e->iova == iova && e->length == length) {
            return true;
        }
    }
    return false;
}

/* The memory of devices is mapped by address; what goes is unmapped just as it was mapped. */
static void test_memory(void)
{
    PCIDevice *dev;

    setup();
    dev = plug_group_ok("d0", sysfs);
    map_bar0(dev);
    g_assert_true(maps(BAR0_AT, 0x2000));
    cfg_write(dev, PCI_COMMAND, 0, 2);
    g_assert_false(maps(BAR0_AT, 0x2000));
    g_assert_cmpuint(sim_container(0)->len, ==, 3);
    map_bar0(dev);
    end(dev);

    /* More mappings than the kernel takes: fatal for RAM, not for a BAR. */
    setup();
    sim_type1.dma_limit = 2;
    assert_group_fails("", "failed: No space left on device; the container has as many mappings as "
                           "the kernel allows (dma_entry_limit of the module vfio_iommu_type1)");
    sim_type1.dma_limit = 3;
    dev = plug_group_ok("d0", sysfs);
    map_bar0(dev);
    g_assert_true(bar0_mapped());
    g_assert_false(maps(BAR0_AT, 0x2000));
    cfg_write(dev, PCI_COMMAND, 0, 2);
    end(dev);
}

static void test_kernels(void)
{
    g_autofree char *log = NULL;
    PCIDevice *dev;

    setup();
    sim_type1.only_v1 = true;
    sim_type1.no_caps = true;
    dev = plug_group_ok("d0", sysfs);
    log = sim_take_log();
    g_assert_nonnull(strstr(log, "SET_IOMMU 3\nSET_IOMMU 1\nIOMMU_GET_INFO\nMAP_DMA"));
    end(dev);

    setup();
    sim_type1.nr_iovas = 0x10000001;
    assert_group_fails("", "268435457 ranges of addresses do not fit");
    end(NULL);
    setup();
    sim_type1.info_size = 1U << 30;
    assert_group_fails("", "VFIO_IOMMU_GET_INFO: the kernel's answer is 1073741824 bytes long");
    end(NULL);
    setup();
    sim_type1.version = 7;
    assert_group_fails("", "/dev/vfio/vfio speaks version 7, not 0");
    end(NULL);
}

/* ---- refusals ---- */

static void test_not_viable(void)
{
    g_autofree char *one = make_sysfs_device("0000:02:00.1", 9, 12);
    g_autofree char *two = make_sysfs_device("0000:02:00.2", 10, 12);
    g_autofree char *port = make_sysfs_device("0000:01:00.0", 11, 12);
    const struct {
        const char *device, *driver;
    } bound[] = {
        { one, "/sys/bus/pci/drivers/nvme" },
        { two, "/sys/bus/pci/drivers/e1000e" },
        { port, "/sys/bus/pci/drivers/pcieport" },
        { sysfs, "/sys/bus/pci/drivers/vfio-pci" },
    };
    g_autofree char *none = g_build_filename(sysfs, "driver", NULL);

    for (size_t i = 0; i < G_N_ELEMENTS(bound); i++) {
        g_autofree char *link = g_build_filename(bound[i].device, "driver", NULL);

        g_assert_cmpint(symlink(bound[i].driver, link), ==, 0);
    }
    setup();
    sim_type1.not_viable = true;
    assert_group_fails("", "vfio 0000:02:00.0: group 12 is not viable, please ensure all devices "
                           "within the iommu_group are bound to their vfio bus driver: "
                           "0000:02:00.1 has driver 'nvme', 0000:02:00.2 has driver 'e1000e'");
    end(NULL);
    g_remove(none);
}

static void test_refusals(void)
{
    g_autofree char *link = g_build_filename(sysfs, "iommu_group", NULL);
    g_autofree char *away = g_strconcat(link, "-away", NULL);
    g_autofree char *driver = g_build_filename(sysfs, "driver", NULL);
    int fd;

    setup();
    sim_type1.noiommu = true;
    assert_group_fails("", "the host has no IOMMU for it (/dev/vfio/noiommu-12)");
    sim_type1.noiommu = false;

    g_assert_cmpint(g_rename(link, away), ==, 0);
    assert_group_fails("", "no iommu_group found");
    g_assert_cmpint(symlink("/", link), ==, 0);
    assert_group_fails("", "which is no group's number");
    g_remove(link);
    g_assert_cmpint(g_rename(away, link), ==, 0);

    sim->group = 0; /* the node is not there */
    assert_group_fails("", "no host driver has the device; bind it");
    g_assert_cmpint(symlink("/sys/bus/pci/drivers/nvme", driver), ==, 0);
    assert_group_fails("", "host driver 'nvme' has the device");
    g_remove(driver);
    g_assert_cmpint(symlink("/sys/bus/pci/drivers/vfio-pci", driver), ==, 0);
    assert_group_fails("", "there is no /dev/vfio/12: the kernel needs CONFIG_VFIO_GROUP");
    g_remove(driver);
    sim->group = 12;

    sim->name = "0000:02:00.5"; /* in the group, but with no VFIO driver */
    assert_group_fails("", "no host driver has the device; bind it");
    sim->name = "0000:02:00.0";

    fd = hostcalls->open("/dev/vfio/12", O_RDWR);
    g_assert_cmpint(fd, >=, 0);
    {
        g_autoptr(GError) err = NULL;

        g_assert_null(plug_group("d0", sysfs, "", &err));
        g_assert_nonnull(strstr(err->message, "another process has the group"));
        g_assert_cmpuint(sim_open_things(), ==, 1);
    }
    hostcalls->close(fd);
    end(NULL);
}

/* ---- hot reset ---- */

/* Two functions in one slot, in one group or in two: the groups' descriptors go along, each once. */
static void hot_reset(unsigned group)
{
    SimSlot slot = { .devices = g_ptr_array_new() };
    g_autofree char *log = NULL;
    PCIDevice *first, *second;

    setup_two(group);
    sim->slot = sim2->slot = &slot;
    sim->flags = sim2->flags = VFIO_DEVICE_FLAGS_PCI;
    g_ptr_array_add(slot.devices, sim);
    g_ptr_array_add(slot.devices, sim2);
    first = plug_group_ok("d0", sysfs);
    g_free(sim_take_log());
    devices_reset();
    g_assert_cmpuint(sim->hot_resets, ==, group == 12); /* the other's group is not ours */
    second = plug_group_ok("d1", sysfs2);
    g_free(sim_take_log());
    cfg_write(first, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
    cfg_write(second, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
    devices_reset();
    log = sim_take_log();
    g_assert_cmpuint(count(log, "HOT_RESET\n"), ==, 1);
    g_assert_cmpuint(sim2->hot_resets, ==, 1 + (group == 12));
    device_destroy(DEVICE(first));
    device_destroy(DEVICE(second));
    g_ptr_array_unref(slot.devices);
    end_two();
}

static void test_hot_reset(void)
{
    hot_reset(12);
    hot_reset(30);
}

/* ---- tokens ---- */

static void test_token(void)
{
    static const struct {
        const char *needed, *given, *why;
    } cases[] = {
        { NULL, NULL, NULL },
        { TOKEN, TOKEN, NULL },
        { TOKEN, "01234567-89AB-CDEF-0123-456789ABCDEF", NULL },
        { TOKEN, NULL, "Permission denied; it needs vf-token=UUID" },
        { TOKEN, "11111111-89ab-cdef-0123-456789abcdef", "Permission denied; vf-token is not the" },
        { TOKEN, "auto", "Permission denied; vf-token is not the" },
        { NULL, TOKEN, "Invalid argument; perhaps it takes no vf-token" },
        { NULL, "12", "Property 'vfio-pci.vf-token' doesn't take value '12'" },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases) * 2; i++) {
        const char *given = cases[i / 2].given, *why = cases[i / 2].why;
        g_autofree char *more = g_strdup_printf("%s%s%s", i % 2 ? ",iommufd=i0" : "",
                                                given ? ",vf-token=" : "", given ?: "");

        setup();
        sim->token = cases[i / 2].needed;
        if (why) {
            assert_group_fails(more, why);
            end(NULL);
        } else {
            g_autoptr(GError) err = NULL;
            PCIDevice *dev = plug_group("d0", sysfs, more, &err);

            g_assert_no_error(err);
            end(dev);
        }
    }
}

static void add_tests(void)
{
    /* While the main loop runs memory is mapped before a device is there: so calls have an order. */
    system_shutdown_request(SHUTDOWN_CAUSE_HOST_QMP_QUIT);
    g_assert_cmpint(main_loop_run(), ==, 0);
    g_test_add_func("/vfio/group/order", test_order);
    g_test_add_func("/vfio/group/each-call-fails", test_each_call_fails);
    g_test_add_func("/vfio/group/each-call-fails-beside", test_each_call_fails_beside);
    g_test_add_func("/vfio/group/one-group", test_one_group);
    g_test_add_func("/vfio/group/two-groups", test_two_groups);
    g_test_add_func("/vfio/group/query", test_query);
    g_test_add_func("/vfio/group/both-interfaces", test_both_interfaces);
    g_test_add_func("/vfio/group/memory", test_memory);
    g_test_add_func("/vfio/group/kernels", test_kernels);
    g_test_add_func("/vfio/group/not-viable", test_not_viable);
    g_test_add_func("/vfio/group/refusals", test_refusals);
    g_test_add_func("/vfio/group/hot-reset", test_hot_reset);
    g_test_add_func("/vfio/group/token", test_token);
}

int main(int argc, char **argv)
{
    return vfio_test_run(argc, argv, add_tests);
}
