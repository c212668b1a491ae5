/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Objects.  An object is a GObject, a type is a GType that carries QEMU's type name ("vfio-pci",
 * "memory-backend-memfd"); there is no object model of our own.  What this file adds:
 *
 *  - DEFINE_OBJECT_TYPE registers a type under QEMU's name before main() runs;
 *  - Property tables: one line a property, from which come the GParamSpec, the setter with QEMU's
 *    error messages, the getter and the help text;
 *  - the composition tree with QEMU's paths (/objects/ID, /machine/peripheral/ID, …).
 *
 * Main thread only, or the machine lock held.
 */
#ifndef VIADUCT_CORE_OBJECT_H
#define VIADUCT_CORE_OBJECT_H

#include <glib-object.h>
#include <json-glib/json-glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Defines prefix##_get_type() and the wiring around static prefix##_init(Type *) and
 * prefix##_class_init(Type##Class *), which the file provides; prefix##_parent_class is the
 * parent's class.  A type is concrete unless @flags says G_TYPE_FLAG_ABSTRACT.
 */
#define DEFINE_OBJECT_TYPE(Type, prefix, qom_name, PARENT, flags)                                  \
    static void prefix##_init(Type *self);                                                         \
    static void prefix##_class_init(Type##Class *klass);                                           \
    static gpointer prefix##_parent_class __attribute__((unused));                                 \
    static void prefix##_instance_init_(GTypeInstance *self, gpointer klass)                       \
    {                                                                                              \
        (void)klass;                                                                               \
        prefix##_init((Type *)self);                                                               \
    }                                                                                              \
    static void prefix##_class_init_(gpointer klass, gpointer data)                                \
    {                                                                                              \
        (void)data;                                                                                \
        prefix##_parent_class = g_type_class_peek_parent(klass);                                   \
        prefix##_class_init(klass);                                                                \
    }                                                                                              \
    GType prefix##_get_type(void);                                                                 \
    GType prefix##_get_type(void)                                                                  \
    {                                                                                              \
        static gsize type;                                                                         \
        if (g_once_init_enter(&type)) {                                                            \
            g_once_init_leave(&type,                                                               \
                              g_type_register_static_simple(PARENT, qom_name, sizeof(Type##Class), \
                                                            prefix##_class_init_, sizeof(Type),    \
                                                            prefix##_instance_init_, flags));      \
        }                                                                                          \
        return type;                                                                               \
    }                                                                                              \
    static void __attribute__((constructor)) prefix##_register_(void)                              \
    {                                                                                              \
        g_type_ensure(prefix##_get_type());                                                        \
    }

/* ---- properties ---- */

typedef struct Property Property;

/* How values of one kind are read, shown and described; kinds of a room's own are welcome. */
typedef struct PropertyKind {
    const char *name; /* what help prints: "str", "bool", "uint32", "size" */
    /* @value is any JSON scalar; a string where it came from a command line. */
    bool (*set)(GObject *obj, const Property *prop, void *field, JsonNode *value, GError **errp);
    /* Returns a new node. */
    JsonNode *(*get)(GObject *obj, const Property *prop, const void *field);
    void (*set_default)(const Property *prop, void *field); /* NULL: zero */
    void (*release)(void *field);                           /* NULL: nothing to free */
} PropertyKind;

struct Property {
    const char *name;
    const PropertyKind *kind;
    size_t offset; /* of the field in the instance */
    union {
        uint64_t num;
        const char *str;
        const char *const *names; /* an enumeration's values, NULL-ended */
        GType (*link)(void);      /* the type a link must point to */
    } arg;
    uint64_t def;     /* default, for kinds that have a number or a boolean */
    const char *help; /* what `-device TYPE,help` prints behind the kind; may be NULL */
    bool runtime;     /* may be set after realize or completion */
};

extern const PropertyKind property_bool;     /* bool */
extern const PropertyKind property_uint8;    /* uint8_t */
extern const PropertyKind property_uint16;   /* uint16_t */
extern const PropertyKind property_uint32;   /* uint32_t */
extern const PropertyKind property_uint64;   /* uint64_t */
extern const PropertyKind property_int32;    /* int32_t */
extern const PropertyKind property_size;     /* uint64_t, suffixes allowed */
extern const PropertyKind property_string;   /* char *, owned */
extern const PropertyKind property_enum;     /* int, an index into .arg.names */
extern const PropertyKind property_link;     /* GObject *, a reference; given by id or QOM path */
extern const PropertyKind property_readonly; /* char *, shown, never set */

typedef enum { ON_OFF_AUTO_AUTO, ON_OFF_AUTO_ON, ON_OFF_AUTO_OFF } OnOffAuto;
extern const char *const on_off_auto_names[];

#define PROP_(n, k, T, f, ...)                                           \
    {                                                                    \
        .name = (n), .kind = &(k), .offset = offsetof(T, f), __VA_ARGS__ \
    }
#define PROP_BOOL(n, T, f, d, ...)   PROP_(n, property_bool, T, f, .def = (d), ##__VA_ARGS__)
#define PROP_UINT8(n, T, f, d, ...)  PROP_(n, property_uint8, T, f, .def = (d), ##__VA_ARGS__)
#define PROP_UINT16(n, T, f, d, ...) PROP_(n, property_uint16, T, f, .def = (d), ##__VA_ARGS__)
#define PROP_UINT32(n, T, f, d, ...) PROP_(n, property_uint32, T, f, .def = (d), ##__VA_ARGS__)
#define PROP_UINT64(n, T, f, d, ...) PROP_(n, property_uint64, T, f, .def = (d), ##__VA_ARGS__)
#define PROP_INT32(n, T, f, d, ...) \
    PROP_(n, property_int32, T, f, .def = (uint64_t)(int64_t)(d), ##__VA_ARGS__)
#define PROP_SIZE(n, T, f, d, ...) PROP_(n, property_size, T, f, .def = (d), ##__VA_ARGS__)
#define PROP_STRING(n, T, f, ...)  PROP_(n, property_string, T, f, ##__VA_ARGS__)
#define PROP_ENUM(n, T, f, vals, d, ...) \
    PROP_(n, property_enum, T, f, .arg.names = (vals), .def = (d), ##__VA_ARGS__)
#define PROP_ON_OFF_AUTO(n, T, f, d, ...) PROP_ENUM(n, T, f, on_off_auto_names, d, ##__VA_ARGS__)
#define PROP_LINK(n, T, f, type_fn, ...) \
    PROP_(n, property_link, T, f, .arg.link = (type_fn), ##__VA_ARGS__)

/*
 * The root of all types here: gives properties their defaults before constructed() returns and
 * frees what they hold at the end.  Adds nothing to GObject's own structures.
 */
GType object_get_type(void);
#define TYPE_OBJECT (object_get_type())

/* Adds a class's properties; from its class_init, once a class.  @props is static data. */
void object_class_add_properties(gpointer klass, const Property *props, size_t n);
/* All properties of the class and its ancestors, ancestors' first; g_free the array. */
const Property **object_class_properties(gpointer klass, size_t *n);

/*
 * Sets one property from JSON.  Messages are QEMU's ("Property 'vfio-pci.x' not found",
 * "Parameter 'x' does not accept value 'y'").  A realized device, and a user's object
 * that is in the tree, take only runtime properties.
 */
bool object_set(GObject *obj, const char *name, JsonNode *value, GError **errp);
/* Sets every member of @props but those named in the NULL-ended @skip. */
bool object_set_all(GObject *obj, JsonObject *props, const char *const *skip, GError **errp);
/* Returns a new node, or NULL and the error. */
JsonNode *object_get(GObject *obj, const char *name, GError **errp);
/* "Property 'TYPE.NAME' doesn't take value 'VALUE'"; returns false. */
bool property_set_bad_value(GObject *obj, const Property *prop, JsonNode *value, GError **errp);
/* Prints "  name=<kind>   - help (default: …)" for each property, as `-device TYPE,help` does. */
void object_type_print_help(GType type);

/* ---- the composition tree ---- */

/* Letters, digits, '-', '.', '_', starting with a letter: QEMU's rule for ids. */
bool object_id_valid(const char *id);
/*
 * Puts @obj under @parent_path ("/objects"), whose containers are made as needed.  The tree holds
 * a reference.  A duplicate name is an error.  @obj may be NULL for an empty container.
 */
bool object_tree_add(const char *parent_path, const char *name, GObject *obj, GError **errp);
/* Like it, with the first free name[N]: "device[0]", "device[1]", … */
void object_tree_add_numbered(const char *parent_path, const char *name, GObject *obj);
/* Takes @obj and all below it out of the tree and drops the references. */
void object_tree_remove(GObject *obj);
/* The object's path, valid while it is in the tree; NULL if it is not. */
const char *object_path(GObject *obj);
/* By absolute path, or by id among /objects and /machine/peripheral; borrowed, NULL if none. */
GObject *object_resolve(const char *path_or_id);
/* Whether there is such a node, a plain container included. */
bool object_tree_exists(const char *path);
/* Calls @fn for each child of the node; @obj is NULL for a container. */
void object_tree_foreach(const char *path, void (*fn)(const char *name, GObject *obj, void *opaque),
                         void *opaque);

/* ---- user-creatable objects: -object and object-add ---- */

typedef struct UserObject {
    GObject parent;
    char *id;
} UserObject;

typedef struct UserObjectClass {
    GObjectClass parent_class;
    const char *desc; /* one line for `-object help` */
    /* All properties are set: make it usable, or say why not.  NULL: nothing to do. */
    bool (*complete)(UserObject *obj, GError **errp);
    /* NULL: always.  Refuses, with the reason, while somebody uses the object. */
    bool (*can_be_deleted)(UserObject *obj, GError **errp);
} UserObjectClass;

GType user_object_get_type(void);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(UserObject, g_object_unref)
#define TYPE_USER_OBJECT     (user_object_get_type())
#define USER_OBJECT(o)       G_TYPE_CHECK_INSTANCE_CAST((o), TYPE_USER_OBJECT, UserObject)
#define USER_OBJECT_CLASS(k) G_TYPE_CHECK_CLASS_CAST((k), TYPE_USER_OBJECT, UserObjectClass)

/* @opts: "qom-type", "id" and the properties.  The object then lives at /objects/ID. */
bool user_object_add(JsonObject *opts, GError **errp);
bool user_object_del(const char *id, GError **errp);

#endif
