/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a new process gets of an old one in a live update, by somebody who means ill: bytes and
 * descriptors on the channel of cpr-transfer, the memfd of cpr-exec, and messages that are right but
 * for some of what they say, up to a guest that goes on with the device.
 */
#include "tests/fuzz/fuzz.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include <xxhash.h>

#include "migration/channel-private.h"
#include "tests/sim/internal.h"
#include "tests/unit/cpr-edit.h"
#include "tests/unit/cpr-fixture.h"
#include "util/hostcalls.h"

#define CPR_MAGIC     0x52504356u /* of a message */
#define CHANNEL_MAGIC 0x4d504356u /* of a frame that it comes in */
#define EXEC_MAGIC    0x45504356u /* of the memfd */

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    fuzz_init();
    cpr_fixture_begin();
    return 0;
}

/* A simulated file can be given for a real one. */
int __real_close(int fd);
int __wrap_close(int fd);

int __wrap_close(int fd)
{
    return fd >= FIRST_FD ? hostcalls->close(fd) : __real_close(fd);
}

/* An error is one line of text. */
static bool sane(bool ok, const GError *err)
{
    g_assert_true(ok ? !err
                     : err && *err->message && g_utf8_validate(err->message, -1, NULL) &&
                           !strchr(err->message, '\n'));
    return ok;
}

/* ---- descriptors ---- */

static int some_socket(void)
{
    return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

static int some_memfd(void)
{
    return memfd_create("fuzz", MFD_CLOEXEC);
}

static int large_memfd(void)
{
    int fd = some_memfd();

    return ftruncate(fd, 4 << 20) ? -1 : fd;
}

static int some_eventfd(void)
{
    return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
}

static int blocking_eventfd(void)
{
    return eventfd(0, EFD_CLOEXEC);
}

static int some_null(void)
{
    return open("/dev/null", O_RDWR | O_CLOEXEC);
}

static int some_folder(void)
{
    return open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static int half_a_pipe(void)
{
    int fds[2];

    g_assert_cmpint(pipe2(fds, O_CLOEXEC), ==, 0);
    close(fds[1]);
    return fds[0];
}

static int (*const kinds[])(void) = {
    some_memfd, some_eventfd, some_socket, large_memfd,
    some_null,  some_folder,  half_a_pipe, blocking_eventfd,
};

static int some_fd(uint8_t kind)
{
    int fd = kinds[kind % G_N_ELEMENTS(kinds)]();

    g_assert_cmpint(fd, >=, 0);
    return fd;
}

/* ---- bytes on the channel ---- */

static void send_some(int sock, const void *bytes, size_t len, uint8_t fds, uint8_t kind)
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(253 * sizeof(int))];
    } control = { .header = { 0, SOL_SOCKET, SCM_RIGHTS } };
    struct iovec iov = { (void *)(uintptr_t)bytes, len };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
    int *list = (int *)(void *)CMSG_DATA(&control.header);
    unsigned n = fds % 32 ? fds % 32 : MIN(fds, 253);

    for (unsigned i = 0; i < n; i++) {
        list[i] = some_fd((uint8_t)(kind + i));
    }
    if (n) {
        control.header.cmsg_len = CMSG_LEN(n * sizeof(int));
        msg.msg_control = &control;
        msg.msg_controllen = CMSG_SPACE(n * sizeof(int));
    }
    sendmsg(sock, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
    for (unsigned i = 0; i < n; i++) {
        host_fd_close(&list[i]);
    }
}

/* A frame that is right, or bytes; each part of it with descriptors or without. */
static void send_parts(int sock, Input *in)
{
    while (in->left) {
        uint8_t how = (uint8_t)input_take(in, 1), fds = (uint8_t)input_take(in, 1);
        size_t n = how & 0x80 ? input_take(in, 2) % 1024 : 1;
        const uint8_t *bytes;

        if (how & 0x40) {
            uint32_t frame[] = { CHANNEL_MAGIC, 1, how & 7, (uint32_t)input_take(in, 2), fds };

            send_some(sock, frame, sizeof(frame), 0, 0);
            continue;
        }
        bytes = input_bytes(in, &n);
        send_some(sock, bytes, n, fds, how);
    }
    shutdown(sock, SHUT_WR);
}

static void channel(Input *in)
{
    int pair[2];
    MigrationChannel *ch;

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), ==, 0);
    ch = channel_socket_new("fuzz", pair[0], NULL);
    g_assert_nonnull(ch);
    send_parts(pair[1], in);
    for (bool ok = true; ok;) {
        g_autoptr(GByteArray) data = g_byte_array_new();
        g_autoptr(GArray) fds = g_array_new(FALSE, FALSE, sizeof(int));
        g_autoptr(GError) err = NULL;
        CprMessage kind = 0;

        ok = sane(cpr_channel_receive(ch, &kind, data, fds, &err), err);
        if (ok) {
            g_autoptr(GError) refused = NULL;

            sane(cpr_load(data->data, data->len, fds, &refused), refused);
        }
        cpr_close_fds(fds);
    }
    new_closes(NULL);
    kernel_again();
    g_assert_true(add_iommufd(NULL));
    migration_channel_free(ch);
    close(pair[1]);
}

/* ---- the memfd of cpr-exec ---- */

/* Inherited ones, one that is this program's own, one that is not open, and none. */
static int exec_fd(uint8_t which, const int *inherited, int own)
{
    return which < 0x80   ? inherited[which % 4]
           : which < 0xa0 ? own
           : which < 0xc0 ? 4000
           : which < 0xe0 ? -1
                          : INT_MIN;
}

static GByteArray *exec_state(Input *in, const int *inherited, int own)
{
    GByteArray *out = g_byte_array_new();
    uint8_t how = (uint8_t)input_take(in, 1), n[2];
    uint32_t head[6] = { EXEC_MAGIC, 1 };

    for (unsigned i = 0; i < 2; i++) {
        n[i] = (uint8_t)input_take(in, 1) % 8;
        head[4 + i] = how & 2 << i ? (uint32_t)input_take(in, 4) : n[i];
        head[2 + i] = (uint32_t)input_take(in, how & 8 << i ? 4 : 1);
    }
    g_byte_array_append(out, (const uint8_t *)head, sizeof(head));
    for (unsigned i = 0; i < (unsigned)n[0] + n[1]; i++) {
        int fd = exec_fd((uint8_t)input_take(in, 1), inherited, own);

        g_byte_array_append(out, (const uint8_t *)&fd, sizeof(fd));
    }
    if (how & 1) {
        static const uint32_t cpr_head[] = { CPR_MAGIC, 1, MIG_MODE_CPR_EXEC, 0, 0 };
        uint64_t sum;

        g_byte_array_append(out, (const uint8_t *)cpr_head, sizeof(cpr_head));
        sum = XXH64(cpr_head, sizeof(cpr_head), 0);
        g_byte_array_append(out, (const uint8_t *)&sum, sizeof(sum));
    }
    g_byte_array_append(out, in->data, (guint)in->left);
    return out;
}

static void exec(Input *in)
{
    int inherited[4], own = some_memfd(), fd = memfd_create("state", 0);
    g_autofree char *number = g_strdup_printf("%d", fd);
    g_autoptr(GByteArray) state = NULL;
    g_autoptr(GError) err = NULL;

    for (unsigned i = 0; i < G_N_ELEMENTS(inherited); i++) {
        inherited[i] = some_fd((uint8_t)i);
        fcntl(inherited[i], F_SETFD, 0);
    }
    state = exec_state(in, inherited, own);
    g_assert_cmpint(write(fd, state->data, state->len), ==, state->len);
    lseek(fd, 0, SEEK_SET);
    setenv("VIADUCT_CPR_EXEC_STATE", number, 1);
    if (sane(cpr_exec_incoming(&err), err) && cpr_exec_has_switchover()) {
        sane(cpr_exec_switchover(&err), err);
    }
    new_closes(NULL);
    cpr_incoming_cleanup();
    kernel_again();
    g_assert_true(add_iommufd(NULL));
    for (unsigned i = 0; i < G_N_ELEMENTS(inherited); i++) {
        if (!fcntl(inherited[i], F_GETFD)) { /* it was not taken */
            host_fd_close(&inherited[i]);
        }
    }
    g_assert_cmpint(fcntl(own, F_GETFD), ==, FD_CLOEXEC);
    close(own);
}

/* ---- a message with changes ---- */

static void change_data(CprPart *p, Input *in)
{
    uint32_t at = (uint32_t)input_take(in, 1);
    size_t n = input_take(in, 1) % 9;
    const uint8_t *bytes = input_bytes(in, &n);

    if (at & 1) { /* records are of words of 32 bits */
        at = (at >> 1) * 4;
    }
    if (p->data->len && at < p->data->len) {
        memcpy(p->data->data + at, bytes, MIN(n, p->data->len - at));
    }
}

static void change_size(CprPart *p, Input *in)
{
    guint before = p->data->len, now = (guint)input_take(in, 1);

    g_byte_array_set_size(p->data, now);
    if (now > before) {
        memset(p->data->data + before, 0xa5, now - before);
    }
}

static void change_name(CprPart *p, Input *in)
{
    uint8_t at = (uint8_t)input_take(in, 1), c = (uint8_t)input_take(in, 1);

    if (at & 0x80) {
        p->name_len = (uint8_t)MIN(p->name_len, at & 0x7f);
    } else {
        p->name[at] = (char)c;
    }
}

static void change_id(CprPart *p, Input *in)
{
    p->id = (uint32_t)input_take(in, 1);
}

static void change_has_fd(CprPart *p, Input *in)
{
    p->has_fd ^= 1;
}

static void change_fd(GArray *fds, Input *in)
{
    unsigned how = (unsigned)input_take(in, 1);
    guint i = (guint)input_take(in, 1) % MAX(fds->len, 1);
    int fd;

    if (!fds->len || how % 8 == 7) {
        fd = some_fd((uint8_t)(how >> 3));
        g_array_append_val(fds, fd);
    } else if (how % 8 == 6) {
        host_fd_close(&g_array_index(fds, int, i));
        g_array_remove_index(fds, i);
    } else if (how % 8 == 5) {
        guint j = (how >> 3) % fds->len;

        fd = g_array_index(fds, int, i);
        g_array_index(fds, int, i) = g_array_index(fds, int, j);
        g_array_index(fds, int, j) = fd;
    } else {
        host_fd_close(&g_array_index(fds, int, i));
        g_array_index(fds, int, i) = some_fd((uint8_t)(how >> 3));
    }
}

static void change(GByteArray *message, GArray *fds, Input *in)
{
    static void (*const changes[])(CprPart * p, Input * in) = {
        change_data, change_data, change_data, change_size, change_name, change_id, change_has_fd,
    };
    g_autoptr(GArray) parts = cpr_parts(message);
    unsigned n = (unsigned)input_take(in, 1) % 6;

    while (n-- > 0 && in->left && parts->len) {
        unsigned what = (unsigned)input_take(in, 1) % (G_N_ELEMENTS(changes) + 4);
        guint i = (guint)input_take(in, 1) % parts->len;

        if (what < G_N_ELEMENTS(changes)) {
            changes[what](&g_array_index(parts, CprPart, i), in);
        } else if (what == G_N_ELEMENTS(changes)) {
            g_array_remove_index(parts, i);
        } else {
            change_fd(fds, in);
        }
    }
    cpr_join(message, parts, fds);
    if (input_take(in, 1) & 1) {
        size_t at = input_take(in, 2) % (message->len - sizeof(uint64_t));

        message->data[at] ^= (uint8_t)input_take(in, 1);
    }
    cpr_seal(message);
}

/* ---- all of it ---- */

/* The old process's device: bits 0 and 1 say which interrupts its guest has on. */
static PCIDevice *old_device(uint8_t kind)
{
    PCIDevice *dev;

    setup();
    sim->irqs[VFIO_PCI_ERR_IRQ_INDEX].count = sim->irqs[VFIO_PCI_REQ_IRQ_INDEX].count = 1;
    dev = plug_ok("");
    map_bar0(dev);
    if ((kind & 3) == 1) {
        msix_entry(0, false);
        msix_entry(1, true);
        msix_entry(3, false);
        cfg_write(dev, MSIX_CAP + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE, 2);
    } else if ((kind & 3) == 2) {
        cfg_write(dev, MSI_CAP + PCI_MSI_ADDRESS_LO, 0xfee01000, 4);
        cfg_write(dev, MSI_CAP + PCI_MSI_DATA_64, 0x40, 2);
        cfg_write(dev, MSI_CAP + PCI_MSI_FLAGS, PCI_MSI_FLAGS_ENABLE | 1 << 4, 2);
    } else if ((kind & 3) == 3) {
        cfg_write(dev, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_INTX_DISABLE, 2);
    }
    return dev;
}

static void update(Input *in)
{
    uint8_t kind = (uint8_t)input_take(in, 1);
    PCIDevice *dev = old_device(kind);
    g_autoptr(GError) err = NULL;
    Handover h = { 0 };
    bool ok;

    g_assert_true(add_memory(NULL));
    handover_save(&h);
    handover_stop(&h);
    old_ends(dev);
    kernel_again();
    if (kind & 4) {
        change(h.objects, h.object_fds, in);
    }
    if (kind & 8) {
        change(h.switchover, h.switchover_fds, in);
    }
    dev = NULL;
    ok = sane(handover_make(&h, "", &dev, &err) && handover_take(&h, &err), err);
    g_assert_true(ok || kind & 12);
    if (ok) {
        cpr_finish();
        fuzz_spin();
        fuzz_guest(in);
        fuzz_spin();
        dev = NULL;
        if (object_resolve("d0")) {
            device_destroy(DEVICE(object_resolve("d0")));
        }
        fuzz_spin();
    }
    new_closes(dev);
    handover_end(&h);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const all[])(Input * in) = { update, channel, exec, update };
    Input in = { data, size };
    unsigned before = fuzz_open_fds();

    migration_parameters.mode = MIG_MODE_NORMAL;
    all[input_take(&in, 1) % G_N_ELEMENTS(all)](&in);
    g_free(sim_take_log());
    g_assert_cmpuint(fuzz_open_fds(), ==, before);
    return 0;
}
