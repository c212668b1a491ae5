/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A client that sends a QMP monitor what it likes.  The machine has a root port, and a device of
 * the simulated kernel to be plugged into it ("sysfsdev":"d").  Nothing outside is touched: files
 * are not opened (the linker puts our open() in the place of libc's), and memory is small (a limit
 * on the size of files, which memory backends are).
 */
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/accel.h"
#include "core/fdset.h"
#include "core/machine.h"
#include "core/runstate.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/qmp-client.h"
#include "tests/unit/vfio-fixture.h"
#include "util/keyval.h"

#define FILE_MAX   (1 << 20)
#define FDS_MAX    256
#define CHUNK      512
#define ANSWER_MAX 1024

static GString *answers; /* of the monitor, to one input */

/* ---- no files ---- */

int __wrap_open(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...);
int __wrap_g_mkstemp_full(char *name, int flags, int mode);

int __wrap_open(const char *path, int flags, ...)
{
    errno = EACCES;
    return -1;
}

int __wrap_open64(const char *path, int flags, ...)
{
    errno = EACCES;
    return -1;
}

int __wrap_g_mkstemp_full(char *name, int flags, int mode)
{
    errno = EACCES;
    return -1;
}

/* ---- the machine ---- */

typedef Machine TestMachine;
typedef MachineClass TestMachineClass;
GType test_machine_get_type(void);
DEFINE_OBJECT_TYPE(TestMachine, test_machine, "test-machine", TYPE_MACHINE, 0)

static void test_machine_init(Machine *m)
{
}

static void test_machine_class_init(MachineClass *klass)
{
    klass->name = "test";
    klass->max_cpus = 1;
}

/* Where "d" is the device, and where the process is else: libFuzzer has files there. */
static int there = -1, home = -1;

static int folder(const char *path)
{
    int fd = openat(AT_FDCWD, path, O_PATH | O_DIRECTORY | O_CLOEXEC);

    g_assert_cmpint(fd, >=, 0);
    return fd;
}

static void find_folders(void)
{
    g_autofree char *top = g_path_get_dirname(sysfs);

    home = folder(".");
    there = folder(top);
    g_assert_cmpint(symlinkat(sysfs, there, "d"), ==, 0);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    struct rlimit limit = { FILE_MAX, FILE_MAX };

    fuzz_init();
    find_folders();
    answers = g_string_new(NULL);
    current_machine = g_object_new(test_machine_get_type(), NULL);
    signal(SIGXFSZ, SIG_IGN);
    g_assert_cmpint(setrlimit(RLIMIT_FSIZE, &limit), ==, 0);
    vm_start();
    vm_stop(RUN_STATE_PAUSED);
    return 0;
}

/* What is open; the first time all of that is marked as ours, so that no fd= can take it. */
static unsigned open_fds(void)
{
    static bool marked;
    unsigned n = 0;

    for (int fd = 0; fd < FDS_MAX; fd++) {
        int flags = fcntl(fd, F_GETFD);

        n += flags >= 0;
        if (flags >= 0 && !marked) {
            fcntl(fd, F_SETFD, flags | FD_CLOEXEC);
        }
    }
    marked = true;
    return n;
}

/* ---- the client ---- */

static void drain(int fd)
{
    char buf[64 * 1024];
    ssize_t n;

    do {
        fuzz_spin();
        n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);
        g_string_append_len(answers, buf, MAX(n, 0));
    } while (n > 0);
}

/* All that was said is lines of JSON; long ones take long to be read, and are lists of ours. */
static void check_answers(void)
{
    g_auto(GStrv) lines = g_strsplit(answers->str, "\r\n", -1);

    g_assert_true(g_str_has_suffix(answers->str, "\r\n"));
    g_assert_true(g_utf8_validate(answers->str, (gssize)answers->len, NULL));
    for (char **line = lines; *line; line++) {
        if (**line && strlen(*line) < ANSWER_MAX) {
            g_autoptr(JsonNode) node = json_from_string(*line, NULL);

            g_assert_true(node && JSON_NODE_HOLDS_OBJECT(node));
        }
    }
    g_string_truncate(answers, 0);
}

/* The bytes, and a descriptor with them if @with_fd. */
static void send_chunk(int fd, const void *bytes, size_t len, bool with_fd)
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control = { .header = { CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS } };
    struct iovec iov = { (void *)(uintptr_t)bytes, len };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
    int memfd = with_fd ? memfd_create("fuzz", MFD_CLOEXEC) : -1;

    if (with_fd) {
        memcpy(CMSG_DATA(&control.header), &memfd, sizeof(memfd));
        msg.msg_control = &control;
        msg.msg_controllen = sizeof(control);
    }
    sendmsg(fd, &msg, MSG_NOSIGNAL);
    if (with_fd) {
        close(memfd);
    }
    drain(fd);
}

/* ---- before and afterwards ---- */

static void port_new(void)
{
    g_autoptr(JsonObject) opts = keyval_parse("pcie-root-port,id=rp", "driver", NULL, NULL);

    g_assert_true(device_add(opts, false, NULL));
}

static void collect(const char *name, GObject *obj, void *names)
{
    g_ptr_array_add(names, g_strdup(name));
}

static void delete_objects(void)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);

    object_tree_foreach("/objects", collect, names);
    for (guint i = 0; i < names->len; i++) {
        if (!g_str_equal(names->pdata[i], "i0") && !g_str_equal(names->pdata[i], "ram")) {
            g_assert_true(user_object_del(names->pdata[i], NULL));
        }
    }
}

static void destroy_all(void)
{
    devices_shutdown();
    delete_objects();
    fdset_cleanup();
    vm_stop(RUN_STATE_PAUSED);
}

/*
 * One byte: bit 0 has it negotiated already, the others say which parts of the stream come with a
 * descriptor.
 */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char hello[] = "{\"execute\":\"qmp_capabilities\"}";
    Input in = { data, size };
    uint8_t kind = (uint8_t)input_take(&in, 1);
    unsigned before = open_fds();
    QMPClient client;

    g_assert_cmpint(fchdir(there), ==, 0);
    setup();
    port_new();
    qmp_client_init(&client);
    if (kind & 1) {
        send_chunk(client.fd, hello, strlen(hello), false);
    }
    for (unsigned i = 1; in.left; i++) {
        size_t n = CHUNK;
        const uint8_t *bytes = input_bytes(&in, &n);

        send_chunk(client.fd, bytes, n, kind >> i % 8 & 1);
    }
    drain(client.fd);
    qmp_client_clear(&client);
    fuzz_spin();
    check_answers();
    monitor_cleanup();
    chardev_cleanup_all();
    destroy_all();
    fuzz_unplug();
    g_assert_cmpuint(open_fds(), ==, before);
    g_assert_cmpint(fchdir(home), ==, 0);
    return 0;
}
