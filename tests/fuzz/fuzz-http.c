/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target: a web server that the curl driver talks to.  In place of libcurl there are functions of the same names
 * here, which make up replies: the input says for each reply what is wrong with it.  When the input is at its end, the
 * server is honest.
 *
 * The file exists in several versions.  The bytes of a reply are those of the place and the version that its header
 * names.  So all that the driver reads with success is of one version, except where the header says too little to see
 * a change.
 */
#define CURL_DISABLE_TYPECHECK
#include "client.h"
#include <curl/curl.h>

#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#undef curl_easy_setopt
#undef curl_easy_getinfo

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "quarantine_size_mb=4:malloc_context_size=4";
}

enum { VERSIONS = 3, MOST_SIZE = 400000, BUFFER = 60000, LEAST_PART = 8192, TEXT = 40, MAX_REPLIES = 2000 };

static struct {
    pthread_mutex_t lock;
    const uint8_t *script;
    size_t left;
    unsigned version, replies;
    uint64_t size;
    bool blind, changed;            /* a reply without a strong ETag; another version: nobody can see it then */
    bool unseen;                    /* bytes that nobody vouches for */
    unsigned versions;              /* bits: of which versions could all be that was read */
} server = { .lock = PTHREAD_MUTEX_INITIALIZER };

static uint8_t content(unsigned version, uint64_t position)
{
    return (uint8_t)(position * 131 + (position >> 9) * 7 + version * 59);
}

static uint64_t size_of(unsigned version)
{
    return version == 2 ? server.size + 1000 : server.size;
}

/* ---- Replies ------------------------------------------------------------------------------ */

struct easy {
    curl_write_callback write;
    void *context;
    char *problem;
    char range[48];
    bool has_range, head;
    struct curl_header header;
    char content_range[64], etag[16], location[64];
    long code;
    curl_off_t length;              /* -1: not told */
    uint64_t first, count;          /* the body */
    unsigned version;
    size_t chunk;
    uint64_t sent;                  /* what comes of the body */
    CURLMsg message;
};

enum {
    RIGHT, NO_RANGES, SHIFTED, LONGER, SHORTER, REDIRECT, FORBIDDEN, EMPTY, CHANGED, CUT, WORDS, RESERVED
};
enum { NO_TAG = 0x10, WEAK_TAG = 0x20, NO_LENGTH = 0x40, SMALL_CHUNKS = 0x80 };

static uint8_t next_byte(void)
{
    if (server.left == 0)
        return 0;
    server.left--;
    return *server.script++;
}

static void whole(struct easy *e)
{
    e->code = 200;
    e->first = 0;
    e->count = size_of(e->version);
}

static void part(struct easy *e, uint64_t first, uint64_t last)
{
    uint64_t size = size_of(e->version);

    if (first >= size) {
        e->code = 416;
        return;
    }
    e->code = 206;
    e->first = first;
    e->count = img_min(last, size - 1) - first + 1;
    snprintf(e->content_range, sizeof e->content_range, "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64, first,
             first + e->count - 1, size);
}

/* A header that the input wrote.  The bytes are those of the place that was asked for. */
static void own_words(struct easy *e)
{
    size_t length = img_min(next_byte() % TEXT, server.left);

    memcpy(e->content_range, server.script, length);
    e->content_range[length] = 0;
    server.script += length;
    server.left -= length;
    server.unseen = true;
}

/* The caller holds the lock. */
static void choose(struct easy *e)
{
    uint8_t how = ++server.replies < MAX_REPLIES ? next_byte() : 0;
    unsigned kind = (how & 15) % RESERVED;
    uint64_t first = 0, last = UINT64_MAX;

    if (e->has_range)
        sscanf(e->range, "%" SCNu64 "-%" SCNu64, &first, &last);
    if (kind == CHANGED)
        server.version = next_byte() % VERSIONS;
    server.blind |= how & (NO_TAG | WEAK_TAG);
    server.changed |= server.version != 0;
    e->version = server.version;
    if (e->has_range && kind != NO_RANGES)
        part(e, first + (kind == SHIFTED ? 512 : 0),
             kind == LONGER ? last + 512 : kind == SHORTER && last > first ? last - 1 : last);
    else
        whole(e);
    if (kind == WORDS && e->code == 206)
        own_words(e);
    if (kind == REDIRECT || kind == FORBIDDEN || kind == EMPTY)
        e->code = kind == REDIRECT ? 302 : kind == FORBIDDEN ? 403 : 416;
    if (kind == REDIRECT)
        snprintf(e->location, sizeof e->location, "http://other%u/x", next_byte() & 3);
    /* (each time more than before, or else the driver waits before it asks again) */
    e->sent = kind == CUT ? img_min(e->count, (uint64_t)LEAST_PART * server.replies) : e->count;
    if (!(how & NO_TAG))
        snprintf(e->etag, sizeof e->etag, "%s\"%u\"", how & WEAK_TAG ? "W/" : "", e->version);
    e->length = how & NO_LENGTH && e->code == 200 ? -1 : (curl_off_t)e->count;
    e->chunk = how & SMALL_CHUNKS ? 700 : 16384;
}

static CURLcode send_body(struct easy *e)
{
    static _Thread_local char bytes[16384];

    for (uint64_t done = 0; done < e->sent; ) {
        size_t length = (size_t)img_min(e->sent - done, e->chunk);
        for (size_t i = 0; i < length; i++)
            bytes[i] = (char)content(e->version, e->first + done + i);
        if (e->write(bytes, 1, length, e->context) != length)
            return CURLE_WRITE_ERROR;
        done += length;
    }
    return e->sent < e->count ? CURLE_PARTIAL_FILE : CURLE_OK;
}

static CURLcode reply(struct easy *e)
{
    *e->content_range = *e->etag = *e->location = 0;
    e->first = e->count = e->sent = 0;
    pthread_mutex_lock(&server.lock);
    choose(e);
    pthread_mutex_unlock(&server.lock);
    if (e->code >= 400) {
        snprintf(e->problem, CURL_ERROR_SIZE, "The requested URL returned error: %ld", e->code);
        return CURLE_HTTP_RETURNED_ERROR;
    }
    return e->head || e->code == 302 ? CURLE_OK : send_body(e);
}

/* ---- In place of libcurl ----------------------------------------------------------------- */

struct multi {
    struct easy *easy;
    bool done;
};

CURLcode curl_global_init(long flags)
{
    (void)flags;
    return CURLE_OK;
}

CURL *curl_easy_init(void)
{
    return calloc(1, sizeof(struct easy));
}

void curl_easy_cleanup(CURL *handle)
{
    free(handle);
}

CURLcode curl_easy_setopt(CURL *handle, CURLoption option, ...)
{
    struct easy *e = handle;
    const char *text;
    va_list list;

    va_start(list, option);
    switch ((int)option) {
    case CURLOPT_WRITEFUNCTION: e->write = va_arg(list, curl_write_callback); break;
    case CURLOPT_WRITEDATA: e->context = va_arg(list, void *); break;
    case CURLOPT_ERRORBUFFER: e->problem = va_arg(list, char *); break;
    case CURLOPT_NOBODY: e->head = va_arg(list, long); break;
    case CURLOPT_RANGE:
        text = va_arg(list, const char *);
        e->has_range = text != NULL;
        snprintf(e->range, sizeof e->range, "%s", text ? text : "");
        break;
    default: break;
    }
    va_end(list);
    return CURLE_OK;
}

CURLcode curl_easy_getinfo(CURL *handle, CURLINFO info, ...)
{
    struct easy *e = handle;
    va_list list;

    va_start(list, info);
    switch ((int)info) {
    case CURLINFO_RESPONSE_CODE: *va_arg(list, long *) = e->code; break;
    case CURLINFO_CONTENT_LENGTH_DOWNLOAD_T: *va_arg(list, curl_off_t *) = e->length; break;
    case CURLINFO_REDIRECT_URL: *va_arg(list, char **) = *e->location ? e->location : NULL; break;
    case CURLINFO_RETRY_AFTER: *va_arg(list, curl_off_t *) = 0; break;
    default: abort();
    }
    va_end(list);
    return CURLE_OK;
}

CURLHcode curl_easy_header(CURL *handle, const char *name, size_t index, unsigned origin, int request,
                           struct curl_header **found)
{
    struct easy *e = handle;
    char *value = strcmp(name, "Content-Range") == 0 ? e->content_range : strcmp(name, "ETag") == 0 ? e->etag :
                  strcmp(name, "Location") == 0 ? e->location : NULL;

    (void)index;
    (void)origin;
    (void)request;
    if (!value || !*value)
        return CURLHE_MISSING;
    e->header.value = value;
    *found = &e->header;
    return CURLHE_OK;
}

const char *curl_easy_strerror(CURLcode code)
{
    return code == CURLE_OK ? "No error" : "An error";
}

CURLM *curl_multi_init(void)
{
    return calloc(1, sizeof(struct multi));
}

CURLMcode curl_multi_cleanup(CURLM *handle)
{
    free(handle);
    return CURLM_OK;
}

CURLMcode curl_multi_add_handle(CURLM *handle, CURL *easy)
{
    *(struct multi *)handle = (struct multi){ .easy = easy };
    return CURLM_OK;
}

CURLMcode curl_multi_remove_handle(CURLM *handle, CURL *easy)
{
    (void)handle;
    (void)easy;
    return CURLM_OK;
}

CURLMcode curl_multi_perform(CURLM *handle, int *running)
{
    struct multi *m = handle;

    m->easy->message.data.result = reply(m->easy);
    m->done = true;
    *running = 0;
    return CURLM_OK;
}

CURLMcode curl_multi_poll(CURLM *handle, struct curl_waitfd fds[], unsigned count, int timeout, int *ready)
{
    (void)handle;
    (void)fds;
    (void)count;
    (void)timeout;
    (void)ready;
    return CURLM_OK;
}

CURLMcode curl_multi_wakeup(CURLM *handle)
{
    (void)handle;
    return CURLM_OK;
}

CURLMsg *curl_multi_info_read(CURLM *handle, int *left)
{
    struct multi *m = handle;

    *left = 0;
    return m->done ? &m->easy->message : NULL;
}

/* ---- The user of the driver ---------------------------------------------------------------- */

static void judge(const uint8_t *bytes, uint64_t offset, size_t length)
{
    unsigned fit = 0;

    for (unsigned version = 0; version < VERSIONS; version++) {
        size_t i = 0;
        while (i < length && bytes[i] == (offset + i < size_of(version) ? content(version, offset + i) : 0))
            i++;
        fit |= (unsigned)(i == length) << version;
    }
    server.versions &= fit;
    if (!server.versions && !server.unseen && !(server.blind && server.changed))
        abort();
}

static void in_any_order(const char *name, uint8_t *buffer)
{
    struct img_open how = { .image_opts = true };
    struct img *image = client_open(name, &how);

    if (!image)
        return;
    client_read(image, buffer, 0, 1000, judge);
    client_read(image, buffer, 200000, 50000, judge);
    for (uint64_t at = 512; at < 5 * BUFFER; at += BUFFER)
        client_read(image, buffer, at, BUFFER, judge);
    client_read(image, buffer, img_size(image) - img_min(700, img_size(image)), 700, judge);
    client_close(image);
}

static void in_order(const char *name, uint8_t *buffer)
{
    struct img_open how = { .image_opts = true };
    struct img_error err = IMG_ERROR_INIT;
    char *format = NULL;
    struct img_intake *intake = img_intake_open(name, &how, &format, &err);
    int64_t n = 1;

    for (uint64_t at = 0; intake && n > 0; at += (uint64_t)n) {
        n = img_intake_read(intake, buffer, BUFFER);
        if (n > 0)
            judge(buffer, at, (size_t)n);
        /* the end of a reply without a length is the end of the file */
    }
    img_intake_free(intake);
    img_error_clear(&err);
    free(format);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint64_t sizes[] = { 300000, 0, 1, 511, 32768, 32769, 100000, MOST_SIZE };
    static uint8_t buffer[BUFFER];
    char name[128];

    if (size < 2 || size > 4096)
        return 0;
    server.script = data + 2;
    server.left = size - 2;
    server.version = server.replies = 0;
    server.unseen = server.blind = server.changed = false;
    server.versions = (1 << VERSIONS) - 1;
    server.size = sizes[data[0] & 7];
    snprintf(name, sizeof name, "driver=http,url=http://here/x,connections=%d,readahead=%s", data[0] & 8 ? 3 : 1,
             data[0] & 16 ? "256k" : "0");
    if (data[1] & 1)
        in_order(name, buffer);
    else
        in_any_order(name, buffer);
    return 0;
}
