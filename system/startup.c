/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The order of things: what others name by id comes first (objects, chardevs), then the machine
 * with its memory and vCPUs, then the devices of the command line, then the first reset.
 */
#include "system/startup.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "accel/qtest.h"
#include "accel/x86.h"
#include "backends/chardev.h"
#include "backends/hostmem.h"
#include "core/device.h"
#include "core/fdset.h"
#include "core/machine.h"
#include "core/memory.h"
#include "core/runstate.h"
#include "migration/control.h"
#include "monitor/monitor.h"
#include "util/error.h"
#include "util/keyval.h"

#define DEFAULT_RAM (128 * 1024 * 1024)
#define DEFAULT_CPU "host"

typedef bool (*UseFn)(const char *arg, unsigned index, const OptionUse *use, GError **errp);

static bool foreach_use(GArray *uses, UseFn fn, GError **errp)
{
    for (guint i = 0; i < uses->len; i++) {
        const OptionUse *use = &g_array_index(uses, OptionUse, i);

        error_location_set("-%s %s: ", use->name, use->arg);
        if (!fn(use->arg, i, use, errp)) {
            g_prefix_error(errp, "%s", error_location());
            error_location_set(NULL);
            return false;
        }
    }
    error_location_set(NULL);
    return true;
}

static bool add_object(const char *arg, unsigned index, const OptionUse *use, GError **errp)
{
    g_autoptr(JsonObject) opts = keyval_parse(arg, "qom-type", NULL, errp);

    return opts && user_object_add(opts, errp);
}

static bool add_device(const char *arg, unsigned index, const OptionUse *use, GError **errp)
{
    g_autoptr(JsonObject) opts = keyval_parse(arg, "driver", NULL, errp);

    return opts && device_add(opts, false, errp);
}

/* ---- -add-fd ---- */

static bool read_add_fd(const char *arg, int *fd, int64_t *set, char **opaque, GError **errp)
{
    g_autoptr(JsonObject) opts = keyval_parse(arg, NULL, NULL, errp);
    uint64_t fd_value = UINT64_MAX, set_value = UINT64_MAX;
    const char *text = NULL;

    if (!opts || !keyval_check_keys(opts, (const char *[]) { "fd", "set", "opaque", NULL }, errp) ||
        !keyval_get_uint(opts, "fd", &fd_value, errp) ||
        !keyval_get_uint(opts, "set", &set_value, errp) ||
        !keyval_get_str(opts, "opaque", &text, errp)) {
        return false;
    }
    if (fd_value > INT_MAX || set_value > INT64_MAX) {
        return error_set(errp, "%s option is required and must be non-negative",
                         fd_value > INT_MAX ? "fd" : "set");
    }
    if (fd_value <= STDERR_FILENO) {
        return error_set(errp, "fd cannot be a standard I/O stream");
    }
    *fd = (int)fd_value;
    *set = (int64_t)set_value;
    *opaque = g_strdup(text);
    return true;
}

/* What the program inherited; what it has opened itself is close-on-exec. */
static bool is_inherited(int fd)
{
    return fcntl(fd, F_GETFD) == 0;
}

static bool add_fd(const char *arg, unsigned index, const OptionUse *use, GError **errp)
{
    g_autofree char *opaque = NULL;
    int64_t set = 0;
    int fd = -1, copy;

    if (!read_add_fd(arg, &fd, &set, &opaque, errp)) {
        return false;
    }
    copy = is_inherited(fd) ? fcntl(fd, F_DUPFD_CLOEXEC, 0) : -1;
    if (copy < 0) {
        return error_set(errp, "fd is not valid or already in use");
    }
    fdset_add(set, copy, opaque);
    return true;
}

/* The sets hold copies, so one descriptor may be in several; the originals are of no more use. */
static bool close_added_fd(const char *arg, unsigned index, const OptionUse *use, GError **errp)
{
    g_autofree char *opaque = NULL;
    int64_t set = 0;
    int fd = -1;

    if (read_add_fd(arg, &fd, &set, &opaque, NULL) && is_inherited(fd)) {
        close(fd);
    }
    return true;
}

/* ---- chardevs and their users ---- */

static bool add_chardev(const char *arg, unsigned index, const OptionUse *use, GError **errp)
{
    g_autoptr(JsonObject) opts = keyval_parse(arg, "backend", NULL, errp);

    return opts && chardev_new(opts, errp);
}

static bool add_serial(const char *arg, unsigned index, const OptionUse *use, GError **errp)
{
    g_autofree char *id = g_strdup_printf("serial%u", index);

    if (index >= G_N_ELEMENTS(current_machine->config.serial)) {
        return error_set(errp, "too many serial ports");
    }
    if (g_str_equal(arg, "none")) {
        return true;
    }
    current_machine->config.serial[index] = chardev_new_from_spec(arg, id, errp);
    return current_machine->config.serial[index];
}

static bool add_serials(const Options *o, GError **errp)
{
    static const OptionUse console = { "serial", "stdio" };

    if (!o->serials->len && o->nographic && !o->nodefaults) {
        return add_serial(console.arg, 0, &console, errp);
    }
    return foreach_use(o->serials, add_serial, errp);
}

/* -mon: QMP on a chardev that -chardev has made. */
static bool add_mon(const char *arg, GError **errp)
{
    g_autoptr(JsonObject) opts = keyval_parse(arg, "chardev", NULL, errp);
    const char *mode = "readline", *chardev = NULL;
    bool pretty = false;
    Chardev *chr;

    if (!opts ||
        !keyval_check_keys(opts, (const char *[]) { "chardev", "mode", "pretty", "id", NULL },
                           errp) ||
        !keyval_get_str(opts, "chardev", &chardev, errp) ||
        !keyval_get_str(opts, "mode", &mode, errp) ||
        !keyval_get_bool(opts, "pretty", &pretty, errp)) {
        return false;
    }
    if (!g_str_equal(mode, "control")) {
        return error_set(errp, "mode=%s is not supported: there is QMP only, mode=control", mode);
    }
    if (!chardev) {
        return error_set(errp, "Parameter 'chardev' is missing");
    }
    chr = chardev_find(chardev);
    if (!chr) {
        return error_set(errp, "chardev \"%s\" not found", chardev);
    }
    return monitor_init_qmp(chr, pretty, errp);
}

static bool add_monitor(const char *arg, unsigned index, const OptionUse *use, GError **errp)
{
    g_autofree char *id = g_strdup_printf("compat_monitor%u", index);
    Chardev *chr;

    if (g_str_equal(use->name, "mon")) {
        return add_mon(arg, errp);
    }
    if (g_str_equal(arg, "none")) {
        return true;
    }
    chr = chardev_new_from_spec(arg, id, errp);
    return chr && monitor_init_qmp(chr, g_str_equal(use->name, "qmp-pretty"), errp);
}

static bool add_incoming(const char *arg, unsigned index, const OptionUse *use, GError **errp)
{
    return migration_incoming_option(arg, errp);
}

/* A test that plays the guest. */
static bool add_qtest(const Options *o, GError **errp)
{
    Chardev *chr = o->qtest ? chardev_new_from_spec(o->qtest, "qtest", errp) : NULL;

    if (!o->qtest || (chr && qtest_server_init(chr, o->qtest_log, errp))) {
        return true;
    }
    g_prefix_error(errp, "-qtest %s: ", o->qtest);
    return false;
}

/* ---- the machine ---- */

/* The class called @name, or the default one for NULL; a reference.  NULL: *@names are all. */
static MachineClass *find_machine(const char *name, char **names)
{
    guint n;
    g_autofree GType *types = g_type_children(TYPE_MACHINE, &n);
    GString *list;

    for (guint i = 0; i < n; i++) {
        MachineClass *klass = g_type_class_ref(types[i]);

        if (name ? g_str_equal(klass->name, name) : klass->is_default) {
            return klass;
        }
        g_type_class_unref(klass);
    }
    list = g_string_new(NULL);
    for (guint i = 0; i < n; i++) {
        g_autoptr(GTypeClass) klass = g_type_class_ref(types[i]);

        g_string_append_printf(list, "%s%s", i ? ", " : "", MACHINE_CLASS(klass)->name);
    }
    *names = g_string_free(list, FALSE);
    return NULL;
}

/* Options of -machine that are no properties: those that say what is so anyway. */
static bool take_fixed_option(const char *key, JsonObject *opts, bool *taken, GError **errp)
{
    const struct {
        const char *key, *value;
    } fixed[] = {
        { "accel", x86_accel->name },
        { "kernel-irqchip", "on" },
        { "acpi", "on" },
        { "usb", "off" },
        { "vmport", "off" },
        { "smm", "off" },
        { "hpet", "off" },
        { "graphics", "off" },
        { "nvdimm", "off" },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(fixed); i++) {
        if (g_str_equal(key, fixed[i].key)) {
            const char *value = NULL;

            *taken = true;
            return keyval_get_str(opts, key, &value, errp) &&
                   (g_str_equal(value, fixed[i].value) ||
                    error_set(errp, "%s=%s is not supported, only %s=%s", key, value, key,
                              fixed[i].value));
        }
    }
    *taken = false;
    return true;
}

static bool set_machine_options(const char *arg, unsigned index, const OptionUse *use,
                                GError **errp)
{
    g_autoptr(JsonObject) opts = keyval_parse(arg, "type", NULL, errp);
    JsonObjectIter iter;
    const char *key;
    JsonNode *value;

    if (!opts) {
        return false;
    }
    json_object_remove_member(opts, "type"); /* make_machine() has seen it */
    json_object_iter_init_ordered(&iter, opts);
    while (json_object_iter_next_ordered(&iter, &key, &value)) {
        bool taken;

        if (!take_fixed_option(key, opts, &taken, errp) ||
            (!taken && !object_set(G_OBJECT(current_machine), key, value, errp))) {
            return false;
        }
    }
    return true;
}

/* The last type that was named counts. */
static bool make_machine(const Options *o, GError **errp)
{
    g_autofree char *name = NULL, *names = NULL;
    g_autoptr(GTypeClass) klass = NULL;

    for (guint i = 0; i < o->machines->len; i++) {
        const OptionUse *use = &g_array_index(o->machines, OptionUse, i);
        g_autoptr(JsonObject) opts = keyval_parse(use->arg, "type", NULL, errp);
        const char *type = NULL;

        if (!opts || !keyval_get_str(opts, "type", &type, errp)) {
            g_prefix_error(errp, "-%s %s: ", use->name, use->arg);
            return false;
        }
        if (type) {
            g_free(name);
            name = g_strdup(type);
        }
    }
    klass = (GTypeClass *)find_machine(name, &names);
    if (!klass) {
        return error_set(errp, "unsupported machine type: \"%s\", supported are: %s", name ?: "",
                         names);
    }
    current_machine = g_object_new(G_TYPE_FROM_CLASS(klass), NULL);
    return object_tree_add("/", "machine", G_OBJECT(current_machine), errp) &&
           object_tree_add("/machine", "peripheral", NULL, errp) &&
           object_tree_add("/machine", "peripheral-anon", NULL, errp) &&
           object_tree_add("/", "objects", NULL, errp) &&
           foreach_use(o->machines, set_machine_options, errp);
}

/* -m, the size of the machine's memory-backend, or the default; the first two must agree. */
static bool find_ram(const Options *o, MachineConfig *config, GError **errp)
{
    const char *id = current_machine->memory_backend;

    config->ram_size = o->ram_size ?: DEFAULT_RAM;
    if (!id) {
        return true;
    }
    config->ram = object_resolve(id);
    if (!config->ram || !G_TYPE_CHECK_INSTANCE_TYPE(config->ram, TYPE_HOST_MEMORY_BACKEND)) {
        return error_set(errp, "Memory backend '%s' not found", id);
    }
    config->ram_size = HOST_MEMORY_BACKEND(config->ram)->size;
    return !o->ram_size || o->ram_size == config->ram_size ||
           error_set(errp, "Machine memory size does not match the size of the memory backend '%s'",
                     id);
}

static bool configure_machine(const Options *o, GError **errp)
{
    MachineConfig *config = &current_machine->config;
    const MachineClass *klass = MACHINE_GET_CLASS(current_machine);

    if (!find_ram(o, config, errp)) {
        return false;
    }
    if (klass->max_cpus && o->smp.maxcpus > klass->max_cpus) {
        return error_set(errp, "Invalid SMP CPUs %u. The max CPUs supported by machine '%s' is %u",
                         o->smp.maxcpus, klass->name, klass->max_cpus);
    }
    config->smp = o->smp;
    config->cpu = o->cpu ?: DEFAULT_CPU;
    config->kernel = o->kernel;
    config->initrd = o->initrd;
    config->append = o->append;
    config->name = o->name;
    memcpy(config->uuid, o->uuid, sizeof(config->uuid));
    config->uuid_set = o->uuid_set;
    return true;
}

bool system_start(const Options *o, GError **errp)
{
    run_state_policy =
        (RunStatePolicy) { .no_reboot = o->no_reboot, .no_shutdown = o->no_shutdown };
    if (o->process) {
        prctl(PR_SET_NAME, o->process);
    }
    if (o->daemonize) {
        chardev_refuse_stdio("cannot use stdio with -daemonize");
    }
    memory_init();
    x86_accel = o->accel ?: x86_accels[0];
    if (!foreach_use(o->incoming, add_incoming, errp) || !foreach_use(o->add_fds, add_fd, errp) ||
        !foreach_use(o->add_fds, close_added_fd, errp)) {
        return false;
    }
    if (!migration_incoming_await_cpr(errp)) {
        return !*errp; /* ended while it waited: the main loop sees why */
    }
    return make_machine(o, errp) && foreach_use(o->objects, add_object, errp) &&
           configure_machine(o, errp) && foreach_use(o->chardevs, add_chardev, errp) &&
           add_serials(o, errp) && foreach_use(o->monitors, add_monitor, errp) &&
           add_qtest(o, errp) && x86_accel->init(errp) &&
           MACHINE_GET_CLASS(current_machine)->create(current_machine, errp) &&
           foreach_use(o->devices, add_device, errp) &&
           MACHINE_GET_CLASS(current_machine)->ready(current_machine, errp) &&
           migration_incoming_ready(!o->stopped, errp);
}

void system_cleanup(void)
{
    migration_shutdown();
    devices_shutdown();
    qtest_server_cleanup();
    monitor_cleanup(); /* the events of the devices' end were the last */
    chardev_cleanup_all();
    fdset_cleanup();
}
