/* SPDX-License-Identifier: GPL-2.0-or-later */
/* system/: options, and the files and processes around them. */
#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "accel/x86.h"
#include "system/cmdline.h"
#include "system/startup.h"

static GPtrArray *lines; /* options point into them */

static Options *parse(const char *line, GError **errp)
{
    g_autofree char *whole = g_strconcat("viaduct ", line, NULL);
    char **argv = g_strsplit(whole, " ", -1);
    Options *o = options_new();

    g_ptr_array_add(lines, argv);
    if (cmdline_parse(o, (int)g_strv_length(argv), argv, errp)) {
        return o;
    }
    options_free(o);
    return NULL;
}

static void test_smp(void)
{
    static const struct {
        const char *arg;
        CPUTopology smp; /* cpus 0: refused */
    } cases[] = {
        { "3", { 3, 3, 1, 1, 3, 1 } },
        { "4,sockets=2", { 4, 4, 2, 1, 2, 1 } },
        { "8,threads=2", { 8, 8, 1, 1, 4, 2 } },
        { "8,cores=2", { 8, 8, 4, 1, 2, 1 } },
        { "8,sockets=2,cores=2", { 8, 8, 2, 1, 2, 2 } },
        { "sockets=2,dies=2,cores=3,threads=2", { 24, 24, 2, 2, 3, 2 } },
        { "maxcpus=4", { 4, 4, 1, 1, 4, 1 } },
        { "2,clusters=1", { 2, 2, 1, 1, 2, 1 } },
        { "2,clusters=2", { 0 } },
        { "4,sockets=3", { 0 } },
        { "2,maxcpus=4", { 0 } },
        { "4,maxcpus=2", { 0 } },
        { "0", { 0 } },
        { "2,cores=0", { 0 } },
        { "-1", { 0 } },
        { "2,foo=1", { 0 } },
        { "65535,sockets=65535,cores=65535,dies=65535,threads=65535", { 0 } },
        { "sockets=65535,cores=65535,dies=65535,threads=65535", { 0 } },
        { "4294967298", { 0 } },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *line = g_strconcat("-smp ", cases[i].arg, NULL);
        g_autoptr(GError) err = NULL;
        g_autoptr(Options) o = parse(line, &err);

        g_test_message("%s%s%s", line, err ? ": " : "", err ? err->message : "");
        g_assert_cmpint(!!o, ==, cases[i].smp.cpus != 0);
        if (o) {
            g_assert_cmpmem(&o->smp, sizeof(o->smp), &cases[i].smp, sizeof(o->smp));
        }
    }
}

static void test_memory(void)
{
    static const struct {
        const char *arg;
        uint64_t size; /* 0: refused */
    } cases[] = {
        { "512", 512ULL << 20 },
        { "512M", 512ULL << 20 },
        { "size=4G", 4ULL << 30 },
        { "1T", 1ULL << 40 },
        { "4097k", 4104ULL << 10 },
        { "0", 0 },
        { "x", 0 },
        { "4G,slots=2,maxmem=8G", 0 },
        { "4G,foo=1", 0 },
        { "9E", 0 },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *line = g_strconcat("-m ", cases[i].arg, NULL);
        g_autoptr(Options) o = parse(line, NULL);

        g_test_message("%s", line);
        g_assert_cmpint(!!o, ==, cases[i].size != 0);
        if (o) {
            g_assert_cmpuint(o->ram_size, ==, cases[i].size);
        }
    }
}

/* One clear line that names the option. */
static void refuse(const char *line, const char *message)
{
    g_autoptr(GError) err = NULL;

    g_assert_null(parse(line, &err));
    g_assert_cmpstr(err->message, ==, message);
}

static void test_refused(void)
{
    refuse("-nosuch", "-nosuch: invalid option");
    refuse("--nosuch", "--nosuch: invalid option");
    refuse("-kernel", "-kernel: requires an argument");
    refuse("disk.img", "disk.img: disk images are not supported");
    refuse("-accel tcg", "-accel tcg: invalid accelerator tcg: there are kvm and qtest");
    refuse("-accel qtest -enable-kvm",
           "-enable-kvm: the accelerator is qtest already: there can be one only");
    refuse("-qtest-log none", "-qtest-log only allowed with -qtest option");
    refuse("-accel kvm,kernel-irqchip=off",
           "-accel kvm,kernel-irqchip=off: kernel-irqchip=off is not supported, only on");
    refuse("-display gtk", "-display gtk: not supported; the only form there is: -display none");
    refuse("-uuid 1234", "-uuid 1234: failed to parse UUID string: wrong format");
    refuse("-initrd x", "-initrd only allowed with -kernel option");
    refuse("-daemonize -nographic", "-nographic cannot be used with -daemonize");
    refuse("-device nosuch,help", "-device nosuch,help: 'nosuch' is not a valid device model name");
    refuse("-d nosuch", "-d nosuch: unknown log item 'nosuch'");
}

static void test_accepted(void)
{
    g_autoptr(GError) err = NULL;
    g_autoptr(Options) o = parse(
        "-machine q35,accel=kvm -M type=q35 -accel kvm -enable-kvm -name guest=a,process=b "
        "-uuid 00112233-4455-6677-8899-aabbccddeeff -object x,id=a -device d1 --device d2,id=b "
        "-display none -vga none -net none -nodefaults -no-user-config -S -no-reboot -serial none "
        "-qmp unix:/x,server=on -mon chardev=c,mode=control -kernel k -append a",
        &err);

    g_assert_no_error(err);
    g_assert_cmpuint(o->machines->len, ==, 2);
    g_assert_cmpuint(o->monitors->len, ==, 2);
    g_assert_cmpuint(o->devices->len, ==, 2);
    g_assert_cmpstr(g_array_index(o->devices, OptionUse, 1).arg, ==, "d2,id=b");
    g_assert_cmpstr(g_array_index(o->devices, OptionUse, 1).name, ==, "device");
    g_assert_cmpstr(o->name, ==, "a");
    g_assert_cmpstr(o->process, ==, "b");
    g_assert_cmpint(o->uuid[1], ==, 0x11);
    g_assert_cmpint(o->uuid[15], ==, 0xff);
    g_assert_true(o->stopped && o->no_reboot && o->nodefaults && !o->no_shutdown && !o->done);
    g_assert_cmpuint(o->ram_size, ==, 0);
}

static void test_accel(void)
{
    static const struct {
        const char *line, *name;
    } cases[] = {
        { "-accel kvm -enable-kvm", "kvm" },
        { "-enable-kvm", "kvm" },
        { "-accel qtest", "qtest" },
        { "-accel accel=qtest,kernel-irqchip=on -qtest unix:/x -qtest-log none", "qtest" },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) err = NULL;
        g_autoptr(Options) o = parse(cases[i].line, &err);

        g_assert_no_error(err);
        g_assert_cmpstr(o->accel->name, ==, cases[i].name);
    }
}

/* The status that @child's process exits with. */
static int status_of(int (*child)(const char *path), const char *path)
{
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        _exit(child(path));
    }
    g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int create_pidfile(const char *path)
{
    return !pidfile_create(path, NULL);
}

static void test_pidfile(void)
{
    g_autofree char *dir = g_dir_make_tmp("viaduct-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(dir, "pid", NULL);
    g_autofree char *text = NULL;
    g_autoptr(GError) err = NULL;

    g_assert_true(g_file_set_contents(path, "a stale one, and long", -1, NULL));
    g_assert_true(pidfile_create(path, &err));
    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    g_assert_cmpint(atoi(text), ==, getpid());
    g_assert_cmpstr(strchr(text, '\n'), ==, "\n");
    g_assert_cmpint(status_of(create_pidfile, path), ==, 1); /* locked */
    pidfile_remove();
    g_assert_cmpint(access(path, F_OK), ==, -1);

    g_assert_true(pidfile_create(path, &err));
    g_unlink(path);
    g_assert_cmpint(status_of(create_pidfile, path), ==, 0); /* another's now */
    pidfile_remove();
    g_assert_cmpint(access(path, F_OK), ==, 0);
    g_unlink(path);

    /* What is no file of ours stays. */
    g_assert_cmpint(symlink("/dev/null", path), ==, 0);
    g_assert_false(pidfile_create(path, &err));
    g_assert_nonnull(strstr(err->message, "is not a regular file"));
    g_clear_error(&err);
    pidfile_remove();
    g_assert_cmpint(access(path, F_OK), ==, 0);
    g_unlink(path);
    g_rmdir(dir);
    g_assert_false(pidfile_create("/nosuch/pid", &err));
    g_assert_cmpstr(err->message, ==,
                    "cannot create PID file '/nosuch/pid': No such file or directory");
}

static int daemon_that_comes(const char *path)
{
    if (!daemonize(NULL)) {
        return 9;
    }
    g_usleep(100000);
    if (!g_file_set_contents(path, "", 0, NULL) || !daemon_ready(NULL)) {
        return 9;
    }
    return 5; /* of the daemon: nobody's business */
}

static int daemon_that_fails(const char *path)
{
    return daemonize(NULL) ? 5 : 9;
}

static void test_daemonize(void)
{
    g_autofree char *dir = g_dir_make_tmp("viaduct-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(dir, "ready", NULL);

    g_assert_cmpint(status_of(daemon_that_comes, path), ==, 0);
    g_assert_cmpint(access(path, F_OK), ==, 0);
    g_assert_cmpint(status_of(daemon_that_fails, path), ==, 1);
    g_unlink(path);
    g_rmdir(dir);
}

int main(int argc, char **argv)
{
    int status;

    lines = g_ptr_array_new_with_free_func((GDestroyNotify)g_strfreev);
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/cmdline/smp", test_smp);
    g_test_add_func("/cmdline/memory", test_memory);
    g_test_add_func("/cmdline/refused", test_refused);
    g_test_add_func("/cmdline/accepted", test_accepted);
    g_test_add_func("/cmdline/accel", test_accel);
    g_test_add_func("/cmdline/pidfile", test_pidfile);
    g_test_add_func("/cmdline/daemonize", test_daemonize);
    status = g_test_run();
    g_ptr_array_unref(lines);
    return status;
}
