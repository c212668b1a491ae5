/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * x-cpr=on: a chardev that a live update takes along.  What waits for clients goes with the
 * objects; the peer, what it has not been sent yet and what the front end knows of it go when the
 * VM stands still, for only then nothing changes any more.
 *
 * From then on neither process reads or writes: what the old one has to say is queued, and said if
 * it keeps the VM.  Both hold the same sockets, so whoever loses them only closes.
 */
#include <string.h>

#include "backends/chardev-private.h"
#include "migration/cpr.h"
#include "util/error.h"
#include "util/hostcalls.h"
#include "util/trace.h"

#define ID_MAX    200        /* an entry's name has a length of one byte */
#define CARRY_MAX (4u << 20) /* bytes, of each kind: a live update's message has 64 MiB for all */

/* The numbers of a chardev's entries; the first has nothing in it. */
enum { KEPT, LISTENER, PEER, QUEUE, STATE };

static char *cpr_name(const Chardev *chr)
{
    return g_strdup_printf("chardev/%s", chr->id);
}

/* ---- the old process ---- */

static void cpr_save(void *opaque)
{
    Chardev *chr = opaque;
    g_autofree char *name = cpr_name(chr);
    int listener = chr->backend->keeper->listener(chr);

    cpr_save_data(name, KEPT, "", 0);
    if (listener >= 0) {
        cpr_save_fd(name, LISTENER, listener);
    }
}

static bool save_frontend(Chardev *chr, const char *name, GError **errp)
{
    g_autoptr(GByteArray) state = g_byte_array_new();

    if (!chr->fe) {
        return true;
    }
    if (chr->fe->save) {
        chr->fe->save(chr->opaque, state);
    }
    cpr_save_data(name, STATE, state->data, state->len);
    return state->len <= CARRY_MAX ||
           error_set(errp,
                     "chardev '%s': its client is in the middle of a request of %u bytes, more "
                     "than a live update takes along",
                     chr->id, state->len);
}

static bool cpr_stop(void *opaque, GError **errp)
{
    Chardev *chr = opaque;
    g_autofree char *name = cpr_name(chr);

    chardev_pause(chr);
    chr->backend->keeper->pause(chr);
    if (!chr->connected) {
        return true;
    }
    if (chr->queue->len && !chardev_write_queue(chr)) {
        g_byte_array_set_size(chr->queue, 0); /* whoever reads next sees that the peer has gone */
    }
    TRACE("chardev_cpr_stop", "%s: %u bytes left", chr->id, chr->queue->len);
    if (chr->queue->len > CARRY_MAX) {
        return error_set(errp,
                         "chardev '%s': its client has left %u bytes unread, more than a live "
                         "update takes along",
                         chr->id, chr->queue->len);
    }
    cpr_save_fd(name, PEER, chr->out_fd);
    cpr_save_data(name, QUEUE, chr->queue->data, chr->queue->len);
    return save_frontend(chr, name, errp);
}

static void cpr_undo(void *opaque)
{
    Chardev *chr = opaque;

    if (chr->frozen) {
        chr->backend->keeper->start(chr);
        chardev_resume(chr);
    }
}

/* ---- the new one ---- */

static bool load_frontend(Chardev *chr, const GByteArray *state, GError **errp)
{
    chr->loaded = state;
    if (!state) {
        return true;
    }
    if (!chr->fe) {
        return error_set(errp, "nothing here uses it");
    }
    return chr->fe->load(chr->opaque, state->data, state->len, errp);
}

static bool take_peer(Chardev *chr, int fd, GError **errp)
{
    g_autofree char *name = cpr_name(chr);
    const GByteArray *queue = cpr_find_bytes(name, QUEUE), *state = cpr_find_bytes(name, STATE);

    if (!chr->frozen || chr->taken >= 0) {
        hostcalls->close(fd);
        return error_set(errp, "it has a peer already");
    }
    if (!chr->backend->keeper->take_peer(chr, fd, errp)) {
        return false;
    }
    chr->taken = fd;
    if (queue) {
        g_byte_array_append(chr->queue, queue->data, queue->len);
    }
    return load_frontend(chr, state, errp);
}

static bool cpr_adopt(void *opaque, GError **errp)
{
    Chardev *chr = opaque;
    g_autofree char *name = cpr_name(chr);
    int fd = cpr_find_fd(name, PEER);

    if (fd >= 0 && !take_peer(chr, fd, errp)) {
        g_prefix_error(errp, "chardev '%s': ", chr->id);
        return false;
    }
    return true;
}

static void cpr_finish(void *opaque)
{
    Chardev *chr = opaque;

    if (!chr->frozen) {
        return;
    }
    TRACE("chardev_cpr_finish", "%s: %s, %u bytes left", chr->id,
          chr->taken >= 0 ? "connected" : "waiting", chr->queue->len);
    chr->frozen = false;
    if (chr->taken >= 0) {
        chr->in_fd = chr->out_fd = chr->taken;
        chr->connected = true;
        if (!chr->loaded) {
            chardev_send_event(chr, CHARDEV_OPENED);
        }
    }
    chr->taken = -1;
    chr->backend->keeper->start(chr);
    chardev_resume(chr);
}

/* ---- either ---- */

static void cpr_leave(void *opaque)
{
    Chardev *chr = opaque;

    if (!chr->frozen) { /* the new process's own */
        return;
    }
    chr->connected = false;
    chr->in_fd = chr->out_fd = chr->taken = -1;
    g_byte_array_set_size(chr->queue, 0);
    chr->backend->keeper->leave(chr);
    chardev_send_event(chr, CHARDEV_HANDED_OVER);
}

static const CprOps cpr_ops = {
    .save = cpr_save,
    .stop = cpr_stop,
    .undo = cpr_undo,
    .adopt = cpr_adopt,
    .finish = cpr_finish,
    .leave = cpr_leave,
};

static bool take(Chardev *chr, JsonObject *opts, const char *name, GError **errp)
{
    int listener = cpr_find_fd(name, LISTENER);

    chr->frozen = true;
    return chr->backend->keeper->take(chr, opts, listener, errp);
}

bool chardev_check_kept(const ChardevBackend *backend, const char *id, bool keep, GError **errp)
{
    g_autofree char *name = g_strdup_printf("chardev/%s", id);

    if (!keep) {
        return !cpr_find_bytes(name, KEPT) ||
               error_set(errp, "chardev '%s': the old process has it with x-cpr=on", id);
    }
    if (!backend->keeper) {
        return error_set(errp,
                         "chardev '%s': x-cpr=on: a live update can keep a socket, not a '%s'", id,
                         backend->name);
    }
    return strlen(id) <= ID_MAX ||
           error_set(errp, "x-cpr=on needs an id of at most %d characters", ID_MAX);
}

bool chardev_open_kept(Chardev *chr, JsonObject *opts, GError **errp)
{
    g_autofree char *name = cpr_name(chr);
    bool ok = cpr_find_bytes(name, KEPT) ? take(chr, opts, name, errp)
                                         : chr->backend->open(chr, opts, errp);

    chr->kept = ok;
    if (ok) {
        cpr_register(&cpr_ops, chr);
    }
    return ok;
}

void chardev_close_kept(Chardev *chr)
{
    if (chr->kept) {
        cpr_unregister(&cpr_ops, chr);
    }
}
