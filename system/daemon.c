/* SPDX-License-Identifier: GPL-2.0-or-later */
/* -daemonize and -pidfile: the process as the host's service managers see it. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "system/startup.h"
#include "util/error.h"
#include "util/fd.h"

static int ready_fd = -1; /* the daemon's end of the pipe to the process that waits */

/* Only reached by the process that the user started. */
static G_NORETURN void wait_for_daemon(int fd)
{
    char byte;
    ssize_t n;

    do {
        n = read(fd, &byte, 1);
    } while (n < 0 && errno == EINTR);
    _exit(n == 1 ? 0 : 1);
}

bool daemonize(GError **errp)
{
    int fds[2];
    pid_t pid;

    fflush(NULL);
    if (pipe2(fds, O_CLOEXEC)) {
        return error_set_errno(errp, errno, "cannot make a pipe");
    }
    pid = fork();
    if (pid > 0) {
        close(fds[1]);
        wait_for_daemon(fds[0]);
    }
    close(fds[0]);
    ready_fd = fds[1];
    if (pid < 0) {
        return error_set_errno(errp, errno, "cannot fork");
    }
    /* A session of its own, and no leader of it: no terminal can become ours again. */
    setsid();
    pid = fork();
    if (pid > 0) {
        _exit(0);
    }
    return pid == 0 || error_set_errno(errp, errno, "cannot fork");
}

bool daemon_ready(GError **errp)
{
    int null;

    if (ready_fd < 0) {
        return true;
    }
    fflush(NULL);
    null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0 || chdir("/")) {
        return error_set_errno(errp, errno, "cannot become a daemon");
    }
    for (int fd = 0; fd <= 2; fd++) {
        dup2(null, fd);
    }
    if (null > 2) {
        close(null);
    }
    if (write(ready_fd, "", 1) != 1) {
        return error_set_errno(errp, errno, "cannot tell that the daemon is ready");
    }
    fd_close(&ready_fd);
    return true;
}

/* ---- -pidfile ---- */

static struct {
    int fd; /* its lock says that we live */
    char *path;
    struct stat st;
} pidfile = { .fd = -1 };

/* Whether the name still leads to the file that is open. */
static bool same_file(const char *path, const struct stat *open_st)
{
    struct stat st;

    return stat(path, &st) == 0 && st.st_dev == open_st->st_dev && st.st_ino == open_st->st_ino;
}

/* The opened and locked file, or -1 and errno. */
static int open_locked(const char *path, struct stat *st)
{
    for (;;) {
        struct flock whole = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
        autofd int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);

        if (fd < 0 || fcntl(fd, F_OFD_SETLK, &whole) || fstat(fd, st)) {
            return -1;
        }
        if (same_file(path, st)) { /* else its last owner removed it meanwhile */
            return fd_steal(&fd);
        }
    }
}

bool pidfile_create(const char *path, GError **errp)
{
    char text[32];
    int len = snprintf(text, sizeof(text), "%d\n", (int)getpid());

    pidfile.fd = open_locked(path, &pidfile.st);
    if (pidfile.fd < 0) {
        return error_set(errp, "cannot create PID file '%s': %s", path,
                         errno == EAGAIN ? "another process holds its lock" : g_strerror(errno));
    }
    if (!S_ISREG(pidfile.st.st_mode)) { /* and so nothing to be removed */
        return error_set(errp, "PID file '%s' is not a regular file", path);
    }
    pidfile.path = g_canonicalize_filename(path, NULL);
    if (ftruncate(pidfile.fd, 0) || write(pidfile.fd, text, (size_t)len) != len) {
        return error_set_errno(errp, errno, "cannot write PID file '%s'", path);
    }
    return true;
}

void pidfile_remove(void)
{
    if (pidfile.path && same_file(pidfile.path, &pidfile.st)) {
        unlink(pidfile.path);
    }
    g_clear_pointer(&pidfile.path, g_free);
    fd_close(&pidfile.fd);
}
