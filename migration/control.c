/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the user asks of the source. */
#include "migration/control.h"

#include <string.h>

#include "cpr-internal.h"
#include "source.h"
#include "util/error.h"

MigrationAddress *migration_main_address(const char *uri, JsonArray *channels, GError **errp)
{
    JsonObject *channel;

    if (uri && channels) {
        error_set(errp, "'uri' and 'channels' arguments are mutually exclusive; exactly one of the "
                        "two should be present in 'migrate' qmp command");
        return NULL;
    }
    if (uri) {
        return migration_address_parse(uri, errp);
    }
    if (!channels || json_array_get_length(channels) != 1 ||
        !JSON_NODE_HOLDS_OBJECT(json_array_get_element(channels, 0))) {
        error_set(errp, "need one channel of type main, as 'uri' or in 'channels'");
        return NULL;
    }
    channel = json_array_get_object_element(channels, 0);
    if (g_strcmp0(json_object_get_string_member_with_default(channel, "channel-type", NULL),
                  "main") ||
        !json_object_has_member(channel, "addr") ||
        !JSON_NODE_HOLDS_OBJECT(json_object_get_member(channel, "addr"))) {
        error_set(errp, "a channel needs channel-type \"main\" and an 'addr'");
        return NULL;
    }
    return migration_address_from_json(json_object_get_object_member(channel, "addr"), errp);
}

static bool may_start(const MigrationAddress *address, const MigrationAddress *cpr_address,
                      GError **errp)
{
    RunState state = run_state();
    const char *reason = migration_blocker(migration_mode());

    if (migration_is_running()) {
        return error_set(errp, "There's a migration process in progress");
    }
    if (state == RUN_STATE_INMIGRATE) {
        return error_set(errp, "Guest is waiting for an incoming migration");
    }
    if (state == RUN_STATE_POSTMIGRATE) {
        return error_set(errp, "Can't migrate the vm that was paused due to previous migration");
    }
    if (reason) {
        return error_set(errp, "%s", reason);
    }
    return cpr_may_start(migration_mode(), address, cpr_address, errp);
}

/* What is left of the one before. */
static void forget(void)
{
    if (outgoing.thread) {
        g_thread_join(outgoing.thread);
    }
    g_clear_pointer(&outgoing.address, migration_address_free);
    g_clear_pointer(&outgoing.cpr_address, migration_address_free);
    g_clear_object(&outgoing.cancel);
    g_clear_error(&outgoing.err);
    memset(&outgoing, 0, sizeof(outgoing));
    g_mutex_init(&outgoing.lock);
    g_cond_init(&outgoing.changed);
}

bool migration_start(const char *uri, JsonArray *channels, GError **errp)
{
    g_autoptr(MigrationAddress) address = NULL, cpr_address = NULL;
    g_autoptr(JsonArray) main_channels = NULL;
    g_autoptr(GError) err = NULL;

    if (!cpr_split_channels(channels, &main_channels, &cpr_address, errp)) {
        return false;
    }
    address = migration_main_address(uri, main_channels, errp);
    if (!address || !may_start(address, cpr_address, errp)) {
        return false;
    }
    if (migration_capability(MIG_CAP_MULTIFD) && !migration_address_is_socket(address)) {
        return error_set(errp, "Migration requires multi-channel URIs (e.g. tcp)");
    }
    forget();
    outgoing.address = g_steal_pointer(&address);
    outgoing.cpr_address = g_steal_pointer(&cpr_address);
    outgoing.cpr = 1u << migration_mode() & MIG_MODE_CPR_LIVE;
    outgoing.cancel = g_cancellable_new();
    outgoing.channels =
        migration_capability(MIG_CAP_MULTIFD) ? migration_parameters.multifd_channels : 0;
    for (unsigned i = 0; i < sizeof(outgoing.uuid); i++) {
        outgoing.uuid[i] = (uint8_t)g_random_int();
    }
    outgoing.started = g_get_monotonic_time();
    migration_begin_status();
    outgoing.thread = g_thread_try_new("migration", source_thread, NULL, &err);
    if (!outgoing.thread) {
        migration_set_status(MIGRATION_STATUS_FAILED);
        return error_set(errp, "%s", err->message);
    }
    return true;
}

bool migration_continue(const char *state, GError **errp)
{
    if (!g_str_equal(state, migration_status_name(migration_status()))) {
        return error_set(errp, "Migration not in expected state: %s",
                         migration_status_name(migration_status()));
    }
    if (migration_status() != MIGRATION_STATUS_PRE_SWITCHOVER) {
        return true; /* nothing waits, and what will wait later is not meant */
    }
    g_mutex_lock(&outgoing.lock);
    outgoing.may_continue = true;
    g_cond_broadcast(&outgoing.changed);
    g_mutex_unlock(&outgoing.lock);
    return true;
}

void migration_source_shutdown(void)
{
    outgoing.ending = true;
    migration_cancel();
    while (migration_is_running()) {
        g_main_context_iteration(NULL, TRUE);
    }
    forget();
}
