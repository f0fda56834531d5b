/* SPDX-License-Identifier: MIT */
/* Fuzz target: the input is a qcow2 image, with tests of snapshots and bitmaps, too. */
#include "fuzz-image.h"

/* The operations of the snapshot and bitmap commands; if one is refused, the next one still runs. */
static void administer(const char *name)
{
    struct img_error err = IMG_ERROR_INIT;
    char title[] = "fuzz";
    struct img_snapshot made = { .name = title };
    struct img *image = fuzz_open(name, IMG_RDWR | IMG_RESIZE);

    if (!image)
        return;
    if (img_size(image) <= FUZZ_MAX_GROWN) {
        img_snapshot_create(image, &made, &err);
        img_error_clear(&err);
        img_bitmap_add(image, "fuzz", FUZZ_CHUNK, true, &err);
        img_error_clear(&err);
        img_bitmap_merge(image, "fuzz", image, "b0", &err);
        img_error_clear(&err);
        img_resize(image, img_size(image) / 2 / 512 * 512, NULL, &err);
        img_error_clear(&err);
        img_bitmap_remove(image, "fuzz", &err);
        img_error_clear(&err);
        img_snapshot_apply(image, "1", &err);
        img_error_clear(&err);
        img_snapshot_delete(image, NULL, "one", &err);
        img_error_clear(&err);
    }
    free(made.id);
    fuzz_close(image);
}

FUZZ_IMAGE_AND("qcow2", administer)
