/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a type1 container says to updates of addresses (VFIO_UPDATE_VADDR), on the simulated kernel
 * and, with VIADUCT_CONFORMANCE_GROUPS="A B MDEV", on the real one: numbers of two groups of devices
 * and of one of a mediated device.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/sim/kernel.h"

#define MiB   (1ULL << 20)
#define A_AT  (1 * MiB)
#define B_AT  (4 * MiB)
#define R     VFIO_DMA_MAP_FLAG_READ
#define RW    (VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE)
#define MAP   VFIO_DMA_MAP_FLAG_VADDR
#define UNMAP VFIO_DMA_UNMAP_FLAG_VADDR
#define ALL   VFIO_DMA_UNMAP_FLAG_ALL
#define DIRTY VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP

static unsigned numbers[3] = { 12, 13, 14 };
static int container, group;
static char *memory;

static int call(int fd, unsigned long request, void *arg)
{
    return hostcalls->ioctl(fd, request, arg) < 0 ? errno : 0;
}

static int extension(uintptr_t number)
{
    return hostcalls->ioctl(container, VFIO_CHECK_EXTENSION, (void *)number);
}

static int map(uint32_t flags, const void *vaddr, uint64_t iova, uint64_t size)
{
    struct vfio_iommu_type1_dma_map map = {
        .argsz = sizeof(map),
        .flags = flags,
        .vaddr = (uintptr_t)vaddr,
        .iova = iova,
        .size = size,
    };

    return call(container, VFIO_IOMMU_MAP_DMA, &map);
}

static uint64_t unmapped;

static int unmap(uint32_t flags, uint64_t iova, uint64_t size)
{
    struct vfio_iommu_type1_dma_unmap unmap = {
        .argsz = sizeof(unmap),
        .flags = flags,
        .iova = iova,
        .size = size,
    };
    int error = call(container, VFIO_IOMMU_UNMAP_DMA, &unmap);

    unmapped = unmap.size;
    return error;
}

static int open_group(unsigned nr)
{
    g_autofree char *path = g_strdup_printf("/dev/vfio/%u", numbers[nr]);
    int fd = hostcalls->open(path, O_RDWR);

    g_assert_cmpint(fd, >=, 0);
    return fd;
}

/* A container with a group, and A and B mapped. */
static void begin(void)
{
    container = hostcalls->open("/dev/vfio/vfio", O_RDWR);
    g_assert_cmpint(container, >=, 0);
    g_assert_cmpint(extension(VFIO_UNMAP_ALL), ==, 1);
    g_assert_cmpint(extension(VFIO_UPDATE_VADDR), ==, 0);
    group = open_group(0);
    g_assert_cmpint(call(group, VFIO_GROUP_SET_CONTAINER, &container), ==, 0);
    g_assert_cmpint(call(container, VFIO_SET_IOMMU, (void *)VFIO_TYPE1v2_IOMMU), ==, 0);
    g_assert_cmpint(extension(VFIO_UNMAP_ALL), ==, 1);
    g_assert_cmpint(extension(VFIO_UPDATE_VADDR), ==, 1);
    g_assert_cmpint(map(RW, memory, A_AT, MiB), ==, 0);
    g_assert_cmpint(map(R, memory + MiB, B_AT, MiB), ==, 0);
}

static void end(void)
{
    hostcalls->close(group);
    hostcalls->close(container);
}

static void test_steps(void)
{
    typedef struct Step {
        bool maps;
        uint32_t flags;
        uint64_t iova, size;
        int error;
    } Step;
    static const Step steps[] = {
        /* what has an address cannot get one */
        { true, MAP, A_AT, MiB, EINVAL },
        { true, MAP, 8 * MiB, MiB, ENOENT },
        /* arguments */
        { true, MAP | R, A_AT, MiB, EINVAL },
        { true, 0, 8 * MiB, MiB, EINVAL },
        { true, 8, 8 * MiB, MiB, EINVAL },
        { true, MAP, A_AT, 0, EINVAL },
        { true, MAP, UINT64_MAX - 4095, 8192, EOVERFLOW },
        { false, UNMAP, A_AT, 0, EINVAL },
        { false, UNMAP | ALL, A_AT, 0, EINVAL },
        { false, UNMAP | ALL, 0, MiB, EINVAL },
        { false, UNMAP | DIRTY, A_AT, MiB, EINVAL },
        { false, UNMAP | 8, A_AT, MiB, EINVAL },
        { false, UNMAP, UINT64_MAX - 4095, 8192, EOVERFLOW },
        { false, UNMAP, A_AT + 1, MiB, EINVAL },
        /* whole mappings only */
        { false, UNMAP, A_AT, MiB / 2, EINVAL },
        { false, UNMAP, A_AT + MiB / 2, MiB, EINVAL },
        { false, UNMAP, A_AT, MiB, 0 },
        { false, UNMAP, A_AT, MiB, EINVAL },
        { true, MAP, A_AT, MiB / 2, EINVAL },
        { true, MAP, A_AT + 4096, MiB - 4096, EINVAL },
        { true, MAP, A_AT - MiB, 2 * MiB, EINVAL },
        /* all or none: B keeps its address */
        { false, UNMAP | ALL, 0, 0, EINVAL },
        { true, MAP, B_AT, MiB, EINVAL },
        { true, MAP, A_AT, MiB, 0 },
        { true, MAP, A_AT, MiB, EINVAL },
        /* several, and over a hole */
        { false, UNMAP, A_AT, B_AT + MiB - A_AT, 0 },
        { true, MAP, B_AT, MiB, 0 },
        { true, MAP, A_AT, MiB, 0 },
        /* what has none stays mapped, and can be unmapped */
        { false, UNMAP | ALL, 0, 0, 0 },
        { true, RW, A_AT, MiB, EEXIST },
        { true, RW, 8 * MiB, MiB, 0 },
        { false, 0, 8 * MiB, MiB, 0 },
        { false, 0, A_AT, MiB, 0 },
        { true, MAP, A_AT, MiB, ENOENT },
        { true, MAP, B_AT, MiB, 0 },
        /* nothing there is no error */
        { false, ALL, 0, 0, 0 },
        { false, UNMAP | ALL, 0, 0, 0 },
        { false, UNMAP, A_AT, MiB, 0 },
    };

    begin();
    for (size_t i = 0; i < G_N_ELEMENTS(steps); i++) {
        const Step *s = &steps[i];
        int error = s->maps ? map(s->flags, memory + MiB, s->iova, s->size)
                            : unmap(s->flags, s->iova, s->size);

        g_test_message("%s flags %u 0x%" G_GINT64_MODIFIER "x+0x%" G_GINT64_MODIFIER "x: %s",
                       s->maps ? "map" : "unmap", s->flags, s->iova, s->size, g_strerror(error));
        g_assert_cmpint(error, ==, s->error);
    }
    end();
}

static void test_sizes(void)
{
    begin();
    g_assert_cmpint(unmap(UNMAP | ALL, 0, 0), ==, 0);
    g_assert_cmphex(unmapped, ==, 2 * MiB);
    g_assert_cmpint(map(MAP, memory, A_AT, MiB), ==, 0);
    g_assert_cmpint(unmap(UNMAP, 0, B_AT), ==, 0);
    g_assert_cmphex(unmapped, ==, MiB);
    g_assert_cmpint(unmap(ALL, 0, 0), ==, 0);
    g_assert_cmphex(unmapped, ==, 2 * MiB);
    end();
}

/* What needs addresses waits, or is refused. */
static void test_groups(void)
{
    int second = open_group(1), mdev = open_group(2);

    begin();
    g_assert_cmpint(unmap(UNMAP, A_AT, MiB), ==, 0);
    g_assert_cmpint(call(second, VFIO_GROUP_SET_CONTAINER, &container), ==, EBUSY);
    g_assert_cmpint(call(mdev, VFIO_GROUP_SET_CONTAINER, &container), ==, EBUSY);
    g_assert_cmpint(map(MAP, memory, A_AT, MiB), ==, 0);
    g_assert_cmpint(call(second, VFIO_GROUP_SET_CONTAINER, &container), ==, 0);
    g_assert_cmpint(extension(VFIO_UPDATE_VADDR), ==, 1);
    g_assert_cmpint(call(mdev, VFIO_GROUP_SET_CONTAINER, &container), ==, 0);
    g_assert_cmpint(extension(VFIO_UPDATE_VADDR), ==, 0);
    g_assert_cmpint(unmap(UNMAP, A_AT, MiB), ==, EBUSY);
    g_assert_cmpint(unmap(UNMAP | ALL, 0, 0), ==, EBUSY);
    g_assert_cmpint(call(mdev, VFIO_GROUP_UNSET_CONTAINER, NULL), ==, 0);
    g_assert_cmpint(extension(VFIO_UPDATE_VADDR), ==, 1);
    g_assert_cmpint(unmap(UNMAP | ALL, 0, 0), ==, 0);
    /* The group may go. */
    g_assert_cmpint(call(second, VFIO_GROUP_UNSET_CONTAINER, NULL), ==, 0);
    g_assert_cmpint(map(MAP, memory, A_AT, MiB), ==, 0);
    g_assert_cmpint(call(group, VFIO_GROUP_UNSET_CONTAINER, NULL), ==, 0);
    end();
    hostcalls->close(second);
    hostcalls->close(mdev);
}

/* ---- between processes: the simulated kernel knows only one ---- */

/* In KiB, of this process. */
static long locked(void)
{
    g_autofree char *text = NULL;
    const char *at;

    g_file_get_contents("/proc/self/status", &text, NULL, NULL);
    at = text ? strstr(text, "VmLck:") : NULL;
    return at ? strtol(at + strlen("VmLck:"), NULL, 10) : -1;
}

/* Takes both, says so, and ends when it is told to; 0: all was as it should be. */
static int other_process(int say, int hear)
{
    long before = locked();
    bool ok = !map(MAP, memory, A_AT, MiB) && locked() == before + 1024 &&
              !map(MAP, memory + MiB, B_AT, MiB) && locked() == before + 2048;
    char byte = 0;

    ok = write(say, &byte, 1) == 1 && read(hear, &byte, 1) == 1 && ok;
    return !(ok && locked() == before + 1024);
}

static void take_back(uint64_t iova, const char *vaddr)
{
    g_assert_cmpint(map(MAP, vaddr, iova, MiB), ==, EINVAL);
    g_assert_cmpint(unmap(UNMAP, iova, MiB), ==, 0);
    g_assert_cmpint(map(MAP, vaddr, iova, MiB), ==, 0);
}

/* Pinned memory counts as that process's which has given the address. */
static void test_processes(void)
{
    int to[2], from[2], status;
    long before = locked();
    char byte = 0;
    pid_t pid;

    begin();
    g_assert_cmpint(locked(), ==, before + 2048);
    g_assert_cmpint(unmap(UNMAP | ALL, 0, 0), ==, 0);
    g_assert_true(!pipe(to) && !pipe(from));
    pid = fork();
    if (!pid) {
        _exit(other_process(from[1], to[0]));
    }
    g_assert_cmpint(read(from[0], &byte, 1), ==, 1);
    g_assert_cmpint(locked(), ==, before);
    take_back(A_AT, memory);
    g_assert_cmpint(locked(), ==, before + 1024);
    g_assert_cmpint(write(to[1], &byte, 1), ==, 1);
    g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    g_assert_cmpint(status, ==, 0);
    take_back(B_AT, memory + MiB); /* of one that is no more */
    g_assert_cmpint(locked(), ==, before + 2048);
    end();
    g_assert_cmpint(locked(), ==, before);
    for (unsigned i = 0; i < 2; i++) {
        close(to[i]);
        close(from[i]);
    }
}

int main(int argc, char **argv)
{
    const char *groups = g_getenv("VIADUCT_CONFORMANCE_GROUPS");
    int ret;

    g_test_init(&argc, &argv, NULL);
    /* NOLINTNEXTLINE(cert-err34-c): what it is not is no group that can be opened */
    if (groups && sscanf(groups, "%u %u %u", &numbers[0], &numbers[1], &numbers[2]) != 3) {
        return 2;
    }
    if (!groups) {
        sim_init();
        for (unsigned i = 0; i < G_N_ELEMENTS(numbers); i++) {
            SimDevice *dev = sim_device_new(20 + i);

            dev->group = numbers[i];
            dev->mdev = i == 2;
        }
    }
    memory = mmap(NULL, 4 * MiB, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    g_assert_true(memory != MAP_FAILED);
    g_test_add_func("/conformance/type1/steps", test_steps);
    g_test_add_func("/conformance/type1/sizes", test_sizes);
    g_test_add_func("/conformance/type1/groups", test_groups);
    if (groups) {
        g_test_add_func("/conformance/type1/processes", test_processes);
    }
    ret = g_test_run();
    munmap(memory, 4 * MiB);
    return ret;
}
