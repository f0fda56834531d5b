/* SPDX-License-Identifier: MIT */
/* A new VDI, empty or the clone of a snapshot. */
#include "sheepdog.h"
#include "../../libimg/util/checked.h"
#include "../../libimg/util/cleanup.h"
#include <stdlib.h>
#include <string.h>

enum { MOST_COPIES = 31, MOST_PARITY = 15 };

/* ---- The options --------------------------------------------------------------------------------- */

int sheepdog_take_preallocation(const char *mode, bool *full, struct img_error *err)
{
    *full = mode && strcmp(mode, "full") == 0;
    return *full ? 0 : img_no_preallocation(mode, err);
}

static int bad_redundancy(const char *text, struct img_error *err)
{
    img_error_set(err, EINVAL, "Invalid redundancy '%s'", text);
    img_error_advise(err, "the number of copies, 1 to %d; or X:Y for erasure coding, X parts of data (2, 4, 8 or 16) "
                     "and Y of parity (1 to %d)", MOST_COPIES, MOST_PARITY);
    return -EINVAL;
}

/* A number of one or two digits, and what follows; -1: there is none. */
static int take_number(const char **text)
{
    size_t digits = strspn(*text, "0123456789");
    int number = digits && digits <= 2 ? atoi(*text) : -1;

    *text += digits;
    return number;
}

/* "N" copies, or "X:Y": erasure coding. */
static int take_redundancy(const char *text, struct sheepdog_new *new, struct img_error *err)
{
    const char *at = text;
    int first, second;

    if (!text)
        return 0;
    first = take_number(&at);
    if (!*at && first >= 1 && first <= MOST_COPIES) {
        new->copies = (uint8_t)first;
        return 0;
    }
    if (*at++ != ':')
        return bad_redundancy(text, err);
    second = take_number(&at);
    if (*at || first < 2 || first > 16 || !img_power_of_two((uint64_t)first) || second < 1 || second > MOST_PARITY)
        return bad_redundancy(text, err);
    new->copies = (uint8_t)(first + second);
    new->copy_policy = (uint8_t)(first / 2 << 4 | second);
    return 0;
}

static int take_object_size(int64_t size, struct sheepdog_new *new, struct img_error *err)
{
    if (size < 0)
        return 0;
    if (!img_power_of_two((uint64_t)size) || size < 1 << SHEEPDOG_LEAST_SHIFT ||
        size > INT64_C(1) << SHEEPDOG_MOST_SHIFT)
        return img_error_set(err, EINVAL, "object_size must be a power of two between 1 MiB and 2 GiB");
    while (INT64_C(1) << new->shift < size)
        new->shift++;
    return 0;
}

static int take_options(const struct sheepdog_create_options *given, struct sheepdog_new *new, bool *full,
                        struct img_error *err)
{
    int ret = sheepdog_take_preallocation(given->preallocation, full, err);

    if (ret == 0)
        ret = take_redundancy(given->redundancy, new, err);
    if (ret == 0)
        ret = take_object_size(given->object_size, new, err);
    if (ret == 0 && given->backing_fmt && strcmp(given->backing_fmt, "raw") != 0 &&
        strcmp(given->backing_fmt, "sheepdog") != 0)
        ret = img_error_set(err, EINVAL, "The format of what a VDI is cloned from is raw, not '%s'",
                            given->backing_fmt);
    new->size = given->size > 0 ? (uint64_t)given->size : 0;
    return ret;
}

/* ---- The base ---------------------------------------------------------------------------------------- */

static bool is_named_so(const char *name)
{
    static const char *const prefixes[] = { "sheepdog:", "sheepdog+tcp:", "sheepdog+unix:" };

    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
        if (strncmp(name, prefixes[i], strlen(prefixes[i])) == 0)
            return true;
    return false;
}

static int look_at_base(struct sheepdog *s, struct sheepdog_vdi *base, struct img_error *err)
{
    uint32_t id;
    int ret = sheepdog_find_target(s, &id, err);

    if (ret == 0)
        ret = sheepdog_inode_header(s, id, base, err);
    if (ret == 0 && !base->snapshot_time) {
        img_error_set(err, EINVAL, "VDI '%s' is no snapshot, and only a snapshot can be cloned", base->name);
        img_error_advise(err, "make one: qemu-img snapshot -c TAG; then it is named ...#TAG");
        ret = -EINVAL;
    }
    return ret;
}

/* What the name means. */
static int read_base(const char *name, struct sheepdog_vdi *base, struct img_error *err)
{
    struct sheepdog s = { .connected = false };
    struct img_named named;
    int ret;

    if (!is_named_so(name))
        return img_error_set(err, EINVAL, "A VDI can only be cloned from one of the same cluster, not from '%s'", name);
    ret = img_named_options(&img_driver_sheepdog, name, &named, err);
    if (ret == 0)
        ret = sheepdog_connect(&s, named.options, named.rest, err);
    if (ret == 0)
        ret = look_at_base(&s, base, err);
    sheepdog_disconnect(&s);
    img_named_free(&img_driver_sheepdog, &named);
    return ret;
}

/* Names may lead to two clusters: in ours, is it the same? */
static int check_base(struct sheepdog *s, const struct sheepdog_vdi *base, struct img_error *err)
{
    struct img_error ignored = IMG_ERROR_INIT;
    struct sheepdog_vdi here;
    int ret = sheepdog_inode_header(s, base->id, &here, &ignored);

    img_error_clear(&ignored);
    if (ret < 0 || here.created != base->created || here.snapshot_time != base->snapshot_time ||
        strcmp(here.name, base->name) != 0)
        return img_error_set(err, EINVAL, "A VDI can only be cloned from one of the same cluster");
    return 0;
}

static int take_base(struct sheepdog *s, const char *name, struct sheepdog_new *new, struct img_error *err)
{
    struct sheepdog_vdi base;
    int ret = read_base(name, &base, err);

    if (ret == 0)
        ret = check_base(s, &base, err);
    if (ret < 0)
        return ret;
    if (new->size < base.size)
        return img_error_set(err, EINVAL, "A clone cannot be smaller than its base");
    if (new->shift && new->shift != base.shift)
        return img_error_set(err, EINVAL, "A clone has objects of the same size as its base");
    new->base = base.id;
    new->shift = base.shift;
    if (!new->copies) {
        new->copies = base.copies;
        new->copy_policy = base.copy_policy;
    }
    return 0;
}

/* ---- Making it ------------------------------------------------------------------------------------------ */

static int check_size(struct sheepdog *s, struct sheepdog_new *new, struct img_error *err)
{
    int ret = new->shift ? 0 : sheepdog_usual_shift(s, &new->shift, err);
    uint64_t most = ret == 0 ? sheepdog_most_size(new->shift) : 0;

    if (ret < 0 || new->size <= most)
        return ret;
    img_error_set(err, EFBIG, "With objects of %llu bytes a VDI has at most %llu bytes", 1ull << new->shift,
                  (unsigned long long)most);
    if (new->shift < SHEEPDOG_MOST_SHIFT)
        img_error_advise(err, "larger objects: -o object_size=%s", new->shift < 26 ? "64M" : "2G");
    return -EFBIG;
}

/* (what was made and could not be filled is of no use) */
static int fill(struct sheepdog *s, uint32_t id, struct img_error *err)
{
    struct img_error ignored = IMG_ERROR_INIT;
    int ret = sheepdog_inode_load(s, id, err);

    if (ret == 0 && (ret = sheepdog_allocate(s, 0, s->vdi.size)) < 0)
        img_error_errno(err, -ret, "Could not preallocate VDI '%s'", s->target.vdi);
    if (ret < 0)
        sheepdog_delete(s, s->target.vdi, 0, &ignored);
    img_error_clear(&ignored);
    return ret;
}

static int make(struct sheepdog *s, const struct sheepdog_create_options *given, struct img_error *err)
{
    struct sheepdog_new new = { .name = s->target.vdi };
    bool full;
    uint32_t id;
    int ret = take_options(given, &new, &full, err);

    if (ret == 0 && (s->target.tag || s->target.snap_id))
        ret = img_error_set(err, EINVAL, "A new VDI has no snapshot, so its name has none");
    if (ret == 0 && given->backing_file)
        ret = take_base(s, given->backing_file, &new, err);
    if (ret == 0)
        ret = check_size(s, &new, err);
    if (ret == 0)
        ret = sheepdog_new_vdi(s, &new, &id, err);
    if (ret == -EEXIST)
        img_error_advise(err, "'convert -n' writes into a VDI that is there; 'dog vdi delete %s' removes it", new.name);
    return ret == 0 && full ? fill(s, id, err) : ret;
}

int sheepdog_driver_create(const struct img_create *request, struct img_error *err)
{
    struct sheepdog s = { .connected = false };
    struct img_named named;
    int ret = img_named_options(&img_driver_sheepdog, request->name, &named, err);

    if (ret == 0)
        ret = sheepdog_connect(&s, named.options, named.rest, err);
    if (ret == 0)
        ret = make(&s, request->options, err);
    sheepdog_disconnect(&s);
    img_named_free(&img_driver_sheepdog, &named);
    return ret;
}
