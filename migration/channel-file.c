/* SPDX-License-Identifier: GPL-2.0-or-later */
/* file: a regular file or a block device, from an offset on. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>

#include "core/fdset.h"
#include "core/lock.h"
#include "migration/channel-private.h"
#include "util/error.h"
#include "util/fd.h"

#define FILE_MODE 0600

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

/* The sets of descriptors are the machine's. */
static int open_path(const char *path, int flags)
{
    bool lock = !machine_locked();
    int fd;

    if (lock) {
        machine_lock();
    }
    fd = fdset_open(path, flags, FILE_MODE);
    if (lock) {
        machine_unlock();
    }
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
    autofd int fd = open_path(a->path, O_NONBLOCK | (write ? O_WRONLY | O_CREAT : O_RDONLY));

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
    return write
               ? channel_new(&file_ops, sizeof(MigrationChannel), a->name, -1, fd_steal(&fd), errp)
               : channel_new(&file_ops, sizeof(MigrationChannel), a->name, fd_steal(&fd), -1, errp);
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
