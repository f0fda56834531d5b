/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target: what a server of SFTP sends, in pieces of any length, and names that begin with "ssh://".  The first
 * byte chooses: a name, one answer, or a stream.  Whatever it is: bytes of a read stay within what was asked for, and
 * what is taken apart lies within the input.
 */
#include "drivers/ssh/sftp3.h"
#include "libimg/net/uri.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_INPUT = 64 << 10, MOST_DATA = 4096 };

/* ---- A stream -------------------------------------------------------------------------- */

struct asked {
    uint8_t *bytes;
    uint32_t length;
    bool coming;
};

static bool data_coming(void *owner, uint32_t id, uint32_t length, uint8_t **to)
{
    struct asked *asked = owner;

    if (asked->coming)
        abort();
    if (id > 1000 || length == 0 || length > MOST_DATA)
        return false;
    free(asked->bytes);             /* (as large as this answer, so that a byte more is found) */
    asked->bytes = malloc(length);
    asked->length = length;
    asked->coming = true;
    *to = asked->bytes;
    return asked->bytes != NULL;
}

static void look_at(const uint8_t *payload, size_t length)
{
    struct sftp3_handle handle;
    uint32_t code, mode, version;
    uint64_t bytes;
    size_t text_length;
    const char *text;
    bool has;

    if (sftp3_get_status(payload, length, &code, &text, &text_length) && text_length > length)
        abort();
    if (sftp3_get_handle(payload, length, &handle) && handle.length > sizeof handle.bytes)
        abort();
    sftp3_get_attributes(payload, length, &has, &bytes, &mode);
    sftp3_get_version(payload, length, &version, "fsync@openssh.com", &has);
}

static bool answer_came(void *owner, enum sftp3_type type, uint32_t id, const uint8_t *payload, size_t length)
{
    struct asked *asked = owner;

    if ((type == SFTP3_DATA) != (payload == NULL) || (type == SFTP3_DATA) != asked->coming)
        abort();
    if (type == SFTP3_DATA && length != asked->length)
        abort();
    asked->coming = false;
    if (payload)
        look_at(payload, length);
    return id < 1 << 30;
}

static void take_stream(const uint8_t *data, size_t size)
{
    static const struct sftp3_taker taker = { .data = data_coming, .answer = answer_came };
    static struct sftp3_inbox inbox;
    struct asked asked = { NULL, 0, false };

    memset(&inbox, 0, sizeof inbox);
    while (size > 1) {
        size_t piece = data[0] + 1u;
        uint8_t *copy;
        bool goes_on;

        data++, size--;
        piece = piece < size ? piece : size;
        copy = malloc(piece);
        if (!copy)
            abort();
        memcpy(copy, data, piece);
        goes_on = sftp3_take(&inbox, copy, piece, &taker, &asked);
        free(copy);
        if (!goes_on)
            break;
        data += piece;
        size -= piece;
    }
    free(asked.bytes);
}

/* ---- Names ------------------------------------------------------------------------------ */

static void read_query(const char *query)
{
    char *key, *value;

    while (img_uri_next(&query, &key, &value) == 1) {
        if (!key || !value)
            abort();
        free(key);
        free(value);
    }
}

static void read_name(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1), *user, *host, *port, *path;
    struct img_uri uri;

    if (!text)
        abort();
    memcpy(text, data, size);
    text[size] = 0;
    if (img_uri_split(text, &uri)) {
        if (img_uri_authority(&uri, &user, &host, &port) == 0 && !host)
            abort();
        path = img_uri_path(&uri);
        if (path && (strstr(path, "/../") || strstr(path, "/./")))
            abort();
        read_query(uri.query);
        free(user);
        free(host);
        free(port);
        free(path);
    }
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || size > MAX_INPUT)
        return 0;
    if (data[0] % 4 == 0) {
        read_name(data + 1, size - 1);
    } else if (data[0] % 4 == 1) {
        uint8_t *copy = malloc(size);
        if (!copy)
            abort();
        memcpy(copy, data + 1, size - 1);
        look_at(copy, size - 1);
        free(copy);
    } else {
        take_stream(data + 1, size - 1);
    }
    return 0;
}
