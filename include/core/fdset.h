/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Descriptors that come from outside: inherited and given by number, sent to a monitor and given by
 * name (getfd), or kept in numbered sets (-add-fd, add-fd) and opened like files, "/dev/fdset/N".
 * Main thread.
 * Source: QEMU docs/interop/qmp-spec.rst, qapi/misc.json (getfd, add-fd, query-fdsets).
 */
#ifndef VIADUCT_CORE_FDSET_H
#define VIADUCT_CORE_FDSET_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* ---- sets ---- */

/*
 * Puts @fd, which becomes the set's, into the set with this number, or with the lowest one that is
 * free for -1.  Returns the number.  @opaque: the user's own note on it, or NULL.
 */
int64_t fdset_add(int64_t set, int fd, const char *opaque);
/* Closes one descriptor of the set, or all; a set without any is no more. */
bool fdset_remove(int64_t set, int64_t fd, GError **errp);
bool fdset_remove_all(int64_t set, GError **errp);
/* Calls @fn for each descriptor, by the sets' numbers. */
void fdset_foreach(void (*fn)(int64_t set, int fd, const char *opaque, void *data), void *data);
void fdset_cleanup(void);

/*
 * open(2), always with O_CLOEXEC, where "/dev/fdset/N" is a copy of a descriptor of set N that is
 * open in the access mode of @flags: ENOENT when there is no such set, EACCES when it has none.
 */
int fdset_open(const char *path, int flags, mode_t mode);

/* ---- the value of an fd= property ---- */

/*
 * The descriptor that @text says, now the caller's and close-on-exec, or -1: the number of an
 * inherited one, a name of the monitor whose command is being carried out, or "/dev/fdset/N"
 * (a copy that is open for reading and writing).
 * A number is good once: what is close-on-exec belongs to the program already.
 */
int fd_take(const char *text, GError **errp);
/*
 * It is of no use to who took it: a number is as it was before, anything else is closed.
 * Only while nothing has been done with it.
 */
void fd_give_back(const char *text, int fd);

/* The monitor's way to find names: takes one out of its list, -1: there is none. */
void fd_set_names(int (*take)(const char *name));

#endif
