/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reset.  The power-on state of a vCPU, of the interrupt controllers and of the timer is by
 * definition what KVM gives them when it makes them.  So the first reset, which comes before any
 * vCPU has run, keeps that state, and each later one puts it back: there is no list of registers
 * and values here that could miss one.  All application processors are alike but for their APIC id,
 * so two copies serve any number of vCPUs.
 *
 * Main thread, machine lock held, all vCPUs stand still.
 */
#include "kvm-int.h"

#include "core/runstate.h"
#include "util/error.h"

#define APIC_ID      0x20 /* offset in the APIC's page */

#define CR0_PE       (1UL << 0)
#define CR0_ET       (1UL << 4)
#define CR0_PG       (1UL << 31)
#define CR4_PAE      (1UL << 5)
#define EFER_LME     (1UL << 8)
#define EFER_LMA     (1UL << 10)

#define RFLAGS_FIXED 2
#define BOOT_CODE    0x10
#define BOOT_DATA    0x18

static VCPUState power_on[2]; /* the boot processor, the others */
static KVMChips chips;
static bool captured;

static VCPUState *power_on_state(const X86CPU *cpu)
{
    return &power_on[MIN(cpu->cs.index, (int)G_N_ELEMENTS(power_on) - 1)];
}

bool kvm_reset_capture(GError **errp)
{
    if (captured) {
        return true;
    }
    for (unsigned i = 0; i < MIN(cpus->len, G_N_ELEMENTS(power_on)); i++) {
        kvm_vcpu_state_init(&power_on[i]);
        if (!kvm_vcpu_get(x86_cpu(i), &power_on[i], errp)) {
            return false;
        }
    }
    captured = kvm_chips_get(&chips, errp);
    return captured;
}

bool kvm_vcpu_leave(X86CPU *cpu, GError **errp)
{
    const VCPUState *s = power_on_state(cpu);

    return kvm_vcpu_put_part(cpu, s, VCPU_NESTED, errp) &&
           kvm_vcpu_put_part(cpu, s, VCPU_EVENTS, errp);
}

static bool restore_vcpu(X86CPU *cpu, GError **errp)
{
    VCPUState *s = power_on_state(cpu);

    /* In the reset state the APIC is in xAPIC mode: eight bits of id. */
    s->part[VCPU_LAPIC][APIC_ID + 3] = cpu->cs.arch_id;
    return kvm_vcpu_leave(cpu, errp) && kvm_vcpu_put(cpu, s, errp);
}

static bool restore(GError **errp)
{
    for (unsigned i = 0; i < cpus->len; i++) {
        if (!restore_vcpu(x86_cpu(i), errp)) {
            return false;
        }
    }
    return true;
}

/* ---- the boot processor ---- */

/* Flat segments, as the boot protocols want them. */
static void set_protected_mode(struct kvm_sregs *sregs, const X86BootState *boot)
{
    const struct kvm_segment code = {
        .selector = BOOT_CODE,
        .limit = 0xffffffff,
        .type = 0xb, /* execute, read, accessed */
        .present = 1,
        .s = 1,
        .g = 1,
        .l = boot->long_mode,
        .db = !boot->long_mode,
    };
    const struct kvm_segment data = {
        .selector = BOOT_DATA,
        .limit = 0xffffffff,
        .type = 0x3, /* read, write, accessed */
        .present = 1,
        .s = 1,
        .g = 1,
        .db = 1,
    };

    sregs->cs = code;
    sregs->ds = sregs->es = sregs->fs = sregs->gs = sregs->ss = data;
    sregs->tr = (struct kvm_segment) { .limit = 0x67, .type = 0xb, .present = 1 };
    sregs->gdt = (struct kvm_dtable) { .base = boot->gdt_base, .limit = boot->gdt_limit };
    sregs->cr0 = CR0_PE | CR0_ET;
    if (boot->long_mode) {
        sregs->cr0 |= CR0_PG;
        sregs->cr3 = boot->cr3;
        sregs->cr4 = CR4_PAE;
        sregs->efer = EFER_LME | EFER_LMA;
    }
}

static bool start_boot_processor(X86CPU *cpu, const X86BootState *boot, GError **errp)
{
    struct kvm_sregs sregs = *(struct kvm_sregs *)(void *)power_on[0].part[VCPU_SREGS];
    struct kvm_regs regs = {
        .rip = boot->rip,
        .rsp = boot->rsp,
        .rbx = boot->rbx,
        .rsi = boot->rsi,
        .rflags = RFLAGS_FIXED,
    };
    int ret;

    if (boot->real_mode) {
        sregs.cs.selector = (uint16_t)(boot->rip >> 4);
        sregs.cs.base = boot->rip & ~UINT64_C(0xf);
        sregs.cr0 = CR0_ET;
        regs.rip = boot->rip & 0xf;
    } else {
        set_protected_mode(&sregs, boot);
    }
    ret = kvm_vcpu_ioctl(cpu, KVM_SET_SREGS, &sregs);
    if (ret >= 0) {
        ret = kvm_vcpu_ioctl(cpu, KVM_SET_REGS, &regs);
    }
    return ret >= 0 ||
           error_set_errno(errp, -ret, "CPU %d: cannot set its start state", cpu->cs.index);
}

/* ---- all of it ---- */

void kvm_reset(const X86BootState *boot)
{
    g_autoptr(GError) err = NULL;
    bool first = !captured, ok;

    kvm_wait_vcpus();
    ok = first ? kvm_reset_capture(&err) : kvm_chips_put(&chips, &err) && restore(&err);
    if (ok && start_boot_processor(x86_cpu(0), boot, &err)) {
        return;
    }
    error_report("reset: %s", err->message);
    if (first) {
        system_failure_request(); /* without that state there is no way to start, now or later */
    } else {
        system_vmstop_request(RUN_STATE_INTERNAL_ERROR);
    }
}
