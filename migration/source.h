/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of the source show to each other. */
#ifndef VIADUCT_MIGRATION_SOURCE_H
#define VIADUCT_MIGRATION_SOURCE_H

#include "core/runstate.h"
#include "internal.h"

typedef struct MigrationSource {
    /* Set before the thread starts. */
    MigrationAddress *address;
    MigrationAddress *cpr_address; /* of cpr-transfer, else NULL */
    bool cpr;                      /* memory and devices stay where they are */
    GCancellable *cancel;
    GThread *thread;
    uint8_t uuid[16];
    unsigned channels; /* of multifd, 0: none */
    /* lock */
    GMutex lock;
    GCond changed;
    GError *err;
    bool cancelled, confirmed, may_continue;
    bool over; /* the destination was told to go, or the stream is complete */
    Stream *streams[1 + MULTIFD_MAX];
    unsigned nr_streams;
    uint64_t sent; /* bytes, by streams that are closed */
    MigrationChannel *cpr_channel;
    GThread *reader; /* of the way back */
    int64_t window;  /* of the rate limit */
    uint64_t window_bytes;
    gint stop;   /* atomic: err or cancelled is set */
    gint urgent; /* atomic: the VM stands still, max-bandwidth does not count */
    /* Machine lock. */
    GPtrArray *sections;
    bool was_live;
    RunState old_state;
    bool ending;   /* the process is: the VM is not to run any more */
    bool finished; /* the thread is about to end */
    GByteArray *states;
    EndRecord end;
    int64_t started, stopped, ended; /* us */
    uint64_t precopy_bytes;
    /* Of the threads, for query-migrate, too. */
    _Atomic int64_t setup_done; /* us */
    _Atomic uint64_t bandwidth; /* bytes/s, measured */
    _Atomic uint64_t unsent;    /* bytes, of all, when it was last asked */
    _Atomic uint64_t section_bytes;
} MigrationSource;

extern MigrationSource outgoing;

/* ---- source.c: what it is, and how it ends early; any thread ---- */

/* The reason is the first that there is; no-op when the destination has the VM, or may have. */
void source_fail(const GError *err);
/* Of who could not send: a destination that fails says why, and then takes no more: its word comes
 * before our own. */
void source_fail_sending(const GError *err);
/* Whatever waits in a channel ends.  outgoing.lock held. */
void source_shut_down(void);
bool source_is_stopping(void *opaque);
/* The error of the thread itself says less than the reason why the channels were shut down. */
bool source_stopped_error(GError **errp);
void source_set_status(MigrationStatus status);

/* ---- source-channels.c ---- */

/* All of them, the first record sent. */
bool source_connect(GError **errp);
/* The destination can answer. */
bool source_is_duplex(void);
/* Thread: what it answers. */
void *source_reader(void *opaque);
/* The threads are done: closes them. */
void source_disconnect(void);

/* ---- source-sections.c: devices, each in a thread, beside a pass over RAM in this one ---- */

/* As much as there was when the pass began. */
bool source_iterate(GError **errp);
/* The VM stands still: the rest. */
bool source_complete(GError **errp);
/* Bytes that are left; @exact: the devices are asked. */
uint64_t source_pending(bool exact);
/* None of them waits for an answer (switchover-ack). */
bool source_devices_ready(void);

/* ---- rate.c ---- */

/* Over all channels; any thread. */
uint64_t source_bytes_sent(void);

/* ---- migration.c ---- */

/* Thread: the whole of it. */
void *source_thread(void *opaque);

#endif
