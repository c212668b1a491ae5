/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of CPR show to each other and to both sides of migration. */
#ifndef VIADUCT_MIGRATION_CPR_INTERNAL_H
#define VIADUCT_MIGRATION_CPR_INTERNAL_H

#include "internal.h"
#include "migration/cpr.h"

/* ---- cpr.c: the registry and who is in it; locked ---- */

/* Old: why it cannot be now: the first reason. */
bool cpr_check(GError **errp);
/* Old: adds all reasons of that mode, of which there are none once the VM is another process's. */
void cpr_blockers(MigMode mode, JsonArray *reasons);
/* Old: it begins; devices work on when the VM stops. */
void cpr_begin(void);
/*
 * Each appends the message to @out and its descriptors, borrowed, to @fds (int); what the registry
 * had is gone.  cpr_stop() may be undone even if it fails.
 */
void cpr_save(GByteArray *out, GArray *fds);
bool cpr_stop(GByteArray *out, GArray *fds, GError **errp);
/* Old: the VM is this process's again. */
void cpr_undo(void);
/* Old: the VM is the other's.  No device is touched any more, and nothing can bring it back. */
void cpr_give_away(void);
/*
 * New: takes what the other side saved into the registry; @fds, all of them, become its own even
 * if it fails.  The first message says the mode.
 */
bool cpr_load(const uint8_t *data, size_t len, GArray *fds, GError **errp);
/* New: something that nobody has taken, which is an error. */
bool cpr_check_all_taken(GError **errp);
bool cpr_adopt(GError **errp);
/* New: gives up; from now on nothing but closing reaches the devices.  No-op if it never began. */
void cpr_release(void);
/* New: the VM is ours, and CPR over.  No-op if it never began. */
void cpr_finish(void);

/* ---- cpr-channel.c: messages over a UNIX socket; without the machine lock ---- */

typedef enum {
    CPR_OBJECTS = 1, /* what the machine is made of, and its descriptors */
    CPR_LISTENING,   /* back: it is made, and waits for the main channel */
    CPR_MATCHED,     /* back: and is the same as the old one's */
    CPR_REFUSED,     /* back: text */
    CPR_SWITCHOVER,  /* what there is since the VM stands still */
} CprMessage;

bool cpr_channel_send(MigrationChannel *ch, CprMessage kind, const void *data, size_t len,
                      const GArray *fds, GError **errp);
/* @fds (may be NULL: there may be none) gets descriptors that are the caller's, close-on-exec. */
bool cpr_channel_receive(MigrationChannel *ch, CprMessage *kind, GByteArray *data, GArray *fds,
                         GError **errp);
bool cpr_channel_check(const MigrationChannel *ch, GError **errp);
/* The other side has closed it. */
bool cpr_channel_is_over(const MigrationChannel *ch);
int cpr_channel_fd(const MigrationChannel *ch);

/* Closes those of the array that are not -1. */
void cpr_close_fds(GArray *fds);

/* ---- cpr-exec.c; locked ---- */

/* Old: lets go of the devices, and keeps what the new program needs. */
bool cpr_exec_stop(GError **errp);
/* Old: becomes the new program, and returns only if it cannot: false. */
bool cpr_exec(GError **errp);
/* New: takes what there is, if the process was an old one before. */
bool cpr_exec_incoming(GError **errp);
bool cpr_exec_has_switchover(void);
bool cpr_exec_switchover(GError **errp);
/* Forgets what there is, and closes what nobody has taken. */
void cpr_exec_cleanup(void);

/* ---- cpr-transfer.c ---- */

/*
 * Takes the channel of type "cpr" out of QMP's @channels: *main is what is left, a reference of the
 * caller's, *cpr its address, NULL if there is none.
 */
bool cpr_split_channels(JsonArray *channels, JsonArray **main, MigrationAddress **cpr,
                        GError **errp);
/* Old: whether QMP's arguments go together with @mode. */
bool cpr_may_start(MigMode mode, const MigrationAddress *main, const MigrationAddress *cpr,
                   GError **errp);
/* Old, in the migration's thread: the new process has made its machine when it returns. */
bool cpr_send_objects(MigrationChannel *ch, GError **errp);
/* Old, likewise: the new process has found its machine to be the same as ours, when it returns. */
bool cpr_await_match(MigrationChannel *ch, GError **errp);
/* Old, likewise: the VM stands still, and what it had of the devices is let go. */
bool cpr_send_switchover(MigrationChannel *ch, GError **errp);

/* New: @spec of -incoming is of a cpr channel, and remembered. */
bool cpr_incoming_option(const char *spec, bool *is_cpr, GError **errp);
/* New: somebody listens on the main channel. */
bool cpr_incoming_listening(GError **errp);
/* New, in the thread: the source has connected, and what comes by the cpr channel is ours. */
void cpr_incoming_connected(void);
/* New, in the thread: the machines are the same. */
bool cpr_incoming_matched(GError **errp);
/* New, in the thread, without the machine lock: waits for the switchover's message. */
bool cpr_incoming_switchover(GError **errp);
/* Ends what the thread waits in. */
void cpr_incoming_shutdown(void);
void cpr_incoming_cleanup(void);

#endif
