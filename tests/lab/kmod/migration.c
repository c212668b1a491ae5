// SPDX-License-Identifier: GPL-2.0-or-later
/* The states of migration and the ways from one to the next; a knob may bar or spoil each. */
#include <linux/delay.h>
#include <linux/file.h>

#include "vtest.h"

static const char *const names[VT_NR_STATES] = {
    [VFIO_DEVICE_STATE_ERROR] = "ERROR",       [VFIO_DEVICE_STATE_STOP] = "STOP",
    [VFIO_DEVICE_STATE_RUNNING] = "RUNNING",   [VFIO_DEVICE_STATE_STOP_COPY] = "STOP_COPY",
    [VFIO_DEVICE_STATE_RESUMING] = "RESUMING", [VFIO_DEVICE_STATE_RUNNING_P2P] = "RUNNING_P2P",
    [VFIO_DEVICE_STATE_PRE_COPY] = "PRE_COPY", [VFIO_DEVICE_STATE_PRE_COPY_P2P] = "PRE_COPY_P2P",
};

const char *vt_state_name(enum vfio_device_mig_state state)
{
    return names[state];
}

int vt_state_of(const char *name)
{
    return match_string(names, ARRAY_SIZE(names), name);
}

static bool saving_state(enum vfio_device_mig_state state)
{
    return state == VFIO_DEVICE_STATE_PRE_COPY || state == VFIO_DEVICE_STATE_PRE_COPY_P2P ||
           state == VFIO_DEVICE_STATE_STOP_COPY;
}

bool vt_accessible(struct vt_device *vt)
{
    return vt->state == VFIO_DEVICE_STATE_RUNNING || vt->state == VFIO_DEVICE_STATE_RUNNING_P2P ||
           vt->state == VFIO_DEVICE_STATE_PRE_COPY || vt->state == VFIO_DEVICE_STATE_PRE_COPY_P2P;
}

int vt_fault_hit(struct vt_fault *fault)
{
    if (!fault->times)
        return 0;
    fault->times--;
    return -fault->error;
}

static void end_saving(struct vt_device *vt)
{
    if (vt->saving)
        vt_saving_end(vt->saving);
    vt->saving = NULL;
}

static void end_resuming(struct vt_device *vt)
{
    if (vt->resuming)
        vt_resuming_end(vt->resuming);
    vt->resuming = NULL;
}

static void enter(struct vt_device *vt, enum vfio_device_mig_state state)
{
    vt->state = state;
    vt_engine_kick(vt);
}

/* RUNNING, whatever it was. */
void vt_migration_reset(struct vt_device *vt)
{
    end_saving(vt);
    end_resuming(vt);
    vt->state = VFIO_DEVICE_STATE_RUNNING;
}

/* What the knobs say about going to @next. */
static int spoilt(struct vt_device *vt, enum vfio_device_mig_state next)
{
    int ret;

    if (vt->knobs.delay[next])
        msleep(vt->knobs.delay[next]);
    ret = vt_fault_hit(&vt->knobs.refuse[next]);
    if (ret)
        return ret;
    if (!vt->knobs.to_error[next])
        return 0;
    vt->knobs.to_error[next]--;
    end_saving(vt);
    end_resuming(vt);
    vt->state = VFIO_DEVICE_STATE_ERROR;
    return -EIO;
}

/* One arc of vfio_mig_get_next_state()'s.  A file where the arc begins a transfer, else NULL. */
static struct file *step(struct vt_device *vt, enum vfio_device_mig_state next)
{
    enum vfio_device_mig_state from = vt->state;
    struct file *file = NULL;
    int ret = spoilt(vt, next);

    if (ret)
        return ERR_PTR(ret);
    if (next == VFIO_DEVICE_STATE_RESUMING) {
        file = vt_resuming_open(vt);
    } else if (saving_state(next) && !saving_state(from)) {
        file = vt_saving_open(vt, next == VFIO_DEVICE_STATE_STOP_COPY);
    } else if (next == VFIO_DEVICE_STATE_STOP_COPY) {
        if (vt->saving)
            vt_saving_finish(vt->saving);
    } else if (saving_state(from) && !saving_state(next)) {
        end_saving(vt);
    } else if (from == VFIO_DEVICE_STATE_RESUMING) {
        ret = vt->resuming ? vt_resuming_load(vt->resuming) : -EINVAL;
        if (ret)
            return ERR_PTR(ret);
        end_resuming(vt);
    }
    if (!IS_ERR(file))
        enter(vt, next);
    return file;
}

static struct file *set_state(struct vfio_device *vdev, enum vfio_device_mig_state state)
{
    struct vt_device *vt = to_vt(vdev);
    struct file *file = NULL;

    mutex_lock(&vt->lock);
    while (state != vt->state) {
        enum vfio_device_mig_state next;
        int ret = -EINVAL;

        /* There is no way out of it but a reset, and VFIO's core is not to be asked for one. */
        if (vt->state != VFIO_DEVICE_STATE_ERROR)
            ret = vfio_mig_get_next_state(vdev, vt->state, state, &next);
        /* Only the last arc of a way gives a file. */
        if (!ret && file)
            ret = -EINVAL;
        if (ret) {
            if (!IS_ERR_OR_NULL(file))
                fput(file);
            file = ERR_PTR(ret);
            break;
        }
        file = step(vt, next);
        if (IS_ERR(file))
            break;
    }
    mutex_unlock(&vt->lock);
    return file;
}

static int get_state(struct vfio_device *vdev, enum vfio_device_mig_state *state)
{
    struct vt_device *vt = to_vt(vdev);

    mutex_lock(&vt->lock);
    *state = vt->state;
    mutex_unlock(&vt->lock);
    return 0;
}

static int get_data_size(struct vfio_device *vdev, unsigned long *size)
{
    struct vt_device *vt = to_vt(vdev);

    mutex_lock(&vt->lock);
    *size = vt_stop_copy_size(vt);
    mutex_unlock(&vt->lock);
    return 0;
}

const struct vfio_migration_ops vt_migration_ops = {
    .migration_set_state = set_state,
    .migration_get_state = get_state,
    .migration_get_data_size = get_data_size,
};
