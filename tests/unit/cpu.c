/* SPDX-License-Identifier: GPL-2.0-or-later */
/* -cpu and -smp: APIC ids, flags, and what they make of a host's CPUID.  Needs no KVM. */
#include "../../accel/kvm/kvm-int.h"

#include <string.h>

#include "core/irq.h"

#define HT      (1u << 28)
#define AVX     (1u << 28)
#define XSAVE   (1u << 26)
#define AVX512F (1u << 16)
#define TOPOEXT (1u << 22)

static const X86Topology one = { 1, 1, 1, 1, 1, 1 };

static void add(struct kvm_cpuid2 *c, uint32_t leaf, int index, uint32_t eax, uint32_t ebx,
                uint32_t ecx, uint32_t edx)
{
    struct kvm_cpuid_entry2 *e = cpuid_get(c, leaf, MAX(index, 0), index >= 0);

    e->eax = eax;
    e->ebx = ebx;
    e->ecx = ecx;
    e->edx = edx;
}

static void add_vendor(struct kvm_cpuid2 *c, const char *vendor)
{
    struct kvm_cpuid_entry2 *e = cpuid_get(c, 0, 0, false);

    memcpy(&e->ebx, vendor, 4);
    memcpy(&e->edx, vendor + 4, 4);
    memcpy(&e->ecx, vendor + 8, 4);
}

/* A host with AVX and AVX-512, no VMX, 46 address bits; its own topology is all ones. */
static struct kvm_cpuid2 *host_new(const char *vendor)
{
    struct kvm_cpuid2 *c = cpuid_new();

    add(c, 0, -1, 0x1f, 0, 0, 0);
    add_vendor(c, vendor);
    add(c, 1, -1, 0x806f8, 0xffff0800, AVX | XSAVE | 1u << 21 | 1u << 12, 0x0f8bfbff & ~HT);
    add(c, 4, 0, 0xfc00c121, 0x1c0003f, 0x3f, 0);
    add(c, 4, 1, 0xfc3fc163, 0x1c0003f, 0x3f, 0);
    add(c, 4, 2, 0, 0, 0, 0);
    add(c, 7, 0, 1, AVX512F | 1u << 5, 0, 0);
    add(c, 7, 1, 0, 0, 0, 0);
    add(c, 0xb, 0, 0, 0, 0, 0);
    add(c, 0xd, 0, 0xe7, 0xa88, 0xa88, 0);
    add(c, 0xd, 1, 0xf, 0, 0, 0);
    add(c, 0xd, 2, 0x100, 0x240, 0, 0);
    add(c, 0xd, 5, 0x40, 0x440, 0, 0);
    add(c, 0xd, 6, 0x200, 0x480, 0, 0);
    add(c, 0xd, 7, 0x400, 0x680, 0, 0);
    add(c, 0x40000000, -1, 0x40000001, 0x4b4d564b, 0x564b4d56, 0x4d);
    add(c, 0x40000001, -1, 0x0100fefb | 1u << 15, 0, 0, 1);
    add(c, 0x80000000, -1, 0x80000021, 0, 0, 0);
    add(c, 0x80000001, -1, 0, 0, 0x21 | TOPOEXT, 0x2c100800);
    add(c, 0x80000007, -1, 0, 0, 0, 1u << 8);
    add(c, 0x80000008, -1, 0x302e, 0, 0xf0ff, 0);
    add(c, 0x8000001d, 0, 0x3fffc121, 0x1c0003f, 0x3f, 0);
    add(c, 0x8000001f, -1, 0x3, 0, 0, 0);
    return c;
}

static X86CPUModel *model_new(const char *vendor, const char *spec, const X86Topology *topo,
                              GError **errp)
{
    g_autofree struct kvm_cpuid2 *host = host_new(vendor);

    return x86_cpu_model_build(spec, topo, host, 2600000, errp);
}

static struct kvm_cpuid2 *cpuid_of(const char *vendor, const char *spec, const X86Topology *topo,
                                   unsigned index)
{
    g_autoptr(GError) err = NULL;
    g_autoptr(X86CPUModel) model = model_new(vendor, spec, topo, &err);

    g_assert_no_error(err);
    return x86_cpu_model_cpuid(model, topo, index);
}

static void refused(const char *spec, const char *message)
{
    g_autoptr(GError) err = NULL;

    g_assert_null(model_new("GenuineIntel", spec, &one, &err));
    g_assert_nonnull(err);
    g_assert_cmpstr(err->message, ==, message);
}

static void test_apic_ids(void)
{
    const X86Topology uneven = { 24, 24, 2, 2, 3, 2 }; /* thread 1 bit, core 2, die 1 */
    const X86Topology many = { 300, 300, 1, 1, 300, 1 };

    g_assert_cmpuint(x86_apic_id(&one, 0), ==, 0);
    g_assert_cmpuint(x86_apic_id(&uneven, 1), ==, 1);
    g_assert_cmpuint(x86_apic_id(&uneven, 5), ==, 5);
    g_assert_cmpuint(x86_apic_id(&uneven, 6), ==, 8);
    g_assert_cmpuint(x86_apic_id(&uneven, 12), ==, 16);
    g_assert_cmpuint(x86_apic_id(&uneven, 23), ==, 29);
    g_assert_cmpuint(x86_apic_id(&many, 299), ==, 299);
}

static void test_flags(void)
{
    static const char *const without[] = { "host,-avx512f", "host,avx512f=off",
                                           "max,+avx512f,avx512f=no" };

    for (size_t i = 0; i < G_N_ELEMENTS(without); i++) {
        g_autofree struct kvm_cpuid2 *c = cpuid_of("GenuineIntel", without[i], &one, 0);

        g_assert_false(feature_test(c, "avx512f"));
        g_assert_true(feature_test(c, "avx2"));
        /* Its XSAVE components go with it, and the area ends where AVX's does. */
        g_assert_cmphex(cpuid_find(c, 0xd, 0)->eax, ==, 0x7);
        g_assert_cmphex(cpuid_find(c, 0xd, 0)->ecx, ==, 0x340);
        g_assert_null(cpuid_find(c, 0xd, 5));
        g_assert_nonnull(cpuid_find(c, 0xd, 2));
    }
    refused("host,+vmx", "host doesn't support requested feature: CPUID[eax=01h].ECX.vmx [bit 5]");
    refused("host,avx512_vpopcntdq=on", "host doesn't support requested feature: "
                                        "CPUID[eax=07h,ecx=00h].ECX.avx512-vpopcntdq [bit 14]");
    refused("host,+nosuch", "Property 'host-x86_64-cpu.nosuch' not found");
    refused("host,avx2=maybe", "Parameter 'avx2' expects 'on' or 'off'");
    refused("Skylake-Server",
            "unable to find CPU model 'Skylake-Server' (there are 'host' and 'max')");
}

static void test_names(void)
{
    g_assert_true(feature_exists("sse4_1"));
    g_assert_true(feature_exists("sse4-1"));
    g_assert_true(feature_exists("tsc_adjust"));
    g_assert_true(feature_exists("sse3"));
    g_assert_true(feature_exists("kvm_pv_eoi"));
    g_assert_false(feature_exists("sse4"));
    g_assert_false(feature_exists(""));
    {
        /* Two bits of one name. */
        g_autofree struct kvm_cpuid2 *c = cpuid_of("GenuineIntel", "host,-kvmclock", &one, 0);

        g_assert_cmphex(cpuid_find(c, 0x40000001, 0)->eax & 0x9, ==, 0);
    }
}

static void test_options(void)
{
    g_autofree struct kvm_cpuid2 *plain = cpuid_of("GenuineIntel", "host", &one, 0);
    g_autofree struct kvm_cpuid2 *hidden = cpuid_of("GenuineIntel", "host,kvm=off", &one, 0);
    g_autofree struct kvm_cpuid2 *stuck = cpuid_of("GenuineIntel", "host,migratable=off", &one, 0);
    g_autofree struct kvm_cpuid2 *asked = cpuid_of("GenuineIntel", "host,+invtsc", &one, 0);
    g_autofree struct kvm_cpuid2 *narrow = cpuid_of("GenuineIntel", "host,phys-bits=40", &one, 0);

    g_assert_cmphex(cpuid_find(plain, 0x40000010, 0)->eax, ==, 2600000);
    g_assert_cmphex(cpuid_find(plain, 0x40000000, 0)->eax, ==, 0x40000010);
    g_assert_null(cpuid_find(plain, 0x8000001f, 0));
    g_assert_false(feature_test(plain, "kvm-hint-dedicated"));
    g_assert_false(feature_test(plain, "kvm-msi-ext-dest-id"));
    g_assert_null(cpuid_find(hidden, 0x40000000, 0));
    g_assert_null(cpuid_find(hidden, 0x40000010, 0));
    g_assert_false(feature_test(plain, "invtsc"));
    g_assert_true(feature_test(stuck, "invtsc"));
    g_assert_true(feature_test(asked, "invtsc"));
    g_assert_cmphex(cpuid_find(narrow, 0x80000008, 0)->eax, ==, 0x3028);
    refused("host,phys-bits=47", "phys-bits should be between 32 and 46 (but is 47)");
    refused("host,phys-bits=x", "Parameter 'phys-bits' expects a number from 0 to 64");
}

static void test_topology_intel(void)
{
    const X86Topology topo = { 24, 24, 2, 2, 3, 2 };
    g_autofree struct kvm_cpuid2 *c = cpuid_of("GenuineIntel", "host", &topo, 23);
    g_autofree struct kvm_cpuid2 *single = cpuid_of("GenuineIntel", "host", &one, 0);

    g_assert_cmphex(cpuid_find(c, 1, 0)->ebx, ==, 29u << 24 | 16 << 16 | 0x0800);
    g_assert_true(cpuid_find(c, 1, 0)->edx & HT);
    /* First level: a core's two threads; third: a die's eight ids; eight core ids a socket. */
    g_assert_cmphex(cpuid_find(c, 4, 0)->eax, ==, 7u << 26 | 1 << 14 | 0x121);
    g_assert_cmphex(cpuid_find(c, 4, 1)->eax, ==, 7u << 26 | 7 << 14 | 0x163);
    g_assert_cmphex(cpuid_find(c, 4, 2)->eax, ==, 0);
    g_assert_cmphex(cpuid_find(c, 0xb, 0)->eax, ==, 1);
    g_assert_cmphex(cpuid_find(c, 0xb, 0)->ebx, ==, 2);
    g_assert_cmphex(cpuid_find(c, 0xb, 0)->ecx, ==, 0x100);
    g_assert_cmphex(cpuid_find(c, 0xb, 1)->eax, ==, 4);
    g_assert_cmphex(cpuid_find(c, 0xb, 1)->ebx, ==, 12);
    g_assert_cmphex(cpuid_find(c, 0xb, 1)->ecx, ==, 0x201);
    g_assert_cmphex(cpuid_find(c, 0xb, 2)->ecx, ==, 2);
    g_assert_cmphex(cpuid_find(c, 0x1f, 1)->eax, ==, 3);
    g_assert_cmphex(cpuid_find(c, 0x1f, 2)->ecx, ==, 0x502);
    for (unsigned i = 0; i < 3; i++) {
        g_assert_cmphex(cpuid_find(c, 0xb, i)->edx, ==, 29);
        g_assert_cmphex(cpuid_find(c, 0x1f, i)->edx, ==, 29);
    }
    g_assert_cmphex(cpuid_find(single, 1, 0)->ebx, ==, 0x0800);
    g_assert_false(cpuid_find(single, 1, 0)->edx & HT);
    g_assert_cmphex(cpuid_find(single, 4, 1)->eax, ==, 0x163);
    g_assert_null(cpuid_find(single, 0x1f, 0));
}

static void test_topology_amd(void)
{
    const X86Topology topo = { 24, 24, 2, 2, 3, 2 };
    g_autoptr(X86CPUModel) model = model_new("AuthenticAMD", "host", &topo, NULL);
    g_autofree struct kvm_cpuid2 *c = cpuid_of("AuthenticAMD", "host", &topo, 23);
    g_autofree struct kvm_cpuid2 *bare = cpuid_of("AuthenticAMD", "host,-topoext", &topo, 0);

    g_assert_true(x86_cpu_is_amd(model));
    g_assert_cmpuint(x86_cpu_phys_bits(model), ==, 46);
    g_assert_cmphex(cpuid_find(c, 0x80000008, 0)->ecx, ==, 4 << 12 | 11);
    g_assert_true(feature_test(c, "cmp-legacy"));
    g_assert_cmphex(cpuid_find(c, 0x8000001d, 0)->eax, ==, 1 << 14 | 0x121);
    g_assert_cmphex(cpuid_find(c, 0x8000001e, 0)->eax, ==, 29);
    g_assert_cmphex(cpuid_find(c, 0x8000001e, 0)->ebx, ==, 1 << 8 | 5);
    g_assert_cmphex(cpuid_find(c, 0x8000001e, 0)->ecx, ==, 1 << 8 | 3);
    g_assert_null(cpuid_find(bare, 0x8000001e, 0));
}

/* Ids that need more than eight bits. */
static void test_many(void)
{
    const X86Topology topo = { 300, 300, 1, 1, 300, 1 };
    g_autofree struct kvm_cpuid2 *c = cpuid_of("GenuineIntel", "host", &topo, 299);

    g_assert_true(feature_test(c, "kvm-msi-ext-dest-id"));
    g_assert_cmphex(cpuid_find(c, 0xb, 0)->edx, ==, 299);
    g_assert_cmphex(cpuid_find(c, 1, 0)->ebx >> 24, ==, 299 & 0xff);
    g_assert_cmphex(cpuid_find(c, 1, 0)->ebx >> 16 & 0xff, ==, 0xff);
    g_assert_cmphex(cpuid_find(c, 4, 0)->eax >> 26, ==, 63);
}

/* Fewer routes than the board has pins are no routes for devices; the difference must not wrap. */
static void test_few_routes(void)
{
    g_autoptr(GError) err = NULL;

    g_assert_false(kvm_irq_init(39, &err));
    g_assert_cmpstr(err->message, ==, "KVM takes 39 interrupt routes, the board alone has 40");
    g_clear_error(&err);
    g_assert_true(kvm_irq_init(40, &err));
    g_assert_cmpint(irq_route_add((MSIMessage) { 0xfee00000, 0x40 }, &err), ==, -1);
    g_assert_cmpstr(err->message, ==, "KVM has no interrupt route left (of 0)");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/cpu/apic-ids", test_apic_ids);
    g_test_add_func("/cpu/flags", test_flags);
    g_test_add_func("/cpu/names", test_names);
    g_test_add_func("/cpu/options", test_options);
    g_test_add_func("/cpu/topology-intel", test_topology_intel);
    g_test_add_func("/cpu/topology-amd", test_topology_amd);
    g_test_add_func("/cpu/many", test_many);
    g_test_add_func("/kvm/few-routes", test_few_routes);
    return g_test_run();
}
