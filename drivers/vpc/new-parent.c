/* SPDX-License-Identifier: MIT */
/*
 * The parent of a new differencing disk.
 * Specification: "Dynamic Disk Header Format" (parent unique ID, parent time stamp, parent unicode name, locators).
 */
#include "vpc.h"
#include "../../libimg/util/cleanup.h"
#include "../../libimg/util/utf16.h"
#include <sys/stat.h>

static uint32_t time_of(const char *path)
{
    struct stat status;

    return stat(path, &status) == 0 && status.st_mtime > VPC_EPOCH ? (uint32_t)(status.st_mtime - VPC_EPOCH) : 0;
}

static int take_names(const char *backing, struct vpc_new_parent *parent, struct img_error *err)
{
    CLEANUP_FREE char *path = img_parent_path(backing, &parent->relative, err);
    const char *last = path ? strrchr(path, parent->relative ? '\\' : '/') : NULL;
    int status = path ? img_utf16_from_utf8(path, false, &parent->name, &parent->name_bytes) : -err->code;

    if (!path)
        return status;
    if (status == 0)
        status = img_utf16_from_utf8(last ? last + 1 : path, true, &parent->file_name, &parent->file_name_bytes);
    if (status < 0)
        return img_error_errno(err, -status, "Cannot store the name of the parent '%s'", backing);
    parent->room = (size_t)img_align_up(parent->name_bytes, VPC_SECTOR);
    return 0;
}

int vpc_take_parent(const struct img_create *request, struct vpc_new_parent *parent, struct img_error *err)
{
    const struct vpc_create_options *given = request->options;
    struct img_error closing = IMG_ERROR_INIT;
    struct img *image;
    int status = img_open_parent(request, &img_driver_vpc, given->backing_file, given->backing_fmt, &image, err);

    if (status < 0)
        return status;
    memcpy(parent->footer, vpc_state(image)->footer, VPC_FOOTER_BYTES);
    parent->size = image->size;
    parent->time = time_of(img_filename(image));
    img_close(image, &closing);
    img_error_clear(&closing);
    return take_names(given->backing_file, parent, err);
}

void vpc_free_parent(struct vpc_new_parent *parent)
{
    free(parent->name);
    free(parent->file_name);
}

void vpc_put_parent(const struct vpc_new_parent *parent, uint64_t place, uint8_t *header)
{
    uint8_t *locator = header + VPC_LOCATORS;

    memcpy(header + VPC_PARENT_UUID, parent->footer + VPC_UUID, VPC_UUID_BYTES);
    img_put_be32(header + VPC_PARENT_TIME, parent->time);
    /* (with a NUL at the end) */
    memcpy(header + VPC_PARENT_NAME, parent->file_name, img_min(parent->file_name_bytes, VPC_PARENT_NAME_BYTES - 2));
    memcpy(locator, parent->relative ? "W2ru" : "W2ku", 4);
    /* The room is in bytes, as Windows has it, and not in sectors. */
    img_put_be32(locator + 4, (uint32_t)parent->room);
    img_put_be32(locator + 8, (uint32_t)parent->name_bytes);
    img_put_be64(locator + 16, place);
}
