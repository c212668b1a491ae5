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

bool kvm_slots_init(GError **errp);

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

/* ---- cpuid.c: arrays of CPUID leaves ---- */

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
