/* SPDX-License-Identifier: MIT */
/* tls-wire.h - one TLS session: its descriptor, its bytes, and the thread that carries them. */
#ifndef IMG_TLS_WIRE_H
#define IMG_TLS_WIRE_H

#include "tls-ops.h"
#include <pthread.h>
#include <sys/types.h>

struct img_tls_session {
    const struct img_tls_ops *ops;
    struct img_tls_creds *creds;    /* counted */
    void *session;                  /* of ops */
    int fd, plain;                  /* the wire; the end of the pair that the thread has */
    ino_t far_end;                  /* the socket that the caller has */
    struct img_tls_wire wire;
    struct img_tls_buffer up, down; /* plain bytes, to the wire and from it */
    size_t dropped;                 /* of what the caller writes first */
    bool leaving;                   /* atomic: the process ends, so the caller's end counts as closed */
    struct img_tls_session *next;   /* tls.c: all sessions that are carried */
};

int img_tls_buffer_new(struct img_tls_buffer *buffer, size_t capacity);
void img_tls_buffer_free(struct img_tls_buffer *buffer);

/*
 * Move bytes without waiting; true: some were moved.  The end of a stream sets *ended, an error *code and *ended.
 */
bool img_tls_receive(int fd, struct img_tls_buffer *buffer, bool *ended, int *code);
bool img_tls_send(int fd, struct img_tls_buffer *buffer, int *code);

/* Shake hands on session->fd until `deadline` (img_now_milliseconds; 0: for ever), or until `stop` is readable. */
int img_tls_shake(struct img_tls_session *session, uint64_t deadline, int stop, struct img_error *err);
/* After a failed handshake of a server: let the client read the end of the stream.  If the socket were closed with
 * bytes unread, the client would see a reset connection, and could not tell that it was refused. */
void img_tls_refuse(struct img_tls_session *session, int stop);
/* Carry bytes between `fd` and `plain` until both directions have ended.  Closes neither.  tell() gets the error that
 * ended it, before the caller's end sees the end. */
void img_tls_carry(struct img_tls_session *session,
                   void (*tell)(struct img_tls_session *session, const struct img_error *err));

#endif
