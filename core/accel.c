/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/accel.h"

const AccelOps *accel;
GPtrArray *cpus;

void accel_register(const AccelOps *ops)
{
    accel = ops;
    cpus = g_ptr_array_new();
}

bool accel_device_fd_add(int fd, GError **errp)
{
    return !accel || !accel->device_fd_add || accel->device_fd_add(fd, errp);
}

void accel_device_fd_del(int fd)
{
    if (accel && accel->device_fd_del) {
        accel->device_fd_del(fd);
    }
}
