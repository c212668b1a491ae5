// SPDX-License-Identifier: GPL-2.0-or-later
/* What a test on the host can see and turn, in the device's folder in sysfs. */
#include <linux/slab.h>

#include "vtest.h"

void vt_knobs_init(struct vt_knobs *knobs)
{
    *knobs = (struct vt_knobs) { .truncate = U64_MAX, .corrupt = U64_MAX };
}

static struct vt_device *vt_of(struct device *dev)
{
    return to_node(dev)->vt;
}

/* ---- what it is doing ---- */

static ssize_t state_show(struct device *dev, struct device_attribute *attr, char *buf)
{
    return sysfs_emit(buf, "%s\n", vt_state_name(READ_ONCE(vt_of(dev)->state)));
}
static DEVICE_ATTR_RO(state);

static ssize_t counters_show(struct device *dev, struct device_attribute *attr, char *buf)
{
    struct vt_device *vt = vt_of(dev);
    struct vt_registers *regs = &vt->regs;
    ssize_t n;

    mutex_lock(&vt->lock);
    n = sysfs_emit(buf,
                   "started %u\nmoving %u\nsequence %llu\nwrites %llu\nfaults %llu\npeer_writes "
                   "%llu\ninterrupts %llu\npending %llx\nloads %llu\nstate_size %llu\nstate_sum "
                   "%llu\nmisuse %llu\n",
                   regs->status & VT_STATUS_STARTED, vt_engine_allowed(vt), regs->sequence,
                   regs->writes, regs->faults, regs->peer_writes, regs->interrupts, regs->pending,
                   regs->loads, vt->blob.pages * (u64)VT_PAGE, regs->state_sum, regs->misuse);
    mutex_unlock(&vt->lock);
    return n;
}
static DEVICE_ATTR_RO(counters);

static ssize_t verified_show(struct device *dev, struct device_attribute *attr, char *buf)
{
    struct vt_device *vt = vt_of(dev);
    bool ok;

    mutex_lock(&vt->lock);
    ok = vt_blob_verify(vt);
    mutex_unlock(&vt->lock);
    return sysfs_emit(buf, "%d\n", ok);
}
static DEVICE_ATTR_RO(verified);

/* ---- numbers ---- */

struct number {
    struct device_attribute attr;
    u64 (*get)(struct vt_device *vt);
    int (*set)(struct vt_device *vt, u64 value);
};

static ssize_t number_show(struct device *dev, struct device_attribute *attr, char *buf)
{
    struct number *number = container_of(attr, struct number, attr);
    struct vt_device *vt = vt_of(dev);
    u64 value;

    mutex_lock(&vt->lock);
    value = number->get(vt);
    mutex_unlock(&vt->lock);
    return value == U64_MAX ? sysfs_emit(buf, "off\n") : sysfs_emit(buf, "%llu\n", value);
}

static ssize_t number_store(struct device *dev, struct device_attribute *attr, const char *buf,
                            size_t count)
{
    struct number *number = container_of(attr, struct number, attr);
    struct vt_device *vt = vt_of(dev);
    u64 value = U64_MAX;
    int ret = sysfs_streq(buf, "off") ? 0 : kstrtou64(buf, 0, &value);

    if (ret)
        return ret;
    mutex_lock(&vt->lock);
    ret = number->set(vt, value);
    mutex_unlock(&vt->lock);
    return ret ?: count;
}

#define NUMBER(name, getter, setter)                                                      \
    static u64 name##_get(struct vt_device *vt)                                           \
    {                                                                                     \
        return getter;                                                                    \
    }                                                                                     \
    static int name##_set(struct vt_device *vt, u64 value)                                \
    {                                                                                     \
        return setter;                                                                    \
    }                                                                                     \
    static struct number number_##name = { __ATTR(name, 0644, number_show, number_store), \
                                           name##_get, name##_set }

static int set_rate(struct vt_device *vt, u64 value)
{
    if (value > U32_MAX)
        return -EINVAL;
    vt->regs.state_rate = value;
    vt_engine_kick(vt);
    return 0;
}

/* What VFIO's core looks at must not change under a user. */
static int set_migration(struct vt_device *vt, u64 flags)
{
    const u64 all = VFIO_MIGRATION_STOP_COPY | VFIO_MIGRATION_P2P | VFIO_MIGRATION_PRE_COPY;

    if (flags & ~all || (flags && !(flags & VFIO_MIGRATION_STOP_COPY)))
        return -EINVAL;
    if (vt->open)
        return -EBUSY;
    vt->vdev.migration_flags = flags;
    vt->vdev.mig_ops = flags ? &vt_migration_ops : NULL;
    return 0;
}

static int set_logging(struct vt_device *vt, u64 on)
{
    if (vt->open)
        return -EBUSY;
    vt->vdev.log_ops = on ? &vt_log_ops : NULL;
    return 0;
}

static int set_iommu_dirty(struct vt_device *vt, u64 on)
{
    if (vt->open)
        return -EBUSY;
    vt->node->iommu_dirty = on;
    return 0;
}

static int set_u64(u64 *at, u64 value)
{
    *at = value;
    return 0;
}

NUMBER(state_size, vt->blob.pages *(u64)VT_PAGE, vt_state_resize(vt, value));
NUMBER(state_rate, vt->regs.state_rate, set_rate(vt, value));
NUMBER(migration, vt->vdev.migration_flags, set_migration(vt, value));
NUMBER(dma_logging, vt->vdev.log_ops != NULL, set_logging(vt, value));
NUMBER(iommu_dirty, vt->node->iommu_dirty, set_iommu_dirty(vt, value));
NUMBER(truncate, vt->knobs.truncate, set_u64(&vt->knobs.truncate, value));
NUMBER(corrupt, vt->knobs.corrupt, set_u64(&vt->knobs.corrupt, value));

/* ---- faults: "STATE ERRNO TIMES", "STATE TIMES", "STATE MS", "ERRNO TIMES [AFTER]" ---- */

/* The state's number, and the numbers behind it. */
static int parse_state(const char *buf, u64 *a, u64 *b)
{
    char name[16];

    *a = *b = 1;
    if (sscanf(buf, "%15s %llu %llu", name, a, b) < 2)
        return -EINVAL;
    return vt_state_of(name);
}

static ssize_t refuse_store(struct device *dev, struct device_attribute *attr, const char *buf,
                            size_t count)
{
    struct vt_device *vt = vt_of(dev);
    u64 error, times;
    int state = parse_state(buf, &error, &times);

    if (state < 0 || error > MAX_ERRNO)
        return -EINVAL;
    WRITE_ONCE(vt->knobs.refuse[state].error, error);
    WRITE_ONCE(vt->knobs.refuse[state].times, times);
    return count;
}
static DEVICE_ATTR_WO(refuse);

static ssize_t to_error_store(struct device *dev, struct device_attribute *attr, const char *buf,
                              size_t count)
{
    u64 times, unused;
    int state = parse_state(buf, &times, &unused);

    if (state < 0)
        return state;
    WRITE_ONCE(vt_of(dev)->knobs.to_error[state], times);
    return count;
}
static DEVICE_ATTR_WO(to_error);

static ssize_t delay_store(struct device *dev, struct device_attribute *attr, const char *buf,
                           size_t count)
{
    u64 ms, unused;
    int state = parse_state(buf, &ms, &unused);

    if (state < 0 || ms > 60000)
        return -EINVAL;
    WRITE_ONCE(vt_of(dev)->knobs.delay[state], ms);
    return count;
}
static DEVICE_ATTR_WO(delay);

static ssize_t fault_store(struct vt_device *vt, struct vt_fault *fault, const char *buf,
                           size_t count)
{
    u64 error, times = 1, after = 0;

    if (sscanf(buf, "%llu %llu %llu", &error, &times, &after) < 1 || error > MAX_ERRNO)
        return -EINVAL;
    mutex_lock(&vt->lock);
    *fault = (struct vt_fault) { error, times };
    if (fault != &vt->knobs.log)
        vt->knobs.after = after;
    mutex_unlock(&vt->lock);
    return count;
}

#define FAULT(name, field)                                                         \
    static ssize_t name##_store(struct device *dev, struct device_attribute *attr, \
                                const char *buf, size_t count)                     \
    {                                                                              \
        return fault_store(vt_of(dev), &vt_of(dev)->knobs.field, buf, count);      \
    }                                                                              \
    static DEVICE_ATTR_WO(name)

FAULT(fail_log, log);
FAULT(fail_read, read);
FAULT(fail_write, write);

/* "err" and "req": what a host says of a device. */
static ssize_t notify_store(struct device *dev, struct device_attribute *attr, const char *buf,
                            size_t count)
{
    struct vt_device *vt = vt_of(dev);
    struct eventfd_ctx **trigger = sysfs_streq(buf, "err")   ? &vt->err
                                   : sysfs_streq(buf, "req") ? &vt->req
                                                             : NULL;
    ssize_t ret = count;

    if (!trigger)
        return -EINVAL;
    mutex_lock(&vt->lock);
    if (*trigger)
        eventfd_signal(*trigger);
    else
        ret = -ENOTCONN;
    mutex_unlock(&vt->lock);
    return ret;
}
static DEVICE_ATTR_WO(notify);

static struct attribute *attributes[] = {
    &dev_attr_state.attr,          &dev_attr_counters.attr,       &dev_attr_verified.attr,
    &number_state_size.attr.attr,  &number_state_rate.attr.attr,  &number_migration.attr.attr,
    &number_dma_logging.attr.attr, &number_iommu_dirty.attr.attr, &number_truncate.attr.attr,
    &number_corrupt.attr.attr,     &dev_attr_refuse.attr,         &dev_attr_to_error.attr,
    &dev_attr_delay.attr,          &dev_attr_fail_log.attr,       &dev_attr_fail_read.attr,
    &dev_attr_fail_write.attr,     &dev_attr_notify.attr,         NULL,
};

static const struct attribute_group group = {
    .attrs = attributes,
};

const struct attribute_group *vt_groups[] = { &group, NULL };
