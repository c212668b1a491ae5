/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Trace points: TRACE("vfio_dma_map", "iova 0x%" PRIx64, iova).  `-trace PATTERN` (or
 * `-trace enable=PATTERN`) turns points on by glob, `-trace help` lists them, `-D` sends the lines
 * to a file.  A line starts with thread and time, "TID@SECONDS.MICROSECONDS:".  A point that is off
 * costs one load and a predicted branch.
 */
#ifndef VIADUCT_UTIL_TRACE_H
#define VIADUCT_UTIL_TRACE_H

#include <glib.h>
#include <stdbool.h>

typedef struct TraceEvent {
    const char *name;
    bool enabled;
} TraceEvent;

/* The linker gathers the points of the whole program into one array. */
#define TRACE(point, ...)                                                                \
    do {                                                                                 \
        static TraceEvent trace_point __attribute__((section("trace_events"), used)) = { \
            .name = point,                                                               \
        };                                                                               \
        if (G_UNLIKELY(trace_point.enabled)) {                                           \
            trace_print(&trace_point, __VA_ARGS__);                                      \
        }                                                                                \
    } while (0)

void trace_print(const TraceEvent *event, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
/* Turns on all points whose name matches the glob; false when none does.  Before threads start. */
bool trace_enable(const char *glob);
/* Calls @fn with each point's name, in no particular order; a name may come more than once. */
void trace_foreach(void (*fn)(const char *name));

/*
 * -d ITEM,…: the log's items.  Lines go to stderr, or to the file of -D.
 * Each returns false with a message (an unknown item, a file that cannot be opened).
 */
bool log_set_items(const char *items, GError **errp);
bool log_set_file(const char *path, GError **errp);
void log_foreach_item(void (*fn)(const char *name, const char *help));

#endif
