/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The states of VFIO devices that are migrated: ways and failures, several devices, blockers, events. */
#include <errno.h>
#include <string.h>

#include "core/event.h"
#include "core/lock.h"
#include "core/runstate.h"
#include "hw/vfio/container.h"
#include "hw/vfio/pci.h"
#include "tests/unit/migration-fixture.h"
#include "tests/unit/vfio-fixture.h"
#include "util/error.h"

#define STOP_COPY VFIO_MIGRATION_STOP_COPY
#define P2P       VFIO_MIGRATION_P2P
#define PRE       VFIO_MIGRATION_PRE_COPY
#define ALL       (STOP_COPY | P2P | PRE)

static GString *events;

static void note_event(const char *name, JsonObject *data, void *opaque)
{
    if (g_str_equal(name, "VFIO_MIGRATION")) {
        g_string_append_printf(events, "%s%s:%s", events->len ? " " : "",
                               json_object_get_string_member(data, "device-id"),
                               json_object_get_string_member(data, "device-state"));
        g_assert_true(g_str_has_prefix(json_object_get_string_member(data, "qom-path"), "/mach"));
    }
}

/* ---- states ---- */

/* The rules of the program against the simulator's table of what the kernel does. */
static void test_paths(void)
{
    static const uint64_t flags[] = { 0, STOP_COPY, STOP_COPY | P2P, STOP_COPY | PRE, ALL };
    unsigned ways = 0;

    for (unsigned f = 0; f < G_N_ELEMENTS(flags); f++) {
        for (uint32_t from = 0; from < VFIO_MIG_STATES; from++) {
            for (uint32_t to = 0; to < VFIO_MIG_STATES + 1; to++) {
                uint32_t next = vfio_mig_next_state(flags[f], from, to);

                g_assert_cmpuint(next, ==, sim_mig_next_state(flags[f], from, to));
                ways += next != VFIO_DEVICE_STATE_ERROR;
            }
        }
    }
    g_assert_cmpuint(ways, ==, 16 + 25 + 24 + 47);
    g_assert_cmpstr(vfio_mig_state_name(VFIO_DEVICE_STATE_PRE_COPY_P2P), ==, "pre-copy-p2p");
    g_assert_cmpstr(vfio_mig_state_name(77), ==, "unknown");
}

/* ---- failures ---- */

/* The device fails on the way to a state, and is somewhere then. */
static const struct {
    uint32_t from, want, recover;
    uint32_t fail_at, fail_in, left_in;
    const char *said, *history;
} failures[] = {
    /* It stays where it was, which is where it is to be. */
    { VFIO_DEVICE_STATE_RUNNING, VFIO_DEVICE_STATE_PRE_COPY, VFIO_DEVICE_STATE_RUNNING,
      VFIO_DEVICE_STATE_PRE_COPY, VFIO_DEVICE_STATE_RUNNING, VFIO_DEVICE_STATE_RUNNING,
      "from migration state running to pre-copy: Input/output error; it is in running", "" },
    { VFIO_DEVICE_STATE_PRE_COPY, VFIO_DEVICE_STATE_PRE_COPY_P2P, VFIO_DEVICE_STATE_PRE_COPY,
      VFIO_DEVICE_STATE_PRE_COPY_P2P, VFIO_DEVICE_STATE_PRE_COPY, VFIO_DEVICE_STATE_PRE_COPY,
      "from migration state pre-copy to pre-copy-p2p: Input/output error; it is in pre-copy", "" },
    /* Half the way, and on to where it is to be. */
    { VFIO_DEVICE_STATE_PRE_COPY, VFIO_DEVICE_STATE_STOP_COPY, VFIO_DEVICE_STATE_STOP,
      VFIO_DEVICE_STATE_STOP_COPY, VFIO_DEVICE_STATE_PRE_COPY_P2P, VFIO_DEVICE_STATE_STOP,
      "to stop-copy: Input/output error; it was brought to stop", "pre-copy-p2p running-p2p stop" },
    { VFIO_DEVICE_STATE_RUNNING, VFIO_DEVICE_STATE_STOP, VFIO_DEVICE_STATE_RUNNING,
      VFIO_DEVICE_STATE_STOP, VFIO_DEVICE_STATE_RUNNING_P2P, VFIO_DEVICE_STATE_RUNNING,
      "from migration state running to stop: Input/output error; it was brought to running",
      "running-p2p running" },
    { VFIO_DEVICE_STATE_STOP, VFIO_DEVICE_STATE_RUNNING, VFIO_DEVICE_STATE_STOP,
      VFIO_DEVICE_STATE_RUNNING, VFIO_DEVICE_STATE_RUNNING_P2P, VFIO_DEVICE_STATE_STOP,
      "from migration state stop to running: Input/output error; it was brought to stop",
      "running-p2p stop" },
    { VFIO_DEVICE_STATE_STOP, VFIO_DEVICE_STATE_RESUMING, VFIO_DEVICE_STATE_STOP,
      VFIO_DEVICE_STATE_RESUMING, VFIO_DEVICE_STATE_STOP, VFIO_DEVICE_STATE_STOP,
      "from migration state stop to resuming: Input/output error; it is in stop", "" },
    /* The error state is left by a reset only. */
    { VFIO_DEVICE_STATE_PRE_COPY, VFIO_DEVICE_STATE_STOP_COPY, VFIO_DEVICE_STATE_STOP,
      VFIO_DEVICE_STATE_STOP_COPY, VFIO_DEVICE_STATE_ERROR, VFIO_DEVICE_STATE_RUNNING,
      "it was in the error state and has been reset", "pre-copy-p2p error running" },
    { VFIO_DEVICE_STATE_STOP, VFIO_DEVICE_STATE_RUNNING, VFIO_DEVICE_STATE_STOP,
      VFIO_DEVICE_STATE_RUNNING, VFIO_DEVICE_STATE_ERROR, VFIO_DEVICE_STATE_RUNNING,
      "it was in the error state and has been reset", "running-p2p error running" },
    { VFIO_DEVICE_STATE_STOP_COPY, VFIO_DEVICE_STATE_STOP, VFIO_DEVICE_STATE_STOP,
      VFIO_DEVICE_STATE_STOP, VFIO_DEVICE_STATE_ERROR, VFIO_DEVICE_STATE_RUNNING,
      "it was in the error state and has been reset", "error running" },
    /* No such way at all: the kernel is not even asked. */
    { VFIO_DEVICE_STATE_STOP_COPY, VFIO_DEVICE_STATE_PRE_COPY, VFIO_DEVICE_STATE_STOP,
      VFIO_DEVICE_STATE_ERROR, VFIO_DEVICE_STATE_ERROR, VFIO_DEVICE_STATE_STOP,
      "from migration state stop-copy to pre-copy: Invalid argument; it was brought to stop",
      "stop" },
};

static void test_failures(void)
{
    for (size_t i = 0; i < G_N_ELEMENTS(failures); i++) {
        g_autoptr(GError) err = NULL;
        SimMigration *mig;

        mig_begin(ALL, 100);
        mig_plug(1);
        g_assert_true(
            vfio_migration_set_state(mig_of(0), failures[i].from, failures[i].from, NULL));
        g_free(sim_mig_take_history(sims[0]));
        mig = &sims[0]->mig;
        mig->fail_at = failures[i].fail_at;
        mig->fail_in = failures[i].fail_in;
        mig->fail_errno = EIO;
        g_assert_false(
            vfio_migration_set_state(mig_of(0), failures[i].want, failures[i].recover, &err));
        g_test_message("%s", err->message);
        g_assert_nonnull(strstr(err->message, failures[i].said));
        g_assert_cmpuint(mig->state, ==, failures[i].left_in);
        g_assert_cmpuint(vfio_migration_state(mig_of(0)), ==, failures[i].left_in);
        g_assert_cmpint(mig_of(0)->data_fd >= 0, ==, vfio_mig_state_transfer(mig->state) != 0);
        assert_history(0, failures[i].history);
        mig_end();
    }
}

/* In the error state, and no reset brings it back. */
static void test_no_reset(void)
{
    g_autoptr(GError) err = NULL, err2 = NULL;

    mig_begin(ALL, 100);
    sims[0]->flags &= ~(uint32_t)VFIO_DEVICE_FLAGS_RESET;
    mig_plug(1);
    sims[0]->mig.fail_at = VFIO_DEVICE_STATE_PRE_COPY;
    sims[0]->mig.fail_in = VFIO_DEVICE_STATE_ERROR;
    sims[0]->mig.fail_errno = EIO;
    g_assert_false(mig_ops->setup(mig_of(0), &err));
    g_assert_nonnull(strstr(err->message, "it stays in the error state: it has no reset"));
    mig_ops->cleanup(mig_of(0));
    g_assert_false(mig_ops->setup(mig_of(0), &err2));
    g_assert_nonnull(strstr(err2->message, "in migration state error"));
    mig_end();
}

/* ---- three devices ---- */

static gint place(const char *log, const char *what, bool last)
{
    const char *at = last ? g_strrstr(log, what) : strstr(log, what);

    g_assert_nonnull(at);
    return (gint)(at - log);
}

/* None is stopped before all are kept from each other, and all can be reached before one runs. */
static void test_three(void)
{
    g_autofree char *stopped = NULL, *started = NULL;

    mig_begin(ALL, 100);
    mig_plug(3);
    for (unsigned i = 0; i < 3; i++) {
        sims[i]->mig.delay = 100;
        mig_setup(i);
    }
    g_free(sim_take_log());
    vm_stop(RUN_STATE_FINISH_MIGRATE);
    stopped = sim_take_log();
    g_test_message("%s", stopped);
    g_assert_cmpint(place(stopped, "to pre-copy-p2p", true), <,
                    place(stopped, "to stop-copy", false));
    for (unsigned i = 0; i < 3; i++) {
        assert_history(i, "pre-copy pre-copy-p2p stop-copy");
        mig_ops->cleanup(mig_of(i));
        g_free(sim_mig_take_history(sims[i]));
    }
    g_free(sim_take_log());
    vm_start();
    started = sim_take_log();
    g_assert_cmpint(place(started, "to running-p2p\n", true), <,
                    place(started, "to running\n", false));
    g_assert_cmpuint(sim_mig_parallel(), ==, 3);
    for (unsigned i = 0; i < 3; i++) {
        assert_history(i, "running-p2p running");
    }

    /* One that cannot be stopped does not keep the others from it. */
    sims[1]->mig.fail_at = VFIO_DEVICE_STATE_RUNNING_P2P;
    sims[1]->mig.fail_in = VFIO_DEVICE_STATE_RUNNING;
    sims[1]->mig.fail_errno = EBUSY;
    vm_stop(RUN_STATE_PAUSED);
    assert_history(0, "running-p2p stop");
    assert_history(1, "running-p2p stop");
    assert_history(2, "running-p2p stop");
    g_assert_nonnull(strstr(migration_error, "vfio 0000:03:00.0: cannot go from migration state "
                                             "running to running-p2p: Device or resource busy"));
    g_free(take_migration_error());
    mig_end();
}

/* ---- what blocks it ---- */

static void assert_blocked(const char *why)
{
    g_autoptr(GError) err = NULL;

    g_assert_true(mig_plug_with(0, "", &err));
    g_assert_no_error(err);
    g_test_message("%s", blocker());
    g_assert_nonnull(strstr(blocker(), why));
    g_assert_true(g_str_has_prefix(blocker(), "vfio 0000:02:00.0: "));
    g_assert_true(g_str_has_prefix(reboot_blocker(), blocker()));
    g_assert_nonnull(strstr(reboot_blocker(), "run state suspended"));
    g_assert_cmpuint(dirty_sources->len, ==, 0);
    vm_stop(RUN_STATE_PAUSED);
    vm_start();
    vm_stop(RUN_STATE_PAUSED);
    assert_history(0, "");
    unplug_nth(0);
    g_assert_null(blocker());
    g_assert_null(reboot_blocker());
}

static void assert_refused(const char *why)
{
    g_autoptr(GError) err = NULL;

    g_assert_false(mig_plug_with(0, ",enable-migration=on", &err));
    g_test_message("%s", err->message);
    g_assert_nonnull(strstr(err->message, why));
    g_assert_nonnull(strstr(err->message, "vfio 0000:02:00.0: it cannot be migrated: "));
    g_assert_null(blocker());
    g_assert_cmpuint(sim_open_things(), ==, 0);
}

static void assert_either(const char *why)
{
    assert_blocked(why);
    assert_refused(why);
}

static void test_blockers(void)
{
    g_autoptr(GError) err = NULL;

    mig_begin(0, 10);
    assert_either("VFIO migration is not supported");
    sims[0]->mig.flags = P2P;
    assert_either("VFIO_MIGRATION_STOP_COPY");
    sims[0]->mig.flags = ALL;
    sims[0]->logs_dma = false;
    g_assert_true(mig_plug_with(0, "", &err)); /* of no matter where it is stopped before */
    g_assert_nonnull(strstr(blocker(), "vfio 0000:02:00.0: neither it nor the host's IOMMU tracks "
                                       "which memory it writes"));
    g_assert_null(reboot_blocker());
    g_assert_cmpuint(dirty_sources->len, ==, 1);
    unplug_nth(0);
    g_assert_null(blocker());
    g_assert_true(mig_plug_with(0, ",enable-migration=on", &err)); /* a warning */
    g_assert_null(blocker());
    unplug_nth(0);
    sims[0]->logs_dma = true;
    g_assert_true(mig_plug_with(0, ",x-device-dirty-page-tracking=off", &err));
    g_assert_nonnull(strstr(blocker(), "tracks which memory it writes"));
    unplug_nth(0);
    sims[0]->dirty_tracking = true;
    g_assert_true(mig_plug_with(0, ",x-device-dirty-page-tracking=off", &err));
    g_assert_null(blocker());
    unplug_nth(0);
    g_assert_true(mig_plug_with(0, ",enable-migration=off", &err));
    g_assert_nonnull(strstr(blocker(), "enable-migration=off"));
    unplug_nth(0);
    mig_end();
}

/* Several of which one has no P2P: from when it comes to when it is alone or gone. */
static void test_blocked_p2p(void)
{
    g_autoptr(GError) err = NULL;

    mig_begin(ALL, 10);
    sims[1]->mig.flags = STOP_COPY | PRE;
    g_assert_true(mig_plug_with(1, ",enable-migration=on", &err));
    g_assert_null(blocker());
    g_assert_false(mig_plug_with(0, ",enable-migration=on", &err));
    g_assert_nonnull(strstr(err->message, "peer-to-peer"));
    g_assert_null(blocker());
    g_assert_true(mig_plug_with(0, "", NULL));
    g_assert_nonnull(strstr(blocker(), "vfio 0000:03:00.0: of several devices each must"));
    g_assert_cmpstr(reboot_blocker(), ==, blocker());
    g_assert_cmpuint(dirty_sources->len, ==, 1);
    g_assert_true(mig_plug_with(2, "", NULL));
    g_assert_nonnull(blocker());
    unplug_nth(0);
    g_assert_nonnull(blocker());
    unplug_nth(1);
    g_assert_null(blocker());
    mig_end();
}

/* ---- events ---- */

static void test_events(void)
{
    events = g_string_new(NULL);
    event_set_listener(note_event, NULL);
    mig_begin(ALL, 10);
    g_assert_true(mig_plug_with(0, ",migration-events=on", NULL));
    g_assert_true(mig_plug_with(1, "", NULL));
    vm_start();
    g_assert_cmpstr(events->str, ==, "");
    mig_setup(0);
    vm_stop(RUN_STATE_FINISH_MIGRATE);
    mig_complete(0);
    mig_ops->cleanup(mig_of(0));
    sims[0]->mig.fail_at = VFIO_DEVICE_STATE_RUNNING;
    sims[0]->mig.fail_in = VFIO_DEVICE_STATE_ERROR;
    sims[0]->mig.fail_errno = EIO;
    vm_start();
    g_assert_cmpstr(events->str, ==,
                    "d0:pre-copy d0:pre-copy-p2p-prepare d0:pre-copy-p2p d0:stop-copy d0:stop "
                    "d0:running-p2p d0:running");
    g_assert_nonnull(strstr(migration_error, "has been reset"));
    g_free(take_migration_error());
    mig_end();
    event_set_listener(NULL, NULL);
    g_string_free(events, TRUE);
}

/* A thread without the machine lock leaves its events to the main loop. */
static gpointer complete_in_thread(gpointer opaque)
{
    mig_complete(0);
    return NULL;
}

static void test_events_of_threads(void)
{
    events = g_string_new(NULL);
    event_set_listener(note_event, NULL);
    mig_begin(ALL, 10);
    g_assert_true(mig_plug_with(0, ",migration-events=on", NULL));
    vm_start();
    vm_stop(RUN_STATE_PAUSED);
    mig_setup(0);
    g_string_truncate(events, 0);
    g_thread_join(g_thread_new("complete", complete_in_thread, NULL));
    g_assert_cmpstr(events->str, ==, "");
    while (g_main_context_iteration(NULL, FALSE)) {
    }
    g_assert_cmpstr(events->str, ==, "d0:stop-copy");
    mig_ops->cleanup(mig_of(0));
    mig_end();
    event_set_listener(NULL, NULL);
    g_string_free(events, TRUE);
}

/* ---- dirty pages ---- */

static void test_dirty(void)
{
    FlatView *view = address_space_view(&address_space_memory);
    RAMBlock *ram = flat_view_find(view, 0)->mr->block;
    const MigrationDirtySource *source;
    g_autoptr(GError) err = NULL;

    flat_view_unref(view);
    ram_block_register(ram);
    mig_begin(ALL, 10);
    g_assert_true(mig_plug_with(0, ",x-pre-copy-dirty-page-tracking=off", NULL));
    g_assert_cmpuint(dirty_sources->len, ==, 1);
    source = dirty_sources->pdata[0];
    vm_start();
    g_assert_true(ram_dirty_start(&err));
    g_assert_true(source->start(source->opaque, &err));
    g_assert_no_error(err);
    g_assert_true(sims[0]->logging);
    sim_dma_write(sims[0], 0x5000);
    source->sync(source->opaque); /* not while it runs */
    g_assert_cmpuint(ram_block_dirty_pages(ram), ==, 0);
    vm_stop(RUN_STATE_FINISH_MIGRATE);
    source->sync(source->opaque);
    g_assert_cmpuint(ram_block_dirty_pages(ram), ==, 1);
    source->stop(source->opaque);
    g_assert_false(sims[0]->logging);
    ram_dirty_stop();
    ram_block_unregister(ram);
    mig_end();
}

static void add_tests(void)
{
    migration_fixture_begin();
    machine_lock();
    g_test_add_func("/vfio/migration-states/paths", test_paths);
    g_test_add_func("/vfio/migration-states/failures", test_failures);
    g_test_add_func("/vfio/migration-states/no-reset", test_no_reset);
    g_test_add_func("/vfio/migration-states/three", test_three);
    g_test_add_func("/vfio/migration-states/blockers", test_blockers);
    g_test_add_func("/vfio/migration-states/blocked-p2p", test_blocked_p2p);
    g_test_add_func("/vfio/migration-states/events", test_events);
    g_test_add_func("/vfio/migration-states/events-of-threads", test_events_of_threads);
    g_test_add_func("/vfio/migration-states/dirty", test_dirty);
}

int main(int argc, char **argv)
{
    int ret = vfio_test_run(argc, argv, add_tests);

    migration_fixture_end();
    return ret;
}
