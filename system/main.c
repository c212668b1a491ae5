/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <glib-unix.h>
#include <signal.h>
#include <sys/resource.h>

#include "core/lock.h"
#include "core/runstate.h"
#include "migration/control.h"
#include "migration/migration.h"
#include "system/sandbox.h"
#include "system/startup.h"
#include "util/error.h"

static gboolean on_signal(gpointer opaque)
{
    system_shutdown_request(SHUTDOWN_CAUSE_HOST_SIGNAL);
    return G_SOURCE_CONTINUE;
}

/* From here on these end the program in good order, also while it is still starting. */
static void catch_signals(void)
{
    static const int ends[] = { SIGTERM, SIGINT, SIGHUP };

    for (size_t i = 0; i < G_N_ELEMENTS(ends); i++) {
        g_unix_signal_add(ends[i], on_signal, NULL);
    }
    signal(SIGPIPE, SIG_IGN);
}

/*
 * Each vector of a device takes a descriptor, and a device may have 2048.  The usual soft limit of
 * 1024 is for the sake of programs that use select(), which this one is not.
 */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;

    if (!getrlimit(RLIMIT_NOFILE, &limit)) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static int run(const Options *o)
{
    g_autoptr(GError) err = NULL;

    if ((o->daemonize && !daemonize(&err)) || (o->pidfile && !pidfile_create(o->pidfile, &err))) {
        error_report("%s", err->message);
        return 1;
    }
    catch_signals();
    raise_descriptor_limit();
    machine_lock();
    if (!system_start(o, &err) || (o->sandbox && !sandbox_enable(&err)) || !daemon_ready(&err)) {
        migration_incoming_refuse(err);
        error_report("%s", err->message);
        return 1;
    }
    if (!o->stopped && !migration_is_incoming()) {
        vm_start();
    }
    return main_loop_run();
}

int main(int argc, char **argv)
{
    g_autofree char *name = g_path_get_basename(*argv ?: "viaduct");
    g_autoptr(Options) o = options_new();
    g_autoptr(GError) err = NULL;
    int status;

    g_set_prgname(name);
    if (!cmdline_parse(o, argc, argv, &err)) {
        error_report("%s", err->message);
        return 1;
    }
    if (o->done) {
        return 0;
    }
    status = run(o);
    system_cleanup();
    pidfile_remove();
    return status;
}
