/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hotplug-fixture.h"

#include <string.h>
#include <unistd.h>

#include "core/accel.h"
#include "hw/pci/msi.h"
#include "tests/unit/qmp-client.h"
#include "util/error.h"
#include "util/keyval.h"

/* ---- a card ---- */

typedef TestDevice TestCard;
typedef TestDeviceClass TestCardClass;

int cards, resets;
void (*while_coming)(void);
bool card_fails;

GType test_card_get_type(void);
DEFINE_OBJECT_TYPE(TestCard, test_card, "test-card", test_device_get_type(), 0)

static bool test_card_realize(PCIDevice *dev, GError **errp)
{
    if (while_coming) {
        pci_device_coming(dev);
        while_coming();
    }
    next_bars = "0=P1M";
    next_fails = card_fails;
    if (!PCI_DEVICE_CLASS(test_card_parent_class)->realize(dev, errp)) {
        return false;
    }
    cards++;
    return true;
}

static void test_card_exit(PCIDevice *dev)
{
    PCI_DEVICE_CLASS(test_card_parent_class)->exit(dev);
    cards--;
}

static void test_card_reset(PCIDevice *dev)
{
    resets++;
}

static void test_card_init(TestCard *self)
{
}

static void test_card_class_init(TestCardClass *klass)
{
    PCIDeviceClass *pc = PCI_DEVICE_CLASS(klass);

    DEVICE_CLASS(klass)->user_creatable = true;
    DEVICE_CLASS(klass)->hotpluggable = true;
    pc->realize = test_card_realize;
    pc->exit = test_card_exit;
    pc->reset = test_card_reset;
}

/* ---- the user: a QMP session ---- */

static QMPClient qmp;
static GString *events; /* "NAME:device " since they were read */

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

    g_assert_cmpint(write(qmp.fd, text, strlen(text)), ==, (ssize_t)strlen(text));
    for (;;) {
        g_autoptr(JsonObject) reply = qmp_client_receive(&qmp);

        g_assert_nonnull(reply);
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

void device_add_args(const char *args, const char *answer)
{
    g_autofree char *request = g_strdup_printf("{'execute':'device_add','arguments':{%s}}", args);

    expect(request, answer);
}

void device_del_id(const char *id, const char *answer)
{
    g_autofree char *request =
        g_strdup_printf("{'execute':'device_del','arguments':{'id':'%s'}}", id);

    expect(request, answer);
}

void expect_events(const char *names)
{
    expect("{'execute':'query-status'}", ""); /* whatever was on its way is here after that */
    g_assert_cmpstr(events->str, ==, names);
    g_string_truncate(events, 0);
}

static void qmp_start(void)
{
    g_autoptr(JsonObject) greeting = NULL;

    events = g_string_new(NULL);
    qmp_client_init(&qmp);
    greeting = qmp_client_receive(&qmp);
    expect("{'execute':'qmp_capabilities'}", "");
}

/* ---- the guest ---- */

int messages;

static bool record_msi(MSIMessage msg)
{
    g_assert_cmphex(msg.address, ==, 0xfee00000);
    messages++;
    return true;
}

void expect_messages(int n)
{
    g_assert_cmpint(messages, ==, n);
    messages = 0;
}

uint16_t exp_rd(PCIDevice *port, unsigned reg)
{
    return (uint16_t)rd(port, pci_find_capability(port, PCI_CAP_ID_EXP) + reg, 2);
}

void exp_wr(PCIDevice *port, unsigned reg, uint16_t val)
{
    wr(port, pci_find_capability(port, PCI_CAP_ID_EXP) + reg, val, 2);
}

uint16_t take_events(PCIDevice *port)
{
    uint16_t status = exp_rd(port, PCI_EXP_SLTSTA) & EVENTS;

    exp_wr(port, PCI_EXP_SLTSTA, status);
    g_assert_cmphex(exp_rd(port, PCI_EXP_SLTSTA) & EVENTS, ==, 0);
    return status;
}

void set_control(PCIDevice *port, uint16_t mask, uint16_t value)
{
    exp_wr(port, PCI_EXP_SLTCTL, (uint16_t)((exp_rd(port, PCI_EXP_SLTCTL) & ~mask) | value));
    g_assert_cmphex(take_events(port) & PCI_EXP_SLTSTA_CC, ==, PCI_EXP_SLTSTA_CC);
}

void indicate(PCIDevice *port, uint16_t indicator)
{
    set_control(port, PCI_EXP_SLTCTL_PIC, indicator);
}

void power(PCIDevice *port, bool on)
{
    set_control(port, PCI_EXP_SLTCTL_PCC, on ? 0 : PCI_EXP_SLTCTL_PCC);
}

void power_up(PCIDevice *port)
{
    power(port, true);
    indicate(port, PCI_EXP_SLTCTL_PWR_IND_ON);
}

void let_go(PCIDevice *port)
{
    power(port, false);
    indicate(port, PCI_EXP_SLTCTL_PWR_IND_OFF);
}

bool present(PCIDevice *port)
{
    return exp_rd(port, PCI_EXP_SLTSTA) & PCI_EXP_SLTSTA_PDS;
}

bool link_up(PCIDevice *port)
{
    return exp_rd(port, PCI_EXP_LNKSTA) & PCI_EXP_LNKSTA_DLLLA;
}

uint32_t ids_behind(PCIDevice *port, int devfn)
{
    return access32(ecam_addr((int)rd(port, PCI_SECONDARY_BUS, 1), devfn, 0), 4, false, 0);
}

PCIDevice *find(const char *id)
{
    GObject *obj = object_resolve(id);

    return obj ? PCI_DEVICE(obj) : NULL;
}

/* ---- helpers ---- */

bool cold(const char *opts, GError **errp)
{
    g_autoptr(JsonObject) o = keyval_parse(opts, "driver", NULL, NULL);

    return device_add(o, false, errp);
}

PCIDevice *port_new(const char *more)
{
    g_autofree char *opts = g_strconcat("pcie-root-port,id=rp", more, NULL);
    g_autoptr(GError) err = NULL;

    cold(opts, &err);
    g_assert_no_error(err);
    pci_assign_resources(&err);
    g_assert_no_error(err);
    return find("rp");
}

PCIDevice *port_driven(void)
{
    PCIDevice *port = port_new("");

    wr(port, port->msi_cap + PCI_MSI_ADDRESS_LO, 0xfee00000, 4);
    wr(port, port->msi_cap + PCI_MSI_FLAGS, PCI_MSI_FLAGS_ENABLE | PCI_MSI_FLAGS_64BIT, 2);
    set_control(port, ENABLE, ENABLE);
    messages = 0;
    return port;
}

void port_end(PCIDevice *port)
{
    device_destroy(DEVICE(port));
    g_assert_cmpint(cards, ==, 0);
    g_assert_null(find("rp"));
    expect("{'execute':'query-status'}", "");
    g_string_truncate(events, 0);
    messages = 0;
}

/* ---- the machine ---- */

static void no_vcpus(void)
{
}

int hotplug_run(void)
{
    static const IRQChipOps chip = { .set_line = record_line, .send_msi = record_msi };
    static const AccelOps no_accel = { "kvm", no_vcpus, no_vcpus };
    int status;

    accel_register(&no_accel);
    irqchip_register(&chip);
    pci_fixture_init();
    qmp_start();
    status = g_test_run();
    monitor_cleanup();
    chardev_cleanup_all();
    qmp_client_clear(&qmp);
    g_string_free(events, TRUE);
    return status;
}
