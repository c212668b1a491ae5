/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What stands for the migration's core in tests of devices: the linker (--wrap) puts these functions
 * in the place of those of migration/migration.h, so that a test sees what a device registers, sends
 * and says.
 */
#ifndef VIADUCT_TESTS_UNIT_MIGRATION_FIXTURE_H
#define VIADUCT_TESTS_UNIT_MIGRATION_FIXTURE_H

#include "migration/migration.h"

typedef struct Sent {
    gpointer opaque; /* whose piece it is */
    GByteArray *data;
} Sent;

extern GArray *sent_pieces;          /* Sent */
extern GHashTable *blockers;         /* reasons by number */
extern GPtrArray *dirty_sources;     /* MigrationDirtySource */
extern unsigned acks;                /* of switchover */
extern bool is_running, is_incoming; /* what the core answers */
extern unsigned fail_sending;        /* the nth piece from now on; 0: none */
extern char *migration_error;        /* the first one; NULL: none */

void migration_fixture_begin(void);
/* Nothing is registered any more. */
void migration_fixture_end(void);
void forget_pieces(void);
/* The one blocker there is; NULL: none, or several. */
const char *blocker(void);
/* Takes the error, which must be there. */
char *take_migration_error(void);

#endif
