/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The data of VFIO devices that are migrated: all of it, in each phase, and whatever goes wrong. */
#include <errno.h>
#include <string.h>

#include "core/lock.h"
#include "core/runstate.h"
#include "hw/vfio/pci.h"
#include "tests/unit/migration-fixture.h"
#include "tests/unit/vfio-fixture.h"
#include "util/error.h"

#define STOP_COPY VFIO_MIGRATION_STOP_COPY
#define P2P       VFIO_MIGRATION_P2P
#define PRE       VFIO_MIGRATION_PRE_COPY
#define ALL       (STOP_COPY | P2P | PRE)

/* From one device to another, for each kind of device and several sizes. */
static void transfer(uint64_t flags, size_t size, unsigned chunk)
{
    g_autoptr(GError) err = NULL;
    bool pre = flags & PRE;

    mig_begin(flags, size);
    sims[0]->mig.chunk = sims[1]->mig.chunk = chunk;
    if (size) {
        sim_mig_change(sims[1], size - 1, 0x5a); /* others than the first's */
    }
    mig_plug(1);
    mig_setup(0);
    assert_history(0, pre ? "pre-copy" : "");
    mig_send_all(0);
    g_assert_true(mig_ops->switchover_ready(mig_of(0)));
    if (size > 1) {
        sim_mig_change(sims[0], 1, 0xaa);
        sim_mig_change(sims[0], size / 2, 0xbb);
        g_assert_cmpuint(mig_pending(0, true).precopy, ==, pre ? 2 * 25 : 0);
        mig_send_all(0);
        sim_mig_change(sims[0], size - 1, 0xcc); /* is sent when it stands still */
    }
    vm_stop(RUN_STATE_FINISH_MIGRATE);
    mig_complete(0);
    g_assert_cmpuint(mig_pending(0, false).stopcopy, ==, 0);
    mig_ops->cleanup(mig_of(0));
    g_assert_cmpuint(sims[0]->mig.state, ==, VFIO_DEVICE_STATE_STOP);
    g_assert_cmpint(mig_of(0)->data_fd, ==, -1);
    unplug_nth(0);
    g_assert_cmpuint(sim_open_things(), ==, 0);

    g_assert_true(plug_nth(1, NULL));
    acks = 0;
    g_assert_true(mig_load(1, UINT_MAX, &err));
    g_assert_no_error(err);
    g_assert_cmpuint(acks, ==, 1);
    mig_ops->cleanup(mig_of(1));
    g_assert_cmpuint(sims[1]->mig.state, ==, VFIO_DEVICE_STATE_STOP);
    g_assert_cmpmem(sims[0]->mig.content->data, sims[0]->mig.content->len,
                    sims[1]->mig.content->data, sims[1]->mig.content->len);
    g_free(sim_mig_take_history(sims[1]));
    vm_start();
    assert_history(1, flags & P2P ? "running-p2p running" : "running");
    mig_end();
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
    mig_begin(ALL, 100);
    mig_plug(1);
    vm_stop(RUN_STATE_PAUSED);
    assert_history(0, "running-p2p stop");
    mig_setup(0);
    mig_send_all(0);
    assert_history(0, "");
    mig_complete(0);
    assert_history(0, "stop-copy");
    mig_ops->cleanup(mig_of(0));
    assert_history(0, "stop");
    vm_start();
    assert_history(0, "running-p2p running");

    /* One that is stopped while it is being migrated, and then another one that runs on. */
    mig_setup(0);
    vm_stop(RUN_STATE_PAUSED);
    assert_history(0, "pre-copy pre-copy-p2p stop-copy");
    mig_send_all(0);
    mig_complete(0);
    mig_ops->cleanup(mig_of(0));
    vm_start();
    g_free(sim_mig_take_history(sims[0]));
    mig_setup(0);
    vm_stop(RUN_STATE_PAUSED);
    vm_start();
    assert_history(0, "pre-copy pre-copy-p2p stop-copy stop running-p2p running");
    g_assert_nonnull(strstr(migration_error, "the VM runs on"));
    g_free(take_migration_error());
    mig_ops->cleanup(mig_of(0));
    assert_history(0, "");
    mig_end();
}

/* What is left, as it is said. */
static void test_pending(void)
{
    MigrationPending p;
    bool drained;

    mig_begin(ALL, 3 * MiB);
    requests = 0;
    mig_plug(1);
    mig_setup(0);
    p = mig_pending(0, false);
    g_assert_cmpuint(p.precopy, ==, 3 * MiB + 24);
    g_assert_cmpuint(p.stopcopy, ==, 24);
    g_assert_false(mig_ops->switchover_ready(mig_of(0)));
    g_assert_true(mig_ops->iterate(mig_of(0), &drained, NULL));
    g_assert_false(drained);
    g_assert_cmpuint(mig_pending(0, false).precopy, ==, 2 * MiB + 24);
    g_assert_cmpuint(mig_pending(0, true).precopy, ==, 2 * MiB + 24);
    g_assert_false(mig_ops->switchover_ready(mig_of(0)));
    mig_send_all(0);
    g_assert_true(mig_ops->switchover_ready(mig_of(0)));

    /* Initial data again: it must be confirmed again. */
    sim_mig_reinit(sims[0]);
    p = mig_pending(0, true);
    g_assert_cmpuint(p.precopy, ==, 3 * MiB + 24);
    g_assert_false(mig_ops->switchover_ready(mig_of(0)));
    g_assert_cmpuint(requests, ==, 1);
    mig_send_all(0);
    g_assert_true(mig_ops->switchover_ready(mig_of(0)));
    g_assert_cmpuint(requests, ==, 2);
    vm_stop(RUN_STATE_FINISH_MIGRATE);
    mig_complete(0);
    mig_ops->cleanup(mig_of(0));
    vm_start();

    /* A kernel that cannot tell the size, and one that tells a large one. */
    sims[0]->mig.size_error = EIO;
    mig_setup(0);
    g_assert_cmpuint(mig_pending(0, true).stopcopy, >, 1ULL << 36);
    mig_ops->cleanup(mig_of(0));
    sims[0]->mig.size_error = 0;
    sims[0]->mig.size = UINT64_MAX;
    mig_setup(0);
    g_assert_cmpuint(mig_pending(0, true).stopcopy, <, INT64_MAX);
    mig_ops->cleanup(mig_of(0));
    mig_end();

    /* An older kernel says nothing of initial data that is there again. */
    mig_begin(ALL, 10);
    sims[0]->mig.no_info_v2 = true;
    mig_plug(1);
    mig_setup(0);
    mig_send_all(0);
    sim_mig_reinit(sims[0]);
    mig_pending(0, true);
    g_assert_true(mig_ops->switchover_ready(mig_of(0)));
    mig_ops->cleanup(mig_of(0));
    mig_end();
}

/* What the channel and the driver refuse while data flows. */
static void test_io_errors(void)
{
    bool drained;

    for (unsigned nth = 1; nth < 7; nth++) {
        g_autoptr(GError) err = NULL;
        bool ok;

        mig_begin(ALL, 2 * MiB);
        mig_plug(1);
        is_running = true;
        fail_sending = nth;
        ok = mig_ops->setup(mig_of(0), &err);
        drained = false;
        while (ok && !drained) {
            ok = mig_ops->iterate(mig_of(0), &drained, &err);
        }
        vm_stop(RUN_STATE_FINISH_MIGRATE);
        ok = ok && mig_ops->complete(mig_of(0), &err);
        g_assert_cmpint(ok, ==, nth > 6);
        g_assert_cmpstr(err->message, ==, "the channel is closed");
        mig_ops->cleanup(mig_of(0));
        g_assert_cmpuint(sims[0]->mig.state, ==, VFIO_DEVICE_STATE_STOP);
        vm_start();
        g_assert_cmpuint(sims[0]->mig.state, ==, VFIO_DEVICE_STATE_RUNNING);
        mig_end();
        fail_sending = 0;
    }
}

static void assert_load_fails(const char *why)
{
    g_autoptr(GError) err = NULL;

    g_assert_false(mig_load(1, UINT_MAX, &err));
    g_test_message("%s", err->message);
    g_assert_nonnull(strstr(err->message, why));
    mig_ops->cleanup(mig_of(1));
    g_assert_cmpint(mig_of(1)->data_fd, ==, -1);
    g_assert_cmpuint(sims[1]->mig.state, ==, VFIO_DEVICE_STATE_RUNNING);
}

static GByteArray *piece(guint n)
{
    return g_array_index(sent_pieces, Sent, n).data;
}

/* A stream that is not what was sent; afterwards the right one is taken all the same. */
static void test_refused(void)
{
    g_autoptr(GByteArray) last = NULL;

    mig_begin(STOP_COPY, 100);
    mig_plug(2);
    vm_stop(RUN_STATE_PAUSED);
    mig_setup(0);
    mig_send_all(0);
    mig_complete(0);
    mig_ops->cleanup(mig_of(0));
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
    g_assert_true(mig_load(1, UINT_MAX, NULL));
    mig_ops->cleanup(mig_of(1));
    mig_end();
}

/* Each call of the kernel fails once: nothing is left open, the VM goes on. */
static void test_sweep(void)
{
    for (unsigned nth = 1;; nth++) {
        g_autoptr(GError) err = NULL;
        bool ok, drained = false;

        mig_begin(ALL, 100);
        mig_plug(1);
        is_running = true;
        sim_fail(nth);
        ok = mig_ops->setup(mig_of(0), &err);
        while (ok && !drained) {
            ok = mig_ops->iterate(mig_of(0), &drained, &err);
        }
        if (ok) {
            mig_pending(0, true);
            vm_stop(RUN_STATE_FINISH_MIGRATE);
            ok = mig_ops->complete(mig_of(0), &err);
        }
        mig_ops->cleanup(mig_of(0));
        vm_start();
        g_assert_true(ok || err);
        g_clear_pointer(&migration_error, g_free);
        if (!sim_failed()) {
            g_assert_true(ok);
            g_test_message("%u calls", nth - 1);
            g_assert_cmpuint(nth, >, 10);
            sim_fail(0);
            mig_end();
            break;
        }
        sim_fail(0);
        mig_end();
    }
}

/* ---- cancelled ---- */

static void test_cancel(void)
{
    for (unsigned phase = 0; phase < 5; phase++) {
        bool drained;

        mig_begin(ALL, 2 * MiB);
        mig_plug(1);
        mig_setup(0);
        if (phase > 0) {
            g_assert_true(mig_ops->iterate(mig_of(0), &drained, NULL));
        }
        if (phase > 1) {
            mig_send_all(0);
        }
        if (phase > 2) {
            vm_stop(RUN_STATE_FINISH_MIGRATE);
        }
        if (phase > 3) {
            mig_complete(0);
        }
        mig_ops->cleanup(mig_of(0));
        is_running = false;
        g_assert_cmpuint(sims[0]->mig.state, ==,
                         phase > 2 ? VFIO_DEVICE_STATE_STOP : VFIO_DEVICE_STATE_RUNNING);
        vm_start();
        g_assert_cmpuint(sims[0]->mig.state, ==, VFIO_DEVICE_STATE_RUNNING);
        g_assert_cmpint(mig_of(0)->data_fd, ==, -1);

        /* And once more, to the end. */
        forget_pieces();
        mig_setup(0);
        mig_send_all(0);
        vm_stop(RUN_STATE_FINISH_MIGRATE);
        mig_complete(0);
        mig_ops->cleanup(mig_of(0));
        mig_end();
    }
}

/* The guest, or who resets the machine, resets a device whose state is being sent. */
static void test_reset(void)
{
    g_autoptr(GError) err = NULL;
    bool drained;

    mig_begin(ALL, 100);
    mig_plug(1);
    mig_setup(0);
    VFIO_PCI(devices[0])->use = VFIO_IN_USE;
    PCI_DEVICE_GET_CLASS(devices[0])->reset(devices[0]);
    g_assert_nonnull(strstr(migration_error, "was reset while its state was being transferred"));
    g_free(take_migration_error());
    g_assert_cmpuint(vfio_migration_state(mig_of(0)), ==, VFIO_DEVICE_STATE_RUNNING);
    g_assert_cmpint(mig_of(0)->data_fd, ==, -1);
    mig_ops->cleanup(mig_of(0));

    /* Somebody else does: that its data is another's is seen at the next state. */
    mig_setup(0);
    g_assert_cmpint(hostcalls->ioctl(VFIO_PCI(devices[0])->vbasedev->fd, VFIO_DEVICE_RESET, NULL),
                    ==, 0);
    g_assert_false(mig_ops->iterate(mig_of(0), &drained, &err));
    g_assert_nonnull(strstr(err->message, "reading its state failed: No such device"));
    vm_stop(RUN_STATE_FINISH_MIGRATE);
    g_assert_nonnull(strstr(migration_error, "its data has another descriptor than expected"));
    g_free(take_migration_error());
    mig_ops->cleanup(mig_of(0));
    vm_start();
    g_assert_cmpuint(sims[0]->mig.state, ==, VFIO_DEVICE_STATE_RUNNING);
    mig_end();
}

static void add_tests(void)
{
    migration_fixture_begin();
    machine_lock();
    g_test_add_func("/vfio/migration/transfer", test_transfer);
    g_test_add_func("/vfio/migration/paused", test_paused);
    g_test_add_func("/vfio/migration/pending", test_pending);
    g_test_add_func("/vfio/migration/io-errors", test_io_errors);
    g_test_add_func("/vfio/migration/refused", test_refused);
    g_test_add_func("/vfio/migration/sweep", test_sweep);
    g_test_add_func("/vfio/migration/cancel", test_cancel);
    g_test_add_func("/vfio/migration/reset", test_reset);
}

int main(int argc, char **argv)
{
    int ret = vfio_test_run(argc, argv, add_tests);

    migration_fixture_end();
    return ret;
}
