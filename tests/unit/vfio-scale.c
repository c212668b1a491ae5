/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A terabyte of guest memory in a thousand extents, and 64 devices: calls, bytes, time. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/object.h"
#include "hw/vfio/container.h"
#include "tests/unit/vfio-fixture.h"
#include "util/error.h"
#include "util/hostcalls.h"

#define EXTENTS 1000
#define DEVICES 64
#define TiB     (1ULL << 40)
#define STRIDE  (TiB / EXTENTS / RAM_BLOCK_ALIGN * RAM_BLOCK_ALIGN)

/* ---- each allocation of the process is counted ---- */

static gint allocations; /* atomic */

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define COUNTED_BY_SANITIZER
#endif
#endif
#if defined(COUNTED_BY_SANITIZER) || defined(__SANITIZE_ADDRESS__)
void __sanitizer_malloc_hook(const volatile void *p, size_t size);
void __sanitizer_malloc_hook(const volatile void *p, size_t size)
{
    g_atomic_int_inc(&allocations);
}
#else
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t size);

void *malloc(size_t size)
{
    g_atomic_int_inc(&allocations);
    return __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
    g_atomic_int_inc(&allocations);
    return __libc_calloc(n, size);
}

void *realloc(void *p, size_t size)
{
    g_atomic_int_inc(&allocations);
    return __libc_realloc(p, size);
}
#endif

/* ---- the kernel's calls ---- */

static const HostCalls *kernel;
static gint calls; /* atomic */

static int counted_ioctl(int fd, unsigned long request, void *arg)
{
    g_atomic_int_inc(&calls);
    return kernel->ioctl(fd, request, arg);
}

/* ---- much memory, many devices ---- */

/* Every 100th extent starts inside a word of the bitmap. */
static RAMBlock block;
static MemoryRegion regions[EXTENTS];
static SimDevice *sim_devs[DEVICES];
static VFIODevice vfio_devs[DEVICES];
static GPtrArray *attached;

static void add_memory(void)
{
    block = (RAMBlock) {
        .idstr = (char *)"huge",
        .host = mmap(NULL, TiB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0),
        .size = TiB,
        .page_size = 1ULL << 30, /* huge pages already: nobody tries to make some */
        .fd = memfd_create("huge", MFD_CLOEXEC),
        .shared = true,
    };
    g_assert_true(block.host != MAP_FAILED);
    g_assert_cmpint(ftruncate(block.fd, (off_t)TiB), ==, 0);
    ram_block_register(&block);
    memory_transaction_begin();
    for (unsigned i = 0; i < EXTENTS; i++) {
        uint64_t odd = i % 100 ? 0 : 0x3000;

        memory_region_init_ram(&regions[i], NULL, "huge", &block, i * STRIDE + odd, STRIDE - odd);
        memory_region_add_child(address_space_memory.root, (1ULL << 32) + i * 2 * STRIDE,
                                &regions[i], 0);
    }
    memory_transaction_commit();
}

static void remove_memory(void)
{
    memory_transaction_begin();
    for (unsigned i = 0; i < EXTENTS; i++) {
        memory_region_del_child(address_space_memory.root, &regions[i]);
    }
    memory_transaction_commit();
    for (unsigned i = 0; i < EXTENTS; i++) {
        memory_region_fini(&regions[i]);
    }
    ram_block_unregister(&block);
    munmap(block.host, TiB);
    close(block.fd);
}

static void attach(unsigned i, IOMMUFDBackend *be)
{
    struct vfio_device_bind_iommufd bind = { .argsz = VFIO_BIND_IOMMUFD_ARGSZ };
    g_autofree char *path = g_strdup_printf("/dev/vfio/devices/vfio%u", 100 + i);
    g_autoptr(GError) err = NULL;
    VFIODevice *dev = &vfio_devs[i];
    VFIOContainer *c;

    g_assert_true(iommufd_backend_connect(be, NULL));
    c = vfio_container_of_iommufd(be, NULL);
    *dev = (VFIODevice) { .name = (char *)"x", .fd = hostcalls->open(path, O_RDWR), .iommufd = be };
    bind.iommufd = be->fd;
    g_assert_cmpint(hostcalls->ioctl(dev->fd, VFIO_DEVICE_BIND_IOMMUFD, &bind), ==, 0);
    dev->devid = bind.out_devid;
    vfio_container_attach(c, dev, &err);
    g_assert_no_error(err);
    g_ptr_array_add(attached, dev);
}

static void detach_all(IOMMUFDBackend *be)
{
    while (attached->len) {
        VFIODevice *dev = attached->pdata[attached->len - 1];

        vfio_container_detach(dev);
        iommufd_backend_disconnect(be);
        hostcalls->close(dev->fd);
        g_ptr_array_set_size(attached, (int)attached->len - 1);
    }
    for (unsigned i = 0; i < DEVICES; i++) {
        sim_device_free(sim_devs[i]);
    }
}

/* A pass over it all, after @writes pages were written. */
static void pass(VFIOContainer *c, unsigned writes)
{
    gint before;
    gint calls_before = calls;
    gint64 t0;

    memset(block.dirty, 0, TiB / RAM_DIRTY_PAGE / 8);
    for (unsigned i = 0; i < writes; i++) {
        sim_dma_write(sim_devs[i % DEVICES], (1ULL << 32) + i * 2 * STRIDE);
    }
    before = g_atomic_int_get(&allocations);
    t0 = g_get_monotonic_time();
    vfio_container_dirty_sync(c);
    t0 = g_get_monotonic_time() - t0;
    g_assert_cmpint(g_atomic_int_get(&allocations), ==, before);
    g_assert_cmpuint(ram_block_dirty_pages(&block), ==, writes);
    g_test_message("  a pass with %u dirty pages: %d calls, 0 allocations, %.1f ms", writes,
                   calls - calls_before, (double)t0 / 1000);
}

static void run(const char *what, bool many_iommus, bool logs)
{
    IOMMUFDBackend *be = IOMMUFD_BACKEND(object_resolve("i0"));
    gint64 t0 = g_get_monotonic_time();
    gint before = calls;
    VFIOContainer *c;

    for (unsigned i = 0; i < DEVICES; i++) {
        sim_devs[i] = sim_device_new(100 + i);
        sim_devs[i]->iommu = many_iommus ? i : 0;
        sim_devs[i]->dirty_tracking = !logs;
        sim_devs[i]->logs_dma = logs;
        attach(i, be);
    }
    c = vfio_containers->pdata[0];
    g_assert_cmpuint(g_hash_table_size(c->extents), ==, EXTENTS + 3);
    g_test_message("%s: %d calls to attach and map (%u extents), %.1f ms", what, calls - before,
                   g_hash_table_size(c->extents), (double)(g_get_monotonic_time() - t0) / 1000);
    /* Each extent once, whatever the devices; and what each device needs for itself. */
    g_assert_cmpint(calls - before, <, EXTENTS + DEVICES * (many_iommus ? DEVICES + 20 : 20));
    g_assert_true(ram_dirty_start(NULL));
    g_assert_true(vfio_container_dirty_start(c, NULL));
    g_test_message("  bytes: %zu for extents, %" G_GUINT64_FORMAT " for scratch memory, %llu for "
                   "the bitmap of the RAM",
                   g_hash_table_size(c->extents) * sizeof(VFIOExtent), c->dirty_scratch_words * 8,
                   TiB / RAM_DIRTY_PAGE / 8);
    pass(c, 0);
    pass(c, EXTENTS);
    vfio_container_dirty_stop(c);
    ram_dirty_stop();
    detach_all(be);
    g_assert_cmpuint(sim_open_things(), ==, 0);
}

static void test_scale(void)
{
    HostCalls counted;

    kernel = hostcalls;
    counted = *kernel;
    counted.ioctl = counted_ioctl;
    hostcalls = &counted;
    vfio_devices = vfio_devices ?: g_ptr_array_new();
    attached = vfio_devices;
    add_memory();
    run("64 devices behind one IOMMU", false, false);
    run("64 devices behind 64 IOMMUs", true, false);
    run("64 devices that log", false, true);
    remove_memory();
    hostcalls = kernel;
}

static void add_tests(void)
{
    g_test_add_func("/vfio/scale", test_scale);
}

int main(int argc, char **argv)
{
    return vfio_test_run(argc, argv, add_tests);
}
