/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vfio-pci on the simulated kernel: configuration space, BARs, ROM, power, reset. */
#include <errno.h>
#include <string.h>

#include "core/runstate.h"
#include "tests/unit/vfio-fixture.h"
#include "util/hostcalls.h"

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
    g_autoptr(GError) err = NULL;

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
    dev = plug(",x-no-mmap=on", &err);
    g_assert_no_error(err);
    map_bar0(dev);
    log = sim_take_log();
    g_assert_null(strstr(log, "mmap"));
    g_assert_null(strstr(log, "DMA_BUF"));
    g_assert_false(bar0_mapped());
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

/* ---- a ROM that is shorter than its device says ---- */

#define ROM_THERE 0x800U

static const HostCalls *whole;
static bool interrupted;

static ssize_t short_pread(int fd, void *buf, size_t len, off_t offset)
{
    uint64_t at = (uint64_t)offset & ((1ULL << 40) - 1);

    if (offset >> 40 == VFIO_PCI_ROM_REGION_INDEX) {
        if (!interrupted) {
            interrupted = true;
            errno = EINTR;
            return -1;
        }
        len = at < ROM_THERE ? MIN(len, ROM_THERE - at) : 0;
    }
    return len ? whole->pread(fd, buf, len, offset) : 0;
}

static void test_rom_short(void)
{
    HostCalls calls;
    PCIDevice *dev;

    setup();
    whole = hostcalls;
    calls = *whole;
    calls.pread = short_pread;
    hostcalls = &calls;
    sim_region_set(sim, VFIO_PCI_ROM_REGION_INDEX, 0x1000, VFIO_REGION_INFO_FLAG_READ);
    sim_region_poke(sim, VFIO_PCI_ROM_REGION_INDEX, ROM_THERE - 4, 0x12345678);
    dev = plug_ok("");
    cfg_write(dev, PCI_ROM_ADDRESS, 0xc1000001, 4);
    cfg_write(dev, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
    mem_write(0xc1000000 + ROM_THERE - 4, 0); /* changes nothing */
    g_assert_cmphex(mem_read(0xc1000000 + ROM_THERE - 4), ==, 0x12345678);
    g_assert_cmphex(mem_read(0xc1000000 + ROM_THERE), ==, 0xffffffff);
    g_assert_true(interrupted);
    hostcalls = whole;
    teardown(dev);
    setup();
    sim_region_set(sim, VFIO_PCI_ROM_REGION_INDEX, 32 << 20, VFIO_REGION_INFO_FLAG_READ);
    assert_plug_fails("", "its ROM is 0x2000000 bytes long, which is more than there can be");
    teardown(NULL);
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

static void add_tests(void)
{
    g_test_add_func("/vfio/config", test_config);
    g_test_add_func("/vfio/bars", test_bars);
    g_test_add_func("/vfio/bar-readonly", test_bar_readonly);
    g_test_add_func("/vfio/decode-order", test_decode_order);
    g_test_add_func("/vfio/rom", test_rom);
    g_test_add_func("/vfio/rom-short", test_rom_short);
    g_test_add_func("/vfio/reset", test_reset);
    g_test_add_func("/vfio/power", test_power);
}

int main(int argc, char **argv)
{
    return vfio_test_run(argc, argv, add_tests);
}
