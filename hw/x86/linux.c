/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bzImage by its 64-bit entry point (Linux Documentation/arch/x86/boot.rst, "64-bit boot
 * protocol"): the header goes into boot_params, the rest of the file to where it prefers to run,
 * and the processor starts in long mode with the first 4 GiB mapped one to one.
 */
#include "hw/x86/loader.h"

#include <asm/bootparam.h>
#include <string.h>

#include "util/error.h"

#define HEADER_OFFSET 0x1f1
#define HEADER_MAGIC  0x53726448 /* "HdrS" */
#define ENTRY_64      0x200

G_STATIC_ASSERT(offsetof(struct boot_params, hdr) == HEADER_OFFSET);
G_STATIC_ASSERT(E820_ENTRIES <= E820_MAX_ENTRIES_ZEROPAGE);

static struct setup_header header_of(const uint8_t *head)
{
    struct setup_header hdr;

    memcpy(&hdr, head + HEADER_OFFSET, sizeof(hdr));
    return hdr;
}

bool linux_probe(const uint8_t *head)
{
    struct setup_header hdr = header_of(head);

    return hdr.boot_flag == 0xaa55 && hdr.header == HEADER_MAGIC && hdr.version >= 0x20c &&
           hdr.xloadflags & XLF_KERNEL_64 && hdr.loadflags & LOADED_HIGH;
}

/* Where it prefers to be or, if that is not RAM and it does not mind, as low as it can. */
static bool place_kernel(const X86Boot *boot, const struct setup_header *hdr, uint64_t size,
                         uint64_t *addr, GError **errp)
{
    uint64_t align = MAX(hdr->kernel_alignment, 4096);

    *addr = hdr->pref_address;
    if (boot_kernel_fits(boot, *addr, size)) {
        return true;
    }
    if (align & (align - 1)) {
        return error_set(errp, "kernel '%s' wants an alignment of 0x%" G_GINT64_MODIFIER "x",
                         boot->kernel.name, align);
    }
    *addr = (X86_1M + align - 1) & -align;
    return (hdr->relocatable_kernel && boot_kernel_fits(boot, *addr, size)) ||
           error_set(errp,
                     "kernel '%s' needs 0x%" G_GINT64_MODIFIER
                     "x bytes of RAM from 0x%" G_GINT64_MODIFIER
                     "x on, the machine's low RAM ends at 0x%" G_GINT64_MODIFIER "x",
                     boot->kernel.name, size,
                     hdr->relocatable_kernel ? *addr : (uint64_t)hdr->pref_address, boot->reserved);
}

/* One PML4 entry, four page directories of 2 MiB pages: not every processor has 1 GiB pages. */
static uint64_t build_page_tables(const X86Boot *boot)
{
    uint64_t *pml4 = boot_low_memory(boot, BOOT_PAGE_TABLES, 6 * 4096);
    uint64_t *pdpt = pml4 + 512, *pd = pdpt + 512;

    pml4[0] = (BOOT_PAGE_TABLES + 0x1000) | 3;
    for (unsigned i = 0; i < 4; i++) {
        pdpt[i] = (BOOT_PAGE_TABLES + 0x2000 + i * 0x1000) | 3;
    }
    for (unsigned i = 0; i < 4 * 512; i++) {
        pd[i] = (uint64_t)i << 21 | 0x83;
    }
    return BOOT_PAGE_TABLES;
}

static void build_boot_params(const X86Boot *boot, const uint8_t *head, uint64_t kernel,
                              uint64_t initrd)
{
    struct boot_params *bp = boot_low_memory(boot, BOOT_PARAMS, sizeof(*bp));
    uint64_t initrd_size = initrd ? boot->initrd.size : 0;
    /* The header ends where its second byte's jump goes to; what we do not know of it stays out. */
    size_t end = 0x202U + head[0x201];

    memcpy(&bp->hdr, head + HEADER_OFFSET, MIN(end - HEADER_OFFSET, sizeof(bp->hdr)));
    bp->hdr.type_of_loader = 0xff; /* one without a number */
    bp->hdr.vid_mode = 0xffff;     /* as it is */
    bp->hdr.code32_start = (uint32_t)kernel;
    bp->hdr.cmd_line_ptr = BOOT_CMDLINE;
    bp->hdr.ramdisk_image = (uint32_t)initrd;
    bp->ext_ramdisk_image = (uint32_t)(initrd >> 32);
    bp->hdr.ramdisk_size = (uint32_t)initrd_size;
    bp->ext_ramdisk_size = (uint32_t)(initrd_size >> 32);
    bp->acpi_rsdp_addr = X86_RSDP;
    bp->e820_entries = (uint8_t)boot->nr_e820;
    for (unsigned i = 0; i < boot->nr_e820; i++) {
        const E820Entry *e = &boot->e820[i];

        bp->e820_table[i] = (struct boot_e820_entry) { e->addr, e->size, e->type };
    }
}

bool linux_load(X86Boot *boot, const uint8_t *head, X86BootState *state, GError **errp)
{
    struct setup_header hdr = header_of(head);
    uint64_t setup = ((hdr.setup_sects ?: 4) + 1ULL) * 512;
    uint64_t code = (uint64_t)hdr.syssize * 16, kernel, initrd;
    bool high = hdr.xloadflags & XLF_CAN_BE_LOADED_ABOVE_4G;

    /* The last paragraph may be short, and a signature may follow. */
    if (boot->kernel.size <= setup + ENTRY_64 || boot->kernel.size - setup + 15 < code) {
        return error_set(
            errp, "kernel '%s' is truncated: %" G_GUINT64_FORMAT " bytes of %" G_GUINT64_FORMAT,
            boot->kernel.name, boot->kernel.size, setup + code);
    }
    code = MIN(code, boot->kernel.size - setup);
    if (!place_kernel(boot, &hdr, MAX(hdr.init_size, code), &kernel, errp) ||
        !boot_load_kernel_part(boot, kernel, code, setup, errp) ||
        !boot_load_initrd(boot, kernel + MAX(hdr.init_size, code), hdr.initrd_addr_max + 1ULL, high,
                          &initrd, errp) ||
        !boot_load_cmdline(boot, hdr.cmdline_size, errp)) {
        return false;
    }
    build_boot_params(boot, head, kernel, initrd);
    *state = (X86BootState) {
        .long_mode = true,
        .rip = kernel + ENTRY_64,
        .rsp = BOOT_STACK,
        .rsi = BOOT_PARAMS,
        .cr3 = build_page_tables(boot),
    };
    boot_build_gdt(boot, state);
    return true;
}
