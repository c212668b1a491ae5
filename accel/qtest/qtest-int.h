/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of qtest show to each other.  Machine lock held. */
#ifndef VIADUCT_ACCEL_QTEST_INT_H
#define VIADUCT_ACCEL_QTEST_INT_H

#include <stdbool.h>

#include "accel/qtest.h"

#define QTEST_LINES 24

/* ---- irq.c ---- */

void qtest_irq_init(void);
/* Whether the interrupt controller is this one. */
bool qtest_irq_present(void);
/*
 * The test sets an input of the interrupt controller.  A low one is also the end of the interrupt
 * that a bound descriptor raised there: its resample descriptor is signalled.
 */
void qtest_irq_set(int line, bool level);

/* ---- server.c ---- */

/* A line has changed: tells the test, if it wants to know. */
void qtest_server_irq(int line, bool level);

#endif
