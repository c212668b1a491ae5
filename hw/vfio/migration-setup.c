/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whether a device can be migrated.  One that cannot be blocks migration for as long as it is there,
 * with the reason; where the user insists on migration (enable-migration=on) it is refused instead.
 */
#include "hw/vfio/migration.h"

#include <errno.h>

#include "hw/vfio/container.h"
#include "util/error.h"
#include "util/hostcalls.h"
#include "util/trace.h"

/* The other modes leave the devices where they are. */
#define NORMAL (1u << MIG_MODE_NORMAL)
#define REBOOT (1u << MIG_MODE_CPR_REBOOT)

static guint users;          /* devices that can be migrated */
static unsigned p2p_blocker; /* for several, of which one has no P2P */

/* ---- dirty pages: all containers' ---- */

static void dirty_stop(void *opaque)
{
    for (guint i = 0; vfio_containers && i < vfio_containers->len; i++) {
        vfio_container_dirty_stop(vfio_containers->pdata[i]);
    }
}

/* On all or on none. */
static bool dirty_start(void *opaque, GError **errp)
{
    for (guint i = 0; vfio_containers && i < vfio_containers->len; i++) {
        if (!vfio_container_dirty_start(vfio_containers->pdata[i], errp)) {
            dirty_stop(NULL);
            return false;
        }
    }
    return true;
}

/* Of none of whose devices the user wants it left to the end. */
static bool is_asked_now(const VFIOContainer *c)
{
    for (guint i = 0; run_state_is_live() && i < vfio_devices->len; i++) {
        const VFIODevice *dev = vfio_devices->pdata[i];

        if (dev->container == c && dev->no_running_sync) {
            return false;
        }
    }
    return true;
}

static void dirty_sync(void *opaque)
{
    for (guint i = 0; vfio_containers && i < vfio_containers->len; i++) {
        if (is_asked_now(vfio_containers->pdata[i])) {
            vfio_container_dirty_sync(vfio_containers->pdata[i]);
        }
    }
}

static const MigrationDirtySource dirty_source = { dirty_start, dirty_sync, dirty_stop, NULL };

/* ---- what the device can ---- */

static bool get_flags(VFIOMigration *m, GError **errp)
{
    struct vfio_device_feature_migration mig = { 0 };

    if (!vfio_device_feature(m->dev, VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_MIGRATION, &mig,
                             sizeof(mig))) {
        return errno == ENOTTY
                   ? error_set(errp, "VFIO migration is not supported by its driver in the kernel")
                   : error_set_errno(errp, errno, "VFIO_DEVICE_FEATURE_MIGRATION failed");
    }
    m->flags = mig.flags;
    TRACE("vfio_migration_flags", "%s 0x%x", m->dev->name, (unsigned)mig.flags);
    return mig.flags & VFIO_MIGRATION_STOP_COPY ||
           error_set(errp, "its driver in the kernel cannot stop it and give its state away "
                           "(VFIO_MIGRATION_STOP_COPY)");
}

/* Older kernels do not know of it, and never have initial data again. */
static bool want_precopy_v2(VFIOMigration *m, GError **errp)
{
    m->precopy_v2 =
        m->flags & VFIO_MIGRATION_PRE_COPY &&
        vfio_device_feature(
            m->dev, VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2, NULL, 0);
    return !(m->flags & VFIO_MIGRATION_PRE_COPY) || m->precopy_v2 || errno == ENOTTY ||
           error_set_errno(errp, errno, "VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2 failed");
}

/* Of no matter for a VM that stands still before anything is sent. */
static void check_dirty_tracking(VFIOMigration *m, int enable)
{
    if (vfio_device_dirty_source(m->dev) != VFIO_DIRTY_UNKNOWN) {
        return;
    }
    if (enable == ON_OFF_AUTO_ON) {
        warn_report("vfio %s: nobody knows which memory it writes: all of the guest's is sent "
                    "while the VM stands still",
                    m->dev->name);
        return;
    }
    m->blockers[0] = migration_block(NORMAL,
                                     "vfio %s: neither it nor the host's IOMMU tracks which memory "
                                     "it writes (enable-migration=on does without)",
                                     m->dev->name);
}

static bool has_state(VFIOMigration *m, int enable, GError **errp)
{
    if (enable == ON_OFF_AUTO_OFF) {
        return error_set(errp, "enable-migration=off");
    }
    return get_flags(m, errp) && want_precopy_v2(m, errp) && vfio_migration_refresh(m, errp);
}

/* ---- several devices ---- */

/* One without P2P among several; NULL: there is none, or it is alone. */
static const VFIODevice *find_without_p2p(void)
{
    const VFIODevice *found = NULL;

    for (guint i = 0; users > 1 && i < vfio_devices->len; i++) {
        const VFIODevice *dev = vfio_devices->pdata[i];

        if (dev->migration && dev->migration->section &&
            !(dev->migration->flags & VFIO_MIGRATION_P2P)) {
            found = dev;
        }
    }
    return found;
}

static const char p2p_reason[] =
    "of several devices each must be able to hold back peer-to-peer DMA (VFIO_MIGRATION_P2P)";

static void update_p2p_blocker(void)
{
    const VFIODevice *dev = find_without_p2p();

    if (dev && !p2p_blocker) {
        p2p_blocker = migration_block(NORMAL | REBOOT, "vfio %s: %s", dev->name, p2p_reason);
    } else if (!dev && p2p_blocker) {
        migration_unblock(p2p_blocker);
        p2p_blocker = 0;
    }
}

/* ---- life ---- */

/* A reboot does without its state while the guest sleeps: its driver there has let go of it. */
static void block(VFIOMigration *m, const char *why)
{
    m->blockers[0] = migration_block(NORMAL, "vfio %s: %s", m->dev->name, why);
    m->blockers[1] = migration_block(REBOOT | MIG_UNLESS_ASLEEP,
                                     "vfio %s: %s; without its state cpr-reboot needs a guest in "
                                     "run state suspended",
                                     m->dev->name, why);
}

static void take_part(VFIOMigration *m, const char *id)
{
    m->section = migration_register(id, &vfio_migration_ops, m);
    if (!users++) {
        vm_state_add_notifier(vfio_migration_vm_state, NULL);
        migration_dirty_source_add(&dirty_source);
    }
}

static void leave(VFIOMigration *m)
{
    migration_unregister(g_steal_pointer(&m->section));
    if (!--users) {
        migration_dirty_source_del(&dirty_source);
        vm_state_del_notifier(vfio_migration_vm_state, NULL);
    }
}

bool vfio_migration_init(VFIODevice *dev, const VFIOMigrationConfig *config, GError **errp)
{
    VFIOMigration *m = dev->migration = g_new0(VFIOMigration, 1);
    g_autoptr(GError) err = NULL;

    m->dev = dev;
    m->data_fd = -1;
    m->state = VFIO_DEVICE_STATE_RUNNING;
    g_mutex_init(&m->lock);
    if (has_state(m, config->enable, &err)) {
        m->owner = config->events ? config->owner : NULL;
        take_part(m, config->id);
        check_dirty_tracking(m, config->enable);
        if (config->enable == ON_OFF_AUTO_ON && !p2p_blocker && find_without_p2p()) {
            error_set(&err, "%s", p2p_reason);
        } else {
            update_p2p_blocker();
            return true;
        }
    } else if (config->enable != ON_OFF_AUTO_ON) {
        block(m, err->message);
        return true;
    }
    g_propagate_prefixed_error(errp, g_steal_pointer(&err), "it cannot be migrated: ");
    vfio_migration_fini(dev);
    return false;
}

void vfio_migration_fini(VFIODevice *dev)
{
    VFIOMigration *m = dev->migration;

    migration_unblock(m->blockers[0]);
    migration_unblock(m->blockers[1]);
    if (m->section) {
        leave(m);
    }
    vfio_migration_flush_events();
    dev->migration = NULL;
    update_p2p_blocker();
    host_fd_close(&m->data_fd);
    g_free(m->buffer);
    g_mutex_clear(&m->lock);
    g_free(m);
}
