/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Live update of containers and of devices that are reached by their cdevs.
 *
 * All that is mapped stays mapped, and the new process checks that its guest memory is just that,
 * extent by extent.  Memory of other devices cannot stay: the kernel moves the accounting of pinned
 * pages to another process only while nothing is mapped from a dma-buf.  So it is unmapped when the VM
 * has stopped and mapped again when it is about to run, by whoever has the VM then.
 */
#include "hw/vfio/container.h"

#include <string.h>

#include "core/accel.h"
#include "migration/cpr.h"
#include "util/error.h"
#include "util/trace.h"

/* ---- extents ---- */

typedef struct ExtentRecord {
    uint64_t addr, iova, length, offset, readonly;
    char block[64];
} ExtentRecord;

static char *extents_name(const VFIOContainer *c)
{
    return g_strdup_printf("container/%s/extents", c->name);
}

static ExtentRecord record_of(const VFIOExtent *e)
{
    ExtentRecord r = { e->addr, e->iova, e->length, e->offset, e->readonly, { 0 } };

    g_strlcpy(r.block, e->block->idstr, sizeof(r.block));
    return r;
}

static int by_address(gconstpointer a, gconstpointer b)
{
    uint64_t x = ((const ExtentRecord *)a)->addr, y = ((const ExtentRecord *)b)->addr;

    return x < y ? -1 : x > y;
}

static void save_extents(VFIOContainer *c)
{
    g_autoptr(GArray) records = g_array_new(FALSE, FALSE, sizeof(ExtentRecord));
    g_autofree char *name = extents_name(c);
    GHashTableIter iter;
    VFIOExtent *e;

    g_hash_table_iter_init(&iter, c->extents);
    while (g_hash_table_iter_next(&iter, NULL, (void **)&e)) {
        if (e->block) {
            ExtentRecord r = record_of(e);

            g_array_append_val(records, r);
        }
    }
    g_array_sort(records, by_address);
    cpr_save_data(name, 0, records->data, records->len * sizeof(ExtentRecord));
}

void vfio_container_cpr_init(VFIOContainer *c)
{
    g_autofree char *name = extents_name(c);
    const GByteArray *bytes = cpr_find_bytes(name, 0);

    c->adopted = g_byte_array_new();
    if (bytes) {
        g_byte_array_append(c->adopted, bytes->data, bytes->len);
    }
}

bool vfio_container_adopt(VFIOContainer *c, const VFIOExtent *e, GError **errp)
{
    const ExtentRecord wanted = record_of(e);
    const ExtentRecord *there =
        c->adopted->len ? bsearch(&wanted, c->adopted->data, c->adopted->len / sizeof(wanted),
                                  sizeof(wanted), by_address)
                        : NULL;

    if (!there || memcmp(there, &wanted, sizeof(wanted))) {
        return error_set(errp, "the old process has something else mapped there, or nothing");
    }
    c->nr_adopted++;
    return true;
}

bool vfio_container_adopted_all(VFIOContainer *c, GError **errp)
{
    guint there = c->adopted ? c->adopted->len / (guint)sizeof(ExtentRecord) : 0;

    return c->nr_adopted == there ||
           error_set(errp, "%s: the old process has mapped %u ranges of guest memory, here are %u",
                     c->name, there, c->nr_adopted);
}

/* ---- the memory of devices ---- */

static void unmap_peers(VFIOContainer *c, GError **errp)
{
    GHashTableIter iter;
    VFIOExtent *e;

    g_hash_table_iter_init(&iter, c->extents);
    while (!*errp && g_hash_table_iter_next(&iter, NULL, (void **)&e)) {
        if (!e->block && e->mapped) {
            e->mapped = !c->ops->unmap(c, e->iova, e->length, errp);
        }
    }
}

static void map_peers(VFIOContainer *c)
{
    FlatView *view = address_space_view(&address_space_memory);
    GHashTableIter iter;
    VFIOExtent *e;

    g_hash_table_iter_init(&iter, c->extents);
    while (g_hash_table_iter_next(&iter, NULL, (void **)&e)) {
        const MemoryRange *r = !e->block && !e->mapped ? flat_view_find(view, e->addr) : NULL;

        if (r && r->addr == e->addr) {
            vfio_container_map_peer(c, e, r);
        }
    }
    flat_view_unref(view);
}

/* ---- containers ---- */

static bool container_check(void *opaque, GError **errp)
{
    VFIOContainer *c = opaque;

    if (!c->ops->change_process) {
        return error_set(errp,
                         "%s: CPR does not hand over devices that are reached by their groups; "
                         "give them iommufd=",
                         c->name);
    }
    return vfio_container_settle(c, errp);
}

static void container_save(void *opaque)
{
    VFIOContainer *c = opaque;

    c->ops->cpr_save(c);
    save_extents(c);
}

static bool container_stop(void *opaque, GError **errp)
{
    VFIOContainer *c = opaque;
    GError *err = NULL;

    c->handed_over = true;
    unmap_peers(c, &err);
    if (err) {
        g_propagate_error(errp, err);
        return false;
    }
    save_extents(c);
    return true;
}

/* The other process may have got as far as to take the accounting. */
static void container_undo(void *opaque)
{
    VFIOContainer *c = opaque;
    g_autoptr(GError) err = NULL;

    if (!c->handed_over) {
        return;
    }
    c->handed_over = false;
    unmap_peers(c, &err); /* those that stop had not reached */
    if (!err) {
        c->ops->change_process(c, &err);
    }
    if (err) {
        warn_report("%s", err->message);
    }
    map_peers(c);
}

static bool container_adopt(void *opaque, GError **errp)
{
    VFIOContainer *c = opaque;
    g_autofree char *name = extents_name(c);
    const GByteArray *now = c->adopted ? cpr_find_bytes(name, 0) : NULL;

    if (!c->adopted) {
        return true;
    }
    if (!now || now->len != c->adopted->len || memcmp(now->data, c->adopted->data, now->len)) {
        return error_set(errp, "%s: the old process has mapped guest memory otherwise meanwhile",
                         c->name);
    }
    return c->ops->change_process(c, errp);
}

static void container_finish(void *opaque)
{
    VFIOContainer *c = opaque;

    g_clear_pointer(&c->adopted, g_byte_array_unref);
    map_peers(c);
}

static const CprOps container_ops = {
    .check = container_check,
    .save = container_save,
    .stop = container_stop,
    .undo = container_undo,
    .adopt = container_adopt,
    .finish = container_finish,
};

void vfio_container_cpr_register(VFIOContainer *c)
{
    cpr_register(&container_ops, c);
}

void vfio_container_cpr_fini(VFIOContainer *c)
{
    cpr_unregister(&container_ops, c);
    g_clear_pointer(&c->adopted, g_byte_array_unref);
}

/* ---- devices ---- */

typedef struct DeviceRecord {
    uint32_t devid;
} DeviceRecord;

static char *ids_name(const VFIODevice *dev)
{
    return g_strdup_printf("%s/ids", dev->cpr_name);
}

/* Where it is in sysfs names it as well, but not one that was given open. */
static char *cpr_name(const VFIODevice *dev, const char *id, bool given)
{
    return id                    ? g_strdup_printf("vfio/%s", id)
           : given || !dev->name ? NULL
                                 : g_strdup_printf("vfio/host/%s", dev->name);
}

static bool device_check(void *opaque, GError **errp)
{
    const VFIODevice *dev = opaque;

    if (!dev->cpr_name) {
        return error_set(errp, "vfio %s: a device that was given by fd needs an id for CPR",
                         dev->name);
    }
    return dev->domain || error_set(errp,
                                    "vfio %s: CPR does not hand over a mediated device under "
                                    "iommufd",
                                    dev->name);
}

static void device_save(void *opaque)
{
    const VFIODevice *dev = opaque;
    g_autofree char *ids = ids_name(dev);
    DeviceRecord record = { dev->devid };

    cpr_save_fd(dev->cpr_name, 0, dev->fd);
    cpr_save_data(ids, 0, &record, sizeof(record));
    dev->container->ops->cpr_save_device(dev->container, dev);
}

/* KVM knows a device by one VM only. */
static bool device_stop(void *opaque, GError **errp)
{
    VFIODevice *dev = opaque;

    if (dev->accel_told) {
        accel_device_fd_del(dev->fd);
        dev->accel_told = false;
    }
    return true;
}

static void device_tell_accel(void *opaque)
{
    VFIODevice *dev = opaque;
    g_autoptr(GError) err = NULL;

    if (dev->accel_told) {
        return;
    }
    dev->accel_told = accel_device_fd_add(dev->fd, &err);
    if (err) {
        warn_report("vfio %s: %s", dev->name, err->message);
    }
}

static const CprOps device_ops = {
    .check = device_check,
    .save = device_save,
    .stop = device_stop,
    .undo = device_tell_accel,
    .finish = device_tell_accel,
};

void vfio_device_cpr_register(VFIODevice *dev, const char *id)
{
    if (!dev->adopted) {
        dev->cpr_name = cpr_name(dev, id, dev->given);
    }
    cpr_register(&device_ops, dev);
}

void vfio_device_cpr_unregister(VFIODevice *dev)
{
    cpr_unregister(&device_ops, dev);
}

/* Its cdev, and not some other device's that the user has given this name. */
static bool is_same(VFIODevice *dev, int fd, GError **errp)
{
    g_autofree char *sysfs = NULL;

    if (!vfio_cdev_identify(fd, &dev->number, &sysfs, errp)) {
        return false;
    }
    if (dev->sysfs && sysfs && !g_str_equal(dev->sysfs, sysfs)) {
        return error_set(errp, "the old process has %s by that name", sysfs);
    }
    if (!dev->sysfs) {
        dev->sysfs = g_steal_pointer(&sysfs);
    }
    if (!dev->name) {
        dev->name = dev->sysfs ? g_path_get_basename(dev->sysfs) : g_strdup(dev->cpr_name);
    }
    return true;
}

bool vfio_device_cpr_find(VFIODevice *dev, const char *id, GError **errp)
{
    g_autofree char *ids = NULL;
    const DeviceRecord *record;

    dev->cpr_name = cpr_name(dev, id, false);
    dev->fd = dev->cpr_name ? cpr_find_fd(dev->cpr_name, 0) : -1;
    if (dev->fd < 0) { /* it is new */
        g_clear_pointer(&dev->cpr_name, g_free);
        return true;
    }
    ids = ids_name(dev);
    record = cpr_find_data(ids, 0, sizeof(*record));
    if (!record || !is_same(dev, dev->fd, errp)) {
        if (!record) {
            error_set(errp, "the old process does not say what it is bound to");
        }
        g_prefix_error(errp, "vfio %s: ", dev->name ?: id);
        return false;
    }
    dev->devid = record->devid;
    dev->adopted = true;
    TRACE("vfio_cpr_find_device", "%s fd %d devid %u", dev->name, dev->fd, dev->devid);
    return true;
}
