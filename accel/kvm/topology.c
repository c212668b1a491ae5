/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Topology: APIC ids and the CPUID leaves that tell sockets, dies, cores and threads.
 *
 * An APIC id is, from the top, socket, die, core and thread; each field but the first is as wide as
 * its largest value needs, so ids have holes where a count is no power of two.  Caches are those of
 * the host, shared as on common parts: the third level by a die, the others by a core.
 *
 * Sources: Intel SDM 3A 9.9 and 2A CPUID (leaves 1, 4, 0Bh, 1Fh); AMD APM 3 appendix E (8000_0008h,
 * 8000_001Dh, 8000_001Eh).  Pure functions.
 */
#include "kvm-int.h"

#define CPUID_1_EDX_HT             (1u << 28)
#define CPUID_80000001_ECX_CMP     (1u << 1)
#define CPUID_80000001_ECX_TOPOEXT (1u << 22)

enum { LEVEL_INVALID, LEVEL_SMT, LEVEL_CORE, LEVEL_DIE = 5 };

/* Bits that hold the numbers 0 … @count - 1. */
static unsigned width(unsigned count)
{
    return count > 1 ? 32 - __builtin_clz(count - 1) : 0;
}

static unsigned core_shift(const X86Topology *topo)
{
    return width(topo->threads);
}

static unsigned die_shift(const X86Topology *topo)
{
    return core_shift(topo) + width(topo->cores);
}

static unsigned socket_shift(const X86Topology *topo)
{
    return die_shift(topo) + width(topo->dies);
}

typedef struct Place {
    unsigned socket, die, core, thread;
} Place;

static Place place(const X86Topology *topo, unsigned index)
{
    /* NOLINTBEGIN(clang-analyzer-core.DivideZero): -smp lets no count be 0 */
    return (Place) {
        .thread = index % topo->threads,
        .core = index / topo->threads % topo->cores,
        .die = index / topo->threads / topo->cores % topo->dies,
        .socket = index / topo->threads / topo->cores / topo->dies,
    };
    /* NOLINTEND(clang-analyzer-core.DivideZero): see above */
}

void topology_place(const X86Topology *topo, unsigned index, unsigned *socket, unsigned *core,
                    unsigned *thread)
{
    Place p = place(topo, index);

    *socket = p.socket;
    *core = p.core;
    *thread = p.thread;
}

uint32_t x86_apic_id(const X86Topology *topo, unsigned index)
{
    Place p = place(topo, index);

    return p.socket << socket_shift(topo) | p.die << die_shift(topo) | p.core << core_shift(topo) |
           p.thread;
}

/* ---- leaves ---- */

/* Caches, in Intel's leaf 4 and AMD's 8000_001Dh alike: type in EAX[4:0], level in EAX[7:5]. */
static void fill_caches(struct kvm_cpuid2 *cpuid, const X86Topology *topo, uint32_t leaf)
{
    for (unsigned i = 0; i < cpuid->nent; i++) {
        struct kvm_cpuid_entry2 *e = &cpuid->entries[i];
        unsigned sharing;

        if (e->function != leaf || !(e->eax & 0x1f)) {
            continue;
        }
        sharing = 1u << ((e->eax >> 5 & 7) >= 3 ? die_shift(topo) : core_shift(topo));
        e->eax = (e->eax & 0x3fff) | (MIN(sharing, 0x1000) - 1) << 14;
        if (leaf == 4) {
            e->eax |= (MIN(1u << (socket_shift(topo) - core_shift(topo)), 64) - 1) << 26;
        }
    }
}

/* One line of leaf 0Bh or 1Fh: how far to shift an APIC id for the next level, and how many. */
static void fill_level(struct kvm_cpuid2 *cpuid, uint32_t leaf, uint32_t index, unsigned type,
                       unsigned shift, unsigned count)
{
    struct kvm_cpuid_entry2 *e = cpuid_get(cpuid, leaf, index, true);

    e->eax = shift;
    e->ebx = MIN(count, 0xffff);
    e->ecx = index | type << 8;
}

static void fill_levels(struct kvm_cpuid2 *cpuid, const X86Topology *topo)
{
    unsigned all = topo->threads * topo->cores * topo->dies;

    cpuid_remove(cpuid, 0xb, 0xb);
    fill_level(cpuid, 0xb, 0, LEVEL_SMT, core_shift(topo), topo->threads);
    fill_level(cpuid, 0xb, 1, LEVEL_CORE, socket_shift(topo), all);
    fill_level(cpuid, 0xb, 2, LEVEL_INVALID, 0, 0);
    /* Only the newer leaf can tell of dies; without them it would say the same once more. */
    cpuid_remove(cpuid, 0x1f, 0x1f);
    if (topo->dies > 1) {
        fill_level(cpuid, 0x1f, 0, LEVEL_SMT, core_shift(topo), topo->threads);
        fill_level(cpuid, 0x1f, 1, LEVEL_CORE, die_shift(topo), topo->threads * topo->cores);
        fill_level(cpuid, 0x1f, 2, LEVEL_DIE, socket_shift(topo), all);
        fill_level(cpuid, 0x1f, 3, LEVEL_INVALID, 0, 0);
    }
}

static void fill_amd(struct kvm_cpuid2 *cpuid, const X86Topology *topo)
{
    unsigned all = topo->threads * topo->cores * topo->dies;
    struct kvm_cpuid_entry2 *features = cpuid_find(cpuid, 0x80000001, 0);
    struct kvm_cpuid_entry2 *sizes = cpuid_find(cpuid, 0x80000008, 0);

    if (sizes) {
        sizes->ecx = (MIN(all, 0x100) - 1) | socket_shift(topo) << 12;
    }
    cpuid_remove(cpuid, 0x80000026, 0x80000026);
    if (!features) {
        return;
    }
    features->ecx =
        (features->ecx & ~CPUID_80000001_ECX_CMP) | (all > 1 ? CPUID_80000001_ECX_CMP : 0);
    if (!(features->ecx & CPUID_80000001_ECX_TOPOEXT)) {
        cpuid_remove(cpuid, 0x8000001d, 0x8000001e);
        return;
    }
    fill_caches(cpuid, topo, 0x8000001d);
    cpuid_get(cpuid, 0x8000001e, 0, false);
}

void topology_fill(struct kvm_cpuid2 *cpuid, const X86Topology *topo, bool amd)
{
    unsigned all = topo->threads * topo->cores * topo->dies;
    struct kvm_cpuid_entry2 *levels = cpuid_get(cpuid, 0, 0, false);
    struct kvm_cpuid_entry2 *features = cpuid_get(cpuid, 1, 0, false);
    unsigned ids = MIN(1u << socket_shift(topo), 0xff);

    levels->eax = MAX(levels->eax, topo->dies > 1 ? 0x1f : 0xb);
    features->edx = (features->edx & ~CPUID_1_EDX_HT) | (all > 1 ? CPUID_1_EDX_HT : 0);
    features->ebx = (features->ebx & 0xffff) | (all > 1 ? ids << 16 : 0);
    fill_levels(cpuid, topo);
    if (amd) {
        fill_amd(cpuid, topo);
    } else {
        fill_caches(cpuid, topo, 4);
    }
    topology_fill_vcpu(cpuid, topo, 0);
}

void topology_fill_vcpu(struct kvm_cpuid2 *cpuid, const X86Topology *topo, unsigned index)
{
    uint32_t apic_id = x86_apic_id(topo, index);
    Place p = place(topo, index);

    for (unsigned i = 0; i < cpuid->nent; i++) {
        struct kvm_cpuid_entry2 *e = &cpuid->entries[i];

        switch (e->function) {
        case 1:
            e->ebx = (e->ebx & 0xffffff) | apic_id << 24;
            break;
        case 0xb:
        case 0x1f:
            e->edx = apic_id;
            break;
        case 0x8000001e: /* core and its threads, node (die) and its processor's nodes */
            e->eax = apic_id;
            e->ebx = ((p.die * topo->cores + p.core) & 0xff) | (topo->threads - 1) << 8;
            e->ecx = ((p.socket * topo->dies + p.die) & 0xff) | (topo->dies - 1) << 8;
            break;
        }
    }
}
