/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What devices register, for as long as nobody migrates. */
#include "migration/migration.h"

#include "util/error.h"

MigrationSection *migration_register(const char *id, const MigrationOps *ops, void *opaque)
{
    return g_malloc0(1);
}

void migration_unregister(MigrationSection *s)
{
    g_free(s);
}

bool migration_send(MigrationSection *s, const void *head, size_t head_len, const void *data,
                    size_t len, GError **errp)
{
    return error_set(errp, "no migration is running");
}

void migration_switchover_ack(MigrationSection *s)
{
}

unsigned migration_block(unsigned modes, const char *fmt, ...)
{
    return 1;
}

void migration_unblock(unsigned blocker)
{
}

void migration_dirty_source_add(const MigrationDirtySource *source)
{
}

void migration_dirty_source_del(const MigrationDirtySource *source)
{
}

bool migration_is_running(void)
{
    return false;
}

bool migration_is_incoming(void)
{
    return false;
}

void migration_set_error(const GError *err)
{
}
