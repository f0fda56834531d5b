/* SPDX-License-Identifier: MIT */
/* verify.c - is the peer who it should be?  Only x509 can tell; psk has proved it by the handshake. */
#include "../../libimg/util/strbuf.h"
#include "tls.h"
#include <gnutls/x509.h>

/* The peer's own certificate; caller frees it with gnutls_x509_crt_deinit. */
static int import_peer(gnutls_session_t session, gnutls_x509_crt_t *crt, struct img_error *err)
{
    unsigned count = 0;
    const gnutls_datum_t *list = gnutls_certificate_get_peers(session, &count);
    int ret;

    *crt = NULL;
    if (!list || count == 0)
        return img_error_set(err, EACCES, "No certificate peers");
    ret = gnutls_x509_crt_init(crt);
    if (ret >= 0)
        ret = gnutls_x509_crt_import(*crt, &list[0], GNUTLS_X509_FMT_DER);
    if (ret >= 0)
        return 0;
    if (*crt)
        gnutls_x509_crt_deinit(*crt);
    *crt = NULL;
    return tls_failed(ret, err, "Cannot import certificate");
}

static int check_host(gnutls_session_t session, const char *host, struct img_error *err)
{
    gnutls_x509_crt_t crt;
    int ret;

    if (!host)
        return img_error_set(err, EINVAL, "No hostname for certificate validation");
    ret = import_peer(session, &crt, err);
    if (ret < 0)
        return ret;
    if (!gnutls_x509_crt_check_hostname(crt, host))
        ret = img_error_set(err, EACCES, "Certificate does not match the hostname %s", host);
    gnutls_x509_crt_deinit(crt);
    return ret;
}

int tls_verify_peer(gnutls_session_t session, const struct tls_creds *creds, const char *host, struct img_error *err)
{
    unsigned status = 0;
    int ret;

    if (creds->kind != IMG_TLS_X509 || !creds->verify_peer)
        return 0;
    ret = gnutls_certificate_verify_peers2(session, &status);
    if (ret < 0)
        return tls_failed(ret, err, "Verify failed");
    if (status)
        return img_error_set(err, EACCES, "%s", tls_verdict(status));
    return creds->server ? 0 : check_host(session, host, err);
}

int tls_peer_name(gnutls_session_t session, char **name, struct img_error *err)
{
    gnutls_datum_t text = { 0 };
    gnutls_x509_crt_t crt;
    int ret = import_peer(session, &crt, err);

    if (ret < 0)
        return ret;
    /* In the order of qemu-nbd: the text is compared with what users wrote into lists for it. */
    ret = gnutls_x509_crt_get_dn3(crt, &text, GNUTLS_X509_DN_FLAG_COMPAT);
    gnutls_x509_crt_deinit(crt);
    if (ret < 0)
        return tls_failed(ret, err, "Cannot get client distinguished name");
    *name = img_strndup((const char *)text.data, text.size);
    gnutls_free(text.data);
    return *name ? 0 : img_error_memory(err);
}
