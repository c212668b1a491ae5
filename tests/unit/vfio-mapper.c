/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Guest memory that is mapped behind the guest's boot, and who waits for it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/runstate.h"
#include "hw/vfio/container.h"
#include "tests/unit/vfio-fixture.h"
#include "util/error.h"
#include "util/keyval.h"
#include "util/linux-iommufd.h"

static const HostCalls *kernel;
static gint mapped, refuse, refuse_at; /* atomic; the last: the n-th map from now on */
static gint asked;                     /* atomic: who wrote */
static bool tells_nothing;
static int mapped_at_master = -1;

static PCIDevice *leaving; /* goes while the next one is opened */

/* Slow enough for the guest to come first. */
static int slow_ioctl(int fd, unsigned long request, void *arg)
{
    bool map = request == IOMMU_IOAS_MAP || request == IOMMU_IOAS_MAP_FILE;
    int ret;

    if (request == VFIO_DEVICE_BIND_IOMMUFD && leaving) {
        device_destroy(DEVICE(g_steal_pointer(&leaving)));
    }
    if (map) {
        g_usleep(20000);
    }
    if (map && (g_atomic_int_get(&refuse) ||
                (g_atomic_int_get(&refuse_at) && g_atomic_int_dec_and_test(&refuse_at)))) {
        errno = ENOMEM;
        return -1;
    }
    if (request == IOMMU_HWPT_GET_DIRTY_BITMAP) {
        g_atomic_int_inc(&asked);
        if (tells_nothing) {
            errno = EIO;
            return -1;
        }
    }
    ret = kernel->ioctl(fd, request, arg);
    if (map && !ret) {
        g_atomic_int_inc(&mapped);
    }
    return ret;
}

static ssize_t watched_pwrite(int fd, const void *buf, size_t len, off_t offset)
{
    off_t command = ((off_t)VFIO_PCI_CONFIG_REGION_INDEX << 40) + PCI_COMMAND;

    if (offset == command && ((const uint8_t *)buf)[0] & PCI_COMMAND_MASTER) {
        mapped_at_master = g_atomic_int_get(&mapped);
    }
    return kernel->pwrite(fd, buf, len, offset);
}

/* Another iommufd object, which does not wait. */
static const char *object = "iommufd,id=i1";

static PCIDevice *plug_slow(HostCalls *slow, GError **errp)
{
    g_autoptr(JsonObject) opts = keyval_parse(object, "qom-type", NULL, NULL);

    setup();
    sim->dirty_tracking = true;
    g_assert_true(user_object_add(opts, NULL));
    kernel = hostcalls;
    *slow = *kernel;
    slow->ioctl = slow_ioctl;
    slow->pwrite = watched_pwrite;
    hostcalls = slow;
    mapped = 0;
    mapped_at_master = -1;
    return plug(",iommufd=i1", errp);
}

static void end(PCIDevice *dev)
{
    teardown(dev);
    hostcalls = kernel;
    g_assert_true(user_object_del("i1", NULL));
}

static void test_master(void)
{
    g_autoptr(GError) err = NULL;
    HostCalls slow;
    PCIDevice *dev = plug_slow(&slow, &err);

    g_assert_no_error(err);
    g_assert_cmpint(g_atomic_int_get(&mapped), <, 3);
    cfg_write(dev, PCI_COMMAND, PCI_COMMAND_MEMORY, 2); /* needs no DMA, waits for nothing */
    g_assert_cmpint(g_atomic_int_get(&mapped), <, 3);
    cfg_write(dev, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
    g_assert_cmpint(mapped_at_master, ==, 3);
    end(dev);
}

/* It goes while its memory is still being mapped: what is, is unmapped, the rest never comes. */
static void test_early_end(void)
{
    HostCalls slow;

    end(plug_slow(&slow, NULL));
    g_assert_cmpint(mapped, <, 3);
}

/* Several threads share the work: each piece is done, and once. */
static void test_threads(void)
{
    HostCalls slow;
    PCIDevice *dev;
    VFIOContainer *c;

    object = "iommufd,id=i1,x-map-threads=4";
    dev = plug_slow(&slow, NULL);
    c = vfio_containers->pdata[0];
    g_assert_cmpuint(c->map_threads, ==, 4);
    while (vfio_mapper_populated(c->mapper) < 2 * 64 * MiB) {
        g_usleep(1000);
    }
    g_usleep(1000);
    g_assert_cmpuint(vfio_mapper_populated(c->mapper), ==, 2 * 64 * MiB);
    cfg_write(dev, PCI_COMMAND, PCI_COMMAND_MASTER, 2);
    g_assert_null(c->mapper);
    g_assert_cmpint(mapped, ==, 3);
    end(dev);
    object = "iommufd,id=i1";
}

#define SMALL_SIZE (1280 * MiB)

/* Memory without huge pages. */
static void add_small(MemoryRegion *mr, RAMBlock *block)
{
    *block = (RAMBlock) {
        .idstr = (char *)"small",
        .host =
            mmap(NULL, SMALL_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0),
        .size = SMALL_SIZE,
        .page_size = 4096,
        .fd = memfd_create("small", MFD_CLOEXEC),
        .shared = true,
    };
    g_assert_true(block->host != MAP_FAILED);
    memory_region_init_ram(mr, NULL, "small", block, 0, SMALL_SIZE);
    memory_region_add_child(address_space_memory.root, 1ULL << 32, mr, 1);
    object = "iommufd,id=i1,x-map-threads=3";
}

static void remove_small(MemoryRegion *mr, RAMBlock *block)
{
    object = "iommufd,id=i1";
    memory_region_del_child(address_space_memory.root, mr);
    memory_region_fini(mr);
    munmap(block->host, SMALL_SIZE);
    close(block->fd);
}

/* It is mapped in parts by several threads, and unmapped as a whole. */
static void test_small_pages(void)
{
    g_autofree char *log = NULL;
    MemoryRegion mr;
    RAMBlock block;
    HostCalls slow;
    PCIDevice *dev;

    add_small(&mr, &block);
    dev = plug_slow(&slow, NULL);
    cfg_write(dev, PCI_COMMAND, PCI_COMMAND_MASTER, 2);
    g_assert_cmpint(mapped, ==, 3 + 5);
    g_free(sim_take_log());
    end(dev);
    log = sim_take_log();
    g_assert_nonnull(strstr(log, "IOMMU_IOAS_UNMAP 1 0x100000000+0x50000000"));
    end(plug_slow(&slow, NULL)); /* it goes early */
    remove_small(&mr, &block);
}

/* Who wrote it is asked in the same parts, each of them once, by several threads. */
static void test_small_pages_dirty(void)
{
    static const uint64_t pages[] = {
        0, 256 * MiB - 0x1000, 256 * MiB, 600 * MiB, 1024 * MiB, SMALL_SIZE - 0x1000,
    };
    VFIOContainer *c;
    MemoryRegion mr;
    RAMBlock block;
    HostCalls slow;
    PCIDevice *dev;

    add_small(&mr, &block);
    ram_block_register(&block);
    dev = plug_slow(&slow, NULL);
    c = vfio_containers->pdata[0];
    g_assert_true(ram_dirty_start(NULL));
    g_assert_true(vfio_container_dirty_start(c, NULL));
    for (unsigned round = 0; round < 100; round++) {
        for (size_t i = 0; i < G_N_ELEMENTS(pages); i++) {
            sim_dma_write(sim, (1ULL << 32) + pages[i]);
        }
        asked = 0;
        vfio_container_dirty_sync(c);
        g_assert_cmpint(asked, ==, 5);
        g_assert_cmpuint(ram_block_dirty_pages(&block), ==, G_N_ELEMENTS(pages));
        for (size_t i = 0; i < G_N_ELEMENTS(pages); i++) {
            uint64_t page = pages[i] / RAM_DIRTY_PAGE;

            g_assert_cmphex(block.dirty[page / 64] & 1ULL << page % 64, !=, 0);
            block.dirty[page / 64] = 0;
        }
        g_assert_cmpuint(ram_block_dirty_pages(&block), ==, 0);
    }
    tells_nothing = true;
    vfio_container_dirty_sync(c);
    tells_nothing = false;
    g_assert_cmpuint(ram_block_dirty_pages(&block), ==, SMALL_SIZE / RAM_DIRTY_PAGE);
    vfio_container_dirty_stop(c);
    ram_dirty_stop();
    end(dev);
    ram_block_unregister(&block);
    remove_small(&mr, &block);
}

/* One part fails: the reason comes out, and nothing is left. */
static void test_small_pages_fail(void)
{
    MemoryRegion mr;
    RAMBlock block;
    HostCalls slow;
    PCIDevice *dev;

    if (!g_test_subprocess()) {
        g_test_trap_subprocess(NULL, 0, G_TEST_SUBPROCESS_DEFAULT);
        g_test_trap_assert_passed();
        g_test_trap_assert_stderr("*cannot map guest memory 'small' at 0x1?0000000-0x1?fffffff for "
                                  "DMA: i1: IOMMU_IOAS_MAP_FILE*Cannot allocate memory*");
        return;
    }
    add_small(&mr, &block);
    g_atomic_int_set(&refuse_at, 6);
    dev = plug_slow(&slow, NULL);
    g_assert_false(vfio_device_dma_ready(vfio_devices->pdata[0]));
    g_assert_cmpint(mapped, <, 3 + 5);
    end(dev);
    remove_small(&mr, &block);
}

/* A change of guest memory finds all that was there before it mapped. */
static void test_change(void)
{
    MemoryRegion late;
    HostCalls slow;
    PCIDevice *dev = plug_slow(&slow, NULL);
    RAMBlock block = { .idstr = (char *)"late", .host = g_malloc(8192), .size = 4096, .fd = -1 };
    char *host = block.host;

    block.host = host + 4096 - ((uintptr_t)host & 4095);
    memory_region_init_ram(&late, NULL, "late", &block, 0, 4096);
    memory_region_add_child(address_space_memory.root, 16 * MiB, &late, 1);
    g_assert_cmpint(mapped, ==, 4);
    memory_region_del_child(address_space_memory.root, &late);
    memory_region_fini(&late);
    g_free(host);
    end(dev);
}

/* The first device, for which it is mapped, goes; the second has all of it nevertheless. */
static void test_handed_on(void)
{
    g_autofree char *top = g_path_get_dirname(sysfs);
    g_autofree char *text =
        g_strdup_printf("vfio-pci,id=d1,sysfsdev=%s/0000:03:00.0,iommufd=i1", top);
    g_autoptr(JsonObject) opts = keyval_parse(text, "driver", NULL, NULL);
    HostCalls slow;
    PCIDevice *dev;
    SimDevice *second;

    leaving = NULL;
    dev = plug_slow(&slow, NULL);
    second = sim_device_new(8);
    pci_set_word(second->config, 0x1234);
    second->flags = VFIO_DEVICE_FLAGS_PCI;
    leaving = dev;
    g_assert_true(device_add(opts, false, NULL));
    g_assert_null(leaving);
    dev = PCI_DEVICE(object_resolve("d1"));
    cfg_write(dev, PCI_COMMAND, PCI_COMMAND_MASTER, 2);
    g_assert_cmpint(mapped_at_master, ==, 3);
    end(dev);
    sim_device_free(second);
}

/* Last, for the main loop runs: then a failure ends the process with status 1, and before it does
 * the guest's driver gets no DMA. */
static void test_failure(void)
{
    HostCalls slow;
    PCIDevice *dev;

    if (g_test_subprocess()) {
        error_location_set("-device %s: ", "x");
        refuse = true;
        dev = plug_slow(&slow, NULL);
        g_assert_nonnull(dev);
        cfg_write(dev, PCI_COMMAND, PCI_COMMAND_MASTER, 2);
        cfg_write(dev, PCI_COMMAND, PCI_COMMAND_MASTER, 2); /* nor later */
        g_assert_cmpint(mapped_at_master, ==, -1);
        refuse = false;
        end(dev);
        exit(main_loop_run() != 1);
    }
    g_test_trap_subprocess(NULL, 0, G_TEST_SUBPROCESS_DEFAULT);
    g_test_trap_assert_passed();
    g_test_trap_assert_stderr("*: -device x: vfio 0000:02:00.0: cannot map guest memory 'low' at "
                              "0x0-0x9ffff for DMA: i1: IOMMU_IOAS_MAP_FILE (iova 0x0, length "
                              "0xa0000) failed: Cannot allocate memory*");
}

/* While the VM runs a device either gets its memory or is refused. */
static void test_hotplug(void)
{
    g_autoptr(GError) err = NULL;
    HostCalls slow;
    PCIDevice *dev;

    system_shutdown_request(SHUTDOWN_CAUSE_HOST_QMP_QUIT);
    g_assert_cmpint(main_loop_run(), ==, 0);
    dev = plug_slow(&slow, NULL);
    g_assert_cmpint(mapped, ==, 3);
    end(dev);
    refuse = true;
    g_assert_null(plug_slow(&slow, &err));
    g_assert_nonnull(strstr(err->message, "cannot map guest memory 'low'"));
    refuse = false;
    end(NULL);
}

static void add_tests(void)
{
    g_test_add_func("/vfio/mapper/master", test_master);
    g_test_add_func("/vfio/mapper/early-end", test_early_end);
    g_test_add_func("/vfio/mapper/threads", test_threads);
    g_test_add_func("/vfio/mapper/small-pages", test_small_pages);
    g_test_add_func("/vfio/mapper/small-pages-dirty", test_small_pages_dirty);
    g_test_add_func("/vfio/mapper/small-pages-fail", test_small_pages_fail);
    g_test_add_func("/vfio/mapper/change", test_change);
    g_test_add_func("/vfio/mapper/handed-on", test_handed_on);
    g_test_add_func("/vfio/mapper/failure", test_failure);
    g_test_add_func("/vfio/mapper/hotplug", test_hotplug);
}

int main(int argc, char **argv)
{
    return vfio_test_run(argc, argv, add_tests);
}
