/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the tests of live update share.  One process plays both roles, one after the other: the old one
 * saves and stops, its descriptors are copied as a socket would, it ends; then the new one adopts what
 * there is.  What the kernel is asked in between is what counts.
 */
#ifndef VIADUCT_TESTS_UNIT_CPR_FIXTURE_H
#define VIADUCT_TESTS_UNIT_CPR_FIXTURE_H

#include "tests/unit/vfio-fixture.h"

#include <string.h>

#include "core/machine.h"
#include "migration/cpr-internal.h"

typedef struct Handover {
    GByteArray *objects, *switchover, *states;
    GArray *object_fds, *switchover_fds;
} Handover;

/* The simulated kernel, from before somebody lets go of it. */
extern const HostCalls *kernel;

/* First of all: sets the above, and hides memory that is no shared file's. */
void cpr_fixture_begin(void);
/* Registers a test for both interfaces: /cpr/iommufd/NAME and /cpr/group/NAME. */
void cpr_test_add(const char *name, void (*fn)(void));

/* The guest has mapped BAR 0 and uses so many vectors. */
PCIDevice *guest_with_msix(unsigned vectors);
/* Nothing that would disturb the device; after the VM is whole again (@whole): but what brings it back. */
void assert_quiet(bool whole);
/* Mappings of the device's memory. */
unsigned p2p_extents(void);
bool is_signalled(int fd);

/* ---- the old process ---- */

void save(Handover *h);
void stop(Handover *h);
/* It ends: it only closes. */
void end_of_old(PCIDevice *dev);

/* ---- the new one ---- */

/* Copies of those descriptors. */
GArray *copies_of(const GArray *fds);
bool load(GByteArray *data, GArray *fds, GError **errp);
/* Its iommufd object, if it needs one; and how that goes. */
void add_iommufd(void);
void del_iommufd(void);
/* The fixture's memory stays where it is. */
void take_memory(void);
PCIDevice *begin_new(Handover *h, const char *more);
void finish_new(Handover *h);
void handover_free(Handover *h);

#endif
