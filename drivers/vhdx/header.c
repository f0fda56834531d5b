/* SPDX-License-Identifier: MIT */
/* header.c - headers and region tables.  [MS-VHDX] 2.2.2 "Headers", 2.2.3 "Region Table". */
#include "vhdx.h"

uint64_t vhdx_header_place(unsigned which)
{
    return which ? VHDX_HEADER_2 : VHDX_HEADER_1;
}

void vhdx_build_header(const struct vhdx_header *header, uint8_t bytes[VHDX_HEADER_BYTES])
{
    memset(bytes, 0, VHDX_HEADER_BYTES);
    memcpy(bytes, "head", 4);
    img_put_le64(bytes + 8, header->sequence);
    memcpy(bytes + 16, header->file_id, VHDX_GUID);
    memcpy(bytes + 32, header->data_id, VHDX_GUID);
    memcpy(bytes + 48, header->log_id, VHDX_GUID);
    img_put_le16(bytes + 64, header->log_version);
    img_put_le16(bytes + 66, header->version);
    img_put_le32(bytes + 68, header->log_length);
    img_put_le64(bytes + 72, header->log_offset);
    vhdx_seal(bytes, VHDX_HEADER_BYTES);
}

static bool parse_header(uint8_t *bytes, struct vhdx_header *header)
{
    if (memcmp(bytes, "head", 4) != 0 || !vhdx_sealed(bytes, VHDX_HEADER_BYTES))
        return false;
    header->sequence = img_get_le64(bytes + 8);
    memcpy(header->file_id, bytes + 16, VHDX_GUID);
    memcpy(header->data_id, bytes + 32, VHDX_GUID);
    memcpy(header->log_id, bytes + 48, VHDX_GUID);
    header->log_version = img_get_le16(bytes + 64);
    header->version = img_get_le16(bytes + 66);
    header->log_length = img_get_le32(bytes + 68);
    header->log_offset = img_get_le64(bytes + 72);
    return header->version == 1;
}

static int add_region(struct vhdx *s, uint64_t start, uint64_t length)
{
    return IMG_VECTOR_PUSH(&s->regions, (struct vhdx_range){ start, start + length }) ? 0 : -ENOMEM;
}

/* Do they say the same?  (file_id changes with each header that is written) */
static bool agree(const struct vhdx_header *a, const struct vhdx_header *b)
{
    return memcmp(a->data_id, b->data_id, VHDX_GUID) == 0 && memcmp(a->log_id, b->log_id, VHDX_GUID) == 0 &&
           a->log_offset == b->log_offset && a->log_length == b->log_length;
}

/*
 * The valid header with the higher sequence number is current.  Disk2VHD gives both the same number and the same
 * content: either serves.
 */
int vhdx_read_headers(struct img *image, struct img_error *err)
{
    struct vhdx *s = vhdx_state(image);
    struct vhdx_header headers[2] = { { 0 } };
    bool valid[2];

    for (unsigned i = 0; i < 2; i++) {
        uint8_t bytes[VHDX_HEADER_BYTES];
        int ret = vhdx_read(image, bytes, vhdx_header_place(i), sizeof bytes);
        if (ret < 0)
            return vhdx_refuse(image, -ret, err);
        valid[i] = parse_header(bytes, &headers[i]);
    }
    if (!valid[0] && !valid[1])
        return img_error_set(err, EINVAL, "No valid VHDX header found");
    if (valid[0] && valid[1] && headers[0].sequence == headers[1].sequence && !agree(&headers[0], &headers[1]))
        return img_error_set(err, EINVAL, "No valid VHDX header found");
    s->current = !valid[0] || (valid[1] && headers[1].sequence > headers[0].sequence);
    s->header = headers[s->current];
    if (s->header.log_version != 0 || s->header.log_offset < VHDX_MIB)
        return vhdx_refuse(image, EINVAL, err);
    return add_region(s, s->header.log_offset, s->header.log_length) < 0 ? img_error_memory(err) : 0;
}

/* Write both: readers then find the new values even if one header is lost. */
int vhdx_write_headers(struct img *image)
{
    struct vhdx *s = vhdx_state(image);

    for (int i = 0; i < 2; i++) {
        uint8_t bytes[VHDX_HEADER_BYTES];
        s->header.sequence++;
        vhdx_build_header(&s->header, bytes);
        int ret = img_pwrite(image->file, bytes, vhdx_header_place(!s->current), sizeof bytes);
        if (ret == 0)
            ret = img_barrier(image);
        if (ret < 0)
            return ret;
        s->current = !s->current;
    }
    return 0;
}

/* ---- Regions --------------------------------------------------------------------- */

static int by_place(const void *a, const void *b)
{
    const struct vhdx_range *x = a, *y = b;

    if (x->start != y->start)
        return x->start < y->start ? -1 : 1;
    return x->end < y->end ? -1 : x->end > y->end;      /* empty ranges first */
}

/*
 * Ranges do not overlap, so their ends are in order, too: of those that begin before a given end, the last one ends
 * last.
 */
static bool may_overlap(const struct vhdx *s, uint64_t start, uint64_t end)
{
    size_t low = 0, high = s->regions.count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (s->sorted[middle].start < end)
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 && s->sorted[low - 1].end > start;
}

bool vhdx_overlaps(const struct vhdx *s, uint64_t start, uint64_t end, struct vhdx_range *with)
{
    if (s->sorted && !may_overlap(s, start, end))
        return false;
    /* Search from the last one listed, as qemu-img does. */
    for (size_t i = s->regions.count; i-- > 0;) {
        *with = s->regions.at[i];
        if (start < with->end && with->start < end)
            return true;
    }
    return false;
}

void vhdx_tell_overlap(uint64_t start, uint64_t end, const struct vhdx_range *with)
{
    img_notice(IMG_FAULT, "VHDX region %llu-%llu overlaps with region %llu-%llu", (unsigned long long)start,
               (unsigned long long)end, (unsigned long long)with->start, (unsigned long long)with->end);
}

static bool table_good(uint8_t *table)
{
    return memcmp(table, "regi", 4) == 0 && vhdx_sealed(table, VHDX_TABLE_BYTES) &&
           img_get_le32(table + 8) <= VHDX_MAX_ENTRIES;
}

/* There are two copies; the second is used if the first is damaged. */
static int load_table(struct img *image, uint8_t *table)
{
    int ret = vhdx_read(image, table, VHDX_REGIONS_1, VHDX_TABLE_BYTES);

    if (ret < 0 || table_good(table))
        return ret;
    ret = vhdx_read(image, table, VHDX_REGIONS_2, VHDX_TABLE_BYTES);
    return ret < 0 ? ret : table_good(table) ? 0 : -EINVAL;
}

static int take_entry(struct vhdx *s, const uint8_t *entry)
{
    uint64_t offset = img_get_le64(entry + 16);
    uint32_t length = img_get_le32(entry + 24);
    bool bat = memcmp(entry, vhdx_bat_guid, VHDX_GUID) == 0;
    bool metadata = memcmp(entry, vhdx_metadata_guid, VHDX_GUID) == 0;
    struct vhdx_range with;

    if (vhdx_overlaps(s, offset, offset + length, &with)) {
        vhdx_tell_overlap(offset, offset + length, &with);
        return -EINVAL;
    }
    if (add_region(s, offset, length) < 0)
        return -ENOMEM;
    if (bat) {
        if (s->bat_offset)
            return -EINVAL;
        s->bat_offset = offset;
        s->bat_length = length;
    } else if (metadata) {
        if (s->metadata_offset)
            return -EINVAL;
        s->metadata_offset = offset;
        s->metadata_length = length;
    } else if (img_get_le32(entry + 28) & 1) {
        return -ENOTSUP;        /* required, but unknown */
    }
    return 0;
}

int vhdx_read_regions(struct img *image, struct img_error *err)
{
    struct vhdx *s = vhdx_state(image);
    CLEANUP_FREE uint8_t *table = malloc(VHDX_TABLE_BYTES);

    if (!table)
        return img_error_errno(err, ENOMEM, "Could not read the region table");
    int ret = load_table(image, table);
    for (uint32_t i = 0; ret == 0 && i < img_get_le32(table + 8); i++)
        ret = take_entry(s, table + 16 + i * VHDX_TABLE_ENTRY);
    /* The headers are in the first MiB: no region can be there. */
    if (ret == 0 && (s->bat_offset == 0 || s->metadata_offset == 0))
        ret = -EINVAL;
    if (ret < 0)
        return vhdx_refuse(image, -ret, err);
    s->sorted = img_calloc(s->regions.count, sizeof *s->sorted);
    if (!s->sorted)
        return img_error_memory(err);
    memcpy(s->sorted, s->regions.at, s->regions.count * sizeof *s->sorted);
    qsort(s->sorted, s->regions.count, sizeof *s->sorted, by_place);
    return 0;
}

static int name_in(struct img *image, uint64_t place, const uint8_t *table)
{
    int ret = img_pwrite(image->file, table, place, VHDX_TABLE_BYTES);

    return ret < 0 ? ret : img_barrier(image);
}

/* The first copy counts if it is valid, so the second is whole when the first is written. */
int vhdx_name_bat(struct img *image, uint64_t offset, uint32_t length)
{
    CLEANUP_FREE uint8_t *table = malloc(VHDX_TABLE_BYTES);
    int ret = table ? load_table(image, table) : -ENOMEM;

    for (uint32_t i = 0; ret == 0 && i < img_get_le32(table + 8); i++) {
        uint8_t *entry = table + 16 + i * VHDX_TABLE_ENTRY;
        if (memcmp(entry, vhdx_bat_guid, VHDX_GUID) != 0)
            continue;
        img_put_le64(entry + 16, offset);
        img_put_le32(entry + 24, length);
    }
    if (ret == 0) {
        vhdx_seal(table, VHDX_TABLE_BYTES);
        ret = name_in(image, VHDX_REGIONS_2, table);
    }
    return ret < 0 ? ret : name_in(image, VHDX_REGIONS_1, table);
}
