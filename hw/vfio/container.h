/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a container is made of: the part that is the same for all of them (container.c: guest
 * memory, extents, what is mapped when) and the kernel interface that does the mapping, which is
 * one table of functions.  Machine lock held, save where it says otherwise.
 */
#ifndef VIADUCT_HW_VFIO_CONTAINER_H
#define VIADUCT_HW_VFIO_CONTAINER_H

#include "hw/vfio/internal.h"
#include "util/crew.h"

typedef struct VFIOMapper VFIOMapper;

typedef struct VFIOContainerOps {
    const char *type; /* "iommufd", "type1" */
    /*
     * Lets the device at what is mapped, and takes it away again: then vfio_container_dirty_sync()
     * comes when it can do no more DMA, before what knows of its writes goes.
     */
    bool (*attach)(VFIOContainer *c, VFIODevice *dev, GError **errp);
    void (*detach)(VFIOContainer *c, VFIODevice *dev);
    /*
     * The addresses that can be mapped now, sorted (g_free them), and their alignment in bytes, a
     * power of two.  Asked again after each attach and detach.
     */
    IOVARange *(*iova_ranges)(VFIOContainer *c, size_t *n, uint64_t *alignment, GError **errp);
    /* Any thread.  @fd, when not -1, is the file that has the memory from @start on. */
    bool (*map)(VFIOContainer *c, uint64_t iova, uint64_t length, void *host, int fd,
                uint64_t start, bool readonly, GError **errp);
    /* Exactly what was mapped. */
    bool (*unmap)(VFIOContainer *c, uint64_t iova, uint64_t length, GError **errp);
    /*
     * Dirty tracking by the IOMMU; all may be NULL: it has none.  Whether it sees the DMA of that
     * device; start, on all page tables that have it or on none; stop, failures being warnings; and
     * what was written to a range that is mapped without a hole: one bit for RAM_DIRTY_PAGE bytes,
     * bit 0 being @iova, set and never cleared, and forgotten by the hardware if @clear.
     */
    bool (*dirty_tracked)(const VFIOContainer *c, const VFIODevice *dev);
    bool (*dirty_start)(VFIOContainer *c, GError **errp);
    void (*dirty_stop)(VFIOContainer *c);
    bool (*dirty_query)(VFIOContainer *c, uint64_t iova, uint64_t length, bool clear,
                        uint64_t *bitmap, GError **errp);
    /*
     * Live update (cpr.c): whether the kernel lets what is mapped change hands (NULL: others check
     * it); what the other process needs to know of it and of an attached device (NULL: nothing).
     */
    bool (*cpr_check)(VFIOContainer *c, GError **errp);
    void (*cpr_save)(VFIOContainer *c);
    void (*cpr_save_device)(const VFIOContainer *c, const VFIODevice *dev);
    /* Old, the VM standing still: lets go of what is mapped, which stays so.  NULL: no need to. */
    bool (*cpr_stop)(VFIOContainer *c, GError **errp);
    /*
     * What is mapped of guest memory is this process's; @back: again, after cpr_stop() perhaps, and
     * the other process may have taken it meanwhile.  True if there is nothing to do.
     */
    bool (*cpr_take)(VFIOContainer *c, bool back, GError **errp);
    /* New: the memory of devices has been mapped again.  May be NULL. */
    void (*cpr_finish)(VFIOContainer *c);
    /* The memory of devices stays mapped meanwhile; map() then takes over what there is. */
    bool cpr_peers_stay;
    /* Nothing is mapped or attached any more, the common part is gone; frees the rest. */
    void (*free)(VFIOContainer *c);
    /* What x-query-vfio says of it and of a device beyond what is the same for all; may be NULL. */
    void (*describe)(const VFIOContainer *c, JsonObject *o);
    void (*describe_device)(const VFIOContainer *c, const VFIODevice *dev, JsonObject *o);
    /* A device's memory can be mapped where it has no file but an address. */
    bool maps_device_memory_by_address;
} VFIOContainerOps;

/* A range of guest memory that devices reach, just as it was mapped. */
typedef struct VFIOExtent {
    uint64_t addr;         /* of the memory range that it serves */
    uint64_t iova, length; /* the pages that lie wholly in that */
    gint mapped;           /* atomic; false: not yet, or the mapper failed */
    RAMBlock *block;       /* what it maps, from @offset on; NULL: a device's memory */
    uint64_t offset;
    bool readonly;
    uint64_t part; /* was mapped in parts of so many bytes; 0: in one piece */
    bool logged;   /* devices that log their DMA were told of it */
} VFIOExtent;

struct VFIOContainer {
    const VFIOContainerOps *ops;
    char *name;     /* how messages name it */
    unsigned users; /* devices */
    unsigned holds; /* and those who are about to attach one */
    MemoryListener listener;
    bool listening;
    GHashTable *extents; /* VFIOExtent by addr */
    IOVARange *ranges;
    size_t nr_ranges;
    uint64_t page;        /* the larger of the host's page and the alignment */
    VFIOMapper *mapper;   /* busy with the first extents; NULL: all is as `extents` says */
    bool collecting;      /* extents go to the mapper, which has not started yet */
    bool map_wait;        /* they are mapped before the guest runs, not behind its boot */
    unsigned map_threads; /* for guest memory; 0: one a CPU, up to a limit */
    bool map_failed;      /* it could not map all: no device may do DMA any more */
    bool p2p_warned;
    /* Dirty tracking (dirty.c). */
    bool dirty_on;
    GPtrArray *dirty_loggers; /* VFIODevice: those that log; NULL while it is off */
    uint64_t dirty_log_page;  /* bytes: the largest page of those */
    uint64_t *dirty_scratch;  /* zeroes between two uses */
    uint64_t dirty_scratch_words;
    Crew *dirty_crew;
    GArray *dirty_pieces; /* VFIOExtent: what the crew asks for in a pass, … */
    gint dirty_next;      /* atomic: … and the first of them that nobody has taken */
    bool dirty_iommu;     /* the IOMMU sees some device's DMA */
    bool dirty_all;       /* nothing sees some device's: all that is mapped counts */
    gint dirty_warned;    /* atomic: that a query failed */
    /* Live update (cpr.c). */
    GByteArray *adopted; /* what the old process has mapped, until the VM is ours; else NULL */
    unsigned nr_adopted; /* of that, extents that were found here */
    bool handed_over;    /* the VM stands still, and no device's memory is mapped */
    gint64 map_time;     /* us that the mapper's maps took; 0 while it is busy */
};

extern GPtrArray *vfio_containers; /* VFIOContainer: all there are; NULL before the first */

/* Fills the common part of a zeroed container that nobody uses yet. */
void vfio_container_init(VFIOContainer *c, const VFIOContainerOps *ops, const char *name);
/*
 * A device is going to be attached: the container stays until vfio_container_put(), and if it is
 * the first device, guest memory gets its pages meanwhile.
 */
void vfio_container_prepare(VFIOContainer *c);
/* Waits for those pages, without the machine lock if the main loop runs. */
void vfio_container_await_pages(VFIOContainer *c);
/* Frees a container that nobody uses. */
void vfio_container_put(VFIOContainer *c);
/* Sets dev->container; the first device is why guest memory is mapped. */
bool vfio_container_attach(VFIOContainer *c, VFIODevice *dev, GError **errp);
/* Clears dev->container; with the last device the container goes. */
void vfio_container_detach(VFIODevice *dev);
/* Maps one extent of @r, RAM or a device's memory.  Any thread. */
bool vfio_container_map(VFIOContainer *c, const VFIOExtent *e, const MemoryRange *r, GError **errp);

/* Up to `map_threads` threads for @pieces of work on guest memory. */
Crew *vfio_container_crew(const VFIOContainer *c, unsigned pieces);
/* Waits for the mapper; false if it failed.  What it did not map is known by its extents. */
bool vfio_container_settle(VFIOContainer *c, GError **errp);

/* ---- dirty.c: which guest pages devices have written ---- */

/*
 * From now on writes are tracked: by the IOMMU where a device's domain can, else by the device
 * itself (VFIO_DEVICE_FEATURE_DMA_LOGGING_*), else not at all, which makes every sync say that all is
 * dirty; VFIODevice.dirty_source says which.  On everything or, when it fails, on nothing.
 */
bool vfio_container_dirty_start(VFIOContainer *c, GError **errp);
/*
 * Sets in the bitmaps of RAM blocks what was written since the last sync, and forgets it.
 * Allocates nothing, save once after memory has come.  What cannot be asked counts as dirty.
 */
void vfio_container_dirty_sync(VFIOContainer *c);
void vfio_container_dirty_stop(VFIOContainer *c);
/* The last sync of an extent that is about to be unmapped. */
void vfio_container_dirty_unmap(VFIOContainer *c, const VFIOExtent *e);
/* For devices that come and go meanwhile; the ops' detach has synced. */
void vfio_container_dirty_attached(VFIOContainer *c, VFIODevice *dev);
void vfio_container_dirty_detached(VFIOContainer *c, VFIODevice *dev);

/* ---- cpr.c: live update ---- */

void vfio_container_cpr_register(VFIOContainer *c);
/* A new container is one of the old process's: what that has mapped. */
void vfio_container_cpr_init(VFIOContainer *c);
void vfio_container_cpr_fini(VFIOContainer *c);
/* Whether the old process has mapped just that; fills in how. */
bool vfio_container_adopt(VFIOContainer *c, VFIOExtent *e, GError **errp);
/* Guest memory is there: whether the old process has more mapped. */
bool vfio_container_adopted_all(VFIOContainer *c, GError **errp);
/* For cpr.c: maps a device's memory again. */
void vfio_container_map_peer(VFIOContainer *c, VFIOExtent *e, const MemoryRange *r);

/* dirty-joined.c: makes up for what the kernel does not say of AMD's IOMMUs; bit 0 is @iova. */
void vfio_dirty_fill_joined(uint64_t *bitmap, uint64_t iova, uint64_t length);

/* container-iommufd.c: that of @be's devices, a new one without users if there is none. */
VFIOContainer *vfio_container_of_iommufd(IOMMUFDBackend *be, GError **errp);

/* ---- mapper.c: maps extents in a thread of its own ---- */

/* Gets all shared RAM there is now its pages and then waits for the start; NULL: no thread. */
VFIOMapper *vfio_mapper_new(VFIOContainer *c);
/* Before the start; @e stays where it is until the end. */
void vfio_mapper_add(VFIOMapper *m, VFIOExtent *e, const MemoryRange *r);
/*
 * The container can map now.  If it fails, the guest may run already: then the process ends with
 * status 1 and the message, which begins with @prefix.  NULL: the caller is waiting and is told.
 */
void vfio_mapper_start(VFIOMapper *m, const char *prefix);
/* When they all have: for who would not want to hold the machine lock so long.  It must not start
 * or end meanwhile. */
void vfio_mapper_await_pages(VFIOMapper *m);
/* Bytes of RAM that have got their pages so far. */
uint64_t vfio_mapper_populated(VFIOMapper *m);
/* Waits for the end, which is at once when it was not started, and frees it; false if what it was
 * to map is not all mapped. */
bool vfio_mapper_finish(VFIOMapper *m, GError **errp);
/* The same, but nothing more needs to be mapped. */
void vfio_mapper_cancel(VFIOMapper *m);

#endif
