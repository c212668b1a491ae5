/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vfio-pci and iommufd on the simulated kernel: order, unwinding, memory, hostile answers. */
#include <errno.h>
#include <glib/gstdio.h>
#include <inttypes.h>
#include <string.h>

#include "backends/hostmem.h"
#include "hw/vfio/vfio.h"
#include "tests/unit/vfio-fixture.h"
#include "util/error.h"
#include "util/keyval.h"
#include "util/linux-iommufd.h"

/* ---- order and unwinding ---- */

static void test_order(void)
{
    static const char up[] = "open /dev/vfio/devices/vfio7\n"
                             "open /dev/iommu\n"
                             "KVM add\n"
                             "IOMMU_IOAS_ALLOC = 1\n"
                             "BIND\n"
                             "IOMMU_GET_HW_INFO 2\n"
                             "IOMMU_HWPT_ALLOC 2 1 flags 0 = 3\n"
                             "ATTACH 3\n"
                             "IOMMU_IOAS_IOVA_RANGES 1\n"
                             "IOMMU_IOAS_IOVA_RANGES 1\n"
                             "IOMMU_IOAS_MAP_FILE 1 0x0+0xa0000 from 0x0\n"
                             "IOMMU_IOAS_MAP_FILE 1 0x100000+0x100000 from 0x100000\n"
                             "IOMMU_IOAS_MAP 1 0x200000+0x100000\n"
                             "GET_INFO\n"
                             "mmap BAR 0x0+0x2000\n"
                             "DMA_BUF 0 0x0+0x2000\n"
                             "IOMMU_GET_HW_INFO 2\n"
                             "SET_IRQS 0 trigger 0+1 e\n"
                             "SET_IRQS 0 unmask 0+1 e\n";
    static const char down[] = "SET_IRQS 0 trigger 0+0 \n"
                               "close dma-buf\n"
                               "DETACH\n"
                               "IOMMU_DESTROY 3\n"
                               "IOMMU_IOAS_UNMAP 1 0x200000+0x100000\n"
                               "IOMMU_IOAS_UNMAP 1 0x100000+0x100000\n"
                               "IOMMU_IOAS_UNMAP 1 0x0+0xa0000\n"
                               "IOMMU_DESTROY 1\n"
                               "KVM del\n"
                               "close iommu\n"
                               "close device\n";
    g_autofree char *log = NULL;
    g_autoptr(GError) err = NULL;
    PCIDevice *dev;

    setup();
    dev = plug("", &err);
    g_assert_no_error(err);
    log = sim_take_log();
    g_assert_cmpstr(log, ==, up);
    g_assert_cmpint(bound_to(GSI)->resample, ==, sim->unmask);

    device_destroy(DEVICE(dev));
    g_free(log);
    log = sim_take_log();
    g_assert_cmpstr(log, ==, down);
    teardown(NULL);
}

/* What is no file of memory alone is mapped by its address. */
static void test_not_by_file(void)
{
    g_autoptr(JsonObject) opts = keyval_parse(
        "memory-backend-file,id=z,size=1M,share=on,mem-path=/dev/zero", "qom-type", NULL, NULL);
    g_autofree char *log = NULL;
    g_autoptr(GError) err = NULL;
    MemoryRegion region;
    PCIDevice *dev;

    setup();
    g_assert_true(user_object_add(opts, &err));
    memory_region_init_ram(&region, NULL, "z", &HOST_MEMORY_BACKEND(object_resolve("z"))->block, 0,
                           MiB);
    memory_region_add_child(address_space_memory.root, 3 * MiB, &region, 0);
    dev = plug("", &err);
    g_assert_no_error(err);
    log = sim_take_log();
    g_assert_nonnull(strstr(log, "IOMMU_IOAS_MAP_FILE 1 0x100000+0x100000 "));
    g_assert_nonnull(strstr(log, "IOMMU_IOAS_MAP 1 0x300000+0x100000\n"));
    device_destroy(DEVICE(dev));
    memory_region_del_child(address_space_memory.root, &region);
    memory_region_fini(&region);
    g_assert_true(user_object_del("z", &err));
    teardown(NULL);
}

/* Without peer-to-peer DMA, without knowing of ATS, and where it is not to be migrated, the guest
 * lives. */
static void test_each_call_fails(void)
{
    unsigned nth = 1, did_without = 0;

    for (;; nth++) {
        g_autoptr(GError) err = NULL;
        PCIDevice *dev;

        setup();
        sim_fail(nth);
        dev = plug("", &err);
        if (dev && !sim_failed()) {
            sim_fail(0);
            teardown(dev);
            break;
        }
        if (dev) {
            did_without++;
            teardown(dev);
            continue;
        }
        g_assert_true(sim_failed());
        g_test_message("%u: %s", nth, err->message);
        g_assert_nonnull(strstr(err->message, g_strerror(EIO)));
        g_assert_null(object_resolve("d0"));
        teardown(NULL);
    }
    g_assert_cmpuint(nth, >, 25);
    g_assert_cmpuint(did_without, ==, 3);
}

/* ---- a kernel, or what a descriptor from outside leads to, that says what cannot be ---- */

static const struct Lie {
    bool of_ranges; /* how many there are; else how IOVAs are aligned */
    uint64_t value;
    const char *why;
} lies[] = {
    { true, 0, "the kernel says that it has 0 ranges of IOVAs" },
    { true, 65537, "the kernel says that it has 65537 ranges of IOVAs" },
    { true, UINT32_MAX, "the kernel says that it has 4294967295 ranges of IOVAs" },
    { false, 0, "the kernel says that IOVAs are aligned to 0x0 bytes" },
    { false, 3, "the kernel says that IOVAs are aligned to 0x3 bytes" },
    { false, UINT64_MAX, "the kernel says that IOVAs are aligned to 0xffffffffffffffff bytes" },
};

static const HostCalls *honest;
static const struct Lie *lie;

static int lies_ioctl(int fd, unsigned long request, void *arg)
{
    struct iommu_ioas_iova_ranges *said = request == IOMMU_IOAS_IOVA_RANGES ? arg : NULL;
    int ret;

    if (said && lie->of_ranges) {
        said->num_iovas = (uint32_t)lie->value;
        errno = EMSGSIZE;
        return -1;
    }
    ret = honest->ioctl(fd, request, arg);
    if (said && !ret) {
        said->out_iova_alignment = lie->value;
    }
    return ret;
}

static void test_iovas_that_cannot_be(void)
{
    for (lie = lies; lie < lies + G_N_ELEMENTS(lies); lie++) {
        HostCalls calls;

        setup();
        honest = hostcalls;
        calls = *honest;
        calls.ioctl = lies_ioctl;
        hostcalls = &calls;
        assert_plug_fails("", lie->why);
        hostcalls = honest;
        teardown(NULL);
    }
}

/* A command that this kernel has not heard of is refused with the Linux that has it. */
static void test_command_missing(void)
{
    IOMMUFDBackend *be;
    g_autoptr(GError) err = NULL;
    uint64_t capabilities;
    uint32_t type;

    setup();
    be = IOMMUFD_BACKEND(object_resolve("i0"));
    g_assert_true(iommufd_backend_connect(be, &err));
    sim_iommu_lacks(IOMMU_GET_HW_INFO);
    g_assert_false(iommufd_get_hw_info(be, 1, &type, &capabilities, &err));
    g_assert_cmpstr(err->message, ==,
                    "i0: IOMMU_GET_HW_INFO failed: Inappropriate ioctl for device; it needs Linux "
                    "6.7");
    sim_iommu_lacks(0);
    iommufd_backend_disconnect(be);
    teardown(NULL);
}

static void test_finding(void)
{
    g_autoptr(JsonObject) opts = NULL;
    g_autoptr(GError) err = NULL;
    g_autofree char *cdevs = g_build_filename(sysfs, "vfio-dev", NULL);
    g_autofree char *away = g_strconcat(cdevs, "-away", NULL);
    g_autofree char *driver = g_build_filename(sysfs, "driver", NULL);
    g_autofree char *number = g_build_filename(cdevs, "vfio7", "dev", NULL), *right = NULL;
    PCIDevice *dev;

    setup();
    g_assert_true(g_file_get_contents(number, &right, NULL, NULL));
    g_assert_true(g_file_set_contents(number, "x\n", -1, NULL));
    assert_plug_fails("", "vfio7/dev does not hold a device number");
    g_assert_cmpint(g_unlink(number), ==, 0);
    assert_plug_fails("", "No such file");
    g_assert_true(g_file_set_contents(number, right, -1, NULL));
    assert_plug_fails(",sysfsdev=/nonexistent/0000:99:00.0",
                      "vfio /nonexistent/0000:99:00.0: no such host device: No such file");
    sim->wrong_minor = 8;
    assert_plug_fails("", "/dev/vfio/devices/vfio7 is not the device 510:7");
    sim->wrong_minor = 0;

    g_assert_cmpint(g_rename(cdevs, away), ==, 0);
    g_assert_cmpint(symlink("/sys/bus/pci/drivers/nvme", driver), ==, 0);
    assert_plug_fails("", "vfio 0000:02:00.0: host driver 'nvme' has the device, not vfio-pci");
    g_assert_cmpint(g_unlink(driver), ==, 0);
    assert_plug_fails("", "no host driver has the device");
    g_assert_cmpint(g_rename(away, cdevs), ==, 0);

    dev = plug_ok("");
    opts = keyval_parse("vfio-pci,iommufd=i0", "driver", NULL, NULL);
    json_object_set_string_member(opts, "sysfsdev", sysfs);
    g_assert_false(device_add(opts, false, &err));
    g_assert_nonnull(strstr(err->message, "the device is attached already"));
    g_clear_error(&err);
    g_assert_false(user_object_del("i0", &err));
    g_assert_nonnull(strstr(err->message, "it has 1 user"));
    teardown(dev);
}

static void test_properties(void)
{
    static const struct {
        const char *opts, *why;
    } cases[] = {
        { "vfio-pci,iommufd=i0", "No provided host device" },
        { "vfio-pci,host=zz", "Property 'vfio-pci.host' doesn't take value 'zz'" },
        { "vfio-pci,host=0:0:20.0", "doesn't take value" },
        { "vfio-pci,host=00:01.8", "doesn't take value" },
        { "vfio-pci,host=+0:01.0", "doesn't take value" },
        { "vfio-pci,host=0000:00:01.0x", "doesn't take value" },
        { "vfio-pci,host=ff:1f.7", "0000:ff:1f.7: no such host device" },
        { "vfio-pci,host=ff:1f.7,vf-token=1234", "'vfio-pci.vf-token' doesn't take value '1234'" },
        { "vfio-pci,host=0000:ff:1f.7,iommufd=i0", "0000:ff:1f.7: no such host device" },
        { "vfio-pci,host=0000:ff:1f.7,iommufd=nope", "Device 'nope' not found" },
        { "vfio-pci,fd=3", "vfio fd 3: there is no iommufd" },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(JsonObject) opts = keyval_parse(cases[i].opts, "driver", NULL, NULL);
        g_autoptr(GError) err = NULL;

        g_assert_false(device_add(opts, false, &err));
        g_test_message("%s", err->message);
        g_assert_nonnull(strstr(err->message, cases[i].why));
    }
    setup();
    assert_plug_fails(",x-pci-vendor-id=0xffff", "invalid PCI vendor ID");
    assert_plug_fails(",x-pci-sub-device-id=0x10000", "invalid PCI subsystem device ID 0x10000");
    teardown(NULL);
}

/* ---- guest memory ---- */

static void test_memory(void)
{
    MemoryRegion late, outside, *root = address_space_memory.root;
    g_autoptr(GError) err = NULL;
    HostMemoryBackend *be = HOST_MEMORY_BACKEND(object_resolve("ram"));
    const GArray *ioas;
    PCIDevice *dev;

    setup();
    dev = plug_ok("");
    ioas = sim_ioas(1);
    g_assert_cmpuint(ioas->len, ==, 3);
    memory_region_init_ram(&late, NULL, "late", &be->block, 0, MiB);
    late.readonly = true;
    memory_region_add_child(root, 16 * MiB + 0x800, &late, 1); /* no page of it fits */
    g_assert_cmpuint(ioas->len, ==, 3);
    memory_region_set_address(&late, 16 * MiB);
    g_assert_cmpuint(ioas->len, ==, 4);
    g_assert_true(g_array_index(ioas, SimExtent, 3).readonly);
    memory_region_del_child(root, &late);
    g_assert_cmpuint(ioas->len, ==, 3);
    memory_region_fini(&late);
    teardown(dev);

    /* Where the IOMMU has no room for it. */
    setup();
    memory_region_init_ram(&outside, NULL, "outside", &be->block, 0, MiB);
    memory_region_add_child(root, 0xfee00000, &outside, 1);
    g_assert_null(plug("", &err));
    g_test_message("%s", err->message);
    g_assert_nonnull(strstr(err->message, "vfio 0000:02:00.0: cannot map guest memory 'outside' "
                                          "at 0xfee00000-0xfeefffff for DMA: the host's IOMMU "
                                          "takes only 0x0-0xfedfffff, "));
    memory_region_del_child(root, &outside);
    memory_region_fini(&outside);
    teardown(NULL);
}

/* ---- hostile answers ---- */

static void caps(const void *bytes, size_t len)
{
    sim->regions[0].caps = g_byte_array_new();
    g_byte_array_append(sim->regions[0].caps, bytes, (guint)len);
}

static void hostile_cap_loop(void)
{
    struct vfio_info_cap_header two[2] = { { 77, 1, 40 }, { 78, 1, 32 } };

    caps(two, sizeof(two));
}

static void hostile_cap_outside(void)
{
    struct vfio_info_cap_header one = { 77, 1, 4096 };

    caps(&one, sizeof(one));
}

static void sparse(uint32_t nr, uint64_t offset, uint64_t size, uint64_t offset2, uint64_t size2)
{
    struct {
        struct vfio_info_cap_header header;
        uint32_t nr_areas, reserved;
        uint64_t areas[4];
    } cap = { { VFIO_REGION_INFO_CAP_SPARSE_MMAP, 1, 0 }, nr, 0, { offset, size, offset2, size2 } };

    caps(&cap, sizeof(cap));
}

static void hostile_area_count(void)
{
    sparse(0x10000001, 0, 0x1000, 0, 0);
}

static void hostile_area_outside(void)
{
    sparse(1, 0x1000, UINT64_MAX - 0xfff, 0, 0);
}

static void hostile_area_overlap(void)
{
    sparse(2, 0x1000, 0x2000, 0, 0x2000);
}

static void hostile_bar_size(void)
{
    sim_region_set(sim, 0, 0x3000, RWM);
}

static void hostile_bar_huge(void)
{
    sim_region_set(sim, 0, UINT64_MAX, RWM);
}

static void hostile_bar_larger_than_process(void)
{
    sim_region_set(sim, 0, 1ULL << 62, RWM);
}

static void hostile_bar_upper_half(void)
{
    sim_region_set(sim, 1, 0x1000, RW);
}

static void hostile_table_outside(void)
{
    pci_set_long(sim->config + MSIX_CAP + PCI_MSIX_TABLE, 0x3f80);
    pci_set_long(sim->config + MSIX_CAP + PCI_MSIX_PBA, 0);
}

static void hostile_table_bir(void)
{
    pci_set_long(sim->config + MSIX_CAP + PCI_MSIX_TABLE, 7);
}

static void hostile_table_no_bar(void)
{
    pci_set_long(sim->config + MSIX_CAP + PCI_MSIX_TABLE, 5);
}

static void hostile_vectors(void)
{
    pci_set_word(sim->config + MSIX_CAP + PCI_MSIX_FLAGS, 0x7ff);
}

static void hostile_msi_vectors(void)
{
    pci_set_word(sim->config + MSI_CAP + PCI_MSI_FLAGS, 7 << 1);
}

static void hostile_cap_list(void)
{
    sim->config[PM_CAP + 1] = MSI_CAP;
}

static void hostile_cap_list_low(void)
{
    sim->config[PM_CAP + 1] = 0x10;
}

static void hostile_ext_cap_list(void)
{
    pci_set_long(sim->config + 0x1c0, 0x14000000 | PCI_EXT_CAP_ID_DSN);
}

static void hostile_regions(void)
{
    sim->nr_regions = UINT32_MAX;
}

static void hostile_few_regions(void)
{
    sim->nr_regions = 3;
}

static void hostile_not_pci(void)
{
    sim->flags = VFIO_DEVICE_FLAGS_CCW;
}

static void hostile_bridge(void)
{
    sim->config[PCI_HEADER_TYPE] = 1;
}

static void hostile_config(void)
{
    sim_region_set(sim, VFIO_PCI_CONFIG_REGION_INDEX, 63, RW);
}

static void test_hostile(void)
{
    static const struct {
        void (*spoil)(void);
        const char *why;
    } cases[] = {
        { hostile_cap_loop, "capabilities are broken at offset 32" },
        { hostile_cap_outside, "capabilities are broken at offset 4096" },
        { hostile_area_count, "areas do not fit" },
        { hostile_area_outside, "is not whole pages of the region" },
        { hostile_area_overlap, "mappable areas overlap" },
        { hostile_bar_size, "BAR 0 cannot be of 0x3000 bytes" },
        { hostile_bar_huge, "cannot be" },
        { hostile_bar_larger_than_process, "address space" },
        { hostile_bar_upper_half, "no room for its upper half" },
        { hostile_table_outside, "does not fit BAR 0" },
        { hostile_table_bir, "in BARs 7 and 0" },
        { hostile_table_no_bar, "does not fit BAR 5" },
        { hostile_vectors, "2048 entries, of which the host has 9" },
        { hostile_msi_vectors, "names 128 vectors" },
        { hostile_cap_list, "list of capabilities is broken at 0x50" },
        { hostile_cap_list_low, "list of capabilities is broken at 0x10" },
        { hostile_ext_cap_list, "extended capabilities is broken at 0x140" },
        { hostile_regions, "regions" },
        { hostile_few_regions, "too few for PCI" },
        { hostile_not_pci, "not a PCI device" },
        { hostile_bridge, "only endpoints" },
        { hostile_config, "configuration space has 0x3f bytes" },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        setup();
        cases[i].spoil();
        assert_plug_fails("", cases[i].why);
        teardown(NULL);
    }
    /* And one that is right: only its second page may be mapped. */
    {
        g_autofree char *log = NULL;
        g_autoptr(GError) err = NULL;
        PCIDevice *dev;

        setup();
        sparse(1, 0x1000, 0x1000, 0, 0);
        dev = plug("", &err);
        g_assert_no_error(err);
        log = sim_take_log();
        g_assert_nonnull(strstr(log, "mmap BAR 0x1000+0x1000\n"));
        teardown(dev);

        setup();
        sparse(0, 0, 0, 0, 0); /* and none at all */
        teardown(plug_ok(""));
    }
}

/* ---- the machine around it ---- */

static void add_tests(void)
{
    g_test_add_func("/vfio/order", test_order);
    g_test_add_func("/vfio/not-by-file", test_not_by_file);
    g_test_add_func("/vfio/each-call-fails", test_each_call_fails);
    g_test_add_func("/vfio/iovas-that-cannot-be", test_iovas_that_cannot_be);
    g_test_add_func("/vfio/command-missing", test_command_missing);
    g_test_add_func("/vfio/finding", test_finding);
    g_test_add_func("/vfio/properties", test_properties);
    g_test_add_func("/vfio/memory", test_memory);
    g_test_add_func("/vfio/hostile", test_hostile);
}

int main(int argc, char **argv)
{
    return vfio_test_run(argc, argv, add_tests);
}
