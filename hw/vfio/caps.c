/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The kernel's information on a region or a container, and the chain of capabilities that it
 * appends to it.  What is behind VFIO may be any driver, so both are taken as input that may be
 * wrong.
 */
#include "hw/vfio/internal.h"

#include <errno.h>
#include <string.h>

#include "util/error.h"
#include "util/hostcalls.h"

#define MAX_INFO_SIZE (1U << 20)

void *vfio_get_info(int fd, unsigned long request, const char *what, const void *ask, uint32_t size,
                    GError **errp)
{
    uint32_t argsz = size;

    for (;;) {
        g_autofree uint32_t *info = g_malloc0(argsz);
        int error;

        memcpy(info, ask, size);
        *info = argsz;
        if (hostcalls->ioctl(fd, request, info)) {
            error = errno;
            error_set_errno(errp, error, "%s failed", what);
            errno = error;
            return NULL;
        }
        if (*info <= argsz) {
            *info = argsz;
            return g_steal_pointer(&info);
        }
        if (*info > MAX_INFO_SIZE) {
            error_set(errp, "%s: the kernel's answer is %u bytes long", what, *info);
            errno = EMSGSIZE;
            return NULL;
        }
        argsz = *info;
    }
}

bool vfio_find_cap(const VFIOCapChain *chain, uint16_t id, size_t size, const void **cap,
                   size_t *room, GError **errp)
{
    uint32_t last = chain->head - 1;

    *cap = NULL;
    for (uint32_t at = chain->first; at;) {
        const struct vfio_info_cap_header *header;

        if (at <= last || at % chain->alignment || chain->argsz < sizeof(*header) ||
            at > chain->argsz - sizeof(*header)) {
            return error_set(errp, "its capabilities are broken at offset %u", at);
        }
        header = (const void *)((const char *)chain->info + at);
        *room = chain->argsz - at;
        if (header->id == id) {
            *cap = *room >= size ? header : NULL;
            return *cap || error_set(errp, "capability %u is cut off", id);
        }
        last = at;
        at = header->next;
    }
    return true;
}
