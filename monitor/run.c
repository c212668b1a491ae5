/* SPDX-License-Identifier: GPL-2.0-or-later */
/* QMP: the run state, and how to change it. */
#include "monitor/command.h"

#include "core/runstate.h"
#include "migration/control.h"
#include "util/error.h"

static JsonNode *query_status(JsonObject *args, GError **errp)
{
    JsonObject *o = json_object_new();

    json_object_set_boolean_member(o, "running", run_state_is_running());
    json_object_set_string_member(o, "status", run_state_name(run_state()));
    return node_of_object(o);
}

static bool is_ours(GError **errp)
{
    return !run_state_is_given_away() ||
           error_set(errp, "another process has the VM, since the live update");
}

/* A VM that stands still already keeps the reason why. */
static JsonNode *stop(JsonObject *args, GError **errp)
{
    if (run_state_is_live()) {
        vm_stop(RUN_STATE_PAUSED);
    } else if (run_state() == RUN_STATE_INMIGRATE) {
        migration_incoming_autostart(false);
    }
    return NULL;
}

static JsonNode *cont(JsonObject *args, GError **errp)
{
    if (!is_ours(errp)) {
        return NULL;
    }
    if (run_state() == RUN_STATE_SHUTDOWN || run_state() == RUN_STATE_INTERNAL_ERROR) {
        error_set(errp, "Resetting the Virtual Machine is required");
    } else if (run_state() == RUN_STATE_FINISH_MIGRATE) {
        error_set(errp, "Migration is not finalized yet");
    } else if (run_state() == RUN_STATE_INMIGRATE) {
        migration_incoming_autostart(true);
    } else {
        vm_start();
    }
    return NULL;
}

static JsonNode *quit(JsonObject *args, GError **errp)
{
    system_shutdown_request(SHUTDOWN_CAUSE_HOST_QMP_QUIT);
    return NULL;
}

static JsonNode *system_reset(JsonObject *args, GError **errp)
{
    if (is_ours(errp)) {
        system_reset_request(SHUTDOWN_CAUSE_HOST_QMP_SYSTEM_RESET);
    }
    return NULL;
}

static JsonNode *system_powerdown(JsonObject *args, GError **errp)
{
    system_powerdown_request();
    return NULL;
}

static JsonNode *system_wakeup(JsonObject *args, GError **errp)
{
    if (!wakeup_is_supported()) {
        error_set(errp, "wake-up from suspend is not supported by this guest");
    } else {
        system_wakeup_request(WAKEUP_REASON_OTHER, errp);
    }
    return NULL;
}

static JsonNode *query_current_machine(JsonObject *args, GError **errp)
{
    JsonObject *o = json_object_new();

    json_object_set_boolean_member(o, "wakeup-suspend-support", wakeup_is_supported());
    return node_of_object(o);
}

static const QMPCommand run_commands[] = {
    { "query-status", query_status },
    { "stop", stop },
    { "cont", cont },
    { "quit", quit },
    { "system_reset", system_reset },
    { "system_powerdown", system_powerdown },
    { "system_wakeup", system_wakeup },
    { "query-current-machine", query_current_machine },
};

MONITOR_COMMANDS(run_commands)
