/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The tables stand in one block of memory: first those that point nowhere, of any length, then FADT
 * and XSDT, which point to the others: the block's address is known when only these are missing.  The
 * RSDP lies apart, where scanners look for it, and so does FACS, which is no table but memory that the
 * guest and the firmware share: whoever wakes the guest finds it, by whatever program it was started.
 *
 * There is no SMI: SMI_CMD is 0, which says that ACPI mode is always on.  IAPC_BOOT_ARCH denies
 * the keyboard controller although ports 0x60 and 0x64 answer: a guest that believes in one spends
 * time to look for its keyboard.
 */
#include "hw/x86/acpi.h"

#include <string.h>

typedef struct __attribute__((packed)) AcpiHeader {
    char signature[4];
    uint32_t length;
    uint8_t revision, checksum;
    char oem_id[6], oem_table_id[8];
    uint32_t oem_revision;
    char creator_id[4];
    uint32_t creator_revision;
} AcpiHeader;
G_STATIC_ASSERT(sizeof(AcpiHeader) == 36);

/* A register's place. */
typedef struct __attribute__((packed)) AcpiAddress {
    uint8_t space, bits, bit_offset, access_size;
    uint64_t address;
} AcpiAddress;

#define ACPI_IO_PORT(port, nbits, access)                                       \
    {                                                                           \
        .space = 1, .bits = (nbits), .access_size = (access), .address = (port) \
    }

typedef struct __attribute__((packed)) AcpiFadt {
    AcpiHeader header;
    uint32_t firmware_ctrl, dsdt;
    uint8_t reserved0, preferred_profile;
    uint16_t sci_int;
    uint32_t smi_cmd;
    uint8_t acpi_enable, acpi_disable, s4bios_req, pstate_cnt;
    uint32_t pm1a_evt, pm1b_evt, pm1a_cnt, pm1b_cnt, pm2_cnt, pm_tmr, gpe0, gpe1;
    uint8_t pm1_evt_len, pm1_cnt_len, pm2_cnt_len, pm_tmr_len, gpe0_len, gpe1_len, gpe1_base;
    uint8_t cst_cnt;
    uint16_t c2_latency, c3_latency, flush_size, flush_stride;
    uint8_t duty_offset, duty_width, day_alarm, month_alarm, century;
    uint16_t boot_arch;
    uint8_t reserved1;
    uint32_t flags;
    AcpiAddress reset_reg;
    uint8_t reset_value;
    uint16_t arm_boot_arch;
    uint8_t minor_version;
    uint64_t x_firmware_ctrl, x_dsdt;
    AcpiAddress x_pm1a_evt, x_pm1b_evt, x_pm1a_cnt, x_pm1b_cnt, x_pm2_cnt, x_pm_tmr, x_gpe0, x_gpe1;
    AcpiAddress sleep_control, sleep_status;
    uint64_t hypervisor;
} AcpiFadt;
G_STATIC_ASSERT(sizeof(AcpiFadt) == 276);

enum {
    FADT_WBINVD = 1 << 0,
    FADT_PROC_C1 = 1 << 2,
    FADT_NO_SLEEP_BUTTON = 1 << 5, /* as a fixed feature; the power button is one */
    FADT_TMR_32BIT = 1 << 8,
    FADT_RESET_REG = 1 << 10,
};
enum { BOOT_ARCH_LEGACY_DEVICES = 1 << 0, BOOT_ARCH_NO_VGA = 1 << 2 };

typedef struct __attribute__((packed)) AcpiFacs {
    char signature[4];
    uint32_t length, hardware_signature, waking_vector, global_lock, flags;
    uint64_t x_waking_vector;
    uint8_t version, reserved[31];
} AcpiFacs;
G_STATIC_ASSERT(sizeof(AcpiFacs) == ACPI_FACS_SIZE);

/* MADT: a header, and entries of these kinds. */
typedef struct __attribute__((packed)) MadtHeader {
    AcpiHeader header;
    uint32_t lapic, flags;
} MadtHeader;
typedef struct __attribute__((packed)) MadtLapic {
    uint8_t type, length, uid, apic_id;
    uint32_t flags;
} MadtLapic;
typedef struct __attribute__((packed)) MadtX2apic {
    uint8_t type, length;
    uint16_t reserved;
    uint32_t apic_id, flags, uid;
} MadtX2apic;
typedef struct __attribute__((packed)) MadtIoapic {
    uint8_t type, length, id, reserved;
    uint32_t address, gsi_base;
} MadtIoapic;
typedef struct __attribute__((packed)) MadtOverride {
    uint8_t type, length, bus, source;
    uint32_t gsi;
    uint16_t flags;
} MadtOverride;
typedef struct __attribute__((packed)) MadtLapicNmi {
    uint8_t type, length, uid;
    uint16_t flags;
    uint8_t lint;
} MadtLapicNmi;
typedef struct __attribute__((packed)) MadtX2apicNmi {
    uint8_t type, length;
    uint16_t flags;
    uint32_t uid;
    uint8_t lint, reserved[3];
} MadtX2apicNmi;

enum { MADT_LAPIC, MADT_IOAPIC, MADT_OVERRIDE, MADT_LAPIC_NMI = 4, MADT_X2APIC = 9, MADT_X2NMI };
enum { MADT_PCAT_COMPAT = 1, MADT_CPU_ENABLED = 1, MADT_LEVEL_HIGH = 0xd };

typedef struct __attribute__((packed)) AcpiMcfg {
    AcpiHeader header;
    uint64_t reserved0;
    uint64_t base;
    uint16_t segment;
    uint8_t first_bus, last_bus;
    uint32_t reserved1;
} AcpiMcfg;
G_STATIC_ASSERT(sizeof(AcpiMcfg) == 60);

typedef struct __attribute__((packed)) AcpiRsdp {
    char signature[8];
    uint8_t checksum;
    char oem_id[6];
    uint8_t revision;
    uint32_t rsdt, length;
    uint64_t xsdt;
    uint8_t ext_checksum, reserved[3];
} AcpiRsdp;
G_STATIC_ASSERT(sizeof(AcpiRsdp) == ACPI_RSDP_SIZE);

enum { FADT, MADT, MCFG, LISTED }; /* what XSDT lists */

typedef struct Block {
    GByteArray *out;
    uint64_t base;             /* its address */
    guint dsdt, where[LISTED]; /* in the block */
} Block;

#define BLOCK_ALIGN    0x10000ULL
#define TABLE_ALIGN    16ULL
#define ROUND_UP(size) (((size) + TABLE_ALIGN - 1) & -TABLE_ALIGN)
#define POINTERS_SIZE \
    (ROUND_UP(sizeof(AcpiFadt)) + ROUND_UP(sizeof(AcpiHeader) + LISTED * sizeof(uint64_t)))

#define PUT(out, ...) \
    g_byte_array_append((out), (const guint8 *)(__VA_ARGS__), sizeof(*(__VA_ARGS__)))

static AcpiHeader header(const char *signature, uint8_t revision)
{
    AcpiHeader h = { .revision = revision, .oem_revision = 1, .creator_revision = 1 };

    memcpy(h.signature, signature, 4);
    memcpy(h.oem_id, "VIADCT", 6);
    memcpy(h.oem_table_id, "VIADUCT ", 8);
    memcpy(h.creator_id, "VDCT", 4);
    return h;
}

/* The table that starts at @start is whole; the next one is aligned. */
static guint finish(Block *b, guint start)
{
    AcpiHeader *h = (AcpiHeader *)(void *)(b->out->data + start);

    h->length = b->out->len - start;
    h->checksum = x86_checksum(h, h->length);
    while (b->out->len % TABLE_ALIGN) {
        g_byte_array_append(b->out, (const guint8[]) { 0 }, 1);
    }
    return start;
}

/* Version 0 has one waking vector only, that of real mode. */
void acpi_build_facs(uint8_t out[ACPI_FACS_SIZE])
{
    AcpiFacs facs = { .signature = "FACS", .length = sizeof(AcpiFacs) };

    memcpy(out, &facs, sizeof(facs));
}

uint32_t acpi_waking_vector(const uint8_t *facs)
{
    AcpiFacs now;

    memcpy(&now, facs, sizeof(now));
    return now.waking_vector;
}

static guint build_dsdt(Block *b, const AcpiConfig *config)
{
    AcpiHeader h = header("DSDT", 2); /* 2: integers have 64 bits */
    guint start = b->out->len;

    PUT(b->out, &h);
    acpi_build_dsdt(config, b->out);
    return finish(b, start);
}

static guint build_fadt(Block *b)
{
    guint start = b->out->len;
    AcpiFadt fadt = {
        .header = header("FACP", 6),
        .sci_int = X86_GSI_SCI,
        .pm1a_evt = X86_PORT_PM,
        .pm1a_cnt = X86_PORT_PM + 4,
        .pm_tmr = X86_PORT_PM + 8,
        .pm1_evt_len = 4,
        .pm1_cnt_len = 2,
        .pm_tmr_len = 4,
        .c2_latency = 0xfff, /* longer than these numbers may be: there is no C2 or C3 */
        .c3_latency = 0xfff,
        .century = 0x32,
        .boot_arch = BOOT_ARCH_LEGACY_DEVICES | BOOT_ARCH_NO_VGA,
        .flags =
            FADT_WBINVD | FADT_PROC_C1 | FADT_NO_SLEEP_BUTTON | FADT_TMR_32BIT | FADT_RESET_REG,
        .reset_reg = ACPI_IO_PORT(X86_PORT_RESET, 8, 1),
        .reset_value = X86_RESET_VALUE,
        .minor_version = 5,
        .firmware_ctrl = X86_FACS, /* below 4 GiB; then the 64-bit field is to be 0 */
        .dsdt = (uint32_t)b->base + b->dsdt,
        .x_dsdt = b->base + b->dsdt,
        .x_pm1a_evt = ACPI_IO_PORT(X86_PORT_PM, 32, 2),
        .x_pm1a_cnt = ACPI_IO_PORT(X86_PORT_PM + 4, 16, 2),
        .x_pm_tmr = ACPI_IO_PORT(X86_PORT_PM + 8, 32, 3),
        .hypervisor = 0,
    };

    PUT(b->out, &fadt);
    return finish(b, start);
}

/* Ids from 255 on take the x2APIC's form; 255 itself is the old form's broadcast. */
static bool build_madt_cpu(GByteArray *out, unsigned index, uint32_t apic_id)
{
    if (apic_id < 255 && index < 255) {
        PUT(out, &(MadtLapic) {
                     .type = MADT_LAPIC,
                     .length = sizeof(MadtLapic),
                     .uid = (uint8_t)index,
                     .apic_id = (uint8_t)apic_id,
                     .flags = MADT_CPU_ENABLED,
                 });
        return false;
    }
    PUT(out, &(MadtX2apic) {
                 .type = MADT_X2APIC,
                 .length = sizeof(MadtX2apic),
                 .apic_id = apic_id,
                 .flags = MADT_CPU_ENABLED,
                 .uid = index,
             });
    return true;
}

static guint build_madt(Block *b, const AcpiConfig *config)
{
    MadtHeader h = { header("APIC", 5), X86_LAPIC, MADT_PCAT_COMPAT };
    guint start = b->out->len;
    bool any_x2apic = false;

    PUT(b->out, &h);
    for (unsigned i = 0; i < config->cpus; i++) {
        any_x2apic |= build_madt_cpu(b->out, i, config->apic_ids[i]);
    }
    PUT(b->out,
        &(MadtIoapic) { .type = MADT_IOAPIC, .length = sizeof(MadtIoapic), .address = X86_IOAPIC });
    /* The timer's line is wired to the second pin; the SCI is level-triggered, active high. */
    PUT(b->out, &(MadtOverride) {
                    .type = MADT_OVERRIDE, .length = sizeof(MadtOverride), .source = 0, .gsi = 2 });
    PUT(b->out, &(MadtOverride) {
                    .type = MADT_OVERRIDE,
                    .length = sizeof(MadtOverride),
                    .source = X86_GSI_SCI,
                    .gsi = X86_GSI_SCI,
                    .flags = MADT_LEVEL_HIGH,
                });
    PUT(b->out,
        &(MadtLapicNmi) {
            .type = MADT_LAPIC_NMI, .length = sizeof(MadtLapicNmi), .uid = 0xff, .lint = 1 });
    if (any_x2apic) {
        PUT(b->out, &(MadtX2apicNmi) {
                        .type = MADT_X2NMI,
                        .length = sizeof(MadtX2apicNmi),
                        .uid = UINT32_MAX,
                        .lint = 1,
                    });
    }
    return finish(b, start);
}

static guint build_mcfg(Block *b, const AcpiConfig *config)
{
    guint start = b->out->len;
    AcpiMcfg mcfg = {
        .header = header("MCFG", 1),
        .base = X86_ECAM_BASE,
        .last_bus = config->last_bus,
    };

    PUT(b->out, &mcfg);
    return finish(b, start);
}

static guint build_xsdt(Block *b)
{
    AcpiHeader h = header("XSDT", 1);
    guint start = b->out->len;

    PUT(b->out, &h);
    for (unsigned i = 0; i < LISTED; i++) {
        uint64_t addr = b->base + b->where[i];

        PUT(b->out, &addr);
    }
    return finish(b, start);
}

AcpiTables acpi_build(const AcpiConfig *config, uint64_t end)
{
    AcpiTables tables = { .data = g_byte_array_new() };
    Block b = { .out = tables.data };
    AcpiRsdp rsdp = { .revision = 2, .length = sizeof(AcpiRsdp) };

    b.dsdt = build_dsdt(&b, config);
    b.where[MADT] = build_madt(&b, config);
    b.where[MCFG] = build_mcfg(&b, config);
    b.base = tables.base = (end - b.out->len - POINTERS_SIZE) & -BLOCK_ALIGN;
    b.where[FADT] = build_fadt(&b);

    memcpy(rsdp.signature, "RSD PTR ", 8);
    memcpy(rsdp.oem_id, "VIADCT", 6);
    rsdp.xsdt = b.base + build_xsdt(&b);
    rsdp.checksum = x86_checksum(&rsdp, 20); /* the part that ACPI 1.0 knew */
    rsdp.ext_checksum = x86_checksum(&rsdp, sizeof(rsdp));
    memcpy(tables.rsdp, &rsdp, sizeof(rsdp));
    return tables;
}
