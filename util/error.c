/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "util/error.h"

#include <stdio.h>

GQuark viaduct_error_quark(void)
{
    return g_quark_from_static_string("viaduct-error-quark");
}

const char *error_class_name(const GError *error)
{
    static const char *const names[] = {
        [ERROR_CLASS_GENERIC_ERROR] = "GenericError",
        [ERROR_CLASS_COMMAND_NOT_FOUND] = "CommandNotFound",
        [ERROR_CLASS_DEVICE_NOT_ACTIVE] = "DeviceNotActive",
        [ERROR_CLASS_DEVICE_NOT_FOUND] = "DeviceNotFound",
        [ERROR_CLASS_KVM_MISSING_CAP] = "KVMMissingCap",
    };
    bool ours = error->domain == VIADUCT_ERROR && error->code >= 0 &&
                error->code < (int)G_N_ELEMENTS(names);

    return names[ours ? error->code : ERROR_CLASS_GENERIC_ERROR];
}

static void set_va(GError **errp, ErrorClass cls, const char *fmt, va_list ap)
{
    g_propagate_error(errp, g_error_new_valist(VIADUCT_ERROR, cls, fmt, ap));
}

bool error_set(GError **errp, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    set_va(errp, ERROR_CLASS_GENERIC_ERROR, fmt, ap);
    va_end(ap);
    return false;
}

bool error_set_class(GError **errp, ErrorClass cls, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    set_va(errp, cls, fmt, ap);
    va_end(ap);
    return false;
}

bool error_set_errno(GError **errp, int errnum, const char *fmt, ...)
{
    g_autofree char *what = NULL;
    va_list ap;

    va_start(ap, fmt);
    what = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    return error_set(errp, "%s: %s", what, g_strerror(errnum));
}

static char *location;

void error_location_set(const char *fmt, ...)
{
    va_list ap;

    g_clear_pointer(&location, g_free);
    if (fmt) {
        va_start(ap, fmt);
        location = g_strdup_vprintf(fmt, ap);
        va_end(ap);
    }
}

const char *error_location(void)
{
    return location ?: "";
}

static bool timestamps;

void error_report_timestamps(bool on)
{
    timestamps = on;
}

static void G_GNUC_PRINTF(2, 0) report(const char *kind, const char *fmt, va_list ap)
{
    g_autofree char *line = g_strdup_vprintf(fmt, ap);
    g_autofree char *when = NULL;

    if (timestamps) {
        g_autoptr(GDateTime) now = g_date_time_new_now_utc();

        when = g_date_time_format(now, "%Y-%m-%dT%H:%M:%S.%fZ ");
    }
    fprintf(stderr, "%s%s: %s%s\n", when ?: "", g_get_prgname() ?: "viaduct", kind, line);
}

void warn_report(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    report("warning: ", fmt, ap);
    va_end(ap);
}

void error_report(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    report("", fmt, ap);
    va_end(ap);
}
