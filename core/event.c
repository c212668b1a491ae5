/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/event.h"

static EventFn listener;
static void *listener_opaque;

void event_set_listener(EventFn fn, void *opaque)
{
    listener = fn;
    listener_opaque = opaque;
}

void event_emit(const char *name, JsonObject *data)
{
    if (listener) {
        listener(name, data, listener_opaque);
    }
    g_clear_pointer(&data, json_object_unref);
}
