/* SPDX-License-Identifier: MIT */
/* New luks images: the header, the first key slot, and a payload of holes, which reads as noise. */
#include "luks.h"
#include "../../libimg/util/checked.h"
#include <stdlib.h>
#include <string.h>

/* Everything that has to be right before a file is touched. */
static int plan(const struct luks_create_options *given, struct img_luks_volume *volume, struct img_error *err)
{
    const struct img_luks_options *luks = &given->luks;
    bool newer = given->version == 2;

    *volume = (struct img_luks_volume){ .prefix = "" };
    if (given->detached == 1)
        return img_error_set(err, EINVAL, "Parameter 'detached-header' is unexpected");
    if (given->version >= 0 && given->version != 1 && !newer)
        return img_error_set(err, EINVAL, "'version' must be 1 or 2");
    if (!newer && (luks->pbkdf || luks->pbkdf_memory >= 0 || luks->sector_size >= 0))
        return img_error_set(err, EINVAL, "'pbkdf', 'pbkdf-memory' and 'sector-size' need 'version=2'");
    return img_luks_volume_plan(volume, newer ? 2 : 1, luks, given->key_secret, err);
}

/* There are no metadata but the header, so `preallocation=metadata` is fulfilled without the file's help. */
static void take_preallocation(struct img_doc *rest)
{
    const char *mode = img_doc_string_at(rest, "preallocation");

    if (mode && strcmp(mode, "metadata") == 0)
        img_doc_remove(rest, "preallocation");
}

/* The file is made of whole sectors, but the disk may end inside one. */
static int write_all(struct img_luks_volume *volume, const struct img_luks_made *made, uint64_t size,
                     struct img_error *err)
{
    int ret = img_luks_volume_write(volume, made, err);

    if (ret == 0 && size % IMG_LUKS_SECTOR)
        ret = img_resize_file(volume->file, volume->range.start + size, NULL, err);
    return ret;
}

/* The sectors of version 2 are whole.  False: the file would be too long. */
static bool whole_sectors(const struct img_luks_volume *volume, uint64_t *size)
{
    uint64_t most = INT64_MAX - volume->range.start;

    if (volume->version == 2 && *size <= most)
        *size = img_align_up(*size, volume->range.sector);
    return *size <= most;
}

static int make_file(const struct img_create *request, struct img_luks_volume *volume,
                     const struct img_luks_made *made, uint64_t size, struct img_error *err)
{
    int ret;

    if (!whole_sectors(volume, &size))
        return img_error_set(err, EFBIG, "The requested file size is too large");
    take_preallocation(request->rest);
    ret = img_create_file(request->name, volume->range.start + size, IMG_PERM_ALL, request->rest, &volume->file,
                          err);
    if (ret < 0)
        return ret;
    ret = write_all(volume, made, size, err);
    if (ret < 0)
        img_remove_file(volume->file->filename);
    return img_close_file(volume->file, ret, err);
}

int luks_create(const struct img_create *request, struct img_error *err)
{
    const struct luks_create_options *given = request->options;
    struct img_luks_volume volume;
    struct img_luks_made made = { .bytes = NULL };
    int ret = img_check_target(request->name, err);

    if (ret == 0)
        ret = plan(given, &volume, err);
    if (ret == 0)
        ret = img_luks_volume_make(&volume, &given->luks, given->key_secret, &made, err);
    if (ret == 0)
        ret = make_file(request, &volume, &made, given->size < 0 ? 0 : (uint64_t)given->size, err);
    free(made.bytes);
    return ret;
}

int luks_measure(const void *options, struct img *source, uint64_t size, struct img_measure *result,
                 struct img_error *err)
{
    const struct luks_create_options *given = options;
    struct img_luks_volume volume;
    int ret = plan(given, &volume, err);

    (void)source;
    if (ret < 0)
        return ret;
    if (!whole_sectors(&volume, &size))
        return img_error_set(err, EFBIG, "The image size is too large");
    result->required = result->fully_allocated = volume.range.start + size;
    return 0;
}
