/* SPDX-License-Identifier: MIT */
/*
 * The format extension: a cluster of features, of which only dirty bitmaps exist.  As in qemu-img, they are
 * validated but not shown, an image loses them when it is written, and an invalid one prevents opening for reading.
 * Specification: "Format Extension", "Dirty bitmaps feature".
 */
#include "parallels.h"
#include "../../libimg/digest.h"

#define MAGIC 0xab234cef23dcea87ull
#define FEATURE_BITMAP 0x20385fae252cb34aull

enum { HEAD = 24, FEATURE = 24, BITMAP = 32, ID = 16, SUM = 16 };
enum { NECESSARY = 1 };
/* As many as fit into a cluster of 1 MiB: each name is compared with all others. */
enum { MAX_BITMAPS = 1 << 14 };

struct reader {
    struct parallels *p;
    uint8_t *bytes;                 /* the cluster */
    size_t at, end;
    IMG_VECTOR(const uint8_t *) names;  /* names of the bitmaps so far */
};

static const struct img_hash *md5(void)
{
    const struct img_hash *hash = NULL;

    while ((hash = img_hash_next(hash)) != NULL)
        if (strcmp(img_hash_name(hash), "md5") == 0)
            break;
    return hash;
}

/* 1; 0: the sum is wrong; -ENOMEM.  Without MD5 built in the sum is believed. */
static int sum_is_right(const struct reader *r)
{
    const struct img_hash *hash = md5();
    uint8_t result[IMG_HASH_MAX];
    struct img_digest *digest;

    if (!hash)
        return 1;
    digest = img_digest_new(hash, false);
    if (!digest)
        return -ENOMEM;
    img_digest_add(digest, r->bytes + HEAD, r->end - HEAD);
    img_digest_finish(digest, result);
    img_digest_free(digest);
    return memcmp(r->bytes + 8, result, SUM) == 0;
}

/* ---- Bitmaps ----------------------------------------------------------------------- */

static int check_name(struct reader *r, const uint8_t *id, struct img_error *err)
{
    char text[2 * ID + 1];

    for (size_t i = 0; i < r->names.count; i++) {
        if (memcmp(r->names.at[i], id, ID) != 0)
            continue;
        for (int n = 0; n < ID; n++)
            snprintf(text + 2 * n, 3, "%02x", id[n]);
        return img_error_set(err, EEXIST, "Bitmap already exists: %.8s-%.4s-%.4s-%.4s-%.12s", text, text + 8, text + 12,
                             text + 16, text + 20);
    }
    if (r->names.count == MAX_BITMAPS)
        return img_error_set(err, EFBIG, "More than %d bitmaps in Parallels Format Extension", MAX_BITMAPS);
    return IMG_VECTOR_PUSH(&r->names, id) ? 0 : img_error_memory(err);
}

/* Clusters of the bitmap must lie inside the file. */
static int check_table(const struct reader *r, const uint8_t *table, uint32_t count, struct img_error *err)
{
    for (uint32_t i = 0; i < count; i++) {
        uint64_t entry = img_get_le64(table + 8ull * i);
        if (entry > 1 && !img_within(entry * PARALLELS_SECTOR, r->p->cluster, PARALLELS_MAX_SIZE))
            return img_error_errno(err, EIO, "Failed to read bitmap data cluster");
    }
    return 0;
}

static int check_bitmap(struct reader *r, const uint8_t *data, uint32_t length, struct img_error *err)
{
    uint64_t sectors = r->p->size / PARALLELS_SECTOR, size, clusters;
    uint32_t granularity, count;
    int status;

    if (length < BITMAP)
        return img_error_set(err, EINVAL, "Too small Bitmap Feature area in Parallels Format Extension: %u bytes, "
                             "expected at least %d bytes", length, BITMAP);
    size = img_get_le64(data);
    granularity = img_get_le32(data + 24);
    count = img_get_le32(data + 28);
    if (size != sectors)
        return img_error_set(err, EINVAL, "Bitmap size (in sectors) %lld differs from disk size in sectors %lld",
                             (long long)size, (long long)sectors);
    if (count * 8ull > length - BITMAP)
        return img_error_set(err, EINVAL, "Bitmaps feature corrupted: l1 table exceeds extension data_size");
    if (!img_power_of_two(granularity) || granularity > UINT32_MAX / PARALLELS_SECTOR)
        return img_error_set(err, EINVAL, "Bitmap granularity (in sectors) %u is not supported", granularity);
    if ((status = check_name(r, data + 8, err)) < 0)
        return status;
    clusters = img_div_up(img_div_up(img_div_up(size, granularity), 8), r->p->cluster);
    if (count != clusters)
        return img_error_set(err, EINVAL, "Bitmap table size %u does not correspond to bitmap size and cluster size. "
                             "Expected %llu", count, (unsigned long long)clusters);
    return check_table(r, data + BITMAP, count, err);
}

/* ---- Features ------------------------------------------------------------------------ */

/* Returns 1 after the last feature. */
static int check_feature(struct reader *r, struct img_error *err)
{
    size_t left = r->end - r->at;
    uint64_t magic, flags;
    uint32_t length;
    int status;

    if (left < FEATURE)
        return img_error_set(err, EINVAL, "Can not read feature header, as remaining bytes (%zu) in Format Extension "
                             "is less than Feature header size (%d)", left, FEATURE);
    magic = img_get_le64(r->bytes + r->at);
    flags = img_get_le64(r->bytes + r->at + 8);
    length = img_get_le32(r->bytes + r->at + 16);
    if (flags)
        return img_error_set(err, EINVAL, "Flags for extension feature are unsupported");
    if (length > left - FEATURE)
        return img_error_set(err, EINVAL, "Feature data_size exceedes Format Extension cluster");
    if (magic == 0)
        return 1;
    if (magic != FEATURE_BITMAP)
        return img_error_set(err, EINVAL, "Unknown feature: 0x%llx", (unsigned long long)magic);
    status = check_bitmap(r, r->bytes + r->at + FEATURE, length, err);
    r->at += FEATURE + (size_t)img_min(img_align_up(length, 8), left - FEATURE);
    return status;
}

static int check_features(struct reader *r, struct img_error *err)
{
    int status = 0, right = sum_is_right(r);

    if (right < 0)
        return img_error_memory(err);
    if (!right)
        return img_error_set(err, EINVAL, "Wrong checksum in Format Extension header. Format extension is corrupted.");
    r->at = HEAD;
    while (status == 0)
        status = check_feature(r, err);
    return status < 0 ? status : 0;
}

/* Does a feature forbid writing by programs that do not know it?  qemu-img does not check this. */
static bool forbids_writing(const struct reader *r)
{
    size_t at = HEAD;

    while (r->end - at >= FEATURE && img_get_le64(r->bytes + at)) {
        uint32_t length = img_get_le32(r->bytes + at + 16);
        if (img_get_le64(r->bytes + at + 8) & NECESSARY)
            return true;
        if (length > r->end - at - FEATURE)
            break;
        at += FEATURE + (size_t)img_min(img_align_up(length, 8), r->end - at - FEATURE);
    }
    return false;
}

/* ---- The cluster ------------------------------------------------------------------------- */

/* Clusters usually have 1 MiB; larger ones are valid, but an extension is not worth that memory. */
enum { MAX_CLUSTER = 64 << 20 };

static int read_cluster(struct reader *r, struct img_error *err)
{
    const struct parallels *p = r->p;
    uint8_t magic[8];
    int status = -EIO;

    if (img_within(p->extension, p->cluster, PARALLELS_MAX_SIZE))
        status = img_pread(p->file, magic, p->extension, sizeof magic);
    if (status == 0 && img_get_le64(magic) != MAGIC)
        return img_error_set(err, EINVAL, "Wrong parallels Format Extension magic: 0x%llx, expected: 0x%llx",
                             (unsigned long long)img_get_le64(magic), (unsigned long long)MAGIC);
    if (status == 0) {
        r->end = (size_t)p->cluster;
        r->bytes = p->cluster > MAX_CLUSTER ? NULL : malloc(r->end);
        status = r->bytes ? img_pread(p->file, r->bytes, p->extension, r->end) : -ENOMEM;
    }
    return status < 0 ? img_error_errno(err, -status, "Failed to read Format Extension cluster") : 0;
}

/* A feature that forbids writing counts only if the extension is valid, and was kept up to date until close. */
static int judge_writing(struct reader *r, struct img_error *err)
{
    int status = 0;

    img_notice(IMG_WARNING, "Format Extension ignored in RW mode");
    if (img_get_le32(r->p->header + PARALLELS_AT_IN_USE) != PARALLELS_CLOSED)
        return 0;
    if (read_cluster(r, err) < 0) {
        img_error_clear(err);
        return 0;
    }
    if ((status = sum_is_right(r)) < 0)
        return img_error_memory(err);
    if (status > 0 && forbids_writing(r))
        status = img_error_set(err, EINVAL, "Flags for extension feature are unsupported");
    else
        status = 0;
    return status;
}

int parallels_read_extension(struct parallels *p, bool writable, struct img_error *err)
{
    struct reader r = { .p = p };
    int status = 0;

    if (p->extension == 0)
        return 0;
    if (writable)
        status = judge_writing(&r, err);
    else if ((status = read_cluster(&r, err)) == 0)
        status = check_features(&r, err);
    free(r.bytes);
    free(r.names.at);
    return status;
}
