/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The vfio-pci device: what its files show to each other. */
#ifndef VIADUCT_HW_VFIO_PCI_H
#define VIADUCT_HW_VFIO_PCI_H

#include "hw/pci/msi.h"
#include "hw/pci/pci.h"
#include "hw/vfio/vfio.h"

typedef struct VFIOPCIDevice VFIOPCIDevice;

/* A part of a BAR that the guest reaches without an exit. */
typedef struct VFIOMmap {
    MemoryRegion mr;
    uint64_t offset, size; /* in the BAR; whole pages */
    int dmabuf;            /* by which other devices reach it, -1: they do not */
} VFIOMmap;

typedef struct VFIOBAR {
    VFIOPCIDevice *vdev;
    unsigned nr;
    uint8_t type;      /* PCI_BASE_ADDRESS_* bits */
    uint64_t size;     /* as the guest sees it; 0: no such BAR */
    MemoryRegion mr;   /* what the guest places; size 0: not made */
    MemoryRegion trap; /* all that the device has, below the rest; size 0: nothing */
    VFIOMmap *mmaps;
    unsigned nr_mmaps;
    bool sub_page;  /* its one mmap is a page, larger than the BAR: see pci-mmap.c */
    void *reserved; /* address space that holds the mmaps */
    size_t reserved_size;
} VFIOBAR;

typedef struct VFIOROM {
    MemoryRegion mr;
    uint8_t *data; /* read when the guest first looks */
    size_t size;
    bool loaded;
} VFIOROM;

/* MSI-X as the device has it, or as it was relocated. */
typedef struct VFIOMSIXInfo {
    uint8_t cap; /* 0: none */
    unsigned entries;
    unsigned table_bar, pba_bar;
    uint32_t table_offset, pba_offset;
    bool noresize;  /* the kernel cannot add vectors while some are on */
    unsigned limit; /* so many the host has, as we learnt since MSI-X is on */
    bool relocated;
    unsigned device_bar; /* where the device's own table is then */
    uint32_t device_offset;
} VFIOMSIXInfo;

typedef struct VFIOMSIVector {
    VFIOPCIDevice *vdev;
    unsigned nr;
    int trigger;  /* eventfd that the kernel signals, -1: never used */
    int route;    /* -1: delivered by this process */
    guint source; /* that delivers it then; 0: masked */
    bool bound;   /* trigger and route are bound */
    bool armed;   /* the kernel has the trigger */
    bool missed;  /* a signal may have been lost while the index was off */
} VFIOMSIVector;

typedef struct VFIOINTx {
    int gsi;      /* that the eventfds are bound to, -1: not bound */
    int trigger;  /* signalled by the device's driver */
    int line;     /* signalled by this process for each trigger, -1: not needed */
    int resample; /* signalled when the guest has served the interrupt */
    guint relay;  /* waits for the trigger where there is a line */
    guint unmask; /* waits for resample where the driver does not by itself */
    bool armed;
    bool user_unmask; /* this process unmasks, not the driver */
} VFIOINTx;

/* What the host has to say of the device beside its interrupts. */
typedef enum { VFIO_NOTIFIER_ERR, VFIO_NOTIFIER_REQ, VFIO_NR_NOTIFIERS } VFIONotifierKind;

typedef struct VFIONotifier {
    int fd; /* -1: not armed */
    guint source;
} VFIONotifier;

/* What a function is to a reset of the slot that it shares with others. */
typedef enum {
    VFIO_IN_USE, /* the guest has touched it since its last reset */
    VFIO_QUIET,  /* it is silent and waits to be taken along */
    VFIO_CLEAN,  /* it has been reset */
} VFIOUse;

/* A function signals in one of these ways at a time; so does the kernel. */
typedef enum {
    VFIO_INT_NONE,
    VFIO_INT_INTx,
    VFIO_INT_MSI,
    VFIO_INT_MSIX,
} VFIOInterrupt;

/* What is said once in a device's life; a guest can bring about as many of them as it likes. */
typedef enum {
    VFIO_WARN_INTX = VFIO_INT_INTx,
    VFIO_WARN_MSI = VFIO_INT_MSI,
    VFIO_WARN_MSIX = VFIO_INT_MSIX,
    VFIO_WARN_UNMASK,
    VFIO_WARN_NOTIFIER,
    VFIO_WARN_RESET,
} VFIOWarning;

/* What another process needs beyond PCIDevice's state, while one is saved or loaded. */
typedef struct VFIOPCISaved {
    uint64_t bar_size[PCI_NUM_REGIONS];
    uint32_t msi_pending; /* by vector: a message was kept back, or not sent yet */
    bool intx_pending;
} VFIOPCISaved;

struct VFIOPCIDevice {
    PCIDevice parent;
    /* properties */
    char *host, *sysfsdev, *fd_name;
    IOMMUFDBackend *iommufd;
    char *vf_token;
    /* UINT32_MAX: the device's own */
    uint32_t vendor_id, device_id, sub_vendor_id, sub_device_id, class_code;
    int32_t rombar, bootindex;
    int msix_relo; /* an index into vfio_msix_relo_names */
    int ats;       /* OnOffAuto */
    bool no_mmap, no_kvm_intx, no_kvm_msi, no_kvm_msix, req;
    int enable_migration, precopy_dirty, device_dirty; /* OnOffAuto */
    bool migration_events;
    /* state */
    VFIODevice *vbasedev;          /* NULL: not realized */
    uint8_t *emulated_config_bits; /* set: of pdev->config; clear: of the device */
    VFIOBAR bars[PCI_NUM_BARS];
    VFIOROM rom;
    VFIOInterrupt interrupt;
    VFIOINTx intx;
    VFIOMSIXInfo msix;
    VFIOMSIVector *vectors; /* MSI's or MSI-X's */
    unsigned nr_vectors;    /* that there may be */
    unsigned nr_enabled;    /* that the kernel has now */
    unsigned nr_msi;        /* that the guest enabled */
    bool msix_batch;
    unsigned batch_first, batch_end; /* vectors that the batch touched */
    VFIONotifier notifiers[VFIO_NR_NOTIFIERS];
    VFIOUse use;
    unsigned warned; /* set of VFIOWarning */
    VFIOPCISaved saved;
};

GType vfio_pci_get_type(void);
#define TYPE_VFIO_PCI (vfio_pci_get_type())
#define VFIO_PCI(o)   G_TYPE_CHECK_INSTANCE_CAST((o), TYPE_VFIO_PCI, VFIOPCIDevice)

/* pci.c: leaves one way of signalling and enters another. */
bool vfio_pci_set_interrupt(VFIOPCIDevice *vdev, VFIOInterrupt interrupt, GError **errp);
/* pci.c: says it the first time, and traces it always. */
void vfio_pci_warn_once(VFIOPCIDevice *vdev, VFIOWarning what, const GError *error);
/* The same, of the way of signalling that the device is in. */
void vfio_pci_warn_interrupt(VFIOPCIDevice *vdev, const GError *error);

/* pci-config.c */
bool vfio_config_init(VFIOPCIDevice *vdev, GError **errp);
void vfio_config_fini(VFIOPCIDevice *vdev);
/* The @bits of [first, first + size) are the copy's from now on. */
void vfio_config_emulate(VFIOPCIDevice *vdev, uint32_t first, uint32_t size, uint8_t bits);
uint32_t vfio_pci_read_config(PCIDevice *pdev, uint32_t addr, unsigned len);
void vfio_pci_write_config(PCIDevice *pdev, uint32_t addr, uint32_t val, unsigned len);
/* The device's own registers; failures read as all ones and are said once. */
uint32_t vfio_config_read_device(VFIOPCIDevice *vdev, uint32_t addr, unsigned len);
bool vfio_config_write_device(VFIOPCIDevice *vdev, uint32_t addr, uint32_t val, unsigned len);

/* pci-capabilities.c: re-links them: some are ours, some the device's, some hidden. */
bool vfio_capabilities_init(VFIOPCIDevice *vdev, GError **errp);

/* pci-express.c */
typedef enum { VFIO_CAP_REFUSED, VFIO_CAP_HIDDEN, VFIO_CAP_SHOWN } VFIOCapFate;
/*
 * The PCI Express capability at @cap, @size bytes up to the next one, is shaped for the place of
 * the device in the guest.
 */
VFIOCapFate vfio_express_shape(VFIOPCIDevice *vdev, uint8_t cap, uint8_t size, GError **errp);

/* pci-bars.c */
bool vfio_bars_init(VFIOPCIDevice *vdev, GError **errp);
void vfio_bars_fini(VFIOPCIDevice *vdev);
/*
 * Takes all BARs out of the guest's view and brings them back, wherever they are: around what makes
 * the kernel take the device's memory away while the guest still has it decoded.
 */
void vfio_bars_set_enabled(VFIOPCIDevice *vdev, bool enabled);

/* pci-mmap.c: the parts of a BAR, whose regions are there already, that are not trapped. */
bool vfio_bar_mmap(VFIOBAR *bar, GError **errp);
void vfio_bar_munmap(VFIOBAR *bar);
/* PCIDeviceClass.bars_moved */
void vfio_bars_moved(PCIDevice *pdev);

/* pci-relocation.c: BARs have type and size, and none is made yet. */
extern const char *const vfio_msix_relo_names[];
bool vfio_msix_relocate(VFIOPCIDevice *vdev, GError **errp);

/* pci-rom.c */
bool vfio_rom_init(VFIOPCIDevice *vdev, GError **errp);
void vfio_rom_fini(VFIOPCIDevice *vdev);

/* pci-intx.c */
bool vfio_intx_enable(VFIOPCIDevice *vdev, GError **errp);
void vfio_intx_disable(VFIOPCIDevice *vdev);
/*
 * For a live update: the eventfds, which the driver goes on to have, are cut off from the guest and
 * connected again.  Then the driver looks whether the line is still up, for what the guest had not
 * served is not known any more.
 */
void vfio_intx_disconnect(VFIOPCIDevice *vdev);
bool vfio_intx_connect(VFIOPCIDevice *vdev, GError **errp);

/* pci-vectors.c */
/* There may be @n vectors. */
void vfio_vectors_need(VFIOPCIDevice *vdev, unsigned n);
void vfio_msi_fini(VFIOPCIDevice *vdev);
/* Gives the vector what it needs, and @msg at the next commit of routes. */
bool vfio_vector_prepare(VFIOMSIVector *v, MSIMessage msg, bool no_route, GError **errp);
/* After the commit: from now on a signal reaches the guest. */
void vfio_vector_connect(VFIOMSIVector *v);
void vfio_vector_disconnect(VFIOMSIVector *v);
/* A signal waits until the guest unmasks the vector. */
bool vfio_vector_pending(const VFIOMSIVector *v);
/*
 * Turns the index on with vectors 0 … @n-1.  Returns 0, a negative number and the error, or how many
 * could be had when they were fewer.
 */
int vfio_vectors_arm(VFIOPCIDevice *vdev, unsigned index, unsigned n, GError **errp);
/* Turns the index off for a moment; what may be lost is made good by vfio_vectors_arm(). */
bool vfio_vectors_disarm(VFIOPCIDevice *vdev, unsigned index, GError **errp);
/* Turns the index off and gives all back. */
void vfio_vectors_release(VFIOPCIDevice *vdev, unsigned index);

/* pci-msi.c */
/* Routes as the capability says now, and each vector connected or not as its mask says. */
bool vfio_msi_sync(VFIOPCIDevice *vdev, GError **errp);
bool vfio_msi_setup(VFIOPCIDevice *vdev, uint8_t cap, GError **errp);
bool vfio_msi_enable(VFIOPCIDevice *vdev, GError **errp);
void vfio_msi_disable(VFIOPCIDevice *vdev);
/* The guest wrote to the capability while MSI was and is on. */
void vfio_msi_update(VFIOPCIDevice *vdev);
/* The guest reads the capability: brings its pending bits up to date. */
void vfio_msi_poll_pending(VFIOPCIDevice *vdev);

/* pci-msix.c */
/* Before BARs are mapped: where table and pending bits are. */
bool vfio_msix_early_setup(VFIOPCIDevice *vdev, GError **errp);
bool vfio_msix_setup(VFIOPCIDevice *vdev, uint8_t cap, GError **errp);
bool vfio_msix_enable(VFIOPCIDevice *vdev, GError **errp);
void vfio_msix_disable(VFIOPCIDevice *vdev);
/* MSI-X is on: shows that to the device even if no vector is in use. */
void vfio_msix_settle(VFIOPCIDevice *vdev);
/*
 * Around MSI-X being switched on with a table of another process's: vectors that are masked collect
 * interrupts, as they did there, if they have a message.
 */
bool vfio_msix_prepare_masked(VFIOPCIDevice *vdev, GError **errp);
bool vfio_msix_arm_masked(VFIOPCIDevice *vdev, GError **errp);

/* pci-notifiers.c: ERR and REQ, where the device has them. */
bool vfio_notifiers_init(VFIOPCIDevice *vdev, GError **errp);
void vfio_notifiers_fini(VFIOPCIDevice *vdev);
/* For a live update: this process listens to those that are armed, or does not. */
void vfio_notifiers_listen(VFIOPCIDevice *vdev, bool on);

/* pci-cpr.c: live update; what there is for it to do, and the state, loaded, of a device that goes
 * on working. */
bool vfio_pci_cpr_load(VFIOPCIDevice *vdev, GError **errp);
bool vfio_pci_cpr_init(VFIOPCIDevice *vdev, GError **errp);
void vfio_pci_cpr_fini(VFIOPCIDevice *vdev);

/* pci-migration.c */
extern const VMState vfio_pci_vmstate;
/* The device takes part in migrations, or blocks them. */
bool vfio_pci_migration_init(VFIOPCIDevice *vdev, GError **errp);
void vfio_pci_migration_fini(VFIOPCIDevice *vdev);

/* pci-reset.c: PCIDeviceClass.reset */
void vfio_pci_reset(PCIDevice *pdev);

#endif
