/* SPDX-License-Identifier: MIT */
/*
 * wire.h - requests and answers as bytes, all little-endian.
 *
 * Both begin with a header of 48 bytes, of which the first 16 are the same: version, opcode, flags, epoch, id, and the
 * length of what follows.  (In a request without the flag WRITE nothing follows: it is the room for the answer.)  An
 * answer has the id of its request and a result; answers come in any order.
 *
 * A disk consists of objects of a fixed size.  The inode of a VDI, an object itself, has a header and the table of
 * owners: which VDI, this one or one that it descends from, has each object of the disk.
 */
#ifndef SHEEPDOG_WIRE_H
#define SHEEPDOG_WIRE_H

#include <stdbool.h>
#include <stdint.h>

enum { SHEEPDOG_HEADER = 48, SHEEPDOG_NAME = 255 };
#define SHEEPDOG_PORT "7000"
#define SHEEPDOG_HOST "localhost"

enum sheepdog_op {
    SHEEPDOG_MAKE_OBJECT = 0x01, SHEEPDOG_READ_OBJECT, SHEEPDOG_WRITE_OBJECT, SHEEPDOG_DISCARD_OBJECT = 0x05,
    SHEEPDOG_NEW_VDI = 0x11, SHEEPDOG_LOCK_VDI, SHEEPDOG_RELEASE_VDI, SHEEPDOG_FIND_VDI, SHEEPDOG_READ_VDIS,
    SHEEPDOG_FLUSH_VDI, SHEEPDOG_DELETE_VDI, SHEEPDOG_GET_DEFAULT
};
enum { SHEEPDOG_WRITE = 1, SHEEPDOG_COPY = 2 };     /* flags */
enum sheepdog_result {
    SHEEPDOG_SUCCESS, SHEEPDOG_UNKNOWN, SHEEPDOG_NO_OBJECT, SHEEPDOG_EIO, SHEEPDOG_VDI_EXISTS, SHEEPDOG_INVALID,
    SHEEPDOG_SYSTEM_ERROR, SHEEPDOG_LOCKED, SHEEPDOG_NO_VDI, SHEEPDOG_NO_BASE, SHEEPDOG_VDI_READ, SHEEPDOG_VDI_WRITE,
    SHEEPDOG_BASE_READ, SHEEPDOG_BASE_WRITE, SHEEPDOG_NO_TAG, SHEEPDOG_STARTUP, SHEEPDOG_NOT_LOCKED, SHEEPDOG_SHUTDOWN,
    SHEEPDOG_NO_MEMORY, SHEEPDOG_FULL_VDI, SHEEPDOG_OTHER_VERSION, SHEEPDOG_NO_SPACE, SHEEPDOG_NOT_FORMATTED,
    SHEEPDOG_WAIT_FOR_JOIN, SHEEPDOG_JOIN_FAILED, SHEEPDOG_HALT, SHEEPDOG_READ_ONLY, SHEEPDOG_INVALIDATED = 0x1d,
    /* (what nodes tell each other, and clients now and then) */
    SHEEPDOG_OLD_NODE = 0x81, SHEEPDOG_NEW_NODE, SHEEPDOG_NETWORK = 0x86, SHEEPDOG_AGAIN = 0x8f,
    SHEEPDOG_COLLECTING = 0x95
};

/* Ids of VDIs have 24 bits; the list of those in use is a bitmap. */
enum { SHEEPDOG_MOST_ID = 0xffffff, SHEEPDOG_BITMAP = (SHEEPDOG_MOST_ID + 1) / 8 };
/* Of an object, as a power of two. */
enum { SHEEPDOG_LEAST_SHIFT = 20, SHEEPDOG_USUAL_SHIFT = 22, SHEEPDOG_MOST_SHIFT = 31 };

/* The inode: its object, its header, and the table of owners, four bytes each. */
#define SHEEPDOG_INODE(id) (UINT64_C(1) << 63 | (uint64_t)(id) << 32)
enum { SHEEPDOG_AT_TAG = 256, SHEEPDOG_AT_SIZE = 536, SHEEPDOG_AT_OWNERS = 4664 };
enum { SHEEPDOG_INODE_BEGIN = 568, SHEEPDOG_MOST_OBJECTS = 1 << 20 };   /* what is looked at of the header */
enum { SHEEPDOG_TEXT = 256 };       /* the room of a name and of a tag */

struct sheepdog_request;

/* Requests about objects. */
struct sheepdog_object {
    uint64_t id, copy_from;
    uint8_t copies, copy_policy;
    uint32_t offset;
};
void sheepdog_put_object(struct sheepdog_request *request, enum sheepdog_op op, unsigned flags,
                         const struct sheepdog_object *object);
/* Requests about VDIs. */
struct sheepdog_vdi_words {
    uint64_t size;
    uint32_t base, snap_id;
    uint8_t copies, copy_policy, shift;
};
void sheepdog_put_vdi(struct sheepdog_request *request, enum sheepdog_op op, unsigned flags,
                      const struct sheepdog_vdi_words *words);

/* What an answer says. */
uint32_t sheepdog_answer_id(const uint8_t *header);
uint32_t sheepdog_answer_length(const uint8_t *header);
uint32_t sheepdog_answer_result(const uint8_t *header);
uint32_t sheepdog_answer_vdi(const uint8_t *header);
uint8_t sheepdog_answer_default_shift(const uint8_t *header);

#endif
