/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "channel-fixture.h"
#include "tests/unit/open-descriptors.h"

#include <stdlib.h>
#include <string.h>

char *channel_folder;

char *path_of(const char *name)
{
    return g_strdup_printf("%s/%s", channel_folder, name);
}

int channel_test_run(void (*prepare)(void))
{
    g_autofree char *command = NULL;
    int status;

    channel_folder = g_dir_make_tmp("viaduct-channel-XXXXXX", NULL);
    command = g_strdup_printf("rm -rf %s", channel_folder);
    {
        /* So that what GLib opens once is open. */
        g_autoptr(MigrationAddress) a = parse("exec:cat >/dev/null");

        be_source(a, false);
    }
    if (prepare) {
        prepare();
    }
    status = g_test_run();
    status |= system(command); /* NOLINT(cert-env33-c) */
    g_free(channel_folder);
    return status;
}

/* A thread of GLib's that reaps or resolves may be a little late. */
guint descriptors(void)
{
    guint n = open_descriptors();

    for (int same = 0; same < 10;) {
        guint now;

        g_usleep(3000);
        now = open_descriptors();
        same = now == n ? same + 1 : 0;
        n = now;
    }
    return n;
}

void assert_descriptors(guint wanted)
{
    for (int i = 0; i < 200 && open_descriptors() != wanted; i++) {
        g_usleep(5000);
    }
    g_assert_cmpuint(open_descriptors(), ==, wanted);
}

uint8_t *pattern(size_t len, unsigned seed)
{
    uint8_t *data = g_malloc(len);
    uint32_t x = seed * 2654435761u + 1;

    for (size_t i = 0; i < len; i++) {
        x = x * 1664525u + 1013904223u;
        data[i] = (uint8_t)(x >> 24);
    }
    return data;
}

MigrationAddress *parse(const char *uri)
{
    g_autoptr(GError) err = NULL;
    MigrationAddress *a = migration_address_parse(uri, &err);

    g_assert_no_error(err);
    g_assert_nonnull(a);
    return a;
}

MigrationAddress *parse_json(const char *json, GError **errp)
{
    g_autofree char *text = g_strdelimit(g_strdup(json), "'", '"');
    g_autoptr(JsonNode) node = json_from_string(text, NULL);

    g_assert_nonnull(node);
    return migration_address_from_json(json_node_get_object(node), errp);
}

char *uri_of(MigrationListener *l)
{
    g_autoptr(JsonObject) o = migration_address_to_json(migration_listener_address(l));

    return g_strdup_printf("tcp:%s:%s", json_object_get_string_member(o, "host"),
                           json_object_get_string_member(o, "port"));
}

/* ---- there ---- */

void write_pieces(MigrationChannel *ch, const uint8_t *data, size_t len)
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

void read_pieces(MigrationChannel *ch, const uint8_t *data, size_t len)
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

void be_source(const MigrationAddress *to, bool answer)
{
    g_autoptr(GError) err = NULL;
    g_autoptr(MigrationChannel) ch = migration_connect(to, NULL, &err);
    g_autofree uint8_t *data = pattern(MUCH, 1), *back = pattern(1000, 2);

    g_assert_no_error(err);
    g_assert_nonnull(ch);
    write_pieces(ch, data, MUCH);
    if (answer) {
        read_pieces(ch, back, 1000);
    }
    g_assert_true(migration_channel_finish(ch, &err));
    g_assert_no_error(err);
}

void assert_end(MigrationChannel *ch)
{
    g_autoptr(GError) err = NULL;
    char c;

    g_assert_false(migration_channel_read(ch, &c, 1, &err));
    g_assert_nonnull(strstr(err->message, "unexpected end of the stream"));
}

typedef struct Source {
    const MigrationAddress *to;
    bool answer;
} Source;

static gpointer source_thread(gpointer opaque)
{
    const Source *s = opaque;

    be_source(s->to, s->answer);
    return NULL;
}

void there_and_back(MigrationListener *l, const MigrationAddress *to, bool answer)
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
