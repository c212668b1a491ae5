/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Failures of what does not go through util/hostcalls: KVM's calls, memory, files for memory,
 * threads.  The linker puts these functions in the place of the ones of the same names (--wrap), and
 * each call of them is one more that VIADUCT_SIM_FAIL counts.  Behind them is the real kernel; only
 * that a simulated device cannot be KVM's is not known there.
 *
 * And the sandbox, which sanitizers do not survive: from where it would be on, an ioctl that it
 * would not let pass ends the program here too.
 */
#include "tests/sim/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "system/sandbox.h"
#include "util/confined.h"
#include "util/ioctls.h"

static const int kvm_errors[] = { EINVAL, ENOMEM, EINTR, EFAULT, 0 };
static const int kvm_open_errors[] = { EACCES, ENOENT, EMFILE, 0 };
static const int memory_errors[] = { ENOMEM, 0 };
static const int file_errors[] = { ENOSPC, ENOMEM, 0 };
static const int memfd_errors[] = { EMFILE, ENOMEM, 0 };
static const int thread_errors[] = { EAGAIN, 0 };

int __real_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...);
int __real_ioctl(int fd, unsigned long request, ...);
int __wrap_ioctl(int fd, unsigned long request, ...);
void *__real_mmap64(void *addr, size_t len, int prot, int flags, int fd, off_t offset);
void *__wrap_mmap64(void *addr, size_t len, int prot, int flags, int fd, off_t offset);
int __real_memfd_create(const char *name, unsigned flags);
int __wrap_memfd_create(const char *name, unsigned flags);
int __real_ftruncate64(int fd, off_t length);
int __wrap_ftruncate64(int fd, off_t length);
gpointer __real_g_try_malloc0_n(gsize n, gsize size);
gpointer __wrap_g_try_malloc0_n(gsize n, gsize size);
GThread *__real_g_thread_try_new(const char *name, GThreadFunc fn, gpointer data, GError **errp);
GThread *__wrap_g_thread_try_new(const char *name, GThreadFunc fn, gpointer data, GError **errp);

bool __wrap_sandbox_enable(GError **errp);

/* ---- the sandbox ---- */

static gint sandboxed; /* atomic */
static const HostCalls *below;

static void check_sandbox(unsigned long request)
{
    if (g_atomic_int_get(&sandboxed) && !sandbox_has_ioctl(request)) {
        fprintf(stderr, "sim: the sandbox does not let ioctl 0x%lx (%s) pass\n", request,
                host_ioctl_name(request));
        abort();
    }
}

static int checked_ioctl(int fd, unsigned long request, void *arg)
{
    check_sandbox(request);
    return below->ioctl(fd, request, arg);
}

void sim_watch_ioctls(void)
{
    static HostCalls calls;

    below = hostcalls;
    calls = *below;
    calls.ioctl = checked_ioctl;
    hostcalls = &calls;
}

bool __wrap_sandbox_enable(GError **errp)
{
    g_atomic_int_set(&sandboxed, true);
    process_confined = true;
    return true;
}

/* ---- failures ---- */

int __wrap_open64(const char *path, int flags, ...)
{
    va_list ap;
    mode_t mode;

    va_start(ap, flags);
    mode = flags & O_CREAT ? va_arg(ap, mode_t) : 0;
    va_end(ap);
    return !strcmp(path, "/dev/kvm") && sim_must_fail("open of /dev/kvm", 0, kvm_open_errors)
               ? -1
               : __real_open64(path, flags, mode);
}

/* Of a file that is the simulator's. */
static bool is_simulated(unsigned long request, const void *arg)
{
    const struct kvm_device_attr *attr = arg;

    return request == KVM_SET_DEVICE_ATTR && attr->group == KVM_DEV_VFIO_GROUP &&
           *(const int32_t *)(uintptr_t)attr->addr >= FIRST_FD;
}

/*
 * KVM_RUN comes as often as it likes, in threads of its own: the other calls would have no numbers
 * if it were counted.
 */
int __wrap_ioctl(int fd, unsigned long request, ...)
{
    va_list ap;
    void *arg;

    va_start(ap, request);
    arg = va_arg(ap, void *);
    va_end(ap);
    check_sandbox(request);
    if (_IOC_TYPE(request) == KVMIO && request != KVM_RUN) {
        if (sim_must_fail("KVM's ioctl", request, kvm_errors)) {
            return -1;
        }
        if (is_simulated(request, arg)) {
            return 0;
        }
    }
    return __real_ioctl(fd, request, arg);
}

void *__wrap_mmap64(void *addr, size_t len, int prot, int flags, int fd, off_t offset)
{
    return sim_must_fail("mmap", len, memory_errors)
               ? MAP_FAILED
               : __real_mmap64(addr, len, prot, flags, fd, offset);
}

int __wrap_memfd_create(const char *name, unsigned flags)
{
    return sim_must_fail("memfd_create", 0, memfd_errors) ? -1 : __real_memfd_create(name, flags);
}

int __wrap_ftruncate64(int fd, off_t length)
{
    return sim_must_fail("ftruncate", (unsigned long)length, file_errors)
               ? -1
               : __real_ftruncate64(fd, length);
}

gpointer __wrap_g_try_malloc0_n(gsize n, gsize size)
{
    return sim_must_fail("g_try_malloc0_n", n * size, memory_errors)
               ? NULL
               : __real_g_try_malloc0_n(n, size);
}

GThread *__wrap_g_thread_try_new(const char *name, GThreadFunc fn, gpointer data, GError **errp)
{
    if (sim_must_fail("g_thread_try_new", 0, thread_errors)) {
        g_set_error(errp, G_THREAD_ERROR, G_THREAD_ERROR_AGAIN, "Error creating thread: %s",
                    g_strerror(EAGAIN));
        return NULL;
    }
    return __real_g_thread_try_new(name, fn, data, errp);
}
