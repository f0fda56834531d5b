/* SPDX-License-Identifier: MIT */
/*
 * The bits of one bitmap.
 * Specification: "Bitmap table", "Bitmap data".
 *
 * The whole table is in memory; the bits are loaded cluster by cluster.  When they use too much memory, changed ones
 * are written and all are dropped.  The bitmap is marked in use by then, so nobody relies on its clusters.  Bits
 * beyond the end of the disk are kept 0.
 */
#include "../qcow2.h"

enum { MOST_MEMORY = 64 << 20 };

struct part { uint8_t *bits; bool newer; };

struct qcow2_bits {
    uint64_t *table;                /* host byte order */
    struct part *parts;
    uint64_t entries;
    bool changed;                   /* a part, or the table, is newer than on disk */
};

static uint64_t part_bits(const struct qcow2 *s)
{
    return (uint64_t)s->cluster_size * 8;
}

static uint64_t disk_bits(const struct qcow2_bitmap *bitmap, uint64_t size)
{
    return img_div_up(size, 1ull << bitmap->granularity_bits);
}

/* Number of bits in this cluster that represent a disk of this size. */
static uint64_t valid_bits(const struct qcow2 *s, const struct qcow2_bitmap *bitmap, uint64_t index, uint64_t size)
{
    uint64_t all = disk_bits(bitmap, size), first = index * part_bits(s);

    return all > first ? img_min(all - first, part_bits(s)) : 0;
}

/* ---- The table --------------------------------------------------------------------- */

static int make_arrays(struct qcow2_bits *bits, uint64_t entries)
{
    uint64_t *table = calloc(entries + 1, sizeof *table);
    struct part *parts = calloc(entries + 1, sizeof *parts);

    if (!table || !parts) {
        free(table);
        free(parts);
        return -ENOMEM;
    }
    bits->table = table;
    bits->parts = parts;
    bits->entries = entries;
    return 0;
}

int qcow2_bits_load(struct img *image, struct qcow2_bitmap *bitmap)
{
    struct qcow2 *s = qcow2_state(image);
    struct qcow2_bits *bits;
    int status;

    if (bitmap->bits)
        return 0;
    if (!(bits = calloc(1, sizeof *bits)))
        return -ENOMEM;
    if (!bitmap->table_size) {      /* a new one */
        bits->changed = true;
        status = make_arrays(bits, qcow2_bitmap_clusters(s, bitmap->granularity_bits));
    } else if ((status = make_arrays(bits, bitmap->table_size)) == 0) {
        uint64_t *table;
        if ((status = qcow2_read_bitmap_table(image, bitmap, &table)) == 0) {
            memcpy(bits->table, table, bits->entries * sizeof *table);
            free(table);
        }
    }
    bitmap->bits = bits;
    if (status < 0)
        qcow2_bits_free(s, bitmap);
    return status;
}

static void drop_part(struct qcow2 *s, struct part *part)
{
    if (part->bits)
        s->bitmap_memory -= s->cluster_size;
    free(part->bits);
    *part = (struct part){ 0 };
}

void qcow2_bits_free(struct qcow2 *s, struct qcow2_bitmap *bitmap)
{
    struct qcow2_bits *bits = bitmap->bits;

    if (!bits)
        return;
    for (uint64_t i = 0; bits->parts && i < bits->entries; i++)
        drop_part(s, &bits->parts[i]);
    free(bits->parts);
    free(bits->table);
    free(bits);
    bitmap->bits = NULL;
}

bool qcow2_bits_changed(const struct qcow2_bitmap *bitmap)
{
    return bitmap->bits && bitmap->bits->changed;
}

const uint64_t *qcow2_bits_table(const struct qcow2_bitmap *bitmap, uint64_t *entries)
{
    *entries = bitmap->bits->entries;
    return bitmap->bits->table;
}

void qcow2_bits_written(struct qcow2_bitmap *bitmap)
{
    bitmap->bits->changed = false;
}

/* Are all bits of the part known to be 0?  Then it is not loaded, and its entry says so. */
static bool is_empty(const struct qcow2_bits *bits, uint64_t index)
{
    return !bits->parts[index].bits && !bits->table[index];
}

/* ---- Writing back ------------------------------------------------------------------- */

/* Set an entry that has no cluster. */
static void set_plain(struct img *image, struct qcow2_bits *bits, uint64_t index, uint64_t value)
{
    struct qcow2 *s = qcow2_state(image);
    uint64_t offset = bits->table[index] & QCOW2_OFFSET_MASK;

    drop_part(s, &bits->parts[index]);
    if (bits->table[index] == value)
        return;
    if (offset)
        qcow2_bitmap_trash(image, offset, s->cluster_size);
    bits->table[index] = value;
    bits->changed = true;
}

static bool all_are(const uint8_t *bytes, size_t length, uint8_t value)
{
    return bytes[0] == value && memcmp(bytes, bytes + 1, length - 1) == 0;
}

static int write_part(struct img *image, struct qcow2_bits *bits, uint64_t index)
{
    struct qcow2 *s = qcow2_state(image);
    struct part *part = &bits->parts[index];
    uint64_t offset = bits->table[index] & QCOW2_OFFSET_MASK;
    int status = 0;

    if (all_are(part->bits, s->cluster_size, 0) || all_are(part->bits, s->cluster_size, 0xff)) {
        set_plain(image, bits, index, part->bits[0] ? QCOW2_BITS_ALL_ONES : 0);
        return 0;
    }
    if (offset && !qcow2_bitmap_alone(image, offset, s->cluster_size)) {
        qcow2_bitmap_trash(image, offset, s->cluster_size);
        offset = 0;
    }
    if (!offset && (status = qcow2_alloc_clusters(image, s->cluster_size, &offset)) < 0)
        return status;
    bits->table[index] = offset;
    if ((status = qcow2_write(image, 0, part->bits, offset, s->cluster_size)) == 0)
        part->newer = false;
    return status;
}

int qcow2_bits_write(struct img *image, struct qcow2_bitmap *bitmap)
{
    struct qcow2_bits *bits = bitmap->bits;
    int status = 0;

    for (uint64_t i = 0; status == 0 && i < bits->entries; i++)
        if (bits->parts[i].newer)
            status = write_part(image, bits, i);
    return status;
}

/* Free memory: write changed parts, drop all. */
static int spill(struct img *image)
{
    struct qcow2 *s = qcow2_state(image);
    int status = 0;

    for (size_t i = 0; status == 0 && i < s->bitmaps.count; i++) {
        struct qcow2_bits *bits = s->bitmaps.at[i].bits;
        if (!bits || (status = qcow2_bits_write(image, &s->bitmaps.at[i])) < 0)
            continue;
        for (uint64_t k = 0; k < bits->entries; k++)
            drop_part(s, &bits->parts[k]);
    }
    return status;
}

/* ---- Bits ------------------------------------------------------------------------------ */

/* Clear the bits after the first `valid`. */
static void mask(uint8_t *bits, size_t length, uint64_t valid)
{
    uint64_t whole = valid / 8;

    if (whole >= length)
        return;
    bits[whole] &= (uint8_t)((1u << valid % 8) - 1);
    memset(bits + whole + 1, 0, length - whole - 1);
}

/* Get the loaded cluster; valid until the next call. */
static int get_part(struct img *image, struct qcow2_bitmap *bitmap, uint64_t index, uint64_t valid, struct part **out)
{
    struct qcow2 *s = qcow2_state(image);
    struct qcow2_bits *bits = bitmap->bits;
    struct part *part = &bits->parts[index];
    uint64_t entry = bits->table[index];
    int status = 0;

    *out = part;
    if (part->bits)
        return 0;
    if (s->bitmap_memory + s->cluster_size > MOST_MEMORY && (status = spill(image)) < 0)
        return status;
    if (!(part->bits = calloc(1, s->cluster_size)))
        return -ENOMEM;
    s->bitmap_memory += s->cluster_size;
    if (entry & QCOW2_OFFSET_MASK)
        status = qcow2_read(image, part->bits, entry & QCOW2_OFFSET_MASK, s->cluster_size);
    else if (entry & QCOW2_BITS_ALL_ONES)
        memset(part->bits, 0xff, s->cluster_size);
    mask(part->bits, s->cluster_size, valid);
    if (status < 0)
        drop_part(s, part);
    return status;
}

static void set_run(uint8_t *bits, uint64_t first, uint64_t end)
{
    for (; first < end && first % 8; first++)
        bits[first / 8] |= (uint8_t)(1u << first % 8);
    if (end > first) {
        memset(bits + first / 8, 0xff, (end - first) / 8);
        for (first = img_align_down(end, 8); first < end; first++)
            bits[first / 8] |= (uint8_t)(1u << first % 8);
    }
}

int qcow2_bits_set(struct img *image, struct qcow2_bitmap *bitmap, uint64_t offset, uint64_t length)
{
    struct qcow2 *s = qcow2_state(image);
    uint64_t per_part = part_bits(s), bit = offset >> bitmap->granularity_bits;
    uint64_t end = ((offset + length - 1) >> bitmap->granularity_bits) + 1, next;
    int status = qcow2_bitmap_begin(image, bitmap);

    for (; status == 0 && bit < end; bit = next) {
        uint64_t index = bit / per_part;
        next = img_min(end, (index + 1) * per_part);
        if (next - bit == per_part) {
            set_plain(image, bitmap->bits, index, QCOW2_BITS_ALL_ONES);
            continue;
        }
        struct part *part;
        if (bitmap->bits->table[index] == QCOW2_BITS_ALL_ONES && !bitmap->bits->parts[index].bits)
            continue;
        status = get_part(image, bitmap, index, valid_bits(s, bitmap, index, s->h.size), &part);
        if (status < 0)
            break;
        set_run(part->bits, bit % per_part, next - index * per_part);
        part->newer = bitmap->bits->changed = true;
    }
    return status;
}

void qcow2_bits_clear(struct img *image, struct qcow2_bitmap *bitmap)
{
    for (uint64_t i = 0; i < bitmap->bits->entries; i++)
        set_plain(image, bitmap->bits, i, 0);
}

/* The first bit in [from, end) that is set (or, if set is false, clear); `end`: none. */
static uint64_t find_bit(const uint8_t *bits, uint64_t from, uint64_t end, bool set)
{
    uint64_t skip = set ? 0 : UINT64_MAX, word;

    while (from < end) {
        if (from % 64 == 0 && end - from >= 64) {
            memcpy(&word, bits + from / 8, sizeof word);
            if (word == skip) {
                from += 64;
                continue;
            }
        }
        if ((bits[from / 8] >> from % 8 & 1) == set)
            return from;
        from++;
    }
    return end;
}

int qcow2_bits_next(struct img *image, struct qcow2_bitmap *bitmap, uint64_t offset, uint64_t *start,
                    uint64_t *length)
{
    struct qcow2 *s = qcow2_state(image);
    uint64_t per_part = part_bits(s), bit = offset >> bitmap->granularity_bits;
    int status = qcow2_bits_load(image, bitmap);

    *length = 0;
    for (uint64_t i = bit / per_part; status == 0 && i < bitmap->bits->entries; i++) {
        struct qcow2_bits *bits = bitmap->bits;
        uint64_t valid = valid_bits(s, bitmap, i, s->h.size), end = valid;
        uint64_t from = i == bit / per_part ? bit % per_part : 0;
        if (is_empty(bits, i))
            continue;
        if (bits->parts[i].bits || bits->table[i] != QCOW2_BITS_ALL_ONES) {
            struct part *part;
            if ((status = get_part(image, bitmap, i, valid, &part)) < 0)
                break;
            from = find_bit(part->bits, from, valid, true);
            end = find_bit(part->bits, from, valid, false);
        }
        if (from >= end)
            continue;
        *start = img_max(offset, (i * per_part + from) << bitmap->granularity_bits);
        *length = img_min(s->h.size, (i * per_part + end) << bitmap->granularity_bits) - *start;
        return 0;
    }
    return status;
}

/* ---- Merging --------------------------------------------------------------------------- */

/* Merge the bits [first, end), which lie in one part of each bitmap, and begin at a whole byte in both. */
static int merge_part(struct img *image, struct qcow2_bitmap *bitmap, struct img *source, struct qcow2_bitmap *from,
                      uint64_t first, uint64_t end)
{
    struct qcow2 *s = qcow2_state(image), *other = qcow2_state(source);
    uint64_t index = first / part_bits(s), there = first / part_bits(other);
    uint64_t valid = valid_bits(s, bitmap, index, s->h.size), known = valid_bits(other, from, there, other->h.size);
    struct part *into, *of;
    int status = get_part(source, from, there, known, &of);

    if (status < 0 || (status = get_part(image, bitmap, index, valid, &into)) < 0)
        return status;
    /* Loading one may drop all others of the image, but two fit into memory. */
    if ((status = get_part(source, from, there, known, &of)) < 0)
        return status;
    uint8_t *to = into->bits + first % part_bits(s) / 8;
    const uint8_t *bits = of->bits + first % part_bits(other) / 8;
    for (size_t i = 0, length = img_div_up(end - first, 8); i < length; i++)
        to[i] |= bits[i];
    mask(into->bits, s->cluster_size, valid);
    into->newer = bitmap->bits->changed = true;
    if (!of->newer && end % part_bits(other) == 0)
        drop_part(other, of);       /* it is not needed again */
    return 0;
}

int qcow2_bits_merge(struct img *image, struct qcow2_bitmap *bitmap, struct img *source, struct qcow2_bitmap *from)
{
    struct qcow2 *s = qcow2_state(image), *other = qcow2_state(source);
    uint64_t step = img_min(part_bits(s), part_bits(other)), bits = disk_bits(bitmap, s->h.size), end;
    int status = qcow2_bits_load(source, from);

    if (status == 0)
        status = qcow2_bitmap_begin(image, bitmap);
    if (status == 0)
        bits = img_min(bits, from->bits->entries * part_bits(other));
    for (uint64_t first = 0; status == 0 && first < bits; first = end) {
        end = img_min(first + step, bits);
        if (!is_empty(from->bits, first / part_bits(other)))
            status = merge_part(image, bitmap, source, from, first, end);
    }
    return status;
}

/* ---- Resizing ----------------------------------------------------------------------------- */

/* Clear the bits beyond either size in the last cluster that both sizes have. */
static int trim_last(struct img *image, struct qcow2_bitmap *bitmap, uint64_t size, uint64_t entries)
{
    struct qcow2 *s = qcow2_state(image);
    struct part *part;

    if (entries == 0 || is_empty(bitmap->bits, entries - 1))
        return 0;
    uint64_t valid = valid_bits(s, bitmap, entries - 1, size);
    int status = get_part(image, bitmap, entries - 1, valid, &part);
    if (status < 0)
        return status;
    mask(part->bits, s->cluster_size, valid);
    part->newer = true;
    return 0;
}

int qcow2_bits_resize(struct img *image, struct qcow2_bitmap *bitmap, uint64_t old_size)
{
    struct qcow2 *s = qcow2_state(image);
    struct qcow2_bits *bits = bitmap->bits, old = *bits;
    uint64_t entries = qcow2_bitmap_clusters(s, bitmap->granularity_bits), kept = img_min(entries, bits->entries);
    int status = trim_last(image, bitmap, img_min(old_size, s->h.size), kept);

    bits->changed = true;
    for (uint64_t i = kept; i < old.entries; i++)
        set_plain(image, bits, i, 0);
    if (status < 0 || entries == old.entries || (status = make_arrays(bits, entries)) < 0)
        return status;
    memcpy(bits->table, old.table, kept * sizeof *bits->table);
    memcpy(bits->parts, old.parts, kept * sizeof *bits->parts);
    free(old.table);
    free(old.parts);
    return 0;
}
