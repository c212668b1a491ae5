/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What an x86 machine asks of its accelerator: one table for each, chosen by -accel before anything
 * is made.  Devices see core/irq.h, core/accel.h and core/memory.h only.
 * Main thread, machine lock held.
 */
#ifndef VIADUCT_ACCEL_X86_H
#define VIADUCT_ACCEL_X86_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/machine.h"

/* ---- -cpu ---- */

typedef struct X86CPUModel X86CPUModel;
typedef CPUTopology X86Topology;

void x86_cpu_model_free(X86CPUModel *model);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(X86CPUModel, x86_cpu_model_free)
/* Physical address bits that the guest's CPUID will show. */
unsigned x86_cpu_phys_bits(const X86CPUModel *model);
bool x86_cpu_is_amd(const X86CPUModel *model);
/* APIC id of the vCPU @index: fields of the topology, each in the next power of two. */
uint32_t x86_apic_id(const X86Topology *topo, unsigned index);

/* Where the boot processor starts; the other fields of a vCPU have their values of INIT. */
typedef struct X86BootState {
    bool real_mode; /* at .rip, below 1 MiB, and nothing else counts */
    bool long_mode; /* else flat 32-bit protected mode, paging off */
    uint64_t rip, rsp, rbx, rsi;
    uint64_t cr3; /* long mode: the boot page tables */
    uint64_t gdt_base;
    uint16_t gdt_limit; /* selectors: 0x10 code, 0x18 data (in either mode) */
} X86BootState;

/* ---- the accelerators ---- */

typedef struct X86Accel {
    const char *name;  /* as -accel takes it */
    const char *label; /* as messages call it */
    /*
     * Registers it with core/accel.h and core/irq.h; on failure nothing is left.  Messages name
     * what the host lacks.
     */
    bool (*init)(GError **errp);
    bool (*create_irqchip)(GError **errp);
    /* The most vCPUs, and the highest APIC id + 1, that it takes. */
    int (*max_vcpus)(void);
    int (*max_vcpu_id)(void);
    /* What -cpu says; see x86_cpu_model_new(). */
    X86CPUModel *(*cpu_model_new)(const char *spec, const X86Topology *topo, GError **errp);
    /* Creates vCPU @index, which stands still; its CPUState goes to core's list. */
    bool (*create_vcpu)(const X86CPUModel *model, const X86Topology *topo, unsigned index,
                        GError **errp);
    /* All vCPUs and the interrupt controllers; the first vCPU will start at @boot. */
    void (*reset)(const X86BootState *boot);
} X86Accel;

extern const X86Accel x86_accel_kvm, x86_accel_qtest;
/* All there are, the default one first; NULL-ended. */
extern const X86Accel *const x86_accels[];
/* The one that -accel chose. */
extern const X86Accel *x86_accel;
/* NULL: there is none of that name. */
const X86Accel *x86_accel_find(const char *name);

#endif
