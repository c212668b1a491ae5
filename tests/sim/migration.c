/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Migration of a device, version 2.  Which state is reached through which others is written down
 * here as the kernel's documentation of its states has it, state by state; the program has rules.
 *
 * The stream: records of a header and bytes of the content, and a last one with a sum of it all.
 */
#include "tests/sim/internal.h"

#include <string.h>

#define NR_STATES 8
#define MAGIC     0x53696d4d /* "MmiS" */

enum { E, S, R, SC, RS, RP, PC, PP }; /* the states, in the kernel's order */

static const struct {
    const char *name;
    uint64_t needs;
    uint8_t first_hop[NR_STATES]; /* to  E, S, R, SC, RS, RP, PC, PP */
} states[NR_STATES] = {
    [E] = { "error", 0, { E, E, E, E, E, E, E, E } },
    [S] = { "stop", 1, { E, S, RP, SC, RS, RP, RP, RP } },
    [R] = { "running", 1, { E, RP, R, RP, RP, RP, PC, RP } },
    [SC] = { "stop-copy", 1, { E, S, S, SC, S, S, E, E } },
    [RS] = { "resuming", 1, { E, S, S, S, RS, S, S, S } },
    [RP] = { "running-p2p", 1 | 2, { E, S, R, S, S, RP, R, PP } },
    [PC] = { "pre-copy", 1 | 4, { E, R, R, PP, R, R, PC, PP } },
    [PP] = { "pre-copy-p2p", 1 | 2 | 4, { E, RP, RP, SC, RP, RP, PC, PP } },
};

typedef struct Record {
    uint32_t magic, last; /* the last one */
    uint64_t at, len;     /* of bytes behind this; or the sum, and the length of all */
} Record;

static unsigned under_way, most_under_way;

/* ---- the stream ---- */

static uint64_t sum_of(const GByteArray *content)
{
    uint64_t sum = 1469598103934665603ULL;

    for (guint i = 0; i < content->len; i++) {
        sum = (sum ^ content->data[i]) * 1099511628211ULL;
    }
    return sum;
}

static void put_bytes(SimMigration *m, size_t at, size_t len)
{
    Record r = { MAGIC, 0, at, len };

    g_byte_array_append(m->stream, (const uint8_t *)&r, sizeof(r));
    if (len) {
        g_byte_array_append(m->stream, m->content->data + at, (guint)len);
    }
}

static void put_last(SimMigration *m)
{
    Record r = { MAGIC, 1, sum_of(m->content), m->content->len };

    g_byte_array_append(m->stream, (const uint8_t *)&r, sizeof(r));
}

/* What has been written becomes the content; false: it is none. */
static bool take_stream(SimMigration *m)
{
    g_autoptr(GByteArray) content = g_byte_array_new();
    Record r;

    for (guint at = 0; at + sizeof(r) <= m->stream->len;) {
        memcpy(&r, m->stream->data + at, sizeof(r));
        at += sizeof(r);
        if (r.magic != MAGIC) {
            return false;
        }
        if (r.last) {
            bool ok = at == m->stream->len && r.len == content->len && r.at == sum_of(content);

            if (ok) {
                g_byte_array_unref(m->content);
                m->content = g_steal_pointer(&content);
            }
            return ok;
        }
        if (r.len > m->stream->len - at || r.at > content->len) {
            return false;
        }
        g_byte_array_set_size(content, MAX(content->len, (guint)(r.at + r.len)));
        if (r.len) {
            memcpy(content->data + r.at, m->stream->data + at, r.len);
        }
        at += (guint)r.len;
    }
    return false;
}

static void begin_transfer(SimMigration *m, bool with_content)
{
    m->transfer++;
    m->at = m->initial = 0;
    m->reinit = false;
    g_byte_array_set_size(m->stream, 0);
    if (with_content) {
        put_bytes(m, 0, m->content->len);
        m->initial = m->stream->len;
    }
}

/* ---- transitions ---- */

static bool has_state(uint64_t flags, uint32_t state)
{
    return state < NR_STATES && (flags & states[state].needs) == states[state].needs;
}

uint32_t sim_mig_next_state(uint64_t flags, uint32_t from, uint32_t to)
{
    uint32_t at;

    if (!has_state(flags, from) || !has_state(flags, to)) {
        return E;
    }
    at = states[from].first_hop[to];
    while (at != E && !has_state(flags, at)) {
        at = states[at].first_hop[to];
    }
    return at;
}

static bool is_saving(uint32_t state)
{
    return state == PC || state == PP || state == SC;
}

static void arrive(SimMigration *m, uint32_t state)
{
    m->state = state;
    g_string_append_printf(m->history, "%s%s", m->history->len ? " " : "", states[state].name);
}

/* One hop: 0 or an errno; *@transfer: a descriptor for it is to be made. */
static int step(SimMigration *m, uint32_t to, bool *transfer)
{
    bool saving = is_saving(m->state);

    if (m->fail_errno && m->fail_at == to) {
        int errnum = m->fail_errno;

        m->fail_errno = 0;
        if (m->fail_in != m->state) {
            if (!is_saving(m->fail_in)) {
                m->transfer++;
            }
            arrive(m, m->fail_in);
        }
        return errnum;
    }
    if (m->state == RS && !take_stream(m)) {
        return EINVAL;
    }
    *transfer = to == RS || (is_saving(to) && !saving);
    if (*transfer) {
        begin_transfer(m, to != RS);
    } else if (!is_saving(to)) {
        m->transfer++;
    }
    if (to == SC) {
        put_last(m);
    }
    arrive(m, to);
    return 0;
}

static int set_state(SimDevice *dev, struct vfio_device_feature_mig_state *arg)
{
    SimMigration *m = &dev->mig;
    bool transfer = false;
    int errnum = 0;

    arg->data_fd = -1;
    while (m->state != arg->device_state) {
        uint32_t next = sim_mig_next_state(m->flags, m->state, arg->device_state);

        errnum = next == E ? EINVAL : step(m, next, &transfer);
        if (errnum) {
            return fail(errnum);
        }
    }
    if (transfer) {
        arg->data_fd = sim_mig_file(dev, m->transfer);
    }
    return 0;
}

int sim_mig_state(SimDevice *dev, void *data, bool set)
{
    struct vfio_device_feature_mig_state *arg = data;

    if (set) {
        sim_note("MIG %s to %s", dev->name,
                 arg->device_state < NR_STATES ? states[arg->device_state].name : "?");
        return set_state(dev, arg);
    }
    arg->device_state = dev->mig.state;
    arg->data_fd = -1;
    return 0;
}

int sim_mig_get_flags(SimDevice *dev, void *data, bool set)
{
    ((struct vfio_device_feature_migration *)data)->flags = dev->mig.flags;
    return 0;
}

int sim_mig_data_size(SimDevice *dev, void *data, bool set)
{
    const SimMigration *m = &dev->mig;

    if (m->size_error) {
        return fail(m->size_error);
    }
    ((struct vfio_device_feature_mig_data_size *)data)->stop_copy_length =
        m->size
            ?: is_saving(m->state) ? m->stream->len - m->at + sizeof(Record)
                                   : 2 * sizeof(Record) + m->content->len;
    return 0;
}

int sim_mig_info_v2(SimDevice *dev, void *data, bool set)
{
    if (!(dev->mig.flags & VFIO_MIGRATION_PRE_COPY)) {
        return fail(EINVAL);
    }
    dev->mig.info_v2 = true;
    return 0;
}

void sim_mig_reset(SimDevice *dev)
{
    SimMigration *m = &dev->mig;

    if (m->flags && m->state != R) {
        m->transfer++;
        arrive(m, R);
    }
}

void sim_mig_delay_begin(void)
{
    under_way++;
    most_under_way = MAX(most_under_way, under_way);
}

void sim_mig_delay_end(void)
{
    under_way--;
}

/* ---- a transfer's descriptor ---- */

int sim_mig_ioctl(SimDevice *dev, unsigned transfer, unsigned long request, void *arg)
{
    struct vfio_precopy_info *info = arg;
    SimMigration *m = &dev->mig;

    if (request != VFIO_MIG_GET_PRECOPY_INFO || m->state == RS) {
        return fail(ENOTTY);
    }
    if (info->argsz < sizeof(*info) || (m->state != PC && m->state != PP)) {
        return fail(EINVAL);
    }
    if (transfer != m->transfer) {
        return fail(ENODEV);
    }
    info->flags = m->info_v2 && m->reinit ? VFIO_PRECOPY_INFO_REINIT : 0;
    m->reinit = false;
    info->initial_bytes = m->initial - MIN(m->initial, m->at);
    info->dirty_bytes = m->stream->len - m->at - info->initial_bytes;
    return 0;
}

static size_t at_once(const SimMigration *m, size_t len)
{
    return m->chunk ? MIN(m->chunk, len) : len;
}

ssize_t sim_mig_read(SimDevice *dev, unsigned transfer, void *buf, size_t len)
{
    SimMigration *m = &dev->mig;
    size_t n = at_once(m, MIN(len, m->stream->len - m->at));

    if (m->state == RS) {
        return fail(EBADF);
    }
    if (transfer != m->transfer) {
        return fail(ENODEV);
    }
    if (m->read_error) {
        return fail(m->read_error);
    }
    if (!n && m->state != SC) {
        return fail(ENOMSG);
    }
    if (n) {
        memcpy(buf, m->stream->data + m->at, n);
    }
    m->at += (guint)n;
    if (m->restless && m->state == PC) {
        put_bytes(m, 0, 4096);
    }
    return (ssize_t)n;
}

ssize_t sim_mig_write(SimDevice *dev, unsigned transfer, const void *buf, size_t len)
{
    SimMigration *m = &dev->mig;
    size_t n = at_once(m, len);

    if (transfer != m->transfer) {
        return fail(ENODEV);
    }
    if (m->state != RS) {
        return fail(EBADF);
    }
    if (m->write_error) {
        return fail(m->write_error);
    }
    g_byte_array_append(m->stream, buf, (guint)n);
    return (ssize_t)n;
}

/* ---- for the tests ---- */

void sim_mig_init(SimDevice *dev, uint64_t flags, size_t size)
{
    SimMigration *m = &dev->mig;

    m->flags = flags;
    m->state = R;
    m->content = g_byte_array_new();
    m->stream = g_byte_array_new();
    m->history = g_string_new(NULL);
    g_byte_array_set_size(m->content, (guint)size);
    for (size_t i = 0; i < size; i++) {
        m->content->data[i] = (uint8_t)(i * 7 + i / 251);
    }
}

void sim_mig_free(SimDevice *dev)
{
    SimMigration *m = &dev->mig;

    g_clear_pointer(&m->content, g_byte_array_unref);
    g_clear_pointer(&m->stream, g_byte_array_unref);
    if (m->history) {
        g_string_free(m->history, TRUE);
    }
}

void sim_mig_change(SimDevice *dev, size_t at, uint8_t val)
{
    SimMigration *m = &dev->mig;

    m->content->data[at] = val;
    if (is_saving(m->state)) {
        g_assert_cmpuint(m->state, !=, SC); /* it stands still */
        put_bytes(m, at, 1);
    }
}

void sim_mig_reinit(SimDevice *dev)
{
    SimMigration *m = &dev->mig;

    put_bytes(m, 0, m->content->len);
    m->initial = m->stream->len;
    m->reinit = true;
}

unsigned sim_mig_parallel(void)
{
    return most_under_way;
}

char *sim_mig_take_history(SimDevice *dev)
{
    char *text = g_strdup(dev->mig.history->str);

    g_string_truncate(dev->mig.history, 0);
    return text;
}
