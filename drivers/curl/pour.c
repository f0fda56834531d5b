/* SPDX-License-Identifier: MIT */
/* All of the file in order, in one reply.  If that breaks, another one is asked for, which brings all of it again. */
#include "curl.h"
#include "../../libimg/util/checked.h"
#include <poll.h>

struct pour {
    int (*take)(void *context, const void *bytes, size_t length);
    void *context;
    uint64_t given;                 /* bytes of the file */
    int ret;
    int stop;
    struct curl_request request;
    struct curl_version version;    /* of the first reply */
};

static bool take_new(void *context, uint64_t position, const void *bytes, size_t length)
{
    struct pour *pour = context;
    uint64_t known = img_min(pour->given - position, length);

    if (!pour->request.expected) {
        pour->version = pour->request.version;
        pour->request.expected = &pour->version;
    }
    if (known == length)
        return true;
    pour->ret = pour->take(pour->context, (const char *)bytes + known, length - (size_t)known);
    pour->given = position + length;
    return pour->ret == 0;
}

static bool abandoned(void *context)
{
    struct pollfd stop = { .fd = ((const struct pour *)context)->stop, .events = POLLIN };

    return poll(&stop, 1, 0) > 0;
}

int curl_pour(const struct curl_source *source, int (*take)(void *context, const void *bytes, size_t length),
              void *context, int stop)
{
    struct pour pour = { .take = take, .context = context, .stop = stop };
    struct curl_connection connection;
    struct curl_place place;
    enum curl_outcome outcome;
    int ret = curl_connection_open(&connection, source);

    if (ret < 0)
        return ret;
    curl_place_init(&place, source->address);
    pour.request = (struct curl_request){ .source = source, .length = UINT64_MAX, .whole = true, .take = take_new,
                                          .abandoned = abandoned, .context = &pour };
    outcome = curl_request_retry(&connection, &place, &pour.request);
    if (outcome != CURL_DONE && outcome != CURL_ENDED)
        curl_explain(source, &connection, outcome);
    curl_place_end(&place);
    curl_connection_close(&connection);
    if (outcome == CURL_ENDED)
        return pour.ret < 0 ? pour.ret : -ECANCELED;
    return outcome == CURL_DONE ? 0 : -EIO;
}
