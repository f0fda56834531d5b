/* SPDX-License-Identifier: MIT */
/* luks-volume.c - opens an image by its LUKS header, and shows that (see luks-volume.h). */
#include "luks-volume.h"
#include "luks-place.h"
#include "util/checked.h"
#include "util/wipe.h"
#include <string.h>

void img_luks_volume_forget(struct img_luks_volume *volume)
{
    img_wipe(volume->key, sizeof volume->key);
}

#ifdef HAVE_NETTLE
static int read_place(void *context, uint64_t offset, void *to, size_t length, struct img_error *err)
{
    const struct img_luks_volume *volume = context;
    int ret = -EIO;

    if (!img_within(offset, length, volume->length))
        return img_error_set(err, EINVAL, "Request for data outside of extension header");
    if (volume->start <= INT64_MAX - length && offset <= INT64_MAX - length - volume->start)
        ret = img_pread_padded(volume->file, to, volume->start + offset, length);
    return ret < 0 ? img_error_errno(err, -ret, "Could not read encryption header") : 0;
}

struct img_luks_place img_luks_volume_place(struct img_luks_volume *volume)
{
    return (struct img_luks_place){ read_place, volume };
}

int img_luks_volume_read(struct img_luks_volume *volume, struct img_error *err)
{
    uint8_t bytes[IMG_LUKS_HEADER];
    int ret = read_place(volume, 0, bytes, sizeof bytes, err);

    return ret < 0 ? ret : img_luks_parse(bytes, &volume->header, err);
}

int img_luks_volume_unlock(struct img_luks_volume *volume, const char *key_secret, bool keep, struct img_crypt **crypt,
                           struct img_error *err)
{
    const struct img_luks_place place = img_luks_volume_place(volume);
    uint8_t key[IMG_CIPHER_KEY_MAX];
    const uint8_t *password;
    size_t length;
    int ret = img_luks_check_mode(&volume->header.data, err);

    if (ret < 0)
        return ret;
    password = img_cipher_password(volume->prefix, key_secret, &length, err);
    if (!password)
        return -err->code;
    ret = img_luks_unlock(&volume->header, &place, password, length, key, err);
    if (ret == -ENOKEY)
        return img_error_set(err, EINVAL, "Invalid password, cannot unlock any keyslot");
    if (ret < 0)
        return ret;
    *crypt = img_luks_crypt(&volume->header.data, IMG_LUKS_SECTOR, key);
    if (keep)
        memcpy(volume->key, key, sizeof volume->key);
    img_wipe(key, sizeof key);
    return *crypt ? 0 : img_error_memory(err);
}

/* ---- What info shows --------------------------------------------------------------------- */

static void put_slot(struct img_doc *slots, const struct img_luks_slot *from)
{
    struct img_doc *slot = img_doc_object();

    img_doc_put_bool(slot, "active", from->active);
    if (from->active)
        img_doc_put_uint(slot, "iters", from->iterations);
    img_doc_put_uint(slot, "key-offset", from->key_offset);
    if (from->active)
        img_doc_put_uint(slot, "stripes", from->stripes);
    img_doc_append(slots, slot);
}

void img_luks_volume_info(const struct img_luks_volume *volume, const char *format, struct img_doc *data)
{
    const struct img_luks *h = &volume->header;
    struct img_doc *slots = img_doc_array();

    for (unsigned i = 0; i < IMG_LUKS_SLOTS; i++)
        put_slot(slots, &h->slots[i]);
    img_doc_put_string(data, "ivgen-alg", img_luks_ivgen_name(h->data.ivgen));
    img_doc_put_bool(data, "detached-header", false);
    img_doc_put_string(data, "hash-alg", img_kdf_hash_name(h->hash));
    img_doc_put_string(data, "cipher-alg", img_cipher_name(h->data.cipher));
    img_doc_put_string(data, "uuid", h->uuid);
    if (h->data.ivgen == IMG_IV_ESSIV)
        img_doc_put_string(data, "ivgen-hash-alg", img_kdf_hash_name(h->data.ivgen_hash));
    if (format)
        img_doc_put_string(data, "format", format);
    img_doc_put_string(data, "cipher-mode", img_luks_mode_name(h->data.mode));
    img_doc_put(data, "slots", slots);
    img_doc_put_uint(data, "payload-offset", h->payload);
    img_doc_put_uint(data, "master-key-iters", h->iterations);
}
#else
int img_luks_volume_read(struct img_luks_volume *volume, struct img_error *err)
{
    (void)volume;
    (void)err;
    return 0;
}

int img_luks_volume_unlock(struct img_luks_volume *volume, const char *key_secret, bool keep, struct img_crypt **crypt,
                           struct img_error *err)
{
    (void)volume;
    (void)key_secret;
    (void)keep;
    *crypt = NULL;
    return img_cipher_missing(err);
}

void img_luks_volume_info(const struct img_luks_volume *volume, const char *format, struct img_doc *data)
{
    (void)volume;
    if (format)
        img_doc_put_string(data, "format", format);
}
#endif
