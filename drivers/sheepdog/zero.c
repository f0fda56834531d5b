/* SPDX-License-Identifier: MIT */
/*
 * Zeroes without writing them, and what is given back: whole objects.  Our own is discarded.  In the place of one that
 * belongs to a snapshot there is a new one, of which only the first sector is written.
 */
#include "sheepdog.h"
#include "../../libimg/util/checked.h"

enum { SECTOR = 512 };
static uint8_t zeroes[64 << 10];    /* (not const: then the file does not hold them) */

/* Does the piece reach from the start of its object to its end, or to the end of the disk? */
static bool is_whole(const struct sheepdog *s, struct sheepdog_piece piece)
{
    uint64_t start = (uint64_t)piece.object << s->vdi.shift, end = start + sheepdog_object_size(&s->vdi);

    return piece.within == 0 && start + piece.length >= img_min(end, sheepdog_size(s));
}

/* The server strikes it from the table of owners, and then removes it.  (It is gone already if it is asked twice.) */
static int discard_object(struct sheepdog *s, uint32_t object)
{
    const struct sheepdog_object words = { .id = sheepdog_object_id(s->vdi.id, object) };
    struct sheepdog_request r = { .changes = true };
    int ret;

    if (__atomic_load_n(&s->no_discard, __ATOMIC_RELAXED))
        return -ENOTSUP;
    sheepdog_put_object(&r, SHEEPDOG_DISCARD_OBJECT, 0, &words);
    ret = sheepdog_run(s, &r);
    if (ret == 0 && r.result == SHEEPDOG_INVALID) {
        __atomic_store_n(&s->no_discard, true, __ATOMIC_RELAXED);
        return -ENOTSUP;
    }
    if (ret < 0 || r.result != SHEEPDOG_NO_OBJECT)
        ret = sheepdog_tell(s, &r, ret, "discard", words.id);
    if (ret == 0)
        sheepdog_set_owner(s, object, false);
    return ret;
}

static int write_zeroes(struct sheepdog *s, struct sheepdog_piece piece)
{
    int ret = 0;

    while (piece.length && ret == 0) {
        struct sheepdog_piece some = piece;
        some.length = (uint32_t)img_min(piece.length, sizeof zeroes);
        ret = sheepdog_owner(s, piece.object) == s->vdi.id ? sheepdog_overwrite(s, some, zeroes)
                                                           : sheepdog_make(s, some, zeroes, true);
        piece.within += some.length;
        piece.length -= some.length;
    }
    return ret;
}

static int zero_held(struct sheepdog *s, struct sheepdog_piece piece, bool may_write)
{
    uint32_t owner = sheepdog_owner(s, piece.object);
    const struct sheepdog_piece sector = { .object = piece.object, .length = SECTOR };

    if (!owner)
        return 0;
    if (!is_whole(s, piece))
        return may_write ? write_zeroes(s, piece) : -ENOTSUP;
    return owner == s->vdi.id ? discard_object(s, piece.object) : sheepdog_make(s, sector, zeroes, false);
}

static int discard_held(struct sheepdog *s, struct sheepdog_piece piece)
{
    bool own = sheepdog_owner(s, piece.object) == s->vdi.id;

    return own && is_whole(s, piece) ? discard_object(s, piece.object) : 0;
}

int sheepdog_zero(struct sheepdog *s, uint64_t offset, uint64_t length, bool may_write)
{
    int ret = 0;

    while (length && ret == 0) {
        struct sheepdog_piece piece = sheepdog_first_piece(s, offset, length);
        struct img_range range;
        img_range_acquire(&s->objects, &range, piece.object, (uint64_t)piece.object + 1, true);
        ret = zero_held(s, piece, may_write);
        img_range_release(&s->objects, &range);
        offset += piece.length;
        length -= piece.length;
    }
    return ret;
}

int sheepdog_discard(struct sheepdog *s, uint64_t offset, uint64_t length)
{
    int ret = 0;

    while (length && ret == 0) {
        struct sheepdog_piece piece = sheepdog_first_piece(s, offset, length);
        struct img_range range;
        img_range_acquire(&s->objects, &range, piece.object, (uint64_t)piece.object + 1, true);
        ret = discard_held(s, piece);
        img_range_release(&s->objects, &range);
        offset += piece.length;
        length -= piece.length;
    }
    return ret;
}

/* ---- The opposite --------------------------------------------------------------------------------- */

/* A copy of one sector over itself makes the server copy the rest.  (nobody else uses the node meanwhile) */
static int copy_object(struct sheepdog *s, uint32_t object)
{
    const struct sheepdog_piece sector = { .object = object, .length = SECTOR };
    uint8_t bytes[SECTOR];
    int ret = sheepdog_read(s, bytes, (uint64_t)object << s->vdi.shift, sizeof bytes);

    return ret < 0 ? ret : sheepdog_make(s, sector, bytes, true);
}

int sheepdog_allocate(struct sheepdog *s, uint64_t offset, uint64_t end)
{
    uint64_t size = sheepdog_object_size(&s->vdi);
    int ret = 0;

    for (uint64_t at = img_align_down(offset, size); at < end && ret == 0; at += size) {
        struct sheepdog_piece piece = sheepdog_first_piece(s, at, img_min(size, end - at));
        uint32_t owner = sheepdog_owner(s, piece.object);
        if (!owner)
            ret = write_zeroes(s, piece);
        else if (owner != s->vdi.id)
            ret = copy_object(s, piece.object);
    }
    return ret;
}
