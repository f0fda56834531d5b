/* SPDX-License-Identifier: MIT */
/*
 * Requests in flight on a connection.  A request is cut into parts, each a message of its own; all are sent before the
 * first answer is waited for, as far as there is room.  libssh wants one thread at a time, so threads take turns at the
 * socket (net/turns.h): the one that waits for it sends and takes what it can, for all.
 *
 * Nothing is allocated on the path of the bytes, and they are copied once: from where libssh decrypts to where they
 * belong.
 */
#include "ssh.h"
#include "../../libimg/util/checked.h"
#include "../../libimg/util/cleanup.h"
#include "../../libimg/util/clock.h"
#include "../../libimg/util/strbuf.h"
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

/* Bytes in a message: what OpenSSH takes, what every server must take, and the least that one may give. */
enum { LONG_PART = 128 << 10, SHORT_PART = 32 << 10, LEAST_PART = 4 << 10 };
/* How often the socket is read in a row, before others get the lock.  (libssh reads 4 KiB at a time.) */
enum { READS_IN_A_ROW = 64 };
/* Bytes that the server may send before we have read them, and how often it is told. */
enum { MOST_UNREAD = 4 << 20, WIDEN_EVERY = MOST_UNREAD / 4 };
/* An id is a number of a part, and its place. */
enum { PLACE_BITS = 8, PLACE_MASK = (1 << PLACE_BITS) - 1 };

/* ---- The end of a connection ------------------------------------------------------------------------- */

/* Answers that come now would go where nobody waits for them, so the connection is used no more. */
static void lose(void *connection)
{
    struct ssh_connection *c = connection;

    c->lost = true;
    c->out.part = NULL;
    for (size_t i = 0; i < SSH_PARTS; i++)
        c->parts[i].request = NULL;
    for (struct img_turn *turn = c->turns.first; turn; turn = turn->next) {
        struct ssh_request *r = (struct ssh_request *)turn;
        if (turn->done)
            continue;
        r->pending = 0;
        r->result = IMG_POOL_LOST;
        img_turn_answer(turn);
    }
}

/* ---- Answers --------------------------------------------------------------------------------------------- */

static int code_of(uint32_t status)
{
    switch (status) {
    case SFTP3_OK: return 0;
    case SFTP3_PERMISSION_DENIED: return -EACCES;
    case SFTP3_UNSUPPORTED: return -ENOTSUP;
    default: return -EIO;
    }
}

/* The part that an answer is for; NULL: none.  (A server that answers before it has all of a message is none.) */
static struct ssh_part *part_of(struct ssh_connection *c, uint32_t id)
{
    struct ssh_part *part = (id & PLACE_MASK) < SSH_PARTS ? &c->parts[id & PLACE_MASK] : NULL;

    if (!part || !part->request || part->waits || part->id != id)
        return NULL;
    return part == c->out.part && !c->out.ends ? NULL : part;
}

static bool is_done(const struct ssh_request *r)
{
    return r->pending == 0 && (r->result < 0 || r->begun == r->length);
}

static void end_part(struct ssh_part *part, int result)
{
    struct ssh_request *r = part->request;

    part->request = NULL;
    r->pending--;
    if (r->result == 0)
        r->result = result;
    if (is_done(r))
        img_turn_answer(&r->turn);
}

/* Fewer bytes than were asked for: either the file ends there, or the server gives no more at a time. */
static void ask_for_rest(struct ssh_connection *c, struct ssh_part *part, size_t got)
{
    if (part->first)
        c->most = img_min(c->most, img_max(part->first, LEAST_PART));
    else
        part->first = got;
    part->start += got;
    part->length -= got;
    part->waits = true;
}

static bool data_coming(void *connection, uint32_t id, uint32_t length, uint8_t **to)
{
    struct ssh_connection *c = connection;
    const struct ssh_part *part = part_of(c, id);

    if (!part || part->request->kind != SSH_READ || length == 0 || length > part->length)
        return false;
    *to = part->request->read + part->start;
    return true;
}

static bool status_came(struct ssh_part *part, const uint8_t *payload, size_t length)
{
    struct ssh_request *r = part->request;
    const char *text;
    size_t text_length;
    uint32_t code;

    if (!sftp3_get_status(payload, length, &code, &text, &text_length))
        return false;
    if (r->kind == SSH_READ && code == SFTP3_EOF) {
        memset(r->read + part->start, 0, part->length);
        end_part(part, 0);
    } else {
        end_part(part, r->kind == SSH_READ && code == SFTP3_OK ? -EIO : code_of(code));
    }
    return true;
}

static bool call_came(struct ssh_part *part, enum sftp3_type type, const uint8_t *payload, size_t length)
{
    struct ssh_request *r = part->request;

    r->answer = type;
    r->got = img_min(length, r->room);
    memcpy(r->payload, payload, r->got);
    end_part(part, 0);
    return true;
}

static bool answer_came(void *connection, enum sftp3_type type, uint32_t id, const uint8_t *payload, size_t length)
{
    struct ssh_connection *c = connection;
    struct ssh_part *part = part_of(c, id);

    if (!part)
        return false;
    if (part->request->kind == SSH_CALL)
        return call_came(part, type, payload, length);
    if (type == SFTP3_STATUS)
        return status_came(part, payload, length);
    if (type != SFTP3_DATA)
        return false;
    if (length < part->length)
        ask_for_rest(c, part, length);
    else
        end_part(part, 0);
    return true;
}

/* libssh calls this while it reads the socket, whoever makes it do so. */
static int bytes_came(ssh_session session, ssh_channel channel, void *bytes, uint32_t length, int is_stderr,
                      void *connection)
{
    static const struct sftp3_taker taker = { .data = data_coming, .answer = answer_came };
    struct ssh_connection *c = connection;

    (void)session;
    (void)channel;
    if (!is_stderr && !c->lost && !sftp3_take(&c->inbox, bytes, length, &taker, c)) {
        c->garbled = true;
        lose(c);
    }
    return (int)length;
}

/*
 * Let libssh read the socket once.  It lets the server send 1.2 MiB before it has to wait for us, unless somebody wants
 * to read more at once: so we say that we do.  (Nothing is read there, for bytes_came has taken it all.)
 */
static int read_once(struct ssh_connection *c)
{
    if (c->carrier.traffic.in_bytes - c->widened < WIDEN_EVERY)
        return ssh_channel_poll(c->channel, 0);
    c->widened = c->carrier.traffic.in_bytes;
    return ssh_channel_read_timeout(c->channel, c->nothing, MOST_UNREAD, 0, 0);
}

static void take(struct ssh_connection *c)
{
    for (int i = 0; i < READS_IN_A_ROW && !c->lost; i++) {
        uint64_t before = c->carrier.traffic.in_bytes;
        int ret = read_once(c);
        if (ret == SSH_ERROR || ret == SSH_EOF)
            lose(c);
        if (c->carrier.traffic.in_bytes == before)
            break;
    }
}

/* ---- Sending ------------------------------------------------------------------------------------------------ */

/* The oldest request of which not all was begun.  (The list has the last one first.) */
static struct ssh_request *next_request(struct ssh_connection *c)
{
    struct ssh_request *oldest = NULL;

    for (struct img_turn *turn = c->turns.first; turn; turn = turn->next) {
        struct ssh_request *r = (struct ssh_request *)turn;
        if (!turn->done && r->result == 0 && r->begun < r->length)
            oldest = r;
    }
    return oldest;
}

/* A part that waits, or the next of a request; NULL: there is none, or no place for one. */
static struct ssh_part *next_part(struct ssh_connection *c)
{
    struct ssh_part *free_part = NULL;
    struct ssh_request *r;

    for (struct ssh_part *part = c->parts; part < c->parts + SSH_PARTS; part++) {
        if (part->request && part->waits)
            return part;
        if (!part->request && !free_part)
            free_part = part;
    }
    r = free_part ? next_request(c) : NULL;
    if (!r)
        return NULL;
    *free_part = (struct ssh_part){
        .request = r, .start = r->begun,
        .length = r->kind == SSH_CALL ? r->length : img_min(r->length - r->begun, c->most),
    };
    r->begun += free_part->length;
    r->pending++;
    return free_part;
}

/* Make the message of the next part; false: there is none. */
static bool begin_message(struct ssh_connection *c)
{
    struct ssh_part *part = next_part(c);
    const struct ssh_request *r;

    if (!part)
        return false;
    r = part->request;
    part->waits = false;
    part->id = (c->serial++ << PLACE_BITS) | (uint32_t)(part - c->parts);
    c->out.part = part;
    c->out.at = c->out.head;
    c->out.body_left = r->kind == SSH_READ ? 0 : part->length;
    c->out.body = r->kind == SSH_READ ? NULL : r->write + part->start;
    if (r->kind == SSH_CALL)
        c->out.left = sftp3_put_head(c->out.head, r->call, part->id, part->length);
    else
        c->out.left = sftp3_put_transfer(c->out.head, r->kind == SSH_READ ? SFTP3_READ : SFTP3_WRITE, part->id,
                                         &c->handle, r->offset + part->start, (uint32_t)part->length);
    return true;
}

/* Give libssh the next piece of the message; false: it takes no more now, or never. */
static bool send_piece(struct ssh_connection *c)
{
    bool in_head = c->out.left > 0;
    const uint8_t *bytes = in_head ? c->out.at : c->out.body;
    size_t left = in_head ? c->out.left : c->out.body_left;
    uint32_t window = ssh_channel_window_size(c->channel);
    int done;

    if (!c->out.part->request || c->out.part->waits) {
        lose(c);                    /* it was answered before it was sent */
        return false;
    }
    if (!window)
        return false;
    left = img_min(left, window);
    c->out.ends = left == c->out.left + c->out.body_left;
    done = ssh_channel_write(c->channel, bytes, (uint32_t)left);
    if (done < 0)
        lose(c);
    if (c->lost || done <= 0)
        return false;
    if (in_head) {
        c->out.at += done;
        c->out.left -= (size_t)done;
    } else {
        c->out.body += done;
        c->out.body_left -= (size_t)done;
    }
    return true;
}

/* Send what can be sent.  (libssh may take answers meanwhile.) */
static void push(struct ssh_connection *c)
{
    while (!c->lost) {
        if (!c->out.part && !begin_message(c))
            return;
        if (!send_piece(c))
            return;
        if (c->out.left + c->out.body_left == 0)
            c->out.part = NULL;
    }
}

/* ---- Waiting -------------------------------------------------------------------------------------------------- */

/* Milliseconds until the server has been silent for too long; -1: never. */
static int time_left(struct ssh_connection *c)
{
    uint64_t now = img_now_milliseconds(), end;

    if (c->heard_bytes != c->carrier.traffic.in_bytes) {
        c->heard_bytes = c->carrier.traffic.in_bytes;
        c->heard = now;
    }
    if (!c->carrier.timeout)
        return -1;
    end = c->heard + c->carrier.timeout;
    return end > now ? (int)img_min(end - now, INT_MAX) : 0;
}

/* Wait once for the socket, with the lock released, and do what can be done. */
static int wait_once(void *connection, int stop, int milliseconds)
{
    struct ssh_connection *c = connection;
    bool pending = ssh_get_poll_flags(c->carrier.session) & SSH_WRITE_PENDING;
    int left = time_left(c), ret;
    short happened;

    if (left < 0 || (milliseconds >= 0 && milliseconds < left))
        left = milliseconds;
    ret = img_turns_wait(&c->turns, c->carrier.fd, (short)(POLLIN | (pending ? POLLOUT : 0)), stop, left, &happened);
    if (happened && !c->lost)
        take(c);
    push(c);
    return ret;
}

static void look_at_clock(void *connection)
{
    if (time_left(connection) == 0)
        lose(connection);
}

static const struct img_turn_ops turn_ops = {
    .wait = wait_once, .tick = -1, .look_at_clock = look_at_clock, .give_up = lose
};

int ssh_connection_run(void *connection, void *context)
{
    struct ssh_connection *c = connection;
    struct ssh_request *r = context;

    r->turn = (struct img_turn)IMG_TURN_INIT;
    r->begun = r->pending = 0;
    r->result = 0;
    LOCK_SCOPE(&c->turns.lock);
    if (c->lost)
        return IMG_POOL_LOST;
    if (!c->turns.first)
        c->heard = img_now_milliseconds();
    img_turn_begin(&c->turns, &r->turn);
    push(c);
    /* (the thread that waits may have been answered here, or must wait for more) */
    img_turns_wake(&c->turns);
    if (img_turn_sleep(&c->turns, &r->turn))
        img_turn_serve(&r->turn, r->stop, &turn_ops, c);
    img_turn_end(&c->turns, &r->turn);
    return r->result;
}

/* ---- Opening and closing ----------------------------------------------------------------------------------------- */

/* (in the words of libssh's own SFTP) */
static int no_sftp(const struct ssh_connection *c, struct img_error *err)
{
    int code = ssh_get_error_code(c->carrier.session);
    const char *text = code != SSH_NO_ERROR ? ssh_get_error(c->carrier.session)
                       : c->garbled ? "Invalid sftp packet size!" : "Received EOF while reading sftp packet size";

    img_error_set(err, EINVAL, "failed to initialize sftp handle: %s (libssh error code: %d, sftp error code: %d)", text,
                  code != SSH_NO_ERROR ? code : SSH_FATAL, c->garbled ? SFTP3_FAILURE : SFTP3_EOF);
    img_error_advise(err, "the server must offer the subsystem \"sftp\", version %d", SFTP3_OUR_VERSION);
    return -EINVAL;
}

/* The server's version, and what it can. */
static int introduce(struct ssh_connection *c, int stop, struct img_error *err)
{
    uint8_t ours[4] = { 0, 0, 0, SFTP3_OUR_VERSION }, payload[4096];
    struct ssh_request hello = {
        .kind = SSH_CALL, .call = SFTP3_INIT, .write = ours, .length = sizeof ours, .payload = payload,
        .room = sizeof payload, .stop = stop,
    };
    int ret = ssh_connection_run(c, &hello);
    bool is_openssh;
    uint32_t version;

    if (ret < 0 || hello.answer != SFTP3_VERSION ||
        !sftp3_get_version(payload, hello.got, &version, "fsync@openssh.com", &c->can_flush) ||
        !sftp3_get_version(payload, hello.got, &version, "posix-rename@openssh.com", &is_openssh))
        return no_sftp(c, err);
    c->most = is_openssh ? LONG_PART : SHORT_PART;
    return 0;
}

static void tear_down(struct ssh_connection *c)
{
    free(c->nothing);
    img_turns_end(&c->turns);
    if (c->channel)
        ssh_channel_free(c->channel);
    ssh_carrier_end(&c->carrier);
}

int ssh_connection_open(struct ssh_connection *c, const struct ssh_target *target, int stop, struct img_error *err)
{
    int ret;

    *c = (struct ssh_connection){ .most = SHORT_PART, .nothing = img_malloc(MOST_UNREAD) };
    if (!c->nothing)
        return img_error_memory(err);
    ret = ssh_carrier_start(&c->carrier, target, stop, err);
    if (ret < 0) {
        free(c->nothing);
        return ret;
    }
    ret = img_turns_init(&c->turns);
    if (ret < 0) {
        ssh_carrier_end(&c->carrier);
        free(c->nothing);
        return img_error_errno(err, -ret, "Could not make a pipe");
    }
    ret = ssh_carrier_channel(&c->carrier, &c->channel, stop, err);
    if (ret < 0) {
        tear_down(c);
        return ret;
    }
    c->callbacks = (struct ssh_channel_callbacks_struct){ .userdata = c, .channel_data_function = bytes_came };
    ssh_callbacks_init(&c->callbacks);
    ssh_set_channel_callbacks(c->channel, &c->callbacks);
    ret = introduce(c, stop, err);
    if (ret < 0)
        tear_down(c);
    return ret;
}

void ssh_connection_close(struct ssh_connection *c)
{
    tear_down(c);
}
