/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The limit of locked memory, which memory for DMA counts against. */
#ifndef VIADUCT_UTIL_MEMLOCK_H
#define VIADUCT_UTIL_MEMLOCK_H

#include <glib.h>
#include <stdint.h>

/*
 * For the end of a message when the kernel had no memory (ENOMEM) for @more bytes (0: not known):
 * what is locked, the limit, and what can be done.  NULL when there is no limit for this process;
 * g_free it.  Source: proc(5), getrlimit(2).
 */
char *memlock_hint(uint64_t more);

#endif
