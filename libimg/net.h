/* SPDX-License-Identifier: MIT */
/*
 * net.h - public: addresses of sockets, connecting and listening, TLS.  It knows nothing of images.
 * The conventions of img.h hold.  A descriptor that is returned belongs to the caller, and is close-on-exec.
 */
#ifndef IMG_NET_H
#define IMG_NET_H

#include "img.h"

/* The port of NBD servers. */
#define IMG_NBD_PORT "10809"

/* ---- Addresses (net/address.c) -------------------------------------------- */

/* The members of a socket address as qemu-img has them.  The strings belong to it. */
struct img_address {
    enum { IMG_INET, IMG_UNIX, IMG_VSOCK, IMG_FD } type;
    char *host, *port;              /* INET; VSOCK: the CID as host */
    char *path;                     /* UNIX; FD: the number, or a name of systemd's */
    bool numeric;                   /* INET: look up no names */
    int ipv4, ipv6;                 /* INET: -1: not given, 0: not this family, 1: this family */
    bool keep_alive, mptcp;         /* INET */
    uint16_t to;                    /* INET, listening: try the ports up to this one; 0: only `port` */
    bool abstract, tight;           /* UNIX: a name in Linux's abstract namespace, without padding */
};
/*
 * Read the members "type", "host" ... of `options` (nested, as in "server") and remove them; what is left is refused
 * by name.  After an error there is nothing to free.
 */
int img_address_take(struct img_doc *options, struct img_address *address, struct img_error *err);
void img_address_free(struct img_address *address);

/*
 * Connect.  Returns a non-blocking socket.  It gives up after `milliseconds` (0: never), and, with -ECANCELED, when the
 * descriptor `stop` (-1: none) becomes readable.
 */
int img_dial(const struct img_address *address, uint64_t milliseconds, int stop, struct img_error *err);

/*
 * Listen.  sockets[] gets up to `room` descriptors, non-blocking, one for each address that the host means.  Returns
 * their number.  A Unix socket is bound to a name that does not exist yet, or where nobody listens.
 */
int img_listen(const struct img_address *address, unsigned backlog, int *sockets, size_t room, struct img_error *err);

/* ---- TLS (net/tls.c, over the module drivers/tls) ---------------------------- */

/*
 * Credentials, as `--object tls-creds-anon|tls-creds-psk|tls-creds-x509` defines them.  `dir` has the files that
 * qemu-img reads: keys.psk; ca-cert.pem, ca-crl.pem, client-cert.pem, client-key.pem (server-...); dh-params.pem.
 */
struct img_tls_creds;
struct img_tls_definition {
    enum img_tls_kind { IMG_TLS_ANON, IMG_TLS_PSK, IMG_TLS_X509 } kind;
    const char *dir;                /* NULL: none was given */
    const char *psk_file;           /* PSK: this file instead of keys.psk in `dir`; NULL: none */
    bool server;                    /* endpoint=server */
    bool verify_peer;
    const char *priority;           /* of GnuTLS; NULL: none was given */
    const char *username;           /* PSK, client; NULL: "qemu".  A server has none */
    const char *password_id;        /* X509: the secret that the key file is encrypted with; NULL: it is not */
    bool sanity_check;              /* X509: look at the certificates before they are used */
};
/* Read the files now.  The caller frees the result. */
int img_tls_new(const struct img_tls_definition *definition, struct img_tls_creds **creds, struct img_error *err);
void img_tls_free(struct img_tls_creds *creds);
/* The same, kept under this id until img_objects_free; -EEXIST: the id is in use. */
int img_tls_add(const char *id, const struct img_tls_definition *definition, struct img_error *err);
/* Those with this id, for this end of the connection, in qemu-img's words if not.  They belong to the list. */
struct img_tls_creds *img_tls_find(const char *id, bool server, struct img_error *err);

/*
 * Start TLS on a connected socket.  Returns a descriptor with the plain bytes, a non-blocking socket; a thread carries
 * them until either side closes its end.  Writing to it after the session has ended is EPIPE, with its signal unless
 * MSG_NOSIGNAL is used.  `fd` belongs to this call from now on, also after a failure.
 * host: the name or IP address that the server's certificate must have.  NULL: none is known, which X509 refuses unless
 * verify_peer is off; the other kinds do not look at it (server: always NULL).
 * *peer (may be NULL): server: the distinguished name of the client's verified certificate; caller frees; NULL: there
 * is none, since the kind or verify_peer asks for none.
 * The handshake may take `milliseconds` (0: for ever); `stop` as for img_dial.  Errors are in qemu-img's words.
 * Thread-safe.
 */
int img_tls_start(struct img_tls_creds *creds, int fd, const char *host, uint64_t milliseconds, int stop, char **peer,
                  struct img_error *err);
/*
 * After the end of the stream, or EPIPE, was found on the descriptor that img_tls_start returned, and before it is
 * closed: why did the stream end?  0: the peer said bye, or nothing is known; else *err is set ("Cannot read from TLS
 * channel: ...").  Only the last reasons are kept.  Thread-safe.
 */
int img_tls_why(int fd, struct img_error *err);
/*
 * End all sessions, for a process that exits: what was written to them is sent first, as far as that is possible within
 * `milliseconds`.  Without this call the last bytes may be lost.  False: some sessions are still not ended.
 */
bool img_tls_drain(uint64_t milliseconds);

/*
 * A client's TLS for a library that begins the conversation anew: the library is first shown `shown`, and the first
 * `dropped` bytes that it sends go nowhere.  Otherwise as img_tls_start.
 */
struct img_tls_replay {
    const void *shown;
    size_t shown_length, dropped;
};
int img_tls_start_replayed(struct img_tls_creds *creds, int fd, const char *host, uint64_t milliseconds, int stop,
                           const struct img_tls_replay *replay, struct img_error *err);

/* ---- Who may connect (net/authz.c) ------------------------------------------- */

/* `--object authz-simple|authz-list|authz-list-file`: kept under `id`.  `definition` has the other members, typed or
 * as text, as they were given; they are checked in qemu-img's words. */
int img_authz_add(const char *id, const char *kind, const struct img_doc *definition, struct img_error *err);
/* Is there such an object?  -ENOENT or -EINVAL with qemu-img's words. */
int img_authz_find(const char *id, struct img_error *err);
/* May the client with this distinguished name connect?  0, -EACCES, or another error, in qemu-nbd's words.  `peer`
 * NULL: its certificate was not asked for (see img_tls_start), and it may, as with qemu-nbd.  Thread-safe. */
int img_authz_allows(const char *id, const char *peer, struct img_error *err);

#endif
