/* SPDX-License-Identifier: MIT */
/*
 * member.c - walks through the headers of a tar archive: POSIX.1-1988 (ustar), POSIX.1-2001 (pax), and GNU's long names
 * and sizes (the manual of GNU tar, "Basic Tar Format").
 */
#include "tar.h"
#include "../../libimg/util/checked.h"
#include "../../libimg/util/cleanup.h"
#include "../../libimg/util/strbuf.h"
#include <string.h>

enum { BLOCK = 512 };
/* The fields of a header. */
enum { NAME = 0, NAME_LENGTH = 100, SIZE = 124, SIZE_LENGTH = 12, SUM = 148, SUM_LENGTH = 8, TYPE = 156, MAGIC = 257,
       PREFIX = 345, PREFIX_LENGTH = 155 };
/* An archive may have many members, but a hostile one is not walked through for ever. */
enum { MOST_HEADERS = 4 << 20, MOST_EXTENDED = 1 << 20 };

/* What the headers before that of a member say about it. */
struct extended {
    char *name;
    bool has_size, sparse, sparse_name;
    uint64_t size;
};

/* ---- Fields --------------------------------------------------------------------------- */

/* False: no number, or too large. */
static bool get_number(const unsigned char *field, size_t length, uint64_t *number)
{
    *number = 0;
    if (field[0] & 0x80) {
        /* Binary, most significant byte first. */
        if (field[0] & 0x7f)
            return false;
        for (size_t i = 1; i < length; i++) {
            if (*number >> 55)
                return false;
            *number = *number << 8 | field[i];
        }
        return true;
    }
    while (length > 0 && *field == ' ')
        field++, length--;
    for (; length > 0 && *field >= '0' && *field <= '7'; field++, length--)
        *number = *number << 3 | (uint64_t)(*field - '0');
    return length == 0 || *field == ' ' || *field == '\0';
}

/* The sum counts its own field as blanks.  Old programs added signed bytes. */
static bool sum_matches(const unsigned char *head)
{
    uint64_t wanted;
    int64_t plain = 0, with_signs = 0;

    for (int i = 0; i < BLOCK; i++) {
        bool own = i >= SUM && i < SUM + SUM_LENGTH;
        plain += own ? ' ' : head[i];
        with_signs += own ? ' ' : (signed char)head[i];
    }
    return get_number(head + SUM, SUM_LENGTH, &wanted) && ((int64_t)wanted == plain || (int64_t)wanted == with_signs);
}

static char *name_of(const unsigned char *head)
{
    const char *name = (const char *)head + NAME, *prefix = (const char *)head + PREFIX;
    int length = (int)strnlen(name, NAME_LENGTH), before = (int)strnlen(prefix, PREFIX_LENGTH);

    /* GNU's own headers have other things there. */
    if (memcmp(head + MAGIC, "ustar\0", 6) != 0 || before == 0)
        return img_strndup(name, (size_t)length);
    return img_asprintf("%.*s/%.*s", before, prefix, length, name);
}

const char *tar_plain(const char *name)
{
    while (name[0] == '.' && name[1] == '/')
        name += 2 + strspn(name + 2, "/");
    return name;
}

/* ---- Extended headers ----------------------------------------------------------------------- */

static bool is_key(const char *at, size_t length, const char *key)
{
    return length == strlen(key) && memcmp(at, key, length) == 0;
}

/* One record of a pax header, "LENGTH KEY=VALUE\n"; `at` is behind the length. */
static int take_record(struct extended *more, const char *at, const char *end)
{
    const char *equals = memchr(at, '=', (size_t)(end - at));
    size_t key, length;
    bool named;

    if (!equals)
        return -EINVAL;
    key = (size_t)(equals - at);
    length = (size_t)(end - equals) - 1;
    more->sparse |= key > 11 && memcmp(at, "GNU.sparse.", 11) == 0;
    /* The path of a sparse file is another one, for programs that do not know it. */
    named = is_key(at, key, "GNU.sparse.name");
    if (named || (is_key(at, key, "path") && !more->sparse_name)) {
        more->sparse_name |= named;
        free(more->name);
        more->name = img_strndup(equals + 1, length);
        return more->name ? 0 : -ENOMEM;
    }
    if (!is_key(at, key, "size"))
        return 0;
    more->has_size = true;
    more->size = 0;
    for (const char *digit = equals + 1; digit < end; digit++) {
        if (*digit < '0' || *digit > '9' || !img_mul(more->size, 10, &more->size) ||
            !img_add(more->size, (uint64_t)(*digit - '0'), &more->size))
            return -EINVAL;
    }
    return length ? 0 : -EINVAL;
}

static int take_records(struct extended *more, const char *at, size_t length)
{
    while (length > 0 && *at) {
        size_t whole = 0, digits = 0;
        int ret;
        for (; digits < length && digits < 8 && at[digits] >= '0' && at[digits] <= '9'; digits++)
            whole = whole * 10 + (size_t)(at[digits] - '0');
        if (digits == 0 || whole > length || whole < digits + 3 || at[digits] != ' ' || at[whole - 1] != '\n')
            return -EINVAL;
        ret = take_record(more, at + digits + 1, at + whole - 1);
        if (ret < 0)
            return ret;
        at += whole;
        length -= whole;
    }
    return 0;
}

/* Is it a header about the next member?  1, 0, or a negative errno. */
static int take_extended(struct tar_walk *walk, struct extended *more, char type)
{
    CLEANUP_FREE char *text = NULL;
    int ret;

    if (type != 'x' && type != 'g' && type != 'L' && type != 'K' && type != 'X')
        return 0;
    /* The names of links, and what holds for all members, are not needed. */
    if (type == 'g' || type == 'K')
        return 1;
    if (walk->size > MOST_EXTENDED)
        return -EFBIG;
    text = img_malloc((size_t)walk->size + 1);
    if (!text)
        return -ENOMEM;
    ret = walk->size ? img_pread(walk->file, text, walk->start, (size_t)walk->size) : 0;
    if (ret < 0)
        return ret;
    text[walk->size] = '\0';
    if (type != 'L') {
        ret = take_records(more, text, (size_t)walk->size);
        return ret < 0 ? ret : 1;
    }
    free(more->name);
    more->name = text;
    text = NULL;
    return 1;
}

/* ---- Members ---------------------------------------------------------------------------------- */

static int bad_header(const struct tar_walk *walk, uint64_t at, int ret, struct img_error *err)
{
    if (ret == -ENOMEM)
        return img_error_memory(err);
    if (ret == -EINVAL && walk->count == 0)
        return img_error_set(err, ENODATA, "Not in tar format");
    if (ret == -EINVAL)
        return img_error_set(err, EINVAL, "The tar archive is damaged: no header at %llu", (unsigned long long)at);
    return img_error_errno(err, -ret, "Could not read the tar archive at %llu", (unsigned long long)at);
}

/* The member that this header describes.  Links and folders have no content, whatever their size says. */
static int describe(struct tar_walk *walk, const unsigned char *head, struct extended *more)
{
    char type = (char)head[TYPE], *name;

    walk->regular = type == '0' || type == '\0' || type == '7' || type == 'S';
    walk->sparse = type == 'S' || more->sparse;
    if (more->has_size)
        walk->size = more->size;
    name = more->name ? img_strdup(tar_plain(more->name)) : name_of(head);
    if (!name)
        return -ENOMEM;
    memmove(name, tar_plain(name), strlen(tar_plain(name)) + 1);
    free(walk->name);
    walk->name = name;
    return 0;
}

/* More headers of 512 bytes follow one of GNU's old sparse members. */
static int skip_sparse_map(struct tar_walk *walk, const unsigned char *head)
{
    unsigned char more[BLOCK];
    bool goes_on = head[TYPE] == 'S' && head[482];
    int ret = 0;

    while (goes_on && ret == 0 && walk->count++ < MOST_HEADERS &&
           img_within(walk->start, BLOCK, img_size(walk->file))) {
        ret = img_pread(walk->file, more, walk->start, BLOCK);
        goes_on = more[504];
        walk->start += BLOCK;
    }
    return ret;
}

/* Read the header at walk->next, which moves behind the content.  1: a member; 2: an extended header; 0: the end. */
static int read_header(struct tar_walk *walk, struct extended *more)
{
    unsigned char head[BLOCK];
    uint64_t size = img_size(walk->file), end;
    char type;
    int ret;

    if (walk->count++ >= MOST_HEADERS)
        return -EFBIG;
    /* Some programs leave out the zeroes at the end. */
    if (size < BLOCK || walk->next > size - BLOCK)
        return 0;
    ret = img_pread(walk->file, head, walk->next, BLOCK);
    if (ret < 0)
        return ret;
    if (img_is_zero(head, BLOCK))
        return 0;
    if (!sum_matches(head) || !get_number(head + SIZE, SIZE_LENGTH, &walk->size))
        return -EINVAL;
    walk->start = walk->next + BLOCK;
    type = (char)head[TYPE];
    if (type >= '1' && type <= '6')
        walk->size = 0;
    ret = take_extended(walk, more, type);
    if (ret == 0)
        ret = describe(walk, head, more) < 0 ? -ENOMEM : skip_sparse_map(walk, head);
    if (ret < 0)
        return ret;
    if (!img_add(walk->start, img_align_up(walk->size, BLOCK), &end) || end > INT64_MAX)
        return -EINVAL;
    walk->next = end;
    return ret ? 2 : 1;
}

int tar_next(struct tar_walk *walk, struct img_error *err)
{
    struct extended more = { 0 };
    uint64_t at = walk->next;
    int ret;

    do {
        at = walk->next;
        ret = read_header(walk, &more);
    } while (ret == 2);
    free(more.name);
    if (ret == -EINVAL && walk->count == 1)
        walk->count = 0;
    return ret < 0 ? bad_header(walk, at, ret, err) : ret;
}

void tar_end(struct tar_walk *walk)
{
    free(walk->name);
    walk->name = NULL;
}
