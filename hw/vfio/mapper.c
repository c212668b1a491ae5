/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The mapper: a thread that maps guest memory for the first device of a container while the guest
 * boots already.  No device does DMA before the guest's driver has set its Bus Master Enable, and
 * that is where the guest waits, if it is so early, for the mapper to end.
 *
 * Most of the time goes into allocating and zeroing memory, for which no device is needed: that
 * begins while the kernel resets the device at BIND.
 */
#include "hw/vfio/container.h"

#include "core/runstate.h"
#include "util/error.h"
#include "util/trace.h"

#define CHUNK (64ULL << 20)  /* between two looks at whether to go on */
#define PART  (256ULL << 20) /* of an extent, for one thread to map */

typedef struct Job {
    VFIOExtent *extent;
    MemoryRange range;
} Job;

struct VFIOMapper {
    VFIOContainer *container;
    GThread *thread;
    Crew *crew; /* the thread's; it is one of them */
    FlatView *view;
    GArray *jobs; /* the thread's from the start on */
    char *prefix;
    gint64 map_time; /* us; this and the error are the thread's until it has ended */
    GError *error;
    GMutex lock; /* of the cond; innermost */
    GCond cond;
    gint started, cancelled, populated; /* atomic; set under the lock */
    gint small_pages;                   /* atomic: some memory has no huge ones */
    gint taken, chunks;                 /* atomic: of the memory to populate, and so many are */
};

static bool cancelled(VFIOMapper *m)
{
    return g_atomic_int_get(&m->cancelled);
}

static RAMBlock *block_to_populate(const MemoryRange *r)
{
    return memory_region_has_file(r->mr) ? r->mr->block : NULL;
}

/* One of several threads at it: each takes the next chunk that nobody has taken. */
static void populate(void *opaque)
{
    VFIOMapper *m = opaque;
    size_t n;
    const MemoryRange *ranges = flat_view_ranges(m->view, &n);
    int mine = g_atomic_int_add(&m->taken, 1), chunk = 0;

    for (size_t i = 0; i < n; i++) {
        RAMBlock *block = block_to_populate(&ranges[i]);
        char *host = block ? memory_range_host(&ranges[i]) : NULL;

        for (uint64_t at = 0; block && at < ranges[i].size && !cancelled(m); at += CHUNK) {
            if (chunk++ != mine) {
                continue;
            }
            if (!ram_block_populate_huge(block, (uint64_t)(host + at - (char *)block->host),
                                         MIN(CHUNK, ranges[i].size - at))) {
                g_atomic_int_set(&m->small_pages, true);
            }
            g_atomic_int_inc(&m->chunks);
            mine = g_atomic_int_add(&m->taken, 1);
        }
    }
}

static void signal_all(VFIOMapper *m, gint *what)
{
    g_mutex_lock(&m->lock);
    g_atomic_int_set(what, true);
    g_cond_broadcast(&m->cond);
    g_mutex_unlock(&m->lock);
}

/* False if it is cancelled first. */
static bool await(VFIOMapper *m, const gint *what)
{
    g_mutex_lock(&m->lock);
    while (!g_atomic_int_get(what) && !cancelled(m)) {
        g_cond_wait(&m->cond, &m->lock);
    }
    g_mutex_unlock(&m->lock);
    return !cancelled(m);
}

void vfio_mapper_await_pages(VFIOMapper *m)
{
    await(m, &m->populated);
}

typedef struct Parts {
    VFIOMapper *m;
    const Job *job;
    gint taken;    /* atomic */
    GError *error; /* atomic: the first */
} Parts;

static void map_parts(void *opaque)
{
    Parts *parts = opaque;
    const Job *job = parts->job;

    while (!g_atomic_pointer_get(&parts->error) && !cancelled(parts->m)) {
        uint64_t at = (uint64_t)g_atomic_int_add(&parts->taken, 1) * PART;
        VFIOExtent part = *job->extent;
        GError *err = NULL;

        if (at >= part.length) {
            break;
        }
        part.iova += at;
        part.length = MIN(PART, part.length - at);
        if (!vfio_container_map(parts->m->container, &part, &job->range, &err) &&
            !g_atomic_pointer_compare_and_exchange(&parts->error, NULL, err)) {
            g_error_free(err);
        }
    }
}

/*
 * Pinning small pages takes long, and threads do it side by side.  What is mapped in parts can be
 * unmapped as a whole; when it is not mapped as a whole, all goes with the container.
 */
static bool map_extent(VFIOMapper *m, const Job *job)
{
    Parts parts = { .m = m, .job = job };

    if (!g_atomic_int_get(&m->small_pages) || job->extent->length <= PART) {
        return vfio_container_map(m->container, job->extent, &job->range, &m->error);
    }
    job->extent->part = PART;
    crew_run(m->crew, map_parts, &parts);
    m->error = parts.error;
    return !m->error;
}

static bool map_all(VFIOMapper *m)
{
    gint64 t0 = g_get_monotonic_time();

    for (guint i = 0; i < m->jobs->len && !cancelled(m); i++) {
        Job *job = &g_array_index(m->jobs, Job, i);

        if (!map_extent(m, job)) {
            return false;
        }
        g_atomic_int_set(&job->extent->mapped, !cancelled(m));
    }
    m->map_time = g_get_monotonic_time() - t0;
    return true;
}

static void *mapper_thread(void *opaque)
{
    VFIOMapper *m = opaque;

    m->crew = vfio_container_crew(m->container, UINT_MAX);
    crew_run(m->crew, populate, m);
    signal_all(m, &m->populated);
    if (await(m, &m->started) && !map_all(m) && m->prefix) {
        error_report("%s%s", m->prefix, m->error->message);
        system_failure_request();
    }
    crew_free(m->crew);
    TRACE("vfio_mapper_end", "%s: %u extents", m->container->name, m->jobs->len);
    return NULL;
}

uint64_t vfio_mapper_populated(VFIOMapper *m)
{
    return (uint64_t)g_atomic_int_get(&m->chunks) * CHUNK;
}

static void mapper_free(VFIOMapper *m)
{
    flat_view_unref(m->view);
    g_array_unref(m->jobs);
    g_mutex_clear(&m->lock);
    g_cond_clear(&m->cond);
    g_clear_error(&m->error);
    g_free(m->prefix);
    g_free(m);
}

VFIOMapper *vfio_mapper_new(VFIOContainer *c)
{
    VFIOMapper *m = g_new0(VFIOMapper, 1);
    const MemoryRange *ranges;
    size_t n;

    m->container = c;
    m->view = address_space_view(&address_space_memory);
    ranges = flat_view_ranges(m->view, &n);
    for (size_t i = 0; i < n; i++) {
        RAMBlock *block = block_to_populate(&ranges[i]);

        if (block) {
            block->pinned = true;
        }
    }
    m->jobs = g_array_new(FALSE, FALSE, sizeof(Job));
    g_mutex_init(&m->lock);
    g_cond_init(&m->cond);
    m->thread = g_thread_try_new("mapper", mapper_thread, m, NULL);
    if (!m->thread) {
        mapper_free(m);
        return NULL;
    }
    return m;
}

void vfio_mapper_add(VFIOMapper *m, VFIOExtent *e, const MemoryRange *r)
{
    Job job = { e, *r };

    g_array_append_val(m->jobs, job);
}

void vfio_mapper_start(VFIOMapper *m, const char *prefix)
{
    m->prefix = g_strdup(prefix);
    signal_all(m, &m->started);
}

bool vfio_mapper_finish(VFIOMapper *m, GError **errp)
{
    bool ok;

    if (!g_atomic_int_get(&m->started)) {
        signal_all(m, &m->cancelled);
    }
    g_thread_join(m->thread);
    ok = !m->error;
    m->container->map_time = m->map_time;
    if (!ok) {
        g_propagate_error(errp, g_steal_pointer(&m->error));
    }
    mapper_free(m);
    return ok;
}

void vfio_mapper_cancel(VFIOMapper *m)
{
    signal_all(m, &m->cancelled);
    vfio_mapper_finish(m, NULL);
}
