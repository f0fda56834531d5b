/* SPDX-License-Identifier: MIT */
/*
 * Maps guest ranges by the two-level table walk.
 * Specification: "Cluster mapping", "L1 table entry", "L2 table entry", "Standard Cluster Descriptor", "Compressed
 * Clusters Descriptor", "Extended L2 Entries".
 *
 * An extent includes all entries that continue it, also in the next L2 tables, but only a bounded number is
 * examined: the caller may need only its beginning.
 */
#include "qcow2.h"
#include "../../libimg/io/waiting.h"

enum { MAX_LOOKED_AT = 65536, RUN_ENDS = 1, LONG_SEARCH = 16 };

/* A run of equal subclusters of one L2 entry. */
struct piece {
    enum img_extent_kind kind;
    bool host_valid;
    uint64_t host;                  /* of its first byte */
    unsigned subclusters;
};

struct walk {
    struct img *image;
    struct img_extent *extent;
    uint64_t l2_offset;
    const uint8_t *l2;
    unsigned looked_at;
};

/* Report an invalid entry, unless it only ends a run: then the next call, which begins there, reports it. */
static int bad_entry(struct walk *walk, bool ends_run, const char *what, uint64_t index)
{
    if (ends_run && walk->extent->length)
        return RUN_ENDS;
    return qcow2_signal_corrupt(walk->image, true, "%s (L2 offset: %#llx, L2 index: %#llx)", what,
                                (unsigned long long)walk->l2_offset, (unsigned long long)index);
}

void qcow2_coded_range(const struct qcow2 *s, uint64_t entry, uint64_t *host, uint64_t *length)
{
    unsigned shift = 62 - (s->h.cluster_bits - 8);
    uint64_t sectors = ((entry & (QCOW2_COMPRESSED - 1)) >> shift) + 1;

    *host = entry & ((1ull << shift) - 1);
    *length = sectors * 512 - (*host & 511);
}

static bool entry_has_host(struct img *image, uint64_t entry)
{
    /* An external data file begins with guest data: there offset 0 is valid, and marked by the COPIED bit. */
    return entry & QCOW2_OFFSET_MASK || (image->data_file && entry & QCOW2_COPIED);
}

static int decode_standard(struct walk *walk, uint64_t entry, uint64_t index, struct piece *piece)
{
    struct img *image = walk->image;

    piece->subclusters = 1;
    piece->host = entry & QCOW2_OFFSET_MASK;
    piece->host_valid = entry_has_host(image, entry);
    if (entry & QCOW2_ZERO) {
        if (qcow2_state(image)->h.version < 3)
            return bad_entry(walk, true, "Zero cluster entry found in pre-v3 image", index);
        piece->kind = IMG_ZERO;
        /* As in qemu-img, zeroes are allocated if their offset is not 0. */
        piece->host_valid = piece->host != 0;
    } else {
        piece->kind = piece->host_valid ? IMG_DATA : IMG_HOLE;
    }
    return 0;
}

/* Length of the run of equal bits from bit `from` up to bit 31. */
static unsigned equal_bits(uint32_t bits, unsigned from)
{
    uint32_t rest = bits >> from;
    uint32_t changes = rest & 1 ? ~rest : rest;
    unsigned run = changes ? (unsigned)__builtin_ctz(changes) : 32;

    return run < 32 - from ? run : 32 - from;
}

static int decode_extended(struct walk *walk, uint64_t entry, uint64_t index, unsigned sub, struct piece *piece)
{
    const struct qcow2 *s = qcow2_state(walk->image);
    uint64_t bitmap = img_get_be64(walk->l2 + index * 16 + 8);
    uint32_t allocated = (uint32_t)bitmap, zero = (uint32_t)(bitmap >> 32);

    piece->host_valid = entry_has_host(walk->image, entry);
    if (allocated & zero || (allocated && !piece->host_valid))
        return bad_entry(walk, false, "Invalid cluster entry found ", index);
    piece->host = (entry & QCOW2_OFFSET_MASK) + (uint64_t)sub * s->subcluster_size;
    if (zero >> sub & 1)
        piece->kind = IMG_ZERO;
    else
        piece->kind = allocated >> sub & 1 ? IMG_DATA : IMG_HOLE;

    unsigned run = equal_bits(allocated, sub), zero_run = equal_bits(zero, sub);
    piece->subclusters = run < zero_run ? run : zero_run;
    return 0;
}

/* Subclusters from this one on whose entries are zero: nothing is there, however long the table is. */
static unsigned count_empty(const struct walk *walk, uint64_t index, unsigned sub)
{
    const struct qcow2 *s = qcow2_state(walk->image);
    size_t left = (size_t)((1ull << s->l2_bits) - index) * s->l2_entry_size;
    size_t entries = img_leading_zeroes(walk->l2 + index * s->l2_entry_size, left) / s->l2_entry_size;

    return entries ? (unsigned)entries * s->subclusters - sub : 0;
}

static int decode_entry(struct walk *walk, uint64_t index, unsigned sub, struct piece *piece)
{
    const struct qcow2 *s = qcow2_state(walk->image);
    uint64_t entry = img_get_be64(walk->l2 + index * s->l2_entry_size);

    if (entry & QCOW2_COMPRESSED) {
        if (walk->image->data_file)
            return bad_entry(walk, true, "Compressed cluster entry found in image with external data file",
                             index);
        piece->kind = IMG_CODED;
        piece->host_valid = true;
        piece->host = entry;
        piece->subclusters = s->subclusters - sub;
        return 0;
    }
    if (entry == 0 && (piece->subclusters = count_empty(walk, index, sub)) > 0) {
        piece->kind = IMG_HOLE;
        return 0;
    }
    if (s->subclusters > 1)
        return decode_extended(walk, entry, index, sub, piece);
    return decode_standard(walk, entry, index, piece);
}

/* Check the host offset that begins an extent; offsets that continue it are valid if adjacent. */
static int check_host(struct walk *walk, uint64_t index, unsigned sub, uint64_t guest, const struct piece *piece)
{
    const struct qcow2 *s = qcow2_state(walk->image);
    uint64_t host = piece->host - (uint64_t)sub * s->subcluster_size;

    if (!img_aligned(host, s->cluster_size))
        return qcow2_signal_corrupt(walk->image, true,
                                    "Cluster allocation offset %#llx unaligned (L2 offset: %#llx, L2 index: %#llx)",
                                    (unsigned long long)host, (unsigned long long)walk->l2_offset,
                                    (unsigned long long)index);
    guest = img_align_down(guest, s->cluster_size);
    if (walk->image->data_file && host != guest)
        return qcow2_signal_corrupt(walk->image, true, "External data file host cluster offset %#llx does not match "
                                    "guest cluster offset: %#llx, L2 index: %#llx)", (unsigned long long)host,
                                    (unsigned long long)guest, (unsigned long long)index);
    return 0;
}

/* Host range of a compressed cluster, in whole sectors: the last one may end with the file. */
static void set_coded(struct walk *walk, uint64_t entry)
{
    struct img_extent *extent = walk->extent;

    qcow2_coded_range(qcow2_state(walk->image), entry, &extent->host, &extent->host_length);
    extent->file = walk->image->file;
}

static int start_extent(struct walk *walk, uint64_t index, unsigned sub, uint64_t guest, const struct piece *piece)
{
    const struct qcow2 *s = qcow2_state(walk->image);
    struct img_extent *extent = walk->extent;

    extent->kind = piece->kind;
    extent->host_valid = piece->host_valid;
    if (piece->kind == IMG_CODED) {
        set_coded(walk, piece->host);
    } else if (piece->host_valid) {
        int status = check_host(walk, index, sub, guest, piece);
        if (status < 0)
            return status;
        extent->file = qcow2_data_node(walk->image);
        extent->host = piece->host + (guest & (s->subcluster_size - 1));
    }
    return 0;
}

static bool continues(const struct img_extent *extent, const struct piece *piece)
{
    if (piece->kind != extent->kind || piece->kind == IMG_CODED || piece->host_valid != extent->host_valid)
        return false;
    return !piece->host_valid || piece->host == extent->host + extent->length;
}

/* Walk one L2 table from guest offset `at` to `limit`.  Returns 0 if the extent may continue after it. */
static int walk_table(struct walk *walk, uint64_t at, uint64_t limit)
{
    const struct qcow2 *s = qcow2_state(walk->image);
    struct img_extent *extent = walk->extent;

    while (at < limit) {
        uint64_t index = (at >> s->h.cluster_bits) & ((1ull << s->l2_bits) - 1);
        unsigned sub = (unsigned)((at & (s->cluster_size - 1)) / s->subcluster_size);
        struct piece piece = { .subclusters = 1 };

        int status = decode_entry(walk, index, sub, &piece);
        if (status != 0)
            return status;
        if (extent->length == 0) {
            status = start_extent(walk, index, sub, at, &piece);
            if (status < 0)
                return status;
        } else if (!continues(extent, &piece)) {
            return RUN_ENDS;
        }
        uint64_t end = img_align_down(at, s->subcluster_size) + (uint64_t)piece.subclusters * s->subcluster_size;
        end = img_min(end, limit);
        extent->length += end - at;
        at = end;
        if (extent->kind == IMG_CODED || ++walk->looked_at >= MAX_LOOKED_AT)
            return RUN_ENDS;
    }
    return 0;
}

/* The same where there is no L2 table: a hole without a host offset. */
static int walk_nothing(struct walk *walk, uint64_t at, uint64_t limit)
{
    struct img_extent *extent = walk->extent;

    if (extent->length && (extent->kind != IMG_HOLE || extent->host_valid))
        return RUN_ENDS;
    extent->kind = IMG_HOLE;
    extent->length += limit - at;
    return 0;
}

static int load_table(struct walk *walk, uint64_t l1_index)
{
    const struct qcow2 *s = qcow2_state(walk->image);
    uint8_t *table;

    if (!img_aligned(walk->l2_offset, s->cluster_size))
        return qcow2_signal_corrupt(walk->image, true, "L2 table offset %#llx unaligned (L1 index: %#llx)",
                                    (unsigned long long)walk->l2_offset, (unsigned long long)l1_index);
    int status = qcow2_cache_look(s->l2_cache, walk->l2_offset, &table);
    if (status == 0)
        walk->l2 = table;
    return status;
}

/*
 * If more clusters have a refcount than the storage has blocks for the file, the image was made with preallocated
 * metadata, and the holes of the file are worth reporting as zeroes.
 */
static bool detect_preallocation(struct img *image)
{
    const struct qcow2 *s = qcow2_state(image);
    int64_t allocated = img_allocated(image->file);
    if (allocated < 0)
        return false;

    uint64_t really = (uint64_t)allocated / s->cluster_size, counted = 0;
    uint64_t enough = img_max(really * 10 / 9, really + 2), per_block = 1ull << s->refblock_bits;
    uint64_t clusters = img_div_up(img_size(image->file), s->cluster_size);
    if (clusters < enough)
        return false;
    if (clusters > LONG_SEARCH * per_block && qcow2_check_refblocks(image) < 0)
        return false;
    for (uint32_t i = 0; i < s->refcount_table_size && i * per_block < clusters && counted < enough; i++) {
        uint64_t offset = s->refcount_table[i] & ~511ull;
        uint8_t *block;
        if (offset == 0)
            continue;
        if (!img_aligned(offset, s->cluster_size))
            return false;
        int status;
        while ((status = qcow2_cache_look(s->refblock_cache, offset, &block)) == IMG_LOOK_AGAIN) { }
        if (status < 0)
            return false;
        for (uint64_t entry = 0; entry < img_min(per_block, clusters - i * per_block); entry++)
            counted += qcow2_refcount_at(s, block, entry) != 0;
    }
    return counted >= enough;
}

static bool preallocated(struct img *image)
{
    struct qcow2 *s = qcow2_state(image);

    if (!s->prealloc_known) {
        s->prealloc = detect_preallocation(image);
        s->prealloc_known = true;
    }
    return s->prealloc;
}

int qcow2_map(struct img *image, uint64_t offset, uint64_t length, struct img_extent *extent)
{
    const struct qcow2 *s = qcow2_state(image);
    struct walk walk = { .image = image, .extent = extent };
    unsigned l1_shift = s->h.cluster_bits + s->l2_bits;
    uint64_t end = offset + length;
    int status = 0;

    if (s->broken)
        return -ENOMEDIUM;
    memset(extent, 0, sizeof *extent);
    extent->offset = offset;
    for (uint64_t at = offset; at < end && status == 0; at = offset + extent->length) {
        uint64_t l1_index = at >> l1_shift;
        uint64_t limit = img_min(end, (l1_index + 1) << l1_shift);

        walk.l2_offset = l1_index < s->h.l1_size ? s->l1[l1_index] & QCOW2_OFFSET_MASK : 0;
        if (walk.l2_offset == 0) {
            status = walk_nothing(&walk, at, limit);
            continue;
        }
        if (extent->length && extent->kind == IMG_HOLE && !extent->host_valid)
            break;              /* a hole needs no table reads; keep it so */
        status = load_table(&walk, l1_index);
        if (status == 0)
            status = walk_table(&walk, at, limit);
        else if (status == IMG_LOOK_AGAIN)
            status = 0;         /* from the L1 table on; return what was found before */
    }
    if (status < 0)
        return status;
    /* The bytes of an encrypted image mean nothing to others, so no place is told. */
    if (s->cipher)
        extent->host_valid = false;
    else if (extent->kind == IMG_DATA)
        extent->recurse = preallocated(image);
    return 0;
}

int qcow2_read_l1(struct img *image, uint64_t offset, uint32_t size, uint64_t **l1)
{
    if (size > QCOW2_MAX_L1_BYTES / 8)
        return -EFBIG;
    uint64_t *table = malloc((size_t)size * 8 + 8);
    if (!table)
        return -ENOMEM;
    int status = size ? qcow2_read_table(image, table, offset, (size_t)size * 8) : 0;
    if (status < 0) {
        free(table);
        return status;
    }
    for (uint32_t i = 0; i < size; i++)
        table[i] = img_get_be64(&table[i]);
    *l1 = table;
    return 0;
}

static enum img_codec codec_of(const struct img *image)
{
    return qcow2_state(image)->h.compression == QCOW2_ZSTD ? IMG_CODEC_ZSTD : IMG_CODEC_DEFLATE;
}

int qcow2_decode(struct img *image, const void *coded, size_t coded_length, void *plain, size_t length)
{
    return img_decode(codec_of(image), coded, coded_length, plain, length);
}

int64_t qcow2_encode(struct img *image, const void *plain, size_t length, void *coded, size_t capacity)
{
    return img_encode_as(codec_of(image), &qcow2_state(image)->coding, plain, length, coded, capacity);
}
