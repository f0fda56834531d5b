/* SPDX-License-Identifier: MIT */
/* node.h - a node and the drivers, as the rooms above this one see them.  Drivers use driver.h, applets img.h. */
#ifndef IMG_NODE_H
#define IMG_NODE_H

#include "driver.h"
#include "util/range-lock.h"

/* Map answers of a storage that are kept until somebody writes (io/answers.c). */
enum { IMG_ANSWERS = 64 };

struct img_answers {
    pthread_mutex_t lock;
    struct img_extent kept[IMG_ANSWERS];        /* length 0: none */
    unsigned next, generation;      /* generation: counts writes */
};

struct img_stop;

/* A node with libimg's private part.  Drivers get a pointer to the first member; img_node_new creates all nodes. */
struct img_node {
    struct img image;

    /* Locked ranges: guest ranges if the node allocates, byte ranges if it has an alignment. */
    struct img_range_lock ranges;

    /* Writes that are complete, and how many of them are known to be on stable storage. */
    pthread_mutex_t flush_lock;     /* flushed, flush_error */
    uint64_t written;               /* counted when a write is complete, before it is acknowledged; atomic */
    uint64_t flushed;
    int flush_error;

    struct img_graph *graph;        /* all nodes that were opened with it */
    bool inactive;                  /* active=off: may be looked at, but not used */

    struct img_answers answers;     /* used if limits.round_trip is set */
    struct img_stop *stop;          /* of the job that uses the node; NULL: none.  Set while nobody else uses it */
    struct img_decoded *decoded;    /* cache of decompressed clusters; NULL: no driver->decode */

    struct { struct img *file; uint64_t needs, has; } missing;  /* io/missing.c; file NULL: nothing, as far as known */
};

static inline struct img_node *img_node_of(struct img *image)
{
    return (struct img_node *)image;
}

/* Does it have bytes, as formats see it?  A protocol does, or an adapter over one. */
static inline bool img_is_storage(const struct img *image)
{
    return image->driver->kind == IMG_PROTOCOL || image->driver->kind == IMG_ADAPTER;
}

/* protect.c --------------------------------------------------------------- */

/* The bytes [start, end) of an open file are still read; -ENOMEM.  May those of another be overwritten? */
int img_protect_range(int fd, const char *name, uint64_t start, uint64_t end);
int img_may_overwrite_range(int fd, const char *name, uint64_t start, uint64_t end, struct img_error *err);

/* driver.c ---------------------------------------------------------------- */

/* The driver of a row of img_drivers.  If the row stands for one in a module, load it; on failure return the row itself
 * (img_driver_need gives the error). */
const struct img_driver *img_driver_load(const struct img_driver *row);
/* Find a protocol by its probe on a plain name, or by the prefix [name, name+length).  NULL: none. */
const struct img_driver *img_protocol_for_plain(const char *name);
const struct img_driver *img_protocol_by_prefix(const char *prefix, size_t length);
/* Find the protocol of a name that the user wrote, with or without "proto:"; *plain is the part of `name` that the
 * driver gets.  NULL with *err set: no such protocol. */
const struct img_driver *img_protocol_for_name(const char *name, const char **plain, struct img_error *err);
/* The key of the child in options and in `info`: "file", or "image". */
const char *img_child_key(const struct img_driver *driver);
/* That of the node in data_file: "data-file", or "header". */
const char *img_second_key(const struct img_driver *driver);

/* filename.c -------------------------------------------------------------- */

/* Length of "proto" in "proto:rest", or SIZE_MAX if the name is a path (including "./a:b"). */
size_t img_name_prefix(const char *name);
/* The path of a file in the folder of `image`; caller frees.  NULL with *err set. */
char *img_name_neighbour(const struct img *image, const char *name, struct img_error *err);
/* The name to open for a name stored in `image`; caller frees.  NULL with *err set. */
char *img_name_resolve(const struct img *image, const char *name, struct img_error *err);
/* Set filename and shown_name once the node and its children are open. */
int img_name_node(struct img *image, struct img_error *err);

/* node.c ------------------------------------------------------------------ */

/* NULL: out of memory. */
struct img *img_node_new(const struct img_driver *driver, unsigned flags, enum img_cache cache, enum img_gate gate);
/* An image and all nodes opened with it.  There are at most MAX_NODES of them. */
struct img_graph;
/* Move `image` to `graph` until it is freed; NULL: to a new graph.  -EMLINK: the graph has too many nodes. */
int img_node_join(struct img *image, struct img_graph *graph, struct img_error *err);
struct img_graph *img_node_graph(const struct img *image);
/* Free everything.  The children must be closed, and driver->close called, unless open failed. */
void img_node_free(struct img *image);
/* The role of a node for its parent. */
enum img_role { IMG_ROLE_ROOT, IMG_ROLE_FILE, IMG_ROLE_DATA, IMG_ROLE_BACKING };
/* Take the options that every node has (read-only, cache.direct ...) out of `options` and apply them. */
int img_node_options(struct img *image, struct img_doc *options, enum img_role role, struct img_error *err);
/* Force-share is for reading.  Asked when the child is open: it complains first of what is wrong below. */
int img_node_check_share(const struct img *image, struct img_error *err);
/* Reserve the node-name of the node until it is freed. */
int img_node_claim_name(struct img *image, struct img_error *err);
/* Take the boolean `key` out of options.  Returns 0, and leaves *value unchanged if the key is absent. */
int img_node_take_bool(struct img_doc *options, const char *key, const char *shown, bool *value, struct img_error *err);
/* Does the node's user use the bytes below in the same way?  True for raw and filters. */
bool img_shows_below(const struct img *image);
/* Refuse options that nobody took. */
int img_node_leftover(const struct img *image, const struct img_doc *options, struct img_error *err);
/* Take the permissions `perm`, and let others have those of `shared`.  -EAGAIN: another user conflicts. */
int img_node_lock(struct img *image, unsigned perm, unsigned shared, struct img_error *err);
/* The permissions that `parent` needs on its child, and those that it shares. */
void img_node_permissions(const struct img *parent, enum img_role role, unsigned *perm, unsigned *shared);

/* wait.c ---------------------------------------------------------------------- */

/* Set the stop that ends waiting in this node and those below it; NULL: none. */
void img_node_set_stop(struct img *image, struct img_stop *stop);

/* limits.c -------------------------------------------------------------------- */

/* Before the driver opens: take the limits of the node below. */
void img_limits_inherit(struct img *image);
/* After it has opened: bounds become whole blocks, and the useful requests are those of all children but a backing file. */
void img_limits_settle(struct img *image);

#endif
