/* SPDX-License-Identifier: MIT */
/*
 * Caches tables of one cluster each (L2 tables, refcount blocks).
 *
 * A cache holds a bounded number of tables, found through a hash of their host offset and replaced least recently
 * used first.  Dirty tables stay in memory until the cache is flushed or one of them must be evicted.  Then all
 * dirty tables are written in ascending order, which needs one barrier in all instead of one per table.
 *
 * Ordering: the cache `after` is written before anything of this cache, so no L2 table on disk refers to a cluster
 * whose refcount is not on disk yet.  The guest data in clusters that an L2 table newly maps are durable first, too,
 * or a power cut would expose the old content of those clusters.  The barrier after the refcounts is not enough for
 * that: a cluster may have been allocated before (preallocated, or flagged as zero), or lie in a data file.
 *
 * A flush releases the lock while the file is synced, and others go on to change tables.  So it copies the L2 tables first,
 * writes the reference counts, syncs, and writes the copies: whatever these name was counted, and its bytes were
 * written, before the sync began.  A table that was changed since stays dirty; one that somebody else had to write meanwhile,
 * in the usual order, has lost its copy, for that is older.
 *
 * A table that is read with the lock released has its place already, where others wait for it.  It is not made room of;
 * where it is taken away nevertheless (the cluster became free, or somebody may not wait), its memory is the reader's.
 */
#include "qcow2.h"
#include "../../libimg/io/waiting.h"
#include "../../libimg/util/scratch.h"

enum { LEAST_TABLES = 4, FIRST_BUCKETS = 16, COPIES_BYTES = 4 << 20 };

struct table {
    uint64_t offset;
    struct table *next;             /* next in the hash bucket */
    struct table *older, *newer;    /* LRU list */
    bool dirty;
    bool due;                       /* was dirty when the flush that is under way began */
    uint8_t *copy;                  /* as it was then, to be written; else NULL */
    bool changed;                   /* since it was copied */
    bool loading, dropped;          /* its bytes are on their way; it has lost its place meanwhile */
    uint8_t bytes[];
};

struct qcow2_cache {
    struct img *image;
    unsigned section;
    struct qcow2_cache *after;
    uint32_t table_size;
    size_t capacity, count, dirty_count;
    struct table **buckets;
    size_t bucket_count;            /* a power of two */
    struct table *newest, *oldest;
    uint64_t written, synced;       /* how often tables were; what of it is durable */
};

struct qcow2_cache *qcow2_cache_new(struct img *image, unsigned section, size_t memory)
{
    struct qcow2_cache *cache = img_calloc(1, sizeof *cache);

    if (!cache)
        return NULL;
    cache->image = image;
    cache->section = section;
    cache->table_size = qcow2_state(image)->cluster_size;
    cache->capacity = memory / cache->table_size;
    if (cache->capacity < LEAST_TABLES)
        cache->capacity = LEAST_TABLES;
    cache->bucket_count = FIRST_BUCKETS;
    cache->buckets = img_calloc(cache->bucket_count, sizeof *cache->buckets);
    if (cache->buckets)
        return cache;
    free(cache);
    return NULL;
}

/* Free a table that is no longer in the cache. */
static void let_go(struct table *table)
{
    table->dropped = true;
    free(table->copy);
    table->copy = NULL;
    if (!table->loading)
        free(table);
}

void qcow2_cache_clear(struct qcow2_cache *cache)
{
    for (struct table *table = cache->newest, *older; table; table = older) {
        older = table->older;
        let_go(table);
    }
    memset(cache->buckets, 0, cache->bucket_count * sizeof *cache->buckets);
    cache->newest = cache->oldest = NULL;
    cache->count = cache->dirty_count = 0;
}

void qcow2_cache_free(struct qcow2_cache *cache)
{
    if (!cache)
        return;
    qcow2_cache_clear(cache);
    free(cache->buckets);
    free(cache);
}

void qcow2_cache_depends(struct qcow2_cache *cache, struct qcow2_cache *after)
{
    cache->after = after;
}

static struct table **bucket_of(struct qcow2_cache *cache, uint64_t offset)
{
    uint64_t number = offset / cache->table_size;

    return &cache->buckets[(number * 0x9e3779b97f4a7c15ull >> 20) & (cache->bucket_count - 1)];
}

static struct table *find(struct qcow2_cache *cache, uint64_t offset)
{
    struct table *table = *bucket_of(cache, offset);

    while (table && table->offset != offset)
        table = table->next;
    return table;
}

static void unlink_use(struct qcow2_cache *cache, struct table *table)
{
    if (table->newer)
        table->newer->older = table->older;
    else
        cache->newest = table->older;
    if (table->older)
        table->older->newer = table->newer;
    else
        cache->oldest = table->newer;
}

static void link_newest(struct qcow2_cache *cache, struct table *table)
{
    table->newer = NULL;
    table->older = cache->newest;
    if (cache->newest)
        cache->newest->newer = table;
    else
        cache->oldest = table;
    cache->newest = table;
}

static void touch(struct qcow2_cache *cache, struct table *table)
{
    if (cache->newest == table)
        return;
    unlink_use(cache, table);
    link_newest(cache, table);
}

/* Remove a table from the hash and the LRU list; the caller owns its memory. */
static void detach(struct qcow2_cache *cache, struct table *table)
{
    struct table **link = bucket_of(cache, table->offset);

    while (*link != table)
        link = &(*link)->next;
    *link = table->next;
    unlink_use(cache, table);
    cache->count--;
    if (table->dirty)
        cache->dirty_count--;
}

/* The hash grows with its content: small images have small caches. */
static void grow_buckets(struct qcow2_cache *cache)
{
    size_t count = cache->bucket_count * 2;
    struct table **old = cache->buckets, **buckets = calloc(count, sizeof *buckets);
    if (!buckets)
        return;                     /* the lookup is only slower */

    cache->buckets = buckets;
    cache->bucket_count = count;
    for (struct table *table = cache->newest; table; table = table->older) {
        struct table **bucket = bucket_of(cache, table->offset);
        table->next = *bucket;
        *bucket = table;
    }
    free(old);
}

static void attach(struct qcow2_cache *cache, struct table *table, uint64_t offset)
{
    if (cache->count >= cache->bucket_count)
        grow_buckets(cache);
    struct table **bucket = bucket_of(cache, offset);

    table->offset = offset;
    table->dirty = table->due = table->changed = table->loading = table->dropped = false;
    table->copy = NULL;
    table->next = *bucket;
    *bucket = table;
    link_newest(cache, table);
    cache->count++;
}

static int by_offset(const void *a, const void *b)
{
    const struct table *const *x = a, *const *y = b;

    return (*x)->offset < (*y)->offset ? -1 : (*x)->offset > (*y)->offset;
}

/* What was written before has to be durable before what comes next. */
static int barrier(struct qcow2_cache *cache, bool aside)
{
    uint64_t written = cache->written;

    if (cache->synced == written)
        return 0;
    int status = aside ? qcow2_barrier_aside(cache->image) : qcow2_barrier(cache->image);
    if (status == 0)
        cache->synced = img_max(cache->synced, written);
    return status;
}

static bool is_refblock(const struct qcow2_cache *cache)
{
    return cache->section == QCOW2_AT_REFBLOCK;
}

static void drop_copy(struct table *table)
{
    free(table->copy);
    table->copy = NULL;
    table->changed = false;
}

static int write_bytes(struct qcow2_cache *cache, const struct table *table, const uint8_t *bytes)
{
    img_event_at(cache->image->file, is_refblock(cache) ? IMG_EVENT_refblock_update : IMG_EVENT_l2_update);
    int status = qcow2_write(cache->image, cache->section, bytes, table->offset, cache->table_size);
    if (status == 0)
        cache->written++;
    return status;
}

static void set_clean(struct qcow2_cache *cache, struct table *table)
{
    table->dirty = table->due = false;
    cache->dirty_count--;
}

static int write_table(struct qcow2_cache *cache, struct table *table)
{
    int status = write_bytes(cache, table, table->bytes);

    if (status < 0)
        return status;
    drop_copy(table);
    set_clean(cache, table);
    return 0;
}

static int write_predecessor(struct qcow2_cache *cache, bool aside)
{
    /* Others may publish more during a barrier, which these tables do not show. */
    uint64_t published = qcow2_state(cache->image)->published;
    int status = 0;

    if (!cache->after)
        return 0;
    if (cache->after->dirty_count)
        status = qcow2_cache_write(cache->after);
    if (status == 0)
        status = barrier(cache->after, aside);
    return status < 0 ? status : qcow2_data_barrier(cache->image, published, aside);
}

int qcow2_cache_write(struct qcow2_cache *cache)
{
    if (cache->dirty_count == 0)
        return 0;
    int status = write_predecessor(cache, false);
    if (status < 0)
        return status;

    CLEANUP_SCRATCH struct table **dirty = img_scratch_get(cache->dirty_count * sizeof *dirty);
    if (!dirty)
        return -ENOMEM;
    size_t count = 0;
    for (struct table *table = cache->newest; table; table = table->older)
        if (table->dirty)
            dirty[count++] = table;
    qsort(dirty, count, sizeof *dirty, by_offset);
    for (size_t i = 0; i < count && status == 0; i++)
        status = write_table(cache, dirty[i]);
    return status;
}

/* ---- Writing with the lock released now and then ------------------------------------ */

/* A part of what is due; the number of copies. */
static size_t copy_due(struct qcow2_cache *cache)
{
    size_t most = img_max(COPIES_BYTES / cache->table_size, 1), count = 0;

    for (struct table *table = cache->newest; table && count < most; table = table->older) {
        if (!table->due || !(table->copy = malloc(cache->table_size)))
            continue;
        memcpy(table->copy, table->bytes, cache->table_size);
        table->changed = false;
        count++;
    }
    return count;
}

static int write_copy(struct qcow2_cache *cache, struct table *table)
{
    int status = write_bytes(cache, table, table->copy);

    if (status < 0)
        return status;
    table->due = false;
    if (!table->changed)
        set_clean(cache, table);
    drop_copy(table);
    return 0;
}

/* Of those that are still wanted: `count` at most. */
static int write_copies(struct qcow2_cache *cache, size_t count, int status)
{
    CLEANUP_SCRATCH struct table **copied = img_scratch_get(count * sizeof *copied);
    size_t found = 0;

    if (!copied)
        status = status < 0 ? status : -ENOMEM;
    for (struct table *table = cache->newest; table; table = table->older)
        if (table->copy && copied)
            copied[found++] = table;
    if (copied)
        qsort(copied, found, sizeof *copied, by_offset);
    for (size_t i = 0; i < found && status == 0; i++)
        status = write_copy(cache, copied[i]);
    /* After an error they are what they were: dirty. */
    for (struct table *table = cache->newest; table && status < 0; table = table->older)
        drop_copy(table);
    return status;
}

int qcow2_cache_write_aside(struct qcow2_cache *cache)
{
    bool any = false;
    int status = 0;
    size_t count;

    for (struct table *table = cache->newest; table; table = table->older)
        any |= table->due = table->dirty;
    while (status == 0 && (count = copy_due(cache)) > 0)
        status = write_copies(cache, count, write_predecessor(cache, true));
    /* Without memory for a single copy all are written under the lock. */
    for (struct table *table = cache->newest; table && any && status == 0; table = table->older)
        if (table->due)
            return qcow2_cache_write(cache);
    return status;
}

/* ---- Room --------------------------------------------------------------------------- */

/* The one unused for longest; NULL: all of them are on their way. */
static struct table *victim(const struct qcow2_cache *cache)
{
    struct table *table = cache->oldest;

    while (table && table->loading)
        table = table->newer;
    return table;
}

/* All that is dirty goes out at once, as in a flush. */
static int clean_aside(struct qcow2_cache *cache)
{
    struct qcow2 *s = qcow2_state(cache->image);

    if (s->flushing)
        return img_wait_for_table(cache->image);
    s->flushing = true;
    int status = qcow2_cache_write_aside(cache);
    s->flushing = false;
    img_table_arrived(cache->image);
    return status < 0 ? status : IMG_LOOK_AGAIN;
}

/* Memory for one more table: fresh, or that of the one unused for longest. */
static int make_room(struct qcow2_cache *cache, bool waits, struct table **table)
{
    struct table *oldest = cache->count < cache->capacity ? NULL : victim(cache);

    if (cache->count >= cache->capacity && !oldest && waits)
        return img_wait_for_table(cache->image);
    if (!oldest) {
        *table = malloc(sizeof **table + cache->table_size);
        if (*table)
            return 0;
        if (!(oldest = victim(cache)))
            return -ENOMEM;
    }
    int status = 0;
    if (oldest->dirty)
        status = waits && cache->after ? clean_aside(cache) : qcow2_cache_write(cache);
    if (status < 0)
        return status;
    *table = oldest;
    detach(cache, oldest);
    return 0;
}

static int check_offset(struct qcow2_cache *cache, uint64_t offset)
{
    if (offset == 0 || !img_aligned(offset, cache->table_size))
        return qcow2_signal_corrupt(cache->image, true, "Cannot get entry from %s cache: Offset %#llx is unaligned",
                                    is_refblock(cache) ? "refcount block" : "L2",
                                    (unsigned long long)offset);
    return 0;
}

static int read_table(struct qcow2_cache *cache, struct table *table, uint64_t offset)
{
    img_event_at(cache->image->file, is_refblock(cache) ? IMG_EVENT_refblock_load : IMG_EVENT_l2_load);
    /* Without a refcount block the content is still there. */
    return is_refblock(cache) ? qcow2_read(cache->image, table->bytes, offset, cache->table_size)
                              : qcow2_read_table(cache->image, table->bytes, offset, cache->table_size);
}

static int load(struct qcow2_cache *cache, struct table *table, uint64_t offset)
{
    int status = read_table(cache, table, offset);

    if (status < 0)
        free(table);
    else
        attach(cache, table, offset);
    return status;
}

/* Load a table with the lock released. */
static int load_aside(struct qcow2_cache *cache, struct table *table, uint64_t offset)
{
    attach(cache, table, offset);
    table->loading = true;
    unsigned left = img_step_out(cache->image);
    int status = read_table(cache, table, offset);
    img_step_in(cache->image, left);
    table->loading = false;
    img_table_arrived(cache->image);
    if (table->dropped) {
        free(table);
        return IMG_LOOK_AGAIN;
    }
    if (status < 0) {
        detach(cache, table);
        free(table);
    }
    return status < 0 ? status : IMG_LOOK_AGAIN;
}

/* `table` is the one at `offset`, which is being loaded, or NULL. */
static int load_table(struct qcow2_cache *cache, struct table *table, uint64_t offset, bool looks, uint8_t **bytes)
{
    bool waits = looks && img_may_wait(cache->image);
    int status;

    if (table && waits)
        return img_wait_for_table(cache->image);
    if (table)
        qcow2_cache_forget(cache, offset);
    if ((status = check_offset(cache, offset)) < 0 || (status = make_room(cache, waits, &table)) < 0)
        return status;
    if ((status = waits ? load_aside(cache, table, offset) : load(cache, table, offset)) < 0)
        return status;
    *bytes = table->bytes;
    return 0;
}

static inline int get_table(struct qcow2_cache *cache, uint64_t offset, bool looks, uint8_t **bytes)
{
    struct table *table = find(cache, offset);

    if (!table || table->loading)
        return load_table(cache, table, offset, looks, bytes);
    touch(cache, table);
    *bytes = table->bytes;
    return 0;
}

int qcow2_cache_get(struct qcow2_cache *cache, uint64_t offset, uint8_t **bytes)
{
    return get_table(cache, offset, false, bytes);
}

int qcow2_cache_look(struct qcow2_cache *cache, uint64_t offset, uint8_t **bytes)
{
    return get_table(cache, offset, true, bytes);
}

int qcow2_cache_new_table(struct qcow2_cache *cache, uint64_t offset, uint8_t **bytes)
{
    struct table *table = find(cache, offset);

    if (table && table->loading) {
        qcow2_cache_forget(cache, offset);
        table = NULL;
    }
    if (!table) {
        int status = check_offset(cache, offset);
        if (status < 0 || (status = make_room(cache, false, &table)) < 0)
            return status;
        attach(cache, table, offset);
    } else {
        touch(cache, table);
    }
    memset(table->bytes, 0, cache->table_size);
    qcow2_cache_dirty(cache, offset);
    *bytes = table->bytes;
    return 0;
}

void qcow2_cache_dirty(struct qcow2_cache *cache, uint64_t offset)
{
    struct table *table = find(cache, offset);

    if (table)
        table->changed = true;
    if (table && !table->dirty) {
        table->dirty = true;
        cache->dirty_count++;
    }
}

void qcow2_cache_forget(struct qcow2_cache *cache, uint64_t offset)
{
    struct table *table = find(cache, offset);

    if (table) {
        detach(cache, table);
        let_go(table);
    }
}
