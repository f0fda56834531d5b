/* SPDX-License-Identifier: MIT */
/*
 * blkdebug: a filter that fails requests by rule: after an event of the format above it, or at a sector; once or
 * always.  It can also narrow the limits of the node.
 */
#include "blkdebug.h"
#include "../../libimg/util/checked.h"
#include "../../libimg/util/cleanup.h"
#include <inttypes.h>
#include <string.h>

#define PREFIX "blkdebug:"
enum { SECTOR = 512 };

struct open_options {
    char *config;
    int64_t align, max_transfer, opt_zero, max_zero, opt_discard, max_discard;
};

#define SIZE_OPTION(text, field, about) \
    { .name = text, .help = about, .type = IMG_OPT_SIZE, .when = IMG_AT_OPEN, \
      .offset = offsetof(struct open_options, field) }

static const struct img_option blkdebug_options[] = {
    { .name = "config", .help = "Path to the configuration file", .type = IMG_OPT_STRING, .when = IMG_AT_OPEN,
      .offset = offsetof(struct open_options, config) },
    SIZE_OPTION("align", align, "Required alignment in bytes"),
    SIZE_OPTION("max-transfer", max_transfer, "Maximum transfer size in bytes"),
    SIZE_OPTION("opt-write-zero", opt_zero, "Optimum write zero alignment in bytes"),
    SIZE_OPTION("max-write-zero", max_zero, "Maximum write zero size in bytes"),
    SIZE_OPTION("opt-discard", opt_discard, "Optimum discard alignment in bytes"),
    SIZE_OPTION("max-discard", max_discard, "Maximum discard size in bytes"),
    { .name = NULL }
};

static const char *const strong_options[] = {
    "config", "align", "max-transfer", "opt-write-zero", "max-write-zero", "opt-discard", "max-discard",
    "inject-error.", "set-state.", NULL
};

/* ---- Names ------------------------------------------------------------------------ */

/* blkdebug:CONFIG:IMAGE, or the name of the image alone. */
static int parse_name(const char *name, struct img_doc *options, struct img_error *err)
{
    const char *colon;

    if (strncmp(name, PREFIX, strlen(PREFIX)) != 0) {
        img_doc_put_string(options, "x-image", name);
        return 0;
    }
    name += strlen(PREFIX);
    colon = strchr(name, ':');
    if (!colon)
        return img_error_set(err, EINVAL, "blkdebug requires both config file and image path");
    if (colon != name) {
        CLEANUP_FREE char *config = img_strndup(name, (size_t)(colon - name));
        img_doc_put_string(options, "config", config);
    }
    img_doc_put_string(options, "x-image", colon + 1);
    return 0;
}

static int plain_name(const struct img *image, char **name)
{
    const char *below = img_filename(image->file), *config = img_doc_string_at(image->options, "config");

    int ret = strncmp(below, "json:", 5) == 0 ? 1 : img_has_strong_options(image, "config");

    if (ret == 0 && !(*name = img_asprintf(PREFIX "%s:%s", config ? config : "", below)))
        ret = -ENOMEM;
    return ret < 0 ? ret : 0;
}

/* ---- Rules ------------------------------------------------------------------------- */

/* Once the event of a rule has occurred, its error stays in force until an event activates other rules. */
static void come_to(struct blkdebug *debug, enum img_event event)
{
    uint64_t state;
    bool others = false;

    LOCK_SCOPE(&debug->lock);
    state = debug->state;
    for (size_t i = 0; i < debug->rules.count; i++) {
        struct blkdebug_rule *rule = &debug->rules.at[i];
        if (rule->event != event || rule->used || (rule->state && rule->state != state))
            continue;
        if (rule->sets_state) {
            debug->state = rule->new_state;
            continue;
        }
        for (size_t k = 0; k < debug->rules.count && !others; k++)
            debug->rules.at[k].active = false;
        others = true;
        rule->active = true;
    }
}

static void blkdebug_event(struct img *image, enum img_event event)
{
    struct blkdebug *debug = image->state;

    if (debug->rules.count)
        come_to(debug, event);
}

static bool applies(const struct blkdebug_rule *rule, unsigned type, uint64_t offset, uint64_t length)
{
    if (!rule->active || rule->used || !(rule->types & type))
        return false;
    return rule->any_sector || (rule->sector >= offset / SECTOR && rule->sector < img_div_up(offset + length, SECTOR));
}

/* Returns 0, or the error to inject into this request. */
static int inject(struct img *image, unsigned type, uint64_t offset, uint64_t length)
{
    struct blkdebug *debug = image->state;

    if (debug->rules.count == 0)
        return 0;
    LOCK_SCOPE(&debug->lock);
    for (size_t i = 0; i < debug->rules.count; i++) {
        struct blkdebug_rule *rule = &debug->rules.at[i];
        if (applies(rule, type, offset, length)) {
            rule->used = rule->once;
            return -rule->code;
        }
    }
    return 0;
}

/* ---- Opening ------------------------------------------------------------------------- */

/* Take one limit: below 2 GiB and a multiple of `unit`; absent or 0: no limit. */
static int take_bound(const char *name, int64_t given, uint64_t unit, uint64_t *bound, struct img_error *err)
{
    *bound = given == -1 ? 0 : (uint64_t)given;
    if (*bound >= INT32_MAX || *bound % unit)
        return img_error_set(err, EINVAL, "Cannot meet constraints with %s %" PRIu64, name, *bound);
    return 0;
}

static int take_bounds(struct blkdebug *debug, const struct open_options *given, struct img_error *err)
{
    uint64_t unit;
    int ret;

    debug->align = given->align == -1 ? 0 : (uint64_t)given->align;
    if (debug->align && (debug->align >= INT32_MAX || !img_power_of_two(debug->align)))
        return img_error_set(err, EINVAL, "Cannot meet constraints with align %" PRIu64, debug->align);
    unit = img_max(debug->align, 1);
    if ((ret = take_bound("max-transfer", given->max_transfer, unit, &debug->max_transfer, err)) < 0 ||
        (ret = take_bound("opt-write-zero", given->opt_zero, unit, &debug->opt_zero, err)) < 0 ||
        (ret = take_bound("max-write-zero", given->max_zero, img_max(unit, debug->opt_zero), &debug->max_zero,
                          err)) < 0 ||
        (ret = take_bound("opt-discard", given->opt_discard, unit, &debug->opt_discard, err)) < 0)
        return ret;
    return take_bound("max-discard", given->max_discard, img_max(unit, debug->opt_discard), &debug->max_discard, err);
}

static int blkdebug_close(struct img *image)
{
    struct blkdebug *debug = image->state;

    free(debug->rules.at);
    pthread_mutex_destroy(&debug->lock);
    return 0;
}

static void set_limits(struct img_limits *limits, const struct blkdebug *debug)
{
    limits->request_alignment = (uint32_t)img_max(debug->align, limits->request_alignment);
    limits->max_transfer = debug->max_transfer ? debug->max_transfer : limits->max_transfer;
    limits->write_zeroes_alignment = debug->opt_zero ? debug->opt_zero : limits->write_zeroes_alignment;
    limits->max_write_zeroes = debug->max_zero ? debug->max_zero : limits->max_write_zeroes;
    limits->discard_alignment = debug->opt_discard ? debug->opt_discard : limits->discard_alignment;
    limits->max_discard = debug->max_discard ? debug->max_discard : limits->max_discard;
}

static int blkdebug_open(struct img *image, const void *parsed, struct img_doc *options, struct img_error *err)
{
    const struct open_options *given = parsed;
    struct blkdebug *debug = image->state;
    int ret = 0;

    pthread_mutex_init(&debug->lock, NULL);
    debug->state = 1;
    if (given->config)
        ret = blkdebug_read_config(debug, given->config, err);
    if (ret == 0)
        ret = blkdebug_take_rules(debug, options, err);
    if (ret == 0)
        ret = take_bounds(debug, given, err);
    if (ret < 0) {
        blkdebug_close(image);
        return ret;
    }
    set_limits(&image->limits, debug);
    come_to(debug, IMG_EVENT_none);
    return 0;
}

/* ---- Requests ---------------------------------------------------------------------------- */

static int blkdebug_pread(struct img *image, void *buffer, uint64_t offset, size_t length)
{
    int ret = inject(image, BLKDEBUG_READ, offset, length);

    return ret < 0 ? ret : img_pread(image->file, buffer, offset, length);
}

static int blkdebug_pwrite(struct img *image, const void *buffer, uint64_t offset, size_t length, unsigned flags)
{
    int ret = inject(image, BLKDEBUG_WRITE, offset, length);

    return ret < 0 ? ret : img_pwrite_flags(image->file, buffer, offset, length, flags);
}

static int blkdebug_zero(struct img *image, uint64_t offset, uint64_t length, unsigned flags)
{
    int ret = inject(image, BLKDEBUG_ZERO, offset, length);

    return ret < 0 ? ret : img_zero(image->file, offset, length, flags);
}

static int blkdebug_discard(struct img *image, uint64_t offset, uint64_t length)
{
    int ret = inject(image, BLKDEBUG_DISCARD, offset, length);

    return ret < 0 ? ret : img_discard(image->file, offset, length);
}

static int blkdebug_flush(struct img *image)
{
    return inject(image, BLKDEBUG_FLUSH, 0, 0);
}

static int blkdebug_map(struct img *image, uint64_t offset, uint64_t length, struct img_extent *extent)
{
    int ret = inject(image, BLKDEBUG_MAP, offset, length);

    return ret < 0 ? ret : img_map(image->file, offset, length, extent);
}

static int64_t blkdebug_allocated(struct img *image)
{
    (void)image;
    return -ENOTSUP;
}

IMG_MODULE("");

const struct img_driver img_driver_blkdebug = {
    IMG_ROW(
        .name = "blkdebug", .kind = IMG_FILTER, .prefix = "blkdebug"
    ),
    .child = "image",
    .state_size = sizeof(struct blkdebug), .options = blkdebug_options, .open_size = sizeof(struct open_options),
    .open = blkdebug_open, .close = blkdebug_close, .pread = blkdebug_pread, .pwrite = blkdebug_pwrite,
    .zero = blkdebug_zero, .discard = blkdebug_discard, .flush = blkdebug_flush, .map = blkdebug_map,
    .allocated = blkdebug_allocated, .parse_name = parse_name, .plain_name = plain_name,
    .event = blkdebug_event, .strong_options = strong_options,
};
