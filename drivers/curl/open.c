/* SPDX-License-Identifier: MIT */
/*
 * What is at the address?  The first bytes are asked for: the reply says how long the file is, whether the server knows
 * ranges, and where the file really is.  Some servers do not answer HEAD, so that comes second.
 */
#include "curl.h"
#include "../../libimg/util/checked.h"
#include <string.h>

struct head {
    char *bytes;
    size_t have;
};

/* (no more than was asked for comes here) */
static bool take_head(void *context, uint64_t position, const void *bytes, size_t length)
{
    struct head *head = context;

    memcpy(head->bytes + position, bytes, length);
    head->have = (size_t)position + length;
    return true;
}

static int fail(struct img_error *err, const char *why)
{
    return img_error_set(err, EINVAL, "CURL: Error opening file: %s", why);
}

/* It can only be read as a whole. */
static int fail_whole(struct img_error *err, const char *why)
{
    return img_error_set(err, ESPIPE, "CURL: Error opening file: %s", why);
}

static int fail_outcome(enum curl_outcome outcome, const struct curl_connection *c, struct img_error *err)
{
    if (outcome == CURL_NO_RANGES)
        return fail_whole(err, "Server does not support 'range' (byte ranges).");
    return fail(err, c->problem);
}

/* An empty file has no range (416), and FTP gives the length without the file. */
static int look_at_header(struct curl_connection *c, const struct curl_source *source, struct curl_place *place,
                          struct curl_request *request, struct img_error *err)
{
    curl_off_t length = -1;
    enum curl_outcome outcome;

    *request = (struct curl_request){ .source = source, .length = 1, .probe = true, .head = true,
                                      .whole_timeout = source->timeout };
    outcome = curl_request_retry(c, place, request);
    if (outcome != CURL_DONE)
        return fail_outcome(outcome, c, err);
    curl_easy_getinfo(c->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
    if (length < 0)
        return fail_whole(err, "Server didn't report file size.");
    request->version.size = (uint64_t)length;
    request->has_size = true;
    request->has_ranges = length == 0 || !source->web;
    return 0;
}

static bool is_status(struct curl_connection *c, long wanted)
{
    long code = 0;

    curl_easy_getinfo(c->easy, CURLINFO_RESPONSE_CODE, &code);
    return code == wanted;
}

/* Ask for the beginning. */
static int look_at_beginning(struct curl_connection *c, const struct curl_source *source, struct curl_place *place,
                             struct curl_request *request, struct head *head, size_t room, struct img_error *err)
{
    enum curl_outcome outcome;

    *request = (struct curl_request){ .source = source, .length = room, .probe = true, .take = take_head,
                                      .whole_timeout = source->timeout, .context = head };
    outcome = curl_request_retry(c, place, request);
    if (outcome == CURL_DONE && request->has_size)
        return 0;
    head->have = 0;
    if (outcome == CURL_DONE || is_status(c, 416))
        return look_at_header(c, source, place, request, err);
    return fail_outcome(outcome, c, err);
}

int curl_look(struct curl_connection *c, const struct curl_source *source, struct curl_place *place,
              struct curl_version *version, char *bytes, size_t room, size_t *have, struct img_error *err)
{
    struct head head = { .bytes = bytes };
    struct curl_request request;
    int ret = source->web ? look_at_beginning(c, source, place, &request, &head, room, err)
                          : look_at_header(c, source, place, &request, err);

    if (ret < 0)
        return ret;
    /* A file that has come in full needs no ranges. */
    if (!request.has_ranges && !source->force_range && head.have < request.version.size)
        return fail_whole(err, "Server does not support 'range' (byte ranges).");
    if (request.version.size > INT64_MAX - 511)
        return img_error_set(err, EFBIG, "The file is too large");
    *version = request.version;
    *have = head.have;
    return 0;
}
