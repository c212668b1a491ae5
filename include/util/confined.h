/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VIADUCT_UTIL_CONFINED_H
#define VIADUCT_UTIL_CONFINED_H

#include <stdbool.h>

/*
 * -sandbox on holds: the kernel ends the process if it starts another one.  Set once, before threads
 * that would.
 */
extern bool process_confined;

#endif
