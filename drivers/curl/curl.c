/* SPDX-License-Identifier: MIT */
/* The vtables of http, https, ftp and ftps: they differ only in their names. */
#include "curl.h"
#include "../../libimg/util/checked.h"
#include "../../libimg/util/strbuf.h"
#include <string.h>

IMG_MODULE("libcurl >= 7.85");

/* A node has whole sectors; what the file lacks of the last reads as zeroes. */
enum { SECTOR = 512 };

struct curl {
    struct curl_source source;
    struct curl_reader reader;
};

static pthread_once_t once = PTHREAD_ONCE_INIT;

static void start_library(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

static int curl_driver_open(struct img *image, const void *parsed, struct img_doc *options, struct img_error *err)
{
    struct curl *s = image->state;
    int ret;

    (void)options;
    if (image->flags & IMG_RDWR)
        return img_error_set(err, EACCES, "curl driver does not support writes");
    pthread_once(&once, start_library);
    ret = curl_source_take(parsed, image->driver->name, &s->source, err);
    if (ret < 0)
        return ret;
    if (image->flags & IMG_AS_STREAM)
        return 0;
    ret = curl_reader_start(&s->reader, &s->source, err);
    if (ret < 0) {
        curl_source_free(&s->source);
        return ret;
    }
    image->size = img_align_up(s->reader.version.size, SECTOR);
    image->no_details = true;
    image->limits.round_trip = true;
    image->limits.requests = 2 * s->source.connections;
    return 0;
}

static int curl_driver_close(struct img *image)
{
    struct curl *s = image->state;

    if (!(image->flags & IMG_AS_STREAM))
        curl_reader_end(&s->reader);
    curl_source_free(&s->source);
    return 0;
}

static int curl_driver_pread(struct img *image, void *buffer, uint64_t offset, size_t length)
{
    struct curl *s = image->state;
    uint64_t size = s->reader.version.size;
    size_t there = offset < size ? (size_t)img_min(length, size - offset) : 0;

    memset((char *)buffer + there, 0, length - there);
    return there ? curl_reader_read(&s->reader, buffer, offset, there, img_stop_descriptor(image)) : 0;
}

static int curl_driver_pour(struct img *image, int (*take)(void *context, const void *bytes, size_t length),
                            void *context)
{
    struct curl *s = image->state;

    return curl_pour(&s->source, take, context, img_stop_descriptor(image));
}

static int parse_name(const char *name, struct img_doc *options, struct img_error *err)
{
    (void)err;
    img_doc_put_string(options, "url", name);
    return 0;
}

/* The URL, if no other option changes what is read. */
static int plain_name(const struct img *image, char **name)
{
    static const char *const others[] = {
        "cookie", "cookie-secret", "username", "password-secret", "proxy-username", "proxy-password-secret"
    };
    const struct curl *s = image->state;

    *name = NULL;
    if (!s->source.check_peer)
        return 0;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (img_doc_get(image->options, others[i]))
            return 0;
    *name = img_strdup(s->source.url);
    return *name ? 0 : -ENOMEM;
}

/* ---- The tables ------------------------------------------------------------------------------ */

#define AT_OPEN(option, kind, member, text) \
    { .name = option, .help = text, .type = kind, .when = IMG_AT_OPEN, \
      .offset = offsetof(struct curl_open_options, member) }

static const struct img_option curl_options[] = {
    AT_OPEN("url", IMG_OPT_STRING, url, "Where the file is"),
    { .name = "readahead", .help = "Bytes to fetch at least while reads are in sequence; 0: fetch nothing ahead",
      .type = IMG_OPT_SIZE, .when = IMG_AT_OPEN, .offset = offsetof(struct curl_open_options, readahead),
      .standard = "256k" },
    AT_OPEN("sslverify", IMG_OPT_BOOL, sslverify, "Check the certificate of the server"),
    { .name = "timeout", .help = "Seconds to wait for an answer, or for more of it", .type = IMG_OPT_NUMBER,
      .when = IMG_AT_OPEN, .offset = offsetof(struct curl_open_options, timeout), .standard = "5" },
    AT_OPEN("cookie", IMG_OPT_STRING, cookie, "Cookies to send"),
    AT_OPEN("cookie-secret", IMG_OPT_STRING, cookie_secret, "ID of a secret with cookies to send"),
    AT_OPEN("username", IMG_OPT_STRING, username, "User name"),
    AT_OPEN("password-secret", IMG_OPT_STRING, password_secret, "ID of a secret with the password"),
    AT_OPEN("proxy-username", IMG_OPT_STRING, proxy_username, "User name for the proxy"),
    AT_OPEN("proxy-password-secret", IMG_OPT_STRING, proxy_password_secret,
            "ID of a secret with the password for the proxy"),
    AT_OPEN("force-range", IMG_OPT_BOOL, force_range, "Ask for ranges of a server that does not offer them"),
    { .name = "connections", .help = "Connections at most", .type = IMG_OPT_NUMBER, .when = IMG_AT_OPEN,
      .offset = offsetof(struct curl_open_options, connections), .standard = "8" },
    { .name = NULL }
};

static const char *const strong_options[] = {
    "url", "sslverify", "cookie", "cookie-secret", "username", "password-secret", "proxy-username",
    "proxy-password-secret", NULL
};

#define THE_REST \
    .state_size = sizeof(struct curl), \
    .options = curl_options, \
    .open_size = sizeof(struct curl_open_options), \
    .open = curl_driver_open, \
    .close = curl_driver_close, \
    .parse_name = parse_name, \
    .plain_name = plain_name, \
    .pread = curl_driver_pread, \
    .pour = curl_driver_pour, \
    .strong_options = strong_options

const struct img_driver img_driver_http = {
    IMG_ROW(
        .name = "http", .kind = IMG_PROTOCOL, .prefix = "http"
    ),
    THE_REST
};

const struct img_driver img_driver_https = {
    IMG_ROW(
        .name = "https", .kind = IMG_PROTOCOL, .prefix = "https"
    ),
    THE_REST
};

const struct img_driver img_driver_ftp = {
    IMG_ROW(
        .name = "ftp", .kind = IMG_PROTOCOL, .prefix = "ftp"
    ),
    THE_REST
};

const struct img_driver img_driver_ftps = {
    IMG_ROW(
        .name = "ftps", .kind = IMG_PROTOCOL, .prefix = "ftps"
    ),
    THE_REST
};
