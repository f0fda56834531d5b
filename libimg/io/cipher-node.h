/* SPDX-License-Identifier: MIT */
/*
 * cipher-node.h - the node that a format of encrypted disks puts between itself and its storage.
 *
 * It reads and writes in parallel and without a lock; the request layer aligns to its sectors.  Users do not see it: it
 * is no child of the format, and whatever is flushed, resized or closed is the storage.
 */
#ifndef IMG_CIPHER_NODE_H
#define IMG_CIPHER_NODE_H

#include "codec/cipher.h"
#include "driver.h"

/*
 * A node whose byte 0 is byte `start` of `below`, and whose sector 0 it begins with.  It reads beyond the end of `below`
 * what zeroes there decrypt to, and writing there makes that longer.  `parent`: the format, for how it was opened.  Takes
 * `crypt`, also on failure.  NULL: out of memory.
 */
struct img *img_cipher_node_new(const struct img *parent, struct img *below, uint64_t start, uint32_t sector,
                                struct img_crypt *crypt);
/* Before `below` is closed; NULL is fine. */
void img_cipher_node_free(struct img *node);

#endif
