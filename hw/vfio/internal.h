/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of this room show to each other. */
#ifndef VIADUCT_HW_VFIO_INTERNAL_H
#define VIADUCT_HW_VFIO_INTERNAL_H

#include "hw/vfio/vfio.h"

/*
 * An interface of the kernel through which a device is opened and put into a container.
 * connect() fills dev->fd and dev->container; disconnect() undoes as much of it as there is, but for
 * closing a cdev, which the caller does or not.
 */
typedef struct VFIOInterface {
    bool (*connect)(VFIODevice *dev, const VFIODeviceRef *ref, GError **errp);
    void (*disconnect)(VFIODevice *dev);
} VFIOInterface;

/* device.c: what one needs to know who could not open a device, with vf-token @token (NULL: none);
 * perhaps "". */
const char *vfio_open_hint(int errnum, const char *token);
/* device.c: all that are attached; NULL before the first. */
extern GPtrArray *vfio_devices;
/* Whether @dev is none of those, as far as its number and its place in sysfs are known. */
bool vfio_check_not_attached(VFIODevice *dev, GError **errp);

/*
 * device.c: the accelerator is told of a descriptor, unless *@told, or that it goes.  It knows each by
 * one VM only: in a live update by that which runs.  @what, a device's name or a group's, is warned of.
 */
void vfio_tell_accel(int fd, bool *told, const char *what);
void vfio_forget_accel(int fd, bool *told);

/*
 * device.c: around the call that opens a device, which may take long.  Says that the device is
 * coming and, once the main loop runs, gives up the machine lock; true if it did, for the end.
 */
bool vfio_open_begin(const VFIODeviceRef *ref);
void vfio_open_end(bool unlocked);

/*
 * feature.c: VFIO_DEVICE_FEATURE.  @flags has the operation and the feature; @arg, of @len bytes, at
 * most VFIO_FEATURE_ARG_MAX, goes to the kernel and comes back when it succeeds.  False and errno.
 * Any thread.
 */
#define VFIO_FEATURE_ARG_MAX 32
bool vfio_device_feature(VFIODevice *dev, uint32_t flags, void *arg, size_t len);

/* cdev.c: the open cdev of the device in that folder of sysfs and its number, or -1. */
int vfio_cdev_open(const char *sysfs, dev_t *number, GError **errp);
/*
 * What @fd is: its number and, to be g_free'd, its folder in sysfs, or NULL where sysfs does not
 * show it.  An error if it can be no VFIO device.
 */
bool vfio_cdev_identify(int fd, dev_t *number, char **sysfs, GError **errp);
/* Where sysfs finds devices by their numbers; tests have a place of their own. */
extern const char *vfio_sysfs_dev_char;
/* Whether a driver of VFIO has the device; if not, who has it and what the user can do. */
bool vfio_check_driver(const char *sysfs, GError **errp);

/* group.c: the older interface, by the device's IOMMU group. */
extern const VFIOInterface vfio_group_interface;

/*
 * caps.c: what the kernel says to @request, as long as it wants to be, its first member (argsz) being
 * the length of the answer; g_free it.  @ask has @size bytes, of which the first member is ours.
 * NULL, errno and the error, which begins with @what, otherwise.
 */
void *vfio_get_info(int fd, unsigned long request, const char *what, const void *ask, uint32_t size,
                    GError **errp);
/* Capabilities behind a structure that the kernel has filled. */
typedef struct VFIOCapChain {
    const void *info;
    uint32_t argsz;     /* how long @info is with all of them */
    uint32_t head;      /* how long it is without */
    uint32_t first;     /* offset of the first in @info; 0: none */
    uint32_t alignment; /* of them all */
} VFIOCapChain;
/*
 * The capability @id, of at least @size bytes; *@room is what lies from it to the end.  True with
 * *@cap NULL when there is none.  The kernel chains them in ascending order.
 */
bool vfio_find_cap(const VFIOCapChain *chain, uint16_t id, size_t size, const void **cap,
                   size_t *room, GError **errp);

/* cpr-device.c: live update of a device; NULL @id: it has none. */
void vfio_device_cpr_register(VFIODevice *dev, const char *id);
void vfio_device_cpr_unregister(VFIODevice *dev);
/*
 * A new device, of which the interface is set: if the old process has it, takes its descriptor and
 * what it is bound to, and sets dev->adopted and dev->cpr_name.
 */
bool vfio_device_cpr_find(VFIODevice *dev, const char *id, GError **errp);

/* region.c: fills dev->regions, and frees them. */
bool vfio_regions_init(VFIODevice *dev, GError **errp);
void vfio_regions_fini(VFIODevice *dev);

#endif
