/* SPDX-License-Identifier: MIT */
/* What the options say: the address, credentials, cookies. */
#include "curl.h"
#include "../../libimg/util/checked.h"
#include "../../libimg/util/strbuf.h"
#include "../../libimg/util/wipe.h"
#include <stdlib.h>
#include <string.h>

/* ---- Texts ------------------------------------------------------------------------------- */

/* Replace *text by a copy of `value`; NULL: leave it. */
static int replace(char **text, const char *value, struct img_error *err)
{
    char *copy = value ? img_strdup(value) : NULL;

    if (!value)
        return 0;
    if (!copy)
        return img_error_memory(err);
    free(*text);
    *text = copy;
    return 0;
}

/* The same with the secret of that id, as a text. */
static int replace_by_secret(char **text, const char *id, struct img_error *err)
{
    const unsigned char *bytes;
    size_t length;

    if (!id)
        return 0;
    bytes = img_secret_find(id, &length, err);
    if (!bytes)
        return -EINVAL;
    return replace(text, (const char *)bytes, err);
}

static void wipe_text(char **text)
{
    if (*text)
        img_wipe(*text, strlen(*text));
    free(*text);
    *text = NULL;
}

/* ---- Options --------------------------------------------------------------------------------- */

static int check_url(const char *url, const char *scheme, struct img_error *err)
{
    size_t length = strlen(scheme);

    if (!url)
        return img_error_set(err, EINVAL, "curl block driver requires an 'url' option");
    if (strncmp(url, scheme, length) != 0 || strncmp(url + length, "://", 3) != 0)
        return img_error_set(err, EINVAL, "%s curl driver cannot handle the URL '%s' (does not start with '%s://')",
                             scheme, url, scheme);
    return 0;
}

static int take_numbers(const struct curl_open_options *given, struct curl_source *source, struct img_error *err)
{
    if (given->readahead & 511)
        return img_error_set(err, EINVAL, "HTTP_READAHEAD_SIZE %llu is not a multiple of 512",
                             (unsigned long long)given->readahead);
    if (given->timeout > CURL_LONGEST_TIMEOUT || given->timeout < 0)
        return img_error_set(err, EINVAL, "timeout parameter is too large or negative");
    if (given->connections < 1 || given->connections > CURL_MOST_CONNECTIONS)
        return img_error_set(err, EINVAL, "connections must be between 1 and %d", CURL_MOST_CONNECTIONS);
    source->read_ahead = (uint64_t)given->readahead;
    source->timeout = (unsigned)given->timeout;
    source->connections = (unsigned)given->connections;
    return 0;
}

/* (The order of the checks is the one in which qemu-img complains.) */
static int take_all(const struct curl_open_options *given, const char *scheme, struct curl_source *source,
                    struct img_error *err)
{
    int ret = take_numbers(given, source, err);

    if (ret == 0 && given->cookie && given->cookie_secret)
        ret = img_error_set(err, EINVAL, "curl driver cannot handle both cookie and cookie secret");
    if (ret == 0)
        ret = replace(&source->cookie, given->cookie, err);
    if (ret == 0)
        ret = replace_by_secret(&source->cookie, given->cookie_secret, err);
    if (ret == 0)
        ret = check_url(given->url, scheme, err);
    if (ret == 0)
        ret = replace(&source->url, given->url, err);
    if (ret == 0 && curl_address_split(given->url, &source->address, &source->username, &source->password) < 0)
        ret = img_error_memory(err);
    if (ret == 0)
        ret = replace(&source->username, given->username, err);
    if (ret == 0)
        ret = replace_by_secret(&source->password, given->password_secret, err);
    if (ret == 0)
        ret = replace(&source->proxy_username, given->proxy_username, err);
    if (ret == 0)
        ret = replace_by_secret(&source->proxy_password, given->proxy_password_secret, err);
    return ret;
}

int curl_source_take(const struct curl_open_options *given, const char *scheme, struct curl_source *source,
                     struct img_error *err)
{
    int ret;

    *source = (struct curl_source){ .web = strncmp(scheme, "http", 4) == 0, .check_peer = given->sslverify != 0,
                                    .force_range = given->force_range == 1 };
    ret = take_all(given, scheme, source, err);
    if (ret < 0)
        curl_source_free(source);
    return ret;
}

void curl_source_free(struct curl_source *source)
{
    wipe_text(&source->url);
    wipe_text(&source->address);
    wipe_text(&source->username);
    wipe_text(&source->password);
    wipe_text(&source->proxy_username);
    wipe_text(&source->proxy_password);
    wipe_text(&source->cookie);
}
