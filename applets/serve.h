/* SPDX-License-Identifier: MIT */
/* serve.h - shared by the files of img-serve, which is qemu-nbd, too. */
#ifndef SERVE_H
#define SERVE_H

#include "applet.h"
#include "../libimg/serve.h"

/* Options without a letter. */
enum {
    SERVE_HANDSHAKE = APP_LONG, SERVE_TLS_CREDS, SERVE_TLS_AUTHZ, SERVE_TLS_HOSTNAME, SERVE_FORK, SERVE_PID_FILE,
    SERVE_SELINUX, SERVE_CACHE, SERVE_AIO, SERVE_DISCARD, SERVE_DETECT, SERVE_LENGTH, SERVE_STDIO, SERVE_TLS_PSK,
    SERVE_TLS_CERTIFICATES, SERVE_TLS_VERIFY
};

/* A FILE and what it is shown as. */
struct serve_disk {
    const char *file, *format, *snapshot;
    const char *name, *description;
    bool image_opts, read_only, depth;
    uint64_t offset, length;
    bool has_length;
    IMG_VECTOR(const char *) bitmaps;
    struct img *image;              /* NULL: not open */
};

/* An option that belongs to a disk: that before which it stands, or the last. */
struct serve_word {
    int letter;
    char *argument;
    int disk;                       /* number of operands before it */
};

enum { SERVE_SOCKETS = 64 };

struct serve {
    struct app *app;
    bool nbd;                       /* called as qemu-nbd: its defaults and its strictness */

    /* Where and whom to serve. */
    const char *bind, *port, *path, *device, *selinux;
    bool list, disconnect, stdio, persistent, verbose;
    int shared;                     /* clients at a time; 0: any number */
    unsigned handshake;             /* seconds; 0: no limit */
    const char *tls_id, *tls_authz, *tls_hostname, *tls_psk, *tls_certificates;
    bool tls_verify;
    struct img_tls_creds *tls;
    bool tls_own;                   /* tls was made here, not found by its id */

    /* The process. */
    bool fork;
    const char *pid_file;

    /* The images. */
    enum img_cache cache;
    bool cache_given, temporary;
    const char *aio, *discard, *detect;
    IMG_VECTOR(struct serve_word) words;
    IMG_VECTOR(struct serve_disk) disks;

    int sockets[SERVE_SOCKETS];
    size_t socket_count;
    unsigned activated;             /* sockets that the service manager passed */
    struct img_server *server;
};

/* The program with the options of an applet; returns the exit code (serve.c). */
int serve_run(struct app *app, bool nbd);

/* serve-options.c: read the command line; false after a message. */
bool serve_parse(struct serve *s);
/* Was an option given that belongs to a disk or to how it is opened? */
bool serve_has_disk_options(const struct serve *s);

/* qemu-nbd.c: --help and --version. */
void serve_nbd_help(const char *called);
void serve_nbd_version(void);

/* serve-image.c: open the image of a disk, and give it to the server as an export; false after a message. */
bool serve_open(const struct serve *s, struct serve_disk *disk);
bool serve_export(const struct serve *s, const struct serve_disk *disk);

/* serve-overlay.c: open a temporary image over that of the disk, which takes the writes.  `base`: the options of the
 * disk; NULL: `name` says it all. */
int serve_open_overlay(struct img **image, const char *name, struct img_doc *base, const struct img_open *how,
                       struct img_error *err);

/* serve-socket.c: the address that the options name (its strings belong to the options); sockets that listen there;
 * and the end of them, where the socket in the file system is removed.  False after a message. */
struct img_address serve_address(const struct serve *s);
bool serve_listen(struct serve *s);
void serve_unlisten(struct serve *s);
/* The sockets of the service manager: their number, from descriptor 3 on. */
unsigned serve_activation(void);

/* serve-process.c: go on in a child, while the parent waits for serve_ready; false after a message. */
bool serve_fork(const struct serve *s);
/* The pid file is written, the parent may end, and the child lets go of its terminal.  False after a message. */
bool serve_ready(const struct serve *s);

/* serve-list.c: -L.  Returns the exit code. */
int serve_list(const struct serve *s);

/* serve-kernel.c: -d and -c.  They return the exit code. */
int serve_disconnect(const char *device);
int serve_kernel(struct serve *s);

#endif
