/* SPDX-License-Identifier: MIT */
/* throttle.h - the driver's side of throttle groups; img.h defines them. */
#ifndef IMG_THROTTLE_H
#define IMG_THROTTLE_H

#include "img.h"

struct img_throttle_group;

/* The group of that id, NULL: there is none. */
struct img_throttle_group *img_throttle_find(const char *id);
/* Wait until the group lets a request of `length` bytes pass, and count it.  Any thread. */
void img_throttle_wait(struct img_throttle_group *group, bool write, uint64_t length);

#endif
