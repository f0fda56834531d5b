/* SPDX-License-Identifier: MIT */
/* The qed driver: the vtable, open and close. */
#include "qed.h"

#include <string.h>

static void release(struct img *image)
{
    struct qed *s = qed_state(image);

    img_pages_free(s->l1);
    img_pages_free(s->l2);
    s->l1 = s->l2 = NULL;
}

/* The first writer clears autoclear features; an image that was not closed cleanly is repaired before use. */
static int start_writing(struct img *image, struct img_error *err)
{
    struct qed *s = qed_state(image);
    struct img_check result = { 0 };
    int status = 0;

    if (s->h.autoclear_features) {
        s->h.autoclear_features = 0;
        if ((status = qed_write_header(image)) < 0 || (status = img_barrier(image)) < 0)
            return img_error_errno(err, -status, "Failed to sync header");
    }
    if (!(s->h.features & QED_NEED_CHECK) || image->flags & IMG_CHECK)
        return 0;
    status = qed_check(image, IMG_REPAIR_LEAKS | IMG_REPAIR_ERRORS, &result, err);
    return status < 0 ? img_error_errno(err, -status, "Image corrupted") : 0;
}

static int qed_open(struct img *image, const void *parsed, struct img_doc *options, struct img_error *err)
{
    struct qed *s = qed_state(image);

    (void)parsed, (void)options;
    int status = qed_read_header(image, err);
    if (status < 0)
        return status;
    image->size = s->h.size;
    image->limits.cluster = s->h.cluster_size;
    image->limits.write_zeroes_alignment = s->h.cluster_size;
    status = qed_open_tables(image);
    if (status == 0)
        status = image->flags & IMG_RDWR ? start_writing(image, err) : 0;
    if (status < 0)
        release(image);
    return status;
}

/* Clear the flag last, when everything allocated is linked in. */
static int mark_checked(struct img *image)
{
    struct qed *s = qed_state(image);

    if (!(s->h.features & QED_NEED_CHECK))
        return 0;
    int status = img_barrier(image);
    if (status < 0)
        return status;
    s->h.features &= ~(uint64_t)QED_NEED_CHECK;
    return qed_write_header(image);
}

static int qed_close(struct img *image)
{
    int status = 0;

    if (image->flags & IMG_RDWR && (status = qed_flush(image)) == 0)
        status = mark_checked(image);
    release(image);
    return status;
}

static int qed_resize(struct img *image, uint64_t size, const char *preallocation, struct img_error *err)
{
    struct qed *s = qed_state(image);
    uint64_t old = s->h.size;

    /* A longer backing file would show there, and the format cannot hide it. */
    if (image->backing && size > old && img_size(image->backing) > old)
        return img_error_set(err, ENOTSUP, "Block driver does not support requested flags");
    if (img_no_preallocation(preallocation, err) < 0)
        return -err->code;
    if (!img_aligned(size, QED_SECTOR) || size > qed_max_size(s->h.cluster_size, s->h.table_size))
        return img_error_set(err, EINVAL, "Invalid image size specified");
    if (size < old)
        return img_error_set(err, ENOTSUP, "Shrinking images is currently not supported");
    s->h.size = size;
    int status = qed_write_header(image);
    if (status < 0) {
        s->h.size = old;
        return img_error_errno(err, -status, "Failed to update the image size");
    }
    image->size = size;
    return 0;
}

static bool qed_zero_initialised(struct img *image)
{
    (void)image;
    return true;
}

const struct img_driver img_driver_qed = {
    IMG_ROW(
        .name = "qed", .kind = IMG_FORMAT, .precedence = 2, .marks = IMG_MARKS(IMG_AT(0, "QED\0"))
    ),
    .traits = IMG_CAN_BACK | IMG_GROWS,
    .state_size = sizeof(struct qed),
    .options = qed_options,
    .create_size = sizeof(struct qed_create_options),
    .open = qed_open,
    .close = qed_close,
    .create = qed_create,
    .map = qed_map,
    .reserve = qed_reserve,
    .publish = qed_publish,
    .zero = qed_zero,
    .flush = qed_flush,
    .resize = qed_resize,
    .check = qed_check,
    .look_for_missing = qed_look_for_missing,
    .change_backing = qed_change_backing,
    .zero_initialised = qed_zero_initialised,
};
