/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hw/x86/aml.h"

#include <string.h>

/* The low @n bytes of @value, least significant first. */
static void put(Aml *a, uint64_t value, unsigned n)
{
    for (; n; n--, value >>= 8) {
        aml_op(a, (uint8_t)value);
    }
}

void aml_op(Aml *a, uint8_t opcode)
{
    g_byte_array_append(a->out, &opcode, 1);
}

/* ---- terms ---- */

void aml_int(Aml *a, uint64_t value)
{
    static const struct {
        uint64_t max;
        uint8_t prefix, bytes;
    } forms[] = {
        { UINT8_MAX, 0x0a, 1 },
        { UINT16_MAX, 0x0b, 2 },
        { UINT32_MAX, 0x0c, 4 },
        { UINT64_MAX, 0x0e, 8 },
    };
    unsigned i = 0;

    if (value <= 1) { /* ZeroOp, OneOp */
        aml_op(a, (uint8_t)value);
        return;
    }
    while (value > forms[i].max) {
        i++;
    }
    aml_op(a, forms[i].prefix);
    put(a, value, forms[i].bytes);
}

void aml_string(Aml *a, const char *s)
{
    aml_op(a, 0x0d);
    g_byte_array_append(a->out, (const guint8 *)s, (guint)strlen(s) + 1);
}

void aml_path(Aml *a, const char *path)
{
    g_auto(GStrv) segments = NULL;
    guint n;

    for (; *path == '\\' || *path == '^'; path++) {
        aml_op(a, (uint8_t)*path);
    }
    segments = g_strsplit(path, ".", -1);
    n = g_strv_length(segments);
    if (n == 0) {
        aml_op(a, 0x00); /* the root itself */
    } else if (n == 2) {
        aml_op(a, 0x2e);
    } else if (n > 2) {
        aml_op(a, 0x2f);
        aml_op(a, (uint8_t)n);
    }
    for (guint i = 0; i < n; i++) {
        size_t len = strlen(segments[i]);

        g_assert(len >= 1 && len <= 4);
        for (size_t c = 0; c < 4; c++) {
            aml_op(a, c < len ? (uint8_t)segments[i][c] : '_');
        }
    }
}

/* Three letters of five bits and four hexadecimal digits, most significant first. */
void aml_eisaid(Aml *a, const char *id)
{
    uint32_t value = (uint32_t)g_ascii_strtoull(id + 3, NULL, 16);

    for (int i = 0; i < 3; i++) {
        value |= (uint32_t)(id[i] - 0x40) << (26 - 5 * i);
    }
    aml_op(a, 0x0c);
    put(a, GUINT32_SWAP_LE_BE(value), 4);
}

/* The first three groups are numbers, stored least significant byte first; the rest are bytes. */
void aml_uuid(Aml *a, const char *uuid)
{
    static const uint8_t order[16] = { 6, 4, 2, 0, 11, 9, 16, 14, 19, 21, 24, 26, 28, 30, 32, 34 };

    aml_op(a, 0x11);
    aml_op(a, 1 + 2 + 16); /* package length: itself, the size, the bytes */
    aml_op(a, 0x0a);
    aml_op(a, 16);
    for (int i = 0; i < 16; i++) {
        const char *digits = uuid + order[i];

        aml_op(a,
               (uint8_t)(g_ascii_xdigit_value(digits[0]) << 4 | g_ascii_xdigit_value(digits[1])));
    }
}

void aml_name(Aml *a, const char *path)
{
    aml_op(a, 0x08);
    aml_path(a, path);
}

void aml_name_int(Aml *a, const char *path, uint64_t value)
{
    aml_name(a, path);
    aml_int(a, value);
}

void aml_name_eisaid(Aml *a, const char *path, const char *id)
{
    aml_name(a, path);
    aml_eisaid(a, id);
}

/* ---- what has a length ---- */

static void begin(Aml *a, bool buffer)
{
    g_assert(a->depth < AML_MAX_DEPTH);
    a->open[a->depth].start = a->out->len;
    a->open[a->depth++].buffer = buffer;
}

void aml_scope(Aml *a, const char *path)
{
    aml_op(a, 0x10);
    begin(a, false);
    aml_path(a, path);
}

void aml_device(Aml *a, const char *path)
{
    aml_op(a, 0x5b);
    aml_op(a, 0x82);
    begin(a, false);
    aml_path(a, path);
}

void aml_method(Aml *a, const char *path, unsigned args, bool serialized)
{
    aml_op(a, 0x14);
    begin(a, false);
    aml_path(a, path);
    aml_op(a, (uint8_t)(args | (serialized ? 8 : 0)));
}

void aml_if(Aml *a)
{
    aml_op(a, 0xa0);
    begin(a, false);
}

void aml_else(Aml *a)
{
    aml_op(a, 0xa1);
    begin(a, false);
}

void aml_package(Aml *a, uint8_t elements)
{
    aml_op(a, 0x12);
    begin(a, false);
    aml_op(a, elements);
}

void aml_resources(Aml *a)
{
    aml_op(a, 0x11);
    begin(a, true);
}

static void insert(GByteArray *out, guint at, const uint8_t *bytes, guint n)
{
    guint tail = out->len - at;

    g_byte_array_set_size(out, out->len + n);
    memmove(out->data + at + n, out->data + at, tail);
    memcpy(out->data + at, bytes, n);
}

/*
 * PkgLength counts itself.  One byte holds up to 63; else the first byte has the number of those
 * that follow in bits 7:6 and the low four bits of the length.
 */
static void insert_length(GByteArray *out, guint at)
{
    guint len = out->len - at;
    uint8_t bytes[4];
    unsigned n = 1;

    while (n < 4 && len + n >= (n == 1 ? 1U << 6 : 1U << (4 + 8 * (n - 1)))) {
        n++;
    }
    len += n;
    if (n == 1) {
        bytes[0] = (uint8_t)len;
    } else {
        bytes[0] = (uint8_t)((n - 1) << 6 | (len & 0xf));
        for (unsigned i = 1; i < n; i++) {
            bytes[i] = (uint8_t)(len >> (4 + 8 * (i - 1)));
        }
    }
    insert(out, at, bytes, n);
}

void aml_end(Aml *a)
{
    guint start;

    g_assert(a->depth > 0);
    start = a->open[--a->depth].start;
    if (a->open[a->depth].buffer) {
        guint size;

        put(a, 0x0079, 2); /* end tag; a checksum of 0 stands for "not checked" */
        size = a->out->len - start;
        insert(a->out, start, (uint8_t[]) { 0x0b, (uint8_t)size, (uint8_t)(size >> 8) }, 3);
    }
    insert_length(a->out, start);
}

/* ---- resource descriptors (6.4) ---- */

void aml_io(Aml *a, uint16_t base, uint8_t size)
{
    put(a, 0x0147, 2); /* decodes 16 bits */
    put(a, base, 2);
    put(a, base, 2);
    put(a, 1, 1);
    put(a, size, 1);
}

void aml_irq(Aml *a, unsigned irq)
{
    put(a, 0x22, 1);
    put(a, 1U << irq, 2);
}

void aml_memory32(Aml *a, uint32_t base, uint32_t size)
{
    put(a, 0x86, 1);
    put(a, 9, 2);
    put(a, 1, 1); /* writable */
    put(a, base, 4);
    put(a, size, 4);
}

/* An address space descriptor of @width bytes a number: bounds fixed, nothing translated. */
static void window(Aml *a, unsigned width, uint8_t type, uint8_t type_flags, uint64_t first,
                   uint64_t last)
{
    put(a, width == 2 ? 0x88 : width == 4 ? 0x87 : 0x8a, 1);
    put(a, 3 + 5 * width, 2);
    put(a, type, 1);
    put(a, 0x0c, 1);
    put(a, type_flags, 1);
    put(a, 0, width); /* granularity */
    put(a, first, width);
    put(a, last, width);
    put(a, 0, width); /* translation */
    put(a, last - first + 1, width);
}

void aml_bus_window(Aml *a, uint16_t first, uint16_t last)
{
    window(a, 2, 2, 0, first, last);
}

void aml_io_window(Aml *a, uint16_t first, uint16_t last)
{
    window(a, 2, 1, 0x03, first, last); /* the entire range */
}

/* Not called prefetchable: then Linux would keep other 64-bit BARs out. */
void aml_memory_window(Aml *a, uint64_t first, uint64_t last)
{
    window(a, last <= UINT32_MAX ? 4 : 8, 0, 0x01, first, last);
}
