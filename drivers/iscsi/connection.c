/* SPDX-License-Identifier: MIT */
/*
 * One session.  libiscsi wants one thread at a time; so that many commands are in flight, threads take turns at the
 * socket (net/turns.h).
 *
 * libiscsi would connect again by itself, for ever.  It is told not to: the pool does that, for as long as is allowed.
 */
#include "iscsi.h"
#include "../../libimg/util/checked.h"
#include "../../libimg/util/cleanup.h"
#include "../../libimg/util/clock.h"
#include "../../libimg/util/printable.h"
#include "../../libimg/util/strbuf.h"
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

/*
 * In milliseconds: how often the clock is looked at, how long a target may be silent before it is asked to say
 * something, and how long an answer that nobody needs any more is waited for.
 */
enum { TICK = 500, SILENCE = 5000, GRACE = 1000 };
enum { MOST_REDIRECTIONS = 8 };

/* ---- Waiting ----------------------------------------------------------------------------------- */

/* Let libiscsi do what it can.  After an error it has answered all commands, or does so now. */
static int serve(struct iscsi_connection *c, short events)
{
    if (!c->lost && iscsi_service(c->context, events) < 0) {
        c->lost = true;
        iscsi_scsi_cancel_all_tasks(c->context);
    }
    return c->lost ? -EIO : 0;
}

/* Wait once, with the lock released.  -ETIMEDOUT, -ECANCELED (`stop` is readable), -EIO: the session is gone. */
static int wait_once(void *connection, int stop, int milliseconds)
{
    struct iscsi_connection *c = connection;
    short happened;
    int ret = img_turns_wait(&c->turns, iscsi_get_fd(c->context), (short)iscsi_which_events(c->context), stop,
                             milliseconds, &happened);

    return happened ? serve(c, happened) : ret;
}

/* ---- Login --------------------------------------------------------------------------------------- */

static void connected(struct iscsi_context *context, int status, void *data, void *connection);

/* The target may send us to another portal, which may do the same. */
static void logged_in(struct iscsi_context *context, int status, void *data, void *connection)
{
    struct iscsi_connection *c = connection;
    const char *portal = iscsi_get_target_address(context);

    (void)data;
    if (status == SCSI_STATUS_REDIRECT && portal && *portal && c->redirections++ < MOST_REDIRECTIONS) {
        iscsi_disconnect(context);
        if (iscsi_connect_async(context, portal, connected, c) == 0)
            return;
    }
    c->state = status == SCSI_STATUS_GOOD ? ISCSI_CONNECTED : ISCSI_FAILED;
}

/* (It is called again when the connection ends.) */
static void connected(struct iscsi_context *context, int status, void *data, void *connection)
{
    struct iscsi_connection *c = connection;

    (void)data;
    if (c->state != ISCSI_CONNECTING)
        return;
    if (status != SCSI_STATUS_GOOD || iscsi_login_async(context, logged_in, c) != 0)
        c->state = ISCSI_FAILED;
}

/* (The text may have words of the target, and ends with a newline now and then.) */
static int no_login(struct iscsi_connection *c, const char *before, struct img_error *err)
{
    CLEANUP_FREE char *text = img_strdup(iscsi_get_error(c->context));

    if (!text)
        return img_error_memory(err);
    for (char *at = text; *at; at++)
        *at = *at == '\n' ? '\n' : img_printable(*at);
    img_error_set(err, EINVAL, "iSCSI: Failed to connect to LUN : %s%s", before, text);
    if (*before)
        img_error_advise(err, "is there an iSCSI target at %s, and does it take connections?", c->target->portal);
    return -EINVAL;
}

static int log_in(struct iscsi_connection *c, int stop, struct img_error *err)
{
    uint64_t end = c->target->timeout ? img_now_milliseconds() + c->target->timeout : UINT64_MAX;
    int ret = 0;

    if (iscsi_connect_async(c->context, c->target->portal, connected, c) != 0)
        return no_login(c, "Failed to start full connect ", err);
    while (c->state == ISCSI_CONNECTING) {
        uint64_t now = img_now_milliseconds();
        if (now >= end)
            return img_error_set(err, ETIMEDOUT, "iSCSI: Failed to connect to LUN : the target does not answer");
        ret = wait_once(c, stop, (int)img_min(end - now, TICK));
        if (ret == -ECANCELED)
            return img_error_errno(err, ECANCELED, "iSCSI: Failed to connect to LUN ");
        if (ret < 0 && ret != -ETIMEDOUT)
            break;
    }
    if (c->state == ISCSI_CONNECTED && !c->lost)
        return 0;
    return no_login(c, ret == -EIO ? "iscsi_service failed with : " : "", err);
}

static int set_up(struct iscsi_connection *c, struct img_error *err)
{
    const struct iscsi_target *target = c->target;

    c->context = iscsi_create_context(target->initiator);
    if (!c->context)
        return img_error_set(err, ENOMEM, "iSCSI: Failed to create iSCSI context.");
    /* (libiscsi keeps to TCP, and says so only in its text, if iSER cannot be set up) */
    if (iscsi_init_transport(c->context, target->transport) != 0 || *iscsi_get_error(c->context))
        return img_error_set(err, EINVAL, "libiscsi cannot use iSER: %s", iscsi_get_error(c->context));
    if (iscsi_set_targetname(c->context, target->name) != 0)
        return img_error_set(err, EINVAL, "iSCSI: Failed to set target name.");
    if (target->user && iscsi_set_initiator_username_pwd(c->context, target->user, target->password) != 0)
        return img_error_set(err, EINVAL, "Failed to set initiator username and password");
    if (iscsi_set_session_type(c->context, ISCSI_SESSION_NORMAL) != 0)
        return img_error_set(err, EINVAL, "iSCSI: Failed to set session type to normal.");
    iscsi_set_header_digest(c->context, target->digest);
    iscsi_set_isid_random(c->context, target->isid, c->number);
    iscsi_set_noautoreconnect(c->context, 1);
    return 0;
}

int iscsi_connection_open(struct iscsi_connection *c, const struct iscsi_target *target, unsigned number, int stop,
                          struct img_error *err)
{
    int ret;

    *c = (struct iscsi_connection){ .target = target, .number = number };
    ret = img_turns_init(&c->turns);
    if (ret < 0)
        return img_error_errno(err, -ret, "Could not make a pipe");
    pthread_mutex_lock(&c->turns.lock);
    ret = set_up(c, err);
    if (ret == 0)
        ret = log_in(c, stop, err);
    c->lost |= ret < 0;
    pthread_mutex_unlock(&c->turns.lock);
    if (ret < 0)
        iscsi_connection_close(c);
    return ret;
}

static void logout_done(struct iscsi_context *context, int status, void *data, void *connection)
{
    struct iscsi_connection *c = connection;

    (void)context;
    (void)status;
    (void)data;
    c->state = ISCSI_FAILED;
}

/* Say goodbye, if the target takes it. */
static void log_out(struct iscsi_connection *c)
{
    uint64_t end = img_now_milliseconds() + GRACE;

    LOCK_SCOPE(&c->turns.lock);
    if (c->lost || c->state != ISCSI_CONNECTED || iscsi_logout_async(c->context, logout_done, c) != 0)
        return;
    while (c->state == ISCSI_CONNECTED && !c->lost) {
        uint64_t now = img_now_milliseconds();
        if (now >= end || wait_once(c, -1, (int)(end - now)) < 0)
            return;
    }
}

void iscsi_connection_close(struct iscsi_connection *c)
{
    if (c->context) {
        log_out(c);
        iscsi_destroy_context(c->context);
    }
    img_turns_end(&c->turns);
}

/* ---- The time ------------------------------------------------------------------------------------- */

/* The answers that are still to come would be put into memory that is gone by then, so the session goes. */
static void hang_up(void *connection)
{
    struct iscsi_connection *c = connection;

    c->lost = true;
    shutdown(iscsi_get_fd(c->context), SHUT_RDWR);
    iscsi_scsi_cancel_all_tasks(c->context);
}

static void ignore(struct iscsi_context *context, int status, void *data, void *connection)
{
    (void)context;
    (void)status;
    (void)data;
    (void)connection;
}

static void nop_answered(struct iscsi_context *context, int status, void *data, void *connection)
{
    struct iscsi_connection *c = connection;

    (void)context;
    (void)data;
    if (status == SCSI_STATUS_GOOD)
        c->heard = img_now_milliseconds();
}

/* A flush may take long, as long as the target shows that it is there. */
static bool is_overdue(const struct iscsi_connection *c, const struct iscsi_request *r, uint64_t now)
{
    uint64_t since = r->kind == ISCSI_FLUSH ? img_max(r->started, c->heard) : r->started;

    return c->target->timeout && now > since + c->target->timeout;
}

static void ask_for_life(struct iscsi_connection *c, uint64_t now)
{
    if (now < img_max(c->heard, c->asked) + SILENCE)
        return;
    c->asked = now;
    iscsi_nop_out_async(c->context, nop_answered, NULL, 0, c);
}

/* Look at the time of all commands.  The target is told to abort one that takes too long; then the session ends, which
 * makes it forget the others too. */
static void look_at_clock(void *connection)
{
    struct iscsi_connection *c = connection;
    uint64_t now = img_now_milliseconds();

    if (now < c->looked + TICK)
        return;
    c->looked = now;
    ask_for_life(c, now);
    for (struct img_turn *turn = c->turns.first; turn; turn = turn->next) {
        const struct iscsi_request *r = (const struct iscsi_request *)turn;
        if (!turn->done && is_overdue(c, r, now)) {
            iscsi_task_mgmt_abort_task_async(c->context, r->task, ignore, NULL);
            serve(c, POLLOUT);
            hang_up(c);
            return;
        }
    }
}

/* ---- Requests ---------------------------------------------------------------------------------------- */

static bool was_cut(const struct iscsi_request *r)
{
    return r->status == SCSI_STATUS_CANCELLED || r->status == SCSI_STATUS_ERROR || r->status == SCSI_STATUS_TIMEOUT;
}

static void completed(struct iscsi_context *context, int status, void *data, void *request)
{
    struct iscsi_request *r = request;

    (void)context;
    (void)data;
    r->status = status;
    r->carrier->lost |= was_cut(r);
    img_turn_answer(&r->turn);
}

static const struct img_turn_ops turn_ops = {
    .wait = wait_once, .tick = TICK, .look_at_clock = look_at_clock, .give_up = hang_up
};

/* Send it, now if the socket takes it. */
static int launch(struct iscsi_connection *c, struct iscsi_request *r)
{
    int ret = iscsi_command_send(c->context, c->target->lun, r, completed);

    if (ret < 0) {
        /* It takes no commands any more: the session ended while none was in flight. */
        c->lost = true;
        return IMG_POOL_LOST;
    }
    img_turn_begin(&c->turns, &r->turn);
    if (iscsi_which_events(c->context) & POLLOUT)
        serve(c, POLLOUT);
    if (c->lost || iscsi_which_events(c->context) & POLLOUT)
        img_turns_wake(&c->turns);
    return 0;
}

int iscsi_connection_run(void *connection, void *context)
{
    struct iscsi_connection *c = connection;
    struct iscsi_request *r = context;
    int ret;

    r->turn = (struct img_turn)IMG_TURN_INIT;
    r->carrier = c;
    r->started = img_now_milliseconds();
    LOCK_SCOPE(&c->turns.lock);
    if (c->lost)
        return IMG_POOL_LOST;
    if (!c->turns.first)
        c->heard = img_max(c->heard, r->started);
    ret = launch(c, r);
    if (ret < 0)
        return ret;
    if (img_turn_sleep(&c->turns, &r->turn))
        img_turn_serve(&r->turn, r->stop, &turn_ops, c);
    img_turn_end(&c->turns, &r->turn);
    if (!was_cut(r))
        c->heard = img_now_milliseconds();
    iscsi_command_finish(r);
    return was_cut(r) ? IMG_POOL_LOST : 0;
}
