/* SPDX-License-Identifier: MIT */
/* Reading metadata, piece by piece or ahead. */
#include "qcow2.h"
#include "../../libimg/util/scratch.h"

/* Nothing lies behind this: qemu-img's limit of any file. */
#define MAX_OFFSET (INT64_MAX - (1ull << 30) + 1)

/*
 * Each request of a storage that is far away is a round trip.  So opening reads ahead; where that fails the pieces are
 * read for themselves, and the one that cannot be read is named.
 */
void qcow2_read_ahead(struct img *image, uint64_t offset, size_t length)
{
    struct qcow2 *s = qcow2_state(image);

    if (s->ahead.bytes && offset >= s->ahead.offset && img_within(offset - s->ahead.offset, 1, s->ahead.length))
        return;
    qcow2_forget_ahead(s);
    if (!img_within(offset, length, MAX_OFFSET))
        return;
    s->ahead.bytes = img_scratch_get(length);
    s->ahead.offset = offset;
    s->ahead.length = length;
    if (s->ahead.bytes && img_pread_padded(image->file, s->ahead.bytes, offset, length) < 0)
        qcow2_forget_ahead(s);
}

void qcow2_forget_ahead(struct qcow2 *s)
{
    img_scratch_put(s->ahead.bytes);
    s->ahead.bytes = NULL;
}

int qcow2_read(struct img *image, void *buffer, uint64_t offset, size_t length)
{
    const struct qcow2 *s = qcow2_state(image);

    if (s->ahead.bytes && offset >= s->ahead.offset && img_within(offset - s->ahead.offset, length, s->ahead.length)) {
        memcpy(buffer, s->ahead.bytes + (offset - s->ahead.offset), length);
        return 0;
    }
    return img_within(offset, length, MAX_OFFSET) ? img_pread_padded(image->file, buffer, offset, length) : -EIO;
}

int qcow2_read_table(struct img *image, void *buffer, uint64_t offset, size_t length)
{
    int status = qcow2_read(image, buffer, offset, length);

    return status < 0 ? status : img_check_table(image, image->file, offset, length);
}
