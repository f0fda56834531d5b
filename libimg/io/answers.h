/* SPDX-License-Identifier: MIT */
/* answers.h - the last map answers of a storage where map takes a round trip (limits.round_trip).  Thread-safe. */
#ifndef IMG_ANSWERS_H
#define IMG_ANSWERS_H

#include "node/node.h"

/* Look up `offset`.  If found, *extent is cut to [offset, end); otherwise pass *generation to img_answers_keep. */
bool img_answers_find(struct img *image, uint64_t offset, uint64_t end, struct img_extent *extent, unsigned *generation);
/* Keep an answer, unless something was written after the question was sent. */
void img_answers_keep(struct img *image, const struct img_extent *extent, unsigned generation);
/* The range was written: drop its answers. */
void img_answers_forget(struct img *image, uint64_t offset, uint64_t length);

#endif
