/* SPDX-License-Identifier: MIT */
/*
 * L1 and L2 tables.  Specification: "2-Level Lookups".
 *
 * There is no free list: everything new is appended to the file.  Data are durable before an L2 table refers to
 * them, and L2 tables before the L1 table does.
 */
#include "qcow.h"
#include "../../libimg/io/waiting.h"

enum { L1_PAGE = 4096, L1_MEMORY = 1 << 20, L2_MEMORY = 16 << 20 };

/* ---- Allocation ------------------------------------------------------------------- */

int qcow_allocate(struct img *image, uint64_t bytes, uint64_t unit, uint64_t *offset)
{
    struct qcow *s = qcow_state(image);
    uint64_t start = img_align_up(img_max(s->end, img_size(image->file)), unit), end;

    if (!img_add(start, bytes, &end) || end > INT64_MAX)
        return -EFBIG;
    s->end = end;
    *offset = start;
    return 0;
}

/* ---- Reading ------------------------------------------------------------------------ */

int qcow_find_table(struct img *image, uint64_t guest, uint64_t *table)
{
    struct qcow *s = qcow_state(image);
    uint8_t *entry;
    int status = img_pages_look(s->l1, s->h.l1_offset, guest / s->span * QCOW_ENTRY, &entry);

    if (status < 0)
        return status;
    *table = img_get_be64(entry);
    return *table > INT64_MAX - (uint64_t)s->l2_bytes ? -EIO : 0;
}

int qcow_look_for_missing(struct img *image)
{
    const struct qcow *s = qcow_state(image);

    for (uint64_t guest = 0, table; guest < image->size; guest += s->span) {
        uint64_t left = (img_div_up(image->size, s->span) - guest / s->span) * QCOW_ENTRY, empty;
        int status = qcow_find_table(image, guest, &table);

        if (status < 0 && status != -EIO)
            return status;
        if (status == 0 && table)
            img_has_bytes(image, image->file, table, s->l2_bytes);
        empty = status == 0 && !table ? img_pages_zeroes(s->l1, s->h.l1_offset, guest / s->span * QCOW_ENTRY, left) : 0;
        guest += empty > QCOW_ENTRY ? (empty / QCOW_ENTRY - 1) * s->span : 0;
    }
    return 0;
}

int qcow_get_entry(struct img *image, uint64_t table, uint64_t index, uint64_t *value)
{
    uint8_t *entry;
    int status = img_pages_look(qcow_state(image)->l2, table, index * QCOW_ENTRY, &entry);

    if (status == 0)
        *value = img_get_be64(entry);
    return status;
}

/* ---- Writing -------------------------------------------------------------------------- */

int qcow_put_entry(struct img *image, uint64_t table, uint64_t index, uint64_t value)
{
    struct qcow *s = qcow_state(image);
    uint8_t *entry;
    int status = img_pages_entry(s->l2, table, index * QCOW_ENTRY, &entry);

    if (status < 0)
        return status;
    img_put_be64(entry, value);
    img_pages_entry_changed(s->l2, entry, QCOW_ENTRY);
    return 0;
}

/* Beyond the end the file is zero, so a new table exists as soon as the file is long enough. */
int qcow_need_table(struct img *image, uint64_t guest, uint64_t *table)
{
    struct qcow *s = qcow_state(image);
    uint8_t *entry;
    int status = qcow_find_table(image, guest, table);

    if (status < 0 || *table != 0)
        return status;
    if ((status = qcow_allocate(image, s->l2_bytes, s->cluster_size, table)) < 0 ||
        (status = img_lengthen_file(image->file, *table + s->l2_bytes)) < 0 ||
        (status = img_pages_entry(s->l1, s->h.l1_offset, guest / s->span * QCOW_ENTRY, &entry)) < 0)
        return status;
    img_put_be64(entry, *table);
    img_pages_entry_changed(s->l1, entry, QCOW_ENTRY);
    return 0;
}

/* L2 tables are durable before the L1 table refers to them. */
static int before_l1(struct img *image)
{
    int status = img_pages_write_aside(qcow_state(image)->l2);

    return status < 0 ? status : img_barrier_aside(image);
}

int qcow_open_tables(struct img *image)
{
    struct qcow *s = qcow_state(image);

    s->l1 = img_pages_new(image, L1_PAGE, L1_MEMORY, before_l1);
    s->l2 = img_pages_new(image, s->l2_bytes, L2_MEMORY, img_barrier_aside);
    return s->l1 && s->l2 ? 0 : -ENOMEM;
}

int qcow_flush(struct img *image)
{
    struct qcow *s = qcow_state(image);
    int status = img_pages_write_aside(s->l2);

    return status < 0 ? status : img_pages_write_aside(s->l1);
}
