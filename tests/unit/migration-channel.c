/* SPDX-License-Identifier: GPL-2.0-or-later */
/* migration/channel: each transport there and back, between threads of this process. */
#include <fcntl.h>
#include <glib/gstdio.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "channel-fixture.h"
#include "migration/options.h"
#include "util/fd.h"

#define MUCH ((size_t)5 << 20)

static void test_tcp(void)
{
    static const char *const listen[] = { "tcp:127.0.0.1:0", "tcp:localhost:0,ipv4=on", "tcp:0:0",
                                          "tcp::0", "tcp:[::1]:0" };
    guint before = descriptors();

    for (size_t i = 0; i < G_N_ELEMENTS(listen); i++) {
        g_autoptr(MigrationAddress) at = parse(listen[i]), to = NULL;
        g_autoptr(GError) err = NULL;
        g_autoptr(MigrationListener) l = migration_listen(at, &err);
        g_autofree char *uri = NULL;

        if (!l && strstr(listen[i], "::1")) {
            g_test_message("no IPv6 here: %s", err->message);
            continue;
        }
        g_assert_no_error(err);
        uri = uri_of(l);
        g_assert_null(strstr(uri, ":0,"));
        to = strstr(uri, "::") ? NULL : parse(uri);
        if (!to) { /* the form of JSON has no brackets */
            g_autoptr(JsonObject) o = migration_address_to_json(migration_listener_address(l));

            json_object_set_string_member(o, "transport", "socket");
            to = migration_address_from_json(o, &err);
            g_assert_no_error(err);
        }
        g_assert_true(migration_address_is_duplex(to));
        g_assert_true(migration_address_is_socket(to));
        g_assert_false(migration_address_is_file(to));
        there_and_back(l, to, true);
        there_and_back(l, to, true);
    }
    assert_descriptors(before);
}

static void test_unix(void)
{
    g_autofree char *path = path_of("socket"), *uri = g_strdup_printf("unix:%s", path);
    guint before = descriptors();

    for (int i = 0; i < 2; i++) {
        g_autoptr(MigrationAddress) a = parse(uri);
        g_autoptr(GError) err = NULL;
        g_autoptr(MigrationListener) l = migration_listen(a, &err);

        g_assert_no_error(err);
        g_assert_true(g_file_test(path, G_FILE_TEST_EXISTS));
        there_and_back(l, a, true);
        if (i == 0) { /* somebody else's stays */
            g_assert_cmpint(g_unlink(path), ==, 0);
            g_assert_true(g_file_set_contents(path, "x", 1, NULL));
            g_clear_pointer(&l, migration_listener_free);
            g_assert_cmpint(g_unlink(path), ==, 0);
        }
    }
    g_assert_false(g_file_test(path, G_FILE_TEST_EXISTS));
    assert_descriptors(before);
}

/* ---- fd ---- */

static MigrationAddress *address_of_fd(int fd)
{
    g_autofree char *uri = g_strdup_printf("fd:%d", fd);

    return parse(uri);
}

static void test_fd(void)
{
    guint before = descriptors();
    int fds[2];

    for (int i = 0; i < 2; i++) {
        g_autoptr(MigrationAddress) from = NULL, to = NULL;
        g_autoptr(MigrationListener) l = NULL;
        g_autoptr(GError) err = NULL;

        g_assert_cmpint(i ? pipe(fds) : socketpair(AF_UNIX, SOCK_STREAM, 0, fds), ==, 0);
        from = address_of_fd(fds[0]);
        to = address_of_fd(fds[1]);
        g_assert_cmpint(migration_address_is_duplex(to), ==, !i);
        g_assert_false(migration_address_is_socket(to));
        g_assert_null(migration_address_to_json(to));
        if (i) { /* the wrong ends */
            g_assert_null(migration_listen(to, &err));
            g_assert_nonnull(strstr(err->message, "is not open for reading"));
            g_clear_error(&err);
            g_assert_null(migration_connect(from, NULL, &err));
            g_assert_nonnull(strstr(err->message, "is not open for writing"));
            g_clear_error(&err);
        }
        l = migration_listen(from, &err);
        g_assert_no_error(err);
        there_and_back(l, to, !i);
        /* There is one only. */
        g_assert_null(migration_accept(l, NULL, &err));
        g_assert_nonnull(strstr(err->message, "gives one channel only"));
        g_clear_error(&err);
        g_assert_null(migration_connect(to, NULL, &err));
        g_assert_nonnull(strstr(err->message, "was used already"));
    }
    assert_descriptors(before);
}

static void assert_bad_fd(int fd, const char *why)
{
    g_autofree char *uri = g_strdup_printf("fd:%d", fd);
    g_autoptr(GError) err = NULL;

    g_assert_cmpint(fd, >=, 0);
    g_assert_null(migration_address_parse(uri, &err));
    g_assert_nonnull(strstr(err->message, why));
    /* It was given back. */
    g_assert_cmpint(fcntl(fd, F_GETFD), ==, 0);
    close(fd);
}

static void test_bad_fd(void)
{
    struct sockaddr_un any = { .sun_family = AF_UNIX };
    guint before = descriptors();
    int fd;

    assert_bad_fd(socket(AF_UNIX, SOCK_DGRAM, 0), "is a socket, but not a stream");
    assert_bad_fd(open("/", O_RDONLY), "is neither a socket nor a pipe nor a file");
    fd = socket(AF_UNIX, SOCK_STREAM, 0);
    g_assert_cmpint(bind(fd, (void *)&any, sizeof(any.sun_family)), ==, 0);
    g_assert_cmpint(listen(fd, 1), ==, 0);
    assert_bad_fd(fd, "is a listening socket");
    assert_descriptors(before);
}

/* ---- exec ---- */

static void test_exec(void)
{
    g_autofree char *path = path_of("exec");
    g_autofree char *out = g_strdup_printf("exec:cat > %s", path);
    g_autofree char *in = g_strdup_printf("{'transport':'exec','args':['cat','%s']}", path);
    g_autoptr(MigrationAddress) to = parse(out), from = NULL;
    g_autoptr(MigrationChannel) ch = NULL;
    g_autoptr(MigrationListener) l = NULL;
    g_autoptr(GError) err = NULL;
    g_autofree uint8_t *data = pattern(MUCH, 1);
    guint before;

    before = descriptors();
    be_source(to, false);
    from = parse_json(in, &err);
    g_assert_no_error(err);
    g_assert_false(migration_address_is_duplex(from));
    l = migration_listen(from, &err);
    g_assert_no_error(err);
    ch = migration_accept(l, NULL, &err);
    g_assert_no_error(err);
    read_pieces(ch, data, MUCH);
    assert_end(ch);
    g_clear_pointer(&ch, migration_channel_free);
    assert_descriptors(before);
}

static void test_exec_fails(void)
{
    static const char *const commands[][2] = {
        { "exec:cat >/dev/null; exit 3", "exec:cat >/dev/null; exit 3: the command failed: "
                                         "Child process exited with code 3" },
        { "exec:cat >/dev/null; kill -9 $$", "killed by signal 9" },
    };
    guint before = descriptors();

    for (size_t i = 0; i < G_N_ELEMENTS(commands); i++) {
        g_autoptr(MigrationAddress) a = parse(commands[i][0]);
        g_autoptr(GError) err = NULL;
        g_autoptr(MigrationChannel) ch = migration_connect(a, NULL, &err);
        struct iovec iov = { "hello", 5 };

        g_assert_no_error(err);
        g_assert_true(migration_channel_writev(ch, &iov, 1, &err));
        g_assert_false(migration_channel_finish(ch, &err));
        g_test_message("%s", err->message);
        g_assert_nonnull(strstr(err->message, i ? commands[i][1] : "exited with code 3"));
    }
    assert_descriptors(before);
}

static gpointer shutdown_soon(gpointer ch)
{
    g_usleep(50000);
    migration_channel_shutdown(ch);
    return NULL;
}

/* A command that reads all and then does not come to an end. */
static void test_exec_hangs(void)
{
    guint before = descriptors();
    g_autoptr(MigrationAddress) a = parse("exec:cat >/dev/null; exec sleep 100");
    g_autoptr(GError) err = NULL;
    g_autoptr(MigrationChannel) ch = migration_connect(a, NULL, &err);
    GThread *thread = g_thread_new("shutdown", shutdown_soon, ch);

    g_assert_false(migration_channel_finish(ch, &err));
    g_assert_nonnull(strstr(err->message, "it was shut down"));
    g_thread_join(thread);
    g_clear_pointer(&ch, migration_channel_free);
    assert_descriptors(before);
}

/* ---- file ---- */

static void test_file(void)
{
    g_autofree char *path = path_of("file");
    g_autofree char *uri = g_strdup_printf("file:%s,offset=0x1003", path);
    g_autoptr(MigrationAddress) a = parse(uri);
    g_autofree uint8_t *data = pattern(MUCH, 1);
    guint before = descriptors();
    struct stat st;

    for (int i = 0; i < 2; i++) {
        g_autoptr(MigrationListener) l = NULL;
        g_autoptr(MigrationChannel) ch = NULL;
        g_autoptr(GError) err = NULL;

        g_assert_true(migration_address_is_file(a));
        be_source(a, false);
        g_assert_cmpint(stat(path, &st), ==, 0);
        g_assert_cmpint(st.st_size, ==, MUCH + 0x1003);
        g_assert_cmpint(st.st_mode & 0777, ==, 0600);
        l = migration_listen(a, &err);
        g_assert_no_error(err);
        ch = migration_accept(l, NULL, &err);
        read_pieces(ch, data, MUCH);
        assert_end(ch);
    }
    assert_descriptors(before);
}

/* ---- what goes wrong ---- */

/* What is before the offset stays. */
static void test_file_head(void)
{
    g_autofree char *path = path_of("head"), *uri = g_strdup_printf("file:%s,offset=4", path);
    g_autofree char *text = NULL;
    g_autoptr(MigrationAddress) a = parse(uri);
    g_autoptr(GError) err = NULL;
    g_autoptr(MigrationChannel) ch = NULL;
    struct iovec iov = { "new", 3 };

    g_assert_true(g_file_set_contents(path, "headold and longer", -1, NULL));
    ch = migration_connect(a, NULL, &err);
    g_assert_no_error(err);
    g_assert_true(migration_channel_writev(ch, &iov, 1, &err));
    g_assert_true(migration_channel_finish(ch, &err));
    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    g_assert_cmpstr(text, ==, "headnew");
}

static void set_direct_io(bool on)
{
    g_autoptr(JsonObject) o = json_object_new();

    json_object_set_boolean_member(o, "direct-io", on);
    g_assert_true(migration_set_parameters(o, NULL));
}

/* Any length, so that the last bytes are not a whole block; and a length of whole buffers. */
static void test_direct_io(void)
{
    static const size_t lengths[] = { 1, 4096, 1 << 20, MUCH, MUCH + 4097 };
    g_autofree char *path = path_of("direct"), *uri = g_strdup_printf("file:%s,offset=8k", path);
    g_autofree char *odd = g_strdup_printf("file:%s,offset=100", path);
    g_autoptr(MigrationAddress) a = parse(uri), b = parse(odd);
    g_autoptr(GError) err = NULL;
    g_autofree uint8_t *data = pattern(MUCH + 4097, 1);
    guint before = descriptors();

    set_direct_io(true);
    g_assert_null(migration_connect(b, NULL, &err));
    g_assert_nonnull(strstr(err->message, "direct-io needs an offset that is a multiple of 4096"));
    g_clear_error(&err);
    for (size_t i = 0; i < G_N_ELEMENTS(lengths); i++) {
        MigrationChannel *ch = migration_connect(a, NULL, &err);
        g_autoptr(MigrationListener) l = NULL;
        struct stat st;

        if (!ch && strstr(err->message, "(O_DIRECT): Invalid argument")) {
            g_test_skip("the file system has no O_DIRECT");
            break;
        }
        g_assert_no_error(err);
        write_pieces(ch, data, lengths[i]);
        g_assert_true(migration_channel_finish(ch, &err));
        migration_channel_free(ch);
        g_assert_cmpint(stat(path, &st), ==, 0);
        g_assert_cmpint(st.st_size, ==, 8192 + lengths[i]);
        for (int direct = 0; direct < 2; direct++) {
            set_direct_io(direct);
            l = migration_listen(a, &err);
            g_assert_no_error(err);
            ch = migration_accept(l, NULL, &err);
            read_pieces(ch, data, lengths[i]);
            assert_end(ch);
            migration_channel_free(ch);
            g_clear_pointer(&l, migration_listener_free);
        }
    }
    set_direct_io(false);
    assert_descriptors(before);
}

/* ---- addresses ---- */

static void test_bad_addresses(void)
{
    static const char *const uris[][2] = {
        { "nonsense", "unknown migration protocol: nonsense" },
        { "tcp:", "error parsing address ''" },
        { "tcp:1", "error parsing address '1'" },
        { "tcp:[::1:44", "error parsing IPv6 address '[::1:44'" },
        { "tcp:h:p", "'p' is not a port number" },
        { "tcp:h:65536", "'65536' is not a port number" },
        { "tcp:h:", "'' is not a port number" },
        { "tcp:h:1,foo=on", "Invalid parameter 'foo'" },
        { "tcp:h:9,to=8", "Parameter 'to' expects a port number not below 9" },
        { "tcp:h:1,ipv4=off,ipv6=off", "Cannot disable IPv4 and IPv6 at same time" },
        { "tcp:h:1,ipv4=x", "Parameter 'ipv4' expects 'on' or 'off'" },
        { "tcp:h:1,mptcp=on", "migration address: 'mptcp' is not supported" },
        { "unix:", "invalid Unix socket address" },
        { "fd:", "invalid file descriptor address" },
        { "fd:9999", "fd 9999 is not open: Bad file descriptor" },
        { "fd:nope", "File descriptor named 'nope' not found: there are numbers, names that getfd "
                     "gave, and /dev/fdset/N" },
        { "file:/x,offset=z", "file URI has bad offset z: Invalid argument" },
        { "file:/x,offset=8E", "file URI has bad offset 8E: Invalid argument" },
        { "rdma:h:1",
          "migration address 'rdma:' is not supported: there is no RDMA transport; use tcp" },
        { "vsock:1:2", "migration address 'vsock:' is not supported: there is no vsock transport; "
                       "use tcp or unix" },
    };
    static const char *const jsons[][2] = {
        { "{}", "Parameter 'addr.transport' is missing" },
        { "{'transport':'foo'}", "Parameter 'transport' does not accept value 'foo'" },
        { "{'transport':7}", "Invalid parameter type for 'transport', expected: string" },
        { "{'transport':'socket'}", "Parameter 'addr.type' is missing" },
        { "{'transport':'socket','type':'foo'}", "Parameter 'type' does not accept value 'foo'" },
        { "{'transport':'socket','type':'inet','host':'h'}", "Parameter 'addr.port' is missing" },
        { "{'transport':'socket','type':'inet','host':'h','port':1}",
          "Invalid parameter type for 'port', expected: string" },
        { "{'transport':'socket','type':'vsock','cid':'1','port':'1'}",
          "migration address 'vsock:' is not supported: there is no vsock transport; use tcp or "
          "unix" },
        { "{'transport':'rdma'}",
          "migration address 'rdma:' is not supported: there is no RDMA transport; use tcp" },
        { "{'transport':'exec'}", "Parameter 'addr.args' expects the words of a command" },
        { "{'transport':'exec','args':[]}",
          "Parameter 'addr.args' expects the words of a command" },
        { "{'transport':'exec','args':['a',1]}",
          "Invalid parameter type for 'addr.args[1]', expected: string" },
        { "{'transport':'file','filename':'/x'}", "Parameter 'addr.offset' is missing" },
        { "{'transport':'file','filename':'/x','offset':0,'bla':1}", "Invalid parameter 'bla'" },
        { "{'transport':'file','filename':'/x','offset':-1}", "Parameter 'offset' expects a size" },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(uris); i++) {
        g_autoptr(GError) err = NULL;

        g_assert_null(migration_address_parse(uris[i][0], &err));
        g_assert_cmpstr(err->message, ==, uris[i][1]);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(jsons); i++) {
        g_autoptr(GError) err = NULL;

        g_assert_null(parse_json(jsons[i][0], &err));
        g_assert_cmpstr(err->message, ==, jsons[i][1]);
    }
}

static void assert_no_channel(const char *uri, const char *why)
{
    g_autoptr(MigrationAddress) a = parse(uri);
    g_autoptr(GError) err = NULL;

    g_assert_null(migration_connect(a, NULL, &err));
    g_test_message("%s", err->message);
    g_assert_nonnull(strstr(err->message, why));
}

static void assert_no_listener(const char *uri, const char *why)
{
    g_autoptr(MigrationAddress) a = parse(uri);
    g_autoptr(GError) err = NULL;

    g_assert_null(migration_listen(a, &err));
    g_test_message("%s", err->message);
    g_assert_nonnull(strstr(err->message, why));
}

static void test_nobody_there(void)
{
    guint before = descriptors();

    assert_no_channel("tcp:127.0.0.1:1", "Failed to connect to 'tcp:127.0.0.1:1': ");
    assert_no_channel("tcp:127.0.0.1:1,ipv6=on", "the host has no such address");
    assert_no_channel("unix:/nowhere/socket", "Failed to connect to 'unix:/nowhere/socket': ");
    assert_no_channel("file:/nowhere/file", "Could not create '/nowhere/file': No such file");
    assert_no_channel("file:/dev/fdset/5", "Could not create '/dev/fdset/5': No such file");
    assert_no_listener("unix:/nowhere/socket", "Failed to listen on 'unix:/nowhere/socket': ");
    assert_no_listener("file:/nowhere/file", "Could not open '/nowhere/file': No such file");
    assert_no_listener("tcp:192.0.2.1:5", "Failed to listen on 'tcp:192.0.2.1:5': ");
    {
        g_autoptr(GError) err = NULL;
        g_autoptr(MigrationAddress) a =
            parse_json("{'transport':'exec','args':['/nowhere/command']}", &err);

        g_assert_null(migration_connect(a, NULL, &err));
        g_assert_nonnull(strstr(err->message, "migration command '/nowhere/command': "));
    }
    assert_descriptors(before);
}

/* A range of ports: the first free one. */
static void test_ports(void)
{
    g_autoptr(MigrationAddress) any = parse("tcp:127.0.0.1:0"), range = NULL;
    g_autoptr(MigrationListener) first = migration_listen(any, NULL), second = NULL;
    g_autoptr(GError) err = NULL;
    g_autofree char *taken = uri_of(first), *from = NULL, *uri = NULL;
    unsigned port = (unsigned)atoi(strrchr(taken, ':') + 1);

    assert_no_listener(taken, "Address already in use");
    from = g_strdup_printf("%s,to=%u", taken, MIN(port + 50, 65535));
    range = parse(from);
    second = migration_listen(range, &err);
    g_assert_no_error(err);
    uri = uri_of(second);
    g_assert_cmpint(atoi(strrchr(uri, ':') + 1), >, port);
}

/* ---- the other side goes, or this side gives up ---- */

typedef struct Pair {
    MigrationChannel *a, *b;
} Pair;

/* Two ends: of a socket pair, of TCP, or of a pipe that goes from a to b. */
static Pair make_pair(const char *kind)
{
    g_autoptr(MigrationAddress) from = NULL, to = NULL;
    g_autoptr(MigrationListener) l = NULL;
    g_autoptr(GError) err = NULL;
    g_autofree char *uri = NULL;
    Pair p;
    int fds[2];

    if (g_str_equal(kind, "tcp")) {
        from = parse("tcp:127.0.0.1:0");
    } else {
        g_assert_cmpint(g_str_equal(kind, "pipe") ? pipe(fds)
                                                  : socketpair(AF_UNIX, SOCK_STREAM, 0, fds),
                        ==, 0);
        from = address_of_fd(fds[0]);
        to = address_of_fd(fds[1]);
    }
    l = migration_listen(from, &err);
    g_assert_no_error(err);
    if (!to) {
        uri = uri_of(l);
        to = parse(uri);
    }
    p.a = migration_connect(to, NULL, &err);
    g_assert_no_error(err);
    p.b = migration_accept(l, NULL, &err);
    g_assert_no_error(err);
    return p;
}

/* Writes until that fails. */
static char *write_on(MigrationChannel *ch)
{
    static const size_t len = 1 << 20;
    g_autofree uint8_t *data = g_malloc0(len);
    g_autoptr(GError) err = NULL;
    struct iovec iov;

    do {
        iov = (struct iovec) { data, len };
    } while (migration_channel_writev(ch, &iov, 1, &err));
    return g_strdup(err->message);
}

static void test_shutdown(gconstpointer kind)
{
    guint before = descriptors();

    for (int write = 0; write < 2; write++) {
        Pair p = make_pair(kind);
        MigrationChannel *ch = write ? p.a : p.b;
        GThread *thread = g_thread_new("shutdown", shutdown_soon, ch);
        g_autoptr(GError) err = NULL;
        g_autofree char *said = NULL;
        char c;

        if (write) {
            said = write_on(ch);
        } else {
            g_assert_false(migration_channel_read(ch, &c, 1, &err));
            said = g_strdup(err->message);
        }
        g_assert_nonnull(strstr(said, "it was shut down"));
        g_thread_join(thread);
        g_clear_error(&err);
        g_assert_false(migration_channel_finish(ch, &err));
        g_assert_nonnull(strstr(err->message, "it was shut down"));
        migration_channel_free(p.a);
        migration_channel_free(p.b);
    }
    assert_descriptors(before);
}

/* With an error, and nothing else: SIGPIPE is what it is by default, where a socket is used. */
static void test_peer_gone(gconstpointer kind)
{
    guint before = descriptors();
    Pair p = make_pair(kind);
    g_autofree char *said = NULL;
    bool is_pipe = g_str_equal(kind, "pipe");
    void (*old)(int) = signal(SIGPIPE, is_pipe ? SIG_IGN : SIG_DFL);

    migration_channel_free(p.b);
    said = write_on(p.a);
    g_test_message("%s", said);
    g_assert_nonnull(strstr(said, "write failed: "));
    migration_channel_free(p.a);
    signal(SIGPIPE, old);

    p = make_pair(kind);
    migration_channel_free(p.a);
    assert_end(p.b);
    migration_channel_free(p.b);
    assert_descriptors(before);
}

static gpointer cancel_soon(gpointer cancel)
{
    g_usleep(50000);
    g_cancellable_cancel(cancel);
    return NULL;
}

static void assert_cancelled(const MigrationAddress *a, MigrationListener *l)
{
    g_autoptr(GCancellable) cancel = g_cancellable_new();
    GThread *thread = g_thread_new("cancel", cancel_soon, cancel);

    for (int i = 0; i < 2; i++) { /* and it stays so */
        g_autoptr(GError) err = NULL;

        g_assert_null(l ? migration_accept(l, cancel, &err) : migration_connect(a, cancel, &err));
        g_test_message("%s", err->message);
        g_assert_nonnull(strstr(err->message, "cancelled"));
    }
    g_thread_join(thread);
}

/* The kernel lets nobody in to a listener whose queue is full. */
static void test_cancel(void)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(address);
    guint before = descriptors();
    int full = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), waiting[2];
    g_autofree char *uri = NULL;
    g_autoptr(MigrationAddress) a = NULL, any = parse("tcp:127.0.0.1:0");
    g_autoptr(MigrationListener) l = migration_listen(any, NULL);

    g_assert_cmpint(bind(full, (void *)&address, len), ==, 0);
    g_assert_cmpint(listen(full, 0), ==, 0);
    g_assert_cmpint(getsockname(full, (void *)&address, &len), ==, 0);
    for (size_t i = 0; i < G_N_ELEMENTS(waiting); i++) {
        waiting[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        (void)!connect(waiting[i], (void *)&address, len);
    }
    uri = g_strdup_printf("tcp:127.0.0.1:%u", ntohs(address.sin_port));
    a = parse(uri);
    assert_cancelled(a, NULL);
    assert_cancelled(NULL, l);
    close(full);
    close(waiting[0]);
    close(waiting[1]);
    g_clear_pointer(&l, migration_listener_free);
    assert_descriptors(before);
}

/* What each channel can do is said before it is tried. */
static void test_one_way(void)
{
    Pair p = make_pair("pipe");
    g_autoptr(GError) err = NULL;
    struct iovec iov = { "x", 1 };
    char c;

    g_assert_false(migration_channel_is_duplex(p.a));
    g_assert_false(migration_channel_read(p.a, &c, 1, &err));
    g_assert_nonnull(strstr(err->message, "cannot be read from"));
    g_clear_error(&err);
    g_assert_false(migration_channel_writev(p.b, &iov, 1, &err));
    g_assert_nonnull(strstr(err->message, "cannot be written to"));
    migration_channel_free(p.a);
    migration_channel_free(p.b);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/channel/tcp", test_tcp);
    g_test_add_func("/channel/unix", test_unix);
    g_test_add_func("/channel/fd", test_fd);
    g_test_add_func("/channel/bad-fd", test_bad_fd);
    g_test_add_func("/channel/exec", test_exec);
    g_test_add_func("/channel/exec-fails", test_exec_fails);
    g_test_add_func("/channel/exec-hangs", test_exec_hangs);
    g_test_add_func("/channel/file", test_file);
    g_test_add_func("/channel/file-head", test_file_head);
    g_test_add_func("/channel/direct-io", test_direct_io);
    g_test_add_func("/channel/bad-addresses", test_bad_addresses);
    g_test_add_func("/channel/nobody-there", test_nobody_there);
    g_test_add_func("/channel/ports", test_ports);
    g_test_add_data_func("/channel/shutdown/socket", "socket", test_shutdown);
    g_test_add_data_func("/channel/shutdown/tcp", "tcp", test_shutdown);
    g_test_add_data_func("/channel/shutdown/pipe", "pipe", test_shutdown);
    g_test_add_data_func("/channel/peer-gone/socket", "socket", test_peer_gone);
    g_test_add_data_func("/channel/peer-gone/tcp", "tcp", test_peer_gone);
    g_test_add_data_func("/channel/peer-gone/pipe", "pipe", test_peer_gone);
    g_test_add_func("/channel/cancel", test_cancel);
    g_test_add_func("/channel/one-way", test_one_way);
    return channel_test_run(NULL);
}
