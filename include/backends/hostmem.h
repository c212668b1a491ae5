/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Memory backends: -object memory-backend-ram, -memfd, -file.  Each makes one RAM block.
 * Main thread.
 */
#ifndef VIADUCT_BACKENDS_HOSTMEM_H
#define VIADUCT_BACKENDS_HOSTMEM_H

#include "core/object.h"
#include "core/ram.h"

typedef struct HostMemoryBackend {
    UserObject parent;
    uint64_t size;
    bool share, prealloc, merge, dump;
    uint32_t prealloc_threads;
    char *host_nodes, *policy; /* refused by complete(): no NUMA placement yet */
    bool used;                 /* by the machine: object-del is refused */
    RAMBlock block;
} HostMemoryBackend;

GType host_memory_backend_get_type(void);
#define TYPE_HOST_MEMORY_BACKEND (host_memory_backend_get_type())
#define HOST_MEMORY_BACKEND(o)                                                                     \
    G_TYPE_CHECK_INSTANCE_CAST((o), TYPE_HOST_MEMORY_BACKEND, HostMemoryBackend)

/*
 * The machine's own RAM when no memory-backend was named: a private memfd called @id (device DMA
 * wants a file behind it), in the tree at /objects/@id.  Borrowed, NULL on error.
 */
HostMemoryBackend *host_memory_default(const char *id, uint64_t size, GError **errp);

#endif
