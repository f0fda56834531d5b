/* SPDX-License-Identifier: MIT */
/*
 * answers.h - the last answers of a storage whose map is a question that travels (limits.round_trip).  Any thread.
 */
#ifndef IMG_ANSWERS_H
#define IMG_ANSWERS_H

#include "node/node.h"

/* Is it known what is at `offset`?  *extent is cut to [offset, end).  Else *generation is for img_answers_keep. */
bool img_answers_find(struct img *image, uint64_t offset, uint64_t end, struct img_extent *extent, unsigned *generation);
/* Keep an answer, unless something was written since it was asked for. */
void img_answers_keep(struct img *image, const struct img_extent *extent, unsigned generation);
/* The range was written to. */
void img_answers_forget(struct img *image, uint64_t offset, uint64_t length);

#endif
