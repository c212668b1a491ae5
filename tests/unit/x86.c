/* SPDX-License-Identifier: GPL-2.0-or-later */
/* hw/x86 and the serial port: memory layout, ACPI tables, kernel loading, the board's devices. */
#include <asm/bootparam.h>
#include <elf.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backends/chardev.h"
#include "board-fixture.h"
#include "core/event.h"
#include "core/runstate.h"
#include "hw/char/serial.h"
#include "hw/x86/acpi.h"
#include "hw/x86/aml.h"
#include "hw/x86/boot.h"
#include "hw/x86/smbios.h"

#define MIB (1ULL << 20)
#define GIB (1ULL << 30)
#define TIB (1ULL << 40)

/* ---- memory layout ---- */

static void test_layout(void)
{
    static const struct {
        uint64_t ram;
        unsigned bits;
        bool amd;
        uint64_t below, above_base, above, mem64_min; /* below 0: refused */
    } cases[] = {
        { 128 * MIB, 39, false, 128 * MIB, 4 * GIB, 0, 500 * GIB },
        { 2816 * MIB - 4096, 39, false, 2816 * MIB - 4096, 4 * GIB, 0, 500 * GIB },
        { 2816 * MIB, 40, true, 2 * GIB, 4 * GIB, 768 * MIB, 1000 * GIB },
        { 64 * GIB, 46, false, 2 * GIB, 4 * GIB, 62 * GIB, 8 * TIB },
        { 3 * TIB, 46, false, 2 * GIB, 4 * GIB, 3 * TIB - 2 * GIB, 8 * TIB },
        /* AMD: the last that fits below HyperTransport's hole, and the first that does not */
        { 1010 * GIB, 48, true, 2 * GIB, 4 * GIB, 1008 * GIB, 8 * TIB },
        { 1011 * GIB, 48, true, 2 * GIB, 1 * TIB, 1009 * GIB, 8 * TIB },
        { 4 * TIB, 52, true, 2 * GIB, 1 * TIB, 4 * TIB - 2 * GIB, 8 * TIB },
        { 60 * GIB, 36, false, 2 * GIB, 4 * GIB, 58 * GIB, 0 },
        { 64 * GIB, 36, false },
        { 1012 * GIB, 40, true },
        { 8 * MIB, 40, false },
        { 128 * MIB + 1, 40, false },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        uint64_t limit = 1ULL << MIN(cases[i].bits, 47), end;
        g_autoptr(GError) err = NULL;
        X86Memory m;

        if (!cases[i].below) {
            g_assert_false(x86_memory_layout(&m, cases[i].ram, cases[i].bits, cases[i].amd, &err));
            g_assert_nonnull(strstr(err->message, "-m: "));
            continue;
        }
        g_assert_true(x86_memory_layout(&m, cases[i].ram, cases[i].bits, cases[i].amd, &err));
        g_assert_cmphex(m.below_4g, ==, cases[i].below);
        g_assert_cmphex(m.above_4g_base, ==, cases[i].above_base);
        g_assert_cmphex(m.above_4g, ==, cases[i].above);
        g_assert_cmphex(m.mem64.size, >=, cases[i].mem64_min);
        end = m.mem64.base + m.mem64.size;
        g_assert_cmphex(m.mem64.base, >=, m.above_4g_base + m.above_4g);
        g_assert_cmphex(end, <=, limit);
        g_assert_true(!cases[i].amd || end <= 0xfd00000000 || m.mem64.base >= TIB);
        g_assert_cmphex(m.mem32[0].base, >=, m.below_4g);
        g_assert_cmphex(m.mem32[0].base + m.mem32[0].size, ==, X86_ECAM_BASE);

        m.ram = NULL;
        g_assert_null(x86_memory_ptr(&m, m.below_4g - 1, 2));
        g_assert_null(x86_memory_ptr(&m, m.below_4g + 1, 1));
        m.ram = (uint8_t *)4096;
        g_assert_true(x86_memory_ptr(&m, m.below_4g - 1, 1) == m.ram + m.below_4g - 1);
        if (m.above_4g) {
            g_assert_true(x86_memory_ptr(&m, m.above_4g_base, m.above_4g) == m.ram + m.below_4g);
            g_assert_null(x86_memory_ptr(&m, m.above_4g_base + 1, m.above_4g));
        }
    }
}

/* ---- AML and tables ---- */

/* The length that PkgLength at @p says. */
static guint pkg_length(const uint8_t *p)
{
    guint n = p[0] >> 6, len = n ? p[0] & 0xf : p[0];

    for (guint i = 1; i <= n; i++) {
        len |= (guint)p[i] << (4 + 8 * (i - 1));
    }
    return len;
}

static void test_aml(void)
{
    static const uint8_t pnp0a03[] = { 0x0c, 0x41, 0xd0, 0x0a, 0x03 };
    static const uint8_t uuid[] = { 0x5b, 0x4d, 0xdb, 0x33, 0xf7, 0x1f, 0x1c, 0x40,
                                    0x96, 0x57, 0x74, 0x41, 0xc0, 0x3d, 0xd7, 0x66 };
    g_autoptr(GByteArray) out = g_byte_array_new();
    Aml a = { .out = out };

    /* Every change of PkgLength's own length. */
    for (guint fill = 0; fill < 0x101000; fill += fill < 80 || (fill & 0xfff) > 0xff0 ? 1 : 0xff) {
        g_byte_array_set_size(out, 0);
        aml_package(&a, 0);
        g_byte_array_set_size(out, out->len + fill);
        aml_end(&a);
        g_assert_cmpuint(pkg_length(out->data + 1), ==, out->len - 1);
    }
    g_byte_array_set_size(out, 0);
    aml_eisaid(&a, "PNP0A03");
    g_assert_cmpmem(out->data, out->len, pnp0a03, sizeof(pnp0a03));
    g_byte_array_set_size(out, 0);
    aml_uuid(&a, "33DB4D5B-1FF7-401C-9657-7441C03DD766");
    g_assert_cmpmem(out->data + 4, out->len - 4, uuid, sizeof(uuid));
    g_byte_array_set_size(out, 0);
    aml_path(&a, "\\_SB.PCI0");
    g_assert_cmpmem(out->data, out->len, "\\\x2e_SB_PCI0", 10);
}

#define CPUS 300
#define END  0x7fff000ULL

static AcpiTables make_tables(void)
{
    static X86Memory mem;
    static uint32_t ids[CPUS];
    AcpiConfig config = { .mem = &mem, .cpus = CPUS, .apic_ids = ids, .last_bus = 7 };

    config.serial[0] = config.serial[1] = true;
    g_assert_true(x86_memory_layout(&mem, 6 * GIB, 46, false, NULL));
    for (unsigned i = 0; i < CPUS; i++) {
        ids[i] = i * 2; /* passes 254 on the way */
    }
    return acpi_build(&config, END);
}

static uint8_t sum(const uint8_t *p, size_t n)
{
    uint8_t s = 0;

    while (n--) {
        s = (uint8_t)(s + *p++);
    }
    return s;
}

static uint64_t get(const uint8_t *p, unsigned n)
{
    uint64_t v = 0;

    memcpy(&v, p, n);
    return v;
}

static const uint8_t *table_at(const AcpiTables *t, uint64_t addr, const char *signature)
{
    const uint8_t *p = t->data->data + (addr - t->base);

    g_assert_cmphex(addr, >=, t->base);
    g_assert_cmphex(addr + 36, <=, t->base + t->data->len);
    g_assert_cmpmem(p, 4, signature, 4);
    g_assert_cmphex(addr - t->base + get(p + 4, 4), <=, t->data->len);
    g_assert_cmphex(sum(p, get(p + 4, 4)), ==, 0);
    return p;
}

static void test_acpi(void)
{
    AcpiTables t = make_tables();
    g_autoptr(GByteArray) data = t.data;
    const uint8_t *xsdt = table_at(&t, get(t.rsdp + 24, 8), "XSDT");
    const uint8_t *fadt = table_at(&t, get(xsdt + 36, 8), "FACP");
    const uint8_t *madt = table_at(&t, get(xsdt + 44, 8), "APIC");
    const uint8_t *mcfg = table_at(&t, get(xsdt + 52, 8), "MCFG");
    unsigned lapic = 0, x2apic = 0;

    g_assert_cmphex(t.base % 0x10000, ==, 0);
    g_assert_cmphex(t.base + data->len, <=, END);
    g_assert_cmphex(t.base + 0x10000 + data->len, >, END);
    g_assert_cmphex(get(xsdt + 4, 4), ==, 60);
    g_assert_cmphex(sum(t.rsdp, 20) | sum(t.rsdp, 36), ==, 0);
    table_at(&t, get(fadt + 40, 4), "DSDT");
    table_at(&t, get(fadt + 140, 8), "DSDT");
    g_assert_cmphex(get(fadt + 36, 4), ==, X86_FACS);
    g_assert_cmphex(get(fadt + 120, 8), ==, 0xcf9); /* RESET_REG's address */
    g_assert_cmphex(get(mcfg + 44, 8), ==, X86_ECAM_BASE);
    g_assert_cmphex(mcfg[55], ==, 7);
    for (unsigned at = 44; at < get(madt + 4, 4); at += madt[at + 1]) {
        if (madt[at] == 0) {
            g_assert_cmpuint(madt[at + 3], ==, 2 * lapic++);
        } else if (madt[at] == 9) {
            g_assert_cmpuint(get(madt + at + 4, 4), ==, 2 * (lapic + x2apic));
            g_assert_cmpuint(get(madt + at + 12, 4), ==, lapic + x2apic);
            x2apic++;
        }
        g_assert_cmpuint(madt[at + 1], >, 0);
    }
    g_assert_cmpuint(lapic, ==, 128); /* ids 0 … 254 */
    g_assert_cmpuint(lapic + x2apic, ==, CPUS);
}

/* What the guest and we share. */
static void test_facs(void)
{
    uint8_t facs[ACPI_FACS_SIZE];

    acpi_build_facs(facs);
    g_assert_cmpmem(facs, 4, "FACS", 4);
    g_assert_cmpuint(get(facs + 4, 4), ==, sizeof(facs));
    g_assert_cmphex(acpi_waking_vector(facs), ==, 0);
    facs[13] = 0xa0;
    facs[14] = 0x09;
    g_assert_cmphex(acpi_waking_vector(facs), ==, 0x9a000);
}

static bool run(const char *dir, const char *const *argv, char **output)
{
    int status = -1;
    g_autofree char *err = NULL;

    if (!g_spawn_sync(dir, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, output, &err,
                      &status, NULL)) {
        return false;
    }
    if (!g_spawn_check_wait_status(status, NULL)) {
        g_test_message("%s: %s", argv[0], err);
        return false;
    }
    return true;
}

/* ACPI's reference compiler takes each table apart and the result together again. */
static void test_iasl(void)
{
    static const char *const names[] = { "DSDT", "FACP", "APIC", "MCFG", "XSDT" };
    g_autofree char *iasl = g_find_program_in_path("iasl");
    g_autofree char *dir = g_dir_make_tmp("x86-XXXXXX", NULL);
    AcpiTables t = make_tables();
    g_autoptr(GByteArray) data G_GNUC_UNUSED = t.data;
    const uint8_t *xsdt = table_at(&t, get(t.rsdp + 24, 8), "XSDT");
    const uint8_t *fadt = table_at(&t, get(xsdt + 36, 8), "FACP");
    const uint64_t addrs[] = { get(fadt + 140, 8), get(xsdt + 36, 8), get(xsdt + 44, 8),
                               get(xsdt + 52, 8), get(t.rsdp + 24, 8) };

    for (size_t i = 0; iasl && i < G_N_ELEMENTS(names); i++) {
        const uint8_t *p = table_at(&t, addrs[i], names[i]);
        g_autofree char *aml = g_strdup_printf("%s/%s.aml", dir, names[i]);
        g_autofree char *dsl = g_strdup_printf("%s/%s.dsl", dir, names[i]);
        g_autofree char *out = NULL, *out2 = NULL, *text = NULL;

        g_assert_true(g_file_set_contents(aml, (const char *)p, (gssize)get(p + 4, 4), NULL));
        g_assert_true(run(dir, (const char *[]) { iasl, "-d", aml, NULL }, &out));
        g_assert_true(run(dir, (const char *[]) { iasl, "-we", dsl, NULL }, &out2));
        g_assert_true(strstr(out2, "0 Errors, 0 Warnings") ||
                      strstr(out2, "Compilation successful. 0 Errors"));
        g_assert_true(g_file_get_contents(dsl, &text, NULL, NULL));
        g_assert_null(strstr(text, "Invalid"));
        g_assert_null(strstr(text, "Incorrect checksum"));
        if (i == 0) {
            g_assert_nonnull(strstr(text, "Device (PCI0)"));
            g_assert_nonnull(strstr(text, "Method (_OSC, 4, Serialized)"));
            g_assert_nonnull(strstr(text, "Device (C12B)")); /* the last CPU */
            g_assert_nonnull(strstr(text, "Name (\\_S3, Package"));
            g_assert_nonnull(strstr(text, "Name (\\_S5, Package"));
        }
    }
    g_assert_true(run(NULL, (const char *[]) { "rm", "-r", dir, NULL }, NULL));
    if (!iasl) {
        g_test_skip("no iasl (Debian: acpica-tools)");
    }
}

/* ---- SMBIOS ---- */

/* The structure at @at; then *@end is what follows its strings, *@n their number. */
static const uint8_t *structure_at(const GByteArray *table, guint at, guint *end, unsigned *n)
{
    const uint8_t *p = table->data + at;
    guint i;

    g_assert_cmpuint(at + 6, <=, table->len);
    g_assert_cmpuint(p[1], >=, 4);
    g_assert_cmpuint(at + p[1] + 2, <=, table->len);
    for (i = at + p[1], *n = 0; table->data[i]; (*n)++) {
        i += (guint)strnlen((const char *)table->data + i, table->len - i) + 1;
        g_assert_cmpuint(i, <, table->len);
    }
    *end = i + (*n ? 1 : 2);
    g_assert_cmpuint(*end, <=, table->len);
    return p;
}

/* The string whose number is the structure's byte @field. */
static const char *string_of(const uint8_t *p, unsigned field)
{
    const char *s = (const char *)p + p[1];

    for (unsigned i = 1; i < p[field]; i++) {
        s += strlen(s) + 1;
    }
    return s;
}

static void test_smbios(void)
{
    static const struct {
        uint8_t length;
        unsigned count, strings;
    } expected[128] = {
        [0] = { 0x18, 1, 3 },  [1] = { 0x1b, 1, 3 },  [3] = { 0x16, 1, 1 },
        [4] = { 0x30, 3, 1 },  [16] = { 0x17, 1, 0 }, [17] = { 0x28, 1, 2 },
        [19] = { 0x1f, 2, 0 }, [32] = { 0x0b, 1, 0 }, [127] = { 4, 1, 0 },
    };
    static const uint8_t uuid[] = { 0x33, 0x22, 0x11, 0x00, 0x55, 0x44, 0x77, 0x66,
                                    0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff };
    MachineConfig config = { .smp = { .sockets = 3, .dies = 2, .cores = 150, .threads = 2 } };
    g_autoptr(GByteArray) table = NULL;
    unsigned count[128] = { 0 }, n, array = 0;
    uint8_t entry[SMBIOS_ENTRY_SIZE];
    X86Memory mem;

    for (int i = 0; i < 16; i++) {
        config.uuid[i] = (uint8_t)(i * 0x11);
    }
    config.uuid_set = true;
    g_assert_true(x86_memory_layout(&mem, 5 * TIB, 46, false, NULL));
    table = smbios_build(&config, &mem);
    for (guint at = 0, end, handle = 0; at < table->len; at = end, handle++) {
        const uint8_t *p = structure_at(table, at, &end, &n);

        g_assert_cmpuint(p[0], <, 128);
        g_assert_cmphex(p[1], ==, expected[p[0]].length);
        g_assert_cmpuint(n, ==, expected[p[0]].strings);
        g_assert_cmpuint(get(p + 2, 2), ==, handle);
        count[p[0]]++;
        switch (p[0]) {
        case 0:
            g_assert_cmpstr(string_of(p, 4), ==, "Viaduct");
            g_assert_cmphex(p[0x13] & 0x10, ==, 0x10); /* is a virtual machine */
            break;
        case 1:
            g_assert_cmpstr(string_of(p, 5), ==, "Standard PC (Q35, 2026)");
            g_assert_cmpmem(p + 8, 16, uuid, 16);
            break;
        case 4:
            g_assert_cmpint(string_of(p, 4)[4], ==, '0' + (int)count[4] - 1);
            g_assert_cmpuint(p[0x23], ==, 0xff);
            g_assert_cmpuint(get(p + 0x2a, 2), ==, 300);
            g_assert_cmpuint(get(p + 0x2e, 2), ==, 600);
            break;
        case 16:
            array = handle;
            g_assert_cmphex(get(p + 7, 4), ==, 0x80000000);
            g_assert_cmphex(get(p + 15, 8), ==, 5 * TIB);
            break;
        case 17:
            g_assert_cmpuint(get(p + 4, 2), ==, array);
            g_assert_cmphex(get(p + 12, 2), ==, 0x7fff);
            g_assert_cmphex(get(p + 28, 4), ==, 5 * TIB / MIB);
            break;
        case 19:
            g_assert_cmpuint(get(p + 12, 2), ==, array);
            g_assert_cmphex(get(p + 8, 4), ==, count[19] == 1 ? 0x1fffff : UINT32_MAX);
            g_assert_cmphex(get(p + 15, 8), ==, count[19] == 1 ? 0 : 4 * GIB);
            g_assert_cmphex(get(p + 23, 8), ==, count[19] == 1 ? 0 : 5 * TIB + 2 * GIB - 1);
            break;
        default:
            break;
        }
    }
    for (int i = 0; i < 128; i++) {
        g_assert_cmpuint(count[i], ==, expected[i].count);
    }

    smbios_build_entry(END, table->len, entry);
    g_assert_cmpmem(entry, 5, "_SM3_", 5);
    g_assert_cmphex(entry[6], ==, sizeof(entry));
    g_assert_cmphex(sum(entry, sizeof(entry)), ==, 0);
    g_assert_cmphex(get(entry + 12, 4), ==, table->len);
    g_assert_cmphex(get(entry + 16, 8), ==, END);
    g_assert_true(X86_SMBIOS % 16 == 0 && X86_SMBIOS >= X86_RSDP + ACPI_RSDP_SIZE);

    /* No UUID, and RAM that the first fields can tell. */
    g_byte_array_unref(table);
    config.uuid_set = false;
    g_assert_true(x86_memory_layout(&mem, 512 * MIB, 46, false, NULL));
    table = smbios_build(&config, &mem);
    for (guint at = 0, end; at < table->len; at = end) {
        const uint8_t *p = structure_at(table, at, &end, &n);

        g_assert_cmphex(p[0] == 1 ? get(p + 8, 8) | get(p + 16, 8) : 0, ==, 0);
        g_assert_cmpuint(p[0] == 16 ? get(p + 7, 4) : 512 * 1024, ==, 512 * 1024);
        g_assert_cmpuint(p[0] == 17 ? get(p + 12, 2) : 512, ==, 512);
        count[19] -= p[0] == 19;
    }
    g_assert_cmpuint(count[19], ==, 1);
}

/* ---- kernels ---- */

typedef struct Files {
    char *dir, *kernel, *initrd;
    X86Memory mem;
} Files;

static void files_set_up(Files *f, gconstpointer data)
{
    f->dir = g_dir_make_tmp("x86-XXXXXX", NULL);
    f->kernel = g_build_filename(f->dir, "kernel", NULL);
    f->initrd = g_build_filename(f->dir, "initrd", NULL);
    g_assert_true(x86_memory_layout(&f->mem, 64 * MIB, 40, false, NULL));
    f->mem.ram = g_malloc(f->mem.ram_size);
    memset(f->mem.ram, 0xaa, f->mem.ram_size); /* what a guest has left there */
}

static void files_tear_down(Files *f, gconstpointer data)
{
    g_assert_true(run(NULL, (const char *[]) { "rm", "-r", f->dir, NULL }, NULL));
    g_free(f->dir);
    g_free(f->kernel);
    g_free(f->initrd);
    g_free(f->mem.ram);
}

#define RESERVED (63 * MIB)

/* NULL: loaded; else the message, which has to hold @expect. */
static bool load(Files *f, const char *append, X86BootState *state, const char *expect)
{
    MachineConfig config = { .kernel = f->kernel, .append = append };
    g_autoptr(GError) err = NULL;
    X86Boot *boot;
    bool ok;

    config.initrd = g_file_test(f->initrd, G_FILE_TEST_EXISTS) ? f->initrd : NULL;
    boot = x86_boot_new(&config, &f->mem, &err);
    g_assert_no_error(err);
    ok = x86_boot_load(boot, RESERVED, state, &err);
    x86_boot_free(boot);
    if (expect) {
        g_assert_false(ok);
        g_assert_nonnull(strstr(err->message, expect));
        g_assert_nonnull(strstr(err->message, "'"));
    } else {
        g_assert_no_error(err);
        g_assert_true(ok);
    }
    return ok;
}

#define SETUP_SECTS 3
#define CODE_SIZE   (40 * 1024)

static GByteArray *make_bzimage(uint32_t init_size, uint64_t pref)
{
    GByteArray *image = g_byte_array_new();
    struct setup_header *h;

    g_byte_array_set_size(image, (SETUP_SECTS + 1) * 512 + CODE_SIZE);
    memset(image->data, 0, image->len);
    h = (struct setup_header *)(void *)(image->data + 0x1f1);
    h->setup_sects = SETUP_SECTS;
    h->syssize = CODE_SIZE / 16;
    h->boot_flag = 0xaa55;
    h->jump = 0x6aeb;
    h->header = 0x53726448;
    h->version = 0x20f;
    h->loadflags = LOADED_HIGH;
    h->initrd_addr_max = 0x7fffffff;
    h->kernel_alignment = 2 * MIB;
    h->relocatable_kernel = 1;
    h->xloadflags = XLF_KERNEL_64;
    h->cmdline_size = 255;
    h->pref_address = pref;
    h->init_size = init_size;
    memset(image->data + (SETUP_SECTS + 1) * 512, 0x5a, CODE_SIZE);
    return image;
}

static void save(const char *path, const void *data, size_t len)
{
    g_assert_true(g_file_set_contents(path, data, (gssize)len, NULL));
}

static void test_bzimage(Files *f, gconstpointer data)
{
    g_autoptr(GByteArray) image = make_bzimage(8 * MIB, 16 * MIB);
    g_autofree char *initrd = g_malloc0(5 * MIB + 100), *long_line = g_strnfill(256, 'x');
    struct boot_params *bp = (void *)(f->mem.ram + 0x7000);
    uint64_t ram = 0;
    X86BootState st;

    save(f->kernel, image->data, image->len);
    memset(initrd, 0x77, 5 * MIB + 100);
    save(f->initrd, initrd, 5 * MIB + 100);
    load(f, "console=ttyS0", &st, NULL);

    g_assert_true(st.long_mode);
    g_assert_cmphex(st.rip, ==, 16 * MIB + 0x200);
    g_assert_true(f->mem.ram[16 * MIB] == 0x5a && f->mem.ram[16 * MIB + CODE_SIZE - 1] == 0x5a);
    g_assert_true(f->mem.ram[16 * MIB + CODE_SIZE] == 0xaa);
    g_assert_cmphex(st.rsi, ==, 0x7000);
    g_assert_cmpstr((char *)f->mem.ram + bp->hdr.cmd_line_ptr, ==, "console=ttyS0");
    g_assert_cmphex(bp->hdr.header, ==, 0x53726448);
    g_assert_cmphex(bp->acpi_rsdp_addr, ==, X86_RSDP);
    g_assert_cmphex(bp->hdr.ramdisk_size, ==, 5 * MIB + 100);
    g_assert_cmphex(bp->hdr.ramdisk_image + 5 * MIB + 100, <=, RESERVED);
    g_assert_cmphex(bp->hdr.ramdisk_image, >=, 24 * MIB);
    g_assert_cmphex(f->mem.ram[bp->hdr.ramdisk_image + 5 * MIB + 99], ==, 0x77);
    g_assert_cmphex(bp->_pad8[0] | bp->sentinel, ==, 0);
    for (unsigned i = 0; i < bp->e820_entries; i++) {
        ram += bp->e820_table[i].type == 1 ? bp->e820_table[i].size : 0;
    }
    g_assert_cmphex(ram, ==, RESERVED - MIB + 0x9fc00);
    /* the last of the identity map's 4 GiB */
    g_assert_cmphex(get(f->mem.ram + st.cr3 + 6 * 4096 - 8, 8), ==, 0xffe00083);
    g_assert_cmphex(get(f->mem.ram + st.gdt_base + 16, 8), ==, 0x00af9b000000ffff);

    load(f, long_line, &st, "256 characters");
    save(f->kernel, image->data, image->len - 513);
    load(f, NULL, &st, "truncated");
    g_byte_array_unref(image);

    /* What prefers to be where no RAM is goes elsewhere; what is too large, nowhere. */
    image = make_bzimage(8 * MIB, 60 * MIB);
    save(f->kernel, image->data, image->len);
    load(f, NULL, &st, NULL);
    g_assert_cmphex(st.rip, ==, 2 * MIB + 0x200);
    g_byte_array_unref(image);
    image = make_bzimage(62 * MIB, UINT64_MAX);
    save(f->kernel, image->data, image->len);
    load(f, NULL, &st, "low RAM ends at");
    g_byte_array_unref(image);
    image = make_bzimage(58 * MIB, 2 * MIB);
    save(f->kernel, image->data, image->len);
    load(f, NULL, &st, "does not fit into RAM");
    g_byte_array_unref(image);

    image = make_bzimage(8 * MIB, 16 * MIB);
    image->data[0x206] = 0x0b; /* protocol 2.11 has no 64-bit entry */
    save(f->kernel, image->data, image->len);
    load(f, NULL, &st, "neither a bzImage");
    g_assert_cmphex(f->mem.ram[st.rip], ==, 0xfa); /* cli: the boot processor halts */
}

typedef struct ElfFile {
    Elf64_Ehdr e;
    Elf64_Phdr load, note;
    Elf64_Nhdr n[2];
    char other[8]; /* a note of some other name first */
    Elf64_Nhdr pvh;
    char name[4];
    uint32_t entry;
    uint8_t code[64];
} ElfFile;

static ElfFile make_elf(void)
{
    ElfFile f = {
        .e = { .e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT },
               .e_machine = EM_X86_64,
               .e_phoff = offsetof(ElfFile, load),
               .e_phentsize = sizeof(Elf64_Phdr),
               .e_phnum = 2 },
        .load = { .p_type = PT_LOAD,
                  .p_offset = offsetof(ElfFile, code),
                  .p_paddr = 16 * MIB,
                  .p_filesz = 64,
                  .p_memsz = 4096 },
        .note = { .p_type = PT_NOTE,
                  .p_offset = offsetof(ElfFile, n[1]),
                  .p_filesz = offsetof(ElfFile, code) - offsetof(ElfFile, n[1]),
                  .p_align = 4 },
        .n[1] = { .n_namesz = 4, .n_descsz = 4, .n_type = 18 },
        .other = "GNU",
        .pvh = { .n_namesz = 4, .n_descsz = 4, .n_type = 18 },
        .name = "Xen",
        .entry = 16 * MIB + 8,
    };

    memset(f.code, 0x90, sizeof(f.code));
    return f;
}

static void test_pvh(Files *f, gconstpointer data)
{
    uint8_t initrd[5000] = { 1, 2, 3 }, *ram = f->mem.ram, *info, *module;
    ElfFile elf = make_elf();
    X86BootState st;

    save(f->kernel, &elf, sizeof(elf));
    save(f->initrd, initrd, sizeof(initrd));
    load(f, "quiet", &st, NULL);
    g_assert_false(st.long_mode);
    g_assert_cmphex(st.rip, ==, 16 * MIB + 8);
    g_assert_true(ram[16 * MIB + 63] == 0x90 && ram[16 * MIB + 64] == 0);
    g_assert_true(ram[16 * MIB + 4095] == 0 && ram[16 * MIB + 4096] == 0xaa);
    info = ram + st.rbx;
    g_assert_cmphex(get(info, 4), ==, 0x336ec578);
    g_assert_cmpstr((char *)ram + get(info + 24, 8), ==, "quiet");
    g_assert_cmphex(get(info + 32, 8), ==, X86_RSDP);
    g_assert_cmphex(get(info + 12, 4), ==, 1);
    module = ram + get(info + 16, 8);
    g_assert_cmphex(get(module + 8, 8), ==, sizeof(initrd));
    g_assert_cmpmem(ram + get(module, 8), sizeof(initrd), initrd, sizeof(initrd));
    g_assert_cmphex(get(ram + get(info + 40, 8) + 8, 8), ==, 0x9fc00); /* the first range's size */

    elf.load.p_memsz = 63;
    save(f->kernel, &elf, sizeof(elf));
    load(f, NULL, &st, "larger in the file");
    elf.load.p_memsz = UINT64_MAX - 16 * MIB;
    save(f->kernel, &elf, sizeof(elf));
    load(f, NULL, &st, "not in the machine's low RAM");
    elf.load.p_memsz = 4096;
    elf.load.p_offset = UINT64_MAX - 16;
    save(f->kernel, &elf, sizeof(elf));
    load(f, NULL, &st, "truncated");
    elf = make_elf();
    elf.pvh.n_descsz = UINT32_MAX;
    save(f->kernel, &elf, sizeof(elf));
    load(f, NULL, &st, "longer than its segment");
    elf = make_elf();
    elf.name[0] = 'Y';
    save(f->kernel, &elf, sizeof(elf));
    load(f, NULL, &st, "no PVH note");
    save(f->kernel, &elf, 10);
    load(f, NULL, &st, "not for x86");
    save(f->kernel, "#!/bin/sh\n", 10);
    load(f, NULL, &st, "neither a bzImage");
}

/* A FIFO that nobody writes to: an error, not a wait that no signal would end. */
static void test_fifo(Files *f, gconstpointer data)
{
    MachineConfig config = { .kernel = f->kernel };
    g_autoptr(GError) err = NULL;

    g_assert_cmpint(mkfifo(f->kernel, 0600), ==, 0);
    alarm(10);
    g_assert_null(x86_boot_new(&config, &f->mem, &err));
    alarm(0);
    g_assert_nonnull(strstr(err->message, "is not a regular file"));
}

/* ---- devices ---- */

static void test_serial(void)
{
    g_autofree char *path = g_build_filename(g_get_tmp_dir(), "x86-serial-out", NULL);
    g_autofree char *spec = g_strdup_printf("file:%s", path), *text = NULL;
    g_autoptr(GError) err = NULL;
    const uint16_t p = 0x3f8;
    Chardev *chr = chardev_new_from_spec(spec, "serial0", &err);
    Device *dev;

    g_assert_no_error(err);
    g_assert_nonnull(chr);
    dev = board_plug(serial_isa_new(0, "serial0"));

    /* What Linux's autoconfig does: IER's width, loopback, FIFO. */
    outb(p + 1, 0xff);
    g_assert_cmphex(inb(p + 1), ==, 0x0f);
    outb(p + 1, 0);
    outb(p + 4, 0x1a); /* LOOP, OUT2, RTS */
    g_assert_cmphex(inb(p + 6) & 0xf0, ==, 0x90);
    g_assert_cmphex(inb(p + 2) & 0xc0, ==, 0);
    outb(p + 2, 0x01);
    g_assert_cmphex(inb(p + 2), ==, 0xc1);

    /* Loopback: sixteen bytes fit, the next one is an overrun; the trigger level shows in IIR. */
    outb(p + 2, 0x81); /* trigger at 8 */
    outb(p + 1, 0x05); /* received data, line status */
    for (int i = 0; i < 17; i++) {
        outb(p, (uint8_t)i);
        g_assert_true(lines[4]);
        g_assert_cmphex(inb(p + 2), ==, i < 7 ? 0xcc : i < 16 ? 0xc4 : 0xc6);
    }
    g_assert_cmphex(inb(p + 5), ==, 0x63);
    g_assert_cmphex(inb(p + 5), ==, 0x61);
    for (int i = 0; i < 16; i++) {
        g_assert_true(lines[4]);
        g_assert_cmphex(inb(p), ==, i);
    }
    g_assert_false(lines[4]);
    g_assert_cmphex(inb(p + 5), ==, 0x60);
    outb(p + 4, 0x0b);

    /* The transmitter's interrupt: when it is turned on, until IIR is read, after each byte. */
    outb(p + 1, 0x00);
    (void)inb(p + 6);
    outb(p + 1, 0x02);
    g_assert_true(lines[4]);
    g_assert_cmphex(inb(p + 2), ==, 0xc2);
    g_assert_false(lines[4]);
    g_assert_cmphex(inb(p + 2), ==, 0xc1);
    outb(p, 'o');
    g_assert_true(lines[4]);
    outb(p, 'k');
    outb(p + 3, 0x83); /* the divisor is no data */
    outb(p, 'x');
    g_assert_cmphex(inb(p), ==, 'x');
    outb(p + 3, 0x03);
    device_destroy(dev);
    chardev_cleanup_all();
    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    g_assert_cmpstr(text, ==, "ok");
    remove(path);
    g_assert_cmphex(inb(p + 5), ==, 0xff);
}

static void rtc_set(const uint8_t time[6], uint8_t century)
{
    static const uint8_t order[] = { 0, 2, 4, 7, 8, 9 };

    rtc_put(11, rtc_get(11) | 0x80);
    for (int i = 0; i < 6; i++) {
        rtc_put(order[i], time[i]);
    }
    rtc_put(0x32, century);
    rtc_put(11, rtc_get(11) & 0x7f);
}

static void test_rtc(void)
{
    g_autoptr(GDateTime) now = g_date_time_new_now_utc();
    Device *rtc = board_plug(g_object_new(g_type_from_name(TYPE_MC146818_RTC), NULL));

    rtc_set_memory(rtc, 2 * GIB, 5 * GIB);
    g_assert_cmphex(rtc_get(0x34) | rtc_get(0x35) << 8, ==, (2 * GIB - 16 * MIB) >> 16);
    g_assert_cmphex(rtc_get(0x5b) | rtc_get(0x5c) << 8 | rtc_get(0x5d) << 16, ==, 5 * GIB >> 16);
    g_assert_cmphex(rtc_get(13), ==, 0x80);
    g_assert_cmphex(rtc_get(0x32), ==, 0x20);
    g_assert_cmphex(rtc_get(9), ==,
                    g_date_time_get_year(now) % 100 / 10 << 4 | g_date_time_get_year(now) % 10);

    /* The leap day comes, in each form that the clock may have. */
    rtc_set((const uint8_t[]) { 0x58, 0x59, 0x23, 0x28, 0x02, 0x24 }, 0x20);
    g_assert_cmphex(rtc_get(4), ==, 0x23);
    g_assert_cmphex(rtc_get(6), ==, 4); /* a Wednesday */
    rtc_put(11, 0x04);                  /* binary, 12 hours */
    g_assert_cmphex(rtc_get(4), ==, 0x80 | 11);
    g_assert_cmphex(rtc_get(2), ==, 59);
    rtc_put(11, 0x02);
    rtc_put(0x32, 0x18);
    g_assert_cmphex(rtc_get(0x32) << 8 | rtc_get(9), ==, 0x1824);
    rtc_put(0x32, 0x20);

    /* An alarm at midnight and not before; then reading register C ends the interrupt. */
    rtc_put(1, 0x00);
    rtc_put(3, 0x00);
    rtc_put(5, 0x00);
    (void)rtc_get(12);
    rtc_put(11, 0x22);
    g_assert_false(lines[8]);
    g_assert_true(wait_for_line(8));
    g_assert_cmphex(rtc_get(8) << 8 | rtc_get(7), ==, 0x0229);
    g_assert_cmphex(rtc_get(4) << 8 | rtc_get(0), ==, 0);
    g_assert_cmphex(rtc_get(12) & 0xa0, ==, 0xa0);
    g_assert_false(lines[8]);

    /* At second 77 of any minute: it never comes, and to know that takes no time. */
    {
        gint64 start = g_get_monotonic_time();

        rtc_put(3, 0xff);
        rtc_put(5, 0xff);
        for (int i = 0; i < 4000; i++) {
            rtc_put(1, i % 2 ? 0x77 : 0x78);
        }
        g_assert_cmpint(g_get_monotonic_time() - start, <, G_USEC_PER_SEC / 2);
        g_assert_false(lines[8]);
    }

    /* 1024 Hz, and each second. */
    rtc_put(11, 0x42);
    g_assert_true(wait_for_line(8));
    g_assert_cmphex(rtc_get(12) & 0xc0, ==, 0xc0);
    rtc_put(11, 0x12);
    (void)rtc_get(12);
    g_assert_true(wait_for_line(8));
    g_assert_cmphex(rtc_get(12) & 0x90, ==, 0x90);
    g_assert_cmphex(rtc_get(10) & 0x80, ==, 0);

    rtc_put(11, 0x12);
    devices_reset();
    g_assert_cmphex(rtc_get(11), ==, 0x02);
    g_assert_cmphex(rtc_get(7), ==, 0x29); /* the battery */
    device_destroy(rtc);
}

static void test_pm(void)
{
    Device *pm = board_plug(g_object_new(g_type_from_name(TYPE_X86_PM), NULL));
    uint32_t before;

    g_assert_cmphex(inw(0x604), ==, 1); /* always in ACPI mode */

    /* The timer stands while the VM does. */
    before = inl(0x608);
    g_usleep(2000);
    g_assert_cmpuint(inl(0x608), ==, before);
    vm_start();
    g_usleep(20000);
    g_assert_cmpuint(inl(0x608) - before, >=, 3579545 / 50);
    g_assert_cmpuint(inl(0x608) - before, <, 3579545 * 2);
    vm_stop(RUN_STATE_PAUSED);
    before = inl(0x608);
    g_usleep(2000);
    g_assert_cmpuint(inl(0x608), ==, before);

    device_destroy(pm);
}

/* ---- what ends or restarts the guest ---- */

static int shutdowns, resets;

static void count_events(const char *name, JsonObject *data, void *opaque)
{
    const char *reason = data && json_object_has_member(data, "reason")
                             ? json_object_get_string_member(data, "reason")
                             : "";

    shutdowns += !strcmp(name, "SHUTDOWN") && !strcmp(reason, "guest-shutdown");
    resets += !strcmp(name, "RESET") && !strcmp(reason, "guest-reset");
}

/* Each step is the guest's, between two rounds of the main loop. */
static gboolean guest_step(gpointer data)
{
    int *step = data;

    switch ((*step)++) {
    case 0: /* the button has been pressed */
        g_assert_true(lines[9]);
        g_assert_cmphex(inw(0x600), ==, 0x0100);
        outb(0x600, 0xff); /* the other byte */
        g_assert_true(lines[9]);
        outb(0x601, 0x01);
        g_assert_false(lines[9]);
        outb(X86_PORT_RESET, 0x02); /* says how, but not to do it */
        return G_SOURCE_CONTINUE;
    case 1:
        g_assert_cmpint(resets, ==, 0);
        outb(X86_PORT_RESET, X86_RESET_VALUE);
        return G_SOURCE_CONTINUE;
    case 2:
        g_assert_cmpint(resets, ==, 1);
        g_assert_cmphex(inw(0x602), ==, 0); /* of a device that was reset */
        g_assert_cmphex(inb(0x64) & 0x02, ==, 0);
        outb(0x64, 0xfe);
        return G_SOURCE_CONTINUE;
    case 3:
        g_assert_cmpint(resets, ==, 2);
        outb(0x92, inb(0x92) | 1);
        return G_SOURCE_CONTINUE;
    case 4:
        g_assert_cmpint(resets, ==, 3);
        outw(0x604, 0x2000); /* not S5 */
        outw(0x604, X86_SLP_TYP_S5 << 10);
        return G_SOURCE_CONTINUE;
    default:
        g_assert_cmpint(shutdowns, ==, 0);
        outw(0x604, X86_SLP_TYP_S5 << 10 | 0x2000);
        return G_SOURCE_REMOVE;
    }
}

static void test_power(void)
{
    Device *pm = board_plug(g_object_new(g_type_from_name(TYPE_X86_PM), NULL));
    Device *rc = board_plug(g_object_new(g_type_from_name(TYPE_RESET_CONTROL), NULL));
    int step = 0;

    event_set_listener(count_events, NULL);
    vm_start();
    outw(0x602, 0x0100);
    system_powerdown_request();
    g_idle_add(guest_step, &step);
    g_assert_cmpint(main_loop_run(), ==, 0);
    g_assert_cmpint(step, ==, 6);
    g_assert_cmpint(shutdowns, ==, 1);
    event_set_listener(NULL, NULL);
    device_destroy(rc);
    device_destroy(pm);
}

/* What the guest does until it stands still. */
static void (*last_act)(void);

static void pause_vcpus(void)
{
    void (*act)(void) = last_act;

    last_act = NULL;
    if (act) {
        act();
    }
}

static void ask_for_reset(void)
{
    system_reset_request(SHUTDOWN_CAUSE_GUEST_RESET);
}

static void ask_for_shutdown(void)
{
    system_shutdown_request(SHUTDOWN_CAUSE_GUEST_SHUTDOWN);
}

static gboolean host_step(gpointer data)
{
    int *step = data;

    switch ((*step)++) {
    case 0: /* asks twice, is reset once */
        last_act = ask_for_reset;
        ask_for_reset();
        return G_SOURCE_CONTINUE;
    case 1:
    case 2:
        g_assert_cmpint(resets, ==, 1);
        g_assert_true(run_state_is_running());
        return G_SOURCE_CONTINUE;
    case 3: /* -no-shutdown */
        last_act = ask_for_shutdown;
        ask_for_shutdown();
        return G_SOURCE_CONTINUE;
    case 4:
    case 5:
        g_assert_cmpint(shutdowns, ==, 1);
        g_assert_cmpint(run_state(), ==, RUN_STATE_SHUTDOWN);
        return G_SOURCE_CONTINUE;
    case 6:
        ask_for_reset();
        return G_SOURCE_CONTINUE;
    case 7:
        g_assert_cmpint(resets, ==, 2);
        g_assert_cmpint(run_state(), ==, RUN_STATE_PRELAUNCH);
        run_state_policy.no_reboot = true;
        system_reset_request(SHUTDOWN_CAUSE_HOST_QMP_SYSTEM_RESET);
        return G_SOURCE_CONTINUE;
    case 8:
        g_assert_cmpint(resets, ==, 2);
        g_assert_cmpint(run_state(), ==, RUN_STATE_SHUTDOWN);
        return G_SOURCE_CONTINUE;
    default: /* the guest cannot have the last word */
        system_shutdown_request(SHUTDOWN_CAUSE_HOST_QMP_QUIT);
        ask_for_shutdown();
        ask_for_reset();
        return G_SOURCE_REMOVE;
    }
}

static void test_policy(void)
{
    int step = 0;

    shutdowns = resets = 0;
    event_set_listener(count_events, NULL);
    run_state_policy.no_shutdown = true;
    vm_start();
    g_idle_add(host_step, &step);
    g_assert_cmpint(main_loop_run(), ==, 0);
    g_assert_cmpint(step, ==, 10);
    g_assert_cmpint(shutdowns, ==, 1);
    run_state_policy = (RunStatePolicy) { 0 };
    event_set_listener(NULL, NULL);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    board_begin(pause_vcpus);
    g_test_add_func("/x86/layout", test_layout);
    g_test_add_func("/x86/aml", test_aml);
    g_test_add_func("/x86/acpi", test_acpi);
    g_test_add_func("/x86/acpi/iasl", test_iasl);
    g_test_add_func("/x86/smbios", test_smbios);
    g_test_add("/x86/boot/bzimage", Files, NULL, files_set_up, test_bzimage, files_tear_down);
    g_test_add("/x86/boot/pvh", Files, NULL, files_set_up, test_pvh, files_tear_down);
    g_test_add("/x86/boot/fifo", Files, NULL, files_set_up, test_fifo, files_tear_down);
    g_test_add_func("/x86/serial", test_serial);
    g_test_add_func("/x86/rtc", test_rtc);
    g_test_add_func("/x86/facs", test_facs);
    g_test_add_func("/x86/pm", test_pm);
    g_test_add_func("/x86/power", test_power);
    g_test_add_func("/x86/policy", test_policy);
    return g_test_run();
}
