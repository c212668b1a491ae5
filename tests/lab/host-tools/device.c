/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/lab/host-tools/device.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/pci_regs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "util/linux-iommufd.h"
#include "util/linux-vfio.h"

#define PRECOPY_INFO _IO(VFIO_TYPE, VFIO_BASE + 21)
#define PAGES        (RAM_SIZE / VT_PAGE)

uint8_t *ram;
static int ram_fd;

static void call(int fd, unsigned long request, void *arg, const char *what)
{
    if (ioctl(fd, request, arg)) {
        g_error("%s: %s", what, strerror(errno));
    }
}
#define CALL(fd, request, arg) call(fd, request, arg, #request)

void ram_init(void)
{
    ram_fd = memfd_create("ram", MFD_CLOEXEC);
    if (ram_fd < 0 || ftruncate(ram_fd, RAM_SIZE)) {
        g_error("memory: %s", strerror(errno));
    }
    ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, ram_fd, 0);
    g_assert_true(ram != MAP_FAILED);
}

/* ---- life ---- */

static int open_node(const char *sysfs)
{
    g_autofree char *folder = g_build_filename(sysfs, "vfio-dev", NULL), *node = NULL;
    g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
    int fd;

    if (!dir) {
        g_error("%s is not there", folder);
    }
    node = g_build_filename("/dev/vfio/devices", g_dir_read_name(dir), NULL);
    fd = open(node, O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        g_error("%s: %s", node, strerror(errno));
    }
    return fd;
}

void device_map(TestDevice *dev)
{
    struct iommu_ioas_map_file map = {
        .size = sizeof(map),
        .flags = IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE | IOMMU_IOAS_MAP_WRITEABLE,
        .ioas_id = dev->ioas,
        .fd = ram_fd,
        .length = RAM_SIZE,
        .iova = RAM_BASE,
    };

    CALL(dev->iommufd, IOMMU_IOAS_MAP_FILE, &map);
}

void device_unmap(TestDevice *dev)
{
    struct iommu_ioas_unmap unmap = {
        .size = sizeof(unmap),
        .ioas_id = dev->ioas,
        .iova = RAM_BASE,
        .length = RAM_SIZE,
    };

    CALL(dev->iommufd, IOMMU_IOAS_UNMAP, &unmap);
}

TestDevice *device_open(const char *sysfs, bool dirty)
{
    TestDevice *dev = g_new0(TestDevice, 1);
    struct iommu_ioas_alloc ioas = { .size = sizeof(ioas) };
    struct vfio_device_bind_iommufd bind = { .argsz = sizeof(bind) };
    struct iommu_hwpt_alloc hwpt = { .size = sizeof(hwpt),
                                     .flags = dirty ? IOMMU_HWPT_ALLOC_DIRTY_TRACKING : 0 };
    struct vfio_device_attach_iommufd_pt attach = { .argsz = sizeof(attach) };

    dev->sysfs = sysfs;
    dev->fd = open_node(sysfs);
    dev->iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
    bind.iommufd = dev->iommufd;
    CALL(dev->fd, VFIO_DEVICE_BIND_IOMMUFD, &bind);
    CALL(dev->iommufd, IOMMU_IOAS_ALLOC, &ioas);
    hwpt.dev_id = dev->id = bind.out_devid;
    hwpt.pt_id = dev->ioas = ioas.out_ioas_id;
    device_map(dev);
    CALL(dev->iommufd, IOMMU_HWPT_ALLOC, &hwpt);
    attach.pt_id = dev->hwpt = hwpt.out_hwpt_id;
    CALL(dev->fd, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &attach);
    set_pci_command(dev, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    return dev;
}

void device_close(TestDevice *dev)
{
    close(dev->fd);
    close(dev->iommufd);
    g_free(dev);
}

/* ---- registers ---- */

static uint64_t region(unsigned index)
{
    return (uint64_t)index << 40; /* as GET_REGION_INFO says */
}

static void get(TestDevice *dev, unsigned at, void *value, size_t size)
{
    if (pread(dev->fd, value, size, (off_t)(region(0) + at)) != (ssize_t)size) {
        g_error("%s: register 0x%x: %s", dev->sysfs, at, strerror(errno));
    }
}

static void set(TestDevice *dev, uint64_t at, const void *value, size_t size)
{
    if (pwrite(dev->fd, value, size, (off_t)at) != (ssize_t)size) {
        g_error("%s: write at 0x%llx: %s", dev->sysfs, (unsigned long long)at, strerror(errno));
    }
}

uint64_t reg(TestDevice *dev, unsigned at)
{
    uint64_t value;

    get(dev, at, &value, 8);
    return value;
}

uint32_t reg32(TestDevice *dev, unsigned at)
{
    uint32_t value;

    get(dev, at, &value, 4);
    return value;
}

void set_reg(TestDevice *dev, unsigned at, uint64_t value)
{
    set(dev, region(0) + at, &value, 8);
}

void set_reg32(TestDevice *dev, unsigned at, uint32_t value)
{
    set(dev, region(0) + at, &value, 4);
}

void command(TestDevice *dev, uint32_t cmd)
{
    set_reg32(dev, VT_COMMAND, cmd);
    g_assert_cmpuint(reg32(dev, VT_RESULT), ==, VT_OK);
}

void set_pci_command(TestDevice *dev, uint16_t value)
{
    set(dev, region(VFIO_PCI_CONFIG_REGION_INDEX) + PCI_COMMAND, &value, 2);
}

void set_vectors(TestDevice *dev, const int *fds, unsigned n)
{
    size_t size = sizeof(struct vfio_irq_set) + n * sizeof(int);
    g_autofree struct vfio_irq_set *irqs = g_malloc0(size);

    irqs->argsz = (uint32_t)size;
    irqs->flags =
        VFIO_IRQ_SET_ACTION_TRIGGER | (n ? VFIO_IRQ_SET_DATA_EVENTFD : VFIO_IRQ_SET_DATA_NONE);
    irqs->index = VFIO_PCI_MSIX_IRQ_INDEX;
    irqs->count = n;
    if (n) {
        memcpy(irqs->data, fds, n * sizeof(int));
    }
    CALL(dev->fd, VFIO_DEVICE_SET_IRQS, irqs);
}

void device_reset(TestDevice *dev)
{
    CALL(dev->fd, VFIO_DEVICE_RESET, NULL);
}

/* ---- migration ---- */

int feature(TestDevice *dev, uint32_t flags, void *data, size_t size)
{
    size_t all = sizeof(struct vfio_device_feature) + size;
    g_autofree struct vfio_device_feature *arg = g_malloc0(all);
    int error;

    arg->argsz = (uint32_t)all;
    arg->flags = flags;
    if (size) {
        memcpy(arg->data, data, size);
    }
    error = ioctl(dev->fd, VFIO_DEVICE_FEATURE, arg) ? errno : 0;
    if (size) {
        memcpy(data, arg->data, size);
    }
    return error;
}

int set_state(TestDevice *dev, uint32_t state, int *fd)
{
    struct vfio_device_feature_mig_state arg = { .device_state = state, .data_fd = -1 };
    int error = feature(dev, VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE, &arg,
                        sizeof(arg));

    if (fd) {
        *fd = arg.data_fd;
    } else {
        g_assert_cmpint(arg.data_fd, ==, -1);
    }
    return error;
}

uint32_t get_state(TestDevice *dev)
{
    struct vfio_device_feature_mig_state arg = { 0 };
    int error = feature(dev, VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE, &arg,
                        sizeof(arg));

    g_assert_cmpint(error, ==, 0);
    return arg.device_state;
}

int precopy_info(int fd, PrecopyInfo *info)
{
    *info = (PrecopyInfo) { .argsz = sizeof(*info) };
    return ioctl(fd, PRECOPY_INFO, info) ? errno : 0;
}

void knob(TestDevice *dev, const char *name, const char *text)
{
    g_autofree char *path = g_build_filename(dev->sysfs, name, NULL);
    int fd = open(path, O_WRONLY | O_CLOEXEC);

    if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text)) {
        g_error("%s: '%s': %s", path, text, strerror(errno));
    }
    close(fd);
}

/* ---- what is dirty ---- */

void iommu_tracking(TestDevice *dev, bool on)
{
    struct iommu_hwpt_set_dirty_tracking arg = {
        .size = sizeof(arg),
        .hwpt_id = dev->hwpt,
        .flags = on ? IOMMU_HWPT_DIRTY_TRACKING_ENABLE : 0,
    };

    CALL(dev->iommufd, IOMMU_HWPT_SET_DIRTY_TRACKING, &arg);
}

void iommu_dirty(TestDevice *dev, uint64_t *bits)
{
    struct iommu_hwpt_get_dirty_bitmap arg = {
        .size = sizeof(arg),
        .hwpt_id = dev->hwpt,
        .iova = RAM_BASE,
        .length = RAM_SIZE,
        .page_size = VT_PAGE,
        .data = (uintptr_t)bits,
    };

    memset(bits, 0, PAGES / 8);
    CALL(dev->iommufd, IOMMU_HWPT_GET_DIRTY_BITMAP, &arg);
}

void log_start(TestDevice *dev)
{
    struct vfio_device_feature_dma_logging_range range = { .iova = RAM_BASE, .length = RAM_SIZE };
    struct vfio_device_feature_dma_logging_control arg = {
        .page_size = VT_PAGE,
        .num_ranges = 1,
        .ranges = (uintptr_t)&range,
    };
    int error = feature(dev, VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_DMA_LOGGING_START, &arg,
                        sizeof(arg));

    g_assert_cmpint(error, ==, 0);
    g_assert_cmpuint(arg.page_size, ==, VT_PAGE);
}

void log_stop(TestDevice *dev)
{
    g_assert_cmpint(
        feature(dev, VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP, NULL, 0), ==,
        0);
}

int log_dirty(TestDevice *dev, uint64_t *bits)
{
    struct vfio_device_feature_dma_logging_report arg = {
        .iova = RAM_BASE,
        .length = RAM_SIZE,
        .page_size = VT_PAGE,
        .bitmap = (uintptr_t)bits,
    };

    memset(bits, 0, PAGES / 8);
    return feature(dev, VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT, &arg,
                   sizeof(arg));
}
