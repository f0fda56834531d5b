/* SPDX-License-Identifier: MIT */
/*
 * pages.h - caches the tables of a format (maps of clusters, grains, blocks), for format drivers.
 *
 * A table may be far larger than the part in use, so tables are read and kept page by page, and only the dirty bytes of
 * a page are written back.  Not thread-safe: the caller holds image->lock.
 *
 * The functions with `look` in their name are for map and for reserve, before they have changed anything.  They may
 * release image->lock while a page is read or changed ones are written, and then return IMG_LOOK_AGAIN (waiting.h).
 * Of the others only img_pages_write_aside releases it.
 */
#ifndef IMG_PAGES_H
#define IMG_PAGES_H

#include "driver.h"

struct img_pages;

/*
 * Pages of `page_size` bytes of the file below `image`, at most `memory` bytes of them at a time.  Before changed
 * ones are written `ready` is called (NULL: nothing is): what they refer to has to be on the storage then.  It may use the
 * functions of waiting.h, and may be called again while one call has released the lock.
 */
struct img_pages *img_pages_new(struct img *image, uint32_t page_size, size_t memory, int (*ready)(struct img *image));
void img_pages_free(struct img_pages *pages);           /* drops dirty pages; NULL is fine */

/* Get the page at host `offset`; a page must always be named by the same offset.  Beyond the end of the file it is
 * zero.  The pointer is valid until the next call. */
int img_pages_get(struct img_pages *pages, uint64_t offset, uint8_t **bytes);
/* [from, from+length) of the page got last is dirty. */
void img_pages_changed(struct img_pages *pages, uint32_t from, uint32_t length);
/* Get the entry at byte `at` of a table, and the rest of its page.  Pages start at the host offset `table` of the
 * table; their size is a power of two. */
int img_pages_entry(struct img_pages *pages, uint64_t table, uint64_t at, uint8_t **entry);
/* The same for a table in `file`, where tables lie in several files. */
int img_pages_entry_of(struct img_pages *pages, struct img *file, uint64_t table, uint64_t at, uint8_t **entry);
/* The same two, for reading only. */
int img_pages_look(struct img_pages *pages, uint64_t table, uint64_t at, uint8_t **entry);
int img_pages_look_of(struct img_pages *pages, struct img *file, uint64_t table, uint64_t at, uint8_t **entry);
/* How many of the next `length` bytes of that table, from byte `at` on, are known to be zero.  Nothing is read, so the
 * entry is looked at before; beyond the end of the file, or in a hole of it, all are found at once.  0: unknown. */
uint64_t img_pages_zeroes_of(struct img_pages *pages, struct img *file, uint64_t table, uint64_t at, uint64_t length);
uint64_t img_pages_zeroes(struct img_pages *pages, uint64_t table, uint64_t at, uint64_t length);
/* `length` bytes from there on have changed; it was got last. */
void img_pages_entry_changed(struct img_pages *pages, const uint8_t *entry, uint32_t length);
int img_pages_write(struct img_pages *pages);           /* all that has changed, in ascending order of each file */
/* The same for a flush (waiting.h): `ready` may release the lock, and what had changed before it is written. */
int img_pages_write_aside(struct img_pages *pages);
void img_pages_forget(struct img_pages *pages);         /* all, without writing */

#endif
