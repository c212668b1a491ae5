/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * KVM for real: small guests in 64-bit mode on this host's /dev/kvm; skipped where that is not to
 * be had.  A guest speaks by bytes to port 0x500, ends by one to 0x501, sleeps by one to 0x502.
 */
#include "accel/kvm/kvm-int.h"

#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/accel.h"
#include "core/device.h"
#include "core/irq.h"
#include "core/lock.h"
#include "core/memory.h"
#include "core/runstate.h"
#include "vmstate-edit.h"

#define RAM_SIZE 0x100000
#define MMIO     0x100000
#define GDT      0x1000
#define IDT      0x2000
#define PML4     0x3000
#define COUNTER  0x6000
#define AP_SEEN  0x6008
#define TSC_SEEN 0x6010
#define FINISH   0x6018
#define TICKS    0x6020
#define TSC_BACK 0x6028
#define CODE     0x8000
#define AP_CODE  0x9000
#define STR_(x)  #x
#define STR(x)   STR_(x)

/* clang-format off */
#define GUEST(name, mode, text)                                                                    \
    extern const char name[], name##_end[];                                                        \
    __asm__(".pushsection .rodata\n.balign 256\n" mode "\n"                                        \
            #name ":\n" text "\n" #name "_end:\n.code64\n.popsection\n")

#define SAY "mov $0x500, %edx; outb %al, %dx;"
#define END "mov $0x501, %edx; outb %al, %dx; 1: hlt; jmp 1b;"
#define APIC_ENABLE "mov $0x80f, %ecx; xor %edx, %edx; mov $0x1ff, %eax; wrmsr;"
#define X2APIC_ON "mov $0x1b, %ecx; rdmsr; or $0x400, %eax; wrmsr;"

/* Port, string and memory accesses; where nothing is, all ones. */
GUEST(guest_exits, ".code64",
      "mov $'A', %al;" SAY
      "lea 3f(%rip), %rsi; mov $3, %ecx; rep outsb;"
      "movl $0x12345678, " STR(MMIO) ";"
      "mov " STR(MMIO) " + 4, %eax;" SAY
      "mov " STR(MMIO) " + 0x80000, %al; cmp $0xff, %al; jne 2f; mov $'1', %al;" SAY
      "2: " END
      "3: .ascii \"xyz\"");

/* A triple fault: a page that is not there, and no IDT. */
GUEST(guest_fault, ".code64",
      "mov $'F', %al;" SAY
      "lidt 1f(%rip); movabs 0x123456789000, %al;"
      "1: .skip 10");

/* Runs for ever, counting. */
GUEST(guest_count, ".code64", "1: incq " STR(COUNTER) "; jmp 1b");

/* Wakes the other processors by x2APIC and waits until each has counted itself. */
#define WAKE                                                                                       \
    "movl $0, " STR(AP_SEEN) ";" X2APIC_ON                                                         \
    "mov $0x830, %ecx; xor %edx, %edx; mov $0xc4500, %eax; wrmsr; mov $0xc4609, %eax; wrmsr;"      \
    "1: pause; cmpl $2, " STR(AP_SEEN) "; jne 1b;"
GUEST(guest_wake, ".code64", WAKE "mov $'W', %al;" SAY END);
GUEST(guest_wake_only, ".code64", WAKE "mov $'R', %al;" SAY "1: hlt; jmp 1b");

/* In real mode; the second half is the handler of vector 0x40. */
GUEST(guest_ap, ".code16",
      X2APIC_ON APIC_ENABLE "lock incl " STR(AP_SEEN) "; sti; 1: hlt; jmp 1b;"
      ".balign 128; mov $'I', %al;" SAY END);

/* Asks for sleep as fast as it can. */
GUEST(guest_sleep, ".code64",
      "mov $'S', %al;" SAY "mov $0x502, %edx; 1: outb %al, %dx; incq " STR(COUNTER) "; jmp 1b");

/* In real mode, five bytes into the paragraph at CODE. */
GUEST(guest_real, ".code16",
      "mov %cs, %ax; cmp $" STR(CODE) " >> 4, %ax; jne 1f; call 2f; 2: pop %ax; cmp $15, %ax; jne 1f;"
      "mov $'V', %al;" SAY "1: " END);

/* Waits for one interrupt, vector 0x40, whose handler is its second half. */
GUEST(guest_irq, ".code64",
      X2APIC_ON APIC_ENABLE
      "lidt 2f(%rip); mov $'R', %al;" SAY "sti; 1: hlt; jmp 1b;"
      "2: .word 0xfff; .quad " STR(IDT) ";"
      ".balign 256; mov $'I', %al;" SAY END);

/*
 * Counts, with an interrupt from the APIC's timer now and then, until it is told to finish; a
 * register must stay as it is.  One has the time stamp counter for the timer and for a clock that
 * must never go back; the other works where that counter cannot be relied on.
 */
#define GOES_ON(mode, set, check, again)                                                           \
    X2APIC_ON APIC_ENABLE                                                                          \
    "lidt 8f(%rip); mov $0x832, %ecx; xor %edx, %edx; mov $" mode ", %eax; wrmsr;" set             \
    "mov $0x1234567, %ebx; movq $0, " STR(TSC_SEEN) "; mov $'R', %al;" SAY "sti;"                  \
    "1:" check "incq " STR(COUNTER) "; cmp $0x1234567, %rbx; jne 3f;"                              \
    "cmpl $0, " STR(FINISH) "; je 1b; mov $'T', %al;" SAY END                                      \
    "2: mov %rax, " STR(TSC_BACK) "; mov $'<', %al;" SAY END                                       \
    "3: mov $'X', %al;" SAY END                                                                    \
    "8: .word 0xfff; .quad " STR(IDT) ";"                                                          \
    ".balign 256; push %rax; push %rcx; push %rdx; incl " STR(TICKS) ";" again                     \
    "mov $0x80b, %ecx; xor %eax, %eax; xor %edx, %edx; wrmsr; pop %rdx; pop %rcx; pop %rax;"       \
    "iretq"
#define DEADLINE                                                                                   \
    "rdtsc; shl $32, %rdx; or %rdx, %rax; add $2000000, %rax; mov %rax, %rdx;"                     \
    "shr $32, %rdx; mov $0x6e0, %ecx; wrmsr;"
GUEST(guest_clock, ".code64",
      GOES_ON("0x40040", DEADLINE,
              "rdtsc; shl $32, %rdx; or %rdx, %rax; cmp " STR(TSC_SEEN) ", %rax; jb 2f;"
              "mov %rax, " STR(TSC_SEEN) ";", DEADLINE));
GUEST(guest_ticks, ".code64",
      GOES_ON("0x20040", "mov $0x838, %ecx; mov $1000000, %eax; wrmsr;", "", ""));

/* Runs into memory that is none. */
GUEST(guest_lost, ".code64", "mov $" STR(MMIO) ", %eax; jmp *%rax");
/* clang-format on */

static char *ram;
static GString *said;
static uint64_t mmio_written;
static const char *unusable; /* why there is no KVM */

static void port_write(void *opaque, uint64_t addr, uint64_t data, unsigned size)
{
    g_assert_cmpuint(size, ==, 1);
    if (addr == 0) {
        g_string_append_c(said, data);
    } else if (addr == 2) {
        system_suspend_request();
    } else {
        system_shutdown_request(SHUTDOWN_CAUSE_GUEST_SHUTDOWN);
    }
}

static uint64_t mmio_read(void *opaque, uint64_t addr, unsigned size)
{
    return addr == 4 ? 'Z' : 0;
}

static void mmio_write(void *opaque, uint64_t addr, uint64_t data, unsigned size)
{
    mmio_written = addr << 32 | data;
}

static void reset(ResetType type, void *opaque)
{
    const X86BootState boot = {
        .long_mode = true,
        .rip = CODE,
        .rsp = CODE,
        .cr3 = PML4,
        .gdt_base = GDT,
        .gdt_limit = 0x1f,
    };

    kvm_reset(&boot);
}

/* Page tables that map the first GiB to itself, a GDT, an interrupt gate for vector 0x40. */
static void fill_tables(void)
{
    uint64_t *pml4 = (void *)(ram + PML4), *pdpt = pml4 + 512, *pd = pdpt + 512;
    uint64_t *gdt = (void *)(ram + GDT), *idt = (void *)(ram + IDT);
    uint64_t handler = CODE + 256;

    pml4[0] = (PML4 + 0x1000) | 3;
    pdpt[0] = (PML4 + 0x2000) | 3;
    for (unsigned i = 0; i < 512; i++) {
        pd[i] = (uint64_t)i << 21 | 0x83;
    }
    gdt[2] = 0x00af9b000000ffff;
    gdt[3] = 0x00cf93000000ffff;
    /* And for real mode. */
    *(uint32_t *)(void *)(ram + 0x40 * 4) = (AP_CODE >> 4) << 16 | 128;
    idt[0x40 * 2] = (handler & 0xffff) | 0x10 << 16 | 0x8eULL << 40 | (handler >> 16) << 48;
}

static void load(const char *code, const char *end)
{
    memcpy(ram + CODE, code, end - code);
    memcpy(ram + AP_CODE, guest_ap, guest_ap_end - guest_ap);
    g_string_truncate(said, 0);
}

#define LOAD(guest) load(guest, guest##_end)

static gboolean too_late(gpointer opaque)
{
    g_error("the guest does not end; it said '%s'", said->str);
    return G_SOURCE_REMOVE;
}

/* From reset until it ends. */
static void run(void)
{
    guint watchdog = g_timeout_add_seconds(20, too_late, NULL);

    reset(RESET_TYPE_COLD, NULL);
    vm_start();
    g_assert_cmpint(main_loop_run(), ==, 0);
    g_source_remove(watchdog);
}

static bool no_kvm(void)
{
    if (unusable) {
        g_test_skip(unusable);
    }
    return unusable != NULL;
}

static void test_exits(void)
{
    if (no_kvm()) {
        return;
    }
    LOAD(guest_exits);
    run();
    g_assert_cmpstr(said->str, ==, "AxyzZ1");
    g_assert_cmphex(mmio_written, ==, 0x12345678);
}

static bool wake(WakeupReason reason, void *opaque)
{
    memcpy(ram + CODE + 5, guest_real, (size_t)(guest_real_end - guest_real));
    kvm_reset(&(X86BootState) { .real_mode = true, .rip = CODE + 5 });
    return true;
}

/* Its processors stand still meanwhile. */
static gboolean wake_later(gpointer opaque)
{
    uint64_t *seen = opaque, before = *seen;

    if (run_state() != RUN_STATE_SUSPENDED) {
        return G_SOURCE_CONTINUE;
    }
    *seen = *(volatile uint64_t *)(void *)(ram + COUNTER);
    return *seen != before || !system_wakeup_request(WAKEUP_REASON_OTHER, NULL);
}

static void test_sleep(void)
{
    uint64_t seen = UINT64_MAX;

    if (no_kvm()) {
        return;
    }
    wakeup_register(wake, NULL);
    LOAD(guest_sleep);
    g_timeout_add(20, wake_later, &seen);
    run();
    g_assert_cmpstr(said->str, ==, "SV");
    wakeup_register(NULL, NULL);
}

static void test_triple_fault(void)
{
    if (no_kvm()) {
        return;
    }
    /* With -no-reboot the reset is an end. */
    run_state_policy.no_reboot = true;
    LOAD(guest_fault);
    run();
    g_assert_cmpstr(said->str, ==, "F");
    run_state_policy.no_reboot = false;
    LOAD(guest_exits);
    run();
    g_assert_cmpstr(said->str, ==, "AxyzZ1");
}

static uint64_t counter(void)
{
    return __atomic_load_n((uint64_t *)(void *)(ram + COUNTER), __ATOMIC_RELAXED);
}

static void test_pause(void)
{
    if (no_kvm()) {
        return;
    }
    LOAD(guest_count);
    reset(RESET_TYPE_COLD, NULL);
    for (int i = 0; i < 50; i++) {
        uint64_t before = counter(), still;

        vm_start();
        for (int ms = 0; counter() == before; ms++) {
            g_assert_cmpint(ms, <, 20000);
            g_usleep(1000);
        }
        vm_stop(RUN_STATE_PAUSED);
        still = counter();
        g_usleep(1000);
        g_assert_cmpuint(counter(), ==, still);
    }
}

static void test_wake(void)
{
    if (no_kvm()) {
        return;
    }
    /* Twice: a reset must put the others back to waiting, and the APIC out of x2APIC mode. */
    for (int i = 0; i < 2; i++) {
        LOAD(guest_wake);
        run();
        g_assert_cmpstr(said->str, ==, "W");
    }
}

static gboolean signal_when_ready(gpointer opaque)
{
    uint64_t one = 1;

    if (said->len) {
        g_assert_cmpint(write(GPOINTER_TO_INT(opaque), &one, sizeof(one)), ==, sizeof(one));
        return G_SOURCE_REMOVE;
    }
    return G_SOURCE_CONTINUE;
}

/* A route that follows another, which is there to make a wrong number show. */
static void deliver(const char *guest, const char *guest_end, MSIMessage msg)
{
    const MSIMessage wrong = { 0xfee00000, 0x41 };
    g_autoptr(GError) err = NULL;
    int fd = eventfd(0, EFD_CLOEXEC);
    int other = irq_route_add(wrong, &err), route = irq_route_add(wrong, &err);

    g_assert_cmpint(other, >=, 24);
    g_assert_cmpint(route, ==, other + 1);
    irq_route_update(route, msg);
    g_assert_true(irq_bind(route, fd, -1, &err));
    g_assert_true(irq_routes_commit(&err));
    load(guest, guest_end);
    g_timeout_add(1, signal_when_ready, GINT_TO_POINTER(fd));
    run();
    g_assert_cmpstr(said->str, ==, "RI");
    irq_unbind(route, fd);
    irq_route_release(other);
    g_assert_cmpint(irq_route_add(wrong, &err), ==, other);
    irq_route_release(other);
    irq_route_release(route);
    g_assert_true(irq_routes_commit(&err));
    g_assert_no_error(err);
    close(fd);
}

static void test_irqfd(void)
{
    if (no_kvm()) {
        return;
    }
    deliver(guest_irq, guest_irq_end, (MSIMessage) { 0xfee00000, 0x40 });
}

/* To APIC id 256: by the extension's bits, and by the address's upper half. */
static void test_far_apic(void)
{
    if (no_kvm()) {
        return;
    }
    deliver(guest_wake_only, guest_wake_only_end, (MSIMessage) { 0xfee00020, 0x40 });
    deliver(guest_wake_only, guest_wake_only_end, (MSIMessage) { 0x100fee00000, 0x40 });
}

static gboolean end_when_stopped(gpointer opaque)
{
    if (run_state() != RUN_STATE_INTERNAL_ERROR) {
        return G_SOURCE_CONTINUE;
    }
    g_string_append_c(said, '!');
    system_shutdown_request(SHUTDOWN_CAUSE_HOST_QMP_QUIT);
    return G_SOURCE_REMOVE;
}

/* What KVM cannot run pauses the VM, and a reset makes it good again. */
static void test_internal_error(void)
{
    if (no_kvm()) {
        return;
    }
    LOAD(guest_lost);
    g_timeout_add(1, end_when_stopped, NULL);
    run();
    g_assert_cmpstr(said->str, ==, "!");
    LOAD(guest_exits);
    run();
    g_assert_cmpstr(said->str, ==, "AxyzZ1");
}

/* ---- another process goes on where this one stopped ---- */

#define STATE_FILE "VIADUCT_TEST_KVM_STATE"
#define NO_TSC     "VIADUCT_TEST_NO_TSC"

static uint64_t word(unsigned addr)
{
    return __atomic_load_n((uint64_t *)(void *)(ram + addr), __ATOMIC_RELAXED);
}

/* It has counted and its timer has ticked, both more than once. */
static void run_for_a_while(void)
{
    uint64_t count = word(COUNTER), ticks = word(TICKS);

    vm_start();
    for (int ms = 0; word(COUNTER) < count + 1000 || word(TICKS) < ticks + 3; ms++) {
        if (ms == 20000 || said->len > 1) {
            g_error("stands still: said '%s', counted %" G_GUINT64_FORMAT
                    ", ticked %" G_GUINT64_FORMAT ", clock at %" G_GUINT64_FORMAT
                    ", before at %" G_GUINT64_FORMAT,
                    said->str, word(COUNTER) - count, word(TICKS) - ticks, word(TSC_BACK),
                    word(TSC_SEEN));
        }
        machine_unlock();
        g_usleep(1000);
        machine_lock();
    }
    vm_stop(RUN_STATE_PAUSED);
}

static void finish(void)
{
    guint watchdog = g_timeout_add_seconds(20, too_late, NULL);

    ram[FINISH] = 1;
    vm_start();
    g_assert_cmpint(main_loop_run(), ==, 0);
    g_source_remove(watchdog);
}

static void load_state(GByteArray *state, const char *memory)
{
    memcpy(ram, memory, RAM_SIZE);
    stream_load(state);
}

static void test_state(void)
{
    g_autoptr(GByteArray) state = NULL, whole = g_byte_array_new();
    g_autofree char *memory = NULL, *file = NULL;
    g_autoptr(GError) err = NULL;
    uint64_t count;

    if (no_kvm()) {
        return;
    }
    if (g_getenv(NO_TSC)) {
        LOAD(guest_ticks);
    } else {
        LOAD(guest_clock);
    }
    reset(RESET_TYPE_COLD, NULL);
    run_for_a_while();
    state = stream_save();
    memory = g_memdup2(ram, RAM_SIZE);
    count = word(COUNTER);

    /* It goes on; then it is again what it was, and another. */
    run_for_a_while();
    load_state(state, memory);
    g_assert_cmpuint(word(COUNTER), ==, count);
    run_for_a_while();
    finish();
    g_assert_cmpstr(said->str, ==, "RT");
    reset(RESET_TYPE_COLD, NULL);
    load_state(state, memory);
    g_string_truncate(said, 0);
    run_for_a_while();
    finish();
    g_assert_cmpstr(said->str, ==, "T");

    g_byte_array_append(whole, (const uint8_t *)memory, RAM_SIZE);
    g_byte_array_append(whole, state->data, state->len);
    file = g_build_filename(g_get_tmp_dir(), "viaduct-kvm-state-XXXXXX", NULL);
    close(g_mkstemp(file));
    g_assert_true(g_file_set_contents(file, (const char *)whole->data, whole->len, &err));
    g_setenv(STATE_FILE, file, true);
    g_test_trap_subprocess("/kvm/state/subprocess", 60 * G_USEC_PER_SEC,
                           G_TEST_SUBPROCESS_INHERIT_STDERR);
    unlink(file);
    g_test_trap_assert_passed();
}

/* Some KVMs give all guests the host's counter, whatever they are told. */
static bool keeps_tsc_offset(X86CPU *cpu)
{
    uint64_t before = 0, offset = 0;
    struct kvm_device_attr attr = { .addr = (uintptr_t)&before };
    bool kept;

    if (kvm_vcpu_ioctl(cpu, KVM_GET_DEVICE_ATTR, &attr) < 0) {
        return false;
    }
    offset = before + 1000000;
    attr.addr = (uintptr_t)&offset;
    kvm_vcpu_ioctl(cpu, KVM_SET_DEVICE_ATTR, &attr);
    offset = 0;
    kvm_vcpu_ioctl(cpu, KVM_GET_DEVICE_ATTR, &attr);
    kept = offset == before + 1000000;
    attr.addr = (uintptr_t)&before;
    kvm_vcpu_ioctl(cpu, KVM_SET_DEVICE_ATTR, &attr);
    return kept;
}

/* A guest may have set a vCPU's time stamp counter apart from the others. */
static void test_tsc_apart(void)
{
    const int64_t apart = -123456789;
    g_autoptr(GByteArray) state = NULL, again = NULL;
    int64_t offset;
    size_t len;

    if (no_kvm()) {
        return;
    }
    if (!keeps_tsc_offset(x86_cpu(1))) {
        g_test_skip("this KVM keeps no TSC offset");
        return;
    }
    reset(RESET_TYPE_COLD, NULL);
    state = stream_save();
    stream_set(state, "cpu", 1, "tsc_offset", (uint64_t)apart);
    stream_load(state);
    again = stream_save();
    memcpy(&offset, stream_field(again, "cpu", 1, "tsc_offset", &len), sizeof(offset));
    g_assert_cmpint(offset, ==, apart);
    memcpy(&offset, stream_field(again, "cpu", 129, "tsc_offset", &len), sizeof(offset));
    g_assert_cmpint(offset, ==, 0);
    stream_set(state, "cpu", 1, "tsc_offset", 0);
    stream_load(state);
}

/* What was loaded is what is there then, save what counts time. */
static void load_and_compare(GByteArray *state)
{
    static const char *const fields[] = { "cpuid", "nested",    "events",   "sregs", "regs",
                                          "xsave", "debugregs", "mp_state", "xcrs" };
    g_autoptr(GByteArray) again = NULL;
    size_t len;
    uint8_t *xsave = stream_field(state, "cpu", 129, "xsave", &len);

    xsave[512] |= 3; /* XSTATE_BV: x87 and SSE; registers that no guest here has touched */
    memset(xsave + 32, 0x3c, 8);
    memset(xsave + 160, 0xa5, 64);
    stream_seal(state);
    stream_load(state);
    again = stream_save();
    for (unsigned i = 0; i < cpus->len; i++) {
        unsigned cpu = (unsigned)((CPUState *)g_ptr_array_index(cpus, i))->index;

        for (unsigned k = 0; k < G_N_ELEMENTS(fields); k++) {
            size_t n;
            const uint8_t *a = stream_field(state, "cpu", cpu, fields[k], &len);
            const uint8_t *b = stream_field(again, "cpu", cpu, fields[k], &n);

            if (len != n || memcmp(a, b, n)) {
                g_error("CPU %u: %s is not what was loaded", cpu, fields[k]);
            }
        }
    }
}

/* What KVM does not take is an error that names it, and a reset makes everything good again. */
static void test_state_refused(void)
{
    struct kvm_msr_entry none = { 0x12345678, 0, 0xabc };
    g_autoptr(GByteArray) state = NULL;
    uint32_t khz;
    uint8_t *at;
    size_t len;

    if (no_kvm()) {
        return;
    }
    reset(RESET_TYPE_COLD, NULL);
    state = stream_save();
    at = stream_field(state, "cpu", 1, "cpuid", &len);
    at[3 * sizeof(struct kvm_cpuid_entry2) + offsetof(struct kvm_cpuid_entry2, ecx)] ^= 4;
    stream_seal(state);
    stream_refused(state, "CPU 1: CPUID leaf 0x");
    stream_refused(state, ": ECX is 0x");
    at[3 * sizeof(struct kvm_cpuid_entry2) + offsetof(struct kvm_cpuid_entry2, ecx)] ^= 4;

    at = stream_field(state, "cpu", 1, "state.msrs", &len);
    memcpy(at + 5 * sizeof(none), &none, sizeof(none));
    stream_seal(state);
    stream_refused(state, "CPU 1: KVM does not take 0xabc for MSR 0x12345678");
    none.data = 0; /* as one that is not there */
    memcpy(at + 5 * sizeof(none), &none, sizeof(none));
    stream_seal(state);
    stream_load(state);

    at = stream_field(state, "cpu", 129, "nested", &len);
    if (len) {
        uint32_t size;

        memcpy(&size, at + offsetof(struct kvm_nested_state, size), sizeof(size));
        memset(at + offsetof(struct kvm_nested_state, size), 0xff, 4);
        stream_seal(state);
        stream_refused(state, "CPU 129: the state of a nested guest has 4294967295 bytes");
        memcpy(at + offsetof(struct kvm_nested_state, size), &size, sizeof(size));
    }
    at = stream_field(state, "clock", 0, "tsc_khz", &len);
    memcpy(&khz, at, sizeof(khz));
    /* A kernel without TSC scaling says no, and then that 1 kHz is what it has: the lab's. */
    if (khz && !g_getenv("VIADUCT_TEST_NO_TSC")) {
        stream_set(state, "clock", 0, "tsc_khz", 1);
        stream_refused(state, "CPU 0: its time stamp counter runs at 1 kHz, here at ");
        stream_set(state, "clock", 0, "tsc_khz", khz);
    }
    at = stream_field(state, "cpu", 0, "sregs", &len);
    memset(at, 0xff, len);
    stream_seal(state);
    stream_refused(state, "CPU 0: KVM_SET_SREGS: ");
    LOAD(guest_exits);
    run();
    g_assert_cmpstr(said->str, ==, "AxyzZ1");
}

static void test_state_elsewhere(void)
{
    g_autofree char *data = NULL;
    g_autoptr(GByteArray) state = g_byte_array_new();
    g_autoptr(GError) err = NULL;
    size_t len;

    g_assert_true(g_file_get_contents(g_getenv(STATE_FILE), &data, &len, &err));
    g_byte_array_append(state, (uint8_t *)data + RAM_SIZE, len - RAM_SIZE);
    memcpy(ram, data, RAM_SIZE);
    load_and_compare(state);
    run_for_a_while();
    finish();
    g_assert_cmpstr(said->str, ==, "T");
    /* Power-on is not what was loaded. */
    LOAD(guest_wake);
    ram[FINISH] = 0;
    run();
    g_assert_cmpstr(said->str, ==, "W");
}

static bool set_up(GError **errp)
{
    static const MemoryRegionOps port_ops = { .write = port_write, .max_size = 1 };
    static const MemoryRegionOps mmio_ops = {
        .read = mmio_read,
        .write = mmio_write,

        .max_size = 4,
    };
    /* Three of many: the second socket's ids start at 256. */
    static const X86Topology topo = { 258, 258, 2, 1, 129, 1 };
    static const unsigned indices[] = { 0, 1, 129 };
    static RAMBlock block = { .idstr = "ram", .size = RAM_SIZE, .page_size = 4096, .fd = -1 };
    static MemoryRegion ram_region, port_region, mmio_region;
    g_autoptr(X86CPUModel) model = NULL;

    ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    g_assert_true(ram != MAP_FAILED);
    block.host = ram;
    fill_tables();
    said = g_string_new(NULL);
    memory_init();
    memory_region_init_ram(&ram_region, NULL, "ram", &block, 0, RAM_SIZE);
    memory_region_add_child(address_space_memory.root, 0, &ram_region, 0);
    memory_region_init_io(&mmio_region, NULL, &mmio_ops, NULL, "mmio", 0x1000);
    memory_region_add_child(address_space_memory.root, MMIO, &mmio_region, 0);
    memory_region_init_io(&port_region, NULL, &port_ops, NULL, "ports", 3);
    memory_region_add_child(address_space_io.root, 0x500, &port_region, 0);
    if (!kvm_init(errp) || !kvm_create_irqchip(errp)) {
        return false;
    }
    model = x86_cpu_model_new("host", &topo, errp);
    for (unsigned i = 0; model && i < G_N_ELEMENTS(indices); i++) {
        if (!kvm_create_vcpu(model, &topo, indices[i], errp)) {
            return false;
        }
    }
    reset_register(reset, NULL);
    return model;
}

/* A message to an address that no APIC has, which KVM refuses, is no reason to refuse the others. */
static void test_bad_message(void)
{
    g_autoptr(GError) err = NULL;
    int bad;

    if (no_kvm()) {
        return;
    }
    bad = irq_route_add((MSIMessage) { 0x55fee00000, 0x41 }, &err);
    deliver(guest_irq, guest_irq_end, (MSIMessage) { 0xfee00000, 0x40 });
    irq_route_release(bad);
    g_assert_true(irq_routes_commit(&err));
    g_assert_no_error(err);
}

int main(int argc, char **argv)
{
    g_autoptr(GError) err = NULL;

    g_test_init(&argc, &argv, NULL);
    machine_lock();
    if (!set_up(&err)) {
        unusable = err->message;
    }
    g_test_add_func("/kvm/exits", test_exits);
    g_test_add_func("/kvm/sleep", test_sleep);
    g_test_add_func("/kvm/triple-fault", test_triple_fault);
    g_test_add_func("/kvm/pause", test_pause);
    g_test_add_func("/kvm/wake", test_wake);
    g_test_add_func("/kvm/irqfd", test_irqfd);
    g_test_add_func("/kvm/far-apic", test_far_apic);
    g_test_add_func("/kvm/bad-message", test_bad_message);
    g_test_add_func("/kvm/internal-error", test_internal_error);
    g_test_add_func("/kvm/state", test_state);
    g_test_add_func("/kvm/tsc-apart", test_tsc_apart);
    g_test_add_func("/kvm/state-refused", test_state_refused);
    g_test_add_func("/kvm/state/subprocess", test_state_elsewhere);
    return g_test_run();
}
