/* SPDX-License-Identifier: MIT */
/*
 * offload.c - lets the kernel copy data between the storages, without passing them through this process.
 *
 * By default only by sharing blocks: copying in the kernel was measured to be slower than reading and writing in pieces
 * that stay in the processor's cache.  Offloaded data are not read with their window, but later if offloading fails.
 */
#include "internal.h"
#include "driver.h"
#include "util/checked.h"

enum copy_offload copy_choose_offload(const struct img_copy *what)
{
    const struct img *target = what->target;

    if (!target || what->compress || what->digest || what->rebase || what->salvage || what->grow_target ||
        target->detect_zeroes || target->probed)
        return OFFLOAD_NONE;
    if (!(target->driver->traits & IMG_PASS_THROUGH) && !img_places(target))
        return OFFLOAD_NONE;
    if (what->offload)
        return OFFLOAD_COPY;
    return what->keep_data || !what->sparse ? OFFLOAD_SHARE : OFFLOAD_NONE;
}

bool copy_leaves_data(const struct copy_job *job, struct img_extent *extent)
{
    uint64_t end = extent->offset + extent->length;
    uint64_t first = img_align_up(extent->offset, job->write_unit), last = img_align_down(end, job->write_unit);

    if (job->offload == OFFLOAD_NONE || extent->kind != IMG_DATA || !extent->host_valid || extent->via ||
        extent->stale || extent->missing || !extent->file->driver->copy_range || first >= last)
        return false;
    extent->length = (first > extent->offset ? first : last) - extent->offset;
    return first == extent->offset;
}

bool copy_offload(struct copy_job *job, struct img *from, uint64_t host, struct img *to, uint64_t to_host,
                  uint64_t length)
{
    enum copy_offload how = job->offload;
    int ret;

    if (how == OFFLOAD_NONE || to->driver != from->driver)
        return false;
    ret = img_copy_range(from, host, to, to_host, length, how == OFFLOAD_SHARE);
    if (ret == -ENOTSUP)
        job->offload = OFFLOAD_NONE;
    return ret == 0;
}

int copy_fetch(struct copy_worker *worker, const struct copy_window *window, const struct span *span)
{
    unsigned char *bytes = worker->buffer + (span->offset - window->offset);
    int ret = span->from ? img_pread(span->from, bytes, span->host, span->length) : 0;

    return ret < 0 ? copy_fail(worker->job, IMG_COPY_READING, span->offset, ret) : 0;
}
