/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/ram.h"

#include <errno.h>
#include <glib.h>
#include <sys/mman.h>

#include "util/error.h"
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
            g_clear_pointer(&block->dirty, g_free);
            return;
        }
    }
}

/*
 * The kernel collapses only what is not empty altogether, so a page of each huge page is touched
 * first; a read does, and leaves what is there as it is.  It is the kernel that reads: where there
 * is no memory to be had (a full tmpfs), that is no SIGBUS.
 */
bool ram_block_populate_huge(RAMBlock *block, uint64_t offset, uint64_t size)
{
    char *start = (char *)block->host + offset;
    int ret;

    if (block->page_size >= RAM_BLOCK_ALIGN) {
        return true;
    }
    for (uint64_t at = 0; at < size; at += RAM_BLOCK_ALIGN) {
        madvise(start + at, block->page_size, MADV_POPULATE_READ);
    }
    ret = madvise(start, size, MADV_COLLAPSE);
    TRACE("ram_block_populate_huge", "%s 0x%" G_GINT64_MODIFIER "x+0x%" G_GINT64_MODIFIER "x: %s",
          block->idstr, offset, size, ret ? g_strerror(errno) : "done");
    return !ret;
}

/* ---- what is dirty ---- */

static uint64_t dirty_words(const RAMBlock *block)
{
    return (block->size + RAM_DIRTY_PAGE * 64 - 1) / (RAM_DIRTY_PAGE * 64);
}

bool ram_dirty_start(GError **errp)
{
    for (RAMBlock *block = ram_blocks; block; block = block->next) {
        if (block->dirty) {
            continue;
        }
        block->dirty = g_try_new0(uint64_t, dirty_words(block));
        if (!block->dirty) {
            ram_dirty_stop();
            return error_set(errp, "no memory for the dirty bitmap of '%s'", block->idstr);
        }
    }
    return true;
}

void ram_dirty_stop(void)
{
    for (RAMBlock *block = ram_blocks; block; block = block->next) {
        g_clear_pointer(&block->dirty, g_free);
    }
}

void ram_block_set_dirty(RAMBlock *block, uint64_t offset, uint64_t size)
{
    uint64_t page = offset / RAM_DIRTY_PAGE;
    uint64_t end = (offset + size + RAM_DIRTY_PAGE - 1) / RAM_DIRTY_PAGE;

    if (!block->dirty) {
        block->blank = false;
        return;
    }
    while (page < end) {
        uint64_t first = page % 64, n = MIN(64 - first, end - page);

        block->dirty[page / 64] |= (n == 64 ? UINT64_MAX : (1ULL << n) - 1) << first;
        page += n;
    }
}

void ram_dirty_all(void)
{
    for (RAMBlock *block = ram_blocks; block; block = block->next) {
        ram_block_set_dirty(block, 0, block->size);
    }
}

void ram_block_merge_dirty(RAMBlock *block, uint64_t offset, uint64_t pages, const uint64_t *bits)
{
    uint64_t first = offset / RAM_DIRTY_PAGE, shift = first % 64, words = (pages + 63) / 64;
    uint64_t *to = block->dirty ? block->dirty + first / 64 : NULL;

    for (uint64_t i = 0; to && i < words; i++) {
        uint64_t left = pages - i * 64;
        uint64_t w = left >= 64 ? bits[i] : bits[i] & ((1ULL << left) - 1);

        to[i] |= w << shift;
        if (shift && w >> (64 - shift)) {
            to[i + 1] |= w >> (64 - shift);
        }
    }
}

uint64_t ram_block_dirty_pages(const RAMBlock *block)
{
    uint64_t pages = block->size / RAM_DIRTY_PAGE, n = 0;

    if (!block->dirty) {
        return pages;
    }
    for (uint64_t i = 0; i < dirty_words(block); i++) {
        n += (uint64_t)__builtin_popcountll(block->dirty[i]);
    }
    return n;
}
