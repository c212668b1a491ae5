/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guest memory.  Source: each block has a bitmap of the pages that are still to be sent, which is
 * this file's alone; learning what is dirty moves bits from RAMBlock.dirty into it.  A pass goes
 * through the bitmaps by chunks, any of which any sender may take: it clears the vCPUs' dirty log
 * of just those pages, then reads them, so that whatever is written later is found by a later sync.
 * Pages are copied before they are sent, for a guest that runs changes them under the checksum.
 *
 * RECORD_RAM:  RAMHeader; RAMRun, each some pages in a row that are all zero or all in the data;
 *              the data
 *
 * With x-ignore-shared a block whose file the destination opens, too, has nothing to send.
 *
 * Destination: pages go from the channel to where they belong.  Zeroes are written only where
 * something else is or may be: memory of our own that nobody has touched stays untouched.
 */
#include "internal.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "core/accel.h"
#include "core/lock.h"
#include "util/error.h"

#define PAGE       RAM_DIRTY_PAGE
#define CHUNK      8192 /* pages that a sender takes at a time: 32 MiB; a multiple of 64 */
#define DATA_PAGES 128
#define MAX_RUNS   512
#define RUN_ZERO   (1u << 31)
#define HUGE       RAM_BLOCK_ALIGN

typedef struct RAMHeader {
    uint32_t block; /* number, in the order that both sides have checked */
    uint32_t runs;
} RAMHeader;

typedef struct RAMRun {
    uint32_t first;
    uint32_t pages; /* with RUN_ZERO: nothing in the data */
} RAMRun;

typedef struct SavedBlock {
    RAMBlock *block;
    unsigned index;
    uint64_t pages, words;
    uint64_t *todo;
    bool holes; /* the first pass: what the file has no memory for is zero */
} SavedBlock;

RAMStats ram_stats;

static GArray *saved;    /* SavedBlock; NULL: no migration */
static GPtrArray *files; /* see ram_save_files() */
static bool watched;     /* its writers are */

/* What dirty-pages-rate is about: pages that became dirty since then. */
static struct {
    int64_t begin; /* us */
    uint64_t pages;
} period;

/* ---- what is to be sent ---- */

static void free_saved(void)
{
    for (guint i = 0; i < saved->len; i++) {
        g_free(g_array_index(saved, SavedBlock, i).todo);
    }
    g_clear_pointer(&saved, g_array_unref);
    g_clear_pointer(&files, g_ptr_array_unref);
}

static void set_all(SavedBlock *b)
{
    memset(b->todo, 0xff, b->words * 8);
    if (b->pages % 64) {
        b->todo[b->words - 1] = (1ULL << (b->pages % 64)) - 1;
    }
}

const GPtrArray *ram_save_files(void)
{
    return files;
}

bool ram_save_setup(bool still, GError **errp)
{
    unsigned index = 0;

    ram_stats = (RAMStats) { 0 };
    saved = g_array_new(FALSE, TRUE, sizeof(SavedBlock));
    files = migration_capability(MIG_CAP_IGNORE_SHARED) ? ram_files() : NULL;
    for (RAMBlock *block = ram_blocks; block; block = block->next, index++) {
        SavedBlock b = {
            .block = block,
            .index = index,
            .pages = block->size / PAGE,
            .words = (block->size / PAGE + 63) / 64,
            .holes = block->fd >= 0 && block->shared,
        };

        if (files && files->pdata[index]) {
            continue;
        }
        b.todo = g_try_new(uint64_t, b.words);
        if (!b.todo) {
            free_saved();
            return error_set(errp, "no memory for the bitmap of RAM block '%s'", block->idstr);
        }
        set_all(&b);
        ram_stats.total += block->size;
        g_array_append_val(saved, b);
    }
    ram_stats.remaining = ram_stats.total;
    period.begin = g_get_monotonic_time();
    period.pages = 0;
    watched = !still && migration_dirty_start(errp);
    if (!still && !watched) {
        free_saved();
        return false;
    }
    return true;
}

void ram_save_cleanup(void)
{
    if (saved) {
        if (watched) {
            migration_dirty_stop();
        }
        free_saved();
    }
}

/* Moves the block's dirty bits; returns how many pages are new to what is to be sent. */
static uint64_t merge(SavedBlock *b)
{
    uint64_t *dirty = b->block->dirty, n = 0;

    for (uint64_t i = 0; i < b->words; i++) {
        if (dirty[i]) {
            n += __builtin_popcountll(dirty[i] & ~b->todo[i]);
            b->todo[i] |= dirty[i];
            dirty[i] = 0;
        }
    }
    return n;
}

/* Over a tenth of a second or more: how many it is between two syncs in a row is chance. */
static void note_rate(uint64_t pages)
{
    int64_t now = g_get_monotonic_time(), took = now - period.begin;

    period.pages += pages;
    if (took >= G_USEC_PER_SEC / 10) {
        ram_stats.dirty_pages_rate = period.pages * G_USEC_PER_SEC / took;
        period.begin = now;
        period.pages = 0;
    }
}

void ram_save_sync(void)
{
    uint64_t pages = 0;

    if (!watched) {
        return;
    }
    migration_dirty_sync();
    for (guint i = 0; i < saved->len; i++) {
        pages += merge(&g_array_index(saved, SavedBlock, i));
    }
    ram_stats.remaining += pages * PAGE;
    ram_stats.dirty_sync_count++;
    note_rate(pages);
}

/* ---- one sender ---- */

typedef struct Pass {
    Stream **streams;
    bool (*stop)(void *opaque);
    void *opaque;
    GMutex lock; /* of what follows */
    guint block; /* the next chunk to take */
    uint64_t page;
    GError *err; /* of the first that failed */
} Pass;

typedef struct Sender {
    Pass *pass;
    Stream *stream;
    RAMHeader header;
    RAMRun runs[MAX_RUNS];
    uint32_t data_pages;
    uint64_t done; /* pages of this record */
    uint8_t *data;
} Sender;

static bool flush(Sender *s, GError **errp)
{
    uint8_t head[sizeof(RAMHeader) + sizeof(s->runs)];
    size_t runs = s->header.runs * sizeof(RAMRun);
    bool ok;

    if (!s->header.runs) {
        return true;
    }
    memcpy(head, &s->header, sizeof(RAMHeader));
    memcpy(head + sizeof(RAMHeader), s->runs, runs);
    migration_rate_limit(sizeof(RAMHeader) + runs + s->data_pages * PAGE);
    ok = stream_send(s->stream, RECORD_RAM, 0, head, sizeof(RAMHeader) + runs, s->data,
                     s->data_pages * PAGE, errp);
    ram_stats.normal += s->data_pages;
    ram_stats.duplicate += s->done - s->data_pages;
    ram_stats.remaining -= s->done * PAGE;
    s->header.runs = s->data_pages = s->done = 0;
    return ok;
}

static bool add_pages(Sender *s, uint64_t first, uint32_t n, uint32_t zero, GError **errp)
{
    RAMRun *last = s->header.runs ? &s->runs[s->header.runs - 1] : NULL;

    s->done += n;
    if (last && (last->pages & RUN_ZERO) == zero &&
        last->first + (last->pages & ~RUN_ZERO) == first) {
        last->pages += n;
    } else {
        s->runs[s->header.runs++] = (RAMRun) { first, n | zero };
    }
    return (s->header.runs < MAX_RUNS && s->data_pages < DATA_PAGES) || flush(s, errp);
}

static bool is_zero(const uint8_t *page)
{
    const uint64_t *word = (const uint64_t *)(const void *)page;

    for (unsigned i = 0; i < PAGE / 8; i += 8) {
        if (word[i] | word[i + 1] | word[i + 2] | word[i + 3] | word[i + 4] | word[i + 5] |
            word[i + 6] | word[i + 7]) {
            return false;
        }
    }
    return true;
}

static bool send_page(Sender *s, const SavedBlock *b, uint64_t page, GError **errp)
{
    const uint8_t *host = (const uint8_t *)b->block->host + page * PAGE;

    if (migration_parameters.zero_page_detection && is_zero(host)) {
        return add_pages(s, page, 1, RUN_ZERO, errp);
    }
    memcpy(s->data + s->data_pages * PAGE, host, PAGE);
    s->data_pages++;
    return add_pages(s, page, 1, 0, errp);
}

/* The first page from @page on that the block's file has memory for. */
static uint64_t next_data(const SavedBlock *b, uint64_t page)
{
    uint64_t at = b->block->fd_offset + page * PAGE;
    off_t data = lseek(b->block->fd, at, SEEK_DATA);

    if (data < 0) {
        return errno == ENXIO ? b->pages : page; /* nothing more, or nothing known */
    }
    return page + (data - at) / PAGE;
}

/* @bits: which of the pages first … first + n - 1, n at most CHUNK. */
static bool send_chunk(Sender *s, const SavedBlock *b, uint64_t first, uint64_t n,
                       const uint64_t *bits, GError **errp)
{
    uint64_t data = first; /* pages before it are in no hole; then the hole ends here */
    uint64_t hole_end = first;

    s->header.block = b->index;
    for (uint64_t page = first; page < first + n; page++) {
        uint64_t word = bits[(page - first) / 64] >> ((page - first) % 64);
        bool ok;

        if (!word) {
            page |= 63; /* chunks begin at a multiple of 64 */
            continue;
        }
        page += __builtin_ctzll(word);
        /* Asked once every 2 MiB, and where a hole ended. */
        if (b->holes && page >= hole_end && page >= data) {
            hole_end = next_data(b, page);
            data = hole_end > page ? hole_end : (page | 511) + 1;
        }
        ok = page < hole_end ? add_pages(s, page, 1, RUN_ZERO, errp) : send_page(s, b, page, errp);
        if (!ok) {
            return false;
        }
    }
    return flush(s, errp); /* the next chunk may be another block's */
}

/* The next chunk that has something to send; its bits move from the bitmap to @bits. */
static SavedBlock *take_chunk(Pass *pass, uint64_t *first, uint64_t *n, uint64_t *bits)
{
    SavedBlock *found = NULL;

    g_mutex_lock(&pass->lock);
    while (!found && !pass->err && pass->block < saved->len) {
        SavedBlock *b = &g_array_index(saved, SavedBlock, pass->block);
        uint64_t words;

        if (pass->page >= b->pages) {
            pass->block++;
            pass->page = 0;
            continue;
        }
        *first = pass->page;
        *n = MIN(CHUNK, b->pages - pass->page);
        words = (*n + 63) / 64;
        memcpy(bits, &b->todo[*first / 64], words * 8);
        for (uint64_t i = 0; i < words && !found; i++) {
            found = bits[i] ? b : NULL;
        }
        if (found) {
            memset(&b->todo[*first / 64], 0, words * 8);
        }
        pass->page += *n;
    }
    g_mutex_unlock(&pass->lock);
    return found;
}

static void *sender(void *opaque)
{
    Sender *s = opaque;
    Pass *pass = s->pass;
    uint64_t bits[CHUNK / 64], first, n;
    GError *err = NULL;
    SavedBlock *b;

    while (!pass->stop(pass->opaque) && (b = take_chunk(pass, &first, &n, bits))) {
        if (watched && accel->dirty_clear) {
            accel->dirty_clear(b->block, first, n, bits);
        }
        if (!send_chunk(s, b, first, n, bits, &err)) {
            break;
        }
    }
    if (err) {
        g_mutex_lock(&pass->lock);
        if (pass->err) {
            g_error_free(err);
        } else {
            pass->err = err;
        }
        g_mutex_unlock(&pass->lock);
    }
    return NULL;
}

static Sender *sender_new(Pass *pass, Stream *stream)
{
    Sender *s = g_new0(Sender, 1);

    s->pass = pass;
    s->stream = stream;
    s->data = g_malloc(DATA_PAGES * PAGE);
    return s;
}

static void sender_free(Sender *s)
{
    g_free(s->data);
    g_free(s);
}

bool ram_save_pass(Stream **streams, unsigned n, bool (*stop)(void *opaque), void *opaque,
                   GError **errp)
{
    Pass pass = { .streams = streams, .stop = stop, .opaque = opaque };
    g_autofree Sender **senders = g_new0(Sender *, n);
    g_autofree GThread **threads = g_new0(GThread *, n);

    g_mutex_init(&pass.lock);
    for (unsigned i = 0; i < n; i++) {
        senders[i] = sender_new(&pass, streams[i]);
        threads[i] = i ? g_thread_try_new("mig/ram", sender, senders[i], NULL) : NULL;
    }
    sender(senders[0]); /* this thread is the first; one that could not be made is not missed */
    for (unsigned i = 0; i < n; i++) {
        if (threads[i]) {
            g_thread_join(threads[i]);
        }
        sender_free(senders[i]);
    }
    g_mutex_clear(&pass.lock);
    for (guint i = 0; i < saved->len && !stop(opaque) && !pass.err; i++) {
        g_array_index(saved, SavedBlock, i).holes = false;
    }
    if (pass.err) {
        g_propagate_error(errp, pass.err);
        return false;
    }
    return true;
}

/* ---- the destination ---- */

typedef struct LoadedBlock {
    RAMBlock *block;
    uint64_t pages;
    bool kept;         /* in its file: nothing may come */
    uint64_t *touched; /* pages that may hold something; NULL: all */
    uint8_t *huge;     /* of each HUGE bytes, if it is pinned: they have memory */
} LoadedBlock;

struct RAMLoad {
    GArray *blocks; /* LoadedBlock */
};

/* Nobody has written to the file that the block is. */
static bool is_empty(const RAMBlock *block)
{
    off_t data = block->fd >= 0 && block->shared ? lseek(block->fd, block->fd_offset, SEEK_DATA)
                                                 : (off_t)block->fd_offset;

    return data < 0 ? errno == ENXIO : (uint64_t)data >= block->fd_offset + block->size;
}

RAMLoad *ram_load_new(const GPtrArray *theirs)
{
    RAMLoad *l = g_new0(RAMLoad, 1);
    guint n = 0;

    l->blocks = g_array_new(FALSE, TRUE, sizeof(LoadedBlock));
    for (RAMBlock *block = ram_blocks; block; block = block->next, n++) {
        LoadedBlock b = { .block = block, .pages = block->size / PAGE };

        b.kept = theirs && theirs->pdata[n];
        if (!b.kept && (block->blank || is_empty(block))) {
            b.touched = g_try_new0(uint64_t, (b.pages + 63) / 64);
        }
        block->blank = false;
        b.huge = block->pinned ? g_try_malloc0(block->size / HUGE + 1) : NULL;
        g_array_append_val(l->blocks, b);
    }
    return l;
}

void ram_load_free(RAMLoad *l)
{
    if (l) {
        for (guint i = 0; i < l->blocks->len; i++) {
            g_free(g_array_index(l->blocks, LoadedBlock, i).touched);
            g_free(g_array_index(l->blocks, LoadedBlock, i).huge);
        }
        g_array_unref(l->blocks);
        g_free(l);
    }
}

/* Records of several channels may share a word of the bitmap. */
static bool is_touched(const LoadedBlock *b, uint64_t page)
{
    return !b->touched ||
           __atomic_load_n(&b->touched[page / 64], __ATOMIC_RELAXED) >> (page % 64) & 1;
}

static void touch(LoadedBlock *b, uint64_t first, uint64_t n)
{
    for (uint64_t page = first; b->touched && page < first + n; page++) {
        __atomic_fetch_or(&b->touched[page / 64], 1ULL << (page % 64), __ATOMIC_RELAXED);
    }
}

/*
 * What is to be pinned is being given memory behind this: where that is not yet, before a page is
 * read or written, whose fault would bring a small one.
 */
static void get_memory(LoadedBlock *b, uint64_t first, uint64_t n)
{
    for (uint64_t at = first * PAGE / HUGE; b->huge && n && at <= (first + n - 1) * PAGE / HUGE;
         at++) {
        if (!__atomic_exchange_n(&b->huge[at], 1, __ATOMIC_RELAXED)) {
            ram_block_populate_huge(b->block, at * HUGE, MIN(HUGE, b->block->size - at * HUGE));
        }
    }
}

static void clear_pages(LoadedBlock *b, uint64_t first, uint64_t n)
{
    for (uint64_t page = first; page < first + n; page++) {
        uint8_t *host = (uint8_t *)b->block->host + page * PAGE;

        if (is_touched(b, page) && !is_zero(host)) {
            memset(host, 0, PAGE);
        }
    }
}

static bool load_run(LoadedBlock *b, const RAMRun *run, Stream *s, GError **errp)
{
    uint64_t n = run->pages & ~RUN_ZERO;

    if (run->first + n > b->pages) {
        return error_set(errp,
                         "a record of RAM block '%s' has pages %u to %" G_GUINT64_FORMAT
                         ", it ends "
                         "with %" G_GUINT64_FORMAT,
                         b->block->idstr, run->first, run->first + n - 1, b->pages - 1);
    }
    get_memory(b, run->first, n);
    if (run->pages & RUN_ZERO) {
        clear_pages(b, run->first, n);
        return true;
    }
    touch(b, run->first, n);
    return stream_read(s, (uint8_t *)b->block->host + run->first * PAGE, n * PAGE, errp);
}

bool ram_load(RAMLoad *l, Stream *s, GError **errp)
{
    RAMHeader header;
    RAMRun runs[MAX_RUNS];
    LoadedBlock *b;

    if (!stream_read(s, &header, sizeof(header), errp)) {
        return false;
    }
    if (header.block >= l->blocks->len || header.runs > MAX_RUNS) {
        return error_set(errp, "bad record of RAM: block %u, %u runs", header.block, header.runs);
    }
    b = &g_array_index(l->blocks, LoadedBlock, header.block);
    if (b->kept) {
        return error_set(errp, "a record of RAM block '%s', which stays in its file",
                         b->block->idstr);
    }
    if (!stream_read(s, runs, header.runs * sizeof(RAMRun), errp)) {
        return false;
    }
    for (uint32_t i = 0; i < header.runs; i++) {
        if (!load_run(b, &runs[i], s, errp)) {
            return false;
        }
    }
    return stream_verify(s, errp);
}
