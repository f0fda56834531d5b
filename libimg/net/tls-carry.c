/* SPDX-License-Identifier: MIT */
/*
 * tls-carry.c - carries the bytes of a session both ways, in one thread that never blocks except in poll().
 *
 *     the caller  <->  plain  <->  up, down  <->  the TLS library  <->  wire.out, wire.in  <->  fd  <->  the peer
 *
 * Each direction ends by itself.  When the caller has closed its end, or shut down its writing, what it wrote is sent,
 * then a TLS bye, then the end of the stream.  When the peer has said bye, the caller reads the end.  When the stream
 * breaks, what was decrypted is still given to the caller, then its end is shut down in both directions.
 */
#include "tls-wire.h"
#include "util/clock.h"
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

/*
 * Milliseconds that the peer gets when the caller has closed its end.  STALL: to take some of the bytes that are left.
 * LINGER: to close its end after it got them all.  If the socket were closed with bytes unread, the kernel would throw
 * away what the peer has not received yet.
 */
enum { STALL = 30000, LINGER = 2000 };

struct carrier {
    struct img_tls_session *session;
    bool up_ended;                  /* the caller writes no more */
    bool gone;                      /* the caller has closed its end: nobody reads */
    bool said_bye, sent_end;        /* to the peer: TLS bye; the end of the stream */
    bool down_ended;                /* the peer says no more */
    bool down_closed;               /* and the caller was told */
    struct img_error broken;        /* what broke the stream; code 0: nothing did */
    uint64_t patience;              /* until then, when the caller is gone; 0: it is not */
    int plain_code;                 /* of the caller's end; no error worth telling */
};

static void be_patient(struct carrier *carrier)
{
    carrier->patience = img_now_milliseconds() + (carrier->sent_end ? LINGER : STALL);
}

/* Nothing can be sent or received any more.  A caller that writes, and does not read what is left, learns it now. */
static void break_off(struct carrier *carrier)
{
    struct img_tls_session *session = carrier->session;

    carrier->up_ended = carrier->said_bye = carrier->sent_end = carrier->down_ended = true;
    img_tls_taken(&session->up, img_tls_held(&session->up));
    img_tls_taken(&session->wire.out, img_tls_held(&session->wire.out));
    shutdown(session->plain, SHUT_RD);
}

/* The wire takes no more.  What the peer has sent before is still read. */
static void stop_sending(struct carrier *carrier)
{
    struct img_tls_session *session = carrier->session;

    img_tls_taken(&session->up, img_tls_held(&session->up));
    carrier->up_ended = carrier->said_bye = carrier->sent_end = true;
    if (carrier->broken.code == 0)
        img_error_set(&carrier->broken, session->wire.out_error, "Cannot write to TLS channel: %s",
                      img_strerror(session->wire.out_error));
    shutdown(session->plain, SHUT_RD);
}

/* ---- To the peer ----------------------------------------------------------------- */

static bool encrypt(struct carrier *carrier)
{
    struct img_tls_session *session = carrier->session;
    struct img_tls_buffer *up = &session->up;
    bool moved = false;

    while (img_tls_held(up) && !session->wire.out_error && img_tls_room(&session->wire.out) >= IMG_TLS_WIRE_RECORD) {
        size_t length = img_tls_held(up) < IMG_TLS_RECORD ? img_tls_held(up) : IMG_TLS_RECORD;
        int64_t n = session->ops->write(session->session, up->at + up->start, length, &carrier->broken);

        if (n == -EAGAIN)
            break;
        if (n < 0) {
            break_off(carrier);
            return true;
        }
        img_tls_taken(up, (size_t)n);
        moved = true;
    }
    return moved;
}

/* All was encrypted that the caller has written: say so to the peer. */
static bool say_end(struct carrier *carrier)
{
    struct img_tls_session *session = carrier->session;
    struct img_tls_wire *wire = &session->wire;
    int ret;

    if (!carrier->up_ended || img_tls_held(&session->up) || carrier->sent_end)
        return false;
    if (!carrier->said_bye) {
        if (img_tls_room(&wire->out) < IMG_TLS_WIRE_RECORD)
            return false;
        ret = session->ops->bye(session->session, &carrier->broken);
        if (ret < 0 && ret != -EAGAIN)
            break_off(carrier);
        carrier->said_bye |= ret != -EAGAIN;
        return ret != -EAGAIN;
    }
    if (img_tls_held(&wire->out))
        return false;
    shutdown(session->fd, SHUT_WR);
    carrier->sent_end = true;
    if (carrier->gone)
        be_patient(carrier);
    return true;
}

/* What the peer was told already goes no further. */
static void drop_first(struct img_tls_session *session)
{
    size_t held = img_tls_held(&session->up), drop = held < session->dropped ? held : session->dropped;

    img_tls_taken(&session->up, drop);
    session->dropped -= drop;
}

static bool carry_up(struct carrier *carrier)
{
    struct img_tls_session *session = carrier->session;
    bool moved = img_tls_receive(session->plain, &session->up, &carrier->up_ended, &carrier->plain_code);

    drop_first(session);
    moved |= encrypt(carrier);
    moved |= say_end(carrier);
    if (img_tls_send(session->fd, &session->wire.out, &session->wire.out_error)) {
        moved = true;
        if (session->wire.out_error)
            stop_sending(carrier);
        else if (carrier->gone)
            be_patient(carrier);
    }
    return moved;
}

/* ---- To the caller ------------------------------------------------------------------ */

static bool decrypt(struct carrier *carrier)
{
    struct img_tls_session *session = carrier->session;
    struct img_tls_buffer *down = &session->down;
    bool moved = false;

    /* What nobody reads need not be decrypted, only taken off the wire. */
    if (carrier->gone || carrier->down_ended)
        img_tls_taken(&session->wire.in, img_tls_held(&session->wire.in));
    while (!carrier->down_ended && !carrier->gone && img_tls_room(down) >= IMG_TLS_RECORD) {
        int64_t n = session->ops->read(session->session, down->at + down->end, img_tls_room(down), &carrier->broken);

        if (n == -EAGAIN)
            break;
        moved = true;
        if (n < 0)
            break_off(carrier);
        else if (n == 0)
            carrier->down_ended = true;
        else
            down->end += (size_t)n;
    }
    return moved;
}

/* The caller has read all: tell it the end, and why if the stream broke. */
static bool close_down(struct carrier *carrier, void (*tell)(struct img_tls_session *, const struct img_error *))
{
    struct img_tls_session *session = carrier->session;

    if (!carrier->down_ended || carrier->down_closed || (img_tls_held(&session->down) && !carrier->gone))
        return false;
    if (carrier->broken.code)
        tell(session, &carrier->broken);
    shutdown(session->plain, carrier->broken.code ? SHUT_RDWR : SHUT_WR);
    carrier->down_closed = true;
    return true;
}

static bool carry_down(struct carrier *carrier, void (*tell)(struct img_tls_session *, const struct img_error *))
{
    struct img_tls_session *session = carrier->session;
    struct img_tls_wire *wire = &session->wire;
    bool moved = img_tls_receive(session->fd, &wire->in, &wire->in_ended, &wire->in_error);

    moved |= decrypt(carrier);
    if (carrier->gone) {
        img_tls_taken(&session->down, img_tls_held(&session->down));
        carrier->down_ended |= wire->in_ended;
    }
    moved |= img_tls_send(session->plain, &session->down, &carrier->plain_code);
    moved |= close_down(carrier, tell);
    return moved;
}

/* ---- Both --------------------------------------------------------------------------- */

static bool done(struct carrier *carrier)
{
    if (carrier->sent_end && carrier->down_closed)
        return true;
    if (!carrier->gone)
        return false;
    if (!carrier->patience)
        be_patient(carrier);
    return img_now_milliseconds() >= carrier->patience;
}

/* What to wait for; a descriptor of which nothing is wanted is left out, since poll() reports its end in any case. */
static void wait_for_more(struct carrier *carrier)
{
    struct img_tls_session *session = carrier->session;
    struct pollfd fds[2] = { { .fd = session->plain }, { .fd = session->fd } };
    uint64_t now = img_now_milliseconds();
    /* The end of a caller that writes no more shows as POLLHUP, without being asked for. */
    bool watch = carrier->up_ended && !carrier->gone && !carrier->down_closed;
    int timeout = !carrier->patience ? -1 : carrier->patience > now ? (int)(carrier->patience - now) : 0;

    if (!carrier->up_ended && img_tls_room(&session->up))
        fds[0].events |= POLLIN;
    if (img_tls_held(&session->down) && !carrier->gone && !carrier->plain_code)
        fds[0].events |= POLLOUT;
    if (!session->wire.in_ended && img_tls_room(&session->wire.in))
        fds[1].events |= POLLIN;
    if (img_tls_held(&session->wire.out))
        fds[1].events |= POLLOUT;
    for (int i = 0; i < 2; i++)
        if (!fds[i].events && !(i == 0 && watch))
            fds[i].fd = -1;
    if (poll(fds, 2, timeout) > 0)
        carrier->gone |= carrier->up_ended && (fds[0].revents & (POLLHUP | POLLERR)) != 0;
}

void img_tls_carry(struct img_tls_session *session,
                   void (*tell)(struct img_tls_session *session, const struct img_error *err))
{
    struct carrier carrier = { .session = session, .broken = IMG_ERROR_INIT };

    while (!done(&carrier)) {
        bool moved = carry_up(&carrier);

        moved |= carry_down(&carrier, tell);
        carrier.gone |= carrier.plain_code != 0 ||
                        (carrier.up_ended && __atomic_load_n(&session->leaving, __ATOMIC_ACQUIRE));
        if (!moved)
            wait_for_more(&carrier);
    }
    img_error_clear(&carrier.broken);
}
