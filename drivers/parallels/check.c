/* SPDX-License-Identifier: MIT */
/*
 * Checks and repairs an expandable image: the in-use mark, the data offset, clusters beyond the end of the file,
 * bytes after the last cluster, and clusters with the same place.  The order and the messages are qemu-img's.
 * Specification: "BAT" (rules for entries), "Header".
 */
#include "parallels.h"

struct check {
    struct parallels *p;
    unsigned repair;
    bool quiet;                     /* only count */
    struct img_check *result;
    IMG_VECTOR(uint32_t) twice;     /* clusters that must be moved to another place */
    int failed;                     /* error while collecting them */
};

static const char *verb(const struct check *c, unsigned what)
{
    return c->repair & what ? "Repairing" : "ERROR";
}

/* Count an error.  Returns 1 if it is to be repaired; then the image is marked as in use. */
static int found_error(const struct check *c)
{
    int status = 0;

    c->result->corruptions++;
    if (!(c->repair & IMG_REPAIR_ERRORS))
        return 0;
    status = parallels_begin_change(c->p);
    c->result->corruptions_fixed += status == 0;
    return status < 0 ? status : 1;
}

/* ---- The header -------------------------------------------------------------------- */

static int check_unclean(struct check *c)
{
    int status;

    if (!c->p->unclean)
        return 0;
    if (!c->quiet)
        img_notice(IMG_NOTE, "%s image was not closed correctly", verb(c, IMG_REPAIR_ERRORS));
    status = found_error(c);
    c->p->unclean = status <= 0;
    return status;
}

/* If a cluster lies after the table, but before the data offset in the header, the header is wrong. */
static int look_before_data(struct parallels *p)
{
    uint32_t index;
    uint64_t place;
    int status;

    if (p->data_start == p->table_end)
        return 0;
    for (uint32_t from = 0; (status = parallels_bat_next(p, from, p->entries, &index, &place)) > 0; from = index + 1) {
        if (place >= p->table_end && place + p->cluster <= p->data_start) {
            p->bad_data_off = true;
            p->data_start = p->table_end;
            return 0;
        }
    }
    return status;
}

static int check_data_offset(struct check *c)
{
    int status = look_before_data(c->p);

    if (status < 0 || !c->p->bad_data_off)
        return status;
    if (!c->quiet)
        img_notice(IMG_NOTE, "%s data_off field has incorrect value", verb(c, IMG_REPAIR_ERRORS));
    status = found_error(c);
    if (status > 0)
        parallels_set_data_start(c->p, c->p->data_start);
    return status;
}

/* ---- Clusters beyond the end, bytes after the last ----------------------------------- */

/* *high: the last place inside the file, 0: none; *reach: the end of the image according to the table. */
static int check_outside(struct check *c, uint64_t *high, uint64_t *reach)
{
    struct parallels *p = c->p;
    uint32_t index;
    uint64_t place;
    int status;

    *high = 0;
    *reach = parallels_empty_end(p);
    for (uint32_t from = 0; (status = parallels_bat_next(p, from, p->entries, &index, &place)) > 0; from = index + 1) {
        /* (elsewhere the last sector need not be whole) */
        if (parallels_inside(p, place) &&
            (place + p->cluster <= img_length(p->file, false) || place + p->cluster <= img_length(p->file, true))) {
            *high = img_max(*high, place);
            continue;
        }
        if (!(c->repair & IMG_REPAIR_ERRORS))
            *reach = img_max(*reach, place + p->cluster);
        if (!c->quiet)
            img_notice(IMG_NOTE, "%s cluster %u is outside image", verb(c, IMG_REPAIR_ERRORS), index);
        status = found_error(c);
        if (status > 0)
            status = parallels_bat_put(p, index, 0);
        if (status < 0)
            break;
    }
    return status;
}

static int check_leak(struct check *c, uint64_t end, struct img_error *err)
{
    struct parallels *p = c->p;
    uint64_t size = img_size(p->file), leak = size > end ? size - end : 0;
    int status;

    c->result->image_end_offset = end;
    if (leak == 0)
        return 0;
    if (!c->quiet)
        img_notice(IMG_NOTE, "%s space leaked at the end of the image %llu", verb(c, IMG_REPAIR_LEAKS),
                   (unsigned long long)leak);
    c->result->leaks += img_div_up(leak, p->cluster);
    if (!(c->repair & IMG_REPAIR_LEAKS))
        return 0;
    status = parallels_begin_change(p);
    if (status == 0)
        status = img_resize_file(p->file, end, NULL, err);
    if (status < 0) {
        c->result->check_errors++;
        return status;
    }
    c->result->leaks_fixed += img_div_up(leak, p->cluster);
    return 0;
}

/* ---- Two clusters in one place ---------------------------------------------------------- */

static void note_twice(void *context, uint32_t index)
{
    struct check *c = context;

    if (!c->quiet)
        img_notice(IMG_NOTE, "%s duplicate offset in BAT entry %u", verb(c, IMG_REPAIR_ERRORS), index);
    int status = found_error(c);
    if (status > 0 && !IMG_VECTOR_PUSH(&c->twice, index))
        status = -ENOMEM;
    c->failed = status < 0 ? status : c->failed;
}

static int copy_cluster(struct parallels *p, uint64_t from, uint64_t to)
{
    size_t capacity = (size_t)img_min(p->cluster, 1 << 20);
    CLEANUP_FREE void *bytes = malloc(capacity);
    int status = bytes ? 0 : -ENOMEM;

    for (uint64_t done = 0; done < p->cluster && status == 0; done += capacity) {
        size_t part = (size_t)img_min(capacity, p->cluster - done);
        status = img_pread(p->file, bytes, from + done, part);
        if (status == 0)
            status = img_pwrite(p->file, bytes, to + done, part);
    }
    return status;
}

static int move_away(struct parallels *p, uint32_t index)
{
    uint64_t from, to, one = 1;
    int status = parallels_bat_get(p, index, &from);

    if (status == 0)
        status = parallels_allocate(p, &one, &to);
    if (status == 0)
        status = copy_cluster(p, from, to);
    return status < 0 ? status : parallels_bat_put(p, index, to);
}

static int check_twice(struct check *c)
{
    int status = parallels_find_used(c->p, note_twice, c);

    status = status < 0 ? status : c->failed;
    for (size_t i = 0; i < c->twice.count && status == 0; i++)
        status = move_away(c->p, c->twice.at[i]);
    if (c->twice.count && status == 0)
        status = parallels_trim(c->p);
    free(c->twice.at);
    return status;
}

/* ---- All of it ------------------------------------------------------------------------------- */

static int count_clusters(struct check *c)
{
    struct parallels *p = c->p;
    uint64_t place, expected = 0;
    uint32_t index;
    int status;

    c->result->has_clusters = true;
    c->result->total_clusters = p->entries;
    for (uint32_t from = 0; (status = parallels_bat_next(p, from, p->entries, &index, &place)) > 0; from = index + 1) {
        c->result->allocated_clusters++;
        if (index == from && expected && place != expected)
            c->result->fragmented_clusters++;
        expected = place + p->cluster;
    }
    return status;
}

static int run(struct check *c, struct img_error *err)
{
    struct parallels *p = c->p;
    uint64_t high = 0, reach = 0;
    int status;

    if ((status = check_unclean(c)) < 0 || (status = check_data_offset(c)) < 0 ||
        (status = check_outside(c, &high, &reach)) < 0 ||
        (status = check_leak(c, high ? high + p->cluster : reach, err)) < 0 || (status = check_twice(c)) < 0 ||
        (status = count_clusters(c)) < 0)
        return status;
    return parallels_bat_write(p, false);
}

int parallels_check(struct img *image, unsigned repair, struct img_check *result, struct img_error *err)
{
    struct check c = { .p = parallels_disk(image), .repair = repair, .result = result };

    if (((struct parallels_image *)image->state)->bundle)
        return img_error_set(err, ENOTSUP, "This image format does not support checks");
    int status = run(&c, err);
    if (status < 0 && !err->text)
        img_error_errno(err, -status, "Check failed");
    return status;
}

int parallels_make_sound(struct img *image, struct img_error *err)
{
    struct img_check found = { 0 }, mended = { 0 };
    struct check c = { .p = parallels_disk(image), .quiet = true, .result = &found };
    int status = run(&c, err);

    if (status == 0 && found.corruptions) {
        struct check again = { .p = c.p, .repair = IMG_REPAIR_ERRORS | IMG_REPAIR_LEAKS, .result = &mended };
        status = run(&again, err);
        if (status == 0)
            status = parallels_find_used(c.p, NULL, NULL);
    }
    if (status < 0 || mended.check_errors) {
        img_error_clear(err);
        return img_error_errno(err, status < 0 ? -status : EIO, "Could not repair corrupted image");
    }
    return 0;
}
