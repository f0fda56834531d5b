/* SPDX-License-Identifier: MIT */
/* chain.h - shared by the files that open and close: open.c, chain.c, child.c, backing.c, lock.c, close.c. */
#ifndef IMG_CHAIN_H
#define IMG_CHAIN_H

#include "graph.h"

struct request {
    const char *name;               /* NULL: all is in options */
    struct img_doc *options;        /* belongs to the one who opens; NULL: none */
    const char *format;             /* NULL: options or a probe tell */
    enum img_role role;
    unsigned flags, perm, shared;
    enum img_cache cache;
    enum img_gate gate;
    struct img_graph *graph;        /* that the node is to belong to, NULL: one of its own */
    const char *within;             /* the folder that the storage has to lie in, NULL: anywhere */
    unsigned nesting;               /* nodes above in the same image */
    bool inherits;                  /* perm and shared are those of the node above */
    bool refused_user;              /* out: a lock was refused that the user of the whole chain asks for */
    unsigned backing_flags;         /* flags that only the backing file gets, when it is opened again */
    const struct above *above;      /* images above in the chain */
};

/* One image of the chain that is being opened, for finding loops. */
struct above {
    const struct img *image;
    const struct above *next;
    unsigned depth;
};

/* chain.c: an image; the driver may be a format, a protocol, or have to be found out. */
int chain_open_node(struct img **image, struct request *request, struct img_error *err);
/* A child that holds bytes: its driver is a protocol unless the options say otherwise. */
int chain_open_storage(struct img **image, struct request *request, struct img_error *err);

/* child.c: what is asked of a child of `parent`, but for its name and options.  `from`: the request for the parent
 * where the two are one image, or NULL. */
struct request chain_child_request(const struct img *parent, enum img_role role, const struct request *from);
/* Take the object, or the reference, that describes a child: *child is NULL when there is none.  `named`: there is a
 * file name for it too. */
int chain_take_child(struct img_doc *options, const char *role, bool named, struct img_doc **child,
                     struct img_error *err);

/* lock.c: the children are open with fewer permissions than the node needs by now: take those.  *refused_user: see
 * struct request. */
int chain_lock_children(struct img *image, bool *refused_user, struct img_error *err);

/* close.c: close what lies below, and end the node.  The first error counts. */
int chain_end_node(struct img *image);

/* backing.c: `backing` may be null, or "" as of old: no backing file then. */
void chain_take_no_backing(struct img *image, struct img_doc *options);
/* Open the backing file that the options name, or the image, if there is one. */
int chain_open_backing(struct img *image, struct request *request, struct img_error *err);

#endif
