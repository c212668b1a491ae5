/* SPDX-License-Identifier: GPL-2.0-or-later */
/* TLS on migration channels, with certificates that openssl makes for this run. */
#include <stdio.h>
#include <string.h>

#include "channel-fixture.h"
#include "core/lock.h"
#include "core/object.h"
#include "migration/options.h"

/*
 * LLVM 14's leak checker believes that the thread-local variables of a library that was loaded late
 * are where nothing is, and crashes.
 */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "intercept_tls_get_addr=0";
}

/*
 * good: the authority's server and client; name: a server of another host; old: one that has
 * expired; other: another authority's; bare: a client without a certificate; mixed: a client with
 * the other authority's.
 */
static const char make[] =
    "set -e; exec >/dev/null 2>&1; cd \"$0\"\n"
    "authority() { mkdir -p $1; openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 \\\n"
    "    -nodes -keyout $1/ca-key.pem -out $1/ca-cert.pem -subj /CN=$1 -days 2; }\n"
    "leaf() { # FOLDER server|client AUTHORITY NAMES DAYS\n"
    "    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout $1/$2-key.pem \\\n"
    "        -out $1/$2.csr -subj /CN=$2\n"
    "    printf 'subjectAltName=%s\\nextendedKeyUsage=%sAuth\\n' \"$4\" $2 >$1/$2.ext\n"
    "    openssl x509 -req -in $1/$2.csr -CA $3/ca-cert.pem -CAkey $3/ca-key.pem \\\n"
    "        -CAcreateserial -out $1/$2-cert.pem -days $5 -extfile $1/$2.ext; }\n"
    "authority good; authority other\n"
    "for d in name old bare; do mkdir $d; cp good/ca-cert.pem $d; done\n"
    "leaf good server good DNS:localhost,IP:127.0.0.1 2; leaf good client good DNS:client 2\n"
    "leaf name server good DNS:elsewhere 2\n"
    "leaf old server good DNS:localhost,IP:127.0.0.1 -1\n"
    "leaf other server other DNS:localhost,IP:127.0.0.1 2; leaf other client other DNS:client 2\n"
    "mkdir mixed; cp good/ca-cert.pem other/client-*.pem mixed\n";

static void make_certificates(void)
{
    const char *argv[] = { "/bin/bash", "-c", make, channel_folder, NULL };
    g_autoptr(GError) err = NULL;
    int status = 0;

    g_assert_true(
        g_spawn_sync(NULL, (char **)argv, NULL, 0, NULL, NULL, NULL, NULL, &status, &err));
    g_assert_cmpint(status, ==, 0);
}

/* ---- credentials ---- */

static bool add(const char *id, const char *dir, const char *endpoint, const char *more,
                GError **errp)
{
    g_autofree char *path = path_of(dir);
    g_autoptr(JsonObject) o = json_object_new();
    bool done;

    json_object_set_string_member(o, "qom-type", "tls-creds-x509");
    json_object_set_string_member(o, "id", id);
    json_object_set_string_member(o, "dir", path);
    json_object_set_string_member(o, "endpoint", endpoint);
    if (more) {
        g_auto(GStrv) pair = g_strsplit(more, "=", 2);

        json_object_set_string_member(o, pair[0], pair[1]);
    }
    machine_lock();
    done = user_object_add(o, errp);
    machine_unlock();
    return done;
}

static void set(const char *creds, const char *host)
{
    g_autoptr(JsonObject) o = json_object_new();
    g_autoptr(GError) err = NULL;

    json_object_set_string_member(o, "tls-creds", creds);
    json_object_set_string_member(o, "tls-hostname", host);
    machine_lock();
    migration_set_parameters(o, &err);
    machine_unlock();
    g_assert_no_error(err);
}

/* ---- two processes, for each has parameters of its own ---- */

/* What was wrong, NULL: nothing. */
static char *server_serves(MigrationListener *l)
{
    g_autoptr(GError) err = NULL;
    g_autoptr(MigrationChannel) ch = migration_accept(l, NULL, &err);
    g_autofree uint8_t *data = pattern(MUCH, 1), *back = pattern(1000, 2);
    g_autofree uint8_t *got = g_malloc(MUCH);
    struct iovec iov = { back, 1000 };

    if (!ch || !migration_channel_read(ch, got, MUCH, &err) ||
        !migration_channel_writev(ch, &iov, 1, &err) || !migration_channel_finish(ch, &err)) {
        return g_strdup(err->message);
    }
    g_assert_cmpmem(got, MUCH, data, MUCH);
    assert_end(ch);
    return NULL;
}

/* --server FOLDER DIR MORE: prints where it is, and then what was wrong. */
static int server_main(char **argv)
{
    g_autoptr(MigrationAddress) a = parse("tcp:127.0.0.1:0");
    g_autoptr(MigrationListener) l = migration_listen(a, NULL);
    g_autofree char *uri = uri_of(l), *wrong = NULL;
    g_autoptr(GError) err = NULL;

    channel_folder = argv[0];
    if (!add("s", argv[1], "server", *argv[2] ? argv[2] : NULL, &err)) {
        g_printerr("%s\n", err->message);
        return 1;
    }
    set("s", "");
    printf("%s\n", uri);
    fflush(stdout);
    wrong = server_serves(l);
    printf("%s\n", wrong ?: "good");
    machine_lock();
    user_object_del("s", NULL);
    machine_unlock();
    set("", "");
    return 0;
}

static const char *program;

static GSubprocess *start_server(const char *dir, const char *more, GDataInputStream **out,
                                 char **uri)
{
    g_autoptr(GError) err = NULL;
    GSubprocess *server = g_subprocess_new(G_SUBPROCESS_FLAGS_STDOUT_PIPE, &err, program,
                                           "--server", channel_folder, dir, more ?: "", NULL);

    g_assert_no_error(err);
    *out = g_data_input_stream_new(g_subprocess_get_stdout_pipe(server));
    *uri = g_data_input_stream_read_line(*out, NULL, NULL, &err);
    g_assert_no_error(err);
    g_assert_nonnull(*uri);
    return server;
}

static char *client_sends(const char *uri)
{
    g_autoptr(MigrationAddress) a = parse(uri);
    g_autoptr(GError) err = NULL;
    g_autoptr(MigrationChannel) ch = migration_connect(a, NULL, &err);
    g_autofree uint8_t *data = pattern(MUCH, 1), *back = pattern(1000, 2);
    uint8_t got[1000];
    struct iovec iov[] = {
        { data, 100 }, { NULL, 0 }, { data + 100, 24 }, { data + 124, MUCH - 124 }
    };

    if (!ch || !migration_channel_writev(ch, iov, G_N_ELEMENTS(iov), &err) ||
        !migration_channel_read(ch, got, sizeof(got), &err) ||
        !migration_channel_finish(ch, &err)) {
        return g_strdup(err->message);
    }
    g_assert_cmpmem(got, sizeof(got), back, 1000);
    return NULL;
}

typedef struct Case {
    const char *name;
    const char *server, *server_more;
    const char *client, *client_more;      /* NULL: one that does not use TLS */
    const char *host;                      /* tls-hostname */
    const char *client_says, *server_says; /* NULL: it goes well; "": something */
} Case;

static const Case cases[] = {
    { "good", "good", NULL, "good", NULL, "", NULL, NULL },
    { "hostname", "good", NULL, "good", NULL, "localhost", NULL, NULL },
    { "other-host", "name", NULL, "good", NULL, "", "it is not for this host", "" },
    { "other-hostname", "good", NULL, "good", NULL, "elsewhere", "it is not for this host", "" },
    { "named-host", "name", "verify-peer=off", "bare", NULL, "elsewhere", NULL, NULL },
    { "expired", "old", "verify-peer=off", "good", NULL, "", "it has expired", "" },
    { "other-authority", "other", NULL, "good", NULL, "", "it is not of the authority", "" },
    { "any-server", "other", "verify-peer=off", "good", "verify-peer=off", "", NULL, NULL },
    { "any-client", "good", "verify-peer=off", "bare", NULL, "", NULL, NULL },
    { "no-client-certificate", "good", NULL, "bare", NULL, "", "", "certificate" },
    { "other-client", "good", NULL, "mixed", NULL, "", "", "it is not of the authority" },
    { "no-tls", "good", NULL, NULL, NULL, "", "", "TLS handshake failed" },
};

static void assert_says(const char *said, const char *wanted)
{
    if (wanted) {
        g_assert_nonnull(said);
        g_assert_nonnull(strstr(said, wanted));
    } else {
        g_assert_cmpstr(said, ==, NULL);
    }
}

static void test_case(gconstpointer opaque)
{
    const Case *c = opaque;
    guint before = descriptors();
    g_autoptr(GError) err = NULL;
    g_autofree char *uri = NULL, *client = NULL, *server = NULL;
    g_autoptr(GDataInputStream) out = NULL;
    g_autoptr(GSubprocess) process = start_server(c->server, c->server_more, &out, &uri);

    if (c->client) {
        g_assert_true(add("c", c->client, "client", c->client_more, &err));
        set("c", c->host);
    }
    client = client_sends(uri);
    server = g_data_input_stream_read_line(out, NULL, NULL, NULL);
    g_assert_nonnull(server);
    g_test_message("client: %s", client ?: "good");
    g_test_message("server: %s", server);
    assert_says(client, c->client_says);
    assert_says(g_str_equal(server, "good") ? NULL : server, c->server_says);
    g_assert_true(g_subprocess_wait_check(process, NULL, &err));
    set("", "");
    if (c->client) {
        machine_lock();
        g_assert_true(user_object_del("c", &err));
        machine_unlock();
    }
    g_clear_object(&process);
    g_clear_object(&out);
    assert_descriptors(before);
}

/* ---- what is wrong before the other side is there ---- */

static void assert_no_channel(const char *uri, const char *why)
{
    g_autoptr(MigrationAddress) a = parse(uri);
    g_autoptr(GError) err = NULL;

    g_assert_null(migration_connect(a, NULL, &err));
    g_test_message("%s", err->message);
    g_assert_nonnull(strstr(err->message, why));
}

static void test_refused(void)
{
    g_autofree char *path = path_of("socket"), *uri = g_strdup_printf("unix:%s", path);
    g_autofree char *file = path_of("file"), *file_uri = g_strdup_printf("file:%s", file);
    g_autoptr(MigrationAddress) a = parse(uri);
    g_autoptr(MigrationListener) l = migration_listen(a, NULL);
    g_autoptr(GError) err = NULL;

    g_assert_nonnull(l);
    set("nobody", "");
    assert_no_channel(uri, "No TLS credentials with id 'nobody'");
    g_assert_true(add("s", "good", "server", NULL, &err));
    g_assert_true(add("c", "good", "client", NULL, &err));
    set("s", "");
    assert_no_channel(uri, "Expected TLS credentials for a client endpoint");
    set("c", "");
    assert_no_channel(uri, "set 'tls-hostname'");
    assert_no_channel(file_uri, "TLS needs a socket");
    g_assert_false(g_file_test(file, G_FILE_TEST_EXISTS));
    set("", "");
    machine_lock();
    user_object_del("s", NULL);
    user_object_del("c", NULL);
    machine_unlock();
}

static void assert_no_creds(const char *dir, const char *endpoint, const char *more,
                            const char *why)
{
    g_autoptr(GError) err = NULL;

    g_assert_false(add("x", dir, endpoint, more, &err));
    g_test_message("%s", err->message);
    g_assert_nonnull(strstr(err->message, why));
}

static void test_bad_credentials(void)
{
    g_autoptr(JsonObject) psk = json_object_new();
    g_autoptr(GError) err = NULL;
    g_autofree char *crl = path_of("name/ca-crl.pem"), *broken = path_of("old/server-cert.pem");
    g_autofree char *key = path_of("bare/client-key.pem");

    json_object_set_string_member(psk, "qom-type", "tls-creds-psk");
    json_object_set_string_member(psk, "id", "x");
    g_assert_false(user_object_add(psk, &err));
    g_assert_nonnull(strstr(err->message, "x: tls-creds-psk is not supported: "));
    assert_no_creds("nowhere", "server", NULL, "nowhere/ca-cert.pem: No such file or directory");
    assert_no_creds("bare", "server", NULL, "bare/server-cert.pem: No such file or directory");
    assert_no_creds("good", "server", "priority=NORMAL", "'priority' is not supported");
    assert_no_creds("good", "server", "sanity-check=off", "'sanity-check=off' is not supported");
    assert_no_creds("good", "both", NULL, "Parameter 'endpoint' does not accept value 'both'");
    g_assert_true(g_file_set_contents(crl, "x", 1, NULL));
    assert_no_creds("name", "server", NULL, "revocation lists are not supported");
    g_assert_true(g_file_set_contents(broken, "x", 1, NULL));
    assert_no_creds("old", "server", NULL, "old/server-cert.pem: ");
    g_assert_true(g_file_set_contents(key, "x", 1, NULL));
    assert_no_creds("bare", "client", NULL, "but no certificate for it");
}

/* ---- shutting down ---- */

static gpointer cancel_soon(gpointer cancel)
{
    g_usleep(100000);
    g_cancellable_cancel(cancel);
    return NULL;
}

/* Nobody accepts, so nobody shakes hands. */
static void test_cancel_handshake(void)
{
    g_autoptr(MigrationAddress) at = parse("tcp:127.0.0.1:0"), to = NULL;
    g_autoptr(MigrationListener) l = migration_listen(at, NULL);
    g_autoptr(GCancellable) cancel = g_cancellable_new();
    g_autoptr(GError) err = NULL;
    g_autofree char *uri = uri_of(l);
    GThread *thread;

    to = parse(uri);
    g_assert_true(add("c", "good", "client", NULL, &err));
    set("c", "");
    thread = g_thread_new("cancel", cancel_soon, cancel);
    g_assert_null(migration_connect(to, cancel, &err));
    g_test_message("%s", err->message);
    g_assert_nonnull(strstr(err->message, "cancelled"));
    g_thread_join(thread);
    set("", "");
    machine_lock();
    user_object_del("c", NULL);
    machine_unlock();
}

static gpointer shutdown_soon(gpointer ch)
{
    g_usleep(100000);
    migration_channel_shutdown(ch);
    return NULL;
}

/* One thread waits for bytes that do not come. */
static void test_shutdown(void)
{
    g_autoptr(GError) err = NULL;
    g_autofree char *uri = NULL;
    g_autoptr(GDataInputStream) out = NULL;
    g_autoptr(GSubprocess) process = start_server("good", NULL, &out, &uri);
    g_autoptr(MigrationAddress) a = parse(uri);
    g_autoptr(MigrationChannel) ch = NULL;
    g_autofree char *server = NULL;
    GThread *thread;
    char c;

    g_assert_true(add("c", "good", "client", NULL, &err));
    set("c", "");
    ch = migration_connect(a, NULL, &err);
    g_assert_no_error(err);
    g_assert_true(migration_channel_is_duplex(ch));
    thread = g_thread_new("shutdown", shutdown_soon, ch);
    g_assert_false(migration_channel_read(ch, &c, 1, &err));
    g_assert_nonnull(strstr(err->message, "it was shut down"));
    g_thread_join(thread);
    server = g_data_input_stream_read_line(out, NULL, NULL, NULL);
    g_assert_nonnull(strstr(server, "unexpected end of the stream"));
    g_assert_true(g_subprocess_wait_check(process, NULL, NULL));
    set("", "");
    machine_lock();
    user_object_del("c", NULL);
    machine_unlock();
}

int main(int argc, char **argv)
{
    if (argc == 5 && g_str_equal(argv[1], "--server")) {
        return server_main(argv + 2);
    }
    program = argv[0];
    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *path = g_strconcat("/tls/", cases[i].name, NULL);

        g_test_add_data_func(path, &cases[i], test_case);
    }
    g_test_add_func("/tls/refused", test_refused);
    g_test_add_func("/tls/cancel-handshake", test_cancel_handshake);
    g_test_add_func("/tls/shutdown", test_shutdown);
    g_test_add_func("/tls/bad-credentials", test_bad_credentials);
    return channel_test_run(make_certificates);
}
