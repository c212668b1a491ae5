/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A device, or the driver behind it, that answers what it likes: wrong bytes in its configuration
 * space, wrong words in what the kernel says of it, calls that fail or do half.
 */
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "tests/unit/vfio-fixture.h"

static const HostCalls *right;

/* What is wrong with the @call-th answer from now on. */
typedef struct Lie {
    uint16_t call;
    uint8_t kind, at;
    uint32_t word;
} Lie;

static Lie lies[16];
static unsigned nr_lies, calls;

static const Lie *next_lie(void)
{
    calls++;
    for (unsigned i = 0; i < nr_lies; i++) {
        if (lies[i].call == calls) {
            return &lies[i];
        }
    }
    return NULL;
}

enum { LIE_WORD, LIE_XOR, LIE_ERRNO, LIE_SHORT };

/* EAGAIN is left out: it asks to wait. */
static bool fails(const Lie *lie)
{
    static const int errnos[] = {
        EIO, EINVAL, ENOTTY, ENODEV, EBUSY, ENOMEM, EPERM, ENOSPC, EFAULT, ENOENT,
    };

    if (lie && lie->kind % 4 == LIE_ERRNO) {
        errno = errnos[lie->at % G_N_ELEMENTS(errnos)];
        return true;
    }
    return false;
}

static bool is_question(unsigned long request)
{
    return request == VFIO_DEVICE_GET_INFO || request == VFIO_DEVICE_GET_REGION_INFO ||
           request == VFIO_DEVICE_GET_IRQ_INFO || request == VFIO_DEVICE_GET_PCI_HOT_RESET_INFO;
}

static int wrong_ioctl(int fd, unsigned long request, void *arg)
{
    const Lie *lie = is_question(request) || request == VFIO_DEVICE_SET_IRQS ? next_lie() : NULL;
    uint32_t room = 0, word;
    int ret;

    if (fails(lie)) {
        return -1;
    }
    if (lie && is_question(request)) {
        memcpy(&room, arg, sizeof(room)); /* argsz: the kernel writes no further */
    }
    ret = right->ioctl(fd, request, arg);
    if (!ret && room >= sizeof(word)) {
        char *p = (char *)arg + lie->at % (room / sizeof(word)) * sizeof(word);

        memcpy(&word, p, sizeof(word));
        word = lie->kind % 4 == LIE_XOR ? word ^ lie->word : lie->word;
        memcpy(p, &word, sizeof(word));
    }
    return ret;
}

static void *wrong_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t offset)
{
    return fails(next_lie()) ? MAP_FAILED : right->mmap(addr, len, prot, flags, fd, offset);
}

static ssize_t wrong_pread(int fd, void *buf, size_t len, off_t offset)
{
    const Lie *lie = next_lie();
    ssize_t n;

    if (fails(lie)) {
        return -1;
    }
    n = right->pread(fd, buf, len, offset);
    return lie && lie->kind % 4 == LIE_SHORT ? n / 2 : n;
}

static ssize_t wrong_pwrite(int fd, const void *buf, size_t len, off_t offset)
{
    const Lie *lie = next_lie();

    if (fails(lie)) {
        return -1;
    }
    return right->pwrite(fd, buf, lie && lie->kind % 4 == LIE_SHORT ? len / 2 : len, offset);
}

static int wrong_eventfd(unsigned initval, int flags)
{
    return fails(next_lie()) ? -1 : right->eventfd(initval, flags);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static HostCalls wrong;

    fuzz_init();
    right = hostcalls;
    wrong = *right;
    wrong.ioctl = wrong_ioctl;
    wrong.mmap = wrong_mmap;
    wrong.pread = wrong_pread;
    wrong.pwrite = wrong_pwrite;
    wrong.eventfd = wrong_eventfd;
    hostcalls = &wrong;
    return 0;
}

/* ---- what it is ---- */

static void change_config(Input *in)
{
    uint32_t at = (uint32_t)input_take(in, 2) % sizeof(sim->config);
    size_t n = input_take(in, 1) % 16 + 1;
    const uint8_t *bytes = input_bytes(in, &n);

    memcpy(sim->config + at, bytes, MIN(n, sizeof(sim->config) - at));
}

/* A size is a number shifted, so that small inputs find round ones. */
static void change_region(Input *in)
{
    unsigned index = (unsigned)input_take(in, 1) % VFIO_PCI_NUM_REGIONS;
    uint64_t size = input_take(in, 2);

    size <<= input_take(in, 1) % 50;
    if (index == VFIO_PCI_CONFIG_REGION_INDEX) { /* as long as the simulator's at most */
        size = MIN(size, sizeof(sim->config));
    }
    sim_region_set(sim, index, size, (uint32_t)input_take(in, 1));
}

static void change_caps(Input *in)
{
    SimRegion *r = &sim->regions[input_take(in, 1) % VFIO_PCI_NUM_REGIONS];
    size_t n = input_take(in, 1) % 96;
    const uint8_t *bytes = input_bytes(in, &n);

    g_clear_pointer(&r->caps, g_byte_array_unref);
    r->caps = n ? g_byte_array_append(g_byte_array_new(), bytes, (guint)n) : NULL;
}

/* As large as the kernel's MSI-X table at most: the simulator keeps that many triggers. */
static void change_irq(Input *in)
{
    unsigned index = (unsigned)input_take(in, 1) % VFIO_PCI_NUM_IRQS;

    sim->irqs[index].count = (uint32_t)input_take(in, 2) % 4096;
    sim->irqs[index].flags = (uint32_t)input_take(in, 1);
}

static void change_numbers(Input *in)
{
    static SimSlot slot;
    uint8_t what = (uint8_t)input_take(in, 1);
    uint32_t n = (uint32_t)input_take(in, 2);

    switch (what % 8) {
    case 0:
        sim->nr_regions = n;
        break;
    case 1:
        sim->nr_irqs = n;
        break;
    case 2:
        sim->flags = n;
        break;
    case 3:
        sim->vectors_max = n % 64;
        break;
    case 4:
        sim->dmabuf_error = n & 1 ? ENOTTY : ENOMEM;
        break;
    case 5:
        sim->hw_caps = n;
        break;
    case 6:
        sim->mdev = n & 1;
        sim->no_unmask_eventfd = n & 2;
        sim->wrong_minor = n & 4 ? 9 : 0;
        break;
    default:
        slot.devices = slot.devices ?: g_ptr_array_new();
        g_ptr_array_set_size(slot.devices, 0);
        g_ptr_array_add(slot.devices, sim);
        slot.idle = n % 40;
        slot.stranger = n >> 15;
        sim->slot = &slot;
    }
}

static void add_lie(Input *in)
{
    Lie *lie = &lies[nr_lies];

    if (nr_lies == G_N_ELEMENTS(lies)) {
        return;
    }
    nr_lies++;
    lie->call = (uint16_t)input_take(in, 1);
    lie->kind = (uint8_t)input_take(in, 1);
    lie->at = (uint8_t)input_take(in, 1);
    lie->word = (uint32_t)input_take(in, 4);
}

/* How it is plugged; how many changes, and those; then what the guest does with it. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const changes[])(Input * in) = {
        change_config, change_config,  change_region, change_caps,
        change_irq,    change_numbers, add_lie,       add_lie,
    };
    Input in = { data, size };
    uint8_t choice = (uint8_t)input_take(&in, 1), n = (uint8_t)input_take(&in, 1) % 24;

    setup();
    nr_lies = 0;
    sim->irqs[VFIO_PCI_ERR_IRQ_INDEX].count = sim->irqs[VFIO_PCI_REQ_IRQ_INDEX].count = 1;
    while (n-- > 0) {
        changes[input_take(&in, 1) % G_N_ELEMENTS(changes)](&in);
    }
    calls = 0;
    if (fuzz_plug(choice)) {
        fuzz_guest(&in);
    }
    nr_lies = 0;
    fuzz_unplug();
    return 0;
}
