/* SPDX-License-Identifier: GPL-2.0-or-later */
/* States of devices: each kind of field there and back, and each way in which a stream is wrong. */
#include "migration/vmstate.h"

#include <string.h>

#include "util/error.h"
#include "vmstate-edit.h"

typedef struct Part {
    uint16_t number;
    bool flag;
} Part;

typedef struct Thing {
    uint8_t u8;
    uint16_t u16;
    uint32_t u32;
    int64_t s64;
    uint32_t array[3];
    bool flag;
    uint32_t index;
    uint8_t bytes[5];
    uint8_t *data;
    uint32_t data_len;
    GByteArray *blob;
    Part parts[2], part;
    /* What is no state. */
    int pre_saves, post_loads;
    bool fails;
} Thing;

static GString *order; /* of post_load */

static bool thing_pre_save(void *opaque, GError **errp)
{
    Thing *t = opaque;

    t->pre_saves++;
    return !t->fails || error_set(errp, "it cannot be fetched");
}

static bool thing_post_load(void *opaque, GError **errp)
{
    Thing *t = opaque;

    t->post_loads++;
    g_string_append_c(order, (char)t->u8);
    return !t->fails || error_set(errp, "it cannot be set");
}

static const VMStateField part_fields[] = {
    VMSTATE_UINT(Part, number),
    VMSTATE_BOOL(Part, flag),
    VMSTATE_END,
};

static const VMStateField thing_fields[] = {
    VMSTATE_UINT(Thing, u8),
    VMSTATE_UINT(Thing, u16),
    VMSTATE_UINT(Thing, u32),
    VMSTATE_UINT(Thing, s64),
    VMSTATE_UINT_ARRAY(Thing, array),
    VMSTATE_BOOL(Thing, flag),
    VMSTATE_UINT_MAX(Thing, index, 7),
    VMSTATE_BYTES(Thing, bytes),
    VMSTATE_POINTER(Thing, data, data_len),
    VMSTATE_BLOB(Thing, blob, 16),
    VMSTATE_STRUCT_ARRAY(Thing, parts, part_fields),
    VMSTATE_STRUCT(Thing, part, part_fields),
    VMSTATE_END,
};

/* How the sender may differ: its table is this one with one entry replaced, or with one more. */
#define NR_FIELDS G_N_ELEMENTS(thing_fields)

static const VMState thing_state = {
    .name = "thing",
    .version = 3,
    .priority = VMS_PRIORITY_DEVICE,
    .fields = thing_fields,
    .pre_save = thing_pre_save,
    .post_load = thing_post_load,
};
static const VMState bus_state = {
    .name = "bus-thing",
    .version = 1,
    .priority = VMS_PRIORITY_BUS,
    .fields = thing_fields,
    .post_load = thing_post_load,
};

static void thing_fill(Thing *t, uint8_t seed)
{
    *t = (Thing) {
        .u8 = seed,
        .u16 = (uint16_t)(seed * 257),
        .u32 = seed * 0x1020304U,
        .s64 = -((int64_t)seed << 40),
        .array = { seed, seed + 1, seed + 2 },
        .flag = seed & 1,
        .index = seed & 7,
        .bytes = { seed, 2, 3, 4, seed },
        .data = g_malloc(9),
        .data_len = 9,
        .blob = g_byte_array_new(),
        .parts = { { seed, true }, { seed + 1, false } },
        .part = { seed + 2, seed & 1 },
    };
    memset(t->data, seed, 9);
    g_byte_array_append(t->blob, (const uint8_t *)"0123456789abcdef", seed & 15);
}

static void thing_clear(Thing *t)
{
    g_free(t->data);
    g_clear_pointer(&t->blob, g_byte_array_unref);
}

static void assert_same(const Thing *a, const Thing *b)
{
    g_assert_cmpmem(a, offsetof(Thing, data), b, offsetof(Thing, data));
    g_assert_cmpmem(a->data, a->data_len, b->data, b->data_len);
    g_assert_cmpmem(a->blob->data, a->blob->len, b->blob->data, b->blob->len);
    g_assert_cmpmem(a->parts, sizeof(a->parts), b->parts, sizeof(b->parts));
    g_assert_cmpmem(&a->part, sizeof(a->part), &b->part, sizeof(b->part));
}

/* Two of one kind and one that comes before them; and copies of them. */
static Thing things[3], copies[3];
static const struct {
    const char *id;
    unsigned instance;
    const VMState *vms;
} places[3] = { { "b", 0, &thing_state }, { "b", 10, &thing_state }, { "z", 0, &bus_state } };

static void begin(void)
{
    order = g_string_new(NULL);
    for (unsigned i = 0; i < G_N_ELEMENTS(things); i++) {
        memset(&things[i], 0, sizeof(things[i])); /* padding, too */
        memset(&copies[i], 0, sizeof(copies[i]));
        thing_fill(&things[i], (uint8_t)('A' + i));
        thing_fill(&copies[i], (uint8_t)('A' + i));
        vmstate_register(places[i].id, places[i].instance, places[i].vms, &things[i]);
    }
}

static void end(void)
{
    g_autofree char *none = NULL;

    for (unsigned i = 0; i < G_N_ELEMENTS(things); i++) {
        vmstate_unregister(places[i].vms, &things[i]);
        thing_clear(&things[i]);
        thing_clear(&copies[i]);
    }
    none = vmstate_describe_all();
    g_assert_cmpstr(none, ==, "");
    g_string_free(order, true);
}

/* They become others than in the stream. */
static void change(void)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(things); i++) {
        thing_clear(&things[i]);
        thing_clear(&copies[i]);
        thing_fill(&things[i], (uint8_t)('a' + 7 * i));
        thing_fill(&copies[i], (uint8_t)('a' + 7 * i));
    }
}

static void assert_unchanged(void)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(things); i++) {
        assert_same(&things[i], &copies[i]);
        g_assert_cmpint(things[i].post_loads, ==, 0);
    }
}

static void test_there_and_back(void)
{
    g_autoptr(GByteArray) stream = NULL;
    g_autoptr(GError) err = NULL;
    g_autofree char *description = NULL;

    begin();
    description = vmstate_describe_all();
    g_assert_cmpstr(description, ==,
                    "z/bus-thing instance 0 version 1\n"
                    "b/thing instance 0 version 3\n"
                    "b/thing instance 10 version 3\n");
    stream = stream_save();
    g_assert_cmpint(things[0].pre_saves, ==, 1);
    change();
    g_clear_pointer(&things[2].blob, g_byte_array_unref); /* none at all is an empty one */
    g_assert_true(vmstate_load_all(stream->data, stream->len, false, &err));
    g_assert_null(things[2].blob);
    g_assert_cmpuint(things[0].u8, ==, 'a');
    stream_load(stream);
    for (unsigned i = 0; i < G_N_ELEMENTS(things); i++) {
        thing_clear(&copies[i]);
        thing_fill(&copies[i], (uint8_t)('A' + i));
        assert_same(&things[i], &copies[i]);
        g_assert_cmpint(things[i].post_loads, ==, 1);
    }
    g_assert_cmpstr(order->str, ==, "CAB");
    end();
}

static void test_hooks_fail(void)
{
    g_autoptr(GByteArray) stream = NULL, none = g_byte_array_new();
    g_autoptr(GError) err = NULL;

    begin();
    stream = stream_save();
    things[1].fails = true;
    stream_refused(stream, "state of b (thing, instance 10): it cannot be set");
    g_assert_false(vmstate_save_all(none, &err));
    g_assert_cmpstr(err->message, ==, "state of b (thing, instance 10): it cannot be fetched");
    end();
}

/* As another program, with another table, would have saved it. */
static GByteArray *saved_by_another(const VMState *other, const char *id, unsigned instance)
{
    GByteArray *stream;

    vmstate_unregister(&thing_state, &things[1]);
    if (other) {
        vmstate_register(id, instance, other, &things[1]);
    }
    stream = stream_save();
    if (other) {
        vmstate_unregister(other, &things[1]);
    }
    vmstate_register("b", 10, &thing_state, &things[1]);
    return stream;
}

static void test_other_states(void)
{
    static const VMState newer = { "thing", 4, VMS_PRIORITY_DEVICE, thing_fields, NULL, NULL };
    static const VMState named = { "thang", 3, VMS_PRIORITY_DEVICE, thing_fields, NULL, NULL };
    static const VMState early = { "thing", 3, VMS_PRIORITY_CHIPS, thing_fields, NULL, NULL };
    static const struct {
        const VMState *vms;
        const char *id;
        unsigned instance;
        const char *message;
    } cases[] = {
        { NULL, "", 0, "the stream has no state of b (thing, instance 10)" },
        { &newer, "b", 10, "state of b (thing, instance 10): version 4, here is version 3" },
        { &named, "b", 10, "has the state of b (thang, instance 10) where here is b (thing, inst" },
        { &thing_state, "b", 11,
          "the state of b (thing, instance 11) where here is b (thing, ins" },
        { &thing_state, "a", 10, "has the state of a (thing, instance 10) where here is b (thing" },
        { &early, "b", 10,
          "the state of b (thing, instance 10) where here is z (bus-thing, insta" },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GByteArray) stream = NULL;

        begin();
        stream = saved_by_another(cases[i].vms, cases[i].id, cases[i].instance);
        change();
        stream_refused(stream, cases[i].message);
        assert_unchanged();
        end();
    }
}

static void test_extra_state(void)
{
    g_autoptr(GByteArray) stream = NULL;
    Thing more;

    begin();
    thing_fill(&more, 'x');
    vmstate_register("c", 0, &thing_state, &more);
    stream = stream_save();
    vmstate_unregister(&thing_state, &more);
    change();
    stream_refused(stream, "the stream has a state of c, which is not here");
    assert_unchanged();
    thing_clear(&more);
    end();
}

static void test_other_fields(void)
{
    static const struct {
        unsigned nr;
        VMStateField field;
        const char *message;
    } cases[] = {
        { 1,
          { "u61", VMS_UINT, offsetof(Thing, u16), 2, 1 },
          "field 'u16': the stream has 'u61' instead" },
        { 1, { "u16", VMS_UINT, offsetof(Thing, u32), 4, 1 }, "field 'u16': 4 bytes of kind 1/4" },
        { 4, { "array", VMS_UINT, offsetof(Thing, array), 4, 2 }, "field 'array': 8 bytes of" },
        { 5, { "flag", VMS_UINT, offsetof(Thing, flag), 1, 1 }, "field 'flag': 1 bytes of kind" },
        { 6, { "index", VMS_UINT, offsetof(Thing, u32), 4, 1 }, "is more than 7" },
        { 5, { "flag", VMS_BOOL, offsetof(Thing, u8), 1, 1 }, "field 'flag': 66 is no boolean" },
        { 7, { "bytes", VMS_BYTES, offsetof(Thing, bytes), 1, 4 }, "field 'bytes': 4 bytes of" },
        { 8, { "data", VMS_BYTES, offsetof(Thing, bytes), 1, 5 }, "field 'data': 5 bytes of" },
        { 9,
          { "blob", VMS_POINTER, offsetof(Thing, data), 1, 0, offsetof(Thing, data_len) },
          "field 'blob': 9 bytes of" },
        { 11, { "part", VMS_END }, "field 'number': the stream ends before it" },
        { 12, { "more", VMS_UINT, offsetof(Thing, u8), 1, 1 }, "12 bytes too many" },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        VMStateField fields[NR_FIELDS + 1];
        const VMState other = { "thing", 3, VMS_PRIORITY_DEVICE, fields, NULL, NULL };
        g_autoptr(GByteArray) stream = NULL;

        memset(fields, 0, sizeof(fields));
        memcpy(fields, thing_fields, sizeof(thing_fields));
        fields[cases[i].nr] = cases[i].field;
        begin();
        stream = saved_by_another(&other, "b", 10);
        change();
        stream_refused(stream, cases[i].message);
        stream_refused(stream, "state of b (thing, instance 10): ");
        assert_unchanged();
        end();
    }
}

static void test_lengths(void)
{
    g_autoptr(GByteArray) stream = NULL;

    begin();
    things[0].data_len = 8;
    stream = stream_save();
    things[0].data_len = 9;
    stream_refused(stream, "field 'data': 8 bytes of kind 4/1 here would be 9 of kind 4/1");
    g_byte_array_unref(stream);
    g_byte_array_set_size(things[0].blob, 17);
    stream = stream_save();
    g_byte_array_set_size(things[0].blob, 1);
    stream_refused(stream, "field 'blob': 17 bytes are more than the 16 there can be");
    thing_clear(&copies[0]);
    thing_fill(&copies[0], 'A');
    assert_unchanged();
    end();
}

/* A stream that ends early, anywhere. */
static void test_cut(void)
{
    g_autoptr(GByteArray) stream = NULL;

    begin();
    stream = stream_save();
    change();
    for (size_t len = 0; len < stream->len; len++) {
        g_autofree uint8_t *cut = g_memdup2(stream->data, len); /* so that reading on is seen */
        g_autoptr(GError) err = NULL;

        g_assert_false(vmstate_load_all(cut, len, true, &err));
        g_assert_nonnull(strstr(err->message, "the stream "));
    }
    g_byte_array_append(stream, (const uint8_t *)"", 1);
    stream_refused(stream, "the stream has a state of ");
    assert_unchanged();
    end();
}

/* Any one bit wrong, found by the checksum; and with a checksum that is right, which may load. */
static void test_flipped(void)
{
    g_autoptr(GByteArray) stream = NULL;

    begin();
    stream = stream_save();
    change();
    for (size_t bit = 0; bit < stream->len * 8; bit++) {
        stream->data[bit / 8] ^= 1 << bit % 8;
        stream_refused(stream, " ");
        stream->data[bit / 8] ^= 1 << bit % 8;
    }
    assert_unchanged();
    for (size_t bit = 0; bit < stream->len * 8; bit++) {
        g_autoptr(GByteArray) sealed = g_byte_array_new();
        g_autoptr(GError) err = NULL;

        g_byte_array_append(sealed, stream->data, stream->len);
        sealed->data[bit / 8] ^= 1 << bit % 8;
        stream_seal(sealed);
        g_assert_true(vmstate_load_all(sealed->data, sealed->len, true, &err) != (err != NULL));
        g_assert_true(!err || (*err->message && !strchr(err->message, '\n')));
    }
    end();
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/vmstate/there-and-back", test_there_and_back);
    g_test_add_func("/vmstate/hooks-fail", test_hooks_fail);
    g_test_add_func("/vmstate/other-states", test_other_states);
    g_test_add_func("/vmstate/extra-state", test_extra_state);
    g_test_add_func("/vmstate/other-fields", test_other_fields);
    g_test_add_func("/vmstate/lengths", test_lengths);
    g_test_add_func("/vmstate/cut", test_cut);
    g_test_add_func("/vmstate/flipped", test_flipped);
    return g_test_run();
}
