/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A VFIO device behind its cdev: ioctls, regions, interrupts. */
#include "tests/sim/internal.h"

#include <linux/pci_regs.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "util/linux-iommufd.h"

#define MAX_CAPS 48

/* ---- configuration space ---- */

/* Where the capability is, 0: nowhere. */
static unsigned find_cap(const SimDevice *dev, uint8_t id)
{
    unsigned at = dev->config[PCI_CAPABILITY_LIST] & ~3U;

    for (unsigned i = 0; i < MAX_CAPS && at >= PCI_STD_HEADER_SIZEOF; i++) {
        if (dev->config[at] == id) {
            return at;
        }
        at = dev->config[at + PCI_CAP_LIST_NEXT] & ~3U;
    }
    return 0;
}

bool sim_decodes(const SimDevice *dev)
{
    unsigned pm = find_cap(dev, PCI_CAP_ID_PM);
    bool asleep = pm && pm + PCI_PM_CTRL < 256 &&
                  (dev->config[pm + PCI_PM_CTRL] & PCI_PM_CTRL_STATE_MASK) == 3;

    return dev->config[PCI_COMMAND] & PCI_COMMAND_MEMORY && !asleep;
}

/* Whether the byte at @addr is a capability's id or link. */
static bool is_link(const SimDevice *dev, uint64_t addr)
{
    unsigned at = dev->config[PCI_CAPABILITY_LIST] & ~3U;

    for (unsigned i = 0; i < MAX_CAPS && at >= PCI_STD_HEADER_SIZEOF; i++) {
        if (addr - at < 2) {
            return true;
        }
        at = dev->config[at + PCI_CAP_LIST_NEXT] & ~3U;
    }
    return addr == PCI_CAPABILITY_LIST;
}

/* A bit that the guest wrote at [at, at + len) and that resets the function; it reads as zero. */
static bool take_reset(SimDevice *dev, uint64_t at, size_t len, uint8_t id, unsigned reg,
                       uint8_t bit)
{
    unsigned cap = find_cap(dev, id), addr = cap + reg;
    bool reset = cap && addr < PCI_CFG_SPACE_SIZE && addr >= at && addr < at + len &&
                 !is_link(dev, addr) && dev->config[addr] & bit;

    if (reset) {
        dev->config[addr] &= (uint8_t)~bit;
    }
    return reset;
}

void sim_config_write(SimDevice *dev, uint64_t at, const void *buf, size_t len)
{
    bool reset;

    for (size_t i = 0; i < len; i++) {
        if (!is_link(dev, at + i)) {
            dev->config[at + i] = ((const uint8_t *)buf)[i];
        }
    }
    reset =
        take_reset(dev, at, len, PCI_CAP_ID_EXP, PCI_EXP_DEVCTL + 1, PCI_EXP_DEVCTL_BCR_FLR >> 8);
    reset |= take_reset(dev, at, len, PCI_CAP_ID_AF, PCI_AF_CTRL, PCI_AF_CTRL_FLR);
    dev->resets += reset;
    if (reset) {
        sim_mig_reset(dev);
    }
    if (reset || !sim_decodes(dev)) {
        sim_iommu_revoke(dev);
    }
}

/* ---- ioctls ---- */

int sim_device_check_token(const SimDevice *dev, const char *token)
{
    if (!dev->token) {
        return token ? fail(EINVAL) : 0;
    }
    return token && g_str_equal(token, dev->token) ? 0 : fail(EACCES);
}

static int check_token(const SimDevice *dev, const VFIODeviceBindToken *b)
{
    g_autoptr(GString) text = g_string_new(NULL);
    const uint8_t *u;

    if (!b->flags) {
        return sim_device_check_token(dev, NULL);
    }
    u = (const uint8_t *)(uintptr_t)b->token_uuid_ptr;
    for (unsigned i = 0; i < 16; i++) {
        g_string_append_printf(text, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "",
                               u[i]);
    }
    return sim_device_check_token(dev, text->str);
}

void sim_device_wake(SimDevice *dev)
{
    unsigned pm = find_cap(dev, PCI_CAP_ID_PM);

    if (pm && pm + PCI_PM_CTRL < 256) {
        dev->config[pm + PCI_PM_CTRL] &= (uint8_t)~PCI_PM_CTRL_STATE_MASK;
    }
}

static int dev_bind(SimDevice *dev, void *arg)
{
    VFIODeviceBindToken *b = arg;

    sim_note("BIND");
    if (b->argsz < VFIO_BIND_IOMMUFD_ARGSZ || b->flags & ~(uint32_t)VFIO_DEVICE_BIND_FLAG_TOKEN ||
        (b->flags && b->argsz < sizeof(*b)) || dev->bound) {
        return fail(EINVAL);
    }
    if (sim_group_is_open(dev->group)) {
        return fail(EBUSY);
    }
    if (check_token(dev, b)) {
        return -1;
    }
    if (!sim_is_iommu(b->iommufd)) {
        return fail(EBADFD);
    }
    sim_iommu_get();
    sim_device_wake(dev);
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

static void notify_off(SimDevice *dev)
{
    for (unsigned i = 0; i < VFIO_PCI_NUM_IRQS; i++) {
        dev->notify[i] = -1;
    }
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

/* ERR and REQ stand beside the interrupts, and each has one eventfd. */
static int irqs_notify(SimDevice *dev, const struct vfio_irq_set *set)
{
    if (set->start || set->count > 1) {
        return fail(EINVAL);
    }
    dev->notify[set->index] = -1;
    if (set->flags & VFIO_IRQ_SET_DATA_EVENTFD) {
        memcpy(&dev->notify[set->index], set->data, sizeof(int32_t));
    }
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
    if (set->index >= VFIO_PCI_ERR_IRQ_INDEX) {
        return action == VFIO_IRQ_SET_ACTION_TRIGGER ? irqs_notify(dev, set) : fail(ENOTTY);
    }
    return action == VFIO_IRQ_SET_ACTION_TRIGGER  ? irqs_trigger(dev, set)
           : action == VFIO_IRQ_SET_ACTION_UNMASK ? irqs_unmask(dev, set)
                                                  : fail(ENOTTY);
}

static void note_state(SimDevice *dev)
{
    dev->rude_resets += dev->irq_index >= 0 || dev->config[4] & 7;
}

static int dev_reset(SimDevice *dev, void *arg)
{
    sim_note("RESET");
    if (!(dev->flags & VFIO_DEVICE_FLAGS_RESET)) {
        return fail(EINVAL);
    }
    if (dev->busy && dev->busy--) {
        return fail(EAGAIN);
    }
    dev->resets++;
    note_state(dev);
    sim_iommu_revoke(dev);
    sim_mig_reset(dev);
    return 0;
}

/* As its name says, if that is an address. */
static void set_place(struct vfio_pci_dependent_device *d, const char *name)
{
    unsigned bus, slot, function;

    if (name && sscanf(name, "0000:%x:%x.%x", &bus, &slot, &function) == 3) {
        d->bus = (uint8_t)bus;
        d->devfn = (uint8_t)(slot << 3 | function);
    }
}

static int dev_hot_reset_info(SimDevice *dev, void *arg)
{
    struct vfio_pci_hot_reset_info *info = arg;
    struct vfio_pci_dependent_device d[64] = { 0 };
    const SimSlot *slot = dev->slot;
    uint32_t n = 0;

    sim_note("HOT_RESET_INFO");
    if (info->argsz < sizeof(*info)) {
        return fail(EINVAL);
    }
    if (!slot) {
        return fail(ENODEV);
    }
    for (; n < slot->devices->len; n++) {
        const SimDevice *other = slot->devices->pdata[n];

        d[n].group_id = other->bound ? other->devid : VFIO_PCI_DEVID_OWNED;
        d[n].devfn = (uint8_t)n;
        if (dev->via) {
            d[n].group_id = other->group;
        }
        set_place(&d[n], other->name);
    }
    for (unsigned i = 0; i < slot->idle; i++, n++) {
        d[n].devfn = (uint8_t)n;
        d[n].group_id = VFIO_PCI_DEVID_OWNED;
    }
    if (slot->stranger) {
        d[n].devfn = (uint8_t)n;
        d[n++].group_id = (uint32_t)VFIO_PCI_DEVID_NOT_OWNED;
    }
    info->count = n;
    info->flags = 0;
    if (!dev->via) {
        info->flags |= VFIO_PCI_HOT_RESET_FLAG_DEV_ID;
        info->flags |= slot->stranger ? 0 : VFIO_PCI_HOT_RESET_FLAG_DEV_ID_OWNED;
    }
    if (info->argsz < sizeof(*info) + n * sizeof(d[0])) {
        return fail(ENOSPC);
    }
    memcpy(info->devices, d, n * sizeof(d[0]));
    return 0;
}

/* All groups of the slot are among those whose descriptors are given. */
static bool groups_given(const SimSlot *slot, const struct vfio_pci_hot_reset *reset)
{
    for (guint i = 0; i < slot->devices->len; i++) {
        const SimDevice *other = slot->devices->pdata[i];
        bool given = false;

        for (uint32_t k = 0; k < reset->count; k++) {
            given |= sim_group_of(reset->group_fds[k]) == other->group;
        }
        if (!given) {
            return false;
        }
    }
    return reset->count <= slot->devices->len;
}

static int dev_hot_reset(SimDevice *dev, void *arg)
{
    const struct vfio_pci_hot_reset *reset = arg;

    sim_note("HOT_RESET");
    if (reset->argsz < sizeof(*reset) || reset->flags || !dev->slot ||
        (dev->via ? !groups_given(dev->slot, reset) : reset->count || dev->slot->stranger)) {
        return fail(EINVAL);
    }
    if (dev->busy && dev->busy--) {
        return fail(EAGAIN);
    }
    for (guint i = 0; i < dev->slot->devices->len; i++) {
        SimDevice *other = dev->slot->devices->pdata[i];

        other->hot_resets++;
        note_state(other);
        sim_iommu_revoke(other);
        sim_mig_reset(other);
    }
    return 0;
}

static int dev_feature(SimDevice *dev, void *arg)
{
    const struct vfio_device_feature *f = arg;
    const struct vfio_device_feature_dma_buf *get = (const void *)f->data;
    const struct vfio_region_dma_range *range = get->dma_ranges;

    if (f->argsz < sizeof(*f)) {
        return fail(EINVAL);
    }
    if ((f->flags & VFIO_DEVICE_FEATURE_MASK) != VFIO_DEVICE_FEATURE_DMA_BUF) {
        return sim_device_feature(dev, arg);
    }
    sim_note("DMA_BUF %u 0x%llx+0x%llx", get->region_index, range->offset, range->length);
    if (dev->dmabuf_error) {
        return fail(dev->dmabuf_error);
    }
    if (f->flags != (VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_DMA_BUF) ||
        f->argsz != sizeof(*f) + sizeof(*get) + sizeof(*range) || get->nr_ranges != 1 ||
        get->flags) {
        return fail(EINVAL);
    }
    if (get->region_index >= VFIO_PCI_ROM_REGION_INDEX) {
        return fail(ENODEV);
    }
    if (!range->length || (range->offset | range->length) % 4096 ||
        range->offset + range->length > dev->regions[get->region_index].size) {
        return fail(EINVAL);
    }
    return sim_dmabuf_new(dev, range->length);
}

static const struct {
    unsigned long request;
    int (*run)(SimDevice *dev, void *arg);
} device_ioctls[] = {
    { VFIO_DEVICE_BIND_IOMMUFD, dev_bind },
    { VFIO_DEVICE_ATTACH_IOMMUFD_PT, dev_attach },
    { VFIO_DEVICE_DETACH_IOMMUFD_PT, dev_detach },
    { VFIO_DEVICE_GET_INFO, dev_get_info },
    { VFIO_DEVICE_GET_REGION_INFO, dev_region_info },
    { VFIO_DEVICE_GET_IRQ_INFO, dev_irq_info },
    { VFIO_DEVICE_SET_IRQS, dev_set_irqs },
    { VFIO_DEVICE_RESET, dev_reset },
    { VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, dev_hot_reset_info },
    { VFIO_DEVICE_PCI_HOT_RESET, dev_hot_reset },
    { VFIO_DEVICE_FEATURE, dev_feature },
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
    irqs_off(dev);
    notify_off(dev);
    dev->bound = false;
    dev->mig.info_v2 = false;
    sim_mig_reset(dev);
    if (dev->via) {
        sim_group_device_closed(dev);
        return;
    }
    sim_device_detach(dev);
    g_array_set_size(dev->logged_ranges, 0);
    dev->logging = false;
    sim_object_free(sim_object(dev->devid, OBJ_DEVICE));
    sim_iommu_put();
}

/* ---- for the tests ---- */

SimDevice *sim_device_new(unsigned minor)
{
    SimDevice *dev = g_new0(SimDevice, 1);

    dev->minor = minor;
    dev->name = "0000:02:00.0";
    dev->group = 12;
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
    notify_off(dev);
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
    sim_mig_free(dev);
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
        off_t pages = (off_t)((size + 4095) & ~4095ULL);

        g_assert_cmpint(ftruncate(r->backing, pages), ==, 0);
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

static bool signal_fd(int32_t fd)
{
    uint64_t one = 1;

    return fd >= 0 && write(fd, &one, sizeof(one)) == sizeof(one);
}

bool sim_notify(SimDevice *dev, unsigned index)
{
    return signal_fd(dev->notify[index]);
}

void sim_device_renumber(SimDevice *dev, int from, int to)
{
    for (guint i = 0; i < dev->triggers->len; i++) {
        int32_t *fd = &g_array_index(dev->triggers, int32_t, i);

        *fd = *fd == from ? to : *fd;
    }
    for (unsigned i = 0; i < VFIO_PCI_NUM_IRQS; i++) {
        dev->notify[i] = dev->notify[i] == from ? to : dev->notify[i];
    }
    dev->unmask = dev->unmask == from ? to : dev->unmask;
}

bool sim_fire(SimDevice *dev, unsigned vector)
{
    int32_t fd = vector < dev->triggers->len ? g_array_index(dev->triggers, int32_t, vector) : -1;

    return signal_fd(fd);
}
