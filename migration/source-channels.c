/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The source's channels, and what comes back on the main one. */
#include <string.h>

#include "multifd-connect.h"
#include "source.h"
#include "util/error.h"

static bool add_stream(MigrationChannel *channel, GError **errp)
{
    bool stopped;

    g_mutex_lock(&outgoing.lock);
    outgoing.streams[outgoing.nr_streams++] = stream_new(channel);
    stopped = g_atomic_int_get(&outgoing.stop);
    g_mutex_unlock(&outgoing.lock);
    return !stopped || source_stopped_error(errp);
}

static bool connect_main(GError **errp)
{
    MigrationChannel *channel = migration_connect(outgoing.address, outgoing.cancel, errp);
    Hello hello = { .version = STREAM_VERSION, .channels = outgoing.channels };

    if (!channel || !add_stream(channel, errp)) {
        return false;
    }
    memcpy(hello.uuid, outgoing.uuid, sizeof(hello.uuid));
    hello.flags = migration_channel_is_duplex(channel) ? HELLO_CONFIRMED : 0;
    return stream_send(outgoing.streams[0], RECORD_HELLO, 0, &hello, sizeof(hello), NULL, 0, errp);
}

bool source_connect(GError **errp)
{
    MigrationChannel *channels[MULTIFD_MAX];
    bool ok = true;

    if (!connect_main(errp) ||
        !migration_connect_many(outgoing.address, outgoing.uuid, outgoing.channels, channels,
                                outgoing.cancel, errp)) {
        return false;
    }
    for (unsigned i = 0; i < outgoing.channels; i++) {
        ok = add_stream(channels[i], ok ? errp : NULL) && ok;
    }
    return ok;
}

bool source_is_duplex(void)
{
    return migration_channel_is_duplex(outgoing.streams[0]->channel);
}

/* What the destination says: the name of what it refuses, acknowledgements, the end. */
static bool take_answer(Stream *s, GByteArray *buf, GError **errp)
{
    unsigned section;

    if (!stream_next(s, errp) || !stream_payload(s, buf, errp)) {
        return false;
    }
    section = s->record.section;
    switch (s->record.type) {
    case RECORD_ACK:
        if (section < outgoing.sections->len) {
            g_atomic_int_inc(&((MigrationSection *)outgoing.sections->pdata[section])->acked);
            return true;
        }
        break;
    case RECORD_READY:
        g_mutex_lock(&outgoing.lock);
        outgoing.confirmed = true;
        g_cond_broadcast(&outgoing.changed);
        g_mutex_unlock(&outgoing.lock);
        return true;
    case RECORD_FAILED:
        return error_set(errp, "destination: %s", stream_printable((char *)buf->data));
    }
    return error_set(errp, "the destination sent a record '%s'", record_name(s->record.type));
}

void source_disconnect(void)
{
    uint64_t sent = source_bytes_sent();
    unsigned n;

    g_mutex_lock(&outgoing.lock);
    outgoing.sent = sent;
    n = outgoing.nr_streams;
    outgoing.nr_streams = 0; /* nobody sees them any more */
    g_mutex_unlock(&outgoing.lock);
    for (unsigned i = 0; i < n; i++) {
        stream_free(g_steal_pointer(&outgoing.streams[i]));
    }
}

void *source_reader(void *opaque)
{
    g_autoptr(GByteArray) buf = g_byte_array_new();
    g_autoptr(GError) err = NULL;

    while (take_answer(outgoing.streams[0], buf, &err)) {
    }
    source_fail(err); /* no-op when it is over */
    return NULL;
}
