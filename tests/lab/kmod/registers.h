/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The test device as its driver sees it; the module, the guest's program and the lab's host program
 * share this.  README.md tells what it all means.  Registers are little-endian; an access is of 4
 * or 8 bytes, naturally aligned.
 */
#ifndef VIADUCT_TEST_REGISTERS_H
#define VIADUCT_TEST_REGISTERS_H

#include <linux/types.h>

#define VT_VENDOR    0x1de5 /* both unassigned as far as the PCI ID list knows */
#define VT_DEVICE    0x0a0d
#define VT_CLASS     0xff0000
#define VT_VECTORS   64
#define VT_MAX_PAGES 65536
#define VT_MAX_STATE (1ULL << 30)
#define VT_PAGE      4096

/* BAR 0: registers.  BAR 2: memory.  BAR 4: MSI-X table and, from VT_PBA on, pending bits. */
#define VT_BAR0_SIZE 0x100000
#define VT_BAR2_SIZE 0x10000
#define VT_BAR4_SIZE 0x2000
#define VT_PBA       0x1000

#define VT_ID_VALUE  0x54534554 /* "TEST" */

enum vt_register {
    VT_ID = 0x00,
    VT_STATUS = 0x04,     /* VT_STATUS_… */
    VT_COMMAND = 0x08,    /* VT_CMD_…; reads as 0 */
    VT_RESULT = 0x0c,     /* of the last command: VT_OK or what went wrong */
    VT_LIST = 0x10,       /* 64 bits: DMA address of the list of pages, 64 bits each */
    VT_PAGES = 0x18,      /* how many the list has */
    VT_RATE = 0x1c,       /* pages to be written a second */
    VT_BATCH = 0x20,      /* pages from one interrupt to the next */
    VT_NR_VECTORS = 0x24, /* that are used in turn; 0: no interrupts */
    VT_PEER = 0x28,       /* 64 bits: where each record goes too; 0: nowhere */
    VT_DUMP = 0x30,       /* 64 bits: where VT_CMD_DUMP writes */
    VT_STATE_SIZE = 0x38, /* 64 bits: bytes of internal state, taken over by VT_CMD_RESIZE */
    VT_STATE_RATE = 0x40, /* pages of it that change a second */
    VT_ACK = 0x44,        /* a vector's number: its interrupt is served */

    /* What the device counts; 64 bits each, read-only. */
    VT_SEQUENCE = 0x50, /* number of the last record */
    VT_WRITES = 0x58,
    VT_FAULTS = 0x60, /* DMA that met no mapping */
    VT_PEER_WRITES = 0x68,
    VT_INTERRUPTS = 0x70,
    VT_LOADS = 0x78,       /* how often this state came from another device */
    VT_OUTSTANDING = 0x80, /* a bit for each vector that is not acknowledged */
    VT_DUE = 0x88,         /* … and is to be raised again when it is */
    VT_STATE_SUM = 0x90,   /* of how often each page of the internal state has changed */
    VT_MISUSE = 0x98,      /* accesses in states that allow none; not migrated */
    VT_POSITION = 0xa0,    /* index of the page that is next */
    VT_RAISED = 0x200,     /* VT_VECTORS of them: interrupts of each vector */

    VT_RECORDS = 0x80000, /* VT_MAX_PAGES of them: number of the last record in each page */
};

enum vt_status {
    VT_STATUS_STARTED = 1, /* by its driver */
    VT_STATUS_MOVING = 2,  /* … and neither bus mastering nor the migration state stops it */
};

enum vt_command {
    VT_CMD_START = 1, /* write to the pages */
    VT_CMD_STOP = 2,
    VT_CMD_DUMP = 3,   /* write all records, VT_PAGES of them, 64 bits each, to VT_DUMP */
    VT_CMD_RESIZE = 4, /* make internal state of VT_STATE_SIZE bytes */
    VT_CMD_VERIFY = 5, /* is the internal state what it should be? */
    VT_CMD_CLEAR = 6,  /* records, counters and position to 0; the engine must be stopped */
};

enum vt_result {
    VT_OK = 0,
    VT_FAULT = 1, /* DMA met no mapping */
    VT_WRONG = 2, /* the internal state is damaged */
    VT_BAD = 3,   /* there is no such command, or it can not be done now */
};

/* What the device writes at the beginning of a page. */
struct vt_record {
    __u64 index;    /* in the list */
    __u64 sequence; /* never 0 */
    __u64 check;    /* vt_check(index, sequence) */
};

static inline __u64 vt_check(__u64 index, __u64 sequence)
{
    __u64 x = (index + 1) * 0x9e3779b97f4a7c15ULL ^ sequence * 0xd6e8feb86659fd93ULL;

    return x ^ x >> 29;
}

#endif
