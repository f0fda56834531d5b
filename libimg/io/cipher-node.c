/* SPDX-License-Identifier: MIT */
/* cipher-node.c - encrypts what is written to a storage, and decrypts what is read (see cipher-node.h). */
#include "cipher-node.h"
#include "encrypt-options.h"

#ifdef HAVE_NETTLE
#include "node/node.h"
#include "util/checked.h"
#include "util/cleanup.h"
#include "util/scratch.h"
#include "util/wipe.h"
#include <string.h>

enum { SECTOR = 512 };
/* A longer write is encrypted in pieces, which stay in the cache of the processor. */
enum { PIECE = 256 << 10 };

struct cipher {
    struct img_crypt *crypt;
    uint64_t start, first;
    bool by_guest;                  /* sectors are numbered as the guest sees them */
};

/* How far the guest's sectors are from those of the node, in the request of this thread that is under way. */
static _Thread_local uint64_t guest_shift;

static uint64_t sector_at(const struct cipher *cipher, uint64_t offset)
{
    return (cipher->by_guest ? offset + guest_shift : offset) / SECTOR + cipher->first;
}

static int cipher_pread(struct img *image, void *buffer, uint64_t offset, size_t length)
{
    const struct cipher *cipher = image->state;
    int ret = img_pread_padded(image->file, buffer, cipher->start + offset, length);

    if (ret == 0)
        img_crypt_decrypt(cipher->crypt, sector_at(cipher, offset), buffer, buffer, length);
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
        img_crypt_encrypt(cipher->crypt, sector_at(cipher, offset), coded, plain, part);
        ret = img_pwrite_flags(image->file, coded, cipher->start + offset, part, flags);
        plain += part;
        offset += part;
        length -= part;
    }
    return ret;
}

static uint64_t cipher_length(struct img *image, bool now)
{
    uint64_t below = img_length(image->file, now), start = ((const struct cipher *)image->state)->start;

    return below > start ? below - start : 0;
}

static const struct img_driver cipher_driver = {
    IMG_ROW( .name = "cipher", .kind = IMG_ADAPTER ),
    .traits = IMG_WRITES_FUA, .state_size = sizeof(struct cipher), .pread = cipher_pread, .pwrite = cipher_pwrite,
    .length = cipher_length,
};

struct img *img_cipher_node_new(const struct img *parent, struct img *below, const struct img_cipher_range *range,
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
    cipher->start = range->start;
    cipher->first = range->first;
    node->file = below;
    img_limits_inherit(node);
    node->limits.request_alignment = (uint32_t)img_max(node->limits.request_alignment, range->sector);
    node->size = img_align_down(INT64_MAX - range->start, node->limits.request_alignment);
    return node;
}

void img_cipher_node_free(struct img *node)
{
    if (!node)
        return;
    img_crypt_free(((struct cipher *)node->state)->crypt);
    img_node_free(node);
}

/* ---- By the guest's sectors -------------------------------------------------------------- */

static bool is_by_guest(const struct img *file)
{
    return file->driver == &cipher_driver && ((const struct cipher *)file->state)->by_guest;
}

/* A request may lead to another one for such a node further down, so the shift of the outer one comes back after it. */
static uint64_t shift_for(const struct img *file, uint64_t offset, uint64_t guest)
{
    uint64_t outer = guest_shift;

    if (is_by_guest(file))
        guest_shift = guest - offset;
    return outer;
}

int img_pread_for(struct img *file, void *buffer, uint64_t offset, size_t length, uint64_t guest)
{
    uint64_t outer = shift_for(file, offset, guest);
    int ret = img_pread(file, buffer, offset, length);

    guest_shift = outer;
    return ret;
}

int img_pwrite_for(struct img *file, const void *buffer, uint64_t offset, size_t length, uint64_t guest)
{
    uint64_t outer = shift_for(file, offset, guest);
    int ret = img_pwrite(file, buffer, offset, length);

    guest_shift = outer;
    return ret;
}

int img_zero_for(struct img *file, uint64_t offset, uint64_t length, uint64_t guest)
{
    uint64_t outer = shift_for(file, offset, guest);
    int ret = img_zero(file, offset, length, 0);

    guest_shift = outer;
    return ret;
}

int img_cipher_aes_secret(const char *key_secret, struct img_error *err)
{
    size_t length;

    return img_cipher_password("encrypt.", key_secret, &length, err) ? 0 : -err->code;
}

/* A password that is shorter than the key ends with zeroes, and one that is longer is cut. */
static struct img_crypt *aes_crypt(const uint8_t *password, size_t length)
{
    const struct img_crypt_how how = { .cipher = img_cipher_find("aes-128"), .mode = IMG_MODE_CBC,
                                       .ivgen = IMG_IV_PLAIN64, .sector = SECTOR };
    uint8_t key[IMG_CIPHER_BLOCK] = { 0 };
    struct img_crypt *crypt;

    memcpy(key, password, img_min(length, sizeof key));
    crypt = img_crypt_new(&how, key);
    img_wipe(key, sizeof key);
    return crypt;
}

int img_cipher_node_aes(const struct img *parent, struct img *below, const char *key_secret, struct img **node,
                        struct img_error *err)
{
    const struct img_cipher_range whole = { .sector = SECTOR };
    size_t length;
    const uint8_t *password = img_cipher_password("encrypt.", key_secret, &length, err);
    struct img_crypt *crypt = password ? aes_crypt(password, length) : NULL;

    if (!password)
        return -err->code;
    *node = crypt ? img_cipher_node_new(parent, below, &whole, crypt) : NULL;
    if (!*node)
        return img_error_memory(err);
    ((struct cipher *)(*node)->state)->by_guest = true;
    /* Whole blocks of the storage may hold sectors that the guest sees far apart. */
    (*node)->limits.request_alignment = SECTOR;
    return 0;
}
#else
int img_pread_for(struct img *file, void *buffer, uint64_t offset, size_t length, uint64_t guest)
{
    (void)guest;
    return img_pread(file, buffer, offset, length);
}

int img_pwrite_for(struct img *file, const void *buffer, uint64_t offset, size_t length, uint64_t guest)
{
    (void)guest;
    return img_pwrite(file, buffer, offset, length);
}

int img_zero_for(struct img *file, uint64_t offset, uint64_t length, uint64_t guest)
{
    (void)guest;
    return img_zero(file, offset, length, 0);
}

void img_cipher_node_free(struct img *node)
{
    (void)node;
}

struct img *img_cipher_node_new(const struct img *parent, struct img *below, const struct img_cipher_range *range,
                                struct img_crypt *crypt)
{
    (void)parent;
    (void)below;
    (void)range;
    (void)crypt;
    return NULL;
}

int img_cipher_aes_secret(const char *key_secret, struct img_error *err)
{
    (void)key_secret;
    return img_cipher_missing(err);
}

int img_cipher_node_aes(const struct img *parent, struct img *below, const char *key_secret, struct img **node,
                        struct img_error *err)
{
    (void)parent;
    (void)below;
    *node = NULL;
    return img_cipher_aes_secret(key_secret, err);
}
#endif
