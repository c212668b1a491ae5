/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Live update of devices, by their cdevs or by their groups: the descriptor, and what it is bound to. */
#include "hw/vfio/container.h"

#include <string.h>

#include "migration/cpr.h"
#include "util/error.h"
#include "util/trace.h"

typedef struct DeviceRecord {
    uint32_t devid, by_group;
} DeviceRecord;

static char *ids_name(const VFIODevice *dev)
{
    return g_strdup_printf("%s/ids", dev->cpr_name);
}

/* Where the old process has a device in sysfs that is reached by its group. */
static char *place_name(const VFIODevice *dev)
{
    return g_strdup_printf("%s/place", dev->cpr_name);
}

static bool is_by_group(const VFIODevice *dev)
{
    return dev->interface == &vfio_group_interface;
}

/* Where it is in sysfs names it as well, but not one that was given open. */
static char *cpr_name(const VFIODevice *dev, const char *id, bool given)
{
    return id                    ? g_strdup_printf("vfio/%s", id)
           : given || !dev->name ? NULL
                                 : g_strdup_printf("vfio/host/%s", dev->name);
}

static bool device_check(void *opaque, GError **errp)
{
    const VFIODevice *dev = opaque;

    if (!dev->cpr_name) {
        return error_set(errp, "vfio %s: a device that was given by fd needs an id for CPR",
                         dev->name);
    }
    if (!dev->container) {
        return error_set(errp, "vfio %s: it is being added", dev->name);
    }
    return is_by_group(dev) || dev->domain ||
           error_set(errp, "vfio %s: CPR does not hand over a mediated device under iommufd",
                     dev->name);
}

static void device_save(void *opaque)
{
    const VFIODevice *dev = opaque;
    g_autofree char *ids = ids_name(dev);
    g_autofree char *place = place_name(dev);
    DeviceRecord record = { dev->devid, is_by_group(dev) };

    cpr_save_fd(dev->cpr_name, 0, dev->fd);
    cpr_save_data(ids, 0, &record, sizeof(record));
    if (is_by_group(dev)) {
        cpr_save_data(place, 0, dev->sysfs, strlen(dev->sysfs));
    }
    if (dev->container->ops->cpr_save_device) {
        dev->container->ops->cpr_save_device(dev->container, dev);
    }
}

static bool device_stop(void *opaque, GError **errp)
{
    VFIODevice *dev = opaque;

    vfio_forget_accel(dev->fd, &dev->accel_told);
    return true;
}

static void device_tell_accel(void *opaque)
{
    VFIODevice *dev = opaque;

    vfio_tell_accel(dev->fd, &dev->accel_told, dev->name);
}

static const CprOps cdev_ops = {
    .check = device_check,
    .save = device_save,
    .stop = device_stop,
    .undo = device_tell_accel,
    .finish = device_tell_accel,
};

/* Of one of a group, KVM knows the group. */
static const CprOps group_device_ops = { .check = device_check, .save = device_save };

static const CprOps *ops_of(const VFIODevice *dev)
{
    return is_by_group(dev) ? &group_device_ops : &cdev_ops;
}

void vfio_device_cpr_register(VFIODevice *dev, const char *id)
{
    if (!dev->adopted) {
        dev->cpr_name = cpr_name(dev, id, dev->given);
    }
    cpr_register(ops_of(dev), dev);
}

void vfio_device_cpr_unregister(VFIODevice *dev)
{
    cpr_unregister(ops_of(dev), dev);
}

static bool is_elsewhere(const char *sysfs, GError **errp)
{
    return error_set(errp, "the old process has %s by that name", sysfs);
}

/* Nothing tells whose the descriptor is, but the configuration spaces are compared. */
static bool is_same_place(const VFIODevice *dev, GError **errp)
{
    g_autofree char *name = place_name(dev);
    const GByteArray *bytes = cpr_find_bytes(name, 0);
    g_autofree char *place =
        bytes ? g_strndup((const char *)bytes->data, bytes->len) : g_strdup("something");
    g_autofree char *shown = g_strescape(place, NULL);

    return g_str_equal(place, dev->sysfs) || is_elsewhere(shown, errp);
}

/* Its cdev, and not some other device's that the user has given this name. */
static bool is_same_cdev(VFIODevice *dev, int fd, GError **errp)
{
    g_autofree char *sysfs = NULL;

    if (!vfio_cdev_identify(fd, &dev->number, &sysfs, errp)) {
        return false;
    }
    if (dev->sysfs && sysfs && !g_str_equal(dev->sysfs, sysfs)) {
        return is_elsewhere(sysfs, errp);
    }
    if (!dev->sysfs) {
        dev->sysfs = g_steal_pointer(&sysfs);
    }
    if (!dev->name) {
        dev->name = dev->sysfs ? g_path_get_basename(dev->sysfs) : g_strdup(dev->cpr_name);
    }
    return true;
}

static bool adopt_device(VFIODevice *dev, GError **errp)
{
    g_autofree char *ids = ids_name(dev);
    const DeviceRecord *record = cpr_find_data(ids, 0, sizeof(*record));

    if (!record) {
        return error_set(errp, "the old process does not say what it is bound to");
    }
    if (record->by_group != is_by_group(dev)) {
        return error_set(
            errp, "the old process has it %s iommufd=", record->by_group ? "without" : "with");
    }
    dev->devid = record->devid;
    dev->adopted = is_by_group(dev) ? is_same_place(dev, errp) : is_same_cdev(dev, dev->fd, errp);
    return dev->adopted;
}

bool vfio_device_cpr_find(VFIODevice *dev, const char *id, GError **errp)
{
    dev->cpr_name = cpr_name(dev, id, false);
    dev->fd = dev->cpr_name ? cpr_find_fd(dev->cpr_name, 0) : -1;
    if (dev->fd < 0) { /* it is new */
        g_clear_pointer(&dev->cpr_name, g_free);
        return !is_by_group(dev) ||
               error_set(errp, "vfio %s: the old process has no such device", dev->name);
    }
    if (!adopt_device(dev, errp)) {
        g_prefix_error(errp, "vfio %s: ", dev->name ?: id);
        return false;
    }
    TRACE("vfio_cpr_find_device", "%s fd %d devid %u", dev->name, dev->fd, dev->devid);
    return true;
}
