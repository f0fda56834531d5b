/* SPDX-License-Identifier: MIT */
/*
 * pipe.c - streamOptimized into a pipe: the driver callbacks for an image that is written in order, on top of
 * stream.c.
 * Specification: "Stream-Optimized Compressed".
 */
#include "vmdk.h"
#include "../../libimg/util/strbuf.h"
#include <inttypes.h>

struct vmdk_pipe {
    struct vmdk_plan plan;
    struct vmdk_stream stream;
    struct img_sink *sink;          /* while a callback runs */
};

static struct vmdk_pipe *pipe_of(const struct img *image)
{
    return image->state;
}

/* Metadata: the caller's buffer does not outlive the call. */
static int write_metadata(void *context, const void *bytes, uint64_t offset, size_t length)
{
    struct vmdk_pipe *pipe = context;
    int ret = img_sink_advance(pipe->sink, offset);

    if (ret == 0)
        ret = img_sink_write(pipe->sink, bytes, length);
    return ret < 0 ? ret : img_sink_flush(pipe->sink);
}

static int pipe_open(struct img *image, const void *create_options, bool compress, struct img_error *err)
{
    struct vmdk_pipe *pipe = pipe_of(image);
    /* The extent line needs a name, and a pipe has none. */
    int ret = vmdk_plan(&pipe->plan, create_options, "disk.vmdk", err);

    (void)compress;                 /* always */
    if (ret < 0)
        return ret;
    if (pipe->plan.subformat != VMDK_STREAM_OPTIMIZED)
        return img_error_set(err, ENOTSUP, "Only subformat=streamOptimized can be written in order");
    if (pipe->plan.given->backing_file)
        return img_error_set(err, ENOTSUP, "An image with subformat=streamOptimized that is written in order takes no "
                             "backing file");
    image->size = img_align_up(pipe->plan.size, VMDK_SECTOR);
    image->limits.cluster = VMDK_GRAIN;
    image->coded_only = true;
    pipe->stream.write = write_metadata;
    pipe->stream.context = pipe;
    return vmdk_stream_init(&pipe->stream, image->size);
}

static void pipe_close(struct img *image)
{
    vmdk_stream_free(&pipe_of(image)->stream);
}

static int pipe_begin(struct img *image, struct img_sink *sink)
{
    struct vmdk_pipe *pipe = pipe_of(image);
    CLEANUP_FREE char *extent = img_asprintf("RW %" PRIu64 " SPARSE \"%s\"\n", image->size / VMDK_SECTOR,
                                              pipe->plan.base_name);
    CLEANUP_FREE char *descriptor = extent ? vmdk_plan_descriptor(&pipe->plan, extent) : NULL;

    if (!descriptor)
        return -ENOMEM;
    pipe->sink = sink;
    return vmdk_stream_begin(&pipe->stream, descriptor);
}

static int put_grain(struct vmdk_pipe *pipe, const struct img_run *run)
{
    uint8_t marker[VMDK_GRAIN_MARKER];
    uint64_t host;
    int ret = vmdk_stream_place(&pipe->stream, run->offset, (uint32_t)run->coded_length, &host);

    if (ret == 0)
        ret = img_sink_advance(pipe->sink, host);
    if (ret < 0)
        return ret;
    vmdk_put_grain_marker(marker, run->offset / VMDK_SECTOR, (uint32_t)run->coded_length);
    ret = img_sink_write(pipe->sink, marker, sizeof marker);
    return ret < 0 ? ret : img_sink_write(pipe->sink, run->bytes, run->coded_length);
}

/* Grains of zeroes are left out. */
static int pipe_put(struct img *image, const struct img_run *runs, size_t count, struct img_sink *sink)
{
    struct vmdk_pipe *pipe = pipe_of(image);
    int ret = 0;

    pipe->sink = sink;
    for (size_t i = 0; i < count && ret == 0; i++) {
        if (runs[i].kind == IMG_CODED)
            ret = put_grain(pipe, &runs[i]);
        else if (runs[i].kind == IMG_DATA)
            ret = -EINVAL;
    }
    return ret;
}

static int pipe_end(struct img *image, struct img_sink *sink)
{
    struct vmdk_pipe *pipe = pipe_of(image);

    pipe->sink = sink;
    return vmdk_stream_end(&pipe->stream);
}

const struct img_stream_ops vmdk_stream_ops = {
    .state_size = sizeof(struct vmdk_pipe),
    .only = "subformat=streamOptimized",
    .open = pipe_open,
    .begin = pipe_begin,
    .put = pipe_put,
    .end = pipe_end,
    .close = pipe_close,
};
