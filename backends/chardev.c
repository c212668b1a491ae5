/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What all character devices have in common: their names, the front end, and the way of bytes
 * between it and a pair of descriptors.  A backend says when there is a peer (chardev_connected)
 * and is told when it has gone.
 *
 * Output goes straight to the descriptor; only what it does not take is queued, and an event source
 * empties the queue.  An error other than "not now" is met there too, so that chardev_write(),
 * which a vCPU thread may be in, never closes anything.
 */
#include "backends/chardev-private.h"

#include <errno.h>
#include <glib-unix.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "core/object.h"
#include "util/error.h"
#include "util/keyval.h"

#define QUEUE_LIMIT  (64 * 1024)
#define FLUSH_MILLIS 1000 /* how long a slow peer may hold up the end of the process */

static const ChardevBackend *const backends[] = {
    &chardev_socket, &chardev_file, &chardev_stdio, &chardev_null, &chardev_pty,
};

static GPtrArray *chardevs; /* in order of creation */

/* ---- names ---- */

Chardev *chardev_find(const char *id)
{
    for (guint i = 0; chardevs && i < chardevs->len; i++) {
        Chardev *chr = chardevs->pdata[i];

        if (g_str_equal(chr->id, id) || g_strcmp0(chr->alias, id) == 0) {
            return chr;
        }
    }
    return NULL;
}

void chardev_foreach(void (*fn)(const char *id, Chardev *chr, void *opaque), void *opaque)
{
    for (guint i = 0; chardevs && i < chardevs->len; i++) {
        fn(chardev_id(chardevs->pdata[i]), chardevs->pdata[i], opaque);
    }
}

const char *chardev_id(Chardev *chr)
{
    return chr->id;
}

char *chardev_filename(Chardev *chr)
{
    return chr->backend->filename ? chr->backend->filename(chr) : g_strdup(chr->backend->name);
}

bool chardev_frontend_open(Chardev *chr)
{
    return chr->fe;
}

const char *const *chardev_backend_names(void)
{
    static const char *names[G_N_ELEMENTS(backends) + 1];

    for (size_t i = 0; i < G_N_ELEMENTS(backends); i++) {
        names[i] = backends[i]->name;
    }
    return names;
}

/* ---- input ---- */

static void stop_source(GSource **source)
{
    if (*source) {
        g_source_destroy(*source);
        g_clear_pointer(source, g_source_unref);
    }
}

static GSource *start_source(int fd, GIOCondition cond, GUnixFDSourceFunc fn, Chardev *chr)
{
    GSource *source = g_unix_fd_source_new(fd, cond);

    g_source_set_callback(source, G_SOURCE_FUNC(fn), chr, NULL);
    g_source_attach(source, NULL);
    return source;
}

void chardev_send_event(Chardev *chr, ChardevEvent event)
{
    if (chr->fe && chr->fe->event) {
        chr->fe->event(chr->opaque, event);
    }
}

static void input_ended(Chardev *chr)
{
    stop_source(&chr->in);
    chr->in_fd = -1;
    if (chr->backend->peer_gone) {
        stop_source(&chr->out);
        g_byte_array_set_size(chr->queue, 0);
        chr->out_fd = -1;
        chr->connected = false;
    }
    chardev_send_event(chr, CHARDEV_CLOSED);
    if (chr->backend->peer_gone) {
        chr->backend->peer_gone(chr);
    }
}

static gboolean in_ready(int fd, GIOCondition cond, gpointer opaque)
{
    Chardev *chr = opaque;
    size_t room = chr->fe->can_read(chr->opaque);
    uint8_t buf[4096];
    ssize_t n;

    if (!room) {
        stop_source(&chr->in);
        return G_SOURCE_REMOVE;
    }
    room = MIN(room, sizeof(buf));
    n = chr->backend->read ? chr->backend->read(chr, buf, room) : read(fd, buf, room);
    if (n > 0) {
        chr->fe->read(chr->opaque, buf, (size_t)n);
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        input_ended(chr);
        return G_SOURCE_REMOVE;
    }
    return G_SOURCE_CONTINUE;
}

void chardev_accept_input(Chardev *chr)
{
    if (chr->fe && chr->in_fd >= 0 && !chr->in && !chr->frozen) {
        chr->in = start_source(chr->in_fd, G_IO_IN | G_IO_HUP | G_IO_ERR, in_ready, chr);
    }
}

void chardev_connected(Chardev *chr, int in_fd, int out_fd)
{
    chr->in_fd = in_fd;
    chr->out_fd = out_fd;
    chr->connected = true;
    chardev_send_event(chr, CHARDEV_OPENED);
    chardev_accept_input(chr);
}

bool chardev_attach(Chardev *chr, const ChardevFrontend *fe, void *opaque, GError **errp)
{
    if (chr->fe) {
        return error_set(errp, "chardev '%s' is already in use", chr->id);
    }
    if (chr->kept && !fe->load) {
        return error_set(errp, "chardev '%s': x-cpr=on is for monitors and serial ports", chr->id);
    }
    chr->fe = fe;
    chr->opaque = opaque;
    if (chr->connected) {
        chardev_send_event(chr, CHARDEV_OPENED);
        chardev_accept_input(chr);
    }
    return true;
}

void chardev_detach(Chardev *chr)
{
    stop_source(&chr->in);
    chr->fe = NULL;
}

/* ---- output ---- */

bool chardev_write_queue(Chardev *chr)
{
    ssize_t n = write(chr->out_fd, chr->queue->data, chr->queue->len);

    if (n < 0) {
        return errno == EAGAIN || errno == EINTR;
    }
    g_byte_array_remove_range(chr->queue, 0, (guint)n);
    return true;
}

static gboolean out_ready(int fd, GIOCondition cond, gpointer opaque)
{
    Chardev *chr = opaque;

    if (!chardev_write_queue(chr)) {
        g_byte_array_set_size(chr->queue, 0);
        if (chr->backend->peer_gone) {
            input_ended(chr);
            return G_SOURCE_REMOVE;
        }
    }
    if (chr->queue->len) {
        return G_SOURCE_CONTINUE;
    }
    stop_source(&chr->out);
    chardev_accept_input(chr);
    return G_SOURCE_REMOVE;
}

static void wait_for_room(Chardev *chr)
{
    if (!chr->out && !chr->frozen) {
        chr->out = start_source(chr->out_fd, G_IO_OUT | G_IO_HUP | G_IO_ERR, out_ready, chr);
    }
}

void chardev_write(Chardev *chr, const void *buf, size_t len)
{
    const uint8_t *bytes = buf;

    if (chr->out_fd < 0) {
        return;
    }
    if (!chr->queue->len && !chr->frozen) {
        ssize_t n = write(chr->out_fd, bytes, len);

        if (n == (ssize_t)len) {
            return;
        }
        bytes += MAX(n, 0);
        len -= (size_t)MAX(n, 0);
    }
    if (chr->queue->len > chr->queue_limit) {
        return;
    }
    g_byte_array_append(chr->queue, bytes, (guint)len);
    wait_for_room(chr);
}

void chardev_pause(Chardev *chr)
{
    chr->frozen = true;
    stop_source(&chr->in);
    stop_source(&chr->out);
}

void chardev_resume(Chardev *chr)
{
    chr->frozen = false;
    chardev_accept_input(chr);
    if (chr->out_fd >= 0 && chr->queue->len) {
        wait_for_room(chr);
    }
}

size_t chardev_queued(Chardev *chr)
{
    return chr->queue->len;
}

void chardev_set_queue_limit(Chardev *chr, size_t bytes)
{
    chr->queue_limit = bytes;
}

static void flush(Chardev *chr)
{
    gint64 deadline = g_get_monotonic_time() + FLUSH_MILLIS * 1000;

    while (chr->out_fd >= 0 && chr->queue->len && chardev_write_queue(chr)) {
        struct pollfd pfd = { chr->out_fd, POLLOUT, 0 };
        gint64 left = (deadline - g_get_monotonic_time()) / 1000;

        if (left <= 0) {
            break;
        }
        poll(&pfd, 1, (int)left);
    }
}

/* ---- birth and death ---- */

static void chardev_free(gpointer data)
{
    Chardev *chr = data;

    stop_source(&chr->in);
    stop_source(&chr->out);
    flush(chr);
    chardev_close_kept(chr);
    chr->backend->close(chr);
    g_byte_array_unref(chr->queue);
    g_free(chr->id);
    g_free(chr->alias);
    g_free(chr);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Chardev, chardev_free)

static const ChardevBackend *find_backend(const char *name)
{
    for (size_t i = 0; i < G_N_ELEMENTS(backends); i++) {
        if (g_str_equal(backends[i]->name, name)) {
            return backends[i];
        }
    }
    return NULL;
}

Chardev *chardev_new(JsonObject *opts, GError **errp)
{
    const char *name = NULL, *id = NULL;
    const ChardevBackend *backend;
    g_autoptr(Chardev) chr = NULL;
    bool keep = false;

    if (!keyval_get_str(opts, "backend", &name, errp) || !keyval_get_str(opts, "id", &id, errp) ||
        !keyval_get_bool(opts, "x-cpr", &keep, errp)) {
        return NULL;
    }
    if (!name || !id) {
        error_set(errp, "Parameter '%s' is missing", name ? "id" : "backend");
        return NULL;
    }
    backend = find_backend(name);
    if (!backend) {
        error_set(errp, "'%s' is not a valid char driver name", name);
        return NULL;
    }
    if (!object_id_valid(id)) {
        error_set(errp, "Parameter 'id' expects an identifier");
        return NULL;
    }
    if (chardev_find(id)) {
        error_set(errp, "Chardev with id '%s' already exists", id);
        return NULL;
    }
    if (!keyval_check_keys(opts, backend->options, errp) ||
        !chardev_check_kept(backend, id, keep, errp)) {
        return NULL;
    }

    chr = g_new0(Chardev, 1);
    chr->backend = backend;
    chr->id = g_strdup(id);
    chr->in_fd = chr->out_fd = chr->taken = -1;
    chr->queue = g_byte_array_new();
    chr->queue_limit = QUEUE_LIMIT;
    if (!(keep ? chardev_open_kept : backend->open)(chr, opts, errp)) {
        g_prefix_error(errp, "chardev '%s': ", id);
        return NULL;
    }
    if (!chardevs) {
        chardevs = g_ptr_array_new_with_free_func(chardev_free);
    }
    g_ptr_array_add(chardevs, chr);
    return g_steal_pointer(&chr);
}

void chardev_cleanup_all(void)
{
    g_clear_pointer(&chardevs, g_ptr_array_unref);
}

/* ---- the short forms ---- */

static Chardev *alias(const char *rest, const char *id, GError **errp)
{
    Chardev *chr = chardev_find(rest);

    if (!chr) {
        error_set(errp, "chardev \"%s\" not found", rest);
    } else if (chr->alias) {
        error_set(errp, "chardev \"%s\" is already in use as %s", rest, chr->alias);
    } else {
        chr->alias = g_strdup(id);
        return chr;
    }
    return NULL;
}

static JsonObject *no_options(const char *rest, GError **errp)
{
    return json_object_new();
}

static JsonObject *file_options(const char *rest, GError **errp)
{
    JsonObject *opts = json_object_new();

    json_object_set_string_member(opts, "path", rest);
    return opts;
}

static JsonObject *unix_options(const char *rest, GError **errp)
{
    return keyval_parse(rest, "path", NULL, errp);
}

/* HOST:PORT or [HOST]:PORT, then options. */
static JsonObject *tcp_options(const char *rest, GError **errp)
{
    g_autoptr(JsonObject) opts = keyval_parse(rest, "host", NULL, errp);
    g_autofree char *address = NULL;
    const char *host = NULL;
    char *colon;

    if (!opts || !keyval_get_str(opts, "host", &host, errp)) {
        return NULL;
    }
    address = g_strdup(host ?: "");
    colon = strrchr(address, ':');
    if (!colon) {
        error_set(errp, "'%s' is not HOST:PORT", address);
        return NULL;
    }
    *colon = '\0';
    if (*address == '[' && colon[-1] == ']') {
        colon[-1] = '\0';
        json_object_set_string_member(opts, "host", address + 1);
    } else {
        json_object_set_string_member(opts, "host", address);
    }
    json_object_set_string_member(opts, "port", colon + 1);
    return g_steal_pointer(&opts);
}

Chardev *chardev_new_from_spec(const char *spec, const char *id, GError **errp)
{
    static const struct {
        const char *prefix; /* the whole, unless it ends in ':' */
        const char *backend;
        JsonObject *(*options)(const char *rest, GError **errp);
    } forms[] = {
        { "stdio", "stdio", no_options },    { "null", "null", no_options },
        { "pty", "pty", no_options },        { "file:", "file", file_options },
        { "unix:", "socket", unix_options }, { "tcp:", "socket", tcp_options },
    };

    if (g_str_has_prefix(spec, "chardev:")) {
        return alias(spec + strlen("chardev:"), id, errp);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(forms); i++) {
        size_t len = strlen(forms[i].prefix);

        if (forms[i].prefix[len - 1] == ':' ? g_str_has_prefix(spec, forms[i].prefix)
                                            : g_str_equal(spec, forms[i].prefix)) {
            g_autoptr(JsonObject) opts = forms[i].options(spec + len, errp);

            if (!opts) {
                return NULL;
            }
            json_object_set_string_member(opts, "backend", forms[i].backend);
            json_object_set_string_member(opts, "id", id);
            return chardev_new(opts, errp);
        }
    }
    error_set(errp,
              "'%s' is not a character device that there is: stdio, null, pty, file:PATH, "
              "unix:PATH, tcp:HOST:PORT, chardev:ID",
              spec);
    return NULL;
}
