/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * <linux/vfio.h>, and what the program uses of later ones than Debian 12's (Linux 6.1): the device
 * as a character device of its own, bound to an iommufd.  Source: Linux include/uapi/linux/vfio.h.
 */
#ifndef VIADUCT_UTIL_LINUX_VFIO_H
#define VIADUCT_UTIL_LINUX_VFIO_H

#include <linux/vfio.h>
#include <stddef.h>

/* Linux 6.6 */
#ifndef VFIO_DEVICE_BIND_IOMMUFD
struct vfio_device_bind_iommufd {
    __u32 argsz;
    __u32 flags;
    __s32 iommufd;
    __u32 out_devid;
};
#define VFIO_DEVICE_BIND_IOMMUFD _IO(VFIO_TYPE, VFIO_BASE + 18)
#endif

#ifndef VFIO_DEVICE_ATTACH_IOMMUFD_PT
struct vfio_device_attach_iommufd_pt {
    __u32 argsz;
    __u32 flags;
    __u32 pt_id;
};
#define VFIO_DEVICE_ATTACH_IOMMUFD_PT _IO(VFIO_TYPE, VFIO_BASE + 19)
#endif

#ifndef VFIO_DEVICE_DETACH_IOMMUFD_PT
struct vfio_device_detach_iommufd_pt {
    __u32 argsz;
    __u32 flags;
};
#define VFIO_DEVICE_DETACH_IOMMUFD_PT _IO(VFIO_TYPE, VFIO_BASE + 20)
#endif

/* Linux 6.17: the token of a VF or PF comes along at BIND.  Headers that have the structure may lack
 * the field, so it is sent as one of our own. */
#ifndef VFIO_DEVICE_BIND_FLAG_TOKEN
#define VFIO_DEVICE_BIND_FLAG_TOKEN (1 << 0)
#endif
typedef struct VFIODeviceBindToken {
    __u32 argsz;
    __u32 flags;
    __s32 iommufd;
    __u32 out_devid;
    __aligned_u64 token_uuid_ptr; /* 16 bytes */
} VFIODeviceBindToken;

/* Linux 6.19: a part of a BAR as a dma-buf; VFIO_DEVICE_FEATURE then returns its descriptor. */
#ifndef VFIO_DEVICE_FEATURE_DMA_BUF
#define VFIO_DEVICE_FEATURE_DMA_BUF 11
struct vfio_region_dma_range {
    __u64 offset;
    __u64 length;
};
struct vfio_device_feature_dma_buf {
    __u32 region_index;
    __u32 open_flags; /* of open(2): access mode and O_CLOEXEC */
    __u32 flags;
    __u32 nr_ranges;
    struct vfio_region_dma_range dma_ranges[];
};
#endif

/* Linux 6.2: a device's state is sent while the device runs. */
#ifndef VFIO_MIGRATION_PRE_COPY
#define VFIO_MIGRATION_PRE_COPY        (1 << 2)
#define VFIO_DEVICE_STATE_PRE_COPY     6
#define VFIO_DEVICE_STATE_PRE_COPY_P2P 7
struct vfio_precopy_info {
    __u32 argsz;
    __u32 flags;
    __aligned_u64 initial_bytes;
    __aligned_u64 dirty_bytes;
};
#define VFIO_MIG_GET_PRECOPY_INFO _IO(VFIO_TYPE, VFIO_BASE + 21)
#endif
#ifndef VFIO_DEVICE_FEATURE_MIG_DATA_SIZE
#define VFIO_DEVICE_FEATURE_MIG_DATA_SIZE 9
struct vfio_device_feature_mig_data_size {
    __aligned_u64 stop_copy_length;
};
#endif

/* Linux 7.1: there may be initial data again; it is said by a flag, if one asked for that. */
#ifndef VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2
#define VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2 12
#endif
#ifndef VFIO_PRECOPY_INFO_REINIT
#define VFIO_PRECOPY_INFO_REINIT (1 << 0)
#endif

/*
 * Linux 6.6: of a device behind a cdev, HOT_RESET_INFO names the others by their ids in the iommufd,
 * in the place of the group.
 */
#ifndef VFIO_PCI_HOT_RESET_FLAG_DEV_ID
#define VFIO_PCI_HOT_RESET_FLAG_DEV_ID       (1 << 0)
#define VFIO_PCI_HOT_RESET_FLAG_DEV_ID_OWNED (1 << 1)
#define VFIO_PCI_DEVID_OWNED                 0
#define VFIO_PCI_DEVID_NOT_OWNED             (-1)
#endif

/*
 * These structures grow with the kernel's headers.  What is sent is the size that Linux 6.6 knew:
 * all kernels take it, and it is all that is used.
 */
#define VFIO_BIND_IOMMUFD_ARGSZ \
    (offsetof(struct vfio_device_bind_iommufd, out_devid) + sizeof(__u32))
#define VFIO_ATTACH_IOMMUFD_PT_ARGSZ \
    (offsetof(struct vfio_device_attach_iommufd_pt, pt_id) + sizeof(__u32))
#define VFIO_DETACH_IOMMUFD_PT_ARGSZ \
    (offsetof(struct vfio_device_detach_iommufd_pt, flags) + sizeof(__u32))

_Static_assert(VFIO_BIND_IOMMUFD_ARGSZ == 16, "ABI");
_Static_assert(offsetof(VFIODeviceBindToken, token_uuid_ptr) == VFIO_BIND_IOMMUFD_ARGSZ, "ABI");
_Static_assert(sizeof(VFIODeviceBindToken) == 24, "ABI");
_Static_assert(VFIO_ATTACH_IOMMUFD_PT_ARGSZ == 12, "ABI");
_Static_assert(VFIO_DETACH_IOMMUFD_PT_ARGSZ == 8, "ABI");
_Static_assert(sizeof(struct vfio_region_info) == 32, "ABI");
_Static_assert(sizeof(struct vfio_irq_set) == 20, "ABI");
_Static_assert(sizeof(struct vfio_iommu_type1_info) == 24, "ABI");
_Static_assert(sizeof(struct vfio_pci_dependent_device) == 8, "ABI");
_Static_assert(sizeof(struct vfio_pci_hot_reset_info) == 12, "ABI");
_Static_assert(sizeof(struct vfio_pci_hot_reset) == 12, "ABI");
_Static_assert(sizeof(struct vfio_device_feature) == 8, "ABI");
_Static_assert(sizeof(struct vfio_device_feature_migration) == 8, "ABI");
_Static_assert(sizeof(struct vfio_device_feature_mig_state) == 8, "ABI");
_Static_assert(sizeof(struct vfio_device_feature_mig_data_size) == 8, "ABI");
_Static_assert(sizeof(struct vfio_precopy_info) == 24, "ABI");
_Static_assert(sizeof(struct vfio_device_feature_dma_buf) == 16, "ABI");
_Static_assert(sizeof(struct vfio_region_dma_range) == 16, "ABI");

#endif
