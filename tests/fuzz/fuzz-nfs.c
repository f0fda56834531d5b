/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target: what the nfs driver makes of a server's answers, and of names.  The network is not in it: the functions
 * of libnfs that the driver calls are here, and answer by a script, which is the input.
 *
 * The first byte: 0: the rest is a name; else it is the script.  Whatever the server says: a read that succeeds has
 * given bytes of the file, or zeroes where the server said that the file ends.
 */
#include "drivers/nfs/nfs.h"
#include "libimg/util/checked.h"
#include "client.h"
#include "script.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FILE_SIZE = 100 << 10, MOST_NAME = 4096, BUFFER = 24 << 10, MOST_PENDING = 64, MOST_ANSWERS = 2000 };
/* How a question is answered: as it should be; with an error; as it should be, but some numbers are others; by RPC, not
 * by NFS; or the connection is lost. */
enum { WELL, REFUSED, OTHER, NOT_ACCEPTED, LOST, WAYS };

struct question {
    rpc_cb called;
    void *private;
    enum { READ, WRITE, COMMIT, LOOK, CHANGE } kind;
    uint64_t offset;
    uint32_t count;
    stable_how stable;
};
static struct script script;
static unsigned answers;
static bool mounted;                /* once; (a server that is gone is waited for, and that takes time) */
struct nfs_context {
    struct question pending[MOST_PENDING];
    size_t count;
    nfs_cb called;                  /* of a question that is no RPC; NULL: there is none */
    void *private;
    bool opened;                    /* ... which was to open a file */
};
struct nfsfh {
    struct nfs_fh3 handle;
};
static char handle_bytes[16];
static struct nfsfh handle = { .handle = { .data = { sizeof handle_bytes, handle_bytes } } };
static int always;                  /* a descriptor that is readable */
static uint8_t content[FILE_SIZE];

/* ---- The functions of libnfs that the driver needs -------------------------------------------------- */

struct nfs_context *nfs_init_context(void)
{
    return calloc(1, sizeof(struct nfs_context));
}

void nfs_destroy_context(struct nfs_context *context)
{
    for (size_t i = 0; i < context->count; i++)
        context->pending[i].called(NULL, RPC_STATUS_CANCEL, NULL, context->pending[i].private);
    if (context->called)
        context->called(-EINTR, context, (char *)"ended", context->private);
    free(context);
}

static void set(struct nfs_context *context, int number)
{
    (void)context;
    (void)number;
}

void nfs_set_uid(struct nfs_context *context, int uid)
{
    set(context, uid);
}

void nfs_set_gid(struct nfs_context *context, int gid)
{
    set(context, gid);
}

void nfs_set_tcp_syncnt(struct nfs_context *context, int count)
{
    set(context, count);
}

void nfs_set_debug(struct nfs_context *context, int level)
{
    set(context, level);
}

void nfs_set_autoreconnect(struct nfs_context *context, int times)
{
    set(context, times);
}

struct rpc_context *nfs_get_rpc_context(struct nfs_context *context)
{
    return (struct rpc_context *)context;
}

int nfs_get_fd(struct nfs_context *context)
{
    (void)context;
    return always;
}

int nfs_which_events(struct nfs_context *context)
{
    (void)context;
    return POLLIN;
}

char *nfs_get_error(struct nfs_context *context)
{
    (void)context;
    return (char *)"an error";
}

static int begin(struct nfs_context *context, nfs_cb called, void *private, bool opens)
{
    if (script_byte(&script) == 0xff && !mounted)
        return -1;
    context->called = called;
    context->private = private;
    context->opened = opens;
    return 0;
}

int nfs_mount_async(struct nfs_context *context, const char *server, const char *folder, nfs_cb called, void *private)
{
    int ret = begin(context, called, private, false);

    (void)server;
    (void)folder;
    mounted |= ret == 0;
    return ret;
}

int nfs_open_async(struct nfs_context *context, const char *path, int flags, nfs_cb called, void *private)
{
    (void)path;
    (void)flags;
    return begin(context, called, private, true);
}

int nfs_close_async(struct nfs_context *context, struct nfsfh *file, nfs_cb called, void *private)
{
    (void)file;
    return begin(context, called, private, false);
}

struct nfs_fh *nfs_get_fh(struct nfsfh *file)
{
    return (struct nfs_fh *)&file->handle;
}

uint64_t nfs_get_readmax(struct nfs_context *context)
{
    (void)context;
    return script_byte(&script) & 1 ? script_number(&script, 8) : 4096;
}

uint64_t nfs_get_writemax(struct nfs_context *context)
{
    return nfs_get_readmax(context);
}

static int ask(struct rpc_context *rpc, struct question question)
{
    struct nfs_context *context = (struct nfs_context *)rpc;

    if (context->count == MOST_PENDING)
        abort();                    /* (the driver has a bound) */
    context->pending[context->count++] = question;
    return 0;
}

int rpc_nfs3_read_async(struct rpc_context *rpc, rpc_cb called, struct READ3args *args, void *private)
{
    return ask(rpc, (struct question){ called, private, READ, args->offset, args->count, UNSTABLE });
}

int rpc_nfs3_write_async(struct rpc_context *rpc, rpc_cb called, struct WRITE3args *args, void *private)
{
    if (args->count != args->data.data_len || !args->count)
        abort();
    return ask(rpc, (struct question){ called, private, WRITE, args->offset, args->count, args->stable });
}

int rpc_nfs3_commit_async(struct rpc_context *rpc, rpc_cb called, struct COMMIT3args *args, void *private)
{
    return ask(rpc, (struct question){ called, private, COMMIT, args->offset, args->count, UNSTABLE });
}

int rpc_nfs3_getattr_async(struct rpc_context *rpc, rpc_cb called, struct GETATTR3args *args, void *private)
{
    (void)args;
    return ask(rpc, (struct question){ called, private, LOOK, 0, 0, UNSTABLE });
}

int rpc_nfs3_setattr_async(struct rpc_context *rpc, rpc_cb called, struct SETATTR3args *args, void *private)
{
    (void)args;
    return ask(rpc, (struct question){ called, private, CHANGE, 0, 0, UNSTABLE });
}

/* ---- Answers ------------------------------------------------------------------------------------------ */

static void answer_read(const struct question *q, struct READ3res *res, bool other)
{
    struct READ3resok *ok = &res->READ3res_u.resok;
    uint64_t there = q->offset < FILE_SIZE ? FILE_SIZE - q->offset : 0;
    size_t length = (size_t)img_min(q->count, there);

    if (other)
        length = (size_t)img_min(script_number(&script, 3) % (q->count + 600), there);
    ok->data.data_len = (u_int)length;
    ok->data.data_val = (char *)content + (length ? q->offset : 0);
    ok->count = (count3)length;
    ok->eof = q->offset + length >= FILE_SIZE;
    if (other && script_byte(&script) & 1)
        ok->count = (count3)script_number(&script, 4);
    if (other && script_byte(&script) & 1)
        ok->eof = !ok->eof;
}

static void answer_write(const struct question *q, struct WRITE3res *res, bool other)
{
    struct WRITE3resok *ok = &res->WRITE3res_u.resok;

    ok->count = other ? (count3)script_number(&script, 3) : q->count;
    ok->committed = other ? (stable_how)script_number(&script, 1) : q->stable;
    ok->verf[0] = (char)(other ? script_byte(&script) : 0);
}

static void answer_look(struct GETATTR3res *res, bool other)
{
    struct fattr3 *attributes = &res->GETATTR3res_u.resok.obj_attributes;

    attributes->size = other ? script_number(&script, 8) : FILE_SIZE;
    attributes->used = other ? script_number(&script, 8) : FILE_SIZE;
}

static void answer_well(const struct question *q, bool other)
{
    union {
        struct READ3res read;
        struct WRITE3res write;
        struct COMMIT3res commit;
        struct GETATTR3res look;
        struct SETATTR3res change;
    } res;

    memset(&res, 0, sizeof res);
    switch (q->kind) {
    case READ: answer_read(q, &res.read, other); break;
    case WRITE: answer_write(q, &res.write, other); break;
    case COMMIT: res.commit.COMMIT3res_u.resok.verf[0] = (char)(other ? script_byte(&script) : 0); break;
    case LOOK: answer_look(&res.look, other); break;
    case CHANGE: break;
    }
    q->called(NULL, RPC_STATUS_SUCCESS, &res, q->private);
}

/* Every result begins with its status. */
static void refuse(const struct question *q)
{
    union {
        nfsstat3 status;
        char bytes[sizeof(struct READ3res) + sizeof(struct GETATTR3res)];
    } res;

    memset(&res, 0, sizeof res);
    res.status = (nfsstat3)(script_number(&script, 2) + 1);
    q->called(NULL, RPC_STATUS_SUCCESS, &res, q->private);
}

static int answer_one(struct nfs_context *context)
{
    /* (whatever the script says, a program comes to its end) */
    unsigned way = ++answers > MOST_ANSWERS ? LOST : script_byte(&script) % WAYS;
    size_t which = script_byte(&script) % context->count;
    struct question q = context->pending[which];

    if (way == LOST)
        return -1;
    context->pending[which] = context->pending[--context->count];
    if (way == REFUSED)
        refuse(&q);
    else if (way == NOT_ACCEPTED)
        q.called(NULL, RPC_STATUS_ERROR, (void *)"refused", q.private);
    else
        answer_well(&q, way == OTHER);
    return 0;
}

int nfs_service(struct nfs_context *context, int events)
{
    nfs_cb called = context->called;

    (void)events;
    if (context->count)
        return answer_one(context);
    context->called = NULL;
    if (!called)
        return 0;
    if (context->opened)
        handle.handle.data.data_len = script_byte(&script) == 1 ? (u_int)script_number(&script, 1) % 17 : 16;
    called(0, context, &handle, context->private);
    return 0;
}

/* ---- What is done with the file -------------------------------------------------------------------------- */

static void read_some(struct img *image, uint64_t offset)
{
    static uint8_t buffer[BUFFER];

    if (offset >= img_size(image))
        return;
    size_t length = (size_t)img_min(sizeof buffer, img_size(image) - offset);
    memset(buffer, 0xee, length);
    if (img_pread(image, buffer, offset, length) < 0)
        return;
    for (size_t i = 0; i < length; i++)
        if (buffer[i] != 0 && (offset + i >= FILE_SIZE || buffer[i] != content[offset + i]))
            abort();
}

static void use(struct img *image)
{
    static uint8_t buffer[BUFFER];
    struct img_error err = IMG_ERROR_INIT;

    read_some(image, 0);
    read_some(image, img_size(image) - img_min(BUFFER / 2, img_size(image)));
    if (img_size(image) >= 2 * BUFFER) {
        img_pwrite(image, buffer, 512, BUFFER - 100);
        img_zero(image, 0, BUFFER, IMG_ZERO_MAY_UNMAP);
        img_flush(image);
        img_pwrite(image, buffer, 0, 700);
        img_flush(image);
    }
    img_resize(image, 2 * BUFFER, NULL, &err);
    img_error_clear(&err);
}

static void use_server(void)
{
    static const char name[] = "json:{\"driver\":\"raw\",\"file\":{\"driver\":\"nfs\",\"path\":\"/a/b\",\"timeout\":1,"
                               "\"server\":{\"type\":\"inet\",\"host\":\"h\"}}}";
    struct img_open how = { .flags = IMG_RDWR, .cache = IMG_CACHE_WRITEBACK };
    struct img *image = client_open(name, &how);

    if (image)
        use(image);
    client_close(image);
}

/* (a name that is shown leads to the same file) */
static void use_name(const uint8_t *bytes, size_t size)
{
    struct img_open how = { .flags = 0, .cache = IMG_CACHE_WRITEBACK };
    struct img_error err = IMG_ERROR_INIT;
    struct img *image = NULL;
    char name[MOST_NAME];

    if (size >= sizeof name - 16)
        return;
    snprintf(name, sizeof name, "nfs:%.*s", (int)size, (const char *)bytes);
    if ((img_open(&image, name, &how, &err) < 0) != (err.text != NULL))
        abort();
    if (image && !*img_filename(image))
        abort();
    img_close(image, &err);
    img_error_clear(&err);
}

static void prepare(void)
{
    always = eventfd(1, 0);
    if (always < 0)
        abort();
    for (size_t i = 0; i < sizeof content; i++)
        content[i] = (uint8_t)(1 + i % 251);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || size > 64 << 10)
        return 0;
    if (!content[0])
        prepare();
    answers = 0;
    mounted = false;
    script = (struct script){ data + 1, data + size };
    if (*data) {
        use_server();
    } else {
        script.at = script.end;
        use_name(data + 1, size - 1);
    }
    return 0;
}
