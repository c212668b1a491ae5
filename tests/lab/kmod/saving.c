// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The descriptor from which the state is read, record by record.  Before the device has stopped,
 * only its internal state is there: first all of it, then what changed since; the rest follows when
 * it has.
 */
#include <linux/anon_inodes.h>
#include <linux/poll.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>
#include <linux/xxhash.h>

#include "stream.h"
#include "vtest.h"

enum phase { PHASE_INIT, PHASE_STATE, PHASE_REGISTERS, PHASE_RECORDS, PHASE_BAR2, PHASE_END, DONE };

struct vt_saving {
    struct vt_device *vt; /* NULL when the transfer is over */
    struct mutex *lock;   /* the device's, which lives as long as this */
    struct device *held;
    wait_queue_head_t wait;
    enum phase phase;
    bool final;           /* the device has stopped */
    bool first;           /* the internal state goes over for the first time */
    bool new;             /* … and that is yet to be said */
    unsigned long cursor; /* page of the internal state, or offset */
    u64 made, given;      /* bytes of the stream: in records, and read */
    u64 hash;             /* of all headers so far */
    size_t size, at;      /* of the record being read */
    u8 *record;
};

static struct vt_saving *to_saving(struct file *file)
{
    return file->private_data;
}

/* ---- records ---- */

static void emit(struct vt_saving *s, enum vt_record_type type, u64 offset, const void *data,
                 size_t size)
{
    struct vt_header header = {
        .magic = VT_MAGIC,
        .type = type,
        .offset = offset,
        .size = size,
        .hash = (u32)xxh64(data, size, 0),
    };

    memcpy(s->record, &header, sizeof(header));
    memcpy(s->record + sizeof(header), data, size);
    s->size = sizeof(header) + size;
    s->at = 0;
    s->made += s->size;
    s->hash = xxh64(s->record, sizeof(header), s->hash);
}

static void emit_init(struct vt_saving *s)
{
    struct vt_init init = {
        .version = VT_VERSION,
        .vectors = VT_VECTORS,
        .state_size = s->vt->blob.pages * VT_PAGE,
        .bar2_size = VT_BAR2_SIZE,
        .max_pages = VT_MAX_PAGES,
    };

    emit(s, VT_REC_INIT, 0, &init, sizeof(init));
    s->phase = PHASE_STATE;
}

/* The next run of dirty pages, as many as a record holds; false: there is none. */
static bool emit_state(struct vt_saving *s)
{
    struct vt_blob *blob = &s->vt->blob;
    unsigned long page = find_next_bit(blob->dirty, blob->pages, s->cursor), end;

    if (page >= blob->pages) {
        s->first = false;
        s->cursor = 0;
        page = find_next_bit(blob->dirty, blob->pages, 0);
    }
    if (page >= blob->pages)
        return false;
    end = min(page + VT_CHUNK / VT_PAGE, blob->pages);
    end = find_next_zero_bit(blob->dirty, end, page);
    bitmap_clear(blob->dirty, page, end - page);
    emit(s, VT_REC_STATE, page * VT_PAGE, blob->data + page * VT_PAGE, (end - page) * VT_PAGE);
    s->cursor = end;
    return true;
}

static void emit_records(struct vt_saving *s)
{
    emit(s, VT_REC_RECORDS, s->cursor, (u8 *)s->vt->records + s->cursor, VT_CHUNK);
    s->cursor += VT_CHUNK;
    if (s->cursor == VT_MAX_PAGES * sizeof(u64)) {
        s->cursor = 0;
        s->phase = PHASE_BAR2;
    }
}

static void emit_bar2(struct vt_saving *s)
{
    emit(s, VT_REC_BAR2, s->cursor, page_address(s->vt->bar2[s->cursor / PAGE_SIZE]), PAGE_SIZE);
    s->cursor += PAGE_SIZE;
    if (s->cursor == VT_BAR2_SIZE)
        s->phase = PHASE_END;
}

static void emit_end(struct vt_saving *s)
{
    struct vt_end end = { .bytes = s->made, .hash = s->hash };

    emit(s, VT_REC_END, 0, &end, sizeof(end));
    s->phase = DONE;
}

/* Makes the next record; false when there is none (yet). */
static bool next_record(struct vt_saving *s)
{
    switch (s->phase) {
    case PHASE_INIT:
        emit_init(s);
        return true;
    case PHASE_STATE:
        if (s->vt->blob.pages && emit_state(s))
            return true;
        s->first = false;
        if (!s->final)
            return false;
        s->cursor = 0;
        s->phase = PHASE_RECORDS;
        emit(s, VT_REC_REGISTERS, 0, &s->vt->regs, sizeof(s->vt->regs));
        return true;
    case PHASE_RECORDS:
        emit_records(s);
        return true;
    case PHASE_BAR2:
        emit_bar2(s);
        return true;
    case PHASE_END:
        emit_end(s);
        return true;
    default:
        return false;
    }
}

/* ---- the descriptor ---- */

static bool read_fails(const struct vt_saving *s)
{
    return s->vt->knobs.read.times && s->given >= s->vt->knobs.after;
}

/* The faults of the knobs that are due before @count bytes from here. */
static int read_fault(struct vt_saving *s, size_t *count)
{
    struct vt_knobs *knobs = &s->vt->knobs;

    if (s->given >= knobs->truncate) {
        *count = 0;
        return 0;
    }
    *count = min_t(u64, *count, knobs->truncate - s->given);
    if (read_fails(s))
        return vt_fault_hit(&knobs->read);
    if (knobs->read.times)
        *count = min_t(u64, *count, knobs->after - s->given);
    return 0;
}

static ssize_t give(struct vt_saving *s, char __user *buf, size_t count)
{
    u64 wrong = s->vt->knobs.corrupt;
    int ret;

    if (s->at == s->size && !next_record(s))
        return s->final ? 0 : -ENOMSG;
    count = min(count, s->size - s->at);
    ret = read_fault(s, &count);
    if (ret)
        return ret;
    if (wrong >= s->given && wrong - s->given < count)
        s->record[s->at + (wrong - s->given)] ^= 0xff;
    if (copy_to_user(buf, s->record + s->at, count))
        return -EFAULT;
    s->at += count;
    s->given += count;
    return count;
}

static ssize_t saving_read(struct file *file, char __user *buf, size_t count, loff_t *pos)
{
    struct vt_saving *s = to_saving(file);
    ssize_t done = 0, ret = 0;

    if (pos)
        return -ESPIPE;
    mutex_lock(s->lock);
    if (!s->vt)
        ret = -ENODEV;
    /* An error is told by a call of its own. */
    while (!ret && done < count && !(done && read_fails(s))) {
        ret = give(s, buf + done, count - done);
        if (ret <= 0)
            break;
        done += ret;
        ret = 0;
    }
    mutex_unlock(s->lock);
    return done ? done : ret;
}

static __poll_t saving_poll(struct file *file, struct poll_table_struct *table)
{
    struct vt_saving *s = to_saving(file);
    __poll_t ready = 0;

    poll_wait(file, &s->wait, table);
    mutex_lock(s->lock);
    if (!s->vt)
        ready = EPOLLIN | EPOLLRDNORM | EPOLLRDHUP;
    else if (s->final || s->at < s->size || s->phase == PHASE_INIT ||
             find_first_bit(s->vt->blob.dirty, s->vt->blob.pages) < s->vt->blob.pages)
        ready = EPOLLIN | EPOLLRDNORM;
    mutex_unlock(s->lock);
    return ready;
}

/* What is left of the first pass is initial, what changed behind it is dirty. */
static void fill_info(struct vt_saving *s, struct vfio_precopy_info *info)
{
    struct vt_blob *blob = &s->vt->blob;
    u64 left = s->size - s->at, dirty;

    info->initial_bytes = info->dirty_bytes = 0;
    if (s->first) {
        info->initial_bytes = left + (blob->pages - s->cursor) * VT_PAGE;
        if (s->phase == PHASE_INIT)
            info->initial_bytes += sizeof(struct vt_header) + sizeof(struct vt_init);
        dirty = s->cursor ? bitmap_weight(blob->dirty, s->cursor) : 0;
    } else {
        info->dirty_bytes = left;
        dirty = blob->pages ? bitmap_weight(blob->dirty, blob->pages) : 0;
    }
    info->dirty_bytes += dirty * VT_PAGE;
    if (s->new && s->vt->vdev.precopy_info_v2) {
        info->flags |= VFIO_PRECOPY_INFO_REINIT;
        info->dirty_bytes = 0;
    }
    s->new = false;
}

static long saving_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
    struct vt_saving *s = to_saving(file);
    struct vfio_precopy_info info;
    long ret = -ENODEV;

    mutex_lock(s->lock);
    if (s->vt)
        ret = vfio_check_precopy_ioctl(&s->vt->vdev, cmd, arg, &info);
    if (!ret && s->final)
        ret = -EINVAL;
    if (!ret) {
        fill_info(s, &info);
        if (copy_to_user((void __user *)arg, &info,
                         offsetofend(struct vfio_precopy_info, dirty_bytes)))
            ret = -EFAULT;
    }
    mutex_unlock(s->lock);
    return ret;
}

static int saving_release(struct inode *inode, struct file *file)
{
    struct vt_saving *s = to_saving(file);

    mutex_lock(s->lock);
    if (s->vt)
        s->vt->saving = NULL;
    mutex_unlock(s->lock);
    put_device(s->held);
    vfree(s->record);
    kfree(s);
    return 0;
}

static const struct file_operations saving_ops = {
    .owner = THIS_MODULE,
    .read = saving_read,
    .poll = saving_poll,
    .unlocked_ioctl = saving_ioctl,
    .compat_ioctl = compat_ptr_ioctl,
    .release = saving_release,
};

struct file *vt_saving_open(struct vt_device *vt, bool final)
{
    struct vt_saving *s = kzalloc(sizeof(*s), GFP_KERNEL);
    struct file *file;

    if (!s)
        return ERR_PTR(-ENOMEM);
    s->record = vzalloc(sizeof(struct vt_header) + VT_CHUNK);
    if (!s->record) {
        kfree(s);
        return ERR_PTR(-ENOMEM);
    }
    file = anon_inode_getfile("vtest-saving", &saving_ops, s, O_RDONLY);
    if (IS_ERR(file)) {
        vfree(s->record);
        kfree(s);
        return file;
    }
    stream_open(file_inode(file), file);
    init_waitqueue_head(&s->wait);
    s->vt = vt;
    s->lock = &vt->lock;
    s->held = get_device(&vt->vdev.device);
    s->final = final;
    s->first = true;
    bitmap_set(vt->blob.dirty, 0, vt->blob.pages);
    vt->saving = s;
    return file;
}

/* ---- from the states ---- */

void vt_saving_wake(struct vt_saving *s)
{
    wake_up_interruptible(&s->wait);
}

void vt_saving_finish(struct vt_saving *s)
{
    s->final = true;
    vt_saving_wake(s);
}

/* The internal state is another now. */
void vt_saving_restart(struct vt_saving *s)
{
    s->phase = PHASE_INIT;
    s->cursor = 0;
    s->new = true;
    /* Who does not know of that never sees initial bytes grow. */
    s->first = s->vt->vdev.precopy_info_v2;
    bitmap_set(s->vt->blob.dirty, 0, s->vt->blob.pages);
    vt_saving_wake(s);
}

void vt_saving_end(struct vt_saving *s)
{
    s->vt = NULL;
    vt_saving_wake(s);
}

u64 vt_stop_copy_size(struct vt_device *vt)
{
    const u64 header = sizeof(struct vt_header), chunks = VT_MAX_PAGES * sizeof(u64) / VT_CHUNK;
    struct vt_blob *blob = &vt->blob;
    u64 pages = blob->pages;

    if (vt->saving && pages)
        pages = bitmap_weight(blob->dirty, pages);
    return 3 * header + sizeof(struct vt_init) + sizeof(struct vt_registers) +
           sizeof(struct vt_end) + chunks * (header + VT_CHUNK) +
           VT_BAR2_SIZE / PAGE_SIZE * (header + PAGE_SIZE) + pages * (header + VT_PAGE);
}
