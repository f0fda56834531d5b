/* SPDX-License-Identifier: MIT */
/* session.c - one TLS session in memory: it takes bytes from the wire's buffers and puts bytes there. */
#include "../../libimg/util/cleanup.h"
#include "../../libimg/util/strbuf.h"
#include "tls.h"
#include <arpa/inet.h>
#include <string.h>
#ifdef __aarch64__
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

struct session {
    gnutls_session_t gnutls;
    const struct tls_creds *creds;
    struct img_tls_wire *wire;
    char *host;                     /* NULL: none is known */
    bool shaken;                    /* the handshake is done, but the peer not yet verified */
};

/* ---- The wire --------------------------------------------------------------------- */

static ssize_t fail_with(struct session *session, int code)
{
    gnutls_transport_set_errno(session->gnutls, code);
    return -1;
}

static ssize_t push(gnutls_transport_ptr_t context, const void *bytes, size_t length)
{
    struct session *session = context;
    struct img_tls_buffer *out = &session->wire->out;
    size_t room = img_tls_room(out), n = length < room ? length : room;

    if (session->wire->out_error)
        return fail_with(session, session->wire->out_error);
    if (n == 0)
        return fail_with(session, EAGAIN);
    memcpy(out->at + out->end, bytes, n);
    out->end += n;
    return (ssize_t)n;
}

static ssize_t pull(gnutls_transport_ptr_t context, void *bytes, size_t length)
{
    struct session *session = context;
    struct img_tls_wire *wire = session->wire;
    size_t held = img_tls_held(&wire->in), n = length < held ? length : held;

    if (n == 0 && !wire->in_ended)
        return fail_with(session, EAGAIN);
    if (n == 0 && wire->in_error)
        return fail_with(session, wire->in_error);
    if (n == 0)
        return 0;
    memcpy(bytes, wire->in.at + wire->in.start, n);
    img_tls_taken(&wire->in, n);
    return (ssize_t)n;
}

/* Never called to wait: pull() says so if there is nothing. */
static int pull_timeout(gnutls_transport_ptr_t context, unsigned milliseconds)
{
    struct session *session = context;

    (void)milliseconds;
    return img_tls_held(&session->wire->in) || session->wire->in_ended;
}

/* An error of the session; that of the socket behind it is named, too. */
static int failed(const struct session *session, int code, bool shaking, const char *what, struct img_error *err)
{
    const struct img_tls_wire *wire = session->wire;
    const char *way = code == GNUTLS_E_PULL_ERROR ? "read from" : code == GNUTLS_E_PUSH_ERROR ? "write to" : NULL;
    int error = code == GNUTLS_E_PULL_ERROR ? wire->in_error : wire->out_error;

    if (!way || !error)
        return tls_failed(code, err, "%s", what);
    if (!shaking)
        return img_error_set(err, error, "Unable to %s socket: %s", way, img_strerror(error));
    return img_error_set(err, error, "%s: %s: Unable to %s socket: %s", what, gnutls_strerror(code), way,
                         img_strerror(error));
}

/* ---- Opening --------------------------------------------------------------------- */

static int set_credentials(gnutls_session_t session, const struct tls_creds *creds)
{
    bool server = creds->server;
    int ret;

    if (creds->kind == IMG_TLS_ANON)
        return server ? gnutls_credentials_set(session, GNUTLS_CRD_ANON, creds->anon_server)
                      : gnutls_credentials_set(session, GNUTLS_CRD_ANON, creds->anon_client);
    if (creds->kind == IMG_TLS_PSK)
        return server ? gnutls_credentials_set(session, GNUTLS_CRD_PSK, creds->psk_server)
                      : gnutls_credentials_set(session, GNUTLS_CRD_PSK, creds->psk_client);
    ret = gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, creds->x509);
    /* The missing certificate of a client is refused by verify.c, which has the words. */
    if (ret >= 0 && server && creds->verify_peer)
        gnutls_certificate_server_set_request(session, GNUTLS_CERT_REQUEST);
    return ret;
}

/* Can the processor do AES?  Elsewhere ChaCha20 is faster. */
static bool has_aes(void)
{
#if defined __x86_64__ || defined __i386__
    return __builtin_cpu_supports("aes") != 0;
#elif defined __aarch64__ && defined __linux__
    return (getauxval(AT_HWCAP) & HWCAP_AES) != 0;
#else
    return false;
#endif
}

/* Does the system allow the cipher? */
static bool allows(gnutls_cipher_algorithm_t cipher)
{
    gnutls_priority_t priority;
    const unsigned *list;
    bool found = false;
    int count;

    if (gnutls_priority_init(&priority, NULL, NULL) < 0)
        return false;
    count = gnutls_priority_cipher_list(priority, &list);
    for (int i = 0; i < count; i++)
        found |= list[i] == (unsigned)cipher;
    gnutls_priority_deinit(priority);
    return found;
}

/*
 * A key of psktool goes with SHA-256, and so not with AES-256-GCM.  GnuTLS then takes ChaCha20 before AES-128-GCM,
 * which is several times as fast where the processor does AES.  So ChaCha20 becomes the last choice, if it was one at
 * all.
 */
static const char psk_ciphers[] = ":-CHACHA20-POLY1305:+CHACHA20-POLY1305:%SERVER_PRECEDENCE";

static int set_default_priority(gnutls_session_t session, enum img_tls_kind kind, const char *more)
{
    CLEANUP_FREE char *all = NULL;

    if (!more)
        return gnutls_set_default_priority(session);
    if (kind != IMG_TLS_PSK || !has_aes() || !allows(GNUTLS_CIPHER_CHACHA20_POLY1305))
        return gnutls_set_default_priority_append(session, more, NULL, 0);
    all = img_asprintf("%s%s", more, psk_ciphers);
    return all ? gnutls_set_default_priority_append(session, all, NULL, 0) : GNUTLS_E_MEMORY_ERROR;
}

/* Without a priority, that of the system, which the administrator may have set. */
static int set_priority(gnutls_session_t session, const struct tls_creds *creds, struct img_error *err)
{
    static const char *const extra[] = { [IMG_TLS_ANON] = "+ANON-DH", [IMG_TLS_PSK] = "+ECDHE-PSK:+DHE-PSK:+PSK",
                                         [IMG_TLS_X509] = NULL };
    const char *more = extra[creds->kind];
    CLEANUP_FREE char *all = NULL;
    int ret;

    if (!creds->priority)
        ret = set_default_priority(session, creds->kind, more);
    else if (!(all = img_asprintf("%s%s%s", creds->priority, more ? ":" : "", more ? more : "")))
        return img_error_memory(err);
    else
        ret = gnutls_priority_set_direct(session, all, NULL);
    if (ret >= 0)
        return 0;
    return tls_failed(ret, err, "%s TLS session priority %s", more ? "Unable to set" : "Cannot set default",
                      all ? all : "");
}

/* Tell the server by which name it is called, unless it is an address (RFC 6066). */
static int set_server_name(struct session *session)
{
    struct in6_addr address;

    if (!session->host || session->creds->server || session->creds->kind != IMG_TLS_X509 || !*session->host ||
        inet_pton(AF_INET, session->host, &address) == 1 || inet_pton(AF_INET6, session->host, &address) == 1)
        return 0;
    return gnutls_server_name_set(session->gnutls, GNUTLS_NAME_DNS, session->host, strlen(session->host));
}

static int set_up(struct session *session, struct img_error *err)
{
    int ret = gnutls_init(&session->gnutls, (session->creds->server ? GNUTLS_SERVER : GNUTLS_CLIENT) | GNUTLS_NONBLOCK);

    if (ret < 0)
        return tls_failed(ret, err, "Failed to initialize TLS session");
    ret = set_priority(session->gnutls, session->creds, err);
    if (ret < 0)
        return ret;
    ret = set_credentials(session->gnutls, session->creds);
    if (ret >= 0)
        ret = set_server_name(session);
    if (ret < 0)
        return tls_failed(ret, err, "Cannot set session credentials");
    gnutls_transport_set_ptr(session->gnutls, session);
    gnutls_transport_set_push_function(session->gnutls, push);
    gnutls_transport_set_pull_function(session->gnutls, pull);
    gnutls_transport_set_pull_timeout_function(session->gnutls, pull_timeout);
    /* The caller has a time-out of its own. */
    gnutls_handshake_set_timeout(session->gnutls, GNUTLS_INDEFINITE_TIMEOUT);
    return 0;
}

static void session_close(void *opaque)
{
    struct session *session = opaque;

    if (session->gnutls)
        gnutls_deinit(session->gnutls);
    free(session->host);
    free(session);
}

static int session_open(void *loaded, struct img_tls_wire *wire, const char *host, void **opened,
                        struct img_error *err)
{
    struct session *session = img_calloc(1, sizeof *session);
    int ret;

    if (!session)
        return img_error_memory(err);
    session->creds = loaded;
    session->wire = wire;
    ret = img_replace_text(&session->host, host) < 0 ? img_error_memory(err) : set_up(session, err);
    if (ret < 0)
        session_close(session);
    else
        *opened = session;
    return ret;
}

/* ---- Using ------------------------------------------------------------------------- */

static bool again(int64_t code)
{
    return code == GNUTLS_E_AGAIN || code == GNUTLS_E_INTERRUPTED;
}

static int session_handshake(void *opaque, struct img_error *err)
{
    struct session *session = opaque;
    int ret;

    /* It is called again to have its last bytes sent. */
    if (session->shaken)
        return 0;
    do {
        ret = gnutls_handshake(session->gnutls);
        /* An alert that is only a warning, for example. */
    } while (ret < 0 && !again(ret) && !gnutls_error_is_fatal(ret));
    if (again(ret))
        return -EAGAIN;
    if (ret < 0)
        return failed(session, ret, true, "TLS handshake failed", err);
    ret = tls_verify_peer(session->gnutls, session->creds, session->host, err);
    session->shaken = ret == 0;
    return ret;
}

static int session_peer(void *opaque, char **name, struct img_error *err)
{
    struct session *session = opaque;
    const struct tls_creds *creds = session->creds;

    *name = NULL;
    if (creds->kind != IMG_TLS_X509 || !creds->server || !creds->verify_peer)
        return 0;
    return tls_peer_name(session->gnutls, name, err);
}

static int64_t session_read(void *opaque, void *bytes, size_t length, struct img_error *err)
{
    struct session *session = opaque;
    int64_t n;

    do {
        n = gnutls_record_recv(session->gnutls, bytes, length);
        /* Also the wish to shake hands anew (TLS 1.2), which is not granted. */
    } while (n < 0 && !again(n) && !gnutls_error_is_fatal((int)n));
    if (again(n))
        return -EAGAIN;
    return n < 0 ? failed(session, (int)n, false, "Cannot read from TLS channel", err) : n;
}

static int64_t session_write(void *opaque, const void *bytes, size_t length, struct img_error *err)
{
    struct session *session = opaque;
    int64_t n = gnutls_record_send(session->gnutls, bytes, length);

    if (again(n))
        return -EAGAIN;
    return n < 0 ? failed(session, (int)n, false, "Cannot write to TLS channel", err) : n;
}

static int session_bye(void *opaque, struct img_error *err)
{
    struct session *session = opaque;
    int ret = gnutls_bye(session->gnutls, GNUTLS_SHUT_WR);

    if (again(ret))
        return -EAGAIN;
    return ret < 0 ? failed(session, ret, false, "Cannot write to TLS channel", err) : 0;
}

const struct img_tls_ops tls_session_ops = {
    .load = tls_load, .unload = tls_unload, .open = session_open, .handshake = session_handshake,
    .peer = session_peer, .read = session_read, .write = session_write, .bye = session_bye, .close = session_close
};
