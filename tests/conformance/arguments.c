/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What /dev/iommu says to each wrong argument: what the kernel does, and so what the simulator must.
 */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "tests/conformance/world.h"

static unsigned wrong, asked;

static void check(int line, const char *what, int got, int want)
{
    asked++;
    if (got != want) {
        wrong++;
        g_test_message("line %d: %s: %s, not %s", line, what, g_strerror(got), g_strerror(want));
    }
}

/* The command with these arguments ends with that errno. */
#define IS(want, request, T, ...)                                                     \
    do {                                                                              \
        struct T arg_ = { .size = sizeof(arg_), __VA_ARGS__ };                        \
        check(__LINE__, #request " " #__VA_ARGS__, world_call(request, &arg_), want); \
    } while (0)

static void done(void)
{
    g_test_message("%u calls", asked);
    g_assert_cmpuint(wrong, ==, 0);
    asked = 0;
}

#define RW (IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_WRITEABLE | IOMMU_IOAS_MAP_READABLE)
#define RO (IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE)

static uint32_t ioas, other, hwpt, plain_hwpt;
static VFIODevice *dev, *plain;

/* Two address spaces, the first with a domain that tracks and one that does not. */
static void begin(void)
{
    dev = world_device(0);
    plain = world_device(MOCK_FLAGS_DEVICE_NO_DIRTY);
    g_assert_true(iommufd_ioas_alloc(world_be, &ioas, NULL));
    g_assert_true(iommufd_ioas_alloc(world_be, &other, NULL));
    g_assert_true(iommufd_hwpt_alloc(world_be, dev->devid, ioas, IOMMU_HWPT_ALLOC_DIRTY_TRACKING,
                                     &hwpt, NULL));
    g_assert_true(iommufd_hwpt_alloc(world_be, plain->devid, ioas, 0, &plain_hwpt, NULL));
}

static void end(void)
{
    iommufd_destroy(world_be, hwpt);
    iommufd_destroy(world_be, plain_hwpt);
    iommufd_destroy(world_be, ioas);
    iommufd_destroy(world_be, other);
    world_device_free(dev);
    world_device_free(plain);
    done();
}

/* Structures that are too short, longer than known, or not of that number. */
static void test_sizes(void)
{
    struct {
        struct iommu_ioas_alloc alloc;
        uint32_t more[2];
    } longer = { .alloc.size = sizeof(longer) };
    struct iommu_hwpt_alloc alloc = { .size = 23 };
    struct iommu_hw_info info = { .size = 31 };

    begin();
    check(__LINE__, "zeroes behind", world_call(IOMMU_IOAS_ALLOC, &longer), 0);
    iommufd_destroy(world_be, longer.alloc.out_ioas_id);
    longer.more[1] = 1;
    check(__LINE__, "more behind", world_call(IOMMU_IOAS_ALLOC, &longer), E2BIG);
    longer.alloc.size = sizeof(longer.alloc) - 1;
    check(__LINE__, "short", world_call(IOMMU_IOAS_ALLOC, &longer), EINVAL);
    check(__LINE__, "another encoding", world_call(_IOW(IOMMUFD_TYPE, 0x81, int), &longer), ENOTTY);
    check(__LINE__, "short", world_call(IOMMU_HWPT_ALLOC, &alloc), EINVAL);
    alloc.size = 24; /* all that there is before the data */
    alloc.dev_id = dev->devid;
    alloc.pt_id = ioas;
    check(__LINE__, "without data", world_call(IOMMU_HWPT_ALLOC, &alloc), 0);
    iommufd_destroy(world_be, alloc.out_hwpt_id);
    check(__LINE__, "short", world_call(IOMMU_GET_HW_INFO, &info), EINVAL);
    info.size = 32;
    info.dev_id = dev->devid;
    check(__LINE__, "without capabilities", world_call(IOMMU_GET_HW_INFO, &info), 0);
    g_assert_cmphex(info.out_capabilities, ==, 0);
    g_assert_cmphex(info.out_data_type, ==, IOMMU_HW_INFO_TYPE_SELFTEST);
    end();
}

static void test_objects(void)
{
    begin();
    IS(ENOENT, IOMMU_DESTROY, iommu_destroy, .id = 0);
    IS(ENOENT, IOMMU_DESTROY, iommu_destroy, .id = 4711);
    IS(EBUSY, IOMMU_DESTROY, iommu_destroy, .id = ioas);
    IS(EBUSY, IOMMU_DESTROY, iommu_destroy, .id = dev->devid);
    IS(EOPNOTSUPP, IOMMU_IOAS_ALLOC, iommu_ioas_alloc, .flags = 1);
    IS(ENOENT, IOMMU_GET_HW_INFO, iommu_hw_info, .dev_id = ioas);
    IS(EOPNOTSUPP, IOMMU_GET_HW_INFO, iommu_hw_info, .dev_id = dev->devid, .flags = 2);
    IS(0, IOMMU_GET_HW_INFO, iommu_hw_info, .dev_id = dev->devid);
    IS(ENOENT, IOMMU_HWPT_ALLOC, iommu_hwpt_alloc, .dev_id = ioas, .pt_id = ioas);
    IS(EINVAL, IOMMU_HWPT_ALLOC, iommu_hwpt_alloc, .dev_id = dev->devid, .pt_id = dev->devid);
    IS(EINVAL, IOMMU_HWPT_ALLOC, iommu_hwpt_alloc, .dev_id = dev->devid, .pt_id = 4711);
    IS(EINVAL, IOMMU_HWPT_ALLOC, iommu_hwpt_alloc, .dev_id = dev->devid, .pt_id = ioas,
       .data_len = 8);
    IS(EINVAL, IOMMU_HWPT_ALLOC, iommu_hwpt_alloc, .dev_id = dev->devid, .pt_id = ioas,
       .data_type = 1);
    IS(EOPNOTSUPP, IOMMU_HWPT_ALLOC, iommu_hwpt_alloc, .dev_id = dev->devid, .pt_id = ioas,
       .__reserved = 1);
    IS(EOPNOTSUPP, IOMMU_HWPT_ALLOC, iommu_hwpt_alloc, .dev_id = dev->devid, .pt_id = ioas,
       .flags = 1U << 20);
    IS(EOPNOTSUPP, IOMMU_HWPT_ALLOC, iommu_hwpt_alloc, .dev_id = plain->devid, .pt_id = ioas,
       .flags = IOMMU_HWPT_ALLOC_DIRTY_TRACKING);
    IS(EOPNOTSUPP, IOMMU_IOAS_CHANGE_PROCESS, iommu_ioas_change_process, .__reserved = 1);
    end();
}

static void test_map(void)
{
    uint64_t host = (uintptr_t)world_ram->block.host, at = 32 * MiB;
    int fd = world_ram->block.fd;

    begin();
#define MAP(want, ...) \
    IS(want, IOMMU_IOAS_MAP, iommu_ioas_map, .flags = RW, .ioas_id = ioas, __VA_ARGS__)
#define MAP_FILE(want, ...)                                                                    \
    IS(want, IOMMU_IOAS_MAP_FILE, iommu_ioas_map_file, .flags = RW, .ioas_id = ioas, .fd = fd, \
       __VA_ARGS__)
#define UNMAP(want, ...) IS(want, IOMMU_IOAS_UNMAP, iommu_ioas_unmap, .ioas_id = ioas, __VA_ARGS__)
    IS(EOPNOTSUPP, IOMMU_IOAS_MAP, iommu_ioas_map, .flags = 1U << 10, .length = UINT64_MAX);
    IS(EOPNOTSUPP, IOMMU_IOAS_MAP, iommu_ioas_map, .flags = RW, .__reserved = 1);
    IS(EOVERFLOW, IOMMU_IOAS_MAP, iommu_ioas_map, .flags = 0, .length = UINT64_MAX);
    IS(EOVERFLOW, IOMMU_IOAS_MAP, iommu_ioas_map, .flags = 0, .iova = UINT64_MAX);
    IS(EINVAL, IOMMU_IOAS_MAP, iommu_ioas_map, .flags = 0, .ioas_id = 4711);
    IS(ENOENT, IOMMU_IOAS_MAP, iommu_ioas_map, .flags = RW, .ioas_id = 4711);
    IS(ENOENT, IOMMU_IOAS_MAP, iommu_ioas_map, .flags = RW, .ioas_id = hwpt);
    MAP(EINVAL, .iova = at, .user_va = host);
    MAP(EOVERFLOW, .iova = at, .user_va = UINT64_MAX - 4095, .length = 8192);
    MAP(EINVAL, .iova = at, .user_va = host, .length = 1000);
    MAP(EINVAL, .iova = at + 100, .user_va = host, .length = 4096);
    MAP(EINVAL, .iova = at, .user_va = host + 100, .length = 4096);
    MAP(EOVERFLOW, .iova = UINT64_MAX - 4095, .user_va = host, .length = 8192);
    MAP(EINVAL, .iova = 0, .user_va = host, .length = 4096); /* below the aperture */
    MAP(EINVAL, .iova = MOCK_LAST - 4095, .user_va = host, .length = 8192);
    MAP(0, .iova = at, .user_va = host, .length = 0x4000);
    MAP(EEXIST, .iova = at + 0x3000, .user_va = host, .length = 0x2000);
    MAP(0, .iova = at + 0x4000 + MOCK_PAGE, .user_va = host + MOCK_PAGE, .length = MOCK_PAGE);
    UNMAP(0, .iova = at + 0x4000 + MOCK_PAGE, .length = MOCK_PAGE);

    MAP_FILE(EINVAL, .iova = at, .start = 0);
    IS(EBADF, IOMMU_IOAS_MAP_FILE, iommu_ioas_map_file, .flags = RW, .ioas_id = ioas, .fd = 1000,
       .iova = at, .length = 4096);
    MAP_FILE(EOVERFLOW, .iova = at, .start = UINT64_MAX - 4095, .length = 8192);
    MAP_FILE(EEXIST, .iova = at, .length = 4096);
    MAP_FILE(0, .iova = at + 0x8000, .length = 0x4000);
    IS(ENOENT, IOMMU_IOAS_MAP_FILE, iommu_ioas_map_file, .flags = RW, .ioas_id = 4711, .fd = fd,
       .length = 4096);
    IS(EOPNOTSUPP, IOMMU_IOAS_MAP_FILE, iommu_ioas_map_file, .flags = 1U << 10);

    UNMAP(EINVAL, .iova = at);
    UNMAP(EOVERFLOW, .iova = 4096, .length = UINT64_MAX);
    UNMAP(EOVERFLOW, .iova = UINT64_MAX - 4095, .length = 8192);
    UNMAP(ENOENT, .iova = at + 0x4000, .length = 4096); /* a hole */
    UNMAP(ENOENT, .iova = at, .length = 0x2000);        /* a part */
    UNMAP(ENOENT, .iova = at, .length = 0x9000);        /* the first and a part of the second */
    UNMAP(ENOENT, .iova = at, .length = 0x4000);        /* for the first is gone now */
    UNMAP(0, .iova = at, .length = 0x100000);           /* holes and all */
    IS(0, IOMMU_IOAS_UNMAP, iommu_ioas_unmap, .ioas_id = ioas, .length = UINT64_MAX);
    IS(ENOENT, IOMMU_IOAS_UNMAP, iommu_ioas_unmap, .ioas_id = 4711, .length = UINT64_MAX);
    end();
}

static bool copied(uint32_t to, uint64_t to_iova, uint64_t from_iova, uint64_t length,
                   bool readonly)
{
    return iommufd_ioas_copy(world_be, to, to_iova, ioas, from_iova, length, readonly, NULL);
}

static void test_copy(void)
{
    uint64_t at = 32 * MiB;
    int fd = world_ram->block.fd;

    begin();
    MAP_FILE(0, .iova = at, .length = 0x4000);
    IS(0, IOMMU_IOAS_MAP_FILE, iommu_ioas_map_file, .flags = RO, .ioas_id = ioas, .fd = fd,
       .iova = at + 0x4000, .start = 0x8000, .length = 0x4000);
#define COPY(want, ...) check(__LINE__, "copy " #__VA_ARGS__, copied(__VA_ARGS__) ? 0 : errno, want)
    COPY(0, other, 0x1000, at + 0x1000, 0x2000, false);
    COPY(EEXIST, other, 0x1000, at, 0x2000, false);
    COPY(0, other, 0x100000, at, 0x8000, true); /* two areas */
    COPY(EPERM, other, 0x200000, at + 0x4000, 0x1000, false);
    COPY(ENOENT, other, 0x200000, at, 0x9000, true);
    COPY(ENOENT, other, 0x200000, 0x1000, 0x1000, true);
    COPY(EINVAL, other, 0x200000, at, 0, true);
    COPY(EOVERFLOW, other, 0, UINT64_MAX, 0x1000, true);
    COPY(EOVERFLOW, other, 0, UINT64_MAX - 4095, 0x2000, true);
    COPY(ENOENT, 4711, 0, at, 0x1000, true);
    COPY(0, ioas, 64 * MiB, at, 0x1000, true); /* in itself */
    IS(EINVAL, IOMMU_IOAS_COPY, iommu_ioas_copy, .src_ioas_id = ioas, .dst_ioas_id = other,
       .src_iova = at, .dst_iova = 0x200000, .length = 0x1000);
    IS(EOPNOTSUPP, IOMMU_IOAS_COPY, iommu_ioas_copy, .flags = 1U << 10, .src_iova = at,
       .length = 0x1000);
    end();
}

static void test_ranges(void)
{
    IOVARange allowed[] = { { 32 * MiB, 48 * MiB - 1 }, { 64 * MiB, 65 * MiB - 1 } };
    struct iommu_ioas_map map = {
        .size = sizeof(map),
        .flags = IOMMU_IOAS_MAP_READABLE,
        .user_va = (uintptr_t)world_ram->block.host,
        .length = 8192,
    };
    struct iommu_ioas_iova_ranges ranges = { .size = sizeof(ranges) };
    IOVARange range;

    begin();
#define ALLOW(want, n)           \
    check(__LINE__, "allow " #n, \
          iommufd_ioas_allow_iovas(world_be, ioas, allowed, n, NULL) ? 0 : errno, want)
    ALLOW(0, 2);
    map.ioas_id = ioas;
    check(__LINE__, "automatic", world_call(IOMMU_IOAS_MAP, &map), 0);
    g_assert_cmphex(map.iova, >=, allowed[0].start);
    g_assert_cmphex(map.iova + 8191, <=, allowed[0].last);
    map.length = 32 * MiB;
    map.flags = IOMMU_IOAS_MAP_READABLE;
    check(__LINE__, "no room", world_call(IOMMU_IOAS_MAP, &map), ENOSPC);
    allowed[1] = allowed[0];
    ALLOW(EINVAL, 2);
    allowed[0].last = allowed[0].start;
    ALLOW(EINVAL, 1);
    allowed[0] = (IOVARange) { 4096, 8191 };
    ALLOW(EADDRINUSE, 1);
    ALLOW(0, 0);
    IS(ENOENT, IOMMU_IOAS_ALLOW_IOVAS, iommu_ioas_allow_iovas, .ioas_id = 4711);
    IS(EOPNOTSUPP, IOMMU_IOAS_ALLOW_IOVAS, iommu_ioas_allow_iovas, .ioas_id = ioas,
       .__reserved = 1);

    ranges.ioas_id = ioas;
    check(__LINE__, "no array", world_call(IOMMU_IOAS_IOVA_RANGES, &ranges), EMSGSIZE);
    g_assert_cmpuint(ranges.num_iovas, ==, 1);
    g_assert_cmpuint(ranges.out_iova_alignment, ==, MOCK_PAGE);
    ranges.allowed_iovas = (uintptr_t)&range;
    check(__LINE__, "an array", world_call(IOMMU_IOAS_IOVA_RANGES, &ranges), 0);
    g_assert_cmphex(range.start, ==, MOCK_FIRST);
    g_assert_cmphex(range.last, ==, MOCK_LAST);
    ranges.ioas_id = other;
    check(__LINE__, "without a domain", world_call(IOMMU_IOAS_IOVA_RANGES, &ranges), 0);
    g_assert_cmphex(range.start, ==, 0);
    g_assert_cmphex(range.last, ==, UINT64_MAX);
    g_assert_cmpuint(ranges.out_iova_alignment, ==, 1);
    IS(ENOENT, IOMMU_IOAS_IOVA_RANGES, iommu_ioas_iova_ranges, .ioas_id = 4711);
    IS(EOPNOTSUPP, IOMMU_IOAS_IOVA_RANGES, iommu_ioas_iova_ranges, .__reserved = 1);

    /* A domain that does not reach what is mapped. */
    IS(0, IOMMU_IOAS_MAP, iommu_ioas_map, .flags = RW, .ioas_id = other, .iova = 0x1000,
       .length = 4096, .user_va = (uintptr_t)world_ram->block.host);
    IS(EADDRINUSE, IOMMU_HWPT_ALLOC, iommu_hwpt_alloc, .dev_id = dev->devid, .pt_id = other);
    end();
}

static void test_options(void)
{
    begin();
#define OPTION(want, option, o, id, v)                                                     \
    IS(want, IOMMU_OPTION, iommu_option, .option_id = (option), .op = IOMMU_OPTION_OP_##o, \
       .object_id = (id), .val64 = (v))
#define HUGE VIADUCT_IOMMU_OPTION_HUGE_PAGES
    OPTION(0, IOMMU_OPTION_RLIMIT_MODE, GET, 0, 0);
    OPTION(EOPNOTSUPP, IOMMU_OPTION_RLIMIT_MODE, GET, 1, 0);
    OPTION(EOPNOTSUPP, 99, GET, 0, 0);
    IS(EOPNOTSUPP, IOMMU_OPTION, iommu_option, .op = 7);
    IS(EOPNOTSUPP, IOMMU_OPTION, iommu_option, .op = IOMMU_OPTION_OP_GET, .__reserved = 1);
    if (!geteuid()) {
        OPTION(EBUSY, IOMMU_OPTION_RLIMIT_MODE, SET, 0, 1);
    }
    OPTION(ENOENT, HUGE, GET, 4711, 0);
    OPTION(0, HUGE, GET, ioas, 0);
    OPTION(EINVAL, HUGE, SET, ioas, 2);
    OPTION(0, HUGE, SET, ioas, 0);
    OPTION(0, HUGE, SET, ioas, 1);
    IS(0, IOMMU_IOAS_MAP, iommu_ioas_map, .flags = RW, .ioas_id = ioas, .iova = 32 * MiB,
       .length = 4096, .user_va = (uintptr_t)world_ram->block.host);
    OPTION(EINVAL, HUGE, SET, ioas, 0); /* too late */
    end();
}

static void test_dirty(void)
{
    uint64_t bitmap[4] = { 0 }, at = 32 * MiB;
    int fd = world_ram->block.fd;

    begin();
    MAP_FILE(0, .iova = at, .length = 0x10000);
#define SET(want, ...) \
    IS(want, IOMMU_HWPT_SET_DIRTY_TRACKING, iommu_hwpt_set_dirty_tracking, __VA_ARGS__)
#define GET(want, ...)                                                                  \
    IS(want, IOMMU_HWPT_GET_DIRTY_BITMAP, iommu_hwpt_get_dirty_bitmap, .hwpt_id = hwpt, \
       .data = (uintptr_t)bitmap, __VA_ARGS__)
    SET(EOPNOTSUPP, .hwpt_id = hwpt, .flags = 2);
    SET(ENOENT, .hwpt_id = 4711);
    SET(ENOENT, .hwpt_id = ioas);
    SET(EOPNOTSUPP, .hwpt_id = plain_hwpt, .flags = 1);
    SET(0, .hwpt_id = hwpt, .flags = 1, .__reserved = 1); /* goes unchecked */
    SET(0, .hwpt_id = hwpt, .flags = 1);
    GET(0, .iova = at, .length = 0x10000, .page_size = 4096);
    GET(EOPNOTSUPP, .flags = 2);
    GET(EOPNOTSUPP, .__reserved = 1);
    GET(EINVAL, .iova = at, .length = 0x10000);
    GET(EINVAL, .iova = at + 1024, .length = 0x10000, .page_size = 1024);
    GET(EINVAL, .iova = at, .length = 0x10000 - 1024, .page_size = 1024);
    GET(EINVAL, .iova = at + 2048, .length = 0x10000, .page_size = 4096);
    GET(EINVAL, .iova = at, .length = 0x10000, .page_size = 0x20000);
    GET(EOVERFLOW, .iova = UINT64_MAX - 4095, .length = 8192, .page_size = 4096);
    IS(ENOENT, IOMMU_HWPT_GET_DIRTY_BITMAP, iommu_hwpt_get_dirty_bitmap, .hwpt_id = ioas,
       .data = (uintptr_t)bitmap, .iova = at, .length = 0x10000, .page_size = 4096);
    IS(EOPNOTSUPP, IOMMU_HWPT_GET_DIRTY_BITMAP, iommu_hwpt_get_dirty_bitmap, .hwpt_id = plain_hwpt,
       .data = (uintptr_t)bitmap, .iova = at, .length = 0x10000, .page_size = 4096);
    GET(0, .iova = at + 0x100000, .length = 0x10000, .page_size = 4096); /* nothing there */
    SET(0, .hwpt_id = hwpt);
    end();
}

void conformance_add_arguments(void)
{
    g_test_add_func("/conformance/arguments/sizes", test_sizes);
    g_test_add_func("/conformance/arguments/objects", test_objects);
    g_test_add_func("/conformance/arguments/map", test_map);
    g_test_add_func("/conformance/arguments/copy", test_copy);
    g_test_add_func("/conformance/arguments/ranges", test_ranges);
    g_test_add_func("/conformance/arguments/options", test_options);
    g_test_add_func("/conformance/arguments/dirty", test_dirty);
}
