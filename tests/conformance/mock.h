/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The part of the kernel's own test command of /dev/iommu (CONFIG_IOMMUFD_TEST) that the conformance
 * tests use: devices and an IOMMU that are not there.  Source: Linux
 * drivers/iommu/iommufd/iommufd_test.h; no stable interface.
 */
#ifndef VIADUCT_TESTS_CONFORMANCE_MOCK_H
#define VIADUCT_TESTS_CONFORMANCE_MOCK_H

#include <linux/types.h>
#include <stddef.h>

#include "util/linux-iommufd.h"

/* What the imaginary IOMMU can map. */
#define MOCK_FIRST                  (1ULL << 24)
#define MOCK_LAST                   ((1ULL << 31) - 1)
#define MOCK_PAGE                   2048ULL

#define IOMMU_HW_INFO_TYPE_SELFTEST 0xfeedbeefU

enum {
    IOMMU_TEST_OP_ADD_RESERVED = 1, /* @id: IOAS */
    IOMMU_TEST_OP_MD_CHECK_MAP = 3, /* @id: domain; EINVAL if it is not that memory */
    IOMMU_TEST_OP_MD_CHECK_REFS = 4,
    IOMMU_TEST_OP_SET_TEMP_MEMORY_LIMIT = 9,
    IOMMU_TEST_OP_MOCK_DOMAIN_REPLACE = 10, /* @id: test object */
    IOMMU_TEST_OP_MOCK_DOMAIN_FLAGS = 12,   /* @id: what the new device is attached to */
    IOMMU_TEST_OP_DIRTY = 13,               /* @id: domain, whose tracking is on */
};

enum { MOCK_FLAGS_DEVICE_NO_DIRTY = 1 };

struct iommu_test_cmd {
    __u32 size;
    __u32 op;
    __u32 id;
    __u32 __reserved;
    union {
        struct {
            __aligned_u64 start;
            __aligned_u64 length;
        } add_reserved;
        struct {
            __u32 out_stdev_id; /* destroying it is how the device goes */
            __u32 out_hwpt_id;
            __u32 out_idev_id; /* what BIND gives */
            __u32 dev_flags;
        } mock_domain_flags;
        struct {
            __u32 pt_id;
        } mock_domain_replace;
        struct {
            __aligned_u64 iova;
            __aligned_u64 length;
            __aligned_u64 uptr;
        } check_map;
        struct {
            __aligned_u64 length;
            __aligned_u64 uptr;
            __u32 refs;
        } check_refs;
        struct {
            __u32 limit;
        } memory_limit;
        struct {
            __u32 flags;
            __aligned_u64 iova;
            __aligned_u64 length;
            __aligned_u64 page_size;
            __aligned_u64 uptr;
            __aligned_u64 out_nr_dirty;
        } dirty;
    };
    __u32 last;
};
#define IOMMU_TEST_CMD _IO(IOMMUFD_TYPE, 0xa0)

_Static_assert(offsetof(struct iommu_test_cmd, dirty.out_nr_dirty) == 56, "ABI");
_Static_assert(sizeof(struct iommu_test_cmd) == 72, "ABI");

#endif
