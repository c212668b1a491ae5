/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "util/memlock.h"

#include <inttypes.h>
#include <linux/capability.h>
#include <stdbool.h>
#include <string.h>
#include <sys/resource.h>

/* A line of /proc/self/status. */
static bool own_status(const char *text, const char *name, guint base, guint64 *value)
{
    const char *line = text ? strstr(text, name) : NULL;

    if (!line) {
        return false;
    }
    *value = g_ascii_strtoull(line + strlen(name), NULL, base);
    return true;
}

char *memlock_hint(uint64_t more)
{
    g_autofree char *status = NULL, *needed = NULL;
    guint64 locked = 0, pinned = 0, caps = 0;
    struct rlimit limit;

    if (getrlimit(RLIMIT_MEMLOCK, &limit) || limit.rlim_cur == RLIM_INFINITY) {
        return NULL;
    }
    g_file_get_contents("/proc/self/status", &status, NULL, NULL);
    if (own_status(status, "\nCapEff:", 16, &caps) && caps >> CAP_IPC_LOCK & 1) {
        return NULL;
    }
    own_status(status, "\nVmLck:", 10, &locked); /* counts what type1 pins */
    own_status(status, "\nVmPin:", 10, &pinned); /* and iommufd */
    if (more) {
        needed = g_strdup_printf("%" PRIu64 " KiB more are needed, ", more / 1024);
    }
    return g_strdup_printf(
        "; memory for DMA is locked: %s%" PRIu64 " KiB are locked, and the limit "
        "is %" PRIu64 " KiB: raise it (ulimit -l, or LimitMEMLOCK= of a systemd "
        "unit) or give the process CAP_IPC_LOCK",
        needed ?: "", (uint64_t)(locked + pinned), (uint64_t)limit.rlim_cur / 1024);
}
