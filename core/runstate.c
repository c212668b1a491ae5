/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Requests are bits and a cause, set from any thread under a small lock of their own (innermost:
 * nothing else is taken while it is held); the main loop wakes up and carries them out in the
 * order sleep, shutdown, reset, wake-up, power-down, stop.
 */
#include "core/runstate.h"

#include <glib.h>

#include "core/accel.h"
#include "core/device.h"
#include "core/event.h"
#include "core/lock.h"
#include "util/error.h"
#include "util/trace.h"

RunStatePolicy run_state_policy;

static RunState state = RUN_STATE_PRELAUNCH;

static const char *const state_names[] = {
    [RUN_STATE_PRELAUNCH] = "prelaunch",
    [RUN_STATE_RUNNING] = "running",
    [RUN_STATE_PAUSED] = "paused",
    [RUN_STATE_SHUTDOWN] = "shutdown",
    [RUN_STATE_INTERNAL_ERROR] = "internal-error",
    [RUN_STATE_IO_ERROR] = "io-error",
    [RUN_STATE_GUEST_PANICKED] = "guest-panicked",
    [RUN_STATE_INMIGRATE] = "inmigrate",
    [RUN_STATE_FINISH_MIGRATE] = "finish-migrate",
    [RUN_STATE_POSTMIGRATE] = "postmigrate",
    [RUN_STATE_SUSPENDED] = "suspended",
};

static const struct {
    const char *name;
    bool guest;
} causes[] = {
    [SHUTDOWN_CAUSE_NONE] = { "none", false },
    [SHUTDOWN_CAUSE_HOST_ERROR] = { "host-error", false },
    [SHUTDOWN_CAUSE_HOST_QMP_QUIT] = { "host-qmp-quit", false },
    [SHUTDOWN_CAUSE_HOST_QMP_SYSTEM_RESET] = { "host-qmp-system-reset", false },
    [SHUTDOWN_CAUSE_HOST_SIGNAL] = { "host-signal", false },
    [SHUTDOWN_CAUSE_HOST_UI] = { "host-ui", false },
    [SHUTDOWN_CAUSE_GUEST_SHUTDOWN] = { "guest-shutdown", true },
    [SHUTDOWN_CAUSE_GUEST_RESET] = { "guest-reset", true },
    [SHUTDOWN_CAUSE_GUEST_PANIC] = { "guest-panic", true },
};

const char *run_state_name(RunState s)
{
    return state_names[s];
}

const char *shutdown_cause_name(ShutdownCause cause)
{
    return causes[cause].name;
}

bool shutdown_cause_from_guest(ShutdownCause cause)
{
    return causes[cause].guest;
}

RunState run_state(void)
{
    return state;
}

bool run_state_is_running(void)
{
    return state == RUN_STATE_RUNNING;
}

bool run_state_is_live(void)
{
    return state == RUN_STATE_RUNNING || state == RUN_STATE_SUSPENDED;
}

/* ---- notifiers ---- */

typedef struct StateNotifier {
    VMStateFn fn;
    void *opaque;
} StateNotifier;

static GSList *notifiers;

void vm_state_add_notifier(VMStateFn fn, void *opaque)
{
    StateNotifier *n = g_new(StateNotifier, 1);

    *n = (StateNotifier) { fn, opaque };
    notifiers = g_slist_append(notifiers, n);
}

void vm_state_del_notifier(VMStateFn fn, void *opaque)
{
    for (GSList *l = notifiers; l; l = l->next) {
        StateNotifier *n = l->data;

        if (n->fn == fn && n->opaque == opaque) {
            notifiers = g_slist_delete_link(notifiers, l);
            g_free(n);
            return;
        }
    }
}

static int64_t state_time;

int64_t vm_state_time(void)
{
    return state_time;
}

static void notify(bool running)
{
    state_time = g_get_monotonic_time();
    for (GSList *l = notifiers; l; l = l->next) {
        StateNotifier *n = l->data;

        n->fn(running, state, n->opaque);
    }
}

static bool given_away;

void run_state_give_away(void)
{
    given_away = true;
}

bool run_state_is_given_away(void)
{
    return given_away;
}

/* ---- sleep ---- */

static bool asleep; /* the guest */
/* Requests; these are guarded by the machine lock. */
static bool suspend_wanted;
static WakeupReason wakeup_wanted;
static WakeupFn wakeup_fn;
static void *wakeup_opaque;

bool run_state_is_asleep(void)
{
    return asleep;
}

void run_state_set_asleep(bool value)
{
    asleep = value;
}

void wakeup_register(WakeupFn fn, void *opaque)
{
    wakeup_fn = fn;
    wakeup_opaque = opaque;
}

bool wakeup_is_supported(void)
{
    return wakeup_fn;
}

void system_suspend_request(void)
{
    if (state == RUN_STATE_RUNNING && wakeup_fn) {
        suspend_wanted = true;
        g_main_context_wakeup(NULL);
    }
}

/* If it is wanted. */
static void suspend(void)
{
    if (!suspend_wanted || state != RUN_STATE_RUNNING) {
        return;
    }
    accel->pause_vcpus();
    suspend_wanted = false; /* until it stood still it may have asked again */
    asleep = true;
    state = RUN_STATE_SUSPENDED;
    event_emit("SUSPEND", NULL);
}

bool system_wakeup_request(WakeupReason reason, GError **errp)
{
    if (state != RUN_STATE_SUSPENDED) {
        return error_set(errp, "Unable to wake up: guest is not in suspended state");
    }
    wakeup_wanted = reason;
    g_main_context_wakeup(NULL);
    return true;
}

static void wake_up(void)
{
    WakeupReason reason = wakeup_wanted;

    wakeup_wanted = WAKEUP_REASON_NONE;
    if (reason == WAKEUP_REASON_NONE || state != RUN_STATE_SUSPENDED) {
        return;
    }
    if (!wakeup_fn(reason, wakeup_opaque)) {
        system_reset_request(SHUTDOWN_CAUSE_GUEST_RESET);
        return;
    }
    asleep = false;
    state = RUN_STATE_RUNNING;
    accel->resume_vcpus();
    event_emit("WAKEUP", NULL);
}

/* ---- start and stop ---- */

void vm_start(void)
{
    if (run_state_is_live() || given_away) {
        return;
    }
    state = asleep ? RUN_STATE_SUSPENDED : RUN_STATE_RUNNING;
    TRACE("vm_state_notify", "running 1 state %s", state_names[state]);
    event_emit("RESUME", NULL);
    notify(true);
    if (state == RUN_STATE_RUNNING) {
        accel->resume_vcpus();
    }
}

/* True when the VM was live until now.  What was asked for before comes before. */
static bool do_vm_stop(RunState next)
{
    bool was_live = run_state_is_live();

    wake_up();
    TRACE("vm_state_notify", "running 0 state %s", state_names[next]);
    if (state == RUN_STATE_RUNNING) {
        accel->pause_vcpus();
        suspend();
    }
    state = next;
    if (was_live) {
        notify(false);
    }
    return was_live;
}

void vm_stop(RunState next)
{
    if (do_vm_stop(next)) {
        event_emit("STOP", NULL);
    }
}

/* ---- requests ---- */

static struct {
    GMutex lock;
    ShutdownCause reset, shutdown;
    RunState stop;
    bool powerdown, stop_wanted;
    bool failed; /* the exit status will be 1 */
} requests;

static void (*powerdown_fn)(void *opaque);
static void *powerdown_opaque;

void powerdown_register(void (*fn)(void *opaque), void *opaque)
{
    powerdown_fn = fn;
    powerdown_opaque = opaque;
}

/* The host's last word: nothing that the guest does or -no-shutdown says changes it. */
static bool ends_always(ShutdownCause cause)
{
    return cause == SHUTDOWN_CAUSE_HOST_ERROR || cause == SHUTDOWN_CAUSE_HOST_QMP_QUIT ||
           cause == SHUTDOWN_CAUSE_HOST_SIGNAL;
}

static void want_shutdown(ShutdownCause cause)
{
    if (!ends_always(requests.shutdown)) {
        requests.shutdown = cause;
    }
}

void system_reset_request(ShutdownCause cause)
{
    g_mutex_lock(&requests.lock);
    if (run_state_policy.no_reboot) {
        want_shutdown(cause);
    } else {
        requests.reset = cause;
    }
    g_mutex_unlock(&requests.lock);
    g_main_context_wakeup(NULL);
}

void system_shutdown_request(ShutdownCause cause)
{
    g_mutex_lock(&requests.lock);
    want_shutdown(cause);
    g_mutex_unlock(&requests.lock);
    g_main_context_wakeup(NULL);
}

void system_failure_request(void)
{
    g_mutex_lock(&requests.lock);
    want_shutdown(SHUTDOWN_CAUSE_HOST_ERROR);
    requests.failed = true;
    g_mutex_unlock(&requests.lock);
    g_main_context_wakeup(NULL);
}

void system_powerdown_request(void)
{
    g_mutex_lock(&requests.lock);
    requests.powerdown = true;
    g_mutex_unlock(&requests.lock);
    g_main_context_wakeup(NULL);
}

void system_vmstop_request(RunState next)
{
    g_mutex_lock(&requests.lock);
    requests.stop = next;
    requests.stop_wanted = true;
    g_mutex_unlock(&requests.lock);
    g_main_context_wakeup(NULL);
}

bool system_end_is_requested(void)
{
    bool requested;

    g_mutex_lock(&requests.lock);
    requested = ends_always(requests.shutdown);
    g_mutex_unlock(&requests.lock);
    return requested;
}

static JsonObject *cause_data(ShutdownCause cause)
{
    JsonObject *data = json_object_new();

    json_object_set_boolean_member(data, "guest", shutdown_cause_from_guest(cause));
    json_object_set_string_member(data, "reason", shutdown_cause_name(cause));
    return data;
}

/* Until it stood still the guest may have asked again for what is just being done. */
static void forget_repetition(ShutdownCause *request)
{
    g_mutex_lock(&requests.lock);
    if (shutdown_cause_from_guest(*request)) {
        *request = SHUTDOWN_CAUSE_NONE;
    }
    g_mutex_unlock(&requests.lock);
}

/* As in QEMU, a machine whose guest slept waits for `cont`, unless the reset is the guest's own. */
static void system_reset(ShutdownCause cause)
{
    bool runs;

    wake_up();
    if (state == RUN_STATE_SUSPENDED && !shutdown_cause_from_guest(cause)) {
        do_vm_stop(RUN_STATE_PAUSED);
    }
    runs = run_state_is_live();
    if (runs) {
        accel->pause_vcpus();
    }
    forget_repetition(&requests.reset);
    suspend_wanted = asleep = false;
    devices_reset();
    event_emit("RESET", cause_data(cause));
    if (runs) {
        state = RUN_STATE_RUNNING;
        accel->resume_vcpus();
    } else {
        state = RUN_STATE_PRELAUNCH; /* whatever the old guest came to; `cont` starts the new one */
    }
}

void system_requests_take(ShutdownCause *reset, ShutdownCause *shutdown)
{
    g_mutex_lock(&requests.lock);
    *reset = requests.reset;
    *shutdown = ends_always(requests.shutdown) ? SHUTDOWN_CAUSE_NONE : requests.shutdown;
    requests.reset = SHUTDOWN_CAUSE_NONE;
    if (*shutdown) {
        requests.shutdown = SHUTDOWN_CAUSE_NONE;
    }
    g_mutex_unlock(&requests.lock);
}

/* Its state is being sent or loaded: what was asked for waits until it is somebody's again. */
static bool is_in_transit(void)
{
    return state == RUN_STATE_FINISH_MIGRATE || state == RUN_STATE_INMIGRATE;
}

/* Carries out what was asked for; true when the process is to end. */
static bool handle_requests(void)
{
    ShutdownCause reset, shutdown;
    bool powerdown, stop_wanted;
    RunState stop;

    g_mutex_lock(&requests.lock);
    if (is_in_transit() && !ends_always(requests.shutdown)) {
        g_mutex_unlock(&requests.lock);
        return false;
    }
    reset = requests.reset;
    shutdown = requests.shutdown;
    powerdown = requests.powerdown;
    stop_wanted = requests.stop_wanted;
    stop = requests.stop;
    requests.reset = requests.shutdown = SHUTDOWN_CAUSE_NONE;
    requests.powerdown = requests.stop_wanted = false;
    g_mutex_unlock(&requests.lock);

    if (reset == SHUTDOWN_CAUSE_NONE) { /* else there is nothing to wake up for */
        suspend();
    }
    if (shutdown != SHUTDOWN_CAUSE_NONE) {
        event_emit("SHUTDOWN", cause_data(shutdown));
        if (!run_state_policy.no_shutdown || ends_always(shutdown)) {
            return true;
        }
        vm_stop(RUN_STATE_SHUTDOWN);
        forget_repetition(&requests.shutdown);
    }
    if (reset != SHUTDOWN_CAUSE_NONE && !given_away) {
        system_reset(reset);
    }
    wake_up();
    if (powerdown) {
        event_emit("POWERDOWN", NULL);
        if (powerdown_fn) {
            powerdown_fn(powerdown_opaque);
        }
    }
    if (stop_wanted) {
        vm_stop(stop);
    }
    return false;
}

/* The machine lock is ours except while we wait: vCPU threads serve exits in the meantime. */
static gint poll_unlocked(GPollFD *fds, guint n, gint timeout)
{
    gint ready;

    machine_unlock();
    ready = g_poll(fds, n, timeout);
    machine_lock();
    return ready;
}

static bool looping;

bool main_loop_is_running(void)
{
    return looping;
}

int main_loop_run(void)
{
    g_main_context_set_poll_func(NULL, poll_unlocked);
    looping = true;
    while (!handle_requests()) {
        g_main_context_iteration(NULL, TRUE);
    }
    do_vm_stop(RUN_STATE_SHUTDOWN);
    return requests.failed;
}
