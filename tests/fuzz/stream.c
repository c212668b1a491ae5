/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A migration stream by somebody who means ill: records with right checksums and any contents, the
 * first two as they ought to be or not, into a destination that waits for one.
 */
#include "tests/fuzz/fuzz.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/machine.h"
#include "core/runstate.h"
#include "migration/control.h"
#include "migration/internal.h"

/* ---- a machine to name ---- */

typedef Machine FuzzMachine;
typedef MachineClass FuzzMachineClass;

GType fuzz_machine_get_type(void);
DEFINE_OBJECT_TYPE(FuzzMachine, fuzz_machine, "fuzz-machine", TYPE_MACHINE, 0)

static void fuzz_machine_init(FuzzMachine *self)
{
}

static void fuzz_machine_class_init(FuzzMachineClass *klass)
{
    klass->name = "fuzz";
}

static int fd;
static char *uri;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    fuzz_init();
    current_machine = g_object_new(fuzz_machine_get_type(), NULL);
    fd = memfd_create("stream", MFD_CLOEXEC);
    g_assert_cmpint(fd, >=, 0);
    uri = g_strdup_printf("file:/proc/self/fd/%d", fd);
    migration_shutdown(); /* from now on nobody is told of failures, and no VM runs */
    return 0;
}

/* ---- records ---- */

static void put(GByteArray *out, unsigned type, unsigned section, const void *data, size_t len)
{
    Record r = { STREAM_MAGIC, (uint16_t)type, (uint16_t)section, (uint32_t)len };
    XXH64_state_t *sum = XXH64_createState();

    XXH64_reset(sum, 0);
    XXH64_update(sum, &r, offsetof(Record, sum));
    XXH64_update(sum, data, len);
    r.sum = XXH64_digest(sum);
    XXH64_freeState(sum);
    g_byte_array_append(out, (const uint8_t *)&r, sizeof(r));
    g_byte_array_append(out, data, (guint)len);
}

static void put_beginning(GByteArray *out)
{
    const Hello hello = { .version = STREAM_VERSION };
    GPtrArray *sections = migration_sections_take();
    g_autofree char *text = migration_machine_describe(sections, NULL);

    migration_sections_release(sections);
    put(out, RECORD_HELLO, 0, &hello, sizeof(hello));
    put(out, RECORD_MACHINE, 0, text, strlen(text));
}

static void put_records(GByteArray *out, Input *in)
{
    while (in->left) {
        unsigned type = (unsigned)input_take(in, 1), section = (unsigned)input_take(in, 1);
        size_t len = (size_t)input_take(in, 2) % 0x2100, there = len;
        const uint8_t *data = input_bytes(in, &there);
        g_autofree uint8_t *padded = g_malloc0(len + 1);

        memcpy(padded, data, there);
        if (type & 0x80) {
            g_byte_array_append(out, data, (guint)there); /* no record at all */
        } else {
            put(out, type % (RECORD__MAX + 1), section, padded, len);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Input in = { data, size };
    g_autoptr(GByteArray) out = g_byte_array_new();
    g_autoptr(GError) err = NULL;

    if (!(input_take(&in, 1) & 1)) {
        put_beginning(out);
    }
    put_records(out, &in);
    g_assert_cmpint(ftruncate(fd, 0), ==, 0);
    g_assert_cmpint(pwrite(fd, out->data ?: (uint8_t *)"", out->len, 0), ==, out->len);
    g_assert_true(migration_incoming_option("defer", &err));
    g_assert_true(migration_incoming_start(uri, NULL, false, &err));
    while (!strcmp(migration_status_name(migration_status()), "setup") ||
           migration_status() == MIGRATION_STATUS_ACTIVE) {
        g_main_context_iteration(NULL, TRUE);
    }
    migration_shutdown();
    return 0;
}
