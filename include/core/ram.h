/* SPDX-License-Identifier: GPL-2.0-or-later */
/* RAM blocks: pieces of host memory that back guest RAM.  Made by backends/hostmem. */
#ifndef VIADUCT_CORE_RAM_H
#define VIADUCT_CORE_RAM_H

#include <glib.h>
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
    bool pinned;        /* for DMA, or it is going to be: all of it gets memory */
    bool blank;         /* until a guest runs: all zeroes, and nobody else can write to it */
    uint64_t *dirty;    /* see ram_dirty_start() */
    struct RAMBlock *next;
} RAMBlock;

/* The blocks of the machine, in order of registration. */
extern RAMBlock *ram_blocks;
void ram_block_register(RAMBlock *block);
void ram_block_unregister(RAMBlock *block);

/* Host mappings of blocks start at a multiple of this: a transparent huge page of the host's. */
#define RAM_BLOCK_ALIGN (2ULL << 20)

/*
 * Allocates the range's memory now, as huge pages wherever it can, whatever the host's policy for
 * shared memory is (MADV_COLLAPSE, Linux 6.1).  For memory that is about to be pinned: the pin, the
 * IOMMU's page tables and KVM's then handle one page where there would be 512.  An optimization:
 * where the kernel cannot, memory is allocated in small pages later, as it would have been, and the
 * answer is false.
 */
bool ram_block_populate_huge(RAMBlock *block, uint64_t offset, uint64_t size);

/*
 * The dirty bitmap: one bit for RAM_DIRTY_PAGE bytes, bit 0 of word 0 the block's first page; set by
 * whoever learns that the page was written, cleared by whoever has sent it.  NULL: nothing tracks the
 * block, and all of it counts as dirty.  The kernel writes into it without atomic operations, so it
 * belongs to the holder of the machine lock.
 */
#define RAM_DIRTY_PAGE 4096ULL
/* Gives every block that has none a bitmap of zeroes; on failure all go.  Machine lock held. */
bool ram_dirty_start(GError **errp);
void ram_dirty_stop(void);
/* The pages that the range touches are dirty; and it is no longer blank. */
void ram_block_set_dirty(RAMBlock *block, uint64_t offset, uint64_t size);
/* All of it. */
void ram_dirty_all(void);
/* @pages of them from @offset on are dirty if their bit, bit 0 being @offset's, is set. */
void ram_block_merge_dirty(RAMBlock *block, uint64_t offset, uint64_t pages, const uint64_t *bits);
/* How many are. */
uint64_t ram_block_dirty_pages(const RAMBlock *block);

#endif
