/* SPDX-License-Identifier: MIT */
/*
 * Writes a fixed disk into a pipe: its bytes from front to back, then the footer.
 * Specification: "Fixed Hard Disk Image".
 */
#include "vpc.h"

static int stream_open(struct img *image, const void *create_options, bool compress, struct img_error *err)
{
    struct vpc_plan *plan = image->state;
    int status = vpc_plan_disk(create_options, plan, err);

    (void)compress;                 /* never */
    if (status < 0)
        return status;
    if (!plan->fixed)
        return img_error_set(err, ENOTSUP, "Only subformat=fixed can be written in order");
    image->size = plan->sectors * VPC_SECTOR;
    image->limits.write_unit = VPC_SECTOR;
    return 0;
}

static int stream_begin(struct img *image, struct img_sink *sink)
{
    (void)image, (void)sink;
    return 0;
}

static int stream_put(struct img *image, const struct img_run *runs, size_t count, struct img_sink *sink)
{
    int status = 0;

    (void)image;
    for (size_t i = 0; i < count && status == 0; i++) {
        if (runs[i].kind == IMG_DATA)
            status = img_sink_write(sink, runs[i].bytes, runs[i].length);
        else
            status = img_sink_zeroes(sink, runs[i].length);
    }
    return status;
}

/* The disk may be larger than the copied data. */
static int stream_end(struct img *image, struct img_sink *sink)
{
    const struct vpc_plan *plan = image->state;
    int status = img_sink_advance(sink, image->size);

    return status < 0 ? status : img_sink_write(sink, plan->footer, VPC_FOOTER_BYTES);
}

static void stream_close(struct img *image)
{
    (void)image;
}

const struct img_stream_ops vpc_stream_ops = {
    .state_size = sizeof(struct vpc_plan),
    .only = "subformat=fixed",
    .open = stream_open,
    .begin = stream_begin,
    .put = stream_put,
    .end = stream_end,
    .close = stream_close,
};
