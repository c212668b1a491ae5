/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The flags of -cpu: QEMU's names for the bits of the CPUID feature words.  Sources: Intel SDM 2A
 * CPUID, AMD APM 3 appendix E, Linux Documentation/virt/kvm/x86/cpuid.rst.  Pure functions.
 */
#include "kvm-int.h"

#include <string.h>

#include "util/error.h"

typedef struct FeatureWord {
    uint32_t leaf, index;
    bool indexed;
    X86Register reg;
    const char *names[32]; /* bits without a name cannot be changed */
} FeatureWord;

/* clang-format off */
static const FeatureWord words[] = {
    { .leaf = 1, .reg = R_EDX, .names = {
        [0] = "fpu", [1] = "vme", [2] = "de", [3] = "pse", [4] = "tsc", [5] = "msr", [6] = "pae",
        [7] = "mce", [8] = "cx8", [9] = "apic", [11] = "sep", [12] = "mtrr", [13] = "pge",
        [14] = "mca", [15] = "cmov", [16] = "pat", [17] = "pse36", [18] = "pn", [19] = "clflush",
        [21] = "ds", [22] = "acpi", [23] = "mmx", [24] = "fxsr", [25] = "sse", [26] = "sse2",
        [27] = "ss", [28] = "ht", [29] = "tm", [30] = "ia64", [31] = "pbe",
    } },
    { .leaf = 1, .reg = R_ECX, .names = {
        [0] = "pni", [1] = "pclmulqdq", [2] = "dtes64", [3] = "monitor", [4] = "ds-cpl",
        [5] = "vmx", [6] = "smx", [7] = "est", [8] = "tm2", [9] = "ssse3", [10] = "cid",
        [12] = "fma", [13] = "cx16", [14] = "xtpr", [15] = "pdcm", [17] = "pcid", [18] = "dca",
        [19] = "sse4.1", [20] = "sse4.2", [21] = "x2apic", [22] = "movbe", [23] = "popcnt",
        [24] = "tsc-deadline", [25] = "aes", [26] = "xsave", [28] = "avx", [29] = "f16c",
        [30] = "rdrand", [31] = "hypervisor",
    } },
    { .leaf = 6, .reg = R_EAX, .names = { [2] = "arat" } },
    { .leaf = 7, .index = 0, .indexed = true, .reg = R_EBX, .names = {
        [0] = "fsgsbase", [1] = "tsc-adjust", [2] = "sgx", [3] = "bmi1", [4] = "hle", [5] = "avx2",
        [6] = "fdp-excptn-only", [7] = "smep", [8] = "bmi2", [9] = "erms", [10] = "invpcid",
        [11] = "rtm", [13] = "zero-fcs-fds", [14] = "mpx", [16] = "avx512f", [17] = "avx512dq",
        [18] = "rdseed", [19] = "adx", [20] = "smap", [21] = "avx512ifma", [22] = "pcommit",
        [23] = "clflushopt", [24] = "clwb", [25] = "intel-pt", [26] = "avx512pf",
        [27] = "avx512er", [28] = "avx512cd", [29] = "sha-ni", [30] = "avx512bw",
        [31] = "avx512vl",
    } },
    { .leaf = 7, .index = 0, .indexed = true, .reg = R_ECX, .names = {
        [1] = "avx512vbmi", [2] = "umip", [3] = "pku", [5] = "waitpkg", [6] = "avx512vbmi2",
        [7] = "shstk", [8] = "gfni", [9] = "vaes", [10] = "vpclmulqdq", [11] = "avx512vnni",
        [12] = "avx512bitalg", [14] = "avx512-vpopcntdq", [16] = "la57", [22] = "rdpid",
        [24] = "bus-lock-detect", [25] = "cldemote", [27] = "movdiri", [28] = "movdir64b",
        [30] = "sgxlc", [31] = "pks",
    } },
    { .leaf = 7, .index = 0, .indexed = true, .reg = R_EDX, .names = {
        [2] = "avx512-4vnniw", [3] = "avx512-4fmaps", [4] = "fsrm", [8] = "avx512-vp2intersect",
        [10] = "md-clear", [14] = "serialize", [16] = "tsx-ldtrk", [19] = "arch-lbr", [20] = "ibt",
        [22] = "amx-bf16", [23] = "avx512-fp16", [24] = "amx-tile", [25] = "amx-int8",
        [26] = "spec-ctrl", [27] = "stibp", [28] = "flush-l1d", [29] = "arch-capabilities",
        [30] = "core-capability", [31] = "ssbd",
    } },
    { .leaf = 7, .index = 1, .indexed = true, .reg = R_EAX, .names = {
        [0] = "sha512", [1] = "sm3", [2] = "sm4", [4] = "avx-vnni", [5] = "avx512-bf16",
        [6] = "lass", [7] = "cmpccxadd", [10] = "fzrm", [11] = "fsrs", [12] = "fsrc",
        [17] = "fred", [18] = "lkgs", [19] = "wrmsrns", [21] = "amx-fp16", [23] = "avx-ifma",
        [26] = "lam",
    } },
    { .leaf = 7, .index = 1, .indexed = true, .reg = R_EDX, .names = {
        [4] = "avx-vnni-int8", [5] = "avx-ne-convert", [8] = "amx-complex",
        [10] = "avx-vnni-int16", [14] = "prefetchiti", [19] = "avx10",
    } },
    { .leaf = 7, .index = 2, .indexed = true, .reg = R_EDX, .names = {
        [0] = "intel-psfd", [1] = "ipred-ctrl", [2] = "rrsba-ctrl", [3] = "ddpd-u",
        [4] = "bhi-ctrl", [5] = "mcdt-no",
    } },
    { .leaf = 0xd, .index = 1, .indexed = true, .reg = R_EAX, .names = {
        [0] = "xsaveopt", [1] = "xsavec", [2] = "xgetbv1", [3] = "xsaves", [4] = "xfd",
    } },
    { .leaf = 0x40000001, .reg = R_EAX, .names = {
        [0] = "kvmclock", [1] = "kvm-nopiodelay", [2] = "kvm-mmu", [3] = "kvmclock",
        [4] = "kvm-asyncpf", [5] = "kvm-steal-time", [6] = "kvm-pv-eoi", [7] = "kvm-pv-unhalt",
        [9] = "kvm-pv-tlb-flush", [10] = "kvm-asyncpf-vmexit", [11] = "kvm-pv-ipi",
        [12] = "kvm-poll-control", [13] = "kvm-pv-sched-yield", [14] = "kvm-asyncpf-int",
        [15] = "kvm-msi-ext-dest-id", [24] = "kvmclock-stable-bit",
    } },
    { .leaf = 0x40000001, .reg = R_EDX, .names = { [0] = "kvm-hint-dedicated" } },
    { .leaf = 0x80000001, .reg = R_EDX, .names = {
        [11] = "syscall", [20] = "nx", [22] = "mmxext", [25] = "fxsr-opt", [26] = "pdpe1gb",
        [27] = "rdtscp", [29] = "lm", [30] = "3dnowext", [31] = "3dnow",
    } },
    { .leaf = 0x80000001, .reg = R_ECX, .names = {
        [0] = "lahf-lm", [1] = "cmp-legacy", [2] = "svm", [3] = "extapic", [4] = "cr8legacy",
        [5] = "abm", [6] = "sse4a", [7] = "misalignsse", [8] = "3dnowprefetch", [9] = "osvw",
        [10] = "ibs", [11] = "xop", [12] = "skinit", [13] = "wdt", [15] = "lwp", [16] = "fma4",
        [17] = "tce", [19] = "nodeid-msr", [21] = "tbm", [22] = "topoext", [23] = "perfctr-core",
        [24] = "perfctr-nb",
    } },
    { .leaf = 0x80000007, .reg = R_EBX, .names = { [0] = "overflow-recov", [1] = "succor" } },
    { .leaf = 0x80000007, .reg = R_EDX, .names = { [8] = "invtsc" } },
    { .leaf = 0x80000008, .reg = R_EBX, .names = {
        [0] = "clzero", [2] = "xsaveerptr", [9] = "wbnoinvd", [12] = "ibpb", [14] = "ibrs",
        [15] = "amd-stibp", [17] = "stibp-always-on", [24] = "amd-ssbd", [25] = "virt-ssbd",
        [26] = "amd-no-ssb", [28] = "amd-psfd",
    } },
    { .leaf = 0x8000000a, .reg = R_EDX, .names = {
        [0] = "npt", [1] = "lbrv", [2] = "svm-lock", [3] = "nrip-save", [4] = "tsc-scale",
        [5] = "vmcb-clean", [6] = "flushbyasid", [7] = "decodeassists", [10] = "pause-filter",
        [12] = "pfthreshold", [13] = "avic", [15] = "v-vmsave-vmload", [16] = "vgif",
        [25] = "vnmi", [28] = "svme-addr-chk",
    } },
    { .leaf = 0x80000021, .reg = R_EAX, .names = {
        [0] = "no-nested-data-bp", [1] = "fs-gs-base-ns", [2] = "lfence-always-serializing",
        [6] = "null-sel-clr-base", [8] = "auto-ibrs", [20] = "prefetchi", [27] = "sbpb",
        [28] = "ibpb-brtype", [29] = "srso-no", [30] = "srso-user-kernel-no",
    } },
};
/* clang-format on */

/* Second names that QEMU takes. */
static const struct {
    const char *name, *of;
} aliases[] = {
    { "sse3", "pni" }, { "pclmuldq", "pclmulqdq" }, { "xd", "nx" }, { "ffxsr", "fxsr-opt" },
    { "i64", "lm" },
};

/* Equal, where '-', '_' and '.' are one: "tsc_adjust", "sse4-1". */
static bool same_name(const char *a, const char *b)
{
    for (; *a && *b; a++, b++) {
        bool separators = strchr("-_.", *a) && strchr("-_.", *b);

        if (*a != *b && !separators) {
            return false;
        }
    }
    return *a == *b;
}

static const char *without_alias(const char *name)
{
    for (size_t i = 0; i < G_N_ELEMENTS(aliases); i++) {
        if (same_name(name, aliases[i].name)) {
            return aliases[i].of;
        }
    }
    return name;
}

/* The next bit of that name after *@word, *@bit (start: 0, -1); a name may have several. */
static bool next_bit(const char *name, size_t *word, int *bit)
{
    for (; *word < G_N_ELEMENTS(words); (*word)++, *bit = -1) {
        while (++*bit < 32) {
            const char *candidate = words[*word].names[*bit];

            if (candidate && same_name(name, candidate)) {
                return true;
            }
        }
    }
    return false;
}

static uint32_t *word_in(struct kvm_cpuid2 *cpuid, const FeatureWord *word)
{
    struct kvm_cpuid_entry2 *e = cpuid_find(cpuid, word->leaf, word->index);

    return e ? cpuid_register(e, word->reg) : NULL;
}

bool feature_exists(const char *name)
{
    size_t word = 0;
    int bit = -1;

    return next_bit(without_alias(name), &word, &bit);
}

bool feature_test(struct kvm_cpuid2 *cpuid, const char *name)
{
    size_t word = 0;
    int bit = -1;
    uint32_t *value;

    if (!next_bit(without_alias(name), &word, &bit)) {
        return false;
    }
    value = word_in(cpuid, &words[word]);
    return value && *value & 1u << bit;
}

static bool refuse(const FeatureWord *word, int bit, GError **errp)
{
    static const char *const registers[] = { "EAX", "EBX", "ECX", "EDX" };
    g_autofree char *index =
        word->indexed ? g_strdup_printf(",ecx=%02Xh", word->index) : g_strdup("");

    return error_set(errp,
                     "host doesn't support requested feature: CPUID[eax=%02Xh%s].%s.%s [bit %d]",
                     word->leaf, index, registers[word->reg], word->names[bit], bit);
}

bool feature_set(struct kvm_cpuid2 *guest, struct kvm_cpuid2 *host, const char *name, bool on,
                 GError **errp)
{
    const char *wanted = without_alias(name);
    size_t i = 0;
    int bit = -1;

    while (next_bit(wanted, &i, &bit)) {
        const FeatureWord *word = &words[i];
        uint32_t *offered = word_in(host, word), *value = word_in(guest, word);

        if (on && !(offered && *offered & 1u << bit)) {
            return refuse(word, bit, errp);
        }
        if (value) {
            *value = (*value & ~(1u << bit)) | (uint32_t)on << bit;
        }
    }
    return true;
}
