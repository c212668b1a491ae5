/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From the options to a machine that is ready to run, and what surrounds it in the host. */
#ifndef VIADUCT_SYSTEM_STARTUP_H
#define VIADUCT_SYSTEM_STARTUP_H

#include "system/cmdline.h"

/*
 * Objects, chardevs, monitors, the machine, -device, the first reset: in this order, each error
 * with its option in front.  Machine lock held.
 */
bool system_start(const Options *o, GError **errp);
/* Undoes as much of it as there is: nothing is left behind in the host. */
void system_cleanup(void);

/*
 * Forks; before any thread and any file lock.  The caller goes on as the daemon, while the process
 * that the user started waits for daemon_ready() and exits with 0, or with 1 if that never comes.
 */
bool daemonize(GError **errp);
/* Leaves the terminal and the directory; a no-op if there was no daemonize(). */
bool daemon_ready(GError **errp);

/* Created, locked and filled; removed by pidfile_remove(), if it is still ours. */
bool pidfile_create(const char *path, GError **errp);
void pidfile_remove(void);

#endif
