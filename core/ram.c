/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/ram.h"

#include <errno.h>
#include <glib.h>
#include <sys/mman.h>

#include "util/trace.h"

#ifndef MADV_POPULATE_READ /* Linux 5.14 */
#define MADV_POPULATE_READ 22
#endif
#ifndef MADV_COLLAPSE /* Linux 6.1 */
#define MADV_COLLAPSE 25
#endif

RAMBlock *ram_blocks;

void ram_block_register(RAMBlock *block)
{
    RAMBlock **end = &ram_blocks;

    while (*end) {
        end = &(*end)->next;
    }
    block->next = NULL;
    *end = block;
}

void ram_block_unregister(RAMBlock *block)
{
    for (RAMBlock **p = &ram_blocks; *p; p = &(*p)->next) {
        if (*p == block) {
            *p = block->next;
            return;
        }
    }
}

/*
 * The kernel collapses only what is not empty altogether, so a page of each huge page is touched
 * first; a read does, and leaves what is there as it is.  It is the kernel that reads: where there
 * is no memory to be had (a full tmpfs), that is no SIGBUS.
 */
void ram_block_populate_huge(RAMBlock *block, uint64_t offset, uint64_t size)
{
    char *start = (char *)block->host + offset;
    int ret;

    if (block->page_size >= RAM_BLOCK_ALIGN) {
        return;
    }
    for (uint64_t at = 0; at < size; at += RAM_BLOCK_ALIGN) {
        madvise(start + at, block->page_size, MADV_POPULATE_READ);
    }
    ret = madvise(start, size, MADV_COLLAPSE);
    TRACE("ram_block_populate_huge", "%s 0x%" G_GINT64_MODIFIER "x+0x%" G_GINT64_MODIFIER "x: %s",
          block->idstr, offset, size, ret ? g_strerror(errno) : "done");
}
