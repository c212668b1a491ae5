/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What channels and transports are made of. */
#ifndef VIADUCT_MIGRATION_CHANNEL_PRIVATE_H
#define VIADUCT_MIGRATION_CHANNEL_PRIVATE_H

#include "migration/address.h"
#include "migration/channel.h"

typedef struct ChannelOps {
    /* Some of it, at least a byte; -1 and the error. */
    ssize_t (*writev)(MigrationChannel *ch, const struct iovec *iov, size_t n, GError **errp);
    /* Likewise; 0 at the end of the stream. */
    ssize_t (*readv)(MigrationChannel *ch, const struct iovec *iov, size_t n, GError **errp);
    bool (*finish)(MigrationChannel *ch, GError **errp); /* NULL: nothing to do */
    void (*shutdown)(MigrationChannel *ch);              /* NULL: likewise */
    void (*release)(MigrationChannel *ch); /* what was added to the start; NULL: nothing */
} ChannelOps;

/* The start of each kind of channel. */
struct MigrationChannel {
    const ChannelOps *ops;
    char *name;
    int in, out; /* -1: not this way; may be the same */
    bool is_socket;
    int wake; /* an eventfd that becomes readable by shutdown */
    gint shut;
    /* What has been read and not been asked for yet. */
    uint8_t *ahead;
    size_t ahead_at, ahead_end;
};

#define CHANNEL_AHEAD ((size_t)64 << 10)

/*
 * A channel whose structure has @size bytes over these descriptors, which become its own, in case
 * of failure too.
 */
void *channel_new(const ChannelOps *ops, size_t size, const char *name, int in, int out,
                  GError **errp);
/* "migration channel NAME: WHAT: <strerror>"; returns false. */
bool channel_error(const MigrationChannel *ch, int errnum, const char *what, GError **errp);
/* Whether it was shut down, which is an error then. */
bool channel_is_shut(const MigrationChannel *ch, GError **errp);

/* The machine lock, where this thread does not hold it already: whether it was taken. */
bool channel_lock(void);
void channel_unlock(bool taken);

/* Channels over plain descriptors: sockets, pipes, files. */
extern const ChannelOps channel_fd_ops;
ssize_t channel_fd_writev(MigrationChannel *ch, const struct iovec *iov, size_t n, GError **errp);
ssize_t channel_fd_readv(MigrationChannel *ch, const struct iovec *iov, size_t n, GError **errp);
/* Of a connected stream socket, which becomes its own, in case of failure too. */
MigrationChannel *channel_socket_new(const char *name, int fd, GError **errp);

/* Whether the address can have the TLS that migration_parameters may want. */
bool channel_check_tls(const MigrationAddress *a, GError **errp);
/*
 * @plain itself, or TLS over it if migration_parameters say so; frees @plain in case of failure.
 * @host is whom the server's certificate must name if tls-hostname does not say it, NULL: nobody
 * known.  Without the machine lock.
 */
MigrationChannel *channel_secure(MigrationChannel *plain, const char *host, bool server,
                                 GCancellable *cancel, GError **errp);

typedef struct Transport {
    MigrationChannel *(*connect)(const MigrationAddress *a, GCancellable *cancel, GError **errp);
    /* The destination's only channel; NULL: there are several, and a socket listens for them. */
    MigrationChannel *(*open)(const MigrationAddress *a, GError **errp);
} Transport;

MigrationChannel *channel_socket_connect(const MigrationAddress *a, GCancellable *cancel,
                                         GError **errp);
MigrationChannel *channel_fd_connect(const MigrationAddress *a, GCancellable *cancel,
                                     GError **errp);
MigrationChannel *channel_fd_open(const MigrationAddress *a, GError **errp);
MigrationChannel *channel_exec_connect(const MigrationAddress *a, GCancellable *cancel,
                                       GError **errp);
MigrationChannel *channel_exec_open(const MigrationAddress *a, GError **errp);
MigrationChannel *channel_file_connect(const MigrationAddress *a, GCancellable *cancel,
                                       GError **errp);
MigrationChannel *channel_file_open(const MigrationAddress *a, GError **errp);

struct MigrationListener {
    MigrationAddress *address;
    MigrationChannel *single; /* where there is only one, until it is accepted */
    GSocket *socket;          /* NULL: that is so */
    char *path;               /* absolute, of the socket's file; NULL: not ours to remove */
    dev_t dev;
    ino_t ino;
};

bool channel_socket_listen(MigrationListener *l, GError **errp);
MigrationChannel *channel_socket_accept(MigrationListener *l, GCancellable *cancel, GError **errp);
void channel_socket_unlisten(MigrationListener *l);

#endif
