/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What boot.c lends to the loaders of the two kernel formats. */
#ifndef VIADUCT_HW_X86_LOADER_H
#define VIADUCT_HW_X86_LOADER_H

#include "hw/x86/boot.h"

/* Low memory, as the loaders use it; all of it is the guest's own again once it runs. */
enum {
    BOOT_GDT = 0x1000,
    BOOT_HALT = 0x1800, /* the code of a machine without a kernel */
    BOOT_START_INFO = 0x6000,
    BOOT_PARAMS = 0x7000,
    BOOT_PAGE_TABLES = 0x9000, /* six pages */
    BOOT_STACK = 0x1f000,      /* grows down */
    BOOT_CMDLINE = 0x20000,
    BOOT_CMDLINE_END = 0x90000,
};

typedef struct BootFile {
    char *name;
    int fd; /* -1: not given */
    uint64_t size;
} BootFile;

/* Types are those of E820, which PVH has taken over. */
enum { E820_RAM = 1, E820_RESERVED = 2, E820_NVS = 4 };
#define E820_ENTRIES 8

typedef struct E820Entry {
    uint64_t addr, size;
    uint32_t type;
} E820Entry;

struct X86Boot {
    BootFile kernel, initrd;
    char *append;
    const X86Memory *mem;
    uint64_t reserved; /* of x86_boot_load() */
    E820Entry e820[E820_ENTRIES];
    unsigned nr_e820;
};

/* Exactly @len bytes at @offset; the file's end before that is an error. */
bool boot_file_read(const BootFile *file, void *buf, uint64_t len, uint64_t offset, GError **errp);
/* Straight into RAM at @addr, which must lie between 1 MiB and .reserved. */
bool boot_load_kernel_part(X86Boot *boot, uint64_t addr, uint64_t len, uint64_t offset,
                           GError **errp);
/* Whether @len bytes at @addr are RAM that a kernel may be loaded to. */
bool boot_kernel_fits(const X86Boot *boot, uint64_t addr, uint64_t len);
/*
 * The initrd goes as high as it can below @max and above @min; if there is no room, above 4 GiB
 * when the kernel can take it there.  *@addr is 0 without an initrd.
 */
bool boot_load_initrd(X86Boot *boot, uint64_t min, uint64_t max, bool high, uint64_t *addr,
                      GError **errp);
/* Puts the command line at BOOT_CMDLINE; @max is the kernel's limit, without the final 0. */
bool boot_load_cmdline(X86Boot *boot, uint64_t max, GError **errp);
/* @len bytes of low memory, zeroed. */
void *boot_low_memory(const X86Boot *boot, uint32_t addr, uint32_t len);
/* Segments as the boot protocols want them: 0x10 code, 0x18 data. */
void boot_build_gdt(const X86Boot *boot, X86BootState *state);

/* The formats.  @head is the file's first BOOT_HEAD bytes (fewer: zeroes). */
#define BOOT_HEAD 4096
bool linux_probe(const uint8_t *head);
bool linux_load(X86Boot *boot, const uint8_t *head, X86BootState *state, GError **errp);
bool pvh_probe(const uint8_t *head);
bool pvh_load(X86Boot *boot, const uint8_t *head, X86BootState *state, GError **errp);

#endif
