/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What chardev.c and its backends share. */
#ifndef VIADUCT_BACKENDS_CHARDEV_PRIVATE_H
#define VIADUCT_BACKENDS_CHARDEV_PRIVATE_H

#include "backends/chardev.h"

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
};

#define CHARDEV_OPTIONS(...) ((const char *const[]) { "backend", "id", ##__VA_ARGS__, NULL })

extern const ChardevBackend chardev_socket, chardev_file, chardev_stdio, chardev_null, chardev_pty;

/* Either descriptor may be -1. */
void chardev_connected(Chardev *chr, int in_fd, int out_fd);

#endif
