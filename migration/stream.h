/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Records on a channel: a header of 24 bytes, little-endian, and the payload.  The checksum covers
 * the header before it and the payload, so whatever was changed or lost on the way is found where it
 * happened.  It is XXH64, which every processor does well, also one that emulates another's vector
 * instructions; XXH3 is twice as fast here and a tenth there.
 */
#ifndef VIADUCT_MIGRATION_STREAM_H
#define VIADUCT_MIGRATION_STREAM_H

#include <xxhash.h>

#include "migration/channel.h"
#include "migration/migration.h"

#define STREAM_VERSION 2
#define STREAM_MAGIC   0x54434456u /* "VDCT" */
/* Of a payload, so that a reader's buffer is bounded. */
#define RECORD_MAX ((size_t)4 << 20)

typedef enum {
    /* source to destination, in this order */
    RECORD_HELLO = 1, /* stream version and what the stream has */
    RECORD_MACHINE,   /* what the machine is; see machine.c */
    RECORD_RAM,       /* pages; see ram.c */
    RECORD_SECTION,   /* a piece of a device's own state */
    RECORD_SYNC,      /* on each channel: what comes after it needs what came before it on all */
    RECORD_STATES,    /* of vmstate.h */
    RECORD_END,
    RECORD_GO, /* the VM is yours */
    /* destination to source */
    RECORD_ACK,    /* a section's migration_switchover_ack() */
    RECORD_READY,  /* all is loaded */
    RECORD_FAILED, /* text: why not */
    RECORD__MAX,
} RecordType;

typedef struct Record {
    uint32_t magic;
    uint16_t type;
    uint16_t section;
    uint32_t length; /* bytes of payload */
    uint32_t zero;
    uint64_t sum;
} Record;

typedef struct Stream {
    MigrationChannel *channel;
    GMutex lock; /* of whoever writes; a leaf */
    XXH64_state_t *sent_sum;
    _Atomic uint64_t sent; /* bytes */
    gint broken;           /* atomic: something could not be sent */
    /* the record that is being read */
    Record record;
    uint32_t left;
    XXH64_state_t *sum;
} Stream;

/* Takes @channel. */
Stream *stream_new(MigrationChannel *channel);
void stream_free(Stream *s);
const char *record_name(unsigned type);

/* One record; any thread. */
bool stream_send(Stream *s, RecordType type, unsigned section, const void *head, size_t head_len,
                 const void *data, size_t len, GError **errp);
/* The next record's header, to s->record.  What is left of the last one is an error. */
bool stream_next(Stream *s, GError **errp);
/* Some of its payload. */
bool stream_read(Stream *s, void *buf, size_t len, GError **errp);
/* After the payload: whether it was what the other side sent. */
bool stream_verify(Stream *s, GError **errp);
/* Text of the other side's, to be shown: whatever it sent, in a line of ASCII, in place. */
char *stream_printable(char *text);
/* All of the payload, verified, with a NUL behind it, into @buf, which is kept for the next. */
bool stream_payload(Stream *s, GByteArray *buf, GError **errp);

#endif
