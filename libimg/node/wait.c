/* SPDX-License-Identifier: MIT */
/* wait.c - lets a driver wait until the job that called it is stopped. */
#include "node.h"
#include "util/stop.h"

int img_sleep(struct img *image, uint64_t nanoseconds)
{
    return img_stop_sleep(img_node_of(image)->stop, nanoseconds);
}

int img_stop_descriptor(struct img *image)
{
    return img_stop_fd(img_node_of(image)->stop);
}

void img_node_set_stop(struct img *image, struct img_stop *stop)
{
    struct img *child;
    const char *name;

    img_node_of(image)->stop = stop;
    for (size_t i = 0; (child = img_child_at(image, i, &name)); i++)
        img_node_set_stop(child, stop);
}
