/* SPDX-License-Identifier: MIT */
/*
 * storage.h - where the bytes of an open file lie: in a file, or on a device, which may itself lie in a file (a loop
 * device), on a part of another device (a partition), or on several (device mapper, RAID).
 */
#ifndef IMG_UTIL_STORAGE_H
#define IMG_UTIL_STORAGE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct img_layer {
    bool device;                    /* `id` is the number of a block device; else dev and ino are those of a file */
    dev_t id;
    ino_t ino;
    uint64_t start, end;            /* the bytes lie in this range of it */
    bool somewhere;                 /* they are some of this range, and nobody knows which */
};

enum { IMG_STORAGE_LAYERS = 32 };

/* The first layer is the open file itself; a stack that is higher or wider than this is not followed to its ends. */
struct img_storage {
    struct img_layer layers[IMG_STORAGE_LAYERS];
    unsigned count;                 /* 0: neither a regular file nor a block device */
};

/* The bytes [start, end) of an open file. */
void img_storage_of(int fd, uint64_t start, uint64_t end, struct img_storage *storage);
/* Does a write to one change the other? */
bool img_storage_meets(const struct img_storage *a, const struct img_storage *b);

#endif
