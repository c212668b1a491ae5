/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Capabilities and parameters: one table each of what there is, and one of what QEMU has besides,
 * which can be "set" to what it is without it only.
 * Source: QEMU qapi/migration.json; names, defaults and messages of its 11.1.
 */
#include "migration/options.h"

#include <string.h>

#include "util/error.h"

#define MAX_DOWNTIME (2000 * 1000)

/* ---- capabilities ---- */

static const char *const capability_names[MIG_CAP__MAX] = {
    [MIG_CAP_AUTO_CONVERGE] = "auto-converge",
    [MIG_CAP_EVENTS] = "events",
    [MIG_CAP_RETURN_PATH] = "return-path",
    [MIG_CAP_PAUSE_BEFORE_SWITCHOVER] = "pause-before-switchover",
    [MIG_CAP_MULTIFD] = "multifd",
    [MIG_CAP_SWITCHOVER_ACK] = "switchover-ack",
    [MIG_CAP_IGNORE_SHARED] = "x-ignore-shared",
};

static const struct {
    const char *name, *why;
} no_capabilities[] = {
    { "xbzrle", "pages are sent as they are" },
    { "rdma-pin-all", "there is no RDMA transport" },
    { "postcopy-ram", "a passed-through device cannot wait for a page that has not come yet" },
    { "x-colo", "there is no replication" },
    { "release-ram", "it is of use with postcopy only" },
    { "dirty-bitmaps", "there are no block devices of this program's own" },
    { "postcopy-blocktime", "there is no postcopy" },
    { "late-block-activate", "there are no block devices of this program's own" },
    { "validate-uuid", "the machine's UUID is not part of the stream" },
    { "background-snapshot", "a passed-through device writes to memory without faults" },
    { "zero-copy-send", "the kernel copies what is sent" },
    { "postcopy-preempt", "there is no postcopy" },
    { "dirty-limit", "vCPUs are slowed down by auto-converge only" },
    { "mapped-ram", "a file has the stream as it is sent" },
};

static bool capabilities[MIG_CAP__MAX];

bool migration_capability(MigCapability cap)
{
    return capabilities[cap];
}

static bool set_capability(bool *caps, const char *name, bool on, GError **errp)
{
    for (size_t i = 0; i < MIG_CAP__MAX; i++) {
        if (g_str_equal(name, capability_names[i])) {
            caps[i] = on;
            return true;
        }
    }
    for (size_t i = 0; i < G_N_ELEMENTS(no_capabilities); i++) {
        if (g_str_equal(name, no_capabilities[i].name)) {
            return !on || error_set(errp, "capability '%s' is not supported: %s", name,
                                    no_capabilities[i].why);
        }
    }
    return error_set(errp, "Parameter 'capability' does not accept value '%s'", name);
}

/* What needs what. */
static bool check_together(const bool *caps, GError **errp)
{
    if (caps[MIG_CAP_SWITCHOVER_ACK] && !caps[MIG_CAP_RETURN_PATH]) {
        return error_set(errp, "Capability 'switchover-ack' requires capability 'return-path'");
    }
    return true;
}

static JsonNode *member(JsonArray *list, guint i, const char *name, GType type, GError **errp)
{
    JsonNode *element = json_array_get_element(list, i), *node;

    if (!JSON_NODE_HOLDS_OBJECT(element)) {
        error_set(errp, "Invalid parameter type for 'capabilities[%u]', expected: object", i);
        return NULL;
    }
    node = json_object_get_member(json_node_get_object(element), name);
    if (!node) {
        error_set(errp, "Parameter 'capabilities[%u].%s' is missing", i, name);
        return NULL;
    }
    if (!JSON_NODE_HOLDS_VALUE(node) || json_node_get_value_type(node) != type) {
        error_set(errp, "Invalid parameter type for 'capabilities[%u].%s', expected: %s", i, name,
                  type == G_TYPE_BOOLEAN ? "boolean" : "string");
        return NULL;
    }
    return node;
}

bool migration_set_capabilities(JsonArray *list, GError **errp)
{
    bool caps[MIG_CAP__MAX];

    memcpy(caps, capabilities, sizeof(caps));
    for (guint i = 0; i < json_array_get_length(list); i++) {
        JsonNode *name = member(list, i, "capability", G_TYPE_STRING, errp);
        JsonNode *state = name ? member(list, i, "state", G_TYPE_BOOLEAN, errp) : NULL;

        if (!state ||
            !set_capability(caps, json_node_get_string(name), json_node_get_boolean(state), errp)) {
            return false;
        }
    }
    if (!check_together(caps, errp)) {
        return false;
    }
    memcpy(capabilities, caps, sizeof(caps));
    return true;
}

JsonArray *migration_query_capabilities(void)
{
    JsonArray *list = json_array_new();

    for (size_t i = 0; i < MIG_CAP__MAX; i++) {
        JsonObject *o = json_object_new();

        json_object_set_string_member(o, "capability", capability_names[i]);
        json_object_set_boolean_member(o, "state", capabilities[i]);
        json_array_add_object_element(list, o);
    }
    return list;
}

/* ---- kinds of parameters ---- */

static char none[] = "";

MigrationParameters migration_parameters = {
    .max_bandwidth = 128 << 20,
    .downtime_limit = 300,
    .multifd_channels = 2,
    .throttle_trigger_threshold = 50,
    .cpu_throttle_initial = 20,
    .cpu_throttle_increment = 10,
    .max_cpu_throttle = 99,
    .tls_creds = none,
    .tls_hostname = none,
    .tls_authz = none,
    .zero_page_detection = true,
};

typedef struct Parameter Parameter;

typedef struct ParameterKind {
    size_t size;
    bool (*read)(const Parameter *p, void *field, JsonNode *value, GError **errp);
    JsonNode *(*show)(const Parameter *p, const void *field);
    void (*release)(void *field); /* NULL: nothing to free */
} ParameterKind;

struct Parameter {
    const char *name;
    const ParameterKind *kind;
    size_t offset;
    const char *expects; /* of a number that is not from @min to @max; NULL: any may be */
    uint64_t min, max;
    const char *const *names; /* an enumeration's, NULL-ended */
};

static bool holds(JsonNode *value, GType type)
{
    return JSON_NODE_HOLDS_VALUE(value) && json_node_get_value_type(value) == type;
}

static bool bad_type(const Parameter *p, const char *expected, GError **errp)
{
    return error_set(errp, "Invalid parameter type for '%s', expected: %s", p->name, expected);
}

static bool bad_value(const Parameter *p, const char *value, GError **errp)
{
    return error_set(errp, "Parameter '%s' does not accept value '%s'", p->name, value);
}

/* A negative number is a very large one, as it is for QEMU. */
static bool read_number(const Parameter *p, uint64_t limit, const char *type, uint64_t *n,
                        JsonNode *value, GError **errp)
{
    *n = holds(value, G_TYPE_INT64) ? (uint64_t)json_node_get_int(value) : 0;
    if (!holds(value, G_TYPE_INT64) || *n > limit) {
        return error_set(errp, "Parameter '%s' expects %s", p->name, type);
    }
    return !p->expects || (*n >= p->min && *n <= p->max) ||
           error_set(errp, "Option %s expects %s", p->name, p->expects);
}

static bool read_u64(const Parameter *p, void *field, JsonNode *value, GError **errp)
{
    return read_number(p, UINT64_MAX, "uint64", field, value, errp);
}

static JsonNode *show_u64(const Parameter *p, const void *field)
{
    return json_node_init_int(json_node_alloc(), (gint64) * (const uint64_t *)field);
}

static bool read_u8(const Parameter *p, void *field, JsonNode *value, GError **errp)
{
    uint64_t n;

    if (!read_number(p, UINT8_MAX, "uint8_t", &n, value, errp)) {
        return false;
    }
    *(uint8_t *)field = (uint8_t)n;
    return true;
}

static JsonNode *show_u8(const Parameter *p, const void *field)
{
    return json_node_init_int(json_node_alloc(), *(const uint8_t *)field);
}

static bool read_bool(const Parameter *p, void *field, JsonNode *value, GError **errp)
{
    if (!holds(value, G_TYPE_BOOLEAN)) {
        return bad_type(p, "boolean", errp);
    }
    *(bool *)field = json_node_get_boolean(value);
    return true;
}

static JsonNode *show_bool(const Parameter *p, const void *field)
{
    return json_node_init_boolean(json_node_alloc(), *(const bool *)field);
}

static bool read_enum(const Parameter *p, void *field, JsonNode *value, GError **errp)
{
    const char *text;

    if (!holds(value, G_TYPE_STRING)) {
        return bad_type(p, "string", errp);
    }
    text = json_node_get_string(value);
    for (int i = 0; p->names[i]; i++) {
        if (g_str_equal(text, p->names[i])) {
            *(MigMode *)field = (MigMode)i;
            return true;
        }
    }
    return bad_value(p, text, errp);
}

static JsonNode *show_enum(const Parameter *p, const void *field)
{
    return json_node_init_string(json_node_alloc(), p->names[*(const MigMode *)field]);
}

/* "legacy" differs in which thread looks, which is nobody's business here. */
static bool read_detection(const Parameter *p, void *field, JsonNode *value, GError **errp)
{
    const char *text;

    if (!holds(value, G_TYPE_STRING)) {
        return bad_type(p, "string", errp);
    }
    text = json_node_get_string(value);
    if (g_str_equal(text, "legacy")) {
        return error_set(errp,
                         "parameter '%s': 'legacy' is not supported: 'multifd' also serves a "
                         "migration without multifd",
                         p->name);
    }
    *(bool *)field = g_str_equal(text, "multifd");
    return *(bool *)field || g_str_equal(text, "none") || bad_value(p, text, errp);
}

static JsonNode *show_detection(const Parameter *p, const void *field)
{
    return json_node_init_string(json_node_alloc(), *(const bool *)field ? "multifd" : "none");
}

/* QMP's null means none, too. */
static bool read_string(const Parameter *p, void *field, JsonNode *value, GError **errp)
{
    const char *text = holds(value, G_TYPE_STRING) ? json_node_get_string(value) : "";

    if (!holds(value, G_TYPE_STRING) && !JSON_NODE_HOLDS_NULL(value)) {
        return bad_type(p, "StrOrNull", errp);
    }
    *(char **)field = *text ? g_strdup(text) : none;
    return true;
}

static JsonNode *show_string(const Parameter *p, const void *field)
{
    return json_node_init_string(json_node_alloc(), *(char *const *)field);
}

static void release_string(void *field)
{
    if (*(char **)field != none) {
        g_free(*(char **)field);
    }
}

static bool read_strings(const Parameter *p, void *field, JsonNode *value, GError **errp)
{
    JsonArray *list = JSON_NODE_HOLDS_ARRAY(value) ? json_node_get_array(value) : NULL;
    guint n = list ? json_array_get_length(list) : 0;
    g_auto(GStrv) strings = g_new0(char *, n + 1);

    if (!list) {
        return bad_type(p, "array", errp);
    }
    for (guint i = 0; i < n; i++) {
        JsonNode *one = json_array_get_element(list, i);

        if (!holds(one, G_TYPE_STRING)) {
            return bad_type(p, "array of strings", errp);
        }
        strings[i] = json_node_dup_string(one);
    }
    *(char ***)field = n ? g_steal_pointer(&strings) : NULL;
    return true;
}

static JsonNode *show_strings(const Parameter *p, const void *field)
{
    JsonNode *node = json_node_new(JSON_NODE_ARRAY);
    JsonArray *list = json_array_new();

    for (char **s = *(char **const *)field; s && *s; s++) {
        json_array_add_string_element(list, *s);
    }
    json_node_take_array(node, list);
    return node;
}

static void release_strings(void *field)
{
    g_strfreev(*(char ***)field);
}

static const ParameterKind kind_u64 = { sizeof(uint64_t), read_u64, show_u64 };
static const ParameterKind kind_u8 = { sizeof(uint8_t), read_u8, show_u8 };
static const ParameterKind kind_bool = { sizeof(bool), read_bool, show_bool };
static const ParameterKind kind_enum = { sizeof(MigMode), read_enum, show_enum };
static const ParameterKind kind_detection = { sizeof(bool), read_detection, show_detection };
static const ParameterKind kind_string = { sizeof(char *), read_string, show_string,
                                           release_string };
static const ParameterKind kind_strings = { sizeof(char **), read_strings, show_strings,
                                            release_strings };

/* ---- parameters ---- */

static const char *const mode_names[] = {
    [MIG_MODE_NORMAL] = "normal",
    [MIG_MODE_CPR_REBOOT] = "cpr-reboot",
    [MIG_MODE_CPR_TRANSFER] = "cpr-transfer",
    [MIG_MODE_CPR_EXEC] = "cpr-exec",
    [MIG_MODE__MAX] = NULL,
};

#define PARAMETER(n, k, field, ...)                                                            \
    {                                                                                          \
        .name = (n), .kind = &(k), .offset = offsetof(MigrationParameters, field), __VA_ARGS__ \
    }
#define WITHIN(from, to, text) .min = (from), .max = (to), .expects = (text)
#define PERCENT(to)            WITHIN(1, to, "an integer in the range of 1 to " #to)

static const Parameter parameters[] = {
    PARAMETER("throttle-trigger-threshold", kind_u8, throttle_trigger_threshold, PERCENT(100)),
    PARAMETER("cpu-throttle-initial", kind_u8, cpu_throttle_initial, PERCENT(99)),
    PARAMETER("cpu-throttle-increment", kind_u8, cpu_throttle_increment, PERCENT(99)),
    PARAMETER("cpu-throttle-tailslow", kind_bool, cpu_throttle_tailslow),
    PARAMETER("max-cpu-throttle", kind_u8, max_cpu_throttle), /* see check_all() */
    PARAMETER("tls-creds", kind_string, tls_creds),
    PARAMETER("tls-hostname", kind_string, tls_hostname),
    PARAMETER("tls-authz", kind_string, tls_authz),
    PARAMETER("max-bandwidth", kind_u64, max_bandwidth),
    PARAMETER("avail-switchover-bandwidth", kind_u64, avail_switchover_bandwidth),
    PARAMETER("downtime-limit", kind_u64, downtime_limit,
              WITHIN(0, MAX_DOWNTIME, "an integer in the range of 0 to (2000 * 1000) ms")),
    PARAMETER("multifd-channels", kind_u8, multifd_channels,
              WITHIN(1, 255, "a value between 1 and 255")),
    PARAMETER("mode", kind_enum, mode, .names = mode_names),
    PARAMETER("zero-page-detection", kind_detection, zero_page_detection),
    PARAMETER("direct-io", kind_bool, direct_io),
    PARAMETER("cpr-exec-command", kind_strings, cpr_exec_command),
};

static const struct {
    const char *name, *json, *why; /* what QEMU has by default, as JSON */
} no_parameters[] = {
#define NO_CARDS "there are no emulated network cards that could announce themselves"
    { "announce-initial", "50", NO_CARDS },
    { "announce-max", "550", NO_CARDS },
    { "announce-rounds", "5", NO_CARDS },
    { "announce-step", "100", NO_CARDS },
    { "x-checkpoint-delay", "20000", "there is no replication" },
    { "xbzrle-cache-size", "67108864", "there is no xbzrle" },
    { "max-postcopy-bandwidth", "0", "there is no postcopy" },
    { "multifd-compression", "\"none\"", "pages are sent as they are" },
    { "multifd-zlib-level", "1", "pages are sent as they are" },
    { "multifd-qatzip-level", "1", "pages are sent as they are" },
    { "multifd-zstd-level", "1", "pages are sent as they are" },
    { "block-bitmap-mapping", "[]", "there are no block devices of this program's own" },
    { "x-vcpu-dirty-limit-period", "1000", "there is no dirty-limit" },
    { "vcpu-dirty-limit", "1", "there is no dirty-limit" },
    { "x-rdma-chunk-size", "1048576", "there is no RDMA transport" },
};

static void *field_of(MigrationParameters *params, const Parameter *p)
{
    return (char *)params + p->offset;
}

static bool check_no_parameter(const char *name, JsonNode *value, GError **errp)
{
    for (size_t i = 0; i < G_N_ELEMENTS(no_parameters); i++) {
        g_autoptr(JsonNode) same = NULL;

        if (g_str_equal(name, no_parameters[i].name)) {
            same = json_from_string(no_parameters[i].json, NULL);
            return json_node_equal(same, value) ||
                   error_set(errp, "parameter '%s' is not supported: %s", name,
                             no_parameters[i].why);
        }
    }
    return error_set(errp, "Parameter '%s' is unexpected", name);
}

/* Reads all members into @next; true in @given for each that was there. */
static bool read_all(JsonObject *params, MigrationParameters *next, bool *given, GError **errp)
{
    JsonObjectIter iter;
    const char *name;
    JsonNode *value;

    json_object_iter_init_ordered(&iter, params);
    while (json_object_iter_next_ordered(&iter, &name, &value)) {
        size_t i = 0;

        while (i < G_N_ELEMENTS(parameters) && !g_str_equal(name, parameters[i].name)) {
            i++;
        }
        if (i == G_N_ELEMENTS(parameters)) {
            if (!check_no_parameter(name, value, errp)) {
                return false;
            }
            continue;
        }
        if (parameters[i].kind != &kind_u64 && migration_is_running()) {
            return error_set(errp, "parameter '%s' cannot be set while a migration runs", name);
        }
        if (!parameters[i].kind->read(&parameters[i], field_of(next, &parameters[i]), value,
                                      errp)) {
            return false;
        }
        given[i] = true;
    }
    return true;
}

static bool check_all(const MigrationParameters *next, GError **errp)
{
    if (next->max_cpu_throttle < next->cpu_throttle_initial || next->max_cpu_throttle > 99) {
        return error_set(errp, "Option max-cpu-throttle expects an integer in the range of "
                               "cpu-throttle-initial to 99");
    }
    if (*next->tls_authz) {
        return error_set(errp, "parameter 'tls-authz' is not supported: there are no authorization "
                               "objects; whoever has a certificate of the authority may connect");
    }
    return true;
}

bool migration_set_parameters(JsonObject *params, GError **errp)
{
    MigrationParameters next = migration_parameters;
    bool given[G_N_ELEMENTS(parameters)] = { false };
    bool good = read_all(params, &next, given, errp) && check_all(&next, errp);

    for (size_t i = 0; i < G_N_ELEMENTS(parameters); i++) {
        const ParameterKind *kind = parameters[i].kind;
        void *from = field_of(&next, &parameters[i]);
        void *to = field_of(&migration_parameters, &parameters[i]);

        if (!given[i]) {
            continue;
        }
        if (kind->release) {
            kind->release(good ? to : from);
        }
        if (good && kind == &kind_u64) { /* a migration may be reading it */
            __atomic_store_n((uint64_t *)to, *(uint64_t *)from, __ATOMIC_RELAXED);
        } else if (good) {
            memcpy(to, from, kind->size);
        }
    }
    return good;
}

JsonObject *migration_query_parameters(void)
{
    JsonObject *o = json_object_new();

    for (size_t i = 0; i < G_N_ELEMENTS(parameters); i++) {
        json_object_set_member(
            o, parameters[i].name,
            parameters[i].kind->show(&parameters[i],
                                     field_of(&migration_parameters, &parameters[i])));
    }
    return o;
}

uint64_t migration_downtime_limit(void)
{
    return __atomic_load_n(&migration_parameters.downtime_limit, __ATOMIC_RELAXED);
}

uint64_t migration_max_bandwidth(void)
{
    return __atomic_load_n(&migration_parameters.max_bandwidth, __ATOMIC_RELAXED);
}

uint64_t migration_avail_switchover_bandwidth(void)
{
    return __atomic_load_n(&migration_parameters.avail_switchover_bandwidth, __ATOMIC_RELAXED);
}
