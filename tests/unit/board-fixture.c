/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "board-fixture.h"

#include "core/accel.h"
#include "core/irq.h"
#include "core/lock.h"
#include "core/memory.h"

bool lines[24];

static void set_line(int gsi, bool level)
{
    lines[gsi] = level;
}

static void nothing(void)
{
}

void board_begin(void (*pause)(void))
{
    static const IRQChipOps chip = { .set_line = set_line };
    static AccelOps ops = { "none", nothing, nothing };

    if (pause) {
        ops.pause_vcpus = pause;
    }
    memory_init();
    machine_lock();
    irqchip_register(&chip);
    accel_register(&ops);
}

Device *board_plug(Device *dev)
{
    g_autoptr(GError) err = NULL;

    device_realize_at(dev, "/machine/unattached", NULL, &err);
    g_assert_no_error(err);
    g_object_unref(dev);
    return dev;
}

static uint32_t in(uint16_t port, unsigned len)
{
    uint32_t value = 0;

    address_space_rw(&address_space_io, port, &value, len, false);
    return value;
}

void outb(uint16_t port, uint8_t value)
{
    address_space_rw(&address_space_io, port, &value, 1, true);
}

void outw(uint16_t port, uint16_t value)
{
    address_space_rw(&address_space_io, port, &value, 2, true);
}

uint8_t inb(uint16_t port)
{
    return (uint8_t)in(port, 1);
}

uint16_t inw(uint16_t port)
{
    return (uint16_t)in(port, 2);
}

uint32_t inl(uint16_t port)
{
    return in(port, 4);
}

uint8_t rtc_get(uint8_t index)
{
    outb(0x70, index);
    return inb(0x71);
}

void rtc_put(uint8_t index, uint8_t value)
{
    outb(0x70, index);
    outb(0x71, value);
}

bool wait_for_line(int gsi)
{
    gint64 end = g_get_monotonic_time() + 3 * G_USEC_PER_SEC;

    while (!lines[gsi] && g_get_monotonic_time() < end) {
        g_main_context_iteration(NULL, FALSE);
        g_usleep(200);
    }
    return lines[gsi];
}
