/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the VM's stopping and starting means for its devices.  One may do DMA to another, so none may
 * be stopped while another can still reach it: first all are kept from peer-to-peer DMA, of those
 * that have a state for it, and only then is the first one stopped.  On the way back, likewise, all
 * can be reached before the first one reaches out.
 *
 * Between these two barriers each device is brought on by a thread of its own: a driver may take
 * tens of milliseconds, all of which are downtime.
 */
#include "hw/vfio/migration.h"

#include "migration/cpr.h"
#include "util/error.h"

typedef bool (*Step)(VFIOMigration *m, RunState state, GError **errp);

typedef struct Job {
    VFIOMigration *m;
    Step step;
    RunState state;
    GError *err;
} Job;

void vfio_migration_report(GError *err)
{
    error_report("%s", err->message);
    if (migration_is_running()) {
        migration_set_error(err);
    }
    g_error_free(err);
}

static gpointer run_job(gpointer opaque)
{
    Job *job = opaque;

    job->step(job->m, job->state, &job->err);
    return NULL;
}

/* Takes the step with all devices at once; returns when all have done it, or failed. */
static void with_all(Step step, RunState state)
{
    guint most = vfio_devices ? vfio_devices->len : 0, n = 0;
    g_autofree Job *jobs = g_new0(Job, most + 1);
    g_autofree GThread **threads = g_new0(GThread *, most + 1);

    for (guint i = 0; i < most; i++) {
        VFIOMigration *m = ((VFIODevice *)vfio_devices->pdata[i])->migration;

        if (m && m->section) {
            jobs[n++] = (Job) { m, step, state, NULL };
        }
    }
    for (guint i = 1; i < n; i++) {
        threads[i] = g_thread_try_new("vfio-state", run_job, &jobs[i], NULL);
    }
    for (guint i = 0; i < n; i++) {
        if (threads[i]) {
            g_thread_join(threads[i]);
        } else {
            run_job(&jobs[i]);
        }
        if (jobs[i].err) {
            vfio_migration_report(g_steal_pointer(&jobs[i].err));
        }
    }
    vfio_migration_flush_events();
}

static bool precopies(uint32_t state)
{
    return state == VFIO_DEVICE_STATE_PRE_COPY || state == VFIO_DEVICE_STATE_PRE_COPY_P2P;
}

/* A device that is not running, or about to be, is left where it is. */
static bool quiesce(VFIOMigration *m, RunState state, GError **errp)
{
    uint32_t now = vfio_migration_state(m);

    if (!(m->flags & VFIO_MIGRATION_P2P)) {
        return true;
    }
    if (now == VFIO_DEVICE_STATE_PRE_COPY) {
        vfio_migration_event(m, "pre-copy-p2p-prepare");
        return vfio_migration_set_state(m, VFIO_DEVICE_STATE_PRE_COPY_P2P, now, errp);
    }
    return now != VFIO_DEVICE_STATE_RUNNING ||
           vfio_migration_set_state(m, VFIO_DEVICE_STATE_RUNNING_P2P, now, errp);
}

/* A transfer that has begun goes on, and the one that is going to begin now does so at once. */
static bool stop(VFIOMigration *m, RunState state, GError **errp)
{
    uint32_t now = vfio_migration_state(m), want = VFIO_DEVICE_STATE_STOP;

    if (m->active &&
        (state == RUN_STATE_FINISH_MIGRATE || (state == RUN_STATE_PAUSED && precopies(now)))) {
        want = VFIO_DEVICE_STATE_STOP_COPY;
    }
    return vfio_mig_state_transfer(now) == VFIO_MIG_RESUMING ||
           vfio_migration_set_state(m, want, VFIO_DEVICE_STATE_STOP, errp);
}

/* What is running already never stopped: the VM starts for the first time, or after a reset. */
static bool wake(VFIOMigration *m, RunState state, GError **errp)
{
    uint32_t now = vfio_migration_state(m);

    return !(m->flags & VFIO_MIGRATION_P2P) || now == VFIO_DEVICE_STATE_RUNNING || precopies(now) ||
           vfio_migration_set_state(m, VFIO_DEVICE_STATE_RUNNING_P2P, now, errp);
}

static bool start(VFIOMigration *m, RunState state, GError **errp)
{
    uint32_t now = vfio_migration_state(m);

    /* Before it is stopped it can just run on, if it has been sending before. */
    if (now == VFIO_DEVICE_STATE_PRE_COPY) {
        return true;
    }
    if (now == VFIO_DEVICE_STATE_PRE_COPY_P2P) {
        return vfio_migration_set_state(m, VFIO_DEVICE_STATE_PRE_COPY, now, errp);
    }
    return vfio_migration_set_state(m, VFIO_DEVICE_STATE_RUNNING, now, errp);
}

/* The transfer of a stopped device ends when it runs again. */
static void note_end_of_transfers(void)
{
    for (guint i = 0; vfio_devices && i < vfio_devices->len; i++) {
        VFIODevice *dev = vfio_devices->pdata[i];
        VFIOMigration *m = dev->migration;

        if (m && m->section && m->active &&
            vfio_migration_state(m) == VFIO_DEVICE_STATE_STOP_COPY) {
            GError *err = NULL;

            error_set(&err, "vfio %s: the VM runs on while its state was being sent", dev->name);
            vfio_migration_report(err);
        }
    }
}

void vfio_migration_vm_state(bool running, RunState state, void *opaque)
{
    if (cpr_is_active()) { /* they go on working, for another process */
        return;
    }
    if (running) {
        note_end_of_transfers();
        with_all(wake, state);
        with_all(start, state);
    } else {
        with_all(quiesce, state);
        with_all(stop, state);
    }
}
