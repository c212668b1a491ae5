/* SPDX-License-Identifier: GPL-2.0-or-later */
/* migration/options: what can be set, what is refused and how, all or nothing. */
#include <string.h>

#include "migration/options.h"

/* Single quotes stand for double ones. */
static JsonNode *json(const char *text)
{
    g_autofree char *copy = g_strdelimit(g_strdup(text), "'", '"');
    g_autoptr(GError) err = NULL;
    JsonNode *node = json_from_string(copy, &err);

    g_assert_no_error(err);
    return node;
}

static void set_capabilities(const char *list, const char *wanted)
{
    g_autoptr(JsonNode) node = json(list);
    g_autoptr(GError) err = NULL;
    bool good = migration_set_capabilities(json_node_get_array(node), &err);

    g_assert_cmpstr(err ? err->message : NULL, ==, wanted);
    g_assert_cmpint(good, ==, !wanted);
}

#define CAP(name, state) "{'capability':'" name "','state':" state "}"

static void test_capabilities(void)
{
    g_autoptr(JsonArray) list = migration_query_capabilities();

    g_assert_cmpuint(json_array_get_length(list), ==, MIG_CAP__MAX);
    for (guint i = 0; i < MIG_CAP__MAX; i++) {
        JsonObject *o = json_array_get_object_element(list, i);

        g_assert_false(json_object_get_boolean_member(o, "state"));
        g_assert_false(migration_capability(i));
    }
    set_capabilities("[" CAP("events", "true") "," CAP("multifd", "true") "]", NULL);
    g_assert_true(migration_capability(MIG_CAP_EVENTS));
    g_assert_true(migration_capability(MIG_CAP_MULTIFD));
    set_capabilities("[" CAP("x-ignore-shared", "true") "]", NULL);
    g_assert_true(migration_capability(MIG_CAP_IGNORE_SHARED));
    set_capabilities("[" CAP("x-ignore-shared", "false") "]", NULL);
    /* All or nothing. */
    set_capabilities("[" CAP("multifd", "false") "," CAP("nonsense", "true") "]",
                     "Parameter 'capability' does not accept value 'nonsense'");
    g_assert_true(migration_capability(MIG_CAP_MULTIFD));
    set_capabilities("[" CAP("events", "false") "," CAP("multifd", "false") "]", NULL);
    g_assert_false(migration_capability(MIG_CAP_MULTIFD));
}

static void test_no_capabilities(void)
{
    static const char *const names[] = {
        "zero-copy-send",
        "xbzrle",
        "rdma-pin-all",
        "postcopy-ram",
        "x-colo",
        "release-ram",
        "dirty-bitmaps",
        "postcopy-blocktime",
        "late-block-activate",
        "validate-uuid",
        "background-snapshot",
        "postcopy-preempt",
        "dirty-limit",
        "mapped-ram",
    };

    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *on = g_strdup_printf("[{'capability':'%s','state':true}]", names[i]);
        g_autofree char *off = g_strdup_printf("[{'capability':'%s','state':false}]", names[i]);
        g_autofree char *text = g_strdup_printf("capability '%s' is not supported: ", names[i]);
        g_autoptr(JsonNode) node = json(on);
        g_autoptr(GError) err = NULL;

        g_assert_false(migration_set_capabilities(json_node_get_array(node), &err));
        g_assert_true(g_str_has_prefix(err->message, text));
        set_capabilities(off, NULL);
    }
}

static void test_capability_checks(void)
{
    set_capabilities("[" CAP("switchover-ack", "true") "]",
                     "Capability 'switchover-ack' requires capability 'return-path'");
    set_capabilities("[" CAP("return-path", "true") "," CAP("switchover-ack", "true") "]", NULL);
    set_capabilities("[" CAP("return-path", "false") "]",
                     "Capability 'switchover-ack' requires capability 'return-path'");
    set_capabilities("[" CAP("return-path", "false") "," CAP("switchover-ack", "false") "]", NULL);
    set_capabilities("[7]", "Invalid parameter type for 'capabilities[0]', expected: object");
    set_capabilities("[{'state':true}]", "Parameter 'capabilities[0].capability' is missing");
    set_capabilities("[{'capability':'events'}]", "Parameter 'capabilities[0].state' is missing");
    set_capabilities("[{'capability':'events','state':1}]",
                     "Invalid parameter type for 'capabilities[0].state', expected: boolean");
    set_capabilities("[{'capability':[],'state':true}]",
                     "Invalid parameter type for 'capabilities[0].capability', expected: string");
}

/* ---- parameters ---- */

static void set_parameters(const char *object, const char *wanted)
{
    g_autoptr(JsonNode) node = json(object);
    g_autoptr(GError) err = NULL;
    bool good = migration_set_parameters(json_node_get_object(node), &err);

    g_assert_cmpstr(err ? err->message : NULL, ==, wanted);
    g_assert_cmpint(good, ==, !wanted);
}

static void assert_parameters(const char *wanted)
{
    g_autoptr(JsonNode) w = json(wanted), got = json_node_new(JSON_NODE_OBJECT);

    json_node_take_object(got, migration_query_parameters());
    if (!json_node_equal(w, got)) {
        g_autofree char *text = json_to_string(got, FALSE);

        g_test_message("wanted %s", wanted);
        g_test_message("got    %s", text);
        g_test_fail();
    }
}

#define DEFAULTS                                                                                 \
    "{'throttle-trigger-threshold':50,'cpu-throttle-initial':20,'cpu-throttle-increment':10,"    \
    "'cpu-throttle-tailslow':false,'max-cpu-throttle':99,'tls-creds':'','tls-hostname':'',"      \
    "'tls-authz':'','max-bandwidth':134217728,'avail-switchover-bandwidth':0,"                   \
    "'downtime-limit':300,'multifd-channels':2,'mode':'normal','zero-page-detection':'multifd'," \
    "'direct-io':false,'cpr-exec-command':[]}"

static void test_parameters(void)
{
    assert_parameters(DEFAULTS);
    set_parameters("{'throttle-trigger-threshold':100,'cpu-throttle-initial':1,"
                   "'cpu-throttle-increment':99,'cpu-throttle-tailslow':true,"
                   "'max-cpu-throttle':1,'tls-creds':'t0','tls-hostname':'h','tls-authz':'',"
                   "'max-bandwidth':0,'avail-switchover-bandwidth':1000000000000,"
                   "'downtime-limit':2000000,'multifd-channels':255,'mode':'cpr-exec',"
                   "'zero-page-detection':'none','direct-io':true,'cpr-exec-command':['a','b']}",
                   NULL);
    assert_parameters("{'throttle-trigger-threshold':100,'cpu-throttle-initial':1,"
                      "'cpu-throttle-increment':99,'cpu-throttle-tailslow':true,"
                      "'max-cpu-throttle':1,'tls-creds':'t0','tls-hostname':'h','tls-authz':'',"
                      "'max-bandwidth':0,'avail-switchover-bandwidth':1000000000000,"
                      "'downtime-limit':2000000,'multifd-channels':255,'mode':'cpr-exec',"
                      "'zero-page-detection':'none','direct-io':true,"
                      "'cpr-exec-command':['a','b']}");
    g_assert_cmpuint(migration_downtime_limit(), ==, 2000000);
    g_assert_cmpuint(migration_max_bandwidth(), ==, 0);
    g_assert_cmpuint(migration_avail_switchover_bandwidth(), ==, 1000000000000);
    g_assert_cmpint(migration_parameters.mode, ==, MIG_MODE_CPR_EXEC);
    g_assert_cmpstr(migration_parameters.cpr_exec_command[1], ==, "b");
    g_assert_null(migration_parameters.cpr_exec_command[2]);
    /* All or nothing. */
    set_parameters("{'tls-creds':'t1','cpr-exec-command':['c'],'mode':'normal','nonsense':1}",
                   "Parameter 'nonsense' is unexpected");
    set_parameters("{'tls-creds':'t1','cpr-exec-command':['c'],'max-cpu-throttle':0}",
                   "Option max-cpu-throttle expects an integer in the range of "
                   "cpu-throttle-initial to 99");
    g_assert_cmpstr(migration_parameters.tls_creds, ==, "t0");
    g_assert_cmpstr(migration_parameters.cpr_exec_command[0], ==, "a");
    g_assert_cmpint(migration_parameters.mode, ==, MIG_MODE_CPR_EXEC);
    set_parameters("{'tls-creds':null,'tls-hostname':''}", NULL);
    g_assert_cmpstr(migration_parameters.tls_creds, ==, "");
    g_assert_cmpstr(migration_parameters.tls_hostname, ==, "");
    set_parameters(DEFAULTS, NULL);
    assert_parameters(DEFAULTS);
}

#define OPTION(name, expects) "Option " name " expects " expects
#define PERCENT(to)           "an integer in the range of 1 to " to

static void test_bad_parameters(void)
{
    static const char *const table[][2] = {
        { "{'max-bandwidth':'1G'}", "Parameter 'max-bandwidth' expects uint64" },
        { "{'downtime-limit':1.5}", "Parameter 'downtime-limit' expects uint64" },
        { "{'downtime-limit':2000001}",
          OPTION("downtime-limit", "an integer in the range of 0 to (2000 * 1000) ms") },
        { "{'downtime-limit':-1}",
          OPTION("downtime-limit", "an integer in the range of 0 to (2000 * 1000) ms") },
        { "{'multifd-channels':0}", OPTION("multifd-channels", "a value between 1 and 255") },
        { "{'multifd-channels':256}", "Parameter 'multifd-channels' expects uint8_t" },
        { "{'throttle-trigger-threshold':0}",
          OPTION("throttle-trigger-threshold", PERCENT("100")) },
        { "{'throttle-trigger-threshold':101}",
          OPTION("throttle-trigger-threshold", PERCENT("100")) },
        { "{'cpu-throttle-initial':0}", OPTION("cpu-throttle-initial", PERCENT("99")) },
        { "{'cpu-throttle-increment':100}", OPTION("cpu-throttle-increment", PERCENT("99")) },
        { "{'max-cpu-throttle':5}",
          OPTION("max-cpu-throttle", "an integer in the range of cpu-throttle-initial to 99") },
        { "{'max-cpu-throttle':100}",
          OPTION("max-cpu-throttle", "an integer in the range of cpu-throttle-initial to 99") },
        { "{'cpu-throttle-tailslow':1}",
          "Invalid parameter type for 'cpu-throttle-tailslow', expected: boolean" },
        { "{'tls-creds':1}", "Invalid parameter type for 'tls-creds', expected: StrOrNull" },
        { "{'mode':'foo'}", "Parameter 'mode' does not accept value 'foo'" },
        { "{'mode':1}", "Invalid parameter type for 'mode', expected: string" },
        { "{'zero-page-detection':'foo'}",
          "Parameter 'zero-page-detection' does not accept value 'foo'" },
        { "{'cpr-exec-command':'a'}",
          "Invalid parameter type for 'cpr-exec-command', expected: array" },
        { "{'cpr-exec-command':['a',1]}",
          "Invalid parameter type for 'cpr-exec-command', expected: array of strings" },
        { "{'multifd-compression':'zlib'}",
          "parameter 'multifd-compression' is not supported: pages are sent as they are" },
        { "{'xbzrle-cache-size':4096}",
          "parameter 'xbzrle-cache-size' is not supported: there is no xbzrle" },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
        set_parameters(table[i][0], table[i][1]);
    }
    /* What QEMU has by default changes nothing. */
    set_parameters("{'announce-initial':50,'announce-max':550,'announce-rounds':5,"
                   "'announce-step':100,'x-checkpoint-delay':20000,'xbzrle-cache-size':67108864,"
                   "'max-postcopy-bandwidth':0,'multifd-compression':'none',"
                   "'multifd-zlib-level':1,'multifd-qatzip-level':1,'multifd-zstd-level':1,"
                   "'block-bitmap-mapping':[],'x-vcpu-dirty-limit-period':1000,"
                   "'vcpu-dirty-limit':1,'x-rdma-chunk-size':1048576}",
                   NULL);
    assert_parameters(DEFAULTS);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/options/capabilities", test_capabilities);
    g_test_add_func("/options/no-capabilities", test_no_capabilities);
    g_test_add_func("/options/capability-checks", test_capability_checks);
    g_test_add_func("/options/parameters", test_parameters);
    g_test_add_func("/options/bad-parameters", test_bad_parameters);
    return g_test_run();
}
