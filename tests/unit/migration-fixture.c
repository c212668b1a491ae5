/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/unit/migration-fixture.h"

#include "core/runstate.h"
#include "hw/vfio/pci.h"
#include "tests/unit/vfio-fixture.h"
#include "util/error.h"
#include "util/keyval.h"

const MigrationOps *const mig_ops = &vfio_migration_ops;

struct MigrationSection {
    char *id;
    const MigrationOps *ops;
    void *opaque;
};

GArray *sent_pieces;
GHashTable *blockers;
static GHashTable *reboot_blockers; /* the same numbers; those of mode=cpr-reboot */
GPtrArray *dirty_sources;
unsigned requests, acks, fail_sending;
bool is_running;
char *migration_error;
static unsigned sections, last_blocker;
static GMutex lock; /* errors and pieces come from any thread */

#define WRAP(fn) __wrap_##fn

MigrationSection *WRAP(migration_register)(const char *id, const MigrationOps *ops, void *opaque);
void WRAP(migration_unregister)(MigrationSection *s);
bool WRAP(migration_send)(MigrationSection *s, const void *head, size_t head_len, const void *data,
                          size_t len, GError **errp);
void WRAP(migration_switchover_ack)(MigrationSection *s);
void WRAP(migration_switchover_request)(MigrationSection *s);
unsigned WRAP(migration_block)(unsigned modes, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
void WRAP(migration_unblock)(unsigned blocker);
void WRAP(migration_dirty_source_add)(const MigrationDirtySource *source);
void WRAP(migration_dirty_source_del)(const MigrationDirtySource *source);
bool WRAP(migration_is_running)(void);
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

void WRAP(migration_switchover_request)(MigrationSection *s)
{
    requests++;
}

void WRAP(migration_switchover_ack)(MigrationSection *s)
{
    acks++;
}

unsigned WRAP(migration_block)(unsigned modes, const char *fmt, ...)
{
    g_autofree char *text = NULL;
    va_list ap;

    g_assert_cmpuint(
        modes & ~(1U << MIG_MODE_NORMAL | 1U << MIG_MODE_CPR_REBOOT | MIG_UNLESS_ASLEEP), ==, 0);
    va_start(ap, fmt);
    text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    g_assert_true(!(modes & MIG_UNLESS_ASLEEP) == !strstr(text, "run state suspended"));
    last_blocker++;
    if (modes & 1U << MIG_MODE_NORMAL) {
        g_hash_table_insert(blockers, GUINT_TO_POINTER(last_blocker), g_strdup(text));
    }
    if (modes & 1U << MIG_MODE_CPR_REBOOT) {
        g_hash_table_insert(reboot_blockers, GUINT_TO_POINTER(last_blocker), g_strdup(text));
    }
    return last_blocker;
}

void WRAP(migration_unblock)(unsigned number)
{
    bool normal = g_hash_table_remove(blockers, GUINT_TO_POINTER(number));

    g_assert_true(g_hash_table_remove(reboot_blockers, GUINT_TO_POINTER(number)) || normal ||
                  !number);
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
    reboot_blockers = g_hash_table_new_full(NULL, NULL, NULL, g_free);
    dirty_sources = g_ptr_array_new();
}

void migration_fixture_end(void)
{
    g_assert_null(migration_error);
    g_assert_cmpuint(sections, ==, 0);
    g_assert_cmpuint(g_hash_table_size(blockers), ==, 0);
    g_assert_cmpuint(g_hash_table_size(reboot_blockers), ==, 0);
    g_assert_cmpuint(dirty_sources->len, ==, 0);
    g_array_unref(sent_pieces);
    g_hash_table_unref(blockers);
    g_hash_table_unref(reboot_blockers);
    g_ptr_array_unref(dirty_sources);
}

void forget_pieces(void)
{
    g_array_set_size(sent_pieces, 0);
}

static const char *only_one(GHashTable *table)
{
    GHashTableIter iter;
    gpointer text = NULL;

    g_hash_table_iter_init(&iter, table);
    if (g_hash_table_size(table) == 1) {
        g_hash_table_iter_next(&iter, NULL, &text);
    }
    return text;
}

const char *blocker(void)
{
    return only_one(blockers);
}

const char *reboot_blocker(void)
{
    return only_one(reboot_blockers);
}

char *take_migration_error(void)
{
    g_assert_nonnull(migration_error);
    return g_steal_pointer(&migration_error);
}

/* ---- devices ---- */

VFIOMigration *mig_of(unsigned i)
{
    return VFIO_PCI(devices[i])->vbasedev->migration;
}

void mig_begin(uint64_t flags, size_t size)
{
    setup_three();
    for (unsigned i = 0; i < 3; i++) {
        sim_mig_init(sims[i], flags, size);
        sims[i]->logs_dma = true;
        sims[i]->flags |= VFIO_DEVICE_FLAGS_RESET;
    }
}

void mig_plug(unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        g_autoptr(GError) err = NULL;

        g_assert_true(plug_nth(i, &err));
        g_assert_no_error(err);
    }
    vm_start();
    for (unsigned i = 0; i < n; i++) {
        g_free(sim_mig_take_history(sims[i]));
    }
    g_free(sim_take_log());
}

void mig_end(void)
{
    for (unsigned i = 0; i < 3; i++) {
        if (devices[i]) {
            unplug_nth(i);
        }
    }
    vm_stop(RUN_STATE_PAUSED);
    forget_pieces();
    g_assert_null(migration_error);
    is_running = false;
    teardown_three();
}

void assert_history(unsigned i, const char *expected)
{
    g_autofree char *text = sim_mig_take_history(sims[i]);

    g_assert_cmpstr(text, ==, expected);
}

void mig_setup(unsigned i)
{
    g_autoptr(GError) err = NULL;

    is_running = true;
    g_assert_true(mig_ops->setup(mig_of(i), &err));
    g_assert_no_error(err);
}

void mig_send_all(unsigned i)
{
    bool drained = false;

    while (!drained) {
        g_assert_true(mig_ops->iterate(mig_of(i), &drained, NULL));
    }
}

void mig_complete(unsigned i)
{
    g_autoptr(GError) err = NULL;

    g_assert_true(mig_ops->complete(mig_of(i), &err));
    g_assert_no_error(err);
}

bool mig_load(unsigned i, unsigned first, GError **errp)
{
    if (!mig_ops->load_setup(mig_of(i), errp)) {
        return false;
    }
    for (guint n = 0; n < MIN(sent_pieces->len, first); n++) {
        const GByteArray *data = g_array_index(sent_pieces, Sent, n).data;

        if (!mig_ops->load(mig_of(i), data->data, data->len, errp)) {
            return false;
        }
    }
    return mig_ops->load_end(mig_of(i), errp);
}

MigrationPending mig_pending(unsigned i, bool exact)
{
    MigrationPending p;

    mig_ops->pending(mig_of(i), exact, &p);
    return p;
}

bool mig_plug_with(unsigned i, const char *more, GError **errp)
{
    g_autofree char *top = g_path_get_dirname(sysfs);
    g_autofree char *text = g_strdup_printf(
        "vfio-pci,id=d%u,sysfsdev=%s/0000:%02x:00.0,iommufd=i0%s", i, top, 2 + i, more);
    g_autofree char *id = g_strdup_printf("d%u", i);
    g_autoptr(JsonObject) opts = keyval_parse(text, "driver", NULL, NULL);
    bool ok = device_add(opts, false, errp);

    devices[i] = ok ? PCI_DEVICE(object_resolve(id)) : NULL;
    return ok;
}
