/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/machine.h"

DEFINE_OBJECT_TYPE(Machine, machine, "machine", TYPE_OBJECT, G_TYPE_FLAG_ABSTRACT)

Machine *current_machine;

static const Property machine_properties[] = {
    PROP_STRING("memory-backend", Machine, memory_backend,
                .help = "ID of the memory backend that is the machine's RAM"),
    PROP_BOOL("aux-ram-share", Machine, aux_ram_share, false,
              .help = "memory that no backend has is shared, as CPR wants it (here all of it is, "
                      "always)"),
};

static void machine_init(Machine *m)
{
}

static void machine_class_init(MachineClass *klass)
{
    object_class_add_properties(klass, machine_properties, G_N_ELEMENTS(machine_properties));
}
