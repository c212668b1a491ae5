/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of migration/ show to each other. */
#ifndef VIADUCT_MIGRATION_INTERNAL_H
#define VIADUCT_MIGRATION_INTERNAL_H

#include <json-glib/json-glib.h>

#include "core/ram.h"
#include "migration/options.h"
#include "stream.h"

/* ---- main-call.c ---- */

/*
 * Runs the function in the main thread, machine lock held, and waits for it: what changes the run
 * state or devices must not come in between two steps of the main loop.  Of threads of ours only.
 */
bool migration_main_call(bool (*fn)(GError **errp), GError **errp);

/* ---- rate.c ---- */

/* Before @bytes are sent: waits as long as max-bandwidth wants. */
void migration_rate_limit(uint64_t bytes);

/* ---- control.c ---- */

/* The address that QMP's arguments tell, which are one or the other. */
MigrationAddress *migration_main_address(const char *uri, JsonArray *channels, GError **errp);
void migration_source_shutdown(void);

/* ---- migration.c ---- */

/* What the main channel begins with. */
typedef struct Hello {
    uint32_t version;
    uint32_t channels; /* of multifd, beside it */
    uint32_t flags;
    uint8_t uuid[16]; /* of this migration */
} Hello;
#define HELLO_CONFIRMED (1u << 0) /* RECORD_READY is waited for, and RECORD_GO then sent */
#define MULTIFD_MAX     255

typedef struct EndRecord {
    uint32_t state;           /* as bits, below */
    uint32_t reset, shutdown; /* ShutdownCause: what was asked for and is not done yet */
    uint32_t kept;            /* ram_files_sum() */
} EndRecord;
#define END_LIVE   (1u << 0) /* the VM ran, or was suspended, before it was stopped for this */
#define END_ASLEEP (1u << 1) /* the guest sleeps */
/* The main loop will do it. */
void migration_request_again(const EndRecord *end);

/* ---- throttle.c: auto-converge ---- */

/*
 * After a pass that sent @sent bytes while @dirtied were written: if the guest writes too fast for
 * it ever to end, and auto-converge is on, its vCPUs run a smaller share of the time from now on.
 */
void migration_throttle(uint64_t dirtied, uint64_t sent);
/* They run freely again.  Not of the main thread. */
void migration_throttle_end(void);
/* Percent of the time that they stand still. */
unsigned migration_throttle_percentage(void);

/* ---- incoming.c ---- */

void migration_incoming_query(JsonObject *o);
/* A source may still connect, or one has. */
bool migration_incoming_is_listening(void);
void migration_incoming_shutdown(void);

/* ---- status.c ---- */

typedef enum {
    MIGRATION_STATUS_NONE,
    MIGRATION_STATUS_SETUP,
    MIGRATION_STATUS_CANCELLING,
    MIGRATION_STATUS_CANCELLED,
    MIGRATION_STATUS_ACTIVE,
    MIGRATION_STATUS_PRE_SWITCHOVER,
    MIGRATION_STATUS_DEVICE,
    MIGRATION_STATUS_COMPLETED,
    MIGRATION_STATUS_FAILED,
} MigrationStatus;

const char *migration_status_name(MigrationStatus status);
/* Of the process's migration, be it source or destination.  Locked. */
MigrationStatus migration_status(void);
/* Emits MIGRATION if the capability `events` is on.  Locked. */
void migration_set_status(MigrationStatus status);
/* A new one begins. */
void migration_begin_status(void);

/* ---- section.c ---- */

struct MigrationSection {
    char *id;
    const MigrationOps *ops;
    void *opaque;
    unsigned index;    /* in the list of the migration under way */
    GMutex busy;       /* held around iterate, pending, complete and load: unregister waits */
    bool gone;         /* unregistered while a migration had it in its list */
    bool set_up;       /* what cleanup is owed for */
    gint asked, acked; /* atomic: of migration_switchover_request(), _ack() */
    Stream *stream;    /* that its pieces go by */
    MigrationPending pending;
    uint64_t sent; /* bytes; of the thread that iterates */
};

/*
 * The sections there are, sorted by id and numbered, for one migration; each stays until
 * migration_sections_release() even if its device goes.  Machine lock held.
 */
GPtrArray *migration_sections_take(void);
/* Calls the cleanup of each that was set up. */
void migration_sections_release(GPtrArray *sections);
/* Why no migration of that mode can start; NULL: nothing in the way.  Borrowed. */
const char *migration_blocker(MigMode mode);
/* All reasons, for query-migrate. */
JsonArray *migration_blockers(MigMode mode);

bool migration_dirty_start(GError **errp);
void migration_dirty_sync(void);
void migration_dirty_stop(void);

/* ---- machine.c: what both sides must have in common ---- */

/* The text of RECORD_MACHINE: machine type, RAM blocks, states, sections; @files as of ram-files.c,
 * NULL: all memory is sent, or handed over. */
char *migration_machine_describe(GPtrArray *sections, const GPtrArray *files);
/* Whether the other side's is the same; names the first difference.  *@files (NULL: all memory is
 * sent) is the caller's, also of a failure. */
bool migration_machine_check(const char *theirs, GPtrArray *sections, GPtrArray **files,
                             GError **errp);

/* ---- ram-files.c: guest memory that is not sent (x-ignore-shared) ---- */

/*
 * For each of ram_blocks, in order, the path of the file that is its memory and can be opened by
 * that path again; NULL where there is none, as for a memfd.
 */
GPtrArray *ram_files(void);
/* Of samples of what those files hold; 0: @files is NULL.  Everything stands still. */
uint32_t ram_files_sum(const GPtrArray *files);

/* ---- ram.c: guest memory ---- */

typedef struct RAMStats { /* as query-migrate names them */
    _Atomic uint64_t duplicate, normal, dirty_sync_count, dirty_pages_rate, total;
    _Atomic uint64_t remaining; /* bytes */
} RAMStats;

extern RAMStats ram_stats;

/*
 * Locked: all of it counts as dirty, but for what stays in its files, and its writers are watched;
 * not if @still: there are none any more.
 */
bool ram_save_setup(bool still, GError **errp);
/* What stays in its files; NULL: nothing was looked for.  Borrowed. */
const GPtrArray *ram_save_files(void);
/* Locked: learns what was written since. */
void ram_save_sync(void);
/*
 * Sends what is dirty over @streams, with a thread for each of them if there are several; ends
 * early, true, when @stop says so.  Without the machine lock.
 */
bool ram_save_pass(Stream **streams, unsigned n, bool (*stop)(void *opaque), void *opaque,
                   GError **errp);
/* Locked. */
void ram_save_cleanup(void);

typedef struct RAMLoad RAMLoad;
/* @files, which it borrows, as of the source. */
RAMLoad *ram_load_new(const GPtrArray *files);
void ram_load_free(RAMLoad *l);
/* The record that stream_next() has begun; any thread, several at a time. */
bool ram_load(RAMLoad *l, Stream *s, GError **errp);

#endif
