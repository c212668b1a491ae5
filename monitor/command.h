/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The table of commands, as the sessions use it, and what the commands' files share. */
#ifndef VIADUCT_MONITOR_COMMAND_H
#define VIADUCT_MONITOR_COMMAND_H

#include "monitor/monitor.h"

/* NULL when there is none. */
const QMPCommand *monitor_find_command(const char *name);
void monitor_foreach_command(void (*fn)(const QMPCommand *cmd, void *opaque), void *opaque);
/* Whether @args is what the command's table says; QEMU's messages. */
bool monitor_check_args(const QMPCommand *cmd, JsonObject *args, GError **errp);

/* {"qemu":{…},"package":…} of the greeting and of query-version. */
JsonObject *monitor_version(void);

/* Registers the static table before main() runs. */
#define MONITOR_COMMANDS(table)                                     \
    static void __attribute__((constructor)) register_##table(void) \
    {                                                               \
        monitor_register_commands(table, G_N_ELEMENTS(table));      \
    }

/* Both take the reference. */
static inline JsonNode *node_of_object(JsonObject *o)
{
    JsonNode *node = json_node_new(JSON_NODE_OBJECT);

    json_node_take_object(node, o);
    return node;
}

static inline JsonNode *node_of_array(JsonArray *a)
{
    JsonNode *node = json_node_new(JSON_NODE_ARRAY);

    json_node_take_array(node, a);
    return node;
}

#endif
