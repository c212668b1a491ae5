// SPDX-License-Identifier: GPL-2.0-or-later
/* What a user of VFIO sees: configuration space, three BARs, reset. */
#include <linux/mm.h>
#include <linux/slab.h>

#include "vtest.h"

#define SHIFT     40 /* of a region's index, as vfio-pci has it */
#define OFFSET(i) ((u64)(i) << SHIFT)

enum { MSIX_CAP = 0x40, PCIE_CAP = 0x60 };

/* ---- configuration space ---- */

static const struct {
    u16 at;
    u8 size;
    u32 value, writable;
} layout[] = {
    { PCI_VENDOR_ID, 2, VT_VENDOR },
    { PCI_DEVICE_ID, 2, VT_DEVICE },
    { PCI_COMMAND, 2, 0,
      PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_PARITY | PCI_COMMAND_SERR |
          PCI_COMMAND_INTX_DISABLE },
    { PCI_STATUS, 2, PCI_STATUS_CAP_LIST },
    { PCI_CLASS_REVISION, 4, VT_CLASS << 8 | 1 },
    { PCI_CACHE_LINE_SIZE, 1, 0, 0xff },
    { PCI_BASE_ADDRESS_0, 4, 0, ~(VT_BAR0_SIZE - 1) },
    { PCI_BASE_ADDRESS_2, 4, PCI_BASE_ADDRESS_MEM_TYPE_64 | PCI_BASE_ADDRESS_MEM_PREFETCH,
      ~(VT_BAR2_SIZE - 1) },
    { PCI_BASE_ADDRESS_3, 4, 0, ~0U },
    { PCI_BASE_ADDRESS_4, 4, 0, ~(VT_BAR4_SIZE - 1) },
    { PCI_SUBSYSTEM_VENDOR_ID, 2, VT_VENDOR },
    { PCI_SUBSYSTEM_ID, 2, 1 },
    { PCI_CAPABILITY_LIST, 1, MSIX_CAP },
    { PCI_INTERRUPT_LINE, 1, 0, 0xff },
    { MSIX_CAP, 2, PCI_CAP_ID_MSIX | PCIE_CAP << 8 },
    { MSIX_CAP + PCI_MSIX_FLAGS, 2, VT_VECTORS - 1,
      PCI_MSIX_FLAGS_MASKALL | PCI_MSIX_FLAGS_ENABLE },
    { MSIX_CAP + PCI_MSIX_TABLE, 4, 4 },
    { MSIX_CAP + PCI_MSIX_PBA, 4, VT_PBA | 4 },
    { PCIE_CAP, 2, PCI_CAP_ID_EXP },
    { PCIE_CAP + PCI_EXP_FLAGS, 2, 2 | PCI_EXP_TYPE_ENDPOINT << 4 },
    { PCIE_CAP + PCI_EXP_DEVCAP, 4, PCI_EXP_DEVCAP_RBER },
    { PCIE_CAP + PCI_EXP_DEVCTL, 2, PCI_EXP_DEVCTL_RELAX_EN, 0x7fff },
    { PCIE_CAP + PCI_EXP_LNKCAP, 4, 1 | 1 << 4 },
    { PCIE_CAP + PCI_EXP_LNKSTA, 2, 1 | 1 << 4 },
};

static u8 writable[VT_CONFIG_SIZE];

static void config_reset(struct vt_device *vt)
{
    memset(vt->config, 0, sizeof(vt->config));
    for (unsigned int i = 0; i < ARRAY_SIZE(layout); i++) {
        memcpy(vt->config + layout[i].at, &layout[i].value, layout[i].size);
        memcpy(writable + layout[i].at, &layout[i].writable, layout[i].size);
    }
}

static u16 command(struct vt_device *vt)
{
    return *(u16 *)(vt->config + PCI_COMMAND);
}

static ssize_t config_rw(struct vt_device *vt, u8 *data, size_t count, u64 at, bool write)
{
    if (!write) {
        memcpy(data, vt->config + at, count);
        return count;
    }
    for (size_t i = 0; i < count; i++) {
        u8 mask = writable[at + i];

        vt->config[at + i] = (vt->config[at + i] & ~mask) | (data[i] & mask);
    }
    vt_engine_kick(vt);
    return count;
}

/* ---- BAR 0 ---- */

static bool plain(u64 at)
{
    return (at >= VT_LIST && at < VT_ACK) || at == VT_ACK + 8;
}

static void register_write(struct vt_device *vt, u64 at, const u8 *data, size_t size)
{
    u32 value;

    memcpy(&value, data, sizeof(value));
    if (at == VT_COMMAND)
        vt_command(vt, value);
    else if (at == VT_ACK && value < VT_VECTORS)
        vt_ack(vt, value);
    else if (plain(at) && plain(at + size - 4))
        memcpy((u8 *)&vt->regs + at, data, size);
    vt_engine_kick(vt);
}

static void register_read(struct vt_device *vt, u64 at, u8 *data, size_t size)
{
    vt->regs.status = vt->regs.status & VT_STATUS_STARTED;
    if (vt->regs.status && vt_engine_allowed(vt))
        vt->regs.status |= VT_STATUS_MOVING;
    if (at >= VT_RECORDS)
        memcpy(data, (u8 *)vt->records + (at - VT_RECORDS), size);
    else if (at + size <= sizeof(vt->regs))
        memcpy(data, (u8 *)&vt->regs + at, size);
    else
        memset(data, 0, size);
}

static ssize_t bar0_rw(struct vt_device *vt, u8 *data, size_t count, u64 at, bool write)
{
    if ((count != 4 && count != 8) || at % count)
        return -EINVAL;
    if (!vt_accessible(vt)) {
        vt->regs.misuse++;
        return -EIO;
    }
    if (write)
        register_write(vt, at, data, count);
    else
        register_read(vt, at, data, count);
    return count;
}

/* ---- the other BARs ---- */

static ssize_t bar2_rw(struct vt_device *vt, u8 *data, size_t count, u64 at, bool write)
{
    u8 *memory = page_address(vt->bar2[at / PAGE_SIZE]) + offset_in_page(at);

    count = min(count, PAGE_SIZE - offset_in_page(at));
    if (write)
        memcpy(memory, data, count);
    else
        memcpy(data, memory, count);
    return count;
}

/* As vfio-pci has it, the table reads as ones and keeps nothing. */
static ssize_t bar4_rw(struct vt_device *vt, u8 *data, size_t count, u64 at, bool write)
{
    if (write)
        return count;
    if (at < VT_PBA) {
        memset(data, 0xff, count);
    } else {
        memset(data, 0, count);
        for (size_t i = 0; i < count && at - VT_PBA + i < sizeof(vt->regs.pending); i++)
            data[i] = ((u8 *)&vt->regs.pending)[at - VT_PBA + i];
    }
    return count;
}

static const struct {
    u64 size;
    u32 flags;
    ssize_t (*rw)(struct vt_device *vt, u8 *data, size_t count, u64 at, bool write);
} regions[VFIO_PCI_NUM_REGIONS] = {
    [VFIO_PCI_BAR0_REGION_INDEX] = { VT_BAR0_SIZE, 0, bar0_rw },
    [VFIO_PCI_BAR2_REGION_INDEX] = { VT_BAR2_SIZE, VFIO_REGION_INFO_FLAG_MMAP, bar2_rw },
    [VFIO_PCI_BAR4_REGION_INDEX] = { VT_BAR4_SIZE, 0, bar4_rw },
    [VFIO_PCI_CONFIG_REGION_INDEX] = { VT_CONFIG_SIZE, 0, config_rw },
};

static ssize_t region_rw(struct vt_device *vt, u8 *data, size_t count, u64 pos, bool write)
{
    unsigned int index = pos >> SHIFT;
    u64 at = pos & (OFFSET(1) - 1);

    if (index >= VFIO_PCI_NUM_REGIONS || !regions[index].rw)
        return -EINVAL;
    if (at >= regions[index].size || count > regions[index].size - at)
        return -EFAULT;
    if (index != VFIO_PCI_CONFIG_REGION_INDEX && !(command(vt) & PCI_COMMAND_MEMORY))
        return -EIO;
    return regions[index].rw(vt, data, count, at, write);
}

/* In naturally aligned pieces of up to 8 bytes, as a bus would. */
static ssize_t access(struct vfio_device *vdev, char __user *buf, size_t count, loff_t *ppos,
                      bool write)
{
    struct vt_device *vt = to_vt(vdev);
    size_t done = 0;

    while (done < count) {
        size_t piece = min_t(size_t, 8, rounddown_pow_of_two(count - done));
        u8 data[8] = {};
        ssize_t ret;

        while (*ppos % piece)
            piece /= 2;
        if (write && copy_from_user(data, buf + done, piece))
            return -EFAULT;
        mutex_lock(&vt->lock);
        ret = region_rw(vt, data, piece, *ppos, write);
        mutex_unlock(&vt->lock);
        if (ret < 0)
            return done ? done : ret;
        if (!write && copy_to_user(buf + done, data, ret))
            return -EFAULT;
        done += ret;
        *ppos += ret;
    }
    return done;
}

static ssize_t vt_read(struct vfio_device *vdev, char __user *buf, size_t count, loff_t *ppos)
{
    return access(vdev, buf, count, ppos, false);
}

static ssize_t vt_write(struct vfio_device *vdev, const char __user *buf, size_t count,
                        loff_t *ppos)
{
    return access(vdev, (char __user *)buf, count, ppos, true);
}

/* ---- BAR 2, mapped: ordinary pages, so that they can be pinned and be the target of DMA ---- */

static vm_fault_t bar2_fault(struct vm_fault *vmf)
{
    struct vt_device *vt = vmf->vma->vm_private_data;
    unsigned long index = vmf->pgoff - (OFFSET(VFIO_PCI_BAR2_REGION_INDEX) >> PAGE_SHIFT);

    if (index >= ARRAY_SIZE(vt->bar2))
        return VM_FAULT_SIGBUS;
    vmf->page = vt->bar2[index];
    get_page(vmf->page);
    return 0;
}

static const struct vm_operations_struct bar2_vm_ops = {
    .fault = bar2_fault,
};

static int vt_mmap(struct vfio_device *vdev, struct vm_area_struct *vma)
{
    u64 at = (u64)vma->vm_pgoff << PAGE_SHIFT, index = at >> SHIFT;

    at &= OFFSET(1) - 1;
    if (index != VFIO_PCI_BAR2_REGION_INDEX || !(vma->vm_flags & VM_SHARED) ||
        at + (vma->vm_end - vma->vm_start) > VT_BAR2_SIZE)
        return -EINVAL;
    vma->vm_private_data = to_vt(vdev);
    vma->vm_ops = &bar2_vm_ops;
    vm_flags_set(vma, VM_DONTEXPAND | VM_DONTDUMP);
    return 0;
}

/* ---- ioctls ---- */

static int get_info(struct vfio_device_info __user *arg)
{
    const unsigned long minsz = offsetofend(struct vfio_device_info, num_irqs);
    struct vfio_device_info info;

    if (copy_from_user(&info, arg, minsz))
        return -EFAULT;
    if (info.argsz < minsz)
        return -EINVAL;
    info.flags = VFIO_DEVICE_FLAGS_PCI | VFIO_DEVICE_FLAGS_RESET;
    info.num_regions = VFIO_PCI_NUM_REGIONS;
    info.num_irqs = VFIO_PCI_NUM_IRQS;
    return copy_to_user(arg, &info, minsz) ? -EFAULT : 0;
}

static int get_region_info(struct vfio_device *vdev, struct vfio_region_info *info,
                           struct vfio_info_cap *caps)
{
    if (info->index >= VFIO_PCI_NUM_REGIONS)
        return -EINVAL;
    info->offset = OFFSET(info->index);
    info->size = regions[info->index].size;
    info->flags = regions[info->index].flags;
    if (info->size)
        info->flags |= VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
    return 0;
}

/*
 * Under the lock.  Configuration space stays as it is, for so does that of a device of vfio-pci: the
 * kernel restores it.
 */
void vt_reset(struct vt_device *vt)
{
    u64 misuse = vt->regs.misuse;

    vt_migration_reset(vt);
    memset(&vt->regs, 0, sizeof(vt->regs));
    vt->regs.id = VT_ID_VALUE;
    vt->regs.misuse = misuse;
    memset(vt->records, 0, VT_MAX_PAGES * sizeof(u64));
    vt->credit = vt->state_credit = 0;
    vt_blob_resize(&vt->blob, 0);
}

static long vt_ioctl(struct vfio_device *vdev, unsigned int cmd, unsigned long arg)
{
    struct vt_device *vt = to_vt(vdev);

    switch (cmd) {
    case VFIO_DEVICE_GET_INFO:
        return get_info((void __user *)arg);
    case VFIO_DEVICE_GET_IRQ_INFO:
        return vt_irq_info(vt, (void __user *)arg);
    case VFIO_DEVICE_SET_IRQS:
        return vt_set_irqs(vt, (void __user *)arg);
    case VFIO_DEVICE_RESET:
        mutex_lock(&vt->lock);
        vt_reset(vt);
        mutex_unlock(&vt->lock);
        return 0;
    default:
        return -ENOTTY;
    }
}

/* ---- life ---- */

static int vt_open(struct vfio_device *vdev)
{
    struct vt_device *vt = to_vt(vdev);

    mutex_lock(&vt->lock);
    config_reset(vt);
    vt_reset(vt);
    vt->open = true;
    mutex_unlock(&vt->lock);
    return 0;
}

static void vt_close(struct vfio_device *vdev)
{
    struct vt_device *vt = to_vt(vdev);

    mutex_lock(&vt->lock);
    vt->open = false;
    vt_irqs_disable(vt);
    for (unsigned int i = 0; i < 2; i++) {
        struct eventfd_ctx **trigger = i ? &vt->err : &vt->req;

        if (*trigger)
            eventfd_ctx_put(*trigger);
        *trigger = NULL;
    }
    vt_log_clear(&vt->log);
    vt_reset(vt);
    for (unsigned int i = 0; i < ARRAY_SIZE(vt->bar2); i++)
        clear_page(page_address(vt->bar2[i]));
    mutex_unlock(&vt->lock);
    cancel_delayed_work_sync(&vt->engine);
}

static void vt_request(struct vfio_device *vdev, unsigned int count)
{
    struct vt_device *vt = to_vt(vdev);

    mutex_lock(&vt->lock);
    if (vt->req)
        eventfd_signal(vt->req);
    mutex_unlock(&vt->lock);
}

const struct vfio_device_ops vt_ops = {
    .name = "vtest-vfio",
    .open_device = vt_open,
    .close_device = vt_close,
    .read = vt_read,
    .write = vt_write,
    .mmap = vt_mmap,
    .ioctl = vt_ioctl,
    .get_region_info_caps = get_region_info,
    .request = vt_request,
    .bind_iommufd = vfio_iommufd_physical_bind,
    .unbind_iommufd = vfio_iommufd_physical_unbind,
    .attach_ioas = vfio_iommufd_physical_attach_ioas,
    .detach_ioas = vfio_iommufd_physical_detach_ioas,
};
