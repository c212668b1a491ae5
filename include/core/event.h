/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Events that a room announces; the monitor is the only listener. Main thread or machine lock. */
#ifndef VIADUCT_CORE_EVENT_H
#define VIADUCT_CORE_EVENT_H

#include <json-glib/json-glib.h>

typedef void (*EventFn)(const char *name, JsonObject *data, void *opaque);
void event_set_listener(EventFn fn, void *opaque);
/* Takes @data (NULL: an event without data). */
void event_emit(const char *name, JsonObject *data);

#endif
