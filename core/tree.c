/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The composition tree: names with objects or nothing behind them. */
#include <stdio.h>
#include <string.h>

#include "core/device.h"
#include "core/object.h"
#include "util/error.h"

typedef struct Node {
    char *name, *path;
    GObject *obj; /* a reference, or NULL for a container */
    struct Node *parent;
    GPtrArray *children; /* in order of arrival */
} Node;

static void node_free(gpointer data)
{
    Node *node = data;

    g_ptr_array_unref(node->children);
    if (node->obj) {
        g_object_steal_data(node->obj, "tree-node");
        g_object_unref(node->obj);
    }
    g_free(node->name);
    g_free(node->path);
    g_free(node);
}

static Node *node_new(Node *parent, const char *name, GObject *obj)
{
    Node *node = g_new0(Node, 1);

    node->name = g_strdup(name);
    node->path =
        parent ? g_strconcat(parent->parent ? parent->path : "", "/", name, NULL) : g_strdup("/");
    node->parent = parent;
    node->children = g_ptr_array_new_with_free_func(node_free);
    if (obj) {
        node->obj = g_object_ref(obj);
        g_object_set_data(obj, "tree-node", node);
    }
    if (parent) {
        g_ptr_array_add(parent->children, node);
    }
    return node;
}

static Node *root(void)
{
    static Node *node;

    if (!node) {
        node = node_new(NULL, "", NULL);
    }
    return node;
}

static Node *child(Node *node, const char *name)
{
    for (guint i = 0; i < node->children->len; i++) {
        Node *c = node->children->pdata[i];

        if (g_str_equal(c->name, name)) {
            return c;
        }
    }
    return NULL;
}

/* The node at @path; missing containers are made when @create. */
static Node *walk(const char *path, bool create)
{
    g_auto(GStrv) names = g_strsplit(path, "/", -1);
    Node *node = root();

    for (char **name = names; node && *name; name++) {
        if (**name) {
            Node *next = child(node, *name);

            node = next || !create ? next : node_new(node, *name, NULL);
        }
    }
    return node;
}

bool object_tree_add(const char *parent_path, const char *name, GObject *obj, GError **errp)
{
    Node *parent = walk(parent_path, true);
    Node *present = child(parent, name);

    if (present && !present->obj && obj) { /* a container gets its object */
        present->obj = g_object_ref(obj);
        g_object_set_data(obj, "tree-node", present);
        return true;
    }
    if (present) {
        return error_set(
            errp, "attempt to add duplicate property '%s' to object (type 'container')", name);
    }
    node_new(parent, name, obj);
    return true;
}

void object_tree_add_numbered(const char *parent_path, const char *name, GObject *obj)
{
    Node *parent = walk(parent_path, true);

    for (unsigned i = 0;; i++) {
        g_autofree char *numbered = g_strdup_printf("%s[%u]", name, i);

        if (!child(parent, numbered)) {
            node_new(parent, numbered, obj);
            return;
        }
    }
}

void object_tree_remove(GObject *obj)
{
    Node *node = g_object_get_data(obj, "tree-node");

    if (node) {
        g_ptr_array_remove(node->parent->children, node);
    }
}

const char *object_path(GObject *obj)
{
    Node *node = g_object_get_data(obj, "tree-node");

    return node ? node->path : NULL;
}

GObject *object_resolve(const char *path_or_id)
{
    static const char *const homes[] = { "/objects", "/machine/peripheral" };

    if (*path_or_id == '/') {
        Node *node = walk(path_or_id, false);

        return node ? node->obj : NULL;
    }
    for (size_t i = 0; *path_or_id && !strchr(path_or_id, '/') && i < G_N_ELEMENTS(homes); i++) {
        Node *home = walk(homes[i], false);
        Node *node = home ? child(home, path_or_id) : NULL;

        if (node) {
            return node->obj;
        }
    }
    return NULL;
}

bool object_tree_exists(const char *path)
{
    return *path == '/' && walk(path, false);
}

void object_tree_foreach(const char *path, void (*fn)(const char *name, GObject *obj, void *opaque),
                         void *opaque)
{
    Node *node = walk(path, false);

    for (guint i = 0; node && i < node->children->len; i++) {
        Node *c = node->children->pdata[i];

        fn(c->name, c->obj, opaque);
    }
}
