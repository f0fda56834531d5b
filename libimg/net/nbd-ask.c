/* SPDX-License-Identifier: MIT */
/*
 * nbd-ask.c - the client's side of the handshake.  Everything that arrives has a bound, in bytes and in time.
 */
#include "nbd-ask.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/endian.h"
#include "util/fd.h"
#include "util/printable.h"
#include "util/strbuf.h"
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#define UNEXPECTED_END "Unexpected end-of-file before all data were read"

/* ---- Bytes ------------------------------------------------------------------------ */

/* Wait for the socket.  0 or a negative errno. */
static int await(const struct img_nbd_peer *peer, short events)
{
    return img_fd_wait(peer->fd, events, peer->deadline, peer->stop);
}

/* *got: bytes read before the end of the stream. */
static int read_bytes(struct img_nbd_peer *peer, unsigned char *to, size_t length, size_t *got)
{
    *got = 0;
    while (*got < length) {
        int ret = await(peer, POLLIN);
        ssize_t n = ret < 0 ? ret : recv(peer->fd, to + *got, length - *got, MSG_DONTWAIT);

        if (ret < 0)
            return ret;
        if (n == 0)
            return 0;
        if (n > 0)
            *got += (size_t)n;
        else if (errno != EAGAIN && errno != EINTR)
            return -errno;
    }
    return 0;
}

int img_nbd_read(struct img_nbd_peer *peer, void *bytes, size_t length, const char *what, struct img_error *err)
{
    size_t got;
    int ret = read_bytes(peer, bytes, length, &got);

    if (ret < 0)
        return img_error_errno(err, -ret, "Failed to read %s: Unable to read from socket", what);
    if (got < length)
        return img_error_set(err, EINVAL, "Failed to read %s: " UNEXPECTED_END, what);
    return 0;
}

int img_nbd_write(struct img_nbd_peer *peer, const void *bytes, size_t length, struct img_error *err)
{
    const unsigned char *at = bytes;

    while (length) {
        int ret = await(peer, POLLOUT);
        ssize_t n = ret < 0 ? -1 : send(peer->fd, at, length, MSG_DONTWAIT | MSG_NOSIGNAL);

        if (n < 0 && ret == 0 && (errno == EAGAIN || errno == EINTR))
            continue;
        if (n < 0)
            return img_error_errno(err, ret < 0 ? -ret : errno, "Unable to write to socket");
        at += n;
        length -= (size_t)n;
    }
    return 0;
}

/* ---- The greeting --------------------------------------------------------------------- */

/* An oldstyle server says all it has to say at once. */
static int greet_old(struct img_nbd_peer *peer, struct img_error *err)
{
    unsigned char bytes[12];
    int ret = img_nbd_read(peer, bytes, 8, "export length", err);

    if (ret == 0)
        ret = img_nbd_read(peer, bytes + 8, 4, "export flags", err);
    if (ret < 0)
        return ret;
    peer->old = true;
    peer->old_size = img_get_be64(bytes);
    peer->old_flags = img_get_be32(bytes + 8);
    if (peer->old_flags & ~0xffffu)
        return img_error_set(err, EINVAL, "Unexpected export flags %xx", peer->old_flags);
    return 0;
}

int img_nbd_judge_greeting(const unsigned char *bytes, size_t have, struct img_error *err)
{
    uint64_t magic;

    if (have == 0)
        return img_error_set(err, EPROTO, "Failed to read initial magic: " UNEXPECTED_END);
    magic = have >= 8 ? img_get_be64(bytes) : NBD_MAGIC;
    if (magic != NBD_MAGIC)
        return img_error_set(err, EINVAL, "Bad initial magic received: 0x%llx", (unsigned long long)magic);
    magic = have >= 16 ? img_get_be64(bytes + 8) : NBD_OPTION_MAGIC;
    if (magic != NBD_OPTION_MAGIC && magic != NBD_OLD_MAGIC)
        return img_error_set(err, EINVAL, "Bad server magic received: 0x%llx", (unsigned long long)magic);
    return 0;
}

int img_nbd_greet(struct img_nbd_peer *peer, struct img_error *err)
{
    unsigned char *bytes = peer->greeting, flags[4];
    int ret = img_nbd_read(peer, bytes, 8, "initial magic", err);

    if (ret == 0)
        ret = img_nbd_judge_greeting(bytes, 8, err);
    if (ret == 0)
        ret = img_nbd_read(peer, bytes + 8, 8, "server magic", err);
    if (ret == 0)
        ret = img_nbd_judge_greeting(bytes, 16, err);
    if (ret < 0)
        return ret;
    if (img_get_be64(bytes + 8) == NBD_OLD_MAGIC)
        return greet_old(peer, err);
    ret = img_nbd_read(peer, bytes + 16, 2, "server flags", err);
    if (ret < 0)
        return ret;
    peer->flags = img_get_be16(bytes + 16);
    img_put_be32(flags, peer->flags & (NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES));
    ret = img_nbd_write(peer, flags, sizeof flags, err);
    return ret < 0 ? img_error_prefix(err, "Failed to send clientflags field: ") : 0;
}

/* ---- Options ---------------------------------------------------------------------------- */

int img_nbd_ask(struct img_nbd_peer *peer, uint32_t option, const void *data, size_t length, struct img_error *err)
{
    unsigned char head[NBD_OPTION_SIZE];
    int ret;

    img_put_be64(head, NBD_OPTION_MAGIC);
    img_put_be32(head + 8, option);
    img_put_be32(head + 12, (uint32_t)length);
    ret = img_nbd_write(peer, head, sizeof head, err);
    if (ret == 0)
        ret = img_nbd_write(peer, data, length, err);
    return ret < 0 ? img_error_prefix(err, "Failed to send option request: ") : 0;
}

/* What qemu-nbd says about a refusal. */
static void set_refusal(uint32_t option, uint32_t type, struct img_error *err)
{
    static const char *const texts[] = {
        [1] = "Unsupported option type %u (%s)", [2] = "Denied by server for option %u (%s)",
        [3] = "Invalid parameters for option %u (%s)", [4] = "Server lacks support for option %u (%s)",
        [5] = "TLS negotiation required before option %u (%s)", [7] = "Server shutting down before option %u (%s)",
        [8] = "Server requires INFO_BLOCK_SIZE for option %u (%s)",
    };
    uint32_t index = type & ~NBD_REP_ERROR(0);
    const char *text = index < sizeof texts / sizeof *texts ? texts[index] : NULL;

    if (type == NBD_REP_ERR_UNKNOWN)
        img_error_set(err, EINVAL, "Requested export not available");
    else
        img_error_set(err, EINVAL, text ? text : "Unknown error code when asking for option %u (%s)", option,
                      img_nbd_option_name(option));
}

/* The words of the server, without what a terminal would obey. */
static void add_hint(const struct img_nbd_answer *answer, struct img_error *err)
{
    bool tls = answer->type == NBD_REP_ERR_TLS_REQD;
    struct img_strbuf text = { 0 };

    if (tls)
        img_strbuf_add(&text, "Did you forget a valid tls-creds?");
    if (answer->length)
        img_strbuf_printf(&text, "%sserver reported: ", tls ? "\n" : "");
    for (uint32_t i = 0; i < answer->length; i++)
        img_strbuf_add_char(&text, img_printable((char)answer->bytes[i]));
    if (text.length && !text.failed)
        img_error_hint(err, "%s", text.text);
    img_strbuf_free(&text);
}

static int refused(uint32_t option, bool strict, struct img_nbd_answer *answer, struct img_error *err)
{
    int ret = 0;

    if (strict && answer->type != NBD_REP_ERR_UNSUP) {
        set_refusal(option, answer->type, err);
        add_hint(answer, err);
        ret = -EINVAL;
    }
    free(answer->bytes);
    answer->bytes = NULL;
    return ret;
}

static int too_long(uint32_t option, const struct img_nbd_answer *answer, struct img_error *err)
{
    if (option == NBD_OPT_LIST_META_CONTEXT)
        return img_error_set(err, EINVAL, "Failed to negotiate meta context, server answered with unexpected length %u",
                             answer->length);
    return img_error_set(err, EINVAL, "incorrect option length %u", answer->length);
}

int img_nbd_answer(struct img_nbd_peer *peer, uint32_t option, uint32_t most, bool strict,
                   struct img_nbd_answer *answer, struct img_error *err)
{
    unsigned char head[NBD_OPTION_REPLY_SIZE];
    int ret = img_nbd_read(peer, head, sizeof head, "option reply", err);
    bool error;

    if (ret < 0)
        return ret;
    if (img_get_be64(head) != NBD_OPTION_REPLY_MAGIC)
        return img_error_set(err, EINVAL, "Unexpected option reply magic");
    if (img_get_be32(head + 8) != option)
        return img_error_set(err, EINVAL, "Unexpected option type %u (%s), expected %u (%s)", img_get_be32(head + 8),
                             img_nbd_option_name(img_get_be32(head + 8)), option, img_nbd_option_name(option));
    *answer = (struct img_nbd_answer){ .type = img_get_be32(head + 12), .length = img_get_be32(head + 16) };
    error = (answer->type & NBD_REP_ERROR(0)) != 0;
    if (answer->length > (error ? (uint32_t)NBD_MAX_STRING : most))
        return error ? img_error_set(err, EINVAL, "server error %u (%s) message is too long", answer->type,
                                     img_nbd_reply_name(answer->type)) : too_long(option, answer, err);
    answer->bytes = img_malloc(answer->length);
    if (!answer->bytes)
        return img_error_memory(err);
    ret = img_nbd_read(peer, answer->bytes, answer->length, "option reply", err);
    if (ret < 0) {
        free(answer->bytes);
        answer->bytes = NULL;
        return ret;
    }
    return error ? refused(option, strict, answer, err) : 1;
}

int img_nbd_may(struct img_nbd_peer *peer, uint32_t option, bool strict, struct img_error *err)
{
    struct img_nbd_answer answer;
    int ret = img_nbd_ask(peer, option, NULL, 0, err);

    if (ret == 0)
        ret = img_nbd_answer(peer, option, NBD_MAX_STRING, strict, &answer, err);
    if (ret <= 0)
        return ret;
    free(answer.bytes);
    if (answer.type != NBD_REP_ACK)
        return img_error_set(err, EINVAL, "Server answered option %u (%s) with unexpected reply %x (%s)", option,
                             img_nbd_option_name(option), answer.type, img_nbd_reply_name(answer.type));
    if (answer.length)
        return img_error_set(err, EINVAL, "Option %u ('%s') response length is %u (it should be zero)", option,
                             img_nbd_option_name(option), answer.length);
    return 1;
}

int img_nbd_start_tls(struct img_nbd_peer *peer, struct img_tls_creds *tls, const char *host,
                      const struct img_tls_replay *replay, struct img_error *err)
{
    uint64_t now, left;
    int ret;

    if (peer->old || !(peer->flags & NBD_FLAG_FIXED_NEWSTYLE))
        return img_error_set(err, EINVAL, "Server does not support STARTTLS");
    ret = img_nbd_may(peer, NBD_OPT_STARTTLS, true, err);
    if (ret < 0)
        return ret;
    if (ret == 0)
        return img_error_set(err, EINVAL, "Server don't support STARTTLS option");
    now = img_now_milliseconds();
    left = peer->deadline > now ? peer->deadline - now : 1;
    ret = replay ? img_tls_start_replayed(tls, peer->fd, host, left, peer->stop, replay, err)
                 : img_tls_start(tls, peer->fd, host, left, peer->stop, NULL, err);
    peer->fd = ret < 0 ? -1 : ret;
    return ret < 0 ? ret : 0;
}
