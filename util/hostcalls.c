/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "util/hostcalls.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

static int libc_open(const char *path, int flags)
{
    return open(path, flags | O_CLOEXEC);
}

static int libc_fcntl(int fd, int cmd, int arg)
{
    return fcntl(fd, cmd, arg);
}

static int libc_ioctl(int fd, unsigned long request, void *arg)
{
    return ioctl(fd, request, arg);
}

const HostCalls hostcalls_libc = {
    .open = libc_open,
    .close = close,
    .fcntl = libc_fcntl,
    .fstat = fstat,
    .ioctl = libc_ioctl,
    .mmap = mmap,
    .munmap = munmap,
    .read = read,
    .write = write,
    .pread = pread,
    .pwrite = pwrite,
    .eventfd = eventfd,
};

const HostCalls *hostcalls = &hostcalls_libc;

void host_fd_close(int *fd)
{
    if (*fd >= 0) {
        hostcalls->close(*fd);
        *fd = -1;
    }
}
