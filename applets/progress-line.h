/* SPDX-License-Identifier: MIT */
/* progress-line.h - what is told about work in progress, as text.  Times are nanoseconds of a clock of the caller. */
#ifndef PROGRESS_LINE_H
#define PROGRESS_LINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct progress_meter {
    uint64_t done, total;       /* total 0: nothing is known yet */
    bool steps;                 /* they count steps of some kind, not bytes */
    uint64_t start, now;
    struct progress_mark { uint64_t time, done; } older, newer;     /* the speed is that since `older` */
};
void progress_start(struct progress_meter *meter, uint64_t now);
void progress_tell(struct progress_meter *meter, uint64_t now, uint64_t done, uint64_t total);

/*
 * The line for a terminal with so many columns: percentage, bytes, speed, time left, as much as fits.  `ended`: speed and
 * time are those of the whole.  Returns its length.
 */
size_t progress_line(const struct progress_meter *meter, char *text, size_t size, size_t columns, bool ended);
/* A line of JSON with its newline.  Returns its length; 160 bytes are always enough. */
size_t progress_json(const struct progress_meter *meter, char *text, size_t size);

#endif
