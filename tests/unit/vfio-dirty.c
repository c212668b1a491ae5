/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which guest pages devices have written, and what is said where nobody knows. */
#include <errno.h>
#include <string.h>

#include "hw/vfio/container.h"
#include "tests/unit/vfio-fixture.h"
#include "util/error.h"
#include "util/keyval.h"
#include "util/linux-iommufd.h"

/* Three MiB at 0, less what is between 640 KiB and 1 MiB; a page more that starts inside a word. */
#define ODD_AT     (16 * MiB)
#define ODD_OFFSET 0xa3000
#define ODD_SIZE   0x5d000
#define MAPPED     (2 * MiB + 0xa0000)

static RAMBlock *ram, *private_ram;
static MemoryRegion odd;

static VFIOContainer *container(void)
{
    return vfio_containers->pdata[0];
}

static void find_blocks(void)
{
    FlatView *view = address_space_view(&address_space_memory);

    ram = flat_view_find(view, 0)->mr->block;
    private_ram = flat_view_find(view, 2 * MiB)->mr->block;
    flat_view_unref(view);
    ram_block_register(ram);
    ram_block_register(private_ram);
}

static void add_odd(void)
{
    memory_region_init_ram(&odd, NULL, "odd", ram, ODD_OFFSET, ODD_SIZE);
    memory_region_add_child(address_space_memory.root, ODD_AT, &odd, 1);
}

static void remove_odd(void)
{
    memory_region_del_child(address_space_memory.root, &odd);
    memory_region_fini(&odd);
}

/* All devices there are come, and writes are tracked. */
static void begin(unsigned n)
{
    g_autoptr(GError) err = NULL;

    for (unsigned i = 0; i < n; i++) {
        g_assert_true(plug_nth(i, NULL));
    }
    g_assert_true(ram_dirty_start(&err));
    g_assert_true(vfio_container_dirty_start(container(), &err));
    g_assert_no_error(err);
    g_free(sim_take_log());
}

static void end(unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        if (devices[i]) {
            unplug_nth(i);
        }
    }
    ram_dirty_stop();
    g_assert_null(ram->dirty);
    teardown_three();
}

static uint64_t dirty_pages(void)
{
    return ram_block_dirty_pages(ram) + ram_block_dirty_pages(private_ram);
}

/* Takes the page's bit. */
static bool take(RAMBlock *block, uint64_t offset)
{
    uint64_t bit = offset / RAM_DIRTY_PAGE, mask = 1ULL << bit % 64;
    bool was = block->dirty[bit / 64] & mask;

    block->dirty[bit / 64] &= ~mask;
    return was;
}

static void forget(void)
{
    memset(ram->dirty, 0, ram->size / RAM_DIRTY_PAGE / 8);
    memset(private_ram->dirty, 0, private_ram->size / RAM_DIRTY_PAGE / 8);
}

/* First and last pages of extents, and of words; through an extent that starts inside a word. */
static void write_and_check(SimDevice *dev)
{
    static const struct {
        uint64_t iova, offset;
        bool private;
    } pages[] = {
        { 0, 0, false },
        { 0x3f000, 0x3f000, false },
        { 0x40000, 0x40000, false },
        { 0x9f000, 0x9f000, false },
        { MiB, MiB, false },
        { 2 * MiB - 1, 2 * MiB - 0x1000, false },
        { 2 * MiB, 0, true },
        { ODD_AT, ODD_OFFSET, false },
        { ODD_AT + 0x1c000, 0xbf000, false }, /* the last of its first word */
        { ODD_AT + 0x1d000, 0xc0000, false },
        { ODD_AT + ODD_SIZE - 1, 0xff000, false },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(pages); i++) {
        sim_dma_write(dev, pages[i].iova);
    }
    vfio_container_dirty_sync(container());
    g_assert_cmpuint(dirty_pages(), ==, G_N_ELEMENTS(pages));
    for (size_t i = 0; i < G_N_ELEMENTS(pages); i++) {
        g_assert_true(take(pages[i].private ? private_ram : ram, pages[i].offset));
    }
    vfio_container_dirty_sync(container());
    g_assert_cmpuint(dirty_pages(), ==, 0);
}

static void test_iommu(void)
{
    setup_three();
    sims[0]->dirty_tracking = true;
    add_odd();
    sims[0]->logs_dma = true; /* not needed */
    begin(1);
    g_assert_cmpint(vfio_device_dirty_source(vfio_devices->pdata[0]), ==, VFIO_DIRTY_IOMMU);
    write_and_check(sims[0]);
    remove_odd();
    vfio_container_dirty_stop(container());
    sim_dma_write(sims[0], 0);
    vfio_container_dirty_sync(container());
    g_assert_cmpuint(dirty_pages(), ==, 0);
    end(1);
}

/* Pages of the IOMMU that are smaller and larger than those of the bitmap. */
static void test_page_sizes(void)
{
    setup_three();
    sims[0]->dirty_tracking = true;
    sims[0]->aperture.page = 2048;
    begin(1);
    sim_dma_write(sims[0], 0x5800);
    vfio_container_dirty_sync(container());
    g_assert_true(take(ram, 0x5000));
    g_assert_cmpuint(dirty_pages(), ==, 0);
    end(1);

    setup_three();
    sims[0]->dirty_tracking = true;
    sims[0]->aperture.page = 0x10000;
    begin(1);
    sim_dma_write(sims[0], MiB + 0x23456);
    vfio_container_dirty_sync(container());
    for (unsigned i = 0; i < 16; i++) {
        g_assert_true(take(ram, MiB + 0x20000 + i * RAM_DIRTY_PAGE));
    }
    g_assert_cmpuint(dirty_pages(), ==, 0);
    end(1);
}

/* Entries of the page table that reach over words of the bitmap. */
static void test_large_pages(void)
{
    setup_three();
    sims[0]->dirty_tracking = true;
    sims[0]->aperture.large_page = 0x10000;
    add_odd();
    begin(1);
    sim_dma_write(sims[0], ODD_AT + 0x1d000);
    vfio_container_dirty_sync(container());
    for (unsigned i = 0; i < 16; i++) {
        g_assert_true(take(ram, ODD_OFFSET + 0x10000 + i * RAM_DIRTY_PAGE));
    }
    g_assert_cmpuint(dirty_pages(), ==, 0);
    remove_odd();
    end(1);
}

/* AMD's, of which the kernel keeps the last page to itself. */
static void test_joined_entries(void)
{
    setup_three();
    sims[0]->dirty_tracking = true;
    sims[0]->iommu_type = VIADUCT_IOMMU_HW_INFO_TYPE_AMD;
    sims[0]->aperture.large_page = 0x10000;
    add_odd();
    begin(1);
    sim_dma_write(sims[0], ODD_AT + 0x1f000);
    sim_dma_write(sims[0], 0x2f000);
    vfio_container_dirty_sync(container());
    for (unsigned i = 0; i < 16; i++) {
        g_assert_true(take(ram, ODD_OFFSET + 0x10000 + i * RAM_DIRTY_PAGE));
        g_assert_true(take(ram, 0x20000 + i * RAM_DIRTY_PAGE));
    }
    g_assert_cmpuint(dirty_pages(), ==, 0);
    remove_odd();
    end(1);
}

static void set_bits(uint64_t *bitmap, uint64_t first, uint64_t n)
{
    for (uint64_t bit = first; bit < first + n; bit++) {
        bitmap[bit / 64] |= 1ULL << bit % 64;
    }
}

/* All sizes and places of such an entry, at whatever page the bitmap begins. */
static void test_fill_joined(void)
{
    static const uint64_t bases[] = { 0, 0x1000, 0x3f000, 2 * MiB, 3 * MiB - 0x1000 };
    static const uint64_t sizes[] = { 0x1000, 2 * MiB };
    const uint64_t length = 40 * MiB, words = length / RAM_DIRTY_PAGE / 64;

    for (size_t i = 0; i < G_N_ELEMENTS(bases) * G_N_ELEMENTS(sizes); i++) {
        uint64_t base = bases[i / 2], size = sizes[i % 2];

        for (uint64_t n = 2; n <= 8; n *= 2) {
            uint64_t at = (base + n * size - 1) / (n * size) * (n * size);

            for (; at + n * size <= base + MIN(length, 8 * n * size); at += n * size) {
                g_autofree uint64_t *got = g_new0(uint64_t, words), *want = g_new0(uint64_t, words);

                set_bits(got, (at - base) / RAM_DIRTY_PAGE, (n - 1) * size / RAM_DIRTY_PAGE);
                set_bits(want, (at - base) / RAM_DIRTY_PAGE, n * size / RAM_DIRTY_PAGE);
                vfio_dirty_fill_joined(got, base, length);
                g_assert_cmpmem(got, words * 8, want, words * 8);
            }
        }
    }
}

/* A log of larger pages: an extent that has a part of one is all dirty. */
static void test_log_page(void)
{
    setup_three();
    sims[0]->logs_dma = true;
    sims[0]->log_page = 0x10000;
    add_odd();
    begin(1);
    sim_dma_write(sims[0], 0x23000);
    vfio_container_dirty_sync(container());
    for (unsigned i = 0; i < 16; i++) {
        g_assert_true(take(ram, 0x20000 + i * RAM_DIRTY_PAGE));
    }
    for (uint64_t at = 0; at < ODD_SIZE; at += RAM_DIRTY_PAGE) {
        g_assert_true(take(ram, ODD_OFFSET + at));
    }
    g_assert_cmpuint(dirty_pages(), ==, 0);
    remove_odd();
    end(1);
}

static void test_log_page_odd(void)
{
    setup_three();
    sims[0]->logs_dma = true;
    sims[0]->log_page = 0x3000;
    begin(1);
    vfio_container_dirty_sync(container());
    g_assert_true(take(ram, 0));
    g_assert_true(take(ram, 0x23000));
    end(1);
}

static void test_device(void)
{
    g_autofree char *log = NULL;

    setup_three();
    sims[0]->logs_dma = true;
    add_odd();
    begin(1);
    g_assert_cmpint(vfio_device_dirty_source(vfio_devices->pdata[0]), ==, VFIO_DIRTY_DEVICE);
    g_assert_cmpuint(sims[0]->logged_ranges->len, ==, 3); /* the second MiB and the third are one */
    write_and_check(sims[0]);
    vfio_container_dirty_stop(container());
    log = sim_take_log();
    g_assert_nonnull(strstr(log, "LOGGING_STOP"));
    g_assert_null(strstr(log, "SET_DIRTY"));
    remove_odd();
    end(1);
}

/* One of each: the container knows all that any of them wrote. */
static void test_mixed(void)
{
    setup_three();
    sims[0]->dirty_tracking = true;
    sims[1]->iommu = 1;
    sims[1]->logs_dma = true;
    begin(2);
    sim_dma_write(sims[0], 0x1000);
    sim_dma_write(sims[1], 0x2000);
    sim_dma_write(sims[0], 0x3000);
    sim_dma_write(sims[1], 0x3000);
    vfio_container_dirty_sync(container());
    g_assert_cmpuint(dirty_pages(), ==, 3);
    vfio_container_dirty_stop(container());
    forget();

    sims[2]->iommu = 2;
    g_assert_true(plug_nth(2, NULL));
    g_assert_cmpint(vfio_device_dirty_source(vfio_devices->pdata[2]), ==, VFIO_DIRTY_UNKNOWN);
    g_assert_true(vfio_container_dirty_start(container(), NULL));
    vfio_container_dirty_sync(container());
    g_assert_cmpuint(dirty_pages(), ==, MAPPED / RAM_DIRTY_PAGE);
    g_assert_false(take(ram, 0xa0000)); /* mapped nowhere */
    end(3);
}

static void test_mdev(void)
{
    setup_three();
    sims[0]->mdev = true;
    begin(1);
    vfio_container_dirty_sync(container());
    g_assert_cmpuint(dirty_pages(), ==, MAPPED / RAM_DIRTY_PAGE);
    end(1);
}

/* What is unmapped meanwhile keeps what was written there; what comes is tracked if it can be. */
static void test_unmap(void)
{
    for (int logs = 0; logs < 2; logs++) {
        setup_three();
        sims[0]->dirty_tracking = !logs;
        sims[0]->logs_dma = logs;
        add_odd();
        begin(1);
        sim_dma_write(sims[0], ODD_AT + 0x1000);
        remove_odd();
        g_assert_true(take(ram, ODD_OFFSET + 0x1000));
        g_assert_cmpuint(dirty_pages(), ==, 0);
        add_odd();
        vfio_container_dirty_sync(container());
        g_assert_cmpuint(dirty_pages(), ==, logs ? ODD_SIZE / RAM_DIRTY_PAGE : 0);
        remove_odd();
        end(1);
    }
}

static void test_devices_come_and_go(void)
{
    setup_three();
    for (unsigned i = 0; i < 3; i++) {
        sims[i]->dirty_tracking = true;
    }
    sims[1]->iommu = sims[2]->iommu = 1;
    sims[2]->dirty_tracking = false;
    begin(2);
    sim_dma_write(sims[1], 0x7000);
    unplug_nth(1);
    g_assert_true(take(ram, 0x7000));
    g_assert_cmpuint(dirty_pages(), ==, 0);
    g_assert_true(plug_nth(2, NULL)); /* nobody sees what that one does */
    vfio_container_dirty_sync(container());
    g_assert_cmpuint(dirty_pages(), ==, MAPPED / RAM_DIRTY_PAGE);
    end(3);

    setup_three();
    sims[0]->logs_dma = sims[1]->logs_dma = true;
    begin(2);
    sim_dma_write(sims[1], 0x7000);
    unplug_nth(1);
    g_assert_true(take(ram, 0x7000));
    sim_dma_write(sims[0], 0x8000);
    vfio_container_dirty_sync(container());
    g_assert_true(take(ram, 0x8000));
    g_assert_cmpuint(dirty_pages(), ==, 0);
    end(2);
}

static bool is_tracking(const char *log)
{
    const char *on = g_strrstr(log, "SET_DIRTY_TRACKING 3 1");
    const char *off = g_strrstr(log, "SET_DIRTY_TRACKING 3 0");

    return on && (!off || off < on);
}

/* On everything or on nothing. */
static void test_start_fails(void)
{
    unsigned failures = 0;

    setup_three();
    sims[0]->dirty_tracking = true;
    sims[1]->iommu = 1;
    sims[1]->logs_dma = true;
    sims[2]->iommu = 2;
    sims[2]->dirty_tracking = true;
    for (unsigned i = 0; i < 3; i++) {
        g_assert_true(plug_nth(i, NULL));
    }
    g_assert_true(ram_dirty_start(NULL));
    for (unsigned n = 1; n < 20; n++) {
        g_autoptr(GError) err = NULL;
        g_autofree char *log = NULL;

        g_free(sim_take_log());
        sim_fail(n);
        if (vfio_container_dirty_start(container(), &err)) {
            sim_fail(0);
            g_assert_false(container()->dirty_all); /* nor is a log forgotten */
            vfio_container_dirty_stop(container());
            continue;
        }
        g_test_message("%s", err->message);
        failures++;
        log = sim_take_log();
        g_assert_false(is_tracking(log));
        g_assert_false(sims[1]->logging);
        g_assert_false(container()->dirty_on);
    }
    g_assert_cmpuint(failures, ==, 3);
    g_assert_false(vfio_container_dirty_start(container(), NULL) &&
                   vfio_container_dirty_start(container(), NULL));
    end(3);
}

/* What the kernel does not answer counts as dirty. */
static void test_query_fails(void)
{
    for (int logs = 0; logs < 2; logs++) {
        setup_three();
        sims[0]->dirty_tracking = !logs;
        sims[0]->logs_dma = logs;
        begin(1);
        sim_fail(1);
        vfio_container_dirty_sync(container());
        g_assert_true(sim_failed());
        g_assert_cmpuint(dirty_pages(), >=, 0xa0);
        g_assert_cmpuint(dirty_pages(), <=, 0x100);
        end(1);
    }
}

/* More extents than a device takes ranges: the smallest gaps go. */
static void test_many_ranges(void)
{
    static MemoryRegion regions[600];

    setup_three();
    sims[0]->logs_dma = true;
    memory_transaction_begin();
    for (unsigned i = 0; i < 600; i++) {
        memory_region_init_ram(&regions[i], NULL, "many", ram, i % 500 * 0x1000, 0x1000);
        memory_region_add_child(address_space_memory.root, 64 * MiB + i * (i % 2 ? 0x8000 : 0x8800),
                                &regions[i], 1);
    }
    memory_transaction_commit();
    begin(1);
    g_assert_cmpuint(sims[0]->logged_ranges->len, <=, 256);
    g_assert_cmpuint(sims[0]->logged_ranges->len, >, 1);
    sim_dma_write(sims[0], 64 * MiB + 599 * 0x8000);
    vfio_container_dirty_sync(container());
    g_assert_true(take(ram, 99 * 0x1000));
    g_assert_cmpuint(dirty_pages(), ==, 0);
    memory_transaction_begin();
    for (unsigned i = 0; i < 600; i++) {
        memory_region_del_child(address_space_memory.root, &regions[i]);
    }
    memory_transaction_commit();
    for (unsigned i = 0; i < 600; i++) {
        memory_region_fini(&regions[i]);
    }
    end(1);
}

static const HostCalls *kernel;

static int slow_ioctl(int fd, unsigned long request, void *arg)
{
    if (request == IOMMU_IOAS_MAP || request == IOMMU_IOAS_MAP_FILE) {
        g_usleep(20000);
    }
    return kernel->ioctl(fd, request, arg);
}

/* It starts when all is mapped that is to be. */
static void test_mapper_busy(void)
{
    g_autoptr(JsonObject) opts = keyval_parse("iommufd,id=i1", "qom-type", NULL, NULL);
    HostCalls slow;
    PCIDevice *dev;

    setup();
    sim->dirty_tracking = true;
    g_assert_true(user_object_add(opts, NULL));
    kernel = hostcalls;
    slow = *kernel;
    slow.ioctl = slow_ioctl;
    hostcalls = &slow;
    dev = plug(",iommufd=i1", NULL);
    g_assert_true(ram_dirty_start(NULL));
    g_assert_nonnull(container()->mapper);
    g_assert_true(vfio_container_dirty_start(container(), NULL));
    g_assert_null(container()->mapper);
    sim_dma_write(sim, 2 * MiB);
    vfio_container_dirty_sync(container());
    g_assert_true(take(private_ram, 0));
    g_assert_cmpuint(dirty_pages(), ==, 0);
    ram_dirty_stop();
    teardown(dev);
    hostcalls = kernel;
    g_assert_true(user_object_del("i1", NULL));
}

static void test_bitmap(void)
{
    RAMBlock block = { .idstr = (char *)"x", .size = 200 * RAM_DIRTY_PAGE };

    ram_block_set_dirty(&block, 0, 1);
    g_assert_cmpuint(ram_block_dirty_pages(&block), ==, 200);
    ram_block_register(&block);
    g_assert_true(ram_dirty_start(NULL));
    g_assert_cmpuint(ram_block_dirty_pages(&block), ==, 0);
    ram_block_set_dirty(&block, 63 * RAM_DIRTY_PAGE + 5, RAM_DIRTY_PAGE);
    g_assert_cmphex(block.dirty[0], ==, 1ULL << 63);
    g_assert_cmphex(block.dirty[1], ==, 1);
    ram_block_set_dirty(&block, 0, block.size);
    g_assert_cmpuint(ram_block_dirty_pages(&block), ==, 200);
    g_assert_true(ram_dirty_start(NULL)); /* what there is stays */
    g_assert_cmpuint(ram_block_dirty_pages(&block), ==, 200);
    ram_block_unregister(&block);
    g_assert_null(block.dirty);
    ram_dirty_stop();
}

static void add_tests(void)
{
    find_blocks();
    g_test_add_func("/vfio/dirty/bitmap", test_bitmap);
    g_test_add_func("/vfio/dirty/iommu", test_iommu);
    g_test_add_func("/vfio/dirty/page-sizes", test_page_sizes);
    g_test_add_func("/vfio/dirty/large-pages", test_large_pages);
    g_test_add_func("/vfio/dirty/joined-entries", test_joined_entries);
    g_test_add_func("/vfio/dirty/fill-joined", test_fill_joined);
    g_test_add_func("/vfio/dirty/device", test_device);
    g_test_add_func("/vfio/dirty/log-page", test_log_page);
    g_test_add_func("/vfio/dirty/log-page-odd", test_log_page_odd);
    g_test_add_func("/vfio/dirty/mixed", test_mixed);
    g_test_add_func("/vfio/dirty/mdev", test_mdev);
    g_test_add_func("/vfio/dirty/unmap", test_unmap);
    g_test_add_func("/vfio/dirty/devices-come-and-go", test_devices_come_and_go);
    g_test_add_func("/vfio/dirty/start-fails", test_start_fails);
    g_test_add_func("/vfio/dirty/query-fails", test_query_fails);
    g_test_add_func("/vfio/dirty/many-ranges", test_many_ranges);
    g_test_add_func("/vfio/dirty/mapper-busy", test_mapper_busy);
}

int main(int argc, char **argv)
{
    return vfio_test_run(argc, argv, add_tests);
}
