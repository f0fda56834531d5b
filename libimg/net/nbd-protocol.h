/* SPDX-License-Identifier: MIT */
/*
 * nbd-protocol.h - the numbers of the NBD protocol (fixed newstyle).  All of them travel in big-endian order.
 */
#ifndef IMG_NBD_PROTOCOL_H
#define IMG_NBD_PROTOCOL_H

#include <stdint.h>

/* ---- Handshake ----------------------------------------------------------------- */

#define NBD_MAGIC               0x4e42444d41474943ull   /* "NBDMAGIC", the first bytes of a server */
#define NBD_OPTION_MAGIC        0x49484156454f5054ull   /* "IHAVEOPT", before each option, and in the greeting */
#define NBD_OPTION_REPLY_MAGIC  0x0003e889045565a9ull

/* The servers before there were options ("oldstyle") have this where others have NBD_OPTION_MAGIC. */
#define NBD_OLD_MAGIC           0x0000420281861253ull

/* Of the server, 16 bits, in the greeting; the client answers with 32 bits of the same meaning. */
enum { NBD_FLAG_FIXED_NEWSTYLE = 1, NBD_FLAG_NO_ZEROES = 2 };

enum nbd_option {
    NBD_OPT_EXPORT_NAME = 1, NBD_OPT_ABORT = 2, NBD_OPT_LIST = 3, NBD_OPT_PEEK_EXPORT = 4, NBD_OPT_STARTTLS = 5,
    NBD_OPT_INFO = 6, NBD_OPT_GO = 7, NBD_OPT_STRUCTURED_REPLY = 8, NBD_OPT_LIST_META_CONTEXT = 9,
    NBD_OPT_SET_META_CONTEXT = 10, NBD_OPT_EXTENDED_HEADERS = 11
};

#define NBD_REP_ERROR(n)        (0x80000000u | (n))
enum nbd_option_reply {
    NBD_REP_ACK = 1, NBD_REP_SERVER = 2, NBD_REP_INFO = 3, NBD_REP_META_CONTEXT = 4
};
#define NBD_REP_ERR_UNSUP       NBD_REP_ERROR(1)
#define NBD_REP_ERR_POLICY      NBD_REP_ERROR(2)
#define NBD_REP_ERR_INVALID     NBD_REP_ERROR(3)
#define NBD_REP_ERR_PLATFORM    NBD_REP_ERROR(4)
#define NBD_REP_ERR_TLS_REQD    NBD_REP_ERROR(5)
#define NBD_REP_ERR_UNKNOWN     NBD_REP_ERROR(6)
#define NBD_REP_ERR_SHUTDOWN    NBD_REP_ERROR(7)
#define NBD_REP_ERR_BLOCK_SIZE_REQD NBD_REP_ERROR(8)
#define NBD_REP_ERR_TOO_BIG     NBD_REP_ERROR(9)
#define NBD_REP_ERR_EXT_HEADER_REQD NBD_REP_ERROR(10)

enum nbd_info { NBD_INFO_EXPORT = 0, NBD_INFO_NAME = 1, NBD_INFO_DESCRIPTION = 2, NBD_INFO_BLOCK_SIZE = 3 };

/* Sizes in bytes of what is sent: */
enum {
    NBD_GREETING_SIZE = 18,         /* NBD_MAGIC, NBD_OPTION_MAGIC, flags (16) */
    NBD_OPTION_SIZE = 16,           /* magic, option (32), length (32) */
    NBD_OPTION_REPLY_SIZE = 20,     /* magic, option (32), reply (32), length (32) */
    NBD_EXPORT_NAME_SIZE = 10,      /* size (64), flags (16), without the zeroes */
    NBD_EXPORT_NAME_ZEROES = 124
};

enum {
    NBD_MAX_STRING = 4096,          /* of a name, a description, a context, an error text */
    NBD_MAX_PAYLOAD = 32 << 20      /* of a request, and of what a server must send */
};

/* ---- Transmission -------------------------------------------------------------- */

/* Of an export, 16 bits. */
enum {
    NBD_FLAG_HAS_FLAGS = 1 << 0, NBD_FLAG_READ_ONLY = 1 << 1, NBD_FLAG_SEND_FLUSH = 1 << 2, NBD_FLAG_SEND_FUA = 1 << 3,
    NBD_FLAG_ROTATIONAL = 1 << 4, NBD_FLAG_SEND_TRIM = 1 << 5, NBD_FLAG_SEND_WRITE_ZEROES = 1 << 6,
    NBD_FLAG_SEND_DF = 1 << 7, NBD_FLAG_CAN_MULTI_CONN = 1 << 8, NBD_FLAG_SEND_RESIZE = 1 << 9,
    NBD_FLAG_SEND_CACHE = 1 << 10, NBD_FLAG_SEND_FAST_ZERO = 1 << 11, NBD_FLAG_BLOCK_STAT_PAYLOAD = 1 << 12
};

#define NBD_REQUEST_MAGIC           0x25609513u
#define NBD_EXTENDED_REQUEST_MAGIC  0x21e41c71u
#define NBD_SIMPLE_REPLY_MAGIC      0x67446698u
#define NBD_STRUCTURED_REPLY_MAGIC  0x668e33efu
#define NBD_EXTENDED_REPLY_MAGIC    0x6e8a278cu

enum nbd_command {
    NBD_CMD_READ = 0, NBD_CMD_WRITE = 1, NBD_CMD_DISC = 2, NBD_CMD_FLUSH = 3, NBD_CMD_TRIM = 4, NBD_CMD_CACHE = 5,
    NBD_CMD_WRITE_ZEROES = 6, NBD_CMD_BLOCK_STATUS = 7
};

enum {
    NBD_CMD_FLAG_FUA = 1 << 0, NBD_CMD_FLAG_NO_HOLE = 1 << 1, NBD_CMD_FLAG_DF = 1 << 2, NBD_CMD_FLAG_REQ_ONE = 1 << 3,
    NBD_CMD_FLAG_FAST_ZERO = 1 << 4, NBD_CMD_FLAG_PAYLOAD_LEN = 1 << 5
};

enum { NBD_REPLY_FLAG_DONE = 1 };
#define NBD_REPLY_TYPE_ERROR_BIT    0x8000u
enum nbd_reply_type {
    NBD_REPLY_TYPE_NONE = 0, NBD_REPLY_TYPE_OFFSET_DATA = 1, NBD_REPLY_TYPE_OFFSET_HOLE = 2,
    NBD_REPLY_TYPE_BLOCK_STATUS = 5, NBD_REPLY_TYPE_BLOCK_STATUS_EXT = 6,
    NBD_REPLY_TYPE_ERROR = 0x8001, NBD_REPLY_TYPE_ERROR_OFFSET = 0x8002
};

enum {
    NBD_REQUEST_SIZE = 28,          /* magic (32), flags (16), type (16), cookie (64), offset (64), length (32) */
    NBD_EXTENDED_REQUEST_SIZE = 32, /* the same, length (64) */
    NBD_SIMPLE_REPLY_SIZE = 16,     /* magic (32), error (32), cookie (64) */
    NBD_STRUCTURED_REPLY_SIZE = 20, /* magic (32), flags (16), type (16), cookie (64), length (32) */
    NBD_EXTENDED_REPLY_SIZE = 32    /* magic (32), flags (16), type (16), cookie (64), offset (64), length (64) */
};

/* base:allocation */
enum { NBD_STATE_HOLE = 1, NBD_STATE_ZERO = 2 };
/* qemu:dirty-bitmap:NAME */
enum { NBD_STATE_DIRTY = 1 };

#define NBD_CONTEXT_ALLOCATION      "base:allocation"
#define NBD_CONTEXT_DEPTH           "qemu:allocation-depth"
#define NBD_CONTEXT_BITMAP          "qemu:dirty-bitmap:"

/* Errors as they travel; Linux numbers. */
enum {
    NBD_SUCCESS = 0, NBD_EPERM = 1, NBD_EIO = 5, NBD_ENOMEM = 12, NBD_EINVAL = 22, NBD_ENOSPC = 28, NBD_EOVERFLOW = 75,
    NBD_ENOTSUP = 95, NBD_ESHUTDOWN = 108
};

/* ---- Names, for messages (nbd-protocol.c) ------------------------------------------- */

const char *img_nbd_option_name(uint32_t option);
const char *img_nbd_reply_name(uint32_t reply);

#endif
