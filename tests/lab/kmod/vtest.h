/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The test device inside; README.md tells what it is for. */
#ifndef VIADUCT_TEST_VTEST_H
#define VIADUCT_TEST_VTEST_H

#include <linux/eventfd.h>
#include <linux/iommu.h>
#include <linux/mutex.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

#include "registers.h"

#define VT_CONFIG_SIZE  4096
#define VT_NR_STATES    (VFIO_DEVICE_STATE_PRE_COPY_P2P + 1)
#define VT_STATE_ABSENT (-1)

/* A fault that a knob asked for: so many times still, with this error. */
struct vt_fault {
    int error;
    unsigned int times;
};

struct vt_knobs {
    struct vt_fault refuse[VT_NR_STATES];
    unsigned int to_error[VT_NR_STATES]; /* times */
    unsigned int delay[VT_NR_STATES];    /* ms */
    struct vt_fault log, read, write;
    u64 after;    /* bytes of the stream that fail_read and fail_write let pass */
    u64 truncate; /* bytes of the stream that are there; U64_MAX: all */
    u64 corrupt;  /* offset of the byte that is wrong; U64_MAX: none */
};

/* All that the device remembers and that travels with it, laid out as BAR 0 shows it. */
struct vt_registers {
    u32 id, status, command, result;
    u64 list;
    u32 pages, rate, batch, vectors;
    u64 peer, dump, state_size;
    u32 state_rate, ack;
    u64 reserved;
    u64 sequence, writes, faults, peer_writes, interrupts, loads, outstanding, due, state_sum,
        misuse, position;
    u64 pending;    /* vectors without a trigger; the PBA shows them */
    u64 in_batch;   /* pages since the last interrupt */
    u64 next_state; /* page of the internal state that changes next */
    u64 reserved2[(VT_RAISED - 0xc0) / 8];
    u64 raised[VT_VECTORS];
};

static_assert(offsetof(struct vt_registers, sequence) == VT_SEQUENCE);
static_assert(offsetof(struct vt_registers, position) == VT_POSITION);
static_assert(offsetof(struct vt_registers, raised) == VT_RAISED);

/* The internal state: pages that say who they are and how often they changed. */
struct vt_blob {
    u8 *data;
    unsigned long pages;
    unsigned long *dirty; /* a bit for each page, since it was last sent */
};

struct vt_log {
    bool on;
    unsigned int shift; /* of the page size */
    unsigned int nr_ranges;
    struct vt_log_range {
        u64 start, last;
    } * ranges;
    struct xarray dirty; /* page numbers */
};

struct vt_saving;
struct vt_resuming;
struct vt_device;

/* The device on its bus: what its IOMMU knows. */
struct vt_node {
    struct device dev;
    unsigned int id;
    struct vt_domain *domain; /* under vt_dma_lock; NULL: DMA is blocked */
    bool iommu_dirty;         /* its IOMMU can track what is dirty */
    struct vt_device *vt;
};

struct vt_device {
    struct vfio_device vdev;
    struct vt_node *node;
    struct mutex lock; /* of all that follows */
    bool open;

    u8 config[VT_CONFIG_SIZE];
    struct vt_registers regs;
    u64 *records;
    struct vt_blob blob;
    struct page *bar2[VT_BAR2_SIZE / PAGE_SIZE];

    bool msix;
    struct eventfd_ctx *trigger[VT_VECTORS];
    struct eventfd_ctx *err, *req;

    struct delayed_work engine;
    ktime_t last;             /* when the engine looked last */
    u64 credit, state_credit; /* pages times nanoseconds that it may still write */

    enum vfio_device_mig_state state;
    struct vt_saving *saving;
    struct vt_resuming *resuming;
    struct vt_log log;
    struct vt_knobs knobs;
};

/* main.c */
extern const struct bus_type vt_bus;
static inline struct vt_node *to_node(struct device *dev)
{
    return container_of(dev, struct vt_node, dev);
}
static inline struct vt_device *to_vt(struct vfio_device *vdev)
{
    return container_of(vdev, struct vt_device, vdev);
}

/* iommu.c */
int vt_iommu_init(struct device *parent);
int vt_iommu_add(struct vt_node *node);
/* DMA as the device does it; -EFAULT where nothing is mapped, with the rest not done. */
int vt_dma(struct vt_node *node, u64 iova, void *data, size_t size, bool write);

/* pci.c */
extern const struct vfio_device_ops vt_ops;
void vt_reset(struct vt_device *vt);

/* irq.c */
int vt_irq_info(struct vt_device *vt, struct vfio_irq_info __user *arg);
int vt_set_irqs(struct vt_device *vt, struct vfio_irq_set __user *arg);
void vt_irqs_disable(struct vt_device *vt);
void vt_raise(struct vt_device *vt, unsigned int vector);
void vt_ack(struct vt_device *vt, unsigned int vector);

/* engine.c */
void vt_engine_init(struct vt_device *vt);
/* Something changed that may make it move. */
void vt_engine_kick(struct vt_device *vt);
bool vt_engine_allowed(struct vt_device *vt);
void vt_command(struct vt_device *vt, u32 command);

/* internal-state.c */
int vt_blob_resize(struct vt_blob *blob, u64 size);
void vt_blob_fill(struct vt_blob *blob);
void vt_blob_change(struct vt_device *vt, u64 count);
bool vt_blob_verify(struct vt_device *vt);
int vt_state_resize(struct vt_device *vt, u64 size);

/* migration.c */
extern const struct vfio_migration_ops vt_migration_ops;
const char *vt_state_name(enum vfio_device_mig_state state);
int vt_state_of(const char *name);
/* The devices' accesses and memory are only there in some states. */
bool vt_accessible(struct vt_device *vt);
void vt_migration_reset(struct vt_device *vt);
/* Counts the fault down; its error when there still was one. */
int vt_fault_hit(struct vt_fault *fault);

/* saving.c */
struct file *vt_saving_open(struct vt_device *vt, bool final);
void vt_saving_finish(struct vt_saving *saving);
void vt_saving_restart(struct vt_saving *saving);
void vt_saving_wake(struct vt_saving *saving);
void vt_saving_end(struct vt_saving *saving);
u64 vt_stop_copy_size(struct vt_device *vt);

/* resuming.c */
struct file *vt_resuming_open(struct vt_device *vt);
int vt_resuming_load(struct vt_resuming *resuming);
void vt_resuming_end(struct vt_resuming *resuming);

/* log.c */
extern const struct vfio_log_ops vt_log_ops;
void vt_log_init(struct vt_log *log);
void vt_log_clear(struct vt_log *log);
void vt_log_write(struct vt_log *log, u64 iova, size_t size);

/* knobs.c */
extern const struct attribute_group *vt_groups[];
void vt_knobs_init(struct vt_knobs *knobs);

#endif
