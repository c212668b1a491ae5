/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Errors.  Every function that can fail returns false (or NULL, or -1) and fills a GError whose
 * message is one line: what was tried, on which object, what the kernel said.  The code is only
 * what QMP needs to know, its error class; everything else travels as text.
 */
#ifndef VIADUCT_UTIL_ERROR_H
#define VIADUCT_UTIL_ERROR_H

#include <glib.h>
#include <stdbool.h>

#define VIADUCT_ERROR (viaduct_error_quark())
GQuark viaduct_error_quark(void);

/* QMP's error classes (QEMU's qapi/error.json). */
typedef enum {
    ERROR_CLASS_GENERIC_ERROR,
    ERROR_CLASS_COMMAND_NOT_FOUND,
    ERROR_CLASS_DEVICE_NOT_ACTIVE,
    ERROR_CLASS_DEVICE_NOT_FOUND,
    ERROR_CLASS_KVM_MISSING_CAP,
} ErrorClass;

/* The QMP name of @error's class; an error of another domain is a GenericError. */
const char *error_class_name(const GError *error);

/* Both return false, so that a failing function can `return error_set(errp, …)`. */
bool error_set(GError **errp, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
bool error_set_class(GError **errp, ErrorClass cls, const char *fmt, ...) G_GNUC_PRINTF(3, 4);
/* Appends ": <strerror(errnum)>"; @errnum is a positive errno value. */
bool error_set_errno(GError **errp, int errnum, const char *fmt, ...) G_GNUC_PRINTF(3, 4);

/*
 * What of the command line is being carried out ("-device nvme: "), for messages that come later
 * than its end; NULL: nothing.  Main thread.
 */
void error_location_set(const char *fmt, ...) G_GNUC_PRINTF(1, 2);
/* "" when it is nothing. */
const char *error_location(void);

/* One line on stderr, prefixed with the program's name: what goes on but the user should know. */
void warn_report(const char *fmt, ...) G_GNUC_PRINTF(1, 2);
void error_report(const char *fmt, ...) G_GNUC_PRINTF(1, 2);
/* -msg timestamp=on: such lines start with the time in UTC.  Before threads start. */
void error_report_timestamps(bool on);

#endif
