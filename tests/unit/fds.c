/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Descriptors from outside: sent to a monitor (SCM_RIGHTS), in sets, by name; none is ever lost. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/fdset.h"
#include "core/object.h"
#include "tests/unit/open-descriptors.h"
#include "tests/unit/qmp-client.h"
#include "util/error.h"
#include "util/fd.h"

/* ---- an object that wants a descriptor ---- */

typedef struct Taker {
    UserObject parent;
    char *fd_name;
    int fd;
} Taker;

typedef UserObjectClass TakerClass;
GType taker_get_type(void);
DEFINE_OBJECT_TYPE(Taker, taker, "taker", TYPE_USER_OBJECT, 0)

static const Property taker_properties[] = {
    PROP_STRING("fd", Taker, fd_name),
};

static bool taker_complete(UserObject *obj, GError **errp)
{
    Taker *t = (Taker *)obj;

    t->fd = fd_take(t->fd_name, errp);
    return t->fd >= 0;
}

static void taker_finalize(GObject *obj)
{
    fd_close(&((Taker *)obj)->fd);
    G_OBJECT_CLASS(taker_parent_class)->finalize(obj);
}

static void taker_init(Taker *t)
{
    t->fd = -1;
}

static void taker_class_init(UserObjectClass *klass)
{
    G_OBJECT_CLASS(klass)->finalize = taker_finalize;
    klass->complete = taker_complete;
    object_class_add_properties(klass, taker_properties, G_N_ELEMENTS(taker_properties));
}

/* ---- a client ---- */

/* What has come, by one space per line end. */
static char *receive(int sock)
{
    GString *text = g_string_new(NULL);
    char buf[4096];
    ssize_t n;

    spin();
    while ((n = recv(sock, buf, sizeof(buf), MSG_DONTWAIT)) > 0) {
        g_string_append_len(text, buf, n);
    }
    g_string_replace(text, "\r\n", " ", 0);
    return g_strchomp(g_string_free(text, FALSE));
}

/* Sends it with @n descriptors, which stay the caller's. */
static void send_with(int sock, const char *text, const int *fds, size_t n)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(64 * sizeof(int))];
    } control = { 0 };
    struct iovec iov = { (void *)(uintptr_t)text, strlen(text) };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

    if (n) {
        struct cmsghdr *c;

        msg.msg_control = &control;
        msg.msg_controllen = CMSG_SPACE(n * sizeof(int));
        c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(n * sizeof(int));
        memcpy(CMSG_DATA(c), fds, n * sizeof(int));
    }
    g_assert_cmpint(sendmsg(sock, &msg, 0), ==, (ssize_t)strlen(text));
}

/* A command with a descriptor, or -1; its answer. */
static char *ask(int sock, const char *text, int fd)
{
    send_with(sock, text, &fd, fd >= 0);
    return receive(sock);
}

static void assert_answer(int sock, const char *text, int fd, const char *wanted)
{
    g_autofree char *answer = ask(sock, text, fd);

    g_assert_cmpstr(answer, ==, wanted);
}

static void assert_error(int sock, const char *text, int fd, const char *desc)
{
    g_autofree char *wanted =
        g_strdup_printf("{\"error\":{\"class\":\"GenericError\",\"desc\":\"%s\"}}", desc);

    assert_answer(sock, text, fd, wanted);
}

#define OK              "{\"return\":{}}"
#define GETFD(name)     "{'execute':'getfd','arguments':{'fdname':'" name "'}}"
#define CLOSEFD(name)   "{'execute':'closefd','arguments':{'fdname':'" name "'}}"
#define ADD_FD(args)    "{'execute':'add-fd','arguments':{" args "}}"
#define REMOVE_FD(args) "{'execute':'remove-fd','arguments':{" args "}}"
#define SETS            "{'execute':'query-fdsets'}"
#define TAKE(name) \
    "{'execute':'object-add','arguments':{'qom-type':'taker','id':'t','fd':'" name "'}}"
#define DELETE "{'execute':'object-del','arguments':{'id':'t'}}"

/* The client's end of a monitor's socket pair. */
static int connect_monitor(void)
{
    QMPClient c;
    g_autofree char *greeting = NULL;

    qmp_client_init(&c);
    g_string_free(c.in, TRUE); /* the tests read text */
    greeting = ask(c.fd, "{'execute':'qmp_capabilities'}", -1);
    g_assert_true(g_str_has_suffix(greeting, OK));
    return c.fd;
}

/* Everything ends, and nothing may be left of it. */
static void end(int sock, guint before)
{
    if (sock >= 0) {
        close(sock);
    }
    monitor_cleanup();
    chardev_cleanup_all();
    fdset_cleanup();
    g_assert_cmpuint(open_descriptors(), ==, before);
}

static int some_fd(void)
{
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

    g_assert_cmpint(fd, >=, 0);
    return fd;
}

static guint warm_up(void)
{
    g_main_context_iteration(NULL, FALSE); /* has descriptors of its own from then on */
    return open_descriptors();
}

/* ---- names ---- */

static void test_getfd(void)
{
    guint before = warm_up(), with;
    int sock = connect_monitor();
    autofd int fd = some_fd();

    with = open_descriptors();
    assert_error(sock, GETFD("a"), -1, "No file descriptor supplied via SCM_RIGHTS");
    assert_error(sock, GETFD("1a"), fd,
                 "Parameter 'fdname' expects a name not starting with a digit");
    assert_error(sock, GETFD(""), fd,
                 "Parameter 'fdname' expects a name not starting with a digit");
    assert_error(sock, CLOSEFD("a"), -1, "File descriptor named 'a' not found");
    g_assert_cmpuint(open_descriptors(), ==, with);

    assert_answer(sock, GETFD("a"), fd, OK);
    g_assert_cmpuint(open_descriptors(), ==, with + 1);
    assert_answer(sock, GETFD("a"), fd, OK); /* takes the place of the other */
    g_assert_cmpuint(open_descriptors(), ==, with + 1);
    assert_answer(sock, GETFD("b"), fd, OK);
    g_assert_cmpuint(open_descriptors(), ==, with + 2);
    assert_answer(sock, CLOSEFD("a"), -1, OK);
    assert_error(sock, CLOSEFD("a"), -1, "File descriptor named 'a' not found");
    g_assert_cmpuint(open_descriptors(), ==, with + 1);
    fd_close(&fd);
    end(sock, before);
}

/* An object takes it out of the list, and closes it in the end. */
static void test_use(void)
{
    guint before = warm_up(), with;
    int sock = connect_monitor();
    autofd int fd = some_fd();

    with = open_descriptors();
    assert_answer(sock, GETFD("a"), fd, OK);
    assert_answer(sock, TAKE("a"), -1, OK);
    assert_error(sock, CLOSEFD("a"), -1, "File descriptor named 'a' not found");
    g_assert_cmpuint(open_descriptors(), ==, with + 1);
    assert_answer(sock, DELETE, -1, OK);
    g_assert_cmpuint(open_descriptors(), ==, with);

    g_free(ask(sock, ADD_FD("'fdset-id':4"), fd));
    assert_answer(sock, TAKE("/dev/fdset/4"), -1, OK);
    g_assert_cmpuint(open_descriptors(), ==, with + 2);
    assert_answer(sock, REMOVE_FD("'fdset-id':4"), -1, OK);
    g_assert_cmpuint(open_descriptors(), ==, with + 1); /* the object's copy */
    assert_answer(sock, DELETE, -1, OK);
    g_assert_cmpuint(open_descriptors(), ==, with);
    fd_close(&fd);
    end(sock, before);
}

/* Names are a monitor's own. */
static void test_two_monitors(void)
{
    guint before = warm_up();
    int sock = connect_monitor(), other = connect_monitor();
    autofd int fd = some_fd();

    assert_answer(sock, GETFD("a"), fd, OK);
    assert_error(other, CLOSEFD("a"), -1, "File descriptor named 'a' not found");
    {
        g_autofree char *answer = ask(other, TAKE("a"), -1);

        g_assert_nonnull(strstr(answer, "File descriptor named 'a' not found"));
    }
    assert_answer(sock, TAKE("a"), -1, OK);
    assert_answer(other, DELETE, -1, OK);
    /* Nor are they anybody's outside of a command. */
    assert_answer(sock, GETFD("a"), fd, OK);
    g_assert_cmpint(fd_take("a", NULL), ==, -1);
    fd_close(&fd);
    close(other);
    end(sock, before);
}

/* ---- what came and was not asked for ---- */

static void test_unclaimed(void)
{
    guint before = warm_up(), with;
    int sock = connect_monitor();
    int many[40];
    autofd int fd = some_fd();

    for (size_t i = 0; i < G_N_ELEMENTS(many); i++) {
        many[i] = fd;
    }
    with = open_descriptors();
    /* Of one message, each command takes the next; the next message puts an end to it. */
    send_with(sock, GETFD("a") GETFD("b"), many, 3);
    assert_answer(sock, "", -1, OK " " OK);
    g_assert_cmpuint(open_descriptors(), ==, with + 3);
    assert_answer(sock, GETFD("c"), fd, OK);
    g_assert_cmpuint(open_descriptors(), ==, with + 3);
    assert_error(sock, GETFD("d"), -1, "No file descriptor supplied via SCM_RIGHTS");

    /* So a command that fails before it takes one does not leave it for a later one. */
    {
        g_autofree char *answer = ask(sock, "{'execute':'nonsense'}", fd);

        g_assert_nonnull(strstr(answer, "CommandNotFound"));
        g_assert_cmpuint(open_descriptors(), ==, with + 4);
    }
    assert_answer(sock, GETFD("d"), fd, OK);
    g_assert_cmpuint(open_descriptors(), ==, with + 4);

    /* No more than so many of one message. */
    send_with(sock, " ", many, G_N_ELEMENTS(many));
    assert_answer(sock, "", -1, "");
    g_assert_cmpuint(open_descriptors(), ==, with + 4 + 16);

    /* Two commands that come at once, each with its own. */
    send_with(sock, GETFD("a"), &fd, 1);
    send_with(sock, "{'execute':'query-fdsets'}", NULL, 0);
    send_with(sock, GETFD("e"), &fd, 1);
    assert_answer(sock, "", -1, OK " {\"return\":[]} " OK);
    g_assert_cmpuint(open_descriptors(), ==, with + 5);

    /* A word that comes in pieces: it belongs to the command that it began with. */
    send_with(sock, "{'execute':'getfd',", &fd, 1);
    spin();
    assert_answer(sock, "'arguments':{'fdname':'f'}}", -1, OK);
    g_assert_cmpuint(open_descriptors(), ==, with + 6);
    fd_close(&fd);
    end(sock, before);
}

static void test_client_leaves(void)
{
    g_autofree char *path = g_strdup_printf("/tmp/viaduct-fds-%d", getpid());
    g_autofree char *spec = g_strdup_printf("unix:%s,server=on,wait=off", path);
    guint before = warm_up(), listening;
    autofd int fd = some_fd();

    g_assert_true(monitor_init_qmp(chardev_new_from_spec(spec, "server", NULL), false, NULL));
    listening = open_descriptors();
    for (int i = 0; i < 2; i++) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        g_autofree char *greeting = NULL;

        g_strlcpy(address.sun_path, path, sizeof(address.sun_path));
        g_assert_cmpint(connect(sock, (void *)&address, sizeof(address)), ==, 0);
        greeting = ask(sock, "{'execute':'qmp_capabilities'}", -1);
        if (i == 0) {
            assert_answer(sock, GETFD("a"), fd, OK);
            send_with(sock, " ", &fd, 1);
            spin();
            g_assert_cmpuint(open_descriptors(), ==, listening + 4);
        } else { /* the name is there still, the other descriptor is not */
            assert_error(sock, GETFD("b"), -1, "No file descriptor supplied via SCM_RIGHTS");
            assert_answer(sock, CLOSEFD("a"), -1, OK);
        }
        close(sock);
        spin();
        g_assert_cmpuint(open_descriptors(), ==, listening + (i == 0));
    }
    fd_close(&fd);
    end(-1, before);
}

/* A front end that wants none does not get any. */
static size_t any_room(void *opaque)
{
    return 100;
}

static void read_nothing(void *opaque, const uint8_t *buf, size_t len)
{
}

static void test_not_wanted(void)
{
    static const ChardevFrontend serial = { .can_read = any_room, .read = read_nothing };
    g_autoptr(JsonObject) opts = json_object_new();
    g_autofree char *text = NULL;
    guint before = warm_up(), with;
    autofd int fd = some_fd();
    int pair[2];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), ==, 0);
    text = g_strdup_printf("%d", pair[1]);
    json_object_set_string_member(opts, "backend", "socket");
    json_object_set_string_member(opts, "id", "serial");
    json_object_set_string_member(opts, "fd", text);
    g_assert_true(chardev_attach(chardev_new(opts, NULL), &serial, NULL, NULL));
    with = open_descriptors();
    send_with(pair[0], "x", &fd, 1);
    spin();
    g_assert_cmpuint(open_descriptors(), ==, with);
    fd_close(&fd);
    end(pair[0], before);
}

/* ---- sets ---- */

/* The set's number. */
static int add_to_set(int sock, const char *text, int fd, int *copy)
{
    g_autofree char *answer = ask(sock, text, fd);
    int set = -1;

    g_assert_cmpint(sscanf(answer, "{\"return\":{\"fdset-id\":%d,\"fd\":%d}}", &set, copy), ==, 2);
    g_assert_cmpint(fcntl(*copy, F_GETFD), ==, FD_CLOEXEC);
    return set;
}

static void test_sets(void)
{
    guint before = warm_up(), with;
    int sock = connect_monitor();
    autofd int fd = some_fd();
    g_autofree char *wanted = NULL, *command = NULL;
    int fds[5];

    with = open_descriptors();
    assert_answer(sock, SETS, -1, "{\"return\":[]}");
    assert_error(sock, ADD_FD("'fdset-id':1"), -1, "No file descriptor supplied via SCM_RIGHTS");
    assert_error(sock, ADD_FD("'fdset-id':-1"), fd,
                 "Parameter 'fdset-id' expects a non-negative value");
    g_assert_cmpuint(open_descriptors(), ==, with);

    g_assert_cmpint(add_to_set(sock, ADD_FD("'fdset-id':1,'opaque':'a, b'"), fd, &fds[0]), ==, 1);
    g_assert_cmpint(add_to_set(sock, ADD_FD("'fdset-id':1"), fd, &fds[1]), ==, 1);
    g_assert_cmpint(add_to_set(sock, ADD_FD(""), fd, &fds[2]), ==, 0);
    g_assert_cmpint(add_to_set(sock, ADD_FD("'fdset-id':7"), fd, &fds[3]), ==, 7);
    g_assert_cmpint(add_to_set(sock, ADD_FD("'opaque':''"), fd, &fds[4]), ==, 2);
    g_assert_cmpuint(open_descriptors(), ==, with + 5);
    wanted = g_strdup_printf("{\"return\":[{\"fdset-id\":0,\"fds\":[{\"fd\":%d}]},"
                             "{\"fdset-id\":1,\"fds\":[{\"fd\":%d,\"opaque\":\"a, b\"},"
                             "{\"fd\":%d}]},"
                             "{\"fdset-id\":2,\"fds\":[{\"fd\":%d,\"opaque\":\"\"}]},"
                             "{\"fdset-id\":7,\"fds\":[{\"fd\":%d}]}]}",
                             fds[2], fds[0], fds[1], fds[4], fds[3]);
    assert_answer(sock, SETS, -1, wanted);

    assert_error(sock, REMOVE_FD("'fdset-id':3"), -1,
                 "File descriptor named 'fdset-id:3' not found");
    assert_error(sock, REMOVE_FD("'fdset-id':1,'fd':0"), -1,
                 "File descriptor named 'fdset-id:1, fd:0' not found");
    assert_error(sock, REMOVE_FD("'fdset-id':1,'fd':4294967295"), -1,
                 "File descriptor named 'fdset-id:1, fd:4294967295' not found");
    assert_error(sock, REMOVE_FD("'fd':0"), -1, "Parameter 'fdset-id' is missing");
    g_assert_cmpuint(open_descriptors(), ==, with + 5);
    command = g_strdup_printf(REMOVE_FD("'fdset-id':1,'fd':%d"), fds[0]);
    assert_answer(sock, command, -1, OK);
    g_assert_cmpuint(open_descriptors(), ==, with + 4);
    assert_answer(sock, REMOVE_FD("'fdset-id':1"), -1, OK);
    assert_error(sock, REMOVE_FD("'fdset-id':1"), -1,
                 "File descriptor named 'fdset-id:1' not found");
    g_assert_cmpuint(open_descriptors(), ==, with + 3);
    fd_close(&fd);
    end(sock, before);
}

static void assert_no_open(const char *path, int flags, int error)
{
    g_assert_cmpint(fdset_open(path, flags, 0), ==, -1);
    g_assert_cmpint(errno, ==, error);
}

/* A set is opened like a file. */
static void test_open(void)
{
    guint before = warm_up();
    g_autofree char *path = NULL;
    int memfd = memfd_create("file", MFD_CLOEXEC);
    int fd;

    path = g_strdup_printf("/proc/self/fd/%d", memfd);
    g_assert_cmpint(write(memfd, "text", 4), ==, 4);
    fdset_add(3, open(path, O_RDONLY | O_CLOEXEC), NULL);
    assert_no_open("/dev/fdset/3", O_WRONLY, EACCES);
    assert_no_open("/dev/fdset/3", O_RDWR, EACCES);
    assert_no_open("/dev/fdset/4", O_RDONLY, ENOENT);
    assert_no_open("/dev/fdset/", O_RDONLY, EINVAL);
    assert_no_open("/dev/fdset/3x", O_RDONLY, EINVAL);
    fdset_add(3, memfd, NULL);

    fd = fdset_open("/dev/fdset/3", O_RDWR | O_APPEND | O_NONBLOCK, 0);
    g_assert_cmpint(fcntl(fd, F_GETFD), ==, FD_CLOEXEC);
    g_assert_cmpint(fcntl(fd, F_GETFL) & (O_ACCMODE | O_APPEND | O_NONBLOCK), ==,
                    O_RDWR | O_APPEND | O_NONBLOCK);
    g_assert_cmpint(lseek(fd, 0, SEEK_END), ==, 4);
    close(fd);
    fd = fdset_open("/dev/fdset/3", O_RDWR | O_TRUNC, 0);
    g_assert_cmpint(fcntl(fd, F_GETFL) & (O_APPEND | O_NONBLOCK), ==, 0);
    g_assert_cmpint(lseek(fd, 0, SEEK_END), ==, 0);
    close(fd);
    fd = fdset_open("/dev/null", O_RDONLY, 0); /* any other path too */
    g_assert_cmpint(fcntl(fd, F_GETFD), ==, FD_CLOEXEC);
    close(fd);
    end(-1, before);
}

/* -chardev file and memory-backend-file take such paths. */
static void test_paths(void)
{
    guint before = warm_up();
    g_autoptr(GError) err = NULL;
    g_autofree char *path = NULL;
    int memfd = memfd_create("file", MFD_CLOEXEC);
    Chardev *chr;

    fdset_add(1, memfd, NULL);
    path = g_strdup_printf("/proc/self/fd/%d", memfd);
    g_assert_null(chardev_new_from_spec("file:/dev/fdset/1", "c", &err));
    g_assert_cmpstr(err->message, ==, "chardev 'c': cannot open '/dev/fdset/1': Permission denied");
    g_clear_error(&err);
    fdset_add(1, open(path, O_WRONLY | O_CLOEXEC), NULL);
    chr = chardev_new_from_spec("file:/dev/fdset/1", "c", &err);
    g_assert_no_error(err);
    chardev_write(chr, "hello", 5);
    g_assert_cmpint(lseek(memfd, 0, SEEK_END), ==, 5);
    end(-1, before);
}

/* ---- numbers ---- */

static void test_numbers(void)
{
    guint before = warm_up();
    g_autoptr(GError) err = NULL;
    int fd = open("/dev/null", O_RDWR); /* as if inherited */
    g_autofree char *text = g_strdup_printf("%d", fd);

    g_assert_cmpint(fd_take(text, &err), ==, fd);
    g_assert_cmpint(fcntl(fd, F_GETFD), ==, FD_CLOEXEC);
    g_assert_cmpint(fd_take(text, &err), ==, -1);
    g_assert_nonnull(strstr(err->message, "is in use already"));
    fd_give_back(text, fd);
    g_assert_cmpint(fd_take(text, NULL), ==, fd);
    close(fd);
    g_assert_cmpint(fd_take(text, NULL), ==, -1);
    end(-1, before);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/fds/getfd", test_getfd);
    g_test_add_func("/fds/use", test_use);
    g_test_add_func("/fds/two-monitors", test_two_monitors);
    g_test_add_func("/fds/unclaimed", test_unclaimed);
    g_test_add_func("/fds/client-leaves", test_client_leaves);
    g_test_add_func("/fds/not-wanted", test_not_wanted);
    g_test_add_func("/fds/sets", test_sets);
    g_test_add_func("/fds/open", test_open);
    g_test_add_func("/fds/paths", test_paths);
    g_test_add_func("/fds/numbers", test_numbers);
    return g_test_run();
}
