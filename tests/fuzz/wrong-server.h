/* SPDX-License-Identifier: MIT */
/*
 * An NBD server for a fuzz target, whose answers follow a script: the bytes of the input.  Requests are real ones, and
 * an answer has the cookie of a request that waits, so that a wrong answer gets as far as it can.
 * Specification: doc/proto.md of the NBD project.
 *
 * It runs in one thread.  While requests wait for their answers, it never waits for another: so neither side hangs.
 * All bytes that it sends of the disk are wrong_byte() of their place, but those in holes, and those of an answer that
 * the script has the bytes of.  So a client that returns other ones has not received them.
 */
#ifndef FUZZ_WRONG_SERVER_H
#define FUZZ_WRONG_SERVER_H

#include "libimg/util/checked.h"
#include "libimg/util/endian.h"

#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { WRONG_CLIENTS = 6, WRONG_WAITING = 64, WRONG_MOST_DATA = 32 << 10, WRONG_DISK = 256 << 10, WRONG_PAUSES = 8 };
enum { WRONG_READ, WRONG_WRITE, WRONG_DISC, WRONG_STATUS = 7 };
enum { WRONG_GO = 7, WRONG_STRUCTURED = 8, WRONG_CONTEXT = 10, WRONG_ACK = 1, WRONG_INFO = 3, WRONG_META = 4 };
enum { WRONG_CHUNK_NONE, WRONG_CHUNK_DATA, WRONG_CHUNK_HOLE, WRONG_CHUNK_STATUS = 5, WRONG_CHUNK_ERROR = 0x8001 };
#define WRONG_SIMPLE UINT32_C(0x67446698)
#define WRONG_CHUNK UINT32_C(0x668e33ef)

struct wrong_script {
    const uint8_t *at;
    size_t left;
};

/* What the handshake says. */
struct wrong_export {
    uint64_t size;
    uint16_t flags;
    bool structured, map, blocks;
    uint32_t minimum, preferred, most;
};

struct wrong_request {
    int client;                     /* index of the connection */
    uint16_t command;
    uint8_t cookie[8];
    uint64_t offset;
    uint32_t length;
};

struct wrong_server {
    struct wrong_export export;
    struct wrong_script script;
    bool polite;                    /* after the script it answers well; otherwise it closes all */
    int listener;                   /* -1: there is only one connection */
    int end;                        /* readable when the client is done */
    int clients[WRONG_CLIENTS];     /* -1: none */
    bool lied[WRONG_CLIENTS];       /* the client may wait for more than it will get */
    bool opened;                    /* a connection was accepted */
    bool strange;                   /* one was not as the first: once is enough, since the client pauses then */
    struct wrong_request waiting[WRONG_WAITING];
    unsigned count;
    unsigned pauses;                /* of a millisecond: there is a limit */
    bool free_bytes;                /* bytes of the script were sent: nothing is known about the disk */
    uint8_t holes[WRONG_DISK];      /* 1: zeroes were sent for this byte */
};

/* ---- Script ---------------------------------------------------------------------------- */

static uint8_t wrong_take(struct wrong_script *script)
{
    if (script->left == 0)
        return 0;
    script->left--;
    return *script->at++;
}

static uint16_t wrong_take16(struct wrong_script *script)
{
    unsigned high = wrong_take(script);

    return (uint16_t)(high << 8 | wrong_take(script));
}

/* At most `length` bytes. */
static const uint8_t *wrong_take_bytes(struct wrong_script *script, size_t *length)
{
    const uint8_t *bytes = script->at;

    *length = *length < script->left ? *length : script->left;
    script->at += *length;
    script->left -= *length;
    return bytes;
}

/* What the disk holds there. */
static uint8_t wrong_byte(uint64_t offset)
{
    return (uint8_t)((offset / 5 + offset / 4096) | 1);
}

/* ---- Connections ----------------------------------------------------------------------- */

static void wrong_hang_up(struct wrong_server *s, int client)
{
    unsigned kept = 0;

    if (s->clients[client] < 0)
        return;
    close(s->clients[client]);
    s->clients[client] = -1;
    s->lied[client] = false;
    for (unsigned i = 0; i < s->count; i++)
        if (s->waiting[i].client != client)
            s->waiting[kept++] = s->waiting[i];
    s->count = kept;
}

static void wrong_send(struct wrong_server *s, int client, const void *bytes, size_t length)
{
    for (size_t done = 0; done < length && s->clients[client] >= 0;) {
        ssize_t sent = send(s->clients[client], (const char *)bytes + done, length - done, MSG_NOSIGNAL);
        if (sent < 0)
            wrong_hang_up(s, client);
        else
            done += (size_t)sent;
    }
}

static bool wrong_receive(struct wrong_server *s, int client, void *bytes, size_t length)
{
    if (s->clients[client] < 0)
        return false;
    if (length == 0 || recv(s->clients[client], bytes, length, MSG_WAITALL) == (ssize_t)length)
        return true;
    wrong_hang_up(s, client);
    return false;
}

/* ---- Handshake ------------------------------------------------------------------------- */

/* The reply to an option, behind what is in `to`; returns the new length. */
static size_t wrong_put_reply(uint8_t *to, size_t length, uint32_t option, uint32_t type, const void *data, size_t size)
{
    img_put_be64(to + length, UINT64_C(0x3e889045565a9));
    img_put_be32(to + length + 8, option);
    img_put_be32(to + length + 12, type);
    img_put_be32(to + length + 16, (uint32_t)size);
    if (size)
        memcpy(to + length + 20, data, size);
    return length + 20 + size;
}

static size_t wrong_put_go(const struct wrong_export *export, uint8_t *to, size_t length)
{
    uint8_t info[14] = { 0 };

    img_put_be64(info + 2, export->size);
    img_put_be16(info + 10, export->flags);
    length = wrong_put_reply(to, length, WRONG_GO, WRONG_INFO, info, 12);
    if (export->blocks) {
        img_put_be16(info, 3);
        img_put_be32(info + 2, export->minimum);
        img_put_be32(info + 6, export->preferred);
        img_put_be32(info + 10, export->most);
        length = wrong_put_reply(to, length, WRONG_GO, WRONG_INFO, info, 14);
    }
    return wrong_put_reply(to, length, WRONG_GO, WRONG_ACK, NULL, 0);
}

/* The right answer to an option; returns its length. */
static size_t wrong_answer_option(const struct wrong_export *export, uint32_t option, uint8_t *to)
{
    static const char context[] = "\0\0\0\1base:allocation";
    uint32_t refused = UINT32_C(0x80000001);

    switch (option) {
    case WRONG_STRUCTURED:
        return wrong_put_reply(to, 0, option, export->structured ? WRONG_ACK : refused, NULL, 0);
    case WRONG_CONTEXT:
        return wrong_put_reply(to, export->map ? wrong_put_reply(to, 0, option, WRONG_META, context, 19) : 0, option,
                               WRONG_ACK, NULL, 0);
    case WRONG_GO:
        return wrong_put_go(export, to, 0);
    default:
        return wrong_put_reply(to, 0, option, refused, NULL, 0);
    }
}

static const uint8_t wrong_greeting[18] = "NBDMAGICIHAVEOPT\0\3";

static void wrong_shake_hands(struct wrong_server *s, int client)
{
    uint8_t head[16], data[4096], answer[256];
    uint32_t option = 0;

    wrong_send(s, client, wrong_greeting, sizeof wrong_greeting);
    wrong_receive(s, client, head, 4);
    while (option != WRONG_GO && wrong_receive(s, client, head, sizeof head)) {
        uint32_t length = img_get_be32(head + 12);
        option = img_get_be32(head + 8);
        if (length > sizeof data)
            abort();                /* the client is not wrong */
        if (wrong_receive(s, client, data, length))
            wrong_send(s, client, answer, wrong_answer_option(&s->export, option, answer));
    }
}

/* One more connection; the script may have the export changed, or the client sent away. */
static void wrong_accept(struct wrong_server *s)
{
    int fd = accept(s->listener, NULL, NULL), client = 0;
    uint8_t how = s->opened && !s->strange ? wrong_take(&s->script) : 0;
    struct wrong_export kept = s->export;

    s->strange |= how >= 1 && how <= 4;
    while (client < WRONG_CLIENTS && s->clients[client] >= 0)
        client++;
    if (fd < 0 || client == WRONG_CLIENTS || how == 1) {
        close(fd);
        return;
    }
    s->opened = true;
    s->clients[client] = fd;
    if (how == 2)
        s->export.size ^= 512;
    else if (how == 3)
        s->export.flags ^= wrong_take(&s->script);
    else if (how == 4)
        s->export.structured = !s->export.structured;
    wrong_shake_hands(s, client);
    s->export = kept;
}

/* ---- Requests -------------------------------------------------------------------------- */

static void wrong_take_request(struct wrong_server *s, int client)
{
    static uint8_t payload[WRONG_MOST_DATA];
    struct wrong_request *request = &s->waiting[s->count];
    uint8_t head[28];

    if (s->count == WRONG_WAITING || !wrong_receive(s, client, head, sizeof head)) {
        wrong_hang_up(s, client);
        return;
    }
    *request = (struct wrong_request){ .client = client, .command = img_get_be16(head + 6),
                                       .offset = img_get_be64(head + 16), .length = img_get_be32(head + 24) };
    memcpy(request->cookie, head + 8, 8);
    if (img_get_be32(head) != UINT32_C(0x25609513))
        abort();
    for (uint32_t left = request->command == WRONG_WRITE ? request->length : 0; left > 0;) {
        uint32_t part = left < sizeof payload ? left : (uint32_t)sizeof payload;
        if (!wrong_receive(s, client, payload, part))
            return;
        left -= part;
    }
    if (request->command == WRONG_DISC)
        wrong_hang_up(s, client);
    else
        s->count++;
}

/* Take what has come, within `milliseconds` (-1: wait for it).  False: the client is done. */
static bool wrong_listen(struct wrong_server *s, int milliseconds)
{
    struct pollfd wait[WRONG_CLIENTS + 2] = { { .fd = s->end, .events = POLLIN },
                                              { .fd = s->listener, .events = POLLIN } };

    for (int i = 0; i < WRONG_CLIENTS; i++)
        wait[i + 2] = (struct pollfd){ .fd = s->clients[i], .events = POLLIN };
    if (poll(wait, WRONG_CLIENTS + 2, milliseconds) <= 0)
        return true;
    if (wait[0].revents)
        return false;
    for (int i = 0; i < WRONG_CLIENTS; i++)
        if (wait[i + 2].revents)
            wrong_take_request(s, i);
    if (wait[1].revents)
        wrong_accept(s);
    return true;
}

static bool wrong_pause(struct wrong_server *s)
{
    return wrong_listen(s, s->pauses++ < WRONG_PAUSES ? 1 : 0);
}

static bool wrong_any_lie(const struct wrong_server *s)
{
    for (int i = 0; i < WRONG_CLIENTS; i++)
        if (s->lied[i])
            return true;
    return false;
}

/* ---- Answers --------------------------------------------------------------------------- */

static void wrong_send_chunk(struct wrong_server *s, const struct wrong_request *r, uint16_t flags, uint16_t type,
                             uint32_t length, const void *data, size_t size)
{
    uint8_t head[20];

    img_put_be32(head, WRONG_CHUNK);
    img_put_be16(head + 4, flags);
    img_put_be16(head + 6, type);
    memcpy(head + 8, r->cookie, 8);
    img_put_be32(head + 16, length);
    wrong_send(s, r->client, head, sizeof head);
    wrong_send(s, r->client, data, size);
}

static void wrong_send_simple(struct wrong_server *s, const struct wrong_request *r, uint32_t error)
{
    uint8_t head[16];

    img_put_be32(head, WRONG_SIMPLE);
    img_put_be32(head + 4, error);
    memcpy(head + 8, r->cookie, 8);
    wrong_send(s, r->client, head, sizeof head);
}

/* Bytes of the disk behind `head` bytes. */
__attribute__((noinline)) static uint8_t *wrong_content(uint64_t offset, size_t length, size_t head)
{
    static uint8_t buffer[WRONG_MOST_DATA + 8];

    for (size_t i = 0; i < length; i++)
        buffer[head + i] = wrong_byte(offset + i);
    return buffer;
}

static void wrong_send_data(struct wrong_server *s, const struct wrong_request *r, uint16_t flags, uint64_t offset,
                            uint32_t length)
{
    uint8_t *bytes = wrong_content(offset, length, 8);

    img_put_be64(bytes, offset);
    wrong_send_chunk(s, r, flags, WRONG_CHUNK_DATA, length + 8, bytes, length + 8);
}

static void wrong_send_hole(struct wrong_server *s, const struct wrong_request *r, uint16_t flags, uint64_t offset,
                            uint32_t length)
{
    uint8_t bytes[12];

    if (offset < WRONG_DISK)
        memset(s->holes + offset, 1, length < WRONG_DISK - offset ? length : WRONG_DISK - offset);
    img_put_be64(bytes, offset);
    img_put_be32(bytes + 8, length);
    wrong_send_chunk(s, r, flags, WRONG_CHUNK_HOLE, sizeof bytes, bytes, sizeof bytes);
}

/* The right answer. */
static void wrong_answer_well(struct wrong_server *s, const struct wrong_request *r)
{
    uint8_t status[12] = { 0, 0, 0, 1 };

    if (r->command == WRONG_READ && r->length > WRONG_MOST_DATA) {
        wrong_send_simple(s, r, 22);
    } else if (r->command == WRONG_READ && s->export.structured) {
        wrong_send_data(s, r, 1, r->offset, r->length);
    } else if (r->command == WRONG_STATUS) {
        img_put_be32(status + 4, r->length);
        wrong_send_chunk(s, r, 1, WRONG_CHUNK_STATUS, sizeof status, status, sizeof status);
    } else {
        wrong_send_simple(s, r, 0);
        if (r->command == WRONG_READ)
            wrong_send(s, r->client, wrong_content(r->offset, r->length, 0), r->length);
    }
}

/* A part of the request's range, in 128ths, and a little more. */
static void wrong_part(struct wrong_server *s, const struct wrong_request *r, uint64_t *offset, uint32_t *length)
{
    uint32_t range = r->length < WRONG_MOST_DATA / 2 ? r->length : WRONG_MOST_DATA / 2;
    uint8_t from = wrong_take(&s->script), count = wrong_take(&s->script);

    *offset = r->offset + (uint64_t)range * (from & 0x7f) / 128 + (from >> 7);
    *length = (uint32_t)((uint64_t)range * (count & 0x7f) / 64) + (count >> 7);
}

static void wrong_send_status(struct wrong_server *s, const struct wrong_request *r, uint16_t flags)
{
    uint8_t bytes[4 + 8 * 8] = { 0, 0, 0 }, how = wrong_take(&s->script);
    unsigned count = how & 7;

    bytes[3] = how & 8 ? how >> 4 : 1;
    for (unsigned i = 0; i < count; i++) {
        uint16_t run = wrong_take16(&s->script);
        img_put_be32(bytes + 4 + 8 * i, run & 0x8000 ? UINT32_MAX - (run & 0x7fff) : (uint32_t)run * 16);
        img_put_be32(bytes + 8 + 8 * i, wrong_take(&s->script));
    }
    wrong_send_chunk(s, r, flags, WRONG_CHUNK_STATUS, 4 + 8 * count, bytes, 4 + 8 * count);
}

static void wrong_send_error(struct wrong_server *s, const struct wrong_request *r, uint16_t flags)
{
    uint8_t bytes[6 + 255 + 8] = { 0 }, type = wrong_take(&s->script);
    size_t length = wrong_take(&s->script), size;
    const uint8_t *text = wrong_take_bytes(&s->script, &length);

    bytes[3] = wrong_take(&s->script);
    img_put_be16(bytes + 4, (uint16_t)length);
    memcpy(bytes + 6, text, length);
    size = 6 + length + (type & 2 ? 8 : 0);
    img_put_be64(bytes + 6 + length, r->offset + (type & 4 ? r->length : 0));
    wrong_send_chunk(s, r, flags, (uint16_t)(WRONG_CHUNK_ERROR + (type & 3)), (uint32_t)size, bytes, size);
}

/* No error, but no bytes either: the client takes those of the next answer. */
static void wrong_send_error_number(struct wrong_server *s, const struct wrong_request *r)
{
    uint8_t error = wrong_take(&s->script);

    if (error == 0 && r->command == WRONG_READ)
        s->lied[r->client] = s->free_bytes = true;
    wrong_send_simple(s, r, error);
}

/* Flags, type, bytes: all from the script.  The length may be another. */
static void wrong_send_free(struct wrong_server *s, const struct wrong_request *r, bool honest)
{
    uint16_t flags = wrong_take16(&s->script), type = wrong_take16(&s->script);
    size_t length = wrong_take(&s->script);
    uint32_t told = honest ? 0 : (uint32_t)wrong_take16(&s->script) << (wrong_take(&s->script) & 31);
    const uint8_t *bytes = wrong_take_bytes(&s->script, &length);

    s->free_bytes = true;
    s->lied[r->client] = true;
    wrong_send_chunk(s, r, flags, type, honest ? (uint32_t)length : told, bytes, length);
}

static void wrong_send_raw(struct wrong_server *s, int client)
{
    size_t length = wrong_take(&s->script);
    const uint8_t *bytes = wrong_take_bytes(&s->script, &length);

    s->free_bytes = true;
    s->lied[client] = true;
    wrong_send(s, client, bytes, length);
}

/* One answer, or a part of one.  The last part of it ends the request. */
static void wrong_step(struct wrong_server *s, unsigned index, uint8_t what, bool last)
{
    const struct wrong_request r = s->waiting[index];
    uint16_t flags = last;
    uint64_t offset;
    uint32_t length;

    switch (what) {
    case 0:
        last = true;
        wrong_answer_well(s, &r);
        break;
    case 1:
        wrong_part(s, &r, &offset, &length);
        wrong_send_data(s, &r, flags, offset, length);
        break;
    case 2:
        wrong_part(s, &r, &offset, &length);
        wrong_send_hole(s, &r, flags, offset, length);
        break;
    case 3:
        wrong_send_chunk(s, &r, flags, WRONG_CHUNK_NONE, 0, NULL, 0);
        break;
    case 4:
        wrong_send_error(s, &r, flags);
        break;
    case 5:
        wrong_send_status(s, &r, flags);
        break;
    case 6:
    case 7:
        wrong_send_free(s, &r, what == 6);
        break;
    case 8:
        wrong_send_raw(s, r.client);
        break;
    case 9:
        last = true;
        wrong_send_error_number(s, &r);
        break;
    case 10:
        wrong_pause(s);             /* perhaps there will be more to choose from */
        return;
    default:
        wrong_hang_up(s, r.client);
        return;
    }
    /* (it is forgotten already if the connection is gone) */
    if (last && s->clients[r.client] >= 0)
        s->waiting[index] = s->waiting[--s->count];
}

/* ---- All of it ------------------------------------------------------------------------- */

/* Take what has come; wait only if nobody waits for us.  False: the client is done, or waits for the rest of a lie. */
static bool wrong_gather(struct wrong_server *s)
{
    if (s->count || !wrong_any_lie(s))
        return wrong_listen(s, s->count ? 0 : -1);
    return wrong_pause(s) && (s->count || s->pauses < WRONG_PAUSES);
}

static bool wrong_any_client(const struct wrong_server *s)
{
    for (int i = 0; i < WRONG_CLIENTS; i++)
        if (s->clients[i] >= 0)
            return true;
    return s->listener >= 0;
}

static void wrong_end_lies(struct wrong_server *s)
{
    for (int i = 0; i < WRONG_CLIENTS; i++)
        if (s->lied[i])
            wrong_hang_up(s, i);
}

static void *wrong_serve(void *context)
{
    struct wrong_server *s = context;
    bool more = true;

    if (s->clients[0] >= 0)
        wrong_shake_hands(s, 0);
    while (more && s->script.left && wrong_any_client(s)) {
        more = wrong_gather(s);
        if (s->count) {
            uint8_t what = wrong_take(&s->script), which = wrong_take(&s->script);
            wrong_step(s, (which & 0x7f) % s->count, what % 12, which >> 7);
        }
    }
    wrong_end_lies(s);
    for (more = true; more && s->polite && wrong_any_client(s);) {
        more = wrong_gather(s);
        while (s->count)
            wrong_step(s, s->count - 1, 0, true);
    }
    for (int i = 0; i < WRONG_CLIENTS; i++)
        wrong_hang_up(s, i);
    return NULL;
}

#endif
