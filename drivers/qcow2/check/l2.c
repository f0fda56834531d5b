/* SPDX-License-Identifier: MIT */
/*
 * L2 tables: reads them in batches, checks every entry and counts its reference.
 * Specification: "Cluster mapping", "Extended L2 Entries", "Compressed Clusters Descriptor".
 */
#include "check.h"

#include <inttypes.h>

enum { READ_AHEAD_BYTES = 1 << 20, READ_AHEAD_TABLES = 256 };

/* ---- Reading ahead ------------------------------------------------------------ */

int qcow2_reader_start(struct qcow2_table_reader *reader, struct img *image, const uint64_t *l1, uint32_t size)
{
    uint32_t cluster_size = qcow2_state(image)->cluster_size;
    size_t tables = cluster_size >= READ_AHEAD_BYTES ? 1 : READ_AHEAD_BYTES / cluster_size;

    if (tables > READ_AHEAD_TABLES)
        tables = READ_AHEAD_TABLES;
    /* There may be very many snapshots with few tables each. */
    if (tables > size)
        tables = size ? size : 1;
    *reader = (struct qcow2_table_reader){ .image = image, .l1 = l1, .l1_size = size };
    reader->tables = malloc(tables * cluster_size);
    reader->status = calloc(tables, sizeof *reader->status);
    reader->capacity = (uint32_t)tables;
    return reader->tables && reader->status ? 0 : -ENOMEM;
}

/* The table that was read last once more: an L1 table may name one that hardly holds a thing a million times. */
static void repeat_last(struct qcow2_table_reader *reader, uint32_t slot)
{
    uint32_t size = qcow2_state(reader->image)->cluster_size;

    if (slot == reader->last_slot)
        return;
    memcpy(reader->tables + (size_t)slot * size, reader->tables + (size_t)reader->last_slot * size, size);
    reader->status[slot] = reader->status[reader->last_slot];
    reader->last_slot = slot;
}

/* Tables that follow each other in the file come with one read; 0 when there was only one. */
static uint32_t read_run(struct qcow2_table_reader *reader, uint32_t index, uint32_t limit)
{
    const struct qcow2 *s = qcow2_state(reader->image);
    uint64_t offset = reader->l1[index] & QCOW2_OFFSET_MASK;
    uint32_t n = 1, at = index - reader->first;

    while (n < limit && (reader->l1[index + n] & QCOW2_OFFSET_MASK) == offset + (uint64_t)n * s->cluster_size)
        n++;
    int status = qcow2_read(reader->image, reader->tables + (size_t)at * s->cluster_size, offset,
                            (size_t)n * s->cluster_size);
    reader->last = offset + (uint64_t)(n - 1) * s->cluster_size;
    reader->last_slot = at + n - 1;
    if (status < 0 && n > 1) {
        /* Find out which of them cannot be read. */
        for (uint32_t i = 0; i < n; i++)
            reader->status[at + i] = qcow2_read(reader->image, reader->tables + (size_t)(at + i) * s->cluster_size,
                                                offset + (uint64_t)i * s->cluster_size, s->cluster_size);
        return n;
    }
    for (uint32_t i = 0; i < n; i++)
        reader->status[at + i] = status;
    return n;
}

int qcow2_reader_table(struct qcow2_table_reader *reader, uint32_t index, uint8_t **table)
{
    const struct qcow2 *s = qcow2_state(reader->image);

    if (index < reader->first || index >= reader->first + reader->count) {
        uint32_t n;
        reader->first = index;
        reader->count = reader->l1_size - index < reader->capacity ? reader->l1_size - index : reader->capacity;
        for (uint32_t i = 0; i < reader->count; i += n) {
            uint64_t offset = reader->l1[index + i] & QCOW2_OFFSET_MASK;
            n = 1;
            if (offset && offset == reader->last)
                repeat_last(reader, i);
            else if (reader->l1[index + i])
                n = read_run(reader, index + i, reader->count - i);
        }
    }
    *table = reader->tables + (size_t)(index - reader->first) * s->cluster_size;
    return reader->status[index - reader->first];
}

void qcow2_reader_stale(struct qcow2_table_reader *reader)
{
    reader->count = 0;
    reader->last = 0;
}

void qcow2_reader_end(struct qcow2_table_reader *reader)
{
    free(reader->tables);
    free(reader->status);
}

/* ---- Entries -------------------------------------------------------------------- */

enum qcow2_entry_kind qcow2_entry_kind(const struct img *image, uint64_t entry)
{
    const struct qcow2 *s = qcow2_state(image);
    uint64_t offset = entry & QCOW2_OFFSET_MASK;

    if (entry & QCOW2_COMPRESSED)
        return QCOW2_ENTRY_COMPRESSED;
    if (entry & QCOW2_ZERO && s->subclusters == 1)
        return offset ? QCOW2_ENTRY_ZERO_ALLOCATED : QCOW2_ENTRY_ZERO;
    if (offset)
        return QCOW2_ENTRY_DATA;
    /* In a data file offset 0 is valid; the COPIED flag marks it as allocated. */
    return image->data_file && entry & QCOW2_COPIED ? QCOW2_ENTRY_DATA : QCOW2_ENTRY_NONE;
}

struct place {
    uint64_t table;                 /* host offset of the L2 table */
    uint32_t index;                 /* entry in it */
    bool active;
    uint8_t *bytes;                 /* of the entry */
    uint64_t *next;                 /* host offset that would continue the last data cluster; 0: unknown */
};

/* Count an allocated cluster in the statistics. */
static void note_allocated(struct qcow2_check *check, bool active, uint64_t offset, uint64_t *next)
{
    if (active) {
        check->result->allocated_clusters++;
        if (*next && offset != *next)
            check->result->fragmented_clusters++;
    }
    *next = offset + check->s->cluster_size;
}

/* Can a compressed cluster be decoded, whose last sectors are not in the file?  Many entries may name the same one. */
static bool is_decodable(struct qcow2_check *check, uint64_t host)
{
    size_t there = (size_t)(check->exact_size - host), unit = check->s->cluster_size;
    CLEANUP_FREE uint8_t *coded = NULL, *plain = NULL;

    if (check->cut_coded == host)
        return check->cut_decodable;
    coded = malloc(there);
    plain = malloc(unit);
    check->cut_coded = host;
    check->cut_decodable = coded && plain && img_pread(check->image->file, coded, host, there) == 0 &&
                           qcow2_decode(check->image, coded, there, plain, unit) == 0;
    return check->cut_decodable;
}

/* The file ends inside `length` bytes: a cluster may be cut, but only at the end of a sector, and it has to be decodable. */
void qcow2_check_end(struct qcow2_check *check, uint64_t host, uint64_t length, bool coded)
{
    uint64_t end = check->exact_size;

    if (host + length <= end || qcow2_check_exceeds(check, host, length, check->file_size))
        return;
    if (host < end && (coded ? is_decodable(check, host) : end % 512 == 0))
        return;
    img_notice(IMG_NOTE, "ERROR cluster at 0x%" PRIx64 " is cut off: the file ends at 0x%" PRIx64, host, end);
    check->result->corruptions++;
}

/* In a data file clusters are where the guest sees them. */
static void judge_data_file(struct qcow2_check *check, uint64_t offset, uint64_t bitmap)
{
    struct img *image = check->image;
    uint64_t length = check->s->cluster_size;

    if (check->s->subclusters > 1)
        length = (uint64_t)(32 - __builtin_clz((uint32_t)bitmap | 1)) * check->s->subcluster_size;
    if (offset >= image->size || img_has_bytes(image, image->data_file, offset, img_min(length, image->size - offset)))
        return;
    img_notice(IMG_NOTE, "ERROR offset=%" PRIx64 ": Cluster is behind the end of the data file", offset);
    check->result->corruptions++;
}

static int judge_compressed(struct qcow2_check *check, const struct place *at, uint64_t entry, uint64_t bitmap)
{
    uint64_t host, length;

    qcow2_coded_range(check->s, entry & ~QCOW2_COPIED, &host, &length);
    if (entry & QCOW2_COPIED) {
        img_notice(IMG_NOTE, "ERROR: coffset=0x%" PRIx64 ": copied flag must never be set for compressed clusters",
                   host);
        check->result->corruptions++;
        entry &= ~QCOW2_COPIED;
    }
    if (check->image->data_file) {
        img_notice(IMG_NOTE, "ERROR compressed cluster %" PRIu32 " with data file, entry=0x%" PRIx64, at->index, entry);
        check->result->corruptions++;
        return 0;
    }
    if (bitmap) {
        img_notice(IMG_NOTE, "ERROR compressed cluster %" PRIu32 " with non-zero subcluster allocation bitmap, "
                   "entry=0x%" PRIx64, at->index, entry);
        check->result->corruptions++;
        return 0;
    }
    qcow2_check_end(check, host, length, true);
    int status = qcow2_check_refer(check, host, length);
    if (status < 0)
        return status;
    if (at->active) {
        check->result->allocated_clusters++;
        check->result->compressed_clusters++;
        /* A compressed cluster is always a fragment. */
        check->result->fragmented_clusters++;
    }
    return 0;
}

/* Write another entry.  Returns 1, or 0 if it cannot be written. */
static int mend_entry(struct qcow2_check *check, const struct place *at, uint64_t entry)
{
    struct qcow2 *s = check->s;
    uint64_t offset = at->table + (uint64_t)at->index * s->l2_entry_size;
    unsigned section = at->active ? QCOW2_AT_ACTIVE_L2 : QCOW2_AT_INACTIVE_L2;

    img_put_be64(at->bytes, entry);
    int status = qcow2_check_overlap(check->image, section, offset, 8);
    if (status < 0) {
        img_notice(IMG_NOTE, "ERROR: Overlap check failed");
        check->result->check_errors++;
        return status;
    }
    status = img_pwrite(check->image->file, at->bytes, offset, 8);
    if (status < 0) {
        img_notice(IMG_NOTE, "ERROR: Failed to overwrite L2 table entry: %s", img_strerror(status));
        check->result->check_errors++;
        return 0;
    }
    qcow2_cache_forget(s->l2_cache, at->table);
    check->tables_changed = true;
    check->result->corruptions_fixed++;
    return 1;
}

/* Drop an allocation that holds no data: the entry reads the same without it. */
static int drop_allocation(struct qcow2_check *check, const struct place *at)
{
    return mend_entry(check, at, check->s->subclusters > 1 ? 0 : QCOW2_ZERO);
}

/*
 * Version 2 has no zero clusters.  Without a backing file an entry of 0 reads the same; with one, nothing but a cluster of
 * zeroes does.  Returns 1 if the entry was removed.
 */
static int judge_old_zero(struct qcow2_check *check, const struct place *at, uint64_t entry)
{
    bool mend = check->repair & IMG_REPAIR_ERRORS && !check->image->backing_name;

    img_notice(IMG_NOTE, "%s zero cluster in an image of version 2: L2 offset: 0x%" PRIx64 ", L2 index: %" PRIu32
               ", entry=0x%" PRIx64, mend ? "Repairing" : "ERROR", at->table, at->index, entry);
    if (!check->told_old_zero)
        img_notice(IMG_ADVICE, "amend -o compat=1.1 makes these entries valid");
    check->told_old_zero = true;
    if (mend)
        return mend_entry(check, at, 0);
    check->result->corruptions++;
    return 0;
}

/* Returns 1 if the entry was removed. */
static int judge_alignment(struct qcow2_check *check, const struct place *at, uint64_t entry, bool has_data)
{
    uint64_t offset = entry & QCOW2_OFFSET_MASK;
    bool mend = check->repair & IMG_REPAIR_ERRORS;

    if (img_aligned(offset, check->s->cluster_size))
        return 0;
    if (has_data) {
        img_notice(IMG_NOTE, "ERROR offset=%" PRIx64 ": Data cluster is not properly aligned; L2 entry corrupted.",
                   offset);
        check->result->corruptions++;
        return 0;
    }
    img_notice(IMG_NOTE, "%s offset=%" PRIx64 ": Preallocated cluster is not properly aligned; L2 entry corrupted.",
               mend ? "Repairing" : "ERROR", offset);
    if (!mend) {
        check->result->corruptions++;
        return 0;
    }
    return drop_allocation(check, at);
}

static int judge_allocated(struct qcow2_check *check, const struct place *at, enum qcow2_entry_kind kind,
                           uint64_t entry, uint64_t bitmap)
{
    const struct qcow2 *s = check->s;
    uint64_t offset = entry & QCOW2_OFFSET_MASK;
    bool has_data = kind == QCOW2_ENTRY_DATA && (s->subclusters == 1 || (uint32_t)bitmap);

    if ((uint32_t)bitmap & bitmap >> 32) {
        img_notice(IMG_NOTE, "ERROR offset=%" PRIx64 ": Allocated cluster has corrupted subcluster allocation bitmap",
                   offset);
        check->result->corruptions++;
    }
    int status = judge_alignment(check, at, entry, has_data);
    if (status != 0)
        return status < 0 ? status : 0;
    note_allocated(check, at->active, offset, at->next);
    if (has_data && check->image->data_file)
        judge_data_file(check, offset, bitmap);
    else if (has_data)
        qcow2_check_end(check, offset, s->cluster_size, false);
    return check->image->data_file ? 0 : qcow2_check_refer(check, offset, s->cluster_size);
}

static int judge(struct qcow2_check *check, const struct place *at)
{
    uint64_t entry = img_get_be64(at->bytes);
    uint64_t bitmap = check->s->subclusters > 1 ? img_get_be64(at->bytes + 8) : 0;
    enum qcow2_entry_kind kind = qcow2_entry_kind(check->image, entry);
    bool takes_cluster = kind == QCOW2_ENTRY_DATA || kind == QCOW2_ENTRY_ZERO_ALLOCATED;

    if (at->active && takes_cluster && !(entry & QCOW2_COPIED))
        check->plain = false;
    if (kind == QCOW2_ENTRY_COMPRESSED)
        return judge_compressed(check, at, entry, bitmap);
    if (entry & QCOW2_L2_RESERVED) {
        img_notice(IMG_NOTE, "ERROR found l2 entry with reserved bits set: %" PRIx64, entry);
        check->result->corruptions++;
    }
    if (entry & QCOW2_ZERO && check->s->h.version < 3) {
        int status = judge_old_zero(check, at, entry);
        if (status != 0)
            return status < 0 ? status : 0;
    }
    if (takes_cluster)
        return judge_allocated(check, at, kind, entry, bitmap);
    if ((uint32_t)bitmap) {
        img_notice(IMG_NOTE, "ERROR: Unallocated cluster has non-zero subcluster allocation map");
        check->result->corruptions++;
    }
    return 0;
}

/* ---- The usual entries, of which there are millions ------------------------------------ */

enum { LOOK_AHEAD = 24 };               /* entries; in a fragmented image each count is a cache miss of its own */

uint32_t qcow2_empty_run(const struct qcow2 *s, const uint8_t *table, uint32_t index)
{
    size_t left = (((size_t)1 << s->l2_bits) - index) * s->l2_entry_size;

    return (uint32_t)(img_leading_zeroes(table + (size_t)index * s->l2_entry_size, left) / s->l2_entry_size);
}

static void fetch_count(const struct qcow2_check *check, uint64_t entry)
{
    const uint8_t *count = qcow2_count_bytes(&check->counts, (entry & QCOW2_OFFSET_MASK) >> check->s->h.cluster_bits);

    if (count)
        __builtin_prefetch(count, 1);
}

/* Count one more reference to an aligned cluster inside the file; false: use qcow2_check_refer. */
static bool count_first_use(struct qcow2_check *check, uint64_t offset)
{
    uint8_t *count = qcow2_count_bytes(&check->counts, offset >> check->s->h.cluster_bits);

    if (!count || *count || check->exact_size < offset + check->s->cluster_size)
        return false;
    *count = 1;
    return true;
}

/* Count an entry that has no error, and one cluster or none.  Returns whether it is such an entry. */
static bool count_plain(struct qcow2_check *check, uint64_t entry, bool active, uint64_t *next)
{
    uint64_t cluster_size = check->s->cluster_size, offset = entry & QCOW2_OFFSET_MASK;
    uint64_t zero = check->s->h.version < 3 ? QCOW2_ZERO : 0;

    if (entry == 0)
        return true;
    if (entry & (QCOW2_COMPRESSED | QCOW2_L2_RESERVED | zero | (QCOW2_OFFSET_MASK & (cluster_size - 1))) || !offset ||
        (active && !(entry & QCOW2_COPIED)) || !count_first_use(check, offset))
        return false;
    note_allocated(check, active, offset, next);
    return true;
}

/* Count plain entries from `index` on; returns the first one that is not, or where empty ones are looked for next. */
static uint32_t count_run(struct qcow2_check *check, const uint8_t *table, uint32_t index, bool active, uint64_t *next)
{
    uint32_t entries = 1u << check->s->l2_bits;
    uint32_t end = (uint32_t)img_min((index | (QCOW2_EMPTY_STEP - 1)) + 1, entries);

    for (; index < end; index++) {
        if (index + LOOK_AHEAD < entries)
            fetch_count(check, img_get_be64(table + (size_t)(index + LOOK_AHEAD) * 8));
        if (!count_plain(check, img_get_be64(table + (size_t)index * 8), active, next))
            break;
    }
    return index;
}

int qcow2_check_l2(struct qcow2_check *check, uint64_t offset, uint8_t *table, bool active)
{
    const struct qcow2 *s = check->s;
    bool usual = s->subclusters == 1 && !check->image->data_file;
    uint32_t entries = 1u << s->l2_bits;
    uint64_t next = 0;

    for (uint32_t i = 0; i < entries; ) {
        uint32_t start = i += qcow2_empty_entries(s, table, i);
        if (usual && i < entries)
            i = count_run(check, table, i, active, &next);
        if (i == entries || (i > start && i % QCOW2_EMPTY_STEP == 0))
            continue;
        struct place at = { .table = offset, .index = i, .active = active, .next = &next,
                            .bytes = table + (size_t)i * s->l2_entry_size };
        int status = judge(check, &at);
        if (status < 0)
            return status;
        i++;
    }
    return 0;
}
