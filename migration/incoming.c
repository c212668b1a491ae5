/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The destination.  A thread waits for the source, checks that both machines are the same, and takes
 * what comes: pages straight to where they belong, pieces of devices to their sections; the states
 * are kept until the end, checked as a whole, and only then loaded.  With multifd each further
 * channel has a thread of its own, and RECORD_SYNC is where all of them wait for each other.
 *
 * When all is loaded the source is told; it has the VM until it answers RECORD_GO.  Whatever fails
 * before ends this process with status 1 (or leaves it waiting for another try), and the source is
 * told the reason.
 */
#include <string.h>

#include "core/lock.h"
#include "core/runstate.h"
#include "cpr-internal.h"
#include "internal.h"
#include "migration/control.h"
#include "multifd-connect.h"
#include "migration/vmstate.h"
#include "util/error.h"
#include "util/trace.h"

typedef struct Incoming {
    char *spec;   /* of -incoming; NULL: none */
    bool waiting; /* this process is a destination, and has no VM yet */
    bool autostart, exit_on_error;
    MigrationListener *listener;
    GCancellable *cancel;
    GThread *thread; /* not joined yet */
    bool finished;   /* it is about to end */
    gint ending;     /* atomic: the process is; set with the lock held */
    GPtrArray *sections;
    GPtrArray *files; /* memory that is not sent */
    RAMLoad *ram;
    Hello hello;
    EndRecord end;
    GByteArray *states;
    /* lock */
    bool ended; /* RECORD_END has come; set by the main channel's thread, which reads it as it is */
    GMutex lock;
    GCond changed;
    Stream *streams[1 + MULTIFD_MAX];
    unsigned nr_streams;
    unsigned at_sync, syncs; /* streams that wait for the others; how often they all met */
    GError *err;             /* the first */
} Incoming;

static Incoming in = { .exit_on_error = true };

bool migration_is_incoming(void)
{
    return in.waiting;
}

/* ---- failure ---- */

static void fail(const GError *err)
{
    g_mutex_lock(&in.lock);
    if (!in.err) {
        in.err = g_error_copy(err);
        for (unsigned i = 1; i < in.nr_streams; i++) {
            migration_channel_shutdown(in.streams[i]->channel);
        }
    }
    g_cond_broadcast(&in.changed);
    g_mutex_unlock(&in.lock);
}

/* Everything meets here; false when one of them failed, or the main one came to its end instead. */
static bool meet(GError **errp)
{
    unsigned before;
    bool ok;

    g_mutex_lock(&in.lock);
    before = in.syncs;
    if (++in.at_sync == in.nr_streams) {
        in.at_sync = 0;
        in.syncs++;
        g_cond_broadcast(&in.changed);
    }
    while (in.syncs == before && !in.err && !in.ended) {
        g_cond_wait(&in.changed, &in.lock);
    }
    ok = in.syncs != before && !in.err;
    g_mutex_unlock(&in.lock);
    return ok || error_set(errp, "another channel failed or ended");
}

static bool answer(RecordType type, unsigned section, const char *text, GError **errp)
{
    return stream_send(in.streams[0], type, section, text, text ? strlen(text) : 0, NULL, 0, errp);
}

/* ---- what comes ---- */

static bool load_section(Stream *s, GByteArray *buf, GError **errp)
{
    unsigned index = s->record.section;
    MigrationSection *section = index < in.sections->len ? in.sections->pdata[index] : NULL;
    bool ok;

    if (!section) {
        return error_set(errp, "a record for device %u of %u", index, in.sections->len);
    }
    if (!stream_payload(s, buf, errp)) {
        return false;
    }
    g_mutex_lock(&section->busy);
    ok = section->gone ? error_set(errp, "%s is gone", section->id)
                       : section->ops->load(section->opaque, buf->data, buf->len, errp);
    g_mutex_unlock(&section->busy);
    return ok;
}

static bool take_states(Stream *s, GByteArray *buf, GError **errp)
{
    bool ok;

    in.states = in.states ?: g_byte_array_new();
    if (!stream_payload(s, in.states, errp)) {
        return false;
    }
    machine_lock();
    ok = vmstate_load_all(in.states->data, in.states->len, false, errp);
    machine_unlock();
    return ok;
}

static bool take_end(Stream *s, GByteArray *buf, GError **errp)
{
    if (!stream_payload(s, buf, errp)) {
        return false;
    }
    if (buf->len != sizeof(in.end)) {
        return error_set(errp, "bad record 'end' of %u bytes", buf->len);
    }
    memcpy(&in.end, buf->data, sizeof(in.end));
    g_mutex_lock(&in.lock);
    in.ended = true;
    g_cond_broadcast(&in.changed);
    g_mutex_unlock(&in.lock);
    if (in.end.state > (END_LIVE | END_ASLEEP) || in.end.reset > SHUTDOWN_CAUSE_GUEST_PANIC ||
        in.end.shutdown > SHUTDOWN_CAUSE_GUEST_PANIC) {
        return error_set(errp, "bad record 'end'");
    }
    return in.states || error_set(errp, "the stream has no states of the machine");
}

static bool take_ram(Stream *s, GByteArray *buf, GError **errp)
{
    return ram_load(in.ram, s, errp);
}

static bool take_sync(Stream *s, GByteArray *buf, GError **errp)
{
    return stream_payload(s, buf, errp) && meet(errp);
}

static bool (*const takers[RECORD__MAX])(Stream *s, GByteArray *buf, GError **errp) = {
    [RECORD_RAM] = take_ram,       [RECORD_SECTION] = load_section, [RECORD_SYNC] = take_sync,
    [RECORD_STATES] = take_states, [RECORD_END] = take_end,
};

/* What other channels than the main one may have, whose threads all run at once. */
static bool is_shared(RecordType type)
{
    return type == RECORD_RAM || type == RECORD_SECTION || type == RECORD_SYNC;
}

/* One record; @buf is kept from one to the next. */
static bool take_record(Stream *s, GByteArray *buf, GError **errp)
{
    if (!stream_next(s, errp)) {
        return false;
    }
    if (!takers[s->record.type] || (s != in.streams[0] && !is_shared(s->record.type))) {
        return error_set(errp, "a record '%s' comes too late or on the wrong channel",
                         record_name(s->record.type));
    }
    return takers[s->record.type](s, buf, errp);
}

/* A channel of multifd: pages and devices only; ends with its stream, which main's end decides. */
static void *channel_thread(void *opaque)
{
    Stream *s = opaque;
    g_autoptr(GByteArray) buf = g_byte_array_new();
    g_autoptr(GError) err = NULL;
    bool ended;

    while (take_record(s, buf, &err)) {
    }
    g_mutex_lock(&in.lock);
    ended = in.ended;
    g_mutex_unlock(&in.lock);
    if (!ended) {
        fail(err);
        answer(RECORD_FAILED, 0, err->message, NULL); /* else the main channel waits for more */
        migration_channel_shutdown(in.streams[0]->channel);
    }
    return NULL;
}

/* ---- the phases ---- */

static bool take_hello(Stream *s, Hello *hello, GByteArray *buf, GError **errp)
{
    if (!stream_next(s, errp) || !stream_payload(s, buf, errp)) {
        return false;
    }
    if (s->record.type != RECORD_HELLO || buf->len != sizeof(*hello)) {
        return error_set(errp, "the stream begins with a record '%s' of %u bytes, not with 'hello'",
                         record_name(s->record.type), buf->len);
    }
    memcpy(hello, buf->data, sizeof(*hello));
    return hello->version == STREAM_VERSION ||
           error_set(errp, "the stream has version %u, here is version %u", hello->version,
                     STREAM_VERSION);
}

static Stream *add_stream(MigrationChannel *channel)
{
    Stream *s = stream_new(channel);

    g_mutex_lock(&in.lock);
    in.streams[in.nr_streams++] = s;
    if (g_atomic_int_get(&in.ending)) { /* it came too late to be shut down with the others */
        migration_channel_shutdown(channel);
    }
    g_mutex_unlock(&in.lock);
    return s;
}

/* As the user has it when the source comes. */
static unsigned multifd_channels(void)
{
    unsigned n;

    machine_lock();
    n = migration_capability(MIG_CAP_MULTIFD) ? migration_parameters.multifd_channels : 0;
    machine_unlock();
    return n;
}

static bool accept_channels(GByteArray *buf, GError **errp)
{
    MigrationChannel *channels[MULTIFD_MAX];
    MigrationChannel *channel = migration_accept(in.listener, in.cancel, errp);
    unsigned wanted;

    if (!channel || !take_hello(add_stream(channel), &in.hello, buf, errp)) {
        return false;
    }
    wanted = multifd_channels();
    if (in.hello.channels != wanted) {
        return error_set(errp, "the source has %u multifd channels, here are %u", in.hello.channels,
                         wanted);
    }
    if (!migration_accept_many(in.listener, in.hello.uuid, wanted, channels, in.cancel, errp)) {
        return false;
    }
    for (unsigned i = 0; i < wanted; i++) {
        add_stream(channels[i]);
    }
    return true;
}

static bool load_setup(GError **errp)
{
    migration_set_status(MIGRATION_STATUS_ACTIVE);
    if (cpr_is_incoming()) {
        return true; /* no memory comes, nor do sections */
    }
    in.ram = ram_load_new(in.files);
    for (guint i = 0; i < in.sections->len; i++) {
        MigrationSection *s = in.sections->pdata[i];

        s->set_up = true;
        s->stream = in.streams[0];
        if (s->ops->load_setup && !s->ops->load_setup(s->opaque, errp)) {
            return false;
        }
    }
    return true;
}

static bool take_sections(GError **errp)
{
    in.sections = cpr_is_incoming() ? g_ptr_array_new() : migration_sections_take();
    return true;
}

static bool take_machine(GByteArray *buf, GError **errp)
{
    Stream *s = in.streams[0];
    bool ok;

    if (!stream_next(s, errp) || !stream_payload(s, buf, errp)) {
        return false;
    }
    if (s->record.type != RECORD_MACHINE) {
        return error_set(errp, "a record '%s' comes before the machine's description",
                         record_name(s->record.type));
    }
    machine_lock();
    ok = migration_machine_check((char *)buf->data, in.sections, &in.files, errp);
    machine_unlock();
    return ok;
}

/* All records, until the main channel's end. */
static bool take_all(GByteArray *buf, GError **errp)
{
    g_autofree GThread **threads = g_new0(GThread *, in.nr_streams);
    bool ok = true;

    for (unsigned i = 1; ok && i < in.nr_streams; i++) {
        threads[i] = g_thread_try_new("mig/channel", channel_thread, in.streams[i], errp);
        ok = threads[i];
    }
    while (ok && !in.ended) {
        ok = take_record(in.streams[0], buf, errp);
    }
    if (!ok && *errp) {
        fail(*errp); /* wakes the others, too */
    }
    for (unsigned i = 1; i < in.nr_streams; i++) {
        migration_channel_shutdown(in.streams[i]->channel);
        if (threads[i]) {
            g_thread_join(threads[i]);
        }
    }
    return ok;
}

static bool load_end(GError **errp)
{
    int64_t t0 = g_get_monotonic_time();

    if (in.end.kept != ram_files_sum(in.files)) {
        return error_set(errp, "the memory that was not sent (x-ignore-shared) is not what the "
                               "source left in its files: they are others, or were written to");
    }
    if (cpr_is_incoming() && !cpr_adopt(errp)) {
        return false;
    }
    run_state_set_asleep(in.end.state & END_ASLEEP); /* the states' alarms may wake it */
    for (guint i = 0; i < in.sections->len; i++) {
        MigrationSection *s = in.sections->pdata[i];

        if (s->gone) {
            return error_set(errp, "%s is gone", s->id);
        }
        if (s->ops->load_end && !s->ops->load_end(s->opaque, errp)) {
            return false;
        }
    }
    if (!vmstate_load_all(in.states->data, in.states->len, true, errp) ||
        !cpr_check_all_taken(errp)) {
        return false;
    }
    TRACE("migration_load_end", "in %" G_GINT64_FORMAT " us", g_get_monotonic_time() - t0);
    return true;
}

/* The source has it in its hands whose the VM is. */
static bool confirm(GByteArray *buf, GError **errp)
{
    Stream *s = in.streams[0];

    if (!(in.hello.flags & HELLO_CONFIRMED)) {
        return true;
    }
    if (!answer(RECORD_READY, 0, NULL, errp) || !stream_next(s, errp) ||
        !stream_payload(s, buf, errp)) {
        g_prefix_error(errp, "all is loaded, but the source does not let go: ");
        return false;
    }
    return s->record.type == RECORD_GO ||
           error_set(errp, "a record '%s' where the source should let go",
                     record_name(s->record.type));
}

void migration_switchover_ack(MigrationSection *s)
{
    g_autoptr(GError) err = NULL;

    if ((in.hello.flags & HELLO_CONFIRMED) && !answer(RECORD_ACK, s->index, NULL, &err)) {
        fail(err);
    }
}

static bool source_is_there(GError **errp)
{
    cpr_incoming_connected();
    return true;
}

static bool receive(GError **errp)
{
    g_autoptr(GByteArray) buf = g_byte_array_new();

    if (!accept_channels(buf, errp)) {
        return false;
    }
    migration_main_call(source_is_there, NULL);
    return migration_main_call(take_sections, errp) && take_machine(buf, errp) &&
           cpr_incoming_matched(errp) && migration_main_call(load_setup, errp) &&
           take_all(buf, errp) && (!cpr_is_incoming() || cpr_incoming_switchover(errp)) &&
           migration_main_call(load_end, errp) && confirm(buf, errp);
}

/*
 * At the end in any case, in one go with what the user can see of it: whoever sees it may begin
 * the next migration at once, in whatever direction.
 */
static bool clean_up(GError **errp)
{
    if (in.sections) {
        migration_sections_release(g_steal_pointer(&in.sections));
    }
    for (unsigned i = 0; i < in.nr_streams; i++) {
        stream_free(g_steal_pointer(&in.streams[i]));
    }
    in.nr_streams = in.at_sync = in.syncs = 0;
    g_clear_pointer(&in.ram, ram_load_free);
    g_clear_pointer(&in.files, g_ptr_array_unref);
    g_clear_pointer(&in.states, g_byte_array_unref);
    g_clear_pointer(&in.listener, migration_listener_free);
    in.ended = false;
    in.finished = true;
    cpr_incoming_cleanup();
    return true;
}

static bool let_go(GError **errp)
{
    cpr_release();
    return true;
}

static bool take_over(GError **errp)
{
    in.waiting = false;
    cpr_finish();
    migration_parameters.mode = MIG_MODE_NORMAL; /* of the next one */
    migration_set_status(MIGRATION_STATUS_COMPLETED);
    vm_stop(RUN_STATE_PAUSED);
    if (in.autostart && in.end.state & END_LIVE && !g_atomic_int_get(&in.ending)) {
        vm_start();
    }
    migration_request_again(&in.end);
    return clean_up(errp);
}

static bool give_up(GError **errp)
{
    migration_set_status(MIGRATION_STATUS_FAILED);
    if (in.exit_on_error && !g_atomic_int_get(&in.ending)) {
        system_failure_request();
    }
    return clean_up(errp);
}

static void *incoming_thread(void *opaque)
{
    g_autoptr(GError) err = NULL;

    if (receive(&err)) {
        migration_main_call(take_over, NULL);
    } else {
        fail(err);
        migration_incoming_refuse(err);    /* no-op if this is no CPR */
        migration_main_call(let_go, NULL); /* the source takes it back when it hears of it */
        if (in.nr_streams && !g_atomic_int_get(&in.ending)) {
            answer(RECORD_FAILED, 0, in.err->message, NULL);
        }
        if (!g_atomic_int_get(&in.ending)) {
            error_report("incoming migration: %s", in.err->message);
        }
        migration_main_call(give_up, NULL);
    }
    return NULL;
}

/* ---- what the user asks for ---- */

bool migration_incoming_option(const char *spec, GError **errp)
{
    bool is_cpr;

    if (!cpr_incoming_option(spec, &is_cpr, errp)) {
        return false;
    }
    in.waiting = true;
    if (is_cpr) {
        return true;
    }
    if (in.spec) {
        return error_set(errp, "one channel of type main is supported");
    }
    in.spec = g_strdup(spec);
    return true;
}

static bool start(MigrationAddress *address, GError **errp)
{
    if (in.thread) {
        g_thread_join(g_steal_pointer(&in.thread));
    }
    g_clear_error(&in.err);
    in.finished = false;
    g_clear_object(&in.cancel);
    in.cancel = g_cancellable_new();
    in.listener = migration_listen(address, errp);
    if (!in.listener) {
        in.finished = true;
        return false;
    }
    migration_begin_status();
    in.thread = g_thread_try_new("incoming", incoming_thread, NULL, errp);
    if (!in.thread) {
        g_clear_pointer(&in.listener, migration_listener_free);
    }
    return in.thread && cpr_incoming_listening(errp);
}

static MigrationAddress *address_of_option(const char *spec, GError **errp)
{
    g_autoptr(JsonNode) node = NULL;
    g_autoptr(JsonArray) channels = json_array_new();

    if (*spec != '{') {
        return migration_address_parse(spec, errp);
    }
    node = json_from_string(spec, errp);
    if (!node || !JSON_NODE_HOLDS_OBJECT(node)) {
        return NULL;
    }
    json_array_add_element(channels, g_steal_pointer(&node));
    return migration_main_address(NULL, channels, errp);
}

bool migration_incoming_ready(bool autostart, GError **errp)
{
    g_autoptr(MigrationAddress) address = NULL;

    in.autostart = autostart;
    if (!in.spec) {
        return (!in.waiting && !cpr_is_incoming()) ||
               error_set(errp, "-incoming: a live update needs a channel of type main, too");
    }
    if (!cpr_check_all_taken(errp)) {
        return false;
    }
    vm_stop(RUN_STATE_INMIGRATE);
    if (g_str_equal(in.spec, "defer")) {
        return true;
    }
    address = address_of_option(in.spec, errp);
    if (address && start(address, errp)) {
        return true;
    }
    g_prefix_error(errp, "-incoming %s: ", in.spec);
    return false;
}

bool migration_incoming_start(const char *uri, JsonArray *channels, bool exit_on_error,
                              GError **errp)
{
    g_autoptr(MigrationAddress) address = NULL;

    if (!in.waiting || g_strcmp0(in.spec, "defer")) {
        return error_set(errp, "'-incoming' was not specified on the command line");
    }
    if (in.thread && !in.finished) {
        return error_set(errp, "The incoming migration has already been started");
    }
    address = migration_main_address(uri, channels, errp);
    in.exit_on_error = exit_on_error;
    return address && start(address, errp);
}

void migration_incoming_autostart(bool on)
{
    in.autostart = on;
}

bool migration_is_receiving(void)
{
    return in.sections;
}

bool migration_incoming_is_listening(void)
{
    return in.listener;
}

void migration_incoming_query(JsonObject *o)
{
    if (in.listener) {
        const MigrationAddress *address = migration_listener_address(in.listener);
        JsonObject *socket = address ? migration_address_to_json(address) : NULL;
        JsonArray *list = json_array_new();

        if (socket) {
            json_array_add_object_element(list, socket);
            json_object_set_array_member(o, "socket-address", list);
        } else {
            json_array_unref(list);
        }
    }
    g_mutex_lock(&in.lock);
    if (in.err) {
        json_object_set_string_member(o, "error-desc", in.err->message);
    }
    g_mutex_unlock(&in.lock);
}

void migration_incoming_shutdown(void)
{
    cpr_incoming_connected(); /* why this process ends is said already */
    g_mutex_lock(&in.lock);
    g_atomic_int_set(&in.ending, 1);
    g_mutex_unlock(&in.lock);
    if (in.thread) {
        g_cancellable_cancel(in.cancel);
        g_mutex_lock(&in.lock);
        for (unsigned i = 0; i < in.nr_streams; i++) {
            migration_channel_shutdown(in.streams[i]->channel);
        }
        g_mutex_unlock(&in.lock);
        cpr_incoming_shutdown();
        while (!in.finished) {
            g_main_context_iteration(NULL, TRUE);
        }
        g_thread_join(g_steal_pointer(&in.thread));
    }
    cpr_release();
    cpr_incoming_cleanup();
    g_clear_object(&in.cancel);
    g_clear_error(&in.err);
    g_clear_pointer(&in.spec, g_free);
}
