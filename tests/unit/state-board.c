/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The board's devices: saved from one, loaded into another that goes on as the first would have. */
#include <string.h>

#include "backends/chardev.h"
#include "board-fixture.h"
#include "core/runstate.h"
#include "hw/char/serial.h"
#include "hw/x86/x86.h"
#include "vmstate-edit.h"

#define PORT 0x3f8

static Device *plug(const char *type)
{
    return board_plug(strcmp(type, TYPE_ISA_SERIAL) ? g_object_new(g_type_from_name(type), NULL)
                                                    : serial_isa_new(0, "serial0"));
}

/* The same device in another process, where nothing has happened yet. */
static Device *replace(Device *dev)
{
    g_autofree char *type = g_strdup(G_OBJECT_TYPE_NAME(dev));

    device_destroy(dev);
    memset(lines, 0, sizeof(lines));
    return plug(type);
}

static void test_serial(void)
{
    g_autoptr(GError) err = NULL;
    g_autoptr(GByteArray) stream = NULL;
    Device *dev;

    g_assert_nonnull(chardev_new_from_spec("null", "serial0", &err));
    dev = plug(TYPE_ISA_SERIAL);
    outb(PORT + 3, 0x83);
    outb(PORT, 0x55);
    outb(PORT + 1, 0x11);
    outb(PORT + 3, 0x03);
    outb(PORT + 7, 0x77);
    outb(PORT + 4, 0x1a); /* loopback */
    outb(PORT + 2, 0x81);
    outb(PORT + 1, 0x03);
    for (int i = 0; i < 12; i++) {
        outb(PORT, (uint8_t)('a' + i));
    }
    for (int i = 0; i < 3; i++) {
        g_assert_cmphex(inb(PORT), ==, 'a' + i);
    }
    for (int i = 0; i < 6; i++) { /* around the end of the array */
        outb(PORT, (uint8_t)('m' + i));
    }
    stream = stream_save();

    dev = replace(dev);
    g_assert_false(lines[4]);
    stream_load(stream);
    g_assert_true(lines[4]);
    g_assert_cmphex(inb(PORT + 2), ==, 0xc4);
    g_assert_cmphex(inb(PORT + 7), ==, 0x77);
    for (int i = 0; i < 15; i++) {
        g_assert_cmphex(inb(PORT + 5), ==, 0x61);
        g_assert_cmphex(inb(PORT), ==, 'd' + i);
    }
    g_assert_true(lines[4]); /* the transmitter's, which nobody has looked at */
    g_assert_cmphex(inb(PORT + 2), ==, 0xc2);
    g_assert_false(lines[4]);
    outb(PORT + 3, 0x83);
    g_assert_cmphex(inb(PORT), ==, 0x55);
    g_assert_cmphex(inb(PORT + 1), ==, 0x11);

    /* Indices and lengths that are none. */
    stream_set(stream, "serial", 0, "head", 16);
    stream_refused(stream, "field 'head': 16 is more than 15");
    stream_set(stream, "serial", 0, "head", 15);
    stream_set(stream, "serial", 0, "depth", 2);
    stream_refused(stream, "no FIFO of depth 2 holds 15 bytes with trigger level 8");
    stream_set(stream, "serial", 0, "depth", 1);
    stream_refused(stream, "no FIFO of depth 1 holds 15 bytes");
    stream_set(stream, "serial", 0, "depth", 16);
    stream_set(stream, "serial", 0, "trigger", 0);
    stream_refused(stream, "trigger level 0");
    device_destroy(dev);
    chardev_cleanup_all();
}

static void test_rtc(void)
{
    g_autoptr(GByteArray) stream = NULL;
    Device *rtc = plug(TYPE_MC146818_RTC);
    size_t len;

    rtc_put(11, 0x82); /* stop, set, go */
    rtc_put(0, 0x10);
    rtc_put(2, 0x20);
    rtc_put(4, 0x03);
    rtc_put(7, 0x28);
    rtc_put(8, 0x02);
    rtc_put(9, 0x31);
    rtc_put(11, 0x02);
    rtc_put(0x40, 0xa5);
    rtc_put(11, 0x12); /* tell each second */
    outb(0x70, 0x40);
    stream = stream_save();

    rtc = replace(rtc);
    stream_load(stream);
    g_assert_cmphex(inb(0x71), ==, 0xa5);
    g_assert_cmphex(rtc_get(9) << 8 | rtc_get(7), ==, 0x3128);
    g_assert_cmphex(rtc_get(4) << 8 | rtc_get(2), ==, 0x0320);
    g_assert_true(wait_for_line(X86_GSI_RTC));
    g_assert_cmphex(rtc_get(0), <=, 0x15);

    /* With the interrupt pending. */
    g_byte_array_unref(stream);
    stream = stream_save();
    rtc = replace(rtc);
    stream_load(stream);
    g_assert_true(lines[X86_GSI_RTC]);
    g_assert_cmphex(rtc_get(12) & 0x90, ==, 0x90);
    g_assert_false(lines[X86_GSI_RTC]);

    /* Any memory there can be, and times beyond all measure. */
    memset(stream_field(stream, "rtc", 0, "cmos", &len), 0xff, 128);
    stream_seal(stream);
    stream_load(stream);
    for (int i = 0; i < 128; i++) {
        rtc_get((uint8_t)i);
    }
    stream_set(stream, "rtc", 0, "offset", INT64_MAX);
    stream_refused(stream, "no clock is ");
    stream_set(stream, "rtc", 0, "offset", (uint64_t)INT64_MIN);
    stream_refused(stream, "no clock is ");
    stream_set(stream, "rtc", 0, "offset", 0);
    stream_set(stream, "rtc", 0, "seconds_seen", INT64_MAX);
    stream_refused(stream, "no clock is ");
    stream_set(stream, "rtc", 0, "index", 128);
    stream_refused(stream, "field 'index': 128 is more than 127");
    device_destroy(rtc);
}

static void test_pm(void)
{
    g_autoptr(GByteArray) stream = NULL;
    Device *pm = plug(TYPE_X86_PM);
    uint32_t before;
    size_t len;

    vm_start();
    outb(0x603, 0x01); /* the power button interrupts */
    g_usleep(20000);
    system_powerdown_request();
    vm_stop(RUN_STATE_PAUSED);
    before = inl(0x608);
    stream = stream_save();

    pm = replace(pm);
    g_assert_cmpuint(inl(0x608), <, 1000);
    stream_load(stream);
    g_assert_cmpuint(inl(0x608) - before, <=, 4); /* a microsecond's worth */
    g_usleep(2000);
    g_assert_cmpuint(inl(0x608) - before, <=, 4);
    g_assert_cmphex(inw(0x602), ==, 0x0100);
    g_assert_false(lines[X86_GSI_SCI]);
    vm_start();
    g_usleep(2000);
    g_assert_cmpuint(inl(0x608) - before, >=, 3579);
    vm_stop(RUN_STATE_PAUSED);

    stream_set(stream, "pm", 0, "sts", 0xffff); /* the button is pressed, and more than there is */
    pm = replace(pm);
    stream_load(stream);
    g_assert_true(lines[X86_GSI_SCI]);
    g_assert_cmphex(inw(0x600), ==, 0x8521);

    stream_set(stream, "pm", 0, "overflows", 1);
    stream_refused(stream, "cannot have overflown 1 times");
    memset(stream_field(stream, "pm", 0, "elapsed", &len), 0xff, 8);
    stream_seal(stream);
    stream_refused(stream, "field 'elapsed'");
    device_destroy(pm);
}

static void test_reset_control(void)
{
    g_autoptr(GByteArray) stream = NULL;
    Device *dev = plug(TYPE_RESET_CONTROL);

    outb(0x92, 0);
    outb(X86_PORT_RESET, 0x0a);
    stream = stream_save();
    dev = replace(dev);
    g_assert_cmphex(inb(0x92), ==, 2);
    stream_load(stream);
    g_assert_cmphex(inb(0x92), ==, 0);
    g_assert_cmphex(inb(X86_PORT_RESET), ==, 0x0a);
    stream_set(stream, "reset-control", 0, "rcr", 0xff);
    stream_load(stream);
    g_assert_cmphex(inb(X86_PORT_RESET), ==, 0x0a);
    device_destroy(dev);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    board_begin(NULL);
    g_test_add_func("/state/serial", test_serial);
    g_test_add_func("/state/rtc", test_rtc);
    g_test_add_func("/state/pm", test_pm);
    g_test_add_func("/state/reset-control", test_reset_control);
    return g_test_run();
}
