/* SPDX-License-Identifier: MIT */
/* Requests and answers as bytes; see wire.h. */
#include "sheepdog.h"
#include "../../libimg/util/endian.h"
#include <string.h>

enum { VERSION = 1 };

static void put_begin(struct sheepdog_request *r, enum sheepdog_op op, unsigned flags)
{
    memset(r->header, 0, sizeof r->header);
    r->header[0] = VERSION;
    r->header[1] = (uint8_t)op;
    img_put_le16(r->header + 2, (uint16_t)flags);
    img_put_le32(r->header + 12, flags & SHEEPDOG_WRITE ? r->send_length : r->room);
}

void sheepdog_put_object(struct sheepdog_request *r, enum sheepdog_op op, unsigned flags,
                         const struct sheepdog_object *object)
{
    put_begin(r, op, flags);
    img_put_le64(r->header + 16, object->id);
    img_put_le64(r->header + 24, object->copy_from);
    r->header[32] = object->copies;
    r->header[33] = object->copy_policy;
    img_put_le32(r->header + 40, object->offset);
}

void sheepdog_put_vdi(struct sheepdog_request *r, enum sheepdog_op op, unsigned flags,
                      const struct sheepdog_vdi_words *words)
{
    put_begin(r, op, flags);
    img_put_le64(r->header + 16, words->size);
    img_put_le32(r->header + 24, words->base);
    r->header[28] = words->copies;
    r->header[29] = words->copy_policy;
    r->header[31] = words->shift;
    img_put_le32(r->header + 32, words->snap_id);
}

uint32_t sheepdog_answer_id(const uint8_t *header)
{
    return img_get_le32(header + 8);
}

uint32_t sheepdog_answer_length(const uint8_t *header)
{
    return img_get_le32(header + 12);
}

uint32_t sheepdog_answer_result(const uint8_t *header)
{
    return img_get_le32(header + 16);
}

uint32_t sheepdog_answer_vdi(const uint8_t *header)
{
    return img_get_le32(header + 24);
}

uint8_t sheepdog_answer_default_shift(const uint8_t *header)
{
    return header[22];
}
