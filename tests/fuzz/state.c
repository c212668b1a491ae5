/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A stream of device states by somebody who means ill: a machine's own with changes and right
 * checksums, or none at all; and a guest that uses what was loaded.
 */
#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "backends/chardev.h"
#include "hw/char/serial.h"
#include "hw/pci/msi.h"
#include "hw/x86/x86.h"
#include "tests/unit/vmstate-edit.h"
#include "util/keyval.h"

#define BAR 0x90000000U

/* ---- a function with vectors ---- */

typedef struct FuzzVectors {
    PCIDevice parent;
    MemoryRegion bar;
} FuzzVectors;

typedef PCIDeviceClass FuzzVectorsClass;

static bool fuzz_vectors_realize(PCIDevice *dev, GError **errp)
{
    FuzzVectors *t = (FuzzVectors *)dev;

    dev->config[PCI_INTERRUPT_PIN] = 1;
    memory_region_init(&t->bar, G_OBJECT(dev), "bar", 0x2000);
    pci_register_bar(dev, 0, PCI_BASE_ADDRESS_MEM_TYPE_64, &t->bar);
    pci_pm_init(dev, (uint8_t)pci_add_capability(dev, PCI_CAP_ID_PM, 0, PCI_PM_SIZEOF, errp));
    return msi_init(dev, 0, 32, true, true, errp) &&
           msix_init(dev, 0, 70, &t->bar, 0, 0, &t->bar, 0, 0x1000, NULL, errp);
}

GType fuzz_vectors_get_type(void);
DEFINE_OBJECT_TYPE(FuzzVectors, fuzz_vectors, "fuzz-vectors", TYPE_PCI_DEVICE, 0)

static void fuzz_vectors_init(FuzzVectors *self)
{
}

static void fuzz_vectors_class_init(FuzzVectorsClass *klass)
{
    DEVICE_CLASS(klass)->user_creatable = true;
    klass->realize = fuzz_vectors_realize;
}

/* ---- the machine ---- */

static GByteArray *own; /* its states as it came up */

static void add(const char *text)
{
    g_autoptr(JsonObject) opts = keyval_parse(text, "driver", NULL, NULL);
    g_autoptr(GError) err = NULL;

    device_add(opts, false, &err);
    g_assert_no_error(err);
}

static void place(Device *dev)
{
    g_autoptr(GError) err = NULL;

    device_realize_at(dev, "/machine/unattached", NULL, &err);
    g_assert_no_error(err);
    g_object_unref(dev);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    g_autoptr(GError) err = NULL;

    fuzz_init();
    fuzz_vectors_get_type();
    g_assert_nonnull(chardev_new_from_spec("null", "serial0", &err));
    place(serial_isa_new(0, "serial0"));
    place(g_object_new(g_type_from_name(TYPE_MC146818_RTC), NULL));
    place(g_object_new(g_type_from_name(TYPE_X86_PM), NULL));
    place(g_object_new(g_type_from_name(TYPE_RESET_CONTROL), NULL));
    add("pcie-root-port,id=p0,addr=8.0,chassis=8");
    add("pcie-root-port,id=p1,addr=9.0,chassis=9,hotplug=off");
    add("fuzz-vectors,id=v0,addr=a.0");
    add("fuzz-vectors,id=v1,bus=p1");
    pci_assign_resources(NULL); /* there is one number for buses, and all else */
    own = stream_save();
    return 0;
}

/* ---- what happens ---- */

/* Some bytes are others, some are gone, some are new. */
static void change(GByteArray *stream, Input *in)
{
    unsigned n = (unsigned)input_take(in, 1) % 16;

    while (n-- > 0 && in->left) {
        size_t at = (size_t)(input_take(in, 2) % stream->len), len = (size_t)input_take(in, 1);
        unsigned how = (unsigned)input_take(in, 1);
        const uint8_t *bytes;

        if (how % 8 == 7) {
            g_byte_array_remove_range(stream, (guint)at, (guint)MIN(len, stream->len - at));
            g_byte_array_append(stream, (const uint8_t *)"", stream->len == 0);
            continue;
        }
        len %= 33;
        bytes = input_bytes(in, &len);
        if (how % 8 == 6) {
            g_byte_array_append(stream, bytes, (guint)len);
            memmove(stream->data + at + len, stream->data + at, stream->len - at - len);
            memcpy(stream->data + at, bytes, len);
        } else {
            memcpy(stream->data + at, bytes, MIN(len, stream->len - at));
        }
    }
    stream_seal(stream);
}

static bool load(GByteArray *stream, bool apply)
{
    g_autoptr(GError) err = NULL;
    bool ok = vmstate_load_all(stream->data, stream->len, apply, &err);

    g_assert_true(ok ? !err : err && *err->message && !strchr(err->message, '\n'));
    return ok;
}

static void guest(Input *in)
{
    static const uint16_t ports[] = { 0x3f8, 0x70, X86_PORT_PM, 0xcf8, 0x92, X86_PORT_RESET };

    for (int i = 0; i < 128; i++) { /* all that the clock says */
        uint8_t index = (uint8_t)i, value;

        address_space_rw(&address_space_io, 0x70, &index, 1, true);
        address_space_rw(&address_space_io, 0x71, &value, 1, false);
    }
    while (in->left) {
        unsigned what = (unsigned)input_take(in, 1), len = 1U << (what >> 1) % 3;
        uint64_t at = input_take(in, 2), value = input_take(in, len);

        if (what & 8) {
            address_space_rw(&address_space_memory, BAR + at, &value, len, what & 1);
        } else {
            at = ports[(what >> 4) % G_N_ELEMENTS(ports)] + at % 16;
            address_space_rw(&address_space_io, at, &value, len, what & 1);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Input in = { data, size };
    g_autoptr(GByteArray) stream = g_byte_array_new();
    unsigned kind = (unsigned)input_take(&in, 1);

    if (kind & 1) { /* nobody's stream */
        g_byte_array_append(stream, in.data, (guint)in.left);
        load(stream, true);
        return 0;
    }
    g_byte_array_append(stream, own->data, own->len);
    change(stream, &in);
    if (load(stream, false)) {
        load(stream, true);
        guest(&in);
        fuzz_spin();
        g_byte_array_unref(stream_save());
    }
    g_assert_true(load(own, true));
    return 0;
}
