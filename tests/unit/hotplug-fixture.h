/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the tests of hot-plug share: a root port, a card for it, the user who speaks
 * QMP, and the guest's driver, which knows the port by its registers.
 */
#ifndef VIADUCT_TESTS_UNIT_HOTPLUG_FIXTURE_H
#define VIADUCT_TESTS_UNIT_HOTPLUG_FIXTURE_H

#include "core/runstate.h"
#include "tests/unit/pci-fixture.h"

/* Makes the machine, in prelaunch, and a QMP session; runs the tests. */
int hotplug_run(void);

/* ---- "test-card": a test-pci with one 64-bit prefetchable BAR of 1 MiB ---- */

extern int cards, resets; /* realized ones; resets of any */
/* What the guest does while a card comes that needs time; NULL: cards are quick. */
extern void (*while_coming)(void);
extern bool card_fails; /* it comes to nothing */

/* ---- the user; @answer is "" for success or the error's description ---- */

#define ADD_CARD "'driver':'test-card','id':'c','bus':'rp'"
void device_add_args(const char *args, const char *answer);
void device_del_id(const char *id, const char *answer);
/* The events since the last time: "NAME:device " each, '?' for a device without an id. */
void expect_events(const char *names);

/* ---- the guest ---- */

#define EVENTS (PCI_EXP_SLTSTA_ABP | PCI_EXP_SLTSTA_PDC | PCI_EXP_SLTSTA_CC | PCI_EXP_SLTSTA_DLLSC)
#define ENABLE \
    (PCI_EXP_SLTCTL_ABPE | PCI_EXP_SLTCTL_CCIE | PCI_EXP_SLTCTL_HPIE | PCI_EXP_SLTCTL_DLLSCE)

extern int messages; /* MSIs since they were counted last */
void expect_messages(int n);
/* The PCI Express capability. */
uint16_t exp_rd(PCIDevice *port, unsigned reg);
void exp_wr(PCIDevice *port, unsigned reg, uint16_t val);
/* The events that there are, which are then cleared. */
uint16_t take_events(PCIDevice *port);
/* These five take the events along: the command's completion must be among them. */
void set_control(PCIDevice *port, uint16_t mask, uint16_t value);
void indicate(PCIDevice *port, uint16_t indicator);
void power(PCIDevice *port, bool on);
void power_up(PCIDevice *port);
void let_go(PCIDevice *port);
bool present(PCIDevice *port);
bool link_up(PCIDevice *port);
/* What the guest reads as the ids of the function behind the port. */
uint32_t ids_behind(PCIDevice *port, int devfn);

/* ---- ports ---- */

PCIDevice *find(const char *id);
/* -device, on a machine that is being built. */
bool cold(const char *opts, GError **errp);
/* pcie-root-port,id=rp with more options, with its resources. */
PCIDevice *port_new(const char *more);
/* The same as a guest's driver has set it up, with MSI. */
PCIDevice *port_driven(void);
/* Takes it away, with what is behind it. */
void port_end(PCIDevice *port);

#endif
