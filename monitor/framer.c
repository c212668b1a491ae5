/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * As QEMU, and unlike JSON, strings may stand in single quotes; they are handed on in double ones.
 * A byte that can be in no JSON text (a control character, 0xff) is an error that starts afresh
 * behind it: so a client that has lost its place can find it again.
 */
#include "monitor/framer.h"

#include <string.h>

void json_framer_init(JSONFramer *f)
{
    *f = (JSONFramer) { .text = g_string_new(NULL) };
}

void json_framer_clear(JSONFramer *f)
{
    g_string_free(f->text, TRUE);
}

void json_framer_reset(JSONFramer *f)
{
    g_string_truncate(f->text, 0);
    f->depth = 0;
    f->quote = 0;
    f->escape = f->discard = false;
}

static void finish(JSONFramer *f, JSONFrameFn fn, void *opaque)
{
    if (f->text->len && !f->discard) {
        fn(f->text->str, NULL, opaque);
    }
    json_framer_reset(f);
    if (f->text->allocated_len > 64 * 1024) { /* one huge value is no reason to keep its room */
        g_string_free(f->text, TRUE);
        f->text = g_string_new(NULL);
    }
}

static void too_much(JSONFramer *f, const char *error, JSONFrameFn fn, void *opaque)
{
    if (!f->discard) {
        fn(NULL, error, opaque);
        f->discard = true;
        g_string_truncate(f->text, 0);
    }
}

static void add(JSONFramer *f, char c)
{
    if (!f->discard) {
        g_string_append_c(f->text, c);
    }
}

static void feed_string(JSONFramer *f, char c)
{
    if (f->escape) {
        f->escape = false;
        if (c != '\'') { /* \' is no escape in JSON, nor need it be one in double quotes */
            add(f, '\\');
        }
        add(f, c);
    } else if (c == '\\') {
        f->escape = true;
    } else if (c == f->quote) {
        f->quote = 0;
        add(f, '"');
    } else {
        if (c == '"') {
            add(f, '\\');
        }
        add(f, c);
    }
}

static void feed(JSONFramer *f, uint8_t byte, JSONFrameFn fn, void *opaque)
{
    char c = (char)byte;
    bool space = byte == ' ' || byte == '\t' || byte == '\n' || byte == '\r';

    if (byte >= 0xfe || (byte < ' ' && (!space || f->quote))) {
        if (!f->discard) {
            fn(NULL, "JSON parse error, stray control character", opaque);
        }
        json_framer_reset(f);
        return;
    }
    if (f->quote) {
        feed_string(f, c);
        if (!f->quote && !f->depth) {
            finish(f, fn, opaque);
        }
        return;
    }
    switch (c) {
    case '{':
    case '[':
    case '"':
    case '\'':
        if (!f->depth) {
            finish(f, fn, opaque); /* a bare word that went before */
        }
        add(f, c == '\'' ? '"' : c);
        if (c == '{' || c == '[') {
            f->depth++;
        } else {
            f->quote = c;
        }
        break;
    case '}':
    case ']':
        if (!f->depth) {
            finish(f, fn, opaque);
        }
        add(f, c);
        if (f->depth <= 1) {
            finish(f, fn, opaque);
        } else {
            f->depth--;
        }
        break;
    default:
        if (!space) {
            add(f, c);
        } else if (f->depth) {
            add(f, ' ');
        } else {
            finish(f, fn, opaque);
        }
    }
    if (f->depth > JSON_MAX_DEPTH) {
        too_much(f, "JSON token nesting depth limit exceeded", fn, opaque);
    }
}

void json_framer_feed(JSONFramer *f, const uint8_t *buf, size_t len, JSONFrameFn fn, void *opaque)
{
    for (size_t i = 0; i < len; i++) {
        feed(f, buf[i], fn, opaque);
    }
    if (f->text->len > JSON_MAX_SIZE) {
        too_much(f, "JSON token size limit exceeded", fn, opaque);
    }
}

/* ---- to another process ---- */

typedef struct Saved {
    uint32_t depth; /* little endian */
    uint8_t quote, escape, discard, zero;
} Saved; /* the text behind it */

void json_framer_save(const JSONFramer *f, GByteArray *out)
{
    const Saved saved = { GUINT32_TO_LE(f->depth), (uint8_t)f->quote, f->escape, f->discard, 0 };

    g_byte_array_append(out, (const uint8_t *)&saved, sizeof(saved));
    g_byte_array_append(out, (const uint8_t *)f->text->str, (guint)f->text->len);
}

bool json_framer_load(JSONFramer *f, const uint8_t *data, size_t len)
{
    Saved saved;

    if (len < sizeof(saved)) {
        return false;
    }
    memcpy(&saved, data, sizeof(saved));
    data += sizeof(saved);
    len -= sizeof(saved);
    if ((GUINT32_FROM_LE(saved.depth) > JSON_MAX_DEPTH && !saved.discard) || saved.escape > 1 ||
        saved.discard > 1 || saved.zero || (saved.quote && !strchr("\"'", saved.quote)) ||
        len > JSON_MAX_SIZE || memchr(data, 0, len)) {
        return false;
    }
    json_framer_reset(f);
    g_string_append_len(f->text, (const char *)data, (gssize)len);
    f->depth = GUINT32_FROM_LE(saved.depth);
    f->quote = (char)saved.quote;
    f->escape = saved.escape;
    f->discard = saved.discard;
    return true;
}
