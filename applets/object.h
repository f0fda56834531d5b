/* SPDX-License-Identifier: MIT */
/* object.h - shared by the files of --object. */
#ifndef OBJECT_H
#define OBJECT_H

#include "applet.h"

/* Print the error of an invalid definition and exit. */
_Noreturn void object_refuse(struct img_error *err);
_Noreturn void object_refuse_text(const char *format, ...) IMG_PRINTF(1, 2);

/* The type with this number, and the key of a secret: NULL after the last. */
const char *object_type_name(size_t index);
const char *object_secret_key(size_t index);

/* Refuse an id that is already in use. */
void object_refuse_known(const char *id);

/* Refuse an id that is no identifier. */
void object_check_id(const char *id);

/* object-throttle.c: define the throttle group `object`; `typed`: it was JSON, so numbers are numbers. */
void object_throttle(const struct img_doc *object, bool typed);
/* Print its keys with their types, for `throttle-group,help`. */
void object_throttle_help(void);

/* object-tls.c: define an object of its types; false: `type` is none of them.  Its id is there, but not checked. */
bool object_tls(const struct img_doc *object, const char *type, bool typed);
bool object_tls_help(const char *type);

#endif
