/* SPDX-License-Identifier: MIT */
/*
 * compare.h - the walk of img-compare over a range of two images: extents that
 * are zero in both are skipped, the others are read by several threads.
 */
#ifndef COMPARE_H
#define COMPARE_H

#include "applet.h"

enum compare_result {
    COMPARE_SAME,
    COMPARE_CONTENT,        /* the content differs at `offset` (start of a sector) */
    COMPARE_STATUS,         /* strict: the allocation differs at `offset` */
    COMPARE_MAP_FAILED,     /* `side` could not be mapped: `code` */
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
    /* Called in order of offsets, by one thread at a time: everything below `done` is equal. */
    void (*progress)(void *context, uint64_t done);
    void *context;
};

/* Compare the range; returns the finding with the lowest offset, or COMPARE_SAME. */
struct compare_finding compare_images(const struct compare *what);

#endif
