/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the tests of vfio-pci share: a machine with 3 MiB of memory, an interrupt controller that
 * keeps a record, and one device on the simulated kernel, an NVMe of sorts with MSI-X, MSI, power
 * management and four extended capabilities.
 */
#ifndef VIADUCT_TESTS_UNIT_VFIO_FIXTURE_H
#define VIADUCT_TESTS_UNIT_VFIO_FIXTURE_H

#include "core/irq.h"
#include "hw/pci/msi.h"
#include "tests/sim/kernel.h"

#define RW          (VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE)
#define RWM         (RW | VFIO_REGION_INFO_FLAG_MMAP)

#define MiB         (1ULL << 20)
#define BAR0_AT     0xc0000000ULL
#define BAR0_SIZE   0x4000
#define TABLE_AT    0x2000
#define PBA_AT      0x3000
#define VECTORS     9
#define MSIX_CAP    0x40
#define MSI_CAP     0x50
#define PM_CAP      0x70
#define EXPRESS_CAP 0x80
#define GSI         20

extern char *sysfs; /* a folder that looks like the device's */
extern SimDevice *sim;

/* Another such folder, for a device with that cdev in that group; g_free it. */
char *make_sysfs_device(const char *name, unsigned minor, unsigned group);

/* Sets all up, lets @add register the tests, runs them; main()'s status. */
int vfio_test_run(int argc, char **argv, void (*add)(void));
/* Or only what stands around the tests: the machine, and sysfs. */
void vfio_fixture_begin(void);
void vfio_fixture_end(void);

/* ---- what stands for KVM ---- */

typedef struct Binding {
    int route, trigger, resample;
} Binding;

extern GArray *bindings;
extern GArray *routes; /* MSIMessage; address 0: free; the first one's number is 100 */
extern unsigned commits, sent;
extern MSIMessage last_sent;

const Binding *bound_to(int route);
unsigned live_routes(void);

/* ---- the device ---- */

/* Makes `sim`; it has no driver yet. */
void setup(void);
/* -device vfio-pci,id=d0,… and @more (",x=y"); by its group, or of iommufd i0. */
extern bool by_group;
PCIDevice *plug(const char *more, GError **errp);
PCIDevice *plug_ok(const char *more);
/* Both of these; its BAR 0 is mapped, and it has MSI-X on, with @vectors that are not masked. */
PCIDevice *plug_with_msix(unsigned vectors);
/* Destroys both; nothing may be left. */
void teardown(PCIDevice *dev);
void assert_plug_fails(const char *more, const char *why);

/* After setup(): another one just like it, whose cdev has minor 20, in that IOMMU group. */
SimDevice *sim_twin(const char *name, unsigned group);

/* ---- or three, which have a config space and nothing else, so that the log is short ---- */

extern SimDevice *sims[3];
extern PCIDevice *devices[3];

void setup_three(void);
bool plug_nth(unsigned i, GError **errp);
void unplug_nth(unsigned i);
/* They are unplugged; nothing may be left. */
void teardown_three(void);

uint32_t cfg_read(PCIDevice *dev, uint32_t addr, unsigned len);
void cfg_write(PCIDevice *dev, uint32_t addr, uint32_t val, unsigned len);
void mem_write(uint64_t addr, uint32_t val);
uint32_t mem_read(uint64_t addr);
void map_bar0(PCIDevice *dev);
void msix_entry(unsigned vector, bool masked);
/* Whether the guest reaches the device's memory: the first page of BAR 0, which is not trapped. */
bool bar0_mapped(void);

#endif
