/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The ACPI tables that describe the machine to its guest (ACPI 6.5, chapter 5). */
#ifndef VIADUCT_HW_X86_ACPI_H
#define VIADUCT_HW_X86_ACPI_H

#include "hw/x86/x86.h"

#define ACPI_RSDP_SIZE 36
#define ACPI_FACS_SIZE 64

typedef struct AcpiConfig {
    const X86Memory *mem;
    unsigned cpus;
    const uint32_t *apic_ids; /* one for each */
    bool serial[4];
    /* The last PCI bus; a guest takes its time to look for devices on each that there may be. */
    uint8_t last_bus;
} AcpiConfig;

typedef struct AcpiTables {
    GByteArray *data; /* for address .base on; the caller's */
    uint64_t base;
    uint8_t rsdp[ACPI_RSDP_SIZE]; /* wherever it is put */
} AcpiTables;

/* What X86_FACS holds at the start. */
void acpi_build_facs(uint8_t out[ACPI_FACS_SIZE]);
/* Of the FACS at @facs, where the guest wants to wake up; 0: nowhere. */
uint32_t acpi_waking_vector(const uint8_t *facs);

/* The tables end at @end or below, wherever a multiple of 64 KiB to start at makes them. */
AcpiTables acpi_build(const AcpiConfig *config, uint64_t end);
/* \_SB, \_S3 and \_S5: what DSDT holds behind its header. */
void acpi_build_dsdt(const AcpiConfig *config, GByteArray *out);

#endif
