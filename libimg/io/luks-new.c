/* SPDX-License-Identifier: MIT */
/* luks-new.c - makes a LUKS header with its first key slot (see luks-volume.h). */
#include "luks-place.h"
#include "util/strbuf.h"
#include "util/wipe.h"

#ifdef HAVE_NETTLE
int img_luks_volume_plan(struct img_luks_volume *volume, const struct img_luks_options *given, const char *key_secret,
                         struct img_error *err)
{
    const struct img_luks_wish wish = { given->cipher, given->mode, given->ivgen, given->ivgen_hash, given->hash };
    size_t length;
    int ret = img_luks_choose(&wish, &volume->header, err);

    if (ret == 0 && !img_cipher_password(volume->prefix, key_secret, &length, err))
        return -err->code;
    return ret < 0 ? ret : img_luks_plan(&volume->header, err);
}

int img_luks_volume_make(struct img_luks_volume *volume, const struct img_luks_options *given, const char *key_secret,
                         uint8_t **split, struct img_error *err)
{
    struct img_luks *luks = &volume->header;
    uint64_t time = img_luks_iter_time(given);
    size_t length;
    const uint8_t *password = img_cipher_password(volume->prefix, key_secret, &length, err);
    uint8_t key[IMG_CIPHER_KEY_MAX];
    int ret;

    if (!password)
        return -err->code;
    *split = img_malloc(img_luks_split_bytes(luks));
    if (!*split)
        return img_error_memory(err);
    ret = img_luks_new_key(luks, time, key, err);
    if (ret == 0)
        ret = img_luks_fill_slot(luks, 0, password, length, time, key, *split, err);
    img_wipe(key, sizeof key);
    return ret;
}

int img_luks_volume_write(const struct img_luks_volume *volume, const uint8_t *split, struct img_error *err)
{
    const struct img_luks *luks = &volume->header;
    uint8_t header[IMG_LUKS_HEADER];
    int ret = img_pwrite(volume->file, split, volume->start + luks->slots[0].key_offset, img_luks_split_bytes(luks));

    img_luks_put(luks, header);
    if (ret == 0)
        ret = img_pwrite(volume->file, header, volume->start, sizeof header);
    return ret < 0 ? img_error_errno(err, -ret, "Could not write encryption header") : 0;
}
#else
int img_luks_volume_plan(struct img_luks_volume *volume, const struct img_luks_options *given, const char *key_secret,
                         struct img_error *err)
{
    (void)volume;
    (void)given;
    (void)key_secret;
    return img_cipher_missing(err);
}

int img_luks_volume_make(struct img_luks_volume *volume, const struct img_luks_options *given, const char *key_secret,
                         uint8_t **split, struct img_error *err)
{
    *split = NULL;
    return img_luks_volume_plan(volume, given, key_secret, err);
}

int img_luks_volume_write(const struct img_luks_volume *volume, const uint8_t *split, struct img_error *err)
{
    (void)volume;
    (void)split;
    return img_cipher_missing(err);
}
#endif
