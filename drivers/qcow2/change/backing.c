/* SPDX-License-Identifier: MIT */
/*
 * Changes the backing file of an existing image.
 * Specification: "Header" (backing_file_offset, backing_file_size), "Header extensions" (backing file format name).
 */
#include "../qcow2.h"

static int copy(const char *text, char **made)
{
    *made = text && *text ? img_strdup(text) : NULL;
    return text && *text && !*made ? -ENOMEM : 0;
}

static bool storable(const struct qcow2 *s, const char *name)
{
    if (!name || !*name)
        return true;
    /* A raw data file must read the same without the qcow2 image, so it cannot have a backing file. */
    return strlen(name) <= QCOW2_MAX_BACKING_NAME && !(s->h.autoclear & QCOW2_AUTOCLEAR_DATA_FILE_RAW);
}

int qcow2_change_backing(struct img *image, const char *name, const char *format)
{
    struct qcow2 *s = qcow2_state(image);
    char *old_name = image->backing_name, *old_format = image->backing_format;
    int status;

    if (s->broken)
        return -ENOMEDIUM;
    if (!storable(s, name))
        return -EINVAL;
    if ((status = qcow2_flush(image)) < 0)
        return status;
    if (image->data_file && !img_cache_unsafe(image->cache) && (status = img_flush(image->data_file)) < 0)
        return status;
    if ((status = qcow2_barrier(image)) < 0)
        return status;
    status = copy(name, &image->backing_name);
    if (copy(format, &image->backing_format) < 0)
        status = -ENOMEM;
    if (status < 0 || (status = qcow2_write_header(image)) < 0) {
        free(image->backing_name);
        free(image->backing_format);
        image->backing_name = old_name;
        image->backing_format = old_format;
        return status;
    }
    free(old_name);
    free(old_format);
    return qcow2_barrier(image);
}
