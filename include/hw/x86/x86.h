/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The q35 machine's fixed places: addresses, ports and lines, and where RAM and the PCI windows
 * come to lie for a given size of RAM and width of addresses.
 */
#ifndef VIADUCT_HW_X86_X86_H
#define VIADUCT_HW_X86_X86_H

#include "core/runstate.h"
#include "hw/pci/pci.h"

#define X86_4G 0x100000000ULL

/* Below 4 GiB, from the top: APICs and firmware, PCI, configuration space, PCI, RAM. */
#define X86_MEM32_END  0xfec00000ULL
#define X86_IOAPIC     0xfec00000U
#define X86_LAPIC      0xfee00000U
#define X86_ECAM_BASE  0xe0000000ULL
#define X86_ECAM_SIZE  0x10000000ULL
#define X86_ECAM_BUSES 256

/* The first MiB: what is no RAM for the guest, and what scanners look for from 0xf0000 on. */
#define X86_EBDA   0x9fc00U
#define X86_RSDP   0xf0000U
#define X86_SMBIOS 0xf0040U
#define X86_FACS   0xf0080U
#define X86_1M     0x100000U

/* Ports. */
#define X86_PORT_PM       0x600 /* PM1a event, PM1a control, PM timer: see pm.c */
#define X86_PM_SIZE       0x0c
#define X86_PORT_RESET    0xcf9
#define X86_RESET_VALUE   0x0f
#define X86_PORT_PCI_BASE 0x1000 /* from here on all are the PCI buses' */

/* Interrupt lines. */
#define X86_GSI_RTC 8
#define X86_GSI_SCI 9

/* Sleep types in PM1 control. */
#define X86_SLP_TYP_S3 1
#define X86_SLP_TYP_S5 5

typedef struct X86Memory {
    uint8_t *ram; /* all of it in this process, the part below 4 GiB first */
    uint64_t ram_size;
    uint64_t below_4g; /* bytes from address 0 on */
    uint64_t above_4g_base, above_4g;
    PCIWindow mem32[2], mem64;
} X86Memory;

/* Lays out all but .ram; what does not fit into @phys_bits is an error. */
bool x86_memory_layout(X86Memory *mem, uint64_t ram_size, unsigned phys_bits, bool amd,
                       GError **errp);
/* The host address of @len bytes of RAM at @addr; NULL unless they are RAM, all of them. */
uint8_t *x86_memory_ptr(const X86Memory *mem, uint64_t addr, uint64_t len);

/* What makes all bytes add up to 0, as firmware's tables want it. */
uint8_t x86_checksum(const void *data, size_t len);

/* The INTx wiring, for the host bridge and for _PRT: GSIs 16 to 23, turning by one each slot. */
int x86_map_intx(int slot, int pin);

/* The board's own devices, made with g_object_new() and device_realize_at(). */
#define TYPE_MC146818_RTC  "mc146818rtc"
#define TYPE_X86_PM        "ICH9-PM"
#define TYPE_RESET_CONTROL "reset-control"

/* What CMOS tells of memory; after realize. */
void rtc_set_memory(Device *rtc, uint64_t below_4g, uint64_t above_4g);
/* Whom its alarm wakes; after realize. */
void rtc_set_pm(Device *rtc, Device *pm);
/* The clock's alarm rings: a guest that sleeps and wants it so wakes up. */
void x86_pm_rtc_alarm(Device *pm);
/* The machine was reset because it woke up: its guest looks here why. */
void x86_pm_woken(Device *pm, WakeupReason reason);

#endif
