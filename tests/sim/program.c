/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The whole program on the simulated kernel.  This file only comes before and after main():
 *
 *   VIADUCT_SIM="KIND=MINOR[/IOMMU] ..."  the devices: nvme (MSI-X), intx, mdev,
 *                                         mover (an nvme that can be migrated), restless (one
 *                                         that changes between any two reads)
 *   VIADUCT_SIM_FAIL="[@]N[/CHOICE[+]]"   call N of the kernel fails, and with + all after it;
 *                                         with @ it is the Nth since SIGUSR1
 *   VIADUCT_SIM_CONTENT=1                 at the end, what movers have, each on a line
 *   VIADUCT_SIM_LOG=1                     at the end, the calls to the kernel if something is left
 *   SIGUSR2                               each device signals the first vector that it has on
 *
 * What is left open at the end is one line each kind on stderr, and exit status 3.
 */
#include <glib-unix.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hw/pci/pci.h"
#include "tests/sim/internal.h"
#include "util/linux-iommufd.h"

#define STATUS_LEFT_OPEN 3
#define VECTORS          4
#define BAR0_SIZE        0x4000
#define TABLE_AT         0x2000
#define PBA_AT           0x3000
#define MSIX_CAP         0x40
#define EXPRESS_CAP      0x60
#define CONTENT_SIZE     (3U << 20)

static void make_config(uint8_t *c, uint16_t device_id)
{
    pci_set_word(c + PCI_VENDOR_ID, 0x1b36);
    pci_set_word(c + PCI_DEVICE_ID, device_id);
    pci_set_long(c + PCI_CLASS_REVISION, 0x01080202);
    pci_set_long(c + PCI_BASE_ADDRESS_0, PCI_BASE_ADDRESS_MEM_TYPE_64);
    pci_set_word(c + PCI_STATUS, PCI_STATUS_CAP_LIST);
    c[PCI_CAPABILITY_LIST] = EXPRESS_CAP;
    c[EXPRESS_CAP] = PCI_CAP_ID_EXP;
    pci_set_word(c + EXPRESS_CAP + PCI_EXP_FLAGS, 2);
}

static SimDevice *make_device(unsigned minor, uint16_t device_id)
{
    SimDevice *dev = sim_device_new(minor);

    make_config(dev->config, device_id);
    sim_region_set(dev, VFIO_PCI_BAR0_REGION_INDEX, BAR0_SIZE,
                   VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE |
                       VFIO_REGION_INFO_FLAG_MMAP);
    return dev;
}

static SimDevice *make_intx(unsigned minor)
{
    SimDevice *dev = make_device(minor, 0x11);

    dev->config[PCI_INTERRUPT_PIN] = 1;
    dev->irqs[VFIO_PCI_INTX_IRQ_INDEX].count = 1;
    dev->irqs[VFIO_PCI_INTX_IRQ_INDEX].flags = VFIO_IRQ_INFO_MASKABLE | VFIO_IRQ_INFO_AUTOMASKED;
    return dev;
}

static SimDevice *make_nvme(unsigned minor)
{
    SimDevice *dev = make_intx(minor);
    uint8_t *c = dev->config;

    pci_set_word(c + PCI_DEVICE_ID, 0x10);
    c[EXPRESS_CAP + 1] = MSIX_CAP;
    c[MSIX_CAP] = PCI_CAP_ID_MSIX;
    pci_set_word(c + MSIX_CAP + PCI_MSIX_FLAGS, VECTORS - 1);
    pci_set_long(c + MSIX_CAP + PCI_MSIX_TABLE, TABLE_AT);
    pci_set_long(c + MSIX_CAP + PCI_MSIX_PBA, PBA_AT);
    dev->irqs[VFIO_PCI_MSIX_IRQ_INDEX].count = VECTORS;
    dev->irqs[VFIO_PCI_MSIX_IRQ_INDEX].flags = VFIO_IRQ_INFO_NORESIZE;
    dev->irqs[VFIO_PCI_ERR_IRQ_INDEX].count = 1;
    dev->irqs[VFIO_PCI_REQ_IRQ_INDEX].count = 1;
    return dev;
}

/* An nvme that can be migrated; each one's content is its own. */
static SimDevice *make_mover(unsigned minor)
{
    SimDevice *dev = make_nvme(minor);

    sim_mig_init(dev, VFIO_MIGRATION_STOP_COPY | VFIO_MIGRATION_P2P | VFIO_MIGRATION_PRE_COPY,
                 CONTENT_SIZE);
    for (unsigned i = 0; i < CONTENT_SIZE; i += 4096) {
        sim_mig_change(dev, i, (uint8_t)minor);
    }
    dev->logs_dma = true;
    return dev;
}

/* One that always has something more to send. */
static SimDevice *make_restless(unsigned minor)
{
    SimDevice *dev = make_mover(minor);

    dev->mig.restless = true;
    return dev;
}

static SimDevice *make_mdev(unsigned minor)
{
    SimDevice *dev = make_device(minor, 0x12);

    dev->mdev = true;
    return dev;
}

static const struct {
    const char *name;
    SimDevice *(*make)(unsigned minor);
} kinds[] = {
    { "nvme", make_nvme },   { "intx", make_intx },         { "mdev", make_mdev },
    { "mover", make_mover }, { "restless", make_restless },
};

static void __attribute__((noreturn)) bad(const char *name, const char *text)
{
    fprintf(stderr, "sim: %s: bad value '%s'\n", name, text);
    exit(2);
}

/* Where the script's folder for sysfs has it: 0000:MINOR:00.0, in a group of that number. */
static void name_device(SimDevice *dev, unsigned minor, unsigned iommu)
{
    g_autofree char *name = g_strdup_printf("0000:%02x:00.0", minor);

    dev->name = g_intern_string(name);
    dev->group = minor;
    dev->iommu = iommu;
}

static void make_one(const char *text)
{
    g_auto(GStrv) parts = g_strsplit(text, "=", 2);

    for (size_t i = 0; parts[0] && parts[1] && i < G_N_ELEMENTS(kinds); i++) {
        if (g_str_equal(parts[0], kinds[i].name)) {
            unsigned minor = 0, iommu = 0;

            if (sscanf(parts[1], "%u/%u", &minor, &iommu) < 1) {
                break;
            }
            name_device(kinds[i].make(minor), minor, iommu);
            return;
        }
    }
    bad("VIADUCT_SIM", text);
}

static gboolean fire_all(gpointer opaque)
{
    for (guint i = 0; i < sim_devices->len; i++) {
        sim_fire(sim_devices->pdata[i], 0);
    }
    return G_SOURCE_CONTINUE;
}

static struct {
    unsigned nth, choice;
    bool on;
} failure;

static void fail_from_now_on(int signum)
{
    sim_fail_as(failure.nth, failure.choice, failure.on);
}

static void plan_failure(const char *text)
{
    if (sscanf(text + (*text == '@'), "%u/%u", &failure.nth, &failure.choice) < 1) {
        bad("VIADUCT_SIM_FAIL", text);
    }
    failure.on = g_str_has_suffix(text, "+");
    if (*text == '@') {
        signal(SIGUSR1, fail_from_now_on);
    } else {
        fail_from_now_on(0);
    }
}

static void __attribute__((constructor)) before_main(void)
{
    const char *devices = getenv("VIADUCT_SIM"), *fail = getenv("VIADUCT_SIM_FAIL");
    g_auto(GStrv) words = g_strsplit(devices ?: "", " ", -1);

    sim_init();
    sim_watch_ioctls();
    for (char **word = words; *word; word++) {
        make_one(*word);
    }
    if (fail) {
        plan_failure(fail);
    }
    g_unix_signal_add(SIGUSR2, fire_all, NULL);
}

static void __attribute__((destructor)) after_main(void)
{
    unsigned left = sim_open_things();

    if (left) {
        g_autofree char *log = sim_take_log();

        fprintf(stderr, "sim: %u things are left open\n", left);
        if (getenv("VIADUCT_SIM_LOG")) {
            fputs(log, stderr);
        }
        fflush(NULL);
        _exit(STATUS_LEFT_OPEN);
    }
    for (guint i = 0; getenv("VIADUCT_SIM_CONTENT") && i < sim_devices->len; i++) {
        const GByteArray *content = ((SimDevice *)sim_devices->pdata[i])->mig.content;
        g_autofree char *sum =
            g_compute_checksum_for_data(G_CHECKSUM_SHA1, content->data, content->len);

        fprintf(stderr, "sim: %s\n", sum);
    }
    while (sim_devices->len) {
        sim_device_free(sim_devices->pdata[0]);
    }
}
