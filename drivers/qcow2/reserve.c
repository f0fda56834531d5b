/* SPDX-License-Identifier: MIT */
/*
 * Guest writes: allocates clusters, and links them in once they are written.
 * Specification: "Cluster mapping", "Extended L2 Entries", "Compressed Clusters Descriptor".
 *
 * reserve examines a run of L2 entries in one pass, and returns one host run:
 *   IN_PLACE  allocated and not shared: overwrite the bytes, nothing to publish
 *   REUSE     an unshared host cluster that reads as zeroes (or partly, with subclusters)
 *   FRESH     everything else: new clusters, all at once
 */
#include "qcow2.h"

enum kind { IN_PLACE, REUSE, FRESH, CODED };

/* tag[] of a reservation, for publish and cancel. */
enum { TAG_GUEST, TAG_COUNT, TAG_HOST, TAG_KIND };

struct run {
    struct qcow2_l2 l2;
    uint64_t offset, end;           /* guest range, cut to the L2 table */
    uint64_t base;                  /* guest offset of the first cluster */
    uint32_t count;                 /* clusters */
    enum kind kind;
    uint64_t host;                  /* of the first cluster */
};

/* First and last subcluster of cluster `i` that the range touches. */
static void touched(const struct qcow2 *s, const struct run *run, uint32_t i, unsigned *first, unsigned *last)
{
    uint64_t base = run->base + ((uint64_t)i << s->h.cluster_bits), end = base + s->cluster_size;

    *first = (unsigned)((img_max(run->offset, base) - base) / s->subcluster_size);
    *last = (unsigned)((img_min(run->end, end) - 1 - base) / s->subcluster_size);
}

/* Bits first..last of the allocated half of a bitmap. */
static uint64_t bits(unsigned first, unsigned last)
{
    return (2ull << last) - (1ull << first);
}

static enum kind classify(const struct qcow2 *s, const struct run *run, uint32_t i)
{
    uint64_t entry = qcow2_l2_entry(s, &run->l2, i);
    unsigned first, last;

    if (entry & QCOW2_COMPRESSED || !(entry & QCOW2_COPIED))
        return FRESH;
    if (s->subclusters == 1)
        return entry & QCOW2_ZERO ? REUSE : IN_PLACE;
    touched(s, run, i, &first, &last);
    uint64_t wanted = bits(first, last);
    return (qcow2_l2_bitmap(s, &run->l2, i) & wanted) == wanted ? IN_PLACE : REUSE;
}

/* A host offset from an entry with the copied flag is cluster-aligned; in a data file it is the guest offset. */
static int check_host(struct img *image, const struct run *run, uint32_t i)
{
    struct qcow2 *s = qcow2_state(image);
    uint64_t host = qcow2_l2_entry(s, &run->l2, i) & QCOW2_OFFSET_MASK;
    uint64_t guest = run->base + ((uint64_t)i << s->h.cluster_bits);

    if (!img_aligned(host, s->cluster_size) || (host == 0 && !image->data_file))
        return qcow2_signal_corrupt(image, true,
                                    "Cluster allocation offset %#llx unaligned (L2 offset: %#llx, L2 index: %#x)",
                                    (unsigned long long)host, (unsigned long long)run->l2.offset, run->l2.index + i);
    if (image->data_file && host != guest)
        return qcow2_signal_corrupt(image, true,
                                    "External data file host cluster offset %#llx does not match guest cluster "
                                    "offset: %#llx, L2 index: %#x)", (unsigned long long)host,
                                    (unsigned long long)guest, run->l2.index + i);
    return 0;
}

/* Find the longest run of one kind at the start of the range. */
static int find_run(struct img *image, struct run *run)
{
    struct qcow2 *s = qcow2_state(image);
    int status;

    run->kind = classify(s, run, 0);
    if (run->kind != FRESH) {
        if ((status = check_host(image, run, 0)) < 0)
            return status;
        run->host = qcow2_l2_entry(s, &run->l2, 0) & QCOW2_OFFSET_MASK;
    }
    uint64_t clusters = img_div_up(run->end - run->base, s->cluster_size);
    uint32_t i = 1;
    for (; i < clusters && classify(s, run, i) == run->kind; i++) {
        uint64_t host = qcow2_l2_entry(s, &run->l2, i) & QCOW2_OFFSET_MASK;
        if (run->kind != FRESH && host != run->host + ((uint64_t)i << s->h.cluster_bits))
            break;
    }
    run->count = i;
    run->end = img_min(run->end, run->base + ((uint64_t)i << s->h.cluster_bits));
    return 0;
}

/*
 * Offset in the first cluster where copy on write begins (old content before the range).  Subclusters that a new
 * cluster takes over from a shared one are copied as one span.
 */
static uint64_t copy_from(const struct qcow2 *s, const struct run *run)
{
    uint64_t entry = qcow2_l2_entry(s, &run->l2, 0);
    uint32_t allocated = (uint32_t)qcow2_l2_bitmap(s, &run->l2, 0);
    unsigned first, last;

    if (s->subclusters == 1 || entry & QCOW2_COMPRESSED)
        return 0;
    touched(s, run, 0, &first, &last);
    if (run->kind == REUSE && allocated >> first & 1)
        return run->offset - run->base;
    if (run->kind == FRESH && allocated)
        first = (unsigned)img_min(first, (unsigned)__builtin_ctz(allocated));
    return (uint64_t)first * s->subcluster_size;
}

/* Offset in the last cluster where copy on write ends. */
static uint64_t copy_to(const struct qcow2 *s, const struct run *run)
{
    uint32_t i = run->count - 1;
    uint64_t entry = qcow2_l2_entry(s, &run->l2, i);
    uint32_t allocated = (uint32_t)qcow2_l2_bitmap(s, &run->l2, i);
    unsigned first, last;

    if (s->subclusters == 1 || entry & QCOW2_COMPRESSED)
        return s->cluster_size;
    touched(s, run, i, &first, &last);
    if (run->kind == REUSE && allocated >> last & 1)
        return run->end - (run->base + ((uint64_t)i << s->h.cluster_bits));
    if (run->kind == FRESH && allocated)
        last = (unsigned)img_max(last, 31u - (unsigned)__builtin_clz(allocated));
    return (uint64_t)(last + 1) * s->subcluster_size;
}

static void set_head_and_tail(struct img *image, const struct run *run, struct img_reservation *to)
{
    struct qcow2 *s = qcow2_state(image);
    uint64_t last = run->base + ((uint64_t)(run->count - 1) << s->h.cluster_bits);
    uint64_t end = img_min(last + copy_to(s, run), image->size);

    to->head = run->offset - (run->base + copy_from(s, run));
    to->tail = end > run->end ? end - run->end : 0;
}

/* Allocate the rest of a write directly after its start, as far as free. */
static int allocate_behind(struct img *image, struct run *run)
{
    struct qcow2 *s = qcow2_state(image);
    uint64_t bytes = (uint64_t)run->count << s->h.cluster_bits;

    if (s->next_host == 0 || s->next_guest != run->offset)
        return 0;
    int status = qcow2_alloc_at(image, s->next_host, &bytes);
    if (status < 0 || bytes == 0)
        return status;
    run->host = s->next_host;
    run->count = (uint32_t)(bytes >> s->h.cluster_bits);
    run->end = img_min(run->end, run->base + bytes);
    return 0;
}

static int allocate(struct img *image, struct run *run)
{
    struct qcow2 *s = qcow2_state(image);
    int status;

    if (image->data_file) {
        run->host = run->base;
        return 0;
    }
    if ((status = allocate_behind(image, run)) < 0)
        return status;
    if (run->host == 0)
        status = qcow2_alloc_clusters(image, (uint64_t)run->count << s->h.cluster_bits, &run->host);
    if (status < 0)
        return status;
    uint64_t bytes = (uint64_t)run->count << s->h.cluster_bits;
    status = qcow2_check_overlap(image, 0, run->host, bytes);
    /* Allocating frees a refcount table that is too short, and in a damaged image this L2 table may lie in it. */
    if (status == 0)
        status = qcow2_cache_get(s->l2_cache, run->l2.offset, &run->l2.table);
    if (status < 0)
        qcow2_free_clusters(image, run->host, bytes);
    return status;
}

/* Will publish drop references of these entries? */
static bool replaces(const struct qcow2 *s, const struct run *run)
{
    for (uint32_t i = 0; i < run->count; i++)
        if (qcow2_l2_entry(s, &run->l2, i) & (QCOW2_OFFSET_MASK | QCOW2_COMPRESSED))
            return true;
    return false;
}

/* Remember where a partly answered write continues. */
static void expect_rest(struct qcow2 *s, const struct run *run, uint64_t end)
{
    s->next_host = run->end < end ? run->host + ((uint64_t)run->count << s->h.cluster_bits) : 0;
    s->next_guest = run->end;
}

int qcow2_reserve(struct img *image, uint64_t offset, uint64_t length, struct img_reservation *to)
{
    struct qcow2 *s = qcow2_state(image);
    struct run run = { .offset = offset, .base = img_align_down(offset, s->cluster_size) };

    memset(to, 0, sizeof *to);
    int status = qcow2_l2_for_write(image, offset, &run.l2);
    if (status < 0)
        return status;
    run.end = img_min(offset + length, run.base + ((uint64_t)run.l2.left << s->h.cluster_bits));
    if ((status = find_run(image, &run)) < 0)
        return status;
    if (run.kind == FRESH)
        status = allocate(image, &run);
    else if (!image->data_file)
        status = qcow2_check_overlap(image, 0, run.host, (uint64_t)run.count << s->h.cluster_bits);
    if (status < 0)
        return status;
    expect_rest(s, &run, offset + length);
    to->offset = offset;
    to->length = run.end - offset;
    to->file = qcow2_data_node(image);
    to->host = run.host + (offset - run.base);
    to->published = run.kind == IN_PLACE;
    to->replaces = run.kind == FRESH && replaces(s, &run);
    if (!to->published)
        set_head_and_tail(image, &run, to);
    to->tag[TAG_GUEST] = run.base;
    to->tag[TAG_COUNT] = run.count;
    to->tag[TAG_HOST] = run.host;
    to->tag[TAG_KIND] = run.kind;
    return 0;
}

/* ---- Compressed clusters ------------------------------------------------------------ */

int qcow2_reserve_coded(struct img *image, uint64_t offset, size_t coded_length, struct img_reservation *to)
{
    struct qcow2 *s = qcow2_state(image);
    uint64_t place;
    struct qcow2_l2 l2;

    memset(to, 0, sizeof *to);
    if (image->data_file)
        return -ENOTSUP;
    /* Get the table first, so that publish does not allocate. */
    int status = qcow2_l2_for_write(image, offset, &l2);
    if (status < 0 || (status = qcow2_alloc_coded(image, coded_length, &place)) < 0)
        return status;
    uint64_t address_bits = 62 - (s->h.cluster_bits - 8);
    status = place >> address_bits ? -EFBIG : qcow2_check_overlap(image, 0, place, coded_length);
    if (status < 0) {
        qcow2_free_clusters(image, place, coded_length);
        return status;
    }
    to->offset = offset;
    to->length = coded_length;
    to->file = image->file;
    to->host = place;
    to->coded = true;
    to->tag[TAG_GUEST] = offset;
    to->tag[TAG_COUNT] = coded_length;
    to->tag[TAG_HOST] = place;
    to->tag[TAG_KIND] = CODED;
    return 0;
}

/* Combine the offset and the number of additional sectors. */
uint64_t qcow2_coded_entry(const struct qcow2 *s, uint64_t host, uint64_t length)
{
    uint64_t sectors = ((host + length - 1) >> 9) - (host >> 9);

    return QCOW2_COMPRESSED | host | sectors << (62 - (s->h.cluster_bits - 8));
}

static int publish_coded(struct img *image, struct img_reservation *at)
{
    struct qcow2 *s = qcow2_state(image);
    struct qcow2_l2 l2;

    int status = qcow2_l2_for_write(image, at->tag[TAG_GUEST], &l2);
    if (status < 0)
        return status;
    uint64_t old = qcow2_l2_entry(s, &l2, 0);
    s->coded_written = true;
    qcow2_l2_put(s, &l2, 0, qcow2_coded_entry(s, at->tag[TAG_HOST], at->tag[TAG_COUNT]), 0);
    qcow2_cache_dirty(s->l2_cache, l2.offset);
    qcow2_drop_entry(image, old, QCOW2_DISCARD_NEVER);
    return qcow2_settle(image);
}

/* ---- Linking in ------------------------------------------------------------------------- */

/* The bitmap of cluster `i` after the subclusters in [from, end) were written. */
static uint64_t new_bitmap(const struct qcow2 *s, uint64_t bitmap, uint64_t base, uint64_t from, uint64_t end)
{
    uint64_t limit = base + s->cluster_size;
    unsigned first = (unsigned)((img_max(from, base) - base) / s->subcluster_size);
    unsigned last = (unsigned)((img_min(end, limit) - 1 - base) / s->subcluster_size);
    uint64_t data = bits(first, last);

    return (bitmap | data) & ~(data << 32);
}

/*
 * If the disk ends inside its last cluster (or subcluster), the file still has all of it.  Write its last byte,
 * which is ours alone; setting the file's length could cut off concurrent writes further on.
 */
static int fill_last_unit(struct img *image, uint64_t host_end)
{
    if (image->data_file || img_aligned(image->size, qcow2_state(image)->subcluster_size))
        return 0;
    return img_lengthen_file(image->file, host_end);
}

static int publish_clusters(struct img *image, struct img_reservation *at)
{
    struct qcow2 *s = qcow2_state(image);
    uint64_t base = at->tag[TAG_GUEST], host = at->tag[TAG_HOST];
    uint64_t from = at->offset - at->head, end = at->offset + at->length + at->tail;
    uint32_t count = (uint32_t)at->tag[TAG_COUNT];
    bool fresh = at->tag[TAG_KIND] == FRESH;
    struct qcow2_l2 l2;

    int status = qcow2_l2_for_write(image, base, &l2);
    if (status == 0 && end >= image->size)
        status = fill_last_unit(image, host + img_align_up(end - base, s->subcluster_size));
    if (status < 0)
        return status;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t step = (uint64_t)i << s->h.cluster_bits;
        uint64_t old = qcow2_l2_entry(s, &l2, i), bitmap = 0;
        if (s->subclusters > 1)
            bitmap = new_bitmap(s, old & QCOW2_COMPRESSED ? 0 : qcow2_l2_bitmap(s, &l2, i), base + step, from, end);
        qcow2_l2_put(s, &l2, i, (host + step) | QCOW2_COPIED, bitmap);
        if (fresh)
            qcow2_drop_entry(image, old, QCOW2_DISCARD_NEVER);
    }
    qcow2_cache_dirty(s->l2_cache, l2.offset);
    return qcow2_settle(image);
}

int qcow2_publish(struct img *image, struct img_reservation *at)
{
    if (at->published)
        return 0;
    qcow2_state(image)->published++;
    return at->tag[TAG_KIND] == CODED ? publish_coded(image, at) : publish_clusters(image, at);
}

void qcow2_cancel(struct img *image, struct img_reservation *at)
{
    struct qcow2 *s = qcow2_state(image);

    if (at->tag[TAG_KIND] == CODED)
        qcow2_free_clusters(image, at->tag[TAG_HOST], at->tag[TAG_COUNT]);
    else if (at->tag[TAG_KIND] == FRESH && !image->data_file)
        qcow2_free_clusters(image, at->tag[TAG_HOST], at->tag[TAG_COUNT] << s->h.cluster_bits);
}
