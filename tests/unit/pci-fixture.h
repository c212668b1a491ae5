/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What tests of PCI share: a host on the real memory model, a function to plug into it, and a guest's
 * accesses.
 */
#ifndef VIADUCT_TESTS_UNIT_PCI_FIXTURE_H
#define VIADUCT_TESTS_UNIT_PCI_FIXTURE_H

#include "hw/pci/bridge.h"

#define ECAM 0xb0000000ULL
#define LOW  0x80000000ULL
#define HIGH 0x4000000000ULL
#define KiB  1024ULL
#define MiB  (1024 * KiB)
#define GiB  (1024 * MiB)
#define TiB  (1024 * GiB)

extern bool lines[64]; /* levels of the GSIs, for IRQChipOps.set_line */
void record_line(int gsi, bool level);

/* Memory and the host bridge; INTx are GSIs 16 to 19. */
void pci_fixture_init(void);

/* ---- "test-pci" ---- */

#define CARD_IDS 0x56781234

typedef struct TestDevice {
    PCIDevice parent;
    MemoryRegion bars[PCI_NUM_REGIONS];
    int resets;
} TestDevice;

typedef struct TestDeviceClass {
    PCIDeviceClass parent_class;
} TestDeviceClass;

GType test_device_get_type(void);

/*
 * BARs of the next one to be realized, which read 0x5a: "0=m64K 1=P256G 5=i128", number, type and
 * size; types are (m)emory of 32 bit, (M)emory of 64 bit, (P)refetchable of 64 bit, (i)/o.
 */
extern const char *next_bars;
extern bool next_fails;

/* ---- the guest ---- */

uint32_t access_in(AddressSpace *as, uint64_t addr, unsigned len, bool is_write, uint32_t val);
/* In memory. */
uint32_t access32(uint64_t addr, unsigned len, bool is_write, uint32_t val);
uint64_t ecam_addr(int bus, int devfn, unsigned reg);
/* Configuration space. */
uint32_t rd(PCIDevice *dev, unsigned reg, unsigned len);
void wr(PCIDevice *dev, unsigned reg, uint32_t val, unsigned len);

#endif
