/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What all direct boots have in common: the files, the memory map, and where things go.  The
 * formats are linux.c's (bzImage, 64-bit entry) and pvh.c's (ELF).  Whatever a kernel file says is
 * checked against the file's size and the guest's RAM before a byte is written.
 */
#include "hw/x86/loader.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "util/error.h"
#include "util/fd.h"

#define PAGE_SIZE 4096ULL

/* ---- files ---- */

static bool boot_file_open(BootFile *file, const char *what, const char *name, GError **errp)
{
    struct stat st;

    file->name = g_strdup(name);
    file->fd = open(name, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* nor wait for a FIFO's writer */
    if (file->fd < 0 || fstat(file->fd, &st)) {
        return error_set_errno(errp, errno, "cannot open %s '%s'", what, name);
    }
    if (!S_ISREG(st.st_mode)) {
        return error_set(errp, "%s '%s' is not a regular file", what, name);
    }
    file->size = (uint64_t)st.st_size;
    return true;
}

bool boot_file_read(const BootFile *file, void *buf, uint64_t len, uint64_t offset, GError **errp)
{
    char *p = buf;
    ssize_t n = 1;

    if (offset > file->size || len > file->size - offset) {
        return error_set(errp,
                         "'%s' is truncated: it has %" G_GUINT64_FORMAT
                         " bytes, and 0x%" G_GINT64_MODIFIER "x at 0x%" G_GINT64_MODIFIER
                         "x are wanted",
                         file->name, file->size, len, offset);
    }
    while (len && n) {
        n = pread(file->fd, p, len, (off_t)offset);
        if (n < 0 && errno != EINTR) {
            return error_set_errno(errp, errno, "cannot read '%s'", file->name);
        }
        if (n > 0) {
            p += n;
            offset += (uint64_t)n;
            len -= (uint64_t)n;
        }
    }
    return !len || error_set(errp, "'%s' has become shorter while it was read", file->name);
}

X86Boot *x86_boot_new(const MachineConfig *config, const X86Memory *mem, GError **errp)
{
    X86Boot *boot = g_new0(X86Boot, 1);

    boot->kernel.fd = boot->initrd.fd = -1;
    boot->append = g_strdup(config->append ?: "");
    boot->mem = mem;
    if (!config->kernel && (config->initrd || config->append)) {
        error_set(errp, "-initrd and -append need -kernel");
    } else if ((!config->kernel || boot_file_open(&boot->kernel, "kernel", config->kernel, errp)) &&
               (!config->initrd || boot_file_open(&boot->initrd, "initrd", config->initrd, errp))) {
        return boot;
    }
    x86_boot_free(boot);
    return NULL;
}

void x86_boot_free(X86Boot *boot)
{
    fd_close(&boot->kernel.fd);
    fd_close(&boot->initrd.fd);
    g_free(boot->kernel.name);
    g_free(boot->initrd.name);
    g_free(boot->append);
    g_free(boot);
}

/* ---- places in memory ---- */

static void e820_add(X86Boot *boot, uint64_t start, uint64_t end, uint32_t type)
{
    if (end > start) {
        g_assert(boot->nr_e820 < E820_ENTRIES);
        boot->e820[boot->nr_e820++] = (E820Entry) { start, end - start, type };
    }
}

static void build_e820(X86Boot *boot)
{
    const X86Memory *mem = boot->mem;

    boot->nr_e820 = 0;
    e820_add(boot, 0, X86_EBDA, E820_RAM);
    e820_add(boot, X86_EBDA, 0xa0000, E820_RESERVED);
    e820_add(boot, X86_RSDP, X86_1M, E820_RESERVED);
    e820_add(boot, X86_1M, boot->reserved, E820_RAM);
    e820_add(boot, boot->reserved, mem->below_4g, E820_NVS); /* tables */
    e820_add(boot, X86_ECAM_BASE, X86_ECAM_BASE + X86_ECAM_SIZE, E820_RESERVED);
    e820_add(boot, mem->above_4g_base, mem->above_4g_base + mem->above_4g, E820_RAM);
}

void *boot_low_memory(const X86Boot *boot, uint32_t addr, uint32_t len)
{
    return memset(x86_memory_ptr(boot->mem, addr, len), 0, len);
}

bool boot_kernel_fits(const X86Boot *boot, uint64_t addr, uint64_t len)
{
    return addr >= X86_1M && addr <= boot->reserved && len <= boot->reserved - addr;
}

bool boot_load_kernel_part(X86Boot *boot, uint64_t addr, uint64_t len, uint64_t offset,
                           GError **errp)
{
    if (!boot_kernel_fits(boot, addr, len)) {
        return error_set(
            errp,
            "kernel '%s' wants 0x%" G_GINT64_MODIFIER "x bytes at 0x%" G_GINT64_MODIFIER
            "x, which is not in the machine's low RAM (0x%x to 0x%" G_GINT64_MODIFIER "x)",
            boot->kernel.name, len, addr, X86_1M, boot->reserved);
    }
    return boot_file_read(&boot->kernel, x86_memory_ptr(boot->mem, addr, len), len, offset, errp);
}

bool boot_load_initrd(X86Boot *boot, uint64_t min, uint64_t max, bool high, uint64_t *addr,
                      GError **errp)
{
    const X86Memory *mem = boot->mem;
    uint64_t size = boot->initrd.size;

    *addr = 0;
    if (boot->initrd.fd < 0) {
        return true;
    }
    max = MIN(max, boot->reserved);
    if (size <= max && ((max - size) & -PAGE_SIZE) >= min) {
        *addr = (max - size) & -PAGE_SIZE;
    } else if (high && size <= mem->above_4g) {
        *addr = mem->above_4g_base;
    } else {
        return error_set(errp,
                         "initrd '%s' of %" G_GUINT64_FORMAT
                         " bytes does not fit into RAM between 0x%" G_GINT64_MODIFIER
                         "x and 0x%" G_GINT64_MODIFIER "x, where the kernel looks for it",
                         boot->initrd.name, size, min, max);
    }
    return boot_file_read(&boot->initrd, x86_memory_ptr(mem, *addr, size), size, 0, errp);
}

bool boot_load_cmdline(X86Boot *boot, uint64_t max, GError **errp)
{
    size_t len = strlen(boot->append);

    max = MIN(max, BOOT_CMDLINE_END - BOOT_CMDLINE - 1);
    if (len > max) {
        return error_set(errp,
                         "-append: %zu characters are too many for kernel '%s', which takes "
                         "%" G_GUINT64_FORMAT,
                         len, boot->kernel.name, max);
    }
    memcpy(x86_memory_ptr(boot->mem, BOOT_CMDLINE, len + 1), boot->append, len + 1);
    return true;
}

void boot_build_gdt(const X86Boot *boot, X86BootState *state)
{
    uint64_t *gdt = boot_low_memory(boot, BOOT_GDT, 4 * sizeof(*gdt));

    gdt[2] = state->long_mode ? 0x00af9b000000ffff : 0x00cf9b000000ffff;
    gdt[3] = 0x00cf93000000ffff;
    state->gdt_base = BOOT_GDT;
    state->gdt_limit = 4 * sizeof(*gdt) - 1;
}

/* ---- loading ---- */

/* Nothing to boot: cli; hlt; and again, should an NMI wake it. */
static void load_halt(const X86Boot *boot, X86BootState *state)
{
    static const uint8_t code[] = { 0xfa, 0xf4, 0xeb, 0xfc };

    memcpy(boot_low_memory(boot, BOOT_HALT, sizeof(code)), code, sizeof(code));
    *state = (X86BootState) { .rip = BOOT_HALT, .rsp = BOOT_STACK };
    boot_build_gdt(boot, state);
}

bool x86_boot_load(X86Boot *boot, uint64_t reserved, X86BootState *state, GError **errp)
{
    uint8_t head[BOOT_HEAD] = { 0 };

    boot->reserved = reserved;
    build_e820(boot);
    load_halt(boot, state); /* so it stays if loading fails */
    if (boot->kernel.fd < 0) {
        return true;
    }
    if (!boot_file_read(&boot->kernel, head, MIN(boot->kernel.size, sizeof(head)), 0, errp)) {
        return false;
    }
    if (linux_probe(head)) {
        return linux_load(boot, head, state, errp);
    }
    if (pvh_probe(head)) {
        return pvh_load(boot, head, state, errp);
    }
    return error_set(errp,
                     "kernel '%s' is neither a bzImage with the 64-bit entry (boot protocol 2.12) "
                     "nor an ELF file with a PVH note",
                     boot->kernel.name);
}
