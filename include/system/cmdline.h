/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The command line, read: what main() then does is in system/startup.h's order. */
#ifndef VIADUCT_SYSTEM_CMDLINE_H
#define VIADUCT_SYSTEM_CMDLINE_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/machine.h"

/* An option that may come more than once, kept for later. */
typedef struct OptionUse {
    const char *name; /* "device" */
    const char *arg;
} OptionUse;

/* Strings are argv's. */
typedef struct Options {
    /* of OptionUse */
    GArray *machines, *add_fds, *objects, *chardevs, *serials, *monitors, *devices, *incoming;
    const struct X86Accel *accel; /* NULL: not given */
    CPUTopology smp;
    uint64_t ram_size; /* bytes; 0: not given */
    const char *cpu, *kernel, *initrd, *append;
    char *name, *process; /* owned */
    uint8_t uuid[16];
    bool uuid_set;
    const char *pidfile, *qtest, *qtest_log;
    bool daemonize, nographic, nodefaults, stopped, no_reboot, no_shutdown, sandbox;
    bool done; /* an option such as -help has had its answer: exit with status 0 */
} Options;

Options *options_new(void);
void options_free(Options *o);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Options, options_free)

/* Stops at the first error, whose message begins with the option, and at -help and its like. */
bool cmdline_parse(Options *o, int argc, char **argv, GError **errp);

#endif
