/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A VFIO group: what group.c and container-type1.c know of it.  Machine lock held. */
#ifndef VIADUCT_HW_VFIO_GROUP_H
#define VIADUCT_HW_VFIO_GROUP_H

#include "hw/vfio/container.h"

struct VFIOGroup {
    unsigned id; /* its number in /sys/kernel/iommu_groups and /dev/vfio */
    int fd;
    unsigned users;           /* devices that are being connected or are connected */
    VFIOContainer *container; /* that it is in; NULL: none */
    unsigned attached;        /* devices of it that are attached to that container */
    bool accel_told;          /* the accelerator has the descriptor */
};

/*
 * container-type1.c: attaches the device of dev->group to that group's container; if the group is
 * in none, to the first one that takes it, a new one being the last that is tried.
 */
bool vfio_type1_attach(VFIODevice *dev, GError **errp);

#endif
