/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QMP sessions, one a chardev.  A client gets the greeting, says qmp_capabilities, and then has one
 * command after another carried out, in order, in the main loop; events go to every session that
 * has got so far.  When a client leaves, the session waits for the next one.
 *
 * Answers are never dropped: while a client does not take what it was sent, no further commands are
 * read from it.  Events are dropped once a client has left a mebibyte unread.
 *
 * In a live update a session of a chardev with x-cpr=on goes on in the new process, in the middle
 * of a request if need be.  An old process that has no other session has nobody who could end it,
 * and ends by itself.
 */
#include "monitor/command.h"

#include <math.h>
#include <string.h>

#include "core/event.h"
#include "core/runstate.h"
#include "monitor/fds.h"
#include "monitor/framer.h"
#include "util/error.h"
#include "util/keyval.h"
#include "util/trace.h"

#define READ_SIZE        1024
#define UNREAD_NO_INPUT  (64 * 1024)
#define UNREAD_NO_EVENTS (1024 * 1024)

typedef struct MonitorQMP {
    Chardev *chr;
    bool pretty;
    bool negotiated; /* qmp_capabilities has been said */
    bool handed_over;
    JSONFramer framer;
    MonitorFDs fds;
} MonitorQMP;

static GPtrArray *sessions;
static MonitorQMP *current; /* whose command is being carried out */

JsonObject *monitor_version(void)
{
    /* Whose interface we speak; what we are is in "package". */
    static const struct {
        const char *name;
        int number;
    } triple[] = { { "micro", 3 }, { "minor", 1 }, { "major", 11 } };
    JsonObject *qemu = json_object_new(), *version = json_object_new();

    for (size_t i = 0; i < G_N_ELEMENTS(triple); i++) {
        json_object_set_int_member(qemu, triple[i].name, triple[i].number);
    }
    json_object_set_object_member(version, "qemu", qemu);
    json_object_set_string_member(version, "package", "viaduct-" VIADUCT_VERSION);
    return version;
}

/* ---- output ---- */

static void send_object(MonitorQMP *mon, JsonObject *message)
{
    g_autoptr(JsonNode) node = node_of_object(json_object_ref(message));
    g_autofree char *raw = json_to_string(node, mon->pretty);
    /* A name from a command line, or what the JSON parser complains of, may be any bytes. */
    g_autofree char *text = g_utf8_make_valid(raw, -1);
    g_autofree char *line = g_strconcat(text, "\r\n", NULL);

    TRACE("monitor_qmp_respond", "%s %s", chardev_id(mon->chr), text);
    chardev_write(mon->chr, line, strlen(line));
}

static void send_greeting(MonitorQMP *mon)
{
    g_autoptr(JsonObject) greeting = json_object_new();
    JsonObject *qmp = json_object_new();

    json_object_set_object_member(qmp, "version", monitor_version());
    json_object_set_array_member(qmp, "capabilities", json_array_new());
    json_object_set_object_member(greeting, "QMP", qmp);
    send_object(mon, greeting);
}

static void send_event(const char *name, JsonObject *data, void *opaque)
{
    g_autoptr(JsonObject) event = json_object_new();
    JsonObject *timestamp = json_object_new();
    gint64 now = g_get_real_time();

    json_object_set_int_member(timestamp, "seconds", now / G_USEC_PER_SEC);
    json_object_set_int_member(timestamp, "microseconds", now % G_USEC_PER_SEC);
    json_object_set_object_member(event, "timestamp", timestamp);
    json_object_set_string_member(event, "event", name);
    if (data) {
        json_object_set_object_member(event, "data", json_object_ref(data));
    }
    for (guint i = 0; i < sessions->len; i++) {
        MonitorQMP *mon = sessions->pdata[i];

        if (mon->negotiated && chardev_queued(mon->chr) < UNREAD_NO_EVENTS) {
            send_object(mon, event);
        }
    }
}

/* ---- one request ---- */

static JsonNode *qmp_capabilities(JsonObject *args, GError **errp)
{
    if (current->negotiated) {
        error_set_class(errp, ERROR_CLASS_COMMAND_NOT_FOUND,
                        "Capabilities negotiation is already complete, command ignored");
        return NULL;
    }
    if (json_object_has_member(args, "enable") &&
        json_array_get_length(json_object_get_array_member(args, "enable"))) {
        error_set(errp, "The greeting offered no capability to enable");
        return NULL;
    }
    current->negotiated = true;
    return NULL;
}

static const QMPCommand qmp_commands[] = {
    { "qmp_capabilities", qmp_capabilities, "enable:a?" },
};

MONITOR_COMMANDS(qmp_commands)

/* "execute", "arguments" and "id" are all that a request may have. */
static bool check_request(JsonObject *request, GError **errp)
{
    JsonObjectIter iter;
    const char *member;
    JsonNode *value;

    json_object_iter_init_ordered(&iter, request);
    while (json_object_iter_next_ordered(&iter, &member, &value)) {
        if (g_str_equal(member, "execute")) {
            if (!JSON_NODE_HOLDS_VALUE(value) || json_node_get_value_type(value) != G_TYPE_STRING) {
                return error_set(errp, "QMP input member 'execute' must be a string");
            }
        } else if (g_str_equal(member, "arguments")) {
            if (!JSON_NODE_HOLDS_OBJECT(value)) {
                return error_set(errp, "QMP input member 'arguments' must be an object");
            }
        } else if (!g_str_equal(member, "id")) {
            return error_set(errp, "QMP input member '%s' is unexpected", member);
        }
    }
    return json_object_has_member(request, "execute") ||
           error_set(errp, "QMP input lacks member 'execute'");
}

/* The "return" value, a new node; NULL and the error otherwise. */
static JsonNode *execute(MonitorQMP *mon, JsonObject *request, GError **errp)
{
    g_autoptr(JsonObject) args = NULL;
    g_autoptr(GError) err = NULL;
    const char *name;
    const QMPCommand *cmd;
    JsonNode *result;

    if (!check_request(request, errp)) {
        return NULL;
    }
    name = json_object_get_string_member(request, "execute");
    cmd = monitor_find_command(name);
    if (!mon->negotiated && (!cmd || cmd->run != qmp_capabilities)) {
        error_set_class(errp, ERROR_CLASS_COMMAND_NOT_FOUND,
                        "Expecting capabilities negotiation with 'qmp_capabilities'");
        return NULL;
    }
    if (!cmd) {
        error_set_class(errp, ERROR_CLASS_COMMAND_NOT_FOUND, "The command %s has not been found",
                        name);
        return NULL;
    }
    args = json_object_has_member(request, "arguments")
               ? json_object_ref(json_object_get_object_member(request, "arguments"))
               : json_object_new();
    if (!monitor_check_args(cmd, args, errp)) {
        return NULL;
    }
    current = mon;
    monitor_fds_set_current(&mon->fds);
    result = cmd->run(args, &err);
    monitor_fds_set_current(NULL);
    current = NULL;
    if (err) {
        g_propagate_error(errp, g_steal_pointer(&err));
        return NULL;
    }
    return result ?: node_of_object(json_object_new());
}

static void send_error(MonitorQMP *mon, const GError *err, JsonNode *id)
{
    g_autoptr(JsonObject) answer = json_object_new();
    JsonObject *error = json_object_new();

    if (id) {
        json_object_set_member(answer, "id", json_node_copy(id));
    }
    json_object_set_string_member(error, "class", error_class_name(err));
    json_object_set_string_member(error, "desc", err->message);
    json_object_set_object_member(answer, "error", error);
    send_object(mon, answer);
}

static void handle_request(MonitorQMP *mon, JsonNode *node)
{
    g_autoptr(JsonObject) answer = json_object_new();
    g_autoptr(GError) err = NULL;
    JsonNode *result, *id;

    if (!JSON_NODE_HOLDS_OBJECT(node)) {
        error_set(&err, "QMP input must be a JSON object");
        send_error(mon, err, NULL);
        return;
    }
    id = json_object_get_member(json_node_get_object(node), "id");
    result = execute(mon, json_node_get_object(node), &err);
    if (!result) {
        send_error(mon, err, id);
        return;
    }
    json_object_set_member(answer, "return", result);
    if (id) {
        json_object_set_member(answer, "id", json_node_copy(id));
    }
    send_object(mon, answer);
}

static const char *value_fault(JsonNode *node)
{
    GType type = json_node_get_value_type(node);

    if (type == G_TYPE_DOUBLE && !isfinite(json_node_get_double(node))) {
        return "number out of range";
    }
    if (type == G_TYPE_STRING && !g_utf8_validate(json_node_get_string(node), -1, NULL)) {
        return "string is not valid Unicode";
    }
    return NULL;
}

/*
 * "1e999" and "\ud800" are good JSON, but what the parser makes of them cannot be written down
 * again.  NULL: all can.
 */
static const char *fault(JsonNode *node)
{
    const char *found = NULL, *name;

    if (JSON_NODE_HOLDS_VALUE(node)) {
        return value_fault(node);
    }
    if (JSON_NODE_HOLDS_ARRAY(node)) {
        JsonArray *array = json_node_get_array(node);

        for (guint i = 0; !found && i < json_array_get_length(array); i++) {
            found = fault(json_array_get_element(array, i));
        }
    }
    if (JSON_NODE_HOLDS_OBJECT(node)) {
        JsonObjectIter iter;
        JsonNode *member;

        json_object_iter_init(&iter, json_node_get_object(node));
        while (!found && json_object_iter_next(&iter, &name, &member)) {
            found = g_utf8_validate(name, -1, NULL) ? fault(member) : "name is not valid Unicode";
        }
    }
    return found;
}

static void handle_frame(const char *text, const char *error, void *opaque)
{
    MonitorQMP *mon = opaque;
    g_autoptr(GError) err = NULL;
    g_autoptr(JsonNode) node = NULL;

    if (error) {
        error_set(&err, "%s", error);
    } else {
        TRACE("monitor_qmp_in", "%s %s", chardev_id(mon->chr), text);
        node = json_parse(text, &err);
        if (node && fault(node)) {
            error_set(&err, "JSON parse error, %s", fault(node));
        }
    }
    if (err) {
        send_error(mon, err, NULL);
    } else {
        handle_request(mon, node);
    }
}

/* ---- sessions ---- */

static size_t session_can_read(void *opaque)
{
    MonitorQMP *mon = opaque;

    return chardev_queued(mon->chr) < UNREAD_NO_INPUT ? READ_SIZE : 0;
}

static void session_read(void *opaque, const uint8_t *buf, size_t len)
{
    MonitorQMP *mon = opaque;

    json_framer_feed(&mon->framer, buf, len, handle_frame, mon);
}

static void session_take_fds(void *opaque, const int *fds, size_t n)
{
    monitor_fds_receive(&((MonitorQMP *)opaque)->fds, fds, n);
}

static bool all_handed_over(void)
{
    for (guint i = 0; i < sessions->len; i++) {
        if (!((MonitorQMP *)sessions->pdata[i])->handed_over) {
            return false;
        }
    }
    return true;
}

static void session_event(void *opaque, ChardevEvent event)
{
    MonitorQMP *mon = opaque;

    mon->handed_over = event == CHARDEV_HANDED_OVER;
    mon->negotiated = false;
    json_framer_reset(&mon->framer);
    monitor_fds_drop_unclaimed(&mon->fds);
    if (event == CHARDEV_OPENED) {
        send_greeting(mon);
    }
    if (mon->handed_over && run_state_is_given_away() && all_handed_over()) {
        system_shutdown_request(SHUTDOWN_CAUSE_HOST_QMP_QUIT);
    }
}

/* What live update sends of a session: 1 if it is negotiated, else 0; the framer's. */
static void session_save(void *opaque, GByteArray *state)
{
    MonitorQMP *mon = opaque;
    const uint8_t negotiated = mon->negotiated;

    g_byte_array_append(state, &negotiated, 1);
    json_framer_save(&mon->framer, state);
}

static bool session_load(void *opaque, const uint8_t *state, size_t len, GError **errp)
{
    MonitorQMP *mon = opaque;

    if (!len || *state > 1 || !json_framer_load(&mon->framer, state + 1, len - 1)) {
        return error_set(errp, "the old process has sent %zu bytes, which are no QMP session", len);
    }
    mon->negotiated = *state;
    return true;
}

static const ChardevFrontend session_frontend = {
    .can_read = session_can_read,
    .read = session_read,
    .take_fds = session_take_fds,
    .event = session_event,
    .save = session_save,
    .load = session_load,
};

static void session_free(gpointer data)
{
    MonitorQMP *mon = data;

    json_framer_clear(&mon->framer);
    monitor_fds_clear(&mon->fds);
    g_free(mon);
}

bool monitor_init_qmp(Chardev *chr, bool pretty, GError **errp)
{
    MonitorQMP *mon = g_new0(MonitorQMP, 1);

    mon->chr = chr;
    mon->pretty = pretty;
    json_framer_init(&mon->framer);
    monitor_fds_init(&mon->fds);
    if (!chardev_attach(chr, &session_frontend, mon, errp)) {
        session_free(mon);
        return false;
    }
    chardev_set_queue_limit(chr, SIZE_MAX);
    if (!sessions) {
        sessions = g_ptr_array_new_with_free_func(session_free);
        event_set_listener(send_event, NULL);
    }
    g_ptr_array_add(sessions, mon);
    return true;
}

void monitor_cleanup(void)
{
    event_set_listener(NULL, NULL);
    for (guint i = 0; sessions && i < sessions->len; i++) {
        chardev_detach(((MonitorQMP *)sessions->pdata[i])->chr);
    }
    g_clear_pointer(&sessions, g_ptr_array_unref);
}
