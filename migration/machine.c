/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What both sides must have in common, as text, a line each, in an order that both make: machine
 * type, RAM blocks and their sizes, states and their versions, sections.  It comes before anything
 * else, so that another machine is refused by its first difference while nothing is loaded.
 */
#include "internal.h"

#include <string.h>

#include "core/machine.h"
#include "migration/vmstate.h"
#include "util/error.h"

#define KEPT "memory that stays in its files (x-ignore-shared)"

static char *describe_block(const RAMBlock *block, const char *file)
{
    return g_strdup_printf("RAM block '%s' of %" G_GUINT64_FORMAT " bytes%s%s", block->idstr,
                           block->size, file ? " in the file " : "", file ?: "");
}

char *migration_machine_describe(GPtrArray *sections, const GPtrArray *files)
{
    GString *text = g_string_new(NULL);
    g_autofree char *states = vmstate_describe_all();
    guint n = 0;

    g_string_append_printf(text, "machine type %s\n", MACHINE_GET_CLASS(current_machine)->name);
    if (1u << migration_mode() & MIG_MODE_CPR_LIVE) {
        g_string_append(text, "memory and devices that are handed over\n");
    }
    if (files) {
        g_string_append(text, KEPT "\n");
    }
    for (RAMBlock *block = ram_blocks; block; block = block->next) {
        g_autofree char *line = describe_block(block, files ? files->pdata[n++] : NULL);

        g_string_append_printf(text, "%s\n", line);
    }
    for (guint i = 0; i < sections->len; i++) {
        g_string_append_printf(text, "device %s with state of its own\n",
                               ((MigrationSection *)sections->pdata[i])->id);
    }
    g_string_append(text, states);
    return g_string_free(text, FALSE);
}

/* The files of what the source does not send; NULL: it sends all. */
static GPtrArray *find_files(const char *const *theirs)
{
    GPtrArray *files = g_strv_contains(theirs, KEPT) ? ram_files() : NULL;
    guint n = 0;

    for (const RAMBlock *block = ram_blocks; files && block; block = block->next, n++) {
        g_autofree char *sent = describe_block(block, NULL);

        if (g_strv_contains(theirs, sent)) {
            g_clear_pointer(&files->pdata[n], g_free);
        }
    }
    return files;
}

bool migration_machine_check(const char *theirs, GPtrArray *sections, GPtrArray **files,
                             GError **errp)
{
    g_auto(GStrv) them = g_strsplit(theirs, "\n", -1), us = NULL;
    g_autofree char *ours = NULL;
    unsigned i = 0;

    *files = find_files((const char *const *)them);
    ours = migration_machine_describe(sections, *files);
    us = g_strsplit(ours, "\n", -1);
    while (them[i] && us[i] && g_str_equal(them[i], us[i])) {
        i++;
    }
    if (!them[i] && !us[i]) {
        return true;
    }
    if (them[i]) {
        stream_printable(them[i]);
    }
    return error_set(errp, "the machines differ: source has %s%s%s, destination has %s%s%s",
                     them[i] && *them[i] ? "\"" : "", them[i] && *them[i] ? them[i] : "no more",
                     them[i] && *them[i] ? "\"" : "", us[i] && *us[i] ? "\"" : "",
                     us[i] && *us[i] ? us[i] : "no more", us[i] && *us[i] ? "\"" : "");
}
