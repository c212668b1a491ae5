/* SPDX-License-Identifier: GPL-2.0-or-later */
/* migration/multifd-connect: many connections, in any order, and others among them. */
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "channel-fixture.h"
#include "migration/multifd-connect.h"

#define MANY 20

static const uint8_t uuid[16] = { 1, 2, 3 }, other_uuid[16] = { 1, 2, 4 };

typedef struct Side {
    MigrationListener *l;
    unsigned n;
    GCancellable *cancel;
    MigrationChannel *channels[MANY];
    char *said; /* NULL: all came */
} Side;

static gpointer accept_thread(gpointer opaque)
{
    Side *s = opaque;
    g_autoptr(GError) err = NULL;

    if (!migration_accept_many(s->l, uuid, s->n, s->channels, s->cancel, &err)) {
        s->said = g_strdup(err->message);
    }
    return NULL;
}

static void free_all(MigrationChannel **channels)
{
    for (int i = 0; i < MANY; i++) {
        g_clear_pointer(&channels[i], migration_channel_free);
    }
}

static MigrationChannel *connect_to(const char *uri)
{
    g_autoptr(MigrationAddress) a = parse(uri);
    g_autoptr(GError) err = NULL;
    MigrationChannel *ch = migration_connect(a, NULL, &err);

    g_assert_no_error(err);
    return ch;
}

static void say(MigrationChannel *ch, const void *bytes, size_t len)
{
    struct iovec iov = { (void *)bytes, len };

    g_assert_true(migration_channel_writev(ch, &iov, 1, NULL));
}

static void hello(MigrationChannel *ch, const uint8_t *of, uint32_t number)
{
    uint32_t start[] = { GUINT32_TO_LE(0x434d4456u), GUINT32_TO_LE(1) };
    uint32_t end[] = { GUINT32_TO_LE(number), 0 };
    uint8_t bytes[32];

    memcpy(bytes, start, 8);
    memcpy(bytes + 8, of, 16);
    memcpy(bytes + 24, end, 8);
    say(ch, bytes, sizeof(bytes));
}

/* Each of ours reaches the one of the same number. */
static void assert_pairs(MigrationChannel **ours, MigrationChannel **theirs, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        g_autoptr(GError) err = NULL;
        char c = (char)i, got;

        say(ours[i], &c, 1);
        g_assert_true(migration_channel_read(theirs[i], &got, 1, &err));
        g_assert_no_error(err);
        g_assert_cmpint(got, ==, c);
    }
}

static void test_many(void)
{
    static const char *const kinds[] = { "tcp:127.0.0.1:0", "unix" };
    guint before = descriptors();

    for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++) {
        g_autofree char *path = path_of("many"), *local = g_strdup_printf("unix:%s", path);
        g_autoptr(MigrationAddress) at = parse(i ? local : kinds[i]), to = NULL;
        g_autoptr(MigrationListener) l = migration_listen(at, NULL);
        g_autofree char *uri = i ? g_strdup(local) : uri_of(l);
        g_autoptr(GError) err = NULL;
        Side s = { .l = l, .n = MANY };
        GThread *thread = g_thread_new("accept", accept_thread, &s);
        MigrationChannel *ours[MANY];

        to = parse(uri);
        g_assert_true(migration_connect_many(to, uuid, MANY, ours, NULL, &err));
        g_assert_no_error(err);
        g_thread_join(thread);
        g_assert_null(s.said);
        assert_pairs(ours, s.channels, MANY);
        free_all(ours);
        free_all(s.channels);
    }
    assert_descriptors(before);
}

/* The wrong order, and among them: rubbish, another migration's, a second and an impossible number,
 * one that leaves at once. */
static void test_strangers(void)
{
    guint before = descriptors();
    g_autoptr(MigrationAddress) at = parse("tcp:127.0.0.1:0");
    g_autoptr(MigrationListener) l = migration_listen(at, NULL);
    g_autofree char *uri = uri_of(l), *rubbish = g_strnfill(32, 'x');
    Side s = { .l = l, .n = 3 };
    GThread *thread = g_thread_new("accept", accept_thread, &s);
    MigrationChannel *ours[MANY] = { NULL }, *others[5];

    for (size_t i = 0; i < G_N_ELEMENTS(others); i++) {
        others[i] = connect_to(uri);
    }
    hello(others[0], other_uuid, 0);
    say(others[1], rubbish, 32);
    hello(others[2], uuid, 3);
    g_clear_pointer(&others[3], migration_channel_free);
    ours[2] = connect_to(uri);
    hello(others[4], uuid, 0); /* it is the first that says so */
    hello(ours[2], uuid, 2);
    ours[0] = connect_to(uri);
    hello(ours[0], uuid, 0);
    ours[1] = connect_to(uri);
    hello(ours[1], uuid, 1);
    g_thread_join(thread);
    g_assert_null(s.said);
    assert_end(ours[0]);
    migration_channel_free(ours[0]);
    ours[0] = others[4];
    assert_pairs(ours, s.channels, 3);
    assert_end(others[0]);
    assert_end(others[2]);
    for (int i = 0; i < 3; i++) {
        g_clear_pointer(&others[i], migration_channel_free);
    }
    free_all(ours);
    free_all(s.channels);
    g_clear_pointer(&l, migration_listener_free);
    assert_descriptors(before);
}

/* A listener is not kept for ever by those who come for nothing. */
static void test_too_many_strangers(void)
{
    g_autoptr(MigrationAddress) at = parse("tcp:127.0.0.1:0");
    g_autoptr(MigrationListener) l = migration_listen(at, NULL);
    g_autofree char *uri = uri_of(l);
    Side s = { .l = l, .n = 2 };
    MigrationChannel *ours = connect_to(uri);

    hello(ours, uuid, 1);
    for (int i = 0; i <= MULTIFD_STRANGERS; i++) {
        g_autoptr(MigrationChannel) ch = connect_to(uri);

        hello(ch, other_uuid, 0);
    }
    accept_thread(&s);
    g_assert_nonnull(strstr(s.said, "it belongs to another migration"));
    g_assert_null(s.channels[1]);
    assert_end(ours);
    migration_channel_free(ours);
    g_free(s.said);
}

static gpointer cancel_soon(gpointer cancel)
{
    g_usleep(50000);
    g_cancellable_cancel(cancel);
    return NULL;
}

/* While it waits for a connection, and while one does not say who it is. */
static void test_cancel(void)
{
    guint before = descriptors();

    for (int i = 0; i < 2; i++) {
        g_autoptr(MigrationAddress) at = parse("tcp:127.0.0.1:0");
        g_autoptr(MigrationListener) l = migration_listen(at, NULL);
        g_autoptr(GCancellable) cancel = g_cancellable_new();
        g_autofree char *uri = uri_of(l);
        g_autoptr(MigrationChannel) silent = i ? connect_to(uri) : NULL;
        Side s = { .l = l, .n = 2, .cancel = cancel };
        GThread *thread = g_thread_new("cancel", cancel_soon, cancel);

        accept_thread(&s);
        g_thread_join(thread);
        g_test_message("%s", s.said);
        g_assert_nonnull(strstr(s.said, i ? "it was shut down" : "cancelled"));
        if (i) {
            assert_end(silent);
        }
        g_free(s.said);
    }
    assert_descriptors(before);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/multifd/many", test_many);
    g_test_add_func("/multifd/strangers", test_strangers);
    g_test_add_func("/multifd/too-many-strangers", test_too_many_strangers);
    g_test_add_func("/multifd/cancel", test_cancel);
    return channel_test_run(NULL);
}
