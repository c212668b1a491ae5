/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "util/hostcalls.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
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

/* ---- after the devices are another process's ---- */

static const HostCalls *before; /* what still closes */

static int gone_open(const char *path, int flags)
{
    errno = EPERM;
    return -1;
}

static int gone_close(int fd)
{
    return before->close(fd);
}

static int gone_fcntl(int fd, int cmd, int arg)
{
    return before->fcntl(fd, cmd, arg);
}

static int gone_fstat(int fd, struct stat *st)
{
    return before->fstat(fd, st);
}

static int gone_ioctl(int fd, unsigned long request, void *arg)
{
    return 0;
}

static void *gone_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t offset)
{
    errno = EPERM;
    return MAP_FAILED;
}

static int gone_munmap(void *addr, size_t len)
{
    return before->munmap(addr, len);
}

/* An eventfd has nothing for us. */
static ssize_t gone_read(int fd, void *buf, size_t len)
{
    errno = EAGAIN;
    return -1;
}

static ssize_t gone_write(int fd, const void *buf, size_t len)
{
    return (ssize_t)len;
}

static ssize_t gone_pread(int fd, void *buf, size_t len, off_t offset)
{
    memset(buf, 0, len);
    return (ssize_t)len;
}

static ssize_t gone_pwrite(int fd, const void *buf, size_t len, off_t offset)
{
    return (ssize_t)len;
}

static int gone_eventfd(unsigned initval, int flags)
{
    errno = EPERM;
    return -1;
}

static const HostCalls hostcalls_gone = {
    .open = gone_open,
    .close = gone_close,
    .fcntl = gone_fcntl,
    .fstat = gone_fstat,
    .ioctl = gone_ioctl,
    .mmap = gone_mmap,
    .munmap = gone_munmap,
    .read = gone_read,
    .write = gone_write,
    .pread = gone_pread,
    .pwrite = gone_pwrite,
    .eventfd = gone_eventfd,
};

void host_let_go(void)
{
    if (hostcalls != &hostcalls_gone) {
        before = hostcalls;
        hostcalls = &hostcalls_gone;
    }
}

bool host_has_let_go(void)
{
    return hostcalls == &hostcalls_gone;
}

void host_fd_close(int *fd)
{
    if (*fd >= 0) {
        hostcalls->close(*fd);
        *fd = -1;
    }
}

int host_eventfd(void)
{
    return hostcalls->eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
}

void host_eventfd_signal(int fd)
{
    const uint64_t one = 1;
    ssize_t ret = hostcalls->write(fd, &one, sizeof(one)); /* fails where it cannot count higher */

    (void)ret;
}

bool host_eventfd_take(int fd)
{
    uint64_t count;

    return hostcalls->read(fd, &count, sizeof(count)) == sizeof(count);
}
