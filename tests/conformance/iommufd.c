/* SPDX-License-Identifier: GPL-2.0-or-later */
/* backends/iommufd and the container's domains, on the simulated kernel and on the real one. */
#include <errno.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/conformance/world.h"
#include "tests/sim/kernel.h"
#include "util/error.h"

#define LARGE (2 * MiB)

/* ---- a container with guest memory ---- */

/* The second begins and ends inside a word of the bitmap; holes are between all of them. */
static const struct {
    uint64_t addr, offset, size;
} memory[] = {
    { 16 * MiB, 0, MiB },
    { 24 * MiB, MiB + 0x3000, 0x45000 },
    { 32 * MiB, 4 * MiB, 2 * MiB },
    { 0x7ffff000, 15 * MiB, 0x1000 }, /* the last that there is */
};
static MemoryRegion regions[G_N_ELEMENTS(memory)];
static VFIOContainer *c;

static void begin(void)
{
    g_autoptr(GError) err = NULL;

    for (size_t i = 0; i < G_N_ELEMENTS(memory); i++) {
        world_add_memory(&regions[i], memory[i].addr, memory[i].offset, memory[i].size, true);
    }
    c = vfio_container_of_iommufd(world_be, &err);
    g_assert_no_error(err);
    world_refused = 0;
}

static void end(void)
{
    for (size_t i = 0; i < G_N_ELEMENTS(memory); i++) {
        world_del_memory(&regions[i]);
    }
}

static VFIODevice *attached(uint32_t flags)
{
    g_autoptr(GError) err = NULL;
    VFIODevice *dev = world_device(flags);

    vfio_container_attach(c, dev, &err);
    g_assert_no_error(err);
    return dev;
}

/* Whether guest memory is where the domain has it; pinned, and once. */
static void check_mapped(uint32_t hwpt, bool mapped)
{
    for (size_t i = 0; i < G_N_ELEMENTS(memory); i++) {
        uint64_t host = (uintptr_t)world_ram->block.host + memory[i].offset;
        struct iommu_test_cmd map = {
            .op = IOMMU_TEST_OP_MD_CHECK_MAP,
            .id = hwpt,
            .check_map = { memory[i].addr, memory[i].size, host },
        };
        struct iommu_test_cmd refs = {
            .op = IOMMU_TEST_OP_MD_CHECK_REFS,
            .check_refs = { memory[i].size, host, mapped },
        };

        if (mapped) {
            world_mock(&map);
        }
        world_mock(&refs);
    }
}

static void test_ranges(void)
{
    struct iommu_test_cmd cmd = {
        .op = IOMMU_TEST_OP_ADD_RESERVED,
        .add_reserved = { 64 * MiB, 0x1000 },
    };
    g_autoptr(GError) err = NULL;
    VFIODevice *dev, *other;
    MemoryRegion mr;

    begin();
    dev = attached(0);
    g_assert_cmpuint(c->nr_ranges, ==, 1);
    g_assert_cmphex(c->ranges[0].start, ==, MOCK_FIRST);
    g_assert_cmphex(c->ranges[0].last, ==, MOCK_LAST);
    g_assert_cmpuint(c->page, ==, 4096); /* the host's: more than the IOMMU's 2048 */
    check_mapped(world_hwpt(dev), true);

    cmd.id = world_ioas(c);
    world_mock(&cmd);
    other = attached(0); /* asked for again */
    g_assert_cmpuint(c->nr_ranges, ==, 2);
    g_assert_cmphex(c->ranges[1].start, ==, 64 * MiB + 0x1000);
    /* Refused with a warning: guest memory where the IOMMU has none, and under what it has. */
    memory_region_init_ram(&mr, NULL, "low", &world_ram->block, 0, MiB);
    g_assert_false(
        c->listener.region_add(&c->listener, &(MemoryRange) { 0, MiB, &mr, 0, false }, &err));
    g_assert_nonnull(strstr(err->message, "takes only 0x1000000-0x3ffffff, 0x4001000-0x7fffffff"));
    memory_region_fini(&mr);
    world_device_free(other);
    world_device_free(dev);
    check_mapped(0, false);
    end();
}

static void test_domains(void)
{
    VFIODevice *tracking, *second, *plain, *another;
    uint32_t first, own;

    begin();
    tracking = attached(0);
    second = attached(0);
    first = world_hwpt(tracking);
    g_assert_cmpuint(world_hwpt(second), ==, first);
    g_assert_cmpuint(world_refused, ==, 0);

    plain = attached(MOCK_FLAGS_DEVICE_NO_DIRTY); /* the domain is refused it: EINVAL */
    g_assert_cmpuint(world_refused, ==, 1);
    own = world_hwpt(plain);
    g_assert_cmpuint(own, !=, first);
    another = attached(MOCK_FLAGS_DEVICE_NO_DIRTY);
    g_assert_cmpuint(world_hwpt(another), ==, own);
    check_mapped(first, true);
    check_mapped(own, true);
    g_assert_cmpint(vfio_device_dirty_source(second), ==, VFIO_DIRTY_IOMMU);
    g_assert_cmpint(vfio_device_dirty_source(another), ==, VFIO_DIRTY_UNKNOWN);

    world_device_free(tracking);
    check_mapped(first, true); /* the other one has it */
    world_device_free(second);
    g_assert_cmpint(world_call(IOMMU_DESTROY, &(struct iommu_destroy) { 8, first }), ==, ENOENT);
    world_device_free(plain);
    world_device_free(another);
    g_assert_cmpint(world_call(IOMMU_DESTROY, &(struct iommu_destroy) { 8, own }), ==, ENOENT);
    end();
}

/* One that could be tracked does not go where nothing is, even though it would fit. */
static void test_domain_for_tracking(void)
{
    VFIODevice *plain, *tracking;

    begin();
    plain = attached(MOCK_FLAGS_DEVICE_NO_DIRTY);
    tracking = attached(0);
    g_assert_cmpuint(world_hwpt(plain), !=, world_hwpt(tracking));
    g_assert_cmpuint(world_refused, ==, 0);
    world_device_free(plain);
    world_device_free(tracking);
    end();
}

/* From one domain to another at once; when that fails it stays where it was. */
static void test_replace(void)
{
    struct iommu_destroy destroy = { .size = sizeof(destroy) };
    uint32_t ioas, with, without, pt_id;
    VFIODevice *plain = world_device(MOCK_FLAGS_DEVICE_NO_DIRTY), *dev = world_device(0);

    g_assert_true(iommufd_ioas_alloc(world_be, &ioas, NULL));
    g_assert_true(iommufd_hwpt_alloc(world_be, dev->devid, ioas, IOMMU_HWPT_ALLOC_DIRTY_TRACKING,
                                     &with, NULL));
    g_assert_true(iommufd_hwpt_alloc(world_be, plain->devid, ioas, 0, &without, NULL));
    g_assert_false(iommufd_hwpt_alloc(world_be, plain->devid, ioas, IOMMU_HWPT_ALLOC_DIRTY_TRACKING,
                                      &pt_id, NULL));
    g_assert_cmpint(errno, ==, EOPNOTSUPP);

    pt_id = without;
    g_assert_cmpint(iommufd_device_attach(world_be, plain->fd, &pt_id, NULL), ==, 0);
    pt_id = without;
    g_assert_cmpint(iommufd_device_attach(world_be, dev->fd, &pt_id, NULL), ==, 0);
    pt_id = with;
    g_assert_cmpint(iommufd_device_attach(world_be, dev->fd, &pt_id, NULL), ==, 0);
    g_assert_cmpuint(pt_id, ==, with);
    pt_id = with;
    g_assert_cmpint(iommufd_device_attach(world_be, plain->fd, &pt_id, NULL), ==, -EINVAL);
    destroy.id = without; /* still in use */
    g_assert_cmpint(world_call(IOMMU_DESTROY, &destroy), ==, EBUSY);
    pt_id = 4711;
    g_assert_cmpint(iommufd_device_attach(world_be, plain->fd, &pt_id, NULL), ==, -ENOENT);
    g_assert_true(iommufd_device_detach(world_be, plain->fd, NULL));
    g_assert_cmpint(world_call(IOMMU_DESTROY, &destroy), ==, 0);
    g_assert_true(iommufd_device_detach(world_be, dev->fd, NULL));
    iommufd_destroy(world_be, with);
    world_device_free(plain);
    world_device_free(dev);
    iommufd_destroy(world_be, ioas);
}

/* All that one address space maps in another: there, and not pinned twice. */
static void test_copy(void)
{
    VFIODevice *dev, *other = world_device(0);
    g_autoptr(GError) err = NULL;
    uint32_t ioas, hwpt;

    begin();
    dev = attached(0);
    g_assert_true(iommufd_ioas_alloc(world_be, &ioas, NULL));
    g_assert_true(iommufd_hwpt_alloc(world_be, other->devid, ioas, 0, &hwpt, NULL));
    for (size_t i = 0; i < G_N_ELEMENTS(memory); i++) {
        iommufd_ioas_copy(world_be, ioas, memory[i].addr, world_ioas(c), memory[i].addr,
                          memory[i].size, false, &err);
        g_assert_no_error(err);
    }
    check_mapped(world_hwpt(dev), true);
    check_mapped(hwpt, true);
    g_assert_false(iommufd_ioas_copy(world_be, ioas, 48 * MiB, world_ioas(c), memory[0].addr,
                                     2 * MiB, false, &err));
    g_assert_cmpstr(err->message, ==,
                    "i0: IOMMU_IOAS_COPY (iova 0x3000000, length 0x200000) failed: No such file or "
                    "directory");
    world_device_free(dev);
    check_mapped(hwpt, true); /* the pages stay with whoever has them */
    iommufd_destroy(world_be, hwpt);
    iommufd_destroy(world_be, ioas);
    check_mapped(0, false);
    world_device_free(other);
    end();
}

/* Memory comes in small pieces when the kernel has little for itself. */
static void test_little_memory(void)
{
    struct iommu_test_cmd cmd = {
        .op = IOMMU_TEST_OP_SET_TEMP_MEMORY_LIMIT,
        .memory_limit.limit = 16,
    };
    VFIODevice *dev;

    begin();
    world_mock(&cmd);
    dev = attached(0);
    check_mapped(world_hwpt(dev), true);
    world_device_free(dev);
    check_mapped(0, false);
    cmd.memory_limit.limit = 65536;
    world_mock(&cmd);
    end();
}

/* ---- dirty pages ---- */

/* With large pages, the IOMMU sees what was written less exactly. */
static VFIODevice *tracked(bool large)
{
    g_autoptr(GError) err = NULL;
    VFIODevice *dev;

    begin();
    if (!large) {
        g_assert_true(
            iommufd_option_set(world_be, VIADUCT_IOMMU_OPTION_HUGE_PAGES, world_ioas(c), 0, NULL));
    }
    dev = attached(0);
    g_assert_true(ram_dirty_start(&err));
    vfio_container_dirty_start(c, &err);
    g_assert_no_error(err);
    return dev;
}

static void end_tracked(VFIODevice *dev)
{
    vfio_container_dirty_stop(c);
    ram_dirty_stop();
    world_device_free(dev);
    end();
}

static uint64_t *new_bitmap(void)
{
    return g_new0(uint64_t, world_ram->block.size / RAM_DIRTY_PAGE / 64);
}

/* What is dirty now; @more: and what else may be. */
static void expect(const uint64_t *want, bool more)
{
    const RAMBlock *block = &world_ram->block;
    unsigned wrong = 0;

    vfio_container_dirty_sync(c);
    for (uint64_t i = 0; i < block->size / RAM_DIRTY_PAGE; i++) {
        bool is = block->dirty[i / 64] >> i % 64 & 1, should = want[i / 64] >> i % 64 & 1;

        if (is != should && !(is && more) && wrong++ < 5) {
            g_test_message("page 0x%x is %s", (unsigned)i, is ? "dirty" : "clean");
        }
    }
    g_assert_cmpuint(wrong, ==, 0);
    memset(block->dirty, 0, block->size / RAM_DIRTY_PAGE / 8);
}

static void set(uint64_t *bitmap, uint64_t offset)
{
    bitmap[offset / RAM_DIRTY_PAGE / 64] |= 1ULL << offset / RAM_DIRTY_PAGE % 64;
}

/* Each first and last page of an extent and of a word, in either half of the page. */
static void test_dirty_ends(void)
{
    VFIODevice *dev = tracked(false);
    g_autofree uint64_t *want = new_bitmap(), *none = new_bitmap();
    unsigned n = 0;

    expect(none, false);
    for (size_t i = 0; i < G_N_ELEMENTS(memory); i++) {
        for (uint64_t at = 0; at < memory[i].size; at += RAM_DIRTY_PAGE) {
            uint64_t bit = (memory[i].offset + at) / RAM_DIRTY_PAGE % 64;

            if (!at || at + RAM_DIRTY_PAGE == memory[i].size || !bit || bit == 63) {
                world_write(world_hwpt(dev), memory[i].addr + at + (n++ % 2 ? MOCK_PAGE : 0));
                set(want, memory[i].offset + at);
            }
        }
    }
    expect(want, false);
    expect(none, false);
    g_test_message("%u pages", n);
    end_tracked(dev);
}

/* Passes over whatever was written. */
static void dirty_any(bool large)
{
    VFIODevice *dev = tracked(large);
    g_autoptr(GRand) rand = g_rand_new_with_seed(7);
    unsigned n = 0;

    for (unsigned pass = 0; pass < 20; pass++) {
        g_autofree uint64_t *want = new_bitmap();

        for (size_t i = 0; i < G_N_ELEMENTS(memory); i++) {
            for (uint64_t at = 0; at < memory[i].size; at += MOCK_PAGE) {
                if (g_rand_int_range(rand, 0, 16) <= (int)pass / 2) {
                    world_write(world_hwpt(dev), memory[i].addr + at);
                    set(want, memory[i].offset + at);
                    n++;
                }
            }
        }
        expect(want, large);
    }
    g_test_message("%u writes in 20 passes, each read back%s", n,
                   large ? ", with what is in its large page" : " once and nothing else");
    end_tracked(dev);
}

static void test_dirty_any(void)
{
    dirty_any(false);
}

static void test_dirty_large(void)
{
    dirty_any(true);
}

static void get(uint32_t hwpt, uint64_t iova, uint64_t length, uint64_t page, bool clear,
                uint64_t *bitmap)
{
    g_autoptr(GError) err = NULL;

    memset(bitmap, 0, 64 * sizeof(*bitmap));
    iommufd_get_dirty_bitmap(world_be, hwpt, iova, length, page, clear, bitmap, &err);
    g_assert_no_error(err);
}

static unsigned ones(const uint64_t bitmap[64])
{
    unsigned n = 0;

    for (unsigned i = 0; i < 64; i++) {
        n += (unsigned)__builtin_popcountll(bitmap[i]);
    }
    return n;
}

/* The commands by themselves. */
static void test_dirty_commands(void)
{
    VFIODevice *dev = tracked(false);
    uint32_t hwpt = world_hwpt(dev);
    uint64_t bitmap[64];
    uint64_t at = memory[0].addr;

    world_write(hwpt, at + 0x3000);
    world_write(hwpt, at + 0x20000 + MOCK_PAGE);
    for (int i = 0; i < 2; i++) { /* not cleared, and as pages of this size or that */
        get(hwpt, at, 0x40000, MOCK_PAGE, false, bitmap);
        /* Two of its pages are one entry: Linux 7.2 then says only that the first is dirty. */
        g_assert_cmphex(bitmap[0] & 0xc0, !=, 0);
        g_assert_cmphex(bitmap[1] & 3, !=, 0);
        g_assert_cmphex((bitmap[0] & ~0xc0ULL) | (bitmap[1] & ~3ULL), ==, 0);
    }
    get(hwpt, at, 0x40000, 4096, false, bitmap);
    g_assert_cmphex(bitmap[0], ==, 1ULL << 3 | 1ULL << 32);
    get(hwpt, at, 0x40000, 0x10000, false, bitmap);
    g_assert_cmphex(bitmap[0], ==, 5);

    /* A part of it, cleared; what is set stays set. */
    memset(bitmap, 0, sizeof(bitmap));
    bitmap[0] = 1ULL << 63;
    g_assert_true(iommufd_get_dirty_bitmap(world_be, hwpt, at, 0x10000, 4096, true, bitmap, NULL));
    g_assert_cmphex(bitmap[0], ==, 1ULL << 63 | 1 << 3);
    get(hwpt, at, 0x40000, 4096, true, bitmap);
    g_assert_cmphex(bitmap[0], ==, 1ULL << 32);

    /* Over a hole: no error, and no word of what is behind it.  That is why an extent is asked for
     * at a time. */
    world_write(hwpt, memory[0].addr);
    world_write(hwpt, memory[1].addr);
    get(hwpt, at, memory[1].addr + 0x1000 - at, 4096, false, bitmap);
    g_assert_cmphex(bitmap[0], ==, 1);
    g_assert_cmphex(bitmap[(memory[1].addr - at) / 4096 / 64], ==, 0);

    /* On again: forgotten.  Off: nothing. */
    g_assert_true(iommufd_set_dirty_tracking(world_be, hwpt, true, NULL));
    get(hwpt, at, 0x40000, 4096, true, bitmap);
    g_assert_cmphex(bitmap[0], ==, 0);
    g_assert_true(iommufd_set_dirty_tracking(world_be, hwpt, false, NULL));
    g_assert_true(iommufd_set_dirty_tracking(world_be, hwpt, false, NULL));
    get(hwpt, at, 0x40000, 4096, true, bitmap);
    g_assert_cmphex(bitmap[0], ==, 0);
    end_tracked(dev);
}

/* Memory in one piece, as far as the host gives such. */
static char *large_page(void)
{
    char *room = mmap(NULL, 2 * LARGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *large = (char *)(((uintptr_t)room + LARGE - 1) & -LARGE);

    g_assert_true(room != MAP_FAILED);
    munmap(room, (size_t)(large - room));
    munmap(large + LARGE, (size_t)(room + LARGE - large));
    madvise(large, LARGE, MADV_HUGEPAGE);
    memset(large, 1, LARGE);
    return large;
}

/*
 * An entry that reaches over the end of a query is clean after it, and what it meant behind that end
 * is lost.  That is why an extent is asked for as a whole.
 */
static void test_dirty_parts(void)
{
    VFIODevice *dev = tracked(true);
    uint32_t hwpt = world_hwpt(dev);
    uint64_t bitmap[64], at = 48 * MiB;
    char *memory_of_it = large_page();
    unsigned pages;

    g_assert_true(iommufd_ioas_map(world_be, world_ioas(c), at, LARGE, memory_of_it, false, NULL));
    world_write(hwpt, at);
    get(hwpt, at, LARGE, 4096, false, bitmap);
    pages = ones(bitmap);
    g_test_message("the entry is of %u pages%s", pages, pages > 1 ? "" : ", which shows nothing");
    get(hwpt, at, 4096, 4096, true, bitmap);
    g_assert_cmphex(bitmap[0] & 1, ==, 1);
    g_test_message("asked for its first page, the kernel sets %u bits", ones(bitmap));
    get(hwpt, at, LARGE, 4096, true, bitmap);
    g_assert_cmpuint(ones(bitmap), ==, 0);
    g_assert_true(iommufd_ioas_unmap(world_be, world_ioas(c), at, LARGE, NULL));
    munmap(memory_of_it, LARGE);
    end_tracked(dev);
}

/* ---- a range in parts, by two threads ---- */

#define PART (64 * 4096) /* a word of the bitmap */

typedef struct Parts {
    uint32_t hwpt;
    uint64_t first;
    uint64_t *bitmap;
} Parts;

static gpointer every_second_part(gpointer opaque)
{
    const Parts *p = opaque;

    for (uint64_t n = p->first; n * PART < memory[2].size; n += 2) {
        g_assert_true(iommufd_get_dirty_bitmap(world_be, p->hwpt, memory[2].addr + n * PART, PART,
                                               4096, true, p->bitmap + n, NULL));
    }
    return NULL;
}

/* Where no entry reaches over their ends. */
static void test_dirty_parts_at_once(void)
{
    VFIODevice *dev = tracked(false);
    g_autofree uint64_t *want = new_bitmap(), *got = new_bitmap();
    Parts parts[2] = { { world_hwpt(dev), 0, got }, { world_hwpt(dev), 1, got } };

    for (unsigned pass = 0; pass < 20; pass++) {
        uint64_t words = memory[2].size / PART;
        GThread *other;

        memset(want, 0, words * 8);
        memset(got, 0, words * 8);
        for (uint64_t at = pass * 4096; at < memory[2].size; at += (2 * pass + 1) * 4096) {
            world_write(parts[0].hwpt, memory[2].addr + at);
            set(want, at);
        }
        other = g_thread_new("other", every_second_part, &parts[1]);
        every_second_part(&parts[0]);
        g_thread_join(other);
        g_assert_cmpmem(got, words * 8, want, words * 8);
    }
    end_tracked(dev);
}

/* What was written is not lost with the mapping, nor with the device. */
static void test_dirty_goes(void)
{
    VFIODevice *dev = tracked(false), *other = attached(0), *plain;
    g_autofree uint64_t *want = new_bitmap();

    world_write(world_hwpt(dev), memory[1].addr);
    world_del_memory(&regions[1]);
    set(want, memory[1].offset);
    expect(want, false);
    memset(want, 0, 512);
    world_write(world_hwpt(dev), memory[0].addr);
    world_device_free(other);
    set(want, memory[0].offset);
    expect(want, false);
    world_add_memory(&regions[1], memory[1].addr, memory[1].offset, memory[1].size, true);

    /* Nobody sees what that one writes. */
    plain = attached(MOCK_FLAGS_DEVICE_NO_DIRTY);
    vfio_container_dirty_sync(c);
    g_assert_cmpuint(ram_block_dirty_pages(&world_ram->block), ==,
                     (3 * MiB + 0x45000 + 0x1000) / RAM_DIRTY_PAGE);
    world_device_free(plain);
    end_tracked(dev);
}

/* ---- another process ---- */

static int change_process_in_child(void)
{
    int status;
    pid_t child = fork();

    if (!child) {
        struct iommu_ioas_change_process change = { .size = sizeof(change) };

        _exit(ioctl(world_be->fd, IOMMU_IOAS_CHANGE_PROCESS, &change) ? errno : 0);
    }
    g_assert_cmpint(waitpid(child, &status, 0), ==, child);
    g_assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void test_change_process(void)
{
    g_autoptr(GError) err = NULL;
    MemoryRegion private;
    VFIODevice *dev;

    begin();
    dev = attached(0);
    g_assert_true(iommufd_ioas_change_process(world_be, NULL));
    world_add_memory(&private, 48 * MiB, 8 * MiB, MiB, false); /* by address */
    g_assert_false(iommufd_ioas_change_process(world_be, &err));
    g_test_message("%s", err->message);
    g_assert_cmpstr(err->message, ==, "i0: IOMMU_IOAS_CHANGE_PROCESS failed: Invalid argument");
    if (world_is_kernel) {
        g_assert_cmpint(change_process_in_child(), ==, EINVAL);
    }
    world_del_memory(&private);
    if (world_is_kernel) {
        g_assert_cmpint(change_process_in_child(), ==, 0);
        g_test_message("a second process has taken the accounting over");
    }
    g_assert_true(iommufd_ioas_change_process(world_be, NULL));
    check_mapped(world_hwpt(dev), true);
    world_device_free(dev);
    end();
}

/* ---- the limit of locked memory ---- */

static void drop_ipc_lock(void)
{
    struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct caps[2];

    g_assert_cmpint(syscall(SYS_capget, &header, caps), ==, 0);
    caps[0].effective &= ~(1U << CAP_IPC_LOCK);
    caps[0].permitted &= ~(1U << CAP_IPC_LOCK);
    g_assert_cmpint(syscall(SYS_capset, &header, caps), ==, 0);
}

static void test_limit(void)
{
    struct rlimit limit = { 2 * MiB, 2 * MiB };
    g_autoptr(GError) err = NULL;
    VFIODevice *dev;
    uint32_t ioas, hwpt;

    if (!g_test_subprocess()) {
        g_test_trap_subprocess(NULL, 0, G_TEST_SUBPROCESS_DEFAULT);
        g_test_trap_assert_passed();
        g_test_trap_assert_stderr(
            "*i0: IOMMU_IOAS_MAP_FILE (iova 0x2000000, length 0x180000) failed: Cannot allocate "
            "memory; memory for DMA is locked: 1536 KiB more are needed, * KiB are locked, and the "
            "limit is 2048 KiB: raise it (ulimit -l, or LimitMEMLOCK= of a systemd unit) or give "
            "the process CAP_IPC_LOCK*");
        return;
    }
    g_assert_cmpint(setrlimit(RLIMIT_MEMLOCK, &limit), ==, 0);
    drop_ipc_lock();
    if (!world_is_kernel) {
        sim_limit_memory(true);
    }
    dev = world_device(0);
    g_assert_true(iommufd_ioas_alloc(world_be, &ioas, NULL));
    g_assert_true(iommufd_hwpt_alloc(world_be, dev->devid, ioas, 0, &hwpt, NULL));
    g_assert_true(
        iommufd_ioas_map_file(world_be, ioas, 16 * MiB, MiB, world_ram->block.fd, 0, false, NULL));
    g_assert_false(iommufd_ioas_map_file(world_be, ioas, 32 * MiB, 3 * MiB / 2, world_ram->block.fd,
                                         MiB, false, &err));
    g_assert_cmpint(errno, ==, ENOMEM);
    g_printerr("%s\n", err->message);
    iommufd_destroy(world_be, hwpt);
    g_assert_true(iommufd_ioas_unmap(world_be, ioas, 0, UINT64_MAX, NULL));
    iommufd_destroy(world_be, ioas);
    world_device_free(dev);
}

static void add_tests(void)
{
    g_test_add_func("/conformance/ranges", test_ranges);
    g_test_add_func("/conformance/domains", test_domains);
    g_test_add_func("/conformance/domain-for-tracking", test_domain_for_tracking);
    g_test_add_func("/conformance/replace", test_replace);
    g_test_add_func("/conformance/copy", test_copy);
    g_test_add_func("/conformance/little-memory", test_little_memory);
    g_test_add_func("/conformance/dirty/ends", test_dirty_ends);
    g_test_add_func("/conformance/dirty/any", test_dirty_any);
    g_test_add_func("/conformance/dirty/large-pages", test_dirty_large);
    g_test_add_func("/conformance/dirty/commands", test_dirty_commands);
    g_test_add_func("/conformance/dirty/parts", test_dirty_parts);
    g_test_add_func("/conformance/dirty/parts-at-once", test_dirty_parts_at_once);
    g_test_add_func("/conformance/dirty/goes", test_dirty_goes);
    g_test_add_func("/conformance/change-process", test_change_process);
    g_test_add_func("/conformance/limit", test_limit);
    conformance_add_arguments();
}

int main(int argc, char **argv)
{
    return world_run(argc, argv, add_tests);
}
