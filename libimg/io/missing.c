/* SPDX-License-Identifier: MIT */
/*
 * missing.c - what an image's tables refer to and its storage does not have: the image is truncated.
 *
 * A storage reads as zeroes behind its end.  A format may rely on that in two places only: behind the end of the guest
 * disk, which nobody reads, and, with the trait IMG_SHORT_TAIL, in the last cluster of the file.  There a writer has
 * stopped at the end of a sector, so a file that ends elsewhere was cut off.
 */
#include "io.h"
#include "util/checked.h"
#include "util/cleanup.h"
#include "util/strbuf.h"
#include <inttypes.h>

enum { SECTOR = 512 };

/* Of `missing` of all nodes. */
static pthread_mutex_t missing_lock = PTHREAD_MUTEX_INITIALIZER;

uint64_t img_length(struct img *storage, bool now)
{
    if (storage->driver->length)
        return storage->driver->length(storage, now);
    if (storage->driver->kind == IMG_FILTER || storage->driver->kind == IMG_ADAPTER)
        return img_length(storage->file, now);
    return img_size(storage);
}

/* Only near the end it takes a call of the kernel. */
static bool reaches(struct img *file, uint64_t end)
{
    return end <= img_length(file, false) || end <= img_length(file, true);
}

static int note(struct img *image, struct img *file, uint64_t needs)
{
    uint64_t has = img_length(file, true);
    struct img_node *node = img_node_of(image);

    LOCK_SCOPE(&missing_lock);
    if (!node->missing.file || (node->missing.file == file && node->missing.needs < needs)) {
        node->missing.file = file;
        node->missing.needs = needs;
        node->missing.has = has;
    }
    return -IMG_ETRUNCATED;
}

static bool may_lack_tail(const struct img *image, uint64_t end)
{
    return image->driver->traits & IMG_SHORT_TAIL && end % SECTOR == 0;
}

bool img_has_bytes(struct img *image, struct img *file, uint64_t start, uint64_t length)
{
    uint64_t end;

    if (length == 0 || !img_within(start, length, INT64_MAX) || reaches(file, start + length))
        return true;
    end = img_length(file, true);
    if (start < end && may_lack_tail(image, end))
        return true;
    note(image, file, start + length);
    return false;
}

int img_check_table(struct img *image, struct img *file, uint64_t offset, size_t length)
{
    uint64_t end;

    if (image->flags & (IMG_RDWR | IMG_CHECK | IMG_NO_IO) || !img_within(offset, length, INT64_MAX) ||
        reaches(file, offset + length))
        return 0;
    end = img_length(file, true);
    return offset < end && end % SECTOR == 0 ? 0 : note(image, file, offset + length);
}

int img_pread_table(struct img *image, struct img *file, void *bytes, uint64_t offset, size_t length)
{
    int ret = img_check_table(image, file, offset, 1);

    return ret < 0 ? ret : img_pread_padded(file, bytes, offset, length);
}

int img_pread_stored(struct img *image, struct img *file, void *buffer, uint64_t offset, size_t length)
{
    return img_has_bytes(image, file, offset, length) ? img_pread(file, buffer, offset, length) : -IMG_ETRUNCATED;
}

/* ---- Extents ---------------------------------------------------------------------- */

/* Has the format said where the bytes are, in another node? */
static bool is_placed(const struct img_extent *extent)
{
    const struct img *layer = extent->layer;

    return layer && layer->driver->kind == IMG_FORMAT && !(layer->driver->traits & IMG_PASS_THROUGH) &&
           extent->file && extent->file != layer;
}

/* The end of the cluster in which the storage ends.  `at` is the place of the guest's `offset`. */
static uint64_t end_of_cluster(const struct img *layer, uint64_t end, uint64_t at, uint64_t offset)
{
    uint64_t unit = layer->limits.cluster, inside = unit ? (end - (at - offset)) % unit : 0;

    return inside ? end + (unit - inside) : end;
}

uint64_t img_extent_there(const struct img_extent *extent, uint64_t offset, uint64_t length)
{
    uint64_t host = extent->host + (offset - extent->offset), end;

    if (!is_placed(extent) || !img_within(host, length, INT64_MAX) || reaches(extent->file, host + length))
        return length;
    end = img_length(extent->file, true);
    if (extent->raw)
        end = img_align_up(end, SECTOR);
    else if (may_lack_tail(extent->layer, end))
        end = end_of_cluster(extent->layer, end, host, offset);
    return host < end ? img_min(length, end - host) : 0;
}

uint64_t img_coded_there(const struct img_extent *extent)
{
    uint64_t end;

    if (!is_placed(extent) || !img_within(extent->host, extent->host_length, INT64_MAX) ||
        reaches(extent->file, extent->host + extent->host_length))
        return extent->host_length;
    end = img_length(extent->file, true);
    return extent->host < end ? end - extent->host : 0;
}

int img_extent_lacks(const struct img_extent *extent)
{
    uint64_t length = extent->kind == IMG_CODED ? extent->host_length : extent->length;

    return note(extent->layer, extent->file, extent->host + length);
}

/* ---- Words ------------------------------------------------------------------------- */

/* The first node from `image` down that lacks something; NULL: none. */
static struct img *find_lacking(struct img *image)
{
    for (; image; image = image->backing ? image->backing : image->file) {
        if (img_node_of(image)->missing.file)
            return image;
        if (image->backing && image->file && img_node_of(image->file)->missing.file)
            return image->file;
    }
    return NULL;
}

static void describe(struct img *top, char *text, size_t size)
{
    LOCK_SCOPE(&missing_lock);
    struct img *image = find_lacking(top);

    if (!image)
        snprintf(text, size, "image is truncated");
    else if (image == img_behind_filters(top) && img_node_of(image)->missing.file == image->file)
        snprintf(text, size, "image is truncated: needs %" PRIu64 " bytes, has %" PRIu64,
                 img_node_of(image)->missing.needs, img_node_of(image)->missing.has);
    else
        snprintf(text, size, "image is truncated: '%s' needs %" PRIu64 " bytes, has %" PRIu64,
                 img_filename(img_node_of(image)->missing.file), img_node_of(image)->missing.needs,
                 img_node_of(image)->missing.has);
}

const char *img_read_error(struct img *image, int code)
{
    static _Thread_local char text[512];

    if (!image || (code != IMG_ETRUNCATED && code != -IMG_ETRUNCATED))
        return img_strerror(code);
    describe(image, text, sizeof text);
    return text;
}

int img_check_whole(struct img *image, struct img_error *err)
{
    struct img *layer;

    for (layer = image; layer; layer = layer->backing ? layer->backing : layer->file) {
        int ret = layer->driver->look_for_missing ? layer->driver->look_for_missing(layer) : 0;

        if (ret < 0 && ret != -IMG_ETRUNCATED)
            return img_error_errno(err, -ret, "Could not read the tables of '%s'", img_filename(layer));
    }
    if (!find_lacking(image))
        return 0;
    img_error_set(err, IMG_ETRUNCATED, "%s", img_read_error(image, IMG_ETRUNCATED));
    img_error_advise(err, "the file was cut off, as by a broken download; convert --salvage reads zeroes for what is "
                     "missing");
    return -IMG_ETRUNCATED;
}
