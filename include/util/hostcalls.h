/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The kernel seam.  Each call that touches /dev/iommu, a VFIO device or vhost-vdpa goes through
 * this one table.  The program's table is libc; the tests put a simulator in its place, which is
 * how every error path runs without hardware.  Semantics are those of the calls of the same name:
 * -1 and errno on failure (MAP_FAILED for mmap).  Replaced only before the first thread starts.
 */
#ifndef VIADUCT_UTIL_HOSTCALLS_H
#define VIADUCT_UTIL_HOSTCALLS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/types.h>

typedef struct HostCalls {
    int (*open)(const char *path, int flags);
    int (*close)(int fd);
    int (*fcntl)(int fd, int cmd, int arg);
    int (*fstat)(int fd, struct stat *st);
    int (*ioctl)(int fd, unsigned long request, void *arg);
    void *(*mmap)(void *addr, size_t len, int prot, int flags, int fd, off_t offset);
    int (*munmap)(void *addr, size_t len);
    ssize_t (*read)(int fd, void *buf, size_t len);
    ssize_t (*write)(int fd, const void *buf, size_t len);
    ssize_t (*pread)(int fd, void *buf, size_t len, off_t offset);
    ssize_t (*pwrite)(int fd, const void *buf, size_t len, off_t offset);
    int (*eventfd)(unsigned initval, int flags);
} HostCalls;

extern const HostCalls hostcalls_libc;
extern const HostCalls *hostcalls;

/* Closes *@fd through the seam, if there is one, and forgets it. */
void host_fd_close(int *fd);

/*
 * Another process has the devices now: from here on nothing reaches them, nor eventfds, but closing
 * and unmapping.  What else is called succeeds, does nothing and reads zeroes; opening fails with
 * EPERM.  There is no way back.
 */
void host_let_go(void);
bool host_has_let_go(void);

/* A new eventfd, which no call waits on and no child inherits; -1 and errno. */
int host_eventfd(void);
/* Signals it; that it has been signalled before and nobody took it is no failure. */
void host_eventfd_signal(int fd);
/* Whether it was signalled since the last time. */
bool host_eventfd_take(int fd);

#endif
