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
/* A new descriptor of the device. */
int sim_device_file(SimDevice *dev);
/* What names the file in another process; g_free it.  NULL: it is none of these. */
char *sim_file_name(int fd);
/* And in there: a new descriptor. */
int sim_file_of(const char *name);
/* A real eventfd is known to be one, and counts as open. */
void sim_eventfd_add(int fd);
typedef struct SimContainer SimContainer;
/* An eventfd that the device may have has another number now. */
void sim_device_renumber(SimDevice *dev, int from, int to);
/* NULL: the descriptor is not of a container. */
SimContainer *sim_container_of(int fd);
/* A dma-buf of @size bytes of a device's, and what a descriptor says of it (false: is none). */
int sim_dmabuf_new(SimDevice *dev, uint64_t size);
bool sim_dmabuf(int fd, SimDevice **dev, uint64_t *size);
/* 0: the descriptor is not of a group. */
unsigned sim_group_of(int fd);

/* ---- iommufd.c: objects, and the commands of address spaces ---- */

typedef enum { OBJ_FREE, OBJ_IOAS, OBJ_HWPT, OBJ_DEVICE, OBJ_MOCK } ObjectKind;

typedef struct Range {
    uint64_t start, last;
} Range;

typedef struct Object {
    ObjectKind kind;
    uint32_t ioas;  /* of an HWPT */
    bool manual;    /* an HWPT that was asked for, and stays until it is destroyed */
    SimDevice *dev; /* of a device; an HWPT's is that which it was made for */
    unsigned users;
    bool dirty_ops, tracking; /* of an HWPT */
    GArray *dirty;            /* Range: the entries of its page table that are dirty */
    GArray *extents;          /* of an IOAS; SimExtent, sorted */
    GArray *reserved;         /* of an IOAS, beyond what its domains and devices reserve; Range */
    GArray *allowed;          /* of an IOAS; Range */
    bool no_huge_pages;
} Object;

/* One /dev/iommu at a time; it lives while a descriptor or a bound device refers to it. */
void sim_iommu_get(void);
void sim_iommu_put(void);
int sim_iommu_ioctl(unsigned long request, void *arg);
/* NULL if there is no such object of that kind. */
Object *sim_object(uint32_t id, ObjectKind kind);
uint32_t sim_object_new(ObjectKind kind);
void sim_object_free(Object *o);
/* One above the largest id. */
uint32_t sim_objects(void);
/* The strictest of the IOAS's domains. */
uint64_t sim_alignment(uint32_t ioas);
/* Whether something is mapped or allowed there. */
bool sim_is_used(const Object *ioas, Range r);
/* Whether @dev can be attached: nothing is where it must not be. */
bool sim_fits(uint32_t ioas, const SimDevice *dev);
/* The first extent that touches the range, or NULL. */
const SimExtent *sim_extent(const Object *ioas, uint64_t start, uint64_t last);

/* ---- hwpt.c: domains ---- */

/* The automatic domain of an IOAS: the one there is, or a new one for @dev. */
uint32_t sim_hwpt_of(uint32_t ioas, SimDevice *dev);
void sim_hwpt_free(Object *hwpt);
/* A device writes: the page is dirty if that is tracked. */
void sim_hwpt_write(Object *hwpt, uint64_t iova);
/* The extent goes, and what was dirty in it. */
void sim_hwpt_forget(uint32_t ioas, const SimExtent *e);
int sim_get_hw_info(void *arg);
int sim_hwpt_alloc(void *arg);
int sim_set_dirty(void *arg);
int sim_get_dirty(void *arg);

/* All that is mapped of the device's memory is dead from now on. */
void sim_iommu_revoke(SimDevice *dev);

/* ---- mock.c: the kernel's test command ---- */

int sim_mock(void *arg);
/* What destroying the test object of a device undoes. */
void sim_mock_free(SimDevice *dev);

/* ---- device.c, device-log.c ---- */

/* Of logging and migration. */
int sim_device_feature(SimDevice *dev, void *arg);

/* Whether its memory answers. */
bool sim_decodes(const SimDevice *dev);
/* Ids and links of capabilities stay; memory goes, or the function is reset, as the bits say. */
void sim_config_write(SimDevice *dev, uint64_t at, const void *buf, size_t len);

/* VFIO_DEVICE_ATTACH_IOMMUFD_PT and its opposite, 0 or an errno. */
int sim_device_attach(SimDevice *dev, uint32_t *pt_id);
void sim_device_detach(SimDevice *dev);
int sim_device_ioctl(SimDevice *dev, unsigned long request, void *arg);
/* What closing the cdev that it was bound through undoes. */
void sim_device_release(SimDevice *dev);
/* As vfio-pci checks it when the device is opened; 36 characters, or NULL. */
int sim_device_check_token(const SimDevice *dev, const char *token);

/* As vfio-pci opens a device. */
void sim_device_wake(SimDevice *dev);

/* ---- migration.c ---- */

/* Of VFIO_DEVICE_FEATURE; @set: or GET. */
int sim_mig_get_flags(SimDevice *dev, void *data, bool set);
int sim_mig_state(SimDevice *dev, void *data, bool set);
int sim_mig_data_size(SimDevice *dev, void *data, bool set);
int sim_mig_info_v2(SimDevice *dev, void *data, bool set);
/* How long the next transition takes, in ms. */
void sim_mig_delay_begin(void);
void sim_mig_delay_end(void);
void sim_mig_reset(SimDevice *dev);
void sim_mig_free(SimDevice *dev);
/* Of a transfer's descriptor. */
int sim_mig_ioctl(SimDevice *dev, unsigned transfer, unsigned long request, void *arg);
ssize_t sim_mig_read(SimDevice *dev, unsigned transfer, void *buf, size_t len);
ssize_t sim_mig_write(SimDevice *dev, unsigned transfer, const void *buf, size_t len);
/* kernel.c: a new descriptor of the device's transfer. */
int sim_mig_file(SimDevice *dev, unsigned transfer);

/* ---- group.c ---- */

/* NULL and errno. */
SimGroup *sim_group_open(unsigned id);
void sim_group_close(SimGroup *g);
unsigned sim_group_id(const SimGroup *g);
bool sim_group_is_open(unsigned id);
void sim_group_device_closed(SimDevice *dev);
int sim_group_ioctl(SimGroup *g, unsigned long request, void *arg);
SimContainer *sim_container_new(void);
void sim_container_close(SimContainer *c);
int sim_container_ioctl(SimContainer *c, unsigned long request, void *arg);

/*
 * Each call but those that give something back comes here first: whether it is to fail, with errno
 * set to one of @errors (0-ended: what the kernel may well say).  @what is for the line that says so.
 */
bool sim_must_fail(const char *call, unsigned long what, const int *errors);

/* failures.c: once, after sim_init(). */
void sim_watch_ioctls(void);

#endif
