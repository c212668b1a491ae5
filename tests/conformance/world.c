/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/conformance/world.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/sim/kernel.h"
#include "util/error.h"
#include "util/hostcalls.h"
#include "util/keyval.h"

#define NOWHERE  200000 /* descriptors of devices: this and the test object's id */
#define RAM_SIZE (16 * MiB)

bool world_is_kernel;
IOMMUFDBackend *world_be;
HostMemoryBackend *world_ram;
unsigned world_refused;
static const HostCalls *below;
static uint32_t pen; /* an IOAS for devices that are attached nowhere */
static RAMBlock private_block;

int world_call(unsigned long request, void *arg)
{
    return hostcalls->ioctl(world_be->fd, request, arg) ? errno : 0;
}

void world_mock(struct iommu_test_cmd *cmd)
{
    cmd->size = sizeof(*cmd);
    g_assert_cmpint(world_call(IOMMU_TEST_CMD, cmd), ==, 0);
}

/* ---- devices ---- */

static int replace(uint32_t object, uint32_t *pt_id)
{
    struct iommu_test_cmd cmd = {
        .size = sizeof(cmd),
        .op = IOMMU_TEST_OP_MOCK_DOMAIN_REPLACE,
        .id = object,
        .mock_domain_replace.pt_id = *pt_id,
    };
    int ret = below->ioctl(world_be->fd, IOMMU_TEST_CMD, &cmd);

    world_refused += ret && errno == EINVAL;
    *pt_id = cmd.mock_domain_replace.pt_id;
    return ret;
}

static int world_ioctl(int fd, unsigned long request, void *arg)
{
    struct vfio_device_attach_iommufd_pt *attach = arg;
    uint32_t pt_id = pen;

    if (fd < NOWHERE || fd >= NOWHERE + 1000) {
        return below->ioctl(fd, request, arg);
    }
    switch (request) {
    case VFIO_DEVICE_ATTACH_IOMMUFD_PT:
        return replace((uint32_t)(fd - NOWHERE), &attach->pt_id);
    case VFIO_DEVICE_DETACH_IOMMUFD_PT:
        return replace((uint32_t)(fd - NOWHERE), &pt_id);
    default:
        errno = ENOTTY;
        return -1;
    }
}

VFIODevice *world_device(uint32_t flags)
{
    struct iommu_test_cmd cmd = {
        .op = IOMMU_TEST_OP_MOCK_DOMAIN_FLAGS,
        .id = pen,
        .mock_domain_flags.dev_flags = flags,
    };
    VFIODevice *dev = g_new0(VFIODevice, 1);

    world_mock(&cmd);
    dev->fd = NOWHERE + (int)cmd.mock_domain_flags.out_stdev_id;
    dev->devid = cmd.mock_domain_flags.out_idev_id;
    dev->name = g_strdup_printf("mock%u", dev->devid);
    dev->iommufd = world_be;
    g_ptr_array_add(vfio_devices, dev);
    return dev;
}

void world_device_free(VFIODevice *dev)
{
    vfio_container_detach(dev);
    iommufd_destroy(world_be, (uint32_t)(dev->fd - NOWHERE));
    g_ptr_array_remove(vfio_devices, dev);
    g_free(dev->name);
    g_free(dev);
}

uint32_t world_hwpt(VFIODevice *dev)
{
    g_autoptr(JsonObject) o = json_object_new();

    dev->container->ops->describe_device(dev->container, dev, o);
    return (uint32_t)json_object_get_int_member_with_default(o, "hwpt-id", 0);
}

uint32_t world_ioas(VFIOContainer *c)
{
    g_autoptr(JsonObject) o = json_object_new();

    c->ops->describe(c, o);
    return (uint32_t)json_object_get_int_member(o, "ioas-id");
}

void world_write(uint32_t hwpt, uint64_t iova)
{
    uint64_t bit = 1;
    struct iommu_test_cmd cmd = {
        .op = IOMMU_TEST_OP_DIRTY,
        .id = hwpt,
        .dirty = { .iova = iova,
                   .length = MOCK_PAGE,
                   .page_size = MOCK_PAGE,
                   .uptr = (uintptr_t)&bit },
    };

    world_mock(&cmd);
    g_assert_cmpuint(cmd.dirty.out_nr_dirty, ==, 1);
}

/* ---- memory ---- */

void world_add_memory(MemoryRegion *mr, uint64_t addr, uint64_t offset, uint64_t size, bool file)
{
    memory_region_init_ram(mr, NULL, file ? "file" : "private",
                           file ? &world_ram->block : &private_block, offset, size);
    memory_region_add_child(address_space_memory.root, addr, mr, 0);
}

void world_del_memory(MemoryRegion *mr)
{
    memory_region_del_child(address_space_memory.root, mr);
    memory_region_fini(mr);
}

/* ---- the kernel ---- */

static bool has_mocks(void)
{
    struct iommu_test_cmd cmd = { .size = sizeof(cmd) };
    int fd = open("/dev/iommu", O_RDWR);
    bool has = fd >= 0 && ioctl(fd, IOMMU_TEST_CMD, &cmd) && errno == EOPNOTSUPP;

    if (fd >= 0) {
        close(fd);
    }
    return has;
}

static void make_world(void)
{
    static HostCalls calls;
    g_autoptr(JsonObject) opts = keyval_parse("iommufd,id=i0", "qom-type", NULL, NULL);
    g_autoptr(GError) err = NULL;

    memory_init();
    if (!world_is_kernel) {
        sim_init();
    }
    below = hostcalls;
    calls = *below;
    calls.ioctl = world_ioctl;
    hostcalls = &calls;
    world_ram = host_memory_default("ram", RAM_SIZE, &err);
    g_assert_no_error(err);
    ram_block_register(&world_ram->block);
    private_block = world_ram->block;
    private_block.shared = false;
    ram_block_register(&private_block);
    /* Pages that are there, and small. */
    madvise(world_ram->block.host, RAM_SIZE, MADV_NOHUGEPAGE);
    memset(world_ram->block.host, 0x5a, RAM_SIZE);
    g_assert_true(user_object_add(opts, &err));
    world_be = IOMMUFD_BACKEND(object_resolve("i0"));
    g_assert_true(iommufd_backend_connect(world_be, &err));
    g_assert_true(iommufd_ioas_alloc(world_be, &pen, &err));
    vfio_devices = g_ptr_array_new();
}

int world_run(int argc, char **argv, void (*add)(void))
{
    world_is_kernel = !g_strcmp0(g_getenv("VIADUCT_CONFORMANCE"), "kernel");
    g_test_init(&argc, &argv, NULL);
    if (world_is_kernel && !has_mocks()) {
        fprintf(stderr, "no /dev/iommu with CONFIG_IOMMUFD_TEST\n");
        return 77;
    }
    make_world();
    add();
    return g_test_run();
}
