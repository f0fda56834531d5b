/* SPDX-License-Identifier: MIT */
/*
 * curl.h - shared by the files of the curl driver: a file on a web or FTP server, over libcurl, read only.
 * Specifications: RFC 9110 (HTTP semantics; section 14 for ranges, 8.8 for validators), RFC 959 and 3659 (FTP).
 *
 *   source.c    what the options say: address, credentials, cookies
 *   address.c   parts of a URL; the address that redirects lead to
 *   request.c   one request for a range on one connection
 *   retry.c     the same again after a passing fault
 *   open.c      the length of the file, and what tells one version of it from another
 *   pour.c      all of the file in order, from servers without ranges
 *   reader.c    pieces of the file in memory, which readers and fetching threads share
 *   fetch.c     the fetching threads
 *   curl.c      the vtables
 */
#ifndef CURL_DRIVER_H
#define CURL_DRIVER_H

#include "../../libimg/driver.h"
#include <curl/curl.h>

enum { CURL_LONGEST_TIMEOUT = 10000 };
enum { CURL_MOST_CONNECTIONS = 16 };

/* ---- source.c ------------------------------------------------------------------------------ */

struct curl_open_options {
    char *url, *cookie, *cookie_secret, *username, *password_secret, *proxy_username, *proxy_password_secret;
    int64_t readahead, timeout, connections;
    int8_t sslverify, force_range;
};

/* What to ask for.  Set by open, and constant after that; the strings belong to it. */
struct curl_source {
    char *url;                      /* as given */
    char *address;                  /* without user and password */
    char *username, *password;      /* from the options, or else the URL; NULL: none */
    char *proxy_username, *proxy_password;
    char *cookie;
    bool web;                       /* http or https, not ftp */
    bool check_peer;                /* sslverify */
    bool force_range;               /* believe that the server knows ranges */
    unsigned timeout;               /* seconds without a byte; 0: for ever */
    uint64_t read_ahead;            /* bytes */
    unsigned connections;
};
/* `scheme`: the driver's name, with which the URL must begin. */
int curl_source_take(const struct curl_open_options *given, const char *scheme, struct curl_source *source,
                     struct img_error *err);
/* Wipes what is secret. */
void curl_source_free(struct curl_source *source);

/* ---- address.c ------------------------------------------------------------------------------- */

/* The URL without user and password, and those (NULL: none); caller frees. */
int curl_address_split(const char *url, char **address, char **username, char **password);
/* Have both the same scheme, host and port?  Only then one server's credentials may go to the other. */
bool curl_same_origin(const char *a, const char *b);

/*
 * Where the file is: the last address behind the redirects, so that they are not followed for each request.  It may
 * expire (a signed URL), and is then forgotten.
 */
struct curl_place {
    pthread_mutex_t lock;
    const char *original;
    char *kept;                     /* NULL: not known, or the original */
};
int curl_place_init(struct curl_place *place, const char *original);
void curl_place_end(struct curl_place *place);
/* A copy of the address to ask; caller frees; NULL: no memory. */
char *curl_place_get(struct curl_place *place);
void curl_place_keep(struct curl_place *place, const char *address);
/* Forget the kept address, if it is this one.  true: another address may be tried now. */
bool curl_place_forget(struct curl_place *place, const char *address);

/* ---- request.c --------------------------------------------------------------------------------- */

/* What tells one version of the file from another (RFC 9110, 8.8).  Empty: the server does not say. */
struct curl_version {
    uint64_t size;
    char etag[256], modified[64];
};

/* One connection, of one thread. */
struct curl_connection {
    CURL *easy;
    CURLM *multi;
    struct curl_slist *headers;
    char problem[CURL_ERROR_SIZE];  /* libcurl's words for the last error */
};
int curl_connection_open(struct curl_connection *c, const struct curl_source *source);
void curl_connection_close(struct curl_connection *c);

enum curl_outcome {
    CURL_DONE,
    CURL_PASSING,                   /* may work when it is tried again: nothing, or a part, has come */
    CURL_STALLED,                   /* the same, but the time was up */
    CURL_ELSEWHERE,                 /* a redirect */
    CURL_EXPIRED,                   /* the server does not give the file: the address may have expired */
    CURL_NO_RANGES,                 /* the server sent another range than it was asked for */
    CURL_CHANGED,                   /* the file is another one now */
    CURL_ENDED,                     /* `abandoned` said so */
    CURL_FAILED
};

struct curl_request {
    const struct curl_source *source;
    const char *address;
    uint64_t offset, length;
    bool probe;                     /* at opening: the reply may be shorter, and says what the file is */
    bool head;                      /* only the header */
    bool whole;                     /* all of the file, from a server without ranges: offset 0, length UINT64_MAX */
    unsigned whole_timeout;         /* seconds for all of it; 0: only `timeout` of the source counts */
    const struct curl_version *expected;        /* NULL: any */
    /* Takes the bytes of the file at `position` as they come, in order; false: give up. */
    bool (*take)(void *context, uint64_t position, const void *bytes, size_t length);
    bool (*abandoned)(void *context);           /* asked ten times a second, and after a wake-up; may be NULL */
    void *context;

    uint64_t received;              /* bytes taken */
    struct curl_version version;    /* what the reply says; of a probe */
    bool has_size, has_ranges;
    bool judged, right;
    enum curl_outcome fault;        /* what was found while the reply came; DONE: nothing */
    CURL *easy;
};
/* Afterwards c->problem has the words for an error. */
enum curl_outcome curl_request_run(struct curl_connection *c, struct curl_request *request);

/* ---- authorities.c ---------------------------------------------------------------------------- */

/* The file of the authorities that a server's certificate is checked against.  NULL: libcurl knows it. */
const char *curl_authorities(void);

/* ---- retry.c -------------------------------------------------------------------------------------- */

/* Runs a request at the kept place, and again after passing faults, each time for what has not come.  `address` is set
 * by it. */
enum curl_outcome curl_request_retry(struct curl_connection *c, struct curl_place *place,
                                     struct curl_request *request);
/* Tell why it failed. */
void curl_explain(const struct curl_source *source, const struct curl_connection *c, enum curl_outcome outcome);

/* ---- open.c ------------------------------------------------------------------------------------------ */

/* Find out about the file.  What it has read of the beginning stays in `head`: *have bytes of `room`. */
int curl_look(struct curl_connection *c, const struct curl_source *source, struct curl_place *place,
              struct curl_version *version, char *head, size_t room, size_t *have, struct img_error *err);

/* ---- pour.c --------------------------------------------------------------------------------------------- */

/* Gives the file to `take`, in order.  A connection that breaks is begun anew, and what came already left out.  The
 * descriptor `stop` (-1: none) ends it.  0 or a negative errno, after a notice. */
int curl_pour(const struct curl_source *source, int (*take)(void *context, const void *bytes, size_t length),
              void *context, int stop);

/* ---- reader.c ------------------------------------------------------------------------------------------ */

enum curl_piece_state { CURL_EMPTY, CURL_QUEUED, CURL_RUNNING, CURL_COMPLETE, CURL_BROKEN };

/* A range of the file.  Its fields change under the reader's lock, except for `have` and `needed`, which are atomic:
 * bytes come too often for a lock.  Bytes before `have` do not change while there are users. */
struct curl_piece {
    enum curl_piece_state state;
    uint64_t start, length, have;
    uint64_t needed;                /* the least `have` that somebody waits for; UINT64_MAX: nobody does */
    pthread_cond_t arrived;         /* what was needed, or the end of the piece */
    uint64_t run;                   /* how much was asked for in sequence before it */
    uint64_t used;                  /* when: for the choice of the one to drop */
    unsigned users;
    bool ahead;                     /* nobody waits for it yet */
    int error;
    char *bytes;                    /* CURL_PIECE of room */
};

enum { CURL_PIECE = 4 << 20, CURL_PIECES = 24 };

struct curl_reader {
    const struct curl_source *source;
    struct curl_place place;
    struct curl_version version;
    pthread_mutex_t lock;
    pthread_cond_t freed;           /* a piece may be dropped that could not be before */
    pthread_cond_t wanted;          /* a piece was queued, or it is the end */
    struct curl_piece pieces[CURL_PIECES];
    char *memory;
    uint64_t clock;
    unsigned waiting;               /* readers without a piece */
    struct curl_fetcher *fetchers;
    unsigned fetcher_count, idle;
    bool closing;
    bool told;                      /* why a request failed was said once */
};
int curl_reader_start(struct curl_reader *reader, const struct curl_source *source, struct img_error *err);
void curl_reader_end(struct curl_reader *reader);
/* More bytes of the piece are there.  Called without the lock. */
void curl_piece_arrived(struct curl_reader *reader, struct curl_piece *piece, size_t length);
/* The piece is complete (0), or broken.  Called with the lock. */
void curl_piece_ended(struct curl_reader *reader, struct curl_piece *piece, int error);
/* Waits until the bytes are there.  -ECANCELED: the descriptor `stop` (-1: none) is readable. */
int curl_reader_read(struct curl_reader *reader, char *buffer, uint64_t offset, size_t length, int stop);

/* ---- fetch.c --------------------------------------------------------------------------------------------- */

/* Start one more thread, if all have work and there may be more.  The caller holds the lock. */
void curl_fetchers_grow(struct curl_reader *reader);
/* End them all; what they do is given up. */
void curl_fetchers_end(struct curl_reader *reader);

#endif
