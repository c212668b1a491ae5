/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A client of a monitor of its own, at the other end of a socket pair; main loop by hand. */
#ifndef VIADUCT_TESTS_UNIT_QMP_CLIENT_H
#define VIADUCT_TESTS_UNIT_QMP_CLIENT_H

#include "backends/chardev.h"
#include "monitor/monitor.h"

typedef struct QMPClient {
    int fd;
    GString *in;  /* what has come and was not read yet */
    Chardev *chr; /* the monitor's, where the test has made it */
} QMPClient;

/* Its greeting is on the way. */
void qmp_client_init(QMPClient *c);
void qmp_client_clear(QMPClient *c);
/* Takes in what has come; false at the end of the stream. */
bool qmp_client_fill(QMPClient *c);
/* The next line, parsed; NULL if none comes. */
JsonObject *qmp_client_receive(QMPClient *c);
/* Whatever the main loop has to do now. */
void spin(void);

#endif
