/* SPDX-License-Identifier: GPL-2.0-or-later */
/* QMP: devices. */
#include "monitor/command.h"

#include "core/device.h"
#include "core/runstate.h"
#include "migration/migration.h"
#include "monitor/property.h"
#include "util/error.h"

static JsonNode *device_list_properties(JsonObject *args, GError **errp)
{
    const char *name = json_object_get_string_member(args, "typename");
    GType type = g_type_from_name(name);

    if (!type || !g_type_is_a(type, TYPE_OBJECT)) {
        error_set_class(errp, ERROR_CLASS_DEVICE_NOT_FOUND, "Device '%s' not found", name);
    } else if (!g_type_is_a(type, TYPE_DEVICE)) {
        error_set(errp, "Parameter 'typename' expects device");
    } else if (G_TYPE_IS_ABSTRACT(type)) {
        error_set(errp, "Parameter 'typename' expects a non-abstract device type");
    } else {
        return node_of_array(list_type_properties(type));
    }
    return NULL;
}

/* Both sides of a migration count on the devices that there were when it began. */
static bool may_change(const char *command, GError **errp)
{
    if (run_state_is_given_away()) {
        return error_set(errp, "another process has the VM, since the live update");
    }
    return !(migration_is_running() || migration_is_receiving()) ||
           error_set(errp, "%s not allowed while migrating", command);
}

/* To the machine that is there every device comes later, whether it runs yet or not. */
static JsonNode *qmp_device_add(JsonObject *args, GError **errp)
{
    if (may_change("device_add", errp)) {
        device_add(args, true, errp);
    }
    return NULL;
}

static JsonNode *qmp_device_del(JsonObject *args, GError **errp)
{
    if (may_change("device_del", errp)) {
        device_del(json_object_get_string_member(args, "id"), errp);
    }
    return NULL;
}

static const QMPCommand device_commands[] = {
    { "device_add", qmp_device_add, "driver:s,id:s?,bus:s?,..." },
    { "device_del", qmp_device_del, "id:s" },
    { "device-list-properties", device_list_properties, "typename:s" },
};

MONITOR_COMMANDS(device_commands)
