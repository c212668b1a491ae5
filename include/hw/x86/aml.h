/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A composer of AML, ACPI's byte code (ACPI 6.5, chapter 20).  AML is prefix notation, so a term is
 * written simply by writing its parts in order.  What has a length (a scope, a device, a method, a
 * package, a buffer) is opened by its function and closed by aml_end(), which puts the length in.
 */
#ifndef VIADUCT_HW_X86_AML_H
#define VIADUCT_HW_X86_AML_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define AML_MAX_DEPTH 8

typedef struct Aml {
    GByteArray *out;
    unsigned depth;
    struct {
        guint start; /* where the length goes */
        bool buffer; /* of resource descriptors: wants an end tag and its size in front */
    } open[AML_MAX_DEPTH];
} Aml;

/* Opcodes that are written by themselves. */
enum {
    AML_LOCAL0 = 0x60,
    AML_ARG0 = 0x68,
    AML_ARG1,
    AML_ARG2,
    AML_ARG3,
    AML_STORE = 0x70,
    AML_AND = 0x7b,
    AML_OR = 0x7d,
    AML_CREATE_DWORD_FIELD = 0x8a,
    AML_LNOT = 0x92,
    AML_LEQUAL = 0x93,
    AML_RETURN = 0xa4,
};

/* ---- terms ---- */

void aml_op(Aml *a, uint8_t opcode);
void aml_int(Aml *a, uint64_t value);
void aml_string(Aml *a, const char *s);
/* A name's use: "\\_SB.PCI0", "CDW1"; segments shorter than four are padded. */
void aml_path(Aml *a, const char *path);
void aml_eisaid(Aml *a, const char *id); /* "PNP0A08" */
void aml_uuid(Aml *a, const char *uuid); /* as ToUUID() does */
void aml_name(Aml *a, const char *path); /* Name (path, …the term that follows) */
void aml_name_int(Aml *a, const char *path, uint64_t value);
void aml_name_eisaid(Aml *a, const char *path, const char *id);

/* ---- what aml_end() closes ---- */

void aml_scope(Aml *a, const char *path);
void aml_device(Aml *a, const char *path);
void aml_method(Aml *a, const char *path, unsigned args, bool serialized);
void aml_if(Aml *a); /* the condition follows */
void aml_else(Aml *a);
void aml_package(Aml *a, uint8_t elements);
void aml_resources(Aml *a); /* ResourceTemplate () */
void aml_end(Aml *a);

/* ---- resource descriptors ---- */

void aml_io(Aml *a, uint16_t base, uint8_t size);
void aml_irq(Aml *a, unsigned irq); /* edge, active high, exclusive */
void aml_memory32(Aml *a, uint32_t base, uint32_t size);
/* A bridge's windows, @last included. */
void aml_bus_window(Aml *a, uint16_t first, uint16_t last);
void aml_io_window(Aml *a, uint16_t first, uint16_t last);
void aml_memory_window(Aml *a, uint64_t first, uint64_t last);

#endif
