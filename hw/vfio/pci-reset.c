/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Resets of a vfio-pci device.  In this order, as QEMU: the function's own reset if it is a real one;
 * a hot reset of the slot (the bus, where it is not hot-pluggable); power management's, D3hot and
 * back, which a device may survive with half of its state.
 *
 * A hot reset takes all functions of the slot along.  The kernel refuses it while one of them is
 * somebody else's; those that are ours must all be quiet.  In a reset of the machine, or of the bus
 * that they are on, one after the other becomes quiet, and with the last of them the slot is reset,
 * once.  A function that is alone in its slot is always the last.
 *
 * What the guest may write is made good by others: the PCI core has reset the registers that are
 * ours before this is called (so no BAR is mapped any more), the kernel restores the device's.
 */
#include "hw/vfio/pci.h"

#include "core/runstate.h"
#include "hw/vfio/migration.h"
#include "util/error.h"
#include "util/trace.h"

/* ---- what the device has ---- */

/* PCI Express Base 5.0, 7.5.3.3; Advanced Features ECN to PCI 3.0. */
static bool has_flr(PCIDevice *pdev)
{
    const uint8_t af = PCI_AF_CAP_TP | PCI_AF_CAP_FLR;
    uint8_t express = pci_find_capability(pdev, PCI_CAP_ID_EXP);
    uint8_t features = pci_find_capability(pdev, PCI_CAP_ID_AF);

    return (express && express + PCI_EXP_DEVCAP + 4 <= PCI_CONFIG_SIZE &&
            pci_get_long(pdev->config + express + PCI_EXP_DEVCAP) & PCI_EXP_DEVCAP_FLR) ||
           (features && features + PCI_AF_CAP < PCI_CONFIG_SIZE &&
            (pdev->config[features + PCI_AF_CAP] & af) == af);
}

static bool has_pm_reset(PCIDevice *pdev)
{
    return pdev->pm_cap && !(pdev->config[pdev->pm_cap + PCI_PM_CTRL] & PCI_PM_CTRL_NO_SOFT_RESET);
}

/* ---- before and after ---- */

/* Even where there is no reset, it stops doing DMA. */
static void quiesce(VFIOPCIDevice *vdev)
{
    uint32_t pm = vdev->parent.pm_cap;

    vfio_pci_set_interrupt(vdev, VFIO_INT_NONE, NULL);
    if (pm) {
        uint32_t control = vfio_config_read_device(vdev, pm + PCI_PM_CTRL, 2);

        if (control != UINT32_MAX &&
            control & PCI_PM_CTRL_STATE_MASK) { /* the kernel resets no sleeping device */
            vfio_config_write_device(vdev, pm + PCI_PM_CTRL,
                                     control & ~(uint32_t)PCI_PM_CTRL_STATE_MASK, 2);
        }
    }
    vfio_config_write_device(vdev, PCI_COMMAND, 0, 2);
}

static void resume(VFIOPCIDevice *vdev)
{
    g_autoptr(GError) err = NULL;

    if (!vfio_pci_set_interrupt(vdev, VFIO_INT_INTx, &err)) {
        vfio_pci_warn_interrupt(vdev, err);
    }
}

/* ---- hot reset ---- */

typedef struct Search {
    const VFIODevice *dev;
    const struct vfio_pci_dependent_device *entry;
    VFIOPCIDevice *found;
} Search;

static bool is_at(const VFIODevice *dev, const struct vfio_pci_dependent_device *d)
{
    g_autofree char *name = dev->sysfs ? g_path_get_basename(dev->sysfs) : NULL;
    g_autofree char *wanted = g_strdup_printf("%04x:%02x:%02x.%x", d->segment, d->bus,
                                              PCI_SLOT(d->devfn), PCI_FUNC(d->devfn));

    return g_strcmp0(name, wanted) == 0;
}

/*
 * Of a device that is reached by its group the kernel tells the group and the address, of one that
 * is reached by its cdev the id in the context of iommufd, and the address.  Two iommufd objects may
 * be one context, or two in which two devices have the same id.
 */
static bool is_meant(const VFIODevice *other, const Search *s)
{
    const struct vfio_pci_dependent_device *d = s->entry;

    if (!s->dev->group || !other->group) {
        return other->devid == d->group_id && other->iommufd &&
               (other->iommufd == s->dev->iommufd || is_at(other, d));
    }
    return is_at(other, d);
}

/* A device that is being realized is not among them. */
static void compare(Device *dev, void *opaque)
{
    Search *s = opaque;

    if (G_TYPE_CHECK_INSTANCE_TYPE(dev, TYPE_VFIO_PCI) && is_meant(VFIO_PCI(dev)->vbasedev, s)) {
        s->found = VFIO_PCI(dev);
    }
}

/* Whether this process has it, although none of its devices may use it. */
static bool is_held(const VFIODevice *dev, const struct vfio_pci_dependent_device *d)
{
    return dev->group ? vfio_group_fd(d->group_id) >= 0 : d->group_id == VFIO_PCI_DEVID_OWNED;
}

/* Ours that a hot reset takes along; NULL if it cannot be, as somebody else has one of them. */
static GPtrArray *find_affected(VFIOPCIDevice *vdev, const struct vfio_pci_hot_reset_info *info,
                                GError **errp)
{
    const VFIODevice *dev = vdev->vbasedev;
    g_autoptr(GPtrArray) affected = g_ptr_array_new();
    bool self = false;

    if (!dev->group && !(info->flags & VFIO_PCI_HOT_RESET_FLAG_DEV_ID)) {
        error_set(errp, "the kernel does not say whose its slot's functions are");
        return NULL;
    }
    for (uint32_t i = 0; i < info->count; i++) {
        const struct vfio_pci_dependent_device *d = &info->devices[i];
        Search s = { dev, d, NULL };

        TRACE("vfio_pci_hot_reset_dep", "%s takes %04x:%02x:%02x.%x along, id %d", dev->name,
              d->segment, d->bus, PCI_SLOT(d->devfn), PCI_FUNC(d->devfn), (int32_t)d->group_id);
        if (is_meant(dev, &s)) {
            s.found = vdev;
            self = true;
        } else {
            device_foreach(compare, &s);
        }
        if (s.found) {
            g_ptr_array_add(affected, s.found);
        } else if (!is_held(dev, d)) {
            error_set(errp, "%04x:%02x:%02x.%x shares its slot and is not this VM's", d->segment,
                      d->bus, PCI_SLOT(d->devfn), PCI_FUNC(d->devfn));
            return NULL;
        }
    }
    if (!dev->group && !(info->flags & VFIO_PCI_HOT_RESET_FLAG_DEV_ID_OWNED)) {
        error_set(errp, "its slot has functions that are not this VM's");
        return NULL;
    }
    if (!self) {
        error_set(errp, "the kernel's list of its slot's functions is without it");
        return NULL;
    }
    return g_steal_pointer(&affected);
}

typedef enum { RESET_FAILED, RESET_LATER, RESET_DONE } ResetResult;

/* Of several that failed, the first says why. */
static ResetResult failed(GError **errp, GError *err)
{
    if (*errp) {
        g_error_free(err);
    } else {
        *errp = err;
    }
    return RESET_FAILED;
}

/* @vdev is quiet. */
static ResetResult hot_reset(VFIOPCIDevice *vdev, GError **errp)
{
    g_autoptr(GError) err = NULL;
    g_autofree struct vfio_pci_hot_reset_info *info =
        vfio_device_get_hot_reset_info(vdev->vbasedev, &err);
    g_autoptr(GPtrArray) affected = info ? find_affected(vdev, info, &err) : NULL;
    bool ok;

    for (guint i = 0; affected && i < affected->len; i++) {
        VFIOPCIDevice *other = affected->pdata[i];

        if (other->use == VFIO_IN_USE) {
            TRACE("vfio_pci_hot_reset", "%s waits for %s", vdev->vbasedev->name,
                  other->vbasedev->name);
            return RESET_LATER;
        }
    }
    for (guint i = 0; affected && i < affected->len; i++) {
        quiesce(affected->pdata[i]); /* its INTx is on again */
    }
    ok = affected && vfio_device_hot_reset(vdev->vbasedev, info, &err);
    for (guint i = 0; affected && i < affected->len; i++) {
        VFIOPCIDevice *other = affected->pdata[i];

        other->use = ok ? VFIO_CLEAN : other->use;
        vfio_migration_was_reset(other->vbasedev);
        resume(other);
    }
    TRACE("vfio_pci_hot_reset", "%s %s", vdev->vbasedev->name, ok ? "done" : err->message);
    return ok ? RESET_DONE : failed(errp, g_steal_pointer(&err));
}

/* ---- all of it ---- */

static ResetResult function_reset(VFIOPCIDevice *vdev, const char *how, GError **errp)
{
    g_autoptr(GError) err = NULL;
    bool ok = vfio_device_reset(vdev->vbasedev, &err);

    vfio_migration_was_reset(vdev->vbasedev);
    TRACE("vfio_pci_function_reset", "%s %s %s", vdev->vbasedev->name, how,
          ok ? "done" : err->message);
    return ok ? RESET_DONE : failed(errp, g_steal_pointer(&err));
}

static ResetResult reset(VFIOPCIDevice *vdev, GError **errp)
{
    PCIDevice *pdev = &vdev->parent;
    bool own = vdev->vbasedev->flags & VFIO_DEVICE_FLAGS_RESET;
    bool weak = !has_flr(pdev) && has_pm_reset(pdev);
    g_autoptr(GError) err = NULL;
    ResetResult ret = RESET_FAILED;

    if (own && !weak) {
        ret = function_reset(vdev, has_flr(pdev) ? "FLR" : "reset", &err);
    }
    if (ret == RESET_FAILED) {
        ret = hot_reset(vdev, &err);
    }
    if (ret != RESET_DONE && own && weak) {
        ret = function_reset(vdev, "PM reset", &err);
    }
    if (ret == RESET_FAILED) {
        g_propagate_prefixed_error(errp, g_steal_pointer(&err), "it cannot be reset: ");
    }
    return ret;
}

/* With a function that has a reset of its own, those are complete that waited for it. */
static void reset_waiting(Device *dev, void *opaque)
{
    g_autoptr(GError) err = NULL;

    if (dev != opaque && G_TYPE_CHECK_INSTANCE_TYPE(dev, TYPE_VFIO_PCI) &&
        VFIO_PCI(dev)->use == VFIO_QUIET) {
        hot_reset(VFIO_PCI(dev), &err);
    }
}

void vfio_pci_reset(PCIDevice *pdev)
{
    VFIOPCIDevice *vdev = VFIO_PCI(pdev);
    bool prelaunch = run_state() == RUN_STATE_PRELAUNCH;
    g_autoptr(GError) err = NULL;
    ResetResult ret;

    if (vdev->use == VFIO_CLEAN) {
        return;
    }
    if (prelaunch && vdev->vbasedev->flags & VFIO_DEVICE_FLAGS_RESET) {
        return; /* the kernel reset it when it was opened, and no guest has run since */
    }
    TRACE("vfio_pci_reset", "%s", vdev->vbasedev->name);
    quiesce(vdev);
    vdev->use = VFIO_QUIET;
    ret = reset(vdev, &err);
    if (ret == RESET_DONE) {
        vdev->use = VFIO_CLEAN;
    } else if (ret == RESET_FAILED && !prelaunch) {
        vfio_pci_warn_once(vdev, VFIO_WARN_RESET, err);
    }
    resume(vdev);
    device_foreach(reset_waiting, vdev);
}
