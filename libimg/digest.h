/* SPDX-License-Identifier: MIT */
/*
 * digest.h - digests of what a guest sees: the hash functions by name, and a
 * digest that is fed with bytes and with zeroes in order of their offsets.
 *
 * Two constructions.  Plain: the hash of all bytes, the figure that
 * sha256sum(1) and its like print for the raw file.  Tree: the content is cut
 * into segments of IMG_DIGEST_SEGMENT bytes, the last may be shorter, and each is hashed; then each
 * IMG_DIGEST_FAN digests of a level are put one behind the other and hashed to one of the next
 * level, the last group may be smaller, until one digest is left; the result is
 * the hash of that digest (none for empty content) and the length in bytes as 8 bytes, high byte first.
 * So segments are hashed independently of each other, and zeroes cost next to nothing whatever their length.
 *
 * Errors as in img.h.  Different digests may be used by different threads at once, one by one thread at a time.
 */
#ifndef IMG_DIGEST_H
#define IMG_DIGEST_H

#include "img.h"

enum { IMG_HASH_MAX = 64, IMG_DIGEST_SEGMENT = 1 << 20, IMG_DIGEST_FAN = 1024 };

/* A hash function. */
struct img_hash;
/* Walk all that are built in (none without libmd), the usual one first; NULL after the last. */
const struct img_hash *img_hash_next(const struct img_hash *previous);
const char *img_hash_name(const struct img_hash *hash);   /* "sha256" */
const char *img_hash_tag(const struct img_hash *hash);    /* "SHA256", as BSD's tools and sha256sum --tag print it */
size_t img_hash_length(const struct img_hash *hash);      /* bytes, at most IMG_HASH_MAX */

/*
 * Which digest `text` asks for: "sha256" (in any case), "sha256-tree" and so on, "tree" for the usual hash.  Fails with
 * -EINVAL for an unknown one and -ENOTSUP where none are built in.
 */
int img_digest_parse(const char *text, const struct img_hash **hash, bool *tree, struct img_error *err);

/* One digest that is being computed; ends the process when memory runs out, as documents do. */
struct img_digest;
struct img_digest *img_digest_new(const struct img_hash *hash, bool tree);
void img_digest_free(struct img_digest *digest);          /* NULL is fine */
/* The next `length` bytes, or zeroes. */
void img_digest_add(struct img_digest *digest, const void *bytes, uint64_t length);
void img_digest_add_zeroes(struct img_digest *digest, uint64_t length);
/* Bytes so far. */
uint64_t img_digest_length(const struct img_digest *digest);
/* Fill `result` with img_hash_length() bytes.  Nothing can be added after it. */
void img_digest_finish(struct img_digest *digest, uint8_t result[IMG_HASH_MAX]);

/*
 * For a tree: one whole segment, or the short one at the end, may be hashed by itself in any thread
 * (no order, no lock) and its digest added in its turn.
 */
bool img_digest_is_tree(const struct img_digest *digest);
struct img_segment;
struct img_segment *img_segment_new(const struct img_digest *digest);
void img_segment_free(struct img_segment *segment);
void img_segment_add(struct img_segment *segment, const void *bytes, uint64_t length);
void img_segment_add_zeroes(struct img_segment *segment, uint64_t length);
/* Its digest; the segment is then empty and ready for the next one. */
void img_segment_finish(struct img_segment *segment, uint8_t result[IMG_HASH_MAX]);
/* Add that digest, of `length` bytes of content; only at a multiple of IMG_DIGEST_SEGMENT. */
void img_digest_add_segment(struct img_digest *digest, const uint8_t result[IMG_HASH_MAX], uint64_t length);

#endif
