/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "system/sandbox.h"

#include <asm/termbits.h>
#include <errno.h>
#include <linux/sched.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>

#include "util/confined.h"
#include "util/error.h"
#include "util/ioctls.h"
#include "util/keyval.h"

/* Whatever their arguments are. */
static const int calls[] = {
    /* files, and waiting for them */
    SCMP_SYS(access),
    SCMP_SYS(chdir),
    SCMP_SYS(close),
    SCMP_SYS(dup),
    SCMP_SYS(dup2),
    SCMP_SYS(dup3),
    SCMP_SYS(eventfd2),
    SCMP_SYS(faccessat),
    SCMP_SYS(faccessat2),
    SCMP_SYS(fallocate),
    SCMP_SYS(fcntl),
    SCMP_SYS(fdatasync),
    SCMP_SYS(flock),
    SCMP_SYS(fstat),
    SCMP_SYS(fstatfs),
    SCMP_SYS(fsync),
    SCMP_SYS(ftruncate),
    SCMP_SYS(getcwd),
    SCMP_SYS(getdents64),
    SCMP_SYS(lseek),
    SCMP_SYS(lstat),
    SCMP_SYS(memfd_create),
    SCMP_SYS(newfstatat),
    SCMP_SYS(open),
    SCMP_SYS(openat),
    SCMP_SYS(pipe2),
    SCMP_SYS(poll),
    SCMP_SYS(ppoll),
    SCMP_SYS(pread64),
    SCMP_SYS(preadv),
    SCMP_SYS(pwrite64),
    SCMP_SYS(pwritev),
    SCMP_SYS(read),
    SCMP_SYS(readlink),
    SCMP_SYS(readlinkat),
    SCMP_SYS(readv),
    SCMP_SYS(splice),
    SCMP_SYS(stat),
    SCMP_SYS(statfs),
    SCMP_SYS(statx),
    SCMP_SYS(unlink),
    SCMP_SYS(unlinkat),
    SCMP_SYS(write),
    SCMP_SYS(writev),
    /* io_uring */
    SCMP_SYS(io_uring_enter),
    SCMP_SYS(io_uring_register),
    SCMP_SYS(io_uring_setup),
    /* memory */
    SCMP_SYS(brk),
    SCMP_SYS(madvise),
    SCMP_SYS(mmap),
    SCMP_SYS(mprotect),
    SCMP_SYS(mremap),
    SCMP_SYS(munmap),
    /* sockets */
    SCMP_SYS(accept),
    SCMP_SYS(accept4),
    SCMP_SYS(bind),
    SCMP_SYS(connect),
    SCMP_SYS(getpeername),
    SCMP_SYS(getsockname),
    SCMP_SYS(getsockopt),
    SCMP_SYS(listen),
    SCMP_SYS(recvfrom),
    SCMP_SYS(recvmmsg),
    SCMP_SYS(recvmsg),
    SCMP_SYS(sendmmsg),
    SCMP_SYS(sendmsg),
    SCMP_SYS(sendto),
    SCMP_SYS(setsockopt),
    SCMP_SYS(shutdown),
    SCMP_SYS(socket),
    SCMP_SYS(socketpair),
    /* threads, time, what the process is */
    SCMP_SYS(clock_getres),
    SCMP_SYS(clock_gettime),
    SCMP_SYS(clock_nanosleep),
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
    SCMP_SYS(futex),
    SCMP_SYS(getcpu),
    SCMP_SYS(getegid),
    SCMP_SYS(geteuid),
    SCMP_SYS(getgid),
    SCMP_SYS(getpid),
    SCMP_SYS(getppid),
    SCMP_SYS(getrandom),
    SCMP_SYS(getresgid),
    SCMP_SYS(getresuid),
    SCMP_SYS(getrusage),
    SCMP_SYS(gettid),
    SCMP_SYS(gettimeofday),
    SCMP_SYS(getuid),
    SCMP_SYS(membarrier),
    SCMP_SYS(nanosleep),
    SCMP_SYS(restart_syscall),
    SCMP_SYS(rseq),
    SCMP_SYS(rt_sigaction),
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(sched_getaffinity),
    SCMP_SYS(sched_getattr), /* both: a thread pool of GLib, which TLS uses */
    SCMP_SYS(sched_setattr),
    SCMP_SYS(sched_yield),
    SCMP_SYS(set_robust_list),
    SCMP_SYS(sigaltstack),
    SCMP_SYS(sysinfo),
    SCMP_SYS(tgkill),
    SCMP_SYS(time),
    SCMP_SYS(uname),
};

/* With one argument as it is here, in the bits of the mask. */
static const struct {
    int call;
    struct scmp_arg_cmp arg;
} calls_with[] = {
    /* A thread and no process; clone3() cannot be looked into, and libc does without it. */
    { SCMP_SYS(clone), { 0, SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD } },
    /* Limits are read, not set. */
    { SCMP_SYS(prlimit64), { 2, SCMP_CMP_EQ, 0, 0 } },
    { SCMP_SYS(prctl), { 0, SCMP_CMP_EQ, PR_SET_NAME, 0 } },
    { SCMP_SYS(prctl), { 0, SCMP_CMP_EQ, PR_GET_NAME, 0 } },
};

/* What libraries do with terminals and sockets; the program's own ioctls say themselves. */
static const uint32_t other_ioctls[] = {
    FIONBIO, FIONREAD, TCGETS, TCSETS, TCSETSF, TCSETSW,
};

bool sandbox_has_ioctl(unsigned long request)
{
    size_t n;
    const HostIoctl *own = host_ioctls(&n);

    for (size_t i = 0; i < n; i++) {
        if (own[i].request == request) {
            return !own[i].setup;
        }
    }
    for (size_t i = 0; i < G_N_ELEMENTS(other_ioctls); i++) {
        if (other_ioctls[i] == request) {
            return true;
        }
    }
    return false;
}

bool sandbox_parse(const char *arg, bool *on, GError **errp)
{
    static const struct {
        const char *key;
        const char *values[4];
    } parts[] = {
        { "obsolete", { "allow", "deny" } },
        { "elevateprivileges", { "allow", "deny", "children" } },
        { "spawn", { "allow", "deny" } },
        { "resourcecontrol", { "allow", "deny" } },
    };
    static const char *const keys[] = { "enable", "obsolete",        "elevateprivileges",
                                        "spawn",  "resourcecontrol", NULL };
    g_autoptr(JsonObject) opts = keyval_parse(arg, "enable", NULL, errp);

    if (!opts || !keyval_check_keys(opts, keys, errp) ||
        !keyval_get_bool(opts, "enable", on, errp)) {
        return false;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(parts); i++) {
        const char *value = NULL;

        if (!keyval_get_str(opts, parts[i].key, &value, errp)) {
            return false;
        }
        if (value && !g_strv_contains(parts[i].values, value)) {
            return error_set(errp, "invalid argument to %s: '%s'", parts[i].key, value);
        }
    }
    return true;
}

/* The kernel looks at 32 bits of a request. */
static int allow_ioctl(scmp_filter_ctx filter, uint32_t request)
{
    return seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1,
                            SCMP_A1(SCMP_CMP_MASKED_EQ, UINT32_MAX, request));
}

/* 0 or -errno. */
static int add_rules(scmp_filter_ctx filter)
{
    size_t n;
    const HostIoctl *own = host_ioctls(&n);
    int ret = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);

    if (!ret) {
        ret = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2); /* a tree, not a list */
    }
    for (size_t i = 0; i < G_N_ELEMENTS(calls) && !ret; i++) {
        ret = seccomp_rule_add(filter, SCMP_ACT_ALLOW, calls[i], 0);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(calls_with) && !ret; i++) {
        ret = seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, calls_with[i].call, 1,
                                     &calls_with[i].arg);
    }
    for (size_t i = 0; i < n && !ret; i++) {
        ret = own[i].setup ? 0 : allow_ioctl(filter, own[i].request);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(other_ioctls) && !ret; i++) {
        ret = allow_ioctl(filter, other_ioctls[i]);
    }
    return ret ?: seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
}

bool sandbox_enable(GError **errp)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
    int ret = filter ? add_rules(filter) : -ENOMEM;

    if (!ret) {
        ret = seccomp_load(filter);
    }
    seccomp_release(filter);
    process_confined = !ret;
    return !ret || error_set_errno(errp, -ret, "-sandbox on: cannot install the filter");
}
