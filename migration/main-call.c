/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Calls of a migration's threads into the main thread. */
#include "internal.h"

typedef struct MainCall {
    bool (*fn)(GError **errp);
    GError *err;
    bool ok, done;
} MainCall;

static GMutex call_lock;
static GCond call_done;

static gboolean run_main_call(gpointer opaque)
{
    MainCall *call = opaque;
    bool ok;

    g_mutex_lock(&call_lock); /* what the caller has done before is seen from here on */
    g_mutex_unlock(&call_lock);
    ok = call->fn(&call->err);
    g_mutex_lock(&call_lock);
    call->ok = ok;
    call->done = true;
    g_cond_broadcast(&call_done);
    g_mutex_unlock(&call_lock);
    return G_SOURCE_REMOVE;
}

bool migration_main_call(bool (*fn)(GError **errp), GError **errp)
{
    MainCall call = { .fn = fn };
    g_autoptr(GSource) source = g_idle_source_new();

    g_source_set_priority(source, G_PRIORITY_HIGH);
    g_source_set_callback(source, run_main_call, &call, NULL);
    g_mutex_lock(&call_lock);
    g_source_attach(source, NULL);
    while (!call.done) {
        g_cond_wait(&call_done, &call_lock);
    }
    g_mutex_unlock(&call_lock);
    if (call.err) {
        g_propagate_error(errp, call.err);
    }
    return call.ok;
}
