/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A machine without anything, into which tests put the board's devices and play the guest. */
#ifndef VIADUCT_TESTS_UNIT_BOARD_FIXTURE_H
#define VIADUCT_TESTS_UNIT_BOARD_FIXTURE_H

#include "core/device.h"

extern bool lines[24]; /* of the interrupt controller */

/* Once, after g_test_init(); @pause is called where vCPUs would be stopped, NULL: nothing. */
void board_begin(void (*pause)(void));
/* The device of that type; its user is the machine. */
Device *board_plug(Device *dev);

void outb(uint16_t port, uint8_t value);
void outw(uint16_t port, uint16_t value);
uint8_t inb(uint16_t port);
uint16_t inw(uint16_t port);
uint32_t inl(uint16_t port);
uint8_t rtc_get(uint8_t index);
void rtc_put(uint8_t index, uint8_t value);
/* In the main loop, for at most 3 s. */
bool wait_for_line(int gsi);

#endif
