/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A one-shot timer in the main loop, in microseconds of g_get_monotonic_time(). */
#ifndef VIADUCT_HW_X86_ALARM_H
#define VIADUCT_HW_X86_ALARM_H

#include <glib.h>

#define ALARM_OFF (-1)

typedef struct Alarm Alarm;

Alarm *alarm_new(void (*fn)(void *opaque), void *opaque);
/* Replaces what was set before. */
void alarm_set(Alarm *a, gint64 when);
void alarm_free(Alarm *a);

#endif
