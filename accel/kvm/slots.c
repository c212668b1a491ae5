/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Memory slots: a listener that gives KVM every range that the guest may touch without an exit, be
 * it RAM or a mapped BAR.  A slot is one range, whole pages of it; the rest of a range that does
 * not fill a page is served by exits, as everything is that has no slot.  Main thread or a vCPU
 * thread, machine lock held.
 *
 * Taking a slot away and putting another in its place is two calls; a vCPU that touches the address
 * in between exits and is served through the new flat view, so no access is lost.  (Code can not be
 * fetched that way: nothing may re-render RAM that a running guest executes from.)
 */
#include "kvm-int.h"

#include <errno.h>
#include <inttypes.h>
#include <unistd.h>

#include "util/error.h"
#include "util/trace.h"

static GArray *slots; /* KVMSlot by slot number */
static unsigned max_slots;
static uint32_t log_flag; /* KVM_MEM_LOG_DIRTY_PAGES while dirty pages are tracked */

/* The whole pages of @range; false when there are none. */
static bool whole_pages(const MemoryRange *range, uint64_t *gpa, uint64_t *size, void **host)
{
    uint64_t page = sysconf(_SC_PAGESIZE);
    uint64_t start = (range->addr + page - 1) & ~(page - 1);
    uint64_t end = (range->addr + range->size) & ~(page - 1);
    char *base = memory_range_host(range);

    if (start < range->addr || end <= start || !base) {
        return false;
    }
    *gpa = start;
    *size = end - start;
    *host = base + (start - range->addr);
    return ((uintptr_t)*host & (page - 1)) == 0;
}

static bool has_memory(const MemoryRange *range)
{
    return range->mr->kind == REGION_RAM || range->mr->kind == REGION_RAM_DEVICE;
}

/* @size 0 takes it away. */
static int set_slot(unsigned nr, const KVMSlot *slot, uint64_t size)
{
    struct kvm_userspace_memory_region region = {
        .slot = nr,
        .flags = slot->flags | (slot->block ? log_flag : 0),
        .guest_phys_addr = slot->gpa,
        .memory_size = size,
        .userspace_addr = (uintptr_t)slot->host,
    };

    TRACE("kvm_set_user_memory", "slot %u flags 0x%x gpa 0x%" PRIx64 " size 0x%" PRIx64 " host %p",
          nr, region.flags, slot->gpa, size, slot->host);
    return kvm_vm_ioctl(KVM_SET_USER_MEMORY_REGION, &region);
}

void kvm_slots_foreach(void (*fn)(unsigned nr, const KVMSlot *slot, void *opaque), void *opaque)
{
    for (unsigned nr = 0; nr < slots->len; nr++) {
        const KVMSlot *slot = &g_array_index(slots, KVMSlot, nr);

        if (slot->size && slot->block) {
            fn(nr, slot, opaque);
        }
    }
}

int kvm_slots_log(bool on)
{
    log_flag = on ? KVM_MEM_LOG_DIRTY_PAGES : 0;
    for (unsigned nr = 0; nr < slots->len; nr++) {
        const KVMSlot *slot = &g_array_index(slots, KVMSlot, nr);
        int ret = slot->size && slot->block ? set_slot(nr, slot, slot->size) : 0;

        if (ret < 0) {
            return ret;
        }
    }
    return 0;
}

/* A guest can put a BAR where KVM has no place for it, again and again: its accesses just trap. */
static bool no_slot(const MemoryRange *range, GError *err, GError **errp)
{
    static bool said;

    if (range->mr->kind != REGION_RAM_DEVICE) {
        g_propagate_error(errp, err);
        return false;
    }
    TRACE("kvm_no_slot", "%s", err->message);
    if (!said) {
        warn_report("%s; the guest reaches it all the same, but slowly (said once)", err->message);
        said = true;
    }
    g_error_free(err);
    return true;
}

static bool region_add(MemoryListener *l, const MemoryRange *range, GError **errp)
{
    GError *err = NULL;
    KVMSlot slot = {
        .flags = range->readonly ? KVM_MEM_READONLY : 0,
        .block = range->mr->kind == REGION_RAM ? range->mr->block : NULL,
    };
    unsigned nr = 0;
    int ret;

    if (!has_memory(range) || !whole_pages(range, &slot.gpa, &slot.size, &slot.host)) {
        return true;
    }
    while (nr < slots->len && g_array_index(slots, KVMSlot, nr).size) {
        nr++;
    }
    if (nr == max_slots) {
        error_set(&err, "KVM has no memory slot left (of %u) for '%s' at 0x%" PRIx64 "-0x%" PRIx64,
                  max_slots, range->mr->name, slot.gpa, slot.gpa + slot.size - 1);
        return no_slot(range, err, errp);
    }
    ret = set_slot(nr, &slot, slot.size);
    if (ret < 0) {
        error_set_errno(&err, -ret, "KVM cannot map '%s' at 0x%" PRIx64 "-0x%" PRIx64,
                        range->mr->name, slot.gpa, slot.gpa + slot.size - 1);
        return no_slot(range, err, errp);
    }
    if (nr == slots->len) {
        g_array_append_val(slots, slot);
    } else {
        g_array_index(slots, KVMSlot, nr) = slot;
    }
    return true;
}

static void region_del(MemoryListener *l, const MemoryRange *range)
{
    uint64_t gpa, size;
    void *host;

    if (!has_memory(range) || !whole_pages(range, &gpa, &size, &host)) {
        return;
    }
    for (unsigned nr = 0; nr < slots->len; nr++) {
        KVMSlot *slot = &g_array_index(slots, KVMSlot, nr);

        if (slot->size == size && slot->gpa == gpa) {
            int ret = set_slot(nr, slot, 0);

            if (ret < 0) {
                error_report("KVM cannot unmap '%s' at 0x%" PRIx64 "-0x%" PRIx64 ": %s",
                             range->mr->name, gpa, gpa + size - 1, g_strerror(-ret));
            }
            slot->size = 0;
            return;
        }
    }
}

bool kvm_slots_init(GError **errp)
{
    static MemoryListener listener = {
        .name = "kvm",
        .priority = 10,
        .region_add = region_add,
        .region_del = region_del,
    };

    /* Kernels that do not say how many they have, have 32. */
    max_slots = kvm_check_extension(KVM_CAP_NR_MEMSLOTS) ?: 32;
    slots = g_array_new(false, true, sizeof(KVMSlot));
    return memory_listener_register(&listener, &address_space_memory, errp);
}
