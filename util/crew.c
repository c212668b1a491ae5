/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "util/crew.h"

#include <glib.h>
#include <stdbool.h>

struct Crew {
    void (*work)(void *opaque);
    void *opaque;
    GMutex lock;   /* innermost; of the next three */
    unsigned runs; /* that have begun */
    unsigned busy; /* threads that are not through with the last one */
    bool over;
    GCond begin, end;
    unsigned n;
    GThread *threads[];
};

static void *member(void *opaque)
{
    Crew *crew = opaque;

    g_mutex_lock(&crew->lock);
    for (unsigned run = 1;; run++) {
        while (crew->runs < run && !crew->over) {
            g_cond_wait(&crew->begin, &crew->lock);
        }
        if (crew->over) {
            break;
        }
        g_mutex_unlock(&crew->lock);
        crew->work(crew->opaque);
        g_mutex_lock(&crew->lock);
        if (--crew->busy == 0) {
            g_cond_signal(&crew->end);
        }
    }
    g_mutex_unlock(&crew->lock);
    return NULL;
}

Crew *crew_new(const char *name, unsigned threads)
{
    Crew *crew = g_malloc0(sizeof(*crew) + threads * sizeof(crew->threads[0]));

    g_mutex_init(&crew->lock);
    g_cond_init(&crew->begin);
    g_cond_init(&crew->end);
    while (crew->n + 1 < threads) {
        GThread *thread = g_thread_try_new(name, member, crew, NULL);

        if (!thread) {
            break;
        }
        crew->threads[crew->n++] = thread;
    }
    return crew;
}

void crew_run(Crew *crew, void (*work)(void *opaque), void *opaque)
{
    g_mutex_lock(&crew->lock);
    crew->work = work;
    crew->opaque = opaque;
    crew->busy = crew->n;
    crew->runs++;
    g_cond_broadcast(&crew->begin);
    g_mutex_unlock(&crew->lock);
    work(opaque);
    g_mutex_lock(&crew->lock);
    while (crew->busy) {
        g_cond_wait(&crew->end, &crew->lock);
    }
    g_mutex_unlock(&crew->lock);
}

void crew_free(Crew *crew)
{
    g_mutex_lock(&crew->lock);
    crew->over = true;
    g_cond_broadcast(&crew->begin);
    g_mutex_unlock(&crew->lock);
    for (unsigned i = 0; i < crew->n; i++) {
        g_thread_join(crew->threads[i]);
    }
    g_mutex_clear(&crew->lock);
    g_cond_clear(&crew->begin);
    g_cond_clear(&crew->end);
    g_free(crew);
}
