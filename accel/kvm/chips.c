/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The board's chips that KVM keeps: two PICs, the IOAPIC, the timer.  As with vCPUs, a reset and a
 * migration put the same things back.
 *
 * The levels of lines are not among them: who drives a line tells it anew.
 * Main thread, machine lock held, all vCPUs stand still.
 */
#include "kvm-int.h"

#include "migration/vmstate.h"
#include "util/error.h"

static const char *const names[] = {
    [KVM_IRQCHIP_PIC_MASTER] = "master PIC",
    [KVM_IRQCHIP_PIC_SLAVE] = "slave PIC",
    [KVM_IRQCHIP_IOAPIC] = "IOAPIC",
};

static bool transfer(KVMChips *chips, bool set, GError **errp)
{
    const char *verb = set ? "set" : "get";
    int ret;

    for (unsigned i = 0; i < KVM_NR_IRQCHIPS; i++) {
        chips->irqchip[i].chip_id = i;
        ret = kvm_vm_ioctl(set ? KVM_SET_IRQCHIP : KVM_GET_IRQCHIP, &chips->irqchip[i]);
        if (ret < 0) {
            return error_set_errno(errp, -ret, "%s: cannot %s its state", names[i], verb);
        }
    }
    ret = kvm_vm_ioctl(set ? KVM_SET_PIT2 : KVM_GET_PIT2, &chips->pit);
    return ret >= 0 || error_set_errno(errp, -ret, "timer (PIT): cannot %s its state", verb);
}

bool kvm_chips_get(KVMChips *chips, GError **errp)
{
    return transfer(chips, false, errp);
}

bool kvm_chips_put(KVMChips *chips, GError **errp)
{
    return transfer(chips, true, errp);
}

/* ---- as a state that migrates ---- */

static KVMChips migrated;

/* The timer's counters run from a time of the host's clock on: in the stream it is how long ago. */
static void shift_pit(struct kvm_pit_state2 *pit, int64_t ns)
{
    for (size_t i = 0; i < G_N_ELEMENTS(pit->channels); i++) {
        /* Of hostile streams, too. */
        pit->channels[i].count_load_time =
            (int64_t)((uint64_t)pit->channels[i].count_load_time + (uint64_t)ns);
    }
}

static bool chips_pre_save(void *opaque, GError **errp)
{
    if (!kvm_chips_get(&migrated, errp)) {
        return false;
    }
    shift_pit(&migrated.pit, -g_get_monotonic_time() * 1000);
    return true;
}

static bool chips_post_load(void *opaque, GError **errp)
{
    shift_pit(&migrated.pit, g_get_monotonic_time() * 1000);
    return kvm_reset_capture(errp) && kvm_chips_put(&migrated, errp);
}

#define CHIP(nr, as)                                                                              \
    {                                                                                             \
        .name = as, .kind = VMS_BYTES, .offset = offsetof(KVMChips, irqchip[nr].chip), .size = 1, \
        .count = VMS_SIZEOF(KVMChips, irqchip[nr].chip)                                           \
    }

static const VMStateField chips_fields[] = {
    CHIP(KVM_IRQCHIP_PIC_MASTER, "pic_master"),
    CHIP(KVM_IRQCHIP_PIC_SLAVE, "pic_slave"),
    CHIP(KVM_IRQCHIP_IOAPIC, "ioapic"),
    VMSTATE_BYTES(KVMChips, pit),
    VMSTATE_END,
};

static const VMState chips_vmstate = {
    .name = "kvm-irqchip",
    .version = 1,
    .priority = VMS_PRIORITY_CHIPS,
    .fields = chips_fields,
    .pre_save = chips_pre_save,
    .post_load = chips_post_load,
};

void kvm_chips_vmstate_register(void)
{
    vmstate_register("irqchip", 0, &chips_vmstate, &migrated);
}
