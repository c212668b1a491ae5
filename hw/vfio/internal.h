/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of this room show to each other. */
#ifndef VIADUCT_HW_VFIO_INTERNAL_H
#define VIADUCT_HW_VFIO_INTERNAL_H

#include "hw/vfio/vfio.h"

/* device.c: all that are attached; NULL before the first. */
extern GPtrArray *vfio_devices;

/* cdev.c: the open cdev of the device in that folder of sysfs, or -1. */
int vfio_cdev_open(const char *sysfs, GError **errp);

/* region.c: fills dev->regions, and frees them. */
bool vfio_regions_init(VFIODevice *dev, GError **errp);
void vfio_regions_fini(VFIODevice *dev);

#endif
