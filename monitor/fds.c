/* SPDX-License-Identifier: GPL-2.0-or-later */
/* QMP: descriptors from the client, by name and in sets. */
#include "monitor/fds.h"

#include "core/fdset.h"
#include "monitor/command.h"
#include "util/error.h"
#include "util/fd.h"
#include "util/hostcalls.h"

static MonitorFDs *current;

static void close_at(gpointer fd)
{
    host_fd_close(fd);
}

static void close_value(gpointer fd)
{
    hostcalls->close(GPOINTER_TO_INT(fd));
}

void monitor_fds_init(MonitorFDs *m)
{
    m->unclaimed = g_array_new(FALSE, FALSE, sizeof(int));
    g_array_set_clear_func(m->unclaimed, close_at);
    m->names = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, close_value);
}

void monitor_fds_clear(MonitorFDs *m)
{
    g_array_unref(m->unclaimed);
    g_hash_table_unref(m->names);
}

void monitor_fds_receive(MonitorFDs *m, const int *fds, size_t n)
{
    monitor_fds_drop_unclaimed(m);
    g_array_append_vals(m->unclaimed, fds, (guint)n);
}

void monitor_fds_drop_unclaimed(MonitorFDs *m)
{
    g_array_set_size(m->unclaimed, 0);
}

/* Takes the descriptor out of the list; -1: there is none of that name. */
static int take_name(const char *name)
{
    gpointer key, fd;

    if (!current || !g_hash_table_steal_extended(current->names, name, &key, &fd)) {
        return -1;
    }
    g_free(key);
    return GPOINTER_TO_INT(fd);
}

void monitor_fds_set_current(MonitorFDs *m)
{
    current = m;
    fd_set_names(m ? take_name : NULL);
}

/* The next one that came with the command, now the caller's. */
static int take_unclaimed(GError **errp)
{
    int fd = -1;

    if (!current->unclaimed->len) {
        error_set(errp, "No file descriptor supplied via SCM_RIGHTS");
        return -1;
    }
    fd = fd_steal(&g_array_index(current->unclaimed, int, 0));
    g_array_remove_index(current->unclaimed, 0);
    return fd;
}

/* ---- names ---- */

static JsonNode *getfd(JsonObject *args, GError **errp)
{
    const char *name = json_object_get_string_member(args, "fdname");
    int fd = take_unclaimed(errp);

    if (fd < 0) {
        return NULL;
    }
    if (!*name || g_ascii_isdigit(*name)) {
        hostcalls->close(fd);
        error_set(errp, "Parameter 'fdname' expects a name not starting with a digit");
        return NULL;
    }
    g_hash_table_replace(current->names, g_strdup(name), GINT_TO_POINTER(fd));
    return NULL;
}

static JsonNode *closefd(JsonObject *args, GError **errp)
{
    const char *name = json_object_get_string_member(args, "fdname");

    if (!g_hash_table_remove(current->names, name)) {
        error_set(errp, "File descriptor named '%s' not found", name);
    }
    return NULL;
}

/* ---- sets ---- */

static JsonNode *add_fd(JsonObject *args, GError **errp)
{
    gint64 set = json_object_get_int_member_with_default(args, "fdset-id", -1);
    int fd = take_unclaimed(errp);
    JsonObject *o;

    if (fd < 0) {
        return NULL;
    }
    if (set < 0 && json_object_has_member(args, "fdset-id")) {
        hostcalls->close(fd);
        error_set(errp, "Parameter 'fdset-id' expects a non-negative value");
        return NULL;
    }
    set = fdset_add(set, fd, json_object_get_string_member_with_default(args, "opaque", NULL));
    o = json_object_new();
    json_object_set_int_member(o, "fdset-id", set);
    json_object_set_int_member(o, "fd", fd);
    return node_of_object(o);
}

static JsonNode *remove_fd(JsonObject *args, GError **errp)
{
    gint64 set = json_object_get_int_member(args, "fdset-id");

    if (json_object_has_member(args, "fd")) {
        fdset_remove(set, json_object_get_int_member(args, "fd"), errp);
    } else {
        fdset_remove_all(set, errp);
    }
    return NULL;
}

static void list_fd(int64_t set, int fd, const char *opaque, void *data)
{
    JsonArray *sets = data;
    guint n = json_array_get_length(sets);
    JsonObject *last = n ? json_array_get_object_element(sets, n - 1) : NULL;
    JsonObject *o = json_object_new();

    if (!last || json_object_get_int_member(last, "fdset-id") != set) {
        last = json_object_new();
        json_object_set_int_member(last, "fdset-id", set);
        json_object_set_array_member(last, "fds", json_array_new());
        json_array_add_object_element(sets, last);
    }
    json_object_set_int_member(o, "fd", fd);
    if (opaque) {
        json_object_set_string_member(o, "opaque", opaque);
    }
    json_array_add_object_element(json_object_get_array_member(last, "fds"), o);
}

static JsonNode *query_fdsets(JsonObject *args, GError **errp)
{
    JsonArray *sets = json_array_new();

    fdset_foreach(list_fd, sets);
    return node_of_array(sets);
}

static const QMPCommand fd_commands[] = {
    { "getfd", getfd, "fdname:s" },
    { "closefd", closefd, "fdname:s" },
    { "add-fd", add_fd, "fdset-id:i?,opaque:s?" },
    { "remove-fd", remove_fd, "fdset-id:i,fd:i?" },
    { "query-fdsets", query_fdsets },
};

MONITOR_COMMANDS(fd_commands)
