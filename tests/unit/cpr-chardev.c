/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Chardevs that a live update takes along.  One process plays both roles, one after the other: the
 * old one saves and stops, its descriptors are copied as a socket would, and it is gone.
 */
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/event.h"
#include "core/runstate.h"
#include "migration/cpr-internal.h"
#include "migration/options.h"
#include "tests/unit/open-descriptors.h"
#include "tests/unit/qmp-client.h"
#include "util/error.h"
#include "util/fd.h"
#include "util/keyval.h"

static char *path; /* of the sockets */
static char *opts; /* of a server there, with x-cpr=on */

typedef struct Messages {
    GByteArray *objects, *switchover;
    GArray *object_fds, *switchover_fds;
} Messages;

static void messages_init(Messages *m)
{
    m->objects = g_byte_array_new();
    m->switchover = g_byte_array_new();
    m->object_fds = g_array_new(FALSE, FALSE, sizeof(int));
    m->switchover_fds = g_array_new(FALSE, FALSE, sizeof(int));
}

static void messages_clear(Messages *m)
{
    cpr_close_fds(m->object_fds);
    cpr_close_fds(m->switchover_fds);
    g_byte_array_unref(m->objects);
    g_byte_array_unref(m->switchover);
    g_array_unref(m->object_fds);
    g_array_unref(m->switchover_fds);
}

static void copy_fds(GArray *fds)
{
    for (guint i = 0; i < fds->len; i++) {
        int *fd = &g_array_index(fds, int, i);

        *fd = fcntl(*fd, F_DUPFD_CLOEXEC, 0);
        g_assert_cmpint(*fd, >=, 0);
    }
}

static bool is_there(void)
{
    struct stat st;

    return lstat(path, &st) == 0;
}

static Chardev *try_make(const char *text, GError **errp)
{
    g_autoptr(JsonObject) o = keyval_parse(text, "backend", NULL, NULL);

    return chardev_new(o, errp);
}

static Chardev *make(const char *text)
{
    g_autoptr(GError) err = NULL;
    Chardev *chr = try_make(text, &err);

    g_assert_no_error(err);
    return chr;
}

static Chardev *make_monitor(void)
{
    Chardev *chr = make(opts);

    g_assert_true(monitor_init_qmp(chr, false, NULL));
    return chr;
}

static int connect_there(void)
{
    struct sockaddr_un to = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    g_strlcpy(to.sun_path, path, sizeof(to.sun_path));
    g_assert_cmpint(connect(fd, (struct sockaddr *)&to, sizeof(to)), ==, 0);
    return fd;
}

static void say(int fd, const char *text)
{
    g_assert_cmpint(send(fd, text, strlen(text), 0), ==, (ssize_t)strlen(text));
    spin();
}

/* What has come by now. */
static char *heard(int fd)
{
    GString *text = g_string_new(NULL);
    char buf[65536];
    ssize_t n;

    do {
        spin();
        n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);
        g_string_append_len(text, buf, MAX(n, 0));
    } while (n > 0);
    g_assert_true(n == -1 && errno == EAGAIN);
    return g_string_free(text, FALSE);
}

static unsigned count(const char *text, const char *what)
{
    unsigned n = 0;

    for (const char *at = text; (at = strstr(at, what)); at++) {
        n++;
    }
    return n;
}

static void negotiate(int fd)
{
    g_autofree char *greeting = NULL, *answer = NULL;

    spin();
    greeting = heard(fd);
    g_assert_nonnull(strstr(greeting, "\"QMP\""));
    say(fd, "{'execute':'qmp_capabilities'}");
    answer = heard(fd);
    g_assert_cmpstr(answer, ==, "{\"return\":{}}\r\n");
}

/* ---- the roles ---- */

static bool old_stop(Messages *m, GError **errp)
{
    messages_init(m);
    cpr_begin();
    cpr_save(m->objects, m->object_fds);
    copy_fds(m->object_fds);
    if (!cpr_stop(m->switchover, m->switchover_fds, errp)) {
        return false;
    }
    copy_fds(m->switchover_fds);
    return true;
}

static void old_undo(Messages *m)
{
    messages_clear(m);
    cpr_undo();
    spin();
}

/* The new one has the VM; this one says so to nobody, and ends. */
static void old_end(void)
{
    cpr_give_away();
    event_emit("POWERDOWN", NULL);
    monitor_cleanup();
    chardev_cleanup_all();
    g_assert_true(is_there());
}

static void old_goes(Messages *m)
{
    g_autoptr(GError) err = NULL;

    g_assert_true(old_stop(m, &err));
    g_assert_no_error(err);
    old_end();
}

static void new_begins(Messages *m)
{
    g_autoptr(GError) err = NULL;

    g_assert_true(cpr_load(m->objects->data, m->objects->len, m->object_fds, &err));
    g_assert_no_error(err);
}

static bool new_adopts(Messages *m, GError **errp)
{
    g_autoptr(GError) err = NULL;

    g_assert_true(cpr_check_all_taken(&err));
    g_assert_true(cpr_load(m->switchover->data, m->switchover->len, m->switchover_fds, &err));
    g_assert_no_error(err);
    return cpr_adopt(errp) && cpr_check_all_taken(errp);
}

static void new_finishes(Messages *m)
{
    g_autoptr(GError) err = NULL;

    new_adopts(m, &err);
    g_assert_no_error(err);
    cpr_finish();
    event_emit("RESUME", NULL);
    spin();
    messages_clear(m);
}

static void end(int client)
{
    monitor_cleanup();
    chardev_cleanup_all();
    g_assert_false(is_there());
    close(client);
}

/* ---- the monitor ---- */

/* What was not sent, and what was received by half. */
static void test_session(void)
{
    unsigned before = open_descriptors();
    Chardev *chr = make_monitor();
    int fd = connect_there(), sent = 0;
    g_autofree char *text = NULL;
    Messages m;

    negotiate(fd);
    for (; chardev_queued(chr) < 10000; sent++) {
        say(fd, "{'execute':'query-commands'}");
    }
    say(fd, "{\"execute\": 'query-\\");
    old_goes(&m);

    new_begins(&m);
    make_monitor();
    event_emit("POWERDOWN", NULL); /* nobody is connected yet */
    new_finishes(&m);
    say(fd, "u0073tatus', 'id': 'the half'}");
    text = heard(fd);
    g_assert_cmpuint(count(text, "\"query-commands\""), ==, sent);
    g_assert_cmpuint(count(text, "\"return\""), ==, sent + 1);
    g_assert_cmpuint(count(text, "\r\n"), ==, sent + 2);
    g_assert_cmpuint(count(text, "\"id\":\"the half\"}\r\n"), ==, 1);
    g_assert_cmpuint(count(text, "\"event\":\"RESUME\""), ==, 1);
    g_assert_null(strstr(text, "POWERDOWN"));
    g_assert_null(strstr(text, "\"QMP\""));

    /* The next client comes to the same listener. */
    close(fd);
    spin();
    fd = connect_there();
    negotiate(fd);
    end(fd);
    g_assert_cmpuint(open_descriptors(), ==, before);
}

/* Who has been greeted is not greeted again, but still has to negotiate. */
static void test_not_negotiated(void)
{
    int fd;
    g_autofree char *greeting = NULL, *text = NULL;
    Messages m;

    make_monitor();
    fd = connect_there();
    greeting = heard(fd);
    g_assert_nonnull(strstr(greeting, "\"QMP\""));
    old_goes(&m);
    new_begins(&m);
    make_monitor();
    new_finishes(&m);
    say(fd, "{'execute':'query-status'}");
    text = heard(fd);
    g_assert_cmpuint(count(text, "\r\n"), ==, 1);
    g_assert_nonnull(strstr(text, "Expecting capabilities negotiation"));
    end(fd);
}

/* Nobody is connected to one that listens; one that was connected itself. */
static void test_roles(void)
{
    unsigned before = open_descriptors();
    static const char *const tcp =
        "socket,id=t,host=127.0.0.1,port=0,server=on,wait=off,nodelay=on,x-cpr=on";
    g_autofree char *text = NULL, *filename = NULL, *port = NULL, *same_port = NULL;
    int fd, pair[2];
    Messages m;

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), ==, 0);
    g_assert_cmpint(fcntl(pair[1], F_SETFD, 0), ==, 0);
    text = g_strdup_printf("socket,id=c,fd=%d,x-cpr=on", pair[1]);
    make_monitor();
    g_assert_true(monitor_init_qmp(make(text), false, NULL));
    port = chardev_filename(make(tcp));
    negotiate(pair[0]);
    old_goes(&m);
    new_begins(&m);
    g_assert_true(monitor_init_qmp(make(text), false, NULL)); /* whatever fd= says */
    same_port = chardev_filename(make(tcp));
    g_assert_cmpstr(same_port, ==, port);
    make_monitor();
    new_finishes(&m);
    say(pair[0], "{'execute':'query-status'}");
    g_free(text);
    text = heard(pair[0]);
    g_assert_nonnull(strstr(text, "RESUME"));
    g_assert_nonnull(strstr(text, "\"return\""));
    filename = chardev_filename(chardev_find("c"));
    g_assert_true(g_str_has_prefix(filename, "fd:"));
    fd = connect_there();
    negotiate(fd);
    end(fd);
    close(pair[0]);
    g_assert_cmpuint(open_descriptors(), ==, before);
}

/* The VM stays: as if nothing had been. */
static void test_undo(void)
{
    g_autoptr(GError) err = NULL;
    g_autofree char *silence = NULL, *text = NULL;
    int fd, next;
    Messages m;

    make_monitor();
    fd = connect_there();
    negotiate(fd);
    g_assert_true(old_stop(&m, &err));
    say(fd, "{'execute':'query-status','id':1}");
    event_emit("STOP", NULL);
    silence = heard(fd);
    g_assert_cmpstr(silence, ==, "");
    old_undo(&m);
    text = heard(fd);
    g_assert_cmpuint(count(text, "STOP"), ==, 1);
    g_assert_cmpuint(count(text, "\"id\":1"), ==, 1);

    close(fd);
    spin();
    g_assert_true(old_stop(&m, &err));
    next = connect_there(); /* waits in the kernel */
    spin();
    old_undo(&m);
    negotiate(next);
    end(next);
}

/* More than is taken along. */
static void test_too_much(void)
{
    g_autoptr(GError) err = NULL;
    g_autofree char *filler = g_strnfill(1 << 20, 'x'), *text = NULL;
    Chardev *chr = make_monitor();
    int fd = connect_there();
    Messages m;

    negotiate(fd);
    say(fd, "{'execute':'query-status','id':'");
    for (int i = 0; i < 5; i++) {
        for (size_t sent = 0; sent < strlen(filler); spin()) {
            ssize_t n = send(fd, filler + sent, strlen(filler) - sent, MSG_DONTWAIT);

            sent += (size_t)MAX(n, 0);
        }
    }
    g_assert_false(old_stop(&m, &err));
    g_assert_nonnull(strstr(err->message, "chardev 'mon0': its client is in the middle of a "
                                          "request of "));
    old_undo(&m);
    g_clear_error(&err);

    say(fd, "'}"); /* the answer is as long, and is left unread */
    for (int i = 0; i < 100 && chardev_queued(chr) < 5000000; i++) {
        spin();
    }
    g_assert_false(old_stop(&m, &err));
    g_assert_nonnull(strstr(err->message, "chardev 'mon0': its client has left "));
    old_undo(&m);
    text = heard(fd);
    g_assert_cmpuint(strlen(text), >, 5 << 20);
    end(fd);
}

/* ---- who ends the old process ---- */

static void test_ends_itself(void)
{
    Messages m;
    int fd;

    /* Somebody else can still tell it. */
    make_monitor();
    monitor_init_qmp(make("null,id=other"), false, NULL);
    old_goes(&m);
    g_assert_false(system_end_is_requested());
    new_begins(&m);
    make_monitor();
    new_finishes(&m);

    fd = connect_there();
    negotiate(fd);
    old_goes(&m);
    g_assert_true(system_end_is_requested());
    new_begins(&m);
    make_monitor();
    new_finishes(&m);
    end(fd);
}

/* ---- the new process gives up ---- */

/* What the old one has, without one. */
static int old_listener, old_peer;

static void old_sends(Messages *m, const void *state, size_t len)
{
    messages_init(m);
    cpr_begin();
    cpr_save_data("chardev/mon0", 0, "", 0);
    cpr_save_fd("chardev/mon0", 1, old_listener);
    cpr_save(m->objects, m->object_fds);
    copy_fds(m->object_fds);
    cpr_save_fd("chardev/mon0", 2, old_peer);
    cpr_save_data("chardev/mon0", 3, "abc", 3);
    cpr_save_data("chardev/mon0", 4, state, len);
    g_assert_true(cpr_stop(m->switchover, m->switchover_fds, NULL));
    copy_fds(m->switchover_fds);
    cpr_undo();
}

static void old_listens(void)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    int pair[2];

    old_listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_strlcpy(at.sun_path, path, sizeof(at.sun_path));
    g_assert_cmpint(bind(old_listener, (struct sockaddr *)&at, sizeof(at)), ==, 0);
    g_assert_cmpint(listen(old_listener, 1), ==, 0);
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), ==, 0);
    old_peer = pair[0];
    close(pair[1]);
}

static void old_closes(void)
{
    fd_close(&old_listener);
    fd_close(&old_peer);
    unlink(path);
}

static void new_gives_up(Messages *m)
{
    cpr_release();
    monitor_cleanup();
    chardev_cleanup_all();
    messages_clear(m);
    g_assert_true(is_there());
}

/* A QMP session that is none; a good one that is not to be, after all. */
static void test_bad_state(void)
{
    static const struct {
        size_t len;
        uint8_t bytes[12];
    } states[] = {
        { 0, { 0 } },
        { 1, { 1 } },
        { 8, { 1 } },
        { 9, { 2 } },
        { 9, { 1, 0xff, 0xff, 0xff, 0xff } }, /* depth */
        { 9, { 1, 0, 0, 0, 0, 'x' } },        /* quote */
        { 9, { 1, 0, 0, 0, 0, 0, 2 } },
        { 9, { 1, 0, 0, 0, 0, 0, 0, 2 } },
        { 9, { 1, 0, 0, 0, 0, 0, 0, 0, 1 } },
        { 12, { 1, 0, 0, 0, 0, 0, 0, 0, 0, 'a', 0, 'b' } }, /* text */
        { 12, { 1, 1, 0, 0, 0, '"', 1, 0, 0, '{', '"', 'b' } },
    };
    unsigned before;

    old_listens();
    before = open_descriptors();
    for (size_t i = 0; i < G_N_ELEMENTS(states); i++) {
        g_autoptr(GError) err = NULL;
        bool good = i + 1 == G_N_ELEMENTS(states);
        Messages m;

        old_sends(&m, states[i].bytes, states[i].len);
        new_begins(&m);
        make_monitor();
        g_assert_cmpint(new_adopts(&m, &err), ==, good);
        if (!good) {
            g_assert_true(g_str_has_prefix(err->message, "chardev 'mon0': the old process has "));
        }
        new_gives_up(&m);
        g_assert_cmpuint(open_descriptors(), ==, before);
    }
    old_closes();
}

/* Of a front end that there is not, and options that do not fit. */
static void test_misfits(void)
{
    static const char *const wrong[][2] = {
        { "socket,id=mon0,path=/elsewhere,server=on,wait=off,x-cpr=on", "the old process listens" },
        { "socket,id=mon0,path=/elsewhere,x-cpr=on", "the old process has it with server=on" },
        { "socket,id=mon0,path=/elsewhere,server=on,wait=off", "has it with x-cpr=on" },
        { "socket,id=mon0,host=::,port=x,server=on,wait=off,x-cpr=on", "is not a port number" },
    };
    unsigned before;

    old_listens();
    before = open_descriptors();
    for (size_t i = 0; i <= G_N_ELEMENTS(wrong); i++) {
        g_autoptr(GError) err = NULL;
        Messages m;

        old_sends(&m, "", 0);
        new_begins(&m);
        if (i < G_N_ELEMENTS(wrong)) {
            g_assert_null(try_make(wrong[i][0], &err));
            g_assert_nonnull(strstr(err->message, wrong[i][1]));
        } else {
            make(opts);
            g_assert_false(new_adopts(&m, &err));
            g_assert_cmpstr(err->message, ==, "chardev 'mon0': nothing here uses it");
        }
        new_gives_up(&m);
        g_assert_cmpuint(open_descriptors(), ==, before);
    }
    /* No socket at all. */
    close(old_listener);
    old_listener = open("/dev/null", O_RDONLY | O_CLOEXEC);
    {
        g_autoptr(GError) err = NULL;
        Messages m;

        old_sends(&m, "", 0);
        new_begins(&m);
        g_assert_null(try_make(opts, &err));
        g_assert_nonnull(strstr(err->message, "no stream socket"));
        new_gives_up(&m);
    }
    g_assert_cmpuint(open_descriptors(), ==, before);
    old_closes();
}

/* ---- other front ends ---- */

static size_t fe_can_read(void *opaque)
{
    return 1;
}

static void fe_read(void *opaque, const uint8_t *buf, size_t len)
{
    g_string_append_len(opaque, (const char *)buf, (gssize)len);
}

static bool fe_load(void *opaque, const uint8_t *state, size_t len, GError **errp)
{
    return !len || error_set(errp, "%zu bytes", len);
}

static void test_refused(void)
{
    static const char *const kinds[] = { "null,id=x,x-cpr=on", "pty,id=x,x-cpr=on",
                                         "file,id=x,path=/nowhere,x-cpr=on" };
    static const ChardevFrontend fe = { .can_read = fe_can_read, .read = fe_read };
    g_autoptr(GError) err = NULL;

    for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++) {
        g_assert_null(try_make(kinds[i], &err));
        g_assert_true(g_str_has_prefix(
            err->message, "chardev 'x': x-cpr=on: a live update can keep a socket, not a '"));
        g_clear_error(&err);
    }
    g_assert_false(chardev_attach(make(opts), &fe, NULL, &err));
    g_assert_cmpstr(err->message, ==, "chardev 'mon0': x-cpr=on is for monitors and serial ports");
    chardev_cleanup_all();
}

/* A front end that knows nothing, as a serial port: bytes come once, in either direction. */
static void test_bytes(void)
{
    static const ChardevFrontend fe = { .can_read = fe_can_read, .read = fe_read, .load = fe_load };
    g_autoptr(GString) got = g_string_new(NULL), wanted = g_string_new(NULL);
    g_autofree char *text = NULL;
    Chardev *chr = make(opts);
    int fd = connect_there();
    Messages m;

    g_assert_true(chardev_attach(chr, &fe, got, NULL));
    spin();
    for (int i = 0; chardev_queued(chr) < 10000; i++) {
        g_autofree char *line = g_strdup_printf("line %d\n", i);

        chardev_write(chr, line, strlen(line));
        g_string_append(wanted, line);
    }
    say(fd, "abc");
    old_goes(&m);
    new_begins(&m);
    chr = make(opts);
    g_assert_true(chardev_attach(chr, &fe, got, NULL));
    chardev_write(chr, "lost", 4); /* as to nobody */
    say(fd, "def");
    g_assert_cmpstr(got->str, ==, "abc");
    new_finishes(&m);
    chardev_write(chr, "end", 3);
    g_string_append(wanted, "end");
    text = heard(fd);
    g_assert_cmpstr(text, ==, wanted->str);
    g_assert_cmpstr(got->str, ==, "abcdef");
    end(fd);
}

int main(int argc, char **argv)
{
    g_autofree char *dir = g_dir_make_tmp("viaduct-cpr-chardev-XXXXXX", NULL);
    int status;

    path = g_build_filename(dir, "socket", NULL);
    opts = g_strdup_printf("socket,id=mon0,path=%s,server=on,wait=off,x-cpr=on", path);
    g_test_init(&argc, &argv, NULL);
    migration_parameters.mode = MIG_MODE_CPR_TRANSFER;
    g_test_add_func("/cpr-chardev/undo", test_undo);
    g_test_add_func("/cpr-chardev/too-much", test_too_much);
    g_test_add_func("/cpr-chardev/bad-state", test_bad_state);
    g_test_add_func("/cpr-chardev/misfits", test_misfits);
    g_test_add_func("/cpr-chardev/refused", test_refused);
    /* From here on this process has given its VM away. */
    g_test_add_func("/cpr-chardev/ends-itself", test_ends_itself);
    g_test_add_func("/cpr-chardev/session", test_session);
    g_test_add_func("/cpr-chardev/not-negotiated", test_not_negotiated);
    g_test_add_func("/cpr-chardev/roles", test_roles);
    g_test_add_func("/cpr-chardev/bytes", test_bytes);
    status = g_test_run();
    g_remove(path);
    g_rmdir(dir);
    g_free(path);
    g_free(opts);
    return status;
}
