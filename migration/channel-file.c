/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * file: a regular file or a block device, from an offset on.  With direct-io all but the last bytes
 * go past the page cache, through a buffer that is aligned as such a transfer needs it.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "core/fdset.h"
#include "migration/channel-private.h"
#include "migration/options.h"
#include "util/error.h"
#include "util/fd.h"

#define FILE_MODE     0600
#define DIRECT_ALIGN  ((size_t)4096)
#define DIRECT_BUFFER ((size_t)1 << 20)

static bool file_finish(MigrationChannel *ch, GError **errp)
{
    /* What is no file has nothing to be synchronized. */
    return ch->out < 0 || !fdatasync(ch->out) || errno == EINVAL || errno == EROFS ||
           channel_error(ch, errno, "fdatasync failed", errp);
}

static const ChannelOps file_ops = {
    .writev = channel_fd_writev,
    .readv = channel_fd_readv,
    .finish = file_finish,
};

/* ---- direct-io ---- */

typedef struct DirectChannel {
    MigrationChannel parent;
    uint8_t *buffer;
    size_t at, end; /* of what is in it */
    bool at_end;    /* of the file, when reading */
} DirectChannel;

static bool direct_flush(DirectChannel *d, GError **errp)
{
    while (d->at < d->end) {
        struct iovec iov = { d->buffer + d->at, d->end - d->at };
        ssize_t n = channel_fd_writev(&d->parent, &iov, 1, errp);

        if (n < 0) {
            return false;
        }
        d->at += (size_t)n;
    }
    d->at = d->end = 0;
    return true;
}

static ssize_t direct_writev(MigrationChannel *ch, const struct iovec *iov, size_t n, GError **errp)
{
    DirectChannel *d = (DirectChannel *)ch;
    size_t len = MIN(iov->iov_len, DIRECT_BUFFER - d->end);

    memcpy(d->buffer + d->end, iov->iov_base, len);
    d->end += len;
    return d->end < DIRECT_BUFFER || direct_flush(d, errp) ? (ssize_t)len : -1;
}

/* A read that ends within a block has met the file's end: the next one would not be aligned. */
static ssize_t direct_readv(MigrationChannel *ch, const struct iovec *iov, size_t n, GError **errp)
{
    DirectChannel *d = (DirectChannel *)ch;
    struct iovec all = { d->buffer, DIRECT_BUFFER };
    size_t len;

    if (d->at == d->end && !d->at_end) {
        ssize_t got = channel_fd_readv(ch, &all, 1, errp);

        if (got < 0) {
            return -1;
        }
        d->at = 0;
        d->end = (size_t)got;
        d->at_end = d->end % DIRECT_ALIGN || !d->end;
    }
    len = MIN(iov->iov_len, d->end - d->at);
    memcpy(iov->iov_base, d->buffer + d->at, len);
    d->at += len;
    return (ssize_t)len;
}

static bool set_direct(int fd, bool on)
{
    int flags = fcntl(fd, F_GETFL);

    return flags >= 0 && !fcntl(fd, F_SETFL, on ? flags | O_DIRECT : flags & ~O_DIRECT);
}

static bool direct_finish(MigrationChannel *ch, GError **errp)
{
    if (ch->out >= 0 && !set_direct(ch->out, false)) {
        return channel_error(ch, errno, "O_DIRECT cannot be taken back", errp);
    }
    return (ch->out < 0 || direct_flush((DirectChannel *)ch, errp)) && file_finish(ch, errp);
}

static void direct_release(MigrationChannel *ch)
{
    g_aligned_free(((DirectChannel *)ch)->buffer);
}

static const ChannelOps direct_ops = {
    .writev = direct_writev,
    .readv = direct_readv,
    .finish = direct_finish,
    .release = direct_release,
};

static MigrationChannel *direct_new(const MigrationAddress *a, int in, int out, GError **errp)
{
    autofd int fd = in < 0 ? out : in;
    DirectChannel *d;

    if (a->offset % DIRECT_ALIGN) {
        error_set(errp, "migration file '%s': direct-io needs an offset that is a multiple of %zu",
                  a->path, DIRECT_ALIGN);
        return NULL;
    }
    if (!set_direct(fd, true)) {
        error_set_errno(errp, errno, "migration file '%s': direct-io (O_DIRECT)", a->path);
        return NULL;
    }
    fd_steal(&fd);
    d = channel_new(&direct_ops, sizeof(*d), a->name, in, out, errp);
    if (!d) {
        return NULL;
    }
    d->buffer = g_aligned_alloc(1, DIRECT_BUFFER, DIRECT_ALIGN);
    return &d->parent;
}

/* ---- opening ---- */

/* The sets of descriptors are the machine's, and so are parameters. */
static int open_path(const char *path, int flags, bool *direct)
{
    bool locked = channel_lock();
    int fd = fdset_open(path, flags, FILE_MODE);

    *direct = migration_parameters.direct_io;
    channel_unlock(locked);
    return fd;
}

/* All before the offset stays, nothing is left behind it. */
static bool cut(const MigrationAddress *a, int fd, GError **errp)
{
    struct stat st;

    if (fstat(fd, &st)) {
        return error_set_errno(errp, errno, "migration file '%s'", a->path);
    }
    return !S_ISREG(st.st_mode) || !ftruncate(fd, (off_t)a->offset) ||
           error_set_errno(errp, errno, "failed to truncate migration file to offset %" PRIx64,
                           a->offset);
}

static MigrationChannel *file_new(const MigrationAddress *a, bool write, GError **errp)
{
    bool direct;
    autofd int fd =
        open_path(a->path, O_NONBLOCK | (write ? O_WRONLY | O_CREAT : O_RDONLY), &direct);
    int in, out;

    if (fd < 0) {
        error_set_errno(errp, errno, write ? "Could not create '%s'" : "Could not open '%s'",
                        a->path);
        return NULL;
    }
    if (write && !cut(a, fd, errp)) {
        return NULL;
    }
    if (a->offset && lseek(fd, (off_t)a->offset, SEEK_SET) < 0) {
        error_set_errno(errp, errno, "migration file '%s': offset %" PRIu64, a->path, a->offset);
        return NULL;
    }
    in = write ? -1 : fd;
    out = write ? fd : -1;
    fd_steal(&fd);
    return direct ? direct_new(a, in, out, errp)
                  : channel_new(&file_ops, sizeof(MigrationChannel), a->name, in, out, errp);
}

MigrationChannel *channel_file_connect(const MigrationAddress *a, GCancellable *cancel,
                                       GError **errp)
{
    return file_new(a, true, errp);
}

MigrationChannel *channel_file_open(const MigrationAddress *a, GError **errp)
{
    return file_new(a, false, errp);
}
