/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Channels over plain descriptors.  A call on a socket may block, and shutdown(2) ends it; anything
 * else does not block, and waits where the wake-up can be heard.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sys/socket.h>

#include "migration/channel-private.h"
#include "util/error.h"
#include "util/fd.h"

/* Returns true when it is worth trying again. */
static bool wait_for(MigrationChannel *ch, int fd, short events, GError **errp)
{
    struct pollfd fds[] = { { .fd = fd, .events = events }, { .fd = ch->wake, .events = POLLIN } };

    if (poll(fds, G_N_ELEMENTS(fds), -1) < 0 && errno != EINTR) {
        return channel_error(ch, errno, "poll failed", errp);
    }
    return !channel_is_shut(ch, errp);
}

/* After -1 and errno. */
static bool try_again(MigrationChannel *ch, int fd, short events, GError **errp)
{
    if (errno == EAGAIN) {
        return wait_for(ch, fd, events, errp);
    }
    if (errno == EINTR) {
        return !channel_is_shut(ch, errp);
    }
    return !channel_is_shut(ch, errp) &&
           channel_error(ch, errno, events == POLLIN ? "read failed" : "write failed", errp);
}

ssize_t channel_fd_writev(MigrationChannel *ch, const struct iovec *iov, size_t n, GError **errp)
{
    struct msghdr msg = { .msg_iov = (struct iovec *)iov, .msg_iovlen = MIN(n, IOV_MAX) };
    ssize_t done;

    do {
        done = ch->is_socket ? sendmsg(ch->out, &msg, MSG_NOSIGNAL)
                             : writev(ch->out, iov, (int)msg.msg_iovlen);
    } while (done < 0 && try_again(ch, ch->out, POLLOUT, errp));
    return done;
}

ssize_t channel_fd_readv(MigrationChannel *ch, const struct iovec *iov, size_t n, GError **errp)
{
    ssize_t done;

    do {
        done = readv(ch->in, iov, (int)n);
    } while (done < 0 && try_again(ch, ch->in, POLLIN, errp));
    /* Shut down from this side it looks like the end, too. */
    return done == 0 && channel_is_shut(ch, errp) ? -1 : done;
}

const ChannelOps channel_fd_ops = {
    .writev = channel_fd_writev,
    .readv = channel_fd_readv,
};

MigrationChannel *channel_socket_new(const char *name, int fd, GError **errp)
{
    MigrationChannel *ch =
        channel_new(&channel_fd_ops, sizeof(MigrationChannel), name, fd, fd, errp);

    if (ch) {
        ch->is_socket = true;
    }
    return ch;
}

/* ---- fd: ---- */

/* Takes the address's descriptor, if it is open for @way. */
static int take(const MigrationAddress *a, int way, GError **errp)
{
    int fd = a->fd ? *a->fd : -1, flags;

    if (fd < 0) {
        error_set(errp, "migration address %s was used already", a->name);
        return -1;
    }
    flags = fcntl(fd, F_GETFL);
    if (flags < 0) {
        error_set_errno(errp, errno, "migration fd '%s'", a->fd_text);
        return -1;
    }
    if ((flags & O_ACCMODE) != O_RDWR && (flags & O_ACCMODE) != way) {
        error_set(errp, "migration fd '%s' is not open for %s", a->fd_text,
                  way == O_RDONLY ? "reading" : "writing");
        return -1;
    }
    if (!a->fd_is_socket && fcntl(fd, F_SETFL, flags | O_NONBLOCK)) {
        error_set_errno(errp, errno, "migration fd '%s': O_NONBLOCK", a->fd_text);
        return -1;
    }
    return fd_steal(a->fd);
}

static MigrationChannel *open_way(const MigrationAddress *a, int way, GError **errp)
{
    int fd = take(a, way, errp), in = way == O_RDONLY ? fd : -1, out = way == O_RDONLY ? -1 : fd;

    if (fd < 0) {
        return NULL;
    }
    return a->fd_is_socket
               ? channel_socket_new(a->name, fd, errp)
               : channel_new(&channel_fd_ops, sizeof(MigrationChannel), a->name, in, out, errp);
}

MigrationChannel *channel_fd_connect(const MigrationAddress *a, GCancellable *cancel, GError **errp)
{
    return open_way(a, O_WRONLY, errp);
}

MigrationChannel *channel_fd_open(const MigrationAddress *a, GError **errp)
{
    return open_way(a, O_RDONLY, errp);
}
