/* SPDX-License-Identifier: MIT */
/*
 * A bundle: a folder with DiskDescriptor.xml and the files that it names, read only.  It holds a disk without
 * snapshots, in one part or several; each part is raw ("Plain") or an expandable image ("Compressed").
 * Specification: "Parallels Disk Format".  qemu-img does not read bundles.
 *
 * The descriptor is untrusted: it may only name files in its own folder, and they are read as it says, never probed.
 */
#include "parallels.h"

enum { MAX_DESCRIPTOR = 1 << 20 };

struct part {
    uint64_t start, end;            /* bytes of the disk */
    struct img *file;
    bool expandable;
    struct parallels disk;
};

struct parallels_bundle {
    struct part *parts;
    size_t count;
};

/* ---- The content of the descriptor ---------------------------------------------------- */

static int unsupported(struct img_error *err, const char *what)
{
    return img_error_set(err, ENOTSUP, PARALLELS_DESCRIPTOR ": %s", what);
}

static int judge_part(const struct parallels_part *part, uint64_t start, struct img_error *err)
{
    const char *name = part->file;

    if (part->images > 1)
        return unsupported(err, "disks with snapshots are not supported");
    if (part->images == 0 || !part->type || !name)
        return unsupported(err, "a storage without an image");
    if (part->start != start || part->end <= start)
        return unsupported(err, "the storages do not cover the disk one after the other");
    if (strcmp(part->type, "Plain") != 0 && strcmp(part->type, "Compressed") != 0)
        return img_error_set(err, ENOTSUP, PARALLELS_DESCRIPTOR ": images of the type '%s' are not supported",
                             part->type);
    if (!*name || strchr(name, '/') || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return img_error_set(err, EPERM, PARALLELS_DESCRIPTOR ": '%s' is no file of the bundle, and is not opened",
                             name);
    return 0;
}

static int judge(const struct parallels_descriptor *d, struct img_error *err)
{
    uint64_t at = 0;

    if (d->padding)
        return unsupported(err, "disks with padding are not supported");
    if (d->engine && strspn(d->engine, "{}0-") != strlen(d->engine))
        return unsupported(err, "encrypted disks are not supported");
    if (d->snapshots > 1)
        return unsupported(err, "disks with snapshots are not supported");
    for (size_t i = 0; i < d->parts.count; i++) {
        int status = judge_part(&d->parts.at[i], at, err);
        if (status < 0)
            return status;
        at = d->parts.at[i].end;
    }
    if (at != d->sectors || d->sectors > PARALLELS_MAX_SIZE / PARALLELS_SECTOR)
        return unsupported(err, "the storages do not cover the disk one after the other");
    return 0;
}

static int read_descriptor(struct img *image, struct parallels_descriptor *d, struct img_error *err)
{
    uint64_t size = img_size(image->file);
    CLEANUP_FREE char *text = NULL;
    size_t length;
    int status;

    if (size > MAX_DESCRIPTOR)
        return img_error_set(err, EFBIG, PARALLELS_DESCRIPTOR " is longer than 1 MiB");
    text = malloc(size + 1);
    status = text ? img_pread(image->file, text, 0, size) : -ENOMEM;
    if (status < 0)
        return img_error_errno(err, -status, "Could not read " PARALLELS_DESCRIPTOR);
    /* Node lengths are whole sectors: remove the padding. */
    for (length = size; length > 0 && text[length - 1] == '\0'; length--) { }
    size_t skip = length >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    status = parallels_parse_descriptor(text + skip, length - skip, d, err);
    return status < 0 ? status : judge(d, err);
}

/* ---- The files ---------------------------------------------------------------------------- */

static int open_expandable(struct img *image, struct part *part, const struct parallels_part *from,
                           struct img_error *err)
{
    struct parallels *p = &part->disk;

    p->file = part->file;
    int status = parallels_read_header(p, image, err);
    if (status < 0)
        return img_error_prefix(err, "%s: ", from->file);
    if (p->cluster != from->block * PARALLELS_SECTOR || p->size < part->end - part->start)
        return img_error_set(err, EINVAL, "%s: is not what " PARALLELS_DESCRIPTOR " says of it", from->file);
    return 0;
}

static int open_part(struct img *image, struct part *part, const struct parallels_part *from, struct img_error *err)
{
    int status = img_open_extent(image, from->file, NULL, err);

    if (status < 0)
        return status;
    part->file = image->extents[image->extent_count - 1];
    part->start = from->start * PARALLELS_SECTOR;
    part->end = from->end * PARALLELS_SECTOR;
    part->expandable = strcmp(from->type, "Compressed") == 0;
    return part->expandable ? open_expandable(image, part, from, err) : 0;
}

int parallels_open_bundle(struct img *image, struct parallels_bundle **bundle, struct img_error *err)
{
    struct parallels_bundle *b = img_calloc(1, sizeof *b);
    struct parallels_descriptor d = { 0 };
    int status = b ? read_descriptor(image, &d, err) : img_error_memory(err);

    if (status == 0) {
        image->size = d.sectors * PARALLELS_SECTOR;
        b->parts = img_calloc(d.parts.count ? d.parts.count : 1, sizeof *b->parts);
        status = b->parts ? 0 : img_error_memory(err);
    }
    for (size_t i = 0; i < d.parts.count && status == 0; i++) {
        b->count++;
        status = open_part(image, &b->parts[i], &d.parts.at[i], err);
    }
    parallels_free_descriptor(&d);
    if (status < 0)
        parallels_free_bundle(b);
    else
        *bundle = b;
    return status;
}

void parallels_free_bundle(struct parallels_bundle *b)
{
    for (size_t i = 0; i < b->count; i++)
        img_pages_free(b->parts[i].disk.bat);
    free(b->parts);
    free(b);
}

/* ---- Reading ------------------------------------------------------------------------------- */

/* Parts are consecutive, and the offset is within the disk. */
static struct part *part_at(struct parallels_bundle *b, uint64_t offset)
{
    size_t low = 0, high = b->count - 1;

    while (low < high) {
        size_t middle = low + (high - low + 1) / 2;
        if (b->parts[middle].start <= offset)
            low = middle;
        else
            high = middle - 1;
    }
    return &b->parts[low];
}

int parallels_look_at_bundle(struct img *image, struct parallels_bundle *b)
{
    int status = 0;

    for (size_t i = 0; i < b->count && status == 0; i++) {
        struct part *part = &b->parts[i];
        uint64_t length = part->end - part->start;

        if (part->expandable)
            status = parallels_look_for_missing(image, &part->disk);
        else if (img_align_up(img_length(part->file, true), PARALLELS_SECTOR) < length)
            img_has_bytes(image, part->file, 0, length);
    }
    return status;
}

int parallels_map_bundle(struct parallels_bundle *b, uint64_t offset, uint64_t length, struct img_extent *extent)
{
    struct part *part = part_at(b, offset);
    uint64_t inside = offset - part->start;
    int status = 0;

    length = img_min(length, part->end - offset);
    if (part->expandable) {
        status = parallels_map_disk(&part->disk, inside, length, extent);
    } else {
        *extent = (struct img_extent){ .length = length, .kind = IMG_DATA, .host_valid = true, .recurse = true,
                                       .raw = true, .file = part->file, .host = inside };
    }
    extent->offset = offset;
    return status;
}
