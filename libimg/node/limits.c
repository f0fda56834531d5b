/* SPDX-License-Identifier: MIT */
/* limits.c - the limits of a node: it inherits those of its children, and its driver refines them. */
#include "node.h"
#include "util/checked.h"

static uint64_t tighter(uint64_t a, uint64_t b)
{
    return a == 0 || (b && b < a) ? b : a;
}

/* The limits of a transfer hold for every node that a request passes on its way down. */
static void take_transfers(struct img_limits *limits, const struct img_limits *below)
{
    limits->opt_transfer = below->opt_transfer;
    limits->max_transfer = below->max_transfer;
    limits->max_hw_transfer = below->max_hw_transfer;
    limits->min_mem_alignment = below->min_mem_alignment;
    limits->opt_mem_alignment = below->opt_mem_alignment;
    limits->max_iov = (int)tighter((uint64_t)limits->max_iov, (uint64_t)below->max_iov);
    limits->max_hw_iov = below->max_hw_iov;
}

static void take_requests(struct img_limits *limits, const struct img_limits *below)
{
    limits->requests = (uint32_t)img_max(limits->requests, below->requests);
    limits->piece = (uint32_t)img_max(limits->piece, below->piece);
    limits->round_trip |= below->round_trip;
}

void img_limits_inherit(struct img *image)
{
    const struct img_limits *below = image->file ? &image->file->limits : NULL;
    struct img_limits *limits = &image->limits;

    *limits = (struct img_limits){ .request_alignment = 1, .memory_alignment = 1, .min_mem_alignment = 512,
                                   .opt_mem_alignment = 4096, .max_iov = 1024 };
    if (!below)
        return;
    if (image->driver->traits & IMG_PASS_THROUGH) {
        *limits = *below;
        return;
    }
    take_transfers(limits, below);
    take_requests(limits, below);
    limits->forward = below->forward;
    if (image->driver->kind == IMG_FILTER) {
        limits->cluster = below->cluster;
        limits->write_unit = below->write_unit;
    }
}

/* Requests are whole blocks. */
static uint64_t whole_blocks(const struct img_limits *limits, uint64_t most)
{
    return most ? img_max(img_align_down(most, limits->request_alignment), limits->request_alignment) : 0;
}

void img_limits_settle(struct img *image)
{
    struct img_limits *limits = &image->limits;
    struct img *child;
    const char *name;

    limits->max_transfer = whole_blocks(limits, limits->max_transfer);
    limits->max_write_zeroes = whole_blocks(limits, limits->max_write_zeroes);
    limits->max_discard = whole_blocks(limits, limits->max_discard);
    for (size_t i = 0; (child = img_child_at(image, i, &name)); i++)
        if (child != image->backing)
            take_requests(&image->limits, &child->limits);
}

const struct img_limits *img_limits(const struct img *image)
{
    return &image->limits;
}

void img_reach_add(struct img_reach *reach, const struct img *image)
{
    for (; image; image = img_backing(image)) {
        reach->requests = (uint32_t)img_max(reach->requests, image->limits.requests);
        reach->piece = (uint32_t)img_max(reach->piece, image->limits.piece);
        reach->round_trip |= image->limits.round_trip;
        if (image->limits.forward && (!reach->forward || image->limits.forward < reach->forward))
            reach->forward = image->limits.forward;
    }
}

uint32_t img_cluster_size(const struct img *image)
{
    return image->limits.cluster;
}

uint32_t img_write_unit(const struct img *image)
{
    const struct img_limits *limits = &image->limits;

    if (limits->write_unit)
        return limits->write_unit;
    return limits->cluster ? limits->cluster : 1;
}
