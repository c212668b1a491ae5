/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * -cpu: from what KVM can show on this host to what the guest's CPUID says.  The array is made once
 * and holds everything; each vCPU takes a copy with its own APIC id filled in.
 *
 * The steps, in order: add to the host's array what KVM leaves to its user; the user's options;
 * what is off by default; the user's flags; what follows from missing flags; topology.
 * The guest's TSC frequency is told to it, never set.
 */
#include "kvm-int.h"

#include <asm/kvm_para.h>
#include <errno.h>
#include <string.h>

#include "util/error.h"
#include "util/keyval.h"

/* What else than flags `-cpu host,…` takes, by QEMU's names. */
typedef struct Options {
    bool migratable;     /* leave out what ties the guest to this host: the invariant TSC */
    bool kvm;            /* show the signature of KVM and what it offers */
    bool pmu;            /* performance counters */
    bool host_phys_bits; /* always so; taken when on */
    uint64_t phys_bits, host_phys_bits_limit; /* 0: the host's, none */
} Options;

struct X86CPUModel {
    struct kvm_cpuid2 *cpuid; /* of vCPU 0 */
    unsigned phys_bits;
    bool amd;
};

#define KVM_LEAVES_FIRST 0x40000000
#define KVM_LEAVES_LAST  0x400000ff
#define KVM_APIC_BUS_KHZ 1000000

/* ---- the host ---- */

#define OWN_LEAVES 16 /* at most, that are added to KVM's: see who calls cpuid_get() */

static struct kvm_cpuid2 *supported_cpuid(GError **errp)
{
    struct kvm_cpuid2 *cpuid;

    /* KVM says E2BIG, and not how many it has. */
    for (unsigned nent = 64; nent <= KVM_MAX_CPUID_ENTRIES; nent *= 2) {
        int ret;

        cpuid = cpuid_new();
        cpuid->nent = nent;
        ret = kvm_ioctl(KVM_GET_SUPPORTED_CPUID, cpuid);
        if (ret >= 0 && cpuid->nent <= KVM_MAX_CPUID_ENTRIES - OWN_LEAVES) {
            return cpuid;
        }
        g_free(cpuid);
        if (ret < 0 && ret != -E2BIG) {
            error_set_errno(errp, -ret, "/dev/kvm: KVM_GET_SUPPORTED_CPUID");
            return NULL;
        }
    }
    error_set(errp, "/dev/kvm: KVM has more than %d CPUID leaves",
              KVM_MAX_CPUID_ENTRIES - OWN_LEAVES);
    return NULL;
}

static bool vendor_is(struct kvm_cpuid2 *cpuid, const char *vendor)
{
    struct kvm_cpuid_entry2 *e = cpuid_find(cpuid, 0, 0);

    return e && !memcmp(&e->ebx, vendor, 4) && !memcmp(&e->edx, vendor + 4, 4) &&
           !memcmp(&e->ecx, vendor + 8, 4);
}

/* What KVM does for every guest but, depending on its age, does not list. */
static void complete_host(struct kvm_cpuid2 *host, bool tsc_deadline)
{
    struct kvm_cpuid_entry2 *features = cpuid_get(host, 1, 0, false);
    struct kvm_cpuid_entry2 *kvm = cpuid_find(host, KVM_CPUID_FEATURES, 0);

    features->ecx |= 1u << 31 /* hypervisor */ | 1u << 21 /* x2apic */;
    if (tsc_deadline) {
        features->ecx |= 1u << 24;
    }
    if (kvm) {
        kvm->eax |= 1u << KVM_FEATURE_MSI_EXT_DEST_ID; /* irq.c does it */
        kvm->edx |= 1u << KVM_HINTS_REALTIME;          /* a promise of the user's */
    }
}

/* ---- the user's wishes ---- */

static const struct {
    const char *name;
    bool is_number;
    size_t offset;
} options_table[] = {
    { "migratable", false, offsetof(Options, migratable) },
    { "kvm", false, offsetof(Options, kvm) },
    { "pmu", false, offsetof(Options, pmu) },
    { "host-phys-bits", false, offsetof(Options, host_phys_bits) },
    { "phys-bits", true, offsetof(Options, phys_bits) },
    { "host-phys-bits-limit", true, offsetof(Options, host_phys_bits_limit) },
};

/* One of the comma's parts: "+flag", "-flag", "flag" or "name=value". */
typedef struct Wish {
    const char *name, *value;
    bool granted;
} Wish;

static Wish wish_split(char *part)
{
    char *value;

    if (*part == '+' || *part == '-') {
        return (Wish) { part + 1, *part == '+' ? "on" : "off", false };
    }
    value = strchr(part, '=');
    if (value) {
        *value++ = '\0';
    }
    return (Wish) { part, value ?: "on", false };
}

/* False for a bad value only: a wish that is no option is left for who knows flags. */
static bool set_option(Options *options, Wish *wish, GError **errp)
{
    for (size_t i = 0; i < G_N_ELEMENTS(options_table); i++) {
        void *field = (char *)options + options_table[i].offset;

        if (strcmp(options_table[i].name, wish->name)) {
            continue;
        }
        wish->granted = true;
        if (!options_table[i].is_number) {
            return bool_parse(wish->name, wish->value, field, errp);
        }
        return g_ascii_string_to_unsigned(wish->value, 10, 0, 64, field, NULL) ||
               error_set(errp, "Parameter '%s' expects a number from 0 to 64", wish->name);
    }
    return true;
}

static bool set_flag(struct kvm_cpuid2 *guest, struct kvm_cpuid2 *host, Wish *wish, GError **errp)
{
    bool on;

    if (!feature_exists(wish->name)) {
        return error_set(errp, "Property 'host-x86_64-cpu.%s' not found", wish->name);
    }
    return bool_parse(wish->name, wish->value, &on, errp) &&
           feature_set(guest, host, wish->name, on, errp);
}

/* What there is without the user's flags. */
static void set_defaults(struct kvm_cpuid2 *guest, struct kvm_cpuid2 *host, const Options *options,
                         const X86Topology *topo)
{
    const struct {
        const char *flag;
        bool off;
    } defaults[] = {
        { "sgx", true }, /* enclaves need memory of their own kind */
        { "sgxlc", true },
        { "kvm-hint-dedicated", true }, /* a promise that only the user can give */
        { "invtsc", options->migratable },
        { "pdcm", !options->pmu },
        { "perfctr-core", !options->pmu },
        { "perfctr-nb", !options->pmu },
        /* Ids that fit a plain message need no extension, and the IOAPIC knows none. */
        { "kvm-msi-ext-dest-id", x86_apic_id(topo, topo->maxcpus - 1) < 255 },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(defaults); i++) {
        if (defaults[i].off) {
            feature_set(guest, host, defaults[i].flag, false, NULL); /* off cannot fail */
        }
    }
}

static bool apply_spec(X86CPUModel *model, char **parts, const X86Topology *topo,
                       struct kvm_cpuid2 *host, Options *options, GError **errp)
{
    unsigned n = g_strv_length(parts);
    g_autofree Wish *wishes = g_new(Wish, MAX(n, 1));

    for (unsigned i = 0; i < n; i++) {
        wishes[i] = wish_split(parts[i]);
        if (!set_option(options, &wishes[i], errp)) {
            return false;
        }
    }
    set_defaults(model->cpuid, host, options, topo);
    for (unsigned i = 0; i < n; i++) {
        if (!wishes[i].granted && !set_flag(model->cpuid, host, &wishes[i], errp)) {
            return false;
        }
    }
    return true;
}

/* ---- what follows ---- */

/*
 * XSAVE components, and the flag without which the guest must not see them.  Of the first two, and
 * of those that are not named here, KVM decides.
 */
static const struct {
    unsigned first, last;
    const char *flag;
} components[] = {
    { 2, 2, "avx" }, { 3, 4, "mpx" },     { 5, 7, "avx512f" },    { 8, 8, "intel-pt" },
    { 9, 9, "pku" }, { 11, 12, "shstk" }, { 15, 15, "arch-lbr" }, { 17, 18, "amx-tile" },
};

static void fix_xsave(struct kvm_cpuid2 *cpuid)
{
    struct kvm_cpuid_entry2 *user = cpuid_find(cpuid, 0xd, 0);
    struct kvm_cpuid_entry2 *supervisor = cpuid_find(cpuid, 0xd, 1);
    uint64_t gone = 0;

    if (!user) {
        return;
    }
    if (!feature_test(cpuid, "xsave")) {
        cpuid_remove(cpuid, 0xd, 0xd);
        return;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(components); i++) {
        bool ibt = components[i].first == 11 && feature_test(cpuid, "ibt");

        if (feature_test(cpuid, components[i].flag) || ibt) {
            continue;
        }
        for (unsigned c = components[i].first; c <= components[i].last; c++) {
            gone |= 1ULL << c;
        }
    }
    user->eax &= ~gone;
    user->edx &= ~(gone >> 32);
    /* The standard format's size: where the last component ends; 576 bytes hold the first two. */
    user->ecx = 576;
    for (unsigned c = 2; c < 63; c++) {
        struct kvm_cpuid_entry2 *e = gone >> c & 1 ? NULL : cpuid_find(cpuid, 0xd, c);

        if (e && (user->eax | (uint64_t)user->edx << 32) >> c & 1) {
            user->ecx = MAX(user->ecx, e->ebx + e->eax);
        }
    }
    if (supervisor) {
        supervisor->ecx &= ~gone;
        supervisor->edx &= ~(gone >> 32);
    }
    for (unsigned c = 2; c < 63; c++) {
        if (gone >> c & 1) {
            cpuid_remove_index(cpuid, 0xd, c); /* last: the entries move */
        }
    }
}

static void fix_leaves(struct kvm_cpuid2 *cpuid, const Options *options)
{
    if (!feature_test(cpuid, "sgx")) {
        cpuid_remove(cpuid, 0x12, 0x12);
    }
    /* The guest is not an encrypted one. */
    cpuid_remove(cpuid, 0x8000001f, 0x8000001f);
    if (!options->pmu) {
        cpuid_remove(cpuid, 0xa, 0xa);
        cpuid_remove(cpuid, 0x23, 0x23);
        cpuid_remove(cpuid, 0x80000022, 0x80000022);
    }
    if (!options->kvm) {
        cpuid_remove(cpuid, KVM_LEAVES_FIRST, KVM_LEAVES_LAST);
    }
    if (!feature_test(cpuid, "svm")) {
        cpuid_remove(cpuid, 0x8000000a, 0x8000000a);
    }
    if (!feature_test(cpuid, "intel-pt")) {
        cpuid_remove(cpuid, 0x14, 0x14);
    }
    if (!feature_test(cpuid, "amx-tile")) {
        cpuid_remove(cpuid, 0x1d, 0x1e);
    }
    if (!feature_test(cpuid, "avx10")) {
        cpuid_remove(cpuid, 0x24, 0x24);
    }
    fix_xsave(cpuid);
}

/* Spares the guest the measuring of both clocks. */
static void add_timing(struct kvm_cpuid2 *cpuid, unsigned tsc_khz)
{
    struct kvm_cpuid_entry2 *signature = cpuid_find(cpuid, KVM_CPUID_SIGNATURE, 0);
    struct kvm_cpuid_entry2 *timing;

    if (!signature || !tsc_khz) {
        return;
    }
    signature->eax = MAX(signature->eax, KVM_CPUID_TIMING);
    timing = cpuid_get(cpuid, KVM_CPUID_TIMING, 0, false);
    timing->eax = tsc_khz;
    timing->ebx = KVM_APIC_BUS_KHZ;
}

static bool fix_phys_bits(X86CPUModel *model, const Options *options, GError **errp)
{
    struct kvm_cpuid_entry2 *sizes = cpuid_find(model->cpuid, 0x80000008, 0);
    unsigned host = sizes ? sizes->eax & 0xff : 36;
    unsigned bits = host;

    if (options->host_phys_bits_limit) {
        bits = MIN(bits, options->host_phys_bits_limit);
    }
    if (options->phys_bits) {
        bits = options->phys_bits;
    }
    if (bits < 32 || bits > host) {
        return error_set(errp, "phys-bits should be between 32 and %u (but is %u)", host, bits);
    }
    if (!options->host_phys_bits && !options->phys_bits) {
        return error_set(errp, "host-phys-bits=off needs phys-bits");
    }
    if (sizes) {
        /* EAX[23:16]: how far addresses can be mapped, where that is less. */
        unsigned mappable = sizes->eax >> 16 & 0xff;

        sizes->eax = (sizes->eax & 0xff00) | bits | MIN(mappable, bits) << 16;
    }
    model->phys_bits = bits;
    return true;
}

/* ---- the model ---- */

void x86_cpu_model_free(X86CPUModel *model)
{
    g_free(model->cpuid);
    g_free(model);
}

X86CPUModel *x86_cpu_model_build(const char *spec, const X86Topology *topo, struct kvm_cpuid2 *host,
                                 unsigned tsc_khz, GError **errp)
{
    g_autoptr(X86CPUModel) model = g_new0(X86CPUModel, 1);
    g_auto(GStrv) parts = g_strsplit(spec, ",", -1);
    Options options = { .migratable = true, .kvm = true, .pmu = true, .host_phys_bits = true };

    if (!parts[0] || (strcmp(parts[0], "host") && strcmp(parts[0], "max"))) {
        error_set(errp, "unable to find CPU model '%s' (there are 'host' and 'max')",
                  parts[0] ?: "");
        return NULL;
    }
    model->amd = vendor_is(host, "AuthenticAMD") || vendor_is(host, "HygonGenuine");
    model->cpuid = cpuid_new();
    memcpy(model->cpuid, host, sizeof(*host) + host->nent * sizeof(host->entries[0]));
    if (!apply_spec(model, parts + 1, topo, host, &options, errp) ||
        !fix_phys_bits(model, &options, errp)) {
        return NULL;
    }
    fix_leaves(model->cpuid, &options);
    add_timing(model->cpuid, tsc_khz);
    topology_fill(model->cpuid, topo, model->amd);
    return g_steal_pointer(&model);
}

X86CPUModel *x86_cpu_model_new(const char *spec, const X86Topology *topo, GError **errp)
{
    g_autofree struct kvm_cpuid2 *host = supported_cpuid(errp);
    int tsc_khz;

    if (!host) {
        return NULL;
    }
    complete_host(host, kvm_check_extension(KVM_CAP_TSC_DEADLINE_TIMER));
    /* Kernels before 5.18 tell the frequency for a vCPU only. */
    tsc_khz = kvm_vm_ioctl(KVM_GET_TSC_KHZ, NULL);
    return x86_cpu_model_build(spec, topo, host, MAX(tsc_khz, 0), errp);
}

struct kvm_cpuid2 *x86_cpu_model_cpuid(const X86CPUModel *model, const X86Topology *topo,
                                       unsigned index)
{
    const struct kvm_cpuid2 *all = model->cpuid;
    struct kvm_cpuid2 *cpuid = g_memdup2(all, sizeof(*all) + all->nent * sizeof(all->entries[0]));

    topology_fill_vcpu(cpuid, topo, index);
    return cpuid;
}

unsigned x86_cpu_phys_bits(const X86CPUModel *model)
{
    return model->phys_bits;
}

bool x86_cpu_is_amd(const X86CPUModel *model)
{
    return model->amd;
}
