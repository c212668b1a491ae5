/* SPDX-License-Identifier: GPL-2.0-or-later */
/* query-migrate, and what else is common to both sides. */
#include "migration/control.h"
#include "source.h"

static int64_t ms(int64_t from, int64_t to)
{
    return from && to > from ? (to - from + 500) / 1000 : 0;
}

static JsonObject *query_ram(void)
{
    JsonObject *ram = json_object_new();
    uint64_t sent = source_bytes_sent();
    int64_t end = outgoing.ended ?: g_get_monotonic_time();
    double took = MAX(end - outgoing.setup_done, 1);
    const struct {
        const char *name;
        uint64_t value;
    } numbers[] = {
        { "transferred", sent },
        { "remaining", ram_stats.remaining },
        { "total", ram_stats.total },
        { "duplicate", ram_stats.duplicate },
        { "normal", ram_stats.normal },
        { "normal-bytes", ram_stats.normal * RAM_DIRTY_PAGE },
        { "dirty-pages-rate", ram_stats.dirty_pages_rate },
        { "dirty-sync-count", ram_stats.dirty_sync_count },
        { "dirty-sync-missed-zero-copy", 0 },
        { "page-size", RAM_DIRTY_PAGE },
        { "multifd-bytes", outgoing.channels ? sent : 0 },
        { "pages-per-second", (ram_stats.normal + ram_stats.duplicate) * 1e6 / took },
        { "precopy-bytes", outgoing.precopy_bytes ?: sent },
        { "downtime-bytes", outgoing.precopy_bytes ? sent - outgoing.precopy_bytes : 0 },
        { "postcopy-bytes", 0 },
        { "postcopy-requests", 0 },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(numbers); i++) {
        json_object_set_int_member(ram, numbers[i].name, (gint64)numbers[i].value);
    }
    json_object_set_double_member(ram, "mbps", sent * 8 / took);
    return ram;
}

static bool moves(MigrationStatus status)
{
    return status == MIGRATION_STATUS_ACTIVE || status == MIGRATION_STATUS_PRE_SWITCHOVER ||
           status == MIGRATION_STATUS_DEVICE || status == MIGRATION_STATUS_CANCELLING;
}

static void source_query(JsonObject *o)
{
    MigrationStatus status = migration_status();
    int64_t now = g_get_monotonic_time();
    uint64_t bandwidth = outgoing.bandwidth;
    bool over;

    if (!outgoing.started) {
        return;
    }
    g_mutex_lock(&outgoing.lock);
    over = outgoing.over;
    if (outgoing.err) {
        json_object_set_string_member(o, "error-desc", outgoing.err->message);
    }
    g_mutex_unlock(&outgoing.lock);
    json_object_set_int_member(o, "total-time", ms(outgoing.started, outgoing.ended ?: now));
    if (outgoing.setup_done) {
        json_object_set_int_member(o, "setup-time", ms(outgoing.started, outgoing.setup_done));
    }
    if (over && outgoing.ended) {
        json_object_set_int_member(o, "downtime", ms(outgoing.stopped, outgoing.ended));
    } else if (moves(status)) {
        json_object_set_int_member(o, "expected-downtime",
                                   bandwidth ? (gint64)(outgoing.unsent * 1000.0 / bandwidth)
                                             : (gint64)migration_downtime_limit());
    }
    if (moves(status) || over) {
        json_object_set_object_member(o, "ram", query_ram());
        json_object_set_int_member(o, "remaining", (gint64)(over ? 0 : outgoing.unsent));
    }
    if (outgoing.section_bytes || (outgoing.sections && outgoing.sections->len)) {
        JsonObject *vfio = json_object_new();

        json_object_set_int_member(vfio, "transferred", (gint64)outgoing.section_bytes);
        json_object_set_object_member(o, "vfio", vfio);
    }
}

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
    source_query(o);
    migration_incoming_query(o);
    return o;
}

bool migration_needs_object(const char *id)
{
    return (migration_is_running() || migration_incoming_is_listening()) &&
           g_str_equal(id, migration_parameters.tls_creds);
}

void migration_shutdown(void)
{
    migration_source_shutdown();
    migration_incoming_shutdown();
}
