/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The accelerator without acceleration: vCPUs that can be asked for and never run. */
#include "qtest-int.h"

#include <unistd.h>

#include "accel/kvm/kvm-int.h"
#include "core/object.h"

#define MAX_VCPUS 4096

typedef struct QTestCPU {
    GObject parent;
    CPUState cs;
} QTestCPU;

typedef GObjectClass QTestCPUClass;

DEFINE_OBJECT_TYPE(QTestCPU, qtest_cpu, "qtest-x86_64-cpu", G_TYPE_OBJECT, 0)

static void qtest_cpu_init(QTestCPU *cpu)
{
}

static void qtest_cpu_class_init(QTestCPUClass *klass)
{
}

static void no_vcpus(void)
{
}

static bool qtest_init(GError **errp)
{
    static const AccelOps ops = {
        .name = "qtest",
        .pause_vcpus = no_vcpus,
        .resume_vcpus = no_vcpus,
    };

    qtest_irq_init();
    accel_register(&ops);
    return true;
}

static bool no_irqchip(GError **errp)
{
    return true; /* it is there from the start */
}

static int max_vcpus(void)
{
    return MAX_VCPUS;
}

static int max_vcpu_id(void)
{
    return INT32_MAX;
}

/* A processor without features, for the width of its addresses. */
static X86CPUModel *cpu_model_new(const char *spec, const X86Topology *topo, GError **errp)
{
    g_autofree struct kvm_cpuid2 *host = cpuid_new();

    cpuid_get(host, 0, 0, false);
    cpuid_get(host, 0x80000008, 0, false)->eax = 48 << 8 | 40;
    return x86_cpu_model_build(spec, topo, host, 0, errp);
}

static bool create_vcpu(const X86CPUModel *model, const X86Topology *topo, unsigned index,
                        GError **errp)
{
    QTestCPU *cpu = g_object_new(qtest_cpu_get_type(), NULL);

    cpu->cs = (CPUState) {
        .index = (int)index,
        .arch_id = x86_apic_id(topo, index),
        .thread_id = getpid(), /* it has none of its own */
        .halted = true,
    };
    topology_place(topo, index, &cpu->cs.socket_id, &cpu->cs.core_id, &cpu->cs.smt_id);
    object_tree_add_numbered("/machine/unattached", "device", &cpu->parent);
    cpu->cs.qom_path = object_path(&cpu->parent);
    g_ptr_array_add(cpus, &cpu->cs);
    return true;
}

static void nothing_to_reset(const X86BootState *boot)
{
}

const X86Accel x86_accel_qtest = {
    .name = "qtest",
    .label = "qtest",
    .init = qtest_init,
    .create_irqchip = no_irqchip,
    .max_vcpus = max_vcpus,
    .max_vcpu_id = max_vcpu_id,
    .cpu_model_new = cpu_model_new,
    .create_vcpu = create_vcpu,
    .reset = nothing_to_reset,
};
