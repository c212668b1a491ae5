/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the conformance tests stand on: the simulated kernel, or with VIADUCT_CONFORMANCE=kernel the
 * one that runs, whose CONFIG_IOMMUFD_TEST has devices without hardware.  They have no cdev: theirs
 * is a number, and attaching it goes the way of the test command.
 */
#ifndef VIADUCT_TESTS_CONFORMANCE_WORLD_H
#define VIADUCT_TESTS_CONFORMANCE_WORLD_H

#include "backends/hostmem.h"
#include "hw/vfio/container.h"
#include "tests/conformance/mock.h"

#define MiB 1048576ULL

extern bool world_is_kernel;
extern IOMMUFDBackend *world_be; /* connected */
extern HostMemoryBackend *world_ram;
extern unsigned world_refused; /* attachments that failed with EINVAL */

/* Sets all up, lets @add register the tests, runs them; main()'s status, 77: not with this kernel. */
int world_run(int argc, char **argv, void (*add)(void));

/* A command of /dev/iommu as it is: 0 or an errno. */
int world_call(unsigned long request, void *arg);
/* The test command, which must succeed. */
void world_mock(struct iommu_test_cmd *cmd);

/* A device that is attached nowhere where it matters. */
VFIODevice *world_device(uint32_t flags);
void world_device_free(VFIODevice *dev);
/* Its domain in the container; 0: none. */
uint32_t world_hwpt(VFIODevice *dev);
uint32_t world_ioas(VFIOContainer *c);

/* Guest memory at @addr: @size bytes of the RAM from @offset on; by its file, or by its address. */
void world_add_memory(MemoryRegion *mr, uint64_t addr, uint64_t offset, uint64_t size, bool file);
void world_del_memory(MemoryRegion *mr);

/* The device writes to the imaginary IOMMU's page at @iova of its domain, whose tracking is on. */
void world_write(uint32_t hwpt, uint64_t iova);

/* arguments.c */
void conformance_add_arguments(void);

#endif
