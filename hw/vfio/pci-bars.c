/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * BARs of a vfio-pci device.  A BAR is a container that the guest places.  At its bottom is a
 * region that traps all of it and goes to the device by pread and pwrite; above are the parts that
 * the kernel lets us map (pci-mmap.c), which the guest reaches without an exit; above those the
 * MSI-X table and pending bits (hw/pci/msix.c).
 */
#include "hw/vfio/pci.h"

#include <inttypes.h>

#include "util/error.h"
#include "util/trace.h"

/* ---- trapped accesses ---- */

/* A vCPU may be on its way here from an older view of memory when the device goes. */
static uint64_t vfio_region_trap_read(void *opaque, uint64_t addr, unsigned size)
{
    VFIOBAR *bar = opaque;
    VFIODevice *vbasedev = bar->vdev->vbasedev;
    uint64_t data = 0;

    if (!vbasedev) {
        return UINT64_MAX;
    }
    if (!vfio_region_read(vbasedev, bar->nr, addr, &data, size)) {
        vfio_region_access_failed(vbasedev, bar->nr, "read", addr, size);
        return UINT64_MAX;
    }
    data = GUINT64_FROM_LE(data);
    TRACE("vfio_region_read", "%s 0x%" PRIx64 " size %u: 0x%" PRIx64, bar->mr.name, addr, size,
          data);
    return data;
}

static void vfio_region_trap_write(void *opaque, uint64_t addr, uint64_t data, unsigned size)
{
    VFIOBAR *bar = opaque;
    VFIODevice *vbasedev = bar->vdev->vbasedev;

    if (!vbasedev) {
        return;
    }
    TRACE("vfio_region_write", "%s 0x%" PRIx64 " size %u: 0x%" PRIx64, bar->mr.name, addr, size,
          data);
    data = GUINT64_TO_LE(data);
    if (!vfio_region_write(vbasedev, bar->nr, addr, &data, size)) {
        vfio_region_access_failed(vbasedev, bar->nr, "write", addr, size);
    }
}

static const MemoryRegionOps vfio_region_ops = {
    .read = vfio_region_trap_read,
    .write = vfio_region_trap_write,
};

/* ---- life ---- */

/* What the device's register @reg says of the BAR. */
static bool bar_prepare(VFIOBAR *bar, uint32_t reg, GError **errp)
{
    const VFIORegion *regions = bar->vdev->vbasedev->regions;
    uint64_t size = regions[bar->nr].size;
    bool io = reg & PCI_BASE_ADDRESS_SPACE_IO, is_64bit;

    bar->size = size;
    if (!size) {
        bar->type = 0;
        return true;
    }
    bar->type =
        (uint8_t)(io ? PCI_BASE_ADDRESS_SPACE_IO
                     : reg & (PCI_BASE_ADDRESS_MEM_TYPE_MASK | PCI_BASE_ADDRESS_MEM_PREFETCH));
    is_64bit = !io && (reg & PCI_BASE_ADDRESS_MEM_TYPE_MASK) == PCI_BASE_ADDRESS_MEM_TYPE_64;
    if (size & (size - 1) || size < (io ? 4 : 16) || (!is_64bit && size > UINT32_MAX / 2 + 1ULL) ||
        (io && size > 0x10000)) {
        return error_set(errp, "BAR %u cannot be of 0x%" PRIx64 " bytes", bar->nr, size);
    }
    if (is_64bit && (bar->nr == PCI_NUM_BARS - 1 || regions[bar->nr + 1].size)) {
        return error_set(errp, "64-bit BAR %u has no room for its upper half", bar->nr);
    }
    return true;
}

static bool bar_init(VFIOBAR *bar, GError **errp)
{
    VFIOPCIDevice *vdev = bar->vdev;
    uint64_t of_device = vdev->vbasedev->regions[bar->nr].size;
    g_autofree char *name = vfio_region_name(vdev->vbasedev, bar->nr);

    if (!bar->size) {
        return true;
    }
    memory_region_init(&bar->mr, G_OBJECT(vdev), name, bar->size);
    if (of_device) {
        memory_region_init_io(&bar->trap, G_OBJECT(vdev), &vfio_region_ops, bar, name, of_device);
        memory_region_add_child(&bar->mr, 0, &bar->trap, 0);
        if (!vfio_bar_mmap(bar, errp)) {
            return false;
        }
    }
    pci_register_bar(&vdev->parent, (int)bar->nr, bar->type, &bar->mr);
    return true;
}

static void bar_fini(VFIOBAR *bar)
{
    if (!bar->mr.size) {
        return;
    }
    vfio_bar_munmap(bar);
    if (bar->trap.size) {
        memory_region_del_child(&bar->mr, &bar->trap);
        memory_region_fini(&bar->trap);
    }
    memory_region_fini(&bar->mr);
    bar->trap.size = bar->mr.size = 0;
}

bool vfio_bars_init(VFIOPCIDevice *vdev, GError **errp)
{
    for (unsigned i = 0; i < PCI_NUM_BARS; i++) {
        uint8_t *reg = vdev->parent.config + PCI_BASE_ADDRESS_0 + i * 4;

        vdev->bars[i].vdev = vdev;
        vdev->bars[i].nr = i;
        if (!bar_prepare(&vdev->bars[i], pci_get_long(reg), errp)) {
            return false;
        }
        pci_set_long(reg, 0);
    }
    if (!vfio_msix_relocate(vdev, errp)) {
        return false;
    }
    for (unsigned i = 0; i < PCI_NUM_BARS; i++) {
        if (!bar_init(&vdev->bars[i], errp)) {
            vfio_bars_fini(vdev);
            return false;
        }
    }
    return true;
}

void vfio_bars_fini(VFIOPCIDevice *vdev)
{
    for (unsigned i = 0; i < PCI_NUM_BARS; i++) {
        bar_fini(&vdev->bars[i]);
        vdev->parent.regions[i].mr = NULL;
    }
}

void vfio_bars_set_enabled(VFIOPCIDevice *vdev, bool enabled)
{
    memory_transaction_begin();
    for (unsigned i = 0; i < PCI_NUM_BARS; i++) {
        VFIOBAR *bar = &vdev->bars[i];

        if (bar->mr.size) {
            memory_region_set_enabled(&bar->mr, enabled);
        }
        if (bar->sub_page) { /* it is not inside that one */
            memory_region_set_enabled(&bar->mmaps[0].mr, enabled);
        }
    }
    memory_transaction_commit();
}
