/* SPDX-License-Identifier: MIT */
/*
 * tls.c - TLS credentials by id, and sessions.  The TLS library is in a module (drivers/tls), which is loaded when the
 * first credentials are read.
 */
#include "node/module.h"
#include "object/object.h"
#include "tls-files.h"
#include "tls-wire.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/strbuf.h"
#include "util/thread.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>

/* Bytes of each of the four buffers of a session; the stack of its thread. */
enum { BUFFER = 256 << 10, STACK = 256 << 10 };

/* ---- Credentials -------------------------------------------------------------- */

struct img_tls_creds {
    const struct img_tls_ops *ops;
    void *loaded;
    bool server;
    unsigned users;                 /* atomic */
};

/* As an object with an id.  Where TLS is not built in, it is a definition that is refused when it is used: callers
 * define the same objects for all commands, also for those that connect to nobody. */
struct kept {
    struct img_object object;
    struct img_tls_creds *creds;    /* NULL: ... */
    struct img_error why;           /* ... for this reason */
};

static const char *const kinds[] = { "tls-creds-anon", "tls-creds-psk", "tls-creds-x509" };

static void drop(struct img_tls_creds *creds)
{
    if (__atomic_sub_fetch(&creds->users, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    creds->ops->unload(creds->loaded);
    free(creds);
}

static int load(const struct img_tls_definition *definition, const struct img_driver *driver,
                struct img_tls_creds **creds, struct img_error *err)
{
    struct img_tls_files files;
    struct img_tls_creds *made = img_calloc(1, sizeof *made);
    int ret = img_tls_files_find(definition, &files, err);

    if (!made)
        ret = img_error_memory(err);
    if (ret == 0)
        ret = driver->tls->load(definition, &files, &made->loaded, err);
    img_tls_files_free(&files);
    if (ret < 0) {
        free(made);
        return ret;
    }
    made->ops = driver->tls;
    made->server = definition->server;
    made->users = 1;
    *creds = made;
    return 0;
}

int img_tls_new(const struct img_tls_definition *definition, struct img_tls_creds **creds, struct img_error *err)
{
    const struct img_driver *driver = img_service_find("tls", err);

    return driver ? load(definition, driver, creds, err) : -err->code;
}

void img_tls_free(struct img_tls_creds *creds)
{
    if (creds)
        drop(creds);
}

static void release(struct img_object *object)
{
    struct kept *kept = (struct kept *)object;

    img_tls_free(kept->creds);
    img_error_clear(&kept->why);
}

int img_tls_add(const char *id, const struct img_tls_definition *definition, struct img_error *err)
{
    struct kept *kept;
    const struct img_driver *driver;
    int ret = img_object_check_new(id, err);

    if (ret < 0)
        return ret;
    kept = img_calloc(1, sizeof *kept);
    if (!kept)
        return img_error_memory(err);
    kept->object.release = release;
    driver = img_service_find("tls", &kept->why);
    if (driver)
        ret = load(definition, driver, &kept->creds, err);
    if (ret == 0)
        ret = img_object_put(&kept->object, kinds[definition->kind], id, err);
    if (ret < 0) {
        release(&kept->object);
        free(kept);
    }
    return ret;
}

struct img_tls_creds *img_tls_find(const char *id, bool server, struct img_error *err)
{
    struct kept *kept = NULL;
    bool other = false;

    for (size_t i = 0; !kept && i < sizeof kinds / sizeof *kinds; i++)
        kept = (struct kept *)img_object_find(kinds[i], id, &other);
    if (!kept && other)
        img_error_set(err, EINVAL, "Object with id '%s' is not TLS credentials", id);
    else if (!kept)
        img_error_set(err, ENOENT, "No TLS credentials with id '%s'", id);
    else if (!kept->creds)
        img_error_set(err, kept->why.code, "%s", kept->why.text);
    else if (kept->creds->server != server)
        img_error_set(err, EINVAL, "Expected TLS credentials for a %s endpoint", server ? "server" : "client");
    else
        return kept->creds;
    return NULL;
}

/* ---- Sessions that are carried -------------------------------------------------------- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t ended = PTHREAD_COND_INITIALIZER;
static struct img_tls_session *carried;
static unsigned running;            /* threads */

/* Why the last streams broke, by the socket that the caller has; kept after the session. */
enum { REASONS = 32 };
static struct {
    ino_t far_end;
    struct img_error why;
} reasons[REASONS];
static unsigned next_reason;

static void tell(struct img_tls_session *session, const struct img_error *err)
{
    LOCK_SCOPE(&lock);
    unsigned i = next_reason++ % REASONS;

    img_error_clear(&reasons[i].why);
    reasons[i].far_end = session->far_end;
    img_error_set(&reasons[i].why, err->code, "%s", err->text);
}

int img_tls_why(int fd, struct img_error *err)
{
    struct stat status;

    if (fstat(fd, &status) < 0)
        return 0;
    LOCK_SCOPE(&lock);
    for (unsigned i = 0; i < REASONS; i++) {
        const struct img_error *why = &reasons[i].why;
        if (why->code && reasons[i].far_end == status.st_ino)
            return img_error_set(err, why->code, "%s", why->text);
    }
    return 0;
}

/* The inode of a new socket may be that of one that is closed. */
static void forget_reason(ino_t far_end)
{
    LOCK_SCOPE(&lock);
    for (unsigned i = 0; i < REASONS; i++)
        if (reasons[i].far_end == far_end)
            img_error_clear(&reasons[i].why);
}

static void end_session(struct img_tls_session *session)
{
    if (session->session)
        session->ops->close(session->session);
    img_tls_buffer_free(&session->wire.in);
    img_tls_buffer_free(&session->wire.out);
    img_tls_buffer_free(&session->up);
    img_tls_buffer_free(&session->down);
    if (session->plain >= 0)
        close(session->plain);
    close(session->fd);
    drop(session->creds);
    free(session);
}

static void enlist(struct img_tls_session *session)
{
    LOCK_SCOPE(&lock);
    session->next = carried;
    carried = session;
    running++;
}

static void strike_out(struct img_tls_session *session)
{
    LOCK_SCOPE(&lock);
    struct img_tls_session **at = &carried;

    while (*at != session)
        at = &(*at)->next;
    *at = session->next;
}

/* The last thing that a session does: from then on the library may be taken down. */
static void count_out(void)
{
    LOCK_SCOPE(&lock);
    running--;
    pthread_cond_broadcast(&ended);
}

static void *carry(void *argument)
{
    struct img_tls_session *session = argument;

    img_tls_carry(session, tell);
    strike_out(session);
    end_session(session);
    count_out();
    return NULL;
}

bool img_tls_drain(uint64_t milliseconds)
{
    struct timespec until;
    int ret = 0;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += (time_t)(milliseconds / 1000);
    until.tv_nsec += (long)(milliseconds % 1000) * 1000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    LOCK_SCOPE(&lock);
    for (struct img_tls_session *session = carried; session; session = session->next) {
        __atomic_store_n(&session->leaving, true, __ATOMIC_RELEASE);
        shutdown(session->plain, SHUT_RD);
    }
    while (running > 0 && ret == 0)
        ret = pthread_cond_timedwait(&ended, &lock, &until);
    return running == 0;
}

/* Start a thread that gets no signals: they are for the threads of the program. */
static int start_thread(struct img_tls_session *session)
{
    sigset_t all, before;
    int ret;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    ret = img_thread_start(NULL, STACK, carry, session);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return ret;
}

/* The pair of sockets with the plain bytes: one end for the thread, *far_end for the caller. */
static int make_pair(struct img_tls_session *session, int *far_end, struct img_error *err)
{
    int pair[2], size = BUFFER;
    struct stat status;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
        return img_error_errno(err, errno, "Cannot make a TLS channel");
    for (int i = 0; i < 2; i++)
        setsockopt(pair[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    session->plain = pair[0];
    *far_end = pair[1];
    if (fstat(pair[1], &status) == 0) {
        session->far_end = status.st_ino;
        forget_reason(status.st_ino);
    }
    return 0;
}

static int make_buffers(struct img_tls_buffer *one, struct img_tls_buffer *other, struct img_error *err)
{
    if (img_tls_buffer_new(one, BUFFER) < 0 || img_tls_buffer_new(other, BUFFER) < 0)
        return img_error_memory(err);
    return 0;
}

static struct img_tls_session *new_session(struct img_tls_creds *creds, int fd)
{
    struct img_tls_session *session = img_calloc(1, sizeof *session);

    if (!session)
        return NULL;
    __atomic_add_fetch(&creds->users, 1, __ATOMIC_RELAXED);
    *session = (struct img_tls_session){ .ops = creds->ops, .creds = creds, .fd = fd, .plain = -1 };
    return session;
}

/* Everything up to the thread. */
static int begin(struct img_tls_session *session, const char *host, uint64_t milliseconds, int stop, char **peer,
                 int *far_end, struct img_error *err)
{
    uint64_t deadline = milliseconds ? img_now_milliseconds() + milliseconds : 0;
    int ret = make_buffers(&session->wire.in, &session->wire.out, err);

    if (ret == 0)
        ret = session->ops->open(session->creds->loaded, &session->wire, host, &session->session, err);
    if (ret == 0)
        ret = img_tls_shake(session, deadline, stop, err);
    if (ret == 0)
        ret = make_buffers(&session->up, &session->down, err);
    if (ret == 0 && peer)
        ret = session->ops->peer(session->session, peer, err);
    return ret == 0 ? make_pair(session, far_end, err) : ret;
}

/* The first bytes of the conversation, as if they came from the peer. */
static int prepare_replay(struct img_tls_session *session, const struct img_tls_replay *replay, struct img_error *err)
{
    if (replay->shown_length > img_tls_room(&session->down))
        return img_error_set(err, EINVAL, "The replay of a TLS channel is too long");
    memcpy(session->down.at + session->down.end, replay->shown, replay->shown_length);
    session->down.end += replay->shown_length;
    session->dropped = replay->dropped;
    return 0;
}

static int start(struct img_tls_creds *creds, int fd, const char *host, uint64_t milliseconds, int stop,
                 const struct img_tls_replay *replay, char **peer, struct img_error *err)
{
    struct img_tls_session *session = new_session(creds, fd);
    int far_end = -1, ret;

    if (peer)
        *peer = NULL;
    if (!session) {
        close(fd);
        return img_error_memory(err);
    }
    ret = begin(session, host, milliseconds, stop, peer, &far_end, err);
    if (ret == 0 && replay)
        ret = prepare_replay(session, replay, err);
    if (ret == 0) {
        enlist(session);
        ret = start_thread(session);
        if (ret == 0)
            return far_end;
        img_error_errno(err, -ret, "Cannot start a TLS channel");
        strike_out(session);
        count_out();
    } else if (creds->server && session->wire.in.at) {
        img_tls_refuse(session, stop);
    }
    end_session(session);
    if (far_end >= 0)
        close(far_end);
    if (peer) {
        free(*peer);
        *peer = NULL;
    }
    return ret;
}

int img_tls_start(struct img_tls_creds *creds, int fd, const char *host, uint64_t milliseconds, int stop, char **peer,
                  struct img_error *err)
{
    return start(creds, fd, host, milliseconds, stop, NULL, peer, err);
}

int img_tls_start_replayed(struct img_tls_creds *creds, int fd, const char *host, uint64_t milliseconds, int stop,
                           const struct img_tls_replay *replay, struct img_error *err)
{
    return start(creds, fd, host, milliseconds, stop, replay, NULL, err);
}
