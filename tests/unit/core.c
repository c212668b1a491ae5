/* SPDX-License-Identifier: GPL-2.0-or-later */
/* util/ and core/: option strings, properties, the tree, the memory model. */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "backends/hostmem.h"
#include "core/device.h"
#include "core/lock.h"
#include "core/memory.h"
#include "util/error.h"
#include "util/keyval.h"

static void assert_fails(bool ok, GError **err, const char *message)
{
    g_assert_false(ok);
    g_assert_cmpstr((*err)->message, ==, message);
    g_clear_error(err);
}

/* ---- option strings ---- */

static void test_keyval(void)
{
    bool help;
    g_autoptr(GError) err = NULL;
    g_autoptr(JsonObject) o =
        keyval_parse("vfio-pci,host=0000:02:00.0,name=a,,b,flag,id=x", "driver", &help, &err);

    g_assert_no_error(err);
    g_assert_false(help);
    g_assert_cmpstr(json_object_get_string_member(o, "driver"), ==, "vfio-pci");
    g_assert_cmpstr(json_object_get_string_member(o, "host"), ==, "0000:02:00.0");
    g_assert_cmpstr(json_object_get_string_member(o, "name"), ==, "a,b");
    g_assert_cmpstr(json_object_get_string_member(o, "flag"), ==, "on");
    json_object_unref(o);

    o = keyval_parse("vfio-pci,help", "driver", &help, &err);
    g_assert_true(help && json_object_get_size(o) == 1);
    json_object_unref(o);
    o = keyval_parse("{\"driver\":\"edu\",\"n\":3}", "driver", &help, &err);
    g_assert_cmpint(json_object_get_int_member(o, "n"), ==, 3);
    json_object_unref(o);
    o = keyval_parse("{\"driver\":\"a\\\\u0000\"}", NULL, NULL, &err);
    g_assert_no_error(err);
    g_assert_cmpstr(json_object_get_string_member(o, "driver"), ==, "a\\u0000");
    assert_fails(keyval_parse("{\"driver\":\"a\\u0000b\"}", NULL, NULL, &err), &err,
                 "JSON parse error, \\u0000 is not supported in a string");
    assert_fails(keyval_parse("{\"n\":9223372036854775808}", NULL, NULL, &err), &err,
                 "JSON parse error, an integer does not fit in 64 bits");
    json_object_unref(o);
    o = keyval_parse("{\"n\":-9223372036854775808,\"s\":'\"99999999999999999999',\"d\":1e30}", NULL,
                     NULL, &err);
    g_assert_no_error(err);
    g_assert_cmpint(json_object_get_int_member(o, "n"), ==, INT64_MIN);
    assert_fails(keyval_parse("=x", "driver", &help, &err), &err, "Invalid parameter ''");
    g_assert_null(keyval_parse("{\"driver\":", "driver", &help, &err));
    g_assert_nonnull(err);
}

static void test_size(void)
{
    static const struct {
        const char *text;
        uint64_t unit, bytes; /* 0: refused */
    } cases[] = {
        { "512", 1 << 20, 512ULL << 20 },
        { "512", 1, 512 },
        { "4G", 1 << 20, 4ULL << 30 },
        { "1.5k", 1, 1536 },
        { "0x1000", 1, 4096 },
        { "16T", 1, 16ULL << 40 },
        { "16E", 1, 0 },
        { "18446744073709551616", 1, 0 },
        { "18446744073709551615", 1, UINT64_MAX },
        { "17592186044416", 1 << 20, 0 },
        { "0x10000000000001000", 1, 0 },
        { "15.5E", 1, 31ULL << 59 },
        { "15.99999999999999999999E", 1, 0 },
        { "-1", 1, 0 },
        { "", 1, 0 },
        { "4X", 1, 0 },
        { "4GB", 1, 0 },
        { "1.25E", 1, 5ULL << 58 },
        { "1.5e3", 1, 0 },
        { "1.5e300", 1, 0 },
        { "1.G", 1, 0 },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        uint64_t bytes = 77;
        bool ok = size_parse(cases[i].text, cases[i].unit, &bytes, NULL);

        g_test_message("%s", cases[i].text);
        g_assert_cmpint(ok, ==, cases[i].bytes != 0);
        g_assert_cmpuint(bytes, ==, ok ? cases[i].bytes : 77); /* what is refused sets nothing */
    }
}

/* ---- properties, on a device of our own ---- */

typedef struct Probe {
    Device parent;
    bool flag;
    uint8_t small;
    int32_t number;
    uint64_t size;
    int tri;
    char *text;
    GObject *backend;
    int realized, reset;
} Probe;
typedef DeviceClass ProbeClass;

DEFINE_OBJECT_TYPE(Probe, probe, "test-probe", TYPE_DEVICE, 0)

static const Property probe_properties[] = {
    PROP_BOOL("flag", Probe, flag, true),
    PROP_UINT8("small", Probe, small, 7),
    PROP_INT32("number", Probe, number, -1, .runtime = true),
    PROP_SIZE("size", Probe, size, 4096),
    PROP_ON_OFF_AUTO("tri", Probe, tri, ON_OFF_AUTO_AUTO),
    PROP_STRING("text", Probe, text),
    PROP_LINK("backend", Probe, backend, host_memory_backend_get_type),
};

static bool probe_realize(Device *dev, GError **errp)
{
    Probe *p = (Probe *)dev;

    p->realized++;
    return p->small != 13 || error_set(errp, "unlucky");
}

static void probe_reset(Device *dev)
{
    ((Probe *)dev)->reset++;
}

static void probe_init(Probe *p)
{
}

static void probe_class_init(ProbeClass *klass)
{
    klass->realize = probe_realize;
    klass->reset = probe_reset;
    klass->user_creatable = klass->hotpluggable = true;
    object_class_add_properties(klass, probe_properties, G_N_ELEMENTS(probe_properties));
}

static bool add(const char *opts, GError **errp)
{
    bool help;
    g_autoptr(JsonObject) o = keyval_parse(opts, "driver", &help, errp);

    return o && device_add(o, false, errp);
}

static void test_properties(void)
{
    g_autoptr(GError) err = NULL;
    Probe *p;

    g_assert_true(add("test-probe,id=p,small=0x10,tri=on,text=a,,b,size=2M", &err));
    p = (Probe *)object_resolve("p");
    g_assert_true(p->flag);
    g_assert_cmpint(p->small, ==, 16);
    g_assert_cmpint(p->number, ==, -1);
    g_assert_cmpuint(p->size, ==, 2 << 20);
    g_assert_cmpint(p->tri, ==, ON_OFF_AUTO_ON);
    g_assert_cmpstr(p->text, ==, "a,b");
    g_assert_cmpstr(object_path(G_OBJECT(p)), ==, "/machine/peripheral/p");

    assert_fails(add("test-probe,nosuch=1", &err), &err, "Property 'test-probe.nosuch' not found");
    assert_fails(add("test-probe,tri=maybe", &err), &err,
                 "Parameter 'tri' does not accept value 'maybe'");
    assert_fails(add("test-probe,flag=2", &err), &err, "Parameter 'flag' expects 'on' or 'off'");
    assert_fails(add("test-probe,small=256", &err), &err,
                 "Parameter 'small' is out of range (0…255)");
    assert_fails(add("test-probe,backend=none", &err), &err, "Device 'none' not found");
    assert_fails(add("test-probe,backend=p", &err), &err,
                 "Invalid parameter type for 'backend', expected: memory-backend");
    assert_fails(add("test-probe,id=p", &err), &err, "Duplicate device ID 'p'");
    assert_fails(add("test-probe,id=1p", &err), &err, "Parameter 'id' expects an identifier");
    assert_fails(add("nosuch", &err), &err, "'nosuch' is not a valid device model name");
    assert_fails(add("device", &err), &err, "'device' is not a valid device model name");
    assert_fails(add("test-probe,id=q,small=13", &err), &err, "unlucky");
    g_assert_null(object_resolve("q")); /* a failed device leaves nothing in the tree */

    g_autoptr(JsonNode) three = json_node_init_int(json_node_alloc(), 3);
    g_assert_true(object_set(G_OBJECT(p), "number", three, &err));
    g_assert_cmpint(p->number, ==, 3);
    assert_fails(object_set(G_OBJECT(p), "small", three, &err), &err,
                 "Attempt to set property 'small' on device 'p' (type 'test-probe') after it was "
                 "realized");

    devices_reset();
    g_assert_cmpint(p->reset, ==, 1);
    g_assert_true(device_del("p", &err));
    g_assert_null(object_resolve("p"));
    g_assert_false(device_del("p", &err));
    g_assert_cmpstr(error_class_name(err), ==, "DeviceNotFound");
}

static void test_objects(void)
{
    g_autoptr(GError) err = NULL;
    HostMemoryBackend *be = host_memory_default("ram", 1 << 20, &err);

    g_assert_no_error(err);
    g_assert_true(be->block.fd >= 0 && be->block.shared);
    assert_fails(host_memory_default("ram", 4096, &err), &err,
                 "attempt to add duplicate property 'ram' to object (type 'container')");
    assert_fails(host_memory_default("zero", 0, &err), &err,
                 "memory backend 'zero': property 'size' is missing or zero");
    g_assert_null(host_memory_default("huge", 1ULL << 50, &err));
    g_assert_true(g_str_has_prefix(err->message, "cannot set up guest memory 'huge'"));
    g_clear_error(&err);
    be->used = true;
    assert_fails(user_object_del("ram", &err), &err, "object 'ram' is in use, can not be deleted");
    be->used = false;
    g_assert_true(user_object_del("ram", &err));
}

/* ---- the memory model against a model that paints bytes ---- */

#define SPACE 64

static uint64_t io_read(void *opaque, uint64_t addr, unsigned size)
{
    return GPOINTER_TO_UINT(opaque) << 8 | addr;
}

static void io_write(void *opaque, uint64_t addr, uint64_t data, unsigned size)
{
}

static const MemoryRegionOps io_ops = { .read = io_read, .write = io_write };

/*
 * Random leaves with random priorities in a container: every address must show the leaf of the
 * highest priority there, the newest among equals, and the listener must have been told just that.
 */
static int told[SPACE];

static bool listener_add(MemoryListener *l, const MemoryRange *r, GError **errp)
{
    for (uint64_t a = r->addr; a < r->addr + r->size; a++) {
        g_assert_cmpint(told[a], ==, 0); /* removals come first */
        told[a] = GPOINTER_TO_INT(r->mr->opaque);
    }
    return true;
}

static void listener_del(MemoryListener *l, const MemoryRange *r)
{
    for (uint64_t a = r->addr; a < r->addr + r->size; a++) {
        g_assert_cmpint(told[a], ==, GPOINTER_TO_INT(r->mr->opaque));
        told[a] = 0;
    }
}

static void test_memory_random(void)
{
    MemoryListener listener = { .name = "test",
                                .region_add = listener_add,
                                .region_del = listener_del };
    enum { LEAVES = 8 };
    MemoryRegion box, leaf[LEAVES];
    bool in[LEAVES] = { false };
    unsigned age[LEAVES] = { 0 }, clock = 0;

    memory_region_init(&box, NULL, "box", SPACE);
    memory_region_add_child(address_space_memory.root, 0, &box, 0);
    g_assert_true(memory_listener_register(&listener, &address_space_memory, NULL));
    for (int round = 0; round < 3000; round++) {
        int i = g_random_int_range(0, LEAVES);

        memory_transaction_begin();
        if (in[i]) {
            memory_region_del_child(&box, &leaf[i]);
            memory_region_fini(&leaf[i]);
        } else {
            memory_region_init_io(&leaf[i], NULL, &io_ops, GINT_TO_POINTER(i + 1), "leaf",
                                  (uint64_t)g_random_int_range(1, SPACE));
            memory_region_add_child(&box, (uint64_t)g_random_int_range(0, SPACE), &leaf[i],
                                    g_random_int_range(0, 3));
            age[i] = ++clock;
        }
        in[i] = !in[i];
        memory_transaction_commit();

        for (uint64_t a = 0; a < SPACE; a++) {
            int top = -1;
            uint8_t byte;

            for (int k = 0; k < LEAVES; k++) {
                if (in[k] && a >= leaf[k].addr && a - leaf[k].addr < leaf[k].size &&
                    (top < 0 || leaf[k].priority > leaf[top].priority ||
                     (leaf[k].priority == leaf[top].priority && age[k] > age[top]))) {
                    top = k;
                }
            }
            g_assert_cmpint(told[a], ==, top + 1);
            address_space_rw(&address_space_memory, a, &byte, 1, false);
            g_assert_cmpint(byte, ==, top < 0 ? 0xff : (uint8_t)(a - leaf[top].addr));
        }
    }
    for (int i = 0; i < LEAVES; i++) {
        if (in[i]) {
            memory_region_del_child(&box, &leaf[i]);
            memory_region_fini(&leaf[i]);
        }
    }
    memory_listener_unregister(&listener);
    memory_region_del_child(address_space_memory.root, &box);
    memory_region_fini(&box);
}

/* RAM that a device splits is one extent again when the device goes. */
static unsigned extents;

static bool count_add(MemoryListener *l, const MemoryRange *r, GError **errp)
{
    extents++;
    return true;
}

static void count_del(MemoryListener *l, const MemoryRange *r)
{
    extents--;
}

static void test_memory_merge(void)
{
    MemoryListener listener = { .name = "count", .region_add = count_add, .region_del = count_del };
    HostMemoryBackend *be = host_memory_default("m", 4 << 20, NULL);
    MemoryRegion low, high, hole;
    uint32_t value = 0x12345678;

    memory_region_init_ram(&low, NULL, "low", &be->block, 0, 1 << 20);
    memory_region_init_ram(&high, NULL, "high", &be->block, 1 << 20, 3 << 20);
    memory_region_init_io(&hole, NULL, &io_ops, GINT_TO_POINTER(1), "hole", 4096);
    memory_transaction_begin();
    memory_region_add_child(address_space_memory.root, 0, &low, 0);
    memory_region_add_child(address_space_memory.root, 1 << 20, &high, 0);
    memory_transaction_commit();
    g_assert_true(memory_listener_register(&listener, &address_space_memory, NULL));
    g_assert_cmpuint(extents, ==, 1);

    address_space_rw(&address_space_memory, (1 << 20) - 2, &value, 4, true); /* across both */
    g_assert_cmpint(memcmp((char *)be->block.host + (1 << 20) - 2, &value, 4), ==, 0);

    memory_region_add_child(address_space_memory.root, 2 << 20, &hole, 1);
    g_assert_cmpuint(extents, ==, 3);
    memory_region_set_enabled(&hole, false);
    g_assert_cmpuint(extents, ==, 1);

    memory_transaction_begin();
    memory_region_del_child(address_space_memory.root, &hole);
    memory_region_del_child(address_space_memory.root, &low);
    memory_region_del_child(address_space_memory.root, &high);
    memory_transaction_commit();
    g_assert_cmpuint(extents, ==, 0);
    memory_listener_unregister(&listener);
    memory_region_fini(&low);
    memory_region_fini(&high);
    memory_region_fini(&hole);
    g_assert_true(user_object_del("m", NULL));
}

/* A listener that refuses a range is never told of its removal. */
static int refusing_balance;

static bool refuse_add(MemoryListener *l, const MemoryRange *r, GError **errp)
{
    if (r->addr == 0x2000) {
        return error_set(errp, "not here");
    }
    refusing_balance++;
    return true;
}

static void refuse_del(MemoryListener *l, const MemoryRange *r)
{
    g_assert_cmphex(r->addr, !=, 0x2000);
    refusing_balance--;
}

static void test_memory_refused(void)
{
    MemoryListener listener = { .name = "picky",
                                .region_add = refuse_add,
                                .region_del = refuse_del };
    MemoryRegion a, b;
    g_autoptr(GError) err = NULL;

    memory_region_init_io(&a, NULL, &io_ops, NULL, "a", 0x1000);
    memory_region_init_io(&b, NULL, &io_ops, NULL, "b", 0x1000);
    memory_region_add_child(address_space_memory.root, 0x1000, &a, 0);
    g_assert_true(memory_listener_register(&listener, &address_space_memory, &err));
    memory_region_add_child(address_space_memory.root, 0x2000, &b, 0); /* prints one line */
    memory_listener_unregister(&listener);
    g_assert_cmpint(refusing_balance, ==, 0);
    g_assert_false(memory_listener_register(&listener, &address_space_memory, &err));
    g_assert_cmpstr(err->message, ==, "not here");
    g_assert_cmpint(refusing_balance, ==, 0);
    memory_region_del_child(address_space_memory.root, &a);
    memory_region_del_child(address_space_memory.root, &b);
    memory_region_fini(&a);
    memory_region_fini(&b);
}

/* A file with less behind it than its size says: as one in a tmpfs that is full. */
static void test_ram_populate(void)
{
    int fd = memfd_create("short", MFD_CLOEXEC);
    RAMBlock block = { .idstr = (char *)"short", .size = RAM_BLOCK_ALIGN, .page_size = 4096 };

    block.host = mmap(NULL, block.size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    g_assert_true(block.host != MAP_FAILED);
    ram_block_populate_huge(&block, 0, block.size); /* no SIGBUS */
    munmap(block.host, block.size);
    close(fd);
}

/* Every page, however many threads share them. */
static void test_ram_prealloc(void)
{
    static const char *const threads[] = { "1", "3", "5000" };

    for (size_t i = 0; i < G_N_ELEMENTS(threads); i++) {
        g_autofree char *text = g_strdup_printf(
            "memory-backend-memfd,id=pre,size=100K,prealloc=on,prealloc-threads=%s", threads[i]);
        g_autoptr(JsonObject) opts = keyval_parse(text, "qom-type", NULL, NULL);
        g_autoptr(GError) err = NULL;
        unsigned char resident[25];

        user_object_add(opts, &err);
        g_assert_no_error(err);
        g_assert_cmpint(
            mincore(HOST_MEMORY_BACKEND(object_resolve("pre"))->block.host, 25 * 4096, resident),
            ==, 0);
        for (unsigned page = 0; page < 25; page++) {
            g_assert_true(resident[page] & 1);
        }
        g_assert_true(user_object_del("pre", NULL));
    }
}

static void test_ram_prealloc_threads(void)
{
    g_autoptr(JsonObject) opts = keyval_parse(
        "memory-backend-memfd,id=pre,size=100K,prealloc-threads=0", "qom-type", NULL, NULL);
    GError *err = NULL;

    assert_fails(user_object_add(opts, &err), &err,
                 "Property 'memory-backend.prealloc-threads' doesn't take value '0'");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_type_ensure(probe_get_type());
    memory_init();
    machine_lock();
    g_test_add_func("/util/keyval", test_keyval);
    g_test_add_func("/util/size", test_size);
    g_test_add_func("/core/properties", test_properties);
    g_test_add_func("/core/objects", test_objects);
    g_test_add_func("/core/memory/random", test_memory_random);
    g_test_add_func("/core/memory/merge", test_memory_merge);
    g_test_add_func("/core/memory/refused", test_memory_refused);
    g_test_add_func("/core/ram/populate", test_ram_populate);
    g_test_add_func("/core/ram/prealloc", test_ram_prealloc);
    g_test_add_func("/core/ram/prealloc-threads", test_ram_prealloc_threads);
    return g_test_run();
}
