/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Hot-plug: a guest's driver on one side of the slot's registers, QMP on the other. */
#include "hotplug-fixture.h"

#include <string.h>

#include "hw/pci/msi.h"

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

#define NOBODY 0xffffffff
#define CAME   (PCI_EXP_SLTSTA_ABP | PCI_EXP_SLTSTA_PDC)

static PCIDevice *slow_port;

static void guest_is_quick(void)
{
    g_assert_true(present(slow_port));
    g_assert_cmphex(take_events(slow_port) & CAME, ==, CAME);
    power(slow_port, true);
    indicate(slow_port, PCI_EXP_SLTCTL_PWR_IND_BLINK);
    g_assert_true(link_up(slow_port));
    g_assert_cmphex(ids_behind(slow_port, 0), ==, NOBODY);
}

static void guest_gives_up(void)
{
    guest_is_quick();
    power(slow_port, false);
}

static void guest_tries_again(void)
{
    guest_gives_up();
    power(slow_port, true);
}

/* The guest sees a card that nobody can talk to yet, and is told of it only once. */
static void test_coming(void)
{
    static void (*const guests[])(void) = { guest_is_quick, guest_tries_again };

    for (size_t i = 0; i < G_N_ELEMENTS(guests); i++) {
        slow_port = port_driven();
        while_coming = guests[i];
        device_add_args(ADD_CARD, "");
        g_assert_cmphex(take_events(slow_port) & CAME, ==, 0);
        g_assert_cmphex(ids_behind(slow_port, 0), ==, CARD_IDS);
        indicate(slow_port, PCI_EXP_SLTCTL_PWR_IND_ON);
        let_go(slow_port); /* from now on it is like any card */
        expect_events("DEVICE_DELETED:c ");
        port_end(slow_port);
    }
    while_coming = NULL;
}

/* The guest was about to switch the slot off when the card was there at last: it is told anew. */
static void test_coming_late(void)
{
    slow_port = port_driven();
    while_coming = guest_gives_up;
    device_add_args(ADD_CARD, "");
    g_assert_cmphex(take_events(slow_port) & CAME, ==, CAME);
    exp_wr(slow_port, PCI_EXP_SLTCTL, ENABLE | PCI_EXP_SLTCTL_PCC | PCI_EXP_SLTCTL_PWR_IND_OFF);
    expect_events("");
    g_assert_cmpint(cards, ==, 1);
    g_assert_cmphex(take_events(slow_port) & CAME, ==, CAME);
    power_up(slow_port);
    g_assert_cmphex(ids_behind(slow_port, 0), ==, CARD_IDS);
    let_go(slow_port);
    expect_events("DEVICE_DELETED:c ");
    port_end(slow_port);
    while_coming = NULL;
}

static void test_coming_to_nothing(void)
{
    slow_port = port_driven();
    while_coming = guest_is_quick;
    card_fails = true;
    device_add_args(ADD_CARD, "told to fail");
    g_assert_false(present(slow_port));
    g_assert_cmphex(take_events(slow_port) & CAME, ==, PCI_EXP_SLTSTA_PDC);
    g_assert_cmpint(cards, ==, 0);
    port_end(slow_port);
    while_coming = NULL;
    card_fails = false;
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
    devices_wakeup(); /* the guest is still there: it keeps the card, and assigns all itself */
    g_assert_cmphex(exp_rd(port, PCI_EXP_SLTCTL), ==, 0x01c0);
    g_assert_cmphex(find("c")->regions[0].addr, ==, PCI_BAR_UNMAPPED);
    DEVICE(find("c"))->ask_again = 0;
    device_del_id("c", "");
    expect_events("");
    devices_reset();
    expect_events("DEVICE_DELETED:c ");
    g_assert_cmphex(exp_rd(port, PCI_EXP_SLTCTL), ==, 0x07c0);
    g_assert_cmphex(exp_rd(port, PCI_EXP_SLTSTA), ==, 0);
    port_end(port);
}

/* A guest that wakes up brings back an empty slot, and then sees that there is a card. */
static void test_wakeup(void)
{
    PCIDevice *port = port_driven();
    uint16_t before = exp_rd(port, PCI_EXP_SLTCTL);

    run_state_set_asleep(true);
    device_add_args(ADD_CARD, "");
    devices_wakeup();
    run_state_set_asleep(false);
    g_assert_cmphex(exp_rd(port, PCI_EXP_SLTCTL), ==, 0x01c0);
    g_assert_cmphex(exp_rd(port, PCI_EXP_SLTSTA), ==, PCI_EXP_SLTSTA_PDS);
    exp_wr(port, PCI_EXP_SLTCTL, before);
    expect_events("");
    g_assert_cmphex(take_events(port) & (PCI_EXP_SLTSTA_PDC | PCI_EXP_SLTSTA_ABP), ==,
                    PCI_EXP_SLTSTA_PDC | PCI_EXP_SLTSTA_ABP);
    power_up(port);
    g_assert_true(link_up(port));

    /* This one it has seen: switched off, it goes. */
    device_del_id("c", "");
    let_go(port);
    expect_events("DEVICE_DELETED:c ");
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

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/hotplug/registers", test_registers);
    g_test_add_func("/hotplug/chassis", test_chassis);
    g_test_add_func("/hotplug/reserves", test_reserves);
    g_test_add_func("/hotplug/prelaunch", test_prelaunch);
    g_test_add_func("/hotplug/refused", test_refused);
    g_test_add_func("/hotplug/running", vm_start); /* those behind need it */
    g_test_add_func("/hotplug/plug", test_plug);
    g_test_add_func("/hotplug/coming", test_coming);
    g_test_add_func("/hotplug/coming-late", test_coming_late);
    g_test_add_func("/hotplug/coming-to-nothing", test_coming_to_nothing);
    g_test_add_func("/hotplug/unplug", test_unplug);
    g_test_add_func("/hotplug/cancelled", test_cancelled);
    g_test_add_func("/hotplug/reset", test_reset);
    g_test_add_func("/hotplug/wakeup", test_wakeup);
    g_test_add_func("/hotplug/functions", test_functions);
    g_test_add_func("/hotplug/power", test_power);
    g_test_add_func("/hotplug/intx", test_intx);
    return hotplug_run();
}
