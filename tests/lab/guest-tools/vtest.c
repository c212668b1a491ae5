/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vtest ADDRESS PAGES RATE VECTORS [STATE_MIB STATE_RATE [PEER]]: drives the lab's test device
 * (tests/lab/kmod): starts its engine on so many pages, serves its interrupts, and does what lines
 * on stdin say:
 *   check   stops the engine, compares what lies in the pages, what the device says of them and the
 *           interrupts that came, and starts it again
 *   status  only shows what the device counts
 *   end     a last check, and that is all
 * Without any line it goes on for ever.  The driver knows nothing of migration.
 * PEER is another such device, whose BAR 2 is to get each record too.
 */
#include "vfio.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/lab/kmod/registers.h"

enum { SOON = 10000, BATCH = 8 }; /* ms: the machine may be slow; pages */

static Device dev;
static uint32_t pages, vectors;
static uint8_t *memory;
static uint64_t *list, *records, seen[VT_VECTORS];
static struct pollfd polled[1 + VT_VECTORS]; /* stdin, and the vectors */
static volatile uint8_t *peer_bar;

typedef unsigned long long ull;

static uint64_t counter(unsigned at)
{
    return bar_read64(&dev, at);
}

static void command(uint32_t cmd, const char *what)
{
    uint32_t result;

    bar_write(&dev, VT_COMMAND, cmd);
    result = bar_read(&dev, VT_RESULT);
    if (result != VT_OK) {
        die("vtest: %s: result %u", what, result);
    }
}

/* ---- interrupts ---- */

/* What came within @ms; whether anything did. */
static bool serve(int ms)
{
    uint64_t n;

    if (poll(polled, 1 + vectors, ms) <= 0) {
        return false;
    }
    for (unsigned i = 0; i < vectors; i++) {
        if (!(polled[1 + i].revents & POLLIN) || read(polled[1 + i].fd, &n, sizeof(n)) < 0) {
            continue;
        }
        if (n != 1) {
            die("vtest: vector %u came %llu times for once", i, (ull)n);
        }
        seen[i] += n;
        bar_write(&dev, VT_ACK, i);
    }
    return true;
}

/* In this order: what is due becomes outstanding at any time. */
static bool quiet(void)
{
    return !counter(VT_DUE) && !counter(VT_OUTSTANDING);
}

/* Until the device has no more to say; how many vectors' interrupts are lost or too many. */
static unsigned settle(void)
{
    unsigned wrong = 0;

    for (int i = 0; i < SOON / 10 && !quiet(); i++) {
        serve(10);
    }
    for (unsigned i = 0; i < vectors; i++) {
        uint64_t raised = counter(VT_RAISED + 8 * i);

        if (raised != seen[i]) {
            say("vtest: vector %u: %llu raised, %llu came", i, (ull)raised, (ull)seen[i]);
            wrong++;
        }
    }
    return wrong;
}

/* ---- pages ---- */

static const struct vt_record *page(uint64_t i)
{
    return (const struct vt_record *)(memory + i * VT_PAGE);
}

/* How many pages do not have what the device says that it wrote there last. */
static unsigned compare(void)
{
    unsigned wrong = 0;

    for (uint32_t i = 0; i < pages; i++) {
        const struct vt_record *r = page(i);

        if (r->sequence == records[i] &&
            (!r->sequence || (r->index == i && r->check == vt_check(i, r->sequence)))) {
            continue;
        }
        if (wrong++ < 5) {
            say("vtest: page %u at 0x%llx has record %llu of %llu, the device wrote %llu", i,
                (ull)list[i], (ull)r->sequence, (ull)r->index, (ull)records[i]);
        }
    }
    return wrong;
}

/* The records go down by one from the page written last, one page after the other. */
static unsigned gaps(void)
{
    uint64_t sequence = counter(VT_SEQUENCE), position = counter(VT_POSITION) + pages - 1;
    unsigned n = 0;

    for (uint64_t i = 0; i < pages && i < sequence; i++) {
        n += records[(position - i) % pages] != sequence - i;
    }
    return n;
}

static void status(void)
{
    say("vtest: %llu writes, %llu faults, %llu interrupts, %llu loads, status %u",
        (ull)counter(VT_WRITES), (ull)counter(VT_FAULTS), (ull)counter(VT_INTERRUPTS),
        (ull)counter(VT_LOADS), bar_read(&dev, VT_STATUS));
}

static void check_peer(void)
{
    struct vt_record r;

    for (size_t i = 0; i < sizeof(r); i += 8) {
        memcpy((uint8_t *)&r + i, (const uint64_t *)(uintptr_t)(peer_bar + i), 8);
    }
    if (r.sequence != counter(VT_SEQUENCE) || r.check != vt_check(r.index, r.sequence)) {
        die("vtest: the peer has record %llu, the device wrote %llu there and %llu here",
            (ull)r.sequence, (ull)counter(VT_PEER_WRITES), (ull)counter(VT_SEQUENCE));
    }
    say("vtest: %llu records went to the peer, the last of them is there",
        (ull)counter(VT_PEER_WRITES));
}

static void check(void)
{
    unsigned lost, wrong, missing;

    command(VT_CMD_STOP, "stop");
    lost = settle();
    command(VT_CMD_DUMP, "dump");
    wrong = compare();
    missing = gaps();
    command(VT_CMD_VERIFY, "its internal state is not what it should be");
    say("vtest %s: checked %u pages: %u mismatches, %u gaps; %llu interrupts of %u vectors: %u "
        "wrong",
        dev.address, pages, wrong, missing, (ull)counter(VT_INTERRUPTS), vectors, lost);
    status();
    if (peer_bar) {
        check_peer();
    }
    if (wrong || missing || lost || counter(VT_FAULTS)) {
        die("vtest: the check");
    }
    command(VT_CMD_START, "start");
}

/* ---- life ---- */

/* BAR 2 of another, mapped here, is the target of DMA. */
static void peer_open(const char *address)
{
    Device peer = device_open_unmapped(address);
    struct vfio_region_info bar = { .argsz = sizeof(bar), .index = VFIO_PCI_BAR2_REGION_INDEX };
    char path[128], line[128];
    ull start = 0;
    FILE *file;

    snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/resource", address);
    file = fopen(path, "r");
    for (int i = 0; file && i < 3 && fgets(line, sizeof(line), file); i++) {
        start = strtoull(line, NULL, 16);
    }
    if (!start || ioctl(peer.fd, VFIO_DEVICE_GET_REGION_INFO, &bar)) {
        die("vtest: %s has no BAR 2", address);
    }
    fclose(file);
    peer_bar = mmap(NULL, bar.size, PROT_READ | PROT_WRITE, MAP_SHARED, peer.fd, (off_t)bar.offset);
    if (peer_bar == MAP_FAILED) {
        die("vtest: %s: BAR 2 cannot be mapped: %s", address, strerror(errno));
    }
    bar_write64(&dev, VT_PEER, start);
}

static void start(const char *address, uint32_t rate, uint64_t state, uint32_t state_rate)
{
    int fds[VT_VECTORS];

    dev = device_open_unmapped(address);
    if (bar_read(&dev, VT_ID) != VT_ID_VALUE) {
        die("vtest: %s is no test device", address);
    }
    list = (uint64_t *)huge_memory(VT_MAX_PAGES * 16);
    records = list + VT_MAX_PAGES;
    memory = huge_memory((size_t)pages * VT_PAGE);
    for (uint32_t i = 0; i < pages; i++) {
        list[i] = physical(memory + (size_t)i * VT_PAGE);
    }
    msix_enable(&dev, fds, vectors);
    polled[0] = (struct pollfd) { .fd = 0, .events = POLLIN };
    for (unsigned i = 0; i < vectors; i++) {
        polled[1 + i] = (struct pollfd) { .fd = fds[i], .events = POLLIN };
    }
    command(VT_CMD_STOP, "stop");
    command(VT_CMD_CLEAR, "clear");
    bar_write64(&dev, VT_LIST, physical(list));
    bar_write64(&dev, VT_DUMP, physical(records));
    bar_write(&dev, VT_PAGES, pages);
    bar_write(&dev, VT_RATE, rate);
    bar_write(&dev, VT_BATCH, BATCH);
    bar_write(&dev, VT_NR_VECTORS, vectors);
    bar_write64(&dev, VT_STATE_SIZE, state << 20);
    command(VT_CMD_RESIZE, "resize");
    bar_write(&dev, VT_STATE_RATE, state_rate);
}

/* Another line from stdin: false, that was all. */
static bool obey(void)
{
    static char line[64];
    static size_t n;
    ssize_t got = read(0, line + n, 1);

    if (got <= 0) {
        polled[0].fd = -1; /* nobody there: go on without */
        return true;
    }
    if (line[n] != '\n' && line[n] != '\r') {
        n += n + 1 < sizeof(line);
        return true;
    }
    line[n] = 0;
    n = 0;
    if (!strcmp(line, "check") || !strcmp(line, "end")) {
        check();
    } else if (!strcmp(line, "status")) {
        status();
    } else if (line[0]) {
        say("vtest: '%s'?", line);
    }
    return strcmp(line, "end") != 0;
}

static uint32_t number(char **argv, int argc, int i)
{
    return i < argc ? (uint32_t)strtoul(argv[i], NULL, 0) : 0;
}

int main(int argc, char **argv)
{
    bool more = true;

    if (argc < 5 || argc > 8) {
        die("usage: vtest ADDRESS PAGES RATE VECTORS [STATE_MIB STATE_RATE [PEER]]");
    }
    pages = number(argv, argc, 2);
    vectors = number(argv, argc, 4);
    if (!pages || pages > VT_MAX_PAGES || !vectors || vectors > VT_VECTORS) {
        die("vtest: %u pages, %u vectors?", pages, vectors);
    }
    start(argv[1], number(argv, argc, 3), number(argv, argc, 5), number(argv, argc, 6));
    if (argc == 8) {
        peer_open(argv[7]);
    }
    command(VT_CMD_START, "start");
    say("vtest: %s writes to %u pages, %u a second, and interrupts on %u vectors", argv[1], pages,
        number(argv, argc, 3), vectors);
    while (more) {
        serve(1000);
        more = !(polled[0].revents & (POLLIN | POLLHUP)) || obey();
        polled[0].revents = 0;
    }
    command(VT_CMD_STOP, "stop");
    return 0;
}
