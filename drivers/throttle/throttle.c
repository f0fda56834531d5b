/* SPDX-License-Identifier: MIT */
/* throttle: a filter that limits requests to the rate of its throttle group (--object throttle-group). */
#include "../../libimg/driver.h"
#include "../../libimg/object/throttle.h"

struct throttle_options {
    char *group;
};

struct throttle_state {
    struct img_throttle_group *group;
};

static const struct img_option throttle_options[] = {
    { .name = "throttle-group", .help = "Name of the throttle group", .type = IMG_OPT_STRING, .when = IMG_AT_OPEN,
      .offset = offsetof(struct throttle_options, group) },
    { .name = NULL }
};

static const char *const strong_options[] = { "throttle-group", NULL };

static int throttle_open(struct img *image, const void *parsed, struct img_doc *options, struct img_error *err)
{
    const struct throttle_options *given = parsed;
    struct throttle_state *throttle = image->state;

    (void)options;
    if (!given->group)
        return img_error_set(err, EINVAL, "Please specify a throttle group");
    throttle->group = img_throttle_find(given->group);
    if (!throttle->group)
        return img_error_set(err, EINVAL, "Throttle group '%s' does not exist", given->group);
    return 0;
}

static int wait_for(struct img *image, bool write, uint64_t length)
{
    const struct throttle_state *throttle = image->state;
    uint64_t wait;
    int ret = 0;

    while (ret == 0 && (wait = img_throttle_pass(throttle->group, write, length)) > 0)
        ret = img_sleep(image, wait);
    return ret;
}

static int throttle_pread(struct img *image, void *buffer, uint64_t offset, size_t length)
{
    int ret = wait_for(image, false, length);

    return ret < 0 ? ret : img_pread(image->file, buffer, offset, length);
}

static int throttle_pwrite(struct img *image, const void *buffer, uint64_t offset, size_t length, unsigned flags)
{
    int ret = wait_for(image, true, length);

    return ret < 0 ? ret : img_pwrite_flags(image->file, buffer, offset, length, flags);
}

static int throttle_zero(struct img *image, uint64_t offset, uint64_t length, unsigned flags)
{
    int ret = wait_for(image, true, length);

    return ret < 0 ? ret : img_zero(image->file, offset, length, flags);
}

static int throttle_discard(struct img *image, uint64_t offset, uint64_t length)
{
    int ret = wait_for(image, true, length);

    return ret < 0 ? ret : img_discard(image->file, offset, length);
}

const struct img_driver img_driver_throttle = {
    IMG_ROW(
        .name = "throttle", .kind = IMG_FILTER
    ),
    .state_size = sizeof(struct throttle_state), .options = throttle_options,
    .open_size = sizeof(struct throttle_options), .open = throttle_open, .pread = throttle_pread,
    .pwrite = throttle_pwrite, .zero = throttle_zero, .discard = throttle_discard, .strong_options = strong_options,
};
