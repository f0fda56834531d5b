/* SPDX-License-Identifier: MIT */
/* ask.h - the client's side of the haggling over options: what list.c and join.c ask a server. */
#ifndef IMG_SERVE_ASK_H
#define IMG_SERVE_ASK_H

#include "../net.h"
#include "protocol.h"

/* The servers before there were options ("oldstyle") have this where others have NBD_OPTION_MAGIC. */
#define NBD_OLD_MAGIC           0x00420281861253ull

/* A connection to a server that may be hostile.  `deadline`: when all must be done, of CLOCK_MONOTONIC, in ms. */
struct nbd_peer {
    int fd;
    uint64_t deadline;
    uint16_t greeting;              /* NBD_FLAG_FIXED_NEWSTYLE ... */
    bool old;                       /* an oldstyle server: no options, the export follows the greeting */
    uint64_t old_size;
    uint32_t old_flags;
};

struct nbd_answer {
    uint32_t type, length;          /* enum nbd_option_reply */
    unsigned char *bytes;           /* freed by the caller */
};

/* All bytes, before the deadline.  `what`: for "Failed to read WHAT: ...". */
int nbd_peer_read(struct nbd_peer *peer, void *bytes, size_t length, const char *what, struct img_error *err);
int nbd_peer_write(struct nbd_peer *peer, const void *bytes, size_t length, struct img_error *err);
/* Read the greeting, and answer it if the server is not oldstyle. */
int nbd_peer_greet(struct nbd_peer *peer, struct img_error *err);
/* Send an option with its data. */
int nbd_peer_ask(struct nbd_peer *peer, uint32_t option, const void *data, size_t length, struct img_error *err);
/*
 * Read an answer to the option, of at most `most` bytes.  1: it is in *answer.  0: the server does not support the
 * option or, unless `strict`, refused it.  Otherwise the error in qemu-nbd's words.
 */
int nbd_peer_answer(struct nbd_peer *peer, uint32_t option, uint32_t most, bool strict, struct nbd_answer *answer,
                    struct img_error *err);
/* Ask an option without data that is answered by yes (1) or no (0). */
int nbd_peer_may(struct nbd_peer *peer, uint32_t option, bool strict, struct img_error *err);
/* Names, for messages. */
const char *nbd_option_name(uint32_t option);
const char *nbd_reply_name(uint32_t reply);

#endif
