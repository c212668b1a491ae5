/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Devices: created, given properties, realized, reset, unrealized.  Machine lock held throughout
 * (the main thread holds it whenever it is not polling).
 */
#ifndef VIADUCT_CORE_DEVICE_H
#define VIADUCT_CORE_DEVICE_H

#include "core/object.h"

typedef struct Device {
    GObject parent;
    char *id;       /* NULL when the user gave none */
    char *bus_name; /* the `bus` property, resolved by the kind of device that has one */
    bool realized;
    bool hotplugged;
    bool pending_deleted; /* device_del was asked for; the guest has not let go yet */
    /* g_get_monotonic_time() from which on the guest may be asked once more. */
    int64_t ask_again;
} Device;

typedef struct DeviceClass {
    GObjectClass parent_class;
    const char *desc;
    const char *category; /* for `-device help`: "Network", "Storage", "Bridge", "Misc", … */
    const char *bus_type; /* "PCI", "pcie-root-bus"; NULL: sits on no bus */
    bool user_creatable;  /* may be named in -device */
    bool hotpluggable;    /* may come and go while the VM runs */
    /* On failure the device is as it was before: nothing is left to undo. */
    bool (*realize)(Device *dev, GError **errp);
    void (*unrealize)(Device *dev);
    void (*reset)(Device *dev);
    /*
     * Asks the guest to let the device go, or destroys it where nobody need be asked; NULL means
     * that it can always just be destroyed.
     */
    bool (*unplug_request)(Device *dev, GError **errp);
} DeviceClass;

GType device_get_type(void);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Device, g_object_unref)
#define TYPE_DEVICE         (device_get_type())
#define DEVICE(o)           G_TYPE_CHECK_INSTANCE_CAST((o), TYPE_DEVICE, Device)
#define DEVICE_CLASS(k)     G_TYPE_CHECK_CLASS_CAST((k), TYPE_DEVICE, DeviceClass)
#define DEVICE_GET_CLASS(o) G_TYPE_INSTANCE_GET_CLASS((o), TYPE_DEVICE, DeviceClass)
#define IS_DEVICE(o)        G_TYPE_CHECK_INSTANCE_TYPE((o), TYPE_DEVICE)

/*
 * -device and device_add.  @opts: "driver", perhaps "id", and the properties.  On success the
 * device is realized and in the tree at /machine/peripheral/ID or /machine/peripheral-anon.
 */
bool device_add(JsonObject *opts, bool hotplug, GError **errp);
/*
 * device_del: by id or QOM path.  Returns when the request was made; DEVICE_DELETED tells the end,
 * DEVICE_UNPLUG_GUEST_ERROR that the guest keeps it.  A system reset completes what is pending.
 */
bool device_del(const char *id, GError **errp);
/* For unplug_request: the guest has been asked, and is to be left in peace for five seconds. */
void device_unplug_pending(Device *dev);
/* The guest keeps the device, and device_del may be tried anew; no-op if nothing is pending. */
void device_unplug_refused(Device *dev);

/*
 * A device of the machine's own: made by g_object_new, put at /machine/unattached or under
 * @parent_path/@name, realized.
 */
bool device_realize_at(Device *dev, const char *parent_path, const char *name, GError **errp);
/* Unrealizes it, takes it out of the tree, drops that reference, emits DEVICE_DELETED. */
void device_destroy(Device *dev);
/* Realized devices, in order of realize; reset goes in this order. */
void device_foreach(void (*fn)(Device *dev, void *opaque), void *opaque);
/*
 * Completes pending unplugs, resets every realized device, then calls the handlers of
 * reset_register() in their order.
 */
void devices_reset(void);
/* The same after a sleep in which only RAM was kept: the guest is still there, and so is what it was
 * asked to let go. */
void devices_wakeup(void);
/* QEMU's ResetType. */
typedef enum { RESET_TYPE_COLD, RESET_TYPE_WAKEUP } ResetType;
/* For what is no device (the boot loader, the vCPUs): called at each of them. */
void reset_register(void (*fn)(ResetType type, void *opaque), void *opaque);
/* Unrealizes all devices, last realized first: the process is about to end. */
void devices_shutdown(void);
/* "TYPE at /machine/…" or the id: how messages name a device.  g_free it. */
char *device_describe(Device *dev);

#endif
