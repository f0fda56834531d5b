/* SPDX-License-Identifier: MIT */
/*
 * The bytes of the disk.
 *
 * A new object is written first and entered into the table of owners then: a client or a cluster that dies in between
 * leaves an object that nobody reads.  Making an object replaces one that is there.  So whoever makes it has it alone
 * until it is entered, and all who write to it later find it there.
 */
#include "sheepdog.h"
#include "../../libimg/util/checked.h"
#include "../../libimg/util/endian.h"
#include <string.h>

uint64_t sheepdog_object_id(uint32_t owner, uint32_t object)
{
    return (uint64_t)owner << 32 | object;
}

struct sheepdog_piece sheepdog_first_piece(const struct sheepdog *s, uint64_t offset, uint64_t length)
{
    uint64_t size = sheepdog_object_size(&s->vdi), within = offset & (size - 1);

    return (struct sheepdog_piece){ .object = (uint32_t)(offset >> s->vdi.shift), .within = (uint32_t)within,
                                    .length = (uint32_t)img_min(length, size - within) };
}

/* ---- Reading ------------------------------------------------------------------------------------ */

static int read_object(struct sheepdog *s, struct sheepdog_piece piece, void *to)
{
    uint32_t owner = sheepdog_owner(s, piece.object);
    const struct sheepdog_object object = { .id = sheepdog_object_id(owner, piece.object), .offset = piece.within };
    struct sheepdog_request r = { .receive = to, .room = piece.length, .whole = true };

    if (!owner) {
        memset(to, 0, piece.length);
        return 0;
    }
    sheepdog_put_object(&r, SHEEPDOG_READ_OBJECT, 0, &object);
    return sheepdog_do(s, &r, "read", object.id);
}

/* (an object must not be discarded while it is read) */
static int read_piece(struct sheepdog *s, struct sheepdog_piece piece, void *to)
{
    struct img_range range;
    int ret;

    img_range_acquire(&s->objects, &range, piece.object, (uint64_t)piece.object + 1, false);
    ret = read_object(s, piece, to);
    img_range_release(&s->objects, &range);
    return ret;
}

/* Is there a table entry for these bytes?  (reads may reach beyond the end by less than a sector) */
static uint64_t there_is(const struct sheepdog *s, uint64_t offset, uint64_t length)
{
    uint64_t end = sheepdog_most_size(s->vdi.shift);

    return offset >= end ? 0 : img_min(length, end - offset);
}

int sheepdog_read(struct sheepdog *s, void *buffer, uint64_t offset, uint64_t length)
{
    uint64_t there = there_is(s, offset, length);
    char *to = buffer;
    int ret = 0;

    memset(to + there, 0, length - there);
    while (there && ret == 0) {
        struct sheepdog_piece piece = sheepdog_first_piece(s, offset, there);
        ret = read_piece(s, piece, to);
        to += piece.length;
        offset += piece.length;
        there -= piece.length;
    }
    return ret;
}

/* ---- Writing ------------------------------------------------------------------------------------- */

static int send(struct sheepdog *s, enum sheepdog_op op, unsigned flags, struct sheepdog_piece piece, const void *bytes,
                uint32_t copy_from)
{
    const struct sheepdog_object object = {
        .id = sheepdog_object_id(s->vdi.id, piece.object), .offset = piece.within, .copies = s->vdi.copies,
        .copy_policy = s->vdi.copy_policy,
        .copy_from = copy_from ? sheepdog_object_id(copy_from, piece.object) : 0,
    };
    struct sheepdog_request r = { .send = bytes, .send_length = piece.length, .changes = true };

    sheepdog_put_object(&r, op, SHEEPDOG_WRITE | flags, &object);
    return sheepdog_do(s, &r, "write", object.id);
}

int sheepdog_overwrite(struct sheepdog *s, struct sheepdog_piece piece, const void *bytes)
{
    return send(s, SHEEPDOG_WRITE_OBJECT, 0, piece, bytes, 0);
}

int sheepdog_make(struct sheepdog *s, struct sheepdog_piece piece, const void *bytes, bool copy)
{
    uint32_t owner = copy ? sheepdog_owner(s, piece.object) : 0;
    uint8_t entry[4];
    int ret;

    ret = send(s, SHEEPDOG_MAKE_OBJECT, owner ? SHEEPDOG_COPY : 0, piece, bytes, owner);
    if (ret < 0)
        return ret;
    img_put_le32(entry, s->vdi.id);
    ret = sheepdog_inode_write(s, SHEEPDOG_AT_OWNERS + (uint64_t)piece.object * sizeof entry, entry, sizeof entry);
    if (ret == 0)
        sheepdog_set_owner(s, piece.object, true);
    return ret;
}

static bool is_own(const struct sheepdog *s, uint32_t object)
{
    return sheepdog_owner(s, object) == s->vdi.id;
}

/* Hold the object: with others if it is our own, else alone. */
static void hold(struct sheepdog *s, uint32_t object, struct img_range *range)
{
    img_range_acquire(&s->objects, range, object, (uint64_t)object + 1, false);
    if (is_own(s, object))
        return;
    img_range_release(&s->objects, range);
    img_range_acquire(&s->objects, range, object, (uint64_t)object + 1, true);
}

static int write_piece(struct sheepdog *s, struct sheepdog_piece piece, const void *bytes)
{
    struct img_range range;
    int ret;

    hold(s, piece.object, &range);
    if (is_own(s, piece.object))
        ret = sheepdog_overwrite(s, piece, bytes);
    else
        ret = sheepdog_make(s, piece, bytes, piece.length < sheepdog_object_size(&s->vdi));
    img_range_release(&s->objects, &range);
    return ret;
}

int sheepdog_write(struct sheepdog *s, const void *bytes, uint64_t offset, uint64_t length)
{
    const char *from = bytes;
    int ret;

    if (there_is(s, offset, length) < length)
        return -EFBIG;
    ret = sheepdog_inode_grow(s, offset + length);
    while (length && ret == 0) {
        struct sheepdog_piece piece = sheepdog_first_piece(s, offset, length);
        ret = write_piece(s, piece, from);
        from += piece.length;
        offset += piece.length;
        length -= piece.length;
    }
    return ret;
}

/* Servers of today write through, and do not know this request. */
int sheepdog_flush(struct sheepdog *s)
{
    const struct sheepdog_object object = { .id = SHEEPDOG_INODE(s->vdi.id) };
    struct sheepdog_request r = { .stop = -1 };
    int ret;

    if (__atomic_load_n(&s->uncertain, __ATOMIC_RELAXED))
        return -EIO;
    if (__atomic_load_n(&s->no_flush, __ATOMIC_RELAXED))
        return 0;
    sheepdog_put_object(&r, SHEEPDOG_FLUSH_VDI, 0, &object);
    ret = sheepdog_run(s, &r);
    if (ret == 0 && r.result == SHEEPDOG_INVALID) {
        __atomic_store_n(&s->no_flush, true, __ATOMIC_RELAXED);
        return 0;
    }
    return sheepdog_tell(s, &r, ret, "flush", object.id);
}
