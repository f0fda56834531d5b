/* SPDX-License-Identifier: MIT */
/*
 * The property list, as far as it is needed: the plain values of the outermost dictionary.  It is hostile text: nothing
 * in it is expanded, and nesting is counted, not followed.
 */
#include "sparsebundle.h"
#include <string.h>

#define WHAT SPARSEBUNDLE_PLIST ": "
#define TYPE "com.apple.diskimage.sparsebundle"

/* Longest supported disk and band. */
#define MAX_SIZE ((uint64_t)INT64_MAX & ~((1ull << 30) - 1))

struct span {
    const char *at;
    size_t length;
};

struct tag {
    struct span name;               /* "key", "/key" */
    bool empty;                     /* <dict/> */
};

struct text {
    const char *at, *end;
};

static bool is(struct span span, const char *text)
{
    return span.length == strlen(text) && memcmp(span.at, text, span.length) == 0;
}

static bool begins(const struct text *text, const char *with)
{
    size_t length = strlen(with);

    return (size_t)(text->end - text->at) >= length && memcmp(text->at, with, length) == 0;
}

/* Go behind the next `what`.  False: there is none. */
static bool go_behind(struct text *text, const char *what)
{
    const char *found = memmem(text->at, (size_t)(text->end - text->at), what, strlen(what));

    text->at = found ? found + strlen(what) : text->end;
    return found != NULL;
}

/* The next tag; comments, declarations and text in front of it are skipped.  False: there is none. */
static bool next_tag(struct text *text, struct tag *tag)
{
    while (go_behind(text, "<")) {
        if (begins(text, "!--")) {
            go_behind(text, "-->");
        } else if (begins(text, "?")) {
            go_behind(text, "?>");
        } else if (begins(text, "!")) {
            go_behind(text, ">");
        } else {
            const char *start = text->at;
            if (!go_behind(text, ">"))
                return false;
            size_t length = (size_t)(text->at - 1 - start), name = 0;
            tag->empty = length > 0 && start[length - 1] == '/';
            while (name < length - tag->empty && !strchr(" \t\r\n", start[name]))
                name++;
            tag->name = (struct span){ start, name };
            return true;
        }
    }
    return false;
}

/* The text up to the next tag. */
static struct span content(const struct text *text)
{
    const char *end = memchr(text->at, '<', (size_t)(text->end - text->at));

    return (struct span){ text->at, (size_t)((end ? end : text->end) - text->at) };
}

static int read_number(struct span value, const char *key, uint64_t *number, struct img_error *err)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < value.length; i++)
        if (value.at[i] < '0' || value.at[i] > '9' || !img_mul(sum, 10, &sum) ||
            !img_add(sum, (uint64_t)(value.at[i] - '0'), &sum))
            value.length = 0;
    if (value.length == 0)
        return img_error_set(err, EINVAL, WHAT "'%s' is no number of bytes", key);
    *number = sum;
    return 0;
}

struct values {
    struct sparsebundle_plist plist;
    uint64_t version;
    bool typed;
};

static int take(struct values *values, struct span key, struct span value, struct img_error *err)
{
    if (is(key, "size"))
        return read_number(value, "size", &values->plist.size, err);
    if (is(key, "band-size"))
        return read_number(value, "band-size", &values->plist.band_size, err);
    if (is(key, "bundle-backingstore-version"))
        return read_number(value, "bundle-backingstore-version", &values->version, err);
    if (is(key, "diskimage-bundle-type"))
        values->typed = is(value, TYPE);
    return 0;
}

static int judge(struct values *values, struct img_error *err)
{
    struct sparsebundle_plist *plist = &values->plist;

    if (!values->typed)
        return img_error_set(err, EINVAL, WHAT "not that of a sparse bundle");
    if (values->version != 1)
        return img_error_set(err, ENOTSUP, WHAT "version %llu is not supported", (unsigned long long)values->version);
    if (plist->band_size == 0 || plist->band_size % SPARSEBUNDLE_SECTOR || plist->band_size > MAX_SIZE)
        return img_error_set(err, EINVAL, WHAT "'band-size' is no number of sectors");
    if (plist->size == 0 || plist->size > MAX_SIZE)
        return img_error_set(err, EINVAL, WHAT "'size' is out of range");
    plist->size = img_align_up(plist->size, SPARSEBUNDLE_SECTOR);
    return 0;
}

int sparsebundle_parse(const char *bytes, size_t length, struct sparsebundle_plist *plist, struct img_error *err)
{
    struct text text = { bytes, bytes + length };
    struct values values = { .version = 1 };
    struct span key = { NULL, 0 };
    size_t depth = 0;
    struct tag tag;
    int ret = 0;

    while (ret == 0 && next_tag(&text, &tag)) {
        if (is(tag.name, "dict") || is(tag.name, "array"))
            depth += !tag.empty;
        else if ((is(tag.name, "/dict") || is(tag.name, "/array")) && depth > 0)
            depth--;
        else if (depth == 1 && (is(tag.name, "integer") || is(tag.name, "string")))
            ret = take(&values, key, content(&text), err);
        /* A key is for the element behind it only. */
        if (depth == 1 && is(tag.name, "key"))
            key = content(&text);
        else if (!is(tag.name, "/key"))
            key.length = 0;
    }
    if (ret == 0)
        ret = judge(&values, err);
    *plist = values.plist;
    return ret;
}
