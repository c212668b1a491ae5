/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Both processes of a live update in one, one after the other: the old one saves and stops, its
 * descriptors are copied as a socket would, it ends; then the new one adopts what there is.  On the
 * machine of vfio-fixture.h, after vfio_fixture_begin().
 */
#ifndef VIADUCT_TESTS_UNIT_CPR_FIXTURE_H
#define VIADUCT_TESTS_UNIT_CPR_FIXTURE_H

#include "migration/cpr-internal.h"
#include "tests/unit/vfio-fixture.h"

typedef struct Handover {
    GByteArray *objects, *switchover, *states;
    GArray *object_fds, *switchover_fds; /* int; -1 and those of the simulated kernel too */
} Handover;

/* Once: guest memory is such that it can be handed over. */
void cpr_fixture_begin(void);
/* After cpr_give_away() or cpr_release(): the next process has the whole kernel. */
void kernel_again(void);
/* -object iommufd,id=i0, of the fixture or in the new process. */
bool add_iommufd(GError **errp);
/* -object memory-backend-memfd,id=m0, likewise. */
bool add_memory(GError **errp);
void delete_memory(void);
/* Copies of them, close-on-exec. */
GArray *copies_of(const GArray *fds);

/* The old process: both messages and the states, which handover_free() frees. */
void handover_save(Handover *h);
void handover_stop(Handover *h);
/* It ends: it only closes. */
void old_ends(PCIDevice *dev);
void handover_free(Handover *h);
/* The new process: makes i0, m0 and the device, which is then *@dev. */
bool handover_make(Handover *h, PCIDevice **dev, GError **errp);
/* And all is there for cpr_finish(). */
bool handover_take(Handover *h, GError **errp);
/* The new process gives up; @dev may be NULL. */
void new_closes(PCIDevice *dev);
/* After that: all is as it was before there was a device, and nothing is left open. */
void handover_end(Handover *h);

/* Memory of devices that is mapped for other devices. */
unsigned p2p_extents(void);

#endif
