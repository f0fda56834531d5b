/* SPDX-License-Identifier: MIT */
/* nbd-ask.h - the client's side of the NBD handshake: greeting, options, the start of TLS. */
#ifndef IMG_NBD_ASK_H
#define IMG_NBD_ASK_H

#include "../net.h"
#include "nbd-protocol.h"

/*
 * A connection to a server that may be hostile.  `deadline`: when all must be done (util/clock.h, milliseconds);
 * `stop`: a descriptor that ends the waiting when it becomes readable, or -1.
 */
struct img_nbd_peer {
    int fd, stop;
    uint64_t deadline;
    unsigned char greeting[NBD_GREETING_SIZE];      /* as it came */
    uint16_t flags;                 /* NBD_FLAG_FIXED_NEWSTYLE ... */
    bool old;                       /* an oldstyle server: no options, the export follows the greeting */
    uint64_t old_size;
    uint32_t old_flags;
};

struct img_nbd_answer {
    uint32_t type, length;          /* enum nbd_option_reply */
    unsigned char *bytes;           /* freed by the caller */
};

/* All bytes, before the deadline.  `what`: for "Failed to read WHAT: ...". */
int img_nbd_read(struct img_nbd_peer *peer, void *bytes, size_t length, const char *what, struct img_error *err);
int img_nbd_write(struct img_nbd_peer *peer, const void *bytes, size_t length, struct img_error *err);
/* Read the greeting, and answer it if the server is not oldstyle. */
int img_nbd_greet(struct img_nbd_peer *peer, struct img_error *err);
/* Send an option with its data. */
int img_nbd_ask(struct img_nbd_peer *peer, uint32_t option, const void *data, size_t length, struct img_error *err);
/*
 * Read an answer to the option, of at most `most` bytes.  1: it is in *answer.  0: the server does not support the
 * option or, unless `strict`, refused it.  Otherwise the error in qemu-nbd's words.
 */
int img_nbd_answer(struct img_nbd_peer *peer, uint32_t option, uint32_t most, bool strict,
                   struct img_nbd_answer *answer, struct img_error *err);
/* Ask an option without data that is answered by yes (1) or no (0). */
int img_nbd_may(struct img_nbd_peer *peer, uint32_t option, bool strict, struct img_error *err);
/* What is wrong with the first bytes of a server, `have` of which are there (0: it sent none), if that can be told. */
int img_nbd_judge_greeting(const unsigned char *bytes, size_t have, struct img_error *err);
/*
 * Ask for TLS, and start it: peer->fd is then the end with the plain bytes, or -1 after an error of TLS.  `replay`: as
 * for img_tls_start_replayed; NULL: none.
 */
int img_nbd_start_tls(struct img_nbd_peer *peer, struct img_tls_creds *tls, const char *host,
                      const struct img_tls_replay *replay, struct img_error *err);

#endif
