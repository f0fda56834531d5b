/* SPDX-License-Identifier: MIT */
/*
 * The file of the authorities whose certificates are believed.  The library of a distribution knows where that is.  A
 * self-contained file runs anywhere: it looks where distributions have it, and where the user says, as other
 * programs do.
 */
#include "curl.h"
#include <stdlib.h>
#include <unistd.h>

const char *curl_authorities(void)
{
#ifdef IMG_SELF_CONTAINED
    static const char *const places[] = {
        "/etc/ssl/certs/ca-certificates.crt",       /* Debian, Alpine, Arch */
        "/etc/pki/tls/certs/ca-bundle.crt",         /* Fedora */
        "/etc/ssl/ca-bundle.pem",                   /* SUSE */
        "/etc/ssl/cert.pem"
    };
    const char *named = getenv("SSL_CERT_FILE");

    if (named && *named)
        return named;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        if (access(places[i], R_OK) == 0)
            return places[i];
    }
    return places[0];
#else
    return NULL;
#endif
}
