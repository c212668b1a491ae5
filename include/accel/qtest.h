/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qtest: a test plays the guest.  The accelerator (-accel qtest) has vCPUs that never run and an
 * interrupt controller that keeps a record; the server (-qtest) takes a test's accesses, one line
 * each, and answers each with a line.
 * Source: QEMU docs/devel/testing/qtest.rst, "QTest Protocol".
 */
#ifndef VIADUCT_ACCEL_QTEST_H
#define VIADUCT_ACCEL_QTEST_H

#include "backends/chardev.h"

/*
 * Serves the protocol on @chr, with whichever accelerator.  What is said goes to the file @log as
 * well, to stderr for NULL, nowhere for "none".  Main thread.
 */
bool qtest_server_init(Chardev *chr, const char *log, GError **errp);
/* No-op if there is no server. */
void qtest_server_cleanup(void);

#endif
