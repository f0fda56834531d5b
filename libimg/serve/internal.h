/* SPDX-License-Identifier: MIT */
/*
 * internal.h - shared by the files of the NBD server.
 * Specification: "The NBD protocol" (doc/proto.md of the NBD project).
 *
 *   server.c      exports, listening, clients; start and end
 *   channel.c     bytes from and to one client, with an end to waiting
 *   handshake.c   options, up to the choice of an export
 *   context.c     the options about metadata contexts
 *   client.c      the threads of one client; which of them reads
 *   buffers.c     memory for payloads, bounded for each client
 *   receive.c     one request: read and checked
 *   reply.c       answers, in the three forms that they have
 *   request.c     what the commands do
 *   status.c      the extents of block status
 */
#ifndef IMG_SERVE_INTERNAL_H
#define IMG_SERVE_INTERNAL_H

#include "driver.h"
#include "net/nbd-protocol.h"
#include "serve.h"
#include "util/clock.h"
#include "util/stop.h"

#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

/* ---- Server ------------------------------------------------------------------- */

struct serve_bitmap {
    const char *name;
    struct img *image;              /* the one of the chain that has it */
    size_t index;
};

struct serve_export {
    struct img_export told;         /* as it was given */
    struct serve_bitmap *bitmaps;   /* told.bitmap_count */
};

struct img_server {
    struct img_server_settings settings;
    struct serve_export **exports;
    size_t export_count;
    struct img_stop stop;
    pthread_mutex_t lock;           /* protects: */
    pthread_cond_t left;            /* a client has left */
    unsigned clients;
    bool over;                      /* not persistent: the last client has left */
    int changed[2];                 /* a pipe: `clients` or `over` is different */
};

/* "option negotiation failed: ..." and the like, for settings.log.  Thread-safe. */
void serve_log(struct img_server *server, const char *format, ...) IMG_PRINTF(2, 3);
/* NULL: there is none with this name. */
const struct serve_export *serve_find(const struct img_server *server, const char *name);
/* NBD_FLAG_... of an export, for a client that has agreed on these forms. */
uint16_t serve_flags(const struct serve_export *export, bool structured, bool payload);

/* ---- Channel ------------------------------------------------------------------ */

enum { SERVE_READ_AHEAD = 16 << 10 };

/* One thread at a time may read, and one may send. */
struct serve_channel {
    int in, out;
    bool in_socket, out_socket;
    const struct img_stop *stop;    /* reading ends at once, sending after a while */
    uint64_t deadline;              /* of the handshake, in nanoseconds; 0: none */
    uint64_t patience;              /* when sending ends after a stop request; 0: none was seen */
    unsigned char *ahead;           /* SERVE_READ_AHEAD bytes, */
    size_t from, to;                /* of which these are read and not yet used */
};

int serve_channel_open(struct serve_channel *channel, int in, int out, const struct img_stop *stop);
void serve_channel_close(struct serve_channel *channel);
/* 0; -ENODATA: the client has left, and sent nothing of it; -EPIPE: only a part of it; -ECANCELED: the server stops;
 * -ETIMEDOUT: the deadline has passed; another negative errno. */
int serve_read(struct serve_channel *channel, void *bytes, size_t length);
int serve_skip(struct serve_channel *channel, uint64_t length);
/* Send all of it; changes parts[]. */
int serve_send(struct serve_channel *channel, struct iovec *parts, size_t count);
/* What an error of serve_read or of serve_send means, in qemu-nbd's words, for the log.  `pieces`: "data" or "bytes".
 * False: the client has just left. */
enum { SERVE_WHY = 192 };
bool serve_read_failure(const struct serve_channel *channel, int code, const char *pieces, char text[SERVE_WHY]);
void serve_send_failure(const struct serve_channel *channel, int code, char text[SERVE_WHY]);

/* ---- One client ----------------------------------------------------------------- */

enum serve_mode { SERVE_SIMPLE, SERVE_STRUCTURED, SERVE_EXTENDED };

/* The ids of contexts, as they travel; the bitmap at index N has SERVE_BITMAPS + N. */
enum { SERVE_ALLOCATION, SERVE_DEPTH, SERVE_BITMAPS };

struct serve_contexts {
    const struct serve_export *export;
    bool allocation, depth;
    bool *bitmaps;                  /* export->told.bitmap_count, NULL: none */
    size_t count;
};

enum { SERVE_FEW = 4, SERVE_WORKERS = 16 };     /* threads for each client: at least, at most */
enum { SERVE_MEMORY = 64 << 20 };   /* bytes of payload for each client */

struct serve_buffer {
    unsigned char *bytes;
    size_t capacity;
};

/* Buffers that wait for a use; the last one returned is the first to be taken, as it is in the cache. */
struct serve_buffers {
    pthread_mutex_t lock;
    pthread_cond_t returned;
    struct serve_buffer free[SERVE_WORKERS];
    unsigned free_count;
    size_t total;                   /* bytes of all buffers, free and taken */
};

void serve_buffers_open(struct serve_buffers *buffers);
void serve_buffers_close(struct serve_buffers *buffers);
/* At least `size` bytes, at most SERVE_MEMORY: waits until others return theirs.  -ENOMEM. */
int serve_buffer_take(struct serve_buffers *buffers, size_t size, struct serve_buffer *buffer);
void serve_buffer_return(struct serve_buffers *buffers, struct serve_buffer *buffer);

struct serve_client {
    struct img_server *server;
    struct serve_channel channel;
    int plain;                      /* the socket behind TLS; -1: none */
    const struct serve_export *export;      /* the one that was chosen */
    enum serve_mode mode;
    struct serve_contexts contexts;

    pthread_mutex_t read_lock;      /* held by the thread that reads; protects: */
    int read_error;                 /* why reading has ended; 0: the client broke the rules */
    char why[SERVE_WHY];            /* the same, or why the handshake failed, for the log; empty: not worth telling */
    unsigned threads, most;
    pthread_t workers[SERVE_WORKERS];       /* the first is the caller's */
    unsigned waiting;               /* threads that wait for read_lock; atomic */
    bool ending;                    /* no more requests; atomic */
    pthread_mutex_t send_lock;      /* held while one answer is sent; protects: */
    int send_error;
    struct serve_buffers buffers;
};

/* The client has chosen an export: 0.  -ENODATA: it has left; another error: it has been logged. */
int serve_handshake(struct serve_client *client);
/* Serve requests until the client leaves or the server stops.  0, or what ended it. */
int serve_requests(struct serve_client *client);

/* An option while it is being read: `left` bytes of it are still to come. */
struct serve_option {
    uint32_t id, left;
};

/* handshake.c: parts that context.c uses, too. */
/* The handshake cannot go on: the reason, for the log.  Returns -EPROTO. */
int serve_give_up(struct serve_client *client, const char *format, ...) IMG_PRINTF(2, 3);
int serve_option_reply(struct serve_client *client, const struct serve_option *option, uint32_t type,
                       const struct iovec *parts, size_t count);
/* Skip the rest of the option, and answer with an error and a text. */
int serve_option_refuse(struct serve_client *client, struct serve_option *option, uint32_t type, const char *format,
                        ...) IMG_PRINTF(4, 5);
/* 1: read; 0: the option was refused; a negative errno ends the handshake. */
int serve_option_skip(struct serve_client *client, struct serve_option *option, uint32_t length);
int serve_option_read32(struct serve_client *client, struct serve_option *option, uint32_t *value);
/* `length` bytes and a NUL; no other NUL may be in it. */
int serve_option_read_text(struct serve_client *client, struct serve_option *option, char *text, uint32_t length);
/* The name of an export, into NBD_MAX_STRING + 1 bytes. */
int serve_option_read_name(struct serve_client *client, struct serve_option *option, char *name);
int serve_option_no_export(struct serve_client *client, struct serve_option *option, const char *name);

/* context.c: LIST_META_CONTEXT and SET_META_CONTEXT. */
int serve_option_contexts(struct serve_client *client, struct serve_option *option);
void serve_contexts_clear(struct serve_contexts *contexts);
/* None is chosen yet.  0 or -ENOMEM. */
int serve_contexts_begin(struct serve_contexts *contexts, const struct serve_export *export);

enum { SERVE_EXTENTS = 128 << 10, SERVE_CACHE_PIECE = 1 << 20 };    /* of one context in an answer; bytes */

/* ---- Requests --------------------------------------------------------------------- */

struct serve_request {
    uint16_t flags, type;
    uint64_t cookie, from, length;
    struct serve_buffer buffer;     /* the payload that came, or room for the one that goes */
    const char *failed;             /* NULL, or what an error answer says: */
    uint32_t error;                 /* NBD_E... */
    char text[160];
    const struct serve_contexts *contexts;  /* BLOCK_STATUS: those to tell */
    struct serve_contexts filter;   /* if the client named some */
};

/*
 * Read a request.  1: it is there, or (request->failed) it is to be refused.  0: it is to be refused, and then the
 * client is dropped.  A negative errno ends the client.
 */
int serve_receive(struct serve_client *client, struct serve_request *request);
/* Give back what belongs to a request. */
void serve_release(struct serve_client *client, struct serve_request *request);
/* Do it and answer. */
int serve_execute(struct serve_client *client, struct serve_request *request);

/* Chunks of one answer that are sent together. */
enum { SERVE_CHUNKS = 64 };
struct serve_chunks {
    struct serve_client *client;
    const struct serve_request *request;
    struct iovec parts[2 * SERVE_CHUNKS];
    unsigned char heads[SERVE_CHUNKS][NBD_EXTENDED_REPLY_SIZE + 16];
    unsigned count, part_count;
    int error;                      /* of sending */
};

/* Done, or request->failed: without a payload. */
int serve_answer(struct serve_client *client, const struct serve_request *request);
/* Done, with the bytes that were read: for a client without chunks. */
int serve_answer_bytes(struct serve_client *client, const struct serve_request *request, const void *bytes);
void serve_chunks_begin(struct serve_chunks *chunks, struct serve_client *client, const struct serve_request *request);
/* The bytes stay valid until serve_chunks_end. */
void serve_chunk_data(struct serve_chunks *chunks, uint64_t offset, const void *bytes, uint32_t length, bool last);
void serve_chunk_hole(struct serve_chunks *chunks, uint64_t offset, uint32_t length, bool last);
/* `count` extents, as they travel. */
void serve_chunk_status(struct serve_chunks *chunks, uint32_t context, const void *extents, size_t count, bool last);
int serve_chunks_end(struct serve_chunks *chunks);

/* Send one answer, or a part of it that may be followed by others.  After a failure the client ends. */
int serve_client_send(struct serve_client *client, struct iovec *parts, size_t count);

/* Set request->failed and ->error; `code` is a negative errno. */
void serve_fail(struct serve_request *request, int code, const char *text);

int serve_status(struct serve_client *client, struct serve_request *request);

#endif
