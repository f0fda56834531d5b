/* SPDX-License-Identifier: MIT */
/*
 * bat.c - entries of the block allocation table, whose pieces are read when they are needed, up to a bounded number.
 * [MS-VHDX] 2.5 "BAT".
 *
 * After each chunk of payload block entries comes one for a sector bitmap block.  Changes are written in pages of 4
 * KiB, through the log (journal.c).
 */
#include "vhdx.h"

enum { PIECE = VHDX_PIECE, MAX_LOADED = 256 };
#define ENTRY_BITS (VHDX_OFFSET_MASK | VHDX_STATE_MASK)

/* With the lock held throughout, also in an armed call. */
static int commit_at_once(struct img *image)
{
    unsigned left = img_disarm(image);
    int ret = vhdx_commit(image);

    img_rearm(image, left);
    return ret;
}

/* One that is not needed goes; there may be none, while all of them wait for data. */
static int make_room(struct img *image)
{
    struct vhdx *s = vhdx_state(image);

    if (s->loaded < MAX_LOADED)
        return 0;
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < s->piece_count; i++) {
            struct vhdx_piece *victim = &s->pieces[s->next_victim++ % s->piece_count];
            if (!victim->bytes || victim->dirty || victim->leaving || victim->reserved)
                continue;
            free(victim->bytes);
            victim->bytes = NULL;
            s->loaded--;
            return 0;
        }
        /* (whoever writes them now does so without us) */
        int ret = s->committing ? 0 : commit_at_once(image);
        if (ret < 0)
            return ret;
    }
    return 0;
}

static int read_piece(struct img *image, uint64_t number, bool aside, uint8_t *bytes)
{
    struct vhdx *s = vhdx_state(image);
    unsigned left = 0;

    IMG_EVENT(image->file, l2_load);
    if (aside)
        left = img_step_out(image);
    int ret = vhdx_read(image, bytes, s->bat_offset + number * PIECE, PIECE);
    if (aside)
        img_step_in(image, left);
    /* Bytes after the end of the table are not changed. */
    for (uint64_t at = 0; ret == 0 && at < PIECE && number * PIECE + at < s->entries * 8; at += 8)
        img_put_le64(bytes + at, img_get_le64(bytes + at) & ENTRY_BITS);
    return ret;
}

/*
 * Read it with the lock released, if allowed: then another thread may have been faster, or may have needed it at
 * once.
 */
static int load(struct img *image, uint64_t number, bool aside)
{
    struct vhdx *s = vhdx_state(image);
    struct vhdx_piece *piece = &s->pieces[number];
    struct img_loading loading = { .bytes = malloc(PIECE) };

    if (!loading.bytes)
        return -ENOMEM;
    if (piece->loading)
        piece->loading->dropped = true;
    piece->loading = &loading;
    int ret = read_piece(image, number, aside, loading.bytes);
    if (!loading.dropped)
        piece->loading = NULL;
    if (ret < 0 || loading.dropped) {
        free(loading.bytes);
    } else {
        piece->bytes = loading.bytes;
        s->loaded++;
    }
    if (!aside)
        return ret;
    img_table_arrived(image);
    return ret < 0 && !loading.dropped ? ret : IMG_LOOK_AGAIN;
}

/* Get the piece of an entry.  `looks`: nothing has been changed yet. */
static int get_piece(struct img *image, uint64_t index, bool looks, struct vhdx_piece **piece)
{
    bool waits = looks && img_may_wait(image);

    *piece = &vhdx_state(image)->pieces[index * 8 / PIECE];
    if ((*piece)->bytes)
        return 0;
    if ((*piece)->loading && waits)
        return img_wait_for_table(image);
    int ret = make_room(image);
    return ret < 0 ? ret : load(image, index * 8 / PIECE, waits);
}

static int get_entry(struct img *image, uint64_t index, uint64_t *entry)
{
    struct vhdx_piece *piece;
    int ret = get_piece(image, index, true, &piece);

    if (ret == 0)
        *entry = img_get_le64(piece->bytes + index * 8 % PIECE);
    return ret;
}

int vhdx_bat_get(struct img *image, uint64_t block, uint64_t *entry)
{
    return get_entry(image, vhdx_bat_index(vhdx_state(image), block), entry);
}

int vhdx_bat_get_bitmap(struct img *image, uint64_t block, uint64_t *entry)
{
    uint64_t chunk = block >> vhdx_state(image)->ratio_bits, ratio = 1ull << vhdx_state(image)->ratio_bits;

    return get_entry(image, chunk * (ratio + 1) + ratio, entry);
}

int vhdx_bat_put(struct img *image, uint64_t block, uint64_t entry)
{
    struct vhdx *s = vhdx_state(image);
    uint64_t index = vhdx_bat_index(s, block);
    struct vhdx_piece *piece;
    int ret = get_piece(image, index, false, &piece);

    if (ret < 0)
        return ret;
    uint8_t *at = piece->bytes + index * 8 % PIECE;
    if (img_get_le64(at) & VHDX_RESERVED)
        piece->reserved--;
    if (entry & VHDX_RESERVED) {
        piece->reserved++;
    } else {
        piece->dirty |= (uint16_t)(1u << index * 8 % PIECE / VHDX_SECTOR);
        s->dirty = true;
    }
    img_put_le64(at, entry);
    return 0;
}
