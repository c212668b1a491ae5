/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A stream of states (migration/vmstate.c says what it looks like) in the hands of a test. */
#ifndef VIADUCT_TESTS_UNIT_VMSTATE_EDIT_H
#define VIADUCT_TESTS_UNIT_VMSTATE_EDIT_H

#include "migration/vmstate.h"

/* All states; the machine has to have them to give.  g_byte_array_unref it. */
GByteArray *stream_save(void);
/* Makes all checksums right, as far as sections can be told apart. */
void stream_seal(GByteArray *stream);
/* The bytes of the (first) field of that name of that object; it must be there. */
uint8_t *stream_field(GByteArray *stream, const char *id, unsigned instance, const char *field,
                      size_t *len);
/* Puts @value there (as many bytes as the field has, up to 8), and seals. */
void stream_set(GByteArray *stream, const char *id, unsigned instance, const char *field,
                uint64_t value);
/* Must load. */
void stream_load(GByteArray *stream);
/* Must not load, and say why: @message is part of what it says. */
void stream_refused(GByteArray *stream, const char *message);

#endif
