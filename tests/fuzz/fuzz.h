/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the fuzz targets share: an input that is used up byte by byte, and a guest that does what
 * the bytes say to a vfio-pci device of the simulated kernel (tests/unit/vfio-fixture.h).
 * An input leaves nothing behind: all that it made is gone when the target returns.
 */
#ifndef VIADUCT_TESTS_FUZZ_FUZZ_H
#define VIADUCT_TESTS_FUZZ_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What libFuzzer calls. */
int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct Input {
    const uint8_t *data;
    size_t left;
} Input;

/* A number of @bytes bytes, little-endian; zeros where the input has ended. */
uint64_t input_take(Input *in, unsigned bytes);
/* Of more than there is, what there is; the bytes stay the input's. */
const uint8_t *input_bytes(Input *in, size_t *n);

/* The machine of the fixture; warnings of GLib's are findings. */
void fuzz_init(void);
/* Descriptors that the process has open. */
unsigned fuzz_open_fds(void);
/* Whatever is ready in the main loop, some times over. */
void fuzz_spin(void);
/* -device vfio-pci,id=d0,…, where and how @choice says; false: refused, with an error. */
bool fuzz_plug(uint8_t choice);
/* What the guest, the device and the host do, until the input ends. */
void fuzz_guest(Input *in);
/* Device and port go; nothing may be left. */
void fuzz_unplug(void);

#endif
