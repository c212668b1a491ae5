/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Channels, whatever they go over; the transports are in the files beside this one. */
#include "migration/channel-private.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "core/lock.h"
#include "util/error.h"
#include "util/fd.h"

static const Transport transports[TRANSPORT__MAX] = {
    [TRANSPORT_TCP] = { channel_socket_connect },
    [TRANSPORT_UNIX] = { channel_socket_connect },
    [TRANSPORT_FD] = { channel_fd_connect, channel_fd_open },
    [TRANSPORT_EXEC] = { channel_exec_connect, channel_exec_open },
    [TRANSPORT_FILE] = { channel_file_connect, channel_file_open },
};

/* ---- making them ---- */

MigrationChannel *migration_connect(const MigrationAddress *a, GCancellable *cancel, GError **errp)
{
    MigrationChannel *ch;

    if (g_cancellable_set_error_if_cancelled(cancel, errp)) {
        g_prefix_error(errp, "migration to %s: ", a->name);
        return NULL;
    }
    ch = channel_check_tls(a, errp) ? transports[a->kind].connect(a, cancel, errp) : NULL;
    return ch ? channel_secure(ch, a->host, false, cancel, errp) : NULL;
}

MigrationListener *migration_listen(const MigrationAddress *a, GError **errp)
{
    g_autoptr(MigrationListener) l = g_new0(MigrationListener, 1);

    if (!channel_check_tls(a, errp)) {
        return NULL;
    }
    l->address = migration_address_copy(a);
    if (!transports[a->kind].open) {
        return channel_socket_listen(l, errp) ? g_steal_pointer(&l) : NULL;
    }
    l->single = transports[a->kind].open(a, errp);
    return l->single ? g_steal_pointer(&l) : NULL;
}

const MigrationAddress *migration_listener_address(const MigrationListener *l)
{
    return l->address;
}

MigrationChannel *migration_accept(MigrationListener *l, GCancellable *cancel, GError **errp)
{
    MigrationChannel *ch;

    if (g_cancellable_set_error_if_cancelled(cancel, errp)) {
        return NULL;
    }
    ch = l->socket ? channel_socket_accept(l, cancel, errp) : g_steal_pointer(&l->single);
    if (!ch && !l->socket) {
        error_set(errp, "migration address %s gives one channel only", l->address->name);
    }
    return ch ? channel_secure(ch, NULL, true, cancel, errp) : NULL;
}

void migration_listener_free(MigrationListener *l)
{
    if (!l) {
        return;
    }
    channel_socket_unlisten(l);
    migration_channel_free(l->single);
    migration_address_free(l->address);
    g_free(l);
}

bool channel_lock(void)
{
    bool take = !machine_locked();

    if (take) {
        machine_lock();
    }
    return take;
}

void channel_unlock(bool taken)
{
    if (taken) {
        machine_unlock();
    }
}

void *channel_new(const ChannelOps *ops, size_t size, const char *name, int in, int out,
                  GError **errp)
{
    int wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    MigrationChannel *ch;

    if (wake < 0) {
        error_set_errno(errp, errno, "migration channel %s: no eventfd", name);
        fd_close(&in);
        if (out != in) {
            fd_close(&out);
        }
        return NULL;
    }
    ch = g_malloc0(size);
    ch->ops = ops;
    ch->name = g_strdup(name);
    ch->in = in;
    ch->out = out;
    ch->wake = wake;
    return ch;
}

/* ---- using them ---- */

bool channel_error(const MigrationChannel *ch, int errnum, const char *what, GError **errp)
{
    return error_set_errno(errp, errnum, "migration channel %s: %s", ch->name, what);
}

bool channel_is_shut(const MigrationChannel *ch, GError **errp)
{
    return g_atomic_int_get(&ch->shut) &&
           !error_set(errp, "migration channel %s: it was shut down", ch->name);
}

/* *@iov goes past the @done bytes, and past what is empty behind them. */
static void advance(struct iovec **iov, size_t *n, size_t done)
{
    while (*n && done >= (*iov)->iov_len) {
        done -= (*iov)->iov_len;
        ++*iov;
        --*n;
    }
    if (*n) {
        (*iov)->iov_base = (char *)(*iov)->iov_base + done;
        (*iov)->iov_len -= done;
    }
}

bool migration_channel_writev(MigrationChannel *ch, struct iovec *iov, size_t n, GError **errp)
{
    if (ch->out < 0) {
        return error_set(errp, "migration channel %s cannot be written to", ch->name);
    }
    advance(&iov, &n, 0);
    while (n) {
        ssize_t done = channel_is_shut(ch, errp) ? -1 : ch->ops->writev(ch, iov, n, errp);

        if (done < 0) {
            return false;
        }
        advance(&iov, &n, (size_t)done);
    }
    return true;
}

/* Reads at least a byte of what is wanted, and more if it is there. */
static bool read_some(MigrationChannel *ch, uint8_t **to, size_t *len, GError **errp)
{
    struct iovec iov[] = { { *to, *len }, { ch->ahead, CHANNEL_AHEAD } };
    ssize_t n = channel_is_shut(ch, errp) ? -1 : ch->ops->readv(ch, iov, G_N_ELEMENTS(iov), errp);
    size_t direct;

    if (n < 0) {
        return false;
    }
    if (n == 0) {
        return error_set(errp, "migration channel %s: unexpected end of the stream", ch->name);
    }
    direct = MIN((size_t)n, *len);
    *to += direct;
    *len -= direct;
    ch->ahead_at = 0;
    ch->ahead_end = (size_t)n - direct;
    return true;
}

bool migration_channel_read(MigrationChannel *ch, void *buf, size_t len, GError **errp)
{
    uint8_t *to = buf;

    if (ch->in < 0) {
        return error_set(errp, "migration channel %s cannot be read from", ch->name);
    }
    if (!ch->ahead) {
        ch->ahead = g_malloc(CHANNEL_AHEAD);
    }
    for (;;) {
        size_t n = MIN(len, ch->ahead_end - ch->ahead_at);

        if (n) {
            memcpy(to, ch->ahead + ch->ahead_at, n);
        }
        ch->ahead_at += n;
        to += n;
        len -= n;
        if (!len) {
            return true;
        }
        if (!read_some(ch, &to, &len, errp)) {
            return false;
        }
    }
}

bool migration_channel_finish(MigrationChannel *ch, GError **errp)
{
    return !channel_is_shut(ch, errp) && (!ch->ops->finish || ch->ops->finish(ch, errp));
}

bool migration_channel_is_duplex(const MigrationChannel *ch)
{
    return ch->in >= 0 && ch->out >= 0;
}

void migration_channel_shutdown(MigrationChannel *ch)
{
    static const uint64_t one = 1;
    ssize_t n;

    g_atomic_int_set(&ch->shut, TRUE);
    /* It cannot fail: nobody takes what is in it, and it is far from full. */
    n = write(ch->wake, &one, sizeof(one));
    (void)n;
    if (ch->is_socket) {
        shutdown(ch->in, SHUT_RDWR);
    }
    if (ch->ops->shutdown) {
        ch->ops->shutdown(ch);
    }
}

void migration_channel_free(MigrationChannel *ch)
{
    if (!ch) {
        return;
    }
    if (ch->ops->release) {
        ch->ops->release(ch);
    }
    if (ch->out != ch->in) {
        fd_close(&ch->out);
    }
    fd_close(&ch->in);
    fd_close(&ch->wake);
    g_free(ch->ahead);
    g_free(ch->name);
    g_free(ch);
}
