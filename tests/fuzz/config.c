/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A guest that does what it likes with a sound device. */
#include "tests/fuzz/fuzz.h"

#include "tests/unit/vfio-fixture.h"

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    fuzz_init();
    return 0;
}

/* One byte says what the device is like, one how it is plugged; then comes what happens. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Input in = { data, size };
    uint8_t kind = (uint8_t)input_take(&in, 1);

    setup();
    if (kind & 1) {
        sim->irqs[VFIO_PCI_MSI_IRQ_INDEX].flags = sim->irqs[VFIO_PCI_MSIX_IRQ_INDEX].flags = 0;
    }
    if (kind & 2) { /* fewer vectors than it should have */
        sim->vectors_max = 1 + kind % 7;
    }
    if (kind & 4) {
        sim_region_set(sim, 0, BAR0_SIZE, RW);
        sim_region_set(sim, VFIO_PCI_ROM_REGION_INDEX, 0x1800, VFIO_REGION_INFO_FLAG_READ);
    }
    if (kind & 8) {
        sim->flags &= ~(uint32_t)VFIO_DEVICE_FLAGS_RESET;
    }
    if (kind & 16) {
        sim->irqs[VFIO_PCI_INTX_IRQ_INDEX].count = 0;
        sim->no_unmask_eventfd = true;
    }
    if (kind & 32) {
        pci_set_word(sim->config + MSI_CAP + PCI_MSI_FLAGS,
                     PCI_MSI_FLAGS_64BIT | PCI_MSI_FLAGS_MASKBIT | 2 << 1);
    }
    sim->irqs[VFIO_PCI_ERR_IRQ_INDEX].count = sim->irqs[VFIO_PCI_REQ_IRQ_INDEX].count = 1;
    sim->dmabuf_error = kind & 64 ? ENOTTY : 0;
    sim->dirty_tracking = kind & 128;
    if (fuzz_plug((uint8_t)input_take(&in, 1))) {
        fuzz_guest(&in);
    }
    fuzz_unplug();
    return 0;
}
