/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * DSDT: what there is on the board that cannot be found by looking.  The host bridge with its
 * windows and interrupt wiring, the places that no PCI window may take, serial ports, clock,
 * processors, and how to sleep and to switch off.
 */
#include "hw/x86/acpi.h"

#include "hw/char/serial.h"
#include "hw/x86/aml.h"

#define PCI_SLOTS 32
#define PCI_PINS  4

/* What the guest's system may control by itself, of _OSC's control field. */
enum {
    OSC_NATIVE_HOTPLUG = 1 << 0,
    OSC_PME = 1 << 2,
    OSC_AER = 1 << 3,
    OSC_EXPRESS_CAPABILITY = 1 << 4,
    OSC_GRANTED = OSC_NATIVE_HOTPLUG | OSC_PME | OSC_AER | OSC_EXPRESS_CAPABILITY,
};

/* CDW1's answers. */
enum { OSC_UNKNOWN_UUID = 1 << 2, OSC_UNKNOWN_REVISION = 1 << 3, OSC_MASKED = 1 << 4 };

/* CreateDWordField (Arg3, offset, name) */
static void osc_field(Aml *a, unsigned offset, const char *name)
{
    aml_op(a, AML_CREATE_DWORD_FIELD);
    aml_op(a, AML_ARG3);
    aml_int(a, offset);
    aml_path(a, name);
}

/* CDW1 |= bit */
static void osc_answer(Aml *a, unsigned bit)
{
    aml_op(a, AML_OR);
    aml_path(a, "CDW1");
    aml_int(a, bit);
    aml_path(a, "CDW1");
}

/* _OSC (uuid, revision, count, capabilities): the handover of PCI Express features (PCI FW 3.3). */
static void build_osc(Aml *a)
{
    aml_method(a, "_OSC", 4, true);
    osc_field(a, 0, "CDW1");
    aml_if(a);
    aml_op(a, AML_LEQUAL);
    aml_op(a, AML_ARG0);
    aml_uuid(a, "33DB4D5B-1FF7-401C-9657-7441C03DD766");
    {
        osc_field(a, 4, "CDW2");
        osc_field(a, 8, "CDW3");
        aml_op(a, AML_AND);
        aml_path(a, "CDW3");
        aml_int(a, OSC_GRANTED);
        aml_op(a, AML_LOCAL0);
        aml_if(a);
        aml_op(a, AML_LNOT);
        aml_op(a, AML_LEQUAL);
        aml_op(a, AML_ARG1);
        aml_int(a, 1);
        osc_answer(a, OSC_UNKNOWN_REVISION);
        aml_end(a);
        aml_if(a);
        aml_op(a, AML_LNOT);
        aml_op(a, AML_LEQUAL);
        aml_op(a, AML_LOCAL0);
        aml_path(a, "CDW3");
        osc_answer(a, OSC_MASKED);
        aml_end(a);
        aml_op(a, AML_STORE);
        aml_op(a, AML_LOCAL0);
        aml_path(a, "CDW3");
    }
    aml_end(a);
    aml_else(a);
    osc_answer(a, OSC_UNKNOWN_UUID);
    aml_end(a);
    aml_op(a, AML_RETURN);
    aml_op(a, AML_ARG3);
    aml_end(a);
}

static void build_prt(Aml *a)
{
    aml_name(a, "_PRT");
    aml_package(a, PCI_SLOTS * PCI_PINS);
    for (unsigned i = 0; i < PCI_SLOTS * PCI_PINS; i++) {
        unsigned slot = i / PCI_PINS, pin = i % PCI_PINS;

        aml_package(a, 4);
        aml_int(a, slot << 16 | 0xffff); /* any function */
        aml_int(a, pin);
        aml_int(a, 0); /* no link device: the line itself */
        aml_int(a, (uint64_t)x86_map_intx((int)slot, (int)pin));
        aml_end(a);
    }
    aml_end(a);
}

static void build_window(Aml *a, const PCIWindow *w)
{
    if (w->size) {
        aml_memory_window(a, w->base, w->base + w->size - 1);
    }
}

static void build_host_bridge(Aml *a, const AcpiConfig *config)
{
    const X86Memory *mem = config->mem;

    aml_device(a, "PCI0");
    aml_name_eisaid(a, "_HID", "PNP0A08");
    aml_name_eisaid(a, "_CID", "PNP0A03");
    aml_name_int(a, "_SEG", 0);
    aml_name_int(a, "_BBN", 0);
    aml_name_int(a, "_UID", 0);
    aml_name(a, "_CRS");
    aml_resources(a);
    aml_bus_window(a, 0, config->last_bus);
    aml_io(a, 0xcf8, 8);
    aml_io_window(a, 0x0000, 0x0cf7);
    aml_io_window(a, 0x0d00, 0xffff);
    build_window(a, &mem->mem32[0]);
    build_window(a, &mem->mem32[1]);
    build_window(a, &mem->mem64);
    aml_end(a);
    build_prt(a);
    build_osc(a);
    aml_end(a);
}

/* Configuration space and the power management block: nobody else's. */
static void build_reserved(Aml *a)
{
    aml_device(a, "MRES");
    aml_name_eisaid(a, "_HID", "PNP0C02");
    aml_name_int(a, "_UID", 0);
    aml_name(a, "_CRS");
    aml_resources(a);
    aml_memory32(a, X86_ECAM_BASE, X86_ECAM_SIZE);
    aml_io(a, X86_PORT_PM, X86_PM_SIZE);
    aml_end(a);
    aml_end(a);
}

static void build_serial(Aml *a, unsigned index)
{
    char name[] = "COM1";

    name[3] = (char)('1' + index);
    aml_device(a, name);
    aml_name_eisaid(a, "_HID", "PNP0501");
    aml_name_int(a, "_UID", index + 1);
    aml_name(a, "_CRS");
    aml_resources(a);
    aml_io(a, serial_isa_ports[index].iobase, SERIAL_PORTS);
    aml_irq(a, serial_isa_ports[index].irq);
    aml_end(a);
    aml_end(a);
}

static void build_rtc(Aml *a)
{
    aml_device(a, "RTC_");
    aml_name_eisaid(a, "_HID", "PNP0B00");
    aml_name(a, "_CRS");
    aml_resources(a);
    aml_io(a, 0x70, 2);
    aml_irq(a, X86_GSI_RTC);
    aml_end(a);
    aml_end(a);
}

static void build_processor(Aml *a, unsigned index)
{
    char name[5];

    g_snprintf(name, sizeof(name), "C%03X", index & 0xfff);
    aml_device(a, name);
    aml_name(a, "_HID");
    aml_string(a, "ACPI0007");
    aml_name_int(a, "_UID", index);
    aml_end(a);
}

static void build_sleep_state(Aml *a, const char *name, unsigned type)
{
    aml_name(a, name);
    aml_package(a, 4);
    aml_int(a, type); /* PM1a, PM1b, reserved */
    aml_int(a, 0);
    aml_int(a, 0);
    aml_int(a, 0);
    aml_end(a);
}

void acpi_build_dsdt(const AcpiConfig *config, GByteArray *out)
{
    Aml a = { .out = out };

    aml_scope(&a, "\\_SB");
    build_host_bridge(&a, config);
    build_reserved(&a);
    for (unsigned i = 0; i < G_N_ELEMENTS(config->serial); i++) {
        if (config->serial[i]) {
            build_serial(&a, i);
        }
    }
    build_rtc(&a);
    for (unsigned i = 0; i < config->cpus; i++) {
        build_processor(&a, i);
    }
    aml_end(&a);

    build_sleep_state(&a, "\\_S3", X86_SLP_TYP_S3);
    build_sleep_state(&a, "\\_S5", X86_SLP_TYP_S5);
}
