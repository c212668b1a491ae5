/* SPDX-License-Identifier: GPL-2.0-or-later */
/* -smp: the levels that were left out follow from the others, as QEMU has it since 6.2. */
#include "system/smp.h"

#include "util/error.h"
#include "util/keyval.h"

static const struct {
    const char *key;
    size_t offset; /* in CPUTopology */
} levels[] = {
    { "cpus", offsetof(CPUTopology, cpus) },       { "maxcpus", offsetof(CPUTopology, maxcpus) },
    { "sockets", offsetof(CPUTopology, sockets) }, { "dies", offsetof(CPUTopology, dies) },
    { "cores", offsetof(CPUTopology, cores) },     { "threads", offsetof(CPUTopology, threads) },
};

/* Levels of other machines than a PC: each has one of them, no more. */
static const char *const single[] = { "clusters", "modules", "books", "drawers", NULL };

static bool read_level(JsonObject *o, const char *key, unsigned *value, GError **errp)
{
    uint64_t n = 0;

    if (!json_object_has_member(o, key)) {
        return true;
    }
    if (!keyval_get_uint(o, key, &n, errp)) {
        return false;
    }
    if (n == 0 || n > G_MAXUINT16) {
        return error_set(errp,
                         n ? "Invalid CPU topology: %s=%" G_GUINT64_FORMAT " is too many"
                           : "Invalid CPU topology: CPU topology parameters must be greater "
                             "than zero: %s=%" G_GUINT64_FORMAT,
                         key, n);
    }
    *value = (unsigned)n;
    return true;
}

static bool read_levels(JsonObject *o, CPUTopology *smp, GError **errp)
{
    JsonObjectIter iter;
    const char *key;

    for (size_t i = 0; i < G_N_ELEMENTS(levels); i++) {
        if (!read_level(o, levels[i].key, (unsigned *)((char *)smp + levels[i].offset), errp)) {
            return false;
        }
        json_object_remove_member(o, levels[i].key);
    }
    json_object_iter_init_ordered(&iter, o);
    while (json_object_iter_next_ordered(&iter, &key, NULL)) {
        unsigned n = 1;

        if (!g_strv_contains(single, key)) {
            return error_set(errp, "Invalid parameter '%s'", key);
        }
        if (!read_level(o, key, &n, errp)) {
            return false;
        }
        if (n != 1) {
            return error_set(errp, "%s > 1 not supported by this machine's CPU topology", key);
        }
    }
    return true;
}

/* Each is below 2^16, but the product of three may not fit an unsigned. */
static unsigned share(unsigned cpus, uint64_t a, uint64_t b, uint64_t c)
{
    return (unsigned)(cpus / (a * b * c));
}

/* The level that takes what the others leave: cores before sockets before threads. */
static void complete(CPUTopology *smp)
{
    if (!smp->cpus && !smp->maxcpus) {
        smp->sockets = smp->sockets ?: 1;
        smp->cores = smp->cores ?: 1;
        smp->threads = smp->threads ?: 1;
    } else {
        smp->maxcpus = smp->maxcpus ?: smp->cpus;
        if (!smp->cores) {
            smp->sockets = smp->sockets ?: 1;
            smp->threads = smp->threads ?: 1;
            smp->cores = share(smp->maxcpus, smp->sockets, smp->dies, smp->threads);
        } else if (!smp->sockets) {
            smp->threads = smp->threads ?: 1;
            smp->sockets = share(smp->maxcpus, smp->dies, smp->cores, smp->threads);
        }
        if (!smp->threads) {
            smp->threads = share(smp->maxcpus, smp->sockets, smp->dies, smp->cores);
        }
    }
}

bool smp_parse(const char *arg, CPUTopology *result, GError **errp)
{
    g_autoptr(JsonObject) o = keyval_parse(arg, "cpus", NULL, errp);
    CPUTopology smp = { 0 };
    uint64_t product;

    if (!o || !read_levels(o, &smp, errp)) {
        return false;
    }
    smp.dies = smp.dies ?: 1;
    complete(&smp);
    product = (uint64_t)smp.sockets * smp.dies * smp.cores * smp.threads;
    if (product > G_MAXUINT16) {
        return error_set(errp, "Invalid CPU topology: more than %d CPUs", G_MAXUINT16);
    }
    smp.maxcpus = smp.maxcpus ?: (unsigned)product;
    smp.cpus = smp.cpus ?: smp.maxcpus;
    if (product != smp.maxcpus) {
        return error_set(errp,
                         "Invalid CPU topology: product of the hierarchy must match maxcpus: "
                         "sockets (%u) * dies (%u) * cores (%u) * threads (%u) != maxcpus (%u)",
                         smp.sockets, smp.dies, smp.cores, smp.threads, smp.maxcpus);
    }
    if (smp.maxcpus < smp.cpus) {
        return error_set(errp,
                         "Invalid CPU topology: maxcpus must be equal to or greater than smp: "
                         "maxcpus (%u) < smp_cpus (%u)",
                         smp.maxcpus, smp.cpus);
    }
    if (smp.maxcpus > smp.cpus) {
        return error_set(errp, "maxcpus (%u) > cpus (%u): CPU hot-plug is not supported",
                         smp.maxcpus, smp.cpus);
    }
    *result = smp;
    return true;
}
