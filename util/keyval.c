/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "util/keyval.h"

#include <errno.h>
#include <string.h>

#include "util/error.h"

/* The text up to the next single comma, ",," turned to ","; *p moves behind it. */
static char *take_value(const char **p)
{
    GString *value = g_string_new(NULL);
    const char *s = *p;

    while (*s && (*s != ',' || s[1] == ',')) {
        g_string_append_c(value, *s);
        s += *s == ',' ? 2 : 1;
    }
    *p = *s ? s + 1 : s;
    return g_string_free(value, FALSE);
}

/* Of an integer whose digits begin there: json-glib would make another number of it. */
static bool is_too_large(const char *digits, bool negative)
{
    char *end;
    guint64 n;

    errno = 0;
    n = g_ascii_strtoull(digits, &end, 10);
    return (errno || n > (guint64)INT64_MAX + negative) && !(*end && strchr(".eE", *end));
}

/* What the parser would take and not tell of; NULL: nothing. */
static const char *silent_fault(const char *text)
{
    char quote = 0;

    for (const char *p = text; *p; p++) {
        if (*p == '\\' && p[1]) {
            p++;
            if (g_str_has_prefix(p, "u0000")) {
                return "\\u0000 is not supported in a string";
            }
        } else if (quote || *p == '"' || *p == '\'') {
            quote = !quote ? *p : *p == quote ? 0 : quote;
        } else if (g_ascii_isdigit(*p)) {
            if (is_too_large(p, p > text && p[-1] == '-')) {
                return "an integer does not fit in 64 bits";
            }
            p += strspn(p, "0123456789") - 1;
        }
    }
    return NULL;
}

JsonNode *json_parse(const char *text, GError **errp)
{
    const char *fault = silent_fault(text);
    g_autoptr(GError) err = NULL;
    JsonNode *root;

    if (fault) {
        error_set(errp, "JSON parse error, %s", fault);
        return NULL;
    }
    root = json_from_string(text, &err);
    if (!root) {
        error_set(errp, "JSON parse error, %s", err ? err->message : "expecting value");
    }
    return root;
}

static JsonObject *parse_json(const char *text, GError **errp)
{
    g_autoptr(JsonNode) root = json_parse(text, errp);

    if (root && !JSON_NODE_HOLDS_OBJECT(root)) {
        error_set(errp, "JSON parse error, expecting an object");
        return NULL;
    }
    return root ? json_node_dup_object(root) : NULL;
}

JsonObject *keyval_parse(const char *params, const char *implied, bool *help, GError **errp)
{
    g_autoptr(JsonObject) object = NULL;
    const char *p = params;

    if (help) {
        *help = false;
    }
    if (*params == '{') {
        return parse_json(params, errp);
    }
    object = json_object_new();
    for (bool first = true; *p; first = false) {
        size_t len = strcspn(p, "=,");
        g_autofree char *key = g_strndup(p, len);
        g_autofree char *value = NULL;

        if (p[len] == '=') {
            p += len + 1;
            value = take_value(&p);
        } else if (help && (g_str_equal(key, "help") || g_str_equal(key, "?"))) {
            *help = true;
            p += len + (p[len] == ',');
            continue;
        } else if (first && implied) {
            value = take_value(&p);
            g_free(g_steal_pointer(&key));
            key = g_strdup(implied);
        } else {
            value = g_strdup("on");
            p += len + (p[len] == ',');
        }
        if (!*key) {
            error_set(errp, "Invalid parameter '%s'", key);
            return NULL;
        }
        json_object_set_string_member(object, key, value);
    }
    return g_steal_pointer(&object);
}

bool size_parse(const char *text, uint64_t unit, uint64_t *bytes, GError **errp)
{
    static const char suffixes[] = "bkmgtpe";
    char *end;
    uint64_t number, scale = unit, sum;
    double fraction = 0;
    bool hex = g_ascii_strncasecmp(text, "0x", 2) == 0;

    errno = 0;
    number = g_ascii_strtoull(text, &end, hex ? 16 : 10);
    if (end == text || !g_ascii_isdigit(*text) || errno) {
        return error_set(errp, "'%s' is not a size", text);
    }
    if (*end == '.' && !hex) { /* "1.5G" */
        size_t digits = strspn(end + 1, "0123456789");
        g_autofree char *decimal = g_strndup(end, digits + 1); /* no exponent: E is a suffix */

        if (!digits) {
            return error_set(errp, "'%s' is not a size", text);
        }
        fraction = g_ascii_strtod(decimal, NULL);
        end += digits + 1;
    }
    if (*end) {
        const char *s = strchr(suffixes, g_ascii_tolower(*end));

        if (!s || end[1]) {
            return error_set(errp, "'%s' is not a size: suffixes are b, k, M, G, T, P and E", text);
        }
        scale = 1ULL << 10 * (s - suffixes);
    }
    if (number > UINT64_MAX / scale ||
        __builtin_add_overflow(number * scale, (uint64_t)(fraction * (double)scale), &sum)) {
        return error_set(errp, "'%s' is too large a size", text);
    }
    *bytes = sum;
    return true;
}

char *keyval_text(JsonNode *node)
{
    g_auto(GValue) value = G_VALUE_INIT;
    g_auto(GValue) text = G_VALUE_INIT;

    if (!node || !JSON_NODE_HOLDS_VALUE(node)) {
        return NULL;
    }
    json_node_get_value(node, &value);
    g_value_init(&text, G_TYPE_STRING);
    return g_value_transform(&value, &text) ? g_value_dup_string(&text) : NULL;
}

bool bool_parse(const char *name, const char *text, bool *value, GError **errp)
{
    static const char *const on[] = { "on", "yes", "true", "y", NULL };
    static const char *const off[] = { "off", "no", "false", "n", NULL };

    *value = g_strv_contains(on, text);
    return *value || g_strv_contains(off, text) ||
           error_set(errp, "Parameter '%s' expects 'on' or 'off'", name);
}

bool uuid_parse(const char *text, uint8_t uuid[16])
{
    if (!g_uuid_string_is_valid(text)) {
        return false;
    }
    for (size_t i = 0; i < 16; i++) {
        text += *text == '-';
        uuid[i] = (uint8_t)(g_ascii_xdigit_value(text[0]) << 4 | g_ascii_xdigit_value(text[1]));
        text += 2;
    }
    return true;
}

bool keyval_get_bool(JsonObject *o, const char *key, bool *value, GError **errp)
{
    g_autofree char *text = NULL;

    if (!json_object_has_member(o, key)) {
        return true;
    }
    text = keyval_text(json_object_get_member(o, key));
    /* A boolean's text is in capitals. */
    for (char *c = text; c && *c; c++) {
        *c = g_ascii_tolower(*c);
    }
    return bool_parse(key, text ?: "", value, errp);
}

bool keyval_get_uint(JsonObject *o, const char *key, uint64_t *value, GError **errp)
{
    g_autofree char *text = NULL;
    guint64 n;

    if (!json_object_has_member(o, key)) {
        return true;
    }
    text = keyval_text(json_object_get_member(o, key));
    if (!text || !g_ascii_string_to_unsigned(text, 10, 0, UINT64_MAX, &n, NULL)) {
        return error_set(errp, "Parameter '%s' expects a number", key);
    }
    *value = n;
    return true;
}

bool keyval_get_size(JsonObject *o, const char *key, uint64_t unit, uint64_t *value, GError **errp)
{
    g_autofree char *text = NULL;

    if (!json_object_has_member(o, key)) {
        return true;
    }
    text = keyval_text(json_object_get_member(o, key));
    if (!text || !size_parse(text, unit, value, errp)) {
        g_clear_error(errp);
        return error_set(errp, "Parameter '%s' expects a size", key);
    }
    return true;
}

bool keyval_get_str(JsonObject *o, const char *key, const char **value, GError **errp)
{
    JsonNode *node = json_object_get_member(o, key);

    if (!node) {
        return true;
    }
    if (!JSON_NODE_HOLDS_VALUE(node) || json_node_get_value_type(node) != G_TYPE_STRING) {
        return error_set(errp, "Invalid parameter type for '%s', expected: string", key);
    }
    *value = json_node_get_string(node);
    return true;
}

bool keyval_check_keys(JsonObject *o, const char *const *known, GError **errp)
{
    JsonObjectIter iter;
    const char *key;

    json_object_iter_init_ordered(&iter, o);
    while (json_object_iter_next_ordered(&iter, &key, NULL)) {
        if (!g_strv_contains(known, key)) {
            return error_set(errp, "Invalid parameter '%s'", key);
        }
    }
    return true;
}
