/* SPDX-License-Identifier: MIT */
/* One connection: mounting, the open file, and waiting for what the server says. */
#include "nfs.h"
#include "../../libimg/util/checked.h"
#include "../../libimg/util/clock.h"
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

/* The permissions of a new file. */
enum { NEW_FILE = 0600 };
/* Bounds for what the server says of its messages. */
enum { LEAST_PART = 512, MOST_PART = 1 << 20 };
/* libnfs wants to be called now and then, in milliseconds. */
enum { LONGEST_WAIT = 1000 };

/* ---- Waiting ---------------------------------------------------------------------------------- */

/* Nothing that the server may still say is of use.  (Callbacks of what was asked are called.) */
static void give_up(struct nfs_connection *c)
{
    nfs_destroy_context(c->context);
    c->context = NULL;
}

/* One round: 0, or a negative errno. */
static int wait_once(struct nfs_connection *c, uint64_t deadline, int stop)
{
    struct pollfd wait[2] = {
        { .fd = nfs_get_fd(c->context), .events = (short)nfs_which_events(c->context) },
        { .fd = stop, .events = POLLIN },
    };
    uint64_t now = img_now_milliseconds();
    int got;

    if (deadline && now >= deadline)
        return -ETIMEDOUT;
    got = poll(wait, 2, (int)img_min(deadline ? deadline - now : LONGEST_WAIT, LONGEST_WAIT));
    if (got < 0)
        return errno == EINTR ? 0 : -errno;
    if (wait[1].revents)
        return -ECANCELED;
    return nfs_service(c->context, wait[0].revents) < 0 ? IMG_POOL_LOST : 0;
}

int nfs_connection_serve(struct nfs_connection *c, const unsigned *pending, int stop)
{
    uint64_t deadline = 0;
    unsigned seen = 0;
    int ret = 0;

    while (*pending && ret == 0) {
        /* Each answer begins the time anew. */
        if (c->timeout && *pending != seen)
            deadline = img_now_milliseconds() + c->timeout;
        seen = *pending;
        ret = wait_once(c, deadline, stop);
    }
    if (ret < 0)
        give_up(c);
    return ret;
}

int nfs_result(int status, nfsstat3 said)
{
    if (status != RPC_STATUS_SUCCESS)
        return IMG_POOL_LOST;
    if (said == NFS3_OK)
        return 0;
    return nfsstat3_to_errno((int)said) < 0 ? nfsstat3_to_errno((int)said) : -EIO;
}

/* ---- What libnfs has a function for ------------------------------------------------------------ */

struct answer {
    unsigned pending;
    int status;
    void *data;
    char text[256];                 /* what went wrong, in libnfs's words */
};

static void on_answer(int status, struct nfs_context *context, void *data, void *private)
{
    struct answer *answer = private;
    const char *text = data ? data : nfs_get_error(context);

    answer->pending = 0;
    answer->status = status;
    answer->data = data;
    if (status < 0 && text)
        snprintf(answer->text, sizeof answer->text, "%s", text);
}

/* Wait for it.  `began` is what the function that asked has returned. */
static int wait_for(struct nfs_connection *c, struct answer *answer, int began, int stop)
{
    int ret;

    if (began < 0) {
        const char *text = nfs_get_error(c->context);
        snprintf(answer->text, sizeof answer->text, "%s", text ? text : "");
        return -EINVAL;
    }
    ret = nfs_connection_serve(c, &answer->pending, stop);
    if (ret == -ETIMEDOUT)
        snprintf(answer->text, sizeof answer->text, "the server says nothing");
    else if (ret < 0 && !*answer->text)
        snprintf(answer->text, sizeof answer->text, "the connection is lost");
    return ret < 0 ? ret : answer->status;
}

static int mount_folder(struct nfs_connection *c, const struct nfs_target *target, int stop, struct img_error *err)
{
    struct answer answer = { .pending = 1 };
    int began = nfs_mount_async(c->context, target->host, target->folder, on_answer, &answer);
    int ret = wait_for(c, &answer, began, stop);

    if (ret < 0)
        return img_error_set(err, EINVAL, "Failed to mount nfs share: %s%s",
                             began < 0 ? "nfs_mount_async failed. " : "mount_cb: ", answer.text);
    return 0;
}

/* The handle, which is all that NFS has of an open file. */
static int keep_handle(struct nfs_connection *c, struct nfsfh *open, struct img_error *err)
{
    /* (libnfs says that it is for its functions that take a struct nfs_fh3) */
    const struct nfs_fh3 *handle = (const void *)nfs_get_fh(open);
    unsigned length = handle->data.data_len;

    if (!length || length > sizeof c->file->handle)
        return img_error_set(err, EIO, "Failed to open file : a file handle of %u bytes", length);
    memcpy(c->file->handle, handle->data.data_val, length);
    c->file->length = length;
    return 0;
}

static int open_file(struct nfs_connection *c, const struct nfs_target *target, const struct nfs_mode *mode, int stop,
                     struct img_error *err)
{
    struct answer opened = { .pending = 1 }, closed = { .pending = 1 };
    int gone, began = mode->create ? nfs_creat_async(c->context, target->file, NEW_FILE, on_answer, &opened)
                             : nfs_open_async(c->context, target->file, mode->flags, on_answer, &opened);
    int ret = wait_for(c, &opened, began, stop);

    if (ret < 0)
        return img_error_set(err, ret == IMG_POOL_LOST ? EIO : -ret, "Failed to %s call failed with \"%s\"",
                             mode->create ? "create file: creat" : "open file : open", opened.text);
    ret = keep_handle(c, opened.data, err);
    began = nfs_close_async(c->context, opened.data, on_answer, &closed);
    gone = wait_for(c, &closed, began, stop);
    if (ret == 0 && gone < 0)
        ret = img_error_set(err, EIO, "Failed to open file : %s", closed.text);
    return ret;
}

/* ---- Opening and closing ----------------------------------------------------------------------------- */

static void set_options(struct nfs_context *context, const struct nfs_target *target)
{
    if (target->has_user)
        nfs_set_uid(context, (int)target->user);
    if (target->has_group)
        nfs_set_gid(context, (int)target->group);
    if (target->has_syn_count)
        nfs_set_tcp_syncnt(context, (int)target->syn_count);
    if (target->has_debug)
        nfs_set_debug(context, (int)target->debug);
    /* (the pool connects again, and knows when to stop) */
    nfs_set_autoreconnect(context, 0);
}

/* A server may say anything. */
static size_t part_length(uint64_t said)
{
    return (size_t)img_min(said < LEAST_PART ? LEAST_PART : said, MOST_PART);
}

int nfs_connection_open(struct nfs_connection *c, const struct nfs_target *target, const struct nfs_mode *mode,
                        struct nfs_file *file, int stop, struct img_error *err)
{
    int ret;

    *c = (struct nfs_connection){ .context = nfs_init_context(), .file = file, .timeout = target->timeout };
    if (!c->context)
        return img_error_memory(err);
    set_options(c->context, target);
    ret = mount_folder(c, target, stop, err);
    if (ret == 0 && !file->length)
        ret = open_file(c, target, mode, stop, err);
    if (ret < 0) {
        if (c->context)
            nfs_destroy_context(c->context);
        return ret;
    }
    c->most_read = part_length(nfs_get_readmax(c->context));
    c->most_write = part_length(nfs_get_writemax(c->context));
    pthread_mutex_init(&c->lock, NULL);
    return 0;
}

void nfs_connection_close(struct nfs_connection *c)
{
    if (c->context)
        nfs_destroy_context(c->context);
    pthread_mutex_destroy(&c->lock);
}
