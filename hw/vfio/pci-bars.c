/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * BARs of a vfio-pci device.  A BAR is a container that the guest places.  At its bottom is a
 * region that traps all of it and goes to the device by pread and pwrite; above are the parts that
 * the kernel lets us map, which the guest reaches without an exit; above those the MSI-X table and
 * pending bits (hw/pci/msix.c).
 *
 * What is emulated is not mapped, to whole pages: such a page must trap anyway, and what else is in
 * it goes to the device by the trapping region, in accesses of just the guest's width.
 *
 * All maps of a BAR lie in one piece of reserved address space, each at its own offset.  Where that
 * piece is aligned like the BAR itself, the kernel and KVM can use huge pages for it.
 */
#include "hw/vfio/pci.h"

#include <errno.h>
#include <inttypes.h>
#include <sys/mman.h>

#include "util/error.h"
#include "util/hostcalls.h"
#include "util/trace.h"

#define HUGE_PAGE     (UINT64_C(2) << 20)
#define MAX_ALIGNMENT (UINT64_C(1) << 30)

static VFIORegion *bar_region(VFIOBAR *bar)
{
    return &bar->vdev->vbasedev->regions[bar->nr];
}

/* ---- trapped accesses ---- */

static void access_failed(VFIOBAR *bar, const char *what, uint64_t addr, unsigned size)
{
    int saved = errno;

    TRACE("vfio_region_failed", "%s %s 0x%" PRIx64 " size %u: %s", bar->mr.name, what, addr, size,
          g_strerror(saved));
    if (!bar->failed) { /* a guest can have as many of them as it likes */
        bar->failed = true;
        warn_report("vfio %s: %s of %u bytes at 0x%" PRIx64 " failed: %s", bar->mr.name, what, size,
                    addr, g_strerror(saved));
    }
}

/* A vCPU may be on its way here from an older view of memory when the device goes. */
static uint64_t vfio_region_trap_read(void *opaque, uint64_t addr, unsigned size)
{
    VFIOBAR *bar = opaque;
    uint64_t data = 0;

    if (!bar->vdev->vbasedev) {
        return UINT64_MAX;
    }
    if (!vfio_region_read(bar->vdev->vbasedev, bar->nr, addr, &data, size)) {
        access_failed(bar, "read", addr, size);
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

    if (!bar->vdev->vbasedev) {
        return;
    }
    TRACE("vfio_region_write", "%s 0x%" PRIx64 " size %u: 0x%" PRIx64, bar->mr.name, addr, size,
          data);
    data = GUINT64_TO_LE(data);
    if (!vfio_region_write(bar->vdev->vbasedev, bar->nr, addr, &data, size)) {
        access_failed(bar, "write", addr, size);
    }
}

static const MemoryRegionOps vfio_region_ops = {
    .read = vfio_region_trap_read,
    .write = vfio_region_trap_write,
};

/* ---- mapped parts ---- */

static void add_mmap(GArray *mmaps, uint64_t first, uint64_t end)
{
    if (first < end) {
        VFIOMmap m = { .offset = first, .size = end - first };

        g_array_append_val(mmaps, m);
    }
}

/* Takes the pages of [first, end) out of all maps. */
static void carve(GArray **mmaps, uint64_t first, uint64_t end)
{
    GArray *old = *mmaps;
    uint64_t page = (uint64_t)getpagesize();

    first &= ~(page - 1);
    end = (end + page - 1) & ~(page - 1);
    *mmaps = g_array_new(FALSE, TRUE, sizeof(VFIOMmap));
    for (guint i = 0; i < old->len; i++) {
        const VFIOMmap *m = &g_array_index(old, VFIOMmap, i);
        uint64_t m_end = m->offset + m->size;

        add_mmap(*mmaps, m->offset, MIN(m_end, first));
        add_mmap(*mmaps, MAX(m->offset, end), m_end);
    }
    g_array_unref(old);
}

/* What takes reads or writes only must trap: a map cannot refuse the others without a signal. */
static bool may_map(VFIOBAR *bar)
{
    const uint32_t rw = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;

    return !bar->vdev->no_mmap && (bar_region(bar)->flags & rw) == rw;
}

static void choose_mmaps(VFIOBAR *bar)
{
    const VFIOMSIXInfo *msix = &bar->vdev->msix;
    const VFIORegion *region = bar_region(bar);
    GArray *mmaps = g_array_new(FALSE, TRUE, sizeof(VFIOMmap));

    for (unsigned i = 0; i < region->nr_areas && may_map(bar); i++) {
        add_mmap(mmaps, region->areas[i].offset, region->areas[i].offset + region->areas[i].size);
    }
    if (msix->cap && msix->table_bar == bar->nr) {
        carve(&mmaps, msix->table_offset,
              msix->table_offset + (uint64_t)msix->entries * PCI_MSIX_ENTRY_SIZE);
    }
    if (msix->cap && msix->pba_bar == bar->nr) {
        carve(&mmaps, msix->pba_offset, msix->pba_offset + (msix->entries + 63) / 64 * 8);
    }
    g_free(bar->mmaps);
    bar->nr_mmaps = mmaps->len;
    bar->mmaps = (VFIOMmap *)(void *)g_array_free(mmaps, FALSE);
}

/* Address space for the whole BAR; where in it the BAR's offset 0 is. */
static char *reserve(VFIOBAR *bar, uint64_t size, GError **errp)
{
    uint64_t alignment = size >= HUGE_PAGE ? MIN(size, MAX_ALIGNMENT) : 0;
    void *p;

    if (size > SIZE_MAX - alignment) {
        error_set(errp, "BAR %u is too large for this process", bar->nr);
        return NULL;
    }
    p = hostcalls->mmap(NULL, size + alignment, PROT_NONE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) {
        error_set_errno(errp, errno, "cannot reserve address space for BAR %u", bar->nr);
        return NULL;
    }
    bar->reserved = p;
    bar->reserved_size = size + alignment;
    return alignment ? (char *)(((uintptr_t)p + alignment - 1) & ~(uintptr_t)(alignment - 1)) : p;
}

static bool vfio_region_mmap(VFIOBAR *bar, GError **errp)
{
    const VFIORegion *region = bar_region(bar);
    char *base;

    choose_mmaps(bar);
    if (!bar->nr_mmaps) {
        return true;
    }
    base = reserve(bar, region->size, errp);
    if (!base) {
        bar->nr_mmaps = 0;
        return false;
    }
    for (unsigned i = 0; i < bar->nr_mmaps; i++) {
        VFIOMmap *m = &bar->mmaps[i];
        g_autofree char *name = g_strdup_printf("%s mmaps[%u]", bar->mr.name, i);

        if (hostcalls->mmap(base + m->offset, m->size, PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_FIXED, bar->vdev->vbasedev->fd,
                            (off_t)(region->offset + m->offset)) == MAP_FAILED) {
            error_set_errno(errp, errno, "cannot map 0x%" PRIx64 "+0x%" PRIx64 " of BAR %u",
                            m->offset, m->size, bar->nr);
            bar->nr_mmaps = i;
            return false;
        }
        TRACE("vfio_region_mmap", "%s 0x%" PRIx64 "+0x%" PRIx64 " at %p", name, m->offset, m->size,
              (void *)(base + m->offset));
        memory_region_init_ram_device(&m->mr, G_OBJECT(bar->vdev), name, base + m->offset, m->size,
                                      -1, 0);
        memory_region_add_child(&bar->mr, m->offset, &m->mr, 1);
    }
    return true;
}

/* ---- life ---- */

/* The register's type bits, and whether the BAR takes the next register too. */
static bool check_type(VFIOBAR *bar, uint32_t reg, uint8_t *type, GError **errp)
{
    uint64_t size = bar_region(bar)->size;
    bool io = reg & PCI_BASE_ADDRESS_SPACE_IO, is_64bit;

    *type = (uint8_t)(io ? PCI_BASE_ADDRESS_SPACE_IO
                         : reg & (PCI_BASE_ADDRESS_MEM_TYPE_MASK | PCI_BASE_ADDRESS_MEM_PREFETCH));
    is_64bit = !io && (reg & PCI_BASE_ADDRESS_MEM_TYPE_MASK) == PCI_BASE_ADDRESS_MEM_TYPE_64;
    if (size & (size - 1) || size < (io ? 4 : 16) || (!is_64bit && size > UINT32_MAX / 2 + 1ULL) ||
        (io && size > 0x10000)) {
        return error_set(errp, "BAR %u cannot be of 0x%" PRIx64 " bytes", bar->nr, size);
    }
    if (is_64bit &&
        (bar->nr == PCI_NUM_BARS - 1 || bar->vdev->vbasedev->regions[bar->nr + 1].size)) {
        return error_set(errp, "64-bit BAR %u has no room for its upper half", bar->nr);
    }
    return true;
}

static bool bar_init(VFIOBAR *bar, uint32_t reg, GError **errp)
{
    VFIOPCIDevice *vdev = bar->vdev;
    const VFIORegion *region = bar_region(bar);
    g_autofree char *name = g_strdup_printf("%s BAR %u", vdev->vbasedev->name, bar->nr);
    uint8_t type;

    if (!region->size) {
        return true;
    }
    if (!check_type(bar, reg, &type, errp)) {
        return false;
    }
    memory_region_init(&bar->mr, G_OBJECT(vdev), name, region->size);
    memory_region_init_io(&bar->trap, G_OBJECT(vdev), &vfio_region_ops, bar, name, region->size);
    memory_region_add_child(&bar->mr, 0, &bar->trap, 0);
    if (!vfio_region_mmap(bar, errp)) {
        return false;
    }
    pci_register_bar(&vdev->parent, (int)bar->nr, type, &bar->mr);
    return true;
}

static void bar_fini(VFIOBAR *bar)
{
    if (!bar->mr.size) {
        return;
    }
    for (unsigned i = 0; i < bar->nr_mmaps; i++) {
        memory_region_del_child(&bar->mr, &bar->mmaps[i].mr);
        memory_region_fini(&bar->mmaps[i].mr);
    }
    memory_region_del_child(&bar->mr, &bar->trap);
    memory_region_fini(&bar->trap);
    memory_region_fini(&bar->mr);
    if (bar->reserved) {
        hostcalls->munmap(bar->reserved, bar->reserved_size);
        bar->reserved = NULL;
    }
    bar->nr_mmaps = 0;
    bar->mr.size = 0;
}

bool vfio_bars_init(VFIOPCIDevice *vdev, GError **errp)
{
    PCIDevice *pdev = &vdev->parent;
    uint32_t regs[PCI_NUM_BARS];

    for (unsigned i = 0; i < PCI_NUM_BARS; i++) {
        regs[i] = pci_get_long(pdev->config + PCI_BASE_ADDRESS_0 + i * 4);
        pci_set_long(pdev->config + PCI_BASE_ADDRESS_0 + i * 4, 0);
    }
    for (unsigned i = 0; i < PCI_NUM_BARS; i++) {
        vdev->bars[i].vdev = vdev;
        vdev->bars[i].nr = i;
        vdev->bars[i].failed = false;
        if (!bar_init(&vdev->bars[i], regs[i], errp)) {
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
