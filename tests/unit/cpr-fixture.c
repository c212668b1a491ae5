/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/unit/cpr-fixture.h"

#include <fcntl.h>
#include <poll.h>

#include "backends/hostmem.h"
#include "migration/vmstate.h"
#include "util/error.h"
#include "util/keyval.h"

#define MEMORY 65536 /* of m0 */

static const HostCalls *kernel;

void kernel_again(void)
{
    hostcalls = kernel;
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

bool add_iommufd(GError **errp)
{
    g_autoptr(JsonObject) opts = keyval_parse("iommufd,id=i0,map-wait=on", "qom-type", NULL, NULL);

    return by_group || user_object_add(opts, errp);
}

bool add_memory(GError **errp)
{
    g_autofree char *text = g_strdup_printf("memory-backend-memfd,id=m0,size=%d", MEMORY);
    g_autoptr(JsonObject) opts = keyval_parse(text, "qom-type", NULL, NULL);

    return user_object_add(opts, errp);
}

static void delete_objects(void)
{
    if (!by_group && object_resolve("i0")) {
        g_assert_true(user_object_del("i0", NULL));
    }
    if (object_resolve("m0")) {
        g_assert_true(user_object_del("m0", NULL));
    }
}

/* ---- the old process ---- */

void handover_save(Handover *h)
{
    g_autoptr(GArray) fds = g_array_new(FALSE, FALSE, sizeof(int));

    migration_parameters.mode = MIG_MODE_CPR_TRANSFER;
    h->memory = object_resolve("m0") != NULL;
    h->objects = g_byte_array_new();
    cpr_save(h->objects, fds);
    h->object_fds = copies_of(fds);
}

void handover_stop(Handover *h)
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
    *h = (Handover) { 0 };
}

void old_ends(PCIDevice *dev)
{
    cpr_give_away();
    device_destroy(DEVICE(dev));
    delete_objects();
    g_array_set_size(routes, 0);
}

void end_of_old(PCIDevice *dev)
{
    g_free(sim_take_log());
    old_ends(dev);
    assert_quiet(false);
    kernel_again();
}

/* ---- the new one ---- */

bool load(GByteArray *data, GArray *fds, GError **errp)
{
    return cpr_load(data->data, data->len, fds, errp);
}

bool take_memory(GError **errp)
{
    int fd = cpr_find_fd("memory-backend/ram", 0);
    bool there = fd >= 0 && cpr_find_bytes("memory-backend/ram/size", 0);

    host_fd_close(&fd);
    return there || error_set(errp, "the old process does not give the fixture's memory");
}

bool handover_make(Handover *h, const char *more, PCIDevice **dev, GError **errp)
{
    if (!load(h->objects, h->object_fds, errp) || !take_memory(errp) || !add_iommufd(errp)) {
        return false;
    }
    if (h->memory) {
        if (!add_memory(errp)) {
            return false;
        }
        memset(HOST_MEMORY_BACKEND(object_resolve("m0"))->block.host, 1, MEMORY);
    }
    *dev = plug(more, errp);
    if (!*dev || !cpr_check_all_taken(errp)) {
        return false;
    }
    DEVICE_GET_CLASS(*dev)->reset(DEVICE(*dev)); /* the machine's first */
    return true;
}

bool handover_take(Handover *h, GError **errp)
{
    return load(h->switchover, h->switchover_fds, errp) && cpr_adopt(errp) &&
           vmstate_load_all(h->states->data, h->states->len, true, errp) &&
           cpr_check_all_taken(errp);
}

PCIDevice *begin_new(Handover *h, const char *more)
{
    g_autoptr(GError) err = NULL;
    PCIDevice *dev = NULL;
    bool ok;

    g_free(sim_take_log());
    ok = handover_make(h, more, &dev, &err);
    g_assert_no_error(err);
    g_assert_true(ok);
    cfg_write(dev, PCI_BASE_ADDRESS_0, 0xd0000000, 4);
    cfg_write(dev, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
    assert_quiet(false);
    return dev;
}

void finish_new(Handover *h)
{
    g_autoptr(GError) err = NULL;
    bool ok = handover_take(h, &err);

    g_assert_no_error(err);
    g_assert_true(ok);
    assert_quiet(false);
    g_assert_cmpuint(bindings->len, ==, 0);
    cpr_finish();
    assert_quiet(true);
    g_assert_cmphex(pci_get_word(sim->config + PCI_COMMAND), ==,
                    PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
}

void new_closes(PCIDevice *dev)
{
    cpr_release();
    if (dev) {
        device_destroy(DEVICE(dev));
    }
    delete_objects();
}

void handover_end(Handover *h)
{
    kernel_again();
    handover_free(h);
    g_assert_true(add_iommufd(NULL));
    teardown(NULL);
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

void cpr_fixture_begin(void)
{
    kernel = hostcalls;
    all_memory_is_shared();
}
