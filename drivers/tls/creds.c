/* SPDX-License-Identifier: MIT */
/* creds.c - reads the files of credentials. */
#include "../../libimg/object/bytes.h"
#include "../../libimg/util/cleanup.h"
#include "../../libimg/util/strbuf.h"
#include "../../libimg/util/utf8.h"
#include "tls.h"
#include <string.h>

static int load_dh_params(struct tls_creds *creds, const char *path, struct img_error *err)
{
    struct img_bytes bytes = { 0 };
    int ret = img_bytes_read(&bytes, path, err);

    if (ret < 0) {
        img_error_prefix(err, "Unable to load DH parameters from %s: ", path);
    } else {
        gnutls_datum_t data = { bytes.at, (unsigned)bytes.length };
        int code = gnutls_dh_params_init(&creds->dh_params);

        if (code >= 0)
            code = gnutls_dh_params_import_pkcs3(creds->dh_params, &data, GNUTLS_X509_FMT_PEM);
        if (code < 0)
            ret = tls_failed(code, err, "Unable to load DH parameters from %s", path);
    }
    img_bytes_wipe(&bytes);
    return ret;
}

/* ---- anon ---------------------------------------------------------------------- */

static int load_anon(struct tls_creds *creds, const struct img_tls_files *files, struct img_error *err)
{
    int code = creds->server ? gnutls_anon_allocate_server_credentials(&creds->anon_server)
                             : gnutls_anon_allocate_client_credentials(&creds->anon_client);
    int ret = code < 0 ? tls_failed(code, err, "Cannot allocate credentials") : 0;

    if (ret == 0 && files->dh_params)
        ret = load_dh_params(creds, files->dh_params, err);
    if (ret == 0 && creds->dh_params)
        gnutls_anon_set_server_dh_params(creds->anon_server, creds->dh_params);
    return ret;
}

/* ---- psk ----------------------------------------------------------------------- */

/* The hex digits of the user's key, in the first line "USER:KEY" of this user. */
static int find_key(struct img_bytes *file, const char *user, gnutls_datum_t *key)
{
    size_t length = strlen(user);

    for (char *line = (char *)file->at; line; ) {
        char *end = strchr(line, '\n');

        if (strncmp(line, user, length) == 0 && line[length] == ':') {
            key->data = (unsigned char *)line + length + 1;
            key->size = (unsigned)(end ? (size_t)(end - line) - length - 1 : strlen(line) - length - 1);
            return 0;
        }
        line = end ? end + 1 : NULL;
    }
    return -ENOENT;
}

static int load_client_key(struct tls_creds *creds, const char *path, const char *user, struct img_error *err)
{
    struct img_bytes file = { 0 };
    gnutls_datum_t key = { 0 };
    int ret = img_bytes_read(&file, path, err), code;

    if (ret < 0) {
        img_error_prefix(err, "Cannot read PSK file %s: ", path);
    } else if (find_key(&file, user, &key) < 0) {
        ret = img_error_set(err, ENOENT, "Username %s not found in PSK file %s", user, path);
    } else {
        code = gnutls_psk_set_client_credentials(creds->psk_client, user, &key, GNUTLS_PSK_KEY_HEX);
        if (code < 0)
            ret = tls_failed(code, err, "Cannot set PSK client credentials");
    }
    img_bytes_wipe(&file);
    return ret;
}

static int load_psk_server(struct tls_creds *creds, const struct img_tls_files *files, struct img_error *err)
{
    int code = gnutls_psk_allocate_server_credentials(&creds->psk_server), ret = 0;

    if (code < 0)
        return tls_failed(code, err, "Cannot allocate credentials");
    if (files->dh_params)
        ret = load_dh_params(creds, files->dh_params, err);
    if (ret < 0)
        return ret;
    code = gnutls_psk_set_server_credentials_file(creds->psk_server, files->psk);
    if (code < 0)
        return tls_failed(code, err, "Cannot set PSK server credentials");
    if (creds->dh_params)
        gnutls_psk_set_server_dh_params(creds->psk_server, creds->dh_params);
    return 0;
}

static int load_psk(struct tls_creds *creds, const struct img_tls_definition *definition,
                    const struct img_tls_files *files, struct img_error *err)
{
    int code;

    if (creds->server)
        return load_psk_server(creds, files, err);
    code = gnutls_psk_allocate_client_credentials(&creds->psk_client);
    if (code < 0)
        return tls_failed(code, err, "Cannot allocate credentials");
    return load_client_key(creds, files->psk, definition->username ? definition->username : "qemu", err);
}

/* ---- x509 ---------------------------------------------------------------------- */

/* *password: that of the key file, which belongs to the list of secrets; NULL: none is needed. */
static int find_password(const char *id, const char **password, struct img_error *err)
{
    size_t length;
    const unsigned char *secret;

    *password = NULL;
    if (!id)
        return 0;
    secret = img_secret_find(id, &length, err);
    if (!secret)
        return -err->code;
    if (!img_utf8_is_text(secret, length))
        return img_error_set(err, EINVAL, "Data from secret %s is not valid UTF-8", id);
    *password = (const char *)secret;
    return 0;
}

static int load_pair(struct tls_creds *creds, const struct img_tls_definition *definition,
                     const struct img_tls_files *files, struct img_error *err)
{
    const char *password;
    int ret = find_password(definition->password_id, &password, err), code;

    if (ret < 0)
        return ret;
    code = gnutls_certificate_set_x509_key_file2(creds->x509, files->cert, files->key, GNUTLS_X509_FMT_PEM, password, 0);
    return code < 0 ? tls_failed(code, err, "Cannot load certificate '%s' & key '%s'", files->cert, files->key) : 0;
}

static int load_trust(struct tls_creds *creds, const struct img_tls_files *files, struct img_error *err)
{
    int code = gnutls_certificate_set_x509_trust_file(creds->x509, files->ca_cert, GNUTLS_X509_FMT_PEM);

    return code < 0 ? tls_failed(code, err, "Cannot load CA certificate '%s'", files->ca_cert) : 0;
}

static int load_crl(struct tls_creds *creds, const struct img_tls_files *files, struct img_error *err)
{
    int code = files->ca_crl ? gnutls_certificate_set_x509_crl_file(creds->x509, files->ca_crl, GNUTLS_X509_FMT_PEM) : 0;

    return code < 0 ? tls_failed(code, err, "Cannot load CRL '%s'", files->ca_crl) : 0;
}

static int load_x509(struct tls_creds *creds, const struct img_tls_definition *definition,
                     const struct img_tls_files *files, struct img_error *err)
{
    int code = gnutls_certificate_allocate_credentials(&creds->x509), ret;

    if (code < 0)
        return tls_failed(code, err, "Cannot allocate credentials");
    ret = definition->sanity_check ? tls_check_sanity(files->ca_cert, files->cert, creds->server, err) : 0;
    if (ret == 0)
        ret = load_trust(creds, files, err);
    if (ret == 0 && files->cert && files->key)
        ret = load_pair(creds, definition, files, err);
    if (ret == 0)
        ret = load_crl(creds, files, err);
    if (ret == 0 && files->dh_params)
        ret = load_dh_params(creds, files->dh_params, err);
    if (ret == 0 && creds->dh_params)
        gnutls_certificate_set_dh_params(creds->x509, creds->dh_params);
    return ret;
}

/* ---- Any kind -------------------------------------------------------------------- */

void tls_unload(void *loaded)
{
    struct tls_creds *creds = loaded;

    if (creds->x509)
        gnutls_certificate_free_credentials(creds->x509);
    if (creds->psk_client)
        gnutls_psk_free_client_credentials(creds->psk_client);
    if (creds->psk_server)
        gnutls_psk_free_server_credentials(creds->psk_server);
    if (creds->anon_client)
        gnutls_anon_free_client_credentials(creds->anon_client);
    if (creds->anon_server)
        gnutls_anon_free_server_credentials(creds->anon_server);
    if (creds->dh_params)
        gnutls_dh_params_deinit(creds->dh_params);
    free(creds->priority);
    free(creds);
}

int tls_load(const struct img_tls_definition *definition, const struct img_tls_files *files, void **loaded,
             struct img_error *err)
{
    struct tls_creds *creds = img_calloc(1, sizeof *creds);
    int ret;

    if (!creds)
        return img_error_memory(err);
    creds->kind = definition->kind;
    creds->server = definition->server;
    creds->verify_peer = definition->verify_peer;
    if (img_replace_text(&creds->priority, definition->priority) < 0)
        ret = img_error_memory(err);
    else if (creds->kind == IMG_TLS_X509)
        ret = load_x509(creds, definition, files, err);
    else if (creds->kind == IMG_TLS_PSK)
        ret = load_psk(creds, definition, files, err);
    else
        ret = load_anon(creds, files, err);
    if (ret < 0)
        tls_unload(creds);
    else
        *loaded = creds;
    return ret;
}
