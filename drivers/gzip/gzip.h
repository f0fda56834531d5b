/* SPDX-License-Identifier: MIT */
/* gzip.h - the decoders of gzip files (inflate.c), and the headers of members (gzip.c). */
#ifndef IMG_GZIP_H
#define IMG_GZIP_H

#include "../../libimg/driver.h"
#include "../../libimg/io/unpacked.h"
#include <string.h>
#include <zlib.h>

/* Skip the header of a member.  1; 0: the file ends before; -EINVAL: there is none; or another negative errno. */
int gzip_skip_header(struct img_input *input);

/* BGZF: the most content of a member, and the bytes in which its header must tell the length of the member. */
enum { GZIP_BGZF_MAX = 64 << 10, GZIP_BGZF_HEAD = 64 };
/* The length of the member that begins with this header; 0: it does not say. */
uint32_t gzip_bgzf_length(const unsigned char *head, size_t length);

/* ---- inflate.c ---------------------------------------------------------------- */

/* A stream of deflate. */
struct inflater {
    z_stream stream;
    bool alive;                     /* the stream is initialised */
    bool ended, between;            /* at the end of it; between two of its blocks */
    unsigned char last;             /* the byte that was used last */
    struct img_input input;
};

/* What is needed to begin between two blocks of deflate, that are in the middle of a byte. */
struct gzip_state {
    unsigned bits, byte;            /* how many bits of the byte before are to be used, and this byte */
    unsigned length;
    unsigned char window[32 << 10]; /* the content before */
};

/* The stream begins here.  1 or a negative errno. */
int gzip_reset(struct inflater *in);
/* Decode at most *got bytes; *got: how many it was.  With `blocks`, pause between two blocks.  1; 0: the file ends
 * before; -EIO: not deflate; -ENOMEM. */
int gzip_inflate(struct inflater *in, unsigned char *to, size_t *got, bool blocks);
void gzip_save(struct inflater *in, struct gzip_state *state);
void gzip_end(struct inflater *in);

extern const struct img_unpacking gzip_unpacking, gzip_bgzf_unpacking;

#endif
