/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The memory model.  Regions form a tree: containers hold regions at an offset with a priority,
 * leaves are RAM, RAM of a device (a mapped BAR) or I/O.  Committing a transaction renders the tree
 * to a flat view: sorted ranges without overlap, neighbours of one backing merged.  Listeners
 * (KVM's slots, an IOMMU container) are told the difference; vCPU threads dispatch through the
 * view.
 *
 * Locks: everything here is called with the machine lock held, save address_space_view(), whose
 * views are immutable and counted.  Whoever takes one gives it back soon: it keeps the owners of
 * its regions alive, unplugged devices among them.
 */
#ifndef VIADUCT_CORE_MEMORY_H
#define VIADUCT_CORE_MEMORY_H

#include <glib-object.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/ram.h"

typedef struct MemoryRegion MemoryRegion;
typedef struct AddressSpace AddressSpace;
typedef struct FlatView FlatView;

typedef struct MemoryRegionOps {
    uint64_t (*read)(void *opaque, uint64_t addr, unsigned size);
    void (*write)(void *opaque, uint64_t addr, uint64_t data, unsigned size);
    /* The largest access the callbacks take, a power of two; 0 means 8.  Larger and unaligned ones
     * are split. */
    unsigned max_size;
} MemoryRegionOps;

typedef enum { REGION_CONTAINER, REGION_RAM, REGION_RAM_DEVICE, REGION_IO } MemoryRegionKind;

struct MemoryRegion {
    char *name;
    MemoryRegionKind kind;
    GObject *owner; /* kept alive while a flat view refers to the region; may be NULL */
    uint64_t size;  /* bytes; UINT64_MAX stands for all 2^64 */
    bool enabled;
    bool readonly; /* writes of the guest are dropped */
    const MemoryRegionOps *ops;
    void *opaque;
    /* RAM and RAM of a device */
    RAMBlock *block; /* NULL for a device's */
    void *host;
    int fd;             /* file to map for DMA (memfd, dma-buf), -1: none; borrowed */
    uint64_t fd_offset; /* of the region's start in that file */
    /* place in the tree */
    MemoryRegion *container;
    uint64_t addr; /* in the container */
    int priority;  /* higher hides lower */
    GPtrArray *children;
};

void memory_region_init(MemoryRegion *mr, GObject *owner, const char *name, uint64_t size);
void memory_region_init_io(MemoryRegion *mr, GObject *owner, const MemoryRegionOps *ops,
                           void *opaque, const char *name, uint64_t size);
/* @size bytes of @block from @offset on. */
void memory_region_init_ram(MemoryRegion *mr, GObject *owner, const char *name, RAMBlock *block,
                            uint64_t offset, uint64_t size);
/* Memory of a real device at @host; @fd (a dma-buf, or -1) is what an IOMMU can map instead. */
void memory_region_init_ram_device(MemoryRegion *mr, GObject *owner, const char *name, void *host,
                                   uint64_t size, int fd, uint64_t fd_offset);
/* RAM that is exactly what its file holds: mr->fd from mr->fd_offset on.  Any thread. */
static inline bool memory_region_has_file(const MemoryRegion *mr)
{
    return mr->kind == REGION_RAM && mr->fd >= 0 && mr->block->shared;
}
/* The region must be in no container and hold no child. */
void memory_region_fini(MemoryRegion *mr);

void memory_region_add_child(MemoryRegion *container, uint64_t addr, MemoryRegion *child,
                             int priority);
void memory_region_del_child(MemoryRegion *container, MemoryRegion *child);
void memory_region_set_enabled(MemoryRegion *mr, bool enabled);
void memory_region_set_address(MemoryRegion *mr, uint64_t addr);

/*
 * Changes between begin and the outermost commit reach the listeners as one difference; each of the
 * changes above is such a transaction by itself.  A listener that fails has reported it.
 */
void memory_transaction_begin(void);
void memory_transaction_commit(void);

/* A range of a flat view. */
typedef struct MemoryRange {
    uint64_t addr, size;
    MemoryRegion *mr;
    uint64_t offset; /* of addr in the region */
    bool readonly;
} MemoryRange;

/* Host address and file offset of a RAM range's start. */
void *memory_range_host(const MemoryRange *r);
uint64_t memory_range_fd_offset(const MemoryRange *r);

typedef struct MemoryListener MemoryListener;
struct MemoryListener {
    const char *name;
    unsigned priority; /* lower is told of additions first, of removals last */
    void (*begin)(MemoryListener *l);
    /* Removals come before additions.  A failing add leaves the range unknown to the listener,
     * which is then never told of its removal. */
    bool (*region_add)(MemoryListener *l, const MemoryRange *range, GError **errp);
    void (*region_del)(MemoryListener *l, const MemoryRange *range);
    bool (*commit)(MemoryListener *l, GError **errp);
    /* private to core/memory */
    AddressSpace *as;
    GHashTable *refused;
};

/* Tells the listener all ranges there are; if it fails, everything it took is removed again. */
bool memory_listener_register(MemoryListener *l, AddressSpace *as, GError **errp);
/* Tells it the removal of all ranges. */
void memory_listener_unregister(MemoryListener *l);

struct AddressSpace {
    const char *name;
    MemoryRegion *root;
    FlatView *view; /* atomic */
    GPtrArray *listeners;
};

/* The two of the machine: memory and x86 I/O ports; roots are made by memory_init(). */
extern AddressSpace address_space_memory, address_space_io;
void memory_init(void);

/* The current view with a reference of the caller's.  Any thread. */
FlatView *address_space_view(AddressSpace *as);
void flat_view_unref(FlatView *view);
/* The range that holds @addr, or NULL. */
const MemoryRange *flat_view_find(const FlatView *view, uint64_t addr);
const MemoryRange *flat_view_ranges(const FlatView *view, size_t *n);

/*
 * One access of the guest's: split as the region's ops want; where nothing is, reads are all ones
 * and writes vanish.  @len is at most 8 for I/O regions.
 */
void flat_view_rw(const FlatView *view, uint64_t addr, void *buf, uint64_t len, bool is_write);
/* The same through the current view; used to place a kernel or ACPI tables too. */
void address_space_rw(AddressSpace *as, uint64_t addr, void *buf, uint64_t len, bool is_write);

#endif
