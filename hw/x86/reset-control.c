/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The ways to reset a PC: the reset control register at 0xcf9 (which is FADT's reset register), the
 * keyboard controller's command 0xfe, and port 0x92.
 *
 * There is no keyboard.  The controller's status reads as the empty bus does, save that it always
 * takes commands: Linux then sees an output buffer that cannot be emptied and gives up its probe
 * within a millisecond, and whoever waits to write the reset command does not wait.
 */
#include "hw/x86/x86.h"

#include "core/runstate.h"
#include "migration/vmstate.h"

#define KBD_STATUS     0xfd
#define KBD_CMD_RESET  0xfe
#define RESET_CPU      0x04 /* 0xcf9: do it; bits 1 and 3 say how */
#define RESET_KEPT     0x0a
#define PORT92_RESET   0x01
#define PORT92_A20     0x02
#define PORT92_BITS    (PORT92_RESET | PORT92_A20)
#define RESET_NR_PORTS 4

typedef struct ResetControl {
    Device parent;
    MemoryRegion io[RESET_NR_PORTS];
    uint8_t rcr, port92;
} ResetControl;

typedef struct ResetControlClass {
    DeviceClass parent_class;
} ResetControlClass;

GType reset_control_get_type(void);
DEFINE_OBJECT_TYPE(ResetControl, reset_control, TYPE_RESET_CONTROL, TYPE_DEVICE, 0)
#define RESET_CONTROL(o) G_TYPE_CHECK_INSTANCE_CAST((o), reset_control_get_type(), ResetControl)

static uint64_t kbd_data_read(void *opaque, uint64_t addr, unsigned size)
{
    return 0xff;
}

static void kbd_data_write(void *opaque, uint64_t addr, uint64_t data, unsigned size)
{
}

static uint64_t kbd_status_read(void *opaque, uint64_t addr, unsigned size)
{
    return KBD_STATUS;
}

static void kbd_command(void *opaque, uint64_t addr, uint64_t data, unsigned size)
{
    if (data == KBD_CMD_RESET) {
        system_reset_request(SHUTDOWN_CAUSE_GUEST_RESET);
    }
}

static uint64_t port92_read(void *opaque, uint64_t addr, unsigned size)
{
    return ((ResetControl *)opaque)->port92;
}

/* The A20 line is remembered only: it has not been a wire since long. */
static void port92_write(void *opaque, uint64_t addr, uint64_t data, unsigned size)
{
    ResetControl *s = opaque;
    bool reset = data & ~(uint64_t)s->port92 & PORT92_RESET;

    s->port92 = data & PORT92_BITS;
    if (reset) {
        system_reset_request(SHUTDOWN_CAUSE_GUEST_RESET);
    }
}

static uint64_t rcr_read(void *opaque, uint64_t addr, unsigned size)
{
    return ((ResetControl *)opaque)->rcr;
}

static void rcr_write(void *opaque, uint64_t addr, uint64_t data, unsigned size)
{
    ((ResetControl *)opaque)->rcr = data & RESET_KEPT;
    if (data & RESET_CPU) {
        system_reset_request(SHUTDOWN_CAUSE_GUEST_RESET);
    }
}

/* 0xcf9 is a byte of the PCI address register, which has accesses of four bytes only: a region
 * above it takes what starts here. */
static const struct {
    const char *name;
    uint16_t port;
    int priority;
    MemoryRegionOps ops;
} ports[RESET_NR_PORTS] = {
    { "i8042-data", 0x60, 0, { kbd_data_read, kbd_data_write, .max_size = 1 } },
    { "i8042-cmd", 0x64, 0, { kbd_status_read, kbd_command, .max_size = 1 } },
    { "port92", 0x92, 0, { port92_read, port92_write, .max_size = 1 } },
    { "reset-control", X86_PORT_RESET, 1, { rcr_read, rcr_write, .max_size = 1 } },
};

static bool reset_control_post_load(void *opaque, GError **errp)
{
    ResetControl *s = opaque;

    s->rcr &= RESET_KEPT;
    s->port92 &= PORT92_BITS;
    return true;
}

static const VMStateField reset_control_fields[] = {
    VMSTATE_UINT(ResetControl, rcr),
    VMSTATE_UINT(ResetControl, port92),
    VMSTATE_END,
};

static const VMState reset_control_vmstate = {
    .name = TYPE_RESET_CONTROL,
    .version = 1,
    .priority = VMS_PRIORITY_DEVICE,
    .fields = reset_control_fields,
    .post_load = reset_control_post_load,
};

static void reset_control_reset(Device *dev)
{
    ResetControl *s = RESET_CONTROL(dev);

    s->rcr = 0;
    s->port92 = PORT92_A20;
}

static bool reset_control_realize(Device *dev, GError **errp)
{
    ResetControl *s = RESET_CONTROL(dev);

    reset_control_reset(dev);
    memory_transaction_begin();
    for (int i = 0; i < RESET_NR_PORTS; i++) {
        memory_region_init_io(&s->io[i], G_OBJECT(dev), &ports[i].ops, s, ports[i].name, 1);
        memory_region_add_child(address_space_io.root, ports[i].port, &s->io[i], ports[i].priority);
    }
    memory_transaction_commit();
    vmstate_register("reset-control", 0, &reset_control_vmstate, s);
    return true;
}

static void reset_control_unrealize(Device *dev)
{
    ResetControl *s = RESET_CONTROL(dev);

    vmstate_unregister(&reset_control_vmstate, s);
    memory_transaction_begin();
    for (int i = 0; i < RESET_NR_PORTS; i++) {
        memory_region_del_child(address_space_io.root, &s->io[i]);
    }
    memory_transaction_commit();
    for (int i = 0; i < RESET_NR_PORTS; i++) {
        memory_region_fini(&s->io[i]);
    }
}

static void reset_control_init(ResetControl *self)
{
}

static void reset_control_class_init(ResetControlClass *klass)
{
    DeviceClass *dc = DEVICE_CLASS(klass);

    dc->desc = "Reset control register, keyboard controller, port 92";
    dc->bus_type = "ISA";
    dc->realize = reset_control_realize;
    dc->unrealize = reset_control_unrealize;
    dc->reset = reset_control_reset;
}
