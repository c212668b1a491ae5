/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A simulated kernel behind util/hostcalls: /dev/iommu, VFIO devices, groups and type1 containers,
 * as far as they are used.
 * It refuses what Linux 7.2 refuses, keeps a log of what it was asked, can fail any call, and
 * knows what is left open.
 */
#ifndef VIADUCT_TESTS_SIM_KERNEL_H
#define VIADUCT_TESTS_SIM_KERNEL_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "util/hostcalls.h"
#include "util/linux-vfio.h"

#define SIM_MAJOR 510

typedef struct SimRegion {
    uint64_t size;
    uint32_t flags;   /* VFIO_REGION_INFO_FLAG_*; _CAPS is set when there are some */
    GByteArray *caps; /* as they follow struct vfio_region_info; NULL: none */
    int backing;      /* memfd: what the device's registers hold */
} SimRegion;

/*
 * What a device is that can be migrated: some bytes.  Its stream says which bytes are where, while
 * it runs again for those that have changed, and at the end what they must be together.
 */
typedef struct SimMigration {
    uint64_t flags;      /* VFIO_MIGRATION_*; 0: it cannot be */
    bool no_info_v2;     /* an older kernel */
    GByteArray *content; /* resize it before a transfer */
    unsigned chunk;      /* bytes that a read gives and a write takes at most; 0: all */
    int size_error;      /* what VFIO_DEVICE_FEATURE_MIG_DATA_SIZE fails with; 0: it works */
    uint64_t size;       /* that it tells instead, if not 0 */
    unsigned delay;      /* of a transition, in ms */
    uint32_t fail_at;    /* the first time it is to get to this state, */
    int fail_errno;      /* not 0: it fails with that, */
    uint32_t fail_in;    /* and is in this one then */
    int read_error, write_error;
    bool restless; /* while it runs, something changes between any two reads */
    /* state */
    uint32_t state;
    unsigned transfer; /* its number; descriptors of others are dead */
    bool info_v2, reinit;
    GByteArray *stream; /* what is to be read, or was written */
    guint at, initial;  /* read so far; where the initial data ends */
    GString *history;   /* the states it was in */
} SimMigration;

typedef struct SimGroup SimGroup;
/* Functions that a hot reset takes all. */
typedef struct SimSlot {
    GPtrArray *devices; /* SimDevice */
    unsigned idle;      /* so many more in the same group, which nobody has open */
    bool stranger;      /* one more, which is somebody else's */
} SimSlot;

typedef struct SimDevice {
    const char *name;     /* that its group knows it by */
    unsigned group;       /* /dev/vfio/GROUP */
    const char *token;    /* that its other side, VF or PF, has set; NULL: none */
    unsigned minor;       /* /dev/vfio/devices/vfioMINOR */
    unsigned wrong_minor; /* what fstat says instead, if not 0 */
    uint32_t flags, nr_regions, nr_irqs;
    SimRegion regions[VFIO_PCI_NUM_REGIONS];
    uint8_t config[4096];
    struct {
        uint32_t count, flags;
    } irqs[VFIO_PCI_NUM_IRQS];
    unsigned vectors_max; /* that can be had; 0: all */
    bool no_unmask_eventfd;
    int dmabuf_error;    /* what VFIO_DEVICE_FEATURE_DMA_BUF fails with; 0: it works */
    uint64_t hw_caps;    /* of IOMMU_GET_HW_INFO */
    bool mdev;           /* no IOMMU */
    unsigned iommu;      /* devices of different ones share no domain */
    bool dirty_tracking; /* that IOMMU has it */
    SimSlot *slot;       /* NULL: it has no hot reset */
    unsigned busy;       /* so many resets fail with EAGAIN first */
    uint32_t iommu_type; /* enum iommu_hw_info_type */
    struct {
        uint64_t first, last, page; /* what it can map */
        uint64_t large_page;        /* and in one piece where it finds room; 0: only pages */
    } aperture;
    uint64_t msi_first, msi_last; /* which is no memory; nowhere if first > last */
    bool mock;                    /* made by the kernel's test command */
    uint64_t log_page;            /* instead of that asked for; 0: as asked for */
    bool logs_dma;                /* VFIO_DEVICE_FEATURE_DMA_LOGGING_* */
    /* state */
    bool bound;
    SimGroup *via;    /* that it was opened by; NULL: its cdev */
    unsigned revoked; /* areas of IOASes that died because its memory went away under them */
    uint32_t devid, hwpt;
    int irq_index; /* which is on, -1: none */
    GArray *triggers;
    int unmask;
    int notify[VFIO_PCI_NUM_IRQS]; /* eventfds of ERR and REQ, -1: none */
    unsigned resets, unmasks;      /* resets: by ioctl or by a write to configuration space */
    unsigned hot_resets;
    unsigned rude_resets; /* with an interrupt on, or while it decoded or mastered */
    bool logging;
    GArray *logged_ranges; /* struct vfio_device_feature_dma_logging_range */
    GArray *logged;        /* uint64_t: pages of 4 KiB that were written */
    SimMigration mig;
} SimDevice;

typedef struct SimExtent {
    uint64_t iova, length, start; /* start: in the file, or address */
    int fd;                       /* -1: by address */
    bool readonly;
    SimDevice *peer; /* whose memory it is, NULL: ordinary memory */
    bool dead;       /* revoked: it occupies its iova and maps nothing */
    bool invalid;    /* of a type1 container: its address is to be updated */
} SimExtent;

/* What the older interface does otherwise than usual. */
typedef struct SimType1 {
    bool not_viable, noiommu, only_v1, no_caps, no_update_vaddr;
    int version;
    unsigned dma_limit;  /* mappings that a container takes; 0: many */
    unsigned groups_max; /* that a container takes; 0: all */
    uint32_t nr_iovas;   /* what it says that there are, if not 0 */
    uint32_t info_size;  /* and how long its information is */
} SimType1;
extern SimType1 sim_type1;

/* Puts it in the place of libc. */
void sim_init(void);
/* A device with this minor number: a function that has a config region and nothing else. */
SimDevice *sim_device_new(unsigned minor);
void sim_device_free(SimDevice *dev);
void sim_region_set(SimDevice *dev, unsigned index, uint64_t size, uint32_t flags);
/* Memory behind a BAR. */
void sim_region_poke(SimDevice *dev, unsigned index, uint64_t addr, uint32_t val);
uint32_t sim_region_peek(SimDevice *dev, unsigned index, uint64_t addr);

/* One line a call since the last time; g_free it. */
char *sim_take_log(void);
/* The kernel has not heard of that command of /dev/iommu; 0: it knows all again. */
void sim_iommu_lacks(unsigned long request);
/* Pinned memory counts against RLIMIT_MEMLOCK, for who lacks CAP_IPC_LOCK. */
void sim_limit_memory(bool on);
/* The device writes to the page there, if it is mapped. */
void sim_dma_write(SimDevice *dev, uint64_t iova);
/* How many pages are dirty and have not been asked for. */
unsigned sim_dirty_pages(const SimDevice *dev);
/* Puts a line of the test's own into the log. */
void sim_note(const char *fmt, ...) G_GNUC_PRINTF(1, 2);
/* The @nth call from now on fails with EIO (1: the next one; 0: none), once. */
void sim_fail(unsigned nth);
/*
 * The same with one of the errors that are plausible for the call, chosen by number, and a line on
 * stderr when it happens.  @on: so do all calls after it.
 */
void sim_fail_as(unsigned nth, unsigned choice, bool on);
/* Whether it did. */
bool sim_failed(void);
/* Descriptors and maps of device memory that are open. */
unsigned sim_open_things(void);
/* What is mapped in IOAS @id, by iova; NULL if there is no such IOAS. */
const GArray *sim_ioas(uint32_t id);
/* What is mapped in the type1 container @nr of those there are; NULL: no such container. */
const GArray *sim_container(unsigned nr);
unsigned sim_containers(void);
/* ---- migration ---- */

/* The device gets @size bytes of content, and these VFIO_MIGRATION_* flags. */
void sim_mig_init(SimDevice *dev, uint64_t flags, size_t size);
/* It changes a byte of its content by itself. */
void sim_mig_change(SimDevice *dev, size_t at, uint8_t val);
/* It has initial data again: all of it. */
void sim_mig_reinit(SimDevice *dev);
/* The first hop on the way; VFIO_DEVICE_STATE_ERROR: there is none. */
uint32_t sim_mig_next_state(uint64_t flags, uint32_t from, uint32_t to);
/* As many transitions as ever were under way at the same time, of all devices. */
unsigned sim_mig_parallel(void);
/* What it has been through since the last time: one line, "running-p2p stop"; g_free it. */
char *sim_mig_take_history(SimDevice *dev);

/* The device signals a vector of the interrupt kind that is on; false if nobody listens. */
bool sim_fire(SimDevice *dev, unsigned vector);
/* The host signals ERR or REQ; the same. */
bool sim_notify(SimDevice *dev, unsigned index);

#endif
