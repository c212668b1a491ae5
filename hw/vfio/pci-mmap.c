/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The parts of a BAR that the guest reaches without an exit.
 *
 * All maps of a BAR lie in one piece of reserved address space, each at its own offset.  Where that
 * piece is aligned like the BAR itself, the kernel and KVM can use huge pages for it.
 *
 * What is emulated is not mapped, to whole pages: KVM maps whole pages, so such a page must trap
 * anyway, and what else is in it goes to the device by the trapping region, in accesses of just the
 * guest's width.  That the kernel would let us map the MSI-X table therefore helps only where the
 * table was relocated, when nothing in that page is emulated any more.
 *
 * A BAR smaller than a page can be mapped when the guest has put it at the beginning of a page,
 * for the rest of the device's page is nobody's.  The map, a whole page, then lies below all other
 * BARs and shines through where this BAR is; if another one is in that page too, what is left of
 * the map is no whole page, and KVM lets it trap.
 *
 * Each part is also a dma-buf, by which an IOMMU maps it for other devices: peer-to-peer DMA.
 * They are exported when the device comes (one ioctl each, some microseconds) and mapped whenever
 * the guest decodes the BAR, even while there is no second device: one may be plugged at any time,
 * and what it costs is little, the IOMMU's page table being filled with the largest pages that fit.
 * The kernel revokes a dma-buf for as long as the device decodes no memory, and what was mapped of
 * it by then stays dead.  So the order is always: out of the guest's view, which unmaps it
 * everywhere, then the device; and back again in the reverse.
 */
#include "hw/vfio/pci.h"

#include <errno.h>
#include <inttypes.h>
#include <sys/mman.h>

#include "util/error.h"
#include "util/hostcalls.h"
#include "util/trace.h"

#define HUGE_PAGE         (UINT64_C(2) << 20)
#define MAX_ALIGNMENT     (UINT64_C(1) << 30)
#define SUB_PAGE_PRIORITY 0 /* below BARs, which have 1 */

static VFIORegion *bar_region(VFIOBAR *bar)
{
    return &bar->vdev->vbasedev->regions[bar->nr];
}

/* ---- which parts ---- */

static void add_mmap(GArray *mmaps, uint64_t first, uint64_t end)
{
    if (first < end) {
        VFIOMmap m = { .offset = first, .size = end - first, .dmabuf = -1 };

        g_array_append_val(mmaps, m);
    }
}

/* Takes the pages of @offset+@size out of all maps. */
static void carve(GArray **mmaps, uint64_t offset, uint64_t size)
{
    GArray *old = *mmaps;
    uint64_t page = (uint64_t)getpagesize();
    uint64_t first = offset & ~(page - 1), end = (offset + size + page - 1) & ~(page - 1);

    *mmaps = g_array_new(FALSE, TRUE, sizeof(VFIOMmap));
    for (guint i = 0; i < old->len; i++) {
        const VFIOMmap *m = &g_array_index(old, VFIOMmap, i);
        uint64_t m_end = m->offset + m->size;

        add_mmap(*mmaps, m->offset, MIN(m_end, first));
        add_mmap(*mmaps, MAX(m->offset, end), m_end);
    }
    g_array_unref(old);
}

/* What is emulated, or what the kernel does not let us map. */
static void carve_msix(VFIOBAR *bar, GArray **mmaps)
{
    const VFIOMSIXInfo *msix = &bar->vdev->msix;
    uint64_t size = msix_table_size(msix->entries);

    if (!msix->cap) {
        return;
    }
    if (msix->relocated && msix->device_bar == bar->nr && !bar_region(bar)->msix_mappable) {
        carve(mmaps, msix->device_offset, size);
    }
    if (msix->table_bar == bar->nr) {
        carve(mmaps, msix->table_offset, size);
    }
    if (msix->pba_bar == bar->nr) {
        carve(mmaps, msix->pba_offset, msix_pba_size(msix->entries));
    }
}

/* What takes reads or writes only must trap: a map cannot refuse the others without a signal. */
static bool may_map(VFIOBAR *bar)
{
    const uint32_t rw = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;

    return !bar->vdev->no_mmap && !(bar->type & PCI_BASE_ADDRESS_SPACE_IO) &&
           (bar_region(bar)->flags & rw) == rw;
}

static void choose_mmaps(VFIOBAR *bar)
{
    const VFIORegion *region = bar_region(bar);
    GArray *mmaps = g_array_new(FALSE, TRUE, sizeof(VFIOMmap));

    for (unsigned i = 0; i < region->nr_areas && may_map(bar); i++) {
        add_mmap(mmaps, region->areas[i].offset, region->areas[i].offset + region->areas[i].size);
    }
    carve_msix(bar, &mmaps);
    g_free(bar->mmaps);
    bar->nr_mmaps = mmaps->len;
    bar->mmaps = (VFIOMmap *)(void *)g_array_free(mmaps, FALSE);
    bar->sub_page = bar->nr_mmaps && bar->mmaps[0].size > bar->size;
}

/* ---- mapping them ---- */

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

/*
 * Without one the guest lacks nothing but peer-to-peer DMA.  A page that is not all BAR has none;
 * only an iommufd can map it.
 */
static void export(VFIOBAR *bar, VFIOMmap *m, const char *name)
{
    VFIODevice *vbasedev = bar->vdev->vbasedev;
    bool could = !vbasedev->no_dmabuf;
    g_autoptr(GError) err = NULL;

    if (!vbasedev->iommufd || m->offset + m->size > bar_region(bar)->size) {
        return;
    }
    m->dmabuf = vfio_region_export(vbasedev, bar->nr, m->offset, m->size, &err);
    TRACE("vfio_region_dmabuf", "%s fd %d", name, m->dmabuf);
    if (err) {
        warn_report("vfio %s: no DMA from other devices to it: %s", name, err->message);
    } else if (could && vbasedev->no_dmabuf && vfio_device_has_peers(vbasedev)) {
        warn_report("vfio %s: no DMA from other devices to it: the host's kernel, or its driver of "
                    "the device, makes no dma-bufs",
                    name);
    }
}

static bool map_part(VFIOBAR *bar, VFIOMmap *m, char *base, const char *name, GError **errp)
{
    if (hostcalls->mmap(base + m->offset, m->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
                        bar->vdev->vbasedev->fd,
                        (off_t)(bar_region(bar)->offset + m->offset)) == MAP_FAILED) {
        return error_set_errno(errp, errno, "cannot map 0x%" PRIx64 "+0x%" PRIx64 " of BAR %u",
                               m->offset, m->size, bar->nr);
    }
    TRACE("vfio_region_mmap", "%s 0x%" PRIx64 "+0x%" PRIx64 " at %p", name, m->offset, m->size,
          (void *)(base + m->offset));
    export(bar, m, name);
    memory_region_init_ram_device(&m->mr, G_OBJECT(bar->vdev), name, base + m->offset, m->size,
                                  m->dmabuf, 0);
    if (!bar->sub_page) {
        memory_region_add_child(&bar->mr, m->offset, &m->mr, 1);
    }
    return true;
}

bool vfio_bar_mmap(VFIOBAR *bar, GError **errp)
{
    char *base;

    choose_mmaps(bar);
    if (!bar->nr_mmaps) {
        return true;
    }
    base = reserve(bar, MAX(bar_region(bar)->size, bar->mmaps[0].size), errp);
    if (!base) {
        bar->nr_mmaps = 0;
        return false;
    }
    for (unsigned i = 0; i < bar->nr_mmaps; i++) {
        g_autofree char *name = g_strdup_printf("%s mmaps[%u]", bar->mr.name, i);

        if (!map_part(bar, &bar->mmaps[i], base, name, errp)) {
            bar->nr_mmaps = i;
            return false;
        }
    }
    return true;
}

void vfio_bar_munmap(VFIOBAR *bar)
{
    for (unsigned i = 0; i < bar->nr_mmaps; i++) {
        VFIOMmap *m = &bar->mmaps[i];

        if (m->mr.container) {
            memory_region_del_child(m->mr.container, &m->mr);
        }
        memory_region_fini(&m->mr);
        m->mr.fd = -1;
        host_fd_close(&m->dmabuf);
    }
    bar->nr_mmaps = 0;
    bar->sub_page = false;
    if (bar->reserved) {
        hostcalls->munmap(bar->reserved, bar->reserved_size);
        bar->reserved = NULL;
    }
}

/* ---- BARs smaller than a page ---- */

static void move_page(VFIOBAR *bar, const PCIIORegion *r)
{
    MemoryRegion *page = &bar->mmaps[0].mr;
    bool whole = r->addr != PCI_BAR_UNMAPPED && !(r->addr & (bar->mmaps[0].size - 1));

    if (page->container) {
        memory_region_del_child(page->container, page);
    }
    if (whole) {
        memory_region_add_child(r->space, r->addr, page, SUB_PAGE_PRIORITY);
    }
    memory_region_set_enabled(&bar->trap, !whole);
}

void vfio_bars_moved(PCIDevice *pdev)
{
    VFIOPCIDevice *vdev = VFIO_PCI(pdev);

    for (unsigned i = 0; i < PCI_NUM_BARS; i++) {
        if (vdev->bars[i].sub_page) {
            move_page(&vdev->bars[i], &pdev->regions[i]);
        }
    }
}
