// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The descriptor to which the state is written, in pieces of any size.  What is wrong with it is
 * found at once and told in the kernel's log, and to whoever migrates when the device leaves
 * RESUMING.
 */
#include <linux/anon_inodes.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>
#include <linux/xxhash.h>

#include "stream.h"
#include "vtest.h"

struct vt_resuming {
    struct vt_device *vt; /* NULL when the transfer is over */
    struct mutex *lock;
    struct device *held;
    const char *wrong; /* NULL: nothing so far */
    bool begun, registers, ended;
    u64 taken, parsed; /* bytes of the stream: written, and in whole records */
    u64 hash;          /* of all headers so far */
    size_t fill;       /* of the record being written */
    struct vt_registers regs;
    u8 *record;
};

/* ---- records; NULL, or what is wrong with them ---- */

static const char *load_init(struct vt_resuming *r, const struct vt_header *header,
                             const void *data)
{
    const struct vt_init *init = data;

    if (header->size != sizeof(*init) || init->version != VT_VERSION)
        return "another version";
    if (init->vectors != VT_VECTORS || init->bar2_size != VT_BAR2_SIZE ||
        init->max_pages != VT_MAX_PAGES || init->state_size % VT_PAGE)
        return "another device";
    if (vt_blob_resize(&r->vt->blob, init->state_size))
        return "no memory for its internal state";
    r->begun = true;
    return NULL;
}

static const char *load_state(struct vt_resuming *r, const struct vt_header *header,
                              const void *data)
{
    struct vt_blob *blob = &r->vt->blob;
    u64 size = blob->pages * VT_PAGE;

    if (header->offset > size || header->size > size - header->offset)
        return "internal state beyond its size";
    memcpy(blob->data + header->offset, data, header->size);
    return NULL;
}

static const char *load_registers(struct vt_resuming *r, const struct vt_header *header,
                                  const void *data)
{
    if (header->size != sizeof(r->regs))
        return "registers of another size";
    memcpy(&r->regs, data, sizeof(r->regs));
    r->registers = true;
    return NULL;
}

static const char *load_records(struct vt_resuming *r, const struct vt_header *header,
                                const void *data)
{
    if (header->offset > VT_MAX_PAGES * sizeof(u64) ||
        header->size > VT_MAX_PAGES * sizeof(u64) - header->offset)
        return "records beyond their table";
    memcpy((u8 *)r->vt->records + header->offset, data, header->size);
    return NULL;
}

static const char *load_bar2(struct vt_resuming *r, const struct vt_header *header,
                             const void *data)
{
    if (header->size != PAGE_SIZE || header->offset % PAGE_SIZE || header->offset >= VT_BAR2_SIZE)
        return "a piece of BAR 2 that is no page of it";
    memcpy(page_address(r->vt->bar2[header->offset / PAGE_SIZE]), data, PAGE_SIZE);
    return NULL;
}

static const char *load_end(struct vt_resuming *r, const struct vt_header *header, const void *data)
{
    const struct vt_end *end = data;

    if (header->size != sizeof(*end) || end->bytes != r->parsed || end->hash != r->hash)
        return "something is missing";
    if (!r->registers)
        return "no registers";
    r->ended = true;
    return NULL;
}

static const char *load_record(struct vt_resuming *r, const struct vt_header *header)
{
    static const char *(*const loaders[])(struct vt_resuming * r, const struct vt_header *header,
                                          const void *data) = {
        [VT_REC_INIT] = load_init,           [VT_REC_STATE] = load_state,
        [VT_REC_REGISTERS] = load_registers, [VT_REC_RECORDS] = load_records,
        [VT_REC_BAR2] = load_bar2,           [VT_REC_END] = load_end,
    };
    const void *data = r->record + sizeof(*header);

    if (header->type >= ARRAY_SIZE(loaders) || !loaders[header->type])
        return "a record of an unknown type";
    if (!r->begun && header->type != VT_REC_INIT)
        return "no beginning";
    if ((u32)xxh64(data, header->size, 0) != header->hash)
        return "a wrong checksum";
    return loaders[header->type](r, header, data);
}

static const char *check_header(const struct vt_header *header)
{
    return header->magic != VT_MAGIC ? "a wrong magic number"
           : header->size > VT_CHUNK ? "a record too long"
                                     : NULL;
}

/* How many bytes the record at hand takes before something can be said about it. */
static size_t wanted(const struct vt_resuming *r)
{
    const struct vt_header *header = (void *)r->record;

    return sizeof(*header) + (r->fill < sizeof(*header) ? 0 : header->size);
}

/* The header or all of a record is there. */
static void piece_done(struct vt_resuming *r)
{
    const struct vt_header *header = (void *)r->record;
    size_t whole;

    if (r->fill == sizeof(*header))
        r->wrong = check_header(header);
    whole = sizeof(*header) + header->size;
    if (r->wrong || r->fill < whole)
        return;
    r->wrong = load_record(r, header);
    r->hash = xxh64(r->record, sizeof(*header), r->hash);
    r->parsed += whole;
    r->fill = 0;
}

/* ---- the descriptor ---- */

static bool write_fails(const struct vt_resuming *r)
{
    return r->vt->knobs.write.times && r->taken >= r->vt->knobs.after;
}

static ssize_t take(struct vt_resuming *r, const char __user *buf, size_t count)
{
    struct vt_knobs *knobs = &r->vt->knobs;

    if (write_fails(r))
        return vt_fault_hit(&knobs->write);
    if (knobs->write.times)
        count = min_t(u64, count, knobs->after - r->taken);
    if (!r->wrong && r->ended) {
        r->wrong = "something behind its end";
        dev_warn(r->vt->vdev.dev, "the saved state has %s\n", r->wrong);
    } else if (!r->wrong) {
        count = min(count, wanted(r) - r->fill);
        if (copy_from_user(r->record + r->fill, buf, count))
            return -EFAULT;
        r->fill += count;
        if (r->fill == wanted(r) || r->fill == sizeof(struct vt_header))
            piece_done(r);
        if (r->wrong)
            dev_warn(r->vt->vdev.dev, "the saved state has %s, around byte %llu\n", r->wrong,
                     r->taken);
    }
    r->taken += count;
    return count;
}

static ssize_t resuming_write(struct file *file, const char __user *buf, size_t count, loff_t *pos)
{
    struct vt_resuming *r = file->private_data;
    ssize_t done = 0, ret = 0;

    if (pos)
        return -ESPIPE;
    mutex_lock(r->lock);
    if (!r->vt)
        ret = -ENODEV;
    /* An error is told by a call of its own. */
    while (ret >= 0 && done < count && !(done && write_fails(r))) {
        ret = take(r, buf + done, count - done);
        if (ret > 0)
            done += ret;
    }
    mutex_unlock(r->lock);
    return done ? done : ret;
}

static int resuming_release(struct inode *inode, struct file *file)
{
    struct vt_resuming *r = file->private_data;

    mutex_lock(r->lock);
    if (r->vt)
        r->vt->resuming = NULL;
    mutex_unlock(r->lock);
    put_device(r->held);
    vfree(r->record);
    kfree(r);
    return 0;
}

static const struct file_operations resuming_ops = {
    .owner = THIS_MODULE,
    .write = resuming_write,
    .release = resuming_release,
};

struct file *vt_resuming_open(struct vt_device *vt)
{
    struct vt_resuming *r = kzalloc(sizeof(*r), GFP_KERNEL);
    struct file *file;

    if (!r)
        return ERR_PTR(-ENOMEM);
    r->record = vzalloc(sizeof(struct vt_header) + VT_CHUNK);
    if (!r->record) {
        kfree(r);
        return ERR_PTR(-ENOMEM);
    }
    file = anon_inode_getfile("vtest-resuming", &resuming_ops, r, O_WRONLY);
    if (IS_ERR(file)) {
        vfree(r->record);
        kfree(r);
        return file;
    }
    stream_open(file_inode(file), file);
    r->vt = vt;
    r->lock = &vt->lock;
    r->held = get_device(&vt->vdev.device);
    vt->resuming = r;
    return file;
}

int vt_resuming_load(struct vt_resuming *r)
{
    struct vt_device *vt = r->vt;
    u64 misuse = vt->regs.misuse;

    if (!r->ended && !r->wrong) {
        r->wrong = "no end";
        dev_warn(vt->vdev.dev, "the saved state has no end: %llu bytes came\n", r->taken);
    }
    if (r->wrong)
        return -EINVAL;
    vt->regs = r->regs;
    vt->regs.misuse = misuse;
    vt->regs.loads++;
    vt->credit = vt->state_credit = 0;
    return 0;
}

void vt_resuming_end(struct vt_resuming *r)
{
    r->vt = NULL;
}
