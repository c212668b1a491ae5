/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * cpr-transfer: both processes are there at the same time.  The new one waits, before it makes
 * anything, for the old one to send the descriptors by the cpr channel; the old one then waits for
 * the new one to have its machine.  Only after that does the VM stop.
 */
#include <glib-unix.h>
#include <string.h>

#include "core/lock.h"
#include "core/runstate.h"
#include "cpr-internal.h"
#include "migration/control.h"
#include "util/error.h"
#include "util/trace.h"

/* ---- the old process ---- */

static bool is_of_type_cpr(JsonNode *node)
{
    return JSON_NODE_HOLDS_OBJECT(node) &&
           !g_strcmp0(json_object_get_string_member_with_default(json_node_get_object(node),
                                                                 "channel-type", NULL),
                      "cpr");
}

static MigrationAddress *address_of(JsonObject *channel, GError **errp)
{
    if (!json_object_has_member(channel, "addr") ||
        !JSON_NODE_HOLDS_OBJECT(json_object_get_member(channel, "addr"))) {
        error_set(errp, "a channel of type cpr needs an 'addr'");
        return NULL;
    }
    return migration_address_from_json(json_object_get_object_member(channel, "addr"), errp);
}

bool cpr_split_channels(JsonArray *channels, JsonArray **main, MigrationAddress **cpr,
                        GError **errp)
{
    *main = channels ? json_array_new() : NULL;
    *cpr = NULL;
    for (guint i = 0; channels && i < json_array_get_length(channels); i++) {
        JsonNode *node = json_array_get_element(channels, i);

        if (!is_of_type_cpr(node)) {
            json_array_add_element(*main, json_node_copy(node));
            continue;
        }
        if (*cpr) {
            return error_set(errp, "there are two channels of type cpr");
        }
        *cpr = address_of(json_node_get_object(node), errp);
        if (!*cpr) {
            return false;
        }
    }
    return true;
}

static bool may_exec(const MigrationAddress *main, GError **errp)
{
    if (!migration_parameters.cpr_exec_command || !*migration_parameters.cpr_exec_command) {
        return error_set(errp, "mode=cpr-exec needs the parameter cpr-exec-command");
    }
    if (migration_capability(MIG_CAP_MULTIFD)) {
        return error_set(errp, "mode=cpr-exec sends no memory: no use for multifd");
    }
    return migration_address_is_file(main) ||
           error_set(errp, "mode=cpr-exec needs a file for a main channel, which the new program "
                           "reads (-incoming file:...)");
}

bool cpr_may_start(MigMode mode, const MigrationAddress *main, const MigrationAddress *cpr,
                   GError **errp)
{
    if (mode == MIG_MODE_CPR_EXEC && !cpr) {
        return may_exec(main, errp) && cpr_check(errp);
    }
    if (mode != MIG_MODE_CPR_TRANSFER) {
        return !cpr || error_set(errp, "a channel of type cpr needs mode=cpr-transfer");
    }
    if (!cpr) {
        return error_set(errp, "missing 'cpr' migration channel");
    }
    if (!migration_address_is_duplex(main)) {
        return error_set(errp, "mode=cpr-transfer needs a main channel with a way back: a socket");
    }
    if (migration_capability(MIG_CAP_MULTIFD)) {
        return error_set(errp, "mode=cpr-transfer sends no memory: no use for multifd");
    }
    return cpr_check(errp);
}

typedef struct Message {
    GByteArray *data;
    GArray *fds;
} Message;

static Message message_new(void)
{
    return (Message) { g_byte_array_new(), g_array_new(FALSE, FALSE, sizeof(int)) };
}

static void message_clear(Message *m)
{
    g_byte_array_unref(m->data);
    g_array_unref(m->fds);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Message, message_clear)

static Message *message; /* of the call in the main thread that is under way */

static bool save_objects(GError **errp)
{
    if (!cpr_check(errp)) {
        return false;
    }
    cpr_begin();
    cpr_save(message->data, message->fds);
    return true;
}

static bool save_switchover(GError **errp)
{
    return cpr_stop(message->data, message->fds, errp);
}

static bool send(MigrationChannel *ch, CprMessage kind, bool (*fn)(GError **errp), GError **errp)
{
    g_auto(Message) m = message_new();
    int64_t t0 = g_get_monotonic_time(), t1;
    bool ok;

    message = &m;
    ok = migration_main_call(fn, errp);
    t1 = g_get_monotonic_time();
    ok = ok && cpr_channel_send(ch, kind, m.data->data, m.data->len, m.fds, errp);
    TRACE("cpr_send",
          "message %d: %u bytes, %u descriptors; made in %" G_GINT64_FORMAT
          " us, sent in %" G_GINT64_FORMAT " us",
          kind, m.data->len, m.fds->len, t1 - t0, g_get_monotonic_time() - t1);
    return ok;
}

static bool await(MigrationChannel *ch, CprMessage wanted, GError **errp)
{
    g_autoptr(GByteArray) text = g_byte_array_new();
    int64_t t0 = g_get_monotonic_time();
    CprMessage kind;

    if (!cpr_channel_receive(ch, &kind, text, NULL, errp)) {
        g_prefix_error(errp, "the new process has not made %s: ",
                       wanted == CPR_LISTENING ? "its machine" : "the same machine");
        return false;
    }
    TRACE("cpr_await", "message %d after %" G_GINT64_FORMAT " us", kind,
          g_get_monotonic_time() - t0);
    return kind == wanted || error_set(errp, "the new process: %s", (char *)text->data);
}

bool cpr_send_objects(MigrationChannel *ch, GError **errp)
{
    return cpr_channel_check(ch, errp) && send(ch, CPR_OBJECTS, save_objects, errp) &&
           await(ch, CPR_LISTENING, errp);
}

bool cpr_await_match(MigrationChannel *ch, GError **errp)
{
    return await(ch, CPR_MATCHED, errp);
}

bool cpr_send_switchover(MigrationChannel *ch, GError **errp)
{
    return send(ch, CPR_SWITCHOVER, save_switchover, errp);
}

/* ---- the new process ---- */

static struct {
    char *spec;
    MigrationListener *listener;
    GCancellable *cancel;
    MigrationChannel *channel;
    guint watch; /* that the old process is still there, until it has connected */
    /* Of the thread that waits for the first message. */
    gint done; /* atomic */
    Message message;
    CprMessage kind;
    GError *err;
} in;

bool cpr_incoming_option(const char *spec, bool *is_cpr, GError **errp)
{
    g_autoptr(JsonNode) node = *spec == '{' ? json_from_string(spec, errp) : NULL;

    *is_cpr = node && is_of_type_cpr(node);
    if (*spec == '{' && !node) {
        return false;
    }
    if (*is_cpr && in.spec) {
        return error_set(errp, "there are two channels of type cpr");
    }
    if (*is_cpr) {
        in.spec = g_strdup(spec);
    }
    return true;
}

static bool receive(Message *m, CprMessage wanted, GError **errp)
{
    CprMessage kind;

    return cpr_channel_receive(in.channel, &kind, m->data, m->fds, errp) &&
           (kind == wanted || error_set(errp, "CPR message %d where %d was due", kind, wanted));
}

static void *first_message_thread(void *opaque)
{
    MigrationChannel *ch = migration_accept(in.listener, in.cancel, &in.err);

    g_atomic_pointer_set(&in.channel, ch);
    if (ch && !g_cancellable_set_error_if_cancelled(in.cancel, &in.err) &&
        cpr_channel_check(ch, &in.err)) {
        receive(&in.message, CPR_OBJECTS, &in.err);
    }
    g_atomic_int_set(&in.done, 1);
    g_main_context_wakeup(NULL);
    return NULL;
}

/* Signals are heard meanwhile.  False without an error: one has come that ends the process. */
static bool await_first_message(GError **errp)
{
    GThread *thread = g_thread_try_new("cpr", first_message_thread, NULL, errp);

    if (!thread) {
        return false;
    }
    machine_unlock(); /* there is no machine yet, but its channels take the lock */
    while (!g_atomic_int_get(&in.done)) {
        g_main_context_iteration(NULL, TRUE);
        if (system_end_is_requested()) {
            g_cancellable_cancel(in.cancel);
            if (g_atomic_pointer_get(&in.channel)) {
                migration_channel_shutdown(in.channel);
            }
        }
    }
    g_thread_join(thread);
    machine_lock();
    if (system_end_is_requested()) {
        g_clear_error(&in.err);
        return false;
    }
    if (in.err) {
        g_propagate_error(errp, g_steal_pointer(&in.err));
        return false;
    }
    return cpr_load(in.message.data->data, in.message.data->len, in.message.fds, errp);
}

static gboolean old_process_gone(gint fd, GIOCondition condition, gpointer opaque)
{
    if (!cpr_channel_is_over(in.channel)) { /* it has sent what is for the thread */
        return G_SOURCE_CONTINUE;
    }
    error_report("CPR: the old process has given up");
    in.watch = 0;
    system_failure_request();
    return G_SOURCE_REMOVE;
}

bool migration_incoming_await_cpr(GError **errp)
{
    g_autoptr(JsonNode) node = in.spec ? json_from_string(in.spec, errp) : NULL;
    g_autoptr(MigrationAddress) address = NULL;
    bool ok;

    if (!in.spec) {
        return cpr_exec_incoming(errp);
    }
    address = node ? address_of(json_node_get_object(node), errp) : NULL;
    in.listener = address ? migration_listen(address, errp) : NULL;
    in.cancel = g_cancellable_new();
    in.message = message_new();
    ok = in.listener && await_first_message(errp);
    g_clear_pointer(&in.listener, migration_listener_free);
    cpr_close_fds(in.message.fds);
    message_clear(&in.message);
    if (!ok && *errp) {
        g_prefix_error(errp, "-incoming %s: ", in.spec);
        migration_incoming_refuse(*errp);
    }
    if (ok) {
        in.watch = g_unix_fd_add(cpr_channel_fd(in.channel), G_IO_HUP, old_process_gone, NULL);
    }
    return ok;
}

void migration_incoming_refuse(const GError *err)
{
    if (in.channel) {
        cpr_channel_send(in.channel, CPR_REFUSED, err->message, strlen(err->message), NULL, NULL);
    }
}

bool cpr_incoming_listening(GError **errp)
{
    if (!in.channel) {
        return true;
    }
    return cpr_channel_send(in.channel, CPR_LISTENING, NULL, 0, NULL, errp);
}

bool cpr_incoming_matched(GError **errp)
{
    return !in.channel || cpr_channel_send(in.channel, CPR_MATCHED, NULL, 0, NULL, errp);
}

void cpr_incoming_connected(void)
{
    if (in.watch) {
        g_source_remove(in.watch);
        in.watch = 0;
    }
}

bool cpr_incoming_switchover(GError **errp)
{
    g_auto(Message) m = message_new();
    bool ok;

    if (cpr_exec_has_switchover()) {
        machine_lock();
        ok = cpr_exec_switchover(errp);
        machine_unlock();
        return ok;
    }
    ok = receive(&m, CPR_SWITCHOVER, errp);
    if (ok) {
        machine_lock();
        ok = cpr_load(m.data->data, m.data->len, m.fds, errp);
        machine_unlock();
    }
    cpr_close_fds(m.fds);
    return ok;
}

void cpr_incoming_shutdown(void)
{
    if (in.channel) {
        migration_channel_shutdown(in.channel);
    }
}

void cpr_incoming_cleanup(void)
{
    cpr_incoming_connected();
    g_clear_pointer(&in.channel, migration_channel_free);
    g_clear_object(&in.cancel);
    g_clear_pointer(&in.spec, g_free);
}
