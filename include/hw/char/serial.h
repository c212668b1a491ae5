/* SPDX-License-Identifier: GPL-2.0-or-later */
/* "isa-serial": a 16550A on the ISA ports of COM1 to COM4, in front of a chardev. */
#ifndef VIADUCT_HW_CHAR_SERIAL_H
#define VIADUCT_HW_CHAR_SERIAL_H

#include "core/device.h"

#define TYPE_ISA_SERIAL "isa-serial"
#define SERIAL_PORTS    8 /* how many ports it takes */
#define SERIAL_ISA_MAX  4

/*
 * The usual places.  COM3 and COM4 have lines of their own: an ISA line is edge-triggered and can
 * not really be shared, and ACPI tells the guest anyway.
 */
static const struct {
    uint16_t iobase;
    uint8_t irq;
} serial_isa_ports[SERIAL_ISA_MAX] = {
    { 0x3f8, 4 },
    { 0x2f8, 3 },
    { 0x3e8, 5 },
    { 0x2e8, 7 },
};

/* A port for the chardev, not realized yet. */
Device *serial_isa_new(unsigned index, const char *chardev);

#endif
