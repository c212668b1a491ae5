/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Chains of capabilities, which the kernel appends to the information on a region or a container.
 * What is behind VFIO may be any driver, so a chain is taken as input that may be wrong.
 */
#include "hw/vfio/internal.h"

#include "util/error.h"

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
