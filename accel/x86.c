/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "accel/x86.h"

const X86Accel *const x86_accels[] = { &x86_accel_kvm, &x86_accel_qtest, NULL };
const X86Accel *x86_accel = &x86_accel_kvm;

const X86Accel *x86_accel_find(const char *name)
{
    for (size_t i = 0; x86_accels[i]; i++) {
        if (g_str_equal(x86_accels[i]->name, name)) {
            return x86_accels[i];
        }
    }
    return NULL;
}
