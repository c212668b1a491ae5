/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The commands of all files of monitor/, and the check of arguments against what they declare. */
#include "monitor/command.h"

#include <string.h>

#include "util/error.h"

static GPtrArray *commands;

void monitor_register_commands(const QMPCommand *table, size_t n)
{
    if (!commands) {
        commands = g_ptr_array_new();
    }
    for (size_t i = 0; i < n; i++) {
        g_ptr_array_add(commands, (gpointer)&table[i]);
    }
}

const QMPCommand *monitor_find_command(const char *name)
{
    for (guint i = 0; i < commands->len; i++) {
        const QMPCommand *cmd = commands->pdata[i];

        if (g_str_equal(cmd->name, name)) {
            return cmd;
        }
    }
    return NULL;
}

void monitor_foreach_command(void (*fn)(const QMPCommand *cmd, void *opaque), void *opaque)
{
    for (guint i = 0; i < commands->len; i++) {
        fn(commands->pdata[i], opaque);
    }
}

static bool is_value(JsonNode *node, GType type)
{
    return JSON_NODE_HOLDS_VALUE(node) && json_node_get_value_type(node) == type;
}

static bool is_string(JsonNode *node)
{
    return is_value(node, G_TYPE_STRING);
}

static bool is_bool(JsonNode *node)
{
    return is_value(node, G_TYPE_BOOLEAN);
}

static bool is_int(JsonNode *node)
{
    return is_value(node, G_TYPE_INT64);
}

static bool is_number(JsonNode *node)
{
    return is_int(node) || is_value(node, G_TYPE_DOUBLE);
}

static bool is_object(JsonNode *node)
{
    return JSON_NODE_HOLDS_OBJECT(node);
}

static bool is_array(JsonNode *node)
{
    return JSON_NODE_HOLDS_ARRAY(node);
}

static const struct {
    char letter;
    const char *name;
    bool (*is)(JsonNode *node);
} types[] = {
    { 's', "string", is_string }, { 'b', "boolean", is_bool },  { 'i', "integer", is_int },
    { 'n', "number", is_number }, { 'o', "object", is_object }, { 'a', "array", is_array },
};

/* @spec: the type's letter and perhaps '?'. */
static bool check_arg(const char *name, const char *spec, JsonNode *value, GError **errp)
{
    if (!value) {
        return spec[1] == '?' || error_set(errp, "Parameter '%s' is missing", name);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(types); i++) {
        if (types[i].letter == *spec && !types[i].is(value)) {
            return error_set(errp, "Invalid parameter type for '%s', expected: %s", name,
                             types[i].name);
        }
    }
    return true;
}

bool monitor_check_args(const QMPCommand *cmd, JsonObject *args, GError **errp)
{
    g_auto(GStrv) declared = g_strsplit(cmd->args ?: "", ",", -1);
    JsonObjectIter iter;
    const char *member;
    bool open = false;

    for (char **arg = declared; *arg; arg++) {
        char *colon = strchr(*arg, ':');

        if (!colon) { /* "..." */
            open = true;
            continue;
        }
        *colon = '\0'; /* leaves the names for the check below */
        if (!check_arg(*arg, colon + 1, json_object_get_member(args, *arg), errp)) {
            return false;
        }
    }
    json_object_iter_init_ordered(&iter, args);
    while (json_object_iter_next_ordered(&iter, &member, NULL)) {
        if (!open && !g_strv_contains((const char *const *)declared, member)) {
            return error_set(errp, "Parameter '%s' is unexpected", member);
        }
    }
    return true;
}
