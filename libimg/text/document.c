/* SPDX-License-Identifier: MIT */
/*
 * The ordered document: a tree of values.  Containers keep their members in an
 * array in insertion order; members of objects have a key.  Lookup is a linear
 * search that compares a hash first, which is fastest for the few keys of
 * options and reports.  From HASH_FROM members on an index is used, so that a hostile
 * json: name with a hundred thousand keys does not take quadratic time.
 * A document that lost a value for want of memory is broken, and so is all that it is put into: that is asked once,
 * where the document is used (img_doc_broken).
 */
#include "img.h"
#include "util/strbuf.h"

#include <stdlib.h>
#include <string.h>

enum { HASH_FROM = 32 };

struct member {
    char *key;                 /* NULL in arrays */
    uint32_t hash;
    struct img_doc *value;
};

struct container {
    struct member *at;
    size_t count, capacity;
    size_t *index;             /* open addressing: position + 1, 0 is free; NULL: search linearly */
    size_t index_size;         /* power of two, at least twice count */
};

struct img_doc {
    enum img_doc_type type;
    bool broken;               /* a member is missing */
    union {
        bool boolean;
        int64_t integer;
        uint64_t natural;
        double real;
        char *string;
        struct container members;
    } u;
};

static struct img_doc *make(enum img_doc_type type)
{
    struct img_doc *doc = img_calloc(1, sizeof *doc);
    if (doc)
        doc->type = type;
    return doc;
}

struct img_doc *img_doc_null(void)
{
    return make(IMG_DOC_NULL);
}

struct img_doc *img_doc_bool(bool value)
{
    struct img_doc *doc = make(IMG_DOC_BOOL);
    if (doc)
        doc->u.boolean = value;
    return doc;
}

struct img_doc *img_doc_int(int64_t value)
{
    struct img_doc *doc = make(IMG_DOC_INT);
    if (doc)
        doc->u.integer = value;
    return doc;
}

struct img_doc *img_doc_uint(uint64_t value)
{
    struct img_doc *doc = make(IMG_DOC_UINT);
    if (doc)
        doc->u.natural = value;
    return doc;
}

struct img_doc *img_doc_double(double value)
{
    struct img_doc *doc = make(IMG_DOC_DOUBLE);
    if (doc)
        doc->u.real = value;
    return doc;
}

struct img_doc *img_doc_string(const char *value)
{
    struct img_doc *doc = value ? make(IMG_DOC_STRING) : NULL;
    if (doc)
        doc->u.string = img_strdup(value);
    if (doc && doc->u.string)
        return doc;
    img_doc_free(doc);
    return NULL;
}

struct img_doc *img_doc_array(void)
{
    return make(IMG_DOC_ARRAY);
}

struct img_doc *img_doc_object(void)
{
    return make(IMG_DOC_OBJECT);
}

static bool holds_members(const struct img_doc *doc)
{
    return doc->type == IMG_DOC_ARRAY || doc->type == IMG_DOC_OBJECT;
}

struct img_doc *img_doc_copy(const struct img_doc *doc)
{
    if (!doc)
        return NULL;
    if (doc->type == IMG_DOC_STRING)
        return img_doc_string(doc->u.string);
    struct img_doc *copy = make(doc->type);
    if (!copy)
        return NULL;
    copy->broken = doc->broken;
    if (!holds_members(doc)) {
        copy->u = doc->u;
        return copy;
    }
    for (size_t i = 0; i < doc->u.members.count; i++) {
        const struct member *member = &doc->u.members.at[i];
        if (doc->type == IMG_DOC_OBJECT)
            img_doc_put(copy, member->key, img_doc_copy(member->value));
        else
            img_doc_append(copy, img_doc_copy(member->value));
    }
    return copy;
}

/* The parser limits the depth of its input, so this recursion is bounded. */
void img_doc_free(struct img_doc *doc)
{
    if (!doc)
        return;
    if (doc->type == IMG_DOC_STRING)
        free(doc->u.string);
    if (holds_members(doc)) {
        for (size_t i = 0; i < doc->u.members.count; i++) {
            free(doc->u.members.at[i].key);
            img_doc_free(doc->u.members.at[i].value);
        }
        free(doc->u.members.at);
        free(doc->u.members.index);
    }
    free(doc);
}

bool img_doc_broken(const struct img_doc *doc)
{
    bool broken = !doc || doc->broken;
    for (size_t i = 0; !broken && i < img_doc_count(doc); i++)
        broken = img_doc_broken(doc->u.members.at[i].value);
    return broken;
}

enum img_doc_type img_doc_type(const struct img_doc *doc)
{
    return doc ? doc->type : IMG_DOC_NULL;
}

bool img_doc_get_bool(const struct img_doc *doc)
{
    return doc && doc->type == IMG_DOC_BOOL && doc->u.boolean;
}

int64_t img_doc_get_int(const struct img_doc *doc)
{
    if (doc && doc->type == IMG_DOC_INT)
        return doc->u.integer;
    if (doc && doc->type == IMG_DOC_UINT)
        return doc->u.natural > INT64_MAX ? INT64_MAX : (int64_t)doc->u.natural;
    return 0;
}

uint64_t img_doc_get_uint(const struct img_doc *doc)
{
    if (doc && doc->type == IMG_DOC_UINT)
        return doc->u.natural;
    if (doc && doc->type == IMG_DOC_INT)
        return doc->u.integer < 0 ? 0 : (uint64_t)doc->u.integer;
    return 0;
}

double img_doc_get_double(const struct img_doc *doc)
{
    switch (img_doc_type(doc)) {
    case IMG_DOC_DOUBLE:
        return doc->u.real;
    case IMG_DOC_INT:
        return (double)doc->u.integer;
    case IMG_DOC_UINT:
        return (double)doc->u.natural;
    default:
        return 0;
    }
}

const char *img_doc_get_string(const struct img_doc *doc)
{
    return doc && doc->type == IMG_DOC_STRING ? doc->u.string : NULL;
}

static bool is_integer(const struct img_doc *doc)
{
    return doc->type == IMG_DOC_INT || doc->type == IMG_DOC_UINT;
}

static bool integers_equal(const struct img_doc *a, const struct img_doc *b)
{
    bool a_negative = a->type == IMG_DOC_INT && a->u.integer < 0;
    bool b_negative = b->type == IMG_DOC_INT && b->u.integer < 0;
    /* If the signs are equal, both representations have the same bits. */
    return a_negative == b_negative && a->u.natural == b->u.natural;
}

bool img_doc_equal(const struct img_doc *a, const struct img_doc *b)
{
    if (!a || !b)
        return a == b;
    if (is_integer(a) && is_integer(b))
        return integers_equal(a, b);
    if (a->type != b->type)
        return false;
    switch (a->type) {
    case IMG_DOC_BOOL:
        return a->u.boolean == b->u.boolean;
    case IMG_DOC_DOUBLE:
        return a->u.real == b->u.real;
    case IMG_DOC_STRING:
        return strcmp(a->u.string, b->u.string) == 0;
    case IMG_DOC_ARRAY:
    case IMG_DOC_OBJECT:
        break;
    default:
        return true;
    }
    if (a->u.members.count != b->u.members.count)
        return false;
    for (size_t i = 0; i < a->u.members.count; i++) {
        const struct member *member = &a->u.members.at[i];
        const struct img_doc *other = a->type == IMG_DOC_OBJECT ? img_doc_get(b, member->key)
                                                                : b->u.members.at[i].value;
        if (!other || !img_doc_equal(member->value, other))
            return false;
    }
    return true;
}

size_t img_doc_count(const struct img_doc *doc)
{
    return doc && holds_members(doc) ? doc->u.members.count : 0;
}

struct img_doc *img_doc_at(const struct img_doc *doc, size_t index)
{
    return index < img_doc_count(doc) ? doc->u.members.at[index].value : NULL;
}

const char *img_doc_key_at(const struct img_doc *object, size_t index)
{
    return index < img_doc_count(object) ? object->u.members.at[index].key : NULL;
}

/* ---- Members by key -------------------------------------------------------- */

/* FNV-1a */
static uint32_t hash_of(const char *key)
{
    uint32_t hash = 2166136261u;
    for (; *key; key++)
        hash = (hash ^ (unsigned char)*key) * 16777619u;
    return hash;
}

static void index_insert(struct container *members, size_t position)
{
    size_t mask = members->index_size - 1;
    size_t slot = members->at[position].hash & mask;
    while (members->index[slot])
        slot = (slot + 1) & mask;
    members->index[slot] = position + 1;
}

static void index_drop(struct container *members)
{
    free(members->index);
    members->index = NULL;
    members->index_size = 0;
}

static void index_build(struct container *members)
{
    index_drop(members);
    members->index_size = 4 * HASH_FROM;
    while (members->index_size < members->count * 4)
        members->index_size *= 2;
    members->index = img_calloc(members->index_size, sizeof *members->index);
    /* Without memory the search stays linear. */
    for (size_t i = 0; members->index && i < members->count; i++)
        index_insert(members, i);
}

/* Position of the key, or count if there is none. */
static size_t position_of(const struct container *members, const char *key)
{
    uint32_t hash = hash_of(key);
    if (members->index) {
        size_t mask = members->index_size - 1;
        for (size_t slot = hash & mask; members->index[slot]; slot = (slot + 1) & mask) {
            const struct member *member = &members->at[members->index[slot] - 1];
            if (member->hash == hash && strcmp(member->key, key) == 0)
                return members->index[slot] - 1;
        }
        return members->count;
    }
    for (size_t i = 0; i < members->count; i++) {
        if (members->at[i].hash == hash && strcmp(members->at[i].key, key) == 0)
            return i;
    }
    return members->count;
}

static bool push(struct container *members, struct member member)
{
    if (members->count == members->capacity) {
        size_t capacity = members->capacity ? members->capacity * 2 : 8;
        struct member *at = img_realloc(members->at, capacity * sizeof *at);
        if (!at)
            return false;
        members->at = at;
        members->capacity = capacity;
    }
    members->at[members->count++] = member;
    return true;
}

void img_doc_append(struct img_doc *array, struct img_doc *value)
{
    if (array && value && push(&array->u.members, (struct member){ .value = value }))
        return;
    img_doc_free(value);
    if (array)
        array->broken = true;
}

void img_doc_break(struct img_doc *container)
{
    img_doc_append(container, NULL);
}

static bool push_with_key(struct img_doc *object, const char *key, struct img_doc *value)
{
    struct member member = { .key = object && key && value ? img_strdup(key) : NULL, .value = value };
    if (!member.key)
        return false;
    member.hash = hash_of(key);
    if (push(&object->u.members, member))
        return true;
    free(member.key);
    return false;
}

void img_doc_put(struct img_doc *object, const char *key, struct img_doc *value)
{
    struct container *members = object ? &object->u.members : NULL;
    size_t position = members && key ? position_of(members, key) : 0;
    if (members && key && value && position < members->count) {
        img_doc_free(members->at[position].value);
        members->at[position].value = value;
        return;
    }
    if (!push_with_key(object, key, value)) {
        img_doc_free(value);
        img_doc_break(object);
        return;
    }
    if (members->index && members->count * 2 <= members->index_size)
        index_insert(members, position);
    else if (members->count >= HASH_FROM)
        index_build(members);
}

struct img_doc *img_doc_get(const struct img_doc *object, const char *key)
{
    if (!object || object->type != IMG_DOC_OBJECT)
        return NULL;
    size_t position = position_of(&object->u.members, key);
    return position < object->u.members.count ? object->u.members.at[position].value : NULL;
}

struct img_doc *img_doc_take(struct img_doc *object, const char *key)
{
    if (!object || object->type != IMG_DOC_OBJECT)
        return NULL;
    struct container *members = &object->u.members;
    size_t position = position_of(members, key);
    if (position == members->count)
        return NULL;
    struct img_doc *value = members->at[position].value;
    free(members->at[position].key);
    members->count--;
    memmove(&members->at[position], &members->at[position + 1],
            (members->count - position) * sizeof *members->at);
    /* Positions have changed.  Search linearly until the next put builds a new index. */
    index_drop(members);
    return value;
}

void img_doc_remove(struct img_doc *object, const char *key)
{
    img_doc_free(img_doc_take(object, key));
}

void img_doc_put_string(struct img_doc *object, const char *key, const char *value)
{
    img_doc_put(object, key, img_doc_string(value));
}

void img_doc_put_bool(struct img_doc *object, const char *key, bool value)
{
    img_doc_put(object, key, img_doc_bool(value));
}

void img_doc_put_uint(struct img_doc *object, const char *key, uint64_t value)
{
    img_doc_put(object, key, img_doc_uint(value));
}

const char *img_doc_string_at(const struct img_doc *object, const char *key)
{
    return img_doc_get_string(img_doc_get(object, key));
}
