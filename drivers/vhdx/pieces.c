/* SPDX-License-Identifier: MIT */
/*
 * pieces.c - the block allocation table in memory, by pieces of 64 KiB, and its pages of 4 KiB on their way to the disk.
 * [MS-VHDX] 2.5 "BAT".  bat.c fills the pieces, journal.c writes the pages.
 */
#include "vhdx.h"

enum { PAGES = VHDX_PIECE_PAGES };

int vhdx_bat_init(struct img *image)
{
    struct vhdx *s = vhdx_state(image);

    s->piece_count = (size_t)img_div_up(s->entries * 8, VHDX_PIECE);
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

static uint16_t bit_of(uint64_t page)
{
    return (uint16_t)(1u << page % PAGES);
}

void vhdx_bat_leaves(struct vhdx *s, uint64_t page)
{
    struct vhdx_piece *piece = &s->pieces[page / PAGES];

    piece->dirty &= (uint16_t)~bit_of(page);
    piece->leaving |= bit_of(page);
}

void vhdx_bat_left(struct vhdx *s, uint64_t page, bool there)
{
    struct vhdx_piece *piece = &s->pieces[page / PAGES];

    piece->leaving &= (uint16_t)~bit_of(page);
    if (!there)
        piece->dirty |= bit_of(page);
}
