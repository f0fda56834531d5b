/* SPDX-License-Identifier: MIT */
/*
 * Reading and writing on one connection.  A request is cut into parts, of which some are in flight; when one is done,
 * its slot takes the next.  A server may do less of a part than it was asked for: then the rest is asked for again.
 */
#include "nfs.h"
#include "../../libimg/util/checked.h"
#include <string.h>

enum { IN_FLIGHT = 8, PART = 256 << 10 };
/* Whatever a server does to connections, a request ends. */
enum { MOST_LOST = 8 };

struct slot {
    struct transfer *transfer;
    size_t at, length;              /* the part, in the request */
};
struct transfer {
    struct nfs_connection *c;
    const struct nfs_request *r;
    struct nfs_fh3 handle;
    size_t part, next;              /* the length of a part; where the next one begins */
    unsigned pending;
    int ret;                        /* the first that went wrong */
    struct slot slots[IN_FLIGHT];
};

struct nfs_fh3 nfs_handle(const struct nfs_connection *c)
{
    return (struct nfs_fh3){ .data = { c->file->length, (char *)c->file->handle } };
}

static void on_read(struct rpc_context *rpc, int status, void *data, void *private);
static void on_written(struct rpc_context *rpc, int status, void *data, void *private);

/* ---- Asking --------------------------------------------------------------------------------------- */

static int ask_to_read(struct transfer *t, struct slot *slot)
{
    struct READ3args args = { .file = t->handle, .offset = t->r->offset + slot->at, .count = (count3)slot->length };

    return rpc_nfs3_read_async(nfs_get_rpc_context(t->c->context), on_read, &args, slot);
}

/* (the bytes are copied at once) */
static int ask_to_write(struct transfer *t, struct slot *slot)
{
    struct WRITE3args args = {
        .file = t->handle, .offset = t->r->offset + slot->at, .count = (count3)slot->length,
        .stable = t->r->kind == NFS_WRITE_DURABLE ? FILE_SYNC : UNSTABLE,
        .data = { (u_int)slot->length, (char *)t->r->write + slot->at },
    };

    return rpc_nfs3_write_async(nfs_get_rpc_context(t->c->context), on_written, &args, slot);
}

static void ask(struct slot *slot)
{
    struct transfer *t = slot->transfer;
    int began = t->r->kind == NFS_READ ? ask_to_read(t, slot) : ask_to_write(t, slot);

    if (began == 0)
        t->pending++;
    else if (t->ret == 0)
        t->ret = -ENOMEM;
}

/* The next part, if there is one. */
static void ask_for_next(struct slot *slot)
{
    struct transfer *t = slot->transfer;

    slot->at = t->next;
    slot->length = img_min(t->part, t->r->length - t->next);
    t->next += slot->length;
    if (slot->length)
        ask(slot);
}

/* ---- Answers ------------------------------------------------------------------------------------------- */

/* `done` bytes of the part are done; or it went wrong. */
static void go_on(struct slot *slot, int ret, size_t done)
{
    struct transfer *t = slot->transfer;

    t->pending--;
    if (ret < 0 && t->ret == 0)
        t->ret = ret;
    if (t->ret < 0)
        return;
    slot->at += done;
    slot->length -= done;
    if (slot->length)
        ask(slot);
    else
        ask_for_next(slot);
}

static void on_read(struct rpc_context *rpc, int status, void *data, void *private)
{
    struct slot *slot = private;
    const struct READ3res *res = data;
    int ret = nfs_result(status, status == RPC_STATUS_SUCCESS ? res->status : NFS3_OK);
    const struct READ3resok *ok = ret == 0 ? &res->READ3res_u.resok : NULL;
    char *to = slot->transfer->r->read + slot->at;
    size_t got = ok ? ok->data.data_len : 0;

    (void)rpc;
    if (ok && (ok->count != got || got > slot->length || (!got && !ok->eof)))
        ret = -EIO;
    if (ret == 0 && got)
        memcpy(to, ok->data.data_val, got);
    if (ret == 0 && ok->eof) {
        memset(to + got, 0, slot->length - got);
        got = slot->length;
    }
    go_on(slot, ret, got);
}

static void on_written(struct rpc_context *rpc, int status, void *data, void *private)
{
    struct slot *slot = private;
    struct transfer *t = slot->transfer;
    const struct WRITE3res *res = data;
    int ret = nfs_result(status, status == RPC_STATUS_SUCCESS ? res->status : NFS3_OK);
    const struct WRITE3resok *ok = ret == 0 ? &res->WRITE3res_u.resok : NULL;

    (void)rpc;
    if (ok && (!ok->count || ok->count > slot->length))
        ret = -EIO;
    else if (ok && t->r->kind == NFS_WRITE_DURABLE && ok->committed != FILE_SYNC)
        ret = -EIO;
    else if (ok && ok->committed == UNSTABLE)
        ret = nfs_note_unstable(t->c->file, ok->verf);
    go_on(slot, ret, ret == 0 ? ok->count : 0);
}

/* ---- A request ------------------------------------------------------------------------------------------- */

int nfs_transfer(struct nfs_connection *c, struct nfs_request *r)
{
    size_t most = r->kind == NFS_READ ? c->most_read : c->most_write;
    struct transfer t = { .c = c, .r = r, .handle = nfs_handle(c), .part = img_min(most, PART) };
    int ret;

    for (size_t i = 0; i < IN_FLIGHT && t.ret == 0; i++) {
        t.slots[i].transfer = &t;
        ask_for_next(&t.slots[i]);
    }
    ret = nfs_connection_serve(c, &t.pending, r->stop);
    return ret < 0 ? ret : t.ret;
}

int nfs_connection_run(void *connection, void *context)
{
    struct nfs_connection *c = connection;
    struct nfs_request *r = context;
    int ret;

    pthread_mutex_lock(&c->lock);
    if (!c->context)
        ret = IMG_POOL_LOST;
    else if (r->kind == NFS_FLUSH)
        ret = nfs_flush(c, r);
    else if (r->kind == NFS_LOOK)
        ret = nfs_look(c, r);
    else if (r->kind == NFS_SET_LENGTH)
        ret = nfs_set_length(c, r);
    else
        ret = nfs_transfer(c, r);
    pthread_mutex_unlock(&c->lock);
    return ret == IMG_POOL_LOST && ++r->lost > MOST_LOST ? -EIO : ret;
}
