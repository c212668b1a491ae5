/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Migration as its user sees it: QMP's commands and -incoming.  Main thread, machine lock held.
 * Threads of a migration of their own do the work; see migration/migration.c and incoming.c.
 */
#ifndef VIADUCT_MIGRATION_CONTROL_H
#define VIADUCT_MIGRATION_CONTROL_H

#include <json-glib/json-glib.h>
#include <stdbool.h>

/*
 * Starts to migrate to @uri or, if that is NULL, to QMP's @channels.  What the arguments, the state
 * of the VM and the blockers forbid is an error now; all else is in query-migrate.
 */
bool migration_start(const char *uri, JsonArray *channels, GError **errp);
/* No-op when none is under way, or when the destination has the VM already. */
void migration_cancel(void);
/* After pause-before-switchover.  @state: of QMP's MigrationStatus, the one it is in. */
bool migration_continue(const char *state, GError **errp);
/* query-migrate's answer. */
JsonObject *migration_query(void);
/* Each channel that is still to come looks for the object of this id (tls-creds). */
bool migration_needs_object(const char *id);

/*
 * -incoming @spec: "defer", a URI, or a channel in JSON; may be given several times.  The machine
 * is then made without what a start would load, and waits in the run state "inmigrate".
 */
bool migration_incoming_option(const char *spec, GError **errp);
/*
 * If a channel of type cpr was among them: waits for what the old process sends, which objects and
 * devices are then made of.  Before the first of them.  False without an error: a signal has come
 * meanwhile, and the process is to end.
 */
bool migration_incoming_await_cpr(GError **errp);
/* The program cannot start: tells the old process why, if there is one. */
void migration_incoming_refuse(const GError *err);
/* The machine is there: listens, unless deferred.  @autostart: the VM runs when all is loaded. */
bool migration_incoming_ready(bool autostart, GError **errp);
/* migrate-incoming. */
bool migration_incoming_start(const char *uri, JsonArray *channels, bool exit_on_error,
                              GError **errp);
/* cont and stop while it waits. */
void migration_incoming_autostart(bool on);

/* Before devices go: ends what is under way, and its threads. */
void migration_shutdown(void);

#endif
