/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Live update from an old process that says, or gives, something else than it should. */
#include "tests/unit/cpr-edit.h"
#include "tests/unit/cpr-fixture.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/unit/open-descriptors.h"
#include "util/error.h"

/* ---- one thing is wrong ---- */

typedef struct Hostile {
    const char *part; /* of the first message, or of the one at switchover */
    unsigned id;
    bool late;
    void (*change)(CprPart *p, int *fd);
    const char *why;
    bool by_group;
} Hostile;

static void newline(CprPart *p, int *fd)
{
    p->name[2] = '\n';
}

static void no_text(CprPart *p, int *fd)
{
    p->name[2] = (char)0xff;
}

static void empty(CprPart *p, int *fd)
{
    g_byte_array_set_size(p->data, 0);
}

static void two_lines(CprPart *p, int *fd)
{
    g_byte_array_set_size(p->data, 0);
    g_byte_array_append(p->data, (const uint8_t *)"a\nb\xff", 4);
}

static void other_interrupt(CprPart *p, int *fd)
{
    p->data->data[0] = 1;
}

static void no_interrupt(CprPart *p, int *fd)
{
    p->data->data[0] = 99;
}

static void file(CprPart *p, int *fd)
{
    host_fd_close(fd);
    *fd = memfd_create("small", MFD_CLOEXEC);
}

static void waits(CprPart *p, int *fd)
{
    host_fd_close(fd);
    *fd = eventfd(0, EFD_CLOEXEC);
}

static const Hostile all[] = {
    { "vfio/d0", 0, false, newline, "bad name" },
    { "iommufd/i0", 0, false, no_text, "bad name" },
    { "iommufd/i0", 0, false, file, "i0: what the old process gives is not an open /dev/iommu" },
    { "vfio/d0", 0, false, file, "not even a character device" },
    { "vfio/d0/ids", 0, false, empty, "does not say what it is bound to" },
    { "memory-backend/m0", 0, false, file, "'m0': the old process's file has 0x0 bytes only" },
    { "container/i0/extents", 0, false, empty, "the old process has something else mapped there" },
    { "container/i0/extents", 0, true, empty, "has mapped guest memory otherwise meanwhile" },
    { "vfio/d0/vector", 1, true, file, "gives for vector 1 is no eventfd" },
    { "vfio/d0/vector", 1, true, waits, "gives for vector 1 is no eventfd" },
    { "vfio/d0/interrupts", 0, true, other_interrupt, "which nothing here takes" },
    { "vfio/d0/interrupts", 0, true, no_interrupt, "does not say which interrupts it has" },
    { "vfio/d0/place", 0, false, two_lines, "the old process has a\\nb\\377 by that name", true },
    { "vfio/d0/vector", 1, true, file, "gives for vector 1 is no eventfd", true },
    { "group/12", 0, false, file, "group 12: it is no descriptor of that group", true },
    { "type1/0", 0, false, waits, "is none that can be handed over", true },
    { "type1/0/peers", 0, true, two_lines, "does not say which devices' memory is mapped", true },
};

static void change(GByteArray *message, GArray *fds, const Hostile *c)
{
    g_autoptr(GArray) parts = cpr_parts(message);
    CprPart *p = cpr_part(parts, c->part, c->id);

    g_assert_nonnull(p);
    c->change(p, p->has_fd ? &g_array_index(fds, int, cpr_part_fd(parts, p)) : NULL);
    cpr_join(message, parts, fds);
    cpr_seal(message);
}

static void test_refused(void)
{
    for (size_t i = 0; i < G_N_ELEMENTS(all); i++) {
        unsigned before = open_descriptors();
        PCIDevice *dev;
        g_autoptr(GError) err = NULL;
        Handover h = { 0 };

        by_group = all[i].by_group;
        dev = plug_with_msix(2);
        g_assert_true(add_memory(NULL));
        handover_save(&h);
        handover_stop(&h);
        old_ends(dev);
        kernel_again();
        change(all[i].late ? h.switchover : h.objects,
               all[i].late ? h.switchover_fds : h.object_fds, &all[i]);
        dev = NULL;
        g_assert_false(handover_make(&h, "", &dev, &err) && handover_take(&h, &err));
        g_test_message("%s: %s", all[i].part, err->message);
        g_assert_nonnull(strstr(err->message, all[i].why));
        g_assert_null(strchr(err->message, '\n'));
        g_assert_cmpint(all[i].late, ==, dev != NULL);
        new_closes(dev);
        handover_end(&h);
        g_assert_cmpuint(open_descriptors(), ==, before);
    }
    by_group = false;
}

/* ---- cpr-exec: numbers that were not handed over ---- */

/* What the memfd of cpr-exec begins with; a message without entries follows its descriptors. */
typedef struct ExecHead {
    uint32_t magic, version, lengths[2], fds[2];
} ExecHead;

static void exec_state(const int *fds, unsigned n)
{
    g_autoptr(GByteArray) message = g_byte_array_new();
    g_autoptr(GArray) none = g_array_new(FALSE, FALSE, sizeof(CprPart));
    g_autofree char *number = NULL;
    ExecHead head = { 0x45504356u, 1, { 0 }, { n, 0 } };
    int fd = memfd_create("state", 0);

    cpr_join(message, none, none);
    cpr_seal(message);
    head.lengths[0] = message->len;
    g_assert_cmpint(write(fd, &head, sizeof(head)), ==, sizeof(head));
    g_assert_cmpint(write(fd, fds, n * sizeof(int)), ==, n * sizeof(int));
    g_assert_cmpint(write(fd, message->data, message->len), ==, message->len);
    lseek(fd, 0, SEEK_SET);
    number = g_strdup_printf("%d", fd);
    setenv("VIADUCT_CPR_EXEC_STATE", number, 1);
}

static void exec_refused(const int *fds, unsigned n, const char *why)
{
    g_autoptr(GError) err = NULL;

    exec_state(fds, n);
    g_assert_false(cpr_exec_incoming(&err));
    g_test_message("%s", err->message);
    g_assert_nonnull(strstr(err->message, why));
    cpr_release();
    kernel_again();
}

static void test_exec(void)
{
    unsigned before = open_descriptors();
    int own = memfd_create("own", MFD_CLOEXEC);
    int inherited[2] = { memfd_create("inherited", 0), 4000 };

    exec_refused(&own, 1, "was not handed over");
    g_assert_cmpint(fcntl(own, F_GETFD), ==, FD_CLOEXEC);
    close(own);
    exec_refused(inherited, 2, "descriptor 4000 was not handed over");
    g_assert_cmpint(fcntl(inherited[0], F_GETFD), ==, -1); /* it was ours, and is closed */
    inherited[0] = inherited[1] = memfd_create("inherited", 0);
    exec_refused(inherited, 2, "was not handed over");
    inherited[0] = memfd_create("inherited", 0);
    exec_refused(inherited, 1, "1 descriptors came with the CPR message, it says 0");
    g_assert_cmpuint(open_descriptors(), ==, before);
}

/* The variable itself names something of ours. */
static void test_exec_variable(void)
{
    int own = memfd_create("own", MFD_CLOEXEC);
    g_autofree char *number = g_strdup_printf("%d", own);
    g_autoptr(GError) err = NULL;

    setenv("VIADUCT_CPR_EXEC_STATE", number, 1);
    g_assert_false(cpr_exec_incoming(&err));
    g_assert_nonnull(strstr(err->message, "is no inherited descriptor"));
    unsetenv("VIADUCT_CPR_EXEC_STATE");
    close(own);
}

static void add(void)
{
    cpr_fixture_begin();
    g_main_context_iteration(NULL, FALSE); /* what it opens for itself is there now */
    g_test_add_func("/cpr-hostile/refused", test_refused);
    g_test_add_func("/cpr-hostile/exec", test_exec);
    g_test_add_func("/cpr-hostile/exec-variable", test_exec_variable);
}

int main(int argc, char **argv)
{
    return vfio_test_run(argc, argv, add);
}
