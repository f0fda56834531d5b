/* SPDX-License-Identifier: MIT */
/*
 * digest.c - plain and tree digests over the hash functions of hash.c; see digest.h
 * for the construction of a tree.
 *
 * A tree is kept as one running group per level.  Zero segments that fill
 * whole groups are added as nodes of a higher level, whose digests are computed once.
 */
#include "digest.h"
#include "hash.h"
#include "util/checked.h"
#include "util/endian.h"
#include "util/strbuf.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { LEVELS = 6 };        /* 1024^5 segments of 1 MiB are more than 2^64 bytes */

static uint8_t zero_page[64 << 10];

/* A segment of a tree: zeroes are only counted until the first non-zero byte. */
struct img_segment {
    const struct img_digest *digest;
    union hash_state state;
    uint64_t length, zeroes;    /* bytes hashed; zeroes after them, not yet hashed */
};

struct level {
    union hash_state group;
    unsigned members;           /* of the running group */
    uint64_t total;             /* digests added to this level */
    uint8_t first[IMG_HASH_MAX];
};

struct img_digest {
    const struct img_hash *hash;
    bool tree;
    uint64_t length;
    union hash_state state;     /* plain */
    struct img_segment *open;   /* tree: the segment being filled */
    struct level levels[LEVELS];
    uint8_t zero[LEVELS][IMG_HASH_MAX];     /* digest of an all-zero node of each level */
};

/* ---- Names ---------------------------------------------------------------------- */

static const struct img_hash *find(const char *name, size_t length)
{
    for (const struct img_hash *hash = img_hash_next(NULL); hash; hash = img_hash_next(hash))
        if ((strlen(hash->name) == length && !strncasecmp(hash->name, name, length)) ||
            (strlen(hash->tag) == length && !strncasecmp(hash->tag, name, length)))
            return hash;
    return NULL;
}

int img_digest_parse(const char *text, const struct img_hash **hash, bool *tree, struct img_error *err)
{
    size_t length = strlen(text);

    if (!img_hash_next(NULL))
        return img_error_set(err, ENOTSUP, "Digests are not built in (nettle was not there)");
    *tree = false;
    *hash = img_hash_next(NULL);
    if (!strcasecmp(text, "tree")) {
        *tree = true;
        return 0;
    }
    if (length > 5 && !strcasecmp(text + length - 5, "-tree")) {
        *tree = true;
        length -= 5;
    }
    *hash = find(text, length);
    if (!*hash)
        return img_error_set(err, EINVAL, "Unknown digest '%s'", text);
    return 0;
}

/* ---- Hashing ---------------------------------------------------------------------- */

static void hash_zeroes(const struct img_hash *hash, union hash_state *state, uint64_t length)
{
    while (length) {
        size_t n = img_min(length, sizeof zero_page);

        hash->add(state, zero_page, n);
        length -= n;
    }
}

/* Hash one piece. */
static void hash_piece(const struct img_hash *hash, const void *bytes, size_t length, uint8_t *result)
{
    union hash_state state;

    hash->start(&state);
    hash->add(&state, bytes, length);
    hash->finish(result, &state);
}

/* ---- Segments ---------------------------------------------------------------------- */

struct img_segment *img_segment_new(const struct img_digest *digest)
{
    struct img_segment *segment = img_calloc(1, sizeof *segment);

    if (!segment)
        return NULL;
    segment->digest = digest;
    digest->hash->start(&segment->state);
    return segment;
}

void img_segment_free(struct img_segment *segment)
{
    free(segment);
}

void img_segment_add_zeroes(struct img_segment *segment, uint64_t length)
{
    segment->zeroes += length;
}

void img_segment_add(struct img_segment *segment, const void *bytes, uint64_t length)
{
    const struct img_hash *hash = segment->digest->hash;

    if (img_is_zero(bytes, length)) {
        segment->zeroes += length;
        return;
    }
    hash_zeroes(hash, &segment->state, segment->zeroes);
    segment->length += segment->zeroes + length;
    segment->zeroes = 0;
    hash->add(&segment->state, bytes, length);
}

void img_segment_finish(struct img_segment *segment, uint8_t result[IMG_HASH_MAX])
{
    const struct img_hash *hash = segment->digest->hash;

    if (segment->length == 0 && segment->zeroes == IMG_DIGEST_SEGMENT) {
        memcpy(result, segment->digest->zero[0], hash->length);
    } else {
        hash_zeroes(hash, &segment->state, segment->zeroes);
        hash->finish(result, &segment->state);
        hash->start(&segment->state);
    }
    segment->length = segment->zeroes = 0;
}

/* ---- The tree ------------------------------------------------------------------------ */

static void add_node(struct img_digest *digest, unsigned at, const uint8_t *node);

static void close_group(struct img_digest *digest, unsigned at)
{
    struct level *level = &digest->levels[at];
    uint8_t node[IMG_HASH_MAX];

    digest->hash->finish(node, &level->group);
    level->members = 0;
    add_node(digest, at + 1, node);
}

static void add_node(struct img_digest *digest, unsigned at, const uint8_t *node)
{
    struct level *level = &digest->levels[at];

    if (level->total++ == 0)
        memcpy(level->first, node, digest->hash->length);
    if (level->members == 0)
        digest->hash->start(&level->group);
    digest->hash->add(&level->group, node, digest->hash->length);
    if (++level->members == IMG_DIGEST_FAN)
        close_group(digest, at);
}

static void add_zero_nodes(struct img_digest *digest, unsigned at, uint64_t count)
{
    struct level *level = &digest->levels[at];
    uint64_t groups;

    for (; count && level->members; count--)
        add_node(digest, at, digest->zero[at]);
    groups = count / IMG_DIGEST_FAN;
    if (groups && level->total == 0)
        memcpy(level->first, digest->zero[at], digest->hash->length);
    if (groups) {
        level->total += groups * IMG_DIGEST_FAN;
        add_zero_nodes(digest, at + 1, groups);
    }
    for (count %= IMG_DIGEST_FAN; count; count--)
        add_node(digest, at, digest->zero[at]);
}

/* Hash the remaining groups upwards until one digest is left. */
static void finish_tree(struct img_digest *digest, uint8_t *result)
{
    const struct img_hash *hash = digest->hash;
    union hash_state state;
    uint8_t length[8];
    unsigned at = 0;

    if (digest->open->length || digest->open->zeroes) {
        uint8_t last[IMG_HASH_MAX];

        img_segment_finish(digest->open, last);
        add_node(digest, 0, last);
    }
    for (; digest->levels[at].total > 1; at++)
        if (digest->levels[at].members)
            close_group(digest, at);
    hash->start(&state);
    if (digest->levels[at].total)
        hash->add(&state, digest->levels[at].first, hash->length);
    img_put_be64(length, digest->length);
    hash->add(&state, length, sizeof length);
    hash->finish(result, &state);
}

/* ---- Digests --------------------------------------------------------------------------- */

static bool prepare_zeroes(struct img_digest *digest)
{
    size_t length = digest->hash->length;
    uint8_t *group = img_malloc(IMG_DIGEST_FAN * length);
    union hash_state state;

    if (!group)
        return false;
    digest->hash->start(&state);
    hash_zeroes(digest->hash, &state, IMG_DIGEST_SEGMENT);
    digest->hash->finish(digest->zero[0], &state);
    for (unsigned at = 1; at < LEVELS; at++) {
        for (size_t i = 0; i < IMG_DIGEST_FAN; i++)
            memcpy(group + i * length, digest->zero[at - 1], length);
        hash_piece(digest->hash, group, IMG_DIGEST_FAN * length, digest->zero[at]);
    }
    free(group);
    return true;
}

struct img_digest *img_digest_new(const struct img_hash *hash, bool tree)
{
    struct img_digest *digest = img_calloc(1, sizeof *digest);

    if (!digest)
        return NULL;
    digest->hash = hash;
    digest->tree = tree;
    hash->start(&digest->state);
    if (!tree)
        return digest;
    digest->open = img_segment_new(digest);
    if (digest->open && prepare_zeroes(digest))
        return digest;
    img_digest_free(digest);
    return NULL;
}

void img_digest_free(struct img_digest *digest)
{
    if (digest)
        img_segment_free(digest->open);
    free(digest);
}

uint64_t img_digest_length(const struct img_digest *digest)
{
    return digest->length;
}

bool img_digest_is_tree(const struct img_digest *digest)
{
    return digest->tree;
}

/* Add up to `length` bytes (zeroes if `bytes` is NULL) to the open segment; returns how many it took. */
static uint64_t fill_segment(struct img_digest *digest, const void *bytes, uint64_t length)
{
    uint64_t n = img_min(length, IMG_DIGEST_SEGMENT - digest->length % IMG_DIGEST_SEGMENT);

    if (bytes)
        img_segment_add(digest->open, bytes, n);
    else
        img_segment_add_zeroes(digest->open, n);
    digest->length += n;
    if (digest->length % IMG_DIGEST_SEGMENT == 0) {
        uint8_t result[IMG_HASH_MAX];

        img_segment_finish(digest->open, result);
        add_node(digest, 0, result);
    }
    return n;
}

void img_digest_add(struct img_digest *digest, const void *bytes, uint64_t length)
{
    const uint8_t *at = bytes;

    if (!digest->tree) {
        digest->hash->add(&digest->state, bytes, length);
        digest->length += length;
        return;
    }
    while (length) {
        uint64_t n = fill_segment(digest, at, length);

        at += n;
        length -= n;
    }
}

void img_digest_add_zeroes(struct img_digest *digest, uint64_t length)
{
    if (!digest->tree) {
        hash_zeroes(digest->hash, &digest->state, length);
        digest->length += length;
        return;
    }
    while (length) {
        uint64_t whole = length / IMG_DIGEST_SEGMENT;

        if (digest->length % IMG_DIGEST_SEGMENT || whole == 0) {
            length -= fill_segment(digest, NULL, length);
        } else {
            add_zero_nodes(digest, 0, whole);
            digest->length += whole * IMG_DIGEST_SEGMENT;
            length -= whole * IMG_DIGEST_SEGMENT;
        }
    }
}

void img_digest_add_segment(struct img_digest *digest, const uint8_t result[IMG_HASH_MAX], uint64_t length)
{
    add_node(digest, 0, result);
    digest->length += length;
}

void img_digest_finish(struct img_digest *digest, uint8_t result[IMG_HASH_MAX])
{
    if (digest->tree)
        finish_tree(digest, result);
    else
        digest->hash->finish(result, &digest->state);
}
