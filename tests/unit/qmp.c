/* SPDX-License-Identifier: GPL-2.0-or-later */
/* monitor/ and backends/chardev: sessions over socket pairs and sockets, with no machine behind. */
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/accel.h"
#include "core/event.h"
#include "core/machine.h"
#include "core/runstate.h"
#include "tests/unit/qmp-client.h"
#include "util/fd.h"

/* ---- an accelerator and a machine of which nothing is asked ---- */

static void no_vcpus(void)
{
}

static const AccelOps test_accel = {
    .name = "kvm",
    .pause_vcpus = no_vcpus,
    .resume_vcpus = no_vcpus,
};

typedef Machine TestMachine;
typedef MachineClass TestMachineClass;
GType test_machine_get_type(void);
DEFINE_OBJECT_TYPE(TestMachine, test_machine, "test-machine", TYPE_MACHINE, 0)

static void test_machine_init(Machine *m)
{
}

static void test_machine_class_init(MachineClass *klass)
{
    klass->name = "test";
    klass->max_cpus = 7;
}

typedef struct TestObject {
    UserObject parent;
    char *text;
    uint32_t number;
} TestObject;

typedef UserObjectClass TestObjectClass;
GType test_object_get_type(void);
DEFINE_OBJECT_TYPE(TestObject, test_object, "test-object", TYPE_USER_OBJECT, 0)

static const Property test_properties[] = {
    PROP_STRING("text", TestObject, text, .help = "some text"),
    PROP_UINT32("number", TestObject, number, 42, .runtime = true),
};

static void test_object_init(TestObject *o)
{
}

static void test_object_class_init(UserObjectClass *klass)
{
    object_class_add_properties(klass, test_properties, G_N_ELEMENTS(test_properties));
}

/* ---- a client ---- */

static void send_bytes(QMPClient *c, const void *bytes, size_t len)
{
    g_assert_cmpint(write(c->fd, bytes, len), ==, (ssize_t)len);
}

static void client_send(QMPClient *c, const char *text)
{
    send_bytes(c, text, strlen(text));
}

/* What comes next is this, member by member and no more. */
static void expect(QMPClient *c, const char *json)
{
    g_autoptr(JsonNode) wanted = json_from_string(json, NULL);
    g_autoptr(JsonObject) got = qmp_client_receive(c);
    g_autoptr(JsonNode) node = json_node_new(JSON_NODE_OBJECT);

    g_assert_nonnull(got);
    json_node_set_object(node, got);
    if (!json_node_equal(wanted, node)) {
        g_autofree char *text = json_to_string(node, FALSE);

        g_test_message("wanted %s", json);
        g_test_message("got    %s", text);
        g_test_fail();
    }
}

static void expect_error(QMPClient *c, const char *class, const char *desc)
{
    g_autoptr(JsonObject) got = qmp_client_receive(c);
    JsonObject *error;

    g_assert_nonnull(got);
    g_assert_true(json_object_has_member(got, "error"));
    error = json_object_get_object_member(got, "error");
    g_assert_cmpstr(json_object_get_string_member(error, "class"), ==, class);
    g_assert_cmpstr(json_object_get_string_member(error, "desc"), ==, desc);
}

static void expect_event(QMPClient *c, const char *name, const char *data)
{
    g_autoptr(JsonObject) got = qmp_client_receive(c);
    JsonObject *timestamp;

    g_assert_nonnull(got);
    g_assert_cmpstr(json_object_get_string_member_with_default(got, "event", ""), ==, name);
    timestamp = json_object_get_object_member(got, "timestamp");
    g_assert_cmpint(json_object_get_int_member(timestamp, "seconds"), >, 0);
    g_assert_cmpint(json_object_get_int_member(timestamp, "microseconds"), <, G_USEC_PER_SEC);
    if (data) {
        g_autoptr(JsonNode) wanted = json_from_string(data, NULL);

        g_assert_true(json_node_equal(wanted, json_object_get_member(got, "data")));
    } else {
        g_assert_false(json_object_has_member(got, "data"));
    }
}

static void expect_nothing(QMPClient *c)
{
    spin();
    qmp_client_fill(c);
    g_assert_cmpstr(c->in->str, ==, "");
}

static void expect_greeting(QMPClient *c)
{
    g_autoptr(JsonObject) got = qmp_client_receive(c);
    JsonObject *version;

    g_assert_nonnull(got);
    version = json_object_get_object_member(json_object_get_object_member(got, "QMP"), "version");
    g_assert_cmpint(
        json_object_get_int_member(json_object_get_object_member(version, "qemu"), "major"), >=,
        10);
    g_assert_nonnull(strstr(json_object_get_string_member(version, "package"), "viaduct"));
}

static void client_init(QMPClient *c)
{
    qmp_client_init(c);
    expect_greeting(c);
}

static void client_negotiate(QMPClient *c)
{
    client_send(c, "{\"execute\":\"qmp_capabilities\"}");
    expect(c, "{\"return\":{}}");
}

static void end(void)
{
    monitor_cleanup();
    chardev_cleanup_all();
}

/* ---- the protocol ---- */

static void test_negotiation(void)
{
    QMPClient c;

    client_init(&c);
    client_send(&c, "{\"execute\":\"query-status\"}");
    expect_error(&c, "CommandNotFound",
                 "Expecting capabilities negotiation with 'qmp_capabilities'");
    event_emit("TEST", NULL);
    expect_nothing(&c);
    client_send(&c, "{\"execute\":\"qmp_capabilities\",\"arguments\":{\"enable\":[\"oob\"]}}");
    expect_error(&c, "GenericError", "The greeting offered no capability to enable");
    client_negotiate(&c);
    client_send(&c, "{\"execute\":\"qmp_capabilities\"}");
    expect_error(&c, "CommandNotFound",
                 "Capabilities negotiation is already complete, command ignored");
    qmp_client_clear(&c);
    end();
}

static void refuse(QMPClient *c, const char *request, const char *class, const char *desc)
{
    g_test_message("%s", request);
    client_send(c, request);
    expect_error(c, class, desc);
}

static void test_errors(void)
{
    QMPClient c;

    client_init(&c);
    client_negotiate(&c);
    refuse(&c, "{}", "GenericError", "QMP input lacks member 'execute'");
    refuse(&c, "[1]", "GenericError", "QMP input must be a JSON object");
    refuse(&c, "\"x\"", "GenericError", "QMP input must be a JSON object");
    refuse(&c, "{'execute':1}", "GenericError", "QMP input member 'execute' must be a string");
    refuse(&c, "{'execute':'stop','arguments':[]}", "GenericError",
           "QMP input member 'arguments' must be an object");
    refuse(&c, "{'execute':'stop','x':1}", "GenericError", "QMP input member 'x' is unexpected");
    refuse(&c, "{'exec-oob':'stop'}", "GenericError", "QMP input member 'exec-oob' is unexpected");
    refuse(&c, "{'execute':'nosuch'}", "CommandNotFound", "The command nosuch has not been found");
    refuse(&c, "{'execute':'qom-list'}", "GenericError", "Parameter 'path' is missing");
    refuse(&c, "{'execute':'qom-list','arguments':{'path':3}}", "GenericError",
           "Invalid parameter type for 'path', expected: string");
    refuse(&c, "{'execute':'qom-list-types','arguments':{'abstract':'on'}}", "GenericError",
           "Invalid parameter type for 'abstract', expected: boolean");
    refuse(&c, "{'execute':'stop','arguments':{'y':1}}", "GenericError",
           "Parameter 'y' is unexpected");
    refuse(&c, "{'execute':'qom-list','arguments':{'path':'/nosuch'}}", "DeviceNotFound",
           "Device '/nosuch' not found");
    client_send(&c, "{\"execute\":\"nosuch\",\"id\":[\"a\",{\"b\":1}]}");
    expect(&c, "{\"id\":[\"a\",{\"b\":1}],\"error\":{\"class\":\"CommandNotFound\","
               "\"desc\":\"The command nosuch has not been found\"}}");
    qmp_client_clear(&c);
    end();
}

/* Each is one error and nothing more; the next command is understood. */
static void test_bad_json(void)
{
    static const char *const bad[] = {
        "{\"execute\" \"stop\"}",
        "{\"execute\":}",
        "}",
        "]",
        "{]",
        "{\"execute\":\"stop\"]",
        "foo\n",
        "{\"a\":\xff",
        "\xff",
        "{\"a\":\"\xc3\x28\"}",
        "{\"a\":\"\n",
        "[1,,2]",
        "{'a':tru}",
        "{\"execute\":\"stop\",\"id\":[1e999]}",
        "{\"execute\":\"stop\",\"id\":[\"\\ud800\"]}",
        "{\"execute\":\"\\ud800\"}",
        "{\"\\ud800\":1}",
        "{\"a\":\"\\ud800\" \"b\"}",
        "{\"execute\":\"query-kvm\\u0000x\"}",
        "{\"execute\":\"query-kvm\",\"id\":\"\\\\\\u0000\"}",
        "{\"execute\":\"stop\",\"\\u0000\":1}",
        "{\"execute\":\"stop\",\"id\":18446744073709551615}",
        "{\"execute\":\"stop\",\"id\":[-9223372036854775809]}",
    };
    QMPClient c;

    client_init(&c);
    client_negotiate(&c);
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(JsonObject) got = NULL;

        g_test_message("case %zu", i);
        client_send(&c, bad[i]);
        got = qmp_client_receive(&c);
        g_assert_nonnull(got);
        g_assert_true(json_object_has_member(got, "error"));
        expect_nothing(&c);
        client_send(&c, "{\"execute\":\"query-kvm\"}");
        expect(&c, "{\"return\":{\"enabled\":true,\"present\":true}}");
    }
    qmp_client_clear(&c);
    end();
}

static void test_framing(void)
{
    static const char tricky[] = "{ \"execute\" : \"nosuch\\\"}]\\\\\" , \"id\" : \"{[\" }\r\n";
    g_autoptr(GString) deep = g_string_new(NULL);
    QMPClient c;

    client_init(&c);
    client_negotiate(&c);
    for (const char *p = tricky; *p; p++) { /* a byte a read */
        send_bytes(&c, p, 1);
        spin();
    }
    expect(&c, "{\"id\":\"{[\",\"error\":{\"class\":\"CommandNotFound\","
               "\"desc\":\"The command nosuch\\\"}]\\\\ has not been found\"}}");
    client_send(&c, "{\"execute\":\"query-kvm\",\"id\":1}{\"execute\":\"query-name\",\"id\":2}"
                    "{'execute':'query-uuid','id':'it\\'s \"3\"'}");
    expect(&c, "{\"return\":{\"enabled\":true,\"present\":true},\"id\":1}");
    expect(&c, "{\"return\":{\"name\":\"guest\"},\"id\":2}");
    expect(&c, "{\"return\":{\"UUID\":\"01000000-0000-0000-0000-000000000002\"},"
               "\"id\":\"it's \\\"3\\\"\"}");
    for (int i = 0; i < 5000; i++) {
        g_string_append_c(deep, '[');
    }
    for (int i = 0; i < 5000; i++) {
        g_string_append_c(deep, ']');
    }
    client_send(&c, deep->str);
    expect_error(&c, "GenericError", "JSON token nesting depth limit exceeded");
    expect_nothing(&c);
    client_send(&c, "{\"execute\":\"stop\"}");
    expect(&c, "{\"return\":{}}");
    qmp_client_clear(&c);
    end();
}

static void test_events(void)
{
    QMPClient a, b, silent;
    JsonObject *data = json_object_new();

    client_init(&a);
    client_init(&b);
    client_init(&silent);
    client_negotiate(&a);
    client_negotiate(&b);
    client_send(&a, "{\"execute\":\"cont\"}");
    expect_event(&a, "RESUME", NULL);
    expect(&a, "{\"return\":{}}");
    expect_event(&b, "RESUME", NULL);
    client_send(&b, "{\"execute\":\"query-status\"}");
    expect(&b, "{\"return\":{\"running\":true,\"status\":\"running\"}}");
    client_send(&b, "{\"execute\":\"stop\"}{\"execute\":\"stop\"}");
    expect_event(&b, "STOP", NULL);
    expect(&b, "{\"return\":{}}");
    expect(&b, "{\"return\":{}}");
    expect_event(&a, "STOP", NULL);
    json_object_set_int_member(data, "x", 5);
    event_emit("TEST", data);
    expect_event(&a, "TEST", "{\"x\":5}");
    expect_nothing(&silent);
    qmp_client_clear(&a);
    qmp_client_clear(&b);
    qmp_client_clear(&silent);
    end();
}

/* A client that does not read is not read from, loses no answer, and costs no unbounded memory. */
static void test_back_pressure(void)
{
    enum { COMMANDS = 4000 };
    static const char command[] = "{\"execute\":\"query-commands\"}";
    size_t sent = 0, answers = 0, total = COMMANDS * (sizeof(command) - 1);
    g_autoptr(GString) all = g_string_new(NULL);
    QMPClient c;

    client_init(&c);
    client_negotiate(&c);
    for (int i = 0; i < COMMANDS; i++) {
        g_string_append(all, command);
    }
    while (answers < COMMANDS) {
        g_autoptr(JsonObject) got = NULL;
        ssize_t n;

        while (sent < total) {
            n = send(c.fd, all->str + sent, total - sent, MSG_DONTWAIT);
            spin();
            if (n <= 0) {
                break;
            }
            sent += (size_t)n;
        }
        g_assert_cmpuint(chardev_queued(c.chr), <, 256 * 1024);
        got = qmp_client_receive(&c);
        g_assert_nonnull(got);
        g_assert_cmpuint(json_array_get_length(json_object_get_array_member(got, "return")), >, 20);
        answers++;
    }
    expect_nothing(&c);
    qmp_client_clear(&c);
    end();
}

static void test_events_dropped_whole(void)
{
    g_autofree char *text = g_strnfill(10000, 'x');
    unsigned events = 0;
    QMPClient c;

    client_init(&c);
    client_negotiate(&c);
    for (int i = 0; i < 1000; i++) {
        JsonObject *data = json_object_new();

        json_object_set_string_member(data, "text", text);
        event_emit("BIG", data);
    }
    for (;;) {
        g_autoptr(JsonObject) got = qmp_client_receive(&c);

        if (!got) {
            break;
        }
        g_assert_cmpstr(json_object_get_string_member(got, "event"), ==, "BIG");
        events++;
    }
    g_assert_cmpuint(events, >, 50);
    g_assert_cmpuint(events, <, 500);
    client_send(&c, "{\"execute\":\"query-kvm\"}");
    expect(&c, "{\"return\":{\"enabled\":true,\"present\":true}}");
    qmp_client_clear(&c);
    end();
}

/* ---- commands ---- */

static void test_objects(void)
{
    QMPClient c;

    client_init(&c);
    client_negotiate(&c);
    client_send(&c, "{\"execute\":\"object-add\",\"arguments\":{\"qom-type\":\"test-object\","
                    "\"id\":\"o1\",\"text\":\"hi\"}}");
    expect(&c, "{\"return\":{}}");
    client_send(&c, "{\"execute\":\"object-add\",\"arguments\":{\"qom-type\":\"nosuch\","
                    "\"id\":\"o2\"}}");
    expect_error(&c, "GenericError", "Parameter 'qom-type' does not accept value 'nosuch'");
    client_send(&c, "{\"execute\":\"qom-list\",\"arguments\":{\"path\":\"/objects\"}}");
    expect(&c, "{\"return\":[{\"name\":\"type\",\"type\":\"string\"},"
               "{\"name\":\"o1\",\"type\":\"child<test-object>\"}]}");
    client_send(&c, "{\"execute\":\"qom-list\",\"arguments\":{\"path\":\"/objects/o1\"}}");
    expect(&c, "{\"return\":[{\"name\":\"type\",\"type\":\"string\"},"
               "{\"name\":\"text\",\"type\":\"str\"},{\"name\":\"number\",\"type\":\"uint32\"}]}");
    client_send(&c, "{\"execute\":\"qom-set\",\"arguments\":{\"path\":\"/objects/o1\","
                    "\"property\":\"number\",\"value\":7}}");
    expect(&c, "{\"return\":{}}");
    client_send(&c, "{\"execute\":\"qom-set\",\"arguments\":{\"path\":\"/objects/o1\","
                    "\"property\":\"text\",\"value\":\"ho\"}}");
    expect_error(&c, "GenericError", "cannot change property 'text' of test-object");
    client_send(&c, "{\"execute\":\"qom-get\",\"arguments\":{\"path\":\"o1\","
                    "\"property\":\"number\"}}");
    expect(&c, "{\"return\":7}");
    client_send(&c, "{\"execute\":\"qom-get\",\"arguments\":{\"path\":\"/objects\","
                    "\"property\":\"o1\"}}");
    expect(&c, "{\"return\":\"/objects/o1\"}");
    client_send(&c, "{\"execute\":\"qom-get\",\"arguments\":{\"path\":\"/objects/o1\","
                    "\"property\":\"nosuch\"}}");
    expect_error(&c, "GenericError", "Property 'test-object.nosuch' not found");
    client_send(&c, "{\"execute\":\"object-del\",\"arguments\":{\"id\":\"o1\"}}"
                    "{\"execute\":\"object-del\",\"arguments\":{\"id\":\"o1\"}}");
    expect(&c, "{\"return\":{}}");
    expect_error(&c, "GenericError", "object 'o1' not found");
    qmp_client_clear(&c);
    end();
}

static void test_types(void)
{
    QMPClient c;

    client_init(&c);
    client_negotiate(&c);
    client_send(&c, "{\"execute\":\"qom-list-types\",\"arguments\":{\"implements\":\"test-object\","
                    "\"abstract\":true}}");
    expect(&c, "{\"return\":[{\"name\":\"test-object\",\"parent\":\"user-creatable\"}]}");
    client_send(&c, "{\"execute\":\"qom-list-types\",\"arguments\":{\"implements\":\"nosuch\"}}");
    expect(&c, "{\"return\":[]}");
    client_send(&c, "{\"execute\":\"qom-list-properties\",\"arguments\":"
                    "{\"typename\":\"test-object\"}}");
    expect(&c, "{\"return\":[{\"name\":\"text\",\"type\":\"str\",\"description\":\"some text\"},"
               "{\"name\":\"number\",\"type\":\"uint32\",\"default-value\":42}]}");
    client_send(&c, "{\"execute\":\"device-list-properties\",\"arguments\":"
                    "{\"typename\":\"test-object\"}}");
    expect_error(&c, "GenericError", "Parameter 'typename' expects device");
    client_send(&c, "{\"execute\":\"device-list-properties\",\"arguments\":"
                    "{\"typename\":\"device\"}}");
    expect_error(&c, "GenericError", "Parameter 'typename' expects a non-abstract device type");
    client_send(&c, "{\"execute\":\"device-list-properties\",\"arguments\":"
                    "{\"typename\":\"nosuch\"}}");
    expect_error(&c, "DeviceNotFound", "Device 'nosuch' not found");
    qmp_client_clear(&c);
    end();
}

/* ---- chardevs ---- */

static int connect_unix(const char *path)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    g_strlcpy(addr.sun_path, path, sizeof(addr.sun_path));
    g_assert_cmpint(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), ==, 0);
    return fd;
}

/* Stale file replaced, one client after another, file gone at the end unless it is another's. */
static void test_unix_server(void)
{
    g_autofree char *dir = g_dir_make_tmp("viaduct-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(dir, "sock", NULL);
    g_autofree char *spec = g_strdup_printf("unix:%s,server=on,wait=off", path);
    g_autoptr(GError) err = NULL;
    g_autofree char *filename = NULL, *wanted = NULL;
    Chardev *chr = chardev_new_from_spec(spec, "a", &err);

    g_assert_no_error(err);
    filename = chardev_filename(chr);
    wanted = g_strdup_printf("disconnected:unix:%s,server=on", path);
    g_assert_cmpstr(filename, ==, wanted);
    g_assert_true(monitor_init_qmp(chr, false, &err));
    g_assert_false(monitor_init_qmp(chr, false, NULL));
    for (int i = 0; i < 3; i++) {
        QMPClient first = { connect_unix(path), g_string_new(NULL), chr };
        QMPClient second = { connect_unix(path), g_string_new(NULL), chr };

        expect_greeting(&first);
        client_negotiate(&first);
        client_send(&first, "{\"execute\":"); /* never ends: the next one must not inherit it */
        expect_nothing(&second);
        qmp_client_clear(&first);
        expect_greeting(&second);
        client_send(&second, "{\"execute\":\"query-kvm\"}");
        expect_error(&second, "CommandNotFound",
                     "Expecting capabilities negotiation with 'qmp_capabilities'");
        qmp_client_clear(&second);
    }
    g_assert_null(chardev_new_from_spec("unix:/x,server=on,wait=off", "a", NULL)); /* same id */
    end();
    g_assert_cmpint(access(path, F_OK), ==, -1);

    /* One that died without cleaning up, and one that took our place. */
    g_assert_nonnull(chardev_new_from_spec(spec, "a", &err));
    g_assert_nonnull(chardev_new_from_spec(spec, "b", &err));
    g_unlink(path);
    g_assert_true(g_file_set_contents(path, "", 0, NULL));
    end();
    g_assert_cmpint(access(path, F_OK), ==, 0);
    g_assert_null(chardev_new_from_spec(spec, "a", &err)); /* a file, not a socket: left alone */
    g_assert_nonnull(err);
    g_unlink(path);
    g_rmdir(dir);
}

static void test_tcp(void)
{
    g_autoptr(GError) err = NULL;
    Chardev *server = chardev_new_from_spec("tcp:127.0.0.1:0,server=on,wait=off", "s", &err);
    Chardev *client;
    g_autofree char *filename = NULL, *spec = NULL;
    char *port;

    g_assert_no_error(err);
    filename = chardev_filename(server);
    port = strrchr(filename, ':') + 1;
    *strchr(port, ',') = '\0';
    spec = g_strdup_printf("tcp:localhost:%s", port);
    client = chardev_new_from_spec(spec, "c", &err);
    g_assert_no_error(err);
    g_assert_true(monitor_init_qmp(server, false, &err));
    spin();
    g_clear_pointer(&filename, g_free);
    filename = chardev_filename(server);
    g_assert_nonnull(strstr(filename, ",server=on <-> 127.0.0.1:"));
    g_assert_false(chardev_frontend_open(client));
    end();
}

static void test_refused(void)
{
    static const char *const bad[] = {
        "foo",
        "stdio:",
        "file:",
        "file:/nosuch/x",
        "unix:",
        "unix:/nosuch/x",
        "unix:/nosuch/x,server=on,wait=off",
        "unix:/tmp/x,server=maybe",
        "unix:/tmp/x,wait=off",
        "unix:/tmp/x,telnet=on",
        "unix:/tmp/x,reconnect=1",
        "tcp:localhost",
        "tcp:localhost:99999",
        "tcp:localhost:x,server=on",
        "chardev:nosuch",
        "mon:stdio",
    };

    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) err = NULL;

        g_assert_null(chardev_new_from_spec(bad[i], "x", &err));
        g_assert_nonnull(err);
        g_test_message("%s: %s", bad[i], err->message);
        g_assert_null(chardev_find("x"));
    }
}

static void test_pty(void)
{
    g_autoptr(GError) err = NULL;
    g_autofree char *filename = NULL;
    QMPClient c = { .in = g_string_new(NULL) };
    int tap = dup(STDOUT_FILENO);
    Chardev *chr;
    char buf[4096];

    g_assert_nonnull(freopen("/dev/null", "w", stdout)); /* its name is announced there */
    chr = chardev_new_from_spec("pty", "p", &err);
    dup2(tap, STDOUT_FILENO);
    close(tap);
    g_assert_no_error(err);
    filename = chardev_filename(chr);
    g_assert_true(g_str_has_prefix(filename, "pty:/dev/pts/"));
    g_assert_true(monitor_init_qmp(chr, false, &err));
    c.fd = open(filename + strlen("pty:"), O_RDWR | O_NOCTTY | O_NONBLOCK);
    g_assert_cmpint(c.fd, >=, 0);
    for (int i = 0; i < 300 && !c.in->len; i++) {
        ssize_t n = read(c.fd, buf, sizeof(buf));

        g_main_context_iteration(NULL, FALSE);
        g_usleep(10000);
        g_string_append_len(c.in, buf, MAX(n, 0));
    }
    g_assert_true(g_str_has_prefix(c.in->str, "{\"QMP\""));
    qmp_client_clear(&c);
    end();
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    accel_register(&test_accel);
    current_machine = g_object_new(test_machine_get_type(), NULL);
    current_machine->config.name = "guest";
    current_machine->config.uuid[0] = 1;
    current_machine->config.uuid[15] = 2;
    g_test_add_func("/qmp/negotiation", test_negotiation);
    g_test_add_func("/qmp/errors", test_errors);
    g_test_add_func("/qmp/bad-json", test_bad_json);
    g_test_add_func("/qmp/framing", test_framing);
    g_test_add_func("/qmp/events", test_events);
    g_test_add_func("/qmp/back-pressure", test_back_pressure);
    g_test_add_func("/qmp/events-dropped-whole", test_events_dropped_whole);
    g_test_add_func("/qmp/objects", test_objects);
    g_test_add_func("/qmp/types", test_types);
    g_test_add_func("/chardev/unix-server", test_unix_server);
    g_test_add_func("/chardev/tcp", test_tcp);
    g_test_add_func("/chardev/refused", test_refused);
    g_test_add_func("/chardev/pty", test_pty);
    return g_test_run();
}
