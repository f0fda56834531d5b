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
 * A node whose byte 0 is byte `start` of `below`.  Beyond the end of `below` it reads what zeroes there decrypt to, and
 * writing there makes that longer.  `parent`: the format, for how it was opened.  Takes `crypt`, also on failure.  NULL:
 * out of memory.
 */
struct img_cipher_range {
    uint64_t start;
    uint64_t first;                 /* the number of the first 512 bytes */
    uint32_t sector;                /* bytes that are encrypted as one */
};
struct img *img_cipher_node_new(const struct img *parent, struct img *below, const struct img_cipher_range *range,
                                struct img_crypt *crypt);
/*
 * The old encryption of qcow and qcow2: AES-128-CBC with a key that is the password itself.  Sectors are numbered as
 * the guest sees them, wherever they lie, so such a node is used through the calls below only.  -ENOTSUP: no ciphers are
 * built in.
 */
int img_cipher_node_aes(const struct img *parent, struct img *below, const char *key_secret, struct img **node,
                        struct img_error *err);
/* Check that the secret of a new image of that kind is there. */
int img_cipher_aes_secret(const char *key_secret, struct img_error *err);
/* Before `below` is closed; NULL is fine. */
void img_cipher_node_free(struct img *node);

/*
 * Read, write or zero bytes of `file` that are the guest's at `guest`, which is what such a node must know.  For all
 * other nodes these are img_pread, img_pwrite and img_zero without flags.
 */
int img_pread_for(struct img *file, void *buffer, uint64_t offset, size_t length, uint64_t guest);
int img_pwrite_for(struct img *file, const void *buffer, uint64_t offset, size_t length, uint64_t guest);
int img_zero_for(struct img *file, uint64_t offset, uint64_t length, uint64_t guest);

#endif
