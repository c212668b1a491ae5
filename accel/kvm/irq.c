/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Interrupts: KVM's routing table and what is bound to it.
 *
 * The first GSIs are the board's, wired as on a PC: 0 to 15 go to the two PICs, 0 to 23 to the
 * IOAPIC, where the timer (GSI 0) sits on pin 2 and the cascade (GSI 2) on nothing, as the ACPI
 * tables say.  Above them each GSI is one MSI route.  The kernel takes the table only as a whole,
 * so changes are gathered here and handed over by commit.
 *
 * A route's message names its destination by APIC id.  The guest has two places for the bits above
 * the eighth: the upper address half, and (KVM_FEATURE_MSI_EXT_DEST_ID) bits 11..5 of the lower
 * one; KVM wants them in the upper half (KVM_CAP_X2APIC_API).
 *
 * Machine lock held.
 */
#include "kvm-int.h"

#include <errno.h>
#include <inttypes.h>

#include "core/irq.h"
#include "util/error.h"
#include "util/trace.h"

#define PIC_TIMER_GSI   0
#define PIC_CASCADE_GSI 2
#define PIC_GSIS        16
#define BOARD_ENTRIES   (PIC_GSIS + KVM_IRQCHIP_GSIS) /* of the routing table, at most */

typedef struct MSIRoute {
    bool used;
    MSIMessage msg;
} MSIRoute;

static GArray *routes;      /* MSIRoute; route number = index + KVM_IRQCHIP_GSIS */
static unsigned first_free; /* no free route lies before it */
static unsigned max_routes;
static bool dirty; /* the kernel does not have this table yet */

/*
 * Whether KVM takes it: it refuses a table as a whole if the upper address half names anything but
 * bits 31..8 of a destination.  What the guest writes there must not keep its other interrupts out.
 */
static bool message_valid(MSIMessage msg)
{
    return !(msg.address >> 32 & 0xff);
}

/* Where KVM wants bits 14..8 of the destination. */
static MSIMessage kvm_message(MSIMessage msg)
{
    const uint64_t remappable = 1 << 4, ext_dest = 0x7f << 5;

    if (!(msg.address >> 32) && !(msg.address & remappable)) {
        msg.address = (msg.address & ~ext_dest) | (msg.address & ext_dest) >> 5 << 40;
    }
    return msg;
}

static MSIRoute *route_get(int route)
{
    unsigned i = route - KVM_IRQCHIP_GSIS;

    g_assert(route >= KVM_IRQCHIP_GSIS && i < routes->len);
    return &g_array_index(routes, MSIRoute, i);
}

static int route_add(MSIMessage msg, GError **errp)
{
    MSIRoute route = { true, msg };
    unsigned i = first_free;

    while (i < routes->len && g_array_index(routes, MSIRoute, i).used) {
        i++;
    }
    if (i == max_routes) {
        error_set(errp, "KVM has no interrupt route left (of %u)", max_routes);
        return -1;
    }
    if (i == routes->len) {
        g_array_append_val(routes, route);
    } else {
        g_array_index(routes, MSIRoute, i) = route;
    }
    first_free = i + 1;
    dirty = true;
    return i + KVM_IRQCHIP_GSIS;
}

static void route_update(int route, MSIMessage msg)
{
    MSIRoute *r = route_get(route);

    dirty |= r->msg.address != msg.address || r->msg.data != msg.data;
    r->msg = msg;
}

static void route_release(int route)
{
    route_get(route)->used = false;
    first_free = MIN(first_free, (unsigned)route - KVM_IRQCHIP_GSIS);
    dirty = true;
}

static void add_pin(struct kvm_irq_routing *table, unsigned gsi, unsigned chip, unsigned pin)
{
    table->entries[table->nr++] = (struct kvm_irq_routing_entry) {
        .gsi = gsi,
        .type = KVM_IRQ_ROUTING_IRQCHIP,
        .u.irqchip = { .irqchip = chip, .pin = pin },
    };
}

static void add_board(struct kvm_irq_routing *table)
{
    for (unsigned gsi = 0; gsi < KVM_IRQCHIP_GSIS; gsi++) {
        if (gsi == PIC_CASCADE_GSI) {
            continue;
        }
        if (gsi < PIC_GSIS) {
            add_pin(table, gsi, gsi < 8 ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE, gsi & 7);
        }
        add_pin(table, gsi, KVM_IRQCHIP_IOAPIC, gsi == PIC_TIMER_GSI ? PIC_CASCADE_GSI : gsi);
    }
}

bool kvm_routes_commit(GError **errp)
{
    g_autofree struct kvm_irq_routing *table = NULL;
    int ret;

    if (!dirty) {
        return true;
    }
    table = g_malloc0(sizeof(*table) + (BOARD_ENTRIES + routes->len) * sizeof(table->entries[0]));
    add_board(table);
    for (unsigned i = 0; i < routes->len; i++) {
        const MSIRoute *r = &g_array_index(routes, MSIRoute, i);
        MSIMessage msg = kvm_message(r->msg);

        if (r->used && message_valid(msg)) {
            table->entries[table->nr++] = (struct kvm_irq_routing_entry) {
                .gsi = i + KVM_IRQCHIP_GSIS,
                .type = KVM_IRQ_ROUTING_MSI,
                .u.msi = { .address_lo = msg.address,
                           .address_hi = msg.address >> 32,
                           .data = msg.data },
            };
        }
    }
    TRACE("kvm_irqchip_commit_routes", "%u entries", table->nr);
    ret = kvm_vm_ioctl(KVM_SET_GSI_ROUTING, table);
    if (ret < 0) {
        return error_set_errno(errp, -ret, "KVM cannot take %u interrupt routes", table->nr);
    }
    dirty = false;
    return true;
}

static void set_line(int gsi, bool level)
{
    struct kvm_irq_level line = { .irq = gsi, .level = level };
    int ret = kvm_vm_ioctl(KVM_IRQ_LINE, &line);

    if (ret < 0) {
        error_report("KVM cannot set interrupt line %d to %d: %s", gsi, level, g_strerror(-ret));
    }
}

static bool send_msi(MSIMessage msg)
{
    MSIMessage m = kvm_message(msg);
    struct kvm_msi msi = {
        .address_lo = m.address,
        .address_hi = m.address >> 32,
        .data = m.data,
    };

    /* A message that no vCPU takes is the guest's affair: 0, or an error for a bad destination. */
    return kvm_vm_ioctl(KVM_SIGNAL_MSI, &msi) > 0;
}

static bool irq_bind_fd(int route, int trigger_fd, int resample_fd, GError **errp)
{
    struct kvm_irqfd irqfd = {
        .fd = trigger_fd,
        .gsi = route,
        .flags = resample_fd >= 0 ? KVM_IRQFD_FLAG_RESAMPLE : 0,
        .resamplefd = MAX(resample_fd, 0),
    };
    int ret = kvm_vm_ioctl(KVM_IRQFD, &irqfd);

    if (ret < 0) {
        return error_set_errno(errp, -ret, "KVM cannot bind descriptor %d to interrupt %d",
                               trigger_fd, route);
    }
    return true;
}

static void irq_unbind_fd(int route, int trigger_fd)
{
    struct kvm_irqfd irqfd = {
        .fd = trigger_fd,
        .gsi = route,
        .flags = KVM_IRQFD_FLAG_DEASSIGN,
    };
    int ret = kvm_vm_ioctl(KVM_IRQFD, &irqfd);

    if (ret < 0) {
        error_report("KVM cannot unbind descriptor %d from interrupt %d: %s", trigger_fd, route,
                     g_strerror(-ret));
    }
}

bool kvm_irq_init(unsigned entries, GError **errp)
{
    static const IRQChipOps ops = {
        .set_line = set_line,
        .send_msi = send_msi,
        .route_add = route_add,
        .route_update = route_update,
        .route_release = route_release,
        .routes_commit = kvm_routes_commit,
        .bind = irq_bind_fd,
        .unbind = irq_unbind_fd,
    };

    if (entries < BOARD_ENTRIES) {
        return error_set(errp, "KVM takes %u interrupt routes, the board alone has %d", entries,
                         BOARD_ENTRIES);
    }
    max_routes = entries - BOARD_ENTRIES;
    routes = g_array_new(false, true, sizeof(MSIRoute));
    dirty = true; /* the table that the kernel starts with has the timer on pin 0 */
    irqchip_register(&ops);
    return true;
}
