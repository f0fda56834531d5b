/* SPDX-License-Identifier: MIT */
/* client.h - what the targets whose input is a server do with an image on it. */
#ifndef FUZZ_CLIENT_H
#define FUZZ_CLIENT_H

#include "libimg/img.h"
#include "libimg/util/checked.h"

#include <stdlib.h>
#include <string.h>

/* NULL: it cannot be opened.  An error has a text and no image, and nothing else has. */
static inline struct img *client_open(const char *name, const struct img_open *how)
{
    struct img_error err = IMG_ERROR_INIT;
    struct img *image = NULL;
    int ret = img_open(&image, name, how, &err);

    if ((ret < 0) != (err.text != NULL) || (ret < 0) != (image == NULL))
        abort();
    img_error_clear(&err);
    return image;
}

static inline void client_close(struct img *image)
{
    struct img_error err = IMG_ERROR_INIT;

    img_close(image, &err);
    img_error_clear(&err);
}

/* Read what there is of the range; `judge` gets what was read with success. */
static inline void client_read(struct img *image, uint8_t *buffer, uint64_t offset, size_t length,
                               void (*judge)(const uint8_t *bytes, uint64_t offset, size_t length))
{
    uint64_t size = img_size(image);

    if (offset >= size)
        return;
    length = (size_t)img_min(length, size - offset);
    memset(buffer, 0xee, length);
    if (img_pread(image, buffer, offset, length) == 0)
        judge(buffer, offset, length);
}

/* Every extent must move forward and stay within the range that was asked for.  At most `most` are asked for. */
static inline void client_map(struct img *image, uint64_t at, uint64_t end, int most)
{
    struct img_extent extent;

    end = img_min(end, img_size(image));
    for (int i = 0; i < most && at < end; i++) {
        if (img_map(image, at, end - at, &extent) < 0)
            return;
        if (extent.offset != at || extent.length == 0 || extent.length > end - at)
            abort();
        at += extent.length;
    }
}

#endif
