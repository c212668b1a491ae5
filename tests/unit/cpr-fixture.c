/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/unit/cpr-fixture.h"

#include <fcntl.h>
#include <string.h>

#include "backends/hostmem.h"
#include "migration/vmstate.h"
#include "util/error.h"
#include "util/keyval.h"

#define MEMORY 65536 /* of a backend besides the fixture's */

static const HostCalls *kernel;

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

void kernel_again(void)
{
    hostcalls = kernel;
}

bool add_iommufd(GError **errp)
{
    g_autoptr(JsonObject) opts = keyval_parse("iommufd,id=i0,map-wait=on", "qom-type", NULL, NULL);

    return user_object_add(opts, errp);
}

bool add_memory(GError **errp)
{
    g_autofree char *text = g_strdup_printf("memory-backend-memfd,id=m0,size=%d", MEMORY);
    g_autoptr(JsonObject) opts = keyval_parse(text, "qom-type", NULL, NULL);

    return user_object_add(opts, errp);
}

void delete_memory(void)
{
    if (object_resolve("m0")) {
        g_assert_true(user_object_del("m0", NULL));
    }
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

void handover_save(Handover *h)
{
    g_autoptr(GArray) fds = g_array_new(FALSE, FALSE, sizeof(int));

    migration_parameters.mode = MIG_MODE_CPR_TRANSFER;
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

void old_ends(PCIDevice *dev)
{
    cpr_give_away();
    device_destroy(DEVICE(dev));
    g_assert_true(user_object_del("i0", NULL));
    g_array_set_size(routes, 0);
}

/* The fixture's memory stays where it is. */
static void take_ram(void)
{
    int fd = cpr_find_fd("memory-backend/ram", 0);

    cpr_find_bytes("memory-backend/ram/size", 0);
    host_fd_close(&fd);
}

bool handover_make(Handover *h, PCIDevice **dev, GError **errp)
{
    if (!cpr_load(h->objects->data, h->objects->len, h->object_fds, errp)) {
        return false;
    }
    take_ram();
    if (!add_iommufd(errp) || !add_memory(errp)) {
        return false;
    }
    memset(HOST_MEMORY_BACKEND(object_resolve("m0"))->block.host, 1, MEMORY);
    *dev = plug("", errp);
    if (!*dev || !cpr_check_all_taken(errp)) {
        return false;
    }
    DEVICE_GET_CLASS(*dev)->reset(DEVICE(*dev));
    return true;
}

bool handover_take(Handover *h, GError **errp)
{
    return cpr_load(h->switchover->data, h->switchover->len, h->switchover_fds, errp) &&
           cpr_adopt(errp) && vmstate_load_all(h->states->data, h->states->len, true, errp) &&
           cpr_check_all_taken(errp);
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

void new_closes(PCIDevice *dev)
{
    cpr_release();
    if (dev) {
        device_destroy(DEVICE(dev));
    }
    if (object_resolve("i0")) {
        g_assert_true(user_object_del("i0", NULL));
    }
}

void handover_end(Handover *h)
{
    kernel_again();
    handover_free(h);
    g_assert_true(add_iommufd(NULL));
    g_assert_cmpuint(sim_open_things(), ==, 0);
    sim_device_free(sim);
}

unsigned p2p_extents(void)
{
    const GArray *extents = sim_ioas(1);
    unsigned n = 0;

    for (guint i = 0; extents && i < extents->len; i++) {
        const SimExtent *e = &g_array_index(extents, SimExtent, i);

        n += e->peer && !e->dead;
    }
    return n;
}
