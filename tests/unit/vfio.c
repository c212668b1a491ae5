/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vfio-pci and iommufd on the simulated kernel: order, unwinding, interrupts, hostile answers. */
#include <errno.h>
#include <glib/gstdio.h>
#include <string.h>

#include "backends/hostmem.h"
#include "core/accel.h"
#include "core/runstate.h"
#include "hw/pci/msi.h"
#include "hw/vfio/vfio.h"
#include "tests/sim/kernel.h"
#include "util/error.h"
#include "util/keyval.h"

#define RW          (VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE)
#define RWM         (RW | VFIO_REGION_INFO_FLAG_MMAP)

#define MiB         (1ULL << 20)
#define BAR0_AT     0xc0000000ULL
#define BAR0_SIZE   0x4000
#define TABLE_AT    0x2000
#define PBA_AT      0x3000
#define VECTORS     9
#define MSIX_CAP    0x40
#define MSI_CAP     0x50
#define PM_CAP      0x70
#define EXPRESS_CAP 0x80
#define GSI         20

static char *sysfs; /* a folder that looks like the device's */
static SimDevice *sim;

/* ---- what stands for KVM ---- */

typedef struct Binding {
    int route, trigger, resample;
} Binding;

static GArray *bindings;
static GArray *routes; /* MSIMessage; address 0: free */
static unsigned commits, sent;
static MSIMessage last_sent;

static void set_line(int gsi, bool level)
{
}

static bool send_msi(MSIMessage msg)
{
    sent++;
    last_sent = msg;
    return true;
}

static int route_add(MSIMessage msg, GError **errp)
{
    g_array_append_val(routes, msg);
    return 100 + (int)routes->len - 1;
}

static void route_update(int route, MSIMessage msg)
{
    g_array_index(routes, MSIMessage, route - 100) = msg;
}

static void route_release(int route)
{
    g_array_index(routes, MSIMessage, route - 100) = (MSIMessage) { 0, 0 };
}

static bool routes_commit(GError **errp)
{
    commits++;
    return true;
}

static bool bind(int route, int trigger, int resample, GError **errp)
{
    Binding b = { route, trigger, resample };

    g_array_append_val(bindings, b);
    return true;
}

static void unbind(int route, int trigger)
{
    for (guint i = 0; i < bindings->len; i++) {
        Binding *b = &g_array_index(bindings, Binding, i);

        if (b->route == route && b->trigger == trigger) {
            g_array_remove_index(bindings, i);
            return;
        }
    }
    g_assert_not_reached();
}

static const IRQChipOps irqchip = {
    set_line, send_msi, route_add, route_update, route_release, routes_commit, bind, unbind,
};

static bool device_fd_add(int fd, GError **errp)
{
    sim_note("KVM add");
    return true;
}

static void device_fd_del(int fd)
{
    sim_note("KVM del");
}

static void no_vcpus(void)
{
}

static const AccelOps accel_ops = { .pause_vcpus = no_vcpus,
                                    .resume_vcpus = no_vcpus,
                                    .device_fd_add = device_fd_add,
                                    .device_fd_del = device_fd_del };

static const Binding *bound_to(int route)
{
    for (guint i = 0; i < bindings->len; i++) {
        if (g_array_index(bindings, Binding, i).route == route) {
            return &g_array_index(bindings, Binding, i);
        }
    }
    return NULL;
}

static unsigned live_routes(void)
{
    unsigned n = 0;

    for (guint i = 0; i < routes->len; i++) {
        n += g_array_index(routes, MSIMessage, i).address != 0;
    }
    return n;
}

/* ---- a device, a machine ---- */

static void fill_config(uint8_t *c)
{
    memset(c, 0, 4096);
    pci_set_word(c + PCI_VENDOR_ID, 0x1b36);
    pci_set_word(c + PCI_DEVICE_ID, 0x0010);
    pci_set_word(c + PCI_COMMAND, PCI_COMMAND_MASTER);
    pci_set_word(c + PCI_STATUS, PCI_STATUS_CAP_LIST);
    pci_set_long(c + PCI_CLASS_REVISION, 0x01080202);
    pci_set_long(c + PCI_BASE_ADDRESS_0, PCI_BASE_ADDRESS_MEM_TYPE_64);
    pci_set_long(c + PCI_BASE_ADDRESS_2, PCI_BASE_ADDRESS_SPACE_IO);
    c[PCI_CAPABILITY_LIST] = MSIX_CAP;
    c[PCI_INTERRUPT_PIN] = 1;

    c[MSIX_CAP] = PCI_CAP_ID_MSIX;
    c[MSIX_CAP + 1] = MSI_CAP;
    pci_set_word(c + MSIX_CAP + PCI_MSIX_FLAGS, VECTORS - 1);
    pci_set_long(c + MSIX_CAP + PCI_MSIX_TABLE, TABLE_AT);
    pci_set_long(c + MSIX_CAP + PCI_MSIX_PBA, PBA_AT);
    c[MSI_CAP] = PCI_CAP_ID_MSI;
    c[MSI_CAP + 1] = PM_CAP;
    pci_set_word(c + MSI_CAP + PCI_MSI_FLAGS, PCI_MSI_FLAGS_64BIT | 2 << 1);
    c[PM_CAP] = PCI_CAP_ID_PM;
    c[PM_CAP + 1] = EXPRESS_CAP;
    pci_set_word(c + PM_CAP + PCI_PM_CTRL, 3); /* asleep */
    c[EXPRESS_CAP] = PCI_CAP_ID_EXP;

    pci_set_long(c + 0x100, 0x14000000 | 1 << 16 | PCI_EXT_CAP_ID_SRIOV);
    pci_set_long(c + 0x104, 0xdeadbeef);
    pci_set_long(c + 0x140, 0x18000000 | 2 << 16 | PCI_EXT_CAP_ID_ERR);
    pci_set_long(c + 0x180, 0x1c000000 | 1 << 16 | PCI_EXT_CAP_ID_ATS);
    pci_set_long(c + 0x1c0, 1 << 16 | PCI_EXT_CAP_ID_DSN);
}

static void setup(void)
{
    sim = sim_device_new(7);
    fill_config(sim->config);
    sim_region_set(sim, 0, BAR0_SIZE, RWM);
    sim_region_set(sim, 2, 0x20, RW);
    sim->irqs[VFIO_PCI_INTX_IRQ_INDEX].count = 1;
    sim->irqs[VFIO_PCI_MSI_IRQ_INDEX].count = 4;
    sim->irqs[VFIO_PCI_MSI_IRQ_INDEX].flags = VFIO_IRQ_INFO_NORESIZE;
    sim->irqs[VFIO_PCI_MSIX_IRQ_INDEX].count = VECTORS;
    sim->irqs[VFIO_PCI_MSIX_IRQ_INDEX].flags = VFIO_IRQ_INFO_NORESIZE;
    g_free(sim_take_log());
}

static PCIDevice *plug(const char *more, GError **errp)
{
    g_autofree char *text = g_strdup_printf("vfio-pci,id=d0,sysfsdev=%s,iommufd=i0%s", sysfs, more);
    g_autoptr(JsonObject) opts = keyval_parse(text, "driver", NULL, NULL);

    return device_add(opts, false, errp) ? PCI_DEVICE(object_resolve("d0")) : NULL;
}

static PCIDevice *plug_ok(const char *more)
{
    g_autoptr(GError) err = NULL;
    PCIDevice *dev = plug(more, &err);

    g_assert_no_error(err);
    g_free(sim_take_log());
    return dev;
}

/* And nothing may be left. */
static void teardown(PCIDevice *dev)
{
    if (dev) {
        device_destroy(DEVICE(dev));
    }
    g_assert_cmpuint(sim_open_things(), ==, 0);
    g_assert_cmpuint(bindings->len, ==, 0);
    g_assert_cmpuint(live_routes(), ==, 0);
    g_array_set_size(routes, 0);
    sim_device_free(sim);
}

static void assert_plug_fails(const char *more, const char *why)
{
    g_autoptr(GError) err = NULL;

    g_assert_null(plug(more, &err));
    g_test_message("%s", err->message);
    g_assert_nonnull(strstr(err->message, why));
    g_assert_null(strchr(err->message, '\n'));
    g_assert_cmpuint(sim_open_things(), ==, 0);
}

static uint32_t cfg_read(PCIDevice *dev, uint32_t addr, unsigned len)
{
    return PCI_DEVICE_GET_CLASS(dev)->config_read(dev, addr, len);
}

static void cfg_write(PCIDevice *dev, uint32_t addr, uint32_t val, unsigned len)
{
    PCI_DEVICE_GET_CLASS(dev)->config_write(dev, addr, val, len);
}

static void mem_write(uint64_t addr, uint32_t val)
{
    address_space_rw(&address_space_memory, addr, &val, 4, true);
}

static uint32_t mem_read(uint64_t addr)
{
    uint32_t val;

    address_space_rw(&address_space_memory, addr, &val, 4, false);
    return val;
}

static void map_bar0(PCIDevice *dev)
{
    cfg_write(dev, PCI_BASE_ADDRESS_0, BAR0_AT, 4);
    cfg_write(dev, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
}

static void msix_entry(unsigned vector, bool masked)
{
    uint64_t at = BAR0_AT + TABLE_AT + vector * 16;

    mem_write(at, 0xfee01000);
    mem_write(at + 8, 0x40 + vector);
    mem_write(at + 12, masked);
}

/* Whether the guest reaches the device's memory: the first page of BAR 0, which is not trapped. */
static bool bar0_mapped(void)
{
    FlatView *view = address_space_view(&address_space_memory);
    const MemoryRange *r = flat_view_find(view, BAR0_AT);
    bool mapped = r && r->mr->kind == REGION_RAM_DEVICE;

    flat_view_unref(view);
    return mapped;
}

/* ---- order and unwinding ---- */

static void test_order(void)
{
    static const char up[] = "open /dev/vfio/devices/vfio7\n"
                             "open /dev/iommu\n"
                             "KVM add\n"
                             "BIND\n"
                             "IOMMU_IOAS_ALLOC = 2\n"
                             "ATTACH 2\n"
                             "IOMMU_IOAS_IOVA_RANGES 2\n"
                             "IOMMU_IOAS_IOVA_RANGES 2\n"
                             "IOMMU_IOAS_MAP_FILE 2 0x0+0xa0000 from 0x0\n"
                             "IOMMU_IOAS_MAP_FILE 2 0x100000+0x100000 from 0x100000\n"
                             "IOMMU_IOAS_MAP 2 0x200000+0x100000\n"
                             "GET_INFO\n"
                             "mmap BAR 0x0+0x2000\n"
                             "SET_IRQS 0 trigger 0+1 e\n"
                             "SET_IRQS 0 unmask 0+1 e\n";
    static const char down[] = "SET_IRQS 0 trigger 0+0 \n"
                               "DETACH\n"
                               "IOMMU_IOAS_UNMAP 2 0x200000+0x100000\n"
                               "IOMMU_IOAS_UNMAP 2 0x100000+0x100000\n"
                               "IOMMU_IOAS_UNMAP 2 0x0+0xa0000\n"
                               "IOMMU_DESTROY 2\n"
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

static void test_each_call_fails(void)
{
    unsigned nth = 1;

    for (;; nth++) {
        g_autoptr(GError) err = NULL;
        PCIDevice *dev;

        setup();
        sim_fail(nth);
        dev = plug("", &err);
        if (dev) {
            g_assert_false(sim_failed());
            sim_fail(0);
            teardown(dev);
            break;
        }
        g_assert_true(sim_failed());
        g_test_message("%u: %s", nth, err->message);
        g_assert_nonnull(strstr(err->message, g_strerror(EIO)));
        g_assert_null(object_resolve("d0"));
        teardown(NULL);
    }
    g_assert_cmpuint(nth, >, 25);
}

static void test_finding(void)
{
    g_autoptr(JsonObject) opts = NULL;
    g_autoptr(GError) err = NULL;
    g_autofree char *cdevs = g_build_filename(sysfs, "vfio-dev", NULL);
    g_autofree char *away = g_strconcat(cdevs, "-away", NULL);
    g_autofree char *driver = g_build_filename(sysfs, "driver", NULL);
    PCIDevice *dev;

    setup();
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
        { "vfio-pci,host=ff:1f.7", "vfio 0000:ff:1f.7: there is no iommufd" },
        { "vfio-pci,host=0000:ff:1f.7,iommufd=i0", "0000:ff:1f.7: no such host device" },
        { "vfio-pci,host=0000:ff:1f.7,iommufd=nope", "Device 'nope' not found" },
        { "vfio-pci,fd=3", "Property 'vfio-pci.fd' not found" },
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

/* ---- the object ---- */

static void test_iommufd_fd(void)
{
    g_autofree char *good = NULL;
    g_autoptr(GError) err = NULL;
    int fd = sim_open_iommu();

    static const struct {
        const char *fd, *why;
    } cases[] = {
        { "zz", "is not the number of a descriptor" },
        { "99999", "Bad file descriptor" },
        { "0", "is not an open /dev/iommu" },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases) + 1; i++) {
        g_autoptr(JsonObject) opts = json_object_new();
        bool last = i == G_N_ELEMENTS(cases);

        json_object_set_string_member(opts, "qom-type", "iommufd");
        json_object_set_string_member(opts, "id", "i1");
        good = g_strdup_printf("%d", fd);
        json_object_set_string_member(opts, "fd", last ? good : cases[i].fd);
        g_clear_pointer(&good, g_free);
        g_assert_cmpint(user_object_add(opts, &err), ==, last);
        if (!last) {
            g_test_message("%s", err->message);
            g_assert_nonnull(strstr(err->message, cases[i].why));
            g_clear_error(&err);
        }
    }
    /* A given descriptor is never closed. */
    {
        IOMMUFDBackend *be = IOMMUFD_BACKEND(object_resolve("i1"));

        g_assert_true(iommufd_backend_connect(be, NULL));
        iommufd_backend_disconnect(be);
        g_assert_cmpuint(sim_open_things(), ==, 1);
        g_assert_true(user_object_del("i1", &err));
    }
    hostcalls->close(fd);
}

/* ---- configuration space ---- */

static void test_config(void)
{
    PCIDevice *dev;

    setup();
    dev = plug_ok(",x-pci-device-id=0x1234");
    g_assert_cmphex(cfg_read(dev, PCI_VENDOR_ID, 4), ==, 0x12341b36);
    g_assert_cmphex(cfg_read(dev, PCI_CLASS_REVISION, 4), ==, 0x01080202);
    g_assert_cmphex(pci_get_word(sim->config + PCI_COMMAND), ==, 0);

    /* Capabilities: the same, in the same places and order. */
    g_assert_cmphex(cfg_read(dev, PCI_CAPABILITY_LIST, 1), ==, MSIX_CAP);
    g_assert_cmphex(cfg_read(dev, MSIX_CAP, 4), ==, PCI_CAP_ID_MSIX | MSI_CAP << 8 | 8 << 16);
    g_assert_cmphex(cfg_read(dev, MSI_CAP, 2), ==, PCI_CAP_ID_MSI | PM_CAP << 8);
    g_assert_cmphex(cfg_read(dev, PM_CAP, 2), ==, PCI_CAP_ID_PM | EXPRESS_CAP << 8);
    g_assert_cmphex(cfg_read(dev, EXPRESS_CAP, 2), ==, PCI_CAP_ID_EXP);

    /* Extended: SR-IOV was the first, ATS the third of four; their registers are gone too. */
    g_assert_cmphex(cfg_read(dev, 0x100, 4), ==, 0x14000000);
    g_assert_cmphex(cfg_read(dev, 0x104, 4), ==, 0);
    g_assert_cmphex(cfg_read(dev, 0x140, 4), ==, 0x1c000000 | 2 << 16 | PCI_EXT_CAP_ID_ERR);
    g_assert_cmphex(cfg_read(dev, 0x180, 4), ==, 0);
    g_assert_cmphex(cfg_read(dev, 0x1c0, 4), ==, 1 << 16 | PCI_EXT_CAP_ID_DSN);

    /* The device's registers are the device's; ours never reach it. */
    pci_set_word(sim->config + EXPRESS_CAP + 10, 0x5a5a);
    g_assert_cmphex(cfg_read(dev, EXPRESS_CAP + 10, 2), ==, 0x5a5a);
    pci_set_long(sim->config + 0x60, 0xa5a5a5a5); /* between MSI, which is ours, and the next */
    g_assert_cmphex(cfg_read(dev, 0x60, 4), ==, 0xa5a5a5a5);
    cfg_write(dev, EXPRESS_CAP + 8, 0x1234, 2);
    g_assert_cmphex(pci_get_word(sim->config + EXPRESS_CAP + 8), ==, 0x1234);
    cfg_write(dev, PCI_BASE_ADDRESS_0, 0xffffffff, 4);
    g_assert_cmphex(cfg_read(dev, PCI_BASE_ADDRESS_0, 4), ==,
                    (0xffffffff & ~(BAR0_SIZE - 1U)) | PCI_BASE_ADDRESS_MEM_TYPE_64);
    g_assert_cmphex(pci_get_long(sim->config + PCI_BASE_ADDRESS_0), ==, 4);
    cfg_write(dev, 0x104, 0x11111111, 4);
    g_assert_cmphex(pci_get_long(sim->config + 0x104), ==, 0xdeadbeef);

    /* A device with 256 bytes shows no more, whatever the class has room for. */
    teardown(dev);
    setup();
    sim_region_set(sim, VFIO_PCI_CONFIG_REGION_INDEX, 256, RW);
    dev = plug_ok("");
    g_assert_cmpuint(dev->config_size, ==, 256);
    teardown(dev);

    /* One with less is not asked for what it does not have. */
    setup();
    sim_region_set(sim, VFIO_PCI_CONFIG_REGION_INDEX, 255, RW);
    pci_set_long(sim->config + 0xf8, 0x12345678);
    pci_set_long(sim->config + 0xfc, 0x12345678);
    dev = plug_ok("");
    g_assert_cmpuint(dev->config_size, ==, 256);
    g_assert_cmphex(cfg_read(dev, 0xf8, 4), ==, 0x12345678);
    g_assert_cmphex(cfg_read(dev, 0xfc, 4), ==, 0);
    cfg_write(dev, 0xfc, 0x11111111, 4);
    g_assert_cmphex(cfg_read(dev, 0xfc, 4), ==, 0);
    g_assert_cmphex(pci_get_long(sim->config + 0xfc), ==, 0x12345678);
    teardown(dev);
}

static void test_bars(void)
{
    PCIDevice *dev;
    g_autofree char *log = NULL;

    setup();
    dev = plug_ok("");
    map_bar0(dev);
    sim_region_poke(sim, 0, 0x1000, 0x11223344); /* mapped */
    sim_region_poke(sim, 0, 0x3800, 0x55667788); /* trapped: shares a page with pending bits */
    g_assert_cmphex(mem_read(BAR0_AT + 0x1000), ==, 0x11223344);
    g_assert_cmphex(mem_read(BAR0_AT + 0x3800), ==, 0x55667788);
    mem_write(BAR0_AT + 0x3804, 0xabcd);
    g_assert_cmphex(sim_region_peek(sim, 0, 0x3804), ==, 0xabcd);
    mem_write(BAR0_AT + TABLE_AT, 0xfee00000); /* emulated: not the device's */
    g_assert_cmphex(sim_region_peek(sim, 0, TABLE_AT), ==, 0);
    g_assert_cmphex(mem_read(BAR0_AT + TABLE_AT), ==, 0xfee00000);
    cfg_write(dev, PCI_COMMAND, 0, 2);
    g_assert_cmphex(mem_read(BAR0_AT + 0x1000), ==, 0xffffffff);
    teardown(dev);

    /* x-no-mmap; and a BAR of its own that is too small to be mapped. */
    setup();
    sim_region_set(sim, 4, 0x100, RW);
    dev = plug_ok(",x-no-mmap=on");
    map_bar0(dev);
    log = sim_take_log();
    g_assert_null(strstr(log, "mmap"));
    sim_region_poke(sim, 0, 0x1000, 0x11223344);
    g_assert_cmphex(mem_read(BAR0_AT + 0x1000), ==, 0x11223344);
    teardown(dev);
}

/* Such a page could be written by the guest all the same, which would end in a SIGSEGV. */
static void test_bar_readonly(void)
{
    PCIDevice *dev;

    setup();
    sim_region_set(sim, 0, BAR0_SIZE, VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_MMAP);
    dev = plug_ok("");
    map_bar0(dev);
    sim_region_poke(sim, 0, 0x1000, 0x11223344);
    g_assert_cmphex(mem_read(BAR0_AT + 0x1000), ==, 0x11223344);
    mem_write(BAR0_AT + 0x1000, 1);
    g_assert_false(bar0_mapped());
    teardown(dev);
}

/* ---- what is mapped must be decoded, or the process gets a SIGBUS ---- */

static const HostCalls *unwatched;
static unsigned undecoded;

static void check_decoded(void)
{
    bool decodes = sim->config[PCI_COMMAND] & PCI_COMMAND_MEMORY &&
                   (sim->config[PM_CAP + PCI_PM_CTRL] & PCI_PM_CTRL_STATE_MASK) != 3;

    undecoded += bar0_mapped() && !decodes;
}

static ssize_t watched_pwrite(int fd, const void *buf, size_t len, off_t offset)
{
    ssize_t ret;

    check_decoded();
    ret = unwatched->pwrite(fd, buf, len, offset);
    check_decoded();
    return ret;
}

static PCIDevice *plug_watched(HostCalls *watch)
{
    PCIDevice *dev;

    setup();
    pci_set_word(sim->config + PM_CAP + PCI_PM_CTRL, 0); /* as the kernel hands it over */
    dev = plug_ok("");
    unwatched = hostcalls;
    *watch = *hostcalls;
    watch->pwrite = watched_pwrite;
    hostcalls = watch;
    undecoded = 0;
    map_bar0(dev);
    g_assert_true(bar0_mapped());
    return dev;
}

static void unplug_watched(PCIDevice *dev)
{
    g_assert_cmpuint(undecoded, ==, 0);
    hostcalls = unwatched;
    teardown(dev);
}

static void test_decode_order(void)
{
    HostCalls watch;
    PCIDevice *dev = plug_watched(&watch);

    cfg_write(dev, PCI_COMMAND, PCI_COMMAND_IO, 2); /* one goes, the other comes */
    g_assert_false(bar0_mapped());
    cfg_write(dev, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
    g_assert_true(bar0_mapped());
    cfg_write(dev, PCI_COMMAND, 0, 2);

    /* What the device was not told does not happen. */
    sim_fail(1);
    cfg_write(dev, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
    g_assert_true(sim_failed());
    g_assert_false(bar0_mapped());
    unplug_watched(dev);
}

static void test_power(void)
{
    HostCalls watch;
    PCIDevice *dev = plug_watched(&watch);
    uint32_t control = PM_CAP + PCI_PM_CTRL;

    cfg_write(dev, control, 3, 2);
    g_assert_cmphex(cfg_read(dev, control, 2), ==, 3);
    g_assert_false(bar0_mapped());
    g_assert_cmphex(mem_read(BAR0_AT + 0x1000), ==, 0xffffffff);
    cfg_write(dev, PCI_COMMAND, PCI_COMMAND_MEMORY, 2); /* changes nothing */
    g_assert_false(bar0_mapped());
    sim_fail(2); /* it is woken, but is gone */
    cfg_write(dev, control, 0, 2);
    g_assert_true(sim_failed());
    g_assert_false(bar0_mapped());
    cfg_write(dev, control, 0, 2);
    g_assert_true(bar0_mapped());

    /* A reset wakes it. */
    cfg_write(dev, control, 3, 2);
    vm_start();
    vm_stop(RUN_STATE_PAUSED);
    DEVICE_GET_CLASS(dev)->reset(DEVICE(dev));
    map_bar0(dev);
    g_assert_true(bar0_mapped());
    unplug_watched(dev);
}

static void test_rom(void)
{
    PCIDevice *dev;

    setup();
    sim_region_set(sim, VFIO_PCI_ROM_REGION_INDEX, 0x1000, VFIO_REGION_INFO_FLAG_READ);
    sim_region_poke(sim, VFIO_PCI_ROM_REGION_INDEX, 0, 0xaa55);
    dev = plug_ok("");
    cfg_write(dev, PCI_ROM_ADDRESS, 0xc1000001, 4);
    cfg_write(dev, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
    g_assert_cmphex(mem_read(0xc1000000), ==, 0xaa55);
    teardown(dev);
    setup();
    sim_region_set(sim, VFIO_PCI_ROM_REGION_INDEX, 0x1000, VFIO_REGION_INFO_FLAG_READ);
    dev = plug_ok(",rombar=0");
    cfg_write(dev, PCI_ROM_ADDRESS, 0xfffffffe, 4);
    g_assert_cmphex(cfg_read(dev, PCI_ROM_ADDRESS, 4), ==, 0);
    teardown(dev);
}

/* ---- interrupts ---- */

static void test_msix(gconstpointer data)
{
    bool noresize = GPOINTER_TO_INT(data);
    g_autofree char *log = NULL;
    PCIDevice *dev;
    uint32_t flags;

    setup();
    sim->irqs[VFIO_PCI_MSIX_IRQ_INDEX].flags = noresize ? VFIO_IRQ_INFO_NORESIZE : 0;
    dev = plug_ok("");
    map_bar0(dev);
    g_free(sim_take_log());

    /* On, with no vector in use: INTx goes first, the device still sees MSI-X. */
    flags = PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL;
    cfg_write(dev, MSIX_CAP + PCI_MSIX_FLAGS, flags, 2);
    log = sim_take_log();
    g_assert_cmpstr(log, ==, "SET_IRQS 0 trigger 0+0 \nSET_IRQS 2 trigger 0+1 -\n");
    g_assert_null(bound_to(GSI));

    /* A batch: two vectors in one go. */
    msix_entry(0, false);
    msix_entry(2, false);
    commits = 0;
    cfg_write(dev, MSIX_CAP + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE, 2);
    g_assert_cmpuint(commits, ==, 1);
    g_free(log);
    log = sim_take_log();
    g_assert_cmpstr(log, ==,
                    noresize ? "SET_IRQS 2 trigger 0+0 \nSET_IRQS 2 trigger 0+3 e-e\n"
                             : "SET_IRQS 2 trigger 0+1 e\nSET_IRQS 2 trigger 2+1 e\n");
    g_assert_cmpuint(bindings->len, ==, 2);
    g_assert_cmphex(g_array_index(routes, MSIMessage, 1).data, ==, 0x42);

    /* A vector more, then a masked one: its signal waits in the pending bits. */
    msix_entry(8, false);
    g_free(log);
    log = sim_take_log();
    g_assert_cmpstr(log, ==,
                    noresize ? "SET_IRQS 2 trigger 0+0 \nSET_IRQS 2 trigger 0+9 e-e-----e\n"
                             : "SET_IRQS 2 trigger 8+1 e\n");
    g_assert_nonnull(bound_to(102));
    mem_write(BAR0_AT + TABLE_AT + 8 * 16 + 12, 1);
    g_assert_null(bound_to(102));
    g_assert_cmphex(mem_read(BAR0_AT + PBA_AT), ==, 0);
    g_assert_true(sim_fire(sim, 8));
    g_assert_cmphex(mem_read(BAR0_AT + PBA_AT), ==, 0x100);
    mem_write(BAR0_AT + TABLE_AT + 8 * 16 + 8, 0x99); /* a new message while masked */
    mem_write(BAR0_AT + TABLE_AT + 8 * 16 + 12, 0);
    g_assert_nonnull(bound_to(102)); /* which delivers it */
    g_assert_cmphex(g_array_index(routes, MSIMessage, 2).data, ==, 0x99);
    g_assert_cmphex(mem_read(BAR0_AT + PBA_AT), ==, 0);

    /* Off: all is given back, and INTx works again. */
    g_free(sim_take_log());
    cfg_write(dev, MSIX_CAP + PCI_MSIX_FLAGS, 0, 2);
    g_free(log);
    log = sim_take_log();
    g_assert_cmpstr(log, ==,
                    "SET_IRQS 2 trigger 0+0 \nSET_IRQS 0 trigger 0+1 e\n"
                    "SET_IRQS 0 unmask 0+1 e\n");
    g_assert_cmpuint(live_routes(), ==, 0);
    g_assert_cmpuint(bindings->len, ==, 1);
    teardown(dev);
}

/* What cannot grow goes on with what it had. */
static void test_msix_exhausted(void)
{
    PCIDevice *dev;

    setup();
    dev = plug_ok("");
    map_bar0(dev);
    sim->vectors_max = 2;
    cfg_write(dev, MSIX_CAP + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE, 2);
    msix_entry(0, false);
    msix_entry(5, false);
    g_assert_cmpuint(sim->triggers->len, ==, 1);
    g_assert_true(sim_fire(sim, 0));
    g_assert_cmpuint(bindings->len, ==, 1);
    teardown(dev);
}

static void test_msix_userspace(void)
{
    PCIDevice *dev;

    setup();
    dev = plug_ok(",x-no-kvm-msix=on");
    map_bar0(dev);
    cfg_write(dev, MSIX_CAP + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE, 2);
    msix_entry(3, false);
    g_assert_cmpuint(bindings->len, ==, 0);
    sent = 0;
    g_assert_true(sim_fire(sim, 3));
    while (g_main_context_iteration(NULL, FALSE)) {
    }
    g_assert_cmpuint(sent, ==, 1);
    g_assert_cmphex(last_sent.data, ==, 0x43);
    mem_write(BAR0_AT + TABLE_AT + 3 * 16 + 12, 1);
    g_assert_true(sim_fire(sim, 3));
    while (g_main_context_iteration(NULL, FALSE)) {
    }
    g_assert_cmpuint(sent, ==, 1);
    teardown(dev);
}

static void test_msi(void)
{
    g_autofree char *log = NULL;
    PCIDevice *dev;

    setup();
    dev = plug_ok("");
    cfg_write(dev, MSI_CAP + PCI_MSI_ADDRESS_LO, 0xfee02000, 4);
    cfg_write(dev, MSI_CAP + PCI_MSI_DATA_64, 0x60, 2);
    sim->vectors_max = 3; /* of the four that the guest wants */
    g_free(sim_take_log());
    cfg_write(dev, MSI_CAP + PCI_MSI_FLAGS, PCI_MSI_FLAGS_ENABLE | 2 << 4, 2);
    log = sim_take_log();
    g_assert_cmpstr(log, ==,
                    "SET_IRQS 0 trigger 0+0 \nSET_IRQS 1 trigger 0+4 eeee\n"
                    "SET_IRQS 1 trigger 0+3 eee\n");
    g_assert_cmphex(g_array_index(routes, MSIMessage, 2).data, ==, 0x62);
    cfg_write(dev, MSI_CAP + PCI_MSI_DATA_64, 0x80, 2); /* while it is on */
    g_assert_cmphex(g_array_index(routes, MSIMessage, 2).data, ==, 0x82);
    cfg_write(dev, MSI_CAP + PCI_MSI_FLAGS, 0, 2);
    g_assert_cmpuint(live_routes(), ==, 0);
    g_assert_nonnull(bound_to(GSI));
    teardown(dev);
}

/* A driver without eventfds for UNMASK, as mtty: this process unmasks. */
static void test_intx_without_eventfd(void)
{
    uint64_t one = 1;
    PCIDevice *dev;

    setup();
    sim->no_unmask_eventfd = true;
    dev = plug_ok("");
    g_assert_cmpint(write(bound_to(GSI)->resample, &one, sizeof(one)), ==, sizeof(one));
    while (g_main_context_iteration(NULL, FALSE)) {
    }
    g_assert_cmpuint(sim->unmasks, ==, 1);
    teardown(dev);
}

static void test_reset(void)
{
    PCIDevice *dev;

    setup();
    dev = plug_ok("");
    map_bar0(dev);
    cfg_write(dev, MSIX_CAP + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE, 2);
    msix_entry(1, false);
    DEVICE_GET_CLASS(dev)->reset(DEVICE(dev));
    g_assert_cmpuint(sim->resets, ==, 0); /* opening it did that */
    vm_start();
    vm_stop(RUN_STATE_PAUSED);
    map_bar0(dev);
    cfg_write(dev, MSIX_CAP + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE, 2);
    msix_entry(1, false);
    DEVICE_GET_CLASS(dev)->reset(DEVICE(dev));
    g_assert_cmpuint(sim->resets, ==, 1);
    g_assert_cmphex(pci_get_word(sim->config + PCI_COMMAND), ==, 0);
    g_assert_cmphex(pci_get_word(sim->config + PM_CAP + PCI_PM_CTRL) & 3, ==, 0);
    g_assert_cmpint(sim->irq_index, ==, VFIO_PCI_INTX_IRQ_INDEX);
    g_assert_cmphex(cfg_read(dev, PCI_BASE_ADDRESS_0, 4), ==, PCI_BASE_ADDRESS_MEM_TYPE_64);
    g_assert_cmphex(cfg_read(dev, MSIX_CAP + PCI_MSIX_FLAGS, 2), ==, VECTORS - 1);
    g_assert_cmphex(mem_read(BAR0_AT + 0x1000), ==, 0xffffffff);
    teardown(dev);
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
    ioas = sim_ioas(2);
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

static int map_intx(int slot, int pin)
{
    return GSI + pin;
}

static void make_machine(void)
{
    static MemoryRegion low, high, private;
    static RAMBlock block;
    g_autoptr(JsonObject) opts = keyval_parse("iommufd,id=i0", "qom-type", NULL, NULL);
    g_autoptr(GError) err = NULL;
    HostMemoryBackend *be;
    PCIHostConfig config;

    bindings = g_array_new(FALSE, FALSE, sizeof(Binding));
    routes = g_array_new(FALSE, FALSE, sizeof(MSIMessage));
    memory_init();
    irqchip_register(&irqchip);
    accel_register(&accel_ops);
    sim_init();
    config = (PCIHostConfig) {
        .mem = address_space_memory.root,
        .io = address_space_io.root,
        .ecam_base = 0xe0000000,
        .ecam_buses = 1,
        .mem32 = { { 0xc0000000, 256 * MiB } },
        .io_ports = { 0xc000, 0x1000 },
        .map_intx = map_intx,
    };
    g_assert_true(pci_host_create(&config, &err));
    be = host_memory_default("ram", 2 * MiB, &err);
    g_assert_no_error(err);
    /* 640 KiB and the second MiB of a shared file, then a private mapping of it. */
    memory_region_init_ram(&low, NULL, "low", &be->block, 0, 0xa0000);
    memory_region_init_ram(&high, NULL, "high", &be->block, MiB, MiB);
    block = be->block;
    block.shared = false;
    memory_region_init_ram(&private, NULL, "private", &block, 0, MiB);
    memory_region_add_child(address_space_memory.root, 0, &low, 0);
    memory_region_add_child(address_space_memory.root, MiB, &high, 0);
    memory_region_add_child(address_space_memory.root, 2 * MiB, &private, 0);
    g_assert_true(user_object_add(opts, &err));
}

/* Where the test finds "0000:02:00.0" with its cdev 510:7. */
static void make_sysfs(char *top)
{
    g_autofree char *dir = NULL, *dev = NULL;

    sysfs = g_build_filename(top, "0000:02:00.0", NULL);
    dir = g_build_filename(sysfs, "vfio-dev", "vfio7", NULL);
    dev = g_build_filename(dir, "dev", NULL);
    g_assert_cmpint(g_mkdir_with_parents(dir, 0700), ==, 0);
    g_assert_true(g_file_set_contents(dev, "510:7\n", -1, NULL));
}

static void remove_sysfs(char *top)
{
    static const char *const parts[] = { "vfio-dev/vfio7/dev", "vfio-dev/vfio7", "vfio-dev", "" };

    for (size_t i = 0; i < G_N_ELEMENTS(parts); i++) {
        g_autofree char *path = g_build_filename(sysfs, parts[i], NULL);

        g_remove(path);
    }
    g_rmdir(top);
    g_free(sysfs);
}

int main(int argc, char **argv)
{
    g_autofree char *top = g_dir_make_tmp("viaduct-vfio-XXXXXX", NULL);
    int ret;

    g_test_init(&argc, &argv, NULL);
    make_machine();
    make_sysfs(top);
    g_test_add_func("/vfio/order", test_order);
    g_test_add_func("/vfio/each-call-fails", test_each_call_fails);
    g_test_add_func("/vfio/finding", test_finding);
    g_test_add_func("/vfio/properties", test_properties);
    g_test_add_func("/vfio/iommufd-fd", test_iommufd_fd);
    g_test_add_func("/vfio/config", test_config);
    g_test_add_func("/vfio/bars", test_bars);
    g_test_add_func("/vfio/bar-readonly", test_bar_readonly);
    g_test_add_func("/vfio/decode-order", test_decode_order);
    g_test_add_func("/vfio/rom", test_rom);
    g_test_add_data_func("/vfio/msix/dynamic", GINT_TO_POINTER(false), test_msix);
    g_test_add_data_func("/vfio/msix/noresize", GINT_TO_POINTER(true), test_msix);
    g_test_add_func("/vfio/msix/exhausted", test_msix_exhausted);
    g_test_add_func("/vfio/msix/userspace", test_msix_userspace);
    g_test_add_func("/vfio/msi", test_msi);
    g_test_add_func("/vfio/intx-without-eventfd", test_intx_without_eventfd);
    g_test_add_func("/vfio/reset", test_reset);
    g_test_add_func("/vfio/power", test_power);
    g_test_add_func("/vfio/memory", test_memory);
    g_test_add_func("/vfio/hostile", test_hostile);
    ret = g_test_run();
    remove_sysfs(top);
    return ret;
}
