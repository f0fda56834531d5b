/* SPDX-License-Identifier: MIT */
/*
 * Passing faults: a connection that broke, a server that is busy, an address that expired.  A GET may be repeated
 * (RFC 9110, section 9.2.2), and is repeated only for the bytes that have not come.
 */
#include "curl.h"
#include "../../libimg/util/checked.h"
#include "../../libimg/util/clock.h"
#include "../../libimg/util/fd.h"
#include <stdlib.h>

/* Attempts without a byte in between; pauses between them in milliseconds, doubled each time. */
enum { ATTEMPTS = 5, FIRST_PAUSE = 200, LONGEST_PAUSE = 5000, ASK_EVERY = 100 };

/* A server may say when it will be ready (RFC 9110, section 10.2.3). */
static uint64_t pause_for(const struct curl_connection *c, uint64_t usual)
{
    curl_off_t seconds = 0;

    curl_easy_getinfo(c->easy, CURLINFO_RETRY_AFTER, &seconds);
    return img_min(img_max(usual, (uint64_t)img_max(seconds, 0) * 1000), LONGEST_PAUSE);
}

/* false: abandoned meanwhile. */
static bool wait_for(uint64_t milliseconds, const struct curl_request *r)
{
    uint64_t end = img_now_milliseconds() + milliseconds;

    while (img_now_milliseconds() < end) {
        if (r->abandoned && r->abandoned(r->context))
            return false;
        img_fd_wait(-1, 0, img_min(end, img_now_milliseconds() + ASK_EVERY), -1);
    }
    return true;
}

static void keep_place(struct curl_connection *c, struct curl_place *place)
{
    char *address = NULL;

    if (curl_easy_getinfo(c->easy, CURLINFO_EFFECTIVE_URL, &address) == CURLE_OK && address)
        curl_place_keep(place, address);
}

/* One attempt at the kept address, or, if that has expired, at the original. */
static enum curl_outcome attempt(struct curl_connection *c, struct curl_place *place, struct curl_request *r)
{
    enum curl_outcome outcome;
    bool again;

    do {
        char *address = curl_place_get(place);
        if (!address)
            return CURL_FAILED;
        r->address = address;
        outcome = curl_request_run(c, r);
        again = outcome == CURL_MOVED && curl_place_forget(place, address);
        if (outcome == CURL_DONE)
            keep_place(c, place);
        r->address = NULL;
        free(address);
    } while (again);
    return outcome;
}

enum curl_outcome curl_request_retry(struct curl_connection *c, struct curl_place *place, struct curl_request *r)
{
    enum curl_outcome outcome;
    uint64_t pause = FIRST_PAUSE, done = 0;
    unsigned attempts = 0;

    for (;;) {
        outcome = attempt(c, place, r);
        done += r->received;
        if (outcome != CURL_PASSING)
            break;
        if (r->received && !r->probe) {
            attempts = 0;
            pause = FIRST_PAUSE;
            r->offset += r->received;
            r->length -= r->received;
        }
        if (++attempts == ATTEMPTS)
            break;
        if (!wait_for(pause_for(c, pause), r)) {
            outcome = CURL_ENDED;
            break;
        }
        pause *= 2;
    }
    r->received = done;
    return outcome;
}
