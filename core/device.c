/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/device.h"

#include "core/event.h"
#include "util/error.h"
#include "util/keyval.h"
#include "util/trace.h"

DEFINE_OBJECT_TYPE(Device, device, "device", TYPE_OBJECT, G_TYPE_FLAG_ABSTRACT)

#define ASK_AGAIN_AFTER (5 * G_USEC_PER_SEC)

static GPtrArray *realized_devices; /* in order of realize; borrowed */

static const Property device_properties[] = {
    PROP_STRING("bus", Device, bus_name, .help = "bus that the device sits on"),
};

static void device_finalize(GObject *obj)
{
    g_free(DEVICE(obj)->id);
    G_OBJECT_CLASS(device_parent_class)->finalize(obj);
}

static void device_init(Device *self)
{
}

static void device_class_init(DeviceClass *klass)
{
    G_OBJECT_CLASS(klass)->finalize = device_finalize;
    object_class_add_properties(klass, device_properties, G_N_ELEMENTS(device_properties));
}

char *device_describe(Device *dev)
{
    const char *path = object_path(G_OBJECT(dev));

    if (dev->id) {
        return g_strdup_printf("device '%s' (type '%s')", dev->id, G_OBJECT_TYPE_NAME(dev));
    }
    return g_strdup_printf("%s at %s", G_OBJECT_TYPE_NAME(dev), path ?: "no place yet");
}

/* Realizes a device that is in the tree already; takes it out again on failure. */
static bool realize(Device *dev, GError **errp)
{
    DeviceClass *klass = DEVICE_GET_CLASS(dev);

    if (klass->realize && !klass->realize(dev, errp)) {
        object_tree_remove(G_OBJECT(dev));
        return false;
    }
    dev->realized = true;
    if (!realized_devices) {
        realized_devices = g_ptr_array_new();
    }
    g_ptr_array_add(realized_devices, dev);
    TRACE("device_realize", "%s", object_path(G_OBJECT(dev)));
    return true;
}

static void unrealize(Device *dev)
{
    DeviceClass *klass = DEVICE_GET_CLASS(dev);

    g_ptr_array_remove(realized_devices, dev);
    dev->realized = false;
    if (klass->unrealize) {
        klass->unrealize(dev);
    }
    TRACE("device_unrealize", "%s", object_path(G_OBJECT(dev)));
}

/* By QOM path or id; those of objects are others. */
static GObject *find_device(const char *id)
{
    g_autofree char *path = g_strdup_printf("/machine/peripheral/%s", id);

    return object_resolve(*id == '/' ? id : path);
}

bool device_add(JsonObject *opts, bool hotplug, GError **errp)
{
    const char *driver = NULL, *id = NULL;
    g_autoptr(GTypeClass) klass = NULL;
    g_autoptr(Device) dev = NULL;
    GType type;

    if (!keyval_get_str(opts, "driver", &driver, errp) || !keyval_get_str(opts, "id", &id, errp)) {
        return false;
    }
    if (!driver) {
        return error_set(errp, "Parameter 'driver' is missing");
    }
    type = g_type_from_name(driver);
    if (!type || !g_type_is_a(type, TYPE_DEVICE) || G_TYPE_IS_ABSTRACT(type)) {
        return error_set(errp, "'%s' is not a valid device model name", driver);
    }
    klass = g_type_class_ref(type);
    if (!DEVICE_CLASS(klass)->user_creatable) {
        return error_set(errp, "Parameter 'driver' expects a pluggable device type");
    }
    if (hotplug && !DEVICE_CLASS(klass)->hotpluggable) {
        return error_set(errp, "Device '%s' does not support hotplugging", driver);
    }
    if (id && !object_id_valid(id)) {
        return error_set(errp, "Parameter 'id' expects an identifier");
    }
    if (id && find_device(id)) {
        return error_set(errp, "Duplicate device ID '%s'", id);
    }

    dev = g_object_new(type, NULL);
    dev->id = g_strdup(id);
    dev->hotplugged = hotplug;
    if (!object_set_all(G_OBJECT(dev), opts, (const char *[]) { "driver", "id", NULL }, errp)) {
        return false;
    }
    if (id) {
        object_tree_add("/machine/peripheral", id, G_OBJECT(dev), NULL);
    } else {
        object_tree_add_numbered("/machine/peripheral-anon", "device", G_OBJECT(dev));
    }
    return realize(dev, errp);
}

/* ---- unplugging ---- */

void device_unplug_pending(Device *dev)
{
    dev->pending_deleted = true;
    dev->ask_again = g_get_monotonic_time() + ASK_AGAIN_AFTER;
}

static JsonObject *event_data(Device *dev)
{
    JsonObject *data = json_object_new();

    if (dev->id) {
        json_object_set_string_member(data, "device", dev->id);
    }
    json_object_set_string_member(data, "path", object_path(G_OBJECT(dev)));
    return data;
}

void device_unplug_refused(Device *dev)
{
    if (dev->pending_deleted) {
        dev->pending_deleted = false;
        event_emit("DEVICE_UNPLUG_GUEST_ERROR", event_data(dev));
    }
}

bool device_del(const char *id, GError **errp)
{
    GObject *obj = find_device(id);
    DeviceClass *klass;
    Device *dev;

    if (!obj || !IS_DEVICE(obj)) {
        return error_set_class(errp, ERROR_CLASS_DEVICE_NOT_FOUND, "Device '%s' not found", id);
    }
    dev = DEVICE(obj);
    klass = DEVICE_GET_CLASS(dev);
    if (!klass->hotpluggable) {
        return error_set(errp, "Device '%s' does not support hotplugging", G_OBJECT_TYPE_NAME(dev));
    }
    if (dev->pending_deleted && g_get_monotonic_time() < dev->ask_again) {
        return error_set(errp, "Device %s is already in the process of unplug", id);
    }
    if (klass->unplug_request) {
        return klass->unplug_request(dev, errp);
    }
    device_destroy(dev);
    return true;
}

bool device_realize_at(Device *dev, const char *parent_path, const char *name, GError **errp)
{
    if (name) {
        if (!object_tree_add(parent_path, name, G_OBJECT(dev), errp)) {
            return false;
        }
    } else {
        object_tree_add_numbered(parent_path, "device", G_OBJECT(dev));
    }
    return realize(dev, errp);
}

void device_destroy(Device *dev)
{
    JsonObject *data = event_data(dev);

    unrealize(dev);
    object_tree_remove(G_OBJECT(dev));
    event_emit("DEVICE_DELETED", data);
}

void device_foreach(void (*fn)(Device *dev, void *opaque), void *opaque)
{
    for (guint i = 0; realized_devices && i < realized_devices->len; i++) {
        fn(realized_devices->pdata[i], opaque);
    }
}

/* ---- reset ---- */

typedef struct ResetHandler {
    void (*fn)(ResetType type, void *opaque);
    void *opaque;
} ResetHandler;

static GArray *reset_handlers;

void reset_register(void (*fn)(ResetType type, void *opaque), void *opaque)
{
    ResetHandler handler = { fn, opaque };

    if (!reset_handlers) {
        reset_handlers = g_array_new(FALSE, FALSE, sizeof(ResetHandler));
    }
    g_array_append_val(reset_handlers, handler);
}

static void reset_device(Device *dev, void *opaque)
{
    DeviceClass *klass = DEVICE_GET_CLASS(dev);

    if (klass->reset) {
        klass->reset(dev);
    }
}

/* The guest that was asked to let go is no more.  One may take others along, so look anew. */
static void complete_unplugs(void)
{
    for (guint i = 0; realized_devices && i < realized_devices->len;) {
        Device *dev = realized_devices->pdata[i];

        if (dev->pending_deleted) {
            device_destroy(dev);
            i = 0;
        } else {
            i++;
        }
    }
}

static void reset_all(ResetType type)
{
    device_foreach(reset_device, NULL);
    for (guint i = 0; reset_handlers && i < reset_handlers->len; i++) {
        ResetHandler *handler = &g_array_index(reset_handlers, ResetHandler, i);

        handler->fn(type, handler->opaque);
    }
}

void devices_reset(void)
{
    complete_unplugs();
    reset_all(RESET_TYPE_COLD);
}

void devices_wakeup(void)
{
    reset_all(RESET_TYPE_WAKEUP);
}

void devices_shutdown(void)
{
    while (realized_devices && realized_devices->len) {
        Device *dev = realized_devices->pdata[realized_devices->len - 1];

        unrealize(dev);
        object_tree_remove(G_OBJECT(dev));
    }
}
