/* SPDX-License-Identifier: MIT */
/* info.h - the two halves of img-info: gathering what there is to say, and saying it to people. */
#ifndef INFO_H
#define INFO_H

#include "applet.h"

/* Everything about an open image, as the JSON object that info prints. */
struct img_doc *info_gather(struct img *image, bool limits);
/* The same as text. */
void info_print_human(const struct img_doc *info);
/* One snapshot as info shows it, and the table of an array of these. */
struct img_doc *info_snapshot(const struct img_snapshot *snapshot);
void info_print_snapshots(const struct img_doc *list, int indent);

#endif
