/* SPDX-License-Identifier: MIT */
/*
 * tls-ops.h - what libimg needs of a TLS library (drivers/tls).  The library sees no descriptor: it turns plain bytes
 * into bytes for the wire and back, in memory, and never waits.  Functions return 0 or a negative errno, and set *err
 * unless they return -EAGAIN.
 */
#ifndef IMG_TLS_OPS_H
#define IMG_TLS_OPS_H

#include "net.h"

/* Bytes from at + start to at + end. */
struct img_tls_buffer {
    unsigned char *at;
    size_t start, end, capacity;
};

static inline size_t img_tls_held(const struct img_tls_buffer *buffer)
{
    return buffer->end - buffer->start;
}

static inline size_t img_tls_room(const struct img_tls_buffer *buffer)
{
    return buffer->capacity - buffer->end;
}

/* Take `length` bytes away; an empty buffer begins at its start again. */
static inline void img_tls_taken(struct img_tls_buffer *buffer, size_t length)
{
    buffer->start += length;
    if (buffer->start == buffer->end)
        buffer->start = buffer->end = 0;
}

/* The encrypted bytes of one session. */
struct img_tls_wire {
    struct img_tls_buffer in, out;  /* received; to be sent */
    bool in_ended;                  /* the peer closed its end: `in` gets no more */
    int in_error, out_error;        /* errno that ended receiving, sending; 0: none */
};

/* The largest record, and more than it takes on the wire. */
enum { IMG_TLS_RECORD = 16384, IMG_TLS_WIRE_RECORD = IMG_TLS_RECORD + 1024 };

/* The files of the credentials: those that are needed exist.  NULL: not needed, or not there. */
struct img_tls_files {
    char *ca_cert, *ca_crl, *cert, *key, *dh_params, *psk;
};

struct img_tls_ops {
    /* Read the credentials.  `definition` and `files` are borrowed for the call. */
    int (*load)(const struct img_tls_definition *definition, const struct img_tls_files *files, void **loaded,
                struct img_error *err);
    void (*unload)(void *loaded);

    /* `loaded` and `wire` must live as long as the session; `host` is borrowed for the call. */
    int (*open)(void *loaded, struct img_tls_wire *wire, const char *host, void **session, struct img_error *err);
    /* Call again after -EAGAIN, when there is more on the wire; 0: done, and the peer was verified. */
    int (*handshake)(void *session, struct img_error *err);
    /* The distinguished name of the client's certificate, if it was verified; NULL: none.  Caller frees. */
    int (*peer)(void *session, char **name, struct img_error *err);
    /* Plain bytes.  Return a count of bytes; read: 0 at the end that the peer announced.  write: needs room for a whole
     * record on the wire; repeat it after -EAGAIN with the same bytes, or with more behind them. */
    int64_t (*read)(void *session, void *bytes, size_t length, struct img_error *err);
    int64_t (*write)(void *session, const void *bytes, size_t length, struct img_error *err);
    /* Announce the end of what is written. */
    int (*bye)(void *session, struct img_error *err);
    void (*close)(void *session);
};

#endif
