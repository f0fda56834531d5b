/* SPDX-License-Identifier: MIT */
/*
 * The length of the file, and flushes.
 *
 * A server that is started again may have lost what it was sent and was not told to commit.  It has another verifier
 * then, which comes with the answers to WRITE and COMMIT: from the second on, all writes and flushes fail.
 */
#include "nfs.h"
#include "../../libimg/util/cleanup.h"
#include <string.h>

/* ---- One question -------------------------------------------------------------------------------- */

struct question {
    unsigned pending;
    int ret;
    struct nfs_connection *c;
    struct nfs_request *r;
};

/* Wait for the answer. */
static int wait_for(struct question *q, int began)
{
    int ret = began < 0 ? -ENOMEM : nfs_connection_serve(q->c, &q->pending, q->r->stop);

    return ret < 0 ? ret : q->ret;
}

static void on_attributes(struct rpc_context *rpc, int status, void *data, void *private)
{
    struct question *q = private;
    const struct GETATTR3res *res = data;

    (void)rpc;
    q->pending = 0;
    q->ret = nfs_result(status, status == RPC_STATUS_SUCCESS ? res->status : NFS3_OK);
    if (q->ret == 0) {
        q->r->size = res->GETATTR3res_u.resok.obj_attributes.size;
        q->r->used = res->GETATTR3res_u.resok.obj_attributes.used;
    }
}

int nfs_look(struct nfs_connection *c, struct nfs_request *r)
{
    struct question q = { .pending = 1, .c = c, .r = r };
    struct GETATTR3args args = { .object = nfs_handle(c) };

    return wait_for(&q, rpc_nfs3_getattr_async(nfs_get_rpc_context(c->context), on_attributes, &args, &q));
}

static void on_length(struct rpc_context *rpc, int status, void *data, void *private)
{
    struct question *q = private;
    const struct SETATTR3res *res = data;

    (void)rpc;
    q->pending = 0;
    q->ret = nfs_result(status, status == RPC_STATUS_SUCCESS ? res->status : NFS3_OK);
}

int nfs_set_length(struct nfs_connection *c, struct nfs_request *r)
{
    struct question q = { .pending = 1, .c = c, .r = r };
    struct SETATTR3args args = {
        .object = nfs_handle(c),
        .new_attributes.size = { .set_it = 1, .set_size3_u.size = r->offset },
    };

    return wait_for(&q, rpc_nfs3_setattr_async(nfs_get_rpc_context(c->context), on_length, &args, &q));
}

/* ---- What is durable ------------------------------------------------------------------------------ */

/* Is it the server that was sent the writes before?  The caller holds the lock. */
static void compare(struct nfs_file *file, const char *verifier)
{
    if (file->written != file->committed && memcmp(file->verifier, verifier, sizeof file->verifier) != 0) {
        if (!file->forgotten)
            img_notice(IMG_WARNING, "the NFS server was started again, and may have lost what it was sent before");
        file->forgotten = true;
    }
    memcpy(file->verifier, verifier, sizeof file->verifier);
}

int nfs_note_unstable(struct nfs_file *file, const char *verifier)
{
    LOCK_SCOPE(&file->lock);
    compare(file, verifier);
    file->written++;
    return file->forgotten ? -EIO : 0;
}

static uint64_t written_so_far(struct nfs_file *file)
{
    LOCK_SCOPE(&file->lock);
    return file->written;
}

static int note_commit(struct nfs_file *file, const char *verifier, uint64_t written)
{
    LOCK_SCOPE(&file->lock);
    compare(file, verifier);
    if (file->forgotten)
        return -EIO;
    file->committed = written;
    return 0;
}

struct commit {
    struct question q;
    uint64_t written;               /* when it was asked for */
};

static void on_commit(struct rpc_context *rpc, int status, void *data, void *private)
{
    struct commit *commit = private;
    const struct COMMIT3res *res = data;
    int ret = nfs_result(status, status == RPC_STATUS_SUCCESS ? res->status : NFS3_OK);

    (void)rpc;
    commit->q.pending = 0;
    if (ret == 0)
        ret = note_commit(commit->q.c->file, res->COMMIT3res_u.resok.verf, commit->written);
    commit->q.ret = ret;
}

/* One file: a commit on any connection covers what all have written. */
int nfs_flush(struct nfs_connection *c, struct nfs_request *r)
{
    struct commit commit = { .q = { .pending = 1, .c = c, .r = r }, .written = written_so_far(c->file) };
    struct COMMIT3args args = { .file = nfs_handle(c) };

    return wait_for(&commit.q, rpc_nfs3_commit_async(nfs_get_rpc_context(c->context), on_commit, &args, &commit));
}
