/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Flat views, between memory.c and flatview.c. */
#ifndef VIADUCT_CORE_FLATVIEW_H
#define VIADUCT_CORE_FLATVIEW_H

#include "core/memory.h"

struct FlatView {
    gatomicrefcount refs;
    size_t n;
    MemoryRange *ranges; /* sorted by address, no two overlap */
};

FlatView *flat_view_render(MemoryRegion *root);
bool flat_view_equal(const FlatView *a, const FlatView *b);
/* Whether the very same range is in the view. */
bool flat_view_has(const FlatView *view, const MemoryRange *r);
/* Makes @view the current one; takes the reference.  The old one is the caller's to drop. */
void address_space_publish(AddressSpace *as, FlatView *view);

#endif
