/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One function, walk(), goes through a table of fields; saving, checking and loading are three
 * things that it can do with each.  All numbers are little-endian.
 *
 * A section:  id, name (a byte of length and text each); instance, version, length (u32);
 *             length bytes of fields; XXH64 of all this (u64)
 * A field:    name (as above), kind (u8), size of an element (u8), bytes (u32), the bytes
 */
#include "migration/vmstate.h"

#include <string.h>
#include <xxhash.h>

#include "core/memory.h"
#include "util/error.h"

typedef struct Registered {
    char *id;
    unsigned instance;
    const VMState *vms;
    void *opaque;
} Registered;

static GPtrArray *states[VMS_PRIORITY__MAX];

static void free_registered(gpointer opaque)
{
    Registered *r = opaque;

    g_free(r->id);
    g_free(r);
}

static gint by_place(gconstpointer a, gconstpointer b)
{
    const Registered *x = *(Registered *const *)a, *y = *(Registered *const *)b;
    int ret = strcmp(x->id, y->id) ?: strcmp(x->vms->name, y->vms->name);

    return ret ?: (x->instance > y->instance) - (x->instance < y->instance);
}

void vmstate_register(const char *id, unsigned instance, const VMState *vms, void *opaque)
{
    Registered *r = g_new(Registered, 1);

    *r = (Registered) { g_strdup(id), instance, vms, opaque };
    if (!states[vms->priority]) {
        states[vms->priority] = g_ptr_array_new_with_free_func(free_registered);
    }
    g_ptr_array_add(states[vms->priority], r);
    g_ptr_array_sort(states[vms->priority], by_place);
}

void vmstate_unregister(const VMState *vms, void *opaque)
{
    GPtrArray *of = states[vms->priority];

    for (guint i = 0; of && i < of->len; i++) {
        Registered *r = of->pdata[i];

        if (r->vms == vms && r->opaque == opaque) {
            g_ptr_array_remove_index(of, i);
            return;
        }
    }
}

static bool foreach_state(bool (*fn)(Registered *r, void *opaque, GError **errp), void *opaque,
                          GError **errp)
{
    for (unsigned p = 0; p < VMS_PRIORITY__MAX; p++) {
        for (guint i = 0; states[p] && i < states[p]->len; i++) {
            if (!fn(states[p]->pdata[i], opaque, errp)) {
                return false;
            }
        }
    }
    return true;
}

/* ---- the bytes of a stream ---- */

typedef struct Reader {
    const uint8_t *at;
    size_t left;
} Reader;

static const uint8_t *take(Reader *in, size_t len)
{
    const uint8_t *at = in->at;

    if (in->left < len) {
        return NULL;
    }
    in->at += len;
    in->left -= len;
    return at;
}

static bool take_u8(Reader *in, uint8_t *v)
{
    const uint8_t *at = take(in, 1);

    *v = at ? *at : 0;
    return at;
}

static bool take_u32(Reader *in, uint32_t *v)
{
    const uint8_t *at = take(in, 4);

    *v = at ? at[0] | at[1] << 8 | at[2] << 16 | (uint32_t)at[3] << 24 : 0;
    return at;
}

/* g_free it; NULL: there is not so much.  It can be shown: what no name here has in it is "?". */
static char *take_text(Reader *in)
{
    uint8_t len;
    const uint8_t *at = take_u8(in, &len) ? take(in, len) : NULL;
    char *text = at ? g_strndup((const char *)at, len) : NULL;

    for (uint8_t i = 0; text && i < len; i++) {
        text[i] = g_ascii_isprint(at[i]) ? text[i] : '?';
    }
    return text;
}

static void put_u8(GByteArray *out, uint8_t v)
{
    g_byte_array_append(out, &v, 1);
}

static void put_u32(GByteArray *out, uint32_t v)
{
    uint32_t le = GUINT32_TO_LE(v);

    g_byte_array_append(out, (const uint8_t *)&le, 4);
}

static void put_text(GByteArray *out, const char *text)
{
    size_t len = MIN(strlen(text), UINT8_MAX);

    put_u8(out, len);
    g_byte_array_append(out, (const uint8_t *)text, len);
}

/* ---- fields ---- */

typedef struct Walk {
    const Registered *state; /* for messages */
    GByteArray *out;         /* NULL: reads */
    Reader *in;
    bool apply; /* reads to load, not to check only */
} Walk;

/* The field's bytes as the machine has them; of a blob none when it is there no more than empty. */
static uint8_t *field_bytes(const VMStateField *f, uint8_t *base, size_t *len)
{
    uint8_t *at = base + f->offset;
    GByteArray *blob;

    switch (f->kind) {
    case VMS_POINTER:
        *len = *(uint32_t *)(void *)(base + f->count_at);
        return *(uint8_t **)(void *)at;
    case VMS_BLOB:
        blob = *(GByteArray **)(void *)at;
        *len = blob ? blob->len : 0;
        return blob ? blob->data : NULL;
    default:
        *len = f->size * f->count;
        return at;
    }
}

static bool refuse(const Walk *w, const VMStateField *f, GError **errp, const char *fmt, ...)
    G_GNUC_PRINTF(4, 5);

static bool refuse(const Walk *w, const VMStateField *f, GError **errp, const char *fmt, ...)
{
    g_autofree char *what = NULL;
    va_list ap;

    va_start(ap, fmt);
    what = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    return error_set(errp, "state of %s (%s, instance %u): field '%s': %s", w->state->id,
                     w->state->vms->name, w->state->instance, f->name, what);
}

static uint64_t number_at(const uint8_t *at, size_t size)
{
    uint64_t v = 0;

    memcpy(&v, at, size); /* both are little-endian: see the build assertion below */
    return v;
}

G_STATIC_ASSERT(G_BYTE_ORDER == G_LITTLE_ENDIAN);

static bool check_values(const Walk *w, const VMStateField *f, const uint8_t *data, size_t len,
                         GError **errp)
{
    if (f->kind == VMS_BLOB && f->max && len > f->max) {
        return refuse(w, f, errp, "%zu bytes are more than the %" G_GUINT64_FORMAT " there can be",
                      len, f->max);
    }
    for (size_t i = 0; f->kind == VMS_BOOL && i < len; i++) {
        if (data[i] > 1) {
            return refuse(w, f, errp, "%u is no boolean", data[i]);
        }
    }
    for (size_t i = 0; f->kind == VMS_UINT && f->max && i < len; i += f->size) {
        if (number_at(data + i, f->size) > f->max) {
            return refuse(w, f, errp, "%" G_GUINT64_FORMAT " is more than %" G_GUINT64_FORMAT,
                          number_at(data + i, f->size), f->max);
        }
    }
    return true;
}

static bool read_field(const Walk *w, const VMStateField *f, uint8_t *base, GError **errp)
{
    g_autofree char *name = take_text(w->in);
    uint8_t kind, size, *to;
    const uint8_t *data;
    uint32_t len;
    size_t here;

    if (!name) {
        return refuse(w, f, errp, "the stream ends before it");
    }
    if (!g_str_equal(name, f->name)) {
        return refuse(w, f, errp, "the stream has '%s' instead", name);
    }
    if (!take_u8(w->in, &kind) || !take_u8(w->in, &size) || !take_u32(w->in, &len) ||
        !(data = take(w->in, len))) {
        return refuse(w, f, errp, "the stream ends in it");
    }
    to = field_bytes(f, base, &here);
    if (kind != f->kind || size != f->size || (kind != VMS_BLOB && len != here)) {
        return refuse(w, f, errp, "%u bytes of kind %u/%u here would be %zu of kind %u/%zu", len,
                      kind, size, here, f->kind, f->size);
    }
    if (!check_values(w, f, data, len, errp)) {
        return false;
    }
    if (!w->apply) {
        return true;
    }
    if (kind == VMS_BLOB) {
        GByteArray **blob = (GByteArray **)(void *)(base + f->offset);

        *blob = g_byte_array_set_size(*blob ?: g_byte_array_new(), 0);
        g_byte_array_append(*blob, data, len);
    } else if (len) {
        memcpy(to, data, len);
    }
    return true;
}

static void write_field(const Walk *w, const VMStateField *f, uint8_t *base)
{
    size_t len;
    const uint8_t *data = field_bytes(f, base, &len);

    put_text(w->out, f->name);
    put_u8(w->out, f->kind);
    put_u8(w->out, f->size);
    put_u32(w->out, len);
    g_byte_array_append(w->out, data, len);
}

static bool walk(const Walk *w, const VMStateField *fields, uint8_t *base, GError **errp)
{
    for (const VMStateField *f = fields; f->kind != VMS_END; f++) {
        if (f->kind == VMS_STRUCT) {
            for (unsigned i = 0; i < f->count; i++) {
                if (!walk(w, f->fields, base + f->offset + i * f->size, errp)) {
                    return false;
                }
            }
        } else if (w->out) {
            write_field(w, f, base);
        } else if (!read_field(w, f, base, errp)) {
            return false;
        }
    }
    return true;
}

/* ---- sections ---- */

static bool save_state(Registered *r, void *opaque, GError **errp)
{
    GByteArray *out = opaque;
    Walk w = { .state = r, .out = out };
    size_t start = out->len, length_at, fields_at;
    uint64_t sum;
    uint32_t length;

    if (r->vms->pre_save && !r->vms->pre_save(r->opaque, errp)) {
        g_prefix_error(errp, "state of %s (%s, instance %u): ", r->id, r->vms->name, r->instance);
        return false;
    }
    put_text(out, r->id);
    put_text(out, r->vms->name);
    put_u32(out, r->instance);
    put_u32(out, r->vms->version);
    length_at = out->len;
    put_u32(out, 0);
    fields_at = out->len;
    walk(&w, r->vms->fields, r->opaque, NULL);
    length = GUINT32_TO_LE(out->len - fields_at);
    memcpy(out->data + length_at, &length, sizeof(length));
    sum = GUINT64_TO_LE(XXH64(out->data + start, out->len - start, 0));
    g_byte_array_append(out, (const uint8_t *)&sum, sizeof(sum));
    return true;
}

bool vmstate_save_all(GByteArray *out, GError **errp)
{
    return foreach_state(save_state, out, errp);
}

typedef struct Load {
    Reader in;
    bool apply;
} Load;

/* The next section, which must be that of @r; @fields are its fields. */
static bool open_section(const Registered *r, Reader *in, Reader *fields, GError **errp)
{
    const uint8_t *start = in->at;
    g_autofree char *id = take_text(in), *name = id ? take_text(in) : NULL;
    uint32_t instance, version, len;
    const uint8_t *data, *sum;

    if (!in->left && !id) {
        return error_set(errp, "the stream has no state of %s (%s, instance %u)", r->id,
                         r->vms->name, r->instance);
    }
    if (!name || !take_u32(in, &instance) || !take_u32(in, &version) || !take_u32(in, &len) ||
        !(data = take(in, len)) || !(sum = take(in, sizeof(uint64_t)))) {
        return error_set(errp, "the stream is cut off in the state of %s", id ?: r->id);
    }
    if (XXH64(start, sum - start, 0) != number_at(sum, sizeof(uint64_t))) {
        return error_set(errp, "the state of %s (%s, instance %u) has a wrong checksum", id, name,
                         instance);
    }
    if (!g_str_equal(id, r->id) || !g_str_equal(name, r->vms->name) || instance != r->instance) {
        return error_set(errp,
                         "the stream has the state of %s (%s, instance %u) where here is %s "
                         "(%s, instance %u)",
                         id, name, instance, r->id, r->vms->name, r->instance);
    }
    if (version != r->vms->version) {
        return error_set(errp, "state of %s (%s, instance %u): version %u, here is version %u", id,
                         name, instance, version, r->vms->version);
    }
    *fields = (Reader) { data, len };
    return true;
}

static bool load_state(Registered *r, void *opaque, GError **errp)
{
    Load *load = opaque;
    Reader fields = { 0 };
    Walk w = { .state = r, .in = &fields, .apply = load->apply };

    if (!open_section(r, &load->in, &fields, errp) || !walk(&w, r->vms->fields, r->opaque, errp)) {
        return false;
    }
    if (fields.left) {
        return error_set(errp, "state of %s (%s, instance %u): %zu bytes too many", r->id,
                         r->vms->name, r->instance, fields.left);
    }
    if (load->apply && r->vms->post_load && !r->vms->post_load(r->opaque, errp)) {
        g_prefix_error(errp, "state of %s (%s, instance %u): ", r->id, r->vms->name, r->instance);
        return false;
    }
    return true;
}

static bool load_pass(const uint8_t *data, size_t len, bool apply, GError **errp)
{
    Load load = { .in = { data, len }, .apply = apply };
    g_autofree char *id = NULL;

    if (!foreach_state(load_state, &load, errp)) {
        return false;
    }
    if (load.in.left) {
        id = take_text(&load.in);
        return error_set(errp, "the stream has a state of %s, which is not here", id ?: "?");
    }
    return true;
}

bool vmstate_load_all(const uint8_t *data, size_t len, bool apply, GError **errp)
{
    bool ok = load_pass(data, len, false, errp);

    if (ok && apply) {
        memory_transaction_begin(); /* what moves, moves once */
        ok = load_pass(data, len, true, errp);
        memory_transaction_commit();
    }
    return ok;
}

static bool describe(Registered *r, void *opaque, GError **errp)
{
    g_string_append_printf(opaque, "%s/%s instance %u version %u\n", r->id, r->vms->name,
                           r->instance, r->vms->version);
    return true;
}

char *vmstate_describe_all(void)
{
    GString *text = g_string_new(NULL);

    foreach_state(describe, text, NULL);
    return g_string_free(text, FALSE);
}
