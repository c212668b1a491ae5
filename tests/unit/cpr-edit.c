/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/unit/cpr-edit.h"

#include <string.h>
#include <xxhash.h>

#include "migration/options.h"

static void part_clear(void *opaque)
{
    g_byte_array_unref(((CprPart *)opaque)->data);
}

GArray *cpr_parts(const GByteArray *message)
{
    GArray *parts = g_array_new(FALSE, TRUE, sizeof(CprPart));
    const uint8_t *at = message->data + 5 * sizeof(uint32_t);

    g_array_set_clear_func(parts, part_clear);
    while (at < message->data + message->len - sizeof(uint64_t)) {
        CprPart p = { .name_len = *at++ };
        uint32_t len;

        memcpy(p.name, at, p.name_len);
        at += p.name_len;
        memcpy(&p.id, at, sizeof(p.id));
        at += sizeof(p.id);
        p.has_fd = *at++;
        memcpy(&len, at, sizeof(len));
        at += sizeof(len);
        p.data = g_byte_array_append(g_byte_array_new(), at, len);
        at += len;
        g_array_append_val(parts, p);
    }
    return parts;
}

CprPart *cpr_part(GArray *parts, const char *name, unsigned id)
{
    for (guint i = 0; i < parts->len; i++) {
        CprPart *p = &g_array_index(parts, CprPart, i);

        if (g_str_equal(p->name, name) && p->id == id) {
            return p;
        }
    }
    return NULL;
}

guint cpr_part_fd(const GArray *parts, const CprPart *p)
{
    guint n = 0;

    for (guint i = 0; &g_array_index(parts, CprPart, i) != p; i++) {
        n += g_array_index(parts, CprPart, i).has_fd;
    }
    return n;
}

static void put(GByteArray *out, const void *bytes, size_t len)
{
    g_byte_array_append(out, bytes, (guint)len);
}

void cpr_join(GByteArray *out, const GArray *parts, const GArray *fds)
{
    uint32_t head[] = { CPR_MAGIC, 1, MIG_MODE_CPR_TRANSFER, parts->len, fds->len };

    g_byte_array_set_size(out, 0);
    put(out, head, sizeof(head));
    for (guint i = 0; i < parts->len; i++) {
        const CprPart *p = &g_array_index(parts, CprPart, i);

        put(out, &p->name_len, 1);
        put(out, p->name, p->name_len);
        put(out, &p->id, sizeof(p->id));
        put(out, &p->has_fd, 1);
        put(out, &p->data->len, sizeof(uint32_t));
        put(out, p->data->data, p->data->len);
    }
}

void cpr_seal(GByteArray *out)
{
    uint64_t sum = XXH64(out->data, out->len, 0);

    put(out, &sum, sizeof(sum));
}
