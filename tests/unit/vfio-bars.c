/* SPDX-License-Identifier: GPL-2.0-or-later */
/* BARs of vfio-pci on the simulated kernel: what is mapped, for the guest and for other devices. */
#include <errno.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/runstate.h"
#include "tests/unit/vfio-fixture.h"
#include "util/keyval.h"

/* ---- what the tests look at ---- */

/* The range of guest memory at @addr, as KVM and the container see it; kind -1: nothing. */
static MemoryRange range_at(uint64_t addr)
{
    FlatView *view = address_space_view(&address_space_memory);
    const MemoryRange *r = flat_view_find(view, addr);
    MemoryRange copy = r ? *r : (MemoryRange) { 0 };

    flat_view_unref(view);
    return copy;
}

/* Bytes that are mapped from @addr on; 0: it is trapped, or nothing is there. */
static uint64_t mapped_at(uint64_t addr)
{
    MemoryRange r = range_at(addr);

    return r.mr && r.mr->kind == REGION_RAM_DEVICE ? r.addr + r.size - addr : 0;
}

/* What the IOAS has at @iova: bytes of a device's memory that are alive. */
static uint64_t peer_at(uint64_t iova)
{
    const GArray *extents = sim_ioas(1);

    for (guint i = 0; i < extents->len; i++) {
        const SimExtent *e = &g_array_index(extents, SimExtent, i);

        if (e->peer && !e->dead && e->iova == iova) {
            return e->length;
        }
    }
    return 0;
}

/* What is said on stderr between the two. */
static int said_file = -1, said_before = -1;

static void listen_begin(void)
{
    said_file = memfd_create("said", MFD_CLOEXEC);
    fflush(stderr);
    said_before = dup(2);
    g_assert_cmpint(dup2(said_file, 2), ==, 2);
}

static char *listen_end(void)
{
    char text[4096] = "";
    ssize_t n;

    fflush(stderr);
    g_assert_cmpint(dup2(said_before, 2), ==, 2);
    n = pread(said_file, text, sizeof(text) - 1, 0);
    g_assert_cmpint(n, >=, 0);
    close(said_before);
    close(said_file);
    return g_strdup(text);
}

/* ---- sizes and places ---- */

#define SMALL_AT 0xc2000000ULL

static void place(PCIDevice *dev, unsigned nr, uint64_t addr)
{
    cfg_write(dev, PCI_BASE_ADDRESS_0 + nr * 4, (uint32_t)addr, 4);
    cfg_write(dev, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
}

static void test_sub_page(void)
{
    g_autoptr(GError) err = NULL;
    PCIDevice *dev;

    setup();
    sim_region_set(sim, 4, 0x100, RWM);
    sim_region_set(sim, 5, 0x200, RWM);
    sim_region_poke(sim, 4, 0x10, 0x11223344);
    dev = plug_ok("");
    g_assert_cmphex(cfg_read(dev, PCI_BASE_ADDRESS_4, 4), ==, 0);
    cfg_write(dev, PCI_BASE_ADDRESS_4, UINT32_MAX, 4); /* its size is its own, not a page */
    g_assert_cmphex(cfg_read(dev, PCI_BASE_ADDRESS_4, 4), ==, 0xffffff00);

    place(dev, 4, SMALL_AT); /* alone in its page: KVM gets all of it */
    g_assert_cmphex(mapped_at(SMALL_AT), ==, 0x1000);
    g_assert_cmphex(mem_read(SMALL_AT + 0x10), ==, 0x11223344);
    mem_write(SMALL_AT + 0x14, 0x55);
    g_assert_cmphex(sim_region_peek(sim, 4, 0x14), ==, 0x55);

    place(dev, 5, SMALL_AT + 0x200); /* no longer; the other one is reached all the same */
    g_assert_cmphex(mapped_at(SMALL_AT), ==, 0x200);
    g_assert_cmphex(mapped_at(SMALL_AT + 0x200), ==, 0);
    sim_region_poke(sim, 5, 0, 0x99);
    g_assert_cmphex(mem_read(SMALL_AT + 0x200), ==, 0x99);

    place(dev, 4, SMALL_AT + 0x100); /* in the middle: trapped, and just as long as it is */
    g_assert_cmphex(mapped_at(SMALL_AT + 0x100), ==, 0);
    g_assert_cmphex(mem_read(SMALL_AT + 0x110), ==, 0x11223344);
    g_assert_null(range_at(SMALL_AT + 0x50).mr);

    place(dev, 5, SMALL_AT + 0x1000);
    place(dev, 4, SMALL_AT);
    g_assert_cmphex(mapped_at(SMALL_AT), ==, 0x1000);
    g_assert_cmphex(mapped_at(SMALL_AT + 0x1000), ==, 0x1000);
    cfg_write(dev, PCI_COMMAND, 0, 2);
    g_assert_null(range_at(SMALL_AT).mr);

    pci_assign_resources(&err); /* firmware gives each a page */
    g_assert_no_error(err);
    for (unsigned nr = 4; nr <= 5; nr++) {
        g_assert_cmphex(mapped_at(cfg_read(dev, PCI_BASE_ADDRESS_0 + nr * 4, 4)), ==, 0x1000);
    }
    teardown(dev);

    setup(); /* one that the kernel does not let us map */
    sim_region_set(sim, 4, 0x100, RW);
    dev = plug_ok("");
    place(dev, 4, SMALL_AT);
    g_assert_cmphex(mapped_at(SMALL_AT), ==, 0);
    g_assert_nonnull(range_at(SMALL_AT).mr);
    teardown(dev);
}

/* Where host and guest address agree modulo a huge page, one maps it. */
static void test_huge_pages(void)
{
    static const uint64_t at = 0xc0800000;
    PCIDevice *dev;
    MemoryRange r;

    setup();
    sim_region_set(sim, 4, 4 * MiB, RWM);
    dev = plug_ok("");
    place(dev, 4, at);
    r = range_at(at);
    g_assert_cmphex(r.size, ==, 4 * MiB);
    g_assert_cmphex(((uintptr_t)memory_range_host(&r) ^ at) & (2 * MiB - 1), ==, 0);
    teardown(dev);
}

static void add_area(GByteArray *caps, uint64_t offset, uint64_t size)
{
    uint64_t area[2] = { offset, size };

    g_byte_array_append(caps, (const void *)area, sizeof(area));
}

/* Several areas; what is between them traps, and each is a dma-buf of its own. */
static void test_sparse(void)
{
    struct {
        struct vfio_info_cap_header header;
        uint32_t nr_areas, reserved;
    } sparse = { { VFIO_REGION_INFO_CAP_SPARSE_MMAP, 1, 0 }, 2, 0 };
    GByteArray *caps = g_byte_array_new();
    g_autofree char *log = NULL;
    g_autoptr(GError) err = NULL;
    PCIDevice *dev;

    setup();
    sim_region_set(sim, 4, 0x8000, RWM);
    g_byte_array_append(caps, (const void *)&sparse, sizeof(sparse));
    add_area(caps, 0x4000, 0x2000);
    add_area(caps, 0, 0x1000);
    sim->regions[4].caps = caps;
    dev = plug("", &err);
    g_assert_no_error(err);
    log = sim_take_log();
    g_assert_nonnull(strstr(log, "DMA_BUF 4 0x0+0x1000\n"));
    g_assert_nonnull(strstr(log, "DMA_BUF 4 0x4000+0x2000\n"));
    place(dev, 4, SMALL_AT);
    g_assert_cmphex(mapped_at(SMALL_AT), ==, 0x1000);
    g_assert_cmphex(mapped_at(SMALL_AT + 0x1000), ==, 0);
    g_assert_cmphex(mapped_at(SMALL_AT + 0x4000), ==, 0x2000);
    g_assert_cmphex(peer_at(SMALL_AT + 0x4000), ==, 0x2000);
    sim_region_poke(sim, 4, 0x1010, 0x77);
    g_assert_cmphex(mem_read(SMALL_AT + 0x1010), ==, 0x77);
    teardown(dev);
}

/* ---- x-msix-relocation ---- */

static void msix_mappable(void)
{
    struct vfio_info_cap_header cap = { VFIO_REGION_INFO_CAP_MSIX_MAPPABLE, 1, 0 };

    sim->regions[0].caps = g_byte_array_new();
    g_byte_array_append(sim->regions[0].caps, (const void *)&cap, sizeof(cap));
}

static uint64_t table_of(PCIDevice *dev)
{
    return cfg_read(dev, MSIX_CAP + PCI_MSIX_TABLE, 4);
}

static void test_relocation(void)
{
    PCIDevice *dev;

    /* Doubled: the table is in the upper half, and the device's own page is mapped. */
    setup();
    msix_mappable();
    dev = plug_ok(",x-msix-relocation=bar0");
    g_assert_cmphex(table_of(dev), ==, BAR0_SIZE | 0);
    g_assert_cmphex(cfg_read(dev, MSIX_CAP + PCI_MSIX_PBA, 4), ==, BAR0_SIZE + VECTORS * 16);
    cfg_write(dev, PCI_BASE_ADDRESS_0, UINT32_MAX, 4);
    g_assert_cmphex(cfg_read(dev, PCI_BASE_ADDRESS_0, 4), ==, (uint32_t)(-2 * BAR0_SIZE) | 4);
    map_bar0(dev);
    g_assert_cmphex(mapped_at(BAR0_AT), ==, BAR0_SIZE);
    mem_write(BAR0_AT + BAR0_SIZE, 0xfee00000); /* emulated */
    g_assert_cmphex(mem_read(BAR0_AT + BAR0_SIZE), ==, 0xfee00000);
    g_assert_cmphex(mem_read(BAR0_AT + 2 * BAR0_SIZE - 4), ==, UINT32_MAX);
    teardown(dev);

    /* Where the kernel protects the device's table, its page still traps. */
    setup();
    dev = plug_ok(",x-msix-relocation=bar0");
    map_bar0(dev);
    g_assert_cmphex(mapped_at(BAR0_AT), ==, TABLE_AT);
    g_assert_cmphex(mapped_at(BAR0_AT + PBA_AT), ==, 0x1000);
    teardown(dev);

    /* A BAR of its own: 64-bit and prefetchable. */
    setup();
    msix_mappable();
    dev = plug_ok(",x-msix-relocation=bar4");
    g_assert_cmphex(table_of(dev), ==, 4);
    g_assert_cmphex(cfg_read(dev, PCI_BASE_ADDRESS_4, 4), ==, 0xc);
    place(dev, 4, SMALL_AT);
    mem_write(SMALL_AT, 0xfee00000);
    g_assert_cmphex(mem_read(SMALL_AT), ==, 0xfee00000);
    map_bar0(dev);
    g_assert_cmphex(mapped_at(BAR0_AT), ==, BAR0_SIZE);
    teardown(dev);

    setup();
    assert_plug_fails(",x-msix-relocation=auto",
                      "No automatic MSI-X relocation available for device 1b36:0010");
    assert_plug_fails(",x-msix-relocation=bar1", "BAR 1, consumed by 64-bit BAR 0");
    assert_plug_fails(",x-msix-relocation=bar2", "BAR 2, I/O port BAR");
    assert_plug_fails(",x-msix-relocation=bar6", "does not accept value 'bar6'");
    sim_region_set(sim, 4, 2048 * MiB, RW);
    assert_plug_fails(",x-msix-relocation=bar4", "BAR 4, no space to extend 32-bit BAR");
    teardown(NULL);
}

/* ---- peer-to-peer ---- */

static void test_peer(void)
{
    PCIDevice *dev;
    uint32_t control = PM_CAP + PCI_PM_CTRL;
    unsigned resets;

    setup();
    pci_set_long(sim->config + EXPRESS_CAP + PCI_EXP_DEVCAP, PCI_EXP_DEVCAP_FLR);
    dev = plug_ok("");
    g_assert_cmphex(peer_at(BAR0_AT), ==, 0);
    map_bar0(dev);
    g_assert_cmphex(peer_at(BAR0_AT), ==, TABLE_AT); /* what the guest sees mapped */

    cfg_write(dev, PCI_COMMAND, 0, 2);
    g_assert_cmphex(peer_at(BAR0_AT), ==, 0);
    cfg_write(dev, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
    g_assert_cmphex(peer_at(BAR0_AT), ==, TABLE_AT);

    cfg_write(dev, control, PCI_PM_D3HOT, 2);
    g_assert_cmphex(peer_at(BAR0_AT), ==, 0);
    cfg_write(dev, control, 0, 2);
    g_assert_cmphex(peer_at(BAR0_AT), ==, TABLE_AT);

    resets = sim->resets; /* a function level reset while it decodes */
    cfg_write(dev, EXPRESS_CAP + PCI_EXP_DEVCTL, PCI_EXP_DEVCTL_BCR_FLR, 2);
    g_assert_cmpuint(sim->resets, ==, resets + 1);
    g_assert_cmphex(peer_at(BAR0_AT), ==, TABLE_AT);
    g_assert_true(bar0_mapped());

    cfg_write(dev, PCI_BASE_ADDRESS_0, BAR0_AT + 0x10000, 4); /* the guest moves it */
    g_assert_cmphex(peer_at(BAR0_AT), ==, 0);
    g_assert_cmphex(peer_at(BAR0_AT + 0x10000), ==, TABLE_AT);

    vm_start();
    vm_stop(RUN_STATE_PAUSED);
    DEVICE_GET_CLASS(dev)->reset(DEVICE(dev));
    g_assert_cmphex(peer_at(BAR0_AT + 0x10000), ==, 0);
    map_bar0(dev);
    g_assert_cmphex(peer_at(BAR0_AT), ==, TABLE_AT);
    g_assert_cmpuint(sim->revoked, ==, 0); /* the IOMMU never had what the device did not */
    teardown(dev);
}

/* The other register that does it, in a capability that older devices have. */
static void test_peer_af(void)
{
    uint8_t *cap;
    PCIDevice *dev;

    setup();
    cap = sim->config + EXPRESS_CAP;
    memset(cap, 0, 0x40);
    cap[0] = PCI_CAP_ID_AF;
    cap[PCI_AF_LENGTH] = 6;
    cap[PCI_AF_CAP] = PCI_AF_CAP_TP | PCI_AF_CAP_FLR;
    dev = plug_ok("");
    map_bar0(dev);
    cfg_write(dev, EXPRESS_CAP + PCI_AF_CTRL, PCI_AF_CTRL_FLR, 1);
    g_assert_cmpuint(sim->resets, ==, 1);
    g_assert_cmphex(peer_at(BAR0_AT), ==, TABLE_AT);
    g_assert_cmpuint(sim->revoked, ==, 0);
    teardown(dev);
}

/* A second device, in the same container. */
static PCIDevice *plug_second(SimDevice **second)
{
    g_autofree char *top = g_path_get_dirname(sysfs);
    g_autofree char *path = g_build_filename(top, "0000:03:00.0", NULL);
    g_autofree char *cdev = g_build_filename(path, "vfio-dev", "vfio8", NULL);
    g_autofree char *number = g_build_filename(cdev, "dev", NULL);
    g_autofree char *text = g_strdup_printf("vfio-pci,id=d1,sysfsdev=%s,iommufd=i0", path);
    g_autoptr(JsonObject) opts = keyval_parse(text, "driver", NULL, NULL);
    g_autoptr(GError) err = NULL;

    g_assert_cmpint(g_mkdir_with_parents(cdev, 0700), ==, 0);
    g_assert_true(g_file_set_contents(number, "510:8\n", -1, NULL));
    *second = sim_device_new(8);
    memcpy((*second)->config, sim->config, sizeof(sim->config));
    pci_set_long((*second)->config + PCI_CAPABILITY_LIST, 0);
    sim_region_set(*second, 0, BAR0_SIZE, RWM);
    (*second)->dmabuf_error = sim->dmabuf_error;
    device_add(opts, false, &err);
    g_assert_no_error(err);
    for (const char *const *part =
             (const char *const[]) { "vfio-dev/vfio8/dev", "vfio-dev/vfio8", "vfio-dev", "", NULL };
         *part; part++) {
        g_autofree char *old = g_build_filename(path, *part, NULL);

        g_remove(old);
    }
    return PCI_DEVICE(object_resolve("d1"));
}

static void test_two(void)
{
    g_autofree char *said = NULL;
    SimDevice *second;
    PCIDevice *dev, *other;

    setup();
    dev = plug_ok("");
    other = plug_second(&second);
    map_bar0(dev);
    cfg_write(other, PCI_BASE_ADDRESS_0, SMALL_AT, 4);
    cfg_write(other, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
    g_assert_cmphex(peer_at(BAR0_AT), ==, TABLE_AT);
    g_assert_cmphex(peer_at(SMALL_AT), ==, BAR0_SIZE);
    device_destroy(DEVICE(dev)); /* the other one's stays */
    g_assert_cmphex(peer_at(BAR0_AT), ==, 0);
    g_assert_cmphex(peer_at(SMALL_AT), ==, BAR0_SIZE);
    device_destroy(DEVICE(other));
    g_assert_cmpuint(sim->revoked + second->revoked, ==, 0);
    sim_device_free(second);
    teardown(NULL);

    /* A kernel without: said when it matters, once. */
    setup();
    sim->dmabuf_error = ENOTTY;
    listen_begin();
    dev = plug_ok("");
    map_bar0(dev);
    said = listen_end();
    g_assert_cmpstr(said, ==, "");
    g_free(said);
    listen_begin();
    other = plug_second(&second);
    said = listen_end();
    g_assert_nonnull(strstr(said, "0000:03:00.0 BAR 0 mmaps[0]: no DMA from other devices to it"));
    g_assert_true(strchr(said, '\n') == said + strlen(said) - 1);
    device_destroy(DEVICE(other));
    sim_device_free(second);
    g_assert_true(bar0_mapped());
    teardown(dev);
}

/* Not fatal, whatever it is; named; and the guest's own accesses work. */
static void test_peer_fails(void)
{
    g_autofree char *said = NULL;
    PCIDevice *dev;

    setup();
    sim->dmabuf_error = EINVAL;
    listen_begin();
    dev = plug_ok("");
    map_bar0(dev);
    said = listen_end();
    g_assert_nonnull(strstr(said, "vfio 0000:02:00.0 BAR 0 mmaps[0]: no DMA from other devices to "
                                  "it: VFIO_DEVICE_FEATURE_DMA_BUF failed: Invalid argument"));
    g_assert_true(bar0_mapped());
    g_assert_cmphex(peer_at(BAR0_AT), ==, 0);
    teardown(dev);

    /* The IOMMU does not take it at that address: once for all of them. */
    setup();
    dev = plug_ok("");
    g_free(said);
    listen_begin();
    cfg_write(dev, PCI_BASE_ADDRESS_0 + 4, 0x20000, 4);
    map_bar0(dev);
    cfg_write(dev, PCI_COMMAND, 0, 2);
    cfg_write(dev, PCI_BASE_ADDRESS_0 + 4, 0, 4);
    cfg_write(dev, PCI_BASE_ADDRESS_0, 0xfee00000, 4);
    cfg_write(dev, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
    cfg_write(dev, PCI_COMMAND, 0, 2);
    cfg_write(dev, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
    said = listen_end();
    g_assert_nonnull(strstr(said, "no DMA from other devices to '0000:02:00.0 BAR 0 mmaps[0]'"));
    g_assert_true(strchr(said, '\n') == said + strlen(said) - 1);
    teardown(dev);
}

/* ---- the ROM ---- */

static void test_rom(void)
{
    g_autofree char *top = g_dir_make_tmp("viaduct-rom-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(top, "rom", NULL);
    g_autofree char *with = g_strdup_printf(",romfile=%s", path);
    g_autofree char *larger = g_strdup_printf("%s,romsize=8192", with);
    g_autofree char *smaller = g_strdup_printf("%s,romsize=2048", with);
    g_autofree char *odd = g_strdup_printf("%s,romsize=3000", with);
    static const char data[3000] = { 0x55, (char)0xaa, 1, 2 };
    PCIDevice *dev;

    g_assert_true(g_file_set_contents(path, data, sizeof(data), NULL));
    setup();
    sim_region_set(sim, VFIO_PCI_ROM_REGION_INDEX, 0x1000, VFIO_REGION_INFO_FLAG_READ);
    dev = plug_ok(larger);
    cfg_write(dev, PCI_ROM_ADDRESS, 0xfffffffe, 4);
    g_assert_cmphex(cfg_read(dev, PCI_ROM_ADDRESS, 4), ==, (uint32_t)-8192);
    cfg_write(dev, PCI_ROM_ADDRESS, SMALL_AT | 1, 4);
    cfg_write(dev, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
    g_assert_cmphex(mem_read(SMALL_AT), ==, 0x0201aa55);
    g_assert_cmphex(mem_read(SMALL_AT + 8188), ==, UINT32_MAX);
    teardown(dev);

    setup();
    dev = plug_ok(with); /* where the device has none */
    cfg_write(dev, PCI_ROM_ADDRESS, 0xfffffffe, 4);
    g_assert_cmphex(cfg_read(dev, PCI_ROM_ADDRESS, 4), ==, (uint32_t)-4096);
    teardown(dev);

    setup();
    assert_plug_fails(smaller, "ROM size 2048 cannot be: its ROM has 3000 bytes");
    assert_plug_fails(odd, "ROM size 3000 is not a power of two");
    assert_plug_fails(",romfile=/nonexistent/rom", "No such file");
    assert_plug_fails(",romfile=/dev/zero", "is not a regular file");
    g_assert_true(g_file_set_contents(path, "", 0, NULL));
    assert_plug_fails(with, "is empty");
    g_assert_cmpint(truncate(path, 0x1000001), ==, 0);
    assert_plug_fails(with, "has 16777217 bytes, which is more than a ROM can have");
    teardown(NULL);
    g_remove(path);
    g_rmdir(top);
}

static void add_tests(void)
{
    g_test_add_func("/vfio-bars/sub-page", test_sub_page);
    g_test_add_func("/vfio-bars/huge-pages", test_huge_pages);
    g_test_add_func("/vfio-bars/sparse", test_sparse);
    g_test_add_func("/vfio-bars/relocation", test_relocation);
    g_test_add_func("/vfio-bars/peer", test_peer);
    g_test_add_func("/vfio-bars/peer-af", test_peer_af);
    g_test_add_func("/vfio-bars/two", test_two);
    g_test_add_func("/vfio-bars/peer-fails", test_peer_fails);
    g_test_add_func("/vfio-bars/rom", test_rom);
}

int main(int argc, char **argv)
{
    return vfio_test_run(argc, argv, add_tests);
}
