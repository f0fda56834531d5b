/* SPDX-License-Identifier: MIT */
/*
 * sparsebundle.h - shared by the files of the sparsebundle driver: sparse bundles of macOS, read only.
 *
 * Specification: "Mac OS sparse bundle (.sparsebundle) format", https://keramics.github.io/sparsebundle.html.
 *
 *     Info.plist      a property list: the lengths of the disk and of a band
 *     Info.bckup      the same
 *     token           empty, or the header of an encrypted image
 *     bands/          files named 0, 1, ... 9, a, ... ff: one for each band of the disk that was written to
 */
#ifndef SPARSEBUNDLE_H
#define SPARSEBUNDLE_H

#include "../../libimg/driver.h"
#include "../../libimg/util/checked.h"
#include "../../libimg/util/cleanup.h"
#include "../../libimg/util/vector.h"

#define SPARSEBUNDLE_PLIST "Info.plist"

enum { SPARSEBUNDLE_SECTOR = 512 };

/* What the property list says. */
struct sparsebundle_plist {
    uint64_t size, band_size;
};

struct sparsebundle {
    uint64_t band_size;
    int folder;                     /* the folder with the bands */
    IMG_VECTOR(uint64_t) bands;     /* the numbers of those that were there when it was opened, in ascending order */
};

static inline struct sparsebundle *sparsebundle_state(const struct img *image)
{
    return image->state;
}

/* plist.c: read `length` bytes of text; its size and band_size are fit to be used. */
int sparsebundle_parse(const char *text, size_t length, struct sparsebundle_plist *plist, struct img_error *err);

/* bands.c: open the folder of the bands that belong to the property list at `path`, and list them.  Refuses what is
 * encrypted.  After an error nothing is open. */
int sparsebundle_open_bands(struct sparsebundle *s, const char *path, struct img_error *err);
void sparsebundle_close_bands(struct sparsebundle *s);
int sparsebundle_pread(struct img *image, void *buffer, uint64_t offset, size_t length);
int sparsebundle_map(struct img *image, uint64_t offset, uint64_t length, struct img_extent *extent);
int64_t sparsebundle_allocated(struct img *image);

#endif
