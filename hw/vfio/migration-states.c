/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The states of a device that can be migrated.  The kernel goes from any of them to almost any other,
 * through as many others as it needs, and leaves out those that the device does not have.  When it
 * fails on the way, the device may be anywhere on it: one asks.
 */
#include "hw/vfio/migration.h"

#include <errno.h>

#include "core/event.h"
#include "core/lock.h"
#include "util/error.h"
#include "util/hostcalls.h"
#include "util/trace.h"

#define ERROR        VFIO_DEVICE_STATE_ERROR
#define STOP         VFIO_DEVICE_STATE_STOP
#define RUNNING      VFIO_DEVICE_STATE_RUNNING
#define STOP_COPY    VFIO_DEVICE_STATE_STOP_COPY
#define RESUMING     VFIO_DEVICE_STATE_RESUMING
#define RUNNING_P2P  VFIO_DEVICE_STATE_RUNNING_P2P
#define PRE_COPY     VFIO_DEVICE_STATE_PRE_COPY
#define PRE_COPY_P2P VFIO_DEVICE_STATE_PRE_COPY_P2P
#define BIT(state)   (1U << (state))

/* ---- the states ---- */

static const struct {
    const char *name;
    uint64_t needs; /* VFIO_MIGRATION_* */
    VFIOMigTransfer transfer;
    /* Those it goes to at once; those it goes to by way of `via2`; all others, by way of `via`. */
    unsigned direct, by2;
    uint32_t via2, via;
} states[VFIO_MIG_STATES] = {
    [ERROR] = { "error", 0, VFIO_MIG_NO_TRANSFER, 0, 0, 0, ERROR },
    [STOP] = { "stop", VFIO_MIGRATION_STOP_COPY, VFIO_MIG_NO_TRANSFER,
               BIT(STOP_COPY) | BIT(RESUMING), 0, 0, RUNNING_P2P },
    [RUNNING] = { "running", VFIO_MIGRATION_STOP_COPY, VFIO_MIG_NO_TRANSFER, BIT(PRE_COPY), 0, 0,
                  RUNNING_P2P },
    [STOP_COPY] = { "stop-copy", VFIO_MIGRATION_STOP_COPY, VFIO_MIG_SAVING, 0,
                    BIT(PRE_COPY) | BIT(PRE_COPY_P2P), ERROR, STOP },
    [RESUMING] = { "resuming", VFIO_MIGRATION_STOP_COPY, VFIO_MIG_RESUMING, 0, 0, 0, STOP },
    [RUNNING_P2P] = { "running-p2p", VFIO_MIGRATION_STOP_COPY | VFIO_MIGRATION_P2P,
                      VFIO_MIG_NO_TRANSFER, BIT(RUNNING) | BIT(PRE_COPY_P2P), BIT(PRE_COPY),
                      RUNNING, STOP },
    [PRE_COPY] = { "pre-copy", VFIO_MIGRATION_STOP_COPY | VFIO_MIGRATION_PRE_COPY, VFIO_MIG_SAVING,
                   BIT(PRE_COPY_P2P), BIT(STOP_COPY), PRE_COPY_P2P, RUNNING },
    [PRE_COPY_P2P] = { "pre-copy-p2p",
                       VFIO_MIGRATION_STOP_COPY | VFIO_MIGRATION_PRE_COPY | VFIO_MIGRATION_P2P,
                       VFIO_MIG_SAVING, BIT(PRE_COPY) | BIT(STOP_COPY), 0, 0, RUNNING_P2P },
};

const char *vfio_mig_state_name(uint32_t state)
{
    return state < VFIO_MIG_STATES ? states[state].name : "unknown";
}

VFIOMigTransfer vfio_mig_state_transfer(uint32_t state)
{
    return state < VFIO_MIG_STATES ? states[state].transfer : VFIO_MIG_NO_TRANSFER;
}

static bool has_state(uint64_t flags, uint32_t state)
{
    return state < VFIO_MIG_STATES && (flags & states[state].needs) == states[state].needs;
}

static uint32_t hop(uint32_t from, uint32_t to)
{
    return from == to || states[from].direct & BIT(to) ? to
           : states[from].by2 & BIT(to)                ? states[from].via2
                                                       : states[from].via;
}

uint32_t vfio_mig_next_state(uint64_t flags, uint32_t from, uint32_t to)
{
    uint32_t at = from;

    if (to == ERROR || !has_state(flags, to) || !has_state(flags, from)) {
        return ERROR;
    }
    do {
        at = hop(at, to);
    } while (at != ERROR && !has_state(flags, at));
    return at;
}

/* ---- events ---- */

/* Of states that threads without the machine lock have brought about, in order. */
static GQueue waiting = G_QUEUE_INIT; /* JsonObject */
static GMutex waiting_lock;

void vfio_migration_flush_events(void)
{
    JsonObject *data;

    do {
        g_mutex_lock(&waiting_lock);
        data = g_queue_pop_head(&waiting);
        g_mutex_unlock(&waiting_lock);
        if (data) {
            event_emit("VFIO_MIGRATION", data);
        }
    } while (data);
}

static gboolean flush_later(gpointer opaque)
{
    vfio_migration_flush_events();
    return G_SOURCE_REMOVE;
}

void vfio_migration_event(VFIOMigration *m, const char *state)
{
    JsonObject *data;

    TRACE("vfio_migration_state", "%s %s", m->dev->name, state);
    if (!m->owner) {
        return;
    }
    data = json_object_new();
    if (m->owner->id) {
        json_object_set_string_member(data, "device-id", m->owner->id);
    }
    json_object_set_string_member(data, "qom-path", object_path(G_OBJECT(m->owner)) ?: "");
    json_object_set_string_member(data, "device-state", state);
    g_mutex_lock(&waiting_lock);
    g_queue_push_tail(&waiting, data);
    g_mutex_unlock(&waiting_lock);
    if (machine_locked()) {
        vfio_migration_flush_events();
    } else {
        g_idle_add_full(G_PRIORITY_HIGH, flush_later, NULL, NULL);
    }
}

/* ---- transitions; m->lock is held ---- */

/* The device is in @state, with @fd (-1: none) for its data; false: that does not go together. */
static bool arrive(VFIOMigration *m, uint32_t state, int fd)
{
    VFIOMigTransfer now = vfio_mig_state_transfer(state);
    bool goes_on = now && now == vfio_mig_state_transfer(m->state);
    bool had = goes_on && m->data_fd >= 0;

    if (!goes_on || fd >= 0) {
        host_fd_close(&m->data_fd);
        m->data_fd = fd;
    }
    if (m->state != state) {
        m->state = state;
        if (state != ERROR) {
            vfio_migration_event(m, vfio_mig_state_name(state));
        }
    }
    return had ? fd < 0 : (fd >= 0) == (now != VFIO_MIG_NO_TRANSFER);
}

/* 0 or an errno. */
static int learn_state(VFIOMigration *m)
{
    struct vfio_device_feature_mig_state arg = { .data_fd = -1 };

    if (!vfio_device_feature(m->dev, VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE,
                             &arg, sizeof(arg))) {
        return errno;
    }
    if (arg.device_state >= VFIO_MIG_STATES) {
        return EPROTO;
    }
    if (arg.device_state != m->state) {
        arrive(m, arg.device_state, -1);
    }
    return 0;
}

/* 0 or an errno, the device being anywhere. */
static int ask_for(VFIOMigration *m, uint32_t want)
{
    struct vfio_device_feature_mig_state arg = { .device_state = want, .data_fd = -1 };

    if (!vfio_device_feature(m->dev, VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE,
                             &arg, sizeof(arg))) {
        return errno;
    }
    if (arrive(m, want, arg.data_fd)) {
        return 0;
    }
    host_fd_close(&m->data_fd); /* a transfer other than ours: somebody has reset the device */
    return EBADF;
}

static bool reset(VFIOMigration *m, GError **errp)
{
    if (!(m->dev->flags & VFIO_DEVICE_FLAGS_RESET)) {
        return error_set(errp, "it has no reset");
    }
    if (!vfio_device_reset(m->dev, errp)) {
        return false;
    }
    arrive(m, RUNNING, -1);
    return true;
}

/* What has become of the device after a failure; g_free it. */
static char *recover_from_error(VFIOMigration *m, uint32_t recover)
{
    g_autoptr(GError) err = NULL;
    int errnum = learn_state(m);

    if (errnum) {
        return g_strdup_printf("its state is unknown: %s", g_strerror(errnum));
    }
    if (m->state != ERROR && m->state != recover &&
        vfio_mig_next_state(m->flags, m->state, recover) != ERROR) {
        errnum = ask_for(m, recover);
        if (!errnum) {
            return g_strdup_printf("it was brought to %s", vfio_mig_state_name(recover));
        }
        errnum = learn_state(m);
    }
    if (errnum) {
        return g_strdup_printf("its state is unknown: %s", g_strerror(errnum));
    }
    if (m->state != ERROR) {
        return g_strdup_printf("it is in %s", vfio_mig_state_name(m->state));
    }
    return reset(m, &err) ? g_strdup("it was in the error state and has been reset")
                          : g_strdup_printf("it stays in the error state: %s", err->message);
}

static bool set_state(VFIOMigration *m, uint32_t want, uint32_t recover, GError **errp)
{
    g_autofree char *outcome = NULL;
    uint32_t from = m->state;
    int errnum;

    if (from == want) {
        return true;
    }
    errnum = vfio_mig_next_state(m->flags, from, want) == ERROR ? EINVAL : ask_for(m, want);
    if (!errnum) {
        return true;
    }
    outcome = recover_from_error(m, recover);
    return error_set(errp, "vfio %s: cannot go from migration state %s to %s: %s; %s", m->dev->name,
                     vfio_mig_state_name(from), vfio_mig_state_name(want),
                     errnum == EBADF ? "its data has another descriptor than expected"
                                     : g_strerror(errnum),
                     outcome);
}

/* ---- for all others ---- */

bool vfio_migration_set_state(VFIOMigration *m, uint32_t want, uint32_t recover, GError **errp)
{
    bool ok;

    g_mutex_lock(&m->lock);
    ok = set_state(m, want, recover, errp);
    g_mutex_unlock(&m->lock);
    return ok;
}

bool vfio_migration_reset(VFIOMigration *m, GError **errp)
{
    bool ok;

    g_mutex_lock(&m->lock);
    ok = reset(m, errp);
    g_mutex_unlock(&m->lock);
    if (!ok) {
        g_prefix_error(errp, "vfio %s: ", m->dev->name);
    }
    return ok;
}

bool vfio_migration_refresh(VFIOMigration *m, GError **errp)
{
    int errnum;

    g_mutex_lock(&m->lock);
    errnum = learn_state(m);
    g_mutex_unlock(&m->lock);
    return !errnum ||
           error_set_errno(errp, errnum, "VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE GET failed");
}

uint32_t vfio_migration_state(VFIOMigration *m)
{
    uint32_t state;

    g_mutex_lock(&m->lock);
    state = m->state;
    g_mutex_unlock(&m->lock);
    return state;
}
