/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The registry of what goes over, and of those who fill it and take from it.
 *
 * A message is: magic, version, mode, number of entries and of descriptors (32 bits each, little
 * endian); the entries, each a name (length in a byte), a number, 1 if it has a descriptor, bytes
 * (length in 32 bits); XXH64 of all that.  Descriptors go beside it, in the entries' order.
 */
#include <string.h>
#include <xxhash.h>

#include "core/machine.h"
#include "core/runstate.h"
#include "cpr-internal.h"
#include "util/confined.h"
#include "util/error.h"
#include "util/fd.h"
#include "util/hostcalls.h"
#include "util/trace.h"

#define MAGIC       0x52504356u /* "VCPR" */
#define VERSION     1
#define ENTRIES_MAX 1000000

typedef struct Head {
    uint32_t magic, version, mode, entries, fds;
} Head;

typedef struct Entry {
    char *name;
    unsigned id;
    bool has_fd, taken;
    int fd; /* of the new process: the registry's until it is taken */
    GByteArray *data;
} Entry;

typedef struct Owner {
    const CprOps *ops;
    void *opaque;
} Owner;

static GHashTable *entries; /* Entry by "NAME/NUMBER" */
static GPtrArray *order;    /* Entry, as they were saved */
static GArray *owners;      /* Owner */
static bool incoming, active;

bool cpr_is_incoming(void)
{
    return incoming;
}

bool cpr_is_active(void)
{
    return active;
}

/* ---- entries ---- */

static void entry_free(gpointer opaque)
{
    Entry *e = opaque;

    if (incoming) {
        host_fd_close(&e->fd);
    }
    g_byte_array_unref(e->data);
    g_free(e->name);
    g_free(e);
}

static void clear(void)
{
    g_clear_pointer(&order, g_ptr_array_unref);
    g_clear_pointer(&entries, g_hash_table_unref);
}

static char *key_of(const char *name, unsigned id)
{
    return g_strdup_printf("%s/%u", name, id);
}

static Entry *find(const char *name, unsigned id)
{
    g_autofree char *key = key_of(name, id);

    return incoming && entries ? g_hash_table_lookup(entries, key) : NULL;
}

/* NULL: there is such a one already. */
static Entry *add(const char *name, unsigned id)
{
    g_autofree char *key = key_of(name, id);
    Entry *e;

    if (!entries) {
        entries = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, entry_free);
        order = g_ptr_array_new();
    }
    if (g_hash_table_contains(entries, key)) {
        return NULL;
    }
    e = g_new0(Entry, 1);
    e->name = g_strdup(name);
    e->id = id;
    e->fd = -1;
    e->data = g_byte_array_new();
    g_hash_table_insert(entries, g_steal_pointer(&key), e);
    g_ptr_array_add(order, e);
    return e;
}

void cpr_save_fd(const char *name, unsigned id, int fd)
{
    Entry *e = add(name, id);

    if (e) {
        e->has_fd = true;
        e->fd = fd;
    }
    TRACE("cpr_save_fd", "%s, id %u, fd %d", name, id, fd);
}

void cpr_save_data(const char *name, unsigned id, const void *data, size_t len)
{
    Entry *e = add(name, id);

    if (e) {
        g_byte_array_append(e->data, data, (guint)len);
    }
}

int cpr_find_fd(const char *name, unsigned id)
{
    Entry *e = find(name, id);

    if (!e || e->fd < 0) {
        return -1;
    }
    e->taken = true;
    TRACE("cpr_find_fd", "%s, id %u returns %d", name, id, e->fd);
    return fd_steal(&e->fd);
}

const GByteArray *cpr_find_bytes(const char *name, unsigned id)
{
    Entry *e = find(name, id);

    if (!e || e->has_fd) {
        return NULL;
    }
    e->taken = true;
    return e->data;
}

const void *cpr_find_data(const char *name, unsigned id, size_t len)
{
    const GByteArray *data = cpr_find_bytes(name, id);

    return data && data->len == len ? data->data : NULL;
}

void cpr_delete_fd(const char *name, unsigned id)
{
    Entry *e = find(name, id);
    g_autofree char *key = key_of(name, id);

    if (e) {
        g_ptr_array_remove(order, e);
        g_hash_table_remove(entries, key);
    }
}

/* ---- messages ---- */

static void put_u32(GByteArray *out, uint32_t n)
{
    n = GUINT32_TO_LE(n);
    g_byte_array_append(out, (const uint8_t *)&n, sizeof(n));
}

static void encode(GByteArray *out, GArray *fds)
{
    const Head head = { MAGIC, VERSION, migration_mode(), order ? order->len : 0, 0 };
    uint32_t words[] = { head.magic, head.version, head.mode, head.entries, 0 };
    uint64_t sum;

    for (guint i = 0; i < head.entries; i++) {
        words[4] += ((const Entry *)order->pdata[i])->has_fd;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(words); i++) {
        put_u32(out, words[i]);
    }
    for (guint i = 0; i < head.entries; i++) {
        const Entry *e = order->pdata[i];
        uint8_t len = (uint8_t)strlen(e->name), has_fd = e->has_fd;

        g_byte_array_append(out, &len, 1);
        g_byte_array_append(out, (const uint8_t *)e->name, len);
        put_u32(out, e->id);
        g_byte_array_append(out, &has_fd, 1);
        put_u32(out, e->data->len);
        g_byte_array_append(out, e->data->data, e->data->len);
        if (e->has_fd) {
            g_array_append_val(fds, e->fd);
        }
    }
    sum = GUINT64_TO_LE(XXH64(out->data, out->len, 0));
    g_byte_array_append(out, (const uint8_t *)&sum, sizeof(sum));
    clear();
}

typedef struct Reader {
    const uint8_t *at;
    size_t left;
} Reader;

static bool take(Reader *r, void *to, size_t len)
{
    if (len > r->left) {
        return false;
    }
    memcpy(to, r->at, len);
    r->at += len;
    r->left -= len;
    return true;
}

static bool take_u32(Reader *r, uint32_t *n)
{
    bool ok = take(r, n, sizeof(*n));

    *n = ok ? GUINT32_FROM_LE(*n) : 0;
    return ok;
}

static bool cut_off(GError **errp)
{
    return error_set(errp, "the CPR message is cut off");
}

/* It comes to be part of messages. */
static bool is_name(const char *name, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if ((uint8_t)name[i] < ' ' || name[i] == 0x7f) {
            return false;
        }
    }
    return len && g_utf8_validate(name, (gssize)len, NULL);
}

static bool decode_entry(Reader *r, GArray *fds, guint *next_fd, GError **errp)
{
    char name[256] = "";
    uint8_t len, has_fd;
    uint32_t id, size;
    Entry *e;

    if (!take(r, &len, 1) || !take(r, name, len) || !take_u32(r, &id) || !take(r, &has_fd, 1) ||
        !take_u32(r, &size) || size > r->left) {
        return cut_off(errp);
    }
    if (!is_name(name, len)) {
        return error_set(errp, "the CPR message has an entry with a bad name");
    }
    if (has_fd > 1 || (has_fd && *next_fd >= fds->len)) {
        return error_set(errp, "the CPR message has a bad entry '%s'", name);
    }
    e = add(name, id);
    if (!e) {
        return error_set(errp, "the CPR message has '%s' number %u twice", name, id);
    }
    g_byte_array_append(e->data, r->at, size);
    r->at += size;
    r->left -= size;
    e->has_fd = has_fd;
    if (has_fd) {
        e->fd = fd_steal(&g_array_index(fds, int, (*next_fd)++));
    }
    return true;
}

static bool decode_head(Reader *r, Head *head, GError **errp)
{
    uint64_t sum;

    if (r->left < sizeof(*head) + sizeof(sum)) {
        return cut_off(errp);
    }
    r->left -= sizeof(sum);
    memcpy(&sum, r->at + r->left, sizeof(sum));
    if (GUINT64_FROM_LE(sum) != XXH64(r->at, r->left, 0)) {
        return error_set(errp, "the CPR message has a wrong checksum");
    }
    take_u32(r, &head->magic);
    take_u32(r, &head->version);
    take_u32(r, &head->mode);
    take_u32(r, &head->entries);
    take_u32(r, &head->fds);
    if (head->magic != MAGIC) {
        return error_set(errp, "it is no CPR message");
    }
    if (head->version != VERSION) {
        return error_set(errp, "the CPR message has version %u, here is version %u", head->version,
                         VERSION);
    }
    return head->entries <= ENTRIES_MAX ||
           error_set(errp, "the CPR message has %u entries", head->entries);
}

static bool decode(const uint8_t *data, size_t len, GArray *fds, GError **errp)
{
    Reader r = { data, len };
    guint next_fd = 0;
    Head head = { 0 };

    if (!decode_head(&r, &head, errp)) {
        return false;
    }
    if (head.mode != MIG_MODE_CPR_TRANSFER && head.mode != MIG_MODE_CPR_EXEC) {
        return error_set(errp, "the CPR message is of mode %u, which keeps no descriptors",
                         head.mode);
    }
    if (head.fds != fds->len) {
        return error_set(errp, "%u descriptors came with the CPR message, it says %u", fds->len,
                         head.fds);
    }
    migration_parameters.mode = (MigMode)head.mode;
    for (uint32_t i = 0; i < head.entries; i++) {
        if (!decode_entry(&r, fds, &next_fd, errp)) {
            return false;
        }
    }
    return (!r.left && next_fd == fds->len) ||
           error_set(errp, "the CPR message has more than its entries");
}

bool cpr_load(const uint8_t *data, size_t len, GArray *fds, GError **errp)
{
    bool ok;

    incoming = active = true;
    ok = decode(data, len, fds, errp);
    cpr_close_fds(fds);
    TRACE("cpr_load", "%zu bytes, %u entries", len, order ? order->len : 0);
    return ok;
}

bool cpr_check_all_taken(GError **errp)
{
    for (guint i = 0; order && i < order->len; i++) {
        const Entry *e = order->pdata[i];

        if (!e->taken) {
            return error_set(errp, "the old process has '%s' (number %u), which nothing here takes",
                             e->name, e->id);
        }
    }
    clear();
    return true;
}

/* ---- those who have something ---- */

void cpr_register(const CprOps *ops, void *opaque)
{
    Owner owner = { ops, opaque };

    if (!owners) {
        owners = g_array_new(FALSE, FALSE, sizeof(Owner));
    }
    g_array_append_val(owners, owner);
}

void cpr_unregister(const CprOps *ops, void *opaque)
{
    for (guint i = 0; owners && i < owners->len; i++) {
        const Owner *o = &g_array_index(owners, Owner, i);

        if (o->ops == ops && o->opaque == opaque) {
            g_array_remove_index(owners, i);
            return;
        }
    }
}

static const Owner *owner(guint i)
{
    return owners && i < owners->len ? &g_array_index(owners, Owner, i) : NULL;
}

static void check_mode(MigMode mode, JsonArray *reasons)
{
    if (mode == MIG_MODE_CPR_EXEC && process_confined) {
        json_array_add_string_element(reasons, "mode=cpr-exec: -sandbox on lets no program start");
    }
}

static void check_memory(JsonArray *reasons)
{
    if (!current_machine || !current_machine->aux_ram_share) {
        json_array_add_string_element(reasons, "CPR needs -machine aux-ram-share=on");
    }
    for (const RAMBlock *block = ram_blocks; block; block = block->next) {
        g_autofree char *text = NULL;

        if (!block->shared || block->fd < 0) {
            text =
                g_strdup_printf("Memory region %s is not compatible with CPR: its memory is this "
                                "process's alone (share=off)",
                                block->idstr);
            json_array_add_string_element(reasons, text);
        }
    }
}

void cpr_blockers(MigMode mode, JsonArray *reasons)
{
    const Owner *o;

    if (incoming || run_state_is_given_away()) {
        return;
    }
    check_mode(mode, reasons);
    if (!(MIG_MODE_CPR_LIVE & 1u << mode)) {
        return;
    }
    check_memory(reasons);
    for (guint i = 0; (o = owner(i)); i++) {
        g_autoptr(GError) err = NULL;

        if (o->ops->check && !o->ops->check(o->opaque, &err)) {
            json_array_add_string_element(reasons, err->message);
        }
    }
}

bool cpr_check(GError **errp)
{
    g_autoptr(JsonArray) reasons = json_array_new();

    cpr_blockers(migration_mode(), reasons);
    return !json_array_get_length(reasons) ||
           error_set(errp, "%s", json_array_get_string_element(reasons, 0));
}

void cpr_begin(void)
{
    active = true;
}

void cpr_save(GByteArray *out, GArray *fds)
{
    const Owner *o;

    for (guint i = 0; (o = owner(i)); i++) {
        if (o->ops->save) {
            o->ops->save(o->opaque);
        }
    }
    encode(out, fds);
}

bool cpr_stop(GByteArray *out, GArray *fds, GError **errp)
{
    const Owner *o;

    for (guint i = 0; (o = owner(i)); i++) {
        if (o->ops->stop && !o->ops->stop(o->opaque, errp)) {
            clear();
            return false;
        }
    }
    encode(out, fds);
    return true;
}

void cpr_undo(void)
{
    int64_t t0 = g_get_monotonic_time();
    const Owner *o;

    for (guint i = 0; (o = owner(i)); i++) {
        if (o->ops->undo) {
            o->ops->undo(o->opaque);
        }
    }
    active = false;
    TRACE("cpr_undo", "in %" G_GINT64_FORMAT " us", g_get_monotonic_time() - t0);
}

static void leave(void)
{
    const Owner *o;

    for (guint i = 0; (o = owner(i)); i++) {
        if (o->ops->leave) {
            o->ops->leave(o->opaque);
        }
    }
}

void cpr_give_away(void)
{
    host_let_go();
    run_state_give_away();
    leave();
    active = false;
}

bool cpr_adopt(GError **errp)
{
    int64_t t0 = g_get_monotonic_time();
    const Owner *o;

    for (guint i = 0; (o = owner(i)); i++) {
        if (o->ops->adopt && !o->ops->adopt(o->opaque, errp)) {
            return false;
        }
    }
    TRACE("cpr_adopt", "in %" G_GINT64_FORMAT " us", g_get_monotonic_time() - t0);
    return true;
}

void cpr_release(void)
{
    if (incoming) {
        host_let_go();
        leave();
        clear();
        incoming = active = false;
    }
}

void cpr_finish(void)
{
    int64_t t0 = g_get_monotonic_time();
    bool adopted = incoming;
    const Owner *o;

    clear();
    incoming = active = false;
    for (guint i = 0; adopted && (o = owner(i)); i++) {
        if (o->ops->finish) {
            o->ops->finish(o->opaque);
        }
    }
    TRACE("cpr_finish", "in %" G_GINT64_FORMAT " us", g_get_monotonic_time() - t0);
}
