/* SPDX-License-Identifier: GPL-2.0-or-later */
/* -sandbox: what it takes, what it lets pass and what it kills, in children that try. */
#include "system/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <linux/sched.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- the option ---- */

static void test_option(void)
{
    static const struct {
        const char *arg;
        bool ok, on;
    } cases[] = {
        { "on", true, true },
        { "off", true, false },
        { "enable=on,spawn=deny", true, true },
        { "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny", true, true },
        { "on,obsolete=allow,elevateprivileges=children,spawn=allow,resourcecontrol=allow", true,
          true },
        { "maybe", false, false },
        { "on,spawn=children", false, false },
        { "on,spawn=", false, false },
        { "on,nosuch=deny", false, false },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) err = NULL;
        bool on = false;

        g_assert_cmpint(sandbox_parse(cases[i].arg, &on, &err), ==, cases[i].ok);
        g_assert_cmpint(!err, ==, cases[i].ok);
        if (err) {
            g_test_message("%s: %s", cases[i].arg, err->message);
        } else {
            g_assert_cmpint(on, ==, cases[i].on);
        }
    }
}

/* ---- the filter ---- */

/* No function of libc's that is more than the call: there are sanitizers in the child. */
static void let_pass(void)
{
    struct rlimit limit;
    char byte;

    syscall(SYS_getpid);
    syscall(SYS_ioctl, -1, KVM_RUN, 0);
    syscall(SYS_ioctl, -1, KVM_SET_CPUID2, 0); /* of a guest that comes from another CPU */
    syscall(SYS_ioctl, -1, 0xffffffff00000000 | KVM_IRQFD, 0);
    syscall(SYS_openat, AT_FDCWD, "/nonexistent", O_RDONLY);
    syscall(SYS_read, -1, &byte, 1);
    syscall(SYS_socket, -1, -1, -1);
    syscall(SYS_prlimit64, 0, RLIMIT_MEMLOCK, NULL, &limit);
    syscall(SYS_prctl, PR_SET_NAME, "child");
    if (syscall(SYS_clone3, NULL, 0) != -1 || errno != ENOSYS) {
        syscall(SYS_exit_group, 2);
    }
}

static void other_ioctl(void)
{
    syscall(SYS_ioctl, -1, KVM_CREATE_VM, 0);
}

static void other_process(void)
{
    syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
}

static void other_program(void)
{
    syscall(SYS_execve, "/bin/true", NULL, NULL);
}

static void other_user(void)
{
    syscall(SYS_setuid, 0);
}

static void other_limit(void)
{
    struct rlimit limit = { 0, 0 };

    syscall(SYS_prlimit64, 0, RLIMIT_CORE, &limit, NULL);
}

static void other_priority(void)
{
    syscall(SYS_setpriority, 0, 0, 0);
}

static void more_prctl(void)
{
    syscall(SYS_prctl, PR_SET_DUMPABLE, 1);
}

static void folder(void)
{
    syscall(SYS_mkdir, "/nonexistent/x", 0700);
}

static void obsolete(void)
{
    syscall(SYS_uselib, "x");
}

/* How the child ended that did it: its status, or minus the signal. */
static int end_of(void (*try_it)(void))
{
    pid_t child = fork();
    int status;

    g_assert_cmpint(child, >=, 0);
    if (!child) {
        if (!sandbox_enable(NULL)) {
            _exit(77);
        }
        try_it();
        syscall(SYS_exit_group, 0);
    }
    g_assert_cmpint(waitpid(child, &status, 0), ==, child);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static bool no_seccomp(void)
{
    if (end_of(let_pass) == 77) {
        g_test_skip("this kernel takes no filter");
        return true;
    }
    return false;
}

static void test_filter(void)
{
    static void (*const killed[])(void) = { other_ioctl, other_process, other_program,
                                            other_user,  other_limit,   other_priority,
                                            more_prctl,  folder,        obsolete };

    if (no_seccomp()) {
        return;
    }
    g_assert_cmpint(end_of(let_pass), ==, 0);
    for (size_t i = 0; i < G_N_ELEMENTS(killed); i++) {
        g_test_message("case %zu", i);
        g_assert_cmpint(end_of(killed[i]), ==, -SIGSYS);
    }
}

/* A thread that was there before, which kills the whole process. */
static int pipes[2];

static void *older_thread(void *opaque)
{
    char byte;

    if (syscall(SYS_read, pipes[0], &byte, 1) == 1) {
        folder();
    }
    return NULL;
}

static void test_threads(void)
{
    pid_t child;
    int status;

    if (no_seccomp()) {
        return;
    }
    g_assert_cmpint(pipe(pipes), ==, 0);
    child = fork();
    if (!child) {
        pthread_t thread;

        if (pthread_create(&thread, NULL, older_thread, NULL) || !sandbox_enable(NULL)) {
            _exit(2);
        }
        syscall(SYS_write, pipes[1], "", 1);
        syscall(SYS_read, -1, NULL, 0);
        for (;;) {
            syscall(SYS_sched_yield);
        }
    }
    g_assert_cmpint(waitpid(child, &status, 0), ==, child);
    g_assert_true(WIFSIGNALED(status));
    g_assert_cmpint(WTERMSIG(status), ==, SIGSYS);
    close(pipes[0]);
    close(pipes[1]);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/sandbox/option", test_option);
    g_test_add_func("/sandbox/filter", test_filter);
    g_test_add_func("/sandbox/threads", test_threads);
    return g_test_run();
}
