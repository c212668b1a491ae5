/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Auto-converge: a thread that makes the vCPUs stand still for a share of the time.  They run for
 * SLICE_US, then stand still as long as the share wants.
 */
#include "core/accel.h"
#include "core/runstate.h"
#include "internal.h"
#include "util/trace.h"

#define SLICE_US 10000

static struct {
    GMutex lock; /* of the rest; a leaf */
    GCond changed;
    GThread *thread;
    unsigned percentage;
    unsigned behind; /* passes in a row that the guest outran */
} throttle;

/* Both in the main thread; a VM that somebody stopped meanwhile stays so. */
static bool stand_still(GError **errp)
{
    if (run_state_is_running()) {
        accel->pause_vcpus();
    }
    return true;
}

static bool run_on(GError **errp)
{
    if (run_state_is_running()) {
        accel->resume_vcpus();
    }
    return true;
}

/* False when it is over. */
static bool wait_us(int64_t us)
{
    int64_t end = g_get_monotonic_time() + us;

    while (throttle.percentage && g_cond_wait_until(&throttle.changed, &throttle.lock, end)) {
    }
    return throttle.percentage;
}

static void *throttle_thread(void *opaque)
{
    g_mutex_lock(&throttle.lock);
    while (wait_us(SLICE_US)) {
        int64_t still = SLICE_US * throttle.percentage / (100 - throttle.percentage);

        g_mutex_unlock(&throttle.lock);
        migration_main_call(stand_still, NULL);
        g_mutex_lock(&throttle.lock);
        wait_us(still);
        g_mutex_unlock(&throttle.lock);
        migration_main_call(run_on, NULL);
        g_mutex_lock(&throttle.lock);
    }
    g_mutex_unlock(&throttle.lock);
    return NULL;
}

void migration_throttle(uint64_t dirtied, uint64_t sent)
{
    const MigrationParameters *p = &migration_parameters;
    unsigned now;

    if (!migration_capability(MIG_CAP_AUTO_CONVERGE)) {
        return;
    }
    g_mutex_lock(&throttle.lock);
    if (dirtied <= sent / 100 * p->throttle_trigger_threshold) {
        throttle.behind = 0;
    } else if (++throttle.behind >= 2) {
        throttle.behind = 0;
        now = throttle.percentage ? throttle.percentage + p->cpu_throttle_increment
                                  : p->cpu_throttle_initial;
        throttle.percentage = MIN(MIN(now, p->max_cpu_throttle), 99);
        TRACE("migration_throttle", "%u %%", throttle.percentage);
        if (!throttle.thread) {
            throttle.thread = g_thread_try_new("mig/throttle", throttle_thread, NULL, NULL);
        }
    }
    g_mutex_unlock(&throttle.lock);
}

void migration_throttle_end(void)
{
    GThread *thread;

    g_mutex_lock(&throttle.lock);
    throttle.percentage = throttle.behind = 0;
    thread = g_steal_pointer(&throttle.thread);
    g_cond_broadcast(&throttle.changed);
    g_mutex_unlock(&throttle.lock);
    if (thread) {
        g_thread_join(thread);
    }
}

unsigned migration_throttle_percentage(void)
{
    unsigned percentage;

    g_mutex_lock(&throttle.lock);
    percentage = throttle.percentage;
    g_mutex_unlock(&throttle.lock);
    return percentage;
}
