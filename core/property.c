/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Property tables: kinds, and their way to and from GParamSpec, JSON and help text. */
#include "core/object.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/device.h"
#include "util/error.h"
#include "util/keyval.h"

const char *const on_off_auto_names[] = { "auto", "on", "off", NULL };

/* Where a GParamSpec keeps its line of the table. */
static GQuark property_quark(void)
{
    return g_quark_from_static_string("viaduct-property");
}

bool property_set_bad_value(GObject *obj, const Property *prop, JsonNode *value, GError **errp)
{
    g_autofree char *text = keyval_text(value);

    return error_set(errp, "Property '%s.%s' doesn't take value '%s'", G_OBJECT_TYPE_NAME(obj),
                     prop->name, text ?: "(not a scalar)");
}

/* ---- booleans and numbers ---- */

static bool set_bool(GObject *obj, const Property *prop, void *field, JsonNode *value,
                     GError **errp)
{
    g_autoptr(JsonObject) holder = json_object_new();

    json_object_set_member(holder, prop->name, json_node_copy(value));
    return keyval_get_bool(holder, prop->name, field, errp);
}

static JsonNode *get_bool(GObject *obj, const Property *prop, const void *field)
{
    return json_node_init_boolean(json_node_alloc(), *(const bool *)field);
}

static void default_bool(const Property *prop, void *field)
{
    *(bool *)field = prop->def;
}

const PropertyKind property_bool = { "bool", set_bool, get_bool, default_bool, NULL };

/* All integer kinds differ in width and sign only. */
static bool set_integer(const Property *prop, JsonNode *value, gint64 min, guint64 max,
                        guint64 *result, GError **errp)
{
    g_autofree char *text = keyval_text(value);
    gint64 negative;

    if (text && (g_ascii_string_to_unsigned(text, 10, 0, G_MAXUINT64, result, NULL) ||
                 (g_str_has_prefix(text, "0x") &&
                  g_ascii_string_to_unsigned(text + 2, 16, 0, G_MAXUINT64, result, NULL)))) {
        if (*result <= max) {
            return true;
        }
    } else if (text && g_ascii_string_to_signed(text, 10, G_MININT64, -1, &negative, NULL)) {
        if (negative >= min) {
            *result = (guint64)negative;
            return true;
        }
    } else {
        return error_set(errp, "Parameter '%s' expects a number", prop->name);
    }
    return error_set(errp,
                     "Parameter '%s' is out of range (%" G_GINT64_FORMAT "…%" G_GUINT64_FORMAT ")",
                     prop->name, min, max);
}

#define INTEGER_KIND(kind, ctype, min, max)                                                  \
    static bool set_##kind(GObject *obj, const Property *prop, void *field, JsonNode *value, \
                           GError **errp)                                                    \
    {                                                                                        \
        guint64 n = 0;                                                                       \
        if (!set_integer(prop, value, min, max, &n, errp)) {                                 \
            return false;                                                                    \
        }                                                                                    \
        *(ctype *)field = (ctype)n;                                                          \
        return true;                                                                         \
    }                                                                                        \
    static JsonNode *get_##kind(GObject *obj, const Property *prop, const void *field)       \
    {                                                                                        \
        return json_node_init_int(json_node_alloc(), (gint64) * (const ctype *)field);       \
    }                                                                                        \
    static void default_##kind(const Property *prop, void *field)                            \
    {                                                                                        \
        *(ctype *)field = (ctype)prop->def;                                                  \
    }                                                                                        \
    const PropertyKind property_##kind = { #kind, set_##kind, get_##kind, default_##kind, NULL };

INTEGER_KIND(uint8, uint8_t, 0, G_MAXUINT8)
INTEGER_KIND(uint16, uint16_t, 0, G_MAXUINT16)
INTEGER_KIND(uint32, uint32_t, 0, G_MAXUINT32)
INTEGER_KIND(uint64, uint64_t, 0, G_MAXUINT64)
INTEGER_KIND(int32, int32_t, G_MININT32, G_MAXINT32)

static bool set_size(GObject *obj, const Property *prop, void *field, JsonNode *value,
                     GError **errp)
{
    g_autofree char *text = keyval_text(value);

    if (!text || !size_parse(text, 1, field, NULL)) {
        return error_set(errp, "Parameter '%s' expects a size", prop->name);
    }
    return true;
}

const PropertyKind property_size = { "size", set_size, get_uint64, default_uint64, NULL };

/* ---- strings and enumerations ---- */

static bool set_string(GObject *obj, const Property *prop, void *field, JsonNode *value,
                       GError **errp)
{
    if (!JSON_NODE_HOLDS_VALUE(value) || json_node_get_value_type(value) != G_TYPE_STRING) {
        return error_set(errp, "Invalid parameter type for '%s', expected: string", prop->name);
    }
    g_free(*(char **)field);
    *(char **)field = json_node_dup_string(value);
    return true;
}

static JsonNode *get_string(GObject *obj, const Property *prop, const void *field)
{
    return json_node_init_string(json_node_alloc(), *(char *const *)field ?: "");
}

static void release_string(void *field)
{
    g_clear_pointer((char **)field, g_free);
}

const PropertyKind property_string = { "str", set_string, get_string, NULL, release_string };
const PropertyKind property_readonly = { "str", NULL, get_string, NULL, release_string };

static bool set_enum(GObject *obj, const Property *prop, void *field, JsonNode *value,
                     GError **errp)
{
    g_autofree char *text = keyval_text(value);

    for (int i = 0; text && prop->arg.names[i]; i++) {
        if (g_str_equal(text, prop->arg.names[i])) {
            *(int *)field = i;
            return true;
        }
    }
    return error_set(errp, "Parameter '%s' does not accept value '%s'", prop->name,
                     text ?: "(not a string)");
}

static JsonNode *get_enum(GObject *obj, const Property *prop, const void *field)
{
    return json_node_init_string(json_node_alloc(), prop->arg.names[*(const int *)field]);
}

static void default_enum(const Property *prop, void *field)
{
    *(int *)field = (int)prop->def;
}

const PropertyKind property_enum = { "enum", set_enum, get_enum, default_enum, NULL };

/* ---- links ---- */

static bool set_link(GObject *obj, const Property *prop, void *field, JsonNode *value,
                     GError **errp)
{
    g_autofree char *text = keyval_text(value);
    GObject *target = text ? object_resolve(text) : NULL;

    if (!target) {
        return error_set_class(errp, ERROR_CLASS_DEVICE_NOT_FOUND, "Device '%s' not found",
                               text ?: prop->name);
    }
    if (!G_TYPE_CHECK_INSTANCE_TYPE(target, prop->arg.link())) {
        return error_set(errp, "Invalid parameter type for '%s', expected: %s", prop->name,
                         g_type_name(prop->arg.link()));
    }
    g_set_object((GObject **)field, target);
    return true;
}

static JsonNode *get_link(GObject *obj, const Property *prop, const void *field)
{
    GObject *target = *(GObject *const *)field;

    return json_node_init_string(json_node_alloc(), target ? object_path(target) ?: "" : "");
}

static void release_link(void *field)
{
    g_clear_object((GObject **)field);
}

const PropertyKind property_link = { "link", set_link, get_link, NULL, release_link };

/* ---- the way to GObject ---- */

static const Property *property_of(GParamSpec *pspec)
{
    return g_param_spec_get_qdata(pspec, property_quark());
}

static void *field_of(GObject *obj, const Property *prop)
{
    return (char *)obj + prop->offset;
}

static void gobject_set(GObject *obj, guint id, const GValue *gvalue, GParamSpec *pspec)
{
    const Property *prop = property_of(pspec);
    g_autoptr(JsonNode) node = json_node_init_string(json_node_alloc(), g_value_get_string(gvalue));
    g_autoptr(GError) err = NULL;

    if (!prop->kind->set || !prop->kind->set(obj, prop, field_of(obj, prop), node, &err)) {
        g_warning("%s", err ? err->message : pspec->name);
    }
}

static void gobject_get(GObject *obj, guint id, GValue *gvalue, GParamSpec *pspec)
{
    const Property *prop = property_of(pspec);
    g_autoptr(JsonNode) node = prop->kind->get(obj, prop, field_of(obj, prop));

    g_value_take_string(gvalue, keyval_text(node));
}

void object_class_add_properties(gpointer klass, const Property *props, size_t n)
{
    GObjectClass *oc = G_OBJECT_CLASS(klass);

    oc->set_property = gobject_set;
    oc->get_property = gobject_get;
    for (size_t i = 0; i < n; i++) {
        GParamSpec *pspec =
            g_param_spec_string(props[i].name, NULL, props[i].help, NULL,
                                G_PARAM_READABLE | (props[i].kind->set ? G_PARAM_WRITABLE : 0) |
                                    G_PARAM_STATIC_STRINGS);

        g_param_spec_set_qdata(pspec, property_quark(), (gpointer)&props[i]);
        g_object_class_install_property(oc, (guint)i + 1, pspec);
    }
}

const Property **object_class_properties(gpointer klass, size_t *n)
{
    guint count;
    g_autofree GParamSpec **specs = g_object_class_list_properties(klass, &count);
    const Property **props = g_new0(const Property *, count + 1);

    *n = 0;
    for (guint i = 0; i < count; i++) {
        const Property *prop = property_of(specs[i]);

        if (prop) {
            props[(*n)++] = prop;
        }
    }
    return props;
}

static void each_field(GTypeInstance *self, void (*fn)(const Property *prop, void *field))
{
    size_t n;
    g_autofree const Property **props = object_class_properties(self->g_class, &n);

    for (size_t i = 0; i < n; i++) {
        fn(props[i], field_of((GObject *)self, props[i]));
    }
}

static void set_default(const Property *prop, void *field)
{
    if (prop->kind->set_default) {
        prop->kind->set_default(prop, field);
    }
}

static void release(const Property *prop, void *field)
{
    if (prop->kind->release) {
        prop->kind->release(field);
    }
}

/* ---- the root type ---- */

typedef GObject Object;
typedef GObjectClass ObjectClass;

DEFINE_OBJECT_TYPE(Object, object, "object", G_TYPE_OBJECT, G_TYPE_FLAG_ABSTRACT)

static void object_constructed(GObject *obj)
{
    each_field(&obj->g_type_instance, set_default);
    G_OBJECT_CLASS(object_parent_class)->constructed(obj);
}

static void object_finalize(GObject *obj)
{
    each_field(&obj->g_type_instance, release);
    G_OBJECT_CLASS(object_parent_class)->finalize(obj);
}

static void object_init(Object *obj)
{
}

static void object_class_init(ObjectClass *klass)
{
    klass->constructed = object_constructed;
    klass->finalize = object_finalize;
}

/* ---- setting, getting, help ---- */

static const Property *find_property(GObject *obj, const char *name, GError **errp)
{
    GParamSpec *pspec = g_object_class_find_property(G_OBJECT_GET_CLASS(obj), name);
    const Property *prop = pspec ? property_of(pspec) : NULL;

    if (!prop) {
        error_set(errp, "Property '%s.%s' not found", G_OBJECT_TYPE_NAME(obj), name);
    }
    return prop;
}

bool object_set(GObject *obj, const char *name, JsonNode *value, GError **errp)
{
    const Property *prop = find_property(obj, name, errp);

    if (!prop) {
        return false;
    }
    if (!prop->kind->set) {
        return error_set(errp, "Property '%s.%s' is not writable", G_OBJECT_TYPE_NAME(obj), name);
    }
    if (IS_DEVICE(obj) && DEVICE(obj)->realized && !prop->runtime) {
        g_autofree char *who = device_describe(DEVICE(obj));

        return error_set(errp, "Attempt to set property '%s' on %s after it was realized", name,
                         who);
    }
    if (G_TYPE_CHECK_INSTANCE_TYPE(obj, TYPE_USER_OBJECT) && object_path(obj) && !prop->runtime) {
        return error_set(errp, "cannot change property '%s' of %s", name, G_OBJECT_TYPE_NAME(obj));
    }
    return prop->kind->set(obj, prop, field_of(obj, prop), value, errp);
}

bool object_set_all(GObject *obj, JsonObject *props, const char *const *skip, GError **errp)
{
    JsonObjectIter iter;
    const char *name;
    JsonNode *value;

    json_object_iter_init_ordered(&iter, props);
    while (json_object_iter_next_ordered(&iter, &name, &value)) {
        if (!g_strv_contains(skip, name) && !object_set(obj, name, value, errp)) {
            return false;
        }
    }
    return true;
}

JsonNode *object_get(GObject *obj, const char *name, GError **errp)
{
    const Property *prop = find_property(obj, name, errp);

    return prop ? prop->kind->get(obj, prop, field_of(obj, prop)) : NULL;
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const Property *const *)a)->name, (*(const Property *const *)b)->name);
}

void object_type_print_help(GType type)
{
    g_autoptr(GTypeClass) klass = g_type_class_ref(type);
    size_t n;
    g_autofree const Property **props = object_class_properties(klass, &n);

    printf("%s options:\n", g_type_name(type));
    qsort(props, n, sizeof(props[0]), by_name);
    for (size_t i = 0; i < n; i++) {
        g_autofree char *left = g_strdup_printf("%s=<%s>", props[i]->name, props[i]->kind->name);

        if (props[i]->help) {
            printf("  %-22s - %s\n", left, props[i]->help);
        } else {
            printf("  %s\n", left);
        }
    }
}
