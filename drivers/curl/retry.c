/* SPDX-License-Identifier: MIT */
/*
 * Redirects, and passing faults: a connection that broke, a server that is busy, an address that expired.  A GET may be
 * repeated (RFC 9110, section 9.2.2), and is repeated only for the bytes that have not come.
 */
#include "curl.h"
#include "../../libimg/util/checked.h"
#include "../../libimg/util/clock.h"
#include "../../libimg/util/fd.h"
#include "../../libimg/util/strbuf.h"
#include <stdlib.h>

enum { REDIRECTS = 20 };
/* Attempts that bring next to nothing, one after the other; time-outs in all. */
enum { ATTEMPTS = 8, TIMEOUTS = 3, NEXT_TO_NOTHING = 4096 };
/* Pauses in milliseconds, doubled each time. */
enum { FIRST_PAUSE = 200, LONGEST_PAUSE = 5000, ASK_EVERY = 100 };

/* ---- Redirects ------------------------------------------------------------------------------- */

/* Where to go from here; caller frees; NULL: nowhere. */
static char *next_address(struct curl_connection *c)
{
    char *address = NULL;

    if (curl_easy_getinfo(c->easy, CURLINFO_REDIRECT_URL, &address) != CURLE_OK || !address)
        return NULL;
    return img_strdup(address);
}

/* Ask at `address`, and where it leads to.  The place is kept.  The address is freed. */
static enum curl_outcome follow(struct curl_connection *c, struct curl_place *place, struct curl_request *r,
                                char *address)
{
    enum curl_outcome outcome = CURL_FAILED;

    for (unsigned i = 0; address && i <= REDIRECTS; i++) {
        char *next;

        r->address = address;
        outcome = curl_request_run(c, r);
        next = outcome == CURL_ELSEWHERE ? next_address(c) : NULL;
        if (outcome == CURL_DONE)
            curl_place_keep(place, address);
        free(address);
        address = next;
    }
    free(address);
    r->address = NULL;
    if (outcome == CURL_ELSEWHERE) {
        snprintf(c->problem, sizeof c->problem, "Maximum (%d) redirects followed", REDIRECTS);
        outcome = CURL_FAILED;
    }
    return outcome;
}

/* One attempt at the kept address, or, if that has expired, from the original on. */
static enum curl_outcome attempt(struct curl_connection *c, struct curl_place *place, struct curl_request *r)
{
    char *address = curl_place_get(place), *kept = address ? img_strdup(address) : NULL;
    enum curl_outcome outcome = follow(c, place, r, address);

    if (outcome == CURL_EXPIRED && kept && curl_place_forget(place, kept))
        outcome = follow(c, place, r, img_strdup(place->original));
    free(kept);
    return outcome;
}

/* ---- Repeating ---------------------------------------------------------------------------------- */

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

/* How a request went so far. */
struct course {
    unsigned attempts, timeouts;
    uint64_t pause;
    uint64_t reached;               /* of a whole file, which is begun anew each time */
};

/* How much that is new has come? */
static uint64_t news(struct course *course, const struct curl_request *r)
{
    uint64_t before = r->whole ? course->reached : 0;

    course->reached = img_max(course->reached, r->received);
    return r->received > before ? r->received - before : 0;
}

/* Is it worth another attempt?  Waits before it.  Otherwise *outcome may change. */
static bool again(struct course *course, struct curl_connection *c, const struct curl_request *r,
                  enum curl_outcome *outcome)
{
    if (*outcome == CURL_STALLED)
        course->timeouts++;
    else if (*outcome != CURL_PASSING)
        return false;
    if (!r->probe && news(course, r) >= NEXT_TO_NOTHING) {
        course->attempts = 0;
        course->pause = FIRST_PAUSE;
        return course->timeouts < TIMEOUTS;
    }
    if (++course->attempts == ATTEMPTS || course->timeouts == TIMEOUTS)
        return false;
    if (!wait_for(pause_for(c, course->pause), r)) {
        *outcome = CURL_ENDED;
        return false;
    }
    course->pause *= 2;
    return true;
}

enum curl_outcome curl_request_retry(struct curl_connection *c, struct curl_place *place, struct curl_request *r)
{
    struct course course = { .pause = FIRST_PAUSE };
    enum curl_outcome outcome;

    do {
        outcome = attempt(c, place, r);
        if (outcome != CURL_DONE && !r->probe && !r->whole) {
            r->offset += r->received;
            r->length -= r->received;
        }
    } while (again(&course, c, r, &outcome));
    return outcome;
}

void curl_explain(const struct curl_source *source, const struct curl_connection *c, enum curl_outcome outcome)
{
    if (outcome == CURL_CHANGED)
        img_notice(IMG_FAULT, "curl: '%s' has changed on the server while it was read", source->address);
    else if (outcome == CURL_NO_RANGES)
        img_notice(IMG_FAULT, "curl: the server sent another range of '%s' than it was asked for", source->address);
    else
        img_notice(IMG_FAULT, "curl: %s", c->problem);
}
