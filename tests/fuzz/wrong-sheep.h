/* SPDX-License-Identifier: MIT */
/*
 * A sheep for a fuzz target, whose answers follow a script: the bytes of the input.  Requests are real ones, and an
 * answer has the id of a request that waits, so that a wrong answer gets as far as it can.
 *
 * It runs in one thread.  While requests wait for their answers, it never waits for another: so neither side hangs.
 * All bytes that it sends of the disk are sheep_byte() of their place; what is written is forgotten.  So a client that
 * returns other bytes, which are no zeroes of its own, has not received them.
 */
#ifndef FUZZ_WRONG_SHEEP_H
#define FUZZ_WRONG_SHEEP_H

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

enum { SHEEP_CLIENTS = 6, SHEEP_WAITING = 64, SHEEP_PAUSES = 8, SHEEP_MOST_BUSY = 4, SHEEP_HEADER = 48 };
enum { SHEEP_MOST = 2 << 20, SHEEP_INODE = 4664, SHEEP_OBJECTS = 4 };
enum { SHEEP_READ = 2, SHEEP_NEW = 0x11, SHEEP_LOCK, SHEEP_RELEASE, SHEEP_FIND, SHEEP_VDIS, SHEEP_FLUSH, SHEEP_DELETE };
enum { SHEEP_ID = 0x021707 };       /* that of "x"; the next one is a snapshot of it */

struct sheep_script {
    const uint8_t *at;
    size_t left;
};

struct sheep_request {
    int client;                     /* index of the connection */
    uint8_t header[SHEEP_HEADER];
};

struct sheep_server {
    struct sheep_script script;
    uint64_t size;                  /* of the disk */
    uint32_t owners[SHEEP_OBJECTS];
    bool polite;                    /* after the script it answers well; otherwise it closes all */
    int listener;                   /* -1: there is only one connection */
    int end;                        /* readable when the client is done */
    int clients[SHEEP_CLIENTS];     /* -1: none */
    bool lied[SHEEP_CLIENTS];       /* the client may wait for more than it will get */
    struct sheep_request waiting[SHEEP_WAITING];
    unsigned count, pauses, busy;
    bool free_bytes;                /* bytes of the script were sent: nothing is known about the disk */
};

/* ---- Script ---------------------------------------------------------------------------- */

static uint8_t sheep_take(struct sheep_script *script)
{
    if (script->left == 0)
        return 0;
    script->left--;
    return *script->at++;
}

static const uint8_t *sheep_take_bytes(struct sheep_script *script, size_t *length)
{
    const uint8_t *bytes = script->at;

    *length = *length < script->left ? *length : script->left;
    script->at += *length;
    script->left -= *length;
    return bytes;
}

/* What the disk holds there; never 0. */
static uint8_t sheep_byte(uint64_t offset)
{
    return (uint8_t)((offset / 5 + offset / 4096) | 1);
}

/* ---- Connections ----------------------------------------------------------------------- */

static void sheep_hang_up(struct sheep_server *s, int client)
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

static void sheep_send(struct sheep_server *s, int client, const void *bytes, size_t length)
{
    for (size_t done = 0; done < length && s->clients[client] >= 0;) {
        ssize_t sent = send(s->clients[client], (const char *)bytes + done, length - done, MSG_NOSIGNAL);
        if (sent < 0)
            sheep_hang_up(s, client);
        else
            done += (size_t)sent;
    }
}

static bool sheep_receive(struct sheep_server *s, int client, void *bytes, size_t length)
{
    if (s->clients[client] < 0)
        return false;
    if (length == 0 || recv(s->clients[client], bytes, length, MSG_WAITALL) == (ssize_t)length)
        return true;
    sheep_hang_up(s, client);
    return false;
}

static void sheep_accept(struct sheep_server *s)
{
    int fd = accept(s->listener, NULL, NULL), client = 0;

    while (client < SHEEP_CLIENTS && s->clients[client] >= 0)
        client++;
    if (fd >= 0 && client < SHEEP_CLIENTS)
        s->clients[client] = fd;
    else if (fd >= 0)
        close(fd);
}

/* ---- Requests -------------------------------------------------------------------------- */

static void sheep_take_request(struct sheep_server *s, int client)
{
    static uint8_t payload[SHEEP_MOST];
    struct sheep_request *request = &s->waiting[s->count];
    uint32_t length;

    if (s->count == SHEEP_WAITING || !sheep_receive(s, client, request->header, SHEEP_HEADER)) {
        sheep_hang_up(s, client);
        return;
    }
    request->client = client;
    length = img_get_le32(request->header + 12);
    if (request->header[0] != 1 || length > SHEEP_MOST)
        abort();                    /* the client is not wrong */
    if ((request->header[2] & 1) && !sheep_receive(s, client, payload, length))
        return;
    s->count++;
}

/* Take what comes within so many milliseconds (-1: wait).  False: the client is done. */
static bool sheep_listen(struct sheep_server *s, int milliseconds)
{
    struct pollfd wait[SHEEP_CLIENTS + 2];

    for (int i = 0; i < SHEEP_CLIENTS; i++)
        wait[i] = (struct pollfd){ .fd = s->clients[i], .events = POLLIN };
    wait[SHEEP_CLIENTS] = (struct pollfd){ .fd = s->listener, .events = POLLIN };
    wait[SHEEP_CLIENTS + 1] = (struct pollfd){ .fd = s->end, .events = POLLIN };
    if (poll(wait, SHEEP_CLIENTS + 2, milliseconds) <= 0)
        return true;
    for (int i = 0; i < SHEEP_CLIENTS; i++)
        if (wait[i].revents && s->clients[i] == wait[i].fd)
            sheep_take_request(s, i);
    if (wait[SHEEP_CLIENTS].revents)
        sheep_accept(s);
    return !wait[SHEEP_CLIENTS + 1].revents;
}

static bool sheep_any_lie(const struct sheep_server *s)
{
    for (int i = 0; i < SHEEP_CLIENTS; i++)
        if (s->lied[i])
            return true;
    return false;
}

static bool sheep_any_client(const struct sheep_server *s)
{
    for (int i = 0; i < SHEEP_CLIENTS; i++)
        if (s->clients[i] >= 0)
            return true;
    return s->listener >= 0;
}

static void sheep_end_lies(struct sheep_server *s)
{
    for (int i = 0; i < SHEEP_CLIENTS; i++)
        if (s->lied[i])
            sheep_hang_up(s, i);
}

/* ---- Good answers ------------------------------------------------------------------------ */

static void sheep_put_inode(const struct sheep_server *s, uint32_t id, uint8_t *to)
{
    bool snapshot = id == SHEEP_ID + 1;

    to[0] = 'x';
    to[256] = snapshot ? 'o' : 0;
    img_put_le64(to + 512, 77);
    img_put_le64(to + 520, snapshot ? 99 : 0);
    img_put_le64(to + 536, s->size);
    to[554] = 2;
    to[555] = 20;
    img_put_le32(to + 556, snapshot ? 1 : 2);
    img_put_le32(to + 560, id);
    img_put_le32(to + 564, snapshot ? 0 : SHEEP_ID + 1);
}

/* The bytes of an object from `offset` on. */
static void sheep_put_object(const struct sheep_server *s, const uint8_t *header, uint8_t *to, uint32_t length)
{
    static uint8_t inode[SHEEP_INODE + SHEEP_OBJECTS * 4];
    uint64_t oid = img_get_le64(header + 16), offset = img_get_le32(header + 40);

    if (oid >> 63) {
        memset(inode, 0, sizeof inode);
        sheep_put_inode(s, (uint32_t)(oid >> 32) & 0xffffff, inode);
        for (int i = 0; i < SHEEP_OBJECTS; i++)
            img_put_le32(inode + SHEEP_INODE + 4 * i, s->owners[i]);
    }
    for (uint32_t i = 0; i < length; i++) {
        uint64_t at = offset + i;
        to[i] = !(oid >> 63) ? sheep_byte((oid & 0xffffffff) << 20 | at) : at < sizeof inode ? inode[at] : 0;
    }
}

static void sheep_put_bitmap(uint8_t *to)
{
    to[SHEEP_ID / 8] |= (uint8_t)(1 << SHEEP_ID % 8);
    to[(SHEEP_ID + 1) / 8] |= (uint8_t)(1 << (SHEEP_ID + 1) % 8);
}

/* The answer; returns its length. */
static size_t sheep_good(const struct sheep_server *s, const struct sheep_request *r, uint8_t *to)
{
    uint8_t op = r->header[1];
    uint32_t length = op == SHEEP_READ || op == SHEEP_VDIS ? img_get_le32(r->header + 12) : 0;

    memset(to, 0, SHEEP_HEADER + (op == SHEEP_VDIS ? length : 0));
    memcpy(to, r->header, 16);
    img_put_le32(to + 12, length);
    if (op == SHEEP_READ)
        sheep_put_object(s, r->header, to + SHEEP_HEADER, length);
    else if (op == SHEEP_VDIS)
        sheep_put_bitmap(to + SHEEP_HEADER);
    else if (op == SHEEP_NEW || op == SHEEP_LOCK || op == SHEEP_FIND)
        img_put_le32(to + 24, SHEEP_ID);
    else if (op == SHEEP_FLUSH)
        img_put_le32(to + 16, 5);
    return SHEEP_HEADER + length;
}

/* ---- Answers of the script ------------------------------------------------------------------ */

/* A result other than success.  (one of a cluster that is busy makes the client pause) */
static void sheep_fail(struct sheep_server *s, const struct sheep_request *r)
{
    uint8_t answer[SHEEP_HEADER] = { 0 }, result = sheep_take(&s->script);

    if (result == 0x0f || result == 0x17 || result >= 0x80)
        result = s->busy++ < SHEEP_MOST_BUSY ? result : 1;
    memcpy(answer, r->header, 12);
    answer[16] = result;
    s->free_bytes |= result == 0;
    sheep_send(s, r->client, answer, sizeof answer);
}

/* Change the good answer: `times` bytes of it. */
static void sheep_spoil(struct sheep_server *s, uint8_t *answer, size_t length, unsigned times)
{
    s->free_bytes = true;
    for (unsigned i = 0; i < times; i++) {
        size_t at = (size_t)sheep_take(&s->script) << 8;
        at |= sheep_take(&s->script);
        answer[at % length] ^= sheep_take(&s->script);
    }
    s->lied[0] = true;
    for (int i = 0; i < SHEEP_CLIENTS; i++)
        s->lied[i] |= s->clients[i] >= 0;
}

static void sheep_send_raw(struct sheep_server *s, int client)
{
    size_t length = sheep_take(&s->script);
    const uint8_t *bytes = sheep_take_bytes(&s->script, &length);

    s->free_bytes = s->lied[client] = true;
    sheep_send(s, client, bytes, length);
}

/* One answer. */
static void sheep_step(struct sheep_server *s, unsigned index, uint8_t what)
{
    static uint8_t answer[SHEEP_HEADER + SHEEP_MOST];
    const struct sheep_request r = s->waiting[index];
    size_t length = what == 4 || what == 5 ? 0 : sheep_good(s, &r, answer);

    switch (what) {
    case 0:
        sheep_send(s, r.client, answer, length);
        break;
    case 1:
        sheep_fail(s, &r);
        break;
    case 2:                         /* fewer or more bytes than it says, or than were asked for */
        img_put_le32(answer + 12, (uint32_t)sheep_take(&s->script) << (sheep_take(&s->script) & 31));
        s->lied[r.client] = s->free_bytes = true;
        sheep_send(s, r.client, answer, length);
        break;
    case 3:
        img_put_le32(answer + 8, img_get_le32(answer + 8) + sheep_take(&s->script));
        s->lied[r.client] = s->free_bytes = true;
        sheep_send(s, r.client, answer, length);
        break;
    case 4:
        sheep_send_raw(s, r.client);
        return;
    case 5:
        sheep_hang_up(s, r.client);
        return;
    case 6:                         /* in the header, or what follows soon */
        sheep_spoil(s, answer, length < 700 ? length : 700, 1 + (sheep_take(&s->script) & 3));
        sheep_send(s, r.client, answer, length);
        break;
    case 7:                         /* twice */
        s->free_bytes = s->lied[r.client] = true;
        sheep_send(s, r.client, answer, length);
        sheep_send(s, r.client, answer, length);
        break;
    default:                        /* perhaps there will be more to choose from */
        if (s->pauses++ < SHEEP_PAUSES)
            sheep_listen(s, 1);
        return;
    }
    /* (it is forgotten already if the connection is gone) */
    if (s->clients[r.client] >= 0 && index < s->count)
        s->waiting[index] = s->waiting[--s->count];
}

/* ---- All of it ------------------------------------------------------------------------- */

/* Take what has come; wait only if nobody waits for us.  False: the client is done, or waits for the rest of a lie. */
static bool sheep_gather(struct sheep_server *s)
{
    if (s->count || !sheep_any_lie(s))
        return sheep_listen(s, s->count ? 0 : -1);
    return sheep_listen(s, 1) && (s->count || s->pauses++ < SHEEP_PAUSES);
}

static void *sheep_serve(void *context)
{
    struct sheep_server *s = context;
    bool more = true;

    while (more && s->script.left && sheep_any_client(s)) {
        more = sheep_gather(s);
        if (s->count) {
            uint8_t what = sheep_take(&s->script);
            sheep_step(s, (what >> 4) % s->count, what & 15);
        }
    }
    sheep_end_lies(s);
    while (more && s->polite && sheep_any_client(s)) {
        more = sheep_gather(s);
        while (s->count)
            sheep_step(s, s->count - 1, 0);
    }
    for (int i = 0; i < SHEEP_CLIENTS; i++)
        sheep_hang_up(s, i);
    return NULL;
}

#endif
