/* SPDX-License-Identifier: MIT */
/*
 * Checks a qed image.
 * Specification: "Consistency checking".
 *
 * Every cluster of the file has one user: the header, the L1 table, an L2 table or data.  An entry that points
 * outside the file is repaired by clearing it.  A cluster with two users is not repaired, nor is a leaked one: there
 * is no free list to put it on.
 */
#include "qed.h"

#include <string.h>

enum { CHUNK = 1 << 20 };

struct check {
    struct img *image;
    const struct qed *s;
    struct img_check *result;
    bool repair;
    uint64_t clusters;              /* number of whole clusters in the file */
    uint8_t *used;                  /* one bit per cluster */
};

/* Returns false if one of them is already in use. */
static bool take(struct check *check, uint64_t offset, uint64_t count)
{
    uint64_t first = offset / check->s->h.cluster_size;
    bool free_before = true;

    for (uint64_t i = first; i < first + count && i < check->clusters; i++) {
        uint8_t bit = (uint8_t)(1u << (i & 7));
        if (check->used[i >> 3] & bit) {
            check->result->corruptions++;
            free_before = false;
        }
        check->used[i >> 3] |= bit;
    }
    return free_before;
}

/* Clear an invalid entry; it still counts as an error. */
static bool mend(struct check *check, uint8_t *entry)
{
    check->result->corruptions++;
    if (!check->repair)
        return false;
    img_put_le64(entry, QED_UNALLOCATED);
    check->result->corruptions_fixed++;
    return true;
}

/* ---- Reading tables --------------------------------------------------------------------- */

struct piece {
    uint64_t offset;
    uint8_t *bytes;
    size_t length;
    bool changed;
};

static int read_piece(struct check *check, uint64_t table, uint64_t done, struct piece *piece)
{
    piece->offset = table + done;
    piece->length = (size_t)img_min(check->s->table_bytes - done, CHUNK);
    piece->changed = false;
    return img_pread(check->image->file, piece->bytes, piece->offset, piece->length);
}

static int write_piece(struct check *check, const struct piece *piece)
{
    return piece->changed ? img_pwrite(check->image->file, piece->bytes, piece->offset, piece->length) : 0;
}

static int start_piece(const struct check *check, struct piece *piece)
{
    memset(piece, 0, sizeof *piece);
    piece->bytes = malloc((size_t)img_min(check->s->table_bytes, CHUNK));
    return piece->bytes ? 0 : -ENOMEM;
}

/* ---- The walk ----------------------------------------------------------------------------- */

static void check_data(struct check *check, struct piece *piece, uint64_t *last)
{
    const struct qed *s = check->s;

    for (size_t at = 0; at < piece->length; at += QED_ENTRY) {
        uint64_t offset = img_get_le64(piece->bytes + at);
        if (offset == QED_UNALLOCATED || offset == QED_ZERO)
            continue;
        check->result->allocated_clusters++;
        if (*last && offset != *last + s->h.cluster_size)
            check->result->fragmented_clusters++;
        *last = offset;
        if (qed_valid_cluster(s, offset))
            take(check, offset, 1);
        else
            piece->changed |= mend(check, piece->bytes + at);
    }
}

static int check_l2(struct check *check, uint64_t table)
{
    CLEANUP_FREE uint8_t *bytes = NULL;
    struct piece piece;
    uint64_t last = 0;
    int status = start_piece(check, &piece);

    bytes = piece.bytes;
    for (uint64_t done = 0; done < check->s->table_bytes && status == 0; done += piece.length) {
        if ((status = read_piece(check, table, done, &piece)) < 0)
            break;
        check_data(check, &piece, &last);
        status = write_piece(check, &piece);
    }
    return status;
}

static int check_tables(struct check *check, struct piece *piece)
{
    const struct qed *s = check->s;
    int status = 0;

    for (size_t at = 0; at < piece->length && status == 0; at += QED_ENTRY) {
        uint64_t table = img_get_le64(piece->bytes + at);
        if (table == QED_UNALLOCATED)
            continue;
        if (!qed_valid_table(s, table))
            piece->changed |= mend(check, piece->bytes + at);
        else if (take(check, table, s->h.table_size))
            status = check_l2(check, table);
    }
    return status;
}

static int check_l1(struct check *check)
{
    CLEANUP_FREE uint8_t *bytes = NULL;
    struct piece piece;
    int status = start_piece(check, &piece);

    bytes = piece.bytes;
    for (uint64_t done = 0; done < check->s->table_bytes && status == 0; done += piece.length) {
        if ((status = read_piece(check, check->s->h.l1_offset, done, &piece)) < 0 ||
            (status = check_tables(check, &piece)) < 0)
            break;
        status = write_piece(check, &piece);
    }
    return status;
}

static void count_leaks(struct check *check)
{
    for (uint64_t i = 0; i < check->clusters; i++)
        check->result->leaks += !(check->used[i >> 3] >> (i & 7) & 1);
}

int qed_check(struct img *image, unsigned repair, struct img_check *result, struct img_error *err)
{
    struct qed *s = qed_state(image);
    uint64_t end = s->end;
    /* (elsewhere the last sector need not be whole) */
    s->end = img_min(end, img_align_down(img_length(image->file, true), s->h.cluster_size));
    struct check check = { .image = image, .s = s, .result = result, .repair = repair != 0,
                           .clusters = s->end / s->h.cluster_size };
    CLEANUP_FREE uint8_t *used = calloc(1, (size_t)(check.clusters / 8 + 1));
    int status;

    /* The walk bypasses the cached pages. */
    check.used = used;
    status = used ? qed_flush(image) : -ENOMEM;
    if (status == 0) {
        img_pages_forget(s->l1);
        img_pages_forget(s->l2);
        result->has_clusters = true;
        result->total_clusters = img_div_up(s->h.size, s->h.cluster_size);
        take(&check, 0, s->h.header_size);
        take(&check, s->h.l1_offset, s->h.table_size);
        status = check_l1(&check);
    }
    if (status == 0)
        count_leaks(&check);
    s->end = end;
    return status < 0 ? img_error_errno(err, -status, "Check failed") : 0;
}
