/* SPDX-License-Identifier: MIT */
/*
 * log.c - the log of the last writer: finds its active sequence, and replays it. [MS-VHDX] 2.3 "Log".
 *
 * The log is a ring of 4 KiB sectors; each entry takes whole sectors.  Consecutive entries with ascending sequence
 * numbers form a sequence.  It is valid if it contains the tail that its last entry (the head) names; the active
 * sequence is the valid one with the newest head.  Its updates from tail to head are replayed.
 *
 * A small hostile log can cause much work: the number of bytes that are checksummed is bounded, and so is the
 * memory.
 */
#include "vhdx.h"

enum { PIECE = 64 << 10, MAX_PATCH_BYTES = 64 << 20, MAX_PATCHES = 1 << 16 };

struct entry {
    uint32_t at, length, tail, count;
    uint64_t sequence, flushed, last;
};

struct walk {
    struct img *image;
    uint32_t log_length;
    uint64_t sum_budget;            /* bytes that may still be checksummed */
    struct entry head;              /* of the active sequence; sequence 0: none */
    uint64_t limit;                 /* end of what the log updates */
    struct img_error *err;
};

static int refuse_log(struct img *image, struct img_error *err)
{
    const char *name = image->file->filename ? image->file->filename : img_filename(image->file);

    img_error_set(err, EPERM, "VHDX image file '%s' opened read-only, but contains a log that needs to be replayed",
                  name);
    img_error_hint(err, "To replay the log, run:\nqemu-img check -r all '%s'", name);
    return -EPERM;
}

/* ---- Entries ----------------------------------------------------------------------- */

/* Read from the ring at `at`, which may be beyond its end. */
static int read_ring(const struct walk *walk, uint64_t at, uint8_t *buffer, size_t length)
{
    const struct vhdx *s = vhdx_state(walk->image);

    while (length > 0) {
        uint64_t inside = at % walk->log_length;
        size_t part = (size_t)img_min(length, walk->log_length - inside);
        int ret = img_pread(walk->image->file, buffer, s->header.log_offset + inside, part);
        if (ret < 0)
            return ret;
        buffer += part;
        at += part;
        length -= part;
    }
    return 0;
}

/* Verify the checksum over a whole entry. */
static int entry_sealed(struct walk *walk, const struct entry *entry, bool *sealed)
{
    CLEANUP_FREE uint8_t *bytes = malloc(PIECE);
    uint32_t sum = 0, stored = 0;

    if (!bytes)
        return -ENOMEM;
    if (entry->length > walk->sum_budget)
        return -EFBIG;
    walk->sum_budget -= entry->length;
    for (uint64_t done = 0; done < entry->length; done += PIECE) {
        size_t part = (size_t)img_min(PIECE, entry->length - done);
        int ret = read_ring(walk, entry->at + done, bytes, part);
        if (ret < 0)
            return ret;
        if (done == 0) {
            stored = img_get_le32(bytes + 4);
            img_put_le32(bytes + 4, 0);
        }
        sum = vhdx_checksum(sum, bytes, part);
    }
    *sealed = sum == stored;
    return 0;
}

/* Returns 1 if an entry of this log begins at `at`, 0 if none does. */
static int read_entry(struct walk *walk, uint32_t at, struct entry *entry)
{
    uint8_t bytes[VHDX_LOG_HEADER];
    bool sealed = false;
    int ret = read_ring(walk, at, bytes, sizeof bytes);

    if (ret < 0)
        return ret;
    if (memcmp(bytes, "loge", 4) != 0 ||
        memcmp(bytes + 32, vhdx_state(walk->image)->header.log_id, VHDX_GUID) != 0)
        return 0;
    *entry = (struct entry){ .at = at, .length = img_get_le32(bytes + 8), .tail = img_get_le32(bytes + 12),
                             .sequence = img_get_le64(bytes + 16), .count = img_get_le32(bytes + 24),
                             .flushed = img_get_le64(bytes + 48), .last = img_get_le64(bytes + 56) };
    if (entry->length == 0 || entry->length % VHDX_SECTOR || entry->length > walk->log_length || entry->sequence == 0 ||
        entry->tail % VHDX_SECTOR || entry->tail >= walk->log_length ||
        VHDX_LOG_HEADER + (uint64_t)entry->count * VHDX_DESCRIPTOR > entry->length)
        return 0;
    ret = entry_sealed(walk, entry, &sealed);
    return ret < 0 ? ret : sealed;
}

/* ---- The active sequence -------------------------------------------------------------- */

struct sequence {
    struct entry head;
    uint64_t length;                /* bytes of the ring; 0: empty */
    bool tail_inside;               /* it contains the tail that the head names */
};

/* Does an entry between `start` and the head begin at `tail`? */
static int find_tail(struct walk *walk, uint32_t start, const struct sequence *found, bool *inside)
{
    struct entry entry = { .at = start };
    uint64_t at = start;

    *inside = false;
    while (!*inside && at < start + found->length) {
        uint8_t bytes[VHDX_LOG_HEADER];
        int ret = read_ring(walk, at, bytes, sizeof bytes);
        if (ret < 0)
            return ret;
        *inside = at % walk->log_length == found->head.tail;
        entry.length = img_get_le32(bytes + 8);
        if (entry.length == 0)
            break;                  /* the file is changing meanwhile */
        at += entry.length;
    }
    return 0;
}

/* Follow the sequence that begins at `start`. */
static int follow(struct walk *walk, uint32_t start, struct sequence *found)
{
    *found = (struct sequence){ .length = 0 };
    while (found->length < walk->log_length) {
        struct entry entry;
        int ret = read_entry(walk, (uint32_t)((start + found->length) % walk->log_length), &entry);
        if (ret < 0)
            return ret;
        if (ret == 0 || found->length + entry.length > walk->log_length ||
            (found->length && entry.sequence != found->head.sequence + 1))
            break;
        found->head = entry;
        found->length += entry.length;
    }
    return found->length ? find_tail(walk, start, found, &found->tail_inside) : 0;
}

static int find_active(struct walk *walk)
{
    for (uint64_t start = 0; start < walk->log_length;) {
        struct sequence found;
        int ret = follow(walk, (uint32_t)start, &found);
        if (ret < 0)
            return ret;
        if (found.tail_inside && found.head.sequence > walk->head.sequence)
            walk->head = found.head;
        start += found.length ? found.length : VHDX_SECTOR;
    }
    return 0;
}

/* ---- Replaying --------------------------------------------------------------------------- */

static int keep_patch(struct img *image, uint64_t offset, const uint8_t *bytes, uint64_t length)
{
    struct vhdx *s = vhdx_state(image);
    uint8_t *copy = NULL;

    if (s->patches.count >= MAX_PATCHES || s->patch_bytes + VHDX_SECTOR > MAX_PATCH_BYTES)
        return -EFBIG;
    if (bytes) {
        copy = malloc(length);
        if (!copy)
            return -ENOMEM;
        memcpy(copy, bytes, length);
        s->patch_bytes += length;
    }
    if (IMG_VECTOR_PUSH(&s->patches, (struct vhdx_patch){ offset, length, copy }))
        return 0;
    free(copy);
    return -ENOMEM;
}

static int update(struct walk *walk, uint64_t offset, const uint8_t *bytes, uint64_t length)
{
    struct img *image = walk->image;

    if (offset % VHDX_SECTOR || length % VHDX_SECTOR || !img_within(offset, length, walk->limit))
        return -EINVAL;
    if (length == 0)
        return 0;
    if (!(image->flags & IMG_RDWR))
        return keep_patch(image, offset, bytes, length);
    /* Punch holes: the log may zero far more than fits on the storage. */
    return bytes ? img_pwrite(image->file, bytes, offset, length)
                 : img_zero(image->file, offset, length, IMG_ZERO_MAY_UNMAP);
}

/* A data sector lacks its first 8 and its last 4 bytes, which are in the descriptor. */
static int restore_sector(const struct walk *walk, const struct entry *entry, uint64_t at, const uint8_t *descriptor,
                          uint8_t sector[VHDX_SECTOR])
{
    int ret = read_ring(walk, at, sector, VHDX_SECTOR);

    if (ret < 0)
        return ret;
    if (memcmp(sector, "data", 4) != 0 || img_get_le32(sector + 4) != (uint32_t)(entry->sequence >> 32) ||
        img_get_le32(sector + VHDX_SECTOR - 4) != (uint32_t)entry->sequence)
        return -EINVAL;
    memcpy(sector, descriptor + 8, 8);
    memcpy(sector + VHDX_SECTOR - 4, descriptor + 4, 4);
    return 0;
}

static int replay_entry(struct walk *walk, const struct entry *entry)
{
    uint64_t used = VHDX_LOG_HEADER + (uint64_t)entry->count * VHDX_DESCRIPTOR;
    uint64_t data = img_align_up(used, VHDX_SECTOR);      /* of the entry; the next data sector */
    uint8_t descriptor[VHDX_DESCRIPTOR], sector[VHDX_SECTOR];
    int ret = 0;

    for (uint32_t i = 0; ret == 0 && i < entry->count; i++) {
        ret = read_ring(walk, entry->at + VHDX_LOG_HEADER + (uint64_t)i * VHDX_DESCRIPTOR, descriptor,
                        sizeof descriptor);
        if (ret < 0)
            break;
        uint64_t offset = img_get_le64(descriptor + 16);
        if (img_get_le64(descriptor + 24) != entry->sequence)
            return -EINVAL;
        if (memcmp(descriptor, "zero", 4) == 0) {
            ret = update(walk, offset, NULL, img_get_le64(descriptor + 8));
        } else if (memcmp(descriptor, "desc", 4) == 0) {
            if (data + VHDX_SECTOR > entry->length)
                return -EINVAL;
            ret = restore_sector(walk, entry, entry->at + data, descriptor, sector);
            if (ret == 0)
                ret = update(walk, offset, sector, VHDX_SECTOR);
            data += VHDX_SECTOR;
        } else {
            return -EINVAL;
        }
    }
    return ret;
}

/* The head stores the intended file length. */
static int lengthen(struct walk *walk)
{
    struct img *image = walk->image;
    struct vhdx *s = vhdx_state(image);
    uint64_t end = img_align_up(walk->head.last, VHDX_MIB);

    if (walk->head.flushed > s->file_end || walk->head.last > INT64_MAX)
        return -EINVAL;
    walk->limit = s->file_end;
    if (walk->head.last <= s->file_end)
        return 0;
    walk->limit = s->file_end = end;
    return image->flags & IMG_RDWR ? img_resize_file(image->file, end, NULL, walk->err) : 0;
}

static int replay_active(struct walk *walk)
{
    struct entry entry;
    uint64_t at = walk->head.tail;
    int ret = lengthen(walk);

    /* Each entry ends where the next begins, up to the head. */
    for (uint64_t done = 0; ret == 0 && done <= walk->log_length; done += entry.length) {
        ret = read_entry(walk, (uint32_t)(at % walk->log_length), &entry);
        if (ret == 0)
            return -EINVAL;
        if (ret < 0 || (ret = replay_entry(walk, &entry)) < 0 || entry.at == walk->head.at)
            break;
        at += entry.length;
    }
    return ret;
}

/* Clear the log in the headers: nothing is left to replay. */
static int forget_log(struct img *image)
{
    struct vhdx *s = vhdx_state(image);
    int ret = img_barrier(image);

    if (ret < 0)
        return ret;
    memset(s->header.log_id, 0, sizeof s->header.log_id);
    img_uuid_make(s->header.file_id);
    s->replayed = true;
    return vhdx_write_headers(image);
}

int vhdx_replay(struct img *image, struct img_error *err)
{
    struct vhdx *s = vhdx_state(image);
    struct walk walk = { .image = image, .log_length = s->header.log_length, .err = err };
    int ret;

    if (img_is_zero(s->header.log_id, VHDX_GUID) || walk.log_length == 0 || s->header.log_offset >= s->file_end)
        return 0;
    if (walk.log_length % VHDX_MIB || s->header.log_offset % VHDX_MIB)
        return vhdx_refuse(image, EINVAL, err);
    walk.sum_budget = img_min(2ull * walk.log_length, 256 << 20) + (16 << 20);
    ret = find_active(&walk);
    if (ret == 0 && walk.head.sequence == 0)
        return 0;               /* the writer died before its first entry */
    /* A read-only check reports it as an error. */
    if (ret == 0 && image->flags & IMG_CHECK && !(image->flags & IMG_RDWR))
        return refuse_log(image, err);
    if (ret == 0)
        ret = replay_active(&walk);
    if (ret == -EFBIG && !(image->flags & IMG_RDWR))
        return refuse_log(image, err);
    if (ret == 0 && image->flags & IMG_RDWR)
        ret = forget_log(image);
    else
        image->dirty = ret == 0;
    return ret < 0 ? err->text ? ret : vhdx_refuse(image, -ret, err) : 0;
}

int vhdx_check_patches(struct img *image, struct img_error *err)
{
    const struct vhdx *s = vhdx_state(image);

    for (size_t i = 0; i < s->patches.count; i++) {
        uint64_t offset = s->patches.at[i].offset, length = s->patches.at[i].length;
        bool bat = offset >= s->bat_offset && img_within(offset - s->bat_offset, length, s->bat_length);
        bool metadata = offset >= s->metadata_offset &&
                        img_within(offset - s->metadata_offset, length, s->metadata_length);
        if (!bat && !metadata)
            return refuse_log(image, err);
    }
    return 0;
}
