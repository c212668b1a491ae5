/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The descriptors that a monitor's client has sent over its UNIX socket (SCM_RIGHTS): those that no
 * command has asked for yet, and those that getfd has given a name.
 */
#ifndef VIADUCT_MONITOR_FDS_H
#define VIADUCT_MONITOR_FDS_H

#include <glib.h>

typedef struct MonitorFDs {
    GArray *unclaimed; /* int; of one message, in its order */
    GHashTable *names; /* to descriptors */
} MonitorFDs;

void monitor_fds_init(MonitorFDs *m);
/* Closes all. */
void monitor_fds_clear(MonitorFDs *m);
/* What came with a message; what is left of earlier ones is closed. */
void monitor_fds_receive(MonitorFDs *m, const int *fds, size_t n);
/* The client has left: closes what no command has asked for.  Names stay, as in QEMU. */
void monitor_fds_drop_unclaimed(MonitorFDs *m);
/* Whose command is being carried out; NULL: none. */
void monitor_fds_set_current(MonitorFDs *m);

#endif
