/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * <linux/vfio.h>, and what the program uses of later ones than Debian 12's (Linux 6.1): the device
 * as a character device of its own, bound to an iommufd.  Source: Linux include/uapi/linux/vfio.h.
 */
#ifndef VIADUCT_UTIL_LINUX_VFIO_H
#define VIADUCT_UTIL_LINUX_VFIO_H

#include <linux/vfio.h>
#include <stddef.h>

/* Linux 6.6; token_uuid_ptr came later and is of no use without its flag. */
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
_Static_assert(VFIO_ATTACH_IOMMUFD_PT_ARGSZ == 12, "ABI");
_Static_assert(VFIO_DETACH_IOMMUFD_PT_ARGSZ == 8, "ABI");
_Static_assert(sizeof(struct vfio_region_info) == 32, "ABI");
_Static_assert(sizeof(struct vfio_irq_set) == 20, "ABI");
_Static_assert(sizeof(struct vfio_device_feature) == 8, "ABI");
_Static_assert(sizeof(struct vfio_device_feature_dma_buf) == 16, "ABI");
_Static_assert(sizeof(struct vfio_region_dma_range) == 16, "ABI");

#endif
