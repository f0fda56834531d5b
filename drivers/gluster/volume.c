/* SPDX-License-Identifier: MIT */
/*
 * The volumes that this process is connected to.
 *
 * A connection is made once, used by all files of its volume, and never closed: glfs_fini takes ten seconds, and has
 * nothing to do here.  For what libgfapi would keep for later is not kept, or is waited for:
 * - It collects writes, and says that they are done before a brick has them (write-behind).  Here it passes them on
 *   ("pass-through"), so what is acknowledged is on the bricks.
 * - It tells the bricks of a replicated volume that a change is complete after it has said so itself.  If they are
 *   never told, they heal a file that is sound.  So after a file is closed, gluster_settle waits for what is in flight.
 * - This driver takes no locks.  What is still open after an error is closed by the bricks, with the connection.
 */
#include "gluster.h"
#include "../../libimg/util/checked.h"
#include "../../libimg/util/cleanup.h"
#include "../../libimg/util/patience.h"
#include "../../libimg/util/strbuf.h"
#include "../../libimg/util/thread.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { STACK = 1 << 20, USUAL_PATIENCE = 60 };

/* ---- Setting up --------------------------------------------------------------------------------- */

/* The part of a volume that counts calls logs more than it is asked to: it has a level of its own, INFO. */
static int set_quiet(glfs_t *fs, const char *volume, int debug)
{
    static const char *const levels[] = {
        "NONE", "CRITICAL", "CRITICAL", "CRITICAL", "ERROR", "WARNING", "WARNING",
    };

    if ((size_t)debug >= sizeof levels / sizeof *levels)
        return 0;
    return glfs_set_xlator_option(fs, volume, "log-level", levels[debug]);
}

/* A silent brick is noticed by two pings in a row; one that answers pings and nothing else, by the age of requests. */
static int set_patience(glfs_t *fs, uint64_t seconds)
{
    char ping[24], frame[24];

    if (!seconds)
        return 0;
    snprintf(ping, sizeof ping, "%u", (unsigned)img_max(seconds / 2, 1));
    snprintf(frame, sizeof frame, "%u", (unsigned)seconds);
    return glfs_set_xlator_option(fs, "*-client-*", "ping-timeout", ping) |
           glfs_set_xlator_option(fs, "*-client-*", "frame-timeout", frame);
}

static int set_up(glfs_t *fs, const struct gluster_target *target, size_t first, struct img_error *err)
{
    if (gluster_set_servers(fs, target, first, err) < 0)
        return -err->code;
    if (glfs_set_logging(fs, target->logfile, target->debug) < 0)
        return img_error_errno(err, errno ? errno : EINVAL, "Could not log to '%s'", target->logfile);
    if (set_quiet(fs, target->volume, target->debug) < 0 ||
        glfs_set_xlator_option(fs, "*-write-behind", "pass-through", "on") < 0 ||
        glfs_set_xlator_option(fs, "*-write-behind", "flush-behind", "off") < 0 ||
        set_patience(fs, target->timeout) < 0)
        return img_error_memory(err);
    return 0;
}

/* ---- Connecting ---------------------------------------------------------------------------------- */

/* A daemon that says nothing is waited for in a thread, which may be left behind. */
struct attempt {
    struct img_patience patience;
    glfs_t *fs;
    int code;                       /* 0, or an errno */
};

static void end_attempt(struct attempt *a)
{
    img_patience_end(&a->patience);
    free(a);
}

static void *connect_now(void *context)
{
    struct attempt *a = context;

    errno = 0;
    a->code = glfs_init(a->fs) == 0 ? 0 : errno ? errno : EINVAL;
    if (img_patience_done(&a->patience))
        end_attempt(a);
    return NULL;
}

/* 0, or an errno. */
static int init(glfs_t *fs, uint64_t seconds)
{
    struct attempt *a = img_calloc(1, sizeof *a);
    int code;

    if (!a)
        return ENOMEM;
    a->fs = fs;
    img_patience_init(&a->patience);
    code = -img_thread_start(NULL, STACK, connect_now, a);
    if (code == 0 && !img_patience_wait(&a->patience, seconds * 1000))
        return ETIMEDOUT;
    if (code == 0)
        code = a->code;
    end_attempt(a);
    return code;
}

static int refused(const struct gluster_target *target, int code, struct img_error *err)
{
    struct img_strbuf hints = { 0 };
    char *text;

    for (size_t i = 0; i < target->count; i++) {
        const struct gluster_server *server = &target->servers[i];
        if (server->local)
            img_strbuf_printf(&hints, "hint: failed on socket %s ", server->host);
        else
            img_strbuf_printf(&hints, "hint: failed on host %s and port %s ", server->host, server->port);
    }
    img_error_set(err, code, "Gluster connection for volume %s, path %s failed to connect%s", target->volume,
                  target->path, code == ETIMEDOUT ? ": the servers say nothing" : "");
    text = img_strbuf_take(&hints);
    img_error_hint(err, "%sPlease refer to gluster logs for more info", text ? text : "");
    free(text);
    if (code == ECONNREFUSED)
        img_error_advise(err, "no daemon of Gluster (glusterd) can be reached at these servers");
    else if (code == ENOENT)
        img_error_advise(err, "the servers know no volume '%s'", target->volume);
    return -code;
}

static int connect_to(const struct gluster_target *target, glfs_t **fs, struct img_error *err)
{
    uint64_t seconds = target->timeout ? target->timeout : USUAL_PATIENCE;
    size_t first;
    int code;

    if (gluster_check_ports(target, err) < 0)
        return -err->code;
    first = gluster_first_server(target, seconds);
    if (first == target->count)
        return refused(target, ECONNREFUSED, err);
    *fs = glfs_new(target->volume);
    if (!*fs)
        return img_error_errno(err, errno ? errno : ENOMEM, "Could not set up libgfapi");
    if (set_up(*fs, target, first, err) < 0)
        return -err->code;
    code = init(*fs, seconds);
    return code ? refused(target, code, err) : 0;
}

/* ---- The list --------------------------------------------------------------------------------------- */

struct volume {
    struct volume *next;
    char *key;
    glfs_t *fs;
};
static struct volume *volumes;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void add_text(struct img_strbuf *key, const char *text)
{
    img_strbuf_printf(key, "%zu:%s", strlen(text), text);
}

/* All that makes a connection another one, as text.  Caller frees. */
static char *key_of(const struct gluster_target *target)
{
    struct img_strbuf key = { 0 };

    img_strbuf_printf(&key, "%d %" PRIu64 " ", target->debug, target->timeout);
    add_text(&key, target->volume);
    add_text(&key, target->logfile);
    for (size_t i = 0; i < target->count; i++) {
        add_text(&key, target->servers[i].host);
        add_text(&key, target->servers[i].local ? "unix" : target->servers[i].port);
    }
    return img_strbuf_take(&key);
}

int gluster_volume(const struct gluster_target *target, glfs_t **fs, struct img_error *err)
{
    LOCK_SCOPE(&lock);
    CLEANUP_FREE char *key = key_of(target);
    struct volume *volume = volumes;
    int ret;

    if (!key)
        return img_error_memory(err);
    while (volume && strcmp(volume->key, key) != 0)
        volume = volume->next;
    if (volume) {
        *fs = volume->fs;
        return 0;
    }
    volume = img_calloc(1, sizeof *volume);
    if (!volume)
        return img_error_memory(err);
    ret = connect_to(target, fs, err);
    if (ret < 0) {
        free(volume);
        return ret;
    }
    *volume = (struct volume){ .next = volumes, .key = key, .fs = *fs };
    key = NULL;
    volumes = volume;
    return 0;
}
