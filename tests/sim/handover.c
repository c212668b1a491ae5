/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Simulated files that go to another process.  The linker puts these functions in the place of
 * libc's (--wrap).  What is sent instead of such a descriptor is a memfd whose name says what it is,
 * and in which the state of the simulated kernel is; the other process makes its own kernel the same
 * when it gets it, and again whenever it gets descriptors later.  What happens there then is not
 * known here: for that there is one real kernel in the lab.
 *
 * Calls of other threads than the main one can fail here too: they are on migration's channels.
 */
#include "tests/sim/internal.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define NAME     "sim "
#define MEMFD    "/memfd:" NAME
#define FDS_MAX  253
#define NOBODY   UINT32_MAX
#define OBJECTS  64
#define EXTENTS  64
#define TRIGGERS 16

static const int send_errors[] = { EPIPE, ENOBUFS, 0 };
static const int receive_errors[] = { ECONNRESET, ENOMEM, 0 };
static const int eventfd_errors[] = { EMFILE, ENOMEM, 0 };

ssize_t __real_sendmsg(int fd, const struct msghdr *msg, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *msg, int flags);
ssize_t __real_recvmsg(int fd, struct msghdr *msg, int flags);
ssize_t __wrap_recvmsg(int fd, struct msghdr *msg, int flags);
ssize_t __real_readv(int fd, const struct iovec *iov, int n);
ssize_t __wrap_readv(int fd, const struct iovec *iov, int n);
ssize_t __real_writev(int fd, const struct iovec *iov, int n);
ssize_t __wrap_writev(int fd, const struct iovec *iov, int n);
ssize_t __real_send(int fd, const void *buf, size_t len, int flags);
ssize_t __wrap_send(int fd, const void *buf, size_t len, int flags);
ssize_t __real_recv(int fd, void *buf, size_t len, int flags);
ssize_t __wrap_recv(int fd, void *buf, size_t len, int flags);
int __real_memfd_create(const char *name, unsigned flags);
int __real_eventfd(unsigned initval, int flags);
int __wrap_eventfd(unsigned initval, int flags);

/* ---- the kernel's state ---- */

typedef struct SavedExtent {
    SimExtent extent;
    uint32_t peer;
} SavedExtent;

typedef struct SavedObject {
    ObjectKind kind;
    uint32_t ioas, dev, users, nr_extents;
    bool manual, dirty_ops, tracking;
    SavedExtent extents[EXTENTS];
} SavedObject;

typedef struct SavedDevice {
    uint8_t config[4096];
    uint32_t minor, devid, hwpt;
    int irq_index;
    uint32_t nr_triggers;
} SavedDevice;

typedef struct Saved {
    uint32_t nr_objects, nr_devices;
    SavedObject objects[OBJECTS];
    SavedDevice devices[8];
} Saved;

static int shared = -1; /* the memfd that stands for /dev/iommu, where the state is */

static uint32_t minor_of(const SimDevice *dev)
{
    return dev ? dev->minor : NOBODY;
}

static SimDevice *device_of(uint32_t minor)
{
    for (guint i = 0; i < sim_devices->len; i++) {
        SimDevice *dev = sim_devices->pdata[i];

        if (dev->minor == minor) {
            return dev;
        }
    }
    return NULL;
}

static Object *object_at(uint32_t id)
{
    for (ObjectKind kind = OBJ_IOAS; kind <= OBJ_DEVICE; kind++) {
        Object *o = sim_object(id, kind);

        if (o) {
            return o;
        }
    }
    return NULL;
}

static void save_object(SavedObject *to, const Object *o)
{
    to->kind = o->kind;
    to->ioas = o->ioas;
    to->dev = minor_of(o->dev);
    to->users = o->users;
    to->manual = o->manual;
    to->dirty_ops = o->dirty_ops;
    to->tracking = o->tracking;
    to->nr_extents = o->extents ? o->extents->len : 0;
    g_assert_cmpuint(to->nr_extents, <=, EXTENTS);
    for (uint32_t i = 0; i < to->nr_extents; i++) {
        to->extents[i].extent = g_array_index(o->extents, SimExtent, i);
        to->extents[i].peer = minor_of(to->extents[i].extent.peer);
    }
}

static void save(void)
{
    g_autofree Saved *s = g_new0(Saved, 1);

    s->nr_objects = sim_objects();
    g_assert_cmpuint(s->nr_objects, <=, OBJECTS);
    for (uint32_t id = 1; id < s->nr_objects; id++) {
        if (object_at(id)) {
            save_object(&s->objects[id], object_at(id));
        }
    }
    for (guint i = 0; i < sim_devices->len; i++) {
        const SimDevice *dev = sim_devices->pdata[i];
        SavedDevice *to = &s->devices[s->nr_devices];

        if (dev->bound) {
            memcpy(to->config, dev->config, sizeof(to->config));
            to->minor = dev->minor;
            to->devid = dev->devid;
            to->hwpt = dev->hwpt;
            to->irq_index = dev->irq_index;
            to->nr_triggers = dev->triggers->len;
            s->nr_devices++;
        }
    }
    g_assert_cmpint(pwrite(shared, s, sizeof(*s), 0), ==, sizeof(*s));
}

static void load_object(uint32_t id, const SavedObject *from)
{
    Object *o = object_at(id);

    if (!o) {
        g_assert_cmpuint(sim_object_new(from->kind ?: OBJ_IOAS), ==, id);
        o = object_at(id);
    }
    o->ioas = from->ioas;
    o->dev = device_of(from->dev);
    o->users = from->users;
    o->manual = from->manual;
    o->dirty_ops = from->dirty_ops;
    o->tracking = from->tracking;
    if (o->extents) {
        g_array_set_size(o->extents, 0);
    }
    for (uint32_t i = 0; i < from->nr_extents; i++) {
        SimExtent e = from->extents[i].extent;

        e.peer = device_of(from->extents[i].peer);
        g_array_append_val(o->extents, e);
    }
}

static void load_device(const SavedDevice *from)
{
    SimDevice *dev = device_of(from->minor);

    g_assert(dev);
    memcpy(dev->config, from->config, sizeof(dev->config));
    if (!dev->bound) {
        dev->bound = true;
        sim_iommu_get();
    }
    dev->devid = from->devid;
    dev->hwpt = from->hwpt;
    dev->irq_index = from->irq_index;
    while (dev->triggers->len < from->nr_triggers) { /* whose eventfds have other numbers here */
        int32_t none = -1;

        g_array_append_val(dev->triggers, none);
    }
}

static void load(void)
{
    g_autofree Saved *s = g_new0(Saved, 1);

    g_assert_cmpint(pread(shared, s, sizeof(*s), 0), ==, sizeof(*s));
    for (uint32_t id = 1; id < s->nr_objects; id++) {
        load_object(id, &s->objects[id]);
    }
    for (uint32_t i = 0; i < s->nr_devices; i++) {
        load_device(&s->devices[i]);
    }
    for (uint32_t id = 1; id < s->nr_objects; id++) {
        if (!s->objects[id].kind) { /* it only held the place */
            sim_object_free(object_at(id));
        }
    }
}

/* ---- there ---- */

static bool is_worker(void)
{
    return gettid() != getpid();
}

/* The memfd that is sent instead. */
static int stand_in(int fd)
{
    g_autofree char *name = sim_file_name(fd), *text = g_strconcat(NAME, name, NULL);
    int memfd = name ? __real_memfd_create(text, MFD_CLOEXEC) : -1;

    g_assert_true(!name || memfd >= 0);
    if (name && sim_is_iommu(fd)) {
        if (shared >= 0) {
            close(shared);
        }
        shared = fcntl(memfd, F_DUPFD_CLOEXEC, 0);
    }
    return memfd;
}

ssize_t __wrap_sendmsg(int fd, const struct msghdr *msg, int flags)
{
    struct cmsghdr *c = msg->msg_controllen ? CMSG_FIRSTHDR(msg) : NULL;
    size_t n = c ? (c->cmsg_len - CMSG_LEN(0)) / sizeof(int) : 0;
    int made[FDS_MAX], *fds = c ? (int *)(void *)CMSG_DATA(c) : NULL;
    ssize_t ret;

    if (is_worker() && sim_must_fail("sendmsg", n, send_errors)) {
        return -1;
    }
    for (size_t i = 0; i < n; i++) {
        made[i] = stand_in(fds[i]);
        fds[i] = made[i] >= 0 ? made[i] : fds[i];
    }
    if (n && shared >= 0) {
        save();
    }
    ret = __real_sendmsg(fd, msg, flags);
    for (size_t i = 0; i < n; i++) {
        if (made[i] >= 0) {
            close(made[i]);
        }
    }
    return ret;
}

/* ---- and here ---- */

static int *each_fd(struct msghdr *msg, size_t *n)
{
    struct cmsghdr *c = msg->msg_controllen ? CMSG_FIRSTHDR(msg) : NULL;

    *n = c && c->cmsg_type == SCM_RIGHTS ? (c->cmsg_len - CMSG_LEN(0)) / sizeof(int) : 0;
    return *n ? (int *)(void *)CMSG_DATA(c) : NULL;
}

static int arrived(int fd)
{
    g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", fd);
    g_autofree char *target = g_file_read_link(path, NULL);
    const char *name = target && g_str_has_prefix(target, MEMFD) ? target + strlen(MEMFD) : NULL;
    int file;

    if (target && g_str_equal(target, "anon_inode:[eventfd]")) {
        sim_eventfd_add(fd);
    }
    if (!name) {
        return fd;
    }
    file = sim_file_of(name);
    if (sim_is_iommu(file)) {
        shared = fd;
    } else {
        close(fd);
    }
    return file;
}

ssize_t __wrap_recvmsg(int fd, struct msghdr *msg, int flags)
{
    ssize_t ret;
    size_t n = 0;
    int *fds;

    if (is_worker() && sim_must_fail("recvmsg", 0, receive_errors)) {
        return -1;
    }
    ret = __real_recvmsg(fd, msg, flags);
    fds = ret >= 0 ? each_fd(msg, &n) : NULL;
    for (size_t i = 0; fds && i < n; i++) {
        fds[i] = arrived(fds[i]);
    }
    if (fds && shared >= 0) {
        load();
    }
    return ret;
}

/* ---- calls without descriptors ---- */

ssize_t __wrap_readv(int fd, const struct iovec *iov, int n)
{
    return is_worker() && sim_must_fail("readv", 0, receive_errors) ? -1 : __real_readv(fd, iov, n);
}

ssize_t __wrap_writev(int fd, const struct iovec *iov, int n)
{
    return is_worker() && sim_must_fail("writev", 0, send_errors) ? -1 : __real_writev(fd, iov, n);
}

ssize_t __wrap_send(int fd, const void *buf, size_t len, int flags)
{
    return is_worker() && sim_must_fail("send", 0, send_errors) ? -1
                                                                : __real_send(fd, buf, len, flags);
}

ssize_t __wrap_recv(int fd, void *buf, size_t len, int flags)
{
    return is_worker() && sim_must_fail("recv", 0, receive_errors)
               ? -1
               : __real_recv(fd, buf, len, flags);
}

int __wrap_eventfd(unsigned initval, int flags)
{
    return is_worker() && sim_must_fail("eventfd", 0, eventfd_errors)
               ? -1
               : __real_eventfd(initval, flags);
}
