// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The internal state, which is there to be big and to change: each page says which it is and how
 * often it changed, and all of its words follow from that.
 */
#include <linux/vmalloc.h>

#include "vtest.h"

#define WORDS (VT_PAGE / sizeof(u64))

static u64 *page_of(struct vt_blob *blob, u64 page)
{
    return (u64 *)(blob->data + page * VT_PAGE);
}

static void fill_page(struct vt_blob *blob, u64 page, u64 version)
{
    u64 *words = page_of(blob, page);

    words[0] = page;
    words[1] = version;
    memset64(words + 2, vt_check(page, version), WORDS - 2);
}

int vt_blob_resize(struct vt_blob *blob, u64 size)
{
    u64 pages = DIV_ROUND_UP_ULL(size, VT_PAGE);
    u8 *data = NULL;
    unsigned long *dirty = NULL;

    if (size > VT_MAX_STATE)
        return -EINVAL;
    if (pages == blob->pages)
        return 0;
    if (pages) {
        data = vzalloc(pages * VT_PAGE);
        dirty = vzalloc(BITS_TO_LONGS(pages) * sizeof(*dirty));
        if (!data || !dirty) {
            vfree(data);
            vfree(dirty);
            return -ENOMEM;
        }
    }
    vfree(blob->data);
    vfree(blob->dirty);
    *blob = (struct vt_blob) { .data = data, .pages = pages, .dirty = dirty };
    return 0;
}

void vt_blob_fill(struct vt_blob *blob)
{
    for (u64 i = 0; i < blob->pages; i++)
        fill_page(blob, i, 0);
}

/* The next @count pages change, one after the other. */
void vt_blob_change(struct vt_device *vt, u64 count)
{
    struct vt_blob *blob = &vt->blob;

    if (!count)
        return;
    vt->regs.state_sum += count;
    while (count--) {
        u64 page = vt->regs.next_state % blob->pages;

        fill_page(blob, page, page_of(blob, page)[1] + 1);
        __set_bit(page, blob->dirty);
        /* Not simply the next one: what is dirty is to be scattered. */
        vt->regs.next_state = (page + 17) % blob->pages;
    }
    if (vt->saving)
        vt_saving_wake(vt->saving);
}

bool vt_blob_verify(struct vt_device *vt)
{
    u64 sum = 0;

    for (u64 i = 0; i < vt->blob.pages; i++) {
        const u64 *words = page_of(&vt->blob, i);
        u64 check = vt_check(i, words[1]);

        sum += words[1];
        if (words[0] != i)
            return false;
        for (unsigned int k = 2; k < WORDS; k++) {
            if (words[k] != check)
                return false;
        }
    }
    return sum == vt->regs.state_sum;
}

/* By the driver's command or a knob: new state, of another size. */
int vt_state_resize(struct vt_device *vt, u64 size)
{
    int ret = vt_accessible(vt) ? vt_blob_resize(&vt->blob, size) : -EBUSY;

    if (ret)
        return ret;
    vt_blob_fill(&vt->blob);
    vt->regs.state_size = vt->blob.pages * VT_PAGE;
    vt->regs.state_sum = 0;
    vt->regs.next_state = 0;
    if (vt->saving)
        vt_saving_restart(vt->saving);
    return 0;
}
