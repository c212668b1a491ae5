/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vfio-pci on the simulated kernel: INTx, MSI and MSI-X. */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "core/runstate.h"
#include "tests/unit/vfio-fixture.h"

static void run_main_loop(void)
{
    while (g_main_context_iteration(NULL, FALSE)) {
    }
}

/* ---- what was said on stderr ---- */

static int said, spoken;

static void listen_begin(void)
{
    said = memfd_create("stderr", MFD_CLOEXEC);
    spoken = dup(STDERR_FILENO);
    fflush(stderr);
    dup2(said, STDERR_FILENO);
}

/* How often @what was said since then. */
static unsigned listen_end(const char *what)
{
    char text[4096];
    ssize_t n;
    unsigned times = 0;

    fflush(stderr);
    dup2(spoken, STDERR_FILENO);
    close(spoken);
    n = pread(said, text, sizeof(text) - 1, 0);
    close(said);
    g_assert_cmpint(n, >=, 0);
    text[n] = 0;
    for (const char *p = text; (p = strstr(p, what)); p++) {
        times++;
    }
    g_test_message("%s", text);
    return times;
}

/* Whether what is bound to @route waits to be taken; takes it. */
static bool signalled(int route)
{
    uint64_t count;

    return read(bound_to(route)->trigger, &count, sizeof(count)) == sizeof(count);
}

/* ---- MSI-X ---- */

static void test_msix(gconstpointer data)
{
    bool noresize = GPOINTER_TO_INT(data);
    g_autofree char *log = NULL;
    PCIDevice *dev;
    uint32_t flags;

    setup();
    sim->irqs[VFIO_PCI_MSIX_IRQ_INDEX].flags = noresize ? VFIO_IRQ_INFO_NORESIZE : 0;
    dev = plug_ok("");
    map_bar0(dev);
    g_free(sim_take_log());

    /* On, with no vector in use: INTx goes first, the device still sees MSI-X. */
    flags = PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL;
    cfg_write(dev, MSIX_CAP + PCI_MSIX_FLAGS, flags, 2);
    log = sim_take_log();
    g_assert_cmpstr(log, ==, "SET_IRQS 0 trigger 0+0 \nSET_IRQS 2 trigger 0+1 -\n");
    g_assert_null(bound_to(GSI));

    /* A batch: two vectors in one go. */
    msix_entry(0, false);
    msix_entry(2, false);
    commits = 0;
    cfg_write(dev, MSIX_CAP + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE, 2);
    g_assert_cmpuint(commits, ==, 1);
    g_free(log);
    log = sim_take_log();
    g_assert_cmpstr(log, ==,
                    noresize ? "SET_IRQS 2 trigger 0+0 \nSET_IRQS 2 trigger 0+3 e-e\n"
                             : "SET_IRQS 2 trigger 0+1 e\nSET_IRQS 2 trigger 2+1 e\n");
    g_assert_cmpuint(bindings->len, ==, 2);
    g_assert_cmphex(g_array_index(routes, MSIMessage, 1).data, ==, 0x42);
    g_assert_false(signalled(100)); /* before, none was in use: nothing can have been lost */

    /* A vector more, then a masked one: its signal waits in the pending bits. */
    msix_entry(8, false);
    g_free(log);
    log = sim_take_log();
    g_assert_cmpstr(log, ==,
                    noresize ? "SET_IRQS 2 trigger 0+0 \nSET_IRQS 2 trigger 0+9 e-e-----e\n"
                             : "SET_IRQS 2 trigger 8+1 e\n");
    g_assert_nonnull(bound_to(102));
    /* What came while the index was off: the ones that worked are signalled once for it. */
    g_assert_true(signalled(100) == noresize && signalled(101) == noresize);
    g_assert_false(signalled(102));
    mem_write(BAR0_AT + TABLE_AT + 8 * 16 + 12, 1);
    g_assert_null(bound_to(102));
    g_assert_cmphex(mem_read(BAR0_AT + PBA_AT), ==, 0);
    g_assert_true(sim_fire(sim, 8));
    g_assert_cmphex(mem_read(BAR0_AT + PBA_AT), ==, 0x100);
    mem_write(BAR0_AT + TABLE_AT + 8 * 16 + 8, 0x99); /* a new message while masked */
    mem_write(BAR0_AT + TABLE_AT + 8 * 16 + 12, 0);
    g_assert_nonnull(bound_to(102)); /* which delivers it */
    g_assert_cmphex(g_array_index(routes, MSIMessage, 2).data, ==, 0x99);
    g_assert_cmphex(mem_read(BAR0_AT + PBA_AT), ==, 0);

    /* Off: all is given back, and INTx works again. */
    g_free(sim_take_log());
    cfg_write(dev, MSIX_CAP + PCI_MSIX_FLAGS, 0, 2);
    g_free(log);
    log = sim_take_log();
    g_assert_cmpstr(log, ==,
                    "SET_IRQS 2 trigger 0+0 \nSET_IRQS 0 trigger 0+1 e\n"
                    "SET_IRQS 0 unmask 0+1 e\n");
    g_assert_cmpuint(live_routes(), ==, 0);
    g_assert_cmpuint(bindings->len, ==, 1);
    teardown(dev);
}

/* A driver that gives all its vectors their messages before it uses the first: nothing is redone. */
static void test_msix_foreseen(void)
{
    g_autofree char *log = NULL;
    PCIDevice *dev;

    setup();
    dev = plug_ok("");
    map_bar0(dev);
    cfg_write(dev, MSIX_CAP + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL, 2);
    for (unsigned i = 0; i < 4; i++) {
        msix_entry(i, true);
    }
    cfg_write(dev, MSIX_CAP + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE, 2);
    g_free(sim_take_log());
    for (unsigned i = 0; i < 4; i++) {
        msix_entry(i, false);
    }
    log = sim_take_log();
    g_assert_cmpstr(log, ==,
                    "SET_IRQS 2 trigger 0+0 \nSET_IRQS 2 trigger 0+4 e---\n"
                    "SET_IRQS 2 trigger 1+1 e\nSET_IRQS 2 trigger 2+1 e\n"
                    "SET_IRQS 2 trigger 3+1 e\n");
    teardown(dev);
}

/* The host has two vectors: those work, the others are silent, which is said once. */
static void test_msix_exhausted(gconstpointer data)
{
    bool noresize = GPOINTER_TO_INT(data);
    PCIDevice *dev;

    setup();
    sim->irqs[VFIO_PCI_MSIX_IRQ_INDEX].flags = noresize ? VFIO_IRQ_INFO_NORESIZE : 0;
    dev = plug_ok("");
    map_bar0(dev);
    sim->vectors_max = 2;
    listen_begin();
    cfg_write(dev, MSIX_CAP + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL, 2);
    for (unsigned i = 0; i < 4; i++) {
        msix_entry(i, false);
    }
    cfg_write(dev, MSIX_CAP + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE, 2); /* a batch */
    msix_entry(5, false);
    for (unsigned i = 0; i < 20; i++) { /* as often as the guest likes */
        mem_write(BAR0_AT + TABLE_AT + 5 * 16 + 12, 1);
        mem_write(BAR0_AT + TABLE_AT + 5 * 16 + 12, 0);
    }
    g_assert_cmpuint(listen_end("warning"), ==, 1);
    g_assert_true(sim_fire(sim, 0));
    g_assert_true(sim_fire(sim, 1));
    g_assert_false(sim_fire(sim, 2));
    g_assert_cmpuint(bindings->len, ==, 2);

    /* Off and on again: it may have more now. */
    sim->vectors_max = 0;
    cfg_write(dev, MSIX_CAP + PCI_MSIX_FLAGS, 0, 2);
    cfg_write(dev, MSIX_CAP + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE, 2);
    g_assert_true(sim_fire(sim, 3));
    g_assert_true(sim_fire(sim, 5));
    teardown(dev);
}

/* As many as the specification has: each call that the kernel gets is there for all of them. */
static void test_msix_many(gconstpointer data)
{
    const unsigned n = 2048;
    struct rlimit old, limit = { 8192, 8192 };
    bool noresize = GPOINTER_TO_INT(data);
    g_autofree char *log = NULL;
    PCIDevice *dev;

    getrlimit(RLIMIT_NOFILE, &old);
    limit.rlim_cur = MIN(limit.rlim_cur, old.rlim_max);
    limit.rlim_max = old.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur < n + 100) {
        g_test_skip("too few descriptors");
        return;
    }
    setup();
    sim_region_set(sim, 0, 0x10000, RWM);
    sim->irqs[VFIO_PCI_MSIX_IRQ_INDEX].flags = noresize ? VFIO_IRQ_INFO_NORESIZE : 0;
    sim->irqs[VFIO_PCI_MSIX_IRQ_INDEX].count = n;
    pci_set_word(sim->config + MSIX_CAP + PCI_MSIX_FLAGS, n - 1);
    pci_set_long(sim->config + MSIX_CAP + PCI_MSIX_PBA, 0x1000);
    dev = plug_ok("");
    map_bar0(dev);
    cfg_write(dev, MSIX_CAP + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL, 2);
    for (unsigned i = 0; i < n; i++) {
        msix_entry(i, false);
    }
    g_free(sim_take_log());
    commits = 0;
    cfg_write(dev, MSIX_CAP + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE, 2);
    log = sim_take_log();
    g_assert_cmpuint(commits, ==, 1);
    g_assert_cmpuint(bindings->len, ==, n);
    g_assert_true(sim_fire(sim, n - 1));
    g_assert_true(g_str_has_prefix(log, noresize ? "SET_IRQS 2 trigger 0+0 \nSET_IRQS 2 trigger "
                                                   "0+2048 eee"
                                                 : "SET_IRQS 2 trigger 0+2048 eee"));
    g_assert_true(g_str_has_suffix(log, "e\n"));
    teardown(dev);
    setrlimit(RLIMIT_NOFILE, &old);
}

static void test_msix_userspace(void)
{
    PCIDevice *dev;

    setup();
    dev = plug_ok(",x-no-kvm-msix=on");
    map_bar0(dev);
    cfg_write(dev, MSIX_CAP + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE, 2);
    msix_entry(3, false);
    g_assert_cmpuint(bindings->len, ==, 0);
    sent = 0;
    g_assert_true(sim_fire(sim, 3));
    run_main_loop();
    g_assert_cmpuint(sent, ==, 1);
    g_assert_cmphex(last_sent.data, ==, 0x43);
    mem_write(BAR0_AT + TABLE_AT + 3 * 16 + 12, 1);
    g_assert_true(sim_fire(sim, 3));
    run_main_loop();
    g_assert_cmpuint(sent, ==, 1);
    g_assert_cmphex(mem_read(BAR0_AT + PBA_AT), ==, 8);
    mem_write(BAR0_AT + TABLE_AT + 3 * 16 + 12, 0);
    run_main_loop();
    g_assert_cmpuint(sent, ==, 2);
    teardown(dev);
}

/* ---- MSI ---- */

static void test_msi(void)
{
    g_autofree char *log = NULL;
    PCIDevice *dev;

    setup();
    dev = plug_ok("");
    cfg_write(dev, MSI_CAP + PCI_MSI_ADDRESS_LO, 0xfee02000, 4);
    cfg_write(dev, MSI_CAP + PCI_MSI_DATA_64, 0x60, 2);
    sim->vectors_max = 3; /* of the four that the guest wants */
    g_free(sim_take_log());
    cfg_write(dev, MSI_CAP + PCI_MSI_FLAGS, PCI_MSI_FLAGS_ENABLE | 2 << 4, 2);
    log = sim_take_log();
    g_assert_cmpstr(log, ==,
                    "SET_IRQS 0 trigger 0+0 \nSET_IRQS 1 trigger 0+4 eeee\n"
                    "SET_IRQS 1 trigger 0+3 eee\n");
    g_assert_cmphex(g_array_index(routes, MSIMessage, 2).data, ==, 0x62);
    cfg_write(dev, MSI_CAP + PCI_MSI_DATA_64, 0x80, 2); /* while it is on */
    g_assert_cmphex(g_array_index(routes, MSIMessage, 2).data, ==, 0x82);
    cfg_write(dev, MSI_CAP + PCI_MSI_FLAGS, 0, 2);
    g_assert_cmpuint(live_routes(), ==, 0);
    g_assert_nonnull(bound_to(GSI));
    teardown(dev);
}

/* Masks of single vectors; what comes meanwhile is pending.  Through KVM, and not. */
static void test_msi_masks(gconstpointer data)
{
    bool no_kvm = GPOINTER_TO_INT(data);
    PCIDevice *dev;

    setup();
    pci_set_word(sim->config + MSI_CAP + PCI_MSI_FLAGS,
                 PCI_MSI_FLAGS_64BIT | PCI_MSI_FLAGS_MASKBIT | 2 << 1);
    dev = plug_ok(no_kvm ? ",x-no-kvm-msi=on" : "");
    cfg_write(dev, MSI_CAP + PCI_MSI_ADDRESS_LO, 0xfee02000, 4);
    cfg_write(dev, MSI_CAP + PCI_MSI_DATA_64, 0x60, 2);
    cfg_write(dev, MSI_CAP + PCI_MSI_MASK_64, 2, 4);
    cfg_write(dev, MSI_CAP + PCI_MSI_FLAGS, PCI_MSI_FLAGS_ENABLE | 1 << 4, 2);
    g_assert_cmpuint(bindings->len, ==, no_kvm ? 0 : 1);
    g_assert_cmphex(cfg_read(dev, MSI_CAP + PCI_MSI_PENDING_64, 4), ==, 0);
    g_assert_true(sim_fire(sim, 1));
    sent = 0;
    run_main_loop();
    g_assert_cmpuint(sent, ==, 0);
    g_assert_cmphex(cfg_read(dev, MSI_CAP + PCI_MSI_PENDING_64, 4), ==, 2);
    cfg_write(dev, MSI_CAP + PCI_MSI_MASK_64, 0, 4);
    run_main_loop();
    g_assert_cmphex(cfg_read(dev, MSI_CAP + PCI_MSI_PENDING_64, 4), ==, 0);
    if (no_kvm) {
        g_assert_cmpuint(sent, ==, 1);
        g_assert_cmphex(last_sent.data, ==, 0x61);
    } else {
        g_assert_cmpuint(bindings->len, ==, 2);
    }
    teardown(dev);
}

/* ---- INTx ---- */

static void signal_fd(int fd)
{
    const uint64_t one = 1;

    g_assert_cmpint(write(fd, &one, sizeof(one)), ==, sizeof(one));
}

/* A driver without eventfds for UNMASK, as mtty: this process unmasks, and says so once. */
static void test_intx_without_eventfd(void)
{
    PCIDevice *dev;

    setup();
    sim->no_unmask_eventfd = true;
    listen_begin();
    dev = plug_ok("");
    for (unsigned i = 0; i < 3; i++) {
        cfg_write(dev, MSI_CAP + PCI_MSI_FLAGS, PCI_MSI_FLAGS_ENABLE, 2);
        cfg_write(dev, MSI_CAP + PCI_MSI_FLAGS, 0, 2);
    }
    g_assert_cmpuint(listen_end("warning"), ==, 1);
    signal_fd(bound_to(GSI)->resample);
    run_main_loop();
    g_assert_cmpuint(sim->unmasks, ==, 1);
    teardown(dev);
}

/* x-no-kvm-intx: the trigger goes on to an eventfd of ours, and the guest's EOI comes back here. */
static void test_intx_userspace(void)
{
    g_autofree char *log = NULL;
    PCIDevice *dev;

    setup();
    dev = plug_ok(",x-no-kvm-intx=on");
    g_assert_cmpuint(bindings->len, ==, 1);
    g_assert_false(signalled(GSI));
    g_assert_true(sim_fire(sim, 0));
    g_assert_false(signalled(GSI));
    run_main_loop();
    g_assert_true(signalled(GSI));
    g_assert_cmpuint(sim->unmasks, ==, 0); /* not before the guest has served it */
    signal_fd(bound_to(GSI)->resample);
    run_main_loop();
    g_assert_cmpuint(sim->unmasks, ==, 1);
    log = sim_take_log();
    g_assert_cmpstr(log, ==, "SET_IRQS 0 unmask 0+1 \n");
    teardown(dev);
}

/* As one driver after the other takes the device; a kind is always left before the next is there. */
static void test_switching(void)
{
    static const struct {
        uint32_t cap;
        uint16_t flags;
        const char *log;
    } steps[] = {
        { MSI_CAP, PCI_MSI_FLAGS_ENABLE, "SET_IRQS 0 trigger 0+0 \nSET_IRQS 1 trigger 0+1 e\n" },
        { MSI_CAP, 0,
          "SET_IRQS 1 trigger 0+0 \nSET_IRQS 0 trigger 0+1 e\nSET_IRQS 0 unmask 0+1 e\n" },
        { MSIX_CAP, PCI_MSIX_FLAGS_ENABLE, "SET_IRQS 0 trigger 0+0 \nSET_IRQS 2 trigger 0+1 -\n" },
        { MSI_CAP, PCI_MSI_FLAGS_ENABLE, "" }, /* not while MSI-X is on */
        { MSIX_CAP, 0, "SET_IRQS 2 trigger 0+0 \nSET_IRQS 1 trigger 0+1 e\n" },
        { MSI_CAP, 0,
          "SET_IRQS 1 trigger 0+0 \nSET_IRQS 0 trigger 0+1 e\nSET_IRQS 0 unmask 0+1 e\n" },
    };
    PCIDevice *dev;

    setup();
    dev = plug_ok("");
    for (size_t i = 0; i < G_N_ELEMENTS(steps); i++) {
        g_autofree char *log = NULL;

        cfg_write(dev, steps[i].cap + 2, steps[i].flags, 2);
        log = sim_take_log();
        g_assert_cmpstr(log, ==, steps[i].log);
        g_assert_cmpuint(bindings->len, <=, 1);
    }
    g_assert_nonnull(bound_to(GSI));
    teardown(dev);
}

/* A kernel that refuses everything from now on is complained of once a kind, whatever the guest does. */
static void test_flooding(void)
{
    PCIDevice *dev;

    setup();
    dev = plug_ok("");
    map_bar0(dev);
    listen_begin();
    for (unsigned i = 0; i < 50; i++) {
        sim->irqs[VFIO_PCI_MSIX_IRQ_INDEX].count = 0; /* SET_IRQS gives EINVAL */
        sim->irqs[VFIO_PCI_MSI_IRQ_INDEX].count = 0;
        cfg_write(dev, MSIX_CAP + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE, 2);
        msix_entry(i % VECTORS, false);
        cfg_write(dev, MSIX_CAP + PCI_MSIX_FLAGS, 0, 2);
        cfg_write(dev, MSI_CAP + PCI_MSI_FLAGS, PCI_MSI_FLAGS_ENABLE, 2);
        cfg_write(dev, MSI_CAP + PCI_MSI_FLAGS, 0, 2);
    }
    g_assert_cmpuint(listen_end("warning"), ==, 2); /* one for MSI, one for MSI-X */
    g_assert_nonnull(bound_to(GSI));                /* INTx goes on */
    teardown(dev);
}

/* ---- ERR and REQ ---- */

static void notifiers_setup(void)
{
    setup();
    sim->irqs[VFIO_PCI_ERR_IRQ_INDEX].count = 1;
    sim->irqs[VFIO_PCI_REQ_IRQ_INDEX].count = 1;
}

static void test_err(void)
{
    PCIDevice *dev;

    notifiers_setup();
    dev = plug_ok("");
    vm_start();
    listen_begin();
    g_assert_true(sim_notify(sim, VFIO_PCI_ERR_IRQ_INDEX));
    run_main_loop();
    g_assert_cmpuint(listen_end("vfio 0000:02:00.0: the host reports an error"), ==, 1);
    g_assert_cmpint(run_state(), ==, RUN_STATE_INTERNAL_ERROR);
    teardown(dev);
}

static void test_req(void)
{
    bool (*unplug_request)(Device * dev, GError * *errp);
    DeviceClass *klass;
    PCIDevice *dev;

    notifiers_setup();
    dev = plug_ok("");
    klass = DEVICE_GET_CLASS(dev);
    listen_begin();
    for (unsigned i = 0; i < 3; i++) { /* as the kernel repeats it */
        g_assert_true(sim_notify(sim, VFIO_PCI_REQ_IRQ_INDEX));
        run_main_loop();
    }
    g_assert_cmpuint(listen_end("vfio 0000:02:00.0: the host wants it back, but it cannot be "
                                "unplugged: "),
                     ==, 1);
    g_assert_nonnull(object_resolve("d0"));

    unplug_request = klass->unplug_request;
    klass->unplug_request = NULL; /* where the guest need not be asked */
    g_assert_true(sim_notify(sim, VFIO_PCI_REQ_IRQ_INDEX));
    run_main_loop();
    klass->unplug_request = unplug_request;
    g_assert_null(object_resolve("d0"));
    teardown(NULL);
}

/* Neither is told of, or the one that the user does not want; all that is made is unmade. */
static void test_no_notifiers(void)
{
    g_autofree char *log = NULL;
    unsigned nth = 1;
    PCIDevice *dev;
    bool failed;

    notifiers_setup();
    dev = plug_ok(",x-req=off");
    g_assert_false(sim_notify(sim, VFIO_PCI_REQ_IRQ_INDEX));
    device_destroy(DEVICE(dev));
    log = sim_take_log();
    g_assert_true(g_str_has_prefix(log, "SET_IRQS 3 trigger 0+0 \nSET_IRQS 0 trigger 0+0 \n"));
    teardown(NULL);

    setup();
    dev = plug_ok("");
    g_assert_false(sim_notify(sim, VFIO_PCI_ERR_IRQ_INDEX));
    teardown(dev);

    do {
        notifiers_setup();
        sim_fail(nth++);
        dev = plug("", NULL);
        failed = sim_failed();
        g_assert_true(dev || failed); /* a BAR's dma-buf is not vital */
        sim_fail(0);
        teardown(dev);
    } while (failed);
    g_assert_cmpuint(nth, >, 29);
}

static const HostCalls *sane;

static int odd_ioctl(int fd, unsigned long request, void *arg)
{
    const struct vfio_irq_set *set = arg;
    int ret = sane->ioctl(fd, request, arg);

    return request == VFIO_DEVICE_SET_IRQS && !set->count && !ret ? 3 : ret;
}

/* A driver that answers "off" with a number, which only "on" can be answered with. */
static void test_odd_answer(void)
{
    HostCalls odd;
    PCIDevice *dev;

    setup();
    dev = plug_ok("");
    map_bar0(dev);
    sane = hostcalls;
    odd = *sane;
    odd.ioctl = odd_ioctl;
    hostcalls = &odd;
    cfg_write(dev, MSIX_CAP + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE, 2);
    msix_entry(0, false);
    cfg_write(dev, MSIX_CAP + PCI_MSIX_FLAGS, 0, 2);
    teardown(dev);
    hostcalls = sane;
}

static void add_tests(void)
{
    g_test_add_func("/vfio/odd-answer", test_odd_answer);
    g_test_add_data_func("/vfio/msix/dynamic", GINT_TO_POINTER(false), test_msix);
    g_test_add_data_func("/vfio/msix/noresize", GINT_TO_POINTER(true), test_msix);
    g_test_add_func("/vfio/msix/foreseen", test_msix_foreseen);
    g_test_add_data_func("/vfio/msix/exhausted/dynamic", GINT_TO_POINTER(false),
                         test_msix_exhausted);
    g_test_add_data_func("/vfio/msix/exhausted/noresize", GINT_TO_POINTER(true),
                         test_msix_exhausted);
    g_test_add_data_func("/vfio/msix/2048/dynamic", GINT_TO_POINTER(false), test_msix_many);
    g_test_add_data_func("/vfio/msix/2048/noresize", GINT_TO_POINTER(true), test_msix_many);
    g_test_add_func("/vfio/msix/userspace", test_msix_userspace);
    g_test_add_func("/vfio/msi/vectors", test_msi);
    g_test_add_data_func("/vfio/msi/masks", GINT_TO_POINTER(false), test_msi_masks);
    g_test_add_data_func("/vfio/msi/userspace", GINT_TO_POINTER(true), test_msi_masks);
    g_test_add_func("/vfio/intx/without-eventfd", test_intx_without_eventfd);
    g_test_add_func("/vfio/intx/userspace", test_intx_userspace);
    g_test_add_func("/vfio/switching", test_switching);
    g_test_add_func("/vfio/flooding", test_flooding);
    g_test_add_func("/vfio/err", test_err);
    g_test_add_func("/vfio/req", test_req);
    g_test_add_func("/vfio/no-notifiers", test_no_notifiers);
}

int main(int argc, char **argv)
{
    return vfio_test_run(argc, argv, add_tests);
}
