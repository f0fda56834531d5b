/* SPDX-License-Identifier: MIT */
/* object.h - what the files behind --object share. */
#ifndef OBJECT_H
#define OBJECT_H

#include "applet.h"

/* Print and end the process: a definition is bad. */
_Noreturn void object_refuse(struct img_error *err);
_Noreturn void object_refuse_text(const char *format, ...) IMG_PRINTF(1, 2);

/* Refuse an id that another object has. */
void object_refuse_known(const char *id);

/* object-throttle.c: the throttle-group that `object` describes; `typed`: it was JSON, numbers are numbers. */
void object_throttle(const struct img_doc *object, bool typed);
/* Its keys with their types, for `throttle-group,help`. */
void object_throttle_help(void);

#endif
