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

#include <errno.h>
#include <string.h>

#include "core/runstate.h"
#include "util/error.h"
#include "util/trace.h"

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

/* ---- one vCPU ---- */

/*
 * The parts of a vCPU in the order in which they are put back.  Nested guests and SMM are left
 * first, as either keeps other registers from being set; the APIC's mode is in the special
 * registers and comes before its page.
 */
typedef enum {
    PART_NESTED,
    PART_EVENTS,
    PART_SREGS,
    PART_REGS,
    PART_XSAVE,
    PART_XCRS,
    PART_DEBUGREGS,
    PART_LAPIC,
    PART_MP_STATE,
    NR_PARTS,
} Part;

static const struct {
    const char *name;
    unsigned long get, set;
    size_t size; /* 0: what the capability says */
    int cap;     /* 0: always there */
} parts[NR_PARTS] = {
    [PART_NESTED] = { "NESTED_STATE", KVM_GET_NESTED_STATE, KVM_SET_NESTED_STATE, 0,
                      KVM_CAP_NESTED_STATE },
    [PART_EVENTS] = { "VCPU_EVENTS", KVM_GET_VCPU_EVENTS, KVM_SET_VCPU_EVENTS,
                      sizeof(struct kvm_vcpu_events) },
    [PART_SREGS] = { "SREGS", KVM_GET_SREGS, KVM_SET_SREGS, sizeof(struct kvm_sregs) },
    [PART_REGS] = { "REGS", KVM_GET_REGS, KVM_SET_REGS, sizeof(struct kvm_regs) },
    [PART_XSAVE] = { "XSAVE", KVM_GET_XSAVE2, KVM_SET_XSAVE, 0, KVM_CAP_XSAVE2 },
    [PART_XCRS] = { "XCRS", KVM_GET_XCRS, KVM_SET_XCRS, sizeof(struct kvm_xcrs), KVM_CAP_XCRS },
    [PART_DEBUGREGS] = { "DEBUGREGS", KVM_GET_DEBUGREGS, KVM_SET_DEBUGREGS,
                         sizeof(struct kvm_debugregs) },
    [PART_LAPIC] = { "LAPIC", KVM_GET_LAPIC, KVM_SET_LAPIC, sizeof(struct kvm_lapic_state) },
    [PART_MP_STATE] = { "MP_STATE", KVM_GET_MP_STATE, KVM_SET_MP_STATE,
                        sizeof(struct kvm_mp_state) },
};

typedef struct PowerOn {
    void *parts[NR_PARTS]; /* NULL: KVM has no such part */
    struct kvm_msrs *msrs;
} PowerOn;

static PowerOn power_on[2]; /* the boot processor, the others */
static bool captured;

/*
 * MSRs that KVM lists as state and that a reset must leave alone: the time stamp counter, which
 * goes on in step on all vCPUs, and Hyper-V's registers that differ between vCPUs, act when they
 * are written, or count time.
 */
static const uint32_t kept_msrs[] = { 0x10, 0x40000002, 0x40000003, 0x40000020 };

static bool msr_is_kept(uint32_t index)
{
    for (size_t i = 0; i < G_N_ELEMENTS(kept_msrs); i++) {
        if (kept_msrs[i] == index) {
            return true;
        }
    }
    return false;
}

/*
 * KVM_GET_MSRS or KVM_SET_MSRS for all of @msrs.  Both stop at the first that this KVM or this
 * vCPU does not have (the list names what some vCPU may have): that one is dropped from the array.
 */
static int transfer_msrs(X86CPU *cpu, unsigned long request, struct kvm_msrs *msrs)
{
    const size_t size = sizeof(msrs->entries[0]);
    g_autofree struct kvm_msrs *rest = g_malloc0(sizeof(*msrs) + msrs->nmsrs * size);
    unsigned done = 0;

    while (done < msrs->nmsrs) {
        int ret;

        rest->nmsrs = msrs->nmsrs - done;
        memcpy(rest->entries, &msrs->entries[done], rest->nmsrs * size);
        ret = kvm_vcpu_ioctl(cpu, request, rest);
        if (ret < 0) {
            return ret;
        }
        memcpy(&msrs->entries[done], rest->entries, ret * size);
        done += ret;
        if (done < msrs->nmsrs) {
            TRACE("kvm_msr_dropped", "cpu %d msr 0x%x", cpu->cs.index, msrs->entries[done].index);
            msrs->nmsrs--;
            memmove(&msrs->entries[done], &msrs->entries[done + 1], (msrs->nmsrs - done) * size);
        }
    }
    return 0;
}

/* All MSRs that KVM says are state of a vCPU, values zero; NULL and *err on failure. */
static struct kvm_msrs *state_msrs(int *err)
{
    struct kvm_msr_list probe = { 0 };
    g_autofree struct kvm_msr_list *list = NULL;
    struct kvm_msrs *msrs;
    int ret = kvm_ioctl(KVM_GET_MSR_INDEX_LIST, &probe);

    if (ret < 0 && ret != -E2BIG) {
        *err = ret;
        return NULL;
    }
    list = g_malloc0(sizeof(*list) + probe.nmsrs * sizeof(list->indices[0]));
    list->nmsrs = probe.nmsrs;
    ret = kvm_ioctl(KVM_GET_MSR_INDEX_LIST, list);
    if (ret < 0) {
        *err = ret;
        return NULL;
    }
    msrs = g_malloc0(sizeof(*msrs) + list->nmsrs * sizeof(msrs->entries[0]));
    for (unsigned i = 0; i < list->nmsrs; i++) {
        if (!msr_is_kept(list->indices[i])) {
            msrs->entries[msrs->nmsrs++].index = list->indices[i];
        }
    }
    return msrs;
}

static int capture_vcpu(X86CPU *cpu, PowerOn *state)
{
    int ret = 0;

    for (unsigned i = 0; i < NR_PARTS; i++) {
        size_t cap = parts[i].cap ? kvm_check_extension(parts[i].cap) : 1;

        if (!cap) {
            continue;
        }
        state->parts[i] = g_malloc0(parts[i].size ?: cap);
        if (i == PART_NESTED) {
            ((struct kvm_nested_state *)state->parts[i])->size = cap;
        }
        ret = kvm_vcpu_ioctl(cpu, parts[i].get, state->parts[i]);
        if (ret < 0) {
            error_report("CPU %d: KVM_GET_%s: %s", cpu->cs.index, parts[i].name, g_strerror(-ret));
            return ret;
        }
    }
    state->msrs = state_msrs(&ret);
    if (state->msrs) {
        ret = transfer_msrs(cpu, KVM_GET_MSRS, state->msrs);
    }
    if (ret < 0) {
        error_report("CPU %d: KVM_GET_MSRS: %s", cpu->cs.index, g_strerror(-ret));
    }
    return ret;
}

static int restore_vcpu(X86CPU *cpu, PowerOn *state)
{
    int ret;

    /* In the reset state the APIC is in xAPIC mode: eight bits of id. */
    ((struct kvm_lapic_state *)state->parts[PART_LAPIC])->regs[APIC_ID + 3] = cpu->cs.arch_id;
    for (unsigned i = 0; i < NR_PARTS; i++) {
        ret = state->parts[i] ? kvm_vcpu_ioctl(cpu, parts[i].set, state->parts[i]) : 0;
        if (ret < 0) {
            error_report("CPU %d: KVM_SET_%s: %s", cpu->cs.index, parts[i].name, g_strerror(-ret));
            return ret;
        }
    }
    ret = transfer_msrs(cpu, KVM_SET_MSRS, state->msrs);
    if (ret < 0) {
        error_report("CPU %d: KVM_SET_MSRS: %s", cpu->cs.index, g_strerror(-ret));
    }
    return ret;
}

/* ---- the board's chips ---- */

static struct kvm_irqchip irqchips[] = {
    { .chip_id = KVM_IRQCHIP_PIC_MASTER },
    { .chip_id = KVM_IRQCHIP_PIC_SLAVE },
    { .chip_id = KVM_IRQCHIP_IOAPIC },
};
static struct kvm_pit_state2 pit;

static int transfer_chips(unsigned long irqchip_request, unsigned long pit_request)
{
    int ret;

    for (size_t i = 0; i < G_N_ELEMENTS(irqchips); i++) {
        ret = kvm_vm_ioctl(irqchip_request, &irqchips[i]);
        if (ret < 0) {
            error_report("interrupt controller %zu: cannot %s its state: %s", i,
                         irqchip_request == KVM_GET_IRQCHIP ? "get" : "set", g_strerror(-ret));
            return ret;
        }
    }
    ret = kvm_vm_ioctl(pit_request, &pit);
    if (ret < 0) {
        error_report("timer: cannot %s its state: %s", pit_request == KVM_GET_PIT2 ? "get" : "set",
                     g_strerror(-ret));
    }
    return ret;
}

/* ---- the boot processor ---- */

static int start_boot_processor(X86CPU *cpu, const X86BootState *boot)
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
    struct kvm_sregs sregs = *(struct kvm_sregs *)power_on[0].parts[PART_SREGS];
    struct kvm_regs regs = {
        .rip = boot->rip,
        .rsp = boot->rsp,
        .rbx = boot->rbx,
        .rsi = boot->rsi,
        .rflags = RFLAGS_FIXED,
    };
    int ret;

    sregs.cs = code;
    sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = data;
    sregs.tr = (struct kvm_segment) { .limit = 0x67, .type = 0xb, .present = 1 };
    sregs.gdt = (struct kvm_dtable) { .base = boot->gdt_base, .limit = boot->gdt_limit };
    sregs.cr0 = CR0_PE | CR0_ET;
    if (boot->long_mode) {
        sregs.cr0 |= CR0_PG;
        sregs.cr3 = boot->cr3;
        sregs.cr4 = CR4_PAE;
        sregs.efer = EFER_LME | EFER_LMA;
    }
    ret = kvm_vcpu_ioctl(cpu, KVM_SET_SREGS, &sregs);
    if (ret >= 0) {
        ret = kvm_vcpu_ioctl(cpu, KVM_SET_REGS, &regs);
    }
    if (ret < 0) {
        error_report("CPU %d: cannot set its start state: %s", cpu->cs.index, g_strerror(-ret));
    }
    return ret;
}

/* ---- all of it ---- */

static int capture(void)
{
    int ret = transfer_chips(KVM_GET_IRQCHIP, KVM_GET_PIT2);

    for (unsigned i = 0; i < MIN(cpus->len, G_N_ELEMENTS(power_on)) && ret >= 0; i++) {
        ret = capture_vcpu(x86_cpu(i), &power_on[i]);
    }
    captured = ret >= 0;
    return ret;
}

static int restore(void)
{
    int ret = transfer_chips(KVM_SET_IRQCHIP, KVM_SET_PIT2);

    for (unsigned i = 0; i < cpus->len && ret >= 0; i++) {
        ret = restore_vcpu(x86_cpu(i), &power_on[MIN(i, G_N_ELEMENTS(power_on) - 1)]);
    }
    return ret;
}

void kvm_reset(const X86BootState *boot)
{
    bool first = !captured;
    int ret;

    kvm_wait_vcpus();
    ret = first ? capture() : restore();
    if (ret >= 0) {
        ret = start_boot_processor(x86_cpu(0), boot);
    }
    if (ret < 0 && first) {
        system_failure_request(); /* without that state there is no way to start, now or later */
    } else if (ret < 0) {
        system_vmstop_request(RUN_STATE_INTERNAL_ERROR);
    }
}
