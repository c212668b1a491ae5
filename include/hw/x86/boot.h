/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Direct boot: -kernel, -initrd and -append.  The files stay open, so that each reset can read them
 * into RAM again; no copy is kept.
 */
#ifndef VIADUCT_HW_X86_BOOT_H
#define VIADUCT_HW_X86_BOOT_H

#include "accel/kvm.h"
#include "core/machine.h"
#include "hw/x86/x86.h"

typedef struct X86Boot X86Boot;

/* Opens the files.  Without a kernel the boot processor will halt at once. */
X86Boot *x86_boot_new(const MachineConfig *config, const X86Memory *mem, GError **errp);
/*
 * Loads everything; @state is where the boot processor starts.  @reserved is the first byte of low
 * RAM that is not for the guest's system: the ACPI tables, up to the end of it.
 */
bool x86_boot_load(X86Boot *boot, uint64_t reserved, X86BootState *state, GError **errp);
void x86_boot_free(X86Boot *boot);

#endif
