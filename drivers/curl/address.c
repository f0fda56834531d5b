/* SPDX-License-Identifier: MIT */
/* Parts of a URL (RFC 3986), and the address that redirects lead to. */
#include "curl.h"
#include "../../libimg/util/strbuf.h"
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- Parts ---------------------------------------------------------------------------- */

static CURLU *parsed(const char *url)
{
    CURLU *parts = curl_url();

    if (parts && curl_url_set(parts, CURLUPART_URL, url, CURLU_NON_SUPPORT_SCHEME) != CURLUE_OK) {
        curl_url_cleanup(parts);
        parts = NULL;
    }
    return parts;
}

/* A copy of a part, which is decoded; NULL: there is none. */
static char *part_of(CURLU *parts, CURLUPart which, unsigned flags)
{
    char *text, *copy;

    if (curl_url_get(parts, which, &text, flags) != CURLUE_OK)
        return NULL;
    copy = img_strdup(text);
    curl_free(text);
    return copy;
}

int curl_address_split(const char *url, char **address, char **username, char **password)
{
    CURLU *parts = parsed(url);

    *username = *password = NULL;
    if (!parts) {
        /* libcurl says what is wrong with it when it is used. */
        *address = img_strdup(url);
        return *address ? 0 : -ENOMEM;
    }
    *username = part_of(parts, CURLUPART_USER, CURLU_URLDECODE);
    *password = part_of(parts, CURLUPART_PASSWORD, CURLU_URLDECODE);
    if (*username || *password) {
        curl_url_set(parts, CURLUPART_USER, NULL, 0);
        curl_url_set(parts, CURLUPART_PASSWORD, NULL, 0);
        *address = part_of(parts, CURLUPART_URL, 0);
    } else {
        *address = img_strdup(url);
    }
    curl_url_cleanup(parts);
    return *address ? 0 : -ENOMEM;
}

static bool same_part(CURLU *a, CURLU *b, CURLUPart which, unsigned flags)
{
    char *of_a = part_of(a, which, flags), *of_b = part_of(b, which, flags);
    bool same = of_a && of_b && strcasecmp(of_a, of_b) == 0;

    free(of_a);
    free(of_b);
    return same;
}

bool curl_same_origin(const char *a, const char *b)
{
    CURLU *of_a = parsed(a), *of_b = parsed(b);
    bool same = of_a && of_b && same_part(of_a, of_b, CURLUPART_SCHEME, 0) &&
                same_part(of_a, of_b, CURLUPART_HOST, 0) && same_part(of_a, of_b, CURLUPART_PORT, CURLU_DEFAULT_PORT);

    curl_url_cleanup(of_a);
    curl_url_cleanup(of_b);
    return same;
}

/* ---- The place --------------------------------------------------------------------------- */

int curl_place_init(struct curl_place *place, const char *original)
{
    *place = (struct curl_place){ .original = original };
    return -pthread_mutex_init(&place->lock, NULL);
}

void curl_place_end(struct curl_place *place)
{
    free(place->kept);
    pthread_mutex_destroy(&place->lock);
}

char *curl_place_get(struct curl_place *place)
{
    char *copy;

    pthread_mutex_lock(&place->lock);
    copy = img_strdup(place->kept ? place->kept : place->original);
    pthread_mutex_unlock(&place->lock);
    return copy;
}

void curl_place_keep(struct curl_place *place, const char *address)
{
    char *copy = strcmp(address, place->original) != 0 ? img_strdup(address) : NULL;

    pthread_mutex_lock(&place->lock);
    free(place->kept);
    place->kept = copy;
    pthread_mutex_unlock(&place->lock);
}

bool curl_place_forget(struct curl_place *place, const char *address)
{
    bool another = strcmp(address, place->original) != 0;

    pthread_mutex_lock(&place->lock);
    if (place->kept && strcmp(place->kept, address) == 0) {
        free(place->kept);
        place->kept = NULL;
    }
    pthread_mutex_unlock(&place->lock);
    return another;
}
