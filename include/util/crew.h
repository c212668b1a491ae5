/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Threads that do one piece of work together, now and then, and sleep in between. */
#ifndef VIADUCT_UTIL_CREW_H
#define VIADUCT_UTIL_CREW_H

typedef struct Crew Crew;

/* @threads, the caller of crew_run() being one of them; fewer where the kernel gives no more. */
Crew *crew_new(const char *name, unsigned threads);
/*
 * Each of them calls @work, and it returns when all are through; it allocates nothing.  How they
 * share the work is their affair: none is certain to come before another has done it all.  One call
 * at a time, by any thread.
 */
void crew_run(Crew *crew, void (*work)(void *opaque), void *opaque);
void crew_free(Crew *crew);

#endif
