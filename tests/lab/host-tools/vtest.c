/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * lab-vtest SYSFS SYSFS: the lab's test device does what its README says, and what VFIO and iommufd
 * say of it.  Both are devices of tests/lab/kmod, by their folders in sysfs.
 */
#include <errno.h>
#include <linux/pci_regs.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/lab/host-tools/device.h"
#include "util/linux-iommufd.h"
#include "util/linux-vfio.h"

enum {
    LIST = 0,        /* in the memory: the list of pages */
    FIRST = 1 << 20, /* the first of them, and every other one behind it */
    DUMP = 8 << 20,  /* records */
    COUNT = 512,     /* pages in the list */
    VECTORS = 8,
    STATE = 8 << 20,
    SOON = 10000, /* ms: the machine may be slow */
    WORDS = RAM_SIZE / VT_PAGE / 64,
};

static const char *folders[2];

/* ---- the engine ---- */

static struct vt_record *page(unsigned i)
{
    return (struct vt_record *)(ram + FIRST + 2 * i * VT_PAGE);
}

static void prepare(TestDevice *dev, uint32_t rate)
{
    uint64_t *list = (uint64_t *)(ram + LIST);

    memset(ram, 0, RAM_SIZE);
    for (unsigned i = 0; i < COUNT; i++) {
        list[i] = RAM_BASE + (uint64_t)((uint8_t *)page(i) - ram);
    }
    set_reg(dev, VT_LIST, RAM_BASE + LIST);
    set_reg32(dev, VT_PAGES, COUNT);
    set_reg32(dev, VT_RATE, rate);
    set_reg32(dev, VT_BATCH, 8);
    set_reg(dev, VT_DUMP, RAM_BASE + DUMP);
}

static void wait_reg(TestDevice *dev, unsigned at, uint64_t value)
{
    for (int i = 0; reg(dev, at) < value; i++) {
        if (i == SOON) {
            g_error("register 0x%x stays at %llu, below %llu", at, (unsigned long long)reg(dev, at),
                    (unsigned long long)value);
        }
        g_usleep(1000);
    }
}

/* Each page has what the device says that it wrote last; how many there are. */
static unsigned check_pages(TestDevice *dev)
{
    const uint64_t *records = (uint64_t *)(ram + DUMP);
    unsigned written = 0;

    command(dev, VT_CMD_DUMP);
    for (unsigned i = 0; i < COUNT; i++) {
        const struct vt_record *r = page(i);

        g_assert_cmpuint(r->sequence, ==, records[i]);
        if (r->sequence) {
            g_assert_cmpuint(r->index, ==, i);
            g_assert_cmphex(r->check, ==, vt_check(i, r->sequence));
            written++;
        }
    }
    return written;
}

static void test_engine(void)
{
    TestDevice *dev = device_open(folders[0], false);
    uint64_t writes;

    g_assert_cmphex(reg32(dev, VT_ID), ==, VT_ID_VALUE);
    prepare(dev, 5000);
    command(dev, VT_CMD_START);
    wait_reg(dev, VT_WRITES, COUNT + 100);
    command(dev, VT_CMD_STOP);
    writes = reg(dev, VT_WRITES);
    g_assert_cmpuint(check_pages(dev), ==, COUNT);
    g_usleep(100000);
    g_assert_cmpuint(reg(dev, VT_WRITES), ==, writes);
    g_assert_cmpuint(reg(dev, VT_FAULTS), ==, 0);
    g_test_message("%u pages, %llu writes, all as recorded", COUNT, (unsigned long long)writes);

    /* A list outside memory; and without bus mastering nothing at all. */
    set_reg(dev, VT_LIST, RAM_BASE + RAM_SIZE);
    command(dev, VT_CMD_START);
    wait_reg(dev, VT_FAULTS, 10);
    g_assert_cmpuint(reg(dev, VT_WRITES), ==, writes);
    set_pci_command(dev, PCI_COMMAND_MEMORY);
    writes = reg(dev, VT_FAULTS);
    g_usleep(100000);
    g_assert_cmpuint(reg(dev, VT_FAULTS), ==, writes);
    g_assert_cmpuint(reg32(dev, VT_STATUS), ==, VT_STATUS_STARTED);

    device_reset(dev);
    set_pci_command(dev, PCI_COMMAND_MEMORY);
    g_assert_cmpuint(reg32(dev, VT_STATUS), ==, 0);
    g_assert_cmpuint(reg(dev, VT_WRITES), ==, 0);
    device_close(dev);
}

/* Its memory goes and comes while it writes there. */
static void test_unmap(void)
{
    TestDevice *dev = device_open(folders[0], true);
    uint64_t writes;
    unsigned rounds = 0;

    prepare(dev, 20000);
    iommu_tracking(dev, true);
    command(dev, VT_CMD_START);
    while (reg(dev, VT_FAULTS) < 500 || rounds < 200) {
        device_unmap(dev);
        device_map(dev);
        g_usleep(rounds % 16 * 100);
        rounds++;
    }
    writes = reg(dev, VT_WRITES);
    wait_reg(dev, VT_WRITES, writes + COUNT);
    command(dev, VT_CMD_STOP);
    g_assert_cmpuint(check_pages(dev), ==, COUNT);
    g_test_message("unmapped %u times: %llu writes, %llu faults", rounds,
                   (unsigned long long)reg(dev, VT_WRITES),
                   (unsigned long long)reg(dev, VT_FAULTS));
    device_close(dev);
}

static uint64_t take(int fd)
{
    uint64_t n = 0;

    return read(fd, &n, sizeof(n)) == sizeof(n) ? n : 0;
}

static void test_interrupts(void)
{
    TestDevice *dev = device_open(folders[0], false);
    int fds[VECTORS];
    uint64_t seen[VECTORS] = { 0 }, all = 0;

    prepare(dev, 5000);
    set_reg32(dev, VT_NR_VECTORS, VECTORS);
    command(dev, VT_CMD_START);
    wait_reg(dev, VT_WRITES, 200); /* nobody takes them: each is pending, once */
    g_assert_cmphex(reg(dev, VT_OUTSTANDING), ==, (1 << VECTORS) - 1);
    g_assert_cmpuint(reg(dev, VT_INTERRUPTS), ==, VECTORS);
    for (unsigned i = 0; i < VECTORS; i++) {
        fds[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    }
    set_vectors(dev, fds, VECTORS);
    while (all < 300) {
        for (unsigned i = 0; i < VECTORS; i++) {
            uint64_t n = take(fds[i]);

            g_assert_cmpuint(n, <=, 1); /* not before it is acknowledged */
            seen[i] += n;
            all += n;
            if (n) {
                set_reg32(dev, VT_ACK, i);
            }
        }
    }
    command(dev, VT_CMD_STOP);
    for (unsigned i = 0; i < VECTORS; i++) {
        set_reg32(dev, VT_ACK, i);
    }
    g_usleep(100000);
    for (unsigned i = 0; i < VECTORS; i++) {
        seen[i] += take(fds[i]);
        g_assert_cmpuint(reg(dev, VT_RAISED + 8 * i), ==, seen[i]);
        g_assert_cmpuint(seen[i], >, 10);
        close(fds[i]);
    }
    g_test_message("%llu interrupts of %u vectors, none lost, none twice",
                   (unsigned long long)reg(dev, VT_INTERRUPTS), VECTORS);
    set_vectors(dev, NULL, 0);
    device_close(dev);
}

static void test_peer(void)
{
    TestDevice *dev = device_open(folders[0], false), *peer = device_open(folders[1], false);
    const uint64_t at = RAM_BASE + 2 * RAM_SIZE;
    uint8_t *bar = mmap(NULL, VT_BAR2_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, peer->fd,
                        (off_t)VFIO_PCI_BAR2_REGION_INDEX << 40);
    struct vt_record record;
    struct iommu_ioas_map map = {
        .size = sizeof(map),
        .flags = IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE | IOMMU_IOAS_MAP_WRITEABLE,
        .ioas_id = dev->ioas,
        .user_va = (uintptr_t)bar,
        .length = VT_BAR2_SIZE,
        .iova = at,
    };

    g_assert_true(bar != MAP_FAILED);
    g_assert_cmpint(ioctl(dev->iommufd, IOMMU_IOAS_MAP, &map), ==, 0);
    prepare(dev, 1000);
    set_reg(dev, VT_PEER, at + 0x3000);
    command(dev, VT_CMD_START);
    wait_reg(dev, VT_PEER_WRITES, 100);
    command(dev, VT_CMD_STOP);
    memcpy(&record, bar + 0x3000, sizeof(record));
    g_assert_cmpuint(record.sequence, ==, reg(dev, VT_SEQUENCE));
    g_assert_cmphex(record.check, ==, vt_check(record.index, record.sequence));
    g_test_message("record %llu lies in the other device's BAR 2",
                   (unsigned long long)record.sequence);
    munmap(bar, VT_BAR2_SIZE);
    device_close(dev);
    device_close(peer);
}

/* ---- what is dirty ---- */

static bool bit(const uint64_t *bits, uint64_t n)
{
    return bits[n / 64] >> (n % 64) & 1;
}

/* Exactly the pages are dirty that have another number than before. */
static unsigned check_dirty(const uint64_t *bits, const uint64_t *before)
{
    unsigned n = 0, all = 0;

    for (unsigned i = 0; i < COUNT; i++) {
        bool dirty = bit(bits, (uint64_t)((uint8_t *)page(i) - ram) / VT_PAGE);

        g_assert_true(dirty == (page(i)->sequence != before[i]));
        n += dirty;
    }
    for (unsigned i = 0; i < RAM_SIZE / VT_PAGE; i++) {
        all += bit(bits, i);
    }
    g_assert_cmpuint(all, ==, n);
    return n;
}

static void round_of_writes(TestDevice *dev, uint64_t *before)
{
    uint64_t writes = reg(dev, VT_WRITES);

    for (unsigned i = 0; i < COUNT; i++) {
        before[i] = page(i)->sequence;
    }
    command(dev, VT_CMD_START);
    wait_reg(dev, VT_WRITES, writes + 50);
    command(dev, VT_CMD_STOP);
}

static void test_dirty_iommu(void)
{
    TestDevice *dev = device_open(folders[0], true);
    uint64_t bits[WORDS], before[COUNT];
    unsigned n;

    prepare(dev, 1000);
    round_of_writes(dev, before); /* nobody watches */
    iommu_tracking(dev, true);
    for (int i = 0; i < 3; i++) {
        round_of_writes(dev, before);
        iommu_dirty(dev, bits);
        n = check_dirty(bits, before);
        g_assert_cmpuint(n, >=, 50);
        g_test_message("%u pages were written and are dirty, no other", n);
    }
    iommu_dirty(dev, bits);
    for (unsigned i = 0; i < WORDS; i++) {
        g_assert_cmphex(bits[i], ==, 0);
    }
    device_close(dev);
}

static void test_dirty_log(void)
{
    TestDevice *dev = device_open(folders[0], false);
    uint64_t bits[WORDS], before[COUNT];

    prepare(dev, 1000);
    g_assert_cmpint(log_dirty(dev, bits), ==, EINVAL);
    log_start(dev);
    for (int i = 0; i < 3; i++) {
        round_of_writes(dev, before);
        g_assert_cmpint(log_dirty(dev, bits), ==, 0);
        g_assert_cmpuint(check_dirty(bits, before), >=, 50);
    }
    knob(dev, "fail_log", "5 1");
    g_assert_cmpint(log_dirty(dev, bits), ==, EIO);
    g_assert_cmpint(log_dirty(dev, bits), ==, 0);
    log_stop(dev);
    g_assert_cmpint(log_dirty(dev, bits), ==, EINVAL);
    device_close(dev);
}

/* Each ability can be taken away, and comes back. */
static void test_abilities(void)
{
    TestDevice *dev = device_open(folders[0], true), off = *dev;
    struct iommu_hw_info info = { .size = sizeof(info), .dev_id = dev->id };
    uint64_t flags = 0;

    g_assert_cmpint(ioctl(dev->iommufd, IOMMU_GET_HW_INFO, &info), ==, 0);
    g_assert_true(info.out_capabilities & IOMMU_HW_CAP_DIRTY_TRACKING);
    device_close(dev);
    knob(&off, "iommu_dirty", "0");
    knob(&off, "dma_logging", "0");
    knob(&off, "migration", "1");
    dev = device_open(folders[0], false);
    info = (struct iommu_hw_info) { .size = sizeof(info), .dev_id = dev->id };
    g_assert_cmpint(ioctl(dev->iommufd, IOMMU_GET_HW_INFO, &info), ==, 0);
    g_assert_false(info.out_capabilities & IOMMU_HW_CAP_DIRTY_TRACKING);
    g_assert_cmpint(
        feature(dev, VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_MIGRATION, &flags, 8), ==, 0);
    g_assert_cmphex(flags, ==, VFIO_MIGRATION_STOP_COPY);
    g_assert_cmpint(feature(dev,
                            VFIO_DEVICE_FEATURE_PROBE | VFIO_DEVICE_FEATURE_SET |
                                VFIO_DEVICE_FEATURE_DMA_LOGGING_START,
                            NULL, 0),
                    ==, ENOTTY);
    g_assert_cmpint(set_state(dev, STATE_RUNNING_P2P, NULL), ==, EINVAL);
    g_assert_cmpint(set_state(dev, STATE_STOP, NULL), ==, 0);
    device_close(dev);
    knob(&off, "iommu_dirty", "1");
    knob(&off, "dma_logging", "1");
    knob(&off, "migration", "7");
}

/* ---- migration ---- */

/* To the end of what there is; 0 or the errno that ended it. */
static int drain(int fd, GByteArray *stream)
{
    static uint8_t buffer[100000];
    ssize_t n;

    while ((n = read(fd, buffer, sizeof(buffer))) > 0) {
        g_byte_array_append(stream, buffer, (guint)n);
    }
    return n ? errno : 0;
}

/* In pieces that fit nothing. */
static int pour(int fd, const GByteArray *stream)
{
    for (guint at = 0; at < stream->len;) {
        ssize_t n = write(fd, stream->data + at, MIN(stream->len - at, 7777));

        if (n <= 0) {
            return errno;
        }
        at += (guint)n;
    }
    return 0;
}

static GByteArray *save(TestDevice *dev)
{
    GByteArray *stream = g_byte_array_new();
    int fd;

    g_assert_cmpint(set_state(dev, STATE_STOP_COPY, &fd), ==, 0);
    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(drain(fd, stream), ==, 0);
    close(fd);
    return stream;
}

/* The errno with which the device leaves RESUMING. */
static int load(TestDevice *dev, const GByteArray *stream)
{
    int fd, error;

    g_assert_cmpint(set_state(dev, STATE_RESUMING, &fd), ==, 0);
    g_assert_cmpint(pour(fd, stream), ==, 0);
    error = set_state(dev, STATE_STOP, NULL);
    close(fd);
    return error;
}

/* What both devices say of themselves is the same. */
static void check_same(const uint64_t *before, TestDevice *dev)
{
    static const unsigned registers[] = { VT_SEQUENCE, VT_WRITES, VT_INTERRUPTS, VT_STATE_SUM,
                                          VT_STATE_SIZE };

    for (unsigned i = 0; i < G_N_ELEMENTS(registers); i++) {
        g_assert_cmpuint(reg(dev, registers[i]), ==, before[i]);
    }
}

static void note(uint64_t *before, TestDevice *dev)
{
    before[0] = reg(dev, VT_SEQUENCE);
    before[1] = reg(dev, VT_WRITES);
    before[2] = reg(dev, VT_INTERRUPTS);
    before[3] = reg(dev, VT_STATE_SUM);
    before[4] = reg(dev, VT_STATE_SIZE);
}

static void go(TestDevice *dev)
{
    prepare(dev, 2000);
    set_reg32(dev, VT_NR_VECTORS, VECTORS);
    set_reg(dev, VT_STATE_SIZE, STATE);
    command(dev, VT_CMD_RESIZE);
    set_reg32(dev, VT_STATE_RATE, 500);
    command(dev, VT_CMD_START);
    wait_reg(dev, VT_WRITES, 200);
}

/* First the whole, then what changes, and the rest when it has stopped. */
static GByteArray *precopy(TestDevice *dev)
{
    GByteArray *stream = g_byte_array_new();
    PrecopyInfo info;
    guint initial;
    int fd, none;

    g_assert_cmpint(set_state(dev, STATE_PRE_COPY, &fd), ==, 0);
    g_assert_cmpint(precopy_info(fd, &info), ==, 0);
    g_assert_cmpuint(info.initial_bytes, >=, STATE);
    g_assert_cmpint(drain(fd, stream), ==, ENOMSG);
    initial = stream->len;
    g_assert_cmpint(precopy_info(fd, &info), ==, 0);
    g_assert_cmpuint(info.initial_bytes, ==, 0);
    g_usleep(200000);
    g_assert_cmpint(precopy_info(fd, &info), ==, 0);
    g_assert_cmpuint(info.dirty_bytes, >, 0);
    g_assert_cmpint(drain(fd, stream), ==, ENOMSG);
    g_test_message("%u bytes at first, %u of what changed then", initial, stream->len - initial);
    g_assert_cmpuint(stream->len, >, initial);
    g_assert_cmpint(set_state(dev, STATE_STOP_COPY, &none), ==, 0);
    g_assert_cmpint(none, ==, -1);
    g_assert_cmpint(precopy_info(fd, &info), ==, EINVAL);
    g_assert_cmpint(drain(fd, stream), ==, 0);
    close(fd);
    return stream;
}

static void test_migration(gconstpointer with_precopy)
{
    TestDevice *from = device_open(folders[0], true), *to = device_open(folders[1], false);
    g_autoptr(GByteArray) stream = NULL;
    uint64_t before[5], writes;

    go(from);
    stream = with_precopy ? precopy(from) : save(from);
    /* It has stopped; where it may be looked at, it does nothing by itself. */
    g_assert_cmpint(set_state(from, STATE_RUNNING_P2P, NULL), ==, 0);
    note(before, from);
    g_usleep(100000);
    check_same(before, from);

    g_assert_cmpint(load(to, stream), ==, 0);
    g_assert_cmpint(set_state(to, STATE_RUNNING_P2P, NULL), ==, 0);
    check_same(before, to);
    g_assert_cmpuint(reg(to, VT_LOADS), ==, 1);
    g_assert_cmpuint(reg32(to, VT_STATUS), ==, VT_STATUS_STARTED);
    command(to, VT_CMD_VERIFY);
    g_assert_cmpuint(check_pages(to), >, 0);
    writes = reg(to, VT_WRITES);
    g_assert_cmpint(set_state(to, STATE_RUNNING, NULL), ==, 0);
    wait_reg(to, VT_WRITES, writes + COUNT);
    command(to, VT_CMD_STOP);
    command(to, VT_CMD_VERIFY);
    g_assert_cmpuint(check_pages(to), ==, COUNT);
    g_assert_cmpuint(reg(from, VT_MISUSE) + reg(to, VT_MISUSE), ==, 0);
    g_test_message("%u bytes; %llu writes there, %llu here", stream->len,
                   (unsigned long long)before[1], (unsigned long long)reg(to, VT_WRITES));
    device_close(from);
    device_close(to);
}

/* The state becomes another while it is sent. */
static void test_reinit(void)
{
    TestDevice *from = device_open(folders[0], false), *to = device_open(folders[1], false);
    g_autoptr(GByteArray) stream = g_byte_array_new();
    PrecopyInfo info;
    int fd;

    g_assert_cmpint(feature(from, VFIO_DEVICE_FEATURE_SET | 12, NULL, 0), ==, 0);
    go(from);
    g_assert_cmpint(set_state(from, STATE_PRE_COPY, &fd), ==, 0);
    g_assert_cmpint(drain(fd, stream), ==, ENOMSG);
    g_assert_cmpint(precopy_info(fd, &info), ==, 0);
    g_assert_cmphex(info.flags, ==, 0);
    set_reg(from, VT_STATE_SIZE, STATE / 2);
    command(from, VT_CMD_RESIZE);
    g_assert_cmpint(precopy_info(fd, &info), ==, 0);
    g_assert_cmphex(info.flags, ==, 1);
    g_assert_cmpuint(info.initial_bytes, >=, STATE / 2);
    g_assert_cmpint(drain(fd, stream), ==, ENOMSG);
    g_assert_cmpint(set_state(from, STATE_STOP_COPY, NULL), ==, 0);
    g_assert_cmpint(drain(fd, stream), ==, 0);
    close(fd);
    g_assert_cmpint(load(to, stream), ==, 0);
    g_assert_cmpint(set_state(to, STATE_RUNNING_P2P, NULL), ==, 0);
    g_assert_cmpuint(reg(to, VT_STATE_SIZE), ==, STATE / 2);
    command(to, VT_CMD_VERIFY);
    device_close(from);
    device_close(to);
}

/* Running again after all, and the descriptor is dead. */
static void test_cancel(void)
{
    TestDevice *dev = device_open(folders[0], false);
    uint64_t writes, size = 0;
    char byte;
    int fd;

    go(dev);
    g_assert_cmpint(feature(dev, VFIO_DEVICE_FEATURE_GET | 9, &size, 8), ==, 0);
    g_assert_cmpuint(size, >, STATE);
    g_assert_cmpint(set_state(dev, STATE_PRE_COPY, &fd), ==, 0);
    g_assert_cmpint(read(fd, &byte, 1), ==, 1);
    g_assert_cmpint(set_state(dev, STATE_RUNNING, NULL), ==, 0);
    g_assert_cmpint(read(fd, &byte, 1), ==, -1);
    g_assert_cmpint(errno, ==, ENODEV);
    close(fd);
    g_assert_cmpint(set_state(dev, STATE_STOP_COPY, &fd), ==, 0);
    close(fd);
    g_assert_cmpint(set_state(dev, STATE_PRE_COPY, NULL), ==, EINVAL);
    g_assert_cmpint(set_state(dev, STATE_RUNNING, NULL), ==, 0);
    writes = reg(dev, VT_WRITES);
    wait_reg(dev, VT_WRITES, writes + 100);
    device_close(dev);
}

/* ---- faults ---- */

static void test_refused(void)
{
    TestDevice *dev = device_open(folders[0], false);
    int fd;

    knob(dev, "refuse", "STOP_COPY 16 2");
    for (int i = 0; i < 2; i++) {
        g_assert_cmpint(set_state(dev, STATE_STOP_COPY, &fd), ==, EBUSY);
        g_assert_cmpint(fd, ==, -1);
        g_assert_cmpuint(get_state(dev), ==, STATE_STOP);
    }
    g_assert_cmpint(set_state(dev, STATE_STOP_COPY, &fd), ==, 0);
    close(fd);
    knob(dev, "to_error", "STOP 1");
    g_assert_cmpint(set_state(dev, STATE_RUNNING, NULL), ==, EIO);
    g_assert_cmpuint(get_state(dev), ==, STATE_ERROR);
    g_assert_cmpint(set_state(dev, STATE_RUNNING, NULL), ==, EINVAL);
    device_reset(dev);
    g_assert_cmpuint(get_state(dev), ==, STATE_RUNNING);
    knob(dev, "delay", "STOP 300");
    for (int i = 0; i < 2; i++) {
        gint64 start = g_get_monotonic_time();

        g_assert_cmpint(set_state(dev, STATE_STOP, NULL), ==, 0);
        g_assert_true((g_get_monotonic_time() - start >= 300000) == !i);
        g_assert_cmpint(set_state(dev, STATE_RUNNING, NULL), ==, 0);
        knob(dev, "delay", "STOP 0");
    }
    device_close(dev);
}

/* What is wrong with the state is found before the device would run with it. */
static void refused_state(TestDevice *to, const GByteArray *stream, const char *what)
{
    g_assert_cmpint(load(to, stream), ==, EINVAL);
    g_assert_cmpuint(get_state(to), ==, STATE_RESUMING);
    device_reset(to);
    g_assert_cmpuint(get_state(to), ==, STATE_RUNNING);
    set_pci_command(to, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    g_assert_cmpuint(reg(to, VT_LOADS), ==, 0);
    g_test_message("%s: refused", what);
}

static void test_corrupt(void)
{
    TestDevice *from = device_open(folders[0], false), *to = device_open(folders[1], false);
    g_autoptr(GByteArray) good = NULL, bad = NULL, none = g_byte_array_new();
    static const char *const spoilt[][3] = {
        { "corrupt", "1", "a wrong magic number" },
        { "corrupt", "1000000", "a wrong byte" },
        { "truncate", "0", "nothing" },
        { "truncate", "3000000", "half of it" },
    };

    go(from);
    good = save(from);
    for (size_t i = 0; i < G_N_ELEMENTS(spoilt); i++) {
        g_assert_cmpint(set_state(from, STATE_STOP, NULL), ==, 0);
        knob(from, spoilt[i][0], spoilt[i][1]);
        bad = save(from);
        refused_state(to, bad, spoilt[i][2]);
        g_byte_array_unref(g_steal_pointer(&bad));
        knob(from, spoilt[i][0], "off");
    }
    refused_state(to, none, "no byte");
    g_byte_array_append(good, (const guint8 *)"x", 1);
    g_assert_cmpint(load(to, good), ==, EINVAL);
    device_reset(to);
    g_byte_array_set_size(good, good->len - 1);
    g_assert_cmpint(load(to, good), ==, 0);
    device_close(from);
    device_close(to);
}

static void test_fail_io(void)
{
    TestDevice *from = device_open(folders[0], false), *to = device_open(folders[1], false);
    g_autoptr(GByteArray) stream = g_byte_array_new();
    int fd;

    go(from);
    knob(from, "fail_read", "5 1 123456");
    g_assert_cmpint(set_state(from, STATE_STOP_COPY, &fd), ==, 0);
    g_assert_cmpint(drain(fd, stream), ==, EIO);
    g_assert_cmpuint(stream->len, ==, 123456);
    g_assert_cmpint(drain(fd, stream), ==, 0);
    close(fd);
    knob(to, "fail_write", "28 1 50000");
    g_assert_cmpint(set_state(to, STATE_RESUMING, &fd), ==, 0);
    g_assert_cmpint(pour(fd, stream), ==, ENOSPC);
    close(fd);
    device_reset(to);
    g_assert_cmpint(load(to, stream), ==, 0);
    device_close(from);
    device_close(to);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    if (argc != 3) {
        g_printerr("usage: lab-vtest SYSFS SYSFS\n");
        return 2;
    }
    folders[0] = argv[1];
    folders[1] = argv[2];
    ram_init();
    g_test_add_func("/vtest/engine", test_engine);
    g_test_add_func("/vtest/unmap", test_unmap);
    g_test_add_func("/vtest/interrupts", test_interrupts);
    g_test_add_func("/vtest/peer", test_peer);
    g_test_add_func("/vtest/dirty/iommu", test_dirty_iommu);
    g_test_add_func("/vtest/dirty/log", test_dirty_log);
    g_test_add_func("/vtest/abilities", test_abilities);
    g_test_add_data_func("/vtest/migration/stopped", GINT_TO_POINTER(0), test_migration);
    g_test_add_data_func("/vtest/migration/precopy", GINT_TO_POINTER(1), test_migration);
    g_test_add_func("/vtest/migration/reinit", test_reinit);
    g_test_add_func("/vtest/migration/cancel", test_cancel);
    g_test_add_func("/vtest/faults/refused", test_refused);
    g_test_add_func("/vtest/faults/corrupt", test_corrupt);
    g_test_add_func("/vtest/faults/io", test_fail_io);
    return g_test_run();
}
