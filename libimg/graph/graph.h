/* SPDX-License-Identifier: MIT */
/* graph.h - finds, opens and connects nodes; for the files of this room. */
#ifndef IMG_GRAPH_H
#define IMG_GRAPH_H

#include "io/io.h"

/* probe.c ----------------------------------------------------------------- */

/* What is looked at.  As in qemu-img: a mark further on is not found. */
enum { IMG_PROBE_BYTES = 512 };
struct img_head {
    uint8_t bytes[IMG_PROBE_BYTES];
    size_t length;              /* of the file, if it is shorter */
};
int img_probe_read(struct img *file, struct img_head *head, struct img_error *err);
/* Probe the format of `file` by its first bytes and by the name that it was asked for ("" if that was an option); raw
 * if nothing else matches. */
const struct img_driver *img_probe(struct img *file, const struct img_head *head, const char *name,
                                   struct img_error *err);
/* Is it the name that makes it an image, whatever it begins with?  (A disk image of Apple may begin with a block that is
 * compressed.) */
bool img_probe_by_name(struct img *file, const struct img_head *head, const char *name);
/* The adapter that reads what the first bytes say is inside: a compressed file, an archive.  NULL: there is none. */
const struct img_driver *img_probe_wrapper(const struct img_head *head);
/* A raw image whose format was guessed must not become another format: -EPERM if this write would do that. */
int img_probe_guard(struct img *image, const void *buffer, uint64_t offset, size_t length);
/* Warn that writing to a guessed raw image is restricted. */
void img_probe_warn(const struct img *image);

/* advice.c ---------------------------------------------------------------- */

/* Advice for a bitmap that was not found: the names of those that there are. */
void img_bitmaps_advise(struct img *image, struct img_error *err);

/* content.c --------------------------------------------------------------- */

/* What a file with this beginning looks like that no format claims.  NULL: a disk, or its end tells. */
const struct img_content *img_content_by_head(const struct img_head *head);
/* A raw image that was probed begins like this: if it is no disk, advise, or refuse it if that was asked for.  The end of
 * the file is only looked at if somebody is told. */
int img_content_judge(const struct img_content *content, struct img *file, const char *name, struct img_error *err);

/* gate.c ------------------------------------------------------------------ */

/* May the file `name` that `image` names as its `role` ("backing", "data-file", "extent") be opened? */
int img_gate_check(const struct img *image, const char *role, const char *name, struct img_error *err);
/* The folder that must contain the files which `image` names, after links are resolved: its own, if an image of the
 * format may be a folder.  Caller frees; NULL: anywhere. */
char *img_gate_folder(const struct img *image);

/* open.c ------------------------------------------------------------------ */

/* Open a protocol by its plain name, for create.c. */
int img_open_protocol(struct img **image, const char *name, unsigned flags, unsigned perm, unsigned shared,
                      struct img_error *err);

#endif
