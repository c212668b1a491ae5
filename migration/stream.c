/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "stream.h"

#include <string.h>

#include "util/error.h"

static const char *const record_names[RECORD__MAX] = {
    [RECORD_HELLO] = "hello",    [RECORD_MACHINE] = "machine", [RECORD_RAM] = "ram",
    [RECORD_SECTION] = "device", [RECORD_SYNC] = "sync",       [RECORD_STATES] = "states",
    [RECORD_END] = "end",        [RECORD_GO] = "go",           [RECORD_ACK] = "ack",
    [RECORD_READY] = "ready",    [RECORD_FAILED] = "failed",
};

const char *record_name(unsigned type)
{
    return type < RECORD__MAX && record_names[type] ? record_names[type] : "unknown";
}

Stream *stream_new(MigrationChannel *channel)
{
    Stream *s = g_new0(Stream, 1);

    s->channel = channel;
    s->sum = XXH64_createState();
    s->sent_sum = XXH64_createState();
    g_mutex_init(&s->lock);
    return s;
}

void stream_free(Stream *s)
{
    if (s) {
        migration_channel_free(s->channel);
        XXH64_freeState(s->sum);
        XXH64_freeState(s->sent_sum);
        g_mutex_clear(&s->lock);
        g_free(s);
    }
}

/* What of the header the checksum begins with. */
#define SUMMED offsetof(Record, sum)

static uint64_t sum_of(Stream *s, const struct iovec *iov)
{
    XXH64_reset(s->sent_sum, 0);
    XXH64_update(s->sent_sum, iov[0].iov_base, SUMMED);
    XXH64_update(s->sent_sum, iov[1].iov_base, iov[1].iov_len);
    XXH64_update(s->sent_sum, iov[2].iov_base, iov[2].iov_len);
    return XXH64_digest(s->sent_sum);
}

bool stream_send(Stream *s, RecordType type, unsigned section, const void *head, size_t head_len,
                 const void *data, size_t len, GError **errp)
{
    Record r = { STREAM_MAGIC, type, section, head_len + len };
    struct iovec iov[3] = {
        { &r, sizeof(r) },
        { (void *)head, head_len },
        { (void *)data, len },
    };
    bool ok;

    g_mutex_lock(&s->lock);
    r.sum = sum_of(s, iov);
    ok = migration_channel_writev(s->channel, iov, G_N_ELEMENTS(iov), errp);
    g_mutex_unlock(&s->lock);
    if (!ok) {
        g_atomic_int_set(&s->broken, 1);
    }
    s->sent += sizeof(r) + head_len + len;
    return ok;
}

bool stream_next(Stream *s, GError **errp)
{
    Record *r = &s->record, next;

    if (s->left) {
        return error_set(errp, "%u bytes too many in a record '%s'", s->left, record_name(r->type));
    }
    if (!migration_channel_read(s->channel, &next, sizeof(next), errp)) {
        if (r->type) {
            g_prefix_error(errp, "after a record '%s': ", record_name(r->type));
        }
        return false;
    }
    *r = next;
    if (r->magic != STREAM_MAGIC) {
        return error_set(errp, "this is no record of a migration stream (0x%08x)", r->magic);
    }
    if (r->zero || r->length > RECORD_MAX || r->type >= RECORD__MAX || !record_names[r->type]) {
        return error_set(errp, "bad header of a record (type %u, length %u)", r->type, r->length);
    }
    s->left = r->length;
    XXH64_reset(s->sum, 0);
    XXH64_update(s->sum, r, SUMMED);
    return true;
}

bool stream_read(Stream *s, void *buf, size_t len, GError **errp)
{
    if (len > s->left) {
        return error_set(errp, "a record '%s' is too short (%u bytes)", record_name(s->record.type),
                         s->record.length);
    }
    if (!migration_channel_read(s->channel, buf, len, errp)) {
        g_prefix_error(errp, "in a record '%s': ", record_name(s->record.type));
        return false;
    }
    s->left -= len;
    XXH64_update(s->sum, buf, len);
    return true;
}

bool stream_verify(Stream *s, GError **errp)
{
    if (s->left) {
        return error_set(errp, "%u bytes too many in a record '%s'", s->left,
                         record_name(s->record.type));
    }
    return XXH64_digest(s->sum) == s->record.sum ||
           error_set(errp, "a record '%s' has a wrong checksum", record_name(s->record.type));
}

char *stream_printable(char *text)
{
    for (char *p = text; *p; p++) {
        if ((uint8_t)*p < ' ' || (uint8_t)*p > '~') {
            *p = '?';
        }
    }
    return text;
}

bool stream_payload(Stream *s, GByteArray *buf, GError **errp)
{
    g_byte_array_set_size(buf, s->left + 1);
    buf->data[s->left] = 0;
    g_byte_array_set_size(buf, s->left);
    return stream_read(s, buf->data, buf->len, errp) && stream_verify(s, errp);
}
