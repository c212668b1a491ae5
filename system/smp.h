/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VIADUCT_SYSTEM_SMP_H
#define VIADUCT_SYSTEM_SMP_H

#include "system/cmdline.h"

/* The argument of -smp, completed and checked. */
bool smp_parse(const char *arg, CPUTopology *result, GError **errp);

#endif
