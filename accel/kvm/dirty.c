/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The dirty log: which pages of RAM vCPUs have written.  Where KVM lets us
 * (KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2), reading it costs no write protection: pages are protected
 * again when they are cleared, just before they are sent, a chunk at a time and in the thread that
 * sends them; and at the start nothing is protected at all, for everything counts as dirty.  Else
 * the kernel clears the log while it is read.
 *
 * The slots of RAM do not change while the log is on: the table that clear() reads without the
 * machine lock is made at the start.
 */
#include "kvm-int.h"

#include <inttypes.h>
#include <string.h>

#include "util/error.h"

typedef struct LoggedSlot {
    unsigned nr;
    RAMBlock *block;
    uint64_t offset, pages; /* of RAM_DIRTY_PAGE in the block: a slot is whole pages of 4 KiB */
    uint64_t *bitmap;       /* of the slot's pages, as KVM has it */
} LoggedSlot;

static GArray *logged; /* NULL: off */
static bool manual;

static void add_slot(unsigned nr, const KVMSlot *slot, void *opaque)
{
    LoggedSlot l = {
        .nr = nr,
        .block = slot->block,
        .offset = (char *)slot->host - (char *)slot->block->host,
        .pages = slot->size / RAM_DIRTY_PAGE,
    };
    bool *no_memory = opaque;

    l.bitmap = g_try_new0(uint64_t, (l.pages + 63) / 64);
    *no_memory |= !l.bitmap;
    g_array_append_val(logged, l);
}

static void free_table(void)
{
    for (guint i = 0; i < logged->len; i++) {
        g_free(g_array_index(logged, LoggedSlot, i).bitmap);
    }
    g_clear_pointer(&logged, g_array_unref);
}

static void choose_mode(void)
{
    struct kvm_enable_cap cap = {
        .cap = KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2,
        .args = { kvm_check_extension(KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2) &
                  (KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE | KVM_DIRTY_LOG_INITIALLY_SET) },
    };

    manual = (cap.args[0] & KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE) &&
             kvm_vm_ioctl(KVM_ENABLE_CAP, &cap) >= 0;
}

bool kvm_dirty_start(GError **errp)
{
    bool no_memory = false;
    int ret;

    logged = g_array_new(FALSE, TRUE, sizeof(LoggedSlot));
    kvm_slots_foreach(add_slot, &no_memory);
    if (no_memory) {
        free_table();
        return error_set(errp, "KVM: no memory for the dirty log");
    }
    choose_mode();
    ret = kvm_slots_log(true);
    if (ret < 0) {
        kvm_dirty_stop();
        return error_set_errno(errp, -ret, "KVM cannot log dirty pages");
    }
    return true;
}

/* What KVM cannot tell counts as dirty. */
static void sync_slot(LoggedSlot *l)
{
    struct kvm_dirty_log log = { .slot = l->nr, .dirty_bitmap = l->bitmap };
    int ret = kvm_vm_ioctl(KVM_GET_DIRTY_LOG, &log);

    if (ret < 0) {
        warn_report("KVM_GET_DIRTY_LOG of slot %u: %s; all of it counts as dirty", l->nr,
                    g_strerror(-ret));
        ram_block_set_dirty(l->block, l->offset, l->pages * RAM_DIRTY_PAGE);
        return;
    }
    ram_block_merge_dirty(l->block, l->offset, l->pages, l->bitmap);
}

void kvm_dirty_sync(void)
{
    for (guint i = 0; i < logged->len; i++) {
        sync_slot(&g_array_index(logged, LoggedSlot, i));
    }
}

/* Pages @page … @page + @n - 1 of the slot, of which @bits says which. */
static void clear_pages(const LoggedSlot *l, uint64_t page, uint64_t n, const uint64_t *bits)
{
    struct kvm_clear_dirty_log log = {
        .slot = l->nr,
        .num_pages = n,
        .first_page = page,
        .dirty_bitmap = (void *)bits,
    };
    int ret = kvm_vm_ioctl(KVM_CLEAR_DIRTY_LOG, &log);

    if (ret < 0) { /* they stay dirty, and are sent again */
        warn_report("KVM_CLEAR_DIRTY_LOG of slot %u: %s", l->nr, g_strerror(-ret));
    }
}

void kvm_dirty_clear(RAMBlock *block, uint64_t page, uint64_t n, const uint64_t *bits)
{
    for (guint i = 0; manual && i < logged->len; i++) {
        const LoggedSlot *l = &g_array_index(logged, LoggedSlot, i);
        uint64_t first = l->offset / RAM_DIRTY_PAGE;
        uint64_t start = MAX(page, first), end = MIN(page + n, first + l->pages);

        if (l->block == block && start < end) {
            clear_pages(l, start - first, end - start, bits + (start - page) / 64);
        }
    }
}

void kvm_dirty_stop(void)
{
    int ret = kvm_slots_log(false);

    if (ret < 0) {
        warn_report("KVM cannot stop logging dirty pages: %s", g_strerror(-ret));
    }
    free_table();
}
