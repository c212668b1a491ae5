/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where a migration's bytes go: an address, by QEMU's `uri` or `channels`, and a connected channel.
 * Channels block; shutting one down from another thread ends what it waits in, with an error.
 */
#ifndef VIADUCT_MIGRATION_CHANNEL_H
#define VIADUCT_MIGRATION_CHANNEL_H

#include <gio/gio.h>
#include <json-glib/json-glib.h>
#include <stdbool.h>
#include <sys/uio.h>

typedef struct MigrationAddress MigrationAddress;
typedef struct MigrationChannel MigrationChannel;
typedef struct MigrationListener MigrationListener;

/* "tcp:HOST:PORT", "unix:PATH", "fd:NAME-OR-NUMBER", "exec:COMMAND", "file:PATH[,offset=N]". */
MigrationAddress *migration_address_parse(const char *uri, GError **errp);
/* The "addr" of one of QMP's MigrationChannel. */
MigrationAddress *migration_address_from_json(JsonObject *addr, GError **errp);
void migration_address_free(MigrationAddress *a);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MigrationAddress, migration_address_free)
/* Has a way back (tcp, unix, fd of a socket): the other side can answer. */
bool migration_address_is_duplex(const MigrationAddress *a);
/* Several connections can be made to it: multifd can be used. */
bool migration_address_is_socket(const MigrationAddress *a);
bool migration_address_is_file(const MigrationAddress *a);
/* QMP's SocketAddress of query-migrate's "socket-address"; NULL: no socket. */
JsonObject *migration_address_to_json(const MigrationAddress *a);

/* Source: connects, and does TLS's handshake if migration_parameters say so.  Any thread, without
 * the machine lock; NULL also when @cancel was cancelled. */
MigrationChannel *migration_connect(const MigrationAddress *a, GCancellable *cancel, GError **errp);

/*
 * Destination.  What is wrong with the address is known when listen returns, and clients may
 * connect from then on; accept waits for the next.  Of fd, exec and file there is one only.
 */
MigrationListener *migration_listen(const MigrationAddress *a, GError **errp);
/* The address with the port that was chosen, for query-migrate; borrowed. */
const MigrationAddress *migration_listener_address(const MigrationListener *l);
MigrationChannel *migration_accept(MigrationListener *l, GCancellable *cancel, GError **errp);
/* Closes it and removes its socket's file. */
void migration_listener_free(MigrationListener *l);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MigrationListener, migration_listener_free)

/* All of it, or false. One thread at a time writes, one reads. @iov is not kept; it may be changed. */
bool migration_channel_writev(MigrationChannel *ch, struct iovec *iov, size_t n, GError **errp);
/* Exactly @len bytes; the end of the stream before that is an error. */
bool migration_channel_read(MigrationChannel *ch, void *buf, size_t len, GError **errp);
/* The source has sent all: what is buffered goes out, a file is complete, a command was told the end
 * of its input and its exit status was 0. */
bool migration_channel_finish(MigrationChannel *ch, GError **errp);
bool migration_channel_is_duplex(const MigrationChannel *ch);
/* Any thread; the channel stays to be freed. */
void migration_channel_shutdown(MigrationChannel *ch);
void migration_channel_free(MigrationChannel *ch);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MigrationChannel, migration_channel_free)

#endif
