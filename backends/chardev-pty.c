/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * -chardev pty: a pseudo-terminal of our own.  Nothing tells its master that somebody has opened
 * the other side, so while nobody has (POLLHUP), a timer looks.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <termios.h>

#include "backends/chardev-private.h"
#include "util/error.h"
#include "util/fd.h"

#define LOOK_MILLIS 1000

typedef struct ChardevPty {
    int master;
    char name[64]; /* of the other side */
    guint timer;   /* 0: none */
} ChardevPty;

static gboolean look(gpointer opaque)
{
    Chardev *chr = opaque;
    ChardevPty *pty = chr->state;
    struct pollfd pfd = { pty->master, POLLOUT, 0 };

    if (poll(&pfd, 1, 0) < 0 || pfd.revents & POLLHUP) {
        return G_SOURCE_CONTINUE;
    }
    pty->timer = 0;
    chardev_connected(chr, pty->master, pty->master);
    return G_SOURCE_REMOVE;
}

static void pty_peer_gone(Chardev *chr)
{
    ChardevPty *pty = chr->state;

    pty->timer = g_timeout_add(LOOK_MILLIS, look, chr);
}

static bool pty_open(Chardev *chr, JsonObject *opts, GError **errp)
{
    ChardevPty *pty = g_new0(ChardevPty, 1);
    autofd int slave = -1;
    struct termios tty;

    chr->state = pty;
    pty->master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
    if (pty->master < 0 || grantpt(pty->master) || unlockpt(pty->master) ||
        ptsname_r(pty->master, pty->name, sizeof(pty->name))) {
        return error_set_errno(errp, errno, "cannot make a pseudo-terminal");
    }
    /* Opened and closed once, the other side counts as hung up until somebody comes. */
    slave = open(pty->name, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (slave < 0 || tcgetattr(slave, &tty)) {
        return error_set_errno(errp, errno, "cannot set up '%s'", pty->name);
    }
    cfmakeraw(&tty);
    tcsetattr(slave, TCSAFLUSH, &tty);
    printf("char device redirected to %s (label %s)\n", pty->name, chr->id);
    fflush(stdout);
    pty_peer_gone(chr);
    return true;
}

static void pty_close(Chardev *chr)
{
    ChardevPty *pty = chr->state;

    if (pty->timer) {
        g_source_remove(pty->timer);
    }
    fd_close(&pty->master);
    g_free(pty);
}

static char *pty_filename(Chardev *chr)
{
    ChardevPty *pty = chr->state;

    return g_strdup_printf("pty:%s", pty->name);
}

const ChardevBackend chardev_pty = {
    .name = "pty",
    .options = CHARDEV_OPTIONS(),
    .open = pty_open,
    .close = pty_close,
    .peer_gone = pty_peer_gone,
    .filename = pty_filename,
};
