/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vfio.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/pci_regs.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define HUGE_PAGE ((size_t)2 << 20)

static void print(const char *before, const char *format, va_list args)
{
    char text[256];

    vsnprintf(text, sizeof(text), format, args);
    printf("guest: %s%s\n", before, text);
    fflush(stdout);
}

void say(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    print("", format, args);
    va_end(args);
}

void die(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    print("FAILED: ", format, args);
    va_end(args);
    exit(1);
}

/* ---- the function ---- */

static int group_open(const char *address)
{
    char link[128], target[256], node[64];
    ssize_t n;
    int fd;

    snprintf(link, sizeof(link), "/sys/bus/pci/devices/%s/iommu_group", address);
    n = readlink(link, target, sizeof(target) - 1);
    if (n < 0) {
        die("%s: %s", link, strerror(errno));
    }
    target[n] = 0;
    snprintf(node, sizeof(node), "/dev/vfio/noiommu-%d", atoi(strrchr(target, '/') + 1));
    fd = open(node, O_RDWR);
    if (fd < 0) {
        die("%s: %s", node, strerror(errno));
    }
    return fd;
}

static uint64_t physical_bar(const char *address)
{
    char path[128];
    unsigned long long start = 0;
    FILE *file;

    snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/resource", address);
    file = fopen(path, "r");
    if (!file || fscanf(file, "%llx", &start) != 1 || !start) {
        die("%s: no address of BAR 0", path);
    }
    fclose(file);
    return start;
}

Device device_open_unmapped(const char *address)
{
    Device dev = { .address = address, .bar_address = physical_bar(address) };
    struct vfio_device_info info = { .argsz = sizeof(info) };
    struct vfio_region_info bar = { .argsz = sizeof(bar), .index = VFIO_PCI_BAR0_REGION_INDEX };
    struct vfio_region_info config = { .argsz = sizeof(config),
                                       .index = VFIO_PCI_CONFIG_REGION_INDEX };
    int container = open("/dev/vfio/vfio", O_RDWR), group = group_open(address);

    if (ioctl(group, VFIO_GROUP_SET_CONTAINER, &container) ||
        ioctl(container, VFIO_SET_IOMMU, VFIO_NOIOMMU_IOMMU)) {
        die("%s: no VFIO without IOMMU: %s", address, strerror(errno));
    }
    dev.fd = ioctl(group, VFIO_GROUP_GET_DEVICE_FD, address);
    if (dev.fd < 0 || ioctl(dev.fd, VFIO_DEVICE_GET_INFO, &info) ||
        ioctl(dev.fd, VFIO_DEVICE_GET_REGION_INFO, &bar) ||
        ioctl(dev.fd, VFIO_DEVICE_GET_REGION_INFO, &config)) {
        die("%s: VFIO does not open it: %s", address, strerror(errno));
    }
    dev.can_reset = info.flags & VFIO_DEVICE_FLAGS_RESET;
    dev.config = config.offset;
    dev.bar_offset = bar.offset;
    dev.bar_size = bar.size;
    device_enable(&dev, true);
    return dev;
}

Device device_open(const char *address)
{
    Device dev = device_open_unmapped(address);

    dev.bar =
        mmap(NULL, dev.bar_size, PROT_READ | PROT_WRITE, MAP_SHARED, dev.fd, (off_t)dev.bar_offset);
    if (dev.bar == MAP_FAILED) {
        die("%s: BAR 0 cannot be mapped: %s", address, strerror(errno));
    }
    return dev;
}

uint16_t config_read(const Device *dev, unsigned at)
{
    uint16_t value;

    if (pread(dev->fd, &value, 2, (off_t)(dev->config + at)) != 2) {
        die("%s: configuration space at 0x%x: %s", dev->address, at, strerror(errno));
    }
    return value;
}

void config_write(const Device *dev, unsigned at, uint16_t value)
{
    if (pwrite(dev->fd, &value, 2, (off_t)(dev->config + at)) != 2) {
        die("%s: configuration space at 0x%x: %s", dev->address, at, strerror(errno));
    }
}

void device_enable(const Device *dev, bool on)
{
    const uint16_t bits = PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
    uint16_t command = config_read(dev, PCI_COMMAND);

    config_write(dev, PCI_COMMAND, (uint16_t)(on ? command | bits : command & ~bits));
}

/* Without a mapping the guest's kernel does it. */
static void bar_access(const Device *dev, unsigned at, void *value, size_t size, bool write)
{
    off_t offset = (off_t)(dev->bar_offset + at);
    ssize_t n = write ? pwrite(dev->fd, value, size, offset) : pread(dev->fd, value, size, offset);

    if (n != (ssize_t)size) {
        die("%s: BAR 0 at 0x%x: %s", dev->address, at, strerror(errno));
    }
}

uint32_t bar_read(const Device *dev, unsigned at)
{
    uint32_t value;

    if (dev->bar) {
        return *(volatile uint32_t *)(dev->bar + at);
    }
    bar_access(dev, at, &value, sizeof(value), false);
    return value;
}

uint64_t bar_read64(const Device *dev, unsigned at)
{
    uint64_t value;

    if (dev->bar) {
        return *(volatile uint64_t *)(dev->bar + at);
    }
    bar_access(dev, at, &value, sizeof(value), false);
    return value;
}

void bar_write(const Device *dev, unsigned at, uint32_t value)
{
    if (dev->bar) {
        *(volatile uint32_t *)(dev->bar + at) = value;
    } else {
        bar_access(dev, at, &value, sizeof(value), true);
    }
}

void bar_write64(const Device *dev, unsigned at, uint64_t value)
{
    if (dev->bar) {
        *(volatile uint64_t *)(dev->bar + at) = value;
    } else {
        bar_access(dev, at, &value, sizeof(value), true);
    }
}

/* ---- interrupts ---- */

static void set_irqs(const Device *dev, unsigned index, uint32_t flags, unsigned count, int fd)
{
    struct {
        struct vfio_irq_set set;
        int32_t fd;
    } arg = { .set = { .argsz = sizeof(arg), .flags = flags, .index = index, .count = count },
              .fd = fd };

    if (ioctl(dev->fd, VFIO_DEVICE_SET_IRQS, &arg)) {
        die("%s: VFIO_DEVICE_SET_IRQS index %u flags 0x%x count %u: %s", dev->address, index, flags,
            count, strerror(errno));
    }
}

int irq_enable(const Device *dev, unsigned index)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

    set_irqs(dev, index, VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER, 1, fd);
    return fd;
}

void msix_enable(const Device *dev, int *fds, unsigned n)
{
    char buffer[sizeof(struct vfio_irq_set) + 64 * sizeof(int)] = { 0 };
    struct vfio_irq_set *set = (struct vfio_irq_set *)buffer;

    if (n > 64) {
        die("%s: %u vectors", dev->address, n);
    }
    *set = (struct vfio_irq_set) {
        .argsz = sizeof(buffer),
        .flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
        .index = VFIO_PCI_MSIX_IRQ_INDEX,
        .count = n,
    };
    for (unsigned i = 0; i < n; i++) {
        fds[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    }
    memcpy(set->data, fds, n * sizeof(*fds));
    if (ioctl(dev->fd, VFIO_DEVICE_SET_IRQS, set)) {
        die("%s: %u MSI-X vectors: %s", dev->address, n, strerror(errno));
    }
}

void irq_disable(const Device *dev, unsigned index, int fd)
{
    set_irqs(dev, index, VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER, 0, -1);
    close(fd);
}

void irq_mask(const Device *dev, bool mask)
{
    uint32_t action = mask ? VFIO_IRQ_SET_ACTION_MASK : VFIO_IRQ_SET_ACTION_UNMASK;

    set_irqs(dev, VFIO_PCI_INTX_IRQ_INDEX, VFIO_IRQ_SET_DATA_NONE | action, 1, -1);
}

uint64_t irq_wait(int fd, int ms)
{
    struct pollfd p = { .fd = fd, .events = POLLIN };
    uint64_t count = 0;

    if (poll(&p, 1, ms) == 1 && read(fd, &count, sizeof(count)) != sizeof(count)) {
        die("an eventfd cannot be read: %s", strerror(errno));
    }
    return count;
}

/* ---- memory ---- */

uint64_t physical(const void *p)
{
    int fd = open("/proc/self/pagemap", O_RDONLY);
    uint64_t entry = 0, page = (uint64_t)sysconf(_SC_PAGESIZE);

    if (fd < 0 || pread(fd, &entry, 8, (off_t)((uintptr_t)p / page * 8)) != 8 || !(entry >> 63)) {
        die("/proc/self/pagemap does not say where memory is");
    }
    close(fd);
    return (entry & ((UINT64_C(1) << 55) - 1)) * page + (uintptr_t)p % page;
}

uint8_t *huge_memory(size_t size)
{
    size_t n = (size + HUGE_PAGE - 1) / HUGE_PAGE;
    static size_t all = 4; /* some to spare */
    void *p;
    FILE *pages = fopen("/proc/sys/vm/nr_hugepages", "w");

    all += n;
    if (pages) {
        fprintf(pages, "%zu\n", all);
        fclose(pages);
    }
    p = mmap(NULL, n * HUGE_PAGE, PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_POPULATE, -1, 0);
    if (p == MAP_FAILED) {
        die("no %zu huge pages: %s", n, strerror(errno));
    }
    memset(p, 0, n * HUGE_PAGE);
    return p;
}

uint8_t *dma_memory(uint64_t *address)
{
    uint8_t *p = huge_memory(HUGE_PAGE);

    *address = physical(p);
    return p;
}
