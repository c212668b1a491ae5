/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "core/runstate.h"
#include "tests/unit/vfio-fixture.h"
#include "util/keyval.h"

/* ---- the input ---- */

uint64_t input_take(Input *in, unsigned bytes)
{
    uint64_t val = 0;

    for (unsigned i = 0; i < bytes && in->left; i++, in->data++, in->left--) {
        val |= (uint64_t)*in->data << i * 8;
    }
    return val;
}

const uint8_t *input_bytes(Input *in, size_t *n)
{
    const uint8_t *bytes = in->data;

    *n = MIN(*n, in->left);
    in->data += *n;
    in->left -= *n;
    return bytes;
}

/* ---- the machine ---- */

void fuzz_init(void)
{
    g_log_set_always_fatal(
        (GLogLevelFlags)(G_LOG_FATAL_MASK | G_LOG_LEVEL_CRITICAL | G_LOG_LEVEL_WARNING));
    vfio_fixture_begin();
    atexit(vfio_fixture_end);
    fuzz_spin(); /* what the main loop opens for itself is there now */
}

unsigned fuzz_open_fds(void)
{
    g_autoptr(GDir) dir = g_dir_open("/proc/self/fd", 0, NULL);
    unsigned n = 0;

    while (g_dir_read_name(dir)) {
        n++;
    }
    return n;
}

void fuzz_spin(void)
{
    for (unsigned i = 0; i < 8 && g_main_context_iteration(NULL, FALSE); i++) {
    }
}

static PCIDevice *device(const char *id)
{
    GObject *obj = object_resolve(id);

    return obj ? PCI_DEVICE(obj) : NULL;
}

static bool add(const char *text, bool hotplug)
{
    g_autoptr(JsonObject) opts = keyval_parse(text, "driver", NULL, NULL);
    g_autoptr(GError) err = NULL;
    bool ok = device_add(opts, hotplug, &err);

    g_assert_true(ok ? !err : err && *err->message && !strchr(err->message, '\n'));
    return ok;
}

bool fuzz_plug(uint8_t choice)
{
    static const char *const more[] = {
        "",
        ",x-no-mmap=on",
        ",x-msix-relocation=bar4",
        ",x-msix-relocation=bar5,x-no-kvm-msix=on",
        ",x-no-kvm-intx=on,x-no-kvm-msi=on",
        ",rombar=0,ats=off",
        ",x-msix-relocation=bar0,x-no-mmap=on",
        ",x-req=off,multifunction=on",
    };
    bool port = choice & 8, group = choice & 0x10;
    g_autofree char *text =
        g_strdup_printf("vfio-pci,id=d0,sysfsdev=%s%s%s%s", sysfs, group ? "" : ",iommufd=i0",
                        port ? ",bus=rp" : "", more[choice & 7]);

    if (port && !device("rp") && !add("pcie-root-port,id=rp", false)) {
        return false;
    }
    return add(text, port);
}

static void unplug(const char *id)
{
    if (device(id)) {
        device_destroy(DEVICE(device(id)));
    }
}

void fuzz_unplug(void)
{
    sim_fail(0);
    unplug("rp");
    unplug("d0");
    fuzz_spin();
    g_assert_cmpuint(sim_open_things(), ==, 0);
    g_assert_cmpuint(bindings->len, ==, 0);
    g_assert_cmpuint(live_routes(), ==, 0);
    g_array_set_size(routes, 0);
    sim_device_free(sim);
    g_free(sim_take_log());
}

/* ---- what happens ---- */

/* Registers with a meaning; the others are found by their addresses. */
static const uint16_t registers[] = {
    PCI_COMMAND,
    PCI_BASE_ADDRESS_0,
    PCI_BASE_ADDRESS_1,
    PCI_BASE_ADDRESS_2,
    PCI_ROM_ADDRESS,
    PCI_STATUS,
    MSIX_CAP + PCI_MSIX_FLAGS,
    MSI_CAP + PCI_MSI_FLAGS,
    MSI_CAP + PCI_MSI_ADDRESS_LO,
    MSI_CAP + PCI_MSI_DATA_64,
    PM_CAP + PCI_PM_CTRL,
    EXPRESS_CAP + PCI_EXP_DEVCTL,
    PCI_BASE_ADDRESS_3,
    PCI_BASE_ADDRESS_4,
    PCI_INTERRUPT_LINE,
    0x100,
};

/* As the bus lets them through. */
static void config_access(PCIDevice *dev, uint32_t addr, unsigned size, bool is_write, uint32_t val)
{
    unsigned len = 1U << size % 3;

    addr &= (PCIE_CONFIG_SIZE - 1) & ~(len - 1);
    if (!dev || addr >= dev->config_size) {
        return;
    }
    if (is_write) {
        cfg_write(dev, addr, len == 4 ? val : val & ((1U << len * 8) - 1), len);
    } else {
        cfg_read(dev, addr, len);
    }
}

static void do_config(Input *in, bool is_write)
{
    uint32_t addr = (uint32_t)input_take(in, 2);

    config_access(device("d0"), addr, addr >> 14, is_write,
                  is_write ? (uint32_t)input_take(in, 4) : 0);
}

static void do_config_write(Input *in)
{
    do_config(in, true);
}

static void do_config_read(Input *in)
{
    do_config(in, false);
}

static void do_register(Input *in)
{
    uint8_t which = (uint8_t)input_take(in, 1);
    unsigned size = which & 0x40 ? 2 : 1;

    config_access(device("d0"), registers[which % G_N_ELEMENTS(registers)], size, true,
                  (uint32_t)input_take(in, size * 2));
}

static void do_port(Input *in)
{
    PCIDevice *port = device("rp");
    uint32_t addr = (uint32_t)input_take(in, 1), val = (uint32_t)input_take(in, 2);

    if (addr & 1 && port) { /* the slot's registers, which are what it is about */
        addr = pci_find_capability(port, PCI_CAP_ID_EXP) + PCI_EXP_SLTCTL + (addr & 2);
    }
    config_access(port, addr, 1, true, val);
}

/* Low addresses are BAR 0's and what is around it, the others anywhere. */
static void do_memory(Input *in, bool is_write)
{
    uint32_t at = (uint32_t)input_take(in, 2);
    uint64_t val = is_write ? input_take(in, 4) * 0x100000001ULL : 0;
    bool io = at >> 15;
    uint64_t base = io ? 0xc000 : BAR0_AT;
    AddressSpace *as = io ? &address_space_io : &address_space_memory;

    address_space_rw(as, base + (at & 0x7fff), &val, 1U << (at >> 3 ^ at) % 4, is_write);
}

static void do_memory_write(Input *in)
{
    do_memory(in, true);
}

static void do_memory_read(Input *in)
{
    do_memory(in, false);
}

/* The ways that a guest takes to configuration space: ECAM, and the two ports. */
static void do_bus(Input *in)
{
    uint32_t at = (uint32_t)input_take(in, 3), address = 0x80000000 | (at & 0xfffffc);
    uint64_t val = input_take(in, 4);
    unsigned len = 1U << (at >> 20) % 4;
    bool is_write = at >> 22 & 1;

    if (at >> 23) {
        address_space_rw(&address_space_memory, 0xe0000000 + (at & 0xfffff), &val, len, is_write);
    } else {
        address_space_rw(&address_space_io, 0xcf8, &address, 4, true);
        address_space_rw(&address_space_io, 0xcfc + (at & 3), &val, len, is_write);
    }
}

/* The guest has served its interrupt, which KVM tells. */
static void do_eoi(Input *in)
{
    for (guint i = 0; i < bindings->len; i++) {
        int fd = g_array_index(bindings, Binding, i).resample;

        if (fd >= 0) {
            host_eventfd_signal(fd);
        }
    }
}

static void do_map_bars(Input *in)
{
    PCIDevice *dev = device("d0");

    if (dev) {
        map_bar0(dev);
        cfg_write(dev, PCI_BASE_ADDRESS_2, 0xc000, 4);
        cfg_write(dev, PCI_ROM_ADDRESS, (uint32_t)BAR0_AT + BAR0_SIZE + PCI_ROM_ADDRESS_ENABLE, 4);
        cfg_write(dev, PCI_COMMAND, PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
    }
}

static void do_msix_entry(Input *in)
{
    uint8_t which = (uint8_t)input_take(in, 1);

    msix_entry(which % (VECTORS + 2), which >> 7);
}

static void do_fire(Input *in)
{
    sim_fire(sim, (unsigned)input_take(in, 1) % 16);
}

static void do_notify(Input *in)
{
    sim_notify(sim, input_take(in, 1) & 1 ? VFIO_PCI_REQ_IRQ_INDEX : VFIO_PCI_ERR_IRQ_INDEX);
}

static void do_spin(Input *in)
{
    fuzz_spin();
}

/* Resets are slow, and after some there is nothing new to be seen. */
static unsigned resets;

static void do_reset(Input *in)
{
    if (resets++ < 4) {
        devices_reset();
    }
}

static void do_assign(Input *in)
{
    if (resets++ < 4) {
        pci_assign_resources(NULL);
    }
}

static void do_fail(Input *in)
{
    sim_fail((unsigned)input_take(in, 1) % 8 + 1);
}

static void do_unplug(Input *in)
{
    if (device("d0")) {
        device_del("d0", NULL);
    }
}

static void do_plug(Input *in)
{
    uint8_t choice = (uint8_t)input_take(in, 1);

    if (!device("d0")) {
        fuzz_plug(choice);
    }
}

static void do_run(Input *in)
{
    if (run_state_is_running()) {
        vm_stop(RUN_STATE_PAUSED);
    } else {
        vm_start();
    }
}

static void do_dma(Input *in)
{
    sim_dma_write(sim, input_take(in, 3));
}

void fuzz_guest(Input *in)
{
    static void (*const all[])(Input * in) = {
        do_config_write, do_config_read, do_register, do_register,   do_register,
        do_memory_write, do_memory_read, do_map_bars, do_msix_entry, do_msix_entry,
        do_fire,         do_notify,      do_spin,     do_reset,      do_assign,
        do_fail,         do_unplug,      do_plug,     do_run,        do_dma,
        do_port,         do_port,        do_bus,      do_bus,        do_eoi,
    };

    resets = 0;
    for (unsigned n = 0; in->left && n < 300; n++) {
        all[input_take(in, 1) % G_N_ELEMENTS(all)](in);
    }
}
