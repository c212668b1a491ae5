/* SPDX-License-Identifier: GPL-2.0-or-later */
/* RAM blocks: pieces of host memory that back guest RAM.  Made by backends/hostmem. */
#ifndef VIADUCT_CORE_RAM_H
#define VIADUCT_CORE_RAM_H

#include <stdbool.h>
#include <stdint.h>

typedef struct RAMBlock {
    char *idstr; /* unique, the same in source and destination of a migration */
    void *host;
    uint64_t size;      /* bytes, a multiple of page_size */
    uint64_t page_size; /* of the backing: 4 KiB or a huge page */
    int fd;             /* memfd or file behind it, -1 for anonymous memory; owned by the backend */
    uint64_t fd_offset; /* where the block starts in that file */
    bool shared;        /* MAP_SHARED */
    struct RAMBlock *next;
} RAMBlock;

/* The blocks of the machine, in order of registration. */
extern RAMBlock *ram_blocks;
void ram_block_register(RAMBlock *block);
void ram_block_unregister(RAMBlock *block);

#endif
