/* SPDX-License-Identifier: MIT */
/* receive.c - one request: its header, its payload, and whether it may be done. */
#include "internal.h"
#include "util/checked.h"
#include "util/endian.h"
#include "util/strbuf.h"

#include <inttypes.h>
#include <stdio.h>

enum { DROP = 0, READY = 1 };

static const char *command_name(uint16_t type)
{
    static const char *const names[] = {
        [NBD_CMD_READ] = "read", [NBD_CMD_WRITE] = "write", [NBD_CMD_DISC] = "disconnect", [NBD_CMD_FLUSH] = "flush",
        [NBD_CMD_TRIM] = "trim", [NBD_CMD_CACHE] = "cache", [NBD_CMD_WRITE_ZEROES] = "write zeroes",
        [NBD_CMD_BLOCK_STATUS] = "block status"
    };

    return type < sizeof names / sizeof *names ? names[type] : "<unknown>";
}

/* Whatever is wrong with a request itself is "invalid" to the client. */
IMG_PRINTF(2, 3)
static void refuse(struct serve_request *request, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(request->text, sizeof request->text, format, arguments);
    va_end(arguments);
    request->failed = request->text;
    request->error = NBD_EINVAL;
}

static void refuse_length(struct serve_request *request)
{
    refuse(request, "len (%" PRIu64 ") is larger than max len (%u)", request->length, NBD_MAX_PAYLOAD);
}

/* Reading has failed.  What was being read, and what it consists of, is told as qemu-nbd does. */
static int not_read(struct serve_client *client, int code, const char *what, const char *pieces)
{
    char text[SERVE_WHY];

    if (serve_read_failure(&client->channel, code, pieces, text))
        snprintf(client->why, sizeof client->why, "%s%.*s", what, (int)(SERVE_WHY - 1 - strlen(what)), text);
    return code;
}

/* After the header, the client may not just leave. */
static int read_rest(struct serve_client *client, void *bytes, size_t length)
{
    int ret = serve_read(&client->channel, bytes, length);

    return ret == -ENODATA ? -EPIPE : ret;
}

/* The header.  1, DROP or a negative errno. */
static int read_header(struct serve_client *client, struct serve_request *request)
{
    bool extended = client->mode == SERVE_EXTENDED;
    uint32_t magic, wanted = extended ? NBD_EXTENDED_REQUEST_MAGIC : NBD_REQUEST_MAGIC;
    unsigned char head[NBD_EXTENDED_REQUEST_SIZE];
    int ret = serve_read(&client->channel, head, extended ? NBD_EXTENDED_REQUEST_SIZE : NBD_REQUEST_SIZE);

    if (ret < 0)
        return not_read(client, ret, "", "bytes");
    magic = img_get_be32(head);
    request->flags = img_get_be16(head + 4);
    request->type = img_get_be16(head + 6);
    request->cookie = img_get_be64(head + 8);
    request->from = img_get_be64(head + 16);
    request->length = extended ? img_get_be64(head + 24) : img_get_be32(head + 24);
    if (magic == wanted)
        return READY;
    refuse(request, "invalid magic (got 0x%" PRIx32 ", expected 0x%" PRIx32 ")", magic, wanted);
    return DROP;
}

static uint16_t allowed_flags(const struct serve_client *client, uint16_t type)
{
    bool extended = client->mode == SERVE_EXTENDED;

    switch (type) {
    case NBD_CMD_READ:
        return NBD_CMD_FLAG_FUA | (client->mode == SERVE_SIMPLE ? 0 : NBD_CMD_FLAG_DF);
    case NBD_CMD_WRITE:
        return NBD_CMD_FLAG_FUA | (extended ? NBD_CMD_FLAG_PAYLOAD_LEN : 0);
    case NBD_CMD_WRITE_ZEROES:
        return NBD_CMD_FLAG_FUA | NBD_CMD_FLAG_NO_HOLE | NBD_CMD_FLAG_FAST_ZERO;
    case NBD_CMD_BLOCK_STATUS:
        return NBD_CMD_FLAG_FUA | NBD_CMD_FLAG_REQ_ONE |
               (extended && client->contexts.count ? NBD_CMD_FLAG_PAYLOAD_LEN : 0);
    default:
        return NBD_CMD_FLAG_FUA;
    }
}

static bool changes(uint16_t type)
{
    return type == NBD_CMD_WRITE || type == NBD_CMD_TRIM || type == NBD_CMD_WRITE_ZEROES;
}

/* In the order in which qemu-nbd complains. */
static void check(const struct serve_client *client, struct serve_request *request)
{
    uint64_t size = client->export->told.length;
    bool status = request->type == NBD_CMD_BLOCK_STATUS;

    if (!client->export->told.writable && changes(request->type))
        refuse(request, "Export is read-only");
    else if (!img_within(request->from, request->length, size))
        refuse(request, "operation past EOF; From: %" PRIu64 ", Len: %" PRIu64 ", Size: %" PRIu64, request->from,
               request->length, size);
    else if (request->flags & ~allowed_flags(client, request->type))
        refuse(request, "unsupported flags for command %s (got 0x%x)", command_name(request->type), request->flags);
    else if (request->type > NBD_CMD_BLOCK_STATUS)
        refuse(request, "invalid request type (%u) received", request->type);
    else if (status && !request->contexts->count)
        refuse(request, request->contexts == &request->filter ? "CMD_BLOCK_STATUS payload not valid"
                                                              : "CMD_BLOCK_STATUS not negotiated");
    else if (status && !request->length)
        refuse(request, "need non-zero length");
}

/* Add a context by its id.  False: it was not chosen, or is there already. */
static bool add_context(const struct serve_contexts *chosen, struct serve_contexts *filter, uint32_t id)
{
    size_t bitmap = (size_t)id - SERVE_BITMAPS;
    const bool *from;
    bool *to;

    if (id >= SERVE_BITMAPS && bitmap >= chosen->export->told.bitmap_count)
        return false;
    from = id == SERVE_ALLOCATION ? &chosen->allocation : id == SERVE_DEPTH ? &chosen->depth : &chosen->bitmaps[bitmap];
    to = id == SERVE_ALLOCATION ? &filter->allocation : id == SERVE_DEPTH ? &filter->depth : &filter->bitmaps[bitmap];
    if (!*from || *to)
        return false;
    *to = true;
    filter->count++;
    return true;
}

/*
 * The payload of BLOCK_STATUS: the length of the range, and the contexts that the client wants to hear about.  One that
 * is not valid names none.
 */
static int read_filter(struct serve_client *client, struct serve_request *request)
{
    enum { ID = 4, LENGTH = 8 };
    const struct serve_contexts *chosen = &client->contexts;
    struct serve_contexts *filter = &request->filter;
    uint64_t left = request->length;
    unsigned char bytes[LENGTH];
    bool valid = left >= LENGTH && left % ID == 0 && left <= LENGTH + ID * (uint64_t)chosen->count;
    int ret = 0;

    request->contexts = filter;
    request->length = 0;
    if (valid) {
        ret = serve_contexts_begin(filter, chosen->export);
        if (ret < 0)
            return ret;
        ret = read_rest(client, bytes, LENGTH);
        request->length = ret == 0 ? img_get_be64(bytes) : 0;
        left -= LENGTH;
    }
    for (; ret == 0 && valid && left; left -= ID) {
        ret = read_rest(client, bytes, ID);
        valid = ret == 0 && add_context(chosen, filter, img_get_be32(bytes));
    }
    if (ret == 0)
        ret = serve_skip(&client->channel, left);
    if (ret < 0)
        return not_read(client, ret, "Failed to read CMD_BLOCK_STATUS data: ", "data");
    if (!valid)
        request->length = filter->count = 0;
    return ret;
}

static size_t buffer_size(const struct serve_client *client, const struct serve_request *request)
{
    switch (request->type) {
    case NBD_CMD_READ:
    case NBD_CMD_WRITE:
        return (size_t)request->length;
    case NBD_CMD_CACHE:
        return (size_t)img_min(request->length, SERVE_CACHE_PIECE);
    case NBD_CMD_BLOCK_STATUS:
        return SERVE_EXTENTS * (client->mode == SERVE_EXTENDED ? 16u : 8u);
    default:
        return 0;
    }
}

static int read_payload(struct serve_client *client, struct serve_request *request)
{
    bool flagged = client->mode == SERVE_EXTENDED && request->flags & NBD_CMD_FLAG_PAYLOAD_LEN;
    bool payload = request->type == NBD_CMD_WRITE || flagged;
    bool read = request->type == NBD_CMD_READ || request->type == NBD_CMD_CACHE;
    uint64_t length = request->length;
    size_t size;
    int ret = 0;

    if (request->length > NBD_MAX_PAYLOAD && (payload || read)) {
        refuse_length(request);
        return payload ? DROP : READY;
    }
    if (flagged && request->type == NBD_CMD_BLOCK_STATUS && client->contexts.count) {
        ret = read_filter(client, request);
        payload = false;
    } else if (payload && request->type != NBD_CMD_WRITE) {
        request->length = 0;        /* it was the length of the payload, which has no meaning here */
    }
    if (ret == 0)
        check(client, request);
    if (ret == 0 && payload && request->failed) {
        ret = serve_skip(&client->channel, length);
        payload = false;
        if (ret < 0)
            not_read(client, ret, "", "data");
    }
    size = ret == 0 && !request->failed ? buffer_size(client, request) : 0;
    if (size)
        ret = serve_buffer_take(&client->buffers, size, &request->buffer);
    if (ret == 0 && payload && size)
        ret = read_rest(client, request->buffer.bytes, size);
    if (ret < 0 && payload && request->buffer.bytes)
        not_read(client, ret, "Failed to read CMD_WRITE data: ", "data");
    return ret < 0 ? ret : READY;
}

int serve_receive(struct serve_client *client, struct serve_request *request)
{
    int ret;

    *request = (struct serve_request){ .contexts = &client->contexts };
    ret = read_header(client, request);
    if (ret != READY)
        return ret;
    if (request->type == NBD_CMD_DISC)
        return -ENODATA;
    return read_payload(client, request);
}

void serve_release(struct serve_client *client, struct serve_request *request)
{
    serve_buffer_return(&client->buffers, &request->buffer);
    serve_contexts_clear(&request->filter);
}
