/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ACPI fixed hardware (ACPI 6.5, 4.8): PM1 status and enable, PM1 control, the PM timer, and with
 * them the power button, the system control interrupt and the ways to sleep and to switch off.
 *
 * The timer counts at 3.579545 MHz while the VM runs and has 32 bits.  Its status bit is set when
 * the highest bit changes, which is looked at when somebody reads it, or by an alarm while the
 * guest wants an interrupt.
 */
#include "hw/x86/x86.h"

#include "core/irq.h"
#include "core/runstate.h"
#include "hw/x86/alarm.h"
#include "migration/vmstate.h"
#include "util/error.h"

#define PM_TIMER_HZ 3579545ULL

/* Offsets and sizes; what is between control and timer is nobody's. */
enum { PM1_STS = 0, PM1_EN = 2, PM1_CNT = 4, PM1_SIZE = 6, PM_TMR = 8, PM_TMR_SIZE = 4 };

enum {
    PM1_TMR = 1 << 0,
    PM1_GBL = 1 << 5,
    PM1_PWRBTN = 1 << 8,
    PM1_RTC = 1 << 10,
    PM1_WAK = 1 << 15, /* status only */
    PM1_ENABLES = PM1_TMR | PM1_GBL | PM1_PWRBTN | PM1_RTC,
};
enum {
    PM1_SCI_EN = 1 << 0,
    PM1_SLP_TYP_SHIFT = 10,
    PM1_SLP_TYP = 7 << PM1_SLP_TYP_SHIFT,
    PM1_SLP_EN = 1 << 13,
};

typedef struct X86PM {
    Device parent;
    MemoryRegion pm1, timer;
    Alarm *alarm;
    uint16_t sts, en, cnt;
    bool sci;
    gint64 epoch;       /* monotonic time at which the timer was, or would have been, 0 */
    gint64 stopped;     /* when the VM stopped; 0 while it runs */
    uint64_t overflows; /* changes of the highest bit that have been seen */
    uint64_t elapsed;   /* us since .epoch, when the state was saved */
} X86PM;

typedef struct X86PMClass {
    DeviceClass parent_class;
} X86PMClass;

GType x86_pm_get_type(void);
DEFINE_OBJECT_TYPE(X86PM, x86_pm, TYPE_X86_PM, TYPE_DEVICE, 0)
#define X86_PM(o) G_TYPE_CHECK_INSTANCE_CAST((o), x86_pm_get_type(), X86PM)

/* ---- the timer ---- */

static uint64_t timer_us(const X86PM *s)
{
    return (uint64_t)((s->stopped ?: g_get_monotonic_time()) - s->epoch);
}

/* Not cut to its 32 bits. */
static uint64_t timer_ticks(const X86PM *s)
{
    uint64_t us = timer_us(s);

    return us / G_USEC_PER_SEC * PM_TIMER_HZ + us % G_USEC_PER_SEC * PM_TIMER_HZ / G_USEC_PER_SEC;
}

static void timer_update_status(X86PM *s)
{
    uint64_t overflows = timer_ticks(s) >> 31;

    if (overflows != s->overflows) {
        s->overflows = overflows;
        s->sts |= PM1_TMR;
    }
}

/* When the highest bit changes next. */
static gint64 timer_next_overflow(const X86PM *s)
{
    uint64_t ticks = (s->overflows + 1) << 31;

    return s->epoch +
           (gint64)(ticks / PM_TIMER_HZ * G_USEC_PER_SEC +
                    (ticks % PM_TIMER_HZ * G_USEC_PER_SEC + PM_TIMER_HZ - 1) / PM_TIMER_HZ);
}

/* ---- the interrupt ---- */

static void update_sci(X86PM *s)
{
    bool sci = s->sts & s->en & PM1_ENABLES;
    bool watch = s->en & PM1_TMR && !(s->sts & PM1_TMR) && !s->stopped;

    alarm_set(s->alarm, watch ? timer_next_overflow(s) : ALARM_OFF);
    if (sci != s->sci) {
        s->sci = sci;
        irq_set_line(X86_GSI_SCI, sci);
    }
}

static void pm_alarm(void *opaque)
{
    timer_update_status(opaque);
    update_sci(opaque);
}

/* ---- waking up ---- */

/* The button always wakes it, the clock where the guest wants it.  Once the VM is live, that is. */
static void check_wakeup(X86PM *s)
{
    if (run_state() != RUN_STATE_SUSPENDED) {
        return;
    }
    if (s->sts & s->en & PM1_RTC) {
        system_wakeup_request(WAKEUP_REASON_RTC, NULL);
    } else if (s->sts & PM1_PWRBTN) {
        system_wakeup_request(WAKEUP_REASON_OTHER, NULL);
    }
}

static void pm_power_button(void *opaque)
{
    X86PM *s = opaque;

    s->sts |= PM1_PWRBTN;
    update_sci(s);
    check_wakeup(s);
}

/* While the guest is awake the clock's own interrupt is enough. */
void x86_pm_rtc_alarm(Device *pm)
{
    X86PM *s = X86_PM(pm);

    if (run_state_is_asleep()) {
        s->sts |= PM1_RTC;
        check_wakeup(s);
    }
}

/* As in QEMU, whatever else woke it up was the button. */
void x86_pm_woken(Device *pm, WakeupReason reason)
{
    X86PM *s = X86_PM(pm);

    s->sts |= PM1_WAK | (reason == WAKEUP_REASON_RTC ? PM1_RTC : PM1_PWRBTN);
    update_sci(s);
}

static void pm_vm_state(bool running, RunState state, void *opaque)
{
    X86PM *s = opaque;

    if (running && s->stopped) {
        s->epoch += vm_state_time() - s->stopped;
        s->stopped = 0;
    } else if (!running && !s->stopped) {
        s->stopped = vm_state_time();
    }
    update_sci(s);
    check_wakeup(s);
}

/* ---- registers ---- */

static void write_control(X86PM *s, uint16_t value)
{
    unsigned type = (value & PM1_SLP_TYP) >> PM1_SLP_TYP_SHIFT;

    s->cnt = (value & PM1_SLP_TYP) | PM1_SCI_EN;
    if (value & PM1_SLP_EN && type == X86_SLP_TYP_S5) {
        system_shutdown_request(SHUTDOWN_CAUSE_GUEST_SHUTDOWN);
    } else if (value & PM1_SLP_EN && type == X86_SLP_TYP_S3) {
        s->sts &= (uint16_t) ~(PM1_PWRBTN | PM1_RTC); /* what was before wakes nobody */
        system_suspend_request();
    }
}

static uint16_t *pm1_register(X86PM *s, uint64_t addr)
{
    uint16_t *const registers[] = { &s->sts, &s->en, &s->cnt };

    return registers[addr / 2];
}

static uint64_t pm1_read(void *opaque, uint64_t addr, unsigned size)
{
    timer_update_status(opaque);
    return *pm1_register(opaque, addr) >> 8 * (addr & 1);
}

/* Registers have two bytes each; a write of one leaves the other as it is. */
static void pm1_write(void *opaque, uint64_t addr, uint64_t data, unsigned size)
{
    X86PM *s = opaque;
    unsigned shift = 8 * (addr & 1);
    uint16_t mask = (uint16_t)((size == 1 ? 0xff : 0xffff) << shift);
    uint16_t value = (uint16_t)(data << shift & mask);
    uint16_t merged = value | (*pm1_register(s, addr) & (uint16_t)~mask);

    timer_update_status(s);
    switch (addr & ~1ULL) {
    case PM1_STS:
        s->sts &= (uint16_t)~value; /* ones clear */
        break;
    case PM1_EN:
        s->en = merged & PM1_ENABLES;
        break;
    default:
        write_control(s, merged);
        break;
    }
    update_sci(s);
}

static uint64_t timer_read(void *opaque, uint64_t addr, unsigned size)
{
    return (timer_ticks(opaque) & UINT32_MAX) >> 8 * addr;
}

static void timer_write(void *opaque, uint64_t addr, uint64_t data, unsigned size)
{
}

static const MemoryRegionOps pm1_ops = { pm1_read, pm1_write, .max_size = 2 };
static const MemoryRegionOps timer_ops = { timer_read, timer_write, .max_size = 4 };

/* ---- migration ---- */

static bool pm_pre_save(void *opaque, GError **errp)
{
    X86PM *s = opaque;

    s->elapsed = timer_us(s);
    return true;
}

static bool pm_post_load(void *opaque, GError **errp)
{
    X86PM *s = opaque;

    s->epoch = (s->stopped ?: g_get_monotonic_time()) - (gint64)s->elapsed;
    if (s->overflows > timer_ticks(s) >> 31) {
        return error_set(errp, "the timer cannot have overflown %" G_GUINT64_FORMAT " times",
                         s->overflows);
    }
    s->sts &= PM1_ENABLES | PM1_WAK;
    s->en &= PM1_ENABLES;
    s->cnt = (s->cnt & PM1_SLP_TYP) | PM1_SCI_EN;
    update_sci(s);
    irq_set_line(X86_GSI_SCI, s->sci);
    return true;
}

static const VMStateField pm_fields[] = {
    VMSTATE_UINT(X86PM, sts),
    VMSTATE_UINT(X86PM, en),
    VMSTATE_UINT(X86PM, cnt),
    VMSTATE_UINT_MAX(X86PM, elapsed, UINT64_C(1) << 56), /* two thousand years */
    VMSTATE_UINT(X86PM, overflows),
    VMSTATE_END,
};

static const VMState pm_vmstate = {
    .name = TYPE_X86_PM,
    .version = 1,
    .priority = VMS_PRIORITY_DEVICE,
    .fields = pm_fields,
    .pre_save = pm_pre_save,
    .post_load = pm_post_load,
};

/* ---- the device ---- */

static void x86_pm_reset(Device *dev)
{
    X86PM *s = X86_PM(dev);

    s->sts = s->en = 0;
    s->cnt = PM1_SCI_EN; /* there is no other mode */
    s->epoch = s->stopped ?: g_get_monotonic_time();
    s->overflows = 0;
    update_sci(s);
}

static bool x86_pm_realize(Device *dev, GError **errp)
{
    X86PM *s = X86_PM(dev);

    s->alarm = alarm_new(pm_alarm, s);
    s->stopped = run_state_is_live() ? 0 : g_get_monotonic_time();
    memory_region_init_io(&s->pm1, G_OBJECT(dev), &pm1_ops, s, "acpi-pm1", PM1_SIZE);
    memory_region_init_io(&s->timer, G_OBJECT(dev), &timer_ops, s, "acpi-tmr", PM_TMR_SIZE);
    x86_pm_reset(dev);
    memory_transaction_begin();
    memory_region_add_child(address_space_io.root, X86_PORT_PM, &s->pm1, 0);
    memory_region_add_child(address_space_io.root, X86_PORT_PM + PM_TMR, &s->timer, 0);
    memory_transaction_commit();
    vm_state_add_notifier(pm_vm_state, s);
    powerdown_register(pm_power_button, s);
    vmstate_register("pm", 0, &pm_vmstate, s);
    return true;
}

static void x86_pm_unrealize(Device *dev)
{
    X86PM *s = X86_PM(dev);

    vmstate_unregister(&pm_vmstate, s);
    powerdown_register(NULL, NULL);
    vm_state_del_notifier(pm_vm_state, s);
    memory_transaction_begin();
    memory_region_del_child(address_space_io.root, &s->pm1);
    memory_region_del_child(address_space_io.root, &s->timer);
    memory_transaction_commit();
    memory_region_fini(&s->pm1);
    memory_region_fini(&s->timer);
    alarm_free(s->alarm);
}

static void x86_pm_init(X86PM *self)
{
}

static void x86_pm_class_init(X86PMClass *klass)
{
    DeviceClass *dc = DEVICE_CLASS(klass);

    dc->desc = "ACPI fixed hardware: power button, sleep control, timer";
    dc->realize = x86_pm_realize;
    dc->unrealize = x86_pm_unrealize;
    dc->reset = x86_pm_reset;
}
