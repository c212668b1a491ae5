/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/unit/vfio-fixture.h"

#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

#include "backends/hostmem.h"
#include "core/accel.h"
#include "util/error.h"
#include "util/keyval.h"
#include "util/linux-iommufd.h"

/* ---- what stands for KVM ---- */

GArray *bindings, *routes;
unsigned commits, sent;
MSIMessage last_sent;
char *sysfs;
static char *sysfs_top;
SimDevice *sim;
bool by_group;
SimDevice *sims[3];
PCIDevice *devices[3];

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

static const AccelOps accel_ops = { .name = "kvm",
                                    .pause_vcpus = no_vcpus,
                                    .resume_vcpus = no_vcpus,
                                    .device_fd_add = device_fd_add,
                                    .device_fd_del = device_fd_del };

const Binding *bound_to(int route)
{
    for (guint i = 0; i < bindings->len; i++) {
        if (g_array_index(bindings, Binding, i).route == route) {
            return &g_array_index(bindings, Binding, i);
        }
    }
    return NULL;
}

unsigned live_routes(void)
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

void setup(void)
{
    sim = sim_device_new(7);
    fill_config(sim->config);
    sim_region_set(sim, 0, BAR0_SIZE, RWM);
    sim_region_set(sim, 2, 0x20, RW);
    sim->hw_caps = HW_CAP_PCI_ATS_NOT_SUPPORTED;
    sim->irqs[VFIO_PCI_INTX_IRQ_INDEX].count = 1;
    sim->irqs[VFIO_PCI_MSI_IRQ_INDEX].count = 4;
    sim->irqs[VFIO_PCI_MSI_IRQ_INDEX].flags = VFIO_IRQ_INFO_NORESIZE;
    sim->irqs[VFIO_PCI_MSIX_IRQ_INDEX].count = VECTORS;
    sim->irqs[VFIO_PCI_MSIX_IRQ_INDEX].flags = VFIO_IRQ_INFO_NORESIZE;
    g_free(sim_take_log());
}

PCIDevice *plug(const char *more, GError **errp)
{
    g_autofree char *text = g_strdup_printf("vfio-pci,id=d0,sysfsdev=%s%s%s", sysfs,
                                            by_group ? "" : ",iommufd=i0", more);
    g_autoptr(JsonObject) opts = keyval_parse(text, "driver", NULL, NULL);

    return device_add(opts, false, errp) ? PCI_DEVICE(object_resolve("d0")) : NULL;
}

PCIDevice *plug_ok(const char *more)
{
    g_autoptr(GError) err = NULL;
    PCIDevice *dev = plug(more, &err);

    g_assert_no_error(err);
    g_free(sim_take_log());
    return dev;
}

PCIDevice *plug_with_msix(unsigned vectors)
{
    PCIDevice *dev;

    setup();
    dev = plug_ok("");
    map_bar0(dev);
    for (unsigned i = 0; i < vectors; i++) {
        msix_entry(i, false);
    }
    cfg_write(dev, MSIX_CAP + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE, 2);
    g_assert_cmpuint(bindings->len, ==, vectors);
    return dev;
}

/* And nothing may be left. */
void teardown(PCIDevice *dev)
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

void assert_plug_fails(const char *more, const char *why)
{
    g_autoptr(GError) err = NULL;

    g_assert_null(plug(more, &err));
    g_test_message("%s", err->message);
    g_assert_nonnull(strstr(err->message, why));
    g_assert_null(strchr(err->message, '\n'));
    g_assert_cmpuint(sim_open_things(), ==, 0);
}

/* ---- three devices ---- */

SimDevice *sim_twin(const char *name, unsigned group)
{
    SimDevice *twin = sim_device_new(20);

    twin->name = name;
    twin->group = group;
    memcpy(twin->config, sim->config, sizeof(sim->config));
    memcpy(twin->irqs, sim->irqs, sizeof(sim->irqs));
    sim_region_set(twin, 0, BAR0_SIZE, RWM);
    sim_region_set(twin, 2, 0x20, RW);
    return twin;
}

void setup_three(void)
{
    for (unsigned i = 0; i < 3; i++) {
        sims[i] = sim_device_new(7 + i);
        pci_set_word(sims[i]->config, 0x1234);
        sims[i]->flags = VFIO_DEVICE_FLAGS_PCI;
    }
    g_free(sim_take_log());
}

bool plug_nth(unsigned i, GError **errp)
{
    g_autofree char *top = g_path_get_dirname(sysfs);
    g_autofree char *text =
        g_strdup_printf("vfio-pci,id=d%u,sysfsdev=%s/0000:%02x:00.0,iommufd=i0", i, top, 2 + i);
    g_autofree char *id = g_strdup_printf("d%u", i);
    g_autoptr(JsonObject) opts = keyval_parse(text, "driver", NULL, NULL);
    bool ok = device_add(opts, false, errp);

    devices[i] = ok ? PCI_DEVICE(object_resolve(id)) : NULL;
    return ok;
}

void unplug_nth(unsigned i)
{
    device_destroy(DEVICE(g_steal_pointer(&devices[i])));
}

void teardown_three(void)
{
    g_assert_cmpuint(sim_open_things(), ==, 0);
    for (unsigned i = 0; i < 3; i++) {
        sim_device_free(sims[i]);
    }
}

/* ---- accesses ---- */

uint32_t cfg_read(PCIDevice *dev, uint32_t addr, unsigned len)
{
    return PCI_DEVICE_GET_CLASS(dev)->config_read(dev, addr, len);
}

void cfg_write(PCIDevice *dev, uint32_t addr, uint32_t val, unsigned len)
{
    PCI_DEVICE_GET_CLASS(dev)->config_write(dev, addr, val, len);
}

void mem_write(uint64_t addr, uint32_t val)
{
    address_space_rw(&address_space_memory, addr, &val, 4, true);
}

uint32_t mem_read(uint64_t addr)
{
    uint32_t val;

    address_space_rw(&address_space_memory, addr, &val, 4, false);
    return val;
}

void map_bar0(PCIDevice *dev)
{
    cfg_write(dev, PCI_BASE_ADDRESS_0, BAR0_AT, 4);
    cfg_write(dev, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
}

void msix_entry(unsigned vector, bool masked)
{
    uint64_t at = BAR0_AT + TABLE_AT + vector * 16;

    mem_write(at, 0xfee01000);
    mem_write(at + 8, 0x40 + vector);
    mem_write(at + 12, masked);
}

/* Whether the guest reaches the device's memory: the first page of BAR 0, which is not trapped. */
bool bar0_mapped(void)
{
    FlatView *view = address_space_view(&address_space_memory);
    const MemoryRange *r = flat_view_find(view, BAR0_AT);
    bool mapped = r && r->mr->kind == REGION_RAM_DEVICE;

    flat_view_unref(view);
    return mapped;
}

static int map_intx(int slot, int pin)
{
    return GSI + pin;
}

static void make_machine(void)
{
    static MemoryRegion low, high, private;
    static RAMBlock block;
    g_autoptr(JsonObject) opts = keyval_parse("iommufd,id=i0,map-wait=on", "qom-type", NULL, NULL);
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

/* Where the test finds "0000:02:00.0" with its cdev 510:7, and two more; each in a group of
 * its own, from 12 on. */
static const struct {
    const char *name;
    unsigned minor;
} in_sysfs[] = { { "0000:02:00.0", 7 }, { "0000:03:00.0", 8 }, { "0000:04:00.0", 9 } };

char *make_sysfs_device(const char *name, unsigned minor, unsigned group)
{
    g_autofree char *path = g_build_filename(sysfs_top, name, NULL);
    g_autofree char *dir = g_strdup_printf("%s/vfio-dev/vfio%u", path, minor);
    g_autofree char *dev = g_build_filename(dir, "dev", NULL);
    g_autofree char *number = g_strdup_printf("%u:%u\n", SIM_MAJOR, minor);
    g_autofree char *members = g_strdup_printf("%s/groups/%u/devices", sysfs_top, group);
    g_autofree char *member = g_build_filename(members, name, NULL);
    g_autofree char *link = g_build_filename(path, "iommu_group", NULL);
    g_autofree char *folder = g_path_get_dirname(members);

    g_assert_cmpint(g_mkdir_with_parents(dir, 0700), ==, 0);
    g_assert_true(g_file_set_contents(dev, number, -1, NULL));
    g_assert_cmpint(g_mkdir_with_parents(members, 0700), ==, 0);
    g_assert_cmpint(symlink(path, member), ==, 0);
    g_assert_cmpint(symlink(folder, link), ==, 0);
    return g_steal_pointer(&path);
}

static void remove_tree(const char *path)
{
    g_autoptr(GDir) dir =
        g_file_test(path, G_FILE_TEST_IS_SYMLINK) ? NULL : g_dir_open(path, 0, NULL);
    const char *name;

    while (dir && (name = g_dir_read_name(dir))) {
        g_autofree char *child = g_build_filename(path, name, NULL);

        remove_tree(child);
    }
    g_remove(path);
}

void vfio_fixture_begin(void)
{
    make_machine();
    sysfs_top = g_dir_make_tmp("viaduct-vfio-XXXXXX", NULL);
    for (unsigned i = 0; i < G_N_ELEMENTS(in_sysfs); i++) {
        g_free(make_sysfs_device(in_sysfs[i].name, in_sysfs[i].minor, 12 + i));
    }
    sysfs = g_build_filename(sysfs_top, in_sysfs[0].name, NULL);
}

void vfio_fixture_end(void)
{
    remove_tree(sysfs_top);
    g_clear_pointer(&sysfs_top, g_free);
    g_clear_pointer(&sysfs, g_free);
}

int vfio_test_run(int argc, char **argv, void (*add)(void))
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    vfio_fixture_begin();
    add();
    ret = g_test_run();
    vfio_fixture_end();
    return ret;
}
