/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Resources, as firmware assigns them: bus numbers depth first, then I/O, memory and prefetchable
 * memory, each by the same two steps.
 *
 * plan() gathers what a bus needs of one kind: its devices' BARs and, for each bridge, a window as
 * large as what the same step finds behind it, laid out from 0.  On the root bus the requests then
 * get addresses out of the board's windows, those of the largest alignment first, so that no gaps
 * arise; settle() writes registers and hands each bridge's address down to what is behind it.
 *
 * A window is larger than that where its bridge reserves room for what is hot-plugged later.  Such
 * reserves come after all else, and those that are mere wishes are halved until all fits.
 *
 * What may lie above 4 GiB: 64-bit prefetchable BARs and the windows that hold them do, where the
 * board has room there.  Other 64-bit BARs stay below if they fit once all that cannot leave has
 * its place; only on the root bus they may go above, for no bridge has a 64-bit window for them.
 */
#include "hw/pci/internal.h"
#include "util/error.h"

#define ROM_ROOM (-2) /* Request.bar: room for a ROM, not assigned: the guest may want it */
#define WINDOW   (-1) /* Request.bar: the window of a bridge */

typedef struct Request {
    PCIDevice *dev;
    int bar;
    uint64_t size, align;
    uint64_t addr;  /* from the start of the bridge's window; on the root bus absolute */
    bool high;      /* above 4 GiB is possible */
    bool empty;     /* a window for what is not there yet */
    bool placed;    /* addr is good; on the root bus only */
    GArray *inside; /* of a bridge's window */
} Request;

static void request_clear(void *data)
{
    g_clear_pointer(&((Request *)data)->inside, g_array_unref);
}

static Request *request_at(GArray *requests, guint i)
{
    return &g_array_index(requests, Request, i);
}

/* ---- space: arrays of free ranges, in ascending order ---- */

static GArray *pool_new(const PCIWindow *windows, size_t n)
{
    GArray *pool = g_array_new(FALSE, FALSE, sizeof(PCIWindow));

    g_array_append_vals(pool, windows, (guint)n);
    return pool;
}

/* The lowest free place; what is left on either side stays free. */
static bool pool_take(GArray *pool, Request *r)
{
    for (guint i = 0; r->size && i < pool->len; i++) {
        PCIWindow *w = &g_array_index(pool, PCIWindow, i);
        uint64_t skip = -w->base & (r->align - 1);

        if (skip <= w->size && r->size <= w->size - skip) {
            PCIWindow before = { w->base, skip };

            r->addr = w->base + skip;
            w->base = r->addr + r->size;
            w->size -= skip + r->size;
            if (skip) {
                g_array_insert_val(pool, i, before);
            }
            return true;
        }
    }
    return !r->size; /* an empty window takes no room, and is written down to close it */
}

/* ---- what is needed ---- */

static PCIWindowKind kind_of(const PCIIORegion *r)
{
    if (r->type & PCI_BASE_ADDRESS_SPACE_IO) {
        return PCI_WINDOW_IO;
    }
    return pci_bar_is_64bit(r) && r->type & PCI_BASE_ADDRESS_MEM_PREFETCH ? PCI_WINDOW_PREF
                                                                          : PCI_WINDOW_MEM;
}

/*
 * What is there first, of that what cannot leave the low windows, then by alignment; else as they
 * came.
 */
static int by_need(const void *a, const void *b)
{
    const Request *x = a, *y = b;

    if (x->empty != y->empty) {
        return x->empty - y->empty;
    }
    if (x->high != y->high) {
        return x->high - y->high;
    }
    return (x->align < y->align) - (x->align > y->align);
}

/* What is planned: how often the wishes are halved by now, and whether one of them counted. */
typedef struct Plan {
    PCIWindowKind kind;
    unsigned halved;
    bool wished;
} Plan;

static GArray *plan(PCIBus *bus, Plan *p);

/* Room of that size is aligned so that one BAR could take all that is a power of two of it. */
static void add_reserve(Request *window, const PCIReserve *reserve, uint64_t grain, Plan *p)
{
    uint64_t wish = p->halved < 64 ? reserve->wish >> p->halved : 0;
    uint64_t size = MAX(reserve->least, wish < grain ? 0 : wish);

    if (size > UINT64_MAX / 2) {
        window->size = UINT64_MAX;
    } else if (size > window->size) {
        p->wished |= size > reserve->least;
        window->empty = !window->size;
        window->size = (size + grain - 1) & ~(grain - 1);
        window->align = MAX(window->align, UINT64_C(1) << (63 - __builtin_clzll(size)));
    }
}

/* Lays out what is behind the bridge; its window is that, rounded up. */
static void add_window(GArray *requests, PCIDevice *dev, PCIBus *behind, Plan *p)
{
    uint64_t grain = pci_bridge_window_align(p->kind);
    Request window = {
        .dev = dev, .bar = WINDOW, .align = grain, .high = p->kind == PCI_WINDOW_PREF
    };
    g_autoptr(GArray) pool = pool_new(&(PCIWindow) { 0, UINT64_MAX }, 1);

    window.inside = plan(behind, p);
    for (guint i = 0; i < window.inside->len; i++) {
        Request *r = request_at(window.inside, i);

        window.align = MAX(window.align, r->align);
        if (!pool_take(pool, r) || r->addr + r->size > UINT64_MAX - grain) {
            window.size = UINT64_MAX; /* 2^64 bytes of BARs: no place will be found */
            break;
        }
        window.size = MAX(window.size, (r->addr + r->size + grain - 1) & ~(grain - 1));
    }
    add_reserve(&window, &PCI_BRIDGE(dev)->reserve[p->kind], grain, p);
    g_array_append_val(requests, window);
}

static void add_bars(GArray *requests, PCIDevice *dev, PCIWindowKind kind)
{
    for (int i = 0; i < PCI_NUM_REGIONS; i++) {
        const PCIIORegion *r = &dev->regions[i];

        if (r->mr && kind_of(r) == kind) {
            Request bar = {
                .dev = dev,
                .bar = i == PCI_ROM_SLOT ? ROM_ROOM : i,
                .size = r->size,
                /* A page each: what is passed through can then be mapped, however small. */
                .align = kind == PCI_WINDOW_IO ? r->size : MAX(r->size, 4096),
                .high = pci_bar_is_64bit(r) && (kind == PCI_WINDOW_PREF || !dev->bus->bridge),
            };
            g_array_append_val(requests, bar);
        }
    }
}

static GArray *plan(PCIBus *bus, Plan *p)
{
    GArray *requests = g_array_new(FALSE, FALSE, sizeof(Request));

    g_array_set_clear_func(requests, request_clear);
    for (size_t devfn = 0; devfn < G_N_ELEMENTS(bus->devices); devfn++) {
        PCIDevice *dev = bus->devices[devfn];
        PCIBus *behind = dev ? pci_bus_behind(dev) : NULL;

        if (dev && !pci_is_held_back(dev)) {
            add_bars(requests, dev, p->kind);
        }
        if (behind) {
            add_window(requests, dev, behind, p);
        }
    }
    g_array_sort(requests, by_need);
    return requests;
}

/* ---- writing it down ---- */

static void set_bar(PCIDevice *dev, int nr, uint64_t addr)
{
    uint32_t offset = pci_bar_offset(dev, nr);

    pci_config_write(dev, offset, (uint32_t)addr, 4);
    if (pci_bar_is_64bit(&dev->regions[nr])) {
        pci_config_write(dev, offset + 4, (uint32_t)(addr >> 32), 4);
    }
}

static void settle(GArray *requests, PCIWindowKind kind, uint64_t base);

static void settle_one(const Request *r, PCIWindowKind kind, uint64_t base)
{
    if (r->bar >= 0) {
        set_bar(r->dev, r->bar, base + r->addr);
    } else if (r->bar == WINDOW) {
        pci_bridge_set_window(r->dev, kind, base + r->addr, r->size);
        settle(r->inside, kind, base + r->addr);
    }
}

static void settle(GArray *requests, PCIWindowKind kind, uint64_t base)
{
    for (guint i = 0; i < requests->len; i++) {
        settle_one(request_at(requests, i), kind, base);
    }
}

/* Names the BAR that asks for most: a window that does not fit is never the user's doing. */
static bool no_room(const Request *r, PCIWindowKind kind, GError **errp)
{
    static const char *const spaces[] = { "I/O", "memory", "prefetchable memory" };
    g_autofree char *bridge = r->bar == WINDOW ? pci_device_name(r->dev) : NULL;
    g_autofree char *name = NULL;
    uint64_t window = r->size;

    while (r->bar == WINDOW && r->inside->len) {
        const Request *largest = request_at(r->inside, 0);

        for (guint i = 1; i < r->inside->len; i++) {
            if (request_at(r->inside, i)->size > largest->size) {
                largest = request_at(r->inside, i);
            }
        }
        r = largest;
    }
    name = pci_device_name(r->dev);
    if (r->bar == WINDOW) {
        return error_set(errp,
                         "PCI: no room for the %s window of %s (0x%" G_GINT64_MODIFIER
                         "x bytes, reserved for hot-plug)",
                         spaces[kind], bridge, window);
    }
    if (bridge) {
        return error_set(errp,
                         "PCI: no room for the %s window of %s (0x%" G_GINT64_MODIFIER
                         "x bytes, largest: %s BAR %d of 0x%" G_GINT64_MODIFIER "x)",
                         spaces[kind], bridge, window, name,
                         r->bar == ROM_ROOM ? PCI_ROM_SLOT : r->bar, r->size);
    }
    return error_set(errp, "PCI: no room for BAR %d of %s (%s, 0x%" G_GINT64_MODIFIER "x bytes)",
                     r->bar, name, spaces[kind], r->size);
}

/* ---- bus numbers, interrupt lines, decoding ---- */

/* Numbers what is behind @bus, which is @nr; returns the last number given. */
static unsigned number_buses(PCIBus *bus, unsigned nr)
{
    unsigned last = nr;

    for (size_t devfn = 0; devfn < G_N_ELEMENTS(bus->devices); devfn++) {
        PCIDevice *dev = bus->devices[devfn];
        PCIBus *behind = dev ? pci_bus_behind(dev) : NULL;

        unsigned reserve = behind ? PCI_BRIDGE(dev)->bus_reserve : 0;

        if (behind && last + 1 < pci_host->config.ecam_buses &&
            reserve < pci_host->config.ecam_buses - last - 1) {
            unsigned secondary = last + 1;

            last = number_buses(behind, secondary);
            last = MIN(last + reserve, pci_host->config.ecam_buses - 1);
            pci_config_write(dev, PCI_PRIMARY_BUS, nr, 1);
            pci_config_write(dev, PCI_SECONDARY_BUS, secondary, 1);
            pci_config_write(dev, PCI_SUBORDINATE_BUS, last, 1);
        }
    }
    return last;
}

static void count_unnumbered(PCIDevice *dev, void *opaque)
{
    PCIBus *behind = pci_bus_behind(dev);

    *(unsigned *)opaque += behind && !pci_bus_number(behind);
}

static void enable(PCIDevice *dev, void *opaque)
{
    uint16_t command = pci_get_word(dev->config + PCI_COMMAND);
    int gsi = pci_intx_gsi(dev);

    if (pci_is_held_back(dev)) {
        return;
    }

    for (int i = 0; i < PCI_ROM_SLOT; i++) {
        const PCIIORegion *r = &dev->regions[i];

        if (r->mr && pci_bar_address(dev, i)) {
            command |= r->type & PCI_BASE_ADDRESS_SPACE_IO ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY;
        }
    }
    if (pci_bus_behind(dev)) {
        command |= PCI_COMMAND_IO | PCI_COMMAND_MEMORY;
    }
    if (gsi >= 0) {
        pci_config_write(dev, PCI_INTERRUPT_LINE, (uint32_t)gsi, 1);
    }
    pci_config_write(dev, PCI_COMMAND, command, 2);
}

/* Places all requests: from the @first pool, or else, what can lie high, from the @second. */
static const Request *place(GArray *requests, GArray *first, GArray *second)
{
    const Request *failed = NULL;

    for (guint i = 0; i < requests->len; i++) {
        Request *r = request_at(requests, i);

        if (r->bar != ROM_ROOM) {
            r->placed = pool_take(first, r) || (r->high && pool_take(second, r));
            failed = failed ?: r->placed ? NULL : r;
        }
    }
    return failed;
}

/* The pools are copied for each attempt and replaced by what the last one left. */
static bool assign_kind(PCIWindowKind kind, GArray **first, GArray **second, GError **errp)
{
    Plan p = { .kind = kind, .wished = true };
    g_autoptr(GArray) requests = NULL;
    g_autoptr(GArray) a = NULL;
    g_autoptr(GArray) b = NULL;
    const Request *failed = NULL;

    for (; p.wished && (!requests || failed); p.halved++) {
        g_clear_pointer(&requests, g_array_unref);
        g_clear_pointer(&a, g_array_unref);
        g_clear_pointer(&b, g_array_unref);
        p.wished = false;
        requests = plan(pci_host->root, &p);
        a = g_array_copy(*first);
        b = first == second ? g_array_ref(a) : g_array_copy(*second);
        failed = place(requests, a, b);
    }
    for (guint i = 0; i < requests->len; i++) {
        if (request_at(requests, i)->placed) {
            settle_one(request_at(requests, i), kind, 0);
        }
    }
    g_array_unref(*first);
    *first = g_steal_pointer(&a);
    if (first != second) {
        g_array_unref(*second);
        *second = g_steal_pointer(&b);
    }
    return !failed || no_room(failed, kind, errp);
}

bool pci_assign_resources(GError **errp)
{
    const PCIHostConfig *c = &pci_host->config;
    g_autoptr(GArray) io = pool_new(&c->io_ports, 1);
    g_autoptr(GArray) low = pool_new(c->mem32, G_N_ELEMENTS(c->mem32));
    g_autoptr(GArray) high = pool_new(&c->mem64, 1);
    unsigned unnumbered = 0;
    bool ok;

    memory_transaction_begin();
    number_buses(pci_host->root, 0);
    pci_bus_walk(pci_host->root, count_unnumbered, &unnumbered);
    ok = !unnumbered || error_set(errp, "PCI: %u buses more than the %u there are numbers for",
                                  unnumbered, c->ecam_buses);
    ok &= assign_kind(PCI_WINDOW_IO, &io, &io, ok ? errp : NULL);
    ok &= assign_kind(PCI_WINDOW_MEM, &low, &high, ok ? errp : NULL);
    ok &= assign_kind(PCI_WINDOW_PREF, &high, &low, ok ? errp : NULL);
    pci_bus_walk(pci_host->root, enable, NULL);
    memory_transaction_commit();
    return ok;
}
