/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The guest's clocks: kvmclock and the vCPUs' time stamp counters, which are in step with each
 * other.  Both stand still while the VM does, as the ACPI timer does (hw/x86/pm.c): a guest that
 * checks one by the other finds no difference after a pause.
 *
 * A migration hands over kvmclock as it was when the VM stopped, and the counter of the first vCPU
 * together with how far each is from it, so that all go on from one moment.  Other than by its
 * offset a counter cannot be set exactly: it runs on while it is written.  Kernels before 5.16 do
 * not have that, and bring counters that are written at about the same time in step themselves.
 *
 * Source: Documentation/virt/kvm/devices/vcpu.rst, "KVM_VCPU_TSC_CTRL".
 * Main thread, machine lock held, all vCPUs stand still.
 */
#include "kvm-int.h"

#include <errno.h>
#include <time.h>

#include "core/runstate.h"
#include "migration/vmstate.h"
#include "util/error.h"

/* Kernel headers of 5.16. */
#ifndef KVM_VCPU_TSC_CTRL
#define KVM_VCPU_TSC_CTRL   0
#define KVM_VCPU_TSC_OFFSET 0
#endif

#define MSR_IA32_TSC  0x10
#define READINGS      3
#define NS_A_SECOND   INT64_C(1000000000)
#define TOLERANCE_PPM 250 /* frequencies so near count as one: what NTP can put right */

static struct {
    uint64_t clock;   /* ns, when the VM stopped */
    uint64_t tsc;     /* of the first vCPU, then */
    bool stopped;     /* both are what they will go on from */
    uint32_t tsc_khz; /* 0: KVM cannot tell */
    /* While a state is loaded: the offset from which .tsc goes on. */
    uint64_t tsc_base;
} clocks;

static int64_t clock_ns(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return now.tv_sec * NS_A_SECOND + now.tv_nsec;
}

static int64_t monotonic_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

/* ---- time stamp counters ---- */

static bool tsc_offset(X86CPU *cpu, bool set, uint64_t *offset)
{
    struct kvm_device_attr attr = {
        .group = KVM_VCPU_TSC_CTRL,
        .attr = KVM_VCPU_TSC_OFFSET,
        .addr = (uintptr_t)offset,
    };

    return kvm_vcpu_ioctl(cpu, set ? KVM_SET_DEVICE_ATTR : KVM_GET_DEVICE_ATTR, &attr) >= 0;
}

int64_t kvm_tsc_offset(X86CPU *cpu)
{
    uint64_t first, offset;

    return tsc_offset(x86_cpu(0), false, &first) && tsc_offset(cpu, false, &offset)
               ? (int64_t)(offset - first)
               : 0;
}

bool kvm_tsc_put(X86CPU *cpu, int64_t offset, GError **errp)
{
    uint64_t value, now;
    bool ok;

    if (tsc_offset(cpu, false, &now)) {
        value = clocks.tsc_base + (uint64_t)offset;
        ok = tsc_offset(cpu, true, &value);
    } else {
        value = clocks.tsc + (uint64_t)offset;
        ok = kvm_vcpu_msr(cpu, true, MSR_IA32_TSC, &value);
    }
    return ok || error_set(errp, "CPU %d: KVM cannot set its time stamp counter", cpu->cs.index);
}

static uint32_t tsc_khz(X86CPU *cpu)
{
    int khz = kvm_vcpu_ioctl(cpu, KVM_GET_TSC_KHZ, NULL);

    return MAX(khz, 0);
}

static bool put_tsc_khz(X86CPU *cpu, uint32_t khz, GError **errp)
{
    uint32_t here = tsc_khz(cpu);
    uint64_t apart = MAX(here, khz) - MIN(here, khz);
    int ret;

    if (!khz || !here || apart * 1000000 <= (uint64_t)here * TOLERANCE_PPM) {
        return true;
    }
    ret = kvm_vcpu_ioctl(cpu, KVM_SET_TSC_KHZ, (void *)(uintptr_t)khz);
    return ret >= 0 || error_set_errno(errp, -ret,
                                       "CPU %d: its time stamp counter runs at %u kHz, here at %u, "
                                       "which KVM cannot change",
                                       cpu->cs.index, khz, here);
}

/*
 * What a clock says and when it said so (monotonic ns): the one of several readings that took least,
 * for a busy host puts this thread aside in the middle of one.
 */
static bool read_at(bool (*read)(uint64_t *value), uint64_t *value, int64_t *at)
{
    int64_t best = INT64_MAX;

    *value = 0;
    *at = 0;
    for (int i = 0; i < READINGS; i++) {
        int64_t before = monotonic_ns(), took;
        uint64_t v;

        if (!read(&v)) {
            return false;
        }
        took = monotonic_ns() - before;
        if (took < best) {
            best = took;
            *value = v;
            *at = before + took / 2;
        }
    }
    return true;
}

static bool read_tsc(uint64_t *value)
{
    return kvm_vcpu_msr(x86_cpu(0), false, MSR_IA32_TSC, value);
}

static bool read_clock(uint64_t *value)
{
    struct kvm_clock_data data = { 0 };

    if (kvm_vm_ioctl(KVM_GET_CLOCK, &data) < 0) {
        return false;
    }
    *value = data.clock;
    return true;
}

/* Of the TSC, in @ns. */
static uint64_t ticks(int64_t ns)
{
    return (uint64_t)(int64_t)((double)ns * clocks.tsc_khz / 1e6);
}

/*
 * The TSC at the moment at which kvmclock says @clock.  KVM tells both of one moment, so however long
 * this thread is put aside, one is not wrong by the other.  False: it cannot, or the TSC is scaled.
 */
static bool tsc_at_clock(uint64_t clock, uint64_t *tsc)
{
    struct kvm_clock_data data = { 0 };
    uint64_t offset, after;

    if (kvm_vm_ioctl(KVM_GET_CLOCK, &data) < 0 || !(data.flags & KVM_CLOCK_HOST_TSC) ||
        !tsc_offset(x86_cpu(0), false, &offset) || !read_tsc(&after) ||
        after - (data.host_tsc + offset) > ticks(NS_A_SECOND)) {
        return false;
    }
    *tsc = data.host_tsc + offset + ticks((int64_t)(clock - data.clock));
    return true;
}

/* Both as they were at @when (monotonic ns). */
static bool get_clocks(int64_t when, GError **errp)
{
    int64_t at;

    clocks.tsc_khz = tsc_khz(x86_cpu(0));
    if (!read_at(read_clock, &clocks.clock, &at)) {
        return error_set(errp, "kvmclock: cannot get its time");
    }
    clocks.clock -= at > when ? (uint64_t)(at - when) : 0;
    if (tsc_at_clock(clocks.clock, &clocks.tsc)) {
        return true;
    }
    if (!read_at(read_tsc, &clocks.tsc, &at)) {
        return error_set(errp, "CPU 0: KVM cannot tell its time stamp counter");
    }
    clocks.tsc -= at > when ? ticks(at - when) : 0;
    return true;
}

/*
 * All go on from where the first one was to be at @when, which kvmclock does already: the same step
 * back for each.
 */
static void wind_back(int64_t when)
{
    uint64_t now, offset, step;
    int64_t at;

    if (tsc_at_clock(clocks.clock, &now)) {
        step = clocks.tsc - now;
    } else if (read_at(read_tsc, &now, &at)) {
        step = clocks.tsc + ticks(at - when) - now;
    } else {
        return;
    }
    for (unsigned i = 0; i < cpus->len; i++) {
        if (tsc_offset(x86_cpu(i), false, &offset)) {
            offset += step;
            tsc_offset(x86_cpu(i), true, &offset);
        }
    }
}

/* Wall clock time at the monotonic time @when, both in ns. */
static int64_t wall_clock_at(int64_t when)
{
    int64_t best = INT64_MAX, real = 0;

    for (int i = 0; i < READINGS; i++) {
        int64_t before = monotonic_ns(), took, now = clock_ns(CLOCK_REALTIME);

        took = monotonic_ns() - before;
        if (took < best) {
            best = took;
            real = now - (before + took / 2);
        }
    }
    return real + when;
}

/*
 * kvmclock goes on from what it was to be at @when.  KVM itself adds what has passed since, if it
 * can: this thread may be put aside before it gets there.
 */
static bool put_clock(int64_t when, GError **errp)
{
    struct kvm_clock_data data = { .clock = clocks.clock };
    int ret;

    if (kvm_check_extension(KVM_CAP_ADJUST_CLOCK) & KVM_CLOCK_REALTIME) {
        data.flags = KVM_CLOCK_REALTIME;
        data.realtime = (uint64_t)wall_clock_at(when);
    } else {
        data.clock += (uint64_t)(monotonic_ns() - when);
    }
    ret = kvm_vm_ioctl(KVM_SET_CLOCK, &data);
    return ret >= 0 || error_set_errno(errp, -ret, "kvmclock: cannot set its time");
}

/* ---- the VM stops and starts ---- */

/* Tells the guest that it was stopped, lest its watchdogs bark. */
static void tell_guest(X86CPU *cpu)
{
    int ret = kvm_vcpu_ioctl(cpu, KVM_KVMCLOCK_CTRL, NULL);

    if (ret < 0 && ret != -EINVAL && ret != -ENOTTY) { /* EINVAL: it does not use kvmclock */
        warn_report("CPU %d: KVM_KVMCLOCK_CTRL: %s", cpu->cs.index, g_strerror(-ret));
    }
}

static void clock_vm_state(bool running, RunState state, void *opaque)
{
    int64_t when = vm_state_time() * 1000;
    g_autoptr(GError) err = NULL;

    if (!running) {
        clocks.stopped = get_clocks(when, &err);
    } else if (clocks.stopped) {
        clocks.stopped = false;
        put_clock(when, &err);
        wind_back(when);
        for (unsigned i = 0; i < cpus->len; i++) {
            tell_guest(x86_cpu(i));
        }
    }
    if (err) {
        warn_report("%s", err->message);
    }
}

/* ---- as a state that migrates ---- */

static bool clock_pre_save(void *opaque, GError **errp)
{
    return clocks.stopped || get_clocks(monotonic_ns(), errp);
}

static bool clock_post_load(void *opaque, GError **errp)
{
    uint64_t now = 0, offset = 0;

    for (unsigned i = 0; i < cpus->len; i++) {
        if (!put_tsc_khz(x86_cpu(i), clocks.tsc_khz, errp)) {
            return false;
        }
    }
    if (tsc_offset(x86_cpu(0), false, &offset) &&
        !kvm_vcpu_msr(x86_cpu(0), false, MSR_IA32_TSC, &now)) {
        return error_set(errp, "CPU 0: KVM cannot tell its time stamp counter");
    }
    clocks.tsc_base = offset + clocks.tsc - now;
    clocks.stopped = true;
    return put_clock(monotonic_ns(), errp);
}

static const VMStateField clock_fields[] = {
    VMSTATE_UINT(__typeof__(clocks), clock),
    VMSTATE_UINT(__typeof__(clocks), tsc),
    VMSTATE_UINT(__typeof__(clocks), tsc_khz),
    VMSTATE_END,
};

static const VMState clock_vmstate = {
    .name = "kvmclock",
    .version = 1,
    .priority = VMS_PRIORITY_CHIPS,
    .fields = clock_fields,
    .pre_save = clock_pre_save,
    .post_load = clock_post_load,
};

void kvm_clock_init(void)
{
    vm_state_add_notifier(clock_vm_state, NULL);
    vmstate_register("clock", 0, &clock_vmstate, &clocks);
}
