/* SPDX-License-Identifier: GPL-2.0-or-later */
/* -chardev file: output to a file; and -chardev null: output to nowhere. */
#include <errno.h>
#include <fcntl.h>

#include "backends/chardev-private.h"
#include "core/fdset.h"
#include "util/error.h"
#include "util/fd.h"
#include "util/keyval.h"

static bool file_open(Chardev *chr, JsonObject *opts, GError **errp)
{
    const char *path = NULL;
    bool append = false;
    int fd;

    if (!keyval_get_str(opts, "path", &path, errp) ||
        !keyval_get_bool(opts, "append", &append, errp)) {
        return false;
    }
    if (!path || !*path) {
        return error_set(errp, "no file name given");
    }
    fd = fdset_open(path, O_WRONLY | O_CREAT | O_NONBLOCK | (append ? O_APPEND : O_TRUNC), 0666);
    if (fd < 0) {
        return error_set_errno(errp, errno, "cannot open '%s'", path);
    }
    chardev_connected(chr, -1, fd);
    return true;
}

static void file_close(Chardev *chr)
{
    fd_close(&chr->out_fd);
}

const ChardevBackend chardev_file = {
    .name = "file",
    .options = CHARDEV_OPTIONS("path", "append"),
    .open = file_open,
    .close = file_close,
};

static bool null_open(Chardev *chr, JsonObject *opts, GError **errp)
{
    chardev_connected(chr, -1, -1);
    return true;
}

static void null_close(Chardev *chr)
{
}

const ChardevBackend chardev_null = {
    .name = "null",
    .options = CHARDEV_OPTIONS(),
    .open = null_open,
    .close = null_close,
};
