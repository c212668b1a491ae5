/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The migration that this process is the source of, and how it ends early. */
#include "source.h"

#include "core/lock.h"
#include "migration/control.h"
#include "util/error.h"

/* How long an answer is waited for when nothing can be sent any more. */
#define ANSWER_US G_USEC_PER_SEC

MigrationSource outgoing;

void source_shut_down(void)
{
    g_cancellable_cancel(outgoing.cancel);
    for (unsigned i = 0; i < outgoing.nr_streams; i++) {
        migration_channel_shutdown(outgoing.streams[i]->channel);
    }
    if (outgoing.cpr_channel) {
        migration_channel_shutdown(outgoing.cpr_channel);
    }
    g_cond_broadcast(&outgoing.changed);
}

void source_fail(const GError *err)
{
    g_mutex_lock(&outgoing.lock);
    if (!outgoing.over && !g_atomic_int_get(&outgoing.stop)) {
        outgoing.err = g_error_copy(err);
        g_atomic_int_set(&outgoing.stop, 1);
        source_shut_down();
    }
    g_mutex_unlock(&outgoing.lock);
}

void source_fail_sending(const GError *err)
{
    gint64 until = g_get_monotonic_time() + ANSWER_US;
    bool broken = false;

    g_mutex_lock(&outgoing.lock);
    for (unsigned i = 0; i < outgoing.nr_streams; i++) {
        broken |= g_atomic_int_get(&outgoing.streams[i]->broken);
    }
    while (broken && outgoing.reader && !g_atomic_int_get(&outgoing.stop) &&
           g_cond_wait_until(&outgoing.changed, &outgoing.lock, until)) {
    }
    g_mutex_unlock(&outgoing.lock);
    source_fail(err);
}

void migration_set_error(const GError *err)
{
    if (outgoing.thread) {
        source_fail(err);
    }
}

void migration_cancel(void)
{
    bool cancelled;

    g_mutex_lock(&outgoing.lock);
    cancelled = outgoing.thread && !outgoing.finished && !outgoing.over &&
                !g_atomic_int_get(&outgoing.stop);
    if (cancelled) {
        outgoing.cancelled = true;
        g_atomic_int_set(&outgoing.stop, 1);
        source_shut_down();
    }
    g_mutex_unlock(&outgoing.lock);
    if (cancelled) {
        migration_set_status(MIGRATION_STATUS_CANCELLING);
    }
}

bool source_is_stopping(void *opaque)
{
    return g_atomic_int_get(&outgoing.stop);
}

bool source_stopped_error(GError **errp)
{
    return error_set(errp, "the migration was stopped");
}

void source_set_status(MigrationStatus status)
{
    machine_lock();
    if (!g_atomic_int_get(&outgoing.stop)) {
        migration_set_status(status);
    }
    machine_unlock();
}

bool migration_is_running(void)
{
    return outgoing.thread && !outgoing.finished;
}

MigMode migration_mode(void)
{
    return migration_parameters.mode;
}
