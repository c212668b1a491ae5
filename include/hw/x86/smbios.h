/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * SMBIOS: what the machine is called, its UUID, its sockets and RAM, for the guest's users and its
 * management software.
 * Source: DMTF DSP0134, System Management BIOS Reference Specification 3.0.
 */
#ifndef VIADUCT_HW_X86_SMBIOS_H
#define VIADUCT_HW_X86_SMBIOS_H

#include "core/machine.h"
#include "hw/x86/x86.h"

#define SMBIOS_ENTRY_SIZE 24

/* The structures; they may be put at any address. */
GByteArray *smbios_build(const MachineConfig *config, const X86Memory *mem);
/* What leads to @len bytes of them at @addr, for the place where scanners look for it. */
void smbios_build_entry(uint64_t addr, uint32_t len, uint8_t out[SMBIOS_ENTRY_SIZE]);

#endif
