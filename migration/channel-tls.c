/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * TLS over a connected socket.  GIO has a descriptor of its own for the socket; shutting the
 * channel's down ends what GIO waits in, too.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "backends/tls-creds.h"
#include "migration/channel-private.h"
#include "migration/options.h"
#include "util/error.h"
#include "util/fd.h"

#define RECORD            ((size_t)16 << 10) /* TLS's largest */
#define HANDSHAKE_SECONDS 30 /* who does not even shake hands must not keep others waiting */

typedef struct TLSChannel {
    MigrationChannel parent;
    GTlsConnection *conn;
    uint8_t gathered[RECORD];
} TLSChannel;

static ssize_t tls_error(MigrationChannel *ch, GError **errp)
{
    g_prefix_error(errp, "migration channel %s: ", ch->name);
    return -1;
}

/* Small pieces make one record, for each is encrypted and sent by itself. */
static ssize_t tls_writev(MigrationChannel *ch, const struct iovec *iov, size_t n, GError **errp)
{
    TLSChannel *t = (TLSChannel *)ch;
    GOutputStream *out = g_io_stream_get_output_stream(G_IO_STREAM(t->conn));
    size_t len = 0, more;
    ssize_t done;

    if (iov->iov_len >= RECORD || n == 1) {
        done = g_output_stream_write(out, iov->iov_base, iov->iov_len, NULL, errp);
    } else {
        for (size_t i = 0; i < n && len < RECORD; i++) {
            more = MIN(iov[i].iov_len, RECORD - len);
            if (more) {
                memcpy(t->gathered + len, iov[i].iov_base, more);
            }
            len += more;
        }
        done = g_output_stream_write(out, t->gathered, len, NULL, errp);
    }
    return done < 0 ? tls_error(ch, errp) : done;
}

static ssize_t tls_readv(MigrationChannel *ch, const struct iovec *iov, size_t n, GError **errp)
{
    GInputStream *in = g_io_stream_get_input_stream(G_IO_STREAM(((TLSChannel *)ch)->conn));
    g_autoptr(GError) err = NULL;
    ssize_t done = g_input_stream_read(in, iov->iov_base, iov->iov_len, NULL, &err);

    if (done <= 0 && channel_is_shut(ch, errp)) {
        return -1;
    }
    if (g_error_matches(err, G_TLS_ERROR, G_TLS_ERROR_EOF)) {
        return 0;
    }
    if (done < 0) {
        g_propagate_error(errp, g_steal_pointer(&err));
        return tls_error(ch, errp);
    }
    return done;
}

static void tls_release(MigrationChannel *ch)
{
    g_clear_object(&((TLSChannel *)ch)->conn);
}

static const ChannelOps tls_ops = {
    .writev = tls_writev,
    .readv = tls_readv,
    .release = tls_release,
};

static bool handshake(TLSChannel *t, GSocket *sock, GCancellable *cancel, GError **errp)
{
    g_autoptr(GError) err = NULL;
    const char *complaint;

    g_socket_set_timeout(sock, HANDSHAKE_SECONDS);
    if (g_tls_connection_handshake(t->conn, cancel, &err)) {
        g_socket_set_timeout(sock, 0);
        return true;
    }
    complaint = tls_creds_complaint(t->conn);
    return error_set(errp, "migration channel %s: TLS handshake failed: %s%s%s", t->parent.name,
                     err->message, complaint ? ": " : "", complaint ?: "");
}

/* GIO's socket has a descriptor of its own; one that it can make no socket of it closes. */
static GSocket *gio_socket(const MigrationChannel *plain, GError **errp)
{
    int fd = fcntl(plain->in, F_DUPFD_CLOEXEC, 0);

    if (fd < 0) {
        channel_error(plain, errno, "no descriptor for TLS", errp);
        return NULL;
    }
    return g_socket_new_from_fd(fd, errp);
}

/* Parameters and objects are the machine's.  What they say: NULL and no error: no TLS. */
static GTlsConnection *new_connection(const MigrationChannel *plain, GSocket **sock,
                                      const char *host, bool server, GError **errp)
{
    const MigrationParameters *p = &migration_parameters;
    g_autoptr(GSocketConnection) base = NULL;

    if (!*p->tls_creds) {
        return NULL;
    }
    *sock = gio_socket(plain, errp);
    if (!*sock) {
        return NULL;
    }
    base = g_socket_connection_factory_create_connection(*sock);
    return tls_creds_connection(p->tls_creds, G_IO_STREAM(base), server,
                                *p->tls_hostname ? p->tls_hostname : host, errp);
}

bool channel_check_tls(const MigrationAddress *a, GError **errp)
{
    bool locked = channel_lock(), wanted = *migration_parameters.tls_creds;

    channel_unlock(locked);
    return !wanted || migration_address_is_duplex(a) ||
           error_set(errp, "migration channel %s: TLS needs a socket: unset 'tls-creds'", a->name);
}

MigrationChannel *channel_secure(MigrationChannel *plain, const char *host, bool server,
                                 GCancellable *cancel, GError **errp)
{
    g_autoptr(MigrationChannel) ch = plain;
    g_autoptr(GSocket) sock = NULL;
    g_autoptr(GTlsConnection) conn = NULL;
    g_autoptr(GError) err = NULL;
    TLSChannel *t;
    bool locked;
    int fd;

    locked = channel_lock();
    conn = plain->is_socket ? new_connection(plain, &sock, host, server, &err) : NULL;
    channel_unlock(locked);
    if (err) {
        g_propagate_prefixed_error(errp, g_steal_pointer(&err),
                                   "migration channel %s: ", plain->name);
        return NULL;
    }
    if (!conn) {
        return g_steal_pointer(&ch);
    }
    fd = fd_steal(&plain->in);
    plain->out = -1;
    t = channel_new(&tls_ops, sizeof(*t), plain->name, fd, fd, errp);
    if (!t) {
        return NULL;
    }
    migration_channel_free(ch);
    ch = &t->parent;
    ch->is_socket = true;
    t->conn = g_steal_pointer(&conn);
    return handshake(t, sock, cancel, errp) ? g_steal_pointer(&ch) : NULL;
}
