/* SPDX-License-Identifier: MIT */
/*
 * null-co and null-aio: a disk of any size that discards what is written to it.  Used to measure the cost of
 * everything else, and in tests.  The two names behave the same.
 */
#include "../../libimg/driver.h"
#include "../../libimg/util/checked.h"
#include "../../libimg/util/cleanup.h"
#include "../../libimg/util/strbuf.h"
#include <string.h>

enum { STANDARD_SIZE = 1 << 30 };

struct null_options {
    int64_t size, latency;
    int8_t read_zeroes;
};

struct null_state {
    uint64_t latency;               /* nanoseconds */
    bool read_zeroes;
};

static const struct img_option null_options[] = {
    { .name = "size", .help = "size of the null block", .type = IMG_OPT_SIZE, .when = IMG_AT_OPEN,
      .offset = offsetof(struct null_options, size) },
    { .name = "latency-ns", .help = "nanosecond latency (approximated) to wait before a request is done",
      .type = IMG_OPT_NUMBER, .when = IMG_AT_OPEN, .offset = offsetof(struct null_options, latency) },
    { .name = "read-zeroes", .help = "return zeroes when read", .type = IMG_OPT_BOOL, .when = IMG_AT_OPEN,
      .offset = offsetof(struct null_options, read_zeroes) },
    { .name = NULL }
};

static const char *const strong_options[] = { "size", "read-zeroes", NULL };

static int parse_name(const char *driver, const char *name, struct img_error *err)
{
    CLEANUP_FREE char *only = img_asprintf("%s://", driver);

    if (!only)
        return img_error_memory(err);
    if (strcmp(name, only) == 0)
        return 0;
    return img_error_set(err, EINVAL, "The only allowed filename for this driver is '%s'", only);
}

static int parse_co_name(const char *name, struct img_doc *options, struct img_error *err)
{
    (void)options;
    return parse_name("null-co", name, err);
}

static int parse_aio_name(const char *name, struct img_doc *options, struct img_error *err)
{
    (void)options;
    return parse_name("null-aio", name, err);
}

static int plain_name(const struct img *image, char **name)
{
    int ret = img_has_strong_options(image, NULL);

    if (ret == 0 && !(*name = img_asprintf("%s://", image->driver->name)))
        ret = -ENOMEM;
    return ret < 0 ? ret : 0;
}

static int open_null(struct img *image, const void *parsed, struct img_doc *options, struct img_error *err)
{
    const struct null_options *given = parsed;
    struct null_state *null = image->state;
    uint64_t latency = given->latency == -1 ? 0 : (uint64_t)given->latency;

    (void)options;
    if (latency == INT64_MAX)
        return img_error_set(err, EINVAL, "latency-ns is invalid");
    null->latency = latency;
    null->read_zeroes = given->read_zeroes == 1;
    image->no_details = true;
    image->size = STANDARD_SIZE;
    if (given->size != -1)
        image->size = img_align_up(img_min((uint64_t)given->size, INT64_MAX - 511), 512);
    return 0;
}

static int wait_for(struct img *image)
{
    const struct null_state *null = image->state;

    return null->latency ? img_sleep(image, null->latency) : 0;
}

/* Always zeroes: a buffer left unfilled would hold somebody else's bytes. */
static int null_pread(struct img *image, void *buffer, uint64_t offset, size_t length)
{
    (void)offset;
    memset(buffer, 0, length);
    return wait_for(image);
}

static int null_pwrite(struct img *image, const void *buffer, uint64_t offset, size_t length, unsigned flags)
{
    (void)buffer, (void)offset, (void)length, (void)flags;
    return wait_for(image);
}

static int null_zero(struct img *image, uint64_t offset, uint64_t length, unsigned flags)
{
    (void)offset, (void)length, (void)flags;
    return wait_for(image);
}

static int null_flush(struct img *image)
{
    return wait_for(image);
}

static int null_map(struct img *image, uint64_t offset, uint64_t length, struct img_extent *extent)
{
    const struct null_state *null = image->state;

    *extent = (struct img_extent){ .offset = offset, .length = length, .kind = null->read_zeroes ? IMG_ZERO : IMG_HOLE,
                                   .host_valid = null->read_zeroes, .file = image, .host = offset };
    return 0;
}

static int64_t null_allocated(struct img *image)
{
    (void)image;
    return 0;
}

static bool null_zero_initialised(struct img *image)
{
    const struct null_state *null = image->state;

    return null->read_zeroes;
}

#define NULL_CALLBACKS \
    .state_size = sizeof(struct null_state), .options = null_options, .open_size = sizeof(struct null_options), \
    .open = open_null, .pread = null_pread, .pwrite = null_pwrite, .zero = null_zero, .flush = null_flush, \
    .map = null_map, .allocated = null_allocated, .zero_initialised = null_zero_initialised, \
    .plain_name = plain_name, .strong_options = strong_options

const struct img_driver img_driver_null_co = {
    IMG_ROW(
        .name = "null-co", .kind = IMG_PROTOCOL, .prefix = "null-co"
    ),
    NULL_CALLBACKS, .parse_name = parse_co_name,
};

const struct img_driver img_driver_null_aio = {
    IMG_ROW(
        .name = "null-aio", .kind = IMG_PROTOCOL, .prefix = "null-aio"
    ),
    NULL_CALLBACKS, .parse_name = parse_aio_name,
};
