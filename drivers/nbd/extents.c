/* SPDX-License-Identifier: MIT */
/* The server's answers about the map.  Specification: doc/proto.md, "Metadata querying". */
#include "nbd.h"
#include "../../libimg/util/checked.h"
#include <string.h>

/*
 * The bits are those of base:allocation.  Others are shown as if they were, as qemu-img does; but nothing is known
 * about the content then.
 */
static void describe(uint64_t flags, bool content, struct img_extent *extent)
{
    bool hole = flags & LIBNBD_STATE_HOLE, zero = flags & LIBNBD_STATE_ZERO;

    extent->kind = zero && content ? IMG_ZERO : IMG_DATA;
    extent->stored = zero && content && !hole;
    extent->marked_zero = zero && !content;
    extent->absent = hole && !zero;
    extent->host_valid = true;
}

/* qemu:allocation-depth has a number: 0 not allocated, 1 here, 2 and more below. */
static uint64_t depth_as_flags(uint64_t depth)
{
    return img_min(depth, 2);
}

void nbd_add_extent(struct nbd_request *request, uint64_t offset, uint64_t length, uint64_t flags)
{
    struct img_extent *extent;

    if (request->count == request->room)
        return;
    extent = &request->extents[request->count++];
    *extent = (struct img_extent){ .offset = offset, .length = length, .host = offset };
    describe(strcmp(request->context, "qemu:allocation-depth") == 0 ? depth_as_flags(flags) : flags,
             strcmp(request->context, LIBNBD_CONTEXT_BASE_ALLOCATION) == 0, extent);
}

/* A server may answer more than was asked for, or what makes no sense. */
int nbd_judge_extents(struct img *image, uint64_t offset, struct nbd_request *request)
{
    uint64_t size = ((const struct nbd *)image->state)->export.size;

    for (size_t i = 0; i < request->count; i++) {
        struct img_extent *extent = &request->extents[i];
        if (extent->length == 0 || extent->offset >= size)
            return i ? (int)i : -EIO;
        extent->length = img_min(extent->length, size - extent->offset);
        extent->file = image;
    }
    return request->count && request->extents[0].offset == offset ? (int)request->count : -EIO;
}
