/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Character devices: where a serial port's or a monitor's bytes come from and go to.
 * -chardev socket|file|stdio|null|pty, and the short forms of -serial, -qmp and -mon.
 * One front end a chardev.  Main thread; chardev_write() and chardev_accept_input() may be called
 * by any thread that holds the machine lock.
 */
#ifndef VIADUCT_BACKENDS_CHARDEV_H
#define VIADUCT_BACKENDS_CHARDEV_H

#include <gio/gio.h>
#include <json-glib/json-glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct Chardev Chardev;

typedef enum {
    CHARDEV_OPENED,
    CHARDEV_CLOSED,
    CHARDEV_HANDED_OVER, /* by a live update: another process has it, with its peer, for good */
} ChardevEvent;

typedef struct ChardevFrontend {
    /* How many bytes read() would take now; 0 stops reading until chardev_accept_input(). */
    size_t (*can_read)(void *opaque);
    void (*read)(void *opaque, const uint8_t *buf, size_t len);
    /*
     * Descriptors that a peer sent with the bytes that read() gets next; they become the front
     * end's.  NULL: nobody wants any, and the kernel drops them.
     */
    void (*take_fds)(void *opaque, const int *fds, size_t n);
    void (*event)(void *opaque, ChardevEvent event); /* NULL: not interested */
    /*
     * x-cpr=on, for a chardev whose peer goes to another process: appends what the front end knows
     * of the peer (NULL: nothing), and there takes it, instead of CHARDEV_OPENED.  A front end
     * without load() cannot be kept.
     */
    void (*save)(void *opaque, GByteArray *state);
    bool (*load)(void *opaque, const uint8_t *state, size_t len, GError **errp);
} ChardevFrontend;

/*
 * @opts: "backend", "id", "x-cpr" and the backend's own options (QEMU's names).  x-cpr=on: in a
 * live update (migration/cpr.h) the chardev of this id goes to the new process as it is, with its
 * peer; of sockets only.
 */
Chardev *chardev_new(JsonObject *opts, GError **errp);
/*
 * "stdio", "null", "pty", "file:PATH", "unix:PATH[,server=on][,wait=off]", "tcp:HOST:PORT[,…]",
 * "chardev:ID".  @id names the new one; one that exists is found under @id too.
 */
Chardev *chardev_new_from_spec(const char *spec, const char *id, GError **errp);
Chardev *chardev_find(const char *id);
void chardev_foreach(void (*fn)(const char *id, Chardev *chr, void *opaque), void *opaque);
const char *chardev_id(Chardev *chr);
/* QEMU's "filename" in query-chardev: "pty:/dev/pts/3", "disconnected:unix:/x,server=on". */
char *chardev_filename(Chardev *chr);
bool chardev_frontend_open(Chardev *chr);
/* The names of the backends, NULL-ended: `-chardev help`. */
const char *const *chardev_backend_names(void);
/* stdio is refused from now on, for this reason. */
void chardev_refuse_stdio(const char *reason);

/*
 * Attaches the only front end, which learns at once whether a peer is there.  With x-cpr=on it must
 * be one that can be kept.
 */
bool chardev_attach(Chardev *chr, const ChardevFrontend *fe, void *opaque, GError **errp);
void chardev_detach(Chardev *chr);
/*
 * Queues what cannot be written at once.  While the queue is longer than its limit (64 KiB unless
 * told), bytes are dropped; with no peer connected they are dropped too.  A queue that has become
 * empty asks the front end's can_read() again.
 */
void chardev_write(Chardev *chr, const void *buf, size_t len);
size_t chardev_queued(Chardev *chr);
void chardev_set_queue_limit(Chardev *chr, size_t bytes);
void chardev_accept_input(Chardev *chr);
/* Flushes, closes, removes sockets' files and restores the terminal. */
void chardev_cleanup_all(void);

#endif
