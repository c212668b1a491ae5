/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vCPUs: their creation, their threads, and the exits from the guest that they serve.
 *
 * A thread either stands still at the gate or moves: it runs the guest, serves an exit, and runs
 * it again.  To stop all, the gate is closed and each thread is kicked: immediate_exit makes its
 * next KVM_RUN return at once, the signal ends one that is under way.  KVM_RUN finishes the access
 * of the last exit before it looks at immediate_exit, so a vCPU that stands still is always between
 * two instructions and its state can be read and written from any thread.
 *
 * Locks: the machine lock is outermost and is taken for an exit's access to a device or memory
 * only.  gate.lock is a leaf: it guards the gate and is never held across a system call that can
 * block.  Who waits for the vCPUs to stand still lets the machine lock go meanwhile, because one of
 * them may be waiting for it.
 *
 * No exit ends a thread.  What we cannot serve is one line on stderr, and the VM is paused.
 */
#include "kvm-int.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/lock.h"
#include "core/runstate.h"
#include "util/error.h"
#include "util/fd.h"
#include "util/trace.h"

#define SIG_IPI              SIGUSR1

#define MSR_MTRR_DEF_TYPE    0x2ff
#define MTRR_ENABLE          (1 << 11)
#define MTRR_TYPE_WRITE_BACK 6

static struct {
    GMutex lock;
    GCond open;      /* the threads wait for it */
    GCond all_still; /* kvm_wait_vcpus() waits for it */
    bool running;
    unsigned run;    /* counts the times that it was opened */
    unsigned moving; /* threads that do not stand still */
} gate;

/* ---- exits: true if the vCPU can go on ---- */

/* This vCPU cannot go on until the VM is stopped and started again, or reset. */
static bool stand_still(X86CPU *cpu)
{
    /* Stable: the gate cannot be opened anew before this thread has stood still. */
    cpu->stuck = gate.run;
    return false;
}

static bool G_GNUC_PRINTF(2, 3) internal_error(X86CPU *cpu, const char *fmt, ...)
{
    g_autofree char *what = NULL;
    struct kvm_regs regs = { 0 };
    va_list ap;

    va_start(ap, fmt);
    what = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    if (kvm_vcpu_ioctl(cpu, KVM_GET_REGS, &regs) < 0) {
        error_report("KVM: CPU %d: %s", cpu->cs.index, what);
    } else {
        error_report("KVM: CPU %d: %s (RIP 0x%llx, RSP 0x%llx, RFLAGS 0x%llx)", cpu->cs.index, what,
                     regs.rip, regs.rsp, regs.rflags);
    }
    system_vmstop_request(RUN_STATE_INTERNAL_ERROR);
    return stand_still(cpu);
}

static bool exit_io(X86CPU *cpu)
{
    const __typeof__(cpu->run->io) *io = &cpu->run->io;
    uint8_t *data = (uint8_t *)cpu->run + io->data_offset;

    TRACE("kvm_io", "cpu %d port 0x%x size %u count %u %s", cpu->cs.index, io->port, io->size,
          io->count, io->direction == KVM_EXIT_IO_OUT ? "out" : "in");
    machine_lock();
    for (unsigned i = 0; i < io->count; i++, data += io->size) {
        address_space_rw(&address_space_io, io->port, data, io->size,
                         io->direction == KVM_EXIT_IO_OUT);
    }
    machine_unlock();
    return true;
}

static bool exit_mmio(X86CPU *cpu)
{
    TRACE("kvm_mmio", "cpu %d addr 0x%llx len %u %s", cpu->cs.index, cpu->run->mmio.phys_addr,
          cpu->run->mmio.len, cpu->run->mmio.is_write ? "write" : "read");
    machine_lock();
    address_space_rw(&address_space_memory, cpu->run->mmio.phys_addr, cpu->run->mmio.data,
                     cpu->run->mmio.len, cpu->run->mmio.is_write);
    machine_unlock();
    return true;
}

/* A triple fault, which on a PC resets the machine. */
static bool exit_shutdown(X86CPU *cpu)
{
    TRACE("kvm_triple_fault", "cpu %d", cpu->cs.index);
    system_reset_request(SHUTDOWN_CAUSE_GUEST_RESET);
    return stand_still(cpu);
}

static bool exit_system_event(X86CPU *cpu)
{
    switch (cpu->run->system_event.type) {
    case KVM_SYSTEM_EVENT_SHUTDOWN:
        system_shutdown_request(SHUTDOWN_CAUSE_GUEST_SHUTDOWN);
        return stand_still(cpu);
    case KVM_SYSTEM_EVENT_RESET:
        system_reset_request(SHUTDOWN_CAUSE_GUEST_RESET);
        return stand_still(cpu);
    case KVM_SYSTEM_EVENT_CRASH:
        system_vmstop_request(RUN_STATE_GUEST_PANICKED);
        return stand_still(cpu);
    default:
        return internal_error(cpu, "unknown system event %u", cpu->run->system_event.type);
    }
}

static bool exit_fail_entry(X86CPU *cpu)
{
    return internal_error(cpu, "cannot enter the guest, hardware reason 0x%llx",
                          cpu->run->fail_entry.hardware_entry_failure_reason);
}

static bool exit_internal_error(X86CPU *cpu)
{
    static const char *const names[] = {
        [KVM_INTERNAL_ERROR_EMULATION] = "emulation failure",
        [KVM_INTERNAL_ERROR_SIMUL_EX] = "simultaneous exceptions",
        [KVM_INTERNAL_ERROR_DELIVERY_EV] = "exit during the delivery of an event",
        [KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON] = "unexpected hardware exit",
    };
    const struct kvm_run *run = cpu->run;
    uint32_t suberror = run->internal.suberror;
    const char *name = suberror < G_N_ELEMENTS(names) ? names[suberror] : NULL;
    g_autoptr(GString) data = g_string_new(NULL);

    for (unsigned i = 0; i < MIN(run->internal.ndata, G_N_ELEMENTS(run->internal.data)); i++) {
        g_string_append_printf(data, " 0x%llx", run->internal.data[i]);
    }
    return internal_error(cpu, "KVM internal error, suberror %u: %s; data%s", suberror,
                          name ?: "unknown", data->len ? data->str : " none");
}

static bool exit_unknown(X86CPU *cpu)
{
    return internal_error(cpu, "unknown hardware exit 0x%llx", cpu->run->hw.hardware_exit_reason);
}

static bool exit_nothing(X86CPU *cpu)
{
    return true;
}

static bool (*const exits[])(X86CPU *cpu) = {
    [KVM_EXIT_UNKNOWN] = exit_unknown,
    [KVM_EXIT_IO] = exit_io,
    [KVM_EXIT_MMIO] = exit_mmio,
    [KVM_EXIT_IRQ_WINDOW_OPEN] = exit_nothing,
    [KVM_EXIT_SHUTDOWN] = exit_shutdown,
    [KVM_EXIT_FAIL_ENTRY] = exit_fail_entry,
    [KVM_EXIT_INTR] = exit_nothing,
    [KVM_EXIT_INTERNAL_ERROR] = exit_internal_error,
    [KVM_EXIT_SYSTEM_EVENT] = exit_system_event,
};

/* ---- threads ---- */

/* One stay in the guest and what it ended with; false when the thread is to go to the gate. */
static bool run_guest(X86CPU *cpu)
{
    uint32_t reason;

    if (ioctl(cpu->fd, KVM_RUN, NULL) < 0) {
        /* EAGAIN: a vCPU that waited for its start-up IPI was woken. */
        if (errno == EINTR || errno == EAGAIN) {
            return !__atomic_load_n(&cpu->run->immediate_exit, __ATOMIC_RELAXED);
        }
        return internal_error(cpu, "KVM_RUN: %s (exit reason %u)", g_strerror(errno),
                              cpu->run->exit_reason);
    }
    reason = cpu->run->exit_reason;
    if (reason >= G_N_ELEMENTS(exits) || !exits[reason]) {
        return internal_error(cpu, "unknown exit reason %u", reason);
    }
    return exits[reason](cpu);
}

static void wait_at_gate(X86CPU *cpu)
{
    g_mutex_lock(&gate.lock);
    if (--gate.moving == 0) {
        g_cond_broadcast(&gate.all_still);
    }
    while (!gate.running || cpu->stuck == gate.run) {
        g_cond_wait(&gate.open, &gate.lock);
    }
    gate.moving++;
    __atomic_store_n(&cpu->run->immediate_exit, 0, __ATOMIC_RELAXED);
    g_mutex_unlock(&gate.lock);
}

static void *vcpu_thread(void *opaque)
{
    X86CPU *cpu = opaque;
    sigset_t all_but_ipi;

    sigfillset(&all_but_ipi);
    sigdelset(&all_but_ipi, SIG_IPI);
    pthread_sigmask(SIG_SETMASK, &all_but_ipi, NULL);
    g_mutex_lock(&gate.lock);
    cpu->cs.thread_id = gettid();
    g_mutex_unlock(&gate.lock);
    for (;;) {
        wait_at_gate(cpu);
        while (run_guest(cpu)) {
        }
    }
    return NULL;
}

void kvm_wait_vcpus(void)
{
    bool locked = machine_locked();

    if (locked) {
        machine_unlock();
    }
    g_mutex_lock(&gate.lock);
    while (gate.moving) {
        g_cond_wait(&gate.all_still, &gate.lock);
    }
    g_mutex_unlock(&gate.lock);
    if (locked) {
        machine_lock();
    }
}

void kvm_pause_vcpus(void)
{
    g_mutex_lock(&gate.lock);
    gate.running = false;
    for (unsigned i = 0; i < cpus->len; i++) {
        X86CPU *cpu = x86_cpu(i);

        __atomic_store_n(&cpu->run->immediate_exit, 1, __ATOMIC_RELAXED);
        if (cpu->cs.thread_id) {
            tgkill(getpid(), cpu->cs.thread_id, SIG_IPI);
        }
    }
    g_mutex_unlock(&gate.lock);
    kvm_wait_vcpus();
}

void kvm_resume_vcpus(void)
{
    g_mutex_lock(&gate.lock);
    gate.running = true;
    gate.run++;
    g_cond_broadcast(&gate.open);
    g_mutex_unlock(&gate.lock);
}

/* ---- creation ---- */

DEFINE_OBJECT_TYPE(X86CPU, x86_cpu, "host-x86_64-cpu", G_TYPE_OBJECT, 0)

static void x86_cpu_init(X86CPU *cpu)
{
    cpu->fd = -1;
    cpu->run = MAP_FAILED;
}

/* Only one that could not be made is ever finalized: it has no thread. */
static void x86_cpu_finalize(GObject *obj)
{
    X86CPU *cpu = (X86CPU *)obj;

    if (cpu->run != MAP_FAILED) {
        munmap(cpu->run, kvm_state.run_size);
    }
    fd_close(&cpu->fd);
    G_OBJECT_CLASS(x86_cpu_parent_class)->finalize(obj);
}

static void x86_cpu_class_init(X86CPUClass *klass)
{
    G_OBJECT_CLASS(klass)->finalize = x86_cpu_finalize;
}

static void ignore_signal(int sig)
{
}

/* The kick's handler does nothing: that the system call is broken off is all that is wanted. */
static void install_ipi(void)
{
    static gsize done;

    if (g_once_init_enter(&done)) {
        struct sigaction sa = { .sa_handler = ignore_signal };

        sigaction(SIG_IPI, &sa, NULL);
        g_once_init_leave(&done, 1);
    }
}

/*
 * What firmware would have done on each processor: memory is write-back unless the page tables say
 * otherwise.  Without it memory is uncached once a device with non-coherent DMA is there.
 */
static int set_mtrr(X86CPU *cpu)
{
    g_autofree struct kvm_msrs *msrs = g_malloc0(sizeof(*msrs) + sizeof(msrs->entries[0]));
    int ret;

    msrs->nmsrs = 1;
    msrs->entries[0].index = MSR_MTRR_DEF_TYPE;
    msrs->entries[0].data = MTRR_ENABLE | MTRR_TYPE_WRITE_BACK;
    ret = kvm_vcpu_ioctl(cpu, KVM_SET_MSRS, msrs);
    return ret == 0 ? -EINVAL : ret;
}

static bool set_up(X86CPU *cpu, struct kvm_cpuid2 *cpuid, GError **errp)
{
    /* We inject no machine checks; each bank that KVM offers costs the guest's start some exits. */
    uint64_t mcg_cap = 1;
    int ret;

    ret = kvm_vcpu_ioctl(cpu, KVM_SET_CPUID2, cpuid);
    if (ret < 0) {
        return error_set_errno(errp, -ret, "CPU %d: KVM_SET_CPUID2", cpu->cs.index);
    }
    ret = kvm_vcpu_ioctl(cpu, KVM_X86_SETUP_MCE, &mcg_cap);
    if (ret < 0) {
        return error_set_errno(errp, -ret, "CPU %d: KVM_X86_SETUP_MCE", cpu->cs.index);
    }
    ret = set_mtrr(cpu);
    if (ret < 0) {
        return error_set_errno(errp, -ret, "CPU %d: KVM_SET_MSRS of the MTRRs", cpu->cs.index);
    }
    return true;
}

/* It waits at the gate. */
static bool start_thread(X86CPU *cpu, const char *name, GError **errp)
{
    g_autoptr(GError) err = NULL;

    g_mutex_lock(&gate.lock);
    gate.moving++;
    g_mutex_unlock(&gate.lock);
    cpu->thread = g_thread_try_new(name, vcpu_thread, cpu, &err);
    if (!cpu->thread) {
        g_mutex_lock(&gate.lock);
        gate.moving--;
        g_mutex_unlock(&gate.lock);
        return error_set(errp, "CPU %d: %s", cpu->cs.index, err->message);
    }
    return true;
}

bool kvm_create_vcpu(const X86CPUModel *model, const X86Topology *topo, unsigned index,
                     GError **errp)
{
    g_autoptr(GObject) obj = g_object_new(x86_cpu_get_type(), NULL);
    g_autofree struct kvm_cpuid2 *cpuid = x86_cpu_model_cpuid(model, topo, index);
    g_autofree char *name = g_strdup_printf("CPU %u/KVM", index);
    X86CPU *cpu = (X86CPU *)obj;
    uint32_t apic_id = x86_apic_id(topo, index);
    int ret;

    cpu->cs.index = index;
    cpu->cs.arch_id = apic_id;
    topology_place(topo, index, &cpu->cs.socket_id, &cpu->cs.core_id, &cpu->cs.smt_id);
    ret = kvm_vm_ioctl(KVM_CREATE_VCPU, (void *)(uintptr_t)apic_id);
    if (ret < 0) {
        return error_set_errno(errp, -ret, "CPU %u: KVM_CREATE_VCPU with APIC id %u", index,
                               apic_id);
    }
    cpu->fd = ret;
    cpu->run = mmap(NULL, kvm_state.run_size, PROT_READ | PROT_WRITE, MAP_SHARED, cpu->fd, 0);
    if (cpu->run == MAP_FAILED) {
        return error_set_errno(errp, errno, "CPU %u: cannot map its run area", index);
    }
    if (!set_up(cpu, cpuid, errp)) {
        return false;
    }
    install_ipi();
    if (!start_thread(cpu, name, errp)) {
        return false;
    }
    object_tree_add_numbered("/machine/unattached", "device", obj);
    cpu->cs.qom_path = object_path(obj);
    g_ptr_array_add(cpus, &cpu->cs);
    kvm_vcpu_vmstate_register(cpu, cpuid);
    g_steal_pointer(&obj);
    return true;
}
