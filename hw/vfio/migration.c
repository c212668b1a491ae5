/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The data of a device: what its driver gives is sent in pieces as it comes, and given to the other
 * side's driver as it arrives.  One buffer of a mebibyte is all that is ever held, for sending waits
 * while the channel is full, and the driver waits with it.
 *
 * A piece is a number (little-endian) that says what it is, and its bytes.  The last one tells how
 * many there were, so that a state with a part missing is never taken for one.
 */
#include "hw/vfio/migration.h"

#include <errno.h>
#include <inttypes.h>

#include "util/error.h"
#include "util/hostcalls.h"
#include "util/trace.h"

#define READ_SIZE ((size_t)1 << 20)
/* Of a device that cannot say how much it has: no downtime limit takes that. */
#define UNKNOWN_SIZE (UINT64_C(100) << 30)

typedef enum {
    PIECE_DATA = 1,
    PIECE_INITIAL_SENT, /* all initial data was before this */
    PIECE_END,          /* and how many bytes of data there were: 64 bits, little-endian */
} PieceKind;

static bool failed(VFIOMigration *m, const char *what, int errnum, GError **errp)
{
    return error_set_errno(errp, errnum, "vfio %s: %s failed", m->dev->name, what);
}

/* ---- source: how much there is ---- */

static bool is_precopy(const VFIOMigration *m)
{
    return m->state == VFIO_DEVICE_STATE_PRE_COPY || m->state == VFIO_DEVICE_STATE_PRE_COPY_P2P;
}

static void warn_of_size(VFIOMigration *m, const char *why)
{
    if (!m->size_warned) {
        m->size_warned = true;
        warn_report("vfio %s: how large its state is is unknown (%s), so its migration counts as "
                    "far from its end",
                    m->dev->name, why);
    }
}

static void ask_size(VFIOMigration *m)
{
    struct vfio_device_feature_mig_data_size size = { 0 };

    if (!vfio_device_feature(m->dev, VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_MIG_DATA_SIZE,
                             &size, sizeof(size))) {
        warn_of_size(m, g_strerror(errno));
        m->stopcopy = UNKNOWN_SIZE;
    } else if (size.stop_copy_length > INT64_MAX) {
        warn_of_size(m, "the kernel says more than there can be");
        m->stopcopy = UNKNOWN_SIZE;
    } else {
        m->stopcopy = size.stop_copy_length;
    }
}

static void ask_precopy(VFIOMigration *m)
{
    struct vfio_precopy_info info = { .argsz = sizeof(info) };

    if (hostcalls->ioctl(m->data_fd, VFIO_MIG_GET_PRECOPY_INFO, &info)) {
        if (!m->info_warned) {
            m->info_warned = true;
            warn_report("vfio %s: VFIO_MIG_GET_PRECOPY_INFO failed: %s", m->dev->name,
                        g_strerror(errno));
        }
        return;
    }
    if (m->precopy_v2 && info.flags & VFIO_PRECOPY_INFO_REINIT && info.initial_bytes) {
        TRACE("vfio_migration_reinit", "%s initial %" PRIu64, m->dev->name,
              (uint64_t)info.initial_bytes);
        m->initial_sent = false;
    }
    m->initial = MIN(info.initial_bytes, INT64_MAX);
    m->dirty = MIN(info.dirty_bytes, INT64_MAX);
}

/* What is left, as the kernel says; of what is being read to its end, it says nothing new. */
static void ask(VFIOMigration *m)
{
    if (m->state != VFIO_DEVICE_STATE_STOP_COPY) {
        ask_size(m);
    }
    if (is_precopy(m) && m->data_fd >= 0) {
        ask_precopy(m);
    }
}

static void take_off(uint64_t *left, uint64_t *n)
{
    uint64_t part = MIN(*left, *n);

    *left -= part;
    *n -= part;
}

static void count_sent(VFIOMigration *m, uint64_t n)
{
    uint64_t all = n;

    m->sent += n;
    take_off(&m->initial, &n);
    take_off(&m->dirty, &n);
    take_off(&m->stopcopy, m->state == VFIO_DEVICE_STATE_STOP_COPY ? &all : &n);
}

static void vfio_mig_pending(void *opaque, bool exact, MigrationPending *p)
{
    VFIOMigration *m = opaque;

    g_mutex_lock(&m->lock);
    if (exact) {
        ask(m);
    }
    p->precopy = m->initial + m->dirty;
    p->stopcopy = m->stopcopy - MIN(m->stopcopy, p->precopy);
    TRACE("vfio_migration_pending",
          "%s exact %d initial %" PRIu64 " dirty %" PRIu64 " all %" PRIu64, m->dev->name, exact,
          m->initial, m->dirty, m->stopcopy);
    g_mutex_unlock(&m->lock);
}

/* ---- source: sending it ---- */

static bool send_piece(VFIOMigration *m, PieceKind kind, const void *data, size_t len,
                       GError **errp)
{
    uint32_t head = GUINT32_TO_LE(kind);

    return migration_send(m->section, &head, sizeof(head), data, len, errp);
}

/* Into the buffer; 0: there is nothing more, for now or in STOP_COPY at all; -1 and the error. */
static ssize_t read_some(VFIOMigration *m, GError **errp)
{
    ssize_t n = 0;

    g_mutex_lock(&m->lock);
    if (m->data_fd >= 0) {
        do {
            n = hostcalls->read(m->data_fd, m->buffer, READ_SIZE);
        } while (n < 0 && errno == EINTR);
        if (n < 0 && errno == ENOMSG && is_precopy(m)) {
            n = 0;
        } else if (n < 0) {
            failed(m, "reading its state", errno, errp);
        } else {
            count_sent(m, (uint64_t)n);
        }
    }
    g_mutex_unlock(&m->lock);
    return n;
}

/* Says so once, and again after there was initial data again. */
static bool tell_initial(VFIOMigration *m, bool drained, GError **errp)
{
    bool tell;

    g_mutex_lock(&m->lock);
    tell = !m->initial_sent && (drained || !m->initial);
    g_mutex_unlock(&m->lock);
    if (tell) {
        migration_switchover_request(m->section);
        if (!send_piece(m, PIECE_INITIAL_SENT, NULL, 0, errp)) {
            return false;
        }
    }
    g_mutex_lock(&m->lock);
    m->initial_sent |= tell;
    g_mutex_unlock(&m->lock);
    return true;
}

static bool vfio_mig_iterate(void *opaque, bool *drained, GError **errp)
{
    VFIOMigration *m = opaque;
    ssize_t n = read_some(m, errp);

    if (n < 0) {
        return false;
    }
    *drained = !n;
    return (!n || send_piece(m, PIECE_DATA, m->buffer, (size_t)n, errp)) &&
           tell_initial(m, *drained, errp);
}

/*
 * A device that runs starts sending while it runs, if it can.  One that has been stopped, or cannot,
 * has nothing to send before the end.
 */
static bool vfio_mig_setup(void *opaque, GError **errp)
{
    VFIOMigration *m = opaque;
    uint32_t state = vfio_migration_state(m);

    if (state != VFIO_DEVICE_STATE_RUNNING && state != VFIO_DEVICE_STATE_STOP) {
        return error_set(errp, "vfio %s: it cannot be migrated while it is in migration state %s",
                         m->dev->name, vfio_mig_state_name(state));
    }
    m->buffer = g_try_malloc(READ_SIZE);
    if (!m->buffer) {
        return error_set(errp, "vfio %s: no memory for the data of its migration", m->dev->name);
    }
    m->active = true;
    m->sent = m->initial = m->dirty = m->stopcopy = 0;
    m->size_warned = m->info_warned = m->initial_sent = false;
    if (state == VFIO_DEVICE_STATE_RUNNING && m->flags & VFIO_MIGRATION_PRE_COPY &&
        !vfio_migration_set_state(m, VFIO_DEVICE_STATE_PRE_COPY, VFIO_DEVICE_STATE_RUNNING, errp)) {
        return false;
    }
    g_mutex_lock(&m->lock);
    ask(m);
    g_mutex_unlock(&m->lock);
    return true;
}

static bool vfio_mig_complete(void *opaque, GError **errp)
{
    VFIOMigration *m = opaque;
    uint64_t total;
    ssize_t n;

    /* A VM that stood still when the migration began has not had it brought there. */
    if (!vfio_migration_set_state(m, VFIO_DEVICE_STATE_STOP_COPY, VFIO_DEVICE_STATE_STOP, errp)) {
        return false;
    }
    while ((n = read_some(m, errp)) > 0) {
        if (!send_piece(m, PIECE_DATA, m->buffer, (size_t)n, errp)) {
            return false;
        }
    }
    TRACE("vfio_migration_complete", "%s %" PRIu64 " bytes", m->dev->name, m->sent);
    total = GUINT64_TO_LE(m->sent);
    m->initial = m->dirty = m->stopcopy = 0;
    return !n && send_piece(m, PIECE_END, &total, sizeof(total), errp);
}

static bool vfio_mig_switchover_ready(void *opaque)
{
    VFIOMigration *m = opaque;
    bool ready;

    g_mutex_lock(&m->lock);
    ready = m->initial_sent;
    g_mutex_unlock(&m->lock);
    return ready;
}

/* ---- destination ---- */

static bool vfio_mig_load_setup(void *opaque, GError **errp)
{
    VFIOMigration *m = opaque;
    uint32_t state = vfio_migration_state(m);

    if (state == VFIO_DEVICE_STATE_RESUMING) {
        return error_set(errp, "vfio %s: it has a part of another state, and no reset",
                         m->dev->name);
    }
    m->active = true;
    m->received = 0;
    m->ended = false;
    return vfio_migration_set_state(m, VFIO_DEVICE_STATE_RESUMING, state, errp);
}

static bool load_data(VFIOMigration *m, const uint8_t *data, size_t len, GError **errp)
{
    while (len) {
        ssize_t n = hostcalls->write(m->data_fd, data, len);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return failed(m, "writing its state", n ? errno : EIO, errp);
        }
        data += n;
        len -= (size_t)n;
        m->received += (uint64_t)n;
    }
    return true;
}

static bool load_initial_sent(VFIOMigration *m, const uint8_t *data, size_t len, GError **errp)
{
    migration_switchover_ack(m->section);
    return true;
}

static bool load_end(VFIOMigration *m, const uint8_t *data, size_t len, GError **errp)
{
    uint64_t total = 0;

    if (len == sizeof(total)) {
        memcpy(&total, data, len);
        total = GUINT64_FROM_LE(total);
    }
    m->ended = true;
    return (len == sizeof(total) && total == m->received) ||
           error_set(errp,
                     "vfio %s: %" PRIu64 " bytes of its state have come, %" PRIu64 " were sent",
                     m->dev->name, m->received, total);
}

static bool vfio_mig_load(void *opaque, const uint8_t *data, size_t len, GError **errp)
{
    static bool (*const loaders[])(VFIOMigration * m, const uint8_t *data, size_t len,
                                   GError **errp) = {
        [PIECE_DATA] = load_data,
        [PIECE_INITIAL_SENT] = load_initial_sent,
        [PIECE_END] = load_end,
    };
    VFIOMigration *m = opaque;
    uint32_t kind = 0;

    if (len >= sizeof(kind)) {
        memcpy(&kind, data, sizeof(kind));
        kind = GUINT32_FROM_LE(kind);
    }
    if (!kind || kind >= G_N_ELEMENTS(loaders) || m->ended || m->data_fd < 0) {
        return error_set(errp, "vfio %s: the stream has a piece of kind %u of its state%s",
                         m->dev->name, kind, m->ended ? " after the end" : "");
    }
    return loaders[kind](m, data + sizeof(kind), len - sizeof(kind), errp);
}

static bool vfio_mig_load_end(void *opaque, GError **errp)
{
    VFIOMigration *m = opaque;
    g_autoptr(GError) err = NULL;

    if (!m->ended) {
        return error_set(errp, "vfio %s: its state is cut off after %" PRIu64 " bytes",
                         m->dev->name, m->received);
    }
    if (!vfio_migration_set_state(m, VFIO_DEVICE_STATE_STOP, VFIO_DEVICE_STATE_STOP, &err)) {
        return error_set(errp, "%s; its driver does not take the state that was sent",
                         err->message);
    }
    TRACE("vfio_migration_loaded", "%s %" PRIu64 " bytes", m->dev->name, m->received);
    return true;
}

/* ---- the end of either ---- */

/* A part of a state is none: only a reset, or closing it, makes a device of that again. */
static bool leave_resuming(VFIOMigration *m, GError **errp)
{
    if (m->dev->flags & VFIO_DEVICE_FLAGS_RESET) {
        return vfio_migration_reset(m, errp);
    }
    return vfio_migration_set_state(m, VFIO_DEVICE_STATE_STOP, VFIO_DEVICE_STATE_STOP, errp);
}

/*
 * Where the VM runs, so does the device.  Where it stands still, the device does too: forever, if the
 * other side has taken over, or until the VM's start makes it run.
 */
static void vfio_mig_cleanup(void *opaque)
{
    VFIOMigration *m = opaque;
    uint32_t state = vfio_migration_state(m);
    uint32_t want = run_state_is_live() ? VFIO_DEVICE_STATE_RUNNING : VFIO_DEVICE_STATE_STOP;
    g_autoptr(GError) err = NULL;
    bool ok = true;

    m->active = false;
    if (state == VFIO_DEVICE_STATE_RESUMING) {
        ok = leave_resuming(m, &err);
    } else if (vfio_mig_state_transfer(state) == VFIO_MIG_SAVING) {
        ok = vfio_migration_set_state(m, want, want, &err);
    }
    if (!ok) {
        error_report("%s", err->message);
    }
    g_clear_pointer(&m->buffer, g_free);
}

void vfio_migration_was_reset(VFIODevice *dev)
{
    VFIOMigration *m = dev->migration;
    g_autoptr(GError) err = NULL;
    uint32_t before;

    if (!m || !m->section) {
        return;
    }
    before = vfio_migration_state(m);
    if (!vfio_migration_refresh(m, &err)) {
        g_prefix_error(&err, "vfio %s: after a reset: ", dev->name);
        vfio_migration_report(g_steal_pointer(&err));
    } else if (m->active && vfio_migration_state(m) != before) {
        error_set(&err, "vfio %s: it was reset while its state was being transferred", dev->name);
        vfio_migration_report(g_steal_pointer(&err));
    }
}

const MigrationOps vfio_migration_ops = {
    .setup = vfio_mig_setup,
    .pending = vfio_mig_pending,
    .iterate = vfio_mig_iterate,
    .complete = vfio_mig_complete,
    .switchover_ready = vfio_mig_switchover_ready,
    .cleanup = vfio_mig_cleanup,
    .load_setup = vfio_mig_load_setup,
    .load = vfio_mig_load,
    .load_end = vfio_mig_load_end,
};
