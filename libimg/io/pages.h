/* SPDX-License-Identifier: MIT */
/*
 * pages.h - tables of a format (maps of clusters, grains, blocks) in memory, by pieces, for format drivers.
 *
 * Tables may be far larger than what is used of them, so a page of a table is what is read and kept, and of a
 * page that has changed only the changed bytes are written back.  For one thread at a time: under image->lock.
 *
 * The functions with `look` in their name are for map and reserve before they have changed anything: they may release
 * image->lock while the page is read, and end with IMG_LOOK_AGAIN then (waiting.h).  The others never do.
 */
#ifndef IMG_PAGES_H
#define IMG_PAGES_H

#include "driver.h"

struct img_pages;

/*
 * Pages of `page_size` bytes of the file below `image`, at most `memory` bytes of them at a time.  Before changed
 * ones are written `ready` is called (NULL: nothing is): what they refer to has to be on the storage then.  It may use the
 * functions of waiting.h.
 */
struct img_pages *img_pages_new(struct img *image, uint32_t page_size, size_t memory, int (*ready)(struct img *image));
void img_pages_free(struct img_pages *pages);           /* what was not written is lost; NULL is fine */

/* The page at host `offset`, always asked for by the same offset; zeroes behind the end of the file.  The pointer is
 * good until the next call. */
int img_pages_get(struct img_pages *pages, uint64_t offset, uint8_t **bytes);
/* [from, from+length) of the page that was got last has changed. */
void img_pages_changed(struct img_pages *pages, uint32_t from, uint32_t length);
/* The entry at byte `at` of a table, and what follows it in its page.  The table is at host offset `table`, where its
 * pages begin; their size is a power of two. */
int img_pages_entry(struct img_pages *pages, uint64_t table, uint64_t at, uint8_t **entry);
/* The same where tables lie in several files: of the one in this node. */
int img_pages_entry_of(struct img_pages *pages, struct img *file, uint64_t table, uint64_t at, uint8_t **entry);
/* The same two, only to look at it. */
int img_pages_look(struct img_pages *pages, uint64_t table, uint64_t at, uint8_t **entry);
int img_pages_look_of(struct img_pages *pages, struct img *file, uint64_t table, uint64_t at, uint8_t **entry);
/* `length` bytes from there on have changed; it was got last. */
void img_pages_entry_changed(struct img_pages *pages, const uint8_t *entry, uint32_t length);
int img_pages_write(struct img_pages *pages);           /* all that has changed, in ascending order of each file */
/* The same for a flush (waiting.h): `ready` may release the lock, and what had changed before it is written. */
int img_pages_write_aside(struct img_pages *pages);
void img_pages_forget(struct img_pages *pages);         /* all, without writing */

#endif
