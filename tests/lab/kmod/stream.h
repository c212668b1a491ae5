/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The saved state: records, each a header and what it holds; little-endian, as x86 is. */
#ifndef VIADUCT_TEST_STREAM_H
#define VIADUCT_TEST_STREAM_H

#include <linux/types.h>

#define VT_MAGIC   0x31524556 /* "VER1" */
#define VT_VERSION 2
#define VT_CHUNK   65536 /* at most, of what a record holds */

enum vt_record_type {
    VT_REC_INIT = 1,  /* first, and again when the size changed: struct vt_init */
    VT_REC_STATE,     /* pages of the internal state */
    VT_REC_REGISTERS, /* struct vt_registers */
    VT_REC_RECORDS,   /* a part of the table of records */
    VT_REC_BAR2,      /* a part of BAR 2 */
    VT_REC_END,       /* struct vt_end; nothing follows */
};

struct vt_header {
    u32 magic, type;
    u64 offset;
    u32 size, hash; /* of what follows: the lower half of XXH64, which emulation is quick at */
};

struct vt_init {
    u32 version, vectors;
    u64 state_size;
    u32 bar2_size, max_pages;
};

struct vt_end {
    u64 bytes; /* of all that came before */
    u64 hash;  /* of all headers that came before, each one's the seed of the next */
};

#endif
