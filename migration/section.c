/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the rest of the program has registered for migration: sections, blockers, dirty sources. */
#include "cpr-internal.h"

#include <string.h>

#include "core/accel.h"
#include "core/runstate.h"
#include "util/error.h"

/* ---- sections ---- */

static GPtrArray *sections; /* MigrationSection, sorted by id */

static gint by_id(gconstpointer a, gconstpointer b)
{
    return strcmp((*(MigrationSection *const *)a)->id, (*(MigrationSection *const *)b)->id);
}

MigrationSection *migration_register(const char *id, const MigrationOps *ops, void *opaque)
{
    MigrationSection *s = g_new0(MigrationSection, 1);

    s->id = g_strdup(id);
    s->ops = ops;
    s->opaque = opaque;
    g_mutex_init(&s->busy);
    if (!sections) {
        sections = g_ptr_array_new();
    }
    g_ptr_array_add(sections, s);
    g_ptr_array_sort(sections, by_id);
    return s;
}

static void section_free(gpointer opaque)
{
    MigrationSection *s = opaque;

    g_mutex_clear(&s->busy);
    g_free(s->id);
    g_free(s);
}

static GPtrArray *taken; /* by the migration under way */

void migration_unregister(MigrationSection *s)
{
    if (!s) {
        return;
    }
    g_ptr_array_remove(sections, s);
    if (!taken || !g_ptr_array_find(taken, s, NULL)) {
        section_free(s);
        return;
    }
    g_autoptr(GError) err = NULL;

    error_set(&err, "%s was unplugged", s->id);
    migration_set_error(err); /* ends what a thread may be waiting in, busy with it */
    g_mutex_lock(&s->busy);
    s->gone = true;
    g_mutex_unlock(&s->busy);
    if (s->set_up && s->ops->cleanup) {
        s->ops->cleanup(s->opaque);
    }
    s->set_up = false;
}

GPtrArray *migration_sections_take(void)
{
    taken = g_ptr_array_new();
    for (guint i = 0; sections && i < sections->len; i++) {
        MigrationSection *s = sections->pdata[i];

        s->index = i;
        s->asked = s->acked = 0;
        s->stream = NULL;
        s->pending = (MigrationPending) { 0 };
        s->sent = 0;
        g_ptr_array_add(taken, s);
    }
    return taken;
}

void migration_sections_release(GPtrArray *list)
{
    for (guint i = 0; i < list->len; i++) {
        MigrationSection *s = list->pdata[i];

        if (s->set_up && s->ops->cleanup) {
            s->ops->cleanup(s->opaque);
        }
        s->set_up = false;
        if (s->gone) {
            section_free(s);
        }
    }
    g_ptr_array_unref(list);
    taken = NULL;
}

/* ---- blockers ---- */

typedef struct Blocker {
    unsigned number, modes;
    char *reason;
} Blocker;

static GSList *blockers;

unsigned migration_block(unsigned modes, const char *fmt, ...)
{
    static unsigned last;
    Blocker *b = g_new(Blocker, 1);
    va_list ap;

    va_start(ap, fmt);
    *b = (Blocker) { ++last, modes, g_strdup_vprintf(fmt, ap) };
    va_end(ap);
    blockers = g_slist_append(blockers, b);
    return b->number;
}

void migration_unblock(unsigned number)
{
    for (GSList *l = blockers; l; l = l->next) {
        Blocker *b = l->data;

        if (b->number == number) {
            blockers = g_slist_delete_link(blockers, l);
            g_free(b->reason);
            g_free(b);
            return;
        }
    }
}

static bool holds(const Blocker *b, MigMode mode)
{
    return b->modes & 1u << mode && !(b->modes & MIG_UNLESS_ASLEEP && run_state_is_asleep());
}

const char *migration_blocker(MigMode mode)
{
    for (GSList *l = blockers; l; l = l->next) {
        const Blocker *b = l->data;

        if (holds(b, mode)) {
            return b->reason;
        }
    }
    return NULL;
}

JsonArray *migration_blockers(MigMode mode)
{
    JsonArray *list = json_array_new();

    for (GSList *l = blockers; l; l = l->next) {
        const Blocker *b = l->data;

        if (holds(b, mode)) {
            json_array_add_string_element(list, b->reason);
        }
    }
    cpr_blockers(mode, list);
    return list;
}

/* ---- dirty pages ---- */

static GPtrArray *sources; /* const MigrationDirtySource */
static bool tracking;

void migration_dirty_source_add(const MigrationDirtySource *source)
{
    if (!sources) {
        sources = g_ptr_array_new();
    }
    g_ptr_array_add(sources, (void *)source);
}

void migration_dirty_source_del(const MigrationDirtySource *source)
{
    if (g_ptr_array_remove(sources, (void *)source) && tracking) {
        source->stop(source->opaque);
    }
}

bool migration_dirty_start(GError **errp)
{
    guint i = 0;

    if (!ram_dirty_start(errp)) {
        return false;
    }
    if (accel->dirty_start && !accel->dirty_start(errp)) {
        ram_dirty_stop();
        return false;
    }
    for (; sources && i < sources->len; i++) {
        const MigrationDirtySource *source = sources->pdata[i];

        if (!source->start(source->opaque, errp)) {
            break;
        }
    }
    tracking = !sources || i == sources->len;
    if (tracking) {
        return true;
    }
    while (i-- > 0) {
        const MigrationDirtySource *source = sources->pdata[i];

        source->stop(source->opaque);
    }
    if (accel->dirty_stop) {
        accel->dirty_stop();
    }
    ram_dirty_stop();
    return false;
}

void migration_dirty_sync(void)
{
    if (accel->dirty_sync) {
        accel->dirty_sync();
    }
    for (guint i = 0; sources && i < sources->len; i++) {
        const MigrationDirtySource *source = sources->pdata[i];

        source->sync(source->opaque);
    }
}

void migration_dirty_stop(void)
{
    tracking = false;
    for (guint i = 0; sources && i < sources->len; i++) {
        const MigrationDirtySource *source = sources->pdata[i];

        source->stop(source->opaque);
    }
    if (accel->dirty_stop) {
        accel->dirty_stop();
    }
    ram_dirty_stop();
}
