/* SPDX-License-Identifier: MIT */
/* request.c - what the commands do to the image. */
#include "internal.h"
#include "util/checked.h"

#include <stdio.h>

/* Other errors have no number in the protocol. */
static uint32_t error_on_wire(int code)
{
    switch (-code) {
    case EPERM:
    case EROFS:
        return NBD_EPERM;
    case EIO:
        return NBD_EIO;
    case ENOMEM:
        return NBD_ENOMEM;
    case ENOSPC:
    case EFBIG:
    case EDQUOT:
        return NBD_ENOSPC;
    case EOVERFLOW:
        return NBD_EOVERFLOW;
    case ENOTSUP:
#if ENOTSUP != EOPNOTSUPP
    case EOPNOTSUPP:
#endif
        return NBD_ENOTSUP;
    case ESHUTDOWN:
        return NBD_ESHUTDOWN;
    default:
        return img_lacks_codec(code) ? NBD_ENOTSUP : NBD_EINVAL;
    }
}

void serve_fail(struct serve_request *request, int code, const char *text)
{
    request->failed = text;
    request->error = error_on_wire(code);
}

static int finish(struct serve_client *client, struct serve_request *request, int ret, const char *text)
{
    if (ret < 0)
        serve_fail(request, ret, text);
    return serve_answer(client, request);
}

/* ---- Reading -------------------------------------------------------------------- */

/*
 * Nobody else changes an image that is open for reading only, so what the map said still holds.  Otherwise a cluster
 * may move meanwhile, and img_pread looks again, under its locks.
 */
static int read_mapped(struct img *image, const struct img_extent *extent, void *buffer)
{
    if (img_read_only(image))
        return img_read_extent(extent, buffer, extent->offset, (size_t)extent->length);
    return img_pread(image, buffer, extent->offset, (size_t)extent->length);
}

static bool is_zero(const struct img_extent *extent)
{
    return !extent->stale && (extent->kind == IMG_HOLE || extent->kind == IMG_ZERO);
}

/* A part of the answer that is not sent yet: neighbours of one kind go together. */
struct run {
    uint64_t start, length;         /* from the start of the request */
    bool zero;
};

static void put_run(struct serve_chunks *chunks, const struct run *run, bool last)
{
    const struct serve_request *request = chunks->request;

    if (!run->length)
        return;
    if (run->zero)
        serve_chunk_hole(chunks, request->from + run->start, (uint32_t)run->length, last);
    else
        serve_chunk_data(chunks, request->from + run->start, request->buffer.bytes + run->start, (uint32_t)run->length,
                         last);
}

static int read_chunks(struct serve_client *client, struct serve_request *request)
{
    struct img *image = client->export->told.image;
    uint64_t begin = client->export->told.offset + request->from, end = begin + request->length;
    struct serve_chunks chunks;
    struct run run = { .length = 0 };
    struct img_extent extent;

    serve_chunks_begin(&chunks, client, request);
    for (uint64_t at = begin; at < end; at += extent.length) {
        int ret = img_map_chain(image, NULL, at, end - at, &extent);
        if (ret < 0) {
            snprintf(request->text, sizeof request->text, "unable to check for holes: %s", img_strerror(-ret));
            serve_fail(request, ret, request->text);
        } else if (!is_zero(&extent) && (ret = read_mapped(image, &extent, request->buffer.bytes + (at - begin))) < 0) {
            serve_fail(request, ret, "reading from file failed");
        }
        if (ret < 0) {
            put_run(&chunks, &run, false);
            serve_chunks_end(&chunks);
            return serve_answer(client, request);
        }
        if (run.length && run.zero != is_zero(&extent)) {
            put_run(&chunks, &run, false);
            run.length = 0;
        }
        if (!run.length)
            run = (struct run){ .start = at - begin, .zero = is_zero(&extent) };
        run.length += extent.length;
    }
    put_run(&chunks, &run, true);
    return serve_chunks_end(&chunks);
}

/* In one piece: for a client without chunks, or that wants no more than one. */
static int read_whole(struct serve_client *client, struct serve_request *request)
{
    const struct img_export *told = &client->export->told;
    void *bytes = request->buffer.bytes;
    struct serve_chunks chunks;
    int ret = img_pread(told->image, bytes, told->offset + request->from, (size_t)request->length);

    if (ret < 0)
        return finish(client, request, ret, "reading from file failed");
    if (client->mode == SERVE_SIMPLE)
        return serve_answer_bytes(client, request, bytes);
    serve_chunks_begin(&chunks, client, request);
    serve_chunk_data(&chunks, request->from, bytes, (uint32_t)request->length, true);
    return serve_chunks_end(&chunks);
}

static int do_read(struct serve_client *client, struct serve_request *request)
{
    int ret = request->flags & NBD_CMD_FLAG_FUA ? img_flush(client->export->told.image) : 0;

    if (ret < 0 || !request->length)
        return finish(client, request, ret, "flush failed");
    if (client->mode == SERVE_SIMPLE || request->flags & NBD_CMD_FLAG_DF)
        return read_whole(client, request);
    return read_chunks(client, request);
}

/* Into the caches of the image and of the system. */
static int do_cache(struct serve_client *client, struct serve_request *request)
{
    const struct img_export *told = &client->export->told;
    uint64_t done = 0;
    int ret = 0;

    while (ret == 0 && done < request->length) {
        size_t part = (size_t)img_min(request->length - done, request->buffer.capacity);
        ret = img_pread(told->image, request->buffer.bytes, told->offset + request->from + done, part);
        done += part;
    }
    return finish(client, request, ret, "caching data failed");
}

/* ---- Writing -------------------------------------------------------------------- */

/* Where the cache writes through, what is answered is on the storage. */
static bool writes_through(const struct img *image)
{
    return image->cache == IMG_CACHE_WRITETHROUGH || image->cache == IMG_CACHE_DIRECTSYNC;
}

static unsigned fua(const struct img *image, const struct serve_request *request)
{
    return request->flags & NBD_CMD_FLAG_FUA || writes_through(image) ? IMG_WRITE_FUA : 0;
}

static int do_write(struct serve_client *client, struct serve_request *request)
{
    const struct img_export *told = &client->export->told;
    int ret = 0;

    if (request->length)
        ret = img_pwrite_flags(told->image, request->buffer.bytes, told->offset + request->from,
                               (size_t)request->length, fua(told->image, request));
    return finish(client, request, ret, "writing to file failed");
}

static int do_zero(struct serve_client *client, struct serve_request *request)
{
    const struct img_export *told = &client->export->told;
    unsigned flags = fua(told->image, request);
    int ret = 0;

    if (!(request->flags & NBD_CMD_FLAG_NO_HOLE))
        flags |= IMG_ZERO_MAY_UNMAP;
    if (request->flags & NBD_CMD_FLAG_FAST_ZERO)
        flags |= IMG_ZERO_NO_FALLBACK;
    if (request->length)
        ret = img_zero(told->image, told->offset + request->from, request->length, flags);
    return finish(client, request, ret, "writing to file failed");
}

static int do_trim(struct serve_client *client, struct serve_request *request)
{
    const struct img_export *told = &client->export->told;
    int ret = request->length ? img_discard(told->image, told->offset + request->from, request->length) : 0;

    if (ret == 0 && fua(told->image, request))
        ret = img_flush(told->image);
    return finish(client, request, ret, "discard failed");
}

/* ---- All ------------------------------------------------------------------------ */

int serve_execute(struct serve_client *client, struct serve_request *request)
{
    if (request->failed)
        return serve_answer(client, request);
    switch (request->type) {
    case NBD_CMD_READ:
        return do_read(client, request);
    case NBD_CMD_WRITE:
        return do_write(client, request);
    case NBD_CMD_FLUSH:
        return finish(client, request, img_flush(client->export->told.image), "flush failed");
    case NBD_CMD_TRIM:
        return do_trim(client, request);
    case NBD_CMD_CACHE:
        return do_cache(client, request);
    case NBD_CMD_WRITE_ZEROES:
        return do_zero(client, request);
    default:
        return serve_status(client, request);
    }
}
