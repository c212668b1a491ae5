/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * CPR (live update): another process becomes this VM while its devices go on working.  Guest memory
 * and devices stay where they are; what goes over are the descriptors that hold them, and states.
 *
 *   old process                             new process (started with -incoming CHANNEL of type cpr)
 *   check, save              --objects-->   makes the machine out of what it finds here (adopts)
 *                            <--listening-  waits for the states
 *   the VM stops; stop       --switchover-> adopt, states (migration/vmstate.h)
 *                            <--"loaded"--
 *   never touches a device
 *   again, only closes       ---"go"---->   finish; the VM runs
 *
 * Whatever fails before the last step: undo, and the VM runs on in the old process; the new one
 * closes what it has, and nothing else.
 *
 * Whoever has such a descriptor registers itself.  Machine lock held throughout, save where it says
 * otherwise.  Source: QEMU docs/devel/migration/CPR.rst.
 */
#ifndef VIADUCT_MIGRATION_CPR_H
#define VIADUCT_MIGRATION_CPR_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>

#include "migration/migration.h"

/* Any may be NULL; called in the order of registration. */
typedef struct CprOps {
    /* Old: whether it can be; nothing is changed. */
    bool (*check)(void *opaque, GError **errp);
    /* Old, the VM running: cpr_save_*() what the new process needs to make the object. */
    void (*save)(void *opaque);
    /* Old, the VM standing still: lets go of what two processes cannot both have, and
     * cpr_save_*() what could change until now. */
    bool (*stop)(void *opaque, GError **errp);
    /* Old: stop() is taken back, also one that failed or was not reached. */
    void (*undo)(void *opaque);
    /* New, before the states are loaded.  The old process may still take all back: whatever two
     * processes cannot both have waits for finish. */
    bool (*adopt)(void *opaque, GError **errp);
    /* New: the VM is ours, and about to run. */
    void (*finish)(void *opaque);
    /*
     * It is the other process's for good: old, the new one has the VM (run_state_is_given_away());
     * new, it gives up, and no call but close has any effect from now on.
     * What only this process's end would close is closed here.
     */
    void (*leave)(void *opaque);
} CprOps;

void cpr_register(const CprOps *ops, void *opaque);
void cpr_unregister(const CprOps *ops, void *opaque);

/* ---- what goes over: each by a name and a number, of which the pair is there once ---- */

/* In save and stop.  The descriptor stays the caller's, and open until the new process has it. */
void cpr_save_fd(const char *name, unsigned id, int fd);
void cpr_save_data(const char *name, unsigned id, const void *data, size_t len);
/* New: the descriptor is the caller's from now on, close-on-exec; -1: there is none. */
int cpr_find_fd(const char *name, unsigned id);
/* New: NULL if there is none, or it has not @len bytes; of the registry. */
const void *cpr_find_data(const char *name, unsigned id, size_t len);
/* New: the same for any length. */
const GByteArray *cpr_find_bytes(const char *name, unsigned id);
/* Takes it out of the registry; a descriptor that nobody has taken is closed. */
void cpr_delete_fd(const char *name, unsigned id);

/* New, until finish: objects and devices are made out of what is here. */
bool cpr_is_incoming(void);
/* A CPR is under way, on either side: devices are not stopped with the VM, nor started. */
bool cpr_is_active(void);

#endif
