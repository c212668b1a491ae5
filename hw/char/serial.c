/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * 16550A.  The line behind it has no speed: what the guest transmits is out at once, so the
 * transmitter is always empty, and received bytes in the FIFO are announced at once, by the
 * time-out interrupt while they are fewer than the trigger level.  The divisor is only remembered.
 * Source: National Semiconductor PC16550D data sheet.
 */
#include "hw/char/serial.h"

#include <linux/serial_reg.h>
#include <string.h>

#include "backends/chardev.h"
#include "core/irq.h"
#include "core/memory.h"
#include "migration/vmstate.h"
#include "util/error.h"

#define FIFO_SIZE     16
#define MSR_CONNECTED (UART_MSR_DCD | UART_MSR_DSR | UART_MSR_CTS)
#define IER_BITS      0x0f
#define MCR_BITS      0x1f

typedef struct ISASerial {
    Device parent;
    char *chardev;  /* property: id */
    uint32_t index; /* property: 0 is COM1 */
    Chardev *chr;
    MemoryRegion io;
    uint8_t ier, iir_fifo, lcr, mcr, lsr, msr, scr, dll, dlm;
    uint8_t trigger;  /* receive FIFO's level */
    bool thr_pending; /* "transmitter empty" has not been acknowledged by reading IIR */
    bool level;       /* of the interrupt line */
    uint8_t fifo[FIFO_SIZE];
    unsigned head, count, depth; /* depth is 1 while FIFOs are off */
} ISASerial;

typedef struct ISASerialClass {
    DeviceClass parent_class;
} ISASerialClass;

GType isa_serial_get_type(void);
DEFINE_OBJECT_TYPE(ISASerial, isa_serial, TYPE_ISA_SERIAL, TYPE_DEVICE, 0)
#define ISA_SERIAL(o) G_TYPE_CHECK_INSTANCE_CAST((o), isa_serial_get_type(), ISASerial)

static const Property isa_serial_properties[] = {
    PROP_STRING("chardev", ISASerial, chardev, .help = "ID of the chardev behind the port"),
    PROP_UINT32("index", ISASerial, index, 0, .help = "0 is COM1, 3 is COM4"),
};

/* ---- interrupts ---- */

/* IIR's low four bits: the pending interrupt of the highest priority. */
static uint8_t interrupt_id(const ISASerial *s)
{
    if ((s->ier & UART_IER_RLSI) && (s->lsr & UART_LSR_BRK_ERROR_BITS)) {
        return UART_IIR_RLSI;
    }
    if ((s->ier & UART_IER_RDI) && s->count) {
        return s->count >= s->trigger ? UART_IIR_RDI : UART_IIR_RX_TIMEOUT;
    }
    if ((s->ier & UART_IER_THRI) && s->thr_pending) {
        return UART_IIR_THRI;
    }
    if ((s->ier & UART_IER_MSI) && (s->msr & UART_MSR_ANY_DELTA)) {
        return UART_IIR_MSI;
    }
    return UART_IIR_NO_INT;
}

static void update_irq(ISASerial *s)
{
    bool level = interrupt_id(s) != UART_IIR_NO_INT;

    if (level != s->level) {
        s->level = level;
        irq_set_line(serial_isa_ports[s->index].irq, level);
    }
}

/* ---- receiving ---- */

static void fifo_push(ISASerial *s, uint8_t byte)
{
    if (s->count == s->depth) {
        s->lsr |= UART_LSR_OE;
        return;
    }
    s->fifo[(s->head + s->count++) % FIFO_SIZE] = byte;
    s->lsr |= UART_LSR_DR;
}

static uint8_t fifo_pop(ISASerial *s)
{
    uint8_t byte;

    if (!s->count) {
        return 0;
    }
    byte = s->fifo[s->head];
    s->head = (s->head + 1) % FIFO_SIZE;
    if (!--s->count) {
        s->lsr &= (uint8_t)~UART_LSR_DR;
    }
    return byte;
}

static void fifo_clear(ISASerial *s)
{
    s->count = 0;
    s->lsr &= (uint8_t) ~(UART_LSR_DR | UART_LSR_OE | UART_LSR_BI);
}

static size_t serial_can_read(void *opaque)
{
    ISASerial *s = opaque;

    return s->mcr & UART_MCR_LOOP ? 0 : s->depth - s->count;
}

static void serial_receive(void *opaque, const uint8_t *buf, size_t len)
{
    ISASerial *s = opaque;

    while (len--) {
        fifo_push(s, *buf++);
    }
    update_irq(s);
}

/* All that it knows is in its vmstate. */
static bool serial_load(void *opaque, const uint8_t *state, size_t len, GError **errp)
{
    return !len || error_set(errp, "%zu bytes for a serial port, which needs none", len);
}

static const ChardevFrontend serial_frontend = {
    .can_read = serial_can_read,
    .read = serial_receive,
    .load = serial_load,
};

/* ---- registers ---- */

/* Modem status as the wires give it: a peer that is always there; in loopback our own outputs. */
static void update_msr(ISASerial *s)
{
    static const struct {
        uint8_t mcr, msr, delta;
    } loop[] = {
        { UART_MCR_RTS, UART_MSR_CTS, UART_MSR_DCTS },
        { UART_MCR_DTR, UART_MSR_DSR, UART_MSR_DDSR },
        { UART_MCR_OUT1, UART_MSR_RI, UART_MSR_TERI },
        { UART_MCR_OUT2, UART_MSR_DCD, UART_MSR_DDCD },
    };
    uint8_t lines = MSR_CONNECTED, old = s->msr;

    if (s->mcr & UART_MCR_LOOP) {
        lines = 0;
        for (size_t i = 0; i < G_N_ELEMENTS(loop); i++) {
            lines |= s->mcr & loop[i].mcr ? loop[i].msr : 0;
        }
    }
    s->msr = lines | (old & UART_MSR_ANY_DELTA);
    for (size_t i = 0; i < G_N_ELEMENTS(loop); i++) {
        bool was = old & loop[i].msr, is = lines & loop[i].msr;

        /* The ring indicator's bit tells of its end only. */
        if (loop[i].msr == UART_MSR_RI ? was && !is : was != is) {
            s->msr |= loop[i].delta;
        }
    }
}

static const uint8_t triggers[] = { 1, 4, 8, 14 };

static void write_fcr(ISASerial *s, uint8_t value)
{
    bool enable = value & UART_FCR_ENABLE_FIFO;

    if (enable != (s->depth > 1) || value & UART_FCR_CLEAR_RCVR) {
        fifo_clear(s);
    }
    s->depth = enable ? FIFO_SIZE : 1;
    s->trigger = enable ? triggers[value >> 6] : 1;
    s->iir_fifo = enable ? 0xc0 : 0;
    chardev_accept_input(s->chr);
}

static void write_thr(ISASerial *s, uint8_t value)
{
    if (s->mcr & UART_MCR_LOOP) {
        fifo_push(s, value);
    } else {
        chardev_write(s->chr, &value, 1);
    }
    s->thr_pending = true;
}

static void serial_write(void *opaque, uint64_t addr, uint64_t data, unsigned size)
{
    ISASerial *s = opaque;
    uint8_t value = (uint8_t)data;

    switch (addr) {
    case UART_TX:
        if (s->lcr & UART_LCR_DLAB) {
            s->dll = value;
            return;
        }
        write_thr(s, value);
        break;
    case UART_IER:
        if (s->lcr & UART_LCR_DLAB) {
            s->dlm = value;
            return;
        }
        /* Turning the interrupt on while the transmitter is empty raises it. */
        s->thr_pending |= value & ~s->ier & UART_IER_THRI;
        s->ier = value & IER_BITS;
        break;
    case UART_FCR:
        write_fcr(s, value);
        break;
    case UART_LCR:
        s->lcr = value;
        return;
    case UART_MCR:
        s->mcr = value & MCR_BITS;
        update_msr(s);
        chardev_accept_input(s->chr);
        break;
    case UART_SCR:
        s->scr = value;
        return;
    default: /* LSR and MSR are read only */
        return;
    }
    update_irq(s);
}

static uint8_t read_iir(ISASerial *s)
{
    uint8_t id = interrupt_id(s);

    if (id == UART_IIR_THRI) {
        s->thr_pending = false;
        update_irq(s);
    }
    return id | s->iir_fifo;
}

static uint8_t read_rx(ISASerial *s)
{
    bool was_full = s->count == s->depth;
    uint8_t byte = fifo_pop(s);

    update_irq(s);
    if (was_full || !s->count) {
        chardev_accept_input(s->chr);
    }
    return byte;
}

static uint64_t serial_read(void *opaque, uint64_t addr, unsigned size)
{
    ISASerial *s = opaque;
    uint8_t value;

    switch (addr) {
    case UART_RX:
        return s->lcr & UART_LCR_DLAB ? s->dll : read_rx(s);
    case UART_IER:
        return s->lcr & UART_LCR_DLAB ? s->dlm : s->ier;
    case UART_IIR:
        return read_iir(s);
    case UART_LCR:
        return s->lcr;
    case UART_MCR:
        return s->mcr;
    case UART_LSR:
        value = s->lsr;
        if (value & UART_LSR_BRK_ERROR_BITS) {
            s->lsr &= (uint8_t)~UART_LSR_BRK_ERROR_BITS;
            update_irq(s);
        }
        return value;
    case UART_MSR:
        value = s->msr;
        if (value & UART_MSR_ANY_DELTA) {
            s->msr &= (uint8_t)~UART_MSR_ANY_DELTA;
            update_irq(s);
        }
        return value;
    default:
        return s->scr;
    }
}

static const MemoryRegionOps serial_ops = { serial_read, serial_write, .max_size = 1 };

/* ---- migration ---- */

static bool serial_post_load(void *opaque, GError **errp)
{
    ISASerial *s = opaque;

    if ((s->depth != 1 && s->depth != FIFO_SIZE) || s->count > s->depth ||
        !memchr(triggers, s->trigger, sizeof(triggers))) {
        return error_set(errp, "no FIFO of depth %u holds %u bytes with trigger level %u", s->depth,
                         s->count, s->trigger);
    }
    s->ier &= IER_BITS;
    s->mcr &= MCR_BITS;
    s->lsr = (uint8_t)(UART_LSR_THRE | UART_LSR_TEMT | (s->lsr & UART_LSR_BRK_ERROR_BITS) |
                       (s->count ? UART_LSR_DR : 0));
    s->level = interrupt_id(s) != UART_IIR_NO_INT;
    irq_set_line(serial_isa_ports[s->index].irq, s->level);
    chardev_accept_input(s->chr);
    return true;
}

static const VMStateField serial_fields[] = {
    VMSTATE_UINT(ISASerial, ier),
    VMSTATE_UINT(ISASerial, iir_fifo),
    VMSTATE_UINT(ISASerial, lcr),
    VMSTATE_UINT(ISASerial, mcr),
    VMSTATE_UINT(ISASerial, lsr),
    VMSTATE_UINT(ISASerial, msr),
    VMSTATE_UINT(ISASerial, scr),
    VMSTATE_UINT(ISASerial, dll),
    VMSTATE_UINT(ISASerial, dlm),
    VMSTATE_UINT(ISASerial, trigger),
    VMSTATE_BOOL(ISASerial, thr_pending),
    VMSTATE_BYTES(ISASerial, fifo),
    VMSTATE_UINT_MAX(ISASerial, head, FIFO_SIZE - 1),
    VMSTATE_UINT_MAX(ISASerial, count, FIFO_SIZE),
    VMSTATE_UINT_MAX(ISASerial, depth, FIFO_SIZE),
    VMSTATE_END,
};

static const VMState serial_vmstate = {
    .name = TYPE_ISA_SERIAL,
    .version = 1,
    .priority = VMS_PRIORITY_DEVICE,
    .fields = serial_fields,
    .post_load = serial_post_load,
};

/* ---- the device ---- */

static void isa_serial_reset(Device *dev)
{
    ISASerial *s = ISA_SERIAL(dev);

    s->ier = s->iir_fifo = s->lcr = s->scr = s->dlm = 0;
    s->dll = 12; /* 9600 */
    s->mcr = UART_MCR_OUT2;
    s->lsr = UART_LSR_THRE | UART_LSR_TEMT;
    s->msr = MSR_CONNECTED;
    s->head = s->count = 0;
    s->depth = s->trigger = 1;
    s->thr_pending = false;
    update_irq(s);
    chardev_accept_input(s->chr);
}

static bool isa_serial_realize(Device *dev, GError **errp)
{
    ISASerial *s = ISA_SERIAL(dev);

    if (s->index >= SERIAL_ISA_MAX) {
        return error_set(errp, "isa-serial: there is no port of index %u", s->index);
    }
    s->chr = s->chardev ? chardev_find(s->chardev) : NULL;
    if (!s->chr) {
        return error_set(errp, "isa-serial: there is no chardev '%s'", s->chardev ?: "");
    }
    s->depth = 1;
    if (!chardev_attach(s->chr, &serial_frontend, s, errp)) {
        return false;
    }
    memory_region_init_io(&s->io, G_OBJECT(dev), &serial_ops, s, "serial", SERIAL_PORTS);
    isa_serial_reset(dev);
    memory_region_add_child(address_space_io.root, serial_isa_ports[s->index].iobase, &s->io, 0);
    vmstate_register("serial", s->index, &serial_vmstate, s);
    return true;
}

static void isa_serial_unrealize(Device *dev)
{
    ISASerial *s = ISA_SERIAL(dev);

    vmstate_unregister(&serial_vmstate, s);
    memory_region_del_child(address_space_io.root, &s->io);
    memory_region_fini(&s->io);
    chardev_detach(s->chr);
}

Device *serial_isa_new(unsigned index, const char *chardev)
{
    ISASerial *s = g_object_new(isa_serial_get_type(), NULL);

    s->index = index;
    s->chardev = g_strdup(chardev);
    return DEVICE(s);
}

static void isa_serial_init(ISASerial *self)
{
}

static void isa_serial_class_init(ISASerialClass *klass)
{
    DeviceClass *dc = DEVICE_CLASS(klass);

    dc->desc = "Serial port (16550A)";
    dc->category = "Input";
    dc->bus_type = "ISA";
    dc->realize = isa_serial_realize;
    dc->unrealize = isa_serial_unrealize;
    dc->reset = isa_serial_reset;
    object_class_add_properties(klass, isa_serial_properties, G_N_ELEMENTS(isa_serial_properties));
}
