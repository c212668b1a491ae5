/* SPDX-License-Identifier: GPL-2.0-or-later */
/* migration/channel: each transport there and back, between threads of this process. */
#include <fcntl.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/fdset.h"
#include "migration/channel.h"
#include "migration/options.h"
#include "util/fd.h"

#define MUCH ((size_t)5 << 20)

static char *folder; /* of this run's files */

static char *path_of(const char *name)
{
    return g_strdup_printf("%s/%s", folder, name);
}

/* GLib's own threads and wake-ups come and stay; what is counted comes after them. */
static guint descriptors(void)
{
    g_autoptr(GDir) dir = g_dir_open("/proc/self/fd", 0, NULL);
    guint n = 0;

    while (g_dir_read_name(dir)) {
        n++;
    }
    return n;
}

/* A thread of GLib's that reaps or resolves may be a little late. */
static void assert_descriptors(guint wanted)
{
    for (int i = 0; i < 200 && descriptors() != wanted; i++) {
        g_usleep(5000);
    }
    g_assert_cmpuint(descriptors(), ==, wanted);
}

static uint8_t *pattern(size_t len, unsigned seed)
{
    uint8_t *data = g_malloc(len);
    uint32_t x = seed * 2654435761u + 1;

    for (size_t i = 0; i < len; i++) {
        x = x * 1664525u + 1013904223u;
        data[i] = (uint8_t)(x >> 24);
    }
    return data;
}

static MigrationAddress *parse(const char *uri)
{
    g_autoptr(GError) err = NULL;
    MigrationAddress *a = migration_address_parse(uri, &err);

    g_assert_no_error(err);
    g_assert_nonnull(a);
    return a;
}

static MigrationAddress *parse_json(const char *json, GError **errp)
{
    g_autoptr(JsonNode) node = json_from_string(json, NULL);

    g_assert_nonnull(node);
    return migration_address_from_json(json_node_get_object(node), errp);
}

static char *uri_of(MigrationListener *l)
{
    g_autoptr(JsonObject) o = migration_address_to_json(migration_listener_address(l));

    return g_strdup_printf("tcp:%s:%s", json_object_get_string_member(o, "host"),
                           json_object_get_string_member(o, "port"));
}

/* ---- there ---- */

static void write_pieces(MigrationChannel *ch, const uint8_t *data, size_t len)
{
    g_autoptr(GError) err = NULL;
    size_t sizes[] = { 1, 0, 7, 4096, 100000, 1, 524288, 0 }, done = 0;

    while (done < len) {
        struct iovec iov[G_N_ELEMENTS(sizes)];

        for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
            iov[i].iov_base = (void *)(data + done);
            iov[i].iov_len = MIN(sizes[i], len - done);
            done += iov[i].iov_len;
        }
        g_assert_true(migration_channel_writev(ch, iov, G_N_ELEMENTS(iov), &err));
        g_assert_no_error(err);
    }
}

static void read_pieces(MigrationChannel *ch, const uint8_t *data, size_t len)
{
    g_autoptr(GError) err = NULL;
    size_t sizes[] = { 4, 0, 65536, 65537, 1, 8, 300000, 3 }, done = 0;
    g_autofree uint8_t *buf = g_malloc(300000);

    for (size_t i = 0; done < len; i++) {
        size_t n = MIN(sizes[i % G_N_ELEMENTS(sizes)], len - done);

        g_assert_true(migration_channel_read(ch, buf, n, &err));
        g_assert_no_error(err);
        g_assert_cmpmem(buf, n, data + done, n);
        done += n;
    }
}

typedef struct Source {
    const MigrationAddress *address;
    bool answer; /* some bytes come back */
} Source;

static gpointer source_thread(gpointer opaque)
{
    const Source *s = opaque;
    g_autoptr(GError) err = NULL;
    g_autoptr(MigrationChannel) ch = migration_connect(s->address, NULL, &err);
    g_autofree uint8_t *data = pattern(MUCH, 1), *back = pattern(1000, 2);

    g_assert_no_error(err);
    g_assert_nonnull(ch);
    write_pieces(ch, data, MUCH);
    if (s->answer) {
        read_pieces(ch, back, 1000);
    }
    g_assert_true(migration_channel_finish(ch, &err));
    g_assert_no_error(err);
    return NULL;
}

static void assert_end(MigrationChannel *ch)
{
    g_autoptr(GError) err = NULL;
    char c;

    g_assert_false(migration_channel_read(ch, &c, 1, &err));
    g_assert_nonnull(strstr(err->message, "unexpected end of the stream"));
}

/* From a thread at @to, to this thread at @l. */
static void there_and_back(MigrationListener *l, const MigrationAddress *to, bool answer)
{
    Source s = { to, answer };
    GThread *thread = g_thread_new("source", source_thread, &s);
    g_autoptr(GError) err = NULL;
    g_autoptr(MigrationChannel) ch = migration_accept(l, NULL, &err);
    g_autofree uint8_t *data = pattern(MUCH, 1), *back = pattern(1000, 2);

    g_assert_no_error(err);
    g_assert_nonnull(ch);
    g_assert_cmpint(migration_channel_is_duplex(ch), ==, answer);
    read_pieces(ch, data, MUCH);
    if (answer) {
        write_pieces(ch, back, 1000);
    }
    assert_end(ch);
    g_thread_join(thread);
}

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
        to = strstr(listen[i], "::1") ? NULL : parse(uri);
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

    g_clear_pointer(&ch, migration_channel_free);
    before = descriptors();
    source_thread(&(Source) { to, false });
    for (char *c = in; *c; c++) {
        *c = *c == '\'' ? '"' : *c;
    }
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
        source_thread(&(Source) { a, false });
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

int main(int argc, char **argv)
{
    int status;

    g_test_init(&argc, &argv, NULL);
    folder = g_dir_make_tmp("viaduct-channel-XXXXXX", NULL);
    {
        /* So that what GLib opens once is open. */
        g_autoptr(MigrationAddress) a = parse("exec:cat >/dev/null");

        source_thread(&(Source) { a, false });
    }
    g_test_add_func("/channel/tcp", test_tcp);
    g_test_add_func("/channel/unix", test_unix);
    g_test_add_func("/channel/fd", test_fd);
    g_test_add_func("/channel/bad-fd", test_bad_fd);
    g_test_add_func("/channel/exec", test_exec);
    g_test_add_func("/channel/exec-fails", test_exec_fails);
    g_test_add_func("/channel/file", test_file);
    g_test_add_func("/channel/file-head", test_file_head);
    status = g_test_run();
    {
        g_autofree char *command = g_strdup_printf("rm -rf %s", folder);

        status |= system(command);
    }
    g_free(folder);
    return status;
}
