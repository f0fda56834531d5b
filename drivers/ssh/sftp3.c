/* SPDX-License-Identifier: MIT */
/* Messages of SFTP; see sftp3.h.  All numbers are big-endian; a string is its length and its bytes. */
#include "sftp3.h"
#include "../../libimg/util/checked.h"
#include "../../libimg/util/endian.h"
#include <string.h>

/* A message begins with its length (of what follows), its type, and, but for the first two, an id. */
enum { LENGTH = 4, TYPE = 1, ID = 4, HEAD = LENGTH + TYPE + ID };

/* ---- Requests -------------------------------------------------------------------------------------- */

size_t sftp3_put_head(uint8_t *to, enum sftp3_type type, uint32_t id, size_t payload)
{
    size_t identity = type == SFTP3_INIT ? 0 : ID;

    img_put_be32(to, (uint32_t)(TYPE + identity + payload));
    to[LENGTH] = (uint8_t)type;
    if (identity)
        img_put_be32(to + LENGTH + TYPE, id);
    return LENGTH + TYPE + identity;
}

size_t sftp3_put_transfer(uint8_t *to, enum sftp3_type type, uint32_t id, const struct sftp3_handle *handle,
                          uint64_t offset, uint32_t length)
{
    size_t rest = 4 + handle->length + 8 + 4;
    uint8_t *at = to + sftp3_put_head(to, type, id, rest + (type == SFTP3_WRITE ? length : 0));

    img_put_be32(at, handle->length);
    memcpy(at + 4, handle->bytes, handle->length);
    at += 4 + handle->length;
    img_put_be64(at, offset);
    img_put_be32(at + 8, length);
    return HEAD + rest;
}

/* ---- Answers ---------------------------------------------------------------------------------------- */

struct cursor {
    const uint8_t *at;
    size_t left;
};

static bool get32(struct cursor *from, uint32_t *value)
{
    if (from->left < 4)
        return false;
    *value = img_get_be32(from->at);
    from->at += 4;
    from->left -= 4;
    return true;
}

static bool get_string(struct cursor *from, const uint8_t **bytes, uint32_t *length)
{
    if (!get32(from, length) || *length > from->left)
        return false;
    *bytes = from->at;
    from->at += *length;
    from->left -= *length;
    return true;
}

/* (some servers of version 3 leave the text out) */
bool sftp3_get_status(const uint8_t *payload, size_t length, uint32_t *code, const char **text, size_t *text_length)
{
    struct cursor from = { payload, length };
    const uint8_t *bytes = NULL;
    uint32_t count = 0;

    if (!get32(&from, code))
        return false;
    if (from.left && !get_string(&from, &bytes, &count))
        return false;
    *text = bytes ? (const char *)bytes : "";
    *text_length = count;
    return true;
}

bool sftp3_get_handle(const uint8_t *payload, size_t length, struct sftp3_handle *handle)
{
    struct cursor from = { payload, length };
    const uint8_t *bytes;

    if (!get_string(&from, &bytes, &handle->length) || handle->length > sizeof handle->bytes)
        return false;
    memcpy(handle->bytes, bytes, handle->length);
    return true;
}

bool sftp3_get_attributes(const uint8_t *payload, size_t length, bool *has_size, uint64_t *size, uint32_t *mode)
{
    enum { HAS_SIZE = 1, HAS_OWNER = 2, HAS_MODE = 4 };
    struct cursor from = { payload, length };
    uint32_t flags, high = 0, low = 0, ignored;

    *mode = 0;
    if (!get32(&from, &flags))
        return false;
    *has_size = flags & HAS_SIZE;
    if (*has_size && (!get32(&from, &high) || !get32(&from, &low)))
        return false;
    if (flags & HAS_OWNER && (!get32(&from, &ignored) || !get32(&from, &ignored)))
        return false;
    *size = (uint64_t)high << 32 | low;
    return !(flags & HAS_MODE) || get32(&from, mode);
}

bool sftp3_get_version(const uint8_t *payload, size_t length, uint32_t *version, const char *extension, bool *has)
{
    struct cursor from = { payload, length };
    const uint8_t *name, *data;
    uint32_t name_length, data_length;

    *has = false;
    if (!get32(&from, version))
        return false;
    while (from.left) {
        if (!get_string(&from, &name, &name_length) || !get_string(&from, &data, &data_length))
            return false;
        if (name_length == strlen(extension) && memcmp(name, extension, name_length) == 0)
            *has = true;
    }
    return true;
}

/* ---- Putting together ----------------------------------------------------------------------------------- */

/* What must be there before it is known how many bytes the rest has: of DATA, the length of the bytes too. */
static size_t needed(const struct sftp3_inbox *inbox)
{
    if (inbox->have < LENGTH + TYPE)
        return LENGTH + TYPE;
    if (inbox->bytes[LENGTH] == SFTP3_DATA)
        return HEAD + 4;
    return LENGTH + (size_t)img_get_be32(inbox->bytes);
}

/* (the server may put nothing behind the bytes of a DATA) */
static bool begin_data(struct sftp3_inbox *inbox, const struct sftp3_taker *taker, void *owner)
{
    uint32_t length = img_get_be32(inbox->bytes), count = img_get_be32(inbox->bytes + HEAD);

    if (length < TYPE + ID + 4 || count != length - (TYPE + ID + 4))
        return false;
    inbox->left = count;
    return taker->data(owner, img_get_be32(inbox->bytes + LENGTH + TYPE), count, &inbox->to);
}

static bool finish(struct sftp3_inbox *inbox, const struct sftp3_taker *taker, void *owner)
{
    enum sftp3_type type = inbox->bytes[LENGTH];
    size_t head = type == SFTP3_VERSION ? LENGTH + TYPE : HEAD, have = inbox->have;
    uint32_t id = type == SFTP3_VERSION ? 0 : img_get_be32(inbox->bytes + LENGTH + TYPE);

    inbox->have = 0;
    if (type == SFTP3_DATA)
        return taker->answer(owner, type, id, NULL, img_get_be32(inbox->bytes + HEAD));
    return have >= head && taker->answer(owner, type, id, inbox->bytes + head, have - head);
}

static size_t gather(struct sftp3_inbox *inbox, const uint8_t *bytes, size_t length, size_t want)
{
    size_t count = img_min(length, want - inbox->have);

    memcpy(inbox->bytes + inbox->have, bytes, count);
    inbox->have += count;
    return count;
}

static size_t pass_data(struct sftp3_inbox *inbox, const uint8_t *bytes, size_t length)
{
    size_t count = img_min(length, inbox->left);

    if (count) {
        memcpy(inbox->to, bytes, count);
        inbox->to += count;
        inbox->left -= count;
    }
    return count;
}

/*
 * Take what belongs in front of the bytes of a DATA, or to another message.  false: this is no message; *whole: all of
 * that is there.
 */
static bool take_front(struct sftp3_inbox *inbox, const uint8_t **bytes, size_t *length, bool *whole)
{
    size_t want = needed(inbox), count;

    if (want > sizeof inbox->bytes)
        return false;
    count = gather(inbox, *bytes, *length, want);
    *bytes += count;
    *length -= count;
    want = needed(inbox);
    *whole = inbox->have == want;
    return inbox->have <= want;
}

bool sftp3_take(struct sftp3_inbox *inbox, const uint8_t *bytes, size_t length, const struct sftp3_taker *taker,
                void *owner)
{
    while (length) {
        bool whole = true;
        size_t count;

        if (!inbox->left) {
            if (!take_front(inbox, &bytes, &length, &whole))
                return false;
            if (whole && inbox->bytes[LENGTH] == SFTP3_DATA && !begin_data(inbox, taker, owner))
                return false;
        }
        count = pass_data(inbox, bytes, length);
        bytes += count;
        length -= count;
        if (whole && !inbox->left && !finish(inbox, taker, owner))
            return false;
    }
    return true;
}
