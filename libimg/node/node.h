/* SPDX-License-Identifier: MIT */
/* node.h - a node and the drivers, as the rooms above this one see them.  Drivers see driver.h, applets img.h. */
#ifndef IMG_NODE_H
#define IMG_NODE_H

#include "driver.h"
#include "util/range-lock.h"

/* What a storage said of itself, while nobody wrote there (io/answers.c). */
enum { IMG_ANSWERS = 64 };

struct img_answers {
    pthread_mutex_t lock;
    struct img_extent kept[IMG_ANSWERS];        /* length 0: none */
    unsigned next, generation;      /* generation: counts what was written */
};

struct img_stop;

/*
 * A node with what libimg keeps of it for itself.  Drivers get a pointer to the first member, and all nodes are made
 * by img_node_new.
 */
struct img_node {
    struct img image;

    /* Ranges that requests hold: of the guest disk where the node allocates, of its bytes where it has an alignment. */
    struct img_range_lock ranges;

    /* Writes that were done, and how many of them are known to be on the storage. */
    pthread_mutex_t flush_lock;     /* flushed, flush_error */
    uint64_t written;               /* counted when a write is done, before it is answered; atomic */
    uint64_t flushed;
    int flush_error;

    struct img_graph *graph;        /* all that was opened with it */
    bool inactive;                  /* active=off: may be looked at, but nobody may use it */

    struct img_answers answers;     /* where limits.round_trip is set */
    struct img_stop *stop;          /* of the job that uses the node; NULL: none.  Set while nobody else uses it */
    struct img_decoded *decoded;    /* compressed clusters decoded lately; NULL: no driver->decode */
};

static inline struct img_node *img_node_of(struct img *image)
{
    return (struct img_node *)image;
}

/* It has bytes of its own, as formats see it: a protocol, or an adapter over one. */
static inline bool img_is_storage(const struct img *image)
{
    return image->driver->kind == IMG_PROTOCOL || image->driver->kind == IMG_ADAPTER;
}

/* driver.c ---------------------------------------------------------------- */

/* A driver of img_drivers itself.  A row that stands for one in a module: that, loaded, or the row again where it cannot
 * be (img_driver_need says why). */
const struct img_driver *img_driver_load(const struct img_driver *row);
/* Drivers by their probe on a plain name, or by the prefix [name, name+length). NULL: none. */
const struct img_driver *img_protocol_for_plain(const char *name);
const struct img_driver *img_protocol_by_prefix(const char *prefix, size_t length);
/* The protocol of a name as the user writes it, with "proto:" in front or not; *plain is what the
 * driver gets to see, a part of name.  NULL with *err set: no such protocol. */
const struct img_driver *img_protocol_for_name(const char *name, const char **plain, struct img_error *err);
/* What the node below is called in options and in `info`: "file", or "image". */
const char *img_child_key(const struct img_driver *driver);

/* filename.c -------------------------------------------------------------- */

/* Length of the "proto" in "proto:rest", or SIZE_MAX when the name is a path (also "./a:b"). */
size_t img_name_prefix(const char *name);
/* `name` as seen from the directory of `base`. Caller frees. */
char *img_name_combine(const char *base, const char *name);
/* The path of a file beside `image`; caller frees. NULL with *err set. */
char *img_name_neighbour(const struct img *image, const char *name, struct img_error *err);
/* A name that is stored in `image`, as it is to be opened; caller frees. NULL with *err set. */
char *img_name_resolve(const struct img *image, const char *name, struct img_error *err);
/* Set filename and shown_name once the node and its children are open. */
void img_name_node(struct img *image);

/* node.c ------------------------------------------------------------------ */

struct img *img_node_new(const struct img_driver *driver, unsigned flags, enum img_cache cache, enum img_gate gate);
/* An image with all that opening it has opened.  The nodes are counted, and MAX_NODES bounds them. */
struct img_graph;
/* Make `image` one of `graph`, until it is freed; NULL: of a new graph.  -EMLINK: the graph has too many. */
int img_node_join(struct img *image, struct img_graph *graph, struct img_error *err);
struct img_graph *img_node_graph(const struct img *image);
/* Free everything; the children are closed, and driver->close has been called or open has failed. */
void img_node_free(struct img *image);
/* What a node is to the one above it. */
enum img_role { IMG_ROLE_ROOT, IMG_ROLE_FILE, IMG_ROLE_DATA, IMG_ROLE_BACKING };
/* Take the options that every node has (read-only, cache.direct ...) out of `options` and apply them. */
int img_node_options(struct img *image, struct img_doc *options, enum img_role role, struct img_error *err);
/* From now on until the node is freed no other one may have its node-name. */
int img_node_claim_name(struct img *image, struct img_error *err);
/* Take the boolean `key` out of options: 0 with *value untouched when it is not there. */
int img_node_take_bool(struct img_doc *options, const char *key, const char *shown, bool *value, struct img_error *err);
/* Whoever uses the node uses the bytes below in the same way: raw and filters. */
bool img_shows_below(const struct img *image);
/* Refuse what nobody took. */
int img_node_leftover(const struct img *image, const struct img_doc *options, struct img_error *err);
/* From now on the node's user does with it what `perm` says and leaves `shared` to others.  -EAGAIN: others are in the
 * way. */
int img_node_lock(struct img *image, unsigned perm, unsigned shared, struct img_error *err);
/* What `parent` needs of and leaves to others on its child. */
void img_node_permissions(const struct img *parent, enum img_role role, unsigned *perm, unsigned *shared);

/* wait.c ---------------------------------------------------------------------- */

/* Who asks this node, and those below it, to give up waiting; NULL: nobody. */
void img_node_set_stop(struct img *image, struct img_stop *stop);

/* limits.c -------------------------------------------------------------------- */

/* Before the driver opens: what it gets from below.  After that: what further children add. */
void img_limits_inherit(struct img *image);
void img_limits_settle(struct img *image);

#endif
