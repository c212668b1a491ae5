/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where things lie.  Below 4 GiB RAM ends at 0xb0000000 at most, or at 2 GiB once it does not fit
 * there (QEMU's rule for q35, so that RAM above starts on a huge page of its file); the rest of RAM
 * is at 4 GiB.  AMD's IOMMUs keep 0xfd00000000 … 1 TiB for HyperTransport: RAM that would reach
 * into it starts at 1 TiB instead, as a device could not DMA there.
 *
 * The 64-bit PCI window follows RAM as low as it can: a guest's struct pages for BARs (peer to peer
 * DMA) have a limit not far above RAM.  8 TiB are room for thirty GPUs with BARs of 256 GiB; 2^47
 * is what every IOMMU with 48 bits and any guest with four levels of page tables can address.
 */
#include "hw/x86/x86.h"

#include "util/error.h"

#define GIB            (1ULL << 30)
#define HT_HOLE        0xfd00000000ULL
#define HT_HOLE_END    (1ULL << 40)
#define LOW_RAM_MAX    0xb0000000ULL
#define LOW_RAM_SPLIT  0x80000000ULL
#define MEM64_MAX      (8ULL << 40)
#define MEM64_MAX_BITS 47
#define RAM_MIN        (16ULL << 20)

/* What is between the two, in whole GiB. */
static PCIWindow fit_window(uint64_t start, uint64_t end)
{
    start = (start + GIB - 1) & -GIB;
    end &= -GIB;
    return start < end ? (PCIWindow) { start, MIN(end - start, MEM64_MAX) } : (PCIWindow) { 0, 0 };
}

static PCIWindow place_mem64(uint64_t ram_end, unsigned phys_bits, bool amd)
{
    uint64_t limit = 1ULL << MIN(phys_bits, MEM64_MAX_BITS);
    PCIWindow low, high;

    if (!amd || limit <= HT_HOLE) {
        return fit_window(ram_end, limit);
    }
    low = fit_window(ram_end, HT_HOLE);
    high = fit_window(MAX(ram_end, HT_HOLE_END), limit);
    return high.size > low.size ? high : low;
}

bool x86_memory_layout(X86Memory *mem, uint64_t ram_size, unsigned phys_bits, bool amd,
                       GError **errp)
{
    uint64_t low_end, ram_end;

    if (ram_size < RAM_MIN) {
        return error_set(errp,
                         "-m: %" G_GUINT64_FORMAT " bytes are too little, %u MiB is the least",
                         ram_size, (unsigned)(RAM_MIN >> 20));
    }
    if (ram_size & 0xfff) {
        return error_set(errp, "-m: %" G_GUINT64_FORMAT " bytes are no whole number of pages",
                         ram_size);
    }
    *mem = (X86Memory) {
        .ram_size = ram_size,
        .below_4g = ram_size < LOW_RAM_MAX ? ram_size : LOW_RAM_SPLIT,
        .above_4g_base = X86_4G,
    };
    mem->above_4g = ram_size - mem->below_4g;
    if (amd && mem->above_4g > HT_HOLE - X86_4G) {
        mem->above_4g_base = HT_HOLE_END;
    }
    if (__builtin_add_overflow(mem->above_4g_base, mem->above_4g, &ram_end) ||
        (mem->above_4g && ram_end > 1ULL << MIN(phys_bits, 52))) {
        return error_set(errp,
                         "-m: RAM of %" G_GUINT64_FORMAT
                         " MiB does not fit into the CPU's %u physical address bits",
                         ram_size >> 20, phys_bits);
    }
    if (!mem->above_4g) {
        ram_end = X86_4G;
    }
    low_end = mem->below_4g <= LOW_RAM_SPLIT ? LOW_RAM_SPLIT : LOW_RAM_MAX;
    mem->mem32[0] = (PCIWindow) { low_end, X86_ECAM_BASE - low_end };
    mem->mem32[1] = (PCIWindow) { X86_ECAM_BASE + X86_ECAM_SIZE,
                                  X86_MEM32_END - X86_ECAM_BASE - X86_ECAM_SIZE };
    mem->mem64 = place_mem64(ram_end, phys_bits, amd);
    return true;
}

uint8_t *x86_memory_ptr(const X86Memory *mem, uint64_t addr, uint64_t len)
{
    if (addr <= mem->below_4g && len <= mem->below_4g - addr) {
        return mem->ram + addr;
    }
    if (addr >= mem->above_4g_base && addr - mem->above_4g_base <= mem->above_4g &&
        len <= mem->above_4g - (addr - mem->above_4g_base)) {
        return mem->ram + mem->below_4g + (addr - mem->above_4g_base);
    }
    return NULL;
}

int x86_map_intx(int slot, int pin)
{
    return 16 + ((slot + pin) & 7);
}

uint8_t x86_checksum(const void *data, size_t len)
{
    const uint8_t *p = data;
    uint8_t sum = 0;

    for (size_t i = 0; i < len; i++) {
        sum = (uint8_t)(sum + p[i]);
    }
    return (uint8_t)-sum;
}
