/* SPDX-License-Identifier: MIT */
/*
 * sanity.c - looks at our own certificates before they are used: a wrong one is easier to explain here than in a failed
 * handshake at the other end.  RFC 5280 has the fields.
 */
#include "../../libimg/object/bytes.h"
#include "tls.h"
#include <gnutls/x509.h>
#include <string.h>
#include <time.h>

/* Whose certificate is it? */
enum role { CA, SERVER, CLIENT };
static const char *const role_names[] = { "CA", "server", "client" };

struct certificate {
    gnutls_x509_crt_t crt;
    const char *path;
    enum role role;
};

/* ---- One certificate ------------------------------------------------------------- */

static int check_dates(const struct certificate *of, struct img_error *err)
{
    time_t now = time(NULL), until = gnutls_x509_crt_get_expiration_time(of->crt);
    time_t from = gnutls_x509_crt_get_activation_time(of->crt);

    if (now == (time_t)-1 || until == (time_t)-1 || from == (time_t)-1)
        return img_error_set(err, EINVAL, "Unable to tell the dates of the %s certificate %s", role_names[of->role],
                             of->path);
    if (until < now)
        return img_error_set(err, EINVAL, "The %s certificate %s has expired", role_names[of->role], of->path);
    if (from > now)
        return img_error_set(err, EINVAL, "The %s certificate %s is not yet active", role_names[of->role], of->path);
    return 0;
}

static int check_constraints(const struct certificate *of, struct img_error *err)
{
    int is_ca = gnutls_x509_crt_get_basic_constraints(of->crt, NULL, NULL, NULL);

    if (is_ca == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE)
        return of->role != CA ? 0
               : img_error_set(err, EINVAL, "The certificate %s is missing basic constraints for a CA", of->path);
    if (is_ca < 0)
        return tls_failed(is_ca, err, "Unable to query certificate %s basic constraints", of->path);
    if (is_ca && of->role != CA)
        return img_error_set(err, EINVAL, "The certificate %s basic constraints show a CA, but we need one for a %s",
                             of->path, role_names[of->role]);
    if (!is_ca && of->role == CA)
        return img_error_set(err, EINVAL, "The certificate %s basic constraints do not show a CA", of->path);
    return 0;
}

static int usage_refused(const struct certificate *of, const char *what, struct img_error *err)
{
    return img_error_set(err, EINVAL, "Certificate %s usage does not permit %s", of->path, what);
}

/* A restriction counts only if the certificate calls it critical. */
static int check_usage(const struct certificate *of, struct img_error *err)
{
    unsigned usage = 0, critical = 0;
    int ret = gnutls_x509_crt_get_key_usage(of->crt, &usage, &critical);

    if (ret == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE)
        return 0;
    if (ret < 0)
        return tls_failed(ret, err, "Unable to query certificate %s key usage", of->path);
    if (!critical)
        return 0;
    if (of->role == CA)
        return usage & GNUTLS_KEY_KEY_CERT_SIGN ? 0 : usage_refused(of, "certificate signing", err);
    if (!(usage & GNUTLS_KEY_DIGITAL_SIGNATURE))
        return usage_refused(of, "digital signature", err);
    return usage & GNUTLS_KEY_KEY_ENCIPHERMENT ? 0 : usage_refused(of, "key encipherment", err);
}

static bool suits(const char *purpose, enum role role)
{
    return strcmp(purpose, GNUTLS_KP_ANY) == 0 ||
           strcmp(purpose, role == SERVER ? GNUTLS_KP_TLS_WWW_SERVER : GNUTLS_KP_TLS_WWW_CLIENT) == 0;
}

static int check_purpose(const struct certificate *of, struct img_error *err)
{
    bool restricted = false;

    if (of->role == CA)
        return 0;
    for (unsigned i = 0;; i++) {
        char purpose[128];
        size_t size = sizeof purpose;
        unsigned critical = 0;
        int ret = gnutls_x509_crt_get_key_purpose_oid(of->crt, i, purpose, &size, &critical);

        if (ret == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE)
            break;
        /* One whose name is longer than that is none that we look for. */
        if (ret < 0 && ret != GNUTLS_E_SHORT_MEMORY_BUFFER)
            return tls_failed(ret, err, "Unable to query certificate %s key purpose", of->path);
        if (ret >= 0 && suits(purpose, of->role))
            return 0;
        restricted |= critical != 0;
    }
    return restricted ? img_error_set(err, EINVAL, "Certificate %s purpose does not allow use with a TLS %s", of->path,
                                      role_names[of->role]) : 0;
}

static int check(const struct certificate *of, struct img_error *err)
{
    int ret = check_dates(of, err);

    if (ret == 0)
        ret = check_constraints(of, err);
    if (ret == 0)
        ret = check_usage(of, err);
    return ret == 0 ? check_purpose(of, err) : ret;
}

/* ---- Reading ---------------------------------------------------------------------- */

struct list {
    gnutls_x509_crt_t *at;
    unsigned count;
};

static void free_list(struct list *list)
{
    for (unsigned i = 0; i < list->count; i++)
        gnutls_x509_crt_deinit(list->at[i]);
    gnutls_free(list->at);
    *list = (struct list){ 0 };
}

static int read_file(const char *path, struct img_bytes *bytes, struct img_error *err)
{
    return img_bytes_read(bytes, path, err) < 0 ? img_error_prefix(err, "Cannot load CA cert list %s: ", path) : 0;
}

static int read_cas(const char *path, struct list *list, struct img_error *err)
{
    struct img_bytes bytes = { 0 };
    int ret = read_file(path, &bytes, err);

    if (ret == 0) {
        gnutls_datum_t data = { bytes.at, (unsigned)bytes.length };

        if (gnutls_x509_crt_list_import2(&list->at, &list->count, &data, GNUTLS_X509_FMT_PEM, 0) < 0) {
            *list = (struct list){ 0 };
            ret = img_error_set(err, EINVAL, "Unable to import CA certificate list %s", path);
        }
    }
    img_bytes_wipe(&bytes);
    return ret;
}

/* The first certificate of the file, which is our own; NULL: there is no file. */
static int read_own(struct certificate *own, struct img_error *err)
{
    struct img_bytes bytes = { 0 };
    int ret = read_file(own->path, &bytes, err), code;

    if (ret == 0) {
        gnutls_datum_t data = { bytes.at, (unsigned)bytes.length };

        code = gnutls_x509_crt_init(&own->crt);
        if (code >= 0)
            code = gnutls_x509_crt_import(own->crt, &data, GNUTLS_X509_FMT_PEM);
        if (code < 0)
            ret = tls_failed(code, err, "Unable to import %s certificate %s", role_names[own->role], own->path);
    }
    img_bytes_wipe(&bytes);
    return ret;
}

/* ---- All --------------------------------------------------------------------------- */

const char *tls_verdict(unsigned status)
{
    if (status & GNUTLS_CERT_INSECURE_ALGORITHM)
        return "The certificate uses an insecure algorithm";
    if (status & GNUTLS_CERT_REVOKED)
        return "The certificate has been revoked";
    if (status & GNUTLS_CERT_SIGNER_NOT_FOUND)
        return "The certificate hasn't got a known issuer";
    return status ? "The certificate is not trusted" : NULL;
}

static int check_signer(const struct certificate *own, const struct list *cas, const char *ca_path,
                        struct img_error *err)
{
    unsigned status = 0;
    int ret = gnutls_x509_crt_list_verify(&own->crt, 1, cas->at, (int)cas->count, NULL, 0, 0, &status);

    if (ret < 0)
        return tls_failed(ret, err, "Unable to verify certificate %s against %s", own->path, ca_path);
    return !status ? 0 : img_error_set(err, EINVAL, "Our own certificate %s failed validation against %s: %s",
                                       own->path, ca_path, tls_verdict(status));
}

static int check_all(const struct certificate *own, const struct list *cas, const char *ca_path, struct img_error *err)
{
    int ret = own->crt ? check(own, err) : 0;

    for (unsigned i = 0; i < cas->count && ret == 0; i++)
        ret = check(&(struct certificate){ cas->at[i], ca_path, CA }, err);
    return ret == 0 && own->crt ? check_signer(own, cas, ca_path, err) : ret;
}

int tls_check_sanity(const char *ca_cert, const char *cert, bool server, struct img_error *err)
{
    struct certificate own = { NULL, cert, server ? SERVER : CLIENT };
    struct list cas = { 0 };
    int ret = cert ? read_own(&own, err) : 0;

    if (ret == 0)
        ret = read_cas(ca_cert, &cas, err);
    if (ret == 0)
        ret = check_all(&own, &cas, ca_cert, err);
    free_list(&cas);
    if (own.crt)
        gnutls_x509_crt_deinit(own.crt);
    return ret;
}
