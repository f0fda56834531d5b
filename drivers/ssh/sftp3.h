/* SPDX-License-Identifier: MIT */
/*
 * sftp3.h - the messages of SFTP, version 3, as bytes (draft-ietf-secsh-filexfer-02, and the file PROTOCOL of OpenSSH
 * for its extensions).  Nothing here knows of connections.
 */
#ifndef SSH_SFTP3_H
#define SSH_SFTP3_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum sftp3_type {
    SFTP3_INIT = 1, SFTP3_VERSION = 2, SFTP3_OPEN = 3, SFTP3_CLOSE = 4, SFTP3_READ = 5, SFTP3_WRITE = 6,
    SFTP3_FSTAT = 8, SFTP3_STATUS = 101, SFTP3_HANDLE = 102, SFTP3_DATA = 103, SFTP3_ATTRS = 105, SFTP3_EXTENDED = 200
};
enum sftp3_status {
    SFTP3_OK = 0, SFTP3_EOF = 1, SFTP3_NO_SUCH_FILE = 2, SFTP3_PERMISSION_DENIED = 3, SFTP3_FAILURE = 4,
    SFTP3_BAD_MESSAGE = 5, SFTP3_NO_CONNECTION = 6, SFTP3_CONNECTION_LOST = 7, SFTP3_UNSUPPORTED = 8
};
enum { SFTP3_FOR_READING = 1, SFTP3_FOR_WRITING = 2, SFTP3_CREATE = 8, SFTP3_TRUNCATE = 16 };
enum { SFTP3_OUR_VERSION = 3 };

/* What the server calls the open file. */
struct sftp3_handle {
    uint8_t bytes[256];
    uint32_t length;
};

/* ---- Requests -------------------------------------------------------------------------------------- */

/* The longest head: a WRITE up to its bytes. */
enum { SFTP3_MOST_HEAD = 4 + 1 + 4 + 4 + 256 + 8 + 4 };
/* Each puts the head of a message, and returns its length.  A message of INIT has no id. */
size_t sftp3_put_head(uint8_t *to, enum sftp3_type type, uint32_t id, size_t payload);
/* A READ is all head.  The bytes of a WRITE follow it. */
size_t sftp3_put_transfer(uint8_t *to, enum sftp3_type type, uint32_t id, const struct sftp3_handle *handle,
                          uint64_t offset, uint32_t length);

/* ---- Answers ---------------------------------------------------------------------------------------- */

/* false: the bytes are no such answer. */
bool sftp3_get_status(const uint8_t *payload, size_t length, uint32_t *code, const char **text, size_t *text_length);
bool sftp3_get_handle(const uint8_t *payload, size_t length, struct sftp3_handle *handle);
/* *has_size, *mode 0: the server does not say. */
bool sftp3_get_attributes(const uint8_t *payload, size_t length, bool *has_size, uint64_t *size, uint32_t *mode);
/* *has: the server has this extension. */
bool sftp3_get_version(const uint8_t *payload, size_t length, uint32_t *version, const char *extension, bool *has);

/* Who takes answers.  Both return false if there is no such request. */
struct sftp3_taker {
    /* `length` bytes of a read are coming: where to? */
    bool (*data)(void *owner, uint32_t id, uint32_t length, uint8_t **to);
    /* An answer is there; of DATA the bytes are where they belong, and payload is NULL. */
    bool (*answer)(void *owner, enum sftp3_type type, uint32_t id, const uint8_t *payload, size_t length);
};

/* Puts messages together from the pieces that arrive. */
enum { SFTP3_MOST_ANSWER = 16 << 10 };
struct sftp3_inbox {
    uint8_t bytes[SFTP3_MOST_ANSWER];
    size_t have;                    /* of these */
    uint8_t *to;                    /* DATA: where the next byte belongs */
    size_t left;                    /* DATA: bytes to come */
};
/* false: this is no SFTP, and nothing more can be understood. */
bool sftp3_take(struct sftp3_inbox *inbox, const uint8_t *bytes, size_t length, const struct sftp3_taker *taker,
                void *owner);

#endif
