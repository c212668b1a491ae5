/* SPDX-License-Identifier: GPL-2.0-or-later */
/* QMP: what this program is, and its character devices. */
#include "monitor/command.h"

#include "core/accel.h"
#include "core/machine.h"

static JsonNode *query_version(JsonObject *args, GError **errp)
{
    return node_of_object(monitor_version());
}

static void add_command(const QMPCommand *cmd, void *list)
{
    JsonObject *o = json_object_new();

    json_object_set_string_member(o, "name", cmd->name);
    json_array_add_object_element(list, o);
}

static JsonNode *query_commands(JsonObject *args, GError **errp)
{
    JsonArray *list = json_array_new();

    monitor_foreach_command(add_command, list);
    return node_of_array(list);
}

static JsonNode *query_name(JsonObject *args, GError **errp)
{
    JsonObject *o = json_object_new();

    if (current_machine->config.name) {
        json_object_set_string_member(o, "name", current_machine->config.name);
    }
    return node_of_object(o);
}

static JsonNode *query_uuid(JsonObject *args, GError **errp)
{
    const uint8_t *u = current_machine->config.uuid;
    g_autofree char *text = g_strdup_printf(
        "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", u[0], u[1], u[2],
        u[3], u[4], u[5], u[6], u[7], u[8], u[9], u[10], u[11], u[12], u[13], u[14], u[15]);
    JsonObject *o = json_object_new();

    json_object_set_string_member(o, "UUID", text);
    return node_of_object(o);
}

static JsonNode *query_kvm(JsonObject *args, GError **errp)
{
    bool kvm = accel && g_str_equal(accel->name, "kvm");
    JsonObject *o = json_object_new();

    json_object_set_boolean_member(o, "enabled", kvm);
    json_object_set_boolean_member(o, "present", kvm);
    return node_of_object(o);
}

static void add_chardev(const char *id, Chardev *chr, void *list)
{
    g_autofree char *filename = chardev_filename(chr);
    JsonObject *o = json_object_new();

    json_object_set_boolean_member(o, "frontend-open", chardev_frontend_open(chr));
    json_object_set_string_member(o, "filename", filename);
    json_object_set_string_member(o, "label", id);
    json_array_add_object_element(list, o);
}

static JsonNode *query_chardev(JsonObject *args, GError **errp)
{
    JsonArray *list = json_array_new();

    chardev_foreach(add_chardev, list);
    return node_of_array(list);
}

static const QMPCommand misc_commands[] = {
    { "query-version", query_version }, { "query-commands", query_commands },
    { "query-name", query_name },       { "query-uuid", query_uuid },
    { "query-kvm", query_kvm },         { "query-chardev", query_chardev },
};

MONITOR_COMMANDS(misc_commands)
