/* SPDX-License-Identifier: MIT */
/* object.h - the list of objects that the user defined with --object, for the kinds of objects; img.h has the rest. */
#ifndef IMG_OBJECT_H
#define IMG_OBJECT_H

#include "img.h"

/* The first member of an object of any kind. */
struct img_object {
    struct img_object *next;
    const char *kind;               /* "secret"; compared as a string */
    char *id;
    void (*release)(struct img_object *object);     /* frees what the kind adds; NULL: nothing */
};

/*
 * Add `object`, which is from malloc, as `id`; the list then owns it.  -EEXIST: the id is taken, and you still own it.
 */
int img_object_put(struct img_object *object, const char *kind, const char *id, struct img_error *err);
/* Find the object with that id and kind; it lives until img_objects_free.  *other (may be NULL): the id belongs to
 * another kind. */
struct img_object *img_object_find(const char *kind, const char *id, bool *other);

#endif
