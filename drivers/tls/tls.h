/* SPDX-License-Identifier: MIT */
/* tls.h - TLS with GnuTLS: credentials, checks of certificates, sessions. */
#ifndef TLS_H
#define TLS_H

#include "../../libimg/driver.h"
#include "../../libimg/net/tls-ops.h"
#include <gnutls/gnutls.h>

struct tls_creds {
    enum img_tls_kind kind;
    bool server, verify_peer;
    char *priority;                 /* NULL: that of the system */
    gnutls_certificate_credentials_t x509;      /* one of these three, and one of the next two for a server */
    gnutls_psk_client_credentials_t psk_client;
    gnutls_psk_server_credentials_t psk_server;
    gnutls_anon_client_credentials_t anon_client;
    gnutls_anon_server_credentials_t anon_server;
    gnutls_dh_params_t dh_params;
};

/* creds.c: see struct img_tls_ops. */
int tls_load(const struct img_tls_definition *definition, const struct img_tls_files *files, void **loaded,
             struct img_error *err);
void tls_unload(void *loaded);

/* sanity.c: would a peer accept these certificates?  `cert` may be NULL. */
int tls_check_sanity(const char *ca_cert, const char *cert, bool server, struct img_error *err);
/* The worst of what GnuTLS found in a certificate, in words; NULL: nothing. */
const char *tls_verdict(unsigned status);

/* verify.c: after the handshake, is the peer who it should be?  host: as for img_tls_start. */
int tls_verify_peer(gnutls_session_t session, const struct tls_creds *creds, const char *host, struct img_error *err);
/* The distinguished name of the peer's certificate; caller frees. */
int tls_peer_name(gnutls_session_t session, char **name, struct img_error *err);

/* An error of GnuTLS behind our words. */
int tls_failed(int code, struct img_error *err, const char *format, ...) IMG_PRINTF(3, 4);

extern const struct img_tls_ops tls_session_ops;

#endif
