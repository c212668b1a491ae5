/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Character devices: where a serial port's or a monitor's bytes come from and go to.
 * -chardev socket|file|stdio|null|pty, and the short forms of -serial, -qmp and -mon.
 * One front end a chardev.  Main thread, or the machine lock held (chardev_write only).
 */
#ifndef VIADUCT_BACKENDS_CHARDEV_H
#define VIADUCT_BACKENDS_CHARDEV_H

#include <gio/gio.h>
#include <json-glib/json-glib.h>
#include <stdbool.h>

typedef struct Chardev Chardev;

typedef enum { CHARDEV_OPENED, CHARDEV_CLOSED } ChardevEvent;

typedef struct ChardevFrontend {
    /* How many bytes read() would take now; 0 stops reading until chardev_accept_input(). */
    size_t (*can_read)(void *opaque);
    void (*read)(void *opaque, const uint8_t *buf, size_t len);
    void (*event)(void *opaque, ChardevEvent event); /* NULL: not interested */
} ChardevFrontend;

/* @opts: "backend", "id" and the backend's own options (QEMU's names). */
Chardev *chardev_new(JsonObject *opts, GError **errp);
/*
 * "stdio", "null", "pty", "file:PATH", "unix:PATH[,server=on][,wait=off]", "tcp:HOST:PORT[,…]",
 * "chardev:ID".  @id names the new one.
 */
Chardev *chardev_new_from_spec(const char *spec, const char *id, GError **errp);
Chardev *chardev_find(const char *id);
void chardev_foreach(void (*fn)(const char *id, Chardev *chr, void *opaque), void *opaque);
const char *chardev_id(Chardev *chr);
/* QEMU's "filename" in query-chardev: "pty:/dev/pts/3", "disconnected:unix:/x,server=on". */
char *chardev_filename(Chardev *chr);
bool chardev_frontend_open(Chardev *chr);

/* Attaches the only front end; false if there is one already. */
bool chardev_attach(Chardev *chr, const ChardevFrontend *fe, void *opaque, GError **errp);
void chardev_detach(Chardev *chr);
/* Queues what cannot be written at once, up to a bound; beyond it, bytes are dropped.  With no
 * peer connected they are dropped too. */
void chardev_write(Chardev *chr, const void *buf, size_t len);
void chardev_accept_input(Chardev *chr);
/* Flushes, closes, removes sockets' files and restores the terminal. */
void chardev_cleanup_all(void);

#endif
