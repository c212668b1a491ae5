/* SPDX-License-Identifier: GPL-2.0-or-later */
/* QMP: what the machine is made of. */
#include "monitor/command.h"

#include "core/accel.h"
#include "core/machine.h"
#include "hw/pci/pci.h"
#include "hw/vfio/vfio.h"

#define TARGET "x86_64"

static JsonObject *describe_cpu(const CPUState *cpu)
{
    JsonObject *o = json_object_new(), *props = json_object_new();

    json_object_set_int_member(props, "core-id", cpu->core_id);
    json_object_set_int_member(props, "thread-id", cpu->smt_id);
    json_object_set_int_member(props, "socket-id", cpu->socket_id);
    json_object_set_int_member(o, "cpu-index", cpu->index);
    json_object_set_string_member(o, "qom-path", cpu->qom_path ?: "");
    json_object_set_int_member(o, "thread-id", cpu->thread_id);
    json_object_set_object_member(o, "props", props);
    json_object_set_string_member(o, "target", TARGET);
    return o;
}

static JsonNode *query_cpus_fast(JsonObject *args, GError **errp)
{
    JsonArray *list = json_array_new();

    for (guint i = 0; cpus && i < cpus->len; i++) {
        json_array_add_object_element(list, describe_cpu(cpus->pdata[i]));
    }
    return node_of_array(list);
}

static JsonNode *query_pci(JsonObject *args, GError **errp)
{
    return node_of_array(pci_query());
}

static JsonNode *query_vfio(JsonObject *args, GError **errp)
{
    return node_of_array(vfio_query());
}

static JsonNode *query_memory_size_summary(JsonObject *args, GError **errp)
{
    JsonObject *o = json_object_new();

    json_object_set_int_member(o, "base-memory", (gint64)current_machine->config.ram_size);
    json_object_set_int_member(o, "plugged-memory", 0);
    return node_of_object(o);
}

static JsonNode *query_target(JsonObject *args, GError **errp)
{
    JsonObject *o = json_object_new();

    json_object_set_string_member(o, "arch", TARGET);
    return node_of_object(o);
}

static JsonObject *describe_machine(const MachineClass *klass)
{
    JsonObject *o = json_object_new();

    json_object_set_string_member(o, "name", klass->name);
    if (klass->is_default) {
        json_object_set_boolean_member(o, "is-default", TRUE);
    }
    json_object_set_int_member(o, "cpu-max", klass->max_cpus);
    json_object_set_boolean_member(o, "hotpluggable-cpus", FALSE);
    json_object_set_boolean_member(o, "numa-mem-supported", FALSE);
    json_object_set_boolean_member(o, "deprecated", FALSE);
    json_object_set_boolean_member(o, "acpi", TRUE);
    return o;
}

static JsonNode *query_machines(JsonObject *args, GError **errp)
{
    JsonArray *list = json_array_new();
    guint n;
    g_autofree GType *types = g_type_children(TYPE_MACHINE, &n);

    for (guint i = 0; i < n; i++) {
        g_autoptr(GTypeClass) klass = g_type_class_ref(types[i]);

        json_array_add_object_element(list, describe_machine(MACHINE_CLASS(klass)));
    }
    return node_of_array(list);
}

static const QMPCommand query_commands[] = {
    { "query-cpus-fast", query_cpus_fast },
    { "query-pci", query_pci },
    { "x-query-vfio", query_vfio },
    { "query-memory-size-summary", query_memory_size_summary },
    { "query-target", query_target },
    { "query-machines", query_machines },
};

MONITOR_COMMANDS(query_commands)
