/* SPDX-License-Identifier: MIT */
/* object.h - the list of what the user defined with --object, as the kinds of objects see it; img.h has the rest. */
#ifndef IMG_OBJECT_H
#define IMG_OBJECT_H

#include "img.h"

/* The first member of an object of some kind. */
struct img_object {
    struct img_object *next;
    const char *kind;               /* "secret"; compared as a text */
    char *id;
    void (*release)(struct img_object *object);     /* what the kind has besides; NULL: nothing */
};

/* Put `object`, which is from malloc, under `id`; it belongs to the list then.  -EEXIST: taken, it stays yours. */
int img_object_put(struct img_object *object, const char *kind, const char *id, struct img_error *err);
/* The object of that id, if it is of that kind; it stays until img_objects_free.  *other (may be NULL): the id belongs
 * to another kind. */
struct img_object *img_object_find(const char *kind, const char *id, bool *other);

#endif
