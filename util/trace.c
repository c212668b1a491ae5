/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "util/trace.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "util/error.h"

/* Bounds of the array that the linker makes of all trace points. */
extern TraceEvent trace_first[] __asm__("__start_trace_events");
extern TraceEvent trace_end[] __asm__("__stop_trace_events");

static FILE *log_file; /* NULL: stderr */

/* The log's items are groups of trace points: -d ITEM is shorthand for them. */
static const struct {
    const char *name, *help, *glob;
} log_items[] = {
    { "trace:PATTERN", "enable trace events", NULL },
    { "guest_errors", "log when the guest does something invalid", "guest_*" },
    { "unimp", "log unimplemented functionality", "unimp_*" },
};

void trace_print(const TraceEvent *event, const char *fmt, ...)
{
    FILE *out = log_file ?: stderr;
    gint64 now = g_get_real_time();
    va_list ap;

    va_start(ap, fmt);
    flockfile(out);
    fprintf(out, "%d@%" G_GINT64_FORMAT ".%06" G_GINT64_FORMAT ":%s ", gettid(),
            now / G_USEC_PER_SEC, now % G_USEC_PER_SEC, event->name);
    vfprintf(out, fmt, ap);
    fputc('\n', out);
    fflush(out);
    funlockfile(out);
    va_end(ap);
}

bool trace_enable(const char *glob)
{
    bool found = false;

    for (TraceEvent *e = trace_first; e < trace_end; e++) {
        if (g_pattern_match_simple(glob, e->name)) {
            e->enabled = found = true;
        }
    }
    return found;
}

void trace_foreach(void (*fn)(const char *name))
{
    for (TraceEvent *e = trace_first; e < trace_end; e++) {
        fn(e->name);
    }
}

bool log_set_items(const char *items, GError **errp)
{
    g_auto(GStrv) list = g_strsplit(items, ",", -1);

    for (char **item = list; *item; item++) {
        bool known = false;

        if (g_str_has_prefix(*item, "trace:")) {
            if (!trace_enable(*item + strlen("trace:"))) {
                return error_set(errp, "no trace event matches '%s'", *item + strlen("trace:"));
            }
            continue;
        }
        for (size_t i = 1; i < G_N_ELEMENTS(log_items); i++) {
            if (g_str_equal(*item, log_items[i].name)) {
                trace_enable(log_items[i].glob);
                known = true;
            }
        }
        if (!known) {
            return error_set(errp, "unknown log item '%s'", *item);
        }
    }
    return true;
}

bool log_set_file(const char *path, GError **errp)
{
    log_file = fopen(path, "we");
    return log_file || error_set_errno(errp, errno, "cannot open log file '%s'", path);
}

void log_foreach_item(void (*fn)(const char *name, const char *help))
{
    for (size_t i = 0; i < G_N_ELEMENTS(log_items); i++) {
        fn(log_items[i].name, log_items[i].help);
    }
}
