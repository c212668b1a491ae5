/* SPDX-License-Identifier: GPL-2.0-or-later */
/* QMP: migration. */
#include "monitor/command.h"

#include "migration/control.h"
#include "migration/options.h"
#include "util/error.h"

static const char *uri_of(JsonObject *args)
{
    return json_object_get_string_member_with_default(args, "uri", NULL);
}

static JsonArray *channels_of(JsonObject *args)
{
    return json_object_has_member(args, "channels") ? json_object_get_array_member(args, "channels")
                                                    : NULL;
}

static JsonNode *migrate(JsonObject *args, GError **errp)
{
    if (json_object_get_boolean_member_with_default(args, "resume", FALSE)) {
        error_set(errp, "resume is of postcopy, which is not supported");
    } else {
        migration_start(uri_of(args), channels_of(args), errp);
    }
    return NULL;
}

static JsonNode *migrate_cancel(JsonObject *args, GError **errp)
{
    migration_cancel();
    return NULL;
}

static JsonNode *migrate_continue(JsonObject *args, GError **errp)
{
    migration_continue(json_object_get_string_member(args, "state"), errp);
    return NULL;
}

static JsonNode *migrate_incoming(JsonObject *args, GError **errp)
{
    migration_incoming_start(
        uri_of(args), channels_of(args),
        json_object_get_boolean_member_with_default(args, "exit-on-error", TRUE), errp);
    return NULL;
}

static JsonNode *query_migrate(JsonObject *args, GError **errp)
{
    return node_of_object(migration_query());
}

/* What is set must not change under a migration. */
static JsonNode *set_capabilities(JsonObject *args, GError **errp)
{
    if (migration_is_running()) {
        error_set(errp, "There's a migration process in progress");
    } else {
        migration_set_capabilities(json_object_get_array_member(args, "capabilities"), errp);
    }
    return NULL;
}

static JsonNode *query_capabilities(JsonObject *args, GError **errp)
{
    return node_of_array(migration_query_capabilities());
}

static JsonNode *set_parameters(JsonObject *args, GError **errp)
{
    migration_set_parameters(args, errp);
    return NULL;
}

static JsonNode *query_parameters(JsonObject *args, GError **errp)
{
    return node_of_object(migration_query_parameters());
}

static JsonNode *no_postcopy(JsonObject *args, GError **errp)
{
    error_set(errp, "postcopy is not supported: a device's DMA cannot wait for its pages");
    return NULL;
}

static const QMPCommand migrate_commands[] = {
    { "migrate", migrate, "uri:s?,channels:a?,detach:b?,resume:b?" },
    { "migrate_cancel", migrate_cancel },
    { "migrate-continue", migrate_continue, "state:s" },
    { "migrate-incoming", migrate_incoming, "uri:s?,channels:a?,exit-on-error:b?" },
    { "query-migrate", query_migrate },
    { "migrate-set-capabilities", set_capabilities, "capabilities:a" },
    { "query-migrate-capabilities", query_capabilities },
    { "migrate-set-parameters", set_parameters, "..." },
    { "query-migrate-parameters", query_parameters },
    { "migrate-start-postcopy", no_postcopy },
    { "migrate-recover", no_postcopy, "uri:s" },
    { "migrate-pause", no_postcopy },
};

MONITOR_COMMANDS(migrate_commands)
