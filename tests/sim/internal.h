/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the simulator's files show to each other. */
#ifndef VIADUCT_TESTS_SIM_INTERNAL_H
#define VIADUCT_TESTS_SIM_INTERNAL_H

#include "tests/sim/kernel.h"

#include <errno.h>

#define FIRST_FD     100000
#define REGION_AT(i) ((uint64_t)(i) << 40)

static inline int fail(int errnum)
{
    errno = errnum;
    return -1;
}

/* ---- kernel.c ---- */

extern GPtrArray *sim_devices;   /* SimDevice */
extern GHashTable *sim_eventfds; /* a set of descriptors */
/* Whether it is a descriptor of the simulated /dev/iommu. */
bool sim_is_iommu(int fd);
/* A dma-buf of @size bytes of a device's, and what a descriptor says of it (false: is none). */
int sim_dmabuf_new(SimDevice *dev, uint64_t size);
bool sim_dmabuf(int fd, SimDevice **dev, uint64_t *size);

/* ---- iommufd.c ---- */

typedef enum { OBJ_FREE, OBJ_IOAS, OBJ_HWPT, OBJ_DEVICE } ObjectKind;

typedef struct Object {
    ObjectKind kind;
    uint32_t ioas;  /* of an HWPT */
    bool manual;    /* an HWPT that was asked for, and stays until it is destroyed */
    SimDevice *dev; /* of a device; an HWPT's is that which it was made for */
    unsigned users;
    GArray *extents; /* of an IOAS */
} Object;

/* One /dev/iommu at a time; it lives while a descriptor or a bound device refers to it. */
void sim_iommu_get(void);
void sim_iommu_put(void);
int sim_iommu_ioctl(unsigned long request, void *arg);
/* NULL if there is no such object of that kind. */
Object *sim_object(uint32_t id, ObjectKind kind);
uint32_t sim_object_new(ObjectKind kind);
void sim_object_free(Object *o);
/* The automatic domain of an IOAS: the one there is, or a new one. */
uint32_t sim_hwpt_of(uint32_t ioas);
void sim_hwpt_free(Object *hwpt);

/* All that is mapped of the device's memory is dead from now on. */
void sim_iommu_revoke(SimDevice *dev);

/* ---- device.c ---- */

/* Whether its memory answers. */
bool sim_decodes(const SimDevice *dev);
/* Ids and links of capabilities stay; memory goes, or the function is reset, as the bits say. */
void sim_config_write(SimDevice *dev, uint64_t at, const void *buf, size_t len);

int sim_device_ioctl(SimDevice *dev, unsigned long request, void *arg);
/* What closing the cdev that it was bound through undoes. */
void sim_device_release(SimDevice *dev);

#endif
