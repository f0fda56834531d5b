/* SPDX-License-Identifier: MIT */
/* source.h - images that are read, and that may come through standard input, a pipe or a descriptor. */
#ifndef SOURCE_H
#define SOURCE_H

#include "applet.h"

/* source.c ------------------------------------------------------------------------ */

enum app_source_kind {
    APP_NAMED,          /* a name, for img_open */
    APP_INPUT_FILE,     /* standard input ("-") that is a file at its start, or a device: opened like one */
    APP_PIPE            /* can only be read forward, under whatever name */
};
enum app_source_kind app_source_kind(const char *name);

/* What the reader needs. */
struct app_reading {
    bool sized;                 /* the length of the disk at once */
    bool any_order;             /* bytes in any order, or more than once */
    bool exact;                 /* the bytes of a raw input are not rounded up to sectors, also if it is a file */
    const char *folder;         /* for what must be saved; NULL: that of temporary files */
};

/* One of image and intake is set; or both, then the image is read from the intake. */
struct app_source {
    struct img *image;
    struct img_intake *intake;  /* without an image: raw bytes of unknown length */
    bool part;                  /* the rest of it is not wanted */
    bool poured;                /* the intake reads no descriptor of the user's, but a storage */
    int fd, spool;              /* descriptors that belong to it; -1: none */
};
#define APP_SOURCE_INIT { .fd = -1, .spool = -1 }

/*
 * Open the source `name` for reading: `-`, /dev/stdin, /dev/fd/N, a named pipe, or the name of an image.  What comes
 * through a pipe is probed, and saved to a file if it cannot be read as it comes.  Returns 0, or -1 after a message;
 * then nothing is open.
 */
int app_open_source(struct app_source *source, const char *name, const struct img_open *how,
                    const struct app_reading *reading);
/* Close it; an error changes status 0 to 1.  After success the writer of a pipe gets to write all of it. */
int app_close_source(struct app_source *source, int status);
/* Is it raw bytes whose length is not known? */
static inline bool app_is_raw_stream(const struct app_source *source)
{
    return source->intake && !source->image;
}

/* spool.c --------------------------------------------------------------------------- */

/* The folder in which to save input for this target; NULL: for none.  Caller frees. */
char *app_spool_folder(const char *target);
/* Save all that is left of the input in an unnamed file.  Returns its descriptor, or -1 after a message. */
int app_spool(struct img_intake *intake, const char *folder);

#endif
