/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * KVM: the VM, its vCPUs and threads, memory slots (a memory listener), GSI routes and irqfds.
 * Used by the machine; devices see core/irq.h, core/accel.h and core/memory.h only.
 * Source: Linux Documentation/virt/kvm/api.rst.
 */
#ifndef VIADUCT_ACCEL_KVM_H
#define VIADUCT_ACCEL_KVM_H

#include "accel/x86.h"

/*
 * Opens /dev/kvm, checks what we need, creates the VM, registers as the accelerator (core/accel.h)
 * and as the interrupt controller (core/irq.h), listens to both address spaces.
 * Messages name /dev/kvm, the capability or call, and the kernel's reason.
 */
bool kvm_init(GError **errp);
/* TSS, identity map, PIC, IOAPIC, LAPICs, PIT with speaker; MSI routes with 32-bit APIC ids. */
bool kvm_create_irqchip(GError **errp);
/* The most vCPUs, and the highest APIC id + 1, that KVM takes. */
int kvm_max_vcpus(void);
int kvm_max_vcpu_id(void);

/* ---- vCPUs ---- */

/*
 * "host" (or "max") with ",+flag", ",-flag", ",flag=on|off".  An unknown model or flag, or a flag
 * that the host lacks, is an error that names it.
 */
X86CPUModel *x86_cpu_model_new(const char *spec, const X86Topology *topo, GError **errp);
/* Creates vCPU @index (its CPUState goes to core's list) and its thread, which stands still. */
bool kvm_create_vcpu(const X86CPUModel *model, const X86Topology *topo, unsigned index,
                     GError **errp);

/* Resets all vCPUs and the irqchip: BSP to @boot, the others wait for SIPI. vCPUs stand still. */
void kvm_reset(const X86BootState *boot);

#endif
