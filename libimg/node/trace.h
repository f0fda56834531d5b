/* SPDX-License-Identifier: MIT */
/* trace.h - events at driver calls, to see the requests that an image gets (-T). */
#ifndef IMG_TRACE_H
#define IMG_TRACE_H

#include "driver.h"

/* Name, and the meaning of the two numbers. */
#define IMG_TRACES(X) \
    X(open, "size %llu flags %#llx") X(close, "size %llu flags %#llx") X(probe, "offset %llu length %llu") \
    X(map, "offset %llu length %llu") X(read, "offset %llu length %llu") X(write, "offset %llu length %llu") \
    X(zero, "offset %llu length %llu") X(discard, "offset %llu length %llu") \
    X(reserve, "offset %llu length %llu") X(publish, "offset %llu length %llu") \
    X(flush, NULL) X(lock, "perm %#llx shared %#llx") X(resize, "size %llu")

#define IMG_TRACE_MEMBER(name, format) IMG_TRACE_##name,
enum img_trace_event { IMG_TRACES(IMG_TRACE_MEMBER) IMG_TRACE_COUNT };

extern bool img_trace_on[IMG_TRACE_COUNT];
/* Write the line of an enabled event. */
void img_trace_line(enum img_trace_event event, const struct img *node, uint64_t first, uint64_t second);

/* IMG_TRACE(read, image, offset, length): costs one branch unless tracing is enabled. */
#define IMG_TRACE(name, node, first, second) \
    do { \
        if (__builtin_expect(img_trace_on[IMG_TRACE_##name], 0)) \
            img_trace_line(IMG_TRACE_##name, (node), (first), (second)); \
    } while (0)

#endif
