/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Memory backends: -object memory-backend-ram, -memfd, -file.  Each makes one RAM block, and each
 * has a file behind it: device DMA and live update want one.
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
    char *host_nodes, *policy; /* declared to be refused by name: no NUMA placement yet */
    bool used;                 /* by the machine: object-del is refused */
    bool blank;                /* the file is ours alone, and new */
    RAMBlock block;
} HostMemoryBackend;

typedef struct HostMemoryBackendClass {
    UserObjectClass parent_class;
    /*
     * Opens what is behind the memory: a descriptor of at least .size bytes that becomes the
     * backend's, and its page size.
     */
    int (*open)(HostMemoryBackend *be, uint64_t *page_size, GError **errp);
    bool share_default;
} HostMemoryBackendClass;

GType host_memory_backend_get_type(void);
#define TYPE_HOST_MEMORY_BACKEND (host_memory_backend_get_type())
#define HOST_MEMORY_BACKEND(o) \
    G_TYPE_CHECK_INSTANCE_CAST((o), TYPE_HOST_MEMORY_BACKEND, HostMemoryBackend)

/*
 * The machine's own RAM when no memory-backend was named: a memory-backend-ram called @id, in the
 * tree at /objects/@id.  Borrowed, NULL on error.
 */
HostMemoryBackend *host_memory_default(const char *id, uint64_t size, GError **errp);

#endif
