/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tcp: and unix:, both sides.  GIO resolves, connects, listens and accepts, for all of these can be
 * cancelled; the channel then has the bare descriptor.
 *
 * TCP's buffers are left alone: the kernel lets them grow to tcp_wmem's and tcp_rmem's limits, and
 * setting them would end that at rmem_max and wmem_max, which are lower.
 */
#include <errno.h>
#include <fcntl.h>
#include <gio/gunixsocketaddress.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "migration/channel-private.h"
#include "util/error.h"
#include "util/fd.h"

#define BACKLOG     512 /* all connections of a migration may come at once */
#define UNIX_BUFFER (1 << 20)

/* ---- addresses ---- */

static GSocketConnectable *connectable(const MigrationAddress *a, uint16_t port)
{
    GUnixSocketAddressType type = !a->abstract ? G_UNIX_SOCKET_ADDRESS_PATH
                                  : a->tight   ? G_UNIX_SOCKET_ADDRESS_ABSTRACT
                                               : G_UNIX_SOCKET_ADDRESS_ABSTRACT_PADDED;

    if (a->kind == TRANSPORT_UNIX) {
        return G_SOCKET_CONNECTABLE(g_unix_socket_address_new_with_type(a->path, -1, type));
    }
    return g_network_address_new(*a->host ? a->host : "localhost", port);
}

static bool is_wanted(const MigrationAddress *a, GSocketAddress *address)
{
    GSocketFamily family = g_socket_address_get_family(address);

    return (!a->only_ipv4 || family == G_SOCKET_FAMILY_IPV4) &&
           (!a->only_ipv6 || family == G_SOCKET_FAMILY_IPV6);
}

/* Of the machine that is to be reached as of this one: the first address that works. */
static GSocket *make_socket(const MigrationAddress *a, uint16_t port, bool listen,
                            GCancellable *cancel, GError **errp)
{
    g_autoptr(GSocketConnectable) where = connectable(a, port);
    g_autoptr(GSocketAddressEnumerator) addresses = g_socket_connectable_enumerate(where);
    g_autoptr(GError) err = NULL;

    for (;;) {
        g_autoptr(GError) end = NULL;
        g_autoptr(GSocketAddress) address =
            g_socket_address_enumerator_next(addresses, cancel, &end);
        g_autoptr(GSocket) sock = NULL;

        if (!address) {
            if (end || !err) {
                error_set(errp, "%s", end ? end->message : "the host has no such address");
            } else {
                g_propagate_error(errp, g_steal_pointer(&err));
            }
            return NULL;
        }
        if (!is_wanted(a, address)) {
            continue;
        }
        g_clear_error(&err);
        sock = g_socket_new(g_socket_address_get_family(address), G_SOCKET_TYPE_STREAM,
                            G_SOCKET_PROTOCOL_DEFAULT, &err);
        if (!sock) {
            continue;
        }
        g_socket_set_listen_backlog(sock, BACKLOG);
        if (listen ? g_socket_bind(sock, address, TRUE, &err) && g_socket_listen(sock, &err)
                   : g_socket_connect(sock, address, cancel, &err)) {
            return g_steal_pointer(&sock);
        }
    }
}

/* ---- channels ---- */

/* What cannot be set only costs time. */
/*
 * A network that is cut says nothing.  The VM may stand still just then, so the other side is asked
 * for a sign of life, whatever `keep-alive` says, and half a minute without one is the end; left to
 * itself TCP would take a quarter of an hour.
 */
static const struct {
    int level, option, value;
} tcp_options[] = {
    { IPPROTO_TCP, TCP_NODELAY, 1 },
    { SOL_SOCKET, SO_KEEPALIVE, 1 },
    { IPPROTO_TCP, TCP_KEEPIDLE, 10 }, /* s */
    { IPPROTO_TCP, TCP_KEEPINTVL, 5 }, /* s */
    { IPPROTO_TCP, TCP_KEEPCNT, 4 },
    { IPPROTO_TCP, TCP_USER_TIMEOUT, 30000 }, /* ms: of data that nobody acknowledges */
};

static void tune(GSocket *sock, const MigrationAddress *a)
{
    if (a->kind != TRANSPORT_TCP) {
        g_socket_set_option(sock, SOL_SOCKET, SO_SNDBUF, UNIX_BUFFER, NULL);
        return;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(tcp_options); i++) {
        g_socket_set_option(sock, tcp_options[i].level, tcp_options[i].option, tcp_options[i].value,
                            NULL);
    }
}

/* Takes the descriptor out of GIO's hands. */
static MigrationChannel *channel_of(GSocket *sock, const MigrationAddress *a, const char *name,
                                    GError **errp)
{
    int fd = fcntl(g_socket_get_fd(sock), F_DUPFD_CLOEXEC, 0);

    tune(sock, a);
    if (fd < 0 || fcntl(fd, F_SETFL, O_RDWR)) {
        error_set_errno(errp, errno, "migration channel %s", name);
        fd_close(&fd);
        return NULL;
    }
    return channel_socket_new(name, fd, errp);
}

MigrationChannel *channel_socket_connect(const MigrationAddress *a, GCancellable *cancel,
                                         GError **errp)
{
    g_autoptr(GSocket) sock = make_socket(a, a->port, false, cancel, errp);

    if (!sock) {
        g_prefix_error(errp, "Failed to connect to '%s': ", a->name);
        return NULL;
    }
    return channel_of(sock, a, a->name, errp);
}

/* ---- listening ---- */

/* A socket file that nobody may be listening on any more makes room for ours. */
static void remove_stale(const MigrationAddress *a)
{
    struct stat st;

    if (a->path && !a->abstract && lstat(a->path, &st) == 0 && S_ISSOCK(st.st_mode)) {
        unlink(a->path);
    }
}

static void remember_file(MigrationListener *l)
{
    const MigrationAddress *a = l->address;
    struct stat st;

    if (a->path && !a->abstract && lstat(a->path, &st) == 0) {
        l->path = g_canonicalize_filename(a->path, NULL);
        l->dev = st.st_dev;
        l->ino = st.st_ino;
    }
}

/* Without a host: on all addresses, with IPv6 if there is such a thing here. */
static GSocket *listen_on(const MigrationAddress *a, uint16_t port, GError **errp)
{
    MigrationAddress any = *a;
    GSocket *sock;

    if (a->kind != TRANSPORT_TCP || *a->host) {
        return make_socket(a, port, true, NULL, errp);
    }
    any.host = (char *)"::";
    sock = a->only_ipv4 ? NULL : make_socket(&any, port, true, NULL, a->only_ipv6 ? errp : NULL);
    any.host = (char *)"0.0.0.0";
    return sock || a->only_ipv6 ? sock : make_socket(&any, port, true, NULL, errp);
}

static bool take_local_address(MigrationListener *l, GError **errp)
{
    g_autoptr(GSocketAddress) local = g_socket_get_local_address(l->socket, errp);
    MigrationAddress *a = l->address;
    GInetSocketAddress *inet;

    if (!local || a->kind != TRANSPORT_TCP) {
        return local;
    }
    inet = G_INET_SOCKET_ADDRESS(local);
    if (!*a->host) {
        g_free(a->host);
        a->host = g_inet_address_to_string(g_inet_socket_address_get_address(inet));
    }
    migration_address_set_port(a, g_inet_socket_address_get_port(inet));
    return true;
}

bool channel_socket_listen(MigrationListener *l, GError **errp)
{
    MigrationAddress *a = l->address;
    uint32_t port = a->port;

    remove_stale(a);
    for (;;) {
        g_autoptr(GError) err = NULL;

        l->socket = listen_on(a, (uint16_t)port, &err);
        if (l->socket) {
            break;
        }
        if (port++ >= a->last_port ||
            !g_error_matches(err, G_IO_ERROR, G_IO_ERROR_ADDRESS_IN_USE)) {
            g_propagate_prefixed_error(errp, g_steal_pointer(&err),
                                       "Failed to listen on '%s': ", a->name);
            return false;
        }
    }
    remember_file(l);
    return take_local_address(l, errp);
}

MigrationChannel *channel_socket_accept(MigrationListener *l, GCancellable *cancel, GError **errp)
{
    g_autoptr(GSocket) sock = g_socket_accept(l->socket, cancel, errp);
    g_autoptr(GSocketAddress) peer = NULL;
    g_autofree char *from = NULL, *name = NULL;

    if (!sock) {
        g_prefix_error(errp, "Failed to accept on '%s': ", l->address->name);
        return NULL;
    }
    peer = l->address->kind == TRANSPORT_TCP ? g_socket_get_remote_address(sock, NULL) : NULL;
    from = peer ? g_socket_connectable_to_string(G_SOCKET_CONNECTABLE(peer)) : NULL;
    name = g_strconcat(l->address->name, from ? " from " : "", from, NULL);
    return channel_of(sock, l->address, name, errp);
}

void channel_socket_unlisten(MigrationListener *l)
{
    struct stat st;

    g_clear_object(&l->socket);
    if (l->path && lstat(l->path, &st) == 0 && st.st_dev == l->dev && st.st_ino == l->ino) {
        unlink(l->path);
    }
    g_free(l->path);
}
