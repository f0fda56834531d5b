/* SPDX-License-Identifier: MIT */
/*
 * intake.h - the storage that an intake (img.h) is for a format; for graph/forward.c and the copy engine.
 *
 * While an image is opened and its map is walked, all that was read is kept, up to IMG_INTAKE_HEAD bytes: the tables of
 * an image that can be read forward are there.  From img_intake_seal on only the head and the last IMG_INTAKE_WINDOW
 * bytes can be read again, so that several readers may be a little apart.  Any other read fails with -ESPIPE.
 */
#ifndef IMG_IO_INTAKE_H
#define IMG_IO_INTAKE_H

#include "io.h"

enum { IMG_INTAKE_HEAD = 32 << 20, IMG_INTAKE_WINDOW = 16 << 20 };

/* What fills the descriptor, in this process. */
struct img_feed {
    int (*result)(struct img_feed *feed);   /* after the end of the input: did all of it come?  0 or a negative errno */
    void (*end)(struct img_feed *feed);     /* stop, and free it with the descriptor */
};
/* From now on it belongs to the intake. */
void img_intake_set_feed(struct img_intake *intake, struct img_feed *feed);

/* Keep the first bytes, at least so many if they come. */
int img_intake_keep(struct img_intake *intake, uint64_t length);
/* How many are kept for good; is that all of the input? */
uint64_t img_intake_kept(const struct img_intake *intake);
bool img_intake_is_whole(const struct img_intake *intake);
/* The storage, which does not own the intake.  Without limits.forward if it is whole. NULL: out of memory. */
struct img *img_intake_node(struct img_intake *intake);
/* Did a read fail with -ESPIPE, or can no more be kept? */
bool img_intake_refused(const struct img_intake *intake);
/* From now on, reads go forward.  `due`: an input that ends at this byte or before it is cut short. */
void img_intake_seal(struct img_intake *intake, uint64_t due);
/* End waiting for input when `stop` is asked; NULL: no more. */
void img_intake_set_stop(struct img_intake *intake, const struct img_stop *stop);
const char *img_intake_name(const struct img_intake *intake);

#endif
