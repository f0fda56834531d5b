/* SPDX-License-Identifier: MIT */
/* info.h - the two halves of img-info: gathering the information, and printing it as text. */
#ifndef INFO_H
#define INFO_H

#include "applet.h"

/* The information about an open image, as the JSON object that info prints. */
struct img_doc *info_gather(struct img *image, bool limits);
/* Print it as text. */
void info_print_human(const struct img_doc *info);
/* One snapshot as info shows it; print an array of them as a table. */
struct img_doc *info_snapshot(const struct img_snapshot *snapshot);
void info_print_snapshots(const struct img_doc *list, int indent);

/* info-foreign.c: warn if a raw disk is encrypted by another system, as far as its first bytes tell. */
void info_name_foreign(struct img *image, const char *name);

#endif
