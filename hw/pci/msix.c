/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * MSI-X: capability, table and pending bits.
 *
 * A vector is live when MSI-X is on, the function is not masked and the vector is not.  Whatever
 * the guest writes (its entry, the function's mask, the enable bit), sync_vector() compares that
 * with what the owner was last told and tells the difference; a write to the control word does so
 * for all vectors in one batch.
 */
#include "hw/pci/internal.h"
#include "hw/pci/msi.h"
#include "util/error.h"

#include <string.h>

#define MSIX_MAX_VECTORS     (PCI_MSIX_FLAGS_QSIZE + 1)
#define MSIX_CAP_SIZE        12
#define MSIX_REGION_PRIORITY 8 /* above a BAR's own parts and any quirk's */

/* Entry and pending bits as in memory, little endian. */
typedef struct MSIXState {
    PCIDevice *dev;
    uint8_t cap;
    unsigned vectors;
    uint32_t table_size, pba_size;
    uint8_t *table, *pba;
    bool *live;       /* by vector: the owner was told to use it */
    uint16_t control; /* ENABLE and MASKALL as the owner knows them */
    MemoryRegion table_mr, pba_mr;
    const MSIXHooks *hooks;
} MSIXState;

/* ---- state ---- */

static uint8_t *entry(MSIXState *s, unsigned vector)
{
    return s->table + (size_t)vector * PCI_MSIX_ENTRY_SIZE;
}

bool msix_present(PCIDevice *dev)
{
    return dev->msix;
}

bool msix_enabled(PCIDevice *dev)
{
    return dev->msix && dev->msix->control & PCI_MSIX_FLAGS_ENABLE;
}

unsigned msix_nr_vectors(PCIDevice *dev)
{
    return dev->msix ? dev->msix->vectors : 0;
}

bool msix_is_masked(PCIDevice *dev, unsigned vector)
{
    MSIXState *s = dev->msix;

    return !msix_enabled(dev) || s->control & PCI_MSIX_FLAGS_MASKALL || vector >= s->vectors ||
           entry(s, vector)[PCI_MSIX_ENTRY_VECTOR_CTRL] & PCI_MSIX_ENTRY_CTRL_MASKBIT;
}

MSIMessage msix_message(PCIDevice *dev, unsigned vector)
{
    const uint8_t *e;

    if (vector >= msix_nr_vectors(dev)) {
        return (MSIMessage) { 0 };
    }
    e = entry(dev->msix, vector);
    return (MSIMessage) {
        .address = pci_get_long(e + PCI_MSIX_ENTRY_LOWER_ADDR) |
                   (uint64_t)pci_get_long(e + PCI_MSIX_ENTRY_UPPER_ADDR) << 32,
        .data = pci_get_long(e + PCI_MSIX_ENTRY_DATA),
    };
}

void msix_set_pending(PCIDevice *dev, unsigned vector, bool pending)
{
    if (vector < msix_nr_vectors(dev)) {
        uint8_t *byte = dev->msix->pba + vector / 8, bit = (uint8_t)(1U << vector % 8);

        *byte = pending ? *byte | bit : *byte & (uint8_t)~bit;
    }
}

/* ---- telling the owner ---- */

/* @changed: the message is another than it was. */
static void sync_vector(MSIXState *s, unsigned vector, bool changed)
{
    bool want = !msix_is_masked(s->dev, vector), live = s->live[vector];

    if (want && (!live || changed)) {
        s->live[vector] =
            !s->hooks || s->hooks->vector_use(s->dev, vector, msix_message(s->dev, vector));
        if (s->live[vector]) {
            msix_set_pending(s->dev, vector, false);
        }
    } else if (!want && live) {
        s->live[vector] = false;
        if (s->hooks) {
            s->hooks->vector_release(s->dev, vector);
        }
    }
}

static void sync_all(MSIXState *s)
{
    if (s->hooks && s->hooks->batch_begin) {
        s->hooks->batch_begin(s->dev);
    }
    for (unsigned vector = 0; vector < s->vectors; vector++) {
        sync_vector(s, vector, false);
    }
    if (s->hooks && s->hooks->batch_end) {
        s->hooks->batch_end(s->dev);
    }
}

static uint16_t guests_control(MSIXState *s)
{
    return pci_get_word(s->dev->config + s->cap + PCI_MSIX_FLAGS) &
           (PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
}

static void set_control(MSIXState *s, uint16_t control)
{
    if (s->control != control) {
        s->control = control;
        sync_all(s);
    }
}

void msix_write_config(PCIDevice *dev, uint32_t addr, unsigned len)
{
    MSIXState *s = dev->msix;
    uint32_t flags = s ? s->cap + PCI_MSIX_FLAGS : 0;

    if (!s || !ranges_overlap(addr, len, flags, 2)) {
        return;
    }
    set_control(s, guests_control(s));
}

bool msix_load(PCIDevice *dev, GError **errp)
{
    MSIXState *s = dev->msix;

    if (!s) {
        return true;
    }
    set_control(s, 0); /* whatever was live was so with other messages */
    set_control(s, guests_control(s));
    for (unsigned vector = 0; vector < s->vectors; vector++) {
        if (!msix_is_masked(dev, vector) && !s->live[vector]) {
            g_autofree char *name = pci_device_name(dev);

            return error_set(errp, "%s: MSI-X vector %u cannot be used", name, vector);
        }
    }
    return true;
}

/* ---- table and pending bits ---- */

static bool fits(uint32_t size, uint64_t addr, unsigned len)
{
    return addr < size && len <= size - addr;
}

static uint64_t load(const uint8_t *bytes, unsigned size)
{
    uint64_t val = 0;

    memcpy(&val, bytes, size);
    return GUINT64_FROM_LE(val);
}

static uint64_t table_read(void *opaque, uint64_t addr, unsigned size)
{
    MSIXState *s = opaque;

    return fits(s->table_size, addr, size) ? load(s->table + addr, size) : UINT64_MAX;
}

/* The specification knows aligned accesses of 4 and 8 bytes only; narrower writes are dropped. */
static void table_write(void *opaque, uint64_t addr, uint64_t data, unsigned size)
{
    MSIXState *s = opaque;
    unsigned vector = (unsigned)(addr / PCI_MSIX_ENTRY_SIZE);
    MSIMessage before, after;

    if (size < 4 || addr % size || !fits(s->table_size, addr, size)) {
        return;
    }
    before = msix_message(s->dev, vector);
    data = GUINT64_TO_LE(data);
    memcpy(s->table + addr, &data, size);
    after = msix_message(s->dev, vector);
    sync_vector(s, vector, before.address != after.address || before.data != after.data);
}

static uint64_t pba_read(void *opaque, uint64_t addr, unsigned size)
{
    MSIXState *s = opaque;
    unsigned first = (unsigned)addr * 8;

    if (!fits(s->pba_size, addr, size)) {
        return UINT64_MAX;
    }
    if (s->hooks && s->hooks->poll_pending && first < s->vectors) {
        s->hooks->poll_pending(s->dev, first, MIN(first + size * 8, s->vectors));
    }
    return load(s->pba + addr, size);
}

static void pba_write(void *opaque, uint64_t addr, uint64_t data, unsigned size)
{
}

static const MemoryRegionOps table_ops = { .read = table_read, .write = table_write };
static const MemoryRegionOps pba_ops = { .read = pba_read, .write = pba_write };

/* ---- life ---- */

static bool check_layout(PCIDevice *dev, unsigned vectors, MemoryRegion *table_bar,
                         int table_bar_nr, uint32_t table_offset, MemoryRegion *pba_bar,
                         int pba_bar_nr, uint32_t pba_offset, GError **errp)
{
    uint64_t table_size = msix_table_size(vectors), pba_size = msix_pba_size(vectors);
    g_autofree char *name = pci_device_name(dev);

    if (!vectors || vectors > MSIX_MAX_VECTORS) {
        return error_set(errp, "%s: MSI-X with %u vectors", name, vectors);
    }
    if (table_bar_nr < 0 || table_bar_nr >= PCI_NUM_BARS || table_offset % 8 ||
        table_offset + table_size > table_bar->size) {
        return error_set(errp, "%s: MSI-X table of %u vectors does not fit BAR %d at 0x%x", name,
                         vectors, table_bar_nr, table_offset);
    }
    if (pba_bar_nr < 0 || pba_bar_nr >= PCI_NUM_BARS || pba_offset % 8 ||
        pba_offset + pba_size > pba_bar->size) {
        return error_set(errp, "%s: MSI-X pending bits of %u vectors do not fit BAR %d at 0x%x",
                         name, vectors, pba_bar_nr, pba_offset);
    }
    if (table_bar_nr == pba_bar_nr &&
        ranges_overlap(table_offset, table_size, pba_offset, pba_size)) {
        return error_set(errp, "%s: MSI-X table at 0x%x and pending bits at 0x%x of BAR %d overlap",
                         name, table_offset, pba_offset, table_bar_nr);
    }
    return true;
}

bool msix_init(PCIDevice *dev, uint8_t cap_offset, unsigned vectors, MemoryRegion *table_bar,
               int table_bar_nr, uint32_t table_offset, MemoryRegion *pba_bar, int pba_bar_nr,
               uint32_t pba_offset, const MSIXHooks *hooks, GError **errp)
{
    MSIXState *s;
    int cap;

    if (!check_layout(dev, vectors, table_bar, table_bar_nr, table_offset, pba_bar, pba_bar_nr,
                      pba_offset, errp)) {
        return false;
    }
    cap = pci_add_capability(dev, PCI_CAP_ID_MSIX, cap_offset, MSIX_CAP_SIZE, errp);
    if (cap < 0) {
        return false;
    }
    pci_set_word(dev->config + cap + PCI_MSIX_FLAGS, (uint16_t)(vectors - 1));
    pci_set_long(dev->config + cap + PCI_MSIX_TABLE, table_offset | (uint32_t)table_bar_nr);
    pci_set_long(dev->config + cap + PCI_MSIX_PBA, pba_offset | (uint32_t)pba_bar_nr);
    pci_set_word(dev->wmask + cap + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);

    s = dev->msix = g_new0(MSIXState, 1);
    s->dev = dev;
    s->cap = (uint8_t)cap;
    s->vectors = vectors;
    s->table_size = msix_table_size(vectors);
    s->pba_size = msix_pba_size(vectors);
    s->table = g_malloc0(s->table_size);
    s->pba = g_malloc0(s->pba_size);
    s->live = g_new0(bool, vectors);
    s->hooks = hooks;
    dev->msix_table = s->table;
    dev->msix_table_size = s->table_size;
    dev->msix_pba = s->pba;
    dev->msix_pba_size = s->pba_size;
    memory_region_init_io(&s->table_mr, G_OBJECT(dev), &table_ops, s, "msix-table", s->table_size);
    memory_region_init_io(&s->pba_mr, G_OBJECT(dev), &pba_ops, s, "msix-pba", s->pba_size);
    memory_transaction_begin();
    memory_region_add_child(table_bar, table_offset, &s->table_mr, MSIX_REGION_PRIORITY);
    memory_region_add_child(pba_bar, pba_offset, &s->pba_mr, MSIX_REGION_PRIORITY);
    memory_transaction_commit();
    msix_reset(dev);
    return true;
}

/* Everything off, each vector masked, nothing pending. */
void msix_reset(PCIDevice *dev)
{
    MSIXState *s = dev->msix;
    uint8_t *flags;

    if (!s) {
        return;
    }
    flags = dev->config + s->cap + PCI_MSIX_FLAGS;
    pci_set_word(flags, pci_get_word(flags) & PCI_MSIX_FLAGS_QSIZE);
    msix_write_config(dev, s->cap + PCI_MSIX_FLAGS, 2);
    memset(s->table, 0, s->table_size);
    memset(s->pba, 0, s->pba_size);
    for (unsigned vector = 0; vector < s->vectors; vector++) {
        entry(s, vector)[PCI_MSIX_ENTRY_VECTOR_CTRL] = PCI_MSIX_ENTRY_CTRL_MASKBIT;
    }
}

static void state_free(gpointer data)
{
    MSIXState *s = data;

    g_free(s->table);
    g_free(s->pba);
    g_free(s->live);
    g_free(s);
}

/* A vCPU may have an older view of memory with the regions in it: they live as long as @dev. */
void msix_fini(PCIDevice *dev)
{
    MSIXState *s = dev->msix;

    if (!s) {
        return;
    }
    msix_reset(dev);
    memory_transaction_begin();
    memory_region_del_child(s->table_mr.container, &s->table_mr);
    memory_region_del_child(s->pba_mr.container, &s->pba_mr);
    memory_transaction_commit();
    memory_region_fini(&s->table_mr);
    memory_region_fini(&s->pba_mr);
    s->hooks = NULL;
    dev->msix = NULL;
    dev->msix_table = dev->msix_pba = NULL;
    dev->msix_table_size = dev->msix_pba_size = 0;
    g_object_set_data_full(G_OBJECT(dev), "msix", s, state_free);
}
