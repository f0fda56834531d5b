/* SPDX-License-Identifier: MIT */
/*
 * One connection.  Threads put their requests on the socket as far as it takes them, and then one waits for it on
 * behalf of all (net/turns.h).  Answers come in any order, and their bytes go where the request wants them.
 */
#include "sheepdog.h"
#include "../../libimg/util/checked.h"
#include "../../libimg/util/cleanup.h"
#include "../../libimg/util/clock.h"
#include "../../libimg/util/endian.h"
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

/*
 * How often the clock is looked at, in milliseconds.  A request whose bytes come so slowly that it takes LONGEST times the
 * patience is too late, too.
 */
enum { TICK = 500, LONGEST = 10 };

/* ---- The end ------------------------------------------------------------------------------------ */

/* Nothing comes any more: all requests get this. */
static void lose(struct sheepdog_connection *c, int why)
{
    if (c->lost)
        return;
    c->lost = true;
    shutdown(c->fd, SHUT_RDWR);
    c->queue = NULL;
    c->queue_end = &c->queue;
    c->answered = NULL;
    for (struct img_turn *turn = c->turns.first; turn; turn = turn->next) {
        struct sheepdog_request *r = (struct sheepdog_request *)turn;
        if (turn->done)
            continue;
        r->error = why;
        img_turn_answer(turn);
    }
    img_turns_wake(&c->turns);
}

/* What a call of the socket returned: bytes, or 0: there are none now, or it is lost. */
static size_t moved(struct sheepdog_connection *c, ssize_t count)
{
    if (count > 0) {
        c->heard = img_now_milliseconds();
        return (size_t)count;
    }
    if (count == 0 || (errno != EAGAIN && errno != EINTR))
        lose(c, IMG_POOL_LOST);
    return 0;
}

/* ---- Sending -------------------------------------------------------------------------------------- */

static size_t whole_length(const struct sheepdog_request *r)
{
    return sizeof r->header + r->send_length;
}

/* What is left of a request.  False: the socket takes no more for now. */
static bool send_some(struct sheepdog_connection *c, struct sheepdog_request *r)
{
    size_t of_header = img_min(r->sent, sizeof r->header), of_bytes = r->sent - of_header;
    struct iovec parts[] = {
        { r->header + of_header, sizeof r->header - of_header },
        { r->send_length ? (char *)r->send + of_bytes : NULL, r->send_length - of_bytes },
    };
    const struct msghdr message = { .msg_iov = parts, .msg_iovlen = r->send_length ? 2 : 1 };
    size_t count = moved(c, sendmsg(c->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT));

    r->sent += count;
    return count > 0;
}

static void send_queue(struct sheepdog_connection *c)
{
    while (c->queue && send_some(c, c->queue)) {
        if (c->queue->sent < whole_length(c->queue))
            continue;
        c->queue = c->queue->behind;
        if (!c->queue)
            c->queue_end = &c->queue;
    }
}

static void enqueue(struct sheepdog_connection *c, struct sheepdog_request *r)
{
    r->behind = NULL;
    *c->queue_end = r;
    c->queue_end = &r->behind;
}

/* ---- Receiving -------------------------------------------------------------------------------------- */

/* The request that waits for an answer with this id. */
static struct sheepdog_request *find(struct sheepdog_connection *c, uint32_t id)
{
    for (struct img_turn *turn = c->turns.first; turn; turn = turn->next) {
        struct sheepdog_request *r = (struct sheepdog_request *)turn;
        if (!turn->done && r->id == id)
            return r->sent == whole_length(r) ? r : NULL;
    }
    return NULL;
}

/* An answer that nobody asked for, or with more or fewer bytes than were asked for, makes all others doubtful. */
static bool makes_sense(const struct sheepdog_request *r, uint32_t result, uint32_t length)
{
    if (!r || length > r->room)
        return false;
    return !r->whole || result != SHEEPDOG_SUCCESS || length == r->room;
}

static void finish(struct sheepdog_connection *c, struct sheepdog_request *r)
{
    c->answered = NULL;
    c->got = 0;
    img_turn_answer(&r->turn);
}

static void begin_answer(struct sheepdog_connection *c)
{
    struct sheepdog_request *r = find(c, sheepdog_answer_id(c->header));
    uint32_t length = sheepdog_answer_length(c->header), result = sheepdog_answer_result(c->header);

    if (!makes_sense(r, result, length)) {
        lose(c, -EPROTO);
        return;
    }
    memcpy(r->answer, c->header, sizeof r->answer);
    r->result = result;
    r->answer_length = length;
    c->answered = r;
    if (length == 0)
        finish(c, r);
}

/* False: there is no more for now. */
static bool receive_some(struct sheepdog_connection *c)
{
    struct sheepdog_request *r = c->answered;
    size_t count;

    if (r) {
        count = moved(c, recv(c->fd, (char *)r->receive + r->got, r->answer_length - r->got, MSG_DONTWAIT));
        if (c->lost)
            return false;
        r->got += (uint32_t)count;
        if (r->got == r->answer_length)
            finish(c, r);
        return count > 0;
    }
    count = moved(c, recv(c->fd, c->header + c->got, sizeof c->header - c->got, MSG_DONTWAIT));
    c->got += count;
    if (c->got == sizeof c->header)
        begin_answer(c);
    return count > 0;
}

/* ---- Waiting ------------------------------------------------------------------------------------------ */

/* Wait once, with the lock released.  -ETIMEDOUT, -ECANCELED (`stop` is readable), or another negative errno. */
static int wait_once(void *connection, int stop, int milliseconds)
{
    struct sheepdog_connection *c = connection;
    short happened;
    int ret = img_turns_wait(&c->turns, c->fd, (short)(c->queue ? POLLIN | POLLOUT : POLLIN), stop, milliseconds,
                             &happened);

    if (happened & ~POLLOUT)
        while (!c->lost && receive_some(c))
            ;
    if (happened & POLLOUT && !c->lost)
        send_queue(c);
    return ret;
}

static bool is_overdue(const struct sheepdog_connection *c, const struct sheepdog_request *r, uint64_t now)
{
    return now > img_max(r->started, c->heard) + c->timeout || now > r->started + LONGEST * c->timeout;
}

/* Look at the time of all requests. */
static void look_at_clock(void *connection)
{
    struct sheepdog_connection *c = connection;
    uint64_t now = img_now_milliseconds();

    if (!c->timeout || now < c->looked + img_min(TICK, c->timeout / 4))
        return;
    c->looked = now;
    for (struct img_turn *turn = c->turns.first; turn; turn = turn->next) {
        if (!turn->done && is_overdue(c, (struct sheepdog_request *)turn, now)) {
            lose(c, -ETIMEDOUT);
            return;
        }
    }
}

static void give_up(void *connection)
{
    lose(connection, IMG_POOL_LOST);
}

static const struct img_turn_ops turn_ops = {
    .wait = wait_once, .tick = TICK, .look_at_clock = look_at_clock, .give_up = give_up
};

/* ---- For others ------------------------------------------------------------------------------------------ */

int sheepdog_connection_open(struct sheepdog_connection *c, const struct sheepdog_target *target, uint64_t timeout,
                             int stop, struct img_error *err)
{
    int ret;

    *c = (struct sheepdog_connection){ .timeout = timeout };
    c->queue_end = &c->queue;
    c->fd = img_dial(&target->address, timeout, stop, err);
    if (c->fd < 0)
        return c->fd;
    ret = img_turns_init(&c->turns);
    if (ret == 0)
        return 0;
    close(c->fd);
    return img_error_errno(err, -ret, "Could not make a pipe");
}

void sheepdog_connection_close(struct sheepdog_connection *c)
{
    close(c->fd);
    img_turns_end(&c->turns);
}

/* Send as much as the socket takes. */
static void launch(struct sheepdog_connection *c, struct sheepdog_request *r)
{
    r->turn = (struct img_turn)IMG_TURN_INIT;
    r->error = 0;
    r->result = r->got = 0;
    r->sent = 0;
    r->started = img_now_milliseconds();
    r->id = ++c->last_id;
    img_put_le32(r->header + 8, r->id);
    if (!c->turns.first)
        c->heard = r->started;
    img_turn_begin(&c->turns, &r->turn);
    enqueue(c, r);
    send_queue(c);
    if (c->queue)
        img_turns_wake(&c->turns);
}

int sheepdog_connection_run(void *connection, void *request)
{
    struct sheepdog_connection *c = connection;
    struct sheepdog_request *r = request;

    LOCK_SCOPE(&c->turns.lock);
    if (c->lost)
        return IMG_POOL_LOST;
    launch(c, r);
    if (img_turn_sleep(&c->turns, &r->turn))
        img_turn_serve(&r->turn, r->stop, &turn_ops, c);
    img_turn_end(&c->turns, &r->turn);
    return r->error;
}
