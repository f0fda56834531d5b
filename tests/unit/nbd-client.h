/* SPDX-License-Identifier: MIT */
/* nbd-client.h - a client of the NBD server in the same process: it sends what it is told to, right or wrong. */
#ifndef NBD_CLIENT_H
#define NBD_CLIENT_H

#include "libimg/net/nbd-protocol.h"
#include "libimg/serve.h"
#include "libimg/util/endian.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct nbd_client {
    struct img_server *server;
    int fd, theirs;                 /* the two ends */
    pthread_t thread;               /* serves the other end */
    int mode;                       /* 0: simple, 1: structured, 2: extended */
};

static inline void *nbd_serve(void *context)
{
    struct nbd_client *c = context;

    int ret = img_server_talk(c->server, c->theirs, c->theirs);
    shutdown(c->theirs, SHUT_RDWR);
    return (void *)(intptr_t)ret;
}

static inline void nbd_begin(struct nbd_client *c, struct img_server *server)
{
    int pair[2];

    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
        abort();
    *c = (struct nbd_client){ .server = server, .fd = pair[0], .theirs = pair[1] };
    if (pthread_create(&c->thread, NULL, nbd_serve, c) != 0)
        abort();
}

/* Hang up; returns what img_server_talk said. */
static inline int nbd_end(struct nbd_client *c)
{
    void *result;

    close(c->fd);
    pthread_join(c->thread, &result);
    close(c->theirs);
    return (int)(intptr_t)result;
}

static inline bool nbd_send(struct nbd_client *c, const void *bytes, size_t length)
{
    const char *at = bytes;

    while (length) {
        ssize_t n = send(c->fd, at, length, MSG_NOSIGNAL);
        if (n <= 0)
            return false;
        at += n;
        length -= (size_t)n;
    }
    return true;
}

static inline bool nbd_recv(struct nbd_client *c, void *bytes, size_t length)
{
    return length == 0 || recv(c->fd, bytes, length, MSG_WAITALL) == (ssize_t)length;
}

/* Has the server hung up? */
static inline bool nbd_is_over(struct nbd_client *c)
{
    char byte;

    return recv(c->fd, &byte, 1, 0) <= 0;
}

static inline void nbd_option(struct nbd_client *c, uint32_t id, const void *bytes, uint32_t length)
{
    unsigned char head[NBD_OPTION_SIZE];

    img_put_be64(head, NBD_OPTION_MAGIC);
    img_put_be32(head + 8, id);
    img_put_be32(head + 12, length);
    nbd_send(c, head, sizeof head);
    nbd_send(c, bytes, length);
}

/* The next answer to an option: its type; text[] of `room` bytes gets what comes with it. */
static inline uint32_t nbd_option_answer(struct nbd_client *c, char *text, size_t room)
{
    unsigned char head[NBD_OPTION_REPLY_SIZE];
    uint32_t length;

    if (!nbd_recv(c, head, sizeof head) || img_get_be64(head) != NBD_OPTION_REPLY_MAGIC)
        return 0;
    length = img_get_be32(head + 16);
    if (length >= room || !nbd_recv(c, text, length))
        return 0;
    text[length] = 0;
    return img_get_be32(head + 12);
}

static inline bool nbd_greeting(struct nbd_client *c, uint32_t flags)
{
    unsigned char greeting[NBD_GREETING_SIZE], answer[4];

    img_put_be32(answer, flags);
    return nbd_recv(c, greeting, sizeof greeting) && img_get_be64(greeting) == NBD_MAGIC && nbd_send(c, answer, 4);
}

static inline size_t nbd_put_text(unsigned char *at, const char *text)
{
    img_put_be32(at, (uint32_t)strlen(text));
    memcpy(at + 4, text, strlen(text));
    return 4 + strlen(text);
}

/* SET_META_CONTEXT for the export "" with one query; reads the answers.  Returns the number of contexts. */
static inline int nbd_set_context(struct nbd_client *c, const char *query)
{
    unsigned char bytes[600] = {0};
    char text[600];
    int count = 0;

    img_put_be32(bytes + 4, 1);
    nbd_option(c, NBD_OPT_SET_META_CONTEXT, bytes, (uint32_t)(8 + nbd_put_text(bytes + 8, query)));
    while (nbd_option_answer(c, text, sizeof text) == NBD_REP_META_CONTEXT)
        count++;
    return count;
}

/* GO to the export "".  Returns its transmission flags, 0 after a failure. */
static inline unsigned nbd_go(struct nbd_client *c)
{
    static const unsigned char nothing[6];
    char text[5000];
    unsigned flags = 0;
    uint32_t type;

    nbd_option(c, NBD_OPT_GO, nothing, sizeof nothing);
    while ((type = nbd_option_answer(c, text, sizeof text)) == NBD_REP_INFO)
        if (img_get_be16(text) == NBD_INFO_EXPORT)
            flags = img_get_be16(text + 10);
    return type == NBD_REP_ACK ? flags : 0;
}

/* The whole handshake: mode 0, 1 or 2; context NULL: none. */
static inline bool nbd_open(struct nbd_client *c, struct img_server *server, int mode, const char *context)
{
    char text[200];

    nbd_begin(c, server);
    c->mode = mode;
    if (!nbd_greeting(c, NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES))
        return false;
    if (mode) {
        nbd_option(c, mode == 1 ? NBD_OPT_STRUCTURED_REPLY : NBD_OPT_EXTENDED_HEADERS, NULL, 0);
        if (nbd_option_answer(c, text, sizeof text) != NBD_REP_ACK)
            return false;
    }
    return (!context || nbd_set_context(c, context) == 1) && nbd_go(c) != 0;
}

static inline void nbd_request(struct nbd_client *c, uint16_t type, uint16_t flags, uint64_t cookie, uint64_t from,
                               uint64_t length)
{
    unsigned char head[NBD_EXTENDED_REQUEST_SIZE];

    img_put_be32(head, c->mode == 2 ? NBD_EXTENDED_REQUEST_MAGIC : NBD_REQUEST_MAGIC);
    img_put_be16(head + 4, flags);
    img_put_be16(head + 6, type);
    img_put_be64(head + 8, cookie);
    img_put_be64(head + 16, from);
    if (c->mode == 2)
        img_put_be64(head + 24, length);
    else
        img_put_be32(head + 24, (uint32_t)length);
    nbd_send(c, head, c->mode == 2 ? NBD_EXTENDED_REQUEST_SIZE : NBD_REQUEST_SIZE);
}

/* One simple answer, or one chunk. */
struct img_nbd_answer {
    bool simple, last;
    uint16_t type;
    uint32_t error, length;
    uint64_t cookie, offset;        /* offset: with extended headers */
    unsigned char bytes[64];        /* the first of a chunk */
};

/* The payload of a chunk of data or of a simple answer stays to be read; all others are read. */
static inline bool nbd_answer(struct nbd_client *c, struct img_nbd_answer *a)
{
    unsigned char head[NBD_EXTENDED_REPLY_SIZE];

    *a = (struct img_nbd_answer){ .last = true };
    if (!nbd_recv(c, head, NBD_SIMPLE_REPLY_SIZE))
        return false;
    a->simple = img_get_be32(head) == NBD_SIMPLE_REPLY_MAGIC;
    a->cookie = img_get_be64(head + 8);
    if (a->simple) {
        a->error = img_get_be32(head + 4);
        return c->mode != 2;
    }
    a->last = img_get_be16(head + 4) & NBD_REPLY_FLAG_DONE;
    a->type = img_get_be16(head + 6);
    size_t size = c->mode == 2 ? NBD_EXTENDED_REPLY_SIZE : NBD_STRUCTURED_REPLY_SIZE;
    if (!nbd_recv(c, head + NBD_SIMPLE_REPLY_SIZE, size - NBD_SIMPLE_REPLY_SIZE))
        return false;
    a->offset = c->mode == 2 ? img_get_be64(head + 16) : 0;
    a->length = c->mode == 2 ? (uint32_t)img_get_be64(head + 24) : img_get_be32(head + 16);
    if (a->type == NBD_REPLY_TYPE_OFFSET_DATA)
        return nbd_recv(c, a->bytes, 8);
    for (uint32_t left = a->length, at = 0; left; ) {
        unsigned char more[64];
        uint32_t part = left < sizeof more ? left : (uint32_t)sizeof more;
        if (!nbd_recv(c, at ? more : a->bytes, part))
            return false;
        at += part;
        left -= part;
    }
    if (a->type & NBD_REPLY_TYPE_ERROR_BIT)
        a->error = img_get_be32(a->bytes);
    return true;
}

/* Receive all of the answer to one request, alone in flight; `data` (NULL: none) gets what a read returns.  Returns its
 * error number, or -1. */
static inline int nbd_finish(struct nbd_client *c, uint64_t cookie, uint64_t from, void *data, size_t length)
{
    struct img_nbd_answer a;
    int error = 0;

    do {
        if (!nbd_answer(c, &a) || a.cookie != cookie)
            return -1;
        if (a.error)
            error = (int)a.error;
        else if (a.simple && data && !nbd_recv(c, data, length))
            return -1;
        else if (a.type == NBD_REPLY_TYPE_OFFSET_DATA &&
                 !nbd_recv(c, (char *)data + (img_get_be64(a.bytes) - from), a.length - 8))
            return -1;
        else if (a.type == NBD_REPLY_TYPE_OFFSET_HOLE)
            memset((char *)data + (img_get_be64(a.bytes) - from), 0, img_get_be32(a.bytes + 8));
    } while (!a.last);
    return error;
}

static inline int nbd_do(struct nbd_client *c, uint16_t type, uint16_t flags, uint64_t from, uint64_t length)
{
    static uint64_t cookie = 1;
    uint64_t mine = __atomic_add_fetch(&cookie, 1, __ATOMIC_RELAXED);

    nbd_request(c, type, flags, mine, from, length);
    return nbd_finish(c, mine, from, NULL, 0);
}

static inline int nbd_read(struct nbd_client *c, void *data, uint16_t flags, uint64_t from, uint32_t length)
{
    nbd_request(c, NBD_CMD_READ, flags, from + 7, from, length);
    return nbd_finish(c, from + 7, from, length ? data : NULL, length);
}

static inline int nbd_write(struct nbd_client *c, const void *data, uint16_t flags, uint64_t from, uint32_t length)
{
    nbd_request(c, NBD_CMD_WRITE, flags | (c->mode == 2 ? NBD_CMD_FLAG_PAYLOAD_LEN : 0), from + 9, from, length);
    nbd_send(c, data, length);
    return nbd_finish(c, from + 9, from, NULL, 0);
}

#endif
