/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * MSI and MSI-X capabilities as the guest sees them.  Their registers are emulated whole; who owns
 * the real interrupt (a VFIO device) is told through hooks when a vector comes to be used or not.
 * Source: PCI Local Bus 3.0, 6.8.  Machine lock held.
 */
#ifndef VIADUCT_HW_PCI_MSI_H
#define VIADUCT_HW_PCI_MSI_H

#include "hw/pci/pci.h"

/* ---- MSI ---- */

/* @vectors: a power of two up to 32. Returns false if there is no room at @offset. */
bool msi_init(PCIDevice *dev, uint8_t offset, unsigned vectors, bool is_64bit, bool maskable,
              GError **errp);
bool msi_present(PCIDevice *dev);
bool msi_enabled(PCIDevice *dev);
/* How many vectors the guest has enabled. */
unsigned msi_nr_vectors(PCIDevice *dev);
MSIMessage msi_message(PCIDevice *dev, unsigned vector);
bool msi_is_masked(PCIDevice *dev, unsigned vector);
void msi_reset(PCIDevice *dev);

/* ---- MSI-X ---- */

/* Bytes of the table of so many vectors, and of their pending bits. */
static inline uint32_t msix_table_size(unsigned vectors)
{
    return vectors * PCI_MSIX_ENTRY_SIZE;
}
static inline uint32_t msix_pba_size(unsigned vectors)
{
    return (vectors + 63) / 64 * 8;
}

typedef struct MSIXHooks {
    /*
     * The guest unmasked the vector, which now has @msg; again when the message changes.  Between
     * batch_begin and batch_end several vectors may come: commit routes once at the end.  After
     * true the vector's pending bit is cleared: who kept that interrupt delivers it.  After false
     * the vector counts as not in use and is tried again at the guest's next unmasking.
     */
    bool (*vector_use)(PCIDevice *dev, unsigned vector, MSIMessage msg);
    /* The guest masked the vector, or MSI-X went off. */
    void (*vector_release)(PCIDevice *dev, unsigned vector);
    /* The guest reads the pending bits: refresh them with msix_set_pending(). NULL: no need. */
    void (*poll_pending)(PCIDevice *dev, unsigned first, unsigned end);
    void (*batch_begin)(PCIDevice *dev);
    void (*batch_end)(PCIDevice *dev);
} MSIXHooks;

/*
 * The capability at @cap_offset (0: first free place), table and pending bits as I/O regions laid
 * over @table_bar and @pba_bar (containers, at the offsets given) with a priority above what is
 * there.  The numbers may come from a real device: what makes no sense is an error.  @hooks may be
 * NULL.  msix_fini() before the containers go.
 */
bool msix_init(PCIDevice *dev, uint8_t cap_offset, unsigned vectors, MemoryRegion *table_bar,
               int table_bar_nr, uint32_t table_offset, MemoryRegion *pba_bar, int pba_bar_nr,
               uint32_t pba_offset, const MSIXHooks *hooks, GError **errp);
void msix_fini(PCIDevice *dev);
bool msix_present(PCIDevice *dev);
bool msix_enabled(PCIDevice *dev);
/* By the vector's own bit, the function mask, or MSI-X being off. */
bool msix_is_masked(PCIDevice *dev, unsigned vector);
MSIMessage msix_message(PCIDevice *dev, unsigned vector);
void msix_set_pending(PCIDevice *dev, unsigned vector, bool pending);
unsigned msix_nr_vectors(PCIDevice *dev);
void msix_reset(PCIDevice *dev);

#endif
