/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The machine lock: guards device models, the memory tree and topology.  The main thread holds it
 * except while it polls; a vCPU thread takes it for an exit that a device model must serve.
 * It is the outermost lock: whoever holds another one must not take it.
 */
#ifndef VIADUCT_CORE_LOCK_H
#define VIADUCT_CORE_LOCK_H

#include <stdbool.h>

void machine_lock(void);
void machine_unlock(void);
/* Whether this thread holds it. */
bool machine_locked(void);

#endif
