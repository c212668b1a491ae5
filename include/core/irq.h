/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Interrupts as devices see them: numbered lines (GSIs on x86), MSI routes, and eventfds bound to
 * either.  The accelerator provides the operations; devices know nothing else of it.
 * Machine lock held.
 */
#ifndef VIADUCT_CORE_IRQ_H
#define VIADUCT_CORE_IRQ_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct MSIMessage {
    uint64_t address;
    uint32_t data;
} MSIMessage;

typedef struct IRQChipOps {
    void (*set_line)(int gsi, bool level);
    bool (*send_msi)(MSIMessage msg);
    int (*route_add)(MSIMessage msg, GError **errp);
    void (*route_update)(int route, MSIMessage msg);
    void (*route_release)(int route);
    bool (*routes_commit)(GError **errp);
    bool (*bind)(int route, int trigger_fd, int resample_fd, GError **errp);
    void (*unbind)(int route, int trigger_fd);
} IRQChipOps;

/* Called once by the accelerator, before any device exists. */
void irqchip_register(const IRQChipOps *ops);

/* Level of a line that only this caller drives; shared lines are or-ed by their owner. */
void irq_set_line(int gsi, bool level);
/* Delivers @msg now; false if no vCPU took it. */
bool irq_send_msi(MSIMessage msg);

/*
 * MSI routes: numbers that eventfds can be bound to.  Adding, updating and releasing take effect
 * at irq_routes_commit(), which is one system call for any number of them.  -1 when none is left.
 */
int irq_route_add(MSIMessage msg, GError **errp);
void irq_route_update(int route, MSIMessage msg);
void irq_route_release(int route);
bool irq_routes_commit(GError **errp);

/*
 * From now on a signal on @trigger_fd raises the route or line without this process; for a
 * level-triggered line @resample_fd (else -1) is signalled when the guest ends the interrupt.  The
 * descriptors stay the caller's and must outlive the binding.
 */
bool irq_bind(int route, int trigger_fd, int resample_fd, GError **errp);
void irq_unbind(int route, int trigger_fd);

#endif
