/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of this room show to each other. */
#ifndef VIADUCT_HW_VFIO_INTERNAL_H
#define VIADUCT_HW_VFIO_INTERNAL_H

#include "hw/vfio/vfio.h"

/* device.c: all that are attached; NULL before the first. */
extern GPtrArray *vfio_devices;

/* cdev.c: the open cdev of the device in that folder of sysfs and its number, or -1. */
int vfio_cdev_open(const char *sysfs, dev_t *number, GError **errp);
/*
 * What @fd is: its number and, to be g_free'd, its folder in sysfs, or NULL where sysfs does not
 * show it.  An error if it can be no VFIO device.
 */
bool vfio_cdev_identify(int fd, dev_t *number, char **sysfs, GError **errp);
/* Where sysfs finds devices by their numbers; tests have a place of their own. */
extern const char *vfio_sysfs_dev_char;

/* region.c: fills dev->regions, and frees them. */
bool vfio_regions_init(VFIODevice *dev, GError **errp);
void vfio_regions_fini(VFIODevice *dev);

#endif
