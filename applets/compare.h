/* SPDX-License-Identifier: MIT */
/*
 * compare.h - the pairwise walk behind img-compare: two images over one range,
 * extents that both call zero skipped, the others read by several threads.
 */
#ifndef COMPARE_H
#define COMPARE_H

#include "../libimg/img.h"

enum compare_result {
    COMPARE_SAME,
    COMPARE_CONTENT,        /* the bytes differ at `offset` (of a sector) */
    COMPARE_STATUS,         /* strict: what is allocated differs at `offset` */
    COMPARE_MAP_FAILED,     /* `side` could not say what is where: `code` */
    COMPARE_READ_FAILED     /* `side` could not be read: `code` */
};

struct compare_finding {
    enum compare_result result;
    uint64_t offset;
    unsigned side;          /* 0 or 1 */
    int code;               /* positive errno */
};

struct compare {
    struct img *images[2];  /* the second may be NULL: all zeroes */
    uint64_t start, end;
    bool strict;
    /* Called in order of the offsets, by one thread at a time: everything below `done` has been found equal. */
    void (*progress)(void *context, uint64_t done);
    void *context;
};

/* Walk the range; the first finding in order of the offsets, or COMPARE_SAME. */
struct compare_finding compare_images(const struct compare *what);

#endif
