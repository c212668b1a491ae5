/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Live update of groups and type1 containers: what is theirs alone. */
#include "tests/unit/cpr-fixture.h"

#include <glib/gstdio.h>
#include <unistd.h>

#include "hw/vfio/container.h"
#include "migration/vmstate.h"
#include "util/error.h"
#include "util/keyval.h"

static Machine machine = { .aux_ram_share = true };

static SimExtent *extent(unsigned i)
{
    return &g_array_index((GArray *)sim_container(0), SimExtent, i);
}

/* Where this process has it, or 0: nobody has. */
static uint64_t owner_of_extent(const SimExtent *e)
{
    FlatView *view = address_space_view(&address_space_memory);
    const MemoryRange *r = flat_view_find(view, e->iova);
    uint64_t ours = r ? (uintptr_t)memory_range_host(r) + (e->iova - r->addr) : 0;

    flat_view_unref(view);
    return !e->invalid && ours == e->start ? ours : 0;
}

static void assert_ours(void)
{
    for (guint i = 0; i < sim_container(0)->len; i++) {
        g_assert_cmphex(owner_of_extent(extent(i)), !=, 0);
    }
}

static void assert_invalid(void)
{
    for (guint i = 0; i < sim_container(0)->len; i++) {
        g_assert_true(extent(i)->invalid);
    }
}

/* As if the other process had other addresses. */
static void forget_addresses(void)
{
    for (guint i = 0; i < sim_container(0)->len; i++) {
        extent(i)->start = 0x1000;
    }
}

static PCIDevice *handed_over(Handover *h)
{
    PCIDevice *dev = plug_with_msix(1);

    handover_save(h);
    handover_stop(h);
    forget_addresses();
    end_of_old(dev);
    return dev;
}

static void assert_no_containers(void)
{
    g_assert_cmpuint(sim_containers(), ==, 0);
    sim_type1 = (SimType1) { 0 };
}

static void end(PCIDevice *dev, Handover *h)
{
    if (h) {
        handover_free(h);
    }
    teardown(dev);
    assert_no_containers();
}

/* The new process did not come to be. */
static void end_new(Handover *h)
{
    new_closes(NULL);
    handover_end(h);
    assert_no_containers();
}

/* ---- addresses ---- */

static void test_addresses(void)
{
    Handover h = { 0 };
    PCIDevice *dev;
    guint n;

    handed_over(&h);
    n = sim_container(0)->len;
    g_assert_cmpuint(n, ==, 2 + p2p_extents());
    assert_invalid();
    dev = begin_new(&h, "");
    assert_invalid();
    finish_new(&h);
    g_assert_cmpuint(sim_container(0)->len, ==, n);
    assert_ours();

    /* It can be handed over once more. */
    handover_free(&h);
    handover_save(&h);
    handover_stop(&h);
    assert_invalid();
    cpr_undo();
    assert_ours();
    end(dev, &h);
}

/* The other process has taken some when this one takes all back. */
static void test_take_back(void)
{
    PCIDevice *dev = plug_with_msix(1);
    guint n = sim_container(0)->len;

    for (guint taken = 0; taken <= n; taken++) {
        g_autofree char *log = NULL;
        Handover h = { 0 };

        handover_save(&h);
        handover_stop(&h);
        forget_addresses();
        for (guint i = 0; i < taken; i++) {
            GArray *fds = h.object_fds;
            struct vfio_iommu_type1_dma_map map = {
                .argsz = sizeof(map),
                .flags = VFIO_DMA_MAP_FLAG_VADDR,
                .vaddr = 0x2000,
                .iova = extent(i)->iova,
                .size = extent(i)->length,
            };

            for (guint j = 0; extent(i)->invalid && j < fds->len; j++) {
                hostcalls->ioctl(g_array_index(fds, int, j), VFIO_IOMMU_MAP_DMA, &map);
            }
            g_assert_false(extent(i)->invalid);
        }
        g_free(sim_take_log());
        cpr_undo();
        log = sim_take_log();
        g_assert_null(strstr(log, "UNMAP"));
        g_assert_null(strstr(log, "MAP_DMA"));
        assert_ours();
        g_assert_cmpuint(bindings->len, ==, 1);
        handover_free(&h);
    }
    end(dev, NULL);
}

/* The mapper maps large extents in parts if memory has small pages. */
static void test_parts(void)
{
    PCIDevice *dev = plug_with_msix(1);
    VFIOContainer *c = vfio_containers->pdata[0];
    const uint64_t at = MiB, part = 0x60000;
    VFIOExtent *e = g_hash_table_lookup(c->extents, &at);
    char *host = (char *)e->block->host + e->offset;
    Handover h = { 0 };

    g_assert_true(c->ops->unmap(c, at, MiB, NULL));
    for (uint64_t done = 0; done < MiB; done += part) {
        g_assert_true(
            c->ops->map(c, at + done, MIN(part, MiB - done), host + done, -1, 0, false, NULL));
    }
    e->part = part;
    g_assert_cmpuint(sim_container(0)->len, ==, 4 + p2p_extents());
    for (unsigned i = 0; i < 2; i++) {
        handover_save(&h);
        handover_stop(&h);
        assert_invalid();
        forget_addresses();
        if (!i) {
            cpr_undo();
            assert_ours();
            handover_free(&h);
        }
    }
    end_of_old(dev);
    dev = begin_new(&h, "");
    finish_new(&h);
    assert_ours();
    end(dev, &h);
}

/* What could not be taken back is the next time, or CPR fails without a change. */
static void test_take_back_fails(void)
{
    PCIDevice *dev = plug_with_msix(1);
    bool failed = true;

    for (unsigned n = 1; failed; n++) {
        g_autoptr(GByteArray) data = g_byte_array_new();
        g_autoptr(GArray) fds = g_array_new(FALSE, FALSE, sizeof(int));

        for (unsigned i = 0; i < 2; i++) {
            Handover h = { 0 };

            handover_save(&h);
            if (i) {
                handover_stop(&h);
                cpr_undo();
                assert_ours();
            } else {
                sim_fail(n);
                cpr_stop(data, fds, NULL);
                cpr_undo();
                failed = sim_failed();
                sim_fail(0);
            }
            handover_free(&h);
        }
    }
    end(dev, NULL);
}

/* The memory of devices that the new process does not have is not left mapped. */
static void test_no_mmap(void)
{
    Handover h = { 0 };
    PCIDevice *dev;

    handed_over(&h);
    g_assert_cmpuint(p2p_extents(), >, 0);
    dev = begin_new(&h, ",x-no-mmap=on");
    g_assert_true(load(h.switchover, h.switchover_fds, NULL));
    g_assert_true(cpr_adopt(NULL));
    g_assert_cmpuint(p2p_extents(), >, 0);
    cpr_finish();
    g_assert_cmpuint(p2p_extents(), ==, 0);
    assert_ours();
    end(dev, &h);
}

/* Of the memory of devices one that fails is mapped anew. */
static void test_peer_fails(void)
{
    bool failed = true;

    for (unsigned n = 1; failed; n++) {
        Handover h = { 0 };
        PCIDevice *dev;
        unsigned peers;

        handed_over(&h);
        peers = p2p_extents();
        dev = begin_new(&h, "");
        g_assert_true(load(h.switchover, h.switchover_fds, NULL));
        g_assert_true(cpr_adopt(NULL));
        g_assert_true(vmstate_load_all(h.states->data, h.states->len, true, NULL));
        sim_fail(n);
        cpr_finish();
        failed = sim_failed();
        sim_fail(0);
        assert_ours();
        g_assert_true(failed || p2p_extents() == peers);
        g_free(sim_take_log());
        end(dev, &h);
    }
}

/* The new process's limit is too low, say: it says so, and the old one has all again. */
static void test_adopt_fails(void)
{
    bool failed = true;

    for (unsigned n = 1; failed; n++) {
        g_autoptr(GError) err = NULL;
        Handover h = { 0 };
        bool ok;

        handed_over(&h);
        begin_new(&h, "");
        g_assert_true(load(h.switchover, h.switchover_fds, NULL));
        sim_fail(n);
        ok = cpr_adopt(&err);
        failed = sim_failed();
        sim_fail(0);
        g_assert_cmpint(ok, ==, !failed);
        if (failed) {
            g_test_message("%s", err->message);
            g_assert_nonnull(strstr(err->message, "/dev/vfio/vfio: VFIO_IOMMU_MAP_DMA (VFIO_DMA_MAP"
                                                  "_FLAG_VADDR, iova 0x"));
        }
        new_closes(PCI_DEVICE(object_resolve("d0")));
        assert_quiet(false);
        end_new(&h);
    }
}

/* ---- what cannot be ---- */

static void assert_blocked(const char *why)
{
    g_autoptr(JsonArray) reasons = json_array_new();
    g_autoptr(GError) err = NULL;

    migration_parameters.mode = MIG_MODE_CPR_TRANSFER;
    current_machine = &machine;
    g_assert_false(cpr_check(&err));
    g_test_message("%s", err->message);
    g_assert_nonnull(strstr(err->message, why));
    cpr_blockers(MIG_MODE_CPR_EXEC, reasons);
    g_assert_cmpuint(json_array_get_length(reasons), ==, 1);
    g_assert_cmpstr(json_array_get_string_element(reasons, 0), ==, err->message);
    cpr_blockers(MIG_MODE_NORMAL, reasons);
    g_assert_cmpuint(json_array_get_length(reasons), ==, 1);
    current_machine = NULL;
}

static void test_blockers(void)
{
    g_autofree char *type = g_build_filename(sysfs, "mdev_type", NULL);
    PCIDevice *dev = plug_with_msix(1);

    sim_type1.no_update_vaddr = true;
    assert_blocked("/dev/vfio/vfio: the kernel does not let CPR");
    sim_type1.no_update_vaddr = false;
    sim->mdev = true;
    g_assert_cmpint(g_mkdir(type, 0700), ==, 0);
    assert_blocked("vfio 0000:02:00.0: CPR does not hand over a mediated device");
    sim->mdev = false;
    g_rmdir(type);
    current_machine = &machine;
    g_assert_true(cpr_check(NULL));
    current_machine = NULL;
    end(dev, NULL);
}

/* What comes from the old process is looked at. */
static void assert_refused(Handover *h, const char *more, const char *why)
{
    g_autoptr(GError) err = NULL;

    g_assert_true(take_memory(NULL));
    g_free(sim_take_log());
    g_assert_null(plug(more, &err));
    g_test_message("%s", err->message);
    g_assert_nonnull(strstr(err->message, why));
    g_assert_null(strchr(err->message, '\n'));
    assert_quiet(false);
    end_new(h);
}

static void test_misfits(void)
{
    static const struct {
        const char *lost, *why;
    } misfits[] = {
        { "vfio/d0", "the old process has no such device" },
        { "vfio/d0/ids", "does not say what it is bound to" },
        { "vfio/d0/place", "has something by that name" },
        { "group/12/container", "does not say which container" },
        { "type1/0", "does not give the container of group 12" },
        { NULL, "for the container of group 12 is none that can be handed over" },
        { "container//dev/vfio/vfio/extents", "has something else mapped there, or nothing" },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(misfits); i++) {
        Handover h = { 0 };

        handed_over(&h);
        g_assert_true(load(h.objects, h.object_fds, NULL));
        sim_type1.no_update_vaddr = !misfits[i].lost;
        cpr_delete_fd(misfits[i].lost ?: "nothing", 0);
        assert_refused(&h, "", misfits[i].why);
    }
}

/* With iommufd there, and without it here. */
static void test_interfaces(void)
{
    Handover h = { 0 };
    PCIDevice *dev;

    by_group = false;
    dev = plug_with_msix(1);
    handover_save(&h);
    handover_stop(&h);
    g_free(sim_take_log());
    cpr_give_away();
    device_destroy(DEVICE(dev));
    kernel_again();
    g_array_set_size(routes, 0);
    by_group = true;
    g_assert_true(load(h.objects, h.object_fds, NULL));
    assert_refused(&h, "", "the old process has it with iommufd=");
}

/* The group's descriptor is another group's, or of one that is in no container. */
static void test_wrong_group(void)
{
    g_autofree char *chars = g_dir_make_tmp("viaduct-cpr-XXXXXX", NULL);
    g_autofree char *link = g_build_filename(chars, "0:12", NULL);
    const char *usual = vfio_sysfs_dev_char;

    vfio_sysfs_dev_char = chars;
    for (unsigned i = 0; i < 2; i++) {
        g_autofree char *target = g_build_filename(chars, i ? "12" : "13", NULL);
        Handover h = { 0 };

        g_assert_cmpint(g_mkdir(target, 0700), ==, 0);
        g_assert_cmpint(symlink(target, link), ==, 0);
        handed_over(&h);
        g_assert_true(load(h.objects, h.object_fds, NULL));
        if (i) {
            g_autoptr(GError) err = NULL;

            g_assert_true(take_memory(NULL));
            g_assert_nonnull(plug("", &err));
            new_closes(PCI_DEVICE(object_resolve("d0")));
            end_new(&h);
        } else {
            assert_refused(&h, "", "group 12: it is no descriptor of that group");
        }
        g_unlink(link);
        g_rmdir(target);
    }
    vfio_sysfs_dev_char = usual;
    g_rmdir(chars);
}

/* ---- more than one ---- */

static PCIDevice *plug_by(const char *text)
{
    g_autoptr(JsonObject) opts = keyval_parse(text, "driver", NULL, NULL);
    g_autoptr(GError) err = NULL;

    device_add(opts, false, &err);
    g_assert_no_error(err);
    return PCI_DEVICE(object_resolve(json_object_get_string_member(opts, "id")));
}

static void make_two(const char *second, PCIDevice *both[2])
{
    g_autofree char *first = g_strdup_printf("vfio-pci,id=d0,sysfsdev=%s", sysfs);

    both[0] = plug_by(first);
    both[1] = plug_by(second);
}

/* Two devices: of one group, of two in one container, of two containers. */
static void two(unsigned group, unsigned groups_max)
{
    g_autofree char *place = make_sysfs_device("0000:05:00.0", 20, group);
    g_autofree char *second = g_strdup_printf("vfio-pci,id=d1,sysfsdev=%s", place);
    g_autofree char *link = g_build_filename(place, "iommu_group", NULL);
    g_autofree char *member = g_build_filename(link, "devices", "0000:05:00.0", NULL);
    unsigned containers = groups_max == 1 ? 2 : 1;
    g_autoptr(GError) err = NULL;
    SimDevice *other;
    PCIDevice *both[2];
    Handover h = { 0 };
    bool ok;

    setup();
    sim_type1.groups_max = groups_max;
    other = sim_twin("0000:05:00.0", group);
    make_two(second, both);
    g_assert_cmpuint(sim_containers(), ==, containers);
    handover_save(&h);
    handover_stop(&h);
    g_free(sim_take_log());
    cpr_give_away();
    device_destroy(DEVICE(both[0]));
    device_destroy(DEVICE(both[1]));
    assert_quiet(false);
    kernel_again();

    g_assert_true(load(h.objects, h.object_fds, NULL));
    g_assert_true(take_memory(NULL));
    make_two(second, both);
    g_assert_true(cpr_check_all_taken(&err));
    g_assert_true(load(h.switchover, h.switchover_fds, NULL));
    ok = cpr_adopt(&err);
    g_assert_no_error(err);
    g_assert_true(ok);
    assert_quiet(false);
    cpr_finish();
    assert_quiet(true);
    g_assert_cmpuint(sim_containers(), ==, containers);
    for (unsigned i = 0; i < containers; i++) {
        const GArray *extents = sim_container(i);

        g_assert_cmpuint(extents->len, ==, 2);
        for (guint j = 0; j < extents->len; j++) {
            g_assert_cmphex(owner_of_extent(&g_array_index(extents, SimExtent, j)), !=, 0);
        }
    }
    device_destroy(DEVICE(both[1]));
    handover_free(&h);
    sim_device_free(other);
    g_unlink(member);
    g_unlink(link);
    end(both[0], NULL);
}

static void test_two(void)
{
    two(12, 0);
    two(31, 0);
    two(32, 1);
}

static void add(void)
{
    static const struct {
        const char *name;
        void (*fn)(void);
    } tests[] = {
        { "/cpr-group/blockers", test_blockers },
        { "/cpr-group/addresses", test_addresses },
        { "/cpr-group/take-back", test_take_back },
        { "/cpr-group/parts", test_parts },
        { "/cpr-group/take-back-fails", test_take_back_fails },
        { "/cpr-group/no-mmap", test_no_mmap },
        { "/cpr-group/peer-fails", test_peer_fails },
        { "/cpr-group/adopt-fails", test_adopt_fails },
        { "/cpr-group/misfits", test_misfits },
        { "/cpr-group/interfaces", test_interfaces },
        { "/cpr-group/wrong-group", test_wrong_group },
        { "/cpr-group/two", test_two },
    };

    cpr_fixture_begin();
    by_group = true;
    for (size_t i = 0; i < G_N_ELEMENTS(tests); i++) {
        g_test_add_func(tests[i].name, tests[i].fn);
    }
}

int main(int argc, char **argv)
{
    return vfio_test_run(argc, argv, add);
}
