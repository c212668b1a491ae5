/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guest memory that is not sent (x-ignore-shared): the destination opens its file.  A file that has
 * no name any more, or another file has it, is none of these: its memory is sent.
 *
 * That the path is the same on both sides does not mean that the memory is: a tmpfs may be empty
 * after a reboot, a file restored, or written to since.  So samples of what is there are compared;
 * all of it would take as long as sending it.
 */
#include "internal.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#define PAGE RAM_DIRTY_PAGE
/* The first mebibyte, in which each guest has something, and as many pages spread over the rest. */
#define SAMPLES 256

static char *file_of(const RAMBlock *block)
{
    g_autofree char *link = g_strdup_printf("/proc/self/fd/%d", block->fd);
    g_autofree char *path = NULL;
    struct stat ours, named;

    if (block->fd < 0 || !block->shared) {
        return NULL;
    }
    path = g_file_read_link(link, NULL);
    if (!path || *path != '/' || fstat(block->fd, &ours) || stat(path, &named) ||
        ours.st_dev != named.st_dev || ours.st_ino != named.st_ino) {
        return NULL;
    }
    return g_steal_pointer(&path);
}

GPtrArray *ram_files(void)
{
    GPtrArray *files = g_ptr_array_new_with_free_func(g_free);

    for (const RAMBlock *block = ram_blocks; block; block = block->next) {
        g_ptr_array_add(files, file_of(block));
    }
    return files;
}

/* By the file where it can be read: that allocates nothing where it has holes. */
static void add_page(XXH32_state_t *sum, const RAMBlock *block, uint64_t page)
{
    uint8_t data[PAGE];

    if (pread(block->fd, data, PAGE, (off_t)(block->fd_offset + page * PAGE)) != (ssize_t)PAGE) {
        memcpy(data, (const uint8_t *)block->host + page * PAGE, PAGE);
    }
    XXH32_update(sum, data, PAGE);
}

static void add_block(XXH32_state_t *sum, const RAMBlock *block)
{
    uint64_t pages = block->size / PAGE, step = MAX(pages / SAMPLES, 1);

    for (uint64_t page = 0; page < MIN(pages, SAMPLES); page++) {
        add_page(sum, block, page);
    }
    for (uint64_t page = SAMPLES; page < pages; page += step) {
        add_page(sum, block, page);
    }
}

uint32_t ram_files_sum(const GPtrArray *files)
{
    XXH32_state_t *sum;
    uint32_t result;
    guint n = 0;

    if (!files) {
        return 0;
    }
    sum = XXH32_createState();
    XXH32_reset(sum, 0);
    for (const RAMBlock *block = ram_blocks; block; block = block->next) {
        if (files->pdata[n++]) {
            add_block(sum, block);
        }
    }
    result = XXH32_digest(sum);
    XXH32_freeState(sum);
    return result;
}
