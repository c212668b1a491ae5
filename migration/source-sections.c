/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The source's devices: what each has to send, in turns and at the end. */
#include "source.h"
#include "util/error.h"

/* What one pass may take of a device that fills faster than it can be sent. */
#define SECTION_PASS_BYTES (256ULL << 20)

bool migration_send(MigrationSection *s, const void *head, size_t head_len, const void *data,
                    size_t len, GError **errp)
{
    if (head_len + len > MIGRATION_PIECE_MAX) {
        return error_set(errp, "%s: a piece of %zu bytes is too large", s->id, head_len + len);
    }
    migration_rate_limit(head_len + len);
    outgoing.section_bytes += head_len + len;
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
    } while (!drained && !source_is_stopping(NULL) && s->sent - before < limit);
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
        source_fail_sending(w->err);
    }
    return NULL;
}

/* All sections, a thread each, beside a pass over RAM in this thread. */
static bool everything(bool (*fn)(MigrationSection *s, GError **errp), GError **errp)
{
    unsigned first = outgoing.channels ? 1 : 0, n = outgoing.channels ?: 1;
    const guint sections = outgoing.sections->len;
    g_autofree SectionWork *work = g_new0(SectionWork, sections);
    g_autoptr(GError) err = NULL;

    for (guint i = 0; i < sections; i++) {
        work[i] = (SectionWork) { outgoing.sections->pdata[i], fn };
        work[i].section->stream = outgoing.streams[first + i % n];
        work[i].thread = g_thread_try_new("mig/device", section_thread, &work[i], NULL);
    }
    if (!ram_save_pass(&outgoing.streams[first], n, source_is_stopping, NULL, &err)) {
        source_fail_sending(err);
    }
    for (guint i = 0; i < sections; i++) {
        if (work[i].thread) {
            g_thread_join(work[i].thread);
        } else {
            section_thread(&work[i]);
        }
        g_clear_error(&work[i].err);
    }
    for (unsigned i = 0; i < outgoing.nr_streams && !source_is_stopping(NULL); i++) {
        if (!stream_send(outgoing.streams[i], RECORD_SYNC, 0, NULL, 0, NULL, 0, errp)) {
            return false;
        }
    }
    return !source_is_stopping(NULL) || source_stopped_error(errp);
}

bool source_iterate(GError **errp)
{
    return everything(iterate, errp);
}

bool source_complete(GError **errp)
{
    return everything(complete, errp);
}

uint64_t source_pending(bool exact)
{
    uint64_t n = ram_stats.remaining;

    for (guint i = 0; i < outgoing.sections->len; i++) {
        MigrationSection *s = outgoing.sections->pdata[i];

        g_mutex_lock(&s->busy);
        if (!s->gone && s->ops->pending) {
            s->ops->pending(s->opaque, exact, &s->pending);
        }
        g_mutex_unlock(&s->busy);
        n += MIN(s->pending.precopy, UINT64_MAX / 4) + MIN(s->pending.stopcopy, UINT64_MAX / 4);
        n = MIN(n, UINT64_MAX / 2);
    }
    outgoing.unsent = n;
    return n;
}

bool source_devices_ready(void)
{
    for (guint i = 0; i < outgoing.sections->len; i++) {
        MigrationSection *s = outgoing.sections->pdata[i];
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
