/* SPDX-License-Identifier: MIT */
/*
 * pour.c - storages that give a file only as a whole, from the first byte to the last: a web server without ranges.
 * A thread lets the storage pour its bytes into one end of a socket pair, and an intake reads the other end.
 */
#include "chain.h"
#include "io/intake.h"
#include "util/cleanup.h"
#include "util/stop.h"
#include "util/strbuf.h"
#include "util/thread.h"
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { STACK = 512 << 10, ROOM = 4 << 20 };

struct pour {
    struct img_feed feed;
    struct img *storage;
    struct img_stop stop;
    int ends[2];                    /* of the intake, of the thread */
    pthread_t thread;
    bool joined;
    int result;
};

/* ---- The thread --------------------------------------------------------------------------- */

static int send_all(void *context, const void *bytes, size_t length)
{
    const struct pour *pour = context;

    for (const char *at = bytes; length; ) {
        ssize_t n = send(pour->ends[1], at, length, MSG_NOSIGNAL);
        if (n < 0 && errno != EINTR)
            return -errno;
        at += n < 0 ? 0 : n;
        length -= n < 0 ? 0 : (size_t)n;
    }
    return 0;
}

static void *work(void *context)
{
    struct pour *pour = context;

    pour->result = pour->storage->driver->pour(pour->storage, send_all, pour);
    shutdown(pour->ends[1], SHUT_WR);
    return NULL;
}

static int join(struct pour *pour)
{
    if (!pour->joined)
        pthread_join(pour->thread, NULL);
    pour->joined = true;
    return pour->result;
}

/* ---- For the intake -------------------------------------------------------------------------- */

static int pour_result(struct img_feed *feed)
{
    return join((struct pour *)feed);
}

static void pour_end(struct img_feed *feed)
{
    struct pour *pour = (struct pour *)feed;

    img_stop_ask(&pour->stop);
    close(pour->ends[0]);
    join(pour);
    close(pour->ends[1]);
    chain_close_quietly(pour->storage);
    img_stop_end(&pour->stop);
    free(pour);
}

/* The storage is taken over in any case. */
static struct img_intake *start(struct img *storage, const char *name, struct img_error *err)
{
    struct pour *pour = img_calloc(1, sizeof *pour);
    struct img_intake *intake = NULL;
    const int room = ROOM;
    int ret = pour ? img_stop_init(&pour->stop) : -ENOMEM;

    if (ret < 0)
        goto fail;
    ret = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pour->ends) < 0 ? -errno : 0;
    if (ret < 0)
        goto fail_stop;
    setsockopt(pour->ends[1], SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
    pour->feed = (struct img_feed){ .result = pour_result, .end = pour_end };
    pour->storage = storage;
    img_node_set_stop(storage, &pour->stop);
    intake = img_intake_new(pour->ends[0], name);
    ret = intake ? img_thread_start(&pour->thread, STACK, work, pour) : -ENOMEM;
    if (ret == 0) {
        img_intake_set_feed(intake, &pour->feed);
        return intake;
    }
    img_intake_free(intake);
    close(pour->ends[0]);
    close(pour->ends[1]);
fail_stop:
    img_stop_end(&pour->stop);
fail:
    free(pour);
    chain_close_quietly(storage);
    img_error_errno(err, -ret, "Could not read '%s'", name);
    return NULL;
}

/* ---- Opening ------------------------------------------------------------------------------------ */

/*
 * The options of the storage, out of those of the image, and the format: caller frees; NULL: not given.  -ESPIPE: the
 * image is more than a storage, or a format over one.
 */
static int take_storage(struct request *request, char **format, struct img_error *err)
{
    struct img_doc *file = img_doc_get(request->options, "file");
    const char *driver = img_doc_string_at(request->options, "driver");

    if (img_doc_broken(request->options))
        return img_error_memory(err);
    if (file && (img_doc_type(file) != IMG_DOC_OBJECT || request->name || img_doc_count(request->options) > 2))
        return -ESPIPE;
    /* (a storage that is named as the driver of the image is not probed) */
    *format = img_strdup(request->format ? request->format : !driver ? "" : file ? driver : IMG_PLAIN_FORMAT);
    if (!*format)
        return img_error_memory(err);
    if (file) {
        file = img_doc_take(request->options, "file");
        img_doc_free(request->options);
        request->options = file;
    }
    request->format = NULL;
    return 0;
}

struct img_intake *img_intake_open(const char *name, const struct img_open *how, char **format, struct img_error *err)
{
    struct request request = { .name = how->image_opts ? NULL : name, .format = how->format, .role = IMG_ROLE_FILE,
                               .flags = (how->flags & ~(unsigned)(IMG_NO_WRITERS | IMG_NO_IO)) | IMG_AS_STREAM,
                               .cache = how->cache, .gate = how->gate, .perm = IMG_PERM_READ,
                               .shared = IMG_PERM_ALL };
    struct img *storage = NULL;
    int ret;

    *format = NULL;
    request.options = how->image_opts ? img_options_parse(name, "file", err) : img_doc_object();
    if (!request.options)
        return NULL;
    ret = chain_unfold_name(&request, err);
    if (ret == 0)
        ret = take_storage(&request, format, err);
    if (ret == 0)
        ret = chain_open_storage(&storage, &request, err);
    img_doc_free(request.options);
    if (ret == 0 && storage->driver->pour)
        return start(storage, name, err);
    chain_close_quietly(storage);
    return NULL;
}
