/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is common to both sides. */
#include "internal.h"
#include "migration/control.h"

JsonObject *migration_query(void)
{
    JsonObject *o = json_object_new();
    JsonArray *reasons = migration_blockers(migration_mode());

    if (migration_status() != MIGRATION_STATUS_NONE) {
        json_object_set_string_member(o, "status", migration_status_name(migration_status()));
    }
    if (json_array_get_length(reasons)) {
        json_object_set_array_member(o, "blocked-reasons", reasons);
    } else {
        json_array_unref(reasons);
    }
    if (migration_throttle_percentage()) {
        json_object_set_int_member(o, "cpu-throttle-percentage", migration_throttle_percentage());
    }
    migration_source_query(o);
    migration_incoming_query(o);
    return o;
}

void migration_shutdown(void)
{
    migration_source_shutdown();
    migration_incoming_shutdown();
}
