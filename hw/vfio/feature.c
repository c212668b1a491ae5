/* SPDX-License-Identifier: GPL-2.0-or-later */
/* VFIO_DEVICE_FEATURE: what a device or its driver can beyond the rest. */
#include "hw/vfio/internal.h"

#include "util/hostcalls.h"

bool vfio_device_feature(VFIODevice *dev, uint32_t flags, void *arg, size_t len)
{
    uint64_t buffer[(sizeof(struct vfio_device_feature) + VFIO_FEATURE_ARG_MAX) / sizeof(uint64_t)];
    struct vfio_device_feature *feature = (void *)buffer;

    *feature = (struct vfio_device_feature) {
        .argsz = (uint32_t)(sizeof(*feature) + len),
        .flags = flags,
    };
    if (len) {
        memcpy(feature->data, arg, len);
    }
    if (hostcalls->ioctl(dev->fd, VFIO_DEVICE_FEATURE, feature)) {
        return false;
    }
    if (len) {
        memcpy(arg, feature->data, len);
    }
    return true;
}
