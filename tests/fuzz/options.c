/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Option strings and their JSON form: parsers of the parts, properties of objects that are made and
 * thrown away without being completed or realized, and what the command line reads by itself.
 */
#include <string.h>

#include "backends/chardev.h"
#include "core/device.h"
#include "system/cmdline.h"
#include "tests/fuzz/fuzz.h"
#include "util/keyval.h"

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    fuzz_init();
    return 0;
}

/* A failure has a message of one line, success has none; forgets it. */
static bool check(bool ok, GError **err)
{
    g_assert_true(ok ? !*err : *err && *(*err)->message);
    g_clear_error(err);
    return ok;
}

static void parse_text(const char *text)
{
    g_autoptr(GError) err = NULL;
    uint8_t uuid[16];
    uint64_t n;
    bool on;

    check(bool_parse("x", text, &on, &err), &err);
    check(size_parse(text, 1, &n, &err), &err);
    check(size_parse(text, 1 << 20, &n, &err), &err);
    uuid_parse(text, uuid);
    object_id_valid(text);
    object_resolve(text);
    object_tree_exists(text);
}

static void parse_member(JsonObject *opts, const char *key, JsonNode *value)
{
    static const char *const known[] = { "id", "size", NULL };
    g_autofree char *text = keyval_text(value);
    g_autoptr(GError) err = NULL;
    const char *string = NULL;
    uint64_t n;
    bool on;

    if (text) {
        parse_text(text);
    }
    check(keyval_get_bool(opts, key, &on, &err), &err);
    check(keyval_get_uint(opts, key, &n, &err), &err);
    check(keyval_get_size(opts, key, 1 << 20, &n, &err), &err);
    check(keyval_get_str(opts, key, &string, &err), &err);
    check(keyval_check_keys(opts, known, &err), &err);
}

static void parse_members(JsonObject *opts)
{
    JsonObjectIter iter;
    const char *key;
    JsonNode *value;

    json_object_iter_init_ordered(&iter, opts);
    while (json_object_iter_next_ordered(&iter, &key, &value)) {
        parse_member(opts, key, value);
    }
}

/* Each property that is there, whether it could be set or not, can be shown. */
static void show(GObject *obj)
{
    size_t n;
    g_autofree const Property **props = object_class_properties(G_OBJECT_GET_CLASS(obj), &n);

    for (size_t i = 0; i < n; i++) {
        g_autoptr(JsonNode) value = object_get(obj, props[i]->name, NULL);
        g_autofree char *text = json_to_string(value, FALSE);

        g_assert_nonnull(text);
    }
}

static void make(JsonObject *opts, const char *implied)
{
    static const char *const skip[] = { "driver", "qom-type", "id", NULL };
    g_autoptr(GError) err = NULL;
    g_autoptr(GObject) obj = NULL;
    const char *name = NULL;
    GType type;

    if (!check(keyval_get_str(opts, implied, &name, &err), &err) || !name) {
        return;
    }
    type = g_type_from_name(name);
    if (!type || G_TYPE_IS_ABSTRACT(type) ||
        !(g_type_is_a(type, TYPE_DEVICE) || g_type_is_a(type, TYPE_USER_OBJECT))) {
        return;
    }
    obj = g_object_new(type, NULL);
    check(object_set_all(obj, opts, skip, &err), &err);
    show(obj);
}

/* Only those that open nothing are made. */
static void make_chardev(JsonObject *opts)
{
    g_autoptr(GError) err = NULL;
    const char *backend = NULL;

    if (keyval_get_str(opts, "backend", &backend, NULL) &&
        (!backend ||
         !g_strv_contains((const char *const[]) { "socket", "file", "stdio", "pty", NULL },
                          backend))) {
        check(chardev_new(opts, &err), &err);
        chardev_cleanup_all();
    }
}

static void parse_command_line(unsigned which, char *text)
{
    static char *const names[] = {
        "-smp", "-m", "-uuid", "-name", "-machine", "-cpu", "-accel", "-add-fd", "-boot", "-device",
    };
    char *argv[] = { "viaduct", names[which % G_N_ELEMENTS(names)], text, NULL };
    g_autoptr(Options) o = options_new();
    g_autoptr(GError) err = NULL;

    check(cmdline_parse(o, 3, argv, &err), &err);
}

/* One byte says what it is; the rest is the text. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const implied[] = { "driver", "qom-type", "backend", NULL };
    Input in = { data, size };
    uint8_t kind = (uint8_t)input_take(&in, 1);
    g_autofree char *text = g_strndup((const char *)in.data, in.left);
    const char *key = implied[kind % G_N_ELEMENTS(implied)];
    g_autoptr(JsonObject) opts = NULL;
    g_autoptr(GError) err = NULL;
    bool help;

    if (kind & 0x80) {
        parse_command_line(kind & 0x7f, text);
        return 0;
    }
    parse_text(text);
    opts = keyval_parse(text, key, kind & 0x40 ? &help : NULL, &err);
    if (!check(opts, &err)) {
        return 0;
    }
    parse_members(opts);
    if (kind % G_N_ELEMENTS(implied) == 2) {
        make_chardev(opts);
    } else {
        make(opts, key ?: "driver");
    }
    return 0;
}
