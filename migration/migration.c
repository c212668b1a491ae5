/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The source.  A thread of its own goes through the phases:
 *
 *   setup       connect, say what comes and what this machine is; devices and dirty logs start
 *   active      passes: send what is dirty (RAM, and each device in a thread beside it), learn what
 *               became dirty meanwhile; until what is left fits into the downtime
 *   device      the VM is stopped; the rest, the devices' last state, the states of vmstate.h
 *   completed   the destination has said that it has loaded all, and was told to go
 *
 * Whatever fails before that last word, here or there, leaves the VM with the source, which runs on
 * as it did before.  Where there is no way back (a file, a command), the last byte written is the
 * last word.
 *
 * Locks: what changes the machine is done in the main thread (migration_main_call); outgoing.lock
 * guards the reason of a failure and what the threads wait for, and is a leaf.
 */
#include <string.h>

#include "core/event.h"
#include "core/lock.h"
#include "cpr-internal.h"
#include "migration/vmstate.h"
#include "source.h"
#include "util/error.h"
#include "util/trace.h"

/* Passes that are shorter tell nothing about the bandwidth. */
#define MEASURE_US 20000

static bool stop_vm(GError **errp)
{
    outgoing.was_live = run_state_is_live();
    outgoing.old_state = run_state();
    outgoing.stopped = g_get_monotonic_time();
    g_atomic_int_set(&outgoing.urgent, 1);
    vm_stop(RUN_STATE_FINISH_MIGRATE);
    return !source_is_stopping(NULL) || source_stopped_error(errp);
}

/* Nothing is sent of a VM that runs. */
static bool is_reboot(void)
{
    return migration_mode() == MIG_MODE_CPR_REBOOT;
}

static bool setup(GError **errp)
{
    const char *reason = migration_blocker(migration_mode());

    if (reason) {
        return error_set(errp, "%s", reason);
    }
    if (is_reboot() && !stop_vm(errp)) {
        return false;
    }
    if (outgoing.cpr) {
        cpr_begin();
        outgoing.sections = g_ptr_array_new();
        return true;
    }
    outgoing.sections = migration_sections_take();
    if (!ram_save_setup(is_reboot(), errp)) {
        return false;
    }
    for (guint i = 0; i < outgoing.sections->len; i++) {
        MigrationSection *s = outgoing.sections->pdata[i];

        s->set_up = true; /* also of one that fails */
        s->stream = outgoing.streams[outgoing.channels ? 1 + i % outgoing.channels : 0];
        if (s->ops->setup && !s->ops->setup(s->opaque, errp)) {
            return false;
        }
    }
    return true;
}

static bool send_machine(GError **errp)
{
    g_autofree char *text = NULL;

    machine_lock();
    text = migration_machine_describe(outgoing.sections, ram_save_files());
    machine_unlock();
    return stream_send(outgoing.streams[0], RECORD_MACHINE, 0, text, strlen(text), NULL, 0, errp);
}

static void sync_dirty(void)
{
    JsonObject *data = json_object_new();

    machine_lock();
    ram_save_sync();
    json_object_set_int_member(data, "pass", (gint64)ram_stats.dirty_sync_count);
    if (migration_capability(MIG_CAP_EVENTS)) {
        event_emit("MIGRATION_PASS", data);
    } else {
        json_object_unref(data);
    }
    machine_unlock();
}

/* Whether what is left can be sent within the downtime. */
static bool fits(void)
{
    uint64_t bandwidth = migration_avail_switchover_bandwidth() ?: outgoing.bandwidth;
    double limit = bandwidth / 1000.0 * migration_downtime_limit();

    return (source_pending(false) <= limit || outgoing.sections->len) &&
           source_pending(true) <= limit;
}

static bool precopy(GError **errp)
{
    bool live;

    do {
        int64_t start = g_get_monotonic_time(), took;
        uint64_t before = source_bytes_sent();

        if (!source_iterate(errp)) {
            return false;
        }
        took = g_get_monotonic_time() - start;
        if (took >= MEASURE_US || !outgoing.bandwidth) {
            outgoing.bandwidth = (source_bytes_sent() - before) * 1e6 / MAX(took, 1);
        }
        machine_lock();
        live = run_state_is_live();
        machine_unlock();
        if (live) {
            sync_dirty();
            migration_throttle(ram_stats.remaining, source_bytes_sent() - before);
        }
        TRACE("migration_pass", "pending %" G_GUINT64_FORMAT " bandwidth %" G_GUINT64_FORMAT,
              source_pending(false), outgoing.bandwidth);
    } while (!source_is_stopping(NULL) && live && !(fits() && source_devices_ready()));
    return true;
}

static bool begin_switchover(GError **errp)
{
    if (!outgoing.stopped && !stop_vm(errp)) {
        return false;
    }
    outgoing.precopy_bytes = source_bytes_sent();
    if (!outgoing.cpr) {
        ram_save_sync();
    }
    return !source_is_stopping(NULL) || source_stopped_error(errp);
}

void migration_request_again(const EndRecord *end)
{
    if (end->reset) {
        system_reset_request(end->reset);
    }
    if (end->shutdown) {
        system_shutdown_request(end->shutdown);
    }
}

static bool save_states(GError **errp)
{
    ShutdownCause reset, shutdown;

    system_requests_take(&reset, &shutdown);
    outgoing.end = (EndRecord) { .reset = reset, .shutdown = shutdown };
    outgoing.end.state =
        (outgoing.was_live ? END_LIVE : 0) | (run_state_is_asleep() ? END_ASLEEP : 0);
    outgoing.states = g_byte_array_new();
    if (!vmstate_save_all(outgoing.states, errp)) {
        return false;
    }
    outgoing.end.kept = ram_files_sum(ram_save_files());
    return outgoing.states->len <= RECORD_MAX ||
           error_set(errp,
                     "the states of the machine are %u bytes, more than a stream has place for",
                     outgoing.states->len);
}

/* The user has something to do between the last guest instruction and the last device state. */
static void wait_for_user(void)
{
    source_set_status(MIGRATION_STATUS_PRE_SWITCHOVER);
    g_mutex_lock(&outgoing.lock);
    while (!outgoing.may_continue && !source_is_stopping(NULL)) {
        g_cond_wait(&outgoing.changed, &outgoing.lock);
    }
    g_mutex_unlock(&outgoing.lock);
}

static bool send_devices(GError **errp)
{
    return outgoing.cpr_address ? cpr_send_switchover(outgoing.cpr_channel, errp)
           : outgoing.cpr       ? migration_main_call(cpr_exec_stop, errp)
                                : source_complete(errp);
}

static bool send_rest(GError **errp)
{
    return send_devices(errp) && migration_main_call(save_states, errp) &&
           stream_send(outgoing.streams[0], RECORD_STATES, 0, outgoing.states->data,
                       outgoing.states->len, NULL, 0, errp) &&
           stream_send(outgoing.streams[0], RECORD_END, 0, &outgoing.end, sizeof(outgoing.end),
                       NULL, 0, errp);
}

/* From here on the VM is the destination's, or it stays ours. */
static bool hand_over(GError **errp)
{
    bool over;

    for (unsigned i = 0; i < outgoing.nr_streams && !source_is_duplex(); i++) {
        if (!migration_channel_finish(outgoing.streams[i]->channel, errp)) {
            return false;
        }
    }
    if (outgoing.cpr && !outgoing.cpr_address) {
        return !source_is_stopping(NULL) && migration_main_call(cpr_exec, errp);
    }
    g_mutex_lock(&outgoing.lock);
    while (source_is_duplex() && !outgoing.confirmed && !source_is_stopping(NULL)) {
        g_cond_wait(&outgoing.changed, &outgoing.lock);
    }
    over = outgoing.over = !g_atomic_int_get(&outgoing.stop);
    g_mutex_unlock(&outgoing.lock);
    if (!over) {
        return source_stopped_error(errp);
    }
    if (source_is_duplex() &&
        !stream_send(outgoing.streams[0], RECORD_GO, 0, NULL, 0, NULL, 0, errp)) {
        g_mutex_lock(&outgoing.lock);
        outgoing.over = false; /* what was not sent whole moves nobody to go */
        g_mutex_unlock(&outgoing.lock);
        return false;
    }
    return true;
}

static bool switchover(GError **errp)
{
    migration_throttle_end();
    if (!migration_main_call(begin_switchover, errp)) {
        return false;
    }
    if (migration_capability(MIG_CAP_PAUSE_BEFORE_SWITCHOVER)) {
        wait_for_user();
    }
    source_set_status(MIGRATION_STATUS_DEVICE);
    return send_rest(errp) && hand_over(errp);
}

/* The new process makes its machine of what it gets here, while the VM runs on. */
static bool connect_cpr(GError **errp)
{
    MigrationChannel *channel = migration_connect(outgoing.cpr_address, outgoing.cancel, errp);

    g_mutex_lock(&outgoing.lock);
    outgoing.cpr_channel = channel;
    g_mutex_unlock(&outgoing.lock);
    return channel && !source_is_stopping(NULL) && cpr_send_objects(channel, errp);
}

static bool run(GError **errp)
{
    g_autoptr(GError) err = NULL;

    if (outgoing.cpr_address && !connect_cpr(errp)) {
        return source_is_stopping(NULL) ? source_stopped_error(NULL) : false;
    }
    if (!source_connect(errp) || !migration_main_call(setup, errp)) {
        return false;
    }
    if (source_is_duplex()) {
        outgoing.reader = g_thread_try_new("mig/answers", source_reader, NULL, &err);
        if (!outgoing.reader) {
            return error_set(errp, "%s", err->message);
        }
    }
    if (!send_machine(errp) ||
        (outgoing.cpr_address && !cpr_await_match(outgoing.cpr_channel, errp))) {
        return false;
    }
    outgoing.setup_done = g_get_monotonic_time();
    source_set_status(MIGRATION_STATUS_ACTIVE);
    return (outgoing.cpr || precopy(errp)) && switchover(errp);
}

/* In the main thread, the thread being done: the machine as it is to be from now on. */
static bool finish(GError **errp)
{
    bool done = outgoing.over;

    outgoing.ended = g_get_monotonic_time();
    ram_save_cleanup();
    if (outgoing.sections && !done) {
        migration_sections_release(g_steal_pointer(&outgoing.sections));
    }
    if (outgoing.cpr) {
        if (done) {
            cpr_give_away();
        } else {
            cpr_undo();
        }
        g_clear_pointer(&outgoing.cpr_channel, migration_channel_free);
    }
    if (done) {
        vm_stop(RUN_STATE_POSTMIGRATE);
        migration_set_status(MIGRATION_STATUS_COMPLETED);
        migration_sections_release(g_steal_pointer(&outgoing.sections)); /* out of the downtime */
    } else {
        if (outgoing.stopped && !outgoing.ending) {
            vm_stop(outgoing.was_live ? RUN_STATE_PAUSED : outgoing.old_state);
            if (outgoing.was_live) {
                vm_start();
            }
            migration_request_again(&outgoing.end);
        }
        migration_set_status(outgoing.cancelled ? MIGRATION_STATUS_CANCELLED
                                                : MIGRATION_STATUS_FAILED);
    }
    source_disconnect();
    g_clear_pointer(&outgoing.states, g_byte_array_unref);
    outgoing.finished = true;
    return true;
}

void *source_thread(void *opaque)
{
    GError *err = NULL;

    if (!run(&err)) {
        source_fail_sending(err);
        g_error_free(err);
    }
    migration_throttle_end();
    g_mutex_lock(&outgoing.lock);
    source_shut_down();
    g_mutex_unlock(&outgoing.lock);
    if (outgoing.reader) {
        g_thread_join(outgoing.reader);
    }
    migration_main_call(finish, NULL);
    return NULL;
}
