/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/unit/migration-fixture.h"

#include "util/error.h"

struct MigrationSection {
    char *id;
    const MigrationOps *ops;
    void *opaque;
};

GArray *sent_pieces;
GHashTable *blockers;
GPtrArray *dirty_sources;
unsigned acks, fail_sending;
bool is_running, is_incoming;
char *migration_error;
static unsigned sections, last_blocker;
static GMutex lock; /* errors and pieces come from any thread */

#define WRAP(fn) __wrap_##fn

MigrationSection *WRAP(migration_register)(const char *id, const MigrationOps *ops, void *opaque);
void WRAP(migration_unregister)(MigrationSection *s);
bool WRAP(migration_send)(MigrationSection *s, const void *head, size_t head_len, const void *data,
                          size_t len, GError **errp);
void WRAP(migration_switchover_ack)(MigrationSection *s);
unsigned WRAP(migration_block)(unsigned modes, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
void WRAP(migration_unblock)(unsigned blocker);
void WRAP(migration_dirty_source_add)(const MigrationDirtySource *source);
void WRAP(migration_dirty_source_del)(const MigrationDirtySource *source);
bool WRAP(migration_is_running)(void);
bool WRAP(migration_is_incoming)(void);
void WRAP(migration_set_error)(const GError *err);

MigrationSection *WRAP(migration_register)(const char *id, const MigrationOps *ops, void *opaque)
{
    MigrationSection *s = g_new(MigrationSection, 1);

    *s = (MigrationSection) { g_strdup(id), ops, opaque };
    sections++;
    return s;
}

void WRAP(migration_unregister)(MigrationSection *s)
{
    sections--;
    g_free(s->id);
    g_free(s);
}

bool WRAP(migration_send)(MigrationSection *s, const void *head, size_t head_len, const void *data,
                          size_t len, GError **errp)
{
    Sent piece = { s->opaque, g_byte_array_new() };

    g_assert_cmpuint(head_len + len, <=, MIGRATION_PIECE_MAX);
    if (fail_sending && !--fail_sending) {
        g_byte_array_unref(piece.data);
        return error_set(errp, "the channel is closed");
    }
    g_byte_array_append(piece.data, head, (guint)head_len);
    if (len) {
        g_byte_array_append(piece.data, data, (guint)len);
    }
    g_mutex_lock(&lock);
    g_array_append_val(sent_pieces, piece);
    g_mutex_unlock(&lock);
    return true;
}

void WRAP(migration_switchover_ack)(MigrationSection *s)
{
    acks++;
}

unsigned WRAP(migration_block)(unsigned modes, const char *fmt, ...)
{
    va_list ap;

    g_assert_cmpuint(modes, ==, 1U << MIG_MODE_NORMAL);
    va_start(ap, fmt);
    g_hash_table_insert(blockers, GUINT_TO_POINTER(++last_blocker), g_strdup_vprintf(fmt, ap));
    va_end(ap);
    return last_blocker;
}

void WRAP(migration_unblock)(unsigned number)
{
    g_assert_true(!number || g_hash_table_remove(blockers, GUINT_TO_POINTER(number)));
}

void WRAP(migration_dirty_source_add)(const MigrationDirtySource *source)
{
    g_ptr_array_add(dirty_sources, (gpointer)(uintptr_t)source);
}

void WRAP(migration_dirty_source_del)(const MigrationDirtySource *source)
{
    g_assert_true(g_ptr_array_remove(dirty_sources, (gpointer)(uintptr_t)source));
}

bool WRAP(migration_is_running)(void)
{
    return is_running;
}

bool WRAP(migration_is_incoming)(void)
{
    return is_incoming;
}

void WRAP(migration_set_error)(const GError *err)
{
    g_mutex_lock(&lock);
    if (!migration_error) {
        migration_error = g_strdup(err->message);
    }
    g_mutex_unlock(&lock);
}

/* ---- for the tests ---- */

static void clear_piece(gpointer opaque)
{
    g_byte_array_unref(((Sent *)opaque)->data);
}

void migration_fixture_begin(void)
{
    sent_pieces = g_array_new(FALSE, FALSE, sizeof(Sent));
    g_array_set_clear_func(sent_pieces, clear_piece);
    blockers = g_hash_table_new_full(NULL, NULL, NULL, g_free);
    dirty_sources = g_ptr_array_new();
}

void migration_fixture_end(void)
{
    g_assert_null(migration_error);
    g_assert_cmpuint(sections, ==, 0);
    g_assert_cmpuint(g_hash_table_size(blockers), ==, 0);
    g_assert_cmpuint(dirty_sources->len, ==, 0);
    g_array_unref(sent_pieces);
    g_hash_table_unref(blockers);
    g_ptr_array_unref(dirty_sources);
}

void forget_pieces(void)
{
    g_array_set_size(sent_pieces, 0);
}

const char *blocker(void)
{
    GHashTableIter iter;
    gpointer text = NULL;

    g_hash_table_iter_init(&iter, blockers);
    if (g_hash_table_size(blockers) == 1) {
        g_hash_table_iter_next(&iter, NULL, &text);
    }
    return text;
}

char *take_migration_error(void)
{
    g_assert_nonnull(migration_error);
    return g_steal_pointer(&migration_error);
}
