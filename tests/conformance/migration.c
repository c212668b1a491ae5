/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the program relies on, and the simulator claims, of a device that can be migrated: the ways
 * between its states, its data, how it answers nonsense.  On the simulated kernel, or on that of the
 * machine with the device whose folder in sysfs is $VIADUCT_CONFORMANCE_DEVICE.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "core/accel.h"
#include "core/memory.h"
#include "hw/vfio/migration.h"
#include "tests/sim/kernel.h"
#include "tests/unit/vfio-fixture.h"
#include "util/hostcalls.h"
#include "util/keyval.h"

#define RUNNING      VFIO_DEVICE_STATE_RUNNING
#define STOP         VFIO_DEVICE_STATE_STOP
#define STOP_COPY    VFIO_DEVICE_STATE_STOP_COPY
#define RESUMING     VFIO_DEVICE_STATE_RESUMING
#define PRE_COPY     VFIO_DEVICE_STATE_PRE_COPY
#define PRE_COPY_P2P VFIO_DEVICE_STATE_PRE_COPY_P2P
#define STATE        VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE
#define SET          VFIO_DEVICE_FEATURE_SET
#define GET          VFIO_DEVICE_FEATURE_GET
#define PROBE        VFIO_DEVICE_FEATURE_PROBE

static const char *sysfs_of_device; /* NULL: the simulator's */
static VFIODevice *dev;
static uint64_t flags;
static int data_fd = -1;
static GByteArray *saved; /* a whole state of the device's */

/* 0 or an errno. */
static int feature(uint32_t what, void *arg, size_t len)
{
    return vfio_device_feature(dev, what, arg, len) ? 0 : errno;
}

static uint32_t get_state(void)
{
    struct vfio_device_feature_mig_state arg = { .data_fd = 77 };

    g_assert_cmpint(feature(GET | STATE, &arg, sizeof(arg)), ==, 0);
    g_assert_cmpint(arg.data_fd, ==, -1);
    return arg.device_state;
}

/* *@fd is what it gives. */
static int set_state(uint32_t state, int *fd)
{
    struct vfio_device_feature_mig_state arg = { .device_state = state, .data_fd = 77 };
    int ret = feature(SET | STATE, &arg, sizeof(arg));

    *fd = ret ? -1 : arg.data_fd;
    if (*fd >= 0) {
        host_fd_close(&data_fd);
        data_fd = *fd;
    }
    return ret;
}

static void give(const uint8_t *data, size_t len)
{
    while (len) {
        ssize_t n = hostcalls->write(data_fd, data, len);

        g_assert_cmpint(n, >, 0);
        data += n;
        len -= (size_t)n;
    }
}

/* All there is for now; what it ended with. */
static int take(GByteArray *to)
{
    uint8_t buf[4096];
    ssize_t n;

    while ((n = hostcalls->read(data_fd, buf, sizeof(buf))) > 0) {
        g_byte_array_append(to, buf, (guint)n);
    }
    return n ? errno : 0;
}

static void bring_to(uint32_t state)
{
    int fd;

    if (get_state() == RESUMING) {
        give(saved->data, saved->len);
    }
    g_assert_cmpint(set_state(RUNNING, &fd), ==, 0);
    host_fd_close(&data_fd);
    g_assert_cmpint(set_state(state, &fd), ==, 0);
    g_assert_cmpuint(get_state(), ==, state);
}

static void begin(void)
{
    VFIODeviceRef ref = { .sysfs = sysfs_of_device ?: sysfs };
    struct vfio_device_feature_migration mig = { 0 };
    g_autoptr(GError) err = NULL;

    ref.iommufd = (IOMMUFDBackend *)object_resolve("i0");
    dev = vfio_device_attach(&ref, &err);
    g_assert_no_error(err);
    g_assert_cmpint(feature(GET | VFIO_DEVICE_FEATURE_MIGRATION, &mig, sizeof(mig)), ==, 0);
    flags = mig.flags;
    g_assert_cmpuint(flags & VFIO_MIGRATION_STOP_COPY, ==, VFIO_MIGRATION_STOP_COPY);
    saved = g_byte_array_new();
    bring_to(STOP_COPY);
    g_assert_cmpint(take(saved), ==, 0);
    g_test_message("flags 0x%x, %u bytes", (unsigned)flags, saved->len);
}

static void end(void)
{
    bring_to(RUNNING);
    host_fd_close(&data_fd);
    vfio_device_detach(dev);
    g_byte_array_unref(saved);
}

/* From each state to each, by the way that the program believes there is. */
static void test_ways(void)
{
    unsigned ways = 0;

    begin();
    for (uint32_t from = 1; from < VFIO_MIG_STATES; from++) {
        if (vfio_mig_next_state(flags, RUNNING, from) == VFIO_DEVICE_STATE_ERROR) {
            continue;
        }
        for (uint32_t to = 0; to <= VFIO_MIG_STATES; to++) {
            bool way = vfio_mig_next_state(flags, from, to) != VFIO_DEVICE_STATE_ERROR;
            VFIOMigTransfer transfer = vfio_mig_state_transfer(to);
            int ret, fd;

            bring_to(from);
            if (from == RESUMING) {
                give(saved->data, saved->len);
            }
            ret = set_state(to, &fd);
            g_test_message("%s to %s: %s, %s", vfio_mig_state_name(from), vfio_mig_state_name(to),
                           ret ? strerrorname_np(ret) : "done", fd >= 0 ? "data" : "no data");
            g_assert_cmpint(ret, ==, way ? 0 : EINVAL);
            g_assert_cmpuint(get_state(), ==, way ? to : from);
            g_assert_cmpint(fd >= 0, ==,
                            way && transfer && transfer != vfio_mig_state_transfer(from));
            ways += way;
            if (from == RESUMING && get_state() == RESUMING) { /* it has had its data */
                g_assert_cmpint(set_state(STOP, &fd), ==, 0);
            }
        }
    }
    g_test_message("%u ways", ways);
    end();
}

/* A transfer's descriptor: what it gives, and when it is dead. */
static void test_data(void)
{
    g_autoptr(GByteArray) got = g_byte_array_new();
    uint8_t byte;
    int fd;

    begin();
    bring_to(STOP_COPY);
    g_assert_cmpint(hostcalls->pread(data_fd, &byte, 1, 0), ==, -1);
    g_assert_cmpint(errno, ==, ESPIPE);
    g_assert_cmpint(hostcalls->write(data_fd, &byte, 1), ==, -1);
    g_assert_cmpint(errno, ==, EBADF);
    g_assert_cmpint(take(got), ==, 0);
    g_assert_cmpint(take(got), ==, 0); /* an end is an end */
    g_assert_cmpmem(got->data, got->len, saved->data, saved->len);
    g_assert_cmpint(set_state(STOP, &fd), ==, 0);
    g_assert_cmpint(hostcalls->read(data_fd, &byte, 1), ==, -1);
    g_assert_cmpint(errno, ==, ENODEV);

    bring_to(RESUMING);
    g_assert_cmpint(hostcalls->read(data_fd, &byte, 1), ==, -1);
    g_assert_cmpint(errno, ==, EBADF);
    give(saved->data, saved->len);
    g_assert_cmpint(set_state(STOP, &fd), ==, 0);
    g_assert_cmpint(hostcalls->write(data_fd, &byte, 1), ==, -1);
    g_assert_cmpint(errno, ==, ENODEV);

    /* A state that is cut off is none; a reset ends that, and where there is none, the rest. */
    bring_to(RESUMING);
    give(saved->data, saved->len - 1);
    g_assert_cmpint(set_state(STOP, &fd), ==, EINVAL);
    g_assert_cmpuint(get_state(), ==, RESUMING);
    if (dev->flags & VFIO_DEVICE_FLAGS_RESET) {
        g_assert_true(vfio_device_reset(dev, NULL));
        g_assert_cmpuint(get_state(), ==, RUNNING);
        g_assert_cmpint(hostcalls->write(data_fd, &byte, 1), ==, -1);
        g_assert_cmpint(errno, ==, ENODEV);
    } else {
        give(saved->data + saved->len - 1, 1);
        g_assert_cmpint(set_state(STOP, &fd), ==, 0);
    }
    end();
}

static int precopy_info(uint32_t argsz, struct vfio_precopy_info *info)
{
    *info = (struct vfio_precopy_info) { .argsz = argsz };
    return hostcalls->ioctl(data_fd, VFIO_MIG_GET_PRECOPY_INFO, info) ? errno : 0;
}

static void test_precopy(void)
{
    g_autoptr(GByteArray) got = g_byte_array_new();
    struct vfio_precopy_info info;
    int fd, ret;

    begin();
    if (!(flags & VFIO_MIGRATION_PRE_COPY)) {
        g_assert_cmpint(feature(SET | VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2, NULL, 0), ==, EINVAL);
        end();
        return;
    }
    bring_to(PRE_COPY);
    g_assert_cmpint(precopy_info(sizeof(info), &info), ==, 0);
    g_assert_cmpuint(info.initial_bytes + info.dirty_bytes, >, 0);
    g_assert_cmpint(precopy_info(sizeof(info) - 1, &info), ==, EINVAL);
    g_assert_cmpint(hostcalls->ioctl(data_fd, VFIO_DEVICE_GET_INFO, &info) ? errno : 0, ==, ENOTTY);
    ret = take(got);
    g_test_message("%u bytes, then %s", got->len, ret ? strerrorname_np(ret) : "nothing");
    g_assert_true(ret == ENOMSG || !ret); /* mtty says the latter */
    g_assert_cmpint(precopy_info(sizeof(info), &info), ==, 0);
    g_assert_cmpuint(info.initial_bytes + info.dirty_bytes, ==, 0);
    if (flags & VFIO_MIGRATION_P2P) {
        g_assert_cmpint(set_state(PRE_COPY_P2P, &fd), ==, 0);
        g_assert_cmpint(precopy_info(sizeof(info), &info), ==, 0);
    }

    /* What comes in one piece and what comes in two is the same state. */
    g_assert_cmpint(set_state(STOP_COPY, &fd), ==, 0);
    g_assert_cmpint(precopy_info(sizeof(info), &info), ==, EINVAL);
    g_assert_cmpint(take(got), ==, 0);
    bring_to(RESUMING);
    give(got->data, got->len);
    g_assert_cmpint(set_state(STOP, &fd), ==, 0);

    /* The transfer that ends because the device runs on is dead. */
    bring_to(PRE_COPY);
    g_assert_cmpint(set_state(RUNNING, &fd), ==, 0);
    g_assert_true(hostcalls->read(data_fd, &info, 1) == -1 && errno == ENODEV);
    g_assert_cmpint(precopy_info(sizeof(info), &info), !=, 0);
    end();
}

/* How features answer what makes no sense. */
static void test_arguments(void)
{
    struct vfio_device_feature_mig_state state = { .device_state = STOP, .data_fd = -1 };
    struct vfio_device_feature_mig_data_size size = { 0 };
    struct vfio_device_feature short_one = { .argsz = 4, .flags = GET | STATE };

    begin();
    bring_to(RUNNING);
    g_assert_cmpint(hostcalls->ioctl(dev->fd, VFIO_DEVICE_FEATURE, &short_one) ? errno : 0, ==,
                    EINVAL);
    g_assert_cmpint(feature(STATE, &state, sizeof(state)), ==, EINVAL);
    g_assert_cmpint(feature(GET | SET | STATE, &state, sizeof(state)), ==, EINVAL);
    g_assert_cmpint(feature(SET | STATE, &state, sizeof(state) - 1), ==, EINVAL);
    g_assert_cmpint(feature(SET | STATE | 1U << 20, &state, sizeof(state)), ==, EINVAL);
    g_assert_cmpint(feature(PROBE | GET | SET | STATE, NULL, 0), ==, 0);
    g_assert_cmpint(feature(PROBE | GET | VFIO_DEVICE_FEATURE_MIGRATION, NULL, 0), ==, 0);
    g_assert_cmpint(feature(PROBE | SET | VFIO_DEVICE_FEATURE_MIGRATION, NULL, 0), ==, EINVAL);
    g_assert_cmpint(feature(SET | VFIO_DEVICE_FEATURE_MIGRATION, &size, sizeof(size)), ==, EINVAL);
    g_assert_cmpint(feature(GET | 0xfff, &size, sizeof(size)), ==, ENOTTY);
    g_assert_cmpint(feature(GET | VFIO_DEVICE_FEATURE_MIG_DATA_SIZE, &size, sizeof(size)), ==, 0);
    g_assert_cmpuint(size.stop_copy_length, >=, saved->len);
    g_assert_cmpuint(get_state(), ==, RUNNING);
    end();
}

/* The simulator's device can be one that can less. */
static void test_lesser(void)
{
    static const uint64_t all[] = { VFIO_MIGRATION_STOP_COPY,
                                    VFIO_MIGRATION_STOP_COPY | VFIO_MIGRATION_P2P,
                                    VFIO_MIGRATION_STOP_COPY | VFIO_MIGRATION_PRE_COPY };
    uint64_t before = sim->mig.flags;

    for (size_t i = 0; i < G_N_ELEMENTS(all); i++) {
        sim->mig.flags = all[i];
        test_ways();
        test_data();
        test_precopy();
        test_arguments();
    }
    sim->mig.flags = before;
}

/* ---- the world around it ---- */

static void add_tests(void)
{
    g_test_add_func("/conformance/migration/ways", test_ways);
    g_test_add_func("/conformance/migration/data", test_data);
    g_test_add_func("/conformance/migration/precopy", test_precopy);
    g_test_add_func("/conformance/migration/arguments", test_arguments);
}

static int run_on_kernel(int argc, char **argv)
{
    static const AccelOps none = { .name = "none" };
    g_autoptr(JsonObject) opts = keyval_parse("iommufd,id=i0", "qom-type", NULL, NULL);
    g_autoptr(GError) err = NULL;

    g_test_init(&argc, &argv, NULL);
    memory_init();
    accel_register(&none);
    user_object_add(opts, &err);
    g_assert_no_error(err);
    add_tests();
    return g_test_run();
}

/* Each kind of device that there may be. */
static void add_on_simulator(void)
{
    setup();
    sim_mig_init(sim, VFIO_MIGRATION_STOP_COPY | VFIO_MIGRATION_P2P | VFIO_MIGRATION_PRE_COPY, 100);
    add_tests();
    g_test_add_func("/conformance/migration/lesser", test_lesser);
}

int main(int argc, char **argv)
{
    int ret;

    sysfs_of_device = g_getenv("VIADUCT_CONFORMANCE_DEVICE");
    if (sysfs_of_device) {
        return run_on_kernel(argc, argv);
    }
    ret = vfio_test_run(argc, argv, add_on_simulator);
    g_assert_cmpuint(sim_open_things(), ==, 0);
    sim_device_free(sim);
    return ret;
}
