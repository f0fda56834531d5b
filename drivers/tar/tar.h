/* SPDX-License-Identifier: MIT */
/* tar.h - the headers of an archive (member.c), and the choice of a member (tar.c). */
#ifndef IMG_TAR_H
#define IMG_TAR_H

#include "../../libimg/driver.h"

/* A place in the archive, and the member there. */
struct tar_walk {
    struct img *file;
    uint64_t next;              /* the header of the next member */
    uint64_t count;             /* headers so far */
    char *name;                 /* without "./" in front */
    uint64_t start, size;       /* its content */
    bool regular;
    bool sparse;                /* its content is not stored as it is */
};

/* Go to the next member.  1; 0: there is no more; or a negative errno with *err set. */
int tar_next(struct tar_walk *walk, struct img_error *err);
void tar_end(struct tar_walk *walk);
/* The name as tar_next shows it. */
const char *tar_plain(const char *name);

#endif
