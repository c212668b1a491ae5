/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmstate-edit.h"

#include <string.h>
#include <xxhash.h>

typedef struct Section {
    uint8_t *start, *fields, *end; /* .end is where the checksum is */
    char id[256], name[256];
    uint32_t instance;
} Section;

static bool text_at(uint8_t **at, const uint8_t *end, char text[256])
{
    size_t len;

    if (*at >= end || (len = **at) >= (size_t)(end - *at)) {
        return false;
    }
    memcpy(text, *at + 1, len);
    text[len] = '\0';
    *at += 1 + len;
    return true;
}

static bool section_at(uint8_t *at, const uint8_t *end, Section *s)
{
    uint32_t numbers[3];

    s->start = at;
    if (!text_at(&at, end, s->id) || !text_at(&at, end, s->name) ||
        (size_t)(end - at) < sizeof(numbers) + 8) {
        return false;
    }
    memcpy(numbers, at, sizeof(numbers));
    s->instance = numbers[0];
    s->fields = at + sizeof(numbers);
    if (numbers[2] > (size_t)(end - s->fields) - 8) {
        return false;
    }
    s->end = s->fields + numbers[2];
    return true;
}

GByteArray *stream_save(void)
{
    GByteArray *stream = g_byte_array_new();
    g_autoptr(GError) err = NULL;

    vmstate_save_all(stream, &err);
    g_assert_no_error(err);
    return stream;
}

void stream_seal(GByteArray *stream)
{
    uint8_t *at = stream->data, *end = at + stream->len;
    Section s;

    while (at < end && section_at(at, end, &s)) {
        uint64_t sum = XXH64(s.start, s.end - s.start, 0);

        memcpy(s.end, &sum, sizeof(sum));
        at = s.end + sizeof(sum);
    }
}

uint8_t *stream_field(GByteArray *stream, const char *id, unsigned instance, const char *field,
                      size_t *len)
{
    uint8_t *at = stream->data, *end = at + stream->len;
    Section s;

    for (; at < end && section_at(at, end, &s); at = s.end + 8) {
        char name[256];
        uint32_t n;

        if (strcmp(s.id, id) || s.instance != instance) {
            continue;
        }
        for (uint8_t *f = s.fields; f < s.end; f += n) {
            g_assert_true(text_at(&f, s.end, name));
            memcpy(&n, f + 2, sizeof(n));
            f += 6;
            if (!strcmp(name, field)) {
                *len = n;
                return f;
            }
        }
    }
    g_error("no field '%s' of %s, instance %u", field, id, instance);
}

void stream_set(GByteArray *stream, const char *id, unsigned instance, const char *field,
                uint64_t value)
{
    size_t len;
    uint8_t *at = stream_field(stream, id, instance, field, &len);

    memcpy(at, &value, MIN(len, sizeof(value)));
    stream_seal(stream);
}

void stream_load(GByteArray *stream)
{
    g_autoptr(GError) err = NULL;
    bool ok = vmstate_load_all(stream->data, stream->len, true, &err);

    g_assert_no_error(err);
    g_assert_true(ok);
}

void stream_refused(GByteArray *stream, const char *message)
{
    g_autoptr(GError) err = NULL;

    g_assert_false(vmstate_load_all(stream->data, stream->len, true, &err));
    if (!strstr(err->message, message) || strchr(err->message, '\n')) {
        g_error("'%s' does not say '%s'", err->message, message);
    }
}
