/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Cuts a stream of bytes into JSON values, wherever the reads happen to end.  It knows depth and
 * strings only; whether a value is good JSON is the parser's business.
 */
#ifndef VIADUCT_MONITOR_FRAMER_H
#define VIADUCT_MONITOR_FRAMER_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define JSON_MAX_DEPTH 1024
#define JSON_MAX_SIZE  (64 * 1024 * 1024)

typedef struct JSONFramer {
    GString *text; /* of the value so far */
    unsigned depth;
    char quote;   /* that the string began with; 0: not in a string */
    bool escape;  /* behind a backslash */
    bool discard; /* beyond a limit, which was reported: skip to the value's end */
} JSONFramer;

/* One value's text, or what was wrong with it and NULL. */
typedef void (*JSONFrameFn)(const char *text, const char *error, void *opaque);

void json_framer_init(JSONFramer *f);
void json_framer_clear(JSONFramer *f);
/* Forgets what has come so far. */
void json_framer_reset(JSONFramer *f);
/* Appends what has come of a value so far, for json_framer_load() of another process. */
void json_framer_save(const JSONFramer *f, GByteArray *out);
/* False: that is none, and nothing has changed. */
bool json_framer_load(JSONFramer *f, const uint8_t *data, size_t len);
void json_framer_feed(JSONFramer *f, const uint8_t *buf, size_t len, JSONFrameFn fn, void *opaque);

#endif
