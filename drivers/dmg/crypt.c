/* SPDX-License-Identifier: MIT */
/*
 * Encrypted images: what hdiutil makes with -encryption is a file of any kind, encrypted as a whole (see
 * libimg/codec/encrcdsa.h).  The rest of the driver reads it through a cipher node.
 */
#include "dmg.h"
#include "../../libimg/codec/encrcdsa.h"
#include "../../libimg/io/encrypt-options.h"
#include <string.h>

static int read_place(void *file, uint64_t offset, void *to, size_t length, struct img_error *err)
{
    int ret = img_within(offset, length, INT64_MAX) ? img_pread_padded(file, to, offset, length) : -EIO;

    return ret < 0 ? img_error_errno(err, -ret, "Could not read encryption header") : 0;
}

static int unlock(struct img *image, const struct img_encrcdsa *header, const char *key_secret,
                  struct img_crypt **crypt, struct img_error *err)
{
    const struct img_luks_place place = { read_place, image->file };
    size_t length;
    const uint8_t *password = img_cipher_password("", key_secret, &length, err);
    int ret;

    if (!password)
        return -err->code;
    ret = img_encrcdsa_unlock(header, &place, password, length, crypt, err);
    return ret == -ENOKEY ? img_cipher_wrong_password(err) : ret;
}

bool dmg_is_first_version(struct img *file)
{
    uint64_t size = img_size(file);
    uint8_t last[8];

    return size >= sizeof last && img_pread(file, last, size - sizeof last, sizeof last) == 0 &&
           memcmp(last, "cdsaencr", sizeof last) == 0;
}

int dmg_open_cipher(struct img *image, const char *key_secret, struct img_error *err)
{
    struct dmg *s = dmg_state(image);
    struct img_encrcdsa header;
    struct img_crypt *crypt;
    uint8_t head[IMG_ENCRCDSA_HEADER];
    int ret = read_place(image->file, 0, head, sizeof head, err);

    if (ret < 0)
        return ret;
    if (!img_encrcdsa_show(head, sizeof head))
        return dmg_is_first_version(image->file)
                   ? img_error_set(err, ENOTSUP, "Encrypted disk images of version 1 are not supported") : 0;
    image->encrypted = true;
    if ((ret = img_encrcdsa_parse(head, &header, err)) < 0 ||
        (ret = unlock(image, &header, key_secret, &crypt, err)) < 0)
        return ret;
    const struct img_cipher_range range = { .start = header.start, .sector = header.block };
    s->cipher = img_cipher_node_new(image, image->file, &range, crypt);
    if (!s->cipher)
        return img_error_memory(err);
    s->cipher->size = header.size;
    return 0;
}
