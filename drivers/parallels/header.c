/* SPDX-License-Identifier: MIT */
/* The header of an expandable image.  Specification: "Header". */
#include "parallels.h"

/* An invalid data offset would be inside the table, or beyond the end of the file. */
static void judge_data_offset(struct parallels *p)
{
    uint64_t given = (uint64_t)img_get_le32(p->header + PARALLELS_AT_DATA_OFF) * PARALLELS_SECTOR;

    if (given == 0 && !p->wide) {
        p->data_start = p->table_end;
        return;
    }
    p->bad_data_off = given < p->table_end || given > img_size(p->file);
    p->data_start = p->bad_data_off ? p->table_end : given;
}

static uint64_t table_end(const struct parallels *p)
{
    uint64_t end = PARALLELS_HEADER + 4ull * p->entries, unit = parallels_unit(p);

    return img_div_up(end, unit) * unit;
}

int parallels_read_header(struct parallels *p, struct img *image, struct img_error *err)
{
    int status = img_pread(p->file, p->header, 0, PARALLELS_HEADER);
    uint32_t tracks = img_get_le32(p->header + PARALLELS_AT_TRACKS);
    uint64_t sectors = img_get_le64(p->header + PARALLELS_AT_SECTORS);
    uint64_t extension = img_get_le64(p->header + PARALLELS_AT_EXT_OFF);

    if (status < 0)
        return img_error_errno(err, -status, "Could not read the header");
    if (!img_marks_show(img_driver_parallels.marks, p->header, PARALLELS_HEADER, ""))
        return img_error_set(err, EINVAL, "Image not in Parallels format");
    p->wide = memcmp(p->header, "WithouFreSpacExt", 16) == 0;
    p->entries = img_get_le32(p->header + PARALLELS_AT_ENTRIES);
    if (tracks == 0)
        return img_error_set(err, EINVAL, "Invalid image: Zero sectors per track");
    if (tracks > PARALLELS_MAX_TRACKS)
        return img_error_set(err, EFBIG, "Invalid image: Too big cluster");
    if (p->entries > PARALLELS_MAX_ENTRIES)
        return img_error_set(err, EFBIG, "Catalog too large");
    p->cluster = (uint64_t)tracks * PARALLELS_SECTOR;
    if (!p->wide)
        sectors &= UINT32_MAX;
    if (extension >= INT64_MAX / PARALLELS_SECTOR)
        return img_error_set(err, EINVAL, "Invalid image: Too big offset");
    p->extension = extension * PARALLELS_SECTOR;
    if (sectors > PARALLELS_MAX_SIZE / PARALLELS_SECTOR)
        return img_error_errno(err, EFBIG, "Could not refresh total sector count");
    p->size = sectors * PARALLELS_SECTOR;
    p->unclean = img_get_le32(p->header + PARALLELS_AT_IN_USE) == PARALLELS_IN_USE;
    p->table_end = table_end(p);
    judge_data_offset(p);
    if (parallels_bat_open(p, image) < 0)
        return img_error_memory(err);
    return 0;
}

void parallels_set_data_start(struct parallels *p, uint64_t start)
{
    p->data_start = start;
    p->bad_data_off = false;
    img_put_le32(p->header + PARALLELS_AT_DATA_OFF, (uint32_t)(start / PARALLELS_SECTOR));
}

static int write_state(struct parallels *p, uint32_t state)
{
    img_put_le32(p->header + PARALLELS_AT_IN_USE, state);
    return img_pwrite(p->file, p->header, 0, PARALLELS_HEADER);
}

/* The image is no longer empty, and the bitmaps of the extension are no longer updated, so free its cluster. */
int parallels_begin_change(struct parallels *p)
{
    if (p->changing)
        return 0;
    img_put_le32(p->header + PARALLELS_AT_FLAGS, img_get_le32(p->header + PARALLELS_AT_FLAGS) & ~1u);
    img_put_le64(p->header + PARALLELS_AT_EXT_OFF, 0);
    p->extension = 0;
    int status = write_state(p, PARALLELS_IN_USE);
    if (status == 0)
        status = img_flush(p->file);
    p->changing = status == 0;
    return status;
}

/* Zero: the program that closed the image does not know extensions. */
int parallels_end_change(struct parallels *p)
{
    int status;

    if (!p->changing)
        return 0;
    status = write_state(p, 0);
    if (status == 0)
        status = img_flush(p->file);
    if (status == 0)
        p->changing = p->unclean = false;
    return status;
}
