/* SPDX-License-Identifier: MIT */
/*
 * crew.h - helper threads for work that waits: several concurrent requests to a far storage.  They are started on
 * demand, up to a maximum, and end with the crew.
 */
#ifndef IMG_UTIL_CREW_H
#define IMG_UTIL_CREW_H

#include <stddef.h>

struct img_crew;

/* At most `most` helpers with stacks of `stack` bytes.  NULL: no memory. */
struct img_crew *img_crew_new(unsigned most, size_t stack);
/* No work may be running; NULL is fine. */
void img_crew_free(struct img_crew *crew);
/*
 * Call one(context, 0) to one(context, count - 1) in parallel, and wait for all; the calling thread works, too.
 * Returns the first error by index; after a failure no further call starts.  Thread-safe.
 */
int img_crew_run(struct img_crew *crew, int (*one)(void *context, size_t index), void *context, size_t count);

#endif
