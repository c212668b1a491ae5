/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Descriptors of /dev/iommu and of VFIO devices that come from outside, on the simulated kernel. */
#include <fcntl.h>
#include <glib/gstdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "backends/iommufd.h"
#include "core/device.h"
#include "core/fdset.h"
#include "hw/vfio/internal.h"
#include "tests/unit/open-descriptors.h"
#include "tests/unit/vfio-fixture.h"
#include "util/keyval.h"

static int named = -1; /* what the name "given" stands for */

static int take_name(const char *name)
{
    int fd = g_str_equal(name, "given") ? named : -1;

    named = fd >= 0 ? -1 : named;
    return fd;
}

/* As setup(); and sysfs finds 510:7. */
static char *dev_char;

static void begin(void)
{
    setup();
    vfio_sysfs_dev_char = dev_char;
}

/* As if the program had been started with it. */
static int inherited(const char *path)
{
    int fd = hostcalls->open(path, O_RDWR);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(hostcalls->fcntl(fd, F_SETFD, 0), ==, 0);
    return fd;
}

static char *number(int fd)
{
    return g_strdup_printf("%d", fd);
}

/* ---- -object iommufd,fd= ---- */

static bool add_iommufd(const char *id, const char *fd, GError **errp)
{
    g_autoptr(JsonObject) opts = json_object_new();

    json_object_set_string_member(opts, "qom-type", "iommufd");
    json_object_set_string_member(opts, "id", id);
    json_object_set_string_member(opts, "fd", fd);
    return user_object_add(opts, errp);
}

static void assert_no_iommufd(const char *fd, const char *why)
{
    g_autoptr(GError) err = NULL;
    guint before = open_descriptors();

    g_assert_false(add_iommufd("i2", fd, &err));
    g_test_message("%s", err->message);
    g_assert_nonnull(strstr(err->message, "i2: "));
    g_assert_nonnull(strstr(err->message, why));
    g_assert_cmpuint(open_descriptors(), ==, before);
    g_assert_null(object_resolve("i2"));
}

static void test_iommufd_by_number(void)
{
    g_autoptr(GError) err = NULL;
    int fd = inherited("/dev/iommu");
    g_autofree char *text = number(fd);
    IOMMUFDBackend *be;

    g_assert_true(add_iommufd("i1", text, &err));
    g_assert_false(add_iommufd("i2", text, &err));
    g_assert_nonnull(strstr(err->message, "is in use already"));
    /* Users come and go, and it stays; with the object it goes. */
    be = IOMMUFD_BACKEND(object_resolve("i1"));
    for (int i = 0; i < 2; i++) {
        g_assert_true(iommufd_backend_connect(be, NULL));
        g_assert_cmpint(be->fd, ==, fd);
        iommufd_backend_disconnect(be);
        g_assert_cmpuint(sim_open_things(), ==, 1);
    }
    g_assert_true(user_object_del("i1", NULL));
    g_assert_cmpuint(sim_open_things(), ==, 0);
}

static void test_iommufd_by_name(void)
{
    named = hostcalls->open("/dev/iommu", O_RDWR);
    g_assert_true(add_iommufd("i1", "given", NULL));
    g_assert_cmpint(named, ==, -1);
    assert_no_iommufd("given", "File descriptor named 'given' not found");
    g_assert_true(user_object_del("i1", NULL));
    g_assert_cmpuint(sim_open_things(), ==, 0);

    named = open("/dev/null", O_RDWR | O_CLOEXEC); /* one of no use is closed */
    {
        guint before = open_descriptors();
        g_autoptr(GError) err = NULL;

        g_assert_false(add_iommufd("i1", "given", &err));
        g_assert_cmpstr(err->message, ==, "i1: fd given is not an open /dev/iommu");
        g_assert_cmpuint(open_descriptors(), ==, before - 1);
    }
}

static void test_iommufd_wrong(void)
{
    int null = open("/dev/null", O_RDWR), own = open("/dev/null", O_RDWR | O_CLOEXEC);
    int memfd = memfd_create("file", 0);
    g_autofree char *null_text = number(null), *own_text = number(own), *file_text = number(memfd);

    assert_no_iommufd("zz", "File descriptor named 'zz' not found");
    assert_no_iommufd("", "File descriptor named '' not found");
    assert_no_iommufd("-1", "File descriptor named '-1' not found");
    assert_no_iommufd("3x", "Invalid file descriptor number '3x'");
    assert_no_iommufd("99999999999999", "Invalid file descriptor number");
    assert_no_iommufd("99999", "fd 99999 is not open: Bad file descriptor");
    assert_no_iommufd("0", "is not an open /dev/iommu");
    assert_no_iommufd(null_text, "is not an open /dev/iommu");
    assert_no_iommufd(file_text, "is not an open /dev/iommu");
    assert_no_iommufd(own_text, "is in use already");
    assert_no_iommufd("/dev/fdset/7", "no descriptor for reading and writing in /dev/fdset/7: No");
    /* What was refused is as it was. */
    g_assert_cmpint(fcntl(null, F_GETFD), ==, 0);
    close(null);
    close(own);
    close(memfd);
}

/* ---- -device vfio-pci,fd= ---- */

static bool add_device(const char *id, const char *fd, const char *more, GError **errp)
{
    g_autofree char *text =
        g_strdup_printf("vfio-pci%s%s,fd=%s%s", id ? ",id=" : "", id ?: "", fd, more);
    g_autoptr(JsonObject) opts = keyval_parse(text, "driver", NULL, NULL);

    return device_add(opts, false, errp);
}

static void assert_no_device(const char *fd, const char *more, const char *why)
{
    g_autoptr(GError) err = NULL;
    guint before = open_descriptors(), things = sim_open_things();

    g_assert_false(add_device("d1", fd, more, &err));
    g_test_message("%s", err->message);
    g_assert_true(g_str_has_prefix(err->message, "vfio"));
    g_assert_nonnull(strstr(err->message, why));
    g_assert_null(strchr(err->message, '\n'));
    g_assert_cmpuint(open_descriptors(), ==, before);
    g_assert_cmpuint(sim_open_things(), ==, things);
}

static void test_device_by_number(void)
{
    g_autoptr(GError) err = NULL;
    g_autofree char *log = NULL, *text = NULL;
    int fd;

    begin();
    fd = inherited("/dev/vfio/devices/vfio7");
    text = number(fd);
    g_free(sim_take_log());
    g_assert_true(add_device("d0", text, ",iommufd=i0", &err));
    log = sim_take_log();
    g_assert_null(strstr(log, "open /dev/vfio"));
    g_assert_nonnull(strstr(log, "BIND"));
    assert_no_device(text, ",iommufd=i0", "is in use already");
    teardown(PCI_DEVICE(object_resolve("d0"))); /* which closes it */
}

/* QEMU needs an id then. */
static void test_device_without_id(void)
{
    g_autoptr(GError) err = NULL;

    begin();
    named = hostcalls->open("/dev/vfio/devices/vfio7", O_RDWR);
    g_assert_true(add_device(NULL, "given", ",iommufd=i0", &err));
    teardown(PCI_DEVICE(object_resolve("/machine/peripheral-anon/device[0]")));
}

/* The same device by other descriptors, and by its folder. */
static void test_device_twice(void)
{
    g_autofree char *first = NULL, *second = NULL, *folder = NULL;
    g_autoptr(GError) err = NULL;

    begin();
    first = number(inherited("/dev/vfio/devices/vfio7"));
    second = number(inherited("/dev/vfio/devices/vfio7"));
    g_assert_true(add_device("d0", first, ",iommufd=i0", &err));
    g_assert_false(add_device("d1", second, ",iommufd=i0", &err));
    g_test_message("%s", err->message);
    g_assert_nonnull(strstr(err->message, "the device is attached already"));
    g_clear_error(&err);
    folder = g_strdup_printf("vfio-pci,id=d1,sysfsdev=%s,iommufd=i0", sysfs);
    {
        g_autoptr(JsonObject) opts = keyval_parse(folder, "driver", NULL, NULL);

        g_assert_false(device_add(opts, false, &err));
        g_test_message("%s", err->message);
        g_assert_nonnull(strstr(err->message, "the device is attached already"));
    }
    g_assert_true(sim->bound);
    hostcalls->close(atoi(second)); /* refused, and so as it was */
    teardown(PCI_DEVICE(object_resolve("d0")));
}

/* Given again by somebody who had kept it open: the kernel binds an open file once. */
static void test_device_again(void)
{
    g_autofree char *text = NULL;
    int fd;

    begin();
    fd = inherited("/dev/vfio/devices/vfio7");
    text = number(fd);
    sim->bound = true;
    assert_no_device(text, ",iommufd=i0",
                     "Invalid argument; if it was in use before, and somebody has kept it open, it "
                     "is bound for good: open the device anew");
    sim->bound = false;
    hostcalls->close(fd);
    teardown(NULL);
}

static void test_device_wrong(void)
{
    int null = open("/dev/null", O_RDWR), memfd = memfd_create("file", 0);
    g_autofree char *null_text = number(null), *file_text = number(memfd), *cdev = NULL;
    int fd;

    begin();
    assert_no_device("99999", ",iommufd=i0", "fd 99999 is not open");
    assert_no_device("zz", ",iommufd=i0", "File descriptor named 'zz' not found");
    assert_no_device(file_text, ",iommufd=i0", "not even a character device");
    fd = inherited("/dev/vfio/devices/vfio7");
    cdev = number(fd);
    assert_no_device(cdev, "", "there is no iommufd");
    assert_no_device(cdev, ",iommufd=i0,host=0000:02:00.0", "fd and host exclude each other");
    assert_no_device(cdev, ",iommufd=i0,sysfsdev=/x", "fd and sysfsdev exclude each other");
    /* Where sysfs shows what a number is, it is believed. */
    vfio_sysfs_dev_char = "/sys/dev/char";
    if (g_file_test("/sys/dev/char/1:3", G_FILE_TEST_EXISTS)) {
        assert_no_device(null_text, ",iommufd=i0", "it is no VFIO device, but /sys/devices/");
    }
    /* Where it does not, the kernel refuses to bind it. */
    vfio_sysfs_dev_char = "/nonexistent";
    {
        g_autofree char *why = g_strdup_printf("vfio fd %d: error bind device fd=%d", null, null);

        g_assert_cmpint(sim_open_things(), ==, 1);
        assert_no_device(null_text, ",iommufd=i0", why);
    }
    hostcalls->close(fd);
    close(null);
    close(memfd);
    teardown(NULL);
}

/* Whatever fails, the descriptor is closed or given back, and nothing else is left. */
static void test_device_failures(void)
{
    unsigned nth;

    for (nth = 1;; nth++) {
        g_autoptr(GError) err = NULL;
        g_autofree char *text = NULL;
        bool added;
        int fd;

        begin();
        fd = inherited("/dev/vfio/devices/vfio7");
        text = number(fd);
        sim_fail(nth);
        added = add_device("d0", text, ",iommufd=i0", &err);
        if (!sim_failed()) {
            g_assert_true(added);
            sim_fail(0);
            teardown(PCI_DEVICE(object_resolve("d0")));
            break;
        }
        sim_fail(0);
        if (added) { /* a failure that is survived */
            teardown(PCI_DEVICE(object_resolve("d0")));
            continue;
        }
        if (sim_open_things()) {
            g_assert_cmpint(hostcalls->fcntl(fd, F_GETFD, 0), ==, 0);
            hostcalls->close(fd);
        }
        teardown(NULL);
    }
    g_assert_cmpuint(nth, >, 20);
}

/* Without sysfs it goes by its number, and works all the same. */
static void test_device_without_sysfs(void)
{
    g_autoptr(GError) err = NULL;
    g_autofree char *text = NULL, *name = NULL;
    VFIODevice *dev;

    begin();
    text = number(inherited("/dev/vfio/devices/vfio7"));
    name = g_strdup_printf("fd %s", text);
    vfio_sysfs_dev_char = "/nonexistent";
    dev = vfio_device_attach(
        &(VFIODeviceRef) { .fd = text, .iommufd = IOMMUFD_BACKEND(object_resolve("i0")) }, &err);
    g_assert_no_error(err);
    g_assert_cmpstr(dev->name, ==, name);
    g_assert_null(dev->sysfs);
    vfio_device_detach(dev);
    teardown(NULL);
}

static void test_device_name(void)
{
    g_autoptr(GError) err = NULL;
    VFIODevice *dev;

    begin();
    named = hostcalls->open("/dev/vfio/devices/vfio7", O_RDWR);
    dev = vfio_device_attach(
        &(VFIODeviceRef) { .fd = "given", .iommufd = IOMMUFD_BACKEND(object_resolve("i0")) }, &err);
    g_assert_no_error(err);
    g_assert_cmpstr(dev->name, ==, "0000:02:00.0");
    vfio_device_detach(dev);
    teardown(NULL);
}

static void add(void)
{
    g_autofree char *cdev = g_build_filename(sysfs, "vfio-dev", "vfio7", NULL);
    g_autofree char *link = g_build_filename(dev_char, "510:7", NULL);

    g_assert_cmpint(symlink(cdev, link), ==, 0);
    fd_set_names(take_name);
    g_test_add_func("/vfio-fd/iommufd-by-number", test_iommufd_by_number);
    g_test_add_func("/vfio-fd/iommufd-by-name", test_iommufd_by_name);
    g_test_add_func("/vfio-fd/iommufd-wrong", test_iommufd_wrong);
    g_test_add_func("/vfio-fd/device-by-number", test_device_by_number);
    g_test_add_func("/vfio-fd/device-without-id", test_device_without_id);
    g_test_add_func("/vfio-fd/device-twice", test_device_twice);
    g_test_add_func("/vfio-fd/device-again", test_device_again);
    g_test_add_func("/vfio-fd/device-wrong", test_device_wrong);
    g_test_add_func("/vfio-fd/device-failures", test_device_failures);
    g_test_add_func("/vfio-fd/device-name", test_device_name);
    g_test_add_func("/vfio-fd/device-without-sysfs", test_device_without_sysfs);
}

int main(int argc, char **argv)
{
    g_autofree char *link = NULL;
    int ret;

    dev_char = g_dir_make_tmp("viaduct-vfio-XXXXXX", NULL);
    link = g_build_filename(dev_char, "510:7", NULL);
    ret = vfio_test_run(argc, argv, add);
    g_unlink(link);
    g_rmdir(dev_char);
    g_free(dev_char);
    return ret;
}
