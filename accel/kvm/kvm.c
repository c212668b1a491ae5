/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The VM: /dev/kvm, what we ask of it, and what there is once a VM (the interrupt controllers, the
 * device through which KVM and VFIO know of each other).  Memory is in slots.c, interrupts in
 * irq.c, vCPUs in vcpu.c and reset.c, what their CPUID says in cpu-model.c.
 *
 * Everything here: main thread, machine lock held.
 */
#include "kvm-int.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "util/error.h"
#include "util/fd.h"

#define KVM_DEVICE "/dev/kvm"

/* Four pages that KVM on Intel needs for real mode; the machine keeps them out of RAM. */
#define KVM_IDENTITY_MAP_ADDR 0xfeffc000ULL
#define KVM_TSS_ADDR          0xfeffd000ULL

/* Linux 6.3 renamed the VFIO attributes: they take any VFIO file, not only a group's. */
#ifndef KVM_DEV_VFIO_FILE
#define KVM_DEV_VFIO_FILE     KVM_DEV_VFIO_GROUP
#define KVM_DEV_VFIO_FILE_ADD KVM_DEV_VFIO_GROUP_ADD
#define KVM_DEV_VFIO_FILE_DEL KVM_DEV_VFIO_GROUP_DEL
#endif

/* XSAVE state that a process must ask for before its guests may use it, and how it asks. */
#ifndef ARCH_REQ_XCOMP_GUEST_PERM
#define ARCH_REQ_XCOMP_GUEST_PERM 0x1025
#endif
#define XFEATURE_XTILE_DATA 18

KVMState kvm_state = { .fd = -1, .vmfd = -1, .vfio = -1 };

static const struct {
    int cap;
    const char *name;
} needed[] = {
    { KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY" },
    { KVM_CAP_READONLY_MEM, "KVM_CAP_READONLY_MEM" },
    { KVM_CAP_DESTROY_MEMORY_REGION_WORKS, "KVM_CAP_DESTROY_MEMORY_REGION_WORKS" },
    { KVM_CAP_SET_TSS_ADDR, "KVM_CAP_SET_TSS_ADDR" },
    { KVM_CAP_SET_IDENTITY_MAP_ADDR, "KVM_CAP_SET_IDENTITY_MAP_ADDR" },
    { KVM_CAP_IRQCHIP, "KVM_CAP_IRQCHIP" },
    { KVM_CAP_PIT2, "KVM_CAP_PIT2" },
    { KVM_CAP_PIT_STATE2, "KVM_CAP_PIT_STATE2" },
    { KVM_CAP_IRQ_ROUTING, "KVM_CAP_IRQ_ROUTING" },
    { KVM_CAP_IRQFD, "KVM_CAP_IRQFD" },
    { KVM_CAP_IRQFD_RESAMPLE, "KVM_CAP_IRQFD_RESAMPLE" },
    { KVM_CAP_SIGNAL_MSI, "KVM_CAP_SIGNAL_MSI" },
    { KVM_CAP_X2APIC_API, "KVM_CAP_X2APIC_API" },
    { KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT" },
    { KVM_CAP_MP_STATE, "KVM_CAP_MP_STATE" },
    { KVM_CAP_VCPU_EVENTS, "KVM_CAP_VCPU_EVENTS" },
    { KVM_CAP_DEBUGREGS, "KVM_CAP_DEBUGREGS" },
    { KVM_CAP_XSAVE2, "KVM_CAP_XSAVE2" },
    { KVM_CAP_MCE, "KVM_CAP_MCE" },
    { KVM_CAP_EXT_CPUID, "KVM_CAP_EXT_CPUID" },
};

static int call(int fd, unsigned long request, void *arg)
{
    int ret;

    /* Making a VM or a vCPU may be broken off by a signal; nothing has happened then. */
    do {
        ret = ioctl(fd, request, arg);
    } while (ret < 0 && errno == EINTR);
    return ret < 0 ? -errno : ret;
}

int kvm_ioctl(unsigned long request, void *arg)
{
    return call(kvm_state.fd, request, arg);
}

int kvm_vm_ioctl(unsigned long request, void *arg)
{
    return call(kvm_state.vmfd, request, arg);
}

int kvm_vcpu_ioctl(X86CPU *cpu, unsigned long request, void *arg)
{
    return call(cpu->fd, request, arg);
}

int kvm_check_extension(int cap)
{
    int ret = kvm_vm_ioctl(KVM_CHECK_EXTENSION, (void *)(uintptr_t)cap);

    return MAX(ret, 0);
}

int kvm_max_vcpus(void)
{
    /* Documentation/virt/kvm/api.rst: without the one, the other; without that, four. */
    return kvm_check_extension(KVM_CAP_MAX_VCPUS) ?: kvm_check_extension(KVM_CAP_NR_VCPUS) ?: 4;
}

int kvm_max_vcpu_id(void)
{
    return kvm_check_extension(KVM_CAP_MAX_VCPU_ID) ?: kvm_max_vcpus();
}

/* ---- VFIO devices ---- */

static bool vfio_device_attr(uint64_t attr, int fd, GError **errp)
{
    int32_t value = fd;
    struct kvm_device_attr args = {
        .group = KVM_DEV_VFIO_FILE,
        .attr = attr,
        .addr = (uintptr_t)&value,
    };
    int ret = call(kvm_state.vfio, KVM_SET_DEVICE_ATTR, &args);

    if (ret < 0) {
        return error_set_errno(errp, -ret, "KVM cannot %s the VFIO device with descriptor %d",
                               attr == KVM_DEV_VFIO_FILE_ADD ? "take" : "let go of", fd);
    }
    return true;
}

static bool kvm_device_fd_add(int fd, GError **errp)
{
    if (kvm_state.vfio < 0) {
        struct kvm_create_device args = { .type = KVM_DEV_TYPE_VFIO };
        int ret = kvm_vm_ioctl(KVM_CREATE_DEVICE, &args);

        if (ret < 0) {
            return error_set_errno(errp, -ret, "cannot create the KVM-VFIO device");
        }
        kvm_state.vfio = args.fd;
    }
    return vfio_device_attr(KVM_DEV_VFIO_FILE_ADD, fd, errp);
}

static void kvm_device_fd_del(int fd)
{
    g_autoptr(GError) err = NULL;

    if (!vfio_device_attr(KVM_DEV_VFIO_FILE_DEL, fd, &err)) {
        error_report("%s", err->message);
    }
}

static const AccelOps kvm_accel = {
    .name = "kvm",
    .pause_vcpus = kvm_pause_vcpus,
    .resume_vcpus = kvm_resume_vcpus,
    .device_fd_add = kvm_device_fd_add,
    .device_fd_del = kvm_device_fd_del,
    .dirty_start = kvm_dirty_start,
    .dirty_sync = kvm_dirty_sync,
    .dirty_clear = kvm_dirty_clear,
    .dirty_stop = kvm_dirty_stop,
};

/* ---- the VM ---- */

/* AMX tiles are shown by KVM only to who has asked for them; hosts without simply say no. */
static void ask_for_xstate(void)
{
    uint64_t supported = 0;
    struct kvm_device_attr attr = {
        .attr = KVM_X86_XCOMP_GUEST_SUPP,
        .addr = (uintptr_t)&supported,
    };

    if (kvm_ioctl(KVM_GET_DEVICE_ATTR, &attr) < 0 || !(supported & (1ULL << XFEATURE_XTILE_DATA))) {
        return;
    }
    if (syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_GUEST_PERM, XFEATURE_XTILE_DATA) < 0) {
        warn_report("the guest will have no AMX: arch_prctl: %s", g_strerror(errno));
    }
}

static bool set_up_vm(GError **errp)
{
    uint64_t identity_map = KVM_IDENTITY_MAP_ADDR;
    int ret;

    for (size_t i = 0; i < G_N_ELEMENTS(needed); i++) {
        if (!kvm_check_extension(needed[i].cap)) {
            return error_set(errp, "KVM (" KVM_DEVICE ") lacks %s, which is needed",
                             needed[i].name);
        }
    }
    ret = kvm_ioctl(KVM_GET_VCPU_MMAP_SIZE, NULL);
    if (ret < (int)sizeof(struct kvm_run)) {
        return error_set_errno(errp, ret < 0 ? -ret : EINVAL,
                               KVM_DEVICE ": KVM_GET_VCPU_MMAP_SIZE");
    }
    kvm_state.run_size = ret;
    ret = kvm_vm_ioctl(KVM_SET_IDENTITY_MAP_ADDR, &identity_map);
    if (ret < 0) {
        return error_set_errno(errp, -ret, KVM_DEVICE ": KVM_SET_IDENTITY_MAP_ADDR");
    }
    ret = kvm_vm_ioctl(KVM_SET_TSS_ADDR, (void *)KVM_TSS_ADDR);
    if (ret < 0) {
        return error_set_errno(errp, -ret, KVM_DEVICE ": KVM_SET_TSS_ADDR");
    }
    ask_for_xstate();
    return kvm_irq_init((unsigned)kvm_check_extension(KVM_CAP_IRQ_ROUTING), errp) &&
           kvm_slots_init(errp);
}

bool kvm_init(GError **errp)
{
    int ret;

    kvm_state.fd = open(KVM_DEVICE, O_RDWR | O_CLOEXEC);
    if (kvm_state.fd < 0) {
        return error_set_errno(errp, errno, "Could not access KVM kernel module: " KVM_DEVICE);
    }
    ret = kvm_ioctl(KVM_GET_API_VERSION, NULL);
    if (ret != KVM_API_VERSION) {
        fd_close(&kvm_state.fd);
        return ret < 0 ? error_set_errno(errp, -ret, KVM_DEVICE ": KVM_GET_API_VERSION")
                       : error_set(errp, KVM_DEVICE " speaks API version %d, %d is needed", ret,
                                   KVM_API_VERSION);
    }
    ret = kvm_ioctl(KVM_CREATE_VM, NULL);
    if (ret < 0) {
        fd_close(&kvm_state.fd);
        return error_set_errno(errp, -ret, KVM_DEVICE ": KVM_CREATE_VM");
    }
    kvm_state.vmfd = ret;
    if (!set_up_vm(errp)) {
        fd_close(&kvm_state.vmfd);
        fd_close(&kvm_state.fd);
        return false;
    }
    accel_register(&kvm_accel);
    return true;
}

bool kvm_create_irqchip(GError **errp)
{
    struct kvm_pit_config pit = { .flags = KVM_PIT_SPEAKER_DUMMY };
    struct kvm_enable_cap x2apic = {
        .cap = KVM_CAP_X2APIC_API,
        .args = { KVM_X2APIC_API_USE_32BIT_IDS | KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK },
    };
    const struct {
        unsigned long request;
        void *arg;
        const char *name;
    } steps[] = {
        { KVM_CREATE_IRQCHIP, NULL, "KVM_CREATE_IRQCHIP (is the kernel's CONFIG_KVM_IOAPIC off?)" },
        { KVM_CREATE_PIT2, &pit, "KVM_CREATE_PIT2" },
        { KVM_ENABLE_CAP, &x2apic, "KVM_ENABLE_CAP of KVM_CAP_X2APIC_API" },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(steps); i++) {
        int ret = kvm_vm_ioctl(steps[i].request, steps[i].arg);

        if (ret < 0) {
            return error_set_errno(errp, -ret, KVM_DEVICE ": %s", steps[i].name);
        }
    }
    kvm_state.irqchip = true;
    kvm_chips_vmstate_register();
    kvm_clock_init();
    return kvm_routes_commit(errp);
}

const X86Accel x86_accel_kvm = {
    .name = "kvm",
    .label = "KVM",
    .init = kvm_init,
    .create_irqchip = kvm_create_irqchip,
    .max_vcpus = kvm_max_vcpus,
    .max_vcpu_id = kvm_max_vcpu_id,
    .cpu_model_new = x86_cpu_model_new,
    .create_vcpu = kvm_create_vcpu,
    .reset = kvm_reset,
};
