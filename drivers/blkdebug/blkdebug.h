/* SPDX-License-Identifier: MIT */
/*
 * blkdebug.h - rules for errors on demand.
 * Description: "Block I/O error injection using blkdebug" of the QEMU documentation, and the QMP reference
 * (BlkdebugInjectErrorOptions, BlkdebugSetStateOptions).
 *
 *   rules.c     rules from options and from a configuration file
 *   blkdebug.c  the filter
 */
#ifndef BLKDEBUG_H
#define BLKDEBUG_H

#include "../../libimg/driver.h"
#include "../../libimg/util/vector.h"

enum blkdebug_type { BLKDEBUG_READ = 1, BLKDEBUG_WRITE = 2, BLKDEBUG_ZERO = 4, BLKDEBUG_DISCARD = 8,
                     BLKDEBUG_FLUSH = 16, BLKDEBUG_MAP = 32 };

struct blkdebug_rule {
    bool sets_state;                /* otherwise it injects an error */
    enum img_event event;
    uint64_t state;                 /* state in which it applies; 0: any */
    uint64_t new_state;
    unsigned types;                 /* enum blkdebug_type */
    int code;
    bool any_sector, once;
    uint64_t sector;
    bool active;                    /* its event has occurred */
    bool used;                      /* `once`, and it has fired */
};

struct blkdebug {
    pthread_mutex_t lock;           /* rules, state */
    IMG_VECTOR(struct blkdebug_rule) rules;
    uint64_t state;
    uint64_t align, max_transfer, max_zero, opt_zero, max_discard, opt_discard;   /* 0: not given */
};

/* Take the rules of the "inject-error" and "set-state" options out of `options`. */
int blkdebug_take_rules(struct blkdebug *debug, struct img_doc *options, struct img_error *err);
/* Read the rules of a file. */
int blkdebug_read_config(struct blkdebug *debug, const char *name, struct img_error *err);

#endif
