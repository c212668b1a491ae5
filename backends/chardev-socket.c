/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * -chardev socket: UNIX or TCP, client or server.  A server has one client at a time; while it has
 * one, the next waits in the kernel's queue, and is taken when the first has left.
 *
 * A server's socket file replaces what a dead process left there, and is removed at the end, unless
 * somebody else has put another one in its place meanwhile.
 */
#include <gio/gunixsocketaddress.h>
#include <glib-unix.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "backends/chardev-private.h"
#include "core/fdset.h"
#include "util/error.h"
#include "util/fd.h"
#include "util/keyval.h"

#define BACKLOG        1
#define MAX_FDS        16
#define ACCEPT_SECONDS 1 /* until the next try, when accept() failed for want of something */

typedef struct ChardevSocket {
    GSocket *listener; /* NULL: a client */
    GSocket *peer;     /* NULL: nobody there */
    GSource *accept;   /* waits for a client, or for the next try */
    bool nodelay, is_unix;
    char *address; /* as in messages: "unix:/x", "tcp:host:port" */
    char *path;    /* absolute, of the socket's file; NULL: not ours to remove */
    dev_t dev;
    ino_t ino;
} ChardevSocket;

typedef struct SocketOptions {
    const char *path, *host, *port, *fd, *reconnect;
    bool server, wait, nodelay;
} SocketOptions;

static char *socket_filename(Chardev *chr)
{
    ChardevSocket *s = chr->state;
    const char *server = s->listener ? ",server=on" : "";
    g_autoptr(GSocketAddress) remote = NULL;
    g_autofree char *text = NULL;

    if (!s->peer) {
        return g_strdup_printf("disconnected:%s%s", s->address, server);
    }
    remote = g_socket_get_remote_address(s->peer, NULL);
    if (s->is_unix || !remote) {
        return g_strdup_printf("%s%s", s->address, server);
    }
    text = g_socket_connectable_to_string(G_SOCKET_CONNECTABLE(remote));
    return g_strdup_printf("%s%s <-> %s", s->address, server, text);
}

/* ---- clients come and go ---- */

static void hold_peer(ChardevSocket *s, GSocket *peer)
{
    if (s->nodelay) {
        g_socket_set_option(peer, IPPROTO_TCP, TCP_NODELAY, 1, NULL);
    }
    s->peer = peer;
}

static void set_peer(Chardev *chr, GSocket *peer)
{
    int fd = g_socket_get_fd(peer);

    hold_peer(chr->state, peer);
    chardev_connected(chr, fd, fd); /* GIO makes every socket non-blocking */
}

static void wait_for_client(Chardev *chr, unsigned delay);

static void stop_accept(ChardevSocket *s)
{
    if (s->accept) {
        g_source_destroy(s->accept);
        g_clear_pointer(&s->accept, g_source_unref);
    }
}

static gboolean accept_ready(gpointer opaque)
{
    Chardev *chr = opaque;
    ChardevSocket *s = chr->state;
    g_autoptr(GError) err = NULL;
    GSocket *peer = g_socket_accept(s->listener, NULL, &err);

    stop_accept(s);
    if (peer) {
        set_peer(chr, peer);
    } else if (g_error_matches(err, G_IO_ERROR, G_IO_ERROR_WOULD_BLOCK)) {
        wait_for_client(chr, 0); /* it has left already */
    } else {
        warn_report("chardev '%s': %s", chr->id, err->message);
        wait_for_client(chr, ACCEPT_SECONDS);
    }
    return G_SOURCE_REMOVE;
}

static gboolean accept_fd_ready(int fd, GIOCondition cond, gpointer opaque)
{
    return accept_ready(opaque);
}

static void wait_for_client(Chardev *chr, unsigned delay)
{
    ChardevSocket *s = chr->state;

    if (delay) {
        s->accept = g_timeout_source_new_seconds(delay);
        g_source_set_callback(s->accept, accept_ready, chr, NULL);
    } else {
        s->accept = g_unix_fd_source_new(g_socket_get_fd(s->listener), G_IO_IN);
        g_source_set_callback(s->accept, G_SOURCE_FUNC(accept_fd_ready), chr, NULL);
    }
    g_source_attach(s->accept, NULL);
}

static void socket_peer_gone(Chardev *chr)
{
    ChardevSocket *s = chr->state;

    g_clear_object(&s->peer);
    if (s->listener) {
        wait_for_client(chr, 0);
    }
}

/*
 * Descriptors beyond MAX_FDS in one message are closed by the kernel, for want of room.  It ends
 * each read behind the bytes that descriptors came with, so they belong to the last of them.
 */
static ssize_t socket_read(Chardev *chr, void *buf, size_t len)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(MAX_FDS * sizeof(int))];
    } control;
    struct iovec iov = { buf, len };
    struct msghdr msg = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = &control,
        .msg_controllen = sizeof(control),
    };
    ssize_t n;

    if (!chr->fe->take_fds) {
        return read(chr->in_fd, buf, len);
    }
    n = recvmsg(chr->in_fd, &msg, MSG_CMSG_CLOEXEC);
    for (struct cmsghdr *c = n < 0 ? NULL : CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
            int fds[MAX_FDS];
            size_t size = c->cmsg_len - CMSG_LEN(0);

            memcpy(fds, CMSG_DATA(c), size);
            chr->fe->take_fds(chr->opaque, fds, size / sizeof(int));
        }
    }
    return n;
}

/* ---- wait=on ---- */

static gboolean set_true(gpointer flag)
{
    *(bool *)flag = true;
    return G_SOURCE_REMOVE;
}

static gboolean fd_set_true(int fd, GIOCondition cond, gpointer flag)
{
    return set_true(flag);
}

static void attach_flag(GMainContext *context, GSource *source, GSourceFunc fn, bool *flag)
{
    g_source_set_callback(source, fn, flag, NULL);
    g_source_attach(source, context);
    g_source_unref(source);
}

/*
 * Blocks until there is a client.  In a context of its own, so that nothing else of the half-made
 * program runs meanwhile, yet a signal ends the wait in good order.
 */
static bool wait_blocking(Chardev *chr, GError **errp)
{
    static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
    ChardevSocket *s = chr->state;
    g_autoptr(GMainContext) context = g_main_context_new();
    g_autofree char *filename = socket_filename(chr);
    bool ready = false, interrupted = false;
    GSocket *peer;

    for (size_t i = 0; i < G_N_ELEMENTS(signals); i++) {
        attach_flag(context, g_unix_signal_source_new(signals[i]), set_true, &interrupted);
    }
    attach_flag(context, g_unix_fd_source_new(g_socket_get_fd(s->listener), G_IO_IN),
                G_SOURCE_FUNC(fd_set_true), &ready);
    g_printerr("%s: info: waiting for connection on: %s\n", g_get_prgname(), filename);
    while (!ready && !interrupted) {
        g_main_context_iteration(context, TRUE);
    }
    if (interrupted) {
        return error_set(errp, "interrupted while waiting for a connection");
    }
    g_socket_set_blocking(s->listener, TRUE);
    peer = g_socket_accept(s->listener, NULL, errp);
    g_socket_set_blocking(s->listener, FALSE);
    if (!peer) {
        return false;
    }
    set_peer(chr, peer);
    return true;
}

/* ---- making the socket ---- */

static bool read_options(JsonObject *opts, SocketOptions *o, GError **errp)
{
    bool nowait = false;

    o->wait = true;
    if (!keyval_get_str(opts, "path", &o->path, errp) ||
        !keyval_get_str(opts, "host", &o->host, errp) ||
        !keyval_get_str(opts, "port", &o->port, errp) ||
        !keyval_get_str(opts, "fd", &o->fd, errp) ||
        !keyval_get_str(opts, "reconnect", &o->reconnect, errp) ||
        !keyval_get_str(opts, "reconnect-ms", &o->reconnect, errp) ||
        !keyval_get_bool(opts, "server", &o->server, errp) ||
        !keyval_get_bool(opts, "wait", &o->wait, errp) ||
        !keyval_get_bool(opts, "nowait", &nowait, errp) ||
        !keyval_get_bool(opts, "nodelay", &o->nodelay, errp)) {
        return false;
    }
    if (nowait) {
        o->wait = false;
    }
    if (!!o->path + !!o->host + !!o->fd != 1) {
        return error_set(errp, "exactly one of 'path', 'host' and 'fd' is needed");
    }
    if (!o->host != !o->port) {
        return error_set(errp, "'host' and 'port' go together");
    }
    if (o->reconnect && !g_str_equal(o->reconnect, "0")) {
        return error_set(errp, "'reconnect' is not supported");
    }
    if (!o->server && json_object_has_member(opts, "wait")) {
        return error_set(errp, "'wait' option is incompatible with socket in client connect mode");
    }
    return true;
}

/* A socket file that nobody may be listening on any more makes room for ours. */
static void remove_stale(const char *path)
{
    struct stat st;

    if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode)) {
        unlink(path);
    }
}

static GSocket *make_socket(GSocketAddress *address, bool server, GError **errp)
{
    g_autoptr(GSocket) sock = g_socket_new(g_socket_address_get_family(address),
                                           G_SOCKET_TYPE_STREAM, G_SOCKET_PROTOCOL_DEFAULT, errp);

    if (!sock) {
        return NULL;
    }
    if (server) {
        g_socket_set_listen_backlog(sock, BACKLOG);
        if (!g_socket_bind(sock, address, TRUE, errp) || !g_socket_listen(sock, errp)) {
            return NULL;
        }
    } else if (!g_socket_connect(sock, address, NULL, errp)) {
        return NULL;
    }
    return g_steal_pointer(&sock);
}

/* The first of the name's addresses that works. */
static GSocket *resolve_and_make(GSocketConnectable *where, bool server, GError **errp)
{
    g_autoptr(GSocketAddressEnumerator) addresses = g_socket_connectable_enumerate(where);
    g_autoptr(GError) err = NULL;

    for (;;) {
        g_autoptr(GError) end = NULL;
        g_autoptr(GSocketAddress) address = g_socket_address_enumerator_next(addresses, NULL, &end);
        GSocket *sock;

        if (!address) {
            if (end || !err) {
                error_set(errp, "%s", end ? end->message : "the host has no address");
            } else {
                g_propagate_error(errp, g_steal_pointer(&err));
            }
            return NULL;
        }
        g_clear_error(&err);
        sock = make_socket(address, server, &err);
        if (sock) {
            return sock;
        }
    }
}

/* The file at the path is ours to remove. */
static void own_file(ChardevSocket *s, const char *path)
{
    struct stat st;

    if (lstat(path, &st) == 0) {
        s->path = g_canonicalize_filename(path, NULL);
        s->dev = st.st_dev;
        s->ino = st.st_ino;
    }
}

static GSocket *open_unix(ChardevSocket *s, const SocketOptions *o, GError **errp)
{
    g_autoptr(GSocketAddress) address = NULL;
    g_autoptr(GSocket) sock = NULL;

    s->is_unix = true;
    s->address = g_strdup_printf("unix:%s", o->path);
    if (!*o->path || strlen(o->path) >= sizeof(((struct sockaddr_un *)NULL)->sun_path)) {
        error_set(errp, "UNIX socket path '%s' must have 1 to %zu characters", o->path,
                  sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1);
        return NULL;
    }
    if (o->server) {
        remove_stale(o->path);
    }
    address = g_unix_socket_address_new(o->path);
    sock = make_socket(address, o->server, errp);
    if (!sock) {
        g_prefix_error(errp, "socket '%s': ", o->path);
        return NULL;
    }
    if (o->server) {
        own_file(s, o->path);
    }
    return g_steal_pointer(&sock);
}

static const char *host_of(const SocketOptions *o)
{
    return *o->host ? o->host : o->server ? "0.0.0.0" : "127.0.0.1";
}

/* Port 0 has become a real one. */
static guint64 port_of(GSocket *listener, guint64 port)
{
    g_autoptr(GSocketAddress) local = g_socket_get_local_address(listener, NULL);

    return G_IS_INET_SOCKET_ADDRESS(local)
               ? g_inet_socket_address_get_port(G_INET_SOCKET_ADDRESS(local))
               : port;
}

static bool parse_port(const char *text, guint64 *port, GError **errp)
{
    return g_ascii_string_to_unsigned(text, 10, 0, UINT16_MAX, port, NULL) ||
           error_set(errp, "'%s' is not a port number", text);
}

static GSocket *open_tcp(ChardevSocket *s, const SocketOptions *o, GError **errp)
{
    const char *host = host_of(o);
    g_autoptr(GSocketConnectable) where = NULL;
    g_autoptr(GSocket) sock = NULL;
    guint64 port;

    if (!parse_port(o->port, &port, errp)) {
        return NULL;
    }
    where = g_network_address_new(host, (guint16)port);
    sock = resolve_and_make(where, o->server, errp);
    if (!sock) {
        g_prefix_error(errp, "socket '%s:%s': ", o->host, o->port);
        return NULL;
    }
    port = o->server ? port_of(sock, port) : port;
    s->address = g_strdup_printf("tcp:%s:%u", host, (unsigned)port);
    return g_steal_pointer(&sock);
}

static bool is_stream(int fd)
{
    int type = 0;
    socklen_t len = sizeof(type);

    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_STREAM;
}

/* GLib closes a descriptor that it cannot use, so it only gets what it can. */
static GSocket *open_fd(ChardevSocket *s, const SocketOptions *o, GError **errp)
{
    int fd = fd_take(o->fd, errp);

    s->is_unix = true;
    s->address = g_strdup_printf("fd:%s", o->fd);
    if (fd < 0) {
        return NULL;
    }
    if (!is_stream(fd)) {
        fd_give_back(o->fd, fd);
        error_set(errp, "descriptor %s is not a stream socket", o->fd);
        return NULL;
    }
    return g_socket_new_from_fd(fd, errp);
}

static bool socket_open(Chardev *chr, JsonObject *opts, GError **errp)
{
    ChardevSocket *s = g_new0(ChardevSocket, 1);
    SocketOptions o = { 0 };
    GSocket *sock;

    chr->state = s;
    if (!read_options(opts, &o, errp)) {
        return false;
    }
    s->nodelay = o.nodelay;
    sock = (o.path ? open_unix : o.host ? open_tcp : open_fd)(s, &o, errp);
    if (!sock) {
        return false;
    }
    if (!o.server) {
        set_peer(chr, sock);
        return true;
    }
    s->listener = sock;
    g_socket_set_blocking(sock, FALSE);
    if (o.wait) {
        return wait_blocking(chr, errp);
    }
    wait_for_client(chr, 0);
    return true;
}

static void socket_close(Chardev *chr)
{
    ChardevSocket *s = chr->state;
    struct stat st;

    stop_accept(s);
    g_clear_object(&s->peer);
    g_clear_object(&s->listener);
    if (s->path && lstat(s->path, &st) == 0 && st.st_dev == s->dev && st.st_ino == s->ino) {
        unlink(s->path);
    }
    g_free(s->path);
    g_free(s->address);
    g_free(s);
}

/* ---- kept by a live update ---- */

static int socket_listener(Chardev *chr)
{
    ChardevSocket *s = chr->state;

    return s->listener ? g_socket_get_fd(s->listener) : -1;
}

static void socket_pause(Chardev *chr)
{
    stop_accept(chr->state);
}

static GSocket *socket_of(int fd, GError **errp)
{
    if (!is_stream(fd)) {
        close(fd);
        error_set(errp, "what the old process has sent is no stream socket");
        return NULL;
    }
    return g_socket_new_from_fd(fd, errp);
}

/* Its file is going to be ours to remove, so it must be the one that the options name. */
static bool is_at(GSocket *listener, const char *path, GError **errp)
{
    g_autoptr(GSocketAddress) local = g_socket_get_local_address(listener, NULL);
    const char *bound = G_IS_UNIX_SOCKET_ADDRESS(local)
                            ? g_unix_socket_address_get_path(G_UNIX_SOCKET_ADDRESS(local))
                            : NULL;

    return g_strcmp0(bound, path) == 0 ||
           error_set(errp, "the old process listens at '%s', not at '%s'", bound ?: "", path);
}

static bool take_listener(ChardevSocket *s, const SocketOptions *o, int fd, GError **errp)
{
    s->listener = socket_of(fd, errp);
    if (!s->listener || (o->path && !is_at(s->listener, o->path, errp))) {
        return false;
    }
    g_socket_set_blocking(s->listener, FALSE);
    if (o->path) {
        own_file(s, o->path);
    }
    return true;
}

static bool socket_take(Chardev *chr, JsonObject *opts, int listener, GError **errp)
{
    ChardevSocket *s = g_new0(ChardevSocket, 1);
    SocketOptions o = { 0 };
    autofd int fd = listener;
    guint64 port = 0;

    chr->state = s;
    if (!read_options(opts, &o, errp) || (o.port && !parse_port(o.port, &port, errp))) {
        return false;
    }
    if (o.server != (fd >= 0)) {
        return error_set(errp, "the old process has it with server=%s", o.server ? "off" : "on");
    }
    s->nodelay = o.nodelay;
    s->is_unix = !o.host;
    if (o.server && !take_listener(s, &o, fd_steal(&fd), errp)) {
        return false;
    }
    port = o.server ? port_of(s->listener, port) : port;
    s->address = o.host ? g_strdup_printf("tcp:%s:%u", host_of(&o), (unsigned)port)
                        : g_strdup_printf("%s:%s", o.path ? "unix" : "fd", o.path ?: o.fd);
    return true;
}

static bool socket_take_peer(Chardev *chr, int fd, GError **errp)
{
    GSocket *peer = socket_of(fd, errp);

    if (peer) {
        hold_peer(chr->state, peer);
    }
    return peer;
}

static void socket_start(Chardev *chr)
{
    ChardevSocket *s = chr->state;

    if (s->listener && !s->peer) {
        wait_for_client(chr, 0);
    }
}

static void socket_leave(Chardev *chr)
{
    ChardevSocket *s = chr->state;

    stop_accept(s);
    g_clear_object(&s->peer);
    g_clear_object(&s->listener);
    g_clear_pointer(&s->path, g_free);
}

static const ChardevKeeper socket_keeper = {
    .listener = socket_listener,
    .pause = socket_pause,
    .take = socket_take,
    .take_peer = socket_take_peer,
    .start = socket_start,
    .leave = socket_leave,
};

const ChardevBackend chardev_socket = {
    .name = "socket",
    .options = CHARDEV_OPTIONS("path", "host", "port", "fd", "server", "wait", "nowait", "nodelay",
                               "reconnect", "reconnect-ms"),
    .open = socket_open,
    .close = socket_close,
    .read = socket_read,
    .peer_gone = socket_peer_gone,
    .filename = socket_filename,
    .keeper = &socket_keeper,
};
