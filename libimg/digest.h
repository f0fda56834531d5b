/* SPDX-License-Identifier: MIT */
/*
 * digest.h - digests of guest-visible content: the hash functions by name, and a
 * digest to which bytes and zeroes are added in order of their offsets.
 *
 * There are two constructions.  Plain: the hash of all bytes, as
 * sha256sum(1) and similar tools print it for the raw file.  Tree: the content is split
 * into segments of IMG_DIGEST_SEGMENT bytes (the last may be shorter), and each is hashed; then each group of
 * IMG_DIGEST_FAN digests of a level is concatenated and hashed to one digest of the next
 * level (the last group may be smaller), until one digest is left; the result is
 * the hash of that digest (nothing for empty content) followed by the length in bytes as a 64-bit big-endian number.
 * Segments are therefore hashed independently of each other, and zeroes of any length cost almost nothing.
 *
 * Errors as in img.h.  Threads may use different digests at the same time; one digest is for one thread at a time.
 */
#ifndef IMG_DIGEST_H
#define IMG_DIGEST_H

#include "img.h"

enum { IMG_HASH_MAX = 64, IMG_DIGEST_SEGMENT = 1 << 20, IMG_DIGEST_FAN = 1024 };

/* A hash function. */
struct img_hash;
/* Iterate over the built-in functions (none without nettle), the default first; NULL after the last. */
const struct img_hash *img_hash_next(const struct img_hash *previous);
const char *img_hash_name(const struct img_hash *hash);   /* "sha256" */
const char *img_hash_tag(const struct img_hash *hash);    /* "SHA256", as BSD tools and sha256sum --tag print it */
size_t img_hash_length(const struct img_hash *hash);      /* bytes, at most IMG_HASH_MAX */

/*
 * Parse the name of a digest: "sha256" (in any case), "sha256-tree" and so on, "tree" for the default hash.
 * -EINVAL: unknown; -ENOTSUP: no hash functions are built in.
 */
int img_digest_parse(const char *text, const struct img_hash **hash, bool *tree, struct img_error *err);

/* A digest in progress; NULL: out of memory. */
struct img_digest;
struct img_digest *img_digest_new(const struct img_hash *hash, bool tree);
void img_digest_free(struct img_digest *digest);          /* NULL is fine */
/* The next `length` bytes, or zeroes. */
void img_digest_add(struct img_digest *digest, const void *bytes, uint64_t length);
void img_digest_add_zeroes(struct img_digest *digest, uint64_t length);
/* Number of bytes added. */
uint64_t img_digest_length(const struct img_digest *digest);
/* Fill `result` with img_hash_length() bytes.  Nothing can be added afterwards. */
void img_digest_finish(struct img_digest *digest, uint8_t result[IMG_HASH_MAX]);

/*
 * For a tree: a whole segment, or the short one at the end, may be hashed separately in any thread
 * (in any order, without a lock).  Its digest is then added in order.
 */
bool img_digest_is_tree(const struct img_digest *digest);
struct img_segment;
struct img_segment *img_segment_new(const struct img_digest *digest);
void img_segment_free(struct img_segment *segment);
void img_segment_add(struct img_segment *segment, const void *bytes, uint64_t length);
void img_segment_add_zeroes(struct img_segment *segment, uint64_t length);
/* Get the digest; the segment is then empty and can be used again. */
void img_segment_finish(struct img_segment *segment, uint8_t result[IMG_HASH_MAX]);
/* Add this digest of `length` bytes of content; only at a multiple of IMG_DIGEST_SEGMENT. */
void img_digest_add_segment(struct img_digest *digest, const uint8_t result[IMG_HASH_MAX], uint64_t length);

#endif
