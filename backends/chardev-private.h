/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What chardev.c and its backends share. */
#ifndef VIADUCT_BACKENDS_CHARDEV_PRIVATE_H
#define VIADUCT_BACKENDS_CHARDEV_PRIVATE_H

#include "backends/chardev.h"

/*
 * x-cpr=on (chardev-cpr.c).  Descriptors that are taken are the backend's, also if that fails;
 * until start() the old process may still want them back.
 */
typedef struct ChardevKeeper {
    /* Old: what waits for clients, borrowed; -1: the chardev is a client itself. */
    int (*listener)(Chardev *chr);
    /* Old: accepts nobody until start(). */
    void (*pause)(Chardev *chr);
    /* New, instead of open(); @listener as above. */
    bool (*take)(Chardev *chr, JsonObject *opts, int listener, GError **errp);
    /* New: the peer that is there already. */
    bool (*take_peer)(Chardev *chr, int fd, GError **errp);
    /* Either: without a peer, waits for one. */
    void (*start)(Chardev *chr);
    /* Either: another process has it; closes, and removes nothing. */
    void (*leave)(Chardev *chr);
} ChardevKeeper;

typedef struct ChardevBackend {
    const char *name;           /* as in -chardev NAME */
    const char *const *options; /* its keys, NULL-ended */
    bool (*open)(Chardev *chr, JsonObject *opts, GError **errp);
    /* Frees what open() made, also after a failed one; the queue has been flushed. */
    void (*close)(Chardev *chr);
    /* read(2) of in_fd with what else comes with the bytes; NULL: just that. */
    ssize_t (*read)(Chardev *chr, void *buf, size_t len);
    /*
     * The peer has left: closes its descriptors and perhaps waits for the next one.  NULL for a
     * backend whose input may end while its output goes on.
     */
    void (*peer_gone)(Chardev *chr);
    char *(*filename)(Chardev *chr); /* NULL: the name */
    const ChardevKeeper *keeper;     /* NULL: x-cpr=on is refused */
} ChardevBackend;

struct Chardev {
    const ChardevBackend *backend;
    char *id;
    char *alias; /* "serial0", when -serial named a chardev that existed */
    void *state; /* the backend's */
    /*
     * The peer's descriptors, non-blocking and owned by the backend, -1: none.  A chardev that is
     * connected may lack either.
     */
    bool connected;
    int in_fd, out_fd;
    GSource *in, *out; /* NULL while not waited for */
    GByteArray *queue; /* what out_fd has not taken yet */
    size_t queue_limit;
    const ChardevFrontend *fe;
    void *opaque;
    /* x-cpr=on */
    bool kept;
    bool frozen; /* two processes have it, or another: output is queued, nothing is read */
    int taken;   /* the peer's descriptor, borrowed, that is used from finish on; -1: none */
    bool loaded; /* the front end knows that peer already */
};

#define CHARDEV_OPTIONS(...) \
    ((const char *const[]) { "backend", "id", "x-cpr", ##__VA_ARGS__, NULL })

extern const ChardevBackend chardev_socket, chardev_file, chardev_stdio, chardev_null, chardev_pty;

/* Either descriptor may be -1. */
void chardev_connected(Chardev *chr, int in_fd, int out_fd);
void chardev_send_event(Chardev *chr, ChardevEvent event);
/* Neither reads nor writes until chardev_resume(). */
void chardev_pause(Chardev *chr);
void chardev_resume(Chardev *chr);
/* Writes what it can of the queue; false when the peer will take no more, ever. */
bool chardev_write_queue(Chardev *chr);

/* ---- chardev-cpr.c ---- */

/* Whether one of that id can be made with x-cpr=@keep. */
bool chardev_check_kept(const ChardevBackend *backend, const char *id, bool keep, GError **errp);
/* Instead of the backend's open(): what the old process has of that id, or else a new one. */
bool chardev_open_kept(Chardev *chr, JsonObject *opts, GError **errp);
/* No-op if it is none. */
void chardev_close_kept(Chardev *chr);

#endif
