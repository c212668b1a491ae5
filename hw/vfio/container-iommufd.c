/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A container that is an IOAS of an iommufd object.
 *
 * Devices are attached to domains (the kernel's HWPTs), each an I/O page table that is filled with
 * all that the IOAS maps.  A device takes the first domain that its IOMMU can use and that tracks
 * what it writes, if its IOMMU can do that; where there is none, one is made for it.  A domain goes
 * with its last device.  Devices without an IOMMU of their own (mdevs) and kernels without domains that can
 * be asked for (before Linux 6.7) are attached to the IOAS, and the kernel does what it can.
 */
#include "hw/vfio/container.h"

#include <errno.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "migration/cpr.h"
#include "util/error.h"
#include "util/linux-iommufd.h"
#include "util/trace.h"

struct VFIODomain {
    uint32_t hwpt_id;
    bool dirty_tracking; /* can be had */
    bool tracking;       /* is on */
    bool joins_entries;  /* see dirty-joined.c */
    unsigned users;
};

typedef struct VFIOIOMMUFDContainer {
    VFIOContainer parent;
    IOMMUFDBackend *be;
    uint32_t ioas_id;
    GPtrArray *domains; /* VFIODomain, in order of creation */
} VFIOIOMMUFDContainer;

static VFIOIOMMUFDContainer *of(VFIOContainer *c)
{
    return (VFIOIOMMUFDContainer *)c;
}

/* ---- domains ---- */

/* 1: attached; 0: does not fit; -1: the error. */
static int try_domain(VFIOIOMMUFDContainer *c, VFIODomain *domain, VFIODevice *dev, GError **errp)
{
    uint32_t pt_id = domain->hwpt_id;
    g_autoptr(GError) err = NULL;
    int ret = iommufd_device_attach(c->be, dev->fd, &pt_id, &err);

    if (!ret) {
        domain->users++;
        dev->domain = domain;
        return 1;
    }
    if (ret == -EINVAL) {
        return 0;
    }
    g_propagate_error(errp, g_steal_pointer(&err));
    return -1;
}

static void domain_put(VFIOIOMMUFDContainer *c, VFIODomain *domain)
{
    if (!domain->users) {
        iommufd_destroy(c->be, domain->hwpt_id);
        g_ptr_array_remove(c->domains, domain);
    }
}

static bool attach_ioas(VFIOIOMMUFDContainer *c, VFIODevice *dev, GError **errp)
{
    uint32_t pt_id = c->ioas_id;

    return !iommufd_device_attach(c->be, dev->fd, &pt_id, errp);
}

static bool attach_new_domain(VFIOIOMMUFDContainer *c, VFIODevice *dev, uint32_t type, bool dirty,
                              GError **errp)
{
    VFIODomain *domain;
    uint32_t id;
    int ret;

    if (!iommufd_hwpt_alloc(c->be, dev->devid, c->ioas_id,
                            dirty ? IOMMU_HWPT_ALLOC_DIRTY_TRACKING : 0, &id, errp)) {
        return false;
    }
    domain = g_new0(VFIODomain, 1);
    domain->hwpt_id = id;
    domain->dirty_tracking = dirty;
    domain->joins_entries = !type || type == VIADUCT_IOMMU_HW_INFO_TYPE_AMD;
    g_ptr_array_add(c->domains, domain);
    ret = try_domain(c, domain, dev, errp);
    if (!ret) {
        error_set(errp, "%s: the kernel refuses the device the domain %u that was made for it",
                  c->parent.name, id);
    }
    if (ret <= 0) {
        domain_put(c, domain);
    }
    return ret > 0;
}

/* ---- live update ---- */

typedef struct DomainRecord {
    uint32_t hwpt_id, dirty_tracking, joins_entries;
} DomainRecord;

/* The old process has attached it. */
static bool adopt(VFIOIOMMUFDContainer *c, VFIODevice *dev, GError **errp)
{
    g_autofree char *name = g_strdup_printf("%s/domain", dev->cpr_name);
    const DomainRecord *record = cpr_find_data(name, 0, sizeof(*record));
    VFIODomain *domain = NULL;

    if (!record) {
        return error_set(errp, "the old process does not say which domain it is attached to");
    }
    for (guint i = 0; i < c->domains->len && !domain; i++) {
        VFIODomain *other = c->domains->pdata[i];

        domain = other->hwpt_id == record->hwpt_id ? other : NULL;
    }
    if (!domain) {
        domain = g_new0(VFIODomain, 1);
        domain->hwpt_id = record->hwpt_id;
        domain->dirty_tracking = record->dirty_tracking;
        domain->joins_entries = record->joins_entries;
        g_ptr_array_add(c->domains, domain);
    }
    domain->users++;
    dev->domain = domain;
    return true;
}

static void cpr_save_device(const VFIOContainer *c, const VFIODevice *dev)
{
    g_autofree char *name = g_strdup_printf("%s/domain", dev->cpr_name);
    DomainRecord record = { dev->domain->hwpt_id, dev->domain->dirty_tracking,
                            dev->domain->joins_entries };

    cpr_save_data(name, 0, &record, sizeof(record));
}

static char *cpr_ioas_name(const IOMMUFDBackend *be)
{
    return g_strdup_printf("iommufd/%s/ioas", be->parent.id);
}

static void cpr_save(VFIOContainer *c)
{
    g_autofree char *name = cpr_ioas_name(of(c)->be);

    cpr_save_data(name, 0, &of(c)->ioas_id, sizeof(of(c)->ioas_id));
}

static bool cpr_take(VFIOContainer *c, bool back, GError **errp)
{
    return iommufd_ioas_change_process(of(c)->be, errp);
}

static bool attach(VFIOContainer *parent, VFIODevice *dev, GError **errp)
{
    VFIOIOMMUFDContainer *c = of(parent);
    g_autoptr(GError) err = NULL;
    uint64_t capabilities;
    uint32_t type;
    bool dirty;
    int ret = 0;

    if (dev->adopted) {
        return adopt(c, dev, errp);
    }

    if (!iommufd_has(c->be, IOMMU_HWPT_ALLOC) || !iommufd_has(c->be, IOMMU_GET_HW_INFO)) {
        return attach_ioas(c, dev, errp);
    }
    if (!iommufd_get_hw_info(c->be, dev->devid, &type, &capabilities, &err)) {
        if (errno == ENOENT) { /* an mdev */
            return attach_ioas(c, dev, errp);
        }
        g_propagate_error(errp, g_steal_pointer(&err));
        return false;
    }
    dirty = capabilities & IOMMU_HW_CAP_DIRTY_TRACKING;
    for (guint i = 0; i < c->domains->len && !ret; i++) {
        VFIODomain *domain = c->domains->pdata[i];

        /* Its IOMMU could tell what it writes: not where nothing would. */
        if (domain->dirty_tracking || !dirty) {
            ret = try_domain(c, domain, dev, errp);
        }
    }
    return ret ? ret > 0 : attach_new_domain(c, dev, type, dirty, errp);
}

static void detach(VFIOContainer *parent, VFIODevice *dev)
{
    VFIOIOMMUFDContainer *c = of(parent);
    VFIODomain *domain = g_steal_pointer(&dev->domain);
    g_autoptr(GError) err = NULL;

    if (!iommufd_device_detach(c->be, dev->fd, &err)) {
        warn_report("vfio %s: %s", dev->name, err->message);
    }
    vfio_container_dirty_sync(parent);
    if (domain) {
        domain->users--;
        domain_put(c, domain);
    }
}

/* ---- mappings ---- */

static IOVARange *iova_ranges(VFIOContainer *c, size_t *n, uint64_t *alignment, GError **errp)
{
    return iommufd_ioas_iova_ranges(of(c)->be, of(c)->ioas_id, n, alignment, errp);
}

/*
 * The kernel takes files that are nothing but memory, of tmpfs (memfds are) and hugetlbfs, and
 * dma-bufs; what a DAX device or another file has is reached by where it is mapped.
 */
static bool is_taken(int fd)
{
    struct stat st;
    struct statfs fs;

    if (fstat(fd, &st)) {
        return true; /* the kernel says what is wrong */
    }
    return !S_ISCHR(st.st_mode) &&
           (!S_ISREG(st.st_mode) || fstatfs(fd, &fs) || fs.f_type == TMPFS_MAGIC ||
            fs.f_type == HUGETLBFS_MAGIC || fs.f_type == DMA_BUF_MAGIC);
}

static bool map(VFIOContainer *c, uint64_t iova, uint64_t length, void *host, int fd,
                uint64_t start, bool readonly, GError **errp)
{
    if (!iommufd_has(of(c)->be, IOMMU_IOAS_MAP_FILE) || (fd >= 0 && !is_taken(fd))) {
        fd = -1;
    }
    return fd < 0 ? iommufd_ioas_map(of(c)->be, of(c)->ioas_id, iova, length, host, readonly, errp)
                  : iommufd_ioas_map_file(of(c)->be, of(c)->ioas_id, iova, length, fd, start,
                                          readonly, errp);
}

static bool unmap(VFIOContainer *c, uint64_t iova, uint64_t length, GError **errp)
{
    return iommufd_ioas_unmap(of(c)->be, of(c)->ioas_id, iova, length, errp);
}

/* ---- dirty tracking ---- */

static bool dirty_tracked(const VFIOContainer *c, const VFIODevice *dev)
{
    return dev->domain && (c->dirty_on ? dev->domain->tracking : dev->domain->dirty_tracking);
}

static void dirty_stop(VFIOContainer *parent)
{
    const VFIOIOMMUFDContainer *c = of(parent);

    for (guint i = 0; i < c->domains->len; i++) {
        VFIODomain *domain = c->domains->pdata[i];
        g_autoptr(GError) err = NULL;

        if (domain->tracking && !iommufd_set_dirty_tracking(c->be, domain->hwpt_id, false, &err)) {
            warn_report("%s", err->message);
        }
        domain->tracking = false;
    }
}

static bool dirty_start(VFIOContainer *parent, GError **errp)
{
    const VFIOIOMMUFDContainer *c = of(parent);

    for (guint i = 0; i < c->domains->len; i++) {
        VFIODomain *domain = c->domains->pdata[i];

        if (!domain->dirty_tracking) {
            continue;
        }
        if (!iommufd_set_dirty_tracking(c->be, domain->hwpt_id, true, errp)) {
            dirty_stop(parent);
            return false;
        }
        domain->tracking = true;
    }
    return true;
}

static bool dirty_query(VFIOContainer *parent, uint64_t iova, uint64_t length, bool clear,
                        uint64_t *bitmap, GError **errp)
{
    const VFIOIOMMUFDContainer *c = of(parent);

    for (guint i = 0; i < c->domains->len; i++) {
        const VFIODomain *domain = c->domains->pdata[i];

        if (!domain->tracking) {
            continue;
        }
        if (!iommufd_get_dirty_bitmap(c->be, domain->hwpt_id, iova, length, RAM_DIRTY_PAGE, clear,
                                      bitmap, errp)) {
            return false;
        }
        if (domain->joins_entries) {
            vfio_dirty_fill_joined(bitmap, iova, length);
        }
    }
    return true;
}

/* ---- life ---- */

static void container_free(VFIOContainer *c)
{
    iommufd_destroy(of(c)->be, of(c)->ioas_id);
    g_ptr_array_unref(of(c)->domains);
    g_free(c);
}

/* ---- x-query-vfio ---- */

static void describe(const VFIOContainer *parent, JsonObject *o)
{
    const VFIOIOMMUFDContainer *c = (const VFIOIOMMUFDContainer *)parent;
    JsonArray *list = json_array_new();

    for (guint i = 0; i < c->domains->len; i++) {
        const VFIODomain *domain = c->domains->pdata[i];
        JsonObject *d = json_object_new();

        json_object_set_int_member(d, "hwpt-id", domain->hwpt_id);
        json_object_set_boolean_member(d, "dirty-tracking", domain->dirty_tracking);
        json_object_set_int_member(d, "users", domain->users);
        json_array_add_object_element(list, d);
    }
    json_object_set_int_member(o, "ioas-id", c->ioas_id);
    json_object_set_array_member(o, "domains", list);
    json_object_set_string_member(o, "kernel-lacks", c->be->missing_names);
}

static void describe_device(const VFIOContainer *c, const VFIODevice *dev, JsonObject *o)
{
    json_object_set_int_member(o, "devid", dev->devid);
    if (dev->domain) {
        json_object_set_int_member(o, "hwpt-id", dev->domain->hwpt_id);
    }
}

static const VFIOContainerOps iommufd_container_ops = {
    .type = "iommufd",
    .describe = describe,
    .describe_device = describe_device,
    .attach = attach,
    .detach = detach,
    .iova_ranges = iova_ranges,
    .map = map,
    .unmap = unmap,
    .dirty_tracked = dirty_tracked,
    .dirty_start = dirty_start,
    .dirty_stop = dirty_stop,
    .dirty_query = dirty_query,
    .cpr_save = cpr_save,
    .cpr_save_device = cpr_save_device,
    .cpr_take = cpr_take,
    .free = container_free,
};

VFIOContainer *vfio_container_of_iommufd(IOMMUFDBackend *be, GError **errp)
{
    g_autofree char *name = cpr_ioas_name(be);
    const uint32_t *adopted;
    VFIOIOMMUFDContainer *c;
    uint32_t ioas_id;

    for (guint i = 0; vfio_containers && i < vfio_containers->len; i++) {
        VFIOContainer *other = vfio_containers->pdata[i];

        if (other->ops == &iommufd_container_ops && of(other)->be == be) {
            return other;
        }
    }
    adopted = cpr_find_data(name, 0, sizeof(*adopted));
    if (adopted) {
        ioas_id = *adopted;
    } else if (!iommufd_ioas_alloc(be, &ioas_id, errp)) {
        return NULL;
    }
    c = g_new0(VFIOIOMMUFDContainer, 1);
    c->be = be;
    c->ioas_id = ioas_id;
    c->domains = g_ptr_array_new_with_free_func(g_free);
    vfio_container_init(&c->parent, &iommufd_container_ops, be->parent.id);
    c->parent.map_wait = be->map_wait;
    c->parent.map_threads = be->map_threads;
    if (adopted) {
        vfio_container_cpr_init(&c->parent);
    }
    return &c->parent;
}
