/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A slot's life, as its hot-plug controller shows it to the guest.
 *
 * A card comes: presence changes and the attention button is pressed; the guest powers the slot on
 * and the link comes up.  device_del presses the button; the guest blinks the power indicator for
 * five seconds, in which it can be told or decide otherwise, lets its drivers go, takes the power
 * away and, when that is done, switches the indicator off: then the card is taken out.  So a guest
 * that switches both off by itself ejects the card.  An indicator that goes from blinking back to
 * on is the guest's no.
 *
 * Before a guest runs nobody need be told: cards come and go, and the slot is what a reset would
 * make it.
 */
#include "hw/pci/slot.h"

#include "core/runstate.h"
#include "hw/pci/internal.h"
#include "hw/pci/msi.h"
#include "util/error.h"
#include "util/trace.h"

#define EXP_CAP_SIZE 0x3c /* all of version 2 */
#define SLOT_NR_MAX  0x1fff

#define SLTCTL_INTERRUPTS                                                                    \
    (PCI_EXP_SLTCTL_ABPE | PCI_EXP_SLTCTL_PDCE | PCI_EXP_SLTCTL_CCIE | PCI_EXP_SLTCTL_HPIE | \
     PCI_EXP_SLTCTL_DLLSCE)
#define SLTCTL_WRITABLE \
    (SLTCTL_INTERRUPTS | PCI_EXP_SLTCTL_AIC | PCI_EXP_SLTCTL_PIC | PCI_EXP_SLTCTL_PCC)

/* 16 GT/s on 16 lanes: nothing here is as slow as a link. */
#define LINK_SPEED 4
#define LINK_WIDTH 16

/* Events in Slot Status, and what in Slot Control lets each interrupt. */
static const struct {
    uint16_t status, control;
} events[] = {
    { PCI_EXP_SLTSTA_ABP, PCI_EXP_SLTCTL_ABPE },
    { PCI_EXP_SLTSTA_PDC, PCI_EXP_SLTCTL_PDCE },
    { PCI_EXP_SLTSTA_CC, PCI_EXP_SLTCTL_CCIE },
    { PCI_EXP_SLTSTA_DLLSC, PCI_EXP_SLTCTL_DLLSCE },
};
#define ALL_EVENTS \
    (PCI_EXP_SLTSTA_ABP | PCI_EXP_SLTSTA_PDC | PCI_EXP_SLTSTA_CC | PCI_EXP_SLTSTA_DLLSC)

DEFINE_OBJECT_TYPE(PCIESlot, pcie_slot, "pcie-slot", TYPE_PCI_BRIDGE, G_TYPE_FLAG_ABSTRACT)

static const Property pcie_slot_properties[] = {
    PROP_UINT8("chassis", PCIESlot, chassis, 0, .help = "chassis that the slot is in"),
    PROP_UINT16("slot", PCIESlot, slot, 0, .help = "number of the slot in its chassis"),
    PROP_UINT8("port", PCIESlot, port, 0, .help = "port number, as the guest sees it"),
    PROP_BOOL("hotplug", PCIESlot, hotplug, true, .help = "devices may come and go"),
};

/* ---- registers ---- */

static uint8_t *reg(PCIESlot *s, unsigned offset)
{
    return PCI_DEVICE(s)->config + s->exp_cap + offset;
}

static uint16_t control(PCIESlot *s)
{
    return pci_get_word(reg(s, PCI_EXP_SLTCTL));
}

static void change(PCIESlot *s, unsigned offset, uint16_t clear, uint16_t set)
{
    pci_set_word(reg(s, offset), (uint16_t)((pci_get_word(reg(s, offset)) & ~clear) | set));
}

/* The function by which the guest knows that there is a card; NULL: none, or not complete yet. */
static PCIDevice *card(PCIESlot *s)
{
    return pci_bus_device(PCI_BRIDGE(s)->sec, 0);
}

static bool is_occupied(PCIESlot *s)
{
    return card(s) || s->coming;
}

static bool has_power(PCIESlot *s)
{
    return !s->hotplug || !(control(s) & PCI_EXP_SLTCTL_PCC);
}

static bool is_off(uint16_t ctl)
{
    return ctl & PCI_EXP_SLTCTL_PCC && (ctl & PCI_EXP_SLTCTL_PIC) == PCI_EXP_SLTCTL_PWR_IND_OFF;
}

static bool is_blinking(uint16_t ctl)
{
    return (ctl & PCI_EXP_SLTCTL_PIC) == PCI_EXP_SLTCTL_PWR_IND_BLINK;
}

/* ---- interrupts ---- */

static void update_interrupt(PCIESlot *s)
{
    PCIDevice *dev = PCI_DEVICE(s);
    uint16_t status = pci_get_word(reg(s, PCI_EXP_SLTSTA)), ctl = control(s);
    bool interrupted = false;

    for (size_t i = 0; i < G_N_ELEMENTS(events); i++) {
        interrupted |= status & events[i].status && ctl & events[i].control;
    }
    interrupted &= (ctl & PCI_EXP_SLTCTL_HPIE) != 0;
    if (interrupted && !s->interrupted && msi_enabled(dev)) {
        irq_send_msi(msi_message(dev, 0));
    }
    s->interrupted = interrupted;
    pci_set_intx(dev, interrupted);
}

static void raise_event(PCIESlot *s, uint16_t status)
{
    TRACE("pcie_slot_event", "%s status 0x%x control 0x%x", PCI_BRIDGE(s)->sec->name, status,
          control(s));
    change(s, PCI_EXP_SLTSTA, 0, status);
    update_interrupt(s);
}

/* ---- states ---- */

/* The link is up while there is a card with power; configuration cycles need no card. */
static void update_link(PCIESlot *s)
{
    bool was_up = pci_get_word(reg(s, PCI_EXP_LNKSTA)) & PCI_EXP_LNKSTA_DLLLA;
    bool up = is_occupied(s) && has_power(s);
    uint16_t bits = PCI_EXP_LNKSTA_DLLLA | LINK_WIDTH << PCI_EXP_LNKSTA_NLW_SHIFT | LINK_SPEED;

    PCI_BRIDGE(s)->sec->off = !has_power(s);
    change(s, PCI_EXP_LNKSTA, bits, up ? bits : 0);
    if (up != was_up) {
        change(s, PCI_EXP_SLTSTA, 0, PCI_EXP_SLTSTA_DLLSC);
    }
}

static void update_presence(PCIESlot *s)
{
    change(s, PCI_EXP_SLTSTA, PCI_EXP_SLTSTA_PDS, is_occupied(s) ? PCI_EXP_SLTSTA_PDS : 0);
    update_link(s);
}

/* As a reset leaves it: with a card, on. */
static void slot_init(PCIESlot *s)
{
    uint16_t ctl = PCI_EXP_SLTCTL_ATTN_IND_OFF;

    ctl |= card(s) ? PCI_EXP_SLTCTL_PWR_IND_ON : PCI_EXP_SLTCTL_PWR_IND_OFF | PCI_EXP_SLTCTL_PCC;
    pci_set_word(reg(s, PCI_EXP_SLTCTL), s->hotplug ? ctl : 0);
    update_presence(s);
    change(s, PCI_EXP_SLTSTA, ALL_EVENTS, 0);
    s->lost_power = false;
    s->trial &= run_state_is_asleep(); /* what it writes when it wakes up is what it had before */
    update_interrupt(s);
}

/* Nothing moves any more, above all no DMA; what the card's registers held is lost. */
static void quiet(PCIDevice *dev, void *opaque)
{
    pci_config_write(dev, PCI_COMMAND, 0, 2);
}

static void power_off(PCIESlot *s)
{
    pci_bus_walk(PCI_BRIDGE(s)->sec, quiet, NULL);
    s->lost_power = true;
    s->given_up = s->coming;
}

/* A reset of a real device takes its time, so it waits for the power to come back, if ever. */
static void power_on(PCIESlot *s)
{
    if (s->lost_power) {
        pci_bridge_reset_behind(PCI_BRIDGE(s));
    }
    s->lost_power = s->given_up = false;
}

static void eject(PCIESlot *s)
{
    PCIBus *bus = PCI_BRIDGE(s)->sec;

    /* Function 0 is the last: while it is there the guest is told of no change. */
    for (int devfn = (int)G_N_ELEMENTS(bus->devices) - 1; devfn >= 0; devfn--) {
        if (bus->devices[devfn]) {
            device_destroy(DEVICE(bus->devices[devfn]));
        }
    }
}

static void pend(PCIDevice *dev, void *opaque)
{
    device_unplug_pending(DEVICE(dev));
}

static void refused(PCIDevice *dev, void *opaque)
{
    device_unplug_refused(DEVICE(dev));
}

/* ---- what the guest does ---- */

static void control_written(PCIESlot *s, uint16_t old)
{
    uint16_t now = control(s);

    TRACE("pcie_slot_control", "%s 0x%x was 0x%x", PCI_BRIDGE(s)->sec->name, now, old);
    if (~old & now & PCI_EXP_SLTCTL_PCC) {
        power_off(s);
    } else if (old & ~now & PCI_EXP_SLTCTL_PCC) {
        power_on(s);
    }
    update_link(s);
    s->trial &= (now & PCI_EXP_SLTCTL_PIC) != PCI_EXP_SLTCTL_PWR_IND_ON;
    if (card(s) && is_off(now) && !is_off(old) && s->trial && !DEVICE(card(s))->pending_deleted) {
        /* It had waited too long for the card and has not seen that it is there now. */
        s->trial = false;
        change(s, PCI_EXP_SLTSTA, 0, PCI_EXP_SLTSTA_PDC | PCI_EXP_SLTSTA_ABP);
    } else if (card(s) && is_off(now) && !is_off(old)) {
        eject(s);
    } else if (is_blinking(old) && has_power(s) &&
               (now & PCI_EXP_SLTCTL_PIC) == PCI_EXP_SLTCTL_PWR_IND_ON) {
        pci_bus_foreach(PCI_BRIDGE(s)->sec, refused, NULL);
    }
    change(s, PCI_EXP_SLTSTA, 0, PCI_EXP_SLTSTA_CC);
}

static void pcie_slot_write_config(PCIDevice *dev, uint32_t addr, uint32_t val, unsigned len)
{
    PCIESlot *s = PCIE_SLOT(dev);
    uint16_t old = control(s);

    PCI_DEVICE_CLASS(pcie_slot_parent_class)->config_write(dev, addr, val, len);
    if (s->hotplug && ranges_overlap(addr, len, s->exp_cap + PCI_EXP_SLTCTL, 2)) {
        control_written(s, old);
    }
    update_interrupt(s);
}

/* ---- what the user does ---- */

/* The guest's way to a card that it can talk to takes more than 100 ms; opening a device, too. */
static void pcie_slot_coming(PCIBridge *bridge, bool coming)
{
    PCIESlot *s = PCIE_SLOT(bridge);

    if (run_state() == RUN_STATE_PRELAUNCH || s->coming == coming) {
        return;
    }
    s->coming = coming;
    s->given_up = false;
    s->lost_power = false; /* that was another card */
    update_presence(s);
    raise_event(s, PCI_EXP_SLTSTA_PDC | (coming ? PCI_EXP_SLTSTA_ABP : 0));
}

static void pcie_slot_plugged(PCIBridge *bridge, PCIDevice *dev)
{
    PCIESlot *s = PCIE_SLOT(bridge);
    bool awaited = s->coming && !s->given_up;

    if (PCI_FUNC(dev->devfn)) {
        return;
    }
    s->trial = (s->coming || run_state_is_asleep()) &&
               (control(s) & PCI_EXP_SLTCTL_PIC) != PCI_EXP_SLTCTL_PWR_IND_ON;
    s->coming = false;
    if (run_state() == RUN_STATE_PRELAUNCH) {
        slot_init(s);
        return;
    }
    s->lost_power = false; /* that was another card */
    update_presence(s);
    if (!awaited) {
        raise_event(s, PCI_EXP_SLTSTA_PDC | PCI_EXP_SLTSTA_ABP);
    }
}

static void pcie_slot_unplugged(PCIBridge *bridge, PCIDevice *dev)
{
    PCIESlot *s = PCIE_SLOT(bridge);

    if (PCI_FUNC(dev->devfn)) {
        return;
    }
    if (run_state() == RUN_STATE_PRELAUNCH) {
        slot_init(s);
        return;
    }
    update_presence(s);
    raise_event(s, PCI_EXP_SLTSTA_PDC);
}

static bool pcie_slot_unplug_request(PCIBridge *bridge, PCIDevice *dev, GError **errp)
{
    PCIESlot *s = PCIE_SLOT(bridge);

    if (!card(s)) { /* a function that no guest has seen */
        device_destroy(DEVICE(dev));
        return true;
    }
    if (run_state() == RUN_STATE_PRELAUNCH || is_off(control(s))) {
        change(s, PCI_EXP_SLTSTA, PCI_EXP_SLTSTA_ABP, 0); /* from when it came */
        eject(s);
        return true;
    }
    if (is_blinking(control(s))) {
        return error_set(errp, "Hot-unplug failed: guest is busy (power indicator blinking)");
    }
    pci_bus_foreach(bridge->sec, pend, NULL);
    raise_event(s, PCI_EXP_SLTSTA_ABP);
    return true;
}

/* ---- migration ---- */

static bool pcie_slot_pre_save(void *opaque, GError **errp)
{
    PCIESlot *s = opaque;

    if (s->coming) {
        g_autofree char *name = pci_device_name(opaque);

        return error_set(errp, "%s: a card is just being plugged", name);
    }
    return pci_device_pre_save(opaque, errp);
}

/* Presence, link and power follow from what is there and what the guest wants; no event comes. */
static bool pcie_slot_post_load(void *opaque, GError **errp)
{
    PCIESlot *s = opaque;
    uint16_t pending;

    if (!pci_bridge_post_load(opaque, errp)) {
        return false;
    }
    pending = pci_get_word(reg(s, PCI_EXP_SLTSTA)) & ALL_EVENTS;
    update_presence(s);
    change(s, PCI_EXP_SLTSTA, ALL_EVENTS, pending);
    update_interrupt(s);
    return true;
}

static const VMStateField pcie_slot_fields[] = {
    VMSTATE_STRUCT(PCIESlot, parent.parent, pci_device_fields),
    VMSTATE_BOOL(PCIESlot, interrupted),
    VMSTATE_BOOL(PCIESlot, trial),
    VMSTATE_BOOL(PCIESlot, given_up),
    VMSTATE_BOOL(PCIESlot, lost_power),
    VMSTATE_END,
};

static const VMState pcie_slot_vmstate = {
    .name = "pcie-slot",
    .version = 1,
    .priority = VMS_PRIORITY_BUS,
    .fields = pcie_slot_fields,
    .pre_save = pcie_slot_pre_save,
    .post_load = pcie_slot_post_load,
};

/* ---- slots know each other ---- */

static GPtrArray *slots; /* realized ones; borrowed */

static bool check_slot(PCIESlot *s, GError **errp)
{
    if (s->slot > SLOT_NR_MAX) {
        return error_set(errp, "Property '%s.slot' doesn't take value '%u': at most %u",
                         G_OBJECT_TYPE_NAME(s), s->slot, SLOT_NR_MAX);
    }
    for (guint i = 0; slots && i < slots->len; i++) {
        PCIESlot *other = slots->pdata[i];

        if (other->chassis == s->chassis && other->slot == s->slot) {
            g_autofree char *name = pci_device_name(PCI_DEVICE(other));

            return error_set(errp, "Can't add chassis slot: chassis %u, slot %u is in use by %s",
                             s->chassis, s->slot, name);
        }
    }
    return true;
}

/* ---- life ---- */

static void init_registers(PCIESlot *s)
{
    PCIDevice *dev = PCI_DEVICE(s);
    uint8_t *wmask = dev->wmask + s->exp_cap, *w1cmask = dev->w1cmask + s->exp_cap;
    uint32_t slot_cap = (uint32_t)s->slot << 19;

    pci_set_word(reg(s, PCI_EXP_FLAGS),
                 (uint16_t)(2 | PCIE_SLOT_GET_CLASS(s)->port_type << 4 | PCI_EXP_FLAGS_SLOT));
    pci_set_long(reg(s, PCI_EXP_DEVCAP), PCI_EXP_DEVCAP_RBER);
    pci_set_word(wmask + PCI_EXP_DEVCTL, PCI_EXP_DEVCTL_CERE | PCI_EXP_DEVCTL_NFERE |
                                             PCI_EXP_DEVCTL_FERE | PCI_EXP_DEVCTL_URRE);
    pci_set_word(w1cmask + PCI_EXP_DEVSTA, PCI_EXP_DEVSTA_CED | PCI_EXP_DEVSTA_NFED |
                                               PCI_EXP_DEVSTA_FED | PCI_EXP_DEVSTA_URD);
    pci_set_long(reg(s, PCI_EXP_LNKCAP), (uint32_t)s->port << 24 | PCI_EXP_LNKCAP_DLLLARC |
                                             LINK_WIDTH << PCI_EXP_LNKSTA_NLW_SHIFT | LINK_SPEED);
    pci_set_long(reg(s, PCI_EXP_LNKCAP2), ((1U << LINK_SPEED) - 1) << 1); /* all up to that */
    pci_set_word(reg(s, PCI_EXP_LNKCTL2), LINK_SPEED);
    pci_set_word(dev->varies + s->exp_cap + PCI_EXP_LNKSTA, UINT16_MAX);
    pci_set_word(dev->varies + s->exp_cap + PCI_EXP_SLTSTA, PCI_EXP_SLTSTA_PDS);
    if (s->hotplug) {
        slot_cap |= PCI_EXP_SLTCAP_ABP | PCI_EXP_SLTCAP_PCP | PCI_EXP_SLTCAP_AIP |
                    PCI_EXP_SLTCAP_PIP | PCI_EXP_SLTCAP_HPS | PCI_EXP_SLTCAP_HPC;
        pci_set_word(wmask + PCI_EXP_SLTCTL, SLTCTL_WRITABLE);
        pci_set_word(w1cmask + PCI_EXP_SLTSTA, ALL_EVENTS);
    }
    pci_set_long(reg(s, PCI_EXP_SLTCAP), slot_cap);
}

static bool pcie_slot_realize(PCIDevice *dev, GError **errp)
{
    PCIDeviceClass *parent = PCI_DEVICE_CLASS(pcie_slot_parent_class);
    PCIESlot *s = PCIE_SLOT(dev);
    int cap;

    if (!check_slot(s, errp) || !parent->realize(dev, errp)) {
        return false;
    }
    cap = pci_add_capability(dev, PCI_CAP_ID_EXP, 0, EXP_CAP_SIZE, errp);
    if (cap < 0 || !msi_init(dev, 0, 1, true, false, errp)) {
        parent->exit(dev);
        return false;
    }
    s->exp_cap = (uint8_t)cap;
    dev->config[PCI_INTERRUPT_PIN] = 1;
    PCI_BRIDGE(s)->sec->hotplug = s->hotplug;
    init_registers(s);
    slot_init(s);
    if (!slots) {
        slots = g_ptr_array_new();
    }
    g_ptr_array_add(slots, s);
    return true;
}

static void pcie_slot_exit(PCIDevice *dev)
{
    pci_set_word(reg(PCIE_SLOT(dev), PCI_EXP_SLTCTL), 0); /* what goes along interrupts nobody */
    PCI_DEVICE_CLASS(pcie_slot_parent_class)->exit(dev);
    g_ptr_array_remove(slots, dev);
}

static void pcie_slot_reset(PCIDevice *dev)
{
    PCIESlot *s = PCIE_SLOT(dev);

    PCI_DEVICE_CLASS(pcie_slot_parent_class)->reset(dev);
    pci_set_word(reg(s, PCI_EXP_DEVCTL), 0);
    slot_init(s);
}

static void pcie_slot_init(PCIESlot *self)
{
}

static void pcie_slot_class_init(PCIESlotClass *klass)
{
    PCIDeviceClass *pc = PCI_DEVICE_CLASS(klass);
    PCIBridgeClass *bc = PCI_BRIDGE_CLASS(klass);

    pc->express = true;
    pc->vmstate = &pcie_slot_vmstate;
    pc->realize = pcie_slot_realize;
    pc->exit = pcie_slot_exit;
    pc->reset = pcie_slot_reset;
    pc->config_write = pcie_slot_write_config;
    bc->slots = 1;
    bc->coming = pcie_slot_coming;
    bc->plugged = pcie_slot_plugged;
    bc->unplugged = pcie_slot_unplugged;
    bc->unplug_request = pcie_slot_unplug_request;
    object_class_add_properties(klass, pcie_slot_properties, G_N_ELEMENTS(pcie_slot_properties));
}
