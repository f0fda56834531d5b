/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target: a server that is asked for its exports.  The first byte chooses what is sent: the input as it is, or
 * replies whose magic is right and whose option is the one that comes next.  Such a reply is, in the input: how the
 * next option is reached (same, next, any), a type, a length, and as many bytes.
 */
#include "libimg/serve.h"
#include "libimg/util/endian.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "quarantine_size_mb=4:malloc_context_size=4";
}

enum { MAX_INPUT = 32 << 10, MAX_SENT = 96 << 10, REPLY = 20 };

struct sent {
    uint8_t bytes[MAX_SENT];
    size_t length;
};

static void add(struct sent *sent, const void *bytes, size_t length)
{
    if (length > MAX_SENT - sent->length)
        length = MAX_SENT - sent->length;
    memcpy(sent->bytes + sent->length, bytes, length);
    sent->length += length;
}

/* Options are asked in this order; the last three again for each export. */
static uint32_t next_option(uint32_t option)
{
    switch (option) {
    case 11:
        return 8;
    case 8:
        return 3;
    case 6:
        return 9;
    default:
        return 6;
    }
}

/* One reply.  The type has an error bit and four others, the length is that of the bytes or, now and then, another. */
static void add_reply(struct sent *sent, uint32_t *option, const uint8_t **data, size_t *size)
{
    uint8_t reply[REPLY], how = (*data)[0], type = (*data)[1];
    size_t length = (*data)[2] << (how >> 5 & 1);

    *data += 3;
    *size -= 3;
    if (length > *size)
        length = *size;
    if ((how & 3) == 1)
        *option = next_option(*option);
    else if ((how & 3) == 2)
        *option = how >> 2 & 7;
    img_put_be64(reply, UINT64_C(0x3e889045565a9));
    img_put_be32(reply + 8, *option);
    img_put_be32(reply + 12, (type & 0x80 ? UINT32_C(0x80000000) : 0) | (type & 0x1f));
    img_put_be32(reply + 16, how & 0x80 ? (uint32_t)type << 16 : (uint32_t)length);
    add(sent, reply, sizeof reply);
    add(sent, *data, length);
    *data += length;
    *size -= length;
}

static void add_replies(struct sent *sent, const uint8_t *data, size_t size)
{
    uint32_t option = 11;

    add(sent, "NBDMAGICIHAVEOPT\0\3", 18);
    while (size >= 3)
        add_reply(sent, &option, &data, &size);
}

/* What is told has the types that serve.h promises. */
static void judge(const struct img_doc *list)
{
    for (size_t i = 0; i < img_doc_count(list); i++) {
        const struct img_doc *export = img_doc_at(list, i), *contexts = img_doc_get(export, "contexts");

        if (!img_doc_string_at(export, "name") || !img_doc_string_at(export, "mode"))
            abort();
        if (contexts && img_doc_type(contexts) != IMG_DOC_ARRAY)
            abort();
        if (!img_doc_get(export, "size") != !img_doc_get(export, "flags"))
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct sent sent;
    struct img_error err = IMG_ERROR_INIT;
    struct img_doc *list;
    int pair[2], status;

    if (size == 0 || size > MAX_INPUT)
        return 0;
    sent.length = 0;
    if (data[0] & 1)
        add_replies(&sent, data + 1, size - 1);
    else
        add(&sent, data + 1, size - 1);
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0 ||
        send(pair[0], sent.bytes, sent.length, MSG_NOSIGNAL) != (ssize_t)sent.length)
        abort();
    shutdown(pair[0], SHUT_WR);
    status = img_server_list(pair[1], NULL, NULL, &list, &err);
    if ((status < 0) != (err.text != NULL) || (status < 0) != (list == NULL))
        abort();
    if (list)
        judge(list);
    free(list ? img_doc_json(list, 4) : NULL);
    img_doc_free(list);
    img_error_clear(&err);
    close(pair[0]);
    return 0;
}
