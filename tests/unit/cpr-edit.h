/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A live update's message (migration/cpr.c), taken apart and put together again. */
#ifndef VIADUCT_TESTS_UNIT_CPR_EDIT_H
#define VIADUCT_TESTS_UNIT_CPR_EDIT_H

#include <glib.h>
#include <stdint.h>

#define CPR_MAGIC 0x52504356u

typedef struct CprPart {
    char name[256];
    uint8_t name_len, has_fd;
    uint32_t id;
    GByteArray *data;
} CprPart;

/* CprPart; of a message that is right. */
GArray *cpr_parts(const GByteArray *message);
/* NULL: there is none. */
CprPart *cpr_part(GArray *parts, const char *name, unsigned id);
/* The place of its descriptor among those that come with the message. */
guint cpr_part_fd(const GArray *parts, const CprPart *p);
/* The message with the numbers of parts and descriptors that there are, but without checksum. */
void cpr_join(GByteArray *message, const GArray *parts, const GArray *fds);
/* Adds the checksum. */
void cpr_seal(GByteArray *message);

#endif
