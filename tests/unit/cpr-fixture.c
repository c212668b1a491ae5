/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/unit/cpr-fixture.h"

#include <fcntl.h>
#include <poll.h>

#include "backends/iommufd.h"
#include "migration/vmstate.h"
#include "util/error.h"
#include "util/keyval.h"

const HostCalls *kernel;

/* ---- the old process ---- */

GArray *copies_of(const GArray *fds)
{
    GArray *copies = g_array_new(FALSE, FALSE, sizeof(int));

    for (guint i = 0; i < fds->len; i++) {
        int copy = hostcalls->fcntl(g_array_index(fds, int, i), F_DUPFD_CLOEXEC, 0);

        g_assert_cmpint(copy, >=, 0);
        g_array_append_val(copies, copy);
    }
    return copies;
}

/* The part of guest memory that is no shared file's is no part of this. */
static void all_memory_is_shared(void)
{
    FlatView *view = address_space_view(&address_space_memory);
    const MemoryRange *r = flat_view_find(view, 2 * MiB);

    if (r) {
        memory_region_set_enabled((MemoryRegion *)r->mr, false);
    }
    flat_view_unref(view);
}

PCIDevice *guest_with_msix(unsigned vectors)
{
    PCIDevice *dev;

    setup();
    dev = plug_ok("");
    map_bar0(dev);
    for (unsigned i = 0; i < vectors; i++) {
        msix_entry(i, false);
    }
    cfg_write(dev, MSIX_CAP + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE, 2);
    g_assert_cmpuint(bindings->len, ==, vectors);
    return dev;
}

void save(Handover *h)
{
    g_autoptr(GArray) fds = g_array_new(FALSE, FALSE, sizeof(int));

    migration_parameters.mode = MIG_MODE_CPR_TRANSFER;
    h->objects = g_byte_array_new();
    cpr_save(h->objects, fds);
    h->object_fds = copies_of(fds);
}

void stop(Handover *h)
{
    g_autoptr(GArray) fds = g_array_new(FALSE, FALSE, sizeof(int));
    g_autoptr(GError) err = NULL;

    h->switchover = g_byte_array_new();
    h->states = g_byte_array_new();
    g_assert_true(cpr_stop(h->switchover, fds, &err));
    h->switchover_fds = copies_of(fds);
    g_assert_true(vmstate_save_all(h->states, &err));
}

void handover_free(Handover *h)
{
    GArray *fds[] = { h->object_fds, h->switchover_fds };

    for (size_t i = 0; i < G_N_ELEMENTS(fds); i++) {
        if (fds[i]) {
            cpr_close_fds(fds[i]);
            g_array_unref(fds[i]);
        }
    }
    g_clear_pointer(&h->objects, g_byte_array_unref);
    g_clear_pointer(&h->switchover, g_byte_array_unref);
    g_clear_pointer(&h->states, g_byte_array_unref);
}

/* Nothing that would disturb the device; after the VM is whole again: but what brings it back. */
void assert_quiet(bool whole)
{
    static const char *const back[] = { "MAP_FILE", "KVM add" };
    static const char *const disturbing[] = {
        "BIND",  "ATTACH", "DETACH",   "IOAS_ALLOC", "HWPT_ALLOC", "IOAS_MAP",
        "UNMAP", "RESET",  "SET_IRQS", "open",       "DESTROY",    "KVM",
    };
    g_autofree char *log = sim_take_log();
    g_auto(GStrv) lines = g_strsplit(log, "\n", -1);

    for (char **line = lines; *line; line++) {
        for (size_t i = 0; i < G_N_ELEMENTS(disturbing); i++) {
            if (strstr(*line, disturbing[i]) &&
                !(whole && (strstr(*line, back[0]) || strstr(*line, back[1])))) {
                g_error("asked the kernel for '%s'", *line);
            }
        }
    }
}

/* The old process ends: it only closes. */
void end_of_old(PCIDevice *dev)
{
    g_free(sim_take_log());
    cpr_give_away();
    device_destroy(DEVICE(dev));
    del_iommufd();
    assert_quiet(false);
    hostcalls = kernel;
}

/* ---- the new one ---- */

void add_iommufd(void)
{
    g_autoptr(JsonObject) opts = keyval_parse("iommufd,id=i0,map-wait=on", "qom-type", NULL, NULL);
    g_autoptr(GError) err = NULL;

    g_assert_true(by_group || user_object_add(opts, &err));
    g_assert_no_error(err);
}

void del_iommufd(void)
{
    g_assert_true(by_group || user_object_del("i0", NULL));
}

/* The fixture's memory stays where it is. */
void take_memory(void)
{
    int fd = cpr_find_fd("memory-backend/ram", 0);

    g_assert_cmpint(fd, >=, 0);
    hostcalls->close(fd);
    g_assert_nonnull(cpr_find_data("memory-backend/ram/size", 0, sizeof(uint64_t)));
}

bool load(GByteArray *data, GArray *fds, GError **errp)
{
    return cpr_load(data->data, data->len, fds, errp);
}

PCIDevice *begin_new(Handover *h, const char *more)
{
    g_autoptr(GError) err = NULL;
    PCIDevice *dev;

    g_free(sim_take_log());
    g_assert_true(load(h->objects, h->object_fds, &err));
    add_iommufd();
    take_memory();
    dev = plug(more, &err);
    g_assert_no_error(err);
    g_assert_true(cpr_check_all_taken(&err));
    g_assert_no_error(err);
    /* The machine's first reset, and the board's part of it. */
    DEVICE_GET_CLASS(dev)->reset(DEVICE(dev));
    cfg_write(dev, PCI_BASE_ADDRESS_0, 0xd0000000, 4);
    cfg_write(dev, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
    assert_quiet(false);
    return dev;
}

void finish_new(Handover *h)
{
    g_autoptr(GError) err = NULL;
    bool ok;

    g_assert_true(load(h->switchover, h->switchover_fds, &err));
    ok = cpr_adopt(&err) && vmstate_load_all(h->states->data, h->states->len, true, &err);
    g_assert_no_error(err);
    g_assert_true(ok);
    g_assert_true(cpr_check_all_taken(&err));
    g_assert_no_error(err);
    assert_quiet(false);
    g_assert_cmpuint(bindings->len, ==, 0);
    cpr_finish();
    assert_quiet(true);
    g_assert_cmphex(pci_get_word(sim->config + PCI_COMMAND), ==,
                    PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
}

unsigned p2p_extents(void)
{
    const GArray *extents = by_group ? sim_container(0) : sim_ioas(1);
    unsigned n = 0;

    for (guint i = 0; extents && i < extents->len; i++) {
        const SimExtent *e = &g_array_index(extents, SimExtent, i);

        n += by_group ? e->iova >= BAR0_AT : e->peer && !e->dead;
    }
    return n;
}

bool is_signalled(int fd)
{
    struct pollfd p = { fd, POLLIN, 0 };

    return poll(&p, 1, 0) == 1;
}

/* ---- both interfaces ---- */

static void run(gconstpointer fn)
{
    ((void (*)(void))fn)();
    by_group = false;
}

static void run_by_group(gconstpointer fn)
{
    by_group = true;
    run(fn);
}

void cpr_test_add(const char *name, void (*fn)(void))
{
    g_autofree char *cdev = g_strdup_printf("/cpr/iommufd/%s", name);
    g_autofree char *group = g_strdup_printf("/cpr/group/%s", name);

    g_test_add_data_func(cdev, (gconstpointer)fn, run);
    g_test_add_data_func(group, (gconstpointer)fn, run_by_group);
}

void cpr_fixture_begin(void)
{
    kernel = hostcalls;
    all_memory_is_shared();
}
