/* SPDX-License-Identifier: MIT */
/* parallels: the vtable, options, open and close. */
#include "parallels.h"

struct open_options {
    int64_t reserve;
    char *mode;
};

static const struct img_option options[] = {
    { .name = "size", .help = "Virtual disk size", .type = IMG_OPT_SIZE, .when = IMG_AT_CREATE,
      .offset = offsetof(struct parallels_create_options, size) },
    { .name = "cluster_size", .help = "Parallels image cluster size", .type = IMG_OPT_SIZE, .standard = "1048576",
      .when = IMG_AT_CREATE, .offset = offsetof(struct parallels_create_options, cluster_size) },
    { .name = "prealloc-size", .help = "Preallocation size on image expansion", .type = IMG_OPT_SIZE,
      .standard = "134217728", .when = IMG_AT_OPEN, .offset = offsetof(struct open_options, reserve) },
    { .name = "prealloc-mode", .help = "Preallocation mode on image expansion (allowed values: falloc, truncate)",
      .type = IMG_OPT_STRING, .standard = "falloc", .when = IMG_AT_OPEN,
      .offset = offsetof(struct open_options, mode) },
    { .name = NULL }
};

static struct parallels_bundle *bundle_of(const struct img *image)
{
    return ((const struct parallels_image *)image->state)->bundle;
}

/* ---- Opening -------------------------------------------------------------------------- */

static int take_options(struct parallels *p, const struct open_options *given, struct img_error *err)
{
    p->truncate = strcmp(given->mode, "truncate") == 0;
    if (!p->truncate && strcmp(given->mode, "falloc") != 0)
        return img_error_set(err, EINVAL, "invalid parameter value: %s", given->mode);
    p->reserve = (uint64_t)given->reserve;
    return 0;
}

static void release(struct parallels *p)
{
    img_pages_free(p->bat);
    parallels_forget_used(p);
    p->bat = NULL;
}

static int open_file(struct img *image, struct img_error *err)
{
    struct parallels *p = parallels_disk(image);
    bool writable = image->flags & IMG_RDWR;
    int status;

    p->file = image->file;
    status = parallels_read_header(p, image, err);
    if (status == 0)
        status = parallels_read_extension(p, writable, err);
    image->size = p->size;
    if (status == 0 && writable && !(image->flags & IMG_CHECK))
        status = parallels_make_sound(image, err);
    if (status < 0)
        release(p);
    return status;
}

static int open_bundle(struct img *image, struct img_error *err)
{
    struct parallels_image *state = image->state;

    if (image->flags & IMG_RDWR)
        return img_error_set(err, EACCES, "A bundle can only be read");
    return parallels_open_bundle(image, &state->bundle, err);
}

static int parallels_open(struct img *image, const void *parsed, struct img_doc *rest, struct img_error *err)
{
    uint8_t head[PARALLELS_SECTOR];
    int status = take_options(parallels_disk(image), parsed, err);

    (void)rest;
    if (status < 0)
        return status;
    image->no_details = true;
    status = img_pread(image->file, head, 0, sizeof head);
    if (status < 0)
        return img_error_errno(err, -status, "Could not read the header");
    status = img_marks_show(IMG_MARKS(IMG_XML(PARALLELS_ROOT)), head, sizeof head, "") ? open_bundle(image, err)
                                                                                       : open_file(image, err);
    if (status == 0 && !bundle_of(image))
        image->limits.write_zeroes_alignment = image->limits.discard_alignment = parallels_disk(image)->cluster;
    return status;
}

/* ---- Closing ---------------------------------------------------------------------------- */

/* Everything has been flushed. */
static int finish(struct parallels *p)
{
    int status = 0;

    if (!p->changing)
        return 0;
    if (p->changed_from < p->changed_to)
        return -EIO;
    if (p->data_end)
        status = parallels_trim(p);
    return status < 0 ? status : parallels_end_change(p);
}

static int parallels_close(struct img *image)
{
    int status = 0;

    if (bundle_of(image)) {
        parallels_free_bundle(bundle_of(image));
        return 0;
    }
    if (image->flags & IMG_RDWR)
        status = finish(parallels_disk(image));
    release(parallels_disk(image));
    return status;
}

/* ---- Information -------------------------------------------------------------------------- */

static int parallels_map(struct img *image, uint64_t offset, uint64_t length, struct img_extent *extent)
{
    if (bundle_of(image))
        return parallels_map_bundle(bundle_of(image), offset, length, extent);
    return parallels_map_disk(parallels_disk(image), offset, length, extent);
}

static int look_for_missing(struct img *image)
{
    if (bundle_of(image))
        return parallels_look_at_bundle(image, bundle_of(image));
    return parallels_look_for_missing(image, parallels_disk(image));
}

static bool parallels_zero_initialised(struct img *image)
{
    (void)image;
    return true;
}

/* The format can have bitmaps, so measure reports their size in the new image, as qemu-img does: 0. */
static bool has_bitmaps(const struct img *image)
{
    (void)image;
    return true;
}

const struct img_driver img_driver_parallels = {
    IMG_ROW(
        .name = "parallels", .kind = IMG_FORMAT, .alias = "hdd prl", .precedence = 2,
        .folder_file = "DiskDescriptor.xml",
        /* A descriptor is accepted only in a file of its name: a guest can write one to its raw disk. */
        .marks = IMG_MARKS(IMG_AT(0, "WithoutFreeSpace\2\0\0\0"), IMG_OR, IMG_AT(0, "WithouFreSpacExt\2\0\0\0"), IMG_OR,
                           IMG_NAMED("DiskDescriptor.xml"), IMG_XML("Parallels_disk_image"))
    ),
    .traits = IMG_READS_FORWARD,
    .state_size = sizeof(struct parallels_image), .options = options,
    .create_size = sizeof(struct parallels_create_options), .open_size = sizeof(struct open_options),
    .open = parallels_open, .close = parallels_close,
    .create = parallels_create, .map = parallels_map, .reserve = parallels_reserve, .zero = parallels_zero,
    .look_for_missing = look_for_missing, .discard = parallels_discard, .flush = parallels_flush, .check = parallels_check,
    .zero_initialised = parallels_zero_initialised,
    .has_bitmaps = has_bitmaps,
};
