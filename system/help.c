/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "system/help.h"

#include <stdio.h>
#include <string.h>

#include "accel/x86.h"
#include "backends/chardev.h"
#include "core/device.h"
#include "core/machine.h"
#include "util/error.h"
#include "util/trace.h"

/* Calls @fn for the class of each concrete type below @type, by name. */
static void foreach_type(GType type, void (*fn)(gpointer klass, void *opaque), void *opaque)
{
    guint n;
    g_autofree GType *children = g_type_children(type, &n);

    for (guint i = 0; i < n; i++) {
        if (!G_TYPE_IS_ABSTRACT(children[i])) {
            g_autoptr(GTypeClass) klass = g_type_class_ref(children[i]);

            fn(klass, opaque);
        }
        foreach_type(children[i], fn, opaque);
    }
}

static int compare_lines(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Each line once. */
static void print_sorted(GPtrArray *lines)
{
    const char *last = "";

    g_ptr_array_sort(lines, compare_lines);
    for (guint i = 0; i < lines->len; i++) {
        if (!g_str_equal(lines->pdata[i], last)) {
            puts(lines->pdata[i]);
        }
        last = lines->pdata[i];
    }
}

static void machine_line(gpointer klass, void *opaque)
{
    const MachineClass *mc = klass;

    printf("%-20s %s%s\n", mc->name, mc->desc ?: "", mc->is_default ? " (default)" : "");
}

void help_machines(void)
{
    printf("Supported machines are:\n");
    foreach_type(TYPE_MACHINE, machine_line, NULL);
}

static void object_line(gpointer klass, void *lines)
{
    const char *desc = USER_OBJECT_CLASS(klass)->desc;

    g_ptr_array_add(lines, desc ? g_strdup_printf("  %-24s %s", G_OBJECT_CLASS_NAME(klass), desc)
                                : g_strdup_printf("  %s", G_OBJECT_CLASS_NAME(klass)));
}

void help_objects(void)
{
    g_autoptr(GPtrArray) lines = g_ptr_array_new_with_free_func(g_free);

    printf("List of user creatable objects:\n");
    foreach_type(TYPE_USER_OBJECT, object_line, lines);
    print_sorted(lines);
}

typedef struct Category {
    const char *name;
    GPtrArray *lines;
} Category;

static void category_name(gpointer klass, void *names)
{
    if (DEVICE_CLASS(klass)->user_creatable) {
        g_ptr_array_add(names, g_strdup(DEVICE_CLASS(klass)->category ?: "Uncategorized"));
    }
}

static void device_line(gpointer klass, void *opaque)
{
    const DeviceClass *dc = klass;
    Category *category = opaque;
    GString *line;

    if (!dc->user_creatable || !g_str_equal(dc->category ?: "Uncategorized", category->name)) {
        return;
    }
    line = g_string_new(NULL);
    g_string_printf(line, "name \"%s\"", G_OBJECT_CLASS_NAME(klass));
    if (dc->bus_type) {
        g_string_append_printf(line, ", bus %s", dc->bus_type);
    }
    if (dc->desc) {
        g_string_append_printf(line, ", desc \"%s\"", dc->desc);
    }
    g_ptr_array_add(category->lines, g_string_free(line, FALSE));
}

void help_devices(void)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    const char *last = "";

    foreach_type(TYPE_DEVICE, category_name, names);
    g_ptr_array_sort(names, compare_lines);
    for (guint i = 0; i < names->len; i++) {
        g_autoptr(GPtrArray) lines = NULL;
        Category category = { .name = names->pdata[i] };

        if (g_str_equal(category.name, last)) {
            continue;
        }
        printf("%s%s devices:\n", *last ? "\n" : "", category.name);
        category.lines = lines = g_ptr_array_new_with_free_func(g_free);
        foreach_type(TYPE_DEVICE, device_line, &category);
        print_sorted(lines);
        last = category.name;
    }
}

void help_chardevs(void)
{
    printf("Available chardev backend types:\n");
    for (const char *const *name = chardev_backend_names(); *name; name++) {
        printf("  %s\n", *name);
    }
}

void help_accels(void)
{
    printf("Accelerators supported:\n");
    for (size_t i = 0; x86_accels[i]; i++) {
        printf("%s\n", x86_accels[i]->name);
    }
}

static GPtrArray *trace_lines;

static void trace_line(const char *name)
{
    g_ptr_array_add(trace_lines, g_strdup(name));
}

void help_traces(void)
{
    trace_lines = g_ptr_array_new_with_free_func(g_free);
    trace_foreach(trace_line);
    print_sorted(trace_lines);
    g_clear_pointer(&trace_lines, g_ptr_array_unref);
}

static void log_line(const char *name, const char *help)
{
    printf("%-15s %s\n", name, help);
}

void help_log_items(void)
{
    printf("Log items (comma separated):\n");
    log_foreach_item(log_line);
}

bool help_type(const char *name, GType base, GError **errp)
{
    GType type = g_type_from_name(name);

    if (!type || !g_type_is_a(type, base) || G_TYPE_IS_ABSTRACT(type)) {
        return error_set(errp, "'%s' is not a valid %s name", name,
                         base == TYPE_DEVICE ? "device model" : "object type");
    }
    object_type_print_help(type);
    return true;
}
