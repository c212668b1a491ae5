/* SPDX-License-Identifier: GPL-2.0-or-later */
/* QMP: user-creatable objects, the composition tree and the types. */
#include "monitor/command.h"

#include "core/object.h"
#include "migration/control.h"
#include "monitor/property.h"
#include "util/error.h"

static JsonNode *object_add(JsonObject *args, GError **errp)
{
    user_object_add(args, errp);
    return NULL;
}

static JsonNode *object_del(JsonObject *args, GError **errp)
{
    const char *id = json_object_get_string_member(args, "id");

    if (migration_needs_object(id)) {
        error_set(errp, "object '%s' is in use, can not be deleted: a migration is under way", id);
    } else {
        user_object_del(id, errp);
    }
    return NULL;
}

/* ---- the tree ---- */

/* A node of the tree: *@obj is NULL for a container. */
static bool find_node(JsonObject *args, const char **path, GObject **obj, GError **errp)
{
    *path = json_object_get_string_member(args, "path");
    *obj = object_resolve(*path);
    if (*obj) {
        *path = object_path(*obj);
    }
    return *obj || object_tree_exists(*path) ||
           error_set_class(errp, ERROR_CLASS_DEVICE_NOT_FOUND, "Device '%s' not found", *path);
}

static void list_one(JsonArray *list, const char *name, const char *type)
{
    JsonObject *o = json_object_new();

    json_object_set_string_member(o, "name", name);
    json_object_set_string_member(o, "type", type);
    json_array_add_object_element(list, o);
}

static void list_child(const char *name, GObject *obj, void *list)
{
    g_autofree char *type =
        g_strdup_printf("child<%s>", obj ? G_OBJECT_TYPE_NAME(obj) : "container");

    list_one(list, name, type);
}

static JsonNode *qom_list(JsonObject *args, GError **errp)
{
    JsonArray *list;
    const char *path;
    GObject *obj;

    if (!find_node(args, &path, &obj, errp)) {
        return NULL;
    }
    list = json_array_new();
    list_one(list, "type", "string");
    if (obj) {
        size_t n;
        g_autofree const Property **props = object_class_properties(G_OBJECT_GET_CLASS(obj), &n);

        for (size_t i = 0; i < n; i++) {
            g_autofree char *type = property_type_name(props[i]);

            list_one(list, props[i]->name, type);
        }
    }
    object_tree_foreach(path, list_child, list);
    return node_of_array(list);
}

/* "type" and the children are properties too, read-only ones. */
static JsonNode *qom_get(JsonObject *args, GError **errp)
{
    const char *name = json_object_get_string_member(args, "property");
    g_autofree char *child = NULL;
    const char *path;
    GObject *obj;

    if (!find_node(args, &path, &obj, errp)) {
        return NULL;
    }
    if (g_str_equal(name, "type")) {
        return json_node_init_string(json_node_alloc(),
                                     obj ? G_OBJECT_TYPE_NAME(obj) : "container");
    }
    child = g_strconcat(path, g_str_has_suffix(path, "/") ? "" : "/", name, NULL);
    if (*name && object_tree_exists(child)) {
        return json_node_init_string(json_node_alloc(), child);
    }
    if (!obj) {
        error_set(errp, "Property 'container.%s' not found", name);
        return NULL;
    }
    return object_get(obj, name, errp);
}

static JsonNode *qom_set(JsonObject *args, GError **errp)
{
    const char *name = json_object_get_string_member(args, "property");
    const char *path;
    GObject *obj;

    if (!find_node(args, &path, &obj, errp)) {
        return NULL;
    }
    if (obj) {
        object_set(obj, name, json_object_get_member(args, "value"), errp);
    } else {
        error_set(errp, "Property 'container.%s' not found", name);
    }
    return NULL;
}

/* ---- types ---- */

static void list_types(JsonArray *list, GType type, GType implements, bool with_abstract)
{
    guint n;
    g_autofree GType *children = g_type_children(type, &n);
    bool abstract = G_TYPE_IS_ABSTRACT(type);

    if (g_type_is_a(type, implements) && (!abstract || with_abstract)) {
        JsonObject *o = json_object_new();

        json_object_set_string_member(o, "name", g_type_name(type));
        if (abstract) {
            json_object_set_boolean_member(o, "abstract", TRUE);
        }
        if (type != TYPE_OBJECT) {
            json_object_set_string_member(o, "parent", g_type_name(g_type_parent(type)));
        }
        json_array_add_object_element(list, o);
    }
    for (guint i = 0; i < n; i++) {
        list_types(list, children[i], implements, with_abstract);
    }
}

static JsonNode *qom_list_types(JsonObject *args, GError **errp)
{
    const char *name = json_object_get_string_member_with_default(args, "implements", "object");
    GType implements = g_type_from_name(name);
    JsonArray *list = json_array_new();

    if (implements) {
        list_types(list, TYPE_OBJECT, implements,
                   json_object_get_boolean_member_with_default(args, "abstract", FALSE));
    }
    return node_of_array(list);
}

static JsonNode *qom_list_properties(JsonObject *args, GError **errp)
{
    const char *name = json_object_get_string_member(args, "typename");
    GType type = g_type_from_name(name);

    if (!type || !g_type_is_a(type, TYPE_OBJECT)) {
        error_set_class(errp, ERROR_CLASS_DEVICE_NOT_FOUND, "Class '%s' not found", name);
        return NULL;
    }
    return node_of_array(list_type_properties(type));
}

static const QMPCommand object_commands[] = {
    { "object-add", object_add, "qom-type:s,id:s,..." },
    { "object-del", object_del, "id:s" },
    { "qom-list", qom_list, "path:s" },
    { "qom-get", qom_get, "path:s,property:s" },
    { "qom-set", qom_set, "path:s,property:s,value:*" },
    { "qom-list-types", qom_list_types, "implements:s?,abstract:b?" },
    { "qom-list-properties", qom_list_properties, "typename:s" },
};

MONITOR_COMMANDS(object_commands)
