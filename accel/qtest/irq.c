/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The interrupt controller of qtest: 24 lines whose changes a test can follow, and message
 * interrupts, each the write to memory that it is on the bus: a test that gives a device an address
 * in RAM finds the message there.  Bound descriptors are watched by the main loop.
 *
 * Nobody ends an interrupt by himself here: a line that a bound descriptor raised stays so until
 * the test lowers it, or at once falls again where there is no resample descriptor.
 */
#include "qtest-int.h"

#include <glib-unix.h>

#include "core/irq.h"
#include "core/memory.h"
#include "util/error.h"
#include "util/hostcalls.h"

#define MAX_ROUTES 65536

typedef struct Binding {
    int route, trigger, resample;
    guint source;
} Binding;

typedef struct Route {
    bool used;
    MSIMessage msg;
} Route;

static struct {
    bool driven;   /* by its device */
    bool asserted; /* by a bound descriptor */
    bool level;    /* what the test was told last */
} lines[QTEST_LINES];
static GPtrArray *bindings; /* Binding */
static GArray *routes;      /* Route; route number = index + QTEST_LINES */

static void update(int line)
{
    bool level = lines[line].driven || lines[line].asserted;

    if (level != lines[line].level) {
        lines[line].level = level;
        qtest_server_irq(line, level);
    }
}

static void set_line(int gsi, bool level)
{
    lines[gsi].driven = level;
    update(gsi);
}

static bool send_msi(MSIMessage msg)
{
    static bool sending;
    uint32_t data = GUINT32_TO_LE(msg.data);

    if (sending) {
        return false; /* the message went to a register that sends one */
    }
    sending = true;
    address_space_rw(&address_space_memory, msg.address, &data, sizeof(data), true);
    sending = false;
    return true;
}

static Route *route_get(int route)
{
    return &g_array_index(routes, Route, route - QTEST_LINES);
}

static int route_add(MSIMessage msg, GError **errp)
{
    Route r = { true, msg };
    guint i = 0;

    while (i < routes->len && g_array_index(routes, Route, i).used) {
        i++;
    }
    if (i == MAX_ROUTES) {
        error_set(errp, "qtest has no interrupt route left (of %d)", MAX_ROUTES);
        return -1;
    }
    if (i == routes->len) {
        g_array_set_size(routes, i + 1);
    }
    g_array_index(routes, Route, i) = r;
    return (int)i + QTEST_LINES;
}

static void route_update(int route, MSIMessage msg)
{
    route_get(route)->msg = msg;
}

static void route_release(int route)
{
    route_get(route)->used = false;
}

static bool routes_commit(GError **errp)
{
    return true;
}

static gboolean on_trigger(gint fd, GIOCondition condition, gpointer opaque)
{
    const Binding *b = opaque;

    if (!host_eventfd_take(fd)) {
        return G_SOURCE_CONTINUE;
    }
    if (b->route >= QTEST_LINES) {
        send_msi(route_get(b->route)->msg);
        return G_SOURCE_CONTINUE;
    }
    lines[b->route].asserted = true;
    update(b->route);
    if (b->resample < 0) {
        lines[b->route].asserted = false;
        update(b->route);
    }
    return G_SOURCE_CONTINUE;
}

static bool bind_fd(int route, int trigger, int resample, GError **errp)
{
    Binding *b = g_new(Binding, 1);

    *b = (Binding) { route, trigger, resample, 0 };
    b->source = g_unix_fd_add(trigger, G_IO_IN, on_trigger, b);
    g_ptr_array_add(bindings, b);
    return true;
}

static void unbind_fd(int route, int trigger)
{
    for (guint i = 0; i < bindings->len; i++) {
        Binding *b = bindings->pdata[i];

        if (b->route == route && b->trigger == trigger) {
            g_source_remove(b->source);
            g_ptr_array_remove_index_fast(bindings, i);
            break;
        }
    }
    for (guint i = 0; i < bindings->len; i++) {
        if (((Binding *)bindings->pdata[i])->route == route) {
            return; /* somebody else may have asserted the line */
        }
    }
    if (route < QTEST_LINES) {
        lines[route].asserted = false;
        update(route);
    }
}

static const IRQChipOps chip = {
    .set_line = set_line,
    .send_msi = send_msi,
    .route_add = route_add,
    .route_update = route_update,
    .route_release = route_release,
    .routes_commit = routes_commit,
    .bind = bind_fd,
    .unbind = unbind_fd,
};

void qtest_irq_init(void)
{
    bindings = g_ptr_array_new_with_free_func(g_free);
    routes = g_array_new(false, true, sizeof(Route));
    irqchip_register(&chip);
}

bool qtest_irq_present(void)
{
    return bindings;
}

void qtest_irq_set(int line, bool level)
{
    bool ended = lines[line].asserted && !level;

    lines[line].driven = level;
    if (ended) {
        lines[line].asserted = false;
    }
    update(line);
    for (guint i = 0; ended && i < bindings->len; i++) {
        const Binding *b = bindings->pdata[i];

        if (b->route == line && b->resample >= 0) {
            host_eventfd_signal(b->resample);
        }
    }
}
