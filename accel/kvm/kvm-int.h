/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of accel/kvm show to each other; nobody else includes it, save their tests. */
#ifndef VIADUCT_ACCEL_KVM_INT_H
#define VIADUCT_ACCEL_KVM_INT_H

#include <linux/kvm.h>
#include <stddef.h>

#include "accel/kvm.h"
#include "core/accel.h"
#include "core/memory.h"
#include "core/object.h"

/* ---- kvm.c: the VM ---- */

typedef struct KVMState {
    int fd;          /* /dev/kvm */
    int vmfd;        /* the VM */
    int vfio;        /* the KVM-VFIO device, -1 before its first use */
    size_t run_size; /* bytes of a vCPU's struct kvm_run as mapped */
    bool irqchip;    /* kvm_create_irqchip() has succeeded */
} KVMState;

extern KVMState kvm_state;

/* Each returns what the call returned, or -errno. */
int kvm_ioctl(unsigned long request, void *arg);
int kvm_vm_ioctl(unsigned long request, void *arg);
/* A capability's value, 0 when it is not there. */
int kvm_check_extension(int cap);

/* ---- slots.c, irq.c ---- */

typedef struct KVMSlot {
    uint64_t gpa, size; /* size 0: the number is free */
    uint32_t flags;
    void *host;
    RAMBlock *block; /* that @host is in; NULL: a device's memory */
} KVMSlot;

bool kvm_slots_init(GError **errp);
/* Those of RAM. */
void kvm_slots_foreach(void (*fn)(unsigned nr, const KVMSlot *slot, void *opaque), void *opaque);
/* KVM logs the writes to those, or no longer; what comes later is treated likewise. */
int kvm_slots_log(bool on);

/* ---- dirty.c: the dirty log, for AccelOps ---- */

bool kvm_dirty_start(GError **errp);
void kvm_dirty_sync(void);
void kvm_dirty_clear(RAMBlock *block, uint64_t page, uint64_t n, const uint64_t *bits);
void kvm_dirty_stop(void);

/* The GSIs of the IOAPIC; numbers from here on are MSI routes. */
#define KVM_IRQCHIP_GSIS 24

/* @entries: of KVM's routing table, which has the board's pins too. */
bool kvm_irq_init(unsigned entries, GError **errp);
bool kvm_routes_commit(GError **errp);

/* ---- vcpu.c ---- */

typedef struct X86CPU {
    GObject parent;
    CPUState cs;
    int fd;
    struct kvm_run *run;
    GThread *thread;
    /* The run of the VM (its number) in which an exit left this vCPU unable to go on. */
    unsigned stuck;
} X86CPU;

typedef struct X86CPUClass {
    GObjectClass parent_class;
} X86CPUClass;

GType x86_cpu_get_type(void);

static inline X86CPU *x86_cpu(unsigned index)
{
    char *cs = g_ptr_array_index(cpus, index);

    return (X86CPU *)(void *)(cs - offsetof(X86CPU, cs));
}

int kvm_vcpu_ioctl(X86CPU *cpu, unsigned long request, void *arg);
/* Both for AccelOps; never from a vCPU thread, which would wait for itself. */
void kvm_pause_vcpus(void);
void kvm_resume_vcpus(void);
/* Returns when every vCPU stands still; none has been told to run. */
void kvm_wait_vcpus(void);

/* ---- state.c: all that a vCPU is ---- */

typedef enum {
    VCPU_NESTED,
    VCPU_EVENTS,
    VCPU_SREGS,
    VCPU_REGS,
    VCPU_XSAVE,
    VCPU_XCRS,
    VCPU_DEBUGREGS,
    VCPU_LAPIC,
    VCPU_MP_STATE,
    NR_VCPU_PARTS,
} VCPUPart;

typedef struct VCPUState {
    uint8_t *part[NR_VCPU_PARTS]; /* the kernel's structs; NULL: KVM has no such part */
    uint32_t size[NR_VCPU_PARTS];
    GByteArray *msrs; /* struct kvm_msr_entry each; all but those that go on by themselves */
    uint64_t ssp;     /* the shadow stack's pointer; 0 where there is none */
} VCPUState;

/* Room for the parts, once. */
void kvm_vcpu_state_init(VCPUState *s);
/* All of these: machine lock held, vCPUs stand still; messages name CPU and part or MSR. */
bool kvm_vcpu_get(X86CPU *cpu, VCPUState *s, GError **errp);
/* After kvm_vcpu_leave(). */
bool kvm_vcpu_put(X86CPU *cpu, const VCPUState *s, GError **errp);
bool kvm_vcpu_put_part(X86CPU *cpu, const VCPUState *s, VCPUPart part, GError **errp);
/* Gets or sets one MSR; false: this vCPU does not have it, or not with this value. */
bool kvm_vcpu_msr(X86CPU *cpu, bool set, uint32_t index, uint64_t *value);
/* The vCPU migrates; @cpuid is what it was given. */
void kvm_vcpu_vmstate_register(X86CPU *cpu, const struct kvm_cpuid2 *cpuid);

/* ---- chips.c: PICs, IOAPIC, PIT ---- */

typedef struct KVMChips {
    struct kvm_irqchip irqchip[KVM_NR_IRQCHIPS]; /* by number */
    struct kvm_pit_state2 pit;
} KVMChips;

bool kvm_chips_get(KVMChips *chips, GError **errp);
bool kvm_chips_put(KVMChips *chips, GError **errp);
void kvm_chips_vmstate_register(void);

/* ---- reset.c ---- */

/* Keeps the power-on state, unless it is kept already: before the first change of any vCPU. */
bool kvm_reset_capture(GError **errp);
/* Out of a nested guest and SMM, nothing pending: now all can be put.  After the capture. */
bool kvm_vcpu_leave(X86CPU *cpu, GError **errp);

/* ---- clock.c: kvmclock, time stamp counters ---- */

/* The VM's clock stands still while it is stopped, and migrates with the counters. */
void kvm_clock_init(void);
/* How far the vCPU's time stamp counter is before the first one's. */
int64_t kvm_tsc_offset(X86CPU *cpu);
/* While a state is loaded, after the clock's: so far before the first one's that was loaded. */
bool kvm_tsc_put(X86CPU *cpu, int64_t offset, GError **errp);

/* ---- cpuid.c: arrays of CPUID leaves ---- */

/* EAX: kHz of the TSC, EBX: kHz of the APIC's timer. */
#define KVM_CPUID_TIMING 0x40000010

typedef enum { R_EAX, R_EBX, R_ECX, R_EDX } X86Register;

#define KVM_MAX_CPUID_ENTRIES 256

/* An array with room for KVM_MAX_CPUID_ENTRIES; g_free it. */
struct kvm_cpuid2 *cpuid_new(void);
/* NULL if there is no such leaf. */
struct kvm_cpuid_entry2 *cpuid_find(struct kvm_cpuid2 *cpuid, uint32_t leaf, uint32_t index);
/* Finds or adds it; @indexed: the leaf has sub-leaves. */
struct kvm_cpuid_entry2 *cpuid_get(struct kvm_cpuid2 *cpuid, uint32_t leaf, uint32_t index,
                                   bool indexed);
/* Takes away all sub-leaves of the leaves first … last. */
void cpuid_remove(struct kvm_cpuid2 *cpuid, uint32_t first, uint32_t last);
void cpuid_remove_index(struct kvm_cpuid2 *cpuid, uint32_t leaf, uint32_t index);
uint32_t *cpuid_register(struct kvm_cpuid_entry2 *entry, X86Register reg);

/* ---- features.c: the flags of -cpu ---- */

/* Whether any bit is called @name; dashes, underscores and dots are one. */
bool feature_exists(const char *name);
/*
 * Sets or clears every bit of that name in @guest.  Setting one that @host lacks is an error.
 */
bool feature_set(struct kvm_cpuid2 *guest, struct kvm_cpuid2 *host, const char *name, bool on,
                 GError **errp);
/* Whether the (first) bit of that name is set. */
bool feature_test(struct kvm_cpuid2 *cpuid, const char *name);

/* ---- topology.c ---- */

/* Writes the leaves that tell the topology; what differs between vCPUs is that of vCPU 0. */
void topology_fill(struct kvm_cpuid2 *cpuid, const X86Topology *topo, bool amd);
/* Makes the fields of one vCPU from those of another. */
void topology_fill_vcpu(struct kvm_cpuid2 *cpuid, const X86Topology *topo, unsigned index);
/* Where vCPU @index sits: the numbers of its socket, its core in that, its thread in that. */
void topology_place(const X86Topology *topo, unsigned index, unsigned *socket, unsigned *core,
                    unsigned *thread);

/* ---- cpu-model.c ---- */

/*
 * x86_cpu_model_new() without KVM: @host is what the host can show, @tsc_khz the guest's TSC
 * frequency, 0 if unknown.
 */
X86CPUModel *x86_cpu_model_build(const char *spec, const X86Topology *topo, struct kvm_cpuid2 *host,
                                 unsigned tsc_khz, GError **errp);
/* The CPUID of one vCPU; g_free it. */
struct kvm_cpuid2 *x86_cpu_model_cpuid(const X86CPUModel *model, const X86Topology *topo,
                                       unsigned index);

#endif
