/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/event.h"
#include "internal.h"

static const char *const names[] = {
    [MIGRATION_STATUS_NONE] = "none",
    [MIGRATION_STATUS_SETUP] = "setup",
    [MIGRATION_STATUS_CANCELLING] = "cancelling",
    [MIGRATION_STATUS_CANCELLED] = "cancelled",
    [MIGRATION_STATUS_ACTIVE] = "active",
    [MIGRATION_STATUS_PRE_SWITCHOVER] = "pre-switchover",
    [MIGRATION_STATUS_DEVICE] = "device",
    [MIGRATION_STATUS_COMPLETED] = "completed",
    [MIGRATION_STATUS_FAILED] = "failed",
};

static MigrationStatus current;

const char *migration_status_name(MigrationStatus status)
{
    return names[status];
}

MigrationStatus migration_status(void)
{
    return current;
}

void migration_begin_status(void)
{
    current = MIGRATION_STATUS_NONE;
    migration_set_status(MIGRATION_STATUS_SETUP);
}

void migration_set_status(MigrationStatus status)
{
    if (status == current) {
        return;
    }
    current = status;
    if (migration_capability(MIG_CAP_EVENTS)) {
        JsonObject *data = json_object_new();

        json_object_set_string_member(data, "status", names[status]);
        event_emit("MIGRATION", data);
    }
}
