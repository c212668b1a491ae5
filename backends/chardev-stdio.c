/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * -chardev stdio: the terminal, raw while we have it, or whatever stdin and stdout are.  Terminal
 * modes and O_NONBLOCK outlive a process, so both are put back on every way out, exit() included.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

#include "backends/chardev-private.h"
#include "util/error.h"
#include "util/keyval.h"

static const char *refused; /* why stdio cannot be had */

static struct {
    bool saved, is_tty;
    struct termios tty;
    int flags[2]; /* of stdin and stdout */
} before;

void chardev_refuse_stdio(const char *reason)
{
    refused = reason;
}

static void restore(void)
{
    if (!before.saved) {
        return;
    }
    if (before.is_tty) {
        tcsetattr(STDIN_FILENO, TCSANOW, &before.tty);
    }
    for (int fd = 0; fd < 2; fd++) {
        fcntl(fd, F_SETFL, before.flags[fd]);
    }
    before.saved = false;
}

/* Bytes as they are typed, no echo; output still turns \n into \r\n. */
static void make_raw(bool signals)
{
    struct termios raw = before.tty;

    raw.c_iflag &= ~(tcflag_t)(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL | IXON);
    raw.c_lflag &= ~(tcflag_t)(ECHO | ECHONL | ICANON | IEXTEN | (signals ? 0 : ISIG));
    raw.c_cflag = (raw.c_cflag & ~(tcflag_t)(CSIZE | PARENB)) | CS8;
    raw.c_oflag |= OPOST;
    raw.c_cc[VMIN] = 1;
    raw.c_cc[VTIME] = 0;
    tcsetattr(STDIN_FILENO, TCSANOW, &raw);
}

static bool stdio_open(Chardev *chr, JsonObject *opts, GError **errp)
{
    static bool registered;
    bool signals = true;

    if (refused) {
        return error_set(errp, "%s", refused);
    }
    if (before.saved) {
        return error_set(errp, "cannot use stdio by multiple character devices");
    }
    if (!keyval_get_bool(opts, "signal", &signals, errp)) {
        return false;
    }
    if (!registered) {
        registered = true;
        atexit(restore);
    }
    /* On a terminal both are the same open file. */
    for (int fd = 0; fd < 2; fd++) {
        before.flags[fd] = fcntl(fd, F_GETFL);
    }
    for (int fd = 0; fd < 2; fd++) {
        fcntl(fd, F_SETFL, before.flags[fd] | O_NONBLOCK);
    }
    before.is_tty = tcgetattr(STDIN_FILENO, &before.tty) == 0;
    before.saved = true;
    if (before.is_tty) {
        make_raw(signals);
    }
    chr->state = &before;
    chardev_connected(chr, STDIN_FILENO, STDOUT_FILENO);
    return true;
}

static void stdio_close(Chardev *chr)
{
    if (chr->state) {
        restore();
    }
}

const ChardevBackend chardev_stdio = {
    .name = "stdio",
    .options = CHARDEV_OPTIONS("signal"),
    .open = stdio_open,
    .close = stdio_close,
};
