/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Live update of containers: what is the same for both kinds.
 *
 * All that is mapped stays mapped, and the new process checks that its guest memory is just that,
 * extent by extent.  Memory of other devices cannot stay in an iommufd's: the kernel moves the
 * accounting of pinned pages to another process only while nothing is mapped from a dma-buf.  So it
 * is unmapped when the VM has stopped and mapped again when it is about to run, by whoever has the VM
 * then.  A type1 container keeps it (cpr-type1.c).
 */
#include "hw/vfio/container.h"

#include <string.h>

#include "migration/cpr.h"
#include "util/error.h"
#include "util/trace.h"

/* ---- extents ---- */

typedef struct ExtentRecord {
    uint64_t addr, iova, length, offset, readonly, part;
    char block[64];
} ExtentRecord;

static char *extents_name(const VFIOContainer *c)
{
    return g_strdup_printf("container/%s/extents", c->name);
}

static ExtentRecord record_of(const VFIOExtent *e)
{
    ExtentRecord r = { e->addr, e->iova, e->length, e->offset, e->readonly, e->part, { 0 } };

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

bool vfio_container_adopt(VFIOContainer *c, VFIOExtent *e, GError **errp)
{
    ExtentRecord wanted = record_of(e);
    size_t n = c->adopted->len / sizeof(wanted);
    const ExtentRecord *there =
        n ? bsearch(&wanted, c->adopted->data, n, sizeof(wanted), by_address) : NULL;

    wanted.part = e->part = there ? there->part : 0;
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

    if (c->ops->cpr_peers_stay) {
        return;
    }
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

    return !c->ops->cpr_check || c->ops->cpr_check(c, errp);
}

static void container_save(void *opaque)
{
    VFIOContainer *c = opaque;

    vfio_container_settle(c, NULL); /* while the VM runs; if it fails, stop says so */
    c->ops->cpr_save(c);
    save_extents(c);
}

static bool container_stop(void *opaque, GError **errp)
{
    VFIOContainer *c = opaque;
    GError *err = NULL;

    if (!vfio_container_settle(c, errp)) {
        return false;
    }
    c->handed_over = true;
    unmap_peers(c, &err);
    if (err) {
        g_propagate_error(errp, err);
        return false;
    }
    save_extents(c);
    return !c->ops->cpr_stop || c->ops->cpr_stop(c, errp);
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
        c->ops->cpr_take(c, true, &err);
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
    return c->ops->cpr_take(c, false, errp);
}

static void container_finish(void *opaque)
{
    VFIOContainer *c = opaque;

    g_clear_pointer(&c->adopted, g_byte_array_unref);
    map_peers(c);
    if (c->ops->cpr_finish) {
        c->ops->cpr_finish(c);
    }
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
