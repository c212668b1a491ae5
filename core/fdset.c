/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sets of descriptors, and what fd= properties say.
 *
 * All that the program opens itself is close-on-exec, and nothing that it inherits can be: that is
 * how a number is known to be the user's to give, and given, becomes the program's.
 */
#include "core/fdset.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "util/error.h"
#include "util/hostcalls.h"

#define FDSET_PREFIX "/dev/fdset/"
#define SETTABLE     (O_APPEND | O_NONBLOCK)

typedef struct FDSetEntry {
    int64_t set;
    int fd;
    char *opaque;
} FDSetEntry;

static GArray *entries; /* sorted by set; in order of arrival within one */

static guint n_entries(void)
{
    return entries ? entries->len : 0;
}

static FDSetEntry *entry(guint i)
{
    return &g_array_index(entries, FDSetEntry, i);
}

static void entry_clear(gpointer data)
{
    FDSetEntry *e = data;

    host_fd_close(&e->fd);
    g_free(e->opaque);
}

static int64_t first_free(void)
{
    int64_t set = 0;

    for (guint i = 0; i < n_entries(); i++) {
        set += entry(i)->set == set;
    }
    return set;
}

int64_t fdset_add(int64_t set, int fd, const char *opaque)
{
    FDSetEntry e = { .fd = fd, .opaque = g_strdup(opaque) };
    guint i = 0;

    if (!entries) {
        entries = g_array_new(FALSE, FALSE, sizeof(FDSetEntry));
        g_array_set_clear_func(entries, entry_clear);
    }
    e.set = set < 0 ? first_free() : set;
    while (i < entries->len && entry(i)->set <= e.set) {
        i++;
    }
    g_array_insert_val(entries, i, e);
    return e.set;
}

bool fdset_remove(int64_t set, int64_t fd, GError **errp)
{
    for (guint i = 0; i < n_entries(); i++) {
        if (entry(i)->set == set && entry(i)->fd == fd) {
            g_array_remove_index(entries, i);
            return true;
        }
    }
    return error_set(errp, "File descriptor named 'fdset-id:%" PRId64 ", fd:%" PRId64 "' not found",
                     set, fd);
}

bool fdset_remove_all(int64_t set, GError **errp)
{
    guint before = n_entries();

    for (guint i = before; i-- > 0;) {
        if (entry(i)->set == set) {
            g_array_remove_index(entries, i);
        }
    }
    return n_entries() < before ||
           error_set(errp, "File descriptor named 'fdset-id:%" PRId64 "' not found", set);
}

void fdset_foreach(void (*fn)(int64_t set, int fd, const char *opaque, void *data), void *data)
{
    for (guint i = 0; i < n_entries(); i++) {
        fn(entry(i)->set, entry(i)->fd, entry(i)->opaque, data);
    }
}

void fdset_cleanup(void)
{
    g_clear_pointer(&entries, g_array_unref);
}

/* A copy, with what @flags wants that can still be had. */
static int copy_of(int fd, int has, int flags)
{
    int copy = hostcalls->fcntl(fd, F_DUPFD_CLOEXEC, 0), saved;

    if (copy >= 0 &&
        (hostcalls->fcntl(copy, F_SETFL, (has & ~SETTABLE) | (flags & SETTABLE)) ||
         (flags & O_TRUNC && ftruncate(copy, 0) && errno != EINVAL))) { /* no file: as in open() */
        saved = errno;
        host_fd_close(&copy);
        errno = saved;
    }
    return copy;
}

int fdset_open(const char *path, int flags, mode_t mode)
{
    int error = ENOENT;
    guint64 set;

    if (!g_str_has_prefix(path, FDSET_PREFIX)) {
        return open(path, flags | O_CLOEXEC, mode);
    }
    if (!g_ascii_string_to_unsigned(path + strlen(FDSET_PREFIX), 10, 0, INT64_MAX, &set, NULL)) {
        errno = EINVAL;
        return -1;
    }
    for (guint i = 0; i < n_entries(); i++) {
        if (entry(i)->set == (int64_t)set) {
            int fl = hostcalls->fcntl(entry(i)->fd, F_GETFL, 0);

            if (fl >= 0 && (fl & O_ACCMODE) == (flags & O_ACCMODE)) {
                return copy_of(entry(i)->fd, fl, flags);
            }
            error = EACCES;
        }
    }
    errno = error;
    return -1;
}

/* ---- fd= ---- */

static int (*take_name)(const char *name);

void fd_set_names(int (*take)(const char *name))
{
    take_name = take;
}

static bool is_number(const char *text)
{
    return g_ascii_isdigit(*text);
}

static int take_number(const char *text, GError **errp)
{
    guint64 fd;
    int flags;

    if (!g_ascii_string_to_unsigned(text, 10, 0, G_MAXINT, &fd, NULL)) {
        error_set(errp, "Invalid file descriptor number '%s'", text);
        return -1;
    }
    flags = hostcalls->fcntl((int)fd, F_GETFD, 0);
    if (flags < 0) {
        error_set_errno(errp, errno, "fd %s is not open", text);
    } else if (flags & FD_CLOEXEC) {
        error_set(errp, "fd %s is in use already", text);
    } else if (hostcalls->fcntl((int)fd, F_SETFD, FD_CLOEXEC)) {
        error_set_errno(errp, errno, "fd %s cannot be taken over", text);
    } else {
        return (int)fd;
    }
    return -1;
}

int fd_take(const char *text, GError **errp)
{
    int fd;

    if (is_number(text)) {
        return take_number(text, errp);
    }
    fd = take_name ? take_name(text) : -1;
    if (fd < 0 && g_str_has_prefix(text, FDSET_PREFIX)) {
        fd = fdset_open(text, O_RDWR, 0);
        if (fd < 0) {
            error_set_errno(errp, errno, "no descriptor for reading and writing in %s", text);
        }
    } else if (fd < 0) {
        error_set(errp,
                  "File descriptor named '%s' not found: there are numbers, names that getfd gave, "
                  "and " FDSET_PREFIX "N",
                  text);
    }
    return fd;
}

void fd_give_back(const char *text, int fd)
{
    if (is_number(text)) {
        hostcalls->fcntl(fd, F_SETFD, 0);
    } else {
        hostcalls->close(fd);
    }
}
