/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * exec: a command's standard input (source) or output (destination).  What else it says goes where
 * this program's messages go.
 */
#include <errno.h>
#include <fcntl.h>
#include <gio/gunixinputstream.h>
#include <gio/gunixoutputstream.h>
#include <signal.h>

#include "migration/channel-private.h"
#include "util/confined.h"
#include "util/error.h"
#include "util/fd.h"

#define PIPE_SIZE (1 << 20)

typedef struct ExecChannel {
    MigrationChannel parent;
    GSubprocess *command;
    GCancellable *cancel; /* for the wait for its end */
} ExecChannel;

static bool exec_finish(MigrationChannel *ch, GError **errp)
{
    ExecChannel *e = (ExecChannel *)ch;
    g_autoptr(GError) err = NULL;

    if (ch->out < 0) {
        return true;
    }
    fd_close(&ch->out);
    if (g_subprocess_wait_check(e->command, e->cancel, &err)) {
        return true;
    }
    return !channel_is_shut(ch, errp) &&
           error_set(errp, "migration channel %s: the command failed: %s", ch->name, err->message);
}

static void exec_shutdown(MigrationChannel *ch)
{
    g_cancellable_cancel(((ExecChannel *)ch)->cancel);
}

/* One that goes on reading or writing finds that nobody is there, any other is told to end. */
static void exec_release(MigrationChannel *ch)
{
    ExecChannel *e = (ExecChannel *)ch;

    g_subprocess_send_signal(e->command, SIGTERM);
    g_object_unref(e->command);
    g_object_unref(e->cancel);
}

static const ChannelOps exec_ops = {
    .writev = channel_fd_writev,
    .readv = channel_fd_readv,
    .finish = exec_finish,
    .shutdown = exec_shutdown,
    .release = exec_release,
};

/* A descriptor of ours for the pipe, which does not block. */
static int pipe_of(GSubprocess *command, bool write)
{
    int theirs = write ? g_unix_output_stream_get_fd(
                             G_UNIX_OUTPUT_STREAM(g_subprocess_get_stdin_pipe(command)))
                       : g_unix_input_stream_get_fd(
                             G_UNIX_INPUT_STREAM(g_subprocess_get_stdout_pipe(command)));
    int fd = fcntl(theirs, F_DUPFD_CLOEXEC, 0);

    if (fd >= 0 && fcntl(fd, F_SETFL, O_NONBLOCK | (write ? O_WRONLY : O_RDONLY))) {
        fd_close(&fd);
    }
    fcntl(fd, F_SETPIPE_SZ, PIPE_SIZE); /* what cannot be had only costs time */
    if (write) {
        g_output_stream_close(g_subprocess_get_stdin_pipe(command), NULL, NULL);
    } else {
        g_input_stream_close(g_subprocess_get_stdout_pipe(command), NULL, NULL);
    }
    return fd;
}

static MigrationChannel *start(const MigrationAddress *a, bool write, GError **errp)
{
    /* Without INHERIT_FDS GLib forks, and all of this process's memory becomes copy-on-write; what
     * this program opened is close-on-exec anyway. */
    GSubprocessFlags flags =
        G_SUBPROCESS_FLAGS_INHERIT_FDS |
        (write ? G_SUBPROCESS_FLAGS_STDIN_PIPE | G_SUBPROCESS_FLAGS_STDOUT_SILENCE
               : G_SUBPROCESS_FLAGS_STDOUT_PIPE);
    g_autoptr(GSubprocess) command = NULL;
    ExecChannel *e;
    int fd;

    if (process_confined) {
        error_set(errp, "migration command '%s': -sandbox on lets no command start", a->args[0]);
        return NULL;
    }
    command = g_subprocess_newv((const char *const *)a->args, flags, errp);
    if (!command) {
        g_prefix_error(errp, "migration command '%s': ", a->args[0]);
        return NULL;
    }
    fd = pipe_of(command, write);
    if (fd < 0) {
        error_set_errno(errp, errno, "migration command '%s': its pipe", a->args[0]);
        g_subprocess_send_signal(command, SIGTERM);
        return NULL;
    }
    e = channel_new(&exec_ops, sizeof(*e), a->name, write ? -1 : fd, write ? fd : -1, errp);
    if (!e) {
        g_subprocess_send_signal(command, SIGTERM);
        return NULL;
    }
    e->command = g_steal_pointer(&command);
    e->cancel = g_cancellable_new();
    return &e->parent;
}

MigrationChannel *channel_exec_connect(const MigrationAddress *a, GCancellable *cancel,
                                       GError **errp)
{
    return start(a, true, errp);
}

MigrationChannel *channel_exec_open(const MigrationAddress *a, GError **errp)
{
    return start(a, false, errp);
}
