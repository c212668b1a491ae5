/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What `-device help` and its like print. */
#ifndef VIADUCT_SYSTEM_HELP_H
#define VIADUCT_SYSTEM_HELP_H

#include <glib-object.h>
#include <stdbool.h>

void help_machines(void);
void help_objects(void);
void help_devices(void);
void help_chardevs(void);
void help_accels(void);
void help_traces(void);
void help_log_items(void);
/* `-device TYPE,help`; @base is what the option's types derive from. */
bool help_type(const char *name, GType base, GError **errp);

#endif
