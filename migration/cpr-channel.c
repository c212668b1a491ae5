/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * CPR's messages over a UNIX socket: a header, the descriptors in batches as large as the kernel
 * takes them, each with one byte, and the payload.  What the payload is, its own checksum covers.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "cpr-internal.h"
#include "migration/channel-private.h"
#include "util/error.h"
#include "util/hostcalls.h"

#define MAGIC       0x4d504356u /* "VCPM" */
#define VERSION     1
#define BATCH       253u /* the kernel's SCM_MAX_FD */
#define PAYLOAD_MAX (64u << 20)
#define FDS_MAX     1000000u

typedef struct Frame {
    uint32_t magic, version, kind, length, fds;
} Frame;

int cpr_channel_fd(const MigrationChannel *ch)
{
    return ch->in;
}

bool cpr_channel_check(const MigrationChannel *ch, GError **errp)
{
    int domain = 0;
    socklen_t len = sizeof(domain);

    return (ch->is_socket && ch->in == ch->out &&
            !getsockopt(ch->in, SOL_SOCKET, SO_DOMAIN, &domain, &len) && domain == AF_UNIX) ||
           error_set(errp, "the cpr channel %s is no UNIX socket, which descriptors need",
                     ch->name);
}

bool cpr_channel_is_over(const MigrationChannel *ch)
{
    struct pollfd p = { ch->in, POLLIN, 0 };
    char byte;

    return poll(&p, 1, 0) == 1 && recv(ch->in, &byte, 1, MSG_PEEK | MSG_DONTWAIT) <= 0;
}

void cpr_close_fds(GArray *fds)
{
    for (guint i = 0; i < fds->len; i++) {
        host_fd_close(&g_array_index(fds, int, i));
    }
    g_array_set_size(fds, 0);
}

/* ---- there ---- */

static bool send_bytes(MigrationChannel *ch, const void *data, size_t len, GError **errp)
{
    const char *at = data;

    while (len) {
        ssize_t n = send(ch->out, at, len, MSG_NOSIGNAL);

        if (n < 0 && errno != EINTR) {
            return channel_error(ch, errno, "write failed", errp);
        }
        n = MAX(n, 0);
        at += n;
        len -= (size_t)n;
    }
    return true;
}

static bool send_batch(MigrationChannel *ch, const int *fds, unsigned n, GError **errp)
{
    union {
        char bytes[CMSG_SPACE(BATCH * sizeof(int))];
        struct cmsghdr align;
    } control = { { 0 } };
    char byte = 'F';
    struct iovec iov = { &byte, 1 };
    struct msghdr msg = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = control.bytes,
        .msg_controllen = CMSG_SPACE(n * sizeof(int)),
    };
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
    ssize_t sent;

    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(n * sizeof(int));
    memcpy(CMSG_DATA(c), fds, n * sizeof(int));
    do {
        sent = sendmsg(ch->out, &msg, MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    return sent == 1 || channel_error(ch, errno, "cannot send descriptors", errp);
}

bool cpr_channel_send(MigrationChannel *ch, CprMessage kind, const void *data, size_t len,
                      const GArray *fds, GError **errp)
{
    Frame frame = { MAGIC, VERSION, kind, (uint32_t)len, fds ? fds->len : 0 };

    if (!send_bytes(ch, &frame, sizeof(frame), errp)) {
        return false;
    }
    for (guint i = 0; i < frame.fds; i += BATCH) {
        if (!send_batch(ch, &g_array_index(fds, int, i), MIN(BATCH, frame.fds - i), errp)) {
            return false;
        }
    }
    return send_bytes(ch, data, len, errp);
}

/* ---- and back ---- */

static bool receive_bytes(MigrationChannel *ch, void *data, size_t len, GError **errp)
{
    char *at = data;

    while (len) {
        ssize_t n = recv(ch->in, at, len, 0);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return n ? channel_error(ch, errno, "read failed", errp)
                     : error_set(errp, "migration channel %s: the other side has closed it",
                                 ch->name);
        }
        at += n;
        len -= (size_t)n;
    }
    return true;
}

/* What the kernel could not install is missing, and said by MSG_CTRUNC. */
static bool receive_batch(MigrationChannel *ch, GArray *fds, unsigned wanted, GError **errp)
{
    union {
        char bytes[CMSG_SPACE(BATCH * sizeof(int))];
        struct cmsghdr align;
    } control;
    char byte;
    struct iovec iov = { &byte, 1 };
    struct msghdr msg = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = control.bytes,
        .msg_controllen = sizeof(control.bytes),
    };
    guint before = fds->len;
    ssize_t n;

    do {
        n = recvmsg(ch->in, &msg, MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
    if (n <= 0) {
        return n ? channel_error(ch, errno, "read failed", errp)
                 : error_set(errp, "migration channel %s: the other side has closed it", ch->name);
    }
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
            g_array_append_vals(fds, CMSG_DATA(c),
                                (guint)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int)));
        }
    }
    return (fds->len - before == wanted && !(msg.msg_flags & MSG_CTRUNC)) ||
           error_set(errp, "migration channel %s: %u descriptors came, not %u%s", ch->name,
                     fds->len - before, wanted,
                     msg.msg_flags & MSG_CTRUNC ? "; may this process have so many open?" : "");
}

bool cpr_channel_receive(MigrationChannel *ch, CprMessage *kind, GByteArray *data, GArray *fds,
                         GError **errp)
{
    Frame frame;

    if (!receive_bytes(ch, &frame, sizeof(frame), errp)) {
        return false;
    }
    if (frame.magic != MAGIC || frame.version != VERSION) {
        return error_set(errp, "migration channel %s: no CPR of version %u", ch->name, VERSION);
    }
    if (!frame.kind || frame.kind > CPR_SWITCHOVER || frame.length > PAYLOAD_MAX ||
        frame.fds > (fds ? FDS_MAX : 0)) {
        return error_set(errp, "migration channel %s: a CPR message %u of %u bytes, %u descriptors",
                         ch->name, frame.kind, frame.length, frame.fds);
    }
    *kind = (CprMessage)frame.kind;
    for (guint i = 0; i < frame.fds; i += BATCH) {
        if (!receive_batch(ch, fds, MIN(BATCH, frame.fds - i), errp)) {
            return false;
        }
    }
    g_byte_array_set_size(data, frame.length + 1);
    data->data[frame.length] = 0; /* in case it is text */
    g_byte_array_set_size(data, frame.length);
    return receive_bytes(ch, data->data, frame.length, errp);
}
