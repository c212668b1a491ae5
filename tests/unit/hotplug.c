/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Hot-plug: a guest's driver on one side of the slot's registers, QMP on the other. */
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/accel.h"
#include "core/runstate.h"
#include "hw/pci/bridge.h"
#include "hw/pci/msi.h"
#include "monitor/monitor.h"
#include "util/fd.h"
#include "util/keyval.h"

#define ECAM   0xb0000000ULL
#define LOW    0x80000000ULL
#define HIGH   0x4000000000ULL
#define KiB    1024ULL
#define MiB    (1024 * KiB)
#define GiB    (1024 * MiB)
#define TiB    (1024 * GiB)

#define EVENTS (PCI_EXP_SLTSTA_ABP | PCI_EXP_SLTSTA_PDC | PCI_EXP_SLTSTA_CC | PCI_EXP_SLTSTA_DLLSC)
#define ENABLE \
    (PCI_EXP_SLTCTL_ABPE | PCI_EXP_SLTCTL_CCIE | PCI_EXP_SLTCTL_HPIE | PCI_EXP_SLTCTL_DLLSCE)

/* ---- a card ---- */

typedef struct TestCard {
    PCIDevice parent;
    MemoryRegion bar;
} TestCard;

typedef struct TestCardClass {
    PCIDeviceClass parent_class;
} TestCardClass;

static int cards, resets; /* realized ones; resets of any */

static uint64_t bar_read(void *opaque, uint64_t addr, unsigned size)
{
    return 0x5a;
}

static void bar_write(void *opaque, uint64_t addr, uint64_t data, unsigned size)
{
}

static bool test_card_realize(PCIDevice *dev, GError **errp)
{
    static const MemoryRegionOps ops = { .read = bar_read, .write = bar_write };
    TestCard *card = (TestCard *)dev;

    memory_region_init_io(&card->bar, G_OBJECT(dev), &ops, card, "bar", MiB);
    pci_register_bar(dev, 0, PCI_BASE_ADDRESS_MEM_TYPE_64 | PCI_BASE_ADDRESS_MEM_PREFETCH,
                     &card->bar);
    cards++;
    return true;
}

static void test_card_exit(PCIDevice *dev)
{
    TestCard *card = (TestCard *)dev;

    g_assert_null(card->bar.container);
    memory_region_fini(&card->bar);
    cards--;
}

static void test_card_reset(PCIDevice *dev)
{
    resets++;
}

GType test_card_get_type(void);
DEFINE_OBJECT_TYPE(TestCard, test_card, "test-card", TYPE_PCI_DEVICE, 0)

static void test_card_init(TestCard *self)
{
}

static void test_card_class_init(TestCardClass *klass)
{
    PCIDeviceClass *pc = PCI_DEVICE_CLASS(klass);

    DEVICE_CLASS(klass)->user_creatable = true;
    DEVICE_CLASS(klass)->hotpluggable = true;
    pc->vendor_id = 0x1234;
    pc->device_id = 0x5678;
    pc->class_code = 0x020000;
    pc->realize = test_card_realize;
    pc->exit = test_card_exit;
    pc->reset = test_card_reset;
}

/* ---- the user: a QMP session ---- */

static int qmp = -1;
static GString *input, *events; /* unread bytes; "NAME:device " of events since they were read */

static JsonObject *receive(void)
{
    g_autoptr(JsonNode) node = NULL;
    g_autofree char *line = NULL;
    char *end, buf[4096];

    for (int i = 0; !(end = strstr(input->str, "\r\n")); i++) {
        ssize_t n;

        g_assert_cmpint(i, <, 1000);
        g_main_context_iteration(NULL, FALSE);
        n = recv(qmp, buf, sizeof(buf), MSG_DONTWAIT);
        g_string_append_len(input, buf, MAX(n, 0));
    }
    line = g_strndup(input->str, (gsize)(end - input->str));
    g_string_erase(input, 0, end + 2 - input->str);
    node = json_from_string(line, NULL);
    g_assert_nonnull(node);
    return json_node_dup_object(node);
}

static void note_event(JsonObject *event)
{
    JsonObject *data = json_object_get_object_member(event, "data");

    g_string_append_printf(events, "%s:%s ", json_object_get_string_member(event, "event"),
                           json_object_get_string_member_with_default(data, "device", "?"));
    g_assert_true(g_str_has_prefix(json_object_get_string_member(data, "path"), "/machine/"));
}

/* "" for success, the error's description otherwise. */
static char *ask(const char *request)
{
    g_autofree char *text = g_strdelimit(g_strdup(request), "'", '"');

    g_assert_cmpint(write(qmp, text, strlen(text)), ==, (ssize_t)strlen(text));
    for (;;) {
        g_autoptr(JsonObject) reply = receive();

        if (json_object_has_member(reply, "event")) {
            if (json_object_has_member(reply, "data")) {
                note_event(reply);
            }
        } else if (json_object_has_member(reply, "error")) {
            return g_strdup(json_object_get_string_member(
                json_object_get_object_member(reply, "error"), "desc"));
        } else {
            return g_strdup("");
        }
    }
}

static void expect(const char *request, const char *answer)
{
    g_autofree char *got = ask(request);

    g_assert_cmpstr(got, ==, answer);
}

static void device_add_args(const char *args, const char *answer)
{
    g_autofree char *request = g_strdup_printf("{'execute':'device_add','arguments':{%s}}", args);

    expect(request, answer);
}

static void device_del_id(const char *id, const char *answer)
{
    g_autofree char *request =
        g_strdup_printf("{'execute':'device_del','arguments':{'id':'%s'}}", id);

    expect(request, answer);
}

/* What has been announced since the last time. */
static void expect_events(const char *names)
{
    expect("{'execute':'query-status'}", ""); /* whatever was on its way is here after that */
    g_assert_cmpstr(events->str, ==, names);
    g_string_truncate(events, 0);
}

static void qmp_start(void)
{
    g_autoptr(JsonObject) opts = json_object_new(), greeting = NULL;
    g_autofree char *fd = NULL;
    int pair[2];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), ==, 0);
    fd = g_strdup_printf("%d", pair[1]);
    qmp = pair[0];
    input = g_string_new(NULL);
    events = g_string_new(NULL);
    json_object_set_string_member(opts, "backend", "socket");
    json_object_set_string_member(opts, "id", "mon");
    json_object_set_string_member(opts, "fd", fd);
    g_assert_true(monitor_init_qmp(chardev_new(opts, NULL), false, NULL));
    greeting = receive();
    expect("{'execute':'qmp_capabilities'}", "");
}

/* ---- the guest ---- */

static bool lines[64];
static int messages; /* MSIs since they were counted last */

static void record_line(int gsi, bool level)
{
    lines[gsi] = level;
}

static bool record_msi(MSIMessage msg)
{
    g_assert_cmphex(msg.address, ==, 0xfee00000);
    messages++;
    return true;
}

static void expect_messages(int n)
{
    g_assert_cmpint(messages, ==, n);
    messages = 0;
}

static uint32_t access32(uint64_t addr, unsigned len, bool is_write, uint32_t val)
{
    val = GUINT32_TO_LE(val);
    address_space_rw(&address_space_memory, addr, &val, len, is_write);
    val = GUINT32_FROM_LE(val);
    return len < 4 ? val & ((1U << len * 8) - 1) : val;
}

static uint64_t ecam_addr(int bus, int devfn, unsigned reg)
{
    return ECAM + ((uint64_t)bus << 20 | (uint64_t)devfn << 12 | reg);
}

static uint32_t rd(PCIDevice *dev, unsigned reg, unsigned len)
{
    return access32(ecam_addr(pci_bus_number(dev->bus), dev->devfn, reg), len, false, 0);
}

static void wr(PCIDevice *dev, unsigned reg, uint32_t val, unsigned len)
{
    access32(ecam_addr(pci_bus_number(dev->bus), dev->devfn, reg), len, true, val);
}

static uint16_t exp_rd(PCIDevice *port, unsigned reg)
{
    return (uint16_t)rd(port, pci_find_capability(port, PCI_CAP_ID_EXP) + reg, 2);
}

static void exp_wr(PCIDevice *port, unsigned reg, uint16_t val)
{
    wr(port, pci_find_capability(port, PCI_CAP_ID_EXP) + reg, val, 2);
}

/* The events that there are, which are then cleared. */
static uint16_t take_events(PCIDevice *port)
{
    uint16_t status = exp_rd(port, PCI_EXP_SLTSTA) & EVENTS;

    exp_wr(port, PCI_EXP_SLTSTA, status);
    g_assert_cmphex(exp_rd(port, PCI_EXP_SLTSTA) & EVENTS, ==, 0);
    return status;
}

static void set_control(PCIDevice *port, uint16_t mask, uint16_t value)
{
    exp_wr(port, PCI_EXP_SLTCTL, (uint16_t)((exp_rd(port, PCI_EXP_SLTCTL) & ~mask) | value));
    g_assert_cmphex(take_events(port) & PCI_EXP_SLTSTA_CC, ==, PCI_EXP_SLTSTA_CC);
}

static void indicate(PCIDevice *port, uint16_t indicator)
{
    set_control(port, PCI_EXP_SLTCTL_PIC, indicator);
}

static void power(PCIDevice *port, bool on)
{
    set_control(port, PCI_EXP_SLTCTL_PCC, on ? 0 : PCI_EXP_SLTCTL_PCC);
}

static void power_up(PCIDevice *port)
{
    power(port, true);
    indicate(port, PCI_EXP_SLTCTL_PWR_IND_ON);
}

static void let_go(PCIDevice *port)
{
    power(port, false);
    indicate(port, PCI_EXP_SLTCTL_PWR_IND_OFF);
}

static bool present(PCIDevice *port)
{
    return exp_rd(port, PCI_EXP_SLTSTA) & PCI_EXP_SLTSTA_PDS;
}

static bool link_up(PCIDevice *port)
{
    return exp_rd(port, PCI_EXP_LNKSTA) & PCI_EXP_LNKSTA_DLLLA;
}

/* What the guest reads as the ids of the function behind the port. */
static uint32_t ids_behind(PCIDevice *port, int devfn)
{
    return access32(ecam_addr((int)rd(port, PCI_SECONDARY_BUS, 1), devfn, 0), 4, false, 0);
}
#define CARD_IDS 0x56781234

static PCIDevice *find(const char *id)
{
    GObject *obj = object_resolve(id);

    return obj ? PCI_DEVICE(obj) : NULL;
}

/* ---- helpers ---- */

static bool cold(const char *opts, GError **errp)
{
    g_autoptr(JsonObject) o = keyval_parse(opts, "driver", NULL, NULL);

    return device_add(o, false, errp);
}

static PCIDevice *port_new(const char *more)
{
    g_autofree char *opts = g_strconcat("pcie-root-port,id=rp", more, NULL);
    g_autoptr(GError) err = NULL;

    cold(opts, &err);
    g_assert_no_error(err);
    pci_assign_resources(&err);
    g_assert_no_error(err);
    return find("rp");
}

/* The port as a guest's driver has set it up, with MSI. */
static PCIDevice *port_driven(void)
{
    PCIDevice *port = port_new("");

    wr(port, port->msi_cap + PCI_MSI_ADDRESS_LO, 0xfee00000, 4);
    wr(port, port->msi_cap + PCI_MSI_FLAGS, PCI_MSI_FLAGS_ENABLE | PCI_MSI_FLAGS_64BIT, 2);
    set_control(port, ENABLE, ENABLE);
    messages = 0;
    return port;
}

/* And what goes with it. */
static void port_end(PCIDevice *port)
{
    device_destroy(DEVICE(port));
    g_assert_cmpint(cards, ==, 0);
    g_assert_null(find("rp"));
    expect("{'execute':'query-status'}", "");
    g_string_truncate(events, 0);
    messages = 0;
}

#define ADD_CARD "'driver':'test-card','id':'c','bus':'rp'"

/* ---- before the guest runs ---- */

static void test_registers(void)
{
    PCIDevice *port = port_new(",chassis=3,slot=0x155,port=9");
    unsigned cap = pci_find_capability(port, PCI_CAP_ID_EXP);

    g_assert_cmphex(rd(port, PCI_VENDOR_ID, 4), ==, 0x000c1b36);
    g_assert_cmphex(rd(port, PCI_CLASS_REVISION, 4), ==, 0x06040000);
    g_assert_cmphex(rd(port, PCI_INTERRUPT_PIN, 1), ==, 1);
    g_assert_cmphex(exp_rd(port, PCI_EXP_FLAGS), ==, 0x0142); /* a root port, slot, version 2 */
    g_assert_cmphex(rd(port, cap + PCI_EXP_LNKCAP, 4), ==, 0x09100104);
    g_assert_cmphex(rd(port, cap + PCI_EXP_LNKCAP2, 4), ==, 0x1e);
    g_assert_cmphex(rd(port, cap + PCI_EXP_SLTCAP, 4), ==, 0x155 << 19 | 0x7b);
    g_assert_cmphex(exp_rd(port, PCI_EXP_SLTCTL), ==, 0x07c0); /* all is off */
    g_assert_cmphex(exp_rd(port, PCI_EXP_SLTSTA), ==, 0);
    g_assert_cmphex(rd(port, 0x100, 4), ==, 0x0001000d); /* access control */
    wr(port, 0x106, 0xffff, 2);
    g_assert_cmphex(rd(port, 0x104, 4), ==, 0x001d001d);
    g_assert_false(link_up(port));
    g_assert_cmphex(ids_behind(port, 0), ==, UINT32_MAX);

    /* nothing but what is defined can be written */
    exp_wr(port, PCI_EXP_SLTCTL, 0xffff);
    g_assert_cmphex(exp_rd(port, PCI_EXP_SLTCTL), ==, 0x17f9);
    wr(port, cap + PCI_EXP_SLTCAP, 0, 4);
    g_assert_cmphex(rd(port, cap + PCI_EXP_SLTCAP, 4), ==, 0x155 << 19 | 0x7b);
    port_end(port);

    port = port_new(",hotplug=off,disable-acs=on");
    g_assert_cmphex(rd(port, cap + PCI_EXP_SLTCAP, 4), ==, 0);
    exp_wr(port, PCI_EXP_SLTCTL, 0xffff);
    g_assert_cmphex(exp_rd(port, PCI_EXP_SLTCTL), ==, 0);
    g_assert_cmphex(rd(port, 0x100, 4), ==, 0);
    device_add_args(ADD_CARD, "Bus 'rp' does not support hotplugging");
    g_assert_true(cold("test-card,id=c,bus=rp", NULL));
    g_assert_cmphex(ids_behind(port, 0), ==, CARD_IDS);
    g_assert_true(link_up(port));
    device_del_id("c", "Bus 'rp' does not support hotplugging");
    port_end(port);
}

static void refuse_cold(const char *opts, const char *message)
{
    g_autoptr(GError) err = NULL;

    g_assert_false(cold(opts, &err));
    g_assert_cmpstr(err->message, ==, message);
}

static void test_chassis(void)
{
    PCIDevice *port = port_new(",chassis=1,slot=2");

    refuse_cold("pcie-root-port,chassis=1,slot=2",
                "Can't add chassis slot: chassis 1, slot 2 is in use by pcie-root-port,id=rp");
    refuse_cold("pcie-root-port,slot=0x2000",
                "Property 'pcie-root-port.slot' doesn't take value '8192': at most 8191");
    refuse_cold("pcie-root-port,bus=rp,slot=5",
                "pcie-root-port: a root port sits on the root bus, not on 'rp'");
    g_assert_true(cold("pcie-root-port,id=two,chassis=2,slot=2", NULL));
    device_destroy(DEVICE(find("two")));
    port_end(port);
    port_end(port_new(",chassis=1,slot=2")); /* the place is free again */
}

static uint64_t window_size(PCIDevice *port, PCIWindowKind kind)
{
    uint64_t base, limit;

    pci_bridge_window(port, kind, &base, &limit);
    return base < limit ? limit - base + 1 : 0;
}

static void test_reserves(void)
{
    PCIDevice *port = port_new(""), *ports[24];
    g_autoptr(GError) err = NULL;
    uint64_t base, limit;

    g_assert_cmphex(window_size(port, PCI_WINDOW_IO), ==, 4 * KiB);
    g_assert_cmphex(window_size(port, PCI_WINDOW_MEM), ==, 32 * MiB);
    g_assert_cmphex(window_size(port, PCI_WINDOW_PREF), ==, 32 * GiB);
    g_assert_cmphex(rd(port, PCI_SECONDARY_BUS, 2), ==, 0x0101);
    port_end(port);

    port = port_new(",io-reserve=0,mem-reserve=3M,pref64-reserve=384G,bus-reserve=2");
    g_assert_cmphex(window_size(port, PCI_WINDOW_IO), ==, 0);
    g_assert_cmphex(window_size(port, PCI_WINDOW_MEM), ==, 3 * MiB);
    g_assert_cmphex(window_size(port, PCI_WINDOW_PREF), ==, 384 * GiB);
    pci_bridge_window(port, PCI_WINDOW_PREF, &base, &limit);
    g_assert_cmphex(base % (256 * GiB), ==, 0);
    g_assert_cmphex(rd(port, PCI_SECONDARY_BUS, 2), ==, 0x0301);

    /* wishes give way: 24 ports share what is left of 1 TiB, and what lies there comes first */
    g_assert_true(cold("test-card,id=c", NULL));
    for (unsigned i = 0; i < G_N_ELEMENTS(ports); i++) {
        g_autofree char *opts = g_strdup_printf("pcie-root-port,id=p%u,chassis=9,slot=%u", i, i);
        g_autofree char *id = g_strdup_printf("p%u", i);

        g_assert_true(cold(opts, NULL));
        ports[i] = find(id);
    }
    g_assert_true(pci_assign_resources(&err));
    g_assert_cmphex(find("c")->regions[0].addr, ==, HIGH);
    for (unsigned i = 0; i < G_N_ELEMENTS(ports); i++) {
        g_assert_cmphex(window_size(ports[i], PCI_WINDOW_PREF), ==, 16 * GiB);
        g_assert_cmphex(window_size(ports[i], PCI_WINDOW_MEM), ==, 32 * MiB);
        g_assert_cmphex(window_size(ports[i], PCI_WINDOW_IO), ==, 0); /* not room for all of them */
        device_destroy(DEVICE(ports[i]));
    }
    device_destroy(DEVICE(find("c")));
    port_end(port);

    g_assert_true(cold("pcie-root-port,id=rp,pref64-reserve=2T", NULL));
    g_assert_false(pci_assign_resources(&err));
    g_assert_cmpstr(err->message, ==,
                    "PCI: no room for the prefetchable memory window of pcie-root-port,id=rp "
                    "(0x20000000000 bytes, reserved for hot-plug)");
    port_end(find("rp"));
    g_clear_error(&err);
    g_assert_true(cold("pcie-root-port,id=rp,bus-reserve=255", NULL));
    g_assert_false(pci_assign_resources(&err));
    g_assert_nonnull(strstr(err->message, "1 buses more than the 256"));
    port_end(find("rp"));
}

static void test_prelaunch(void)
{
    PCIDevice *port = port_new("");

    /* it is there as if it had been from the beginning */
    device_add_args(ADD_CARD ",'addr':'0.0'", "");
    g_assert_true(present(port));
    g_assert_true(link_up(port));
    g_assert_cmphex(take_events(port), ==, 0);
    g_assert_cmphex(exp_rd(port, PCI_EXP_SLTCTL) & PCI_EXP_SLTCTL_PCC, ==, 0);
    g_assert_cmphex(ids_behind(port, 0), ==, CARD_IDS);
    g_assert_cmphex(find("c")->regions[0].addr, !=, PCI_BAR_UNMAPPED);
    device_del_id("c", "");
    expect_events("DEVICE_DELETED:c ");
    g_assert_false(present(port));
    g_assert_cmphex(exp_rd(port, PCI_EXP_SLTCTL) & PCI_EXP_SLTCTL_PCC, !=, 0);

    port_end(port);

    /* without an id its path tells which one has gone */
    port = port_new(",pref64-reserve=1G");
    device_add_args("'driver':'test-card','bus':'rp','multifunction':true,'addr':0", "");
    g_assert_cmphex(ids_behind(port, 0), ==, CARD_IDS);
    device_del_id("/machine/peripheral-anon/device[0]", "");
    expect_events("DEVICE_DELETED:? ");
    port_end(port);
}

static void test_refused(void)
{
    PCIDevice *port = port_new("");

    device_add_args("'driver':'nosuch'", "'nosuch' is not a valid device model name");
    device_add_args("'id':'c'", "Parameter 'driver' is missing");
    device_add_args("'driver':'test-card','id':7",
                    "Invalid parameter type for 'id', expected: string");
    device_add_args("'driver':'test-card','id':'7'", "Parameter 'id' expects an identifier");
    device_add_args("'driver':'test-card'", "Bus 'pcie.0' does not support hotplugging");
    device_add_args("'driver':'test-card','bus':'nobus'", "Bus 'nobus' not found");
    device_add_args("'driver':'test-card','bus':'rp','id':'rp'", "Duplicate device ID 'rp'");
    device_add_args("'driver':'test-card','bus':'rp','x':1", "Property 'test-card.x' not found");
    device_add_args("'driver':'test-card','bus':'rp','addr':'1.0'",
                    "PCI: slot 1 is not valid for test-card, parent device only allows plugging "
                    "into slot 0");
    device_add_args("'driver':'pcie-root-port','slot':3",
                    "Device 'pcie-root-port' does not support hotplugging");
    device_add_args(ADD_CARD, "");
    device_add_args("'driver':'test-card','bus':'rp'",
                    "PCI: no slot/function available for test-card, all in use or reserved");
    device_add_args("'driver':'test-card','bus':'rp','addr':'0.0'",
                    "PCI: slot 0 function 0 not available for test-card, in use by "
                    "test-card,id=c");
    device_del_id("nosuch", "Device 'nosuch' not found");
    device_del_id("rp", "Device 'pcie-root-port' does not support hotplugging");
    g_assert_cmpint(cards, ==, 1);
    g_assert_cmphex(ids_behind(port, 0), ==, CARD_IDS);
    port_end(port);
}

/* ---- while it runs ---- */

static void test_plug(void)
{
    PCIDevice *port = port_driven(), *card;
    uint64_t base, limit;

    device_add_args(ADD_CARD, "");
    expect_messages(1);
    g_assert_true(present(port));
    g_assert_false(link_up(port)); /* there is no power yet */
    g_assert_cmphex(ids_behind(port, 0), ==, UINT32_MAX);
    g_assert_cmphex(take_events(port), ==, PCI_EXP_SLTSTA_ABP | PCI_EXP_SLTSTA_PDC);

    exp_wr(port, PCI_EXP_SLTCTL, ENABLE | PCI_EXP_SLTCTL_PWR_IND_BLINK);
    expect_messages(1);
    g_assert_true(link_up(port));
    g_assert_cmphex(exp_rd(port, PCI_EXP_LNKSTA) & 0x3ff, ==, 0x104);
    g_assert_cmphex(take_events(port), ==, PCI_EXP_SLTSTA_CC | PCI_EXP_SLTSTA_DLLSC);
    indicate(port, PCI_EXP_SLTCTL_PWR_IND_ON);
    g_assert_cmphex(ids_behind(port, 0), ==, CARD_IDS);

    /* its BARs have no place until the guest finds one */
    card = find("c");
    g_assert_cmphex(rd(card, PCI_BASE_ADDRESS_0, 4), ==, 0xc);
    g_assert_cmphex(rd(card, PCI_COMMAND, 2), ==, 0);
    pci_bridge_window(port, PCI_WINDOW_PREF, &base, &limit);
    wr(card, PCI_BASE_ADDRESS_0, (uint32_t)base, 4);
    wr(card, PCI_BASE_ADDRESS_1, (uint32_t)(base >> 32), 4);
    wr(card, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
    g_assert_cmphex(access32(base, 1, false, 0), ==, 0x5a);
    let_go(port);
    g_assert_cmphex(access32(base, 1, false, 0), ==, 0xff);
    expect_events("DEVICE_DELETED:c "); /* the guest may eject it unasked */
    port_end(port);
}

static void test_unplug(void)
{
    PCIDevice *port = port_driven();
    GObject *card;

    device_add_args(ADD_CARD, "");
    take_events(port);
    power_up(port);
    card = G_OBJECT(find("c"));
    g_object_add_weak_pointer(card, (gpointer *)&card);
    messages = 0;

    device_del_id("c", "");
    expect_messages(1);
    device_del_id("c", "Device c is already in the process of unplug");
    expect_messages(0);
    g_assert_cmphex(take_events(port), ==, PCI_EXP_SLTSTA_ABP);
    indicate(port, PCI_EXP_SLTCTL_PWR_IND_BLINK);
    DEVICE(card)->ask_again = 0; /* five seconds later */
    device_del_id("c", "Hot-unplug failed: guest is busy (power indicator blinking)");
    power(port, false);
    expect_events("");
    g_assert_cmpint(cards, ==, 1);
    g_assert_cmphex(ids_behind(port, 0), ==, UINT32_MAX);
    exp_wr(port, PCI_EXP_SLTCTL, ENABLE | PCI_EXP_SLTCTL_PCC | PCI_EXP_SLTCTL_PWR_IND_OFF);
    g_assert_cmpint(cards, ==, 0);
    g_assert_null(card); /* nothing holds it any longer */
    g_assert_cmphex(take_events(port), ==, PCI_EXP_SLTSTA_PDC | PCI_EXP_SLTSTA_CC);
    g_assert_false(present(port));
    g_assert_false(link_up(port));
    expect_events("DEVICE_DELETED:c ");
    device_del_id("c", "Device 'c' not found");

    /* an unplugged device that the guest never switched on needs no asking */
    device_add_args(ADD_CARD, "");
    device_del_id("c", "");
    expect_events("DEVICE_DELETED:c ");
    g_assert_cmphex(take_events(port), ==, PCI_EXP_SLTSTA_PDC);
    port_end(port);
}

static void test_cancelled(void)
{
    PCIDevice *port = port_driven();

    device_add_args(ADD_CARD, "");
    power_up(port);
    device_del_id("c", "");
    take_events(port);
    indicate(port, PCI_EXP_SLTCTL_PWR_IND_BLINK);
    indicate(port, PCI_EXP_SLTCTL_PWR_IND_ON);
    expect_events("DEVICE_UNPLUG_GUEST_ERROR:c ");
    g_assert_cmpint(cards, ==, 1);
    device_del_id("c", "");
    g_assert_cmphex(take_events(port), ==, PCI_EXP_SLTSTA_ABP);

    /* a guest that does not react can be asked again */
    DEVICE(find("c"))->ask_again = 0;
    device_del_id("c", "");
    g_assert_cmphex(take_events(port), ==, PCI_EXP_SLTSTA_ABP);
    let_go(port);
    expect_events("DEVICE_DELETED:c ");
    port_end(port);
}

static void test_reset(void)
{
    PCIDevice *port = port_driven();

    device_add_args(ADD_CARD, "");
    power_up(port);
    devices_reset(); /* assigns resources as well: the port has a number again */
    g_assert_cmphex(exp_rd(port, PCI_EXP_SLTCTL), ==, 0x01c0); /* on, no interrupts */
    g_assert_cmphex(exp_rd(port, PCI_EXP_SLTSTA), ==, PCI_EXP_SLTSTA_PDS);
    g_assert_true(link_up(port));
    g_assert_cmphex(ids_behind(port, 0), ==, CARD_IDS);
    g_assert_cmphex(find("c")->regions[0].addr, !=, PCI_BAR_UNMAPPED);

    device_del_id("c", "");
    expect_events("");
    devices_reset();
    expect_events("DEVICE_DELETED:c ");
    g_assert_cmphex(exp_rd(port, PCI_EXP_SLTCTL), ==, 0x07c0);
    g_assert_cmphex(exp_rd(port, PCI_EXP_SLTSTA), ==, 0);
    port_end(port);
}

static void test_functions(void)
{
    PCIDevice *port = port_driven();

    device_add_args("'driver':'test-card','id':'f1','bus':'rp','addr':'0.1'", "");
    device_add_args("'driver':'test-card','id':'f2','bus':'rp','addr':'0.2'", "");
    expect_messages(0);
    g_assert_false(present(port));
    power(port, true); /* to no avail */
    g_assert_cmphex(ids_behind(port, 1), ==, UINT32_MAX);
    power(port, false);
    messages = 0;
    device_del_id("f2", ""); /* no guest knows of it */
    expect_events("DEVICE_DELETED:f2 ");
    expect_messages(0);
    device_add_args("'driver':'test-card','id':'f0','bus':'rp','addr':'0.0'",
                    "PCI: 0.0 indicates single function, but 0.1 is already populated");
    device_add_args("'driver':'test-card','id':'f0','bus':'rp','addr':'0.0','multifunction':'on'",
                    "");
    expect_messages(1);
    g_assert_true(present(port));
    power_up(port);
    g_assert_cmphex(ids_behind(port, 0), ==, CARD_IDS);
    g_assert_cmphex(ids_behind(port, 1), ==, CARD_IDS);
    device_add_args("'driver':'test-card','id':'f3','bus':'rp','addr':'0.3'",
                    "PCI: slot 0 function 0 already occupied by test-card,id=f0, new func "
                    "test-card cannot be exposed to guest.");

    /* they go together, whichever is named, and an eager reset takes them together too */
    device_del_id("f1", "");
    device_del_id("f0", "Device f0 is already in the process of unplug");
    let_go(port);
    expect_events("DEVICE_DELETED:f1 DEVICE_DELETED:f0 ");
    g_assert_cmpint(cards, ==, 0);

    device_add_args("'driver':'test-card','id':'f1','bus':'rp','addr':'0.1'", "");
    devices_reset(); /* it goes on waiting, without resources */
    g_assert_cmphex(find("f1")->regions[0].addr, ==, PCI_BAR_UNMAPPED);
    device_add_args("'driver':'test-card','id':'f0','bus':'rp','multifunction':true,'addr':0", "");
    devices_reset();
    g_assert_cmphex(find("f1")->regions[0].addr, !=, PCI_BAR_UNMAPPED);
    device_del_id("f0", "");
    devices_reset();
    g_assert_cmpint(cards, ==, 0);
    port_end(port);
}

/* The power fails while the indicator is on: a card without power is silent, and forgets all. */
static void test_power(void)
{
    PCIDevice *port = port_driven(), *card;
    int before;

    device_add_args(ADD_CARD, "");
    before = resets;
    power_up(port);
    card = find("c");
    g_assert_cmpint(resets, ==, before); /* it is fresh as it is */
    wr(card, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
    wr(card, PCI_CACHE_LINE_SIZE, 16, 1);
    power(port, false);
    g_assert_cmphex(pci_get_word(card->config + PCI_COMMAND), ==, 0);
    g_assert_cmphex(rd(card, PCI_COMMAND, 2), ==, 0xffff);
    g_assert_false(link_up(port));
    g_assert_true(present(port));
    power(port, true);
    g_assert_cmpint(resets, ==, before + 1);
    g_assert_cmphex(rd(card, PCI_CACHE_LINE_SIZE, 1), ==, 0);
    expect_events("");

    /* the next card has lost nothing yet */
    let_go(port);
    expect_events("DEVICE_DELETED:c ");
    device_add_args(ADD_CARD, "");
    power_up(port);
    g_assert_cmpint(resets, ==, before + 1);
    port_end(port);
}

static void test_intx(void)
{
    PCIDevice *port = port_new("");
    int gsi = pci_intx_gsi(port);

    device_add_args(ADD_CARD, "");
    g_assert_false(lines[gsi]);
    set_control(port, ENABLE & ~PCI_EXP_SLTCTL_HPIE, ENABLE & ~PCI_EXP_SLTCTL_HPIE);
    power_up(port);
    device_del_id("c", "");
    g_assert_false(lines[gsi]);
    exp_wr(port, PCI_EXP_SLTCTL, ENABLE | PCI_EXP_SLTCTL_PWR_IND_ON);
    g_assert_true(lines[gsi]);
    g_assert_true(rd(port, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT);
    exp_wr(port, PCI_EXP_SLTSTA, PCI_EXP_SLTSTA_CC);
    g_assert_true(lines[gsi]); /* the button is still to be looked at */
    exp_wr(port, PCI_EXP_SLTSTA, PCI_EXP_SLTSTA_ABP);
    g_assert_false(lines[gsi]);
    port_end(port);
    g_assert_false(lines[gsi]);
    expect_messages(0);
}

/* ---- setting ---- */

static void no_vcpus(void)
{
}

static int map_intx(int slot, int pin)
{
    return 16 + (slot + pin) % 4;
}

int main(int argc, char **argv)
{
    static const IRQChipOps chip = { .set_line = record_line, .send_msi = record_msi };
    static const AccelOps no_accel = { "kvm", no_vcpus, no_vcpus };
    PCIHostConfig config = {
        .ecam_base = ECAM,
        .ecam_buses = 256,
        .mem32 = { { LOW, 768 * MiB }, { 0xc0000000, 0x20000000 } },
        .mem64 = { HIGH, 1 * TiB },
        .io_ports = { 0x1000, 0xf000 },
        .map_intx = map_intx,
    };
    g_autoptr(GError) err = NULL;
    int status;

    g_test_init(&argc, &argv, NULL);
    accel_register(&no_accel);
    irqchip_register(&chip);
    memory_init();
    config.mem = address_space_memory.root;
    config.io = address_space_io.root;
    pci_host_create(&config, &err);
    g_assert_no_error(err);
    qmp_start();

    g_test_add_func("/hotplug/registers", test_registers);
    g_test_add_func("/hotplug/chassis", test_chassis);
    g_test_add_func("/hotplug/reserves", test_reserves);
    g_test_add_func("/hotplug/prelaunch", test_prelaunch);
    g_test_add_func("/hotplug/refused", test_refused);
    g_test_add_func("/hotplug/running", vm_start); /* those behind need it */
    g_test_add_func("/hotplug/plug", test_plug);
    g_test_add_func("/hotplug/unplug", test_unplug);
    g_test_add_func("/hotplug/cancelled", test_cancelled);
    g_test_add_func("/hotplug/reset", test_reset);
    g_test_add_func("/hotplug/functions", test_functions);
    g_test_add_func("/hotplug/power", test_power);
    g_test_add_func("/hotplug/intx", test_intx);
    status = g_test_run();
    monitor_cleanup();
    chardev_cleanup_all();
    fd_close(&qmp);
    g_string_free(input, TRUE);
    g_string_free(events, TRUE);
    return status;
}
