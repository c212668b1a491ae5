/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * All that a vCPU is, as KVM gives and takes it: a reset puts back what was there at power-on
 * (reset.c), a migration what was there on the other side.
 *
 * Parts depend on each other, so there is one order in which they are put: a nested guest and SMM
 * are left first, as either keeps other registers from being set; the APIC's mode is in the special
 * registers and comes before its page; MSRs follow the APIC, whose timer one of them sets; a nested
 * guest is entered when everything it stands on is there, and only then events are pending for it.
 * They are fetched the other way round: asking for the multiprocessing state may deliver an INIT or
 * SIPI, which changes registers.
 *
 * Sources: Documentation/virt/kvm/api.rst; Intel SDM volume 4.
 * Main thread, machine lock held, the vCPU stands still.
 */
#include "kvm-int.h"

#include <errno.h>
#include <string.h>

#include "migration/vmstate.h"
#include "util/error.h"
#include "util/trace.h"

#define MSRS_A_CALL           128 /* KVM takes up to 256 */
#define MSRS_MAX              4096

#define MSR_IA32_TSC          0x10
#define MSR_IA32_MC0_CTL      0x400 /* …401 status, 402 address, 403 miscellaneous */
#define MSR_IA32_TSC_DEADLINE 0x6e0
#define MSR_HV_VP_INDEX       0x40000002
#define MSR_HV_RESET          0x40000003
#define MSR_HV_TIME_REF_COUNT 0x40000020

/* ---- the parts ---- */

static const struct {
    const char *name;
    unsigned long get, set;
    size_t size; /* 0: what the capability says */
    int cap;     /* 0: always there */
} parts[NR_VCPU_PARTS] = {
    [VCPU_NESTED] = { "NESTED_STATE", KVM_GET_NESTED_STATE, KVM_SET_NESTED_STATE, 0,
                      KVM_CAP_NESTED_STATE },
    [VCPU_EVENTS] = { "VCPU_EVENTS", KVM_GET_VCPU_EVENTS, KVM_SET_VCPU_EVENTS,
                      sizeof(struct kvm_vcpu_events) },
    [VCPU_SREGS] = { "SREGS", KVM_GET_SREGS, KVM_SET_SREGS, sizeof(struct kvm_sregs) },
    [VCPU_REGS] = { "REGS", KVM_GET_REGS, KVM_SET_REGS, sizeof(struct kvm_regs) },
    [VCPU_XSAVE] = { "XSAVE", KVM_GET_XSAVE2, KVM_SET_XSAVE, 0, KVM_CAP_XSAVE2 },
    [VCPU_XCRS] = { "XCRS", KVM_GET_XCRS, KVM_SET_XCRS, sizeof(struct kvm_xcrs), KVM_CAP_XCRS },
    [VCPU_DEBUGREGS] = { "DEBUGREGS", KVM_GET_DEBUGREGS, KVM_SET_DEBUGREGS,
                         sizeof(struct kvm_debugregs) },
    [VCPU_LAPIC] = { "LAPIC", KVM_GET_LAPIC, KVM_SET_LAPIC, sizeof(struct kvm_lapic_state) },
    [VCPU_MP_STATE] = { "MP_STATE", KVM_GET_MP_STATE, KVM_SET_MP_STATE,
                        sizeof(struct kvm_mp_state) },
};

void kvm_vcpu_state_init(VCPUState *s)
{
    for (unsigned i = 0; i < NR_VCPU_PARTS; i++) {
        uint32_t cap = parts[i].cap ? kvm_check_extension(parts[i].cap) : 1;

        s->size[i] = cap && parts[i].size ? parts[i].size : cap;
        s->part[i] = s->size[i] ? g_malloc0(s->size[i]) : NULL;
    }
}

bool kvm_vcpu_put_part(X86CPU *cpu, const VCPUState *s, VCPUPart part, GError **errp)
{
    int ret = s->part[part] ? kvm_vcpu_ioctl(cpu, parts[part].set, s->part[part]) : 0;

    return ret >= 0 ||
           error_set_errno(errp, -ret, "CPU %d: KVM_SET_%s", cpu->cs.index, parts[part].name);
}

static bool get_part(X86CPU *cpu, VCPUState *s, VCPUPart part, GError **errp)
{
    int ret;

    if (!s->part[part]) {
        return true;
    }
    if (part == VCPU_NESTED) {
        memset(s->part[part], 0, s->size[part]);
        ((struct kvm_nested_state *)(void *)s->part[part])->size = s->size[part];
    }
    ret = kvm_vcpu_ioctl(cpu, parts[part].get, s->part[part]);
    return ret >= 0 ||
           error_set_errno(errp, -ret, "CPU %d: KVM_GET_%s", cpu->cs.index, parts[part].name);
}

/* ---- MSRs ---- */

/*
 * What KVM lists as state and nobody puts back: the time stamp counter, which clock.c keeps in step
 * on all vCPUs, and Hyper-V's registers that differ between vCPUs, act when they are written, or
 * count time.
 */
static const uint32_t kept_msrs[] = { MSR_IA32_TSC, MSR_HV_VP_INDEX, MSR_HV_RESET,
                                      MSR_HV_TIME_REF_COUNT };

/* What KVM has and does not list (the one bank of machine checks); the deadline is told last. */
static const uint32_t more_msrs[] = { MSR_IA32_MC0_CTL, MSR_IA32_MC0_CTL + 1, MSR_IA32_MC0_CTL + 2,
                                      MSR_IA32_MC0_CTL + 3, MSR_IA32_TSC_DEADLINE };

static bool is_among(uint32_t index, const uint32_t *list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (list[i] == index) {
            return true;
        }
    }
    return false;
}

static void add_msrs(GByteArray *msrs, const uint32_t *indices, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct kvm_msr_entry e = { .index = indices[i] };

        g_byte_array_append(msrs, (const uint8_t *)&e, sizeof(e));
    }
}

static bool list_msrs(GByteArray *msrs, GError **errp)
{
    struct kvm_msr_list probe = { 0 };
    g_autofree struct kvm_msr_list *list = NULL;
    int ret = kvm_ioctl(KVM_GET_MSR_INDEX_LIST, &probe);

    if (ret >= 0 || ret == -E2BIG) {
        list = g_malloc0(sizeof(*list) + probe.nmsrs * sizeof(list->indices[0]));
        list->nmsrs = probe.nmsrs;
        ret = kvm_ioctl(KVM_GET_MSR_INDEX_LIST, list);
    }
    if (ret < 0) {
        return error_set_errno(errp, -ret, "KVM_GET_MSR_INDEX_LIST");
    }
    g_byte_array_set_size(msrs, 0);
    for (unsigned i = 0; i < list->nmsrs; i++) {
        if (!is_among(list->indices[i], kept_msrs, G_N_ELEMENTS(kept_msrs)) &&
            !is_among(list->indices[i], more_msrs, G_N_ELEMENTS(more_msrs))) {
            add_msrs(msrs, &list->indices[i], 1);
        }
    }
    add_msrs(msrs, more_msrs, G_N_ELEMENTS(more_msrs));
    return true;
}

/* As many of the @n at @e as KVM does; it stops at the first that it does not have.  Or -errno. */
static int transfer(X86CPU *cpu, unsigned long request, struct kvm_msr_entry *e, size_t n)
{
    g_autofree struct kvm_msrs *msrs = NULL;
    int ret;

    n = MIN(n, MSRS_A_CALL);
    msrs = g_malloc0(sizeof(*msrs) + n * sizeof(*e));
    msrs->nmsrs = n;
    memcpy(msrs->entries, e, n * sizeof(*e));
    ret = kvm_vcpu_ioctl(cpu, request, msrs);
    if (ret > 0 && request == KVM_GET_MSRS) {
        memcpy(e, msrs->entries, ret * sizeof(*e));
    }
    return ret;
}

bool kvm_vcpu_msr(X86CPU *cpu, bool set, uint32_t index, uint64_t *value)
{
    struct kvm_msr_entry e = { .index = index, .data = *value };
    bool ok = transfer(cpu, set ? KVM_SET_MSRS : KVM_GET_MSRS, &e, 1) == 1;

    *value = e.data;
    return ok;
}

/* The list names what some vCPU may have: what this one has not is taken out. */
static bool get_msrs(X86CPU *cpu, GByteArray *msrs, GError **errp)
{
    const size_t size = sizeof(struct kvm_msr_entry);
    size_t done = 0;

    if (!list_msrs(msrs, errp)) {
        return false;
    }
    while (done < msrs->len / size) {
        struct kvm_msr_entry *e = (struct kvm_msr_entry *)(void *)msrs->data + done;
        size_t n = msrs->len / size - done;
        int ret = transfer(cpu, KVM_GET_MSRS, e, n);

        if (ret < 0) {
            return error_set_errno(errp, -ret, "CPU %d: KVM_GET_MSRS", cpu->cs.index);
        }
        done += ret;
        if ((size_t)ret < MIN(n, MSRS_A_CALL)) {
            TRACE("kvm_msr_dropped", "cpu %d msr 0x%x", cpu->cs.index, e[ret].index);
            g_byte_array_remove_range(msrs, done * size, size);
        }
    }
    return true;
}

/* KVM did not take it: whether the vCPU is as if it had. */
static bool msr_is(X86CPU *cpu, const struct kvm_msr_entry *e)
{
    uint64_t here = 0;

    return (!kvm_vcpu_msr(cpu, false, e->index, &here) && !e->data) || here == e->data;
}

static bool put_msrs(X86CPU *cpu, GByteArray *msrs, GError **errp)
{
    struct kvm_msr_entry *e = (struct kvm_msr_entry *)(void *)msrs->data;
    size_t n = msrs->len / sizeof(*e), done = 0;

    while (done < n) {
        size_t asked = MIN(n - done, MSRS_A_CALL);
        int ret = transfer(cpu, KVM_SET_MSRS, e + done, asked);

        if (ret < 0) {
            return error_set_errno(errp, -ret, "CPU %d: KVM_SET_MSRS", cpu->cs.index);
        }
        done += ret;
        if ((size_t)ret == asked) {
            continue;
        }
        if (!msr_is(cpu, e + done)) {
            return error_set(errp, "CPU %d: KVM does not take 0x%llx for MSR 0x%x", cpu->cs.index,
                             e[done].data, e[done].index);
        }
        done++;
    }
    return true;
}

/* ---- the one register that has no MSR ---- */

/* Linux 6.18: type 3, KVM's own registers; number 0, the shadow stack's pointer. */
#define REG_GUEST_SSP (0x2000000000000000 /* x86 */ | KVM_REG_SIZE_U64 | 3ULL << 32)

static bool shadow_stack(X86CPU *cpu, unsigned long request, const uint64_t *ssp)
{
    struct kvm_one_reg reg = { .id = REG_GUEST_SSP, .addr = (uintptr_t)ssp };

    return kvm_vcpu_ioctl(cpu, request, &reg) >= 0;
}

static bool put_shadow_stack(X86CPU *cpu, const VCPUState *s, GError **errp)
{
    return shadow_stack(cpu, KVM_SET_ONE_REG, &s->ssp) || !s->ssp ||
           error_set(errp, "CPU %d: KVM does not take a shadow stack", cpu->cs.index);
}

/* ---- all of it ---- */

bool kvm_vcpu_get(X86CPU *cpu, VCPUState *s, GError **errp)
{
    for (unsigned i = NR_VCPU_PARTS; i-- > 0;) {
        if (!get_part(cpu, s, i, errp)) {
            return false;
        }
    }
    s->ssp = 0;
    shadow_stack(cpu, KVM_GET_ONE_REG, &s->ssp);
    s->msrs = s->msrs ?: g_byte_array_new();
    return get_msrs(cpu, s->msrs, errp);
}

bool kvm_vcpu_put(X86CPU *cpu, const VCPUState *s, GError **errp)
{
    static const VCPUPart before_msrs[] = { VCPU_SREGS, VCPU_REGS,      VCPU_XSAVE,
                                            VCPU_XCRS,  VCPU_DEBUGREGS, VCPU_LAPIC };
    static const VCPUPart after_msrs[] = { VCPU_NESTED, VCPU_EVENTS, VCPU_MP_STATE };

    for (size_t i = 0; i < G_N_ELEMENTS(before_msrs); i++) {
        if (!kvm_vcpu_put_part(cpu, s, before_msrs[i], errp)) {
            return false;
        }
    }
    if (!put_msrs(cpu, s->msrs, errp) || !put_shadow_stack(cpu, s, errp)) {
        return false;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(after_msrs); i++) {
        if (!kvm_vcpu_put_part(cpu, s, after_msrs[i], errp)) {
            return false;
        }
    }
    return true;
}

/* ---- as a state that migrates ---- */

typedef struct VCPUMigration {
    X86CPU *cpu;
    VCPUState state;
    GByteArray *cpuid;     /* the guest's; struct kvm_cpuid_entry2 each */
    GByteArray *own_cpuid; /* what it is here */
    int64_t tsc_offset;    /* of this vCPU's TSC to that of the first */
} VCPUMigration;

/* Registers of a leaf that may differ: how fast the TSC runs is compared, and set, in clock.c. */
static bool may_differ(const struct kvm_cpuid_entry2 *e, X86Register reg)
{
    return e->function == KVM_CPUID_TIMING && reg == R_EAX;
}

static bool same_leaf(X86CPU *cpu, struct kvm_cpuid_entry2 *there, struct kvm_cpuid_entry2 *here,
                      GError **errp)
{
    static const char *const names[] = { "EAX", "EBX", "ECX", "EDX" };

    if (there->function != here->function || there->index != here->index ||
        there->flags != here->flags) {
        return error_set(errp, "CPU %d: CPUID there has leaf 0x%x.%u where here is 0x%x.%u",
                         cpu->cs.index, there->function, there->index, here->function, here->index);
    }
    for (X86Register reg = R_EAX; reg <= R_EDX; reg++) {
        uint32_t x = *cpuid_register(there, reg), y = *cpuid_register(here, reg);

        if (x != y && !may_differ(here, reg)) {
            return error_set(errp, "CPU %d: CPUID leaf 0x%x.%u: %s is 0x%x there and 0x%x here",
                             cpu->cs.index, here->function, here->index, names[reg], x, y);
        }
    }
    return true;
}

static bool check_cpuid(VCPUMigration *m, GError **errp)
{
    struct kvm_cpuid_entry2 *there = (void *)m->cpuid->data, *here = (void *)m->own_cpuid->data;
    size_t size = sizeof(*here), n = m->own_cpuid->len / size;

    for (size_t i = 0; i < MIN(n, m->cpuid->len / size); i++) {
        if (!same_leaf(m->cpu, &there[i], &here[i], errp)) {
            return false;
        }
    }
    return m->cpuid->len == n * size ||
           error_set(errp, "CPU %d: CPUID has %u bytes of leaves there and %zu here",
                     m->cpu->cs.index, m->cpuid->len, n * size);
}

/* The guest knows what its CPUID said when it started. */
static bool put_cpuid(VCPUMigration *m, GError **errp)
{
    g_autofree struct kvm_cpuid2 *cpuid = NULL;
    int ret;

    if (!memcmp(m->cpuid->data, m->own_cpuid->data, m->own_cpuid->len)) {
        return true;
    }
    cpuid = cpuid_new();
    cpuid->nent = m->cpuid->len / sizeof(cpuid->entries[0]);
    memcpy(cpuid->entries, m->cpuid->data, m->cpuid->len);
    ret = kvm_vcpu_ioctl(m->cpu, KVM_SET_CPUID2, cpuid);
    if (ret < 0) {
        return error_set_errno(errp, -ret, "CPU %d: KVM_SET_CPUID2", m->cpu->cs.index);
    }
    memcpy(m->own_cpuid->data, m->cpuid->data, m->own_cpuid->len);
    return true;
}

static bool vcpu_pre_save(void *opaque, GError **errp)
{
    VCPUMigration *m = opaque;

    g_byte_array_set_size(m->cpuid, 0);
    g_byte_array_append(m->cpuid, m->own_cpuid->data, m->own_cpuid->len);
    m->tsc_offset = kvm_tsc_offset(m->cpu);
    return kvm_vcpu_get(m->cpu, &m->state, errp);
}

static bool vcpu_post_load(void *opaque, GError **errp)
{
    VCPUMigration *m = opaque;
    VCPUState *s = &m->state;
    const struct kvm_nested_state *nested = (void *)s->part[VCPU_NESTED];

    if (s->msrs->len % sizeof(struct kvm_msr_entry)) {
        return error_set(errp, "CPU %d: %u bytes of MSRs are not a whole number of them",
                         m->cpu->cs.index, s->msrs->len);
    }
    if (nested && nested->size > s->size[VCPU_NESTED]) {
        return error_set(errp, "CPU %d: the state of a nested guest has %u bytes, KVM takes %u",
                         m->cpu->cs.index, nested->size, s->size[VCPU_NESTED]);
    }
    return check_cpuid(m, errp) && put_cpuid(m, errp) && kvm_vcpu_leave(m->cpu, errp) &&
           kvm_tsc_put(m->cpu, m->tsc_offset, errp) && kvm_vcpu_put(m->cpu, s, errp);
}

#define VCPU_PART(nr, as)                                   \
    {                                                       \
        .name = as, .kind = VMS_POINTER, .size = 1,         \
        .offset = offsetof(VCPUMigration, state.part[nr]),  \
        .count_at = offsetof(VCPUMigration, state.size[nr]) \
    }

static const VMStateField vcpu_fields[] = {
    VMSTATE_BLOB(VCPUMigration, cpuid, KVM_MAX_CPUID_ENTRIES * sizeof(struct kvm_cpuid_entry2)),
    VMSTATE_UINT(VCPUMigration, tsc_offset),
    VCPU_PART(VCPU_NESTED, "nested"),
    VCPU_PART(VCPU_EVENTS, "events"),
    VCPU_PART(VCPU_SREGS, "sregs"),
    VCPU_PART(VCPU_REGS, "regs"),
    VCPU_PART(VCPU_XSAVE, "xsave"),
    VCPU_PART(VCPU_XCRS, "xcrs"),
    VCPU_PART(VCPU_DEBUGREGS, "debugregs"),
    VCPU_PART(VCPU_LAPIC, "lapic"),
    VCPU_PART(VCPU_MP_STATE, "mp_state"),
    VMSTATE_UINT(VCPUMigration, state.ssp),
    VMSTATE_BLOB(VCPUMigration, state.msrs, MSRS_MAX * sizeof(struct kvm_msr_entry)),
    VMSTATE_END,
};

static const VMState vcpu_vmstate = {
    .name = "kvm-vcpu",
    .version = 1,
    .priority = VMS_PRIORITY_CPU,
    .fields = vcpu_fields,
    .pre_save = vcpu_pre_save,
    .post_load = vcpu_post_load,
};

void kvm_vcpu_vmstate_register(X86CPU *cpu, const struct kvm_cpuid2 *cpuid)
{
    VCPUMigration *m = g_new0(VCPUMigration, 1);

    m->cpu = cpu;
    m->cpuid = g_byte_array_new();
    m->own_cpuid = g_byte_array_new();
    g_byte_array_append(m->own_cpuid, (const uint8_t *)cpuid->entries,
                        cpuid->nent * sizeof(cpuid->entries[0]));
    kvm_vcpu_state_init(&m->state);
    vmstate_register("cpu", cpu->cs.index, &vcpu_vmstate, m);
}
