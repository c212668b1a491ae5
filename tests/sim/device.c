/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A VFIO device behind its cdev: ioctls, regions, interrupts. */
#include "tests/sim/internal.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "util/linux-iommufd.h"

/* ---- ioctls ---- */

static int dev_bind(SimDevice *dev, void *arg)
{
    struct vfio_device_bind_iommufd *b = arg;

    sim_note("BIND");
    if (b->argsz < VFIO_BIND_IOMMUFD_ARGSZ || b->flags || dev->bound) {
        return fail(EINVAL);
    }
    if (!sim_is_iommu(b->iommufd)) {
        return fail(EBADFD);
    }
    sim_iommu_get();
    dev->bound = true;
    dev->devid = b->out_devid = sim_object_new(OBJ_DEVICE);
    sim_object(dev->devid, OBJ_DEVICE)->dev = dev;
    return 0;
}

void sim_device_detach(SimDevice *dev)
{
    Object *hwpt = sim_object(dev->hwpt, OBJ_HWPT);

    if (hwpt && !--hwpt->users && !hwpt->manual) {
        sim_hwpt_free(hwpt);
    }
    dev->hwpt = 0;
}

int sim_device_attach(SimDevice *dev, uint32_t *pt_id)
{
    Object *hwpt = sim_object(*pt_id, OBJ_HWPT);
    uint32_t id = *pt_id;

    if (hwpt && (dev->mdev || (hwpt->dev && hwpt->dev->iommu != dev->iommu) ||
                 (hwpt->dirty_ops && !dev->dirty_tracking))) {
        return EINVAL;
    }
    if (!hwpt && !sim_object(id, OBJ_IOAS)) {
        return id && id < sim_objects() && !sim_object(id, OBJ_FREE) ? EINVAL : ENOENT;
    }
    if (dev->mdev) {
        return 0;
    }
    if (!sim_fits(hwpt ? hwpt->ioas : id, dev)) {
        return EADDRINUSE;
    }
    if (!hwpt) {
        id = sim_hwpt_of(id, dev);
    }
    sim_object(id, OBJ_HWPT)->users++;
    sim_device_detach(dev);
    dev->hwpt = *pt_id = id;
    return 0;
}

static int dev_attach(SimDevice *dev, void *arg)
{
    struct vfio_device_attach_iommufd_pt *a = arg;
    int errnum;

    sim_note("ATTACH %u", a->pt_id);
    errnum = a->argsz < VFIO_ATTACH_IOMMUFD_PT_ARGSZ || a->flags
                 ? EINVAL
                 : sim_device_attach(dev, &a->pt_id);
    return errnum ? fail(errnum) : 0;
}

static int dev_detach(SimDevice *dev, void *arg)
{
    sim_note("DETACH");
    sim_device_detach(dev);
    return 0;
}

static int dev_get_info(SimDevice *dev, void *arg)
{
    struct vfio_device_info *info = arg;

    sim_note("GET_INFO");
    if (info->argsz < 16) {
        return fail(EINVAL);
    }
    info->flags = dev->flags;
    info->num_regions = dev->nr_regions;
    info->num_irqs = dev->nr_irqs;
    return 0;
}

static int dev_region_info(SimDevice *dev, void *arg)
{
    struct vfio_region_info *info = arg;
    uint32_t room = info->argsz;
    SimRegion *r;

    if (room < sizeof(*info) || info->index >= dev->nr_regions ||
        info->index >= VFIO_PCI_NUM_REGIONS || info->index == VFIO_PCI_VGA_REGION_INDEX) {
        return fail(EINVAL);
    }
    r = &dev->regions[info->index];
    info->flags = r->flags;
    info->size = r->size;
    info->offset = REGION_AT(info->index);
    info->cap_offset = 0;
    if (r->caps) {
        info->flags |= VFIO_REGION_INFO_FLAG_CAPS;
        info->argsz = (uint32_t)sizeof(*info) + r->caps->len;
        if (room >= info->argsz) {
            memcpy(info + 1, r->caps->data, r->caps->len);
            info->cap_offset = sizeof(*info);
        }
    }
    return 0;
}

static int dev_irq_info(SimDevice *dev, void *arg)
{
    struct vfio_irq_info *info = arg;

    if (info->argsz < sizeof(*info) || info->index >= VFIO_PCI_NUM_IRQS) {
        return fail(EINVAL);
    }
    info->flags = dev->irqs[info->index].flags | VFIO_IRQ_INFO_EVENTFD;
    info->count = dev->irqs[info->index].count;
    return 0;
}

static void irqs_off(SimDevice *dev)
{
    dev->irq_index = -1;
    dev->unmask = -1;
    g_array_set_size(dev->triggers, 0);
}

static int irqs_trigger(SimDevice *dev, const struct vfio_irq_set *set)
{
    const int32_t *fds = (const int32_t *)(const void *)set->data;
    bool on = dev->irq_index == (int)set->index;
    uint32_t end = set->start + set->count;

    if (set->flags & VFIO_IRQ_SET_DATA_NONE) {
        if (set->count || !on) {
            return fail(EINVAL);
        }
        irqs_off(dev);
        return 0;
    }
    if (dev->irq_index >= 0 && !on) {
        return fail(EINVAL); /* another kind is on */
    }
    if (on && end > dev->triggers->len && dev->irqs[set->index].flags & VFIO_IRQ_INFO_NORESIZE) {
        return fail(EINVAL);
    }
    if (dev->vectors_max && end > dev->vectors_max) {
        return (int)dev->vectors_max;
    }
    for (uint32_t i = 0; i < set->count; i++) {
        if (fds[i] != -1 && !g_hash_table_contains(sim_eventfds, GINT_TO_POINTER(fds[i]))) {
            return fail(EBADF);
        }
    }
    dev->irq_index = (int)set->index;
    while (dev->triggers->len < end) {
        int32_t none = -1;

        g_array_append_val(dev->triggers, none);
    }
    memcpy(dev->triggers->data + set->start * sizeof(int32_t), fds, set->count * sizeof(int32_t));
    return 0;
}

static int irqs_unmask(SimDevice *dev, const struct vfio_irq_set *set)
{
    int32_t fd;

    if (set->index != VFIO_PCI_INTX_IRQ_INDEX || dev->irq_index != VFIO_PCI_INTX_IRQ_INDEX) {
        return fail(set->index == VFIO_PCI_INTX_IRQ_INDEX ? EINVAL : ENOTTY);
    }
    if (set->flags & VFIO_IRQ_SET_DATA_NONE) {
        dev->unmasks++;
        return 0;
    }
    if (dev->no_unmask_eventfd) {
        return fail(ENOTTY);
    }
    memcpy(&fd, set->data, sizeof(fd));
    if (fd >= 0 && dev->unmask >= 0) {
        return fail(EBUSY);
    }
    dev->unmask = fd;
    return 0;
}

static int dev_set_irqs(SimDevice *dev, void *arg)
{
    const struct vfio_irq_set *set = arg;
    uint32_t action = set->flags & VFIO_IRQ_SET_ACTION_TYPE_MASK;
    uint32_t data = set->flags & VFIO_IRQ_SET_DATA_TYPE_MASK;
    g_autoptr(GString) what = g_string_new(NULL);

    for (uint32_t i = 0; data == VFIO_IRQ_SET_DATA_EVENTFD && i < set->count; i++) {
        g_string_append_c(what, ((const int32_t *)(const void *)set->data)[i] < 0 ? '-' : 'e');
    }
    sim_note("SET_IRQS %u %s %u+%u %s", set->index,
             action == VFIO_IRQ_SET_ACTION_TRIGGER ? "trigger" : "unmask", set->start, set->count,
             what->str);
    if (set->index >= VFIO_PCI_NUM_IRQS || (data & (data - 1)) || !data ||
        set->start + set->count > dev->irqs[set->index].count ||
        (data == VFIO_IRQ_SET_DATA_EVENTFD &&
         set->argsz < sizeof(*set) + set->count * sizeof(int32_t))) {
        return fail(EINVAL);
    }
    return action == VFIO_IRQ_SET_ACTION_TRIGGER  ? irqs_trigger(dev, set)
           : action == VFIO_IRQ_SET_ACTION_UNMASK ? irqs_unmask(dev, set)
                                                  : fail(ENOTTY);
}

static int dev_reset(SimDevice *dev, void *arg)
{
    sim_note("RESET");
    if (!(dev->flags & VFIO_DEVICE_FLAGS_RESET)) {
        return fail(EINVAL);
    }
    dev->resets++;
    return 0;
}

static const struct {
    unsigned long request;
    int (*run)(SimDevice *dev, void *arg);
} device_ioctls[] = {
    { VFIO_DEVICE_BIND_IOMMUFD, dev_bind },           { VFIO_DEVICE_ATTACH_IOMMUFD_PT, dev_attach },
    { VFIO_DEVICE_DETACH_IOMMUFD_PT, dev_detach },    { VFIO_DEVICE_GET_INFO, dev_get_info },
    { VFIO_DEVICE_GET_REGION_INFO, dev_region_info }, { VFIO_DEVICE_GET_IRQ_INFO, dev_irq_info },
    { VFIO_DEVICE_SET_IRQS, dev_set_irqs },           { VFIO_DEVICE_RESET, dev_reset },
    { VFIO_DEVICE_FEATURE, sim_device_feature },
};

int sim_device_ioctl(SimDevice *dev, unsigned long request, void *arg)
{
    if (!dev->bound && request != VFIO_DEVICE_BIND_IOMMUFD) {
        return fail(EINVAL);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(device_ioctls); i++) {
        if (device_ioctls[i].request == request) {
            return device_ioctls[i].run(dev, arg);
        }
    }
    return fail(ENOTTY);
}

void sim_device_release(SimDevice *dev)
{
    if (!dev->bound) {
        return;
    }
    sim_device_detach(dev);
    g_array_set_size(dev->logged_ranges, 0);
    dev->logging = false;
    sim_object_free(sim_object(dev->devid, OBJ_DEVICE));
    irqs_off(dev);
    dev->bound = false;
    sim_iommu_put();
}

/* ---- for the tests ---- */

SimDevice *sim_device_new(unsigned minor)
{
    SimDevice *dev = g_new0(SimDevice, 1);

    dev->minor = minor;
    dev->flags = VFIO_DEVICE_FLAGS_PCI | VFIO_DEVICE_FLAGS_RESET;
    dev->nr_regions = VFIO_PCI_NUM_REGIONS;
    dev->nr_irqs = VFIO_PCI_NUM_IRQS;
    dev->triggers = g_array_new(FALSE, FALSE, sizeof(int32_t));
    dev->logged = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    dev->logged_ranges =
        g_array_new(FALSE, FALSE, sizeof(struct vfio_device_feature_dma_logging_range));
    dev->aperture.last = (1ULL << 48) - 1;
    dev->aperture.page = 4096;
    dev->iommu_type = VIADUCT_IOMMU_HW_INFO_TYPE_VTD;
    dev->msi_first = 0xfee00000; /* what a PCI device's IOAS cannot hold on x86 */
    dev->msi_last = 0xfeefffff;
    irqs_off(dev);
    for (unsigned i = 0; i < VFIO_PCI_NUM_REGIONS; i++) {
        dev->regions[i].backing = -1;
    }
    sim_region_set(dev, VFIO_PCI_CONFIG_REGION_INDEX, sizeof(dev->config),
                   VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE);
    g_ptr_array_add(sim_devices, dev);
    return dev;
}

void sim_device_free(SimDevice *dev)
{
    for (unsigned i = 0; i < VFIO_PCI_NUM_REGIONS; i++) {
        g_clear_pointer(&dev->regions[i].caps, g_byte_array_unref);
        if (dev->regions[i].backing >= 0) {
            close(dev->regions[i].backing);
        }
    }
    g_array_unref(dev->triggers);
    g_array_unref(dev->logged);
    g_array_unref(dev->logged_ranges);
    g_ptr_array_remove(sim_devices, dev);
    g_free(dev);
}

void sim_region_set(SimDevice *dev, unsigned index, uint64_t size, uint32_t flags)
{
    SimRegion *r = &dev->regions[index];

    r->size = size;
    r->flags = flags;
    if (r->backing < 0) {
        r->backing = memfd_create("sim-region", MFD_CLOEXEC);
    }
    g_assert_cmpint(r->backing, >=, 0);
    if (size < 1ULL << 40) { /* absurd ones are only talked of */
        g_assert_cmpint(ftruncate(r->backing, (off_t)size), ==, 0);
    }
}

void sim_region_poke(SimDevice *dev, unsigned index, uint64_t addr, uint32_t val)
{
    g_assert_cmpint(pwrite(dev->regions[index].backing, &val, 4, (off_t)addr), ==, 4);
}

uint32_t sim_region_peek(SimDevice *dev, unsigned index, uint64_t addr)
{
    uint32_t val;

    g_assert_cmpint(pread(dev->regions[index].backing, &val, 4, (off_t)addr), ==, 4);
    return val;
}

bool sim_fire(SimDevice *dev, unsigned vector)
{
    uint64_t one = 1;
    int32_t fd = vector < dev->triggers->len ? g_array_index(dev->triggers, int32_t, vector) : -1;

    return fd >= 0 && write(fd, &one, sizeof(one)) == sizeof(one);
}
