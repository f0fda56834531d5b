/* SPDX-License-Identifier: MIT */
/* luks-new.c - makes a LUKS header with its first key slot (see luks-volume.h). */
#include "luks-place.h"
#include "util/checked.h"
#include "util/strbuf.h"
#include "util/wipe.h"

#ifdef HAVE_NETTLE
static struct img_luks2_wish wish_of(const struct img_luks_options *given)
{
    return (struct img_luks2_wish){
        .kdf = given->pbkdf, .memory = given->pbkdf_memory < 0 ? 0 : img_max((uint64_t)given->pbkdf_memory / 1024, 1),
        .sector = given->sector_size < 0 ? 0 : (uint32_t)img_min((uint64_t)given->sector_size, UINT32_MAX),
        .time = img_luks_iter_time(given),
    };
}

static int plan_second(struct img_luks_volume *volume, const struct img_luks_options *given, struct img_error *err)
{
    const struct img_luks2_wish wish = wish_of(given);

    volume->version = 2;
    volume->range = (struct img_cipher_range){ .start = IMG_LUKS2_PAYLOAD,
                                               .sector = wish.sector ? wish.sector : IMG_LUKS_SECTOR };
    return img_luks2_plan(&wish, err);
}

int img_luks_volume_plan(struct img_luks_volume *volume, unsigned version, const struct img_luks_options *given,
                         const char *key_secret, struct img_error *err)
{
    const struct img_luks_wish wish = { given->cipher, given->mode, given->ivgen, given->ivgen_hash, given->hash };
    size_t length;
    int ret = img_luks_choose(&wish, &volume->header, err);

    if (ret == 0 && !img_cipher_password(volume->prefix, key_secret, &length, err))
        return -err->code;
    if (ret < 0 || (ret = img_luks_plan(&volume->header, err)) < 0)
        return ret;
    volume->version = 1;
    volume->range = (struct img_cipher_range){ .start = volume->header.payload, .sector = IMG_LUKS_SECTOR };
    return version == 2 ? plan_second(volume, given, err) : 0;
}

static int make_first(struct img_luks *luks, uint64_t time, const uint8_t *password, size_t length,
                      struct img_luks_made *made, struct img_error *err)
{
    uint64_t at = luks->slots[0].key_offset;
    uint8_t key[IMG_CIPHER_KEY_MAX];
    int ret = img_luks_new_key(luks, time, key, err);

    made->length = (size_t)at + img_luks_split_bytes(luks);
    made->bytes = img_calloc(1, made->length);
    if (ret == 0 && !made->bytes)
        ret = img_error_memory(err);
    if (ret == 0)
        ret = img_luks_fill_slot(luks, 0, password, length, time, key, made->bytes + at, err);
    if (ret == 0)
        img_luks_put(luks, made->bytes);
    img_wipe(key, sizeof key);
    return ret;
}

int img_luks_volume_make(struct img_luks_volume *volume, const struct img_luks_options *given, const char *key_secret,
                         struct img_luks_made *made, struct img_error *err)
{
    const struct img_luks2_wish wish = wish_of(given);
    size_t length;
    const uint8_t *password = img_cipher_password(volume->prefix, key_secret, &length, err);

    if (!password)
        return -err->code;
    if (volume->version == 2)
        return img_luks2_make(&wish, &volume->header, password, length, &made->bytes, &made->length, err);
    return make_first(&volume->header, wish.time, password, length, made, err);
}

int img_luks_volume_write(const struct img_luks_volume *volume, const struct img_luks_made *made,
                          struct img_error *err)
{
    int ret = img_pwrite(volume->file, made->bytes, volume->start, made->length);

    return ret < 0 ? img_error_errno(err, -ret, "Could not write encryption header") : 0;
}
#else
int img_luks_volume_plan(struct img_luks_volume *volume, unsigned version, const struct img_luks_options *given,
                         const char *key_secret, struct img_error *err)
{
    (void)volume;
    (void)version;
    (void)given;
    (void)key_secret;
    return img_cipher_missing(err);
}

int img_luks_volume_make(struct img_luks_volume *volume, const struct img_luks_options *given, const char *key_secret,
                         struct img_luks_made *made, struct img_error *err)
{
    (void)made;
    return img_luks_volume_plan(volume, volume->version, given, key_secret, err);
}

int img_luks_volume_write(const struct img_luks_volume *volume, const struct img_luks_made *made,
                          struct img_error *err)
{
    (void)volume;
    (void)made;
    return img_cipher_missing(err);
}
#endif
