/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Migration of VFIO devices: their states, their data, all of them together, and what blocks it. */
#include <errno.h>
#include <string.h>

#include "core/event.h"
#include "core/lock.h"
#include "core/runstate.h"
#include "hw/vfio/container.h"
#include "hw/vfio/migration.h"
#include "hw/vfio/pci.h"
#include "tests/unit/migration-fixture.h"
#include "tests/unit/vfio-fixture.h"
#include "util/error.h"
#include "util/keyval.h"

#define STOP_COPY VFIO_MIGRATION_STOP_COPY
#define P2P       VFIO_MIGRATION_P2P
#define PRE       VFIO_MIGRATION_PRE_COPY
#define ALL       (STOP_COPY | P2P | PRE)

static const MigrationOps *ops = &vfio_migration_ops;
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

/* ---- devices ---- */

static VFIOMigration *of(unsigned i)
{
    return VFIO_PCI(devices[i])->vbasedev->migration;
}

static void begin(uint64_t flags, size_t size)
{
    setup_three();
    for (unsigned i = 0; i < 3; i++) {
        sim_mig_init(sims[i], flags, size);
        sims[i]->logs_dma = true;
        sims[i]->flags |= VFIO_DEVICE_FLAGS_RESET;
    }
}

static void plug_and_run(unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        g_autoptr(GError) err = NULL;

        g_assert_true(plug_nth(i, &err));
        g_assert_no_error(err);
    }
    vm_start();
    for (unsigned i = 0; i < n; i++) {
        g_free(sim_mig_take_history(sims[i]));
    }
    g_free(sim_take_log());
}

static void end(void)
{
    for (unsigned i = 0; i < 3; i++) {
        if (devices[i]) {
            unplug_nth(i);
        }
    }
    vm_stop(RUN_STATE_PAUSED);
    forget_pieces();
    g_assert_null(migration_error);
    is_running = is_incoming = false;
    teardown_three();
}

static void assert_history(unsigned i, const char *expected)
{
    g_autofree char *text = sim_mig_take_history(sims[i]);

    g_assert_cmpstr(text, ==, expected);
}

static void setup_source(unsigned i)
{
    g_autoptr(GError) err = NULL;

    is_running = true;
    g_assert_true(ops->setup(of(i), &err));
    g_assert_no_error(err);
}

static void send_all(unsigned i)
{
    bool drained = false;

    while (!drained) {
        g_assert_true(ops->iterate(of(i), &drained, NULL));
    }
}

static void complete(unsigned i)
{
    g_autoptr(GError) err = NULL;

    g_assert_true(ops->complete(of(i), &err));
    g_assert_no_error(err);
}

/* @first: so many of the pieces; UINT_MAX: all. */
static bool load(unsigned i, unsigned first, GError **errp)
{
    is_incoming = true;
    if (!ops->load_setup(of(i), errp)) {
        return false;
    }
    for (guint n = 0; n < MIN(sent_pieces->len, first); n++) {
        const GByteArray *data = g_array_index(sent_pieces, Sent, n).data;

        if (!ops->load(of(i), data->data, data->len, errp)) {
            return false;
        }
    }
    return ops->load_end(of(i), errp);
}

static MigrationPending pending(unsigned i, bool exact)
{
    MigrationPending p;

    ops->pending(of(i), exact, &p);
    return p;
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

/* From one device to another, for each kind of device and several sizes. */
static void transfer(uint64_t flags, size_t size, unsigned chunk)
{
    g_autoptr(GError) err = NULL;
    bool pre = flags & PRE;

    begin(flags, size);
    sims[0]->mig.chunk = sims[1]->mig.chunk = chunk;
    if (size) {
        sim_mig_change(sims[1], size - 1, 0x5a); /* others than the first's */
    }
    plug_and_run(1);
    setup_source(0);
    assert_history(0, pre ? "pre-copy" : "");
    send_all(0);
    g_assert_true(ops->switchover_ready(of(0)));
    if (size > 1) {
        sim_mig_change(sims[0], 1, 0xaa);
        sim_mig_change(sims[0], size / 2, 0xbb);
        g_assert_cmpuint(pending(0, true).precopy, ==, pre ? 2 * 25 : 0);
        send_all(0);
        sim_mig_change(sims[0], size - 1, 0xcc); /* is sent when it stands still */
    }
    vm_stop(RUN_STATE_FINISH_MIGRATE);
    complete(0);
    g_assert_cmpuint(pending(0, false).stopcopy, ==, 0);
    ops->cleanup(of(0));
    g_assert_cmpuint(sims[0]->mig.state, ==, VFIO_DEVICE_STATE_STOP);
    g_assert_cmpint(of(0)->data_fd, ==, -1);
    unplug_nth(0);
    g_assert_cmpuint(sim_open_things(), ==, 0);

    g_assert_true(plug_nth(1, NULL));
    acks = 0;
    g_assert_true(load(1, UINT_MAX, &err));
    g_assert_no_error(err);
    g_assert_cmpuint(acks, ==, 1);
    ops->cleanup(of(1));
    g_assert_cmpuint(sims[1]->mig.state, ==, VFIO_DEVICE_STATE_STOP);
    g_assert_cmpmem(sims[0]->mig.content->data, sims[0]->mig.content->len,
                    sims[1]->mig.content->data, sims[1]->mig.content->len);
    g_free(sim_mig_take_history(sims[1]));
    vm_start();
    assert_history(1, flags & P2P ? "running-p2p running" : "running");
    end();
}

static void test_transfer(void)
{
    static const uint64_t flags[] = { STOP_COPY, STOP_COPY | P2P, STOP_COPY | PRE, ALL };

    for (unsigned f = 0; f < G_N_ELEMENTS(flags); f++) {
        transfer(flags[f], 0, 0);
        transfer(flags[f], 1, 0);
        transfer(flags[f], 0x1000, 7);
        transfer(flags[f], 3 * MiB + 5, 0);
        transfer(flags[f], MiB + 1, 100000);
    }
}

/* A VM that stands still: nothing is sent before the end. */
static void test_paused(void)
{
    begin(ALL, 100);
    plug_and_run(1);
    vm_stop(RUN_STATE_PAUSED);
    assert_history(0, "running-p2p stop");
    setup_source(0);
    send_all(0);
    assert_history(0, "");
    complete(0);
    assert_history(0, "stop-copy");
    ops->cleanup(of(0));
    assert_history(0, "stop");
    vm_start();
    assert_history(0, "running-p2p running");

    /* One that is stopped while it is being migrated, and then another one that runs on. */
    setup_source(0);
    vm_stop(RUN_STATE_PAUSED);
    assert_history(0, "pre-copy pre-copy-p2p stop-copy");
    send_all(0);
    complete(0);
    ops->cleanup(of(0));
    vm_start();
    g_free(sim_mig_take_history(sims[0]));
    setup_source(0);
    vm_stop(RUN_STATE_PAUSED);
    vm_start();
    assert_history(0, "pre-copy pre-copy-p2p stop-copy stop running-p2p running");
    g_assert_nonnull(strstr(migration_error, "the VM runs on"));
    g_free(take_migration_error());
    ops->cleanup(of(0));
    assert_history(0, "");
    end();
}

/* What is left, as it is said. */
static void test_pending(void)
{
    MigrationPending p;
    bool drained;

    begin(ALL, 3 * MiB);
    plug_and_run(1);
    setup_source(0);
    p = pending(0, false);
    g_assert_cmpuint(p.precopy, ==, 3 * MiB + 24);
    g_assert_cmpuint(p.stopcopy, ==, 24);
    g_assert_false(ops->switchover_ready(of(0)));
    g_assert_true(ops->iterate(of(0), &drained, NULL));
    g_assert_false(drained);
    g_assert_cmpuint(pending(0, false).precopy, ==, 2 * MiB + 24);
    g_assert_cmpuint(pending(0, true).precopy, ==, 2 * MiB + 24);
    g_assert_false(ops->switchover_ready(of(0)));
    send_all(0);
    g_assert_true(ops->switchover_ready(of(0)));

    /* Initial data again: it must be confirmed again. */
    sim_mig_reinit(sims[0]);
    p = pending(0, true);
    g_assert_cmpuint(p.precopy, ==, 3 * MiB + 24);
    g_assert_false(ops->switchover_ready(of(0)));
    send_all(0);
    g_assert_true(ops->switchover_ready(of(0)));
    vm_stop(RUN_STATE_FINISH_MIGRATE);
    complete(0);
    ops->cleanup(of(0));
    vm_start();

    /* A kernel that cannot tell the size, and one that tells a large one. */
    sims[0]->mig.size_error = EIO;
    setup_source(0);
    g_assert_cmpuint(pending(0, true).stopcopy, >, 1ULL << 36);
    ops->cleanup(of(0));
    sims[0]->mig.size_error = 0;
    sims[0]->mig.size = UINT64_MAX;
    setup_source(0);
    g_assert_cmpuint(pending(0, true).stopcopy, <, INT64_MAX);
    ops->cleanup(of(0));
    end();

    /* An older kernel says nothing of initial data that is there again. */
    begin(ALL, 10);
    sims[0]->mig.no_info_v2 = true;
    plug_and_run(1);
    setup_source(0);
    send_all(0);
    sim_mig_reinit(sims[0]);
    pending(0, true);
    g_assert_true(ops->switchover_ready(of(0)));
    ops->cleanup(of(0));
    end();
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

        begin(ALL, 100);
        plug_and_run(1);
        g_assert_true(vfio_migration_set_state(of(0), failures[i].from, failures[i].from, NULL));
        g_free(sim_mig_take_history(sims[0]));
        mig = &sims[0]->mig;
        mig->fail_at = failures[i].fail_at;
        mig->fail_in = failures[i].fail_in;
        mig->fail_errno = EIO;
        g_assert_false(
            vfio_migration_set_state(of(0), failures[i].want, failures[i].recover, &err));
        g_test_message("%s", err->message);
        g_assert_nonnull(strstr(err->message, failures[i].said));
        g_assert_cmpuint(mig->state, ==, failures[i].left_in);
        g_assert_cmpuint(vfio_migration_state(of(0)), ==, failures[i].left_in);
        g_assert_cmpint(of(0)->data_fd >= 0, ==, vfio_mig_state_transfer(mig->state) != 0);
        assert_history(0, failures[i].history);
        end();
    }
}

/* In the error state, and no reset brings it back. */
static void test_no_reset(void)
{
    g_autoptr(GError) err = NULL, err2 = NULL;

    begin(ALL, 100);
    sims[0]->flags &= ~(uint32_t)VFIO_DEVICE_FLAGS_RESET;
    plug_and_run(1);
    sims[0]->mig.fail_at = VFIO_DEVICE_STATE_PRE_COPY;
    sims[0]->mig.fail_in = VFIO_DEVICE_STATE_ERROR;
    sims[0]->mig.fail_errno = EIO;
    g_assert_false(ops->setup(of(0), &err));
    g_assert_nonnull(strstr(err->message, "it stays in the error state: it has no reset"));
    ops->cleanup(of(0));
    g_assert_false(ops->setup(of(0), &err2));
    g_assert_nonnull(strstr(err2->message, "in migration state error"));
    end();
}

/* What the channel and the driver refuse while data flows. */
static void test_io_errors(void)
{
    bool drained;

    for (unsigned nth = 1; nth < 7; nth++) {
        g_autoptr(GError) err = NULL;
        bool ok;

        begin(ALL, 2 * MiB);
        plug_and_run(1);
        is_running = true;
        fail_sending = nth;
        ok = ops->setup(of(0), &err);
        drained = false;
        while (ok && !drained) {
            ok = ops->iterate(of(0), &drained, &err);
        }
        vm_stop(RUN_STATE_FINISH_MIGRATE);
        ok = ok && ops->complete(of(0), &err);
        g_assert_cmpint(ok, ==, nth > 6);
        g_assert_cmpstr(err->message, ==, "the channel is closed");
        ops->cleanup(of(0));
        g_assert_cmpuint(sims[0]->mig.state, ==, VFIO_DEVICE_STATE_STOP);
        vm_start();
        g_assert_cmpuint(sims[0]->mig.state, ==, VFIO_DEVICE_STATE_RUNNING);
        end();
        fail_sending = 0;
    }
}

static void assert_load_fails(const char *why)
{
    g_autoptr(GError) err = NULL;

    g_assert_false(load(1, UINT_MAX, &err));
    g_test_message("%s", err->message);
    g_assert_nonnull(strstr(err->message, why));
    ops->cleanup(of(1));
    g_assert_cmpint(of(1)->data_fd, ==, -1);
    g_assert_cmpuint(sims[1]->mig.state, ==, VFIO_DEVICE_STATE_RUNNING);
    is_incoming = false;
}

static GByteArray *piece(guint n)
{
    return g_array_index(sent_pieces, Sent, n).data;
}

/* A stream that is not what was sent; afterwards the right one is taken all the same. */
static void test_refused(void)
{
    g_autoptr(GByteArray) last = NULL;

    begin(STOP_COPY, 100);
    plug_and_run(2);
    vm_stop(RUN_STATE_PAUSED);
    setup_source(0);
    send_all(0);
    complete(0);
    ops->cleanup(of(0));
    g_assert_cmpuint(sent_pieces->len, ==, 3); /* initial data sent; data; the end */

    last = g_byte_array_ref(piece(2));
    g_array_set_size(sent_pieces, 2);
    assert_load_fails("its state is cut off after 148 bytes");
    piece(1)->data[4 + 24] ^= 1;
    g_array_append_vals(sent_pieces, &(Sent) { NULL, g_byte_array_ref(last) }, 1);
    assert_load_fails("vfio 0000:03:00.0: cannot go from migration state resuming to stop: Invalid "
                      "argument; it is in resuming; its driver does not take the state that was");
    piece(1)->data[4 + 24] ^= 1;
    piece(2)->data[4] ^= 1;
    assert_load_fails("148 bytes of its state have come, 149 were sent");
    piece(2)->data[4] ^= 1;
    piece(0)->data[0] = 9;
    assert_load_fails("a piece of kind 9");
    piece(0)->data[0] = 2;
    g_byte_array_set_size(piece(0), 3);
    assert_load_fails("a piece of kind 0");
    g_byte_array_append(piece(0), (const uint8_t[1]) { 0 }, 1);
    g_array_append_vals(sent_pieces, &(Sent) { NULL, g_byte_array_ref(last) }, 1);
    assert_load_fails("after the end");
    g_array_set_size(sent_pieces, 3);
    sims[1]->mig.write_error = ENOSPC;
    assert_load_fails("writing its state failed: No space left on device");
    sims[1]->mig.write_error = 0;
    sims[1]->mig.fail_at = VFIO_DEVICE_STATE_RESUMING;
    sims[1]->mig.fail_in = VFIO_DEVICE_STATE_ERROR;
    sims[1]->mig.fail_errno = EIO;
    assert_load_fails("it was in the error state and has been reset");
    g_assert_true(load(1, UINT_MAX, NULL));
    ops->cleanup(of(1));
    end();
}

/* Each call of the kernel fails once: nothing is left open, the VM goes on. */
static void test_sweep(void)
{
    for (unsigned nth = 1;; nth++) {
        g_autoptr(GError) err = NULL;
        bool ok, drained = false;

        begin(ALL, 100);
        plug_and_run(1);
        is_running = true;
        sim_fail(nth);
        ok = ops->setup(of(0), &err);
        while (ok && !drained) {
            ok = ops->iterate(of(0), &drained, &err);
        }
        if (ok) {
            pending(0, true);
            vm_stop(RUN_STATE_FINISH_MIGRATE);
            ok = ops->complete(of(0), &err);
        }
        ops->cleanup(of(0));
        vm_start();
        g_assert_true(ok || err);
        g_clear_pointer(&migration_error, g_free);
        if (!sim_failed()) {
            g_assert_true(ok);
            g_test_message("%u calls", nth - 1);
            g_assert_cmpuint(nth, >, 10);
            sim_fail(0);
            end();
            break;
        }
        sim_fail(0);
        end();
    }
}

/* ---- cancelled ---- */

static void test_cancel(void)
{
    for (unsigned phase = 0; phase < 5; phase++) {
        bool drained;

        begin(ALL, 2 * MiB);
        plug_and_run(1);
        setup_source(0);
        if (phase > 0) {
            g_assert_true(ops->iterate(of(0), &drained, NULL));
        }
        if (phase > 1) {
            send_all(0);
        }
        if (phase > 2) {
            vm_stop(RUN_STATE_FINISH_MIGRATE);
        }
        if (phase > 3) {
            complete(0);
        }
        ops->cleanup(of(0));
        is_running = false;
        g_assert_cmpuint(sims[0]->mig.state, ==,
                         phase > 2 ? VFIO_DEVICE_STATE_STOP : VFIO_DEVICE_STATE_RUNNING);
        vm_start();
        g_assert_cmpuint(sims[0]->mig.state, ==, VFIO_DEVICE_STATE_RUNNING);
        g_assert_cmpint(of(0)->data_fd, ==, -1);

        /* And once more, to the end. */
        forget_pieces();
        setup_source(0);
        send_all(0);
        vm_stop(RUN_STATE_FINISH_MIGRATE);
        complete(0);
        ops->cleanup(of(0));
        end();
    }
}

/* The guest, or who resets the machine, resets a device whose state is being sent. */
static void test_reset(void)
{
    g_autoptr(GError) err = NULL;
    bool drained;

    begin(ALL, 100);
    plug_and_run(1);
    setup_source(0);
    VFIO_PCI(devices[0])->use = VFIO_IN_USE;
    PCI_DEVICE_GET_CLASS(devices[0])->reset(devices[0]);
    g_assert_nonnull(strstr(migration_error, "was reset while its state was being transferred"));
    g_free(take_migration_error());
    g_assert_cmpuint(vfio_migration_state(of(0)), ==, VFIO_DEVICE_STATE_RUNNING);
    g_assert_cmpint(of(0)->data_fd, ==, -1);
    ops->cleanup(of(0));

    /* Somebody else does: that its data is another's is seen at the next state. */
    setup_source(0);
    g_assert_cmpint(hostcalls->ioctl(VFIO_PCI(devices[0])->vbasedev->fd, VFIO_DEVICE_RESET, NULL),
                    ==, 0);
    g_assert_false(ops->iterate(of(0), &drained, &err));
    g_assert_nonnull(strstr(err->message, "reading its state failed: No such device"));
    vm_stop(RUN_STATE_FINISH_MIGRATE);
    g_assert_nonnull(strstr(migration_error, "its data has another descriptor than expected"));
    g_free(take_migration_error());
    ops->cleanup(of(0));
    vm_start();
    g_assert_cmpuint(sims[0]->mig.state, ==, VFIO_DEVICE_STATE_RUNNING);
    end();
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

    begin(ALL, 100);
    plug_and_run(3);
    for (unsigned i = 0; i < 3; i++) {
        sims[i]->mig.delay = 100;
        setup_source(i);
    }
    g_free(sim_take_log());
    vm_stop(RUN_STATE_FINISH_MIGRATE);
    stopped = sim_take_log();
    g_test_message("%s", stopped);
    g_assert_cmpint(place(stopped, "to pre-copy-p2p", true), <,
                    place(stopped, "to stop-copy", false));
    for (unsigned i = 0; i < 3; i++) {
        assert_history(i, "pre-copy pre-copy-p2p stop-copy");
        ops->cleanup(of(i));
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
    end();
}

/* ---- what blocks it ---- */

static bool plug_with(unsigned i, const char *more, GError **errp)
{
    g_autofree char *top = g_path_get_dirname(sysfs);
    g_autofree char *text = g_strdup_printf(
        "vfio-pci,id=d%u,sysfsdev=%s/0000:%02x:00.0,iommufd=i0%s", i, top, 2 + i, more);
    g_autofree char *id = g_strdup_printf("d%u", i);
    g_autoptr(JsonObject) opts = keyval_parse(text, "driver", NULL, NULL);
    bool ok = device_add(opts, false, errp);

    devices[i] = ok ? PCI_DEVICE(object_resolve(id)) : NULL;
    return ok;
}

static void assert_blocked(const char *why)
{
    g_autoptr(GError) err = NULL;

    g_assert_true(plug_with(0, "", &err));
    g_assert_no_error(err);
    g_test_message("%s", blocker());
    g_assert_nonnull(strstr(blocker(), why));
    g_assert_true(g_str_has_prefix(blocker(), "vfio 0000:02:00.0: "));
    g_assert_cmpuint(dirty_sources->len, ==, 0);
    vm_stop(RUN_STATE_PAUSED);
    vm_start();
    vm_stop(RUN_STATE_PAUSED);
    assert_history(0, "");
    unplug_nth(0);
    g_assert_null(blocker());
}

static void assert_refused(const char *why)
{
    g_autoptr(GError) err = NULL;

    g_assert_false(plug_with(0, ",enable-migration=on", &err));
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

    begin(0, 10);
    assert_either("VFIO migration is not supported");
    sims[0]->mig.flags = P2P;
    assert_either("VFIO_MIGRATION_STOP_COPY");
    sims[0]->mig.flags = ALL;
    sims[0]->logs_dma = false;
    assert_blocked("tracks which memory it writes");
    g_assert_true(plug_with(0, ",enable-migration=on", &err)); /* a warning */
    g_assert_null(blocker());
    unplug_nth(0);
    sims[0]->logs_dma = true;
    g_assert_true(plug_with(0, ",x-device-dirty-page-tracking=off", &err));
    g_assert_nonnull(strstr(blocker(), "tracks which memory it writes"));
    unplug_nth(0);
    sims[0]->dirty_tracking = true;
    g_assert_true(plug_with(0, ",x-device-dirty-page-tracking=off", &err));
    g_assert_null(blocker());
    unplug_nth(0);
    g_assert_true(plug_with(0, ",enable-migration=off", &err));
    g_assert_nonnull(strstr(blocker(), "enable-migration=off"));
    unplug_nth(0);
    end();
}

/* Several of which one has no P2P: from when it comes to when it is alone or gone. */
static void test_blocked_p2p(void)
{
    g_autoptr(GError) err = NULL;

    begin(ALL, 10);
    sims[1]->mig.flags = STOP_COPY | PRE;
    g_assert_true(plug_with(1, ",enable-migration=on", &err));
    g_assert_null(blocker());
    g_assert_false(plug_with(0, ",enable-migration=on", &err));
    g_assert_nonnull(strstr(err->message, "peer-to-peer"));
    g_assert_null(blocker());
    g_assert_true(plug_with(0, "", NULL));
    g_assert_nonnull(strstr(blocker(), "vfio 0000:03:00.0: of several devices each must"));
    g_assert_cmpuint(dirty_sources->len, ==, 1);
    g_assert_true(plug_with(2, "", NULL));
    g_assert_nonnull(blocker());
    unplug_nth(0);
    g_assert_nonnull(blocker());
    unplug_nth(1);
    g_assert_null(blocker());
    end();
}

/* ---- events ---- */

static void test_events(void)
{
    events = g_string_new(NULL);
    event_set_listener(note_event, NULL);
    begin(ALL, 10);
    g_assert_true(plug_with(0, ",migration-events=on", NULL));
    g_assert_true(plug_with(1, "", NULL));
    vm_start();
    g_assert_cmpstr(events->str, ==, "");
    setup_source(0);
    vm_stop(RUN_STATE_FINISH_MIGRATE);
    complete(0);
    ops->cleanup(of(0));
    sims[0]->mig.fail_at = VFIO_DEVICE_STATE_RUNNING;
    sims[0]->mig.fail_in = VFIO_DEVICE_STATE_ERROR;
    sims[0]->mig.fail_errno = EIO;
    vm_start();
    g_assert_cmpstr(events->str, ==,
                    "d0:pre-copy d0:pre-copy-p2p-prepare d0:pre-copy-p2p d0:stop-copy d0:stop "
                    "d0:running-p2p d0:running");
    g_assert_nonnull(strstr(migration_error, "has been reset"));
    g_free(take_migration_error());
    end();
    event_set_listener(NULL, NULL);
    g_string_free(events, TRUE);
}

/* A thread without the machine lock leaves its events to the main loop. */
static gpointer complete_in_thread(gpointer opaque)
{
    complete(0);
    return NULL;
}

static void test_events_of_threads(void)
{
    events = g_string_new(NULL);
    event_set_listener(note_event, NULL);
    begin(ALL, 10);
    g_assert_true(plug_with(0, ",migration-events=on", NULL));
    vm_start();
    vm_stop(RUN_STATE_PAUSED);
    setup_source(0);
    g_string_truncate(events, 0);
    g_thread_join(g_thread_new("complete", complete_in_thread, NULL));
    g_assert_cmpstr(events->str, ==, "");
    while (g_main_context_iteration(NULL, FALSE)) {
    }
    g_assert_cmpstr(events->str, ==, "d0:stop-copy");
    ops->cleanup(of(0));
    end();
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
    begin(ALL, 10);
    g_assert_true(plug_with(0, ",x-pre-copy-dirty-page-tracking=off", NULL));
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
    end();
}

static void add_tests(void)
{
    migration_fixture_begin();
    machine_lock();
    g_test_add_func("/vfio/migration/paths", test_paths);
    g_test_add_func("/vfio/migration/transfer", test_transfer);
    g_test_add_func("/vfio/migration/paused", test_paused);
    g_test_add_func("/vfio/migration/pending", test_pending);
    g_test_add_func("/vfio/migration/failures", test_failures);
    g_test_add_func("/vfio/migration/no-reset", test_no_reset);
    g_test_add_func("/vfio/migration/io-errors", test_io_errors);
    g_test_add_func("/vfio/migration/refused", test_refused);
    g_test_add_func("/vfio/migration/sweep", test_sweep);
    g_test_add_func("/vfio/migration/cancel", test_cancel);
    g_test_add_func("/vfio/migration/reset", test_reset);
    g_test_add_func("/vfio/migration/three", test_three);
    g_test_add_func("/vfio/migration/blockers", test_blockers);
    g_test_add_func("/vfio/migration/blocked-p2p", test_blocked_p2p);
    g_test_add_func("/vfio/migration/events", test_events);
    g_test_add_func("/vfio/migration/events-of-threads", test_events_of_threads);
    g_test_add_func("/vfio/migration/dirty", test_dirty);
}

int main(int argc, char **argv)
{
    int ret = vfio_test_run(argc, argv, add_tests);

    migration_fixture_end();
    return ret;
}
