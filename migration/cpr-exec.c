/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * cpr-exec: the process becomes the new one by exec, and keeps its number.  What cpr-transfer sends
 * by a socket is in a memfd here, whose descriptor an environment variable names; the descriptors
 * that are preserved are those, and only those, that exec does not close.  States go by the main
 * channel, a file.
 *
 * The memfd: magic, version, and the lengths of both messages and numbers of their descriptors (32
 * bits each, this machine's order: nobody else reads it); the descriptors; the messages.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "cpr-internal.h"
#include "util/error.h"
#include "util/fd.h"
#include "util/hostcalls.h"
#include "util/trace.h"

#define STATE_VARIABLE "VIADUCT_CPR_EXEC_STATE"
#define MAGIC          0x45504356u /* "VCPE" */
#define VERSION        1
#define LENGTH_MAX     (64u << 20)
#define FDS_MAX        1000000u

typedef struct Head {
    uint32_t magic, version, lengths[2], fds[2];
} Head;

enum { OBJECTS, SWITCHOVER, MESSAGES };

static struct {
    GByteArray *data[MESSAGES];
    GArray *fds[MESSAGES];
    bool taken; /* the descriptors are ours to close */
} messages;

static void clear(void)
{
    for (unsigned i = 0; i < MESSAGES; i++) {
        if (messages.taken && messages.fds[i]) {
            cpr_close_fds(messages.fds[i]);
        }
        g_clear_pointer(&messages.data[i], g_byte_array_unref);
        g_clear_pointer(&messages.fds[i], g_array_unref);
    }
    messages.taken = false;
}

void cpr_exec_cleanup(void)
{
    clear();
}

static void prepare(void)
{
    clear();
    for (unsigned i = 0; i < MESSAGES; i++) {
        messages.data[i] = g_byte_array_new();
        messages.fds[i] = g_array_new(FALSE, FALSE, sizeof(int));
    }
}

/* ---- the old program ---- */

bool cpr_exec_stop(GError **errp)
{
    prepare();
    if (!cpr_check(errp)) {
        return false;
    }
    cpr_save(messages.data[OBJECTS], messages.fds[OBJECTS]);
    return cpr_stop(messages.data[SWITCHOVER], messages.fds[SWITCHOVER], errp);
}

static bool write_all(int fd, const void *data, size_t len, GError **errp)
{
    const char *at = data;

    while (len) {
        ssize_t n = write(fd, at, len);

        if (n < 0 && errno != EINTR) {
            return error_set_errno(errp, errno, "cannot write the state for the new program");
        }
        n = MAX(n, 0);
        at += n;
        len -= (size_t)n;
    }
    return true;
}

static bool write_state(int fd, GError **errp)
{
    Head head = {
        MAGIC,
        VERSION,
        { messages.data[OBJECTS]->len, messages.data[SWITCHOVER]->len },
        { messages.fds[OBJECTS]->len, messages.fds[SWITCHOVER]->len },
    };
    bool ok = write_all(fd, &head, sizeof(head), errp);

    for (unsigned i = 0; i < MESSAGES && ok; i++) {
        ok = write_all(fd, messages.fds[i]->data, messages.fds[i]->len * sizeof(int), errp);
    }
    for (unsigned i = 0; i < MESSAGES && ok; i++) {
        ok = write_all(fd, messages.data[i]->data, messages.data[i]->len, errp);
    }
    return ok && (lseek(fd, 0, SEEK_SET) == 0 || error_set_errno(errp, errno, "lseek"));
}

static bool set_kept(bool kept, GError **errp)
{
    for (unsigned i = 0; i < MESSAGES; i++) {
        for (guint j = 0; j < messages.fds[i]->len; j++) {
            int fd = g_array_index(messages.fds[i], int, j);

            if (hostcalls->fcntl(fd, F_SETFD, kept ? 0 : FD_CLOEXEC)) {
                return error_set_errno(errp, errno, "descriptor %d cannot be handed over", fd);
            }
        }
    }
    return true;
}

bool cpr_exec(GError **errp)
{
    char **command = migration_parameters.cpr_exec_command;
    autofd int fd = memfd_create("cpr-exec-state", 0);
    g_autofree char *number = g_strdup_printf("%d", fd);

    if (fd < 0) {
        return error_set_errno(errp, errno, "cannot make a memfd for the new program's state");
    }
    if (!write_state(fd, errp)) {
        return false;
    }
    if (set_kept(true, errp)) {
        TRACE("cpr_exec", "%s, state in fd %d", *command, fd);
        setenv(STATE_VARIABLE, number, 1);
        execvp(*command, command);
        error_set_errno(errp, errno, "cpr-exec-command: cannot execute '%s'", *command);
        unsetenv(STATE_VARIABLE);
    }
    set_kept(false, NULL);
    clear();
    return false;
}

/* ---- the new one ---- */

static bool read_all(int fd, void *data, size_t len)
{
    char *at = data;

    while (len) {
        ssize_t n = read(fd, at, len);

        if (n == 0 || (n < 0 && errno != EINTR)) {
            return false;
        }
        n = MAX(n, 0);
        at += n;
        len -= (size_t)n;
    }
    return true;
}

static bool read_messages(int fd)
{
    Head head;

    if (!read_all(fd, &head, sizeof(head)) || head.magic != MAGIC || head.version != VERSION) {
        return false;
    }
    for (unsigned i = 0; i < MESSAGES; i++) {
        if (head.lengths[i] > LENGTH_MAX || head.fds[i] > FDS_MAX) {
            return false;
        }
        g_array_set_size(messages.fds[i], head.fds[i]);
        if (!read_all(fd, messages.fds[i]->data, head.fds[i] * sizeof(int))) {
            g_array_set_size(messages.fds[i], 0);
            return false;
        }
    }
    for (unsigned i = 0; i < MESSAGES; i++) {
        g_byte_array_set_size(messages.data[i], head.lengths[i]);
        if (!read_all(fd, messages.data[i]->data, head.lengths[i])) {
            return false;
        }
    }
    return true;
}

/*
 * What this program has opened it closes on exec, and what it has taken too: so nothing is taken
 * that is not inherited, and nothing twice.
 */
static bool take(int fd)
{
    int flags = hostcalls->fcntl(fd, F_GETFD, 0);

    return flags >= 0 && !(flags & FD_CLOEXEC) && !hostcalls->fcntl(fd, F_SETFD, FD_CLOEXEC);
}

static bool take_all(GError **errp)
{
    bool ok = true;

    messages.taken = true;
    for (unsigned i = 0; i < MESSAGES; i++) {
        GArray *fds = messages.fds[i];
        guint n = 0;

        while (ok && n < fds->len) {
            ok = take(g_array_index(fds, int, n)) ||
                 error_set(errp, STATE_VARIABLE ": descriptor %d was not handed over",
                           g_array_index(fds, int, n));
            n += ok;
        }
        g_array_set_size(fds, n);
    }
    return ok;
}

static bool load(unsigned which, GError **errp)
{
    return cpr_load(messages.data[which]->data, messages.data[which]->len, messages.fds[which],
                    errp);
}

bool cpr_exec_incoming(GError **errp)
{
    const char *text = getenv(STATE_VARIABLE);
    guint64 number = 0;
    autofd int fd = -1;

    if (!text) {
        return true;
    }
    if (!g_ascii_string_to_unsigned(text, 10, 0, INT_MAX, &number, NULL) || !take((int)number)) {
        return error_set(errp, STATE_VARIABLE "=%s is no inherited descriptor", text);
    }
    unsetenv(STATE_VARIABLE);
    fd = (int)number;
    prepare();
    if (!read_messages(fd)) {
        clear();
        return error_set(errp, STATE_VARIABLE ": there is no state of a live update");
    }
    if (!take_all(errp) || !load(OBJECTS, errp)) {
        clear();
        return false;
    }
    return true;
}

bool cpr_exec_has_switchover(void)
{
    return messages.data[SWITCHOVER];
}

bool cpr_exec_switchover(GError **errp)
{
    bool ok = load(SWITCHOVER, errp);

    clear();
    return ok;
}
