/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Run state of the VM and requests to change it.  Requests may come from any thread (a vCPU's write
 * to the reset register, a signal handler's pipe, QMP); the main loop carries them out.
 * Everything else: main thread.
 */
#ifndef VIADUCT_CORE_RUNSTATE_H
#define VIADUCT_CORE_RUNSTATE_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/* QEMU's RunState, the ones that this program has. */
typedef enum {
    RUN_STATE_PRELAUNCH,
    RUN_STATE_RUNNING,
    RUN_STATE_PAUSED,
    RUN_STATE_SHUTDOWN,
    RUN_STATE_INTERNAL_ERROR,
    RUN_STATE_IO_ERROR,
    RUN_STATE_GUEST_PANICKED,
    RUN_STATE_INMIGRATE,      /* waits for the state of another process */
    RUN_STATE_FINISH_MIGRATE, /* stopped, so that the rest of its state can be sent */
    RUN_STATE_POSTMIGRATE,    /* its state is another process's now */
    RUN_STATE_SUSPENDED,      /* the guest sleeps (ACPI S3): all runs but the vCPUs */
    RUN_STATE__MAX,
} RunState;

/* QEMU's ShutdownCause; names are those of QMP events' "reason". */
typedef enum {
    SHUTDOWN_CAUSE_NONE,
    SHUTDOWN_CAUSE_HOST_ERROR,
    SHUTDOWN_CAUSE_HOST_QMP_QUIT,
    SHUTDOWN_CAUSE_HOST_QMP_SYSTEM_RESET,
    SHUTDOWN_CAUSE_HOST_SIGNAL,
    SHUTDOWN_CAUSE_HOST_UI,
    SHUTDOWN_CAUSE_GUEST_SHUTDOWN,
    SHUTDOWN_CAUSE_GUEST_RESET,
    SHUTDOWN_CAUSE_GUEST_PANIC,
} ShutdownCause;

const char *run_state_name(RunState state);
const char *shutdown_cause_name(ShutdownCause cause);
bool shutdown_cause_from_guest(ShutdownCause cause);

RunState run_state(void);
bool run_state_is_running(void);
/* Running or suspended: devices work and time passes. */
bool run_state_is_live(void);

/*
 * Resumes / pauses all vCPUs, tells the notifiers, emits RESUME / STOP; no-ops when already so.
 * A guest that sleeps does so before and after: a start leads to RUN_STATE_SUSPENDED.
 */
void vm_start(void);
void vm_stop(RunState state);

/*
 * Told of each change.  On start the notifiers are called before the vCPUs run, on stop after they
 * stand still.
 */
typedef void (*VMStateFn)(bool running, RunState state, void *opaque);
void vm_state_add_notifier(VMStateFn fn, void *opaque);
void vm_state_del_notifier(VMStateFn fn, void *opaque);

/*
 * When the guest's time began to run, or ended: the monotonic time in us that all clocks of the guest
 * go by, so that none is ahead of another after a stop.
 */
int64_t vm_state_time(void);

/* -no-reboot, -no-shutdown. */
typedef struct RunStatePolicy {
    bool no_reboot;   /* a guest's reset ends the process (is a shutdown) */
    bool no_shutdown; /* a guest's shutdown pauses the VM */
} RunStatePolicy;
extern RunStatePolicy run_state_policy;

/* Any thread, async-signal-safe not required. */
void system_reset_request(ShutdownCause cause);
void system_shutdown_request(ShutdownCause cause);
void system_powerdown_request(void);
/* What was started cannot be finished: the process ends with status 1.  The caller says why. */
void system_failure_request(void);
/* Stops the VM from a vCPU thread or a handler: vm_stop() follows in the main loop. */
void system_vmstop_request(RunState state);

/* ---- sleep (ACPI S3) ---- */

/* QEMU's WakeupReason. */
typedef enum {
    WAKEUP_REASON_NONE,
    WAKEUP_REASON_RTC,
    WAKEUP_REASON_OTHER,
} WakeupReason;

/* The guest goes to sleep.  Machine lock held, as for all below; no-op unless the VM runs. */
void system_suspend_request(void);
/* Whether it sleeps, in RUN_STATE_SUSPENDED or in a VM that stands still. */
bool run_state_is_asleep(void);
/* Another process's guest, which the VM that stands still is from now on. */
void run_state_set_asleep(bool asleep);
/* Wakes it up soon; an error unless the run state is RUN_STATE_SUSPENDED. */
bool system_wakeup_request(WakeupReason reason, GError **errp);
/*
 * Who resets the machine and lets the guest go on; false: it cannot go on, so that a reset follows.
 * NULL: this machine does not sleep.
 */
typedef bool (*WakeupFn)(WakeupReason reason, void *opaque);
void wakeup_register(WakeupFn fn, void *opaque);
bool wakeup_is_supported(void);

/*
 * A reset, and a shutdown of the guest's, that were asked for and that nobody has done yet: takes
 * them away, for another process to do.  SHUTDOWN_CAUSE_NONE: nothing.
 */
void system_requests_take(ShutdownCause *reset, ShutdownCause *shutdown);

/* The VM is another process's now, with its memory: nothing runs or resets it here any more. */
void run_state_give_away(void);
bool run_state_is_given_away(void);

/* Somebody outside wants the process to end, and the main loop has not seen it yet. */
bool system_end_is_requested(void);

/* Called in the main loop when a power-down is asked for: the machine's power button. */
void powerdown_register(void (*fn)(void *opaque), void *opaque);

/* Runs the main loop until a shutdown is due; returns the process's exit status. */
int main_loop_run(void);
/* False while the program starts: then what fails ends it. */
bool main_loop_is_running(void);

#endif
