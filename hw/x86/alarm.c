/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hw/x86/alarm.h"

struct Alarm {
    GSource source;
    void (*fn)(void *opaque);
    void *opaque;
    gint64 when; /* what the source has been told, so that nothing changing costs nothing */
};

static gboolean alarm_dispatch(GSource *source, GSourceFunc fn, gpointer data)
{
    Alarm *a = (Alarm *)source;

    alarm_set(a, ALARM_OFF);
    a->fn(a->opaque);
    return G_SOURCE_CONTINUE;
}

static GSourceFuncs alarm_funcs = { .dispatch = alarm_dispatch };

Alarm *alarm_new(void (*fn)(void *opaque), void *opaque)
{
    Alarm *a = (Alarm *)g_source_new(&alarm_funcs, sizeof(Alarm));

    a->fn = fn;
    a->opaque = opaque;
    a->when = ALARM_OFF;
    g_source_attach(&a->source, NULL);
    return a;
}

void alarm_set(Alarm *a, gint64 when)
{
    if (when != a->when) {
        a->when = when;
        g_source_set_ready_time(&a->source, when);
    }
}

void alarm_free(Alarm *a)
{
    g_source_destroy(&a->source);
    g_source_unref(&a->source);
}
