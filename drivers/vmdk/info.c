/* SPDX-License-Identifier: MIT */
/* info.c - the "Format specific information" of a vmdk image. */
#include "vmdk.h"

static struct img_doc *describe(const struct vmdk_extent *extent)
{
    struct img_doc *one = img_doc_object();

    if (extent->compressed)
        img_doc_put_bool(one, "compressed", true);
    img_doc_put_uint(one, "virtual-size", extent->end - extent->start);
    img_doc_put_string(one, "filename", extent->file ? img_filename(extent->file) : "");
    if (extent->grain)
        img_doc_put_uint(one, "cluster-size", extent->grain);
    img_doc_put_string(one, "format", extent->type);
    return one;
}

int vmdk_info(struct img *image, struct img_doc *data, struct img_error *err)
{
    const struct vmdk *s = vmdk_state(image);
    struct img_doc *list = img_doc_array();

    (void)err;
    img_doc_put_uint(data, "cid", s->cid);
    img_doc_put_uint(data, "parent-cid", s->parent_cid);
    img_doc_put_string(data, "create-type", s->create_type);
    for (size_t i = 0; i < s->extents.count; i++)
        img_doc_append(list, describe(&s->extents.at[i]));
    img_doc_put(data, "extents", list);
    return 0;
}
