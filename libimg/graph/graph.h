/* SPDX-License-Identifier: MIT */
/* graph.h - how nodes are found, opened and put together; for the files of this room. */
#ifndef IMG_GRAPH_H
#define IMG_GRAPH_H

#include "io/io.h"

/* probe.c ----------------------------------------------------------------- */

/* The format of what lies in `file`, by its first bytes and the name under which it was asked for ("" where that came as
 * an option); raw when nothing else fits. */
const struct img_driver *img_probe(struct img *file, const char *name, struct img_error *err);
/* A raw image whose format was guessed must not be made to look like another one: -EPERM when this write would. */
int img_probe_guard(struct img *image, const void *buffer, uint64_t offset, size_t length);
/* Say that writing to a guessed raw image is restricted. */
void img_probe_warn(const struct img *image);

/* gate.c ------------------------------------------------------------------ */

/* May the file `name` that `image` names as its `role` ("backing", "data-file", "extent") be opened? */
int img_gate_check(const struct img *image, const char *role, const char *name, struct img_error *err);
/* The folder in which the files that `image` names have to lie, wherever links in it lead: its own, where an image of
 * the format may be a folder.  Caller frees; NULL: they may lie anywhere. */
char *img_gate_folder(const struct img *image);

/* open.c ------------------------------------------------------------------ */

/* Open a protocol by its plain name for create.c. */
int img_open_protocol(struct img **image, const char *name, unsigned flags, unsigned perm, unsigned shared,
                      struct img_error *err);

#endif
