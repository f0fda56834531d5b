/* SPDX-License-Identifier: MIT */
/*
 * crew.h - helpers for work that waits: several requests to a far storage at a time.  They are started when there is work
 * for them, up to a number, and end with the crew.
 */
#ifndef IMG_UTIL_CREW_H
#define IMG_UTIL_CREW_H

#include <stddef.h>

struct img_crew;

/* At most `most` helpers with stacks of `stack` bytes.  NULL: no memory. */
struct img_crew *img_crew_new(unsigned most, size_t stack);
/* Nobody has work with it any more; NULL is fine. */
void img_crew_free(struct img_crew *crew);
/*
 * Call one(context, 0) to one(context, count - 1), side by side, and wait for all; the calling thread takes its
 * part.  The first error by index; after one fails, no further one begins.  Any number of threads may do so at a time.
 */
int img_crew_run(struct img_crew *crew, int (*one)(void *context, size_t index), void *context, size_t count);

#endif
