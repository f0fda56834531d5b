/* SPDX-License-Identifier: MIT */
/*
 * reply.c - answers in the form that the client has agreed on: simple, structured (chunks), or with extended headers
 * (chunks, too, for every answer).
 */
#include "internal.h"
#include "util/cleanup.h"
#include "util/endian.h"

int serve_client_send(struct serve_client *client, struct iovec *parts, size_t count)
{
    LOCK_SCOPE(&client->send_lock);

    if (client->send_error == 0)
        client->send_error = serve_send(&client->channel, parts, count);
    if (client->send_error < 0)
        __atomic_store_n(&client->ending, true, __ATOMIC_RELAXED);
    return client->send_error;
}

static void put_simple(unsigned char *head, const struct serve_request *request)
{
    img_put_be32(head, NBD_SIMPLE_REPLY_MAGIC);
    img_put_be32(head + 4, request->error);
    img_put_be64(head + 8, request->cookie);
}

/* The header of a chunk; returns its size. */
static size_t put_chunk(unsigned char *head, const struct serve_client *client, const struct serve_request *request,
                        uint16_t type, uint64_t length, bool last)
{
    bool extended = client->mode == SERVE_EXTENDED;

    img_put_be32(head, extended ? NBD_EXTENDED_REPLY_MAGIC : NBD_STRUCTURED_REPLY_MAGIC);
    img_put_be16(head + 4, last ? NBD_REPLY_FLAG_DONE : 0);
    img_put_be16(head + 6, type);
    img_put_be64(head + 8, request->cookie);
    if (!extended) {
        img_put_be32(head + 16, (uint32_t)length);
        return NBD_STRUCTURED_REPLY_SIZE;
    }
    img_put_be64(head + 16, request->from);
    img_put_be64(head + 24, length);
    return NBD_EXTENDED_REPLY_SIZE;
}

int serve_answer(struct serve_client *client, const struct serve_request *request)
{
    enum { ERROR_SIZE = 6 };
    unsigned char head[NBD_EXTENDED_REPLY_SIZE + ERROR_SIZE];
    struct iovec parts[2] = { { head, NBD_SIMPLE_REPLY_SIZE } };
    bool read = request->type == NBD_CMD_READ;

    if (client->mode == SERVE_SIMPLE || (client->mode == SERVE_STRUCTURED && !request->failed && !read)) {
        put_simple(head, request);
        return serve_client_send(client, parts, 1);
    }
    if (!request->failed) {
        parts[0].iov_len = put_chunk(head, client, request, NBD_REPLY_TYPE_NONE, 0, true);
        return serve_client_send(client, parts, 1);
    }
    size_t length = strlen(request->failed);
    size_t size = put_chunk(head, client, request, NBD_REPLY_TYPE_ERROR, ERROR_SIZE + length, true);
    img_put_be32(head + size, request->error);
    img_put_be16(head + size + 4, (uint16_t)length);
    parts[0].iov_len = size + ERROR_SIZE;
    parts[1] = (struct iovec){ (char *)request->failed, length };
    return serve_client_send(client, parts, 2);
}

int serve_answer_bytes(struct serve_client *client, const struct serve_request *request, const void *bytes)
{
    unsigned char head[NBD_SIMPLE_REPLY_SIZE];

    put_simple(head, request);
    return serve_client_send(client, (struct iovec[]){ { head, sizeof head }, { (void *)bytes, request->length } }, 2);
}

/* ---- Chunks --------------------------------------------------------------------- */

void serve_chunks_begin(struct serve_chunks *chunks, struct serve_client *client, const struct serve_request *request)
{
    chunks->client = client;
    chunks->request = request;
    chunks->count = chunks->part_count = 0;
    chunks->error = 0;
}

int serve_chunks_end(struct serve_chunks *chunks)
{
    if (chunks->count && chunks->error == 0)
        chunks->error = serve_client_send(chunks->client, chunks->parts, chunks->part_count);
    chunks->count = chunks->part_count = 0;
    return chunks->error;
}

/* Returns where the fixed part of the chunk, `fixed` bytes, is written; `more` bytes follow it. */
static unsigned char *add(struct serve_chunks *chunks, uint16_t type, size_t fixed, const void *more, size_t length,
                          bool last)
{
    unsigned char *head;
    size_t size;

    if (chunks->count == SERVE_CHUNKS)
        serve_chunks_end(chunks);
    head = chunks->heads[chunks->count++];
    size = put_chunk(head, chunks->client, chunks->request, type, fixed + length, last);
    chunks->parts[chunks->part_count++] = (struct iovec){ head, size + fixed };
    if (length)
        chunks->parts[chunks->part_count++] = (struct iovec){ (void *)more, length };
    return head + size;
}

void serve_chunk_data(struct serve_chunks *chunks, uint64_t offset, const void *bytes, uint32_t length, bool last)
{
    img_put_be64(add(chunks, NBD_REPLY_TYPE_OFFSET_DATA, 8, bytes, length, last), offset);
}

void serve_chunk_hole(struct serve_chunks *chunks, uint64_t offset, uint32_t length, bool last)
{
    unsigned char *at = add(chunks, NBD_REPLY_TYPE_OFFSET_HOLE, 12, NULL, 0, last);

    img_put_be64(at, offset);
    img_put_be32(at + 8, length);
}

void serve_chunk_status(struct serve_chunks *chunks, uint32_t context, const void *extents, size_t count, bool last)
{
    bool extended = chunks->client->mode == SERVE_EXTENDED;
    unsigned char *at = add(chunks, extended ? NBD_REPLY_TYPE_BLOCK_STATUS_EXT : NBD_REPLY_TYPE_BLOCK_STATUS,
                            extended ? 8 : 4, extents, count * (extended ? 16u : 8u), last);

    img_put_be32(at, context);
    if (extended)
        img_put_be32(at + 4, (uint32_t)count);
}
