/* SPDX-License-Identifier: GPL-2.0-or-later */
/* VFIO groups and the containers that take them: what the files that make them show to each other.
 * Machine lock held. */
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
    bool adopted;             /* it is another process's, until the VM is ours, and in */
    unsigned number;          /* the container of that number */
};

/* The memory of a device that another process has mapped. */
typedef struct VFIOType1Peer {
    uint64_t iova, length, readonly;
} VFIOType1Peer;

typedef struct VFIOType1Container {
    VFIOContainer parent;
    int fd;
    unsigned number;           /* of those there are */
    unsigned groups;           /* that are in it */
    uint64_t dirty_page_sizes; /* of dirty page tracking, a bitmap; 0: there is none */
    bool let_go;               /* nothing that is mapped has an address of this process's */
    GArray *peers;             /* VFIOType1Peer, which nobody has taken yet; NULL: none */
} VFIOType1Container;

/*
 * container-type1.c: attaches the device of dev->group to that group's container; if the group is
 * in none, to the first one that takes it, a new one being the last that is tried.
 */
bool vfio_type1_attach(VFIODevice *dev, GError **errp);
/* Of a container that is a type1 container. */
unsigned vfio_type1_number(const VFIOContainer *c);

/* ---- cpr-type1.c: live update ---- */

/* Whether the descriptor is of a container whose mappings can get another process's addresses. */
bool vfio_type1_can_update_vaddr(int fd);
/*
 * The memory of a device is mapped already, from before the update, and gets its address here; false: it
 * is not, or is not any more.
 */
bool vfio_type1_take_peer(VFIOType1Container *c, uint64_t iova, uint64_t length, const void *host,
                          bool readonly);
/* See VFIOContainerOps. */
bool vfio_type1_cpr_check(VFIOContainer *c, GError **errp);
void vfio_type1_cpr_save(VFIOContainer *c);
bool vfio_type1_cpr_stop(VFIOContainer *c, GError **errp);
bool vfio_type1_cpr_take(VFIOContainer *c, bool back, GError **errp);
void vfio_type1_cpr_finish(VFIOContainer *c);
/* The descriptor of the container that an adopted group is in, the caller's; -1: the error. */
int vfio_type1_cpr_find(const VFIOGroup *g, GError **errp);

/* ---- cpr-group.c ---- */

void vfio_group_cpr_register(VFIOGroup *g);
void vfio_group_cpr_unregister(VFIOGroup *g);
/* A new group, of which the id is set: takes its descriptor if the old process has it; else fd is -1. */
bool vfio_group_cpr_find(VFIOGroup *g, GError **errp);

#endif
