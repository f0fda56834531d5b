/* SPDX-License-Identifier: MIT */
/*
 * bat.c - the block allocation table in memory, by pieces of 64 KiB of which a bounded number is kept.
 * [MS-VHDX] 2.5 "BAT".
 *
 * Between the entries of payload blocks there is one of a sector bitmap block after each chunk.  What changed is
 * written by pages of 4 KiB, through the log (journal.c).
 */
#include "vhdx.h"

enum { PIECE = 64 << 10, PAGES = PIECE / VHDX_SECTOR, MAX_LOADED = 256 };
#define ENTRY_BITS (VHDX_OFFSET_MASK | VHDX_STATE_MASK)

int vhdx_bat_init(struct img *image)
{
    struct vhdx *s = vhdx_state(image);

    s->piece_count = (size_t)img_div_up(s->entries * 8, PIECE);
    s->pieces = calloc(s->piece_count ? s->piece_count : 1, sizeof *s->pieces);
    return s->pieces ? 0 : -ENOMEM;
}

void vhdx_bat_free(struct vhdx *s)
{
    for (size_t i = 0; s->pieces && i < s->piece_count; i++)
        free(s->pieces[i].bytes);
    free(s->pieces);
    s->pieces = NULL;
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
            if (!victim->bytes || victim->dirty || victim->reserved)
                continue;
            free(victim->bytes);
            victim->bytes = NULL;
            s->loaded--;
            return 0;
        }
        int ret = vhdx_commit(image);
        if (ret < 0)
            return ret;
    }
    return 0;
}

static int load(struct img *image, uint64_t index, struct vhdx_piece **piece)
{
    struct vhdx *s = vhdx_state(image);
    uint64_t start = index * 8 / PIECE;
    uint8_t *bytes;
    int ret;

    *piece = &s->pieces[start];
    if ((*piece)->bytes)
        return 0;
    ret = make_room(image);
    if (ret < 0)
        return ret;
    bytes = malloc(PIECE);
    if (!bytes)
        return -ENOMEM;
    IMG_EVENT(image->file, l2_load);
    ret = vhdx_read(image, bytes, s->bat_offset + start * PIECE, PIECE);
    if (ret < 0) {
        free(bytes);
        return ret;
    }
    /* What lies behind the table stays as it is. */
    for (uint64_t at = 0; at < PIECE && start * PIECE + at < s->entries * 8; at += 8)
        img_put_le64(bytes + at, img_get_le64(bytes + at) & ENTRY_BITS);
    (*piece)->bytes = bytes;
    s->loaded++;
    return 0;
}

int vhdx_bat_get(struct img *image, uint64_t block, uint64_t *entry)
{
    uint64_t index = vhdx_bat_index(vhdx_state(image), block);
    struct vhdx_piece *piece;
    int ret = load(image, index, &piece);

    if (ret == 0)
        *entry = img_get_le64(piece->bytes + index * 8 % PIECE);
    return ret;
}

int vhdx_bat_put(struct img *image, uint64_t block, uint64_t entry)
{
    struct vhdx *s = vhdx_state(image);
    uint64_t index = vhdx_bat_index(s, block);
    struct vhdx_piece *piece;
    int ret = load(image, index, &piece);

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

bool vhdx_bat_next_dirty(struct vhdx *s, uint64_t *page, uint8_t bytes[VHDX_SECTOR])
{
    for (; *page < (uint64_t)s->piece_count * PAGES; ++*page) {
        const struct vhdx_piece *piece = &s->pieces[*page / PAGES];
        if (!piece->dirty) {
            *page |= PAGES - 1;
            continue;
        }
        if (!(piece->dirty >> *page % PAGES & 1))
            continue;
        memcpy(bytes, piece->bytes + *page % PAGES * VHDX_SECTOR, VHDX_SECTOR);
        for (int at = 0; at < VHDX_SECTOR && *page * VHDX_SECTOR + (uint64_t)at < s->entries * 8; at += 8) {
            uint64_t entry = img_get_le64(bytes + at);
            if (entry & VHDX_RESERVED)
                img_put_le64(bytes + at, entry & VHDX_STATE_MASK);
        }
        return true;
    }
    return false;
}

void vhdx_bat_clean(struct vhdx *s, uint64_t page)
{
    s->pieces[page / PAGES].dirty &= (uint16_t)~(1u << page % PAGES);
}
