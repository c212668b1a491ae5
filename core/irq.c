/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/irq.h"

static const IRQChipOps *chip;

void irqchip_register(const IRQChipOps *ops)
{
    chip = ops;
}

void irq_set_line(int gsi, bool level)
{
    chip->set_line(gsi, level);
}

bool irq_send_msi(MSIMessage msg)
{
    return chip->send_msi(msg);
}

int irq_route_add(MSIMessage msg, GError **errp)
{
    return chip->route_add(msg, errp);
}

void irq_route_update(int route, MSIMessage msg)
{
    chip->route_update(route, msg);
}

void irq_route_release(int route)
{
    chip->route_release(route);
}

bool irq_routes_commit(GError **errp)
{
    return chip->routes_commit(errp);
}

bool irq_bind(int route, int trigger_fd, int resample_fd, GError **errp)
{
    return chip->bind(route, trigger_fd, resample_fd, errp);
}

void irq_unbind(int route, int trigger_fd)
{
    chip->unbind(route, trigger_fd);
}
