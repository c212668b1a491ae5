/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Migration addresses.  A URI is brought into the form that QMP's "channels" have, so that each
 * transport reads its members in one place.
 * Source: QEMU qapi/migration.json (MigrationAddress), qapi/sockets.json.
 */
#include "migration/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "core/fdset.h"
#include "util/error.h"
#include "util/keyval.h"

#define KEYS(...) ((const char *const[]) { __VA_ARGS__, NULL })

static bool need_str(JsonObject *o, const char *key, const char **value, GError **errp)
{
    return keyval_get_str(o, key, value, errp) &&
           (*value || error_set(errp, "Parameter 'addr.%s' is missing", key));
}

/* ---- tcp ---- */

static void set_tcp_name(MigrationAddress *a)
{
    g_free(a->name);
    a->name = g_strdup_printf(strchr(a->host, ':') ? "tcp:[%s]:%u" : "tcp:%s:%u", a->host, a->port);
}

static bool port_of(const char *text, uint16_t *port, GError **errp)
{
    guint64 n;

    if (!g_ascii_string_to_unsigned(text, 10, 0, UINT16_MAX, &n, NULL)) {
        return error_set(errp, "'%s' is not a port number", text);
    }
    *port = (uint16_t)n;
    return true;
}

/* ipv4=on alone means IPv4 only, as ipv6=off does; and the other way round. */
static bool read_families(MigrationAddress *a, JsonObject *o, GError **errp)
{
    bool has4 = json_object_has_member(o, "ipv4"), has6 = json_object_has_member(o, "ipv6");
    bool ipv4 = false, ipv6 = false;

    if (!keyval_get_bool(o, "ipv4", &ipv4, errp) || !keyval_get_bool(o, "ipv6", &ipv6, errp)) {
        return false;
    }
    if (has4 && has6 && !ipv4 && !ipv6) {
        return error_set(errp, "Cannot disable IPv4 and IPv6 at same time");
    }
    a->only_ipv4 = ipv4 ? !ipv6 : has6 && !ipv6;
    a->only_ipv6 = ipv6 ? !ipv4 : has4 && !ipv4;
    return true;
}

/* The forms of IPv4 addresses that GIO does not take: "0" above all. */
static char *host_of(const char *text)
{
    char dotted[INET_ADDRSTRLEN];
    struct in_addr in;

    if (inet_aton(text, &in) && inet_ntop(AF_INET, &in, dotted, sizeof(dotted))) {
        return g_strdup(dotted);
    }
    return g_strdup(text);
}

static bool read_inet(MigrationAddress *a, JsonObject *o, GError **errp)
{
    const char *host = NULL, *port = NULL;
    bool mptcp = false, keep_alive; /* always, see channel-socket.c */
    uint64_t to = 0;

    if (!keyval_check_keys(o,
                           KEYS("transport", "type", "host", "port", "to", "ipv4", "ipv6",
                                "keep-alive", "mptcp", "numeric"),
                           errp) ||
        !need_str(o, "host", &host, errp) || !need_str(o, "port", &port, errp) ||
        !port_of(port, &a->port, errp) || !read_families(a, o, errp) ||
        !keyval_get_uint(o, "to", &to, errp) ||
        !keyval_get_bool(o, "keep-alive", &keep_alive, errp) ||
        !keyval_get_bool(o, "mptcp", &mptcp, errp)) {
        return false;
    }
    if (mptcp) {
        return error_set(errp, "migration address: 'mptcp' is not supported");
    }
    if (to && (to < a->port || to > UINT16_MAX)) {
        return error_set(errp, "Parameter 'to' expects a port number not below %u", a->port);
    }
    a->last_port = to ? (uint16_t)to : a->port;
    a->host = host_of(host);
    set_tcp_name(a);
    return true;
}

/* "HOST:PORT", "[HOST]:PORT", perhaps with options. */
static JsonObject *tcp_members(const char *text, GError **errp)
{
    g_autoptr(JsonObject) o = NULL;
    bool bracket = *text == '[';
    const char *end = bracket ? strstr(text, "]:") : strchr(text, ':');
    const char *host = text + bracket, *port = end ? end + 1 + bracket : NULL, *options;
    g_autofree char *host_text = NULL, *port_text = NULL;

    if (!end) {
        error_set(errp, bracket ? "error parsing IPv6 address '%s'" : "error parsing address '%s'",
                  text);
        return NULL;
    }
    options = strchrnul(port, ',');
    o = keyval_parse(*options ? options + 1 : options, NULL, NULL, errp);
    if (!o) {
        return NULL;
    }
    host_text = g_strndup(host, (gsize)(end - host));
    port_text = g_strndup(port, (gsize)(options - port));
    json_object_set_string_member(o, "host", host_text);
    json_object_set_string_member(o, "port", port_text);
    return g_steal_pointer(&o);
}

/* ---- unix ---- */

static bool read_unix(MigrationAddress *a, JsonObject *o, GError **errp)
{
    const char *path = NULL;

    a->tight = true;
    if (!keyval_check_keys(o, KEYS("transport", "type", "path", "abstract", "tight"), errp) ||
        !need_str(o, "path", &path, errp) || !keyval_get_bool(o, "abstract", &a->abstract, errp) ||
        !keyval_get_bool(o, "tight", &a->tight, errp)) {
        return false;
    }
    if (!*path) {
        return error_set(errp, "invalid Unix socket address");
    }
    if (strlen(path) >= sizeof(((struct sockaddr_un *)NULL)->sun_path)) {
        return error_set(errp, "UNIX socket path '%s' is too long", path);
    }
    a->path = g_strdup(path);
    a->name = g_strdup_printf("unix:%s", path);
    return true;
}

/* ---- fd ---- */

static bool check_stream_socket(const char *text, int fd, GError **errp)
{
    int type = 0, listening = 0;
    socklen_t len = sizeof(type);

    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) ||
        getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len)) {
        return error_set_errno(errp, errno, "migration fd '%s'", text);
    }
    if (type != SOCK_STREAM) {
        return error_set(errp, "migration fd '%s' is a socket, but not a stream", text);
    }
    return !listening || error_set(errp,
                                   "migration fd '%s' is a listening socket: a connected one is "
                                   "needed",
                                   text);
}

/* What bytes can be written to or read from, one after the other. */
static bool check_kind(MigrationAddress *a, int fd, GError **errp)
{
    struct stat st;

    if (fstat(fd, &st)) {
        return error_set_errno(errp, errno, "migration fd '%s'", a->fd_text);
    }
    switch (st.st_mode & S_IFMT) {
    case S_IFSOCK:
        a->fd_is_socket = true;
        return check_stream_socket(a->fd_text, fd, errp);
    case S_IFIFO:
    case S_IFREG:
    case S_IFCHR:
    case S_IFBLK:
        return true;
    default:
        return error_set(errp, "migration fd '%s' is neither a socket nor a pipe nor a file",
                         a->fd_text);
    }
}

/* Taken now, for the name is the monitor's whose command is being carried out. */
static bool read_fd(MigrationAddress *a, JsonObject *o, GError **errp)
{
    const char *text = NULL;
    int fd;

    if (!keyval_check_keys(o, KEYS("transport", "type", "str"), errp) ||
        !need_str(o, "str", &text, errp)) {
        return false;
    }
    if (!*text) {
        return error_set(errp, "invalid file descriptor address");
    }
    fd = fd_take(text, errp);
    if (fd < 0) {
        return false;
    }
    a->fd_text = g_strdup(text);
    a->fd = g_new(int, 1);
    *a->fd = fd;
    a->name = g_strdup_printf("fd:%s", text);
    return check_kind(a, fd, errp);
}

/* ---- exec ---- */

static bool read_exec(MigrationAddress *a, JsonObject *o, GError **errp)
{
    JsonNode *node = json_object_get_member(o, "args");
    JsonArray *args = node && JSON_NODE_HOLDS_ARRAY(node) ? json_node_get_array(node) : NULL;
    guint n = args ? json_array_get_length(args) : 0;
    g_autofree char *words = NULL;

    if (!keyval_check_keys(o, KEYS("transport", "args"), errp)) {
        return false;
    }
    if (!n) {
        return error_set(errp, "Parameter 'addr.args' expects the words of a command");
    }
    a->args = g_new0(char *, n + 1);
    for (guint i = 0; i < n; i++) {
        JsonNode *word = json_array_get_element(args, i);

        if (!JSON_NODE_HOLDS_VALUE(word) || json_node_get_value_type(word) != G_TYPE_STRING) {
            return error_set(errp, "Invalid parameter type for 'addr.args[%u]', expected: string",
                             i);
        }
        a->args[i] = json_node_dup_string(word);
    }
    words = g_strjoinv(" ", a->args);
    a->name = g_strdup_printf("exec:%s", words);
    return true;
}

static JsonObject *exec_members(const char *text, GError **errp)
{
    JsonObject *o = json_object_new();
    JsonArray *args = json_array_new();

    json_array_add_string_element(args, "/bin/sh");
    json_array_add_string_element(args, "-c");
    json_array_add_string_element(args, text);
    json_object_set_array_member(o, "args", args);
    return o;
}

/* ---- file ---- */

static bool read_file(MigrationAddress *a, JsonObject *o, GError **errp)
{
    const char *path = NULL;

    if (!keyval_check_keys(o, KEYS("transport", "filename", "offset"), errp) ||
        !need_str(o, "filename", &path, errp) ||
        !keyval_get_size(o, "offset", 1, &a->offset, errp)) {
        return false;
    }
    if (!json_object_has_member(o, "offset")) {
        return error_set(errp, "Parameter 'addr.offset' is missing");
    }
    if (a->offset > INT64_MAX) {
        return error_set(errp, "file offset %" PRIu64 " is too large", a->offset);
    }
    a->path = g_strdup(path);
    a->name = g_strdup_printf("file:%s", path);
    return true;
}

static JsonObject *file_members(const char *text, GError **errp)
{
    const char *option = g_strrstr(text, ",offset="), *number = NULL;
    g_autofree char *path = g_strndup(text, option ? (gsize)(option - text) : strlen(text));
    uint64_t offset = 0;
    JsonObject *o;

    if (option) {
        number = strchr(option, '=') + 1;
        if (!size_parse(number, 1, &offset, NULL) || offset > INT64_MAX) {
            error_set(errp, "file URI has bad offset %s: Invalid argument", number);
            return NULL;
        }
    }
    o = json_object_new();
    json_object_set_string_member(o, "filename", path);
    json_object_set_int_member(o, "offset", (gint64)offset);
    return o;
}

/* ---- all of them ---- */

static JsonObject *one_member(const char *key, const char *value)
{
    JsonObject *o = json_object_new();

    json_object_set_string_member(o, key, value);
    return o;
}

static JsonObject *unix_members(const char *text, GError **errp)
{
    return one_member("path", text);
}

static JsonObject *fd_members(const char *text, GError **errp)
{
    return one_member("str", text);
}

static const struct {
    const char *prefix, *transport, *type; /* in a URI, and QMP's; type: NULL where it has none */
    JsonObject *(*members)(const char *text, GError **errp);
    bool (*read)(MigrationAddress *a, JsonObject *o, GError **errp);
    const char *unsupported; /* why */
} kinds[] = {
    [TRANSPORT_TCP] = { "tcp:", "socket", "inet", tcp_members, read_inet },
    [TRANSPORT_UNIX] = { "unix:", "socket", "unix", unix_members, read_unix },
    [TRANSPORT_FD] = { "fd:", "socket", "fd", fd_members, read_fd },
    [TRANSPORT_EXEC] = { "exec:", "exec", NULL, exec_members, read_exec },
    [TRANSPORT_FILE] = { "file:", "file", NULL, file_members, read_file },
    { "rdma:", "rdma", NULL, .unsupported = "there is no RDMA transport; use tcp" },
    { "vsock:", "socket", "vsock", .unsupported = "there is no vsock transport; use tcp or unix" },
};

static MigrationAddress *read_kind(size_t kind, JsonObject *o, GError **errp)
{
    g_autoptr(MigrationAddress) a = NULL;

    if (kinds[kind].unsupported) {
        error_set(errp, "migration address '%s' is not supported: %s", kinds[kind].prefix,
                  kinds[kind].unsupported);
        return NULL;
    }
    a = g_new0(MigrationAddress, 1);
    a->kind = (TransportKind)kind;
    return kinds[kind].read(a, o, errp) ? g_steal_pointer(&a) : NULL;
}

MigrationAddress *migration_address_parse(const char *uri, GError **errp)
{
    for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++) {
        g_autoptr(JsonObject) o = NULL;

        if (!g_str_has_prefix(uri, kinds[i].prefix)) {
            continue;
        }
        if (kinds[i].members) {
            o = kinds[i].members(uri + strlen(kinds[i].prefix), errp);
            if (!o) {
                return NULL;
            }
        }
        return read_kind(i, o, errp);
    }
    error_set(errp, "unknown migration protocol: %s", uri);
    return NULL;
}

MigrationAddress *migration_address_from_json(JsonObject *addr, GError **errp)
{
    const char *transport = NULL, *type = NULL;
    bool known = false;

    if (!need_str(addr, "transport", &transport, errp)) {
        return NULL;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++) {
        if (!g_str_equal(transport, kinds[i].transport)) {
            continue;
        }
        known = true;
        if (kinds[i].type && !need_str(addr, "type", &type, errp)) {
            return NULL;
        }
        if (!kinds[i].type || g_str_equal(type, kinds[i].type)) {
            return read_kind(i, addr, errp);
        }
    }
    error_set(errp, "Parameter '%s' does not accept value '%s'", known ? "type" : "transport",
              known ? type : transport);
    return NULL;
}

void migration_address_free(MigrationAddress *a)
{
    if (!a) {
        return;
    }
    if (a->fd && *a->fd >= 0) {
        fd_give_back(a->fd_text, *a->fd);
    }
    g_free(a->name);
    g_free(a->host);
    g_free(a->path);
    g_free(a->fd_text);
    g_free(a->fd);
    g_strfreev(a->args);
    g_free(a);
}

MigrationAddress *migration_address_copy(const MigrationAddress *a)
{
    MigrationAddress *copy = g_memdup2(a, sizeof(*a));

    copy->name = g_strdup(a->name);
    copy->host = g_strdup(a->host);
    copy->path = g_strdup(a->path);
    copy->fd_text = g_strdup(a->fd_text);
    copy->fd = NULL; /* there is one only */
    copy->args = g_strdupv(a->args);
    return copy;
}

void migration_address_set_port(MigrationAddress *a, uint16_t port)
{
    a->port = port;
    set_tcp_name(a);
}

bool migration_address_is_duplex(const MigrationAddress *a)
{
    return migration_address_is_socket(a) || a->fd_is_socket;
}

bool migration_address_is_socket(const MigrationAddress *a)
{
    return a->kind == TRANSPORT_TCP || a->kind == TRANSPORT_UNIX;
}

bool migration_address_is_file(const MigrationAddress *a)
{
    return a->kind == TRANSPORT_FILE;
}

JsonObject *migration_address_to_json(const MigrationAddress *a)
{
    g_autofree char *port = NULL;
    JsonObject *o;

    if (!migration_address_is_socket(a)) {
        return NULL;
    }
    o = one_member("type", kinds[a->kind].type);
    if (a->kind == TRANSPORT_UNIX) {
        json_object_set_string_member(o, "path", a->path);
        if (a->abstract) {
            json_object_set_boolean_member(o, "abstract", TRUE);
        }
    } else {
        port = g_strdup_printf("%u", a->port);
        json_object_set_string_member(o, "host", a->host);
        json_object_set_string_member(o, "port", port);
    }
    return o;
}
