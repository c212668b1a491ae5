/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Both processes of a live update in one, one after the other: the old one saves and stops, its
 * descriptors are copied as a socket would, it ends; then the new one adopts what there is.  What
 * the kernel is asked in between is what counts.  On the machine of vfio-fixture.h, with its device
 * of iommufd's or of a group (by_group).
 */
#ifndef VIADUCT_TESTS_UNIT_CPR_FIXTURE_H
#define VIADUCT_TESTS_UNIT_CPR_FIXTURE_H

#include "tests/unit/vfio-fixture.h"

#include <string.h>

#include "core/machine.h"
#include "migration/cpr-internal.h"

typedef struct Handover {
    GByteArray *objects, *switchover, *states;
    GArray *object_fds, *switchover_fds; /* int; -1 and those of the simulated kernel too */
    bool memory;                         /* the old process has m0 */
} Handover;

/* Once, after vfio_fixture_begin(): hides memory that is no shared file's. */
void cpr_fixture_begin(void);
/* Registers a test for both interfaces: /cpr/iommufd/NAME and /cpr/group/NAME. */
void cpr_test_add(const char *name, void (*fn)(void));

/* After cpr_give_away() or cpr_release(): the next process has the whole kernel. */
void kernel_again(void);
/* Nothing that would disturb the device; after the VM is whole again (@whole): but what brings it
 * back. */
void assert_quiet(bool whole);
/* Mappings of devices' memory for other devices. */
unsigned p2p_extents(void);
bool is_signalled(int fd);
/* Copies of them, close-on-exec. */
GArray *copies_of(const GArray *fds);

/* -object iommufd,id=i0, of the fixture or in the new process; nothing if it is not needed. */
bool add_iommufd(GError **errp);
/* -object memory-backend-memfd,id=m0, besides the fixture's memory; either process's end deletes
 * it. */
bool add_memory(GError **errp);

/* ---- the old process ---- */

/* Both messages and the states, which handover_free() frees. */
void handover_save(Handover *h);
void handover_stop(Handover *h);
void handover_free(Handover *h);
/* It ends: it only closes. */
void old_ends(PCIDevice *dev);
/* And nothing else; the new one has the kernel then. */
void end_of_old(PCIDevice *dev);

/* ---- the new one ---- */

bool load(GByteArray *data, GArray *fds, GError **errp);
/* The fixture's memory stays where it is. */
bool take_memory(GError **errp);
/* Its objects and the device, which is then *@dev, even if there is an error after that. */
bool handover_make(Handover *h, const char *more, PCIDevice **dev, GError **errp);
/* And all is there for cpr_finish(). */
bool handover_take(Handover *h, GError **errp);
/* Both go well, and quietly: the board's part is played too, and the VM runs. */
PCIDevice *begin_new(Handover *h, const char *more);
void finish_new(Handover *h);
/* It gives up or ends; @dev may be NULL. */
void new_closes(PCIDevice *dev);
/* After that: all is as it was before there was a device, and nothing is left open. */
void handover_end(Handover *h);

#endif
