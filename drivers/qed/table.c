/* SPDX-License-Identifier: MIT */
/*
 * L1 and L2 tables.
 * Specification: "Tables", "Data cluster", "Write" under "Operations".
 *
 * A table may be 1 GiB long, so it is cached by pages.  Data are durable before an L2 table refers to them, and L2
 * tables before the L1 table does.  Before anything is allocated, the header is marked as needing a check.
 */
#include "qed.h"
#include "../../libimg/io/waiting.h"

enum { PAGE = 64 << 10, L1_MEMORY = 1 << 20, L2_MEMORY = 16 << 20 };

/* ---- Allocation ------------------------------------------------------------------- */

static int mark_unchecked(struct img *image)
{
    struct qed *s = qed_state(image);

    if (s->h.features & QED_NEED_CHECK)
        return 0;
    s->h.features |= QED_NEED_CHECK;
    int status = qed_write_header(image);
    if (status < 0)
        s->h.features &= ~(uint64_t)QED_NEED_CHECK;
    return status;
}

int qed_allocate(struct img *image, uint64_t clusters, uint64_t *offset)
{
    struct qed *s = qed_state(image);
    uint64_t bytes, end, start = s->end;

    /* The file may have unused bytes after the last whole cluster. */
    if (img_size(image->file) > start)
        start = img_max(start, img_align_up(img_size(image->file), s->h.cluster_size));
    if (!img_mul(clusters, s->h.cluster_size, &bytes) || !img_add(start, bytes, &end) || end > INT64_MAX)
        return -EFBIG;
    int status = mark_unchecked(image);
    if (status < 0)
        return status;
    s->end = end;
    *offset = start;
    return 0;
}

/* ---- Reading ------------------------------------------------------------------------ */

static int get(struct img_pages *pages, uint64_t table, uint64_t index, uint64_t *value)
{
    uint8_t *entry;
    int status = img_pages_look(pages, table, index * QED_ENTRY, &entry);

    if (status == 0)
        *value = img_get_le64(entry);
    return status;
}

static int put(struct img_pages *pages, uint64_t table, uint64_t index, uint64_t value)
{
    uint8_t *entry;
    int status = img_pages_entry(pages, table, index * QED_ENTRY, &entry);

    if (status < 0)
        return status;
    img_put_le64(entry, value);
    img_pages_entry_changed(pages, entry, QED_ENTRY);
    return 0;
}

int qed_find_table(struct img *image, uint64_t guest, uint64_t *table)
{
    struct qed *s = qed_state(image);
    int status = get(s->l1, s->h.l1_offset, guest / s->span, table);

    if (status < 0)
        return status;
    if (*table == QED_UNALLOCATED || qed_valid_table(s, *table) || (qed_has_grown(image) && qed_valid_table(s, *table)))
        return 0;
    return qed_is_missing(image, *table, s->table_bytes) ? -IMG_ETRUNCATED : -EINVAL;
}

/* Somebody may write to an image that is read with -U. */
bool qed_has_grown(struct img *image)
{
    struct qed *s = qed_state(image);
    uint64_t before = s->end;

    if (!(image->flags & IMG_RDWR))
        s->end = img_max(before, img_align_down(img_length(image->file, true), s->h.cluster_size));
    return s->end > before;
}

bool qed_is_missing(struct img *image, uint64_t offset, uint64_t length)
{
    const struct qed *s = qed_state(image);

    return s->h.table_size > 1 && img_aligned(offset, s->h.cluster_size) && offset >= s->end &&
           !img_has_bytes(image, image->file, offset, length);
}

int qed_look_for_missing(struct img *image)
{
    const struct qed *s = qed_state(image);

    for (uint64_t guest = 0, table; guest < image->size; guest += s->span) {
        uint64_t left = (img_div_up(image->size, s->span) - guest / s->span) * QED_ENTRY, empty;
        int status = qed_find_table(image, guest, &table);

        if (status == -IMG_ETRUNCATED || status == -EINVAL)
            continue;
        if (status < 0)
            return status;
        if (table) {
            img_has_bytes(image, image->file, table, s->table_bytes);
            continue;
        }
        empty = img_pages_zeroes(s->l1, s->h.l1_offset, guest / s->span * QED_ENTRY, left) / QED_ENTRY;
        guest += empty > 1 ? (empty - 1) * s->span : 0;
    }
    return 0;
}

int qed_get_entry(struct img *image, uint64_t table, uint64_t index, uint64_t *value)
{
    return get(qed_state(image)->l2, table, index, value);
}

int qed_put_entry(struct img *image, uint64_t table, uint64_t index, uint64_t value)
{
    return put(qed_state(image)->l2, table, index, value);
}

/* ---- Writing -------------------------------------------------------------------------- */

/* Beyond the end the file is zero, so a new table exists as soon as the file is long enough. */
int qed_need_table(struct img *image, uint64_t guest, uint64_t *table)
{
    struct qed *s = qed_state(image);
    int status = qed_find_table(image, guest, table);

    if (status < 0 || *table != QED_UNALLOCATED)
        return status;
    if ((status = qed_allocate(image, s->h.table_size, table)) < 0 ||
        (status = img_lengthen_file(image->file, *table + s->table_bytes)) < 0)
        return status;
    return put(s->l1, s->h.l1_offset, guest / s->span, *table);
}

/* L2 tables are durable before the L1 table refers to them. */
static int before_l1(struct img *image)
{
    int status = img_pages_write_aside(qed_state(image)->l2);

    return status < 0 ? status : img_barrier_aside(image);
}

int qed_open_tables(struct img *image)
{
    struct qed *s = qed_state(image);
    uint32_t page_size = (uint32_t)img_min(s->table_bytes, PAGE);

    s->l1 = img_pages_new(image, page_size, L1_MEMORY, before_l1);
    s->l2 = img_pages_new(image, page_size, L2_MEMORY, img_barrier_aside);
    return s->l1 && s->l2 ? 0 : -ENOMEM;
}

int qed_flush(struct img *image)
{
    struct qed *s = qed_state(image);
    int status = img_pages_write_aside(s->l2);

    return status < 0 ? status : img_pages_write_aside(s->l1);
}
