/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Arrays of CPUID leaves, in the form that KVM gives and takes them.  Pure functions. */
#include "kvm-int.h"

struct kvm_cpuid2 *cpuid_new(void)
{
    struct kvm_cpuid2 *cpuid;

    return g_malloc0(sizeof(*cpuid) + KVM_MAX_CPUID_ENTRIES * sizeof(cpuid->entries[0]));
}

struct kvm_cpuid_entry2 *cpuid_find(struct kvm_cpuid2 *cpuid, uint32_t leaf, uint32_t index)
{
    for (unsigned i = 0; i < cpuid->nent; i++) {
        struct kvm_cpuid_entry2 *e = &cpuid->entries[i];

        if (e->function == leaf &&
            (!(e->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) || e->index == index)) {
            return e;
        }
    }
    return NULL;
}

struct kvm_cpuid_entry2 *cpuid_get(struct kvm_cpuid2 *cpuid, uint32_t leaf, uint32_t index,
                                   bool indexed)
{
    struct kvm_cpuid_entry2 *e = cpuid_find(cpuid, leaf, index);

    if (!e) {
        g_assert(cpuid->nent < KVM_MAX_CPUID_ENTRIES);
        e = &cpuid->entries[cpuid->nent++];
        *e = (struct kvm_cpuid_entry2) { .function = leaf };
    }
    /* An entry of the host's may be shown without sub-leaves where we need them. */
    if (indexed) {
        e->index = index;
        e->flags |= KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
    }
    return e;
}

static void remove_at(struct kvm_cpuid2 *cpuid, unsigned i)
{
    cpuid->nent--;
    for (; i < cpuid->nent; i++) {
        cpuid->entries[i] = cpuid->entries[i + 1];
    }
}

void cpuid_remove(struct kvm_cpuid2 *cpuid, uint32_t first, uint32_t last)
{
    for (unsigned i = cpuid->nent; i-- > 0;) {
        if (cpuid->entries[i].function >= first && cpuid->entries[i].function <= last) {
            remove_at(cpuid, i);
        }
    }
}

void cpuid_remove_index(struct kvm_cpuid2 *cpuid, uint32_t leaf, uint32_t index)
{
    for (unsigned i = cpuid->nent; i-- > 0;) {
        if (cpuid->entries[i].function == leaf && cpuid->entries[i].index == index) {
            remove_at(cpuid, i);
        }
    }
}

uint32_t *cpuid_register(struct kvm_cpuid_entry2 *entry, X86Register reg)
{
    uint32_t *const registers[] = {
        [R_EAX] = &entry->eax,
        [R_EBX] = &entry->ebx,
        [R_ECX] = &entry->ecx,
        [R_EDX] = &entry->edx,
    };

    return registers[reg];
}
