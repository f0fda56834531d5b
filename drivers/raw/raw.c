/* SPDX-License-Identifier: MIT */
/*
 * raw: the guest's bytes are those of the file below, or of a window in it (offset=, size=).  Every call is passed
 * on to the file, shifted by the offset.
 */
#include "../../libimg/driver.h"
#include "../../libimg/util/checked.h"
#include <inttypes.h>

#define RAW_SECTOR 512u

struct raw_open_options {
    int64_t offset, size;
};

struct raw_create_options {
    int64_t size;
};

struct raw_state {
    uint64_t offset;
    bool fixed_size;                /* a window with an explicit size= */
};

static const struct img_option raw_options[] = {
    { .name = "offset", .help = "offset in the disk where the image starts", .type = IMG_OPT_SIZE,
      .when = IMG_AT_OPEN, .offset = offsetof(struct raw_open_options, offset) },
    { .name = "size", .help = "virtual disk size", .type = IMG_OPT_SIZE, .when = IMG_AT_OPEN,
      .offset = offsetof(struct raw_open_options, size) },
    { .name = "size", .help = "Virtual disk size", .type = IMG_OPT_SIZE, .when = IMG_AT_CREATE,
      .offset = offsetof(struct raw_create_options, size) },
    { .name = NULL }
};

static const char *const strong_options[] = { "offset", "size", NULL };

static int raw_open(struct img *image, const void *parsed, struct img_doc *options, struct img_error *err)
{
    const struct raw_open_options *given = parsed;
    struct raw_state *raw = image->state;
    uint64_t total = image->file->size, left;

    (void)options;
    raw->offset = given->offset == -1 ? 0 : (uint64_t)given->offset;
    raw->fixed_size = given->size != -1;
    if (raw->offset > total)
        return img_error_set(err, EINVAL, "Offset (%" PRIu64 ") cannot be greater than size of the containing file "
                             "(%" PRIu64 ")", raw->offset, total);
    left = total - raw->offset;
    if (!raw->fixed_size) {
        image->size = img_align_up(left, RAW_SECTOR);
        return 0;
    }
    image->size = (uint64_t)given->size;
    if (image->size > left)
        return img_error_set(err, EINVAL, "The sum of offset (%" PRIu64 ") and size (%" PRIu64 ") has to be smaller or "
                             "equal to the  actual size of the containing file (%" PRIu64 ")", raw->offset,
                             image->size, total);
    if (!img_aligned(image->size, RAW_SECTOR))
        return img_error_set(err, EINVAL, "Specified size is not multiple of %u", RAW_SECTOR);
    return 0;
}

/* Number of guest bytes from `offset` that the file has: with an odd offset= the last sector is incomplete. */
static uint64_t present(const struct img *image, uint64_t offset, uint64_t length)
{
    const struct raw_state *raw = image->state;
    uint64_t start, end = image->file->size;

    return img_add(raw->offset, offset, &start) && start < end ? img_min(length, end - start) : 0;
}

static int raw_map(struct img *image, uint64_t offset, uint64_t length, struct img_extent *extent)
{
    const struct raw_state *raw = image->state;
    uint64_t here = present(image, offset, length);

    *extent = (struct img_extent){
        .offset = offset, .length = here ? here : length, .kind = here ? IMG_DATA : IMG_ZERO,
        .host_valid = true, .recurse = here > 0, .file = image->file, .host = raw->offset + offset,
    };
    return 0;
}

static int raw_reserve(struct img *image, uint64_t offset, uint64_t length, struct img_reservation *to)
{
    const struct raw_state *raw = image->state;

    to->offset = offset;
    to->length = length;
    to->file = image->file;
    to->host = raw->offset + offset;
    to->published = true;
    return 0;
}

static int raw_resize(struct img *image, uint64_t size, const char *preallocation, struct img_error *err)
{
    const struct raw_state *raw = image->state;
    uint64_t total;

    if (raw->fixed_size)
        return img_error_set(err, ENOTSUP, "Cannot resize fixed-size raw disks");
    if (!img_add(raw->offset, size, &total) || total > INT64_MAX)
        return img_error_set(err, EINVAL, "Disk size too large for the chosen offset");
    int status = img_resize_exactly(image->file, total, preallocation, err);
    if (status == 0)
        image->size = img_align_up(size, RAW_SECTOR);
    return status;
}

static int raw_create(const struct img_create *request, struct img_error *err)
{
    const struct raw_create_options *options = request->options;
    uint64_t size = options->size == -1 ? 0 : (uint64_t)options->size;
    struct img *file = NULL;
    int status = img_create_file(request->name, img_align_up(size, RAW_SECTOR), IMG_PERM_ALL, request->rest,
                                 &file, err);

    return status < 0 ? status : img_close(file, err);
}

static int raw_measure(const void *create_options, struct img *source, uint64_t size, struct img_measure *result,
                       struct img_error *err)
{
    (void)create_options, (void)source, (void)err;
    result->required = result->fully_allocated = img_align_up(size, RAW_SECTOR);
    return 0;
}

static int64_t raw_allocated(struct img *image)
{
    return img_allocated(image->file);
}

static bool raw_zero_initialised(struct img *image)
{
    return img_zero_initialised(image->file);
}

const struct img_driver img_driver_raw = {
    IMG_ROW(
        .name = "raw", .kind = IMG_FORMAT, .alias = "img iso bin dd dsk",
        .marks = IMG_MARKS(IMG_ANYTHING), .precedence = -100
    ),
    .traits = IMG_PASS_THROUGH | IMG_GROWS,
    .state_size = sizeof(struct raw_state), .options = raw_options,
    .create_size = sizeof(struct raw_create_options), .open_size = sizeof(struct raw_open_options),
    .open = raw_open, .create = raw_create,
    .map = raw_map, .reserve = raw_reserve, .resize = raw_resize, .allocated = raw_allocated, .measure = raw_measure,
    .zero_initialised = raw_zero_initialised, .strong_options = strong_options,
};
