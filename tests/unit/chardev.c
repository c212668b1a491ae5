/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Character devices by themselves: the terminal, who comes to a socket and when, and slow peers. */
#include "backends/chardev.h"

#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

#include "util/keyval.h"

static char *dir, *path; /* of a UNIX socket */

/* ---- a front end ---- */

static GString *got;
static size_t room = 64;
static int opened, closed;

static size_t fe_can_read(void *opaque)
{
    return room;
}

static void fe_read(void *opaque, const uint8_t *buf, size_t len)
{
    g_string_append_len(got, (const char *)buf, (gssize)len);
}

static void fe_event(void *opaque, ChardevEvent event)
{
    (*(event == CHARDEV_OPENED ? &opened : &closed))++;
}

static const ChardevFrontend front_end = {
    .can_read = fe_can_read,
    .read = fe_read,
    .event = fe_event,
};

static void attach(Chardev *chr)
{
    g_autoptr(GError) err = NULL;

    g_string_truncate(got, 0);
    opened = closed = 0;
    chardev_attach(chr, &front_end, NULL, &err);
    g_assert_no_error(err);
}

static void run_until(const int *what)
{
    gint64 end = g_get_monotonic_time() + 20 * G_USEC_PER_SEC;

    while (!*what) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_main_context_iteration(NULL, FALSE);
        g_usleep(1000);
    }
}

static void run_until_got(const char *text)
{
    while (strcmp(got->str, text)) {
        g_main_context_iteration(NULL, TRUE);
    }
}

static Chardev *must(const char *opts)
{
    g_autoptr(JsonObject) o = keyval_parse(opts, "backend", NULL, NULL);
    g_autoptr(GError) err = NULL;
    Chardev *chr = chardev_new(o, &err);

    g_assert_no_error(err);
    return chr;
}

static void refused(const char *opts, const char *message)
{
    g_autoptr(JsonObject) o = keyval_parse(opts, "backend", NULL, NULL);
    g_autoptr(GError) err = NULL;

    g_assert_null(chardev_new(o, &err));
    g_assert_cmpstr(err->message, ==, message);
}

/* ---- names and options ---- */

static void count(const char *id, Chardev *chr, void *opaque)
{
    g_assert_cmpstr(chardev_id(chr), ==, id);
    (*(int *)opaque)++;
}

static void test_names(void)
{
    const char *const *names = chardev_backend_names();
    Chardev *chr = must("null,id=a");
    g_autoptr(GError) err = NULL;
    g_autofree char *filename = chardev_filename(chr), *too_long = g_strnfill(108, 'x');
    g_autofree char *long_opts = g_strdup_printf("socket,id=b,path=%s", too_long);
    g_autofree char *long_why = g_strdup_printf(
        "chardev 'b': UNIX socket path '%s' must have 1 to 107 characters", too_long);
    int n = 0;

    g_assert_true(g_strv_contains(names, "socket") && g_strv_contains(names, "stdio"));
    must("null,id=c");
    chardev_foreach(count, &n);
    g_assert_cmpint(n, ==, 2);
    g_assert_cmpstr(filename, ==, "null");
    g_assert_true(chardev_new_from_spec("chardev:a", "serial0", &err) == chr);
    g_assert_true(chardev_find("serial0") == chr);
    g_assert_null(chardev_new_from_spec("chardev:a", "serial1", &err));
    g_assert_cmpstr(err->message, ==, "chardev \"a\" is already in use as serial0");

    refused("null", "Parameter 'id' is missing");
    refused("id=b", "Parameter 'backend' is missing");
    refused("foo,id=b", "'foo' is not a valid char driver name");
    refused("null,id=1b", "Parameter 'id' expects an identifier");
    refused("null,id=a", "Chardev with id 'a' already exists");
    refused("null,id=b,path=x", "Invalid parameter 'path'");
    refused("socket,id=b", "chardev 'b': exactly one of 'path', 'host' and 'fd' is needed");
    refused("socket,id=b,host=x", "chardev 'b': 'host' and 'port' go together");
    refused(long_opts, long_why);
    refused("stdio,id=b,signal=maybe", "chardev 'b': Parameter 'signal' expects 'on' or 'off'");
    chardev_cleanup_all();
    g_assert_null(chardev_find("a"));
}

/* ---- stdio ---- */

/* A terminal in the place of stdin and stdout, which are put by meanwhile. */
typedef struct Terminal {
    int master, stdin_fd, stdout_fd;
} Terminal;

static Terminal terminal_new(void)
{
    Terminal t = { posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC), dup(0), dup(1) };
    int slave;

    g_assert_cmpint(t.master, >=, 0);
    g_assert_false(grantpt(t.master) || unlockpt(t.master));
    slave = open(ptsname(t.master), O_RDWR | O_NOCTTY | O_CLOEXEC);
    g_assert_cmpint(slave, >=, 0);
    dup2(slave, 0);
    dup2(slave, 1);
    close(slave);
    return t;
}

static void terminal_end(const Terminal *t)
{
    dup2(t->stdin_fd, 0);
    dup2(t->stdout_fd, 1);
    close(t->stdin_fd);
    close(t->stdout_fd);
    close(t->master);
}

static tcflag_t local_modes(void)
{
    struct termios tty;

    g_assert_cmpint(tcgetattr(0, &tty), ==, 0);
    return tty.c_lflag;
}

static void test_stdio(void)
{
    Terminal t = terminal_new();
    tcflag_t before = local_modes();
    Chardev *chr = must("stdio,id=s");
    char buf[8];

    g_assert_true(before & ECHO && before & ICANON);
    g_assert_cmphex(local_modes() & (ECHO | ICANON | ISIG), ==, ISIG);
    refused("stdio,id=t", "chardev 't': cannot use stdio by multiple character devices");
    attach(chr);
    g_assert_cmpint(write(t.master, "ls\r", 3), ==, 3);
    run_until_got("ls\r"); /* as it was typed */
    chardev_write(chr, "a\n", 2);
    g_assert_cmpint(read(t.master, buf, sizeof(buf)), ==, 3);
    g_assert_cmpmem(buf, 3, "a\r\n", 3);
    chardev_cleanup_all();
    g_assert_cmphex(local_modes(), ==, before);
    g_assert_false(fcntl(0, F_GETFL) & O_NONBLOCK);

    must("stdio,id=s,signal=off");
    g_assert_cmphex(local_modes() & ISIG, ==, 0);
    chardev_cleanup_all();
    g_assert_cmphex(local_modes(), ==, before);
    terminal_end(&t);
    chardev_refuse_stdio("the daemon has no terminal");
    refused("stdio,id=s", "chardev 's': the daemon has no terminal");
    chardev_refuse_stdio(NULL);
}

/* ---- sockets ---- */

static int connect_unix(void)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    g_assert_cmpint(fd, >=, 0);
    g_strlcpy(addr.sun_path, path, sizeof(addr.sun_path));
    while (connect(fd, (struct sockaddr *)&addr, sizeof(addr))) {
        g_usleep(10000); /* nobody listens yet */
    }
    return fd;
}

static void *connect_and_greet(void *opaque)
{
    int fd = connect_unix();

    g_assert_cmpint(write(fd, "hello", 5), ==, 5);
    return GINT_TO_POINTER(fd);
}

static char *socket_opts(const char *more)
{
    return g_strdup_printf("socket,id=s,path=%s,server=on%s", path, more);
}

static void test_wait_for_client(void)
{
    g_autofree char *opts = socket_opts("");
    GThread *client = g_thread_new("client", connect_and_greet, NULL);
    Chardev *chr = must(opts); /* when the client is there */

    attach(chr);
    g_assert_cmpint(opened, ==, 1);
    run_until_got("hello");
    close(GPOINTER_TO_INT(g_thread_join(client)));
    run_until(&closed);
    chardev_cleanup_all();
    g_assert_false(g_file_test(path, G_FILE_TEST_EXISTS));
}

static gint over; /* atomic */

static void *send_signals(void *opaque)
{
    while (!g_atomic_int_get(&over)) {
        kill(getpid(), SIGHUP);
        g_usleep(20000);
    }
    return NULL;
}

static void test_wait_interrupted(void)
{
    /* A handler that is there all the time, so that a signal never ends the test. */
    GSource *harmless = g_unix_signal_source_new(SIGHUP);
    g_autofree char *opts = socket_opts(",wait=on");
    GThread *user = g_thread_new("user", send_signals, NULL);

    refused(opts, "chardev 's': interrupted while waiting for a connection");
    g_atomic_int_set(&over, true);
    g_thread_join(user);
    g_source_unref(harmless);
    g_assert_false(g_file_test(path, G_FILE_TEST_EXISTS));
}

/* A client that comes when there is no descriptor for it is taken when there is one again. */
static void test_no_descriptor_left(void)
{
    g_autofree char *opts = socket_opts(",wait=off");
    Chardev *chr = must(opts);
    struct rlimit limit, less;
    int client = connect_unix(), next = dup(client);

    attach(chr);
    g_assert_cmpint(getrlimit(RLIMIT_NOFILE, &limit), ==, 0);
    close(next);
    less = (struct rlimit) { (rlim_t)next, limit.rlim_max };
    g_assert_cmpint(setrlimit(RLIMIT_NOFILE, &less), ==, 0);
    for (int i = 0; i < 100; i++) {
        g_main_context_iteration(NULL, FALSE);
    }
    g_assert_cmpint(opened, ==, 0);
    g_assert_cmpint(setrlimit(RLIMIT_NOFILE, &limit), ==, 0);
    run_until(&opened);
    close(client);
    run_until(&closed);
    chardev_cleanup_all();
}

static void test_descriptor(void)
{
    g_autofree char *opts = NULL, *bad = NULL, *why = NULL;
    Chardev *chr;
    int sv[2], pipes[2];
    char buf[8];

    /* What is inherited has no close-on-exec. */
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, sv), ==, 0);
    opts = g_strdup_printf("socket,id=s,fd=%d,nodelay=on", sv[0]);
    chr = must(opts);
    attach(chr);
    chardev_write(chr, "abc", 3);
    g_assert_cmpint(read(sv[1], buf, sizeof(buf)), ==, 3);
    close(sv[1]);
    run_until(&closed);
    chardev_write(chr, "abc", 3); /* to nobody */
    g_assert_cmpuint(chardev_queued(chr), ==, 0);
    chardev_cleanup_all();

    g_assert_cmpint(pipe(pipes), ==, 0);
    bad = g_strdup_printf("socket,id=s,fd=%d", pipes[0]);
    why = g_strdup_printf("chardev 's': descriptor %d is not a stream socket", pipes[0]);
    refused(bad, why);
    g_assert_cmpint(close(pipes[0]) | close(pipes[1]), ==, 0); /* it was given back */
}

static void test_addresses(void)
{
    Chardev *server = must("socket,id=s,host=127.0.0.1,port=0,server=on,wait=off,nodelay=on");
    g_autofree char *filename = chardev_filename(server), *port = NULL, *spec = NULL;
    g_autoptr(GError) err = NULL;

    port = g_strndup(strrchr(filename, ':') + 1, strcspn(strrchr(filename, ':') + 1, ","));
    spec = g_strdup_printf("tcp:[127.0.0.1]:%s,nodelay=on", port);
    attach(server);
    g_assert_nonnull(chardev_new_from_spec(spec, "c", &err));
    run_until(&opened);
    chardev_cleanup_all();
    g_assert_null(chardev_new_from_spec(spec, "c", &err)); /* nobody listens any more */
    g_assert_true(g_str_has_prefix(err->message, "chardev 'c': socket '127.0.0.1:"));
}

/* ---- peers that are slow, or go in the middle ---- */

#define MUCH (1 << 20)

static Chardev *with_client(int *client)
{
    g_autofree char *opts = socket_opts(",nowait=on");
    Chardev *chr = must(opts);

    chardev_set_queue_limit(chr, 2 * MUCH);
    attach(chr);
    *client = connect_unix();
    run_until(&opened);
    return chr;
}

static void *read_all(void *opaque)
{
    static char buf[65536];
    int fd = GPOINTER_TO_INT(opaque);
    size_t total = 0;
    ssize_t n;

    while ((n = read(fd, buf, sizeof(buf))) > 0) {
        total += (size_t)n;
    }
    return GSIZE_TO_POINTER(total);
}

/* What is queued at the end goes out yet. */
static void test_flush(void)
{
    g_autofree char *much = g_malloc0(MUCH);
    int client;
    Chardev *chr = with_client(&client);
    GThread *reader;

    chardev_write(chr, much, MUCH);
    g_assert_cmpuint(chardev_queued(chr), >, 0);
    reader = g_thread_new("reader", read_all, GINT_TO_POINTER(client));
    chardev_cleanup_all();
    g_assert_cmpuint(GPOINTER_TO_SIZE(g_thread_join(reader)), ==, MUCH);
    close(client);
}

static void test_gone_while_writing(void)
{
    g_autofree char *much = g_malloc0(MUCH);
    int client;
    Chardev *chr = with_client(&client);

    room = 0; /* so that only the output can find out */
    g_assert_cmpint(write(client, "x", 1), ==, 1);
    while (g_main_context_iteration(NULL, FALSE)) {
    }
    chardev_write(chr, much, MUCH);
    chardev_set_queue_limit(chr, 0);
    chardev_write(chr, much, MUCH); /* beyond the limit: dropped */
    g_assert_cmpuint(chardev_queued(chr), <, MUCH);
    close(client);
    run_until(&closed);
    g_assert_cmpuint(chardev_queued(chr), ==, 0);
    room = 64;
    client = connect_unix();
    opened = 0;
    run_until(&opened);
    close(client);
    chardev_cleanup_all();
}

int main(int argc, char **argv)
{
    int status;

    g_test_init(&argc, &argv, NULL);
    signal(SIGPIPE, SIG_IGN);
    got = g_string_new(NULL);
    dir = g_dir_make_tmp("chardev-XXXXXX", NULL);
    path = g_build_filename(dir, "sock", NULL);
    g_test_add_func("/chardev/names", test_names);
    g_test_add_func("/chardev/stdio", test_stdio);
    g_test_add_func("/chardev/socket/wait", test_wait_for_client);
    g_test_add_func("/chardev/socket/interrupted", test_wait_interrupted);
    g_test_add_func("/chardev/socket/no-descriptor", test_no_descriptor_left);
    g_test_add_func("/chardev/socket/descriptor", test_descriptor);
    g_test_add_func("/chardev/socket/addresses", test_addresses);
    g_test_add_func("/chardev/flush", test_flush);
    g_test_add_func("/chardev/gone", test_gone_while_writing);
    status = g_test_run();
    rmdir(dir);
    g_free(path);
    g_free(dir);
    g_string_free(got, TRUE);
    return status;
}
