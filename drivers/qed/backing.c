/* SPDX-License-Identifier: MIT */
/* Another backing file.  Specification: "Header" (backing filename, the flags that belong to it). */
#include "qed.h"

#include <string.h>

static void describe_backing(struct qed_header *h, const char *name, const char *format)
{
    h->features &= ~(uint64_t)(QED_BACKING_FILE | QED_BACKING_NO_PROBE);
    h->backing_offset = QED_HEADER_BYTES;
    h->backing_length = (uint32_t)strlen(name);
    if (!*name)
        return;
    h->features |= QED_BACKING_FILE;
    if (format && strcmp(format, "raw") == 0)
        h->features |= QED_BACKING_NO_PROBE;
}

/* Header and name are written at once. */
int qed_change_backing(struct img *image, const char *name, const char *format)
{
    struct qed *s = qed_state(image);
    struct qed_header changed = s->h;
    size_t length = name ? strlen(name) : 0;
    int status;

    /* An unknown feature may store something after the header fields. */
    if (length && s->h.compat_features)
        return -ENOTSUP;
    /* (a longer name could not be read again) */
    if (!img_within(QED_HEADER_BYTES, length, (uint64_t)s->h.header_size * s->h.cluster_size) ||
        length > QED_MAX_BACKING_NAME)
        return -ENOSPC;
    CLEANUP_FREE uint8_t *bytes = malloc(QED_HEADER_BYTES + length + 1);
    CLEANUP_FREE char *kept = length ? img_strdup(name) : NULL, *kept_format = NULL;
    if (!bytes || (length && !kept))
        return -ENOMEM;
    describe_backing(&changed, name ? name : "", format);
    qed_encode_header(&changed, bytes);
    memcpy(bytes + QED_HEADER_BYTES, name ? name : "", length);
    if (name && changed.features & QED_BACKING_NO_PROBE && !(kept_format = img_strdup("raw")))
        return -ENOMEM;
    if ((status = qed_flush(image)) < 0 || (status = img_barrier(image)) < 0 ||
        (status = img_pwrite(image->file, bytes, 0, QED_HEADER_BYTES + length)) < 0)
        return status;
    s->h = changed;
    free(image->backing_name);
    free(image->backing_format);
    image->backing_name = kept;
    image->backing_format = kept_format;
    kept = kept_format = NULL;
    return img_barrier(image);
}
