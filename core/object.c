/* SPDX-License-Identifier: GPL-2.0-or-later */
/* User-creatable objects: -object and object-add. */
#include "core/object.h"

#include "util/error.h"
#include "util/keyval.h"

DEFINE_OBJECT_TYPE(UserObject, user_object, "user-creatable", TYPE_OBJECT, G_TYPE_FLAG_ABSTRACT)

static void user_object_finalize(GObject *obj)
{
    g_free(USER_OBJECT(obj)->id);
    G_OBJECT_CLASS(user_object_parent_class)->finalize(obj);
}

static void user_object_init(UserObject *self)
{
}

static void user_object_class_init(UserObjectClass *klass)
{
    G_OBJECT_CLASS(klass)->finalize = user_object_finalize;
}

bool object_id_valid(const char *id)
{
    if (!g_ascii_isalpha(*id)) {
        return false;
    }
    while (g_ascii_isalnum(*id) || *id == '-' || *id == '.' || *id == '_') {
        id++;
    }
    return !*id;
}

bool user_object_add(JsonObject *opts, GError **errp)
{
    const char *type_name = NULL, *id = NULL;
    g_autoptr(UserObject) obj = NULL;
    GType type;

    if (!keyval_get_str(opts, "qom-type", &type_name, errp) ||
        !keyval_get_str(opts, "id", &id, errp)) {
        return false;
    }
    if (!type_name || !id) {
        return error_set(errp, "Parameter '%s' is missing", type_name ? "id" : "qom-type");
    }
    type = g_type_from_name(type_name);
    if (!type || !g_type_is_a(type, TYPE_USER_OBJECT) || G_TYPE_IS_ABSTRACT(type)) {
        return error_set(errp, "Parameter 'qom-type' does not accept value '%s'", type_name);
    }
    if (!object_id_valid(id)) {
        return error_set(errp, "Parameter 'id' expects an identifier");
    }
    if (object_resolve(id) && g_str_has_prefix(object_path(object_resolve(id)), "/objects/")) {
        return error_set(errp,
                         "attempt to add duplicate property '%s' to object (type 'container')", id);
    }

    obj = g_object_new(type, NULL);
    obj->id = g_strdup(id);
    if (!object_set_all(G_OBJECT(obj), opts, (const char *[]) { "qom-type", "id", NULL }, errp)) {
        return false;
    }
    UserObjectClass *klass = G_TYPE_INSTANCE_GET_CLASS(obj, TYPE_USER_OBJECT, UserObjectClass);

    return (!klass->complete || klass->complete(obj, errp)) &&
           object_tree_add("/objects", id, G_OBJECT(obj), errp);
}

bool user_object_del(const char *id, GError **errp)
{
    GObject *obj = object_resolve(id);
    UserObjectClass *klass;

    if (!obj || !G_TYPE_CHECK_INSTANCE_TYPE(obj, TYPE_USER_OBJECT)) {
        return error_set(errp, "object '%s' not found", id);
    }
    klass = G_TYPE_INSTANCE_GET_CLASS(obj, TYPE_USER_OBJECT, UserObjectClass);
    if (klass->can_be_deleted && !klass->can_be_deleted(USER_OBJECT(obj), errp)) {
        return false;
    }
    object_tree_remove(obj);
    return true;
}
