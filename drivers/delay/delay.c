/* SPDX-License-Identifier: MIT */
/*
 * delay: simulates a remote storage.  Every request to the node below, map included, takes at least latency-ns.  Any
 * number of requests may be in flight.
 */
#include "../../libimg/driver.h"

/* Useful number of requests in flight, as for a server that answers them out of order. */
enum { REQUESTS = 128 };

struct delay_options {
    int64_t latency;
};

struct delay_state {
    uint64_t latency;               /* nanoseconds */
};

static const struct img_option delay_options[] = {
    { .name = "latency-ns", .help = "nanoseconds that each request takes at least", .type = IMG_OPT_NUMBER,
      .when = IMG_AT_OPEN, .offset = offsetof(struct delay_options, latency) },
    { .name = NULL }
};

static int delay_open(struct img *image, const void *parsed, struct img_doc *options, struct img_error *err)
{
    const struct delay_options *given = parsed;
    struct delay_state *delay = image->state;

    (void)options;
    if (given->latency == INT64_MAX)
        return img_error_set(err, EINVAL, "latency-ns is invalid");
    delay->latency = given->latency == -1 ? 0 : (uint64_t)given->latency;
    image->limits.requests = REQUESTS;
    image->limits.round_trip = true;
    return 0;
}

/* One round trip. */
static int travel(struct img *image)
{
    const struct delay_state *delay = image->state;

    return img_sleep(image, delay->latency);
}

static int delay_pread(struct img *image, void *buffer, uint64_t offset, size_t length)
{
    int ret = travel(image);

    return ret < 0 ? ret : img_pread_padded(image->file, buffer, offset, length);
}

static int delay_pwrite(struct img *image, const void *buffer, uint64_t offset, size_t length, unsigned flags)
{
    int ret = travel(image);

    return ret < 0 ? ret : img_pwrite_flags(image->file, buffer, offset, length, flags);
}

static int delay_zero(struct img *image, uint64_t offset, uint64_t length, unsigned flags)
{
    int ret = travel(image);

    return ret < 0 ? ret : img_zero(image->file, offset, length, flags | IMG_ZERO_NO_FALLBACK);
}

static int delay_discard(struct img *image, uint64_t offset, uint64_t length)
{
    int ret = travel(image);

    return ret < 0 ? ret : img_discard(image->file, offset, length);
}

static int delay_flush(struct img *image)
{
    return travel(image);
}

/* Many extents per round trip. */
static int delay_map_list(struct img *image, uint64_t offset, uint64_t length, struct img_extent *extents, size_t count)
{
    uint64_t end = offset + length;
    int ret = travel(image), told = 0;

    while (ret == 0 && offset < end && (size_t)told < count) {
        ret = img_map_below(image, 0, offset, end - offset, &extents[told]);
        offset += ret == 0 ? extents[told].length : 0;
        told += ret == 0;
    }
    return told ? told : ret;
}

static int delay_resize(struct img *image, uint64_t size, const char *preallocation, struct img_error *err)
{
    int ret = img_resize(image->file, size, preallocation, err);

    image->size = img_size(image->file);
    return ret;
}

static bool delay_zero_initialised(struct img *image)
{
    return img_zero_initialised(image->file);
}

const struct img_driver img_driver_delay = {
    IMG_ROW(
        .name = "delay", .kind = IMG_ADAPTER
    ),
    .traits = IMG_WRITES_FUA,
    .state_size = sizeof(struct delay_state), .options = delay_options, .open_size = sizeof(struct delay_options),
    .open = delay_open, .pread = delay_pread, .pwrite = delay_pwrite, .zero = delay_zero, .discard = delay_discard,
    .flush = delay_flush, .map_list = delay_map_list, .resize = delay_resize, .zero_initialised = delay_zero_initialised,
};
