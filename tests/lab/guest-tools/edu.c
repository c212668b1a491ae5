/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * edu ADDRESS: drives QEMU's edu device (1234:11e8) through all that it has: registers, factorials,
 * DMA, MSI and INTx.
 * edu p2p ADDRESS PEER OFFSET: edu's DMA engine reads and writes a register of another function:
 * 32 bits at OFFSET of its BAR 0, that can be written and keep what was written.
 */
#include "vfio.h"

#include <linux/pci_regs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum {
    EDU_ID = 0x00,
    EDU_LIVENESS = 0x04, /* reads as the inverse of what was written */
    EDU_FACTORIAL = 0x08,
    EDU_STATUS = 0x20,
    EDU_IRQ_STATUS = 0x24,
    EDU_IRQ_RAISE = 0x60,
    EDU_IRQ_ACK = 0x64,
    EDU_DMA_SRC = 0x80,
    EDU_DMA_DST = 0x88,
    EDU_DMA_COUNT = 0x90,
    EDU_DMA_CMD = 0x98,
    EDU_BUFFER = 0x40000, /* as the DMA engine sees it; no BAR shows it */

    STATUS_COMPUTING = 1,
    STATUS_IRQ = 0x80, /* raise FACTORIAL_IRQ when done */
    FACTORIAL_IRQ = 1,
    DMA_IRQ = 0x100,
    DMA_RUN = 1,
    DMA_FROM_EDU = 2,
    DMA_RAISE = 4,

    PAGE = 4096,
    ROUNDS = 2000,
    SWITCHES = 10,
    SOON = 5000, /* ms: the machine may be slow */
    NEVER = 30,
};

/* ---- without interrupts ---- */

static void check_registers(const Device *edu)
{
    uint32_t id = bar_read(edu, EDU_ID), expected = 1;

    if ((id & 0xff) != 0xed) {
        die("edu: identification 0x%08x", id);
    }
    for (uint32_t v = 1; v; v <<= 1) {
        bar_write(edu, EDU_LIVENESS, v);
        if (bar_read(edu, EDU_LIVENESS) != ~v) {
            die("edu: liveness of 0x%08x is 0x%08x", v, bar_read(edu, EDU_LIVENESS));
        }
    }
    for (uint32_t n = 1; n <= 12; n++) {
        expected *= n;
        bar_write(edu, EDU_FACTORIAL, n);
        while (bar_read(edu, EDU_STATUS) & STATUS_COMPUTING) {
        }
        if (bar_read(edu, EDU_FACTORIAL) != expected) {
            die("edu: %u! = %u", n, bar_read(edu, EDU_FACTORIAL));
        }
    }
    say("edu: identification 0x%08x, liveness, 12! = %u", id, expected);
}

/* ---- DMA ---- */

static void dma(const Device *edu, int irq, uint64_t src, uint64_t dst, uint32_t count,
                uint32_t direction)
{
    bar_write64(edu, EDU_DMA_SRC, src);
    bar_write64(edu, EDU_DMA_DST, dst);
    bar_write64(edu, EDU_DMA_COUNT, count);
    bar_write64(edu, EDU_DMA_CMD, DMA_RUN | direction | (irq < 0 ? 0 : DMA_RAISE));
    if (irq >= 0) {
        if (!irq_wait(irq, SOON)) {
            die("edu: no interrupt after DMA");
        }
        if (bar_read(edu, EDU_IRQ_STATUS) != DMA_IRQ) {
            die("edu: interrupt status 0x%x after DMA", bar_read(edu, EDU_IRQ_STATUS));
        }
        bar_write(edu, EDU_IRQ_ACK, DMA_IRQ);
    }
    while (bar_read(edu, EDU_DMA_CMD) & DMA_RUN) {
        usleep(1000);
    }
}

static void dma_in(const Device *edu, int irq, uint64_t from, uint32_t count)
{
    dma(edu, irq, from, EDU_BUFFER, count, 0);
}

static void dma_out(const Device *edu, int irq, uint64_t to, uint32_t count)
{
    dma(edu, irq, EDU_BUFFER, to, count, DMA_FROM_EDU);
}

/* From one page to another, and pieces that lie across two, each end told by an interrupt. */
static void check_dma(const Device *edu, int irq)
{
    static const struct {
        uint32_t from, to, count;
    } pieces[] = {
        { 0, 0, PAGE },
        { 3 * PAGE, 100 * PAGE, PAGE },
        { 5 * PAGE + 2048, 200 * PAGE + 1024, PAGE },
        { 8 * PAGE - 3, 240 * PAGE + 4093, 1001 },
        { 254 * PAGE, 255 * PAGE - 256, 512 },
    };
    uint64_t at;
    uint8_t *memory = dma_memory(&at), *target = memory + 0x100000;

    for (size_t i = 0; i < 0x100000; i++) {
        memory[i] = (uint8_t)(rand() >> 8);
    }
    for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
        uint32_t from = pieces[i].from, to = pieces[i].to, n = pieces[i].count;

        memset(target, 0x5a, 0x100000);
        dma_in(edu, irq, at + from, n);
        dma_out(edu, irq, at + 0x100000 + to, n);
        if (memcmp(memory + from, target + to, n)) {
            die("edu: DMA of %u bytes from 0x%x to 0x%x: the data differs", n, from, to);
        }
        if ((to && target[to - 1] != 0x5a) || target[to + n] != 0x5a) {
            die("edu: DMA of %u bytes wrote more than that", n);
        }
    }
    say("edu: DMA from memory at 0x%llx and back, whole pages and across pages: equal",
        (unsigned long long)at);
}

/* ---- interrupts ---- */

static void show_lines(const Device *edu)
{
    char line[512];
    FILE *file = fopen("/proc/interrupts", "r");

    while (file && fgets(line, sizeof(line), file)) {
        if (strstr(line, "vfio") && strstr(line, edu->address)) {
            line[strcspn(line, "\n")] = 0;
            say("/proc/interrupts: %s", line);
        }
    }
    if (file) {
        fclose(file);
    }
}

/* One interrupt, exactly, served as its kind wants it. */
static void one_interrupt(const Device *edu, unsigned index, int irq, uint32_t bit)
{
    uint64_t n;

    bar_write(edu, EDU_IRQ_RAISE, bit);
    n = irq_wait(irq, SOON);
    if (n != 1) {
        die("edu: %llu interrupts for one (index %u)", (unsigned long long)n, index);
    }
    bar_write(edu, EDU_IRQ_ACK, bit);
    if (index == VFIO_PCI_INTX_IRQ_INDEX) {
        irq_mask(edu, false); /* VFIO masked it when it came */
    }
}

static void check_msi(const Device *edu)
{
    int irq = irq_enable(edu, VFIO_PCI_MSI_IRQ_INDEX);

    for (int i = 0; i < ROUNDS; i++) {
        one_interrupt(edu, VFIO_PCI_MSI_IRQ_INDEX, irq, 2);
    }
    bar_write(edu, EDU_STATUS, STATUS_IRQ);
    bar_write(edu, EDU_FACTORIAL, 10);
    if (irq_wait(irq, SOON) != 1 || bar_read(edu, EDU_IRQ_STATUS) != FACTORIAL_IRQ ||
        bar_read(edu, EDU_FACTORIAL) != 3628800) {
        die("edu: no interrupt for 10!");
    }
    bar_write(edu, EDU_IRQ_ACK, FACTORIAL_IRQ);
    bar_write(edu, EDU_STATUS, 0);
    check_dma(edu, irq);
    if (irq_wait(irq, NEVER)) {
        die("edu: an MSI that nothing raised");
    }
    show_lines(edu);
    irq_disable(edu, VFIO_PCI_MSI_IRQ_INDEX, irq);
    say("edu: MSI: %d raised, %d came", ROUNDS, ROUNDS);
}

/* A line that stays up interrupts again, a masked one does not, and none is lost meanwhile. */
static void check_mask(const Device *edu, int irq)
{
    for (int i = 0; i < SWITCHES; i++) {
        irq_mask(edu, true);
        bar_write(edu, EDU_IRQ_RAISE, 4);
        if (irq_wait(irq, NEVER)) {
            die("edu: masked INTx came");
        }
        irq_mask(edu, false);
        if (irq_wait(irq, SOON) != 1) {
            die("edu: unmasked INTx did not come");
        }
        irq_mask(edu, false); /* not acknowledged: still up */
        if (irq_wait(irq, SOON) != 1) {
            die("edu: INTx that is still up did not come again");
        }
        bar_write(edu, EDU_IRQ_ACK, 4);
        irq_mask(edu, false);
        if (irq_wait(irq, NEVER)) {
            die("edu: acknowledged INTx came");
        }
    }
    say("edu: INTx: %d times masked, unmasked, still up, acknowledged", SWITCHES);
}

static void check_intx(const Device *edu)
{
    int irq = irq_enable(edu, VFIO_PCI_INTX_IRQ_INDEX);

    for (int i = 0; i < ROUNDS; i++) {
        one_interrupt(edu, VFIO_PCI_INTX_IRQ_INDEX, irq, 1);
    }
    check_mask(edu, irq);
    show_lines(edu);
    irq_disable(edu, VFIO_PCI_INTX_IRQ_INDEX, irq);
    say("edu: INTx: %d raised, %d came", ROUNDS, ROUNDS);
}

static void check_switches(const Device *edu)
{
    static const unsigned indexes[] = { VFIO_PCI_INTX_IRQ_INDEX, VFIO_PCI_MSI_IRQ_INDEX };

    for (unsigned i = 0; i < 2 * SWITCHES; i++) {
        int irq = irq_enable(edu, indexes[i % 2]);

        one_interrupt(edu, indexes[i % 2], irq, 8);
        irq_disable(edu, indexes[i % 2], irq);
    }
    say("edu: %d switches from INTx to MSI and back, an interrupt in each", SWITCHES);
}

/* ---- peer to peer ---- */

static void p2p_round(const Device *edu, const Device *peer, unsigned offset, uint8_t *memory,
                      uint64_t at, const char *when)
{
    uint32_t out = 0xabcd1000 + ((uint32_t)rand() & 0xf000), back = 0x0bad0000, found;

    memcpy(memory, &out, 4);
    dma_in(edu, -1, at, 4);
    dma_out(edu, -1, peer->bar_address + offset, 4);
    found = bar_read(peer, offset);
    if (found != out) {
        die("p2p %s: wrote 0x%08x, the register has 0x%08x", when, out, found);
    }
    bar_write(peer, offset, ~out & ~0xfffU);
    dma_in(edu, -1, peer->bar_address + offset, 4);
    dma_out(edu, -1, at + 64, 4);
    memcpy(&back, memory + 64, 4);
    if (back != (~out & ~0xfffU)) {
        die("p2p %s: the register has 0x%08x, read 0x%08x", when, ~out & ~0xfffU, back);
    }
    say("p2p %s: %s wrote 0x%08x to %s and read 0x%08x", when, edu->address, out, peer->address,
        back);
}

static int p2p(const char *address, const char *peer_address, unsigned offset)
{
    Device edu = device_open(address), peer = device_open(peer_address);
    uint64_t at;
    uint8_t *memory = dma_memory(&at);

    p2p_round(&edu, &peer, offset, memory, at, "at first");
    for (int i = 0; i < 3; i++) {
        device_enable(&peer, false);
        device_enable(&peer, true);
        p2p_round(&edu, &peer, offset, memory, at, "after its memory was off and on");
    }
    if (peer.can_reset) {
        if (ioctl(peer.fd, VFIO_DEVICE_RESET)) {
            die("p2p: %s: reset failed", peer.address);
        }
        p2p_round(&edu, &peer, offset, memory, at, "after a reset");
    }
    return 0;
}

int main(int argc, char **argv)
{
    Device edu;

    if (argc == 5 && !strcmp(argv[1], "p2p")) {
        return p2p(argv[2], argv[3], (unsigned)strtoul(argv[4], NULL, 0));
    }
    if (argc != 2) {
        die("usage: edu ADDRESS | edu p2p ADDRESS PEER OFFSET");
    }
    edu = device_open(argv[1]);
    if (config_read(&edu, PCI_VENDOR_ID) != 0x1234 || config_read(&edu, PCI_DEVICE_ID) != 0x11e8) {
        die("%s is no edu", argv[1]);
    }
    check_registers(&edu);
    check_msi(&edu);
    check_intx(&edu);
    check_switches(&edu);
    check_msi(&edu);
    return 0;
}
