/* SPDX-License-Identifier: MIT */
/* luks-place.h - shared by the files of luks-volume.h. */
#ifndef IMG_LUKS_PLACE_H
#define IMG_LUKS_PLACE_H

#include "luks-volume.h"
#include "encrypt-options.h"

/* The header and its slots, read from where the volume has them; within its length. */
struct img_luks_place img_luks_volume_place(struct img_luks_volume *volume);
/* How long a slot is to take: milliseconds. */
static inline uint64_t img_luks_iter_time(const struct img_luks_options *given)
{
    return given->iter_time < 0 ? 2000 : (uint64_t)given->iter_time;
}

#endif
