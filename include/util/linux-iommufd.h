/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The part of /dev/iommu's ABI that the program uses.  Where the system's headers have it they are
 * taken; else (Debian 12's are of Linux 6.1) it is declared here, and the assertions below hold
 * for either.  Source: Linux include/uapi/linux/iommufd.h.
 */
#ifndef VIADUCT_UTIL_LINUX_IOMMUFD_H
#define VIADUCT_UTIL_LINUX_IOMMUFD_H

#include <linux/ioctl.h>
#include <linux/types.h>
#include <stddef.h>

#if __has_include(<linux/iommufd.h>)
#include <linux/iommufd.h>
#endif

#ifndef IOMMUFD_TYPE
#define IOMMUFD_TYPE (';')

struct iommu_destroy {
    __u32 size;
    __u32 id;
};

struct iommu_ioas_alloc {
    __u32 size;
    __u32 flags;
    __u32 out_ioas_id;
};

struct iommu_iova_range {
    __aligned_u64 start;
    __aligned_u64 last;
};

struct iommu_ioas_iova_ranges {
    __u32 size;
    __u32 ioas_id;
    __u32 num_iovas;
    __u32 __reserved;
    __aligned_u64 allowed_iovas;
    __aligned_u64 out_iova_alignment;
};

enum {
    IOMMU_IOAS_MAP_FIXED_IOVA = 1 << 0,
    IOMMU_IOAS_MAP_WRITEABLE = 1 << 1,
    IOMMU_IOAS_MAP_READABLE = 1 << 2,
};

struct iommu_ioas_map {
    __u32 size;
    __u32 flags;
    __u32 ioas_id;
    __u32 __reserved;
    __aligned_u64 user_va;
    __aligned_u64 length;
    __aligned_u64 iova;
};

struct iommu_ioas_unmap {
    __u32 size;
    __u32 ioas_id;
    __aligned_u64 iova;
    __aligned_u64 length;
};

enum { IOMMU_OPTION_RLIMIT_MODE = 0 };
enum { IOMMU_OPTION_OP_SET = 0, IOMMU_OPTION_OP_GET = 1 };

struct iommu_option {
    __u32 size;
    __u32 option_id;
    __u16 op;
    __u16 __reserved;
    __u32 object_id;
    __aligned_u64 val64;
};
#endif

#ifndef IOMMU_DESTROY
#define IOMMU_DESTROY          _IO(IOMMUFD_TYPE, 0x80)
#define IOMMU_IOAS_ALLOC       _IO(IOMMUFD_TYPE, 0x81)
#define IOMMU_IOAS_IOVA_RANGES _IO(IOMMUFD_TYPE, 0x84)
#define IOMMU_IOAS_MAP         _IO(IOMMUFD_TYPE, 0x85)
#define IOMMU_IOAS_UNMAP       _IO(IOMMUFD_TYPE, 0x86)
#define IOMMU_OPTION           _IO(IOMMUFD_TYPE, 0x87)
#endif

/* Headers that have the rest may lack what follows, each since another Linux. */

#ifndef IOMMU_IOAS_ALLOW_IOVAS
struct iommu_ioas_allow_iovas {
    __u32 size;
    __u32 ioas_id;
    __u32 num_iovas;
    __u32 __reserved;
    __aligned_u64 allowed_iovas;
};
#define IOMMU_IOAS_ALLOW_IOVAS _IO(IOMMUFD_TYPE, 0x82)
#endif

#ifndef IOMMU_IOAS_COPY
struct iommu_ioas_copy {
    __u32 size;
    __u32 flags;
    __u32 dst_ioas_id;
    __u32 src_ioas_id;
    __aligned_u64 length;
    __aligned_u64 dst_iova;
    __aligned_u64 src_iova;
};
#define IOMMU_IOAS_COPY _IO(IOMMUFD_TYPE, 0x83)
#endif

#define VIADUCT_IOMMU_OPTION_HUGE_PAGES 1 /* an enumerator: whether headers have it is not known */

#ifndef IOMMU_HWPT_ALLOC
enum iommufd_hwpt_alloc_flags {
    IOMMU_HWPT_ALLOC_NEST_PARENT = 1 << 0,
    IOMMU_HWPT_ALLOC_DIRTY_TRACKING = 1 << 1,
};

struct iommu_hwpt_alloc {
    __u32 size;
    __u32 flags;
    __u32 dev_id;
    __u32 pt_id;
    __u32 out_hwpt_id;
    __u32 __reserved;
    __u32 data_type;
    __u32 data_len;
    __aligned_u64 data_uptr;
    __u32 fault_id;
    __u32 __reserved2;
};
#define IOMMU_HWPT_ALLOC _IO(IOMMUFD_TYPE, 0x89)
#endif

#ifndef IOMMU_GET_HW_INFO
enum iommufd_hw_capabilities { IOMMU_HW_CAP_DIRTY_TRACKING = 1 << 0 };

struct iommu_hw_info {
    __u32 size;
    __u32 flags;
    __u32 dev_id;
    __u32 data_len;
    __aligned_u64 data_uptr;
    __u32 out_data_type;
    __u8 out_max_pasid_log2;
    __u8 __reserved[3];
    __aligned_u64 out_capabilities;
};
#define IOMMU_GET_HW_INFO _IO(IOMMUFD_TYPE, 0x8a)
#endif
/* Linux 7.0, in that enumeration, where one cannot test for it: hence a name of our own. */
#define HW_CAP_PCI_ATS_NOT_SUPPORTED (UINT64_C(1) << 3)

/* enum iommu_hw_info_type; AMD's said nothing (0) before Linux 7. */
#define VIADUCT_IOMMU_HW_INFO_TYPE_VTD 1
#define VIADUCT_IOMMU_HW_INFO_TYPE_AMD 4

#ifndef IOMMU_HWPT_SET_DIRTY_TRACKING
enum iommufd_hwpt_set_dirty_tracking_flags { IOMMU_HWPT_DIRTY_TRACKING_ENABLE = 1 };

struct iommu_hwpt_set_dirty_tracking {
    __u32 size;
    __u32 flags;
    __u32 hwpt_id;
    __u32 __reserved;
};
#define IOMMU_HWPT_SET_DIRTY_TRACKING _IO(IOMMUFD_TYPE, 0x8b)
#endif

#ifndef IOMMU_HWPT_GET_DIRTY_BITMAP
enum iommufd_hwpt_get_dirty_bitmap_flags { IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR = 1 };

struct iommu_hwpt_get_dirty_bitmap {
    __u32 size;
    __u32 hwpt_id;
    __u32 flags;
    __u32 __reserved;
    __aligned_u64 iova;
    __aligned_u64 length;
    __aligned_u64 page_size;
    __aligned_u64 data;
};
#define IOMMU_HWPT_GET_DIRTY_BITMAP _IO(IOMMUFD_TYPE, 0x8c)
#endif

#ifndef IOMMU_IOAS_MAP_FILE
struct iommu_ioas_map_file {
    __u32 size;
    __u32 flags;
    __u32 ioas_id;
    __s32 fd;
    __aligned_u64 start;
    __aligned_u64 length;
    __aligned_u64 iova;
};
#define IOMMU_IOAS_MAP_FILE _IO(IOMMUFD_TYPE, 0x8f)
#endif

#ifndef IOMMU_IOAS_CHANGE_PROCESS
struct iommu_ioas_change_process {
    __u32 size;
    __u32 __reserved;
};
#define IOMMU_IOAS_CHANGE_PROCESS _IO(IOMMUFD_TYPE, 0x92)
#endif

_Static_assert(sizeof(struct iommu_destroy) == 8, "ABI");
_Static_assert(sizeof(struct iommu_ioas_alloc) == 12, "ABI");
_Static_assert(sizeof(struct iommu_ioas_iova_ranges) == 32, "ABI");
_Static_assert(sizeof(struct iommu_ioas_map) == 40, "ABI");
_Static_assert(sizeof(struct iommu_ioas_map_file) == 40, "ABI");
_Static_assert(offsetof(struct iommu_ioas_map_file, start) == 16, "ABI");
_Static_assert(sizeof(struct iommu_ioas_unmap) == 24, "ABI");
_Static_assert(sizeof(struct iommu_option) == 24, "ABI");
_Static_assert(sizeof(struct iommu_ioas_allow_iovas) == 24, "ABI");
_Static_assert(sizeof(struct iommu_ioas_copy) == 40, "ABI");
/* This one grew: what came later is behind its data. */
_Static_assert(offsetof(struct iommu_hwpt_alloc, data_uptr) == 32, "ABI");
_Static_assert(offsetof(struct iommu_hw_info, out_data_type) == 24, "ABI");
_Static_assert(offsetof(struct iommu_hw_info, out_capabilities) == 32, "ABI");
_Static_assert(sizeof(struct iommu_hwpt_set_dirty_tracking) == 16, "ABI");
_Static_assert(sizeof(struct iommu_hwpt_get_dirty_bitmap) == 48, "ABI");
_Static_assert(sizeof(struct iommu_ioas_change_process) == 8, "ABI");

#endif
