/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The command line, QEMU's.  One table says all: name, argument, help, and the function that takes
 * it.  Options that make something are kept with their text until system_start() gets to them; the
 * others are read here.
 *
 * An option that QEMU's users write by habit, and that asks for what we do anyway, is accepted in
 * just that form (only()); in any other form, and for anything else, the answer is a clear no.
 */
#include "system/cmdline.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "accel/x86.h"
#include "core/device.h"
#include "system/help.h"
#include "system/sandbox.h"
#include "system/smp.h"
#include "util/error.h"
#include "util/keyval.h"
#include "util/trace.h"

#define HELP_COLUMN 33

typedef struct OptionDesc OptionDesc;
typedef bool (*OptionFn)(Options *o, const OptionDesc *desc, const char *arg, GError **errp);

struct OptionDesc {
    const char *name;
    const char *arg; /* NULL: takes none */
    const char *help;
    OptionFn fn;
    size_t offset; /* of the field that fn fills */
};

/* ---- ways to take an argument ---- */

static void *field(Options *o, const OptionDesc *desc)
{
    return (char *)o + desc->offset;
}

static bool set_flag(Options *o, const OptionDesc *desc, const char *arg, GError **errp)
{
    *(bool *)field(o, desc) = true;
    return true;
}

static bool set_string(Options *o, const OptionDesc *desc, const char *arg, GError **errp)
{
    *(const char **)field(o, desc) = arg;
    return true;
}

static bool keep(Options *o, const OptionDesc *desc, const char *arg, GError **errp)
{
    OptionUse use = { desc->name, arg };

    g_array_append_val(*(GArray **)field(o, desc), use);
    return true;
}

/* Nothing to do when it is one of the forms in .arg, "a|b"; else it is not for us. */
static bool only(Options *o, const OptionDesc *desc, const char *arg, GError **errp)
{
    g_auto(GStrv) forms = g_strsplit(desc->arg, "|", -1);

    return g_strv_contains((const char *const *)forms, arg) ||
           error_set(errp, "not supported; the only form there is: -%s %s", desc->name, desc->arg);
}

static bool nothing(Options *o, const OptionDesc *desc, const char *arg, GError **errp)
{
    return true;
}

static bool is_help(const char *arg)
{
    return g_str_equal(arg, "help") || g_str_equal(arg, "?");
}

/* ---- what makes objects, devices and the machine ---- */

static bool keep_machine(Options *o, const OptionDesc *desc, const char *arg, GError **errp)
{
    if (is_help(arg)) {
        help_machines();
        o->done = true;
        return true;
    }
    return keep(o, desc, arg, errp);
}

static bool keep_chardev(Options *o, const OptionDesc *desc, const char *arg, GError **errp)
{
    if (is_help(arg)) {
        help_chardevs();
        o->done = true;
        return true;
    }
    return keep(o, desc, arg, errp);
}

/* "help" lists the types below @base, "TYPE,help" the properties of one. */
static bool keep_typed(Options *o, const OptionDesc *desc, const char *arg, const char *implied,
                       GType base, void (*list)(void), GError **errp)
{
    g_autoptr(JsonObject) opts = NULL;
    const char *type = NULL;
    bool help;

    opts = keyval_parse(arg, implied, &help, errp);
    if (!opts) {
        return false;
    }
    if (!help) {
        return keep(o, desc, arg, errp);
    }
    o->done = true;
    if (!keyval_get_str(opts, implied, &type, errp)) {
        return false;
    }
    if (!type) {
        list();
        return true;
    }
    return help_type(type, base, errp);
}

static bool keep_object(Options *o, const OptionDesc *desc, const char *arg, GError **errp)
{
    return keep_typed(o, desc, arg, "qom-type", TYPE_USER_OBJECT, help_objects, errp);
}

static bool keep_device(Options *o, const OptionDesc *desc, const char *arg, GError **errp)
{
    return keep_typed(o, desc, arg, "driver", TYPE_DEVICE, help_devices, errp);
}

/* QEMU tries one after the other; here each would do where it can be asked for at all. */
static bool choose_accel(Options *o, const char *name, GError **errp)
{
    const X86Accel *found = x86_accel_find(name);

    if (!found) {
        return error_set(errp, "invalid accelerator %s: there are kvm and qtest", name);
    }
    if (o->accel && o->accel != found) {
        return error_set(errp, "the accelerator is %s already: there can be one only",
                         o->accel->name);
    }
    o->accel = found;
    return true;
}

static bool take_enable_kvm(Options *o, const OptionDesc *desc, const char *arg, GError **errp)
{
    return choose_accel(o, "kvm", errp);
}

static bool take_accel(Options *o, const OptionDesc *desc, const char *arg, GError **errp)
{
    g_autoptr(JsonObject) opts = NULL;
    const char *name = NULL, *irqchip = "on";
    bool help;

    opts = keyval_parse(arg, "accel", &help, errp);
    if (!opts) {
        return false;
    }
    if (help) {
        help_accels();
        o->done = true;
        return true;
    }
    if (!keyval_check_keys(opts, (const char *[]) { "accel", "kernel-irqchip", NULL }, errp) ||
        !keyval_get_str(opts, "accel", &name, errp) ||
        !keyval_get_str(opts, "kernel-irqchip", &irqchip, errp)) {
        return false;
    }
    if (!choose_accel(o, name ?: "", errp)) {
        return false;
    }
    return g_str_equal(irqchip, "on") ||
           error_set(errp, "kernel-irqchip=%s is not supported, only on", irqchip);
}

static bool take_cpu(Options *o, const OptionDesc *desc, const char *arg, GError **errp)
{
    if (is_help(arg)) {
        printf("Available CPUs:\n  host  all that the host and KVM can give\n  max   the same\n"
               "Flags are added and taken away: -cpu host,+FLAG,-FLAG,FLAG=on|off\n");
        o->done = true;
    }
    o->cpu = arg;
    return true;
}

static bool take_smp(Options *o, const OptionDesc *desc, const char *arg, GError **errp)
{
    return smp_parse(arg, &o->smp, errp);
}

static bool take_memory(Options *o, const OptionDesc *desc, const char *arg, GError **errp)
{
    g_autoptr(JsonObject) opts = keyval_parse(arg, "size", NULL, errp);
    const char *size = NULL;

    if (!opts) {
        return false;
    }
    if (json_object_has_member(opts, "slots") || json_object_has_member(opts, "maxmem")) {
        return error_set(errp, "slots and maxmem are not supported: there is no memory hot-plug");
    }
    if (!keyval_check_keys(opts, (const char *[]) { "size", NULL }, errp) ||
        !keyval_get_str(opts, "size", &size, errp)) {
        return false;
    }
    if (!size) {
        return error_set(errp, "missing 'size' option value");
    }
    if (!size_parse(size, 1024 * 1024, &o->ram_size, errp)) {
        return false;
    }
    if (o->ram_size == 0 || o->ram_size > INT64_MAX) {
        return error_set(errp, "RAM size '%s' is not possible", size);
    }
    o->ram_size = (o->ram_size + 8191) & ~(uint64_t)8191; /* QEMU's rounding */
    return true;
}

static bool take_name(Options *o, const OptionDesc *desc, const char *arg, GError **errp)
{
    g_autoptr(JsonObject) opts = keyval_parse(arg, "guest", NULL, errp);
    const char *guest = NULL, *process = NULL;
    bool threads_named = true;

    if (!opts ||
        !keyval_check_keys(opts, (const char *[]) { "guest", "process", "debug-threads", NULL },
                           errp) ||
        !keyval_get_str(opts, "guest", &guest, errp) ||
        !keyval_get_str(opts, "process", &process, errp) ||
        !keyval_get_bool(opts, "debug-threads", &threads_named, errp)) {
        return false;
    }
    if (!threads_named) {
        return error_set(errp, "debug-threads=off is not supported: threads always have names");
    }
    g_free(o->name);
    o->name = g_strdup(guest);
    g_free(o->process);
    o->process = g_strdup(process);
    return true;
}

static bool take_uuid(Options *o, const OptionDesc *desc, const char *arg, GError **errp)
{
    o->uuid_set = uuid_parse(arg, o->uuid);
    return o->uuid_set || error_set(errp, "failed to parse UUID string: wrong format");
}

/* ---- logs ---- */

static bool take_trace(Options *o, const OptionDesc *desc, const char *arg, GError **errp)
{
    g_autoptr(JsonObject) opts = NULL;
    const char *pattern = NULL;
    bool help;

    opts = keyval_parse(arg, "enable", &help, errp);
    if (!opts) {
        return false;
    }
    if (help) {
        help_traces();
        o->done = true;
        return true;
    }
    if (!keyval_check_keys(opts, (const char *[]) { "enable", NULL }, errp) ||
        !keyval_get_str(opts, "enable", &pattern, errp)) {
        return false;
    }
    if (pattern && !trace_enable(pattern)) {
        warn_report("trace event '%s' does not exist", pattern);
    }
    return true;
}

static bool take_sandbox(Options *o, const OptionDesc *desc, const char *arg, GError **errp)
{
    return sandbox_parse(arg, &o->sandbox, errp);
}

static bool take_msg(Options *o, const OptionDesc *desc, const char *arg, GError **errp)
{
    g_autoptr(JsonObject) opts = keyval_parse(arg, NULL, NULL, errp);
    bool timestamp = false;

    if (!opts || !keyval_check_keys(opts, (const char *[]) { "timestamp", NULL }, errp) ||
        !keyval_get_bool(opts, "timestamp", &timestamp, errp)) {
        return false;
    }
    error_report_timestamps(timestamp);
    return true;
}

static bool take_log(Options *o, const OptionDesc *desc, const char *arg, GError **errp)
{
    if (is_help(arg)) {
        help_log_items();
        o->done = true;
        return true;
    }
    return log_set_items(arg, errp);
}

static bool take_log_file(Options *o, const OptionDesc *desc, const char *arg, GError **errp)
{
    return log_set_file(arg, errp);
}

/* ---- the table ---- */

static bool print_version(Options *o, const OptionDesc *desc, const char *arg, GError **errp)
{
    printf("Viaduct version " VIADUCT_VERSION "\n");
    o->done = true;
    return true;
}

static bool print_help(Options *o, const OptionDesc *desc, const char *arg, GError **errp);

/* What is done with the argument; what fills a field; what asks for what is so anyway. */
#define OPT(name, arg, help, fn) \
    {                            \
        name, arg, help, fn, 0   \
    }
#define SET(name, arg, help, fn, f)               \
    {                                             \
        name, arg, help, fn, offsetof(Options, f) \
    }
#define FLAG(name, help, f) SET(name, NULL, help, set_flag, f)
#define ONLY(name, forms)   OPT(name, forms, NULL, only)
#define NOTHING(name)       OPT(name, NULL, NULL, nothing)

static const OptionDesc table[] = {
    OPT("h", NULL, "this text", print_help),
    OPT("help", NULL, "this text", print_help),
    OPT("version", NULL, "the version", print_version),

    SET("machine", "[type=]NAME[,PROP=VALUE...]", "the machine; -machine help lists them",
        keep_machine, machines),
    SET("M", "NAME", "short for -machine", keep_machine, machines),
    OPT("accel", "kvm|qtest", "the accelerator; with qtest no vCPU runs", take_accel),
    OPT("enable-kvm", NULL, "the same as -accel kvm", take_enable_kvm),
    OPT("cpu", "MODEL[,+FLAG][,-FLAG]", "the CPU; -cpu help", take_cpu),
    OPT("smp", "[cpus=]N[,sockets=N][,dies=N][,cores=N][,threads=N]", "vCPUs and their topology",
        take_smp),
    OPT("m", "[size=]SIZE", "RAM, in MiB unless there is a suffix (default: 128)", take_memory),
    OPT("name", "[guest=]NAME[,process=NAME]", "the guest's name, the process's", take_name),
    OPT("uuid", "UUID", "the guest's UUID", take_uuid),

    SET("object", "TYPE,id=ID[,PROP=VALUE...]", "an object; -object help, -object TYPE,help",
        keep_object, objects),
    SET("device", "DRIVER[,PROP=VALUE...]", "a device; -device help, -device DRIVER,help",
        keep_device, devices),
    SET("kernel", "FILE", "bzImage, or ELF with a PVH note", set_string, kernel),
    SET("initrd", "FILE", "initial RAM disk", set_string, initrd),
    SET("append", "TEXT", "the kernel's command line", set_string, append),

    SET("incoming", "defer|URI|CHANNEL",
        "waits for the state of another process: tcp:HOST:PORT, unix:PATH, fd:N, exec:COMMAND, "
        "file:PATH, or a channel in JSON; defer: until migrate-incoming",
        keep, incoming),
    SET("add-fd", "fd=N,set=M[,opaque=TEXT]",
        "an inherited descriptor as /dev/fdset/M, where paths and fd= are taken", keep, add_fds),
    SET("chardev", "BACKEND,id=ID[,OPTION=VALUE...]", "a character device; -chardev help",
        keep_chardev, chardevs),
    SET("serial", "DEV", "a serial port: stdio, none, null, pty, file:PATH, unix:PATH, chardev:ID",
        keep, serials),
    SET("mon", "[chardev=]ID,mode=control[,pretty=on]", "a QMP monitor on a chardev", keep,
        monitors),
    SET("qmp", "DEV", "a QMP monitor: unix:PATH,server=on,wait=off, tcp:..., stdio", keep,
        monitors),
    SET("qmp-pretty", "DEV", "the same, its output indented", keep, monitors),
    SET("qtest", "DEV", "where a test plays the guest, by QEMU's qtest protocol", set_string,
        qtest),
    SET("qtest-log", "FILE", "what is said there, none: nothing (default: stderr)", set_string,
        qtest_log),
    ONLY("monitor", "none|null"),
    ONLY("parallel", "none|null"),
    FLAG("nographic", "no display, and the first serial port on stdio", nographic),
    ONLY("display", "none"),
    ONLY("vga", "none"),
    ONLY("net", "none"),
    ONLY("nic", "none"),
    FLAG("nodefaults", "no device that was not asked for", nodefaults),

    FLAG("S", "do not start the guest: QMP's cont does", stopped),
    FLAG("no-reboot", "exit instead of rebooting", no_reboot),
    FLAG("no-shutdown", "stop instead of exiting when the guest shuts down", no_shutdown),
    FLAG("daemonize", "go on in the background once all is set up", daemonize),
    SET("pidfile", "FILE", "write the process id there", set_string, pidfile),
    OPT("sandbox", "on|off[,...]", "no calls of the kernel that are of no use here", take_sandbox),
    OPT("msg", "timestamp=on|off", "the time in front of each message", take_msg),
    OPT("d", "ITEM,...", "log; -d help lists the items", take_log),
    OPT("D", "FILE", "log to a file instead of stderr", take_log_file),
    OPT("trace", "[enable=]PATTERN", "trace; -trace help lists the points", take_trace),

    ONLY("boot", "strict=on|menu=off"),
    ONLY("rtc", "base=utc|base=utc,clock=host"),
    ONLY("overcommit", "mem-lock=off|cpu-pm=off"),
    NOTHING("no-user-config"),
    NOTHING("no-hpet"),
};

static bool print_help(Options *o, const OptionDesc *desc, const char *arg, GError **errp)
{
    printf("Viaduct version " VIADUCT_VERSION "\nusage: %s [options]\n\n", g_get_prgname());
    for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
        const char *help = table[i].help ?: "(as it is anyway)";
        int column = printf("-%s %s", table[i].name, table[i].arg ?: "");

        if (column >= HELP_COLUMN) {
            column = printf("\n") - 1;
        }
        printf("%*s%s\n", HELP_COLUMN - column, "", help);
    }
    o->done = true;
    return true;
}

/* ---- parsing ---- */

static const OptionDesc *find(const char *name)
{
    for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
        if (g_str_equal(table[i].name, name)) {
            return &table[i];
        }
    }
    return NULL;
}

static bool take(Options *o, const OptionDesc *desc, const char *arg, GError **errp)
{
    if (desc->fn(o, desc, arg, errp)) {
        return true;
    }
    g_prefix_error(errp, "-%s%s%s: ", desc->name, arg ? " " : "", arg ?: "");
    return false;
}

/* What no single option can see. */
static bool check_together(const Options *o, GError **errp)
{
    if (!o->kernel && (o->initrd || o->append)) {
        return error_set(errp, "-%s only allowed with -kernel option",
                         o->initrd ? "initrd" : "append");
    }
    if (o->qtest_log && !o->qtest) {
        return error_set(errp, "-qtest-log only allowed with -qtest option");
    }
    if (o->daemonize && o->nographic) {
        return error_set(errp, "-nographic cannot be used with -daemonize");
    }
    return true;
}

bool cmdline_parse(Options *o, int argc, char **argv, GError **errp)
{
    for (int i = 1; i < argc && !o->done; i++) {
        const char *word = argv[i];
        const OptionDesc *desc;

        if (*word != '-') {
            return error_set(errp, "%s: disk images are not supported", word);
        }
        desc = find(word + (word[1] == '-' ? 2 : 1));
        if (!desc) {
            return error_set(errp, "%s: invalid option", word);
        }
        if (desc->arg && i + 1 == argc) {
            return error_set(errp, "%s: requires an argument", word);
        }
        if (!take(o, desc, desc->arg ? argv[++i] : NULL, errp)) {
            return false;
        }
    }
    return o->done || check_together(o, errp);
}

static GArray *new_uses(void)
{
    return g_array_new(FALSE, FALSE, sizeof(OptionUse));
}

Options *options_new(void)
{
    Options *o = g_new0(Options, 1);

    o->machines = new_uses();
    o->add_fds = new_uses();
    o->objects = new_uses();
    o->chardevs = new_uses();
    o->incoming = new_uses();
    o->serials = new_uses();
    o->monitors = new_uses();
    o->devices = new_uses();
    o->smp = (CPUTopology) { 1, 1, 1, 1, 1, 1 };
    return o;
}

void options_free(Options *o)
{
    g_array_unref(o->machines);
    g_array_unref(o->add_fds);
    g_array_unref(o->objects);
    g_array_unref(o->chardevs);
    g_array_unref(o->incoming);
    g_array_unref(o->serials);
    g_array_unref(o->monitors);
    g_array_unref(o->devices);
    g_free(o->name);
    g_free(o->process);
    g_free(o);
}
