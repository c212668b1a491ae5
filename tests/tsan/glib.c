/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * GLib as the thread sanitizer must see it.  The library is not built with the sanitizer, and its
 * locks are futexes of its own, so nothing would be known of what they order.  These stand before
 * GLib's functions, call them, and say so.
 * Source: compiler-rt include/sanitizer/tsan_interface.h, lib/tsan/rtl/tsan_interface_ann.cpp.
 */
#include <dlfcn.h>
#include <glib.h>
#include <sanitizer/tsan_interface.h>

/* The function of this name behind ours. */
#define REAL(name)        ((__typeof__(&name))real(&name##_real, #name))
#define DEFINE_REAL(name) static void *name##_real

DEFINE_REAL(g_mutex_lock);
DEFINE_REAL(g_mutex_trylock);
DEFINE_REAL(g_mutex_unlock);
DEFINE_REAL(g_cond_wait);
DEFINE_REAL(g_cond_wait_until);
DEFINE_REAL(g_idle_add_full);

void AnnotateIgnoreWritesBegin(const char *file, int line);
void AnnotateIgnoreWritesEnd(const char *file, int line);

static void *real(void **where, const char *name)
{
    void *function = __atomic_load_n(where, __ATOMIC_RELAXED);

    if (!function) {
        function = dlsym(RTLD_NEXT, name);
        __atomic_store_n(where, function, __ATOMIC_RELAXED);
    }
    return function;
}

void g_mutex_lock(GMutex *mutex)
{
    __tsan_mutex_pre_lock(mutex, __tsan_mutex_linker_init);
    REAL(g_mutex_lock)(mutex);
    __tsan_mutex_post_lock(mutex, __tsan_mutex_linker_init, 0);
}

gboolean g_mutex_trylock(GMutex *mutex)
{
    unsigned flags = __tsan_mutex_linker_init | __tsan_mutex_try_lock;
    gboolean got;

    __tsan_mutex_pre_lock(mutex, flags);
    got = REAL(g_mutex_trylock)(mutex);
    __tsan_mutex_post_lock(mutex, got ? flags : flags | __tsan_mutex_try_lock_failed, 0);
    return got;
}

void g_mutex_unlock(GMutex *mutex)
{
    __tsan_mutex_pre_unlock(mutex, 0);
    REAL(g_mutex_unlock)(mutex);
    __tsan_mutex_post_unlock(mutex, 0);
}

void g_cond_wait(GCond *cond, GMutex *mutex)
{
    __tsan_mutex_pre_unlock(mutex, 0);
    __tsan_mutex_post_unlock(mutex, 0);
    REAL(g_cond_wait)(cond, mutex);
    __tsan_mutex_pre_lock(mutex, __tsan_mutex_linker_init);
    __tsan_mutex_post_lock(mutex, __tsan_mutex_linker_init, 0);
}

gboolean g_cond_wait_until(GCond *cond, GMutex *mutex, gint64 end)
{
    gboolean woken;

    __tsan_mutex_pre_unlock(mutex, 0);
    __tsan_mutex_post_unlock(mutex, 0);
    woken = REAL(g_cond_wait_until)(cond, mutex, end);
    __tsan_mutex_pre_lock(mutex, __tsan_mutex_linker_init);
    __tsan_mutex_post_lock(mutex, __tsan_mutex_linker_init, 0);
    return woken;
}

/* What GLib allocates for a source is handed to the main loop under a lock inside GLib. */
guint g_idle_add_full(gint priority, GSourceFunc fn, gpointer data, GDestroyNotify notify)
{
    guint id;

    AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
    id = REAL(g_idle_add_full)(priority, fn, data, notify);
    AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
    return id;
}
