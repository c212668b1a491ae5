/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/lock.h"

#include <glib.h>

static GMutex lock;
static __thread bool held;

void machine_lock(void)
{
    g_mutex_lock(&lock);
    held = true;
}

void machine_unlock(void)
{
    held = false;
    g_mutex_unlock(&lock);
}

bool machine_locked(void)
{
    return held;
}
