/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Print the frequency of this machine's time stamp counter in kHz, measured over 50 ms. */
#include <stdint.h>
#include <stdio.h>
#include <time.h>
#include <x86intrin.h>

/* Of several readings of both clocks the one that took least. */
static void read_both(uint64_t *ns, uint64_t *tsc)
{
    uint64_t best = UINT64_MAX;

    for (int i = 0; i < 20; i++) {
        struct timespec now;
        uint64_t before = __rdtsc(), after;

        clock_gettime(CLOCK_MONOTONIC_RAW, &now);
        after = __rdtsc();
        if (after - before < best) {
            best = after - before;
            *tsc = before + best / 2;
            *ns = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
        }
    }
}

int main(void)
{
    const struct timespec pause = { .tv_nsec = 50 * 1000 * 1000 };
    uint64_t ns[2] = { 0 }, tsc[2] = { 0 };

    read_both(&ns[0], &tsc[0]);
    nanosleep(&pause, NULL);
    read_both(&ns[1], &tsc[1]);
    printf("%.0f\n", (double)(tsc[1] - tsc[0]) * 1e6 / (double)(ns[1] - ns[0]));
    return 0;
}
