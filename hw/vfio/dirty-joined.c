/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What Linux leaves out.  AMD's IOMMU joins neighbouring entries of a table into one; when that is
 * dirty, the common page table code of Linux (seen in 7.2, record_dirty() of generic_pt) reports all
 * but the last of them and forgets that one too.  Joined entries are a power of two and aligned, so
 * the last one is odd and the one before it wholly dirty: where that is so, it is said to be dirty.
 */
#include "hw/vfio/container.h"

/* Pages: in each pair the second is dirty when the first is. */
static void fill_pages(uint64_t *bitmap, uint64_t iova, uint64_t pages)
{
    uint64_t firsts = iova / RAM_DIRTY_PAGE % 2 ? 0xaaaaaaaaaaaaaaaaULL : 0x5555555555555555ULL;
    uint64_t carry = 0;

    for (uint64_t i = 0; i * 64 < pages; i++) {
        uint64_t left = pages - i * 64, ours = left < 64 ? (1ULL << left) - 1 : UINT64_MAX;
        uint64_t dirty = bitmap[i] & firsts & ours;

        bitmap[i] |= (dirty << 1 | carry) & ours;
        carry = dirty >> 63;
    }
}

static bool all_dirty(const uint64_t *bitmap, uint64_t first, uint64_t n)
{
    for (uint64_t bit = first; bit < first + n; bit++) {
        if (!(bitmap[bit / 64] >> bit % 64 & 1)) {
            return false;
        }
    }
    return true;
}

/* The same for entries that stand for @size bytes. */
static void fill_entries(uint64_t *bitmap, uint64_t iova, uint64_t length, uint64_t size)
{
    uint64_t n = size / RAM_DIRTY_PAGE;

    for (uint64_t at = (iova / size | 1) * size; at + size <= iova + length; at += 2 * size) {
        uint64_t bit = (at - iova) / RAM_DIRTY_PAGE;

        if (at >= iova + size && all_dirty(bitmap, bit - n, n)) {
            for (uint64_t end = bit + n; bit < end; bit++) {
                bitmap[bit / 64] |= 1ULL << bit % 64;
            }
        }
    }
}

void vfio_dirty_fill_joined(uint64_t *bitmap, uint64_t iova, uint64_t length)
{
    fill_pages(bitmap, iova, length / RAM_DIRTY_PAGE);
    fill_entries(bitmap, iova, length, 1ULL << 21);
    fill_entries(bitmap, iova, length, 1ULL << 30);
}
