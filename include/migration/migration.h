/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Live migration, as a device sees it: what it registers when its state is too large, or changes too
 * long, for a vmstate; who blocks migration, and who knows of dirty pages.  The core owns phases and
 * time (migration/migration.c); a user drives it by QMP (migration/control.h).
 *
 * Source:       setup, then iterate in turns while the VM runs; the VM stops (notifiers of
 *               core/runstate.h: RUN_STATE_FINISH_MIGRATE); complete; cleanup
 * Destination:  load_setup, load for each piece, load_end; states of vmstate.h; cleanup; the VM
 *               starts
 *
 * Threads: "locked" functions are called with the machine lock held.  The others are called without
 * it, iterate, pending and complete of one section never at the same time, complete of several
 * sections in parallel; what they need of the device they guard themselves.
 */
#ifndef VIADUCT_MIGRATION_MIGRATION_H
#define VIADUCT_MIGRATION_MIGRATION_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- sections: devices that send state of their own ---- */

typedef struct MigrationSection MigrationSection;

/* Bytes not sent yet: what may be sent while the VM runs, and what only when it stands still. */
typedef struct MigrationPending {
    uint64_t precopy, stopcopy;
} MigrationPending;

typedef struct MigrationOps {
    /* Locked, the VM running or not; failure ends the migration, after cleanup. */
    bool (*setup)(void *opaque, GError **errp);
    /* Without a system call if not @exact, from what the last exact answer was. */
    void (*pending)(void *opaque, bool exact, MigrationPending *p);
    /* Sends some of what there is, about a mebibyte; *drained: there is nothing more for now. */
    bool (*iterate)(void *opaque, bool *drained, GError **errp);
    /* The VM stands still: sends the rest. */
    bool (*complete)(void *opaque, GError **errp);
    /* The other side must have confirmed what was sent before the VM is stopped
     * (switchover-ack): whether it may be now.  NULL: always. */
    bool (*switchover_ready)(void *opaque);
    /* Locked.  The migration is over, in whatever way; of the source and of the destination. */
    void (*cleanup)(void *opaque);
    /* Locked; before the first piece. */
    bool (*load_setup)(void *opaque, GError **errp);
    /* One piece, as it was sent; in order. */
    bool (*load)(void *opaque, const uint8_t *data, size_t len, GError **errp);
    /* All pieces were loaded: the device's verdict. */
    bool (*load_end)(void *opaque, GError **errp);
} MigrationOps;

/* @id as of vmstate_register(). Machine lock held, as for the two functions below. */
MigrationSection *migration_register(const char *id, const MigrationOps *ops, void *opaque);
void migration_unregister(MigrationSection *s);
/*
 * Sends one piece of at most MIGRATION_PIECE_MAX bytes, @head and then @data; returns when both may
 * be used again.  Waits while the channel is full.  From iterate and complete only (at setup the
 * other side does not know yet what machine this is); any thread.
 */
#define MIGRATION_PIECE_MAX ((size_t)2 << 20)
bool migration_send(MigrationSection *s, const void *head, size_t head_len, const void *data,
                    size_t len, GError **errp);
/*
 * Source, before it sends what the destination's load will answer by migration_switchover_ack(): one
 * more answer is to be waited for.
 */
void migration_switchover_request(MigrationSection *s);
/* The destination's load has had all that the source sent first: see switchover_ready. */
void migration_switchover_ack(MigrationSection *s);

/* ---- blockers ---- */

/* As bits: for which of QEMU's MigMode they hold. */
typedef enum {
    MIG_MODE_NORMAL,
    MIG_MODE_CPR_REBOOT,
    MIG_MODE_CPR_TRANSFER,
    MIG_MODE_CPR_EXEC,
    MIG_MODE__MAX
} MigMode;
#define MIG_MODE_ALL ((1u << MIG_MODE__MAX) - 1)
/* Those in which devices and memory stay as they are (migration/cpr.h). */
#define MIG_MODE_CPR_LIVE (1u << MIG_MODE_CPR_TRANSFER | 1u << MIG_MODE_CPR_EXEC)
/* Beside modes: a blocker that does not hold while the guest sleeps. */
#define MIG_UNLESS_ASLEEP (1u << MIG_MODE__MAX)

/* Why no migration can start until it is taken back; returns its number, never 0.  Locked. */
unsigned migration_block(unsigned modes, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
/* 0 is ignored. */
void migration_unblock(unsigned blocker);

/* ---- dirty pages ---- */

/*
 * Somebody who learns which pages of guest memory are written.  Start comes before the first page is
 * sent; sync sets bits in RAMBlock.dirty (core/ram.h) and forgets them; stop comes in any case.
 * Locked.  The accelerator (core/accel.h) is asked without being registered.
 */
typedef struct MigrationDirtySource {
    bool (*start)(void *opaque, GError **errp);
    void (*sync)(void *opaque);
    void (*stop)(void *opaque);
    void *opaque;
} MigrationDirtySource;

void migration_dirty_source_add(const MigrationDirtySource *source);
void migration_dirty_source_del(const MigrationDirtySource *source);

/* ---- what everybody may ask ---- */

/* A migration of ours is under way, as source: devices may neither come nor go.  Locked. */
bool migration_is_running(void);
/* The same as destination: the source has come, and its machine is compared with ours.  Locked. */
bool migration_is_receiving(void);
/* -incoming: this process waits for the state of another; nothing may be reset or loaded. */
bool migration_is_incoming(void);
/* Of the migration that is under way or was configured last. */
MigMode migration_mode(void);
/* The running migration fails for this reason; from any thread, also from VM state notifiers. */
void migration_set_error(const GError *err);

#endif
