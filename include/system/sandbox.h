/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * -sandbox on: from then on the process can make those calls of the kernel only that it has a use
 * for (seccomp); any other kills it.  QEMU's option forbids some; here all is forbidden but a list,
 * so that its sub-options change nothing: what they would deny is denied, what they would allow is
 * nothing that the program does.
 * Source: Linux Documentation/userspace-api/seccomp_filter.rst, libseccomp 2.5.
 */
#ifndef VIADUCT_SYSTEM_SANDBOX_H
#define VIADUCT_SYSTEM_SANDBOX_H

#include <glib.h>
#include <stdbool.h>

/* The argument of -sandbox, checked; *@on as it says. */
bool sandbox_parse(const char *arg, bool *on, GError **errp);
/*
 * For this thread, all others there are and those to come; what must be done before (command line,
 * fork, limits) is no longer possible.  On failure nothing is forbidden.
 */
bool sandbox_enable(GError **errp);
/* Whether that ioctl is among those that it lets pass: what a test of the list asks. */
bool sandbox_has_ioctl(unsigned long request);

#endif
