/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "monitor/property.h"

char *property_type_name(const Property *prop)
{
    return prop->kind == &property_link ? g_strdup_printf("link<%s>", g_type_name(prop->arg.link()))
                                        : g_strdup(prop->kind->name);
}

/* NULL for kinds whose default is nothing. */
static JsonNode *default_value(const Property *prop)
{
    static const PropertyKind *const integers[] = {
        &property_uint8,  &property_uint16, &property_uint32,
        &property_uint64, &property_int32,  &property_size,
    };

    if (prop->kind == &property_bool) {
        return json_node_init_boolean(json_node_alloc(), prop->def != 0);
    }
    if (prop->kind == &property_enum) {
        return json_node_init_string(json_node_alloc(), prop->arg.names[prop->def]);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(integers); i++) {
        if (prop->kind == integers[i]) {
            return json_node_init_int(json_node_alloc(), (gint64)prop->def);
        }
    }
    return NULL;
}

static JsonObject *describe(const Property *prop)
{
    JsonObject *o = json_object_new();
    JsonNode *def = default_value(prop);
    g_autofree char *type = property_type_name(prop);

    json_object_set_string_member(o, "name", prop->name);
    json_object_set_string_member(o, "type", type);
    if (prop->help) {
        json_object_set_string_member(o, "description", prop->help);
    }
    if (def) {
        json_object_set_member(o, "default-value", def);
    }
    return o;
}

JsonArray *list_type_properties(GType type)
{
    g_autoptr(GTypeClass) klass = g_type_class_ref(type);
    JsonArray *list = json_array_new();
    size_t n;
    g_autofree const Property **props = object_class_properties(klass, &n);

    for (size_t i = 0; i < n; i++) {
        json_array_add_object_element(list, describe(props[i]));
    }
    return list;
}
