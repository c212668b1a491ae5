/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Memory backends.  A class only opens its file; size checks, mapping, advice and preallocation
 * are said once, here.
 */
#include "backends/hostmem.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/memfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <sys/vfs.h>

#include "core/fdset.h"
#include "migration/cpr.h"
#include "util/error.h"
#include "util/fd.h"
#include "util/trace.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

DEFINE_OBJECT_TYPE(HostMemoryBackend, host_memory_backend, "memory-backend", TYPE_USER_OBJECT,
                   G_TYPE_FLAG_ABSTRACT)

#define BACKEND_CLASS(o) \
    G_TYPE_INSTANCE_GET_CLASS((o), TYPE_HOST_MEMORY_BACKEND, HostMemoryBackendClass)

static const Property backend_properties[] = {
    PROP_SIZE("size", HostMemoryBackend, size, 0, .help = "size in bytes"),
    PROP_BOOL("share", HostMemoryBackend, share, false,
              .help = "writes reach the file behind the memory"),
    PROP_BOOL("prealloc", HostMemoryBackend, prealloc, false,
              .help = "allocate all of it before the guest starts"),
    PROP_UINT32("prealloc-threads", HostMemoryBackend, prealloc_threads, 1,
                .help = "threads that do it"),
    PROP_BOOL("merge", HostMemoryBackend, merge, true, .help = "let KSM merge equal pages"),
    PROP_BOOL("dump", HostMemoryBackend, dump, true, .help = "include it in a core dump"),
    PROP_STRING("host-nodes", HostMemoryBackend, host_nodes, .help = "not supported"),
    PROP_STRING("policy", HostMemoryBackend, policy, .help = "only \"default\""),
};

/*
 * The kernel's own heuristic for private memory, applied to memfds too, which it would let grow to
 * any size: what can never be backed is refused now, not by the OOM killer later.
 */
static bool check_host_limit(HostMemoryBackend *be, GError **errp)
{
    g_autofree char *policy = NULL;
    struct sysinfo info;
    uint64_t total;

    if (g_file_get_contents("/proc/sys/vm/overcommit_memory", &policy, NULL, NULL) &&
        *policy == '1') {
        return true;
    }
    if (sysinfo(&info)) {
        return error_set_errno(errp, errno, "memory backend '%s': sysinfo failed", be->parent.id);
    }
    total = (info.totalram + info.totalswap) * (uint64_t)info.mem_unit;
    if (be->size > total) {
        return error_set(errp,
                         "cannot set up guest memory '%s': %" G_GUINT64_FORMAT
                         " MiB asked for, the "
                         "host has %" G_GUINT64_FORMAT " MiB of memory and swap",
                         be->parent.id, be->size >> 20, total >> 20);
    }
    return true;
}

/*
 * Maps the file at a multiple of RAM_BLOCK_ALIGN (or of a larger huge page), which the kernel does
 * not do by itself, and which huge pages need.
 */
static void *map_aligned(HostMemoryBackend *be, int fd, uint64_t page_size)
{
    uint64_t align = MAX(page_size, RAM_BLOCK_ALIGN), head;
    char *room = mmap(NULL, be->size + align, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    void *host;

    if (room == MAP_FAILED) {
        return MAP_FAILED;
    }
    head = -(uintptr_t)room & (align - 1);
    host = mmap(room + head, be->size, PROT_READ | PROT_WRITE,
                MAP_FIXED | (be->share ? MAP_SHARED : MAP_PRIVATE), fd, 0);
    if (host == MAP_FAILED) {
        int saved = errno;

        munmap(room, be->size + align);
        errno = saved;
        return MAP_FAILED;
    }
    if (head) {
        munmap(room, head);
    }
    munmap(room + head + be->size, align - head);
    return host;
}

typedef struct Slice {
    char *start;
    uint64_t size;
    int errnum;
    GThread *thread; /* NULL: none was to be had, or it is done */
} Slice;

static void *preallocate_slice(void *opaque)
{
    Slice *slice = opaque;

    slice->errnum = madvise(slice->start, slice->size, MADV_POPULATE_WRITE) ? errno : 0;
    return NULL;
}

/* Threads that are not to be had are done without. */
static bool preallocate(HostMemoryBackend *be, GError **errp)
{
    uint64_t pages = be->size / be->block.page_size, n = MIN(be->prealloc_threads, pages);
    g_autofree Slice *slices = g_new0(Slice, n);
    char *at = be->block.host;
    int errnum = 0;

    for (uint64_t i = 0; i < n; i++) {
        slices[i].start = at;
        slices[i].size = (pages * (i + 1) / n - pages * i / n) * be->block.page_size;
        at += slices[i].size;
        slices[i].thread =
            i ? g_thread_try_new("prealloc", preallocate_slice, &slices[i], NULL) : NULL;
    }
    for (uint64_t i = 0; i < n; i++) {
        if (slices[i].thread) {
            g_thread_join(slices[i].thread);
        } else {
            preallocate_slice(&slices[i]);
        }
        errnum = errnum ?: slices[i].errnum;
    }
    return !errnum ||
           error_set_errno(errp, errnum, "memory backend '%s': cannot preallocate memory",
                           be->parent.id);
}

/* ---- live update: the file goes over ---- */

static char *cpr_name(const HostMemoryBackend *be)
{
    return g_strdup_printf("memory-backend/%s", be->parent.id);
}

static void cpr_save(void *opaque)
{
    HostMemoryBackend *be = opaque;
    g_autofree char *name = cpr_name(be), *size = g_strconcat(name, "/size", NULL);

    cpr_save_fd(name, 0, be->block.fd);
    cpr_save_data(size, 0, &be->size, sizeof(be->size));
}

static const CprOps cpr_ops = { .save = cpr_save };

/* The old process's file, and its memory as it is. */
static int take_file(HostMemoryBackend *be, uint64_t *page_size, GError **errp)
{
    g_autofree char *name = cpr_name(be), *size_name = g_strconcat(name, "/size", NULL);
    const uint64_t *size = cpr_find_data(size_name, 0, sizeof(*size));
    autofd int fd = cpr_find_fd(name, 0);
    struct statfs fs;
    struct stat st;

    if (!size || fd < 0) {
        error_set(errp, "memory backend '%s': the old process has no such memory", be->parent.id);
        return -1;
    }
    if (*size != be->size) {
        error_set(errp,
                  "memory backend '%s': size 0x%" G_GINT64_MODIFIER
                  "x, but the old process has 0x%" G_GINT64_MODIFIER "x",
                  be->parent.id, be->size, *size);
        return -1;
    }
    if (fstatfs(fd, &fs) || fstat(fd, &st)) {
        error_set_errno(errp, errno, "memory backend '%s': cannot look at the old process's file",
                        be->parent.id);
        return -1;
    }
    if (S_ISREG(st.st_mode) && (uint64_t)st.st_size < be->size) {
        error_set(errp, "memory backend '%s': the old process's file has 0x%llx bytes only",
                  be->parent.id, (unsigned long long)st.st_size);
        return -1;
    }
    *page_size = fs.f_type == HUGETLBFS_MAGIC ? (uint64_t)fs.f_bsize : (uint64_t)getpagesize();
    be->share = true;
    return fd_steal(&fd);
}

static bool backend_complete(UserObject *obj, GError **errp)
{
    HostMemoryBackend *be = HOST_MEMORY_BACKEND(obj);
    uint64_t page_size;
    autofd int fd = -1;
    void *host;

    if (be->host_nodes || (be->policy && !g_str_equal(be->policy, "default"))) {
        return error_set(errp, "memory backend '%s': NUMA placement (%s) is not supported", obj->id,
                         be->host_nodes ? "host-nodes" : "policy");
    }
    if (!be->prealloc_threads) {
        return error_set(errp, "Property 'memory-backend.prealloc-threads' doesn't take value '0'");
    }
    if (!be->size) {
        return error_set(errp, "memory backend '%s': property 'size' is missing or zero", obj->id);
    }
    fd = cpr_is_incoming() ? take_file(be, &page_size, errp)
                           : BACKEND_CLASS(be)->open(be, &page_size, errp);
    if (fd < 0) {
        return false;
    }
    if (be->size % page_size) {
        return error_set(errp,
                         "memory backend '%s': size 0x%" G_GINT64_MODIFIER
                         "x is not a multiple of the page size 0x%" G_GINT64_MODIFIER "x",
                         obj->id, be->size, page_size);
    }
    if (page_size == (uint64_t)getpagesize() && !check_host_limit(be, errp)) {
        return false;
    }
    host = map_aligned(be, fd, page_size);
    if (host == MAP_FAILED) {
        return error_set_errno(errp, errno, "cannot set up guest memory '%s'", obj->id);
    }
    be->block = (RAMBlock) {
        .idstr = g_strdup(obj->id),
        .host = host,
        .size = be->size,
        .page_size = page_size,
        .fd = fd_steal(&fd),
        .shared = be->share,
        .blank = be->blank,
    };
    /* Advice: a kernel that does not know it is no worse for it. */
    madvise(host, be->size, MADV_HUGEPAGE);
    if (be->merge && !be->share) {
        madvise(host, be->size, MADV_MERGEABLE);
    }
    if (!be->dump) {
        madvise(host, be->size, MADV_DONTDUMP);
    }
    TRACE("host_memory_backend", "%s size 0x%" G_GINT64_MODIFIER "x fd %d", obj->id, be->size,
          be->block.fd);
    cpr_register(&cpr_ops, be);
    return !be->prealloc || cpr_is_incoming() || preallocate(be, errp);
}

static bool backend_can_be_deleted(UserObject *obj, GError **errp)
{
    return !HOST_MEMORY_BACKEND(obj)->used ||
           error_set(errp, "object '%s' is in use, can not be deleted", obj->id);
}

static void backend_finalize(GObject *obj)
{
    HostMemoryBackend *be = HOST_MEMORY_BACKEND(obj);

    if (be->block.host) {
        cpr_unregister(&cpr_ops, be);
        munmap(be->block.host, be->block.size);
        fd_close(&be->block.fd);
        g_free(be->block.idstr);
    }
    G_OBJECT_CLASS(host_memory_backend_parent_class)->finalize(obj);
}

static void backend_constructed(GObject *obj)
{
    G_OBJECT_CLASS(host_memory_backend_parent_class)->constructed(obj);
    HOST_MEMORY_BACKEND(obj)->share = BACKEND_CLASS(obj)->share_default;
}

static void host_memory_backend_init(HostMemoryBackend *be)
{
}

static void host_memory_backend_class_init(HostMemoryBackendClass *klass)
{
    G_OBJECT_CLASS(klass)->finalize = backend_finalize;
    G_OBJECT_CLASS(klass)->constructed = backend_constructed;
    USER_OBJECT_CLASS(klass)->complete = backend_complete;
    USER_OBJECT_CLASS(klass)->can_be_deleted = backend_can_be_deleted;
    object_class_add_properties(klass, backend_properties, G_N_ELEMENTS(backend_properties));
}

/* An anonymous file of the backend's size. */
static int open_memfd(HostMemoryBackend *be, unsigned flags, GError **errp)
{
    autofd int fd = memfd_create(be->parent.id, MFD_CLOEXEC | flags);

    if (fd < 0) {
        error_set_errno(errp, errno, "memory backend '%s': memfd_create failed", be->parent.id);
        return -1;
    }
    if (ftruncate(fd, (off_t)be->size)) {
        error_set_errno(errp, errno, "memory backend '%s': cannot size the memfd", be->parent.id);
        return -1;
    }
    be->blank = true;
    return fd_steal(&fd);
}

/* ---- memory-backend-ram: memory that is nobody else's; shared or not makes no difference ---- */

typedef HostMemoryBackend HostMemoryBackendRam;
typedef HostMemoryBackendClass HostMemoryBackendRamClass;

DEFINE_OBJECT_TYPE(HostMemoryBackendRam, backend_ram, "memory-backend-ram",
                   TYPE_HOST_MEMORY_BACKEND, 0)

static int ram_open(HostMemoryBackend *be, uint64_t *page_size, GError **errp)
{
    be->share = true; /* one mapping only: what the device and the guest see is the same page */
    *page_size = (uint64_t)getpagesize();
    return open_memfd(be, 0, errp);
}

static void backend_ram_init(HostMemoryBackendRam *be)
{
}

static void backend_ram_class_init(HostMemoryBackendRamClass *klass)
{
    USER_OBJECT_CLASS(klass)->desc = "anonymous memory";
    klass->open = ram_open;
}

/* ---- memory-backend-memfd ---- */

typedef struct HostMemoryBackendMemfd {
    HostMemoryBackend parent;
    bool hugetlb, seal;
    uint64_t hugetlb_size;
} HostMemoryBackendMemfd;
typedef HostMemoryBackendClass HostMemoryBackendMemfdClass;

DEFINE_OBJECT_TYPE(HostMemoryBackendMemfd, backend_memfd, "memory-backend-memfd",
                   TYPE_HOST_MEMORY_BACKEND, 0)

static const Property memfd_properties[] = {
    PROP_BOOL("hugetlb", HostMemoryBackendMemfd, hugetlb, false, .help = "use huge pages"),
    PROP_SIZE("hugetlbsize", HostMemoryBackendMemfd, hugetlb_size, 0,
              .help = "huge page size (default: the host's)"),
    PROP_BOOL("seal", HostMemoryBackendMemfd, seal, true, .help = "forbid resizing the file"),
};

static int memfd_open(HostMemoryBackend *be, uint64_t *page_size, GError **errp)
{
    HostMemoryBackendMemfd *m = (HostMemoryBackendMemfd *)be;
    unsigned flags = m->seal ? MFD_ALLOW_SEALING : 0;
    autofd int fd = -1;
    struct stat st;

    if (m->hugetlb_size && !m->hugetlb) {
        error_set(errp, "memory backend '%s': hugetlbsize needs hugetlb=on", be->parent.id);
        return -1;
    }
    if (m->hugetlb_size & (m->hugetlb_size - 1)) {
        error_set(errp, "memory backend '%s': hugetlbsize is not a power of two", be->parent.id);
        return -1;
    }
    if (m->hugetlb) {
        flags |= MFD_HUGETLB;
        if (m->hugetlb_size) {
            flags |= (unsigned)__builtin_ctzll(m->hugetlb_size) << MFD_HUGE_SHIFT;
        }
    }
    fd = open_memfd(be, flags, errp);
    if (fd < 0) {
        return -1;
    }
    if (fstat(fd, &st) ||
        (m->seal && fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL))) {
        error_set_errno(errp, errno, "memory backend '%s': cannot seal the memfd", be->parent.id);
        return -1;
    }
    *page_size = (uint64_t)st.st_blksize;
    return fd_steal(&fd);
}

static void backend_memfd_init(HostMemoryBackendMemfd *be)
{
}

static void backend_memfd_class_init(HostMemoryBackendMemfdClass *klass)
{
    USER_OBJECT_CLASS(klass)->desc = "anonymous memory with a descriptor (memfd)";
    klass->open = memfd_open;
    klass->share_default = true;
    object_class_add_properties(klass, memfd_properties, G_N_ELEMENTS(memfd_properties));
}

/* ---- memory-backend-file ---- */

typedef struct HostMemoryBackendFile {
    HostMemoryBackend parent;
    char *mem_path;
} HostMemoryBackendFile;
typedef HostMemoryBackendClass HostMemoryBackendFileClass;

DEFINE_OBJECT_TYPE(HostMemoryBackendFile, backend_file, "memory-backend-file",
                   TYPE_HOST_MEMORY_BACKEND, 0)

static const Property file_properties[] = {
    PROP_STRING("mem-path", HostMemoryBackendFile, mem_path,
                .help = "file, or folder (of a hugetlbfs) to make an unnamed file in"),
};

static int file_open(HostMemoryBackend *be, uint64_t *page_size, GError **errp)
{
    const char *path = ((HostMemoryBackendFile *)be)->mem_path;
    bool is_dir = path && g_file_test(path, G_FILE_TEST_IS_DIR);
    g_autofree char *temp = NULL;
    autofd int fd = -1;
    struct statfs fs;
    struct stat st;

    if (!path) {
        error_set(errp, "memory backend '%s': property 'mem-path' is missing", be->parent.id);
        return -1;
    }
    if (is_dir) {
        temp = g_strdup_printf("%s/viaduct-%s-XXXXXX", path, be->parent.id);
        fd = g_mkstemp_full(temp, O_RDWR | O_CLOEXEC, 0600);
        be->blank = fd >= 0 && !unlink(temp);
    } else {
        fd = fdset_open(path, O_RDWR | O_CREAT, 0644);
    }
    if (fd < 0 || fstatfs(fd, &fs) || fstat(fd, &st)) {
        error_set_errno(errp, errno, "memory backend '%s': cannot open '%s'", be->parent.id, path);
        return -1;
    }
    *page_size = fs.f_type == HUGETLBFS_MAGIC ? (uint64_t)fs.f_bsize : (uint64_t)getpagesize();
    if (S_ISREG(st.st_mode) && st.st_size && (uint64_t)st.st_size < be->size) {
        error_set(errp,
                  "memory backend '%s': '%s' has 0x%" G_GINT64_MODIFIER "x bytes, fewer than size",
                  be->parent.id, path, (uint64_t)st.st_size);
        return -1;
    }
    if (S_ISREG(st.st_mode) && !st.st_size && ftruncate(fd, (off_t)be->size)) {
        error_set_errno(errp, errno, "memory backend '%s': cannot size '%s'", be->parent.id, path);
        return -1;
    }
    return fd_steal(&fd);
}

static void backend_file_init(HostMemoryBackendFile *be)
{
}

static void backend_file_class_init(HostMemoryBackendFileClass *klass)
{
    USER_OBJECT_CLASS(klass)->desc = "memory of a file, in a hugetlbfs for one";
    klass->open = file_open;
    object_class_add_properties(klass, file_properties, G_N_ELEMENTS(file_properties));
}

/* ---- the machine's own ---- */

HostMemoryBackend *host_memory_default(const char *id, uint64_t size, GError **errp)
{
    g_autoptr(JsonObject) opts = json_object_new();

    json_object_set_string_member(opts, "qom-type", "memory-backend-ram");
    json_object_set_string_member(opts, "id", id);
    json_object_set_int_member(opts, "size", (gint64)size);
    return user_object_add(opts, errp) ? HOST_MEMORY_BACKEND(object_resolve(id)) : NULL;
}
