/* SPDX-License-Identifier: MIT */
/* throttle.h - the driver's side of throttle groups; img.h defines them. */
#ifndef IMG_THROTTLE_H
#define IMG_THROTTLE_H

#include "img.h"

struct img_throttle_group;

/* The group with that id; NULL: none. */
struct img_throttle_group *img_throttle_find(const char *id);
/* Does the group let a request of `length` bytes pass?  0: yes, and it is counted; else the nanoseconds to wait before
 * asking again.  Thread-safe. */
uint64_t img_throttle_pass(struct img_throttle_group *group, bool write, uint64_t length);

#endif
