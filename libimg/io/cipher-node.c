/* SPDX-License-Identifier: MIT */
/* cipher-node.c - encrypts what is written to a storage, and decrypts what is read (see cipher-node.h). */
#ifdef HAVE_NETTLE
#include "cipher-node.h"
#include "node/node.h"
#include "util/checked.h"
#include "util/cleanup.h"
#include "util/scratch.h"

enum { SECTOR = 512 };
/* A longer write is encrypted in pieces, which stay in the cache of the processor. */
enum { PIECE = 256 << 10 };

struct cipher {
    struct img_crypt *crypt;
    uint64_t start;
};

static int cipher_pread(struct img *image, void *buffer, uint64_t offset, size_t length)
{
    const struct cipher *cipher = image->state;
    int ret = img_pread_padded(image->file, buffer, cipher->start + offset, length);

    if (ret == 0)
        img_crypt_decrypt(cipher->crypt, offset / SECTOR, buffer, buffer, length);
    return ret;
}

static int cipher_pwrite(struct img *image, const void *buffer, uint64_t offset, size_t length, unsigned flags)
{
    const struct cipher *cipher = image->state;
    CLEANUP_SCRATCH uint8_t *coded = img_scratch_get(img_min(length, PIECE));
    const uint8_t *plain = buffer;
    int ret = coded ? 0 : -ENOMEM;

    while (ret == 0 && length > 0) {
        size_t part = (size_t)img_min(length, PIECE);
        img_crypt_encrypt(cipher->crypt, offset / SECTOR, coded, plain, part);
        ret = img_pwrite_flags(image->file, coded, cipher->start + offset, part, flags);
        plain += part;
        offset += part;
        length -= part;
    }
    return ret;
}

static const struct img_driver cipher_driver = {
    IMG_ROW( .name = "cipher", .kind = IMG_ADAPTER ),
    .traits = IMG_WRITES_FUA, .state_size = sizeof(struct cipher), .pread = cipher_pread, .pwrite = cipher_pwrite,
};

struct img *img_cipher_node_new(const struct img *parent, struct img *below, uint64_t start, uint32_t sector,
                                struct img_crypt *crypt)
{
    struct img *node = img_node_new(&cipher_driver, parent->flags, parent->cache, parent->gate);
    struct cipher *cipher;

    if (!node) {
        img_crypt_free(crypt);
        return NULL;
    }
    cipher = node->state;
    cipher->crypt = crypt;
    cipher->start = start;
    node->file = below;
    img_limits_inherit(node);
    node->limits.request_alignment = (uint32_t)img_max(node->limits.request_alignment, sector);
    node->size = img_align_down(INT64_MAX - start, node->limits.request_alignment);
    return node;
}

void img_cipher_node_free(struct img *node)
{
    if (!node)
        return;
    img_crypt_free(((struct cipher *)node->state)->crypt);
    img_node_free(node);
}
#endif
