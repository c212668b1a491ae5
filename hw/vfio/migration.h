/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Migration of a VFIO device: version 2 of the kernel's protocol.
 *
 *   migration-states.c   the device's states and how it gets from one to another
 *   migration.c          its data, as a section of the migration (migration/migration.h)
 *   migration-vm.c       what the VM's starting and stopping mean for all devices together
 *   migration-setup.c    whether it can be migrated at all, and what blocks it
 *   pci-migration.c      what vfio-pci emulates, as a state (migration/vmstate.h)
 *
 * Source: Linux include/uapi/linux/vfio.h, VFIO_DEVICE_FEATURE_MIG_*.
 */
#ifndef VIADUCT_HW_VFIO_MIGRATION_H
#define VIADUCT_HW_VFIO_MIGRATION_H

#include "core/device.h"
#include "core/runstate.h"
#include "hw/vfio/internal.h"
#include "migration/migration.h"

#define VFIO_MIG_STATES 8 /* VFIO_DEVICE_STATE_ERROR … PRE_COPY_P2P */

/* What one state shares with another while a transfer goes on. */
typedef enum { VFIO_MIG_NO_TRANSFER, VFIO_MIG_SAVING, VFIO_MIG_RESUMING } VFIOMigTransfer;

typedef struct VFIOMigration {
    VFIODevice *dev;
    Device *owner;             /* that events are about; NULL: none are */
    uint64_t flags;            /* VFIO_MIGRATION_* */
    bool precopy_v2;           /* the kernel says when there is initial data again */
    unsigned blockers[2];      /* of its own, for mode=normal and cpr-reboot; 0: none */
    MigrationSection *section; /* NULL: it cannot be migrated */
    bool active;               /* from setup or load_setup to cleanup; machine lock */
    GMutex lock;               /* for the rest; nothing is taken while it is held */
    uint32_t state;            /* VFIO_DEVICE_STATE_* */
    int data_fd;               /* -1: no transfer */
    /* Source: bytes that are left, as far as the kernel has said. */
    uint64_t initial, dirty, stopcopy;
    bool size_warned, info_warned;
    bool initial_sent; /* and the other side was told so */
    uint64_t sent;     /* bytes of data in this migration */
    uint8_t *buffer;
    /* Destination. */
    uint64_t received;
    bool ended;
} VFIOMigration;

/* ---- migration-states.c; any thread ---- */

/* "stop-copy", as in the VFIO_MIGRATION event. */
const char *vfio_mig_state_name(uint32_t state);
VFIOMigTransfer vfio_mig_state_transfer(uint32_t state);
/*
 * The first state on the kernel's way from one to another for a device with these VFIO_MIGRATION_*
 * flags; VFIO_DEVICE_STATE_ERROR: there is none.
 */
uint32_t vfio_mig_next_state(uint64_t flags, uint32_t from, uint32_t to);

/*
 * Brings the device to @want; @m->data_fd is then the transfer's, if that state has one.  Failing,
 * it tries to get to @recover (perhaps @want or the state that it is in: nothing is tried), resets
 * the device if it is in the kernel's error state, and says in one message what became of it.
 */
bool vfio_migration_set_state(VFIOMigration *m, uint32_t want, uint32_t recover, GError **errp);
/* VFIO_DEVICE_RESET, after which it is in RUNNING. */
bool vfio_migration_reset(VFIOMigration *m, GError **errp);
/* Learns from the kernel which state the device is in. */
bool vfio_migration_refresh(VFIOMigration *m, GError **errp);
uint32_t vfio_migration_state(VFIOMigration *m);
/* Sends the events that other threads have left; locked. */
void vfio_migration_flush_events(void);
/* A VFIO_MIGRATION event with this device-state; sent now if the machine is locked, else soon. */
void vfio_migration_event(VFIOMigration *m, const char *state);

/* ---- migration.c ---- */

/* opaque: VFIOMigration. */
extern const MigrationOps vfio_migration_ops;
/* The device was reset behind the migration's back; locked.  No-op for one that is not migrated. */
void vfio_migration_was_reset(VFIODevice *dev);

/* ---- migration-vm.c; locked ---- */

/* The VM state notifier; for all devices. */
void vfio_migration_vm_state(bool running, RunState state, void *opaque);
/* What went wrong is said, and fails the migration if there is one.  Takes @err. */
void vfio_migration_report(GError *err);

/* ---- migration-setup.c; locked ---- */

typedef struct VFIOMigrationConfig {
    Device *owner;
    const char *id; /* for migration_register() */
    int enable;     /* OnOffAuto */
    bool events;
} VFIOMigrationConfig;

/*
 * Sets dev->migration: the device takes part in migrations, or blocks them; the latter is a failure
 * if it was to be enabled.
 */
bool vfio_migration_init(VFIODevice *dev, const VFIOMigrationConfig *config, GError **errp);
void vfio_migration_fini(VFIODevice *dev);

#endif
