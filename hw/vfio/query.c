/* SPDX-License-Identifier: GPL-2.0-or-later */
/* x-query-vfio: what containers map for whom, and how far the mapper is. */
#include "hw/vfio/container.h"

static JsonArray *describe_ranges(const VFIOContainer *c)
{
    JsonArray *list = json_array_new();

    for (size_t i = 0; i < c->nr_ranges; i++) {
        JsonObject *o = json_object_new();

        json_object_set_int_member(o, "start", (gint64)c->ranges[i].start);
        json_object_set_int_member(o, "last", (gint64)c->ranges[i].last);
        json_array_add_object_element(list, o);
    }
    return list;
}

static void describe_memory(const VFIOContainer *c, JsonObject *o)
{
    uint64_t size = 0, mapped = 0;
    GHashTableIter iter;
    gpointer value;

    g_hash_table_iter_init(&iter, c->extents);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        const VFIOExtent *e = value;

        size += e->length;
        mapped += g_atomic_int_get(&e->mapped) ? e->length : 0;
    }
    json_object_set_int_member(o, "extents", g_hash_table_size(c->extents));
    json_object_set_int_member(o, "size", (gint64)size);
    json_object_set_int_member(o, "mapped", (gint64)mapped);
    json_object_set_int_member(
        o, "populated", (gint64)(c->mapper ? MIN(size, vfio_mapper_populated(c->mapper)) : size));
    json_object_set_int_member(o, "map-time", c->map_time);
}

static JsonArray *describe_devices(const VFIOContainer *c)
{
    static const char *const trackers[] = { "none", "iommu", "device" };
    JsonArray *list = json_array_new();

    for (guint i = 0; vfio_devices && i < vfio_devices->len; i++) {
        VFIODevice *dev = vfio_devices->pdata[i];
        JsonObject *o;

        if (dev->container != c) {
            continue;
        }
        o = json_object_new();
        json_object_set_string_member(o, "name", dev->name);
        json_object_set_string_member(o, "sysfsdev", dev->sysfs ?: "");
        json_object_set_int_member(o, "regions", dev->nr_regions);
        json_object_set_boolean_member(o, "reset", !!(dev->flags & VFIO_DEVICE_FLAGS_RESET));
        json_object_set_string_member(o, "dirty-tracking", trackers[vfio_device_dirty_source(dev)]);
        if (c->ops->describe_device) {
            c->ops->describe_device(c, dev, o);
        }
        json_array_add_object_element(list, o);
    }
    return list;
}

JsonArray *vfio_query(void)
{
    JsonArray *list = json_array_new();

    for (guint i = 0; vfio_containers && i < vfio_containers->len; i++) {
        const VFIOContainer *c = vfio_containers->pdata[i];
        JsonObject *o = json_object_new();

        json_object_set_string_member(o, "name", c->name);
        json_object_set_string_member(o, "type", c->ops->type);
        json_object_set_int_member(o, "page-size", (gint64)c->page);
        json_object_set_array_member(o, "iova-ranges", describe_ranges(c));
        describe_memory(c, o);
        json_object_set_array_member(o, "devices", describe_devices(c));
        if (c->ops->describe) {
            c->ops->describe(c, o);
        }
        json_array_add_object_element(list, o);
    }
    return list;
}
