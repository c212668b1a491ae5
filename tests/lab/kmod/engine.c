// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What the device does by itself: it writes records to the pages of its driver's list, at a rate,
 * and changes its internal state.  It looks every TICK ms how much is due.
 */
#include "vtest.h"

#define TICK       10
#define MAX_BEHIND (NSEC_PER_SEC / 2) /* a machine that was stopped does not catch up */

/* The migration state, bus mastering and a descriptor that is open let it move. */
bool vt_engine_allowed(struct vt_device *vt)
{
    return vt->open && (*(u16 *)(vt->config + PCI_COMMAND) & PCI_COMMAND_MASTER) &&
           (vt->state == VFIO_DEVICE_STATE_RUNNING || vt->state == VFIO_DEVICE_STATE_PRE_COPY);
}

static int dma(struct vt_device *vt, u64 iova, void *data, size_t size, bool write)
{
    int ret = vt_dma(vt->node, iova, data, size, write);

    if (ret)
        vt->regs.faults++;
    else if (write)
        vt_log_write(&vt->log, iova, size);
    return ret;
}

static void batch_done(struct vt_device *vt)
{
    struct vt_registers *regs = &vt->regs;
    u64 batch = max(regs->batch, 1U);

    if (++regs->in_batch < batch)
        return;
    regs->in_batch = 0;
    if (regs->vectors)
        vt_raise(vt, div64_u64(regs->sequence, batch) % min(regs->vectors, VT_VECTORS));
}

static void write_page(struct vt_device *vt)
{
    struct vt_registers *regs = &vt->regs;
    u64 index = regs->position % min(regs->pages, VT_MAX_PAGES), page = 0;
    struct vt_record record = { .index = index, .sequence = regs->sequence + 1 };

    regs->position = index + 1;
    record.check = vt_check(record.index, record.sequence);
    if (dma(vt, regs->list + index * sizeof(u64), &page, sizeof(page), false) ||
        dma(vt, page, &record, sizeof(record), true))
        return;
    regs->sequence++;
    regs->writes++;
    vt->records[index] = record.sequence;
    if (regs->peer && !dma(vt, regs->peer, &record, sizeof(record), true))
        regs->peer_writes++;
    batch_done(vt);
}

/* How many of a thing come at @rate a second in @ns, with what is left over kept. */
static u64 due(u64 *credit, u64 ns, u32 rate)
{
    u64 n;

    *credit += ns * rate;
    n = div64_u64(*credit, NSEC_PER_SEC);
    *credit -= n * NSEC_PER_SEC;
    return n;
}

static bool has_work(struct vt_device *vt)
{
    return vt_engine_allowed(vt) &&
           ((vt->regs.status & VT_STATUS_STARTED) || vt->regs.due & ~vt->regs.outstanding ||
            (vt->regs.state_rate && vt->blob.pages));
}

/* A rate beyond what the machine can do must not keep others from the device. */
static bool late(ktime_t start)
{
    return ktime_ms_delta(ktime_get(), start) > 2 * TICK;
}

static void move(struct vt_device *vt, u64 ns)
{
    struct vt_registers *regs = &vt->regs;
    u64 again = regs->due & ~regs->outstanding, n;
    ktime_t start = ktime_get();

    for (unsigned int i = 0; i < VT_VECTORS; i++) {
        if (again & BIT_ULL(i))
            vt_raise(vt, i);
    }
    n = due(&vt->credit, ns, regs->rate);
    for (; n && (regs->status & VT_STATUS_STARTED) && regs->pages && !late(start); n--)
        write_page(vt);
    n = due(&vt->state_credit, ns, regs->state_rate);
    if (vt->blob.pages)
        vt_blob_change(vt, n);
}

static void tick(struct work_struct *work)
{
    struct vt_device *vt = container_of(to_delayed_work(work), struct vt_device, engine);
    ktime_t now = ktime_get();

    mutex_lock(&vt->lock);
    if (has_work(vt)) {
        move(vt, min_t(u64, ktime_to_ns(ktime_sub(now, vt->last)), MAX_BEHIND));
        vt->last = now;
        schedule_delayed_work(&vt->engine, msecs_to_jiffies(TICK));
    }
    mutex_unlock(&vt->lock);
}

void vt_engine_kick(struct vt_device *vt)
{
    if (!has_work(vt) || delayed_work_pending(&vt->engine))
        return;
    vt->last = ktime_get();
    schedule_delayed_work(&vt->engine, 0);
}

void vt_engine_init(struct vt_device *vt)
{
    INIT_DELAYED_WORK(&vt->engine, tick);
}

/* ---- commands ---- */

static u32 start(struct vt_device *vt)
{
    if (!vt->regs.pages || vt->regs.pages > VT_MAX_PAGES || vt->regs.vectors > VT_VECTORS)
        return VT_BAD;
    vt->regs.status |= VT_STATUS_STARTED;
    return VT_OK;
}

static u32 stop(struct vt_device *vt)
{
    vt->regs.status &= ~VT_STATUS_STARTED;
    return VT_OK;
}

static u32 dump(struct vt_device *vt)
{
    u64 size = min(vt->regs.pages, VT_MAX_PAGES) * sizeof(u64);

    if (!(*(u16 *)(vt->config + PCI_COMMAND) & PCI_COMMAND_MASTER))
        return VT_BAD;
    return dma(vt, vt->regs.dump, vt->records, size, true) ? VT_FAULT : VT_OK;
}

static u32 resize(struct vt_device *vt)
{
    return vt_state_resize(vt, vt->regs.state_size) ? VT_BAD : VT_OK;
}

static u32 verify(struct vt_device *vt)
{
    return vt_blob_verify(vt) ? VT_OK : VT_WRONG;
}

static u32 clear(struct vt_device *vt)
{
    struct vt_registers *regs = &vt->regs;

    if (regs->status & VT_STATUS_STARTED)
        return VT_BAD;
    memset(vt->records, 0, VT_MAX_PAGES * sizeof(u64));
    memset(regs->raised, 0, sizeof(regs->raised));
    regs->sequence = regs->writes = regs->faults = regs->peer_writes = regs->interrupts = 0;
    regs->outstanding = regs->due = regs->pending = regs->position = regs->in_batch = 0;
    return VT_OK;
}

void vt_command(struct vt_device *vt, u32 command)
{
    static u32 (*const commands[])(struct vt_device * vt) = {
        [VT_CMD_START] = start,   [VT_CMD_STOP] = stop,     [VT_CMD_DUMP] = dump,
        [VT_CMD_RESIZE] = resize, [VT_CMD_VERIFY] = verify, [VT_CMD_CLEAR] = clear,
    };

    if (command < ARRAY_SIZE(commands) && commands[command])
        vt->regs.result = commands[command](vt);
    else
        vt->regs.result = VT_BAD;
}
