/* SPDX-License-Identifier: MIT */
/*
 * One request for a range of the file (RFC 9110, section 14).  The reply is judged before its first byte is taken: is
 * it the range that was asked for, of the file that was opened?
 */
#include "curl.h"
#include "../../libimg/util/checked.h"
#include <stdlib.h>
#include <string.h>

/* How long libcurl may wait before `abandoned` is asked, in milliseconds; how much it takes from a socket at once. */
enum { ASK_EVERY = 100, RECEIVE = 256 << 10 };
enum { OK = 200, PARTIAL_CONTENT = 206, TOO_MANY = 429 };

/* ---- What the reply says ------------------------------------------------------------------- */

/* The value of a header field of the last reply; NULL: it is not there. */
static const char *field(CURL *easy, const char *name)
{
    struct curl_header *found;

    return curl_easy_header(easy, name, 0, CURLH_HEADER, -1, &found) == CURLHE_OK ? found->value : NULL;
}

static void keep_field(CURL *easy, const char *name, char *to, size_t room)
{
    const char *value = field(easy, name);

    /* What does not fit is of no use for comparing. */
    if (value && strlen(value) < room)
        strcpy(to, value);
}

static bool take_number(const char **text, uint64_t *number)
{
    char *end;

    if (**text < '0' || **text > '9')
        return false;
    errno = 0;
    *number = strtoull(*text, &end, 10);
    *text = end;
    return errno == 0;
}

/* "bytes 0-511/1024", or "bytes 0-511/" and an asterisk: *size is then 0. */
static bool parse_content_range(const char *text, uint64_t *first, uint64_t *last, uint64_t *size)
{
    *size = 0;
    if (strncmp(text, "bytes ", 6) != 0)
        return false;
    text += 6;
    if (!take_number(&text, first) || *text++ != '-' || !take_number(&text, last) || *text++ != '/' || *last < *first)
        return false;
    return strcmp(text, "*") == 0 || (take_number(&text, size) && *text == 0 && *last < *size);
}

static void learn_size(struct curl_request *r, uint64_t size)
{
    r->version.size = size;
    r->has_size = true;
}

/* Only what both replies say is compared.  A weak ETag says nothing about bytes (RFC 9110, 8.8.3). */
static bool same_version(const struct curl_request *r)
{
    const struct curl_version *was = r->expected, *is = &r->version;

    if (!was)
        return true;
    if (r->has_size && is->size != was->size)
        return false;
    if (*was->modified && *is->modified && strcmp(was->modified, is->modified) != 0)
        return false;
    return !*was->etag || !*is->etag || *was->etag != '"' || *is->etag != '"' || strcmp(was->etag, is->etag) == 0;
}

static bool stop_with(struct curl_request *r, enum curl_outcome fault)
{
    r->fault = fault;
    return false;
}

/* May the body be taken?  Otherwise `fault` says why not. */
static bool judge_web(struct curl_request *r)
{
    const char *range = field(r->easy, "Content-Range");
    uint64_t first, last, size;
    long code = 0;

    curl_easy_getinfo(r->easy, CURLINFO_RESPONSE_CODE, &code);
    keep_field(r->easy, "ETag", r->version.etag, sizeof r->version.etag);
    keep_field(r->easy, "Last-Modified", r->version.modified, sizeof r->version.modified);
    if (code == PARTIAL_CONTENT && range && parse_content_range(range, &first, &last, &size)) {
        if (size)
            learn_size(r, size);
        r->has_ranges = true;
        if (!same_version(r))
            return stop_with(r, CURL_CHANGED);
        return first == r->offset && (r->probe || last - first + 1 == r->length) ? true : stop_with(r, CURL_NO_RANGES);
    }
    /* All of it, though a part was asked for: of use only to learn its length, or if that part is all of it. */
    if (code == OK) {
        curl_off_t length = -1;
        curl_easy_getinfo(r->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
        if (length >= 0)
            learn_size(r, (uint64_t)length);
        if (!same_version(r))
            return stop_with(r, CURL_CHANGED);
        return r->head || r->whole || r->probe || (r->has_size && r->offset == 0 && r->length == r->version.size) ?
               true : stop_with(r, CURL_NO_RANGES);
    }
    return stop_with(r, code >= 300 && code < 400 && field(r->easy, "Location") ? CURL_ELSEWHERE : CURL_FAILED);
}

static bool judge(struct curl_request *r)
{
    if (!r->judged) {
        r->judged = true;
        r->right = !r->source->web || judge_web(r);
    }
    return r->right;
}

static size_t take_bytes(char *bytes, size_t one, size_t length, void *context)
{
    struct curl_request *r = context;
    size_t wanted = (size_t)img_min(length * one, r->length - r->received);

    if (r->head)
        return length * one;        /* (libcurl writes the length of an FTP file as if it were a header) */
    if (!judge(r))
        return r->fault == CURL_ELSEWHERE ? length * one : CURL_WRITEFUNC_ERROR;
    if (wanted && !r->take(r->context, r->offset + r->received, bytes, wanted)) {
        r->fault = CURL_ENDED;
        return CURL_WRITEFUNC_ERROR;
    }
    r->received += wanted;
    /* More than was asked for: a server without ranges that is probed. */
    return wanted == length * one ? wanted : CURL_WRITEFUNC_ERROR;
}

/* ---- Sending ---------------------------------------------------------------------------------- */

/* Credentials and cookies are for the server that the user named. */
static void set_credentials(CURL *easy, const struct curl_request *r)
{
    const struct curl_source *source = r->source;
    bool home = strcmp(r->address, source->address) == 0 || curl_same_origin(r->address, source->address);

    curl_easy_setopt(easy, CURLOPT_USERNAME, home ? source->username : NULL);
    curl_easy_setopt(easy, CURLOPT_PASSWORD, home ? source->password : NULL);
    curl_easy_setopt(easy, CURLOPT_COOKIE, home ? source->cookie : NULL);
}

static void prepare(struct curl_connection *c, struct curl_request *r)
{
    char range[48];

    snprintf(range, sizeof range, "%llu-%llu", (unsigned long long)r->offset,
             (unsigned long long)(r->offset + r->length - 1));
    curl_easy_setopt(c->easy, CURLOPT_URL, r->address);
    curl_easy_setopt(c->easy, CURLOPT_NOBODY, r->head ? 1L : 0L);
    if (!r->head)
        curl_easy_setopt(c->easy, CURLOPT_HTTPGET, 1L);
    curl_easy_setopt(c->easy, CURLOPT_RANGE, r->head || r->whole ? NULL : range);
    curl_easy_setopt(c->easy, CURLOPT_TIMEOUT, (long)r->whole_timeout);
    curl_easy_setopt(c->easy, CURLOPT_WRITEDATA, r);
    set_credentials(c->easy, r);
    *c->problem = 0;
    r->easy = c->easy;
    r->received = 0;
    r->judged = r->right = r->has_size = r->has_ranges = false;
    r->version = (struct curl_version){ .size = 0 };
    r->fault = CURL_DONE;
}

/* Until the reply is complete.  CURLE_ABORTED_BY_CALLBACK: abandoned. */
static CURLcode drive(struct curl_connection *c, struct curl_request *r)
{
    int running = 1, left;
    const CURLMsg *message;

    while (running) {
        uint64_t before = r->received;
        if (r->abandoned && r->abandoned(r->context))
            return CURLE_ABORTED_BY_CALLBACK;
        if (curl_multi_perform(c->multi, &running) != CURLM_OK)
            return CURLE_OUT_OF_MEMORY;
        /* (with TLS it takes one record at a time: more may be there) */
        if (running && r->received == before && curl_multi_poll(c->multi, NULL, 0, ASK_EVERY, NULL) != CURLM_OK)
            return CURLE_OUT_OF_MEMORY;
    }
    message = curl_multi_info_read(c->multi, &left);
    return message ? message->data.result : CURLE_GOT_NOTHING;
}

/* ---- The outcome --------------------------------------------------------------------------------- */

/* A server that is not there when the file is opened was probably never there. */
static bool passes(const struct curl_request *r, CURLcode code)
{
    switch (code) {
    case CURLE_COULDNT_CONNECT: case CURLE_COULDNT_RESOLVE_HOST:
        return !r->probe;
    case CURLE_RECV_ERROR: case CURLE_SEND_ERROR: case CURLE_PARTIAL_FILE: case CURLE_GOT_NOTHING:
    case CURLE_SSL_CONNECT_ERROR: case CURLE_WEIRD_SERVER_REPLY: case CURLE_FTP_ACCEPT_TIMEOUT:
        return true;
    default:
        return false;
    }
}

static enum curl_outcome of_status(CURL *easy)
{
    long code = 0;

    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &code);
    if (code >= 500 || code == TOO_MANY || code == 408)
        return CURL_PASSING;
    return code >= 400 && code != 416 ? CURL_EXPIRED : CURL_FAILED;
}

static enum curl_outcome outcome(struct curl_request *r, CURLcode code)
{
    if (r->fault != CURL_DONE)
        return r->fault;
    if (code == CURLE_ABORTED_BY_CALLBACK)
        return CURL_ENDED;
    /* (what comes after the last byte does not matter) */
    if (r->right && !r->head && r->received == r->length)
        return CURL_DONE;
    if (code == CURLE_HTTP_RETURNED_ERROR)
        return of_status(r->easy);
    if (code == CURLE_OPERATION_TIMEDOUT)
        return r->probe ? CURL_FAILED : CURL_STALLED;
    if (code != CURLE_OK)
        return passes(r, code) ? CURL_PASSING : CURL_FAILED;
    if (!judge(r))
        return r->fault;
    if (!r->head && !r->probe && !r->whole && r->received < r->length)
        return CURL_PASSING;
    return CURL_DONE;
}

/* What is wrong, where libcurl has written nothing of its own. */
static void describe(struct curl_connection *c, CURLcode code)
{
    if (code == CURLE_SSL_CACERT_BADFILE && curl_authorities())
        snprintf(c->problem, sizeof c->problem, "Cannot read the certificates of authorities in '%s'; "
                 "SSL_CERT_FILE names another file", curl_authorities());
    else if (!*c->problem)
        snprintf(c->problem, sizeof c->problem, "%s", curl_easy_strerror(code));
}

enum curl_outcome curl_request_run(struct curl_connection *c, struct curl_request *request)
{
    enum curl_outcome result;
    CURLcode code;

    prepare(c, request);
    if (curl_multi_add_handle(c->multi, c->easy) != CURLM_OK)
        return CURL_FAILED;
    code = drive(c, request);
    if (code != CURLE_OK)
        describe(c, code);
    result = outcome(request, code);
    curl_multi_remove_handle(c->multi, c->easy);
    return result;
}

/* ---- Connections ------------------------------------------------------------------------------------- */

static void set_constants(struct curl_connection *c, const struct curl_source *source)
{
    CURL *easy = c->easy;

    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, c->problem);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_bytes);
    curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, (long)RECEIVE);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_FAILONERROR, 1L);
    /* Redirects are followed here (retry.c): libcurl sends the cookies to other servers, too. */
    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https,ftp,ftps");
    /* Each connection has a flow of its own, which HTTP/2 would share. */
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(easy, CURLOPT_HTTPAUTH, (long)(CURLAUTH_BASIC | CURLAUTH_DIGEST));
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, c->headers);
    curl_easy_setopt(easy, CURLOPT_HTTP_CONTENT_DECODING, 0L);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, source->check_peer ? 1L : 0L);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, source->check_peer ? 2L : 0L);
    if (!source->check_peer) {
        /* Some TLS libraries read all certificates of the system for each connection, even for nothing. */
        curl_easy_setopt(easy, CURLOPT_CAINFO, NULL);
        curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
    } else if (curl_authorities()) {
        curl_easy_setopt(easy, CURLOPT_CAINFO, curl_authorities());
    }
    if (source->timeout) {
        curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT, (long)source->timeout);
        curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
        curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, (long)source->timeout);
    }
    curl_easy_setopt(easy, CURLOPT_PROXYUSERNAME, source->proxy_username);
    curl_easy_setopt(easy, CURLOPT_PROXYPASSWORD, source->proxy_password);
}

int curl_connection_open(struct curl_connection *c, const struct curl_source *source)
{
    *c = (struct curl_connection){ .easy = curl_easy_init(), .multi = curl_multi_init(),
                                   .headers = curl_slist_append(NULL, "Accept-Encoding: identity") };
    if (!c->easy || !c->multi || !c->headers) {
        curl_connection_close(c);
        return -ENOMEM;
    }
    set_constants(c, source);
    return 0;
}

void curl_connection_close(struct curl_connection *c)
{
    curl_easy_cleanup(c->easy);
    curl_multi_cleanup(c->multi);
    curl_slist_free_all(c->headers);
    *c = (struct curl_connection){ .easy = NULL };
}
