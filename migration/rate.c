/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How much is sent, and how fast it may be (max-bandwidth). */
#include "source.h"

void migration_rate_limit(uint64_t bytes)
{
    uint64_t limit = migration_max_bandwidth();
    int64_t now = g_get_monotonic_time(), wait;

    if (!limit || g_atomic_int_get(&outgoing.urgent)) {
        return;
    }
    g_mutex_lock(&outgoing.lock);
    if (now - outgoing.window > G_USEC_PER_SEC / 10) { /* what was not used is lost */
        outgoing.window =
            MAX(outgoing.window + (int64_t)(outgoing.window_bytes * 1e6 / limit), now);
        outgoing.window_bytes = 0;
    }
    outgoing.window_bytes += bytes;
    wait = outgoing.window + (int64_t)(outgoing.window_bytes * 1e6 / limit);
    /* Whoever changes the limit is not to wait for what the old one would have taken. */
    while (wait > now && !g_atomic_int_get(&outgoing.stop) && migration_max_bandwidth() == limit) {
        g_cond_wait_until(&outgoing.changed, &outgoing.lock, MIN(wait, now + G_USEC_PER_SEC / 10));
        now = g_get_monotonic_time();
    }
    g_mutex_unlock(&outgoing.lock);
}

uint64_t source_bytes_sent(void)
{
    uint64_t n;

    g_mutex_lock(&outgoing.lock);
    n = outgoing.sent;
    for (unsigned i = 0; i < outgoing.nr_streams; i++) {
        n += outgoing.streams[i]->sent;
    }
    g_mutex_unlock(&outgoing.lock);
    return n;
}
