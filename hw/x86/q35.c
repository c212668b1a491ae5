/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The machine "q35": one PCI Express root bus, the interrupt controllers and the timer of the
 * accelerator, and
 * the few old devices that a guest still counts on.  There is no firmware: when the guest starts,
 * BARs are assigned, ACPI tables stand in RAM and the kernel is loaded, and so again after each
 * reset.
 */
#include "accel/x86.h"
#include "backends/hostmem.h"
#include "core/accel.h"
#include "core/machine.h"
#include "core/runstate.h"
#include "hw/char/serial.h"
#include "hw/x86/acpi.h"
#include "hw/x86/boot.h"
#include "hw/x86/smbios.h"
#include "hw/x86/x86.h"
#include "migration/migration.h"
#include "migration/vmstate.h"
#include "util/error.h"

#include <string.h>

G_STATIC_ASSERT(X86_FACS % 64 == 0 && X86_FACS >= X86_SMBIOS + SMBIOS_ENTRY_SIZE);

typedef struct Q35Machine {
    Machine parent;
    X86CPUModel *cpu;
    X86Memory mem;
    MemoryRegion ram_below_4g, ram_above_4g;
    X86Boot *boot;
    X86BootState boot_state;
    Device *pm; /* the tree's */
    uint32_t waking_vector;
    bool loaded; /* RAM holds what the guest starts from: nothing has run yet */
    X86Memory migrated;
} Q35Machine;

typedef MachineClass Q35MachineClass;

GType q35_machine_get_type(void);
DEFINE_OBJECT_TYPE(Q35Machine, q35_machine, "q35-machine", TYPE_MACHINE, 0)
#define Q35_MACHINE(o) G_TYPE_CHECK_INSTANCE_CAST((o), q35_machine_get_type(), Q35Machine)

/* ---- processors and RAM ---- */

static bool check_cpus(const CPUTopology *smp, GError **errp)
{
    unsigned n = smp->cpus;
    uint32_t highest = x86_apic_id(smp, n - 1);

    if (n > (unsigned)x86_accel->max_vcpus()) {
        return error_set(errp, "-smp: %u CPUs are more than %s takes (%d)", n, x86_accel->label,
                         x86_accel->max_vcpus());
    }
    if (highest >= (uint32_t)x86_accel->max_vcpu_id()) {
        return error_set(errp,
                         "-smp: with this topology the last CPU's APIC id would be %u, %s takes "
                         "ids up to %d",
                         highest, x86_accel->label, x86_accel->max_vcpu_id() - 1);
    }
    return true;
}

static bool create_cpus(Q35Machine *s, GError **errp)
{
    const CPUTopology *smp = &MACHINE(s)->config.smp;

    for (unsigned i = 0; i < smp->cpus; i++) {
        if (!x86_accel->create_vcpu(s->cpu, smp, i, errp)) {
            return false;
        }
    }
    return true;
}

static bool create_ram(Q35Machine *s, GError **errp)
{
    Machine *m = MACHINE(s);
    MemoryRegion *root = address_space_memory.root;
    HostMemoryBackend *be;

    if (!x86_memory_layout(&s->mem, m->config.ram_size, x86_cpu_phys_bits(s->cpu),
                           x86_cpu_is_amd(s->cpu), errp)) {
        return false;
    }
    be = m->config.ram ? HOST_MEMORY_BACKEND(m->config.ram)
                       : host_memory_default("pc.ram", m->config.ram_size, errp);
    if (!be) {
        return false;
    }
    be->used = true;
    s->mem.ram = be->block.host;
    ram_block_register(&be->block);
    memory_transaction_begin();
    memory_region_init_ram(&s->ram_below_4g, G_OBJECT(s), "ram-below-4g", &be->block, 0,
                           s->mem.below_4g);
    memory_region_add_child(root, 0, &s->ram_below_4g, 0);
    if (s->mem.above_4g) {
        memory_region_init_ram(&s->ram_above_4g, G_OBJECT(s), "ram-above-4g", &be->block,
                               s->mem.below_4g, s->mem.above_4g);
        memory_region_add_child(root, s->mem.above_4g_base, &s->ram_above_4g, 0);
    }
    memory_transaction_commit();
    return true;
}

/* ---- the board ---- */

static bool create_pci(Q35Machine *s, GError **errp)
{
    PCIHostConfig config = {
        .mem = address_space_memory.root,
        .io = address_space_io.root,
        .ecam_base = X86_ECAM_BASE,
        .ecam_buses = X86_ECAM_BUSES,
        .mem32 = { s->mem.mem32[0], s->mem.mem32[1] },
        .mem64 = s->mem.mem64,
        .io_ports = { X86_PORT_PCI_BASE, 0x10000 - X86_PORT_PCI_BASE },
        .map_intx = x86_map_intx,
    };

    return pci_host_create(&config, errp);
}

/* The tree keeps the device; ours is only the reference to make it with. */
static bool place(Device *dev, GError **errp)
{
    bool ok = device_realize_at(dev, "/machine/unattached", NULL, errp);

    g_object_unref(dev);
    return ok;
}

static bool create_devices(Q35Machine *s, GError **errp)
{
    const MachineConfig *c = &MACHINE(s)->config;
    Device *rtc = g_object_new(g_type_from_name(TYPE_MC146818_RTC), NULL);

    rtc_set_memory(rtc, s->mem.below_4g, s->mem.above_4g);
    if (!place(rtc, errp)) {
        return false;
    }
    s->pm = g_object_new(g_type_from_name(TYPE_X86_PM), NULL);
    rtc_set_pm(rtc, s->pm);
    if (!place(s->pm, errp) ||
        !place(g_object_new(g_type_from_name(TYPE_RESET_CONTROL), NULL), errp)) {
        return false;
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(c->serial); i++) {
        char chardev[] = "serial0";

        chardev[6] = (char)('0' + i);
        if (c->serial[i] && !place(serial_isa_new(i, chardev), errp)) {
            return false;
        }
    }
    return true;
}

static bool q35_create(Machine *m, GError **errp)
{
    Q35Machine *s = Q35_MACHINE(m);
    const MachineConfig *c = &m->config;

    if (!check_cpus(&c->smp, errp) || !x86_accel->create_irqchip(errp)) {
        return false;
    }
    s->cpu = x86_accel->cpu_model_new(c->cpu ?: "host", &c->smp, errp);
    if (!s->cpu || !create_ram(s, errp)) {
        return false;
    }
    s->boot = x86_boot_new(c, &s->mem, errp);
    return s->boot && create_cpus(s, errp) && create_pci(s, errp) && create_devices(s, errp);
}

/* ---- what firmware would have done ---- */

static void raise_last_bus(PCIDevice *dev, void *opaque)
{
    uint8_t *last = opaque;

    if (PCI_DEVICE_GET_CLASS(dev)->is_bridge) {
        *last = MAX(*last, dev->config[PCI_SUBORDINATE_BUS]);
    }
}

/* With @more bytes of RAM behind them. */
static AcpiTables build_tables(Q35Machine *s, uint64_t more)
{
    const MachineConfig *c = &MACHINE(s)->config;
    g_autofree uint32_t *apic_ids = g_new(uint32_t, c->smp.cpus);
    AcpiConfig config = { .mem = &s->mem, .cpus = c->smp.cpus, .apic_ids = apic_ids };

    for (unsigned i = 0; i < c->smp.cpus; i++) {
        apic_ids[i] = x86_apic_id(&c->smp, i);
    }
    memcpy(config.serial, c->serial, sizeof(config.serial));
    pci_bus_foreach(pci_root_bus(), raise_last_bus, &config.last_bus);
    return acpi_build(&config, s->mem.below_4g - more);
}

/* RAM as the guest finds it, which may have overwritten it: tables and kernel. */
static bool load(Q35Machine *s, GError **errp)
{
    g_autoptr(GByteArray) smbios = smbios_build(&MACHINE(s)->config, &s->mem);
    AcpiTables tables = build_tables(s, smbios->len);
    g_autoptr(GByteArray) data = tables.data;
    uint64_t after = tables.base + data->len;

    memcpy(x86_memory_ptr(&s->mem, tables.base, data->len), data->data, data->len);
    memcpy(x86_memory_ptr(&s->mem, after, smbios->len), smbios->data, smbios->len);
    memcpy(x86_memory_ptr(&s->mem, X86_RSDP, sizeof(tables.rsdp)), tables.rsdp,
           sizeof(tables.rsdp));
    acpi_build_facs(x86_memory_ptr(&s->mem, X86_FACS, ACPI_FACS_SIZE));
    smbios_build_entry(after, smbios->len, x86_memory_ptr(&s->mem, X86_SMBIOS, SMBIOS_ENTRY_SIZE));
    ram_dirty_all(); /* in case of a migration; who looks where all of that went? */
    return x86_boot_load(s->boot, tables.base, &s->boot_state, errp);
}

/* After all devices, PCI's resources among them. */
static void q35_reset(ResetType type, void *opaque)
{
    Q35Machine *s = opaque;
    g_autoptr(GError) err = NULL;

    if (type == RESET_TYPE_WAKEUP) {
        x86_accel->reset(&(X86BootState) { .real_mode = true, .rip = s->waking_vector });
        return;
    }
    if (!s->loaded && !load(s, &err)) {
        error_report("reset: %s", err->message);
        system_vmstop_request(RUN_STATE_INTERNAL_ERROR);
    }
    x86_accel->reset(&s->boot_state);
}

/*
 * The guest's own code brings back what a sleep takes away, and begins where FACS says: in real mode,
 * so in the first MiB (ACPI 6.5, 5.2.10 and 16.3.2).
 */
static bool q35_wakeup(WakeupReason reason, void *opaque)
{
    Q35Machine *s = opaque;

    s->waking_vector = acpi_waking_vector(x86_memory_ptr(&s->mem, X86_FACS, ACPI_FACS_SIZE));
    if (!s->waking_vector || s->waking_vector >= X86_1M) {
        error_report("wake-up: the guest's waking vector is 0x%x, which is no address in "
                     "its first MiB: the machine is reset",
                     s->waking_vector);
        return false;
    }
    devices_wakeup();
    x86_pm_woken(s->pm, reason);
    return true;
}

static void q35_vm_state(bool running, RunState state, void *opaque)
{
    if (running) {
        Q35_MACHINE(opaque)->loaded = false;
    }
}

/* ---- migration ---- */

/* Where RAM and windows are is in tables that the guest has read. */
static bool q35_pre_save(void *opaque, GError **errp)
{
    Q35Machine *s = opaque;

    s->migrated = s->mem;
    return true;
}

static bool q35_post_load(void *opaque, GError **errp)
{
    Q35Machine *s = opaque;
    const X86Memory *there = &s->migrated, *here = &s->mem;

    s->loaded = false;
    if (there->below_4g != here->below_4g || there->above_4g_base != here->above_4g_base ||
        there->above_4g != here->above_4g) {
        return error_set(errp,
                         "RAM is %" G_GUINT64_FORMAT " bytes from 0 and %" G_GUINT64_FORMAT
                         " from 0x%" G_GINT64_MODIFIER "x there, %" G_GUINT64_FORMAT
                         " and %" G_GUINT64_FORMAT " from 0x%" G_GINT64_MODIFIER "x here",
                         there->below_4g, there->above_4g, there->above_4g_base, here->below_4g,
                         here->above_4g, here->above_4g_base);
    }
    if (memcmp(there->mem32, here->mem32, sizeof(here->mem32)) ||
        memcmp(&there->mem64, &here->mem64, sizeof(here->mem64))) {
        return error_set(errp,
                         "the windows of PCI devices in memory are elsewhere there than here");
    }
    return true;
}

static const VMStateField window_fields[] = {
    VMSTATE_UINT(PCIWindow, base),
    VMSTATE_UINT(PCIWindow, size),
    VMSTATE_END,
};

static const VMStateField q35_fields[] = {
    VMSTATE_UINT(Q35Machine, migrated.below_4g),
    VMSTATE_UINT(Q35Machine, migrated.above_4g_base),
    VMSTATE_UINT(Q35Machine, migrated.above_4g),
    VMSTATE_STRUCT_ARRAY(Q35Machine, migrated.mem32, window_fields),
    VMSTATE_STRUCT(Q35Machine, migrated.mem64, window_fields),
    VMSTATE_END,
};

static const VMState q35_vmstate = {
    .name = "q35",
    .version = 1,
    .priority = VMS_PRIORITY_CHIPS,
    .fields = q35_fields,
    .pre_save = q35_pre_save,
    .post_load = q35_post_load,
};

static bool q35_ready(Machine *m, GError **errp)
{
    Q35Machine *s = Q35_MACHINE(m);
    bool ok;

    memory_transaction_begin(); /* the reset moves BARs away and back: nobody need hear of it */
    /* What another process sends says where BARs are and what RAM holds. */
    ok = migration_is_incoming() || (pci_assign_resources(errp) && load(s, errp));
    if (ok) {
        s->loaded = true;
        vm_state_add_notifier(q35_vm_state, s);
        reset_register(q35_reset, s);
        wakeup_register(q35_wakeup, s);
        vmstate_register("machine", 0, &q35_vmstate, s);
        devices_reset();
    }
    memory_transaction_commit();
    return ok;
}

static void q35_machine_init(Q35Machine *self)
{
}

static void q35_machine_class_init(Q35MachineClass *klass)
{
    klass->name = "q35";
    klass->desc = "PC with PCI Express, without firmware";
    klass->is_default = true;
    klass->max_cpus = 4096; /* as names in DSDT allow; KVM has its own limit */
    klass->create = q35_create;
    klass->ready = q35_ready;
}
