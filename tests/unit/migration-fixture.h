/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What stands for the migration's core in tests of devices: the linker (--wrap) puts these functions
 * in the place of those of migration/migration.h, so that a test sees what a device registers, sends
 * and says.
 */
#ifndef VIADUCT_TESTS_UNIT_MIGRATION_FIXTURE_H
#define VIADUCT_TESTS_UNIT_MIGRATION_FIXTURE_H

#include "hw/vfio/migration.h"

typedef struct Sent {
    gpointer opaque; /* whose piece it is */
    GByteArray *data;
} Sent;

extern GArray *sent_pieces;      /* Sent */
extern GHashTable *blockers;     /* reasons by number */
extern GPtrArray *dirty_sources; /* MigrationDirtySource */
extern unsigned requests, acks;  /* of switchover */
extern bool is_running;          /* what the core answers */
extern unsigned fail_sending;    /* the nth piece from now on; 0: none */
extern char *migration_error;    /* the first one; NULL: none */

void migration_fixture_begin(void);
/* Nothing is registered any more. */
void migration_fixture_end(void);
void forget_pieces(void);
/* The one blocker there is of mode=normal, of cpr-reboot; NULL: none, or several. */
const char *blocker(void);
const char *reboot_blocker(void);
/* Takes the error, which must be there. */
char *take_migration_error(void);

/* ---- three devices (vfio-fixture.h) that can be migrated ---- */

extern const MigrationOps *const mig_ops;

/* The device's migration. */
VFIOMigration *mig_of(unsigned i);
/* Three devices that have this content and these flags, of which none is plugged yet; and the end. */
void mig_begin(uint64_t flags, size_t size);
void mig_end(void);
/* The first @n are plugged, and the VM runs. */
void mig_plug(unsigned n);
/* With more properties (",x=y"). */
bool mig_plug_with(unsigned i, const char *more, GError **errp);
/* What the device has been through since the last time. */
void assert_history(unsigned i, const char *expected);
/* The source's phases, which must succeed. */
void mig_setup(unsigned i);
void mig_send_all(unsigned i);
void mig_complete(unsigned i);
MigrationPending mig_pending(unsigned i, bool exact);
/* The destination's: the first so many pieces; UINT_MAX: all. */
bool mig_load(unsigned i, unsigned first, GError **errp);

#endif
