/* SPDX-License-Identifier: MIT */
/* The vtable; open and close. */
#include "sparsebundle.h"
#include <stdlib.h>
#include <string.h>

enum { MAX_PLIST = 1 << 20 };

static int read_plist(struct img *image, struct sparsebundle_plist *plist, struct img_error *err)
{
    uint64_t size = img_size(image->file);
    CLEANUP_FREE char *text = NULL;

    if (size > MAX_PLIST)
        return img_error_set(err, EFBIG, SPARSEBUNDLE_PLIST " is longer than 1 MiB");
    text = malloc((size_t)size + 1);
    int ret = text ? img_pread(image->file, text, 0, (size_t)size) : -ENOMEM;
    if (ret < 0)
        return img_error_errno(err, -ret, "Could not read " SPARSEBUNDLE_PLIST);
    return sparsebundle_parse(text, (size_t)size, plist, err);
}

static int sparsebundle_open(struct img *image, const void *parsed, struct img_doc *options, struct img_error *err)
{
    struct sparsebundle *s = sparsebundle_state(image);
    struct sparsebundle_plist plist;

    (void)parsed, (void)options;
    if (image->flags & IMG_RDWR)
        return img_error_set(err, EACCES, "A sparse bundle can only be read");
    int ret = read_plist(image, &plist, err);
    if (ret < 0)
        return ret;
    if (image->gate == IMG_GATE_CLOSED)
        return img_error_set(err, EPERM, "The files of the bands may not be opened");
    if (strcmp(image->file->driver->name, "file") != 0 || !image->file->filename)
        return img_error_set(err, ENOTSUP, "A sparse bundle is read from a folder only");
    s->band_size = plist.band_size;
    image->size = plist.size;
    return sparsebundle_open_bands(s, image->file->filename, err);
}

static int sparsebundle_close(struct img *image)
{
    sparsebundle_close_bands(sparsebundle_state(image));
    return 0;
}

const struct img_driver img_driver_sparsebundle = {
    IMG_ROW(
        .name = "sparsebundle", .kind = IMG_FORMAT, .folder_file = "Info.plist",
        /* Many folders of macOS have a file of that name. */
        .marks = IMG_MARKS(IMG_NAMED("Info.plist"), IMG_XML("key>band-size</key>"))
    ),
    .traits = IMG_READS_CONCURRENTLY,
    .state_size = sizeof(struct sparsebundle),
    .open = sparsebundle_open,
    .close = sparsebundle_close,
    .pread = sparsebundle_pread,
    .map = sparsebundle_map,
    .allocated = sparsebundle_allocated,
};
