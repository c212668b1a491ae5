/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VIADUCT_TESTS_OPEN_DESCRIPTORS_H
#define VIADUCT_TESTS_OPEN_DESCRIPTORS_H

#include <glib.h>

/* How many this process has, with the one that counting takes. */
static inline guint open_descriptors(void)
{
    g_autoptr(GDir) dir = g_dir_open("/proc/self/fd", 0, NULL);
    guint n = 0;

    while (g_dir_read_name(dir)) {
        n++;
    }
    return n;
}

#endif
