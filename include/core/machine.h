/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The machine: an object at /machine whose class knows how to build it.  The command line fills
 * MachineConfig and the properties; the rest of the program sees this interface only.
 */
#ifndef VIADUCT_CORE_MACHINE_H
#define VIADUCT_CORE_MACHINE_H

#include "core/object.h"

/* -smp, completed: all at least 1, cpus <= maxcpus = sockets * dies * cores * threads. */
typedef struct CPUTopology {
    unsigned cpus, maxcpus, sockets, dies, cores, threads;
} CPUTopology;

typedef struct MachineConfig {
    uint64_t ram_size; /* bytes */
    GObject *ram;      /* the memory backend that has them; NULL: one of the machine's own */
    const char *cpu;   /* -cpu */
    CPUTopology smp;
    const char *kernel, *initrd, *append; /* NULL: none */
    const char *name;                     /* -name; NULL: none */
    uint8_t uuid[16];                     /* -uuid, as in RFC 4122 */
    bool uuid_set;
    bool serial[4]; /* the chardev "serialN" exists and wants a port */
} MachineConfig;

typedef struct Machine {
    GObject parent;
    MachineConfig config;
    bool aux_ram_share;   /* property: what guest memory there is beside that is shared: CPR */
    char *memory_backend; /* property `memory-backend`: the id of .config.ram */
} Machine;

typedef struct MachineClass {
    GObjectClass parent_class;
    const char *name, *desc; /* "q35", for `-machine help` */
    bool is_default;
    unsigned max_cpus;
    /* Everything but -device: RAM, vCPUs, interrupt controller, buses, the board's devices. */
    bool (*create)(Machine *m, GError **errp);
    /* All cold-plugged devices are there: resources, tables, kernel; then the first reset. */
    bool (*ready)(Machine *m, GError **errp);
} MachineClass;

GType machine_get_type(void);
#define TYPE_MACHINE         (machine_get_type())
#define MACHINE(o)           G_TYPE_CHECK_INSTANCE_CAST((o), TYPE_MACHINE, Machine)
#define MACHINE_CLASS(k)     G_TYPE_CHECK_CLASS_CAST((k), TYPE_MACHINE, MachineClass)
#define MACHINE_GET_CLASS(o) G_TYPE_INSTANCE_GET_CLASS((o), TYPE_MACHINE, MachineClass)

/* The one machine of the process; NULL before the command line has made it. */
extern Machine *current_machine;

#endif
