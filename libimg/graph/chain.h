/* SPDX-License-Identifier: MIT */
/* chain.h - shared by the files that open and close nodes: open.c, chain.c, child.c, backing.c, lock.c, close.c. */
#ifndef IMG_CHAIN_H
#define IMG_CHAIN_H

#include "graph.h"

struct request {
    const char *name;               /* NULL: the options say it all */
    struct img_doc *options;        /* owned by the caller; NULL: out of memory */
    const char *format;             /* NULL: from the options or by probing */
    enum img_role role;
    unsigned flags, perm, shared;
    enum img_cache cache;
    enum img_gate gate;
    struct img_graph *graph;        /* the graph to join; NULL: a new one */
    struct img *storage;            /* the storage of the image, open already; taken over in any case.  NULL: none */
    const char *within;             /* folder that must contain the storage; NULL: anywhere */
    unsigned nesting;               /* number of nodes above in the same image */
    bool inherits;                  /* perm and shared are those of the parent */
    bool refused_user;              /* out: a lock that the user of the whole chain needs was refused */
    bool candidate;                 /* it is only looked at (parent.c): do not look for its own parent */
    unsigned backing_flags;         /* flags for the backing file only, when it is reopened */
    const struct above *above;      /* images above in the chain */
};

/* One image of the chain being opened, to detect loops. */
struct above {
    const struct img *image;
    const struct above *next;
    unsigned depth;
};

/* open.c: what the user of an image does with it, and lets others do. */
void chain_ask_permissions(struct request *request, const struct img_open *how);

/* chain.c: merge the content of a json: name into the options, and drop the name. */
int chain_unfold_name(struct request *request, struct img_error *err);
/* chain.c: open an image; its driver may be a format, a protocol, or unknown yet. */
int chain_open_node(struct img **image, struct request *request, struct img_error *err);
/* Open a child that holds bytes: its driver is a protocol unless the options say otherwise. */
int chain_open_storage(struct img **image, struct request *request, struct img_error *err);

/* child.c: the request for a child of `parent`, without its name and options.  `from`: the request for the parent if
 * both are one image, else NULL. */
struct request chain_child_request(const struct img *parent, enum img_role role, const struct request *from);
/* Take the object, or the reference, that describes a child; *child is NULL if there is none.  `named`: the child has a
 * file name too. */
int chain_take_child(struct img_doc *options, const char *role, bool named, struct img_doc **child,
                     struct img_error *err);

/* lock.c: take the permissions that the node needs of its open children by now.  *refused_user: see struct request. */
int chain_lock_children(struct img *image, bool *refused_user, struct img_error *err);

/* advice.c: what the content of an image shows that its driver refused; that the backing file is missing. */
void chain_advise_format(struct img *image, const char *name, struct img_error *err);
void chain_advise_backing(const struct img *image, const char *resolved, struct img_error *err);

/* close.c: close the children, then free the node.  Returns the first error. */
int chain_end_node(struct img *image);
/* img_close of an image that was only read, or is given up; NULL is fine. */
void chain_close_quietly(struct img *image);

/* parent.c: what a name that another machine stored means here, or with `last` its last part, with slashes and never a
 * protocol; caller frees.  *name NULL: it means nothing.  0 or -ENOMEM. */
int chain_local_name(const char *stored, bool last, char **name);
/* Open a file that may be the parent of `image`, alone and without a lock, so that the driver can tell. */
int chain_open_candidate(struct img *image, const char *name, struct img **candidate, struct img_error *err);
/* Set the backing file of a differencing disk: the first file that one of its names means and that is its
 * parent. */
int chain_find_parent(struct img *image, const struct request *request, struct img_error *err);

/* backing.c: take a `backing` of null, or the older "": no backing file. */
void chain_take_no_backing(struct img *image, struct img_doc *options);
/* Open the backing file that the options or the image name, if any. */
int chain_open_backing(struct img *image, struct request *request, struct img_error *err);

/* advice.c: if the error is about the value of an option that takes certain words, tell which. */
void img_choices_advise(const struct img_option *table, unsigned when, const struct img_doc *options,
                        struct img_error *err);

#endif
