/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which devices of an iommufd object share a domain, and in which order all goes. */
#include <string.h>

#include "hw/vfio/vfio.h"
#include "tests/unit/vfio-fixture.h"
#include "util/keyval.h"
#include "util/linux-iommufd.h"

/* The calls to do with domains since the last time, in one line. */
static char *domain_calls(void)
{
    static const char *const wanted[] = { "IOMMU_HWPT_ALLOC", "ATTACH",      "DETACH",
                                          "IOMMU_DESTROY",    "close iommu", "IOMMU_IOAS_ALLOC",
                                          "IOMMU_IOAS_UNMAP", "close device" };
    g_autofree char *log = sim_take_log();
    g_auto(GStrv) lines = g_strsplit(log, "\n", -1);
    GString *text = g_string_new(NULL);

    for (char **line = lines; *line; line++) {
        for (size_t i = 0; i < G_N_ELEMENTS(wanted); i++) {
            if (g_str_has_prefix(*line, wanted[i])) {
                g_string_append_printf(text, "%s%s", text->len ? "; " : "", *line);
            }
        }
    }
    return g_string_free(text, FALSE);
}

static void assert_calls(const char *calls)
{
    g_autofree char *got = domain_calls();

    g_assert_cmpstr(got, ==, calls);
}

static void test_shared(void)
{
    setup_three();
    for (unsigned i = 0; i < 3; i++) {
        g_assert_true(plug_nth(i, NULL));
    }
    assert_calls("IOMMU_IOAS_ALLOC = 1; IOMMU_HWPT_ALLOC 2 1 flags 0 = 3; ATTACH 3; ATTACH 3; "
                 "ATTACH 3");
    unplug_nth(1);
    unplug_nth(0);
    assert_calls("DETACH; close device; DETACH; close device");
    unplug_nth(2);
    assert_calls("DETACH; IOMMU_DESTROY 3; IOMMU_IOAS_UNMAP 1 0x200000+0x100000; "
                 "IOMMU_IOAS_UNMAP 1 0x100000+0x100000; IOMMU_IOAS_UNMAP 1 0x0+0xa0000; "
                 "IOMMU_DESTROY 1; close iommu; close device");
    teardown_three();
}

static gint64 member(JsonObject *o, const char *name)
{
    g_assert_true(json_object_has_member(o, name));
    return json_object_get_int_member(o, name);
}

static void test_query(void)
{
    g_autoptr(JsonArray) list = NULL;
    JsonObject *c, *o;

    setup_three();
    sims[1]->iommu = 1;
    sims[1]->dirty_tracking = true;
    g_assert_true(plug_nth(0, NULL));
    g_assert_true(plug_nth(1, NULL));
    list = vfio_query();
    g_assert_cmpuint(json_array_get_length(list), ==, 1);
    c = json_array_get_object_element(list, 0);
    g_assert_cmpstr(json_object_get_string_member(c, "name"), ==, "i0");
    g_assert_cmpint(member(c, "extents"), ==, 3);
    g_assert_cmpint(member(c, "size"), ==, 2 * MiB + 0xa0000);
    g_assert_cmpint(member(c, "mapped"), ==, 2 * MiB + 0xa0000);
    g_assert_cmpuint(json_array_get_length(json_object_get_array_member(c, "iova-ranges")), ==, 2);
    o = json_array_get_object_element(json_object_get_array_member(c, "domains"), 1);
    g_assert_cmpint(member(o, "hwpt-id"), ==, 5);
    g_assert_true(json_object_get_boolean_member(o, "dirty-tracking"));
    o = json_array_get_object_element(json_object_get_array_member(c, "devices"), 1);
    g_assert_cmpint(member(o, "hwpt-id"), ==, 5);
    g_assert_cmpstr(json_object_get_string_member(o, "name"), ==, "0000:03:00.0");
    g_assert_cmpstr(json_object_get_string_member(o, "dirty-tracking"), ==, "iommu");
    o = json_array_get_object_element(json_object_get_array_member(c, "devices"), 0);
    g_assert_cmpstr(json_object_get_string_member(o, "dirty-tracking"), ==, "none");
    unplug_nth(0);
    unplug_nth(1);
    teardown_three();
}

/* The second device's IOMMU is another; the third finds the one that fits. */
static void test_refused(void)
{
    setup_three();
    sims[1]->iommu = sims[2]->iommu = 1;
    for (unsigned i = 0; i < 3; i++) {
        g_assert_true(plug_nth(i, NULL));
    }
    assert_calls("IOMMU_IOAS_ALLOC = 1; IOMMU_HWPT_ALLOC 2 1 flags 0 = 3; ATTACH 3; ATTACH 3; "
                 "IOMMU_HWPT_ALLOC 4 1 flags 0 = 5; ATTACH 5; ATTACH 3; ATTACH 5");
    for (unsigned i = 0; i < 3; i++) {
        unplug_nth(i);
    }
    teardown_three();
}

/* One whose IOMMU tracks what it writes goes where that is done, even if it fits elsewhere. */
static void test_mixed(void)
{
    setup_three();
    sims[1]->iommu = sims[2]->iommu = 1;
    sims[1]->dirty_tracking = sims[2]->dirty_tracking = true;
    for (unsigned i = 0; i < 3; i++) {
        g_assert_true(plug_nth(i, NULL));
    }
    assert_calls("IOMMU_IOAS_ALLOC = 1; IOMMU_HWPT_ALLOC 2 1 flags 0 = 3; ATTACH 3; "
                 "IOMMU_HWPT_ALLOC 4 1 flags 2 = 5; ATTACH 5; ATTACH 5");
    unplug_nth(1);
    unplug_nth(2);
    assert_calls("DETACH; close device; DETACH; IOMMU_DESTROY 5; close device");
    unplug_nth(0);
    teardown_three();
}

static void test_mdev(void)
{
    setup_three();
    sims[0]->mdev = true;
    g_assert_true(plug_nth(0, NULL));
    g_assert_true(plug_nth(1, NULL));
    unplug_nth(0);
    unplug_nth(1);
    assert_calls("IOMMU_IOAS_ALLOC = 1; ATTACH 1; IOMMU_HWPT_ALLOC 3 1 flags 0 = 4; ATTACH 4; "
                 "DETACH; close device; DETACH; IOMMU_DESTROY 4; "
                 "IOMMU_IOAS_UNMAP 1 0x200000+0x100000; IOMMU_IOAS_UNMAP 1 0x100000+0x100000; "
                 "IOMMU_IOAS_UNMAP 1 0x0+0xa0000; IOMMU_DESTROY 1; close iommu; close device");
    teardown_three();
}

/* Linux 6.6 has no domains to ask for, and none before 6.13 maps files. */
static void test_old_kernels(void)
{
    static const unsigned long lacks[] = { IOMMU_HWPT_ALLOC, IOMMU_IOAS_MAP_FILE };

    for (size_t i = 0; i < G_N_ELEMENTS(lacks); i++) {
        g_autoptr(JsonObject) opts = keyval_parse("iommufd,id=i1", "qom-type", NULL, NULL);
        g_autofree char *log = NULL;
        GError *err = NULL;
        PCIDevice *dev;

        sim_iommu_lacks(lacks[i]);
        g_assert_true(user_object_add(opts, NULL));
        setup();
        dev = plug(",iommufd=i1", &err);
        g_assert_no_error(err);
        cfg_write(dev, PCI_COMMAND, PCI_COMMAND_MASTER, 2); /* waits for the mapping */
        log = sim_take_log();
        g_assert_nonnull(strstr(log, i ? "ATTACH 3" : "ATTACH 1"));
        g_assert_nonnull(strstr(log, "0x0+0xa0000"));
        g_assert_true(!strstr(log, "MAP_FILE") == !!i);
        teardown(dev);
        g_assert_true(user_object_del("i1", NULL));
        sim_iommu_lacks(0);
    }
}

static void test_properties(void)
{
    g_autoptr(JsonObject) opts = keyval_parse("iommufd,id=i1", "qom-type", NULL, NULL);
    g_autoptr(JsonNode) node = NULL;

    sim_iommu_lacks(IOMMU_HWPT_ALLOC);
    g_assert_true(user_object_add(opts, NULL));
    node = object_get(object_resolve("i1"), "x-missing", NULL);
    g_assert_nonnull(strstr(json_node_get_string(node), "IOMMU_HWPT_ALLOC"));
    g_assert_null(strstr(json_node_get_string(node), "IOMMU_IOAS_MAP_FILE"));
    g_assert_true(user_object_del("i1", NULL));
    sim_iommu_lacks(0);
}

/* Whatever call fails, the error comes out and nothing is left, for the second device too. */
static void test_each_call_fails(void)
{
    unsigned n = 0;

    setup_three();
    sims[1]->iommu = 1;
    g_assert_true(plug_nth(0, NULL));
    do {
        g_autoptr(GError) err = NULL;
        unsigned before = sim_open_things();

        sim_fail(++n);
        if (plug_nth(1, &err)) {
            unplug_nth(1);
        } else {
            g_assert_nonnull(err);
            g_assert_cmpuint(sim_open_things(), ==, before);
        }
    } while (sim_failed());
    sim_fail(0);
    g_test_message("%u calls", n - 1);
    g_assert_cmpuint(n, >, 8);
    unplug_nth(0);
    teardown_three();
}

static void add_tests(void)
{
    g_test_add_func("/vfio/domains/shared", test_shared);
    g_test_add_func("/vfio/domains/refused", test_refused);
    g_test_add_func("/vfio/domains/mixed", test_mixed);
    g_test_add_func("/vfio/domains/query", test_query);
    g_test_add_func("/vfio/domains/mdev", test_mdev);
    g_test_add_func("/vfio/domains/old-kernels", test_old_kernels);
    g_test_add_func("/vfio/domains/properties", test_properties);
    g_test_add_func("/vfio/domains/each-call-fails", test_each_call_fails);
}

int main(int argc, char **argv)
{
    return vfio_test_run(argc, argv, add_tests);
}
