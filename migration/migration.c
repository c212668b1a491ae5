/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The source.  A thread of its own goes through the phases:
 *
 *   setup       connect, say what comes and what this machine is; devices and dirty logs start
 *   active      passes: send what is dirty (RAM, and each device in a thread beside it), learn what
 *               became dirty meanwhile; until what is left fits into the downtime
 *   device      the VM is stopped; the rest, the devices' last state, the states of vmstate.h
 *   completed   the destination has said that it has loaded all, and was told to go
 *
 * Whatever fails before that last word, here or there, leaves the VM with the source, which runs on
 * as it did before.  Where there is no way back (a file, a command), the last byte written is the
 * last word.
 *
 * Locks: what changes the machine is done in the main thread (migration_main_call); m.lock guards
 * the reason of a failure and what the threads wait for, and is a leaf.
 */
#include <string.h>

#include "core/event.h"
#include "core/lock.h"
#include "core/runstate.h"
#include "cpr-internal.h"
#include "internal.h"
#include "migration/control.h"
#include "multifd-connect.h"
#include "migration/vmstate.h"
#include "util/error.h"
#include "util/trace.h"

/* What one pass may take of a device that fills faster than it can be sent. */
#define SECTION_PASS_BYTES (256ULL << 20)
/* How long an answer is waited for when nothing can be sent any more. */
#define ANSWER_US G_USEC_PER_SEC
/* Passes that are shorter tell nothing about the bandwidth. */
#define MEASURE_US 20000

typedef struct Migration {
    /* Set before the thread starts. */
    MigrationAddress *address;
    MigrationAddress *cpr_address; /* of cpr-transfer, else NULL */
    bool cpr;                      /* memory and devices stay where they are */
    GCancellable *cancel;
    GThread *thread;
    uint8_t uuid[16];
    unsigned channels; /* of multifd, 0: none */
    /* m.lock */
    GMutex lock;
    GCond changed;
    GError *err;
    bool cancelled, confirmed, may_continue;
    bool over; /* the destination was told to go, or the stream is complete */
    Stream *streams[1 + MULTIFD_MAX];
    unsigned nr_streams;
    MigrationChannel *cpr_channel;
    GThread *reader; /* of the way back */
    gint stop;       /* atomic: err or cancelled is set */
    gint urgent;     /* atomic: the VM stands still, max-bandwidth does not count */
    /* Machine lock. */
    GPtrArray *sections;
    bool was_running;
    RunState old_state;
    bool ending;   /* the process is: the VM is not to run any more */
    bool finished; /* the thread is about to end */
    GByteArray *states;
    EndRecord end;
    /* For query-migrate; atomic, us. */
    int64_t started, setup_done, stopped, ended;
    uint64_t bandwidth; /* bytes/s, measured */
    uint64_t pending;   /* bytes, of all, when it was last asked */
    uint64_t section_bytes, precopy_bytes, sent;
    /* rate limit: m.lock */
    int64_t window;
    uint64_t window_bytes;
} Migration;

static Migration m;

/* ---- calls into the main thread ---- */

typedef struct MainCall {
    bool (*fn)(GError **errp);
    GError *err;
    bool ok, done;
} MainCall;

static GMutex call_lock;
static GCond call_done;

static gboolean run_main_call(gpointer opaque)
{
    MainCall *call = opaque;
    bool ok = call->fn(&call->err);

    g_mutex_lock(&call_lock);
    call->ok = ok;
    call->done = true;
    g_cond_broadcast(&call_done);
    g_mutex_unlock(&call_lock);
    return G_SOURCE_REMOVE;
}

bool migration_main_call(bool (*fn)(GError **errp), GError **errp)
{
    MainCall call = { .fn = fn };
    g_autoptr(GSource) source = g_idle_source_new();

    g_source_set_priority(source, G_PRIORITY_HIGH);
    g_source_set_callback(source, run_main_call, &call, NULL);
    g_source_attach(source, NULL);
    g_mutex_lock(&call_lock);
    while (!call.done) {
        g_cond_wait(&call_done, &call_lock);
    }
    g_mutex_unlock(&call_lock);
    if (call.err) {
        g_propagate_error(errp, call.err);
    }
    return call.ok;
}

/* ---- failure and cancelling ---- */

/* Whatever waits in a channel ends.  m.lock held. */
static void shut_down_channels(void)
{
    g_cancellable_cancel(m.cancel);
    for (unsigned i = 0; i < m.nr_streams; i++) {
        migration_channel_shutdown(m.streams[i]->channel);
    }
    if (m.cpr_channel) {
        migration_channel_shutdown(m.cpr_channel);
    }
    g_cond_broadcast(&m.changed);
}

static void fail(const GError *err)
{
    g_mutex_lock(&m.lock);
    if (!m.over && !g_atomic_int_get(&m.stop)) {
        m.err = g_error_copy(err);
        g_atomic_int_set(&m.stop, 1);
        shut_down_channels();
    }
    g_mutex_unlock(&m.lock);
}

/* A destination that fails says why, and then takes no more: its word comes before our own. */
static void fail_sending(const GError *err)
{
    gint64 until = g_get_monotonic_time() + ANSWER_US;
    bool broken = false;

    g_mutex_lock(&m.lock);
    for (unsigned i = 0; i < m.nr_streams; i++) {
        broken |= g_atomic_int_get(&m.streams[i]->broken);
    }
    while (broken && m.reader && !g_atomic_int_get(&m.stop) &&
           g_cond_wait_until(&m.changed, &m.lock, until)) {
    }
    g_mutex_unlock(&m.lock);
    fail(err);
}

void migration_set_error(const GError *err)
{
    if (m.thread) {
        fail(err);
    }
}

void migration_cancel(void)
{
    bool cancelled;

    g_mutex_lock(&m.lock);
    cancelled = m.thread && !m.finished && !m.over && !g_atomic_int_get(&m.stop);
    if (cancelled) {
        m.cancelled = true;
        g_atomic_int_set(&m.stop, 1);
        shut_down_channels();
    }
    g_mutex_unlock(&m.lock);
    if (cancelled) {
        migration_set_status(MIGRATION_STATUS_CANCELLING);
    }
}

static bool stopping(void *opaque)
{
    return g_atomic_int_get(&m.stop);
}

/* The error of the thread itself says less than the reason why the channels were shut down. */
static bool stopped_error(GError **errp)
{
    return error_set(errp, "the migration was stopped");
}

static void set_status(MigrationStatus status)
{
    machine_lock();
    if (!g_atomic_int_get(&m.stop)) {
        migration_set_status(status);
    }
    machine_unlock();
}

bool migration_is_running(void)
{
    return m.thread && !m.finished;
}

MigMode migration_mode(void)
{
    return migration_parameters.mode;
}

/* ---- the channels ---- */

static bool add_stream(MigrationChannel *channel, GError **errp)
{
    bool stopped;

    g_mutex_lock(&m.lock);
    m.streams[m.nr_streams++] = stream_new(channel);
    stopped = g_atomic_int_get(&m.stop);
    g_mutex_unlock(&m.lock);
    return !stopped || stopped_error(errp);
}

static bool connect_main(GError **errp)
{
    MigrationChannel *channel = migration_connect(m.address, m.cancel, errp);
    Hello hello = { .version = STREAM_VERSION, .channels = m.channels };

    if (!channel || !add_stream(channel, errp)) {
        return false;
    }
    memcpy(hello.uuid, m.uuid, sizeof(hello.uuid));
    hello.flags = migration_channel_is_duplex(channel) ? HELLO_CONFIRMED : 0;
    return stream_send(m.streams[0], RECORD_HELLO, 0, &hello, sizeof(hello), NULL, 0, errp);
}

static bool connect_channels(GError **errp)
{
    MigrationChannel *channels[MULTIFD_MAX];
    bool ok = true;

    if (!connect_main(errp) ||
        !migration_connect_many(m.address, m.uuid, m.channels, channels, m.cancel, errp)) {
        return false;
    }
    for (unsigned i = 0; i < m.channels; i++) {
        ok = add_stream(channels[i], ok ? errp : NULL) && ok;
    }
    return ok;
}

static bool is_duplex(void)
{
    return migration_channel_is_duplex(m.streams[0]->channel);
}

/* What the destination says: the name of what it refuses, acknowledgements, the end. */
static bool take_answer(Stream *s, GByteArray *buf, GError **errp)
{
    unsigned section;

    if (!stream_next(s, errp) || !stream_payload(s, buf, errp)) {
        return false;
    }
    section = s->record.section;
    switch (s->record.type) {
    case RECORD_ACK:
        if (section < m.sections->len) {
            g_atomic_int_inc(&((MigrationSection *)m.sections->pdata[section])->acked);
            return true;
        }
        break;
    case RECORD_READY:
        g_mutex_lock(&m.lock);
        m.confirmed = true;
        g_cond_broadcast(&m.changed);
        g_mutex_unlock(&m.lock);
        return true;
    case RECORD_FAILED:
        return error_set(errp, "destination: %s", stream_printable((char *)buf->data));
    }
    return error_set(errp, "the destination sent a record '%s'", record_name(s->record.type));
}

static void *reader(void *opaque)
{
    g_autoptr(GByteArray) buf = g_byte_array_new();
    g_autoptr(GError) err = NULL;

    while (take_answer(m.streams[0], buf, &err)) {
    }
    fail(err); /* no-op when it is over */
    return NULL;
}

/* ---- rate ---- */

void migration_rate_limit(uint64_t bytes)
{
    uint64_t limit = migration_max_bandwidth();
    int64_t now = g_get_monotonic_time(), wait;

    if (!limit || g_atomic_int_get(&m.urgent)) {
        return;
    }
    g_mutex_lock(&m.lock);
    if (now - m.window > G_USEC_PER_SEC / 10) { /* what was not used is lost */
        m.window = MAX(m.window + (int64_t)(m.window_bytes * 1e6 / limit), now);
        m.window_bytes = 0;
    }
    m.window_bytes += bytes;
    wait = m.window + (int64_t)(m.window_bytes * 1e6 / limit);
    /* Whoever changes the limit is not to wait for what the old one would have taken. */
    while (wait > now && !g_atomic_int_get(&m.stop) && migration_max_bandwidth() == limit) {
        g_cond_wait_until(&m.changed, &m.lock, MIN(wait, now + G_USEC_PER_SEC / 10));
        now = g_get_monotonic_time();
    }
    g_mutex_unlock(&m.lock);
}

static uint64_t bytes_sent(void)
{
    uint64_t n = 0;

    for (unsigned i = 0; i < m.nr_streams; i++) {
        n += __atomic_load_n(&m.streams[i]->sent, __ATOMIC_RELAXED);
    }
    return n;
}

/* ---- sections ---- */

bool migration_send(MigrationSection *s, const void *head, size_t head_len, const void *data,
                    size_t len, GError **errp)
{
    if (head_len + len > MIGRATION_PIECE_MAX) {
        return error_set(errp, "%s: a piece of %zu bytes is too large", s->id, head_len + len);
    }
    migration_rate_limit(head_len + len);
    __atomic_fetch_add(&m.section_bytes, head_len + len, __ATOMIC_RELAXED);
    s->sent += head_len + len;
    return stream_send(s->stream, RECORD_SECTION, s->index, head, head_len, data, len, errp);
}

void migration_switchover_request(MigrationSection *s)
{
    g_atomic_int_inc(&s->asked);
}

typedef struct SectionWork {
    MigrationSection *section;
    bool (*fn)(MigrationSection *s, GError **errp);
    GThread *thread;
    GError *err;
} SectionWork;

/*
 * As much as there was when the pass began: a device that goes on changing a little all the time has
 * always something more, and would keep the pass from ending.
 */
static bool iterate(MigrationSection *s, GError **errp)
{
    uint64_t before = s->sent, limit;
    bool drained = false;

    if (s->ops->pending) {
        s->ops->pending(s->opaque, true, &s->pending);
    }
    limit = MIN(s->pending.precopy, SECTION_PASS_BYTES);
    do {
        if (!s->ops->iterate(s->opaque, &drained, errp)) {
            return false;
        }
    } while (!drained && !stopping(NULL) && s->sent - before < limit);
    return true;
}

static bool complete(MigrationSection *s, GError **errp)
{
    return s->ops->complete(s->opaque, errp);
}

static void *section_thread(void *opaque)
{
    SectionWork *w = opaque;

    g_mutex_lock(&w->section->busy);
    if (w->section->gone) {
        error_set(&w->err, "%s is gone", w->section->id);
    } else {
        w->fn(w->section, &w->err);
    }
    g_mutex_unlock(&w->section->busy);
    if (w->err) {
        fail_sending(w->err);
    }
    return NULL;
}

/* All sections, a thread each, beside a pass over RAM in this thread. */
static bool everything(bool (*fn)(MigrationSection *s, GError **errp), GError **errp)
{
    unsigned first = m.channels ? 1 : 0, n = m.channels ?: 1;
    const guint sections = m.sections->len;
    g_autofree SectionWork *work = g_new0(SectionWork, sections);
    g_autoptr(GError) err = NULL;

    for (guint i = 0; i < sections; i++) {
        work[i] = (SectionWork) { m.sections->pdata[i], fn };
        work[i].section->stream = m.streams[first + i % n];
        work[i].thread = g_thread_try_new("mig/device", section_thread, &work[i], NULL);
    }
    if (!ram_save_pass(&m.streams[first], n, stopping, NULL, &err)) {
        fail_sending(err);
    }
    for (guint i = 0; i < sections; i++) {
        if (work[i].thread) {
            g_thread_join(work[i].thread);
        } else {
            section_thread(&work[i]);
        }
        g_clear_error(&work[i].err);
    }
    for (unsigned i = 0; i < m.nr_streams && !stopping(NULL); i++) {
        if (!stream_send(m.streams[i], RECORD_SYNC, 0, NULL, 0, NULL, 0, errp)) {
            return false;
        }
    }
    return !stopping(NULL) || stopped_error(errp);
}

/* Bytes that are left; @exact: the devices are asked. */
static uint64_t pending(bool exact)
{
    uint64_t n = ram_stats.remaining;

    for (guint i = 0; i < m.sections->len; i++) {
        MigrationSection *s = m.sections->pdata[i];

        g_mutex_lock(&s->busy);
        if (!s->gone && s->ops->pending) {
            s->ops->pending(s->opaque, exact, &s->pending);
        }
        g_mutex_unlock(&s->busy);
        n += MIN(s->pending.precopy, UINT64_MAX / 4) + MIN(s->pending.stopcopy, UINT64_MAX / 4);
        n = MIN(n, UINT64_MAX / 2);
    }
    m.pending = n;
    return n;
}

static bool devices_ready(void)
{
    for (guint i = 0; i < m.sections->len; i++) {
        MigrationSection *s = m.sections->pdata[i];
        bool ready = true;

        if (!migration_capability(MIG_CAP_SWITCHOVER_ACK) || !s->ops->switchover_ready) {
            continue;
        }
        g_mutex_lock(&s->busy);
        if (!s->gone) {
            ready = s->ops->switchover_ready(s->opaque) &&
                    g_atomic_int_get(&s->acked) >= g_atomic_int_get(&s->asked);
        }
        g_mutex_unlock(&s->busy);
        if (!ready) {
            return false;
        }
    }
    return true;
}

/* ---- the phases ---- */

static bool setup(GError **errp)
{
    const char *reason = migration_blocker(migration_mode());

    if (reason) {
        return error_set(errp, "%s", reason);
    }
    if (m.cpr) {
        cpr_begin();
        m.sections = g_ptr_array_new();
        return true;
    }
    m.sections = migration_sections_take();
    if (!ram_save_setup(errp)) {
        return false;
    }
    for (guint i = 0; i < m.sections->len; i++) {
        MigrationSection *s = m.sections->pdata[i];

        s->set_up = true; /* also of one that fails */
        s->stream = m.streams[m.channels ? 1 + i % m.channels : 0];
        if (s->ops->setup && !s->ops->setup(s->opaque, errp)) {
            return false;
        }
    }
    return true;
}

static bool send_machine(GError **errp)
{
    g_autofree char *text = NULL;

    machine_lock();
    text = migration_machine_describe(m.sections);
    machine_unlock();
    return stream_send(m.streams[0], RECORD_MACHINE, 0, text, strlen(text), NULL, 0, errp);
}

static void sync_dirty(void)
{
    JsonObject *data = json_object_new();

    machine_lock();
    ram_save_sync();
    json_object_set_int_member(data, "pass", (gint64)ram_stats.dirty_sync_count);
    if (migration_capability(MIG_CAP_EVENTS)) {
        event_emit("MIGRATION_PASS", data);
    } else {
        json_object_unref(data);
    }
    machine_unlock();
}

/* Whether what is left can be sent within the downtime. */
static bool fits(void)
{
    uint64_t bandwidth = migration_avail_switchover_bandwidth() ?: m.bandwidth;
    double limit = bandwidth / 1000.0 * migration_downtime_limit();

    return (pending(false) <= limit || m.sections->len) && pending(true) <= limit;
}

static bool precopy(GError **errp)
{
    bool running;

    do {
        int64_t start = g_get_monotonic_time(), took;
        uint64_t before = bytes_sent();

        if (!everything(iterate, errp)) {
            return false;
        }
        took = g_get_monotonic_time() - start;
        if (took >= MEASURE_US || !m.bandwidth) {
            m.bandwidth = (bytes_sent() - before) * 1e6 / MAX(took, 1);
        }
        machine_lock();
        running = run_state_is_running();
        machine_unlock();
        if (running) {
            sync_dirty();
            migration_throttle(ram_stats.remaining, bytes_sent() - before);
        }
        TRACE("migration_pass", "pending %" G_GUINT64_FORMAT " bandwidth %" G_GUINT64_FORMAT,
              pending(false), m.bandwidth);
    } while (!stopping(NULL) && running && !(fits() && devices_ready()));
    return true;
}

static bool stop_vm(GError **errp)
{
    m.was_running = run_state_is_running();
    m.old_state = run_state();
    m.stopped = g_get_monotonic_time();
    vm_stop(RUN_STATE_FINISH_MIGRATE);
    m.precopy_bytes = bytes_sent();
    if (!m.cpr) {
        ram_save_sync();
    }
    return !stopping(NULL) || stopped_error(errp);
}

void migration_request_again(const EndRecord *end)
{
    if (end->reset) {
        system_reset_request(end->reset);
    }
    if (end->shutdown) {
        system_shutdown_request(end->shutdown);
    }
}

static bool save_states(GError **errp)
{
    ShutdownCause reset, shutdown;

    system_requests_take(&reset, &shutdown);
    m.end = (EndRecord) { m.was_running, reset, shutdown };
    m.states = g_byte_array_new();
    return vmstate_save_all(m.states, errp) &&
           (m.states->len <= RECORD_MAX ||
            error_set(errp,
                      "the states of the machine are %u bytes, more than a stream has place for",
                      m.states->len));
}

/* The user has something to do between the last guest instruction and the last device state. */
static void wait_for_user(void)
{
    set_status(MIGRATION_STATUS_PRE_SWITCHOVER);
    g_mutex_lock(&m.lock);
    while (!m.may_continue && !stopping(NULL)) {
        g_cond_wait(&m.changed, &m.lock);
    }
    g_mutex_unlock(&m.lock);
}

static bool send_devices(GError **errp)
{
    return m.cpr_address ? cpr_send_switchover(m.cpr_channel, errp)
           : m.cpr       ? migration_main_call(cpr_exec_stop, errp)
                         : everything(complete, errp);
}

static bool send_rest(GError **errp)
{
    return send_devices(errp) && migration_main_call(save_states, errp) &&
           stream_send(m.streams[0], RECORD_STATES, 0, m.states->data, m.states->len, NULL, 0,
                       errp) &&
           stream_send(m.streams[0], RECORD_END, 0, &m.end, sizeof(m.end), NULL, 0, errp);
}

/* From here on the VM is the destination's, or it stays ours. */
static bool hand_over(GError **errp)
{
    bool over;

    for (unsigned i = 0; i < m.nr_streams && !is_duplex(); i++) {
        if (!migration_channel_finish(m.streams[i]->channel, errp)) {
            return false;
        }
    }
    if (m.cpr && !m.cpr_address) {
        return !stopping(NULL) && migration_main_call(cpr_exec, errp);
    }
    g_mutex_lock(&m.lock);
    while (is_duplex() && !m.confirmed && !stopping(NULL)) {
        g_cond_wait(&m.changed, &m.lock);
    }
    over = m.over = !g_atomic_int_get(&m.stop);
    g_mutex_unlock(&m.lock);
    if (!over) {
        return stopped_error(errp);
    }
    if (is_duplex() && !stream_send(m.streams[0], RECORD_GO, 0, NULL, 0, NULL, 0, errp)) {
        g_mutex_lock(&m.lock);
        m.over = false; /* what was not sent whole moves nobody to go */
        g_mutex_unlock(&m.lock);
        return false;
    }
    return true;
}

static bool switchover(GError **errp)
{
    g_atomic_int_set(&m.urgent, 1);
    migration_throttle_end();
    if (!migration_main_call(stop_vm, errp)) {
        return false;
    }
    if (migration_capability(MIG_CAP_PAUSE_BEFORE_SWITCHOVER)) {
        wait_for_user();
    }
    set_status(MIGRATION_STATUS_DEVICE);
    return send_rest(errp) && hand_over(errp);
}

/* The new process makes its machine of what it gets here, while the VM runs on. */
static bool connect_cpr(GError **errp)
{
    MigrationChannel *channel = migration_connect(m.cpr_address, m.cancel, errp);

    g_mutex_lock(&m.lock);
    m.cpr_channel = channel;
    g_mutex_unlock(&m.lock);
    return channel && !stopping(NULL) && cpr_send_objects(channel, errp);
}

static bool run(GError **errp)
{
    g_autoptr(GError) err = NULL;

    if (m.cpr_address && !connect_cpr(errp)) {
        return stopping(NULL) ? stopped_error(NULL) : false;
    }
    if (!connect_channels(errp) || !migration_main_call(setup, errp)) {
        return false;
    }
    if (is_duplex()) {
        m.reader = g_thread_try_new("mig/answers", reader, NULL, &err);
        if (!m.reader) {
            return error_set(errp, "%s", err->message);
        }
    }
    if (!send_machine(errp) || (m.cpr_address && !cpr_await_match(m.cpr_channel, errp))) {
        return false;
    }
    m.setup_done = g_get_monotonic_time();
    set_status(MIGRATION_STATUS_ACTIVE);
    return (m.cpr || precopy(errp)) && switchover(errp);
}

/* In the main thread, the thread being done: the machine as it is to be from now on. */
static bool finish(GError **errp)
{
    bool done = m.over;

    m.ended = g_get_monotonic_time();
    m.sent = bytes_sent();
    ram_save_cleanup();
    if (m.sections && !done) {
        migration_sections_release(g_steal_pointer(&m.sections));
    }
    if (m.cpr) {
        if (done) {
            cpr_give_away();
        } else {
            cpr_undo();
        }
        g_clear_pointer(&m.cpr_channel, migration_channel_free);
    }
    if (done) {
        vm_stop(RUN_STATE_POSTMIGRATE);
        migration_set_status(MIGRATION_STATUS_COMPLETED);
        migration_sections_release(g_steal_pointer(&m.sections)); /* out of the downtime */
    } else {
        if (m.stopped && !m.ending) {
            vm_stop(m.old_state == RUN_STATE_RUNNING ? RUN_STATE_PAUSED : m.old_state);
            if (m.was_running) {
                vm_start();
            }
            migration_request_again(&m.end);
        }
        migration_set_status(m.cancelled ? MIGRATION_STATUS_CANCELLED : MIGRATION_STATUS_FAILED);
    }
    for (unsigned i = 0; i < m.nr_streams; i++) {
        stream_free(g_steal_pointer(&m.streams[i]));
    }
    m.nr_streams = 0;
    g_clear_pointer(&m.states, g_byte_array_unref);
    m.finished = true;
    return true;
}

static void *migration_thread(void *opaque)
{
    GError *err = NULL;

    if (!run(&err)) {
        fail_sending(err);
        g_error_free(err);
    }
    migration_throttle_end();
    g_mutex_lock(&m.lock);
    shut_down_channels();
    g_mutex_unlock(&m.lock);
    if (m.reader) {
        g_thread_join(m.reader);
    }
    migration_main_call(finish, NULL);
    return NULL;
}

/* ---- what the user asks for ---- */

MigrationAddress *migration_main_address(const char *uri, JsonArray *channels, GError **errp)
{
    JsonObject *channel;

    if (uri && channels) {
        error_set(errp, "'uri' and 'channels' arguments are mutually exclusive; exactly one of the "
                        "two should be present in 'migrate' qmp command");
        return NULL;
    }
    if (uri) {
        return migration_address_parse(uri, errp);
    }
    if (!channels || json_array_get_length(channels) != 1 ||
        !JSON_NODE_HOLDS_OBJECT(json_array_get_element(channels, 0))) {
        error_set(errp, "need one channel of type main, as 'uri' or in 'channels'");
        return NULL;
    }
    channel = json_array_get_object_element(channels, 0);
    if (g_strcmp0(json_object_get_string_member_with_default(channel, "channel-type", NULL),
                  "main") ||
        !json_object_has_member(channel, "addr") ||
        !JSON_NODE_HOLDS_OBJECT(json_object_get_member(channel, "addr"))) {
        error_set(errp, "a channel needs channel-type \"main\" and an 'addr'");
        return NULL;
    }
    return migration_address_from_json(json_object_get_object_member(channel, "addr"), errp);
}

static bool may_start(const MigrationAddress *address, const MigrationAddress *cpr_address,
                      GError **errp)
{
    RunState state = run_state();
    const char *reason = migration_blocker(migration_mode());

    if (migration_is_running()) {
        return error_set(errp, "There's a migration process in progress");
    }
    if (state == RUN_STATE_INMIGRATE) {
        return error_set(errp, "Guest is waiting for an incoming migration");
    }
    if (state == RUN_STATE_POSTMIGRATE) {
        return error_set(errp, "Can't migrate the vm that was paused due to previous migration");
    }
    if (reason) {
        return error_set(errp, "%s", reason);
    }
    return cpr_may_start(migration_mode(), address, cpr_address, errp);
}

/* What is left of the one before. */
static void forget(void)
{
    if (m.thread) {
        g_thread_join(m.thread);
    }
    g_clear_pointer(&m.address, migration_address_free);
    g_clear_pointer(&m.cpr_address, migration_address_free);
    g_clear_object(&m.cancel);
    g_clear_error(&m.err);
    memset(&m, 0, sizeof(m));
    g_mutex_init(&m.lock);
    g_cond_init(&m.changed);
}

bool migration_start(const char *uri, JsonArray *channels, GError **errp)
{
    g_autoptr(MigrationAddress) address = NULL, cpr_address = NULL;
    g_autoptr(JsonArray) main_channels = NULL;
    g_autoptr(GError) err = NULL;

    if (!cpr_split_channels(channels, &main_channels, &cpr_address, errp)) {
        return false;
    }
    address = migration_main_address(uri, main_channels, errp);
    if (!address || !may_start(address, cpr_address, errp)) {
        return false;
    }
    if (migration_capability(MIG_CAP_MULTIFD) && !migration_address_is_socket(address)) {
        return error_set(errp, "Migration requires multi-channel URIs (e.g. tcp)");
    }
    forget();
    m.address = g_steal_pointer(&address);
    m.cpr_address = g_steal_pointer(&cpr_address);
    m.cpr = 1u << migration_mode() & MIG_MODE_CPR_LIVE;
    m.cancel = g_cancellable_new();
    m.channels = migration_capability(MIG_CAP_MULTIFD) ? migration_parameters.multifd_channels : 0;
    for (unsigned i = 0; i < sizeof(m.uuid); i++) {
        m.uuid[i] = (uint8_t)g_random_int();
    }
    m.started = g_get_monotonic_time();
    migration_begin_status();
    m.thread = g_thread_try_new("migration", migration_thread, NULL, &err);
    if (!m.thread) {
        migration_set_status(MIGRATION_STATUS_FAILED);
        return error_set(errp, "%s", err->message);
    }
    return true;
}

bool migration_continue(const char *state, GError **errp)
{
    if (!g_str_equal(state, migration_status_name(migration_status()))) {
        return error_set(errp, "Migration not in expected state: %s",
                         migration_status_name(migration_status()));
    }
    if (migration_status() != MIGRATION_STATUS_PRE_SWITCHOVER) {
        return true; /* nothing waits, and what will wait later is not meant */
    }
    g_mutex_lock(&m.lock);
    m.may_continue = true;
    g_cond_broadcast(&m.changed);
    g_mutex_unlock(&m.lock);
    return true;
}

void migration_source_shutdown(void)
{
    m.ending = true;
    migration_cancel();
    while (migration_is_running()) {
        g_main_context_iteration(NULL, TRUE);
    }
    forget();
}

/* ---- query-migrate ---- */

static int64_t ms(int64_t from, int64_t to)
{
    return from && to > from ? (to - from + 500) / 1000 : 0;
}

static JsonObject *query_ram(void)
{
    JsonObject *ram = json_object_new();
    uint64_t sent = m.nr_streams ? bytes_sent() : m.sent;
    int64_t end = m.ended ?: g_get_monotonic_time();
    double took = MAX(end - m.setup_done, 1);
    const struct {
        const char *name;
        uint64_t value;
    } numbers[] = {
        { "transferred", sent },
        { "remaining", ram_stats.remaining },
        { "total", ram_stats.total },
        { "duplicate", ram_stats.duplicate },
        { "normal", ram_stats.normal },
        { "normal-bytes", ram_stats.normal * RAM_DIRTY_PAGE },
        { "dirty-pages-rate", ram_stats.dirty_pages_rate },
        { "dirty-sync-count", ram_stats.dirty_sync_count },
        { "dirty-sync-missed-zero-copy", 0 },
        { "page-size", RAM_DIRTY_PAGE },
        { "multifd-bytes", m.channels ? sent : 0 },
        { "pages-per-second", (ram_stats.normal + ram_stats.duplicate) * 1e6 / took },
        { "precopy-bytes", m.precopy_bytes ?: sent },
        { "downtime-bytes", m.precopy_bytes ? sent - m.precopy_bytes : 0 },
        { "postcopy-bytes", 0 },
        { "postcopy-requests", 0 },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(numbers); i++) {
        json_object_set_int_member(ram, numbers[i].name, (gint64)numbers[i].value);
    }
    json_object_set_double_member(ram, "mbps", sent * 8 / took);
    return ram;
}

static bool moves(MigrationStatus status)
{
    return status == MIGRATION_STATUS_ACTIVE || status == MIGRATION_STATUS_PRE_SWITCHOVER ||
           status == MIGRATION_STATUS_DEVICE || status == MIGRATION_STATUS_CANCELLING;
}

void migration_source_query(JsonObject *o)
{
    MigrationStatus status = migration_status();
    int64_t now = g_get_monotonic_time();

    if (!m.started) {
        return;
    }
    json_object_set_int_member(o, "total-time", ms(m.started, m.ended ?: now));
    if (m.setup_done) {
        json_object_set_int_member(o, "setup-time", ms(m.started, m.setup_done));
    }
    if (m.over && m.ended) {
        json_object_set_int_member(o, "downtime", ms(m.stopped, m.ended));
    } else if (moves(status)) {
        json_object_set_int_member(o, "expected-downtime",
                                   m.bandwidth ? (gint64)(m.pending * 1000.0 / m.bandwidth)
                                               : (gint64)migration_downtime_limit());
    }
    if (moves(status) || m.over) {
        json_object_set_object_member(o, "ram", query_ram());
        json_object_set_int_member(o, "remaining", (gint64)(m.over ? 0 : m.pending));
    }
    if (m.section_bytes || (m.sections && m.sections->len)) {
        JsonObject *vfio = json_object_new();

        json_object_set_int_member(vfio, "transferred", (gint64)m.section_bytes);
        json_object_set_object_member(o, "vfio", vfio);
    }
    g_mutex_lock(&m.lock);
    if (m.err) {
        json_object_set_string_member(o, "error-desc", m.err->message);
    }
    g_mutex_unlock(&m.lock);
}
