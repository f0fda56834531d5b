/* SPDX-License-Identifier: MIT */
/*
 * event.h - events in a format driver that a blkdebug node below it may act on.  The names are those of BlkdebugEvent
 * in the QMP reference.  blkdebug also accepts the other names, which no driver here raises.
 */
#ifndef IMG_EVENT_H
#define IMG_EVENT_H

#define IMG_EVENTS(X) \
    X(l1_update) X(l1_grow_alloc_table) X(l1_grow_write_table) X(l1_grow_activate_table) X(l2_load) X(l2_update) \
    X(l2_update_compressed) X(l2_alloc_cow_read) X(l2_alloc_write) X(read_aio) X(read_backing_aio) \
    X(read_compressed) X(write_aio) X(write_compressed) X(vmstate_load) X(vmstate_save) X(cow_read) X(cow_write) \
    X(reftable_load) X(reftable_grow) X(reftable_update) X(refblock_load) X(refblock_update) X(refblock_update_part) \
    X(refblock_alloc) X(refblock_alloc_hookup) X(refblock_alloc_write) X(refblock_alloc_write_blocks) \
    X(refblock_alloc_write_table) X(refblock_alloc_switch_table) X(cluster_alloc) X(cluster_alloc_bytes) \
    X(cluster_free) X(flush_to_os) X(flush_to_disk) X(pwritev_rmw_head) X(pwritev_rmw_after_head) \
    X(pwritev_rmw_tail) X(pwritev_rmw_after_tail) X(pwritev) X(pwritev_zero) X(pwritev_done) \
    X(empty_image_prepare) X(l1_shrink_write_table) X(l1_shrink_free_l2_clusters) X(cor_write) \
    X(cluster_alloc_space) X(none)

#define IMG_EVENT_MEMBER(name) IMG_EVENT_##name,
enum img_event { IMG_EVENTS(IMG_EVENT_MEMBER) };

struct img;
/* Tell `node` of an event; `node` gets the next request. */
void img_event_at(struct img *node, enum img_event event);
/* IMG_EVENT(image->file, l2_load): without blkdebug below, this only looks at the driver. */
#define IMG_EVENT(node, name) img_event_at((node), IMG_EVENT_##name)

#endif
