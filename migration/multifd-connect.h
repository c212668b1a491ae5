/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The further connections of a migration, once its main channel is there.  Each begins with which
 * migration it belongs to and which channel of it it is, so that they may come in any order, and
 * with others among them.
 */
#ifndef VIADUCT_MIGRATION_MULTIFD_CONNECT_H
#define VIADUCT_MIGRATION_MULTIFD_CONNECT_H

#include <stdint.h>

#include "migration/channel.h"

/*
 * Source: @n connections to @a into @channels, for the migration that the 16 bytes @uuid name.  In
 * case of failure there is none.  Any thread, without the machine lock.
 */
bool migration_connect_many(const MigrationAddress *a, const uint8_t *uuid, unsigned n,
                            MigrationChannel **channels, GCancellable *cancel, GError **errp);
/*
 * Destination: the source's @n connections, in the source's order.  Whoever is not one of them, is
 * one already, or does not say within MULTIFD_HELLO_SECONDS is turned away with a warning; after
 * MULTIFD_STRANGERS of these it fails.
 */
bool migration_accept_many(MigrationListener *l, const uint8_t *uuid, unsigned n,
                           MigrationChannel **channels, GCancellable *cancel, GError **errp);

#define MULTIFD_HELLO_SECONDS 5
#define MULTIFD_STRANGERS     32

#endif
