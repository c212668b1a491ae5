/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ELF with a PVH note (Xen public/arch-x86/hvm/start_info.h; Linux arch/x86/platform/pvh): the
 * segments go to their physical addresses, the processor starts in flat 32-bit mode at the note's
 * address with ebx pointing to hvm_start_info.
 */
#include "hw/x86/loader.h"

#include <elf.h>
#include <string.h>

#include "util/error.h"

#define PVH_NOTE_NAME "Xen"
#define PVH_NOTE_TYPE 18 /* XEN_ELFNOTE_PHYS32_ENTRY */
#define PVH_MAGIC     0x336ec578
#define PHDRS_MAX     64
#define NOTES_MAX     (64 * 1024)

typedef struct HvmStartInfo {
    uint32_t magic, version, flags, nr_modules;
    uint64_t modlist, cmdline, rsdp, memmap;
    uint32_t memmap_entries, reserved;
} HvmStartInfo;
G_STATIC_ASSERT(sizeof(HvmStartInfo) == 56);

typedef struct HvmModule {
    uint64_t addr, size, cmdline, reserved;
} HvmModule;

typedef struct HvmMemmapEntry {
    uint64_t addr, size;
    uint32_t type, reserved;
} HvmMemmapEntry;

typedef struct PvhPage {
    HvmStartInfo info;
    HvmModule initrd;
    HvmMemmapEntry memmap[E820_ENTRIES];
} PvhPage;
G_STATIC_ASSERT(BOOT_START_INFO + sizeof(PvhPage) <= BOOT_PARAMS);

/* A program header of either class. */
typedef struct Segment {
    uint32_t type;
    uint64_t offset, paddr, filesz, memsz, align;
} Segment;

bool pvh_probe(const uint8_t *head)
{
    return !memcmp(head, ELFMAG, SELFMAG) && head[EI_DATA] == ELFDATA2LSB &&
           (head[EI_CLASS] == ELFCLASS64 || head[EI_CLASS] == ELFCLASS32);
}

static bool bad(const X86Boot *boot, const char *why, GError **errp)
{
    return error_set(errp, "kernel '%s': %s", boot->kernel.name, why);
}

/* Reads the program headers into one form; their number, or -1. */
static int read_segments(const X86Boot *boot, const uint8_t *head, Segment *segments, GError **errp)
{
    bool wide = head[EI_CLASS] == ELFCLASS64;
    uint8_t raw[PHDRS_MAX * sizeof(Elf64_Phdr)];
    uint64_t offset, size;
    unsigned n, machine;
    Elf64_Ehdr e64;
    Elf32_Ehdr e32;

    memcpy(&e64, head, sizeof(e64));
    memcpy(&e32, head, sizeof(e32));
    n = wide ? e64.e_phnum : e32.e_phnum;
    offset = wide ? e64.e_phoff : e32.e_phoff;
    machine = wide ? e64.e_machine : e32.e_machine;
    size = wide ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr);
    if (machine != EM_X86_64 && machine != EM_386) {
        bad(boot, "the ELF file is not for x86", errp);
        return -1;
    }
    if (n == 0 || n > PHDRS_MAX || (wide ? e64.e_phentsize : e32.e_phentsize) != size) {
        bad(boot, "the ELF program headers are malformed", errp);
        return -1;
    }
    if (!boot_file_read(&boot->kernel, raw, n * size, offset, errp)) {
        return -1;
    }
    for (unsigned i = 0; i < n; i++) {
        if (wide) {
            Elf64_Phdr p;

            memcpy(&p, raw + i * size, sizeof(p));
            segments[i] =
                (Segment) { p.p_type, p.p_offset, p.p_paddr, p.p_filesz, p.p_memsz, p.p_align };
        } else {
            Elf32_Phdr p;

            memcpy(&p, raw + i * size, sizeof(p));
            segments[i] =
                (Segment) { p.p_type, p.p_offset, p.p_paddr, p.p_filesz, p.p_memsz, p.p_align };
        }
    }
    return (int)n;
}

/* The entry point, if a note of this segment names it; else *@entry stays as it is. */
static bool find_entry(const X86Boot *boot, const Segment *s, uint64_t *entry, GError **errp)
{
    uint64_t align = s->align == 8 ? 8 : 4, at = 0;
    g_autofree uint8_t *notes = NULL;

    if (s->filesz > NOTES_MAX) {
        return bad(boot, "the ELF notes are too long", errp);
    }
    notes = g_malloc(s->filesz);
    if (!boot_file_read(&boot->kernel, notes, s->filesz, s->offset, errp)) {
        return false;
    }
    while (s->filesz - at >= sizeof(Elf64_Nhdr)) {
        Elf64_Nhdr note; /* the same in both classes */
        uint64_t name = at + sizeof(note), desc, end;

        memcpy(&note, notes + at, sizeof(note));
        desc = (name + note.n_namesz + align - 1) & -align;
        end = desc + note.n_descsz;
        if (end > s->filesz) {
            return bad(boot, "an ELF note is longer than its segment", errp);
        }
        if (note.n_type == PVH_NOTE_TYPE && note.n_namesz == sizeof(PVH_NOTE_NAME) &&
            !memcmp(notes + name, PVH_NOTE_NAME, sizeof(PVH_NOTE_NAME)) &&
            (note.n_descsz == 4 || note.n_descsz == 8)) {
            *entry = 0;
            memcpy(entry, notes + desc, note.n_descsz);
            return true;
        }
        at = MIN((end + align - 1) & -align, s->filesz);
    }
    return true;
}

/* Loads one segment, and raises *@end to its end. */
static bool load_segment(X86Boot *boot, const Segment *s, uint64_t *end, GError **errp)
{
    if (s->filesz > s->memsz) {
        return bad(boot, "an ELF segment is larger in the file than in memory", errp);
    }
    if (!boot_kernel_fits(boot, s->paddr, s->memsz)) {
        return error_set(errp,
                         "kernel '%s' has a segment at 0x%" G_GINT64_MODIFIER
                         "x of 0x%" G_GINT64_MODIFIER "x bytes, which is not in the machine's low "
                         "RAM (0x%x to 0x%" G_GINT64_MODIFIER "x)",
                         boot->kernel.name, s->paddr, s->memsz, X86_1M, boot->reserved);
    }
    if (!boot_load_kernel_part(boot, s->paddr, s->filesz, s->offset, errp)) {
        return false;
    }
    memset(x86_memory_ptr(boot->mem, s->paddr, s->memsz) + s->filesz, 0, s->memsz - s->filesz);
    *end = MAX(*end, s->paddr + s->memsz);
    return true;
}

static void build_start_info(const X86Boot *boot, uint64_t initrd)
{
    PvhPage *page = boot_low_memory(boot, BOOT_START_INFO, sizeof(*page));

    page->info = (HvmStartInfo) {
        .magic = PVH_MAGIC,
        .version = 1,
        .nr_modules = initrd ? 1 : 0,
        .modlist = initrd ? BOOT_START_INFO + offsetof(PvhPage, initrd) : 0,
        .cmdline = BOOT_CMDLINE,
        .rsdp = X86_RSDP,
        .memmap = BOOT_START_INFO + offsetof(PvhPage, memmap),
        .memmap_entries = boot->nr_e820,
    };
    page->initrd.addr = initrd;
    page->initrd.size = initrd ? boot->initrd.size : 0;
    for (unsigned i = 0; i < boot->nr_e820; i++) {
        const E820Entry *e = &boot->e820[i];

        page->memmap[i] = (HvmMemmapEntry) { e->addr, e->size, e->type, 0 };
    }
}

bool pvh_load(X86Boot *boot, const uint8_t *head, X86BootState *state, GError **errp)
{
    uint64_t entry = UINT64_MAX, end = X86_1M, initrd;
    Segment segments[PHDRS_MAX];
    int n = read_segments(boot, head, segments, errp);

    if (n < 0) {
        return false;
    }
    for (int i = 0; i < n && entry == UINT64_MAX; i++) {
        if (segments[i].type == PT_NOTE && !find_entry(boot, &segments[i], &entry, errp)) {
            return false;
        }
    }
    if (entry == UINT64_MAX) {
        return bad(boot, "the ELF file has no PVH note, so it has no entry point for us", errp);
    }
    if (!boot_kernel_fits(boot, entry, 1)) {
        return bad(boot, "the PVH entry point is not in the machine's low RAM", errp);
    }
    for (int i = 0; i < n; i++) {
        if (segments[i].type == PT_LOAD && segments[i].memsz &&
            !load_segment(boot, &segments[i], &end, errp)) {
            return false;
        }
    }
    if (!boot_load_initrd(boot, end, X86_4G, false, &initrd, errp) ||
        !boot_load_cmdline(boot, UINT64_MAX, errp)) {
        return false;
    }
    build_start_info(boot, initrd);
    *state = (X86BootState) { .rip = entry, .rsp = BOOT_STACK, .rbx = BOOT_START_INFO };
    boot_build_gdt(boot, state);
    return true;
}
