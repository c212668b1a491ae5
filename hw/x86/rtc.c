/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * MC146818: the clock and its memory, at ports 0x70 and 0x71.
 *
 * Nothing ticks.  The guest's time is the host's plus an offset, and registers are computed when
 * they are read; writing them changes the offset.  The interrupt flags of register C are brought up
 * to date when somebody looks, and while the guest wants an interrupt an alarm is set for the time
 * at which the next flag will come.
 * Source: Motorola MC146818A data sheet; century and memory sizes as PC firmware leaves them.
 */
#include "hw/x86/x86.h"

#include <string.h>
#include <time.h>

#include "core/irq.h"
#include "hw/x86/alarm.h"
#include "migration/vmstate.h"
#include "util/error.h"

#define RTC_PORT    0x70
#define UIP_US      244 /* the update-in-progress bit comes so long before the second's end */
#define DAY_SECONDS 86400

enum {
    RTC_SECONDS = 0,
    RTC_SECONDS_ALARM,
    RTC_MINUTES,
    RTC_MINUTES_ALARM,
    RTC_HOURS,
    RTC_HOURS_ALARM,
    RTC_WEEKDAY,
    RTC_MDAY,
    RTC_MONTH,
    RTC_YEAR,
    RTC_A,
    RTC_B,
    RTC_C,
    RTC_D,
    RTC_CENTURY = 0x32,
    RTC_SIZE = 128,
};

enum { A_UIP = 0x80, A_DIVIDER = 0x70, A_DIVIDER_ON = 0x20, A_RATE = 0x0f, A_DEFAULT = 0x26 };
enum { B_SET = 0x80, B_PIE = 0x40, B_AIE = 0x20, B_UIE = 0x10, B_BINARY = 0x04, B_24H = 0x02 };
enum { C_IRQ = 0x80, C_PERIODIC = 0x40, C_ALARM = 0x20, C_UPDATE = 0x10 };
enum { D_VALID = 0x80, HOUR_PM = 0x80, ALARM_ANY = 0xc0 };

typedef struct MC146818 {
    Device parent;
    MemoryRegion io;
    Alarm *alarm;
    Device *pm; /* NULL: the alarm wakes nobody */
    uint8_t index;
    uint8_t cmos[RTC_SIZE]; /* the time of day in it counts while B_SET stops the clock */
    int64_t offset;         /* microseconds that the guest is ahead of the host */
    int64_t seconds_seen; /* of the guest's: up to here update and alarm flags are in register C */
    int64_t periods_seen;
    bool level;
} MC146818;

typedef struct MC146818Class {
    DeviceClass parent_class;
} MC146818Class;

GType mc146818_get_type(void);
DEFINE_OBJECT_TYPE(MC146818, mc146818, TYPE_MC146818_RTC, TYPE_DEVICE, 0)
#define MC146818(o) G_TYPE_CHECK_INSTANCE_CAST((o), mc146818_get_type(), MC146818)

/* ---- time ---- */

static int64_t guest_us(const MC146818 *s)
{
    return g_get_real_time() + s->offset;
}

static bool clock_runs(const MC146818 *s)
{
    return !(s->cmos[RTC_B] & B_SET) && (s->cmos[RTC_A] & A_DIVIDER) == A_DIVIDER_ON;
}

static uint8_t encode(const MC146818 *s, int value)
{
    return (uint8_t)(s->cmos[RTC_B] & B_BINARY ? value : value / 10 << 4 | value % 10);
}

static int decode(const MC146818 *s, uint8_t value)
{
    return s->cmos[RTC_B] & B_BINARY ? value : (value >> 4) * 10 + (value & 0x0f);
}

static uint8_t encode_hour(const MC146818 *s, int hour)
{
    if (s->cmos[RTC_B] & B_24H) {
        return encode(s, hour);
    }
    return encode(s, hour % 12 ?: 12) | (hour >= 12 ? HOUR_PM : 0);
}

static int decode_hour(const MC146818 *s, uint8_t value)
{
    if (s->cmos[RTC_B] & B_24H) {
        return decode(s, value);
    }
    return decode(s, value & 0x7f) % 12 + (value & HOUR_PM ? 12 : 0);
}

/* Brings the time of day in .cmos up to date. */
static void load_time(MC146818 *s)
{
    time_t now = (time_t)(guest_us(s) / G_USEC_PER_SEC);
    struct tm tm;

    if (!clock_runs(s) || !gmtime_r(&now, &tm)) {
        return;
    }
    s->cmos[RTC_SECONDS] = encode(s, tm.tm_sec);
    s->cmos[RTC_MINUTES] = encode(s, tm.tm_min);
    s->cmos[RTC_HOURS] = encode_hour(s, tm.tm_hour);
    s->cmos[RTC_WEEKDAY] = encode(s, tm.tm_wday + 1);
    s->cmos[RTC_MDAY] = encode(s, tm.tm_mday);
    s->cmos[RTC_MONTH] = encode(s, tm.tm_mon + 1);
    s->cmos[RTC_YEAR] = encode(s, (tm.tm_year + 1900) % 100);
    s->cmos[RTC_CENTURY] = encode(s, (tm.tm_year + 1900) / 100);
}

/* The clock goes on from the time of day in .cmos. */
static void store_time(MC146818 *s)
{
    struct tm tm = {
        .tm_sec = decode(s, s->cmos[RTC_SECONDS]),
        .tm_min = decode(s, s->cmos[RTC_MINUTES]),
        .tm_hour = decode_hour(s, s->cmos[RTC_HOURS]),
        .tm_mday = decode(s, s->cmos[RTC_MDAY]),
        .tm_mon = decode(s, s->cmos[RTC_MONTH]) - 1,
        .tm_year = decode(s, s->cmos[RTC_YEAR]) + decode(s, s->cmos[RTC_CENTURY]) * 100 - 1900,
    };
    int64_t host = g_get_real_time();

    /* The fraction of a second stays: a guest that writes back what it read changes nothing. */
    s->offset = (int64_t)timegm(&tm) * G_USEC_PER_SEC - host + (host + s->offset) % G_USEC_PER_SEC;
    s->seconds_seen = guest_us(s) / G_USEC_PER_SEC;
}

/* ---- interrupts ---- */

/* The periodic interrupt's period in ticks of 32768 Hz; 0: off. */
static int64_t period_ticks(const MC146818 *s)
{
    unsigned rate = s->cmos[RTC_A] & A_RATE;

    if (!rate || (s->cmos[RTC_A] & A_DIVIDER) != A_DIVIDER_ON) {
        return 0;
    }
    return 1 << ((rate <= 2 ? rate + 7 : rate) - 1);
}

/* How many periods end in @us. */
static int64_t periods_until(int64_t us, int64_t ticks)
{
    return us / G_USEC_PER_SEC * 32768 / ticks +
           us % G_USEC_PER_SEC * 32768 / G_USEC_PER_SEC / ticks;
}

/* Whether the alarm's byte at @index goes for any value, or for this one. */
static bool alarm_takes(const MC146818 *s, uint8_t index, int value)
{
    uint8_t byte = s->cmos[index];

    return byte >= ALARM_ANY ||
           (index == RTC_HOURS_ALARM ? decode_hour(s, byte) : decode(s, byte)) == value;
}

/* Whether any value up to @max is one that the alarm's byte goes for. */
static bool alarm_possible(const MC146818 *s, uint8_t index, int max)
{
    uint8_t byte = s->cmos[index];

    return byte >= ALARM_ANY ||
           (index == RTC_HOURS_ALARM ? decode_hour(s, byte) : decode(s, byte)) <= max;
}

/* The first second after @after at which the alarm goes off; past a day when it never does. */
static int64_t next_match(const MC146818 *s, int64_t after)
{
    int64_t second = after + 1;

    if (!alarm_possible(s, RTC_HOURS_ALARM, 23) || !alarm_possible(s, RTC_MINUTES_ALARM, 59) ||
        !alarm_possible(s, RTC_SECONDS_ALARM, 59)) {
        return after + DAY_SECONDS + 1;
    }
    while (second <= after + DAY_SECONDS) {
        int of_day = (int)(second % DAY_SECONDS), step;

        if (!alarm_takes(s, RTC_HOURS_ALARM, of_day / 3600)) {
            step = 3600;
        } else if (!alarm_takes(s, RTC_MINUTES_ALARM, of_day / 60 % 60)) {
            step = 60;
        } else if (!alarm_takes(s, RTC_SECONDS_ALARM, of_day % 60)) {
            step = 1;
        } else {
            break;
        }
        second += step - second % step;
    }
    return second;
}

/* Puts into register C what has happened since the last time. */
static void update_flags(MC146818 *s)
{
    int64_t us = guest_us(s), second = us / G_USEC_PER_SEC, ticks = period_ticks(s);

    if (clock_runs(s) && second != s->seconds_seen) {
        s->cmos[RTC_C] |= C_UPDATE;
        if (second > s->seconds_seen && next_match(s, s->seconds_seen) <= second) {
            s->cmos[RTC_C] |= C_ALARM;
        }
    }
    s->seconds_seen = second;
    if (ticks) {
        int64_t periods = periods_until(us, ticks);

        s->cmos[RTC_C] |= periods != s->periods_seen ? C_PERIODIC : 0;
        s->periods_seen = periods;
    }
}

/* The time, of the guest's, at which a flag comes that would interrupt and is not there yet. */
static int64_t next_flag(const MC146818 *s)
{
    uint8_t missing = s->cmos[RTC_B] & ~s->cmos[RTC_C];
    int64_t next = INT64_MAX, ticks = period_ticks(s);

    if (clock_runs(s) && missing & B_UIE) {
        next = (s->seconds_seen + 1) * G_USEC_PER_SEC;
    } else if (clock_runs(s) && missing & B_AIE) {
        next = next_match(s, s->seconds_seen) * G_USEC_PER_SEC;
    }
    if (ticks && missing & B_PIE) {
        int64_t us = guest_us(s), into = us % G_USEC_PER_SEC * 32768 / G_USEC_PER_SEC;

        into = (into / ticks + 1) * ticks;
        next = MIN(next, us - us % G_USEC_PER_SEC + (into * G_USEC_PER_SEC + 32767) / 32768);
    }
    return next;
}

static void update_irq(MC146818 *s)
{
    bool level = s->cmos[RTC_B] & s->cmos[RTC_C] & (C_PERIODIC | C_ALARM | C_UPDATE);
    int64_t next = next_flag(s);

    s->cmos[RTC_C] = (uint8_t)((s->cmos[RTC_C] & ~C_IRQ) | (level ? C_IRQ : 0));
    alarm_set(s->alarm,
              next == INT64_MAX ? ALARM_OFF : g_get_monotonic_time() + MAX(next - guest_us(s), 0));
    if (level != s->level) {
        s->level = level;
        irq_set_line(X86_GSI_RTC, level);
    }
}

static void rtc_alarm(void *opaque)
{
    MC146818 *s = opaque;

    update_flags(s);
    update_irq(s);
    if (s->pm && s->cmos[RTC_B] & s->cmos[RTC_C] & C_ALARM) {
        x86_pm_rtc_alarm(s->pm);
    }
}

/* ---- registers ---- */

static bool is_time(uint8_t index)
{
    return index == RTC_CENTURY || (index <= RTC_YEAR && index != RTC_SECONDS_ALARM &&
                                    index != RTC_MINUTES_ALARM && index != RTC_HOURS_ALARM);
}

static uint8_t read_register(MC146818 *s, uint8_t index)
{
    uint8_t value;

    if (is_time(index)) {
        load_time(s);
    }
    value = s->cmos[index];
    if (index == RTC_A && clock_runs(s) &&
        guest_us(s) % G_USEC_PER_SEC >= G_USEC_PER_SEC - UIP_US) {
        value |= A_UIP;
    } else if (index == RTC_C) {
        update_flags(s);
        update_irq(s);
        value = s->cmos[RTC_C];
        s->cmos[RTC_C] = 0;
        update_irq(s);
    }
    return value;
}

/* Stopping the clock leaves its time in .cmos; setting it going takes the time from there. */
static void write_control(MC146818 *s, uint8_t index, uint8_t value)
{
    bool ran = clock_runs(s);
    uint8_t old = s->cmos[index];

    load_time(s);
    update_flags(s);
    s->cmos[index] = value;
    if (!ran && clock_runs(s)) {
        store_time(s);
    } else if (ran && clock_runs(s) && old != value) {
        load_time(s); /* perhaps in another form */
    }
}

static void write_register(MC146818 *s, uint8_t index, uint8_t value)
{
    switch (index) {
    case RTC_A:
        write_control(s, index, value & (uint8_t)~A_UIP);
        break;
    case RTC_B:
        write_control(s, index, value & B_SET ? value & (uint8_t)~B_UIE : value);
        break;
    case RTC_C:
    case RTC_D:
        return;
    default:
        if (is_time(index)) {
            load_time(s);
        } else {
            update_flags(s); /* by the old alarm */
        }
        s->cmos[index] = value;
        if (is_time(index) && clock_runs(s)) {
            store_time(s);
        }
        break;
    }
    update_irq(s);
}

static uint64_t rtc_read(void *opaque, uint64_t addr, unsigned size)
{
    MC146818 *s = opaque;

    return addr ? read_register(s, s->index) : 0xff; /* the index is write only */
}

static void rtc_write(void *opaque, uint64_t addr, uint64_t data, unsigned size)
{
    MC146818 *s = opaque;

    if (addr) {
        write_register(s, s->index, (uint8_t)data);
    } else {
        s->index = data & (RTC_SIZE - 1); /* bit 7 is the NMI's mask, which nothing here sends */
    }
}

static const MemoryRegionOps rtc_ops = { rtc_read, rtc_write, .max_size = 1 };

/* ---- migration ---- */

/* The guest's time is the host's plus an offset there as here: hosts' clocks agree. */
static bool rtc_post_load(void *opaque, GError **errp)
{
    const int64_t farthest =
        INT64_C(20000) * 366 * DAY_SECONDS; /* no register says so many years */
    MC146818 *s = opaque;

    if (s->offset / G_USEC_PER_SEC < -farthest || s->offset / G_USEC_PER_SEC > farthest ||
        s->seconds_seen < -farthest || s->seconds_seen > farthest) {
        return error_set(errp,
                         "no clock is %" G_GINT64_FORMAT " us ahead, at second %" G_GINT64_FORMAT,
                         s->offset, s->seconds_seen);
    }
    s->cmos[RTC_A] &= (uint8_t)~A_UIP;
    s->cmos[RTC_D] = D_VALID;
    update_irq(s);
    irq_set_line(X86_GSI_RTC, s->level);
    return true;
}

static const VMStateField rtc_fields[] = {
    VMSTATE_UINT_MAX(MC146818, index, RTC_SIZE - 1),
    VMSTATE_BYTES(MC146818, cmos),
    VMSTATE_UINT(MC146818, offset),
    VMSTATE_UINT(MC146818, seconds_seen),
    VMSTATE_UINT(MC146818, periods_seen),
    VMSTATE_END,
};

static const VMState rtc_vmstate = {
    .name = TYPE_MC146818_RTC,
    .version = 1,
    .priority = VMS_PRIORITY_DEVICE,
    .fields = rtc_fields,
    .post_load = rtc_post_load,
};

/* ---- the device ---- */

void rtc_set_memory(Device *rtc, uint64_t below_4g, uint64_t above_4g)
{
    MC146818 *s = MC146818(rtc);
    const struct {
        uint8_t index, bytes;
        uint64_t value;
    } sizes[] = {
        { 0x15, 2, 640 },
        { 0x17, 2, MIN((below_4g - X86_1M) >> 10, 0xffff) },
        { 0x30, 2, MIN((below_4g - X86_1M) >> 10, 0xffff) },
        { 0x34, 2, below_4g > 16 * X86_1M ? MIN((below_4g - 16 * X86_1M) >> 16, 0xffff) : 0 },
        { 0x5b, 3, MIN(above_4g >> 16, 0xffffff) },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
        for (unsigned b = 0; b < sizes[i].bytes; b++) {
            s->cmos[sizes[i].index + b] = (uint8_t)(sizes[i].value >> 8 * b);
        }
    }
}

void rtc_set_pm(Device *rtc, Device *pm)
{
    MC146818(rtc)->pm = pm;
}

/* A battery keeps clock and memory; reset only takes the interrupts away. */
static void mc146818_reset(Device *dev)
{
    MC146818 *s = MC146818(dev);

    s->cmos[RTC_B] &= (uint8_t) ~(B_PIE | B_AIE | B_UIE);
    s->cmos[RTC_C] = 0;
    s->index = 0;
    update_irq(s);
}

static bool mc146818_realize(Device *dev, GError **errp)
{
    MC146818 *s = MC146818(dev);

    s->cmos[RTC_A] = A_DEFAULT;
    s->cmos[RTC_B] = B_24H;
    s->cmos[RTC_D] = D_VALID;
    s->seconds_seen = guest_us(s) / G_USEC_PER_SEC;
    s->alarm = alarm_new(rtc_alarm, s);
    mc146818_reset(dev);
    memory_region_init_io(&s->io, G_OBJECT(dev), &rtc_ops, s, "rtc", 2);
    memory_region_add_child(address_space_io.root, RTC_PORT, &s->io, 0);
    vmstate_register("rtc", 0, &rtc_vmstate, s);
    return true;
}

static void mc146818_unrealize(Device *dev)
{
    MC146818 *s = MC146818(dev);

    vmstate_unregister(&rtc_vmstate, s);
    memory_region_del_child(address_space_io.root, &s->io);
    memory_region_fini(&s->io);
    alarm_free(s->alarm);
}

static void mc146818_init(MC146818 *self)
{
}

static void mc146818_class_init(MC146818Class *klass)
{
    DeviceClass *dc = DEVICE_CLASS(klass);

    dc->desc = "Real-time clock (MC146818)";
    dc->bus_type = "ISA";
    dc->realize = mc146818_realize;
    dc->unrealize = mc146818_unrealize;
    dc->reset = mc146818_reset;
}
