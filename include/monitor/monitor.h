/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The QMP server: sessions on chardevs, and the table of commands.  Main thread.
 * Source: QEMU docs/interop/qmp-spec.rst.
 */
#ifndef VIADUCT_MONITOR_MONITOR_H
#define VIADUCT_MONITOR_MONITOR_H

#include <json-glib/json-glib.h>
#include <stdbool.h>

#include "backends/chardev.h"

/* Starts a QMP session server on the chardev (mode=control); @pretty as -mon's. */
bool monitor_init_qmp(Chardev *chr, bool pretty, GError **errp);
void monitor_cleanup(void);

/*
 * One command.  @args has been checked against .args; returns the "return" value (a new node, NULL
 * for {}), or sets the error.
 */
typedef struct QMPCommand {
    const char *name;
    JsonNode *(*run)(JsonObject *args, GError **errp);
    /* "id:s,force:b?" : name, type (s string, b boolean, i integer, n number, o object, a array,
     * * any), '?' optional; a single "..." takes any further members. */
    const char *args;
} QMPCommand;

/* Files of monitor/ put their static table in from a constructor. */
void monitor_register_commands(const QMPCommand *commands, size_t n);

#endif
