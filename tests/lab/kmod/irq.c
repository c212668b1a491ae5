// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Interrupts: MSI-X vectors that a user of VFIO gives eventfds.  One that has none is pending until
 * it gets one.  A vector is raised again only when its driver has acknowledged it; so none is lost
 * and none comes twice, and the driver's count must be the device's.
 */
#include <linux/slab.h>

#include "vtest.h"

static unsigned int vectors_of(unsigned int index)
{
    switch (index) {
    case VFIO_PCI_MSIX_IRQ_INDEX:
        return VT_VECTORS;
    case VFIO_PCI_ERR_IRQ_INDEX:
    case VFIO_PCI_REQ_IRQ_INDEX:
        return 1;
    default:
        return 0;
    }
}

int vt_irq_info(struct vt_device *vt, struct vfio_irq_info __user *arg)
{
    const unsigned long minsz = offsetofend(struct vfio_irq_info, count);
    struct vfio_irq_info info;

    if (copy_from_user(&info, arg, minsz))
        return -EFAULT;
    if (info.argsz < minsz || info.index >= VFIO_PCI_NUM_IRQS)
        return -EINVAL;
    info.count = vectors_of(info.index);
    info.flags = info.count ? VFIO_IRQ_INFO_EVENTFD : 0;
    if (info.index != VFIO_PCI_MSIX_IRQ_INDEX && info.count)
        info.flags |= VFIO_IRQ_INFO_NORESIZE;
    return copy_to_user(arg, &info, minsz) ? -EFAULT : 0;
}

/* ---- what comes ---- */

static void signal(struct vt_device *vt, unsigned int vector)
{
    if (vt->trigger[vector])
        eventfd_signal(vt->trigger[vector]);
    else
        vt->regs.pending |= BIT_ULL(vector);
}

void vt_raise(struct vt_device *vt, unsigned int vector)
{
    if (vt->regs.outstanding & BIT_ULL(vector)) {
        vt->regs.due |= BIT_ULL(vector);
        return;
    }
    vt->regs.due &= ~BIT_ULL(vector);
    vt->regs.outstanding |= BIT_ULL(vector);
    vt->regs.raised[vector]++;
    vt->regs.interrupts++;
    signal(vt, vector);
}

void vt_ack(struct vt_device *vt, unsigned int vector)
{
    vt->regs.outstanding &= ~BIT_ULL(vector);
}

/* ---- who is told ---- */

static void set_trigger(struct eventfd_ctx **trigger, struct eventfd_ctx *new)
{
    if (*trigger)
        eventfd_ctx_put(*trigger);
    *trigger = new;
}

static int set_fd(struct eventfd_ctx **trigger, int fd)
{
    struct eventfd_ctx *new = fd < 0 ? NULL : eventfd_ctx_fdget(fd);

    if (IS_ERR(new))
        return PTR_ERR(new);
    set_trigger(trigger, new);
    return 0;
}

void vt_irqs_disable(struct vt_device *vt)
{
    for (unsigned int i = 0; i < VT_VECTORS; i++)
        set_trigger(&vt->trigger[i], NULL);
    vt->msix = false;
}

static int set_vectors(struct vt_device *vt, const struct vfio_irq_set *set, const int *fds)
{
    for (unsigned int i = 0; i < set->count; i++) {
        int ret = set_fd(&vt->trigger[set->start + i], fds[i]);

        if (ret) {
            while (i--)
                set_trigger(&vt->trigger[set->start + i], NULL);
            return ret;
        }
    }
    vt->msix = true;
    for (unsigned int i = set->start; i < set->start + set->count; i++) {
        if (vt->trigger[i] && (vt->regs.pending & BIT_ULL(i))) {
            vt->regs.pending &= ~BIT_ULL(i);
            signal(vt, i);
        }
    }
    return 0;
}

/* Only a loop-back: nothing is counted. */
static void loop_back(struct vt_device *vt, const struct vfio_irq_set *set, const u8 *bools)
{
    for (unsigned int i = 0; i < set->count; i++) {
        if ((!bools || bools[i]) && vt->trigger[set->start + i])
            eventfd_signal(vt->trigger[set->start + i]);
    }
}

static int set_msix(struct vt_device *vt, const struct vfio_irq_set *set, void *data)
{
    switch (set->flags & VFIO_IRQ_SET_DATA_TYPE_MASK) {
    case VFIO_IRQ_SET_DATA_EVENTFD:
        return set_vectors(vt, set, data);
    case VFIO_IRQ_SET_DATA_NONE:
        if (!vt->msix)
            return -EINVAL;
        if (set->count)
            loop_back(vt, set, NULL);
        else
            vt_irqs_disable(vt);
        return 0;
    default:
        if (!vt->msix)
            return -EINVAL;
        loop_back(vt, set, data);
        return 0;
    }
}

static int set_notifier(struct eventfd_ctx **trigger, const struct vfio_irq_set *set, void *data)
{
    switch (set->flags & VFIO_IRQ_SET_DATA_TYPE_MASK) {
    case VFIO_IRQ_SET_DATA_EVENTFD:
        return set->count ? set_fd(trigger, *(int *)data) : -EINVAL;
    case VFIO_IRQ_SET_DATA_NONE:
        if (!set->count)
            set_trigger(trigger, NULL);
        else if (*trigger)
            eventfd_signal(*trigger);
        return 0;
    default:
        if (set->count && *(u8 *)data && *trigger)
            eventfd_signal(*trigger);
        return 0;
    }
}

int vt_set_irqs(struct vt_device *vt, struct vfio_irq_set __user *arg)
{
    const unsigned long minsz = offsetofend(struct vfio_irq_set, count);
    struct vfio_irq_set set;
    size_t size = 0;
    void *data = NULL;
    int ret;

    if (copy_from_user(&set, arg, minsz))
        return -EFAULT;
    if (set.index >= VFIO_PCI_NUM_IRQS)
        return -EINVAL;
    ret = vfio_set_irqs_validate_and_prepare(&set, vectors_of(set.index), VFIO_PCI_NUM_IRQS, &size);
    if (ret)
        return ret;
    if ((set.flags & VFIO_IRQ_SET_ACTION_TYPE_MASK) != VFIO_IRQ_SET_ACTION_TRIGGER)
        return -ENOTTY;
    if (size) {
        data = memdup_user(arg->data, size);
        if (IS_ERR(data))
            return PTR_ERR(data);
    }
    mutex_lock(&vt->lock);
    if (set.index == VFIO_PCI_MSIX_IRQ_INDEX)
        ret = set_msix(vt, &set, data);
    else
        ret = set_notifier(set.index == VFIO_PCI_ERR_IRQ_INDEX ? &vt->err : &vt->req, &set, data);
    mutex_unlock(&vt->lock);
    kfree(data);
    return ret;
}
