/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Descriptors with an owner: an `autofd int fd = …` closes itself on every path out of its scope. */
#ifndef VIADUCT_UTIL_FD_H
#define VIADUCT_UTIL_FD_H

#include <unistd.h>

static inline void autofd_close(int *fd)
{
    if (*fd >= 0) {
        close(*fd);
    }
}

#define autofd __attribute__((cleanup(autofd_close)))

/* Takes the descriptor out of its variable: the caller is its owner now. */
static inline int fd_steal(int *fd)
{
    int taken = *fd;

    *fd = -1;
    return taken;
}

/* Closes *@fd, if there is one, and forgets it. */
static inline void fd_close(int *fd)
{
    autofd_close(fd);
    *fd = -1;
}

#endif
