/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The calls.  Descriptors of the simulated files are numbers that the real kernel does not give
 * out; sim_eventfds and maps are real, so that a test can signal the ones and read the others.
 */
#include "tests/sim/internal.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

GPtrArray *sim_devices;
GHashTable *sim_eventfds;
static GHashTable *copies; /* of eventfds: the copy by the number that it was made of */
static GArray *files;
static GArray *maps; /* SimMap */
static GString *call_log;
static unsigned fail_in;
static int fail_choice = -1; /* which of a call's errors; -1: EIO */
static bool fail_on;         /* and all after it */
static bool failed;
/* The calls come from any thread. */
static GRecMutex lock;
#define LOCKED G_GNUC_UNUSED g_autoptr(GRecMutexLocker) locker = g_rec_mutex_locker_new(&lock)

typedef struct File {
    bool open, is_iommu;
    bool bound; /* the device was bound through this one */
    int fd_flags;
    SimDevice *dev;
    SimGroup *group;
    SimContainer *container;
    SimDevice *dmabuf; /* whose memory this is */
    uint64_t size;     /* of the dma-buf */
    SimDevice *migrates;
    unsigned transfer;    /* which one of its */
    unsigned description; /* that copies share */
} File;

typedef struct SimMap {
    uintptr_t start, end;
} SimMap;

void sim_note(const char *fmt, ...)
{
    LOCKED;
    va_list ap;

    va_start(ap, fmt);
    g_string_append_vprintf(call_log, fmt, ap);
    va_end(ap);
    g_string_append_c(call_log, '\n');
}

/* What the kernel may well say to each of the calls, 0-ended. */
static const int open_errors[] = { EMFILE, EACCES, ENOMEM, EBUSY, 0 };
static const int ioctl_errors[] = { ENOMEM, EBUSY, EINVAL, EIO, 0 };
static const int map_errors[] = { ENOMEM, EINVAL, 0 };
static const int access_errors[] = { EIO, EFAULT, 0 };
static const int eventfd_errors[] = { EMFILE, ENOMEM, 0 };
static const int fstat_errors[] = { EIO, ENOMEM, 0 };

bool sim_must_fail(const char *call, unsigned long what, const int *errors)
{
    LOCKED;
    unsigned n = 0;

    if (!fail_in || --fail_in) {
        return false;
    }
    fail_in = fail_on;
    errno = EIO;
    if (fail_choice >= 0) {
        while (errors[n]) {
            n++;
        }
        errno = errors[(unsigned)fail_choice % n];
    }
    if (fail_choice >= 0 && !failed) {
        int errnum = errno;

        fprintf(stderr, "sim: %s 0x%lx fails: %s\n", call, what, strerrorname_np(errnum));
        errno = errnum;
    }
    failed = true;
    return true;
}

/* ---- the calls ---- */

static File *file(int fd)
{
    File *f = fd >= FIRST_FD && fd - FIRST_FD < (int)files->len
                  ? &g_array_index(files, File, fd - FIRST_FD)
                  : NULL;

    return f && f->open ? f : NULL;
}

bool sim_is_iommu(int fd)
{
    return file(fd) && file(fd)->is_iommu;
}

static int file_new(File f)
{
    static unsigned last;
    guint i = 0;

    while (i < files->len && g_array_index(files, File, i).open) {
        i++;
    }
    if (i == files->len) {
        g_array_set_size(files, i + 1);
    }
    f.open = true;
    f.description = f.description ?: ++last;
    g_array_index(files, File, i) = f;
    return FIRST_FD + (int)i;
}

int sim_device_file(SimDevice *dev)
{
    return file_new((File) { .dev = dev, .bound = dev->via, .fd_flags = FD_CLOEXEC });
}

char *sim_file_name(int fd)
{
    const File *f = file(fd);

    return !f            ? NULL
           : f->is_iommu ? g_strdup("iommu")
           : f->dev      ? g_strdup_printf("%u", f->dev->minor)
                         : NULL;
}

int sim_file_of(const char *name)
{
    unsigned minor = (unsigned)strtoul(name, NULL, 10);

    if (g_str_has_prefix(name, "iommu")) {
        sim_iommu_get();
        return file_new((File) { .is_iommu = true, .fd_flags = FD_CLOEXEC });
    }
    for (guint i = 0; i < sim_devices->len; i++) {
        SimDevice *dev = sim_devices->pdata[i];

        if (dev->minor == minor) {
            return file_new((File) { .dev = dev, .bound = true, .fd_flags = FD_CLOEXEC });
        }
    }
    g_assert_not_reached();
}

void sim_eventfd_add(int fd)
{
    LOCKED;
    g_hash_table_add(sim_eventfds, GINT_TO_POINTER(fd));
}

SimContainer *sim_container_of(int fd)
{
    return file(fd) ? file(fd)->container : NULL;
}

unsigned sim_group_of(int fd)
{
    return file(fd) && file(fd)->group ? sim_group_id(file(fd)->group) : 0;
}

/* /dev/vfio/vfio, /dev/vfio/N and /dev/vfio/noiommu-N. */
static int open_older(const char *name)
{
    const char *number = name + (sim_type1.noiommu ? strlen("noiommu-") : 0);
    SimGroup *g;

    if (g_str_equal(name, "vfio")) {
        return file_new((File) { .container = sim_container_new() });
    }
    if (g_str_has_prefix(name, "noiommu-") != sim_type1.noiommu) {
        return fail(ENOENT);
    }
    g = sim_group_open((unsigned)strtoul(number, NULL, 10));
    return g ? file_new((File) { .group = g }) : -1;
}

int sim_dmabuf_new(SimDevice *dev, uint64_t size)
{
    return file_new((File) { .dmabuf = dev, .size = size, .fd_flags = FD_CLOEXEC });
}

int sim_mig_file(SimDevice *dev, unsigned transfer)
{
    return file_new((File) { .migrates = dev, .transfer = transfer, .fd_flags = FD_CLOEXEC });
}

bool sim_dmabuf(int fd, SimDevice **dev, uint64_t *size)
{
    File *f = file(fd);

    if (!f || !f->dmabuf) {
        return false;
    }
    *dev = f->dmabuf;
    *size = f->size;
    return true;
}

static int sim_open(const char *path, int flags)
{
    LOCKED;
    unsigned minor;

    if (sim_must_fail("open", 0, open_errors)) {
        return -1;
    }
    sim_note("open %s", path);
    if (g_str_equal(path, "/dev/iommu")) {
        sim_iommu_get();
        return file_new((File) { .is_iommu = true, .fd_flags = FD_CLOEXEC });
    }
    for (guint i = 0; sscanf(path, "/dev/vfio/devices/vfio%u", &minor) == 1 && i < sim_devices->len;
         i++) {
        SimDevice *dev = sim_devices->pdata[i];

        if (dev->minor == minor) {
            return sim_device_file(dev);
        }
    }
    return g_str_has_prefix(path, "/dev/vfio/") ? open_older(path + strlen("/dev/vfio/"))
                                                : fail(ENOENT);
}

static bool is_open_elsewhere(const File *f)
{
    for (guint i = 0; i < files->len; i++) {
        const File *other = &g_array_index(files, File, i);

        if (other != f && other->open && other->description == f->description) {
            return true;
        }
    }
    return false;
}

/* Devices have the eventfd, whatever its number. */
static void forget_number(int fd)
{
    void *copy;

    if (!g_hash_table_steal_extended(copies, GINT_TO_POINTER(fd), NULL, &copy)) {
        return;
    }
    for (guint i = 0; i < sim_devices->len; i++) {
        sim_device_renumber(sim_devices->pdata[i], fd, GPOINTER_TO_INT(copy));
    }
}

static int sim_close(int fd)
{
    LOCKED;
    File *f = file(fd);

    if (g_hash_table_remove(sim_eventfds, GINT_TO_POINTER(fd))) {
        forget_number(fd);
        return close(fd);
    }
    if (!f) {
        return fd < FIRST_FD ? close(fd) : fail(EBADF);
    }
    f->open = false;
    if (f->migrates || is_open_elsewhere(f)) {
        return 0;
    }
    if (f->dmabuf) {
        sim_note("close dma-buf");
        return 0;
    }
    sim_note("close %s", f->is_iommu    ? "iommu"
                         : f->group     ? "group"
                         : f->container ? "container"
                                        : "device");
    if (f->is_iommu) {
        sim_iommu_put();
    } else if (f->group) {
        sim_group_close(f->group);
    } else if (f->container) {
        sim_container_close(f->container);
    } else if (f->bound) {
        sim_device_release(f->dev);
    }
    return 0;
}

static int copy_real(int fd, int cmd, int arg)
{
    int copy = fcntl(fd, cmd, arg);

    if (copy >= 0 && cmd == F_DUPFD_CLOEXEC &&
        g_hash_table_contains(sim_eventfds, GINT_TO_POINTER(fd))) {
        g_hash_table_add(sim_eventfds, GINT_TO_POINTER(copy));
        g_hash_table_insert(copies, GINT_TO_POINTER(fd), GINT_TO_POINTER(copy));
    }
    return copy;
}

static int sim_fcntl(int fd, int cmd, int arg)
{
    LOCKED;
    File *f = file(fd);

    if (!f) {
        return copy_real(fd, cmd, arg);
    }
    switch (cmd) {
    case F_DUPFD_CLOEXEC:
        return file_new(*f);
    case F_GETFD:
        return f->fd_flags;
    case F_SETFD:
        f->fd_flags = arg;
        return 0;
    case F_GETFL:
        return O_RDWR;
    default:
        return fail(EINVAL);
    }
}

static int sim_fstat(int fd, struct stat *st)
{
    LOCKED;
    File *f = file(fd);

    if (sim_must_fail("fstat", 0, fstat_errors)) {
        return -1;
    }
    if (!f) {
        return fstat(fd, st);
    }
    *st = (struct stat) { .st_mode = S_IFCHR };
    if (f->dev) {
        st->st_rdev = makedev(SIM_MAJOR, f->dev->wrong_minor ?: f->dev->minor);
    } else if (f->group) {
        st->st_rdev = makedev(0, sim_group_id(f->group));
    }
    return 0;
}

/* A transition takes its time, and others can be under way meanwhile. */
static void wait_for_transition(int fd, unsigned long request, const void *arg)
{
    const struct vfio_device_feature *feature = arg;
    unsigned delay = 0;

    if (request != VFIO_DEVICE_FEATURE ||
        feature->flags != (VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE)) {
        return;
    }
    g_rec_mutex_lock(&lock);
    if (file(fd) && file(fd)->dev) {
        delay = file(fd)->dev->mig.delay;
    }
    sim_mig_delay_begin();
    g_rec_mutex_unlock(&lock);
    g_usleep(delay * 1000UL);
    g_rec_mutex_lock(&lock);
    sim_mig_delay_end();
    g_rec_mutex_unlock(&lock);
}

static int sim_ioctl(int fd, unsigned long request, void *arg)
{
    wait_for_transition(fd, request, arg);
    LOCKED;
    File *f = file(fd);
    int ret;

    if (sim_must_fail("ioctl", request, ioctl_errors)) {
        return -1;
    }
    if (!f) {
        return fail(EBADF);
    }
    if (f->is_iommu) {
        return sim_iommu_ioctl(request, arg);
    }
    if (f->group) {
        return sim_group_ioctl(f->group, request, arg);
    }
    if (f->container) {
        return sim_container_ioctl(f->container, request, arg);
    }
    if (f->migrates) {
        return sim_mig_ioctl(f->migrates, f->transfer, request, arg);
    }
    if (!f->dev) {
        return fail(ENOTTY);
    }
    ret = sim_device_ioctl(f->dev, request, arg);
    if (request == VFIO_DEVICE_BIND_IOMMUFD && !ret) {
        file(fd)->bound = true; /* files may have moved: an ioctl can make one */
    }
    return ret;
}

/* The region that @offset of the descriptor is in, and the place in it. */
static SimRegion *region_at(int fd, uint64_t offset, size_t len, uint64_t *at)
{
    File *f = file(fd);
    uint64_t index = offset >> 40;
    SimRegion *r;

    if (!f || !f->dev || !f->dev->bound || index >= VFIO_PCI_NUM_REGIONS) {
        return NULL;
    }
    r = &f->dev->regions[index];
    *at = offset & (REGION_AT(1) - 1);
    return *at <= r->size && len <= r->size - *at ? r : NULL;
}

static void *sim_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t offset)
{
    LOCKED;
    SimMap m;
    void *p;

    if (sim_must_fail("mmap", len, map_errors)) {
        return MAP_FAILED;
    }
    if (fd >= 0) {
        uint64_t at;
        SimRegion *r = region_at(fd, (uint64_t)offset, 0, &at);

        /* A page of its own is mapped as a whole, however small the BAR. */
        if (!r || len > MAX(r->size, 4096) - at || !(r->flags & VFIO_REGION_INFO_FLAG_MMAP) ||
            !(flags & MAP_SHARED)) {
            errno = EINVAL;
            return MAP_FAILED;
        }
        sim_note("mmap BAR 0x%llx+0x%zx", (unsigned long long)offset, len);
        fd = r->backing;
        offset = (off_t)at;
    }
    /* Not by its name: see failures.c. */
    p = (void *)syscall(SYS_mmap, addr, len, prot, flags, fd, offset);
    m = (SimMap) { (uintptr_t)p, (uintptr_t)p + len };
    if (p != MAP_FAILED && !(flags & MAP_FIXED)) {
        g_array_append_val(maps, m);
    }
    return p;
}

static int sim_munmap(void *addr, size_t len)
{
    LOCKED;
    for (guint i = 0; i < maps->len; i++) {
        SimMap *m = &g_array_index(maps, SimMap, i);

        if (m->start == (uintptr_t)addr && m->end - m->start == len) {
            g_array_remove_index_fast(maps, i);
            return munmap(addr, len);
        }
    }
    g_assert_not_reached();
}

static ssize_t device_rw(int fd, void *buf, size_t len, off_t offset, bool is_write)
{
    uint64_t at;
    SimRegion *r = region_at(fd, (uint64_t)offset, len, &at);
    SimDevice *dev;

    if (!r) {
        return fail(file(fd) && file(fd)->migrates ? ESPIPE : EFAULT);
    }
    dev = file(fd)->dev;
    if (r == &dev->regions[VFIO_PCI_CONFIG_REGION_INDEX]) {
        if (is_write) {
            sim_config_write(dev, at, buf, len);
        } else {
            memcpy(buf, dev->config + at, len);
        }
        return (ssize_t)len;
    }
    if (!(dev->config[4] & 3)) {
        return fail(EIO); /* it decodes nothing */
    }
    return is_write ? pwrite(r->backing, buf, len, (off_t)at)
                    : pread(r->backing, buf, len, (off_t)at);
}

static ssize_t sim_read(int fd, void *buf, size_t len)
{
    LOCKED;
    File *f = file(fd);

    if (!f) {
        return read(fd, buf, len);
    }
    if (sim_must_fail("read", len, access_errors)) {
        return -1;
    }
    return f->migrates ? sim_mig_read(f->migrates, f->transfer, buf, len) : fail(EINVAL);
}

static ssize_t sim_write(int fd, const void *buf, size_t len)
{
    LOCKED;
    File *f = file(fd);

    if (!f) {
        return write(fd, buf, len);
    }
    if (sim_must_fail("write", len, access_errors)) {
        return -1;
    }
    return f->migrates ? sim_mig_write(f->migrates, f->transfer, buf, len) : fail(EINVAL);
}

static ssize_t sim_pread(int fd, void *buf, size_t len, off_t offset)
{
    LOCKED;
    return sim_must_fail("pread", (unsigned long)offset, access_errors)
               ? -1
               : device_rw(fd, buf, len, offset, false);
}

static ssize_t sim_pwrite(int fd, const void *buf, size_t len, off_t offset)
{
    LOCKED;
    return sim_must_fail("pwrite", (unsigned long)offset, access_errors)
               ? -1
               : device_rw(fd, (void *)(uintptr_t)buf, len, offset, true);
}

static int sim_eventfd(unsigned initval, int flags)
{
    LOCKED;
    int fd;

    if (sim_must_fail("eventfd", 0, eventfd_errors)) {
        return -1;
    }
    fd = eventfd(initval, flags);
    if (fd >= 0) {
        g_hash_table_add(sim_eventfds, GINT_TO_POINTER(fd));
    }
    return fd;
}

static const HostCalls calls = {
    .open = sim_open,
    .close = sim_close,
    .fcntl = sim_fcntl,
    .fstat = sim_fstat,
    .ioctl = sim_ioctl,
    .mmap = sim_mmap,
    .munmap = sim_munmap,
    .read = sim_read,
    .write = sim_write,
    .pread = sim_pread,
    .pwrite = sim_pwrite,
    .eventfd = sim_eventfd,
};

/* ---- for the tests ---- */

void sim_init(void)
{
    sim_devices = g_ptr_array_new();
    files = g_array_new(FALSE, TRUE, sizeof(File));
    maps = g_array_new(FALSE, FALSE, sizeof(SimMap));
    sim_eventfds = g_hash_table_new(NULL, NULL);
    copies = g_hash_table_new(NULL, NULL);
    call_log = g_string_new(NULL);
    hostcalls = &calls;
}

char *sim_take_log(void)
{
    LOCKED;
    char *text = g_strdup(call_log->str);

    g_string_truncate(call_log, 0);
    return text;
}

void sim_fail(unsigned nth)
{
    LOCKED;
    fail_in = nth;
    failed = false;
}

void sim_fail_as(unsigned nth, unsigned choice, bool on)
{
    LOCKED;
    sim_fail(nth);
    fail_on = on;
    fail_choice = (int)choice;
}

bool sim_failed(void)
{
    LOCKED;
    return failed;
}

unsigned sim_open_things(void)
{
    unsigned n = g_hash_table_size(sim_eventfds) + maps->len;

    for (guint i = 0; i < files->len; i++) {
        n += g_array_index(files, File, i).open;
    }
    return n;
}
