/* SPDX-License-Identifier: MIT */
/* The "Format specific information" of a qcow2 image. */
#include "qcow2.h"

static void put_bitmaps(const struct qcow2 *s, struct img_doc *data)
{
    if (s->bitmaps.count == 0)
        return;

    struct img_doc *list = img_doc_array();
    for (size_t i = 0; i < s->bitmaps.count; i++) {
        const struct qcow2_bitmap *bitmap = &s->bitmaps.at[i];
        struct img_doc *one = img_doc_object(), *flags = img_doc_array();

        if (bitmap->flags & QCOW2_BITMAP_IN_USE)
            img_doc_append(flags, img_doc_string("in-use"));
        if (bitmap->flags & QCOW2_BITMAP_AUTO)
            img_doc_append(flags, img_doc_string("auto"));
        img_doc_put(one, "flags", flags);
        img_doc_put_string(one, "name", bitmap->name);
        img_doc_put_uint(one, "granularity", 1ull << bitmap->granularity_bits);
        img_doc_append(list, one);
    }
    img_doc_put(data, "bitmaps", list);
}

int qcow2_info(struct img *image, struct img_doc *data, struct img_error *err)
{
    const struct qcow2 *s = qcow2_state(image);
    const struct qcow2_header *h = &s->h;

    (void)err;
    img_doc_put_string(data, "compat", h->version < 3 ? "0.10" : "1.1");
    img_doc_put_string(data, "compression-type", h->compression == QCOW2_ZSTD ? "zstd" : "zlib");
    if (h->version >= 3) {
        img_doc_put_bool(data, "lazy-refcounts", h->compatible & QCOW2_COMPAT_LAZY_REFCOUNTS);
        put_bitmaps(s, data);
    }
    img_doc_put_uint(data, "refcount-bits", s->refcount_bits);
    if (h->version >= 3 && s->data_file_name)
        img_doc_put_string(data, "data-file", s->data_file_name);
    qcow2_put_encryption(s, data);
    if (h->version < 3)
        return 0;
    if (h->incompatible & QCOW2_INCOMPAT_DATA_FILE)
        img_doc_put_bool(data, "data-file-raw", h->autoclear & QCOW2_AUTOCLEAR_DATA_FILE_RAW);
    img_doc_put_bool(data, "corrupt", h->incompatible & QCOW2_INCOMPAT_CORRUPT);
    img_doc_put_bool(data, "extended-l2", s->subclusters > 1);
    return 0;
}
