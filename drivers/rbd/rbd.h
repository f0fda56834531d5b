/* SPDX-License-Identifier: MIT */
/*
 * rbd.h - shared by the files of the rbd driver: an image in a Ceph cluster (RADOS block device), over librbd.
 *
 *   name.c        "rbd:pool/image..." as options
 *   target.c      what the options say
 *   cluster.c     the connection to a cluster and a pool of it, and how long it may be silent
 *   encryption.c  LUKS as librbd does it
 *   image.c       an open image: opening, closing, its length
 *   request.c     reading, writing, zeroes, discards, flushes
 *   change.c      what changes an image as a whole, and how long librbd is waited for
 *   extents.c     which objects there are
 *   snapshot.c    its snapshots
 *   create.c      a new image
 *   rbd.c         the vtable
 *
 * librbd has threads of its own and takes requests from many threads at a time.  So the thread of a request waits until
 * its completion is there, and nothing more is needed for requests in flight than more threads.
 */
#ifndef RBD_DRIVER_H
#define RBD_DRIVER_H

#include "../../libimg/driver.h"
#include <rados/librados.h>
#include <rbd/librbd.h>

/* ---- name.c ------------------------------------------------------------------------------- */

/* The member that has the settings of a name, as an array: KEY, VALUE, KEY ...  No option of a user is called so. */
#define RBD_PAIRS "=keyvalue-pairs"
int rbd_parse_name(const char *name, struct img_doc *options, struct img_error *err);

/* ---- encryption.c ---------------------------------------------------------------------------- */

enum { RBD_LAYERS = 16 };           /* encrypted images that are clones of each other, at most */
enum rbd_cipher_format { RBD_PLAIN, RBD_LUKS1, RBD_LUKS2, RBD_LUKS_ANY };
/* The passphrase is that of the secret, and belongs to the list of secrets. */
struct rbd_layer {
    enum rbd_cipher_format format;
    char *secret;
    const char *passphrase;
    size_t length;
};
/* The image, its parent, and so on. */
struct rbd_encryption {
    size_t count;
    struct rbd_layer layers[RBD_LAYERS];
};
/* Take "encrypt" out of the options. */
int rbd_encryption_take(struct img_doc *options, struct rbd_encryption *encryption, struct img_error *err);
void rbd_encryption_free(struct rbd_encryption *encryption);
int rbd_encryption_apply(rbd_image_t image, struct rbd_encryption *encryption, struct img_error *err);
struct rbd_new_encryption {
    struct rbd_layer layer;         /* RBD_PLAIN: none */
    rbd_encryption_algorithm_t cipher;
};
struct rbd_create_options;
int rbd_encryption_choose(const struct rbd_create_options *create, struct rbd_new_encryption *wanted,
                          struct img_error *err);
/* Make a new image an encrypted one. */
struct rbd_waiting;
int rbd_encryption_make(rbd_image_t image, const struct rbd_new_encryption *wanted, struct rbd_waiting *waiting,
                        struct img_error *err);
/* librbd's part of that. */
int rbd_encryption_format_now(rbd_image_t image, const struct rbd_new_encryption *wanted);
/* Of a header: "luks", "luks2", or NULL. */
enum { RBD_HEADER = 8 };
const char *rbd_encryption_of(const unsigned char header[RBD_HEADER]);

/* ---- target.c -------------------------------------------------------------------------------- */

struct rbd_open_options {
    char *pool, *space, *image, *conf, *snapshot, *user, *key_secret, *password_secret;
    int64_t timeout;
};
struct rbd_target {
    char *pool, *space, *image, *snapshot;
    char *conf, *user;              /* NULL: as usual */
    char *monitors, *methods;       /* of mon_host and auth_client_required; NULL: as configured */
    char *key;                      /* a secret, in base64; NULL: as configured */
    struct img_doc *pairs;          /* more settings: KEY, VALUE, KEY ...; NULL: none */
    unsigned timeout;               /* seconds that the cluster may be silent; 0: for ever */
    struct rbd_encryption encryption;
};
int rbd_target_take(struct img_doc *options, const struct rbd_open_options *given, struct rbd_target *target,
                    struct img_error *err);
/* The same of an old "filename" option. */
int rbd_target_take_name(const char *name, const struct rbd_open_options *given, struct rbd_target *target,
                         struct img_error *err);
void rbd_target_free(struct rbd_target *target);

/* ---- cluster.c ----------------------------------------------------------------------------------- */

/* Limits of time, as librados has them in its settings. */
enum { RBD_TIMES = 3 };
struct rbd_times {
    char text[RBD_TIMES][32];
};
struct rbd_cluster {
    rados_t rados;                  /* NULL: not connected */
    rados_ioctx_t io;               /* a pool of it */
    struct rbd_times times;
};
/* After an error there is nothing to close. */
int rbd_cluster_open(struct rbd_cluster *cluster, const struct rbd_target *target, struct img_error *err);
void rbd_cluster_close(struct rbd_cluster *cluster);
/* The milliseconds until librbd is waited for no longer: more than librados takes to end a request.  0: none. */
uint64_t rbd_cluster_patience(const struct rbd_cluster *cluster);
/* It was silent for as long as it may: wait only a little for the next answers; or as long as before.  Thread-safe. */
void rbd_cluster_hurry(struct rbd_cluster *cluster, bool hurry);

/* ---- change.c ------------------------------------------------------------------------------------ */

/* For librbd, where it does not end a request itself. */
struct rbd_waiting {
    uint64_t patience;              /* milliseconds; 0: for ever */
    bool silent;                    /* atomic: the last request took too long */
    bool left;                      /* atomic: a request was given up; librbd still has it, and must keep its image */
};
/* The milliseconds for a request about so many bytes of the disk; 0: for ever. */
uint64_t rbd_patience(const struct rbd_waiting *waiting, uint64_t bytes);

struct rbd_change {
    enum { RBD_RESIZE, RBD_ENCRYPT, RBD_SNAP_CREATE, RBD_SNAP_APPLY, RBD_SNAP_REMOVE } kind;
    uint64_t size;                          /* RESIZE */
    struct rbd_new_encryption encryption;   /* ENCRYPT */
    const char *name;                       /* of a snapshot */
};
/* `bytes`: of the disk that it is about.  -ETIMEDOUT, perhaps with waiting->left set. */
int rbd_change(struct rbd_waiting *waiting, rbd_image_t image, const struct rbd_change *what, uint64_t bytes);

/* ---- image.c ------------------------------------------------------------------------------------- */

struct rbd {
    struct rbd_target target;
    struct rbd_cluster cluster;
    rbd_image_t image;
    uint64_t object_size;
    uint64_t overhead;              /* bytes of the image that its encryption needs for itself */
    bool writable;
    struct rbd_waiting waiting;
    bool told;                      /* atomic: a failed request was */
    pthread_mutex_t lock;           /* of changes of the length */
    uint64_t length;                /* atomic: of the disk; reached by writing */
    uint64_t room;                  /* atomic: of the image, at least that */
};
int rbd_image_open(struct rbd *s, bool writable, struct img_error *err);
/* -errno: the image could not be cut to its length. */
int rbd_image_close(struct rbd *s);
/* Set both lengths. */
int rbd_image_set_length(struct rbd *s, uint64_t length);
/* Make room for a write that ends there. */
int rbd_image_reach(struct rbd *s, uint64_t end);
/* Cut off room that no write has used. */
int rbd_image_trim(struct rbd *s);
/* Ask how long the image is now. */
int rbd_image_look(struct rbd *s);
/* The same without a node: change the length of the disk in an image whose encryption needs `overhead` bytes. */
int rbd_set_size(struct rbd_waiting *waiting, rbd_image_t image, uint64_t size, uint64_t overhead);
/* Note what a call of librbd returned, and return it: once a request took too long, the next ones, and closing the
 * image, must not take as long again. */
int rbd_image_note(struct rbd *s, int ret);

/* ---- request.c ------------------------------------------------------------------------------------- */

int rbd_driver_pread(struct img *image, void *buffer, uint64_t offset, size_t length);
int rbd_driver_pwrite(struct img *image, const void *buffer, uint64_t offset, size_t length, unsigned flags);
int rbd_driver_zero(struct img *image, uint64_t offset, uint64_t length, unsigned flags);
int rbd_driver_discard(struct img *image, uint64_t offset, uint64_t length);
int rbd_driver_flush(struct img *image);
/* Close the image.  false: librbd still has something to do with it, and does not come to an end. */
bool rbd_request_close(struct rbd_waiting *waiting, rbd_image_t image);

/* ---- extents.c -------------------------------------------------------------------------------------- */

int rbd_driver_map(struct img *image, uint64_t offset, uint64_t length, struct img_extent *extents, size_t count);

/* ---- snapshot.c ---------------------------------------------------------------------------------------- */

int rbd_driver_snapshots(struct img *image, struct img_snapshot **list, struct img_error *err);
int rbd_driver_snapshot_create(struct img *image, struct img_snapshot *what, struct img_error *err);
int rbd_driver_snapshot_apply(struct img *image, const char *id_or_name, struct img_error *err);
int rbd_driver_snapshot_delete(struct img *image, const char *id, const char *name, struct img_error *err);

/* ---- create.c --------------------------------------------------------------------------------------------- */

struct rbd_create_options {
    int64_t size, cluster_size;
    char *password_secret;
    char *encrypt_format, *cipher_alg, *key_secret;
};
extern const struct img_driver img_driver_rbd;
int rbd_driver_create(const struct img_create *request, struct img_error *err);

#endif
