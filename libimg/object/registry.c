/* SPDX-License-Identifier: MIT */
/*
 * registry.c - the objects that the user defined with --object: one list for all kinds, so that an id is unique.  For
 * things that are defined beside the images and found by name: secrets, throttle groups, credentials.
 */
#include "object.h"
#include "util/cleanup.h"
#include "util/strbuf.h"
#include <errno.h>
#include <string.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct img_object *objects;

/* The caller holds the lock. */
static struct img_object *with_id(const char *id)
{
    struct img_object *at = objects;

    while (at && strcmp(at->id, id) != 0)
        at = at->next;
    return at;
}

static int taken(const char *id, struct img_error *err)
{
    return img_error_set(err, EEXIST, "attempt to add duplicate property '%s' to object (type 'container')", id);
}

int img_object_check_new(const char *id, struct img_error *err)
{
    LOCK_SCOPE(&lock);
    return with_id(id) ? taken(id, err) : 0;
}

int img_object_put(struct img_object *object, const char *kind, const char *id, struct img_error *err)
{
    LOCK_SCOPE(&lock);
    if (with_id(id))
        return taken(id, err);
    object->kind = kind;
    object->id = img_strdup(id);
    if (!object->id)
        return img_error_memory(err);
    object->next = objects;
    objects = object;
    return 0;
}

int img_object_add(const char *id, struct img_error *err)
{
    struct img_object *object = img_calloc(1, sizeof *object);
    int ret = object ? img_object_put(object, "", id, err) : img_error_memory(err);

    if (ret < 0)
        free(object);
    return ret;
}

struct img_object *img_object_find(const char *kind, const char *id, bool *other)
{
    struct img_object *found;

    LOCK_SCOPE(&lock);
    found = with_id(id);
    if (other)
        *other = found && strcmp(found->kind, kind) != 0;
    return found && strcmp(found->kind, kind) == 0 ? found : NULL;
}

void img_objects_free(void)
{
    struct img_object *object;

    LOCK_SCOPE(&lock);
    while ((object = objects) != NULL) {
        objects = object->next;
        if (object->release)
            object->release(object);
        free(object->id);
        free(object);
    }
}
